/*
 * The governor: a thread beside a job's workers that reads signals, asks a law what follows from
 * them, and lets chunks go or not (engine/job/pace.h).
 *
 *     signals --probe--> readings --gates--> may anything begin?        ask()   done()
 *                           |                                             |       |
 *                           `----law---> rate, workers, size of chunks    |       | what it wrote
 *                           `----credit: how much may be written -----> bucket <--'
 *
 * Three things stand between a worker and its next chunk, and each may say "not yet":
 *
 *     gate    a hard limit is reached, or what is on cannot be read, or was read too long ago (the
 *             probe hangs), or nothing was read yet, or it is not the time (window)
 *     credit  a replica could be past its limit, as far as is known (credit.h). The law may be
 *             wrong, and the limit still holds
 *     rate    the law's: debt of what was written (bucket.h)
 *
 * With policy off and fixed only the window stands; the signals are still read, and told.
 *
 * Threads: governor_start() and governor_stop() belong to one thread. The governor's own thread has
 * its session, and does all that may take time without the mutex; what workers ask is answered
 * under the mutex from memory, never from a server. A worker therefore learns that the probe hangs
 * from the age of what was read, not by hanging, too.
 *
 * Every second (a tick) the thread reads the job's row (so `pghaul set` acts within a second, also
 * when no chunk moves), the signals, what other processes on this database write (share.h), and
 * writes a line of pghaul.sample. Between ticks it measures its own small transaction
 * (foreground-latency), and the replicas again as soon as half of the credit is used.
 */
#ifndef PGHAUL_THROTTLE_GOVERNOR_H
#define PGHAUL_THROTTLE_GOVERNOR_H

#include "engine/job/run.h"
#include "throttle/law.h"

struct governor;

/*
 * Begins to govern run->job, which is stored, and becomes run->pace; `laws` (NULL: none): more of
 * them, that policy law=NAME finds, ends with NULL. `windowed`: the job's window counts; what a
 * person needs now (rollback) is not kept waiting for it. ERROR_USAGE for a law that nobody knows,
 * ERROR_REFUSED for a signal that is on and cannot be read.
 */
bool governor_start(struct governor **governor, struct run *run, const struct law *const *laws,
                    bool windowed, struct error *error) MUST_CHECK;

/*
 * Before there is a job: ERROR_REFUSED when its settings have a signal on that cannot be read, with
 * what would help; ERROR_USAGE for a law that nobody knows. Reads only; looks at run->job.settings
 * and source_oid. Appends to `told` what the job will heed: policy, window, replicas, limits.
 */
bool governor_check(const struct run *run, const struct law *const *laws, struct text *told,
                    struct error *error) MUST_CHECK;

/* Ends the thread, also one that hangs; run->pace is pace_none() again. NULL is fine. */
void governor_stop(struct governor *governor, struct run *run);

#endif
