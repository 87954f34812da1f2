/*
 * index and validate: one thing added to a table where it is, beside an application.
 *
 * The oracles are the server's: the definition that the same statement makes on a twin, an
 * application whose lock_timeout is ours and that must never see it, the catalogue.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "tests/harness.h"

static const char CREATE[] = "CREATE INDEX t_v ON t (v)";
static const char CREATE_UNIQUE[] = "CREATE UNIQUE INDEX t_v ON t (v)";
static const char VALID[] =
    "SELECT coalesce((SELECT indisvalid::text FROM pg_index WHERE indexrelid = "
    "to_regclass('t_v')), 'none')";
static const char INDEX_STATE[] = "SELECT state FROM pghaul.job WHERE name = 'index-t-1'";
static const char F_VALID[] =
    "SELECT coalesce((SELECT convalidated::text FROM pg_constraint WHERE conname = 'f' AND "
    "conrelid = 'orders'::regclass), 'none')";
#define ADD_F "CONSTRAINT f FOREIGN KEY (user_id) REFERENCES users"
/* A session of a job that waits for a lock, or for the end of a transaction. */
static const char WAITS[] =
    "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database()\n"
    "   AND application_name LIKE 'pghaul % statement' AND wait_event_type = 'Lock'";
/* Sessions of a program that was killed. */
static const char ANY_STATEMENT[] =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()\n"
    "   AND application_name LIKE 'pghaul%'";

static void make_table(void)
{
    t_sql("CREATE TABLE t (id int PRIMARY KEY, v int, s text);\n"
          "INSERT INTO t SELECT i, i, 'row ' || i FROM generate_series(1, 5000) AS i;\n"
          "ANALYZE t");
}

static void make_orders(void)
{
    t_sql("CREATE TABLE users (id int PRIMARY KEY, name text);\n"
          "CREATE TABLE orders (id int PRIMARY KEY, user_id int, amount int NOT NULL);\n"
          "INSERT INTO users SELECT i FROM generate_series(1, 100) AS i;\n"
          "INSERT INTO orders SELECT i, i % 100 + 1, i FROM generate_series(1, 2000) AS i");
}

static void wait_ok(struct t_process *process)
{
    struct t_result result;

    t_wait(process, &result);
    t_expect_status(&result, 0);
}

/* An application that gives up, and fails the test, when it waits for 100 ms. */
static void start_application(const char *work)
{
    t_busy("100ms", 2, work);
}

/* Says a command and kills it at `step`. */
static void kill_at(const char *step, const char *verb, const char *job)
{
    t_gate_shut(step);
    t_gate_kill(strcmp(verb, "rollback") == 0 ? t_start(verb, job, "--yes", NULL)
                                              : t_start(verb, job, NULL));
}

/* Schema pghaul, and gates in it. */
static void make_gates(void)
{
    t_sql("CREATE TABLE first (id int PRIMARY KEY)");
    t_runs(0, "index", "first", "CREATE INDEX first_i ON first (id)");
    t_gates();
}

/* ------------------------------------------------------------------------------------------ index
 */

/* The definition of an index, with the names of it and its table left out. */
static const char *definition_of(const char *index)
{
    return t_text(t_format("SELECT regexp_replace(pg_get_indexdef('%s'::regclass),\n"
                           "    ' INDEX .* ON .* USING ', ' USING ')",
                           index));
}

static void an_index_is_what_the_statement_says(void)
{
    static const struct {
        const char *unique;
        const char *rest;
        const char *name;
    } CASES[] = {
        {"", "(v)", "t_v"},
        {"UNIQUE", "(v, s)", "t_v"},
        {"", "(lower(s) text_pattern_ops, v DESC NULLS LAST) WHERE v > 10", "t_v"},
        {"UNIQUE", "USING btree (id) INCLUDE (s) WITH (fillfactor = 70)", "t_v"},
        {"", "USING gin (to_tsvector('english', s))", "t_v"},
        {"", "(s COLLATE \"C\")", "\"O dd\"\"X\""},
        {"", "(twice(v)) WHERE t.v IS NOT NULL", "t_v"},
        {"", "USING brin (id) TABLESPACE pg_default;", "t_v"},
    };

    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        t_fresh_database();
        make_table();
        t_sql("CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2'");
        t_sql("CREATE SCHEMA x; CREATE TABLE x.t (LIKE t)");
        t_sqlf("SET search_path = x, public; CREATE %s INDEX twin ON t %s; RESET search_path",
               CASES[i].unique, CASES[i].rest);
        t_runs(0, "index", "t",
               t_format("create %s Index CONCURRENTLY %s ON public.t %s", CASES[i].unique,
                        CASES[i].name,
                        strstr(CASES[i].rest, "t.v") ? "(twice(v)) WHERE v IS NOT NULL"
                                                     : CASES[i].rest));
        assert_string_equal(definition_of("x.twin"), definition_of(CASES[i].name));
        t_expect("SELECT count(*) FROM pg_index WHERE NOT indisvalid", "0");
        t_expect("SELECT count(*) FROM t WHERE v = 77", "1");
    }
}

