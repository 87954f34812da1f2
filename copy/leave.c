#include "copy/leave.h"

#include <inttypes.h>
#include <string.h>

#include "copy/capture.h"
#include "copy/lock.h"
#include "engine/base/clock.h"
#include "engine/pg/retry.h"
#include "engine/pg/sqlstate.h"

static void drop_table(struct text *sql, const char *name)
{
    sql_expand(sql, "DROP TABLE IF EXISTS {table};\n",
               SQL_NAMES({"table", sql_table("pghaul", name)}));
}

/* What they add up to stays, for status. Once more does no harm. */
static void forget_spans(const struct run *run, struct text *sql)
{
    sql_expand(sql,
               "UPDATE pghaul.job SET facts = facts || walked\n"
               "  FROM (SELECT jsonb_build_object('walked', jsonb_build_object(\n"
               "                   'rows', sum(rows) FILTER (WHERE phase = 'load'),\n"
               "                   'spans', count(*) FILTER (WHERE phase = 'load'),\n"
               "                   'spans_done', count(*) FILTER (WHERE phase = 'load'\n"
               "                                                    AND state = 'done'),\n"
               "                   'chunks', sum(chunks), 'retries', sum(retries),\n"
               "                   'bytes', sum(bytes))) AS walked\n"
               "          FROM pghaul.span WHERE job = {job} HAVING count(*) > 0) AS s\n"
               " WHERE id = {job};\n"
               "UPDATE pghaul.job SET facts = facts - 'old_table' WHERE id = {job};\n"
               "DELETE FROM pghaul.span WHERE job = {job};\n",
               SQL_NAMES({"job", sql_fragment(NUMBER(run->job.id))}));
}

