#include "copy/expression.h"

#include <string.h>

#include "engine/pg/sql.h"

/*
 * The view and, of its stored tree, whether a node varies (0 to 8: CURRENT_DATE to LOCALTIMESTAMP),
 * and whether the value is one of many rows, or many for a row. The first of each flag is that of
 * the outermost query: a sub-select of the expression's may have what it likes.
 */
static const char READ[] =
    "SELECT pg_get_viewdef(v.oid),\n"
    "       w.ev_action::text ~ ':?SQLVALUEFUNCTION :op [0-8] ' OR EXISTS (\n"
    "           SELECT FROM regexp_matches(w.ev_action::text, ':(?:op)?funcid ([0-9]+)', 'g') AS "
    "f\n"
    "             JOIN pg_proc AS p ON p.oid = f[1]::oid\n"
    "            WHERE p.provolatile = 'v'\n"
    "               OR p.oid IN ('now()'::regprocedure, 'transaction_timestamp()'::regprocedure,\n"
    "                            'statement_timestamp()'::regprocedure)),\n"
    "       substring(w.ev_action::text FROM ':hasAggs (\\w+)') = 'true'\n"
    "           OR substring(w.ev_action::text FROM ':hasWindowFuncs (\\w+)') = 'true'\n"
    "           OR substring(w.ev_action::text FROM ':hasTargetSRFs (\\w+)') = 'true'\n"
    ",\n"
    "       w.ev_action::text !~ '[{]SUBLINK ' AND NOT EXISTS (\n"
    "           SELECT FROM regexp_matches(w.ev_action::text, ':(?:op)?funcid ([0-9]+)', 'g') AS "
    "f\n"
    "             JOIN pg_proc AS p ON p.oid = f[1]::oid\n"
    "            WHERE p.provolatile <> 'i' AND (p.pronamespace <> 'pg_catalog'::regnamespace\n"
    "                  OR p.proname ~ '^(pg_|has_|to_reg|query_|table_|cursor_|schema_|database_|"
    "currval|lastval|obj_|col_|shobj_|row_sec|txid)')),\n"
    "       (SELECT min(p.oid::regprocedure::text)\n"
    "          FROM regexp_matches(w.ev_action::text, ':(?:op)?funcid ([0-9]+)', 'g') AS f\n"
    "          JOIN pg_proc AS p ON p.oid = f[1]::oid JOIN pg_roles AS o ON o.oid = p.proowner\n"
    "         WHERE NOT o.rolsuper AND o.rolname <> current_user)\n"
    "  FROM pg_class AS v JOIN pg_rewrite AS w ON w.ev_class = v.oid\n"
    " WHERE v.oid = 'pg_temp.pghaul_expression'::regclass";

bool expression_print(struct session *session, const struct expression_source *source,
                      const char *expression, struct arena *arena, struct expression *printed,
                      struct error *error)
{
    static const char END[] = " AS pghaul_value\n   FROM ";
    const char *start, *end = NULL;
    TEXT_AUTO sql = {0};
    ROWS_AUTO rows = {0};

    /* A line of its own: a comment may end the expression. */
    sql_expand(&sql,
               "CREATE TEMPORARY VIEW pghaul_expression AS\n"
               "SELECT ({expression}\n) AS pghaul_value\n"
               "  FROM ONLY {table} AS r CROSS JOIN (VALUES (1)) AS pghaul_one (pghaul_one)",
               SQL_NAMES({"expression", sql_fragment(expression)},
                         {"table", sql_fragment(source->table)}));
    if (!session_set(session, "search_path", source->search_path, true, error))
        return false;
    if (!session_execute(session, text_string(&sql), NO_PARAMS, NULL, error)) {
        error_refuse(error, NULL);
        return error_context(error, "%s", source->what);
    }
    if (!session_set(session, "search_path", "pg_catalog, pg_temp", true, error) ||
        !session_query(session, &rows, READ, NO_PARAMS, error) ||
        !session_run(session, "DROP VIEW pg_temp.pghaul_expression", error))
        return false;
    if (rows_bool(&rows, 0, 2)) {
        error_set(error, ERROR_REFUSED,
                  "%s: aggregates, window functions and functions that return sets are no value of "
                  "one row",
                  source->what);
        return error_hint(error, "a sub-select in parentheses may have them");
    }
    start = rows_text(&rows, 0, 0) + strlen(" SELECT ");
    for (const char *at = strstr(start, END); at != NULL; at = strstr(at + 1, END))
        end = at;
    if (end == NULL)
        return error_set(error, ERROR_INTERNAL, "could not read back: %s", source->what);
    *printed = (struct expression){
        .sql = arena_format(arena, "%.*s", (int)(end - start), start),
        .varies = rows_bool(&rows, 0, 1),
        .of_row = rows_bool(&rows, 0, 3),
        .stranger = arena_copy(arena, rows_text(&rows, 0, 4)),
    };
    return true;
}
