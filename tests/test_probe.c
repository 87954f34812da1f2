/*
 * throttle/probe against a server without replicas: every signal reads, says whose it is, and is
 * never zero because it is unknown; by an ordinary owner, too.
 */
#include "tests/probing.h"

#include <signal.h>
#include <string.h>

#include "engine/base/clock.h"

static const char *const ALL_ON[] = {
    "limit.replica-lag-time=2s",
    "limit.slot-retained=4GB",
    "limit.wal-rate=1TB",
    "limit.archiver-backlog=1GB",
    "limit.checkpoints-requested=2",
    "limit.dead-tuples=1000",
    "limit.vacuum-running=on",
    "limit.disk=1GB",
    "limit.query=5 SELECT 1.5",
    "cpus=2",
    "limit.active-sessions=on",
    "limit.commit-wait=5",
};

static void expect_who(const struct reading *reading, const char *part)
{
    if (strstr(reading->who, part) == NULL)
        t_fail("'%s' is not in '%s'", part, reading->who);
}

static void make_mover(void)
{
    t_sql("DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mover') THEN"
          " CREATE ROLE mover LOGIN; END IF; END $$; REVOKE pg_monitor FROM mover");
}

/* ------------------------------------------------------------------------------ what is readable
 */

static void a_single_server_needs_no_privilege_for_the_defaults(void)
{
    struct probe *probe;

    make_mover();
    probe = probing("mover", NULL);
    probing_accepted(probe);
    probing_expect(probe, SIGNAL_REPLICA_LAG_BYTES, READING_ABSENT);
    probing_expect(probe, SIGNAL_REPLICAS_MISSING, READING_ABSENT);
    probing_expect(probe, SIGNAL_SLOT_WAL_LEFT, READING_ABSENT);
    probing_expect(probe, SIGNAL_FOREGROUND_LATENCY, READING_ABSENT);
    assert_true(probing_expect(probe, SIGNAL_BLOCKED_BY_US, READING_OK)->value == 0);
    assert_true(probing_expect(probe, SIGNAL_XMIN_AGE, READING_OK)->value >= 0);
    probing_expect(probe, SIGNAL_WAL_RATE, READING_OFF);
    assert_true(probe_view(probe)->wal > 0);
    probe_close(probe);
}

static struct probe *all_on(const char *role, const struct probe_target *target)
{
    struct probe *probe = probing_at(target, role, NULL);
    struct settings settings;
    struct error error;

    settings_init(&settings);
    for (size_t i = 0; i < sizeof(ALL_ON) / sizeof(ALL_ON[0]); i++)
        if (!settings_set(&settings, ALL_ON[i], &error))
            t_fail("%s", error.message);
    probe_configure(probe, &settings);
    return probe;
}

static void every_signal_reads_on_this_version(void)
{
    struct probe_target target = {.table_count = 1, .disk_base = -1};
    struct probe *probe;

    t_sql("CREATE TABLE orders (id int)");
    target.tables[0] = probing_oid("orders");
    target.job = probing_job();
    probe = all_on(NULL, &target);
    probing_accepted(probe);
    probing_until(probe, SIGNAL_WAL_RATE, READING_OK);
    for (int i = 0; i < SIGNAL_COUNT; i++)
        if (probing_reading(probe, i)->state != READING_OK &&
            probing_reading(probe, i)->state != READING_ABSENT)
            t_fail("%s is in state %d: %s", signal_table[i].name, probing_reading(probe, i)->state,
                   probing_reading(probe, i)->why);
    assert_true(probing_reading(probe, SIGNAL_QUERY)->value == 1.5);
    probing_expect(probe, SIGNAL_CHECKPOINTS_REQUESTED, READING_OK);
    probing_expect(probe, SIGNAL_ACTIVE_SESSIONS, READING_OK);
    probing_expect(probe, SIGNAL_ARCHIVER_BACKLOG, READING_OK);
    probe_close(probe);
}

