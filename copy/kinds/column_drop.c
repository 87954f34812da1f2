#include "copy/kinds/column_drop.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "copy/fields.h"
#include "copy/kinds/addition.h"
#include "copy/kinds/column_drop_parts.h"
#include "copy/kinds/column_name.h"
#include "copy/lock.h"
#include "engine/base/clock.h"
#include "engine/pg/sql.h"
#include "engine/pg/sqlstate.h"

static const struct field drop_plan_FIELDS[] = {
    FIELD_OF(FIELD_OID, drop_plan, table_oid),
    FIELD_OF(FIELD_STRING, drop_plan, schema),
    FIELD_OF(FIELD_STRING, drop_plan, table),
    FIELD_OF(FIELD_STRING, drop_plan, column),
    FIELD_OF(FIELD_STRING, drop_plan, hidden),
    FIELD_LIST_OF(drop_plan, not_null, not_null_count, not_null),
    FIELD_OF(FIELD_BOOL, drop_plan, unchecked),
    FIELD_OF(FIELD_STRING, drop_plan, comment),
    {0},
};

static void drop_unload(struct run *run)
{
    if (run->kind_state == NULL)
        return;
    arena_deinit(&drop_plan_of(run)->arena);
    free(run->kind_state);
    run->kind_state = NULL;
}

static bool drop_load(struct run *run, struct error *error)
{
    drop_unload(run);
    run->kind_state = memory_zero(1, sizeof(struct drop_plan));
    return fields_from_json(run->job.plan, drop_plan_FIELDS, &drop_plan_of(run)->arena,
                            drop_plan_of(run), error);
}

/* --------------------------------------------------------------------------------- hide and back
 */

static void expand(const struct drop_plan *plan, const char *template, struct text *sql)
{
    sql_expand(sql, template,
               SQL_NAMES({"table", sql_table(plan->schema, plan->table)},
                         {"column", sql_ident(plan->column)}, {"hidden", sql_ident(plan->hidden)}));
}

static void hide_sql(const struct drop_plan *plan, struct text *sql)
{
    if (plan->not_null_count > 0)
        expand(plan, "ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL;\n", sql);
    expand(plan, "ALTER TABLE {table} RENAME COLUMN {column} TO {hidden};\n", sql);
}

static void show_sql(const struct drop_plan *plan, struct text *sql)
{
    expand(plan, "ALTER TABLE {table} RENAME COLUMN {hidden} TO {column};\n", sql);
}

static void drop_sql(const struct drop_plan *plan, struct text *sql)
{
    expand(plan, "ALTER TABLE {table} DROP COLUMN {hidden};\n", sql);
}

/* One change of the table's metadata, and of the job's state with it. */
struct step {
    const char *what_for;
    bool (*look)(struct run *run, struct error *error); /* under the lock, before it; or NULL */
    void (*sql)(const struct drop_plan *plan, struct text *sql);
    const char *state;
    const char *phase;
    const char *fact; /* times of the lock go there; NULL: nowhere */
    int64_t locked_us;
};

/* What is done is before `phase`, which comes next. */
static bool set_phase(struct run *run, const char *phase, struct error *error)
{
    return session_execute(run->session, "UPDATE pghaul.job SET phase = $2 WHERE id = $1::bigint",
                           PARAMS(NUMBER(run->job.id), phase), NULL, error) &&
           session_execute(run->session,
                           "UPDATE pghaul.phase AS p\n"
                           "   SET state = CASE WHEN p.number < here.number THEN 'done'\n"
                           "                    ELSE 'pending' END\n"
                           "  FROM pghaul.phase AS here\n"
                           " WHERE p.job = $1::bigint AND here.job = p.job AND here.name = $2",
                           PARAMS(NUMBER(run->job.id), phase), NULL, error);
}

static bool step_under_lock(struct run *run, void *arg, struct error *error)
{
    struct step *step = arg;
    TEXT_AUTO sql = {0};

    step->locked_us = clock_us();
    if (step->look != NULL && !step->look(run, error))
        return false;
    step->sql(drop_plan_of(run), &sql);
    return run_ddl(run, text_string(&sql), error) && set_phase(run, step->phase, error) &&
           job_set_state(run->session, &run->job, step->state, NULL, error);
}

