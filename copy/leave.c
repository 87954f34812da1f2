#include "copy/leave.h"

#include <inttypes.h>

#include "copy/capture.h"
#include "copy/lock.h"

static void drop_table(struct text *sql, const char *name)
{
    sql_expand(sql, "DROP TABLE IF EXISTS {table};\n",
               SQL_NAMES({"table", sql_table("pghaul", name)}));
}

static void forget_spans(const struct run *run, struct text *sql)
{
    text_appendf(sql, "DELETE FROM pghaul.span WHERE job = %" PRId64 ";\n", run->job.id);
}

void leave_sql(const struct run *run, struct text *sql)
{
    const struct copy *copy = copy_of(run);

    text_appendf(sql, "-- takes job %s out of the database; for psql, as the role that ran it\n",
                 run->job.name);
    text_append(sql, "\\set ON_ERROR_STOP on\nBEGIN;\nSET LOCAL lock_timeout = '5s';\n");
    capture_detach_sql(&copy->forward, copy->forward.from_qualified, sql);
    /* With the table's lock in hand no swap is under way: it has happened, or never will. */
    text_appendf(
        sql,
        "DO $$ BEGIN\n"
        "    IF EXISTS (SELECT FROM pghaul.job WHERE id = %" PRId64 "\n"
        "                AND state IN ('cut_over', 'finished', 'rolled_back')) THEN\n"
        "        RAISE EXCEPTION 'the job is cut over, or was: this is for a job before that';\n"
        "    END IF;\n"
        "END $$;\n",
        run->job.id);
    drop_table(sql, copy->names.shadow);
    capture_drop_sql(&copy->forward, sql);
    capture_drop_sql(&copy->backward, sql);
    forget_spans(run, sql);
    text_appendf(
        sql,
        "UPDATE pghaul.job SET state = 'aborted', wanted = 'abort', ended_at = clock_timestamp()\n"
        " WHERE id = %" PRId64 ";\n"
        "COMMIT;\n",
        run->job.id);
}

/* Triggers first, under the table's lock and nothing else; then, without it, what only we know. */
static bool detach(struct run *run, const struct flow *flow, struct error *error)
{
    TEXT_AUTO tables = {0};
    TEXT_AUTO sql = {0};
    struct lock_report lock;
    bool attached;

    if (!capture_any_trigger(run->session, flow, &attached, error))
        return false;
    if (!attached)
        return true;
    text_appendf(&tables, "ONLY %s", flow->from_qualified);
    capture_detach_sql(flow, flow->from_qualified, &sql);
    if (lock_tables(run, text_string(&tables), "ACCESS EXCLUSIVE", &lock, error) &&
        run_ddl(run, text_string(&sql), error) && session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return false;
}

/* The tables that only the job knows; `table` may be NULL. State and all in one transaction. */
static bool drop_ours(struct run *run, const char *table, const char *state, struct error *error)
{
    const struct copy *copy = copy_of(run);
    TEXT_AUTO sql = {0};

    if (table != NULL)
        drop_table(&sql, table);
    capture_drop_sql(&copy->forward, &sql);
    capture_drop_sql(&copy->backward, &sql);
    forget_spans(run, &sql);
    if (session_begin(run->session, error) &&
        session_run(run->session, "SET LOCAL lock_timeout = '10s'", error) &&
        run_ddl(run, text_string(&sql), error) &&
        job_set_state(run->session, &run->job, state, NULL, error) &&
        session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return false;
}

bool leave_abort(struct run *run, struct error *error)
{
    struct copy *copy = copy_of(run);

    return detach(run, &copy->forward, error) &&
           drop_ours(run, copy->names.shadow, "aborted", error);
}

bool leave_finish(struct run *run, struct error *error)
{
    struct copy *copy = copy_of(run);

    return detach(run, &copy->backward, error) &&
           drop_ours(run, copy->names.old, "finished", error);
}

bool leave_rolled_back(struct run *run, struct error *error)
{
    return drop_ours(run, copy_of(run)->names.shadow, "rolled_back", error);
}

bool leave_anything_left(struct run *run, bool *left, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!flow_query(&copy_of(run)->forward, run->session, &rows,
                    "SELECT to_regclass('{to}') IS NOT NULL OR to_regclass('{log_a}') IS NOT NULL",
                    NO_PARAMS, error))
        return false;
    *left = rows_bool(&rows, 0, 0);
    return true;
}
