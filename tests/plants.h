/* Random plants for laws, by seed: the same seed is the same plant, everywhere. */
#ifndef PGHAUL_TESTS_PLANTS_H
#define PGHAUL_TESTS_PLANTS_H

#include "bench/plant_run.h"

/* Replicas, maybe an application that writes, limits in bytes and maybe time; all of it constant
 * but for the wander. 300 s. */
void plants_lag(struct plant_run_options *options, uint64_t seed);
/* .. and what happens to servers: steps, stalls, a replica that vanishes, pauses. */
void plants_trouble(struct plant_run_options *options, uint64_t seed);
/* An application that suffers, and no replica. 300 s. */
void plants_load(struct plant_run_options *options, uint64_t seed);

/* What the workers could write if nothing held them, bytes a second. */
double plants_full_speed(const struct plant_run_options *options);
/* Mean of the best rate that holds the limits. */
double plants_best(const struct plant_trace *trace, double full, double from_s, double to_s);
/* The part of the time in which the worst backlog was past its limit; in which the probe's p95 was
 * beyond one. */
double plants_past(const struct plant_trace *trace, double from_s, double to_s);
double plants_slow(const struct plant_trace *trace, double from_s, double to_s, double limit);

#endif
