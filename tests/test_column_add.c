/*
 * column add and column not-null: beside an application, through kills, and back.
 *
 * The oracles are the server's: what a plain ALTER TABLE makes of a table of the same name in
 * another schema, an application that must never wait or fail, a trigger that notes every write.
 */
#include <stdio.h>
#include <string.h>

#include "tests/harness.h"

/* Chunks of a few hundred rows, with a rest after each. */
#define SLOWLY \
    "-s", "span.size=64kB", "-s", "chunk.wal=64kB", "-s", "chunk.time=10ms", "-s", "policy=fixed=20"

#define ADD "column-add-t-1"
#define NOT_NULL "column-not-null-t-1"

static void make_tables(int rows)
{
    t_sqlf("CREATE TABLE users (id int PRIMARY KEY);\n"
           "CREATE TABLE t (id int PRIMARY KEY, v text);\n"
           "CREATE SEQUENCE own_seq;\n"
           "INSERT INTO users SELECT generate_series(1, 10);\n"
           "INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, %d) AS i;\n"
           "ANALYZE t",
           rows);
}

/* Everything of schema.t that ALTER TABLE can change, without the schema's name. */
static const char *shape_of(const char *schema)
{
    return t_text(t_format(
        "SELECT regexp_replace(string_agg(line, E'\\n' ORDER BY line), '\\m(x|public)\\.', '', "
        "'g')\n"
        "  FROM (SELECT concat_ws(' ', 'column', a.attname, format_type(a.atttypid, a.atttypmod),\n"
        "               a.attnotnull, a.attstorage, a.attcompression, a.attidentity,\n"
        "               a.attgenerated, a.attcollation::regcollation,\n"
        "               pg_get_expr(d.adbin, d.adrelid)) AS line\n"
        "          FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d\n"
        "            ON d.adrelid = a.attrelid AND d.adnum = a.attnum\n"
        "         WHERE a.attrelid = '%1$s.t'::regclass AND a.attnum > 0 AND NOT a.attisdropped\n"
        "         UNION ALL\n"
        "        SELECT concat_ws(' ', 'constraint', k.conname, k.convalidated,\n"
        "               pg_get_constraintdef(k.oid))\n"
        "          FROM pg_constraint AS k WHERE k.conrelid = '%1$s.t'::regclass\n"
        "         UNION ALL\n"
        "        SELECT 'index ' || pg_get_indexdef(i.indexrelid) || i.indisvalid\n"
        "          FROM pg_index AS i WHERE i.indrelid = '%1$s.t'::regclass\n"
        "         UNION ALL\n"
        "        SELECT concat_ws(' ', 'sequence', c.relname, q.seqtypid::regtype, d.refobjsubid > "
        "0)\n"
        "          FROM pg_depend AS d JOIN pg_class AS c ON c.oid = d.objid AND c.relkind = 'S'\n"
        "          JOIN pg_sequence AS q ON q.seqrelid = c.oid\n"
        "         WHERE d.refobjid = '%1$s.t'::regclass) AS lines",
        schema));
}

static void wait_ok(struct t_process *process)
{
    struct t_result result;

    t_wait(process, &result);
    t_expect_status(&result, 0);
}

/* Schema pghaul, and gates in it. */
static void make_gates(void)
{
    t_sql("CREATE TABLE first (id int PRIMARY KEY)");
    t_runs(0, "index", "first", "CREATE INDEX first_i ON first (id)");
    t_gates();
}

/* --------------------------------------------------------------------------------------------- add
 */

