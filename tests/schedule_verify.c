/*
 * The verifier is shown each kind of damage at `ready`, and must find it, count it and repair it;
 * and cases F20 and F39 of the executable model: it passes only when it has compared, and finds no
 * difference where there is none.
 */
#include "tests/isolation.h"

#include <jansson.h>
#include <string.h>

static int64_t differences_in_status(void)
{
    struct t_result result;
    json_t *array;
    int64_t count;

    t_run(&result, "status", "j", "--json", NULL);
    t_expect_status(&result, 0);
    array = json_loads(result.out, 0, NULL);
    count = json_integer_value(
        json_object_get(json_is_array(array) ? json_array_get(array, 0) : array, "differences"));
    json_decref(array);
    return count;
}

/* Damages the shadow of a job that is ready; `rows` of them are to be found. */
static void expect_found(const char *damage, int64_t rows)
{
    struct t_result result;

    t_sql(damage);
    iso_expect_differences(rows);
    t_run(&result, "verify", "j", NULL);
    t_expect_status(&result, 0);
    assert_int_equal(t_int("SELECT (facts #>> '{verify,differences}')::int FROM pghaul.job"), rows);
    assert_int_equal(differences_in_status(), rows);
    iso_expect_equal();
    assert_int_equal(iso_log_rows(), 0);
}

static void expect_found_in_a_plain_table(const char *damage, int64_t rows)
{
    iso_table(300);
    t_sql("UPDATE item SET t = '' WHERE id = 7; UPDATE item SET t = NULL WHERE id = 8");
    iso_ready("settle=off");
    expect_found(damage, rows);
}

static void a_missing_row_is_found(void)
{
    expect_found_in_a_plain_table("DELETE FROM pghaul.item_1 WHERE id = 150", 1);
}

static void missing_rows_at_both_ends_are_found(void)
{
    expect_found_in_a_plain_table("DELETE FROM pghaul.item_1 WHERE id IN (1, 300)", 2);
}

static void an_extra_row_is_found(void)
{
    expect_found_in_a_plain_table("INSERT INTO pghaul.item_1 VALUES (1000, 1000, 0, 'extra')", 1);
}

static void extra_rows_before_the_first_and_after_the_last_are_found(void)
{
    expect_found_in_a_plain_table(
        "INSERT INTO pghaul.item_1 VALUES (-1000, -1000, 0, 'extra'),"
        " (2147483647, 1000, 0, 'extra'), (-2147483648, NULL, NULL, NULL)",
        3);
}

static void a_stale_row_is_found(void)
{
    expect_found_in_a_plain_table("UPDATE pghaul.item_1 SET v = v - 1 WHERE id IN (3, 299)", 2);
}

static void a_null_for_an_empty_text_and_the_reverse_are_found(void)
{
    expect_found_in_a_plain_table(
        "UPDATE pghaul.item_1 SET t = CASE id WHEN 8 THEN '' END WHERE id IN (7, 8)", 2);
}

static void a_trailing_space_is_found(void)
{
    expect_found_in_a_plain_table("UPDATE pghaul.item_1 SET t = t || ' ' WHERE id = 9", 1);
}

static void every_row_damaged_is_found(void)
{
    expect_found_in_a_plain_table("UPDATE pghaul.item_1 SET v = -1", 300);
}

static void an_empty_shadow_is_found(void)
{
    expect_found_in_a_plain_table("DELETE FROM pghaul.item_1", 300);
}

static void an_empty_table_with_a_row_in_the_shadow_is_found(void)
{
    iso_table(0);
    iso_ready("settle=off");
    expect_found("INSERT INTO pghaul.item_1 VALUES (1, 1, 1, 'extra')", 1);
}

static void a_numeric_of_another_scale_is_found(void)
{
    iso_table_with("id int PRIMARY KEY, u numeric UNIQUE, v int, t text", 50);
    iso_ready("settle=off");
    expect_found("UPDATE pghaul.item_1 SET u = 7.00 WHERE id = 7", 1);
}

static void a_numeric_key_of_another_scale_is_found(void)
{
    iso_table_with("id numeric PRIMARY KEY, u int UNIQUE, v int, t text", 50);
    iso_ready("settle=off");
    expect_found("UPDATE pghaul.item_1 SET id = 7.00 WHERE id = 7", 1);
}

static void a_negative_zero_is_found(void)
{
    iso_table_with("id int PRIMARY KEY, u float8 UNIQUE, v int, t text", 50);
    t_sql("UPDATE item SET u = 0.0 WHERE id = 5");
    iso_ready("settle=off");
    expect_found("UPDATE pghaul.item_1 SET u = '-0.0' WHERE id = 5", 1);
}

