/*
 * Window: when a job may work, by the clock on the wall of some place, week after week.
 *
 *     mon-thu 01:00-05:30 Europe/Berlin
 *     mon-fri 22:00-06:00, sat,sun 00:00-24:00 Europe/Berlin
 *     01:00-03:00, 12:00-13:00
 *
 * A list with commas of days and times, and then a time zone:
 *
 *     days    mon tue wed thu fri sat sun, in full too; ranges, also over the weekend (fri-mon).
 *             They hold for the times after them, up to other days. None so far: every day
 *     times   HH:MM-HH:MM; the end is not part of it. Over midnight it belongs to the day on which
 *             it begins; 00:00-24:00 is all day
 *     zone    an area and a city, as the server knows them, or UTC. None: the session's TimeZone.
 *             No abbreviations: CET has no summer, and would be an hour off for half of the year
 *
 * It is open exactly while the clock on the wall shows such a time. So in the night in which clocks
 * go from 02:00 to 03:00, a window up to 02:30 closes at 02:00; in the one in which they go back
 * from 03:00 to 02:00, it is closed between the first 02:30 and the second 02:00, and open again up
 * to the second 02:30.
 *
 * The server decides what time it is and what its zones do: window_ask().
 */
#ifndef PGHAUL_JOB_WINDOW_H
#define PGHAUL_JOB_WINDOW_H

#include <stdint.h>

#include "engine/base/error.h"

struct session;
struct rows;
struct text;

enum { WINDOW_RANGES_MAX = 256, WINDOW_ZONE_BYTES = 64, WINDOW_MINUTES = 7 * 24 * 60 };

/* Minutes of the week, from Monday 00:00: open from `opens` up to and without `closes`. */
struct window_range {
    int opens;
    int closes; /* opens < closes <= WINDOW_MINUTES */
};

/*
 *     | ranges[0] | gap | ranges[1] | ..   in order; neither overlap nor touch
 */
struct window {
    struct window_range ranges[WINDOW_RANGES_MAX];
    int count;                    /* at least 1 */
    char zone[WINDOW_ZONE_BYTES]; /* "": the session's */
};

/* Pure. ERROR_USAGE. An empty text is no window: ask nobody. */
bool window_parse(const char *text, struct window *window, struct error *error) MUST_CHECK;

/* Is it open at this minute of the week? */
bool window_open_at(const struct window *window, int minute);

/* Minutes of its longest opening, in a week without change of clocks: what takes longer fits into
 * none. */
int window_longest(const struct window *window);

struct window_state {
    bool open;
    /* Seconds until that changes, by the server's clock and zones; INFINITY: not within eight days
     * (a window of all the time). */
    double seconds;
};

/*
 * Asks the server, with one query of some milliseconds; `now` is a timestamptz as text, NULL: the
 * server's clock. What it says holds until `seconds` are over, if no clock is set meanwhile: ask
 * again then, and every minute or so. ERROR_REFUSED for a zone that the server does not know.
 */
bool window_ask(struct session *session, const struct window *window, const char *now,
                struct window_state *state, struct error *error) MUST_CHECK;

/* Does the server know the zone of this text? Any text that is a window, or "". As window_ask(). */
bool window_check(struct session *session, const char *text, struct error *error) MUST_CHECK;

/*
 * What that sends and makes of the answer, for who asks by another way: $1 = now, $2 = zone, $3 and
 * $4 = opens and closes of window_ranges().
 */
extern const char window_sql[];
void window_ranges(const struct window *window, struct text *opens, struct text *closes);
struct window_state window_answer(const struct rows *rows);

#endif
