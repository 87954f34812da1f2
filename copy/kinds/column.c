#include "copy/kinds/column.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "copy/kinds/column_name.h"
#include "copy/kinds/column_parts.h"
#include "copy/standby.h"
#include "engine/job/walk.h"
#include "engine/pg/sql.h"

enum { WRITES_MATTER_S = 15 * 60 };

/* ------------------------------------------------------------------------------------------ plan
 */

static const struct field column_plan_FIELDS[] = {
    FIELD_OF(FIELD_OID, column_plan, table_oid),
    FIELD_OF(FIELD_STRING, column_plan, schema),
    FIELD_OF(FIELD_STRING, column_plan, table),
    FIELD_OF(FIELD_STRING, column_plan, column),
    FIELD_OF(FIELD_STRING, column_plan, twin_column),
    FIELD_OF(FIELD_STRING, column_plan, hidden),
    FIELD_OF(FIELD_STRING, column_plan, new_name),
    FIELD_OF(FIELD_STRING, column_plan, using),
    FIELD_OF(FIELD_STRING, column_plan, back_using),
    FIELD_OF(FIELD_STRING, column_plan, search_path),
    FIELD_OF(FIELD_BOOL, column_plan, pinned),
    FIELD_OF(FIELD_BOOL, column_plan, total),
    FIELD_OF(FIELD_STRING, column_plan, prefix),
    FIELD_OF(FIELD_STRING, column_plan, image),
    FIELD_OF(FIELD_STRING, column_plan, key_sql),
    FIELD_OF(FIELD_STRING, column_plan, expand_sql),
    FIELD_OF(FIELD_STRING, column_plan, decorate_sql),
    FIELD_OF(FIELD_STRING, column_plan, batch),
    FIELD_LIST_OF(column_plan, twin, twin_count, twin),
    FIELD_LIST_OF(column_plan, before, before_count, twin),
    FIELD_OF(FIELD_STRING, column_plan, primary_tail),
    FIELD_OF(FIELD_STRING, column_plan, twin_filled),
    FIELD_OF(FIELD_STRING, column_plan, hidden_filled),
    FIELD_OF(FIELD_STRING, column_plan, sequence_type),
    {0},
};

void column_plan_to_json(const struct column_plan *plan, struct text *json)
{
    fields_to_json(column_plan_FIELDS, plan, json);
}

static void column_unload(struct run *run)
{
    struct column_plan *plan = column_plan_of(run);

    if (plan == NULL)
        return;
    batch_plan_deinit(&plan->batch_plan);
    arena_deinit(&plan->arena);
    free(plan);
    run->kind_state = NULL;
}

/* The backfill's fingerprint of the columns is known since expand has made the twin. What it writes
 * is by a function that has the job's number in its name. */
static bool complete_batch(struct run *run, struct error *error)
{
    struct column_plan *plan = column_plan_of(run);
    struct sync sync = column_sync(run, false);
    ROWS_AUTO rows = {0};
    TEXT_AUTO value = {0};

    if (!session_query(run->session, &rows,
                       "SELECT facts ->> 'columns_seen', facts ? 'filled'\n"
                       "  FROM pghaul.job WHERE id = $1::bigint",
                       PARAMS(NUMBER(run->job.id)), error))
        return false;
    sync_forward_sql(&sync, &value);
    plan->batch_plan.columns_seen = arena_copy(&plan->batch_plan.arena, rows_text(&rows, 0, 0));
    plan->batch_plan.columns[0].value = arena_copy(&plan->batch_plan.arena, text_string(&value));
    if (rows_bool(&rows, 0, 1)) {
        TEXT_AUTO where = {0};

        sql_expand(&where, "r.{twin} IS NOT DISTINCT FROM NULL",
                   SQL_NAMES({"twin", sql_ident(plan->twin_column)}));
        plan->batch_plan.where = arena_copy(&plan->batch_plan.arena, text_string(&where));
    }
    return true;
}

static bool column_load(struct run *run, struct error *error)
{
    struct column_plan *plan;

    column_unload(run);
    run->kind_state = plan = memory_zero(1, sizeof(*plan));
    return fields_from_json(run->job.plan, column_plan_FIELDS, &plan->arena, plan, error) &&
           batch_plan_from_json(plan->batch, &plan->batch_plan, error) &&
           complete_batch(run, error);
}

bool column_swapped(const struct run *run)
{
    return job_is(&run->job, "cut_over") || job_is(&run->job, "finished");
}

static bool has_default(const struct column_plan *plan)
{
    return plan->twin->old_default_sql != NULL || plan->twin->identity != '\0';
}

struct sync column_sync(const struct run *run, bool swapped)
{
    const struct column_plan *plan = column_plan_of(run);

