#include "engine/job/phases.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/job/schema.h"
#include "engine/pg/retry.h"

enum { FOLLOWER_WAIT_MS = 200, GOT_ON_MS = 10000 };

void phases_names(const struct kind *kind, const char *names[PHASES_MAX + 1])
{
    int count = 0;

    for (const struct phase *at = kind->phases; at->name != NULL; at++) {
        assert(count < PHASES_MAX);
        names[count++] = at->name;
    }
    names[count] = NULL;
}

bool phases_store(struct run *run, const struct kind *kind,
                  void (*leave)(struct run *run, struct text *sql), struct error *error)
{
    const char *names[PHASES_MAX + 1];
    TEXT_AUTO sql = {0};

    phases_names(kind, names);
    if (!schema_ensure(run->session, error))
        return false;
    if (session_begin(run->session, error) && job_insert(run->session, &run->job, names, error)) {
        leave(run, &sql);
        if (job_set_leave_sql(run->session, &run->job, text_string(&sql), error) &&
            session_commit(run->session, error))
            return true;
    }
    session_rollback(run->session);
    return false;
}

static const struct phase *find_phase(const struct kind *kind, const char *name)
{
    for (const struct phase *at = kind->phases; at->name != NULL; at++)
        if (strcmp(at->name, name) == 0)
            return at;
    return NULL;
}

const char *kind_rest(const struct kind *kind)
{
    return kind->ready != NULL ? kind->ready : kind->end;
}

/* What a job's state becomes when it comes to the phase; NULL: nothing. */
static const char *state_at(const struct kind *kind, const char *phase)
{
    if (phase == NULL)
        return NULL;
    if (kind_is_ready(kind, phase))
        return "ready";
    if (kind->undone != NULL && strcmp(kind->undone, phase) == 0)
        return "rolled_back";
    return kind->end != NULL && strcmp(kind->end, phase) == 0 ? "done" : NULL;
}

bool kind_is_ready(const struct kind *kind, const char *phase)
{
    return kind->ready != NULL && phase != NULL && strcmp(kind->ready, phase) == 0;
}

bool kind_is_past_ready(const struct kind *kind, const char *phase)
{
    const struct phase *ready = kind->ready == NULL ? NULL : find_phase(kind, kind->ready);
    const struct phase *at = phase == NULL ? NULL : find_phase(kind, phase);

    return ready != NULL && at != NULL && at > ready;
}

/* The transaction that starts a phase, with whatever its plan writes. */
static bool plan_phase(struct run *run, const struct phase *phase, struct error *error)
{
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

/* Records that the phase runs. A phase that runs already is left. */
static bool start_phase(struct run *run, const struct phase *phase, struct error *error)
{
    struct pace_unpaced unpaced = {0};
    ROWS_AUTO rows = {0};
    bool pending;
    bool ok;

    if (!session_query(run->session, &rows,
                       "SELECT state FROM pghaul.phase WHERE job = $1::bigint AND name = $2",
                       PARAMS(NUMBER(run->job.id), phase->name), error))
        return false;
    pending = rows_count(&rows) == 1 && strcmp(rows_text(&rows, 0, 0), "running") != 0;
    if (!pending)
        return true;
    if (phase->plan_writes != NULL && !phase->plan_writes(run, &unpaced, error))
        return false;
    if (unpaced.what == NULL)
        return plan_phase(run, phase, error);
    if (!pace_unpaced_begin(run, unpaced.what, unpaced.wal_bytes, unpaced.seconds, error))
        return false;
    ok = plan_phase(run, phase, error);
    pace_unpaced_end(run);
    return ok;
}

/* The phase is done, the next one is current, and perhaps the job ready: one synchronous
 * transaction. */
static bool finish_phase(struct run *run, const struct kind *kind, const struct phase *phase,
                         struct error *error)
{
    const struct phase *next = phase + 1;
    const char *state = state_at(kind, next->name);

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
        (state == NULL || job_set_state(run->session, &run->job, state, NULL, error)) &&
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
    if (pace_phase_begin(run, error) && start_phase(run, phase, error) &&
        (phase->forward == NULL || phase->forward(run, error)))
        return finish_phase(run, kind, phase, error);
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
        if (!phase->forward(run, error) && error->code != ERROR_AGAIN)
            return error_context(error, "%s", phase->name);
    }
    progress_reason(run->progress, "another process leads phase %s", phase->name);
    return stop_sleep_ms(run->stop, FOLLOWER_WAIT_MS, error);
}

/* Where the loop is. */
struct place {
    char phase[32]; /* the one whose turn it was */
    bool stale;     /* the kind's state must be read again */
    bool over;
    int64_t turn_ms;
    struct retry retry; /* of failures in a row */
};

/*
 * The kind's state is read again at every phase, and after a lost session: another process, or a
 * transaction of ours whose end is unknown, may have changed what it was made of.
 */
