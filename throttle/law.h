/*
 * Laws: how fast a job may go, from what is known. A law is pure: time and signals come in, a
 * decision goes out; it reads no clock and knows no server, no thread and no job. So a simulated
 * plant can run one for thousands of seconds in milliseconds (bench/plant.h), and the governor
 * (governor.h) runs the same code beside a job.
 *
 *     law->init(state, config, now)
 *       .. law->tick(state, input, decision)    about once a second, more often when lag is close
 *       .. law->chunk(state, chunk, decision)   after each chunk; may be NULL
 *
 * The caller adds what no law may get wrong, whatever it decides: credit.h (no chunk begins that
 * could take a replica past its limit) and gates that are closed (gate.h). A law sees them as
 * `closed`, so that it does not learn from seconds in which nothing moved.
 */
#ifndef PGHAUL_THROTTLE_LAW_H
#define PGHAUL_THROTTLE_LAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "throttle/signal.h"

enum { LAW_REPLICAS_MAX = 32 };

/* What must not change while a law runs. */
struct law_config {
    int workers;           /* that the job has at most */
    int64_t chunk_ms;      /* that a chunk should take at most */
    int64_t fixed_ms;      /* law "fixed": its delay */
    int64_t chunk_wal_max; /* bytes */
};

/* One that follows our log: a standby, a subscriber. */
struct law_replica {
    char name[64];
    double backlog;  /* bytes that are written and not replayed there */
    double replayed; /* position, in bytes of log since any origin: its differences are the speed */
    int64_t at_us;   /* when these two were true; the same as last time: nothing new is known */
};

struct law_input {
    int64_t now_us;                 /* monotonic */
    const struct reading *readings; /* [SIGNAL_COUNT] */
    const struct law_replica *replicas;
    int replica_count;
    double wal;    /* position of the log, bytes since any origin */
    double ours;   /* of that, bytes of this process's chunks so far, as they were charged */
    double others; /* of that, bytes of other pghaul processes on this database */
    double share;  /* of what all of us may do, this process's part: 1 when alone */
    bool foreign;  /* somebody but us uses this database (transactions beyond our own) */
    bool closed;   /* a gate is closed, the job paused or out of its window: nothing moves */
    bool wants;    /* since the last tick some worker had to wait for the rate: it is what limits */
    bool idle;     /* no chunk was in flight for most of the time since the last tick */
};

/* A chunk that was committed. */
struct law_chunk {
    int64_t now_us;
    double seconds; /* it took */
    double bytes;   /* of log, as charged */
    int64_t rows;
};

struct law_decision {
    double bytes_per_second; /* of this process's chunks; INFINITY: as fast as it can; 0: stop */
    double delay_seconds;    /* after each chunk of each worker; 0: none. Beside the rate */
    double rest_part;        /* the same, in parts of what this chunk took; the longer one counts */
    int workers;             /* 1 .. config.workers */
    int64_t chunk_ms;        /* 1 .. config.chunk_ms */
    int64_t chunk_rows;      /* laws that size chunks in rows; 0: by time */
    /* What binds; -1: nothing does, and the decision is "as fast as it can". */
    int reason; /* enum signal_id */
};

struct law {
    const char *name; /* of the policy: "auto" */
    const char *what; /* one line: whose law, from where */
    size_t state_size;
    void (*init)(void *state, const struct law_config *config, int64_t now_us);
    /* Takes over a changed config and keeps what it has learned; NULL: it begins anew. */
    void (*configure)(void *state, const struct law_config *config);
    void (*tick)(void *state, const struct law_input *input, struct law_decision *decision);
    void (*chunk)(void *state, const struct law_chunk *chunk, struct law_decision *decision);
    /* Somebody else's, for comparison (bench/laws.h): the caller adds neither credit nor gates, so
     * that what is measured is the law. */
    bool bare;
};

extern const struct law law_auto;
extern const struct law law_fixed;
extern const struct law law_off;

/* Of a list that ends with NULL. NULL: there is none of that name. */
const struct law *law_find(const struct law *const *list, const char *name);

/*
 * The law of a policy as the settings have it: "auto", "off", "fixed=100ms" (its delay in
 * *fixed_ms, else 0), "law=NAME" of `more` (may be NULL). One that only a newer program knows is
 * auto. NULL: no law has that NAME (ERROR_USAGE).
 */
const struct law *law_of_policy(const char *policy, const struct law *const *more,
                                int64_t *fixed_ms, struct error *error);

/* What a worker rests after a chunk that took so long. */
double law_rest_seconds(const struct law_decision *decision, double chunk_seconds);

/* False: it looks at nothing, and what cannot be read need not hold it up. */
bool law_heeds_signals(const struct law *law);

#endif
