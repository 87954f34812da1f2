/*
 * What a rename or a retype of a column refuses, and what stops it and lets it go on: exit status,
 * words, and that nothing was changed.
 */
#include <string.h>

#include "engine/base/clock.h"
#include "tests/oracle.h"

#define JOB "j"
#define RENAME(...) "column", "rename", __VA_ARGS__
#define RETYPE(...) "column", "retype", __VA_ARGS__

static const char STATE[] = "SELECT state FROM pghaul.job WHERE name = '" JOB "'";

static void make_table(void)
{
    t_sql("CREATE TABLE t (id int PRIMARY KEY, v text, n int, taken int, g int GENERATED ALWAYS AS "
          "(n) STORED, i int GENERATED ALWAYS AS IDENTITY);\n"
          "INSERT INTO t (id, v, n) SELECT i, i::text, i FROM generate_series(1, 100) AS i");
}

static void mistakes_in_arguments_are_refused(void)
{
    make_table();
    t_says(2, "rename", RENAME("t", "v"));
    t_says(2, "rename", RENAME("t", "v", "w", "x"));
    t_says(2, "retype", RETYPE("t", "v"));
    t_says(2, "verb", "column", "verb", "t", "v");
    t_says(2, "", "column");
    t_says(2, "--using", RENAME("t", "v", "w", "--using", "v"));
    t_says(2, "--using", "column", "drop", "t", "v", "--using", "v");
    t_says(2, "--using", RETYPE("t", "v", "int", "--back-using", "v::text"));
    t_says(2, "no name", RENAME("t", "v", "two words"));
    t_says(2, "no name", RENAME("t", "v", ""));
    t_expect("SELECT to_regnamespace('pghaul') IS NULL OR (SELECT count(*) = 0 FROM pg_trigger)",
             "t");
}

static void what_cannot_be_done_is_refused_before_anything_is_changed(void)
{
    const char *before;

    make_table();
    t_sql("CREATE TABLE keyless (v int); CREATE VIEW w AS SELECT 1 AS v;\n"
          "CREATE TABLE parts (v int PRIMARY KEY) PARTITION BY RANGE (v)");
    before = definition();
    t_says(3, "nothing", RENAME("nothing", "v", "w"));
    t_says(3, "no column gone", RENAME("t", "gone", "w"));
    t_says(3, "column taken already", RENAME("t", "v", "taken"));
    t_says(3, "v already", RENAME("t", "v", "v"));
    t_says(3, "xmin", RENAME("t", "v", "xmin"));
    t_says(3, "xmin", RENAME("t", "xmin", "v2"));
    t_says(3, "key", RENAME("keyless", "v", "w"));
    t_says(3, "", RENAME("w", "v", "x"));
    t_says(3, "", RENAME("parts", "v", "w"));
    t_says(3, "generated", RENAME("t", "g", "h"));
    t_says(3, "generated column g", RENAME("t", "n", "m"));
    t_says(3, "identity", RETYPE("t", "i", "numeric"));
    t_says(3, "no row has to be written", RETYPE("t", "id", "int"));
    t_says(3, "no row has to be written", RETYPE("t", "v", "varchar"));
    t_says(3, "--using", RETYPE("t", "v", "int"));
    t_says(3, "nonsense", RETYPE("t", "v", "nonsense"));
    t_says(3, "syntax error", RETYPE("t", "v", "int, DROP COLUMN taken"));
    t_says(3, "value of the column", RETYPE("t", "v", "int", "--using", "(SELECT max(id) FROM t)"));
    t_says(3, "value of the column",
           RETYPE("t", "v", "int", "--using", "extract(epoch FROM now())::int + v::int"));
    t_says(3, "value of the column",
           RETYPE("t", "v", "int", "--using", "(random() * v::int)::int"));
    t_says(3, "id", RETYPE("t", "v", "int", "--using", "v::int + id"));
    t_says(3, "syntax", RETYPE("t", "v", "int", "--using", "v::int +"));
    t_says(3, "--using", RETYPE("t", "v", "int", "--using", "v || 'x'"));
    t_says(3, "", RETYPE("t", "v", "int", "--using", "1); DROP TABLE t; SELECT (1"));
    t_says(3, "--back-using",
           RETYPE("t", "v", "int", "--using", "v::int", "--back-using", "now()::text"));
    t_says(3, "aggregate", RETYPE("t", "v", "int", "--using", "count(v)"));
    t_says(3, "", RETYPE("t", "v", "int", "--using", "generate_series(1, v::int)"));
    t_says(2, "deadlock_timeout", RENAME("t", "v", "w", "-s", "lock.timeout=900ms"));
    same_definition(before);
    t_expect("SELECT count(*) FROM pg_trigger", "0");
}

