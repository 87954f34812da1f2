#include "engine/pg/table.h"

#include <string.h>

#include "engine/pg/sql.h"

/* Sessions have search_path = pg_catalog, pg_temp, so names in the statements need no schema. */

/* ---------------------------------------------------------------------------------- statements */

/*
 * The class row. Sizes are of now, the row estimate is what the planner would take: the density of
 * the last ANALYZE or VACUUM times the pages of now. A heap without pages has no rows whether it
 * was analyzed or not. $1 oid. All versions.
 */
static const char CLASS_SQL[] =
    "SELECT n.nspname,"
    "       c.relname,"
    "       pg_get_userbyid(c.relowner),"
    "       c.relowner,"
    "       c.relkind,"
    "       c.relpersistence,"
    "       am.amname,"
    "       c.relispartition,"
    "       c.relrowsecurity,"
    "       c.relforcerowsecurity,"
    "       c.relfilenode,"
    "       c.reltype,"
    "       size.pages,"
    "       size.heap_bytes,"
    "       size.toast_bytes,"
    "       size.index_bytes,"
    "       CASE WHEN NOT size.has_heap THEN -1"
    "            WHEN size.pages = 0 THEN 0"
    "            WHEN c.reltuples < 0 OR c.relpages = 0 THEN -1"
    "            ELSE (c.reltuples::double precision / c.relpages * size.pages)::bigint"
    "       END,"
    "       (SELECT string_agg(format('%I=%L', o.option_name, o.option_value), ', ')"
    "          FROM pg_options_to_table(c.reloptions) AS o),"
    "       (SELECT string_agg(format('toast.%I=%L', o.option_name, o.option_value), ', ')"
    "          FROM pg_options_to_table(toast.reloptions) AS o),"
    "       space.spcname,"
    "       c.relreplident"
    "  FROM pg_class c"
    "  JOIN pg_namespace n ON n.oid = c.relnamespace"
    "  LEFT JOIN pg_am am ON am.oid = c.relam"
    "  LEFT JOIN pg_class toast ON toast.oid = c.reltoastrelid"
    "  LEFT JOIN pg_tablespace space ON space.oid = c.reltablespace"
    " CROSS JOIN LATERAL ("
    "       SELECT c.relkind IN ('r', 'm', 't') AS has_heap,"
    "              CASE WHEN c.relkind IN ('r', 'm', 't') THEN"
    "                  pg_relation_size(c.oid)"
    "              ELSE 0 END AS heap_bytes,"
    "              CASE WHEN c.relkind IN ('r', 'm', 't') THEN"
    "                  pg_relation_size(c.oid)"
    "                      / current_setting('block_size')::bigint"
    "              ELSE 0 END AS pages,"
    "              CASE WHEN c.reltoastrelid <> 0 THEN"
    "                  pg_total_relation_size(c.reltoastrelid)"
    "              ELSE 0 END AS toast_bytes,"
    "              CASE WHEN c.relkind IN ('r', 'm', 't') THEN"
    "                  pg_indexes_size(c.oid)"
    "              ELSE 0 END AS index_bytes) AS size"
    " WHERE c.oid = $1::oid";

/*
 * The columns, by number. A NOT NULL that is NOT VALID (18) promises nothing, so it does not count.
 * An owned sequence is the identity's, else the one the default draws from, else any other:
 * pg_get_serial_sequence() without the choice. $1 oid. All versions: contype 'n' of a table does
 * not occur before 18.
 */
