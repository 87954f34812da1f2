/* Control: pause, resume, set, status, guard, signals, several processes on one job, verbs in the
 * wrong state, whoever is in the way of a cut-over. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "tests/harness.h"

static const char TABLE[] =
    "CREATE TABLE orders (id int PRIMARY KEY, a int NOT NULL, note text);\n"
    "INSERT INTO orders SELECT n, n, repeat('x', 100) FROM generate_series(1, 20000) AS n;\n"
    "CREATE INDEX orders_a ON orders (a);\n"
    "CREATE TABLE twin AS SELECT * FROM orders;\n"
    "ANALYZE orders";

/* Slow enough to look at: about 50 chunks of the load, with a rest after each. */
#define SLOWLY(rest)                                                               \
    "-s", "span.size=64kB", "-s", "chunk.wal=64kB", "-s", "chunk.time=10ms", "-s", \
        "policy=fixed=" rest

#define JOB "alter-orders-1"

static void run_ok(const char *verb)
{
    struct t_result result;

    t_run(&result, verb, JOB, "--yes", NULL);
    t_expect_status(&result, 0);
}

static void refused(const char *verb, const char *say)
{
    struct t_result result;

    t_run(&result, verb, JOB, "--yes", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, say);
}

static void set(const char *value)
{
    struct t_result result;

    t_run(&result, "set", JOB, value, NULL);
    t_expect_status(&result, 0);
}

static void ready_job(void)
{
    struct t_result result;

    t_sql(TABLE);
    t_run(&result, "alter", "orders", "-s", "settle=off", NULL);
    t_expect_status(&result, 0);
}

static void wait_for_load(void)
{
    t_wait_until("SELECT to_regclass('pghaul.span') IS NOT NULL", "t", 20);
    t_wait_until("SELECT count(*) > 0 FROM pghaul.span WHERE phase = 'load' AND chunks > 0", "t",
                 20);
}

static void expect_equal(void)
{
    t_expect("SELECT count(*) FROM (SELECT * FROM orders) AS a FULL JOIN (SELECT * FROM twin) AS b "
             "USING (id)\n"
             " WHERE a.a IS DISTINCT FROM b.a OR a.note IS DISTINCT FROM b.note",
             "0");
}

static const char STATE[] = "SELECT state FROM pghaul.job WHERE name = '" JOB "'";
static const char CHUNKS[] = "SELECT sum(chunks) FROM pghaul.span WHERE phase = 'load'";

/* -----------------------------------------------------------------------------------------------
 * pause, resume, set */

static void pause_acts_within_one_chunk_and_resume_goes_on(void)
{
    struct t_process *process;
    struct t_result result, resumed;
    int64_t chunks;

    t_sql(TABLE);
    process = t_start("alter", "orders", SLOWLY("100ms"), NULL);
    wait_for_load();
    t_run(&result, "pause", JOB, NULL);
    t_expect_status(&result, 0);
    t_wait_until(STATE, "paused", 5);
    clock_sleep_ms(300); /* the other worker ends its chunk */
    chunks = t_int(CHUNKS);
    clock_sleep_ms(1000);
    assert_int_equal(t_int(CHUNKS), chunks);
    assert_true(t_running(process));
    t_run(&result, "status", JOB, "--json", NULL);
    t_expect_out(&result, "\"paused\"");
    t_run(&resumed, "resume", JOB, NULL);
    t_expect_status(&resumed, 0);
    t_wait(process, &result);
    t_expect_status(&result, 0);
    t_expect(STATE, "ready");
    t_expect("SELECT sum(rows) FROM pghaul.span WHERE phase = 'load'", "20000");
    run_ok("cutover");
    expect_equal();
}

