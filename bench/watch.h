/*
 * Looks at a primary and its standby from outside, ten times a second: how far log has come here
 * and there, and how many rows a job has behind it. And what follows from the samples.
 *
 * Lag is told twice: by the standby itself (asked first, so that what the primary writes between
 * the two questions counts as lag), and by pg_stat_replication. Neither asks pghaul; a job's rows
 * are read from its table of spans, which its chunks write.
 *
 * Life: watch_start() -> watch_seconds() ... -> watch_stop(), which hands over the samples; they
 * are freed with watch_samples_deinit(). The thread is its own; a look that fails leaves a gap, and
 * a gap counts as what was seen before it.
 */
#ifndef PGHAUL_BENCH_WATCH_H
#define PGHAUL_BENCH_WATCH_H

#include "engine/base/error.h"

struct watch;

/* One look. NAN: not known. */
struct watch_sample {
    double seconds; /* since the watch began */
    double wal;     /* bytes of log, written by the primary */
    double behind;  /* bytes that the standby has not replayed, by itself */
    double told;    /* the same by pg_stat_replication */
    double rows;    /* of the job, in its phases `load` and `backfill` */
};

struct watch_samples {
    struct watch_sample *list; /* owned */
    int count;
};

struct watch_options {
    const char *conninfo;
    const char *standby_conninfo;
    const char *job;
};

bool watch_start(struct watch **watch, const struct watch_options *options,
                 struct error *error) MUST_CHECK;
/* Now, in the samples' time. Any thread. */
double watch_seconds(const struct watch *watch);
/* What the standby has not replayed, as seen last; NAN: never seen. Any thread. */
double watch_behind(const struct watch *watch);
/* Ends the thread, frees the watch; `samples` may be NULL. NULL is fine, and gives none. */
void watch_stop(struct watch *watch, struct watch_samples *samples);
void watch_samples_deinit(struct watch_samples *samples);

/* -- what follows; pure. Times are seconds of the watch -- */

/* A stretch of time. */
struct stretch {
    double from, to;
};

/* Which of a sample's numbers. */
enum watch_number { WATCH_WAL, WATCH_BEHIND, WATCH_REPLAYED, WATCH_TOLD, WATCH_ROWS };

/* Seconds of the stretch in which the number was at most `limit`: a sample counts until the next.
 */
double watch_within(const struct watch_samples *samples, const struct stretch *stretch,
                    enum watch_number number, double limit);
double watch_worst(const struct watch_samples *samples, const struct stretch *stretch,
                   enum watch_number number);
/* The number at a moment, between two samples by a line; NAN before the first and after the last.
 */
double watch_at(const struct watch_samples *samples, double seconds, enum watch_number number);
/* How much it grew in a second, over the stretch. */
double watch_rate(const struct watch_samples *samples, const struct stretch *stretch,
                  enum watch_number number);
/* Looks a second. */
double watch_frequency(const struct watch_samples *samples, const struct stretch *stretch);

/*
 * How long the job took to find its speed: from the stretch's beginning until rows a second, over
 * a twelfth of the stretch each, stay within a quarter of what they are in its second half, but for
 * a tenth of the looks that are left. NAN when they do not before three quarters of it are over, or
 * nothing moves.
 */
double watch_settling(const struct watch_samples *samples, const struct stretch *stretch);

#endif
