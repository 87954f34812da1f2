#include "engine/job/phases.h"

#include <assert.h>
#include <string.h>

enum { FOLLOWER_WAIT_MS = 200 };

void phases_names(const struct kind *kind, const char *names[PHASES_MAX + 1])
{
    int count = 0;

    for (const struct phase *at = kind->phases; at->name != NULL; at++) {
        assert(count < PHASES_MAX);
        names[count++] = at->name;
    }
    names[count] = NULL;
}

static const struct phase *find_phase(const struct kind *kind, const char *name)
{
    for (const struct phase *at = kind->phases; at->name != NULL; at++)
        if (strcmp(at->name, name) == 0)
            return at;
    return NULL;
}

/* Records that the phase runs, with whatever its plan writes, in one transaction. A phase that runs
 * already is left. */
static bool start_phase(struct run *run, const struct phase *phase, struct error *error)
{
    ROWS_AUTO rows = {0};
    bool pending;

    if (!session_query(run->session, &rows,
                       "SELECT state FROM pghaul.phase WHERE job = $1::bigint AND name = $2",
                       PARAMS(NUMBER(run->job.id), phase->name), error))
        return false;
    pending = rows_count(&rows) == 1 && strcmp(rows_text(&rows, 0, 0), "running") != 0;
    if (!pending)
        return true;
    if (session_begin(run->session, error) && (phase->plan == NULL || phase->plan(run, error)) &&
        session_execute(
            run->session,
            "UPDATE pghaul.phase SET state = 'running', started_at = clock_timestamp()\n"
            " WHERE job = $1::bigint AND name = $2",
            PARAMS(NUMBER(run->job.id), phase->name), NULL, error) &&
        job_event(run->session, run->job.id, "phase", error, "%s", phase->name) &&
        session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return false;
}

/* The phase is done, the next one is current: one synchronous transaction. */
static bool finish_phase(struct run *run, const struct phase *phase, struct error *error)
{
    const struct phase *next = phase + 1;

    if (session_begin(run->session, error) &&
        session_execute(
            run->session,
            "UPDATE pghaul.phase SET state = 'done',\n"
            "       seconds = seconds + extract(epoch FROM clock_timestamp() - started_at)\n"
            " WHERE job = $1::bigint AND name = $2",
            PARAMS(NUMBER(run->job.id), phase->name), NULL, error) &&
        session_execute(
            run->session, "UPDATE pghaul.job SET phase = $2 WHERE id = $1::bigint AND phase = $3",
            PARAMS(NUMBER(run->job.id), next->name != NULL ? next->name : phase->name, phase->name),
            NULL, error) &&
        session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return false;
}

bool phases_reset(struct run *run, const char *from, struct error *error)
{
    if (session_begin(run->session, error) &&
        session_execute(
            run->session,
            "UPDATE pghaul.phase SET state = 'pending'\n"
            " WHERE job = $1::bigint AND number >=\n"
            "       (SELECT number FROM pghaul.phase WHERE job = $1::bigint AND name = $2)",
            PARAMS(NUMBER(run->job.id), from), NULL, error) &&
        session_execute(run->session, "UPDATE pghaul.job SET phase = $2 WHERE id = $1::bigint",
                        PARAMS(NUMBER(run->job.id), from), NULL, error) &&
        job_event(run->session, run->job.id, "again", error, "from %s", from) &&
        session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return false;
}

static bool lead_phase(struct run *run, const struct kind *kind, const struct phase *phase,
                       struct error *error)
{
    progress_start(run->progress, phase->name, 0, 0);
    log_verbose(run->log, "phase %s: %s", phase->name, phase->what);
    if (start_phase(run, phase, error) && (phase->forward == NULL || phase->forward(run, error)))
        return finish_phase(run, phase, error);
    session_rollback(run->session);
    if (error->code == ERROR_AGAIN && kind->again != NULL) {
        log_warning(run->log, "%s; going back to phase %s", error->message, kind->again);
        return run_reconnect(run, error) && phases_reset(run, kind->again, error);
    }
    return error_context(error, "%s", phase->name);
}

/* Beside a leader: join what can be shared, wait for the rest. */
static bool follow_phase(struct run *run, const struct phase *phase, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(
            run->session, &rows,
            "SELECT state = 'running' FROM pghaul.phase WHERE job = $1::bigint AND name = $2",
            PARAMS(NUMBER(run->job.id), phase->name), error))
        return false;
    if (phase->shared && phase->forward != NULL && rows_bool(&rows, 0, 0)) {
        progress_start(run->progress, phase->name, 0, 0);
        if (!phase->forward(run, error))
            return error->code == ERROR_AGAIN ? true : error_context(error, "%s", phase->name);
    }
    progress_reason(run->progress, "another process leads phase %s", phase->name);
    return stop_sleep_ms(run->stop, FOLLOWER_WAIT_MS, error);
}

static bool run_loop(struct run *run, const struct kind *kind, const char *until,
                     struct error *error)
{
    run->leading = false;
    for (;;) {
        const struct phase *phase;

        if (!stop_check(run->stop, error))
            return false;
        if (!session_alive(run->session)) {
            run->leading = false;
            if (!run_reconnect(run, error))
                return false;
        }
        if (!run->leading && !job_lead(run->session, &run->job, &run->leading, error))
            return false;
        if (!job_refresh(run->session, &run->job, error))
            return false;
        run->connect.meaning = &run->job.meaning;
        if (strcmp(run->job.wanted, "abort") == 0)
            return error_set(error, ERROR_INTERRUPTED, "job %s is being aborted by another session",
                             run->job.name);
        if (strcmp(run->job.wanted, "pause") == 0) {
            progress_reason(run->progress, "paused");
            if (!stop_sleep_ms(run->stop, FOLLOWER_WAIT_MS, error))
                return false;
            continue;
        }
        phase = find_phase(kind, run->job.phase);
        if (phase == NULL)
            return error_set(error, ERROR_INTERNAL,
                             "job %s is at a phase %s that %s jobs do not have", run->job.name,
                             run->job.phase, kind->name);
        if (strcmp(phase->name, until) == 0)
            return !run->leading || job_unlead(run->session, &run->job, error);
        if (run->leading && strcmp(run->job.state, "running") != 0 &&
            !job_set_state(run->session, &run->job, "running", NULL, error))
            return false;
        if (run->leading ? !lead_phase(run, kind, phase, error) : !follow_phase(run, phase, error)) {
            /* A lost control session is no failure of the job: go on where the row says. */
            if (error->code == ERROR_CONNECTION && error->retryable &&
                !session_alive(run->session) && !stop_wanted(run->stop))
                continue;
            return false;
        }
    }
}

/* Leaves the reason in the job's row, when there is a server to tell. */
static void record_failure(struct run *run, const struct error *why)
{
    struct error ignored = {0};
    bool leading = false;
    const char *state = why->code == ERROR_INTERRUPTED || why->code == ERROR_LOCK ||
                                why->code == ERROR_WAITING || why->code == ERROR_CONNECTION
                            ? "waiting"
                            : "failed";

    if (!session_alive(run->session))
        return;
    session_rollback(run->session);
    if (job_lead(run->session, &run->job, &leading, &ignored) && leading &&
        (!job_set_state(run->session, &run->job, state, why->message, &ignored) ||
         !job_unlead(run->session, &run->job, &ignored)))
        log_verbose(run->log, "could not record the failure: %s", ignored.message);
}

bool phases_run(struct run *run, const struct kind *kind, const char *until, struct error *error)
{
    if (run_loop(run, kind, until, error))
        return true;
    if (stop_wanted(run->stop) && error->code != ERROR_INTERRUPTED)
        error_set(error, ERROR_INTERRUPTED, "interrupted");
    record_failure(run, error);
    return false;
}