static const char *const DEFINITIONS[] = {
    "status text NOT NULL DEFAULT 'pending'",
    "c int",
    "c timestamptz NOT NULL DEFAULT now();",
    "c int[] NOT NULL DEFAULT ARRAY[1, 2] CHECK (c <> '{}')",
    "\"O d,d\" numeric(10,2) DEFAULT 1.5 CONSTRAINT \"a\"\"b\" CHECK (\"O d,d\" > 0)",
    "c text COMPRESSION pglz COLLATE \"C\" DEFAULT E'it\\'s, references x' -- references y, z",
    "c text DEFAULT $a$ references $$, $a$ /* , references /* , */ */",
    "c int UNIQUE",
    "c int DEFAULT 7 REFERENCES users ON DELETE SET NULL",
    "c int CONSTRAINT parent REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED",
    "c int CHECK (c > length(v)) DEFAULT 100 NOT NULL",
    /* The slow way. */
    "c uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE",
    "c bigserial UNIQUE DEFERRABLE INITIALLY DEFERRED",
    "c smallserial",
    "c timestamptz DEFAULT clock_timestamp() CONSTRAINT c_new CHECK (c > '2000-01-01')",
    "c bigint DEFAULT nextval('public.own_seq') NOT NULL",
    "c int DEFAULT 1 + (random() * 9)::int REFERENCES users",
};

static void a_column_is_what_alter_table_would_have_added(void)
{
    for (size_t i = 0; i < sizeof(DEFINITIONS) / sizeof(DEFINITIONS[0]); i++) {
        const char *before;

        t_fresh_database();
        print_message("%s\n", DEFINITIONS[i]);
        make_tables(500);
        t_sql("CREATE SCHEMA x; CREATE TABLE x.users (LIKE users INCLUDING ALL);\n"
              "CREATE TABLE x.t (LIKE t INCLUDING ALL);\n"
              "INSERT INTO x.users SELECT * FROM users; INSERT INTO x.t SELECT * FROM t");
        before = shape_of("public");
        t_sqlf("SET search_path = x, public;\n"
               "ALTER TABLE x.t ADD COLUMN %s\n;\n"
               "RESET search_path",
               DEFINITIONS[i]);
        t_runs(0, "column", "add", "t", DEFINITIONS[i]);
        assert_string_equal(shape_of("public"), shape_of("x"));
        t_expect("SELECT (SELECT count(*) FROM t, jsonb_each(to_jsonb(t)) AS e\n"
                 "         WHERE e.value = 'null')\n"
                 "     = (SELECT count(*) FROM x.t, jsonb_each(to_jsonb(t)) AS e\n"
                 "         WHERE e.value = 'null')",
                 "t");
        t_runs(0, "rollback", ADD, "--yes");
        assert_string_equal(shape_of("public"), before);
        t_expect("SELECT count(*) FROM pg_class WHERE relkind = 'S'\n"
                 "   AND relnamespace = 'public'::regnamespace",
                 "1");
        t_expect("SELECT count(*) FROM pg_class WHERE relnamespace = 'pghaul'::regnamespace\n"
                 "   AND relname ~ '^(todo|skipped|undo)_'",
                 "0");
    }
}

static void what_cannot_be_added_is_refused_and_nothing_is_touched(void)
{
    static const struct {
        int status;
        const char *definition;
        const char *says;
    } CASES[] = {
        {2, "c int, ADD COLUMN d int", "one column, please"},
        {3, "v text", "already exists"},
        {3, "IF NOT EXISTS v text", "has that column already"},
        {3, "c int NOT NULL", "the rows have no value for it"},
        {3, "c int PRIMARY KEY", "a primary key is more than a column"},
        {3, "c int GENERATED ALWAYS AS (id) STORED", "without a rewrite"},
        {3, "c int GENERATED BY DEFAULT AS IDENTITY", "an identity column"},
        {3, "c positive", "without a rewrite"},
        {3, "c positive DEFAULT 1 + (random() * 9)::int", "without a rewrite"},
        {3, "c int DEFAULT 0 CHECK (c > 0)", "does not satisfy t_c_check"},
        {3, "c int CHECK (c IS NOT NULL)", "does not satisfy t_c_check"},
        {3, "c int DEFAULT 1 UNIQUE", "the same in every row"},
        {3, "c nonsense", "does not exist"},
        {3, "c int; DROP TABLE t", "multiple commands"},
        {3, "c int REFERENCES nobody", "nobody"},
        {3, "c int CONSTRAINT t_pkey UNIQUE", "t_pkey"},
    };
    const char *before;

    make_tables(10);
    t_sql("CREATE DOMAIN positive AS int CHECK (VALUE > 0)");
    before = shape_of("public");
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++)
        t_says(CASES[i].status, CASES[i].says, "column", "add", "t", CASES[i].definition);
    t_sql("CREATE TABLE keyless (v int)");
    t_says(3, "key", "column", "add", "keyless", "c uuid DEFAULT gen_random_uuid()");
    t_sql("CREATE TYPE ty AS (a int); CREATE TABLE typed OF ty");
    t_says(3, "no column can be added", "column", "add", "typed", "c int");
    assert_string_equal(shape_of("public"), before);
    assert_int_equal(t_int("SELECT count(*) FROM pg_namespace WHERE nspname = 'pghaul'"), 0);
}

