#include "copy/lock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/pg/sql.h"
#include "engine/pg/sqlstate.h"

enum { BACKOFF_FIRST_MS = 50, BACKOFF_MAX_MS = 1000, SNAPSHOT_POLL_MS = 50, LONG_MS = 500 };

int64_t lock_backoff_ms(int attempt, unsigned *seed)
{
    int64_t base_ms = (int64_t)BACKOFF_FIRST_MS * attempt;

    if (base_ms > BACKOFF_MAX_MS)
        base_ms = BACKOFF_MAX_MS;
    return base_ms / 2 + rand_r(seed) % (base_ms + 1);
}

int64_t lock_wait_ms(int64_t limit_ms)
{
    return limit_ms > 2 * LOCK_WORK_MS ? limit_ms - LOCK_WORK_MS : (limit_ms + 1) / 2;
}

/* Ours, or a smaller one that a role or the database has been given: it may be the application's.
 */
static const char DEADLOCK_TIMEOUT[] =
    "SELECT least(s.setting::bigint,\n"
    "             (SELECT min(extract(epoch FROM (v || CASE WHEN v ~ '^[0-9]+$' THEN ' ms' ELSE '' "
    "END)::interval) * 1000)::bigint\n"
    "                FROM pg_db_role_setting AS r, unnest(r.setconfig) AS c,\n"
    "                     substr(c, length('deadlock_timeout=') + 1) AS v\n"
    "               WHERE c LIKE 'deadlock_timeout=%' AND r.setdatabase IN (0,\n"
    "                     (SELECT oid FROM pg_database WHERE datname = current_database()))))\n"
    "  FROM pg_settings AS s WHERE s.name = 'deadlock_timeout'";

bool lock_deadlock_timeout(struct session *session, int64_t *ms, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(session, &rows, DEADLOCK_TIMEOUT, NO_PARAMS, error))
        return false;
    *ms = rows_int64(&rows, 0, 0);
    return true;
}

bool lock_check_settings(struct session *session, const struct settings *settings,
                         struct error *error)
{
    int64_t deadlock_ms;

    if (!lock_deadlock_timeout(session, &deadlock_ms, error))
        return false;
    if (settings->lock_timeout_ms * 2 < deadlock_ms && settings->cutover_wait_ms * 2 < deadlock_ms)
        return true;
    error_set(error, ERROR_USAGE,
              "lock.timeout and cutover.wait must be less than half of the server's "
              "deadlock_timeout, which is %" PRId64 " ms",
              deadlock_ms);
    error_detail(
        error,
        "otherwise the application, not pghaul, could be chosen as the victim of a deadlock");
    return error_hint(error, "use -s lock.timeout=%lldms or less",
                      (long long)(deadlock_ms / 2 - 1));
}

/*
 * Whoever holds a lock on one of the tables that conflicts with ACCESS EXCLUSIVE (all do), without
 * ourselves. $1 = names of the tables as an array of regclass, $2 = least age of their transaction
 * in ms; 0: all. Not old, whatever its age: an autovacuum, which ends itself as soon as the first
 * rung waits for it (who waits for its end first never gets to the first rung), unless it prevents
 * wraparound; and a transaction whose age this role may not see.
 */
static const char BLOCKERS[] =
    "SELECT DISTINCT a.pid, format('process %s (%s%s, %s%s): %s', a.pid, "
    "coalesce(nullif(a.application_name, ''), "
    "a.backend_type),\n"
    "              ', user ' || a.usename, coalesce(a.state, a.backend_type),\n"
    "              CASE WHEN a.xact_start IS NOT NULL\n"
    "                   THEN ' for ' || date_trunc('seconds', clock_timestamp() - "
    "a.xact_start)::text ELSE '' END,\n"
    "              left(regexp_replace(a.query, '\\s+', ' ', 'g'), 100))\n"
    "  FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)\n"
    " WHERE ($2::bigint = 0\n"
    "        OR (a.xact_start <= clock_timestamp() - $2::bigint * interval '1 millisecond'\n"
    "            AND (a.backend_type <> 'autovacuum worker'\n"
    "                 OR a.query LIKE '%(to prevent wraparound)')))\n"
    "   AND l.relation = ANY ($1::regclass[]::oid[]) AND l.granted AND l.pid <> pg_backend_pid()\n"
    "   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())\n"
    " ORDER BY 1 LIMIT 5";