static void what_other_sessions_do_needs_a_grant_and_the_grant_helps(void)
{
    struct probe *probe;
    const char *hint;

    make_mover();
    t_sql("CREATE TABLE orders (id int)");
    probe =
        all_on("mover", &(struct probe_target){
                            .tables = {probing_oid("orders")}, .table_count = 1, .disk_base = -1});
    hint = probing_refused(probe, "active-sessions cannot be read", "GRANT pg_monitor TO");
    if (strstr(hint, "-s limit.active-sessions=off") == NULL)
        t_fail("no way to turn it off in '%s'", hint);
    for (int i = 0; i < SIGNAL_COUNT; i++)
        if (i != SIGNAL_ACTIVE_SESSIONS && i != SIGNAL_COMMIT_WAIT && i != SIGNAL_WAL_RATE &&
            probing_reading(probe, i)->state == READING_UNREADABLE)
            t_fail("%s: %s", signal_table[i].name, probing_reading(probe, i)->why);
    t_sqlf("%.*s", (int)strcspn(hint, ";"), hint);
    probing_accepted(probe);
    probe_close(probe);
}

/* ------------------------------------------------------------------------------------ slots, WAL
 */

static void an_inactive_slot_is_named_with_what_it_retains(void)
{
    struct probe *probe = probing(NULL, "limit.slot-retained=4GB", NULL);
    const struct reading *reading;

    t_sql("CREATE TABLE t AS SELECT generate_series(1, 100000) AS i");
    probing_look(probe);
    probing_expect(probe, SIGNAL_SLOT_RETAINED, READING_ABSENT);
    t_sql("SELECT pg_create_physical_replication_slot('forgotten', true)");
    t_sql("CREATE TABLE u AS SELECT generate_series(1, 100000) AS i");
    probing_look(probe);
    reading = probing_expect(probe, SIGNAL_SLOT_RETAINED, READING_OK);
    assert_true(reading->value > 3e6);
    expect_who(reading, "forgotten (inactive)");
    probing_expect(probe, SIGNAL_SLOT_WAL_LEFT, READING_ABSENT);
    t_sql("ALTER SYSTEM SET max_slot_wal_keep_size = '512MB'");
    t_sql("SELECT pg_reload_conf()");
    reading = probing_until(probe, SIGNAL_SLOT_WAL_LEFT, READING_OK);
    assert_true(reading->value > 80 && reading->value <= 100);
    t_sql("ALTER SYSTEM RESET max_slot_wal_keep_size");
    t_sql("SELECT pg_reload_conf(), pg_drop_replication_slot('forgotten')");
    probe_close(probe);
}

static void the_rate_of_the_log_is_of_all_sessions(void)
{
    struct probe *probe = probing(NULL, "limit.wal-rate=1TB", NULL);

    probing_look(probe);
    probing_expect(probe, SIGNAL_WAL_RATE, READING_ABSENT);
    t_sql("CREATE TABLE t AS SELECT generate_series(1, 100000) AS i");
    clock_sleep_ms(1000);
    probing_look(probe);
    assert_true(probing_expect(probe, SIGNAL_WAL_RATE, READING_OK)->value > 1e5);
    probe_close(probe);
}

static void an_archiver_that_fails_is_named_by_its_segment(void)
{
    struct probe *probe;
    const struct reading *reading;

    t_sql("SELECT pg_switch_wal()");
    t_wait_until("SELECT count(*) FROM pg_stat_archiver WHERE archived_count > 0", "1", 20);
    t_sql("ALTER SYSTEM SET archive_command = 'false'; ");
    t_sql("SELECT pg_reload_conf()");
    t_sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS i");
    t_sql("SELECT pg_switch_wal()");
    t_wait_until("SELECT last_failed_time > last_archived_time FROM pg_stat_archiver", "t", 20);
    t_sql("CREATE TABLE u AS SELECT generate_series(1, 500000) AS i");
    probe = probing(NULL, "limit.archiver-backlog=1GB", NULL);
    probing_look(probe);
    reading = probing_expect(probe, SIGNAL_ARCHIVER_BACKLOG, READING_OK);
    expect_who(reading, t_text("SELECT last_failed_wal FROM pg_stat_archiver"));
    /* The oracle: bytes from the begin of that segment. */
    assert_true(reading->value >= 16e6);
    assert_true(
        reading->value ==
        (double)t_int("SELECT (pg_current_wal_insert_lsn() - (SELECT (substr(w, 9, 8) || '/'"
                      " || to_hex(('x' || substr(w, 17, 8))::bit(32)::int * 16777216))"
                      "::pg_lsn FROM (SELECT last_failed_wal AS w FROM pg_stat_archiver)"
                      " AS a))::bigint"));
    t_sql("ALTER SYSTEM RESET archive_command");
    t_sql("SELECT pg_reload_conf()");
    t_wait_until("SELECT last_archived_time > last_failed_time FROM pg_stat_archiver", "t", 90);
    t_sql("SELECT pg_switch_wal()");
    clock_sleep_ms(500);
    probing_look(probe);
    assert_true(probing_reading(probe, SIGNAL_ARCHIVER_BACKLOG)->value < 33e6);
    assert_string_equal(probing_reading(probe, SIGNAL_ARCHIVER_BACKLOG)->who, "");
    probe_close(probe);
}

