/*
 * Indexes of the loaded shadow: the key's first, several at a time, one total memory setting. Then
 * its constraints, then ANALYZE, then what must be there before the swap but costs the load nothing
 * afterwards: what hangs on the indexes, and the triggers of the way back, still doing nothing.
 *
 * While the shadow is in schema pghaul its indexes are called orders_7_i1, orders_7_i2, ...; the
 * swap gives them the names they had. Deferrable constraints are plain unique indexes until then: a
 * deferred check would fail the application's COMMIT (F09).
 */
#ifndef PGHAUL_COPY_INDEX_H
#define PGHAUL_COPY_INDEX_H

#include "copy/copy.h"

/* Phase functions. */
bool index_forward(struct run *run, struct error *error) MUST_CHECK;
bool index_print(struct run *run, struct text *script, struct error *error) MUST_CHECK;

/* Drops whatever indexes and constraints of them the shadow has: before it is loaded again. */
bool index_drop_all(struct run *run, struct error *error) MUST_CHECK;

#endif