/* Those whose transaction is older than `age_ms`. */
static bool describe_older(struct session *session, const char *tables, int64_t age_ms,
                           struct text *out, struct error *error)
{
    ROWS_AUTO names = {0};
    ROWS_AUTO rows = {0};

    text_clear(out);
    /* ONLY "s"."a", ONLY "s"."b" as an array that regclass[] can read: both parts of a name are
     * quoted, so that what is between two names cannot be taken for one. */
    if (!session_query(
            session, &names,
            "SELECT array_agg(name[1])\n"
            "  FROM regexp_matches($1, '((?:\"(?:[^\"]|\"\")*\"\\.)\"(?:[^\"]|\"\")*\")', "
            "'g') AS name",
            PARAMS(tables), error) ||
        !session_query(session, &rows, BLOCKERS, PARAMS(rows_text(&names, 0, 0), NUMBER(age_ms)),
                       error))
        return false;
    for (int i = 0; i < rows_count(&rows); i++) {
        text_separate(out, "; ");
        text_append(out, rows_text(&rows, i, 1));
    }
    return true;
}

bool lock_describe_blockers(struct session *session, const char *tables, struct text *out,
                            struct error *error)
{
    return describe_older(session, tables, 0, out, error);
}

bool lock_long_blocker(struct session *session, const char *tables, bool *found, struct text *who,
                       struct error *error)
{
    TEXT_AUTO blockers = {0};

    if (!describe_older(session, tables, LONG_MS, &blockers, error))
        return false;
    *found = blockers.used > 0;
    if (who != NULL) {
        text_clear(who);
        text_append(who, text_string(&blockers));
    }
    return true;
}

static void first_rung_sql(const char *tables, struct text *sql)
{
    sql_expand(sql,
               "BEGIN;\n"
               "SELECT set_config('lock_timeout', (setting::bigint + 4000)::text, true)\n"
               "  FROM pg_settings WHERE name = 'deadlock_timeout';\n"
               "LOCK TABLE {tables} IN SHARE UPDATE EXCLUSIVE MODE;\n"
               "ROLLBACK",
               SQL_NAMES({"tables", sql_fragment(tables)}));
}

static bool first_rung(struct run *run, const char *tables, struct error *error)
{
    TEXT_AUTO sql = {0};

    first_rung_sql(tables, &sql);
    if (session_run_text(run->session, &sql, error))
        return true;
    session_rollback(run->session);
    return false;
}

/* Each of several tables would have a lock_timeout of its own: a writer who waits for the first
 * one, while we wait for the second, waits for both. So the statement has one, too. */
static void strong_lock_sql(const struct run *run, const char *tables, const char *mode,
                            struct text *sql)
{
    int64_t wait_ms = lock_wait_ms(run->job.settings.lock_timeout_ms);
    bool several = strchr(tables, ',') != NULL;

    sql_expand(sql,
               SESSION_BEGIN ";\n"
                             "SET LOCAL lock_timeout = {timeout};\n",
               SQL_NAMES({"timeout", sql_fragment(NUMBER(wait_ms))}));
    if (several)
        sql_expand(sql, "SET LOCAL statement_timeout = {timeout};\n",
                   SQL_NAMES({"timeout", sql_fragment(NUMBER(wait_ms + 1))}));
    sql_expand(sql, "LOCK TABLE {tables} IN {mode} MODE",
               SQL_NAMES({"tables", sql_fragment(tables)}, {"mode", sql_fragment(mode)}));
    if (several)
        text_append(sql, ";\nSET LOCAL statement_timeout = 0");
}

