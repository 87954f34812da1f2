/*
 * --in-place: the actions run on the table itself, under a short lock. Nothing moves, so nothing
 * has to be carried over: what depends on the table stays where it is, and the server minds it.
 *
 * Whether they rewrite the table is found out twice: on an empty clone, without a lock, where that
 * works (an action may be about what a clone does not have: a foreign key); and under the lock, by
 * the table's own storage, before the commit.
 */
#include <string.h>

#include "copy/actions.h"
#include "copy/kinds/alter_parts.h"
#include "copy/lock.h"
#include "engine/job/schema.h"
#include "engine/pg/sqlstate.h"

/* What matters to an ALTER TABLE of ours; all else that inspection refuses is about the copy. */
static const char *const MATTERS[] = {
    "standby",      "read-only",
    "schema-owner", "privilege-pghaul",
    "system-table", "not-a-table",
    "own-schema",   "privilege-pghaul-tables",
    "temporary",    "privilege-owner",
    "partitioned",  "inherits-parent",
    "job-open",     NULL,
};

static bool find_table(struct preparation *prep, struct error *error)
{
    return inspect_typed(prep->run->session, prep->options->table, MATTERS, &prep->findings,
                         &prep->arena, &prep->source, error);
}

/* As much of a plan as a clone needs. */
static bool begin(struct preparation *prep, struct error *error)
{
    const struct alter_options *options = prep->options;
    struct run *run = prep->run;
    struct plan *plan;

    copy_unload(run);
    run->kind_state = memory_zero(1, sizeof(struct copy));
    run->job.settings = options->settings;
    for (int i = 0; i < options->action_count; i++) {
        struct action action;

        if (!actions_check(options->actions[i], &prep->arena, &action, error))
            return false;
    }
    if (!lock_check_settings(run->session, &options->settings, error) || !find_table(prep, error))
        return false;
    plan = &copy_of(run)->plan;
    plan->source_oid = prep->source->oid;
    plan->schema = arena_copy(&plan->arena, prep->source->schema);
    plan->table = arena_copy(&plan->arena, prep->source->name);
    plan->search_path = arena_copy(&plan->arena, session_user_search_path(run->session));
    plan->actions = arena_alloc(&plan->arena, sizeof(char *) * (size_t)(options->action_count + 1));
    for (int i = 0; i < options->action_count; i++)
        plan->actions[i] = arena_copy(&plan->arena, options->actions[i]);
    plan->action_count = options->action_count;
    run->job.id = ALTER_TRIAL_NUMBER;
    copy_rename(run);
    return true;
}

/* On an empty clone, in a transaction that is rolled back. What the server refuses there says
 * nothing: the table itself is asked next. */
static bool try_on_clone(struct preparation *prep, struct error *error)
{
    struct run *run = prep->run;
    bool ok;

    run->trial = true;
    ok = session_begin(run->session, error) && schema_ensure(run->session, error) &&
         shadow_lock(run, error) &&
         session_set(run->session, "statement_timeout", NUMBER(ALTER_TRIAL_MS), true, error) &&
         shadow_try(run, prep->source, &prep->arena, &prep->changes, error);
    session_rollback(run->session);
    run->trial = false;
    if (ok)
        return true;
    prep->changes.any = false;
    return error->code == ERROR_SQL || error->code == ERROR_REFUSED || error->code == ERROR_LOCK;
}

static bool refuse_rewrite(struct error *error)
{
    error_set(error, ERROR_REFUSED,
              "this needs a rewrite of the table and cannot be done in place");
    return error_hint(error, "leave out --in-place");
}

static bool storage(struct preparation *prep, int64_t *number, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(prep->run->session, &rows, "SELECT pg_relation_filenode($1::oid)",
                       PARAMS(NUMBER(prep->source->oid)), error))
        return false;
    *number = rows_int64(&rows, 0, 0);
    return true;
}

/* Nobody waits longer for us than for a lock: what scans the table under it is cut off. */
static bool act(struct preparation *prep, struct error *error)
{
    struct run *run = prep->run;
    const struct plan *plan = &copy_of(run)->plan;
    int64_t before, after;

    if (!storage(prep, &before, error) ||
        !session_set(run->session, "statement_timeout",
                     NUMBER(prep->options->settings.lock_timeout_ms), true, error) ||
        !session_set(run->session, "search_path", plan->search_path, true, error))
        return false;
    for (int i = 0; i < plan->action_count; i++) {
        TEXT_AUTO sql = {0};

        sql_expand(&sql, "ALTER TABLE {table} {action}",
                   SQL_NAMES({"table", sql_table(plan->schema, plan->table)},
                             {"action", sql_fragment(plan->actions[i])}));
        if (!session_execute(run->session, text_string(&sql), NO_PARAMS, NULL, error)) {
            if (strcmp(error->sqlstate, SQLSTATE_QUERY_CANCELED) != 0) {
                error_refuse(error, "nothing was changed");
                return error_context(error, "--do '%s'", plan->actions[i]);
            }
            error_set(error, ERROR_REFUSED,
                      "this reads the whole table under its lock, for longer than lock.timeout");
            return error_hint(error, "leave out --in-place: the copy does it without a lock");
        }
    }
    return session_set(run->session, "search_path", "pg_catalog, pg_temp", true, error) &&
           storage(prep, &after, error) && (before == after || refuse_rewrite(error));
}

static bool alter(struct preparation *prep, struct error *error)
{
    struct run *run = prep->run;
    struct lock_report lock;
    TEXT_AUTO table = {0};

    if (!begin(prep, error))
        return false;
    if (prep->options->action_count == 0)
        return refuse_rewrite(error);
    if (!try_on_clone(prep, error))
        return false;
    if (prep->changes.any)
        return refuse_rewrite(error);
    text_appendf(&table, "ONLY %s", copy_of(run)->forward.from_qualified);
    if (!lock_tables(run, text_string(&table), "ACCESS EXCLUSIVE", &lock, error))
        return false;
    if (act(prep, error) && session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return false;
}

bool alter_in_place(struct run *run, const struct alter_options *options, struct error *error)
{
    struct preparation prep = {.run = run, .options = options};
    bool ok = alter(&prep, error);

    run->job.id = 0; /* there is no job */
    findings_deinit(&prep.findings);
    arena_deinit(&prep.arena);
    return ok;
}
