/* The pure parts beside the laws: bucket, credit, gates, shares, what may begin. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "throttle/bucket.h"
#include "throttle/credit.h"
#include "throttle/gate.h"
#include "throttle/governor_parts.h"
#include "throttle/share.h"

#define SECOND INT64_C(1000000)
#define MB (1024.0 * 1024)

/* -------------------------------------------------------------------------------------- bucket */

/* Chunks of `bytes`, as soon as each may go, for `seconds`; what they wrote. */
static double written(struct bucket *bucket, double bytes, int64_t *now_us, int seconds)
{
    int64_t end_us = *now_us + seconds * SECOND;
    double sum = 0;

    while (*now_us < end_us) {
        int64_t wait_us = bucket_wait_us(bucket, *now_us);

        if (wait_us > 0) {
            *now_us += wait_us < end_us - *now_us ? wait_us : end_us - *now_us;
            continue;
        }
        *now_us += 1000;
        bucket_charge(bucket, bytes, *now_us);
        sum += bytes;
    }
    return sum;
}

static void chunks_of_any_size_keep_the_rate(void **state)
{
    static const double SIZES[] = {0.01 * MB, 0.3 * MB, 7 * MB};

    (void)state;
    for (size_t i = 0; i < sizeof(SIZES) / sizeof(SIZES[0]); i++) {
        struct bucket bucket;
        int64_t now_us = 5 * SECOND;
        double sum;

        bucket_init(&bucket, now_us);
        bucket_set_rate(&bucket, 10 * MB, now_us);
        sum = written(&bucket, SIZES[i], &now_us, 100);
        /* At most the rate, what it may be ahead, and the chunk that is under way. */
        assert_true(sum <= 1000 * MB + BUCKET_AHEAD_SECONDS * 10 * MB + SIZES[i]);
        assert_true(sum >= 0.97 * 1000 * MB);
    }
}

static void a_pause_is_not_followed_by_a_burst(void **state)
{
    struct bucket bucket;
    int64_t now_us = 0;

    (void)state;
    bucket_init(&bucket, now_us);
    bucket_set_rate(&bucket, 10 * MB, now_us);
    now_us += 3600 * SECOND;
    assert_true(written(&bucket, 0.5 * MB, &now_us, 1) <=
                10 * MB * (1 + BUCKET_AHEAD_SECONDS) + 0.5 * MB);
}

static void a_rate_of_nothing_lets_nothing_go(void **state)
{
    struct bucket bucket;

    (void)state;
    bucket_init(&bucket, 0);
    bucket_set_rate(&bucket, 0, 0);
    assert_true(bucket_wait_us(&bucket, 100 * SECOND) == INT64_MAX);
    bucket_set_rate(&bucket, NAN, 100 * SECOND);
    assert_true(bucket_wait_us(&bucket, 200 * SECOND) == INT64_MAX);
}

static void without_a_rate_nothing_is_owed(void **state)
{
    struct bucket bucket;

    (void)state;
    bucket_init(&bucket, 0);
    bucket_charge(&bucket, 1000 * MB, 1);
    assert_true(bucket_wait_us(&bucket, 2) == 0);
    /* And a rate that comes later has nothing to collect. */
    bucket_set_rate(&bucket, MB, 3);
    assert_true(bucket_wait_us(&bucket, 4) == 0);
}

static void time_that_stands_or_goes_back_does_no_harm(void **state)
{
    struct bucket bucket;

    (void)state;
    bucket_init(&bucket, 10 * SECOND);
    bucket_set_rate(&bucket, MB, 10 * SECOND);
    bucket_charge(&bucket, 2 * MB, 5 * SECOND);
    assert_true(bucket_wait_us(&bucket, 5 * SECOND) == 2 * SECOND);
    assert_true(bucket_wait_us(&bucket, 12 * SECOND) == 0);
}

/* -------------------------------------------------------------------------------------- credit */

static void the_log_that_has_grown_counts_as_not_replayed(void **state)
{
    struct credit credit = {0};

    (void)state;
    assert_true(isinf(credit_left(&credit)));
    credit_measure(&credit, 20 * MB, 64 * MB, 1000 * MB);
    assert_true(credit_left(&credit) == 44 * MB);
    credit_seen(&credit, 1030 * MB);
    assert_true(credit_left(&credit) == 14 * MB);
    credit_begin(&credit, 14 * MB);
    assert_true(credit_left(&credit) == 0);
    credit_end(&credit, 14 * MB);
    credit_seen(&credit, 1029 * MB); /* a worker that was slow to tell */
    assert_true(credit_left(&credit) == 14 * MB);
    /* The same place in the log, and all replayed. */
    credit_measure(&credit, 0, 64 * MB, 1030 * MB);
    assert_true(credit_left(&credit) == 64 * MB);
    credit_unlimited(&credit);
    assert_true(isinf(credit_left(&credit)));
}

