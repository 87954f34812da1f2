/*
 * The swap of a column and its twin, the way back and the end, where something is in the way or has
 * a mark of its own: what subscribers name rows by, comments, names of NOT NULL, sequences; a
 * rollback or a finish that did not come to its end; and what --dry-run says of all of it.
 */
#include <signal.h>
#include <string.h>

#include "tests/oracle.h"

#define JOB "j"
#define RETYPE(table, column) "column", "retype", table, column, "bigint"

static const char STATE[] = "SELECT state FROM pghaul.job WHERE name = '" JOB "'";

/* ----------------------------------------------------------------------------------------- marks
 */

static const char NAMED_BY[] = "SELECT indexrelid::regclass FROM pg_index WHERE indisreplident";

/* A published table whose rows nothing names refuses UPDATE. */
static void subscribers_can_name_every_row_all_the_time(void)
{
    static const char *const INDEXES[] = {"t_pkey", "t_code_a"};
    static const char *const COLUMNS[] = {"id", "code"};
    static const char UPDATE[] = "UPDATE t SET a = a || 'x' WHERE id = 1";

    for (int i = 0; i < 2; i++) {
        const char *before;

        (void)t_fresh_database();
        t_sqlf("CREATE TABLE t (id int PRIMARY KEY, code int NOT NULL, a text NOT NULL);\n"
               "CREATE UNIQUE INDEX t_code_a ON t (code, id);\n"
               "INSERT INTO t SELECT i, i, 'a' FROM generate_series(1, 100) AS i;\n"
               "ALTER TABLE t REPLICA IDENTITY USING INDEX %s; CREATE PUBLICATION p FOR TABLE t",
               INDEXES[i]);
        before = definition();
        t_runs(0, RETYPE("t", COLUMNS[i]), "--job", JOB);
        t_runs(0, "cutover", JOB, "--yes", "--force");
        t_sql(UPDATE);
        t_expect("SELECT count(*) FROM pg_index WHERE indisreplident", "1");
        t_runs(0, "rollback", JOB, "--yes");
        t_sql(UPDATE);
        t_expect(NAMED_BY, INDEXES[i]);
        t_runs(0, "abort", JOB, "--yes");
        t_sql(UPDATE);
        same_definition(before);
        t_runs(0, RETYPE("t", COLUMNS[i]), "--job", "again");
        t_runs(0, "cutover", "again", "--yes", "--force");
        t_runs(0, "finish", "again", "--yes");
        t_sql(UPDATE);
        t_expect(NAMED_BY, INDEXES[i]);
    }
}

static void a_key_keeps_its_comments_and_its_mark(void)
{
    static const char MARKS[] =
        "SELECT concat_ws(', ', indisclustered, obj_description(indexrelid, 'pg_class'),\n"
        "                 obj_description(k.oid, 'pg_constraint'))\n"
        "  FROM pg_index JOIN pg_constraint AS k ON k.conindid = indexrelid AND k.contype = 'p'\n"
        " WHERE indexrelid = '\"the key\"'::regclass";
    static const char *const VERBS[] = {"rollback", "cutover", "rollback", "abort"};
    const char *before;

    t_sql("CREATE TABLE t (id int CONSTRAINT key PRIMARY KEY, a text);\n"
          "ALTER TABLE t RENAME CONSTRAINT key TO \"the key\"; ALTER TABLE t CLUSTER ON \"the "
          "key\";\n"
          "COMMENT ON CONSTRAINT \"the key\" ON t IS 'of the table'; COMMENT ON INDEX \"the key\" "
          "IS 'its ''index'; INSERT INTO t VALUES (1, 'a')");
    before = definition();
    t_runs(0, RETYPE("t", "id"), "--job", JOB);
    t_runs(0, "cutover", JOB, "--yes");
    for (int i = 0; i < 4; i++) {
        t_expect(MARKS, "t, its 'index, of the table");
        t_runs(0, VERBS[i], JOB, "--yes");
    }
    same_definition(before);
    t_runs(0, RETYPE("t", "id"), "--job", "again");
    t_runs(0, "cutover", "again", "--yes");
    t_runs(0, "finish", "again", "--yes");
    t_expect(MARKS, "t, its 'index, of the table");
}

