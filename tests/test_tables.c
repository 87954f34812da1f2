/*
 * Tables that bite, and what travels with a table.
 *
 * Each goes the whole way twice: alter, cutover, rollback; then alter, cutover, finish. Writes run
 * at ready and after the swap, so that replay works in both directions. Two oracles, both outside
 * the program: rows as text, noted right before each swap and compared right after it; and the
 * whole database's definition as pg_dump prints it, which a plain rebuild must not change by one
 * byte (schema pghaul left out: so it also says that nothing of ours is left elsewhere).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"
#include "tests/oracle.h"

/* ---------------------------------------------------------------------------------------- oracles
 */

/* Rows of a table as text, to be compared later. */
static void remember(const char *table)
{
    t_sqlf("CREATE SCHEMA IF NOT EXISTS oracle;"
           "DROP TABLE IF EXISTS oracle.seen;"
           "CREATE TABLE oracle.seen AS SELECT r::text AS r FROM %s AS r",
           table);
}

static void expect_remembered(const char *table)
{
    t_expect(t_format("SELECT count(*) FROM"
                      " ((SELECT r::text FROM %s AS r EXCEPT ALL SELECT r FROM oracle.seen)"
                      "  UNION ALL"
                      "  (SELECT r FROM oracle.seen EXCEPT ALL SELECT r::text FROM %s AS r)) AS d",
                      table, table),
             "0");
    t_sql("DROP SCHEMA oracle CASCADE");
}

/* ------------------------------------------------------------------------------------------- ways
 */

/* A name for the next job of this test. */
static const char *next_job(void)
{
    static int count;

    return t_format("job-%d", ++count);
}

static void must(const char *verb, const char *job)
{
    struct t_result result;

    t_run(&result, verb, job, "--yes", NULL);
    t_expect_status(&result, 0);
}

static void expect_verified(const char *job)
{
    t_expect(t_format("SELECT state FROM pghaul.job WHERE name = '%s'", job), "ready");
}

/* `writes` can be run any number of times. */
static void rebuild_there_and_back(const char *table, const char *writes)
{
    const char *job = next_job();
    const char *before = definition();
    struct t_result result;

    t_run(&result, "alter", table, "--job", job, NULL);
    t_expect_status(&result, 0);
    expect_verified(job);
    t_sql(writes);
    remember(table);
    must("cutover", job);
    expect_remembered(table);
    t_sql(writes);
    remember(table);
    must("rollback", job);
    expect_remembered(table);
    same_definition(before);
    nothing_of_ours_is_left();
}

static void rebuild_for_good(const char *table, const char *writes)
{
    const char *job = next_job();
    const char *before = definition();
    struct t_result result;

    t_run(&result, "alter", table, "--job", job, NULL);
    t_expect_status(&result, 0);
    t_sql(writes);
    remember(table);
    must("cutover", job);
    expect_remembered(table);
    t_sql(writes);
    remember(table);
    must("finish", job);
    expect_remembered(table);
    same_definition(before);
    nothing_of_ours_is_left();
}

static void rebuild_both_ways(const char *table, const char *writes)
{
    rebuild_there_and_back(table, writes);
    rebuild_for_good(table, writes);
}

/* ------------------------------------------------------------------------------------------- keys
 */

static void a_composite_key_with_text_in_another_collation(void)
{
    t_sql("CREATE TABLE word (lang char(2) NOT NULL, word text COLLATE \"de-x-icu\" NOT NULL,"
          " n smallint NOT NULL, body varchar(40), PRIMARY KEY (lang, word, n));"
          "INSERT INTO word SELECT l, w || i, i % 3, 'b' || i FROM"
          " unnest(ARRAY['de', 'en', 'c ']) AS l, unnest(ARRAY['ä', 'a', 'A', 'z', 'Z', 'ß', '_',"
          " 'o''x', 'q\"', 'e\\', '', E'\\t', '%']) AS w, generate_series(1, 40) AS i");
    rebuild_both_ways("word", "UPDATE word SET word = word || 'ö' WHERE n = 1;"
                              "DELETE FROM word WHERE word LIKE 'Z%' AND n = 2;"
                              "UPDATE word SET body = NULL WHERE n = 0 AND lang = 'de'");
}

static void a_nondeterministic_collation_as_key(void)
{
    t_sql("CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2',"
          " deterministic = false);"
          "CREATE TABLE tag (name text COLLATE nocase PRIMARY KEY, n int NOT NULL);"
          "INSERT INTO tag SELECT 'Tag' || i, i FROM generate_series(1, 300) AS i");
    rebuild_both_ways("tag", "UPDATE tag SET name = upper(name) WHERE n % 3 = 0;"
                             "UPDATE tag SET name = lower(name) WHERE n % 3 = 1;"
                             "UPDATE tag SET n = n + 300 WHERE n % 5 = 0");
}

static void a_uuid_key(void)
{
    t_sql("CREATE TABLE session (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), n int, t text);"
          "INSERT INTO session (n, t) SELECT i, md5(i::text) FROM generate_series(1, 2000) AS i");
    rebuild_both_ways("session", "INSERT INTO session (n, t) SELECT i, 'new' FROM"
                                 " generate_series(1, 20) AS i;"
                                 "UPDATE session SET id = gen_random_uuid() WHERE n % 11 = 0;"
                                 "DELETE FROM session WHERE n % 13 = 5");
}

static void a_numeric_key_whose_equal_values_look_different(void)
{
    t_sql("CREATE TABLE price (v numeric PRIMARY KEY, note text);"
          "INSERT INTO price SELECT i / 10.0, 'n' FROM generate_series(1, 200) AS i;"
          "INSERT INTO price VALUES ('NaN', 'nan'), ('infinity', 'inf'), ('-infinity', 'minf')");
    rebuild_both_ways("price", "UPDATE price SET v = (v::text || '0')::numeric"
                               " WHERE v > 0 AND v < 'infinity'");
}

static void a_timestamp_and_bytea_and_bool_key(void)
{
    t_sql("CREATE TABLE event (at timestamptz, tag bytea, flag boolean, amount float8,"
          " PRIMARY KEY (at, tag, flag));"
          "INSERT INTO event SELECT 'epoch'::timestamptz + i * interval '1 hour', decode(md5("
          "i::text), 'hex'), i % 2 = 0, i FROM generate_series(1, 200) AS i;"
          "INSERT INTO event VALUES ('infinity', '', true, 'NaN'), ('-infinity', '\\x00', false,"
          " '-infinity'), ('infinity', '', false, '-0')");
    rebuild_both_ways("event", "UPDATE event SET flag = NOT flag WHERE amount BETWEEN 10 AND 30;"
                               "UPDATE event SET at = at + interval '1 minute' WHERE amount > 190");
}

static void a_key_that_is_a_unique_index_and_no_primary_key(void)
{
    t_sql("CREATE TABLE plain (b int NOT NULL, a text NOT NULL, c text);"
          "CREATE UNIQUE INDEX plain_u ON plain (a DESC, b) INCLUDE (c);"
          "INSERT INTO plain SELECT i, 'a' || i % 7, 'c' || i FROM generate_series(1, 500) AS i");
    rebuild_both_ways("plain", "UPDATE plain SET b = -b WHERE b % 5 = 0;"
                               "DELETE FROM plain WHERE b % 31 = 1");
}

static void a_key_over_a_domain_that_is_not_null(void)
{
    t_sql("CREATE DOMAIN positive AS int NOT NULL CHECK (VALUE > 0);"
          "CREATE DOMAIN code AS text COLLATE \"C\" CHECK (VALUE ~ '^[A-Z]+[0-9]+$');"
          "CREATE TABLE part (id positive, code code, extra positive DEFAULT 7,"
          " PRIMARY KEY (id, code));"
          "INSERT INTO part SELECT i, 'P' || i FROM generate_series(1, 400) AS i");
    rebuild_both_ways("part", "UPDATE part SET extra = extra + 1 WHERE id % 7 = 0;"
                              "UPDATE part SET id = id + 100000 WHERE id % 41 = 0;"
                              "DELETE FROM part WHERE id % 17 = 3");
}

static void deferrable_unique_and_primary_keys_beside_a_usable_key(void)
{
    t_sql("CREATE TABLE seat (row int NOT NULL, col int NOT NULL, guest int NOT NULL,"
          " UNIQUE (row, col),"
          " CONSTRAINT seat_pk PRIMARY KEY (guest) DEFERRABLE INITIALLY DEFERRED,"
          " CONSTRAINT seat_swap UNIQUE (guest, row) DEFERRABLE);"
          "COMMENT ON CONSTRAINT seat_pk ON seat IS 'later';"
          "INSERT INTO seat SELECT i / 10, i % 10, i FROM generate_series(0, 299) AS i");
    /* Guests exchange their seats: legal only because it is checked at the end. */
    rebuild_both_ways("seat", "BEGIN;"
                              "UPDATE seat SET guest = CASE WHEN guest % 2 = 0 THEN guest + 1 ELSE"
                              " guest - 1 END;"
                              "UPDATE seat SET guest = (guest + 10) % 300;"
                              "COMMIT");
    t_expect("SELECT count(DISTINCT guest) FROM seat", "300");
}

/* ------------------------------------------------------------------------------------------ sizes
 */

static void a_table_with_no_rows(void)
{
    t_sql("CREATE TABLE none (id int PRIMARY KEY, t text)");
    rebuild_there_and_back("none", "SELECT 1");
    rebuild_both_ways("none", "INSERT INTO none SELECT coalesce(max(id), 0) + 1, 't' FROM none");
    t_expect("SELECT count(*) FROM none", "4");
}

static void a_table_with_one_row_that_goes_away(void)
{
    t_sql("CREATE TABLE one (id int PRIMARY KEY, t text); INSERT INTO one VALUES (1, 'x')");
    rebuild_there_and_back("one", "SELECT 1");
    rebuild_there_and_back("one", "DELETE FROM one");
    t_expect("SELECT count(*) FROM one", "0");
    t_sql("INSERT INTO one VALUES (1, NULL)");
    rebuild_for_good("one", "UPDATE one SET id = id + 1");
    t_expect("SELECT id FROM one", "3");
}

