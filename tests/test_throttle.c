/* The governor beside real jobs, with a real standby: what closes it, what it says, that it opens
 * again, and that nothing unknown is ever full speed. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "tests/harness.h"
#include "throttle/signal.h"

#define JOB "j"

/* Rows of about a kilobyte: 60,000 of them make some 70 MB of log when they are all changed. */
static const char TABLE[] =
    "CREATE TABLE t (id int PRIMARY KEY, n int, filler text);\n"
    "INSERT INTO t SELECT i, 0, repeat('x', 1000) FROM generate_series(1, 60000) AS i;\n"
    "ANALYZE t";

/* About a thousand rows, 1.2 MB, a chunk. */
#define CHUNKS "-s", "chunk.wal=1MB", "-s", "span.size=1MB"

static void make_table(void)
{
    t_sql(TABLE);
}

/* On the standby, whatever it takes. */
static void on_standby(const char *sql)
{
    struct t_result result;

    t_run_program(&result, "psql", "-X", "-q", "-d",
                  t_format("%s dbname=postgres", sandbox_standby_conninfo(t_sandbox())), "-c", sql,
                  NULL);
    t_expect_status(&result, 0);
}

/* A test before this one may have left it paused. */
static void wait_for_standby(void)
{
    on_standby("SELECT pg_wal_replay_resume()");
    t_wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1", 30);
    t_wait_until("SELECT count(*) FROM pg_stat_replication\n"
                 " WHERE replay_lsn >= pg_current_wal_flush_lsn()",
                 "1", 20);
}

/* In this session's own words: what the newest sample says. */
static const char WHY[] = "SELECT decision || ' by ' || signal || ' of ' || coalesce(who, '')\n"
                          "  FROM pghaul.sample ORDER BY at DESC LIMIT 1";
static const char DECISION[] = "SELECT decision FROM pghaul.sample ORDER BY at DESC LIMIT 1";
static const char ROWS[] = "SELECT count(*) FROM t WHERE n = 1";

static void wait_for_job(void)
{
    t_wait_until("SELECT to_regclass('pghaul.sample') IS NOT NULL", "t", 20);
}

/* A backfill that has begun, with a standby that has just stopped to replay, and `limit`. */
static struct t_process *held_job(const char *limit)
{
    struct t_process *job;

    make_table();
    wait_for_standby();
    job = t_start("backfill", "t", "--set", "n = 1", "--job", JOB, CHUNKS, "-s", limit, "-s",
                  "policy=fixed=500ms", NULL);
    wait_for_job();
    t_wait_until("SELECT count(*) > 0 FROM t WHERE n = 1", "t", 20);
    wait_for_standby();
    on_standby("SELECT pg_wal_replay_pause()");
    t_runs(0, "set", JOB, "policy=auto");
    return job;
}

static void expect_done(struct t_process *process)
{
    struct t_result result;

    t_wait(process, &result);
    t_expect_status(&result, 0);
    t_expect(ROWS, "60000");
}

/* Until the governor lets nothing go because of `signal`: by its gate, or by the credit. */
static void wait_held(const char *signal)
{
    int64_t rows;

    t_wait_until(t_format("SELECT decision IN ('closed', 'paced') AND signal = '%s'\n"
                          "  FROM pghaul.sample ORDER BY at DESC LIMIT 1",
                          signal),
                 "t", 20);
    for (int i = 0; i < 20; i++) {
        rows = t_int(ROWS);
        sleep(1);
        if (rows == t_int(ROWS))
            return;
    }
    t_fail("it is %s, and goes on", t_text(WHY));
}

/* While nothing may move: no row changes for a second. */
static void expect_still(void)
{
    int64_t rows;

    sleep(1); /* chunks in flight */
    rows = t_int(ROWS);
    sleep(1);
    if (t_int(ROWS) != rows)
        t_fail("rows are changed although nothing may move");
}

/* ------------------------------------------------------------------------------------ a standby */

/*
 * The worst backlog is measured here, ten times a second, by the position that the standby itself
 * has replayed. It must stay below the limit and what two chunks in flight write; the log of
 * everything else in it is small.
 */
