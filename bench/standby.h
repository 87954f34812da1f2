/*
 * The standby of a sandbox, made slow, deaf, late or absent on purpose: what a governor has to
 * notice.
 *
 *     cap      replays at most so fast: its startup process is stopped and continued (SIGSTOP,
 *              SIGCONT) by a thread of ours. It still receives and answers
 *     pause    replays nothing (pg_wal_replay_pause), still receives
 *     delay    recovery_min_apply_delay: late on purpose
 *     absent   sandbox_standby_crash(), sandbox_standby_start() (sandbox.h)
 *
 * No signal goes to a process that is not, at that moment, a child of the standby's postmaster and
 * its startup process. A stopped one holds up nobody's shutdown for longer than 5 s: then the
 * postmaster kills it; standby_cap_stop() lets it go before.
 */
#ifndef PGHAUL_BENCH_STANDBY_H
#define PGHAUL_BENCH_STANDBY_H

#include "bench/sandbox.h"

struct standby_cap;

/*
 * One of the two, the other 0. A share is a plain duty cycle of 100 ms; how much it lets through
 * depends on what there is to replay. Bytes a second are kept by looking at how far replay has
 * come, while it runs: over a second or more they are met, within one it goes in bursts.
 */
struct standby_limit {
    double share;            /* of the time: 0 .. 1 */
    double bytes_per_second; /* of log; INFINITY: none */
};

/* Starts the thread. The sandbox must outlive the cap; ends with standby_cap_stop(). */
bool standby_cap_start(struct standby_cap **cap, const struct sandbox *sandbox,
                       const struct standby_limit *limit, struct error *error) MUST_CHECK;
/* From now on. Any thread. */
void standby_cap_set(struct standby_cap *cap, const struct standby_limit *limit);
/* Lets replay go, ends the thread, frees. NULL is fine. */
void standby_cap_stop(struct standby_cap *cap);

/* A restartpoint, if there is anything to make one of: nothing is dirty then, old log is reused. */
bool standby_settle(const struct sandbox *sandbox, struct error *error) MUST_CHECK;

/* Returns when replay really is paused, or goes on. */
bool standby_pause(const struct sandbox *sandbox, bool paused, struct error *error) MUST_CHECK;
/* "5s"; "0": no longer. */
bool standby_delay(const struct sandbox *sandbox, const char *delay,
                   struct error *error) MUST_CHECK;

#endif
