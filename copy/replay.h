/*
 * Replay: keys out of the change log, and the rows of `to` made equal to the rows of `from`.
 *
 * One transaction at READ COMMITTED, each step a statement with a snapshot of its own:
 *
 *     collect   the distinct keys of a piece of the log, into a temporary table (the batch)
 *     hold      lock their rows in `to` FOR UPDATE SKIP LOCKED
 *     skip      drop from the batch the keys whose row exists and is not ours: one open transaction
 * of the application must not starve the rest (F29) claim     delete the batch's rows from the log
 *     delete    delete those rows from `to`
 *     insert    insert what `from` has now for those keys, ON CONFLICT DO NOTHING
 *     recheck   log again every inserted key that `from` has no longer
 *     return    log again every key that `from` has and `to` has not: another row was in its way
 *
 * Why this is right, whatever runs beside it. A change that commits before `insert` takes its
 * snapshot is in what it reads. A change that commits later has a log row of its own (log mode),
 * which this transaction cannot have claimed unless the change was visible to `claim`, and then it
 * is visible to `insert`, which is later. In dual-write mode a later change writes `to` itself, and
 * has to wait for us or we for it at the row of the key: if `insert` meets its row, DO NOTHING
 * leaves the newer one. What is left is a delete that commits while `insert` waits for it (F01,
 * F26): `from` had the row in our snapshot, the row in `to` that the deleter saw is gone, and ours
 * goes in. `recheck` finds exactly that. Order never matters and repeats never hurt, because no
 * images are carried, only keys.
 *
 * DO NOTHING covers every unique index and exclusion constraint of `to`, not the key alone, and
 * nothing is swallowed by it: `return` puts what was not inserted back into the log. That is how
 * two rows that exchanged a unique value find their places, in whatever order and pieces they come
 * (F43): the first one's row is deleted and returns to the log, which frees the value for the
 * second, and the next pass has room for the first. (design.md, section 3, takes the whole log in
 * one transaction instead; under load that grew longer with every collision it met.) Under the lock
 * of the swap the whole log is one batch, all deletes first: what cannot be inserted then, never
 * can. A table with deferrable constraints, which DO NOTHING does not take, has the key alone in
 * its place: what collides there is refused, halved, stuck, and tried again by every pass.
 *
 * Two replays must never hold the same key at once (probe t7): keys fall into buckets by
 * hash_record_extended, under which equal keys meet (F04: 1.0 and 1.00), and a bucket is a span,
 * leased by its row lock.
 *
 * Replay waits for nobody: SKIP LOCKED, and a lock_timeout of 5 ms (REPLAY_IMPATIENT) for what it
 * cannot cover (F31: with 100 ms the application was the deadlock victim). What is in the way goes
 * back into the log.
 *
 * A row that `to` refuses for its data (a cast, a constraint, a value too long for an index,
 * whatever a function in one of them raises) is found by halving the batch under savepoints, after
 * all its deletes. Its key is stuck: kept beside the log, counted, shown; it
 * counts as logged; it is tried again when the application changes it, and whenever a catch-up
 * begins.
 *
 * Replay never runs at the same time as the load: a log row retired while a chunk is in flight
 * resurrects rows (F05, t6).
 */
#ifndef PGHAUL_COPY_REPLAY_H
#define PGHAUL_COPY_REPLAY_H

#include "copy/flow.h"
#include "engine/job/run.h"

/* How every transaction of replay begins, when it has its lease. */
#define REPLAY_IMPATIENT "SET LOCAL lock_timeout = 5"
#define REPLAY_BEGIN REPLAY_IMPATIENT "; SET CONSTRAINTS ALL IMMEDIATE"

enum replay_step {
    REPLAY_LEASE,         /* all buckets of the flow: $1 job, $2 the flow's label */
    REPLAY_COLLECT,       /* $1 from, $2 to: {bucket, block} positions; $3 number of buckets */
    REPLAY_COLLECT_WHOLE, /* the whole log */
    REPLAY_HOLD,
    REPLAY_SKIP,
    REPLAY_CLAIM_A, /* $1 from, $2 to */
    REPLAY_CLAIM_B,
    REPLAY_CLAIM_WHOLE_A,
    REPLAY_CLAIM_WHOLE_B,
    REPLAY_UNSTICK,
    REPLAY_KEEP, /* only for a flow that keeps columns */
    REPLAY_DELETE,
    REPLAY_INSERT,      /* $1 <= n < $2 of the batch */
    REPLAY_INSERT_KEPT, /* the same; only for a flow that keeps columns */
    REPLAY_RECHECK,
    REPLAY_RETURN,
    REPLAY_RETURN_STUCK, /* the same, when nothing that is not in the batch can help */
    REPLAY_STEPS,
};

/* The template of a step, for flow_expand(): what the product runs, for tests that step through it.
 */
const char *replay_template(enum replay_step step);

/* Creates the session's temporary tables. Once per session and flow, outside a transaction. */
bool replay_prepare(struct session *session, const struct flow *flow,
                    struct error *error) MUST_CHECK;

struct replay_result {
    int64_t keys;  /* made equal */
    int64_t stuck; /* refused */
};

/*
 * Everything in the log, in the session's open transaction; the caller has leased all buckets.
 * `final`: what another row is in the way of is stuck, not for later (under the lock of the swap,
 * or after many tries).
 */
bool replay_whole(struct session *session, const struct flow *flow, bool final,
                  struct replay_result *result, struct error *error) MUST_CHECK;

/* Puts all stuck keys back into the log, to be tried once more. */
bool replay_retry_stuck(struct session *session, const struct flow *flow,
                        struct error *error) MUST_CHECK;

/* As replay_whole(.., final, ..), in a transaction of its own, beside writers: names what never
 * comes to rest. */
bool replay_stick(struct run *run, const struct flow *flow, struct error *error) MUST_CHECK;

/* Locks every bucket of the flow, in the open transaction: no other replay is or will be running
 * until it ends. */
bool replay_lease_all(struct session *session, const struct flow *flow,
                      struct error *error) MUST_CHECK;

/*
 * One pass: the log as it is now, walked by a crew, then truncated where it is empty. Called by the
 * job's leader. result->keys counts what was made equal.
 */
bool replay_pass(struct run *run, const struct flow *flow, struct replay_result *result,
                 struct error *error) MUST_CHECK;

/*
 * Passes until the log stays small. A log that grows as fast as it is drained for 60 s turns the
 * capture to dual-write, when the flow allows it. ERROR_AGAIN when there is a marker.
 */
bool replay_catch_up(struct run *run, const struct flow *flow, struct replay_result *result,
                     struct error *error) MUST_CHECK;

/*
 * For --dry-run, as scripts (engine/pg/sql.h): what replay_prepare() sends; replay_retry_stuck()
 * and replay_whole(.., final); replay_catch_up(). Each step once.
 */
void replay_print_prepare(const struct flow *flow, struct text *script);
void replay_print_whole(const struct flow *flow, struct text *script);
void replay_print_catch_up(const struct run *run, const struct flow *flow, struct text *script);

#endif
