/*
 * The probe: reads the signals (signal.h) from the server, and from replicas that are asked
 * directly, with sessions of its own. What it has found is struct probe_view; what follows from it
 * is the governor's matter.
 *
 *     probe_open()                     connects; nothing is known yet
 *     probe_check_start()              reads everything once: ERROR_REFUSED by what is on and
 *                                      cannot be read
 *     .. probe_slow()      about 1/s   all that is on
 *        probe_fast()      <= 10/s     the log and the replicas only, while lag is close
 *        probe_latency()   5/s or < 2  writes our row of pghaul.pulse, and measures that; 5 while
 *                                      somebody else is there, or a replica is attached
 *        probe_configure(), probe_aim()
 *     probe_close()
 *
 * A signal that cannot be read never reads as zero: it keeps its last value and the time of it for
 * SIGNAL_STALE_US, and is unreadable then, with the reason. Nothing here waits for a server for
 * longer than PROBE_ANSWER_US, whatever that server does (stopped processes and dead networks
 * included); only the resolver of host names may take its time. The server ends each statement by
 * itself after PROBE_STATEMENT_MS.
 *
 * Statements: one each for probe_slow(), probe_fast() and probe_latency(), of up to 1 ms of the
 * server's time each; one more, 3 with limit.query, for signals that may fail by themselves
 * (limit.disk, limit.query); one a minute, and with each connection, to take old pulses away.
 * Replicas that are asked directly get one with each look. With the governor's own, of each second
 * one look at the job's row, one look at the signals, one sample; and the pulses.
 *
 * One thread. The view is the probe's and changes with each call.
 */
#ifndef PGHAUL_THROTTLE_PROBE_H
#define PGHAUL_THROTTLE_PROBE_H

#include "engine/base/stop.h"
#include "engine/pg/session.h"
#include "throttle/law.h"
#include "throttle/signal.h"

#define PROBE_ANSWER_US INT64_C(4000000)
enum { PROBE_STATEMENT_MS = 3000 };
/* A peer whose pulse is older is taken for gone. */
#define PROBE_PEER_FRESH_SECONDS 5.0
enum { PROBE_TABLES_MAX = 8, PROBE_PEERS_MAX = 64 };

struct ask;
struct probe;

struct probe_options {
    /* conninfo and role are taken, the rest is not. Copied. */
    const struct session_options *connect;
    const char *application_name; /* of the session; begins with "pghaul" */
    const struct settings *settings;
    const struct stop *stop; /* waits end early when stopping is wanted; may be NULL */
};

/* What the probe looks at. Copied. */
struct probe_target {
    int64_t job; /* pghaul.job.id; 0: there is none yet, nothing is written and latency unknown */
    const char *job_name;              /* for hints: `pghaul set NAME ..`; NULL: not known */
    uint32_t tables[PROBE_TABLES_MAX]; /* the user's, and the copy: dead-tuples, vacuum, disk. What
                                          the job has in schema pghaul is found by its number */
    int table_count;
    /* Names that must be there (probe_view.seen at the job's start); not looked at when
     * settings.replicas says how many. NULL: nobody is missed. */
    const char *const *expected;
    int expected_count;
    double disk_base; /* probe_view.disk_base at the job's start; < 0: it is now */
};

/* Another process that works on some job in this database (rows of pghaul.pulse but ours). */
struct probe_peer {
    int64_t job;
    int pid;
    int priority;
    double written; /* bytes of log, by its chunks so far */
    bool wants;
    bool waits;         /* as struct probe_pulse says */
    double age_seconds; /* of its pulse: by the server's clock */
};

struct probe_view {
    struct reading readings[SIGNAL_COUNT];
    struct law_replica replicas[LAW_REPLICAS_MAX]; /* that count, by name; names are unique */
    int replica_count;
    /* Walsenders that count, by their application names, which need not be unique: what a job
     * remembers as expected. */
    char seen[LAW_REPLICAS_MAX][64];
    int seen_count;
    double wal;                 /* end of the log when it was last read, bytes since 0/0 */
    int64_t wal_us;             /* when that was; 0: never */
    bool foreign;               /* somebody but pghaul runs statements in this database */
    int64_t latency_us;         /* the last one; 0: none yet */
    double latency_baseline_us; /* p95; 0: none yet */
    int64_t baseline_us;        /* when its newest sample was taken; 0: there is none */
    double disk_base;           /* bytes; < 0: unknown, or limit.disk is off */
    struct probe_peer peers[PROBE_PEERS_MAX];
    int peer_count;
    int statements; /* sent so far, to all servers together */
};

/* What the pulse tells other processes (engine/job/schema.c, version 3). */
struct probe_pulse {
    int priority;
    int64_t written;
    bool wants;
    bool waits; /* a statement of it that cannot be paced waits until little is owed */
};

/* Connects to the server, and begins to connect to settings.replica. On failure *probe is NULL. */
bool probe_open(struct probe **probe, const struct probe_options *options,
                const struct probe_target *target, struct error *error) MUST_CHECK;
/* Takes our row of pghaul.pulse away. NULL is fine. */
void probe_close(struct probe *probe);

/* Copied; from the next look on. */
void probe_configure(struct probe *probe, const struct settings *settings);
void probe_aim(struct probe *probe, const struct probe_target *target);

/*
 * Looks. `idle_us`: for how long nothing of ours has been in flight; 0: something is. Baselines are
 * taken then only, and while no other process that works on a job writes or wants to.
 *
 * False when the server could not be asked; error then says why, for a log: the readings know it
 * already. The session is opened again by the next look.
 */
bool probe_slow(struct probe *probe, int64_t idle_us, struct error *error) MUST_CHECK;
bool probe_fast(struct probe *probe, struct error *error) MUST_CHECK;
/*
 * Writes our row, and measures how long that takes. It is also what makes a standby tell at once
 * how far it has come, which it otherwise does every wal_receiver_status_interval only, and what a
 * replica is asked for that cannot tell its position. Nothing, and true, without a job.
 */
bool probe_latency(struct probe *probe, const struct probe_pulse *pulse, int64_t idle_us,
                   struct error *error) MUST_CHECK;

/*
 * Looks until everything that is on is known, for some seconds at most. ERROR_REFUSED by the first
 * signal that is on and cannot be read: with the GRANT, and with how to turn it off.
 */
bool probe_check_start(struct probe *probe, struct error *error) MUST_CHECK;
/* The same without a refusal, for doctor. False when the server could not be asked. */
bool probe_look_all(struct probe *probe, struct error *error) MUST_CHECK;

const struct probe_view *probe_view(const struct probe *probe);
/* Its connection to the server, idle between looks: for the governor's own questions. */
struct ask *probe_ask(struct probe *probe);

#endif
