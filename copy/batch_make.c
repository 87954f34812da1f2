/* How a kind makes the plan of a batch. */
#include "copy/batch.h"

#include <string.h>

static void plan_key(const struct table *table, const struct table_index *key,
                     struct batch_plan *plan)
{
    plan->key = arena_alloc(&plan->arena, sizeof(*plan->key) * (size_t)key->column_count);
    plan->key_count = key->column_count;
    for (int i = 0; i < key->column_count; i++) {
        const struct table_column *column = table_column_by_number(table, key->columns[i].number);

        plan->key[i] = (struct plan_key_column){
            .source = arena_copy(&plan->arena, column->name),
            .source_type = arena_copy(&plan->arena, column->base_type),
            .source_equal = arena_copy(&plan->arena, key->columns[i].equal),
        };
    }
}

/* "OPERATOR(public.=)" has its schema in it; positions are compared with operators found by name.
 */
static bool plan_operator_schemas(struct session *session, const struct table_index *key,
                                  struct batch_plan *plan, struct error *error)
{
    for (int i = 0; i < plan->key_count; i++) {
        ROWS_AUTO rows = {0};

        if (!session_query(session, &rows,
                           "SELECT quote_ident(n.nspname)\n"
                           "  FROM pg_index AS x\n"
                           "  JOIN pg_opclass AS c ON c.oid = x.indclass[$2::int]\n"
                           "  JOIN pg_namespace AS n ON n.oid = c.opcnamespace\n"
                           " WHERE x.indexrelid = $1::oid AND n.nspname <> 'pg_catalog'",
                           PARAMS(NUMBER(key->oid), NUMBER(i)), error))
            return false;
        if (rows_count(&rows) == 1)
            plan->key[i].operator_schema = arena_copy(&plan->arena, rows_text(&rows, 0, 0));
    }
    return true;
}

bool batch_plan_table(struct session *session, const struct table *table,
                      const struct table_index *key, struct batch_plan *plan, struct error *error)
{
    plan->table_oid = table->oid;
    plan->schema = arena_copy(&plan->arena, table->schema);
    plan->table = arena_copy(&plan->arena, table->name);
    plan->search_path = arena_copy(&plan->arena, session_user_search_path(session));
    plan->row_estimate = table->row_estimate >= 0 ? table->row_estimate : table->heap_bytes / 100;
    plan->table_bytes = table->heap_bytes + table->toast_bytes;
    plan->row_wal_bytes = 300;
    plan_key(table, key, plan);
    return plan_operator_schemas(session, key, plan, error);
}

/*
 * The type in which the new value is compared with the stored one. With the length of a numeric or
 * a time, so that 1.239 in a numeric(10,2) is found to be there already; without that of a string,
 * because an explicit cast would cut what the assignment refuses; text for char(n), whose blanks
 * at the end mean nothing. And whether it is a string.
 */
static const char IMAGE_TYPE[] =
    "SELECT format_type(CASE WHEN t.base = 'bpchar'::regtype THEN 'text'::regtype ELSE t.base "
    "END,\n"
    "           CASE WHEN t.base IN ('numeric'::regtype, 'timestamp'::regtype,\n"
    "           'timestamptz'::regtype, 'time'::regtype, 'timetz'::regtype, 'interval'::regtype)\n"
    "           THEN t.typmod ELSE -1 END), t.category = 'S'\n"
    "  FROM (WITH RECURSIVE d AS (\n"
    "            SELECT a.atttypid AS base, a.atttypmod AS typmod\n"
    "              FROM pg_attribute AS a WHERE a.attrelid = $1::oid AND a.attnum = $2::int\n"
    "            UNION ALL\n"
    "            SELECT y.typbasetype, CASE WHEN d.typmod = -1 THEN y.typtypmod ELSE d.typmod END\n"
    "              FROM d JOIN pg_type AS y ON y.oid = d.base AND y.typtype = 'd')\n"
    "        SELECT d.*, y.typcategory AS category\n"
    "          FROM d JOIN pg_type AS y ON y.oid = d.base AND y.typtype <> 'd') AS t";

bool batch_image_type(struct session *session, uint32_t table_oid, int column_number,
                      struct arena *arena, const char **image, bool *string, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(session, &rows, IMAGE_TYPE, PARAMS(NUMBER(table_oid), NUMBER(column_number)),
                       error))
        return false;
    *image = arena_copy(arena, rows_text(&rows, 0, 0));
    *string = rows_bool(&rows, 0, 1);
    return true;
}

/*
 * 'done' and NULL have no type of their own: an UPDATE takes them as the column's, the view that
 * prints them as text. So what is printed as one literal of text is cast to the column's type.
 */
static const char *literal_as(struct arena *arena, const char *sql, const char *image)
{
    static const char TEXT[] = "::text";
    const char *at = sql;

    while (*at == ' ' || *at == '\n')
        at++;
    if (strncmp(at, "NULL", 4) == 0) {
        at += 4;
    } else {
        at += *at == 'E';
        if (*at++ != '\'')
            return sql;
        for (; *at != '\0' && (at[0] != '\'' || at[1] == '\''); at++)
            at += *at == '\'';
        at += *at == '\'';
    }
    return strcmp(at, TEXT) != 0 ? sql
                                 : arena_format(arena, "%.*s::%s", (int)(at - sql), sql, image);
}

const char *batch_value(struct arena *arena, const char *sql, const char *image, bool string)
{
    return string ? sql : literal_as(arena, sql, image);
}

bool batch_is_strong(const struct table *table, const struct batch_plan *plan)
{
    for (int i = 0; i < table->index_count; i++) {
        const struct table_index *index = &table->indexes[i];

        if (!index->unique || !index->immediate || index->partial || index->has_expressions)
            continue;
        for (int c = 0; c < index->column_count; c++)
            for (int p = 0; p < plan->column_count; p++)
                if (index->columns[c].name != NULL &&
                    strcmp(index->columns[c].name, plan->columns[p].name) == 0)
                    return true;
    }
    return false;
}

/*
 * Where a plain UPDATE does not do: a row that changes while it waits is looked at again in its
 * newest version, but with what the statement saw of other tables before. And a trigger may keep a
 * row from being written, uncounted. $2: R with triggers=skip, else O, which fire beside those
 * that always do.
 */
static const char KEEPERS[] =
    "SELECT EXISTS (SELECT FROM pg_trigger\n"
    "                WHERE tgrelid = $1::oid AND NOT tgisinternal AND tgenabled IN ('A', $2)\n"
    "                  AND tgtype & 1 = 1 AND tgtype & 2 = 2 AND tgtype & 16 = 16)";

bool batch_plan_plain(struct session *session, const struct table *table, bool beyond_row,
                      struct batch_plan *plan, struct error *error)
{
    ROWS_AUTO rows = {0};

    plan->plain = false;
    if (plan->action != BATCH_UPDATE || plan->undo == BATCH_UNDO_SAVED || plan->varies ||
        beyond_row)
        return true;
    if (!session_query(session, &rows, KEEPERS,
                       PARAMS(NUMBER(table->oid), plan->skip_triggers ? "R" : "O"), error))
        return false;
    plan->plain = !rows_bool(&rows, 0, 0);
    return true;
}
