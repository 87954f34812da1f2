/*
 * "column = expression", as options take it: the name is read as SQL reads one, and what is behind
 * the first = after it is the server's to parse.
 *
 *     total = price * n            column total
 *     Total = 1                    column total: without quotes a name is in lower case
 *     "a=b" = c + 1                column a=b
 *     "say ""x""" = 1              column say "x"
 *     (a, b) = (1, 2)              refused: one column each
 */
#ifndef PGHAUL_PG_ASSIGNMENT_H
#define PGHAUL_PG_ASSIGNMENT_H

#include "engine/base/memory.h"

struct assignment {
    const char *column;     /* the name itself, without quotes; in the arena */
    const char *expression; /* points into the text */
};

/* ERROR_USAGE. */
bool assignment_parse(const char *text, struct arena *arena, struct assignment *assignment,
                      struct error *error) MUST_CHECK;

/*
 * The identifier that *at begins with, after blanks; *at is moved behind it. NULL, and *at behind
 * the blanks, when there is none: no letter, an empty name, a quote without an end.
 */
const char *identifier_read(const char **at, struct arena *arena);

#endif
