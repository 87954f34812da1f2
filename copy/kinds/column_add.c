#include "copy/kinds/column_add.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "copy/kinds/column_add_parts.h"
#include "copy/lock.h"
#include "engine/job/walk.h"
#include "engine/pg/sql.h"
#include "engine/pg/sqlstate.h"

enum { ROUNDS_MAX = 3 }; /* walks, for rows whose key went past one */

/* ------------------------------------------------------------------------------------------ plan
 */

const struct field column_add_plan_FIELDS[] = {
    FIELD_OF(FIELD_OID, column_add_plan, table_oid),
    FIELD_OF(FIELD_STRING, column_add_plan, schema),
    FIELD_OF(FIELD_STRING, column_add_plan, table),
    FIELD_OF(FIELD_STRING, column_add_plan, column),
    FIELD_OF(FIELD_STRING, column_add_plan, expand_sql),
    FIELD_OF(FIELD_STRING, column_add_plan, batch),
    FIELD_LIST_OF(column_add_plan, not_null, not_null_count, not_null),
    FIELD_LIST_OF(column_add_plan, constraints, constraint_count, constraint_spec),
    FIELD_LIST_OF(column_add_plan, indexes, index_count, index_spec),
    FIELD_STRINGS_OF(column_add_plan, attach_sql, attach_count),
    {0},
};

static void add_unload(struct run *run)
{
    struct column_add_plan *plan = column_add_plan_of(run);

    if (plan == NULL)
        return;
    batch_plan_deinit(&plan->batch_plan);
    arena_deinit(&plan->arena);
    free(plan);
    run->kind_state = NULL;
}

/* The backfill's fingerprint of the columns is known since expand has added one. */
static bool complete_batch(struct run *run, struct error *error)
{
    struct batch_plan *batch = &column_add_plan_of(run)->batch_plan;
    ROWS_AUTO rows = {0};

    if (!session_query(run->session, &rows,
                       "SELECT facts ->> 'columns_seen' FROM pghaul.job WHERE id = $1::bigint",
                       PARAMS(NUMBER(run->job.id)), error))
        return false;
    batch->columns_seen = arena_copy(&batch->arena, rows_text(&rows, 0, 0));
    return true;
}

static bool add_load(struct run *run, struct error *error)
{
    struct column_add_plan *plan;

    add_unload(run);
    run->kind_state = plan = memory_zero(1, sizeof(*plan));
    return fields_from_json(run->job.plan, column_add_plan_FIELDS, &plan->arena, plan, error) &&
           (plan->batch == NULL || (batch_plan_from_json(plan->batch, &plan->batch_plan, error) &&
                                    complete_batch(run, error)));
}

/* ---------------------------------------------------------------------------------------- expand
 */

/* attnum; 0: there is none. */
static bool find_column(struct run *run, int64_t *number, struct error *error)
{
    const struct column_add_plan *plan = column_add_plan_of(run);
    ROWS_AUTO rows = {0};

    if (!session_query(run->session, &rows,
                       "SELECT coalesce((SELECT attnum FROM pg_attribute\n"
                       "                  WHERE attrelid = $1::oid AND attname = $2\n"
                       "                    AND NOT attisdropped), 0)",
                       PARAMS(NUMBER(plan->table_oid), plan->column), error))
        return false;
    *number = rows_int64(&rows, 0, 0);
    return true;
}

/* What is added is the column with this number: another one of that name is not ours. */
static bool remember(struct run *run, struct error *error)
{
    const struct column_add_plan *plan = column_add_plan_of(run);
    TEXT_AUTO undo = {0};
    TEXT_AUTO seen = {0};
    TEXT_AUTO fact = {0};
    int64_t number;

    if (plan->batch != NULL) {
        if (!batch_look(run->session, &plan->batch_plan, &seen, error))
            return false;
        batch_drop_sql(run->job.id, true, &undo);
        text_appendf(&fact, "\"%s\"", text_string(&seen));
        if (!job_set_fact(run->session, &run->job, "columns_seen", text_string(&fact), error))
            return false;
    }
    column_add_drop_sql(plan, &undo);
    return find_column(run, &number, error) &&
           addition_set_added(run, number, text_string(&undo), error);
}

