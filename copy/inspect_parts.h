/*
 * What an inspection is made of: subjects, a file each (inspect_*.c). A subject is the findings it
 * can make, in words, next to the statements that make them; whoever adds a refusal adds it to one
 * file, and whoever asks what is refused about, say, privileges reads one.
 */
#ifndef PGHAUL_COPY_INSPECT_PARTS_H
#define PGHAUL_COPY_INSPECT_PARTS_H

#include "copy/inspect.h"

/*
 * A finding in words. In the texts {table} is the table as SQL names it, {object} what the finding
 * is about, {word} that as a word for a shell, {extra} one more fact, {role} the current role.
 */
struct finding_kind {
    const char *code;
    enum finding_level level;
    const char *what;
    const char *why;
    const char *todo;
};

/*
 * A statement whose rows are findings: code, object, extra. $1 is the table's oid, $2 its key
 * index's (0: none); a statement may do without.
 */
struct check {
    int since; /* server version that has the catalogue; 0: all that we support */
    const char *sql;
};

/* An inspection under way. */
struct inspection {
    struct session *session;
    struct findings *findings;
    const struct table *table;     /* NULL: the server */
    const struct table_index *key; /* NULL: the table has none */
    const char *verb;              /* UPDATE or DELETE, of its rows; NULL: the table is rebuilt */
    const char *name;              /* of the table, quoted and qualified; NULL: the server */
    const char *role;              /* quoted */
};

struct inspection_subject {
    const struct finding_kind *kinds; /* ends with a NULL code */
    const struct check *checks;       /* ends with a NULL sql */
    /* What needs more than a statement, after the checks; NULL: nothing. */
    bool (*look)(const struct inspection *inspection, struct error *error);
};

extern const struct inspection_subject inspect_server_subject;
extern const struct inspection_subject inspect_key_subject;        /* what identifies a row */
extern const struct inspection_subject inspect_dependents_subject; /* what depends on the table */
extern const struct inspection_subject inspect_privileges_subject; /* who may */
extern const struct inspection_subject inspect_build_subject;      /* what it is, how it is built */
extern const struct inspection_subject inspect_activity_subject;   /* what goes on */
extern const struct inspection_subject inspect_change_subject;     /* rows changed in place */

/* Adds a finding of a kind that some subject has. */
void inspection_add(const struct inspection *inspection, const char *code, const char *object,
                    const char *extra);
/* Adds the rows of a statement: code, object, extra. */
bool inspection_add_rows(const struct inspection *inspection, const char *sql, struct params params,
                         struct error *error) MUST_CHECK;

/* False, with the one finding, when the table is of a kind that makes every further one noise. */
bool inspect_right_kind(const struct inspection *inspection);

#endif