static void what_is_seen_before_its_measurement_comes_counts(void **state)
{
    struct credit credit = {0};

    (void)state;
    credit_measure(&credit, 0, 64 * MB, 1000 * MB);
    credit_seen(&credit, 1050 * MB);
    /* Measured before those 50, told after. */
    credit_measure(&credit, 10 * MB, 64 * MB, 1010 * MB);
    assert_true(credit_left(&credit) == 14 * MB);
}

static void a_chunk_begins_when_it_fits(void **state)
{
    struct credit credit = {0};

    (void)state;
    assert_true(credit_allows(&credit, 1000 * MB));
    credit_measure(&credit, 40 * MB, 64 * MB, 0);
    assert_true(credit_allows(&credit, 24 * MB));
    credit_begin(&credit, 20 * MB);
    assert_true(credit_allows(&credit, 4 * MB));
    assert_false(credit_allows(&credit, 5 * MB));
    assert_true(credit_allows(&credit, 0));
    credit_begin(&credit, 4 * MB);
    assert_false(credit_allows(&credit, 0));
}

static void a_chunk_that_is_larger_than_the_limit_still_begins(void **state)
{
    struct credit credit = {0};

    (void)state;
    credit_measure(&credit, 50 * MB, 64 * MB, 0);
    assert_false(credit_allows(&credit, 100 * MB));
    credit_measure(&credit, 40 * MB, 64 * MB, 0);
    assert_true(credit_allows(&credit, 100 * MB));
    credit_begin(&credit, 10 * MB);
    assert_false(credit_allows(&credit, 100 * MB));
}

static void another_primary_has_another_end_of_the_log(void **state)
{
    struct credit credit = {0};

    (void)state;
    credit_measure(&credit, 0, 64 * MB, 1000 * MB);
    credit_seen(&credit, 1060 * MB);
    credit_measure(&credit, 0, 64 * MB, 900 * MB);
    assert_true(credit_left(&credit) == 64 * MB);
}

static void half_of_the_credit_is_time_to_measure(void **state)
{
    struct credit credit = {0};

    (void)state;
    assert_false(credit_wants_measure(&credit));
    credit_measure(&credit, 24 * MB, 64 * MB, 0);
    credit_seen(&credit, 19 * MB);
    assert_false(credit_wants_measure(&credit));
    credit_seen(&credit, 21 * MB);
    assert_true(credit_wants_measure(&credit));
}

/* --------------------------------------------------------------------------------------- gates */

static void read_all_as_absent(struct reading *readings)
{
    for (int i = 0; i < SIGNAL_COUNT; i++)
        readings[i] = (struct reading){.state = READING_ABSENT};
}

static struct reading ok(double value, double limit, int64_t at_us)
{
    return (struct reading){.state = READING_OK, .value = value, .limit = limit, .at_us = at_us};
}

static void a_gate_opens_later_than_it_closes(void **state)
{
    (void)state;
    struct gates gates = {0};
    struct reading readings[SIGNAL_COUNT];
    struct reading *lag = &readings[SIGNAL_REPLICA_LAG_BYTES];
    static const struct {
        double value;
        int closed;
    } STEPS[] = {
        {10, -1},   {63.9, -1}, {64, SIGNAL_REPLICA_LAG_BYTES}, {49, SIGNAL_REPLICA_LAG_BYTES},
        {47.9, -1}, {63, -1}};

    read_all_as_absent(readings);
    for (size_t i = 0; i < sizeof(STEPS) / sizeof(STEPS[0]); i++) {
        *lag = ok(STEPS[i].value * MB, 64 * MB, 0);
        gates_look(&gates, readings, (int64_t)i);
        assert_int_equal(gates_closed(&gates), STEPS[i].closed);
    }
    assert_int_equal(gates.since_us[SIGNAL_REPLICA_LAG_BYTES], 2);
}

