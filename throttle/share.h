/*
 * Share: several processes on one database give way together. Each has a row in pghaul.pulse that
 * it writes all the time (probe.h): its job's priority, how much of the log its chunks have
 * written, and whether it could write more than it may. Each reads the others' rows, and so knows
 *
 *     others   what they wrote: it is not foreign load, that one would have to give way to
 *     part     its part of what all of them may write: its priority, of the sum of the priorities
 * of all that want more. What one does not want is left to the others
 *
 * The rows together are the bucket that all draw from: the rate is the same law's, from the same
 * signals, in every process, and the parts of it add up to one. One that comes waits until the
 * others have read its row (SHARE_JOIN_US), so that no two have the whole; one that died is
 * forgotten when its row is old.
 *
 * Pure.
 */
#ifndef PGHAUL_THROTTLE_SHARE_H
#define PGHAUL_THROTTLE_SHARE_H

#include "throttle/probe.h"

/* How long until every other process has read a row that is new. */
#define SHARE_JOIN_US INT64_C(1500000)

struct share {
    double part;       /* 0 < part <= 1 */
    double others;     /* bytes of log that those who want more have written, while known */
    bool others_write; /* anybody did, since the reader said false */
    int count;
    struct probe_peer known[PROBE_PEERS_MAX];
};

void share_init(struct share *share);
/* What follows from the others' rows. */
void share_follow(struct share *share, int64_t priority, const struct probe_peer *peers, int count);

#endif
