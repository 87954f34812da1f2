/*
 * A law in a plant: what the governor does (throttle/governor.h), without threads, servers and real
 * time. The same gates, credit and bucket stand around the law; the probe is simulated.
 *
 *     plant_run(&options, &trace)   options.seconds of it, at once
 *     plant_trace_save()            .. as a picture (plot.h)
 *     plant_trace_free()
 *
 * A mirror of throttle/governor.c, governor_pace.c and governor_tick.c: who changes those looks
 * here.
 *
 * Pure, but for the file of the picture.
 */
#ifndef PGHAUL_BENCH_PLANT_RUN_H
#define PGHAUL_BENCH_PLANT_RUN_H

#include "bench/plant.h"
#include "bench/plant_probe.h"
#include "engine/base/error.h"
#include "throttle/law.h"

enum { PLANT_PROCESSES_MAX = 2, PLANT_SPANS_MAX = 4 };

/* From .. to, in seconds. */
struct plant_span {
    double from_s, to_s;
};

struct plant_run_options {
    struct plant_options plant;
    const struct law *law;
    struct law_config config; /* workers: of each process */
    double seconds;
    int processes; /* that share a budget, with the same law; 0: 1 */
    struct plant_limits limits, limits_later;
    double later_s;                             /* when those begin to count; 0: never */
    struct plant_span paused[PLANT_SPANS_MAX];  /* the job is; ends with to_s of 0 */
    struct plant_span blocked[PLANT_SPANS_MAX]; /* somebody waits for a lock of ours */
    bool silent;       /* the probe writes nothing: reports are as late as they can be */
    double overcharge; /* a chunk is charged so many times what it wrote; 0: 1 */
};

/* One every PLANT_TRACE_S. */
#define PLANT_TRACE_S 0.1
/* Nothing moves before: the baseline of the start is taken. */
#define PLANT_START_S 2.0

struct plant_sample {
    double worst;   /* true backlog of those that are there, bytes */
    double limit;   /* in bytes: limit.replica-lag-bytes, or -time at the true capacity */
    double best;    /* true capacity of the slowest, less what the application writes */
    double written; /* by our chunks since the last sample, of all processes */
    double part;    /* .. as charged, of the first */
    double foreign; /* bytes a second of the application */
    double latency; /* of the application: mean now, times what it is alone */
    double p95;     /* as the probe says it, times the baseline */
    /* Of the first process: */
    double rate, workers, chunk_ms, rest_s;
    int reason;
    bool closed; /* or paused */
};

struct plant_trace {
    struct plant_sample *samples;
    int count;
    int processes;
    double over;          /* most that we wrote while a backlog was past the limit in bytes */
    double largest_chunk; /* bytes */
    int64_t nonsense;     /* decisions that were out of their range, or not a number */
};

void plant_run(const struct plant_run_options *options, struct plant_trace *trace);
void plant_trace_free(struct plant_trace *trace);

/* Means over [from, to) seconds: what we wrote a second, and what could be written. */
double plant_trace_speed(const struct plant_trace *trace, double from_s, double to_s);
double plant_trace_best(const struct plant_trace *trace, double from_s, double to_s);

bool plant_trace_save(const struct plant_trace *trace, const char *title, const char *path,
                      struct error *error) MUST_CHECK;

#endif
