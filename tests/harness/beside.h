/*
 * What goes on beside a job: an application that works on, and gates at which a job is held so that
 * it can be killed there.
 *
 *     t_gates();                                   (schema pghaul must exist)
 *     t_gate_shut("phase backfill done");
 *     t_gate_kill(t_start("resume", "j", NULL));
 */
#ifndef PGHAUL_TESTS_HARNESS_BESIDE_H
#define PGHAUL_TESTS_HARNESS_BESIDE_H

#include "tests/harness/program.h"
#include "tests/harness/session.h"

/*
 * Does `work` in a transaction of its own, again and again, with `n` counting, until t_idle(), and
 * rests `rest_ms` after each. An error fails the test: also a wait for a lock beyond
 * `lock_timeout`; NULL: it waits for ever. They share a table `stop`.
 */
void t_busy(const char *lock_timeout, int rest_ms, const char *work);
/* Ends all of them. */
void t_idle(void);

/* kill -9, and it must die of that. */
void t_kill_now(struct t_process *process);

/*
 * From now on a statement of a job that records a step waits while that is shut: `phase NAME
 * STATE`, `event KIND DETAIL`, or `facts`; a pattern of LIKE.
 */
void t_gates(void);
void t_gate_shut(const char *step);
/* Until somebody is held, or nobody is any more. */
void t_gate_wait(bool held);
/* Waits until `process` is held, kills it, and lets what the server still does for it go on. */
void t_gate_kill(struct t_process *process);

#endif
