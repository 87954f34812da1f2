/*
 * Bad input and bad luck: a clear message, the exit status of docs, and nothing left half done that
 * abort or resume cannot resolve. Every refusal of inspection, through the real command.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/oracle.h"

static void make_orders(void)
{
    t_sql("CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL, note text, at date);"
          "CREATE INDEX orders_customer ON orders (customer);"
          "INSERT INTO orders SELECT i, i % 10, 'n' || i, 'today' FROM"
          " generate_series(1, 300) AS i");
}

static void must(const char *verb, const char *job)
{
    struct t_result result;

    t_run(&result, verb, job, "--yes", NULL);
    t_expect_status(&result, 0);
}

/* Refused, with these words, nothing changed, and no job made. */
static void expect_refused(const struct t_result *result, const char *said)
{
    t_expect_status(result, 3);
    t_expect_err(result, said);
    t_expect("SELECT to_regclass('pghaul.job') IS NULL", "t");
}

/* ------------------------------------------------------------------------------------ bad input --
 */

static void what_is_missing_is_named(void)
{
    struct t_result result;
    const char *before;

    make_orders();
    before = definition();
    t_run(&result, "alter", "order", NULL);
    expect_refused(&result, "table order does not exist");
    t_run(&result, "alter", "nowhere.orders", NULL);
    expect_refused(&result, "nowhere");
    t_run(&result, "alter", "orders", "--do", "DROP COLUMN colour", NULL);
    expect_refused(&result, "column \"colour\"");
    t_run(&result, "alter", "orders", "--do", "ALTER COLUMN note TYPE nosuchtype", NULL);
    expect_refused(&result, "type \"nosuchtype\" does not exist");
    t_run(&result, "alter", "orders", "--map", "colour = 1", NULL);
    expect_refused(&result, "no column \"colour\"");
    t_run(&result, "alter", "orders", "--map", "note = colour || 'x'", NULL);
    expect_refused(&result, "column \"colour\" does not exist");
    t_run(&result, "alter", "orders", "--map", "note", NULL);
    t_expect_status(&result, 2);
    t_run(&result, "cutover", "nosuchjob", "--yes", NULL);
    assert_true(result.status == 3 || result.status == 2);
    t_expect_err(&result, "nosuchjob");
    t_run(&result, "alter", "orders", "--role", "nosuchrole", NULL);
    t_expect_err(&result, "nosuchrole");
    assert_true(result.status != 0);
    same_definition(before);
}

static void syntax_errors_are_refused_with_the_place(void)
{
    static const char *const BAD[][2] = {
        {"ALTER COLUMN id TYPE", "syntax error"},
        {"ALTER COLUMN id TYPO bigint", "syntax error"},
        {"ADD COLUMN x text DEFAULT 'a", "does not end"},
        {"ADD COLUMN x text); DROP TABLE orders; --", "parentheses"},
        {"ADD COLUMN x text; DROP TABLE orders", "semicolon"},
        {"FROBNICATE", "FROBNICATE"},
        {"", "--do"},
        {"ADD COLUMN x int DEFAULT (1 +)", "syntax error"},
        {"ADD COLUMN id int", "already exists"},
        {"ADD COLUMN x int DEFAULT 'abc'", "invalid input syntax"},
    };
    struct t_result result;
    const char *before;

    make_orders();
    before = definition();
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        t_run(&result, "alter", "orders", "--do", BAD[i][0], NULL);
        expect_refused(&result, BAD[i][1]);
    }
    same_definition(before);
    t_expect("SELECT count(*) FROM orders", "300");
}

static void actions_that_a_copy_cannot_carry_are_refused(void)
{
    static const char *const BAD[] = {
        "RENAME TO other",
        "SET SCHEMA other",
        "OWNER TO postgres",
        "ADD FOREIGN KEY (customer) REFERENCES customers",
        "ADD COLUMN c int REFERENCES customers",
        "ENABLE TRIGGER ALL",
        "DISABLE RULE r",
        "ATTACH PARTITION p DEFAULT",
        "DETACH PARTITION p",
        "INHERIT parent",
        "NO INHERIT parent",
        "SET UNLOGGED",
        "OF some_type",
        "NOT OF",
        "SET ACCESS METHOD heap",
        "RENAME note TO n, ADD COLUMN x int",
        "ALTER TABLE orders ADD COLUMN x int",
        "ALTER COLUMN customer ADD GENERATED ALWAYS AS IDENTITY",
    };
    struct t_result result;
    const char *before;

    make_orders();
    t_sql("CREATE TABLE customers (id int PRIMARY KEY)");
    before = definition();
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        t_run(&result, "alter", "orders", "--do", BAD[i], NULL);
        t_expect_status(&result, 3);
        t_expect_err(&result, "hint: ");
        t_expect("SELECT to_regclass('pghaul.job') IS NULL", "t");
    }
    same_definition(before);
}