static void an_index_job_is_done_kept_or_rolled_back(void)
{
    struct t_result result;

    make_table();
    t_run(&result, "index", "t", CREATE, "--json", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "\"event\":\"done\"");
    t_expect_out(&result, "\"status\":0");
    t_expect(INDEX_STATE, "done");
    t_run(&result, "status", "index-t-1", NULL);
    t_expect_out(&result, "pghaul rollback index-t-1");
    t_says(3, "does not apply to index jobs", "cutover", "index-t-1", "--yes");
    t_runs(3, "resume", "index-t-1");
    t_run(&result, "rollback", "index-t-1", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "index public.t_v is dropped");
    t_expect(VALID, "none");
    t_runs(0, "rollback", "index-t-1", "--yes");
    t_runs(0, "index", "t", CREATE);
    t_runs(0, "finish", "index-t-2", "--yes");
    t_expect(VALID, "true");
    t_says(3, "is over", "rollback", "index-t-2", "--yes");
}

static void an_index_that_is_there_is_left_alone(void)
{
    struct t_result result;

    make_table();
    t_sql(CREATE);
    t_run(&result, "index", "t", CREATE, NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "there already");
    t_expect(INDEX_STATE, "done");
    t_says(3, "it was there already", "rollback", "index-t-1", "--yes");
    t_expect(VALID, "true");
    t_says(3, "definition differs", "index", "t", "CREATE INDEX t_v ON t (v, s)");
    t_says(3, "definition differs", "index", "t", CREATE_UNIQUE);
    t_sql("CREATE TABLE other (v int); CREATE INDEX other_v ON other (v)");
    t_says(3, "no index of this table", "index", "t", "CREATE INDEX other_v ON t (v)");
    t_says(3, "no index of this table", "index", "t", "CREATE INDEX other ON t (v)");
}

static void an_index_that_cannot_be_is_refused(void)
{
    make_table();
    t_sql("CREATE TABLE other (v int); CREATE TABLE parts (v int) PARTITION BY RANGE (v);\n"
          "CREATE VIEW w AS SELECT * FROM t");
    t_says(3, "not about t", "index", "t", "CREATE INDEX t_v ON other (v)");
    t_says(3, "does not exist", "index", "nothing", CREATE);
    t_says(3, "does not exist", "index", "t", "CREATE INDEX t_v ON nothing (v)");
    t_says(3, "partitioned", "index", "parts", "CREATE INDEX p ON parts (v)");
    t_says(3, "a view", "index", "w", "CREATE INDEX p ON w (v)");
    t_says(3, "column \"x\" does not exist", "index", "t", "CREATE INDEX t_v ON t (x)");
    t_says(3, "syntax error", "index", "t", "CREATE INDEX t_v ON t v");
    t_says(3, "IMMUTABLE", "index", "t", "CREATE INDEX t_v ON t ((now()))");
    t_says(3, "multiple commands", "index", "t", "CREATE INDEX t_v ON t (v); DROP TABLE t");
    t_says(2, "CREATE INDEX", "index", "t", "DROP TABLE t");
    t_says(2, "needs a name", "index", "t", "CREATE INDEX ON t (v)");
    t_runs(2, "index", "t");
    t_expect(VALID, "none");
    t_expect("SELECT to_regclass('pghaul.job') IS NULL", "t");
}

static void a_dry_run_prints_the_statements_and_changes_nothing(void)
{
    struct t_result result;

    make_orders();
    t_run(&result, "index", "orders", "CREATE INDEX o ON orders (user_id)", "--dry-run", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "CREATE INDEX CONCURRENTLY \"o\" ON \"public\".\"orders\"");
    t_run(&result, "validate", "orders", "--add",
          "CONSTRAINT f FOREIGN KEY (user_id) REFERENCES users", "--dry-run", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result,
                 "LOCK TABLE ONLY \"public\".\"orders\", ONLY \"public\".\"users\" IN SHARE ROW");
    t_expect_out(&result, "ADD CONSTRAINT \"f\" FOREIGN KEY (user_id) REFERENCES public.users(id) "
                          "NOT VALID");
    t_expect_out(&result, "VALIDATE CONSTRAINT \"f\"");
    t_expect("SELECT count(*) FROM pg_constraint WHERE conname = 'f'", "0");
    t_expect("SELECT to_regclass('o') IS NULL AND to_regclass('pghaul.job') IS NULL", "t");
}

