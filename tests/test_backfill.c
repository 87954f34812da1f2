/*
 * Backfill: rows changed where they are, beside an application that changes them too.
 *
 * The oracles are SQL: a twin of the table to which one UPDATE did the same, a counter that must
 * have gone up by exactly one, the xmin of rows that were to be left alone.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "tests/harness.h"

/* Chunks of a few hundred rows, with a rest after each. */
#define SLOWLY(rest)                                                               \
    "-s", "span.size=64kB", "-s", "chunk.wal=64kB", "-s", "chunk.time=10ms", "-s", \
        "policy=fixed=" rest

#define JOB "backfill-t-1"

static const char STATE[] = "SELECT state FROM pghaul.job WHERE name = '" JOB "'";
static const char DONE_ROWS[] =
    "SELECT coalesce(sum(rows), 0) FROM pghaul.span WHERE phase = 'backfill'";
static const char WRONG[] = "SELECT count(*) FROM t WHERE n <> 1";

static void make_rows(int count)
{
    t_sqlf("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, other int NOT NULL "
           "DEFAULT 0, pad text);\n"
           "INSERT INTO t SELECT i, 0, 0, repeat('x', 50) FROM generate_series(1, %d) AS i;\n"
           "ANALYZE t",
           count);
}

static void wait_for_rows(int count)
{
    t_wait_until("SELECT to_regclass('pghaul.span') IS NOT NULL", "t", 30);
    t_wait_until(t_format("SELECT coalesce(sum(rows), 0) >= %d FROM pghaul.span WHERE phase = "
                          "'backfill'",
                          count),
                 "t", 30);
}

static void wait_ok(struct t_process *process)
{
    struct t_result result;

    t_wait(process, &result);
    t_expect_status(&result, 0);
}

static void kill_now(struct t_process *process)
{
    struct t_result result;

    t_kill(process, SIGKILL);
    t_wait(process, &result);
}

/* Nothing of a job but its history is left in the database. */
static void expect_nothing_left(void)
{
    t_expect("SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS s ON s.oid = c.relnamespace\n"
             " WHERE s.nspname = 'pghaul' AND c.relname ~ '^(todo|undo|skipped)_'",
             "0");
}

/* --------------------------------------------------------------------------------------------
 * values */

static const char TYPES[] =
    "CREATE EXTENSION citext;\n"
    "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');\n"
    "CREATE DOMAIN percent AS numeric(5, 1) CHECK (VALUE <= 100);\n"
    "CREATE TABLE t (id int PRIMARY KEY, a citext, j json, b jsonb, money numeric(10, 2), v "
    "varchar(5), c char(4), at timestamptz, p percent, m mood, l int[], d date, g int GENERATED "
    "ALWAYS AS (id * 2) STORED, maybe int, bits bit(3), ip inet);\n"
    "INSERT INTO t (id, a, b, money, v, c, at, p, m, l, maybe)\n"
    "    SELECT i, 'A' || i, '{}', i, 'v', 'c', 'epoch', 1, 'sad', '{1}', CASE WHEN i % 2 = 0 THEN "
    "i END FROM generate_series(1, 300) AS i;\n"
    "CREATE TABLE twin (LIKE t INCLUDING ALL);\n"
    "INSERT INTO twin (id, a, b, money, v, c, at, p, m, l, maybe)\n"
    "    SELECT id, a, b, money, v, c, at, p, m, l, maybe FROM t";

static void expect_like_update(const char *const *sets, int count)
{
    const char *list = sets[0];

    for (int i = 1; i < count; i++)
        list = t_format("%s, %s", list, sets[i]);
    t_sqlf("UPDATE twin SET %s", list);
    t_expect("SELECT count(*) FROM (SELECT t::text FROM t EXCEPT SELECT w::text FROM twin AS w) AS "
             "d",
             "0");
}

static void values_are_what_one_update_would_have_written(void)
{
    static const char *const COMPUTED[] = {
        "a = lower(a)",
        "j = json_build_object('id', id)",
        "b = b || jsonb_build_object('k', l)",
        "money = money / 3.0",
        "v = 'x' || id",
        "c = 'ab'",
        "at = at + interval '1 day' * id",
        "p = id / 7.0",
        "m = (ARRAY['ok', 'happy']::mood[])[id % 2 + 1]",
        "l = l || id",
        "d = at::date",
        "maybe = CASE WHEN maybe IS NULL THEN id END",
    };
    static const char *const LITERAL[] = {
        "a = 'Same'",    "j = '{\"a\":  1}'", "b = '[1]'",
        "money = 1.239", "at = '2020-01-01'", "p = 3",
        "m = 'happy'",   "l = '{1,2}'",       "d = '2020-02-03'",
        "maybe = NULL",  "bits = B'101'",     "ip = '10.0.0.1'",
    };

    t_sql(TYPES);
    t_runs(0, "backfill", "t", "--set", COMPUTED[0], "--set", COMPUTED[1], "--set", COMPUTED[2],
           "--set", COMPUTED[3], "--set", COMPUTED[4], "--set", COMPUTED[5], "--set", COMPUTED[6],
           "--set", COMPUTED[7], "--set", COMPUTED[8], "--set", COMPUTED[9], "--set", COMPUTED[10],
           "--set", COMPUTED[11]);
    expect_like_update(COMPUTED, 12);
    for (int i = 0; i < 12; i++) {
        t_runs(0, "backfill", "t", "--set", LITERAL[i]);
        expect_like_update(&LITERAL[i], 1);
    }
    t_expect("SELECT DISTINCT g - 2 * id FROM t", "0");
}

static void rows_that_are_right_to_the_byte_are_not_written(void)
{
    static const char XMINS[] = "SELECT string_agg(id || ':' || xmin, ' ' ORDER BY id) FROM t";
    const char *before;
    struct t_result result;

    t_sql("CREATE EXTENSION citext; CREATE TABLE t (id int PRIMARY KEY, z numeric, a citext, money "
          "numeric(10,2), j json);\n"
          "INSERT INTO t VALUES (1, 1.0, 'x', 2.25, '{}'), (2, 1.00, 'x', 2.25, '{}'), (3, 1.0, "
          "'X', 2.25, '{}'),\n"
          "    (4, 1.0, 'x', 2.24, '{}'), (5, 1.0, 'x', 2.25, '{ }'), (6, 1.0, 'x', 2.25, NULL);\n"
          "CREATE TABLE was AS SELECT id, xmin::text AS x FROM t");
    t_run(&result, "backfill", "t", "--set", "z = 1.0", "--set", "a = lower(a)", "--set",
          "money = 2.249", "--set", "j = '{}'", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "6 visited, 5 changed, 1 already right, 0 skipped");
    t_expect("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t JOIN was USING (id) WHERE "
             "t.xmin::text = x",
             "1");
    t_expect("SELECT count(DISTINCT (z::text, a::text, money, j::text)) FROM t", "1");
    before = t_text(XMINS);
    t_run(&result, "backfill", "t", "--set", "z = 1.0", "--set", "a = lower(a)", "--set",
          "money = 2.249", "--set", "j = '{}'", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "6 visited, 0 changed, 6 already right");
    assert_string_equal(t_text(XMINS), before);
}

