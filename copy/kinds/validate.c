#include "copy/kinds/validate.h"

#include <stdlib.h>
#include <string.h>

#include "copy/kinds/validate_parts.h"

/* ------------------------------------------------------------------------------------------ plan
 */

static void validate_unload(struct run *run)
{
    if (run->kind_state == NULL)
        return;
    arena_deinit(&validate_plan_of(run)->arena);
    free(run->kind_state);
    run->kind_state = NULL;
}

static bool validate_load(struct run *run, struct error *error)
{
    struct validate_plan *plan;

    validate_unload(run);
    run->kind_state = plan = memory_zero(1, sizeof(struct validate_plan));
    return fields_from_json(run->job.plan, constraint_spec_FIELDS, &plan->arena, &plan->spec,
                            error);
}

/* ----------------------------------------------------------------------------------------- phases
 */

static bool remember(struct run *run, const struct constraint_spec *spec, uint32_t oid,
                     struct error *error)
{
    TEXT_AUTO undo = {0};

    online_constraint_drop_sql(spec, &undo);
    return addition_set_added(run, oid, text_string(&undo), error);
}

static bool add_forward(struct run *run, struct error *error)
{
    return online_constraint_add(run, constraint_spec_of(run), remember, error);
}

static bool validate_forward(struct run *run, struct error *error)
{
    return online_constraint_validate(run, constraint_spec_of(run), error);
}

static const struct phase PHASES[] = {
    {.name = "add",
     .what = "add the constraint, NOT VALID",
     .lock = "SHARE ROW EXCLUSIVE on both tables for a foreign key, else ACCESS EXCLUSIVE; "
             "moments, by the ladder",
     .forward = add_forward},
    {.name = "validate",
     .what = "read all rows",
     .lock = "SHARE UPDATE EXCLUSIVE: nobody who reads or writes waits",
     .forward = validate_forward},
    {.name = "finish", .what = "forget the way back, when you say so", .lock = "none"},
    {0},
};

void validate_describe(struct run *run, const struct constraint_look *look, struct report *report)
{
    const struct constraint_spec *spec = constraint_spec_of(run);

    for (const struct phase *at = PHASES; at->name != NULL; at++) {
        bool add = strcmp(at->name, "add") == 0;
        bool validate = strcmp(at->name, "validate") == 0 && !look->valid;
        TEXT_AUTO script = {0};

        if (add && (spec->definition == NULL || look->exists))
            continue;
        if (add)
            online_constraint_print_add(run, spec, &script);
        if (validate)
            online_constraint_print_validate(run, spec, &script);
        report_add_phase(report, &(struct report_phase){
                                     .name = at->name,
                                     .what = at->what,
                                     .lock = at->lock,
                                     .estimate = validate ? "one scan of the table" : "moments",
                                     .sql = text_string(&script),
                                 });
    }
}

/* ------------------------------------------------------------------------------------------ verbs
 */

/* The one that we added; without the fact there is none, and this is not called. */
static bool take_back(struct run *run, struct error *error)
{
    return online_constraint_drop(run, constraint_spec_of(run), (uint32_t)addition_added(&run->job),
                                  error);
}

static bool validate_rollback(struct run *run, bool accept_loss, struct error *error)
{
    (void)accept_loss;
    return addition_rollback(run, "added no constraint: it was there already", take_back, error);
}

static bool validate_abort(struct run *run, struct error *error)
{
    return addition_abort(run, take_back, error);
}

static bool validate_summary(struct run *run, struct text *out, struct error *error)
{
    const struct constraint_spec *spec = constraint_spec_of(run);

    text_appendf(out, "constraint %s of %s.%s ", spec->name, spec->schema, spec->table);
    if (job_is(&run->job, "rolled_back")) {
        text_append(out, addition_added(&run->job) != 0 ? "is dropped" : "is as it was");
        return true;
    }
    text_append(out, addition_added(&run->job) != 0 ? "is added and valid, in " : "is valid, in ");
    return addition_time(run, out, error);
}

bool validate_store(struct run *run, struct error *error)
{
    return addition_store(run, &validate_kind, error);
}

const struct kind validate_kind = {
    .name = "validate",
    .words = {.rollback = "drops the new constraint of",
              .rollback_end = "under a short lock",
              .finish = "keeps the new constraint of",
              .finished = "stays",
              .aborted = "has no new constraint",
              .next_rollback = "drop the constraint; writers wait about 20 ms",
              .next_finish = "keep it, and forget the way back",
              .next_abort = "end the job, and drop the constraint if the job added it"},
    .phases = PHASES,
    .end = "finish",
    .load = validate_load,
    .unload = validate_unload,
    .rollback = validate_rollback,
    .finish = addition_finish,
    .abort = validate_abort,
    .summary = validate_summary,
};
