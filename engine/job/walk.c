#include "engine/job/walk.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/crew.h"
#include "engine/job/chunk_size.h"
#include "engine/pg/retry.h"
#include "engine/pg/sql.h"
#include "engine/pg/sqlstate.h"

enum {
    IDLE_WAIT_MS = 20,
    PAUSE_WAIT_MS = 200,
    REST_LOOK_MS = 500,
    ASK_AGAIN_MS = 100,
    HOLD_EVERY_MS = 1000
};

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
    int64_t rested_ms;   /* when the last chunk ended; 0: there was none */
    int64_t looked_ms;   /* when a resting worker last looked what the job wants */
    bool paused;
    int64_t held_ms; /* when walk->hold was asked */
};

enum turn {
    TURN_DONE,   /* a chunk was committed */
    TURN_IDLE,   /* every open span is taken by somebody else */
    TURN_PAUSED, /* the job is paused */
    TURN_END,    /* no span is open */
    TURN_HELD,   /* walk->hold, or the pace, said so */
};

static const char FORGET_SPANS[] = "DELETE FROM pghaul.span WHERE job = $1::bigint AND phase = $2";

static void insert_spans_sql(int64_t job, const char *phase, const char *sql, struct text *insert)
{
    sql_expand(insert,
               "INSERT INTO pghaul.span (job, phase, number, lo, hi, cursor)\n"
               "SELECT {job}, {phase}, row_number() OVER (), lo, hi, lo FROM ({spans}) AS planned "
               "(lo, hi)",
               SQL_NAMES({"job", sql_fragment(NUMBER(job))}, {"phase", sql_literal(phase)},
                         {"spans", sql_fragment(sql)}));
}

bool walk_plan(struct session *session, int64_t job, const char *phase, const char *sql,
               struct params params, struct error *error)
{
    TEXT_AUTO insert = {0};
    const char *values[16];

    insert_spans_sql(job, phase, sql, &insert);
    for (int i = 0; i < params.count; i++)
        values[i] = params.values[i];
    return session_execute(session, FORGET_SPANS, PARAMS(NUMBER(job), phase), NULL, error) &&
           session_execute(session, text_string(&insert), (struct params){values, params.count},
                           NULL, error);
}

bool walk_totals(struct session *session, int64_t job, const char *phase,
                 struct walk_totals *totals, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(
            session, &rows,
            "SELECT coalesce(sum(rows), 0), coalesce(sum(chunks), 0), coalesce(sum(retries), 0),\n"
            "       coalesce(sum(written), 0), coalesce(sum(later), 0),\n"
            "       coalesce(sum(refused), 0), coalesce(sum(skipped), 0)\n"
            "  FROM pghaul.span WHERE job = $1::bigint AND phase = $2",
            PARAMS(NUMBER(job), phase), error))
        return false;
    *totals = (struct walk_totals){
        .rows = rows_int64(&rows, 0, 0),
        .chunks = rows_int64(&rows, 0, 1),
        .retries = rows_int64(&rows, 0, 2),
        .counts = {rows_int64(&rows, 0, 3), rows_int64(&rows, 0, 4), rows_int64(&rows, 0, 5),
                   rows_int64(&rows, 0, 6)},
    };
    return true;
}

/* -------------------------------------------------------------------------------------------------------
 * one chunk */

/*
 * What the job wants, and the lowest open span that nobody has; last the end of the log. The span's
 * columns are NULL when there is none. $1 = job, $2 = phase.
 */
static const char TAKE_SPAN[] =
    "SELECT j.wanted, j.settings_version, s.number, s.cursor, s.hi,\n"
    "       pg_current_wal_insert_lsn() - '0/0'::pg_lsn\n"
    "  FROM pghaul.job AS j\n"
    "  LEFT JOIN LATERAL (SELECT number, cursor, hi FROM pghaul.span\n"
    "                      WHERE job = j.id AND phase = $2 AND state = 'open'\n"
    "                      ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED) AS s ON true\n"
    " WHERE j.id = $1::bigint";

/*
 * $1 = job, $2 = phase, $3 = number, $4 = cursor, $5 = last, $6 = rows, $7 = bytes, then counts.
 * One row: the end of the log after the chunk's work.
 */
