/* Has the column still what it had when the job was planned? */
#include <string.h>

#include "copy/kinds/column_parts.h"
#include "copy/lock.h"

static bool same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void note(struct text *list, const char *what, const char *name)
{
    text_separate(list, ", ");
    text_appendf(list, "%s%s%s", what, name[0] != '\0' ? " " : "", name);
}

/* Those of `now` that are not in `then`, by name and definition. Twins' names are not compared:
 * they are numbered. */
static void compare_indexes(const struct twin *then, const struct twin *now, struct text *list)
{
    for (int i = 0; i < now->index_count; i++) {
        bool found = false;

        for (int k = 0; k < then->index_count; k++)
            found = found || (same(now->indexes[i].name, then->indexes[k].name) &&
                              same(now->indexes[i].tail, then->indexes[k].tail) &&
                              same(now->indexes[i].constraint, then->indexes[k].constraint));
        if (!found)
            note(list, "index", now->indexes[i].name);
    }
}

static void compare_constraints(const struct twin *then, const struct twin *now, struct text *list)
{
    for (int i = 0; i < now->constraint_count; i++) {
        const struct twin_constraint *constraint = &now->constraints[i];
        bool found = false;

        for (int k = 0; k < then->constraint_count; k++)
            found = found || (constraint->table_oid == then->constraints[k].table_oid &&
                              same(constraint->name, then->constraints[k].name) &&
                              same(constraint->restore, then->constraints[k].restore));
        if (!found)
            note(list, "constraint", constraint->name);
    }
}

static void compare_statistics(const struct twin *then, const struct twin *now, struct text *list)
{
    for (int i = 0; i < now->statistics_count; i++) {
        bool found = false;

        for (int k = 0; k < then->statistics_count; k++)
            found = found || same(now->statistics[i].name, then->statistics[k].name);
        if (!found)
            note(list, "statistics", now->statistics[i].name);
    }
}

static void compare(const struct twin *then, const struct twin *now, struct text *list)
{
    if (!same(then->old_type, now->old_type) || !same(then->old_collation, now->old_collation))
        note(list, "type", "");
    if (!same(then->old_default_sql, now->old_default_sql))
        note(list, "default", "");
    if (then->not_null != now->not_null)
        note(list, "NOT NULL", "");
    if (then->identity != now->identity || !same(then->sequence, now->sequence))
        note(list, "sequence", "");
    if (!same(then->comment, now->comment))
        note(list, "comment", "");
    if (then->grant_count != now->grant_count)
        note(list, "grants", "");
    compare_indexes(then, now, list);
    compare_indexes(now, then, list);
    compare_constraints(then, now, list);
    compare_constraints(now, then, list);
    compare_statistics(then, now, list);
    compare_statistics(now, then, list);
}

struct reading {
    struct arena arena;
    struct twin now;
};

static bool read_now(struct run *run, void *arg, struct error *error)
{
    struct reading *reading = arg;
    const struct column_plan *plan = column_plan_of(run);
    struct arena *arena = &reading->arena;
    struct table *table;
    bool ok = table_describe(run->session, plan->table_oid, arena, &table, error) &&
              session_begin(run->session, error) &&
              twin_read(run, table, plan->column, plan->hidden, NULL, plan->prefix, arena,
                        &reading->now, error);

    session_rollback(run->session);
    return ok;
}

/* The index that is kept for the way back. */
static void leave_out_ours(const struct column_plan *plan, struct twin *now)
{
    int count = 0;

    for (int i = 0; i < now->index_count; i++)
        if (strncmp(now->indexes[i].name, plan->prefix, strlen(plan->prefix)) != 0)
            now->indexes[count++] = now->indexes[i];
    now->index_count = count;
}

/* A try of the cut-over may have taken the foreign keys that lead to the column: they come back
 * first. */
bool column_check_before(struct run *run, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    struct reading reading = {0};
    TEXT_AUTO list = {0};
    bool ok =
        column_restore_references(run, error) && lock_patiently(run, read_now, &reading, error);

    leave_out_ours(plan, &reading.now);
    if (ok)
        compare(plan->before, &reading.now, &list);
    arena_deinit(&reading.arena);
    if (!ok || list.used == 0)
        return ok;
    error_set(error, ERROR_REFUSED, "column %s is not as it was when the job was planned",
              plan->column);
    error_detail(error, "%s", text_string(&list));
    return error_hint(error,
                      "what it has got since would be gone with it: pghaul abort %s and begin "
                      "again, or undo that change",
                      SHELL_WORD(run->job.name));
}
