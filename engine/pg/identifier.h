/*
 * The little of SQL that options are read by ourselves for: names, as SQL reads them, and words.
 * The server parses all else.
 *
 *     Total            total: without quotes a name is in lower case
 *     "say ""x"""      say "x"
 *
 * A cursor is a pointer into the text; what is read moves it behind itself, and blanks before it
 * are skipped. Names are in the arena.
 */
#ifndef PGHAUL_PG_IDENTIFIER_H
#define PGHAUL_PG_IDENTIFIER_H

#include "engine/base/memory.h"

/*
 * The name that *at begins with. NULL, and *at behind the blanks, when there is none: no letter, an
 * empty name, a quote without an end.
 */
const char *identifier_read(const char **at, struct arena *arena);

/* Moves *at behind this word, which is in lower case, when that comes next. */
bool identifier_word(const char **at, const char *word, struct arena *arena);

/* A name that others may qualify, as it was typed: Shop."Orders". NULL when there is none. */
const char *identifier_qualified(const char **at, struct arena *arena);

/*
 * A list of names with commas between them, and nothing else. Their number, at most `max`; -1 when
 * it is none.
 */
int identifier_list(const char *text, const char **names, int max, struct arena *arena);

/*
 * "column = expression": what is behind the first = after the name is the server's to parse.
 *
 *     total = price * n            column total
 *     "a=b" = c + 1                column a=b
 *     (a, b) = (1, 2)              refused: one column each
 */
struct assignment {
    const char *column;     /* the name itself, without quotes */
    const char *expression; /* points into the text */
};

/* ERROR_USAGE. */
bool assignment_parse(const char *text, struct arena *arena, struct assignment *assignment,
                      struct error *error) MUST_CHECK;

#endif