static void another_case_in_citext_is_found(void)
{
    t_sql("CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext");
    iso_table_with("id int PRIMARY KEY, u int UNIQUE, v int, t ext.citext", 50);
    t_sql("UPDATE item SET t = 'A' WHERE id = 5");
    iso_ready("settle=off");
    expect_found("UPDATE pghaul.item_1 SET t = 'a' WHERE id = 5", 1);
}

static void another_case_in_a_citext_key_is_found(void)
{
    struct t_result result;

    t_sql("CREATE EXTENSION citext");
    t_sql("CREATE TABLE item (id citext PRIMARY KEY, u int UNIQUE, v int, t text);"
          "INSERT INTO item SELECT 'Key ' || g, g, 0, 'x' FROM generate_series(1, 50) AS g");
    iso_ready("settle=off");
    expect_found("UPDATE pghaul.item_1 SET id = 'kEY 7' WHERE id = 'key 7'", 1);
    t_sql("UPDATE item SET id = 'KEY 8' WHERE id = 'key 8'; INSERT INTO item VALUES ('new', NULL, "
          "1, 'n');"
          "DELETE FROM item WHERE id = 'KEY 9'");
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    iso_expect_equal_back();
}

static void other_text_of_equal_json_is_found(void)
{
    t_sql("CREATE TABLE item (id int PRIMARY KEY, u int UNIQUE, v int, t jsonb);"
          "INSERT INTO item SELECT g, g, 0, '{\"a\": 1.0}' FROM generate_series(1, 20) AS g");
    iso_ready("settle=off");
    expect_found("UPDATE pghaul.item_1 SET t = '{\"a\": 1.00}' WHERE id = 5", 1);
}

/* F20: every row differs and every key is in the log: nothing could be said about them until they
 * were replayed. */
static void keys_in_the_log_are_compared_before_it_passes(void)
{
    struct t_result result;

    iso_table(300);
    iso_ready("settle=off");
    t_sql("UPDATE pghaul.item_1 SET v = -1; INSERT INTO pghaul.log_1_a SELECT id FROM item");
    t_run(&result, "verify", "j", NULL);
    t_expect_status(&result, 0);
    assert_int_equal(iso_log_rows(), 0);
    iso_expect_equal();
}

/* F20 */
static void after_a_truncate_it_does_not_pass_with_nothing_compared(void)
{
    struct t_result result;

    iso_table(300);
    iso_ready("settle=off");
    t_sql("TRUNCATE item; INSERT INTO item VALUES (1, 1, 1, 'only')");
    t_run(&result, "verify", "j", NULL);
    t_expect_status(&result, 0);
    t_expect_err(&result, "going back to phase capture");
    iso_expect_equal();
    assert_int_equal(t_int("SELECT count(*) FROM pghaul.item_1"), 1);
}

/* Zero false alarms: its own statement beside transactions that are open, committing and waiting.
 */
static void a_row_in_flight_is_no_difference(void)
{
    struct t_process *verify;
    struct t_result result;

    iso_table(300);
    iso_ready("settle=off");
    iso_dual_write();
    iso_play("a: BEGIN", "a: UPDATE item SET v = 1 WHERE id < 100",
             "a: DELETE FROM item WHERE id = 200",
             "a: INSERT INTO item VALUES (1000, 1000, 0, 'n')",
             "b: BEGIN ISOLATION LEVEL REPEATABLE READ", "b: UPDATE item SET v = 1 WHERE id = 250",
             "c: UPDATE item SET v = 3 WHERE id = 299");
    verify = t_start("verify", "j", NULL);
    t_wait(verify, &result);
    t_expect_status(&result, 0);
    t_expect("SELECT facts #>> '{verify,differences}' FROM pghaul.job", "0");
    iso_play("a: COMMIT", "b: COMMIT");
    iso_expect_equal();
}

/*
 * F39: the same value is stored in many ways (a column that was added and never written, a dropped
 * one in between, a composite from before its type grew, compressed or external), and a value that
 * is mapped has to be compared as its column keeps it, with scale and length.
 */
