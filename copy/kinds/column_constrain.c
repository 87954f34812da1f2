#include <inttypes.h>
#include <string.h>

#include "copy/kinds/column_parts.h"
#include "copy/lock.h"
#include "copy/statement.h"
#include "copy/unpaced.h"
#include "engine/pg/sql.h"

/* -------------------------------------------------------------------------------------- what is
 * ours
 */

void column_lock_name(const struct column_plan *plan, struct text *name)
{
    text_append(name, "ONLY ");
    sql_append(name, sql_table(plan->schema, plan->table));
}

void column_expand(const struct column_plan *plan, const char *template, const char *column,
                   struct text *sql)
{
    sql_expand(
        sql, template,
        SQL_NAMES({"table", sql_table(plan->schema, plan->table)}, {"column", sql_ident(column)}));
}

struct index_spec column_index_spec(const struct column_plan *plan, const struct twin_index *index)
{
    return (struct index_spec){.table_oid = plan->table_oid,
                               .schema = plan->schema,
                               .table = plan->table,
                               .name = index->twin_name,
                               .tail = index->tail,
                               .unique = index->unique};
}

struct index_spec column_spare_spec(const struct column_plan *plan, struct text *name)
{
    text_appendf(name, "%s_spare", plan->prefix);
    return (struct index_spec){.table_oid = plan->table_oid,
                               .schema = plan->schema,
                               .table = plan->table,
                               .name = text_string(name),
                               .tail = plan->primary_tail,
                               .unique = true};
}

struct constraint_spec column_twin_spec(const struct twin_constraint *constraint)
{
    return (struct constraint_spec){.table_oid = constraint->table_oid,
                                    .schema = constraint->schema,
                                    .table = constraint->table,
                                    .name = constraint->twin_name,
                                    .type = constraint->type,
                                    .definition = constraint->definition,
                                    .other = constraint->other};
}

struct constraint_spec column_restore_spec(const struct twin_constraint *constraint)
{
    struct constraint_spec spec = column_twin_spec(constraint);

    spec.name = constraint->name;
    spec.definition = constraint->restore;
    return spec;
}

struct constraint_spec column_filled_spec(const struct column_plan *plan, bool twin,
                                          struct text *name)
{
    text_appendf(name, "%s_filled", plan->prefix);
    return (struct constraint_spec){.table_oid = plan->table_oid,
                                    .schema = plan->schema,
                                    .table = plan->table,
                                    .name = text_string(name),
                                    .type = 'c',
                                    .definition = twin ? plan->twin_filled : plan->hidden_filled};
}

bool column_is_referenced_by(const struct twin_constraint *constraint)
{
    return constraint->type == 'f' && constraint->incoming;
}

/* --------------------------------------------------------------------------------------- expand */

bool column_create_functions(struct run *run, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    struct sync_maps maps = {.forward = plan->using,
                             .forward_parameter = plan->column,
                             .back = plan->back_using,
                             .back_parameter = plan->column,
                             .search_path = plan->search_path};
    struct sync sync = column_sync(run, false);

    return sync_create(run, &sync, &maps, error);
}

