/*
 * Capture: triggers on a flow's `from` table that keep the invariant of flow.h while the
 * application writes.
 *
 * Four triggers (insert, update, delete, truncate; AFTER, per statement with transition tables,
 * ENABLE ALWAYS) call four functions in schema pghaul. What they do is the functions' mode, changed
 * by CREATE OR REPLACE FUNCTION, which takes no lock on the table:
 *
 *     CAPTURE_IDLE   nothing: the triggers of the backward flow before the swap
 *     CAPTURE_LOG    the OLD and NEW keys of the statement go to the change log
 *     CAPTURE_DUAL   `to` is made equal at once; whenever that is not certain, the keys go to the
 * change log
 *
 * The change log is two tables, a and b, that take turns: the functions write one side, replay
 * drains the other. A third, `mark`, gets a row from TRUNCATE: it stands for every key. So does a
 * row from a change that finds the side outgrown its budget: its keys are not logged. Rows of
 * `mark` are written blindly and read by us only, so that SERIALIZABLE transactions meet nothing
 * new; what a function looks at is the size of files. A size alone would not do: a file that grew
 * is neither logged itself (T1 extends the side, T2 finds it too long and commits, the server dies
 * before T1's record is flushed: the standby's file is short) nor for ever (VACUUM FULL). The row
 * of T2 is as durable as its change. So that `mark` does not grow without end either, functions
 * add to it only while it is below 1 MB; and from 256 kB on its size is a marker, too, because who
 * finds it full leaves no row, and the rows that made it so may be of one transaction that was
 * rolled back. What is between the two sizes was in the WAL before that change committed, except
 * for the last pages that are just being added: the file is above 256 kB on every standby.
 *
 * Why a change cannot be lost: the keys are written by the transaction that makes the change,
 * before it commits, by a plain INSERT that nothing can hide (no snapshot, no setting, no order of
 * triggers matters, F02, F18, F35); both OLD and NEW keys are logged; keys are only ever taken out
 * of the log by replay, in the transaction that makes `to` equal. Why dual-write may leave the log
 * out: in one READ COMMITTED statement it takes every key of the statement, old and new alike; what
 * `from` has *now* is upserted with all its columns, the key's too (2 and 2.00 are equal and not
 * the same, F04); what it has not is deleted and counted. When the count falls short (the row is
 * not in `to` yet, or another transaction's is in the way), the keys are logged. When the
 * transaction is not READ COMMITTED (an old snapshot hides rows of `to`), or anything raises, the
 * keys are logged. A lock_timeout of 20 ms holds only inside the block, and is restored before the
 * log is written (F06, F08, F11, F30).
 *
 * Which function body a statement runs is decided when its trigger fires (F22); either body keeps
 * the invariant, so a switch needs no barrier.
 */
#ifndef PGHAUL_COPY_CAPTURE_H
#define PGHAUL_COPY_CAPTURE_H

#include "copy/flow.h"
#include "engine/job/run.h"

enum capture_mode { CAPTURE_IDLE, CAPTURE_LOG, CAPTURE_DUAL };

struct capture_state {
    enum capture_mode mode;
    char side; /* 'a' or 'b': which log the functions write */
    /*
     * At which size of a side they log no more. 0: as the settings say now, for a log that is empty
     * and has no writers. From then on it stays as it is, whatever `pghaul set` says: a larger one
     * would take an outgrown log, which misses keys, for a whole one.
     */
    int64_t budget_bytes;
    bool warned; /* of this side, since it began (capture_warn_early()) */
};

/* Takes every right on one of our tables from everybody else, default privileges' too. `table`: as
 * in a template, {check}. */
bool capture_make_private(struct session *session, const struct flow *flow, const char *table,
                          struct error *error) MUST_CHECK;

/* Creates log tables and functions (in `mode`, side a), private to their owner. In the open
 * transaction. */
bool capture_create(struct run *run, const struct flow *flow, enum capture_mode mode,
                    struct error *error) MUST_CHECK;
/*
 * Creates the triggers on `from`. In the open transaction, which holds SHARE ROW EXCLUSIVE on it:
 * no writer is open, so whatever is written later is captured.
 */