static void a_standby_whose_replay_is_paused_holds_the_job_and_lets_it_go_on(void)
{
    struct t_process *job;
    struct t_result result;
    int64_t worst = 0;

    job = held_job("limit.replica-lag-bytes=8MB");
    wait_held("replica-lag-bytes");
    for (int i = 0; i < 30; i++) {
        int64_t backlog = t_int("SELECT max(pg_current_wal_lsn() - replay_lsn)::bigint\n"
                                "  FROM pg_stat_replication");

        worst = backlog > worst ? backlog : worst;
        usleep(100000);
    }
    if (worst > 8 * 1024 * 1024 + 2 * 3 * 1024 * 1024)
        t_fail("the standby was %lld bytes behind, with a limit of 8MB", (long long)worst);
    if (worst < 1024 * 1024)
        t_fail("the job stopped at %lld bytes already", (long long)worst);
    t_run(&result, "status", JOB, NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "by replica-lag-bytes of ");
    t_expect_out(&result, "limit 8MB");
    t_run(&result, "status", JOB, "--json", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "\"reason\":{\"signal\":\"replica-lag-bytes\",\"who\":\"");
    if (!t_running(job))
        t_fail("the job has ended");
    on_standby("SELECT pg_wal_replay_resume()");
    expect_done(job);
}

static void a_limit_that_is_raised_while_it_is_closed_opens_it(void)
{
    struct t_process *job;

    job = held_job("limit.replica-lag-bytes=4MB");
    wait_held("replica-lag-bytes");
    t_runs(0, "set", JOB, "limit.replica-lag-bytes=1GB");
    expect_done(job);
    on_standby("SELECT pg_wal_replay_resume()");
}

static void a_policy_that_is_set_to_off_while_it_is_closed_lets_all_go(void)
{
    struct t_process *job;

    job = held_job("limit.replica-lag-bytes=4MB");
    wait_held("replica-lag-bytes");
    t_runs(0, "set", JOB, "policy=off");
    expect_done(job);
    on_standby("SELECT pg_wal_replay_resume()");
}

static void a_job_that_is_held_can_be_paused_and_aborted(void)
{
    struct t_process *job;
    struct t_result result;

    job = held_job("limit.replica-lag-bytes=4MB");
    wait_held("replica-lag-bytes");
    t_runs(0, "pause", JOB);
    t_wait_until("SELECT state FROM pghaul.job", "paused", 10);
    t_runs(0, "abort", JOB, "--yes");
    t_wait(job, &result);
    t_expect_status(&result, 5);
    on_standby("SELECT pg_wal_replay_resume()");
}

/* The gate is the user's own query. What the governor knows of the pause is a second old. */
static void a_resume_after_a_pause_passes_no_closed_gate(void)
{
    struct t_process *job;

    make_table();
    job = t_start("backfill", "t", "--set", "n = 1", "--job", JOB, CHUNKS, "-s",
                  "limit.query=1 SELECT 5", NULL);
    wait_for_job();
    wait_held("query");
    for (int i = 0; i < 3; i++) {
        t_runs(0, "pause", JOB);
        t_wait_until("SELECT state FROM pghaul.job", "paused", 10);
        sleep(1);
        t_sql("UPDATE pghaul.job SET wanted = 'run'");
        sleep(1);
    }
    t_expect(ROWS, "0");
    t_runs(0, "set", JOB, "limit.query=off");
    expect_done(job);
}

/* retry.limit is for trying; who is held tries nothing. */
static void a_job_that_is_held_for_long_survives_a_lost_session(void)
{
    struct t_process *job;

    make_table();
    job = t_start("backfill", "t", "--set", "n = 1", "--job", JOB, CHUNKS, "-s",
                  "limit.query=1 SELECT 5", "-s", "retry.limit=2s", NULL);
    wait_for_job();
    wait_held("query");
    sleep(3);
    t_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity\n"
          " WHERE application_name LIKE 'pghaul j backfill %'");
    sleep(1);
    t_runs(0, "set", JOB, "limit.query=off");
    expect_done(job);
}