static void a_dry_run_prints_every_phase_and_changes_nothing(void)
{
    static const char *const PHASES[] = {"expand", "backfill", "later",   "constrain",
                                         "verify", "ready",    "cutover", "finish"};
    static const char *const SQL[] = {"ADD COLUMN",         "CREATE TRIGGER",      "FOR UPDATE",
                                      "INDEX CONCURRENTLY", "VALIDATE CONSTRAINT", "SET NOT NULL",
                                      "RENAME COLUMN",      "DROP COLUMN"};
    const char *before;
    struct t_result result;

    t_sql("CREATE TABLE t (id serial PRIMARY KEY, v text);\n"
          "CREATE TABLE u (t int REFERENCES t); INSERT INTO t (v) VALUES ('a')");
    before = definition();
    t_run(&result, RETYPE("t", "id", "bigint", "--dry-run", NULL));
    t_expect_status(&result, 0);
    for (size_t i = 0; i < sizeof(PHASES) / sizeof(PHASES[0]); i++)
        t_expect_out(&result, PHASES[i]);
    for (size_t i = 0; i < sizeof(SQL) / sizeof(SQL[0]); i++)
        t_expect_out(&result, SQL[i]);
    same_definition(before);
    t_expect("SELECT to_regclass('pghaul.job') IS NULL OR (SELECT count(*) = 0 FROM pg_class WHERE "
             "relname ~ '_1$')",
             "t");
    t_expect("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal", "0");
}

static void one_job_at_a_time_has_a_table(void)
{
    make_table();
    t_runs(0, RENAME("t", "v", "w", "--job", JOB));
    t_says(3, JOB, RENAME("t", "taken", "x"));
    t_says(3, JOB, RETYPE("t", "taken", "bigint"));
    t_says(3, JOB, "backfill", "t", "--set", "n = n + 1");
    t_says(3, JOB, "alter", "t");
    t_says(3, "", "column", "drop", "t", "taken");
    t_runs(0, "abort", JOB, "--yes");
    t_runs(0, RETYPE("t", "taken", "bigint"));
}

static void verbs_out_of_turn_are_refused(void)
{
    make_table();
    t_runs(0, RENAME("t", "v", "w", "--job", JOB));
    t_says(3, "", "rollback", JOB, "--yes");
    t_says(3, "", "finish", JOB, "--yes");
    t_runs(0, "cutover", JOB, "--yes");
    t_runs(0, "cutover", JOB, "--yes");
    t_says(3, "", "abort", JOB, "--yes");
    t_says(3, "", "verify", JOB);
    t_runs(0, "rollback", JOB, "--yes");
    t_runs(0, "rollback", JOB, "--yes");
    t_runs(0, "verify", JOB);
    t_runs(0, "cutover", JOB, "--yes");
    t_runs(0, "finish", JOB, "--yes");
    t_runs(0, "finish", JOB, "--yes");
    t_says(3, "", "rollback", JOB, "--yes");
    t_says(3, "", "abort", JOB, "--yes");
    t_says(3, "", "cutover", JOB, "--yes");
}

/* ----------------------------------------------------------------------------------- what uses it
 */

static void a_view_bars_the_cutover_and_the_finish(void)
{
    make_table();
    t_sql("CREATE VIEW seen AS SELECT id, v FROM t");
    t_runs(0, RENAME("t", "v", "w", "--job", JOB));
    t_says(3, "view public.seen", "cutover", JOB, "--yes");
    t_expect(STATE, "ready");
    t_runs(0, "cutover", JOB, "--yes", "--force");
    t_sql("UPDATE t SET w = 'new' WHERE id = 1");
    t_expect("SELECT v FROM seen WHERE id = 1", "new");
    t_says(3, "seen", "finish", JOB, "--yes");
    t_expect(STATE, "cut_over");
    t_sql("UPDATE t SET w = 'newer' WHERE id = 1");
    t_expect("SELECT v FROM seen WHERE id = 1", "newer");
    t_sql("CREATE OR REPLACE VIEW seen AS SELECT id, w AS v FROM t");
    t_runs(0, "finish", JOB, "--yes");
    t_expect("SELECT v FROM seen WHERE id = 1", "newer");
    nothing_of_ours_is_left();
}

