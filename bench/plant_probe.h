/*
 * The probe of a plant: what throttle/probe.h would read there, from the plant's truth, as late and
 * as noisy. Pure.
 */
#ifndef PGHAUL_BENCH_PLANT_PROBE_H
#define PGHAUL_BENCH_PLANT_PROBE_H

#include "bench/plant.h"
#include "throttle/baseline.h"
#include "throttle/drain.h"
#include "throttle/law.h"

enum { PLANT_LATENCIES = 64 };

/* As of now; 0 is off. */
struct plant_limits {
    double lag_bytes, lag_seconds;
    double wal_rate;
    double latency_times;
    double active_sessions;
    int replicas; /* that must be there */
};

struct plant_probe {
    struct reading readings[SIGNAL_COUNT];
    struct law_replica replicas[PLANT_REPLICAS_MAX];
    int replica_count;
    struct drain drains[PLANT_REPLICAS_MAX];
    double told_at_s[PLANT_REPLICAS_MAX]; /* of the last report that was seen */
    int64_t seen_us[PLANT_REPLICAS_MAX];  /* when that was */
    double latencies[PLANT_LATENCIES];    /* a ring of the last ones */
    int64_t latency_us[PLANT_LATENCIES];
    int latency_count;
    struct baseline baseline;
    uint64_t noise;
};

void plant_probe_init(struct plant_probe *probe, uint64_t seed);
/* The log and the replicas. */
void plant_probe_replicas(struct plant_probe *probe, const struct plant *plant,
                          const struct plant_limits *limits, int64_t now_us);
/* The rest. `blocked`: somebody waits for a lock of ours. */
void plant_probe_rest(struct plant_probe *probe, const struct plant *plant,
                      const struct plant_limits *limits, bool blocked, int64_t now_us);
/* One small transaction. */
void plant_probe_latency(struct plant_probe *probe, const struct plant *plant, int64_t idle_us,
                         int64_t now_us);

#endif
