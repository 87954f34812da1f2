#include "engine/job/window.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pg/session.h"
#include "engine/pg/sqlstate.h"

enum { DAYS = 7, DAY_MINUTES = 24 * 60, EVERY_DAY = (1 << DAYS) - 1 };

/* ---------------------------------------------------------------------------------------- reading
 */

/*
 * What has been read so far. Days collect until a time comes; the first day after a time begins a
 * new set.
 */
struct reader {
    const char *text;
    const char *at;
    struct window *window;
    unsigned days; /* bit 0: Monday */
    bool timed;    /* a time was read for these days */
};

static bool wrong(const struct reader *reader, struct error *error, const char *why,
                  const char *word, size_t length)
{
    error_set(error, ERROR_USAGE, "\"%s\" is no window", reader->text);
    error_detail(error, "%s: \"%.*s\"", why, (int)length, word);
    return error_hint(error, "write days, times and a time zone, as in 'mon-thu 01:00-05:30 "
                             "Europe/Berlin', or a list: 'mon-fri 22:00-06:00, sat,sun "
                             "00:00-24:00 UTC'");
}

/* 0: Monday; -1: it is no day. Three letters or all of them. */
static int day_of(const char *word, size_t length)
{
    static const char *const NAMES[DAYS] = {"monday", "tuesday",  "wednesday", "thursday",
                                            "friday", "saturday", "sunday"};

    for (int day = 0; day < DAYS; day++)
        if ((length == 3 || length == strlen(NAMES[day])) &&
            strncasecmp(word, NAMES[day], length) == 0)
            return day;
    return -1;
}

/* "mon", "fri-mon": adds to the days. False: it is neither. */
static bool read_days(struct reader *reader, const char *word, size_t length)
{
    const char *dash = memchr(word, '-', length);
    size_t first_length = dash == NULL ? length : (size_t)(dash - word);
    int first = day_of(word, first_length);
    int last = dash == NULL ? first : day_of(dash + 1, length - first_length - 1);

    if (first < 0 || last < 0)
        return false;
    if (reader->timed)
        reader->days = 0;
    reader->timed = false;
    for (int day = first;; day = (day + 1) % DAYS) {
        reader->days |= 1U << day;
        if (day == last)
            return true;
    }
}

/* "1:30", "01:30", "24:00" in minutes; -1: it is no time. */
static int minutes_of(const char *word, size_t length)
{
    size_t hours = length - 3;
    int minutes;

    if ((length != 4 && length != 5) || word[hours] != ':')
        return -1;
    for (size_t i = 0; i < length; i++)
        if (i != hours && !isdigit((unsigned char)word[i]))
            return -1;
    minutes = atoi(word) * 60 + atoi(word + hours + 1);
    return word[hours + 1] < '6' && minutes <= DAY_MINUTES ? minutes : -1;
}

/* May be past the end of the week: then the rest belongs to its beginning. */
static bool add_range(struct window *window, int opens, int closes)
{
    if (closes > WINDOW_MINUTES && !add_range(window, 0, closes - WINDOW_MINUTES))
        return false;
    if (window->count == WINDOW_RANGES_MAX)
        return false;
    window->ranges[window->count++] =
        (struct window_range){opens, closes > WINDOW_MINUTES ? WINDOW_MINUTES : closes};
    return true;
}

/* "22:00-06:00", for the days so far. */
static bool read_times(struct reader *reader, const char *word, size_t length, struct error *error)
{
    const char *dash = memchr(word, '-', length);
    int opens = dash == NULL ? -1 : minutes_of(word, (size_t)(dash - word));
    int closes = dash == NULL ? -1 : minutes_of(dash + 1, length - (size_t)(dash - word) - 1);

    if (opens < 0 || closes < 0 || opens == DAY_MINUTES)
        return wrong(reader, error, "this is no time from 00:00 to 24:00", word, length);
    if (opens == closes)
        return wrong(reader, error, "this ends when it begins; all day is 00:00-24:00", word,
                     length);
    if (closes < opens)
        closes += DAY_MINUTES;
    if (reader->days == 0)
        reader->days = EVERY_DAY;
    reader->timed = true;
    for (int day = 0; day < DAYS; day++)
        if ((reader->days & (1U << day)) != 0 &&
            !add_range(reader->window, day * DAY_MINUTES + opens, day * DAY_MINUTES + closes))
            return wrong(reader, error, "this is one too many", word, length);
    return true;
}