static void a_value_that_varies_is_said_to(void)
{
    struct t_result result;

    t_sql("CREATE TABLE t (id int PRIMARY KEY, at timestamptz, x float8);\n"
          "INSERT INTO t SELECT i FROM generate_series(1, 50) AS i");
    for (int i = 0; i < 2; i++) {
        t_run(&result, "backfill", "t", "--set", i == 0 ? "at = now()" : "x = random()", NULL);
        t_expect_status(&result, 0);
        t_expect_out(&result, "another one each time");
    }
    t_expect("SELECT count(*) FROM t WHERE at IS NULL OR x IS NULL", "0");
    t_expect("SELECT count(DISTINCT x) > 40 FROM t", "t");
    t_run(&result, "backfill", "t", "--set", "x = 1", "--dry-run", NULL);
    t_expect_status(&result, 0);
    assert_null(strstr(result.out, "another one each time"));
}

/* -------------------------------------------------------------------------------------------- bad
 * input */

static void what_cannot_be_done_is_refused_before_anything_is_written(void)
{
    t_sql("CREATE TABLE t (id int PRIMARY KEY, n int, g int GENERATED ALWAYS AS (n) STORED, v "
          "varchar(3), i int GENERATED ALWAYS AS IDENTITY);\n"
          "INSERT INTO t (id, n, v) VALUES (1, 1, 'a');\n"
          "CREATE TABLE keyless (n int); CREATE VIEW w AS SELECT * FROM t");
    t_says(3, "\"gone\"", "backfill", "t", "--set", "gone = 1");
    t_says(3, "key", "backfill", "t", "--set", "id = 1");
    t_says(3, "g", "backfill", "t", "--set", "g = 1");
    t_says(3, "", "backfill", "t", "--set", "i = 1");
    t_says(3, "syntax error", "backfill", "t", "--set", "n = 1 +");
    t_says(3, "nowhere", "backfill", "t", "--set", "n = nowhere");
    t_says(3, "type", "backfill", "t", "--set", "n = v");
    t_says(3, "syntax for type integer", "backfill", "t", "--set", "n = 'x'");
    t_says(3, "aggregate", "backfill", "t", "--set", "n = count(*)");
    t_says(3, "sets", "backfill", "t", "--set", "n = generate_series(1, 2)");
    t_says(3, "window", "backfill", "t", "--set", "n = row_number() OVER ()");
    t_says(3, "multiple commands", "backfill", "t", "--set", "n = 1); DROP TABLE t; SELECT (1");
    t_says(3, "--where", "backfill", "t", "--set", "n = 2", "--where", "nonsense(");
    t_says(3, "boolean", "backfill", "t", "--set", "n = 2", "--where", "now()");
    t_says(3, "table nothing does not exist", "backfill", "nothing", "--set", "n = 1");
    t_says(3, "key", "backfill", "keyless", "--set", "n = 1");
    t_says(3, "", "backfill", "w", "--set", "n = 1");
    t_says(2, "twice", "backfill", "t", "--set", "n = 1", "--set", "N = 2");
    t_says(2, "--set", "backfill", "t");
    t_says(2, "--set", "backfill", "t", "--set", "n = 1", "--delete", "--where", "true");
    t_says(2, "--where", "backfill", "t", "--delete");
    t_says(2, "", "backfill", "t", "--set", "n");
    t_says(2, "not set", "backfill", "t", "--set", "n = n + 1", "--undo-set", "v = 1");
    t_says(2, "exclude", "backfill", "t", "--set", "n = n + 1", "--undo-set", "n = n - 1", "--undo",
           "saved");
    t_says(2, "deadlock_timeout", "backfill", "t", "--set", "n = 2", "-s", "chunk.time=5s");
    t_expect("SELECT n || v FROM t", "1a");
    t_expect("SELECT to_regclass('pghaul.job') IS NULL OR (SELECT count(*) = 0 FROM pg_class WHERE "
             "relname ~ '^(todo|undo|skipped)_')",
             "t");
}

/* --------------------------------------------------------------------------------------------
 * where */