void lock_print(const struct run *run, const char *tables, const char *mode, struct text *script)
{
    TEXT_AUTO sql = {0};

    sql_note(script, "the lock, tried up to %" PRId64 " times", run->job.settings.lock_tries);
    first_rung_sql(tables, &sql);
    sql_add(script, text_string(&sql));
    text_clear(&sql);
    strong_lock_sql(run, tables, mode, &sql);
    sql_add(script, text_string(&sql));
}

static bool strong_lock(struct run *run, const char *tables, const char *mode,
                        struct lock_report *report, struct error *error)
{
    TEXT_AUTO sql = {0};
    int64_t start_us = clock_us();

    strong_lock_sql(run, tables, mode, &sql);
    if (!session_run_text(run->session, &sql, error)) {
        session_rollback(run->session);
        return false;
    }
    report->waited_us = clock_us() - start_us;
    return true;
}

bool lock_in_the_way(const struct error *error)
{
    return error->code == ERROR_LOCK || strcmp(error->sqlstate, SQLSTATE_DEADLOCK_DETECTED) == 0 ||
           strcmp(error->sqlstate, SQLSTATE_QUERY_CANCELED) == 0;
}

bool lock_tables(struct run *run, const char *tables, const char *mode, struct lock_report *report,
                 struct error *error)
{
    unsigned seed = (unsigned)clock_us();

    *report = (struct lock_report){0};
    for (;;) {
        TEXT_AUTO blockers = {0};
        struct error ignored = {0};

        report->attempts++;
        if (first_rung(run, tables, error) && strong_lock(run, tables, mode, report, error)) {
            progress_moving(run->progress);
            return true;
        }
        if (stop_wanted(run->stop) || !lock_in_the_way(error))
            return false;
        if (!lock_describe_blockers(run->session, tables, &blockers, &ignored))
            text_clear(&blockers);
        progress_reason(run->progress, "waiting for a lock on %s: %s", tables,
                        text_string(&blockers));
        if (report->attempts >= run->job.settings.lock_tries) {
            error_set(error, ERROR_LOCK, "could not lock %s in %d tries", tables, report->attempts);
            error_detail(error, "%s",
                         blockers.used > 0 ? text_string(&blockers) : "its holder is gone now");
            return error_hint(error, "end that transaction, or wait for it, then resume");
        }
        if (!stop_sleep_ms(run->stop, lock_backoff_ms(report->attempts, &seed), error))
            return false;
    }
}

bool lock_patiently(struct run *run, bool (*work)(struct run *run, void *arg, struct error *error),
                    void *arg, struct error *error)
{
    unsigned seed = (unsigned)clock_us();

    for (int attempts = 1; !work(run, arg, error); attempts++) {
        if (stop_wanted(run->stop) || !lock_in_the_way(error) ||
            attempts >= run->job.settings.lock_tries)
            return false;
        log_verbose(run->log, "try %d: %s", attempts, error->message);
        if (!stop_sleep_ms(run->stop, lock_backoff_ms(attempts, &seed), error))
            return false;
        error_clear(error);
    }
    return true;
}

void lock_print_change(const struct run *run, const char *tables, const char *mode, const char *sql,
                       struct text *script)
{
    lock_print(run, tables, mode, script);
    session_print_set("statement_timeout", NUMBER(run->job.settings.lock_timeout_ms), true, script);
    sql_add(script, sql);
    sql_add(script, SESSION_COMMIT);
}

/* Behind one that is open for long, writers would only queue for nothing. */
static bool nobody_stays(struct run *run, const char *tables, struct error *error)
{
    TEXT_AUTO who = {0};
    bool blocked;

    if (!lock_long_blocker(run->session, tables, &blocked, &who, error))
        return false;
    if (!blocked)
        return true;
    error_set(error, ERROR_LOCK, "a long transaction uses %s", tables);
    return error_detail(error, "%s", text_string(&who));
}