static void a_job_paused_between_walks_is_paused_until_resumed(void)
{
    struct t_process *process;
    struct t_result result;

    t_sql(TABLE);
    process = t_start("alter", "orders", SLOWLY("100ms"), NULL);
    wait_for_load();
    t_kill(process, SIGTERM);
    t_wait(process, &result);
    t_expect_status(&result, 5);
    t_run(&result, "pause", JOB, NULL);
    t_expect_status(&result, 0);
    t_run(&result, "status", JOB, "--json", NULL);
    t_expect_out(&result, "\"paused\"");
    set("policy=off");
    process = t_start("resume", JOB, NULL);
    t_wait(process, &result);
    t_expect_status(&result, 0);
    t_expect(STATE, "ready");
}

static void a_changed_policy_acts_in_the_middle_of_a_rest(void)
{
    struct t_process *process;
    struct t_result result;

    t_sql(TABLE);
    process = t_start("alter", "orders", SLOWLY("60s"), NULL);
    wait_for_load();
    set("policy=off");
    t_limit(20);
    t_wait(process, &result);
    t_expect_status(&result, 0);
}

static void an_abort_acts_in_the_middle_of_a_rest(void)
{
    struct t_process *process;
    struct t_result result;

    t_sql(TABLE);
    process = t_start("alter", "orders", SLOWLY("60s"), NULL);
    wait_for_load();
    t_limit(20);
    run_ok("abort");
    t_wait(process, &result);
    t_expect_status(&result, 5);
    t_expect(STATE, "aborted");
}

static void changed_settings_act_from_another_process(void)
{
    struct t_process *process;
    struct t_result result;
    int64_t chunks;

    t_sql(TABLE);
    process = t_start("alter", "orders", "-s", "chunk.wal=64kB", "-s", "chunk.time=10ms", "-s",
                      "policy=fixed=200ms", NULL);
    wait_for_load();
    chunks = t_int(CHUNKS);
    t_run(&result, "set", JOB, "chunk.wal=64MB", "chunk.time=5s", "policy=off", NULL);
    t_expect_status(&result, 0);
    t_wait(process, &result);
    t_expect_status(&result, 0);
    /* From 64 kB, half as much again each time: 2.9 MB are a few chunks; with 64 kB they would
     * be 45. */
    assert_true(t_int(CHUNKS) - chunks < 25);
    t_run(&result, "set", JOB, "chunk.time=nonsense", NULL);
    t_expect_status(&result, 2);
    t_run(&result, "set", JOB, "no.such=1", NULL);
    t_expect_status(&result, 2);
}

/* ---------------------------------------------------------------------------------------------------
 * many processes */

static void three_processes_share_a_job_and_copy_each_row_once(void)
{
    struct t_process *first, *second, *third;
    struct t_result result;

    t_sql(TABLE);
    first = t_start("alter", "orders", SLOWLY("150ms"), NULL);
    wait_for_load();
    second = t_start("resume", JOB, NULL);
    third = t_start("resume", JOB, NULL);
    t_wait_until("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pghaul " JOB
                 " load%'\n"
                 "   AND datname = current_database()",
                 "6", 20);
    t_wait(first, &result);
    t_expect_status(&result, 0);
    t_wait(second, &result);
    t_expect_status(&result, 0);
    t_wait(third, &result);
    t_expect_status(&result, 0);
    t_expect(STATE, "ready");
    t_expect("SELECT sum(rows) FROM pghaul.span WHERE phase = 'load'", "20000");
    t_expect("SELECT facts #>> '{verify,rows}' FROM pghaul.job", "20000");
    t_expect("SELECT count(*) FROM pghaul.orders_1", "20000");
    t_expect("SELECT count(*) FROM pghaul.event WHERE kind = 'phase'", "8");
    run_ok("cutover");
    expect_equal();
}