static const char MOVE_CURSOR[] =
    "UPDATE pghaul.span\n"
    "   SET cursor = $4::text[], state = CASE WHEN $5::boolean THEN 'done' ELSE 'open' END,\n"
    "       rows = rows + $6::bigint, bytes = bytes + $7::bigint, chunks = chunks + 1,\n"
    "       written = written + $8::bigint, later = later + $9::bigint,\n"
    "       refused = refused + $10::bigint, skipped = skipped + $11::bigint\n"
    " WHERE job = $1::bigint AND phase = $2 AND number = $3::int\n"
    "RETURNING pg_current_wal_insert_lsn() - '0/0'::pg_lsn";

/* Is any span open, taken or not? The answer to "nothing to take": wait, or be done. */
static bool spans_left(struct worker *worker, bool *left, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(worker->session, &rows,
                       "SELECT EXISTS (SELECT FROM pghaul.span\n"
                       "                WHERE job = $1::bigint AND phase = $2 AND state = 'open')",
                       PARAMS(NUMBER(worker->run->job.id), worker->walk->phase), error))
        return false;
    *left = rows_bool(&rows, 0, 0);
    return true;
}

/*
 * The open span with the most left, if that is more than $3, whoever has it. Its row lock is
 * somebody's lease: waiting for it outlasts a chunk (F25), which is what an idle worker has time
 * for.
 */
static const char LARGEST_SPAN[] = "SELECT number FROM pghaul.span\n"
                                   " WHERE job = $1::bigint AND phase = $2 AND state = 'open' AND "
                                   "hi[1]::bigint - cursor[1]::bigint > $3::bigint\n"
                                   " ORDER BY hi[1]::bigint - cursor[1]::bigint DESC LIMIT 1";

/* $1 = job, $2 = phase, $3 = number, $4 = least that must be left. The upper half becomes a span of
 * its own. */
static const char SPLIT_SPAN[] =
    "WITH halved AS (\n"
    "    SELECT cursor, hi, (cursor[1]::bigint + hi[1]::bigint + 1) / 2 AS middle FROM "
    "pghaul.span\n"
    "     WHERE job = $1::bigint AND phase = $2 AND number = $3::int AND state = 'open'\n"
    "       AND hi[1]::bigint - cursor[1]::bigint > $4::bigint FOR UPDATE),\n"
    "lower AS (\n"
    "    UPDATE pghaul.span AS s SET hi = ARRAY[h.middle::text] FROM halved AS h\n"
    "     WHERE s.job = $1::bigint AND s.phase = $2 AND s.number = $3::int)\n"
    "INSERT INTO pghaul.span (job, phase, number, lo, hi, cursor)\n"
    "SELECT $1::bigint, $2, (SELECT max(number) + 1 FROM pghaul.span WHERE job = $1::bigint AND "
    "phase = $2),\n"
    "       ARRAY[middle::text], hi, ARRAY[middle::text] FROM halved";

/*
 * Another worker may be cutting at the same moment: the new numbers collide, one of them fails, and
 * nothing is lost. A statement that waited for the row sees the cursor as the chunk left it: FOR
 * UPDATE reads the newest version.
 */
