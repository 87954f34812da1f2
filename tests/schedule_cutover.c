/*
 * The swap against the application: cases F16, F28, F32, F37, F38, F45 of the executable model. An
 * event trigger stops the swap under its locks, before the first ALTER.
 */
#include "tests/isolation.h"

#include "engine/base/clock.h"

#define SWAPPING "pghaul"

/* The swap stands still under its locks, after its replay, until the gate is opened. */
static void gate_the_swap(void)
{
    t_sql("CREATE FUNCTION gate_swap() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
          " PERFORM public.gate(1, 'pghaul', 1); END $$;"
          "CREATE EVENT TRIGGER gate_swap ON ddl_command_start WHEN TAG IN ('ALTER TABLE', 'ALTER "
          "INDEX')"
          " EXECUTE FUNCTION gate_swap()");
    iso_close_gate();
}

static struct t_process *start_and_stop_under_the_locks(void)
{
    struct t_process *cutover;

    gate_the_swap();
    cutover = t_start("cutover", "j", "--yes", NULL);
    iso_wait_at_gate(SWAPPING);
    t_expect("SELECT count(*) FROM pg_locks WHERE relation = 'item'::regclass AND mode = "
             "'AccessExclusiveLock' AND"
             " granted",
             "1");
    return cutover;
}

static void go_on(struct t_process *process)
{
    struct t_result result;

    iso_open_gate();
    t_wait(process, &result);
    t_expect_status(&result, 0);
    t_sql("DROP EVENT TRIGGER gate_swap");
}

static void roll_back_and_compare(void)
{
    struct t_result result;

    t_sql("CREATE TABLE ledger AS SELECT id, u, v::int, t FROM item");
    t_run(&result, "rollback", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT pg_typeof(v)::text FROM item LIMIT 1", "integer");
    t_expect("SELECT count(*) FROM ((TABLE ledger EXCEPT ALL TABLE item) UNION ALL"
             " (TABLE item EXCEPT ALL TABLE ledger)) AS x",
             "0");
}

/* F16 */
static void a_snapshot_older_than_the_copy_is_waited_for(void)
{
    struct t_process *cutover;
    struct t_result result;

    iso_table(10);
    iso_play("old: BEGIN ISOLATION LEVEL REPEATABLE READ", "old: SELECT 1 FROM pg_class LIMIT 1");
    iso_ready("settle=off");
    cutover = t_start("cutover", "j", "--yes", NULL);
    t_wait_until("SELECT facts #>> '{forward,mode}' FROM pghaul.job", "dual-write", 30);
    clock_sleep_ms(300);
    assert_true(t_running(cutover));
    assert_string_equal(iso_ask("old", "SELECT count(*) FROM item"), "10");
    iso_play("old: UPDATE item SET v = 9 WHERE id = 1", "old: COMMIT");
    t_wait(cutover, &result);
    t_expect_status(&result, 0);
    t_expect("SELECT v FROM item WHERE id = 1", "9");
    iso_expect_equal_back();
}

/* F16 */
static void a_snapshot_that_stays_ends_the_cutover_and_not_the_job(void)
{
    struct t_result result;

    iso_table(10);
    iso_play("old: BEGIN ISOLATION LEVEL REPEATABLE READ", "old: SELECT 1 FROM pg_class LIMIT 1");
    iso_ready("settle=off", "snapshot.wait=300ms");
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 6);
    t_expect_err(&result, "old");
    iso_play("a: UPDATE item SET v = 1 WHERE id = 1", "a: DELETE FROM item WHERE id = 2",
             "old: COMMIT");
    iso_expect_equal();
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    iso_expect_equal_back();
}

