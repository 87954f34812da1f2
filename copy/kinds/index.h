/*
 * Job kind "index": one index of a table, built concurrently.
 *
 *     index_prepare()   tries the statement on an empty clone; changes nothing; fills a report
 *     index_store()     makes it a job
 *     phases_run(run, &index_kind, index_kind.end, error), then perhaps rollback or finish
 *
 * How it is built, and what becomes of a build that fails, is in copy/online_index.h.
 */
#ifndef PGHAUL_COPY_KINDS_INDEX_H
#define PGHAUL_COPY_KINDS_INDEX_H

#include "copy/report.h"
#include "engine/job/phases.h"

struct index_options {
    const char *table;     /* as typed */
    const char *statement; /* CREATE [UNIQUE] INDEX name ON table .. */
    const char *job_name;  /* NULL: index-TABLE-N */
    struct settings settings;
};

/* Plans the job into run->job (not stored yet) and run->kind_state. Adds the phases to the report.
 */
bool index_prepare(struct run *run, const struct index_options *options, struct report *report,
                   struct error *error) MUST_CHECK;

/* Stores the prepared job; run->job has its id and name afterwards. */
bool index_store(struct run *run, struct error *error) MUST_CHECK;

extern const struct kind index_kind;

#endif
