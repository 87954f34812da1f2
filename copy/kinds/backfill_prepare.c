#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "copy/expression.h"
#include "copy/kinds/backfill_parts.h"
#include "copy/lock.h"
#include "engine/pg/identifier.h"
#include "engine/pg/sql.h"

/* ----------------------------------------------------------------------------------- what to do */

static bool check_options(const struct backfill_options *options, struct error *error)
{
    int ways = (options->set_count > 0) + options->delete_rows + (options->statement != NULL);

    if (ways != 1) {
        error_set(error, ERROR_USAGE,
                  "say one thing to do: --set 'column = expression', --delete, or --sql-file");
        return error_hint(error, "pghaul backfill --help shows all three");
    }
    if (options->statement != NULL &&
        (options->where != NULL || options->save || options->undo_set_count > 0)) {
        error_set(error, ERROR_USAGE, "--sql-file goes with neither --where nor an undo");
        return error_hint(error,
                          "what it does is not known; the condition stands in the statement");
    }
    if (options->delete_rows && options->where == NULL) {
        error_set(error, ERROR_USAGE, "--delete needs --where");
        return error_hint(error, "--where true deletes every row; TRUNCATE does it at once");
    }
    if (options->save && options->undo_set_count > 0)
        return error_set(error, ERROR_USAGE, "--undo saved and --undo-set exclude each other");
    if (options->undo_set_count > 0 && options->settings.errors == ERRORS_SKIP) {
        error_set(error, ERROR_USAGE, "--undo-set and errors=skip exclude each other");
        return error_hint(error, "the inverse goes over every row, also those that were left");
    }
    if (options->undo_set_count > 0 && (options->where != NULL || options->delete_rows)) {
        error_set(error, ERROR_USAGE, "--undo-set goes back over every row of the table");
        return error_hint(error, "with --where, or --delete, use --undo saved");
    }
    return true;
}

/* The table's key, or the one that -s key=.. names. */
static bool find_key(struct preparation *prep, struct error *error)
{
    const char *typed = prep->options->settings.key;
    const char *columns[TABLE_KEY_COLUMNS_MAX];
    TEXT_AUTO why_not = {0};
    int count;

    prep->key = table_key(prep->table, NULL);
    if (typed[0] == '\0')
        return true;
    count = identifier_list(typed, columns, TABLE_KEY_COLUMNS_MAX, &prep->arena);
    if (count < 0) {
        error_set(error, ERROR_USAGE, "setting key cannot be \"%s\"", typed);
        return error_hint(error, "it is a list of columns, as in -s key=region,id");
    }
    prep->key = table_key_on(prep->table, columns, count, &why_not);
    if (prep->key != NULL)
        return true;
    error_set(error, ERROR_REFUSED, "%s cannot be walked by (%s): %s", prep->options->table, typed,
              text_string(&why_not));
    return error_hint(error, "a key is a btree index that is unique, valid, not partial, not "
                             "deferrable, over NOT NULL columns");
}

static bool find_table(struct preparation *prep, struct error *error)
{
    struct session *session = prep->run->session;
    TEXT_AUTO name = {0};
    uint32_t oid;

    if (!inspect_server(session, &prep->findings, error) ||
        !table_find(session, prep->options->table, session_user_search_path(session), &oid,
                    error) ||
        !table_describe(session, oid, &prep->arena, &prep->table, error) ||
        !inspect_rows(session, prep->table, prep->options->delete_rows, &prep->findings, error) ||
        !findings_refuse(&prep->findings, prep->options->table, error))
        return false;
    sql_append(&name, sql_table(prep->table->schema, prep->table->name));
    prep->qualified = arena_copy(&prep->arena, text_string(&name));
    return find_key(prep, error);
}

static bool image_type(struct preparation *prep, const struct table_column *column,
                       const char **image, bool *string, struct error *error)
{
    return batch_image_type(prep->run->session, prep->table->oid, column->number,
                            &prep->plan->arena, image, string, error);
}

static bool is_key_column(const struct preparation *prep, const char *name)
{
    for (int i = 0; i < prep->plan->key_count; i++)
        if (strcmp(prep->plan->key[i].source, name) == 0)
            return true;
    return false;
}

static bool print(struct preparation *prep, const char *what, const char *text,
                  struct expression *printed, struct error *error)
{
    struct expression_source source = {prep->qualified, prep->plan->search_path, what};

    return expression_print(prep->run->session, &source, text, &prep->plan->arena, printed, error);
}

