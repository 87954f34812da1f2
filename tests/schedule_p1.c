/*
 * Probe p1 of the prototype: a lock_timeout below the server's deadlock_timeout is no promise that
 * the application is never the victim of a deadlock. There a session of ours held one row for
 * almost a second and then wanted another, whose owner had waited for the first all that time: the
 * owner's deadlock_timeout ran out within our short wait, and the owner was killed.
 *
 * Here the same schedule, against the real program: by the rows of the shadow (held by replay,
 * wanted by the application's dual-writing triggers), and by the table's lock (wanted by the swap).
 */
#include "tests/isolation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"

/* In the server's whole log: this binary has a server of its own. */
static void expect_no_deadlock(void)
{
    FILE *log = fopen(t_format("%s/log", sandbox_dir(t_sandbox())), "re");
    char *line = NULL;
    size_t size = 0;

    assert_non_null(log);
    while (getline(&line, &size, log) >= 0)
        if (strstr(line, "deadlock detected") != NULL)
            t_fail("%s", line);
    free(line);
    fclose(log);
}

/*
 * Replay (one transaction) deletes and inserts row 2 of the shadow, stands still for 950 ms before
 * the insert, and then meets row 5: its new row 2 has the u that row 5 had. The application has
 * changed row 5 and not committed, and wants row 2 while replay stands still.
 */
static void the_owner_of_a_row_that_replay_wants_waits_for_no_row_that_replay_has(void)
{
    struct t_process *cutover;
    struct t_result result;

    iso_table(10);
    iso_ready("settle=off");
    t_sql("CREATE TABLE slow ();\n"
          "INSERT INTO slow DEFAULT VALUES;\n"
          "CREATE FUNCTION stand_still() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN\n"
          "    IF current_setting('application_name') LIKE 'pghaul%'\n"
          "       AND EXISTS (SELECT FROM public.slow) THEN\n"
          "        PERFORM pg_sleep(0.95);\n"
          "    END IF;\n"
          "    RETURN NEW;\n"
          "END $$;\n"
          "CREATE TRIGGER stand_still BEFORE INSERT ON pghaul.item_1\n"
          "    FOR EACH ROW WHEN (NEW.id = 2) EXECUTE FUNCTION stand_still()");
    /* In the log: 5, then 2. */
    t_sql("UPDATE item SET u = 100 WHERE id = 5");
    t_sql("UPDATE item SET u = 5 WHERE id = 2");
    iso_dual_write();
    iso_play("app: BEGIN", "app: UPDATE item SET v = 1 WHERE id = 5");

    cutover = t_start("cutover", "j", "--yes", NULL);
    for (int i = 0; i < 3; i++) { /* replay tries again and again */
        t_wait_until("SELECT count(*) FROM pg_stat_activity\n"
                     " WHERE application_name LIKE 'pghaul%' AND wait_event = 'PgSleep'",
                     "1", 30);
        iso_play("app: UPDATE item SET v = v + 1 WHERE id = 2");
        assert_in_range(iso_took_ms("app"), 0, 100);
        clock_sleep_ms(400);
        /* A statement that waits for nobody, and one more of row 2, near the end of the 950 ms. */
        iso_play("app: UPDATE item SET v = v + 1 WHERE id = 7",
                 "app: UPDATE item SET v = v + 1 WHERE id = 2");
        assert_in_range(iso_took_ms("app"), 0, 100);
        clock_sleep_ms(700);
    }
    t_sql("DELETE FROM slow");
    iso_play("app: COMMIT");
    t_wait(cutover, &result);
    t_expect_status(&result, 0);
    t_expect("SELECT string_agg(format('%s %s %s', id, u, v), ', ' ORDER BY id) FROM item\n"
             " WHERE id IN (2, 5, 7)",
             "2 5 6, 5 100 1, 7 7 3");
    iso_expect_equal_back();
    expect_no_deadlock();
}

/*
 * `a` has used the table and waits for `b`; the swap waits for `a`; `b` now wants to use the table
 * and queues behind the swap: a circle, seen by `a` after its deadlock_timeout, while the swap
 * still waits. Its way out is that `b` may go first.
 */
static bool provoke(struct t_process *cutover)
{
    for (int i = 0; i < 200 && t_running(cutover); i++) {
        int64_t end_ms = clock_ms() + 400;

        iso_play("a: BEGIN", "a: UPDATE item SET v = v + 1 WHERE id = 1");
        while (clock_ms() < end_ms) {
            if (strcmp(t_text("SELECT count(*) FROM pg_locks\n"
                              " WHERE relation = to_regclass('public.item')\n"
                              "   AND mode = 'AccessExclusiveLock' AND NOT granted"),
                       "1") == 0) {
                iso_play("a>> UPDATE other SET v = 1", "b>> UPDATE item SET v = v + 1 WHERE id = 2",
                         "b<", "b: COMMIT", "a<", "a: COMMIT");
                return true;
            }
            clock_sleep_ms(5);
        }
        iso_play("a: COMMIT");
    }
    return false;
}

static void a_circle_through_the_swaps_place_in_the_queue_has_no_victim(void)
{
    bool provoked = false;

    for (int i = 0; i < 5 && !provoked; i++) {
        struct t_process *cutover;
        struct t_result result;

        if (i > 0)
            (void)t_fresh_database();
        iso_table(10);
        iso_ready("settle=off", "cutover.wait=400ms");
        t_sql("CREATE TABLE other AS SELECT 0 AS v");
        iso_play("a: SET deadlock_timeout = '100ms'", "b: BEGIN", "b: UPDATE other SET v = 2",
                 "a: BEGIN", "a: UPDATE item SET v = 0 WHERE id = 1");
        cutover = t_start("cutover", "j", "--yes", NULL);
        t_wait_until("SELECT facts #>> '{forward,mode}' FROM pghaul.job", "dual-write", 30);
        iso_play("a: COMMIT");
        provoked = provoke(cutover);
        if (!provoked)
            iso_play("b: COMMIT");
        t_wait(cutover, &result);
        t_expect_status(&result, 0);
        iso_expect_equal_back();
    }
    assert_true(provoked);
    expect_no_deadlock();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(the_owner_of_a_row_that_replay_wants_waits_for_no_row_that_replay_has),
        t_test(a_circle_through_the_swaps_place_in_the_queue_has_no_victim),
    };

    return iso_main(T_MAIN(tests));
}
