/* engine/job/settings: parsing, limits, text and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "engine/job/settings.h"

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
    assert_string_equal(settings.policy, "auto");
}

/* Defaults that are on (issue 4): a single server runs without a word, and nothing else is off by
 * mistake. */
static void limits_that_are_on_are_those_that_need_nothing(void **state)
{
    struct settings settings;

    (void)state;
    settings_init(&settings);
    assert_int_equal(settings.limit_replica_lag_bytes, INT64_C(64) << 20);
    assert_int_equal(settings.limit_replicas_missing, 1);
    assert_int_equal(settings.limit_slot_wal_left_percent, 20);
    assert_int_equal(settings.limit_blocked_by_us, 1);
    assert_int_equal(settings.limit_foreground_latency, 3000);
    assert_int_equal(settings.limit_xmin_age, 100000000);
    assert_int_equal(settings.limit_replica_lag_ms, SETTING_OFF);
    assert_int_equal(settings.limit_slot_retained_bytes, SETTING_OFF);
    assert_int_equal(settings.limit_wal_rate_bytes, SETTING_OFF);
    assert_int_equal(settings.limit_archiver_backlog_bytes, SETTING_OFF);
    assert_int_equal(settings.limit_checkpoints_requested, SETTING_OFF);
    assert_int_equal(settings.limit_active_sessions, SETTING_OFF);
    assert_int_equal(settings.limit_commit_wait, SETTING_OFF);
    assert_int_equal(settings.limit_dead_tuples, SETTING_OFF);
    assert_int_equal(settings.limit_vacuum_running, SETTING_OFF);
    assert_int_equal(settings.limit_disk_bytes, SETTING_OFF);
    assert_string_equal(settings.limit_query, "");
    assert_string_equal(settings.window, "");
    assert_int_equal(settings.priority, 10);
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
    expect_text("policy=law=gh-ost", "policy", "law=gh-ost");
    expect_text("limit.replica-lag-bytes=16384kB", "limit.replica-lag-bytes", "16MB");
    expect_text("limit.wal-rate=20MB", "limit.wal-rate", "20MB/s");
    expect_text("limit.wal-rate=0.5 GB/s", "limit.wal-rate", "512MB/s");
    expect_text("limit.slot-wal-left=35 %", "limit.slot-wal-left", "35%");
    expect_text("limit.slot-wal-left=35", "limit.slot-wal-left", "35%");
    expect_text("limit.foreground-latency=1.5", "limit.foreground-latency", "1.5");
    expect_text("limit.foreground-latency=1.255x", "limit.foreground-latency", "1.255");
    expect_text("limit.foreground-latency=12", "limit.foreground-latency", "12");
}

static void every_limit_can_be_off_and_most_can_be_on(void **state)
{
    static const char *const ON[][2] = {
        {"limit.replica-lag-bytes", "64MB"},  {"limit.replica-lag-time", "2s"},
        {"limit.replicas-missing", "on"},     {"limit.slot-retained", "4GB"},
        {"limit.slot-wal-left", "20%"},       {"limit.archiver-backlog", "1GB"},
        {"limit.checkpoints-requested", "2"}, {"limit.active-sessions", "on"},
        {"limit.commit-wait", "on"},          {"limit.blocked-by-us", "on"},
        {"limit.foreground-latency", "3"},    {"limit.xmin-age", "100000000"},
        {"limit.vacuum-running", "on"}};

    (void)state;
    for (const struct setting *at = setting_table; at->name != NULL; at++) {
        TEXT_AUTO off = {0};

        if (strncmp(at->name, "limit.", 6) != 0)
            continue;
        text_appendf(&off, "%s=off", at->name);
        expect_text(text_string(&off), at->name, "off");
    }
    for (size_t i = 0; i < sizeof(ON) / sizeof(ON[0]); i++) {
        TEXT_AUTO on = {0};

        text_appendf(&on, "%s=on", ON[i][0]);
        expect_text(text_string(&on), ON[i][0], ON[i][1]);
    }
    expect_refused("limit.wal-rate=on", "limit.wal-rate cannot be \"on\"", "or off");
    expect_refused("limit.dead-tuples=on", "cannot be \"on\"", "or off");
    expect_refused("limit.disk=on", "cannot be \"on\"", "or off");
    expect_refused("limit.query=on", "cannot be \"on\"", "or off");
    expect_refused("workers=off", "cannot be \"off\"", "a number");
}

