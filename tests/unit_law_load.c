/* Law auto, tick by tick: load, who waits for us, and nonsense. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "bench/plant.h"
#include "tests/ticks.h"

#define SECOND INT64_C(1000000)
#define MB 1e6

static double rest_seconds(const struct law_decision *decision)
{
    return law_rest_seconds(decision, TICKS_CHUNK_S);
}

/* ------------------------------------------------------------------------------------ auto: load
 */

static void others_that_are_fine_let_it_go_on(void **state)
{
    struct ticks ticks;

    (void)state;
    ticks_begin(&ticks, &law_auto, 4);
    ticks.input.foreign = true;
    for (int i = 0; i < 120; i++) {
        ticks_read(&ticks, SIGNAL_FOREGROUND_LATENCY, 1.02, 3);
        ticks_work(&ticks, 1, 50 * MB, 0);
        if (i == 0)
            assert_int_equal(ticks.decision.workers, 1); /* carefully, at first */
    }
    assert_int_equal(ticks.decision.workers, 4);
    assert_true(rest_seconds(&ticks.decision) == 0);
    assert_int_equal(ticks.decision.reason, -1);
    ticks_end(&ticks);
}

static void others_that_suffer_make_it_rest(void **state)
{
    static const enum signal_id IDS[] = {SIGNAL_FOREGROUND_LATENCY, SIGNAL_ACTIVE_SESSIONS,
                                         SIGNAL_COMMIT_WAIT};

    (void)state;
    for (size_t i = 0; i < sizeof(IDS) / sizeof(IDS[0]); i++) {
        struct ticks ticks;

        ticks_begin(&ticks, &law_auto, 4);
        ticks.input.foreign = true;
        for (int k = 0; k < 60; k++) {
            ticks_read(&ticks, IDS[i], 8, 3);
            ticks_work(&ticks, 1, 50 * MB, 0);
        }
        assert_int_equal(ticks.decision.workers, 1);
        assert_true(ticks.decision.chunk_ms <= 50);
        assert_true(rest_seconds(&ticks.decision) > 1);
        assert_int_equal(ticks.decision.reason, IDS[i]);
        /* Nobody is there any more: at once as fast as it can. */
        ticks.input.foreign = false;
        ticks_work(&ticks, 2, 50 * MB, 0);
        assert_true(rest_seconds(&ticks.decision) == 0);
        assert_int_equal(ticks.decision.chunk_ms, 500);
        assert_int_equal(ticks.decision.reason, -1);
        ticks_end(&ticks);
    }
}

static void load_that_cannot_be_read_freezes_it(void **state)
{
    static const enum reading_state STATES[] = {READING_UNREADABLE, READING_OK};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct ticks ticks;
        struct law_decision before;

        ticks_begin(&ticks, &law_auto, 4);
        ticks.input.foreign = true;
        for (int k = 0; k < 20; k++) {
            ticks_read(&ticks, SIGNAL_FOREGROUND_LATENCY, 2.5, 3);
            ticks_work(&ticks, 1, 50 * MB, 0);
        }
        before = ticks.decision;
        /* Unreadable; or a value that is never read again. */
        ticks.readings[SIGNAL_FOREGROUND_LATENCY].state = STATES[i];
        ticks_work(&ticks, 60, 50 * MB, 0);
        assert_int_equal(ticks.decision.workers, before.workers);
        assert_true(fabs(rest_seconds(&ticks.decision) - rest_seconds(&before)) < 0.1);
        ticks_end(&ticks);
    }
}

/* There is no baseline: another process leaves no pause to take one from. */
static void what_others_feel_is_not_risked_unknown(void **state)
{
    struct ticks ticks;
    double first;

    (void)state;
    ticks_begin(&ticks, &law_auto, 2);
    ticks_work(&ticks, 300, 50 * MB, 0); /* nobody else is there */
    assert_int_equal(ticks.decision.workers, 2);
    ticks.input.foreign = true;
    ticks.readings[SIGNAL_FOREGROUND_LATENCY] =
        (struct reading){.state = READING_ABSENT, .limit = 3};
    ticks_work(&ticks, 10, 50 * MB, 0);
    first = rest_seconds(&ticks.decision);
    assert_int_equal(ticks.decision.workers, 1);
    assert_int_equal(ticks.decision.reason, SIGNAL_FOREGROUND_LATENCY);
    assert_true(fabs(first / TICKS_CHUNK_S - 4) < 0.01);
    ticks_work(&ticks, 300, 50 * MB, 0);
    assert_true(rest_seconds(&ticks.decision) == first);
    for (int i = 0; i < 120; i++) {
        ticks_read(&ticks, SIGNAL_FOREGROUND_LATENCY, 1.02, 3);
        ticks_work(&ticks, 1, 50 * MB, 0);
    }
    assert_int_equal(ticks.decision.workers, 2);
    /* Once it has been known, a moment without is no news. */
    ticks.readings[SIGNAL_FOREGROUND_LATENCY].state = READING_ABSENT;
    ticks_work(&ticks, 60, 50 * MB, 0);
    assert_int_equal(ticks.decision.workers, 2);
    ticks_end(&ticks);
}

static void checkpoints_that_come_early_slow_it_in_proportion(void **state)
{
    struct ticks ticks;

    (void)state;
    ticks_begin(&ticks, &law_auto, 2);
    ticks_read(&ticks, SIGNAL_CHECKPOINTS_REQUESTED, 2, 4);
    ticks_work(&ticks, 20, 50 * MB, 0);
    assert_true(rest_seconds(&ticks.decision) == 0);
    ticks_read(&ticks, SIGNAL_CHECKPOINTS_REQUESTED, 4, 4);
    ticks_work(&ticks, 2, 50 * MB, 0);
    assert_true(rest_seconds(&ticks.decision) > 0);
    assert_int_equal(ticks.decision.reason, SIGNAL_CHECKPOINTS_REQUESTED);
    ticks_end(&ticks);
}