static void what_changes_the_keys_meaning_is_refused(void)
{
    static const char *const BAD[] = {
        "DROP COLUMN id",
        "DROP CONSTRAINT orders_pkey",
        "ALTER COLUMN id TYPE text",
        "ALTER COLUMN id TYPE bigint USING id * 2",
        "ALTER COLUMN code TYPE varchar(2)",
        "ALTER COLUMN code TYPE text COLLATE \"und-x-icu\"",
    };
    struct t_result result;
    const char *before;

    t_sql("CREATE TABLE orders (id int, code text COLLATE \"C\", v text, CONSTRAINT orders_pkey"
          " PRIMARY KEY (id, code)); INSERT INTO orders VALUES (1, 'a', 'v')");
    before = definition();
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        t_run(&result, "alter", "orders", "--do", BAD[i], NULL);
        t_expect_status(&result, 3);
        t_expect("SELECT to_regclass('pghaul.job') IS NULL", "t");
    }
    t_run(&result, "alter", "orders", "--map", "id = id + 1", NULL);
    expect_refused(&result, "identifies rows");
    same_definition(before);
}

static void a_type_change_without_assignment_cast_needs_a_map(void)
{
    struct t_result result;

    make_orders();
    t_run(&result, "alter", "orders", "--do", "ALTER COLUMN at TYPE int", NULL);
    expect_refused(&result, "cannot be cast automatically");
    t_run(&result, "alter", "orders", "--do", "ALTER COLUMN at TYPE int USING at - date 'epoch'",
          NULL);
    expect_refused(&result, "no way back");
    t_expect_err(&result, "--reverse-map");
    t_run(&result, "alter", "orders", "--do", "ALTER COLUMN at TYPE int USING at - date 'epoch'",
          "--reverse-map", "at = date 'epoch' + at", "--job", "job", "--cutover", "now", "--yes",
          NULL);
    t_expect_status(&result, 0);
    t_sql("UPDATE orders SET at = 1 WHERE id = 1");
    must("rollback", "job");
    t_expect("SELECT at FROM orders WHERE id = 1", "1970-01-02");
}

static void impossible_options_are_usage_errors(void)
{
    static const char *const BAD[] = {
        "chunk.time=fast", "chunk.time=-1s", "chunk.time=1ms",  "order=random",
        "workers=0",       "workers=1000",   "nosuch=1",        "chunk.wal",
        "policy=some",     "lock.tries=0",   "lock.timeout=9s", "",
    };
    struct t_result result;

    make_orders();
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        t_run(&result, "alter", "orders", "-s", BAD[i], NULL);
        t_expect_status(&result, 2);
        t_expect_err(&result, "hint: ");
        t_expect("SELECT to_regclass('pghaul.job') IS NULL", "t");
    }
    t_run(&result, "alter", "orders", "--nosuch", NULL);
    t_expect_status(&result, 2);
    t_run(&result, "alter", NULL);
    t_expect_status(&result, 2);
    t_run(&result, "alter", "orders", "--cutover", "now", NULL);
    t_expect_status(&result, 2); /* nobody to ask, and no --yes */
    t_run(&result, "frobnicate", NULL);
    t_expect_status(&result, 2);
}

static void a_deadlock_timeout_that_is_too_small_is_said(void)
{
    struct t_result result;

    make_orders();
    t_sql("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''150ms''',"
          " current_database()); END $$");
    t_run(&result, "alter", "orders", NULL);
    t_expect_status(&result, 2);
    t_expect_err(&result, "deadlock_timeout");
    t_expect_err(&result, "-s lock.timeout=");
    t_run(&result, "alter", "orders", "-s", "lock.timeout=50ms", "-s", "cutover.wait=50ms", NULL);
    t_expect_status(&result, 0);
}

