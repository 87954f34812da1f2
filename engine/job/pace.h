/*
 * Pace: how fast workers may go, decided by somebody else. The engine asks; throttle/ answers. All
 * of it may be called by any thread at any moment, and none of it waits: who is told to wait does
 * so itself, outside of any transaction, and asks again.
 *
 *     chunk       ask() .. 0 -> the chunk, in one transaction -> done()
 *     unpaced     ask_unpaced() .. 0 -> one long statement -> done_unpaced()
 *     phase       ask_phase() .. 0 -> the phase
 */
#ifndef PGHAUL_JOB_PACE_H
#define PGHAUL_JOB_PACE_H

#include "engine/job/settings.h"

/* A worker that would begin a chunk. */
struct pace_ask {
    int64_t expected_bytes; /* that it will write */
    int64_t busy_ms;        /* this worker's last chunk took */
    int64_t rested_ms;      /* since it ended */
    /* It keeps up with what the application writes, and would never end if it were slower than
     * that: hard limits count for it, the rate does not. */
    bool urgent;
};

/* How a chunk went. `bytes` that it was expected to write are those that ask() was told. */
struct pace_chunk {
    int64_t expected_bytes;
    int64_t bytes; /* of log that it wrote, estimated by the work; 0: unknown, or given up */
    int64_t grown; /* how much the server's log grew meanwhile, by whomsoever: the most it wrote */
    int64_t position; /* end of the server's log after it, bytes since any origin; 0: given up */
    int64_t rows;
    int64_t busy_ms;
};

/* A statement that cannot be paced once it runs. */
struct pace_unpaced {
    const char *what;  /* "index orders_pkey" */
    int64_t wal_bytes; /* estimated; 0: none to speak of */
    double seconds;    /* estimated; 0: unknown */
};

enum { PACE_ABORTED = -1 };

struct pace {
    /* Milliseconds to wait before asking again; 0: the chunk may begin, and done() is due. */
    int64_t (*ask)(struct pace *pace, const struct pace_ask *ask);
    void (*done)(struct pace *pace, const struct pace_chunk *chunk);
    /* As many workers as may work now, at most `most`; at least one. */
    int (*workers)(struct pace *pace, int most);
    /* What a chunk should take now, in milliseconds, at most `most`. */
    int64_t (*chunk_ms)(struct pace *pace, int64_t most);
    /* Milliseconds until asking again; 0: it may begin; PACE_ABORTED: the job is being aborted. */
    int64_t (*ask_unpaced)(struct pace *pace, const struct pace_unpaced *unpaced);
    void (*done_unpaced)(struct pace *pace);
    int64_t (*ask_phase)(struct pace *pace);
    /* The settings changed (pghaul set). */
    void (*configure)(struct pace *pace, const struct settings *settings);
};

/* Lets everything go at once; for who works without a governor. Never freed. */
struct pace *pace_none(void);

struct run;

/*
 * Waits until a statement that cannot be paced may begin: little is owed to the replicas, none
 * other is under way while there is one, the window is long enough. No transaction is open and no
 * lock held by the caller. False with ERROR_INTERRUPTED when told to stop, or the job is being
 * aborted.
 */
bool pace_unpaced_begin(struct run *run, const char *what, int64_t wal_bytes, double seconds,
                        struct error *error) MUST_CHECK;
/*
 * The same, but looks only once, and waits a moment when it may not begin: then *begun is false.
 * For members of a crew, who have to see when another one has failed.
 */
bool pace_unpaced_try(struct run *run, const struct pace_unpaced *unpaced, bool *begun,
                      struct error *error) MUST_CHECK;
/* It is over, however it ended. Only after it has begun by one of the above. */
void pace_unpaced_end(struct run *run);

/* Waits until a phase may begin: for the window. As above. */
bool pace_phase_begin(struct run *run, struct error *error) MUST_CHECK;
/* The same, but looks only: may it begin now? */
bool pace_phase_open(const struct run *run);

#endif
