/*
 * What a process needs to work on a job, handed down from the command line to everything below.
 *
 * The main thread owns `session`, the control session: it leads the job, runs phases that are not
 * walked by a crew and records steps. Workers open sessions of their own from `connect`.
 */
#ifndef PGHAUL_JOB_RUN_H
#define PGHAUL_JOB_RUN_H

#include "engine/base/log.h"
#include "engine/base/stop.h"
#include "engine/job/job.h"
#include "engine/job/pace.h"
#include "engine/job/progress.h"

struct run {
    struct session_options connect; /* meaning points into job */
    struct log *log;
    const struct stop *stop;
    struct pace *pace;
    struct progress *progress;
    struct session *session;
    struct job job;
    bool leading;     /* this process leads the job: others join what is shared, and do no more than
                         that */
    bool trial;       /* inside a transaction that will be rolled back: no job is stored, no event
                         recorded */
    bool force;       /* the user insists on what a verb would refuse: --force, --accept-loss */
    void *kind_state; /* of the job's kind: its plan in memory */
};

/* Makes the control session usable again after it was lost: reopens it, within
 * settings.retry_limit. */
bool run_reconnect(struct run *run, struct error *error) MUST_CHECK;

/* Did a step fail because a session was lost, so that it may be tried again with a new one? */
bool run_lost(const struct run *run, const struct error *error);

/*
 * Leads the job and reads its row again; fine when it leads already. The leader in the way may be a
 * process that died a moment ago: waits some seconds for the server to notice, then ERROR_REFUSED.
 */
bool run_lead(struct run *run, struct error *error) MUST_CHECK;
bool run_unlead(struct run *run, struct error *error) MUST_CHECK;

/*
 * Does `all`, which ends with the job in `state`, in the transaction of its last step. A lost
 * session, perhaps at that COMMIT, leads to a new one, within settings.retry_limit: then the job's
 * row knows whether it happened, and if not all is done again from the beginning, which must do no
 * harm.
 */
bool run_until(struct run *run, bool (*all)(struct run *run, struct error *error),
               const char *state, struct error *error) MUST_CHECK;

/* A statement that changes a schema: runs it and records it as an event, in the control session's
 * transaction if any. */
bool run_ddl(struct run *run, const char *sql, struct error *error) MUST_CHECK;

#endif