static void a_job_name_or_table_that_is_taken_is_refused(void)
{
    struct t_result result;

    make_orders();
    t_sql("CREATE TABLE other (id int PRIMARY KEY)");
    t_run(&result, "alter", "orders", "--job", "mine", NULL);
    t_expect_status(&result, 0);
    t_run(&result, "alter", "other", "--job", "mine", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "there is a job named \"mine\" already");
    t_run(&result, "alter", "orders", "--job", "second", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "job mine works on");
    t_run(&result, "guard", "orders", NULL);
    t_expect_status(&result, 7);
    must("cutover", "mine");
    t_run(&result, "alter", "orders", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "pghaul finish mine");
    t_run(&result, "abort", "mine", "--yes", NULL);
    t_expect_status(&result, 3);
    must("finish", "mine");
    t_expect("SELECT count(*) FROM pghaul.job", "1");
    nothing_of_ours_is_left();
}

/* ------------------------------------------------------------------------------------- connecting
 */

static void servers_that_cannot_be_reached(void)
{
    static const struct {
        const char *conninfo;
        int status;
        const char *said;
    } BAD[] = {
        {"host=/nonexistent/folder", 1, "no server answers at that socket"},
        {"host=127.0.0.1 port=1", 1, "no server answers at that address"},
        {"host=127.0.0.1 port=99999", 2, "port"},
        {"hots=127.0.0.1", 2, "option"},
        {"service=nosuchservice", 2, "service"},
    };
    struct t_result result;

    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        t_run_plain(&result, "alter", "orders", "-d", BAD[i].conninfo, NULL);
        t_expect_status(&result, BAD[i].status);
        t_expect_err(&result, BAD[i].said);
        t_expect_err(&result, "hint: ");
    }
    t_run_plain(&result, "alter", "orders", "-d",
                t_format("%s dbname=nosuch", sandbox_conninfo(t_sandbox())), NULL);
    t_expect_status(&result, 1);
    t_expect_err(&result, "no such database");
    t_run_plain(&result, "alter", "orders", "-d",
                t_format("%s user=nosuch", sandbox_conninfo(t_sandbox())), NULL);
    t_expect_status(&result, 1);
    t_expect_err(&result, "no such role");
}

/* Puts a line before all others of the sandbox's pg_hba.conf, or takes all such lines out again. */
static void set_hba(const char *line)
{
    const char *path = t_format("%s/pg_hba.conf", sandbox_data_dir(t_sandbox()));
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fprintf(file, "%s\nlocal all all trust\nlocal replication all trust\n", line);
    fclose(file);
    t_sql("SELECT pg_reload_conf()");
    t_wait_until("SELECT count(*) > 1 FROM pg_hba_file_rules WHERE error IS NULL", "t", 5);
}

static void a_wrong_password_is_said_at_once(void)
{
    struct t_result result;

    make_orders();
    t_sql("SET password_encryption = 'scram-sha-256'; CREATE ROLE locked LOGIN PASSWORD 'right'");
    set_hba("local all locked scram-sha-256");
    setenv("PGPASSFILE", "/dev/null", 1);
    t_run_plain(&result, "alter", "orders", "-d", t_conninfo_as("locked"), NULL);
    t_expect_status(&result, 1);
    t_expect_err(&result, "wants a password");
    setenv("PGPASSWORD", "wrong", 1);
    t_run_plain(&result, "alter", "orders", "-d", t_conninfo_as("locked"), NULL);
    t_expect_status(&result, 1);
    t_expect_err(&result, "does not accept the password");
    assert_null(strstr(result.err, "wrong"));
    setenv("PGPASSWORD", "right", 1);
    t_run_plain(&result, "alter", "orders", "-d", t_conninfo_as("locked"), NULL);
    t_expect_status(&result, 3); /* in, and without rights */
    unsetenv("PGPASSWORD");
    unsetenv("PGPASSFILE");
    set_hba("local all nobody_at_all reject");
    t_sql("DROP ROLE locked");
}