static void a_standby_that_vanishes_is_missed_until_it_is_back(void)
{
    struct t_process *job;
    struct error error = {0};

    make_table();
    wait_for_standby();
    job = t_start("backfill", "t", "--set", "n = 1", "--job", JOB, CHUNKS, "-s", "chunk.time=10ms",
                  "-s", "policy=fixed=1s", NULL);
    wait_for_job();
    t_wait_until("SELECT facts ? 'replicas' FROM pghaul.job", "t", 20);
    sandbox_standby_crash(t_sandbox());
    t_wait_until("SELECT count(*) FROM pg_stat_replication", "0", 30);
    t_runs(0, "set", JOB, "policy=auto");
    wait_held("replicas-missing");
    expect_still();
    if (!sandbox_standby_start(t_sandbox(), &error))
        t_fail("%s", error.message);
    expect_done(job);
}

static void a_standby_that_was_gone_when_the_job_is_resumed_is_missed(void)
{
    struct t_process *job;
    struct t_result result;
    struct error error = {0};

    make_table();
    wait_for_standby();
    job = t_start("backfill", "t", "--set", "n = 1", "--job", JOB, CHUNKS, "-s", "policy=fixed=1s",
                  NULL);
    wait_for_job();
    t_wait_until("SELECT facts ? 'replicas' FROM pghaul.job", "t", 20);
    t_kill(job, SIGINT);
    t_wait(job, &result);
    t_expect_status(&result, 5);
    sandbox_standby_crash(t_sandbox());
    t_wait_until("SELECT count(*) FROM pg_stat_replication", "0", 30);
    t_runs(0, "set", JOB, "policy=auto");
    job = t_start("resume", JOB, NULL);
    wait_held("replicas-missing");
    expect_still();
    t_runs(0, "set", JOB, "limit.replicas-missing=off");
    expect_done(job);
    if (!sandbox_standby_start(t_sandbox(), &error))
        t_fail("%s", error.message);
}

static void a_standby_that_is_ignored_by_name_holds_nobody(void)
{
    const char *name;

    make_table();
    wait_for_standby();
    name = t_text("SELECT application_name FROM pg_stat_replication");
    on_standby("SELECT pg_wal_replay_pause()");
    t_runs(0, "backfill", "t", "--set", "n = 1", "--job", JOB, CHUNKS, "-s",
           "limit.replica-lag-bytes=1MB", "-s", t_format("ignore-replica=%s", name));
    t_expect(ROWS, "60000");
    on_standby("SELECT pg_wal_replay_resume()");
}

/* ------------------------------------------------------------------------- what cannot be read */

static void a_role_that_may_not_see_the_standbys_is_refused_with_the_grant(void)
{
    struct t_result result;
    const char *owner;

    t_sql("DROP ROLE IF EXISTS plain");
    t_sql("CREATE ROLE plain LOGIN");
    t_sqlf("GRANT CREATE ON DATABASE %s TO plain",
           t_text("SELECT quote_ident(current_database())"));
    make_table();
    t_sql("ALTER TABLE t OWNER TO plain");
    wait_for_standby();
    owner = t_conninfo_as("plain");
    t_run_plain(&result, "backfill", "t", "--set", "n = 1", "--job", JOB, "-d", owner, NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "GRANT pg_monitor TO plain");
    t_expect_err(&result, "--max-lag off");
    t_expect("SELECT to_regclass('pghaul.job') IS NULL", "t"); /* nothing changed */
    t_run_plain(&result, "backfill", "t", "--set", "n = 1", "--job", JOB, "--max-lag", "off", "-d",
                owner, NULL);
    t_expect_status(&result, 0);
    t_expect(ROWS, "60000");
    t_sql("DROP OWNED BY plain");
}

/* After the start: the right is taken away in the middle. */
static void a_signal_that_becomes_unreadable_closes(void)
{
    struct t_result result;
    struct t_process *job;
    const char *owner;

    t_sql("DROP ROLE IF EXISTS watched");
    t_sql("CREATE ROLE watched LOGIN; GRANT pg_monitor TO watched");
    t_sqlf("GRANT CREATE ON DATABASE %s TO watched",
           t_text("SELECT quote_ident(current_database())"));
    make_table();
    t_sql("ALTER TABLE t OWNER TO watched");
    wait_for_standby();
    owner = t_conninfo_as("watched");
    job = t_start_program(PGHAUL_PROGRAM, "backfill", "t", "--set", "n = 1", "--job", JOB, CHUNKS,
                          "-s", "policy=fixed=1s", "-d", owner, NULL);
    wait_for_job();
    t_wait_until("SELECT count(*) > 0 FROM pghaul.sample", "t", 20);
    t_sql("REVOKE pg_monitor FROM watched");
    t_run_plain(&result, "set", JOB, "policy=auto", "-d", owner, NULL);
    t_expect_status(&result, 0);
    t_wait_until(DECISION, "closed", 30);
    t_wait_until("SELECT reason LIKE '%hides from this role%'\n"
                 "  FROM pghaul.sample ORDER BY at DESC LIMIT 1",
                 "t", 20);
    expect_still();
    t_sql("GRANT pg_monitor TO watched");
    expect_done(job);
    t_sql("DROP OWNED BY watched");
}