static void checkpoints_that_came_early_are_counted(void)
{
    struct probe *probe = probing(NULL, "limit.checkpoints-requested=2", NULL);

    probing_look(probe);
    assert_true(probing_expect(probe, SIGNAL_CHECKPOINTS_REQUESTED, READING_OK)->value == 0);
    t_sql("CHECKPOINT");
    t_sql("CREATE TABLE t (i int)");
    t_sql("CHECKPOINT");
    for (int i = 0; i < 50 && probing_reading(probe, SIGNAL_CHECKPOINTS_REQUESTED)->value < 2;
         i++) {
        clock_sleep_ms(100);
        probing_look(probe);
    }
    assert_true(probing_reading(probe, SIGNAL_CHECKPOINTS_REQUESTED)->value >= 2);
    probe_close(probe);
}

/* --------------------------------------------------------------------------------- other sessions
 */

static void who_waits_for_a_lock_of_ours_is_named_with_the_query(void)
{
    struct t_session *ours = t_session("ours"), *other = t_session("other");
    struct t_session *third = t_session("third");
    struct probe *probe = probing(NULL, NULL);
    const struct reading *reading;

    t_sql("CREATE TABLE orders AS SELECT 1 AS id");
    t_do(ours, "SET application_name = 'pghaul j backfill 1'");
    t_do(ours, "BEGIN; UPDATE orders SET id = 2");
    t_send(other, "UPDATE  orders SET\n id = 3");
    t_waits(other);
    probing_look(probe);
    reading = probing_expect(probe, SIGNAL_BLOCKED_BY_US, READING_OK);
    assert_true(reading->value == 1);
    expect_who(reading, ": UPDATE orders SET id = 3)");
    t_do(ours, "COMMIT");
    t_receive(other);
    /* One that waits for somebody else is not ours. */
    t_do(third, "BEGIN; UPDATE orders SET id = 4");
    t_send(other, "UPDATE orders SET id = 5");
    t_waits(other);
    probing_look(probe);
    assert_true(probing_expect(probe, SIGNAL_BLOCKED_BY_US, READING_OK)->value == 0);
    t_do(third, "COMMIT");
    t_receive(other);
    probe_close(probe);
}