static void a_signal_of_which_little_is_bad_closes_below_its_limit(void **state)
{
    struct gates gates = {0};
    struct reading readings[SIGNAL_COUNT];
    struct reading *left = &readings[SIGNAL_SLOT_WAL_LEFT];

    (void)state;
    read_all_as_absent(readings);
    *left = ok(21, 20, 0);
    gates_look(&gates, readings, 0);
    assert_int_equal(gates_closed(&gates), -1);
    *left = ok(20, 20, 0);
    gates_look(&gates, readings, 0);
    assert_int_equal(gates_closed(&gates), SIGNAL_SLOT_WAL_LEFT);
    *left = ok(22, 20, 0);
    gates_look(&gates, readings, 0);
    assert_int_equal(gates_closed(&gates), SIGNAL_SLOT_WAL_LEFT);
    *left = ok(26, 20, 0);
    gates_look(&gates, readings, 0);
    assert_int_equal(gates_closed(&gates), -1);
}

static void what_is_unknown_is_closed(void **state)
{
    struct gates gates = {0};
    struct reading readings[SIGNAL_COUNT];
    struct reading *lag = &readings[SIGNAL_REPLICA_LAG_BYTES];

    (void)state;
    read_all_as_absent(readings);
    *lag = (struct reading){.state = READING_UNREADABLE};
    gates_look(&gates, readings, SECOND);
    assert_int_equal(gates_closed(&gates), SIGNAL_REPLICA_LAG_BYTES);
    *lag = ok(0, 64 * MB, SECOND);
    gates_look(&gates, readings, SECOND + SIGNAL_STALE_US);
    assert_int_equal(gates_closed(&gates), -1);
    gates_look(&gates, readings, SECOND + SIGNAL_STALE_US + 1);
    assert_int_equal(gates_closed(&gates), SIGNAL_REPLICA_LAG_BYTES);
    *lag = ok(NAN, 64 * MB, 8 * SECOND);
    gates_look(&gates, readings, 8 * SECOND);
    assert_int_equal(gates_closed(&gates), SIGNAL_REPLICA_LAG_BYTES);
    lag->state = READING_OFF;
    gates_look(&gates, readings, 8 * SECOND);
    assert_int_equal(gates_closed(&gates), -1);
}

static void load_is_no_gate(void **state)
{
    struct gates gates = {0};
    struct reading readings[SIGNAL_COUNT];

    (void)state;
    read_all_as_absent(readings);
    readings[SIGNAL_FOREGROUND_LATENCY] = ok(50, 3, 0);
    readings[SIGNAL_ACTIVE_SESSIONS] = (struct reading){.state = READING_UNREADABLE};
    readings[SIGNAL_BLOCKED_BY_US] = ok(3, 1, 0);
    gates_look(&gates, readings, 100 * SECOND);
    assert_int_equal(gates_closed(&gates), -1);
}

static void of_several_gates_the_oldest_is_named(void **state)
{
    struct gates gates = {0};
    struct reading readings[SIGNAL_COUNT];

    (void)state;
    read_all_as_absent(readings);
    readings[SIGNAL_XMIN_AGE] = ok(5, 1, 0);
    gates_look(&gates, readings, 1);
    readings[SIGNAL_REPLICA_LAG_BYTES] = ok(5, 1, 0);
    gates_look(&gates, readings, 2);
    assert_int_equal(gates_closed(&gates), SIGNAL_XMIN_AGE);
    readings[SIGNAL_XMIN_AGE] = ok(0, 1, 0);
    gates_look(&gates, readings, 3);
    assert_int_equal(gates_closed(&gates), SIGNAL_REPLICA_LAG_BYTES);
}

/* -------------------------------------------------------------------------------------- shares */

static void the_parts_of_those_that_want_more_add_up_to_one(void **state)
{
    struct share one, other;
    struct probe_peer row_of_other = {.job = 2, .pid = 20, .priority = 30, .wants = true};
    struct probe_peer row_of_one = {.job = 1, .pid = 10, .priority = 10, .wants = true};

    (void)state;
    share_init(&one);
    share_init(&other);
    assert_true(one.part == 1);
    share_follow(&one, 10, &row_of_other, 1);
    share_follow(&other, 30, &row_of_one, 1);
    assert_true(one.part == 0.25);
    assert_true(one.part + other.part == 1);
    row_of_other.wants = false;
    share_follow(&one, 10, &row_of_other, 1);
    assert_true(one.part == 1);
}