static void wide_rows_with_toast(void)
{
    t_sql("CREATE TABLE doc (id int PRIMARY KEY, a text, b text, c bytea);"
          "ALTER TABLE doc ALTER a SET STORAGE EXTERNAL, ALTER b SET STORAGE MAIN;"
          "INSERT INTO doc SELECT i, repeat(md5(i::text), 1000), repeat('x', 200000),"
          " decode(repeat(md5(i::text), 600), 'hex') FROM generate_series(1, 60) AS i");
    rebuild_both_ways("doc", "UPDATE doc SET a = a || 'y' WHERE id % 7 = 0;"
                             "UPDATE doc SET id = id + 1000 WHERE id % 10 = 1;"
                             "UPDATE doc SET c = NULL WHERE id = 22");
}

static void two_hundred_columns(void)
{
    t_sql("DO $$ BEGIN EXECUTE 'CREATE TABLE broad (id int PRIMARY KEY, ' || (SELECT"
          " string_agg(format('column_number_%s %s', i, (ARRAY['int', 'text', 'numeric(12,2)',"
          " 'timestamptz'])[i % 4 + 1]), ', ') FROM generate_series(1, 199) AS i) || ')'; END $$;"
          "INSERT INTO broad (id, column_number_1, column_number_199) SELECT i, 't', now() FROM"
          " generate_series(1, 300) AS i");
    rebuild_both_ways("broad", "UPDATE broad SET column_number_2 = id, column_number_198 = 1.5"
                               " WHERE id % 9 = 0; DELETE FROM broad WHERE id % 50 = 7");
}

static void dropped_columns_in_the_middle(void)
{
    t_sql("CREATE TABLE holes (x int, id int, a text, y text, b int, z int, c text);"
          "ALTER TABLE holes DROP x, DROP y, DROP z, ADD d date DEFAULT '2020-02-02';"
          "ALTER TABLE holes ADD PRIMARY KEY (id);"
          "CREATE INDEX holes_b ON holes (b, lower(c));"
          "COMMENT ON COLUMN holes.b IS 'after a hole';"
          "CREATE ROLE hole_reader; GRANT SELECT (c) ON holes TO hole_reader;"
          "INSERT INTO holes SELECT i, 'a', i, 'c' || i FROM generate_series(1, 300) AS i");
    rebuild_both_ways("holes", "UPDATE holes SET a = c, b = b + 1 WHERE id % 7 = 0;"
                               "INSERT INTO holes (id) SELECT max(id) + 1 FROM holes");
    t_sql("DROP OWNED BY hole_reader; DROP ROLE hole_reader");
}

/* ------------------------------------------------------------------- columns that make their value
 */

static void generated_columns(void)
{
    t_sql("CREATE TABLE area (id int PRIMARY KEY, w numeric(8,2), h numeric(8,2),"
          " a numeric GENERATED ALWAYS AS (w * h) STORED, label text GENERATED ALWAYS AS"
          " ('#' || id::text) STORED NOT NULL, CONSTRAINT positive CHECK (a >= 0));"
          "CREATE INDEX area_a ON area (a);"
          "INSERT INTO area SELECT i, i, 2 FROM generate_series(1, 300) AS i");
    rebuild_both_ways("area", "UPDATE area SET w = w + 1 WHERE id % 7 = 0;"
                              "UPDATE area SET id = id + 1000 WHERE id % 50 = 1;"
                              "INSERT INTO area SELECT max(id) + 1, 3, 4 FROM area");
}

static void identity_columns(void)
{
    t_sql("CREATE TABLE ticket (id int GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT 3) PRIMARY"
          " KEY, no bigint GENERATED BY DEFAULT AS IDENTITY (MINVALUE 5 CACHE 7 CYCLE), t text);"
          "COMMENT ON SEQUENCE ticket_id_seq IS 'tickets';"
          "INSERT INTO ticket (t) SELECT 't' FROM generate_series(1, 200)");
    rebuild_both_ways("ticket", "INSERT INTO ticket (t) SELECT 'new' FROM generate_series(1, 5);"
                                "UPDATE ticket SET t = 'u' WHERE id % 7 = 0;"
                                "DELETE FROM ticket WHERE id = (SELECT max(id) FROM ticket)");
    /* no value was ever issued twice, although the greatest one was deleted each time */
    t_expect("SELECT max(id) >= 100 + 3 * (200 + 4 * 5 - 2) FROM ticket", "t");
    t_fails("INSERT INTO ticket (id) VALUES (1)", "428C9");
}

static void a_serial_past_the_end_of_integer(void)
{
    struct t_result result;

    t_sql("CREATE TABLE item (id serial PRIMARY KEY, t text);"
          "INSERT INTO item (t) SELECT 't' FROM generate_series(1, 200);"
          "SELECT setval('item_id_seq', 2147483640)");
    t_run(&result, "alter", "item", "--do", "ALTER COLUMN id TYPE bigint", "--job", "wide", NULL);
    t_expect_status(&result, 0);
    t_sql("INSERT INTO item (t) VALUES ('last')");
    remember("item");
    must("cutover", "wide");
    expect_remembered("item");
    t_sql("INSERT INTO item (t) SELECT 'far' FROM generate_series(1, 20)");
    t_expect("SELECT max(id) FROM item", "2147483661");
    t_expect("SELECT pg_get_serial_sequence('item', 'id')", "public.item_id_seq");
    /* 14 of them cannot go back */
    t_run(&result, "rollback", "wide", "--yes", NULL);
    t_expect_status(&result, 9);
    t_expect_err(&result, "14 rows cannot go back");
    t_expect("SELECT count(*) FROM item", "221");
    t_sql("DELETE FROM item WHERE id > 2147483647");
    remember("item");
    must("rollback", "wide");
    expect_remembered("item");
    t_expect("SELECT format_type(atttypid, -1) FROM pg_attribute WHERE attrelid ="
             " 'item'::regclass AND attname = 'id'",
             "integer");
    t_run(&result, "alter", "item", "--do", "ALTER COLUMN id TYPE bigint", "--job", "wide2",
          "--cutover", "now", "--yes", NULL);
    t_expect_status(&result, 0);
    must("finish", "wide2");
    t_sql("INSERT INTO item (t) VALUES ('end')");
    t_expect("SELECT max(id) > 2147483647 FROM item", "t");
}

static void a_serial_is_what_it_was_after_a_rollback(void)
{
    const char *before;
    struct t_result result;

    t_sql("CREATE TABLE item (id serial PRIMARY KEY, t text); CREATE TABLE issued (n int8 PRIMARY"
          " KEY);"
          "INSERT INTO item (t) SELECT 't' FROM generate_series(1, 200)");
    before = definition();
    t_run(&result, "alter", "item", "--do", "ALTER COLUMN id TYPE bigint", "--job", "there", NULL);
    t_expect_status(&result, 0);
    t_sql("INSERT INTO issued SELECT nextval('item_id_seq')");
    must("cutover", "there");
    t_expect("SELECT data_type FROM pg_sequences WHERE sequencename = 'item_id_seq'", "bigint");
    t_sql("INSERT INTO issued SELECT nextval('item_id_seq')");
    must("rollback", "there");
    same_definition(before);
    t_sql("INSERT INTO issued SELECT nextval('item_id_seq')");
    t_expect("SELECT string_agg(n::text, ' ' ORDER BY n) FROM issued", "201 202 203");
    /* past the end of integer it stays what it is, and that is said */
    t_run(&result, "alter", "item", "--do", "ALTER COLUMN id TYPE bigint", "--job", "far",
          "--cutover", "now", "--yes", NULL);
    t_expect_status(&result, 0);
    t_sql("SELECT setval('item_id_seq', 2147483648)");
    t_run(&result, "rollback", "far", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect_err(&result, "sequence \"public\".\"item_id_seq\" stays bigint");
    t_expect("SELECT data_type FROM pg_sequences WHERE sequencename = 'item_id_seq'", "bigint");
    t_expect("SELECT nextval('item_id_seq')", "2147483649");
    nothing_of_ours_is_left();
}

static void an_identity_past_the_end_of_integer(void)
{
    struct t_result result;

    t_sql("CREATE TABLE item (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, t text);"
          "INSERT INTO item (t) SELECT 't' FROM generate_series(1, 200);"
          "ALTER TABLE item ALTER id RESTART WITH 2147483640");
    t_run(&result, "alter", "item", "--do", "ALTER COLUMN id TYPE bigint", "--job", "wide",
          "--cutover", "now", "--yes", NULL);
    t_expect_status(&result, 0);
    t_sql("INSERT INTO item (t) SELECT 'far' FROM generate_series(1, 20)");
    t_expect("SELECT max(id) FROM item", "2147483659");
    t_sql("DELETE FROM item WHERE id > 2147483647");
    must("rollback", "wide");
    /* nothing below was issued before, and nothing above fits: exhausted, never twice */
    t_fails("INSERT INTO item (t) VALUES ('again')", "2200H");
}

/* 'abcdef' must not be taken for 'abc' because a varchar(3) would cut it. */
static void a_wider_text_key_does_not_touch_other_rows_on_the_way_back(void)
{
    struct t_result result;

    t_sql("CREATE TABLE code (id varchar(3) PRIMARY KEY, v text);"
          "INSERT INTO code SELECT 'c' || i, 'v' FROM generate_series(10, 99) AS i");
    t_run(&result, "alter", "code", "--do", "ALTER COLUMN id TYPE varchar(10)", "--job", "wide",
          "-s", "settle=off", "--cutover", "now", "--yes", NULL);
    t_expect_status(&result, 0);
    t_sql("INSERT INTO code VALUES ('c10more', 'new'); UPDATE code SET v = 'u' WHERE id = 'c20'");
    t_run(&result, "rollback", "wide", "--yes", NULL);
    t_expect_status(&result, 9);
    t_sql("DELETE FROM code WHERE id = 'c10more'");
    remember("code");
    must("rollback", "wide");
    expect_remembered("code");
    t_expect("SELECT count(*) FROM code", "90");
}

static void an_integer_key_that_became_numeric_goes_back(void)
{
    struct t_result result;

    t_sql("CREATE TABLE num (id int PRIMARY KEY, v text);"
          "INSERT INTO num SELECT i, 'v' FROM generate_series(1, 100) AS i");
    t_run(&result, "alter", "num", "--do", "ALTER COLUMN id TYPE numeric", "--job", "wide",
          "--cutover", "now", "--yes", NULL);
    t_expect_status(&result, 0);
    t_sql("INSERT INTO num VALUES (1e30, 'n'), ('NaN', 'n'), (7.4, 'n');"
          "DELETE FROM num WHERE v = 'n'; UPDATE num SET v = 'u' WHERE id = 8;"
          "INSERT INTO num VALUES (101, 'new')");
    remember("num");
    must("rollback", "wide");
    expect_remembered("num");
}

/* Shadows are made in schema pghaul, where tables called job and event are already. */
static void tables_that_are_called_as_ours_are(void)
{
    static const char *const NAMES[] = {"job", "phase", "span", "event", "sample", "version"};

    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        t_sqlf("CREATE TABLE public.%s (id int PRIMARY KEY, name text UNIQUE, job int);"
               "CREATE INDEX %s_job ON public.%s (job);"
               "INSERT INTO public.%s SELECT i, 'n' || i, i FROM generate_series(1, 50) AS i",
               NAMES[i], NAMES[i], NAMES[i], NAMES[i]);
        rebuild_there_and_back(t_format("public.%s", NAMES[i]),
                               t_format("UPDATE public.%s SET job = job + 1", NAMES[i]));
    }
}

