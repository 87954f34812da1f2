/*
 * Foreign keys over the column. LIKE does not bring them, and a temporary table cannot reference
 * another one: their text is written from the catalogue, as pg_get_constraintdef() writes it. Where
 * the type is another one it is tried between the clone and an empty table that has the other
 * table's columns, types and key.
 */
#include "copy/twin_parts.h"

#include <string.h>

static const char OTHER[] = "pghaul_other";

/*
 * One row for each; $1 = table, $2 = number of the column, $3 = name of the twin. The definition is
 * in two parts, before and behind the table that is referenced. `made`: columns of the other table,
 * to try it. A key WITHOUT OVERLAPS is refused before. {set_columns}: since 15.
 */
static const char KEYS[] =
    "WITH key AS (\n"
    "    SELECT k.oid, k.conname, k.conrelid, k.confrelid, k.convalidated,\n"
    "           {enforced} AS enforced, k.conrelid = $1::oid AND $2::int2 = ANY (k.conkey) AS "
    "out,\n"
    "           k.confrelid = $1::oid AND $2::int2 = ANY (k.confkey) AS into,\n"
    "           k.conkey, k.confkey, {set_columns} AS set_columns,\n"
    "           CASE k.confmatchtype WHEN 'f' THEN ' MATCH FULL' ELSE '' END AS match,\n"
    "           k.confupdtype, k.confdeltype,\n"
    "           CASE WHEN k.condeferrable THEN ' DEFERRABLE' ELSE '' END ||\n"
    "           CASE WHEN k.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END AS deferrable\n"
    "      FROM pg_constraint AS k\n"
    "     WHERE k.contype = 'f' AND $1::oid IN (k.conrelid, k.confrelid)\n"
    "), word(letter, word) AS (VALUES ('r'::\"char\", 'RESTRICT'), ('c', 'CASCADE'),\n"
    "                                 ('n', 'SET NULL'), ('d', 'SET DEFAULT'))\n"
    "SELECT k.conname, k.conrelid, n.nspname, c.relname, k.convalidated, k.enforced,\n"
    "       k.out, k.into, k.conrelid = k.confrelid,\n"
    "       obj_description(k.oid, 'pg_constraint'), pg_get_constraintdef(k.oid),\n"
    "       format('FOREIGN KEY (%s) REFERENCES ', own.list),\n"
    "       format('(%s)%s%s%s%s', ref.list, k.match, ' ON UPDATE ' || up.word,\n"
    "              ' ON DELETE ' || del.word || coalesce(' (' || own.set || ')', ''),\n"
    "              k.deferrable),\n"
    "       format('%I.%I', fn.nspname, f.relname),\n"
    "       CASE WHEN k.conrelid = k.confrelid THEN NULL\n"
    "            WHEN k.conrelid = $1::oid THEN format('%s, UNIQUE (%s)', ref.made, ref.list)\n"
    "            ELSE own.made END\n"
    "  FROM key AS k\n"
    "  JOIN pg_class AS c ON c.oid = k.conrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace\n"
    "  JOIN pg_class AS f ON f.oid = k.confrelid JOIN pg_namespace AS fn ON fn.oid = "
    "f.relnamespace\n"
    "  LEFT JOIN word AS up ON up.letter = k.confupdtype\n"
    "  LEFT JOIN word AS del ON del.letter = k.confdeltype\n"
    " CROSS JOIN LATERAL (\n"
    "       SELECT string_agg(quote_ident(a.name), ', ' ORDER BY u.place) AS list,\n"
    "              string_agg(a.made, ', ' ORDER BY u.place) AS made,\n"
    "              (SELECT string_agg(quote_ident(b.name), ', ' ORDER BY s.place)\n"
    "                 FROM unnest(k.set_columns) WITH ORDINALITY AS s(number, place)\n"
    "                 JOIN {columns} AS b ON b.table_oid = k.conrelid AND b.number = s.number\n"
    "              ) AS set\n"
    "         FROM unnest(k.conkey) WITH ORDINALITY AS u(number, place)\n"
    "         JOIN {columns} AS a ON a.table_oid = k.conrelid AND a.number = u.number) AS own\n"
    " CROSS JOIN LATERAL (\n"
    "       SELECT string_agg(quote_ident(a.name), ', ' ORDER BY u.place) AS list,\n"
    "              string_agg(a.made, ', ' ORDER BY u.place) AS made\n"
    "         FROM unnest(k.confkey) WITH ORDINALITY AS u(number, place)\n"
    "         JOIN {columns} AS a ON a.table_oid = k.confrelid AND a.number = u.number) AS ref\n"
    " WHERE k.out OR k.into\n"
    " ORDER BY k.oid";

