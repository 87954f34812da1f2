/*
 * The change log's budget, outgrown in each phase: the application never fails, and the copy begins
 * anew, or the way back is closed and says so. Before that, at 80 %, a warning.
 */
#include "tests/isolation.h"

#include "copy/capture.h"
#include "copy/replay.h"

#define LOADING "pghaul j load%"
#define INDEXING "pghaul j index%"
#define BUDGET "log.budget=64kB"

enum { ROWS = 6000 }; /* one update of all of them writes 27 pages of keys; the budget is 8 pages */

static bool over_budget(const char *label)
{
    return t_int(t_format(
               "SELECT greatest(pg_relation_size('pghaul.%s_a'), pg_relation_size('pghaul.%s_b'))",
               label, label)) > 64 * 1024;
}

/* Three statements: one that outgrows it, and others that find it outgrown and are not logged. */
static void outgrow(void)
{
    iso_play("a: UPDATE item SET v = v + 1", "a: UPDATE item SET v = v + 1 WHERE id % 2 = 0",
             "a: DELETE FROM item WHERE id % 5 = 0",
             "a: INSERT INTO item VALUES (-1, -1, 1, 'new')");
}

static void expect_again_and_ready(struct t_process *job)
{
    struct t_result result;

    t_wait(job, &result);
    t_expect_status(&result, 0);
    t_expect_err(&result, "going back to phase capture");
    (void)iso_load();
    iso_expect_equal();
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    iso_expect_equal_back();
}

static void outgrown_during_the_load_the_copy_begins_anew(void)
{
    struct t_process *job;

    iso_table(ROWS);
    iso_close_gate();
    job = iso_start("settle=off", BUDGET, "chunk.wal=64kB", "--map", iso_gate_map(LOADING, 1501));
    iso_wait_at_gate(LOADING);
    outgrow();
    assert_true(over_budget("log_1"));
    iso_open_gate();
    expect_again_and_ready(job);
}

static void outgrown_before_the_catch_up_the_copy_begins_anew(void)
{
    struct t_process *job;

    iso_table(ROWS);
    t_sql("CREATE INDEX gated ON item (gate_index(id))");
    iso_close_gate();
    job = iso_start("settle=off", BUDGET);
    iso_wait_at_gate(INDEXING);
    outgrow();
    assert_true(over_budget("log_1"));
    iso_open_gate();
    expect_again_and_ready(job);
}

static void outgrown_at_ready_the_cutover_begins_the_copy_anew(void)
{
    struct t_result result;

    iso_table(ROWS);
    iso_ready("settle=off", BUDGET);
    outgrow();
    assert_true(over_budget("log_1"));
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect_err(&result, "the copy begins anew");
    iso_expect_equal_back();
}

static void outgrown_at_ready_a_verification_begins_the_copy_anew(void)
{
    struct t_result result;

    iso_table(ROWS);
    iso_ready("settle=off", BUDGET);
    outgrow();
    t_run(&result, "verify", "j", NULL);
    t_expect_status(&result, 0);
    t_expect_err(&result, "going back to phase capture");
    iso_expect_equal();
}

/* Transactions with old snapshots log even in dual-write mode. */
static void outgrown_during_the_cutover_the_copy_begins_anew(void)
{
    struct t_process *cutover;
    struct t_result result;

    iso_table(ROWS);
    iso_ready("settle=off", BUDGET);
    iso_play("old: BEGIN ISOLATION LEVEL REPEATABLE READ", "old: SELECT 1 FROM pg_class LIMIT 1");
    cutover = t_start("cutover", "j", "--yes", NULL);
    t_wait_until("SELECT facts #>> '{forward,mode}' FROM pghaul.job", "dual-write", 30);
    iso_play("a: SET default_transaction_isolation = 'repeatable read'");
    outgrow();
    iso_play("old: COMMIT");
    t_wait(cutover, &result);
    t_expect_status(&result, 0);
    t_expect_err(&result, "the copy begins anew");
    iso_expect_equal_back();
}

