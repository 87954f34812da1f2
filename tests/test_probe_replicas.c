/*
 * throttle/probe against a server with a standby: how far it is behind, who may see that, and who
 * is missing.
 */
#include "tests/probing.h"

#include <signal.h>
#include <string.h>

#include "bench/standby.h"
#include "engine/base/clock.h"

static const char STREAMING[] =
    "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn IS NOT NULL";

static void make_mover(void)
{
    t_sql("DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mover') THEN"
          " CREATE ROLE mover LOGIN; END IF; END $$; REVOKE pg_monitor FROM mover");
}

static const char *standby_conninfo(void)
{
    return t_format("host=%s port=5433", sandbox_dir(t_sandbox()));
}

static void standby_is(bool paused)
{
    struct error error;

    if (!standby_pause(t_sandbox(), paused, &error))
        t_fail("%s", error.message);
}

static void delay_standby(const char *delay)
{
    struct error error;

    if (!standby_delay(t_sandbox(), delay, &error))
        t_fail("%s", error.message);
}

/* The standby has replayed all. */
static void caught_up(void)
{
    t_wait_until(STREAMING, "1", 30);
    t_wait_until("SELECT bool_and(replay_lsn >= pg_current_wal_lsn()) FROM pg_stat_replication",
                 "t", 30);
}

static void write_log(void)
{
    t_sql("CREATE TABLE IF NOT EXISTS filler (i int)");
    t_sql("INSERT INTO filler SELECT generate_series(1, 100000)");
}

static void expect_part(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        t_fail("'%s' is not in '%s'", part, text);
}

/* ----------------------------------------------------------------------------------- as shown here
 */

static void a_standby_is_read_as_the_server_shows_it(void)
{
    struct probe *probe = probing(NULL, "limit.replica-lag-time=2s", NULL);
    const struct probe_view *view = probe_view(probe);

    caught_up();
    probing_accepted(probe);
    assert_int_equal(view->replica_count, 1);
    assert_string_equal(view->replicas[0].name, "walreceiver");
    assert_int_equal(view->seen_count, 1);
    assert_string_equal(view->seen[0], "walreceiver");
    assert_true(probing_expect(probe, SIGNAL_REPLICA_LAG_BYTES, READING_OK)->value < 1e6);
    probing_expect(probe, SIGNAL_REPLICAS_MISSING, READING_ABSENT);
    probe_close(probe);
}

static void paused_replay_grows_in_bytes_and_in_seconds_and_goes_on(void)
{
    struct probe *probe = probing(NULL, "limit.replica-lag-time=2s", NULL);
    double bytes, wal;

    caught_up();
    probing_look(probe);
    standby_is(true);
    wal = probe_view(probe)->wal;
    for (int i = 0; i < 4; i++) {
        write_log();
        probing_look_fast(probe);
        clock_sleep_ms(400);
    }
    probing_look(probe);
    bytes = probing_expect(probe, SIGNAL_REPLICA_LAG_BYTES, READING_OK)->value;
    /* The oracle: what was written since then. */
    assert_true(bytes >= 20e6 && bytes <= probe_view(probe)->wal - wal + 1e6);
    assert_string_equal(probing_reading(probe, SIGNAL_REPLICA_LAG_BYTES)->who, "walreceiver");
    assert_true(probing_expect(probe, SIGNAL_REPLICA_LAG_TIME, READING_OK)->value > 1);
    assert_true(probe_view(probe)->replicas[0].backlog == bytes);
    standby_is(false);
    caught_up();
    probing_look(probe);
    assert_true(probing_reading(probe, SIGNAL_REPLICA_LAG_BYTES)->value < 1e6);
    probe_close(probe);
}

static void a_report_that_we_have_seen_is_not_new(void)
{
    struct probe *probe = probing(NULL, NULL);
    int64_t at_us;

    standby_is(true);
    write_log();
    clock_sleep_ms(300);
    probing_look_fast(probe);
    at_us = probe_view(probe)->replicas[0].at_us;
    clock_sleep_ms(300);
    probing_look_fast(probe); /* nothing was written: the standby has nothing to report */
    assert_true(probe_view(probe)->replicas[0].at_us == at_us);
    write_log();
    clock_sleep_ms(300);
    probing_look_fast(probe);
    assert_true(probe_view(probe)->replicas[0].at_us > at_us);
    standby_is(false);
    probe_close(probe);
}

