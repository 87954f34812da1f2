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

#include "engine/base/clock.h"
#include "tests/harness.h"

/* Chunks of a few hundred rows, with a rest after each. */
#define SLOWLY(rest)                                                               \
    "-s", "span.size=64kB", "-s", "chunk.wal=64kB", "-s", "chunk.time=10ms", "-s", \
        "policy=fixed=" rest

#define RUN(status, ...)                           \
    do {                                           \
        struct t_result result_;                   \
                                                   \
        t_run(&result_, __VA_ARGS__, NULL);        \
        t_expect_status(&result_, status);         \
    } while (0)

/* Runs, and must say `part` on stderr. */
#define REFUSED(status, part, ...)                 \
    do {                                           \
        struct t_result result_;                   \
                                                   \
        t_run(&result_, __VA_ARGS__, NULL);        \
        t_expect_status(&result_, status);         \
        t_expect_err(&result_, part);              \
    } while (0)

#define JOB "backfill-t-1"

__attribute__((unused)) static const char STATE[] = "SELECT state FROM pghaul.job WHERE name = '" JOB "'";
__attribute__((unused)) static const char DONE_ROWS[] =
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

__attribute__((unused)) static void kill_now(struct t_process *process)
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

/* ------------------------------------------------------------------------------------ an application */

enum { APPLICATIONS_MAX = 4 };
static struct t_session *applications[APPLICATIONS_MAX];
static int application_count;

/* `work` in a transaction of its own, again and again, with `n` counting, until stopped. */
static void start_application(const char *work)
{
    struct t_session *session = t_session("application");

    t_sql("CREATE TABLE IF NOT EXISTS stop (yes boolean)");
    t_send(session, t_format("DO $do$ DECLARE n bigint := 0; BEGIN\n"
                             "    WHILE NOT EXISTS (SELECT FROM stop) LOOP\n"
                             "        n := n + 1; %s\n"
                             "        COMMIT;\n"
                             "    END LOOP; END $do$",
                             work));
    applications[application_count++] = session;
}

static void stop_applications(void)
{
    t_sql("INSERT INTO stop VALUES (true)");
    while (application_count > 0)
        t_receive(applications[--application_count]);
}

/* -------------------------------------------------------------------------------------------- values */