/* ------------------------------------------------------------------------------------------ names
 */

static void quoted_and_long_names(void)
{
    /* 63 bytes each; the multibyte ones are cut by nobody in the middle of a character */
    static const char table[] =
        "\"Straße mit \"\"Anführung\"\" und sehr langem Namen ääääääääääää\"";
    const char *column = "\"Größe; DROP TABLE x --ääääääääääääääääääääääääääääääääääää\"";

    t_sqlf("CREATE SCHEMA \"My Schema.x\";"
           "CREATE TABLE \"My Schema.x\".%s (%s int CONSTRAINT \"pk %%s {to} $1 äääääääääääääääääää"
           "äääääääääääääääääääää\" PRIMARY KEY, \"select\" text, \"a'b\\c\" text DEFAULT"
           " 'it''s \\ {from}', \"{to}\" int, \"$1\" int);"
           "CREATE INDEX \"index of %% ööööööööööööööööööööööööööööööööööööööööööööööööööööö\""
           " ON \"My Schema.x\".%s (\"a'b\\c\", (\"{to}\" + \"$1\")) WHERE \"select\" > '{k}';"
           "CREATE STATISTICS \"My Schema.x\".\"Stat 1\" ON \"select\", \"{to}\" FROM"
           " \"My Schema.x\".%s;"
           "INSERT INTO \"My Schema.x\".%s SELECT i, 's' || i, NULL, i, i FROM"
           " generate_series(1, 300) AS i",
           table, column, table, table, table);
    rebuild_both_ways(t_format("\"My Schema.x\".%s", table),
                      t_format("UPDATE \"My Schema.x\".%s SET \"a'b\\c\" = 'x', \"{to}\" = NULL"
                               " WHERE %s %% 7 = 0;"
                               "DELETE FROM \"My Schema.x\".%s WHERE %s %% 50 = 3",
                               table, column, table, column));
}

static void names_of_63_bytes(void)
{
    char t[64], c[64], i[64], s[64];

    memset(t, 't', 63);
    memset(c, 'c', 63);
    memset(i, 'i', 63);
    memset(s, 's', 63);
    t[63] = c[63] = i[63] = s[63] = '\0';
    t_sqlf("CREATE SCHEMA %s; CREATE TABLE %s.%s (%s serial PRIMARY KEY, v text);"
           "CREATE INDEX %s ON %s.%s (v); INSERT INTO %s.%s (v) SELECT 'v' || n FROM"
           " generate_series(1, 200) AS n",
           s, s, t, c, i, s, t, s, t);
    rebuild_both_ways(t_format("%s.%s", s, t),
                      t_format("INSERT INTO %s.%s (v) VALUES ('new'); UPDATE %s.%s SET v = v || 'x'"
                               " WHERE %s %% 9 = 0",
                               s, t, s, t, c));
}

static void a_schema_that_is_not_in_the_search_path_hides_nothing(void)
{
    t_sql("CREATE SCHEMA far; CREATE SCHEMA near;"
          "CREATE TABLE near.orders (id int PRIMARY KEY, t text);"
          "CREATE TABLE far.orders (id int PRIMARY KEY, t text);"
          "CREATE TYPE far.mood AS ENUM ('sad', 'ok');"
          "CREATE FUNCTION far.twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2';"
          "ALTER TABLE far.orders ADD m far.mood DEFAULT 'ok', ADD CHECK (far.twice(id) > 0);"
          "CREATE INDEX ON far.orders (far.twice(id));"
          "INSERT INTO near.orders VALUES (1, 'near');"
          "INSERT INTO far.orders SELECT i, 'far' FROM generate_series(1, 100) AS i;"
          "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = near',"
          " current_database()); END $$");
    rebuild_both_ways("far.orders", "UPDATE far.orders SET m = 'sad' WHERE id % 7 = 0;"
                                    "DELETE FROM far.orders WHERE id = (SELECT max(id) FROM"
                                    " far.orders)");
    rebuild_both_ways("near.orders", "UPDATE near.orders SET t = t || 'x'");
    t_expect("SELECT t FROM near.orders", "nearxxxx");
}

/* ------------------------------------------------------------------------------------------ types
 */

static void types_that_bite(void)
{
    t_sql("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');"
          "CREATE TYPE address AS (street text, no int, moods mood[]);"
          "CREATE DOMAIN percent AS numeric(5,2) CHECK (VALUE BETWEEN 0 AND 100);"
          "CREATE TABLE bite (id bigint PRIMARY KEY, m mood, a address, aa address[],"
          " p percent, pp percent[], grid int[][], j json, jb jsonb, x xml, pt point, bx box,"
          " tv tsvector, tq tsquery, f4 real, f8 float8, n numeric, mo money, ch char(5),"
          " bi bit(5), bv varbit, inet inet, mac macaddr, r int4range, mr int4multirange,"
          " iv interval, tm time, tz timetz, d date, ts timestamp, tsz timestamptz, o oid, na name,"
          " rc regclass, by bytea, pl pg_lsn, jp jsonpath);"
          "INSERT INTO bite VALUES"
          " (1, 'ok', ROW('a \"q\" (x),', 1, '{sad,NULL}'), ARRAY[ROW('', NULL, '{}')::address,"
          "  NULL], 12.5, '{1,2,NULL}', '[0:1][2:3]={{1,2},{3,NULL}}', '{\"b\": 1,  \"a\":1.0,"
          " \"a\":2}', '{\"n\": 1.00}', '<a b=\"c\"><!-- x --></a>', '(1,NaN)', '((0,0),(1,1))',"
          " 'a:1A fat:2B', 'a & !b', 'NaN', '-0', '1.000', '12.34', 'ab', '10101', '101',"
          " '10.0.0.1/8', '08:00:2b:01:02:03', '[1,5)', '{[1,2),[5,7)}', '1 mon -1 day 25:00',"
          " '24:00', '12:00+02', 'infinity', '-infinity', '2024-10-27 02:30+01', 4294967295,"
          " 'n', 'pg_class', '\\x00ff', 'FFFFFFFF/FFFFFFFF', '$.a[*] ? (@ > 1)'),"
          " (2, NULL, NULL, '{}', NULL, '{}', '{}', 'null', 'null', '', '(-0,0)', NULL, '', NULL,"
          " '-infinity', 'infinity', 'NaN', NULL, '', NULL, '', NULL, NULL, 'empty', '{}', NULL,"
          " NULL, NULL, '4713-01-01 BC', NULL, 'infinity', 0, '', NULL, '', NULL, NULL),"
          " (3, 'happy', ROW(NULL, NULL, NULL), NULL, 100, NULL, '{{{1}}}', '[1, 2]', '\"\"',"
          " 'text only', '(1e300,-1e-300)', NULL, '''a''''b'':1', NULL, 1e-30, 1e-300,"
          " 'infinity', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,"
          " NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);"
          "INSERT INTO bite (id, f8, n) SELECT i, i / 3.0, i / 7.0 FROM"
          " generate_series(4, 200) AS i");
    rebuild_both_ways("bite", "UPDATE bite SET n = n / 10, f8 = -f8 WHERE id IN (1, 2, 3);"
                              "UPDATE bite SET id = id + 1000 WHERE id % 50 = 1;"
                              "UPDATE bite SET j = '{\"k\" : 1 }', x = '<b/>', pt = '(0,-0)',"
                              " m = 'sad' WHERE id % 7 = 0");
}

/* -------------------------------------------------------------------------------------- time zones
 */

/*
 * timestamp to timestamptz means what it meant to the one who asked for it: here the default of a
 * role is Berlin. The application that writes meanwhile lives in Tokyo: through the log, through
 * dual-write, and back.
 */
