#include "copy/kinds/addition.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pg/sql.h"

/* --------------------------------------------------------------------------------- before the job
 */

/* What matters where nothing is copied. */
static const char *const MATTERS[] = {
    "standby",         "read-only",       "schema-owner", "privilege-pghaul",
    "system-table",    "not-a-table",     "own-schema",   "privilege-pghaul-tables",
    "temporary",       "privilege-owner", "partitioned",  "privilege-database",
    "inherits-parent", "privilege-temp",  "job-open",     NULL,
};

bool addition_table(struct session *session, const char *typed, struct arena *arena,
                    struct table **table, struct error *error)
{
    struct findings findings = {0};
    bool ok = inspect_typed(session, typed, MATTERS, &findings, arena, table, error);

    findings_deinit(&findings);
    return ok;
}

bool addition_clone(struct session *session, const char *schema, const char *table,
                    const char *name, bool with_indexes, struct error *error)
{
    TEXT_AUTO sql = {0};

    sql_expand(&sql, "CREATE TEMPORARY TABLE {name} (LIKE {table} INCLUDING GENERATED{indexes})",
               SQL_NAMES({"name", sql_ident(name)}, {"table", sql_table(schema, table)},
                         {"indexes", sql_fragment(with_indexes ? " INCLUDING INDEXES" : "")}));
    if (session_run_text(session, &sql, error) &&
        session_set(session, "search_path", session_user_search_path(session), true, error))
        return true;
    return error_refuse(error, NULL);
}

/* $1 = oid. */
static const char OTHER[] =
    "SELECT format('%I.%I', n.nspname, c.relname), c.relkind,\n"
    "       has_table_privilege(c.oid, 'REFERENCES'),\n"
    "       has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE'),\n"
    "       quote_ident(current_user), n.nspname, c.relname\n"
    "  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = $1::oid";

static bool check_other(const struct rows *rows, struct error *error)
{
    const char *name = rows_text(rows, 0, 0);

    if (rows_text(rows, 0, 1)[0] != 'r') {
        error_set(error, ERROR_REFUSED, "%s is no ordinary table", name);
        return error_hint(error, "a partitioned one is locked with all its partitions: add that "
                                 "foreign key yourself, then pghaul validate");
    }
    if (!rows_bool(rows, 0, 2) || !rows_bool(rows, 0, 3)) {
        error_set(error, ERROR_REFUSED, "role %s may not %s %s", rows_text(rows, 0, 4),
                  rows_bool(rows, 0, 2) ? "lock" : "reference", name);
        return error_hint(error, "GRANT %s ON %s TO %s",
                          rows_bool(rows, 0, 2) ? "UPDATE" : "REFERENCES", name,
                          rows_text(rows, 0, 4));
    }
    return true;
}

bool addition_other(struct session *session, const char *typed, uint32_t table_oid,
                    struct arena *arena, struct addition_other *other, struct error *error)
{
    TEXT_AUTO quoted = {0};
    ROWS_AUTO rows = {0};
    uint32_t oid;

    if (!table_find(session, typed, session_user_search_path(session), &oid, error) ||
        !session_query(session, &rows, OTHER, PARAMS(NUMBER(oid)), error))
        return false;
    *other = (struct addition_other){.schema = arena_copy(arena, rows_text(&rows, 0, 5)),
                                     .name = arena_copy(arena, rows_text(&rows, 0, 6))};
    sql_append(&quoted, sql_table(other->schema, other->name));
    if (oid != table_oid)
        other->sql = arena_copy(arena, text_string(&quoted));
    /* A job on it may be about to replace it. */
    return check_other(&rows, error) &&
           (other->sql == NULL ||
            job_refuse_other(session, 0, oid, other->schema, other->name, error));
}

void addition_fill_job(struct run *run, const struct kind *kind, const struct table *table,
                       const char *job_name, const char *spec_name, const char *spec,
                       const struct settings *settings)
{
    struct job *job = &run->job;
    json_t *object = json_pack("{s:s, s:s}", "table", table->name, spec_name, spec);
    char *dumped = json_dumps(object, JSON_COMPACT);

    job->name = arena_copy(&job->arena, job_name);
    job->kind = kind->name;
    job->table_schema = arena_copy(&job->arena, table->schema);
    job->table_name = arena_copy(&job->arena, table->name);
    job->source_oid = table->oid;
    job->spec = arena_copy(&job->arena, dumped);
    job->rows_total = table->row_estimate > 0 ? table->row_estimate : 0;
    job->settings = *settings;
    free(dumped);
    json_decref(object);
}

static void end_by_sql(struct run *run, struct text *sql)
{
    job_end_sql(run->job.id, sql);
}

