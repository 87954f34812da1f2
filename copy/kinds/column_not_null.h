/*
 * Job kind `column-not-null`: NOT NULL for a column of a live table.
 *
 *     check       refuses while there are rows with NULL; then CHECK (column IS NOT NULL) NOT
 * VALID, since PostgreSQL 18 NOT NULL NOT VALID: from then on no row with NULL comes validate reads
 * all rows, in nobody's way set         SET NOT NULL, which the valid check makes a matter of the
 * catalogue, and the check goes, in one transaction; since 18 nothing is left to do finish forgets
 * the way back
 *
 * What holds: after `check` every row that is written has a value, after `validate` those from
 * before have one, too; nothing takes that back between the two, or before `set`, for the check is
 * there until NOT NULL is.
 *
 * Rows are read before the check is added because a check that is not valid yet refuses every
 * UPDATE of a row that breaks it: the application would notice. What it writes between the two, the
 * validation finds.
 *
 *     column_not_null_prepare()   changes nothing; fills a report
 *     column_not_null_store()     makes it a job
 *     phases_run(run, &column_not_null_kind, column_not_null_kind.end, error), then perhaps
 * rollback or finish
 */
#ifndef PGHAUL_COPY_KINDS_COLUMN_NOT_NULL_H
#define PGHAUL_COPY_KINDS_COLUMN_NOT_NULL_H

#include "copy/report.h"
#include "engine/job/phases.h"

struct column_not_null_options {
    const char *table; /* as typed */
    const char *column;
    const char *job_name; /* NULL: column-not-null-TABLE-N */
    struct settings settings;
};

/* Plans the job into run->job (not stored yet) and run->kind_state. Adds the phases to the report.
 */
bool column_not_null_prepare(struct run *run, const struct column_not_null_options *options,
                             struct report *report, struct error *error) MUST_CHECK;

/* Stores the prepared job; run->job has its id and name afterwards. */
bool column_not_null_store(struct run *run, struct error *error) MUST_CHECK;

extern const struct kind column_not_null_kind;

#endif