static void a_connection_limit_is_said_and_resume_goes_on(void)
{
    struct t_result result;
    const char *few;
    const char *before;

    make_orders();
    t_sql("CREATE ROLE few LOGIN CONNECTION LIMIT 0; ALTER TABLE orders OWNER TO few;"
          "GRANT CREATE ON SCHEMA public TO few;"
          "DO $$ BEGIN EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO few',"
          " current_database()); END $$");
    before = definition();
    few = t_conninfo_as("few");
    t_run_plain(&result, "alter", "orders", "-d", few, "-s", "retry.limit=1s", "--max-lag", "off",
                NULL);
    t_expect_status(&result, 1);
    t_expect_err(&result, "connection");
    t_expect_err(&result, "CONNECTION LIMIT");
    /* One session is not enough to look at the server beside the work. */
    t_sql("ALTER ROLE few CONNECTION LIMIT 1");
    t_run_plain(&result, "alter", "orders", "-d", few, "-s", "retry.limit=1s", "--max-lag", "off",
                NULL);
    t_expect_status(&result, 1);
    t_expect_err(&result, "connection");
    same_definition(before);
    t_sql("ALTER ROLE few CONNECTION LIMIT 2");
    t_run_plain(&result, "alter", "orders", "-d", few, "-s", "retry.limit=1s", "--max-lag", "off",
                "--job", "job", NULL);
    t_expect_status(&result, 1);
    t_expect_err(&result, "connection");
    t_expect_err(&result, "pghaul resume job");
    t_sql("ALTER ROLE few CONNECTION LIMIT -1");
    t_run_plain(&result, "resume", "job", "-d", few, NULL);
    t_expect_status(&result, 0);
    t_run_plain(&result, "abort", "job", "--yes", "-d", few, NULL);
    t_expect_status(&result, 0);
    same_definition(before);
    nothing_of_ours_is_left();
    t_sql("DROP SCHEMA pghaul CASCADE; DROP OWNED BY few; DROP ROLE few");
}

/* ---------------------------------------------------------------------------------- rows in the
 * way
 */

static void a_constraint_that_rows_violate_is_found_in_the_trial(void)
{
    struct t_result result;
    const char *before;

    make_orders();
    before = definition();
    t_run(&result, "alter", "orders", "--do", "ADD CONSTRAINT few CHECK (id < 300)", NULL);
    expect_refused(&result, "\"few\"");
    t_run(&result, "alter", "orders", "--do", "ADD UNIQUE (customer)", NULL);
    expect_refused(&result, "orders_customer_key");
    t_run(&result, "alter", "orders", "--do", "ALTER COLUMN note TYPE varchar(3)", NULL);
    expect_refused(&result, "value too long");
    t_sql("UPDATE orders SET note = NULL WHERE id = 7");
    t_run(&result, "alter", "orders", "--do", "ALTER COLUMN note SET NOT NULL", NULL);
    expect_refused(&result, "\"note\"");
    t_run(&result, "alter", "orders", "--do", "ALTER COLUMN id TYPE smallint", "--do",
          "ADD COLUMN x int NOT NULL", NULL);
    expect_refused(&result, "\"x\"");
    same_definition(before);
}

/*
 * A row takes a millisecond to copy, or to index: the 20,000 of a sample would take 20 s each. What
 * the trial's transaction took is asked of the server, by somebody who may wait for it.
 */
static void a_trial_that_is_slow_takes_less(void)
{
    struct t_result result;
    const char *before;

    t_sql("CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS\n"
          "    'BEGIN PERFORM pg_sleep(current_setting(''test.slow'', true)::float8);\n"
          "     RETURN $1; END';\n"
          "CREATE TABLE big (id int PRIMARY KEY, v int);\n"
          "INSERT INTO big SELECT i, i FROM generate_series(1, 30000) AS i; ANALYZE big");
    before = definition();
    t_sql("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET test.slow = 0.001',"
          " current_database()); END $$");
    t_run(&result, "alter", "big", "--do", "ADD COLUMN w int", "--map", "w = public.slow(v)",
          "--dry-run", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "trial on ");
    assert_null(strstr(result.out, "trial on 20,000 rows"));
    assert_null(strstr(result.out, "trial on 0 rows"));
    t_run(&result, "alter", "big", "--do", "ADD CONSTRAINT x CHECK (slow(v) > 0)", "--dry-run",
          NULL);
    t_expect_status(&result, 0);
    assert_null(strstr(result.out, "trial on 20,000 rows"));
    same_definition(before);
    t_sql("SET test.slow = 0; CREATE INDEX big_slow ON big (slow(v))");
    before = definition();
    t_run(&result, "alter", "big", "--dry-run", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "trial on 20,000 rows");
    t_expect_err(&result, "index big_slow was not tried");
    /* nothing is fast enough */
    t_sql("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET test.slow = 9',"
          " current_database()); END $$");
    t_run(&result, "alter", "big", "--do", "ADD COLUMN w int", "--map", "w = public.slow(v)", NULL);
    expect_refused(&result, "not done in time");
    same_definition(before);
    nothing_of_ours_is_left();
}

