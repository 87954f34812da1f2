/* throttle/signal, baseline, drain: limits and their texts, what is usual, how long a replica
 * needs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "throttle/baseline.h"
#include "throttle/drain.h"
#include "throttle/signal.h"

static const int64_t SECOND_US = 1000000;
static const double MEGABYTE = 1024 * 1024;

/* -------------------------------------------------------------------------------------- the table
 */

static void every_signal_has_a_setting_that_turns_it_off(void **state)
{
    (void)state;
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        TEXT_AUTO assignment = {0};
        struct settings settings;
        struct error error;
        bool relative;

        settings_init(&settings);
        text_appendf(&assignment, "%s=off", signal_table[i].setting);
        if (!settings_set(&settings, text_string(&assignment), &error))
            fail_msg("%s", error.message);
        assert_true(signal_limit(&settings, i, &relative) == 0);
        assert_true(strlen(signal_table[i].what) > 0);
    }
}

static double limit_of(enum signal_id id, const char *assignment, bool *relative)
{
    struct settings settings;
    struct error error;

    settings_init(&settings);
    if (assignment != NULL && !settings_set(&settings, assignment, &error))
        fail_msg("%s", error.message);
    return signal_limit(&settings, id, relative);
}

static void limits_are_in_the_units_of_their_signals(void **state)
{
    bool relative;

    (void)state;
    assert_true(limit_of(SIGNAL_REPLICA_LAG_BYTES, NULL, &relative) == 64 * MEGABYTE);
    assert_true(limit_of(SIGNAL_REPLICA_LAG_TIME, "limit.replica-lag-time=2500ms", &relative) ==
                2.5);
    assert_true(limit_of(SIGNAL_FOREGROUND_LATENCY, NULL, &relative) == 3);
    assert_true(limit_of(SIGNAL_SLOT_WAL_LEFT, NULL, &relative) == 20);
    assert_true(limit_of(SIGNAL_QUERY, "limit.query=12.5 SELECT 1", &relative) == 12.5);
    assert_false(relative);
}

static void active_sessions_are_relative_unless_the_cpus_are_known(void **state)
{
    struct settings settings;
    struct error error;
    bool relative;

    (void)state;
    settings_init(&settings);
    assert_true(settings_set(&settings, "limit.active-sessions=on", &error));
    assert_true(signal_limit(&settings, SIGNAL_ACTIVE_SESSIONS, &relative) > 0);
    assert_true(relative);
    assert_true(settings_set(&settings, "cpus=8", &error));
    assert_true(signal_limit(&settings, SIGNAL_ACTIVE_SESSIONS, &relative) == 12);
    assert_false(relative);
}

/* ----------------------------------------------------------------------------------------- texts
 */

static void expect_shown(enum signal_unit unit, double value, const char *expected)
{
    TEXT_AUTO text = {0};

    signal_value_text(unit, value, &text);
    assert_string_equal(text_string(&text), expected);
}

static void values_read_as_people_write_them(void **state)
{
    (void)state;
    expect_shown(UNIT_BYTES, 70 * MEGABYTE, "70MB");
    expect_shown(UNIT_BYTES, 1536, "1.5kB");
    expect_shown(UNIT_BYTES, 0, "0B");
    expect_shown(UNIT_BYTES_PER_SECOND, 12 * MEGABYTE, "12MB/s");
    expect_shown(UNIT_SECONDS, 2.41, "2.4s");
    expect_shown(UNIT_SECONDS, 0.25, "250ms");
    expect_shown(UNIT_SECONDS, 2, "2s");
    expect_shown(UNIT_SECONDS, 600, "10min");
    expect_shown(UNIT_PERCENT, 18.2, "18 %");
    expect_shown(UNIT_TIMES, 3.24, "3.2x");
    expect_shown(UNIT_TIMES, 3, "3x");
    expect_shown(UNIT_COUNT, 100000000, "100000000");
    expect_shown(UNIT_COUNT, 0.5, "0.5");
    expect_shown(UNIT_SECONDS, INFINITY, "endless");
}