/* One --set into the next column of the plan. */
static bool plan_set(struct preparation *prep, const char *set, struct error *error)
{
    struct batch_plan *plan = prep->plan;
    const struct table_column *column;
    struct assignment assignment;
    struct expression value;
    const char *image;
    bool string;

    if (!assignment_parse(set, &prep->arena, &assignment, error))
        return false;
    column = table_column_by_name(prep->table, assignment.column);
    if (column == NULL) {
        error_set(error, ERROR_REFUSED, "--set: there is no column \"%s\"", assignment.column);
        return error_hint(error,
                          "a name with capitals or signs stands in double quotes, as in SQL");
    }
    if (is_key_column(prep, column->name)) {
        error_set(error, ERROR_REFUSED,
                  "--set: column %s is part of the key that rows are found by", column->name);
        return error_hint(error, "-s key=COLUMNS walks by another unique index");
    }
    for (int i = 0; i < plan->column_count; i++)
        if (strcmp(plan->columns[i].name, column->name) == 0)
            return error_set(error, ERROR_USAGE, "--set: column %s is set twice", column->name);
    if (!image_type(prep, column, &image, &string, error) ||
        !print(prep, arena_format(&prep->arena, "--set %s", column->name), assignment.expression,
               &value, error))
        return false;
    plan->varies = plan->varies || value.varies;
    prep->beyond_row = prep->beyond_row || !value.of_row;
    plan->columns[plan->column_count++] =
        (struct batch_column){.name = arena_copy(&plan->arena, column->name),
                              .image = image,
                              .value = batch_value(&plan->arena, value.sql, image, string)};
    return true;
}

static bool plan_undo_set(struct preparation *prep, const char *set, struct error *error)
{
    struct batch_plan *plan = prep->plan;
    struct assignment assignment;
    struct expression value;
    const char *image;
    bool string;

    if (!assignment_parse(set, &prep->arena, &assignment, error))
        return false;
    for (int i = 0; i < plan->column_count; i++) {
        if (strcmp(plan->columns[i].name, assignment.column) != 0)
            continue;
        if (!print(prep, arena_format(&prep->arena, "--undo-set %s", assignment.column),
                   assignment.expression, &value, error))
            return false;
        if (!image_type(prep, table_column_by_name(prep->table, assignment.column), &image, &string,
                        error))
            return false;
        plan->columns[i].inverse = batch_value(&plan->arena, value.sql, image, string);
        return true;
    }
    return error_set(error, ERROR_USAGE, "--undo-set: column %s is not set", assignment.column);
}

/* A delete that saves its rows: all that an INSERT can give. */
static bool plan_saved_columns(struct preparation *prep, struct error *error)
{
    struct batch_plan *plan = prep->plan;

    for (int i = 0; i < prep->table->column_count; i++) {
        const struct table_column *column = &prep->table->columns[i];
        const char *image;
        bool string;

        if (column->generated)
            continue;
        if (!image_type(prep, column, &image, &string, error))
            return false;
        plan->columns[plan->column_count++] =
            (struct batch_column){.name = arena_copy(&plan->arena, column->name), .image = image};
    }
    return true;
}

/* "UPDATE t AS u SET .. WHERE :range(u) AND .." in two parts around the range. */
static bool plan_statement(struct preparation *prep, struct error *error)
{
    static const char RANGE[] = ":range(";
    struct batch_plan *plan = prep->plan;
    const char *text = prep->options->statement;
    const char *at = strstr(text, RANGE);
    const char *name = at == NULL ? NULL : at + strlen(RANGE);
    const char *alias = name == NULL ? NULL : identifier_read(&name, &prep->arena);
    TEXT_AUTO quoted = {0};
    size_t end = strlen(text);

    if (alias == NULL || *name != ')' || strstr(name, RANGE) != NULL) {
        error_set(error, ERROR_USAGE, "the statement must have :range(ALIAS) exactly once");
        return error_hint(error,
                          "as in UPDATE %s AS u SET .. WHERE :range(u); the keys of a chunk take "
                          "its place",
                          prep->options->table);
    }
    while (end > 0 && strchr("; \t\r\n", text[end - 1]) != NULL)
        end--;
    sql_append(&quoted, sql_ident(alias));
    plan->statement = arena_format(&plan->arena, "%.*s", (int)(at - text), text);
    plan->statement_rest =
        arena_format(&plan->arena, "%.*s", (int)(text + end - (name + 1)), name + 1);
    plan->alias = arena_copy(&plan->arena, text_string(&quoted));
    return true;
}

static bool plan_columns(struct preparation *prep, struct error *error)
{
    const struct backfill_options *options = prep->options;
    struct batch_plan *plan = prep->plan;
    int most = options->set_count + prep->table->column_count;

    plan->columns = arena_alloc(&plan->arena, sizeof(*plan->columns) * (size_t)(most + 1));
    for (int i = 0; i < options->set_count; i++)
        if (!plan_set(prep, options->sets[i], error))
            return false;
    for (int i = 0; i < options->undo_set_count; i++)
        if (!plan_undo_set(prep, options->undo_sets[i], error))
            return false;
    for (int i = 0; options->undo_set_count > 0 && i < plan->column_count; i++)
        if (plan->columns[i].inverse == NULL)
            return error_set(error, ERROR_USAGE, "--undo-set: what does %s go back to?",
                             plan->columns[i].name);
    return !options->delete_rows || !options->save || plan_saved_columns(prep, error);
}