/* Under the lock nobody renames it any more. */
static bool check_table(struct run *run, const struct lock_change *change, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (change->table_oid == 0)
        return true;
    if (!session_query(run->session, &rows,
                       "SELECT to_regclass(regexp_replace($1, '^ONLY ', ''))::oid = $2::oid",
                       PARAMS(change->tables, NUMBER(change->table_oid)), error))
        return false;
    return rows_bool(&rows, 0, 0) ||
           error_set(error, ERROR_REFUSED, "%s is another table than the job's", change->tables);
}

static bool change_once(struct run *run, const struct lock_change *change,
                        struct lock_report *report, struct error *error)
{
    int64_t locked_us;

    if (!nobody_stays(run, change->tables, error) ||
        !lock_tables(run, change->tables, change->mode, report, error))
        return false;
    locked_us = clock_us();
    if (session_set(run->session, "statement_timeout", NUMBER(run->job.settings.lock_timeout_ms),
                    true, error) &&
        check_table(run, change, error) && change->work(run, change->arg, error) &&
        job_add_lock(run->session, &run->job, change->what_for, change->mode,
                     report->waited_us / 1000, (clock_us() - locked_us) / 1000, report->attempts,
                     error) &&
        session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return false;
}

bool lock_and_change(struct run *run, const struct lock_change *change, struct lock_report *report,
                     struct error *error)
{
    unsigned seed = (unsigned)clock_us();

