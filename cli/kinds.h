/* The kinds of jobs that this program can work on, by the name in the job's row. */
#ifndef PGHAUL_CLI_KINDS_H
#define PGHAUL_CLI_KINDS_H

#include "engine/job/phases.h"

/* ERROR_REFUSED when a newer program made the job. */
bool kind_find(const char *name, const struct kind **kind, struct error *error) MUST_CHECK;

#endif
