#include "copy/kinds/column_not_null.h"

#include <stdlib.h>
#include <string.h>

#include "copy/kinds/column_name.h"
#include "copy/kinds/column_not_null_parts.h"
#include "copy/lock.h"
#include "copy/statement.h"

/* What the kind has in memory. */
struct not_null_plan {
    struct arena arena;
    struct not_null not_null;
};

static const struct not_null *not_null_of(const struct run *run)
{
    return &((const struct not_null_plan *)run->kind_state)->not_null;
}

static void not_null_unload(struct run *run)
{
    struct not_null_plan *plan = run->kind_state;

    if (plan == NULL)
        return;
    arena_deinit(&plan->arena);
    free(plan);
    run->kind_state = NULL;
}

static bool not_null_load(struct run *run, struct error *error)
{
    struct not_null_plan *plan;

    not_null_unload(run);
    run->kind_state = plan = memory_zero(1, sizeof(*plan));
    return fields_from_json(run->job.plan, not_null_FIELDS, &plan->arena, &plan->not_null, error);
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

static bool check_forward(struct run *run, struct error *error)
{
    const struct not_null *not_null = not_null_of(run);
    struct constraint_look look;
    bool found = false;

    if (!online_constraint_look(run, not_null->constraint, &look, error))
        return false;
    if (!look.exists && !not_null_scan(run, not_null, &found, error))
        return false;
    return !found ? not_null_check(run, not_null, remember, error)
                  : not_null_refuse(run, not_null, error);
}

static bool validate_forward(struct run *run, struct error *error)
{
    return not_null_validate(run, not_null_of(run), error);
}

/* From now on the way back is another one; none, when somebody else was faster. */
static bool was_set(struct run *run, bool by_us, struct error *error)
{
    TEXT_AUTO leave = {0};

    if (by_us) {
        not_null_drop_sql(not_null_of(run), &leave);
        return addition_set_added(run, addition_added(&run->job), text_string(&leave), error);
    }
    job_end_sql(run->job.id, &leave);
    return job_set_fact(run->session, &run->job, "added", "0", error) &&
           job_set_fact(run->session, &run->job, "kept", "false", error) &&
           job_set_leave_sql(run->session, &run->job, text_string(&leave), error);
}

static bool set_forward(struct run *run, struct error *error)
{
    return not_null_set(run, not_null_of(run), was_set, error);
}

static const struct phase PHASES[] = {
    {.name = "check",
     .what = "look for rows with NULL; add the check, NOT VALID",
     .lock = "ACCESS EXCLUSIVE, moments, by the ladder",
     .forward = check_forward},
    {.name = "validate",
     .what = "read all rows",
     .lock = "SHARE UPDATE EXCLUSIVE: nobody who reads or writes waits",
     .forward = validate_forward},
    {.name = "set",
     .what = "set NOT NULL, which the check proves; drop the check",
     .lock = "ACCESS EXCLUSIVE, moments, by the ladder",
     .forward = set_forward},
    {.name = "finish", .what = "forget the way back, when you say so", .lock = "none"},
    {0},
};

static void print_phase(struct run *run, const char *phase, struct text *script)
{
    const struct not_null *not_null = not_null_of(run);

    if (strcmp(phase, "check") == 0) {
        not_null_print_scan(not_null, script);
        if (not_null->constraint->definition != NULL)
            online_constraint_print_add(run, not_null->constraint, script);
    } else if (strcmp(phase, "validate") == 0) {
        online_constraint_print_validate(run, not_null->constraint, script);
    } else if (strcmp(phase, "set") == 0) {
        not_null_print_set(run, not_null, script);
    }
}

static void describe(struct run *run, bool done, struct report *report)
{
    for (const struct phase *at = PHASES; at->name != NULL; at++) {
        bool reads = strcmp(at->name, "check") == 0 || strcmp(at->name, "validate") == 0;
        TEXT_AUTO script = {0};

        if (!done)
            print_phase(run, at->name, &script);
        report_add_phase(report,
                         &(struct report_phase){
                             .name = at->name,
                             .what = at->what,
                             .lock = at->lock,
                             .estimate = reads && !done ? "one scan of the table" : "moments",
                             .sql = text_string(&script),
                         });
    }
}

/* ------------------------------------------------------------------------------------------ verbs
 */

static bool drop_not_null(struct run *run, void *arg, struct error *error)
{
    return run_ddl(run, arg, error) || error_refuse(error, NULL);
}

/* The constraint that we added; or, when it is gone, what it was for: both changed places in one
 * transaction. */
static bool take_back(struct run *run, struct error *error)
{
    const struct not_null *not_null = not_null_of(run);
    uint32_t added = (uint32_t)addition_added(&run->job);
    struct constraint_look constraint;
    struct not_null_look look;
    TEXT_AUTO sql = {0};

    if (!online_constraint_look(run, not_null->constraint, &constraint, error) ||
        !not_null_look(run, not_null->constraint->table_oid, not_null->column, NULL, &look, error))
        return false;
    if (constraint.exists && constraint.oid == added)
        return online_constraint_drop(run, not_null->constraint, added, error);
    if (!look.set || not_null->constraint->type == 'n')
        return true;
    not_null_drop_sql(not_null, &sql);
    return not_null_change(run, not_null, "rollback", drop_not_null, (void *)text_string(&sql),
                           error);
}

static bool not_null_rollback(struct run *run, bool accept_loss, struct error *error)
{
    (void)accept_loss;
    return addition_rollback(run, "changed nothing: the column was NOT NULL already", take_back,
                             error);
}

static bool not_null_abort(struct run *run, struct error *error)
{
    return addition_abort(run, take_back, error);
}

static bool not_null_summary(struct run *run, struct text *out, struct error *error)
{
    const struct not_null *not_null = not_null_of(run);

    text_appendf(out, "column %s of %s.%s ", not_null->column, not_null->constraint->schema,
                 not_null->constraint->table);
    if (job_is(&run->job, "rolled_back")) {
        text_append(out, addition_added(&run->job) != 0 ? "may be NULL again" : "is as it was");
        return true;
    }
    if (addition_added(&run->job) == 0) {
        text_append(out, "is NOT NULL, and not by this job");
        return true;
    }
    text_append(out, "is NOT NULL, in ");
    return addition_time(run, out, error);
}

/* ---------------------------------------------------------------------------------------- prepare
 */

static void fill_report(struct run *run, const struct column_not_null_options *options,
                        const struct table *table, const struct not_null_look *look,
                        struct report *report)
{
    const struct not_null *not_null = not_null_of(run);

    addition_headline(run->session, table, options->table, report);
    if (look->set) {
        report_add(report, "column", "%s is NOT NULL already; nothing is done", not_null->column);
        return;
    }
    report_add(report, "column", "%s may be NULL so far", not_null->column);
    if (look->null_part > 0)
        report_add(report, "NULL", "in about %.1f %% of the rows, by the statistics: they must go",
                   look->null_part * 100);
    report_add(report, "undo", "%s",
               not_null->constraint->definition != NULL
                   ? "rollback takes NOT NULL away again, under a short lock"
                   : "none: what was there, NOT VALID, stays valid");
}

/* 18: what is there, NOT VALID, is validated, and is not ours to drop. */
static void use_existing(struct constraint_spec *spec, const char *name)
{
    if (name == NULL)
        return;
    spec->name = name;
    spec->type = 'n';
    spec->definition = NULL;
}

static bool make_plan(struct run *run, const struct column_not_null_options *options,
                      struct arena *arena, struct table **table, struct not_null_look *look,
                      struct error *error)
{
    struct not_null_plan *plan = run->kind_state;
    const struct table_column *column;
    struct constraint_look constraint;
    TEXT_AUTO json = {0};

    if (!lock_check_settings(run->session, &options->settings, error) ||
        !statement_check_settings(run->session, error) ||
        !addition_table(run->session, options->table, arena, table, error) ||
        !column_find(*table, options->table, options->column, &column, error) ||
        !not_null_look(run, (*table)->oid, column->name, &plan->arena, look, error) ||
        !not_null_plan(run, *table, column->name, NULL, &plan->arena, &plan->not_null, error))
        return false;
    use_existing(plan->not_null.constraint, look->name);
    addition_fill_job(run, &column_not_null_kind, *table, options->job_name, "column",
                      options->column, &options->settings);
    fields_to_json(not_null_FIELDS, &plan->not_null, &json);
    run->job.plan = arena_copy(&run->job.arena, text_string(&json));
    return online_constraint_look(run, plan->not_null.constraint, &constraint, error) &&
           (look->set || online_constraint_accept(plan->not_null.constraint, &constraint, error));
}

bool column_not_null_prepare(struct run *run, const struct column_not_null_options *options,
                             struct report *report, struct error *error)
{
    struct arena arena = {0};
    struct table *table;
    struct not_null_look look;
    bool ok;

    *report = (struct report){0};
    not_null_unload(run);
    run->kind_state = memory_zero(1, sizeof(struct not_null_plan));
    run->job.settings = options->settings;
    ok = make_plan(run, options, &arena, &table, &look, error);
    if (ok) {
        fill_report(run, options, table, &look, report);
        describe(run, look.set, report);
    }
    arena_deinit(&arena);
    return ok;
}

bool column_not_null_store(struct run *run, struct error *error)
{
    return addition_store(run, &column_not_null_kind, error);
}

const struct kind column_not_null_kind = {
    .name = "column-not-null",
    .words = {.rollback = "takes NOT NULL away from the column of",
              .rollback_end = "again",
              .finish = "keeps NOT NULL of",
              .finished = "stays",
              .aborted = "is as it was",
              .next_rollback = "the column may be NULL again; writers wait about 20 ms",
              .next_finish = "keep it, and forget the way back",
              .next_abort = "end the job, and drop the check if the job added it"},
    .phases = PHASES,
    .end = "finish",
    .load = not_null_load,
    .unload = not_null_unload,
    .rollback = not_null_rollback,
    .finish = addition_finish,
    .abort = not_null_abort,
    .summary = not_null_summary,
};
