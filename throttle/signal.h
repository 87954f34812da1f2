/*
 * Signals: what tells that the database, or somebody behind it, is under pressure. This is the
 * table of them and what one reading of one is; who reads them is probe.h, what follows from them
 * is law.h.
 *
 * A signal has a limit (a setting, limit.NAME), and a way in which it acts:
 *
 *     lag      bytes or seconds that somebody is behind: aimed at half the limit, closed at it
 *     load     how much slower or busier than usual: aimed at half the limit
 *     rate     bytes a second that all may write together
 *     gate     closed at the limit, open again when it is well below: `reopen` of it
 *     give_way we are in somebody's way now: small chunks at once
 *
 * A reading is one of three things, and never zero because it is unknown:
 *
 *     ok          `value` is true as of `at_us`
 *     absent      there is nothing to measure (no standby, no slot with a limit): never acts
 *     unreadable  it is on, and cannot be read: `why` says so. Refused at the start, closed later
 *
 * Pure: no server, no clock.
 */
#ifndef PGHAUL_THROTTLE_SIGNAL_H
#define PGHAUL_THROTTLE_SIGNAL_H

#include <stdint.h>

#include "engine/job/settings.h"

enum signal_id {
    SIGNAL_REPLICA_LAG_BYTES,
    SIGNAL_REPLICA_LAG_TIME,
    SIGNAL_REPLICAS_MISSING,
    SIGNAL_SLOT_RETAINED,
    SIGNAL_SLOT_WAL_LEFT,
    SIGNAL_WAL_RATE,
    SIGNAL_ARCHIVER_BACKLOG,
    SIGNAL_CHECKPOINTS_REQUESTED,
    SIGNAL_ACTIVE_SESSIONS,
    SIGNAL_COMMIT_WAIT,
    SIGNAL_BLOCKED_BY_US,
    SIGNAL_FOREGROUND_LATENCY,
    SIGNAL_DEAD_TUPLES,
    SIGNAL_XMIN_AGE,
    SIGNAL_VACUUM_RUNNING,
    SIGNAL_DISK_BUDGET,
    SIGNAL_QUERY,
    SIGNAL_COUNT
};

enum signal_acts { ACTS_LAG, ACTS_LOAD, ACTS_RATE, ACTS_GATE, ACTS_GIVE_WAY };

enum signal_unit {
    UNIT_BYTES,
    UNIT_SECONDS,
    UNIT_BYTES_PER_SECOND,
    UNIT_PERCENT, /* 0 to 100 */
    UNIT_TIMES,   /* of the baseline: 3 is three times as much */
    UNIT_COUNT,
};

struct signal {
    const char *name;    /* in messages, status, samples: "replica-lag-bytes" */
    const char *setting; /* its limit: "limit.replica-lag-bytes" */
    enum signal_acts acts;
    enum signal_unit unit;
    bool below;       /* bad is less than the limit, not more (slot-wal-left) */
    double reopen;    /* gates: open again at this part of the limit (or, `below`, this times it) */
    const char *what; /* one line for doctor and docs */
    const char *off;  /* how to turn it off: "--max-lag off" */
};

/* By enum signal_id. */
extern const struct signal signal_table[SIGNAL_COUNT];

/* A reading that is older says nothing any more. */
#define SIGNAL_STALE_US INT64_C(5000000)

enum reading_state { READING_OFF, READING_OK, READING_ABSENT, READING_UNREADABLE };

enum { SIGNAL_WHO_BYTES = 256, SIGNAL_WHY_BYTES = 512 };

struct reading {
    enum reading_state state;
    double value;
    double limit;                 /* in the same unit; > 0 */
    int64_t at_us;                /* monotonic: when it was true */
    char who[SIGNAL_WHO_BYTES];   /* the standby, the slot, the pid and its query; "" for nobody */
    char why[SIGNAL_WHY_BYTES];   /* unreadable: primary message */
    char grant[SIGNAL_WHY_BYTES]; /* unreadable for want of a privilege: the statement; else "" */
    char todo[SIGNAL_WHY_BYTES];  /* unreadable: what would help, before turning it off; else "" */
};

/*
 * The limit that settings give a signal, in the signal's unit; 0: it is off. What needs more than
 * the settings (active-sessions without cpus: relative to the baseline) is said by *relative.
 */
double signal_limit(const struct settings *settings, enum signal_id id, bool *relative);

/* "70MB", "2.4s", "18 %", "3.2x", "12": as people read it. */
void signal_value_text(enum signal_unit unit, double value, struct text *out);

/*
 * "replica-lag-bytes of standby1: 70MB, limit 64MB". One that has no value (absent, or off) can
 * only bind while it has none yet, as a latency does before its baseline: "not known yet, starting
 * slowly".
 */
void signal_reason_text(enum signal_id id, const struct reading *reading, struct text *out);

#endif
