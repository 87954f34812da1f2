/*
 * A worker of a walk: turn after turn until nothing is left, and what it does between them (wait
 * for the pace, obey, try again, stand aside).
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/job/walk_parts.h"
#include "engine/pg/retry.h"

enum {
    IDLE_WAIT_MS = 20,
    PAUSE_WAIT_MS = 200,
    REST_LOOK_MS = 500,
    ASK_AGAIN_MS = 100,
    HOLD_EVERY_MS = 1000
};

/* --------------------------------------------------------------------------- what the job wants */

/* Takes over settings that were changed since this worker read them. */
static bool reload_settings(struct worker *worker, int64_t version, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (version == worker->settings_version)
        return true;
    if (!session_query(worker->session, &rows,
                       "SELECT settings FROM pghaul.job WHERE id = $1::bigint",
                       PARAMS(NUMBER(worker->run->job.id)), error) ||
        !settings_from_json(&worker->settings, rows_text(&rows, 0, 0), error))
        return false;
    worker->settings_version = version;
    worker->run->pace->configure(worker->run->pace, &worker->settings);
    return true;
}

bool walk_obey(struct worker *worker, const char *wanted, int64_t version, bool *obeyed,
               enum turn *turn, struct error *error)
{
    *obeyed = strcmp(wanted, "pause") == 0;
    if (strcmp(wanted, "abort") == 0)
        return error_set(error, ERROR_INTERRUPTED, "job %s is being aborted by another session",
                         worker->run->job.name);
    if (*obeyed)
        *turn = TURN_PAUSED;
    return *obeyed || reload_settings(worker, version, error);
}

/* As many as the job is set to, or fewer when the pace says so. By the first worker. */
static void change_workers(struct worker *worker)
{
    const struct walk *walk = worker->walk;
    int most = walk->workers > 0 ? walk->workers : (int)worker->settings.workers;
    struct error error = {0};
    int wanted;

    if (worker->number != 0)
        return;
    wanted = walk->urgent ? most : worker->run->pace->workers(worker->run->pace, most);
    if (wanted == atomic_load(&worker->shared->workers))
        return;
    atomic_store(&worker->shared->workers, wanted);
    if (!crew_grow(worker->crew, wanted, &error))
        log_warning(worker->run->log, "phase %s goes on with fewer workers: %s",
                    worker->walk->phase, error.message);
}

/* The job's state says so while it is paused, as long as that is what is wanted of it. */
static void note_pause(struct worker *worker, bool paused)
{
    struct error ignored = {0};

    if (paused == worker->paused)
        return;
    worker->paused = paused;
    if (!session_execute(worker->session,
                         "WITH changed AS (\n"
                         "    UPDATE pghaul.job SET state = $2 WHERE id = $1::bigint\n"
                         "       AND state = $3 AND wanted = $4 RETURNING id)\n"
                         "INSERT INTO pghaul.event (job, kind, detail)\n"
                         "SELECT id, 'state', $2 FROM changed",
                         PARAMS(NUMBER(worker->run->job.id), paused ? "paused" : "running",
                                paused ? "running" : "paused", paused ? "pause" : "run"),
                         NULL, &ignored))
        log_verbose(worker->run->log, "could not note the pause: %s", ignored.message);
}

static bool is_one_too_many(const struct worker *worker)
{
    return worker->number >= atomic_load(&worker->shared->workers);
}

/* Until it is wanted again, or nobody works any more. */
static bool stand_aside(struct worker *worker, struct error *error)
{
    session_close(worker->session);
    worker->session = NULL;
    while (is_one_too_many(worker) && !atomic_load(&worker->shared->over) &&
           !crew_failed(worker->crew))
        if (!stop_sleep_ms(worker->run->stop, IDLE_WAIT_MS, error))
            return false;
    return true;
}

/* ---------------------------------------------------------------------------------- the session */

static bool open_session(struct worker *worker, struct error *error)
{
    char name[128];
    struct session_options options = worker->run->connect;

    snprintf(name, sizeof(name), "pghaul %s %s %d", worker->run->job.name, worker->walk->phase,
             worker->number + 1);
    options.application_name = name;
    session_close(worker->session);
    worker->session = NULL;
    return session_reopen(&worker->session, &options, worker->settings.retry_limit_ms,
                          worker->run->stop, error) &&
           (worker->walk->prepare == NULL ||
            worker->walk->prepare(worker->session, worker->walk->work, error));
}

/* For status; if it cannot be counted, nothing is lost but the count. */
static void count_retry(struct worker *worker)
{
    struct error ignored = {0};

    progress_retry(worker->run->progress);
    if (!session_execute(
            worker->session,
            "UPDATE pghaul.span SET retries = retries + 1 WHERE (job, phase, number) IN\n"
            "    (SELECT job, phase, number FROM pghaul.span\n"
            "      WHERE job = $1::bigint AND phase = $2 AND state = 'open'\n"
            "      ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED)",
            PARAMS(NUMBER(worker->run->job.id), worker->walk->phase), NULL, &ignored))
        log_verbose(worker->run->log, "could not count a retry: %s", ignored.message);
}

/* After a failed turn: true when the worker should try again, after a wait; `error` is then spent.
 */
static bool recover(struct worker *worker, struct retry *retry, struct error *error)
{
    int64_t wait_ms;

    session_rollback(worker->session);
    if (stop_wanted(worker->run->stop))
        return error_set(error, ERROR_INTERRUPTED, "interrupted");
    if (!error->retryable || (wait_ms = retry_next_ms(retry, clock_ms())) < 0)
        return false;
    log_verbose(worker->run->log, "%s worker %d tries again in %lld ms: %s", worker->walk->phase,
                worker->number + 1, (long long)wait_ms, error->message);
    chunk_size_conflict(&worker->size);
    if (!stop_sleep_ms(worker->run->stop, wait_ms, error))
        return false;
    if (session_alive(worker->session))
        count_retry(worker);
    return true;
}

