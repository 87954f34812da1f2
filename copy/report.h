/*
 * What a job that is about to begin tells the user: a headline, lines of label and text, estimates.
 */
#ifndef PGHAUL_COPY_REPORT_H
#define PGHAUL_COPY_REPORT_H

#include "engine/base/memory.h"
#include "engine/pg/session.h"

/* A line for the user: "copy needed   yes: id changes its storage". */
struct report_line {
    const char *label;
    const char *text;
};

/* A phase of a dry run; besides those of the kind, what comes before them and what abort does. */
struct report_phase {
    const char *name;
    const char *what;
    const char *lock; /* on the table; "none" */
    const char *estimate;
    const char *sql; /* a script (engine/pg/sql.h); "" for none */
};

struct report {
    struct arena arena;
    const char *headline; /* orders: 5,000,000 rows, 797 MB, 3 indexes, key id (integer) */
    struct report_line *lines;
    int line_count;
    bool rewrite_needed; /* false: the actions alone would not need a copy */
    int64_t disk_bytes;  /* needed until finish */
    int64_t wal_bytes;
    struct report_phase *phases; /* of a dry run only */
    int phase_count;
};

void report_deinit(struct report *report);

void report_add(struct report *report, const char *label, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Strings are copied. */
void report_add_phase(struct report *report, const struct report_phase *phase);

/* "797 MB", "5,000,000": as the server prints them; in the arena. */
const char *report_size(struct session *session, struct arena *arena, int64_t bytes);
const char *report_count(struct session *session, struct arena *arena, int64_t count);

#endif