static bool create_functions(struct run *run, struct error *error)
{
    TEXT_AUTO name = {0};
    ROWS_AUTO rows = {0};

    text_appendf(&name, "pghaul.seen_%" PRId64, run->job.id);
    if (!session_query(run->session, &rows, "SELECT to_regclass($1) IS NOT NULL",
                       PARAMS(text_string(&name)), error))
        return false;
    if (rows_bool(&rows, 0, 0))
        return true;
    if (session_begin(run->session, error) && column_create_functions(run, error) &&
        session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return false;
}

void column_expand_sql(const struct run *run, bool there, struct text *sql)
{
    struct sync sync = column_sync(run, false);

    sync_detach_sql(&sync, sql);
    if (!there)
        text_append(sql, column_plan_of(run)->expand_sql);
    sync_functions_sql(&sync, sql);
    sync_triggers_sql(&sync, sql);
}

/* Also after somebody touched the triggers: then it begins anew, with the twin as it is. */
static bool expand_under_lock(struct run *run, void *arg, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    TEXT_AUTO sql = {0};
    TEXT_AUTO seen = {0};
    TEXT_AUTO fact = {0};
    bool there;

    (void)arg;
    if (!column_is_there(run, plan->twin_column, &there, error))
        return false;
    column_expand_sql(run, there, &sql);
    if (!run_ddl(run, text_string(&sql), error) ||
        !batch_look(run->session, &plan->batch_plan, &seen, error))
        return false;
    text_appendf(&fact, "\"%s\"", text_string(&seen));
    return job_set_fact(run->session, &run->job, "columns_seen", text_string(&fact), error);
}

bool column_expand_forward(struct run *run, struct error *error)
{
    struct sync sync = column_sync(run, false);
    struct lock_change change = {.what_for = "expand",
                                 .mode = "ACCESS EXCLUSIVE",
                                 .table_oid = sync.table_oid,
                                 .work = expand_under_lock};
    struct lock_report lock;
    TEXT_AUTO tables = {0};

    column_lock_name(column_plan_of(run), &tables);
    change.tables = text_string(&tables);
    return sync_check(run->session, sync.table_oid, error) && create_functions(run, error) &&
           lock_and_change(run, &change, &lock, error);
}

/* ------------------------------------------------------------------------------------ constrain */

/*
 * What takes SHARE UPDATE EXCLUSIVE by itself: under that lock, by the ladder, which an autovacuum
 * on the table gives way to; the session's lock_timeout is too short for that.
 */
static bool change_gently(struct run *run, bool (*work)(struct run *, void *, struct error *),
                          void *arg, struct error *error)
{
    struct lock_change change = {
        .what_for = "constrain", .mode = "SHARE UPDATE EXCLUSIVE", .work = work, .arg = arg};
    struct lock_report lock;
    TEXT_AUTO tables = {0};

    column_lock_name(column_plan_of(run), &tables);
    change.tables = text_string(&tables);
    return lock_and_change(run, &change, &lock, error);
}

static bool ddl_under_lock(struct run *run, void *arg, struct error *error)
{
    return run_ddl(run, arg, error);
}

static bool build_indexes(struct run *run, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    const struct twin *twin = plan->twin;
    TEXT_AUTO name = {0};
    struct index_spec spec;

    for (int i = 0; i < twin->index_count; i++) {
        spec = column_index_spec(plan, &twin->indexes[i]);
        if (!online_index_build(run, &spec, error) ||
            (twin->indexes[i].statistics_sql != NULL &&
             !change_gently(run, ddl_under_lock, (void *)twin->indexes[i].statistics_sql, error)))
            return false;
    }
    if (plan->primary_tail == NULL)
        return true;
    spec = column_spare_spec(plan, &name);
    return online_index_build(run, &spec, error);
}

void column_comment_sql(const struct twin_constraint *constraint, struct text *sql)
{
    if (constraint->comment != NULL)
        sql_expand(sql, "COMMENT ON CONSTRAINT {name} ON {table} IS {comment};\n",
                   SQL_NAMES({"name", sql_ident(constraint->name)},
                             {"table", sql_table(constraint->schema, constraint->table)},
                             {"comment", sql_literal(constraint->comment)}));
}

bool column_comment_again(struct run *run, const struct constraint_spec *spec, uint32_t oid,
                          struct error *error)
{
    const struct twin *twin = column_plan_of(run)->twin;
    TEXT_AUTO sql = {0};

    (void)oid;
    for (int i = 0; i < twin->constraint_count; i++)
        if (twin->constraints[i].table_oid == spec->table_oid &&
            strcmp(twin->constraints[i].name, spec->name) == 0)
            column_comment_sql(&twin->constraints[i], &sql);
    return sql.used == 0 || run_ddl(run, text_string(&sql), error);
}

/* One of the column's own, given back, gets its comment. */
static bool add_and_validate(struct run *run, const struct constraint_spec *spec, bool validate,
                             struct error *error)
{
    return online_constraint_add(run, spec, column_comment_again, error) &&
           (!validate || online_constraint_validate(run, spec, error));
}

static bool add_constraints(struct run *run, struct error *error)
{
    const struct twin *twin = column_plan_of(run)->twin;

    for (int i = 0; i < twin->constraint_count; i++) {
        const struct twin_constraint *constraint = &twin->constraints[i];
        struct constraint_spec spec = column_twin_spec(constraint);

        if (!add_and_validate(run, &spec, constraint->validated && constraint->enforced, error))
            return false;
    }
    return true;
}

bool column_restore_references(struct run *run, struct error *error)
{
    const struct twin *twin = column_plan_of(run)->twin;

    for (int i = 0; i < twin->constraint_count; i++) {
        const struct twin_constraint *constraint = &twin->constraints[i];
        struct constraint_spec spec = column_restore_spec(constraint);

        if (column_is_referenced_by(constraint) &&
            !add_and_validate(run, &spec, constraint->validated && constraint->enforced, error))
            return false;
    }
    return true;
}

void column_filled_sql(const struct column_plan *plan, const struct constraint_spec *spec,
                       struct text *sql)
{
    column_expand(plan, "ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL;\n",
                  plan->twin_column, sql);
    online_constraint_drop_sql(spec, sql);
    text_append(sql, ";\n");
}

/* The scan is that of the check; what needs the strong lock reads no row. */
static bool fill_twin(struct run *run, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    struct lock_change change = {
        .what_for = "not null", .mode = "ACCESS EXCLUSIVE", .work = ddl_under_lock};
    struct constraint_spec spec;
    struct lock_report lock;
    TEXT_AUTO name = {0};
    TEXT_AUTO tables = {0};
    TEXT_AUTO sql = {0};
    ROWS_AUTO rows = {0};

    if (!plan->twin->not_null)
        return true;
    if (!session_query(
            run->session, &rows,
            "SELECT attnotnull FROM pg_attribute WHERE attrelid = $1::oid AND attname = $2",
            PARAMS(NUMBER(plan->table_oid), plan->twin_column), error))
        return false;
    if (rows_bool(&rows, 0, 0))
        return true;
    spec = column_filled_spec(plan, true, &name);
    if (!add_and_validate(run, &spec, true, error))
        return false;
    column_lock_name(plan, &tables);
    column_filled_sql(plan, &spec, &sql);
    change.tables = text_string(&tables);
    change.table_oid = plan->table_oid;
    change.arg = (void *)text_string(&sql);
    return lock_and_change(run, &change, &lock, error);
}

void column_statistics_sql(const struct twin_statistics *statistics, struct text *sql)
{
    const struct sql_name *names =
        SQL_NAMES({"name", sql_table(statistics->schema, statistics->twin_name)},
                  {"definition", sql_fragment(statistics->definition)},
                  {"target", sql_fragment(NUMBER(statistics->target))});

    sql_expand(sql, "CREATE STATISTICS IF NOT EXISTS {name} {definition}", names);
    if (statistics->target >= 0)
        sql_expand(sql, ";\nALTER STATISTICS {name} SET STATISTICS {target}", names);
}

static bool create_statistics(struct run *run, struct error *error)
{
    const struct twin *twin = column_plan_of(run)->twin;

    for (int i = 0; i < twin->statistics_count; i++) {
        TEXT_AUTO sql = {0};

        column_statistics_sql(&twin->statistics[i], &sql);
        if (!change_gently(run, ddl_under_lock, (void *)text_string(&sql), error))
            return false;
    }
    return true;
}

static bool decorate_under_lock(struct run *run, void *arg, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);

    (void)arg;
    return (plan->decorate_sql[0] == '\0' || run_ddl(run, plan->decorate_sql, error)) &&
           job_set_fact(run->session, &run->job, "decorated", "true", error);
}

