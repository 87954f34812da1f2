/*
 * Dead rows: a backfill makes one for each row that it writes, and autovacuum comes when it comes.
 * At bloat.budget it waits, or vacuums, between its chunks.
 */
#include <inttypes.h>

#include "copy/batch_parts.h"
#include "copy/unpaced.h"
#include "engine/pg/sql.h"

enum { WAIT_MS = 1000 };

/*
 * Bytes of dead rows, by the server's statistics and the average row; and whose old transaction, if
 * any, keeps a vacuum from taking them away.
 */
static const char LOOK[] =
    "SELECT coalesce((s.n_dead_tup * (pg_relation_size(s.relid)::numeric\n"
    "            / greatest(s.n_live_tup + s.n_dead_tup, 1)))::bigint, 0),\n"
    "       (SELECT format('%s (%s), open for %s s', a.pid,\n"
    "                      coalesce(nullif(a.application_name, ''), 'unknown'),\n"
    "                      extract(epoch FROM clock_timestamp() - a.xact_start)::bigint)\n"
    "          FROM pg_stat_activity AS a\n"
    "         WHERE a.backend_xmin IS NOT NULL AND a.pid <> pg_backend_pid()\n"
    "           AND a.xact_start < clock_timestamp() - interval '1 minute'\n"
    "         ORDER BY age(a.backend_xmin) DESC LIMIT 1)\n"
    "  FROM pg_stat_all_tables AS s WHERE s.relid = $1::oid";

/* As long as it takes; chunks have limits of their own. Somebody else's vacuum is not waited for.
 */
static bool run_vacuum(struct session *session, const struct batch_plan *plan, struct error *error)
{
    TEXT_AUTO sql = {0};

    sql_expand(&sql, "VACUUM (SKIP_LOCKED, TRUNCATE false) {table}",
               SQL_NAMES({"table", sql_table(plan->schema, plan->table)}));
    return session_run(session, "SET statement_timeout = 0", error) &&
           session_run_text(session, &sql, error);
}

/* When it may not begin yet the worker looks again, as it does anyway: by then another one may have
 * vacuumed. */
static bool vacuum(struct session *session, const struct batch_work *work, int64_t dead,
                   struct error *error)
{
    struct unpaced unpaced;
    bool begun;
    bool ok;

    if (!unpaced_vacuum(session, work->plan->table_oid, dead, &unpaced, error) ||
        !pace_unpaced_try(
            work->run,
            &(struct pace_unpaced){"vacuum of the table", unpaced.wal_bytes, unpaced.seconds},
            &begun, error))
        return false;
    if (!begun)
        return true;
    ok = run_vacuum(session, work->plan, error);
    pace_unpaced_end(work->run);
    return ok;
}

bool batch_hold(struct session *session, const struct settings *settings, void *arg,
                int64_t *wait_ms, struct error *error)
{
    const struct batch_work *work = arg;
    const struct batch_plan *plan = work->plan;
    ROWS_AUTO rows = {0};
    int64_t dead;

    *wait_ms = 0;
    if (settings->bloat_budget_bytes == 0)
        return true;
    if (!session_query(session, &rows, LOOK, PARAMS(NUMBER(plan->table_oid)), error))
        return false;
    dead = rows_int64(&rows, 0, 0);
    if (dead < settings->bloat_budget_bytes)
        return true;
    *wait_ms = WAIT_MS;
    progress_reason(work->run->progress,
                    "%" PRId64 " MB of dead rows, more than bloat.budget: %s%s%s", dead >> 20,
                    settings->vacuum == SWITCH_ON ? "vacuuming" : "waiting for a vacuum",
                    rows_text(&rows, 0, 1) == NULL ? "" : "; nothing is taken away before process ",
                    rows_text(&rows, 0, 1) == NULL ? "" : rows_text(&rows, 0, 1));
    return settings->vacuum == SWITCH_OFF || vacuum(session, work, dead, error);
}
