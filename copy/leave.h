/*
 * Leaving: what a job put into the database, taken away again.
 *
 *     leave_abort()         before the cut-over: triggers, log, shadow
 *     leave_finish()        after it: triggers and log of the way back, the old table
 *     leave_rolled_back()   after a rollback: what was the new table, and everything of the job
 *
 * Each may be killed and run again. The first two do so themselves after a lost session, and look
 * first whether a COMMIT whose answer was lost has happened. leave_finish() is one transaction: as
 * long as it fails (ERROR_LOCK; ERROR_REFUSED: something depends on the old table), the way back is
 * as it was. leave_sql() is the first as plain SQL for psql, stored in the job's row: it works with
 * the program gone.
 */
#ifndef PGHAUL_COPY_LEAVE_H
#define PGHAUL_COPY_LEAVE_H

#include "copy/copy.h"

bool leave_abort(struct run *run, struct error *error) MUST_CHECK;
bool leave_finish(struct run *run, struct error *error) MUST_CHECK;
bool leave_rolled_back(struct run *run, struct error *error) MUST_CHECK;
/* Is there still a shadow, or a change log? */
bool leave_anything_left(struct run *run, bool *left, struct error *error) MUST_CHECK;
void leave_sql(const struct run *run, struct text *sql);

/* What leave_abort() and leave_finish() send, for --dry-run (engine/job/phases.h, print). */
bool leave_print_abort(struct run *run, struct text *script, struct error *error) MUST_CHECK;
bool leave_print_finish(struct run *run, struct text *script, struct error *error) MUST_CHECK;

#endif
