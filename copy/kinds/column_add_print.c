#include <string.h>

#include "copy/kinds/column_add_parts.h"
#include "copy/lock.h"
#include "engine/pg/sql.h"

/* What the phases send when nothing is in the way, by the builders that they use. */

static void print_not_null(struct run *run, struct text *script)
{
    const struct not_null *not_null = column_add_plan_of(run)->not_null;

    not_null_print_scan(not_null, script);
    online_constraint_print_add(run, not_null->constraint, script);
    online_constraint_print_validate(run, not_null->constraint, script);
    not_null_print_set(run, not_null, script);
}

static void print_change(struct run *run, const char *change, struct text *script)
{
    TEXT_AUTO tables = {0};

    column_add_lock_name(column_add_plan_of(run), &tables);
    lock_print(run, text_string(&tables), "ACCESS EXCLUSIVE", script);
    session_print_set("statement_timeout", NUMBER(run->job.settings.lock_timeout_ms), true, script);
    sql_add(script, change);
    sql_add(script, SESSION_COMMIT);
}

static void print_constrain(struct run *run, struct text *script)
{
    const struct column_add_plan *plan = column_add_plan_of(run);

    for (int i = 0; i < plan->constraint_count; i++) {
        online_constraint_print_add(run, &plan->constraints[i], script);
        if (column_add_is_enforced(&plan->constraints[i]))
            online_constraint_print_validate(run, &plan->constraints[i], script);
    }
    for (int i = 0; i < plan->index_count; i++) {
        online_index_print(run, &plan->indexes[i], &(struct index_look){0}, script);
        print_change(run, plan->attach_sql[i], script);
    }
}

bool column_add_print(struct run *run, const char *phase, struct text *script)
{
    const struct column_add_plan *plan = column_add_plan_of(run);
    TEXT_AUTO sql = {0};

    if (strcmp(phase, "expand") == 0) {
        print_change(run, plan->expand_sql, script);
    } else if (strcmp(phase, "backfill") == 0 && column_add_is_slow(run)) {
        batch_print(&plan->batch_plan, run->job.id, phase, BATCH_WALK, script);
    } else if (strcmp(phase, "later") == 0 && column_add_is_slow(run)) {
        batch_print(&plan->batch_plan, run->job.id, phase, BATCH_REVISIT, script);
    } else if (strcmp(phase, "not null") == 0 && plan->not_null_count > 0) {
        print_not_null(run, script);
    } else if (strcmp(phase, "constrain") == 0) {
        print_constrain(run, script);
    } else if (strcmp(phase, "tidy") == 0 && column_add_is_slow(run)) {
        batch_drop_sql(run->job.id, true, &sql);
        sql_add(script, text_string(&sql));
    }
    return script->used > 0 || strcmp(phase, "finish") == 0;
}