static void a_reason_names_the_signal_whose_it_is_and_the_limit(void **state)
{
    struct reading reading = {.state = READING_OK, .value = 70 * MEGABYTE, .limit = 64 * MEGABYTE};
    TEXT_AUTO text = {0};

    (void)state;
    strcpy(reading.who, "standby1");
    signal_reason_text(SIGNAL_REPLICA_LAG_BYTES, &reading, &text);
    assert_string_equal(text_string(&text), "replica-lag-bytes of standby1: 70MB, limit 64MB");
    text_clear(&text);
    reading.state = READING_UNREADABLE;
    strcpy(reading.why, "not read for 7 s");
    signal_reason_text(SIGNAL_REPLICA_LAG_BYTES, &reading, &text);
    assert_string_equal(text_string(&text), "replica-lag-bytes of standby1: not read for 7 s");
}

static void a_reason_without_a_value_yet_shows_none(void **state)
{
    static const enum reading_state STATES[] = {READING_ABSENT, READING_OFF};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct reading reading = {.state = STATES[i], .limit = 3};
        TEXT_AUTO text = {0};

        signal_reason_text(SIGNAL_FOREGROUND_LATENCY, &reading, &text);
        assert_string_equal(text_string(&text),
                            "foreground-latency: not known yet, starting slowly");
    }
}

/* -------------------------------------------------------------------------------------- baselines
 */

static void add_samples(struct baseline *baseline, int count, double value, int64_t from_us)
{
    for (int i = 0; i < count; i++)
        assert_true(baseline_add(baseline, value, SECOND_US, from_us + i * SECOND_US / 10));
}

static void a_baseline_says_nothing_before_it_has_enough_samples(void **state)
{
    struct baseline baseline;
    double value = -1;

    (void)state;
    baseline_init(&baseline, 0.95);
    add_samples(&baseline, BASELINE_SAMPLES_MIN - 1, 5, 0);
    assert_false(baseline_value(&baseline, SECOND_US, &value));
    add_samples(&baseline, 1, 5, SECOND_US);
    assert_true(baseline_value(&baseline, SECOND_US, &value));
    assert_true(value == 5);
}

static void what_is_measured_beside_our_own_work_is_never_usual(void **state)
{
    struct baseline baseline;
    double value = -1;

    (void)state;
    baseline_init(&baseline, 0.95);
    add_samples(&baseline, 20, 5, 0);
    for (int i = 0; i < 1000; i++) {
        assert_false(baseline_add(&baseline, 500, 0, 3 * SECOND_US + i));
        assert_false(baseline_add(&baseline, 500, BASELINE_SETTLE_US - 1, 3 * SECOND_US + i));
    }
    assert_true(baseline_value(&baseline, 4 * SECOND_US, &value));
    assert_true(value == 5);
    assert_false(baseline_add(&baseline, NAN, SECOND_US, 5 * SECOND_US));
}

static void a_baseline_rolls_to_what_is_usual_now(void **state)
{
    struct baseline baseline;
    double value = -1;
    int64_t later_us = BASELINE_AGE_US + 10 * SECOND_US;

    (void)state;
    baseline_init(&baseline, 0.5);
    add_samples(&baseline, 50, 5, 0);
    add_samples(&baseline, 50, 20, later_us);
    assert_true(baseline_value(&baseline, later_us + 10 * SECOND_US, &value));
    assert_true(value == 20);
}

static void without_pauses_the_baseline_of_the_start_stands(void **state)
{
    struct baseline baseline;
    double value = -1;

    (void)state;
    baseline_init(&baseline, 0.5);
    add_samples(&baseline, 10, 5, 0);
    add_samples(&baseline, 2, 50, 100 * BASELINE_AGE_US); /* too few to roll to */
    assert_true(baseline_value(&baseline, 100 * BASELINE_AGE_US + SECOND_US, &value));
    assert_true(value == 5);
}

static void a_quantile_is_the_nearest_rank(void **state)
{
    double values[20];

    (void)state;
    for (int i = 0; i < 20; i++)
        values[i] = 20 - i;
    assert_true(baseline_quantile(values, 20, 0.95) == 19);
    assert_true(baseline_quantile(values, 20, 0.5) == 10);
    assert_true(baseline_quantile(values, 1, 0.95) == 1);
}

