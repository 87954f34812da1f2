/*
 * Log: how much of it others write, and how much that leaves to us, for the replica that is worst
 * and for limit.wal-rate.
 */
#include <math.h>
#include <string.h>

#include "throttle/law_auto_parts.h"

/* Of the mean of the foreign rate: longer than a chunk is in flight, as ours is known only at its
 * end. Of the speed of all, which is known at any time. */
static const double FOREIGN_S = 4, SPEED_S = 1;
/* A rate that was what limited a moment ago still does. */
static const int64_t BINDS_US = 3000000;
/* Of a limit, what is always allowed while no gate is closed: replicas report when there is
 * something new to flush, so that we must write a little to hear that we may write more. */
static const double TRICKLE_PART = 1.0 / 256;
static const double TRICKLE_MOST = 1e6;

void auto_flow_init(struct auto_flow *flow)
{
    *flow = (struct auto_flow){.rate = INFINITY, .limit = INFINITY, .reason = -1, .worst = -1};
}

/* ------------------------------------------------------------------------------------ measuring */

static void mean(double *value, double sample, double part)
{
    if (isfinite(sample))
        *value += (sample - *value) * (1 - exp(-part));
}

static void see_speeds(struct auto_flow *flow, const struct law_input *input)
{
    double outside = input->wal - input->ours - input->others;
    double seconds = (double)(input->now_us - flow->at_us) / 1e6;

    if (!isfinite(outside) || !isfinite(input->wal))
        return;
    if (flow->at_us != 0 && seconds > 0 && input->wal >= flow->written) {
        mean(&flow->foreign, (outside - flow->outside) / seconds, seconds / FOREIGN_S);
        mean(&flow->speed, (input->wal - flow->written) / seconds, seconds / SPEED_S);
    }
    flow->at_us = input->now_us;
    flow->outside = outside;
    flow->written = input->wal;
}

static double limit_of(const struct law_input *input, enum signal_id id)
{
    const struct reading *reading = &input->readings[id];

    if (reading->state == READING_OFF || reading->state == READING_ABSENT || !(reading->limit > 0))
        return INFINITY;
    return reading->limit;
}

static struct auto_limit replica_limits(const struct law_input *input)
{
    return (struct auto_limit){
        .bytes = limit_of(input, SIGNAL_REPLICA_LAG_BYTES),
        .seconds = limit_of(input, SIGNAL_REPLICA_LAG_TIME),
    };
}

static struct auto_replica *find(struct auto_flow *flow, const char *name)
{
    for (int i = 0; i < LAW_REPLICAS_MAX; i++)
        if (flow->replicas[i].name[0] != '\0' && strcmp(flow->replicas[i].name, name) == 0)
            return &flow->replicas[i];
    return NULL;
}

static struct auto_replica *find_free(struct auto_flow *flow)
{
    for (int i = 0; i < LAW_REPLICAS_MAX; i++)
        if (flow->replicas[i].name[0] == '\0')
            return &flow->replicas[i];
    return NULL;
}

static void see_replica(struct auto_flow *flow, const struct law_replica *seen,
                        const struct auto_limit *limit)
{
    struct auto_replica *replica = find(flow, seen->name);

    if (replica != NULL) {
        auto_replica_see(replica, seen);
        return;
    }
    replica = find_free(flow);
    if (replica != NULL && seen->name[0] != '\0' && isfinite(seen->backlog) &&
        isfinite(seen->replayed))
        auto_replica_init(replica, seen, limit);
}

/* Who is gone is forgotten: when it comes back, it may be another machine. Whether we may go on
 * without it is a gate's matter (replicas-missing). */