    return (struct sync){
        .job = run->job.id,
        .table_oid = plan->table_oid,
        .schema = plan->schema,
        .table = plan->table,
        .old_column = swapped ? plan->hidden : plan->column,
        .new_column = swapped ? plan->new_name : plan->twin_column,
        .old_type = plan->twin->old_type,
        .new_type = plan->twin->type,
        .swapped = swapped,
        .same = plan->using == NULL,
        .total = plan->total,
        .no_back = plan->using != NULL && plan->back_using == NULL,
        .pinned = plan->pinned,
        .search_path = plan->search_path,
        .count_inserts = plan->using == NULL && !has_default(plan),
        .has_default = has_default(plan),
        .meaning = &run->job.meaning,
    };
}

/* ---------------------------------------------------------------------------------------- phases
 */

static bool backfill_plan(struct run *run, struct error *error)
{
    return batch_begin(run, &column_plan_of(run)->batch_plan, "backfill", error);
}

static bool backfill_forward(struct run *run, struct error *error)
{
    return batch_walk(run, &column_plan_of(run)->batch_plan, "backfill", BATCH_WALK, error);
}

static bool later_plan(struct run *run, struct error *error)
{
    return batch_plan_revisit(run, "later", error);
}

static bool later_forward(struct run *run, struct error *error)
{
    return batch_revisit(run, &column_plan_of(run)->batch_plan, "later", BATCH_REVISIT, error);
}

static const struct phase PHASES[] = {
    {.name = "expand",
     .what = "add the new column, nullable, and triggers that keep both equal",
     .lock = "ACCESS EXCLUSIVE, milliseconds, by the ladder",
     .forward = column_expand_forward},
    {.name = "backfill",
     .what = "fill the new column in rows from before, in chunks, by key",
     .lock = "ROW EXCLUSIVE for each chunk; its rows",
     .shared = true,
     .plan = backfill_plan,
     .forward = backfill_forward},
    {.name = "later",
     .what = "visit rows again that others held",
     .lock = "ROW EXCLUSIVE for each chunk; its rows",
     .plan = later_plan,
     .forward = later_forward},
    {.name = "constrain",
     .what = "give the new column what the old one has: indexes concurrently, constraints NOT "
             "VALID and validated, NOT NULL",
     .lock = "SHARE UPDATE EXCLUSIVE; stronger ones for milliseconds, by the ladder",
     .plan = column_constrain_plan,
     .forward = column_constrain_forward},
    {.name = "verify",
     .what = "compare both columns in every row, in one snapshot",
     .lock = "ACCESS SHARE",
     .forward = column_verify_forward,
     .outwaits_locks = true},
    {.name = "ready", .what = "both columns may be used; wait for cutover", .lock = "none"},
    {.name = "cutover",
     .what = "hide the old column; it is still fed",
     .lock = "ACCESS EXCLUSIVE, milliseconds, by the ladder"},
    {.name = "finish",
     .what = "drop the old column and the triggers, when you say so",
     .lock = "ACCESS EXCLUSIVE, milliseconds, by the ladder"},
    {0},
};

/* ----------------------------------------------------------------------------------------- verbs
 */

static bool reach_ready(struct run *run, struct error *error)
{
    return phases_run(run, &column_kind, "ready", error) &&
           job_refresh(run->session, &run->job, error);
}

static bool may(const struct run *run, const char *state, const char *verb, struct error *error)
{
    TEXT_AUTO why = {0};

    if (job_is(&run->job, state))
        return true;
    text_appendf(&why, "is %s: %s does not apply", run->job.state, verb);
    return job_refuse(&run->job, text_string(&why),
                      job_open(&run->job) ? "pghaul status shows what comes next" : "it is over",
                      error);
}

/* The state may be another one once this process leads. */
static bool lead_in(struct run *run, const char *state, const char *verb, struct error *error)
{
    return may(run, state, verb, error) && run_lead(run, error) && may(run, state, verb, error) &&
           column_load(run, error);
}

static bool column_verify(struct run *run, struct error *error)
{
    return may(run, "ready", "verify", error) && phases_reset(run, "verify", error) &&
           reach_ready(run, error);
}

/* Rows or statements that named the old column a short while ago; NULL: none. */
static bool recent_writes(struct run *run, struct arena *arena, const char **writes,
                          struct error *error)
{
    struct sync sync = column_sync(run, false);
    struct sync_counts counts;
    ROWS_AUTO rows = {0};

    *writes = NULL;
    if (!sync_counts(run->session, &sync, arena, &counts, error))
        return false;
    if (counts.old_write_at == NULL)
        return true;
    if (!session_query(run->session, &rows,
                       "SELECT clock_timestamp() < $1::timestamptz + $2::int * interval '1 s'",
                       PARAMS(counts.old_write_at, NUMBER(WRITES_MATTER_S)), error))
        return false;
    if (rows_bool(&rows, 0, 0))
        *writes = arena_format(arena, "%" PRId64 ", the last at %s", counts.old_writes,
                               counts.old_write_at);
    return true;
}

static bool refuse_used(struct run *run, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    struct column_use use = {.table_oid = plan->table_oid,
                             .schema = plan->schema,
                             .table = plan->table,
                             .column = plan->column,
                             .instead = plan->new_name,
                             .stays = plan->using != NULL,
                             .keys = plan->twin->constraints,
                             .key_count = plan->twin->constraint_count};
    struct arena arena = {0};
    bool ok = (use.stays || recent_writes(run, &arena, &use.writes, error)) &&
              column_refuse_used(run, &use, error);
    arena_deinit(&arena);
    return ok;
}

