/*
 * An expression of the user's, over the columns of one table, as SQL that means the same in any
 * session: with every name qualified, whatever search_path says, and columns as r.name.
 */
#ifndef PGHAUL_COPY_EXPRESSION_H
#define PGHAUL_COPY_EXPRESSION_H

#include "engine/base/memory.h"
#include "engine/pg/session.h"

struct expression_source {
    const char *table;       /* qualified, as SQL */
    const char *search_path; /* the user's, under which the expression was written */
    const char *what;        /* for errors: mapping of column "a" */
};

struct expression {
    const char *sql;
    /* It calls a volatile function, or asks for the time: the same row may get another value when
     * it is computed again. */
    bool varies;
    /* It depends on nothing but the row and settings: no sub-select, no function that may read
     * tables. */
    bool of_row;
    /* A function in it that belongs to another role, who is no superuser and can replace it; NULL:
     * none. */
    const char *stranger;
};

/*
 * The server parses it and prints it back: as a temporary view over two relations, in which columns
 * have their alias. In the open transaction. ERROR_REFUSED when the server does not take it.
 */
bool expression_print(struct session *session, const struct expression_source *source,
                      const char *expression, struct arena *arena, struct expression *printed,
                      struct error *error) MUST_CHECK;

#endif