/*
 * The governor's backend does not answer, nor would a new one: both are stopped, as a server that
 * is out of breath would be. Nothing moves from when the last reading is old. (Who stops them lets
 * them go on before anything may fail: the server could not be ended.)
 */
static void a_probe_that_hangs_closes(void)
{
    struct t_process *job;
    int64_t before, after;
    int backend, server;

    make_table();
    wait_for_standby();
    job = t_start("backfill", "t", "--set", "n = 1", "--job", JOB, CHUNKS, "-s",
                  "limit.wal-rate=1500kB", NULL);
    wait_for_job();
    t_wait_until("SELECT count(*) > 1 FROM pghaul.sample", "t", 20);
    backend = (int)t_int("SELECT pid FROM pghaul.sample LIMIT 1");
    server = (int)t_int("SELECT split_part(pg_read_file('postmaster.pid'), E'\n', 1)");
    kill(server, SIGSTOP);
    kill(backend, SIGSTOP);
    clock_sleep_ms(SIGNAL_STALE_US / 1000 + 2000); /* and chunks in flight */
    before = t_int(ROWS);
    clock_sleep_ms(3000);
    after = t_int(ROWS);
    kill(backend, SIGCONT);
    kill(server, SIGCONT);
    assert_int_equal(before, after);
    assert_in_range(before, 1, 59999);
    t_runs(0, "set", JOB, "limit.wal-rate=off");
    expect_done(job);
}

/* ---------------------------------------------------------------------------------- bad input */

static void nonsense_is_refused(void)
{
    static const char *const LIMITS[] = {
        "limit.replica-lag-bytes=0",
        "limit.replica-lag-bytes=-1MB",
        "limit.replica-lag-bytes=fast",
        "limit.replica-lag-bytes=64 bananas",
        "limit.replica-lag-time=0",
        "limit.foreground-latency=nan",
        "limit.slot-wal-left=120%",
        "limit.query=SELECT 1",
        "limit.query=7 SELECT",
        "policy=fast",
        "policy=law=nobody",
        "window=someday",
        "window=mon-thu 01:00-05:30 Mars/Olympus",
    };

    make_table();
    for (size_t i = 0; i < sizeof(LIMITS) / sizeof(LIMITS[0]); i++) {
        struct t_result result;

        t_run(&result, "backfill", "t", "--set", "n = 1", "--job", JOB, "-s", LIMITS[i], NULL);
        if (result.status != 2 && result.status != 3)
            t_fail("-s '%s' ended with %d", LIMITS[i], result.status);
    }
    t_expect(ROWS, "0");
    t_expect("SELECT to_regclass('pghaul.job') IS NULL", "t"); /* no job was made */
}

/* ----------------------------------------------------------------------- windows, unpaced work */

static const char *closed_window(void)
{
    return t_text("SELECT to_char(now() AT TIME ZONE 'UTC' + interval '2 h', 'HH24:MI')\n"
                  "    || '-' || to_char(now() AT TIME ZONE 'UTC' + interval '3 h',\n"
                  "                      'HH24:MI') || ' UTC'");
}

static void outside_of_its_window_a_job_waits(void)
{
    struct t_process *job;

    make_table();
    job =
        t_start("backfill", "t", "--set", "n = 1", "--job", JOB, "--window", closed_window(), NULL);
    wait_for_job();
    t_wait_until(DECISION, "window", 30);
    t_expect(ROWS, "0");
    t_runs(0, "set", JOB, "window=");
    expect_done(job);
}

