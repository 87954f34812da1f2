/*
 * Queries on hot standbys, which our work can cancel there (probe p30):
 *
 *     VACUUM (FREEZE) of the new table    every query whose snapshot is older than the copy, of any
 *                                         table, unless the standby sends feedback
 *     the swap's lock                     every query that uses the table
 *
 * The standby waits for them for max_standby_streaming_delay, and replays nothing meanwhile; then
 * it cancels them. Replicas that may be asked (settings.replica) are asked, and such queries waited
 * for, up to snapshot.wait; then we say what may be cancelled, and go on: what is on a standby
 * never ends a job. Of other standbys it is only said.
 *
 * What it is not: exact. A query may begin while the standby has not replayed what we have just
 * written, or between the look and the replay; then max_standby_streaming_delay is all that it has.
 *
 * By the thread of the control session, which has no transaction open.
 */
#ifndef PGHAUL_COPY_STANDBY_H
#define PGHAUL_COPY_STANDBY_H

#include "engine/job/run.h"

/* Until no query on a replica without feedback has a snapshot from before this call. */
bool standby_wait_snapshots(struct run *run, const char *what, struct error *error) MUST_CHECK;

/* Until no transaction on a replica has used the table for a second. */
bool standby_wait_readers(struct run *run, uint32_t table_oid, struct error *error) MUST_CHECK;

#endif
