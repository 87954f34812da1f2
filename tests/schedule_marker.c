/*
 * The marker of an outgrown log outlives the log's size, which a crash, a failover or VACUUM FULL
 * takes away: whoever finds the log too long leaves a row, as durable as the change itself.
 */
#include "tests/isolation.h"

enum { ROWS = 6000 };

/*
 * T1 makes the log's file long and is gone, as a transaction is whose records never reached the
 * standby; T2 finds it long and commits; then the file is short, as it is there.
 */
static void skip_and_forget_the_size(const char *label, const char *change)
{
    iso_play("t1: BEGIN", "t1: UPDATE item SET v = v + 1", "t1: ROLLBACK");
    iso_play(change);
    t_sqlf("VACUUM FULL pghaul.%s_a; ", label);
    t_sqlf("VACUUM FULL pghaul.%s_b", label);
    assert_int_equal(
        t_int(t_format("SELECT pg_relation_size('pghaul.%s_a') + pg_relation_size('pghaul.%s_b')",
                       label, label)),
        0);
}

static void cut_over_after_a_copy_anew(void)
{
    struct t_result result;

    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect_err(&result, "the copy begins anew");
    t_expect("SELECT count(*) FROM item WHERE v = 7", "3000");
    iso_expect_equal_back();
}

static void a_change_that_was_not_logged_is_marked_when_the_size_is_forgotten(void)
{
    iso_table(ROWS);
    iso_ready("settle=off", "log.budget=64kB", "cutover.hold=30s");
    skip_and_forget_the_size("log_1", "t2: UPDATE item SET v = 7 WHERE id % 2 = 0");
    cut_over_after_a_copy_anew();
}

/* Where dual-write falls back to the log. */
static void a_change_that_could_not_be_written_through_is_marked_as_well(void)
{
    iso_table(ROWS);
    iso_ready("settle=off", "log.budget=64kB", "cutover.hold=30s");
    iso_dual_write();
    iso_play("t1: SET default_transaction_isolation = 'repeatable read'",
             "t2: SET default_transaction_isolation = 'repeatable read'");
    skip_and_forget_the_size("log_1", "t2: UPDATE item SET v = 7 WHERE id % 2 = 0");
    cut_over_after_a_copy_anew();
}

static void the_way_back_is_closed_when_the_size_is_forgotten(void)
{
    struct t_result result;

    iso_table(ROWS);
    iso_ready("settle=off", "log.budget=64kB", "cutover.hold=30s");
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    skip_and_forget_the_size("back_1", "t2: UPDATE item SET v = 7 WHERE id % 2 = 0");
    t_run(&result, "rollback", "j", "--yes", NULL);
    t_expect_status(&result, 9);
    t_expect_err(&result, "the way back is closed");
    t_expect("SELECT count(*) FROM item WHERE v = 7", "3000");
}

/* Rows of the marker that were rolled back, so many that nobody adds to them: its size counts. */
static void a_marker_that_is_full_is_a_marker(void)
{
    iso_table(ROWS);
    iso_ready("settle=off", "log.budget=64kB", "cutover.hold=30s");
    iso_play("t1: BEGIN",
             "t1: INSERT INTO pghaul.log_1_mark SELECT now()"
             " FROM generate_series(1, 60000)",
             "t1: ROLLBACK");
    skip_and_forget_the_size("log_1", "t2: UPDATE item SET v = 7 WHERE id % 2 = 0");
    t_expect("SELECT count(*) FROM pghaul.log_1_mark", "0");
    cut_over_after_a_copy_anew();
}

/* The first vacuum would cut off what was rolled back, but for vacuum_truncate. */
static void a_vacuum_does_not_take_the_marker_away(void)
{
    iso_table(ROWS);
    iso_ready("settle=off", "log.budget=64kB", "cutover.hold=30s");
    iso_play("t1: BEGIN",
             "t1: INSERT INTO pghaul.log_1_mark SELECT now()"
             " FROM generate_series(1, 60000)",
             "t1: ROLLBACK");
    skip_and_forget_the_size("log_1", "t2: UPDATE item SET v = 7 WHERE id % 2 = 0");
    t_sql("VACUUM pghaul.log_1_mark");
    cut_over_after_a_copy_anew();
}

/* What was rolled back was never marked: neither a TRUNCATE nor a change of an outgrown log. */
static void what_was_rolled_back_leaves_no_marker(void)
{
    struct t_result result;

    iso_table(ROWS);
    iso_ready("settle=off", "log.budget=64kB", "cutover.hold=30s");
    iso_play("t1: BEGIN", "t1: UPDATE item SET v = v + 1", "t1: UPDATE item SET v = v + 1",
             "t1: ROLLBACK", "t1: BEGIN", "t1: TRUNCATE item", "t1: ROLLBACK");
    t_sql("VACUUM FULL pghaul.log_1_a");
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect_no_err(&result, "anew");
    iso_expect_equal_back();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_change_that_was_not_logged_is_marked_when_the_size_is_forgotten),
        t_test(a_change_that_could_not_be_written_through_is_marked_as_well),
        t_test(the_way_back_is_closed_when_the_size_is_forgotten),
        t_test(a_marker_that_is_full_is_a_marker),
        t_test(a_vacuum_does_not_take_the_marker_away),
        t_test(what_was_rolled_back_leaves_no_marker),
    };

    return iso_main(T_MAIN(tests));
}
