/* engine/job/window: its grammar by hand; what is open when, with fixed instants, by a server. */
#include "tests/harness.h"

#include <math.h>
#include <string.h>

#include "engine/job/window.h"
#include "engine/pg/session.h"

enum { HOUR = 60, DAY = 24 * HOUR };
enum { MON, TUE, WED, THU, FRI, SAT, SUN };

/* ---------------------------------------------------------------------------------------- grammar
 */

/* "0-60,1440-1500": the minutes of the week that a window has. */
static void expect_ranges(const char *text, const char *ranges, const char *zone)
{
    struct window window;
    struct error error = {0};
    TEXT_AUTO got = {0};

    if (!window_parse(text, &window, &error))
        fail_msg("\"%s\" was refused: %s", text, error.detail);
    for (int i = 0; i < window.count; i++)
        text_appendf(&got, "%s%d-%d", i == 0 ? "" : ",", window.ranges[i].opens,
                     window.ranges[i].closes);
    if (strcmp(text_string(&got), ranges) != 0)
        fail_msg("\"%s\" is %s, not %s", text, text_string(&got), ranges);
    assert_string_equal(window.zone, zone);
}

static void days_and_times_and_a_zone(void)
{
    expect_ranges("mon 01:00-05:30 Europe/Berlin", "60-330", "Europe/Berlin");
    expect_ranges("mon 1:00-5:30", "60-330", "");
    expect_ranges("  MON   01:00-05:30   utc ", "60-330", "utc");
    expect_ranges("monday 01:00-05:30 America/Argentina/Buenos_Aires", "60-330",
                  "America/Argentina/Buenos_Aires");
    expect_ranges("mon 01:00-05:30 Etc/GMT+3", "60-330", "Etc/GMT+3");
    expect_ranges("mon-thu 01:00-02:00", "60-120,1500-1560,2940-3000,4380-4440", "");
    expect_ranges("mon,thu 01:00-02:00", "60-120,4380-4440", "");
    expect_ranges("mon, thu 01:00-02:00", "60-120,4380-4440", "");
    expect_ranges("sat-mon 00:00-24:00", "0-1440,7200-10080", "");
}

static void without_days_it_is_every_day(void)
{
    expect_ranges("00:00-24:00", "0-10080", "");
    expect_ranges("01:00-02:00",
                  "60-120,1500-1560,2940-3000,4380-4440,5820-5880,7260-7320,8700-8760", "");
}

static void days_hold_for_the_times_after_them(void)
{
    expect_ranges("mon 01:00-02:00, 12:00-13:00", "60-120,720-780", "");
    expect_ranges("mon 01:00-02:00,12:00-13:00,tue 03:00-04:00 UTC", "60-120,720-780,1620-1680",
                  "UTC");
    expect_ranges("mon-tue,wed 01:00-02:00, sun 00:00-24:00",
                  "60-120,1500-1560,2940-3000,8640-10080", "");
}

static void over_midnight_belongs_to_the_day_on_which_it_begins(void)
{
    expect_ranges("mon 22:00-06:00", "1320-1800", "");
    expect_ranges("sun 22:00-06:00", "0-360,9960-10080", "");
    expect_ranges("sun 22:00-00:00", "9960-10080", "");
    expect_ranges("mon-tue 22:00-06:00", "1320-1800,2760-3240", "");
}

static void what_overlaps_or_touches_is_one(void)
{
    expect_ranges("mon 01:00-03:00, 02:00-04:00", "60-240", "");
    expect_ranges("mon 01:00-06:00, 02:00-04:00", "60-360", "");
    expect_ranges("mon 03:00-04:00, 01:00-03:00", "60-240", "");
    expect_ranges("mon 12:00-24:00, tue 00:00-06:00", "720-1800", "");
}

static void expect_wrong(const char *text, const char *detail)
{
    struct window window;
    struct error error = {0};

    if (window_parse(text, &window, &error))
        fail_msg("\"%s\" was taken", text);
    assert_int_equal(error.code, ERROR_USAGE);
    if (strstr(error.detail, detail) == NULL)
        fail_msg("\"%s\": %s", text, error.detail);
    assert_non_null(strstr(error.hint, "mon-thu 01:00-05:30 Europe/Berlin"));
}

