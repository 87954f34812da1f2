/*
 * Job kind `column-add`: a column added to a live table, with all that its definition says.
 *
 *     expand      ADD COLUMN, under a strong lock, for a moment
 *     backfill    rows from before get their value (copy/batch.h); only where the default is
 * another later       one for each row not null    copy/kinds/column_not_null.h constrain   checks
 * and foreign keys, NOT VALID and validated; unique indexes, concurrently tidy        what the walk
 * left goes finish      forgets the way back
 *
 * The server is the parser: it adds the column to an empty temporary clone of the table, and what
 * came of it is read back. A new file of the clone says that rows would have to be written.
 *
 * The fast way: they would not. A default that is one value for all rows, also now(), is kept
 * beside the rows by ADD COLUMN itself, and NOT NULL is proved by it.
 *
 * The slow way: the default is another value for each row: gen_random_uuid(), nextval(),
 * clock_timestamp(). ADD COLUMN without it and SET DEFAULT are one transaction. Why every row has a
 * value afterwards, however busy the table is: that transaction's lock waited for every writer
 * before it, so each row is either committed before it, and seen by the walk, which begins later
 * and fixes its end then; or inserted after it, with the default. Rows with keys behind the walk's
 * end are of the second kind. A row that the application changes keeps NULL, and is met by the walk
 * all the same, unless its key moves from before the walk to behind it: what has NULL after the
 * walk of a column that is NOT NULL is looked for, before the check that refuses it, and walked
 * again. A row is filled once, for the walk writes NULLs only; an application that writes NULL on
 * purpose before the walk gets there finds it filled.
 *
 * The application's writes to rows that have no value yet are refused by nothing: checks, foreign
 * keys and NOT NULL come after the walk.
 *
 *     column_add_prepare()   changes nothing; fills a report
 *     column_add_store()     makes it a job
 *     phases_run(run, &column_add_kind, column_add_kind.end, error), then perhaps rollback or
 * finish
 */
#ifndef PGHAUL_COPY_KINDS_COLUMN_ADD_H
#define PGHAUL_COPY_KINDS_COLUMN_ADD_H

#include "copy/report.h"
#include "engine/job/phases.h"

struct column_add_options {
    const char *table;      /* as typed */
    const char *definition; /* what stands behind ADD COLUMN */
    const char *job_name;   /* NULL: column-add-TABLE-N */
    struct settings settings;
};

/* Plans the job into run->job (not stored yet) and run->kind_state. Adds the phases to the report.
 */
bool column_add_prepare(struct run *run, const struct column_add_options *options,
                        struct report *report, struct error *error) MUST_CHECK;

/* Stores the prepared job; run->job has its id and name afterwards. */
bool column_add_store(struct run *run, struct error *error) MUST_CHECK;

extern const struct kind column_add_kind;

#endif
