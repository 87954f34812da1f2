/*
 * Laws off, fixed and auto, tick by tick: what comes in is made by hand. In plants they run in
 * unit_law_plant.c.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/ticks.h"

#define MB 1e6

/* ------------------------------------------------------------------------------- off and fixed */

static void off_never_waits(void **state)
{
    struct ticks ticks;

    (void)state;
    ticks_begin(&ticks, &law_off, 4);
    ticks_limit_lag(&ticks, MB, 1);
    ticks_add_replica(&ticks, "standby");
    ticks_work(&ticks, 5, 50 * MB, 0);
    assert_true(isinf(ticks.decision.bytes_per_second));
    assert_true(ticks.decision.delay_seconds == 0);
    assert_true(ticks.decision.rest_part == 0);
    assert_int_equal(ticks.decision.workers, 4);
    assert_int_equal(ticks.decision.chunk_ms, 500);
    assert_int_equal(ticks.decision.reason, -1);
    ticks_end(&ticks);
}

static void fixed_waits_its_delay_after_each_chunk(void **state)
{
    struct ticks ticks;

    (void)state;
    ticks_begin(&ticks, &law_fixed, 2);
    ticks_tick(&ticks);
    assert_true(ticks.decision.delay_seconds == 0.25);
    assert_true(isinf(ticks.decision.bytes_per_second));
    assert_int_equal(ticks.decision.reason, -1);
    ticks_end(&ticks);
}

static const struct law *const LAWS[] = {&law_auto, &law_fixed, &law_off, NULL};

static void laws_are_found_by_name(void **state)
{
    (void)state;
    assert_ptr_equal(law_find(LAWS, "auto"), &law_auto);
    assert_ptr_equal(law_find(LAWS, "fixed"), &law_fixed);
    assert_ptr_equal(law_find(LAWS, "off"), &law_off);
    assert_null(law_find(LAWS, "gh-ost"));
    assert_null(law_find(LAWS, ""));
}

static const struct law *law_of(const char *policy, int64_t *fixed_ms)
{
    struct error error = {0};
    const struct law *law = law_of_policy(policy, LAWS, fixed_ms, &error);

    assert_int_equal(error.code, law == NULL ? ERROR_USAGE : ERROR_NONE);
    return law;
}

static void a_policy_is_a_law(void **state)
{
    struct error error = {0};
    int64_t fixed_ms = 7;

    (void)state;
    assert_ptr_equal(law_of("auto", &fixed_ms), &law_auto);
    assert_int_equal(fixed_ms, 0);
    assert_ptr_equal(law_of("off", &fixed_ms), &law_off);
    assert_ptr_equal(law_of("fixed=250ms", &fixed_ms), &law_fixed);
    assert_int_equal(fixed_ms, 250);
    assert_ptr_equal(law_of("law=off", &fixed_ms), &law_off);
    assert_null(law_of("law=", &fixed_ms));
    assert_null(law_of("law=gh-ost", &fixed_ms));
    assert_null(law_of_policy("law=off", NULL, &fixed_ms, &error));
    /* Of a newer program: never without limits. */
    assert_ptr_equal(law_of("gentle", &fixed_ms), &law_auto);
    assert_ptr_equal(law_of("gentle=250ms", &fixed_ms), &law_auto);
    assert_ptr_equal(law_of("fixed", &fixed_ms), &law_auto);
    assert_ptr_equal(law_of("fixed=", &fixed_ms), &law_auto);
}

/* A chunk that was stalled may be long; the rest after it is not. */
static void a_rest_is_a_delay_or_a_part_of_the_chunk(void **state)
{
    const struct law_decision decision = {.delay_seconds = 0.25, .rest_part = 3};

    (void)state;
    assert_true(law_rest_seconds(&decision, 0) == 0.25);
    assert_true(law_rest_seconds(&decision, 0.05) == 0.25);
    assert_true(law_rest_seconds(&decision, 1) == 3);
    assert_true(law_rest_seconds(&decision, 100) == 5);
}

/* --------------------------------------------------------------------------------- auto: the log
 */

static void with_nothing_to_look_at_it_is_as_fast_as_it_can(void **state)
{
    struct ticks ticks;

    (void)state;
    ticks_begin(&ticks, &law_auto, 4);
    ticks_work(&ticks, 10, 50 * MB, 0);
    assert_true(isinf(ticks.decision.bytes_per_second));
    assert_true(ticks.decision.delay_seconds == 0);
    assert_int_equal(ticks.decision.workers, 4);
    assert_int_equal(ticks.decision.chunk_ms, 500);
    assert_int_equal(ticks.decision.reason, -1);
    ticks_end(&ticks);
}

static void replicas_without_a_limit_do_not_count(void **state)
{
    struct ticks ticks;

    (void)state;
    ticks_begin(&ticks, &law_auto, 2);
    ticks_add_replica(&ticks, "standby");
    ticks_work(&ticks, 10, 50 * MB, MB);
    assert_true(isinf(ticks.decision.bytes_per_second));
    ticks_end(&ticks);
}

