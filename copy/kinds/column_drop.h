/*
 * Job kind `column-drop`: takes a column away in two steps that can be told apart. The cut-over
 * hides it: its name goes, its values and all that belongs to it stay, and what still needs it
 * fails at once, while rollback gives the name back in milliseconds. finish drops it.
 *
 * Rows inserted while it is hidden have its default, or NULL: so it must be nullable then, and
 * where it was NOT NULL without a default, rollback makes it so again when no row is in the way.
 */
#ifndef PGHAUL_COPY_KINDS_COLUMN_DROP_H
#define PGHAUL_COPY_KINDS_COLUMN_DROP_H

#include "copy/report.h"
#include "engine/job/phases.h"

extern const struct kind column_drop_kind;

struct column_drop_options {
    const char *table;
    const char *column;
    const char *job_name;
    struct settings settings;
};

/* Plans the job in run->job, and says what it will do. Nothing is changed, nothing stored. */
bool column_drop_prepare(struct run *run, const struct column_drop_options *options,
                         struct report *report, struct error *error) MUST_CHECK;
bool column_drop_store(struct run *run, struct error *error) MUST_CHECK;

#endif
