/*
 * The runner of job kinds. A kind is a table of phases, run in order, each recorded in
 * pghaul.phase; whoever reads the kind's file sees the whole job, and --dry-run prints it.
 *
 * A phase starts in one transaction (its `plan`, its row, the job's row) and ends in another;
 * between the two its `forward` may run, die and run again any number of times, in any process: it
 * finds out from the database what is done. So a kill at any moment leaves a job that `resume`
 * continues at the recorded phase.
 *
 * The process that leads the job (job_lead) runs it. Others that work on it beside the leader join
 * phases that are `shared` (walks) and wait for the rest.
 *
 * A forward that finds the copy stale as a whole (TRUNCATE, log budget) fails with ERROR_AGAIN; the
 * runner then goes back to the kind's `again` phase.
 */
#ifndef PGHAUL_JOB_PHASES_H
#define PGHAUL_JOB_PHASES_H

#include "engine/job/run.h"

struct phase {
    const char *name;
    const char *what; /* one line for --dry-run and docs */
    const char *lock; /* on the source; "none" */
    bool shared;      /* other processes may join */
    /* In the transaction of run->session that starts the phase; NULL: nothing. May be run again
     * after ERROR_AGAIN. */
    bool (*plan)(struct run *run, struct error *error);
    /* The work; NULL: nothing but the plan. */
    bool (*forward)(struct run *run, struct error *error);
    /*
     * For --dry-run: appends the statements that plan and forward send, by the same builders, in
     * order, with the names of run->job; what is sent many times once, values that are known only
     * then as parameters; without questions to the catalogue and the rows of the job itself. Called
     * in a trial's transaction (run->trial), in which the tables of the phases before it exist, and
     * which is rolled back: what touches nothing of the user's may really be done there, and be
     * transcribed (session_transcribe). NULL: it sends nothing.
     */
    bool (*print)(struct run *run, struct text *script, struct error *error);
    /* A lock that it cannot have does not end the run, within retry.limit: what it locks is ours,
     * and sessions of a process that was killed may still be at work there; or it only reads, and
     * nobody queues behind it. */
    bool outwaits_locks;
    /* What the plan will write, when that is so much that it must wait for its turn (pace.h); a
     * `what` of NULL: not so much. Asked before the transaction. NULL: next to nothing, ever. */
    bool (*plan_writes)(struct run *run, struct pace_unpaced *unpaced, struct error *error);
};

/* What a job of this kind shows beside its row, now. -1: does not apply. */
struct kind_numbers {
    int64_t log_keys;
    int64_t stuck_keys;
    int64_t irreversible_rows;
    int64_t freed_bytes; /* what finish, or abort, gives back */
};

/* How people are told about a kind's verbs: "rollback JOB puts the old table of S.T back". */
struct kind_words {
    const char *rollback;
    const char *rollback_end;
    const char *finish;   /* "finish JOB drops the old table of S.T" */
    const char *finished; /* "finished: the old table of S.T is dropped" */
    const char *aborted;  /* "aborted: S.T is as it was" */
    const char *done;     /* "copied 5 of about 10 rows"; NULL: it walks no rows */
    /* Of a kind with a cut-over. */
    const char *cutover;     /* "cutover JOB swaps S.T with its copy" */
    const char *cutover_end; /* "" for nothing */
    const char *ready;       /* "ready; the table is still as it was" */
    const char *swapped;     /* "the old table is fed", until you say .. */
    /* What the verbs do, as next steps. */
    const char *next_cutover;
    const char *next_rollback;
    const char *next_finish;
    const char *next_abort;
};

struct kind {
    const char *name;
    struct kind_words words;
    const struct phase *phases; /* ends with a NULL name */
    const char *ready; /* the phase at which a job waits for `cutover`; NULL: there is no cutover */
    const char *end;   /* without a ready phase: the one at which the job is done */
    const char *undone; /* behind the end: the one at which the job is rolled back; NULL: rollback
                           is no matter of phases */
    const char *walk;   /* the phase that goes over the table's rows */
    const char *again;  /* the phase that ERROR_AGAIN goes back to; NULL: it is a failure */
    /* Brings the kind's own state (run->kind_state) from the job's row into memory, and gives it
     * back. */
    bool (*load)(struct run *run, struct error *error);
    void (*unload)(struct run *run);

    /*
     * Verbs, with the meaning that design gives them. Each checks the job's state itself, refuses
     * with ERROR_REFUSED and a hint when it does not apply, takes the leadership, and leaves its
     * result in the job's facts. NULL: refused.
     */
    bool (*verify)(struct run *run, struct error *error);
    bool (*cutover)(struct run *run, struct error *error);
    bool (*rollback)(struct run *run, bool accept_loss, struct error *error);
    bool (*finish)(struct run *run, struct error *error);
    bool (*abort)(struct run *run, struct error *error);
    /* For a job that is ready or cut over: takes over what changed since. NULL: nothing to do. */
    bool (*keep_up)(struct run *run, struct error *error);
    /* What the job did so far, as a line for people; NULL: its phases say it. */
    bool (*summary)(struct run *run, struct text *out, struct error *error);
    bool (*numbers)(struct run *run, struct kind_numbers *numbers, struct error *error);
};

/* The phase at which the program has done its part: ready, or the end. */
const char *kind_rest(const struct kind *kind);

/* Has the kind's `ready` phase been reached by `phase`? False for a kind without one. */
bool kind_is_ready(const struct kind *kind, const char *phase);
/* Is `phase` behind the kind's `ready` phase: has cutover begun? */
bool kind_is_past_ready(const struct kind *kind, const char *phase);

/*
 * Stores a planned job, run->job, with its phases: it has its id and name afterwards. `leave` then
 * appends the SQL that takes the job away without the program. ERROR_REFUSED when the name is
 * taken.
 */
bool phases_store(struct run *run, const struct kind *kind,
                  void (*leave)(struct run *run, struct text *sql), struct error *error) MUST_CHECK;

/* Names of a kind's phases, NULL-terminated, for job_insert(). The array is the caller's: at least
 * PHASES_MAX + 1. */
enum { PHASES_MAX = 24 };
void phases_names(const struct kind *kind, const char *names[PHASES_MAX + 1]);

/* Makes `from` the job's current phase again, it and everything after it pending. In a transaction
 * of its own. */
bool phases_reset(struct run *run, const char *from, struct error *error) MUST_CHECK;

/*
 * Runs the job's phases up to, and not including, `until`. On failure the job's state says so
 * (failed with a reason; or waiting, when it was interrupted or a lock could not be had).
 */
bool phases_run(struct run *run, const struct kind *kind, const char *until,
                struct error *error) MUST_CHECK;

#endif