static void a_follower_takes_over_when_the_leader_is_killed(void)
{
    struct t_process *first, *second;
    struct t_result result;

    t_sql(TABLE);
    first = t_start("alter", "orders", SLOWLY("100ms"), NULL);
    wait_for_load();
    second = t_start("resume", JOB, NULL);
    t_wait_until("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pghaul " JOB
                 " load%'\n"
                 "   AND datname = current_database()",
                 "4", 20);
    t_kill(first, SIGKILL);
    t_wait(first, &result);
    t_wait(second, &result);
    t_expect_status(&result, 0);
    t_expect(STATE, "ready");
    t_expect("SELECT sum(rows) FROM pghaul.span WHERE phase = 'load'", "20000");
    run_ok("cutover");
    expect_equal();
}

/* Two at once: one swaps, the other is told; never both, never half. */
static void two_cutovers_at_once_swap_once(void)
{
    struct t_process *first, *second;
    struct t_result a, b;

    ready_job();
    first = t_start("cutover", JOB, "--yes", NULL);
    second = t_start("cutover", JOB, "--yes", NULL);
    t_wait(first, &a);
    t_wait(second, &b);
    assert_int_equal(a.status + b.status, 3);
    t_expect(STATE, "cut_over");
    expect_equal();
    run_ok("rollback");
    expect_equal();
}

static void a_table_with_an_open_job_refuses_another(void)
{
    struct t_result result;

    ready_job();
    t_run(&result, "alter", "orders", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, JOB);
    run_ok("cutover");
    t_run(&result, "alter", "orders", NULL);
    t_expect_status(&result, 3);
    run_ok("finish");
    t_run(&result, "alter", "orders", NULL);
    t_expect_status(&result, 0);
}

/* Without schema pghaul, which both would make, and with it. */
static void two_alters_at_once_make_one_job(void)
{
    t_sql(TABLE);
    for (int round = 1; round <= 2; round++) {
        struct t_process *first = t_start("alter", "orders", NULL);
        struct t_process *second = t_start("alter", "orders", NULL);
        struct t_result a, b;

        t_wait(first, &a);
        t_wait(second, &b);
        t_expect_status(&a, a.status == 0 ? 0 : 3);
        t_expect_status(&b, a.status == 0 ? 3 : 0);
        t_expect("SELECT count(*) FROM pghaul.job WHERE state = 'ready'", "1");
        t_run(&a, "abort", t_text("SELECT name FROM pghaul.job WHERE state = 'ready'"), "--yes",
              NULL);
        t_expect_status(&a, 0);
    }
}

/* -----------------------------------------------------------------------------------------------------------
 * signals */

static void stopped_by(int signal_number)
{
    struct t_process *process;
    struct t_result result;

    t_fresh_database();
    t_sql(TABLE);
    process = t_start("alter", "orders", SLOWLY("100ms"), NULL);
    wait_for_load();
    t_kill(process, signal_number);
    t_limit(10);
    t_wait(process, &result);
    t_expect_status(&result, 5);
    t_expect_err(&result, "continue: pghaul resume " JOB);
    t_expect(STATE, "waiting");
    set("policy=off");
    t_limit(60);
    run_ok("resume");
    t_expect(STATE, "ready");
    t_expect("SELECT sum(rows) FROM pghaul.span WHERE phase = 'load'", "20000");
    run_ok("cutover");
    expect_equal();
}

static void a_signal_stops_within_one_chunk_and_says_how_to_continue(void)
{
    stopped_by(SIGINT);
    stopped_by(SIGTERM);
}

/* The cancel is repeated every second; the statement that says "waiting" takes longer than that. */
static void an_interruption_is_recorded_however_long_that_takes(void)
{
    struct t_process *process;
    struct t_result result;

    t_sql(TABLE);
    process = t_start("alter", "orders", SLOWLY("100ms"), NULL);
    wait_for_load();
    t_sql("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS\n"
          "    'BEGIN PERFORM pg_sleep(2.5); RETURN NEW; END';\n"
          "CREATE TRIGGER slow BEFORE UPDATE ON pghaul.job FOR EACH ROW\n"
          "    WHEN (NEW.state = 'waiting') EXECUTE FUNCTION slow()");
    t_kill(process, SIGINT);
    t_limit(30);
    t_wait(process, &result);
    t_expect_status(&result, 5);
    t_expect_err(&result, "continue: pghaul resume " JOB);
    t_expect(STATE, "waiting");
    t_sql("DROP FUNCTION slow() CASCADE");
    run_ok("abort");
}

