/*
 * Three tables that refer to the orders of a measurement, with a tenth of their rows each, and what
 * an application does with them beside the orders: what a key is retyped under.
 *
 *     refunds  go with their order           ON DELETE CASCADE    bigint
 *     notes    outlive it                    ON DELETE SET NULL   bigint
 *     audit    keeps it from being deleted                        integer
 *
 * audit refers to ids up to references_kept_ids() only, which the load leaves alone: then nothing
 * that it does is an error of its own. Private to case_column.c.
 */
#ifndef PGHAUL_BENCH_REFERENCES_H
#define PGHAUL_BENCH_REFERENCES_H

#include "bench/measure.h"
#include "bench/traffic.h"

bool references_make(struct measure *measure, struct error *error) MUST_CHECK;

/* For traffic_options: others, kept_ids. */
extern const struct traffic_statement references_load[];
int64_t references_kept_ids(const struct measure *measure);

/* Rows that refer to no order, and rows that refer to one past 2^31. */
bool references_look(struct measure *measure, double *orphans, double *past,
                     struct error *error) MUST_CHECK;

#endif