static void the_rate_is_what_the_replica_replays(void **state)
{
    struct ticks ticks;

    (void)state;
    ticks_begin(&ticks, &law_auto, 2);
    ticks_limit_lag(&ticks, 64 * MB, 2);
    ticks_add_replica(&ticks, "standby");
    ticks_work(&ticks, 60, 50 * MB, 10 * MB);
    assert_true(fabs(ticks.decision.bytes_per_second - 10 * MB) < MB);
    assert_int_equal(ticks.decision.reason, SIGNAL_REPLICA_LAG_TIME);
    assert_true(fabs(ticks.replicas[0].backlog - 10 * MB) < 3 * MB);
    ticks_end(&ticks);
}

static void the_nearer_of_two_limits_is_the_reason(void **state)
{
    struct ticks ticks;

    (void)state;
    ticks_begin(&ticks, &law_auto, 2);
    ticks_limit_lag(&ticks, 16 * MB, 20);
    ticks_add_replica(&ticks, "standby");
    ticks_work(&ticks, 60, 50 * MB, 10 * MB);
    assert_int_equal(ticks.decision.reason, SIGNAL_REPLICA_LAG_BYTES);
    assert_true(fabs(ticks.replicas[0].backlog - 8 * MB) < 3 * MB);
    ticks_end(&ticks);
}

static void what_is_fast_enough_is_not_the_reason_for_anything(void **state)
{
    struct ticks ticks;

    (void)state;
    ticks_begin(&ticks, &law_auto, 2);
    ticks_limit_lag(&ticks, 64 * MB, 2);
    ticks_add_replica(&ticks, "standby");
    ticks_work(&ticks, 60, 20 * MB, 200 * MB);
    assert_true(ticks.decision.bytes_per_second > 20 * MB);
    assert_int_equal(ticks.decision.reason, -1);
    assert_int_equal(ticks.decision.workers, 2);
    ticks_end(&ticks);
}

static void others_share_what_the_replica_replays(void **state)
{
    struct ticks ticks;

    (void)state;
    ticks_begin(&ticks, &law_auto, 2);
    ticks_limit_lag(&ticks, 64 * MB, 2);
    ticks_add_replica(&ticks, "standby");
    for (int i = 0; i < 60; i++) {
        ticks.input.wal += 4 * MB;
        ticks.replicas[0].backlog += 4 * MB;
        ticks_work(&ticks, 1, 50 * MB, 10 * MB);
    }
    assert_true(fabs(ticks.decision.bytes_per_second - 6 * MB) < MB);
    ticks_end(&ticks);
}

static void a_process_has_its_share(void **state)
{
    struct ticks ticks;

    (void)state;
    ticks_begin(&ticks, &law_auto, 2);
    ticks.input.share = 0.25;
    ticks_limit_lag(&ticks, 64 * MB, 2);
    ticks_add_replica(&ticks, "standby");
    for (int i = 0; i < 60; i++) {
        /* The other takes three times what we are told. */
        double theirs = fmin(3 * ticks.decision.bytes_per_second, 150 * MB);

        ticks.input.wal += theirs;
        ticks.input.others += theirs;
        ticks.replicas[0].backlog += theirs;
        ticks_work(&ticks, 1, 50 * MB, 20 * MB);
    }
    assert_true(fabs(ticks.decision.bytes_per_second - 5 * MB) < MB);
    ticks_end(&ticks);
}

static void a_replica_that_appears_binds_and_one_that_vanishes_does_not(void **state)
{
    struct ticks ticks;

    (void)state;
    ticks_begin(&ticks, &law_auto, 2);
    ticks_limit_lag(&ticks, 64 * MB, 2);
    ticks_work(&ticks, 10, 50 * MB, 0);
    assert_true(isinf(ticks.decision.bytes_per_second));
    ticks_add_replica(&ticks, "late");
    ticks_work(&ticks, 60, 50 * MB, 5 * MB);
    assert_true(ticks.decision.bytes_per_second < 6 * MB);
    ticks.input.replica_count = 0;
    ticks_work(&ticks, 5, 50 * MB, 0);
    assert_true(isinf(ticks.decision.bytes_per_second));
    assert_int_equal(ticks.decision.reason, -1);
    ticks_end(&ticks);
}

static void the_worst_replica_binds(void **state)
{
    struct ticks ticks;

    (void)state;
    ticks_begin(&ticks, &law_auto, 2);
    ticks_limit_lag(&ticks, 64 * MB, 0);
    ticks_add_replica(&ticks, "idle");
    ticks_add_replica(&ticks, "slow");
    for (int i = 0; i < 60; i++) {
        ticks.replicas[0].backlog = 0;
        ticks_work(&ticks, 1, 50 * MB, 8 * MB);
        ticks.replicas[0].replayed = ticks.input.wal;
    }
    assert_true(fabs(ticks.decision.bytes_per_second - 8 * MB) < 2 * MB);
    ticks_end(&ticks);
}

