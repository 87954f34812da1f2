#include "copy/twin_parts.h"

#include <string.h>

enum { NAME_BYTES = 64 }; /* NAMEDATALEN: the server cuts a name that is not shorter */

/* ---------------------------------------------------------------------------------------- fields
 */

static const struct field grant_FIELDS[] = {
    FIELD_OF(FIELD_STRING, grant, grantor),
    FIELD_OF(FIELD_STRING, grant, privileges),
    FIELD_OF(FIELD_STRING, grant, grantee),
    FIELD_OF(FIELD_BOOL, grant, grant_option),
    {0},
};

static const struct field twin_index_FIELDS[] = {
    FIELD_OF(FIELD_STRING, twin_index, name),
    FIELD_OF(FIELD_STRING, twin_index, twin_name),
    FIELD_OF(FIELD_STRING, twin_index, tail),
    FIELD_OF(FIELD_BOOL, twin_index, unique),
    FIELD_OF(FIELD_LETTER, twin_index, constraint_type),
    FIELD_OF(FIELD_STRING, twin_index, constraint),
    FIELD_OF(FIELD_BOOL, twin_index, nulls_not_distinct),
    FIELD_OF(FIELD_BOOL, twin_index, replica_identity),
    FIELD_OF(FIELD_BOOL, twin_index, clustered),
    FIELD_OF(FIELD_STRING, twin_index, comment),
    FIELD_OF(FIELD_STRING, twin_index, constraint_comment),
    FIELD_OF(FIELD_STRING, twin_index, statistics_sql),
    {0},
};

static const struct field twin_constraint_FIELDS[] = {
    FIELD_OF(FIELD_LETTER, twin_constraint, type),
    FIELD_OF(FIELD_BOOL, twin_constraint, outgoing),
    FIELD_OF(FIELD_BOOL, twin_constraint, incoming),
    FIELD_OF(FIELD_BOOL, twin_constraint, self),
    FIELD_OF(FIELD_OID, twin_constraint, table_oid),
    FIELD_OF(FIELD_STRING, twin_constraint, schema),
    FIELD_OF(FIELD_STRING, twin_constraint, table),
    FIELD_OF(FIELD_STRING, twin_constraint, name),
    FIELD_OF(FIELD_STRING, twin_constraint, twin_name),
    FIELD_OF(FIELD_STRING, twin_constraint, definition),
    FIELD_OF(FIELD_STRING, twin_constraint, restore),
    FIELD_OF(FIELD_BOOL, twin_constraint, validated),
    FIELD_OF(FIELD_BOOL, twin_constraint, enforced),
    FIELD_OF(FIELD_STRING, twin_constraint, other),
    FIELD_OF(FIELD_STRING, twin_constraint, comment),
    {0},
};

static const struct field twin_statistics_FIELDS[] = {
    FIELD_OF(FIELD_STRING, twin_statistics, schema),
    FIELD_OF(FIELD_STRING, twin_statistics, name),
    FIELD_OF(FIELD_STRING, twin_statistics, twin_name),
    FIELD_OF(FIELD_STRING, twin_statistics, definition),
    FIELD_OF(FIELD_NUMBER, twin_statistics, target),
    FIELD_OF(FIELD_STRING, twin_statistics, comment),
    {0},
};

const struct field twin_FIELDS[] = {
    FIELD_OF(FIELD_STRING, twin, old_type),
    FIELD_OF(FIELD_STRING, twin, old_collation),
    FIELD_OF(FIELD_STRING, twin, type),
    FIELD_OF(FIELD_STRING, twin, collation),
    FIELD_OF(FIELD_STRING, twin, old_default_sql),
    FIELD_OF(FIELD_STRING, twin, default_sql),
    FIELD_OF(FIELD_BOOL, twin, not_null),
    FIELD_OF(FIELD_STRING, twin, not_null_name),
    FIELD_OF(FIELD_STRING, twin, not_null_comment),
    FIELD_OF(FIELD_LETTER, twin, identity),
    FIELD_OF(FIELD_STRING, twin, sequence),
    FIELD_OF(FIELD_BOOL, twin, sequence_is_serial),
    FIELD_OF(FIELD_STRING, twin, comment),
    FIELD_OF(FIELD_LETTER, twin, storage),
    FIELD_OF(FIELD_LETTER, twin, compression),
    FIELD_OF(FIELD_NUMBER, twin, statistics_target),
    FIELD_OF(FIELD_STRING, twin, options),
    FIELD_OF(FIELD_STRING, twin, grants_role),
    FIELD_LIST_OF(twin, grants, grant_count, grant),
    FIELD_LIST_OF(twin, indexes, index_count, twin_index),
    FIELD_LIST_OF(twin, constraints, constraint_count, twin_constraint),
    FIELD_LIST_OF(twin, statistics, statistics_count, twin_statistics),
    {0},
};

/* ----------------------------------------------------------------------------------------- parts
 */

const char *twin_object_name(struct arena *arena, const char *prefix, int number)
{
    return arena_format(arena, "%s_%d", prefix, number);
}

