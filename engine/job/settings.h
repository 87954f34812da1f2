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
    char policy[64];            /* off, fixed=DELAY */
};

enum setting_type {
    SETTING_COUNT,
    SETTING_TIME,
    SETTING_SIZE,
    SETTING_CHOICE,
    SETTING_POLICY,
    SETTING_NAMES
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

#endif