static void the_oldest_snapshot_is_of_others_and_of_this_database(void)
{
    struct t_session *old = t_session("old");
    struct probe *probe = probing(NULL, NULL);
    const struct reading *reading;
    double before;

    probing_look(probe);
    before = probing_expect(probe, SIGNAL_XMIN_AGE, READING_OK)->value;
    t_do(old, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    t_sql("CREATE TABLE t (i int)");
    t_sql("DO $$ BEGIN FOR i IN 1 .. 100 LOOP BEGIN INSERT INTO t VALUES (i);"
          " EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$");
    probing_look(probe);
    reading = probing_expect(probe, SIGNAL_XMIN_AGE, READING_OK);
    assert_true(reading->value >= before + 100);
    expect_who(reading, "user postgres");
    /* Ours holds nothing back that we would wait for. */
    t_do(old, "SET application_name = 'pghaul j'");
    probing_look(probe);
    assert_true(probing_reading(probe, SIGNAL_XMIN_AGE)->value < 100);
    t_do(old, "ROLLBACK");
    probe_close(probe);
}

static void sessions_that_run_are_counted_without_ours(void)
{
    struct t_session *busy = t_session("busy"), *ours = t_session("ours");
    struct probe *probe = probing(NULL, "limit.active-sessions=10", NULL);
    static const char LOOP[] = "DO $$ DECLARE t timestamptz := clock_timestamp(); BEGIN WHILE"
                               " clock_timestamp() < t + interval '2 s' LOOP END LOOP; END $$";

    t_do(ours, "SET application_name = 'pghaul j'");
    t_send(busy, LOOP);
    t_send(ours, LOOP);
    for (int i = 0; i < 15 && probing_reading(probe, SIGNAL_ACTIVE_SESSIONS)->value != 1; i++) {
        clock_sleep_ms(100);
        probing_look(probe);
    }
    assert_true(probing_expect(probe, SIGNAL_ACTIVE_SESSIONS, READING_OK)->value == 1);
    assert_true(probe_view(probe)->foreign);
    t_receive(busy);
    t_receive(ours);
    probe_close(probe);
}

static void a_relative_limit_comes_from_our_own_pauses(void)
{
    struct probe *probe = probing(NULL, "limit.active-sessions=on", NULL);
    struct error error;

    for (int i = 0; i < 20; i++)
        probing_look(probe);
    probing_expect(probe, SIGNAL_ACTIVE_SESSIONS, READING_ABSENT);
    for (int i = 0; i < 20; i++)
        assert_true(probe_slow(probe, 1000000, &error));
    assert_true(probing_expect(probe, SIGNAL_ACTIVE_SESSIONS, READING_OK)->limit >= 2);
    probe_close(probe);
}

/* ----------------------------------------------------------------------------------------- tables
 */

static void dead_rows_and_vacuums_of_our_tables_are_seen(void)
{
    struct t_session *vacuum = t_session("vacuum");
    struct probe_target target = {.table_count = 1, .disk_base = -1};
    const struct reading *reading;
    struct probe *probe;

    make_mover();
    t_sql("CREATE TABLE orders WITH (autovacuum_enabled = off) AS"
          " SELECT i, repeat('x', 500) FROM generate_series(1, 20000) AS i");
    t_sql("ALTER TABLE orders OWNER TO mover");
    t_sql("DELETE FROM orders");
    target.tables[0] = probing_oid("orders");
    probe = probing_at(&target, "mover", "limit.dead-tuples=1000", "limit.vacuum-running=on", NULL);
    for (int i = 0; i < 100 && probing_reading(probe, SIGNAL_DEAD_TUPLES)->value < 20000; i++) {
        clock_sleep_ms(100);
        t_sql("SELECT 1"); /* 14 tells its statistics with the next statement only */
        probing_look(probe);
    }
    reading = probing_expect(probe, SIGNAL_DEAD_TUPLES, READING_OK);
    assert_true(reading->value == 20000);
    assert_string_equal(reading->who, "public.orders");
    assert_true(probing_expect(probe, SIGNAL_VACUUM_RUNNING, READING_OK)->value == 0);
    t_do(vacuum, "SET vacuum_cost_delay = 100; SET vacuum_cost_limit = 1");
    t_send(vacuum, "VACUUM orders");
    t_wait_until("SELECT count(*) FROM pg_stat_progress_vacuum", "1", 10);
    probing_look(probe);
    reading = probing_expect(probe, SIGNAL_VACUUM_RUNNING, READING_OK);
    assert_true(reading->value == 1);
    expect_who(reading, "public.orders, process ");
    t_sql("SELECT pg_cancel_backend(pid) FROM pg_stat_progress_vacuum");
    t_receive_error(vacuum, "57014");
    probe_close(probe);
}

static void growth_counts_what_the_job_has_in_its_schema_too(void)
{
    struct probe_target target = {.table_count = 1, .disk_base = -1};
    struct probe *probe;
    double base;

    t_sql("CREATE TABLE orders AS SELECT i FROM generate_series(1, 100000) AS i");
    target.tables[0] = probing_oid("orders");
    target.job = probing_job();
    probe = probing_at(&target, NULL, "limit.disk=1GB", NULL);
    probing_look(probe);
    assert_true(probing_expect(probe, SIGNAL_DISK_BUDGET, READING_OK)->value == 0);
    base = probe_view(probe)->disk_base;
    assert_true(base > 3e6);
    t_sqlf("CREATE TABLE pghaul.orders_%lld AS TABLE orders", (long long)target.job);
    t_sqlf("CREATE TABLE pghaul.orders_%lld0 AS TABLE orders", (long long)target.job);
    probing_look(probe);
    assert_true(probing_reading(probe, SIGNAL_DISK_BUDGET)->value > 3e6);
    assert_true(probing_reading(probe, SIGNAL_DISK_BUDGET)->value < 5e6);
    probe_close(probe);
    /* Another process goes on from the same base. */
    target.disk_base = base;
    probe = probing_at(&target, NULL, "limit.disk=1GB", NULL);
    probing_look(probe);
    assert_true(probing_reading(probe, SIGNAL_DISK_BUDGET)->value > 3e6);
    probe_close(probe);
}

/* ------------------------------------------------------------------------------------------ query
 */

static void expect_query(const char *sql, const char *why)
{
    struct probe *probe = probing(NULL, t_format("limit.query=5 %s", sql), NULL);
    const struct reading *reading;

    probing_look(probe);
    reading = probing_expect(probe, SIGNAL_QUERY, READING_UNREADABLE);
    if (strstr(reading->why, why) == NULL)
        t_fail("'%s' is not in '%s'", why, reading->why);
    probe_close(probe);
}

static void the_users_query_is_a_number_or_unreadable_and_writes_nothing(void)
{
    struct probe *probe;

    t_sql("CREATE TABLE busy (n numeric); INSERT INTO busy VALUES (3.5)");
    probe = probing(NULL, "limit.query=5 SELECT n, 7 FROM busy", NULL);
    probing_look(probe);
    assert_true(probing_expect(probe, SIGNAL_QUERY, READING_OK)->value == 3.5);
    t_sql("UPDATE busy SET n = -1");
    probing_look(probe);
    assert_true(probing_expect(probe, SIGNAL_QUERY, READING_OK)->value == 0);
    t_sql("UPDATE busy SET n = NULL");
    probing_look(probe);
    probing_expect(probe, SIGNAL_QUERY, READING_UNREADABLE);
    probing_expect(probe, SIGNAL_BLOCKED_BY_US, READING_OK);
    probe_close(probe);
    expect_query("SELECT 'many'", "returned no number");
    expect_query("SELECT 1 WHERE false", "returned no number");
    expect_query("WITH d AS (DELETE FROM busy RETURNING 1) SELECT count(*) FROM d",
                 "read-only transaction");
    expect_query("SELECT 1; SELECT 2", "multiple commands");
    expect_query("SELECT 1 / 0", "division by zero");
    assert_int_equal(t_int("SELECT count(*) FROM busy"), 1);
}

/* ---------------------------------------------------------------------------------------- latency
 */

static void our_pulse_is_a_row_and_is_measured_against_our_pauses(void)
{
    struct probe_target target = {.job = 0, .disk_base = -1};
    const struct probe_view *view;
    struct probe *probe;

    target.job = probing_job();
    probe = probing_at(&target, NULL, NULL);
    view = probe_view(probe);
    probing_look(probe); /* nobody else is there */
    for (int i = 0; i < 20; i++)
        probing_pulse(probe, 0);
    probing_expect(probe, SIGNAL_FOREGROUND_LATENCY, READING_ABSENT);
    assert_true(view->baseline_us == 0 && view->latency_us > 0);
    for (int i = 0; i < 10; i++)
        probing_pulse(probe, 1000000);
    assert_true(probing_expect(probe, SIGNAL_FOREGROUND_LATENCY, READING_OK)->value > 0);
    assert_true(view->baseline_us > 0);
    t_expect("SELECT count(*) = 1 AND bool_and(written = 4711 AND wants AND priority = 10)"
             "  FROM pghaul.pulse",
             "t");
    probe_close(probe);
    t_expect("SELECT count(*) FROM pghaul.pulse", "0");
}

static void a_process_that_is_told_to_stop_takes_its_pulse_away(void)
{
    struct session_options connect = {.conninfo = t_conninfo()};
    struct probe_target target = {.disk_base = -1};
    struct settings settings;
    struct stop stop = {false};
    struct probe *probe = NULL;
    struct error error;

    settings_init(&settings);
    target.job = probing_job();
    if (!probe_open(&probe,
                    &(struct probe_options){.connect = &connect,
                                            .application_name = "pghaul probe",
                                            .settings = &settings,
                                            .stop = &stop},
                    &target, &error))
        t_fail("%s", error.message);
    probing_pulse(probe, 0);
    t_expect("SELECT count(*) FROM pghaul.pulse", "1");
    stop_request(&stop);
    probe_close(probe);
    t_expect("SELECT count(*) FROM pghaul.pulse", "0");
}

static void processes_see_each_others_pulses(void)
{
    struct probe_target target = {.disk_base = -1};
    struct probe *one, *other;

    target.job = probing_job();
    one = probing_at(&target, NULL, NULL);
    other = probing_at(&target, NULL, NULL);
    probing_pulse(one, 0);
    probing_look(one);
    assert_int_equal(probe_view(one)->peer_count, 0);
    probing_look(other);
    assert_int_equal(probe_view(other)->peer_count, 1);
    assert_true(probe_view(other)->peers[0].written == 4711);
    assert_true(probe_view(other)->peers[0].job == target.job);
    assert_true(probe_view(other)->peers[0].wants);
    assert_true(probe_view(other)->peers[0].age_seconds < 60);
    /* Who comes cleans up; who lives is no dirt, of the same job least of all. */
    probing_pulse(other, 0);
    t_expect("SELECT count(*) FROM pghaul.pulse", "2");
    probe_close(one);
    probing_look(other);
    assert_int_equal(probe_view(other)->peer_count, 0);
    probe_close(other);
}

static void a_peer_that_waits_to_begin_something_says_so(void)
{
    struct probe_target target = {.disk_base = -1};
    struct probe *one, *other;

    target.job = probing_job();
    one = probing_at(&target, NULL, NULL);
    other = probing_at(&target, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        probing_tell(one, (struct probe_pulse){.priority = 7, .written = 1, .waits = i == 0}, 0);
        probing_look(other);
        assert_int_equal(probe_view(other)->peer_count, 1);
        assert_int_equal(probe_view(other)->peers[0].priority, 7);
        assert_true(probe_view(other)->peers[0].waits == (i == 0));
        assert_false(probe_view(other)->peers[0].wants);
    }
    probe_close(one);
    probe_close(other);
}

/* Ten pulses in a pause of ours, while a peer says that; was one of them a sample? */
static bool samples_beside(struct probe *probe, struct probe *peer, struct probe_pulse pulse)
{
    int64_t before_us = probe_view(probe)->baseline_us;

    probing_tell(peer, pulse, 0);
    clock_sleep_ms(1000); /* what was written is compared over so long at least */
    probing_look(probe);
    for (int i = 0; i < 10; i++)
        probing_tell(probe, (struct probe_pulse){.priority = 10}, 1000000);
    return probe_view(probe)->baseline_us > before_us;
}

static void a_baseline_is_not_taken_while_another_process_works(void)
{
    struct probe_target target = {.disk_base = -1};
    struct probe *probe, *peer;
    struct error error;
    int64_t before_us;

    target.job = probing_job();
    probe = probing_at(&target, NULL, "limit.active-sessions=on", NULL);
    peer = probing_at(&target, NULL, NULL);
    /* Before the first look nobody knows; who is new may be at anything. */
    probing_tell(probe, (struct probe_pulse){.priority = 10}, 1000000);
    assert_true(probe_view(probe)->baseline_us == 0);
    assert_false(samples_beside(probe, peer, (struct probe_pulse){.written = 5}));
    assert_false(samples_beside(probe, peer, (struct probe_pulse){.written = 6}));
    assert_false(samples_beside(probe, peer, (struct probe_pulse){.written = 6, .wants = true}));
    for (int i = 0; i < 20; i++) {
        probing_tell(peer, (struct probe_pulse){.written = 6, .wants = true}, 0);
        assert_true(probe_slow(probe, 1000000, &error));
    }
    probing_expect(probe, SIGNAL_ACTIVE_SESSIONS, READING_ABSENT);
    probing_expect(probe, SIGNAL_FOREGROUND_LATENCY, READING_ABSENT);
    /* It is there, and rests. */
    assert_true(samples_beside(probe, peer, (struct probe_pulse){.written = 6}));
    for (int i = 0; i < 20; i++)
        assert_true(probe_slow(probe, 1000000, &error));
    probing_expect(probe, SIGNAL_ACTIVE_SESSIONS, READING_OK);
    probing_expect(probe, SIGNAL_FOREGROUND_LATENCY, READING_OK);
    /* One that has said nothing for long is at work no more, as far as anybody knows. */
    assert_false(samples_beside(probe, peer, (struct probe_pulse){.written = 7, .wants = true}));
    before_us = probe_view(probe)->baseline_us;
    t_sql("UPDATE pghaul.pulse SET at = at - interval '1 min' WHERE written = 7");
    clock_sleep_ms(1000);
    probing_look(probe);
    probing_tell(probe, (struct probe_pulse){.priority = 10}, 1000000);
    assert_true(probe_view(probe)->baseline_us > before_us);
    probe_close(probe);
    probe_close(peer);
}

static void rows_that_nobody_writes_any_more_are_taken_away(void)
{
    struct t_session *stranger = t_session("stranger"), *hung = t_session("hung");
    struct probe_target target = {.disk_base = -1};
    struct probe *probe;

    target.job = probing_job();
    t_do(hung, "SET application_name = 'pghaul j governor'");
    t_sqlf("INSERT INTO pghaul.job (id, name, kind, table_schema, table_name, source_oid, state,"
           "                        spec, plan, settings, meaning, program_version)"
           " SELECT 1000, 'k', kind, table_schema, table_name, source_oid, state, spec, plan,"
           "        settings, meaning, program_version FROM pghaul.job;"
           "INSERT INTO pghaul.pulse (job, pid, at, priority)"
           " SELECT j, p, clock_timestamp() - a, 10 FROM (VALUES"
           "   (%lld, 2000000001, interval '0'),"        /* killed just now: of this job, */
           "   (1000, 2000000001, interval '2 months')," /* of another one */
           "   (1000, 2000000002, interval '-1 min'),"   /* killed just now */
           "   (1000, %lld, interval '11 s'),"           /* its number is somebody else's now */
           "   (%lld, %lld, interval '50 min'),"         /* lives, and has long said nothing */
           "   (1000, %lld, interval '61 min')) AS v (j, p, a)", /* .. for too long */
           (long long)target.job, (long long)t_backend_pid(stranger), (long long)target.job,
           (long long)t_backend_pid(hung), (long long)t_backend_pid(hung));
    probe = probing_at(&target, NULL, NULL);
    probing_pulse(probe, 0);
    t_expect("SELECT string_agg(job || CASE WHEN pid > 2000000000 THEN ' killed' ELSE ' hangs' END,"
             "                  ', ' ORDER BY job) FROM pghaul.pulse WHERE written = 0",
             t_format("%lld hangs, 1000 killed", (long long)target.job));
    t_expect("SELECT count(*) FROM pghaul.pulse WHERE written = 4711", "1");
    probe_close(probe);
}

static void after_a_lost_connection_our_former_row_is_no_peer(void)
{
    struct t_session *lock = t_session("lock");
    struct probe_target target = {.disk_base = -1};
    struct probe *probe;

    target.job = probing_job();
    probe = probing_at(&target, NULL, NULL);
    probing_pulse(probe, 0);
    for (int i = 0; i < 2; i++) {
        if (i == 1) /* as the backend that we gave up may still do */
            t_do(lock, "BEGIN; SELECT FROM pghaul.pulse FOR UPDATE");
        t_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
              " WHERE application_name = 'pghaul probe' AND datname = current_database()");
        probing_look_again(probe);
        t_expect("SELECT count(*) FROM pghaul.pulse", "1");
        assert_int_equal(probe_view(probe)->peer_count, 0);
        probing_pulse(probe, 0);
        probing_look(probe);
        assert_int_equal(probe_view(probe)->peer_count, 0);
        t_expect("SELECT count(*) FROM pghaul.pulse", i == 0 ? "1" : "2");
        t_expect("SELECT count(*) FROM pghaul.pulse JOIN pg_stat_activity USING (pid)", "1");
    }
    t_do(lock, "COMMIT");
    probe_close(probe);
}

