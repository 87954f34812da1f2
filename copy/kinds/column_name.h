/*
 * Names of columns, for the kinds that take one away: how the user says it, what hides it, and who
 * still uses it.
 */
#ifndef PGHAUL_COPY_KINDS_COLUMN_NAME_H
#define PGHAUL_COPY_KINDS_COLUMN_NAME_H

#include "copy/report.h"
#include "copy/twin.h"
#include "copy/usage.h"
#include "engine/job/run.h"
#include "engine/pg/table.h"

/* A name as SQL reads one, alone. ERROR_USAGE. */
bool column_read_name(const char *typed, struct arena *arena, const char **name,
                      struct error *error) MUST_CHECK;

/* The column that the user typed; `table_typed` for the message. ERROR_REFUSED: there is none. */
bool column_find(const struct table *table, const char *table_typed, const char *typed,
                 const struct table_column **column, struct error *error) MUST_CHECK;

/* ERROR_REFUSED when the table has a column of that name. */
bool column_refuse_taken(const struct table *table, const char *table_typed, const char *name,
                         struct error *error) MUST_CHECK;

/* The prefix, and as much of the name as the server keeps. */
const char *column_hidden_name(struct arena *arena, const char *prefix, const char *name);

/* A name that is about to go. */
struct column_use {
    uint32_t table_oid;
    const char *schema;
    const char *table;
    const char *column;
    const char *instead; /* the name to use; NULL: none */
    bool stays;          /* another column will have it: texts that say it go on */
    const char *writes;  /* the last one that named it, and how many there were; NULL: none */
    const struct twin_constraint *keys; /* foreign keys that have a successor */
    int key_count;
};

/* ERROR_REFUSED, with a list, while something still uses it: what --force passes over. */
bool column_refuse_used(struct run *run, const struct column_use *use,
                        struct error *error) MUST_CHECK;

/* The same as lines of a report; `goes`: also what goes with the column, without a word, when it is
 * dropped. Only table, column and keys of `use` count. */
bool column_report_usage(struct session *session, const struct column_use *use, bool goes,
                         struct report *report, struct error *error) MUST_CHECK;

/* Names of columns by which logical replication fails: it goes by them alone. NULL: none. */
struct column_sent {
    const char *added;  /* comes when the job begins */
    const char *hidden; /* comes with the cut-over */
    const char *gone;   /* goes with the cut-over */
};

/* Lines for publications that send every column of the table, and for subscriptions of this
 * database that write it. Any role may ask. */
bool column_report_publications(struct session *session, uint32_t table_oid,
                                const struct column_sent *sent, struct report *report,
                                struct error *error) MUST_CHECK;

#endif
