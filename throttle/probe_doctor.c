#include "throttle/probe_doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "throttle/probe_parts.h"

static const int64_t ANSWER_US = 3000000;
static const int64_t RATE_MS = 1000;

/* Any limit does: the value is what is wanted. What is relative has none before a job rests. */
static const char *const ALL_ON[] = {
    "limit.replica-lag-bytes=1TB",  "limit.replica-lag-time=1d",
    "limit.replicas-missing=1",     "limit.slot-retained=1TB",
    "limit.slot-wal-left=1%",       "limit.wal-rate=1TB",
    "limit.archiver-backlog=1TB",   "limit.checkpoints-requested=1000",
    "limit.active-sessions=100000", "limit.commit-wait=100000",
    "limit.blocked-by-us=1000",     "limit.foreground-latency=100",
    "limit.dead-tuples=1000000000", "limit.xmin-age=2000000000",
    "limit.vacuum-running=32",      "limit.disk=1TB",
};

static bool turn_all_on(struct settings *settings, struct error *error)
{
    for (size_t i = 0; i < sizeof(ALL_ON) / sizeof(ALL_ON[0]); i++)
        if (!settings_set(settings, ALL_ON[i], error))
            return false;
    return true;
}

/* ------------------------------------------------------------------------------------ the signals
 */

/* A policy that asks no signal is not refused for one. */
static bool heeds_signals(const struct settings *settings)
{
    struct error unknown = {0};
    int64_t fixed_ms;
    const struct law *law = law_of_policy(settings->policy, NULL, &fixed_ms, &unknown);

    return law == NULL || law_heeds_signals(law);
}

static void take_signals(const struct probe *probe, const struct settings *settings,
                         struct doctor_look *look)
{
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        struct doctor_signal *signal = &look->signals[i];
        bool relative;
        double limit = signal_limit(settings, (enum signal_id)i, &relative);

        signal->reading = probe->view.readings[i];
        signal->reading.limit = relative ? 0 : limit;
        signal->on = limit > 0;
        if (signal->on && signal->reading.state == READING_UNREADABLE && heeds_signals(settings))
            look->refused = true;
    }
}

/* ----------------------------------------------------------------------------------- the standbys
 */

static const char ASK_STANDBY[] =
    "SELECT current_setting('max_standby_streaming_delay'),\n"
    "       current_setting('hot_standby_feedback')::boolean,\n"
    "       pg_has_role('pg_read_all_stats', 'USAGE'), a.seconds, a.who\n"
    "  FROM (SELECT 1) AS one\n"
    "  LEFT JOIN (\n"
    "    SELECT extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds,\n"
    "           format('process %s (%s%s: %s)', pid,\n"
    "                  coalesce(nullif(application_name, ''), 'unknown'), ', user ' || usename,\n"
    "                  left(regexp_replace(query, '\\s+', ' ', 'g'), 100)) AS who\n"
    "      FROM pg_stat_activity\n"
    "     WHERE backend_type = 'client backend' AND xact_start IS NOT NULL\n"
    "           AND application_name NOT LIKE 'pghaul%'\n"
    "     ORDER BY xact_start LIMIT 1) AS a ON true";

/*
 * Standbys as the primary shows them, and whether they send feedback: their snapshot is their
 * walsender's, or their slot's, which everybody may see. Neither subscribers nor receivers that
 * replay nothing.
 */
static const char SHOWN[] =
    "SELECT r.application_name, r.backend_xmin IS NOT NULL OR s.xmin IS NOT NULL\n"
    "  FROM pg_stat_replication AS r LEFT JOIN pg_replication_slots AS s ON s.active_pid = r.pid\n"
    " WHERE s.slot_type IS DISTINCT FROM 'logical' AND r.application_name <> 'pg_basebackup'\n"
    "   AND (r.replay_lsn IS NOT NULL OR r.state IS NULL)";