/* They stay with the old column when the names change places: before that somebody must know. */
static void what_follows_the_old_column_bars_a_retype_too(void)
{
    static const char *const USERS[][2] = {
        {"CREATE VIEW seen AS SELECT id, n FROM x", "view public.seen"},
        {"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';\n"
         "CREATE TRIGGER tr AFTER UPDATE OF n ON x FOR EACH ROW EXECUTE FUNCTION f()",
         "trigger tr"},
        {"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';\n"
         "CREATE TRIGGER tr AFTER UPDATE ON x FOR EACH ROW WHEN (OLD.n <> NEW.n) EXECUTE FUNCTION "
         "f()",
         "trigger tr"},
        {"CREATE POLICY p ON x USING (n > 0)", "policy p"},
    };

    for (size_t i = 0; i < sizeof(USERS) / sizeof(USERS[0]); i++) {
        (void)t_fresh_database();
        t_sql("CREATE TABLE x (id int PRIMARY KEY, n int); INSERT INTO x VALUES (1, 1)");
        t_sql(USERS[i][0]);
        t_runs(0, RETYPE("x", "n", "bigint", "--job", JOB));
        t_says(3, USERS[i][1], "cutover", JOB, "--yes");
        t_runs(0, "abort", JOB, "--yes");
        t_expect("SELECT n FROM x", "1");
    }
}

/* A new version of the application has made something of the new name. */
static void an_abort_says_what_uses_the_new_column(void)
{
    static const char KEYS[] =
        "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND confrelid = 't'::regclass";

    make_table();
    t_sql("CREATE TABLE child (t int REFERENCES t)");
    t_runs(0, RENAME("t", "id", "w", "--job", JOB));
    t_expect(KEYS, "2");
    t_sql("CREATE VIEW fresh AS SELECT w FROM t");
    t_says(3, "fresh", "abort", JOB, "--yes");
    t_sql("UPDATE t SET id = 1000 WHERE id = 1");
    t_expect("SELECT count(*) FROM t WHERE id IS DISTINCT FROM w", "0");
    /* Then not: no foreign key is lost by what the abort has done so far. */
    t_runs(0, "cutover", JOB, "--yes", "--force");
    t_expect(KEYS, "1");
    t_fails("INSERT INTO child VALUES (-1)", "23503");
    t_runs(0, "rollback", JOB, "--yes");
    t_expect(KEYS, "2");
    t_sql("DROP VIEW fresh");
    t_runs(0, "abort", JOB, "--yes");
    t_expect(KEYS, "1");
    nothing_of_ours_is_left();
}

/* ------------------------------------------------------------------------------------ what stops
 * it
 */

static void a_row_that_cannot_be_converted_stops_the_job_with_its_key(void)
{
    struct t_result result;

    make_table();
    t_sql("UPDATE t SET v = 'sixty-six' WHERE id = 66");
    t_run(&result, RETYPE("t", "v", "int", "--using", "v::int", "--back-using", "v::text", "--job",
                          JOB, NULL));
    assert_int_not_equal(result.status, 0);
    t_expect_err(&result, "66");
    t_sql("UPDATE t SET v = '66' WHERE id = 66");
    t_runs(0, "resume", JOB);
    t_expect(STATE, "ready");
    t_expect("SELECT count(*) FROM t WHERE v::int IS DISTINCT FROM pghaul_new_v", "0");
}

/* Two values that were different are one in the new type. */
static void values_that_become_equal_are_found_by_the_unique_index(void)
{
    struct t_result result;

    t_sql("CREATE TABLE t (id int PRIMARY KEY, v text UNIQUE);\n"
          "INSERT INTO t VALUES (1, '7'), (2, '07')");
    t_run(&result, RETYPE("t", "v", "int", "--using", "v::int", "--back-using", "v::text", "--job",
                          JOB, NULL));
    assert_int_not_equal(result.status, 0);
    t_expect_err(&result, "(7)");
    t_sql("UPDATE t SET v = '8' WHERE id = 2");
    t_runs(0, "resume", JOB);
    t_runs(0, "cutover", JOB, "--yes");
    t_runs(0, "finish", JOB, "--yes");
    t_expect("SELECT string_agg(v::text, ' ' ORDER BY id) FROM t", "7 8");
    t_expect("SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass AND indisvalid", "2");
}