/* F38, F45: taken before the swap's commit, used after it. */
static void a_snapshot_taken_during_the_swap_reads_the_rows_of_its_moment(void)
{
    struct t_process *cutover;

    iso_table(10);
    iso_ready("settle=off", "cutover.hold=60s");
    iso_play("a: UPDATE item SET v = 5 WHERE id = 1",
             "a: INSERT INTO item VALUES (11, 11, 1, 'new')", "a: DELETE FROM item WHERE id = 3");
    cutover = start_and_stop_under_the_locks();
    iso_play("r: BEGIN ISOLATION LEVEL REPEATABLE READ", "r: SELECT 1 FROM pg_class LIMIT 1",
             "w: BEGIN ISOLATION LEVEL REPEATABLE READ", "w: SELECT 1 FROM pg_class LIMIT 1");
    go_on(cutover);
    iso_play("a: UPDATE item SET v = 6 WHERE id = 4");
    assert_string_equal(iso_ask("r", "SELECT string_agg(id || ':' || v, ' ' ORDER BY id) FROM item"
                                     " WHERE id IN (1, 3, 4, 11)"),
                        "1:5 4:0 11:1");
    assert_string_equal(iso_ask("r", "SELECT count(*) FROM item"), "10");
    iso_play("w: UPDATE item SET v = 9 WHERE id = 5", "w! 40001 UPDATE item SET v = 9 WHERE id = 4",
             "w: ROLLBACK", "r: COMMIT");
    iso_expect_equal_back();
    roll_back_and_compare();
}

/* F37: their sessions have compiled the empty body; they are blocked, idle, prepared and in a
 * transaction. */
static void the_way_back_is_armed_for_every_session(void)
{
    struct t_process *cutover;

    iso_table(10);
    iso_ready("settle=off", "cutover.hold=60s");
    iso_dual_write();
    iso_play("idle: UPDATE item SET v = v + 1 WHERE id = 1",
             "blocked: UPDATE item SET v = v + 1 WHERE id = 1",
             "inserts: INSERT INTO item VALUES (20, 20, 0, 'n')",
             "inserts: DELETE FROM item WHERE id = 20",
             "prepared: PREPARE q AS UPDATE item SET v = v + 1 WHERE id = 4",
             "prepared: EXECUTE q");
    for (int i = 0; i < 6; i++) /* a generic plan */
        iso_play("prepared: EXECUTE q");
    cutover = start_and_stop_under_the_locks();
    iso_play("blocked> UPDATE item SET v = v + 1 WHERE id = 2",
             "inserts> INSERT INTO item VALUES (21, 21, 0, 'n')",
             "deletes> DELETE FROM item WHERE id = 7", "prepared> EXECUTE q");
    go_on(cutover);
    iso_play("blocked<", "inserts<", "deletes<", "prepared<",
             "idle: UPDATE item SET v = v + 1 WHERE id = 3");
    t_expect("SELECT v FROM item WHERE id = 4", "8");
    t_expect("SELECT string_agg(k1::text, ' ' ORDER BY k1) FROM (TABLE pghaul.back_1_a UNION TABLE "
             "pghaul.back_1_b) AS l",
             "2 3 4 7 21");
    iso_expect_equal_back();
    roll_back_and_compare();
}

/* F28 */
static void nobody_writes_the_log_between_the_last_look_and_the_swap(void)
{
    struct t_process *cutover;

    iso_table(10);
    iso_ready("settle=off", "cutover.hold=60s");
    cutover = start_and_stop_under_the_locks();
    assert_int_equal(iso_log_rows(), 0);
    iso_play("repair> INSERT INTO pghaul.log_1_a VALUES (3)");
    go_on(cutover);
    iso_play("repair<");
    iso_expect_equal_back();
}

/* A transaction that wrote and stays in the way until just before the lock: its keys are replayed
 * under it. */
