/* engine/job/settings: parsing, limits, text and back; and throttle/policy, which reads one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "engine/job/settings.h"
#include "throttle/policy.h"

static void expect_refused(const char *assignment, const char *message, const char *hint)
{
    struct settings settings;
    struct settings before;
    struct error error = {0};

    settings_init(&settings);
    settings_init(&before);
    assert_false(settings_set(&settings, assignment, &error));
    assert_int_equal(error.code, ERROR_USAGE);
    assert_non_null(strstr(error.message, message));
    assert_non_null(strstr(error.hint, hint));
    assert_memory_equal(&settings, &before, sizeof(settings));
}

static void expect_text(const char *assignment, const char *name, const char *text)
{
    struct settings settings;
    struct error error = {0};
    TEXT_AUTO out = {0};

    settings_init(&settings);
    assert_true(settings_set(&settings, assignment, &error));
    for (const struct setting *at = setting_table; at->name != NULL; at++)
        if (strcmp(at->name, name) == 0)
            settings_value(&settings, at, &out);
    assert_string_equal(text_string(&out), text);
}

static void every_setting_begins_with_its_default(void **state)
{
    struct settings settings;

    (void)state;
    settings_init(&settings);
    for (const struct setting *at = setting_table; at->name != NULL; at++) {
        TEXT_AUTO text = {0};

        settings_value(&settings, at, &text);
        assert_string_equal(text_string(&text), at->default_value);
    }
    assert_int_equal(settings.chunk_time_ms, 500);
    assert_int_equal(settings.index_memory_bytes, INT64_C(1) << 30);
    assert_string_equal(settings.policy, "off");
}

static void times_and_sizes_take_units(void **state)
{
    int64_t value;

    (void)state;
    assert_true(setting_parse_time("250ms", &value) && value == 250);
    assert_true(setting_parse_time("250", &value) && value == 250);
    assert_true(setting_parse_time("2s", &value) && value == 2000);
    assert_true(setting_parse_time("1.5 s", &value) && value == 1500);
    assert_true(setting_parse_time("2min", &value) && value == 120000);
    assert_true(setting_parse_time("1h", &value) && value == 3600000);
    assert_true(setting_parse_time("1d", &value) && value == 86400000);
    assert_true(setting_parse_size("64MB", &value) && value == INT64_C(64) << 20);
    assert_true(setting_parse_size("1GB", &value) && value == INT64_C(1) << 30);
    assert_true(setting_parse_size("100", &value) && value == 100);
}

static void what_is_no_time_is_refused(void **state)
{
    static const char *const WRONG[] = {"",     "ms",   "2 parsecs", "2MB", "-1s",
                                        "2s s", "1e99", "nan",       "inf", "2sx"};
    int64_t value;

    (void)state;
    for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++)
        if (setting_parse_time(WRONG[i], &value))
            fail_msg("\"%s\" was taken as %lld ms", WRONG[i], (long long)value);
}

static void a_value_comes_back_in_its_largest_unit(void **state)
{
    (void)state;
    expect_text("chunk.time=2000", "chunk.time", "2s");
    expect_text("chunk.time=1500ms", "chunk.time", "1500ms");
    expect_text("verify.age=120min", "verify.age", "2h");
    expect_text("chunk.wal=65536kB", "chunk.wal", "64MB");
    expect_text("log.budget=0", "log.budget", "0");
    expect_text("log.budget=65536", "log.budget", "64kB");
    expect_text("order=key", "order", "key");
    expect_text("workers=7", "workers", "7");
    expect_text("policy=fixed=250ms", "policy", "fixed=250ms");
}

static void the_last_of_two_assignments_counts(void **state)
{
    struct settings settings;
    struct error error = {0};

    (void)state;
    settings_init(&settings);
    assert_true(settings_set(&settings, "workers=3", &error));
    assert_true(settings_set(&settings, "workers=4", &error));
    assert_int_equal(settings.workers, 4);
}

static void wrong_settings_say_what_is_possible(void **state)
{
    (void)state;
    expect_refused("workers", "\"workers\" is not a setting", "name=value");
    expect_refused("wurkers=2", "no setting \"wurkers\"", "set --help");
    expect_refused("=2", "no setting \"\"", "set --help");
    expect_refused("workers=0", "workers cannot be \"0\"", "from 1 to 64");
    expect_refused("workers=65", "workers cannot be \"65\"", "from 1 to 64");
    expect_refused("workers=2x", "workers cannot be \"2x\"", "a number");
    expect_refused("workers=", "workers cannot be \"\"", "a number");
    expect_refused("workers=99999999999999999999", "workers cannot be", "a number");
    expect_refused("chunk.time=0", "chunk.time cannot be \"0\"",
                   "a time (250ms) from 10ms to 1min");
    expect_refused("chunk.wal=1kB", "chunk.wal cannot be \"1kB\"",
                   "a size (64MB) from 64kB to 1GB");
    expect_refused("log.budget=1", "log.budget cannot be \"1\"",
                   "a size (64MB) from 64kB to 1024TB, or 0");
    expect_refused("log.budget=65535", "log.budget cannot be", "from 64kB");
    expect_refused("chunk.wal=64ms", "chunk.wal cannot be", "a size");
    expect_refused("order=sideways", "order cannot be \"sideways\"", "auto|heap|key");
    expect_refused("order=hea", "order cannot be \"hea\"", "auto|heap|key");
    expect_refused("policy=fixed", "policy cannot be \"fixed\"", "fixed=DELAY");
    expect_refused("policy=fixed=soon", "policy cannot be", "fixed=DELAY");
    expect_refused("policy=fixed=0000000000000000000000000000000000000000000000000000000000000000",
                   "policy cannot be", "fixed=DELAY");
}

static void settings_survive_the_way_through_json(void **state)
{
    static const char *const CHANGES[] = {"order=heap",      "workers=5",  "chunk.time=1234ms",
                                          "log.budget=3GB",  "settle=off", "ready=dual-write",
                                          "policy=fixed=2s", "capture=row"};
    struct settings settings;
    struct settings back;
    struct error error = {0};
    TEXT_AUTO json = {0};

    (void)state;
    settings_init(&settings);
    for (size_t i = 0; i < sizeof(CHANGES) / sizeof(CHANGES[0]); i++)
        assert_true(settings_set(&settings, CHANGES[i], &error));
    settings_to_json(&settings, &json);
    assert_true(settings_from_json(&back, text_string(&json), &error));
    assert_memory_equal(&settings, &back, sizeof(settings));
}

static void settings_of_a_newer_program_are_ignored(void **state)
{
    struct settings settings;
    struct error error = {0};

    (void)state;
    assert_true(
        settings_from_json(&settings, "{\"limit.lag\": \"1MB\", \"workers\": \"9\"}", &error));
    assert_int_equal(settings.workers, 9);
    assert_int_equal(settings.chunk_time_ms, 500);
}

static void a_stored_value_that_is_impossible_is_an_error(void **state)
{
    struct settings settings;
    struct error error = {0};

    (void)state;
    assert_false(settings_from_json(&settings, "{\"workers\": \"0\"}", &error));
    assert_int_equal(error.code, ERROR_USAGE);
}

static void a_policy_says_how_long_to_wait(void **state)
{
    struct pace *pace = policy_new();

    (void)state;
    assert_int_equal(pace->delay_ms(pace, 500), 0);
    pace->configure(pace, "fixed=250ms");
    assert_int_equal(pace->delay_ms(pace, 500), 250);
    pace->configure(pace, "fixed=2s");
    assert_int_equal(pace->delay_ms(pace, 0), 2000);
    pace->configure(pace, "off");
    assert_int_equal(pace->delay_ms(pace, 500), 0);
    policy_free(pace);
}

static void a_policy_of_a_newer_program_means_off(void **state)
{
    struct pace *pace = policy_new();

    (void)state;
    pace->configure(pace, "fixed=1s");
    pace->configure(pace, "auto");
    assert_int_equal(pace->delay_ms(pace, 500), 0);
    pace->configure(pace, "fixed=soon");
    assert_int_equal(pace->delay_ms(pace, 500), 0);
    policy_free(pace);
    policy_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_setting_begins_with_its_default),
        cmocka_unit_test(times_and_sizes_take_units),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(a_value_comes_back_in_its_largest_unit),
        cmocka_unit_test(the_last_of_two_assignments_counts),
        cmocka_unit_test(wrong_settings_say_what_is_possible),
        cmocka_unit_test(settings_survive_the_way_through_json),
        cmocka_unit_test(settings_of_a_newer_program_are_ignored),
        cmocka_unit_test(a_stored_value_that_is_impossible_is_an_error),
        cmocka_unit_test(a_policy_says_how_long_to_wait),
        cmocka_unit_test(a_policy_of_a_newer_program_means_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
