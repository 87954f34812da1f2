/*
 * alter --dry-run: it prints what will be sent, and does nothing.
 *
 * The oracle is the server's own log: every statement that a whole job sends, but questions and the
 * job's own rows, stands in what the dry run printed before it, numbers apart.
 */
#include "tests/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/memory.h"

/* With all that costs a statement of its own. */
static void create_orders(void)
{
    t_sql("CREATE TABLE orders (id serial PRIMARY KEY, code text NOT NULL, amount numeric,"
          "                     note text, CONSTRAINT code_key UNIQUE (code) DEFERRABLE);"
          "INSERT INTO orders (code, amount) SELECT 'c' || i, i FROM generate_series(1, 2000) AS i;"
          "ALTER TABLE orders ADD CONSTRAINT positive CHECK (amount > 1) NOT VALID;"
          "CREATE INDEX orders_amount ON orders (amount);"
          "CREATE INDEX orders_lower ON orders (lower(code)) WITH (fillfactor = 70);"
          "CREATE STATISTICS orders_statistics ON code, amount FROM orders;"
          "COMMENT ON TABLE orders IS 'they; are';"
          "COMMENT ON INDEX orders_amount IS 'sorted';"
          "COMMENT ON CONSTRAINT positive ON orders IS 'but one';"
          "ALTER TABLE orders ENABLE ROW LEVEL SECURITY;"
          "CREATE POLICY all_of_them ON orders USING (amount > 0);"
          "ALTER TABLE orders SET (autovacuum_enabled = on, fillfactor = 90);"
          "GRANT SELECT ON orders TO PUBLIC;"
          "ANALYZE orders");
}

#define ACTIONS                                                                                 \
    "alter", "orders", "--do", "ALTER COLUMN id TYPE bigint", "--do", "ADD COLUMN region text", \
        "--do", "ALTER COLUMN note SET DEFAULT 'x'"

/* The phases of a dry run as table `said`: name, lock, sql. */
static void dry_run_into_said(void)
{
    struct t_result result;

    t_run(&result, ACTIONS, "--dry-run", "--json", NULL);
    t_expect_status(&result, 0);
    t_sql("DROP TABLE IF EXISTS said");
    t_sqlf("CREATE TABLE said AS\n"
           "SELECT p.* FROM ROWS FROM (jsonb_to_recordset($dry$%.*s$dry$::jsonb -> 'phases')\n"
           "    AS (name text, lock text, estimate text, sql text)) WITH ORDINALITY\n"
           "    AS p (name, lock, estimate, sql, n)",
           (int)strcspn(result.out, "\n"), result.out);
}

static bool is_said(const char *phase, const char *sql)
{
    return strcmp(t_text(t_format("SELECT coalesce(bool_or(strpos(sql, $part$%s$part$) > 0), false)"
                                  "  FROM said WHERE name = '%s'",
                                  sql, phase)),
                  "t") == 0;
}

