/*
 * Drain time: how long a replica would take to replay what it has not, from how fast it has been
 * seen to replay. What the server itself calls replay_lag says how old the last thing was that was
 * replayed: while nothing is, it stands still.
 *
 *     backlog / speed            Little's law; the speed is measured while there was something to
 *                                replay all the time, so that it is what the replica can do
 *     time without any progress  while there is a backlog worth the name
 *     replay_lag                 what the server says, when it says something
 *
 * The largest of them. Pure: time comes from the caller.
 */
#ifndef PGHAUL_THROTTLE_DRAIN_H
#define PGHAUL_THROTTLE_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

/* From this backlog on a replica is taken to be busy: more than what is under way at any moment. */
#define DRAIN_BUSY_BYTES ((double)(1024 * 1024))
/* And from this one on, one that makes no progress to be stuck. */
#define DRAIN_STUCK_BYTES ((double)(64 * 1024))

/* What does not get there at all. */
#define DRAIN_SECONDS_MAX ((double)(365 * 86400))

struct drain {
    bool known;
    double replayed; /* at at_us */
    double backlog;
    int64_t at_us;
    int64_t moved_us; /* when `replayed` was last seen to grow */
    double bytes;     /* moved while busy, and in how much time; older ones weigh less */
    double seconds;
    double speed;  /* of those two; 0: not known, or nothing */
    bool measured; /* speed is */
};

/* What was read: `at_us` is when it was true; the same as last time: nothing is learnt. */
void drain_observe(struct drain *drain, double backlog, double replayed, int64_t at_us);

/* For a backlog of now, in seconds, DRAIN_SECONDS_MAX at most; `replay_lag` < 0: not said. */
double drain_seconds(const struct drain *drain, double backlog, double replay_lag, int64_t now_us);

#endif
