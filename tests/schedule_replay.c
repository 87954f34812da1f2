/*
 * Replay against the application and against another replay, statement by statement: cases F01,
 * F04, F07, F26, F29, F31, F43 of the executable model, and its probe t7.
 */
#include "tests/isolation.h"

#include <stdlib.h>

#include "engine/base/clock.h"

/* Key 1 is logged and not in the shadow; the triggers write the shadow. */
static void set_up_absent_row(void)
{
    iso_table(10);
    iso_ready("settle=off");
    iso_dual_write();
    t_sql("DELETE FROM pghaul.item_1 WHERE id = 1; INSERT INTO pghaul.log_1_a VALUES (1)");
}

static void upsert_before_and_delete_after_the_read(void)
{
    iso_play("replay: @patient", "replay: @collect", "replay: @hold", "replay: @skip",
             "replay: @claim", "a: BEGIN", "a: UPDATE item SET v = 22 WHERE id = 1",
             "replay: @delete", "a: COMMIT", "b: BEGIN", "b: DELETE FROM item WHERE id = 1",
             "replay> @insert", "b: COMMIT", "replay<");
}

/* F01 */
static void a_row_deleted_while_replay_inserts_it_does_not_come_back(void)
{
    set_up_absent_row();
    upsert_before_and_delete_after_the_read();
    iso_play("replay: @recheck", "replay: @return", "replay: COMMIT");
    iso_expect_equal();
    assert_true(iso_logged("1"));
}

/* F01: the schedule is the one that it says it is. */
static void without_the_recheck_the_deleted_row_would_come_back(void)
{
    set_up_absent_row();
    upsert_before_and_delete_after_the_read();
    iso_play("replay: COMMIT");
    iso_expect_differences(1);
    assert_int_equal(iso_log_rows(), 0);
}

/* F26 */
static void one_transaction_that_upserts_and_deletes_leaves_no_row_behind(void)
{
    set_up_absent_row();
    iso_play("a: BEGIN", "a: UPDATE item SET v = 22 WHERE id = 1",
             "a: DELETE FROM item WHERE id = 1", "replay: @patient", "replay: @collect",
             "replay: @hold", "replay: @skip", "replay: @claim", "replay: @delete",
             "replay> @insert", "a: COMMIT", "replay<", "replay: @recheck", "replay: @return",
             "replay: COMMIT");
    iso_expect_equal();
    assert_true(iso_logged("1"));
}

/* The newer image wins, whoever comes first. */
static void an_upsert_that_replay_waits_for_is_not_overwritten(void)
{
    set_up_absent_row();
    iso_play("a: BEGIN", "a: UPDATE item SET v = 22 WHERE id = 1", "replay: @patient",
             "replay: @collect", "replay: @hold", "replay: @skip", "replay: @claim",
             "replay: @delete", "replay> @insert", "a: COMMIT", "replay<", "replay: @recheck",
             "replay: @return", "replay: COMMIT");
    iso_expect_equal();
    assert_int_equal(t_int("SELECT v FROM pghaul.item_1 WHERE id = 1"), 22);
}

/* F29 */
static void one_open_transaction_does_not_starve_the_other_keys(void)
{
    iso_table(40);
    iso_ready("settle=off");
    iso_dual_write();
    t_sql("INSERT INTO pghaul.log_1_a SELECT g FROM generate_series(1, 40) AS g");
    iso_play("a: BEGIN", "a: UPDATE item SET v = 1 WHERE id = 17", "replay: @begin",
             "replay: @collect", "replay: @hold", "replay: @skip", "replay: @claim",
             "replay: @delete", "replay: @insert", "replay: @recheck", "replay: @return",
             "replay: COMMIT");
    iso_expect_equal();
    assert_int_equal(iso_log_rows(), 1);
    assert_true(iso_logged("17"));
    iso_play("a: COMMIT");
    iso_expect_equal();
}