static void a_dry_run_says_everything_and_adds_nothing(void)
{
    struct t_result result;
    const char *before;

    make_tables(10);
    before = shape_of("public");
    t_run(&result, "column", "add", "t", "c bigserial CHECK (c > 0) UNIQUE", "--dry-run", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "CREATE SEQUENCE \"public\".\"t_c_seq\" AS bigint");
    t_expect_out(&result, "SET DEFAULT nextval('\"public\".\"t_c_seq\"'::regclass)");
    t_expect_out(&result, "CREATE UNIQUE INDEX CONCURRENTLY \"t_c_key\"");
    t_expect_out(&result, "VALIDATE CONSTRAINT \"t_c_check\"");
    t_run(&result, "column", "not-null", "t", "v", "--dry-run", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "NOT VALID");
    assert_string_equal(shape_of("public"), before);
}

static void no_row_is_left_unfilled_beside_writers_that_do_not_know_the_column(void)
{

    make_tables(20000);
    t_busy("200ms", 1,
           "INSERT INTO t VALUES (100000 + n, 'new'), (-n, 'new');\n"
           "UPDATE t SET v = 'changed' WHERE id BETWEEN n % 20000 AND n % 20000 + 3;\n"
           "DELETE FROM t WHERE id = 20000 - n;\n");
    t_runs(0, "column", "add", "t", "c uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE", SLOWLY);
    t_idle();
    t_expect("SELECT count(*) FROM t WHERE c IS NULL", "0");
    t_expect("SELECT count(DISTINCT c) = count(*) FROM t", "t");
    assert_true(t_int("SELECT count(*) FROM t WHERE v = 'new'") > 0);
}

static const char WALKING[] =
    "SELECT coalesce(sum(rows), 0) >= 500 FROM pghaul.span WHERE phase = 'backfill'";

static void a_row_whose_key_moves_behind_the_walk_is_filled_too(void)
{
    struct t_process *process;

    make_tables(10000);
    process =
        t_start("column", "add", "t", "c uuid NOT NULL DEFAULT gen_random_uuid()", SLOWLY, NULL);
    t_wait_until("SELECT to_regclass('pghaul.span') IS NOT NULL", "t", 20);
    t_wait_until(WALKING, "t", 20);
    t_sql("UPDATE t SET id = -1 WHERE id = 10000");
    wait_ok(process);
    t_expect("SELECT count(*) FROM t WHERE c IS NULL", "0");
    t_expect("SELECT facts ->> 'rounds' FROM pghaul.job", "2");
    t_expect("SELECT attnotnull FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'c'",
             "t");
}

