/*
 * The clone: what has the column is made on it, then the column becomes the twin, then the server
 * prints it. Temporary, and called as the table is, so that messages read well; its indexes are
 * called as the table's are, its statistics objects by their twin's names.
 */
#include "copy/twin_parts.h"

#include <string.h>

#include "engine/pg/sqlstate.h"

/* Neither defaults (one is set below) nor generation expressions: none reads the column. */
static const char CLONE[] = "CREATE TEMPORARY TABLE {clone} (LIKE {table} INCLUDING CONSTRAINTS\n"
                            "    INCLUDING STORAGE INCLUDING COMPRESSION) USING heap";

static struct sql_value clone_name(const struct twin_reading *reading)
{
    return sql_table("pg_temp", reading->table->name);
}

/* The tablespace of temporary tables would be read back as the twin's. */
static bool make_clone(struct twin_reading *reading, struct error *error)
{
    const struct table *table = reading->table;
    TEXT_AUTO sql = {0};

    sql_expand(&sql, CLONE,
               SQL_NAMES({"clone", clone_name(reading)},
                         {"table", sql_table(table->schema, table->name)}));
    if (!session_set(reading->session, "temp_tablespaces", "", true, error) ||
        !twin_try(reading, &sql, error))
        return false;
    if (reading->column->default_sql == NULL)
        return true;
    text_clear(&sql);
    sql_expand(&sql, "ALTER TABLE {clone} ALTER COLUMN {column} SET DEFAULT {default}",
               SQL_NAMES({"clone", clone_name(reading)},
                         {"column", sql_ident(reading->column->name)},
                         {"default", sql_fragment(reading->column->default_sql)}));
    return twin_try(reading, &sql, error);
}

/* --------------------------------------------------------------------------------------- indexes
 */

/* The last: a foreign key of the table to itself needs it. $1 = index, $2 = number of the column,
 * $3 = schema, $4 = what the twin's will be called. */
static const char INDEX[] =
    "SELECT $2::int2 = ANY (i.indkey) OR EXISTS (\n"
    "           SELECT FROM pg_depend AS d\n"
    "            WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid\n"
    "              AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid\n"
    "              AND d.refobjsubid = $2::int2),\n"
    "       obj_description(i.indexrelid, 'pg_class'),\n"
    "       (SELECT obj_description(k.oid, 'pg_constraint') FROM pg_constraint AS k\n"
    "         WHERE k.conindid = i.indexrelid AND k.conrelid = i.indrelid\n"
    "           AND k.contype IN ('p', 'u')),\n"
    "       (SELECT string_agg(format(E'ALTER INDEX %I.%I ALTER COLUMN %s SET STATISTICS %s;\\n',\n"
    "                   $3::text, $4::text, a.attnum, a.attstattarget), '' ORDER BY a.attnum)\n"
    "          FROM pg_attribute AS a\n"
    "         WHERE a.attrelid = i.indexrelid AND a.attstattarget >= 0),\n"
    "       EXISTS (SELECT FROM pg_constraint AS k\n"
    "                WHERE k.contype = 'f' AND k.conindid = i.indexrelid\n"
    "                  AND k.conrelid = i.indrelid)\n"
    "  FROM pg_index AS i WHERE i.indexrelid = $1::oid";

static bool make_index(struct twin_reading *reading, const struct table_index *index,
                       struct error *error)
{
    TEXT_AUTO sql = {0};

    sql_expand(&sql, "CREATE {unique}INDEX {name} ON {clone} {tail}",
               SQL_NAMES({"unique", sql_fragment(index->unique ? "UNIQUE " : "")},
                         {"name", sql_ident(index->name)}, {"clone", clone_name(reading)},
                         {"tail", sql_fragment(index->tail)}));
    if (twin_try(reading, &sql, error))
        return true;
    return error_context(error, "index %s", index->name);
}

