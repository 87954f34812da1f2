#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copy/actions.h"
#include "copy/attached.h"
#include "copy/expression.h"
#include "copy/kinds/alter_parts.h"
#include "copy/leave.h"
#include "copy/lock.h"
#include "engine/base/clock.h"
#include "engine/job/schema.h"
#include "engine/pg/identifier.h"
#include "engine/pg/sqlstate.h"

static const char **copy_strings(struct arena *arena, const char *const *strings, int count)
{
    const char **copies = arena_alloc(arena, sizeof(char *) * (size_t)(count + 1));

    for (int i = 0; i < count; i++)
        copies[i] = arena_copy(arena, strings[i]);
    return copies;
}

/* Rows, when the table was never analyzed: by what a page of this many bytes usually holds. */
static int64_t guess_rows(const struct table *source)
{
    return source->row_estimate >= 0 ? source->row_estimate : source->heap_bytes / 100;
}

static void choose_order(const struct preparation *prep, struct plan *plan)
{
    plan->order = prep->options->order_by != NULL || prep->options->settings.order == ORDER_KEY
                      ? PLAN_KEY
                      : PLAN_HEAP;
    plan->order_why = prep->options->order_by != NULL ? "--order-by"
                      : plan->order == PLAN_KEY
                          ? "asked for"
                          : "no index is touched, and the rows stay as they lie";
}

/* What does not depend on what the actions do. */
static bool begin_plan(struct preparation *prep, struct error *error)
{
    struct run *run = prep->run;
    const struct table *source = prep->source;
    struct plan *plan = &copy_of(run)->plan;
    char fingerprint[33];
    TEXT_AUTO parts = {0};

    plan->source_oid = source->oid;
    plan->schema = arena_copy(&plan->arena, source->schema);
    plan->table = arena_copy(&plan->arena, source->name);
    plan->owner = arena_copy(&plan->arena, source->owner);
    plan->search_path = arena_copy(&plan->arena, session_user_search_path(run->session));
    plan->no_rollback = prep->options->no_rollback;
    plan->actions = copy_strings(&plan->arena, prep->options->actions, prep->options->action_count);
    plan->action_count = prep->options->action_count;
    plan->row_estimate = guess_rows(source);
    plan->heap_bytes = source->heap_bytes;
    plan->table_bytes = source->heap_bytes + source->toast_bytes;
    choose_order(prep, plan);
    if (!attached_fingerprint(run->session, source->oid, fingerprint, error) ||
        !attached_parts(run->session, source->oid, &parts, error))
        return false;
    plan->attached_fingerprint = arena_copy(&plan->arena, fingerprint);
    plan->attached_parts = arena_copy(&plan->arena, text_string(&parts));
    return true;
}

static bool set_map(struct preparation *prep, const struct assignment *assignment, bool reverse,
                    struct error *error)
{
    struct copy *copy = copy_of(prep->run);
    struct expression expression;
    struct expression_source source = {
        .table = reverse ? copy->forward.to_qualified : copy->forward.from_qualified,
        .search_path = copy->plan.search_path,
        .what = arena_format(&prep->arena, "mapping of column \"%s\"", assignment->column),
    };

    if (!expression_print(prep->run->session, &source, assignment->expression, &copy->plan.arena,
                          &expression, error))
        return false;
    for (int i = 0; i < copy->plan.column_count; i++) {
        struct plan_column *at = &copy->plan.columns[i];
        const char *name = reverse ? at->source : at->target;

        if (name == NULL || strcmp(name, assignment->column) != 0)
            continue;
        if (reverse)
            at->reverse_map = expression.sql;
        else
            at->map = expression.sql;
        return true;
    }
    error_set(error, ERROR_REFUSED, "mapping: the %s table has no column \"%s\"",
              reverse ? "old" : "new", assignment->column);
    return error_hint(error, "a name with capitals or signs stands in double quotes, as in SQL; "
                             "nothing was changed");
}