/* F29, by the program: the swap waits for the transaction that uses the table, the log does not. */
static void the_program_drains_the_log_beside_an_open_transaction(void)
{
    struct t_process *cutover;
    struct t_result result;

    iso_table(40);
    iso_ready("settle=off");
    iso_dual_write();
    t_sql("INSERT INTO pghaul.log_1_a SELECT g FROM generate_series(1, 40) AS g");
    iso_play("a: BEGIN", "a: UPDATE item SET v = 1 WHERE id = 17");
    cutover = t_start("cutover", "j", "--yes", NULL);
    t_wait_until("SELECT count(*) FROM (TABLE pghaul.log_1_a UNION ALL TABLE pghaul.log_1_b) AS l",
                 "1", 30);
    assert_true(t_running(cutover));
    iso_play("a: COMMIT");
    t_wait(cutover, &result);
    t_expect_status(&result, 0);
    iso_expect_equal_back();
}

/*
 * F07, F31: app2 holds shadow row 2 and waits for app1, who will want shadow row 1; replay takes 1
 * and would want 2, around the moment at which app2 looks for a deadlock (after 1 s). Replay passes
 * over 2, and app1 waits for nobody long.
 */
static void the_application_is_never_the_deadlock_victim_of_replay(void)
{
    static const double WAITS[] = {0.90, 0.96, 0.985, 1.0};

    iso_table(10);
    iso_ready("settle=off");
    iso_dual_write();
    for (size_t i = 0; i < sizeof(WAITS) / sizeof(WAITS[0]); i++) {
        t_sql("INSERT INTO pghaul.log_1_a VALUES (1), (2)");
        iso_play("app1: BEGIN", "app1: SELECT FROM item WHERE id = 1 FOR UPDATE", "app2: BEGIN",
                 "app2: UPDATE item SET v = v + 1 WHERE id = 2", "replay: @begin",
                 "replay: @collect", "app2> UPDATE item SET v = v + 1 WHERE id = 1");
        t_sqlf("SELECT pg_sleep(%g)", WAITS[i]);
        iso_play("replay: @hold", "replay: @skip", "replay: @claim", "replay: @delete",
                 "app1>> UPDATE item SET v = v + 2 WHERE id = 1", "replay: @insert",
                 "replay: @recheck", "replay: @return", "replay: COMMIT", "app1<", "app1: COMMIT",
                 "app2<", "app2: COMMIT");
        iso_expect_equal();
    }
}

/*
 * The same circle, drawn so that app2's only look for a deadlock finds it closed if replay waits
 * for app2 at all: app2 looks its deadlock_timeout after it began to wait for app1; app1 wants the
 * row that replay has, again and again, 20 ms each time, from before until long after.
 */
static void close_the_circle(const char *replay_waits)
{
    iso_play("app1: SELECT FROM item WHERE id = 1 FOR UPDATE",
             "app2> UPDATE item SET v = v + 1 WHERE id = 1", replay_waits);
    clock_sleep_ms(60);
    iso_play("app1>> DO $$ BEGIN FOR i IN 1..75 LOOP\n"
             "    UPDATE public.item SET v = v + 1 WHERE id = 1;\n"
             "END LOOP; END $$",
             "app1<");
}

static void begin_both(const char *deadlock_timeout)
{
    iso_play("app1: BEGIN", t_format("app2: SET deadlock_timeout = '%s'", deadlock_timeout),
             "app2: BEGIN", "app2: UPDATE item SET v = v + 1 WHERE id = 2");
}

/* F07: the schedule is the one that it says it is. Without @hold and @skip replay waits. */
static void without_skip_locked_the_application_would_be_the_deadlock_victim(void)
{
    iso_table(10);
    iso_ready("settle=off");
    iso_dual_write();
    t_sql("INSERT INTO pghaul.log_1_a VALUES (1), (2)");
    begin_both("900ms");
    /* Row 1 first: it is the first piece of the batch's delete. */
    iso_play("replay: @patient", "replay: SET LOCAL enable_seqscan = off", "replay: @collect",
             "replay: UPDATE pg_temp.batch_log_1 SET k1 = 1 WHERE k1 = 2", "replay: @delete",
             "replay: UPDATE pg_temp.batch_log_1 SET k1 = 2");
    close_the_circle("replay>> @delete");
    iso_play("app1: COMMIT", "app2<! 40P01", "app2: ROLLBACK", "replay<", "replay: ROLLBACK");
    iso_expect_equal();
}

