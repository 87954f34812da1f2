/*
 * What job kinds "index" and "validate" share: each adds one thing to a table where it is, in a few
 * statements, and takes back what it added. Nothing is copied, so what depends on the table is none
 * of their business.
 *
 * The fact "added" of the job says what it added, in the transaction that adds it or before: what
 * was there already is never taken back.
 */
#ifndef PGHAUL_COPY_KINDS_ADDITION_H
#define PGHAUL_COPY_KINDS_ADDITION_H

#include "copy/inspect.h"
#include "copy/report.h"
#include "engine/job/phases.h"

/* Finds the table and refuses what an ALTER TABLE of ours must not be tried on. */
bool addition_table(struct session *session, const char *typed, struct arena *arena,
                    struct table **table, struct error *error) MUST_CHECK;

/*
 * In the open transaction, which must be rolled back: an empty temporary table `name` with the
 * columns of schema.table, and its indexes where asked. From here to the end of the transaction
 * names mean what they mean to the user. What is tried on it locks nothing of his.
 */
bool addition_clone(struct session *session, const char *schema, const char *table,
                    const char *name, bool with_indexes, struct error *error) MUST_CHECK;

/* The table that a foreign key references. */
struct addition_other {
    const char *schema;
    const char *name;
    const char *sql; /* as the ladder wants names, which reads who is in the way from them; NULL:
                        the table itself */
};
/* By the name that the user typed. ERROR_REFUSED when it cannot be locked, or has a job of its own.
 */
bool addition_other(struct session *session, const char *typed, uint32_t table_oid,
                    struct arena *arena, struct addition_other *other,
                    struct error *error) MUST_CHECK;

/* Everything of run->job but what the kind calls itself: then addition_store(). */
void addition_fill_job(struct run *run, const struct kind *kind, const struct table *table,
                       const char *job_name, const char *spec_name, const char *spec,
                       const struct settings *settings);
bool addition_store(struct run *run, const struct kind *kind, struct error *error) MUST_CHECK;

/* The fact "added"; 0: nothing was. */
int64_t addition_added(const struct job *job);
/* Records it, and what `abort --print-sql` says from now on: `undo` takes it back. */
bool addition_set_added(struct run *run, int64_t added, const char *undo,
                        struct error *error) MUST_CHECK;

/* The verbs; take_back() must be able to run again, and leave no transaction open. */
typedef bool addition_take_back(struct run *run, struct error *error);
bool addition_rollback(struct run *run, const char *why_not, addition_take_back *take_back,
                       struct error *error) MUST_CHECK;
bool addition_finish(struct run *run, struct error *error) MUST_CHECK;
bool addition_abort(struct run *run, addition_take_back *take_back, struct error *error) MUST_CHECK;

/* "orders: 5,000,000 rows, 797 MB". */
void addition_headline(struct session *session, const struct table *table, const char *typed,
                       struct report *report);

/* How long all phases took, "00:00:05". */
bool addition_time(struct run *run, struct text *out, struct error *error) MUST_CHECK;

#endif
