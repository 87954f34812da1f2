/*
 * What the parts of the probe share. Private to probe*.c.
 *
 *     probe.c            life, the three looks, what has become too old
 *     probe_sql.c        the statements
 *     probe_signals.c    rows of the big statement -> readings
 *     probe_followers.c  walsenders and replicas asked directly -> lag, what is missing
 *     probe_asked.c      the replicas that are asked directly
 *     probe_pulse.c      our row, latency, the way from a pulse that is seen to a position
 *     probe_peers.c      others' rows, and whether they rest
 *     probe_own.c        limit.disk and limit.query, which may fail by themselves
 *     probe_start.c      the refusal
 *     probe_doctor.c     the same for people, and what else matters about standbys
 */
#ifndef PGHAUL_THROTTLE_PROBE_PARTS_H
#define PGHAUL_THROTTLE_PROBE_PARTS_H

#include "throttle/ask.h"
#include "throttle/baseline.h"
#include "throttle/drain.h"
#include "throttle/probe.h"

enum { CHECKPOINT_LOOKS = 128, LATENCY_SAMPLES = 128, PULSES_MAX = 128, FOREIGN_LOOKS = 8 };
enum { LOST_MAX = 16 };

/* A walsender, from look to look. */
struct follower {
    char name[64]; /* as it calls itself */
    int pid;
    bool readable; /* it has a position */
    bool hidden;   /* for want of a privilege */
    double replayed;
    double replay_lag; /* seconds; < 0: not said */
    double replied;    /* when it reported last: by any clock, to see whether it is new */
    int64_t at_us;     /* when we first saw that report */
    struct drain drain;
    bool present; /* in this look */
};

/* A replica that is asked directly. */
struct asked {
    struct ask *ask;
    char name[64]; /* cluster_name, else the host */
    /* As its walreceiver calls itself, as far as that can be known: what primary_conninfo says of
     * it is for superusers only. */
    char shown_as[64];
    char server[128]; /* which one it is, by any address; "": not known */
    bool by_pulse;    /* it cannot tell positions: our row is read there */
    bool streams;     /* it has a walreceiver: some server shows it as a walsender */
    bool readable;
    char why[SIGNAL_WHY_BYTES];
    bool delayed; /* on purpose */
    bool paused;
    double replayed;
    double pulse_lag; /* seconds, by_pulse; else < 0 */
    int64_t at_us;    /* of the answer; 0: none yet */
    struct drain drain;
};

/* A pulse that was written. */
struct pulse {
    double at;      /* as the server wrote it, seconds since 1970 */
    double wal;     /* end of the log, not after it */
    int64_t now_us; /* when it was committed */
};

struct probe {
    struct ask *ask;
    struct ask *own;              /* for what may fail by itself; connects when it is needed */
    const char *application_name; /* in the arena */
    const struct stop *stop;
    struct arena arena;
    char role[136]; /* that we are, as SQL names it */

    struct settings settings;
    struct probe_target target; /* expected: below */
    char expected[LAW_REPLICAS_MAX][64];
    char job_name[136]; /* "JOB" when it is not known */
    bool relative[SIGNAL_COUNT];
    struct probe_view view;
    struct error trouble; /* of the last look that failed */

    /* The big statement, as it was built; empty: to be built. */
    struct text slow_sql, fast_sql;
    int sql_version; /* of the server that it is for */

    struct follower followers[LAW_REPLICAS_MAX];
    int follower_count;
    bool too_many, too_many_asked; /* than we can tell apart */
    struct asked asked[LAW_REPLICAS_MAX];
    int asked_count;
    char asked_as[sizeof(((struct settings *)NULL)->replica)]; /* settings.replica of those */

    /* Between rows of a look and what is made of them. */
    struct {
        bool slots, wal_left, archiver;
        double retained, left_percent;
        char retained_by[64], left_of[64];
        double horizon;
        char horizon_of[SIGNAL_WHO_BYTES];
        int blocked;
        char blocked_who[SIGNAL_WHO_BYTES];
        double dead, dead_most;
        char dead_of[64];
        int vacuums;
        char vacuum_who[SIGNAL_WHO_BYTES];
        double archived, failing_at; /* positions; < 0: not known */
        char failing[64];
        bool foreign;
    } look;

    double rate_wal; /* at the last measurement of wal-rate */
    int64_t rate_us;
    double archived;       /* the furthest that was seen; < 0: unknown */
    double archived_start; /* end of the log when we first looked; < 0: not yet */
    struct {
        double count;
        int64_t at_us;
    } checkpoints[CHECKPOINT_LOOKS];
    int checkpoint_count;
    unsigned foreign_bits; /* of the last FOREIGN_LOOKS looks */
    int foreign_looks;
    struct baseline active, commits;

