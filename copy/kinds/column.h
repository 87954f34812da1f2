/*
 * Job kind `column`: another name, or another type, for a column of a live table by
 * expand-contract.
 *
 *     expand      a twin of the column, nullable; triggers keep both equal (copy/sync.h)
 *     backfill    the twin in rows from before that (copy/batch.h)
 *     constrain   what the column has, its twin gets: indexes, keys, checks (copy/twin.h)
 *     verify      both compared, in every row
 *     ready       both may be used, by old and new versions of an application, for days
 *     cutover     the old column is hidden: its name goes (rename), or goes to the twin (retype);
 *                 it is still fed, so rollback gives it back in milliseconds
 *     finish      the old column is dropped, with its triggers
 *
 * Nothing waits for the table's rows but the application's own statements for each other: what
 * needs a strong lock is metadata alone (lock_and_change()), what reads all rows takes none that
 * writers meet (copy/online_index.h, copy/online_constraint.h).
 */
#ifndef PGHAUL_COPY_KINDS_COLUMN_H
#define PGHAUL_COPY_KINDS_COLUMN_H

#include "copy/report.h"
#include "engine/job/phases.h"

extern const struct kind column_kind;

/* What the user says. Strings are the caller's. */
struct column_options {
    const char *table;
    const char *column;
    const char *new_name; /* rename; NULL: retype */
    const char *type;
    const char *using;      /* NULL: the assignment cast; so for the other */
    const char *back_using; /* NULL, with `using`: no way back */
    const char *job_name;
    struct settings settings;
    bool dry_run; /* what can only be said by doing it is done, in a transaction that is rolled
                     back */
};

/* Plans the job in run->job, and says what it will do. The table is not touched, nothing stored. */
bool column_prepare(struct run *run, const struct column_options *options, struct report *report,
                    struct error *error) MUST_CHECK;
bool column_store(struct run *run, struct error *error) MUST_CHECK;

#endif