/* Whatever is killed: each row is written once, and the column is what was asked for. */
static void a_kill_between_any_two_steps_is_survived(void)
{
    static const char *const POINTS[] = {
        "event ddl ALTER TABLE%ADD COLUMN%",
        "phase expand done",
        "phase backfill running",
        "phase backfill done",
        "phase later done",
        "event ddl %VALIDATE%",
        "event ddl %SET NOT NULL%",
        "phase not null done",
        "event ddl %UNIQUE USING%",
        "phase constrain done",
        "phase tidy done",
    };
    struct t_process *process;
    const char *wanted;

    make_tables(5000);
    t_sql("CREATE SCHEMA x; CREATE TABLE x.t (LIKE t INCLUDING ALL);\n"
          "ALTER TABLE x.t ADD COLUMN c bigserial UNIQUE CHECK (c > 0);\n"
          "CREATE TABLE writes (id int);\n"
          "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS\n"
          "    'BEGIN INSERT INTO public.writes VALUES (NEW.id); RETURN NEW; END';\n"
          "CREATE TRIGGER note AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note()");
    wanted = shape_of("x");
    make_gates();
    for (size_t i = 0; i < sizeof(POINTS) / sizeof(POINTS[0]); i++) {
        if (strstr(POINTS[i], "SET NOT NULL") != NULL && t_server_version() >= 180000)
            continue;
        t_gate_shut(POINTS[i]);
        process =
            i == 0 ? t_start("column", "add", "t", "c bigserial UNIQUE CHECK (c > 0)", SLOWLY, NULL)
                   : t_start("resume", ADD, NULL);
        t_gate_kill(process);
        if (strcmp(POINTS[i], "phase backfill running") != 0)
            continue;
        process = t_start("resume", ADD, NULL);
        t_wait_until(WALKING, "t", 20);
        t_kill_now(process);
    }
    t_runs(0, "resume", ADD);
    assert_string_equal(shape_of("public"), wanted);
    t_expect("SELECT count(*) FROM t WHERE c IS NULL", "0");
    t_expect("SELECT count(*) || ' ' || count(DISTINCT id) FROM writes", "5000 5000");
}

static void abort_takes_the_column_back_from_wherever_it_got_to(void)
{
    static const char *const POINTS[] = {
        "phase expand running", "phase expand done",   "phase backfill done",
        "event ddl %VALIDATE%", "phase not null done", "phase constrain done",
    };

    for (size_t i = 0; i < sizeof(POINTS) / sizeof(POINTS[0]); i++) {
        const char *before;
        struct t_process *process;

        t_fresh_database();
        make_tables(500);
        before = shape_of("public");
        make_gates();
        t_gate_shut(POINTS[i]);
        process = t_start("column", "add", "t",
                          "c int DEFAULT 1 + (random() * 9)::int NOT NULL REFERENCES users", NULL);
        t_gate_kill(process);
        t_runs(0, "abort", ADD, "--yes");
        assert_string_equal(shape_of("public"), before);
        t_expect("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'users'::regclass", "0");
    }
}

static void the_sql_of_abort_does_the_same_without_the_program(void)
{
    const char *before;
    struct t_result result;

    make_tables(500);
    before = shape_of("public");
    make_gates();
    t_gate_shut("phase backfill done");
    t_gate_kill(t_start("column", "add", "t", "c bigserial UNIQUE", NULL));
    t_run(&result, "abort", ADD, "--print-sql", NULL);
    t_expect_status(&result, 0);
    t_sql(result.out);
    assert_string_equal(shape_of("public"), before);
    t_expect("SELECT count(*) FROM pg_class WHERE relnamespace = 'pghaul'::regnamespace\n"
             "   AND relname ~ '^(todo|skipped|undo)_'",
             "0");
    t_expect("SELECT state FROM pghaul.job WHERE name = '" ADD "'", "aborted");
}

static void a_row_that_breaks_the_new_check_is_mended_and_the_job_goes_on(void)
{
    make_tables(100);
    make_gates();
    t_sql("CREATE FUNCTION chance() RETURNS int LANGUAGE plpgsql VOLATILE AS\n"
          "    'BEGIN RETURN 1 + (random() * 9)::int; END'");
    t_says(1, "t_check", "column", "add", "t", "c int DEFAULT chance() CHECK (c > id)");
    t_sql("UPDATE t SET c = id + 1");
    t_runs(0, "resume", ADD);
    t_expect("SELECT convalidated FROM pg_constraint WHERE conname = 't_check'", "t");
}