/* -------------------------------------------------------------------------------------- the probe
 */

static void with_the_defaults_a_look_is_one_statement(void)
{
    struct probe *probe = probing(NULL, NULL);
    int before;

    probing_look(probe);
    before = probe_view(probe)->statements;
    probing_look(probe);
    assert_int_equal(probe_view(probe)->statements, before + 1);
    probing_look_fast(probe);
    assert_int_equal(probe_view(probe)->statements, before + 2);
    probe_close(probe);
}

static void a_server_that_hangs_makes_readings_unknown_and_holds_nobody(void)
{
    struct probe *probe = probing(NULL, NULL);
    struct error error;
    int64_t start_ms;
    int pid;

    probing_look(probe);
    probing_expect(probe, SIGNAL_BLOCKED_BY_US, READING_OK);
    pid = (int)t_int("SELECT pid FROM pg_stat_activity WHERE application_name = 'pghaul probe'"
                     " AND datname = current_database()");
    kill(pid, SIGSTOP);
    start_ms = clock_ms();
    assert_false(probe_slow(probe, 0, &error));
    kill(pid, SIGCONT);
    assert_int_equal(error.code, ERROR_CONNECTION);
    assert_true(clock_ms() - start_ms < 60000);
    while (clock_ms() - start_ms < SIGNAL_STALE_US / 1000 + 500 && !probe_slow(probe, 0, &error))
        clock_sleep_ms(100);
    probing_until(probe, SIGNAL_BLOCKED_BY_US, READING_OK);
    probe_close(probe);
}