static void fill_index(const struct table_index *index, const struct rows *rows,
                       struct arena *arena, struct twin_index *out)
{
    out->name = arena_copy(arena, index->name);
    out->unique = index->unique;
    out->constraint_type = index->constraint_type;
    out->constraint = arena_copy(arena, index->constraint);
    out->nulls_not_distinct = index->nulls_not_distinct;
    out->replica_identity = index->replica_identity;
    out->clustered = index->clustered;
    out->comment = arena_copy(arena, rows_text(rows, 0, 1));
    out->constraint_comment = arena_copy(arena, rows_text(rows, 0, 2));
    out->statistics_sql = arena_copy(arena, rows_text(rows, 0, 3));
}

static bool take_index(struct twin_reading *reading, const struct table_index *index,
                       struct error *error)
{
    struct twin *twin = reading->twin;
    const char *name = twin_next_name(reading, error);
    ROWS_AUTO rows = {0};

    if (name == NULL || !session_query(reading->session, &rows, INDEX,
                                       PARAMS(NUMBER(index->oid), NUMBER(reading->column->number),
                                              reading->table->schema, name),
                                       error))
        return false;
    if (rows_count(&rows) != 1)
        return error_set(error, ERROR_REFUSED, "index %s is gone", index->name);
    if (rows_bool(&rows, 0, 0)) {
        struct twin_index *out = &twin->indexes[twin->index_count++];

        fill_index(index, &rows, reading->arena, out);
        out->twin_name = name;
    } else {
        reading->number--;
        if (!rows_bool(&rows, 0, 4))
            return true;
    }
    return make_index(reading, index, error);
}

/* An invalid index is the wreck of a CREATE INDEX CONCURRENTLY: nobody's, as in pg_dump. */
static bool take_indexes(struct twin_reading *reading, struct error *error)
{
    const struct table *table = reading->table;

    reading->twin->indexes = arena_alloc(reading->arena, sizeof(*reading->twin->indexes) *
                                                             (size_t)(table->index_count + 1));
    for (int i = 0; i < table->index_count; i++)
        if (table->indexes[i].valid && !take_index(reading, &table->indexes[i], error))
            return false;
    return true;
}

static const struct table_index *index_by_name(const struct table *table, const char *name)
{
    for (int i = 0; i < table->index_count; i++)
        if (strcmp(table->indexes[i].name, name) == 0)
            return &table->indexes[i];
    return NULL;
}

static bool read_tails(struct twin_reading *reading, struct error *error)
{
    struct twin *twin = reading->twin;

    for (int i = 0; i < twin->index_count; i++) {
        const struct table_index *index = index_by_name(reading->clone, twin->indexes[i].name);

        if (index == NULL)
            return error_set(error, ERROR_INTERNAL, "index %s was lost on the way",
                             twin->indexes[i].name);
        twin->indexes[i].tail = index->tail;
    }
    return true;
}

/* ------------------------------------------------------------------------------------ statistics
 */

/*
 * Statistics objects of table $1 that have column $2. Kinds are not said for a single expression
 * (there is only one), and 'e' not at all (expressions bring it).
 */
static const char STATISTICS[] =
    "SELECT n.nspname, s.stxname, coalesce(s.stxstattarget, -1),\n"
    "       obj_description(s.oid, 'pg_statistic_ext'),\n"
    "       CASE WHEN s.stxkind <> ARRAY['e'::\"char\"] THEN (\n"
    "           SELECT format('(%s) ', string_agg(CASE k WHEN 'd' THEN 'ndistinct'\n"
    "                      WHEN 'f' THEN 'dependencies' ELSE 'mcv' END, ', '))\n"
    "             FROM unnest(s.stxkind) AS k WHERE k <> 'e') ELSE '' END\n"
    "           || 'ON ' || pg_get_statisticsobjdef_columns(s.oid)\n"
    "  FROM pg_statistic_ext AS s JOIN pg_namespace AS n ON n.oid = s.stxnamespace\n"
    " WHERE s.stxrelid = $1::oid\n"
    "   AND EXISTS (SELECT FROM pg_depend AS d\n"
    "                WHERE d.classid = 'pg_statistic_ext'::regclass AND d.objid = s.oid\n"
    "                  AND d.refclassid = 'pg_class'::regclass AND d.refobjid = s.stxrelid\n"
    "                  AND d.refobjsubid = $2::int)\n"
    " ORDER BY s.oid";

