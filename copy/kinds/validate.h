/*
 * Job kind "validate": a constraint that is NOT VALID becomes valid; with --add the job adds it
 * first.
 *
 *     validate_prepare()   tries --add on an empty clone; changes nothing; fills a report
 *     validate_store()     makes it a job
 *     phases_run(run, &validate_kind, validate_kind.end, error), then perhaps rollback or finish
 *
 * The two steps and their locks are in copy/online_constraint.h.
 */
#ifndef PGHAUL_COPY_KINDS_VALIDATE_H
#define PGHAUL_COPY_KINDS_VALIDATE_H

#include "copy/report.h"
#include "engine/job/phases.h"

struct validate_options {
    const char *table;      /* as typed */
    const char *constraint; /* as typed; NULL with `add` */
    const char *add;        /* CONSTRAINT name CHECK .., FOREIGN KEY ..; or NULL */
    const char *job_name;   /* NULL: validate-TABLE-N */
    struct settings settings;
};

/* Plans the job into run->job (not stored yet) and run->kind_state. Adds the phases to the report.
 */
bool validate_prepare(struct run *run, const struct validate_options *options,
                      struct report *report, struct error *error) MUST_CHECK;

/* Stores the prepared job; run->job has its id and name afterwards. */
bool validate_store(struct run *run, struct error *error) MUST_CHECK;

extern const struct kind validate_kind;

#endif