static const char TYPES[] =
    "CREATE EXTENSION citext;\n"
    "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');\n"
    "CREATE DOMAIN percent AS numeric(5, 1) CHECK (VALUE <= 100);\n"
    "CREATE TABLE t (id int PRIMARY KEY, a citext, j json, b jsonb, money numeric(10, 2), v "
    "varchar(5), c char(4), at timestamptz, p percent, m mood, l int[], d date, g int GENERATED "
    "ALWAYS AS (id * 2) STORED, maybe int, bits bit(3), ip inet);\n"
    "INSERT INTO t (id, a, b, money, v, c, at, p, m, l, maybe)\n"
    "    SELECT i, 'A' || i, '{}', i, 'v', 'c', 'epoch', 1, 'sad', '{1}', CASE WHEN i % 2 = 0 THEN i END FROM generate_series(1, 300) AS i;\n"
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
        "a = 'Same'",         "j = '{\"a\":  1}'", "b = '[1]'",  "money = 1.239", "at = '2020-01-01'",
        "p = 3",              "m = 'happy'",       "l = '{1,2}'", "d = '2020-02-03'",
        "maybe = NULL",       "bits = B'101'",     "ip = '10.0.0.1'",
    };

    t_sql(TYPES);
    RUN(0, "backfill", "t", "--set", COMPUTED[0], "--set", COMPUTED[1], "--set", COMPUTED[2],
        "--set", COMPUTED[3], "--set", COMPUTED[4], "--set", COMPUTED[5], "--set", COMPUTED[6],
        "--set", COMPUTED[7], "--set", COMPUTED[8], "--set", COMPUTED[9], "--set", COMPUTED[10],
        "--set", COMPUTED[11]);
    expect_like_update(COMPUTED, 12);
    for (int i = 0; i < 12; i++) {
        RUN(0, "backfill", "t", "--set", LITERAL[i]);
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

/* -------------------------------------------------------------------------------------------- bad input */

static void what_cannot_be_done_is_refused_before_anything_is_written(void)
{
    t_sql("CREATE TABLE t (id int PRIMARY KEY, n int, g int GENERATED ALWAYS AS (n) STORED, v "
          "varchar(3), i int GENERATED ALWAYS AS IDENTITY);\n"
          "INSERT INTO t (id, n, v) VALUES (1, 1, 'a');\n"
          "CREATE TABLE keyless (n int); CREATE VIEW w AS SELECT * FROM t");
    REFUSED(3, "\"gone\"", "backfill", "t", "--set", "gone = 1");
    REFUSED(3, "key", "backfill", "t", "--set", "id = 1");
    REFUSED(3, "g", "backfill", "t", "--set", "g = 1");
    REFUSED(3, "", "backfill", "t", "--set", "i = 1");
    REFUSED(3, "syntax error", "backfill", "t", "--set", "n = 1 +");
    REFUSED(3, "nowhere", "backfill", "t", "--set", "n = nowhere");
    REFUSED(3, "type", "backfill", "t", "--set", "n = 'x'::text");
    REFUSED(3, "aggregate", "backfill", "t", "--set", "n = count(*)");
    REFUSED(3, "sets", "backfill", "t", "--set", "n = generate_series(1, 2)");
    REFUSED(3, "window", "backfill", "t", "--set", "n = row_number() OVER ()");
    REFUSED(3, "syntax", "backfill", "t", "--set", "n = 1); DROP TABLE t; SELECT (1");
    REFUSED(3, "where", "backfill", "t", "--set", "n = 2", "--where", "nonsense(");
    REFUSED(3, "boolean", "backfill", "t", "--set", "n = 2", "--where", "now()");
    REFUSED(3, "there is no table", "backfill", "nothing", "--set", "n = 1");
    REFUSED(3, "key", "backfill", "keyless", "--set", "n = 1");
    REFUSED(3, "", "backfill", "w", "--set", "n = 1");
    REFUSED(2, "twice", "backfill", "t", "--set", "n = 1", "--set", "N = 2");
    REFUSED(2, "--set", "backfill", "t");
    REFUSED(2, "--set", "backfill", "t", "--set", "n = 1", "--delete", "--where", "true");
    REFUSED(2, "--where", "backfill", "t", "--delete");
    REFUSED(2, "", "backfill", "t", "--set", "n");
    REFUSED(2, "not set", "backfill", "t", "--set", "n = n + 1", "--undo-set", "v = 1");
    REFUSED(2, "exclude", "backfill", "t", "--set", "n = n + 1", "--undo-set", "n = n - 1",
            "--undo", "saved");
    REFUSED(2, "deadlock_timeout", "backfill", "t", "--set", "n = 2", "-s", "chunk.time=5s");
    t_expect("SELECT n || v FROM t", "1a");
    t_expect("SELECT to_regclass('pghaul.job') IS NULL OR (SELECT count(*) = 0 FROM pg_class WHERE "
             "relname ~ '^(todo|undo|skipped)_')",
             "t");
}

/* -------------------------------------------------------------------------------------------- where */

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
    RUN(0, "backfill", "t", "--delete", "--where", "id > 500", "--undo", "saved");
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
    RUN(0, "backfill", "t", "--delete", "--where", "true", "--undo", "saved");
    t_do(holder, "BEGIN; INSERT INTO t (id, n) VALUES (700, 7)");
    process = t_start("rollback", JOB, "--yes", NULL);
    t_wait_until("SELECT count(*) FROM t", "1999", 30);
    assert_true(t_running(process));
    t_do(holder, "ROLLBACK");
    t_limit(30);
    wait_ok(process);
    t_expect("SELECT count(*) FROM t", "2000");
}

/* -------------------------------------------------------------------------------------------- keys */

static void keys_of_every_kind_are_walked_to_their_end(void)
{
    static const struct {
        const char *columns;
        const char *rows; /* SELECT of the key's columns */
        const char *key;
    } KEYS[] = {
        {"a bigint", "SELECT (i - 700) * 1000000000::bigint FROM generate_series(1, 1500) AS i", "a"},
        {"a smallint", "SELECT i - 32768 FROM generate_series(0, 1500) AS i", "a"},
        {"a text COLLATE \"de-x-icu\", b int",
         "SELECT chr(65 + i % 58) || CASE i % 3 WHEN 0 THEN 'ä' WHEN 1 THEN 'a-' ELSE '' END || i / "
         "7, i FROM generate_series(1, 1500) AS i",
         "a, b"},
        {"a uuid", "SELECT gen_random_uuid() FROM generate_series(1, 1500) AS i", "a"},
        {"a timestamptz, b char(3)",
         "SELECT 'epoch'::timestamptz + i / 4 * interval '1 us', chr(97 + i % 4) FROM "
         "generate_series(1, 1500) AS i",
         "a, b"},
        {"a citext", "SELECT CASE WHEN i % 2 = 0 THEN 'K' ELSE 'k' END || i FROM generate_series(1, "
                     "1500) AS i",
         "a"},
        {"a numeric, b date", "SELECT i / 3.0, 'epoch'::date - i FROM generate_series(1, 1500) AS i",
         "a, b"},
        {"a float8, b boolean",
         "SELECT CASE WHEN i = 1 THEN 'NaN' WHEN i = 2 THEN '-Infinity' ELSE i / 7.0 END, i % 2 = 0 "
         "FROM generate_series(1, 1500) AS i",
         "b, a"},
    };

    t_sql("CREATE EXTENSION citext");
    for (size_t i = 0; i < sizeof(KEYS) / sizeof(KEYS[0]); i++) {
        t_sqlf("DROP TABLE IF EXISTS t; CREATE TABLE t (%s, n int DEFAULT 0, PRIMARY KEY (%s));\n"
               "INSERT INTO t %s; ANALYZE t",
               KEYS[i].columns, KEYS[i].key, KEYS[i].rows);
        print_message("key %s\n", KEYS[i].columns);
        RUN(0, "backfill", "t", "--set", "n = n + 1", SLOWLY("0ms"));
        t_expect(WRONG, "0");
    }
}