static void timestamps_mean_what_they_mean_in_berlin(void)
{
    struct t_result result;
    struct t_session *tokyo;

    t_sql("CREATE ROLE berlin SUPERUSER LOGIN; ALTER ROLE berlin SET timezone = 'Europe/Berlin';"
          "CREATE TABLE stamp (id int PRIMARY KEY, at timestamp, txt text);"
          "INSERT INTO stamp SELECT i, '2024-07-01 12:00'::timestamp + i * interval '1 day' FROM"
          " generate_series(1, 300) AS i;"
          /* the hour that happens twice, and the one that does not exist */
          "INSERT INTO stamp VALUES (1001, '2024-10-27 02:30'), (1002, '2024-03-31 02:30'),"
          " (1003, 'infinity'), (1004, NULL)");
    tokyo = t_session("tokyo");
    t_do(tokyo, "SET timezone = 'Asia/Tokyo'; SET datestyle = 'SQL, DMY'");
    t_run_plain(&result, "alter", "stamp", "-d", t_conninfo_as("berlin"), "--do",
                "ALTER COLUMN at TYPE timestamptz", "--job", "zone", "-s", "ready=dual-write",
                NULL);
    t_expect_status(&result, 0);
    t_do(tokyo, "UPDATE stamp SET at = at + interval '1 hour' WHERE id <= 100;"
                "INSERT INTO stamp SELECT i, '2024-01-15 08:00' FROM generate_series(2001, 2010)"
                " AS i");
    /* dual-write did it: the shadow is equal now, and nothing waits in the log */
    t_expect("SELECT count(*) FROM pghaul.log_1_a", "0");
    t_expect("SELECT count(*) FROM stamp AS a FULL JOIN pghaul.stamp_1 AS b USING (id) WHERE"
             " (a.at AT TIME ZONE 'Europe/Berlin') IS DISTINCT FROM b.at",
             "0");
    t_sql("CREATE TABLE expected AS SELECT id, at AT TIME ZONE 'Europe/Berlin' AS at, at AS local"
          " FROM stamp");
    /* the cut-over runs as somebody whose zone is another one again */
    t_sql("ALTER ROLE postgres SET timezone = 'America/Lima'");
    must("cutover", "zone");
    t_expect("SELECT count(*) FROM stamp AS s FULL JOIN expected AS e USING (id) WHERE s.at IS"
             " DISTINCT FROM e.at",
             "0");
    t_do(tokyo, "UPDATE stamp SET txt = 'touched' WHERE id % 3 = 0");
    must("rollback", "zone");
    t_expect("SELECT count(*) FROM stamp AS s FULL JOIN expected AS e USING (id) WHERE s.at IS"
             " DISTINCT FROM e.local AND id <> 1002",
             "0");
    /* 02:30 did not exist that night: touched, it comes back an hour later; that is 1002 % 3 */
    t_expect("SELECT at FROM stamp WHERE id = 1002", "2024-03-31 03:30:00");
    t_sql("ALTER ROLE postgres RESET timezone; DROP SCHEMA pghaul CASCADE; DROP ROLE berlin");
}

static void pgtz_of_the_user_counts_too(void)
{
    struct t_result result;

    t_sql("CREATE TABLE stamp (id int PRIMARY KEY, at timestamp);"
          "INSERT INTO stamp SELECT i, '2024-07-01 12:00' FROM generate_series(1, 100) AS i");
    setenv("PGTZ", "Europe/Berlin", 1);
    t_run(&result, "alter", "stamp", "--do", "ALTER COLUMN at TYPE timestamptz", "--job", "zone",
          NULL);
    unsetenv("PGTZ");
    t_expect_status(&result, 0);
    t_sql("UPDATE stamp SET at = '2024-01-01 12:00' WHERE id <= 10");
    must("cutover", "zone");
    t_expect("SELECT count(*) FROM stamp WHERE at = '2024-07-01 10:00+00'", "90");
    t_expect("SELECT count(*) FROM stamp WHERE at = '2024-01-01 11:00+00'", "10");
    must("finish", "zone");
}

/* ---------------------------------------------------------------------------- indexes, constraints
 */

static void partial_expression_include_and_exclusion(void)
{
    t_sql("CREATE TABLE idx (id int, k text, v text, during int4range, tags text[],"
          " CONSTRAINT idx_pk PRIMARY KEY (id) INCLUDE (v) WITH (fillfactor = 77),"
          " CONSTRAINT no_overlap EXCLUDE USING gist (during WITH &&) WHERE (id > 0),"
          " CONSTRAINT uniq UNIQUE (k, v));"
          "CREATE INDEX idx_part ON idx (v) WHERE v IS NOT NULL AND id > 5;"
          "CREATE UNIQUE INDEX idx_expr ON idx (lower(k), (id % 1000));"
          "CREATE INDEX idx_desc ON idx (k COLLATE \"C\" text_pattern_ops DESC NULLS LAST, v);"
          "CREATE INDEX idx_gin ON idx USING gin (tags) WITH (fastupdate = off);"
          "CREATE INDEX idx_hash ON idx USING hash (v);"
          "CREATE INDEX idx_brin ON idx USING brin (id) WITH (pages_per_range = 4);"
          "CREATE INDEX idx_nodedup ON idx (v) WITH (deduplicate_items = off);"
          "ALTER INDEX idx_expr ALTER COLUMN 2 SET STATISTICS 222;"
          "COMMENT ON INDEX idx_part IS 'part';"
          "COMMENT ON CONSTRAINT no_overlap ON idx IS 'it''s exclusive';"
          "COMMENT ON CONSTRAINT idx_pk ON idx IS 'pk';"
          "CLUSTER idx USING idx_desc;"
          "ALTER TABLE idx REPLICA IDENTITY USING INDEX idx_pk;"
          "INSERT INTO idx SELECT i, 'k' || i, 'v' || i, int4range(i * 10, i * 10 + 9),"
          " ARRAY['t' || i % 5] FROM generate_series(1, 300) AS i");
    rebuild_both_ways("idx", "UPDATE idx SET v = v || 'x', tags = NULL WHERE id % 7 = 0;"
                             "UPDATE idx SET during = int4range(lower(during), upper(during) - 1)"
                             " WHERE id = 20;"
                             "UPDATE idx SET id = id + 1000 WHERE id % 60 = 1");
    t_fails("INSERT INTO idx VALUES (99999, 'n', 'n', '[100,2000)')", "23P01");
}

/* Values that move from row to row: refused by a unique index only for a moment. */
static void exclusion_and_unique_values_that_change_hands(void)
{
    t_sql("CREATE TABLE slot (id int PRIMARY KEY, n int UNIQUE, during int4range,"
          " CONSTRAINT no_overlap EXCLUDE USING gist (during WITH &&));"
          "INSERT INTO slot SELECT i, i, int4range(i * 10, i * 10 + 9) FROM"
          " generate_series(1, 200) AS i");
    rebuild_both_ways("slot",
                      "BEGIN;"
                      "UPDATE slot SET n = -n, during = int4range(-upper(during), -lower(during));"
                      "UPDATE slot SET n = 1 + mod(-n, 200), during = int4range((1 + mod(-n, 200))"
                      " * 10, (1 + mod(-n, 200)) * 10 + 9);"
                      "COMMIT");
}

static void rows_that_violate_a_not_valid_constraint(void)
{
    t_sql("CREATE TABLE acct (id int PRIMARY KEY, v int);"
          "INSERT INTO acct SELECT i, i - 20 FROM generate_series(1, 200) AS i;"
          "ALTER TABLE acct ADD CONSTRAINT positive CHECK (v > 0) NOT VALID,"
          " ADD CONSTRAINT small CHECK (v < 1000000);"
          "COMMENT ON CONSTRAINT positive ON acct IS 'one day'");
    rebuild_both_ways("acct", "UPDATE acct SET v = v + 1 WHERE id > 100;"
                              "DELETE FROM acct WHERE id = (SELECT min(id) FROM acct)");
    t_expect("SELECT count(*) FROM acct WHERE v <= 0", "16");
    t_fails("INSERT INTO acct VALUES (999, -1)", "23514");
}

/* What the actions drop, rename or comment on, the swap must not look for by its old name. */
static void actions_on_constraints_that_wait_for_the_swap(void)
{
    struct t_result result;

    t_sql("CREATE TABLE acct (id int PRIMARY KEY, v int, w int,"
          " CONSTRAINT later UNIQUE (v) DEFERRABLE, CONSTRAINT later2 UNIQUE (w) DEFERRABLE);"
          "INSERT INTO acct SELECT i, i - 20, i FROM generate_series(1, 100) AS i;"
          "ALTER TABLE acct ADD CONSTRAINT positive CHECK (v > 0) NOT VALID,"
          " ADD CONSTRAINT odd CHECK (w % 2 = 1) NOT VALID;"
          "COMMENT ON CONSTRAINT positive ON acct IS 'goes'; COMMENT ON CONSTRAINT odd ON acct IS"
          " 'stays'; COMMENT ON CONSTRAINT later ON acct IS 'renamed';"
          "COMMENT ON CONSTRAINT later2 ON acct IS 'dropped'");
    t_run(&result, "alter", "acct", "--do", "DROP CONSTRAINT positive", "--do",
          "RENAME CONSTRAINT later TO sooner", "--do", "DROP CONSTRAINT later2", "--do",
          "ADD CONSTRAINT small CHECK (v < 10) NOT VALID", "--job", "job", "--cutover", "now",
          "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT string_agg(conname || coalesce(' ' || obj_description(oid, 'pg_constraint'),"
             " ''), ',' ORDER BY conname) FROM pg_constraint WHERE conrelid = 'acct'::regclass"
             " AND contype <> 'n'",
             "acct_pkey,odd stays,small,sooner renamed");
    must("rollback", "job");
    t_expect("SELECT string_agg(conname || coalesce(' ' || obj_description(oid, 'pg_constraint'),"
             " ''), ',' ORDER BY conname) FROM pg_constraint WHERE conrelid = 'acct'::regclass"
             " AND contype <> 'n'",
             "acct_pkey,later renamed,later2 dropped,odd stays,positive goes");
}

/* ------------------------------------------------------------------------------------ what travels
 */

/* Tablespace space1, in a folder of the sandbox. */
static void make_space(void)
{
    const char *dir = t_format("%s/space1", sandbox_data_dir(t_sandbox()));

    if (t_server_version() >= 150000) {
        t_sql("SET allow_in_place_tablespaces = on");
        t_sql("CREATE TABLESPACE space1 LOCATION ''");
        return;
    }
    t_sqlf("COPY (SELECT) TO PROGRAM 'mkdir %s'", dir);
    t_sqlf("CREATE TABLESPACE space1 LOCATION '%s'", dir);
}

