/*
 * The statements of the probe. One big one, put together of what is on: each part yields rows of
 * one shape
 *
 *     kind text, name text, a float8, b float8, c float8, flag boolean, who text
 *
 * that probe_signals.c knows by their kind. They run as whoever runs the job, on 14 to 18, and read
 * what every role may read, unless it is said otherwise. None takes a lock that others wait for.
 */
#include "throttle/probe_parts.h"

#include "engine/pg/sql.h"

/* Positions of the log are numbers from here on: exact up to 2^53 bytes. */
static const char WITH_LOG[] =
    "WITH log AS MATERIALIZED (SELECT pg_current_wal_insert_lsn() AS lsn)";

/*
 * Every session, ours too. Without pg_read_all_stats the server hides state, wait_event, query and
 * backend_type of other roles' sessions (NULL), but neither their names nor their snapshots.
 */
static const char WITH_ACTIVITY[] =
    ",\nactivity AS MATERIALIZED (\n"
    "    SELECT pid, datid, usesysid, usename, application_name LIKE 'pghaul%' AS ours,\n"
    "           datid = (SELECT oid FROM pg_database WHERE datname = current_database()) AS here,\n"
    "           state, wait_event_type, lower(wait_event) AS wait_event, query_start,\n"
    "           greatest(age(backend_xid), age(backend_xmin)) AS horizon, backend_type,\n"
    "           format('process %s (%s%s%s)', pid,\n"
    "                  coalesce(nullif(application_name, ''), backend_type, 'unknown'),\n"
    "                  ', user ' || usename,\n"
    "                  ': ' || left(regexp_replace(nullif(query, '<insufficient privilege>'),\n"
    "                                              '\\s+', ' ', 'g'), 100)) AS who\n"
    "      FROM pg_stat_activity)";

static const char LOG[] =
    "\nSELECT 'log'::text, NULL::text, (lsn - '0/0'::pg_lsn)::float8, NULL::float8, NULL::float8,\n"
    "       NULL::boolean, NULL::text\n"
    "  FROM log";

/*
 * a: the position up to which it is done; b: replay_lag in seconds; c: when it reported; flag:
 * state, positions and times are not hidden (pg_read_all_stats). A subscriber's position is what it
 * has confirmed, which its slot shows to everybody. Neither base backups, nor the workers that copy
 * a subscription's tables at its start, follow the log.
 */
static const char REPLICAS[] =
    "SELECT 'replica', r.application_name,\n"
    "       (CASE WHEN s.slot_name IS NULL THEN r.replay_lsn\n"
    "             ELSE coalesce(s.confirmed_flush_lsn, r.flush_lsn) END - '0/0'::pg_lsn)::float8,\n"
    "       extract(epoch FROM r.replay_lag)::float8, extract(epoch FROM r.reply_time)::float8,\n"
    "       r.state IS NOT NULL OR s.slot_name IS NOT NULL, r.pid::text\n"
    "  FROM pg_stat_replication AS r\n"
    "  LEFT JOIN pg_replication_slots AS s ON s.active_pid = r.pid AND s.slot_type = 'logical'\n"
    " WHERE r.state IS DISTINCT FROM 'backup' AND r.application_name <> 'pg_basebackup'\n"
    "   AND r.application_name !~ '^pg_[0-9]+_sync_[0-9]+_[0-9]+$'";

/*
 * a: what it retains; b: percent of what is allowed that are left; c: age of its snapshot (what
 * catalog_xmin holds back are catalogues only). A slot that is lost retains nothing, whatever
 * positions it still shows.
 */
static const char SLOTS[] =
    "SELECT 'slot', slot_name::text, (log.lsn - restart_lsn)::float8,\n"
    "       CASE WHEN safe_wal_size IS NOT NULL THEN\n"
    "            least(100, 100.0 * greatest(safe_wal_size, 0)\n"
    "                       / greatest(pg_size_bytes(current_setting('max_slot_wal_keep_size')),\n"
    "                                  1)) END,\n"
    "       age(xmin)::float8, active, NULL\n"
    "  FROM pg_replication_slots, log WHERE wal_status IS DISTINCT FROM 'lost'";