/* They have names since 18. */
static void not_null_keeps_its_name_and_its_comment(void)
{
    static const char NAMES[] =
        "SELECT string_agg(conname || coalesce(' ' || obj_description(oid, 'pg_constraint'), ''),\n"
        "                  ', ' ORDER BY conname) FROM pg_constraint\n"
        " WHERE conrelid = 't'::regclass AND contype = 'n'";
    static const char EXPECTED[] = "has an a why, has an id";
    static const char *const WAYS[][3] = {
        {"retype", "a", "bigint"}, {"retype", "id", "bigint"}, {"rename", "a", "b"}};

    if (t_server_version() < 180000)
        return;
    for (int i = 0; i < 3; i++) {
        (void)t_fresh_database();
        t_sql("CREATE TABLE t (id int CONSTRAINT \"has an id\" NOT NULL PRIMARY KEY, a int "
              "CONSTRAINT \"has an a\" NOT NULL); COMMENT ON CONSTRAINT \"has an a\" ON t IS "
              "'why'; INSERT INTO t SELECT i, i FROM generate_series(1, 100) AS i");
        t_runs(0, "column", WAYS[i][0], "t", WAYS[i][1], WAYS[i][2], "--job", JOB);
        t_runs(0, "cutover", JOB, "--yes", "--force");
        t_runs(0, "rollback", JOB, "--yes");
        t_runs(0, "abort", JOB, "--yes");
        t_expect(NAMES, EXPECTED);
        t_runs(0, "column", WAYS[i][0], "t", WAYS[i][1], WAYS[i][2], "--job", "again");
        t_runs(0, "cutover", "again", "--yes", "--force");
        t_runs(0, "finish", "again", "--yes");
        t_expect(NAMES, EXPECTED);
    }
}

static void not_null_that_is_not_valid_is_not_lost(void)
{
    if (t_server_version() < 180000)
        return;
    t_sql("CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1), (2);\n"
          "ALTER TABLE t ADD CONSTRAINT nn NOT NULL a NOT VALID");
    t_says(3, "pghaul validate t nn", "column", "rename", "t", "a", "b");
    t_says(3, "pghaul validate t nn", RETYPE("t", "a"));
}

/* ----------------------------------------------------------------------- what did not come to its
 * end
 */

#define WIDE_VALUE "INSERT INTO t (id, n) VALUES (%d, 3000000000)"

static void cut_over(void)
{
    t_sql("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL);\n"
          "INSERT INTO t SELECT i, i FROM generate_series(1, 100) AS i");
    t_runs(0, RETYPE("t", "n"), "--job", JOB);
    t_runs(0, "cutover", JOB, "--yes", "--force");
}

/* A value came after the count was looked at. */
static void a_rollback_that_fails_leaves_nothing_in_the_way(void)
{
    struct t_result result;

    cut_over();
    t_sqlf(WIDE_VALUE, 101);
    t_sql("SELECT setval('pghaul.lost_1', 1, false)");
    t_run(&result, "rollback", JOB, "--yes", NULL);
    assert_int_not_equal(result.status, 0);
    t_expect_err(&result, "pghaul rollback " JOB);
    t_expect_no_err(&result, "resume");
    t_expect(STATE, "cut_over");
    t_expect("SELECT reason IS NULL FROM pghaul.job", "t");
    t_sqlf(WIDE_VALUE, 102);
    t_sql("DELETE FROM t WHERE id > 100");
    t_runs(0, "rollback", JOB, "--yes");
    t_expect(STATE, "ready");
}

static const char STOP_VALIDATION[] =
    "CREATE FUNCTION stop() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN\n"
    "    IF current_query() LIKE '%VALIDATE CONSTRAINT%' THEN PERFORM pg_sleep(100); END IF;\n"
    "END $$; CREATE EVENT TRIGGER stop ON ddl_command_start WHEN TAG IN ('ALTER TABLE')\n"
    "    EXECUTE FUNCTION stop()";