static void one_value_stored_in_two_ways_is_no_difference(void)
{
    struct t_result result;

    t_sql(
        "CREATE TYPE co AS (a int, b text);\n"
        "CREATE TABLE item (id int PRIMARY KEY, b bool, c \"char\", n name, i2 int2, i8 int8,\n"
        "    f4 float4, f8 float8, nu numeric, nu2 numeric(20,4), m money, t text, bp char(7),\n"
        "    by bytea, d date, ti time, ttz timetz, ts timestamp, tz timestamptz, iv interval,\n"
        "    u uuid, inn inet, ci cidr, ma macaddr, p point, bo box, po polygon, ci2 circle,\n"
        "    j json, jb jsonb, x xml, ar int[], art text[], r int4range, nr numrange,\n"
        "    tv tsvector, bi bit(5), vb varbit, o oid, cc co, lo int2vector, mr int4multirange,\n"
        "    m1 int, m2 text, m3 float8, m4 int[], m5 int, m6 text, m7 text);\n"
        "INSERT INTO item SELECT g, g % 2 = 0, chr(65 + g % 20)::\"char\", 'n' || g, g,\n"
        "    g::bigint * 1e9, g / 3.0::float4,\n"
        "    CASE g % 4 WHEN 0 THEN '-0'::float8 WHEN 1 THEN 'nan' ELSE g / 7.0 END,\n"
        "    CASE g % 3 WHEN 0 THEN 1.0 WHEN 1 THEN 'NaN' ELSE g * 1.00 END, g, g::text::money,\n"
        "    repeat(md5(g::text), (g % 50) * 20), 'ab', decode(md5(g::text), 'hex'),\n"
        "    now()::date + g, now()::time, now()::timetz, now()::timestamp, now(),\n"
        "    make_interval(secs => g * 86400.5), gen_random_uuid(), '10.0.0.1'::inet + g,\n"
        "    '10.0.0.0/8', '08:00:2b:01:02:03', point(g, -0.0), box(point(0, 0), point(g, g)),\n"
        "    '((0,0),(1,1),(1,0))', '<(0,0),1>', '{\"a\": 1.0,\"a\":2}', '{\"b\":1.00}', '<a/>',\n"
        "    ARRAY[g, NULL, 3], ARRAY['x', repeat('y', 3000), NULL], int4range(1, g + 2),\n"
        "    numrange(1.0, g + 2.00), to_tsvector('the quick brown' || g), b'10101', b'101',\n"
        "    3000000000, row(g, 'x')::co, '1 2 3', '{[1,3),[5,9)}',\n"
        "    g, g || '.50', g / 3.0, ARRAY[g], g, g, 'ab'\n"
        "  FROM generate_series(1, 300) AS g;\n"
        "ALTER TABLE item ADD added int DEFAULT 7, ADD addt text DEFAULT 'zz';\n"
        "ALTER TABLE item DROP COLUMN i2;\n"
        "ALTER TYPE co ADD ATTRIBUTE z int");
    t_run(&result, "alter", "item", "--job", "j", "--no-rollback", "-s", "settle=off", "--do",
          "ALTER COLUMN t SET STORAGE EXTERNAL", "--do", "ALTER COLUMN m1 TYPE bigint", "--do",
          "ALTER COLUMN m2 TYPE numeric(12,2) USING m2::numeric(12,2)", "--do",
          "ALTER COLUMN m3 TYPE numeric", "--do", "ALTER COLUMN m4 TYPE bigint[]", "--do",
          "ALTER COLUMN m5 TYPE numeric(12,2)", "--do", "ALTER COLUMN m6 TYPE varchar(10)", "--do",
          "ALTER COLUMN m7 TYPE char(8)", "--map", "m2 = r.m2::numeric", NULL);
    t_expect_status(&result, 0);
    t_expect(
        "SELECT facts #>> '{verify,rows}' || ' ' || (facts #>> '{verify,differences}') || ' '\n"
        "    || (facts #>> '{verify,left_out}') FROM pghaul.job",
        "300 0 0");
    (void)iso_load();
    iso_dual_write();
    t_sql("UPDATE item SET b = NOT b WHERE id <= 20");
    t_expect("SELECT count(*) FROM pghaul.log_1_a", "0");
    t_run(&result, "verify", "j", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT facts #>> '{verify,differences}' FROM pghaul.job", "0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_missing_row_is_found),
        t_test(missing_rows_at_both_ends_are_found),
        t_test(an_extra_row_is_found),
        t_test(extra_rows_before_the_first_and_after_the_last_are_found),
        t_test(a_stale_row_is_found),
        t_test(a_null_for_an_empty_text_and_the_reverse_are_found),
        t_test(a_trailing_space_is_found),
        t_test(every_row_damaged_is_found),
        t_test(an_empty_shadow_is_found),
        t_test(an_empty_table_with_a_row_in_the_shadow_is_found),
        t_test(a_numeric_of_another_scale_is_found),
        t_test(a_numeric_key_of_another_scale_is_found),
        t_test(a_negative_zero_is_found),
        t_test(another_case_in_citext_is_found),
        t_test(another_case_in_a_citext_key_is_found),
        t_test(other_text_of_equal_json_is_found),
        t_test(keys_in_the_log_are_compared_before_it_passes),
        t_test(after_a_truncate_it_does_not_pass_with_nothing_compared),
        t_test(a_row_in_flight_is_no_difference),
        t_test(one_value_stored_in_two_ways_is_no_difference),
    };

    return iso_main(T_MAIN(tests));
}