static void every_phase_is_printed_with_its_lock_and_its_sql(void)
{
    static const struct {
        const char *phase;
        const char *sql;
    } EXPECTED[] = {
        {"start", "CREATE SCHEMA "},
        {"shadow", "CREATE TABLE \"pghaul\".\"orders_1\" (LIKE \"public\".\"orders\""},
        {"shadow", "ADD COLUMN region text;"},
        {"shadow", "COMMENT ON TABLE pghaul.orders_1 IS 'they; are';"},
        {"shadow", "CREATE POLICY all_of_them"},
        {"capture", "CREATE TABLE \"pghaul\".\"log_1_a\" (k1 integer)"},
        {"capture", "CREATE OR REPLACE FUNCTION pghaul.log_1_update()"},
        {"capture", "INSERT INTO \"pghaul\".\"log_1_a\" (k1) SELECT"},
        {"capture", "REVOKE ALL ON FUNCTION pghaul.log_1_update() FROM PUBLIC CASCADE;"},
        {"capture", "LOCK TABLE ONLY \"public\".\"orders\" IN SHARE ROW EXCLUSIVE MODE;"},
        {"capture", "CREATE TRIGGER pghaul_1_update AFTER UPDATE ON \"public\".\"orders\""},
        {"load", "LOCK TABLE ONLY \"public\".\"orders\" IN ACCESS SHARE MODE;\nINSERT INTO "
                 "\"pghaul\".\"orders_1\" (\"id\", "},
        {"load", "r.ctid >= ('(' || ($1::text[])[1]"},
        {"purge", "DELETE FROM \"pghaul\".\"orders_1\" AS s USING \"pghaul\".\"log_1_purge\""},
        {"index", "CREATE UNIQUE INDEX \"orders_1_i"},
        {"index", "PRIMARY KEY USING INDEX"},
        {"index", "COMMENT ON INDEX pghaul.orders_amount IS 'sorted';"},
        {"index", "CREATE TRIGGER pghaul_1_back_insert AFTER INSERT ON \"pghaul\".\"orders_1\""},
        {"index", "ANALYZE \"pghaul\".\"orders_1\";"},
        {"catch-up", "FOR UPDATE OF s SKIP LOCKED;"},
        {"catch-up", "ON CONFLICT DO NOTHING"},
        {"catch-up", "TRUNCATE \"pghaul\".\"log_1_a\";"},
        {"settle", "VACUUM (FREEZE) \"pghaul\".\"orders_1\";"},
        {"verify", "record_image_ne("},
        {"cutover", "LOCK TABLE ONLY \"public\".\"orders\" IN ACCESS EXCLUSIVE MODE;"},
        {"cutover", "DO UPDATE SET"},
        {"cutover", "ALTER TABLE \"public\".\"orders\" RENAME TO \"orders_1_old\";"},
        {"cutover", "ADD CONSTRAINT \"code_key\" UNIQUE USING INDEX \"code_key\" DEFERRABLE;"},
        {"cutover", "COMMENT ON CONSTRAINT positive ON"},
        {"cutover", "ALTER SEQUENCE \"public\".\"orders_id_seq\" AS bigint;"},
        {"cutover", "RENAME TO orders_statistics;"},
        {"cutover", "INSERT INTO \"pghaul\".\"back_1_a\" (k1)"},
        {"finish", "DROP TABLE IF EXISTS \"pghaul\".\"orders_1_old\";"},
        {"abort", "DROP TRIGGER IF EXISTS pghaul_1_insert ON \"public\".\"orders\";"},
        {"abort", "DROP TABLE IF EXISTS \"pghaul\".\"orders_1\";"},
    };
    struct t_result result;

    create_orders();
    dry_run_into_said();
    t_expect("SELECT string_agg(name, ' ' ORDER BY n) FROM said",
             "start shadow capture load purge index catch-up settle verify ready cutover finish "
             "abort");
    t_expect("SELECT count(*) FROM said WHERE lock IS NULL OR estimate IS NULL OR sql IS NULL",
             "0");
    t_expect("SELECT string_agg(name, ' ') FROM said WHERE sql = ''", "ready");
    t_expect("SELECT string_agg(name, ' ' ORDER BY n) FROM said WHERE lock LIKE 'ACCESS SHARE%'",
             "shadow load catch-up verify");
    for (size_t i = 0; i < sizeof(EXPECTED) / sizeof(EXPECTED[0]); i++)
        if (!is_said(EXPECTED[i].phase, EXPECTED[i].sql))
            t_fail("phase %s does not say: %s", EXPECTED[i].phase, EXPECTED[i].sql);
    /* For people: the same, indented under a line for each phase. */
    t_run(&result, ACTIONS, "--dry-run", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "\nload: copy all rows, in chunks; lock: ACCESS SHARE for each chunk; "
                          "about 2000 rows");
    t_expect_out(&result, "\n    ALTER TABLE \"public\".\"orders\" RENAME TO \"orders_1_old\";\n");
}

static void settings_and_options_show_in_what_is_printed(void)
{
    struct t_result result;

    create_orders();
    t_run(&result, ACTIONS, "--dry-run", "--no-rollback", "-s", "settle=off", "-s", "capture=row",
          "-s", "order=key", "-s", "lock.tries=7", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "FOR EACH ROW EXECUTE FUNCTION pghaul.log_1_insert()");
    t_expect_out(&result, "($1::text[] IS NULL OR (r.\"id\") > (($1::text[])[1]::integer))");
    t_expect_out(&result, "tried up to 7 times");
    assert_null(strstr(result.out, "VACUUM"));
    assert_null(strstr(result.out, "CREATE TABLE \"pghaul\".\"back_1"));
    assert_null(strstr(result.out, "pghaul_1_back_insert AFTER"));
}

