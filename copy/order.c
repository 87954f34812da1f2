#include "copy/order.h"

#include <string.h>

#include "engine/pg/sql.h"

static const char *expand(struct arena *arena, const char *template, const struct sql_name *names)
{
    TEXT_AUTO text = {0};

    sql_expand(&text, template, names);
    return arena_copy(arena, text_string(&text));
}

/* ----------------------------------------------------------------------------------------------------------
 * blocks */

static const char BLOCKS_PLAN[] = "SELECT ARRAY[b::text], ARRAY[least(b + $1::bigint, n)::text]\n"
                                  "  FROM (SELECT pg_relation_size({literal}::regclass) / "
                                  "current_setting('block_size')::bigint AS n) AS size,\n"
                                  "       generate_series(0, n - 1, $1::bigint) AS b ORDER BY b";

static const char BLOCKS_BOUND[] =
    "SELECT ARRAY[least(at + $3::bigint, hi)::text], at + $3::bigint >= hi, least($3::bigint, hi - "
    "at)\n"
    "  FROM (SELECT ($1::text[])[1]::bigint AS at, ($2::text[])[1]::bigint AS hi) AS position";

static const char BLOCKS_RANGE[] = "{alias}.ctid >= ('(' || ($1::text[])[1] || ',0)')::tid AND "
                                   "{alias}.ctid < ('(' || ($2::text[])[1] || ',0)')::tid";

void order_blocks(struct order *order, struct arena *arena, const char *table, const char *alias)
{
    const struct sql_name *names =
        SQL_NAMES({"literal", sql_literal(table)}, {"alias", sql_fragment(alias)});

    *order = (struct order){
        .plan_sql = expand(arena, BLOCKS_PLAN, names),
        .bound_sql = BLOCKS_BOUND,
        .range = expand(arena, BLOCKS_RANGE, names),
    };
}

/* ------------------------------------------------------------------------------------------------------------
 * keys */

/*
 * Keys of a random sample of pages, cut into $1 pieces; consecutive ones are bounds: (NULL, a], (a,
 * b], ... (z, NULL). DISTINCT ON the key drops equal bounds. {percent}: of the pages.
 */
static const char KEYS_PLAN[] =
    "WITH sampled AS (\n"
    "    SELECT {columns}, ntile($1::int) OVER (ORDER BY {columns}) AS piece\n"
    "      FROM ONLY {table} TABLESAMPLE SYSTEM ({percent})),\n"
    "bounds AS (\n"
    "    SELECT DISTINCT ON ({columns}) ARRAY[{texts}] AS bound, {columns}\n"
    "      FROM (SELECT DISTINCT ON (piece) * FROM sampled ORDER BY piece, {columns}) AS "
    "first_of_piece\n"
    "     WHERE piece > 1 ORDER BY {columns}),\n"
    "numbered AS (SELECT bound, row_number() OVER (ORDER BY {columns}) AS n FROM bounds)\n"
    "SELECT a.bound, coalesce(b.bound, {end})\n"
    "  FROM (SELECT NULL::text[] AS bound, 0::bigint AS n UNION ALL SELECT bound, n FROM numbered) "
    "AS a\n"
    "  LEFT JOIN numbered AS b ON b.n = a.n + 1\n"
    " WHERE {end} IS NOT NULL OR {open} ORDER BY a.n";

/* The largest key there is now. */
static const char KEYS_END[] =
    "(SELECT ARRAY[{texts}] FROM ONLY {table} AS {alias} ORDER BY {backwards} LIMIT 1)";

/* The key of the last row of the chunk, or the span's end when fewer rows than $3 are left. */
static const char KEYS_BOUND[] =
    "SELECT coalesce(bound, $2::text[]), bound IS NULL, coalesce(rows, $3::bigint)\n"
    "  FROM (SELECT 1) AS one LEFT JOIN LATERAL (\n"
    "       SELECT ARRAY[{texts}] AS bound, $3::bigint AS rows FROM ONLY {table} AS {alias} WHERE "
    "{range}\n"
    "        ORDER BY {sort} OFFSET $3::bigint - 1 LIMIT 1) AS last_row ON true";