static void an_ignored_replica_does_not_count(void)
{
    struct probe *probe = probing(NULL, "ignore-replica=other,walreceiver", NULL);

    probing_accepted(probe);
    probing_expect(probe, SIGNAL_REPLICA_LAG_BYTES, READING_ABSENT);
    assert_int_equal(probe_view(probe)->replica_count, 0);
    probe_close(probe);
}

/* -------------------------------------------------------------------------------------- privileges
 */

static void without_the_privilege_lag_is_refused_with_the_grant_and_the_switch(void)
{
    struct probe *probe;
    const char *hint;

    make_mover();
    caught_up();
    probe = probing("mover", NULL);
    hint = probing_refused(probe, "hides from this role how far walreceiver has come",
                           "GRANT pg_monitor TO");
    expect_part(hint, "--max-lag off");
    expect_part(hint, "--replica CONNINFO");
    probing_set(probe, "limit.replica-lag-bytes=off");
    probing_accepted(probe);
    probe_close(probe);
    probe = probing("mover", NULL);
    t_sqlf("%.*s", (int)strcspn(hint, ";"), hint);
    probing_accepted(probe);
    probing_expect(probe, SIGNAL_REPLICA_LAG_BYTES, READING_OK);
    probe_close(probe);
}

static void a_replica_that_is_asked_itself_needs_no_privilege(void)
{
    struct probe *probe;
    double bytes;

    make_mover();
    caught_up();
    probe = probing("mover", t_format("replica=%s", standby_conninfo()), NULL);
    probing_accepted(probe);
    assert_int_equal(probe_view(probe)->replica_count, 1);
    assert_string_equal(probe_view(probe)->replicas[0].name, sandbox_dir(t_sandbox()));
    standby_is(true);
    write_log();
    probing_look(probe);
    clock_sleep_ms(200);
    probing_look(probe);
    bytes = probing_expect(probe, SIGNAL_REPLICA_LAG_BYTES, READING_OK)->value;
    assert_true(bytes > 5e6);
    expect_part(probing_reading(probe, SIGNAL_REPLICA_LAG_BYTES)->who, "whose replay is paused");
    standby_is(false);
    probe_close(probe);
}

/* The standby is asked, and another walsender is hidden: who makes up for that? */
static void expect_not_made_up_for(const char *replica, const char *again, const char *ignored)
{
    struct probe *probe = probing("mover", replica, again, ignored, NULL);

    probing_refused(probe, "hides from this role how far ", "GRANT pg_monitor TO");
    probe_close(probe);
}

static void a_replica_makes_up_for_one_hidden_walsender_and_only_if_it_counts(void)
{
    const char *dir = sandbox_dir(t_sandbox());
    const char *replica = t_format("replica=%s", standby_conninfo());
    const char *again = t_format("replica=host=%s/. port=5433", dir);
    struct t_session *receiver;
    struct probe *probe;

    make_mover();
    caught_up();
    receiver =
        t_session_at(T_HERE, "receiver",
                     t_format("%s replication=database application_name=receiver", t_conninfo()));
    t_wait_until("SELECT count(*) FROM pg_stat_replication", "2", 20);
    expect_not_made_up_for(replica, "priority=10", "workers=1");
    expect_not_made_up_for(replica, again, "workers=1");
    expect_not_made_up_for(replica, again, t_format("ignore-replica=walreceiver,%s", dir));
    expect_not_made_up_for(replica, "workers=1", t_format("ignore-replica=walreceiver,%s", dir));
    expect_not_made_up_for(replica, "workers=1", "ignore-replica=walreceiver");
    probe = probing("mover", replica, again, "ignore-replica=receiver", NULL);
    probing_accepted(probe);
    assert_int_equal(probe_view(probe)->replica_count, 1);
    probe_close(probe);
    t_sqlf("SELECT pg_terminate_backend(%d)", t_backend_pid(receiver));
    t_wait_until("SELECT count(*) FROM pg_stat_replication", "1", 20);
}

