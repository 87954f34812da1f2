/*
 * The shadow: a table beside the source, made as an exact copy of its definition, then changed by
 * the user's actions on the server, then read back.
 *
 *     shadow_build()    LIKE source; indexes and constraints under their own names; everything
 *                       attached; the gate: clone and source must agree in everything we know of;
 *                       then the user's actions
 *     shadow_read()     what came of it, as a plan: columns are matched by attribute number, so
 *                       that renames, drops, adds and type changes need no SQL parser
 *     shadow_strip()    down to a bare heap: indexes, what must wait for the swap, autovacuum
 *
 * alter_prepare() does all of it in a transaction that it rolls back; the phase "shadow" does it
 * for good.
 */
#ifndef PGHAUL_COPY_SHADOW_H
#define PGHAUL_COPY_SHADOW_H

#include "copy/copy.h"
#include "engine/pg/identifier.h"
#include "engine/pg/table.h"

struct shadow_changes {
    bool *rewrites; /* for each action: does it rewrite the table? In the arena */
    bool any;
};

/* What the transaction that builds it begins with: names are taken by one at a time, and nobody
 * changes the source's definition. */
bool shadow_lock(struct run *run, struct error *error) MUST_CHECK;

/* Creates pghaul.<copy->names.shadow> and applies the actions, in the open transaction. */
bool shadow_build(struct run *run, const struct table *source, struct arena *arena,
                  struct shadow_changes *changes, struct error *error) MUST_CHECK;

/* Of the shadow that was built. */
bool shadow_oid(struct run *run, uint32_t *oid, struct error *error) MUST_CHECK;

/* The same as shadow_build() without what is attached, and without the gate: what the actions do to
 * the storage. */
bool shadow_try(struct run *run, const struct table *source, struct arena *arena,
                struct shadow_changes *changes, struct error *error) MUST_CHECK;

/*
 * Reads the shadow after the actions and fills the plan's columns, key, indexes and checks.
 * ERROR_REFUSED when an action did what is not allowed: the key dropped or given another meaning, a
 * type change without an assignment cast and --map.
 */
bool shadow_read(struct run *run, const struct table *source, const struct table *shadow,
                 struct error *error) MUST_CHECK;

/* Drops indexes and constraints that are made after the load, switches autovacuum off. */
bool shadow_strip(struct run *run, const struct table *shadow, struct error *error) MUST_CHECK;

/* Phase function. */
bool shadow_forward(struct run *run, struct error *error) MUST_CHECK;

#endif
