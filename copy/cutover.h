/*
 * Cut-over and rollback: the same swap of two tables, forward or backward (flow.h).
 *
 *     before     catch up; dual-write; drain; wait until nobody has a snapshot older than that
 *     the swap   one transaction: lock `from` (one deadline), look again, lock the log and lease
 * its buckets, replay what is left, assert that nothing is, exchange names, sequences and triggers,
 * record it, commit
 *
 * Why nothing is lost. Under ACCESS EXCLUSIVE no transaction that wrote `from` is open (each would
 * hold ROW EXCLUSIVE on it), so every change is committed, and by the invariant of flow.h every row
 * of `to` that differs has its key in the log. The log is locked against repairs (F28) and leased
 * against replays; it is replayed to empty and asserted empty; then the two tables are equal.
 * Statements of the application that wait for the lock find the other table under the name when
 * they get it (trap 33), with the capture of the way back armed by the same commit (F37).
 *
 * Why readers see no hole. Rows of `to` are newer than the application's: a REPEATABLE READ
 * snapshot from before the copy would not see them. So dual-write is on and the log drained first,
 * then every transaction that may have an older snapshot is waited for (F38, F45). What is left are
 * the few keys that are replayed under the lock itself, for transactions that have a snapshot but
 * have not touched the table yet: reading such a row they see its state as it was last copied;
 * writing it they get 40001, as from any concurrent update.
 *
 * A lost answer to COMMIT: the job's row decides what happened.
 */
#ifndef PGHAUL_COPY_CUTOVER_H
#define PGHAUL_COPY_CUTOVER_H

#include "copy/copy.h"

/*
 * Swaps. The caller leads the job. Facts: "cutover" or "rollback": {waited_ms, held_ms, attempts,
 * keys}. ERROR_AGAIN: there is a marker, the copy is stale as a whole. ERROR_LOCK: could not get
 * the locks, nothing changed. ERROR_DIFFERS: the table's definition changed since the job began.
 * `accept_loss`: rows that cannot go back stay away.
 */
bool cutover_swap(struct run *run, enum flow_direction direction, bool accept_loss,
                  struct error *error) MUST_CHECK;

/* What cutover_swap() sends forward, for --dry-run (engine/job/phases.h, print). */
bool cutover_print(struct run *run, struct text *script, struct error *error) MUST_CHECK;

#endif