static void signal_backends(const char *number)
{
    struct t_result result;
    const char *pids =
        t_text("SELECT string_agg(pid::text, ' ') FROM pg_stat_activity\n"
               " WHERE application_name LIKE 'pghaul%' AND datname = current_database()");

    t_run_program(&result, "sh", "-c", t_format("kill -%s %s", number, pids), NULL);
    t_expect_status(&result, 0);
}

static void a_second_signal_quits_at_once(void)
{
    struct t_process *process;
    struct t_result result;

    t_sql(TABLE);
    process = t_start("alter", "orders", SLOWLY("100ms"), NULL);
    wait_for_load();
    signal_backends("STOP"); /* the server answers nothing, not even a cancel */
    t_kill(process, SIGINT);
    clock_sleep_ms(1000);
    assert_true(t_running(process));
    t_kill(process, SIGINT);
    t_limit(5);
    t_wait(process, &result);
    signal_backends("CONT");
    t_expect_status(&result, 5);
    t_limit(60);
    run_ok("abort");
}

static void a_cutover_that_is_interrupted_leaves_the_job_ready(void)
{
    struct t_session *holder = t_session("holder");
    struct t_process *process;
    struct t_result result;

    ready_job();
    t_do(holder, "BEGIN; SELECT count(*) FROM orders");
    clock_sleep_ms(600);
    process = t_start("cutover", JOB, "--yes", NULL);
    clock_sleep_ms(1500);
    assert_true(t_running(process));
    t_kill(process, SIGTERM);
    t_wait(process, &result);
    t_expect_status(&result, 5);
    t_expect_err(&result, "continue: pghaul cutover " JOB);
    t_expect(STATE, "ready");
    t_do(holder, "COMMIT");
    run_ok("cutover");
}

/* -----------------------------------------------------------------------------------------------------------
 * looking */

static void guard_says_7_while_a_job_is_open(void)
{
    struct t_result result;

    t_sql(TABLE);
    t_run(&result, "guard", "orders", "twin", NULL);
    t_expect_status(&result, 0);
    t_run(&result, "alter", "orders", NULL);
    t_run(&result, "guard", "twin", "orders", NULL);
    t_expect_status(&result, 7);
    t_expect_out(&result, JOB);
    run_ok("cutover");
    t_run(&result, "guard", "orders", NULL);
    t_expect_status(&result, 7);
    run_ok("finish");
    t_run(&result, "guard", "orders", NULL);
    t_expect_status(&result, 0);
}

static const char KEYS[] =
    "chunks,differences,error,eta_seconds,irreversible_rows,job,kind,locks,log_keys,next,old_table,"
    "percent,phase,phases,repaired,retries,rows_done,rows_per_second,rows_total,state,stuck_keys,"
    "table,throttle,wal_bytes,workers";

static void expect_keys(void)
{
    struct t_result result;

    t_run(&result, "status", JOB, "--json", NULL);
    t_expect_status(&result, 0);
    t_expect(t_format("SELECT string_agg(k, ',' ORDER BY k COLLATE \"C\") FROM "
                      "json_object_keys($json$%s$json$) AS k",
                      result.out),
             KEYS);
    t_expect(t_format("SELECT string_agg(DISTINCT k, ',' ORDER BY k) FROM\n"
                      "  json_array_elements($json$%s$json$::json -> 'phases') AS p, "
                      "json_object_keys(p) AS k",
                      result.out),
             "name,seconds,state");
    t_run(&result, "status", "--json", NULL);
    t_expect_status(&result, 0);
    t_expect(t_format("SELECT json_array_length($json$%s$json$)", result.out), "1");
}

