/*
 * The change log's budget, outgrown in each phase: the application never fails, and the copy begins
 * anew, or the way back is closed and says so.
 */
#include "tests/isolation.h"

#include "copy/capture.h"

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
    };

    return iso_main(T_MAIN(tests));
}
