/*
 * Verification: every row of `from` compared with its row of `to`, on a live table, with exactly
 * zero false alarms.
 *
 * Pairwise by key, in one statement with one snapshot for each chunk: record_image_ne(ROW(mapped
 * source), ROW(target)) is byte-exact for every type, also where record hashing is blind (1.0
 * and 1.00, citext, -0.0) or fails (json, xml, point). By the invariant a row that differs has its
 * key in the change log, in that same snapshot. So:
 *
 *     differs, key in the log         left out for now: kept in a table, compared again later
 *     differs, key not in the log     a difference: counted, recorded, and repaired by logging the
 * key
 *
 * It passes when every key that was left out or repaired has been found equal in a later
 * comparison, and no marker stands: "0 differences" with every key in the log would verify nothing
 * (F20).
 */
#ifndef PGHAUL_COPY_VERIFY_H
#define PGHAUL_COPY_VERIFY_H

#include "copy/copy.h"

/* Phase functions. The result is in the job's facts: "verify": {at, rows, differences, repaired,
 * left_out, stuck}. */
bool verify_plan(struct run *run, struct error *error) MUST_CHECK;
bool verify_forward(struct run *run, struct error *error) MUST_CHECK;
bool verify_print(struct run *run, struct text *script, struct error *error) MUST_CHECK;

/* The statement that compares a chunk, over the two range predicates (aliases r and s), for tests,
 * too. */
void verify_statement(const struct flow *flow, const char *range_r, const char *range_s,
                      struct text *sql);

/* Is the last verification younger than settings.verify_age_ms, and did it pass? */
bool verify_fresh(struct run *run, bool *fresh, struct error *error) MUST_CHECK;

#endif
