/*
 * The verifier is shown each kind of damage at `ready`, and must find it, count it and repair it;
 * and case F20 of the executable model: it passes only when it has compared.
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
    };

    return iso_main(T_MAIN(tests));
}