static void what_others_wrote_before_they_were_known_does_not_count(void **state)
{
    struct share share;
    struct probe_peer peers[] = {
        {.job = 2, .pid = 20, .priority = 10, .written = 500, .wants = true}};

    (void)state;
    share_init(&share);
    share_follow(&share, 10, peers, 1);
    assert_true(share.others == 0 && !share.others_write);
    peers[0].written = 700;
    share_follow(&share, 10, peers, 1);
    assert_true(share.others == 200 && share.others_write);
    /* Looked at again before there are new rows: it has not been used yet. */
    share_follow(&share, 10, peers, 1);
    assert_true(share.others == 200 && share.others_write);
    share.others_write = false;
    share_follow(&share, 10, peers, 1);
    assert_true(share.others == 200 && !share.others_write);
    /* Its process died, and another has its number: less than before is no negative amount. */
    peers[0].written = 5;
    share_follow(&share, 10, peers, 1);
    assert_true(share.others == 200);
}

static void a_process_that_died_is_forgotten(void **state)
{
    (void)state;
    struct share share;
    struct probe_peer gone = {
        .job = 2, .pid = 20, .priority = 10, .wants = true, .age_seconds = 5.5};

    share_init(&share);
    share_follow(&share, 10, &gone, 1);
    assert_true(share.part == 1);
}

/* ---------------------------------------------------------------------------- what cannot be paced
 */

static void nothing_begins_that_would_overrun_the_window(void **state)
{
    static struct governor governor;

    (void)state;
    assert_true(governor_in_window(&governor, SECOND, 1e9));
    governor.has_window = true;
    assert_false(governor_in_window(&governor, SECOND, 0)); /* nobody has asked the server */
    governor.window_us = SECOND;
    governor.window_state.open = true;
    governor.window_state.seconds = 100;
    assert_true(governor_in_window(&governor, SECOND, 100));
    assert_false(governor_in_window(&governor, SECOND, 101));
    assert_true(governor_in_window(&governor, 51 * SECOND, 49));
    assert_false(governor_in_window(&governor, 51 * SECOND, 51));
    assert_false(governor_in_window(&governor, 102 * SECOND, 0));
}

static void what_is_owed_is_the_worse_of_bytes_and_time(void **state)
{
    static struct governor governor;
    struct reading *lag = &governor.view.readings[SIGNAL_REPLICA_LAG_TIME];

    (void)state;
    assert_true(governor_owed_part(&governor) == 0);
    credit_measure(&governor.credit, 10 * MB, 100 * MB, 0);
    assert_true(fabs(governor_owed_part(&governor) - 0.1) < 1e-9);
    *lag = (struct reading){.state = READING_OK, .value = 1.5, .limit = 2};
    assert_true(governor_owed_part(&governor) == 0.75);
    lag->state = READING_ABSENT;
    assert_true(fabs(governor_owed_part(&governor) - 0.1) < 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_of_any_size_keep_the_rate),
        cmocka_unit_test(a_pause_is_not_followed_by_a_burst),
        cmocka_unit_test(a_rate_of_nothing_lets_nothing_go),
        cmocka_unit_test(without_a_rate_nothing_is_owed),
        cmocka_unit_test(time_that_stands_or_goes_back_does_no_harm),
        cmocka_unit_test(the_log_that_has_grown_counts_as_not_replayed),
        cmocka_unit_test(what_is_seen_before_its_measurement_comes_counts),
        cmocka_unit_test(a_chunk_begins_when_it_fits),
        cmocka_unit_test(a_chunk_that_is_larger_than_the_limit_still_begins),
        cmocka_unit_test(another_primary_has_another_end_of_the_log),
        cmocka_unit_test(half_of_the_credit_is_time_to_measure),
        cmocka_unit_test(a_gate_opens_later_than_it_closes),
        cmocka_unit_test(a_signal_of_which_little_is_bad_closes_below_its_limit),
        cmocka_unit_test(what_is_unknown_is_closed),
        cmocka_unit_test(load_is_no_gate),
        cmocka_unit_test(of_several_gates_the_oldest_is_named),
        cmocka_unit_test(the_parts_of_those_that_want_more_add_up_to_one),
        cmocka_unit_test(what_others_wrote_before_they_were_known_does_not_count),
        cmocka_unit_test(a_process_that_died_is_forgotten),
        cmocka_unit_test(nothing_begins_that_would_overrun_the_window),
        cmocka_unit_test(what_is_owed_is_the_worse_of_bytes_and_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
