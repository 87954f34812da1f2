/*
 * What happened to a column between verification and cut-over, so that nothing of it is lost with
 * the old one: values that its twin cannot hold, things that it was given, another table in its
 * place.
 */
#include <string.h>

#include "engine/base/clock.h"
#include "tests/oracle.h"

#define JOB "j"

static void run_ok(const char *verb)
{
    struct t_result result;

    /* The rows were mended by the old name, a moment ago. */
    t_run(&result, verb, JOB, "--yes", strcmp(verb, "cutover") == 0 ? "--force" : NULL, NULL);
    t_expect_status(&result, 0);
}

static void refused(int status, const char *part, const char *verb)
{
    struct t_result result;

    t_run(&result, verb, JOB, "--yes", NULL);
    t_expect_status(&result, status);
    t_expect_err(&result, part);
}

static void make_ready(const char *type, const char *using)
{
    struct t_result result;

    t_sql("CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT 'none', n int);\n"
          "INSERT INTO t SELECT i, i::text, i FROM generate_series(1, 100) AS i");
    if (using != NULL)
        t_sql("ALTER TABLE t ALTER v DROP DEFAULT");
    if (using == NULL)
        t_run(&result, "column", "rename", "t", "v", "w", "--job", JOB, NULL);
    else
        t_run(&result, "column", "retype", "t", "v", type, "--using", using, "--back-using",
              "v::text", "--job", JOB, NULL);
    t_expect_status(&result, 0);
}

static void make_number(void)
{
    make_ready("int", "v::int");
}

static void a_value_that_cannot_be_converted_stops_the_cutover(void)
{
    make_number();
    t_sql("UPDATE t SET v = 'n/a' WHERE id = 5");
    refused(3, "values were written since the verification", "cutover");
    refused(4, "1 of 100 rows", "resume");
    t_sql("UPDATE t SET v = '55' WHERE id = 5");
    run_ok("resume");
    run_ok("cutover");
    t_expect("SELECT v FROM t WHERE id = 5", "55");
}

/* It is counted at once, and seen when it is committed. */
static void a_value_that_is_not_committed_yet_is_waited_for(void)
{
    struct t_session *writer = t_session("the-writer");
    struct t_process *process;
    struct t_result result;

    make_number();
    t_do(writer, "BEGIN; UPDATE t SET v = 'n/a' WHERE id = 5");
    process = t_start("verify", JOB, NULL);
    t_wait_until("SELECT EXISTS (SELECT FROM pghaul.phase WHERE name = 'verify'\n"
                 "                  AND state = 'running')",
                 "t", 30);
    t_sql("SELECT pg_sleep(0.5)");
    assert_true(t_running(process));
    t_do(writer, "COMMIT");
    t_limit(30);
    t_wait(process, &result);
    t_expect_status(&result, 4);
    t_expect_err(&result, "1 of 100 rows");
}

/* Rows that were written without the triggers are told, not overwritten. */
static void what_was_written_without_the_triggers_is_found_and_kept(void)
{
    make_ready(NULL, NULL);
    t_sql("ALTER TABLE t DISABLE TRIGGER USER; UPDATE t SET w = 'new' WHERE id = 7;\n"
          "ALTER TABLE t ENABLE TRIGGER USER");
    refused(3, "triggers", "cutover");
    refused(4, "{(7)}", "resume");
    t_expect("SELECT v || ' ' || w FROM t WHERE id = 7", "7 new");
    t_sql("UPDATE t SET v = 'new' WHERE id = 7");
    run_ok("resume");
    run_ok("cutover");
    t_expect("SELECT w FROM t WHERE id = 7", "new");
}

static void what_the_column_got_since_stops_the_cutover(void)
{
    static const struct {
        const char *change;
        const char *undo;
        const char *said;
    } CHANGES[] = {
        {"CREATE INDEX t_v ON t (v)", "DROP INDEX t_v", "index t_v"},
        {"ALTER TABLE t ADD CONSTRAINT t_c CHECK (v <> '')", "ALTER TABLE t DROP CONSTRAINT t_c",
         "constraint t_c"},
        {"ALTER TABLE t ADD CONSTRAINT t_u UNIQUE (v, id)", "ALTER TABLE t DROP CONSTRAINT t_u",
         "t_u"},
        {"ALTER TABLE t ALTER v SET DEFAULT 'b'", "ALTER TABLE t ALTER v SET DEFAULT 'none'",
         "default"},
        {"ALTER TABLE t ALTER v SET NOT NULL", "ALTER TABLE t ALTER v DROP NOT NULL", "NOT NULL"},
        {"COMMENT ON COLUMN t.v IS 'x'", "COMMENT ON COLUMN t.v IS NULL", "comment"},
        {"GRANT SELECT (v) ON t TO PUBLIC", "REVOKE SELECT (v) ON t FROM PUBLIC", "grants"},
        {"CREATE STATISTICS t_s ON v, n FROM t", "DROP STATISTICS t_s", "statistics t_s"},
    };
    struct t_result result;

    make_ready(NULL, NULL);
    for (size_t i = 0; i < sizeof(CHANGES) / sizeof(CHANGES[0]); i++) {
        t_sql(CHANGES[i].change);
        t_run(&result, "cutover", JOB, "--yes", "--force", NULL);
        t_expect_status(&result, 3);
        t_expect_err(&result, "not as it was when the job was planned");
        t_expect_err(&result, CHANGES[i].said);
        t_sql(CHANGES[i].undo);
    }
    run_ok("cutover");
}