static void a_job_that_exists_is_told_by_set(void)
{
    struct probe_target target = {.job_name = "orders-1", .disk_base = -1};
    struct probe *probe;
    const char *hint;

    make_mover();
    caught_up();
    target.job = probing_job();
    t_sql("GRANT USAGE ON SCHEMA pghaul TO mover;"
          "GRANT ALL ON ALL TABLES IN SCHEMA pghaul TO mover");
    probe = probing_at(&target, "mover", "limit.replica-lag-time=2s", NULL);
    hint = probing_refused(
        probe, "hides from this role",
        "without it: pghaul set orders-1 limit.replica-lag-bytes=off limit.replica-lag-time=off");
    expect_part(hint, "pghaul set orders-1 replica=CONNINFO");
    if (strstr(hint, "--") != NULL || strstr(hint, "-s ") != NULL)
        t_fail("an option in '%s'", hint);
    probe_close(probe);
    probe = probing_at(&target, "mover", t_format("replica=%s", t_conninfo()),
                       "ignore-replica=walreceiver", NULL);
    probing_refused(probe, "is no standby", "pghaul set orders-1 ignore-replica=walreceiver,");
    probe_close(probe);
}

/* Shared storage has no positions: there the functions fail, as they do for a role that may not
 * call them. */
static void a_replica_without_positions_shows_our_pulse(void)
{
    struct probe_target target = {.disk_base = -1};
    struct probe *probe;
    double bytes;

    make_mover();
    target.job = probing_job();
    t_sql("GRANT USAGE ON SCHEMA pghaul TO mover;"
          "GRANT ALL ON ALL TABLES IN SCHEMA pghaul TO mover;"
          "REVOKE EXECUTE ON FUNCTION pg_last_wal_replay_lsn() FROM public");
    caught_up();
    probe = probing_at(&target, "mover", t_format("replica=%s", standby_conninfo()),
                       "limit.replica-lag-time=2s", "limit.replicas-missing=off",
                       "ignore-replica=walreceiver", NULL);
    probing_accepted(probe);
    assert_int_equal(probe_view(probe)->replica_count, 1);
    assert_true(probing_expect(probe, SIGNAL_REPLICA_LAG_TIME, READING_OK)->value < 5);
    standby_is(true);
    write_log();
    for (int i = 0; i < 4; i++) {
        clock_sleep_ms(1050);
        probing_look(probe);
        probing_pulse(probe, 0);
    }
    probing_look(probe);
    bytes = probing_expect(probe, SIGNAL_REPLICA_LAG_BYTES, READING_OK)->value;
    assert_true(bytes > 5e6);
    assert_true(probing_expect(probe, SIGNAL_REPLICA_LAG_TIME, READING_OK)->value > 2);
    standby_is(false);
    t_sql("GRANT EXECUTE ON FUNCTION pg_last_wal_replay_lsn() TO public");
    probe_close(probe);
}

/* ---------------------------------------------------------------------- deliberately, or not at
 * all */

static void a_standby_that_is_late_on_purpose_is_refused_by_name(void)
{
    struct probe *probe;
    const char *hint;

    caught_up();
    delay_standby("30s");
    probe = probing(NULL, t_format("replica=%s", standby_conninfo()), NULL);
    hint = probing_refused(probe, "replays late on purpose", "-s ignore-replica=");
    expect_part(hint, sandbox_dir(t_sandbox()));
    delay_standby("0");
    probe_close(probe);
}

static void a_server_that_is_no_standby_is_no_replica(void)
{
    struct probe *probe = probing(NULL, t_format("replica=%s", t_conninfo()), NULL);

    probing_refused(probe, "is no standby", "-s ignore-replica=");
    probe_close(probe);
}

static void a_replica_that_hangs_is_unreadable_and_holds_nobody(void)
{
    int pid = sandbox_standby_pid(t_sandbox());
    struct probe *probe;
    struct error error;
    int64_t start_ms;

    caught_up();
    probe = probing(NULL, t_format("replica=%s", standby_conninfo()), NULL);
    probing_until(probe, SIGNAL_REPLICA_LAG_BYTES, READING_OK);
    probe_close(probe);
    kill(pid, SIGSTOP); /* the postmaster: it accepts, and nobody answers */
    probe = probing(NULL, t_format("replica=%s", standby_conninfo()), NULL);
    start_ms = clock_ms();
    for (int i = 0; i < 5; i++)
        probing_look_fast(probe);
    if (clock_ms() - start_ms > 2500)
        print_message("five looks took %lld ms\n", (long long)(clock_ms() - start_ms));
    probing_expect(probe, SIGNAL_REPLICA_LAG_BYTES, READING_UNREADABLE);
    /* Not: as good as the walsender that the primary shows. */
    if (probe_check_start(probe, &error))
        t_fail("was not refused");
    kill(pid, SIGCONT);
    expect_part(error.message, "cannot be asked");
    probing_until(probe, SIGNAL_REPLICA_LAG_BYTES, READING_OK);
    probe_close(probe);
}

