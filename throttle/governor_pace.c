#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "throttle/governor_parts.h"

enum {
    AGAIN_MS = 20,    /* something should have been read by then */
    CLOSED_MS = 100,  /* a gate is closed: looked at each tick */
    WINDOW_MS = 1000, /* the window is */
};

static struct governor *governor_of(struct pace *pace)
{
    return (struct governor *)pace;
}

static void look_soon(struct governor *governor)
{
    governor->measure = true;
    pthread_cond_signal(&governor->changed);
}

/* -------------------------------------------------------------------------------------- chunks */

/* Milliseconds until the law's rate allows one; 0: it does. */
static int64_t rate_wait_ms(struct governor *governor, int64_t now_us)
{
    int64_t wait_us = bucket_wait_us(&governor->bucket, now_us);

    if (wait_us == 0)
        return 0;
    governor->work.wanted = true;
    return wait_us > CLOSED_MS * INT64_C(1000) ? CLOSED_MS : wait_us / 1000 + 1;
}

/* Until gates and credit allow one, too. */
static int64_t auto_wait_ms(struct governor *governor, const struct pace_ask *asked, int64_t now_us)
{
    if (governor->read_us == 0 || (governor->listening_us > 0 && !asked->urgent))
        return AGAIN_MS;
    if (now_us - governor->read_us > SIGNAL_STALE_US || gates_closed(&governor->gates) >= 0) {
        if (governor->gates.closed[SIGNAL_REPLICA_LAG_BYTES] ||
            governor->gates.closed[SIGNAL_REPLICA_LAG_TIME])
            look_soon(governor);
        return CLOSED_MS;
    }
    if (governor_gives_way(governor))
        return CLOSED_MS;
    if (!credit_allows(&governor->credit, (double)asked->expected_bytes)) {
        governor->work.wanted = true;
        look_soon(governor);
        return AGAIN_MS;
    }
    return asked->urgent ? 0 : rate_wait_ms(governor, now_us);
}

static int64_t wait_ms(struct governor *governor, const struct pace_ask *asked, int64_t now_us)
{
    bool hurried = asked->urgent && governor_is_auto(governor);
    double rest_seconds = law_rest_seconds(&governor->decision, (double)asked->busy_ms / 1000);
    int64_t rest_ms = hurried ? 0 : (int64_t)(rest_seconds * 1000) - asked->rested_ms;
    int64_t ms;

    if (!governor_in_window(governor, now_us, 0))
        return WINDOW_MS;
    ms = governor_is_auto(governor) ? auto_wait_ms(governor, asked, now_us)
                                    : rate_wait_ms(governor, now_us);
    return ms > rest_ms ? ms : rest_ms > 0 ? rest_ms : 0;
}

static void begin_work(struct governor *governor, int64_t now_us)
{
    if (governor->work.in_flight++ == 0)
        governor->work.busy_since_us = now_us;
}

static void end_work(struct governor *governor, int64_t now_us)
{
    if (--governor->work.in_flight > 0)
        return;
    governor->work.busy_us += now_us - governor->work.busy_since_us;
    governor->work.idle_since_us = now_us;
}

static int64_t ask(struct pace *pace, const struct pace_ask *asked)
{
    struct governor *governor = governor_of(pace);
    int64_t now_us = clock_us();
    int64_t ms;

    pthread_mutex_lock(&governor->mutex);
    /* A worker that rests looks itself what the job wants: it hears of a pause or an abort there.
     */
    if (governor->aborting && asked->urgent)
        ms = 0; /* it may be nobody that looks while it waits */
    else
        ms = governor->paused || governor->aborting ? CLOSED_MS : wait_ms(governor, asked, now_us);
    if (ms == 0) {
        begin_work(governor, now_us);
        credit_begin(&governor->credit, (double)asked->expected_bytes);
        bucket_charge(&governor->bucket, (double)asked->expected_bytes, now_us);
    }
    pthread_mutex_unlock(&governor->mutex);
    return ms;
}

/*
 * What a chunk wrote, of the log: as its work estimated it, corrected by what such estimates turned
 * out to be, and no more than the log grew meanwhile. Without an estimate, its part of that growth.
 */
static double charge_of(const struct governor *governor, const struct pace_chunk *chunk)
{
    double most = chunk->grown > 0 ? (double)chunk->grown : 0;
    double bytes = (double)chunk->bytes * governor->charge;

    if (chunk->bytes <= 0)
        return most / (governor->work.in_flight > 0 ? governor->work.in_flight : 1);
    return bytes < most ? bytes : most;
}

static void learn_from(struct governor *governor, const struct pace_chunk *chunk, double charged,
                       int64_t now_us)
{
    struct governor_work *work = &governor->work;
    double row_ms = chunk->rows > 0 ? (double)chunk->busy_ms / (double)chunk->rows : 0;
    struct law_chunk learned = {
        .now_us = now_us,
        .seconds = (double)chunk->busy_ms / 1000,
        .bytes = charged,
        .rows = chunk->rows,
    };

    work->rows += chunk->rows;
    work->bytes += (double)chunk->bytes;
    work->ours += charged;
    if (row_ms > 0)
        work->row_ms += (row_ms - work->row_ms) * (work->row_ms == 0 ? 1 : 0.2);
    credit_seen(&governor->credit, (double)chunk->position);
    if (governor->law->chunk != NULL)
        governor->law->chunk(governor->law_state, &learned, &governor->decision);
    if (credit_wants_measure(&governor->credit))
        look_soon(governor);
}