void auto_flow_see(struct auto_flow *flow, const struct law_input *input)
{
    struct auto_limit limit = replica_limits(input);

    see_speeds(flow, input);
    for (int i = 0; i < LAW_REPLICAS_MAX; i++)
        flow->replicas[i].there = false;
    for (int i = 0; i < input->replica_count; i++)
        see_replica(flow, &input->replicas[i], &limit);
    for (int i = 0; i < LAW_REPLICAS_MAX; i++)
        if (!flow->replicas[i].there)
            flow->replicas[i] = (struct auto_replica){0};
    if (input->wants)
        flow->wanted_us = input->now_us;
}

bool auto_flow_binds(const struct auto_flow *flow, int64_t now_us)
{
    return flow->wanted_us > 0 && now_us - flow->wanted_us < BINDS_US && isfinite(flow->rate);
}

bool auto_flow_close(const struct auto_flow *flow, const struct law_input *input)
{
    struct auto_limit limit = replica_limits(input);
    int reason;

    for (int i = 0; i < LAW_REPLICAS_MAX; i++) {
        const struct auto_replica *replica = &flow->replicas[i];

        if (replica->there &&
            replica->backlog > 0.75 * auto_replica_limit(replica, &limit, &reason))
            return true;
    }
    return false;
}

/* ------------------------------------------------------------------------------------- deciding */

/* Below zero: ours are charged with more than they write, and the rate is in what they are charged.
 * No more than twice, whatever one could read out of a moment. */
static double foreign_now(const struct auto_flow *flow)
{
    return fmax(flow->foreign, -flow->speed / 2);
}

/* What the worst replica leaves to us; its number in flow->worst. */
static void decide_replicas(struct auto_flow *flow, const struct law_input *input)
{
    struct auto_limit limits = replica_limits(input);

    flow->worst = -1;
    for (int i = 0; i < LAW_REPLICAS_MAX; i++) {
        const struct auto_replica *replica = &flow->replicas[i];
        double limit, rate;
        int reason;

        if (!replica->there)
            continue;
        limit = auto_replica_limit(replica, &limits, &reason);
        if (!isfinite(limit))
            continue;
        rate = input->share * auto_replica_rate(replica, limit, foreign_now(flow), input->now_us);
        rate = fmax(rate, fmin(limit * TRICKLE_PART, TRICKLE_MOST));
        if (rate < flow->rate) {
            flow->rate = rate;
            flow->limit = limit;
            flow->reason = reason;
            flow->worst = i;
        }
    }
}

/* The limit is known before the rate is, which takes two looks at the log: it counts at once. */
static void decide_wal_rate(struct auto_flow *flow, const struct law_input *input)
{
    const struct reading *reading = &input->readings[SIGNAL_WAL_RATE];
    double limit = reading->state != READING_OFF ? reading->limit : 0;
    double rate = input->share * (limit - foreign_now(flow));

    if (!(limit > 0))
        return;
    rate = fmax(rate, limit * TRICKLE_PART);
    if (rate < flow->rate) {
        flow->rate = rate;
        flow->limit = INFINITY;
        flow->reason = SIGNAL_WAL_RATE;
        flow->worst = -1;
    }
}

static void adjust_replicas(struct auto_flow *flow, const struct law_input *input, double seconds)
{
    struct auto_limit limits = replica_limits(input);
    bool binds = auto_flow_binds(flow, input->now_us) && flow->worst >= 0;

    for (int i = 0; i < LAW_REPLICAS_MAX; i++) {
        struct auto_replica *replica = &flow->replicas[i];
        double limit;
        int reason;

        if (!replica->there)
            continue;
        limit = auto_replica_limit(replica, &limits, &reason);
        if (isfinite(limit))
            auto_replica_adjust(replica, limit, flow->speed, seconds, binds, i == flow->worst,
                                input->now_us);
    }
}

void auto_flow_decide(struct auto_flow *flow, const struct law_input *input, double seconds)
{
    adjust_replicas(flow, input, seconds);
    flow->rate = flow->limit = INFINITY;
    flow->reason = -1;
    decide_replicas(flow, input);
    decide_wal_rate(flow, input);
}