const char *twin_next_name(struct twin_reading *reading, struct error *error)
{
    const char *name = twin_object_name(reading->arena, reading->prefix, ++reading->number);

    if (strlen(name) < NAME_BYTES)
        return name;
    error_set(error, ERROR_INTERNAL, "the name %s is too long", name);
    return NULL;
}

/* Without what it ends with, in place. */
static void cut_end(char *text, const char *end)
{
    size_t length = strlen(text);
    size_t end_length = strlen(end);

    if (length >= end_length && strcmp(text + length - end_length, end) == 0)
        text[length - end_length] = '\0';
}

const char *twin_not_valid(struct arena *arena, const char *definition, bool enforced)
{
    char *bare = arena_copy(arena, definition);

    cut_end(bare, " NOT VALID");
    cut_end(bare, " NOT ENFORCED");
    return arena_format(arena, "%s%s", bare, enforced ? " NOT VALID" : " NOT ENFORCED");
}

char twin_letter(const struct rows *rows, int row, int column)
{
    const char *text = rows_text(rows, row, column);

    return text == NULL ? '\0' : text[0];
}

/* One statement, no more: so the extended protocol. */
bool twin_try(struct twin_reading *reading, const struct text *sql, struct error *error)
{
    if (session_execute(reading->session, text_string(sql), NO_PARAMS, NULL, error))
        return true;
    return error_refuse(error, "it was tried on an empty copy; nothing was changed");
}

/* ---------------------------------------------------------------------------------------- column
 */

/*
 * What the description of a table leaves out of column $2 of table $1; storage and compression are
 * those of column $4 of its clone $3, which differ where the type does. A letter is only given
 * where it is not what the type has by itself. pg_attver: see attached_compare.c. contype 'n' of a
 * table does not occur before 18.
 */
static const char COLUMN[] =
    "SELECT col_description(a.attrelid, a.attnum),\n"
    "       coalesce(a.attstattarget, -1),\n"
    "       (SELECT string_agg(format('%I=%L', split_part(o, '=', 1), substr(o, strpos(o, '=') +\n"
    "            1)), ', ')\n"
    "          FROM unnest(a.attoptions) AS o WHERE NOT starts_with(o, 'pg_attver=')),\n"
    "       CASE WHEN b.attstorage <> t.typstorage THEN b.attstorage END,\n"
    "       b.attcompression,\n"
    "       k.conname, obj_description(k.oid, 'pg_constraint'),\n"
    "       EXISTS (SELECT FROM pg_attrdef AS d\n"
    "                 JOIN pg_depend AS uses ON uses.classid = 'pg_attrdef'::regclass\n"
    "                  AND uses.objid = d.oid AND uses.refclassid = 'pg_class'::regclass\n"
    "                 JOIN pg_depend AS owned ON owned.classid = 'pg_class'::regclass\n"
    "                  AND owned.objid = uses.refobjid AND owned.deptype = 'a'\n"
    "                  AND owned.refclassid = 'pg_class'::regclass\n"
    "                  AND owned.refobjid = a.attrelid AND owned.refobjsubid = a.attnum\n"
    "                 JOIN pg_class AS s ON s.oid = owned.objid AND s.relkind = 'S'\n"
    "                WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum)\n"
    "  FROM pg_attribute AS a\n"
    "  JOIN pg_attribute AS b ON b.attrelid = $3::oid AND b.attname = $4\n"
    "  JOIN pg_type AS t ON t.oid = b.atttypid\n"
    "  LEFT JOIN pg_constraint AS k ON k.conrelid = a.attrelid AND k.contype = 'n'\n"
    "         AND k.conkey[1] = a.attnum\n"
    " WHERE a.attrelid = $1::oid AND a.attname = $2";

static bool read_column(struct twin_reading *reading, struct error *error)
{
    const struct table_column *column = reading->column;
    const struct table_column *cloned = table_column_by_name(reading->clone, reading->name);
    struct arena *arena = reading->arena;
    struct twin *twin = reading->twin;
    ROWS_AUTO rows = {0};

    if (!session_query(reading->session, &rows, COLUMN,
                       PARAMS(NUMBER(reading->table->oid), column->name,
                              NUMBER(reading->clone->oid), reading->name),
                       error))
        return false;
    if (rows_count(&rows) != 1)
        return error_set(error, ERROR_INTERNAL, "column %s is not there", column->name);
    twin->old_type = arena_copy(arena, column->type);
    twin->old_collation = arena_copy(arena, column->collation);
    twin->type = cloned->type;
    twin->collation = cloned->collation;
    twin->old_default_sql = arena_copy(arena, column->default_sql);
    twin->default_sql = cloned->default_sql;
    twin->not_null = column->not_null;
    twin->identity = column->identity;
    twin->sequence = arena_copy(arena, column->sequence);
    twin->comment = arena_copy(arena, rows_text(&rows, 0, 0));
    twin->statistics_target = rows_int64(&rows, 0, 1);
    twin->options = arena_copy(arena, rows_text(&rows, 0, 2));
    twin->storage = twin_letter(&rows, 0, 3);
    twin->compression = twin_letter(&rows, 0, 4);
    twin->not_null_name = arena_copy(arena, rows_text(&rows, 0, 5));
    twin->not_null_comment = arena_copy(arena, rows_text(&rows, 0, 6));
    twin->sequence_is_serial = rows_bool(&rows, 0, 7);
    return true;
}