/* Row 2 is logged and not in the shadow; app2 is inserting it there: SKIP LOCKED does not see it.
 */
static void set_up_a_row_that_is_being_inserted(const char *begin, const char *deadlock_timeout)
{
    iso_table(10);
    iso_ready("settle=off");
    iso_dual_write();
    t_sql("DELETE FROM pghaul.item_1 WHERE id = 2; INSERT INTO pghaul.log_1_a VALUES (1), (2)");
    begin_both(deadlock_timeout);
    iso_play(begin, "replay: @collect", "replay: @hold", "replay: @skip", "replay: @claim",
             "replay: @delete");
}

/* F31, with the product's own lock_timeout. A wait of 500 ms would be found out. */
static void replays_lock_timeout_is_too_short_to_make_the_application_a_deadlock_victim(void)
{
    set_up_a_row_that_is_being_inserted("replay: @begin", "450ms");
    close_the_circle("replay>> @insert");
    iso_play("app1: COMMIT", "app2<", "app2: COMMIT", "replay<! 55P03", "replay: ROLLBACK");
    iso_expect_equal();
}

/* F31: the schedule is the one that it says it is. */
static void without_a_lock_timeout_the_application_would_be_the_deadlock_victim(void)
{
    set_up_a_row_that_is_being_inserted("replay: @patient", "900ms");
    close_the_circle("replay>> @insert");
    iso_play("app1: COMMIT", "app2<! 40P01", "app2: ROLLBACK", "replay<", "replay: @recheck",
             "replay: @return", "replay: COMMIT");
    iso_expect_equal();
}

/* F31: what SKIP LOCKED cannot cover, a row that is being inserted, ends by the timeout, not by a
 * wait. */
static void replay_waits_for_nobody(void)
{
    set_up_absent_row();
    iso_play("a: BEGIN", "a: UPDATE item SET v = 22 WHERE id = 1", "replay: @begin",
             "replay: @collect", "replay: @hold", "replay: @skip", "replay: @claim",
             "replay: @delete", "replay! 55P03 @insert");
    assert_true(iso_took_ms("replay") < 100);
    iso_play("replay: ROLLBACK", "a: COMMIT");
    iso_expect_equal();
    assert_true(iso_logged("1"));
}

/*
 * Probe t7: one replay has an older image of key 11 in its hands, and the application changes it
 * again: that is a log row of its own, in a later block. Another replay takes it.
 */
static void set_up_two_replays(void)
{
    iso_table(10);
    iso_ready("settle=off");
    /* as a pass by several workers leaves it */
    t_sql("INSERT INTO pghaul.span (job, phase, number, state) VALUES (1, 'log_1', 1, 'done')");
    t_sql("INSERT INTO item VALUES (11, 11, 1, 'new')");
    /* Keys of no row, to fill the first block. */
    t_sql("INSERT INTO pghaul.log_1_a SELECT 1000 + g FROM generate_series(1, 400) AS g");
}

static void replay_the_first_block(const char *begin)
{
    iso_play(begin, "r1: @collect 0-1", "r1: @hold", "r1: @skip", "r1: @claim 0-1", "r1: @delete",
             "r1: @insert", "a: UPDATE item SET v = 2 WHERE id = 11");
    t_expect("SELECT min((ctid::text::point)[0]) > 0 FROM pghaul.log_1_a\n"
             " WHERE k1 = 11 AND xmax = 0",
             "t");
}