/* Killed while the old column is checked: nothing wider is accepted from then on. */
static void kill_rollback(void)
{
    struct t_process *rollback;
    struct t_result result;

    cut_over();
    t_sql(STOP_VALIDATION);
    rollback = t_start("rollback", JOB, "--yes", NULL);
    t_wait_until("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", "1", 30);
    t_kill(rollback, SIGKILL);
    t_wait(rollback, &result);
    t_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity\n"
          " WHERE datname = current_database() AND application_name LIKE 'pghaul%';\n"
          "DROP EVENT TRIGGER stop; DROP FUNCTION stop()");
    t_wait_until("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pghaul%'", "0",
                 30);
}

static void a_rollback_that_was_killed_is_seen_and_given_up(void)
{
    struct t_result result;

    kill_rollback();
    t_fails("INSERT INTO t (id, n) VALUES (101, 3000000000)", "23514");
    t_run(&result, "status", JOB, NULL);
    t_expect_out(&result, "a rollback has begun");
    t_runs(0, "resume", JOB);
    t_sqlf(WIDE_VALUE, 101);
    t_run(&result, "status", JOB, NULL);
    assert_null(strstr(result.out, "a rollback has begun"));
    t_expect(STATE, "cut_over");
    t_says(9, "1 rows", "rollback", JOB, "--yes");
    t_sql("DELETE FROM t WHERE id = 101");
    t_runs(0, "rollback", JOB, "--yes");
    t_runs(0, "abort", JOB, "--yes");
    nothing_of_ours_is_left();
}

static void a_finish_after_a_killed_rollback_leaves_no_check(void)
{
    kill_rollback();
    t_runs(0, "finish", JOB, "--yes");
    t_sqlf(WIDE_VALUE, 101);
    t_expect("SELECT count(*) FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'c'",
             "0");
    nothing_of_ours_is_left();
}

static void a_killed_rollback_can_be_completed(void)
{
    kill_rollback();
    t_runs(0, "rollback", JOB, "--yes");
    t_expect("SELECT reason IS NULL FROM pghaul.job", "t");
    t_expect("SELECT count(*) FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'c'",
             "0");
    t_runs(0, "abort", JOB, "--yes");
    nothing_of_ours_is_left();
}

static void what_finish_has_dropped_cannot_come_back(void)
{
    t_sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100);\n"
          "CREATE TABLE c (id int PRIMARY KEY, t int, CONSTRAINT of_t FOREIGN KEY (t) REFERENCES "
          "t)");
    t_runs(0, RETYPE("t", "id"), "--job", JOB);
    t_runs(0, "cutover", JOB, "--yes");
    t_sql("CREATE FUNCTION stop() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN\n"
          "    IF current_query() LIKE '%\"c\" RENAME CONSTRAINT%' THEN RAISE 'stopped'; END IF;\n"
          "END $$; CREATE EVENT TRIGGER stop ON ddl_command_start WHEN TAG IN ('ALTER TABLE')\n"
          "    EXECUTE FUNCTION stop()");
    t_says(1, "pghaul finish " JOB " completes", "finish", JOB, "--yes");
    t_sql("DROP EVENT TRIGGER stop; DROP FUNCTION stop()");
    t_expect(STATE, "cut_over");
    t_says(3, "finish has dropped the old column", "rollback", JOB, "--yes");
    t_says(3, "pghaul finish " JOB, "rollback", JOB, "--yes", "--accept-loss");
    t_runs(0, "status", JOB);
    t_runs(0, "resume", JOB);
    t_runs(0, "finish", JOB, "--yes");
    t_expect("SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint\n"
             " WHERE conrelid = 'c'::regclass AND contype = 'f'",
             "of_t");
    nothing_of_ours_is_left();
}