static void everything_that_hangs_on_a_table_travels(void)
{
    make_space();
    t_sql("CREATE ROLE boss; CREATE ROLE clerk; CREATE ROLE guest; CREATE ROLE deputy;"
          "CREATE TABLE full_house (id int PRIMARY KEY USING INDEX TABLESPACE space1, a text,"
          " b text, c numeric, owner_name text DEFAULT CURRENT_USER) WITH (fillfactor = 70,"
          " autovacuum_enabled = off, toast.autovacuum_enabled = off, autovacuum_vacuum_threshold"
          " = 1234, parallel_workers = 3) TABLESPACE space1;"
          "ALTER TABLE full_house ALTER a SET STORAGE EXTERNAL, ALTER a SET STATISTICS 500,"
          " ALTER b SET COMPRESSION pglz, ALTER b SET STORAGE MAIN, ALTER c SET (n_distinct = -0.5,"
          " n_distinct_inherited = 7);"
          "CREATE STATISTICS house_ab (ndistinct, mcv) ON a, b FROM full_house;"
          "CREATE STATISTICS house_expr ON (lower(a)), (c + 1) FROM full_house;"
          "CREATE STATISTICS house_one ON (upper(b)) FROM full_house;"
          "ALTER STATISTICS house_ab SET STATISTICS 77;"
          "COMMENT ON STATISTICS house_ab IS 'a and b';"
          "COMMENT ON TABLE full_house IS 'the ''full'' house';"
          "COMMENT ON COLUMN full_house.c IS 'see';"
          "ALTER TABLE full_house ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
          "CREATE POLICY p_all ON full_house USING (true) WITH CHECK (a IS NOT NULL);"
          "CREATE POLICY \"own rows\" ON full_house AS RESTRICTIVE FOR SELECT TO clerk, guest"
          " USING (owner_name = CURRENT_USER OR full_house.c > 1);"
          "CREATE POLICY p_ins ON full_house FOR INSERT TO clerk WITH CHECK (length(b) < 100);"
          "COMMENT ON POLICY p_ins ON full_house IS 'short ones';"
          "ALTER TABLE full_house OWNER TO boss;"
          "GRANT SELECT, INSERT ON full_house TO clerk WITH GRANT OPTION;"
          "GRANT UPDATE (a, c), REFERENCES (id) ON full_house TO guest;"
          "GRANT TRIGGER ON full_house TO PUBLIC;"
          "REVOKE TRUNCATE ON full_house FROM boss;"
          "SET ROLE clerk; GRANT SELECT ON full_house TO deputy; RESET ROLE;"
          "CREATE INDEX house_a ON full_house (a) TABLESPACE space1;"
          "ALTER TABLE full_house REPLICA IDENTITY FULL;"
          "ALTER TABLE full_house CLUSTER ON house_a;"
          "INSERT INTO full_house SELECT i, 'a', 'b', i FROM generate_series(1, 200) AS i");
    rebuild_both_ways("full_house", "UPDATE full_house SET b = b || 'x' WHERE id % 7 = 0;"
                                    "DELETE FROM full_house WHERE id % 61 = 1");
    t_sql("SET client_min_messages = error; DROP SCHEMA pghaul CASCADE; DROP TABLE full_house");
    t_sql("DROP TABLESPACE space1");
    t_sql("DROP ROLE boss, clerk, guest, deputy");
}

/* The owner is not the one who connects, and the one who does becomes the owner with --role. */
static void the_owner_stays_the_owner_with_role(void)
{
    struct t_result result;
    const char *before;

    t_sql("CREATE ROLE owner_o; CREATE ROLE worker_w LOGIN; GRANT owner_o TO worker_w;"
          "CREATE TABLE orders (id serial PRIMARY KEY, t text);"
          "INSERT INTO orders (t) SELECT 't' FROM generate_series(1, 100);"
          "ALTER TABLE orders OWNER TO owner_o; GRANT SELECT ON orders TO worker_w;"
          "GRANT CREATE, USAGE ON SCHEMA public TO owner_o;"
          "DO $$ BEGIN EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO owner_o',"
          " current_database()); END $$");
    before = definition();
    t_run_plain(&result, "alter", "orders", "-d", t_conninfo_as("worker_w"), "--role", "owner_o",
                "--job", "role", "--cutover", "now", "--yes", NULL);
    t_expect_status(&result, 0);
    t_sql("INSERT INTO orders (t) VALUES ('after')");
    t_run_plain(&result, "rollback", "role", "-d", t_conninfo_as("worker_w"), "--role", "owner_o",
                "--yes", NULL);
    t_expect_status(&result, 0);
    same_definition(before);
    t_run_plain(&result, "alter", "orders", "-d", t_conninfo_as("worker_w"), "--role", "owner_o",
                "--job", "role2", "--cutover", "now", "--yes", NULL);
    t_expect_status(&result, 0);
    t_run_plain(&result, "finish", "role2", "-d", t_conninfo_as("worker_w"), "--role", "owner_o",
                "--yes", NULL);
    t_expect_status(&result, 0);
    same_definition(before);
    t_expect("SELECT count(*) FROM orders", "101");
    t_sql("DROP SCHEMA pghaul CASCADE; DROP OWNED BY owner_o, worker_w;"
          "DROP ROLE owner_o, worker_w");
}

/* ---------------------------------------------------------------------------------- what --do does
 */

static void alter_to_ready(const char *table, const char *job, const char *action)
{
    struct t_result result;

    t_run(&result, "alter", table, "--job", job, "--do", action, NULL);
    t_expect_status(&result, 0);
    expect_verified(job);
}

static void a_renamed_column_keeps_its_values_both_ways(void)
{
    const char *before;

    t_sql("CREATE TABLE t (id int PRIMARY KEY, old_name text, other text, gen int GENERATED ALWAYS"
          " AS (length(old_name)) STORED); CREATE INDEX t_old ON t (old_name);"
          "INSERT INTO t (id, old_name, other) SELECT i, 'o' || i, 'x' || i FROM"
          " generate_series(1, 200) AS i");
    before = definition();
    alter_to_ready("t", "job", "RENAME COLUMN old_name TO \"New Name\"");
    t_sql("UPDATE t SET old_name = 'ready', other = 'old' WHERE id % 7 = 0");
    remember("t");
    must("cutover", "job");
    expect_remembered("t");
    t_sql("UPDATE t SET \"New Name\" = other, other = 'swapped' WHERE id % 5 = 0");
    remember("t");
    must("rollback", "job");
    expect_remembered("t");
    t_expect("SELECT string_agg(old_name || ' ' || other, ',' ORDER BY id) FROM t WHERE id IN (5,"
             " 7, 35)",
             "x5 swapped,ready old,old swapped");
    same_definition(before);
    nothing_of_ours_is_left();
    /* the names exchange places: by number, not by name */
    {
        struct t_result result;

        t_run(&result, "alter", "t", "--job", "turn", "--do", "DROP COLUMN gen", "--do",
              "RENAME old_name TO swap", "--do", "RENAME other TO old_name", "--do",
              "RENAME swap TO other", "--cutover", "now", "--yes", NULL);
        t_expect_status(&result, 0);
    }
    t_expect("SELECT other || ' ' || old_name FROM t WHERE id = 5", "x5 swapped");
    t_sql("UPDATE t SET other = 'first', old_name = 'second' WHERE id = 6");
    must("rollback", "turn");
    t_expect("SELECT old_name || ' ' || other FROM t WHERE id = 6", "first second");
    t_expect("SELECT gen FROM t WHERE id = 6", "5");
    same_definition(before);
}

/* Untouched rows, touched ones, and ones whose key changed twice and came back. */
static void a_dropped_column_gets_its_values_back(void)
{
    const char *before;

    t_sql("CREATE TABLE t (id int PRIMARY KEY, a text, secret text DEFAULT 'none', b int);"
          "CREATE INDEX t_secret ON t (secret);"
          "CREATE STATISTICS t_stat ON secret, b FROM t;"
          "COMMENT ON COLUMN t.secret IS 'shh';"
          "INSERT INTO t SELECT i, 'a', 'secret' || i, i FROM generate_series(1, 300) AS i");
    before = definition();
    alter_to_ready("t", "job", "DROP COLUMN secret");
    t_sql("UPDATE t SET secret = 'late' || id WHERE id % 10 = 0");
    must("cutover", "job");
    t_expect("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname ="
             " 'secret'",
             "0");
    t_sql("UPDATE t SET a = 'touched' WHERE id % 2 = 0;"
          "UPDATE t SET a = a || '!' WHERE id % 4 = 0;"
          "DELETE FROM t WHERE id % 50 = 1;"
          "INSERT INTO t SELECT 1000 + i, 'new', i FROM generate_series(1, 10) AS i");
    must("rollback", "job");
    t_expect("SELECT count(*) FROM t WHERE id <= 300 AND secret IS DISTINCT FROM CASE WHEN"
             " id % 10 = 0 THEN 'late' ELSE 'secret' END || id",
             "0");
    t_expect("SELECT count(*) FROM t WHERE id > 300 AND secret = 'none'", "10");
    t_expect("SELECT count(*) FROM t WHERE a LIKE 'touched%'", "150");
    t_expect("SELECT count(*) FROM t", "304");
    same_definition(before);
    nothing_of_ours_is_left();
}