/* 30,000 rows on 2,000 pages: the sample ends at 20,000 rows, and never gets to the last page. */
static void a_constraint_that_only_the_load_sees_leaves_a_job_to_abort_or_resume(void)
{
    struct t_result result;
    const char *before;

    t_sql("CREATE TABLE big (id int PRIMARY KEY, v int, u int, pad text);"
          "ALTER TABLE big ALTER pad SET STORAGE PLAIN;"
          "INSERT INTO big SELECT i, 1, i, repeat('x', 450) FROM generate_series(1, 30000) AS i;"
          "UPDATE big SET v = -1, u = 1 WHERE id = 30000; ANALYZE big");
    before = definition();
    t_run(&result, "alter", "big", "--do", "ADD CONSTRAINT positive CHECK (v > 0)", "--job", "job",
          NULL);
    t_expect_status(&result, 1);
    t_expect_err(&result, "\"positive\"");
    t_expect_err(&result, "pghaul resume job");
    t_sql("INSERT INTO big VALUES (30001, 1, 30001)"); /* the application goes on */
    must("abort", "job");
    same_definition(before);
    nothing_of_ours_is_left();
    t_run(&result, "alter", "big", "--do", "ADD CONSTRAINT uniq UNIQUE (u)", "--job", "job2", NULL);
    t_expect_status(&result, 1);
    t_expect_err(&result, "uniq");
    t_sql("UPDATE big SET u = id");
    t_run(&result, "resume", "job2", NULL);
    t_expect_status(&result, 0);
    must("cutover", "job2");
    must("finish", "job2");
    t_expect("SELECT count(DISTINCT u) FROM big", "30001");
    nothing_of_ours_is_left();
}

/* ------------------------------------------------------------------------------------------- disk
 */

static bool can_mount; /* a mount namespace of our own: nothing is left when this process ends */

/* A small file system as tablespace, with room for the trial and not for the load. */
static void a_full_disk_stops_the_job_and_room_lets_it_go_on(void)
{
    const char *dir = t_format("%s/small", sandbox_dir(t_sandbox()));
    struct t_result result;
    const char *before;

    if (!can_mount)
        t_skip("no right to mount a small file system; temp_file_limit stands in for it");
    t_run_program(&result, "mkdir", dir, NULL);
    t_run_program(&result, "mount", "-t", "tmpfs", "-o", "size=16m,mode=777", "tmpfs", dir, NULL);
    t_expect_status(&result, 0);
    t_run_program(&result, "chown", "--reference", sandbox_data_dir(t_sandbox()), dir, NULL);
    t_expect_status(&result, 0);
    t_sqlf("CREATE TABLESPACE small LOCATION '%s'", dir);
    t_sql("CREATE TABLE full_t (id int PRIMARY KEY, pad text) TABLESPACE small;"
          "INSERT INTO full_t SELECT i, repeat('x', 100) FROM generate_series(1, 60000) AS i;"
          "ANALYZE full_t");
    before = definition();
    t_run(&result, "alter", "full_t", "--job", "job", "-s", "retry.limit=1s", NULL);
    t_expect_status(&result, 1);
    t_expect_err(&result, "No space left on device");
    t_expect_err(&result, "Check free disk space");
    t_expect_err(&result, "pghaul resume job");
    t_sql("UPDATE full_t SET pad = 'y' WHERE id = 20000");
    t_run_program(&result, "mount", "-o", "remount,size=64m", dir, NULL);
    t_expect_status(&result, 0);
    t_run(&result, "resume", "job", NULL);
    t_expect_status(&result, 0);
    must("cutover", "job");
    t_expect("SELECT count(*) FROM full_t", "60000");
    t_expect("SELECT pad FROM full_t WHERE id = 20000", "y");
    must("rollback", "job");
    nothing_of_ours_is_left();
    same_definition(before);
    t_sql("DROP SCHEMA IF EXISTS pghaul CASCADE; DROP TABLE full_t");
    t_sql("CHECKPOINT");
    t_sql("DROP TABLESPACE small");
    t_run_program(&result, "umount", dir, NULL);
    t_run_program(&result, "rmdir", dir, NULL);
}