void leave_sql(const struct run *run, struct text *sql)
{
    const struct copy *copy = copy_of(run);

    sql_note(sql, "takes job %s out of the database; for psql, as the role that ran it",
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
    job_end_sql(run->job.id, sql);
    text_append(sql, "COMMIT;\n");
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
static const char VACUUM_PATIENCE[] =
    "SELECT set_config('lock_timeout', (setting::bigint + 4000)::text, true)\n"
    "  FROM pg_settings WHERE name = 'deadlock_timeout'";

static void vacuum_away_sql(const char *table, struct text *sql)
{
    sql_expand(sql,
               "ALTER TABLE IF EXISTS {table}\n"
               "    SET (autovacuum_enabled = off, toast.autovacuum_enabled = off)",
               SQL_NAMES({"table", sql_table("pghaul", table)}));
}

static bool keep_vacuum_away(struct run *run, const char *table, struct error *error)
{
    TEXT_AUTO sql = {0};

    vacuum_away_sql(table, &sql);
    if (session_begin(run->session, error) && session_run(run->session, VACUUM_PATIENCE, error) &&
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
    flow_expand(&copy->forward, &sql, "{log_a_literal}, {log_b_literal}, ");
    flow_expand(&copy->backward, &sql, "{log_a_literal}, {log_b_literal}, ");
    text_append(&sql, "$1]) WITH ORDINALITY AS t (name, number)\n"
                      " WHERE to_regclass(name) IS NOT NULL");
    sql_append(&last, sql_table("pghaul", table));
    if (!session_query(run->session, &rows, text_string(&sql), PARAMS(text_string(&last)), error))
        return false;
    if (rows_text(&rows, 0, 0) == NULL)
        return session_begin(run->session, error);
    return lock_tables(run, rows_text(&rows, 0, 0), "ACCESS EXCLUSIVE", &lock, error);
}

static void drop_ours_sql(const struct run *run, const char *table, struct text *sql)
{
    const struct copy *copy = copy_of(run);

    drop_table(sql, table);
    capture_drop_sql(&copy->forward, sql);
    capture_drop_sql(&copy->backward, sql);
    forget_spans(run, sql);
}

/* -------------------------------------------------------------------------------------------------
 * finish */

/*
 * One transaction for all of it, and the old table first: a lock that cannot be had, or something
 * that depends on that table, ends it before anything is gone, and the way back is as it was.
 * Then, for moments, the lock on the new table, for its triggers; and only under that one the
 * change log, which no open transaction can have written then. Both waits for the application's
 * tables together are at most lock.timeout's: what waits for the old table (a plan from before the
 * swap) waits for the other lock, too.
 */
struct ending {
    struct run *run;
    const struct flow *flow;
    const char *old;      /* as SQL; NULL: gone already */
    const char *triggers; /* the new table, as LOCK takes it; NULL: no triggers are left */
    struct text own;      /* SQL: what drops all but the old table and the triggers */
    const char *wanted;   /* the lock that the last try asked for; NULL: none */
    int64_t waited_us;    /* for the old table's, and what was done under it */
};

/*
 * The ladder's first rung (lock.h), in the transaction that takes the strong locks. On what only we
 * know it is kept: nobody runs ANALYZE there, and no autovacuum comes back while the others are
 * waited for. The user's table is the last, so that little time is left for another one.
 */
static void rungs_sql(const struct ending *ending, struct text *sql)
{
    text_append(sql, VACUUM_PATIENCE);
    if (ending->old != NULL) {
        text_append(sql, ";\n");
        vacuum_away_sql(copy_of(ending->run)->names.old, sql);
    }
    if (ending->triggers == NULL)
        return;
    flow_expand(ending->flow, sql,
                ";\nLOCK TABLE {log_a}, {log_b} IN SHARE UPDATE EXCLUSIVE MODE;\n"
                "SAVEPOINT rung;\n"
                "LOCK TABLE ONLY {from} IN SHARE UPDATE EXCLUSIVE MODE;\n"
                "ROLLBACK TO SAVEPOINT rung; RELEASE SAVEPOINT rung");
}

/* Behind one that is open for long, writers would only queue for nothing. */
static bool nobody_stays(struct ending *ending, struct error *error)
{
    TEXT_AUTO who = {0};
    bool blocked;

    ending->wanted = ending->triggers != NULL ? ending->triggers : ending->old;
    if (ending->wanted == NULL)
        return true;
    if (!lock_long_blocker(ending->run->session, ending->wanted, &blocked, &who, error))
        return false;
    return !blocked || error_set(error, ERROR_LOCK, "a long transaction uses the table");
}

static void old_table_sql(const struct ending *ending, struct text *sql)
{
    sql_expand(sql,
               "SET LOCAL lock_timeout = {wait};\n"
               "LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE",
               SQL_NAMES({"wait", sql_fragment(NUMBER(
                                      lock_wait_ms(ending->run->job.settings.lock_timeout_ms)))},
                         {"table", sql_fragment(ending->old)}));
}

static void new_table_sql(const struct ending *ending, struct text *sql)
{
    int64_t left_ms =
        lock_wait_ms(ending->run->job.settings.lock_timeout_ms) - ending->waited_us / 1000;

    sql_expand(sql,
               "SET LOCAL lock_timeout = {left};\n"
               "LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE",
               SQL_NAMES({"left", sql_fragment(NUMBER(left_ms > 1 ? left_ms : 1))},
                         {"table", sql_fragment(ending->triggers)}));
}

static bool drop_old_table(struct ending *ending, struct error *error)
{
    TEXT_AUTO lock = {0};
    TEXT_AUTO sql = {0};
    int64_t start_us = clock_us();

    ending->waited_us = 0;
    if (ending->old == NULL)
        return true;
    ending->wanted = ending->old;
    old_table_sql(ending, &lock);
    drop_table(&sql, copy_of(ending->run)->names.old);
    if (!session_run_text(ending->run->session, &lock, error) ||
        !run_ddl(ending->run, text_string(&sql), error))
        return false;
    ending->waited_us = clock_us() - start_us;
    return true;
}

static bool detach_here(struct ending *ending, struct error *error)
{
    TEXT_AUTO lock = {0};
    TEXT_AUTO sql = {0};

    if (ending->triggers == NULL)
        return true;
    ending->wanted = ending->triggers;
    new_table_sql(ending, &lock);
    capture_detach_sql(ending->flow, ending->flow->from_qualified, &sql);
    return session_run_text(ending->run->session, &lock, error) &&
           run_ddl(ending->run, text_string(&sql), error);
}

static bool finish_once(struct ending *ending, struct error *error)
{
    struct run *run = ending->run;
    TEXT_AUTO rungs = {0};

    rungs_sql(ending, &rungs);
    if (session_begin(run->session, error) && session_run_text(run->session, &rungs, error) &&
        nobody_stays(ending, error) && drop_old_table(ending, error) &&
        detach_here(ending, error) && run_ddl(run, text_string(&ending->own), error) &&
        job_set_state(run->session, &run->job, "finished", NULL, error) &&
        session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return false;
}

static void describe_blockers(const struct ending *ending, struct text *blockers)
{
    struct error ignored = {0};

    if (ending->wanted == NULL ||
        !lock_describe_blockers(ending->run->session, ending->wanted, blockers, &ignored))
        text_clear(blockers);
}

/* With nothing changed. */
static bool explain_finish(const struct ending *ending, int64_t tries, struct error *error)
{
    const char *name = ending->run->job.name;
    TEXT_AUTO blockers = {0};

    if (strcmp(error->sqlstate, SQLSTATE_DEPENDENT_OBJECTS) == 0) {
        error->code = ERROR_REFUSED;
        return error_hint(error,
                          "nothing was changed: drop them, or let them use the new table, then "
                          "pghaul finish %s",
                          SHELL_WORD(name));
    }
    if (!lock_in_the_way(error) || stop_wanted(ending->run->stop) || ending->wanted == NULL)
        return false;
    describe_blockers(ending, &blockers);
    error_set(error, ERROR_LOCK, "could not lock %s in %" PRId64 " tries", ending->wanted, tries);
    error_detail(error, "%s",
                 blockers.used > 0 ? text_string(&blockers) : "its holder is gone now");
    return error_hint(error,
                      "nothing was changed: end that transaction, or wait for it, then pghaul "
                      "finish %s",
                      SHELL_WORD(name));
}

static bool finish_tries(struct ending *ending, struct error *error)
{
    int64_t limit = ending->run->job.settings.lock_tries;
    unsigned seed = (unsigned)clock_us();

    for (int64_t tries = 1;; tries++) {
        TEXT_AUTO blockers = {0};

        if (finish_once(ending, error))
            return true;
        if (!lock_in_the_way(error) || stop_wanted(ending->run->stop) || tries >= limit)
            return explain_finish(ending, tries, error);
        log_verbose(ending->run->log, "finish, try %" PRId64 ": %s", tries, error->message);
        describe_blockers(ending, &blockers);
        progress_reason(ending->run->progress, "waiting for a lock on %s: %s", ending->wanted,
                        text_string(&blockers));
        if (!stop_sleep_ms(ending->run->stop, lock_backoff_ms((int)tries, &seed), error))
            return false;
    }
}

/* What is there: a job without a way back has no triggers, and its old table may have been dropped
 * by hand. */
static bool finish_all(struct run *run, struct error *error)
{
    const struct copy *copy = copy_of(run);
    struct ending ending = {.run = run, .flow = &copy->backward};
    TEXT_AUTO old = {0};
    TEXT_AUTO triggers = {0};
    ROWS_AUTO rows = {0};
    bool attached, ok;

    sql_append(&old, sql_table("pghaul", copy->names.old));
    text_appendf(&triggers, "ONLY %s", ending.flow->from_qualified);
    if (!session_query(run->session, &rows, "SELECT to_regclass($1) IS NOT NULL",
                       PARAMS(text_string(&old)), error) ||
        !capture_any_trigger(run->session, ending.flow, &attached, error))
        return false;
    ending.old = rows_bool(&rows, 0, 0) ? text_string(&old) : NULL;
    ending.triggers = attached ? text_string(&triggers) : NULL;
    capture_drop_sql(&copy->forward, &ending.own);
    capture_drop_sql(&copy->backward, &ending.own);
    forget_spans(run, &ending.own);
    ok = finish_tries(&ending, error);
    text_deinit(&ending.own);
    return ok;
}

/* -------------------------------------------------------------------------------------------------
 * abort, and what a rollback leaves */

/* The tables that only the job knows. State and all in one transaction. */
static bool drop_ours(struct run *run, const char *table, const char *state, struct error *error)
{
    TEXT_AUTO sql = {0};

    drop_ours_sql(run, table, &sql);
    if (keep_vacuum_away(run, table, error) && lock_ours(run, table, error) &&
        run_ddl(run, text_string(&sql), error) &&
        job_set_state(run->session, &run->job, state, NULL, error) &&
        session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return false;
}

static bool abort_all(struct run *run, struct error *error)
{
    return detach(run, &copy_of(run)->forward, error) &&
           drop_ours(run, copy_of(run)->names.shadow, "aborted", error);
}

bool leave_abort(struct run *run, struct error *error)
{
    return run_until(run, abort_all, "aborted", error);
}

bool leave_finish(struct run *run, struct error *error)
{
    return run_until(run, finish_all, "finished", error);
}

bool leave_rolled_back(struct run *run, struct error *error)
{
    return drop_ours(run, copy_of(run)->names.shadow, "rolled_back", error);
}

bool leave_anything_left(struct run *run, bool *left, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!flow_query(&copy_of(run)->forward, run->session, &rows,
                    "SELECT to_regclass({to_literal}) IS NOT NULL OR to_regclass({log_a_literal}) "
                    "IS NOT NULL",
                    NO_PARAMS, error))
        return false;
    *left = rows_bool(&rows, 0, 0);
    return true;
}

/* -----------------------------------------------------------------------------------------------
 * printed */

static void print_detach(const struct run *run, const struct flow *flow, struct text *script)
{
    TEXT_AUTO tables = {0};
    TEXT_AUTO sql = {0};

    text_appendf(&tables, "ONLY %s", flow->from_qualified);
    lock_print(run, text_string(&tables), "ACCESS EXCLUSIVE", script);
    capture_detach_sql(flow, flow->from_qualified, &sql);
    sql_add(script, text_string(&sql));
    sql_add(script, SESSION_COMMIT);
}

static void print_drop(const struct run *run, const char *table, struct text *script)
{
    const struct copy *copy = copy_of(run);
    TEXT_AUTO tables = {0};
    TEXT_AUTO sql = {0};

    sql_add(script, SESSION_BEGIN);
    sql_add(script, VACUUM_PATIENCE);
    vacuum_away_sql(table, &sql);
    sql_add(script, text_string(&sql));
    sql_add(script, SESSION_COMMIT);
    flow_expand(&copy->forward, &tables, "{log_a}, {log_b}, ");
    if (!copy->plan.no_rollback)
        flow_expand(&copy->backward, &tables, "{log_a}, {log_b}, ");
    sql_append(&tables, sql_table("pghaul", table));
    lock_print(run, text_string(&tables), "ACCESS EXCLUSIVE", script);
    text_clear(&sql);
    drop_ours_sql(run, table, &sql);
    sql_add(script, text_string(&sql));
    sql_add(script, SESSION_COMMIT);
}

bool leave_print_abort(struct run *run, struct text *script, struct error *error)
{
    (void)error;
    print_detach(run, &copy_of(run)->forward, script);
    print_drop(run, copy_of(run)->names.shadow, script);
    return true;
}

bool leave_print_finish(struct run *run, struct text *script, struct error *error)
{
    const struct copy *copy = copy_of(run);
    const struct flow *flow = &copy->backward;
    struct ending ending = {.run = run, .flow = flow};
    TEXT_AUTO old = {0};
    TEXT_AUTO triggers = {0};
    TEXT_AUTO sql = {0};

    (void)error;
    sql_append(&old, sql_table("pghaul", copy->names.old));
    text_appendf(&triggers, "ONLY %s", flow->from_qualified);
    ending.old = text_string(&old);
    ending.triggers = copy->plan.no_rollback ? NULL : text_string(&triggers);
    sql_note(script,
             "all of it or nothing, tried up to %" PRId64 " times; the old table first: "
             "what depends on it ends it here",
             run->job.settings.lock_tries);
    sql_add(script, SESSION_BEGIN);
    rungs_sql(&ending, &sql);
    sql_add(script, text_string(&sql));
    text_clear(&sql);
    old_table_sql(&ending, &sql);
    sql_add(script, text_string(&sql));
    text_clear(&sql);
    drop_table(&sql, copy->names.old);
    sql_add(script, text_string(&sql));
    text_clear(&sql);
    if (ending.triggers != NULL) {
        sql_note(script, "within what is left of lock.timeout");
        new_table_sql(&ending, &sql);
        sql_add(script, text_string(&sql));
        text_clear(&sql);
        capture_detach_sql(flow, flow->from_qualified, &sql);
        sql_add(script, text_string(&sql));
        text_clear(&sql);
    }
    capture_drop_sql(&copy->forward, &sql);
    capture_drop_sql(&copy->backward, &sql);
    forget_spans(run, &sql);
    sql_add(script, text_string(&sql));
    sql_add(script, SESSION_COMMIT);
    return true;
}