static bool set_maps_of(struct preparation *prep, const char *const *assignments, int count,
                        bool reverse, struct error *error)
{
    for (int i = 0; i < count; i++) {
        struct assignment assignment;

        if (!assignment_parse(assignments[i], &prep->arena, &assignment, error) ||
            !set_map(prep, &assignment, reverse, error))
            return false;
    }
    return true;
}

/* --map, USING of the actions, --reverse-map. The columns are known, the key is not touched by any
 * of them. */
static bool set_maps(struct preparation *prep, struct error *error)
{
    const struct alter_options *options = prep->options;

    for (int i = 0; i < options->action_count; i++) {
        struct action action;

        if (!actions_check(options->actions[i], &prep->arena, &action, error))
            return false;
        for (int u = 0; u < action.using_count; u++)
            if (!set_map(prep,
                         &(struct assignment){action.usings[u].column, action.usings[u].expression},
                         false, error))
                return false;
    }
    if (!set_maps_of(prep, options->maps, options->map_count, false, error) ||
        !set_maps_of(prep, options->reverse_maps, options->reverse_map_count, true, error))
        return false;
    for (int i = 0; i < copy_of(prep->run)->plan.key_count; i++)
        for (int c = 0; c < copy_of(prep->run)->plan.column_count; c++) {
            const struct plan_column *column = &copy_of(prep->run)->plan.columns[c];

            if (column->map != NULL && column->target != NULL &&
                strcmp(column->target, copy_of(prep->run)->plan.key[i].target) == 0) {
                error_set(error, ERROR_REFUSED, "column %s identifies rows and cannot be mapped",
                          column->target);
                return error_hint(error, "nothing was changed");
            }
        }
    return true;
}

/* The columns of the walk: the key's own, or those of --order-by followed by the key's. */
static bool choose_walk(struct preparation *prep, struct error *error)
{
    struct plan *plan = &copy_of(prep->run)->plan;
    const char *order_by = prep->options->order_by;
    const char *names[TABLE_KEY_COLUMNS_MAX];
    int count = order_by == NULL
                    ? 0
                    : identifier_list(order_by, names, TABLE_KEY_COLUMNS_MAX, &prep->arena);

    if (count < 0) {
        error_set(error, ERROR_USAGE, "--order-by: \"%s\" is no list of columns", order_by);
        return error_hint(error, "as in --order-by region,id");
    }
    plan->walk = arena_alloc(&plan->arena, sizeof(*plan->walk) * (TABLE_KEY_COLUMNS_MAX * 2));
    plan->walk_count = 0;
    for (int n = 0; n < count; n++) {
        const struct table_column *column = table_column_by_name(prep->source, names[n]);

        if (column == NULL || !column->not_null) {
            error_set(error, ERROR_REFUSED,
                      column == NULL ? "--order-by: there is no column \"%s\""
                                     : "--order-by: column \"%s\" can be NULL",
                      names[n]);
            return error_hint(error, "rows can be walked in the order of NOT NULL columns only");
        }
        plan->walk[plan->walk_count++] = (struct plan_key_column){
            .source = arena_copy(&plan->arena, column->name),
            .source_type = arena_copy(&plan->arena, column->base_type),
        };
    }
    for (int i = 0; i < plan->key_count; i++) {
        bool there = false;

        for (int w = 0; w < plan->walk_count; w++)
            there = there || strcmp(plan->walk[w].source, plan->key[i].source) == 0;
        if (!there)
            plan->walk[plan->walk_count++] = plan->key[i];
    }
    return true;
}

/* A walk in some order needs an index that begins with it: each chunk would sort the table
 * otherwise. */
static bool check_walk_index(struct preparation *prep, struct error *error)
{
    const struct plan *plan = &copy_of(prep->run)->plan;
    const struct table *source = prep->source;

    if (prep->options->order_by == NULL)
        return true;
    for (int i = 0; i < source->index_count; i++) {
        const struct table_index *index = &source->indexes[i];
        bool fits = index->valid && !index->partial && strcmp(index->method, "btree") == 0;

        for (int w = 0; fits && w < plan->walk_count - plan->key_count; w++)
            fits = w < index->column_count && index->columns[w].name != NULL &&
                   strcmp(index->columns[w].name, plan->walk[w].source) == 0;
        if (fits && index->columns[0].name != NULL &&
            strcmp(index->columns[0].name, plan->walk[0].source) == 0)
            return true;
    }
    error_set(error, ERROR_REFUSED, "no index of the table begins with %s",
              prep->options->order_by);
    return error_hint(error, "create one, concurrently, first");
}