static bool enter_phase(struct run *run, const struct kind *kind, const struct phase *phase,
                        struct place *place, struct error *error)
{
    if (strcmp(place->phase, phase->name) == 0 && !place->stale)
        return true;
    snprintf(place->phase, sizeof(place->phase), "%s", phase->name);
    if (kind->load != NULL && !kind->load(run, error))
        return false;
    place->stale = false;
    return true;
}

static bool set_state(struct run *run, const char *state, struct error *error)
{
    return !run->leading || job_is(&run->job, state) ||
           job_set_state(run->session, &run->job, state, NULL, error);
}

/* One look at the job's row, and what follows from it. */
static bool take_turn(struct run *run, const struct kind *kind, const char *until,
                      struct place *place, struct error *error)
{
    const struct phase *phase;

    if (!run->leading && !job_lead(run->session, &run->job, &run->leading, error))
        return false;
    if (!job_refresh(run->session, &run->job, error))
        return false;
    run->connect.meaning = &run->job.meaning;
    if (job_is(&run->job, "done") || (kind->undone != NULL && job_is(&run->job, "rolled_back"))) {
        place->over = true;
        return run_unlead(run, error);
    }
    if (!job_open(&run->job) || strcmp(run->job.wanted, "abort") == 0)
        return error_set(error, ERROR_INTERRUPTED, "job %s is being aborted by another session",
                         run->job.name);
    phase = find_phase(kind, run->job.phase);
    if (phase == NULL)
        return error_set(error, ERROR_INTERNAL, "job %s is at a phase %s that %s jobs do not have",
                         run->job.name, run->job.phase, kind->name);
    if (strcmp(phase->name, until) == 0) {
        place->over = true;
        return (!kind_is_ready(kind, until) || set_state(run, "ready", error)) &&
               run_unlead(run, error);
    }
    if (strcmp(run->job.wanted, "pause") == 0) {
        progress_reason(run->progress, "paused");
        return set_state(run, "paused", error) && stop_sleep_ms(run->stop, FOLLOWER_WAIT_MS, error);
    }
    return enter_phase(run, kind, phase, place, error) && set_state(run, "running", error) &&
           (run->leading ? lead_phase(run, kind, phase, error) : follow_phase(run, phase, error));
}

/*
 * Is the failure of a turn one that passes? A lost session is no failure of the job: it goes on
 * where the row says. Neither is a lock on what is only ours: sessions of a process that was killed
 * may still be at work there.
 */
static bool recover(struct run *run, const struct kind *kind, struct place *place,
                    struct error *error)
{
    const struct phase *phase = find_phase(kind, place->phase);
    bool ours = error->code == ERROR_LOCK && phase != NULL && phase->outwaits_locks;
    int64_t wait_ms;

    if (clock_ms() - place->turn_ms > GOT_ON_MS)
        retry_init(&place->retry, run->job.settings.retry_limit_ms, clock_ms());
    if ((!ours && !run_lost(run, error)) ||
        (wait_ms = retry_next_ms(&place->retry, clock_ms())) < 0)
        return false;
    log_verbose(run->log, "trying again in %lld ms: %s", (long long)wait_ms, error->message);
    progress_retry(run->progress);
    session_rollback(run->session);
    place->stale = true;
    return stop_sleep_ms(run->stop, wait_ms, error) && run_reconnect(run, error);
}

static bool run_loop(struct run *run, const struct kind *kind, const char *until,
                     struct error *error)
{
    struct place place = {.stale = true};

    run->leading = false;
    retry_init(&place.retry, run->job.settings.retry_limit_ms, clock_ms());
    while (!place.over) {
        place.turn_ms = clock_ms();
        if (!stop_check(run->stop, error) ||
            (!take_turn(run, kind, until, &place, error) && !recover(run, kind, &place, error)))
            return false;
    }
    return true;
}

/*
 * Leaves the reason in the job's row, when there is a server to tell; never over the state of a job
 * that somebody else ended meanwhile.
 */
static void record_failure(struct run *run, const struct error *why)
{
    struct error ignored = {0};
    const char *state = why->code == ERROR_INTERRUPTED || why->code == ERROR_LOCK ||
                                why->code == ERROR_WAITING || why->code == ERROR_CONNECTION
                            ? "waiting"
                            : "failed";

    if (!session_alive(run->session))
        return;
    session_shield(run->session);
    session_rollback(run->session);
    if (!run->leading && !job_lead(run->session, &run->job, &run->leading, &ignored))
        return;
    if (run->leading && (!job_refresh(run->session, &run->job, &ignored) ||
                         (job_open(&run->job) &&
                          !job_set_state(run->session, &run->job, state, why->message, &ignored)) ||
                         !run_unlead(run, &ignored)))
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
