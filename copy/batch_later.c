/* Keys that a walk put off, because somebody held their rows: visited until none is left. */
#include <inttypes.h>

#include "copy/batch_parts.h"
#include "engine/pg/sql.h"

enum { ROUND_FIRST_MS = 50, ROUND_MAX_MS = 1000 };

/* Who visits them is alone. */
const char BATCH_ONE_SPAN[] = "SELECT NULL::text[], NULL::text[]";

static bool count_todo(struct run *run, int64_t *keys, struct error *error)
{
    ROWS_AUTO rows = {0};
    TEXT_AUTO sql = {0};

    text_appendf(&sql, "SELECT count(*) FROM pghaul.todo_%" PRId64, run->job.id);
    if (!session_query(run->session, &rows, text_string(&sql), NO_PARAMS, error))
        return false;
    *keys = rows_int64(&rows, 0, 0);
    return true;
}

/*
 * Who has the rows: a row's xmax is the transaction that changed or locked it, and whoever runs
 * that holds its lock. Several lockers share a number of another kind, which tells nothing here.
 */
static const char HOLDERS[] =
    "SELECT l.pid, coalesce(nullif(a.application_name, ''), 'unknown'), coalesce(a.state, "
    "'busy'),\n"
    "       extract(epoch FROM clock_timestamp() - coalesce(a.state_change, "
    "a.xact_start))::bigint\n"
    "  FROM (SELECT DISTINCT r.xmax::text AS xid\n"
    "          FROM (SELECT * FROM pghaul.todo_{job} LIMIT 100) AS k JOIN ONLY {table} AS r\n"
    "            ON {r_is_k}) AS held\n"
    "  JOIN pg_locks AS l ON l.locktype = 'transactionid' AND l.transactionid::text = held.xid\n"
    "   AND l.granted AND l.pid <> pg_backend_pid()\n"
    "  LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid\n"
    " ORDER BY a.xact_start LIMIT 1";

/* For status; NULL: it waits for nobody. */
static void note_reason(struct run *run, const char *reason)
{
    struct error ignored = {0};

    if (!job_set_reason(run->session, &run->job, reason, &ignored))
        log_verbose(run->log, "could not note whom the job waits for: %s", ignored.message);
}

/* `told`: the process that was named last. */
static void tell_holders(struct run *run, const struct batch_plan *plan, int64_t keys,
                         int64_t *told)
{
    TEXT_AUTO reason = {0};
    TEXT_AUTO r_is_k = {0};
    TEXT_AUTO sql = {0};
    ROWS_AUTO rows = {0};
    struct error ignored = {0};

    for (int i = 0; i < plan->key_count; i++) {
        text_append(&r_is_k, i > 0 ? " AND r." : "r.");
        sql_append(&r_is_k, sql_ident(plan->key[i].source));
        text_appendf(&r_is_k, " %s k.k%d", plan->key[i].source_equal, i + 1);
    }
    sql_expand(&sql, HOLDERS,
               SQL_NAMES({"job", sql_fragment(NUMBER(run->job.id))},
                         {"table", sql_table(plan->schema, plan->table)},
                         {"r_is_k", sql_fragment(text_string(&r_is_k))}));
    if (!session_query(run->session, &rows, text_string(&sql), NO_PARAMS, &ignored) ||
        rows_count(&rows) == 0) {
        text_appendf(&reason, "%" PRId64 " rows that others hold", keys);
    } else {
        text_appendf(&reason, "%" PRId64 " rows: process %s (%s) holds some, %s for %s s", keys,
                     rows_text(&rows, 0, 0), rows_text(&rows, 0, 1), rows_text(&rows, 0, 2),
                     rows_text(&rows, 0, 3));
        if (rows_int64(&rows, 0, 0) != *told)
            log_warning(run->log, "waiting for %s", text_string(&reason));
        *told = rows_int64(&rows, 0, 0);
    }
    progress_reason(run->progress, "%s", text_string(&reason));
    note_reason(run, text_string(&reason));
}

bool batch_plan_revisit(struct run *run, const char *phase, struct error *error)
{
    return walk_plan(run->session, run->job.id, phase, BATCH_ONE_SPAN, NO_PARAMS, error);
}

/* The one span again, from its beginning: its counters go on. */
static bool reopen(struct run *run, const char *phase, struct error *error)
{
    return session_execute(run->session,
                           "UPDATE pghaul.span SET cursor = NULL, state = 'open'\n"
                           " WHERE job = $1::bigint AND phase = $2",
                           PARAMS(NUMBER(run->job.id), phase), NULL, error);
}

bool batch_revisit(struct run *run, const struct batch_plan *plan, const char *phase,
                   enum batch_way way, struct error *error)
{
    int64_t wait_ms = ROUND_FIRST_MS;
    int64_t keys, before = INT64_MAX;
    int64_t told = 0;

    for (;;) {
        if (!count_todo(run, &keys, error))
            return false;
        if (keys == 0) {
            note_reason(run, NULL);
            return true;
        }
        if (keys >= before) {
            tell_holders(run, plan, keys, &told);
            if (!stop_sleep_ms(run->stop, wait_ms, error))
                return false;
            wait_ms = wait_ms * 2 < ROUND_MAX_MS ? wait_ms * 2 : ROUND_MAX_MS;
        } else {
            wait_ms = ROUND_FIRST_MS;
        }
        before = keys;
        if (!reopen(run, phase, error) || !batch_walk_way(run, plan, phase, way, error))
            return false;
    }
}
