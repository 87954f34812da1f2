/*
 * Findings: what stands in the way of a job on a table, what a user should know before one, and
 * what to do about it. The list; what makes it is in inspect.h.
 */
#ifndef PGHAUL_COPY_FINDINGS_H
#define PGHAUL_COPY_FINDINGS_H

#include "engine/base/error.h"
#include "engine/base/memory.h"

enum finding_level {
    FINDING_REFUSED, /* no job runs while this stands */
    FINDING_WARNING, /* a job runs, and may fail, wait or lack something because of it */
    FINDING_NOTE,    /* good to know */
};

struct finding {
    enum finding_level level;
    const char *code;   /* stable and machine readable: foreign-key-in; all are in inspect_*.c */
    const char *object; /* what it is about, as SQL would name it */
    const char *what;   /* one line: the fact */
    const char *why;    /* one line: why it matters; may be empty */
    const char *todo;   /* one line: what to do, with the statement where there is one; may be
                           empty */
};

/* A zeroed struct is an empty list. Strings belong to the arena. */
struct findings {
    struct arena arena;
    struct finding *list;
    int count;
    int size;
};

/* Appends; the strings are in the list's arena already, or constants. */
void findings_add(struct findings *findings, struct finding finding);

/* Leaves those with one of these codes (NULL-terminated). */
void findings_keep(struct findings *findings, const char *const *codes);

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
