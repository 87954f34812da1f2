#include <inttypes.h>
#include <string.h>

#include "copy/inspect.h"
#include "copy/kinds/addition.h"
#include "copy/kinds/column_name.h"
#include "copy/kinds/column_parts.h"
#include "copy/lock.h"
#include "copy/statement.h"
#include "engine/pg/sql.h"

/* ------------------------------------------------------------------------------- names of columns
 */

static bool find_columns(struct column_preparation *prep, struct error *error)
{
    const struct column_options *options = prep->options;
    struct column_plan *plan = prep->plan;

    if (!column_find(prep->table, options->table, options->column, &prep->column, error))
        return false;
    plan->new_name = plan->column = arena_copy(&plan->arena, prep->column->name);
    if (prep->rename && !column_read_name(options->new_name, &plan->arena, &plan->new_name, error))
        return false;
    plan->hidden = column_hidden_name(&plan->arena, "pghaul_old_", plan->column);
    plan->twin_column = prep->rename
                            ? plan->new_name
                            : column_hidden_name(&plan->arena, "pghaul_new_", plan->column);
    return column_refuse_taken(prep->table, options->table, plan->twin_column, error) &&
           column_refuse_taken(prep->table, options->table, plan->hidden, error);
}

/* ----------------------------------------------------------------------------------------- table
 */

static bool find_table(struct column_preparation *prep, struct error *error)
{
    struct session *session = prep->run->session;
    struct findings findings = {0};
    TEXT_AUTO why_not = {0};
    bool ok = addition_table(session, prep->options->table, &prep->arena, &prep->table, error) &&
              inspect_rows(session, prep->table, false, &findings, error) &&
              findings_refuse(&findings, prep->options->table, error);

    findings_deinit(&findings);
    if (!ok)
        return false;
    prep->key = table_key(prep->table, &why_not);
    prep->plan->table_oid = prep->table->oid;
    prep->plan->schema = arena_copy(&prep->plan->arena, prep->table->schema);
    prep->plan->table = arena_copy(&prep->plan->arena, prep->table->name);
    return sync_check(session, prep->table->oid, error);
}

/* ------------------------------------------------------------------------------------------ plan
 */

/* Would ALTER COLUMN TYPE rewrite the table? On an empty clone: a new file says so. */
static bool find_rewrite(struct column_preparation *prep, struct error *error)
{
    struct session *session = prep->run->session;
    const struct column_plan *plan = prep->plan;
    ROWS_AUTO before = {0};
    ROWS_AUTO after = {0};
    TEXT_AUTO sql = {0};
    static const char FILENODE[] = "SELECT pg_relation_filenode('pg_temp.pghaul_old')";

    if (prep->rename)
        return true;
    sql_expand(
        &sql, "ALTER TABLE pg_temp.pghaul_old ALTER COLUMN {column} TYPE {type} USING {using}",
        SQL_NAMES({"column", sql_ident(plan->column)}, {"type", sql_fragment(plan->twin->type)},
                  {"using", sql_fragment(plan->using)}));
    if (!session_set(session, "search_path", plan->search_path, true, error) ||
        !session_query(session, &before, FILENODE, NO_PARAMS, error) ||
        !session_execute(session, text_string(&sql), NO_PARAMS, NULL, error) ||
        !session_query(session, &after, FILENODE, NO_PARAMS, error) ||
        !session_set(session, "search_path", "pg_catalog, pg_temp", true, error))
        return error_refuse(error, NULL);
    if (strcmp(rows_text(&before, 0, 0), rows_text(&after, 0, 0)) != 0)
        return true;
    error_set(error, ERROR_REFUSED, "no row has to be written for that");
    error_detail(error, "%s and %s are stored alike", plan->twin->old_type, plan->twin->type);
    return error_hint(error,
                      "pghaul alter %s --in-place --do 'ALTER COLUMN %s TYPE %s' takes "
                      "milliseconds",
                      prep->options->table, prep->options->column, plan->twin->type);
}