static void a_temp_file_limit_stops_an_index_build_and_resume_goes_on(void)
{
    struct t_result result;
    const char *before;

    t_sql("CREATE TABLE sorted (id int PRIMARY KEY, k text);"
          "INSERT INTO sorted SELECT i, repeat(md5(i::text), 4) FROM"
          " generate_series(1, 60000) AS i;"
          "CREATE INDEX sorted_k ON sorted (k, id); ANALYZE sorted;"
          "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET temp_file_limit = ''4MB''',"
          " current_database()); END $$");
    before = definition();
    t_run(&result, "alter", "sorted", "--job", "job", "-s", "index.memory=1MB", "-s",
          "retry.limit=1s", NULL);
    t_expect_status(&result, 1);
    t_expect_err(&result, "temp_file_limit");
    t_expect_err(&result, "pghaul resume job");
    t_sql("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET temp_file_limit',"
          " current_database()); END $$");
    t_sql("UPDATE sorted SET k = 'k' WHERE id % 1000 = 0");
    t_run(&result, "resume", "job", NULL);
    t_expect_status(&result, 0);
    must("cutover", "job");
    t_expect("SELECT count(*) FROM sorted WHERE k = 'k'", "60");
    must("rollback", "job");
    same_definition(before);
    nothing_of_ours_is_left();
}

/* --------------------------------------------------------------------------------------- refusals
 */

struct refusal {
    const char *name;
    const char *setup; /* of table t */
    const char *said;
};

static const struct refusal REFUSALS[] = {
    {"foreign key out",
     "CREATE TABLE p (id int PRIMARY KEY); ALTER TABLE t ADD CONSTRAINT fk FOREIGN"
     " KEY (v) REFERENCES p",
     "has the foreign key fk"},
    {"foreign key in", "CREATE TABLE c (t int CONSTRAINT fk REFERENCES t)",
     "foreign key fk of public.c"},
    {"foreign key to itself", "ALTER TABLE t ADD FOREIGN KEY (v) REFERENCES t", "foreign key"},
    {"view", "CREATE VIEW vi AS SELECT id FROM t", "view public.vi"},
    {"materialized view", "CREATE MATERIALIZED VIEW vi AS SELECT id FROM t",
     "materialized view public.vi"},
    {"rule", "CREATE RULE ru AS ON DELETE TO t DO INSTEAD NOTHING", "rule ru"},
    {"function over the row type", "CREATE FUNCTION f(t) RETURNS int LANGUAGE sql AS 'SELECT 1'",
     "f(public.t)"},
    {"function with a bound body",
     "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql BEGIN ATOMIC"
     " SELECT count(*) FROM t; END",
     "f()"},
    {"column of the row type", "CREATE TABLE c (x t)", "has the row type of public.t"},
    {"user trigger",
     "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL;"
     " END'; CREATE TRIGGER tr AFTER INSERT ON t EXECUTE FUNCTION f()",
     "has the trigger tr"},
    {"constraint trigger",
     "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN"
     " NULL; END'; CREATE CONSTRAINT TRIGGER tr AFTER INSERT ON t FOR EACH"
     " ROW EXECUTE FUNCTION f()",
     "trigger tr"},
    {"policy of another table",
     "CREATE TABLE c (id int); CREATE POLICY po ON c USING (EXISTS"
     " (SELECT FROM t))",
     "policy po"},
    {"policy that reads its own table",
     "CREATE POLICY po ON t USING (id IN (SELECT max(id) FROM"
     " t))",
     "policy po"},
    {"publication", "CREATE PUBLICATION pu FOR TABLE t", "in publication pu"},
    {"publication of all", "CREATE PUBLICATION pu FOR ALL TABLES", "FOR ALL TABLES"},
    {"inheriting", "CREATE TABLE p (id int); ALTER TABLE t ALTER id SET NOT NULL, INHERIT p",
     "inherits from public.p"},
    {"inherited", "CREATE TABLE c () INHERITS (t)", "public.c inherits from"},
    {"partitioned", "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)",
     "is partitioned"},
    {"partition",
     "DROP TABLE t; CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);"
     "CREATE TABLE t PARTITION OF p DEFAULT",
     "is a partition of public.p"},
    {"no key", "ALTER TABLE t DROP CONSTRAINT t_pkey", "no usable key"},
    {"NULLable key",
     "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ALTER id DROP NOT NULL,"
     " ADD UNIQUE (id)",
     "no usable key"},
    {"partial key",
     "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ALTER id SET NOT NULL;"
     "CREATE UNIQUE INDEX ON t (id) WHERE v > 0",
     "no usable key"},
    {"expression key", "ALTER TABLE t DROP CONSTRAINT t_pkey; CREATE UNIQUE INDEX ON t (abs(id))",
     "no usable key"},
    {"deferrable key",
     "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (id)"
     " DEFERRABLE",
     "no usable key"},
    {"key of another kind of index",
     "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD"
     " EXCLUDE USING gist (int4range(id, id + 1) WITH &&)",
     "no usable key"},
    {"view itself", "ALTER TABLE t RENAME TO u; CREATE VIEW t AS SELECT * FROM u", "is a view"},
    {"sequence itself", "DROP TABLE t; CREATE SEQUENCE t", "is a sequence"},
    {"index itself", "DROP TABLE t; CREATE TABLE u (id int); CREATE INDEX t ON u (id)",
     "is an index"},
    {"unlogged", "ALTER TABLE t SET UNLOGGED", "is unlogged"},
    {"typed", "DROP TABLE t; CREATE TYPE ty AS (id int); CREATE TABLE t OF ty (PRIMARY KEY (id))",
     "OF type"},
    {"extension's", "CREATE EXTENSION btree_gist; ALTER EXTENSION btree_gist ADD TABLE t",
     "belongs to extension btree_gist"},
    {"constant that is the table", "ALTER TABLE t ADD c regclass DEFAULT 't'::regclass",
     "refers to public.t as a whole"},
    {"second sequence", "CREATE SEQUENCE s1 OWNED BY t.v; CREATE SEQUENCE s2 OWNED BY t.v",
     "sequence public.s"},
    {"read only",
     "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only"
     " = on', current_database()); END $$",
     "transactions are read only here"},
    {"deferrable exclusion constraint",
     "ALTER TABLE t ADD EXCLUDE USING gist (int4range(id, id + 1) WITH &&) DEFERRABLE",
     "is deferrable"},
};

