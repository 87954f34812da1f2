#include "copy/kinds/validate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "copy/kinds/validate_parts.h"
#include "copy/lock.h"
#include "engine/base/clock.h"
#include "engine/pg/sql.h"
#include "engine/pg/sqlstate.h"

/* ------------------------------------------------------------------------------------------ plan
 */

void validate_plan_fields(struct validate_plan *plan, struct addition_field fields[6])
{
    fields[0] = (struct addition_field){"schema", &plan->schema};
    fields[1] = (struct addition_field){"table", &plan->table};
    fields[2] = (struct addition_field){"name", &plan->name};
    fields[3] = (struct addition_field){"type", &plan->type};
    fields[4] = (struct addition_field){"definition", &plan->definition};
    fields[5] = (struct addition_field){"other", &plan->other};
}

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
    struct addition_field fields[VALIDATE_PLAN_FIELDS];
    struct validate_plan *plan;

    validate_unload(run);
    run->kind_state = plan = memory_zero(1, sizeof(struct validate_plan));
    validate_plan_fields(plan, fields);
    return addition_from_json(run->job.plan, fields, VALIDATE_PLAN_FIELDS, &plan->arena, error);
}

static void expand(const struct validate_plan *plan, const char *template, struct text *sql)
{
    sql_expand(sql, template,
               SQL_NAMES({"table", sql_table(plan->schema, plan->table)},
                         {"name", sql_ident(plan->name)},
                         {"definition", sql_fragment(plan->definition)}));
}

static void add_sql(const struct validate_plan *plan, struct text *sql)
{
    expand(plan, "ALTER TABLE {table} ADD CONSTRAINT {name} {definition}", sql);
}

static void validate_sql(const struct validate_plan *plan, struct text *sql)
{
    expand(plan, "ALTER TABLE {table} VALIDATE CONSTRAINT {name}", sql);
}

static void drop_sql(const struct validate_plan *plan, struct text *sql)
{
    expand(plan, "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}", sql);
}

/* What the ladder locks: the table, and the one that it references. */
static void tables_sql(const struct validate_plan *plan, struct text *sql)
{
    expand(plan, "ONLY {table}", sql);
    if (plan->other != NULL)
        text_appendf(sql, ", ONLY %s", plan->other);
}

/* Of adding it. Dropping takes ACCESS EXCLUSIVE on both. */
static const char *add_mode(const struct validate_plan *plan)
{
    return plan->type[0] == 'f' ? "SHARE ROW EXCLUSIVE" : "ACCESS EXCLUSIVE";
}

/* ---------------------------------------------------------------------------------- what is there
 */

/* $1 table, $2 name, $3 definition. Since 18 a constraint may be NOT ENFORCED. */
static const char LOOK[] =
    "SELECT k.oid, k.convalidated, k.contype,\n"
    "       coalesce(to_jsonb(k) ->> 'conenforced', 'true') = 'true',\n"
    "       coalesce(regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '')\n"
    "                = regexp_replace($3::text, ' NOT VALID$', ''), true)\n"
    "  FROM pg_constraint AS k WHERE k.conrelid = $1::oid AND k.conname = $2";

bool validate_look(struct run *run, struct validate_look *look, struct error *error)
{
    const struct validate_plan *plan = validate_plan_of(run);
    ROWS_AUTO rows = {0};

    *look = (struct validate_look){0};
    if (!session_query(run->session, &rows, LOOK,
                       PARAMS(NUMBER(run->job.source_oid), plan->name, plan->definition), error))
        return false;
    if (rows_count(&rows) == 0)
        return true;
    *look = (struct validate_look){
        .exists = true,
        .oid = (uint32_t)rows_int64(&rows, 0, 0),
        .valid = rows_bool(&rows, 0, 1),
        .type = rows_text(&rows, 0, 2)[0],
        .enforced = rows_bool(&rows, 0, 3),
        .same = rows_bool(&rows, 0, 4),
    };
    return true;
}

bool validate_accept(const struct run *run, const struct validate_look *look, struct error *error)
{
    const struct validate_plan *plan = validate_plan_of(run);

    if (!look->exists || look->same)
        return true;
    error_set(error, ERROR_REFUSED, "%s.%s has another constraint %s already", plan->schema,
              plan->table, plan->name);
    return error_hint(error, "give the new one another name, or drop that one");
}

/* ----------------------------------------------------------------------------------------- phases
 */

/* In the transaction that has the lock. What scans the table under it is cut off. */
static bool add_under_lock(struct run *run, const struct lock_report *lock, int64_t start_us,
                           struct error *error)
{
    const struct validate_plan *plan = validate_plan_of(run);
    struct validate_look look;
    TEXT_AUTO sql = {0};
    TEXT_AUTO undo = {0};

    add_sql(plan, &sql);
    drop_sql(plan, &undo);
    if (!session_set(run->session, "statement_timeout", NUMBER(run->job.settings.lock_timeout_ms),
                     true, error))
        return false;
    if (!run_ddl(run, text_string(&sql), error))
        return error_refuse(error, NULL);
    return validate_look(run, &look, error) &&
           addition_set_added(run, look.oid, text_string(&undo), error) &&
           job_add_lock(run->session, &run->job, "add", add_mode(plan), lock->waited_us / 1000,
                        (clock_us() - start_us) / 1000, lock->attempts, error) &&
           session_commit(run->session, error);
}