/* In which type a computed value is compared with the stored one: of the twin, on a clone. */
static bool find_image(struct column_preparation *prep, struct error *error)
{
    struct session *session = prep->run->session;
    TEXT_AUTO sql = {0};
    ROWS_AUTO rows = {0};
    bool string;

    sql_expand(&sql, "CREATE TEMPORARY TABLE pghaul_image (v {type})",
               SQL_NAMES({"type", sql_fragment(prep->plan->twin->type)}));
    return session_run_text(session, &sql, error) &&
           session_query(session, &rows, "SELECT 'pg_temp.pghaul_image'::regclass::oid", NO_PARAMS,
                         error) &&
           batch_image_type(session, (uint32_t)rows_int64(&rows, 0, 0), 1, &prep->plan->arena,
                            &prep->plan->image, &string, error);
}

static bool plan_batch(struct column_preparation *prep, struct error *error)
{
    struct column_plan *plan = prep->plan;
    struct batch_plan *batch = &plan->batch_plan;
    TEXT_AUTO json = {0};

    if (!batch_plan_table(prep->run->session, prep->table, prep->key, batch, error))
        return false;
    batch->action = BATCH_UPDATE;
    batch->undo = BATCH_UNDO_NONE;
    batch->column_count = 1;
    batch->columns = arena_alloc(&batch->arena, sizeof(*batch->columns));
    batch->columns[0] =
        (struct batch_column){.name = plan->twin_column, .image = plan->image, .value = "NULL"};
    /* When it is walked again, after the twin has got what the column has, it may be referenced. */
    batch->strong = false;
    for (int i = 0; i < plan->twin->constraint_count; i++)
        batch->strong = batch->strong || column_is_referenced_by(&plan->twin->constraints[i]);
    batch->columns_seen = "";
    if (!batch_plan_plain(prep->run->session, prep->table, false, batch, error))
        return false;
    batch_plan_to_json(batch, &json);
    plan->batch = arena_copy(&plan->arena, text_string(&json));
    return true;
}

static bool print_filled(struct column_preparation *prep, const char *column,
                         const char **definition, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(prep->run->session, &rows,
                       "SELECT format('CHECK ((%I IS NOT NULL)) NOT VALID', $1::text)",
                       PARAMS(column), error))
        return false;
    *definition = arena_copy(&prep->plan->arena, rows_text(&rows, 0, 0));
    return true;
}

static void plan_key(struct column_preparation *prep)
{
    struct column_plan *plan = prep->plan;
    TEXT_AUTO key = {0};

    text_append(&key, "ROW(");
    for (int i = 0; i < prep->key->column_count; i++) {
        text_append(&key, i > 0 ? ", r." : "r.");
        sql_append(&key, sql_ident(prep->key->columns[i].name));
    }
    text_append(&key, ")::text");
    plan->key_sql = arena_copy(&plan->arena, text_string(&key));
}

/* The clone that it needs is gone afterwards: there may be another one. */
static bool read_twin(struct column_preparation *prep, const char *twin_column, const char *type,
                      struct arena *arena, struct twin *twin, struct error *error)
{
    struct session *session = prep->run->session;

    return session_run(session, "SAVEPOINT twin", error) &&
           twin_read(prep->run, prep->table, prep->plan->column, twin_column, type,
                     prep->plan->prefix, arena, twin, error) &&
           session_run(session, "ROLLBACK TO SAVEPOINT twin", error);
}

static bool plan_twin(struct column_preparation *prep, struct error *error)
{
    struct column_plan *plan = prep->plan;
    TEXT_AUTO expand = {0};
    TEXT_AUTO decorate = {0};

    plan->search_path = arena_copy(&plan->arena, session_user_search_path(prep->run->session));
    plan->prefix =
        arena_format(&plan->arena, "pghaul_%" PRIu32 "_%d", plan->table_oid, prep->column->number);
    plan->twin = arena_alloc(&plan->arena, sizeof(*plan->twin));
    *plan->twin = (struct twin){0};
    plan->twin_count = 1;
    if (!read_twin(prep, plan->twin_column, prep->rename ? NULL : prep->options->type, &plan->arena,
                   plan->twin, error))
        return false;
    twin_expand_sql(prep->table, plan->twin_column, plan->twin, &expand);
    twin_decorate_sql(prep->table, plan->twin_column, plan->twin, &decorate);
    plan->expand_sql = arena_copy(&plan->arena, text_string(&expand));
    plan->decorate_sql = arena_copy(&plan->arena, text_string(&decorate));
    return column_plan_sequence(prep->run, error);
}

