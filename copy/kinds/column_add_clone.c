/* The definition on an empty temporary clone, which has the table's name, and what came of it. */
#include <string.h>

#include "copy/kinds/column_add_parts.h"
#include "engine/pg/sql.h"
#include "engine/pg/sqlstate.h"

/* The clone of the other table has that one's name, for messages; unless both have the same. */
static const char OTHER_CLONE[] = "pghaul_referenced";

static const char PINNED[] = "pg_catalog, pg_temp";
static const char EXAMPLE[] = "as in \"status text NOT NULL DEFAULT 'pending'\"";

static bool find_clone(struct column_add_preparation *prep, uint32_t *oid, int64_t *filenode,
                       struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(prep->run->session, &rows,
                       "SELECT oid, pg_catalog.pg_relation_filenode(oid) FROM pg_catalog.pg_class\n"
                       " WHERE relnamespace = pg_catalog.pg_my_temp_schema() AND relname = $1",
                       PARAMS(prep->table->name), error))
        return false;
    *oid = (uint32_t)rows_int64(&rows, 0, 0);
    *filenode = rows_int64(&rows, 0, 1);
    return true;
}

/* With what a foreign key needs: the other table, or the keys of the table itself. */
static bool make_clones(struct column_add_preparation *prep, const char *other, struct error *error)
{
    const struct addition_other *references = &prep->added.references;
    const struct table *table = prep->table;
    struct session *session = prep->run->session;
    bool self = references->name != NULL && references->sql == NULL;

    return session_set(session, "temp_tablespaces", "", true, error) &&
           (references->sql == NULL ||
            addition_clone(session, references->schema, references->name, other, true, error)) &&
           session_set(session, "search_path", PINNED, true, error) &&
           addition_clone(session, table->schema, table->name, table->name, self, error);
}

/* One statement, no more: so the extended protocol. */
static bool add_on_clone(struct column_add_preparation *prep, const char *other,
                         struct error *error)
{
    const struct definition *definition = &prep->definition;
    TEXT_AUTO sql = {0};

    sql_expand(&sql, "ALTER TABLE {table} ADD COLUMN {head}{other}{rest}",
               SQL_NAMES({"table", sql_table("pg_temp", prep->table->name)},
                         {"head", sql_fragment(definition->head)},
                         {"other", other == NULL ? sql_fragment("") : sql_table("pg_temp", other)},
                         {"rest", sql_fragment(definition->rest)}));
    return session_execute(prep->run->session, text_string(&sql), NO_PARAMS, NULL, error) ||
           error_refuse(error,
                        strcmp(error->sqlstate, SQLSTATE_SYNTAX_ERROR) == 0 ? EXAMPLE : NULL);
}

/* --------------------------------------------------------------------------------- what came of it
 */

/* $1 = clone, $2 = number of the column. The last two are NULL where there is none. */
static const char ATTRIBUTES[] =
    "SELECT a.atthasmissing,\n"
    "       concat_ws(', ',\n"
    "           CASE WHEN a.attstorage <> t.typstorage THEN\n"
    "               format('ALTER COLUMN %I SET STORAGE %s', a.attname, CASE a.attstorage\n"
    "                   WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN'\n"
    "                   ELSE 'EXTENDED' END) END,\n"
    "           CASE WHEN a.attcompression <> '' THEN\n"
    "               format('ALTER COLUMN %I SET COMPRESSION %s', a.attname, CASE a.attcompression\n"
    "                   WHEN 'l' THEN 'lz4' ELSE 'pglz' END) END),\n"
    "       (SELECT k.conname FROM pg_constraint AS k\n"
    "         WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum]),\n"
    "       (SELECT s.relname || ' ' || format_type(q.seqtypid, NULL) FROM pg_depend AS d\n"
    "          JOIN pg_sequence AS q ON q.seqrelid = d.objid JOIN pg_class AS s ON s.oid = "
    "d.objid\n"
    "         WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass\n"
    "           AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND d.deptype = 'a')\n"
    "  FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid\n"
    " WHERE a.attrelid = $1::oid AND a.attnum = $2::int2";

static bool read_attributes(struct column_add_preparation *prep, struct error *error)
{
    struct added_column *added = &prep->added;
    struct arena *arena = &prep->arena;
    ROWS_AUTO rows = {0};

    if (!session_query(prep->run->session, &rows, ATTRIBUTES,
                       PARAMS(NUMBER(added->clone->oid), NUMBER(added->column->number)), error))
        return false;
    added->constant = rows_bool(&rows, 0, 0);
    added->attributes = arena_copy(arena, rows_text(&rows, 0, 1));
    added->not_null_name = arena_copy(arena, rows_text(&rows, 0, 2));
    if (rows_text(&rows, 0, 3) != NULL) {
        char *sequence = arena_copy(arena, rows_text(&rows, 0, 3));
        char *space = strrchr(sequence, ' '); /* no name of an integer type has one */

        *space = '\0';
        added->sequence = sequence;
        added->sequence_type = space + 1;
    }
    return true;
}