/* Everything goes by name under the lock: so it must be the same table. */
static void another_table_of_that_name_is_left_alone(void)
{
    make_ready(NULL, NULL);
    t_sql("ALTER TABLE t RENAME TO was_t;\n"
          "CREATE TABLE t (id int PRIMARY KEY, v text, w text); INSERT INTO t VALUES (1, 'a')");
    refused(3, "another table", "cutover");
    refused(3, "another table", "abort");
    t_expect("SELECT v FROM t", "a");
    t_sql("DROP TABLE t; ALTER TABLE was_t RENAME TO t");
    run_ok("cutover");
    run_ok("finish");
    t_expect("SELECT count(w) FROM t", "100");
}

/* An INSERT that names no columns gives the hidden one a value. */
static void an_insert_by_position_is_no_other_insert_after_the_cutover(void)
{
    make_number();
    run_ok("cutover");
    (void)t_fails("INSERT INTO t VALUES (777, 'x', 5, 6)", "55000");
    t_sql("INSERT INTO t (id, v) VALUES (778, 8)");
    t_expect("SELECT v FROM t WHERE id = 778", "8");
}

/* The name is back at once; whoever says rollback again gets the rest done. */
static void a_rollback_said_again_completes_it(void)
{
    make_ready(NULL, NULL);
    run_ok("cutover");
    run_ok("rollback");
    t_sql("UPDATE pghaul.job SET state = 'waiting', phase = 'verify';\n"
          "UPDATE pghaul.phase SET state = 'pending' WHERE name IN ('verify', 'ready')");
    run_ok("rollback");
    t_expect("SELECT state || ' ' || phase FROM pghaul.job", "ready ready");
    run_ok("rollback");
    run_ok("cutover");
    run_ok("finish");
    t_expect("SELECT count(w) FROM t", "100");
}

/* Functions of --using are found as the user found them, in the triggers, too. */
static void an_expression_means_the_same_in_backfill_and_trigger(void)
{
    struct t_result result;

    t_sql("CREATE SCHEMA tools;\n"
          "CREATE FUNCTION tools.helper(x text) RETURNS int LANGUAGE sql IMMUTABLE\n"
          "    RETURN x::int;\n"
          "CREATE FUNCTION tools.conv(x text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS\n"
          "    $$ BEGIN RETURN helper(x); END $$;\n"
          "CREATE TABLE t (id int PRIMARY KEY, v text);\n"
          "INSERT INTO t SELECT i, i::text FROM generate_series(1, 100) AS i;\n"
          "ALTER ROLE postgres SET search_path = public, tools");
    t_run(&result, "column", "retype", "t", "v", "int", "--using", "conv(v)", "--back-using",
          "v::text", "--job", JOB, NULL);
    t_sql("ALTER ROLE postgres RESET search_path");
    t_expect_status(&result, 0);
    t_sql("INSERT INTO t (id, v) VALUES (500, '5')");
    t_expect("SELECT pghaul_new_v FROM t WHERE id = 500", "5");
    run_ok("cutover");
}

static void a_function_of_another_role_is_refused(void)
{
    struct t_result result;

    t_sql("CREATE ROLE stranger; CREATE SCHEMA theirs AUTHORIZATION stranger;\n"
          "CREATE FUNCTION theirs.conv(x text) RETURNS int LANGUAGE sql IMMUTABLE\n"
          "    RETURN x::int;\n"
          "ALTER FUNCTION theirs.conv(text) OWNER TO stranger;\n"
          "CREATE TABLE t (id int PRIMARY KEY, v text)");
    t_run(&result, "column", "retype", "t", "v", "int", "--using", "theirs.conv(v)", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "belongs to another role");
    t_sql("DROP TABLE t; DROP SCHEMA theirs CASCADE; DROP ROLE stranger");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_value_that_cannot_be_converted_stops_the_cutover),
        t_test(a_value_that_is_not_committed_yet_is_waited_for),
        t_test(what_was_written_without_the_triggers_is_found_and_kept),
        t_test(what_the_column_got_since_stops_the_cutover),
        t_test(another_table_of_that_name_is_left_alone),
        t_test(an_insert_by_position_is_no_other_insert_after_the_cutover),
        t_test(a_rollback_said_again_completes_it),
        t_test(an_expression_means_the_same_in_backfill_and_trigger),
        t_test(a_function_of_another_role_is_refused),
    };

    return T_MAIN(tests);
}