static void a_server_that_is_gone_is_unknown_until_it_is_back(void)
{
    struct probe *probe = probing(NULL, NULL);
    struct error error;
    int64_t end_ms;

    probing_look(probe);
    sandbox_crash(t_sandbox());
    assert_false(probe_slow(probe, 0, &error));
    end_ms = clock_ms() + 15000;
    while (probing_reading(probe, SIGNAL_XMIN_AGE)->state == READING_OK && clock_ms() < end_ms) {
        assert_false(probe_slow(probe, 0, &error));
        clock_sleep_ms(100);
    }
    if (strstr(probing_expect(probe, SIGNAL_XMIN_AGE, READING_UNREADABLE)->why, "not read for") ==
        NULL)
        t_fail("%s", probing_reading(probe, SIGNAL_XMIN_AGE)->why);
    probing_expect(probe, SIGNAL_REPLICA_LAG_BYTES, READING_UNREADABLE);
    if (!sandbox_restart(t_sandbox(), &error))
        t_fail("%s", error.message);
    probing_until(probe, SIGNAL_XMIN_AGE, READING_OK);
    probing_expect(probe, SIGNAL_REPLICA_LAG_BYTES, READING_ABSENT);
    probe_close(probe);
}

static void limits_change_under_way(void)
{
    struct probe *probe = probing(NULL, NULL);

    probing_look(probe);
    probing_expect(probe, SIGNAL_SLOT_RETAINED, READING_OFF);
    probing_set(probe, "limit.checkpoints-requested=3");
    probing_expect(probe, SIGNAL_CHECKPOINTS_REQUESTED, READING_UNREADABLE);
    probing_look(probe);
    assert_true(probing_expect(probe, SIGNAL_CHECKPOINTS_REQUESTED, READING_OK)->limit == 3);
    probing_set(probe, "limit.blocked-by-us=off");
    probing_look(probe);
    probing_expect(probe, SIGNAL_BLOCKED_BY_US, READING_OFF);
    probe_close(probe);
}

