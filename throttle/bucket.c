#include "throttle/bucket.h"

#include <math.h>

void bucket_init(struct bucket *bucket, int64_t now_us)
{
    *bucket = (struct bucket){.rate = INFINITY, .at_us = now_us};
}

/* Pays off what the time since the last look was worth. */
static void advance(struct bucket *bucket, int64_t now_us)
{
    double seconds = now_us > bucket->at_us ? (double)(now_us - bucket->at_us) / 1e6 : 0;

    if (now_us > bucket->at_us)
        bucket->at_us = now_us;
    if (isinf(bucket->rate)) {
        bucket->owed = 0;
        return;
    }
    bucket->owed -= bucket->rate * seconds;
    if (bucket->owed < -bucket->rate * BUCKET_AHEAD_SECONDS)
        bucket->owed = -bucket->rate * BUCKET_AHEAD_SECONDS;
}

void bucket_set_rate(struct bucket *bucket, double rate, int64_t now_us)
{
    advance(bucket, now_us);
    bucket->rate = rate >= 0 ? rate : 0; /* not a number: nothing goes */
}

void bucket_charge(struct bucket *bucket, double bytes, int64_t now_us)
{
    advance(bucket, now_us);
    if (isfinite(bytes) && !isinf(bucket->rate))
        bucket->owed += bytes;
}

int64_t bucket_wait_us(struct bucket *bucket, int64_t now_us)
{
    double wait_us;

    advance(bucket, now_us);
    if (bucket->rate <= 0)
        return INT64_MAX;
    if (bucket->owed <= 0)
        return 0;
    wait_us = ceil(bucket->owed / bucket->rate * 1e6);
    return wait_us < 9e18 ? (int64_t)wait_us : INT64_MAX;
}
