/* Queries on a hot standby beside jobs: what would be cancelled there is waited for, or told. */
#include "tests/harness.h"

#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"

static const char TABLE[] =
    "CREATE TABLE item (id int PRIMARY KEY, t text);\n"
    "INSERT INTO item SELECT i, 'text ' || i FROM generate_series(1, 2000) AS i; ANALYZE item";

#define ALTER(...)                                                                            \
    "alter", "item", "--job", "j", "-s", "policy=off", "--do", "ALTER COLUMN id TYPE bigint", \
        __VA_ARGS__, NULL

static const char REASON[] = "SELECT reason FROM pghaul.job WHERE name = 'j'";
static const char PHASE[] = "SELECT phase FROM pghaul.job WHERE name = 'j'";

/* In the slot, where there is one. */
static const char FEEDBACK[] = "SELECT count(*) FROM pg_stat_replication AS r\n"
                               "  LEFT JOIN pg_replication_slots AS s ON s.active_pid = r.pid\n"
                               " WHERE coalesce(r.backend_xmin, s.xmin) IS NOT NULL";

static const char *database(void)
{
    return t_rows("SELECT current_database()");
}

/* A session on the standby, when that has come as far as we are. */
static struct t_session *on_standby(const char *name)
{
    t_wait_until("SELECT count(*) FROM pg_stat_replication\n"
                 " WHERE state = 'streaming' AND replay_lsn >= pg_current_wal_flush_lsn()",
                 "1", 30);
    return t_session_at(
        T_HERE, name, t_format("%s dbname=%s", sandbox_standby_conninfo(t_sandbox()), database()));
}

static void set_on_standby(const char *name, const char *value)
{
    struct t_session *session = on_standby("settings");

    t_do(session, t_format("ALTER SYSTEM SET %s = %s", name, value));
    t_do(session, "SELECT pg_reload_conf()");
    t_close(session);
}

/*
 * All the patience there is: nothing is cancelled, replay waits. (With little of it a query is
 * cancelled before we come to what we look at: whatever prunes a page on the primary does that.)
 */
static void begin(void)
{
    t_sql(TABLE);
    set_on_standby("max_standby_streaming_delay", "-1");
    set_on_standby("hot_standby_feedback", "off");
    t_wait_until(FEEDBACK, "0", 30);
}

/* Sees the table as it is now, until it ends; after this it holds no lock on it. */
static struct t_session *old_reader(void)
{
    struct t_session *reader = on_standby("reader");

    t_do(reader, "BEGIN ISOLATION LEVEL REPEATABLE READ");
    t_do(reader, "SELECT count(*) FROM pg_class");
    return reader;
}

static void wait_for_reason(const char *like)
{
    t_wait_until("SELECT to_regclass('pghaul.job') IS NOT NULL", "t", 20);
    t_wait_until(t_format("SELECT count(*) FROM (%s) AS r WHERE reason LIKE '%s'", REASON, like),
                 "1", 30);
}

/* Asks the replica, and does nothing else meanwhile. */
static void wait_until_it_asks(void)
{
    struct t_session *standby = t_session_at(
        T_HERE, "look", t_format("%s dbname=postgres", sandbox_standby_conninfo(t_sandbox())));

    for (int i = 0;; i++) {
        if (strcmp(t_ask(standby, "SELECT count(*) FROM pg_stat_activity\n"
                                  " WHERE application_name = 'pghaul replica'"),
                   "1") == 0)
            return;
        if (i == 300)
            t_fail("nobody asks the replica");
        clock_sleep_ms(100);
    }
}

static void expect_ends_well(struct t_process *process)
{
    struct t_result result;

    t_wait(process, &result);
    t_expect_status(&result, 0);
}

static void settle_waits_for_a_query_on_a_replica(void)
{
    struct t_process *process;
    struct t_session *reader;

    begin();
    reader = old_reader();
    process = t_start(ALTER("--replica", sandbox_standby_conninfo(t_sandbox())));
    wait_for_reason("waiting for process % on replica 1");
    t_expect(PHASE, "settle");
    assert_string_equal(t_ask(reader, "SELECT count(*) FROM item"), "2000");
    t_do(reader, "COMMIT");
    expect_ends_well(process);
    t_expect(REASON, NULL);
}