static void an_invalid_leftover_is_dropped_and_built_again(void)
{
    make_table();
    t_sql("INSERT INTO t VALUES (-1, 1)");
    t_fails("CREATE UNIQUE INDEX CONCURRENTLY t_v ON t (v)", "23505");
    t_expect(VALID, "false");
    t_sql("DELETE FROM t WHERE id = -1");
    t_runs(0, "index", "t", CREATE_UNIQUE);
    t_expect(VALID, "true");
}

static void a_key_that_is_there_twice_is_named_and_the_job_goes_on_without_it(void)
{
    make_table();
    t_sql("INSERT INTO t VALUES (-1, 77)");
    t_says(1, "Key (v)=(77) is duplicated", "index", "t", CREATE_UNIQUE);
    t_expect(INDEX_STATE, "failed");
    t_expect(VALID, "none");
    t_says(1, "pghaul resume index-t-1", "resume", "index-t-1");
    t_sql("DELETE FROM t WHERE id = -1");
    t_runs(0, "resume", "index-t-1");
    t_expect(VALID, "true");
}

static void an_old_transaction_is_named_and_waited_for(void)
{
    struct t_session *holder = t_session("the-holder");
    struct t_process *process;
    struct t_result result;

    make_table();
    t_do(holder, "BEGIN; UPDATE t SET s = 'held' WHERE id = 1");
    process = t_start("index", "t", CREATE, NULL);
    t_wait_until(WAITS, "t", 20);
    t_wait_until("SELECT coalesce(reason, '') ~ 'the-holder.*for 00:.*UPDATE t SET s' FROM "
                 "pghaul.job",
                 "t", 20);
    t_run(&result, "status", "index-t-1", NULL);
    t_expect_out(&result, t_format("waiting for process %d (the-holder", t_backend_pid(holder)));
    t_do(holder, "COMMIT");
    wait_ok(process);
    t_expect("SELECT reason FROM pghaul.job", NULL);
    t_expect(VALID, "true");
}

static void a_wait_that_is_too_long_ends_with_6_and_goes_on_later(void)
{
    struct t_session *holder = t_session("the-holder");

    make_table();
    t_do(holder, "BEGIN; UPDATE t SET s = 'held' WHERE id = 1");
    t_says(6, "the-holder", "index", "t", CREATE, "-s", "snapshot.wait=500ms");
    t_expect("SELECT state FROM pghaul.job", "waiting");
    t_do(holder, "COMMIT");
    t_runs(0, "resume", "index-t-1");
    t_expect(VALID, "true");
}

/* F41: the server would make the one its victim that waited last. */
static void an_analyze_after_an_update_is_no_deadlock(void)
{
    struct t_session *etl = t_session("etl");
    struct t_process *process;

    make_table();
    t_do(etl, "BEGIN; UPDATE t SET s = 'etl' WHERE id < 100");
    process = t_start("index", "t", CREATE, NULL);
    t_wait_until(WAITS, "t", 20);
    clock_sleep_ms(1200); /* its own look for deadlocks is over */
    t_do(etl, "ANALYZE t");
    t_do(etl, "UPDATE t SET s = 'again' WHERE id < 100; COMMIT");
    wait_ok(process);
    t_expect(VALID, "true");
}

static void nobody_who_writes_waits_for_a_build_or_its_drop(void)
{
    struct t_session *holder = t_session("the-holder");
    struct t_process *process;

    make_table();
    start_application("UPDATE t SET v = v + 1 WHERE id = n % 1000 + 10;");
    start_application("INSERT INTO t VALUES (10000 + n, n); DELETE FROM t WHERE id = 10000 + n;");
    t_do(holder, "BEGIN; UPDATE t SET s = 'held' WHERE id = 1");
    process = t_start("index", "t", CREATE, NULL);
    t_wait_until(WAITS, "t", 20);
    clock_sleep_ms(300);
    t_do(holder, "COMMIT; BEGIN; UPDATE t SET s = 'held' WHERE id = 2");
    clock_sleep_ms(300);
    t_do(holder, "COMMIT");
    wait_ok(process);
    t_expect(VALID, "true");
    t_do(holder, "BEGIN; UPDATE t SET s = 'held' WHERE id = 1");
    process = t_start("rollback", "index-t-1", "--yes", NULL);
    t_wait_until(WAITS, "t", 20);
    clock_sleep_ms(300);
    t_do(holder, "COMMIT");
    wait_ok(process);
    t_idle();
    t_expect(VALID, "none");
}