static struct doctor_standby *add_standby(struct doctor_look *look, const char *name)
{
    struct doctor_standby *standby;

    for (int i = 0; i < look->standby_count; i++)
        if (strcmp(look->standbys[i].name, name) == 0)
            return &look->standbys[i];
    if (look->standby_count == LAW_REPLICAS_MAX)
        return NULL;
    standby = &look->standbys[look->standby_count++];
    *standby = (struct doctor_standby){.oldest_seconds = -1};
    probe_name(standby->name, sizeof(standby->name), name);
    return standby;
}

static void ask_standby(struct asked *asked, struct doctor_look *look)
{
    struct doctor_standby *standby = add_standby(look, asked->name);
    ROWS_AUTO rows = {0};
    struct error error = {0};

    if (standby == NULL)
        return;
    /* What was asked before is not waited for again. */
    if (ask_pending(asked->ask) ||
        !ask_once(asked->ask, &rows, ASK_STANDBY, NO_PARAMS, ANSWER_US, &error)) {
        probe_name(standby->why, sizeof(standby->why),
                   error.code != ERROR_NONE ? error.message : "it does not answer");
        return;
    }
    standby->asked = true;
    probe_name(standby->delay, sizeof(standby->delay), rows_text(&rows, 0, 0));
    standby->feedback = rows_bool(&rows, 0, 1);
    standby->hidden = !rows_bool(&rows, 0, 2);
    if (rows_text(&rows, 0, 3) != NULL)
        standby->oldest_seconds = rows_double(&rows, 0, 3);
    probe_name(standby->oldest_who, sizeof(standby->oldest_who), rows_text(&rows, 0, 4));
}

static bool any(const struct doctor_look *look, bool feedback)
{
    for (int i = 0; i < look->standby_count; i++)
        if (look->standbys[i].asked && (!feedback || look->standbys[i].feedback))
            return true;
    return false;
}

/* Those that were asked know better; under which names they are shown here nobody knows. */
static bool take_standbys(struct probe *probe, struct doctor_look *look, struct error *error)
{
    ROWS_AUTO rows = {0};
    bool asked, feedback;

    for (int i = 0; i < probe->asked_count; i++)
        ask_standby(&probe->asked[i], look);
    asked = any(look, false);
    feedback = any(look, true);
    if (!ask_once(probe->ask, &rows, SHOWN, NO_PARAMS, ANSWER_US, error))
        return false;
    for (int row = 0; row < rows_count(&rows); row++) {
        bool sends = rows_bool(&rows, row, 1);
        struct doctor_standby *standby =
            asked && (feedback || !sends) ? NULL : add_standby(look, rows_text(&rows, row, 0));

        if (standby != NULL && sends)
            standby->feedback = true;
    }
    return true;
}

/* --------------------------------------------------------------------------------------- together
 */

static bool rest(const struct stop *stop, struct error *error)
{
    static const struct stop NEVER;

    return stop_sleep_ms(stop != NULL ? stop : &NEVER, RATE_MS, error);
}

bool probe_doctor(const struct session_options *connect, const struct settings *settings,
                  const uint32_t *tables, int table_count, const struct stop *stop,
                  struct doctor_look *look, struct error *error)
{
    struct settings all = *settings;
    struct probe_options options = {
        .connect = connect, .application_name = "pghaul doctor", .settings = &all, .stop = stop};
    struct probe_target target = {.disk_base = -1};
    struct probe *probe = NULL;
    bool ok;

    *look = (struct doctor_look){0};
    for (int i = 0; i < table_count && i < PROBE_TABLES_MAX; i++)
        target.tables[target.table_count++] = tables[i];
    ok = turn_all_on(&all, error) && probe_open(&probe, &options, &target, error) &&
         probe_look_all(probe, error) && rest(stop, error) && probe_slow(probe, 0, error) &&
         take_standbys(probe, look, error);
    if (ok)
        take_signals(probe, settings, look);
    probe_close(probe);
    return ok;
}