static bool refuse_taken(const struct run *run, struct error *error)
{
    const struct column_add_plan *plan = column_add_plan_of(run);

    error_set(error, ERROR_REFUSED, "%s.%s has a column %s by now, which is not the job's",
              plan->schema, plan->table, plan->column);
    return error_hint(error, "pghaul abort %s", SHELL_WORD(run->job.name));
}

static bool expand_under_lock(struct run *run, void *arg, struct error *error)
{
    int64_t number;

    (void)arg;
    if (!find_column(run, &number, error))
        return false;
    if (number != 0)
        return refuse_taken(run, error);
    return run_ddl(run, column_add_plan_of(run)->expand_sql, error) && remember(run, error);
}

void column_add_lock_name(const struct column_add_plan *plan, struct text *name)
{
    text_append(name, "ONLY ");
    sql_append(name, sql_table(plan->schema, plan->table));
}

static bool change_table(struct run *run, const char *what_for,
                         bool (*work)(struct run *run, void *arg, struct error *error), void *arg,
                         struct error *error)
{
    struct lock_change change = {
        .what_for = what_for, .mode = "ACCESS EXCLUSIVE", .work = work, .arg = arg};
    struct lock_report lock;
    TEXT_AUTO tables = {0};

    column_add_lock_name(column_add_plan_of(run), &tables);
    change.tables = text_string(&tables);
    return lock_and_change(run, &change, &lock, error);
}

/* Killed between its commit and the end of the phase, it is there already. */
static bool expand_forward(struct run *run, struct error *error)
{
    int64_t number;

    if (!find_column(run, &number, error))
        return false;
    if (number != 0)
        return number == addition_added(&run->job) || refuse_taken(run, error);
    return change_table(run, "expand", expand_under_lock, NULL, error);
}

/* -------------------------------------------------------------------------------------- backfill
 */

static bool backfill_plan(struct run *run, struct error *error)
{
    return !column_add_is_slow(run) ||
           batch_begin(run, &column_add_plan_of(run)->batch_plan, "backfill", error);
}

static bool backfill_forward(struct run *run, struct error *error)
{
    return !column_add_is_slow(run) ||
           batch_walk(run, &column_add_plan_of(run)->batch_plan, "backfill", BATCH_WALK, error);
}

static bool later_plan(struct run *run, struct error *error)
{
    return !column_add_is_slow(run) || batch_plan_revisit(run, "later", error);
}

static bool later_forward(struct run *run, struct error *error)
{
    return !column_add_is_slow(run) ||
           batch_revisit(run, &column_add_plan_of(run)->batch_plan, "later", BATCH_REVISIT, error);
}

/* -------------------------------------------------------------------------------------- not null
 */

/* Rows whose key went past the walk are walked again; some times, for the default may be NULL. */
static bool walk_again(struct run *run, const struct not_null *not_null, struct error *error)
{
    ROWS_AUTO rows = {0};
    int64_t rounds;

    if (!session_query(run->session, &rows,
                       "SELECT coalesce((facts ->> 'rounds')::bigint, 1) FROM pghaul.job\n"
                       " WHERE id = $1::bigint",
                       PARAMS(NUMBER(run->job.id)), error))
        return false;
    rounds = rows_int64(&rows, 0, 0);
    if (rounds >= ROUNDS_MAX)
        return not_null_refuse(run, not_null, error);
    return job_set_fact(run->session, &run->job, "rounds", NUMBER(rounds + 1), error) &&
           error_set(error, ERROR_AGAIN, "column %s is NULL in some rows still", not_null->column);
}

