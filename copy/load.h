/*
 * Load: every row of the source into the bare shadow, by INSERT .. SELECT, in chunks; then the
 * purge.
 *
 * No lock on source rows, no index on the shadow, no ON CONFLICT: that is what makes it fast, and
 * it is right because the capture is armed before the load's end is planned, and because replay
 * never runs at the same time.
 *
 *   - A row that was there when the end was planned is read by the chunk whose blocks (or keys)
 * hold it, unless it moved since; a row that came, changed, moved or went away later has its key in
 * the log (F27).
 *   - In heap order a row can be copied twice (an update moves it to a block that is read later),
 * and in any order a unique value can have moved from a copied row to a later one (F03). All of
 * these keys are in the log as it stands when the load ends. The purge deletes exactly those keys
 * from the shadow; then unique indexes can be built, and the keys, still in the log, come back by
 * replay.
 *
 * Each chunk first locks the source (ACCESS SHARE), then looks at its fingerprint (F13): nobody can
 * rewrite the table between the look and the read.
 */
#ifndef PGHAUL_COPY_LOAD_H
#define PGHAUL_COPY_LOAD_H

#include "copy/copy.h"

/* Phase functions (engine/job/phases.h). */
bool load_plan(struct run *run, struct error *error) MUST_CHECK;
bool load_forward(struct run *run, struct error *error) MUST_CHECK;
bool purge_plan(struct run *run, struct error *error) MUST_CHECK;
bool purge_plan_writes(struct run *run, struct pace_unpaced *unpaced,
                       struct error *error) MUST_CHECK;
bool purge_forward(struct run *run, struct error *error) MUST_CHECK;
bool load_print(struct run *run, struct text *script, struct error *error) MUST_CHECK;
bool purge_print(struct run *run, struct text *script, struct error *error) MUST_CHECK;

/* The statement of a chunk, for EXPLAIN, too. */
void load_statement(const struct copy *copy, const char *range, const char *sort, struct text *sql);

#endif