static bool column_cutover(struct run *run, struct error *error)
{
    if (job_is(&run->job, "cut_over"))
        return true;
    if (!job_is(&run->job, "ready") && job_open(&run->job) && !reach_ready(run, error))
        return false;
    return pace_phase_begin(run, error) && lead_in(run, "ready", "cutover", error) &&
           (run->force || refuse_used(run, error)) &&
           standby_wait_readers(run, column_plan_of(run)->table_oid, error) &&
           pace_phase_begin(run, error) && column_check_before(run, error) &&
           run_until(run, column_swap, "cut_over", error) && run_unlead(run, error);
}

/* Has the old column its name back already, and only the rest is not done? */
static bool is_back(struct run *run, bool *yes, struct error *error)
{
    ROWS_AUTO rows = {0};

    *yes = false;
    if (job_is(&run->job, "cut_over") || !job_open(&run->job))
        return true;
    if (!session_query(run->session, &rows,
                       "SELECT facts ->> 'back' = 'true' FROM pghaul.job WHERE id = $1::bigint",
                       PARAMS(NUMBER(run->job.id)), error))
        return false;
    *yes = rows_bool(&rows, 0, 0);
    return true;
}

/* The names are back in milliseconds; what both columns must have is looked at again after that. */
static bool column_rollback(struct run *run, bool accept_loss, struct error *error)
{
    bool back;

    run->force = accept_loss;
    if (!is_back(run, &back, error))
        return false;
    if (back)
        return reach_ready(run, error);
    return lead_in(run, "cut_over", "rollback", error) &&
           run_until(run, column_swap_back, "running", error) && reach_ready(run, error);
}

static bool finish(struct run *run, struct error *error)
{
    if (job_is(&run->job, "finished"))
        return true;
    return lead_in(run, "cut_over", "finish", error) &&
           run_until(run, column_finish, "finished", error) && run_unlead(run, error);
}

static bool may_abort(const struct run *run, struct error *error)
{
    if (job_is(&run->job, "cut_over"))
        return job_refuse(&run->job, "is cut over",
                          "pghaul rollback gives the old name back; then abort", error);
    return job_open(&run->job) || job_refuse(&run->job, "is over", "there is nothing left", error);
}

static bool abort_it(struct run *run, struct error *error)
{
    if (job_is(&run->job, "aborted"))
        return true;
    return may_abort(run, error) && run_lead(run, error) && may_abort(run, error) &&
           column_load(run, error) && run_until(run, column_abort, "aborted", error) &&
           run_unlead(run, error);
}

/* Cut over, it keeps itself up; but a rollback may have been killed. */
static bool column_keep_up(struct run *run, struct error *error)
{
    if (!job_is(&run->job, "cut_over"))
        return true;
    if (!run_lead(run, error))
        return false;
    if (job_is(&run->job, "cut_over") &&
        (!column_load(run, error) || !column_give_up_back(run, error) ||
         !column_settle_references(run, error)))
        return false;
    return run_unlead(run, error);
}

/* ----------------------------------------------------------------------------------------- words
 */

static bool column_numbers(struct run *run, struct kind_numbers *numbers, struct error *error)
{
    *numbers = (struct kind_numbers){-1, -1, -1, -1};
    if (!column_swapped(run) || job_is(&run->job, "finished"))
        return true;
    return column_count_lost(run, &numbers->irreversible_rows, error);
}

void column_describe(struct run *run, struct report *report)
{
    const struct column_plan *plan = column_plan_of(run);

    for (const struct phase *at = PHASES; at->name != NULL; at++) {
        TEXT_AUTO script = {0};

        column_print(run, at->name, &script);
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

bool column_store(struct run *run, struct error *error)
{
    return phases_store(run, &column_kind, column_leave_sql, error);
}

const struct kind column_kind = {
    .name = "column",
    .words = {.rollback = "gives the old column of",
              .rollback_end = "its name back",
              .finish = "drops the old column of",
              .finished = "is dropped",
              .aborted = "is as it was",
              .done = "looked at",
              .cutover = "hides the old column of",
              .cutover_end = "",
              .ready = "both columns may be used",
              .swapped = "the old column is fed",
              .next_cutover = "hide the old column; writers wait about 20 ms",
              .next_rollback = "the old column gets its name back; writers wait about 20 ms",
              .next_finish = "drop the old column",
              .next_abort = "leave no trace"},
    .phases = PHASES,
    .ready = "ready",
    .walk = "backfill",
    .again = "expand",
    .load = column_load,
    .unload = column_unload,
    .verify = column_verify,
    .cutover = column_cutover,
    .rollback = column_rollback,
    .finish = finish,
    .abort = abort_it,
    .keep_up = column_keep_up,
    .numbers = column_numbers,
};