void column_analyze_sql(const struct column_plan *plan, struct text *sql)
{
    column_expand(plan, "ANALYZE {table} ({column})", plan->twin_column, sql);
}

/* What the planner should know of the twin before it is used. */
static bool analyze(struct run *run, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    struct statement statement = {
        .what = "analyze", .limit_ms = run->job.settings.snapshot_wait_ms, .heeds_abort = true};
    TEXT_AUTO sql = {0};
    bool gave_way = true;

    column_analyze_sql(plan, &sql);
    statement.sql = text_string(&sql);
    for (int times = 1; gave_way; times++)
        if (!statement_run(run, &statement, &gave_way, error) ||
            (gave_way && !statement_pause(run, &statement, times, error)))
            return false;
    return true;
}

/* Comment and grants, once: a second time they could not be told from the application's. */
static bool decorate(struct run *run, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(run->session, &rows,
                       "SELECT facts ? 'decorated' FROM pghaul.job WHERE id = $1::bigint",
                       PARAMS(NUMBER(run->job.id)), error))
        return false;
    return (rows_bool(&rows, 0, 0) || change_gently(run, decorate_under_lock, NULL, error)) &&
           analyze(run, error);
}

/* From now on a row whose new column has a value is left as it is, also when all rows are visited
 * again: it may have been written there, without the triggers. verify finds what does not agree. */