static void a_build_that_is_killed_is_begun_anew(void)
{
    struct t_session *holder = t_session("the-holder");
    struct t_process *process;
    struct t_result result;

    make_table();
    /* Its session goes on, or not: the holder ends at once. Then the leftover, for certain. */
    for (int certain = 0; certain < 2; certain++) {
        t_do(holder, "BEGIN; UPDATE t SET s = 'held' WHERE id = 1");
        process = certain == 0 ? t_start("index", "t", CREATE, "--job", "k", NULL)
                               : t_start("index", "t", CREATE, "--job", "k2", NULL);
        t_wait_until(WAITS, "t", 20);
        t_kill_now(process);
        if (certain == 1)
            t_wait_until(ANY_STATEMENT, "0", 20);
        t_do(holder, "COMMIT");
        if (certain == 1)
            t_expect(VALID, "false");
        t_runs(0, "resume", certain == 0 ? "k" : "k2");
        t_expect(VALID, "true");
        t_runs(0, "rollback", certain == 0 ? "k" : "k2", "--yes");
        t_expect(VALID, "none");
    }
    t_do(holder, "BEGIN; UPDATE t SET s = 'held' WHERE id = 1");
    process = t_start("index", "t", CREATE, "--job", "k3", NULL);
    t_wait_until(WAITS, "t", 20);
    t_kill(process, SIGINT);
    t_wait(process, &result);
    t_expect_status(&result, 5);
    t_do(holder, "COMMIT");
    t_runs(0, "abort", "k3", "--yes");
    t_expect(VALID, "none");
}

static void an_index_job_killed_at_every_step_ends_right(void)
{
    static const char *const POINTS[] = {"phase build running", "facts", "event ddl CREATE%",
                                         "phase build done"};
    static const char *const BACK[] = {"event ddl DROP%", "event state rolled_back"};
    struct t_process *process;

    make_table();
    make_gates();
    t_gate_shut("event phase build");
    process = t_start("index", "t", CREATE, NULL);
    t_gate_wait(true);
    t_kill_now(process);
    t_sql("DELETE FROM public.gate");
    t_wait_until(ANY_STATEMENT, "0", 20);
    for (size_t i = 0; i < sizeof(POINTS) / sizeof(POINTS[0]); i++) {
        /* What a point lies behind is made undone. */
        t_sql("UPDATE pghaul.phase SET state = 'pending'; UPDATE pghaul.job SET phase = 'build', "
              "facts = '{}' WHERE name = 'index-t-1'");
        t_sql("DROP INDEX IF EXISTS t_v");
        kill_at(POINTS[i], "resume", "index-t-1");
        t_wait_until(ANY_STATEMENT, "0", 20);
    }
    if (strcmp(t_text(INDEX_STATE), "done") != 0)
        t_runs(0, "resume", "index-t-1");
    t_expect(VALID, "true");
    t_expect("SELECT facts ->> 'added' FROM pghaul.job WHERE name = 'index-t-1'", "1");
    for (size_t i = 0; i < sizeof(BACK) / sizeof(BACK[0]); i++) {
        kill_at(BACK[i], "rollback", "index-t-1");
        t_wait_until(ANY_STATEMENT, "0", 20);
    }
    t_runs(0, "rollback", "index-t-1", "--yes");
    t_expect(VALID, "none");
    t_expect(INDEX_STATE, "rolled_back");
}

static void an_abort_cancels_a_build(void)
{
    struct t_session *holder = t_session("the-holder");
    struct t_process *process;
    struct t_process *aborting;
    struct t_result result;

    make_table();
    t_do(holder, "BEGIN; UPDATE t SET s = 'held' WHERE id = 1");
    process = t_start("index", "t", CREATE, NULL);
    t_wait_until(WAITS, "t", 20);
    aborting = t_start("abort", "index-t-1", "--yes", NULL);
    t_wait(process, &result);
    t_expect_status(&result, 5);
    t_do(holder, "COMMIT");
    wait_ok(aborting);
    t_expect(INDEX_STATE, "aborted");
    t_expect(VALID, "none");
}

