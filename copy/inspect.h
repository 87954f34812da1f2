/*
 * Findings: what stands in the way of a job on a table, what a user should know before one, and
 * what to do about it.
 *
 *     struct findings findings = {0};
 *
 *     if (!inspect_server(session, &findings, error) || !inspect_table(session, table, &findings,
 * error) || !findings_refuse(&findings, table_name, error))
 *         ...
 *     findings_deinit(&findings);
 *
 * `alter` refuses on them (exit 3), `doctor` prints them; both see the same. A job that looks again
 * at its own table finds itself ("job-open") and skips that one.
 *
 * The rule behind the list: everything that the server says depends on the table, its row type, its
 * columns, indexes or constraints is either carried over by a job or refused by name. What nobody
 * thought of is refused too
 * ("unknown-dependent"): nothing is lost silently.
 *
 * Only the catalogue is read, no row of the table, and no lock is taken on it but what
 * pg_relation_size() takes.
 */
#ifndef PGHAUL_COPY_INSPECT_H
#define PGHAUL_COPY_INSPECT_H

#include "engine/base/memory.h"
#include "engine/pg/table.h"

enum finding_level {
    FINDING_REFUSED, /* no job runs while this stands */
    FINDING_WARNING, /* a job runs, and may fail, wait or lack something because of it */
    FINDING_NOTE,    /* good to know */
};

struct finding {
    enum finding_level level;
    const char *
        code; /* stable and machine readable: foreign-key-in; all of them are in inspect.c, KINDS */
    const char *object; /* what it is about, as SQL would name it */
    const char *what;   /* one line: the fact */
    const char *why;    /* one line: why it matters; may be empty */
    const char
        *todo; /* one line: what to do, with the statement where there is one; may be empty */
};

/* A zeroed struct is an empty list. Strings belong to the arena. */
struct findings {
    struct arena arena;
    struct finding *list;
    int count;
    int size;
};

/* Each appends to the list. False only when the catalogue could not be read. */
bool inspect_server(struct session *session, struct findings *findings,
                    struct error *error) MUST_CHECK;
bool inspect_table(struct session *session, const struct table *table, struct findings *findings,
                   struct error *error) MUST_CHECK;

/*
 * Notes columns of other tables that, by name and type, hold the values of this key column: they
 * overflow when the key outgrows them. `key` is a column of `table`.
 */
bool inspect_related_ids(struct session *session, const struct table *table,
                         const struct table_column *key, struct findings *findings,
                         struct error *error) MUST_CHECK;

/* How many there are of a level. */
int findings_count(const struct findings *findings, enum finding_level level);

/* The first one with this code; NULL when there is none. */
const struct finding *findings_by_code(const struct findings *findings, const char *code);

/* True when nothing is refused; else ERROR_REFUSED that names every refusal. `table` is how the
 * user called it. */
bool findings_refuse(const struct findings *findings, const char *table,
                     struct error *error) MUST_CHECK;

/* "refused", "warning", "note". */
const char *finding_level_name(enum finding_level level);

void findings_deinit(struct findings *findings);

#endif