static void what_is_no_window_is_refused_with_the_word(void)
{
    expect_wrong("", "times are missing");
    expect_wrong("mon", "times are missing behind: \"mon\"");
    expect_wrong("mon-thu,", "nothing stands behind: \",\"");
    expect_wrong("mon 01:00-02:00,", "nothing stands behind");
    expect_wrong(",mon 01:00-02:00", "a comma stands between two");
    expect_wrong("mon,,tue 01:00-02:00", "a comma stands between two");
    expect_wrong("mon 01:00", "no time from 00:00 to 24:00: \"01:00\"");
    expect_wrong("mon 01:00-", "no time");
    expect_wrong("mon 1-5", "neither a day nor a time: \"1-5\"");
    expect_wrong("mon 25:00-26:00", "no time");
    expect_wrong("mon 01:60-02:00", "no time");
    expect_wrong("mon 24:00-02:00", "no time");
    expect_wrong("mon 00:00-24:01", "no time");
    expect_wrong("mon 01:00:00-02:00:00", "no time");
    expect_wrong("mon 01:00-01:00", "ends when it begins; all day is 00:00-24:00");
    expect_wrong("xyz 01:00-02:00", "neither a day nor a time: \"xyz\"");
    expect_wrong("mon-xyz 01:00-02:00", "neither a day nor a time: \"mon-xyz\"");
    expect_wrong("mo 01:00-02:00", "neither a day nor a time: \"mo\"");
    expect_wrong("mon tue 01:00-02:00", "a comma is missing before: \"tue\"");
    expect_wrong("mon 01:00-02:00 03:00-04:00", "a comma is missing before: \"03:00-04:00\"");
    expect_wrong("mon 01:00-02:00 tue 03:00-04:00", "a comma is missing before: \"tue\"");
    expect_wrong("mon 01:00-02:00, tue", "times are missing");
    expect_wrong("mon 01:00-02:00, Europe/Berlin", "neither a day nor a time");
    expect_wrong("Europe/Berlin", "neither a day nor a time");
    expect_wrong("mon 01:00-02:00 Europe/Berlin UTC",
                 "nothing stands behind the time zone: \"UTC\"");
    expect_wrong("mon 01:00-02:00 UTC, tue 01:00-02:00", "nothing stands behind the time zone");
}