/* For psql: one that a try of the cut-over had taken was valid. */
static void foreign_keys_are_valid_again_after_the_script(void)
{
    struct t_result result;
    const char *before;

    t_sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100);\n"
          "CREATE TABLE \"c'd\" (id int PRIMARY KEY, t int, CONSTRAINT \"o'f\" FOREIGN KEY (t)\n"
          "REFERENCES t); ALTER TABLE \"c'd\" ADD CONSTRAINT zz FOREIGN KEY (t) REFERENCES t NOT "
          "VALID");
    before = definition();
    t_runs(0, RETYPE("t", "id"), "--job", JOB);
    t_sql("ALTER TABLE \"c'd\" DROP CONSTRAINT \"o'f\", DROP CONSTRAINT zz");
    t_run(&result, "abort", JOB, "--print-sql", NULL);
    t_expect_status(&result, 0);
    t_sql(strstr(result.out, "BEGIN;")); /* behind what only psql knows */
    same_definition(before);
    t_expect("SELECT string_agg(conname || convalidated, ' ' ORDER BY conname) FROM pg_constraint\n"
             " WHERE conrelid = '\"c''d\"'::regclass AND contype = 'f'",
             "o'ftrue zzfalse");
}

/* ------------------------------------------------------------------------------------- what is
 * said
 */

/* The swap makes another sequence of that name, and drops this one. */
static void an_identity_that_others_use_is_refused_at_once(void)
{
    static const char *const USES[] = {
        "CREATE TABLE other (x int DEFAULT nextval('t_id_seq'))",
        "CREATE VIEW \"a view\" AS SELECT last_value FROM t_id_seq",
    };
    static const char *const OBJECTS[] = {"table public.other", "a view"};

    for (int i = 0; i < 2; i++) {
        (void)t_fresh_database();
        t_sql("CREATE TABLE t (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, a text)");
        t_sql(USES[i]);
        t_says(3, OBJECTS[i], RETYPE("t", "id"));
        t_says(3, "a sequence of its own", "column", "rename", "t", "id", "key");
    }
}

static void a_sequence_that_stays_narrow_is_named(void)
{
    struct t_result result;

    t_sql("CREATE SEQUENCE \"the s\" AS int; CREATE SEQUENCE wide; CREATE TABLE t (\n"
          "    id int PRIMARY KEY DEFAULT nextval('\"the s\"'), n int DEFAULT nextval('wide'))");
    t_run(&result, RETYPE("t", "id"), "--dry-run", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result,
                 "sequence public.\"the s\" stays integer: ALTER SEQUENCE public.\"the s\" "
                 "AS bigint");
    t_run(&result, RETYPE("t", "n"), "--dry-run", NULL);
    t_expect_status(&result, 0);
    assert_null(strstr(result.out, " stays "));
}

static void a_default_of_another_type_has_a_way_to_go(void)
{
    t_sql("CREATE TABLE t (id int PRIMARY KEY, a text DEFAULT '0')");
    t_says(3, "DROP DEFAULT", "column", "retype", "t", "a", "int", "--using", "a::int");
    t_says(3, "column a as int", "column", "retype", "t", "a", "int", "--using", "a::int");
}

/* Of another table, by the same name: it has no successor. */
static void a_foreign_key_by_the_name_of_another_one_is_found(void)
{
    t_sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);\n"
          "CREATE TABLE a (t int, CONSTRAINT of_t FOREIGN KEY (t) REFERENCES t);\n"
          "CREATE TABLE b (t int)");
    t_runs(0, "column", "rename", "t", "id", "key", "--job", JOB);
    t_sql("ALTER TABLE b ADD CONSTRAINT of_t FOREIGN KEY (t) REFERENCES t");
    t_says(3, "of_t ON public.b", "cutover", JOB, "--yes");
    t_sql("ALTER TABLE b DROP CONSTRAINT of_t");
    t_runs(0, "cutover", JOB, "--yes");
}

/* Statements that change a schema are recorded: each is what was printed before, white space and
 * numbers apart. */