static void two_replays_never_hold_the_same_key(void)
{
    set_up_two_replays();
    replay_the_first_block("r1: @leased");
    iso_play("r2> @leased", "r1: @recheck", "r1: @return", "r1: COMMIT", "r2<",
             "r2: @collect 1-1000", "r2: @hold", "r2: @skip", "r2: @claim 1-1000", "r2: @delete",
             "r2: @insert", "r2: @recheck", "r2: @return", "r2: COMMIT");
    iso_expect_equal();
    assert_int_equal(iso_log_rows(), 0);
    t_expect("SELECT v FROM pghaul.item_1 WHERE id = 11", "2");
}

/*
 * t7: the schedule is the one that it says it is. The second replay finds a row that is not its
 * own, does nothing about it, and has taken the key out of the log. (With the product's
 * lock_timeout it gives up, unless the first one commits within these 5 ms.)
 */
static void without_the_lease_the_second_replay_would_lose_the_change(void)
{
    set_up_two_replays();
    replay_the_first_block("r1: @begin");
    iso_play("r2: @patient", "r2: @collect 1-1000", "r2: @hold", "r2: @skip", "r2: @claim 1-1000",
             "r2: @delete", "r2> @insert", "r1: @recheck", "r1: @return", "r1: COMMIT", "r2<",
             "r2: @recheck", "r2: @return", "r2: COMMIT");
    iso_expect_differences(1);
    assert_int_equal(iso_log_rows(), 0);
    t_expect("SELECT v FROM pghaul.item_1 WHERE id = 11", "1");
}

/* t7: the other replay is a session that outlives the process it belonged to. */
static void the_program_waits_for_a_replay_that_is_still_under_way(void)
{
    struct t_process *resume;
    struct t_result result;

    set_up_two_replays();
    replay_the_first_block("r1: @leased");
    resume = t_start("resume", "j", NULL);
    t_wait_until("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pghaul%'\n"
                 "   AND wait_event_type = 'Lock' AND query LIKE '%pghaul.span%FOR UPDATE'",
                 "1", 30);
    iso_play("r1: @recheck", "r1: @return", "r1: COMMIT");
    t_wait(resume, &result);
    t_expect_status(&result, 0);
    iso_expect_equal();
    assert_int_equal(iso_log_rows(), 0);
    t_expect("SELECT v FROM pghaul.item_1 WHERE id = 11", "2");
}

/* F43: its partner is held by somebody, so there is no room for it yet; nothing is swallowed. */
static void a_row_that_finds_its_place_taken_returns_to_the_log(void)
{
    iso_table(10);
    iso_ready("settle=off");
    t_sql("BEGIN; UPDATE item SET u = NULL WHERE id = 1; UPDATE item SET u = 1 WHERE id = 2;"
          "UPDATE item SET u = 2 WHERE id = 1; COMMIT");
    iso_play("holder: BEGIN", "holder: SELECT FROM pghaul.item_1 WHERE id = 2 FOR UPDATE",
             "replay: @begin", "replay: @collect", "replay: @hold", "replay: @skip",
             "replay: @claim", "replay: @delete", "replay: @insert", "replay: @recheck",
             "replay: @return", "replay: COMMIT");
    iso_expect_equal();
    assert_true(iso_logged("1") && iso_logged("2"));
    assert_int_equal(t_int("SELECT count(*) FROM pghaul.item_1 WHERE id = 1"), 0);
    iso_play("holder: ROLLBACK", "replay: @begin", "replay: @collect", "replay: @hold",
             "replay: @skip", "replay: @claim", "replay: @delete", "replay: @insert",
             "replay: @recheck", "replay: @return", "replay: COMMIT");
    iso_expect_equal();
    assert_int_equal(iso_log_rows(), 0);
}