static void relative_limits_are_no_number(void **state)
{
    struct settings settings;
    struct error error = {0};

    (void)state;
    settings_init(&settings);
    assert_true(settings_set(&settings, "limit.active-sessions=on", &error));
    assert_true(settings_set(&settings, "limit.commit-wait=on", &error));
    assert_int_equal(settings.limit_active_sessions, SETTING_RELATIVE);
    assert_int_equal(settings.limit_commit_wait, SETTING_RELATIVE);
    assert_true(settings_set(&settings, "limit.active-sessions=12", &error));
    assert_int_equal(settings.limit_active_sessions, 12);
}

/* What must never be taken for a limit: it would be none, or hold for ever. */
static void a_limit_of_nothing_or_nonsense_is_refused(void **state)
{
    static const char *const WRONG[] = {
        "",           "0",       "-1",    "0MB",      "-64MB", "nan",   "NaN",   "inf",  "-inf",
        "64 bananas", "1e400MB", "1e400", "infinity", "0.0",   "64M B", "64MB;", "none", "-2"};

    (void)state;
    for (const struct setting *at = setting_table; at->name != NULL; at++)
        for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
            TEXT_AUTO assignment = {0};
            TEXT_AUTO message = {0};

            if (strncmp(at->name, "limit.", 6) != 0)
                continue;
            text_appendf(&assignment, "%s=%s", at->name, WRONG[i]);
            text_appendf(&message, "setting %s cannot be \"%s\"", at->name, WRONG[i]);
            expect_refused(text_string(&assignment), text_string(&message), "it takes ");
        }
    expect_refused("limit.replica-lag-bytes=2s", "cannot be \"2s\"", "a size (64MB) from 64kB");
    expect_refused("limit.replica-lag-time=64MB", "cannot be", "a time (250ms) from 100ms to 1d");
    expect_refused("limit.slot-wal-left=100%", "cannot be", "a percentage (20%) from 1% to 99%");
    expect_refused("limit.foreground-latency=1", "cannot be", "from 1.1 to 1000, or on, or off");
    expect_refused("priority=0", "priority cannot be \"0\"", "from 1 to 100");
    expect_refused("priority=101", "priority cannot be \"101\"", "from 1 to 100");
    expect_refused("cpus=-1", "cpus cannot be", "from 1 to 4096, or 0");
    expect_refused("cpus=2.5", "cpus cannot be", "a number");
    expect_refused("replicas=33", "replicas cannot be", "from 1 to 32, or 0");
}

static void a_query_is_a_limit_and_sql(void **state)
{
    const char *sql;
    double limit;

    (void)state;
    assert_true(setting_parse_query("2.5  SELECT 1", &limit, &sql));
    assert_true(limit == 2.5);
    assert_string_equal(sql, "SELECT 1");
    expect_text("limit.query=100 with q as (select 1) select * from q", "limit.query",
                "100 with q as (select 1) select * from q");
    expect_refused("limit.query=SELECT 1", "limit.query cannot be", "'100 SELECT count(*)");
    expect_refused("limit.query=5", "limit.query cannot be", "'100 SELECT count(*)");
    expect_refused("limit.query=5 DELETE FROM orders", "limit.query cannot be", "SELECT");
    expect_refused("limit.query=nan SELECT 1", "limit.query cannot be", "above 0");
    expect_refused("limit.query=0 SELECT 1", "limit.query cannot be", "above 0");
}

static void set_twice(struct settings *settings, const char *first, const char *second)
{
    struct error error = {0};

    settings_init(settings);
    assert_true(settings_set(settings, first, &error));
    assert_true(settings_set(settings, second, &error));
}

static void replicas_add_up_until_they_are_forgotten(void **state)
{
    struct settings settings;
    struct error error = {0};

    (void)state;
    set_twice(&settings, "replica=host=a user=x", "replica=postgresql://b:5433/");
    assert_string_equal(settings.replica, "host=a user=x\npostgresql://b:5433/");
    assert_true(settings_set(&settings, "replica=host=a user=x", &error));
    assert_string_equal(settings.replica, "host=a user=x\npostgresql://b:5433/");
    assert_true(settings_set(&settings, "replica=host=a", &error));
    assert_string_equal(settings.replica, "host=a user=x\npostgresql://b:5433/\nhost=a");
    set_twice(&settings, "replica=host=a", "replica=");
    assert_string_equal(settings.replica, "");
}

