/*
 * What a running process is doing, for its live line. Written by workers, read by the one who
 * draws; a snapshot is consistent in itself. Durable numbers are in the database (job, phase,
 * span): this is only the view of one process.
 */
#ifndef PGHAUL_JOB_PROGRESS_H
#define PGHAUL_JOB_PROGRESS_H

#include <pthread.h>
#include <stdint.h>

#include "engine/base/error.h"

struct progress_view {
    char phase[32];
    char reason[256];   /* why nothing moves; empty when it does */
    char throttle[512]; /* what slows it down, or keeps it from beginning; empty for nothing */
    int64_t done;       /* units of the phase: rows as a rule */
    int64_t total;      /* 0: unknown */
    int64_t since_us;   /* monotonic start of the phase */
    int64_t retries;    /* of this process */
};

struct progress {
    pthread_mutex_t mutex;
    struct progress_view view;
};

void progress_init(struct progress *progress);
void progress_deinit(struct progress *progress);

void progress_start(struct progress *progress, const char *phase, int64_t done, int64_t total);
void progress_add(struct progress *progress, int64_t done);
void progress_retry(struct progress *progress);
/* What is in the way (a lock holder, the pace, a pause), until progress_moving(). */
void progress_reason(struct progress *progress, const char *format, ...) PRINTF_LIKE(2, 3);
void progress_moving(struct progress *progress);
/* What the governor gives way to now; "" for nothing. */
void progress_throttle(struct progress *progress, const char *text);
struct progress_view progress_view(struct progress *progress);

#endif
