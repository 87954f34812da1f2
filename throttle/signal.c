#include "throttle/signal.h"

#include <math.h>
#include <stdlib.h>

#include "engine/base/text.h"

/* Of a group of names that turn a signal off, the one that people would use. */
#define OFF(setting) "-s " setting "=off"

const struct signal signal_table[SIGNAL_COUNT] = {
    [SIGNAL_REPLICA_LAG_BYTES] = {"replica-lag-bytes", "limit.replica-lag-bytes", ACTS_LAG,
                                  UNIT_BYTES, false, 0.75,
                                  "log that the slowest replica has not replayed", "--max-lag off"},
    [SIGNAL_REPLICA_LAG_TIME] = {"replica-lag-time", "limit.replica-lag-time", ACTS_LAG,
                                 UNIT_SECONDS, false, 0.75,
                                 "how long the slowest replica would take to replay that",
                                 OFF("limit.replica-lag-time")},
    [SIGNAL_REPLICAS_MISSING] = {"replicas-missing", "limit.replicas-missing", ACTS_GATE,
                                 UNIT_COUNT, false, 0, "replicas that must be there and are not",
                                 OFF("limit.replicas-missing")},
    [SIGNAL_SLOT_RETAINED] =
        {"slot-retained", "limit.slot-retained", ACTS_GATE, UNIT_BYTES, false, 0.9,
         "log that the server keeps for a replication slot, an inactive one too",
         OFF("limit.slot-retained")},
    [SIGNAL_SLOT_WAL_LEFT] = {"slot-wal-left", "limit.slot-wal-left", ACTS_GATE, UNIT_PERCENT, true,
                              1.25, "what is left of max_slot_wal_keep_size before a slot is lost",
                              OFF("limit.slot-wal-left")},
    [SIGNAL_WAL_RATE] = {"wal-rate", "limit.wal-rate", ACTS_RATE, UNIT_BYTES_PER_SECOND, false, 0,
                         "log that all sessions together write", OFF("limit.wal-rate")},
    [SIGNAL_ARCHIVER_BACKLOG] = {"archiver-backlog", "limit.archiver-backlog", ACTS_GATE,
                                 UNIT_BYTES, false, 0.75, "log that is not archived yet",
                                 OFF("limit.archiver-backlog")},
    [SIGNAL_CHECKPOINTS_REQUESTED] = {"checkpoints-requested", "limit.checkpoints-requested",
                                      ACTS_LOAD, UNIT_COUNT, false, 0,
                                      "checkpoints of the last ten minutes that came early",
                                      OFF("limit.checkpoints-requested")},
    [SIGNAL_ACTIVE_SESSIONS] = {"active-sessions", "limit.active-sessions", ACTS_LOAD, UNIT_COUNT,
                                false, 0, "sessions of others that run, or wait for IO or a latch",
                                OFF("limit.active-sessions")},
    [SIGNAL_COMMIT_WAIT] = {"commit-wait", "limit.commit-wait", ACTS_LOAD, UNIT_COUNT, false, 0,
                            "sessions of others whose commit waits for the log or a standby",
                            OFF("limit.commit-wait")},
    [SIGNAL_BLOCKED_BY_US] = {"blocked-by-us", "limit.blocked-by-us", ACTS_GIVE_WAY, UNIT_COUNT,
                              false, 0, "sessions that wait for a lock of ours",
                              OFF("limit.blocked-by-us")},
    [SIGNAL_FOREGROUND_LATENCY] =
        {"foreground-latency", "limit.foreground-latency", ACTS_LOAD, UNIT_TIMES, false, 0,
         "a small read and commit of our own, times what it takes while we rest",
         OFF("limit.foreground-latency")},
    [SIGNAL_DEAD_TUPLES] = {"dead-tuples", "limit.dead-tuples", ACTS_GATE, UNIT_COUNT, false, 0.8,
                            "dead rows of the job's tables", OFF("limit.dead-tuples")},
    [SIGNAL_XMIN_AGE] = {"xmin-age", "limit.xmin-age", ACTS_GATE, UNIT_COUNT, false, 0.9,
                         "transactions since the oldest snapshot of somebody else",
                         OFF("limit.xmin-age")},
    [SIGNAL_VACUUM_RUNNING] = {"vacuum-running", "limit.vacuum-running", ACTS_GATE, UNIT_COUNT,
                               false, 0, "vacuums of the job's tables that run",
                               OFF("limit.vacuum-running")},
    [SIGNAL_DISK_BUDGET] =
        {"disk-budget", "limit.disk", ACTS_GATE, UNIT_BYTES, false, 0.98,
         "growth of the job's tables, and of the log that slots keep, since the start",
         OFF("limit.disk")},
    [SIGNAL_QUERY] = {"query", "limit.query", ACTS_GATE, UNIT_COUNT, false, 0.8,
                      "the number that the SQL of limit.query returns", OFF("limit.query")},
};

/* --------------------------------------------------------------------------------------- limits */

/* What `relative` of the latency stands for: it is a ratio anyway. */
static const double LATENCY_USUAL_TIMES = 3;

static const double ACTIVE_PER_CPU = 1.5;