/*
 * a: the oldest snapshot that holds back vacuum here. Snapshots of other databases do not, nor do
 * those of vacuums; those of standbys that send feedback do.
 */
static const char HORIZON[] =
    "(SELECT 'horizon', NULL, horizon::float8, NULL, NULL, NULL, who\n"
    "   FROM activity\n"
    "  WHERE horizon IS NOT NULL AND NOT ours AND (here OR datid IS NULL)\n"
    "    AND (usesysid IS NOT NULL OR datid IS NULL)\n"
    "    AND pid NOT IN (SELECT pid FROM pg_stat_progress_vacuum WHERE pid IS NOT NULL)\n"
    "  ORDER BY horizon DESC LIMIT 1)\n"
    "UNION ALL\n"
    "(SELECT 'horizon', NULL, age(transaction)::float8, NULL, NULL, NULL,\n"
    "        format('prepared transaction %L', gid)\n"
    "   FROM pg_prepared_xacts WHERE database = current_database()\n"
    "  ORDER BY age(transaction) DESC LIMIT 1)";

enum { BLOCKED_LOOKED_AT = 16 };

/*
 * Those who wait for a lock, the first to wait first, if one of ours is in the way; b: since how
 * long, in seconds. pg_blocking_pids() stops the lock table for a moment: it is asked for no more
 * than it takes to say that the limit is reached.
 */
static const char BLOCKED[] =
    "SELECT 'blocked', NULL, NULL, extract(epoch FROM clock_timestamp() - w.since)::float8, NULL,\n"
    "       NULL, a.who\n"
    "  FROM (SELECT pid, min(waitstart) AS since FROM pg_locks\n"
    "         WHERE NOT granted AND pid NOT IN (SELECT pid FROM activity WHERE ours)\n"
    "         GROUP BY pid ORDER BY since LIMIT {most}) AS w\n"
    "  LEFT JOIN activity AS a ON a.pid = w.pid\n"
    " WHERE pg_blocking_pids(w.pid) && (SELECT array_agg(pid) FROM activity WHERE ours AND here)";

/* a: run, or wait for IO or a latch; b: their commits wait; flag: we may see that of all. */
static const char ACTIVE[] =
    "SELECT 'active', NULL,\n"
    "       count(*) FILTER (WHERE wait_event_type IS NULL\n"
    "                           OR wait_event_type IN ('IO', 'LWLock'))::float8,\n"
    /* The names of events are spelled in another way from 17 on. */
    "       count(*) FILTER (WHERE wait_event IN ('syncrep', 'walsync', 'walwrite'))::float8,\n"
    "       NULL, pg_has_role('pg_read_all_stats', 'USAGE'), NULL\n"
    "  FROM activity\n"
    " WHERE backend_type = 'client backend' AND state = 'active' AND NOT ours";

/*
 * flag: does somebody else use this database? Who runs a statement, or began one since the last
 * look or so; whose state we may not see, does.
 */
static const char FOREIGN[] =
    "SELECT 'foreign', NULL, NULL, NULL, NULL, EXISTS (\n"
    "    SELECT FROM activity\n"
    "     WHERE here AND NOT ours AND usesysid IS NOT NULL\n"
    "       AND (backend_type IS NULL OR backend_type <> 'walsender')\n"
    "       AND (state = 'active' OR query_start > clock_timestamp() - interval '1500 ms'\n"
    "            OR backend_type IS NULL OR backend_type LIKE 'logical replication%')), NULL";

/*
 * a: end of the last segment that was archived; b: begin of the one at which archiving fails now.
 * Names of segments are timeline, log, segment; others (.history, .backup, .partial) say nothing
 * about how far it is.
 */