static void done(struct pace *pace, const struct pace_chunk *chunk)
{
    struct governor *governor = governor_of(pace);
    int64_t now_us = clock_us();
    double charged;

    pthread_mutex_lock(&governor->mutex);
    credit_end(&governor->credit, (double)chunk->expected_bytes);
    charged = chunk->position > 0 ? charge_of(governor, chunk) : 0;
    bucket_charge(&governor->bucket, charged - (double)chunk->expected_bytes, now_us);
    if (chunk->position > 0)
        learn_from(governor, chunk, charged, now_us);
    end_work(governor, now_us);
    pthread_mutex_unlock(&governor->mutex);
}

static int workers(struct pace *pace, int most)
{
    struct governor *governor = governor_of(pace);
    int wanted;

    pthread_mutex_lock(&governor->mutex);
    wanted = governor->decision.workers;
    pthread_mutex_unlock(&governor->mutex);
    return wanted < 1 ? 1 : wanted < most ? wanted : most;
}

static int64_t chunk_ms(struct pace *pace, int64_t most)
{
    struct governor *governor = governor_of(pace);
    const struct law_decision *decision = &governor->decision;
    int64_t ms;

    pthread_mutex_lock(&governor->mutex);
    ms = decision->chunk_ms;
    if (decision->chunk_rows > 0 && governor->work.row_ms > 0)
        ms = (int64_t)((double)decision->chunk_rows * governor->work.row_ms);
    pthread_mutex_unlock(&governor->mutex);
    return ms < 1 ? 1 : ms < most ? ms : most;
}

/* ------------------------------------------------------------------------------------- unpaced */

static bool has_replicas(const struct governor *governor)
{
    return governor->view.replica_count > 0;
}

static bool unpaced_may_go(struct governor *governor, int64_t now_us)
{
    if (!governor_is_auto(governor))
        return true;
    if (governor->read_us == 0 || now_us - governor->read_us > SIGNAL_STALE_US ||
        gates_closed(&governor->gates) >= 0)
        return false;
    if (!governor_owes_little(governor)) {
        governor->unpaced.owed_us = now_us;
        look_soon(governor);
        return false;
    }
    if (!has_replicas(governor))
        return true;
    /* One at a time, of all processes: the thread asks for the turn. */
    governor->unpaced.turn_asked_us = now_us;
    if (!governor->unpaced.our_turn)
        look_soon(governor);
    return governor->unpaced.our_turn && governor->unpaced.running == 0;
}

static int64_t ask_unpaced(struct pace *pace, const struct pace_unpaced *unpaced)
{
    struct governor *governor = governor_of(pace);
    int64_t now_us = clock_us();
    int64_t ms = 0;

    pthread_mutex_lock(&governor->mutex);
    governor->unpaced.asked_us = now_us;
    governor->unpaced.wait_seconds = unpaced->seconds;
    snprintf(governor->unpaced.waits, sizeof(governor->unpaced.waits), "%s", unpaced->what);
    if (governor->aborting)
        ms = PACE_ABORTED;
    else if (governor->paused || !governor_in_window(governor, now_us, unpaced->seconds))
        ms = WINDOW_MS;
    else if (!unpaced_may_go(governor, now_us))
        ms = CLOSED_MS;
    if (ms == 0) {
        governor->unpaced.running++;
        governor->unpaced.asked_us = governor->unpaced.owed_us = 0;
        governor->unpaced.wal_bytes = unpaced->wal_bytes;
        snprintf(governor->unpaced.what, sizeof(governor->unpaced.what), "%s", unpaced->what);
        begin_work(governor, now_us);
    }
    governor_tell(governor, now_us);
    pthread_mutex_unlock(&governor->mutex);
    return ms;
}

static void done_unpaced(struct pace *pace)
{
    struct governor *governor = governor_of(pace);
    int64_t now_us = clock_us();

    pthread_mutex_lock(&governor->mutex);
    end_work(governor, now_us);
    governor->unpaced.running--;
    if (governor->unpaced.our_turn)
        look_soon(governor);
    governor->unpaced.turn_asked_us = 0;
    governor_tell(governor, now_us);
    pthread_mutex_unlock(&governor->mutex);
}

/* ---------------------------------------------------------------------------------- the others */

static int64_t ask_phase(struct pace *pace)
{
    struct governor *governor = governor_of(pace);
    int64_t now_us = clock_us();
    int64_t ms = 0;

    pthread_mutex_lock(&governor->mutex);
    if (governor->aborting)
        ms = PACE_ABORTED;
    else if (!governor_in_window(governor, now_us, 0))
        ms = WINDOW_MS;
    governor_tell(governor, now_us);
    pthread_mutex_unlock(&governor->mutex);
    return ms;
}

static void configure(struct pace *pace, const struct settings *settings)
{
    struct governor *governor = governor_of(pace);
    struct error error = {0};

    pthread_mutex_lock(&governor->mutex);
    if (!governor_configure(governor, settings, clock_us(), &error))
        log_warning(governor->log, "the policy stays %s: %s", governor->law->name, error.message);
    governor->look = true;
    pthread_cond_signal(&governor->changed);
    pthread_mutex_unlock(&governor->mutex);
}

void governor_pace_init(struct governor *governor)
{
    governor->pace = (struct pace){
        .ask = ask,
        .done = done,
        .workers = workers,
        .chunk_ms = chunk_ms,
        .ask_unpaced = ask_unpaced,
        .done_unpaced = done_unpaced,
        .ask_phase = ask_phase,
        .configure = configure,
    };
}