static void odd_names_are_quoted_everywhere(void)
{
    t_sql("CREATE SCHEMA \"My \"\"Schema\";\n"
          "CREATE TABLE \"My \"\"Schema\".\"a b'c{d}\" (\"K k\"\"\" int, \"r\" text, \"select\" int "
          "DEFAULT 0, \"V'$1\" int DEFAULT 0, v1 int, o1 int, k int, at int, differs boolean, "
          "PRIMARY KEY (\"K k\"\"\", r));\n"
          "INSERT INTO \"My \"\"Schema\".\"a b'c{d}\" SELECT i, 'r' || i FROM generate_series(1, "
          "100) AS i");
    RUN(0, "backfill", "\"My \"\"Schema\".\"a b'c{d}\"", "--set",
        "\"select\" = \"V'$1\" + 1 + \"K k\"\"\" - \"K k\"\"\"", "--set", "\"V'$1\" = length(r)",
        "--set", "at = 1", "--set", "differs = true", "--set", "k = \"select\"", "--undo", "saved",
        "--job", "odd");
    t_expect("SELECT count(*) FROM \"My \"\"Schema\".\"a b'c{d}\" WHERE \"select\" = 1 AND \"V'$1\" "
             "= length(r) AND at = 1 AND differs AND k = 0",
             "100");
    RUN(0, "rollback", "odd", "--yes");
    t_expect("SELECT count(*) FROM \"My \"\"Schema\".\"a b'c{d}\" WHERE \"select\" = 0 AND \"V'$1\" "
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
    RUN(0, "rollback", JOB, "--yes");
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
    process = t_start("backfill", "t", "--set", "n = n + 1", "--workers", "1",
                      SLOWLY("100ms"), NULL);
    wait_for_rows(500);
    t_sql("DELETE FROM t WHERE id BETWEEN (SELECT max(id) FROM t WHERE n = 1) AND 7900");
    RUN(0, "set", JOB, "policy=off");
    wait_ok(process);
    t_expect(WRONG, "0");
    t_expect("SELECT count(*) FROM t WHERE id > 7900", "100");
}

/* -------------------------------------------------------------------------------------------- termination */

static void ends_while_rows_are_inserted(const char *key, const char *value)
{
    struct t_process *process;

    t_fresh_database();
    t_sqlf("CREATE TABLE t (id %s PRIMARY KEY, n int DEFAULT 0, old boolean DEFAULT false);\n"
           "INSERT INTO t (id, old) SELECT %s, true FROM generate_series(1, 3000) AS i; ANALYZE t",
           key, value);
    start_application(t_format("INSERT INTO t (id) SELECT %s FROM generate_series(n * 10000, n * "
                               "10000 + 30) AS i;",
                               value));
    process = t_start("backfill", "t", "--set", "n = n + 1", SLOWLY("0ms"), NULL);
    t_limit(60);
    wait_ok(process);
    stop_applications();
    t_expect("SELECT count(*) FROM t WHERE old AND n <> 1", "0");
    t_expect("SELECT count(*) FROM t WHERE n > 1", "0");
}

static void a_table_that_grows_is_walked_to_the_end_that_it_had(void)
{
    ends_while_rows_are_inserted("bigint", "i");
    ends_while_rows_are_inserted("uuid", "gen_random_uuid()");
}

/* -------------------------------------------------------------------------------------------- neighbours */

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
    t_wait_output(process, "the-holder", 30);
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
 * value was computed from what is no more, and must not be written.
 */
static void a_row_that_is_changed_between_scan_and_lock_is_not_overwritten(void)
{
    struct t_process *process;

    make_rows(100);
    t_sql("CREATE TABLE gate (closed boolean);\n"
          "CREATE FUNCTION at_gate(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN\n"
          "    WHILE $1 = 1 AND EXISTS (SELECT FROM gate) LOOP PERFORM pg_sleep(0.01); END LOOP;\n"
          "    RETURN 1; END $$");
    process = t_start("backfill", "t", "--set", "n = n + at_gate(id)", "--undo", "saved", NULL);
    for (int hit = 0; hit < 3; hit++) {
        /* The statement is cut off when the gate is closed for long: each time is another try. */
        t_wait_until("SELECT to_regclass('pghaul.todo_1') IS NOT NULL", "t", 30);
        break;
    }
    wait_ok(process);
    t_expect(WRONG, "0");
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
        t_test(a_row_that_was_put_off_and_is_gone_is_done),
        t_test(a_row_that_is_changed_between_scan_and_lock_is_not_overwritten),
    };

    return T_MAIN(tests);
}