    *report = (struct lock_report){0};
    for (int64_t tries = 1;; tries++) {
        if (change_once(run, change, report, error)) {
            progress_moving(run->progress);
            report->attempts += (int)tries - 1;
            return true;
        }
        if (stop_wanted(run->stop) || !lock_in_the_way(error) ||
            tries >= run->job.settings.lock_tries ||
            report->attempts >= run->job.settings.lock_tries)
            return false;
        log_verbose(run->log, "%s, try %" PRId64 ": %s", change->what_for, tries, error->message);
        progress_reason(run->progress, "%s: %s", change->what_for,
                        error->detail[0] != '\0' ? error->detail : error->message);
        if (!stop_sleep_ms(run->stop, lock_backoff_ms((int)tries, &seed), error))
            return false;
        *report = (struct lock_report){0};
    }
}

/*
 * Transactions of this database that began before $2 and still have a snapshot that cannot see
 * everything before the transaction id $1. Why both: a snapshot taken after $2 may carry an older
 * xmin, that of some long writer which is none of our business (a session idle in a READ COMMITTED
 * transaction has no snapshot at all and is not waited for); a transaction that began before $2 may
 * have a snapshot from before the copy, and is waited for until it ends, drops the snapshot, or has
 * taken a new one.
 */
static const char OLD_SNAPSHOTS[] =
    "SELECT format('process %s (%s, user %s, %s for %s): %s', pid,\n"
    "              coalesce(nullif(application_name, ''), backend_type), usename, state,\n"
    "              date_trunc('seconds', clock_timestamp() - xact_start),\n"
    "              left(regexp_replace(query, '\\s+', ' ', 'g'), 100))\n"
    "  FROM pg_stat_activity\n"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xmin IS NOT NULL\n"
    "   AND xact_start <= $2::timestamptz AND age(backend_xmin) > age($1::xid)\n"
    "   AND backend_type IN ('client backend', 'parallel worker')\n"
    "UNION ALL\n"
    "SELECT format('process %s (user %s): its snapshot is hidden from this role', a.pid, "
    "a.usename)\n"
    "  FROM pg_stat_activity AS a JOIN pg_locks AS l USING (pid)\n"
    " WHERE l.locktype = 'virtualxid' AND l.virtualtransaction = ANY ($3::text[])\n"
    " LIMIT 1";

/*
 * The horizon, and the transactions that are open now in sessions this role may not look into
 * (without pg_read_all_stats): whether they have a snapshot cannot be seen, so they are waited for,
 * each by its virtual transaction id, as CREATE INDEX CONCURRENTLY does.
 */
static const char HORIZON[] =
    "SELECT (pg_snapshot_xmax(pg_current_snapshot())::text::numeric % 4294967296)::text,\n"
    "       clock_timestamp(),\n"
    "       ARRAY(SELECT l.virtualtransaction FROM pg_locks AS l JOIN pg_stat_activity AS a USING "
    "(pid)\n"
    "              WHERE l.locktype = 'virtualxid' AND l.granted AND l.mode = 'ExclusiveLock'\n"
    "                AND a.datname = current_database() AND a.pid <> pg_backend_pid()\n"
    "                AND a.usesysid IS NOT NULL AND a.backend_start IS NULL)";

bool lock_wait_old_snapshots(struct run *run, struct error *error)
{
    ROWS_AUTO horizon = {0};
    int64_t end_ms = clock_ms() + run->job.settings.snapshot_wait_ms;

    if (!session_query(run->session, &horizon, HORIZON, NO_PARAMS, error))
        return false;
    for (;;) {
        ROWS_AUTO rows = {0};

        if (!session_query(run->session, &rows, OLD_SNAPSHOTS,
                           PARAMS(rows_text(&horizon, 0, 0), rows_text(&horizon, 0, 1),
                                  rows_text(&horizon, 0, 2)),
                           error))
            return false;
        if (rows_count(&rows) == 0) {
            progress_moving(run->progress);
            return true;
        }
        progress_reason(run->progress, "waiting for a snapshot older than the copy: %s",
                        rows_text(&rows, 0, 0));
        if (clock_ms() >= end_ms) {
            error_set(error, ERROR_LOCK,
                      "a transaction has a snapshot older than the copy and would see a hole");
            error_detail(error, "%s", rows_text(&rows, 0, 0));
            return error_hint(
                error, "end that transaction, or wait longer: pghaul set %s snapshot.wait=1h",
                SHELL_WORD(run->job.name));
        }
        if (!stop_sleep_ms(run->stop, SNAPSHOT_POLL_MS, error))
            return false;
    }
}

/* Writers: their virtual transaction ids, which no later transaction has; prepared ones, too. */
static const char WRITERS[] =
    "SELECT ARRAY(SELECT DISTINCT virtualtransaction FROM pg_locks\n"
    "              WHERE locktype = 'relation' AND relation = $1::oid AND granted\n"
    "                AND database = (SELECT oid FROM pg_database\n"
    "                                 WHERE datname = current_database())\n"
    "                AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock',\n"
    "                             'AccessExclusiveLock')\n"
    "                AND pid IS DISTINCT FROM pg_backend_pid())";

/* $2 = those of them that may be open. */
static const char WRITERS_LEFT[] =
    "SELECT coalesce(format('process %s (%s, %s%s)', a.pid,\n"
    "                       coalesce(nullif(a.application_name, ''), a.backend_type), a.state,\n"
    "                       ' for ' || date_trunc('seconds',\n"
    "                                             clock_timestamp() - a.xact_start)::text),\n"
    "                'a prepared transaction')\n"
    "  FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a USING (pid)\n"
    " WHERE l.locktype = 'relation' AND l.relation = $1::oid AND l.granted\n"
    "   AND l.virtualtransaction = ANY ($2::text[]) LIMIT 1";

bool lock_wait_writers(struct run *run, uint32_t table_oid, int64_t limit_ms, struct text *left,
                       struct error *error)
{
    int64_t end_ms = clock_ms() + limit_ms;
    ROWS_AUTO writers = {0};

    if (!session_query(run->session, &writers, WRITERS, PARAMS(NUMBER(table_oid)), error))
        return false;
    for (;;) {
        ROWS_AUTO rows = {0};

        if (!session_query(run->session, &rows, WRITERS_LEFT,
                           PARAMS(NUMBER(table_oid), rows_text(&writers, 0, 0)), error))
            return false;
        text_clear(left);
        if (rows_count(&rows) == 0) {
            progress_moving(run->progress);
            return true;
        }
        text_append(left, rows_text(&rows, 0, 0));
        if (clock_ms() >= end_ms)
            return true;
        progress_reason(run->progress, "waiting for a transaction that wrote the table: %s",
                        text_string(left));
        if (!stop_sleep_ms(run->stop, SNAPSHOT_POLL_MS, error))
            return false;
    }
}
