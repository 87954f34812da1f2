#include "engine/job/run.h"

#include <inttypes.h>

#include "engine/pg/retry.h"

#include "engine/base/clock.h"

enum { LEAD_WAIT_MS = 5000, LEAD_LOOK_MS = 50 };

bool run_reconnect(struct run *run, struct error *error)
{
    if (session_alive(run->session))
        return true;
    session_close(run->session);
    run->session = NULL;
    run->leading = false; /* the lock went with the session */
    return session_reopen(&run->session, &run->connect, run->job.settings.retry_limit_ms, run->stop,
                          error);
}

bool run_lost(const struct run *run, const struct error *error)
{
    return error->code == ERROR_CONNECTION && error->retryable && !stop_wanted(run->stop);
}

static bool refuse_second_leader(struct run *run, struct error *error)
{
    int pid = 0;

    if (!job_leader_pid(run->session, &run->job, &pid, error))
        return false;
    error_set(error, ERROR_REFUSED, "another process works on job %s", run->job.name);
    error_detail(error, "its control session is server process %d", pid);
    return error_hint(error, "wait for it, or pghaul pause %s", SHELL_WORD(run->job.name));
}

bool run_lead(struct run *run, struct error *error)
{
    int64_t end_ms = clock_ms() + LEAD_WAIT_MS;

    for (;;) {
        if (!run->leading && !job_lead(run->session, &run->job, &run->leading, error))
            return false;
        if (run->leading)
            return job_refresh(run->session, &run->job, error);
        if (clock_ms() >= end_ms)
            return refuse_second_leader(run, error);
        if (!stop_sleep_ms(run->stop, LEAD_LOOK_MS, error))
            return false;
    }
}

bool run_unlead(struct run *run, struct error *error)
{
    if (!run->leading)
        return true;
    run->leading = false;
    return job_unlead(run->session, &run->job, error);
}

bool run_ddl(struct run *run, const char *sql, struct error *error)
{
    log_verbose(run->log, "%s", sql);
    return session_run(run->session, sql, error) &&
           (run->trial || job_event(run->session, run->job.id, "ddl", error, "%s", sql));
}

/*
 * After a lost session, perhaps at the COMMIT: the job's row knows whether it happened. Looked at
 * again with the leadership in hand: the server may have been at that COMMIT still, in a session
 * that kept the leadership until it was over.
 */
static bool look(struct run *run, const char *state, bool *happened, struct error *error)
{
    *happened = false;
    if (!run_reconnect(run, error) || !job_refresh(run->session, &run->job, error))
        return false;
    *happened = job_is(&run->job, state);
    if (*happened)
        return true;
    if (!run_lead(run, error))
        return false;
    *happened = job_is(&run->job, state);
    return *happened || job_open(&run->job) ||
           error_set(error, ERROR_REFUSED, "job %s was ended by another session", run->job.name);
}

static bool recover(struct run *run, const char *state, struct retry *retry, bool *happened,
                    struct error *error)
{
    do {
        int64_t wait_ms = retry_next_ms(retry, clock_ms());

        if (!run_lost(run, error) || wait_ms < 0)
            return false;
        log_verbose(run->log, "looking what happened in %" PRId64 " ms: %s", wait_ms,
                    error->message);
        if (!stop_sleep_ms(run->stop, wait_ms, error))
            return false;
    } while (!look(run, state, happened, error));
    return true;
}

bool run_until(struct run *run, bool (*all)(struct run *run, struct error *error),
               const char *state, struct error *error)
{
    struct retry retry;
    bool happened = false;

    retry_init(&retry, run->job.settings.retry_limit_ms, clock_ms());
    while (!happened)
        if (all(run, error))
            return true;
        else if (!recover(run, state, &retry, &happened, error))
            return false;
    return true;
}