/*
 * Area/City or UTC. AT TIME ZONE takes abbreviations too, which have no summer time, and POSIX
 * rules, in which + is west, for anything with a digit.
 */
static bool read_zone(struct reader *reader, const char *word, size_t length, struct error *error)
{
    bool utc = length == 3 && strncasecmp(word, "UTC", 3) == 0;
    bool etc = length > 4 && strncmp(word, "Etc/", 4) == 0;

    for (size_t i = 0; i < length; i++)
        if (!isalpha((unsigned char)word[i]) && strchr("/_-", word[i]) == NULL &&
            !(etc && (isdigit((unsigned char)word[i]) || word[i] == '+')))
            return wrong(reader, error, "this is neither a day, nor a time, nor a time zone", word,
                         length);
    if (!utc && memchr(word, '/', length) == NULL)
        return wrong(reader, error, "a time zone is an area and a city, or UTC, not", word, length);
    if (length >= WINDOW_ZONE_BYTES)
        return wrong(reader, error, "this is too long for a time zone", word, length);
    memcpy(reader->window->zone, word, length);
    return true;
}

static bool begins_time(const char *word, size_t length)
{
    return isdigit((unsigned char)word[0]) && memchr(word, ':', length) != NULL;
}

/* One word, up to a blank or a comma. `behind_comma`: it goes on with the list. */
static bool read_word(struct reader *reader, const char *word, size_t length, bool behind_comma,
                      struct error *error)
{
    bool first = reader->window->count == 0 && reader->days == 0;

    if (reader->window->zone[0] != '\0')
        return wrong(reader, error, "nothing stands behind the time zone", word, length);
    if (begins_time(word, length)) {
        if (reader->timed && !behind_comma)
            return wrong(reader, error, "a comma is missing before", word, length);
        return read_times(reader, word, length, error);
    }
    if ((first || behind_comma) && read_days(reader, word, length))
        return true;
    if (read_days(&(struct reader){.window = reader->window}, word, length))
        return wrong(reader, error, "a comma is missing before", word, length);
    if (!reader->timed || behind_comma)
        return wrong(reader, error, "this is neither a day nor a time", word, length);
    return read_zone(reader, word, length, error);
}

static int compare_ranges(const void *a, const void *b)
{
    return ((const struct window_range *)a)->opens - ((const struct window_range *)b)->opens;
}

static void merge_ranges(struct window *window)
{
    int kept = 0;

    qsort(window->ranges, (size_t)window->count, sizeof(window->ranges[0]), compare_ranges);
    for (int i = 1; i < window->count; i++) {
        struct window_range *last = &window->ranges[kept];

        if (window->ranges[i].opens > last->closes)
            window->ranges[++kept] = window->ranges[i];
        else if (window->ranges[i].closes > last->closes)
            last->closes = window->ranges[i].closes;
    }
    window->count = kept + 1;
}

bool window_parse(const char *text, struct window *window, struct error *error)
{
    struct reader reader = {.text = text, .at = text, .window = window};
    bool comma = false;

    memset(window, 0, sizeof(*window));
    for (;;) {
        size_t length;

        for (reader.at += strspn(reader.at, " \t"); reader.at[0] == ','; comma = true) {
            if (comma || reader.at == text)
                return wrong(&reader, error, "a comma stands between two", reader.at, 1);
            reader.at += 1 + strspn(reader.at + 1, " \t");
        }
        length = strcspn(reader.at, " \t,");
        if (length == 0)
            break;
        if (!read_word(&reader, reader.at, length, comma, error))
            return false;
        reader.at += length;
        comma = false;
    }
    if (comma || !reader.timed)
        return wrong(&reader, error, comma ? "nothing stands behind" : "times are missing behind",
                     comma ? "," : text, comma ? 1 : strlen(text));
    merge_ranges(window);
    return true;
}

/* ---------------------------------------------------------------------------------------- looking
 */

bool window_open_at(const struct window *window, int minute)
{
    for (int i = 0; i < window->count; i++)
        if (minute >= window->ranges[i].opens && minute < window->ranges[i].closes)
            return true;
    return false;
}