static void make_ready(void)
{
    make_table();
    wait_for_standby();
    t_runs(0, "alter", "t", "--do", "ALTER COLUMN n TYPE bigint", "--job", JOB);
}

static void expect_cutover_waits_for_the_window(void)
{
    struct t_process *cutover;
    struct t_result result;

    t_runs(0, "set", JOB, t_format("window=%s", closed_window()));
    cutover = t_start("cutover", JOB, "--yes", "--force", NULL);
    t_wait_until("SELECT decision = 'window' AND at > now() - interval '2 s'\n"
                 "  FROM pghaul.sample ORDER BY at DESC LIMIT 1",
                 "t", 30);
    t_expect("SELECT state FROM pghaul.job", "ready");
    t_runs(0, "set", JOB, "window=");
    t_wait(cutover, &result);
    t_expect_status(&result, 0);
    t_expect("SELECT state FROM pghaul.job", "cut_over");
}

static void a_swap_of_tables_waits_for_the_window(void)
{
    make_ready();
    expect_cutover_waits_for_the_window();
}

static void the_hiding_of_a_column_waits_for_the_window(void)
{
    make_table();
    wait_for_standby();
    t_runs(0, "column", "drop", "t", "filler", "--job", JOB);
    expect_cutover_waits_for_the_window();
}

/* It closes while the cut-over waits for an old snapshot: the swap waits for the next one, with
 * triggers that log again. */