static int64_t setting_of(const struct settings *settings, enum signal_id id)
{
    const int64_t values[SIGNAL_COUNT] = {
        [SIGNAL_REPLICA_LAG_BYTES] = settings->limit_replica_lag_bytes,
        [SIGNAL_REPLICA_LAG_TIME] = settings->limit_replica_lag_ms,
        [SIGNAL_REPLICAS_MISSING] = settings->limit_replicas_missing,
        [SIGNAL_SLOT_RETAINED] = settings->limit_slot_retained_bytes,
        [SIGNAL_SLOT_WAL_LEFT] = settings->limit_slot_wal_left_percent,
        [SIGNAL_WAL_RATE] = settings->limit_wal_rate_bytes,
        [SIGNAL_ARCHIVER_BACKLOG] = settings->limit_archiver_backlog_bytes,
        [SIGNAL_CHECKPOINTS_REQUESTED] = settings->limit_checkpoints_requested,
        [SIGNAL_ACTIVE_SESSIONS] = settings->limit_active_sessions,
        [SIGNAL_COMMIT_WAIT] = settings->limit_commit_wait,
        [SIGNAL_BLOCKED_BY_US] = settings->limit_blocked_by_us,
        [SIGNAL_FOREGROUND_LATENCY] = settings->limit_foreground_latency,
        [SIGNAL_DEAD_TUPLES] = settings->limit_dead_tuples,
        [SIGNAL_XMIN_AGE] = settings->limit_xmin_age,
        [SIGNAL_VACUUM_RUNNING] = settings->limit_vacuum_running,
        [SIGNAL_DISK_BUDGET] = settings->limit_disk_bytes,
        [SIGNAL_QUERY] = SETTING_OFF,
    };

    return values[id];
}

/* Of "VALUE SELECT ..", which settings have checked. */
static double query_limit(const struct settings *settings)
{
    double value = strtod(settings->limit_query, NULL);

    return value > 0 ? value : 0;
}

double signal_limit(const struct settings *settings, enum signal_id id, bool *relative)
{
    int64_t value = setting_of(settings, id);

    *relative = false;
    if (id == SIGNAL_QUERY)
        return query_limit(settings);
    if (value == SETTING_RELATIVE && id == SIGNAL_FOREGROUND_LATENCY)
        return LATENCY_USUAL_TIMES;
    if (value == SETTING_RELATIVE && id == SIGNAL_ACTIVE_SESSIONS && settings->cpus > 0)
        return ACTIVE_PER_CPU * (double)settings->cpus;
    if (value == SETTING_RELATIVE) {
        *relative = true;
        return 1;
    }
    if (value <= 0)
        return 0;
    if (id == SIGNAL_REPLICA_LAG_TIME || id == SIGNAL_FOREGROUND_LATENCY)
        return (double)value / 1000;
    return (double)value;
}

/* ---------------------------------------------------------------------------------------- texts */

static void append_bytes(double value, const char *suffix, struct text *out)
{
    static const char *const UNITS[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    size_t unit = 0;

    while (fabs(value) >= 1024 && unit + 1 < sizeof(UNITS) / sizeof(UNITS[0])) {
        value /= 1024;
        unit++;
    }
    /* Three digits that say something, and no .0 */
    if (fabs(value) < 10 && fabs(value - round(value)) >= 0.05)
        text_appendf(out, "%.1f%s%s", value, UNITS[unit], suffix);
    else
        text_appendf(out, "%.0f%s%s", value, UNITS[unit], suffix);
}

static void append_seconds(double value, struct text *out)
{
    if (value < 1)
        text_appendf(out, "%.0fms", value * 1000);
    else if (value < 60)
        text_appendf(out, fabs(value - round(value)) >= 0.05 ? "%.1fs" : "%.0fs", value);
    else if (value < 3600)
        text_appendf(out, "%.0fmin", value / 60);
    else
        text_appendf(out, "%.1fh", value / 3600);
}

void signal_value_text(enum signal_unit unit, double value, struct text *out)
{
    if (!isfinite(value)) {
        text_append(out, value > 0 ? "endless" : "unknown");
        return;
    }
    switch (unit) {
    case UNIT_BYTES:
        append_bytes(value, "", out);
        break;
    case UNIT_BYTES_PER_SECOND:
        append_bytes(value, "/s", out);
        break;
    case UNIT_SECONDS:
        append_seconds(value, out);
        break;
    case UNIT_PERCENT:
        text_appendf(out, "%.0f %%", value);
        break;
    case UNIT_TIMES:
        text_appendf(out, fabs(value - round(value)) >= 0.05 ? "%.1fx" : "%.0fx", value);
        break;
    case UNIT_COUNT:
        text_appendf(out, "%.15g", round(value * 100) / 100);
        break;
    }
}

void signal_reason_text(enum signal_id id, const struct reading *reading, struct text *out)
{
    const struct signal *signal = &signal_table[id];

    text_append(out, signal->name);
    if (reading->who[0] != '\0')
        text_appendf(out, " of %s", reading->who);
    if (reading->state == READING_UNREADABLE) {
        text_appendf(out, ": %s", reading->why);
        return;
    }
    if (reading->state != READING_OK) {
        text_append(out, ": not known yet, starting slowly");
        return;
    }
    text_append(out, ": ");
    signal_value_text(signal->unit, reading->value, out);
    text_append(out, ", limit ");
    signal_value_text(signal->unit, reading->limit, out);
}