/* It is stored in a row that others may read; nor does a message repeat it. */
static void a_replica_with_a_password_is_refused(void **state)
{
    static const char *const SECRETS[] = {
        "replica=host=a password=hunter2", "replica=postgresql://me:hunter2@a/db",
        "replica=host=a\npostgresql://me:hunter2@a/db", "replica=host=a sslpassword=hunter2",
        "replica=password=hunter2 host"};
    struct settings settings;

    (void)state;
    for (size_t i = 0; i < sizeof(SECRETS) / sizeof(SECRETS[0]); i++) {
        struct error error = {0};

        settings_init(&settings);
        assert_false(settings_set(&settings, SECRETS[i], &error));
        assert_int_equal(error.code, ERROR_USAGE);
        assert_null(strstr(error.message, "hunter2"));
        assert_null(strstr(error.detail, "hunter2"));
        assert_null(strstr(error.hint, "hunter2"));
        assert_string_equal(settings.replica, "");
    }
    expect_refused("replica=host=a password=x", "must not hold a password", "~/.pgpass");
    expect_refused("replica=standby1", "no connection string", "host=standby1");
    expect_refused("replica=host=a prot=5432", "no connection string", "or a URI");
}

static void texts_that_do_not_fit_are_refused(void **state)
{
    TEXT_AUTO names = {0};
    TEXT_AUTO query = {0};

    (void)state;
    text_append(&names, "ignore-replica=");
    text_append(&query, "limit.query=1 SELECT ");
    for (int i = 0; i < 512; i++) {
        text_append(&names, "n");
        text_append(&query, "1234");
    }
    expect_refused(text_string(&names), "ignore-replica is too long", "511 bytes");
    expect_refused(text_string(&query), "limit.query is too long", "2047 bytes");
}

static void a_window_is_checked_where_it_is_set(void **state)
{
    (void)state;
    expect_text("window=mon-thu 01:00-05:30 Europe/Berlin", "window",
                "mon-thu 01:00-05:30 Europe/Berlin");
    expect_text("window=off", "window", "off");
    expect_text("window=", "window", "off");
    expect_refused("window=at night", "setting window: \"at night\" is no window", "mon-thu");
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
    expect_refused("policy=law=", "policy cannot be", "it is auto, or fixed=DELAY");
    expect_refused("policy=fixed=soon", "policy cannot be", "fixed=DELAY");
    expect_refused("policy=fixed=0000000000000000000000000000000000000000000000000000000000000000",
                   "policy cannot be", "fixed=DELAY");
}

static void settings_survive_the_way_through_json(void **state)
{
    static const char *const CHANGES[] = {"order=heap",
                                          "workers=5",
                                          "chunk.time=1234ms",
                                          "log.budget=3GB",
                                          "settle=off",
                                          "ready=dual-write",
                                          "policy=fixed=2s",
                                          "capture=row",
                                          "limit.replica-lag-bytes=16MB",
                                          "limit.replica-lag-time=1500ms",
                                          "limit.replicas-missing=off",
                                          "limit.slot-retained=on",
                                          "limit.slot-wal-left=15%",
                                          "limit.wal-rate=30MB/s",
                                          "limit.active-sessions=on",
                                          "limit.commit-wait=7",
                                          "limit.blocked-by-us=3",
                                          "limit.foreground-latency=1.255",
                                          "limit.dead-tuples=1000001",
                                          "limit.vacuum-running=on",
                                          "limit.disk=3GB",
                                          "limit.query=4.5 SELECT \"a\" FROM \"Q'\"",
                                          "cpus=8",
                                          "replicas=2",
                                          "replica=host=a",
                                          "replica=host='b c'",
                                          "ignore-replica=slow,later",
                                          "window=sat,sun 00:00-24:00 Europe/Berlin",
                                          "priority=1"};
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
        settings_from_json(&settings, "{\"limit.tides\": \"1MB\", \"workers\": \"9\"}", &error));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_setting_begins_with_its_default),
        cmocka_unit_test(limits_that_are_on_are_those_that_need_nothing),
        cmocka_unit_test(every_limit_can_be_off_and_most_can_be_on),
        cmocka_unit_test(relative_limits_are_no_number),
        cmocka_unit_test(a_limit_of_nothing_or_nonsense_is_refused),
        cmocka_unit_test(a_query_is_a_limit_and_sql),
        cmocka_unit_test(replicas_add_up_until_they_are_forgotten),
        cmocka_unit_test(a_replica_with_a_password_is_refused),
        cmocka_unit_test(texts_that_do_not_fit_are_refused),
        cmocka_unit_test(a_window_is_checked_where_it_is_set),
        cmocka_unit_test(times_and_sizes_take_units),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(a_value_comes_back_in_its_largest_unit),
        cmocka_unit_test(the_last_of_two_assignments_counts),
        cmocka_unit_test(wrong_settings_say_what_is_possible),
        cmocka_unit_test(settings_survive_the_way_through_json),
        cmocka_unit_test(settings_of_a_newer_program_are_ignored),
        cmocka_unit_test(a_stored_value_that_is_impossible_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
