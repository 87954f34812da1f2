/*
 * One replica: how fast it replays, and how fast all may write for it.
 *
 * Capacity. What a replica replays in a second is its capacity only while it has something to
 * replay; else it is what we wrote. Between two reports at t0 < t1 it replayed R bytes. All that
 * was in its backlog at t0 if R < backlog(t0), and then it cannot have been out of work: the slope
 * is the capacity. Otherwise the slope is a lower bound, and used as one. (Little's law turns a
 * backlog and a capacity into a time; pg_stat_replication.replay_lag is about the past and
 * understates stalls.) The mean is pt-osc's weighted average, sum of bytes over sum of seconds,
 * where older seconds weigh less by MEAN_S; and it is forgotten when a second of measurement is far
 * from it, so that a step of the capacity is known after about one second.
 *
 * Rate. With B* = half of the limit, and everything in bytes and seconds:
 *
 *     rate = reach - foreign + (B* - backlog) / T + integral
 *
 * `reach` is the capacity; or GROWTH times that, when the replica keeps up with all that we are
 * allowed to write: then it may be able to do more, and the lower bound follows what it does. See
 * law_auto.c for T and the integral.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "throttle/law_auto_parts.h"

/* Of the mean of the capacity: a step is 1/e of its size away after so long, if nothing notices. */
static const double MEAN_S = 5;
/* What is known weighs at least as much as so long of measurement. */
static const double PRIOR_S = 1;
/* Reports are compared that are so far apart, and more than a backlog is under way in the network:
 * that is no work that is waiting. */
static const int64_t SPAN_US = 400000;
/* A backlog below this says nothing: reports are never quite up to date. */
static const double LEAST_BACKLOG = 256 * 1024;
/* So many seconds of replay, this far from the mean, are another capacity, not noise. */
static const double ODD_S = 1;
static const double ODD_MORE = 1.4, ODD_LESS = 0.6;
/* What an unknown replica is trusted with at first: this part of its limit in a second; with a
 * limit of time, no more than what any machine replays in a second. */
static const double FIRST_PART = 1.0 / 8;
static const double FIRST_LEAST = 1e6, FIRST_MOST = 4e6;
/* More is tried where so much of what was allowed was written, so many decisions in a row; of a
 * replica that has never been behind, at once. */
static const double USED = 0.6;
enum { ROOMY = 3 };
static const double GROWTH_FIRST = 1.5, GROWTH = 1.3;
/* law_auto.c */
static const double T_S = 6, INTEGRAL_S = 24, INTEGRAL_PART = 0.2;
/* wal_receiver_status_interval: no report of a replica that lives is older. */
static const double REPORT_S = 10;

/* Old measurements weigh less as time goes by, measured or not; but not nothing: a moment alone
 * would be all that is known. */
static void forget(struct auto_replica *replica)
{
    double kept = exp(-(double)(replica->at_us - replica->measured_us) / 1e6 / MEAN_S);

    replica->sum_bytes *= kept;
    replica->sum_seconds *= kept;
    replica->measured_us = replica->at_us;
    if (replica->sum_seconds < PRIOR_S) {
        replica->sum_bytes =
            (replica->capacity >= 0 ? replica->capacity : replica->reach) * PRIOR_S;
        replica->sum_seconds = PRIOR_S;
    }
}

static void measure(struct auto_replica *replica, double bytes, double seconds)
{
    double slope = bytes / seconds;
    bool odd = replica->capacity > 0
                   ? slope > replica->capacity * ODD_MORE || slope < replica->capacity * ODD_LESS
                   : slope > 0;

    forget(replica);
    replica->sum_bytes += bytes;
    replica->sum_seconds += seconds;
    replica->odd_bytes = odd ? replica->odd_bytes + bytes : 0;
    replica->odd_seconds = odd ? replica->odd_seconds + seconds : 0;
    if (replica->odd_seconds >= ODD_S) {
        replica->sum_bytes = replica->odd_bytes;
        replica->sum_seconds = replica->odd_seconds;
        replica->odd_bytes = replica->odd_seconds = 0;
    }
    replica->capacity = replica->sum_bytes / replica->sum_seconds;
    replica->reach = replica->capacity;
    replica->never_behind = false;
}