static void outgrown_after_the_cutover_rollback_says_that_it_is_closed(void)
{
    struct t_result result;

    iso_table(ROWS);
    iso_ready("settle=off", BUDGET);
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    outgrow();
    assert_true(over_budget("back_1"));
    t_run(&result, "rollback", "j", "--yes", NULL);
    t_expect_status(&result, 9);
    t_expect_err(&result, "the way back is closed");
    iso_play("a: UPDATE item SET v = 77 WHERE id = 1");
    t_run(&result, "finish", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT v FROM item WHERE id = 1", "77");
}

/* What was not logged stays unlogged, whatever the budget is called later. */
static void a_larger_budget_does_not_forget_that_the_old_one_was_outgrown(void)
{
    struct t_result result;

    iso_table(ROWS);
    iso_ready("settle=off", BUDGET);
    outgrow();
    t_run(&result, "set", "j", "log.budget=1GB", NULL);
    if (result.status != 0)
        return; /* refused: nothing to forget */
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    iso_expect_equal_back();
}

static void a_larger_budget_does_not_open_the_way_back_again(void)
{
    struct t_result result;

    iso_table(ROWS);
    iso_ready("settle=off", BUDGET);
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    outgrow();
    t_sql("CREATE TABLE ledger AS SELECT id, u, v::int, t FROM item");
    t_run(&result, "set", "j", "log.budget=1GB", NULL);
    t_run(&result, "rollback", "j", "--yes", NULL);
    t_expect_status(&result, 9);
    t_expect_err(&result, "the way back is closed");
}

/* A larger budget that is given in time counts. */
static void a_larger_budget_given_in_time_is_used(void)
{
    struct t_result result;

    iso_table(ROWS);
    iso_ready("settle=off", BUDGET);
    t_run(&result, "set", "j", "log.budget=1GB", NULL);
    t_expect_status(&result, 0);
    outgrow();
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    iso_expect_equal_back();
}

/* 1500 keys are 7 pages of 8: 87 %. */
static void fill(void)
{
    iso_play("a: UPDATE item SET v = v + 1 WHERE id <= 1500");
}

static void expect_warnings(const char *flow, int64_t expected)
{
    assert_int_equal(t_int(t_format("SELECT count(*) FROM pghaul.event\n"
                                    " WHERE kind = 'budget' AND detail LIKE '%s: %%'",
                                    flow)),
                     expected);
}

static void resume(bool warns, const char *consequence)
{
    struct t_result result;

    t_run(&result, "resume", "j", NULL);
    t_expect_status(&result, 0);
    if (warns) {
        t_expect_err(&result, "the change log has used 87 % of log.budget");
        t_expect_err(&result, consequence);
    } else {
        t_expect_no_err(&result, "log.budget");
    }
}

static void a_log_at_80_percent_is_told_of_at_the_end_of_the_load(void)
{
    struct t_process *job;
    struct t_result result;

    iso_table(ROWS);
    iso_close_gate();
    job = iso_start("settle=off", BUDGET, "chunk.wal=64kB", "--map", iso_gate_map(LOADING, 3001));
    iso_wait_at_gate(LOADING);
    fill();
    iso_open_gate();
    t_wait(job, &result);
    t_expect_status(&result, 0);
    t_expect_err(&result, "the change log has used 87 % of log.budget");
    t_expect_no_err(&result, "going back to phase capture");
    expect_warnings("forward", 1);
    t_expect("SELECT (SELECT max(id) FROM pghaul.event WHERE kind = 'budget')\n"
             "     < (SELECT max(id) FROM pghaul.event WHERE kind = 'phase' AND detail = 'index')",
             "t");
    (void)iso_load();
    iso_expect_equal();
}

/* Once for each filling: while the other side cannot be cut off, this one stays. */
static void a_log_at_80_percent_is_told_of_once_and_again_when_it_fills_again(void)
{
    static const char *const ANEW = "the copy begins anew";

    iso_table(ROWS);
    iso_ready("settle=off", BUDGET);
    iso_play("a: UPDATE item SET v = v + 1 WHERE id <= 900"); /* 4 pages: 50 % */
    iso_play("b: BEGIN", "b: INSERT INTO pghaul.log_1_b VALUES (1)");
    resume(false, NULL);
    expect_warnings("forward", 0);
    iso_play("a: UPDATE item SET v = v + 1 WHERE id <= 600"); /* 7 pages */
    resume(true, ANEW);
    resume(false, NULL);
    expect_warnings("forward", 1);
    iso_play("b: ROLLBACK");
    resume(false, NULL); /* cuts off b, */
    resume(false, NULL); /* turns to it, and cuts off a */
    t_expect("SELECT pg_relation_size('pghaul.log_1_a')", "0");
    expect_warnings("forward", 1);
    fill();
    resume(true, ANEW);
    expect_warnings("forward", 2);
    iso_expect_equal();
}

static void a_log_of_the_way_back_at_80_percent_is_told_of_once(void)
{
    struct t_result result;

    iso_table(ROWS);
    iso_ready("settle=off", BUDGET);
    fill();
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect_err(&result, "the change log has used 87 % of log.budget");
    expect_warnings("forward", 1);
    fill();
    iso_play("b: BEGIN", "b: INSERT INTO pghaul.back_1_b VALUES (1)");
    resume(true, "the way back is closed");
    resume(false, NULL);
    expect_warnings("backward", 1);
    iso_play("b: ROLLBACK");
    iso_expect_equal_back();
    t_sql("CREATE TABLE ledger AS SELECT id, u, v::int, t FROM item");
    t_run(&result, "rollback", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT count(*) FROM (TABLE ledger EXCEPT TABLE item) AS x", "0");
    expect_warnings("backward", 1);
}

static void a_log_that_is_below_80_percent_is_not_told_of(void)
{
    struct t_result result;

    iso_table(ROWS);
    iso_ready("settle=off", BUDGET);
    iso_play("a: UPDATE item SET v = v + 1 WHERE id <= 1300"); /* 6 pages: 75 % */
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect_no_err(&result, "log.budget");
    t_expect("SELECT count(*) FROM pghaul.event WHERE kind = 'budget'", "0");
}

/* A file does not shrink by being drained: its turn comes before the budget is used up. */
static void the_smallest_budget_lasts_under_steady_writes_that_are_drained(void)
{
    struct error error = {0};
    struct run *run;

    iso_table(ROWS);
    iso_ready("settle=off", BUDGET);
    run = iso_load();
    for (int i = 0; i < 60; i++) {
        struct replay_result result;

        t_sql("UPDATE item SET v = v + 1 WHERE id <= 600"); /* 3 pages */
        assert_true(replay_catch_up(run, &copy_of(run)->forward, &result, &error));
        assert_false(over_budget("log_1"));
    }
    assert_int_equal(iso_log_rows(), 0);
    iso_expect_equal();
}

static void a_budget_that_could_not_last_is_refused(void)
{
    struct t_result result;

    iso_table(10);
    t_run(&result, "alter", "item", "--job", "j", "-s", "log.budget=10", NULL);
    t_expect_status(&result, 2);
    t_expect_err(&result, "setting log.budget cannot be \"10\"");
    t_expect_err(&result, "begin anew for ever");
    t_expect_err(&result, "from 64kB to 1024TB, or 0");
    t_expect("SELECT to_regclass('pghaul.job') IS NULL", "t");
    iso_ready("settle=off", BUDGET);
    t_run(&result, "set", "j", "log.budget=63kB", NULL);
    t_expect_status(&result, 2);
    t_expect_err(&result, "begin anew for ever");
    t_run(&result, "set", "j", "log.budget=0", NULL);
    t_expect_status(&result, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(outgrown_during_the_load_the_copy_begins_anew),
        t_test(outgrown_before_the_catch_up_the_copy_begins_anew),
        t_test(outgrown_at_ready_the_cutover_begins_the_copy_anew),
        t_test(outgrown_at_ready_a_verification_begins_the_copy_anew),
        t_test(outgrown_during_the_cutover_the_copy_begins_anew),
        t_test(outgrown_after_the_cutover_rollback_says_that_it_is_closed),
        t_test(a_larger_budget_does_not_forget_that_the_old_one_was_outgrown),
        t_test(a_larger_budget_does_not_open_the_way_back_again),
        t_test(a_larger_budget_given_in_time_is_used),
        t_test(a_log_at_80_percent_is_told_of_at_the_end_of_the_load),
        t_test(a_log_at_80_percent_is_told_of_once_and_again_when_it_fills_again),
        t_test(a_log_of_the_way_back_at_80_percent_is_told_of_once),
        t_test(a_log_that_is_below_80_percent_is_not_told_of),
        t_test(the_smallest_budget_lasts_under_steady_writes_that_are_drained),
        t_test(a_budget_that_could_not_last_is_refused),
    };

    return iso_main(T_MAIN(tests));
}