static void a_window_that_closes_before_the_swap_is_heeded(void)
{
    static const char MODE[] = "SELECT facts -> 'forward' ->> 'mode' FROM pghaul.job";
    struct t_session *old = t_session("old");
    struct t_process *cutover;
    struct t_result result;

    make_ready();
    t_do(old, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t");
    cutover = t_start("cutover", JOB, "--yes", NULL);
    t_wait_until(MODE, "dual-write", 30);
    t_runs(0, "set", JOB, t_format("window=%s", closed_window()));
    t_wait_until(DECISION, "window", 30);
    t_do(old, "COMMIT");
    t_wait_until(MODE, "log", 30);
    t_expect("SELECT state FROM pghaul.job", "ready");
    t_sql("UPDATE t SET n = 7 WHERE id <= 10");
    t_runs(0, "set", JOB, "window=");
    t_wait(cutover, &result);
    t_expect_status(&result, 0);
    t_expect("SELECT state FROM pghaul.job", "cut_over");
    t_expect("SELECT count(*) FROM t WHERE n = 7", "10");
}

/* It keeps up with the application as a job on its way does, and waits as one does. */
static void a_job_at_rest_keeps_up_within_its_limits(void)
{
    struct t_process *resumed;
    struct t_result result;

    make_ready();
    t_sql("UPDATE t SET n = 1 WHERE id <= 100");
    t_runs(0, "set", JOB, t_format("window=%s", closed_window()));
    resumed = t_start("resume", JOB, NULL);
    t_wait_until("SELECT decision = 'window' AND phase = 'catch-up'\n"
                 "  FROM pghaul.sample ORDER BY at DESC LIMIT 1",
                 "t", 30);
    t_expect("SELECT count(*) FROM pghaul.t_1 WHERE n = 1", "0");
    t_runs(0, "set", JOB, "window=");
    t_wait(resumed, &result);
    t_expect_status(&result, 0);
    t_expect("SELECT count(*) FROM pghaul.t_1 WHERE n = 1", "100");
}

static void while_a_replica_is_attached_unpaced_statements_take_turns(void)
{
    struct t_session *other = t_session("pghaul k governor");
    struct t_process *job;
    struct t_result result;

    make_table();
    wait_for_standby();
    t_do(other, "SELECT pg_advisory_lock(123511210833263)"); /* throttle/governor_look.c */
    job = t_start("index", "t", "CREATE INDEX t_n ON t (n)", "--job", JOB, NULL);
    wait_for_job();
    t_wait_until(t_format("SELECT reason LIKE '%%cannot be paced: process %lld (%%'\n"
                          "  FROM pghaul.sample ORDER BY at DESC LIMIT 1",
                          (long long)t_backend_pid(other)),
                 "t", 30);
    t_expect("SELECT count(*) FROM pg_class WHERE relname = 't_n'", "0");
    t_do(other, "SELECT pg_advisory_unlock(123511210833263)");
    t_wait(job, &result);
    t_expect_status(&result, 0);
    t_expect("SELECT indisvalid FROM pg_index WHERE indexrelid = 't_n'::regclass", "t");
}

static void what_cannot_be_paced_waits_until_little_is_owed(void)
{
    struct t_process *job;
    struct t_result result;

    make_table();
    wait_for_standby();
    on_standby("SELECT pg_wal_replay_pause()");
    t_sql("CREATE TABLE noise AS SELECT repeat('y', 1000) AS y FROM generate_series(1, 3000)");
    /* 3 MB are owed: below the limit, above a quarter of it. */
    job =
        t_start("index", "t", "CREATE INDEX t_n ON t (n)", "--job", JOB, "--max-lag", "8MB", NULL);
    wait_for_job();
    t_wait_until(DECISION, "waiting", 30);
    t_expect("SELECT count(*) FROM pg_class WHERE relname = 't_n'", "0");
    on_standby("SELECT pg_wal_replay_resume()");
    t_wait(job, &result);
    t_expect_status(&result, 0);
    t_expect("SELECT indisvalid FROM pg_index WHERE indexrelid = 't_n'::regclass", "t");
}

/* ------------------------------------------------------------------------------------- sharing */

/* Of two processes, what each has written over some seconds in which both wanted more. */
struct written {
    double seconds;
    double most, least; /* bytes of log */
};

static struct written watch_two(void)
{
    struct written written;

    t_wait_until("SELECT count(*) FROM pghaul.pulse WHERE wants", "2", 60);
    sleep(3); /* each knows of the other, and what it had saved up is used */
    t_sql("CREATE TABLE before AS SELECT *, clock_timestamp() AS now FROM pghaul.pulse");
    sleep(8);
    t_sql("CREATE TABLE after AS SELECT a.written - b.written AS written, b.job,\n"
          "       extract(epoch FROM clock_timestamp() - b.now) AS seconds\n"
          "  FROM pghaul.pulse AS a JOIN before AS b USING (job, pid)");
    t_expect("SELECT count(*) FROM after", "2");
    written.seconds = (double)t_int("SELECT max(seconds * 1000)::bigint FROM after") / 1000;
    written.most = (double)t_int("SELECT max(written) FROM after");
    written.least = (double)t_int("SELECT min(written) FROM after");
    return written;
}

/* What is in flight at the ends of the time, and pulses that are younger there: four chunks. */
static void expect_together(const struct written *written, double bytes_per_second)
{
    double most = bytes_per_second * written->seconds + 4 * 1.3e6;

    if (written->most + written->least > most)
        t_fail("%.0f and %.0f bytes in %.1f s, more than %.0f", written->most, written->least,
               written->seconds, most);
    assert_true(written->least > 0);
}

static void two_jobs_on_one_database_share_what_they_may_write(void)
{
    struct t_process *one, *other;
    struct written written;

    make_table();
    t_sql("CREATE TABLE u AS SELECT * FROM t; ALTER TABLE u ADD PRIMARY KEY (id); ANALYZE u");
    one = t_start("backfill", "t", "--set", "n = 1", "--job", JOB, CHUNKS, "-s", "priority=30",
                  "-s", "limit.wal-rate=4MB", NULL);
    other = t_start("backfill", "u", "--set", "n = 1", "--job", "k", CHUNKS, "-s",
                    "limit.wal-rate=4MB", NULL);
    wait_for_job();
    written = watch_two();
    expect_together(&written, 4.0 * 1024 * 1024);
    assert_true(written.most > 1.5 * written.least);
    t_expect("SELECT name FROM after JOIN pghaul.job ON id = job ORDER BY written DESC LIMIT 1",
             JOB);
    t_runs(0, "set", "k", "limit.wal-rate=off");
    t_runs(0, "set", JOB, "limit.wal-rate=off");
    expect_done(one);
    t_wait(other, &(struct t_result){0});
    t_expect("SELECT count(*) FROM u WHERE n = 1", "60000");
    t_expect("SELECT count(*) FROM pghaul.pulse", "0");
}

static void two_processes_of_one_job_share_it_too(void)
{
    struct t_process *one, *other;
    struct written written;

    make_table();
    one = t_start("backfill", "t", "--set", "n = 1", "--job", JOB, CHUNKS, "-s",
                  "limit.wal-rate=4MB", NULL);
    wait_for_job();
    t_wait_until("SELECT count(*) > 0 FROM t WHERE n = 1", "t", 20);
    other = t_start("resume", JOB, NULL);
    written = watch_two();
    expect_together(&written, 4.0 * 1024 * 1024);
    t_runs(0, "set", JOB, "limit.wal-rate=off");
    expect_done(one);
    t_wait(other, &(struct t_result){0});
    t_expect("SELECT count(*) FROM pghaul.pulse", "0");
}

/* Ten minutes of them each, half an hour, ten hours and ten days ago. */
static void samples_are_kept_a_second_apart_and_thin_out(void)
{
    static const char OLD[] = "SELECT string_agg(n::text, ' ' ORDER BY phase) FROM\n"
                              "    (SELECT phase, count(*) AS n FROM pghaul.sample\n"
                              "      WHERE pid = 1 GROUP BY phase) AS s";
    struct t_process *job;
    struct t_result result;

    make_table();
    job = t_start("backfill", "t", "--set", "n = 1", "--job", JOB, CHUNKS, "-s", "policy=fixed=1s",
                  NULL);
    wait_for_job();
    t_wait_until("SELECT count(*) > 2 FROM pghaul.sample", "t", 20);
    t_kill(job, SIGINT);
    t_wait(job, &result);
    t_expect_status(&result, 5);
    t_sql("INSERT INTO pghaul.sample (job, pid, phase, at)\n"
          "SELECT 1, 1, ago::text, date_trunc(CASE ago WHEN '10 days' THEN 'hour' ELSE 'minute' "
          "END, now())\n"
          "       - ago + n * interval '1 s'\n"
          "  FROM unnest('{30 min, 10 h, 10 days}'::interval[]) AS ago,\n"
          "       generate_series(0, 599) AS n");
    t_runs(0, "set", JOB, "policy=auto");
    t_runs(0, "resume", JOB);
    t_expect(OLD, "600 1 10");
    t_expect("SELECT count(*) > 0 FROM pghaul.sample WHERE signals IS NOT NULL", "t");
    t_expect("SELECT count(*) FROM pghaul.sample\n"
             " WHERE signals @> '[{\"signal\": \"replica-lag-bytes\", \"state\": \"ok\"}]'",
             t_text("SELECT count(*) FROM pghaul.sample WHERE pid <> 1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_standby_whose_replay_is_paused_holds_the_job_and_lets_it_go_on),
        t_test(a_limit_that_is_raised_while_it_is_closed_opens_it),
        t_test(a_policy_that_is_set_to_off_while_it_is_closed_lets_all_go),
        t_test(a_job_that_is_held_can_be_paused_and_aborted),
        t_test(a_resume_after_a_pause_passes_no_closed_gate),
        t_test(a_job_that_is_held_for_long_survives_a_lost_session),
        t_test(a_standby_that_vanishes_is_missed_until_it_is_back),
        t_test(a_standby_that_was_gone_when_the_job_is_resumed_is_missed),
        t_test(a_standby_that_is_ignored_by_name_holds_nobody),
        t_test(a_role_that_may_not_see_the_standbys_is_refused_with_the_grant),
        t_test(a_signal_that_becomes_unreadable_closes),
        t_test(a_probe_that_hangs_closes),
        t_test(nonsense_is_refused),
        t_test(outside_of_its_window_a_job_waits),
        t_test(a_swap_of_tables_waits_for_the_window),
        t_test(the_hiding_of_a_column_waits_for_the_window),
        t_test(a_window_that_closes_before_the_swap_is_heeded),
        t_test(a_job_at_rest_keeps_up_within_its_limits),
        t_test(while_a_replica_is_attached_unpaced_statements_take_turns),
        t_test(what_cannot_be_paced_waits_until_little_is_owed),
        t_test(two_jobs_on_one_database_share_what_they_may_write),
        t_test(two_processes_of_one_job_share_it_too),
        t_test(samples_are_kept_a_second_apart_and_thin_out),
    };

    t_sandbox_options.standby = true;
    return T_MAIN(tests);
}