static void dropping_a_not_null_column_needs_a_way_back(void)
{
    struct t_result result;

    t_sql("CREATE TABLE t (id int PRIMARY KEY, a text, must text NOT NULL);"
          "INSERT INTO t SELECT i, 'a' || i, 'm' || i FROM generate_series(1, 100) AS i");
    t_run(&result, "alter", "t", "--do", "DROP COLUMN must", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "must");
    t_expect_err(&result, "--reverse-map");
    t_expect_err(&result, "--no-rollback");
    t_run(&result, "alter", "t", "--do", "DROP COLUMN must", "--reverse-map",
          "must = 'from ' || coalesce(a, '?')", "--job", "job", "--cutover", "now", "--yes", NULL);
    t_expect_status(&result, 0);
    t_sql("INSERT INTO t VALUES (1000, 'new'); UPDATE t SET a = 'changed' WHERE id = 5");
    must("rollback", "job");
    t_expect("SELECT must FROM t WHERE id = 1000", "from new");
    t_expect("SELECT must FROM t WHERE id = 6", "m6");
    t_run(&result, "alter", "t", "--do", "DROP COLUMN must", "--no-rollback", "--job", "final",
          "--cutover", "now", "--yes", NULL);
    t_expect_status(&result, 0);
    t_sql("INSERT INTO t VALUES (1001, 'new')");
    t_run(&result, "rollback", "final", "--yes", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "--no-rollback");
    must("finish", "final");
    t_expect("SELECT count(*) FROM t", "102");
    nothing_of_ours_is_left();
}

/* Replay deletes and inserts rows: what their new column got first must not be rolled again. */
static void a_volatile_default_is_stable_over_replay(void)
{
    t_sql("CREATE TABLE t (id int PRIMARY KEY, a text);"
          "INSERT INTO t SELECT i, 'a' FROM generate_series(1, 300) AS i");
    alter_to_ready("t", "job", "ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid()");
    t_sql("CREATE TABLE tokens AS SELECT id, token FROM pghaul.t_1");
    t_sql("UPDATE t SET a = 'touched' WHERE id % 3 = 0");
    must("verify", "job");
    t_sql("UPDATE t SET a = 'again' WHERE id % 5 = 0; INSERT INTO t VALUES (1000, 'new')");
    must("cutover", "job");
    t_expect("SELECT count(*) FROM t JOIN tokens USING (id) WHERE t.token = tokens.token", "300");
    t_expect("SELECT count(DISTINCT token) FROM t", "301");
    t_sql("UPDATE t SET token = gen_random_uuid() WHERE id = 7; UPDATE t SET a = 'b' WHERE id = 8");
    must("rollback", "job");
    t_expect("SELECT a FROM t WHERE id = 8", "b");
    t_expect("SELECT count(*) FROM t", "301");
}

static void map_using_and_reverse_map(void)
{
    struct t_result result;
    const char *before;

    t_sql("CREATE SCHEMA lib;"
          "CREATE FUNCTION lib.cents(numeric) RETURNS bigint IMMUTABLE LANGUAGE sql AS"
          " 'SELECT (pg_catalog.round($1 * 100))::bigint';"
          "CREATE TABLE t (id int PRIMARY KEY, \"Amount\" numeric(12,2) NOT NULL, state text,"
          " name text);"
          "INSERT INTO t SELECT i, i + 0.5, CASE i % 3 WHEN 0 THEN 'open' WHEN 1 THEN 'done' END,"
          " 'n' || i FROM generate_series(1, 300) AS i;"
          "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = lib, public',"
          " current_database()); END $$");
    before = definition();
    t_run(&result, "alter", "public.t", "--job", "job", "--do",
          "ALTER COLUMN \"Amount\" TYPE bigint USING cents(\"Amount\")", "--do",
          "ALTER COLUMN state TYPE int USING CASE state WHEN 'open' THEN 1 WHEN 'done' THEN 2 END",
          "--do", "ADD COLUMN shout text", "--map", "shout = upper(name) || '!'", "--reverse-map",
          "\"Amount\" = \"Amount\" / 100.0", "--reverse-map",
          "state = (ARRAY['open', 'done'])[state]", NULL);
    t_expect_status(&result, 0);
    t_sql("UPDATE public.t SET \"Amount\" = 0.99, state = 'done' WHERE id % 10 = 0;"
          "DELETE FROM public.t WHERE id = 11");
    t_sql("CREATE TABLE public.expected AS SELECT id, (\"Amount\" * 100)::bigint AS \"Amount\","
          " CASE state WHEN 'open' THEN 1 WHEN 'done' THEN 2 END AS state, name, upper(name) || '!'"
          " AS shout FROM public.t");
    must("cutover", "job");
    t_expect("SELECT count(*) FROM ((TABLE public.t EXCEPT TABLE public.expected) UNION ALL"
             " (TABLE public.expected EXCEPT TABLE public.t)) AS d",
             "0");
    t_expect("SELECT count(*) FROM public.t", "299");
    t_sql("UPDATE public.t SET \"Amount\" = 12345, state = 1 WHERE id = 20;"
          "INSERT INTO public.t VALUES (1000, 7, NULL, 'x', 'y')");
    must("rollback", "job");
    t_sql("DROP TABLE public.expected");
    t_expect("SELECT \"Amount\" || state FROM public.t WHERE id = 20", "123.45open");
    t_expect("SELECT \"Amount\" || coalesce(state, '-') FROM public.t WHERE id = 1000", "0.07-");
    t_expect("SELECT count(*) FROM public.t WHERE \"Amount\" = 0.99 AND state = 'done'", "29");
    same_definition(before);
}