int main(void)
{
    static const char *const SETTINGS[] = {"archive_mode = on", "archive_command = 'true'",
                                           "wal_level = logical", NULL};
    const struct CMUnitTest tests[] = {
        t_test(a_single_server_needs_no_privilege_for_the_defaults),
        t_test(every_signal_reads_on_this_version),
        t_test(what_other_sessions_do_needs_a_grant_and_the_grant_helps),
        t_test(an_inactive_slot_is_named_with_what_it_retains),
        t_test(the_rate_of_the_log_is_of_all_sessions),
        t_test(an_archiver_that_fails_is_named_by_its_segment),
        t_test(checkpoints_that_came_early_are_counted),
        t_test(who_waits_for_a_lock_of_ours_is_named_with_the_query),
        t_test(the_oldest_snapshot_is_of_others_and_of_this_database),
        t_test(sessions_that_run_are_counted_without_ours),
        t_test(a_relative_limit_comes_from_our_own_pauses),
        t_test(dead_rows_and_vacuums_of_our_tables_are_seen),
        t_test(growth_counts_what_the_job_has_in_its_schema_too),
        t_test(the_users_query_is_a_number_or_unreadable_and_writes_nothing),
        t_test(our_pulse_is_a_row_and_is_measured_against_our_pauses),
        t_test(a_process_that_is_told_to_stop_takes_its_pulse_away),
        t_test(processes_see_each_others_pulses),
        t_test(a_peer_that_waits_to_begin_something_says_so),
        t_test(a_baseline_is_not_taken_while_another_process_works),
        t_test(rows_that_nobody_writes_any_more_are_taken_away),
        t_test(after_a_lost_connection_our_former_row_is_no_peer),
        t_test(with_the_defaults_a_look_is_one_statement),
        t_test(a_server_that_hangs_makes_readings_unknown_and_holds_nobody),
        t_test(a_server_that_is_gone_is_unknown_until_it_is_back),
        t_test(limits_change_under_way),
    };

    t_sandbox_options.settings = SETTINGS;
    return T_MAIN(tests);
}