static const char ARCHIVER[] =
    "SELECT 'archiver', last_archived_wal,\n"
    "       CASE WHEN last_archived_wal ~ '^[0-9A-F]{24}$'\n"
    "            THEN ('x' || substr(last_archived_wal, 9, 8))::bit(32)::bigint * 4294967296.0\n"
    "                 + (('x' || substr(last_archived_wal, 17, 8))::bit(32)::bigint + 1)\n"
    "                   * pg_size_bytes(current_setting('wal_segment_size')) END::float8,\n"
    "       CASE WHEN last_failed_wal ~ '^[0-9A-F]{24}$'\n"
    "                 AND last_failed_time > coalesce(last_archived_time, '-infinity')\n"
    "            THEN ('x' || substr(last_failed_wal, 9, 8))::bit(32)::bigint * 4294967296.0\n"
    "                 + ('x' || substr(last_failed_wal, 17, 8))::bit(32)::bigint\n"
    "                   * pg_size_bytes(current_setting('wal_segment_size')) END::float8,\n"
    "       failed_count::float8,\n"
    "       last_failed_time > coalesce(last_archived_time, '-infinity'), last_failed_wal\n"
    "  FROM pg_stat_archiver\n"
    " WHERE current_setting('archive_mode') <> 'off'";

static const char CHECKPOINTS_16[] =
    "SELECT 'checkpoints', NULL, checkpoints_req::float8, NULL, NULL, NULL, NULL\n"
    "  FROM pg_stat_bgwriter";
static const char CHECKPOINTS_17[] =
    "SELECT 'checkpoints', NULL, num_requested::float8, NULL, NULL, NULL, NULL\n"
    "  FROM pg_stat_checkpointer";

static const char DEAD[] =
    "SELECT 'dead', t.oid::regclass::text, pg_stat_get_dead_tuples(t.oid)::float8, NULL, NULL,\n"
    "       NULL, NULL\n"
    "  FROM unnest({tables}::oid[]) AS t (oid)";

/*
 * Vacuums of our tables but our own. Whose table a vacuum is at is hidden, but not which locks it
 * has. flag: against wraparound, as far as the table's age tells.
 */
static const char VACUUMS[] =
    "SELECT 'vacuum', c.oid::regclass::text, age(c.relfrozenxid)::float8, NULL, NULL,\n"
    "       age(c.relfrozenxid) > current_setting('autovacuum_freeze_max_age')::int, v.pid::text\n"
    "  FROM pg_stat_progress_vacuum AS v\n"
    "  JOIN pg_locks AS l ON l.pid = v.pid AND l.granted AND l.locktype = 'relation'\n"
    "       AND l.mode = 'ShareUpdateExclusiveLock' AND l.relation = ANY ({tables}::oid[])\n"
    "  JOIN pg_class AS c ON c.oid = l.relation\n"
    " WHERE v.pid NOT IN (SELECT pid FROM activity WHERE ours)";

/* Other processes that work on jobs here, by kind: those that wait to begin what cannot be paced,
 * and the rest. a: priority; b: written; c: age; flag: wants more. */
static const char PEERS[] =
    "SELECT CASE WHEN waits THEN '" PEER_WAITS "' ELSE 'peer' END, job::text,\n"
    "       priority::float8, written::float8,\n"
    "       extract(epoch FROM clock_timestamp() - at)::float8, wants, pid::text\n"
    "  FROM pghaul.pulse\n"
    " WHERE pid <> pg_backend_pid() AND at > now() - interval '1 minute'";

static void append_tables(const struct probe *probe, struct text *out)
{
    text_append(out, "{");
    for (int i = 0; i < probe->target.table_count; i++)
        text_appendf(out, "%s%u", i > 0 ? "," : "", probe->target.tables[i]);
    text_append(out, "}");
}

static void add(struct text *sql, const char *part)
{
    text_append(sql, "\nUNION ALL\n");
    text_append(sql, part);
}