static void an_index_is_dropped_without_the_program(void)
{
    struct t_result result;
    struct t_session *holder = t_session("the-holder");

    make_table();
    t_do(holder, "BEGIN; UPDATE t SET s = 'held' WHERE id = 1");
    t_runs(6, "index", "t", CREATE, "-s", "snapshot.wait=200ms");
    t_do(holder, "COMMIT");
    t_run(&result, "abort", "index-t-1", "--print-sql", NULL);
    t_expect_status(&result, 0);
    for (const char *at = result.out; *at != '\0';) { /* psql: a statement at a time */
        size_t length = (size_t)(strstr(at, ";\n") + 2 - at);

        t_sqlf("%.*s", (int)length, at);
        at += length;
    }
    t_expect(VALID, "none");
    t_expect(INDEX_STATE, "aborted");
}

/* An alter carries the index over to its copy. */
static void nothing_is_taken_back_from_a_table_that_is_being_copied_or_was(void)
{
    make_table();
    t_runs(0, "index", "t", CREATE);
    t_runs(0, "alter", "t", "--do", "ALTER COLUMN id TYPE bigint");
    t_says(3, "job alter-t-1 works on public.t", "rollback", "index-t-1", "--yes");
    t_says(3, "alter-t-1", "index", "t", "CREATE INDEX t_s ON t (s)");
    t_runs(0, "cutover", "alter-t-1", "--yes");
    t_runs(0, "finish", "alter-t-1", "--yes");
    t_says(3, "is not the table that job index-t-1 worked on", "rollback", "index-t-1", "--yes");
    t_expect(VALID, "true");
}

/* No superuser, no right on anything but its own tables and pghaul's. */
static void a_plain_owner_can_do_both(void)
{
    struct t_session *holder = t_session("the-holder");
    struct t_process *process;

    t_sql("DROP ROLE IF EXISTS idx_owner; CREATE ROLE idx_owner");
    t_sqlf("GRANT CREATE, TEMPORARY ON DATABASE %s TO idx_owner; GRANT ALL ON SCHEMA public TO "
           "idx_owner",
           t_text("SELECT current_database()"));
    make_table();
    make_orders();
    t_sql("ALTER TABLE t OWNER TO idx_owner; ALTER TABLE orders OWNER TO idx_owner");
    t_says(3, "GRANT REFERENCES ON public.users TO idx_owner", "validate", "orders", "--add", ADD_F,
           "--role", "idx_owner");
    t_sql("GRANT REFERENCES, SELECT ON users TO idx_owner");
    t_says(3, "GRANT UPDATE ON public.users TO idx_owner", "validate", "orders", "--add", ADD_F,
           "--role", "idx_owner");
    t_sql("GRANT UPDATE ON users TO idx_owner");
    t_runs(0, "validate", "orders", "--add", ADD_F, "--role", "idx_owner");
    t_expect(F_VALID, "true");
    t_do(holder, "BEGIN; UPDATE t SET s = 'held' WHERE id = 1");
    process = t_start("index", "t", CREATE, "--role", "idx_owner", NULL);
    t_wait_until(WAITS, "t", 20);
    t_do(holder, "ANALYZE t; COMMIT"); /* it can give way: cancel its own session */
    wait_ok(process);
    t_expect(VALID, "true");
    t_says(3, "idx_owner is not a member", "index", "users", "CREATE INDEX u ON users (name)",
           "--role", "idx_owner");
    t_sql("DROP OWNED BY idx_owner CASCADE; DROP ROLE idx_owner");
}

/* --------------------------------------------------------------------------------------- validate
 */

#define VALIDATE_JOB "validate-orders-1"
static const char VALIDATE_STATE[] = "SELECT state FROM pghaul.job WHERE name = '" VALIDATE_JOB "'";

static void a_constraint_that_is_there_becomes_valid(void)
{
    struct t_result result;

    make_orders();
    t_sql("ALTER TABLE orders ADD CONSTRAINT f FOREIGN KEY (user_id) REFERENCES users NOT VALID,\n"
          "    ADD CONSTRAINT \"c C\" CHECK (amount > 0) NOT VALID");
    t_run(&result, "validate", "orders", "f", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "constraint f of public.orders is valid");
    t_runs(0, "validate", "orders", "\"c C\"", "--json");
    t_runs(0, "validate", "orders", "f");
    t_expect("SELECT count(*) FROM pg_constraint WHERE NOT convalidated", "0");
    t_expect(VALIDATE_STATE, "done");
    t_says(3, "it was there already", "rollback", VALIDATE_JOB, "--yes");
    t_says(3, "does not apply", "cutover", VALIDATE_JOB, "--yes");
    t_runs(0, "finish", VALIDATE_JOB, "--yes");
}