static void every_refusal_names_the_thing_and_what_to_do(void)
{
    for (size_t i = 0; i < sizeof(REFUSALS) / sizeof(REFUSALS[0]); i++) {
        const struct refusal *refusal = &REFUSALS[i];
        struct t_result result;
        const char *before;

        if (i > 0)
            t_fresh_database();
        t_sql("CREATE TABLE t (id int PRIMARY KEY, v int)");
        t_sql(refusal->setup);
        before = definition();
        t_run(&result, "alter", "t", NULL);
        if (result.status != 3 || strstr(result.err, refusal->said) == NULL)
            t_fail("%s: exit status %d, should say \"%s\":\n%s", refusal->name, result.status,
                   refusal->said, result.err);
        same_definition(before);
        t_expect("SELECT to_regnamespace('pghaul') IS NULL", "t");
    }
}

/* What the inspection of a plain table does not say before the trial, doctor need not either. */
static void doctor_says_the_same_as_a_refusal(void)
{
    struct t_result result;

    t_sql("CREATE TABLE t (id int PRIMARY KEY, v int); CREATE VIEW w AS SELECT * FROM t;"
          "CREATE TABLE c (t int REFERENCES t)");
    t_run(&result, "alter", "t", NULL);
    expect_refused(&result, "2 things are in the way");
    t_expect_err(&result, "view public.w");
    t_expect_err(&result, "public.c");
    t_run(&result, "doctor", "t", NULL);
    t_expect_status(&result, 3);
    t_expect_out(&result, "view public.w is over public.t");
    t_expect_out(&result, "DROP VIEW public.w");
    t_expect_out(&result, "foreign-key-in");
}

static void temporary_and_system_and_our_own_tables_are_refused(void)
{
    struct t_result result;

    make_orders();
    t_run(&result, "alter", "pg_class", NULL);
    expect_refused(&result, "belongs to the server");
    t_run(&result, "alter", "orders", NULL);
    t_expect_status(&result, 0);
    t_run(&result, "alter", "pghaul.job", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "belongs to pghaul");
    t_run(&result, "alter", "pghaul.orders_1", NULL);
    t_expect_status(&result, 3);
    must("abort", "alter-orders-1");
}

