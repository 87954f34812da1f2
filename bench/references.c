#include "bench/references.h"

#include <inttypes.h>

enum {
    TABLE_ROWS = 10, /* rows of the orders for one of each table */
    KEPT_PART = 4,   /* one of so many orders is never deleted */
};

/*
 * The usual three: rows that go with the order, rows that outlive it, rows that keep it. The latter
 * refer only to ids that the load never deletes, and have the narrow type to the end: they need no
 * more.
 */
static const char *const MAKE[] = {
    "CREATE TABLE " MEASURE_SCHEMA ".refunds (id bigserial PRIMARY KEY, v int NOT NULL,\n"
    "    order_id bigint NOT NULL REFERENCES " MEASURE_TABLE " ON DELETE CASCADE)",
    "CREATE TABLE " MEASURE_SCHEMA ".notes (id bigserial PRIMARY KEY, v int NOT NULL,\n"
    "    order_id bigint REFERENCES " MEASURE_TABLE " ON DELETE SET NULL)",
    "CREATE TABLE " MEASURE_SCHEMA ".audit (id bigserial PRIMARY KEY, v int NOT NULL,\n"
    "    order_id int NOT NULL REFERENCES " MEASURE_TABLE ")",
    NULL,
};
/* $1 rows of the table, $2 how many of each, $3 the largest id that audit refers to. */
static const char *const FILL[] = {
    "INSERT INTO " MEASURE_SCHEMA ".refunds (v, order_id)\n"
    "SELECT 0, 1 + n * 7919 % $1::bigint FROM generate_series(1, $2::bigint) n\n"
    " WHERE $3::bigint > 0",
    "INSERT INTO " MEASURE_SCHEMA ".notes (v, order_id)\n"
    "SELECT 0, 1 + n * 104729 % $1::bigint FROM generate_series(1, $2::bigint) n\n"
    " WHERE $3::bigint > 0",
    "INSERT INTO " MEASURE_SCHEMA ".audit (v, order_id)\n"
    "SELECT 0, 1 + n * 7919 % $3::bigint FROM generate_series(1, $2::bigint) n\n"
    " WHERE $1::bigint > 0",
    NULL,
};
static const char *const INDEX[] = {
    "CREATE INDEX ON " MEASURE_SCHEMA ".refunds (order_id)",
    "CREATE INDEX ON " MEASURE_SCHEMA ".notes (order_id)",
    "CREATE INDEX ON " MEASURE_SCHEMA ".audit (order_id)",
    "VACUUM (ANALYZE) " MEASURE_SCHEMA ".refunds",
    "VACUUM (ANALYZE) " MEASURE_SCHEMA ".notes",
    "VACUUM (ANALYZE) " MEASURE_SCHEMA ".audit",
    NULL,
};

/*
 * What an application does with them. An order is locked before it is referred to, as a careful one
 * does: without that, a delete in between is a 23503 that the table gives by itself.
 */
const struct traffic_statement references_load[] = {
    {"insert refund",
     "WITH o AS (SELECT id FROM {table} WHERE id = $1 FOR KEY SHARE)\n"
     "INSERT INTO " MEASURE_SCHEMA ".refunds (v, order_id) SELECT 1, id FROM o",
     5},
    {"insert note",
     "WITH o AS (SELECT id FROM {table} WHERE id = $1 FOR KEY SHARE)\n"
     "INSERT INTO " MEASURE_SCHEMA ".notes (v, order_id) SELECT 1, id FROM o",
     5},
    {"insert audit",
     "INSERT INTO " MEASURE_SCHEMA ".audit (v, order_id)\n"
     "SELECT 1, 1 + $1 % max(order_id) FROM " MEASURE_SCHEMA ".audit",
     3},
    {"update refund", "UPDATE " MEASURE_SCHEMA ".refunds SET v = v + 1 WHERE order_id = $1", 3},
    {"refer anew",
     "UPDATE " MEASURE_SCHEMA ".audit SET order_id = 1 + $1 % last.id\n"
     "  FROM (SELECT max(order_id) AS id FROM " MEASURE_SCHEMA ".audit) AS last\n"
     " WHERE audit.id = 1 + $1 % 1000",
     4},
    {NULL, NULL, 0},
};

int64_t references_kept_ids(const struct measure *measure)
{
    return measure->options.rows / KEPT_PART + 1;
}

static bool MUST_CHECK run_list(struct measure *measure, const char *const *list,
                                struct error *error)
{
    for (; *list != NULL; list++)
        if (!session_run(measure->session, *list, error))
            return false;
    return true;
}

bool references_make(struct measure *measure, struct error *error)
{
    int64_t rows = measure->options.rows;
    int64_t count = rows / TABLE_ROWS + 1;

    log_notice(measure->log, "making three tables that refer to it: %" PRId64 " rows each", count);
    if (!run_list(measure, MAKE, error))
        return false;
    for (const char *const *fill = FILL; *fill != NULL; fill++)
        if (!session_execute(
                measure->session, *fill,
                PARAMS(NUMBER(rows), NUMBER(count), NUMBER(references_kept_ids(measure))), NULL,
                error))
            return false;
    return run_list(measure, INDEX, error);
}

/* By a join of all rows: what the constraints promise is not taken for granted. */
static const char LOOK[] = "SELECT (count(*) FILTER (WHERE o.id IS NULL))::float8,\n"
                           "       (count(*) FILTER (WHERE r.order_id > 2147483647))::float8\n"
                           "  FROM (SELECT order_id FROM " MEASURE_SCHEMA ".refunds UNION ALL\n"
                           "        SELECT order_id FROM " MEASURE_SCHEMA ".notes UNION ALL\n"
                           "        SELECT order_id FROM " MEASURE_SCHEMA ".audit) AS r\n"
                           "  LEFT JOIN " MEASURE_TABLE " AS o ON o.id + 0 = r.order_id\n"
                           " WHERE r.order_id IS NOT NULL";

bool references_look(struct measure *measure, double *orphans, double *past, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(measure->session, &rows, LOOK, NO_PARAMS, error))
        return false;
    *orphans = rows_double(&rows, 0, 0);
    *past = rows_double(&rows, 0, 1);
    return true;
}
