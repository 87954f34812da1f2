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

/*
 * An autovacuum of the table or of its TOAST table, which no LOCK TABLE reaches, would make DROP
 * wait with the table's lock in hand. Sent away, as by the ladder's first rung, and kept away.
 */
static bool keep_vacuum_away(struct run *run, const char *table, struct error *error)
{
    TEXT_AUTO sql = {0};

    sql_expand(&sql,
               "ALTER TABLE IF EXISTS {table}\n"
               "    SET (autovacuum_enabled = off, toast.autovacuum_enabled = off)",
               SQL_NAMES({"table", sql_table("pghaul", table)}));
    if (session_begin(run->session, error) &&
        session_run(run->session,
                    "SELECT set_config('lock_timeout', (setting::bigint + 4000)::text, true)\n"
                    "  FROM pg_settings WHERE name = 'deadlock_timeout'",
                    error) &&
        run_ddl(run, text_string(&sql), error) && session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return error->code == ERROR_LOCK; /* one that does not yield: named by the tries to come */
}

/*
 * Opens the transaction that drops them, with all locks in hand for which it could wait. By the
 * ladder, as for a table of the user's: plans that the application cached before a swap lock the
 * table that has left, once, and would queue behind a DROP that waits for a vacuum or a reader. So
 * that table comes last.
 */
static bool lock_ours(struct run *run, const char *table, struct error *error)
{
    const struct copy *copy = copy_of(run);
    TEXT_AUTO sql = {0};
    TEXT_AUTO last = {0};
    ROWS_AUTO rows = {0};
    struct lock_report lock;

    text_append(&sql, "SELECT string_agg(name, ', ' ORDER BY number)\n  FROM unnest(ARRAY[");
    flow_expand(&copy->forward, &sql, "'{log_a}', '{log_b}', ");
    flow_expand(&copy->backward, &sql, "'{log_a}', '{log_b}', ");
    text_append(&sql, "$1]) WITH ORDINALITY AS t (name, number)\n"
                      " WHERE to_regclass(name) IS NOT NULL");
    sql_append(&last, sql_table("pghaul", table));
    if (!session_query(run->session, &rows, text_string(&sql), PARAMS(text_string(&last)), error))
        return false;
    if (rows_text(&rows, 0, 0) == NULL)
        return session_begin(run->session, error);
    return lock_tables(run, rows_text(&rows, 0, 0), "ACCESS EXCLUSIVE", &lock, error);
}

/* The tables that only the job knows. State and all in one transaction. */
static bool drop_ours(struct run *run, const char *table, const char *state, struct error *error)
{
    const struct copy *copy = copy_of(run);
    TEXT_AUTO sql = {0};

    drop_table(&sql, table);
    capture_drop_sql(&copy->forward, &sql);
    capture_drop_sql(&copy->backward, &sql);
    forget_spans(run, &sql);
    if (keep_vacuum_away(run, table, error) && lock_ours(run, table, error) &&
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