static void plan_primary(struct column_preparation *prep)
{
    struct column_plan *plan = prep->plan;

    for (int i = 0; !prep->rename && i < plan->twin->index_count; i++)
        for (int t = 0; t < prep->table->index_count; t++)
            if (plan->twin->indexes[i].constraint_type == 'p' && prep->table->indexes[t].primary)
                plan->primary_tail = arena_copy(&plan->arena, prep->table->indexes[t].tail);
}

static bool plan_before(struct column_preparation *prep, struct error *error)
{
    struct column_plan *plan = prep->plan;

    plan_primary(prep);
    plan->before = arena_alloc(&plan->arena, sizeof(*plan->before));
    *plan->before = (struct twin){0};
    plan->before_count = 1;
    return read_twin(prep, plan->hidden, NULL, &plan->arena, plan->before, error);
}

/* 18: the twin's would be none, or be valid. */
static bool check_not_null(const struct column_preparation *prep, struct error *error)
{
    const struct twin *twin = prep->plan->twin;

    if (twin->not_null || twin->not_null_name == NULL)
        return true;
    error_set(error, ERROR_REFUSED, "NOT NULL of column %s is NOT VALID", prep->plan->column);
    return error_hint(error, "pghaul validate %s %s, or drop it, first", prep->options->table,
                      twin->not_null_name);
}

static bool make_plan(struct column_preparation *prep, struct error *error)
{
    struct column_plan *plan = prep->plan;

    if (!plan_twin(prep, error) || !plan_before(prep, error) ||
        !column_check_sequence(prep->run, error) || !check_not_null(prep, error) ||
        !column_plan_maps(prep, error) || !find_image(prep, error) || !find_rewrite(prep, error) ||
        !print_filled(prep, plan->twin_column, &plan->twin_filled, error) ||
        !print_filled(prep, plan->hidden, &plan->hidden_filled, error))
        return false;
    plan_key(prep);
    return plan_batch(prep, error);
}

/* ------------------------------------------------------------------------------------------- job
 */

static bool check_key(const struct column_preparation *prep, struct error *error)
{
    TEXT_AUTO why_not = {0};

    if (prep->key != NULL)
        return true;
    (void)table_key(prep->table, &why_not);
    error_set(error, ERROR_REFUSED, "%s has no key to walk by: %s", prep->options->table,
              text_string(&why_not));
    return error_hint(error, "a key is a unique btree index over NOT NULL columns: pghaul index");
}

static bool in_transaction(struct column_preparation *prep, struct error *error)
{
    bool ok = session_begin(prep->run->session, error) && make_plan(prep, error);

    session_rollback(prep->run->session);
    return ok;
}

static bool prepare(struct column_preparation *prep, struct report *report, struct error *error)
{
    struct run *run = prep->run;
    const struct column_options *options = prep->options;
    int64_t limit_ms;
    TEXT_AUTO json = {0};

    if (!lock_check_settings(run->session, &options->settings, error) ||
        !statement_check_settings(run->session, error) ||
        !batch_limit_ms(run->session, &options->settings, &limit_ms, error) ||
        !find_table(prep, error) || !check_key(prep, error) || !find_columns(prep, error) ||
        !in_transaction(prep, error) || !column_report(prep, report, error))
        return false;
    addition_fill_job(run, &column_kind, prep->table, options->job_name, "column", options->column,
                      &options->settings);
    column_plan_to_json(prep->plan, &json);
    run->job.plan = arena_copy(&run->job.arena, text_string(&json));
    return !options->dry_run || column_dry_run(run, report, error);
}

bool column_prepare(struct run *run, const struct column_options *options, struct report *report,
                    struct error *error)
{
    struct column_preparation prep = {
        .run = run, .options = options, .rename = options->new_name != NULL};
    bool ok;

    *report = (struct report){0};
    column_kind.unload(run);
    run->kind_state = prep.plan = memory_zero(1, sizeof(*prep.plan));
    run->job.settings = options->settings;
    ok = prepare(&prep, report, error);
    arena_deinit(&prep.arena);
    return ok;
}
