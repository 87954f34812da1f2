/*
 * Names are data. Whatever a table, a column, an index, a schema or a job is called, it goes the
 * whole way, there and back and for good; and no part of a name is ever run.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/oracle.h"

static void must(const char *verb, const char *job)
{
    struct t_result result;

    t_run(&result, verb, job, "--yes", NULL);
    t_expect_status(&result, 0);
}

/* Rows of `table` now, as text. */
static const char *rows_of(const char *table)
{
    return t_text(
        t_format("SELECT string_agg(r::text, E'\\n' ORDER BY r::text) FROM %s AS r", table));
}

static void same_rows(const char *table, const char *before)
{
    assert_string_equal(rows_of(table), before);
}

/*
 * Whoever runs this has been tricked by a name: it is called where a name ends the literal around
 * it. Nothing in the tests calls it.
 */
static const char TRAP[] =
    "CREATE TABLE trapped (who text);"
    "CREATE FUNCTION public.e() RETURNS text LANGUAGE plpgsql AS"
    " $$BEGIN INSERT INTO public.trapped VALUES (current_user); RETURN ''; END$$";

/*
 * `table`: as SQL, with a key column id and a column v text. There and back, then for good, with
 * writes at ready and after each swap.
 */
static void goes_all_the_way(const char *table, const char *key, const char *job)
{
    const char *writes = t_format("UPDATE %s SET v = v || '.' WHERE %s %% 3 = 0;"
                                  "DELETE FROM %s WHERE %s = (SELECT max(%s) FROM %s);"
                                  "INSERT INTO %s (%s) SELECT max(%s) + 2 FROM %s",
                                  table, key, table, key, key, table, table, key, key, table);
    const char *before = definition();
    struct t_result result;
    const char *rows;

    t_run(&result, "alter", table, "--job", job, "-s", "ready=dual-write", "-s", "cutover.hold=30s",
          NULL);
    t_expect_status(&result, 0);
    t_sql(writes);
    rows = rows_of(table);
    must("cutover", job);
    same_rows(table, rows);
    t_sql(writes);
    rows = rows_of(table);
    must("rollback", job);
    same_rows(table, rows);
    same_definition(before);
    nothing_of_ours_is_left();

    job = t_format("%s 2", job);
    t_run(&result, "alter", table, "--job", job, "-s", "cutover.hold=30s", NULL);
    t_expect_status(&result, 0);
    t_sql(writes);
    t_run(&result, "status", job, NULL);
    t_expect_status(&result, 0);
    t_run(&result, "verify", job, NULL);
    t_expect_status(&result, 0);
    rows = rows_of(table);
    must("cutover", job);
    same_rows(table, rows);
    t_sql(writes);
    rows = rows_of(table);
    must("finish", job);
    same_rows(table, rows);
    same_definition(before);
    nothing_of_ours_is_left();
    t_expect("SELECT count(*) FROM trapped", "0");
}

/* A table of that name, as SQL, with rows, an index and a comment. */
static void make(const char *table)
{
    t_sqlf("CREATE TABLE %s (id int PRIMARY KEY, v text DEFAULT 'v');"
           "INSERT INTO %s SELECT i, 'v' || i FROM generate_series(1, 500) AS i;"
           "CREATE INDEX ON %s (v); COMMENT ON TABLE %s IS 'it''s'",
           table, table, table, table);
}

static void tables_with_quotes_and_backslashes(void)
{
    static const char *const TABLES[] = {"\"o'rders\"", "\"x'||public.e()--\"", "\"a\\b\"",
                                         "\"a\"\"b\"", "\"{to}%s\""};

    t_sql(TRAP);
    for (size_t i = 0; i < sizeof(TABLES) / sizeof(TABLES[0]); i++) {
        make(TABLES[i]);
        goes_all_the_way(TABLES[i], "id", t_format("j%zu", i));
    }
}

/* Where several are locked, or looked for, at once. */
static void tables_with_commas(void)
{
    t_sql(TRAP);
    make("\"a, b\"");
    goes_all_the_way("\"a, b\"", "id", "j");
    t_sql("CREATE SCHEMA \"s, ONLY t\"");
    make("\"s, ONLY t\".\", \"\", \"\"\"");
    goes_all_the_way("\"s, ONLY t\".\", \"\", \"\"\"", "id", "k");
}

static void schemas_columns_indexes_and_jobs_with_quotes(void)
{
    t_sql(TRAP);
    t_sql("CREATE SCHEMA \"s'c\"\"h\";"
          "CREATE TABLE \"s'c\"\"h\".\"t'\" (\"i'||public.e()--\" int, v text DEFAULT 'it''s',"
          " \"'\"\"\\\" serial, \"g'\" text GENERATED ALWAYS AS (v || '''') STORED,"
          " CONSTRAINT \"p'k\" PRIMARY KEY (\"i'||public.e()--\"),"
          " CONSTRAINT \"c'\" CHECK (v <> '''') NOT VALID);"
          "INSERT INTO \"s'c\"\"h\".\"t'\" SELECT i, 'v' || i FROM generate_series(1, 500) AS i");
    t_sql("CREATE INDEX \"i'x\"\"\\\" ON \"s'c\"\"h\".\"t'\" (v, \"'\"\"\\\");"
          "CREATE STATISTICS \"s'c\"\"h\".\"s't\" ON v, \"'\"\"\\\" FROM \"s'c\"\"h\".\"t'\";"
          "COMMENT ON COLUMN \"s'c\"\"h\".\"t'\".\"'\"\"\\\" IS 'it''s \\';"
          "COMMENT ON INDEX \"s'c\"\"h\".\"i'x\"\"\\\" IS 'it''s \\'");
    goes_all_the_way("\"s'c\"\"h\".\"t'\"", "\"i'||public.e()--\"", "j'o b\"; \\");
}

