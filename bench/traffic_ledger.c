#include "bench/traffic.h"

#include "engine/pg/session.h"
#include "engine/pg/sql.h"

/* id and counters may have become wider; everything else must look as it was. */
const char *const traffic_acct_columns[] = {"t.id::bigint", "t.grp::bigint", "t.bal", "t.note",
                                            "t.ts",         "t.code",        NULL};
const char *const traffic_orders_columns[] = {
    "t.id::bigint", "t.customer_id::bigint", "t.status",     "t.amount", "t.note",
    "t.attributes", "t.created_at",          "t.updated_at", NULL,
};

/* {columns}: t.id::bigint AS c0, t.grp AS c1 ...; {row}: c0, c1 ... */
static const char COMPARE[] =
    "SELECT count(*), string_agg(sample, E'\\n') FROM (\n"
    "    SELECT CASE WHEN row_number() OVER () <= 5\n"
    "                THEN format('table %s, ledger %s', n.*, o.*) END AS sample\n"
    "      FROM (SELECT {table_columns} FROM {table} AS t) AS n\n"
    "      FULL JOIN (SELECT {columns} FROM {ledger} AS t) AS o ON n.c0 = o.c0\n"
    "     WHERE n.c0 IS NULL OR o.c0 IS NULL OR record_image_ne(ROW(n.*), ROW(o.*))) AS d";

static void list_columns(struct text *out, const char *const *columns)
{
    for (int i = 0; columns[i] != NULL; i++) {
        text_separate(out, ", ");
        text_appendf(out, "%s AS c%d", columns[i], i);
    }
}

bool traffic_compare(const char *conninfo, const char *table, const char *ledger,
                     const char *const *columns, const char *const *table_columns,
                     int64_t *differences, struct text *sample, struct error *error)
{
    SESSION_AUTO *session = NULL;
    ROWS_AUTO rows = {0};
    TEXT_AUTO ledger_list = {0};
    TEXT_AUTO table_list = {0};
    TEXT_AUTO sql = {0};

    list_columns(&ledger_list, columns);
    list_columns(&table_list, table_columns != NULL ? table_columns : columns);
    sql_expand(&sql, COMPARE,
               SQL_NAMES({"table", sql_fragment(table)}, {"ledger", sql_fragment(ledger)},
                         {"columns", sql_fragment(text_string(&ledger_list))},
                         {"table_columns", sql_fragment(text_string(&table_list))}));
    if (!session_open(
            &session,
            &(struct session_options){.conninfo = conninfo, .application_name = "traffic-compare"},
            error) ||
        !session_run(session,
                     "SET search_path = public; SET lock_timeout = '60s'; SET work_mem = '64MB'",
                     error) ||
        !session_query(session, &rows, text_string(&sql), NO_PARAMS, error))
        return error_context(error, "could not compare %s with %s", table, ledger);
    *differences = rows_int64(&rows, 0, 0);
    if (sample != NULL && rows_text(&rows, 0, 1) != NULL)
        text_append(sample, rows_text(&rows, 0, 1));
    return true;
}