static void a_publication_of_a_schema_is_refused(void)
{
    struct t_result result;

    if (t_server_version() < 150000)
        t_skip("needs PostgreSQL 15");
    make_orders();
    t_sql("CREATE PUBLICATION pu FOR TABLES IN SCHEMA public");
    t_run(&result, "alter", "orders", NULL);
    expect_refused(&result, "publication pu is FOR TABLES IN SCHEMA public");
    t_sql("DROP PUBLICATION pu");
}

static void a_key_whose_collation_changed_is_refused(void)
{
    struct t_result result;

    t_sql("CREATE TABLE word (w text COLLATE \"de-x-icu\" PRIMARY KEY); INSERT INTO word VALUES"
          " ('a')");
    t_sql("UPDATE pg_collation SET collversion = '0.1' WHERE collname = 'de-x-icu'");
    t_run(&result, "alter", "word", NULL);
    expect_refused(&result, "has changed");
    t_expect_err(&result, "REINDEX INDEX CONCURRENTLY");
}

static void a_standby_is_refused(void)
{
    struct t_result result;
    const char *standby = sandbox_standby_conninfo(t_sandbox());

    assert_non_null(standby);
    t_run_plain(&result, "alter", "pg_class", "-d", t_format("%s dbname=postgres", standby), NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "standby");
    t_run_plain(&result, "doctor", "-d", t_format("%s dbname=postgres", standby), NULL);
    t_expect_status(&result, 3);
    t_expect_out(&result, "connect to the primary");
}

/* A table that changed its definition while the job waits: said, and abort cleans up. */
static void a_definition_that_changes_under_the_job_is_not_lost(void)
{
    struct t_result result;
    const char *before;

    make_orders();
    t_run(&result, "alter", "orders", "--job", "job", NULL);
    t_expect_status(&result, 0);
    t_sql("COMMENT ON COLUMN orders.note IS 'new'");
    t_run(&result, "cutover", "job", "--yes", NULL);
    t_expect_status(&result, 4);
    t_expect_err(&result, "definition was changed");
    must("abort", "job");
    nothing_of_ours_is_left();
    t_run(&result, "alter", "orders", "--job", "job2", NULL);
    t_expect_status(&result, 0);
    t_sql("ALTER TABLE orders ADD COLUMN sneaked int");
    t_run(&result, "cutover", "job2", "--yes", NULL);
    assert_true(result.status == 3 || result.status == 4);
    must("abort", "job2");
    before = definition();
    assert_non_null(strstr(before, "sneaked integer"));
    assert_non_null(strstr(before, "IS 'new'"));
    nothing_of_ours_is_left();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(what_is_missing_is_named),
        t_test(syntax_errors_are_refused_with_the_place),
        t_test(actions_that_a_copy_cannot_carry_are_refused),
        t_test(what_changes_the_keys_meaning_is_refused),
        t_test(a_type_change_without_assignment_cast_needs_a_map),
        t_test(impossible_options_are_usage_errors),
        t_test(a_deadlock_timeout_that_is_too_small_is_said),
        t_test(a_job_name_or_table_that_is_taken_is_refused),
        t_test(servers_that_cannot_be_reached),
        t_test(a_wrong_password_is_said_at_once),
        t_test(a_connection_limit_is_said_and_resume_goes_on),
        t_test(a_constraint_that_rows_violate_is_found_in_the_trial),
        t_test(a_trial_that_is_slow_takes_less),
        t_test(a_constraint_that_only_the_load_sees_leaves_a_job_to_abort_or_resume),
        t_test(a_full_disk_stops_the_job_and_room_lets_it_go_on),
        t_test(a_temp_file_limit_stops_an_index_build_and_resume_goes_on),
        t_test(every_refusal_names_the_thing_and_what_to_do),
        t_test(doctor_says_the_same_as_a_refusal),
        t_test(temporary_and_system_and_our_own_tables_are_refused),
        t_test(a_publication_of_a_schema_is_refused),
        t_test(a_key_whose_collation_changed_is_refused),
        t_test(a_standby_is_refused),
        t_test(a_definition_that_changes_under_the_job_is_not_lost),
    };

    /* Before the server starts, so that it sees the same mounts as we do. */
    can_mount = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
                mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    t_sandbox_options.standby = true;
    return T_MAIN(tests);
}