static void status_as_json_has_the_documented_keys_in_every_state(void)
{
    struct t_process *process;
    struct t_result result;

    t_sql(TABLE);
    process = t_start("alter", "orders", SLOWLY("100ms"), NULL);
    wait_for_load();
    expect_keys();
    set("policy=off");
    t_wait(process, &result);
    t_expect_status(&result, 0);
    expect_keys();
    run_ok("cutover");
    expect_keys();
    run_ok("rollback");
    expect_keys();
}

static void following_ends_when_the_job_is_at_rest(void)
{
    struct t_process *process, *follower;
    struct t_result result;

    t_sql(TABLE);
    process = t_start("alter", "orders", SLOWLY("50ms"), NULL);
    wait_for_load();
    follower = t_start("status", JOB, "-f", NULL);
    t_wait(process, &result);
    t_expect_status(&result, 0);
    t_limit(10);
    t_wait(follower, &result);
    t_expect_status(&result, 0);
    t_expect_out(&result, "load");
    t_expect_out(&result, "ready");
}

/* ------------------------------------------------------------------------------------------------------
 * wrong states */

static void verbs_in_the_wrong_state_are_refused(void)
{
    struct t_process *process;
    struct t_result result;

    t_sql(TABLE);
    process = t_start("alter", "orders", SLOWLY("200ms"), NULL);
    wait_for_load();
    refused("cutover", "not ready");
    refused("rollback", "does not apply");
    refused("finish", "does not apply");
    refused("verify", "does not apply");
    set("policy=off");
    t_wait(process, &result);
    t_expect_status(&result, 0);
    refused("rollback", "nothing was swapped");
    refused("finish", "does not apply");
    refused("pause", "nothing to pause");
    run_ok("cutover");
    refused("cutover", "it has happened");
    refused("abort", "cut over");
    refused("verify", "does not apply");
    refused("pause", "nothing to pause");
    run_ok("finish");
    run_ok("finish"); /* it is so already */
    refused("rollback", "does not apply");
    refused("cutover", "over");
    refused("abort", "over");
    refused("resume", "over");
    refused("pause", "over");
    t_run(&result, "set", JOB, "workers=1", NULL);
    t_expect_status(&result, 3);
    t_run(&result, "resume", "no-such-job", NULL);
    t_expect_status(&result, 2);
}

static void without_a_terminal_verbs_that_swap_or_destroy_need_yes(void)
{
    static const char *const BEFORE[] = {"cutover", "abort", NULL};
    static const char *const AFTER[] = {"rollback", "finish", NULL};
    struct t_result result;

    ready_job();
    for (const char *const *verb = BEFORE; *verb != NULL; verb++) {
        t_run(&result, *verb, JOB, NULL);
        t_expect_status(&result, 2);
        t_expect_err(&result, "--yes");
        t_expect(STATE, "ready");
    }
    run_ok("cutover");
    for (const char *const *verb = AFTER; *verb != NULL; verb++) {
        t_run(&result, *verb, JOB, NULL);
        t_expect_status(&result, 2);
        t_expect(STATE, "cut_over");
    }
    t_sql("CREATE TABLE other (id int PRIMARY KEY)");
    t_run(&result, "alter", "other", "--cutover", "now", NULL);
    t_expect_status(&result, 2);
    t_expect("SELECT count(*) FROM pghaul.job", "1");
}