static bool read_grants(struct twin_reading *reading, struct error *error)
{
    struct grants grants;

    if (!grants_read_column(reading->session, reading->table->oid, reading->column->name,
                            reading->name, reading->arena, &grants, error))
        return false;
    reading->twin->grants_role = grants.role;
    reading->twin->grants = grants.items;
    reading->twin->grant_count = grants.count;
    return true;
}

/* ------------------------------------------------------------------------------------------ read
 */

/* Both names are as the catalogue has them: no longer than it keeps. */
static bool check_names(const struct twin_reading *reading, const char *column, struct error *error)
{
    const struct table *table = reading->table;

    if (reading->column == NULL)
        return error_set(error, ERROR_REFUSED, "%s.%s has no column %s", table->schema, table->name,
                         column);
    if (strlen(reading->name) >= NAME_BYTES || reading->name[0] == '\0')
        return error_set(error, ERROR_REFUSED, "\"%s\" is no name: it has %zu bytes, of at most %d",
                         reading->name, strlen(reading->name), NAME_BYTES - 1);
    if (table_column_by_name(table, reading->name) == NULL)
        return true;
    return error_set(error, ERROR_REFUSED, "%s.%s has a column %s already", table->schema,
                     table->name, reading->name);
}

bool twin_read(struct run *run, const struct table *table, const char *column,
               const char *twin_column, const char *type, const char *prefix, struct arena *arena,
               struct twin *twin, struct error *error)
{
    struct twin_reading reading = {
        .session = run->session,
        .table = table,
        .column = table_column_by_name(table, column),
        .name = twin_column,
        .type = type,
        .prefix = prefix,
        .arena = arena,
        .twin = twin,
    };

    return check_names(&reading, column, error) &&
           session_set(run->session, "search_path", "pg_catalog, pg_temp", true, error) &&
           twin_check(&reading, error) && twin_clone(&reading, error) &&
           twin_check_type(&reading, error) && read_column(&reading, error) &&
           read_grants(&reading, error) && twin_keys(&reading, error);
}

/* ------------------------------------------------------------------------------------------- sql
 */

static const char *storage_word(char letter)
{
    switch (letter) {
    case 'p':
        return "PLAIN";
    case 'e':
        return "EXTERNAL";
    case 'm':
        return "MAIN";
    default:
        return "EXTENDED";
    }
}

static void set_attribute(const struct table *table, const char *column, const char *set,
                          const char *value, struct text *sql)
{
    sql_expand(sql, "ALTER TABLE {table} ALTER COLUMN {column} SET {set}{value};\n",
               SQL_NAMES({"table", sql_table(table->schema, table->name)},
                         {"column", sql_ident(column)}, {"set", sql_fragment(set)},
                         {"value", sql_fragment(value)}));
}

void twin_expand_sql(const struct table *table, const char *twin_column, const struct twin *twin,
                     struct text *sql)
{
    TEXT_AUTO collate = {0};
    TEXT_AUTO options = {0};

    if (twin->collation != NULL)
        text_appendf(&collate, " COLLATE %s", twin->collation);
    sql_expand(sql, "ALTER TABLE {table} ADD COLUMN {column} {type}{collate};\n",
               SQL_NAMES({"table", sql_table(table->schema, table->name)},
                         {"column", sql_ident(twin_column)}, {"type", sql_fragment(twin->type)},
                         {"collate", sql_fragment(text_string(&collate))}));
    if (twin->storage != '\0')
        set_attribute(table, twin_column, "STORAGE ", storage_word(twin->storage), sql);
    if (twin->compression != '\0')
        set_attribute(table, twin_column, "COMPRESSION ", twin->compression == 'l' ? "lz4" : "pglz",
                      sql);
    if (twin->statistics_target >= 0)
        set_attribute(table, twin_column, "STATISTICS ", NUMBER(twin->statistics_target), sql);
    if (twin->options != NULL) {
        text_appendf(&options, "(%s)", twin->options);
        set_attribute(table, twin_column, "", text_string(&options), sql);
    }
}

void twin_decorate_sql(const struct table *table, const char *twin_column, const struct twin *twin,
                       struct text *sql)
{
    struct grants grants = {
        .role = twin->grants_role, .count = twin->grant_count, .items = twin->grants};

    if (twin->comment != NULL)
        sql_expand(sql, "COMMENT ON COLUMN {table}.{column} IS {comment};\n",
                   SQL_NAMES({"table", sql_table(table->schema, table->name)},
                             {"column", sql_ident(twin_column)},
                             {"comment", sql_literal(twin->comment)}));
    grants_sql(&grants, sql_table(table->schema, table->name), sql);
}