static void a_view_over_the_column_keeps_it_from_being_taken_back(void)
{
    make_tables(10);
    t_runs(0, "column", "add", "t", "c int");
    t_sql("CREATE VIEW w AS SELECT c FROM t");
    t_says(3, "drop what uses the column by now", "rollback", ADD, "--yes");
    t_sql("DROP VIEW w");
    t_runs(0, "rollback", ADD, "--yes");
    t_runs(0, "column", "add", "t", "c int");
    t_runs(0, "finish", "column-add-t-2", "--yes");
    t_expect("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'c'",
             "1");
}

static void a_virtual_column_of_18_takes_moments(void)
{
    if (t_server_version() < 180000)
        skip();
    make_tables(100);
    t_runs(0, "column", "add", "t", "c int GENERATED ALWAYS AS (id * 2) VIRTUAL NOT NULL");
    t_expect("SELECT count(*) FROM t WHERE c = id * 2", "100");
    t_expect("SELECT attnotnull AND attgenerated = 'v' FROM pg_attribute\n"
             " WHERE attrelid = 't'::regclass AND attname = 'c'",
             "t");
    t_runs(0, "column", "add", "t",
           "d int CHECK (d > 0) NOT ENFORCED CONSTRAINT d_there NOT NULL DEFAULT 0");
    t_expect("SELECT string_agg(conname || ' ' || convalidated, ' ' ORDER BY conname)\n"
             "  FROM pg_constraint WHERE conrelid = 't'::regclass AND conname ~ '^(d|t_d)_'",
             "d_there true t_d_check false");
}

/* ---------------------------------------------------------------------------------------- not null
 */

static void not_null_is_set_and_taken_back_beside_writers(void)
{
    const char *before, *wanted;

    make_tables(20000);
    before = shape_of("public");
    t_sql("CREATE SCHEMA x; CREATE TABLE x.t (LIKE t INCLUDING ALL);\n"
          "ALTER TABLE x.t ALTER COLUMN v SET NOT NULL");
    wanted = shape_of("x");
    t_busy("200ms", 1,
           "INSERT INTO t VALUES (100000 + n, 'new');\n"
           "UPDATE t SET v = 'changed' WHERE id = n % 20000;\n");
    t_runs(0, "column", "not-null", "t", "v");
    assert_string_equal(shape_of("public"), wanted);
    t_runs(0, "rollback", NOT_NULL, "--yes");
    assert_string_equal(shape_of("public"), before);
    t_runs(0, "column", "not-null", "t", "v");
    t_idle();
    t_runs(0, "finish", "column-not-null-t-2", "--yes");
    assert_string_equal(shape_of("public"), wanted);
    t_fails("INSERT INTO t VALUES (0, NULL)", "23502");
}

static void rows_with_null_are_found_before_the_application_notices(void)
{
    struct t_result result;

    make_tables(1000);
    t_sql("UPDATE t SET v = NULL WHERE id IN (500, 600)");
    t_run(&result, "column", "not-null", "t", "v", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "column v is NULL");
    t_expect_err(&result, "SELECT * FROM \"public\".\"t\" WHERE \"v\" IS NULL finds them");
    t_expect_err(&result, "pghaul resume " NOT_NULL);
    t_expect_err(&result, "pghaul backfill");
    t_sql("UPDATE t SET id = -500 WHERE id = 500");
    t_sql("UPDATE t SET v = 'mended' WHERE v IS NULL");
    t_runs(0, "resume", NOT_NULL);
    t_expect("SELECT attnotnull FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'v'",
             "t");
}

