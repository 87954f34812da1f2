/*
 * A rate, kept by debt: a chunk is let go when nothing is owed, is charged at once with what it is
 * expected to write, and at its end with the rest (or given back). So chunks may be of any size,
 * known only when they are over, and the time that they take themselves counts: a rate just above
 * what workers can do does not slow them.
 *
 *     owed
 *      |\        /|       each chunk adds what it wrote; time pays off `rate` a second;
 *      | \      / |       below zero (credit) it goes no further than BUCKET_AHEAD_SECONDS of
 *     0+--\----/--\---    the rate, so that a pause is not followed by a burst
 *          `--'
 *
 * Pure: time comes from the caller, monotonic, in microseconds. Not safe for threads by itself.
 */
#ifndef PGHAUL_THROTTLE_BUCKET_H
#define PGHAUL_THROTTLE_BUCKET_H

#include <stdint.h>

struct bucket {
    double owed; /* bytes; below zero: ahead */
    double rate; /* bytes a second; INFINITY: no limit; 0: nothing goes */
    int64_t at_us;
};

#define BUCKET_AHEAD_SECONDS 0.1

/* No limit, nothing owed. */
void bucket_init(struct bucket *bucket, int64_t now_us);
/* What is owed by now stays owed. */
void bucket_set_rate(struct bucket *bucket, double rate, int64_t now_us);
/* Less than nothing is given back. */
void bucket_charge(struct bucket *bucket, double bytes, int64_t now_us);
/* Until nothing is owed, in microseconds; 0: go; INT64_MAX: not at this rate. */
int64_t bucket_wait_us(struct bucket *bucket, int64_t now_us);

#endif