static bool not_null_forward(struct run *run, struct error *error)
{
    const struct column_add_plan *plan = column_add_plan_of(run);
    const struct not_null *not_null = plan->not_null;
    struct constraint_look look;
    bool found = false;

    if (plan->not_null_count == 0)
        return true;
    if (!online_constraint_look(run, not_null->constraint, &look, error) ||
        (!look.exists && !not_null_scan(run, not_null, &found, error)))
        return false;
    if (found)
        return column_add_is_slow(run) ? walk_again(run, not_null, error)
                                       : not_null_refuse(run, not_null, error);
    return not_null_check(run, not_null, NULL, error) && not_null_validate(run, not_null, error) &&
           not_null_set(run, not_null, NULL, error);
}

/* ------------------------------------------------------------------------------------- constrain
 */

static bool add_constraints(struct run *run, struct error *error)
{
    const struct column_add_plan *plan = column_add_plan_of(run);

    for (int i = 0; i < plan->constraint_count; i++)
        if (!online_constraint_add(run, &plan->constraints[i], NULL, error) ||
            (column_add_is_enforced(&plan->constraints[i]) &&
             !online_constraint_validate(run, &plan->constraints[i], error)))
            return false;
    return true;
}

static bool attach_under_lock(struct run *run, void *arg, struct error *error)
{
    return run_ddl(run, arg, error);
}

static bool build_indexes(struct run *run, struct error *error)
{
    const struct column_add_plan *plan = column_add_plan_of(run);

    for (int i = 0; i < plan->index_count; i++) {
        struct constraint_spec name = {.table_oid = plan->table_oid, .name = plan->indexes[i].name};
        struct constraint_look look;

        if (!online_index_build(run, &plan->indexes[i], error) ||
            !online_constraint_look(run, &name, &look, error) ||
            (!look.exists &&
             !change_table(run, "unique", attach_under_lock, (void *)plan->attach_sql[i], error)))
            return false;
    }
    return true;
}

static bool constrain_forward(struct run *run, struct error *error)
{
    return add_constraints(run, error) && build_indexes(run, error);
}

static bool tidy_plan(struct run *run, struct error *error)
{
    TEXT_AUTO sql = {0};

    if (!column_add_is_slow(run))
        return true;
    batch_drop_sql(run->job.id, true, &sql);
    return run_ddl(run, text_string(&sql), error);
}

/* ---------------------------------------------------------------------------------------- phases
 */

static const struct phase PHASES[] = {
    {.name = "expand",
     .what = "add the column",
     .lock = "ACCESS EXCLUSIVE, moments, by the ladder",
     .forward = expand_forward},
    {.name = "backfill",
     .what = "fill it in rows from before, in chunks, by key",
     .lock = "ROW EXCLUSIVE for each chunk; its rows",
     .shared = true,
     .plan = backfill_plan,
     .forward = backfill_forward},
    {.name = "later",
     .what = "visit rows again that others held",
     .lock = "ROW EXCLUSIVE for each chunk; its rows",
     .plan = later_plan,
     .forward = later_forward},
    {.name = "not null",
     .what = "NOT NULL: a check NOT VALID, validated, then set",
     .lock = "SHARE UPDATE EXCLUSIVE; ACCESS EXCLUSIVE for moments, by the ladder",
     .forward = not_null_forward},
    {.name = "constrain",
     .what = "checks and foreign keys, NOT VALID and validated; unique indexes, concurrently",
     .lock = "SHARE UPDATE EXCLUSIVE; stronger ones for moments, by the ladder",
     .forward = constrain_forward},
    {.name = "tidy", .what = "drop the tables of the backfill", .lock = "none", .plan = tidy_plan},
    {.name = "finish", .what = "forget the way back, when you say so", .lock = "none"},
    {0},
};

void column_add_describe(struct run *run, struct report *report)
{
    const struct column_add_plan *plan = column_add_plan_of(run);

    for (const struct phase *at = PHASES; at->name != NULL; at++) {
        TEXT_AUTO script = {0};

        if (!column_add_print(run, at->name, &script))
            continue;
        report_add_phase(
            report, &(struct report_phase){
                        .name = at->name,
                        .what = at->what,
                        .lock = at->lock,
                        .estimate = at->shared ? arena_format(&report->arena,
                                                              "about %" PRId64 " rows to write",
                                                              plan->batch_plan.row_estimate)
                                               : "",
                        .sql = text_string(&script),
                    });
    }
}