static void who_waits_for_a_lock_of_ours_gets_small_chunks_at_once(void **state)
{
    struct ticks ticks;

    (void)state;
    ticks_begin(&ticks, &law_auto, 2);
    ticks_work(&ticks, 10, 50 * MB, 0);
    ticks_read(&ticks, SIGNAL_BLOCKED_BY_US, 1, 1);
    ticks.readings[SIGNAL_BLOCKED_BY_US].at_us += SECOND / 10;
    ticks.input.now_us += SECOND / 10 - SECOND;
    ticks_tick(&ticks); /* a tenth of a second after the last */
    assert_int_equal(ticks.decision.chunk_ms, 50);
    assert_int_equal(ticks.decision.reason, SIGNAL_BLOCKED_BY_US);
    ticks_read(&ticks, SIGNAL_BLOCKED_BY_US, 0, 1);
    ticks_work(&ticks, 3, 50 * MB, 0);
    assert_true(ticks.decision.chunk_ms < 100);
    ticks_work(&ticks, 30, 50 * MB, 0);
    assert_int_equal(ticks.decision.chunk_ms, 500);
    assert_int_equal(ticks.decision.reason, -1);
    ticks_end(&ticks);
}

/* -------------------------------------------------------------------------------- auto: nonsense
 */

static void time_that_does_not_move_changes_nothing(void **state)
{
    struct ticks ticks;
    struct law_decision before;

    (void)state;
    ticks_begin(&ticks, &law_auto, 2);
    ticks_limit_lag(&ticks, 64 * MB, 2);
    ticks_add_replica(&ticks, "standby");
    ticks_work(&ticks, 40, 50 * MB, 10 * MB);
    before = ticks.decision;
    for (int i = 0; i < 10; i++) {
        ticks.input.wal += 100 * MB;
        ticks.replicas[0].backlog += 100 * MB;
        ticks.input.now_us -= SECOND + i; /* ticks_tick() adds the second again */
        ticks_tick(&ticks);
    }
    assert_true(ticks.decision.bytes_per_second == before.bytes_per_second);
    ticks_end(&ticks);
}

static double garbage(uint64_t *random)
{
    static const double VALUES[] = {NAN, INFINITY, -INFINITY, 0, -1, 1e300, -1e300, 1, 64 * MB};
    size_t count = sizeof(VALUES) / sizeof(VALUES[0]);
    size_t pick = (size_t)(plant_random(random) * (double)(count + 3));

    return pick < count ? VALUES[pick] : plant_random(random) * 100 * MB;
}

static void put_garbage(struct ticks *ticks, uint64_t *random)
{
    for (int i = 0; i < SIGNAL_COUNT; i++)
        ticks->readings[i] = (struct reading){
            .state = (enum reading_state)(plant_random(random) * 4),
            .value = garbage(random),
            .limit = garbage(random),
            .at_us = (int64_t)(plant_random(random) * 1e9),
        };
    ticks->input.replica_count = (int)(plant_random(random) * (LAW_REPLICAS_MAX + 4));
    for (int i = 0; i < ticks->input.replica_count; i++) {
        snprintf(ticks->replicas[i].name, sizeof(ticks->replicas[i].name), "%.0f",
                 plant_random(random) * 40);
        if (plant_random(random) < 0.05)
            ticks->replicas[i].name[0] = '\0';
        ticks->replicas[i].backlog = garbage(random);
        ticks->replicas[i].replayed = garbage(random);
        ticks->replicas[i].at_us = (int64_t)(plant_random(random) * 1e9);
    }
    ticks->input.wal = garbage(random);
    ticks->input.ours = garbage(random);
    ticks->input.others = garbage(random);
    ticks->input.share = plant_random(random);
    ticks->input.foreign = plant_random(random) < 0.5;
    ticks->input.closed = plant_random(random) < 0.3;
    ticks->input.wants = plant_random(random) < 0.5;
    ticks->input.now_us += (int64_t)((plant_random(random) - 0.3) * 3 * SECOND);
}

/* Whatever comes in, what comes out is within its range (ticks_tick() looks), and no NaN. */
static void no_garbage_comes_out(void **state)
{
    uint64_t random = 42;

    (void)state;
    for (int run = 0; run < 50; run++) {
        struct ticks ticks;

        ticks_begin(&ticks, &law_auto, 1 + run % 5);
        for (int i = 0; i < 200; i++) {
            struct law_chunk chunk = {.seconds = garbage(&random), .bytes = garbage(&random)};

            put_garbage(&ticks, &random);
            law_auto.chunk(ticks.memory, &chunk, &ticks.decision);
            ticks_tick(&ticks);
        }
        ticks_end(&ticks);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_that_are_fine_let_it_go_on),
        cmocka_unit_test(others_that_suffer_make_it_rest),
        cmocka_unit_test(load_that_cannot_be_read_freezes_it),
        cmocka_unit_test(what_others_feel_is_not_risked_unknown),
        cmocka_unit_test(checkpoints_that_come_early_slow_it_in_proportion),
        cmocka_unit_test(who_waits_for_a_lock_of_ours_gets_small_chunks_at_once),
        cmocka_unit_test(time_that_does_not_move_changes_nothing),
        cmocka_unit_test(no_garbage_comes_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