/* Columns that the old table needs and the new one cannot give. */
static bool check_way_back(struct preparation *prep, struct error *error)
{
    const struct plan *plan = &copy_of(prep->run)->plan;

    for (int i = 0; !plan->no_rollback && i < plan->column_count; i++) {
        const struct plan_column *column = &plan->columns[i];
        const struct table_column *source =
            column->source == NULL ? NULL : table_column_by_name(prep->source, column->source);

        if (source == NULL || column->target != NULL || column->reverse_map != NULL ||
            !source->not_null || source->default_sql != NULL || source->generated)
            continue;
        error_set(error, ERROR_REFUSED,
                  "rows inserted after the cut-over could not go back: column %s is dropped, and "
                  "NOT NULL without a default in the old table",
                  column->source);
        return error_hint(
            error,
            "say what it gets with --reverse-map '%s = expression', or give up rollback with "
            "--no-rollback",
            column->source);
    }
    return true;
}

/* From now on, what a dry run is to show is written here too; NULL: nothing. */
static void transcribe(const struct preparation *prep, struct text *script)
{
    session_transcribe(prep->run->session, prep->options->dry_run ? script : NULL);
}

/* Schema pghaul, and the names of the job: of no job, because two trials may run at once; but those
 * of a dry run are what the user will see, and it waits for others. */
static bool take_names(struct preparation *prep, struct error *error)
{
    struct run *run = prep->run;
    bool ok;

    transcribe(prep, &prep->start_script);
    ok = schema_ensure(run->session, error);
    transcribe(prep, &prep->shadow_script);
    ok = ok && shadow_lock(run, error);
    transcribe(prep, NULL);
    if (!ok || !prep->options->dry_run)
        return ok;
    if (!job_next_id(run->session, &run->job.id, error))
        return false;
    copy_rename(run);
    return true;
}

static bool build_clone(struct preparation *prep, struct error *error)
{
    bool ok;

    transcribe(prep, &prep->shadow_script);
    ok = shadow_build(prep->run, prep->source, &prep->arena, &prep->changes, error);
    transcribe(prep, NULL);
    return ok;
}

static bool strip_clone(struct preparation *prep, const struct table *shadow, struct error *error)
{
    bool ok;

    transcribe(prep, &prep->shadow_script);
    ok = shadow_strip(prep->run, shadow, error);
    transcribe(prep, NULL);
    return ok;
}

/*
 * In the transaction that is rolled back, and over after ALTER_TRIAL_MS: build, read, map, strip,
 * try. What comes before the sample works on an empty table, in moments. The printing of a dry run,
 * after it, is not of the trial.
 */
static bool try_on_clone(struct preparation *prep, struct error *error)
{
    struct run *run = prep->run;
    struct copy *copy = copy_of(run);
    int64_t end_ms = clock_ms() + ALTER_TRIAL_MS;
    struct table *shadow;
    uint32_t oid;

    if (!take_names(prep, error) || !trial_limit(run, end_ms, error) || !build_clone(prep, error) ||
        !trial_limit(run, end_ms, error) || !shadow_oid(run, &oid, error) ||
        !table_describe(run->session, oid, &prep->arena, &shadow, error) ||
        !shadow_read(run, prep->source, shadow, error) || !set_maps(prep, error) ||
        !choose_walk(prep, error) || !check_walk_index(prep, error) || !check_way_back(prep, error))
        return false;
    copy->plan.rewrite_needed = prep->changes.any;
    if (prep->options->dry_run)
        copy->shadow_oid = shadow->oid; /* for what sits on it */
    copy_rename(run);
    return trial_limit(run, end_ms, error) && strip_clone(prep, shadow, error) &&
           trial_run(run, end_ms, &prep->trial, error) &&
           (!prep->options->dry_run ||
            (session_set(run->session, "statement_timeout", NUMBER(ALTER_TRIAL_MS), true, error) &&
             alter_describe(prep, error)));
}