int window_longest(const struct window *window)
{
    const struct window_range *last = &window->ranges[window->count - 1];
    int longest = 0;

    for (int i = 0; i < window->count; i++)
        if (window->ranges[i].closes - window->ranges[i].opens > longest)
            longest = window->ranges[i].closes - window->ranges[i].opens;
    /* From Sunday into Monday. */
    if (window->count > 1 && last->closes == WINDOW_MINUTES && window->ranges[0].opens == 0 &&
        last->closes - last->opens + window->ranges[0].closes > longest)
        longest = last->closes - last->opens + window->ranges[0].closes;
    return longest;
}

/*
 * Whether a window is open, and how long until that changes: the first minute within eight days in
 * which it is not as it is now. Minute by minute, because what a zone does in between is nobody's
 * to compute but the server's; zones change on whole minutes. Eight days: a week, and a window that
 * a change of clocks leaves out. The minutes are looked at one after the other, up to the one.
 *
 *     $1 timestamptz, NULL: now   $2 zone, '': the session's   $3, $4 ranges
 */
const char window_sql[] =
    "WITH given AS MATERIALIZED (\n"
    "    SELECT coalesce($1::timestamptz, clock_timestamp()) AS instant),\n"
    "state AS NOT MATERIALIZED (\n"
    "    SELECT n, moment.instant, EXISTS (\n"
    "        SELECT FROM unnest($3::int[], $4::int[]) AS range (opens, closes)\n"
    "        WHERE since_monday >= opens * 60 AND since_monday < closes * 60) AS open\n"
    "    FROM given, generate_series(0, 8 * 24 * 60) AS n,\n"
    "        LATERAL (SELECT CASE n WHEN 0 THEN given.instant\n"
    "            ELSE date_trunc('minute', given.instant) + n * interval '1 minute' END)\n"
    "            AS moment (instant),\n"
    "        LATERAL (SELECT CASE WHEN $2 = '' THEN moment.instant::timestamp\n"
    "            ELSE moment.instant AT TIME ZONE $2 END) AS wall (shown),\n"
    "        LATERAL (SELECT date_part('epoch', shown - date_trunc('week', shown)))\n"
    "            AS week (since_monday)),\n"
    "present AS MATERIALIZED (SELECT instant, open FROM state WHERE n = 0)\n"
    "SELECT present.open, extract(epoch FROM\n"
    "    (SELECT instant FROM state WHERE n > 0 AND open <> present.open LIMIT 1)\n"
    "    - present.instant)\n"
    "FROM present";

void window_ranges(const struct window *window, struct text *opens, struct text *closes)
{
    for (int i = 0; i < window->count; i++) {
        text_appendf(opens, "%c%d", i == 0 ? '{' : ',', window->ranges[i].opens);
        text_appendf(closes, "%c%d", i == 0 ? '{' : ',', window->ranges[i].closes);
    }
    text_append(opens, "}");
    text_append(closes, "}");
}

struct window_state window_answer(const struct rows *rows)
{
    return (struct window_state){
        .open = rows_bool(rows, 0, 0),
        .seconds = rows_text(rows, 0, 1) == NULL ? INFINITY : rows_double(rows, 0, 1),
    };
}

bool window_ask(struct session *session, const struct window *window, const char *now,
                struct window_state *state, struct error *error)
{
    ROWS_AUTO rows = {0};
    TEXT_AUTO opens = {0};
    TEXT_AUTO closes = {0};

    window_ranges(window, &opens, &closes);
    if (!session_query(session, &rows, window_sql,
                       PARAMS(now, window->zone, text_string(&opens), text_string(&closes)),
                       error)) {
        if (strcmp(error->sqlstate, SQLSTATE_INVALID_PARAMETER_VALUE) == 0)
            error_refuse(error, "SELECT name FROM pg_timezone_names lists the time zones");
        return error_context(error, "could not find out whether the window is open");
    }
    *state = window_answer(&rows);
    return true;
}

bool window_check(struct session *session, const char *text, struct error *error)
{
    struct window window;
    struct window_state state;

    return text[0] == '\0' || (window_parse(text, &window, error) &&
                               window_ask(session, &window, NULL, &state, error));
}