static void a_constraint_is_added_as_the_server_would(void)
{
    static const char *const ADDS[] = {
        "CONSTRAINT f FOREIGN KEY (user_id) REFERENCES users",
        ("CONSTRAINT f FOREIGN KEY(user_id)REFERENCES public.users (id) MATCH FULL ON DELETE "
         "CASCADE ON UPDATE SET NULL DEFERRABLE INITIALLY DEFERRED"),
        "CONSTRAINT f FOREIGN KEY (parent) REFERENCES orders",
        "CONSTRAINT f FOREIGN KEY (\"A )b\", user_id) REFERENCES \"X y\".\"us.ers\" (a, b)",
        "CONSTRAINT f FOREIGN KEY (user_id) REFERENCES other.orders",
        "CONSTRAINT f CHECK (amount > 0 AND orders.amount < public.limit_of(user_id))",
        "constraint F check (amount is not null) no inherit",
    };

    for (size_t i = 0; i < sizeof(ADDS) / sizeof(ADDS[0]); i++) {
        const char *expected;

        t_fresh_database();
        make_orders();
        t_sql("ALTER TABLE orders ADD parent int, ADD \"A )b\" int;\n"
              "CREATE FUNCTION limit_of(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT "
              "100000';\n"
              "CREATE SCHEMA \"X y\"; CREATE TABLE \"X y\".\"us.ers\" (a int, b int, UNIQUE (a, "
              "b));\n"
              "CREATE SCHEMA other; CREATE TABLE other.orders (id int PRIMARY KEY);\n"
              "INSERT INTO other.orders SELECT i FROM generate_series(1, 100) AS i");
        t_sqlf("ALTER TABLE orders ADD %s", ADDS[i]);
        expected = t_text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = "
                          "'f'");
        t_sql("ALTER TABLE orders DROP CONSTRAINT f");
        t_runs(0, "validate", "orders", "--add", ADDS[i]);
        t_expect("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'f'",
                 expected);
        t_expect(F_VALID, "true");
        t_runs(0, "rollback", VALIDATE_JOB, "--yes");
        t_expect(F_VALID, "none");
        t_expect(VALIDATE_STATE, "rolled_back");
    }
}

static void a_not_null_becomes_valid(void)
{
    if (t_server_version() < 180000)
        t_skip("NOT NULL can be NOT VALID since 18");
    make_orders();
    t_runs(0, "validate", "orders", "--add", "CONSTRAINT f NOT NULL user_id");
    t_expect(F_VALID, "true");
    t_fails("INSERT INTO orders VALUES (-1, NULL, 1)", "23502");
    t_runs(0, "rollback", VALIDATE_JOB, "--yes");
    t_sql("INSERT INTO orders VALUES (-1, NULL, 1)");
    t_says(1, "null values", "validate", "orders", "--add", "CONSTRAINT f NOT NULL user_id");
}

static void a_row_that_violates_it_is_named_and_mended(void)
{
    make_orders();
    t_sql("INSERT INTO orders VALUES (-1, 4711, -5)");
    t_says(1, "Key (user_id)=(4711) is not present", "validate", "orders", "--add", ADD_F);
    t_expect(VALIDATE_STATE, "failed");
    t_expect(F_VALID, "false");
    t_fails("INSERT INTO orders VALUES (-2, 4712, 1)", "23503");
    t_sql("UPDATE orders SET user_id = 1 WHERE id = -1");
    t_runs(0, "resume", VALIDATE_JOB);
    t_expect(F_VALID, "true");
    t_says(1, "WHERE NOT ((amount > 0)) finds them", "validate", "orders", "--add",
           "CONSTRAINT positive CHECK (amount > 0)", "--job", "c");
    t_runs(0, "abort", "c", "--yes");
    t_expect("SELECT count(*) FROM pg_constraint WHERE conname = 'positive'", "0");
}