static bool find_table(struct preparation *prep, struct error *error)
{
    return inspect_typed(prep->run->session, prep->options->table, NULL, &prep->findings,
                         &prep->arena, &prep->source, error);
}

/* ------------------------------------------------------------------------------------------------------
 * start a job */

static void describe_spec(const struct alter_options *options, struct text *out)
{
    json_t *spec = json_object();
    json_t *actions = json_array(), *maps = json_array(), *reverse = json_array();
    char *dumped;

    for (int i = 0; i < options->action_count; i++)
        json_array_append_new(actions, json_string(options->actions[i]));
    for (int i = 0; i < options->map_count; i++)
        json_array_append_new(maps, json_string(options->maps[i]));
    for (int i = 0; i < options->reverse_map_count; i++)
        json_array_append_new(reverse, json_string(options->reverse_maps[i]));
    json_object_set_new(spec, "table", json_string(options->table));
    json_object_set_new(spec, "do", actions);
    json_object_set_new(spec, "map", maps);
    json_object_set_new(spec, "reverse_map", reverse);
    if (options->order_by != NULL)
        json_object_set_new(spec, "order_by", json_string(options->order_by));
    dumped = json_dumps(spec, JSON_COMPACT);
    text_append(out, dumped);
    free(dumped);
    json_decref(spec);
}

static void fill_job(struct preparation *prep)
{
    struct job *job = &prep->run->job;
    const struct plan *plan = &copy_of(prep->run)->plan;
    TEXT_AUTO spec = {0};
    TEXT_AUTO json = {0};

    describe_spec(prep->options, &spec);
    plan_to_json(plan, &json);
    job->id = 0;
    job->name = arena_copy(&job->arena, prep->options->job_name);
    job->kind = "alter";
    job->table_schema = arena_copy(&job->arena, plan->schema);
    job->table_name = arena_copy(&job->arena, plan->table);
    job->source_oid = plan->source_oid;
    job->spec = arena_copy(&job->arena, text_string(&spec));
    job->plan = arena_copy(&job->arena, text_string(&json));
    job->rows_total = plan->row_estimate;
    job->settings = prep->options->settings;
}

bool alter_prepare(struct run *run, const struct alter_options *options, struct report *report,
                   struct error *error)
{
    struct preparation prep = {.run = run, .options = options, .report = report};
    bool ok;

    *report = (struct report){0};
    copy_unload(run);
    run->kind_state = memory_zero(1, sizeof(struct copy));
    run->job.settings = options->settings;
    for (int i = 0; i < options->action_count; i++) {
        struct action action;

        if (!actions_check(options->actions[i], &prep.arena, &action, error)) {
            arena_deinit(&prep.arena);
            return false;
        }
    }
    ok = lock_check_settings(run->session, &options->settings, error) && find_table(&prep, error) &&
         begin_plan(&prep, error);
    if (ok) {
        run->job.id = ALTER_TRIAL_NUMBER;
        run->trial = true;
        copy_rename(run);
        ok = session_begin(run->session, error) &&
             (try_on_clone(&prep, error) || trial_failed(run, error));
        session_transcribe(run->session, NULL);
        session_rollback(run->session);
        run->trial = false;
        run->job.id = 0;
        copy_of(run)->shadow_oid = 0;
    }
    ok = ok && alter_report(&prep, report, error);
    if (ok) {
        fill_job(&prep);
        copy_rename(run);
    }
    findings_deinit(&prep.findings);
    text_deinit(&prep.start_script);
    text_deinit(&prep.shadow_script);
    arena_deinit(&prep.arena);
    return ok;
}

static void leave_by_sql(struct run *run, struct text *sql)
{
    copy_rename(run); /* it has its number now */
    leave_sql(run, sql);
}

bool alter_store(struct run *run, struct error *error)
{
    return phases_store(run, &alter_kind, leave_by_sql, error);
}
