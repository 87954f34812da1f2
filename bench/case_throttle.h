/*
 * What the halves of case throttle share: case_throttle.c measures, case_throttle_report.c tells
 * and judges. Private to these two.
 */
#ifndef PGHAUL_BENCH_CASE_THROTTLE_H
#define PGHAUL_BENCH_CASE_THROTTLE_H

#include "bench/attempt.h"
#include "bench/idle.h"

enum { THROTTLE_POLICIES_MAX = 16 };

struct throttle_case {
    struct measure measure;
    const struct bench_throttle_options *options;
    struct standby_cap *cap;
    const char *const *policies;
    int policy_count;
    bool jobs[ATTEMPT_JOBS]; /* which ones are measured */
    int attempt_count;       /* so far */
    double window_seconds;
    double load_max; /* transactions a second, as many as it can */
    double load_rate;
    double replay[ATTEMPT_JOBS];              /* bytes a second that the standby is let */
    struct attempt unthrottled[ATTEMPT_JOBS]; /* what that follows from */
    struct idle idle;
    /* By round. */
    struct attempt attempts[BENCH_RUNS_MAX][ATTEMPT_JOBS][THROTTLE_POLICIES_MAX];
};

/* Prints the report, saves the picture, judges. */
bool throttle_report(struct throttle_case *this, FILE *out, struct error *error) MUST_CHECK;

#endif