/* $1 = clone, $2 and $3 = the other table. */
static const char CONSTRAINTS[] =
    "SELECT k.conname, k.contype,\n"
    "       CASE WHEN k.contype = 'c' THEN d.definition\n"
    "            ELSE replace(d.definition, 'REFERENCES ' || k.confrelid::regclass::text || '(',\n"
    "                         format('REFERENCES %I.%I(', $2::text, $3::text)) END\n"
    "       || CASE WHEN d.definition LIKE '% NOT ENFORCED' THEN '' ELSE ' NOT VALID' END\n"
    "  FROM pg_constraint AS k, LATERAL (SELECT pg_get_constraintdef(k.oid)) AS d(definition)\n"
    " WHERE k.conrelid = $1::oid AND k.contype IN ('c', 'f')\n"
    " ORDER BY k.contype, k.oid";

bool column_add_is_enforced(const struct constraint_spec *spec)
{
    static const char NOT_ENFORCED[] = " NOT ENFORCED";
    size_t length = strlen(spec->definition);

    return length < strlen(NOT_ENFORCED) ||
           strcmp(spec->definition + length - strlen(NOT_ENFORCED), NOT_ENFORCED) != 0;
}

static bool read_constraints(struct column_add_preparation *prep, struct error *error)
{
    struct column_add_plan *plan = prep->plan;
    const struct addition_other *references = &prep->added.references;
    ROWS_AUTO rows = {0};

    if (!session_query(prep->run->session, &rows, CONSTRAINTS,
                       PARAMS(NUMBER(prep->added.clone->oid), references->schema, references->name),
                       error))
        return false;
    plan->constraints =
        arena_alloc(&plan->arena, sizeof(*plan->constraints) * (size_t)(rows_count(&rows) + 1));
    for (int i = 0; i < rows_count(&rows); i++)
        plan->constraints[plan->constraint_count++] = (struct constraint_spec){
            .table_oid = plan->table_oid,
            .schema = plan->schema,
            .table = plan->table,
            .name = arena_copy(&plan->arena, rows_text(&rows, i, 0)),
            .type = rows_text(&rows, i, 1)[0],
            .definition = arena_copy(&plan->arena, rows_text(&rows, i, 2)),
            .other =
                rows_text(&rows, i, 1)[0] == 'f' ? arena_copy(&plan->arena, references->sql) : NULL,
        };
    return true;
}

static void attach(struct column_add_plan *plan, const struct table_index *index)
{
    TEXT_AUTO sql = {0};

    sql_expand(&sql, "ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}{defer}",
               SQL_NAMES({"table", sql_table(plan->schema, plan->table)},
                         {"name", sql_ident(index->name)},
                         {"defer", sql_fragment(index->immediate            ? ""
                                                : index->initially_deferred ? " DEFERRABLE "
                                                                              "INITIALLY DEFERRED"
                                                                            : " DEFERRABLE")}));
    plan->attach_sql[plan->attach_count++] = arena_copy(&plan->arena, text_string(&sql));
}

/* A constraint and its index have one name. */
static bool read_indexes(struct column_add_preparation *prep, struct error *error)
{
    struct column_add_plan *plan = prep->plan;
    const struct table *clone = prep->added.clone;
    size_t room = (size_t)clone->index_count + 1;

    plan->indexes = arena_alloc(&plan->arena, sizeof(*plan->indexes) * room);
    plan->attach_sql = arena_alloc(&plan->arena, sizeof(*plan->attach_sql) * room);
    for (int i = 0; i < clone->index_count; i++) {
        const struct table_index *index = &clone->indexes[i];

        if (index->columns[0].number != prep->added.column->number)
            continue;
        if (index->primary) {
            error_set(error, ERROR_REFUSED, "a primary key is more than a column");
            return error_hint(error, "add it UNIQUE and NOT NULL; then ALTER TABLE .. ADD PRIMARY "
                                     "KEY USING INDEX takes moments");
        }
        plan->indexes[plan->index_count++] = (struct index_spec){
            .table_oid = plan->table_oid,
            .schema = plan->schema,
            .table = plan->table,
            .name = arena_copy(&plan->arena, index->name),
            .tail = arena_copy(&plan->arena, index->tail),
            .unique = true,
        };
        attach(plan, index);
    }
    return true;
}

static bool describe_clone(struct column_add_preparation *prep, uint32_t oid, struct error *error)
{
    struct added_column *added = &prep->added;

    if (!table_describe(prep->run->session, oid, &prep->arena, &added->clone, error))
        return false;
    if (added->clone->column_count != prep->table->column_count + 1)
        return error_set(error, ERROR_REFUSED, "%s has that column already", prep->options->table);
    added->column = &added->clone->columns[added->clone->column_count - 1];
    prep->plan->column = arena_copy(&prep->plan->arena, added->column->name);
    return true;
}

bool column_add_read_clone(struct column_add_preparation *prep, struct error *error)
{
    struct added_column *added = &prep->added;
    struct session *session = prep->run->session;
    const char *other = NULL;
    int64_t before, after;
    uint32_t oid;

    if (prep->definition.other != NULL &&
        !addition_other(session, prep->definition.other, prep->table->oid, &prep->arena,
                        &added->references, error))
        return false;
    other = added->references.name;
    if (added->references.sql != NULL && strcmp(other, prep->table->name) == 0)
        other = OTHER_CLONE;
    if (!make_clones(prep, other, error) || !find_clone(prep, &oid, &before, error) ||
        !add_on_clone(prep, other, error) || !find_clone(prep, &oid, &after, error) ||
        !session_set(session, "search_path", PINNED, true, error) ||
        !describe_clone(prep, oid, error))
        return false;
    added->rewrites = before != after;
    return read_attributes(prep, error) && read_constraints(prep, error) &&
           read_indexes(prep, error);
}