static void cutover_now_goes_the_whole_way(void)
{
    struct t_result result;

    t_sql(TABLE);
    t_run(&result, "alter", "orders", "--do", "ALTER COLUMN id TYPE bigint", "--cutover", "now",
          "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "swapped");
    t_expect(STATE, "cut_over");
    t_expect("SELECT pg_typeof(id)::text FROM orders LIMIT 1", "bigint");
    expect_equal();
}

/* -------------------------------------------------------------------------------------------- in
 * the way of a cutover */

static void a_long_transaction_on_the_table_is_named_and_nobody_queues_behind_us(void)
{
    struct t_session *holder, *application;
    struct t_process *process;
    struct t_result result;
    int statements = 0;

    ready_job();
    holder = t_session("the-holder");
    application = t_session("application");
    set("lock.tries=8");
    t_do(application, "SET lock_timeout = '150ms'");
    t_do(holder, "BEGIN; SELECT count(*) FROM orders");
    process = t_start("cutover", JOB, "--yes", NULL);
    while (t_running(process)) {
        t_do(application,
             "UPDATE orders SET a = a WHERE id = 1"); /* fails when it waits for longer */
        statements++;
        clock_sleep_ms(5);
    }
    t_wait(process, &result);
    t_expect_status(&result, 6);
    t_expect_err(&result, "the-holder");
    t_expect_err(&result, t_format("%d", t_backend_pid(holder)));
    assert_true(statements > 50);
    t_expect(STATE, "ready");
    t_do(holder, "COMMIT");
    set("lock.tries=60"); /* a busy machine may need more than 8 */
    run_ok("cutover");
    expect_equal();
}

static void an_old_snapshot_is_named_and_then_waited_for(void)
{
    struct t_session *holder;
    struct t_process *process;
    struct t_result result;

    ready_job();
    holder = t_session("old-snapshot");
    t_do(holder, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM twin");
    set("snapshot.wait=1s");
    t_run(&result, "cutover", JOB, "--yes", NULL);
    t_expect_status(&result, 6);
    t_expect_err(&result, "old-snapshot");
    t_expect(STATE, "ready");
    set("snapshot.wait=60s");
    process = t_start("cutover", JOB, "--yes", NULL);
    clock_sleep_ms(1500);
    assert_true(t_running(process));
    t_expect(STATE, "ready");
    t_expect(
        t_format("SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass AND mode = "
                 "'AccessExclusiveLock'"),
        "0");
    t_do(holder, "COMMIT");
    t_wait(process, &result);
    t_expect_status(&result, 0);
}

/* A row taken out of the shadow behind everybody's back is found by the verification that cutover
 * repeats. */
static void cutover_repeats_a_verification_that_is_too_old(void)
{
    ready_job();
    t_expect("SELECT count(*) FROM pghaul.event WHERE kind = 'phase' AND detail = 'verify'", "1");
    t_sql("DELETE FROM pghaul.orders_1 WHERE id = 77");
    set("verify.age=1s");
    clock_sleep_ms(1200);
    run_ok("cutover");
    t_expect("SELECT count(*) FROM pghaul.event WHERE kind = 'phase' AND detail = 'verify'", "2");
    t_expect("SELECT facts #>> '{verify,differences}' FROM pghaul.job", "1");
    expect_equal();
}

static void cutover_does_not_repeat_a_fresh_verification(void)
{
    ready_job();
    run_ok("cutover");
    t_expect("SELECT count(*) FROM pghaul.event WHERE kind = 'phase' AND detail = 'verify'", "1");
}

static void verify_finds_and_repairs_a_damage_on_demand(void)
{
    struct t_result result;

    ready_job();
    t_sql("UPDATE pghaul.orders_1 SET a = -1 WHERE id = 5");
    t_run(&result, "verify", JOB, NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "1 difference");
    t_expect(STATE, "ready");
    t_expect("SELECT a FROM pghaul.orders_1 WHERE id = 5", "5");
}

/* -------------------------------------------------------------------------------------------------------
 * the log's size */

static int64_t log_bytes(const char *label)
{
    return t_int(
        t_format("SELECT pg_relation_size('pghaul.%s_1_a') + pg_relation_size('pghaul.%s_1_b')",
                 label, label));
}

/* What versions 2 and 3 brought is taken away again: that is what version 1 was. */
static void a_schema_of_an_older_program_is_brought_up(void)
{
    struct t_result result;
    struct t_process *process;

    t_sql(TABLE);
    process = t_start("alter", "orders", SLOWLY("100ms"), NULL);
    wait_for_load();
    t_kill(process, SIGINT);
    t_wait(process, &result);
    t_expect_status(&result, 5);
    t_sql("ALTER TABLE pghaul.span DROP COLUMN written, DROP COLUMN later, DROP COLUMN refused,\n"
          "    DROP COLUMN skipped;\n"
          "ALTER TABLE pghaul.sample DROP COLUMN pid, DROP COLUMN rate, DROP COLUMN workers,\n"
          "    DROP COLUMN signal, DROP COLUMN who, DROP COLUMN value, DROP COLUMN limit_value,\n"
          "    DROP COLUMN seconds, DROP COLUMN reason, DROP COLUMN signals;\n"
          "DROP TABLE pghaul.pulse;\n"
          "DELETE FROM pghaul.version WHERE version > 1");
    t_run(&result, "status", JOB, NULL);
    t_expect_status(&result, 0);
    set("policy=off");
    t_run(&result, "resume", JOB, NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT max(version) FROM pghaul.version", "3");
    run_ok("cutover");
    expect_equal();
}

/* `turns` times: everything changes, and resume takes it over. */
static void keep_up(const char *label, int turns)
{
    int64_t once = 0;

    for (int i = 0; i < turns; i++) {
        t_sql("UPDATE orders SET a = a + 1");
        t_sql("UPDATE twin SET a = a + 1");
        if (i == 0)
            once = log_bytes(label);
        assert_true(once > 0);
        run_ok("resume");
        t_expect(t_format("SELECT NOT EXISTS (SELECT FROM pghaul.%s_1_a) AND NOT EXISTS (SELECT "
                          "FROM pghaul.%s_1_b)",
                          label, label),
                 "t");
    }
    assert_true(log_bytes(label) <= 2 * once);
}

static void resume_keeps_the_log_of_a_ready_or_swapped_job_short(void)
{
    ready_job();
    keep_up("log", 5);
    t_expect(STATE, "ready");
    run_ok("cutover");
    expect_equal();
    keep_up("back", 4);
    t_expect(STATE, "cut_over");
    run_ok("rollback");
    expect_equal();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(pause_acts_within_one_chunk_and_resume_goes_on),
        t_test(a_job_paused_between_walks_is_paused_until_resumed),
        t_test(a_changed_policy_acts_in_the_middle_of_a_rest),
        t_test(an_abort_acts_in_the_middle_of_a_rest),
        t_test(changed_settings_act_from_another_process),
        t_test(three_processes_share_a_job_and_copy_each_row_once),
        t_test(a_follower_takes_over_when_the_leader_is_killed),
        t_test(two_cutovers_at_once_swap_once),
        t_test(a_table_with_an_open_job_refuses_another),
        t_test(two_alters_at_once_make_one_job),
        t_test(a_signal_stops_within_one_chunk_and_says_how_to_continue),
        t_test(an_interruption_is_recorded_however_long_that_takes),
        t_test(a_second_signal_quits_at_once),
        t_test(a_cutover_that_is_interrupted_leaves_the_job_ready),
        t_test(guard_says_7_while_a_job_is_open),
        t_test(status_as_json_has_the_documented_keys_in_every_state),
        t_test(following_ends_when_the_job_is_at_rest),
        t_test(verbs_in_the_wrong_state_are_refused),
        t_test(without_a_terminal_verbs_that_swap_or_destroy_need_yes),
        t_test(cutover_now_goes_the_whole_way),
        t_test(a_long_transaction_on_the_table_is_named_and_nobody_queues_behind_us),
        t_test(an_old_snapshot_is_named_and_then_waited_for),
        t_test(cutover_repeats_a_verification_that_is_too_old),
        t_test(cutover_does_not_repeat_a_fresh_verification),
        t_test(verify_finds_and_repairs_a_damage_on_demand),
        t_test(a_schema_of_an_older_program_is_brought_up),
        t_test(resume_keeps_the_log_of_a_ready_or_swapped_job_short),
    };

    return T_MAIN(tests);
}