/* They would mean another zone than the one that is meant, or the same without its summer. */
static void abbreviations_and_offsets_are_no_time_zones(void)
{
    expect_wrong("mon 01:00-02:00 CET", "an area and a city, or UTC, not: \"CET\"");
    expect_wrong("mon 01:00-02:00 est", "an area and a city, or UTC, not: \"est\"");
    expect_wrong("mon 01:00-02:00 +02:00", "nor a time zone: \"+02:00\"");
    expect_wrong("mon 01:00-02:00 UTC+3", "nor a time zone: \"UTC+3\"");
    expect_wrong("mon 01:00-02:00 EST5EDT", "nor a time zone: \"EST5EDT\"");
    expect_wrong("mon 01:00-02:00 Eu/Be'rlin", "nor a time zone");
    expect_wrong(
        "mon 01:00-02:00 Etc/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "too long");
}

static int longest(const char *text)
{
    struct window window;
    struct error error = {0};

    assert_true(window_parse(text, &window, &error));
    return window_longest(&window);
}

static void the_longest_opening_may_go_over_the_end_of_the_week(void)
{
    assert_int_equal(longest("mon-thu 01:00-05:30"), 270);
    assert_int_equal(longest("mon 01:00-05:30, wed 02:00-03:00"), 270);
    assert_int_equal(longest("wed 01:00-05:30, sun 22:00-06:00"), 480);
    assert_int_equal(longest("sat-mon 00:00-24:00"), 3 * DAY);
    assert_int_equal(longest("00:00-24:00"), 7 * DAY);
}

static void it_is_open_from_its_first_minute_up_to_its_last(void)
{
    struct window window;
    struct error error = {0};

    assert_true(window_parse("tue 22:00-06:00", &window, &error));
    assert_false(window_open_at(&window, TUE * DAY + 22 * HOUR - 1));
    assert_true(window_open_at(&window, TUE * DAY + 22 * HOUR));
    assert_true(window_open_at(&window, WED * DAY + 6 * HOUR - 1));
    assert_false(window_open_at(&window, WED * DAY + 6 * HOUR));
}

/* ----------------------------------------------------------------------------------- by the server
 */

struct moment {
    const char *now;
    bool open;
    double seconds;
};

static void expect_moments(const char *text, const char *session_zone, const struct moment *moments)
{
    struct window window;
    struct error error = {0};
    SESSION_AUTO *session = NULL;

    assert_true(window_parse(text, &window, &error));
    assert_true(
        session_open(&session, &(struct session_options){.conninfo = t_conninfo()}, &error));
    if (session_zone != NULL)
        assert_true(session_set(session, "TimeZone", session_zone, false, &error));
    for (; moments->now != NULL; moments++) {
        struct window_state state;

        if (!window_ask(session, &window, moments->now, &state, &error))
            fail_msg("%s: %s", text, error.message);
        if (state.open != moments->open || state.seconds != moments->seconds)
            fail_msg("\"%s\" at %s is %s for %g s", text, moments->now,
                     state.open ? "open" : "closed", state.seconds);
    }
}

#define MOMENTS(...) ((const struct moment[]){__VA_ARGS__, {0}})

/* 2027-06-07 is a Monday, 02:00 later in Berlin than UTC. */
static void the_server_says_what_is_open_and_how_long(void)
{
    expect_moments("mon-thu 01:00-05:30 Europe/Berlin", NULL,
                   MOMENTS({"2027-06-07 00:00+02", false, 3600}, //
                           {"2027-06-07 00:59:59.5+02", false, 0.5},
                           {"2027-06-07 01:00+02", true, 4.5 * 3600}, //
                           {"2027-06-07 03:29:30Z", true, 30},
                           {"2027-06-07 05:30+02", false, 19.5 * 3600},
                           {"2027-06-10 05:30+02", false, 3 * 86400 + 19.5 * 3600},
                           {"2027-06-11 02:00+02", false, 2 * 86400 + 23 * 3600}));
    expect_moments(
        "sun 23:59-24:00 UTC", NULL,
        MOMENTS({"2027-06-07 00:00Z", false, 7 * 86400 - 60}, {"2027-06-06 23:59:01Z", true, 59}));
}

static void over_midnight_on_the_last_of_its_days(void)
{
    expect_moments("mon-thu 22:00-06:00 UTC", NULL,
                   MOMENTS({"2027-06-10 23:00Z", true, 7 * 3600}, /* Thursday */
                           {"2027-06-11 05:59Z", true, 60},       /* Friday morning, still its */
                           {"2027-06-11 06:00Z", false, 3 * 86400 + 16 * 3600},
                           {"2027-06-11 23:00Z", false, 2 * 86400 + 23 * 3600},
                           {"2027-06-07 05:00Z", false, 17 * 3600})); /* nobody began on Sunday */
    expect_moments(
        "sun 22:00-06:00 UTC", NULL,
        MOMENTS({"2027-06-07 00:00Z", true, 6 * 3600}, {"2027-06-06 23:00Z", true, 7 * 3600}));
}

static void the_29th_of_february_is_a_day_of_the_week(void)
{
    /* A Tuesday. */
    expect_moments("tue 22:00-02:00 UTC", NULL,
                   MOMENTS({"2028-02-29 21:00Z", false, 3600},
                           {"2028-02-29 23:00Z", true, 3 * 3600}, {"2028-03-01 01:00Z", true, 3600},
                           {"2028-02-28 23:00Z", false, 23 * 3600}));
}

/* 2027-03-28, a Sunday: 02:00 becomes 03:00, which is 01:00 UTC. */
static void clocks_that_go_forward_take_an_hour_from_it(void)
{
    expect_moments("01:00-05:30 Europe/Berlin", NULL,
                   MOMENTS({"2027-03-28 00:00Z", true, 3.5 * 3600},
                           {"2027-03-28 00:59:59Z", true, 2.5 * 3600 + 1},
                           {"2027-03-28 01:00Z", true, 2.5 * 3600}));
    /* What would be in the hour that is left out. */
    expect_moments("01:00-02:30 Europe/Berlin", NULL,
                   MOMENTS({"2027-03-28 00:30Z", true, 1800}, /* closes as 02:00 becomes 03:00 */
                           {"2027-03-28 01:00Z", false, 22 * 3600}));
    expect_moments("sun 02:10-02:50 Europe/Berlin", NULL,
                   MOMENTS({"2027-03-28 00:00Z", false, 7 * 86400 + 600})); /* not on that day */
    expect_moments("sun 02:30-04:00 Europe/Berlin", NULL,
                   MOMENTS({"2027-03-28 00:30Z", false, 1800}, {"2027-03-28 01:00Z", true, 3600}));
}

/* 2027-10-31, a Sunday: 03:00 becomes 02:00, which is 01:00 UTC. */
static void clocks_that_go_back_give_it_an_hour(void)
{
    expect_moments(
        "01:00-05:30 Europe/Berlin", NULL,
        MOMENTS({"2027-10-30 23:00Z", true, 5.5 * 3600}, {"2027-10-31 01:00Z", true, 3.5 * 3600}));
    expect_moments("01:00-02:30 Europe/Berlin", NULL,
                   MOMENTS({"2027-10-30 23:30Z", true, 3600},  /* up to the first 02:30 */
                           {"2027-10-31 00:30Z", false, 1800}, /* up to the second 02:00 */
                           {"2027-10-31 01:00Z", true, 1800},  /* up to the second 02:30 */
                           {"2027-10-31 01:30Z", false, 22.5 * 3600}));
}

/* Lord Howe moves by half an hour, Nepal is 45 minutes from anything. */
static void zones_that_are_not_whole_hours_away(void)
{
    expect_moments("01:00-02:15 Australia/Lord_Howe", NULL,
                   MOMENTS({"2027-04-03 14:30Z", true, 1800 + 45 * 60}, /* 01:30, clocks go back */
                           {"2027-04-03 15:05Z", true, 40 * 60}));
    expect_moments("00:00-00:15 Asia/Kathmandu", NULL,
                   MOMENTS({"2027-06-06 18:14Z", false, 60}, {"2027-06-06 18:15Z", true, 900}));
}

static void all_the_time_never_closes(void)
{
    expect_moments("00:00-24:00 Europe/Berlin", NULL,
                   MOMENTS({"2027-10-31 00:30Z", true, INFINITY}));
}

static void without_a_zone_the_sessions_counts(void)
{
    expect_moments(
        "01:00-02:00", "America/New_York",
        MOMENTS({"2027-06-07 01:30-04", true, 1800}, {"2027-06-07 01:30Z", false, 3.5 * 3600}));
    /* As the server takes this name for a setting: with its summer. */
    expect_moments("01:00-02:00", "CET", MOMENTS({"2027-06-07 01:30+02", true, 1800}));
}

static void now_is_the_servers_clock(void)
{
    struct window window;
    struct window_state state;
    struct error error = {0};
    SESSION_AUTO *session = NULL;

    assert_true(window_parse("00:00-24:00", &window, &error));
    assert_true(
        session_open(&session, &(struct session_options){.conninfo = t_conninfo()}, &error));
    assert_true(window_ask(session, &window, NULL, &state, &error));
    assert_true(state.open);
}

static void a_zone_that_the_server_does_not_know_is_refused(void)
{
    struct window window;
    struct window_state state;
    struct error error = {0};
    SESSION_AUTO *session = NULL;

    assert_true(window_parse("01:00-02:00 Europe/Brelin", &window, &error));
    assert_true(
        session_open(&session, &(struct session_options){.conninfo = t_conninfo()}, &error));
    assert_false(window_ask(session, &window, NULL, &state, &error));
    assert_int_equal(error.code, ERROR_REFUSED);
    assert_non_null(strstr(error.message, "Europe/Brelin"));
    assert_non_null(strstr(error.hint, "pg_timezone_names"));
    assert_false(window_check(session, "01:00-02:00 Europe/Brelin", &error));
    assert_int_equal(error.code, ERROR_REFUSED);
    assert_true(window_check(session, "01:00-02:00 Europe/Berlin", &error));
    assert_true(window_check(session, "", &error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(days_and_times_and_a_zone),
        t_test(without_days_it_is_every_day),
        t_test(days_hold_for_the_times_after_them),
        t_test(over_midnight_belongs_to_the_day_on_which_it_begins),
        t_test(what_overlaps_or_touches_is_one),
        t_test(what_is_no_window_is_refused_with_the_word),
        t_test(abbreviations_and_offsets_are_no_time_zones),
        t_test(the_longest_opening_may_go_over_the_end_of_the_week),
        t_test(it_is_open_from_its_first_minute_up_to_its_last),
        t_test(the_server_says_what_is_open_and_how_long),
        t_test(over_midnight_on_the_last_of_its_days),
        t_test(the_29th_of_february_is_a_day_of_the_week),
        t_test(clocks_that_go_forward_take_an_hour_from_it),
        t_test(clocks_that_go_back_give_it_an_hour),
        t_test(zones_that_are_not_whole_hours_away),
        t_test(all_the_time_never_closes),
        t_test(without_a_zone_the_sessions_counts),
        t_test(now_is_the_servers_clock),
        t_test(a_zone_that_the_server_does_not_know_is_refused),
    };

    return T_MAIN(tests);
}