static const char COLUMNS_SQL[] =
    "WITH RECURSIVE base AS ("
    "       SELECT a.attnum, a.atttypid AS type, a.atttypmod AS typmod, 0 AS depth"
    "         FROM pg_attribute a"
    "        WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped"
    "       UNION ALL"
    "       SELECT base.attnum, t.typbasetype, t.typtypmod, base.depth + 1"
    "         FROM base"
    "         JOIN pg_type t ON t.oid = base.type AND t.typtype = 'd')"
    "SELECT a.attnum,"
    "       a.attname,"
    "       format_type(a.atttypid, a.atttypmod),"
    "       (SELECT format_type(base.type, base.typmod)"
    "          FROM base"
    "         WHERE base.attnum = a.attnum"
    "         ORDER BY base.depth DESC LIMIT 1),"
    "       a.atttypid,"
    "       (SELECT format('%I.%I', cn.nspname, coll.collname)"
    "          FROM pg_collation coll"
    "          JOIN pg_namespace cn ON cn.oid = coll.collnamespace"
    "         WHERE coll.oid = a.attcollation),"
    "       a.attnotnull AND NOT EXISTS ("
    "           SELECT FROM pg_constraint con"
    "            WHERE con.conrelid = a.attrelid AND con.contype = 'n'"
    "              AND con.conkey[1] = a.attnum AND NOT con.convalidated),"
    "       a.attgenerated,"
    "       a.attidentity,"
    "       pg_get_expr(def.adbin, def.adrelid),"
    "       (SELECT format('%I.%I', sn.nspname, s.relname)"
    "          FROM pg_depend own"
    "          JOIN pg_class s ON s.oid = own.objid AND s.relkind = 'S'"
    "          JOIN pg_namespace sn ON sn.oid = s.relnamespace"
    "          LEFT JOIN pg_depend used"
    "            ON used.classid = 'pg_attrdef'::regclass"
    "           AND used.objid = def.oid"
    "           AND used.refclassid = 'pg_class'::regclass"
    "           AND used.refobjid = s.oid"
    "         WHERE own.classid = 'pg_class'::regclass"
    "           AND own.refclassid = 'pg_class'::regclass"
    "           AND own.refobjid = a.attrelid AND own.refobjsubid = a.attnum"
    "           AND own.deptype IN ('a', 'i')"
    "         ORDER BY own.deptype = 'i' DESC, used.objid IS NOT NULL DESC, s.oid"
    "         LIMIT 1)"
    "  FROM pg_attribute a"
    "  LEFT JOIN pg_attrdef def ON def.adrelid = a.attrelid AND def.adnum = a.attnum"
    " WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped"
    " ORDER BY a.attnum";

/*
 * The indexes with their key columns: a row per key column, by index oid and position.
 *
 * pg_get_indexdef() prints neither the tablespace nor anything else by itself, so its text is cut
 * in three: the prefix CREATE .. ON table (rebuilt here; versions differ in how they name a
 * temporary table), the middle, and WHERE ..; the tablespace goes before the last. The fourth
 * column says whether that worked: false is a defect of ours.
 *
 * Equality is strategy 3 of a btree and 1 of a hash family, for the type that the operator class
 * takes. An operator is looked up again by name wherever its text is used; of the classes that take
 * another type than the column's, only bpchar over varchar or text would find a different operator
 * then, and gets none here.
 *
 * $1 oid. {nulls_not_distinct} is 15+, {default_changed} too: before, the version of the database's
 * own collation is not recorded anywhere.
 */