static bool take_step(struct run *run, struct step *step, struct error *error)
{
    struct lock_change change = {.what_for = step->what_for,
                                 .mode = "ACCESS EXCLUSIVE",
                                 .work = step_under_lock,
                                 .arg = step};
    struct lock_report lock;
    TEXT_AUTO tables = {0};
    TEXT_AUTO fact = {0};

    expand(drop_plan_of(run), "ONLY {table}", &tables);
    change.tables = text_string(&tables);
    change.table_oid = drop_plan_of(run)->table_oid;
    if (!lock_and_change(run, &change, &lock, error))
        return false;
    text_appendf(&fact, "{\"attempts\": %d, \"waited_ms\": %" PRId64 ", \"held_ms\": %" PRId64 "}",
                 lock.attempts, lock.waited_us / 1000, (clock_us() - step->locked_us) / 1000);
    return step->fact == NULL ||
           job_set_fact(run->session, &run->job, step->fact, text_string(&fact), error);
}

/* ----------------------------------------------------------------------------------------- verbs
 */

static void leave_sql(struct run *run, struct text *sql)
{
    job_end_sql(run->job.id, sql);
}

static bool tighten_forward(struct run *run, struct error *error)
{
    TEXT_AUTO leave = {0};

    leave_sql(run, &leave);
    return column_drop_tighten(run, error) &&
           job_set_leave_sql(run->session, &run->job, text_string(&leave), error);
}

static const struct phase PHASES[] = {
    {.name = "tighten",
     .what = "after a rollback: NOT NULL again, if it was; at first nothing",
     .lock = "SHARE UPDATE EXCLUSIVE; ACCESS EXCLUSIVE for milliseconds, by the ladder",
     .forward = tighten_forward},
    {.name = "ready", .what = "the column is as it was; wait for cutover", .lock = "none"},
    {.name = "cutover",
     .what = "hide the column: its name goes, its values stay",
     .lock = "ACCESS EXCLUSIVE, milliseconds, by the ladder"},
    {.name = "finish",
     .what = "drop it, when you say so",
     .lock = "ACCESS EXCLUSIVE, milliseconds, by the ladder"},
    {0},
};

static bool may(const struct run *run, const char *state, const char *verb, struct error *error)
{
    TEXT_AUTO why = {0};

    text_appendf(&why, "is %s: %s does not apply", run->job.state, verb);
    return job_is(&run->job, state) ||
           job_refuse(&run->job, text_string(&why), "pghaul status shows what comes next", error);
}

/* The state, and the plan, may be others once this process leads. */
static bool lead_in(struct run *run, const char *state, const char *verb, struct error *error)
{
    return may(run, state, verb, error) && run_lead(run, error) && may(run, state, verb, error) &&
           drop_load(run, error);
}

static bool reach_ready(struct run *run, struct error *error)
{
    return phases_run(run, &column_drop_kind, "ready", error) &&
           job_refresh(run->session, &run->job, error);
}

static bool refuse_used(struct run *run, struct error *error)
{
    const struct drop_plan *plan = drop_plan_of(run);

    return column_refuse_used(run,
                              &(struct column_use){.table_oid = plan->table_oid,
                                                   .schema = plan->schema,
                                                   .table = plan->table,
                                                   .column = plan->column},
                              error);
}

/* The steps, for run_until(). */

static const char *plan_json(struct run *run)
{
    TEXT_AUTO json = {0};

    fields_to_json(drop_plan_FIELDS, drop_plan_of(run), &json);
    return arena_copy(&run->job.arena, text_string(&json));
}

/* What rollback gives back is what the column had when it was hidden. */
static bool look_again(struct run *run, struct error *error)
{
    return column_drop_read_not_null(run->session, drop_plan_of(run), error) &&
           session_execute(run->session,
                           "UPDATE pghaul.job SET plan = $2::jsonb WHERE id = $1::bigint",
                           PARAMS(NUMBER(run->job.id), plan_json(run)), NULL, error);
}

static bool hide(struct run *run, struct error *error)
{
    return take_step(run,
                     &(struct step){.what_for = "cutover",
                                    .look = look_again,
                                    .sql = hide_sql,
                                    .state = "cut_over",
                                    .phase = "finish",
                                    .fact = "cutover"},
                     error);
}

