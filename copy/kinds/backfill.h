/*
 * Job kind "backfill": rows of a table changed, or deleted, where they are, in batches
 * (copy/batch.h).
 *
 *     backfill_prepare()   inspects, plans and tries on a sample; changes nothing; fills a report
 *     backfill_store()     makes it a job
 *     phases_run(run, &backfill_kind, backfill_kind.end, error), then perhaps rollback or finish
 *
 * It has no cut-over: what a chunk has committed is done. rollback restores what was saved, or runs
 * the inverse; finish drops what was saved; abort ends the job and keeps what is done.
 */
#ifndef PGHAUL_COPY_KINDS_BACKFILL_H
#define PGHAUL_COPY_KINDS_BACKFILL_H

#include "copy/batch.h"
#include "copy/report.h"
#include "engine/job/phases.h"

struct backfill_options {
    const char *table;       /* as typed */
    const char *const *sets; /* each --set: column = expression over the table's columns */
    int set_count;
    const char *const *undo_sets; /* each --undo-set: the inverse of a --set */
    int undo_set_count;
    const char *where; /* NULL: every row */
    const char
        *statement;       /* --sql-file, its text: one statement with :range(alias) once; or NULL */
    bool delete_rows;     /* --delete */
    bool save;            /* --undo saved */
    const char *job_name; /* NULL: backfill-TABLE-N */
    struct settings settings;
};

/*
 * Plans the job into run->job (not stored yet) and run->kind_state. Refusals are ERROR_REFUSED and
 * name every reason. The trial runs in a transaction that is rolled back.
 */
bool backfill_prepare(struct run *run, const struct backfill_options *options,
                      struct report *report, struct error *error) MUST_CHECK;

/* Stores the prepared job; run->job has its id and name afterwards. */
bool backfill_store(struct run *run, struct error *error) MUST_CHECK;

/* Appends the phases to the report: for --dry-run. */
void backfill_describe(struct run *run, struct report *report);

extern const struct kind backfill_kind;

#endif
