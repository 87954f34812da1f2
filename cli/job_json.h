/* A job as JSON: the object of `status JOB --json`, which other programs rely on. */
#ifndef PGHAUL_CLI_JOB_JSON_H
#define PGHAUL_CLI_JOB_JSON_H

#include "cli/job_view.h"

/* A new reference. Numbers that are unknown, or do not apply, are null. */
json_t *job_json(const struct job_view *view);

#endif
