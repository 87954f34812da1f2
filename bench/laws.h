/*
 * Laws of other tools, re-implemented from their descriptions and constants, to be compared with
 * ours in the same program on the same server: `pghaul bench throttle`, and the simulated plant of
 * the tests (`-s policy=law=gh-ost`). For nothing else: nobody should copy a table under one.
 *
 *     pt-osc    Percona Toolkit: size of a chunk by its time, stop and go on lag
 *     gh-ost    GitHub: chunks of 1,000 rows, stop and go on lag
 *     gitlab    GitLab: a job every two minutes, of sub-batches; a health check after each job
 *     vitess    Vitess: a rate, doubled and cut by lag, with a memory of good and bad ones
 *     spirit    Block: chunks of 16 MiB, threads by load, lag a gate
 *
 * They were written for other servers, and see less than our probe does. All are given the same:
 *
 *     lag       of the worst replica, as part of the limit that the user states: 1 is at the limit.
 *               What a law calls its maximum is that limit, whatever its own default is (1 s for
 *               pt-osc, 1.5 s for gh-ost, ..), so that laws are compared and not defaults
 *     seconds   that lag times limit.replica-lag-time: from drain time, or from bytes where these
 *               are nearer to their limit. MySQL's laws know whole seconds only; these get
 * fractions load      active-sessions, where that can be read; else a law's own rule for that
 *
 * Laws that size chunks in rows say so in chunk_rows. One that counts requests a second counts them
 * as 1 KiB of log each. Most look more often than our governor asks (100 ms for gh-ost): here they
 * are asked as often as ours is.
 *
 * All are `bare`: whoever runs them adds nothing of ours. Pure, as every law (throttle/law.h).
 */
#ifndef PGHAUL_BENCH_LAWS_H
#define PGHAUL_BENCH_LAWS_H

#include "throttle/law.h"

extern const struct law bench_law_pt_osc;
extern const struct law bench_law_gh_ost;
extern const struct law bench_law_gitlab;
extern const struct law bench_law_vitess;
extern const struct law bench_law_spirit;

/* All of these, by the names above; ends with NULL (law_find). */
extern const struct law *const bench_laws[];

#endif