/* The columns of any table, as they are called when the twin has the place of the column. */
static const char COLUMNS[] =
    "(SELECT a.attrelid AS table_oid, a.attnum AS number,\n"
    "        CASE WHEN a.attrelid = $1::oid AND a.attnum = $2::int2 THEN $3::name\n"
    "             ELSE a.attname END AS name,\n"
    "        format('%I %s%s', a.attname, format_type(a.atttypid, a.atttypmod),\n"
    "               (SELECT format(' COLLATE %I.%I', cn.nspname, co.collname)\n"
    "                  FROM pg_collation AS co JOIN pg_namespace AS cn ON cn.oid = "
    "co.collnamespace\n"
    "                 WHERE co.oid = a.attcollation)) AS made\n"
    "   FROM pg_attribute AS a)";

/* On the side of a clone names are as on that of the table; one end may be an empty table. */
static bool try_key(struct twin_reading *reading, const struct rows *rows, int row,
                    struct error *error)
{
    const char *made = rows_text(rows, row, 14);
    bool to_clone = rows_bool(rows, row, 7);
    struct sql_value clone = sql_table("pg_temp", reading->table->name);
    struct sql_value other = made == NULL ? clone : sql_table("pg_temp", OTHER);
    const struct sql_name *names = SQL_NAMES(
        {"other", other}, {"made", sql_fragment(made)},
        {"name", sql_ident(rows_text(rows, row, 0))}, {"has", to_clone ? other : clone},
        {"referenced", to_clone ? clone : other}, {"head", sql_fragment(rows_text(rows, row, 11))},
        {"rest", sql_fragment(rows_text(rows, row, 12))});
    TEXT_AUTO make = {0};
    TEXT_AUTO add = {0};
    TEXT_AUTO drop = {0};

    if (made != NULL)
        sql_expand(&make, "CREATE TEMPORARY TABLE {other} ({made})", names);
    sql_expand(&add, "ALTER TABLE {has} ADD CONSTRAINT {name} {head}{referenced}{rest}", names);
    if (made != NULL)
        sql_expand(&drop, "DROP TABLE {other} CASCADE", names);
    if ((made == NULL || twin_try(reading, &make, error)) && twin_try(reading, &add, error))
        return made == NULL || twin_try(reading, &drop, error);
    return error_context(error, "foreign key %s of %s.%s", rows_text(rows, row, 0),
                         rows_text(rows, row, 2), rows_text(rows, row, 3));
}

static bool fill_key(struct twin_reading *reading, const struct rows *rows, int row,
                     struct twin_constraint *out, struct error *error)
{
    struct arena *arena = reading->arena;
    bool enforced = rows_bool(rows, row, 5);
    const char *other = rows_text(rows, row, 13);
    const char *definition =
        arena_format(arena, "%s%s%s", rows_text(rows, row, 11), other, rows_text(rows, row, 12));

    *out = (struct twin_constraint){
        .type = 'f',
        .outgoing = rows_bool(rows, row, 6),
        .incoming = rows_bool(rows, row, 7),
        .self = rows_bool(rows, row, 8),
        .table_oid = (uint32_t)rows_int64(rows, row, 1),
        .schema = arena_copy(arena, rows_text(rows, row, 2)),
        .table = arena_copy(arena, rows_text(rows, row, 3)),
        .name = arena_copy(arena, rows_text(rows, row, 0)),
        .twin_name = twin_next_name(reading, error),
        .definition = twin_not_valid(arena, definition, enforced),
        .restore = twin_not_valid(arena, rows_text(rows, row, 10), enforced),
        .validated = rows_bool(rows, row, 4),
        .enforced = enforced,
        .other = rows_bool(rows, row, 8) ? NULL : arena_copy(arena, other),
        .comment = arena_copy(arena, rows_text(rows, row, 9)),
    };
    return out->twin_name != NULL && (reading->type == NULL || try_key(reading, rows, row, error));
}

/* Behind the checks, in one list. */
bool twin_keys(struct twin_reading *reading, struct error *error)
{
    int version = session_server_version(reading->session);
    struct twin *twin = reading->twin;
    struct twin_constraint *checks = twin->constraints;
    int check_count = twin->constraint_count;
    TEXT_AUTO sql = {0};
    ROWS_AUTO rows = {0};

    sql_expand(&sql, KEYS,
               SQL_NAMES({"enforced", sql_fragment(version >= 180000 ? "k.conenforced" : "true")},
                         {"set_columns",
                          sql_fragment(version >= 150000 ? "k.confdelsetcols" : "NULL::int2[]")},
                         {"columns", sql_fragment(COLUMNS)}));
    if (!session_query(
            reading->session, &rows, text_string(&sql),
            PARAMS(NUMBER(reading->table->oid), NUMBER(reading->column->number), reading->name),
            error))
        return false;
    twin->constraint_count = check_count + rows_count(&rows);
    twin->constraints = arena_alloc(reading->arena, sizeof(*twin->constraints) *
                                                        (size_t)(twin->constraint_count + 1));
    memcpy(twin->constraints, checks, sizeof(*checks) * (size_t)check_count);
    for (int i = 0; i < rows_count(&rows); i++)
        if (!fill_key(reading, &rows, i, &twin->constraints[check_count + i], error))
            return false;
    return true;
}