/* Every row that DDL leaves behind, and the values of the sequences. */
static const char *catalogue(void)
{
    return t_rows(
        "SELECT 'class', string_agg(c.oid || ' ' || c.xmin || ' ' || c.relname, ',' "
        "ORDER BY c.oid)\n"
        "  FROM pg_class AS c WHERE c.oid >= 16384\n"
        "UNION ALL SELECT 'attribute', md5(string_agg(a::text || a.xmin, ',' ORDER BY "
        "a.attrelid, a.attnum))\n"
        "  FROM pg_attribute AS a WHERE a.attrelid >= 16384\n"
        "UNION ALL SELECT 'constraint', md5(string_agg(c::text, ',' ORDER BY c.oid)) FROM "
        "pg_constraint AS c\n"
        "UNION ALL SELECT 'proc', count(*)::text FROM pg_proc\n"
        "UNION ALL SELECT 'trigger', count(*)::text FROM pg_trigger\n"
        "UNION ALL SELECT 'namespace', string_agg(nspname, ',' ORDER BY oid) FROM "
        "pg_namespace\n"
        "  WHERE nspname !~ '^pg_(toast_)?temp'\n"
        "UNION ALL SELECT 'depend', count(*)::text FROM pg_depend\n"
        "UNION ALL SELECT 'comment', count(*)::text FROM pg_description\n"
        "UNION ALL SELECT 'sequence', string_agg(sequencename || coalesce(last_value, 0), "
        "',' ORDER BY schemaname, sequencename) FROM pg_sequences");
}

static void nothing_is_changed_and_nobody_waits(void)
{
    struct t_session *other;
    struct t_result result;
    const char *before;

    create_orders();
    before = catalogue();
    /* Its locks are those of a writer at most, which this one lets pass: it conflicts with all that
     * are stronger, and with itself. (The trial asks EXPLAIN for the INSERT of the way back.) */
    other = t_session("other");
    t_do(other, "BEGIN; LOCK TABLE orders IN SHARE UPDATE EXCLUSIVE MODE");
    t_run(&result, ACTIONS, "--dry-run", NULL);
    t_expect_status(&result, 0);
    t_do(other, "COMMIT");
    assert_string_equal(catalogue(), before);
    t_expect("SELECT to_regnamespace('pghaul') IS NULL", "t");
    t_expect("SELECT count(*) FROM orders", "2000");
    /* Nor does it where there are jobs already; the number it shows is the next one's. */
    t_run(&result, "alter", "orders", NULL);
    t_expect_status(&result, 0);
    t_run(&result, "abort", "alter-orders-1", "--yes", NULL);
    t_expect_status(&result, 0);
    before = catalogue();
    t_run(&result, ACTIONS, "--dry-run", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "\"pghaul\".\"orders_2\"");
    assert_null(strstr(result.out, "CREATE SCHEMA"));
    assert_string_equal(catalogue(), before);
    t_expect("SELECT count(*) FROM pghaul.job", "1");
}

/* ------------------------------------------------------------------------------------------------
 * what is sent
 */

/* The server's log, from byte `from` on; *end (may be NULL) gets its length. Only its owner reads
 * it. */
static const char *read_log(long from, long *end)
{
    const char *path = t_format("%s/log", sandbox_dir(t_sandbox()));
    FILE *file = fopen(path, "r");
    const char *content;
    char *bytes;
    size_t size;

    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        t_fail("cannot read %s", path);
    size = (size_t)(ftell(file) - from);
    bytes = memory_zero(size + 1, 1);
    fseek(file, from, SEEK_SET);
    size = fread(bytes, 1, size, file);
    fclose(file);
    if (end != NULL)
        *end = from + (long)size;
    content = t_format("%s", bytes);
    free(bytes);
    return content;
}

static long log_end(void)
{
    long end;

    (void)read_log(0, &end);
    return end;
}

/*
 * Into table `sent`: what sessions of pghaul sent since the log was `from` bytes long, without its
 * trial (a transaction on a clone of no job; it ends with the first ROLLBACK). Left out is what
 * changes nothing, what keeps the job's own rows, and the governor's session, which has nothing
 * else to do.
 */
