/*
 * Settings of a job: one namespace, one table (settings.c) that drives parsing, limits, --help,
 * docs and storage.
 *
 * They are given as `-s name=value` when a job starts, changed with `pghaul set JOB name=value`
 * later, and kept as text in the job's row; a running process takes a change over within one chunk.
 */
#ifndef PGHAUL_JOB_SETTINGS_H
#define PGHAUL_JOB_SETTINGS_H

#include <stdint.h>

#include "engine/base/text.h"

enum setting_order { ORDER_AUTO, ORDER_HEAP, ORDER_KEY };
enum setting_capture { CAPTURE_STATEMENT, CAPTURE_ROW };
enum setting_ready { READY_LOG, READY_DUAL_WRITE };
enum setting_switch { SWITCH_OFF, SWITCH_ON };
enum setting_triggers { TRIGGERS_FIRE, TRIGGERS_SKIP };
enum setting_errors { ERRORS_STOP, ERRORS_SKIP };

struct settings {
    int64_t order; /* enum setting_order */
    int64_t workers;
    int64_t chunk_time_ms;   /* what a chunk should take */
    int64_t chunk_wal_bytes; /* what a chunk should write, at most about */
    int64_t chunk_rows;      /* of a worker's first chunk */
    int64_t span_bytes;      /* of the source, in heap order */
    int64_t lock_timeout_ms; /* one wait for a strong lock */
    int64_t lock_tries;
    int64_t cutover_wait_ms;  /* all lock waits of the swap together */
    int64_t cutover_hold_ms;  /* wait and work of one try of the swap */
    int64_t snapshot_wait_ms; /* for snapshots older than the copy */
    int64_t log_budget_bytes; /* 0: 10 GB or 10 % of the table, the larger */
    int64_t verify_age_ms;
    int64_t index_memory_bytes; /* maintenance_work_mem of all index builds together */
    int64_t retry_limit_ms;     /* how long to go on after a retryable error */
    int64_t capture;            /* enum setting_capture */
    int64_t ready;              /* enum setting_ready */
    int64_t settle;             /* enum setting_switch */
    int64_t bloat_budget_bytes; /* 0: none */
    int64_t vacuum;             /* enum setting_switch */
    int64_t triggers;           /* enum setting_triggers */
    int64_t errors;             /* enum setting_errors */
    char key[512];              /* columns of a unique index, to walk by; "": the key */
    char policy[64];            /* auto, fixed=DELAY, off; law=NAME for bench (throttle/law.h) */

    /* What a job gives way to (throttle/signal.h). A limit is SETTING_OFF, or SETTING_RELATIVE
     * where the signal has a baseline, or > 0. */
    int64_t limit_replica_lag_bytes;
    int64_t limit_replica_lag_ms;
    int64_t limit_replicas_missing; /* how many make it wait: 1 */
    int64_t limit_slot_retained_bytes;
    int64_t limit_slot_wal_left_percent;
    int64_t limit_wal_rate_bytes; /* a second, of all together */
    int64_t limit_archiver_backlog_bytes;
    int64_t limit_checkpoints_requested; /* in ten minutes */
    int64_t limit_active_sessions;
    int64_t limit_commit_wait; /* sessions */
    int64_t limit_blocked_by_us;
    int64_t limit_foreground_latency; /* thousandths of the baseline */
    int64_t limit_dead_tuples;
    int64_t limit_xmin_age; /* transactions */
    int64_t limit_vacuum_running;
    int64_t limit_disk_bytes;
    char limit_query[2048];   /* "VALUE SELECT ..": a number and SQL; "": off */
    int64_t cpus;             /* of the server; 0: unknown */
    int64_t replicas;         /* that must be there; 0: those seen when the job started */
    char ignore_replica[512]; /* application names, a list with commas */
    char replica[2048];       /* conninfos of replicas to be asked directly, one a line */
    char window[512];         /* "mon-thu 01:00-05:30 Europe/Berlin"; "": always */
    int64_t priority;         /* among jobs that share a budget */
};

/* Limits that are no number. */
enum { SETTING_OFF = -1, SETTING_RELATIVE = -2 };
/* `on` of those for which "on" is SETTING_RELATIVE. */
#define SETTING_ON_RELATIVE "relative"

enum setting_type {
    SETTING_COUNT,
    SETTING_TIME,
    SETTING_SIZE,
    SETTING_RATE,    /* bytes a second */
    SETTING_PERCENT, /* whole ones */
    SETTING_TIMES,   /* thousandths */
    SETTING_CHOICE,
    /* From here on texts. */
    SETTING_POLICY,
    SETTING_NAMES,
    SETTING_QUERY,
    SETTING_REPLICAS, /* a conninfo; each assignment adds one, an empty one forgets all */
    SETTING_WINDOW,   /* window.h */
};

struct setting {
    const char *name;
    enum setting_type type;
    const char *default_value;
    int64_t min; /* in milliseconds, bytes or units; a default of 0 may be less */
    int64_t max;
    const char *choices; /* "auto|heap|key": the order of the enum; SETTING_CHOICE only */
    const char *help;
    size_t offset;       /* in struct settings */
    const char *why_min; /* why no less, where that is not plain; may be NULL */
    size_t size;         /* of a text, with its end */
    bool limit;          /* a number that can also be "off" */
    const char *on;      /* what "on" stands for; NULL: it is no value */
};

/* All settings, in the order of the help; ends with a NULL name. */
extern const struct setting setting_table[];

/* The defaults. */
void settings_init(struct settings *settings);

/* Takes "name=value". ERROR_USAGE that names what is possible. */
bool settings_set(struct settings *settings, const char *assignment,
                  struct error *error) MUST_CHECK;

/* Value as text with its unit, as settings_set() takes it: "500ms", "16MB", "auto". */
void settings_value(const struct settings *settings, const struct setting *setting,
                    struct text *out);

/* {"chunk.time": "500ms", ...}, all of them; and back. Unknown names are ignored: a newer program
 * wrote them. */
void settings_to_json(const struct settings *settings, struct text *json);
bool settings_from_json(struct settings *settings, const char *json,
                        struct error *error) MUST_CHECK;

/* "500ms", "2s", "1h" in milliseconds (bare numbers too); "64MB", "1GB" in bytes. False when it is
 * neither. */
bool setting_parse_time(const char *text, int64_t *ms);
bool setting_parse_size(const char *text, int64_t *bytes);

/* limit.query, "VALUE SELECT ..": its number, > 0, and where in `text` its SQL begins. */
bool setting_parse_query(const char *text, double *limit, const char **sql);

#endif