static bool split_largest(struct worker *worker, struct error *error)
{
    ROWS_AUTO rows = {0};
    const char *job = NUMBER(worker->run->job.id);
    int64_t least = 2 * worker->size.units;

    if (!session_query(worker->session, &rows, LARGEST_SPAN,
                       PARAMS(job, worker->walk->phase, NUMBER(least)), error))
        return false;
    if (rows_count(&rows) == 0)
        return true;
    if (session_begin(worker->session, error) &&
        session_set(worker->session, "lock_timeout", NUMBER(worker->settings.chunk_time_ms * 10),
                    true, error) &&
        session_execute(worker->session, SPLIT_SPAN,
                        PARAMS(job, worker->walk->phase, rows_text(&rows, 0, 0), NUMBER(least)),
                        NULL, error) &&
        session_commit(worker->session, error))
        return true;
    session_rollback(worker->session);
    return error->code == ERROR_LOCK || strcmp(error->sqlstate, SQLSTATE_UNIQUE_VIOLATION) == 0;
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

/* The chunk's work in the open transaction, from the bound to the cursor. `taken` is the row of
 * TAKE_SPAN. */
static bool work_on(struct worker *worker, const struct rows *taken, struct pace_chunk *done,
                    struct chunk_measure *measure, struct error *error)
{
    const char *span = rows_text(taken, 0, 2);
    ROWS_AUTO bound = {0};
    ROWS_AUTO moved = {0};
    struct walk_chunk chunk = {
        .session = worker->session,
        .span = (int)rows_int64(taken, 0, 2),
        .from = rows_text(taken, 0, 3),
        .settings = &worker->settings,
    };

    if (!session_query(worker->session, &bound, worker->walk->bound_sql,
                       PARAMS(chunk.from, rows_text(taken, 0, 4), NUMBER(worker->size.units)),
                       error))
        return false;
    chunk.to = rows_text(&bound, 0, 0);
    chunk.last = rows_bool(&bound, 0, 1);
    chunk.units = rows_int64(&bound, 0, 2);
    if (!worker->walk->chunk(&chunk, worker->walk->work, error))
        return false;
    measure->units = chunk.units;
    measure->bytes = chunk.bytes;
    if (!session_query(worker->session, &moved, MOVE_CURSOR,
                       PARAMS(NUMBER(worker->run->job.id), worker->walk->phase, span, chunk.to,
                              chunk.last ? "true" : "false", NUMBER(chunk.rows),
                              NUMBER(chunk.bytes), NUMBER(chunk.counts.written),
                              NUMBER(chunk.counts.later), NUMBER(chunk.counts.refused),
                              NUMBER(chunk.counts.skipped)),
                       error) ||
        !session_commit(worker->session, error))
        return false;
    done->bytes = chunk.bytes;
    done->rows = chunk.rows;
    done->position = rows_count(&moved) > 0 ? rows_int64(&moved, 0, 0) : 0;
    done->grown = done->position - rows_int64(taken, 0, 5);
    progress_add(worker->run->progress, chunk.rows);
    return true;
}

/* Nothing is waited for to be flushed: see walk.h. */
static const char BEGIN_CHUNK[] = SESSION_BEGIN "; SET LOCAL synchronous_commit = off";

static void note_longest(atomic_llong *longest_ms, long long ms)
{
    long long known = longest_ms == NULL ? ms : atomic_load(longest_ms);

    while (ms > known && !atomic_compare_exchange_weak(longest_ms, &known, ms))
        ;
}

/* What a chunk should take. */
static int64_t chunk_ms(const struct worker *worker)
{
    int64_t max_ms = worker->walk->chunk_ms_max;
    int64_t most_ms = max_ms > 0 && worker->settings.chunk_time_ms > max_ms
                          ? max_ms
                          : worker->settings.chunk_time_ms;

    return worker->walk->urgent ? most_ms : worker->run->pace->chunk_ms(worker->run->pace, most_ms);
}

/*
 * Does what the job wants: true in *obeyed when that is not to work, and what it is instead in
 * *turn. Takes over settings that were changed.
 */
static bool obey(struct worker *worker, const char *wanted, int64_t version, bool *obeyed,
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

/* A chunk, from BEGIN to COMMIT. TURN_DONE is the only turn that wrote something. */
static bool take_turn(struct worker *worker, struct pace_chunk *done, enum turn *turn,
                      struct error *error)
{
    int64_t start_ms = clock_ms();
    ROWS_AUTO taken = {0};
    struct chunk_measure measure = {0};
    bool obeyed;

    if (!session_run(worker->session, BEGIN_CHUNK, error) ||
        !session_query(worker->session, &taken, TAKE_SPAN,
                       PARAMS(NUMBER(worker->run->job.id), worker->walk->phase), error) ||
        !obey(worker, rows_text(&taken, 0, 0), rows_int64(&taken, 0, 1), &obeyed, turn, error))
        return false;
    if (obeyed) {
        session_rollback(worker->session);
        return true;
    }
    if (rows_text(&taken, 0, 2) == NULL) {
        bool left = false;

        session_rollback(worker->session);
        if (!spans_left(worker, &left, error))
            return false;
        *turn = left ? TURN_IDLE : TURN_END;
        return !left || !worker->walk->numbered || split_largest(worker, error);
    }
    if (!work_on(worker, &taken, done, &measure, error))
        return false;
    measure.elapsed_ms = done->busy_ms = clock_ms() - start_ms;
    note_longest(worker->walk->longest_ms, measure.elapsed_ms);
    chunk_size_done(&worker->size, &measure, chunk_ms(worker), worker->settings.chunk_wal_bytes);
    *turn = TURN_DONE;
    return true;
}

/* ------------------------------------------------------------------------------------------------------
 * one worker */

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

/* Does the job want something else than what this worker knows? The next turn sees what it is. */
static bool wanted_otherwise(struct worker *worker)
{
    ROWS_AUTO rows = {0};
    struct error ignored = {0};

    return !session_query(worker->session, &rows,
                          "SELECT wanted <> 'run' OR settings_version <> $2::int\n"
                          "  FROM pghaul.job WHERE id = $1::bigint",
                          PARAMS(NUMBER(worker->run->job.id), NUMBER(worker->settings_version)),
                          &ignored) ||
           rows_bool(&rows, 0, 0);
}

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
    return session_query(worker->session, &rows,
                         "SELECT wanted, settings_version FROM pghaul.job WHERE id = $1::bigint",
                         PARAMS(NUMBER(worker->run->job.id)), error) &&
           obey(worker, rows_text(&rows, 0, 0), rows_int64(&rows, 0, 1), &obeyed, turn, error);
}

/* The chunk that the pace let go: it hears how it went, whatever happened. */
static bool paced_turn(struct worker *worker, enum turn *turn, struct error *error)
{
    struct pace *pace = worker->run->pace;
    struct pace_chunk done = {.expected_bytes = worker->wrote_bytes};
    bool ok = take_turn(worker, &done, turn, error);

    pace->done(pace, &done);
    if (!ok || *turn != TURN_DONE)
        return ok;
    worker->wrote_bytes = done.bytes > 0 ? done.bytes : done.grown;
    worker->rested_ms = clock_ms();
    return true;
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

/* Until the end, a failure, or a stop. */
/* False in *go: the turn is another time. */
static bool may_go(struct worker *worker, bool *go, struct error *error)
{
    const struct walk *walk = worker->walk;
    int64_t now_ms = clock_ms();
    int64_t wait_ms = 0;

    *go = true;
    if (walk->hold == NULL || now_ms - worker->held_ms < HOLD_EVERY_MS)
        return true;
    worker->held_ms = now_ms;
    if (!walk->hold(worker->session, &worker->settings, walk->work, &wait_ms, error))
        return false;
    if (wait_ms > 0 && !stop_sleep_ms(worker->run->stop, wait_ms, error))
        return false;
    *go = wait_ms == 0 || wanted_otherwise(worker);
    return true;
}

/* A chunk, if the session lives and nothing holds us. */
static bool session_turn(struct worker *worker, enum turn *turn, struct error *error)
{
    struct pace *pace = worker->run->pace;
    int64_t wait_ms;
    bool go;

    if ((!session_alive(worker->session) && !open_session(worker, error)) ||
        !may_go(worker, &go, error))
        return false;
    *turn = TURN_HELD;
    if (!go)
        return true;
    wait_ms = pace->ask(pace, &(struct pace_ask){.expected_bytes = worker->wrote_bytes,
                                                 .rested_ms = clock_ms() - worker->rested_ms,
                                                 .urgent = worker->walk->urgent});
    return wait_ms > 0 ? rest(worker, wait_ms, turn, error) : paced_turn(worker, turn, error);
}

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

static bool worker_run(struct crew *crew, int member, void *arg, struct error *error)
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

static void cancel_workers(void *arg)
{
    const struct walk_shared *shared = arg;

    if (shared->run->connect.cancel_list != NULL)
        cancel_list_cancel_all(shared->run->connect.cancel_list);
}

bool walk_run(struct run *run, const struct walk *walk, struct error *error)
{
    int workers = walk->workers > 0 ? walk->workers : (int)run->job.settings.workers;
    struct walk_shared shared = {.run = run, .walk = walk, .workers = workers};
    struct crew_work crew_work = {.run = worker_run, .cancel = cancel_workers, .arg = &shared};

    return crew_run(workers, &crew_work, error);
}

/* ------------------------------------------------------------------------------------------------------
 * printed */

void walk_print_plan(int64_t job, const char *phase, const char *sql, struct text *script)
{
    TEXT_AUTO insert = {0};

    insert_spans_sql(job, phase, sql, &insert);
    sql_note(script, "the pieces, in the transaction that starts the phase");
    sql_add(script, FORGET_SPANS);
    sql_add(script, text_string(&insert));
}

void walk_print_chunk(const char *bound_sql, const char *chunk_sql, struct text *script)
{
    sql_note(script, "for each chunk, by each worker: a transaction");
    sql_add(script, BEGIN_CHUNK);
    sql_add(script, TAKE_SPAN);
    sql_add(script, bound_sql);
    sql_add(script, chunk_sql);
    sql_add(script, MOVE_CURSOR);
    sql_add(script, SESSION_COMMIT);
}