/* ---------------------------------------------------------------------------------------- turns */

/*
 * Nothing may begin now: waits a little, and looks now and then what the job wants, which no
 * transaction tells while there is none.
 */
static bool rest(struct worker *worker, int64_t wait_ms, enum turn *turn, struct error *error)
{
    ROWS_AUTO rows = {0};
    int64_t now_ms = clock_ms();
    bool obeyed;

    *turn = TURN_HELD;
    if (now_ms - worker->looked_ms < REST_LOOK_MS)
        return stop_sleep_ms(worker->run->stop, wait_ms < ASK_AGAIN_MS ? wait_ms : ASK_AGAIN_MS,
                             error);
    worker->looked_ms = now_ms;
    if (!session_query(worker->session, &rows,
                       "SELECT wanted, settings_version FROM pghaul.job WHERE id = $1::bigint",
                       PARAMS(NUMBER(worker->run->job.id)), error) ||
        !walk_obey(worker, rows_text(&rows, 0, 0), rows_int64(&rows, 0, 1), &obeyed, turn, error))
        return false;
    note_pause(worker, obeyed);
    return true;
}

/* The chunk that the pace let go: it hears how it went, whatever happened. */
static bool paced_turn(struct worker *worker, enum turn *turn, struct error *error)
{
    struct pace *pace = worker->run->pace;
    struct pace_chunk done = {.expected_bytes = worker->wrote_bytes};
    bool ok = walk_take_turn(worker, &done, turn, error);

    pace->done(pace, &done);
    if (!ok || *turn != TURN_DONE)
        return ok;
    worker->wrote_bytes = done.bytes > 0 ? done.bytes : done.grown;
    worker->busy_ms = done.busy_ms;
    worker->rested_ms = clock_ms();
    return true;
}

/* For how long walk->hold, or the pace, lets nothing begin; 0: go. */
static bool ask_wait_ms(struct worker *worker, int64_t *wait_ms, struct error *error)
{
    const struct walk *walk = worker->walk;
    struct pace *pace = worker->run->pace;
    int64_t now_ms = clock_ms();

    if (walk->hold != NULL && now_ms - worker->hold_asked_ms >= HOLD_EVERY_MS) {
        if (!walk->hold(worker->session, &worker->settings, walk->work, wait_ms, error))
            return false;
        now_ms = clock_ms(); /* it may have vacuumed */
        worker->hold_asked_ms = now_ms;
        worker->held_until_ms = now_ms + *wait_ms;
    }
    *wait_ms = now_ms < worker->held_until_ms
                   ? worker->held_until_ms - now_ms
                   : pace->ask(pace, &(struct pace_ask){.expected_bytes = worker->wrote_bytes,
                                                        .busy_ms = worker->busy_ms,
                                                        .rested_ms = now_ms - worker->rested_ms,
                                                        .urgent = walk->urgent});
    return true;
}

/* A chunk, if the session lives and nothing holds us. */
static bool session_turn(struct worker *worker, enum turn *turn, struct error *error)
{
    int64_t wait_ms;

    if ((!session_alive(worker->session) && !open_session(worker, error)) ||
        !ask_wait_ms(worker, &wait_ms, error))
        return false;
    return wait_ms > 0 ? rest(worker, wait_ms, turn, error) : paced_turn(worker, turn, error);
}

/* Until the end, a failure, or a stop. */
static bool work(struct worker *worker, struct error *error)
{
    struct retry retry;

    retry_init(&retry, worker->settings.retry_limit_ms, clock_ms());
    while (!crew_failed(worker->crew) && !atomic_load(&worker->shared->over)) {
        enum turn turn = TURN_END;
        int64_t began_ms = clock_ms();

        change_workers(worker);
        if (is_one_too_many(worker)) {
            if (!stand_aside(worker, error))
                return false;
            continue;
        }
        if (!stop_check(worker->run->stop, error))
            return false;
        if (!session_turn(worker, &turn, error)) {
            if (crew_failed(worker->crew))
                return true; /* cancelled: the first error is known already */
            if (!recover(worker, &retry, error))
                return false;
            continue;
        }
        if (turn == TURN_HELD) {
            retry_extend(&retry, clock_ms() - began_ms);
            continue;
        }
        retry_init(&retry, worker->settings.retry_limit_ms, clock_ms());
        note_pause(worker, turn == TURN_PAUSED);
        if (turn == TURN_END) {
            atomic_store(&worker->shared->over, true);
            return true;
        }
        if (turn == TURN_PAUSED)
            progress_reason(worker->run->progress, "paused");
        else
            progress_moving(worker->run->progress);
        if (turn != TURN_DONE &&
            !stop_sleep_ms(worker->run->stop, turn == TURN_PAUSED ? PAUSE_WAIT_MS : IDLE_WAIT_MS,
                           error))
            return false;
    }
    return true;
}

bool walk_worker_run(struct crew *crew, int member, void *arg, struct error *error)
{
    struct walk_shared *shared = arg;
    struct worker worker = {
        .run = shared->run,
        .walk = shared->walk,
        .shared = shared,
        .crew = crew,
        .number = member,
        .settings = shared->run->job.settings,
        .settings_version = shared->run->job.settings_version,
    };
    bool ok;

    chunk_size_init(&worker.size, shared->walk->units_first, shared->walk->units_max);
    ok = work(&worker, error);
    session_close(worker.session);
    return ok;
}