static bool add_forward(struct run *run, struct error *error)
{
    const struct validate_plan *plan = validate_plan_of(run);
    struct validate_look look;
    struct lock_report lock;
    TEXT_AUTO tables = {0};

    if (plan->definition == NULL)
        return true;
    if (!validate_look(run, &look, error) || !validate_accept(run, &look, error))
        return false;
    if (look.exists)
        return true;
    tables_sql(plan, &tables);
    if (lock_tables(run, text_string(&tables), add_mode(plan), &lock, error) &&
        add_under_lock(run, &lock, clock_us(), error))
        return true;
    session_rollback(run->session);
    return false;
}

static bool refuse_gone(const struct run *run, struct error *error)
{
    const struct validate_plan *plan = validate_plan_of(run);

    return error_set(error, ERROR_REFUSED, "%s.%s has no constraint %s any more", plan->schema,
                     plan->table, plan->name);
}

/* $1 = oid of a check. */
static const char CONDITION[] =
    "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint WHERE oid = $1::oid";

/* The server names the key of a foreign key that leads nowhere; of a check it says less. */
static bool explain_failure(struct run *run, const struct validate_look *look, struct error *error)
{
    struct error ignored = {0};
    ROWS_AUTO rows = {0};
    TEXT_AUTO find = {0};

    if (strncmp(error->sqlstate, "23", 2) != 0 || stop_wanted(run->stop))
        return false;
    if (look->type == 'c' &&
        session_query(run->session, &rows, CONDITION, PARAMS(NUMBER(look->oid)), &ignored) &&
        rows_count(&rows) == 1)
        sql_expand(&find, "SELECT * FROM {table} WHERE NOT ({condition}) finds them; ",
                   SQL_NAMES({"table", sql_table(validate_plan_of(run)->schema,
                                                 validate_plan_of(run)->table)},
                             {"condition", sql_fragment(rows_text(&rows, 0, 0))}));
    return error_hint(error, "%smend the rows, then pghaul resume %s", text_string(&find),
                      SHELL_WORD(run->job.name));
}

static bool validate_forward(struct run *run, struct error *error)
{
    const struct validate_plan *plan = validate_plan_of(run);
    struct statement statement = {
        .what = "validation",
        .limit_ms = run->job.settings.snapshot_wait_ms,
        .heeds_abort = true,
    };
    TEXT_AUTO sql = {0};
    int gave_way = 0;

    validate_sql(plan, &sql);
    statement.sql = text_string(&sql);
    for (;;) {
        struct validate_look look;
        bool gave;

        if (!validate_look(run, &look, error))
            return false;
        if (!look.exists)
            return refuse_gone(run, error);
        if (look.valid)
            return true;
        if (!statement_run(run, &statement, &gave, error))
            return explain_failure(run, &look, error);
        if (gave ? !statement_pause(run, &statement, ++gave_way, error)
                 : !job_event(run->session, run->job.id, "ddl", error, "%s", text_string(&sql)))
            return false;
    }
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

static void print_add(struct run *run, struct text *script)
{
    const struct validate_plan *plan = validate_plan_of(run);
    TEXT_AUTO tables = {0};
    TEXT_AUTO sql = {0};

    tables_sql(plan, &tables);
    add_sql(plan, &sql);
    lock_print(run, text_string(&tables), add_mode(plan), script);
    session_print_set("statement_timeout", NUMBER(run->job.settings.lock_timeout_ms), true, script);
    sql_add(script, text_string(&sql));
    sql_add(script, SESSION_COMMIT);
}

void validate_describe(struct run *run, const struct validate_look *look, struct report *report)
{
    const struct validate_plan *plan = validate_plan_of(run);

    for (const struct phase *at = PHASES; at->name != NULL; at++) {
        bool add = strcmp(at->name, "add") == 0;
        bool validate = strcmp(at->name, "validate") == 0 && !look->valid;
        TEXT_AUTO script = {0};
        TEXT_AUTO sql = {0};

        if (add && (plan->definition == NULL || look->exists))
            continue;
        if (add)
            print_add(run, &script);
        validate_sql(plan, &sql);
        if (validate)
            statement_print(run, text_string(&sql), &script);
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

/* The one that we added, and no other that has its name by now. */
static bool drop_under_lock(struct run *run, struct error *error)
{
    struct validate_look look;
    TEXT_AUTO sql = {0};

    drop_sql(validate_plan_of(run), &sql);
    return session_set(run->session, "statement_timeout", NUMBER(run->job.settings.lock_timeout_ms),
                       true, error) &&
           validate_look(run, &look, error) &&
           (!look.exists || look.oid != (uint32_t)addition_added(&run->job) ||
            run_ddl(run, text_string(&sql), error) || error_refuse(error, NULL)) &&
           session_commit(run->session, error);
}

static bool take_back(struct run *run, struct error *error)
{
    struct validate_look look;
    struct lock_report lock;
    TEXT_AUTO tables = {0};

    if (!validate_look(run, &look, error))
        return false;
    if (!look.exists || look.oid != (uint32_t)addition_added(&run->job))
        return true;
    tables_sql(validate_plan_of(run), &tables);
    if (lock_tables(run, text_string(&tables), "ACCESS EXCLUSIVE", &lock, error) &&
        drop_under_lock(run, error))
        return true;
    session_rollback(run->session);
    return false;
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
    const struct validate_plan *plan = validate_plan_of(run);

    text_appendf(out, "constraint %s of %s.%s ", plan->name, plan->schema, plan->table);
    if (strcmp(run->job.state, "rolled_back") == 0) {
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