/* ---------------------------------------------------------------------------------- who is missing
 */

static void a_standby_that_is_gone_is_missing_by_its_name(void)
{
    const char *const expected[] = {"walreceiver"};
    struct probe_target target = {.expected = expected, .expected_count = 1, .disk_base = -1};
    struct probe *probe, *counting;
    struct error error;

    caught_up();
    probe = probing_at(&target, NULL, NULL);
    counting = probing(NULL, "replicas=1", NULL);
    probing_look(probe);
    probing_look(counting);
    assert_true(probing_expect(probe, SIGNAL_REPLICAS_MISSING, READING_OK)->value == 0);
    assert_true(probing_expect(counting, SIGNAL_REPLICAS_MISSING, READING_OK)->value == 0);
    sandbox_standby_crash(t_sandbox());
    t_wait_until("SELECT count(*) FROM pg_stat_replication", "0", 20);
    probing_look(probe);
    probing_look(counting);
    assert_true(probing_expect(probe, SIGNAL_REPLICAS_MISSING, READING_OK)->value == 1);
    expect_part(probing_reading(probe, SIGNAL_REPLICAS_MISSING)->who, "walreceiver");
    assert_true(probing_expect(counting, SIGNAL_REPLICAS_MISSING, READING_OK)->value == 1);
    if (!sandbox_standby_start(t_sandbox(), &error))
        t_fail("%s", error.message);
    caught_up();
    probing_look(probe);
    assert_true(probing_reading(probe, SIGNAL_REPLICAS_MISSING)->value == 0);
    probe_close(probe);
    probe_close(counting);
}

/* ------------------------------------------------------------------------------- other walsenders
 */

