/*
 * column drop: hidden, shown again, dropped, through kills. The oracle is the server's catalogue: a
 * rollback leaves the table as it was, to the name and the comment of NOT NULL.
 */
#include <string.h>

#include "tests/harness.h"

static bool is_18(void)
{
    return t_server_version() >= 180000;
}

static void make_table(void)
{
    t_sql("CREATE TABLE t (id int PRIMARY KEY, \"A a\" text NOT NULL);\n"
          "INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 300) AS i");
    if (is_18())
        t_sql("ALTER TABLE t RENAME CONSTRAINT \"t_A a_not_null\" TO \"Spe'cial\";\n"
              "COMMENT ON CONSTRAINT \"Spe'cial\" ON t IS 'it''s why'");
}

static const char *shape(void)
{
    return t_text("SELECT string_agg(line, E'\\n' ORDER BY line) FROM (\n"
                  "    SELECT concat_ws(' ', attnum, attname, attnotnull) AS line\n"
                  "      FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0\n"
                  "     UNION ALL\n"
                  "    SELECT concat_ws(' ', conname, convalidated, pg_get_constraintdef(oid),\n"
                  "                     obj_description(oid, 'pg_constraint'))\n"
                  "      FROM pg_constraint WHERE conrelid = 't'::regclass) AS lines");
}

static const char *state(void)
{
    return t_text("SELECT state FROM pghaul.job WHERE name = 'j'");
}

/* ----------------------------------------------------------------------------------- there and
 * back
 */

static void a_rollback_leaves_the_table_as_it_was(void)
{
    const char *before;

    make_table();
    before = shape();
    t_runs(0, "column", "drop", "t", "\"A a\"", "--job", "j", "--yes");
    assert_string_equal(shape(), before);
    for (int i = 0; i < 2; i++) {
        t_runs(0, "cutover", "j", "--yes");
        t_fails("SELECT \"A a\" FROM t", "42703");
        t_expect("SELECT attnotnull FROM pg_attribute\n"
                 " WHERE attrelid = 't'::regclass AND attname = 'pghaul_old_A a'",
                 "f");
        t_runs(0, "rollback", "j", "--yes");
        assert_string_equal(shape(), before);
        assert_string_equal(state(), "ready");
    }
    t_runs(0, "abort", "j", "--yes");
    assert_string_equal(shape(), before);
}

static void finish_drops_the_column(void)
{
    make_table();
    t_runs(0, "column", "drop", "t", "\"A a\"", "--job", "j", "--yes");
    t_runs(0, "cutover", "j", "--yes");
    t_sql("INSERT INTO t VALUES (-1)");
    t_runs(0, "finish", "j", "--yes");
    t_expect("SELECT count(*) FROM pg_attribute\n"
             " WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped",
             "1");
    t_expect("SELECT count(*) FROM t", "301");
}

/* Such rows must stay as they are for the application, which could not write them under a NOT NULL
 * that is only not valid. */
static void rows_that_came_without_it_keep_it_nullable(void)
{
    make_table();
    t_runs(0, "column", "drop", "t", "\"A a\"", "--job", "j", "--yes");
    t_runs(0, "cutover", "j", "--yes");
    t_sql("INSERT INTO t (id) VALUES (-1)");
    t_says(0, "it stays nullable", "rollback", "j", "--yes");
    assert_string_equal(state(), "ready");
    t_sql("UPDATE t SET id = -2 WHERE id = -1; INSERT INTO t (id) VALUES (-3)");
    t_expect("SELECT count(*) FROM pg_constraint\n"
             " WHERE conrelid = 't'::regclass AND contype IN ('c', 'n') AND conkey <> '{1}'",
             "0");
    t_runs(0, "cutover", "j", "--yes");
    t_sql("DELETE FROM t WHERE id < 0");
    t_runs(0, "rollback", "j", "--yes");
    t_sql("INSERT INTO t (id) VALUES (-4)");
}

