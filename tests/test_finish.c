/*
 * The end of a job: a `finish` that cannot have its way changes nothing, and the way back is open
 * until it has; what a job did is told when it is over.
 */
#include "tests/harness.h"

#include "engine/base/clock.h"

static void cut_over(const char *option)
{
    struct t_result result;

    t_sql("CREATE TABLE t (id int PRIMARY KEY, v text);\n"
          "INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 1000) AS g; ANALYZE t");
    t_run(&result, "alter", "t", "--job", "j", "--do", "ALTER COLUMN id TYPE bigint", "-s",
          "settle=off", "-s", "cutover.hold=30s", "--cutover", "now", "--yes", option, NULL);
    t_expect_status(&result, 0);
    t_run(&result, "set", "j", "lock.tries=2", NULL);
    t_expect_status(&result, 0);
}

static void expect_next(const char *next)
{
    struct t_result result;

    t_run(&result, "status", "j", "--json", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, next);
}

/* Everything is as after the cut-over: what is written now goes back, too. */
static void expect_way_back(void)
{
    struct t_result result;

    expect_next("\"next\":[\"pghaul rollback j\",\"pghaul finish j\"]");
    t_sql("UPDATE t SET v = 'written late' WHERE id = 7; DELETE FROM t WHERE id = 8;\n"
          "INSERT INTO t VALUES (2000, 'new')");
    t_sql("CREATE TABLE expected AS SELECT id::int, v FROM t");
    t_run(&result, "rollback", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT count(*) FROM ((TABLE expected EXCEPT ALL TABLE t)\n"
             "              UNION ALL (TABLE t EXCEPT ALL TABLE expected)) AS x",
             "0");
    t_expect("SELECT atttypid::regtype::text FROM pg_attribute\n"
             " WHERE attrelid = 't'::regclass AND attname = 'id'",
             "integer");
    t_expect("SELECT reloptions::text FROM pg_class WHERE oid = 't'::regclass", NULL);
}

static void expect_finished(void)
{
    struct t_result result;

    t_run(&result, "finish", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect(
        "SELECT string_agg(relname, ' ') FROM pg_class\n"
        " WHERE relnamespace = 'pghaul'::regnamespace AND relkind = 'r'\n"
        "   AND relname NOT IN ('version', 'job', 'phase', 'span', 'event', 'sample', 'pulse')",
        NULL);
    t_expect("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'pghaul%'", "0");
    t_expect("SELECT count(*) FROM pg_proc WHERE pronamespace = 'pghaul'::regnamespace", "0");
    t_expect("SELECT state FROM pghaul.job", "finished");
    t_expect("SELECT count(*) FROM t", "1000");
}

static void finish_gives_up(const char *named)
{
    struct t_result result;

    t_run(&result, "finish", "j", "--yes", NULL);
    t_expect_status(&result, 6);
    t_expect_err(&result, "could not lock");
    t_expect_err(&result, named);
    t_expect_err(&result, "nothing was changed");
    t_expect_err(&result, "pghaul finish j");
    t_expect_no_err(&result, "abort");
}

static void a_finish_that_waits_for_a_reader_of_the_old_table_leaves_the_way_back(void)
{
    struct t_session *reader = t_session("reader");

    cut_over(NULL);
    t_do(reader, "BEGIN; SELECT count(*) FROM pghaul.t_1_old");
    finish_gives_up("SELECT count(*) FROM pghaul.t_1_old");
    t_do(reader, "COMMIT");
    expect_way_back();
}

static void a_finish_that_waits_for_a_writer_of_the_new_table_leaves_the_way_back(void)
{
    struct t_session *writer = t_session("writer");

    cut_over(NULL);
    t_do(writer, "BEGIN; UPDATE t SET v = 'open' WHERE id = 1");
    finish_gives_up("UPDATE t SET v");
    t_do(writer, "COMMIT");
    expect_way_back();
}

static void a_finish_that_waits_for_a_reader_of_the_log_leaves_the_way_back(void)
{
    struct t_session *reader = t_session("reader");
    struct t_result result;

    cut_over(NULL);
    t_do(reader, "BEGIN; SELECT count(*) FROM pghaul.back_1_a");
    t_run(&result, "finish", "j", "--yes", NULL);
    t_expect_status(&result, 6);
    t_expect_err(&result, "nothing was changed");
    t_do(reader, "COMMIT");
    expect_way_back();
}

static void a_view_on_the_old_table_is_named_and_the_way_back_stays(void)
{
    struct t_result result;

    cut_over(NULL);
    t_sql("CREATE VIEW still_looking AS SELECT id FROM pghaul.t_1_old");
    t_run(&result, "finish", "j", "--yes", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "still_looking depends on table pghaul.t_1_old");
    t_expect_err(&result, "nothing was changed");
    t_expect_no_err(&result, "CASCADE");
    t_expect_no_err(&result, "abort");
    expect_way_back();
    t_expect("SELECT count(*) FROM still_looking", "1000");
}

static void finish_goes_on_when_nothing_is_in_its_way_any_more(void)
{
    struct t_session *reader = t_session("reader");

    cut_over(NULL);
    t_sql("CREATE VIEW still_looking AS SELECT id FROM pghaul.t_1_old");
    t_do(reader, "BEGIN; SELECT count(*) FROM pghaul.t_1_old");
    finish_gives_up("pghaul.t_1_old");
    t_do(reader, "COMMIT");
    t_sql("DROP VIEW still_looking");
    expect_finished();
}

static void a_job_without_a_way_back_finishes_when_it_can(void)
{
    struct t_session *reader = t_session("reader");

    cut_over("--no-rollback");
    t_do(reader, "BEGIN; SELECT count(*) FROM pghaul.t_1_old");
    finish_gives_up("SELECT count(*) FROM pghaul.t_1_old");
    expect_next("\"next\":[\"pghaul finish j\"]");
    t_do(reader, "COMMIT");
    expect_finished();
}

/* A plan from before the swap locks the old table once more: what it may wait for is one try. */
static void a_plan_from_before_the_swap_waits_no_longer_than_the_limit_for_a_finish(void)
{
    struct t_session *app = t_session("app");
    struct t_session *writer = t_session("writer");
    struct t_process *finish;
    struct t_result result;
    int64_t start_ms;

    t_sql("CREATE TABLE t AS SELECT g AS id, ''::text AS v FROM generate_series(1, 1000) AS g;\n"
          "ALTER TABLE t ADD PRIMARY KEY (id)");
    t_do(app, "SET plan_cache_mode = force_generic_plan; PREPARE p AS SELECT count(*)::int FROM t");
    t_do(app, "EXECUTE p");
    t_run(&result, "alter", "t", "--job", "j", "--do", "ALTER COLUMN id TYPE bigint", "--cutover",
          "now", "--yes", NULL);
    t_expect_status(&result, 0);
    t_do(writer, "BEGIN; UPDATE t SET v = 'open' WHERE id = 1");
    finish = t_start("finish", "j", "--yes", NULL);
    t_wait_until("SELECT count(*) > 0 FROM pg_locks\n"
                 " WHERE relation = 't'::regclass AND mode = 'AccessExclusiveLock'\n"
                 "   AND NOT granted",
                 "t", 30);
    start_ms = clock_ms();
    assert_string_equal(t_ask(app, "EXECUTE p"), "1000");
    assert_in_range(clock_ms() - start_ms, 0, 100);
    t_do(writer, "COMMIT");
    t_wait(finish, &result);
    t_expect_status(&result, 0);
}

/* ------------------------------------------------------------------- what is told in the end -- */

/* status as JSON is table `told` from now on. */
static void read_status(void)
{
    struct t_result result;

    t_run(&result, "status", "j", "--json", NULL);
    t_expect_status(&result, 0);
    t_sql("DROP TABLE IF EXISTS told");
    t_sqlf("CREATE TABLE told AS SELECT $told$%s$told$::jsonb AS j", result.out);
}

static void expect_walk_told(void)
{
    t_expect("SELECT j ->> 'rows_done' FROM told", "1000");
    t_expect("SELECT j ->> 'percent' FROM told", "100.0");
    t_expect("SELECT (j ->> 'chunks')::int > 0 AND (j ->> 'wal_bytes')::int > 0 FROM told", "t");
    t_expect("SELECT j ->> 'old_table' FROM told", NULL);
}

static void what_a_job_did_is_told_when_it_is_over(void)
{
    struct t_result result;

    cut_over(NULL);
    read_status();
    t_expect("SELECT j ->> 'old_table' FROM told", "pghaul.t_1_old");
    t_expect("SELECT (p ->> 'seconds')::float > 0\n"
             "  FROM told, jsonb_array_elements(j -> 'phases') AS p WHERE p ->> 'name' = 'cutover'",
             "t");
    t_run(&result, "rollback", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    read_status();
    expect_walk_told();
    t_fresh_database();
    cut_over(NULL);
    expect_finished();
    read_status();
    expect_walk_told();
    t_fresh_database();
    cut_over(NULL);
    t_run(&result, "rollback", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_run(&result, "alter", "t", "--job", "k", NULL);
    t_expect_status(&result, 0);
    t_run(&result, "abort", "k", "--yes", NULL);
    t_expect_status(&result, 0);
    t_run(&result, "status", "k", NULL);
    t_expect_out(&result, "1,000 of about 1,000 rows");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_finish_that_waits_for_a_reader_of_the_old_table_leaves_the_way_back),
        t_test(a_finish_that_waits_for_a_writer_of_the_new_table_leaves_the_way_back),
        t_test(a_finish_that_waits_for_a_reader_of_the_log_leaves_the_way_back),
        t_test(a_view_on_the_old_table_is_named_and_the_way_back_stays),
        t_test(finish_goes_on_when_nothing_is_in_its_way_any_more),
        t_test(a_job_without_a_way_back_finishes_when_it_can),
        t_test(a_plan_from_before_the_swap_waits_no_longer_than_the_limit_for_a_finish),
        t_test(what_a_job_did_is_told_when_it_is_over),
    };

    return T_MAIN(tests);
}