/* ----------------------------------------------------------------------------------------- verbs
 */

void column_add_drop_sql(const struct column_add_plan *plan, struct text *sql)
{
    sql_expand(sql, "ALTER TABLE {table} DROP COLUMN IF EXISTS {column}",
               SQL_NAMES({"table", sql_table(plan->schema, plan->table)},
                         {"column", sql_ident(plan->column)}));
}

static bool drop_under_lock(struct run *run, void *arg, struct error *error)
{
    TEXT_AUTO sql = {0};
    int64_t number;

    (void)arg;
    if (!find_column(run, &number, error))
        return false;
    if (number != addition_added(&run->job))
        return true;
    column_add_drop_sql(column_add_plan_of(run), &sql);
    if (run_ddl(run, text_string(&sql), error))
        return true;
    if (strcmp(error->sqlstate, SQLSTATE_DEPENDENT_OBJECTS) != 0)
        return false;
    error->code = ERROR_REFUSED;
    return error_hint(error, "drop what uses the column by now, then again");
}

/* Foreign keys first: each has triggers on the other table, which is locked with ours for that. */
static bool drop_references(struct run *run, struct error *error)
{
    const struct column_add_plan *plan = column_add_plan_of(run);

    for (int i = 0; i < plan->constraint_count; i++)
        if (plan->constraints[i].type == 'f' &&
            !online_constraint_drop(run, &plan->constraints[i], 0, error))
            return false;
    return true;
}

static bool take_back(struct run *run, struct error *error)
{
    TEXT_AUTO sql = {0};
    int64_t number;

    if (!find_column(run, &number, error))
        return false;
    if (number == addition_added(&run->job) &&
        !(drop_references(run, error) && change_table(run, "drop", drop_under_lock, NULL, error)))
        return false;
    batch_drop_sql(run->job.id, true, &sql);
    return run_ddl(run, text_string(&sql), error);
}

static bool add_rollback(struct run *run, bool accept_loss, struct error *error)
{
    (void)accept_loss; /* that the column's values go is what was asked for */
    return addition_rollback(run, "added no column", take_back, error);
}

static bool add_abort(struct run *run, struct error *error)
{
    return addition_abort(run, take_back, error);
}

static bool add_summary(struct run *run, struct text *out, struct error *error)
{
    const struct column_add_plan *plan = column_add_plan_of(run);
    struct walk_totals walk, later;

    text_appendf(out, "column %s of %s.%s ", plan->column, plan->schema, plan->table);
    if (job_is(&run->job, "rolled_back")) {
        text_append(out, addition_added(&run->job) != 0 ? "is dropped" : "was not added");
        return true;
    }
    text_append(out, "is added, in ");
    if (!addition_time(run, out, error) ||
        !walk_totals(run->session, run->job.id, "backfill", &walk, error) ||
        !walk_totals(run->session, run->job.id, "later", &later, error))
        return false;
    if (column_add_is_slow(run))
        text_appendf(out, ": %" PRId64 " rows filled, %" PRId64 " skipped",
                     walk.counts.written + later.counts.written,
                     walk.counts.skipped + later.counts.skipped);
    return true;
}

bool column_add_store(struct run *run, struct error *error)
{
    return addition_store(run, &column_add_kind, error);
}

const struct kind column_add_kind = {
    .name = "column-add",
    .words = {.rollback = "drops the new column of",
              .rollback_end = "under a short lock",
              .finish = "keeps the new column of",
              .finished = "stays",
              .aborted = "has no new column",
              .done = "filled",
              .next_rollback = "drop the column; writers wait about 20 ms",
              .next_finish = "keep it, and forget the way back",
              .next_abort = "end the job, and drop the column if the job added it"},
    .phases = PHASES,
    .end = "finish",
    .walk = "backfill",
    .again = "backfill",
    .load = add_load,
    .unload = add_unload,
    .rollback = add_rollback,
    .finish = addition_finish,
    .abort = add_abort,
    .summary = add_summary,
};