static void where_and_delete_touch_only_their_rows(void)
{
    struct t_result result;

    make_rows(3000);
    t_run(&result, "backfill", "t", "--set", "n = n + 1", "--where", "id % 3 = 0 -- third", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "1000 changed");
    t_expect("SELECT count(*) FROM t WHERE n <> CASE WHEN id % 3 = 0 THEN 1 ELSE 0 END", "0");
    t_run(&result, "backfill", "t", "--delete", "--where", "n = 1", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT count(*) || ' ' || sum(n) FROM t", "2000 0");
    expect_nothing_left();
}

static void deleted_rows_that_were_saved_come_back(void)
{
    struct t_result result;

    t_sql("CREATE TABLE t (id int PRIMARY KEY, i int GENERATED ALWAYS AS IDENTITY, g int GENERATED "
          "ALWAYS AS (id + 1) STORED, j json, gone int);\n"
          "ALTER TABLE t DROP COLUMN gone;\n"
          "INSERT INTO t (id, j) SELECT i, '{}' FROM generate_series(1, 2000) AS i;\n"
          "CREATE TABLE twin AS SELECT * FROM t");
    t_runs(0, "backfill", "t", "--delete", "--where", "id > 500", "--undo", "saved");
    t_expect("SELECT count(*) FROM t", "500");
    t_sql("INSERT INTO t (id, j) VALUES (600, '{\"new\": 1}')");
    t_run(&result, "rollback", JOB, "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "1499 rows restored, 1 left");
    t_expect("SELECT count(*) FROM ((SELECT t::text FROM t WHERE id <> 600 EXCEPT SELECT w::text "
             "FROM twin AS w) UNION ALL (SELECT w::text FROM twin AS w WHERE id <> 600 EXCEPT "
             "SELECT t::text FROM t)) AS d",
             "0");
    t_expect("SELECT j::text FROM t WHERE id = 600", "{\"new\": 1}");
    expect_nothing_left();
}

/* A key that somebody is about to insert is waited for no longer than a lock, and put off. */
static void a_deleted_row_whose_place_is_being_taken_is_put_off(void)
{
    struct t_session *holder = t_session("the-holder");
    struct t_process *process;

    make_rows(2000);
    t_runs(0, "backfill", "t", "--delete", "--where", "true", "--undo", "saved");
    t_do(holder, "BEGIN; INSERT INTO t (id, n) VALUES (700, 7)");
    process = t_start("rollback", JOB, "--yes", NULL);
    t_wait_until("SELECT count(*) FROM t", "1999", 30);
    assert_true(t_running(process));
    t_do(holder, "ROLLBACK");
    t_limit(30);
    wait_ok(process);
    t_expect("SELECT count(*) FROM t", "2000");
}

/* -------------------------------------------------------------------------------------------- keys
 */

static void keys_of_every_kind_are_walked_to_their_end(void)
{
    static const struct {
        const char *columns;
        const char *rows; /* SELECT of the key's columns */
        const char *key;
    } KEYS[] = {
        {"a bigint", "SELECT (i - 700) * 1000000000::bigint FROM generate_series(1, 1500) AS i",
         "a"},
        {"a smallint", "SELECT i - 32768 FROM generate_series(0, 1500) AS i", "a"},
        {"a text COLLATE \"de-x-icu\", b int",
         "SELECT chr(65 + i % 58) || CASE i % 3 WHEN 0 THEN 'ä' WHEN 1 THEN 'a-' ELSE '' END || i "
         "/ "
         "7, i FROM generate_series(1, 1500) AS i",
         "a, b"},
        {"a uuid", "SELECT gen_random_uuid() FROM generate_series(1, 1500) AS i", "a"},
        {"a timestamptz, b char(3)",
         "SELECT 'epoch'::timestamptz + i / 4 * interval '1 us', chr(97 + i % 4) FROM "
         "generate_series(1, 1500) AS i",
         "a, b"},
        {"a citext",
         "SELECT CASE WHEN i % 2 = 0 THEN 'K' ELSE 'k' END || i FROM generate_series(1, "
         "1500) AS i",
         "a"},
        {"a numeric, b date",
         "SELECT i / 3.0, 'epoch'::date - i FROM generate_series(1, 1500) AS i", "a, b"},
        {"a float8, b boolean",
         "SELECT CASE WHEN i = 1 THEN 'NaN' WHEN i = 2 THEN '-Infinity' ELSE i / 7.0 END, i % 2 = "
         "0 "
         "FROM generate_series(1, 1500) AS i",
         "b, a"},
    };

    t_sql("CREATE EXTENSION citext");
    for (size_t i = 0; i < sizeof(KEYS) / sizeof(KEYS[0]); i++) {
        t_sqlf("DROP TABLE IF EXISTS t; CREATE TABLE t (%s, n int DEFAULT 0, PRIMARY KEY (%s));\n"
               "INSERT INTO t %s; ANALYZE t",
               KEYS[i].columns, KEYS[i].key, KEYS[i].rows);
        print_message("key %s\n", KEYS[i].columns);
        t_runs(0, "backfill", "t", "--set", "n = n + 1", SLOWLY("0ms"));
        t_expect(WRONG, "0");
    }
}

static void odd_names_are_quoted_everywhere(void)
{
    t_sql(
        "CREATE SCHEMA \"My \"\"Schema\";\n"
        "CREATE TABLE \"My \"\"Schema\".\"a b'c{d}\" (\"K k\"\"\" int, \"r\" text, \"select\" int "
        "DEFAULT 0, \"V'$1\" int DEFAULT 0, v1 int, o1 int, k int, at int, differs boolean, "
        "PRIMARY KEY (\"K k\"\"\", r));\n"
        "INSERT INTO \"My \"\"Schema\".\"a b'c{d}\" SELECT i, 'r' || i FROM generate_series(1, "
        "100) AS i");
    t_runs(0, "backfill", "\"My \"\"Schema\".\"a b'c{d}\"", "--set",
           "\"select\" = \"V'$1\" + 1 + \"K k\"\"\" - \"K k\"\"\"", "--set", "\"V'$1\" = length(r)",
           "--set", "at = 1", "--set", "differs = true", "--set", "k = \"select\"", "--undo",
           "saved", "--job", "odd");
    t_expect(
        "SELECT count(*) FROM \"My \"\"Schema\".\"a b'c{d}\" WHERE \"select\" = 1 AND \"V'$1\" "
        "= length(r) AND at = 1 AND differs AND k = 0",
        "100");
    t_runs(0, "rollback", "odd", "--yes");
    t_expect(
        "SELECT count(*) FROM \"My \"\"Schema\".\"a b'c{d}\" WHERE \"select\" = 0 AND \"V'$1\" "
        "= 0 AND at IS NULL AND differs IS NULL AND k IS NULL",
        "100");
}

static void tables_of_no_row_and_of_one(void)
{
    struct t_result result;

    t_sql("CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT 0)");
    t_run(&result, "backfill", "t", "--set", "n = n + 1", "--undo", "saved", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "0 visited, 0 changed");
    t_runs(0, "rollback", JOB, "--yes");
    t_sql("INSERT INTO t VALUES (-5)");
    t_run(&result, "backfill", "t", "--set", "n = n + 1", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "1 visited, 1 changed");
    t_expect("SELECT n FROM t", "1");
}

static void a_table_whose_next_batch_is_deleted_is_walked_on(void)
{
    struct t_process *process;

    make_rows(8000);
    process =
        t_start("backfill", "t", "--set", "n = n + 1", "--workers", "1", SLOWLY("100ms"), NULL);
    wait_for_rows(500);
    t_sql("DELETE FROM t WHERE id BETWEEN (SELECT max(id) FROM t WHERE n = 1) AND 7900");
    t_runs(0, "set", JOB, "policy=off");
    wait_ok(process);
    t_expect(WRONG, "0");
    t_expect("SELECT count(*) FROM t WHERE id > 7900", "100");
}

/* --------------------------------------------------------------------------------------------
 * termination */

static void ends_while_rows_are_inserted(const char *key, const char *value)
{
    struct t_process *process;

    t_fresh_database();
    t_sqlf("CREATE TABLE t (id %s PRIMARY KEY, n int DEFAULT 0, old boolean DEFAULT false);\n"
           "INSERT INTO t (id, old) SELECT %s, true FROM generate_series(1, 3000) AS i; ANALYZE t",
           key, value);
    t_busy(NULL, 0,
           t_format("INSERT INTO t (id) SELECT %s FROM generate_series(n * 10000, n * "
                    "10000 + 30) AS i; PERFORM pg_sleep(0.002);",
                    value));
    process = t_start("backfill", "t", "--set", "n = n + 1", "-s", "span.size=64kB", NULL);
    t_limit(60);
    wait_ok(process);
    t_idle();
    t_expect("SELECT count(*) FROM t WHERE old AND n <> 1", "0");
    t_expect("SELECT count(*) FROM t WHERE n > 1", "0");
}

static void a_table_that_grows_is_walked_to_the_end_that_it_had(void)
{
    ends_while_rows_are_inserted("bigint", "i");
    ends_while_rows_are_inserted("uuid", "gen_random_uuid()");
}

/* --------------------------------------------------------------------------------------------
 * neighbours */

static void rows_that_somebody_holds_are_put_off_and_he_is_named(void)
{
    struct t_session *holder = t_session("the-holder");
    struct t_process *process;
    struct t_result result;

    make_rows(3000);
    t_do(holder, "BEGIN; UPDATE t SET other = 1 WHERE id IN (5, 1500, 3000)");
    process = t_start("backfill", "t", "--set", "n = n + 1", "-v", NULL);
    t_wait_until("SELECT to_regclass('pghaul.todo_1') IS NOT NULL", "t", 30);
    t_wait_until("SELECT count(*) FROM pghaul.todo_1", "3", 30);
    t_wait_until("SELECT count(*) FROM t WHERE n = 1", "2997", 30);
    t_wait_until("SELECT reason ~ 'the-holder' FROM pghaul.job", "t", 30);
    t_run(&result, "status", JOB, NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "later");
    assert_true(t_running(process));
    t_do(holder, "COMMIT");
    t_limit(30);
    t_wait(process, &result);
    t_expect_status(&result, 0);
    t_expect_err(&result, t_format("%d", t_backend_pid(holder)));
    t_expect_out(&result, "3000 visited, 3000 changed, 0 already right");
    t_expect(WRONG, "0");
    t_expect("SELECT count(*) FROM t WHERE other = 1", "3");
    expect_nothing_left();
}

/* Who wrote before the job began may have inserted rows that nobody sees yet. */
static void rows_inserted_before_the_start_are_seen_when_they_are_committed_soon(void)
{
    struct t_session *writer = t_session("the-writer");
    struct t_process *process;
    struct t_result result;

    make_rows(100);
    t_do(writer, "BEGIN; INSERT INTO t (id, n) VALUES (-1, 0)");
    process = t_start("backfill", "t", "--set", "n = n + 1", "-v", NULL);
    t_wait_until("SELECT to_regclass('pghaul.todo_1') IS NOT NULL", "t", 30);
    t_do(writer, "COMMIT");
    wait_ok(process);
    t_expect("SELECT n FROM t WHERE id = -1", "1");

    /* He is not waited for for ever, and may have written something else. */
    t_do(writer, "BEGIN; INSERT INTO t (id, n) VALUES (-2, 0)");
    t_run(&result, "backfill", "t", "--set", "n = n + 1", NULL);
    t_expect_status(&result, 0);
    t_expect_err(&result, "rows that it inserted will not be seen");
    t_expect_err(&result, "the-writer");
    t_do(writer, "COMMIT");
    t_expect("SELECT n FROM t WHERE id = -2", "0");
}

/* A key in todo whose row is deleted, or is no longer one of --where, is no more to be done. */
static void a_row_that_was_put_off_and_is_gone_is_done(void)
{
    struct t_session *holder = t_session("the-holder");
    struct t_process *process;

    make_rows(100);
    t_do(holder, "BEGIN; DELETE FROM t WHERE id = 7; UPDATE t SET other = 1 WHERE id = 8");
    process = t_start("backfill", "t", "--set", "n = n + 1", "--where", "other = 0", NULL);
    t_wait_until("SELECT to_regclass('pghaul.todo_1') IS NOT NULL", "t", 30);
    t_wait_until("SELECT count(*) FROM t WHERE n = 1", "98", 30);
    t_do(holder, "COMMIT");
    t_limit(30);
    wait_ok(process);
    t_expect("SELECT count(*) || ' ' || sum(n) FROM t", "99 98");
}

/*
 * Between the snapshot in which a row is scanned and its lock somebody changes it and commits: the
 * value was computed from what is no more, and must not be written. The gate is shut by the scan of
 * row 1; a statement that waits there for too long is cut off and repeated, so each try is another
 * chance.
 */
static void a_row_that_is_changed_between_scan_and_lock_is_not_overwritten(void)
{
    struct t_process *process;
    int changes = 0;

    make_rows(100);
    t_sql("CREATE TABLE gate (id int);\n"
          "CREATE FUNCTION at_gate(int) RETURNS int LANGUAGE plpgsql VOLATILE AS $$\n"
          "BEGIN\n"
          "    IF $1 = 1 AND EXISTS (SELECT FROM gate) THEN PERFORM pg_sleep(0.2); END IF;\n"
          "    RETURN 1;\n"
          "END $$");
    t_sql("INSERT INTO gate VALUES (1)");
    process = t_start("backfill", "t", "--set", "n = n + at_gate(id)", "--undo", "saved", NULL);
    while (t_running(process)) {
        if (strcmp(
                t_text("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' "
                       "AND application_name LIKE 'pghaul backfill%')"),
                "t") == 0) {
            t_sql("BEGIN; SET LOCAL lock_timeout = '10ms'; UPDATE t SET n = n + 10 WHERE id = 50; "
                  "COMMIT");
            changes++;
            clock_sleep_ms(300);
        }
        clock_sleep_ms(5);
    }
    wait_ok(process);
    assert_true(changes > 0);
    t_expect(t_format("SELECT n - 10 * %d FROM t WHERE id = 50", changes), "1");
    t_expect("SELECT count(*) FROM t WHERE n <> 1 AND id <> 50", "0");
}

/* Rows in other orders, several in a transaction: nobody sees a deadlock or any other error. */
static void start_writers(int count)
{
    for (int i = 0; i < count; i++)
        t_busy(NULL, 0,
               "FOR k IN 1 .. 5 LOOP\n"
               "    UPDATE t SET other = other + 1 WHERE id = 1 + (random() * 9999)::int;\n"
               "END LOOP;");
}

static void every_row_is_changed_exactly_once_whatever_dies(void)
{
    struct t_result result;
    struct t_process *process;
    int kills = 0;

    make_rows(10000);
    process = t_start("backfill", "t", "--set", "n = n + 1", "--undo", "saved", "--workers", "1",
                      SLOWLY("250ms"), NULL);
    start_writers(3);
    wait_for_rows(1);
    srand(4711);
    for (; kills < 5; kills++) {
        struct t_process *second = t_start("resume", JOB, NULL);

        clock_sleep_ms(200 + rand() % 600);
        kill_now(process);
        process = second;
        assert_string_not_equal(t_text(STATE), "done");
    }
    t_runs(0, "set", JOB, "policy=off");
    t_wait(process, &result);
    t_expect_status(&result, 0);
    t_expect(STATE, "done");
    t_idle();
    t_expect(WRONG, "0");
    t_expect("SELECT count(*) || ' ' || count(DISTINCT k1) FROM pghaul.undo_1", "10000 10000");
    t_expect("SELECT to_regclass('pghaul.todo_1') IS NULL", "t");
    print_message("%d kills, %s\n", kills,
                  t_text("SELECT sum(chunks) || ' chunks, ' || sum(later) || ' put off' FROM "
                         "pghaul.span"));
}

/* --------------------------------------------------------------------------------------------
 * there and back */

static void rollback_restores_exactly_what_nobody_touched(void)
{
    struct t_process *process;
    struct t_result result;

    make_rows(6000);
    t_sql("UPDATE t SET n = id");
    t_runs(0, "backfill", "t", "--set", "n = 0", "--set", "pad = NULL", "--undo", "saved",
           "--where", "id <> 3", "--workers", "1", SLOWLY("50ms"));
    t_sql("UPDATE t SET n = 7 WHERE id % 5 = 1; UPDATE t SET pad = 'new' WHERE id % 5 = 2;\n"
          "DELETE FROM t WHERE id % 50 = 10; UPDATE t SET other = 1 WHERE id % 3 = 0;\n"
          "CREATE TABLE was AS SELECT * FROM t");
    for (int i = 0; i < 3; i++) {
        process = t_start("rollback", JOB, "--yes", NULL);
        t_wait_until(t_format("SELECT coalesce(sum(chunks), 0) > %d FROM pghaul.span WHERE phase = "
                              "'restore'",
                              i),
                     "t", 30);
        kill_now(process);
    }
    t_run(&result, "rollback", JOB, "--yes", NULL);
    t_expect_status(&result, 0);
    /* 120 deleted; 1200 and 1200 changed; row 3 never written. */
    t_expect_out(&result, "3479 rows restored, 2400 left");
    t_expect("SELECT count(*) FROM t JOIN was USING (id)\n"
             " WHERE (t.n, coalesce(t.pad, '-'), t.other) IS DISTINCT FROM\n"
             "       CASE WHEN id % 5 IN (1, 2) THEN (was.n, coalesce(was.pad, '-'), was.other)\n"
             "            ELSE (id, repeat('x', 50), was.other) END",
             "0");
    t_expect("SELECT count(*) FROM t", "5880");
    expect_nothing_left();
    t_runs(3, "finish", JOB, "--yes");
}

static void what_was_done_of_an_interrupted_backfill_is_rolled_back(void)
{
    struct t_session *holder = t_session("the-holder");
    struct t_process *process;

    make_rows(5000);
    t_do(holder, "BEGIN; UPDATE t SET other = 1 WHERE id < 4");
    process =
        t_start("backfill", "t", "--set", "n = n + 1", "--undo", "saved", SLOWLY("100ms"), NULL);
    wait_for_rows(500);
    kill_now(process);
    t_do(holder, "COMMIT");
    t_expect("SELECT count(*) BETWEEN 1 AND 4999 FROM t WHERE n = 1", "t");
    t_do(holder, "BEGIN; SELECT FROM t WHERE id = 9 FOR SHARE");
    t_runs(0, "set", JOB, "policy=off");
    process = t_start("rollback", JOB, "--yes", NULL);
    t_wait_until("SELECT count(*) FROM t WHERE n <> 0", "1", 30);
    assert_true(t_running(process));
    t_do(holder, "COMMIT");
    t_limit(30);
    wait_ok(process);
    t_expect("SELECT count(*) FROM t WHERE n <> 0", "0");
    t_expect(STATE, "rolled_back");
    expect_nothing_left();
}

static void an_inverse_is_run_over_every_row(void)
{
    make_rows(3000);
    t_runs(0, "backfill", "t", "--set", "n = n + 1", "--set", "pad = 'y'", "--undo-set",
           "n = n - 1", "--undo-set", "pad = NULL");
    t_expect(WRONG, "0");
    t_sql("UPDATE t SET n = 11 WHERE id = 5");
    t_runs(0, "rollback", JOB, "--yes");
    t_expect("SELECT count(*) FROM t WHERE n <> CASE WHEN id = 5 THEN 10 ELSE 0 END OR pad IS NOT "
             "NULL",
             "0");
    expect_nothing_left();
}

static void without_undo_there_is_no_way_back(void)
{
    make_rows(10);
    t_runs(0, "backfill", "t", "--set", "n = 1");
    t_says(3, "--undo saved", "rollback", JOB, "--yes");
    t_expect(WRONG, "0");
}

/* -------------------------------------------------------------------------------------------- rows
 * that fail */

static void a_row_that_fails_stops_the_job_and_is_named_and_resume_goes_on(void)
{
    struct t_result result;

    make_rows(15000);
    t_sql("UPDATE t SET other = id; UPDATE t SET other = 0 WHERE id = 14321");
    t_run(&result, "backfill", "t", "--set", "n = n + other / other", SLOWLY("0ms"), NULL);
    t_expect_status(&result, 1);
    t_expect_err(&result, "division by zero");
    t_expect_err(&result, "key (14321)");
    t_expect(STATE, "failed");
    t_expect("SELECT count(*) FROM t WHERE n > 1", "0");
    t_run(&result, "resume", JOB, NULL);
    t_expect_status(&result, 1);
    t_expect_err(&result, "14321");
    t_sql("UPDATE t SET other = 1 WHERE id = 14321");
    t_runs(0, "resume", JOB);
    t_expect(WRONG, "0");
    t_expect(STATE, "done");
}

static void a_value_that_is_too_long_is_told_with_its_key(void)
{
    t_sql("CREATE TABLE t (a int, b text, v varchar(3), c char(2), PRIMARY KEY (a, b));\n"
          "INSERT INTO t SELECT i, 'x y', 'abc', 'ab' FROM generate_series(1, 100) AS i");
    t_says(1, "key (77, x y)", "backfill", "t", "--set",
           "v = CASE WHEN a = 77 THEN 'abcd' ELSE 'abc' END");
    t_says(1, "too long", "resume", JOB);
    t_runs(0, "abort", JOB, "--yes");
    /* What is there already is what a cast would cut the value to. */
    t_says(1, "key (77, x y)", "backfill", "t", "--set",
           "c = CASE WHEN a = 77 THEN 'abc' ELSE 'ab' END");
}

static void rows_that_fail_are_left_and_recorded_when_asked_to(void)
{
    struct t_result result;

    make_rows(3000);
    t_sql("ALTER TABLE t ADD CHECK (n = 0 OR id % 1000 <> 7)");
    t_run(&result, "backfill", "t", "--set", "n = n + 1", "-s", "errors=skip", "--undo", "saved",
          NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "3000 visited, 2997 changed, 0 already right, 3 skipped");
    t_expect("SELECT string_agg(k1 || ' ' || sqlstate, ', ' ORDER BY k1) FROM pghaul.skipped_1",
             "7 23514, 1007 23514, 2007 23514");
    t_expect("SELECT count(*) || ' ' || sum(n) FROM t", "3000 2997");
    t_runs(0, "rollback", JOB, "--yes");
    t_expect("SELECT sum(n) FROM t", "0");
    expect_nothing_left();
}

/* --------------------------------------------------------------------------------------------
 * triggers, constraints */

static const char TRIGGER[] =
    "CREATE TABLE seen (id int);\n"
    "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN\n"
    "    INSERT INTO seen VALUES (NEW.id); RETURN CASE WHEN NEW.id % 10 <> 0 THEN NEW END; END "
    "$$;\n"
    "CREATE TRIGGER note_it BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note()";

static void triggers_fire_and_may_refuse_a_row(void)
{
    struct t_result result;

    make_rows(1000);
    t_sql(TRIGGER);
    t_run(&result, "backfill", "t", "--set", "n = n + 1", "--undo", "saved", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "note_it");
    t_expect_out(&result, "900 changed, 0 already right, 0 skipped, 100 kept as they were");
    t_expect("SELECT count(*) FROM t WHERE n <> CASE WHEN id % 10 = 0 THEN 0 ELSE 1 END", "0");
    t_expect("SELECT count(*) || ' ' || count(DISTINCT id) FROM seen", "1000 1000");
    t_expect("SELECT count(*) FROM pghaul.undo_1", "900");
}

static void triggers_are_skipped_when_asked_to_but_foreign_keys_never(void)
{
    struct t_result result;

    make_rows(1000);
    t_sql(TRIGGER);
    t_run(&result, "backfill", "t", "--set", "n = n + 1", "-s", "triggers=skip", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "note_it");
    t_expect(WRONG, "0");
    t_expect("SELECT count(*) FROM seen", "0");
    t_sql("UPDATE t SET other = id WHERE id % 10 <> 0; ALTER TABLE t DISABLE TRIGGER note_it;\n"
          "UPDATE t SET other = id; ALTER TABLE t ADD UNIQUE (other);\n"
          "CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t (other))");
    t_says(3, "child", "backfill", "t", "--set", "other = other + 10000", "-s", "triggers=skip");
    t_says(3, "child", "backfill", "child", "--set", "t = 5", "-s", "triggers=skip");
}

/* What triggers=skip does not skip, and what fires only then: said as it will be, and counted. */
static void triggers_that_fire_all_the_same_are_told_from_those_skipped(void)
{
    struct t_result result;

    make_rows(1000);
    t_sql(TRIGGER);
    t_sql("CREATE TRIGGER only_then BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note();\n"
          "ALTER TABLE t ENABLE REPLICA TRIGGER only_then");
    t_run(&result, "backfill", "t", "--set", "n = n + 1", "-s", "triggers=skip", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "only_then (BEFORE each row) will fire: ENABLE ALWAYS or REPLICA");
    t_expect_out(&result, "note_it (BEFORE each row) will NOT fire");
    t_expect_out(&result, "900 changed, 0 already right, 0 skipped, 100 kept as they were");
    t_expect("SELECT count(*) || ' ' || count(DISTINCT id) FROM seen", "1000 1000");
    t_runs(0, "finish", JOB, "--yes");
    t_sql("TRUNCATE seen; ALTER TABLE t ENABLE ALWAYS TRIGGER note_it;\n"
          "ALTER TABLE t DISABLE TRIGGER only_then");
    t_run(&result, "backfill", "t", "--set", "n = n + 1", "-s", "triggers=skip", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "note_it (BEFORE each row) will fire: ENABLE ALWAYS or REPLICA");
    t_expect("SELECT count(*) || ' ' || count(DISTINCT id) FROM seen", "1000 1000");
}

static void foreign_keys_fail_with_the_key_at_once_or_deferred(void)
{
    static const char *const WHEN[] = {"", "DEFERRABLE INITIALLY DEFERRED"};

    for (int i = 0; i < 2; i++) {
        t_fresh_database();
        make_rows(500);
        t_sqlf("CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent SELECT i FROM "
               "generate_series(0, 399) AS i;\n"
               "ALTER TABLE t ADD FOREIGN KEY (n) REFERENCES parent %s",
               WHEN[i]);
        t_says(1, "key (400)", "backfill", "t", "--set", "n = id");
        t_sql("INSERT INTO parent SELECT i FROM generate_series(400, 500) AS i");
        t_runs(0, "resume", JOB);
        t_expect("SELECT count(*) FROM t WHERE n <> id", "0");
        t_runs(0, "backfill", "t", "--set", "n = 1000 + id", "-s", "errors=skip", "--where",
               "id <= 20");
        t_expect("SELECT count(*) FROM pghaul.skipped_2", "20");
    }
}

/* Nobody's parent row is waited for: the child that needs it is put off. */
static void a_parent_that_somebody_holds_puts_the_child_off(void)
{
    struct t_session *holder = t_session("the-holder");
    struct t_process *process;

    make_rows(300);
    t_sql("CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent SELECT i FROM "
          "generate_series(0, 300) AS i;\n"
          "ALTER TABLE t ADD FOREIGN KEY (n) REFERENCES parent");
    t_do(holder, "BEGIN; DELETE FROM parent WHERE id = 200");
    process = t_start("backfill", "t", "--set", "n = id", NULL);
    t_wait_until("SELECT count(*) FROM t WHERE n = id", "299", 60);
    t_do(holder, "ROLLBACK");
    t_limit(30);
    wait_ok(process);
    t_expect("SELECT count(*) FROM t WHERE n <> id", "0");
}

static void a_unique_column_is_changed_where_that_is_possible(void)
{
    make_rows(2000);
    t_sql("UPDATE t SET other = id; ALTER TABLE t ADD UNIQUE (other)");
    t_runs(0, "backfill", "t", "--set", "other = other + 10000", "--undo", "saved");
    t_runs(0, "rollback", JOB, "--yes");
    t_expect("SELECT count(*) FROM t WHERE other <> id", "0");
    t_says(3, "duplicate key", "backfill", "t", "--set", "other = 5", "--where", "id IN (1, 15)");
}

/* --------------------------------------------------------------------------------------------
 * verbs */

/* From its first chunk on, a rollback is the job's own: nothing else is done to it meanwhile. */
static void a_rollback_that_is_interrupted_is_gone_on_with(void)
{
    struct t_process *process;
    struct t_result result;

    make_rows(5000);
    t_runs(0, "backfill", "t", "--set", "n = 1", "--undo", "saved", SLOWLY("100ms"), "-s",
           "workers=1");
    process = t_start("rollback", JOB, "--yes", NULL);
    t_wait_until("SELECT coalesce(sum(rows), 0) > 300 FROM pghaul.span WHERE phase = 'restore'",
                 "t", 30);
    t_kill(process, SIGINT);
    t_wait(process, &result);
    t_expect_status(&result, 5);
    t_expect_err(&result, "pghaul");
    t_says(3, "is not done", "finish", JOB, "--yes");
    t_says(3, "being rolled back", "abort", JOB, "--yes");
    t_says(3, "works on", "backfill", "t", "--set", "n = 2");
    t_runs(0, "set", JOB, "policy=off", "workers=2");
    t_run(&result, "resume", JOB, NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "5000 rows restored, 0 left");
    t_expect("SELECT count(*) FROM t WHERE n <> 0", "0");
    t_expect(STATE, "rolled_back");
    expect_nothing_left();
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* Its rows would change behind that one's back. */
static void a_rollback_beside_another_job_on_the_table_is_refused(void)
{
    make_rows(100);
    t_runs(0, "backfill", "t", "--set", "n = 1", "--undo", "saved");
    t_runs(0, "alter", "t", "--do", "ALTER COLUMN n TYPE bigint");
    t_says(3, "job alter-t-1 works on public.t", "rollback", JOB, "--yes");
    t_expect(STATE, "done");
    t_expect(WRONG, "0");
    t_runs(0, "abort", "alter-t-1", "--yes");
    t_runs(0, "rollback", JOB, "--yes");
    t_expect("SELECT count(*) FROM t WHERE n <> 0", "0");
}

/* The way back is planned over what is saved by then: nobody may save more behind it. */
static void a_follower_that_outlives_the_leader_writes_nothing_behind_a_rollback(void)
{
    struct t_process *leader, *follower;
    struct t_result result;

    make_rows(20000);
    leader = t_start("backfill", "t", "--set", "n = n + 1", "--undo", "saved", SLOWLY("50ms"), "-s",
                     "workers=1", NULL);
    wait_for_rows(500);
    follower = t_start("resume", JOB, NULL);
    t_wait_until("SELECT count(DISTINCT pid) >= 2 FROM pg_stat_activity\n"
                 " WHERE application_name LIKE 'pghaul " JOB " backfill %'",
                 "t", 30);
    kill_now(leader);
    t_run(&result, "rollback", JOB, "--yes", NULL);
    t_wait(follower, &result);
    t_expect("SELECT count(*) FROM t WHERE n <> 0", "0");
    t_expect(STATE, "rolled_back");
    expect_nothing_left();
}

/* It goes over every row, written or not. */
static void an_inverse_is_refused_before_the_job_is_done(void)
{
    struct t_process *process;
    struct t_result result;

    make_rows(5000);
    t_says(2, "exclude each other", "backfill", "t", "--set", "n = n + 1", "--undo-set",
           "n = n - 1", "-s", "errors=skip");
    process = t_start("backfill", "t", "--set", "n = n + 1", "--undo-set", "n = n - 1",
                      SLOWLY("100ms"), "-s", "workers=1", NULL);
    wait_for_rows(300);
    t_kill(process, SIGINT);
    t_wait(process, &result);
    t_says(3, "not done", "rollback", JOB, "--yes");
    t_runs(0, "set", JOB, "policy=off");
    t_runs(0, "resume", JOB);
    t_expect(WRONG, "0");
    t_runs(0, "rollback", JOB, "--yes");
    t_expect("SELECT count(*) FROM t WHERE n <> 0", "0");
}

/* A value that comes from another table goes with the row that it was computed for. */
static void values_from_other_tables_are_not_computed_from_two_moments(void)
{
    make_rows(3000);
    t_sql("CREATE TABLE map (cid int PRIMARY KEY, region text NOT NULL);\n"
          "INSERT INTO map SELECT i, 'r' || i FROM generate_series(1, 3000) AS i;\n"
          "ALTER TABLE t ADD COLUMN region text; UPDATE t SET other = id");
    t_busy(NULL, 0,
           "INSERT INTO map VALUES (10000 + n, 'r' || 10000 + n);"
           "UPDATE t SET other = (SELECT max(cid) FROM map)\n"
           " WHERE id = (SELECT 1 + max(cid) % 3000 FROM map);");
    t_runs(0, "backfill", "t", "--set",
           "region = (SELECT m.region FROM map AS m WHERE m.cid = "
           "r.other)",
           "-s", "chunk.wal=64kB");
    t_idle();
    t_expect("SELECT count(*) FROM t WHERE region IS NULL", "0");
}

static void a_statement_that_writes_beyond_its_keys_is_refused(void)
{
    const char *path = t_format("/tmp/pghaul-test-beyond-%d.sql", (int)getpid());

    make_rows(3000);
    write_file(path, "WITH k AS (SELECT id FROM t AS u WHERE :range(u))\n"
                     "UPDATE t AS y SET n = n + 1 WHERE EXISTS (SELECT FROM k)");
    t_says(3, "rows for a range of", "backfill", "t", "--sql-file", path, "-s", "chunk.rows=500",
           "-s", "workers=1");
    t_expect("SELECT count(*) FROM t WHERE n <> 0", "0");
    remove(path);
}

/* What a delete does beside cannot be taken back. */
static void a_delete_that_cascades_is_not_saved(void)
{
    make_rows(100);
    t_sql(
        "CREATE TABLE child (t int REFERENCES t ON DELETE CASCADE); INSERT INTO child VALUES (5)");
    t_says(3, "child_t_fkey", "backfill", "t", "--delete", "--where", "id < 10", "--undo", "saved");
    t_says(3, "must be type boolean", "backfill", "t", "--delete", "--where", "1");
    t_expect("SELECT count(*) FROM t", "100");
}

/* What does not go back stays saved, and another column of the table is nobody's business. */
static void a_rollback_that_meets_a_row_which_fails_stops_and_goes_on(void)
{
    make_rows(1000);
    t_runs(0, "backfill", "t", "--set", "n = 1", "--undo", "saved", "-s", "errors=skip");
    t_sql("ALTER TABLE t ADD COLUMN late int;\n"
          "ALTER TABLE t ADD CONSTRAINT c CHECK (id <> 500 OR n = 1)");
    t_says(1, "key (500)", "rollback", JOB, "--yes");
    t_sql("ALTER TABLE t DROP CONSTRAINT c");
    t_runs(0, "resume", JOB);
    t_expect("SELECT count(*) FROM t WHERE n <> 0", "0");
    expect_nothing_left();
}

static void one_of_the_first_rows_that_fails_is_named(void)
{
    make_rows(100);
    t_says(3, "key {7}", "backfill", "t", "--set", "n = 1 / (id - 7)");
    t_expect("SELECT count(*) FROM t WHERE n <> 0", "0");
}

/* An error of a trigger's own making is a row's; one of the statement is nobody's to skip. */
static void errors_of_any_class_are_a_rows_but_not_the_statements(void)
{
    static const char RAISE[] =
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN\n"
        "    IF NEW.id %% 100 = 7 THEN RAISE 'not this one' USING ERRCODE = '%s'; END IF;\n"
        "    RETURN NEW; END $$";

    make_rows(1000);
    t_sql(t_format(RAISE, "MY001"));
    t_sql("CREATE TRIGGER refuse BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION refuse()");
    t_says(3, "key {7}", "backfill", "t", "--set", "n = n + 1");
    t_sql(t_format(RAISE, "42501"));
    t_says(3, "tried on the first rows: not this one", "backfill", "t", "--set", "n = n + 1", "-s",
           "errors=skip");
    t_expect("SELECT count(*) FROM t WHERE n <> 0", "0");
    t_sql(t_format(RAISE, "MY001"));
    t_runs(0, "backfill", "t", "--set", "n = n + 1", "-s", "errors=skip");
    t_expect("SELECT string_agg(DISTINCT sqlstate, ' ') || ' ' || count(DISTINCT k1)\n"
             "  FROM pghaul.skipped_1",
             "MY001 10");
    t_expect("SELECT count(*) FROM t WHERE n <> CASE WHEN id % 100 = 7 THEN 0 ELSE 1 END", "0");
}

static void it_walks_by_another_unique_index(void)
{
    make_rows(3000);
    t_sql("ALTER TABLE t ADD COLUMN a text NOT NULL DEFAULT '', ADD COLUMN \"B c\" int NOT NULL "
          "DEFAULT 0;\n"
          "UPDATE t SET a = (id % 7)::text, \"B c\" = id;\n"
          "CREATE UNIQUE INDEX by_a ON t (a, \"B c\"); CREATE INDEX by_other ON t (other)");
    t_says(3, "is not unique", "backfill", "t", "--set", "n = 1", "-s", "key=other");
    t_says(3, "there is no index", "backfill", "t", "--set", "n = 1", "-s", "key=a");
    t_says(2, "cannot be", "backfill", "t", "--set", "n = 1", "-s", "key=a;b");
    t_runs(0, "backfill", "t", "--set", "n = n + 1", "-s", "key=a,\"B c\"", "-s", "chunk.wal=64kB");
    t_expect(WRONG, "0");
}

/* A statement of one's own, beside somebody who holds a row: exactly once, too. */
static void a_statement_of_ones_own_is_run_once_for_each_key(void)
{
    const char *path = t_format("/tmp/pghaul-test-%d.sql", (int)getpid());
    struct t_session *holder = t_session("holder");
    struct t_process *process;

    make_rows(5000);
    write_file(path, "UPDATE t SET n = 1");
    t_says(2, ":range(ALIAS)", "backfill", "t", "--sql-file", path);
    write_file(path, "UPDATE t AS u SET n = u.n + 1 FROM (VALUES (1)) AS v (x)\n"
                     " WHERE :range(u) AND v.x = 1;\n");
    t_says(2, "--sql-file goes with", "backfill", "t", "--sql-file", path, "--where", "true");
    t_do(holder, "BEGIN; SELECT FROM t WHERE id IN (1234, 2345) FOR UPDATE");
    process = t_start("backfill", "t", "--sql-file", path, "-s", "chunk.wal=64kB", NULL);
    t_wait_until("SELECT to_regclass('pghaul.todo_1') IS NOT NULL", "t", 30);
    t_wait_until("SELECT count(*) = 4998 FROM t WHERE n = 1", "t", 60);
    t_do(holder, "COMMIT");
    wait_ok(process);
    t_expect(WRONG, "0");
    remove(path);
    expect_nothing_left();
}

/* Not put off for ever as if somebody had it. */
static void a_statement_of_ones_own_skips_no_foreign_key(void)
{
    const char *path = t_format("/tmp/pghaul-test-%d.sql", (int)getpid());

    make_rows(10);
    t_sql("CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t)");
    write_file(path, "UPDATE child AS c SET t = 50 WHERE :range(c)");
    t_says(3, "foreign keys unchecked", "backfill", "child", "--sql-file", path, "-s",
           "triggers=skip");
    remove(path);
}

static void a_row_that_takes_too_long_by_itself_is_named(void)
{
    make_rows(100);
    t_sql("CREATE FUNCTION slow(id int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN\n"
          "    PERFORM pg_sleep(2) WHERE id = 60; RETURN 1; END $$");
    t_says(1, "key (60)", "backfill", "t", "--set", "n = slow(id)");
    t_sql("CREATE OR REPLACE FUNCTION slow(id int) RETURNS int LANGUAGE sql AS 'SELECT 1'");
    t_runs(0, "resume", JOB);
    t_expect(WRONG, "0");
}

static void it_waits_at_the_bloat_budget_or_vacuums(void)
{
    struct t_process *process;
    int64_t written;

    make_rows(50000);
    t_sql("ALTER TABLE t SET (autovacuum_enabled = off)");
    process = t_start("backfill", "t", "--set", "n = n + 1", "-s", "bloat.budget=1MB",
                      SLOWLY("30ms"), NULL);
    t_wait_until("SELECT to_regclass('pghaul.span') IS NOT NULL", "t", 30);
    t_wait_until("SELECT n_dead_tup * 90 > 1024 * 1024 FROM pg_stat_all_tables\n"
                 " WHERE relid = 't'::regclass",
                 "t", 60);
    clock_sleep_ms(3000); /* it looks once a second */
    written = t_int("SELECT count(*) FROM t WHERE n = 1");
    clock_sleep_ms(2000);
    assert_int_equal(t_int("SELECT count(*) FROM t WHERE n = 1"), written);
    assert_true(written < 50000);
    t_runs(0, "set", JOB, "vacuum=on", "policy=off", "chunk.wal=64MB");
    wait_ok(process);
    t_expect(WRONG, "0");
    t_expect("SELECT vacuum_count > 0 FROM pg_stat_all_tables WHERE relid = 't'::regclass", "t");
}

static void finish_and_abort_leave_only_history(void)
{
    struct t_process *process;
    struct t_result result;

    make_rows(5000);
    t_runs(0, "backfill", "t", "--set", "n = 1", "--undo", "saved");
    t_expect("SELECT count(*) FROM pghaul.undo_1", "5000");
    t_runs(0, "finish", JOB, "--yes");
    expect_nothing_left();
    t_says(3, "", "rollback", JOB, "--yes");
    process = t_start("backfill", "t", "--set", "n = 2", "--undo", "saved", SLOWLY("200ms"), NULL);
    t_wait_until("SELECT coalesce(sum(rows), 0) > 0 FROM pghaul.span WHERE job = 2", "t", 30);
    t_says(3, "backfill-t-2", "backfill", "t", "--set", "n = 3");
    t_runs(0, "abort", "backfill-t-2", "--yes");
    t_wait(process, &result);
    t_expect_status(&result, 5);
    t_expect("SELECT count(*) > 0 AND count(*) < 5000 FROM t WHERE n = 2", "t");
    expect_nothing_left();
}

static void pause_resume_and_workers_act_while_it_runs(void)
{
    static const char STATUS[] =
        "SELECT string_agg(k, ',' ORDER BY k) FROM json_object_keys($json$%s$json$) AS k WHERE k "
        "IN ('job', 'kind', 'table', 'state', 'phase', 'rows_done', 'percent')";
    struct t_process *process, *second;
    struct t_result result;
    int64_t rows;

    make_rows(8000);
    process = t_start("backfill", "t", "--set", "n = n + 1", SLOWLY("50ms"), NULL);
    wait_for_rows(300);
    t_runs(0, "pause", JOB);
    t_wait_until(STATE, "paused", 10);
    clock_sleep_ms(500); /* the other worker ends its chunk */
    rows = t_int(DONE_ROWS);
    clock_sleep_ms(500);
    assert_int_equal(t_int(DONE_ROWS), rows);
    t_run(&result, "status", JOB, "--json", NULL);
    t_expect_status(&result, 0);
    t_expect(t_format(STATUS, result.out), "job,kind,percent,phase,rows_done,state,table");
    t_runs(0, "set", JOB, "workers=4");
    t_runs(0, "set", JOB, "policy=fixed=2s");
    second = t_start("resume", JOB, NULL);
    t_wait_until(
        "SELECT count(*) >= 4 FROM pg_stat_activity WHERE datname = current_database() AND "
        "application_name LIKE 'pghaul backfill-t-1 backfill%'",
        "t", 20);
    t_runs(0, "set", JOB, "policy=off");
    wait_ok(process);
    wait_ok(second);
    t_expect(WRONG, "0");
}

static void a_signal_stops_it_and_resume_finishes(void)
{
    struct t_process *process;
    struct t_result result;

    make_rows(8000);
    process = t_start("backfill", "t", "--set", "n = n + 1", SLOWLY("50ms"), NULL);
    wait_for_rows(300);
    t_kill(process, SIGINT);
    t_wait(process, &result);
    t_expect_status(&result, 5);
    t_expect_err(&result, "continue: pghaul resume " JOB);
    t_runs(0, "set", JOB, "policy=off");
    t_runs(0, "resume", JOB);
    t_expect(WRONG, "0");
    t_says(3, "over", "resume", JOB);
}

static void a_dry_run_changes_nothing(void)
{
    struct t_result result;

    make_rows(1000);
    t_run(&result, "backfill", "t", "--set", "n = n + 1", "--undo", "saved", "--dry-run", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "SKIP LOCKED");
    t_expect("SELECT count(*) FROM t WHERE n <> 0", "0");
    t_expect("SELECT count(*) FROM pg_namespace WHERE nspname = 'pghaul'", "0");
}

static void with_json_every_line_is_an_object(void)
{
    struct t_result result;

    make_rows(1000);
    t_run(&result, "backfill", "t", "--set", "n = n + 1", "--json", NULL);
    t_expect_status(&result, 0);
    t_expect(t_format("SELECT count(*) FILTER (WHERE (l::json ->> 'event') IS NULL)\n"
                      "  FROM unnest(string_to_array(rtrim($json$%s$json$, E'\\n'), E'\\n')) AS l",
                      result.out),
             "0");
    t_expect_out(&result, "\"end\"");
    t_expect_out(&result, "\"done\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(values_are_what_one_update_would_have_written),
        t_test(rows_that_are_right_to_the_byte_are_not_written),
        t_test(a_value_that_varies_is_said_to),
        t_test(what_cannot_be_done_is_refused_before_anything_is_written),
        t_test(where_and_delete_touch_only_their_rows),
        t_test(deleted_rows_that_were_saved_come_back),
        t_test(a_deleted_row_whose_place_is_being_taken_is_put_off),
        t_test(keys_of_every_kind_are_walked_to_their_end),
        t_test(odd_names_are_quoted_everywhere),
        t_test(tables_of_no_row_and_of_one),
        t_test(a_table_whose_next_batch_is_deleted_is_walked_on),
        t_test(a_table_that_grows_is_walked_to_the_end_that_it_had),
        t_test(rows_that_somebody_holds_are_put_off_and_he_is_named),
        t_test(rows_inserted_before_the_start_are_seen_when_they_are_committed_soon),
        t_test(a_row_that_was_put_off_and_is_gone_is_done),
        t_test(a_row_that_is_changed_between_scan_and_lock_is_not_overwritten),
        t_test(every_row_is_changed_exactly_once_whatever_dies),
        t_test(rollback_restores_exactly_what_nobody_touched),
        t_test(what_was_done_of_an_interrupted_backfill_is_rolled_back),
        t_test(an_inverse_is_run_over_every_row),
        t_test(without_undo_there_is_no_way_back),
        t_test(a_row_that_fails_stops_the_job_and_is_named_and_resume_goes_on),
        t_test(a_value_that_is_too_long_is_told_with_its_key),
        t_test(rows_that_fail_are_left_and_recorded_when_asked_to),
        t_test(triggers_fire_and_may_refuse_a_row),
        t_test(triggers_are_skipped_when_asked_to_but_foreign_keys_never),
        t_test(triggers_that_fire_all_the_same_are_told_from_those_skipped),
        t_test(foreign_keys_fail_with_the_key_at_once_or_deferred),
        t_test(a_parent_that_somebody_holds_puts_the_child_off),
        t_test(a_unique_column_is_changed_where_that_is_possible),
        t_test(finish_and_abort_leave_only_history),
        t_test(pause_resume_and_workers_act_while_it_runs),
        t_test(a_signal_stops_it_and_resume_finishes),
        t_test(a_rollback_that_is_interrupted_is_gone_on_with),
        t_test(a_rollback_beside_another_job_on_the_table_is_refused),
        t_test(a_follower_that_outlives_the_leader_writes_nothing_behind_a_rollback),
        t_test(an_inverse_is_refused_before_the_job_is_done),
        t_test(values_from_other_tables_are_not_computed_from_two_moments),
        t_test(a_statement_that_writes_beyond_its_keys_is_refused),
        t_test(a_delete_that_cascades_is_not_saved),
        t_test(a_rollback_that_meets_a_row_which_fails_stops_and_goes_on),
        t_test(one_of_the_first_rows_that_fails_is_named),
        t_test(errors_of_any_class_are_a_rows_but_not_the_statements),
        t_test(it_walks_by_another_unique_index),
        t_test(a_statement_of_ones_own_is_run_once_for_each_key),
        t_test(a_statement_of_ones_own_skips_no_foreign_key),
        t_test(a_row_that_takes_too_long_by_itself_is_named),
        t_test(it_waits_at_the_bloat_budget_or_vacuums),
        t_test(a_dry_run_changes_nothing),
        t_test(with_json_every_line_is_an_object),
    };

    return T_MAIN(tests);
}
