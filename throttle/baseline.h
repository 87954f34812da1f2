/*
 * Baselines: what a signal usually is while nothing of ours is in flight. A quantile of samples
 * that were taken in our own pauses; the job's own load never gets in.
 *
 *     time    ... | chunk |.....| chunk |  pause  | chunk | ...
 *     samples               x              x   x            taken, of no sample_age yet
 *                 x   x             x               x   x   under our load, or too soon: left out
 *
 * Rolling: samples older than BASELINE_AGE_US no longer count. When too few are left (a job that
 * never pauses) the value of the start stands: of the first samples ever taken, before the job
 * moved. Before there are that many, nothing is said.
 *
 * Pure: time comes from the caller. A zeroed struct is not ready: baseline_init().
 */
#ifndef PGHAUL_THROTTLE_BASELINE_H
#define PGHAUL_THROTTLE_BASELINE_H

#include <stdbool.h>
#include <stdint.h>

#define BASELINE_AGE_US INT64_C(300000000) /* 5 minutes */
/* What a chunk leaves behind (the log's flush, pages that others must read again) is not the usual
 * either: samples this soon after it are left out. */
#define BASELINE_SETTLE_US INT64_C(50000)

enum { BASELINE_SAMPLES_MAX = 256, BASELINE_SAMPLES_MIN = 8 };

struct baseline {
    double quantile; /* 0 .. 1 */
    struct {
        double value;
        int64_t at_us;
    } samples[BASELINE_SAMPLES_MAX]; /* a ring; the oldest is overwritten */
    int count;
    int next;
    int taken;    /* ever, up to BASELINE_SAMPLES_MIN */
    double start; /* once `taken` is that many */
};

void baseline_init(struct baseline *baseline, double quantile);

/* `idle_us`: for how long nothing of ours had been in flight when it was measured. Is it taken? */
bool baseline_add(struct baseline *baseline, double value, int64_t idle_us, int64_t now_us);

/* False while nothing is known. */
bool baseline_value(const struct baseline *baseline, int64_t now_us, double *value);

/* When the newest sample was taken; 0: there is none. */
int64_t baseline_newest_us(const struct baseline *baseline);

/* The quantile of some values, which it sorts (nearest rank). At least one. */
double baseline_quantile(double *values, int count, double quantile);

#endif