static const char INDEXES_SQL[] =
    "SELECT i.indexrelid,"
    "       ic.relname,"
    "       am.amname,"
    "       def.head IS NOT NULL AND right(def.whole, length(def.filter)) = def.filter,"
    "       substr(def.whole, length(def.head) + 2,"
    "                         length(def.whole) - length(def.head) - 1"
    "                             - length(def.filter))"
    "           || COALESCE(' TABLESPACE ' || quote_ident(space.spcname), '')"
    "           || def.filter,"
    "       con.conname,"
    "       con.contype,"
    "       pg_get_constraintdef(con.oid),"
    "       i.indisunique,"
    "       i.indisprimary,"
    "       i.indisvalid AND i.indisready AND i.indislive,"
    "       i.indimmediate,"
    "       COALESCE(con.condeferred, false),"
    "       i.indpred IS NOT NULL,"
    "       i.indexprs IS NOT NULL,"
    "       {nulls_not_distinct},"
    "       i.indisclustered,"
    "       i.indisreplident,"
    "       pg_relation_size(i.indexrelid),"
    "       i.indnkeyatts,"
    "       at.position,"
    "       i.indkey[at.position],"
    "       a.attname,"
    "       (SELECT format('OPERATOR(%I.%s)', opn.nspname, op.oprname)"
    "          FROM pg_amop amop"
    "          JOIN pg_operator op ON op.oid = amop.amopopr"
    "          JOIN pg_namespace opn ON opn.oid = op.oprnamespace"
    "         WHERE amop.amopfamily = oc.opcfamily AND amop.amoppurpose = 's'"
    "           AND amop.amoplefttype = oc.opcintype AND amop.amoprighttype = oc.opcintype"
    "           AND amop.amopstrategy = CASE am.amname WHEN 'btree' THEN 3 WHEN 'hash' THEN 1 END"
    "           AND (oc.opcintype <> 'bpchar'::regtype"
    "                OR a.atttypid NOT IN ('varchar'::regtype,"
    "                                      'text'::regtype))),"
    "       (SELECT format('OPERATOR(%I.%s)', opn.nspname, op.oprname)"
    "          FROM pg_amop amop"
    "          JOIN pg_operator op ON op.oid = amop.amopopr"
    "          JOIN pg_namespace opn ON opn.oid = op.oprnamespace"
    "         WHERE amop.amopfamily = oc.opcfamily AND amop.amoppurpose = 's'"
    "           AND amop.amoplefttype = oc.opcintype AND amop.amoprighttype = oc.opcintype"
    "           AND amop.amopstrategy = CASE am.amname WHEN 'btree' THEN 1 END),"
    "       format('%I.%I', ocn.nspname, oc.opcname),"
    "       quote_ident(colln.nspname) || '.' || quote_ident(coll.collname),"
    "       CASE WHEN coll.collprovider = 'd' THEN {default_changed}"
    "            ELSE COALESCE(coll.collversion <> pg_collation_actual_version(coll.oid), false)"
    "       END,"
    "       (i.indoption[at.position] & 1) = 1"
    "  FROM pg_index i"
    "  JOIN pg_class ic ON ic.oid = i.indexrelid"
    "  JOIN pg_class tc ON tc.oid = i.indrelid"
    "  JOIN pg_namespace tn ON tn.oid = tc.relnamespace"
    "  JOIN pg_am am ON am.oid = ic.relam"
    "  LEFT JOIN pg_tablespace space ON space.oid = ic.reltablespace"
    "  LEFT JOIN pg_constraint con"
    "    ON con.conindid = i.indexrelid AND con.conrelid = i.indrelid"
    "   AND con.contype IN ('p', 'u', 'x')"
    " CROSS JOIN LATERAL ("
    "       SELECT pg_get_indexdef(i.indexrelid) AS whole,"
    "              (SELECT tried.head"
    "                 FROM (VALUES (format('%I.%I', tn.nspname, tc.relname)),"
    "                              (format('pg_temp.%I', tc.relname)),"
    "                              (quote_ident(tc.relname))) AS name(text)"
    "                CROSS JOIN LATERAL ("
    "                      SELECT format('CREATE %sINDEX %I ON %s%s',"
    "                                    CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END,"
    "                                    ic.relname,"
    "                                    CASE ic.relkind WHEN 'I' THEN 'ONLY ' ELSE '' END,"
    "                                    name.text) AS head) AS tried"
    "                WHERE starts_with(pg_get_indexdef(i.indexrelid),"
    "                                  tried.head || ' USING ')) AS head,"
    "              COALESCE(' WHERE ' || pg_get_expr(i.indpred, i.indrelid), '') AS filter"
    "       ) AS def"
    " CROSS JOIN LATERAL generate_series(0, i.indnkeyatts - 1) AS at(position)"
    "  JOIN pg_opclass oc ON oc.oid = i.indclass[at.position]"
    "  JOIN pg_namespace ocn ON ocn.oid = oc.opcnamespace"
    "  LEFT JOIN pg_attribute a"
    "    ON a.attrelid = i.indrelid AND a.attnum = i.indkey[at.position] AND a.attnum <> 0"
    "  LEFT JOIN pg_collation coll ON coll.oid = i.indcollation[at.position]"
    "  LEFT JOIN pg_namespace colln ON colln.oid = coll.collnamespace"
    " WHERE i.indrelid = $1::oid"
    " ORDER BY i.indexrelid, at.position";

/* Does the version of the database's collation differ from the recorded one? 15+. */
static const char DEFAULT_COLLATION_CHANGED_SQL[] =
    "(SELECT COALESCE(db.datcollversion <> pg_database_collation_actual_version(db.oid), false)"
    "   FROM pg_database db WHERE db.datname = current_database())";

/* CHECK, NOT NULL (18) and foreign keys of the table. $1 oid. All versions. */
static const char CONSTRAINTS_SQL[] =
    "SELECT con.conname,"
    "       con.contype,"
    "       pg_get_constraintdef(con.oid),"
    "       con.convalidated"
    "  FROM pg_constraint con"
    " WHERE con.conrelid = $1::oid AND con.contype IN ('c', 'n', 'f')"
    " ORDER BY con.oid";

/* ------------------------------------------------------------------------------------ describe */

/* First character of a value of type "char"; '\0' for none. */
static char rows_char(const struct rows *rows, int row, int column)
{
    const char *text = rows_text(rows, row, column);

    return text == NULL ? '\0' : text[0];
}

