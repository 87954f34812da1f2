#include "copy/kinds/index.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "copy/kinds/index_parts.h"
#include "engine/base/clock.h"
#include "engine/pg/sql.h"
#include "engine/pg/sqlstate.h"

enum {
    OTHER_BUILD_MS = 200,
    TIDY_MS = 5000, /* for the leftover of a build that failed; later it is dropped all the same */
};

/* ------------------------------------------------------------------------------------------ plan
 */

void index_plan_fields(struct index_plan *plan, struct addition_field fields[5])
{
    fields[0] = (struct addition_field){"schema", &plan->schema};
    fields[1] = (struct addition_field){"table", &plan->table};
    fields[2] = (struct addition_field){"name", &plan->name};
    fields[3] = (struct addition_field){"unique", &plan->unique};
    fields[4] = (struct addition_field){"tail", &plan->tail};
}

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
    struct addition_field fields[INDEX_PLAN_FIELDS];
    struct index_plan *plan;

    index_unload(run);
    run->kind_state = plan = memory_zero(1, sizeof(struct index_plan));
    index_plan_fields(plan, fields);
    return addition_from_json(run->job.plan, fields, INDEX_PLAN_FIELDS, &plan->arena, error);
}

void index_create_sql(const struct index_plan *plan, struct text *sql)
{
    sql_expand(sql, "CREATE {unique}INDEX CONCURRENTLY {name} ON {table} {tail}",
               SQL_NAMES({"unique", sql_fragment(plan->unique)}, {"name", sql_ident(plan->name)},
                         {"table", sql_table(plan->schema, plan->table)},
                         {"tail", sql_fragment(plan->tail)}));
}

void index_drop_sql(const struct index_plan *plan, struct text *sql)
{
    sql_expand(sql, "DROP INDEX CONCURRENTLY IF EXISTS {name}",
               SQL_NAMES({"name", sql_table(plan->schema, plan->name)}));
}

/* ---------------------------------------------------------------------------------- what is there
 */

/* $1 schema, $2 name, $3 oid of the table. */
static const char LOOK[] =
    "SELECT c.oid, coalesce(i.indrelid = $3::oid, false),\n"
    "       coalesce(i.indisvalid AND i.indisready AND i.indislive, false), p.pid,\n"
    "       pg_relation_size(c.oid)\n"
    "  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace\n"
    "  LEFT JOIN pg_index AS i ON i.indexrelid = c.oid\n"
    "  LEFT JOIN pg_stat_progress_create_index AS p\n"
    "    ON p.index_relid = c.oid AND p.datname = current_database()\n"
    " WHERE n.nspname = $1 AND c.relname = $2";

static bool compare(struct run *run, uint32_t oid, bool *same, struct error *error)
{
    const struct index_plan *plan = index_plan_of(run);
    struct arena arena = {0};
    struct table *table;
    bool ok = table_describe(run->session, run->job.source_oid, &arena, &table, error);

    *same = false;
    for (int i = 0; ok && i < table->index_count; i++) {
        const struct table_index *index = &table->indexes[i];

        if (index->oid == oid)
            *same =
                index->unique == (plan->unique[0] != '\0') && strcmp(index->tail, plan->tail) == 0;
    }
    arena_deinit(&arena);
    return ok;
}

bool index_look(struct run *run, struct index_look *look, struct error *error)
{
    const struct index_plan *plan = index_plan_of(run);
    ROWS_AUTO rows = {0};

    *look = (struct index_look){0};
    if (!session_query(run->session, &rows, LOOK,
                       PARAMS(plan->schema, plan->name, NUMBER(run->job.source_oid)), error))
        return false;
    if (rows_count(&rows) == 0)
        return true;
    *look = (struct index_look){
        .exists = true,
        .of_table = rows_bool(&rows, 0, 1),
        .valid = rows_bool(&rows, 0, 2),
        .builder = (int)rows_int64(&rows, 0, 3),
        .bytes = rows_int64(&rows, 0, 4),
    };
    return !look->of_table || compare(run, (uint32_t)rows_int64(&rows, 0, 0), &look->same, error);
}

bool index_accept(const struct run *run, const struct index_look *look, struct error *error)
{
    const struct index_plan *plan = index_plan_of(run);

    if (!look->exists || (look->of_table && look->same))
        return true;
    error_set(error, ERROR_REFUSED, "there is %s %s.%s already",
              look->of_table ? "another index" : "another object", plan->schema, plan->name);
    error_detail(error, "%s",
                 !look->of_table ? "it is no index of this table"
                 : look->valid   ? "its definition differs"
                                 : "its definition differs, and it is not valid");
    return error_hint(error, "give the new index another name, or drop that one");
}

/* ----------------------------------------------------------------------------------------- phases
 */

/* Until the process that builds it has ended. */
static bool wait_for_builder(struct run *run, int pid, struct error *error)
{
    progress_reason(run->progress, "process %d is building it", pid);
    return stop_sleep_ms(run->stop, OTHER_BUILD_MS, error);
}

static struct statement statement_of(const struct run *run, const struct text *sql,
                                     const char *what)
{
    return (struct statement){
        .sql = text_string(sql),
        .what = what,
        .row_estimate = run->job.rows_total,
        .limit_ms = run->job.settings.snapshot_wait_ms,
    };
}

/* What is ours is what is not there, or not valid, before the first statement: from then on,
 * whatever is there by that name and definition is. */