static const char KEYS_RANGE[] = "($1::text[] IS NULL OR ({keys}) > ({from})) AND "
                                 "($2::text[] IS NULL OR ({keys}) <= ({to}))";

void order_keys(struct order *order, struct arena *arena, const char *table, const char *alias,
                const struct order_column *columns, int column_count, int64_t page_count,
                bool to_now)
{
    enum { SAMPLE_PAGES = 300 };
    TEXT_AUTO names = {0}; /* "a", "b" */
    TEXT_AUTO texts = {0}; /* format('%s', "a"), ... */
    TEXT_AUTO keys = {0};  /* r."a", r."b" */
    TEXT_AUTO backwards = {0};
    TEXT_AUTO from = {0}; /* ($1::text[])[1]::int, ... */
    TEXT_AUTO to = {0};
    TEXT_AUTO path = {0};
    double percent = page_count <= SAMPLE_PAGES ? 100 : 100.0 * SAMPLE_PAGES / (double)page_count;
    const struct sql_name *all;
    const char *end;

    text_append(&path, "pg_catalog");
    for (int i = 0; i < column_count; i++) {
        text_separate(&names, ", ");
        sql_append(&names, sql_ident(columns[i].name));
        text_separate(&texts, ", ");
        sql_expand(&texts, "format('%s', {column})",
                   SQL_NAMES({"column", sql_ident(columns[i].name)}));
        text_separate(&keys, ", ");
        sql_expand(
            &keys, "{alias}.{column}",
            SQL_NAMES({"alias", sql_fragment(alias)}, {"column", sql_ident(columns[i].name)}));
        text_separate(&backwards, ", ");
        sql_expand(
            &backwards, "{alias}.{column} DESC",
            SQL_NAMES({"alias", sql_fragment(alias)}, {"column", sql_ident(columns[i].name)}));
        text_separate(&from, ", ");
        text_appendf(&from, "($1::text[])[%d]::%s", i + 1, columns[i].type);
        text_separate(&to, ", ");
        text_appendf(&to, "($2::text[])[%d]::%s", i + 1, columns[i].type);
        if (columns[i].schema != NULL)
            text_appendf(&path, ", %s", columns[i].schema);
    }
    order->range = expand(arena, KEYS_RANGE,
                          SQL_NAMES({"keys", sql_fragment(text_string(&keys))},
                                    {"from", sql_fragment(text_string(&from))},
                                    {"to", sql_fragment(text_string(&to))}));
    end = expand(arena, KEYS_END,
                 SQL_NAMES({"table", sql_fragment(table)}, {"alias", sql_fragment(alias)},
                           {"texts", sql_fragment(text_string(&texts))},
                           {"backwards", sql_fragment(text_string(&backwards))}));
    all =
        SQL_NAMES({"table", sql_fragment(table)}, {"alias", sql_fragment(alias)},
                  {"columns", sql_fragment(text_string(&names))},
                  {"texts", sql_fragment(text_string(&texts))},
                  {"sort", sql_fragment(text_string(&keys))}, {"range", sql_fragment(order->range)},
                  {"percent", sql_fragment(arena_format(arena, "%.6f", percent))},
                  {"end", sql_fragment(to_now ? end : "NULL::text[]")},
                  {"open", sql_fragment(to_now ? "false" : "true")});
    order->plan_sql = expand(arena, KEYS_PLAN, all);
    order->bound_sql = expand(arena, KEYS_BOUND, all);
    order->sort = arena_copy(arena, text_string(&keys));
    text_append(&path, ", pg_temp");
    order->search_path = strcmp(text_string(&path), "pg_catalog, pg_temp") == 0
                             ? NULL
                             : arena_copy(arena, text_string(&path));
}