/* From the name's return to the end of tighten, leaving by SQL is what is left of the rollback. */
static bool leave_loose(struct run *run, struct error *error)
{
    TEXT_AUTO sql = {0};

    leave_sql(run, &sql);
    column_drop_tighten_sql(drop_plan_of(run), &sql);
    return job_set_leave_sql(run->session, &run->job, text_string(&sql), error);
}

static bool show(struct run *run, struct error *error)
{
    return take_step(run,
                     &(struct step){.what_for = "rollback",
                                    .look = leave_loose,
                                    .sql = show_sql,
                                    .state = "running",
                                    .phase = "tighten",
                                    .fact = "rollback"},
                     error);
}

static bool drop(struct run *run, struct error *error)
{
    return take_step(
        run,
        &(struct step){
            .what_for = "finish", .sql = drop_sql, .state = "finished", .phase = "finish"},
        error);
}

static bool drop_cutover(struct run *run, struct error *error)
{
    if (job_is(&run->job, "cut_over"))
        return true;
    if (!job_is(&run->job, "ready") && job_open(&run->job) && !reach_ready(run, error))
        return false;
    return pace_phase_begin(run, error) && lead_in(run, "ready", "cutover", error) &&
           (run->force || refuse_used(run, error)) && run_until(run, hide, "cut_over", error) &&
           run_unlead(run, error);
}

/* The name is back in milliseconds; NOT NULL, which reads the table, comes after that. */
static bool drop_rollback(struct run *run, bool accept_loss, struct error *error)
{
    (void)accept_loss; /* nothing is lost by it */
    /* The name is back, and only the rest is not done. */
    if (job_open(&run->job) && strcmp(run->job.phase, "tighten") == 0)
        return reach_ready(run, error);
    return lead_in(run, "cut_over", "rollback", error) && run_until(run, show, "running", error) &&
           reach_ready(run, error);
}

static bool drop_finish(struct run *run, struct error *error)
{
    if (job_is(&run->job, "finished"))
        return true;
    if (!lead_in(run, "cut_over", "finish", error))
        return false;
    if (run_until(run, drop, "finished", error))
        return run_unlead(run, error);
    if (strcmp(error->sqlstate, SQLSTATE_DEPENDENT_OBJECTS) == 0) {
        error->code = ERROR_REFUSED;
        error_hint(error, "nothing was changed: drop them first, then pghaul finish %s",
                   SHELL_WORD(run->job.name));
    }
    return false;
}

static bool may_abort(const struct run *run, struct error *error)
{
    if (job_is(&run->job, "cut_over"))
        return job_refuse(&run->job, "is cut over",
                          "pghaul rollback gives the column its name back; then abort", error);
    return job_open(&run->job) || job_refuse(&run->job, "is over", "there is nothing left", error);
}

/* A rollback that got no further than the name is completed; its work heeds an abort, which this is
 * itself. */
static bool complete_rollback(struct run *run, struct error *error)
{
    return strcmp(run->job.phase, "tighten") != 0 ||
           (job_set_wanted(run->session, &run->job, "run", error) && drop_load(run, error) &&
            column_drop_tighten(run, error));
}

static bool drop_abort(struct run *run, struct error *error)
{
    if (job_is(&run->job, "aborted"))
        return true;
    return may_abort(run, error) && run_lead(run, error) && may_abort(run, error) &&
           complete_rollback(run, error) &&
           job_set_state(run->session, &run->job, "aborted", NULL, error) && run_unlead(run, error);
}

/* ---------------------------------------------------------------------------------------- prepare
 */

static bool refuse_key(const struct table *table, const struct table_column *column,
                       struct error *error)
{
    for (int i = 0; i < table->index_count; i++)
        for (int c = 0; table->indexes[i].primary && c < table->indexes[i].column_count; c++)
            if (table->indexes[i].columns[c].number == column->number) {
                error_set(error, ERROR_REFUSED, "column %s is part of the primary key",
                          column->name);
                return error_hint(error, "give the table another primary key first: pghaul alter");
            }
    return true;
}