static void read_sent(long from)
{
    t_sqlf("CREATE TABLE sent AS\n"
           "WITH entry AS (\n"
           "    SELECT n, text FROM regexp_split_to_table($log$%s$log$, E'\\n(?!\\t)')\n"
           "                        WITH ORDINALITY AS e (text, n)),\n"
           "statement AS (\n"
           "    SELECT n, regexp_replace(text, '^pghaul[^|]*\\|LOG:  (statement|execute [^:]*): ',"
           " '') AS sql\n"
           "      FROM entry WHERE text ~ '^pghaul[^|]*\\|LOG:  (statement|execute [^:]*): '\n"
           "                   AND text !~ '^pghaul[^|]* governor\\|')\n"
           "SELECT n, sql FROM statement\n"
           " WHERE n > (SELECT min(n) FROM statement WHERE sql = 'ROLLBACK')\n"
           "   AND sql !~ '^(SELECT|SHOW) '\n"
           "   AND (sql !~ '^WITH ' OR sql ~ '(INSERT INTO|DELETE FROM|UPDATE [^ ]+ (AS|SET)) ')\n"
           "   AND sql !~ '^WITH halved AS '\n"
           "   AND sql !~ '^(INSERT INTO|UPDATE|DELETE FROM) "
           "pghaul\\.(job|phase|span|event|sample|version)\\M'",
           read_log(from, NULL));
}

/* Of `sent`, what `said` does not have: white space and numbers apart. */
static const char UNSAID[] =
    "WITH plain AS (\n"
    "    SELECT regexp_replace(regexp_replace(string_agg(sql, E'\\n'), '\\s+', ' ', 'g'),\n"
    "                          '[0-9]+', '#', 'g') AS text FROM said),\n"
    "wanted AS (\n"
    "    SELECT sql, rtrim(regexp_replace(regexp_replace(sql, '\\s+', ' ', 'g'),\n"
    "                                     '[0-9]+', '#', 'g'), '; ') AS text FROM sent)\n"
    "SELECT DISTINCT left(wanted.sql, 200) FROM wanted, plain WHERE strpos(plain.text, "
    "wanted.text) = 0";

/* The oracle is awake: what one phase alone says is missed without it. */
static void missed_without(const char *phase)
{
    t_sqlf("CREATE TABLE kept AS TABLE said; DELETE FROM said WHERE name = '%s'", phase);
    if (strcmp(t_rows(UNSAID), "") == 0)
        t_fail("nothing was sent that phase %s alone says", phase);
    t_sql("DROP TABLE said; ALTER TABLE kept RENAME TO said");
}

static void what_a_job_sends_is_what_was_printed(void)
{
    static const char *const PHASES[] = {"start",  "shadow",  "capture",  "load",
                                         "purge",  "index",   "catch-up", "settle",
                                         "verify", "cutover", "finish"};
    struct t_result result;
    long start;

    create_orders();
    dry_run_into_said();
    start = log_end();
    t_run(&result, ACTIONS, NULL);
    t_expect_status(&result, 0);
    t_sql("UPDATE orders SET amount = amount + 1 WHERE id <= 50; DELETE FROM orders WHERE id = 60");
    t_run(&result, "cutover", "alter-orders-1", "--yes", NULL);
    t_expect_status(&result, 0);
    t_run(&result, "finish", "alter-orders-1", "--yes", NULL);
    t_expect_status(&result, 0);
    read_sent(start);
    assert_true(t_int("SELECT count(*) FROM sent") > 100);
    t_expect("SELECT bool_or(sql ~ 'CREATE TRIGGER') AND bool_or(sql ~ 'SET SCHEMA')"
             "   AND bool_or(sql ~ 'CREATE SCHEMA') AND bool_or(sql ~ 'DROP TABLE')"
             "   AND bool_or(sql ~ 'record_image_ne') AND bool_or(sql ~ 'SKIP LOCKED')"
             "   AND bool_or(sql ~ 'INSERT INTO \"pghaul\".\"orders_1\"') FROM sent",
             "t");
    assert_string_equal(t_rows(UNSAID), "");
    for (size_t i = 0; i < sizeof(PHASES) / sizeof(PHASES[0]); i++)
        missed_without(PHASES[i]);
}

static void what_abort_sends_is_what_was_printed(void)
{
    struct t_result result;
    long start;

    create_orders();
    dry_run_into_said();
    start = log_end();
    t_run(&result, ACTIONS, NULL);
    t_expect_status(&result, 0);
    t_run(&result, "abort", "alter-orders-1", "--yes", NULL);
    t_expect_status(&result, 0);
    read_sent(start);
    t_expect("SELECT bool_or(sql ~ 'DROP TABLE IF EXISTS \"pghaul\".\"orders_1\"') FROM sent", "t");
    assert_string_equal(t_rows(UNSAID), "");
}