static void a_replica_that_stands_still_stops_us_but_for_a_trickle(void **state)
{
    struct ticks ticks;

    (void)state;
    ticks_begin(&ticks, &law_auto, 2);
    ticks_limit_lag(&ticks, 64 * MB, 2);
    ticks_add_replica(&ticks, "standby");
    ticks_work(&ticks, 30, 50 * MB, 20 * MB);
    ticks_work(&ticks, 30, 50 * MB, 0);
    assert_true(ticks.decision.bytes_per_second <= 64 * MB / 256);
    assert_true(ticks.decision.bytes_per_second > 0);
    ticks_work(&ticks, 30, 50 * MB, 20 * MB);
    assert_true(fabs(ticks.decision.bytes_per_second - 20 * MB) < 3 * MB);
    ticks_end(&ticks);
}

static void a_report_that_is_not_new_teaches_nothing(void **state)
{
    struct ticks ticks;
    double before;

    (void)state;
    ticks_begin(&ticks, &law_auto, 2);
    ticks_limit_lag(&ticks, 64 * MB, 2);
    ticks_add_replica(&ticks, "standby");
    ticks_work(&ticks, 40, 50 * MB, 20 * MB);
    before = ticks.decision.bytes_per_second;
    /* Nothing is written and nothing reported: it goes on replaying, for all we know. */
    for (int i = 0; i < 3; i++)
        ticks_tick(&ticks);
    assert_true(ticks.decision.bytes_per_second >= 0.9 * before);
    ticks_end(&ticks);
}

static void while_closed_it_decides_nothing(void **state)
{
    struct ticks ticks;
    struct law_decision before;

    (void)state;
    ticks_begin(&ticks, &law_auto, 2);
    ticks_limit_lag(&ticks, 64 * MB, 2);
    ticks_add_replica(&ticks, "standby");
    ticks_work(&ticks, 40, 50 * MB, 10 * MB);
    before = ticks.decision;
    ticks.input.closed = true;
    ticks.replicas[0].backlog = 500 * MB;
    for (int i = 0; i < 60; i++)
        ticks_tick(&ticks);
    assert_true(ticks.decision.bytes_per_second == before.bytes_per_second);
    ticks_end(&ticks);
}

static void the_rate_of_the_log_is_kept(void **state)
{
    struct ticks ticks;

    (void)state;
    ticks_begin(&ticks, &law_auto, 2);
    ticks_read(&ticks, SIGNAL_WAL_RATE, 0, 10 * MB);
    ticks_work(&ticks, 10, 50 * MB, 0);
    assert_true(fabs(ticks.decision.bytes_per_second - 10 * MB) < MB / 10);
    assert_int_equal(ticks.decision.reason, SIGNAL_WAL_RATE);
    for (int i = 0; i < 30; i++) {
        ticks.input.wal += 7 * MB;
        ticks_work(&ticks, 1, 50 * MB, 0);
    }
    assert_true(fabs(ticks.decision.bytes_per_second - 3 * MB) < MB / 10);
    ticks_end(&ticks);
}

static void chunks_and_workers_follow_the_rate(void **state)
{
    struct ticks ticks;

    (void)state;
    ticks_begin(&ticks, &law_auto, 4);
    ticks_limit_lag(&ticks, 64 * MB, 2);
    ticks_add_replica(&ticks, "standby");
    ticks_work(&ticks, 60, 50 * MB, 5 * MB);
    assert_int_equal(ticks.decision.workers, 1);
    assert_true(ticks.decision.chunk_ms < 100);
    ticks_work(&ticks, 60, 50 * MB, 200 * MB);
    assert_int_equal(ticks.decision.workers, 4);
    ticks_end(&ticks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(off_never_waits),
        cmocka_unit_test(fixed_waits_its_delay_after_each_chunk),
        cmocka_unit_test(laws_are_found_by_name),
        cmocka_unit_test(a_policy_is_a_law),
        cmocka_unit_test(a_rest_is_a_delay_or_a_part_of_the_chunk),
        cmocka_unit_test(with_nothing_to_look_at_it_is_as_fast_as_it_can),
        cmocka_unit_test(replicas_without_a_limit_do_not_count),
        cmocka_unit_test(the_rate_is_what_the_replica_replays),
        cmocka_unit_test(the_nearer_of_two_limits_is_the_reason),
        cmocka_unit_test(what_is_fast_enough_is_not_the_reason_for_anything),
        cmocka_unit_test(others_share_what_the_replica_replays),
        cmocka_unit_test(a_process_has_its_share),
        cmocka_unit_test(a_replica_that_appears_binds_and_one_that_vanishes_does_not),
        cmocka_unit_test(the_worst_replica_binds),
        cmocka_unit_test(a_replica_that_stands_still_stops_us_but_for_a_trickle),
        cmocka_unit_test(a_report_that_is_not_new_teaches_nothing),
        cmocka_unit_test(while_closed_it_decides_nothing),
        cmocka_unit_test(the_rate_of_the_log_is_kept),
        cmocka_unit_test(chunks_and_workers_follow_the_rate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