static void a_constraint_that_cannot_be_is_refused(void)
{
    make_orders();
    t_sql("CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);\n"
          "ALTER TABLE orders ADD CONSTRAINT c CHECK (amount > 0) NOT VALID");
    t_says(2, "--add", "validate", "orders");
    t_says(2, "--add", "validate", "orders", "c", "--add", ADD_F);
    t_says(2, "CONSTRAINT", "validate", "orders", "--add", "CHECK (amount > 0)");
    t_says(2, "no name", "validate", "orders", "c d");
    t_says(3, "has no constraint gone", "validate", "orders", "gone");
    t_says(3, "has an index", "validate", "orders", "orders_pkey");
    t_says(3, "another constraint c", "validate", "orders", "--add",
           "CONSTRAINT c CHECK (amount > 1)");
    t_says(3, "does not exist", "validate", "orders", "--add",
           "CONSTRAINT f FOREIGN KEY (user_id) REFERENCES nothing");
    t_says(3, "no ordinary table", "validate", "orders", "--add",
           "CONSTRAINT f FOREIGN KEY (user_id) REFERENCES parts");
    t_says(3, "partitioned", "validate", "parts", "--add", "CONSTRAINT f CHECK (id > 0)");
    t_says(3, "referenced table \"users\"", "validate", "orders", "--add",
           "CONSTRAINT f FOREIGN KEY (user_id) REFERENCES users (name)");
    t_says(3, "cannot be marked NOT VALID", "validate", "orders", "--add",
           "CONSTRAINT u UNIQUE (amount)");
    t_says(3, "one constraint", "validate", "orders", "--add",
           "CONSTRAINT a CHECK (amount > 0), ADD CONSTRAINT b CHECK (amount > 0)");
    t_says(3, "multiple commands", "validate", "orders", "--add",
           "CONSTRAINT a CHECK (amount > 0); DROP TABLE users; ALTER TABLE orders ADD CONSTRAINT b "
           "CHECK (amount > 0)");
    t_expect("SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint WHERE conrelid = "
             "'orders'::regclass AND contype <> 'n'",
             "c orders_pkey");
    t_expect("SELECT to_regclass('pghaul.job') IS NULL", "t");
}

static void writers_wait_no_longer_than_the_timeout_for_both_locks(void)
{
    static const char *const HELD[] = {"UPDATE orders SET amount = 1 WHERE id = 1",
                                       "UPDATE users SET name = 'held' WHERE id = 1"};
    struct t_session *holder = t_session("the-holder");
    struct t_process *process;

    make_orders();
    start_application("UPDATE orders SET amount = amount + 1 WHERE id = n % 1000 + 10;");
    start_application("UPDATE users SET name = n::text WHERE id = n % 50 + 10;");
    for (int i = 0; i < 2; i++) {
        t_do(holder, t_format("BEGIN; %s", HELD[i]));
        t_says(6, "the-holder", "validate", "orders", "--add", ADD_F, "-s", "lock.tries=4", "--job",
               i == 0 ? "a" : "b");
        t_expect(F_VALID, "none");
        process = t_start("resume", i == 0 ? "a" : "b", NULL);
        clock_sleep_ms(300);
        t_do(holder, "COMMIT");
        wait_ok(process);
        t_expect(F_VALID, "true");
        t_runs(0, "rollback", i == 0 ? "a" : "b", "--yes");
        t_expect(F_VALID, "none");
    }
    t_idle();
}

/* A writer queues behind the wait for the first lock, and goes on to wait for that of the second.
 */
static void the_two_locks_of_a_foreign_key_have_one_deadline(void)
{
    struct t_session *first = t_session("first");
    struct t_session *second = t_session("second");
    struct t_session *writer = t_session("writer");
    struct t_process *process;
    struct t_result result;

    make_orders();
    t_do(writer, "SET lock_timeout = '400ms'");
    t_do(first, "BEGIN; UPDATE orders SET amount = 2 WHERE id = 1");
    t_do(second, "BEGIN; UPDATE users SET name = 'held' WHERE id = 1");
    process = t_start("validate", "orders", "--add", ADD_F, "-s", "lock.timeout=400ms", "-s",
                      "lock.tries=1", NULL);
    t_wait_until("SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = "
                 "'ShareRowExclusiveLock' AND relation = 'orders'::regclass",
                 "1", 20);
    t_send(writer, "UPDATE orders SET amount = 2 WHERE id = 2");
    t_waits(writer);
    clock_sleep_ms(200);
    t_do(first, "COMMIT");
    t_receive(writer);
    t_wait(process, &result);
    t_expect_status(&result, 6);
    t_expect_err(&result, "second");
    t_do(second, "COMMIT");
    t_runs(0, "resume", VALIDATE_JOB);
}