static void add_about_tables(const struct probe *probe, const char *part, struct text *sql)
{
    TEXT_AUTO tables = {0};

    append_tables(probe, &tables);
    text_append(sql, "\nUNION ALL\n");
    sql_expand(sql, part, SQL_NAMES({"tables", sql_literal(text_string(&tables))}));
}

static void add_blocked(const struct probe *probe, struct text *sql)
{
    double limit = probe->view.readings[SIGNAL_BLOCKED_BY_US].limit;
    char most[24];

    number_text(most, limit > BLOCKED_LOOKED_AT ? (int64_t)limit : BLOCKED_LOOKED_AT);
    text_append(sql, "\nUNION ALL\n");
    sql_expand(sql, BLOCKED, SQL_NAMES({"most", sql_fragment(most)}));
}

void probe_sql_fast(struct text *sql)
{
    text_append(sql, WITH_LOG);
    text_append(sql, LOG);
    add(sql, REPLICAS);
}

static bool wants_slots(const struct probe *probe)
{
    return probe_on(probe, SIGNAL_SLOT_RETAINED) || probe_on(probe, SIGNAL_SLOT_WAL_LEFT) ||
           probe_on(probe, SIGNAL_XMIN_AGE);
}

void probe_sql_slow(const struct probe *probe, struct text *sql)
{
    text_append(sql, WITH_LOG);
    text_append(sql, WITH_ACTIVITY);
    text_append(sql, LOG);
    add(sql, FOREIGN);
    /* Whatever is on: a job keeps the names of those that it saw at its start, and while one is
     * there its unpaced statements run one by one. */
    add(sql, REPLICAS);
    if (wants_slots(probe))
        add(sql, SLOTS);
    if (probe_on(probe, SIGNAL_XMIN_AGE))
        add(sql, HORIZON);
    if (probe_on(probe, SIGNAL_BLOCKED_BY_US))
        add_blocked(probe, sql);
    if (probe_on(probe, SIGNAL_ACTIVE_SESSIONS) || probe_on(probe, SIGNAL_COMMIT_WAIT))
        add(sql, ACTIVE);
    if (probe_on(probe, SIGNAL_ARCHIVER_BACKLOG))
        add(sql, ARCHIVER);
    if (probe_on(probe, SIGNAL_CHECKPOINTS_REQUESTED))
        add(sql, probe->sql_version >= 170000 ? CHECKPOINTS_17 : CHECKPOINTS_16);
    if (probe_on(probe, SIGNAL_DEAD_TUPLES))
        add_about_tables(probe, DEAD, sql);
    if (probe_on(probe, SIGNAL_VACUUM_RUNNING))
        add_about_tables(probe, VACUUMS, sql);
    if (probe->target.job > 0)
        add(sql, PEERS);
}

/*
 * Bytes on disk: the tables of the job and what it has in its schema (names end in its number, and
 * a word perhaps), and the log that slots retain. By itself: the size of a table that somebody
 * holds a strong lock on can only be asked when that is gone.
 */
static const char DISK[] =
    "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::float8\n"
    "       + coalesce((SELECT max(pg_current_wal_insert_lsn() - restart_lsn)\n"
    "                     FROM pg_replication_slots\n"
    "                    WHERE wal_status IS DISTINCT FROM 'lost'), 0)::float8\n"
    "  FROM pg_class AS c\n"
    " WHERE c.oid = ANY ({tables}::oid[])\n"
    "    OR c.relkind IN ('r', 'm') AND c.relname ~ {pattern}\n"
    "       AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'pghaul')";

void probe_sql_disk(const struct probe *probe, struct text *sql)
{
    TEXT_AUTO tables = {0};
    TEXT_AUTO pattern = {0};

    append_tables(probe, &tables);
    text_appendf(&pattern, "_%lld(_[a-z]+)?$", (long long)probe->target.job);
    sql_expand(sql, DISK,
               SQL_NAMES({"tables", sql_literal(text_string(&tables))},
                         {"pattern", sql_literal(text_string(&pattern))}));
}
