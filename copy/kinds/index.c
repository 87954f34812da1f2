#include "copy/kinds/index.h"

#include <stdlib.h>

#include "copy/kinds/index_parts.h"

/* ------------------------------------------------------------------------------------------ plan
 */

static void index_unload(struct run *run)
{
    if (run->kind_state == NULL)
        return;
    arena_deinit(&index_plan_of(run)->arena);
    free(run->kind_state);
    run->kind_state = NULL;
}

static bool index_load(struct run *run, struct error *error)
{
    struct index_plan *plan;

    index_unload(run);
    run->kind_state = plan = memory_zero(1, sizeof(struct index_plan));
    return fields_from_json(run->job.plan, index_spec_FIELDS, &plan->arena, &plan->spec, error);
}

/* ----------------------------------------------------------------------------------------- phases
 */

/* What is ours is what is not there, or not valid, before the first statement: from then on,
 * whatever is there by that name and definition is. */
static bool build_plan(struct run *run, struct error *error)
{
    const struct index_spec *spec = index_spec_of(run);
    struct index_look look;
    TEXT_AUTO undo = {0};

    if (!online_index_look(run, spec, &look, error) || !online_index_accept(spec, &look, error))
        return false;
    if (look.valid)
        return true;
    if (look.builder != 0) {
        error_set(error, ERROR_REFUSED, "process %d is building %s.%s already", look.builder,
                  spec->schema, spec->name);
        return error_hint(error, "wait for its end");
    }
    online_index_drop_sql(spec, &undo);
    return addition_set_added(run, 1, text_string(&undo), error);
}

static bool build_forward(struct run *run, struct error *error)
{
    return online_index_build(run, index_spec_of(run), error);
}

static const struct phase PHASES[] = {
    {.name = "build",
     .what = "build the index; what is left of an earlier try is dropped first",
     .lock = "SHARE UPDATE EXCLUSIVE: nobody who reads or writes waits",
     .plan = build_plan,
     .forward = build_forward},
    {.name = "finish", .what = "forget the way back, when you say so", .lock = "none"},
    {0},
};

void index_describe(struct run *run, const struct index_look *look, struct report *report)
{
    TEXT_AUTO build = {0};

    online_index_print(run, index_spec_of(run), look, &build);
    for (const struct phase *at = PHASES; at->name != NULL; at++)
        report_add_phase(report, &(struct report_phase){
                                     .name = at->name,
                                     .what = at->what,
                                     .lock = at->lock,
                                     .estimate = at == PHASES && !look->valid
                                                     ? "two scans of the table, and a sort"
                                                     : "moments",
                                     .sql = at == PHASES ? text_string(&build) : "",
                                 });
}

/* ------------------------------------------------------------------------------------------ verbs
 */

static bool take_back(struct run *run, struct error *error)
{
    return online_index_drop(run, index_spec_of(run), error);
}

static bool index_rollback(struct run *run, bool accept_loss, struct error *error)
{
    (void)accept_loss;
    return addition_rollback(run, "built no index: it was there already", take_back, error);
}

static bool index_abort(struct run *run, struct error *error)
{
    return addition_abort(run, take_back, error);
}

static bool index_summary(struct run *run, struct text *out, struct error *error)
{
    const struct index_spec *spec = index_spec_of(run);
    struct index_look look;
    ROWS_AUTO size = {0};

    text_appendf(out, "index %s.%s ", spec->schema, spec->name);
    if (job_is(&run->job, "rolled_back")) {
        text_append(out, addition_added(&run->job) != 0 ? "is dropped" : "was not built");
        return true;
    }
    if (addition_added(&run->job) == 0) {
        text_append(out, "was there already, as it should be");
        return true;
    }
    if (!online_index_look(run, spec, &look, error) ||
        !session_query(run->session, &size, "SELECT pg_size_pretty($1::bigint)",
                       PARAMS(NUMBER(look.bytes)), error))
        return false;
    text_append(out, "is built, in ");
    if (!addition_time(run, out, error))
        return false;
    text_appendf(out, ": %s", rows_text(&size, 0, 0));
    return true;
}

bool index_store(struct run *run, struct error *error)
{
    return addition_store(run, &index_kind, error);
}

const struct kind index_kind = {
    .name = "index",
    .words = {.rollback = "drops the new index of",
              .rollback_end = "concurrently",
              .finish = "keeps the new index of",
              .finished = "stays",
              .aborted = "has no new index",
              .next_rollback = "drop the index, concurrently",
              .next_finish = "keep it, and forget the way back",
              .next_abort = "end the job, and drop what there is of the index"},
    .phases = PHASES,
    .end = "finish",
    .load = index_load,
    .unload = index_unload,
    .rollback = index_rollback,
    .finish = addition_finish,
    .abort = index_abort,
    .summary = index_summary,
};