bool capture_attach(struct run *run, const struct flow *flow, struct error *error) MUST_CHECK;
/* The same where `from` is not yet called what the flow calls it: the shadow, before the swap. */
bool capture_attach_to(struct run *run, const struct flow *flow, const char *from_qualified,
                       struct error *error) MUST_CHECK;
bool capture_attached(struct session *session, const struct flow *flow, bool *attached,
                      struct error *error) MUST_CHECK;

/* Is any trigger of the flow left on its table? */
bool capture_any_trigger(struct session *session, const struct flow *flow, bool *found,
                         struct error *error) MUST_CHECK;

/* What capture_attach() sends, and what capture_set() sends; for --dry-run. */
void capture_attach_sql(const struct run *run, const struct flow *flow, struct text *sql);
void capture_functions_sql(const struct run *run, const struct flow *flow,
                           struct capture_state state, struct text *sql);

/* Replaces the functions' bodies and records it in the job's facts: in one transaction, the open
 * one if any, so that whoever reads the fact knows what the functions do. */
bool capture_set(struct run *run, const struct flow *flow, struct capture_state state,
                 struct error *error) MUST_CHECK;
/* Changes the mode, not the side; nothing when it is that already. */
bool capture_set_mode(struct run *run, const struct flow *flow, enum capture_mode mode,
                      struct error *error) MUST_CHECK;
bool capture_get(struct session *session, const struct flow *flow, struct capture_state *state,
                 struct error *error) MUST_CHECK;

/* Is there a marker: a TRUNCATE, or a log over its budget? Then keys say nothing and the copy must
 * begin anew. */
bool capture_marked(struct session *session, const struct flow *flow, const struct run *run,
                    bool *marked, struct error *error) MUST_CHECK;
/* As above, but as ERROR_AGAIN with the reason. */
bool capture_check_unmarked(struct session *session, const struct flow *flow, const struct run *run,
                            struct error *error) MUST_CHECK;

struct capture_size {
    int64_t block_bytes;
    int64_t a_bytes;
    int64_t b_bytes;
    bool empty; /* no row in either side */
    int64_t stuck_keys;
    int64_t refused_keys; /* those of them that no waiting helps: refused by their data, not by
                             another row */
};
bool capture_size(struct session *session, const struct flow *flow, struct capture_size *size,
                  struct error *error) MUST_CHECK;
/*
 * Says once, on stderr and as an event, that the side that is written has passed 80 % of its
 * budget; again only when another side has begun. `size`: as measured. Outside a transaction.
 */
bool capture_warn_early(struct run *run, const struct flow *flow, const struct capture_size *size,
                        struct error *error) MUST_CHECK;
/* Rows of the log, exactly: reads it. */
bool capture_count(struct session *session, const struct flow *flow, int64_t *keys,
                   struct error *error) MUST_CHECK;

/*
 * Empties log, markers and stuck keys. Only in a transaction that holds a lock on `from` that waits
 * out its writers (SHARE ROW EXCLUSIVE): a log emptied beside a writer loses keys.
 */
bool capture_reset(struct run *run, const struct flow *flow, struct error *error) MUST_CHECK;

/*
 * A fingerprint of `from` and the triggers on it: columns, and oid, state and xmin of each trigger
 * (one that was disabled and enabled again has the same state and left a hole in the log, F12);
 * with `storage` also the relfilenode, which matters while blocks are walked. Taken after a lock on
 * `from`, it says that nothing has changed and nothing can.
 */
bool capture_source_fingerprint(struct session *session, const struct flow *flow, bool storage,
                                struct text *fingerprint, struct error *error) MUST_CHECK;
/* Remembers it in the job's facts (in the transaction that made the triggers), and reads it back.
 */
bool capture_keep_fingerprint(struct run *run, const struct flow *flow,
                              struct error *error) MUST_CHECK;
bool capture_expected_fingerprint(struct session *session, const struct flow *flow, bool storage,
                                  struct text *fingerprint, struct error *error) MUST_CHECK;

/* SQL that removes triggers from `from` (qualified name given: names change at the swap), or log
 * tables and functions. */
void capture_detach_sql(const struct flow *flow, const char *from_qualified, struct text *sql);
void capture_drop_sql(const struct flow *flow, struct text *sql);

/* Budget of one side in bytes, by the settings: of a log that begins (struct capture_state). */
int64_t capture_budget_bytes(const struct run *run, int64_t table_bytes);

#endif