static void triggers_that_were_disabled_are_found_under_the_lock(void)
{
    make_table();
    t_runs(0, RENAME("t", "v", "w", "--job", JOB));
    t_sql("ALTER TABLE t DISABLE TRIGGER USER; UPDATE t SET v = 'behind' WHERE id = 5;\n"
          "ALTER TABLE t ENABLE TRIGGER USER");
    t_says(3, "touched", "cutover", JOB, "--yes", "--force");
    t_expect("SELECT count(*) FROM t WHERE v IS DISTINCT FROM w", "1");
    t_says(4, "1 of 100 rows do not agree", "resume", JOB); /* nobody knows which is right */
    t_sql("UPDATE t SET w = v WHERE id = 5");
    t_runs(0, "resume", JOB);
    t_expect("SELECT count(*) FROM t WHERE v IS DISTINCT FROM w", "0");
    t_expect("SELECT w FROM t WHERE id = 5", "behind");
    /* Disabled for good: a comparison alone does not see what will be written. */
    t_sql("ALTER TABLE t DISABLE TRIGGER USER; UPDATE t SET v = 'behind, too' WHERE id = 6");
    t_says(4, "1 of 100 rows do not agree", "verify", JOB);
    t_sql("UPDATE t SET w = v WHERE id = 6");
    t_runs(0, "resume", JOB);
    t_expect("SELECT w FROM t WHERE id = 6", "behind, too");
    t_expect("SELECT string_agg(tgenabled::text, '') FROM pg_trigger WHERE NOT tgisinternal",
             "AAA");
    t_runs(0, "cutover", JOB, "--yes", "--force");
    t_expect("SELECT count(*) FROM t WHERE pghaul_old_v IS DISTINCT FROM w", "0");
}

/* The same after the cut-over: the way back is no sure one any more. */
static void a_rollback_past_touched_triggers_needs_a_word(void)
{
    make_table();
    t_runs(0, RENAME("t", "v", "w", "--job", JOB));
    t_runs(0, "cutover", JOB, "--yes");
    t_sql("ALTER TABLE t DISABLE TRIGGER USER; UPDATE t SET w = 'ahead' WHERE id = 5;\n"
          "ALTER TABLE t ENABLE TRIGGER USER");
    t_says(3, "touched", "rollback", JOB, "--yes");
    t_expect(STATE, "cut_over");
    t_says(4, "1 of 100 rows do not agree", "rollback", JOB, "--yes", "--accept-loss");
    t_expect("SELECT v || ' ' || w FROM t WHERE id = 5", "5 ahead");
    t_sql("UPDATE t SET v = w WHERE id = 5");
    t_runs(0, "resume", JOB);
    t_expect(STATE, "ready");
}

/* The map itself was replaced: what was compared is not what will be written. */
static void a_function_that_was_replaced_is_found_under_the_lock(void)
{
    make_table();
    t_runs(0, RETYPE("t", "taken", "bigint", "--job", JOB));
    t_sql("ALTER FUNCTION pghaul.forward_1 COST 7");
    t_says(3, "touched", "cutover", JOB, "--yes", "--force");
    t_runs(0, "resume", JOB);
    t_runs(0, "cutover", JOB, "--yes", "--force");
}

static void a_session_that_is_killed_while_indexes_are_built_is_replaced(void)
{
    struct t_session *holder = t_session("holder");
    struct t_process *job;
    struct t_result result;

    t_sql("CREATE TABLE other (); CREATE TABLE t (id int PRIMARY KEY, v int UNIQUE NOT NULL);\n"
          "INSERT INTO t SELECT i, i FROM generate_series(1, 500) AS i");
    t_do(holder, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM other");
    job = t_start(RETYPE("t", "v", "bigint", "--job", JOB, NULL));
    t_wait_until("SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%INDEX "
                 "CONCURRENTLY%' AND application_name LIKE 'pghaul%' AND wait_event_type = 'Lock'",
                 "t", 30);
    t_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%INDEX "
          "CONCURRENTLY%' AND application_name LIKE 'pghaul%'");
    clock_sleep_ms(300);
    t_do(holder, "COMMIT");
    t_wait(job, &result);
    if (result.status != 0)
        t_runs(0, "resume", JOB);
    t_expect(STATE, "ready");
    t_expect("SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass AND NOT indisvalid",
             "0");
    t_runs(0, "cutover", JOB, "--yes");
    t_runs(0, "finish", JOB, "--yes");
    t_expect("SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass", "2");
}

/* ------------------------------------------------------------------------------------------- roles
 */

