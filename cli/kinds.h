/* The kinds of jobs that this program can work on, by the name in the job's row. */
#ifndef PGHAUL_CLI_KINDS_H
#define PGHAUL_CLI_KINDS_H

#include "engine/job/phases.h"

/* ERROR_REFUSED when a newer program made the job. */
bool kind_find(const char *name, const struct kind **kind, struct error *error) MUST_CHECK;

/* Has the kind's `ready` phase been reached by `phase`? False for a kind without one. */
bool kind_is_ready(const struct kind *kind, const char *phase);
/* Is `phase` behind the kind's `ready` phase: has cutover begun? */
bool kind_is_past_ready(const struct kind *kind, const char *phase);

#endif
