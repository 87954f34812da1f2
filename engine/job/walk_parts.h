/*
 * What the parts of a walk share. Private to walk*.c.
 *
 *     walk.c           its spans, its crew, and how it is printed
 *     walk_worker.c    a worker: turn after turn
 *     walk_chunk.c     a turn: the transaction of a chunk
 */
#ifndef PGHAUL_JOB_WALK_PARTS_H
#define PGHAUL_JOB_WALK_PARTS_H

#include "engine/base/crew.h"
#include "engine/job/chunk_size.h"
#include "engine/job/walk.h"

/*
 * How many work is a setting and may change while they do: the first worker, which always works,
 * says it here, and adds threads that are missing. A worker that is one too many has no session and
 * sleeps, until it is wanted again or the walk is over.
 */
struct walk_shared {
    struct run *run;
    const struct walk *walk;
    atomic_int workers; /* that are wanted */
    atomic_bool over;   /* somebody has seen that no span is open */
};

/* One worker: a session, its own copy of the settings, and what it learned about sizes. */
struct worker {
    struct run *run;
    const struct walk *walk;
    struct walk_shared *shared;
    struct crew *crew;
    int number;
    struct session *session;
    struct settings settings;
    int64_t settings_version;
    struct chunk_size size;
    int64_t wrote_bytes; /* by the last chunk: what the next one is expected to */
    int64_t busy_ms;     /* the last chunk took */
    int64_t rested_ms;   /* when it ended; 0: there was none */
    int64_t looked_ms;   /* when a resting worker last looked what the job wants */
    bool paused;
    int64_t hold_asked_ms; /* when walk->hold was */
    int64_t held_until_ms; /* as it said */
};

enum turn {
    TURN_DONE,   /* a chunk was committed */
    TURN_IDLE,   /* every open span is taken by somebody else */
    TURN_PAUSED, /* the job is paused */
    TURN_END,    /* no span is open */
    TURN_HELD,   /* walk->hold, or the pace, said so */
};

/* -- walk_chunk.c -- */

/* The statements of a chunk around its work. */
extern const char WALK_BEGIN[];
extern const char WALK_TAKE_SPAN[];
extern const char WALK_MOVE_CURSOR[];

/* A chunk, from BEGIN to COMMIT. TURN_DONE is the only turn that wrote something. After a failure
 * the transaction is still open. */
bool walk_take_turn(struct worker *worker, struct pace_chunk *done, enum turn *turn,
                    struct error *error) MUST_CHECK;

/* -- walk_worker.c -- */

/* A member of the crew; `arg` is a struct walk_shared. */
bool walk_worker_run(struct crew *crew, int member, void *arg, struct error *error);

/*
 * Does what the job wants: true in *obeyed when that is not to work, and what it is instead in
 * *turn. Takes over settings that were changed.
 */
bool walk_obey(struct worker *worker, const char *wanted, int64_t version, bool *obeyed,
               enum turn *turn, struct error *error) MUST_CHECK;

#endif