/* ------------------------------------------------------------------------------------- drain time
 */

/* A replica that replays `speed` bytes a second, busy, for ten looks. */
static struct drain busy_replica(double speed)
{
    struct drain drain = {0};

    for (int i = 0; i <= 10; i++)
        drain_observe(&drain, 100 * MEGABYTE, speed * i, SECOND_US * i);
    return drain;
}

static void drain_time_is_the_backlog_by_the_speed_that_was_measured(void **state)
{
    struct drain drain = busy_replica(10 * MEGABYTE);

    (void)state;
    assert_true(fabs(drain_seconds(&drain, 50 * MEGABYTE, -1, 10 * SECOND_US) - 5) < 0.01);
    assert_true(drain_seconds(&drain, 0, -1, 10 * SECOND_US) == 0);
    /* A hundred times idle, then a burst: what came slowly says nothing of what it can. */
    for (int i = 1; i <= 100; i++)
        drain_observe(&drain, 100, 100 * MEGABYTE + 1000 * i, (10 + i) * SECOND_US);
    assert_true(fabs(drain_seconds(&drain, 50 * MEGABYTE, -1, 110 * SECOND_US) - 5) < 0.01);
}

static void a_replica_that_stands_still_is_later_and_later(void **state)
{
    struct drain drain = busy_replica(10 * MEGABYTE);
    double before = 0;

    (void)state;
    for (int i = 1; i <= 60; i++) {
        double now;

        drain_observe(&drain, 200 * MEGABYTE, 100 * MEGABYTE, (10 + i) * SECOND_US);
        now = drain_seconds(&drain, 200 * MEGABYTE, 0.2, (10 + i) * SECOND_US);
        assert_true(now > before || now == DRAIN_SECONDS_MAX);
        assert_true(now >= i);
        before = now;
    }
    assert_true(before > 3600);
}

static void without_a_measured_speed_the_server_is_believed(void **state)
{
    struct drain drain = {0};

    (void)state;
    drain_observe(&drain, 100, 5000, SECOND_US);
    assert_true(drain_seconds(&drain, 100, 0.3, SECOND_US) == 0.3);
    assert_true(drain_seconds(&drain, 100, -1, SECOND_US) == 0);
    /* A little that is not reported yet is no standstill. */
    assert_true(drain_seconds(&drain, 100, -1, 9 * SECOND_US) == 0);
}

static void the_same_report_twice_teaches_nothing(void **state)
{
    struct drain drain = busy_replica(10 * MEGABYTE);
    struct drain before = drain;

    (void)state;
    drain_observe(&drain, 150 * MEGABYTE, 100 * MEGABYTE, 10 * SECOND_US);
    assert_memory_equal(&drain, &before, sizeof(drain));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_signal_has_a_setting_that_turns_it_off),
        cmocka_unit_test(limits_are_in_the_units_of_their_signals),
        cmocka_unit_test(active_sessions_are_relative_unless_the_cpus_are_known),
        cmocka_unit_test(values_read_as_people_write_them),
        cmocka_unit_test(a_reason_names_the_signal_whose_it_is_and_the_limit),
        cmocka_unit_test(a_reason_without_a_value_yet_shows_none),
        cmocka_unit_test(a_baseline_says_nothing_before_it_has_enough_samples),
        cmocka_unit_test(what_is_measured_beside_our_own_work_is_never_usual),
        cmocka_unit_test(a_baseline_rolls_to_what_is_usual_now),
        cmocka_unit_test(without_pauses_the_baseline_of_the_start_stands),
        cmocka_unit_test(a_quantile_is_the_nearest_rank),
        cmocka_unit_test(drain_time_is_the_backlog_by_the_speed_that_was_measured),
        cmocka_unit_test(a_replica_that_stands_still_is_later_and_later),
        cmocka_unit_test(without_a_measured_speed_the_server_is_believed),
        cmocka_unit_test(the_same_report_twice_teaches_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