static void a_null_that_comes_just_before_the_check_is_found_by_the_validation(void)
{
    struct t_session *writer = NULL;
    struct t_process *process;
    struct t_result result;

    make_tables(1000);
    writer = t_session("writer");
    t_do(writer, "BEGIN; INSERT INTO t VALUES (-1, NULL)");
    process = t_start("column", "not-null", "t", "v", NULL);
    t_wait_until("SELECT count(*) > 0 FROM pg_stat_activity\n"
                 " WHERE query LIKE 'BEGIN%LOCK TABLE ONLY \"public\".\"t\"%'",
                 "t", 20);
    t_do(writer, "COMMIT");
    t_wait(process, &result);
    t_expect_status(&result, 3);
    t_expect_err(&result, "column v is NULL");
    t_fails("INSERT INTO t VALUES (-2, NULL)", t_server_version() >= 180000 ? "23502" : "23514");
    t_sql("DELETE FROM t WHERE id = -1");
    t_runs(0, "resume", NOT_NULL);
}

static void a_column_that_is_not_null_already_is_left(void)
{
    const char *before;

    make_tables(10);
    before = shape_of("public");
    t_runs(0, "column", "not-null", "t", "id");
    t_says(3, "was NOT NULL already", "rollback", NOT_NULL, "--yes");
    assert_string_equal(shape_of("public"), before);
    t_says(3, "no column", "column", "not-null", "t", "nothing");
    if (t_server_version() < 180000)
        return;
    t_sql("ALTER TABLE t ADD CONSTRAINT mine NOT NULL v NOT VALID");
    t_runs(0, "column", "not-null", "t", "v");
    t_expect("SELECT convalidated FROM pg_constraint WHERE conname = 'mine'", "t");
}

static void not_null_survives_kills_and_can_be_aborted_anywhere(void)
{
    static const char *const POINTS[] = {
        "phase check running",  "event ddl %ADD CONSTRAINT%", "phase check done",
        "event ddl %VALIDATE%", "phase validate done",        "event ddl %SET NOT NULL%",
        "phase set done",
    };

    for (size_t i = 0; i < sizeof(POINTS) / sizeof(POINTS[0]); i++) {
        const char *before, *wanted;

        if (strstr(POINTS[i], "SET NOT NULL") != NULL && t_server_version() >= 180000)
            continue;
        t_fresh_database();
        make_tables(500);
        before = shape_of("public");
        t_sql("CREATE SCHEMA x; CREATE TABLE x.t (LIKE t INCLUDING ALL);\n"
              "ALTER TABLE x.t ALTER COLUMN v SET NOT NULL");
        wanted = shape_of("x");
        make_gates();
        t_gate_shut(POINTS[i]);
        t_gate_kill(t_start("column", "not-null", "t", "v", NULL));
        t_runs(0, "abort", NOT_NULL, "--yes");
        assert_string_equal(shape_of("public"), before);
        t_gate_shut(POINTS[i]);
        t_gate_kill(t_start("column", "not-null", "t", "v", NULL));
        t_runs(0, "resume", "column-not-null-t-2");
        assert_string_equal(shape_of("public"), wanted);
        t_runs(0, "rollback", "column-not-null-t-2", "--yes");
        assert_string_equal(shape_of("public"), before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_column_is_what_alter_table_would_have_added),
        t_test(what_cannot_be_added_is_refused_and_nothing_is_touched),
        t_test(a_dry_run_says_everything_and_adds_nothing),
        t_test(no_row_is_left_unfilled_beside_writers_that_do_not_know_the_column),
        t_test(a_row_whose_key_moves_behind_the_walk_is_filled_too),
        t_test(a_kill_between_any_two_steps_is_survived),
        t_test(abort_takes_the_column_back_from_wherever_it_got_to),
        t_test(the_sql_of_abort_does_the_same_without_the_program),
        t_test(a_row_that_breaks_the_new_check_is_mended_and_the_job_goes_on),
        t_test(a_view_over_the_column_keeps_it_from_being_taken_back),
        t_test(a_virtual_column_of_18_takes_moments),
        t_test(not_null_is_set_and_taken_back_beside_writers),
        t_test(rows_with_null_are_found_before_the_application_notices),
        t_test(a_null_that_comes_just_before_the_check_is_found_by_the_validation),
        t_test(a_column_that_is_not_null_already_is_left),
        t_test(not_null_survives_kills_and_can_be_aborted_anywhere),
    };

    return T_MAIN(tests);
}
