#include "copy/standby.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/pg/conninfo.h"
#include "engine/pg/session.h"

enum {
    REPLICAS_MAX = 32,
    POLL_MS = 500,
    READER_MS = 1000, /* who uses the table for less is no concern: the standby waits for him */
};

struct replica {
    struct text conninfo;
    struct session *session; /* NULL: does not answer */
    struct text readers;     /* transactions that used the table at the last look */
    int64_t readers_ms;      /* when that was */
};

struct replicas {
    struct run *run;
    struct replica list[REPLICAS_MAX];
    int count;
};

/* ---------------------------------------------------------------------------------------- sessions
 */

static bool read_list(struct run *run, struct replicas *replicas, struct error *error)
{
    const char *list = run->job.settings.replica;
    ROWS_AUTO rows = {0};
    TEXT_AUTO one = {0};

    *replicas = (struct replicas){.run = run};
    if (!session_query(run->session, &rows, "SELECT session_user, current_database()", NO_PARAMS,
                       error))
        return false;
    while (replicas->count < REPLICAS_MAX && conninfo_next(&list, &one)) {
        struct text *conninfo = &replicas->list[replicas->count++].conninfo;

        /* Who does not answer is given up; of two values for a keyword the last one counts. */
        text_append(conninfo, "connect_timeout=5 tcp_user_timeout=10000");
        conninfo_complete(text_string(&one), rows_text(&rows, 0, 0), rows_text(&rows, 0, 1),
                          conninfo);
    }
    return true;
}

static void forget(struct replicas *replicas)
{
    for (int i = 0; i < replicas->count; i++) {
        session_close(replicas->list[i].session);
        text_deinit(&replicas->list[i].conninfo);
        text_deinit(&replicas->list[i].readers);
    }
}

/* One row; false when it does not answer, and `who` says so. */
static bool ask(struct replicas *replicas, struct replica *replica, const char *sql,
                struct params params, struct rows *rows, struct text *who)
{
    struct session_options options = {
        .conninfo = text_string(&replica->conninfo),
        .application_name = "pghaul replica",
        .cancel_list = replicas->run->connect.cancel_list,
    };
    struct error error = {0};

    if ((replica->session != NULL || session_open(&replica->session, &options, &error)) &&
        session_query(replica->session, rows, sql, params, &error))
        return true;
    text_separate(who, "; ");
    text_appendf(who, "replica %d does not tell: %s", (int)(replica - replicas->list) + 1,
                 error.message);
    session_close(replica->session);
    replica->session = NULL;
    return false;
}

static void add_who(const struct replicas *replicas, const struct replica *replica,
                    const char *process, struct text *who)
{
    text_separate(who, "; ");
    text_appendf(who, "%s on replica %d", process, (int)(replica - replicas->list) + 1);
}

/* --------------------------------------------------------------------------------------- snapshots
 */

/*
 * What a vacuum that begins now may take for gone by: transactions before the oldest one that runs,
 * and before $1, which is the next one of the first look. And where the log ends.
 */
static const char HORIZON[] =
    "SELECT pg_snapshot_xmax(pg_current_snapshot()), pg_current_wal_insert_lsn()";

static const char OLDEST[] =
    "SELECT (least($1::xid8, pg_snapshot_xmin(pg_current_snapshot())))::xid";

/*
 * On the replica: does it keep our vacuums from its rows itself; has it come to $2; and one session
 * whose snapshot may see rows that are older than $1.
 */
static const char SNAPSHOTS[] =
    "SELECT current_setting('hot_standby_feedback')::boolean,\n"
    "       coalesce(pg_last_wal_replay_lsn() >= $2::pg_lsn, true),\n"
    "       (SELECT format('process %s (%s)', pid,\n"
    "                      coalesce(nullif(application_name, ''), usename, 'unknown'))\n"
    "          FROM pg_stat_activity\n"
    "         WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()\n"
    "           AND age(backend_xmin) > age($1::xid)\n"
    "         ORDER BY age(backend_xmin) DESC LIMIT 1)";

struct horizon {
    char next[32];
    char position[32];
};

static bool look_at_snapshots(struct replicas *replicas, const void *arg, struct text *who,
                              struct error *error)
{
    const struct horizon *horizon = arg;
    ROWS_AUTO oldest = {0};

    if (!session_query(replicas->run->session, &oldest, OLDEST, PARAMS(horizon->next), error))
        return false;
    for (int i = 0; i < replicas->count; i++) {
        struct replica *replica = &replicas->list[i];
        ROWS_AUTO rows = {0};

        if (!ask(replicas, replica, SNAPSHOTS, PARAMS(rows_text(&oldest, 0, 0), horizon->position),
                 &rows, who) ||
            rows_bool(&rows, 0, 0))
            continue;
        if (rows_text(&rows, 0, 2) != NULL)
            add_who(replicas, replica, rows_text(&rows, 0, 2), who);
        else if (!rows_bool(&rows, 0, 1))
            add_who(replicas, replica, "replay", who);
    }
    return true;
}

/* ----------------------------------------------------------------------------------------- readers
 */

/* $1 table, $2 database, $3 the transactions of the last look. Those of now, and one that is among
 * both. Oids are the primary's; the session may be in another database. */
