#include <string.h>

#include "copy/kinds/column_parts.h"
#include "copy/lock.h"
#include "engine/pg/sql.h"

/* What the phases send when nothing is in the way, by the builders that they use. */

static void print_expand(struct run *run, struct text *script)
{
    const struct column_plan *plan = column_plan_of(run);
    struct sync sync = column_sync(run, false);
    TEXT_AUTO tables = {0};
    TEXT_AUTO sql = {0};

    column_lock_name(plan, &tables);
    sql_note(script, "counters and functions first; then, under the lock:");
    lock_print(run, text_string(&tables), "ACCESS EXCLUSIVE", script);
    text_append(&sql, plan->expand_sql);
    sync_functions_sql(&sync, &sql);
    sync_triggers_sql(&sync, &sql);
    sql_add(script, text_string(&sql));
    sql_add(script, SESSION_COMMIT);
}

static void print_constrain(struct run *run, struct text *script)
{
    const struct column_plan *plan = column_plan_of(run);
    const struct twin *twin = plan->twin;

    for (int i = 0; i < twin->index_count; i++) {
        struct index_spec spec = column_index_spec(plan, &twin->indexes[i]);
        TEXT_AUTO sql = {0};

        online_index_create_sql(&spec, &sql);
        sql_add(script, text_string(&sql));
    }
    for (int i = 0; i < twin->constraint_count; i++) {
        struct constraint_spec spec = column_twin_spec(&twin->constraints[i]);

        online_constraint_print_add(run, &spec, script);
        if (twin->constraints[i].validated)
            online_constraint_print_validate(run, &spec, script);
    }
    if (twin->not_null) {
        TEXT_AUTO name = {0};
        TEXT_AUTO sql = {0};
        struct constraint_spec spec = column_filled_spec(plan, true, &name);

        online_constraint_print_add(run, &spec, script);
        online_constraint_print_validate(run, &spec, script);
        column_expand(plan, "ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL",
                      plan->twin_column, &sql);
        sql_add(script, text_string(&sql));
    }
    if (plan->decorate_sql[0] != '\0')
        sql_add(script, plan->decorate_sql);
}

static void print_finish(struct run *run, struct text *script)
{
    const struct column_plan *plan = column_plan_of(run);
    struct sync sync = column_sync(run, true);
    TEXT_AUTO tables = {0};
    TEXT_AUTO sql = {0};

    column_lock_name(plan, &tables);
    lock_print(run, text_string(&tables), "ACCESS EXCLUSIVE", script);
    column_finish_sql(run, &sql);
    sync_drop_sql(&sync, &sql);
    sql_add(script, text_string(&sql));
    sql_add(script, SESSION_COMMIT);
}

static void print_cutover(struct run *run, struct text *script)
{
    TEXT_AUTO tables = {0};
    TEXT_AUTO sql = {0};

    column_lock_name(column_plan_of(run), &tables);
    column_swap_references_sql(run, script);
    lock_print(run, text_string(&tables), "ACCESS EXCLUSIVE", script);
    column_swap_sql(run, &sql);
    sql_add(script, text_string(&sql));
    sql_add(script, SESSION_COMMIT);
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
    else if (strcmp(phase, "backfill") == 0)
        batch_print(&plan->batch_plan, run->job.id, phase, BATCH_WALK, script);
    else if (strcmp(phase, "later") == 0)
        batch_print(&plan->batch_plan, run->job.id, phase, BATCH_REVISIT, script);
    else if (strcmp(phase, "constrain") == 0)
        print_constrain(run, script);
    else if (strcmp(phase, "cutover") == 0)
        print_cutover(run, script);
    else if (strcmp(phase, "finish") == 0)
        print_finish(run, script);
}