static void what_is_changed_before_the_cut_over_counts(void)
{
    t_sql("CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL, b int)");
    t_runs(0, "column", "drop", "t", "a", "--job", "j", "--yes");
    t_sql("ALTER TABLE t ALTER a DROP NOT NULL");
    t_runs(0, "cutover", "j", "--yes");
    t_runs(0, "rollback", "j", "--yes");
    t_sql("INSERT INTO t VALUES (1, NULL, 1)");
    t_runs(0, "abort", "j", "--yes");
    t_runs(0, "column", "drop", "t", "b", "--job", "k", "--yes");
    t_sql("ALTER TABLE t ALTER b SET NOT NULL");
    t_runs(0, "cutover", "k", "--yes");
    t_sql("INSERT INTO t (id) VALUES (2)");
    t_sql("DELETE FROM t WHERE id = 2");
    t_runs(0, "rollback", "k", "--yes");
    t_fails("INSERT INTO t (id) VALUES (2)", "23502");
}

static void a_constraint_that_was_not_valid_stays_so(void)
{
    const char *before;

    if (!is_18())
        t_skip("NOT NULL is a constraint since 18");
    t_sql("CREATE TABLE t (id int PRIMARY KEY, a int);\n"
          "INSERT INTO t VALUES (1, NULL);\n"
          "ALTER TABLE t ADD CONSTRAINT later NOT NULL a NOT VALID");
    before = shape();
    t_runs(0, "column", "drop", "t", "a", "--job", "j", "--yes");
    t_runs(0, "cutover", "j", "--yes");
    t_sql("INSERT INTO t VALUES (2)");
    t_runs(0, "rollback", "j", "--yes");
    assert_string_equal(shape(), before);
}

/* --------------------------------------------------------------------------------- what uses it */

static void what_still_uses_it_stops_the_cut_over_and_finish(void)
{
    make_table();
    t_sql("CREATE VIEW v AS SELECT \"A a\" FROM t");
    t_runs(0, "column", "drop", "t", "\"A a\"", "--job", "j", "--yes");
    t_says(3, "still used", "cutover", "j", "--yes");
    t_runs(0, "cutover", "j", "--force", "--yes");
    t_says(3, "nothing was changed", "finish", "j", "--yes");
    assert_string_equal(state(), "cut_over");
    t_expect("SELECT count(*) FROM v", "300");
    t_sql("DROP VIEW v");
    t_runs(0, "finish", "j", "--yes");
}

static void another_table_of_that_name_is_not_touched(void)
{
    const char *before;

    make_table();
    t_runs(0, "column", "drop", "t", "\"A a\"", "--job", "j", "--yes");
    t_sql("ALTER TABLE t RENAME TO t_before; CREATE TABLE t (id int, \"A a\" text)");
    before = shape();
    t_runs(3, "cutover", "j", "--force", "--yes");
    assert_string_equal(shape(), before);
}

static void the_report_says_what_goes_with_it(void)
{
    struct t_result result;

    t_sql("CREATE TABLE p (id int PRIMARY KEY);\n"
          "CREATE TABLE t (id int PRIMARY KEY, a int DEFAULT 7 REFERENCES p,\n"
          "                b int, UNIQUE (a, b), CHECK (a > b));\n"
          "CREATE INDEX t_i ON t (b) WHERE a > 1;\n"
          "CREATE STATISTICS t_s ON a, b FROM t");
    t_run(&result, "column", "drop", "t", "a", "--dry-run", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "goes with it");
    t_expect_out(&result, "unique constraint t_a_b_key ON");
    t_expect_out(&result, "foreign key t_a_fkey ON");
    t_expect_out(&result, "check constraint t_check ON");
    t_expect_out(&result, "index public.t_i");
    t_expect_out(&result, "statistics public.t_s");
    t_expect("SELECT to_regnamespace('pghaul') IS NULL", "t");
}

/* ---------------------------------------------------------------------------------- replication */

static void dry_run_says(const char *part, bool says, const char *verb, const char *column,
                         const char *rest)
{
    struct t_result result;

    t_run(&result, "column", verb, "t", column, "--dry-run", rest, NULL);
    t_expect_status(&result, 0);
    if (says)
        t_expect_out(&result, part);
    else
        assert_null(strstr(result.out, part));
}

