/*
 * One attempt of case throttle: a job under one policy, beside the load, with a standby that
 * replays only so fast. Private to attempt.c and case_throttle*.c.
 *
 *            load starts        job          its phase that can be paced    interrupted
 *     --------|-- warm --|-- before --|--..--|---------- paced ----------|--..--|-- after --|
 *     standby    free       capped               capped                     free    capped
 *
 * Rates, lag and settling are those of `paced`; the load's waits are told before, during and after.
 * All by the same clock, watch_seconds().
 */
#ifndef PGHAUL_BENCH_ATTEMPT_H
#define PGHAUL_BENCH_ATTEMPT_H

#include "bench/measure.h"
#include "bench/standby.h"
#include "bench/watch.h"

/*
 * Of the rows: what backfill gets, so that under a policy that holds the limit neither job is over
 * before its window is; alter writes about four times as many in the same time.
 */
enum { ATTEMPT_BACKFILL_PART = 4 };

/* What all jobs are told not to go beyond. */
#define ATTEMPT_LIMIT_BYTES (16.0 * 1024 * 1024)

/* The load's own table. */
#define ATTEMPT_TABLE MEASURE_SCHEMA ".app"
enum { ATTEMPT_CLIENTS = 8, ATTEMPT_TABLE_ROWS = 100000 };

enum attempt_job { ATTEMPT_BACKFILL, ATTEMPT_ALTER, ATTEMPT_JOBS };
extern const char *const attempt_job_names[ATTEMPT_JOBS];

struct attempt_options {
    enum attempt_job job;
    const char *policy;
    double replay_bytes_per_second; /* INFINITY: the standby is not capped */
    double load_rate;               /* transactions a second */
    double window_seconds;
    int number; /* of all attempts; makes the job's name */
};

/* NAN: not known. */
struct attempt {
    struct watch_samples samples; /* owned */
    struct stretch paced;
    double rows;
    double rows_per_second;
    double wal_per_second;    /* bytes, everybody's */
    double load_per_second;   /* bytes, of the load alone, before */
    double replay_per_second; /* bytes, by the standby */
    double within;            /* seconds of paced in which the standby was within the limit */
    double told_within;       /* the same by pg_stat_replication */
    double worst_bytes;
    double settling_seconds;
    double looks_per_second;
    double before_p99_ms;
    double paced_p99_ms;
    double after_p99_ms;
    double alone_p99_ms; /* before and after together */
    double errors;       /* of the load, that a table does not give by itself */
};

/* Whatever the attempt is, it is to be given to attempt_deinit(). `cap` is left as it was found:
 * off.
 */
bool attempt_run(struct measure *measure, struct standby_cap *cap,
                 const struct attempt_options *options, struct attempt *attempt,
                 struct error *error) MUST_CHECK;
void attempt_deinit(struct attempt *attempt);

static inline double attempt_seconds(const struct attempt *attempt)
{
    return attempt->paced.to - attempt->paced.from;
}

/*
 * The command line of a job: `job` is its name; texts live in `arena`. `limited`: with the limit
 * above.
 */
struct measure_command attempt_command(const struct measure *measure, enum attempt_job job,
                                       const char *name, const char *policy, bool limited,
                                       struct arena *arena);
/* Ends a job that was interrupted, or is ready. */
bool attempt_abort(struct measure *measure, const char *name, struct error *error) MUST_CHECK;

#endif
