/*
 * Inspection: makes the findings about a server and a table.
 *
 *     struct findings findings = {0};
 *
 *     if (!inspect_server(session, &findings, error) ||
 *         !inspect_table(session, table, &findings, error) ||
 *         !findings_refuse(&findings, table_name, error)) // or inspect_typed()
 *         ...
 *     findings_deinit(&findings);
 *
 * `alter` refuses on them (exit 3), `doctor` prints them; both see the same. A job that looks again
 * at its own table finds itself ("job-open") and skips that one.
 *
 * The rule behind the list: everything that the server says depends on the table, its row type, its
 * columns, indexes or constraints is either carried over by a job or refused by name. What nobody
 * thought of is refused too ("unknown-dependent"): nothing is lost silently.
 *
 * Only the catalogue is read, no row of the table, and no lock is taken on it but what
 * pg_relation_size() takes.
 */
#ifndef PGHAUL_COPY_INSPECT_H
#define PGHAUL_COPY_INSPECT_H

#include "copy/findings.h"
#include "engine/pg/table.h"

/* Each appends to the list. False only when the catalogue could not be read. */
bool inspect_server(struct session *session, struct findings *findings,
                    struct error *error) MUST_CHECK;
bool inspect_table(struct session *session, const struct table *table, struct findings *findings,
                   struct error *error) MUST_CHECK;

/*
 * inspect_server() and inspect_table() for the table that the user typed, which is described into
 * the arena; ERROR_REFUSED by what stands in the way. With `codes` (NULL-terminated) only those
 * findings are kept.
 */
bool inspect_typed(struct session *session, const char *typed, const char *const *codes,
                   struct findings *findings, struct arena *arena, struct table **table,
                   struct error *error) MUST_CHECK;

/*
 * Refuses a publication FOR ALL TABLES that came after a job's inspection: it sends the copy and
 * the log to subscribers, and the server refuses to delete rows of a copy that has no primary key
 * yet. Asked before a job does.
 */
bool inspect_publications(struct session *session, struct error *error) MUST_CHECK;

/* The same for rows that a job updates, or deletes, where they are: nothing has to travel. */
bool inspect_rows(struct session *session, const struct table *table, bool deletes,
                  struct findings *findings, struct error *error) MUST_CHECK;

/*
 * Notes columns of other tables that, by name and type, hold the values of this key column: they
 * overflow when the key outgrows them. `key` is a column of `table`.
 */
bool inspect_related_ids(struct session *session, const struct table *table,
                         const struct table_column *key, struct findings *findings,
                         struct error *error) MUST_CHECK;

#endif