bool column_constrain_plan(struct run *run, struct error *error)
{
    return job_set_fact(run->session, &run->job, "filled", "true", error);
}

bool column_constrain_forward(struct run *run, struct error *error)
{
    return build_indexes(run, error) && add_constraints(run, error) &&
           column_restore_references(run, error) && fill_twin(run, error) &&
           create_statistics(run, error) && decorate(run, error);
}

/* --------------------------------------------------------------------------------------- verify */

/* What is compared again under the lock of the swap. */
struct verified {
    struct text armed;
    int64_t failed; /* values that could not be converted so far */
};

static bool keep_verified(struct run *run, int64_t rows, int64_t differences,
                          const struct verified *verified, struct error *error)
{
    TEXT_AUTO fact = {0};
    TEXT_AUTO quoted = {0};

    text_appendf(&fact, "{\"rows\": %" PRId64 ", \"differences\": %" PRId64 "}", rows, differences);
    text_appendf(&quoted, "\"%s\"", text_string(&verified->armed));
    return job_set_fact(run->session, &run->job, "verify", text_string(&fact), error) &&
           job_set_fact(run->session, &run->job, "armed", text_string(&quoted), error) &&
           job_set_fact(run->session, &run->job, "failed", NUMBER(verified->failed), error);
}

/*
 * A value that could not be converted is counted at once, and its row is seen when it is committed:
 * whoever is between the two now must be over before the rows are read.
 */
static bool wait_for_counted(struct run *run, const struct sync *sync, struct error *error)
{
    TEXT_AUTO left = {0};

    if (!lock_wait_writers(run, sync->table_oid, run->job.settings.snapshot_wait_ms, &left, error))
        return false;
    if (left.used == 0)
        return true;
    error_set(error, ERROR_LOCK, "a transaction that wrote the table does not end");
    error_detail(error, "%s", text_string(&left));
    return error_hint(error, "end it, or wait for it, then pghaul resume %s",
                      SHELL_WORD(run->job.name));
}

/* Before the rows: what happens in between, or later, differs from it under the lock of the swap.
 */
static bool look_before(struct run *run, const struct sync *sync, struct verified *verified,
                        struct error *error)
{
    struct arena arena = {0};
    struct sync_counts counts = {0};
    bool ok = sync_check(run->session, sync->table_oid, error) &&
              sync_counts(run->session, sync, &arena, &counts, error) &&
              sync_armed(run->session, sync, &verified->armed, error);

    verified->failed = counts.lost;
    arena_deinit(&arena);
    if (ok && verified->armed.used == 0)
        return error_set(error, ERROR_AGAIN, "a trigger that keeps the columns equal is disabled");
    return ok && (verified->failed == 0 || wait_for_counted(run, sync, error));
}

static bool verify(struct run *run, struct verified *verified, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    struct sync sync = column_sync(run, false);
    TEXT_AUTO sample = {0};
    int64_t rows, differences;

    if (!look_before(run, &sync, verified, error) ||
        !sync_verify(run, &sync, plan->image, plan->key_sql, &rows, &differences, &sample, error) ||
        !keep_verified(run, rows, differences, verified, error))
        return false;
    if (differences == 0)
        return true;
    error_set(error, ERROR_DIFFERS, "%" PRId64 " of %" PRId64 " rows do not agree", differences,
              rows);
    error_detail(error, "the keys of some: %s", text_string(&sample));
    return error_hint(error,
                      "%s was not written there, or its value cannot be converted: mend the rows, "
                      "then pghaul resume %s",
                      plan->twin_column, SHELL_WORD(run->job.name));
}

bool column_verify_forward(struct run *run, struct error *error)
{
    struct verified verified = {0};
    struct unpaced unpaced;
    bool ok;

    if (!unpaced_scan(run->session, column_plan_of(run)->table_oid, &unpaced, error) ||
        !pace_unpaced_begin(run, "comparison of the columns", unpaced.wal_bytes, unpaced.seconds,
                            error))
        return false;
    ok = verify(run, &verified, error);
    pace_unpaced_end(run);
    text_deinit(&verified.armed);
    return ok;
}