static void publications_that_send_a_new_column_are_said(void)
{
    t_sql("CREATE TABLE t (id int PRIMARY KEY, a int); CREATE PUBLICATION \"P p\" FOR TABLE t");
    dry_run_says("by \"P p\": add the column b on the subscribers first", true, "rename", "a", "b");
    dry_run_says("must have a column pghaul_old_a at the cut-over", true, "rename", "a", "b");
    dry_run_says("by \"P p\": add the column pghaul_new_a", true, "retype", "a", "bigint");
    dry_run_says("by \"P p\": add the column c", true, "add", "c int", NULL);
    dry_run_says("must have a column pghaul_old_a", true, "drop", "a", NULL);
    if (t_server_version() >= 150000) {
        t_sql("DROP PUBLICATION \"P p\"; CREATE PUBLICATION p FOR TABLE t (id)");
        dry_run_says("published", false, "rename", "a", "b");
        t_sql("DROP PUBLICATION p; CREATE PUBLICATION p FOR TABLES IN SCHEMA public");
        dry_run_says("by p: add the column b", true, "rename", "a", "b");
    }
    t_sql("DROP PUBLICATION IF EXISTS p; DROP PUBLICATION IF EXISTS \"P p\";\n"
          "CREATE PUBLICATION every FOR ALL TABLES");
    dry_run_says("by every: add the column b", true, "rename", "a", "b");
}

static void subscriptions_that_write_the_table_are_said(void)
{
    t_sql("CREATE TABLE t (id int PRIMARY KEY, a int); CREATE ROLE reader_of_all;\n"
          "CREATE SUBSCRIPTION s CONNECTION 'dbname=none' PUBLICATION p\n"
          "    WITH (connect = false, slot_name = NONE)");
    dry_run_says("subscription", false, "rename", "a", "b");
    t_sql("SET allow_system_table_mods = on;\n"
          "INSERT INTO pg_subscription_rel SELECT oid, 't'::regclass, 'r' FROM pg_subscription");
    dry_run_says("stops at the cut-over when it brings column a", true, "rename", "a", "b");
    dry_run_says("stops at the cut-over when it brings column a", true, "drop", "a", NULL);
    dry_run_says("subscription s writes the table", true, "add", "c int", NULL);
    t_sql(
        "GRANT reader_of_all TO postgres; SET ROLE reader_of_all;\n"
        "SELECT subname, srrelid FROM pg_subscription JOIN pg_subscription_rel ON srsubid = oid;\n"
        "RESET ROLE; DROP SUBSCRIPTION s; DROP ROLE reader_of_all");
}

/* What a foreign key does names the column, and nobody would ever be done with that. */
static void actions_of_foreign_keys_do_not_stop_a_cut_over(void)
{
    t_sql("CREATE TABLE p (id int PRIMARY KEY);\n"
          "CREATE TABLE t (id int PRIMARY KEY, a int REFERENCES p ON DELETE SET NULL\n"
          "                ON UPDATE CASCADE);\n"
          "INSERT INTO p SELECT generate_series(1, 20);\n"
          "INSERT INTO t SELECT i, i FROM generate_series(1, 10) AS i");
    t_runs(0, "column", "rename", "t", "a", "b", "--job", "j", "--yes");
    t_sql("DELETE FROM p WHERE id IN (3, 15); UPDATE p SET id = id + 100 WHERE id IN (4, 16)");
    t_expect("SELECT string_agg(concat_ws('=', a, b), ' ' ORDER BY id) FROM t WHERE id IN (3, 4)",
             " 104=104");
    t_runs(0, "cutover", "j", "--yes");
    t_runs(0, "rollback", "j", "--yes");
    t_sql("UPDATE t SET a = 6 WHERE id = 5");
    t_says(3, "writes that name it", "cutover", "j", "--yes");
}

/* ---------------------------------------------------------------------------------------- kills
 */

static void kill_at(const char *step, const char *verb)
{
    t_gate_shut(step);
    t_gate_kill(t_start(verb, "j", "--yes", NULL));
}

static const char *const ROLLBACK_POINTS[] = {
    "event ddl %RENAME%",   "phase tighten running",    "event ddl %ADD CONSTRAINT%",
    "event ddl %VALIDATE%", "event ddl %SET NOT NULL%", "event ddl %COMMENT%",
    "phase tighten done",
};

static bool has_point(const char *point)
{
    return strstr(point, is_18() ? "SET NOT NULL" : "COMMENT") == NULL;
}

static void hide(void)
{
    t_runs(0, "column", "drop", "t", "\"A a\"", "--job", "j", "--yes");
    t_gates();
    t_runs(0, "cutover", "j", "--yes");
}