static bool read_class(struct session *session, struct arena *arena, struct table *table,
                       struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(session, &rows, CLASS_SQL, PARAMS(NUMBER(table->oid)), error))
        return false;
    if (rows_count(&rows) == 0)
        return error_set(error, ERROR_REFUSED, "the table with oid %u is gone", table->oid);
    table->schema = arena_copy(arena, rows_text(&rows, 0, 0));
    table->name = arena_copy(arena, rows_text(&rows, 0, 1));
    table->owner = arena_copy(arena, rows_text(&rows, 0, 2));
    table->owner_oid = (uint32_t)rows_int64(&rows, 0, 3);
    table->kind = rows_char(&rows, 0, 4);
    table->persistence = rows_char(&rows, 0, 5);
    table->access_method = arena_copy(arena, rows_text(&rows, 0, 6));
    table->is_partition = rows_bool(&rows, 0, 7);
    table->row_security = rows_bool(&rows, 0, 8);
    table->force_row_security = rows_bool(&rows, 0, 9);
    table->relfilenode = (uint32_t)rows_int64(&rows, 0, 10);
    table->type_oid = (uint32_t)rows_int64(&rows, 0, 11);
    table->pages = rows_int64(&rows, 0, 12);
    table->heap_bytes = rows_int64(&rows, 0, 13);
    table->toast_bytes = rows_int64(&rows, 0, 14);
    table->index_bytes = rows_int64(&rows, 0, 15);
    table->row_estimate = rows_int64(&rows, 0, 16);
    table->reloptions = arena_copy(arena, rows_text(&rows, 0, 17));
    table->toast_reloptions = arena_copy(arena, rows_text(&rows, 0, 18));
    table->tablespace = arena_copy(arena, rows_text(&rows, 0, 19));
    table->replica_identity = rows_char(&rows, 0, 20);
    return true;
}

/*
 * The rows of a statement about the table, and room for a struct of `size` bytes for each; NULL
 * after a failure.
 */
static void *read_list(struct session *session, struct rows *rows, const char *sql,
                       const struct table *table, struct arena *arena, size_t size,
                       struct error *error)
{
    if (!session_query(session, rows, sql, PARAMS(NUMBER(table->oid)), error))
        return NULL;
    return arena_alloc(arena, (size_t)(rows_count(rows) + 1) * size);
}

static bool read_columns(struct session *session, struct arena *arena, struct table *table,
                         struct error *error)
{
    ROWS_AUTO rows = {0};

    table->columns =
        read_list(session, &rows, COLUMNS_SQL, table, arena, sizeof(*table->columns), error);
    if (table->columns == NULL)
        return false;
    table->column_count = rows_count(&rows);
    for (int row = 0; row < table->column_count; row++) {
        struct table_column *column = &table->columns[row];

        column->number = (int)rows_int64(&rows, row, 0);
        column->name = arena_copy(arena, rows_text(&rows, row, 1));
        column->type = arena_copy(arena, rows_text(&rows, row, 2));
        column->base_type = arena_copy(arena, rows_text(&rows, row, 3));
        column->type_oid = (uint32_t)rows_int64(&rows, row, 4);
        column->collation = arena_copy(arena, rows_text(&rows, row, 5));
        column->not_null = rows_bool(&rows, row, 6);
        column->generated = rows_char(&rows, row, 7) != '\0';
        column->generated_virtual = rows_char(&rows, row, 7) == 'v';
        column->identity = rows_char(&rows, row, 8);
        column->default_sql = arena_copy(arena, rows_text(&rows, row, 9));
        column->sequence = arena_copy(arena, rows_text(&rows, row, 10));
    }
    return true;
}

static void read_index(const struct rows *rows, int row, struct arena *arena,
                       struct table_index *index)
{
    index->oid = (uint32_t)rows_int64(rows, row, 0);
    index->name = arena_copy(arena, rows_text(rows, row, 1));
    index->method = arena_copy(arena, rows_text(rows, row, 2));
    index->tail = arena_copy(arena, rows_text(rows, row, 4));
    index->constraint = arena_copy(arena, rows_text(rows, row, 5));
    index->constraint_type = rows_char(rows, row, 6);
    if (index->constraint_type != '\0' && strcmp(index->method, "btree") != 0)
        index->constraint_type = 'x';
    index->constraint_definition = arena_copy(arena, rows_text(rows, row, 7));
    index->unique = rows_bool(rows, row, 8);
    index->primary = rows_bool(rows, row, 9);
    index->valid = rows_bool(rows, row, 10);
    index->immediate = rows_bool(rows, row, 11);
    index->initially_deferred = rows_bool(rows, row, 12);
    index->partial = rows_bool(rows, row, 13);
    index->has_expressions = rows_bool(rows, row, 14);
    index->nulls_not_distinct = rows_bool(rows, row, 15);
    index->clustered = rows_bool(rows, row, 16);
    index->replica_identity = rows_bool(rows, row, 17);
    index->bytes = rows_int64(rows, row, 18);
    index->column_count = (int)rows_int64(rows, row, 19);
}