static void rows_that_cannot_go_back_block_the_rollback_and_are_counted(void)
{
    struct t_result result;

    t_sql("CREATE TABLE t (id int PRIMARY KEY, v varchar(5), n int);"
          "INSERT INTO t SELECT i, 'v', i FROM generate_series(1, 100) AS i");
    t_run(&result, "alter", "t", "--do", "ALTER COLUMN v TYPE text", "--do",
          "ALTER COLUMN n TYPE numeric", "--job", "job", "--cutover", "now", "--yes", NULL);
    t_expect_status(&result, 0);
    t_sql("UPDATE t SET v = 'much too long' WHERE id <= 3; UPDATE t SET n = 1e20 WHERE id = 50;"
          "UPDATE t SET v = 'ok' WHERE id = 60");
    t_run(&result, "rollback", "job", "--yes", NULL);
    t_expect_status(&result, 9);
    t_expect_err(&result, "4 rows cannot go back");
    t_run(&result, "status", "job", "--json", NULL);
    t_expect_out(&result, "\"irreversible_rows\":4");
    t_expect("SELECT n FROM t WHERE id = 50", "100000000000000000000");
    t_run(&result, "rollback", "job", "--accept-loss", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT v FROM t WHERE id = 60", "ok");
    t_expect("SELECT count(*) FROM t WHERE id <> 60 AND v <> 'v'", "0");
    nothing_of_ours_is_left();
}

/* Indexes, constraints and sequences that the server names are named after the table. */
static void what_the_server_names_is_named_after_the_table(void)
{
    struct t_result result;

    t_sql("CREATE TABLE orders (id int PRIMARY KEY, v int, w int UNIQUE);"
          "CREATE TABLE same (id int PRIMARY KEY, v int, w int UNIQUE);"
          "INSERT INTO orders SELECT i, i, i FROM generate_series(1, 50) AS i;"
          "INSERT INTO same TABLE orders");
    t_run(&result, "alter", "orders", "--do", "ADD UNIQUE (v)", "--do",
          "ADD CHECK (orders.v > 0), ADD CHECK (w > 0) NOT VALID", "--do",
          "ADD COLUMN s serial, ADD EXCLUDE USING btree (w WITH =)", "--job", "job", "--cutover",
          "now", "--yes", NULL);
    t_expect_status(&result, 0);
    must("finish", "job");
    t_sql("ALTER TABLE same ADD UNIQUE (v);"
          "ALTER TABLE same ADD CHECK (same.v > 0), ADD CHECK (w > 0) NOT VALID;"
          "ALTER TABLE same ADD COLUMN s serial, ADD EXCLUDE USING btree (w WITH =)");
#define NAMES_OF(table)                                                                         \
    "SELECT string_agg(replace(name, '" table "', 't'), ',' ORDER BY"                           \
    " replace(name, '" table "', 't') COLLATE \"C\") FROM (SELECT relname::text FROM pg_class"  \
    " JOIN pg_index ON indexrelid = pg_class.oid WHERE indrelid = '" table "'::regclass"        \
    " UNION ALL SELECT conname::text FROM pg_constraint WHERE conrelid = '" table "'::regclass" \
    " UNION ALL SELECT pg_get_serial_sequence('" table "', 's')) AS n(name)"
    assert_string_equal(t_text(NAMES_OF("orders")), t_text(NAMES_OF("same")));
    t_sql("INSERT INTO orders (id, v, w) VALUES (100, 100, 100)");
    t_expect("SELECT max(s) FROM orders", "51");
    nothing_of_ours_is_left();
}

/* Index, constraint and sequence names of a table; the schema as SQL names it. */
static const char *names_in(const char *schema, const char *table)
{
    return t_text(t_format(
        "WITH t AS (SELECT oid FROM pg_class WHERE relname = '%s' AND relnamespace ="
        " '%s'::regnamespace)\n"
        "SELECT string_agg(name, ',' ORDER BY name COLLATE \"C\") FROM (\n"
        "    SELECT relname::text FROM t JOIN pg_index ON indrelid = oid\n"
        "      JOIN pg_class c ON c.oid = indexrelid\n"
        "    UNION ALL SELECT conname::text FROM t JOIN pg_constraint ON conrelid = t.oid\n"
        "    UNION ALL SELECT c.relname FROM t JOIN pg_depend d ON refobjid = t.oid\n"
        "      JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S') AS n (name)",
        table, schema));
}

/* The oracle is a table of that name, on which the server does the same. */
static void names_are_as_the_server_gives_them(const char *schema, const char *table)
{
    struct t_result result;
    const char *job = next_job();

    t_sqlf("CREATE SCHEMA IF NOT EXISTS %s; CREATE SCHEMA twin;"
           "CREATE TABLE %s.%s (id int PRIMARY KEY, v int, w int UNIQUE);"
           "INSERT INTO %s.%s SELECT i, i, i FROM generate_series(1, 50) AS i;"
           "CREATE TABLE twin.%s (id int PRIMARY KEY, v int, w int UNIQUE);"
           "ALTER TABLE twin.%s ADD UNIQUE (v), ADD CHECK (%s.v > 0), ADD COLUMN s serial;"
           "CREATE INDEX ON twin.%s (v, w)",
           schema, schema, table, schema, table, table, table, table, table);
    t_sqlf("CREATE INDEX ON %s.%s (v, w)", schema, table);
    t_run(&result, "alter", t_format("%s.%s", schema, table), "--do",
          t_format("ADD UNIQUE (v), ADD CHECK (%s.v > 0)", table), "--do", "ADD COLUMN s serial",
          "--job", job, "--cutover", "now", "--yes", NULL);
    t_expect_status(&result, 0);
    must("finish", job);
    assert_string_equal(names_in(schema, table), names_in("twin", table));
    t_sqlf("DROP SCHEMA twin CASCADE; INSERT INTO %s.%s (id, v, w) VALUES (100, 100, 100)", schema,
           table);
    t_expect(t_format("SELECT max(s) FROM %s.%s", schema, table), "51");
    nothing_of_ours_is_left();
}

/* Their indexes and constraints are named in the trial, where the name is taken by one of ours. */
static void what_the_server_names_in_tables_that_are_called_as_ours_are(void)
{
    names_are_as_the_server_gives_them("public", "job");
    names_are_as_the_server_gives_them("public", "span");
    names_are_as_the_server_gives_them("\"Odd.schema = \"\"x\"\"\"", "phase");
    names_are_as_the_server_gives_them("\"Odd.schema = \"\"x\"\"\"", "other");
    t_expect("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pghaul_%'", "0");
}

/* The option is cut behind the name of the column, not at the first = in it. */
static void map_of_a_column_with_signs_in_its_name(void)
{
    struct t_result result;

    t_sql("CREATE TABLE t (id int PRIMARY KEY, c int, \"c=d\" int);"
          "INSERT INTO t SELECT i, i, -i FROM generate_series(1, 50) AS i");
    t_run(&result, "alter", "t", "--do", "ADD COLUMN \"a=b\" int", "--do",
          "ADD COLUMN \"say \"\"x\"\" = y\" bool", "--map", "\"a=b\" = c + 1", "--map",
          "\"say \"\"x\"\" = y\" = c = 7", "--reverse-map", "\"c=d\" = -c", "--job", "job",
          "--cutover", "now", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT count(*) FROM t WHERE \"a=b\" = c + 1 AND \"say \"\"x\"\" = y\" = (c = 7)",
             "50");
    t_sql("UPDATE t SET c = 1000, \"c=d\" = 0 WHERE id = 1");
    must("rollback", "job");
    t_expect("SELECT \"c=d\" FROM t WHERE id = 1", "-1000");
    t_run(&result, "alter", "t", "--map", "(c, \"c=d\") = (1, 2)", NULL);
    t_expect_status(&result, 2);
    t_expect_err(&result, "several columns at once");
    t_run(&result, "alter", "t", "--do", "ADD COLUMN \"Amount\" int", "--map", "Amount = 1", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "no column \"amount\"");
    t_expect_err(&result, "double quotes");
}

/* ------------------------------------------------------------------------------- newer servers */

static void skip_before(int version)
{
    if (t_server_version() < version * 10000)
        t_skip("PostgreSQL %d has this", version);
}

static void unique_constraints_where_nulls_are_equal_stay_so(void)
{
    skip_before(15);
    t_sql("CREATE TABLE t (id int PRIMARY KEY, v int UNIQUE NULLS NOT DISTINCT, w int);"
          "CREATE UNIQUE INDEX t_w ON t (w) NULLS NOT DISTINCT WHERE id > 10;"
          "INSERT INTO t SELECT i, nullif(i, 7), nullif(i, 8) FROM generate_series(1, 50) AS i");
    rebuild_both_ways("t", "DELETE FROM t WHERE v IS NULL;"
                           "INSERT INTO t SELECT max(id) + 1, NULL, NULL FROM t");
    t_fails("INSERT INTO t VALUES (1000, NULL, 1000)", "23505");
}

static void a_grant_of_maintain_travels(void)
{
    skip_before(17);
    t_sql("CREATE ROLE keeper; CREATE TABLE t (id int PRIMARY KEY, v int);"
          "GRANT MAINTAIN ON t TO keeper WITH GRANT OPTION;"
          "INSERT INTO t SELECT i, i FROM generate_series(1, 50) AS i");
    rebuild_both_ways("t", "UPDATE t SET v = v + 1");
    t_sql("DROP OWNED BY keeper; DROP ROLE keeper");
}

static void not_null_constraints_keep_name_comment_and_what_they_are(void)
{
    skip_before(18);
    t_sql("CREATE TABLE t (id int CONSTRAINT \"has a key\" NOT NULL, a int CONSTRAINT a_there"
          " NOT NULL, b int CONSTRAINT b_here NOT NULL NO INHERIT, c int, \"D d\" int NOT NULL,"
          " CONSTRAINT t_key PRIMARY KEY (id));"
          "INSERT INTO t SELECT i, i, i, nullif(i % 5, 0), i FROM generate_series(1, 100) AS i;"
          "ALTER TABLE t ADD CONSTRAINT c_later NOT NULL c NOT VALID;"
          "COMMENT ON CONSTRAINT a_there ON t IS 'always';"
          "COMMENT ON CONSTRAINT c_later ON t IS 'one day'");
    rebuild_both_ways("t", "UPDATE t SET a = a + 1 WHERE c IS NOT NULL;"
                           "DELETE FROM t WHERE id = (SELECT min(id) FROM t WHERE c IS NULL);"
                           "INSERT INTO t SELECT max(id) + 1, 1, 1, 1, 1 FROM t");
    t_fails("INSERT INTO t VALUES (1000, 1, 1, NULL, 1)", "23502");
    t_expect("SELECT string_agg(conname || ' ' || convalidated, ',' ORDER BY conname) FROM"
             " pg_constraint WHERE conrelid = 't'::regclass AND contype = 'n'",
             "a_there true,b_here true,c_later false,has a key true,t_D d_not_null true");
}

/* Its column may hold NULL, so it is no key. */
static void a_not_null_that_is_not_valid_makes_no_key(void)
{
    struct t_result result;

    skip_before(18);
    t_sql("CREATE TABLE t (id int UNIQUE, v int); INSERT INTO t VALUES (1, 1), (NULL, 2);"
          "ALTER TABLE t ADD CONSTRAINT there NOT NULL id NOT VALID");
    t_run(&result, "alter", "t", "--job", "job", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "no usable key");
    t_sql("DELETE FROM t WHERE id IS NULL; ALTER TABLE t VALIDATE CONSTRAINT there");
    rebuild_both_ways("t", "UPDATE t SET v = v + 1; INSERT INTO t SELECT max(id) + 1, 1 FROM t");
}

/* The primary key is an exclusion constraint in a GiST index, the other one the copy's key. */
static void a_key_over_time_without_overlaps_travels(void)
{
    struct t_result result;

    skip_before(18);
    t_sql("CREATE EXTENSION btree_gist;"
          "CREATE TABLE t (id int NOT NULL, during int4range NOT NULL, v int,"
          " CONSTRAINT t_key PRIMARY KEY (id, during WITHOUT OVERLAPS));"
          "INSERT INTO t SELECT i % 10, int4range(i * 10, i * 10 + 5), i"
          " FROM generate_series(1, 100) AS i");
    t_run(&result, "alter", "t", "--job", "none", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "no usable key");
    t_sql("ALTER TABLE t ALTER v SET NOT NULL; CREATE UNIQUE INDEX t_v ON t (v)");
    rebuild_both_ways("t", "UPDATE t SET during = int4range(upper(during), upper(during) + 2)"
                           " WHERE v % 3 = 0; DELETE FROM t WHERE v = (SELECT min(v) FROM t)");
    t_fails("INSERT INTO t SELECT id, during, 1000 FROM t LIMIT 1", "23P01");
}

static void virtual_columns_stay_virtual(void)
{
    skip_before(18);
    t_sql("CREATE TABLE t (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2),"
          " label text NOT NULL, shown text GENERATED ALWAYS AS (upper(label)) VIRTUAL,"
          " stored int GENERATED ALWAYS AS (a + 1) STORED);"
          "INSERT INTO t (id, a, label) SELECT i, i, 'l' || i FROM generate_series(1, 100) AS i");
    rebuild_both_ways("t", "UPDATE t SET a = a + 1, label = label || 'x' WHERE id % 3 = 0;"
                           "INSERT INTO t (id, a, label) SELECT max(id) + 1, 1, 'new' FROM t");
}

static void virtual_columns_come_and_go(void)
{
    struct t_result result;

    skip_before(18);
    t_sql("CREATE TABLE t (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2));"
          "INSERT INTO t (id, a) SELECT i, i FROM generate_series(1, 100) AS i");
    t_run(&result, "alter", "t", "--do", "ALTER COLUMN id TYPE bigint", "--do",
          "ADD COLUMN half int GENERATED ALWAYS AS (a / 2) VIRTUAL", "--do", "DROP COLUMN twice",
          "--job", "job", NULL);
    t_expect_status(&result, 0);
    t_sql("UPDATE t SET a = a + 1 WHERE id % 3 = 0; DELETE FROM t WHERE id = 1");
    must("cutover", "job");
    t_expect("SELECT count(*) FROM t WHERE half = a / 2", "99");
    t_sql("UPDATE t SET a = a + 1 WHERE id % 5 = 0; INSERT INTO t (id, a) VALUES (1000, 7)");
    must("rollback", "job");
    t_expect("SELECT count(*) FROM t WHERE twice = a * 2", "100");
    t_expect("SELECT sum(a) FROM t", "5109");
}

static void checks_that_are_not_enforced_stay_so(void)
{
    skip_before(18);
    t_sql("CREATE TABLE t (id int PRIMARY KEY, v int CONSTRAINT hint CHECK (v > 0) NOT ENFORCED,"
          " CONSTRAINT strict CHECK (v > -100));"
          "COMMENT ON CONSTRAINT hint ON t IS 'a wish';"
          "INSERT INTO t SELECT i, i - 50 FROM generate_series(1, 100) AS i");
    rebuild_both_ways("t", "UPDATE t SET v = v - 1 WHERE v < 10 AND v > -50");
    t_sql("INSERT INTO t VALUES (1000, -1)");
}

/* ------------------------------------------------------------------------------------ order, place
 */

static void order_by_clusters_and_key_order_works(void)
{
    struct t_result result;
    const char *before;

    t_sql("CREATE TABLE t (id int, tenant int NOT NULL, \"At\" timestamptz NOT NULL, pad text,"
          " PRIMARY KEY (tenant, id)); CREATE INDEX t_at ON t (\"At\", id);"
          "INSERT INTO t SELECT i, i % 7, now() - (i * 7919 % 3001) * interval '1 minute',"
          " repeat('x', 100) FROM generate_series(1, 3000) AS i");
    before = definition();
    t_run(&result, "alter", "t", "--order-by", "\"At\"", "--job", "clustered", "--workers", "1",
          NULL);
    t_expect_status(&result, 0);
    t_sql("UPDATE t SET pad = 'y' WHERE id % 100 = 0");
    remember("t");
    must("cutover", "clustered");
    expect_remembered("t");
    t_sql("ANALYZE t");
    t_expect("SELECT correlation > 0.8 FROM pg_stats WHERE tablename = 't' AND schemaname ="
             " 'public' AND attname = 'At'",
             "t");
    t_sql("DELETE FROM t WHERE id % 100 = 1");
    remember("t");
    must("finish", "clustered");
    expect_remembered("t");
    same_definition(before);
    t_run(&result, "alter", "t", "-s", "order=key", "--job", "by-key", NULL);
    t_expect_status(&result, 0);
    t_sql("UPDATE t SET id = id + 10000 WHERE id % 50 = 7");
    remember("t");
    must("cutover", "by-key");
    expect_remembered("t");
    must("finish", "by-key");
    same_definition(before);
    t_run(&result, "alter", "t", "--order-by", "pad", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "NULL");
    t_run(&result, "alter", "t", "--order-by", "nope", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "no column \"nope\"");
}

static void in_place_when_no_copy_is_needed_and_refused_otherwise(void)
{
    struct t_result result;
    const char *before;

    t_sql("CREATE TABLE t (id int PRIMARY KEY, a varchar(10), n int);"
          "INSERT INTO t SELECT i, 'a', i FROM generate_series(1, 1000) AS i");
    t_run(&result, "alter", "t", "--in-place", "--do", "ADD COLUMN c text NOT NULL DEFAULT 'x'",
          "--do", "ALTER COLUMN a TYPE varchar(20)", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT count(*) FROM t WHERE c = 'x'", "1000");
    t_expect("SELECT count(*) FROM pg_tables WHERE schemaname = 'pghaul' AND tablename ~ '^t_'",
             "0");
    before = definition();
    t_run(&result, "alter", "t", "--in-place", "--do", "ALTER COLUMN n TYPE bigint", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "rewrite");
    t_run(&result, "alter", "t", "--in-place", "--do", "DROP COLUMN a", "--do",
          "ALTER COLUMN n TYPE bigint", NULL);
    t_expect_status(&result, 3);
    same_definition(before);
    /* the others say that no copy was needed */
    t_run(&result, "alter", "t", "--do", "ADD COLUMN d int DEFAULT 5", "--dry-run", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "--in-place");
    same_definition(before);
}

/* Nothing moves, so nothing is in the way that depends on the table, and no key is needed. */
static void in_place_whatever_depends_on_the_table(void)
{
    struct t_result result;

    t_sql("CREATE TABLE parent (id int PRIMARY KEY);"
          "CREATE TABLE t (id int PRIMARY KEY, p int REFERENCES parent, v varchar(5));"
          "CREATE TABLE child (t int REFERENCES t); CREATE VIEW w AS SELECT v FROM t;"
          "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
          "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();"
          "CREATE RULE r AS ON DELETE TO t DO ALSO NOTHING; CREATE PUBLICATION pub FOR TABLE t;"
          "INSERT INTO parent VALUES (1); INSERT INTO t VALUES (1, 1, 'v')");
    t_run(&result, "alter", "t", "--in-place", "--do", "ADD COLUMN c text NOT NULL DEFAULT 'x'",
          NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT c FROM t", "x");
    t_run(&result, "alter", "t", "--in-place", "--do", "DROP CONSTRAINT t_p_fkey", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT count(*) FROM pg_constraint WHERE contype = 'f'", "1");
    /* what the server minds is its answer, and nothing was changed */
    t_run(&result, "alter", "t", "--in-place", "--do", "ADD COLUMN d int", "--do",
          "ALTER COLUMN v TYPE text", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "view");
    t_expect_err(&result, "nothing was changed");
    t_expect("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'd'",
             "0");
    t_run(&result, "alter", "t", "--in-place", "--do", "ALTER COLUMN id TYPE bigint", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "rewrite");
    t_expect("SELECT count(*) FROM pg_namespace WHERE nspname = 'pghaul'", "0");

    t_sql("CREATE TABLE keyless (v int)");
    t_run(&result, "alter", "keyless", "--in-place", "--do", "ADD COLUMN c int", NULL);
    t_expect_status(&result, 0);
    /* a rewrite that no clone could show: the column is a foreign key's */
    t_run(&result, "alter", "child", "--in-place", "--do", "DROP CONSTRAINT child_t_fkey", "--do",
          "ALTER COLUMN t TYPE bigint", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "rewrite");
    t_expect("SELECT count(*) FROM pg_constraint WHERE contype = 'f'", "1");
}

/* Those would be changed, too, or do not know what is ours. */
static void in_place_beside_a_job_or_over_children_is_refused(void)
{
    struct t_result result;

    t_sql("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE up (id int PRIMARY KEY);"
          "CREATE TABLE down () INHERITS (up)");
    t_run(&result, "alter", "t", "--job", "j", NULL);
    t_expect_status(&result, 0);
    t_run(&result, "alter", "t", "--in-place", "--do", "ADD COLUMN c int", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "job j works on");
    t_run(&result, "alter", "up", "--in-place", "--do", "ADD COLUMN c int", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "inherits from");
    must("abort", "j");
}

static void in_place_is_refused_when_it_would_read_the_table_under_its_lock(void)
{
    struct t_result result;
    const char *before;

    t_sql("CREATE FUNCTION slow(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS"
          " 'BEGIN PERFORM pg_sleep(0.01); RETURN true; END';"
          "CREATE TABLE t (id int PRIMARY KEY);"
          "INSERT INTO t SELECT generate_series(1, 200)");
    before = definition();
    t_run(&result, "alter", "t", "--in-place", "--do", "ADD CHECK (slow(id))", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "under its lock");
    same_definition(before);
}

/* ------------------------------------------------------------------------------------------------
 */

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_composite_key_with_text_in_another_collation),
        t_test(a_nondeterministic_collation_as_key),
        t_test(a_uuid_key),
        t_test(a_numeric_key_whose_equal_values_look_different),
        t_test(a_timestamp_and_bytea_and_bool_key),
        t_test(a_key_that_is_a_unique_index_and_no_primary_key),
        t_test(a_key_over_a_domain_that_is_not_null),
        t_test(deferrable_unique_and_primary_keys_beside_a_usable_key),
        t_test(a_table_with_no_rows),
        t_test(a_table_with_one_row_that_goes_away),
        t_test(wide_rows_with_toast),
        t_test(two_hundred_columns),
        t_test(dropped_columns_in_the_middle),
        t_test(generated_columns),
        t_test(identity_columns),
        t_test(a_serial_past_the_end_of_integer),
        t_test(a_serial_is_what_it_was_after_a_rollback),
        t_test(an_identity_past_the_end_of_integer),
        t_test(tables_that_are_called_as_ours_are),
        t_test(an_integer_key_that_became_numeric_goes_back),
        t_test(a_wider_text_key_does_not_touch_other_rows_on_the_way_back),
        t_test(quoted_and_long_names),
        t_test(names_of_63_bytes),
        t_test(a_schema_that_is_not_in_the_search_path_hides_nothing),
        t_test(types_that_bite),
        t_test(timestamps_mean_what_they_mean_in_berlin),
        t_test(pgtz_of_the_user_counts_too),
        t_test(partial_expression_include_and_exclusion),
        t_test(exclusion_and_unique_values_that_change_hands),
        t_test(rows_that_violate_a_not_valid_constraint),
        t_test(actions_on_constraints_that_wait_for_the_swap),
        t_test(everything_that_hangs_on_a_table_travels),
        t_test(the_owner_stays_the_owner_with_role),
        t_test(a_renamed_column_keeps_its_values_both_ways),
        t_test(a_dropped_column_gets_its_values_back),
        t_test(dropping_a_not_null_column_needs_a_way_back),
        t_test(a_volatile_default_is_stable_over_replay),
        t_test(map_using_and_reverse_map),
        t_test(map_of_a_column_with_signs_in_its_name),
        t_test(rows_that_cannot_go_back_block_the_rollback_and_are_counted),
        t_test(what_the_server_names_is_named_after_the_table),
        t_test(what_the_server_names_in_tables_that_are_called_as_ours_are),
        t_test(unique_constraints_where_nulls_are_equal_stay_so),
        t_test(a_grant_of_maintain_travels),
        t_test(not_null_constraints_keep_name_comment_and_what_they_are),
        t_test(a_not_null_that_is_not_valid_makes_no_key),
        t_test(a_key_over_time_without_overlaps_travels),
        t_test(virtual_columns_stay_virtual),
        t_test(virtual_columns_come_and_go),
        t_test(checks_that_are_not_enforced_stay_so),
        t_test(order_by_clusters_and_key_order_works),
        t_test(in_place_when_no_copy_is_needed_and_refused_otherwise),
        t_test(in_place_whatever_depends_on_the_table),
        t_test(in_place_beside_a_job_or_over_children_is_refused),
        t_test(in_place_is_refused_when_it_would_read_the_table_under_its_lock),
    };

    return T_MAIN(tests);
}
