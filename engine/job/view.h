/*
 * A job as its rows in schema pghaul tell it, for whoever looks: read once, in a few statements,
 * from any host, by whoever may read them. Nothing is written.
 *
 * Three sources, one struct: the job's row and what is kept for it (phases, spans, samples); what
 * only its kind can count, now (struct kind_numbers); and what the kind left in the row's facts.
 * Facts that every kind writes alike have members here: verify {rows, differences, repaired,
 * left_out}, cutover and rollback {attempts, waited_ms, held_ms, keys}, old_table, no_way_back;
 * walked {rows, chunks, retries, bytes, spans, spans_done} when a job is over and its spans are
 * gone.
 */
#ifndef PGHAUL_JOB_VIEW_H
#define PGHAUL_JOB_VIEW_H

#include <jansson.h>

#include "engine/job/phases.h"

struct phase_view {
    const char *name;
    const char *state; /* pending, running, done, skipped */
    double seconds;    /* so far */
};

struct verify_view {
    int64_t rows; /* compared; -1: never verified. The same for the rest */
    int64_t differences;
    int64_t repaired;
    int64_t left_out; /* keys in flight */
};

struct swap_view {
    bool done;
    int64_t attempts;
    int64_t waited_ms; /* for the lock */
    int64_t held_ms;
    int64_t keys; /* replayed under it; -1: unknown */
};

/* What a governor says of a process that works on the job now (throttle/governor.h). */
struct throttle_view {
    bool known;  /* a governor has told something lately; else all that follows is nothing */
    double rate; /* bytes of log that its chunks may write a second; -1: no limit */
    int workers; /* -1: unknown */
    const char *decision; /* "open", "paced", "closed", "paused", "window", "unpaced: ..", "off" */
    const char *signal;   /* what binds; NULL: nothing. The same for the rest */
    const char *who;      /* the standby, the slot, the blocked pid and its query; may be "" */
    double value;         /* -1: unreadable */
    double limit;
    double seconds;     /* for how long it has */
    const char *reason; /* all of that in words */
    json_t *signals;    /* all of them, an array; NULL: unknown */
};

enum { NEXT_MAX = 2 };

struct job_view {
    struct arena arena;
    const struct job *job;   /* the loaded row; not owned: valid as long as it */
    const struct kind *kind; /* NULL: a newer program's */
    const char *state;       /* as shown: job_shown_state() */
    bool worked_on;          /* some process leads it now */
    int phase_count;
    struct phase_view phases[PHASES_MAX];

    int64_t rows_done; /* of the phase that walks, else of the load */
    int64_t rows_total;
    double percent;         /* of that phase; -1: unknown */
    double rows_per_second; /* -1: unknown, or nothing moves; the same for eta */
    double eta_seconds;
    int64_t bytes_written; /* by chunks, estimated */
    int64_t chunks;
    int64_t retries;

    struct throttle_view throttle;
    struct kind_numbers numbers; /* all -1 when they cannot be had */
    struct verify_view verify;
    struct swap_view cutover;
    struct swap_view rollback;
    const char *old_table; /* as SQL names it; NULL: there is none */
    bool no_way_back;      /* what is kept is no way back: cut over, and the old table is not fed */
    bool kept;             /* done, and something is kept until finish */
    json_t *facts;         /* all of them, an object */

    int next_count; /* verbs that a person would use next, the likely one first */
    const char *next[NEXT_MAX];
};

/*
 * A job's state as users see it: one that is told to pause is paused, and one that has come to its
 * kind's ready phase is ready. `kind` may be NULL: unknown.
 */
const char *job_shown_state(const struct job *job, const struct kind *kind);

/* Looks at run->job, which is loaded. `kind` NULL: a newer program's, without numbers. */
bool job_look(struct run *run, const struct kind *kind, struct job_view *view,
              struct error *error) MUST_CHECK;
void job_view_deinit(struct job_view *view);
#define JOB_VIEW_AUTO __attribute__((cleanup(job_view_deinit))) struct job_view

/* Will nothing happen any more without a person? Over, ready, cut over or failed. */
bool job_view_at_rest(const struct job_view *view);

/* Names of all jobs, oldest first; with `open_only`, of those that are not over. One column. Empty
 * without a schema. */
bool job_names(struct session *session, bool open_only, struct rows *names, bool *any,
               struct error *error) MUST_CHECK;

#endif