static void what_commits_just_before_the_lock_is_in_the_new_table(void)
{
    struct t_process *cutover;
    struct t_result result;

    iso_table(10);
    iso_ready("settle=off");
    cutover = NULL;
    iso_play("a: BEGIN ISOLATION LEVEL REPEATABLE READ",
             "a: UPDATE item SET v = 1, u = 100 WHERE id = 1",
             "a: UPDATE item SET u = 1 WHERE id = 2", "a: DELETE FROM item WHERE id = 3",
             "a: UPDATE item SET id = 30 WHERE id = 4");
    iso_dual_write();
    iso_play("b: BEGIN", "b: UPDATE item SET v = 2 WHERE id = 5",
             "b: UPDATE item SET id = 60 WHERE id = 6");
    cutover = t_start("cutover", "j", "--yes", NULL);
    clock_sleep_ms(400);
    iso_play("a: COMMIT");
    clock_sleep_ms(400);
    assert_true(t_running(cutover));
    iso_play("b: COMMIT");
    t_wait(cutover, &result);
    t_expect_status(&result, 0);
    t_expect("SELECT string_agg(concat_ws(':', id, u, v), ' ' ORDER BY id) FROM item WHERE id IN "
             "(1, 2, 3, 5, 30, 60)",
             "1:100:1 2:1:0 5:5:2 30:4:0 60:6:0");
    iso_expect_equal_back();
    roll_back_and_compare();
}

/* F32: all locks of a try have one deadline together; who waits behind it waits for that and no
 * longer. */
static void a_swap_that_cannot_have_its_locks_lets_the_application_go_on(void)
{
    struct t_process *cutover;
    struct t_result result;
    int64_t longest_ms = 0;

    iso_table(10);
    iso_ready("settle=off", "lock.tries=4");
    iso_play(
        "shadow: BEGIN",
        "shadow: LOCK TABLE pghaul.item_1, pghaul.log_1_a, pghaul.log_1_b IN ACCESS SHARE MODE",
        "shadow: LOCK TABLE pghaul.log_1_mark, pghaul.log_1_stuck IN ACCESS SHARE MODE");
    cutover = t_start("cutover", "j", "--yes", NULL);
    while (t_running(cutover)) {
        iso_play("a: UPDATE item SET v = v + 1 WHERE id = 1");
        if (iso_took_ms("a") > longest_ms)
            longest_ms = iso_took_ms("a");
        clock_sleep_ms(2);
    }
    t_wait(cutover, &result);
    t_expect_status(&result, 6);
    assert_true(longest_ms < 100); /* the issue: no wait above this is caused by us */
    iso_play("shadow: ROLLBACK");
    iso_expect_equal();
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    iso_expect_equal_back();
}

/*
 * F32: the new table comes free after 200 ms, the log never. With cutover.wait=400ms a sum of waits
 * would be 200 ms and a whole wait more.
 */
static void the_application_waits_for_one_deadline_and_not_for_a_sum(void)
{
    struct t_process *cutover;
    struct t_result result;
    int64_t start_ms, took_ms;

    iso_table(10);
    iso_ready("settle=off", "lock.tries=1", "cutover.wait=400ms");
    iso_play("a: SELECT 1", "to: BEGIN", "to: LOCK TABLE pghaul.item_1 IN ACCESS SHARE MODE",
             "log: BEGIN", "log: LOCK TABLE pghaul.log_1_a IN ROW SHARE MODE");
    cutover = t_start("cutover", "j", "--yes", NULL);
    t_wait_until(
        "SELECT count(*) FROM pg_locks WHERE relation = 'pghaul.item_1'::regclass AND mode ="
        " 'AccessExclusiveLock' AND NOT granted",
        "1", 30);
    start_ms = clock_ms();
    iso_play("a> UPDATE item SET v = v + 1 WHERE id = 1");
    clock_sleep_ms(200 - (clock_ms() - start_ms));
    iso_play("to: ROLLBACK", "a<");
    took_ms = clock_ms() - start_ms;
    t_wait(cutover, &result);
    t_expect_status(&result, 6);
    print_message("waited %d ms\n", (int)took_ms);
    assert_true(took_ms < 400);
    iso_play("log: ROLLBACK");
    iso_expect_equal();
}

/*
 * Statements that were prepared before a swap. Whose result has other columns than before fails, as
 * after any ALTER TABLE, and nothing else does.
 */