static void a_rollback_killed_anywhere_goes_on(void)
{
    for (size_t i = 0; i < sizeof(ROLLBACK_POINTS) / sizeof(ROLLBACK_POINTS[0]); i++) {
        const char *before;

        if (!has_point(ROLLBACK_POINTS[i]))
            continue;
        t_fresh_database();
        make_table();
        before = shape();
        hide();
        kill_at(ROLLBACK_POINTS[i], "rollback");
        /* Not committed: the column is hidden still. */
        t_runs(0, strcmp(state(), "cut_over") == 0 ? "rollback" : "resume", "j", "--yes");
        assert_string_equal(shape(), before);
        assert_string_equal(state(), "ready");
        t_runs(0, "cutover", "j", "--yes");
        kill_at(ROLLBACK_POINTS[i], "rollback");
        if (strcmp(state(), "cut_over") == 0)
            t_runs(0, "rollback", "j", "--yes");
        t_runs(0, "abort", "j", "--yes");
        assert_string_equal(shape(), before);
    }
}

/* An abort of such a job is killed in turn, and another one does the rest. */
static void an_abort_that_completes_a_rollback_may_be_killed_too(void)
{
    const char *before;

    make_table();
    before = shape();
    hide();
    kill_at("phase tighten running", "rollback");
    kill_at("event ddl %VALIDATE%", "abort");
    t_runs(0, "abort", "j", "--yes");
    assert_string_equal(shape(), before);
    assert_string_equal(state(), "aborted");
}

static void what_is_left_of_a_rollback_can_be_done_without_the_program(void)
{
    static const char *const POINTS[] = {"phase tighten running", "event ddl %VALIDATE%"};

    for (size_t i = 0; i < sizeof(POINTS) / sizeof(POINTS[0]); i++) {
        const char *before;
        struct t_result result;

        t_fresh_database();
        make_table();
        before = shape();
        hide();
        kill_at(POINTS[i], "rollback");
        t_run(&result, "abort", "j", "--print-sql", NULL);
        t_expect_status(&result, 0);
        t_run_program(&result, "sh", "-c", "printf %s \"$1\" | psql -X -d \"$2\"", "sh", result.out,
                      t_conninfo(), NULL);
        t_expect_status(&result, 0);
        assert_string_equal(shape(), before);
        assert_string_equal(state(), "aborted");
    }
}

/* A cut-over right after such a kill brings the rollback to its end first: NOT NULL is known. */
static void a_cut_over_after_a_killed_rollback_forgets_nothing(void)
{
    const char *before;

    make_table();
    before = shape();
    hide();
    kill_at("phase tighten running", "rollback");
    t_runs(0, "cutover", "j", "--yes");
    t_runs(0, "rollback", "j", "--yes");
    assert_string_equal(shape(), before);
}

static void a_cut_over_and_a_finish_killed_anywhere_can_be_said_again(void)
{
    const char *before;

    make_table();
    before = shape();
    t_runs(0, "column", "drop", "t", "\"A a\"", "--job", "j", "--yes");
    t_gates();
    kill_at("event ddl %RENAME%", "cutover");
    assert_string_equal(shape(), before);
    t_runs(0, "cutover", "j", "--yes");
    kill_at("event ddl %DROP COLUMN%", "finish");
    assert_string_equal(state(), "cut_over");
    t_runs(0, "finish", "j", "--yes");
    assert_string_equal(state(), "finished");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_rollback_leaves_the_table_as_it_was),
        t_test(finish_drops_the_column),
        t_test(rows_that_came_without_it_keep_it_nullable),
        t_test(what_is_changed_before_the_cut_over_counts),
        t_test(a_constraint_that_was_not_valid_stays_so),
        t_test(what_still_uses_it_stops_the_cut_over_and_finish),
        t_test(another_table_of_that_name_is_not_touched),
        t_test(the_report_says_what_goes_with_it),
        t_test(publications_that_send_a_new_column_are_said),
        t_test(subscriptions_that_write_the_table_are_said),
        t_test(actions_of_foreign_keys_do_not_stop_a_cut_over),
        t_test(a_rollback_killed_anywhere_goes_on),
        t_test(an_abort_that_completes_a_rollback_may_be_killed_too),
        t_test(what_is_left_of_a_rollback_can_be_done_without_the_program),
        t_test(a_cut_over_after_a_killed_rollback_forgets_nothing),
        t_test(a_cut_over_and_a_finish_killed_anywhere_can_be_said_again),
    };

    return T_MAIN(tests);
}
