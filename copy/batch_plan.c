/* The plan of a batch as JSON, and the tables that a job has beside the user's. */
#include <inttypes.h>
#include <stdio.h>

#include "copy/batch_parts.h"
#include "copy/fields.h"
#include "engine/job/schema.h"
#include "engine/pg/sql.h"

static const char *const ACTIONS[] = {
    [BATCH_UPDATE] = "update", [BATCH_DELETE] = "delete", [BATCH_STATEMENT] = "statement", NULL};
static const char *const UNDOS[] = {
    [BATCH_UNDO_NONE] = "none", [BATCH_UNDO_SAVED] = "saved", [BATCH_UNDO_SET] = "set", NULL};

static const struct field plan_key_column_FIELDS[] = {
    FIELD_OF(FIELD_STRING, plan_key_column, source),
    FIELD_OF(FIELD_STRING, plan_key_column, source_type),
    FIELD_OF(FIELD_STRING, plan_key_column, source_equal),
    FIELD_OF(FIELD_STRING, plan_key_column, operator_schema),
    {0},
};

static const struct field batch_column_FIELDS[] = {
    FIELD_OF(FIELD_STRING, batch_column, name),
    FIELD_OF(FIELD_STRING, batch_column, image),
    FIELD_OF(FIELD_STRING, batch_column, value),
    FIELD_OF(FIELD_STRING, batch_column, inverse),
    {0},
};

static const struct field PLAN_FIELDS[] = {
    FIELD_OF(FIELD_OID, batch_plan, table_oid),
    FIELD_OF(FIELD_STRING, batch_plan, schema),
    FIELD_OF(FIELD_STRING, batch_plan, table),
    FIELD_OF(FIELD_STRING, batch_plan, search_path),
    FIELD_CHOICE_OF(batch_plan, action, ACTIONS),
    FIELD_CHOICE_OF(batch_plan, undo, UNDOS),
    FIELD_LIST_OF(batch_plan, key, key_count, plan_key_column),
    FIELD_LIST_OF(batch_plan, columns, column_count, batch_column),
    FIELD_OF(FIELD_STRING, batch_plan, where),
    FIELD_OF(FIELD_STRING, batch_plan, statement),
    FIELD_OF(FIELD_STRING, batch_plan, statement_rest),
    FIELD_OF(FIELD_STRING, batch_plan, alias),
    FIELD_OF(FIELD_BOOL, batch_plan, varies),
    FIELD_OF(FIELD_BOOL, batch_plan, plain),
    FIELD_OF(FIELD_BOOL, batch_plan, strong),
    FIELD_OF(FIELD_BOOL, batch_plan, skip_triggers),
    FIELD_OF(FIELD_STRING, batch_plan, columns_seen),
    FIELD_OF(FIELD_NUMBER, batch_plan, row_estimate),
    FIELD_OF(FIELD_NUMBER, batch_plan, table_bytes),
    FIELD_OF(FIELD_NUMBER, batch_plan, row_wal_bytes),
    {0},
};

void batch_plan_deinit(struct batch_plan *plan)
{
    arena_deinit(&plan->arena);
    *plan = (struct batch_plan){0};
}

void batch_plan_to_json(const struct batch_plan *plan, struct text *json)
{
    fields_to_json(PLAN_FIELDS, plan, json);
}

bool batch_plan_from_json(const char *json, struct batch_plan *plan, struct error *error)
{
    *plan = (struct batch_plan){0};
    return fields_from_json(json, PLAN_FIELDS, &plan->arena, plan, error);
}

/* -------------------------------------------------------------------------------------- tables */

/* One element for each column, in which {c} is its name and {n} its number. */
static void append_list(struct text *out, const char *element, const char *name, int number)
{
    char text[16];

    snprintf(text, sizeof(text), "%d", number);
    text_append(out, number > 1 ? ", " : "");
    sql_expand(out, element, SQL_NAMES({"c", sql_ident(name)}, {"n", sql_fragment(text)}));
}

