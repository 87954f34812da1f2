#include "copy/unpaced.h"

/* A second: reading a table that is not in memory, writing it, and rows into a sorted index. */
static const double READ_BYTES = 200e6;
static const double WRITE_BYTES = 100e6;
static const double SORT_ROWS = 700e3;

/*
 * Sizes of a table. One row, always. $1 = oid.
 *
 * Last: does the first reader of a row log its page (see the header)?
 */
static const char SIZES[] =
    "SELECT coalesce(pg_relation_size(c.oid), 0), coalesce(pg_table_size(c.oid), 0),\n"
    "       coalesce(pg_indexes_size(c.oid), 0), greatest(c.reltuples, 0)::bigint,\n"
    "       current_setting('wal_log_hints')::boolean\n"
    "           OR current_setting('data_checksums')::boolean\n"
    "  FROM (SELECT) AS one LEFT JOIN pg_class AS c ON c.oid = $1::oid";

struct sizes {
    double heap;
    double table; /* with TOAST */
    double indexes;
    double rows;
    bool logs_hints;
};

static bool read_sizes(struct session *session, uint32_t table_oid, struct sizes *sizes,
                       struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(session, &rows, SIZES, PARAMS(NUMBER(table_oid)), error))
        return false;
    *sizes = (struct sizes){
        .heap = rows_double(&rows, 0, 0),
        .table = rows_double(&rows, 0, 1),
        .indexes = rows_double(&rows, 0, 2),
        .rows = rows_double(&rows, 0, 3),
        .logs_hints = rows_bool(&rows, 0, 4),
    };
    return true;
}

/*
 * Bytes of an entry of an index: header and line pointer, then the columns whose names occur in its
 * text, in steps of eight, with a tenth of the page left free. What cannot be known (an expression,
 * a table without statistics) counts as 16 bytes. $1 = table, $2 = tail.
 */
static const char ENTRY[] =
    "SELECT (12 + ceil(coalesce(nullif(sum(s.avg_width), 0), 16) / 8.0) * 8) / 0.9\n"
    "  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace\n"
    "  LEFT JOIN pg_stats AS s\n"
    "    ON s.schemaname = n.nspname AND s.tablename = c.relname AND NOT s.inherited\n"
    "   AND strpos(' ' || translate($2, '(),:[]', '      ') || ' ',\n"
    "              ' ' || translate(quote_ident(s.attname), '(),:[]', '      ') || ' ') > 0\n"
    " WHERE c.oid = $1::oid";

bool unpaced_index(struct session *session, const struct unpaced_index *index,
                   struct unpaced *unpaced, struct error *error)
{
    uint32_t stats_oid = index->stats_oid != 0 ? index->stats_oid : index->table_oid;
    ROWS_AUTO entry = {0};
    struct sizes sizes;
    double bytes;
    double count;

    if (!read_sizes(session, index->table_oid, &sizes, error) ||
        !session_query(session, &entry, ENTRY, PARAMS(NUMBER(stats_oid), index->tail), error))
        return false;
    count = index->rows > 0 ? (double)index->rows : sizes.rows;
    bytes = rows_count(&entry) > 0 ? count * rows_double(&entry, 0, 0) : 0;
    unpaced->wal_bytes = (int64_t)(bytes + (index->fresh && sizes.logs_hints ? sizes.heap : 0));
    unpaced->seconds =
        index->scans * sizes.heap / READ_BYTES + count / SORT_ROWS + bytes / WRITE_BYTES;
    return true;
}

bool unpaced_freeze(struct session *session, uint32_t table_oid, struct unpaced *unpaced,
                    struct error *error)
{
    struct sizes sizes;

    if (!read_sizes(session, table_oid, &sizes, error))
        return false;
    unpaced->wal_bytes = (int64_t)sizes.table;
    unpaced->seconds = sizes.table / READ_BYTES + sizes.table / WRITE_BYTES;
    return true;
}

bool unpaced_scan(struct session *session, uint32_t table_oid, struct unpaced *unpaced,
                  struct error *error)
{
    struct sizes sizes;

    if (!read_sizes(session, table_oid, &sizes, error))
        return false;
    unpaced->wal_bytes = 0;
    unpaced->seconds = sizes.table / READ_BYTES;
    return true;
}

bool unpaced_vacuum(struct session *session, uint32_t table_oid, int64_t dead_bytes,
                    struct unpaced *unpaced, struct error *error)
{
    struct sizes sizes;
    double pages;

    if (!read_sizes(session, table_oid, &sizes, error))
        return false;
    /* Dead rows lie together, as a backfill makes them: pages that keep little. The pages of their
     * new versions are marked as visible to all. Of the indexes, the same part of the pages at
     * most. */
    pages = (double)dead_bytes * (sizes.logs_hints ? 2 : 1);
    if (pages > sizes.table)
        pages = sizes.table;
    if (sizes.table > 0)
        pages += sizes.indexes * pages / sizes.table;
    unpaced->wal_bytes = (int64_t)pages;
    unpaced->seconds = (sizes.table + sizes.indexes) / READ_BYTES + pages / WRITE_BYTES;
    return true;
}