/* A lower bound. */
static void at_least(struct auto_replica *replica, double speed)
{
    if (replica->capacity >= 0 && speed > replica->capacity) {
        replica->capacity = speed;
        replica->sum_bytes = speed * replica->sum_seconds;
    }
    if (speed > replica->reach)
        replica->reach = speed;
}

/* What the time from `from` on tells; then it begins anew. */
static void learn(struct auto_replica *replica)
{
    struct auto_span *from = &replica->from;
    double seconds = (double)(replica->at_us - from->at_us) / 1e6;
    double bytes = replica->replayed - from->replayed;

    if (bytes < 0)
        return; /* another history: a standby that was rebuilt */
    if (from->least > LEAST_BACKLOG && bytes < from->backlog)
        measure(replica, bytes, seconds);
    else
        at_least(replica, bytes / seconds);
}

static void begin_span(struct auto_replica *replica)
{
    replica->from = (struct auto_span){
        .at_us = replica->at_us,
        .replayed = replica->replayed,
        .backlog = replica->backlog,
        .least = replica->backlog,
    };
}

void auto_replica_init(struct auto_replica *replica, const struct law_replica *seen,
                       const struct auto_limit *limit)
{
    double first =
        fmin(limit->bytes * FIRST_PART, limit->seconds < INFINITY ? FIRST_MOST : INFINITY);

    *replica = (struct auto_replica){
        .capacity = -1,
        .reach = isfinite(first) && first > FIRST_LEAST ? first : FIRST_LEAST,
        .never_behind = true,
        .there = true,
        .backlog = seen->backlog,
        .replayed = seen->replayed,
        .at_us = seen->at_us,
    };
    snprintf(replica->name, sizeof(replica->name), "%s", seen->name);
    begin_span(replica);
}

void auto_replica_see(struct auto_replica *replica, const struct law_replica *seen)
{
    replica->there = true;
    if (!isfinite(seen->backlog) || !isfinite(seen->replayed))
        return;
    replica->backlog = fmax(seen->backlog, 0);
    if (seen->at_us <= replica->at_us)
        return;
    replica->replayed = seen->replayed;
    replica->at_us = seen->at_us;
    replica->from.least = fmin(replica->from.least, replica->backlog);
    if (replica->at_us - replica->from.at_us < SPAN_US)
        return;
    learn(replica);
    begin_span(replica);
}

double auto_replica_limit(const struct auto_replica *replica, const struct auto_limit *limit,
                          int *reason)
{
    double speed = replica->capacity >= 0 ? replica->capacity : replica->reach;
    double by_time =
        limit->seconds < INFINITY ? fmax(speed * limit->seconds, 4 * LEAST_BACKLOG) : INFINITY;

    *reason = by_time < limit->bytes ? SIGNAL_REPLICA_LAG_TIME : SIGNAL_REPLICA_LAG_BYTES;
    return fmin(by_time, limit->bytes);
}

/* As it should be by now: it has been replaying since its last report. */
static double backlog_now(const struct auto_replica *replica, int64_t now_us)
{
    double age = fmin(fmax((double)(now_us - replica->at_us) / 1e6, 0), REPORT_S);

    return fmax(replica->backlog - fmax(replica->capacity, 0) * age, 0);
}

double auto_replica_rate(const struct auto_replica *replica, double limit, double foreign,
                         int64_t now_us)
{
    double error = limit / 2 - backlog_now(replica, now_us);

    return replica->reach - foreign + error / T_S + replica->integral;
}

void auto_replica_adjust(struct auto_replica *replica, double limit, double speed, double seconds,
                         bool binds, bool worst, int64_t now_us)
{
    double error = limit / 2 - backlog_now(replica, now_us);
    double most = INTEGRAL_PART * replica->reach;
    bool room = binds && error > limit / 4 && speed > USED * replica->reach;

    /* A backlog that is only on its way up (after a pause) is no sign that it can do more. */
    replica->roomy = room ? replica->roomy + 1 : 0;
    if (!replica->never_behind)
        replica->reach = replica->capacity * (replica->roomy >= ROOMY ? GROWTH : 1);
    else if (room)
        replica->reach *= GROWTH_FIRST;
    if (error < 0 || (binds && worst && !room))
        replica->integral += error / (T_S * INTEGRAL_S) * seconds;
    replica->integral = fmin(fmax(replica->integral, -most), most);
}