static bool build_plan(struct run *run, struct error *error)
{
    const struct index_plan *plan = index_plan_of(run);
    struct index_look look;
    TEXT_AUTO undo = {0};

    if (!index_look(run, &look, error) || !index_accept(run, &look, error))
        return false;
    if (look.valid)
        return true;
    if (look.builder != 0) {
        error_set(error, ERROR_REFUSED, "process %d is building %s.%s already", look.builder,
                  plan->schema, plan->name);
        return error_hint(error, "wait for its end");
    }
    index_drop_sql(plan, &undo);
    return addition_set_added(run, 1, text_string(&undo), error);
}

/* One statement towards an index that is there, and valid; or towards none. */
static bool step(struct run *run, bool drop, int64_t limit_ms, bool heeds_abort, int *gave_way,
                 struct error *error)
{
    const struct index_plan *plan = index_plan_of(run);
    TEXT_AUTO sql = {0};
    TEXT_AUTO what = {0};
    struct statement statement;
    bool gave;

    if (drop)
        index_drop_sql(plan, &sql);
    else
        index_create_sql(plan, &sql);
    text_appendf(&what, "%s %s.%s", drop ? "drop of index" : "build of index", plan->schema,
                 plan->name);
    statement = statement_of(run, &sql, text_string(&what));
    statement.limit_ms = limit_ms;
    statement.heeds_abort = heeds_abort;
    if (!statement_run(run, &statement, &gave, error))
        return false;
    if (gave)
        return statement_pause(run, &statement, ++*gave_way, error);
    *gave_way = 0;
    return job_event(run->session, run->job.id, "ddl", error, "%s", text_string(&sql));
}

/*
 * The rows do not allow it, or the server has no room: what is left of the index costs writers and
 * is of no use. Tried for a moment; resume, rollback and abort drop it as well.
 */
static void tidy(struct run *run)
{
    struct error ignored = {0};
    struct index_look look;
    int gave_way = 0;

    if (stop_wanted(run->stop) || !session_alive(run->session))
        return;
    if (!index_look(run, &look, &ignored) ||
        (look.exists && look.of_table && look.same && !look.valid && look.builder == 0 &&
         !step(run, true, TIDY_MS, true, &gave_way, &ignored)))
        log_verbose(run->log, "the invalid index stays for now: %s", ignored.message);
}

static bool explain_failure(struct run *run, struct error *error)
{
    if (error->code != ERROR_SQL || error->retryable || stop_wanted(run->stop))
        return false;
    if (strcmp(error->sqlstate, SQLSTATE_UNIQUE_VIOLATION) == 0)
        error_hint(error, "change or delete rows that have the same key, then pghaul resume %s",
                   SHELL_WORD(run->job.name));
    tidy(run);
    return false;
}

/* The name was taken between our look and our statement: we look again. */
static bool is_taken(const struct error *error)
{
    return strcmp(error->sqlstate, SQLSTATE_DUPLICATE_TABLE) == 0 ||
           (strcmp(error->sqlstate, SQLSTATE_UNIQUE_VIOLATION) == 0 &&
            strstr(error->message, "pg_class_relname_nsp_index") != NULL);
}

static bool build_forward(struct run *run, struct error *error)
{
    int gave_way = 0;

    for (;;) {
        struct index_look look;

        if (!index_look(run, &look, error) || !index_accept(run, &look, error))
            return false;
        if (look.exists && look.builder != 0) {
            if (!wait_for_builder(run, look.builder, error))
                return false;
        } else if (look.valid) {
            return true;
        } else if (!step(run, look.exists, run->job.settings.snapshot_wait_ms, true, &gave_way,
                         error) &&
                   (!is_taken(error) || !stop_sleep_ms(run->stop, OTHER_BUILD_MS, error))) {
            return explain_failure(run, error);
        }
    }
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
    const struct index_plan *plan = index_plan_of(run);
    TEXT_AUTO build = {0};
    TEXT_AUTO drop = {0};
    TEXT_AUTO sql = {0};

    index_create_sql(plan, &sql);
    index_drop_sql(plan, &drop);
    if (look->exists && !look->valid)
        statement_print(run, text_string(&drop), &build);
    if (!look->valid)
        statement_print(run, text_string(&sql), &build);
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
    int gave_way = 0;

    for (;;) {
        struct index_look look;

        if (!index_look(run, &look, error))
            return false;
        if (!look.exists)
            return true;
        if (!index_accept(run, &look, error))
            return error_context(error, "the job's index is gone");
        if (look.builder != 0) {
            if (!wait_for_builder(run, look.builder, error))
                return false;
        } else if (!step(run, true, run->job.settings.snapshot_wait_ms, false, &gave_way, error)) {
            return error_refuse(error, "something needs the index by now");
        }
    }
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
    const struct index_plan *plan = index_plan_of(run);
    struct index_look look;
    ROWS_AUTO size = {0};

    text_appendf(out, "index %s.%s ", plan->schema, plan->name);
    if (strcmp(run->job.state, "rolled_back") == 0) {
        text_append(out, addition_added(&run->job) != 0 ? "is dropped" : "was not built");
        return true;
    }
    if (addition_added(&run->job) == 0) {
        text_append(out, "was there already, as it should be");
        return true;
    }
    if (!index_look(run, &look, error) ||
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