void batch_list_names(const struct batch_plan *plan, const char *key_element,
                      const char *column_element, struct text *out)
{
    for (int i = 0; i < plan->key_count; i++)
        append_list(out, key_element, plan->key[i].source, i + 1);
    for (int i = 0; column_element != NULL && i < plan->column_count; i++) {
        text_append(out, i == 0 ? ", " : "");
        append_list(out, column_element, plan->columns[i].name, i + 1);
    }
}

static bool create_one(struct run *run, const struct batch_plan *plan, const char *prefix,
                       const char *list, const char *more, struct error *error)
{
    TEXT_AUTO name = {0};
    TEXT_AUTO sql = {0};

    text_appendf(&name, "pghaul.%s_%" PRId64, prefix, run->job.id);
    sql_expand(&sql, "CREATE TABLE {name} AS SELECT {list} FROM ONLY {table} WITH NO DATA{more}",
               SQL_NAMES({"name", sql_fragment(text_string(&name))}, {"list", sql_fragment(list)},
                         {"table", sql_table(plan->schema, plan->table)},
                         {"more", sql_fragment(more)}));
    return run_ddl(run, text_string(&sql), error) &&
           schema_strip_privileges(run->session, "TABLE", text_string(&name), error);
}

static bool create_todo(struct run *run, const struct batch_plan *plan, struct error *error)
{
    TEXT_AUTO keys = {0};
    TEXT_AUTO names = {0};
    TEXT_AUTO primary = {0};

    batch_list_names(plan, "{c} AS k{n}", NULL, &keys);
    batch_list_names(plan, "k{n}", NULL, &names);
    text_appendf(&primary, ";\nALTER TABLE pghaul.todo_%" PRId64 " ADD PRIMARY KEY (%s)",
                 run->job.id, text_string(&names));
    return create_one(run, plan, "todo", text_string(&keys), text_string(&primary), error);
}

bool batch_create(struct run *run, const struct batch_plan *plan, struct error *error)
{
    TEXT_AUTO saved = {0};
    TEXT_AUTO skipped = {0};

    batch_list_names(plan, "{c} AS k{n}", NULL, &skipped);
    text_append(&skipped, ", ''::text AS sqlstate, ''::text AS message");
    batch_list_names(plan, "{c} AS k{n}",
                     plan->action == BATCH_UPDATE ? "{c} AS o{n}, {c} AS n{n}" : "{c} AS o{n}",
                     &saved);
    return create_todo(run, plan, error) &&
           create_one(run, plan, "skipped", text_string(&skipped), "", error) &&
           (plan->undo != BATCH_UNDO_SAVED ||
            create_one(run, plan, "undo", text_string(&saved), "", error));
}

/*
 * Todo may hold keys of a backfill that did not end: those rows were never written, so nothing of
 * them is to be restored.
 */
bool batch_begin_back(struct run *run, const struct batch_plan *plan, struct error *error)
{
    TEXT_AUTO names = {0};
    TEXT_AUTO sql = {0};

    batch_drop_sql(run->job.id, false, &sql);
    if (plan->undo == BATCH_UNDO_SAVED) {
        batch_list_names(plan, "k{n}", NULL, &names);
        text_appendf(&sql,
                     "ALTER TABLE pghaul.undo_%" PRId64 " ADD PRIMARY KEY (%s);\n"
                     "ANALYZE pghaul.undo_%" PRId64,
                     run->job.id, text_string(&names), run->job.id);
    }
    return run_ddl(run, text_string(&sql), error) && create_todo(run, plan, error);
}

void batch_drop_sql(int64_t job, bool all, struct text *sql)
{
    text_appendf(sql, "DROP TABLE IF EXISTS pghaul.todo_%" PRId64 ";\n", job);
    if (all)
        text_appendf(sql,
                     "DROP TABLE IF EXISTS pghaul.undo_%" PRId64 ";\n"
                     "DROP TABLE IF EXISTS pghaul.skipped_%" PRId64 ";\n",
                     job, job);
}