static bool make_statistics(struct twin_reading *reading, const char *name, const char *definition,
                            struct error *error)
{
    TEXT_AUTO sql = {0};

    sql_expand(&sql, "CREATE STATISTICS {name} {definition} FROM {clone}",
               SQL_NAMES({"name", sql_table("pg_temp", name)},
                         {"definition", sql_fragment(definition)}, {"clone", clone_name(reading)}));
    return twin_try(reading, &sql, error);
}

static bool take_statistics(struct twin_reading *reading, struct error *error)
{
    struct twin *twin = reading->twin;
    ROWS_AUTO rows = {0};

    if (!session_query(reading->session, &rows, STATISTICS,
                       PARAMS(NUMBER(reading->table->oid), NUMBER(reading->column->number)), error))
        return false;
    twin->statistics_count = rows_count(&rows);
    twin->statistics =
        arena_alloc(reading->arena, sizeof(*twin->statistics) * (size_t)(rows_count(&rows) + 1));
    for (int i = 0; i < rows_count(&rows); i++) {
        struct twin_statistics *out = &twin->statistics[i];

        out->schema = arena_copy(reading->arena, rows_text(&rows, i, 0));
        out->name = arena_copy(reading->arena, rows_text(&rows, i, 1));
        out->target = rows_int64(&rows, i, 2);
        out->comment = arena_copy(reading->arena, rows_text(&rows, i, 3));
        out->twin_name = twin_next_name(reading, error);
        if (out->twin_name == NULL ||
            !make_statistics(reading, out->twin_name, rows_text(&rows, i, 4), error))
            return false;
    }
    return true;
}

/* An object that is made again with another type may not have the place in the order it had. */
static bool read_statistics(struct twin_reading *reading, struct error *error)
{
    struct twin *twin = reading->twin;
    const struct table_column *column = table_column_by_name(reading->clone, reading->name);
    TEXT_AUTO table = {0};
    ROWS_AUTO rows = {0};
    int found = 0;

    sql_append(&table, sql_table(reading->table->schema, reading->table->name));
    if (!session_query(reading->session, &rows, STATISTICS,
                       PARAMS(NUMBER(reading->clone->oid), NUMBER(column->number)), error))
        return false;
    for (int row = 0; row < rows_count(&rows); row++)
        for (int i = 0; i < twin->statistics_count; i++)
            if (strcmp(rows_text(&rows, row, 1), twin->statistics[i].twin_name) == 0) {
                twin->statistics[i].definition = arena_format(
                    reading->arena, "%s FROM %s", rows_text(&rows, row, 4), text_string(&table));
                found++;
            }
    return found == twin->statistics_count ||
           error_set(error, ERROR_INTERNAL, "statistics were lost on the way");
}

/* ---------------------------------------------------------------------------------------- checks
 */

/* Of table $1, reading column $2. Not enforced: since 18. */
static const char CHECKS[] =
    "SELECT k.conname, k.convalidated, {enforced}, pg_get_constraintdef(k.oid),\n"
    "       obj_description(k.oid, 'pg_constraint')\n"
    "  FROM pg_constraint AS k\n"
    " WHERE k.conrelid = $1::oid AND k.contype = 'c' AND $2::int2 = ANY (k.conkey)\n"
    " ORDER BY k.oid";

static const char *check_of(const struct table *table, const char *name)
{
    for (int i = 0; i < table->constraint_count; i++)
        if (table->constraints[i].type == 'c' && strcmp(table->constraints[i].name, name) == 0)
            return table->constraints[i].definition;
    return NULL;
}

static bool fill_check(struct twin_reading *reading, const struct rows *rows, int row,
                       struct twin_constraint *out, struct error *error)
{
    const struct table *table = reading->table;
    struct arena *arena = reading->arena;
    const char *definition = check_of(reading->clone, rows_text(rows, row, 0));

