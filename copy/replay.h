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
 *     insert    insert what `from` has now for those keys, ON CONFLICT (key) DO NOTHING
 *     recheck   log again every inserted key that `from` has no longer
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
 * Two replays must never hold the same key at once (probe t7): keys fall into buckets by
 * hash_record_extended, under which equal keys meet (F04: 1.0 and 1.00), and a bucket is a span,
 * leased by its row lock.
 *
 * Replay waits for nobody: SKIP LOCKED, and a lock_timeout of 5 ms for what it cannot cover (F31:
 * with 100 ms the application was the deadlock victim). What is in the way is left for the next
 * pass.
 *
 * When a row is refused by `to`:
 *   - by another unique index or an exclusion constraint: two logged rows exchanged a value. The
 * whole log is taken in one transaction, all deletes first; then only rows that conflict with what
 * is not in the log can fail (F43).
 *   - by its data (a cast, a constraint): the batch is bisected under savepoints, after all its
 * deletes. A key that fails alone is stuck: kept beside the log, counted, shown; it counts as
 * logged; it is tried again when the application changes it, and whenever a catch-up begins.
 *
 * Replay never runs at the same time as the load: a log row retired while a chunk is in flight
 * resurrects rows (F05, t6).
 */
#ifndef PGHAUL_COPY_REPLAY_H
#define PGHAUL_COPY_REPLAY_H

#include "copy/flow.h"
#include "engine/job/run.h"

enum replay_step {
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
 * Everything in the log, in the session's open transaction; the caller has leased all buckets or
 * locked `from` against writers. Used under the lock of the swap, and for exchanged values.
 */
bool replay_whole(struct session *session, const struct flow *flow, struct replay_result *result,
                  struct error *error) MUST_CHECK;

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

#endif