#define PREPARE_ALL "PREPARE star AS SELECT * FROM item WHERE id = 3"
static void prepare_statements(const char *plans)
{
    iso_play(t_format("app: SET plan_cache_mode = %s", plans), "app: " PREPARE_ALL,
             "app: PREPARE named AS SELECT id, t FROM item WHERE id = $1",
             "app: PREPARE upd AS UPDATE item SET v = $1 WHERE id = $2",
             "app: PREPARE ins AS INSERT INTO item VALUES ($1, $1, $2, 'p')", "app: EXECUTE star",
             "app: EXECUTE named(1)", "app: EXECUTE upd(1, 1)", "app: EXECUTE ins(100, 1)");
}

/* After a swap; `key`: of a new row. */
static void execute_what_must_work(int key)
{
    assert_string_equal(iso_ask("app", "EXECUTE named(1)"), "1");
    iso_play("app: EXECUTE upd(5, 2)", t_format("app: EXECUTE ins(%d, 2)", key));
    t_expect(t_format("SELECT string_agg(format('%%s %%s', id, v), ',' ORDER BY id) FROM item\n"
                      " WHERE id IN (2, %d)",
                      key),
             t_format("2 5,%d 2", key));
}

static void only_a_result_with_other_columns_fails_and_only_until_it_is_prepared_again(void)
{
    static const char *const PLANS[] = {"force_generic_plan", "force_custom_plan"};
    struct t_result result;

    for (size_t i = 0; i < sizeof(PLANS) / sizeof(PLANS[0]); i++) {
        (void)t_fresh_database();
        iso_table(10);
        iso_ready("settle=off");
        prepare_statements(PLANS[i]);
        t_run(&result, "cutover", "j", "--yes", NULL);
        t_expect_status(&result, 0);
        iso_play("app! 0A000 EXECUTE star", "app: DEALLOCATE star", "app: " PREPARE_ALL,
                 "app: EXECUTE star");
        execute_what_must_work(101);
        iso_expect_equal_back();
        t_run(&result, "rollback", "j", "--yes", NULL);
        t_expect_status(&result, 0);
        iso_play("app! 0A000 EXECUTE star", "app: DEALLOCATE star", "app: " PREPARE_ALL,
                 "app: EXECUTE star");
        execute_what_must_work(102);
    }
}

static void prepared_statements_outlive_a_swap_that_changes_no_column(void)
{
    static const char *const PLANS[] = {"force_generic_plan", "force_custom_plan"};
    struct t_result result;

    for (size_t i = 0; i < sizeof(PLANS) / sizeof(PLANS[0]); i++) {
        (void)t_fresh_database();
        iso_table(10);
        t_run(&result, "alter", "item", "--job", "j", "-s", "settle=off", NULL);
        t_expect_status(&result, 0);
        prepare_statements(PLANS[i]);
        t_run(&result, "cutover", "j", "--yes", NULL);
        t_expect_status(&result, 0);
        iso_play("app: EXECUTE star");
        execute_what_must_work(101);
        t_run(&result, "rollback", "j", "--yes", NULL);
        t_expect_status(&result, 0);
        iso_play("app: EXECUTE star");
        execute_what_must_work(102);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_snapshot_older_than_the_copy_is_waited_for),
        t_test(a_snapshot_that_stays_ends_the_cutover_and_not_the_job),
        t_test(a_snapshot_taken_during_the_swap_reads_the_rows_of_its_moment),
        t_test(the_way_back_is_armed_for_every_session),
        t_test(nobody_writes_the_log_between_the_last_look_and_the_swap),
        t_test(what_commits_just_before_the_lock_is_in_the_new_table),
        t_test(a_swap_that_cannot_have_its_locks_lets_the_application_go_on),
        t_test(the_application_waits_for_one_deadline_and_not_for_a_sum),
        t_test(only_a_result_with_other_columns_fails_and_only_until_it_is_prepared_again),
        t_test(prepared_statements_outlive_a_swap_that_changes_no_column),
    };

    return iso_main(T_MAIN(tests));
}