static void read_index_column(const struct rows *rows, int row, struct arena *arena,
                              struct table_index_column *column)
{
    column->number = (int)rows_int64(rows, row, 21);
    column->name = arena_copy(arena, rows_text(rows, row, 22));
    column->equal = arena_copy(arena, rows_text(rows, row, 23));
    column->less = arena_copy(arena, rows_text(rows, row, 24));
    column->opclass = arena_copy(arena, rows_text(rows, row, 25));
    column->collation = arena_copy(arena, rows_text(rows, row, 26));
    column->collation_version_changed = rows_bool(rows, row, 27);
    column->descending = rows_bool(rows, row, 28);
}

static bool read_indexes(struct session *session, struct arena *arena, struct table *table,
                         struct error *error)
{
    bool since_15 = session_server_version(session) >= 150000;
    struct table_index *index = NULL;
    TEXT_AUTO sql = {0};
    ROWS_AUTO rows = {0};

    sql_expand(
        &sql, INDEXES_SQL,
        SQL_NAMES(
            {"nulls_not_distinct", sql_fragment(since_15 ? "i.indnullsnotdistinct" : "false")},
            {"default_changed", sql_fragment(since_15 ? DEFAULT_COLLATION_CHANGED_SQL : "false")}));
    /* Room for more than there are indexes: a row per key column. */
    table->indexes =
        read_list(session, &rows, text_string(&sql), table, arena, sizeof(*table->indexes), error);
    if (table->indexes == NULL)
        return false;
    for (int row = 0; row < rows_count(&rows); row++) {
        int position = (int)rows_int64(&rows, row, 20);

        if (position == 0) {
            index = &table->indexes[table->index_count++];
            read_index(&rows, row, arena, index);
            if (!rows_bool(&rows, row, 3))
                return error_set(error, ERROR_INTERNAL,
                                 "could not take apart the definition of index %s", index->name);
        }
        if (index == NULL || position >= TABLE_KEY_COLUMNS_MAX)
            return error_set(error, ERROR_INTERNAL, "index %s has more than %d key columns",
                             rows_text(&rows, row, 1), TABLE_KEY_COLUMNS_MAX);
        read_index_column(&rows, row, arena, &index->columns[position]);
    }
    return true;
}

static bool read_constraints(struct session *session, struct arena *arena, struct table *table,
                             struct error *error)
{
    ROWS_AUTO rows = {0};

    table->constraints = read_list(session, &rows, CONSTRAINTS_SQL, table, arena,
                                   sizeof(*table->constraints), error);
    if (table->constraints == NULL)
        return false;
    table->constraint_count = rows_count(&rows);
    for (int row = 0; row < table->constraint_count; row++) {
        struct table_constraint *constraint = &table->constraints[row];

        constraint->name = arena_copy(arena, rows_text(&rows, row, 0));
        constraint->type = rows_char(&rows, row, 1);
        constraint->definition = arena_copy(arena, rows_text(&rows, row, 2));
        constraint->validated = rows_bool(&rows, row, 3);
    }
    return true;
}

bool table_describe(struct session *session, uint32_t oid, struct arena *arena,
                    struct table **described, struct error *error)
{
    struct table *table = arena_alloc(arena, sizeof(*table));

    *described = NULL;
    table->oid = oid;
    if (!read_class(session, arena, table, error) || !read_columns(session, arena, table, error) ||
        !read_indexes(session, arena, table, error) ||
        !read_constraints(session, arena, table, error))
        return false;
    *described = table;
    return true;
}

/* ----------------------------------------------------------------------------------------- ask */

const struct table_column *table_column_by_name(const struct table *table, const char *name)
{
    for (int i = 0; i < table->column_count; i++)
        if (strcmp(table->columns[i].name, name) == 0)
            return &table->columns[i];
    return NULL;
}

const struct table_column *table_column_by_number(const struct table *table, int number)
{
    for (int i = 0; i < table->column_count; i++)
        if (table->columns[i].number == number)
            return &table->columns[i];
    return NULL;
}