static const char READERS[] =
    "WITH holder AS (\n"
    "    SELECT DISTINCT l.virtualtransaction, l.pid FROM pg_locks AS l\n"
    "     WHERE l.locktype = 'relation' AND l.relation = $1::oid AND l.granted\n"
    "       AND l.database = $2::oid\n"
    "       AND l.pid <> pg_backend_pid()\n"
    "       AND l.mode <> 'AccessExclusiveLock')\n" /* that of the replay itself */
    "SELECT ARRAY(SELECT virtualtransaction FROM holder),\n"
    "       (SELECT format('process %s (%s)', a.pid,\n"
    "                      coalesce(nullif(a.application_name, ''), a.usename, 'unknown'))\n"
    "          FROM holder AS h JOIN pg_stat_activity AS a USING (pid)\n"
    "         WHERE h.virtualtransaction = ANY ($3::text[]) LIMIT 1)";

static bool look_at_readers(struct replicas *replicas, const void *arg, struct text *who,
                            struct error *error)
{
    ROWS_AUTO database = {0};

    if (!session_query(replicas->run->session, &database,
                       "SELECT oid FROM pg_database WHERE datname = current_database()", NO_PARAMS,
                       error))
        return false;
    for (int i = 0; i < replicas->count; i++) {
        struct replica *replica = &replicas->list[i];
        int64_t now_ms = clock_ms();
        bool first = replica->readers.used == 0;
        ROWS_AUTO rows = {0};

        if (!ask(replicas, replica, READERS,
                 PARAMS(arg, rows_text(&database, 0, 0),
                        first ? "{}" : text_string(&replica->readers)),
                 &rows, who))
            continue;
        if (rows_text(&rows, 0, 1) != NULL || (first && strcmp(rows_text(&rows, 0, 0), "{}") != 0))
            add_who(replicas, replica,
                    rows_text(&rows, 0, 1) != NULL ? rows_text(&rows, 0, 1) : "a query", who);
        if (!first && now_ms - replica->readers_ms < READER_MS)
            continue;
        replica->readers_ms = now_ms;
        text_clear(&replica->readers);
        text_append(&replica->readers, rows_text(&rows, 0, 0));
    }
    return true;
}

/* ----------------------------------------------------------------------------------------- waiting
 */

typedef bool look_at_replicas(struct replicas *replicas, const void *arg, struct text *who,
                              struct error *error);

/* Until `look` finds nobody, or snapshot.wait is over: then a warning. */
static bool wait_for(struct replicas *replicas, look_at_replicas *look, const void *arg,
                     const char *what, struct error *error)
{
    struct run *run = replicas->run;
    int64_t end_ms = clock_ms() + run->job.settings.snapshot_wait_ms;
    bool said = false;

    for (;;) {
        TEXT_AUTO who = {0};
        TEXT_AUTO reason = {0};

        if (!look(replicas, arg, &who, error))
            return false;
        if (who.used == 0 || clock_ms() >= end_ms) {
            if (who.used > 0)
                log_warning(run->log, "%s may cancel queries on replicas: %s", what,
                            text_string(&who));
            progress_moving(run->progress);
            return !said || job_set_reason(run->session, &run->job, NULL, error);
        }
        text_appendf(&reason, "waiting for %s", text_string(&who));
        progress_reason(run->progress, "%s", text_string(&who));
        if (!said && !job_set_reason(run->session, &run->job, text_string(&reason), error))
            return false;
        said = true;
        if (!stop_sleep_ms(run->stop, POLL_MS, error))
            return false;
    }
}

/*
 * Hot standbys that nobody asks: pg_stat_replication shows those that replay; one that sends
 * feedback shows its oldest snapshot, there or in its slot. NULL: none, or not for this role.
 */
static const char NOT_ASKED[] =
    "SELECT string_agg(r.application_name, ', ' ORDER BY r.application_name)\n"
    "  FROM pg_stat_replication AS r\n"
    "  LEFT JOIN pg_replication_slots AS s ON s.active_pid = r.pid\n"
    " WHERE r.state = 'streaming' AND r.replay_lsn IS NOT NULL\n"
    "   AND s.slot_type IS DISTINCT FROM 'logical'\n"
    "   AND ($1::boolean OR (r.backend_xmin IS NULL AND s.xmin IS NULL))";

/* `locks`: feedback does not help. */
static bool tell_of_others(struct run *run, const char *what, bool locks, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(run->session, &rows, NOT_ASKED, PARAMS(locks ? "true" : "false"), error))
        return false;
    if (rows_text(&rows, 0, 0) != NULL)
        log_notice(run->log,
                   "%s may cancel queries on standby %s after max_standby_streaming_delay; with "
                   "--replica CONNINFO pghaul waits for them",
                   what, rows_text(&rows, 0, 0));
    return true;
}

bool standby_wait_snapshots(struct run *run, const char *what, struct error *error)
{
    struct replicas replicas;
    struct horizon horizon;
    ROWS_AUTO rows = {0};
    bool ok;

    if (run->job.settings.replica[0] == '\0')
        return tell_of_others(run, what, false, error);
    if (!session_query(run->session, &rows, HORIZON, NO_PARAMS, error))
        return false;
    snprintf(horizon.next, sizeof(horizon.next), "%s", rows_text(&rows, 0, 0));
    snprintf(horizon.position, sizeof(horizon.position), "%s", rows_text(&rows, 0, 1));
    ok = read_list(run, &replicas, error) &&
         wait_for(&replicas, look_at_snapshots, &horizon, what, error);
    forget(&replicas);
    return ok;
}

bool standby_wait_readers(struct run *run, uint32_t table_oid, struct error *error)
{
    static const char WHAT[] = "the swap";
    struct replicas replicas;
    bool ok;

    if (run->job.settings.replica[0] == '\0')
        return tell_of_others(run, WHAT, true, error);
    ok = read_list(run, &replicas, error) &&
         wait_for(&replicas, look_at_readers, NUMBER(table_oid), WHAT, error);
    forget(&replicas);
    return ok;
}