static void a_receiver_without_a_replay_position_is_refused_until_it_is_ignored(void)
{
    struct probe *probe = probing(NULL, NULL);
    struct t_process *receiver;
    const char *dir = t_format("%s/received", sandbox_dir(t_sandbox()));
    struct t_result made;
    struct settings settings;
    struct error error;

    t_run_program(&made, "pg_receivewal", "--version", NULL);
    if (made.status != 0 || strstr(made.out, t_format("%d", t_server_version() / 10000)) == NULL)
        t_skip("there is no pg_receivewal of this version");
    t_run_program(&made, "mkdir", dir, NULL);
    t_expect_status(&made, 0);
    receiver =
        t_start_program("pg_receivewal", "-D", dir, "-d", sandbox_conninfo(t_sandbox()), NULL);
    t_wait_until("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "2", 20);
    probing_refused(probe, "pg_receivewal receives the log and tells no replay position",
                    "-s ignore-replica=pg_receivewal");
    settings_init(&settings);
    if (!settings_set(&settings, "ignore-replica=pg_receivewal", &error))
        t_fail("%s", error.message);
    probe_configure(probe, &settings);
    probing_accepted(probe);
    assert_int_equal(probe_view(probe)->replica_count, 1);
    t_kill(receiver, SIGTERM);
    t_wait(receiver, &made);
    t_wait_until("SELECT count(*) FROM pg_stat_replication", "1", 20);
    probe_close(probe);
}

/* A subscription in another database of the same server; the worker that copies a table at its
 * start is not one that follows the log. */
static void a_subscriber_counts_by_what_it_has_confirmed_for_everybody(void)
{
    const char *conninfo = t_conninfo();
    struct probe *probe;
    struct t_session *there;

    make_mover();
    t_sql("CREATE TABLE t (i int); CREATE PUBLICATION p FOR TABLE t");
    t_sql("SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
    t_sql("CREATE DATABASE subscriber");
    there = t_session_at(
        T_HERE, "there",
        t_format("host=%s port=5432 user=postgres dbname=subscriber", sandbox_dir(t_sandbox())));
    t_do(there, "CREATE TABLE t (i int)");
    t_do(there, t_format("CREATE SUBSCRIPTION s CONNECTION '%s' PUBLICATION p"
                         " WITH (create_slot = false, slot_name = s)",
                         conninfo));
    t_wait_until("SELECT count(*) FROM pg_stat_replication WHERE application_name = 's'", "1", 20);
    probe = probing("mover", "ignore-replica=walreceiver", NULL);
    probing_until(probe, SIGNAL_REPLICA_LAG_BYTES, READING_OK);
    assert_int_equal(probe_view(probe)->replica_count, 1);
    assert_string_equal(probe_view(probe)->replicas[0].name, "s");
    probe_close(probe);
    t_do(there, "ALTER SUBSCRIPTION s DISABLE");
    t_do(there, "ALTER SUBSCRIPTION s SET (slot_name = NONE)");
    t_do(there, "DROP SUBSCRIPTION s");
    t_wait_until("SELECT count(*) FROM pg_stat_replication WHERE application_name = 's'", "0", 20);
    t_sql("SELECT pg_drop_replication_slot('s')");
}

/* ----------------------------------------------------------------------------------------- doctor
 */

static void doctor_shows_every_signal_and_the_grant_that_makes_it_readable(void)
{
    struct t_result result;

    make_mover();
    t_sqlf("GRANT CREATE ON DATABASE %s TO mover", t_text("SELECT current_database()"));
    caught_up();
    t_run_plain(&result, "doctor", "-d", t_conninfo_as("mover"), NULL);
    t_expect_status(&result, 3);
    for (int i = 0; i < SIGNAL_COUNT; i++)
        t_expect_out(&result, signal_table[i].name);
    t_expect_out(&result, "unreadable, limit 64MB");
    t_expect_out(&result, "GRANT pg_monitor TO mover");
    t_expect_out(&result, "or without it: --max-lag off");
    /* What is off hinders nobody. */
    t_run_plain(&result, "doctor", "--max-lag", "off", "-d", t_conninfo_as("mover"), NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "unreadable, off");
    t_run_plain(&result, "doctor", "-s", "policy=off", "-d", t_conninfo_as("mover"), NULL);
    t_expect_status(&result, 0);
    t_sql("GRANT pg_monitor TO mover");
    t_run_plain(&result, "doctor", "-d", t_conninfo_as("mover"), NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "limit 64MB; walreceiver");
}

static void doctor_says_what_a_job_would_cancel_on_a_standby(void)
{
    struct t_session *reader;
    struct t_result result;

    caught_up();
    reader = t_session_at(T_HERE, "reader",
                          t_format("%s user=postgres dbname=%s", standby_conninfo(),
                                   t_text("SELECT current_database()")));
    t_do(reader, "SET application_name = 'report'");
    t_do(reader, "BEGIN; SELECT 1");
    t_run(&result, "doctor", "--replica", standby_conninfo(), NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "max_standby_streaming_delay 30s, hot_standby_feedback off");
    t_expect_out(&result, "(report, user postgres: BEGIN; SELECT 1)");
    t_do(reader, "COMMIT");
    t_run(&result, "doctor", "--json", "--replica", standby_conninfo(), NULL);
    t_expect_out(&result, "\"event\":\"signal\",\"signal\":\"xmin-age\"");
    t_expect_out(&result, "\"event\":\"standby\"");
    t_expect_out(&result, "\"hot_standby_feedback\":false");
}

int main(void)
{
    static const char *const SETTINGS[] = {"wal_level = logical", NULL};
    const struct CMUnitTest tests[] = {
        t_test(a_standby_is_read_as_the_server_shows_it),
        t_test(paused_replay_grows_in_bytes_and_in_seconds_and_goes_on),
        t_test(a_report_that_we_have_seen_is_not_new),
        t_test(an_ignored_replica_does_not_count),
        t_test(without_the_privilege_lag_is_refused_with_the_grant_and_the_switch),
        t_test(a_replica_that_is_asked_itself_needs_no_privilege),
        t_test(a_replica_makes_up_for_one_hidden_walsender_and_only_if_it_counts),
        t_test(a_job_that_exists_is_told_by_set),
        t_test(a_replica_without_positions_shows_our_pulse),
        t_test(a_standby_that_is_late_on_purpose_is_refused_by_name),
        t_test(a_server_that_is_no_standby_is_no_replica),
        t_test(a_replica_that_hangs_is_unreadable_and_holds_nobody),
        t_test(a_standby_that_is_gone_is_missing_by_its_name),
        t_test(a_receiver_without_a_replay_position_is_refused_until_it_is_ignored),
        t_test(a_subscriber_counts_by_what_it_has_confirmed_for_everybody),
        t_test(doctor_shows_every_signal_and_the_grant_that_makes_it_readable),
        t_test(doctor_says_what_a_job_would_cancel_on_a_standby),
    };

    t_sandbox_options.standby = true;
    t_sandbox_options.settings = SETTINGS;
    return T_MAIN(tests);
}