static void settle_says_what_it_cancels_when_it_has_waited_long_enough(void)
{
    struct t_session *reader;
    struct t_result result;

    begin();
    reader = old_reader();
    t_run(&result,
          ALTER("--replica", sandbox_standby_conninfo(t_sandbox()), "-s", "snapshot.wait=1s"));
    t_expect_status(&result, 0);
    t_expect_err(&result, "vacuum of the new table may cancel queries on replicas: process");
    t_do(reader, "COMMIT");
}

static void a_replica_that_sends_feedback_is_not_waited_for(void)
{
    struct t_session *reader;
    struct t_result result;

    begin();
    set_on_standby("hot_standby_feedback", "on");
    t_wait_until(FEEDBACK, "1", 30);
    reader = old_reader();
    t_run(&result, ALTER("--replica", sandbox_standby_conninfo(t_sandbox())));
    t_expect_status(&result, 0);
    t_expect_no_err(&result, "cancel");
    assert_string_equal(t_ask(reader, "SELECT count(*) FROM item"), "2000");
}

static void a_replica_that_does_not_answer_is_waited_for_and_told_of(void)
{
    struct t_result result;

    begin();
    t_run(&result,
          ALTER("--max-lag", "off", "--replica", "host=/nowhere", "-s", "snapshot.wait=1s"));
    t_expect_status(&result, 0);
    t_expect_err(&result, "replica 1 does not tell");
}

static void a_standby_that_is_not_asked_is_told_of(void)
{
    struct t_result result;

    begin();
    t_run(&result, ALTER("-s", "workers=1"));
    t_expect_status(&result, 0);
    t_expect_err(&result, "vacuum of the new table may cancel queries on standby");
    t_expect_err(&result, "--replica CONNINFO");
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect_err(&result, "the swap may cancel queries on standby");
    t_run(&result, "rollback", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect_no_err(&result, "cancel");
}

static void cutover_waits_for_who_uses_the_table_on_a_replica(void)
{
    struct t_process *process;
    struct t_session *reader;
    struct t_result result;

    begin();
    t_run(&result, ALTER("--replica", sandbox_standby_conninfo(t_sandbox())));
    t_expect_status(&result, 0);
    reader = on_standby("reader");
    t_do(reader, "BEGIN");
    t_do(reader, "SELECT count(*) FROM item");
    process = t_start("cutover", "j", "--yes", NULL);
    wait_until_it_asks();
    sleep(2);
    t_expect("SELECT state FROM pghaul.job", "ready");
    assert_string_equal(t_ask(reader, "SELECT count(*) FROM item"), "2000");
    t_do(reader, "COMMIT");
    expect_ends_well(process);
    t_expect("SELECT state FROM pghaul.job", "cut_over");
}

static void so_does_the_cutover_of_a_column(void)
{
    struct t_process *process;
    struct t_session *reader;
    struct t_result result;

    begin();
    t_run(&result, "column", "rename", "item", "t", "words", "--job", "j", "-s", "policy=off",
          "--replica", sandbox_standby_conninfo(t_sandbox()), NULL);
    t_expect_status(&result, 0);
    reader = on_standby("reader");
    t_do(reader, "BEGIN");
    t_do(reader, "SELECT count(*) FROM item");
    process = t_start("cutover", "j", "--yes", NULL);
    wait_until_it_asks();
    sleep(2);
    t_expect("SELECT state FROM pghaul.job", "ready");
    t_do(reader, "COMMIT");
    expect_ends_well(process);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(settle_waits_for_a_query_on_a_replica),
        t_test(settle_says_what_it_cancels_when_it_has_waited_long_enough),
        t_test(a_replica_that_sends_feedback_is_not_waited_for),
        t_test(a_replica_that_does_not_answer_is_waited_for_and_told_of),
        t_test(a_standby_that_is_not_asked_is_told_of),
        t_test(cutover_waits_for_who_uses_the_table_on_a_replica),
        t_test(so_does_the_cutover_of_a_column),
    };

    t_sandbox_options.standby = true;
    return T_MAIN(tests);
}
