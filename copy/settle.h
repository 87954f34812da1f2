/*
 * The new table before the swap, as it should be on its first day: vacuumed and frozen, so that it
 * is no vacuum storm, and autovacuum as the user has it.
 */
#ifndef PGHAUL_COPY_SETTLE_H
#define PGHAUL_COPY_SETTLE_H

#include "copy/copy.h"

/* Phase functions. */
bool settle_forward(struct run *run, struct error *error) MUST_CHECK;
bool settle_print(struct run *run, struct text *script, struct error *error) MUST_CHECK;

#endif