/* F04: 1.0 and 1.00 are the same key, so they are claimed by the same replay and only by it. */
static void equal_keys_with_different_text_meet_in_one_bucket(void)
{
    int found = 0;

    iso_table_with("id numeric PRIMARY KEY, u int UNIQUE, v int, t text", 10);
    iso_ready("settle=off");
    t_sql("INSERT INTO pghaul.log_1_a VALUES (1.0), (1.00), (1)");
    for (int bucket = 0; bucket < 8; bucket++) {
        int64_t keys;

        iso_play("replay: @begin", t_format("replay: @bucket %d/8", bucket));
        keys = atoi(iso_ask("replay", "SELECT count(*) FROM pg_temp.batch_log_1"));
        iso_play("replay: ROLLBACK");
        assert_true(keys <= 1);
        found += keys == 1;
    }
    assert_int_equal(found, 1);
    iso_play("replay: @begin", "replay: @collect", "replay: @hold", "replay: @skip",
             "replay: @claim", "replay: @delete", "replay: @insert", "replay: @recheck",
             "replay: @return", "replay: COMMIT");
    assert_int_equal(iso_log_rows(), 0);
    iso_expect_equal();
}

/* F43: the exchange is no fault of the rows; only the refused row is stuck. */
static void exchanged_unique_values_beside_a_refused_row_are_not_stuck(void)
{
    struct t_result result;

    iso_table(20);
    iso_ready("settle=off", "--do", "ADD CONSTRAINT small CHECK (v <> 99)");
    t_sql("BEGIN; UPDATE item SET u = NULL WHERE id = 1; UPDATE item SET u = 1 WHERE id = 2;"
          "UPDATE item SET u = 2 WHERE id = 1; COMMIT");
    t_sql("UPDATE item SET v = 99 WHERE id = 9");
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 4);
    t_expect_err(&result, "1 rows cannot go into the new table");
    t_expect("SELECT string_agg(k1::text, ',') FROM pghaul.log_1_stuck", "9");
    iso_expect_equal();
    assert_int_equal(iso_log_rows(), 0);
    t_sql("UPDATE item SET v = 98 WHERE id = 9");
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    iso_expect_equal_back();
}

/* F43, the way back: a row that the old table refuses stays, the rest goes. */
static void a_chain_of_exchanged_values_goes_forward_and_back(void)
{
    struct t_result result;

    iso_table(20);
    iso_ready("settle=off");
    t_sql("BEGIN; UPDATE item SET u = -id; UPDATE item SET u = id % 20 + 1; COMMIT");
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    iso_expect_equal_back();
    t_sql("BEGIN; UPDATE item SET u = -id; UPDATE item SET u = 21 - id; COMMIT");
    t_sql("CREATE TABLE ledger AS SELECT id, u, v::int, t FROM item");
    t_run(&result, "rollback", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    assert_int_equal(
        t_int("SELECT count(*) FROM ((TABLE ledger EXCEPT TABLE item) UNION ALL (TABLE item EXCEPT "
              "TABLE ledger)) AS x"),
        0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_row_deleted_while_replay_inserts_it_does_not_come_back),
        t_test(without_the_recheck_the_deleted_row_would_come_back),
        t_test(one_transaction_that_upserts_and_deletes_leaves_no_row_behind),
        t_test(an_upsert_that_replay_waits_for_is_not_overwritten),
        t_test(one_open_transaction_does_not_starve_the_other_keys),
        t_test(the_program_drains_the_log_beside_an_open_transaction),
        t_test(the_application_is_never_the_deadlock_victim_of_replay),
        t_test(without_skip_locked_the_application_would_be_the_deadlock_victim),
        t_test(replays_lock_timeout_is_too_short_to_make_the_application_a_deadlock_victim),
        t_test(without_a_lock_timeout_the_application_would_be_the_deadlock_victim),
        t_test(replay_waits_for_nobody),
        t_test(two_replays_never_hold_the_same_key),
        t_test(without_the_lease_the_second_replay_would_lose_the_change),
        t_test(the_program_waits_for_a_replay_that_is_still_under_way),
        t_test(a_row_that_finds_its_place_taken_returns_to_the_log),
        t_test(equal_keys_with_different_text_meet_in_one_bucket),
        t_test(exchanged_unique_values_beside_a_refused_row_are_not_stuck),
        t_test(a_chain_of_exchanged_values_goes_forward_and_back),
    };

    return iso_main(T_MAIN(tests));
}
