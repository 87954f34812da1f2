/*
 * A simulated database: a primary, what follows its log, an application, and workers that write in
 * chunks. For laws (throttle/law.h): thousands of seconds of it run in some milliseconds.
 *
 *     application --.                        network          replay, as fast as it can
 *                   +--> log of the primary --------> standby ---------.
 *     workers ------'         ^                                        |
 *                             `------ reports of what is replayed <----'
 *
 * What is in it, because laws go wrong over it:
 *
 *     reports are late    a standby tells its replay position when it has flushed something new,
 *                         when it has caught up, and else every 10 s
 * (wal_receiver_status_interval); with nothing written a report is as old as that. The network
 * delays both ways capacity changes    it wanders, steps, stops (a paused replay), and the standby
 * may vanish and come back with all that it missed chunks are lumps    a chunk's log is written
 * over its time, its size known at its end; the next one's follows from it, as
 * engine/job/chunk_size.h does it others suffer       workers take cores and the log's device from
 * the application. Its latency: processor sharing over the cores, and a queue before the log
 * (M/M/1: s / (1 - use))
 *
 * What it is not: PostgreSQL. Its constants are round; what holds in it for hundreds of random
 * sets of constants has a chance on a server.
 *
 * Pure: options, a seed and steps of time come in. Memory is the caller's; nothing to free.
 */
#ifndef PGHAUL_BENCH_PLANT_H
#define PGHAUL_BENCH_PLANT_H

#include <stdbool.h>
#include <stdint.h>

enum {
    PLANT_REPLICAS_MAX = 3,
    PLANT_WORKERS_MAX = 8,
    PLANT_CHANGES_MAX = 6,
    PLANT_HISTORY = 256, /* steps that the network may delay something */
};

#define PLANT_STEP_S 0.01

/* From `at_s` on something is `factor` times what it was said to be; the last one counts. */
struct plant_change {
    double at_s;
    double factor; /* of a standby: 0 is a paused replay, below 0 it is gone */
};

struct plant_replica_options {
    double capacity; /* bytes a second that it replays; 0: there is no such standby */
    double wander;   /* part of its capacity by which that wanders, up and down */
    double delay_s;  /* of the network, one way */
    struct plant_change changes[PLANT_CHANGES_MAX]; /* ends with a zero at_s */
};

struct plant_application {
    double transactions;  /* a second; 0: nobody is there */
    double cpu_s;         /* of one */
    double commit_s;      /* of one, the log being idle */
    double wal_bytes;     /* of one */
    double burst_every_s; /* 0: none */
    double burst_s;
    double burst_factor; /* as many transactions as usual */
    struct plant_change changes[PLANT_CHANGES_MAX];
};

struct plant_options {
    uint64_t seed;
    double cores;
    double device;       /* bytes a second that the log's device takes */
    double worker_speed; /* bytes of log a second that one worker writes with a core of its own */
    double chunk_cost_s; /* of each chunk, whatever its size */
    double unevenness;   /* part by which chunks write more or less log than expected */
    struct plant_change work[PLANT_CHANGES_MAX]; /* worker_speed changes with the job's phase */
    struct plant_application application;
    struct plant_replica_options replicas[PLANT_REPLICAS_MAX];
};

struct plant_chunk {
    double seconds;
    double bytes; /* of log it wrote */
    double expected;
};

/* One of those that write in chunks. */
struct plant_worker {
    bool busy;
    double size;     /* bytes that its next chunk should write */
    double left;     /* bytes of the present one */
    double overhead; /* seconds of it that write nothing */
    struct plant_chunk chunk;
};

struct plant_replica {
    bool there;
    double received, replayed;
    double wander;                 /* -1 .. 1 */
    double told_flush, told_at_s;  /* what its last report said, and when it was sent */
    double reports[PLANT_HISTORY]; /* position by step: what had been reported by then */
    double report_at[PLANT_HISTORY];
};

struct plant {
    struct plant_options options;
    uint64_t random;
    int64_t step;
    double wal;                 /* end of the log */
    double wals[PLANT_HISTORY]; /* by step */
    double writing;             /* bytes a second that workers wrote in the last step */
    struct plant_worker workers[PLANT_WORKERS_MAX];
    struct plant_replica replicas[PLANT_REPLICAS_MAX];
};

/* What the primary knows of a standby. */
struct plant_report {
    double replayed;
    double at_s; /* when the standby said so, by its own clock */
};

void plant_init(struct plant *plant, const struct plant_options *options);

/* Lets PLANT_STEP_S pass. */
void plant_advance(struct plant *plant);
double plant_now_s(const struct plant *plant);

/* A chunk begins; what it is expected to write is the worker's `size`, cut to `most_bytes`. */
void plant_begin(struct plant *plant, int worker, double most_bytes);
/* True once after each chunk's end. The next one's size follows from `target_s`. */
bool plant_ended(struct plant *plant, int worker, double target_s, struct plant_chunk *chunk);

/* Somebody writes so much at once. */
void plant_pulse(struct plant *plant, double bytes);

/* False while the primary knows of no such standby. */
bool plant_report(const struct plant *plant, int replica, struct plant_report *report);
/* The truth: bytes that it has not replayed; what it can replay in a second now. */
double plant_backlog(const struct plant *plant, int replica);
double plant_capacity(const struct plant *plant, int replica);

/* Of the application, on average: transactions a second, bytes of log a second, seconds that one
 * takes now, and that it would take without workers. */
double plant_transactions(const struct plant *plant);
double plant_foreign(const struct plant *plant);
double plant_latency(const struct plant *plant);
double plant_latency_alone(const struct plant *plant);

/* 0 .. 1 from a stream of its own: splitmix64 (Steele, Lea, Flood 2014). */
double plant_random(uint64_t *state);

#endif
