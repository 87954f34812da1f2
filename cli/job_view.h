/*
 * A job as its rows in schema pghaul tell it, for whoever looks: read once, in a few statements,
 * from any host. Reading only; the words for it are in job_text.h, the JSON in job_json.h.
 *
 * The SQL of looking is all in job_view.c.
 */
#ifndef PGHAUL_CLI_JOB_VIEW_H
#define PGHAUL_CLI_JOB_VIEW_H

#include <jansson.h>

#include "cli/cli.h"

struct phase_view {
    const char *name;
    const char *state; /* pending, running, done, skipped */
    double seconds;    /* so far */
};

enum { NEXT_MAX = 2 };

struct next_view {
    const char *verb; /* pghaul VERB JOB */
    const char *what; /* what it does, in a few words */
};

struct job_view {
    struct arena arena;
    const struct job *job; /* the loaded row; not owned: valid as long as it */
    const char *state;     /* as shown: job_shown_state() */
    bool worked_on;        /* some process leads it now */
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

    struct kind_numbers numbers; /* all -1 when they cannot be had */
    json_t *facts;               /* an object */
    int next_count;
    struct next_view next[NEXT_MAX];
};

/*
 * A job's state as users see it: one that is told to pause is paused, and one that has come to its
 * kind's ready phase is ready. `kind` may be NULL: unknown.
 */
const char *job_shown_state(const struct job *job, const struct kind *kind);

/* Looks at cli->run.job, which is loaded. */
bool job_view_read(struct cli *cli, struct job_view *view, struct error *error) MUST_CHECK;
void job_view_deinit(struct job_view *view);
#define JOB_VIEW_AUTO __attribute__((cleanup(job_view_deinit))) struct job_view

/* Will nothing happen any more without a person? Over, ready, cut over or failed. */
bool job_view_at_rest(const struct job_view *view);

/* A number that the job left in facts.GROUP.NAME; `missing` when it did not. */
int64_t job_view_fact(const struct job_view *view, const char *group, const char *name,
                      int64_t missing);

/* Names of all jobs, oldest first; with `open_only`, of those that are not over. One column. Empty
 * without a schema. */
bool job_names(struct session *session, bool open_only, struct rows *names, bool *any,
               struct error *error) MUST_CHECK;

/* The open job on a table, by oid or by name (a swap changes the oid); NULL in *name when there is
 * none. */
bool job_on_table(struct session *session, uint32_t oid, struct arena *arena, const char **name,
                  const char **state, struct error *error) MUST_CHECK;

#endif