bool addition_store(struct run *run, const struct kind *kind, struct error *error)
{
    return phases_store(run, kind, end_by_sql, error);
}

/* ----------------------------------------------------------------------------------- what it added
 */

int64_t addition_added(const struct job *job)
{
    json_t *facts = json_loads(job->facts, 0, NULL);
    int64_t added = json_integer_value(json_object_get(facts, "added"));

    json_decref(facts);
    return added;
}

bool addition_set_added(struct run *run, int64_t added, const char *undo, struct error *error)
{
    TEXT_AUTO leave = {0};

    text_appendf(&leave, "%s;\n", undo);
    job_end_sql(run->job.id, &leave);
    return job_set_fact(run->session, &run->job, "added", NUMBER(added), error) &&
           job_set_fact(run->session, &run->job, "kept", "true", error) &&
           job_set_leave_sql(run->session, &run->job, text_string(&leave), error);
}

/* ------------------------------------------------------------------------------------------ verbs
 */

static bool end(struct run *run, const char *state, struct error *error)
{
    return job_set_state(run->session, &run->job, state, NULL, error) && run_unlead(run, error);
}

static bool may_rollback(const struct run *run, const char *why_not, struct error *error)
{
    if (job_is(&run->job, "finished") || job_is(&run->job, "aborted"))
        return job_refuse(&run->job, "is over", "drop what it added yourself", error);
    return addition_added(&run->job) != 0 || job_open(&run->job) ||
           job_refuse(&run->job, why_not, "there is nothing to take back", error);
}

/* The table of that name now; a copy may have taken its place since, with all that it has. */
static const char NOW[] =
    "SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace\n"
    " WHERE n.nspname = $1 AND c.relname = $2";

/* May what was added be taken away from under the table? Not while another job copies it. */
static bool check_table(struct run *run, struct error *error)
{
    const struct job *job = &run->job;
    ROWS_AUTO rows = {0};

    if (!session_query(run->session, &rows, NOW, PARAMS(job->table_schema, job->table_name), error))
        return false;
    if (rows_count(&rows) == 1 && (uint32_t)rows_int64(&rows, 0, 0) != job->source_oid) {
        error_set(error, ERROR_REFUSED, "%s.%s is not the table that job %s worked on",
                  job->table_schema, job->table_name, job->name);
        return error_hint(error, "drop what it added yourself");
    }
    return job_refuse_other(run->session, job->id, job->source_oid, job->table_schema,
                            job->table_name, error);
}

bool addition_rollback(struct run *run, const char *why_not, addition_take_back *take_back,
                       struct error *error)
{
    if (job_is(&run->job, "rolled_back"))
        return true;
    return may_rollback(run, why_not, error) && run_lead(run, error) &&
           may_rollback(run, why_not, error) &&
           (addition_added(&run->job) == 0 || (check_table(run, error) && take_back(run, error))) &&
           end(run, "rolled_back", error);
}

static bool may_finish(const struct run *run, struct error *error)
{
    return job_is(&run->job, "done") ||
           job_refuse(&run->job, "is not done", "pghaul resume continues it, pghaul abort ends it",
                      error);
}

bool addition_finish(struct run *run, struct error *error)
{
    if (job_is(&run->job, "finished"))
        return true;
    return may_finish(run, error) && run_lead(run, error) && may_finish(run, error) &&
           end(run, "finished", error);
}

static bool may_abort(const struct run *run, struct error *error)
{
    return job_open(&run->job) ||
           job_refuse(&run->job, "is over", "rollback drops what it added", error);
}

bool addition_abort(struct run *run, addition_take_back *take_back, struct error *error)
{
    if (job_is(&run->job, "aborted"))
        return true;
    return may_abort(run, error) && run_lead(run, error) && may_abort(run, error) &&
           (addition_added(&run->job) == 0 || take_back(run, error)) && end(run, "aborted", error);
}

/* ------------------------------------------------------------------------------------------ words
 */

void addition_headline(struct session *session, const struct table *table, const char *typed,
                       struct report *report)
{
    report->headline = arena_format(
        &report->arena, "%s: %s rows, %s", typed,
        report_count(session, &report->arena, table->row_estimate > 0 ? table->row_estimate : 0),
        report_size(session, &report->arena, table->heap_bytes + table->toast_bytes));
}

bool addition_time(struct run *run, struct text *out, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(run->session, &rows,
                       "SELECT date_trunc('milliseconds', make_interval(secs => sum(seconds)))\n"
                       "  FROM pghaul.phase WHERE job = $1::bigint",
                       PARAMS(NUMBER(run->job.id)), error))
        return false;
    text_append(out, rows_text(&rows, 0, 0) == NULL ? "no time" : rows_text(&rows, 0, 0));
    return true;
}