    if (definition == NULL)
        return error_set(error, ERROR_INTERNAL, "check %s was lost on the way",
                         rows_text(rows, row, 0));
    *out = (struct twin_constraint){
        .type = 'c',
        .table_oid = table->oid,
        .schema = arena_copy(arena, table->schema),
        .table = arena_copy(arena, table->name),
        .name = arena_copy(arena, rows_text(rows, row, 0)),
        .twin_name = twin_next_name(reading, error),
        .validated = rows_bool(rows, row, 1),
        .enforced = rows_bool(rows, row, 2),
        .restore = twin_not_valid(arena, rows_text(rows, row, 3), rows_bool(rows, row, 2)),
        .definition = twin_not_valid(arena, definition, rows_bool(rows, row, 2)),
        .comment = arena_copy(arena, rows_text(rows, row, 4)),
    };
    return out->twin_name != NULL;
}

static bool read_checks(struct twin_reading *reading, struct error *error)
{
    bool since_18 = session_server_version(reading->session) >= 180000;
    struct twin *twin = reading->twin;
    TEXT_AUTO sql = {0};
    ROWS_AUTO rows = {0};

    sql_expand(&sql, CHECKS,
               SQL_NAMES({"enforced", sql_fragment(since_18 ? "k.conenforced" : "true")}));
    if (!session_query(reading->session, &rows, text_string(&sql),
                       PARAMS(NUMBER(reading->table->oid), NUMBER(reading->column->number)), error))
        return false;
    twin->constraint_count = rows_count(&rows);
    twin->constraints = arena_alloc(reading->arena, sizeof(*twin->constraints) *
                                                        (size_t)(twin->constraint_count + 1));
    for (int i = 0; i < twin->constraint_count; i++)
        if (!fill_check(reading, &rows, i, &twin->constraints[i], error))
            return false;
    return true;
}

/* ----------------------------------------------------------------------------------------- clone
 */

/* What the user typed: read as he means it. No row is there that USING could be wrong for. */
static bool change_type(struct twin_reading *reading, struct error *error)
{
    struct session *session = reading->session;
    TEXT_AUTO sql = {0};

    sql_expand(&sql, "ALTER TABLE {clone} ALTER COLUMN {column} TYPE {type}\nUSING NULL",
               SQL_NAMES({"clone", clone_name(reading)},
                         {"column", sql_ident(reading->column->name)},
                         {"type", sql_fragment(reading->type)}));
    if (!session_set(session, "search_path", session_user_search_path(session), true, error))
        return false;
    if (!twin_try(reading, &sql, error)) {
        if (strcmp(error->sqlstate, SQLSTATE_DATATYPE_MISMATCH) == 0 &&
            reading->column->default_sql != NULL)
            error_hint(error, "ALTER COLUMN .. DROP DEFAULT first, and SET the new DEFAULT after "
                              "finish");
        return error_context(error, "column %s as %s", reading->column->name, reading->type);
    }
    return session_set(session, "search_path", "pg_catalog, pg_temp", true, error);
}

static bool rename_column(struct twin_reading *reading, struct error *error)
{
    TEXT_AUTO sql = {0};

    sql_expand(&sql, "ALTER TABLE {clone} RENAME COLUMN {column} TO {twin}",
               SQL_NAMES({"clone", clone_name(reading)},
                         {"column", sql_ident(reading->column->name)},
                         {"twin", sql_ident(reading->name)}));
    return twin_try(reading, &sql, error);
}

static bool describe_clone(struct twin_reading *reading, struct error *error)
{
    TEXT_AUTO name = {0};
    ROWS_AUTO rows = {0};

    sql_append(&name, clone_name(reading));
    return session_query(reading->session, &rows, "SELECT $1::regclass::oid",
                         PARAMS(text_string(&name)), error) &&
           table_describe(reading->session, (uint32_t)rows_int64(&rows, 0, 0), reading->arena,
                          &reading->clone, error);
}

bool twin_clone(struct twin_reading *reading, struct error *error)
{
    return make_clone(reading, error) && take_indexes(reading, error) &&
           take_statistics(reading, error) &&
           (reading->type == NULL || change_type(reading, error)) &&
           rename_column(reading, error) && describe_clone(reading, error) &&
           read_tails(reading, error) && read_statistics(reading, error) &&
           read_checks(reading, error);
}