/* Column names stand in the bodies of the capture's functions. */
static void columns_that_could_end_the_body_of_a_function(void)
{
    t_sql(TRAP);
    t_sql("CREATE TABLE t (\"$pghaul$\" int PRIMARY KEY, v text, \"$pghaul\" int DEFAULT 1,"
          " \"$pghaul1$; SELECT public.e(); --\" int DEFAULT 2, \"$$\" int DEFAULT 3);"
          "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 500) AS i");
    goes_all_the_way("t", "\"$pghaul$\"", "j");
}

/* Variables of the capture's functions are no columns of the table. */
static void columns_that_are_called_as_our_variables(void)
{
    t_sql(TRAP);
    t_sql("CREATE TABLE t (deleted int PRIMARY KEY, v text, absent int DEFAULT 1,"
          " timeout text DEFAULT '1h', equal bool DEFAULT true, k1 int DEFAULT 7);"
          "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 500) AS i");
    goes_all_the_way("t", "deleted", "j");
    {
        struct t_result result;

        t_run(&result, "alter", "t", "--job", "dual", "-s", "ready=dual-write", NULL);
        t_expect_status(&result, 0);
        t_sql("UPDATE t SET v = 'x' WHERE deleted < 10");
        /* written through, not only logged */
        t_expect("SELECT (SELECT count(*) FROM pghaul.log_3_a)"
                 " + (SELECT count(*) FROM pghaul.log_3_b)",
                 "0");
        must("abort", "dual");
    }
}

/* What is printed for psql to run. */
static void a_script_for_psql_runs_no_part_of_a_name(void)
{
    static const char TABLE[] = "\"x'||public.e()--\n; SELECT public.e() \\g\n--\"";
    struct t_result result;
    const char *before;
    char path[] = "/tmp/pghaul-names-XXXXXX";
    int file;

    t_sql(TRAP);
    make(TABLE);
    before = definition();
    t_run(&result, "alter", TABLE, "--job", "j\nSELECT public.e();\n--", NULL);
    t_expect_status(&result, 0);
    t_run(&result, "abort", "j\nSELECT public.e();\n--", "--print-sql", NULL);
    t_expect_status(&result, 0);
    file = mkstemp(path);
    assert_true(write(file, result.out, strlen(result.out)) == (ssize_t)strlen(result.out));
    close(file);
    t_run_program(&result, "psql", "-X", "-q", "-f", path, "-d", t_conninfo(), NULL);
    unlink(path);
    t_expect_status(&result, 0);
    t_expect("SELECT count(*) FROM trapped", "0");
    same_definition(before);
    nothing_of_ours_is_left();
}

/* The part of `text` from `from` up to `to`. */
static const char *between(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    const char *end = at == NULL ? NULL : strstr(at, to);

    if (end == NULL)
        t_fail("no %s .. %s in: %s", from, to, text);
    return t_format("%.*s", (int)(end - at), at);
}

/* What is printed to be pasted is pasted: into a shell, where pghaul is what prints its words. */
static void a_command_that_is_shown_means_that_job(const char *job)
{
    struct t_result result, pasted;
    const char *command;

    t_run(&result, "alter", "t", "--job", job, NULL);
    t_expect_status(&result, 0);
    command = between(result.out, "pghaul abort", "leave no trace");
    t_run_program(&pasted, "sh", "-c", t_format("pghaul() { printf '<%%s>' \"$@\"; }; %s", command),
                  NULL);
    assert_string_equal(pasted.out, t_format("<abort><%s>", job));
    t_run(&result, "alter", "t", "--job", "another", NULL);
    t_expect_status(&result, 3);
    if (strcmp(job, "plain.job-1_a") == 0)
        t_expect_err(&result, "pghaul resume plain.job-1_a, pghaul finish plain.job-1_a");
    else
        t_expect_err(&result, "pghaul resume '");
    t_run(&result, "status", job, "--json", NULL);
    t_expect_status(&result, 0);
    if (strcmp(job, "x y") == 0)
        t_expect_out(&result, "\"pghaul cutover 'x y'\"");
    t_run(&result, "abort", job, "--yes", NULL);
    t_expect_status(&result, 0);
}

static void commands_that_are_shown_can_be_pasted_into_a_shell(void)
{
    static const char *const JOBS[] = {"x y", "it's; rm -rf x", "$(date)`date`", "a\"b\\",
                                       "*",   "plain.job-1_a"};

    t_sql("CREATE TABLE t (id int PRIMARY KEY, v text)");
    for (size_t i = 0; i < sizeof(JOBS) / sizeof(JOBS[0]); i++)
        a_command_that_is_shown_means_that_job(JOBS[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(tables_with_quotes_and_backslashes),
        t_test(tables_with_commas),
        t_test(schemas_columns_indexes_and_jobs_with_quotes),
        t_test(columns_that_could_end_the_body_of_a_function),
        t_test(columns_that_are_called_as_our_variables),
        t_test(a_script_for_psql_runs_no_part_of_a_name),
        t_test(commands_that_are_shown_can_be_pasted_into_a_shell),
    };

    return T_MAIN(tests);
}