static bool plan_where(struct preparation *prep, struct error *error)
{
    struct expression where;
    TEXT_AUTO condition = {0};

    if (prep->options->where == NULL)
        return true;
    /* AND takes nothing but a boolean; a cast would take numbers, too. */
    text_appendf(&condition, "(%s\n) AND true", prep->options->where);
    if (!print(prep, "--where", text_string(&condition), &where, error))
        return false;
    prep->plan->where = where.sql;
    prep->beyond_row = prep->beyond_row || !where.of_row || where.varies;
    return true;
}

static bool make_plan(struct preparation *prep, struct error *error)
{
    const struct backfill_options *options = prep->options;
    struct session *session = prep->run->session;
    struct batch_plan *plan = prep->plan;
    TEXT_AUTO seen = {0};

    plan->action = options->delete_rows         ? BATCH_DELETE
                   : options->statement != NULL ? BATCH_STATEMENT
                                                : BATCH_UPDATE;
    plan->undo = options->save                 ? BATCH_UNDO_SAVED
                 : options->undo_set_count > 0 ? BATCH_UNDO_SET
                                               : BATCH_UNDO_NONE;
    plan->skip_triggers = options->settings.triggers == TRIGGERS_SKIP;
    if (!batch_plan_table(session, prep->table, prep->key, plan, error) ||
        (options->statement != NULL && !plan_statement(prep, error)) ||
        !plan_columns(prep, error) || !plan_where(prep, error) ||
        !batch_look(session, plan, &seen, error))
        return false;
    plan->columns_seen = arena_copy(&plan->arena, text_string(&seen));
    plan->strong = batch_is_strong(prep->table, plan);
    return batch_plan_plain(session, prep->table, prep->beyond_row, plan, error);
}

/* ----------------------------------------------------------------------------------- start a job
 */

static json_t *strings(const char *const *values, int count)
{
    json_t *array = json_array();

    for (int i = 0; i < count; i++)
        json_array_append_new(array, json_string(values[i]));
    return array;
}

static void describe_spec(const struct backfill_options *options, struct text *out)
{
    json_t *spec = json_pack("{s:s, s:o, s:o, s:b, s:b}", "table", options->table, "set",
                             strings(options->sets, options->set_count), "undo_set",
                             strings(options->undo_sets, options->undo_set_count), "delete",
                             options->delete_rows, "undo_saved", options->save);
    char *dumped;

    if (options->where != NULL)
        json_object_set_new(spec, "where", json_string(options->where));
    if (options->statement != NULL)
        json_object_set_new(spec, "sql", json_string(options->statement));
    dumped = json_dumps(spec, JSON_COMPACT);
    text_append(out, dumped);
    free(dumped);
    json_decref(spec);
}

static void fill_job(struct preparation *prep)
{
    struct job *job = &prep->run->job;
    const struct batch_plan *plan = prep->plan;
    TEXT_AUTO spec = {0};
    TEXT_AUTO json = {0};

    describe_spec(prep->options, &spec);
    batch_plan_to_json(plan, &json);
    job->name = arena_copy(&job->arena, prep->options->job_name);
    job->kind = "backfill";
    job->table_schema = arena_copy(&job->arena, plan->schema);
    job->table_name = arena_copy(&job->arena, plan->table);
    job->source_oid = plan->table_oid;
    job->spec = arena_copy(&job->arena, text_string(&spec));
    job->plan = arena_copy(&job->arena, text_string(&json));
    job->rows_total = plan->row_estimate;
    job->settings = prep->options->settings;
}

bool backfill_prepare(struct run *run, const struct backfill_options *options,
                      struct report *report, struct error *error)
{
    struct preparation prep = {.run = run, .options = options};
    bool ok;

    *report = (struct report){0};
    if (!check_options(options, error))
        return false;
    backfill_kind.unload(run);
    run->kind_state = prep.plan = memory_zero(1, sizeof(struct batch_plan));
    ok = lock_check_settings(run->session, &options->settings, error) && find_table(&prep, error) &&
         session_begin(run->session, error) && make_plan(&prep, error) &&
         batch_try(run, prep.plan, &options->settings, &prep.trial, error);
    session_rollback(run->session);
    ok = ok && backfill_report(&prep, report, error);
    if (ok) {
        backfill_describe(run, report);
        fill_job(&prep);
    }
    findings_deinit(&prep.findings);
    arena_deinit(&prep.arena);
    return ok;
}

static void leave_by_sql(struct run *run, struct text *sql)
{
    batch_drop_sql(run->job.id, true, sql);
    job_end_sql(run->job.id, sql);
}

bool backfill_store(struct run *run, struct error *error)
{
    return phases_store(run, &backfill_kind, leave_by_sql, error);
}