static void describe(struct run *run, struct report *report)
{
    void (*const builders[])(const struct drop_plan *plan, struct text *sql) = {NULL, NULL,
                                                                                hide_sql, drop_sql};
    TEXT_AUTO tables = {0};

    expand(drop_plan_of(run), "ONLY {table}", &tables);
    for (int i = 0; PHASES[i].name != NULL; i++) {
        TEXT_AUTO script = {0};
        TEXT_AUTO sql = {0};

        if (builders[i] != NULL) {
            builders[i](drop_plan_of(run), &sql);
            lock_print_change(run, text_string(&tables), "ACCESS EXCLUSIVE", text_string(&sql),
                              &script);
        }
        report_add_phase(report, &(struct report_phase){.name = PHASES[i].name,
                                                        .what = PHASES[i].what,
                                                        .lock = PHASES[i].lock,
                                                        .estimate = "moments",
                                                        .sql = text_string(&script)});
    }
}

static bool fill_plan(struct run *run, const struct column_drop_options *options,
                      const struct table *table, struct error *error)
{
    struct drop_plan *plan = drop_plan_of(run);
    const struct table_column *column;

    if (!column_find(table, options->table, options->column, &column, error) ||
        !refuse_key(table, column, error))
        return false;
    plan->table_oid = table->oid;
    plan->schema = arena_copy(&plan->arena, table->schema);
    plan->table = arena_copy(&plan->arena, table->name);
    plan->column = arena_copy(&plan->arena, column->name);
    plan->hidden = column_hidden_name(&plan->arena, "pghaul_old_", column->name);
    if (!column_refuse_taken(table, options->table, plan->hidden, error) ||
        !column_drop_read_not_null(run->session, plan, error))
        return false;
    addition_fill_job(run, &column_drop_kind, table, options->job_name, "column", options->column,
                      &options->settings);
    run->job.plan = plan_json(run);
    return true;
}

static bool fill_report(struct run *run, const struct column_drop_options *options,
                        const struct table *table, struct report *report, struct error *error)
{
    const struct drop_plan *plan = drop_plan_of(run);

    addition_headline(run->session, table, options->table, report);
    report_add(report, "hides", "%s, as %s%s", plan->column, plan->hidden,
               plan->not_null_count > 0 ? "; it becomes nullable, because new rows will not have it"
                                        : "");
    report_add(report, "space",
               "its values stay in rows until they are written anew: pghaul alter "
               "rebuilds the table");
    if (!column_report_usage(
            run->session,
            &(struct column_use){.table_oid = plan->table_oid, .column = plan->column}, true,
            report, error) ||
        !column_report_publications(
            run->session, plan->table_oid,
            &(struct column_sent){.hidden = plan->hidden, .gone = plan->column}, report, error))
        return false;
    describe(run, report);
    return true;
}

bool column_drop_prepare(struct run *run, const struct column_drop_options *options,
                         struct report *report, struct error *error)
{
    struct arena arena = {0};
    struct table *table;
    bool ok;

    *report = (struct report){0};
    drop_unload(run);
    run->kind_state = memory_zero(1, sizeof(struct drop_plan));
    ok = lock_check_settings(run->session, &options->settings, error) &&
         addition_table(run->session, options->table, &arena, &table, error) &&
         fill_plan(run, options, table, error) && fill_report(run, options, table, report, error);
    arena_deinit(&arena);
    return ok;
}

bool column_drop_store(struct run *run, struct error *error)
{
    return phases_store(run, &column_drop_kind, leave_sql, error);
}

const struct kind column_drop_kind = {
    .name = "column-drop",
    .words = {.rollback = "gives the column of",
              .rollback_end = "its name back",
              .finish = "drops the column of",
              .finished = "is dropped",
              .aborted = "is as it was",
              .cutover = "hides the column of",
              .cutover_end = "",
              .ready = "the column is as it was",
              .swapped = "the column is hidden",
              .next_cutover = "hide the column; writers wait about 20 ms",
              .next_rollback = "the column gets its name back; writers wait about 20 ms",
              .next_finish = "drop the column",
              .next_abort = "leave it as it is"},
    .phases = PHASES,
    .ready = "ready",
    .load = drop_load,
    .unload = drop_unload,
    .cutover = drop_cutover,
    .rollback = drop_rollback,
    .finish = drop_finish,
    .abort = drop_abort,
};
