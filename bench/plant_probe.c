#include "bench/plant_probe.h"

#include <math.h>
#include <stdio.h>

/* As throttle/probe_pulse.c has them. */
static const int64_t WINDOW_US = 10000000;
enum { WINDOW_SAMPLES_MIN = 5 };
static const double QUANTILE = 0.95;

void plant_probe_init(struct plant_probe *probe, uint64_t seed)
{
    *probe = (struct plant_probe){.noise = seed};
    baseline_init(&probe->baseline, QUANTILE);
}

static void tell(struct plant_probe *probe, enum signal_id id, double limit, double value,
                 bool absent, int64_t now_us)
{
    probe->readings[id] = (struct reading){
        .state = !(limit > 0) ? READING_OFF
                 : absent     ? READING_ABSENT
                              : READING_OK,
        .value = value,
        .limit = limit,
        .at_us = now_us,
    };
}

/* When the report that is known now was first seen. */
static int64_t seen_us(struct plant_probe *probe, int replica, const struct plant_report *report,
                       int64_t now_us)
{
    if (probe->seen_us[replica] == 0 || report->at_s != probe->told_at_s[replica])
        probe->seen_us[replica] = now_us;
    probe->told_at_s[replica] = report->at_s;
    return probe->seen_us[replica];
}

void plant_probe_replicas(struct plant_probe *probe, const struct plant *plant,
                          const struct plant_limits *limits, int64_t now_us)
{
    double bytes = 0, seconds = 0;
    bool nobody;

    probe->replica_count = 0;
    for (int i = 0; i < PLANT_REPLICAS_MAX; i++) {
        struct law_replica *replica = &probe->replicas[probe->replica_count];
        struct plant_report report;

        if (!plant_report(plant, i, &report))
            continue;
        probe->replica_count++;
        snprintf(replica->name, sizeof(replica->name), "standby%d", i + 1);
        replica->backlog = plant->wal - report.replayed;
        replica->replayed = report.replayed;
        replica->at_us = seen_us(probe, i, &report, now_us);
        drain_observe(&probe->drains[i], replica->backlog, replica->replayed, replica->at_us);
        bytes = fmax(bytes, replica->backlog);
        seconds = fmax(seconds, drain_seconds(&probe->drains[i], replica->backlog, -1, now_us));
    }
    nobody = probe->replica_count == 0;
    tell(probe, SIGNAL_REPLICA_LAG_BYTES, limits->lag_bytes, bytes, nobody, now_us);
    tell(probe, SIGNAL_REPLICA_LAG_TIME, limits->lag_seconds, seconds, nobody, now_us);
    tell(probe, SIGNAL_REPLICAS_MISSING, limits->replicas > 0 ? 1 : 0,
         fmax(limits->replicas - probe->replica_count, 0), false, now_us);
}

void plant_probe_latency(struct plant_probe *probe, const struct plant *plant, int64_t idle_us,
                         int64_t now_us)
{
    /* Three quarters are work, the rest is exponential. */
    double took = plant_latency(plant) * (0.75 - 0.25 * log(1 - plant_random(&probe->noise)));
    int at = probe->latency_count++ % PLANT_LATENCIES;

    probe->latencies[at] = took;
    probe->latency_us[at] = now_us;
    baseline_add(&probe->baseline, took, idle_us, now_us);
}

static void tell_latency(struct plant_probe *probe, double limit, int64_t now_us)
{
    double values[PLANT_LATENCIES];
    double usual = 1, value = 0;
    int count = 0;
    bool absent;

    for (int i = 0; i < PLANT_LATENCIES && i < probe->latency_count; i++)
        if (now_us - probe->latency_us[i] <= WINDOW_US)
            values[count++] = probe->latencies[i];
    absent = count < WINDOW_SAMPLES_MIN || !baseline_value(&probe->baseline, now_us, &usual);
    if (!absent)
        value = baseline_quantile(values, count, QUANTILE) / usual;
    tell(probe, SIGNAL_FOREGROUND_LATENCY, limit, value, absent, now_us);
}

void plant_probe_rest(struct plant_probe *probe, const struct plant *plant,
                      const struct plant_limits *limits, bool blocked, int64_t now_us)
{
    tell_latency(probe, limits->latency_times, now_us);
    tell(probe, SIGNAL_ACTIVE_SESSIONS, limits->active_sessions,
         plant_transactions(plant) * plant_latency(plant), false, now_us);
    tell(probe, SIGNAL_BLOCKED_BY_US, 1, blocked ? 1 : 0, false, now_us);
    tell(probe, SIGNAL_WAL_RATE, limits->wal_rate, 0, false, now_us);
}