/* Names that are cut to make room for the job's number, default privileges that have to be taken
 * away again, no statement that an ordinary table needs. */
static void the_same_of_a_table_that_is_out_of_the_ordinary(void)
{
    static const char NAME[] =
        "T \"\"of 63 bytes, with quotes; and a semicolon -- aaaaaaaaaaaaaaaaa";
    const char *table = t_format("\"%s\"", NAME);
    struct t_result result;
    long start;

    t_sqlf(
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;"
        "CREATE TABLE %s (a text COLLATE \"C\", b int GENERATED ALWAYS AS IDENTITY,"
        "    c int4range, d int GENERATED ALWAYS AS (b + 1) STORED, e smallint DEFAULT 1,"
        "    PRIMARY KEY (a, b), EXCLUDE USING gist (c WITH &&));"
        "INSERT INTO %s (a, c) SELECT 'a', int4range(i, i + 1) FROM generate_series(1, 900) AS i;"
        "ANALYZE %s",
        table, table, table);
    t_run(&result, "alter", table, "--do", "ALTER e TYPE int", "--do", "DROP COLUMN d", "-s",
          "order=key", "-s", "ready=dual-write", "-s", "capture=row", "--dry-run", "--json", NULL);
    t_expect_status(&result, 0);
    t_sqlf("CREATE TABLE said AS\n"
           "SELECT * FROM jsonb_to_recordset($dry$%.*s$dry$::jsonb -> 'phases')\n"
           "    AS p (name text, sql text)",
           (int)strcspn(result.out, "\n"), result.out);
    start = log_end();
    t_run(&result, "alter", table, "--do", "ALTER e TYPE int", "--do", "DROP COLUMN d", "-s",
          "order=key", "-s", "ready=dual-write", "-s", "capture=row", "--job", "j", NULL);
    t_expect_status(&result, 0);
    t_sqlf("UPDATE %s SET e = 2", table);
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_run(&result, "finish", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    read_sent(start);
    t_expect("SELECT bool_or(sql ~ 'REVOKE ALL ON TABLE') AND bool_or(sql ~ 'AS IDENTITY')"
             "   AND bool_or(sql ~ 'EXCLUDE') FROM sent",
             "t");
    assert_string_equal(t_rows(UNSAID), "");
}

static void what_the_job_would_heed_is_told_and_refused_as_it_would_be(void)
{
    struct t_result result;

    create_orders();
    t_run(&result, "alter", "orders", "--dry-run", "-s", "limit.wal-rate=10MB", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "auto; no replica; limits: replica-lag-bytes 64MB");
    t_expect_out(&result, "wal-rate 10MB/s");
    t_expect_out(&result, "foreground-latency 3x");
    t_run(&result, "backfill", "orders", "--set", "note = 'x'", "--where", "id > 9", "--dry-run",
          "-s", "policy=fixed=10ms", "-s", "window=mon-sun 00:00-24:00", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "fixed=10ms, whatever the signals say; window mon-sun 00:00-24:00");
    t_run(&result, "alter", "orders", "--dry-run", "-s", "limit.query=5 SELECT nothing", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "limit.query=off");
    t_expect("SELECT count(*) FROM pg_namespace WHERE nspname = 'pghaul'", "0");
}

int main(void)
{
    static const char *const SETTINGS[] = {"log_statement = all", "log_line_prefix = '%a|'",
                                           "log_parameter_max_length = 0", "autovacuum = off",
                                           NULL};
    const struct CMUnitTest tests[] = {
        t_test(every_phase_is_printed_with_its_lock_and_its_sql),
        t_test(settings_and_options_show_in_what_is_printed),
        t_test(nothing_is_changed_and_nobody_waits),
        t_test(what_a_job_sends_is_what_was_printed),
        t_test(what_abort_sends_is_what_was_printed),
        t_test(the_same_of_a_table_that_is_out_of_the_ordinary),
        t_test(what_the_job_would_heed_is_told_and_refused_as_it_would_be),
    };

    t_sandbox_options.settings = SETTINGS;
    return T_MAIN(tests);
}
