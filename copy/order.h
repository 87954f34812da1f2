/*
 * The order of a walk over a table: where spans begin and end, where a chunk ends, and which rows
 * are in it. Positions are arrays of text (engine/job/walk.h) that only the server reads.
 *
 *     blocks   a position is {block}; a chunk is blocks from <= b < to. No index is touched,
 * progress is exact. Rows that come into blocks behind the end planned at the start are the change
 * log's business. keys     a position is the values of some NOT NULL columns; a chunk is from < key
 * <= to by row comparison: exactly one lower and one upper bound, so that an index on the columns
 * serves both. Spans are cut at keys sampled from a few hundred pages: nobody scans the table to
 * plan.
 *
 * Fragments are made once for a table; `range` is a predicate over the alias given, with $1 = from,
 * $2 = to.
 */
#ifndef PGHAUL_COPY_ORDER_H
#define PGHAUL_COPY_ORDER_H

#include "engine/base/memory.h"
#include "engine/pg/session.h"

struct order_column {
    const char *name; /* in the table that is walked */
    const char *type; /* what a position's text is cast to */
    const char
        *schema; /* of the type's operators, as SQL: put into search_path; NULL: pg_catalog */
};

struct order {
    const char *plan_sql;    /* SELECT of (lo text[], hi text[]), for walk_plan(); $1 = pieces or
                                blocks a piece */
    const char *bound_sql;   /* for struct walk */
    const char *range;       /* predicate */
    const char *sort;        /* ORDER BY list; NULL: as they lie */
    const char *search_path; /* sessions that run these statements set it; NULL: as pinned */
};

/* `table`: qualified, as SQL. $1 of plan_sql = blocks of a span. */
void order_blocks(struct order *order, struct arena *arena, const char *table, const char *alias);

/*
 * $1 of plan_sql = number of spans wanted. `page_count`: of the table, to size the sample.
 * `to_now`: the last span ends at the largest key there is when it is planned (none, in an empty
 * table); else it has no end.
 */
void order_keys(struct order *order, struct arena *arena, const char *table, const char *alias,
                const struct order_column *columns, int column_count, int64_t page_count,
                bool to_now);

#endif
