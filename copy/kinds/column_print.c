#include <string.h>

#include "copy/kinds/column_parts.h"
#include "copy/lock.h"
#include "copy/statement.h"
#include "engine/job/schema.h"
#include "engine/pg/sql.h"

/* What the phases send when nothing is in the way, by the builders that they use. */

static void print_transaction(const char *sql, struct text *script)
{
    sql_add(script, SESSION_BEGIN);
    sql_add(script, sql);
    sql_add(script, SESSION_COMMIT);
}

static void print_expand(struct run *run, struct text *script)
{
    const struct column_plan *plan = column_plan_of(run);
    TEXT_AUTO tables = {0};
    TEXT_AUTO sql = {0};

    column_lock_name(plan, &tables);
    print_transaction(plan->create_sql, script);
    column_expand_sql(run, false, &sql);
    lock_print_change(run, text_string(&tables), "ACCESS EXCLUSIVE", text_string(&sql), script);
}

static void print_gently(struct run *run, const char *sql, struct text *script)
{
    TEXT_AUTO tables = {0};

    column_lock_name(column_plan_of(run), &tables);
    lock_print_change(run, text_string(&tables), "SHARE UPDATE EXCLUSIVE", sql, script);
}

static void print_indexes(struct run *run, struct text *script)
{
    const struct column_plan *plan = column_plan_of(run);
    const struct twin *twin = plan->twin;
    const struct index_look none = {0};

    for (int i = 0; i < twin->index_count; i++) {
        struct index_spec spec = column_index_spec(plan, &twin->indexes[i]);

        online_index_print(run, &spec, &none, script);
        if (twin->indexes[i].statistics_sql != NULL)
            print_gently(run, twin->indexes[i].statistics_sql, script);
    }
    if (plan->primary_tail != NULL) {
        TEXT_AUTO name = {0};
        struct index_spec spec = column_spare_spec(plan, &name);

        online_index_print(run, &spec, &none, script);
    }
}

static void print_filled(struct run *run, struct text *script)
{
    const struct column_plan *plan = column_plan_of(run);
    TEXT_AUTO name = {0};
    TEXT_AUTO tables = {0};
    TEXT_AUTO sql = {0};
    struct constraint_spec spec = column_filled_spec(plan, true, &name);

    online_constraint_print_add(run, &spec, script);
    online_constraint_print_validate(run, &spec, script);
    column_lock_name(plan, &tables);
    column_filled_sql(plan, &spec, &sql);
    lock_print_change(run, text_string(&tables), "ACCESS EXCLUSIVE", text_string(&sql), script);
}

static void print_decorate(struct run *run, struct text *script)
{
    const struct column_plan *plan = column_plan_of(run);
    TEXT_AUTO sql = {0};

    if (plan->decorate_sql[0] != '\0')
        print_gently(run, plan->decorate_sql, script);
    column_analyze_sql(plan, &sql);
    statement_print(run, text_string(&sql), script);
}

static void print_constrain(struct run *run, struct text *script)
{
    const struct column_plan *plan = column_plan_of(run);
    const struct twin *twin = plan->twin;

    print_indexes(run, script);
    for (int i = 0; i < twin->constraint_count; i++) {
        struct constraint_spec spec = column_twin_spec(&twin->constraints[i]);

        online_constraint_print_add(run, &spec, script);
        if (twin->constraints[i].validated && twin->constraints[i].enforced)
            online_constraint_print_validate(run, &spec, script);
    }
    if (twin->not_null)
        print_filled(run, script);
    for (int i = 0; i < twin->statistics_count; i++) {
        TEXT_AUTO sql = {0};

        column_statistics_sql(&twin->statistics[i], &sql);
        print_gently(run, text_string(&sql), script);
    }
    print_decorate(run, script);
}

static void print_finish(struct run *run, struct text *script)
{
    const struct column_plan *plan = column_plan_of(run);
    TEXT_AUTO tables = {0};
    TEXT_AUTO sql = {0};

    column_lock_name(plan, &tables);
    column_finish_sql(run, &sql);
    if (plan->twin->not_null && plan->twin->not_null_name != NULL)
        column_not_null_sql(plan, "its name then", &sql);
    lock_print_change(run, text_string(&tables), "ACCESS EXCLUSIVE", text_string(&sql), script);
    column_finish_print(run, script);
    text_clear(&sql);
    column_forget_sql(run, &sql);
    print_transaction(text_string(&sql), script);
}

static void print_cutover(struct run *run, struct text *script)
{
    TEXT_AUTO tables = {0};
    TEXT_AUTO sql = {0};

    column_lock_name(column_plan_of(run), &tables);
    column_swap_references_sql(run, script);
    column_swap_sql(run, true, &column_plan_of(run)->identity, &sql);
    lock_print_change(run, text_string(&tables), "ACCESS EXCLUSIVE", text_string(&sql), script);
}

void column_print(struct run *run, const char *phase, struct text *script)
{
    struct column_plan *plan = column_plan_of(run);
    struct sync sync = column_sync(run, false);
    TEXT_AUTO value = {0};

    sync_forward_sql(&sync, &value);
    plan->batch_plan.columns[0].value = arena_copy(&plan->batch_plan.arena, text_string(&value));
    if (strcmp(phase, "expand") == 0)
        print_expand(run, script);
    else if (strcmp(phase, "backfill") == 0) {
        print_transaction(plan->create_batch_sql, script);
        batch_print(&plan->batch_plan, run->job.id, phase, BATCH_WALK, script);
    } else if (strcmp(phase, "later") == 0)
        batch_print(&plan->batch_plan, run->job.id, phase, BATCH_REVISIT, script);
    else if (strcmp(phase, "constrain") == 0)
        print_constrain(run, script);
    else if (strcmp(phase, "cutover") == 0)
        print_cutover(run, script);
    else if (strcmp(phase, "finish") == 0)
        print_finish(run, script);
}

/* In a transaction that is rolled back: with the number that the job would get, and the schema. */
static bool transcribe(struct run *run, struct error *error)
{
    struct column_plan *plan = column_plan_of(run);
    TEXT_AUTO script = {0};
    TEXT_AUTO batch = {0};
    bool ok;

    if (!session_begin(run->session, error) || !schema_ensure(run->session, error) ||
        !job_next_id(run->session, &run->job.id, error) ||
        !column_read_identity(run, true, &plan->arena, &plan->identity, error))
        return false;
    session_transcribe(run->session, &script);
    ok = column_create_functions(run, error);
    session_transcribe(run->session, &batch);
    ok = ok && batch_create(run, &plan->batch_plan, error);
    session_transcribe(run->session, NULL);
    plan->create_sql = arena_copy(&plan->arena, text_string(&script));
    plan->create_batch_sql = arena_copy(&plan->arena, text_string(&batch));
    return ok;
}

bool column_dry_run(struct run *run, struct report *report, struct error *error)
{
    bool ok;

    run->trial = true;
    ok = transcribe(run, error);
    session_rollback(run->session);
    run->trial = false;
    if (ok)
        column_describe(run, report);
    run->job.id = 0;
    return ok;
}