    struct baseline latency;
    struct {
        double us;
        int64_t at_us;
    } latencies[LATENCY_SAMPLES]; /* a ring */
    int latency_count, latency_next;
    struct pulse pulses[PULSES_MAX]; /* a ring */
    int pulse_count, pulse_next;
    int pulse_connection; /* ask_connections() when rows were cleaned up */
    int64_t clean_us;     /* when that was */
    int pulse_pid;        /* whose row ours is; 0: there is none yet */
    struct {
        int pid;
        int64_t at_us;
    } lost[LOST_MAX]; /* whose it was before, a ring */
    int lost_next;

    /* Others as they were seen before, to see who writes. */
    struct probe_peer before[PROBE_PEERS_MAX];
    int before_count;
    int64_t before_us;
    bool others_rest; /* nobody but this process is at work; false before that is known */
};

/* -- probe.c: readings -- */

bool probe_on(const struct probe *probe, enum signal_id id);
void probe_ok(struct probe *probe, enum signal_id id, double value, const char *who,
              int64_t now_us);
void probe_absent(struct probe *probe, enum signal_id id, int64_t now_us);
/* `grant` and `todo` may be "". */
void probe_unreadable(struct probe *probe, enum signal_id id, const char *who, const char *why,
                      const char *grant, const char *todo, int64_t now_us);
/* For a signal that is taken relative to a baseline: the limit, from what is usual. */
void probe_relative(struct probe *probe, enum signal_id id, struct baseline *baseline,
                    int64_t idle_us, int64_t now_us);
/* "GRANT pg_monitor TO mover" */
const char *probe_grant(const struct probe *probe, char grant[SIGNAL_WHY_BYTES]);
/* How this job is told a setting, up to its name: "-s ", or "pghaul set JOB ". Appends. */
void probe_set_text(const struct probe *probe, struct text *out);
/* Copies what fits. */
void probe_name(char *to, size_t size, const char *from);
/* Is this one of settings.ignore_replica? */
bool probe_ignored(const struct probe *probe, const char *name);

/* -- probe_sql.c -- */

void probe_sql_slow(const struct probe *probe, struct text *sql);
void probe_sql_fast(struct text *sql);
/* Rows of both: kind, name, a, b, c, flag, who. */
enum { LOOK_KIND, LOOK_NAME, LOOK_A, LOOK_B, LOOK_C, LOOK_FLAG, LOOK_WHO };
void probe_sql_disk(const struct probe *probe, struct text *sql);

/* -- probe_signals.c -- */

/* What the rows say, to the view. */
void probe_take(struct probe *probe, const struct rows *rows, bool all, int64_t idle_us,
                int64_t now_us);

/* -- probe_followers.c -- */

void probe_follower_row(struct probe *probe, const struct rows *rows, int row, int64_t now_us);
void probe_followers_begin(struct probe *probe);
/* After the walsenders' rows, and the answers of those that are asked. */
void probe_followers_tell(struct probe *probe, int64_t now_us);

/* -- probe_asked.c -- */

void probe_asked_configure(struct probe *probe);
void probe_asked_send(struct probe *probe);
void probe_asked_take(struct probe *probe, int64_t wait_us);
void probe_asked_close(struct probe *probe);
/* Can it only be asked once there is a job? */
bool probe_asked_later(const struct probe *probe, const struct asked *asked);

/* -- probe_pulse.c -- */

void probe_pulse_init(struct probe *probe);
/* Position of the log that a replica has at least replayed when it shows our row as of `at`, and
 * how old that is, in seconds. False when that pulse is none of ours. */
bool probe_pulse_seen(const struct probe *probe, double at, int64_t now_us, double *replayed,
                      double *age_seconds);
void probe_pulse_close(struct probe *probe);

/* -- probe_peers.c -- */

/* Kind of the rows of those who wait, in the big statement. */
#define PEER_WAITS "peer that waits"
void probe_peers_begin(struct probe *probe);
void probe_peer_row(struct probe *probe, const struct rows *rows, int row, int64_t now_us);
void probe_peers_end(struct probe *probe, int64_t now_us);
/* Our row was that process's, and is no longer. */
void probe_peers_note_lost(struct probe *probe, int pid, int64_t now_us);
/* `idle_us`, when others rest, too; else 0. For baselines. */
int64_t probe_rested_us(const struct probe *probe, int64_t idle_us);

/* -- probe_own.c -- */

void probe_own(struct probe *probe);

#endif