static const char UNSAID[] =
    "WITH plain AS (SELECT regexp_replace(regexp_replace(text, '\\s+', ' ', 'g'), '[0-9]+', '#',\n"
    "                                     'g') AS text FROM said),\n"
    "sent AS (SELECT detail, rtrim(regexp_replace(regexp_replace(detail, '\\s+', ' ', 'g'), "
    "'[0-9]+',\n"
    "                                           '#', 'g'), '; ') AS plain\n"
    "           FROM pghaul.event WHERE kind = 'ddl')\n"
    "SELECT DISTINCT left(sent.detail, 600) FROM sent, plain WHERE strpos(plain.text, sent.plain) "
    "= "
    "0";

static void a_dry_run_prints_what_a_job_sends(void)
{
    struct t_result result;

    t_sql("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY CONSTRAINT k PRIMARY KEY, a text);\n"
          "CREATE TABLE c (t int CONSTRAINT of_t REFERENCES t, u int);\n"
          "CREATE INDEX ON t ((id % 7)); ALTER INDEX t_expr_idx ALTER COLUMN 1 SET STATISTICS 77;\n"
          "CREATE STATISTICS st ON id, a FROM t; ALTER STATISTICS st SET STATISTICS 55;\n"
          "ALTER TABLE t ADD CONSTRAINT positive CHECK (id > 0);\n"
          "COMMENT ON COLUMN t.id IS 'the id'; INSERT INTO t (a) VALUES ('a'), ('b'); ANALYZE t");
    if (t_server_version() >= 180000)
        t_sql("ALTER TABLE c ADD CONSTRAINT loose FOREIGN KEY (u) REFERENCES t NOT ENFORCED");
    t_run(&result, RETYPE("t", "id"), "--dry-run", "--job", JOB, NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT to_regnamespace('pghaul') IS NULL", "t");
    t_sqlf("CREATE TABLE said AS SELECT regexp_replace($dry$%s$dry$, '\\n    ', E'\\n', 'g') AS "
           "text",
           result.out);
    t_expect_out(&result, "REVOKE ALL ON FUNCTION pghaul.forward_1(integer) FROM PUBLIC CASCADE");
    t_expect_out(&result, "GENERATED ALWAYS AS IDENTITY");
    t_expect_out(&result, "ANALYZE \"public\".\"t\" (\"pghaul_new_id\")");
    assert_null(strstr(result.out, "_0"));
    t_runs(0, RETYPE("t", "id"), "--job", JOB);
    t_runs(0, "cutover", JOB, "--yes", "--force");
    t_runs(0, "finish", JOB, "--yes");
    assert_true(t_int("SELECT count(*) FROM pghaul.event WHERE kind = 'ddl'") > 20);
    t_sql("UPDATE pghaul.event SET detail = replace(detail, 't_pghaul_new_id_not_null', 'its name "
          "then')");
    if (strcmp(t_rows(UNSAID), "") != 0)
        t_fail("not printed: %s", t_rows(UNSAID));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(subscribers_can_name_every_row_all_the_time),
        t_test(a_key_keeps_its_comments_and_its_mark),
        t_test(not_null_keeps_its_name_and_its_comment),
        t_test(not_null_that_is_not_valid_is_not_lost),
        t_test(a_rollback_that_fails_leaves_nothing_in_the_way),
        t_test(a_rollback_that_was_killed_is_seen_and_given_up),
        t_test(a_finish_after_a_killed_rollback_leaves_no_check),
        t_test(a_killed_rollback_can_be_completed),
        t_test(what_finish_has_dropped_cannot_come_back),
        t_test(foreign_keys_are_valid_again_after_the_script),
        t_test(an_identity_that_others_use_is_refused_at_once),
        t_test(a_sequence_that_stays_narrow_is_named),
        t_test(a_default_of_another_type_has_a_way_to_go),
        t_test(a_foreign_key_by_the_name_of_another_one_is_found),
        t_test(a_dry_run_prints_what_a_job_sends),
    };

    return T_MAIN(tests);
}