static void a_validate_job_killed_at_every_step_ends_right(void)
{
    static const char *const POINTS[] = {
        "event phase add",
        "phase add running",
        "event ddl%ADD CONSTRAINT%",
        "facts",
        "event lock%",
        "phase add done",
        "phase validate running",
        "event ddl%VALIDATE%",
        "phase validate done",
    };
    static const char *const BACK[] = {"event ddl%DROP CONSTRAINT%", "event state rolled_back"};
    struct t_process *process;

    make_orders();
    make_gates();
    t_gate_shut("event planned%");
    process = t_start("validate", "orders", "--add", ADD_F, NULL);
    t_gate_wait(true);
    t_sql("UPDATE public.gate SET step = 'event phase add'");
    t_wait_until("SELECT count(*) FROM pghaul.job WHERE name = '" VALIDATE_JOB "'", "1", 20);
    t_gate_wait(true);
    t_kill_now(process);
    t_sql("DELETE FROM public.gate");
    t_wait_until(ANY_STATEMENT, "0", 20);
    for (size_t i = 0; i < sizeof(POINTS) / sizeof(POINTS[0]); i++) {
        /* Begun anew: a point may lie behind what was committed after the last kill. */
        t_sql("ALTER TABLE orders DROP CONSTRAINT IF EXISTS f;\n"
              "UPDATE pghaul.phase SET state = 'pending' WHERE job = 2;\n"
              "UPDATE pghaul.job SET phase = 'add', facts = '{}', state = 'running' WHERE id = 2");
        kill_at(POINTS[i], "resume", VALIDATE_JOB);
        t_wait_until(ANY_STATEMENT, "0", 20);
        t_expect("SELECT (facts ->> 'added' IS NOT NULL) = EXISTS (SELECT FROM pg_constraint WHERE "
                 "conname = 'f') FROM pghaul.job WHERE id = 2",
                 "t");
    }
    if (strcmp(t_text(VALIDATE_STATE), "done") != 0)
        t_runs(0, "resume", VALIDATE_JOB);
    t_expect(F_VALID, "true");
    for (size_t i = 0; i < sizeof(BACK) / sizeof(BACK[0]); i++) {
        kill_at(BACK[i], "rollback", VALIDATE_JOB);
        t_wait_until(ANY_STATEMENT, "0", 20);
    }
    t_runs(0, "rollback", VALIDATE_JOB, "--yes");
    t_expect(F_VALID, "none");
    t_expect(VALIDATE_STATE, "rolled_back");
}

static void a_constraint_that_another_has_put_there_stays(void)
{
    make_orders();
    t_runs(0, "validate", "orders", "--add", ADD_F);
    t_sql("ALTER TABLE orders DROP CONSTRAINT f; ALTER TABLE orders ADD CONSTRAINT f CHECK (amount "
          "> -9)");
    t_runs(0, "rollback", VALIDATE_JOB, "--yes");
    t_expect(F_VALID, "true");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(an_index_is_what_the_statement_says),
        t_test(an_index_job_is_done_kept_or_rolled_back),
        t_test(an_index_that_is_there_is_left_alone),
        t_test(an_index_that_cannot_be_is_refused),
        t_test(a_dry_run_prints_the_statements_and_changes_nothing),
        t_test(an_invalid_leftover_is_dropped_and_built_again),
        t_test(a_key_that_is_there_twice_is_named_and_the_job_goes_on_without_it),
        t_test(an_old_transaction_is_named_and_waited_for),
        t_test(a_wait_that_is_too_long_ends_with_6_and_goes_on_later),
        t_test(an_analyze_after_an_update_is_no_deadlock),
        t_test(nobody_who_writes_waits_for_a_build_or_its_drop),
        t_test(a_build_that_is_killed_is_begun_anew),
        t_test(an_index_job_killed_at_every_step_ends_right),
        t_test(an_abort_cancels_a_build),
        t_test(an_index_is_dropped_without_the_program),
        t_test(nothing_is_taken_back_from_a_table_that_is_being_copied_or_was),
        t_test(a_plain_owner_can_do_both),
        t_test(a_constraint_that_is_there_becomes_valid),
        t_test(a_constraint_is_added_as_the_server_would),
        t_test(a_not_null_becomes_valid),
        t_test(a_row_that_violates_it_is_named_and_mended),
        t_test(a_constraint_that_cannot_be_is_refused),
        t_test(writers_wait_no_longer_than_the_timeout_for_both_locks),
        t_test(the_two_locks_of_a_foreign_key_have_one_deadline),
        t_test(a_validate_job_killed_at_every_step_ends_right),
        t_test(a_constraint_that_another_has_put_there_stays),
    };

    return T_MAIN(tests);
}