static void an_ordinary_owner_does_all_of_it(void)
{
    struct t_session *clerk;
    const char *before;

    t_sql("DO $$ BEGIN IF to_regrole('shop') IS NULL THEN CREATE ROLE shop LOGIN; CREATE ROLE "
          "clerk LOGIN; END IF; END $$");
    t_sqlf("GRANT CREATE ON DATABASE %s TO shop", t_text("SELECT quote_ident(current_database())"));
    t_sql("CREATE SCHEMA s AUTHORIZATION shop; SET ROLE shop;\n"
          "CREATE TABLE s.t (id serial PRIMARY KEY, v int); CREATE TABLE s.u (t int REFERENCES "
          "s.t);\n"
          "INSERT INTO s.t (v) SELECT i FROM generate_series(1, 200) AS i;\n"
          "GRANT USAGE ON SCHEMA s TO clerk; GRANT SELECT, INSERT, UPDATE ON s.t TO clerk;\n"
          "GRANT USAGE ON s.t_id_seq TO clerk; RESET ROLE");
    before = definition();
    for (int i = 0; i < 2; i++) {
        struct t_result result;
        const char *job = i == 0 ? "a" : "b";

        t_run_plain(&result, "column", "retype", "s.t", "id", "bigint", "--job", job, "-d",
                    t_conninfo_as("shop"), NULL);
        t_expect_status(&result, 0);
        clerk = t_session_as("clerk", "clerk");
        t_do(clerk, "INSERT INTO s.t (v) VALUES (0); UPDATE s.t SET id = id + 1000, v = -5 WHERE v "
                    "= 0; UPDATE s.t SET pghaul_new_id = pghaul_new_id + 1 WHERE v = -5");
        t_run_plain(&result, "cutover", job, "--yes", "-d", t_conninfo_as("shop"), NULL);
        t_expect_status(&result, 0);
        t_do(clerk, "INSERT INTO s.t (v) VALUES (0); UPDATE s.t SET id = id + 2000, v = -6 WHERE v "
                    "= 0");
        t_run_plain(&result, i == 0 ? "rollback" : "finish", job, "--yes", "-d",
                    t_conninfo_as("shop"), NULL);
        t_expect_status(&result, 0);
        t_do(clerk, "INSERT INTO s.t (v) VALUES (0); UPDATE s.t SET id = id + 3000, v = -7 WHERE v "
                    "= 0");
        if (i == 0) {
            t_run_plain(&result, "abort", job, "--yes", "-d", t_conninfo_as("shop"), NULL);
            t_expect_status(&result, 0);
            same_definition(before);
        }
        t_close(clerk);
    }
    t_expect("SELECT format_type(atttypid, -1) FROM pg_attribute WHERE attrelid = 's.t'::regclass "
             "AND attname = 'id'",
             "bigint");
    t_expect("SELECT count(*) FROM s.t", "206");
}

static void a_stranger_is_refused(void)
{
    struct t_result result;

    t_sql("DO $$ BEGIN IF to_regrole('clerk') IS NULL THEN CREATE ROLE shop LOGIN; CREATE ROLE "
          "clerk LOGIN; END IF; END $$");
    make_table();
    t_sql("GRANT ALL ON t TO clerk");
    t_run_plain(&result, RENAME("t", "v", "w", "-d", t_conninfo_as("clerk"), NULL));
    t_expect_status(&result, 3);
    t_expect("SELECT count(*) FROM pg_trigger", "0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(mistakes_in_arguments_are_refused),
        t_test(what_cannot_be_done_is_refused_before_anything_is_changed),
        t_test(a_dry_run_prints_every_phase_and_changes_nothing),
        t_test(one_job_at_a_time_has_a_table),
        t_test(verbs_out_of_turn_are_refused),
        t_test(a_view_bars_the_cutover_and_the_finish),
        t_test(what_follows_the_old_column_bars_a_retype_too),
        t_test(an_abort_says_what_uses_the_new_column),
        t_test(a_row_that_cannot_be_converted_stops_the_job_with_its_key),
        t_test(values_that_become_equal_are_found_by_the_unique_index),
        t_test(triggers_that_were_disabled_are_found_under_the_lock),
        t_test(a_rollback_past_touched_triggers_needs_a_word),
        t_test(a_function_that_was_replaced_is_found_under_the_lock),
        t_test(a_session_that_is_killed_while_indexes_are_built_is_replaced),
        t_test(an_ordinary_owner_does_all_of_it),
        t_test(a_stranger_is_refused),
    };

    return T_MAIN(tests);
}
