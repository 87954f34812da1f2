#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/memory.h"
#include "throttle/governor_parts.h"

/* ------------------------------------------------------------------------------------ the policy
 */

static bool same_config(const struct law_config *one, const struct law_config *other)
{
    return one->workers == other->workers && one->chunk_ms == other->chunk_ms &&
           one->fixed_ms == other->fixed_ms && one->chunk_wal_max == other->chunk_wal_max;
}

/* A law that knows nothing yet: as fast as the settings say, which the gates still hold. */
static void begin_law(struct governor *governor, const struct law *law,
                      const struct law_config *config, int64_t now_us)
{
    governor->law = law;
    governor->config = *config;
    free(governor->law_state);
    governor->law_state = memory_zero(1, law->state_size);
    law->init(governor->law_state, config, now_us);
    governor->decision = (struct law_decision){
        .bytes_per_second = INFINITY,
        .delay_seconds = (double)config->fixed_ms / 1000,
        .workers = config->workers,
        .chunk_ms = config->chunk_ms,
        .reason = -1,
    };
    bucket_init(&governor->bucket, now_us);
}

/* What it has learned of the server stays true. */
static void change_law(struct governor *governor, const struct law_config *config)
{
    governor->config = *config;
    governor->law->configure(governor->law_state, config);
    if (governor->decision.workers > config->workers)
        governor->decision.workers = config->workers;
    if (governor->decision.chunk_ms > config->chunk_ms)
        governor->decision.chunk_ms = config->chunk_ms;
}

static bool set_window(struct governor *governor, const char *text, struct error *error)
{
    struct window window;
    bool has = governor->windowed && text[0] != '\0';

    if (has && !window_parse(text, &window, error))
        return false;
    if (has != governor->has_window || strcmp(text, governor->settings.window) != 0)
        governor->window_us = 0;
    governor->has_window = has;
    if (has)
        governor->window = window;
    return true;
}

bool governor_configure(struct governor *governor, const struct settings *settings, int64_t now_us,
                        struct error *error)
{
    struct law_config config = {
        .workers = (int)settings->workers,
        .chunk_ms = settings->chunk_time_ms,
        .chunk_wal_max = settings->chunk_wal_bytes,
    };
    const struct law *law =
        law_of_policy(settings->policy, governor->laws, &config.fixed_ms, error);

    if (law == NULL || !set_window(governor, settings->window, error))
        return false;
    if (law == governor->law && law->configure != NULL)
        change_law(governor, &config);
    else if (law != governor->law || !same_config(&config, &governor->config))
        begin_law(governor, law, &config, now_us);
    governor->settings = *settings;
    return true;
}

bool governor_is_auto(const struct governor *governor)
{
    return law_heeds_signals(governor->law) && !governor->law->bare;
}

/* ---------------------------------------------------------------------------------- the decision
 */

/* The replica that could be past the limit first. */
static void measure_credit(struct governor *governor)
{
    const struct probe_view *view = &governor->view;
    const struct reading *lag = &view->readings[SIGNAL_REPLICA_LAG_BYTES];
    double worst = 0;

    if (lag->state != READING_OK || !governor_is_auto(governor)) {
        credit_unlimited(&governor->credit);
        return;
    }
    for (int i = 0; i < view->replica_count; i++)
        if (view->replicas[i].backlog > worst)
            worst = view->replicas[i].backlog;
    credit_measure(&governor->credit, worst, lag->limit, view->wal);
}

/*
 * What the work says it wrote against what the log grew: while nobody else writes, the two are the
 * same thing, and their ratio corrects the estimates of later. About once a second.
 */
static void learn_charge(struct governor *governor, int64_t now_us)
{
    double grown = governor->view.wal - governor->charge_wal;
    double ratio;

    if (now_us - governor->charge_us < TICK_US * 4 / 5)
        return;
    if (governor->charge_us > 0 && !governor->view.foreign && !governor->share.others_write &&
        governor->work.bytes >= 1024 * 1024) {
        ratio = grown / governor->work.bytes;
        ratio = ratio < 0.1 ? 0.1 : ratio > 10 ? 10 : ratio;
        governor->charge += (ratio - governor->charge) * 0.3;
    }
    governor->charge_wal = governor->view.wal;
    governor->charge_us = now_us;
    governor->work.bytes = 0;
    governor->share.others_write = false;
}

/* Of the time since the law's last tick, the part in which something of ours was under way. */
static double busy_part(struct governor *governor, int64_t now_us)
{
    struct governor_work *work = &governor->work;
    double elapsed = (double)(now_us - governor->law_us);
    double busy;

    if (work->in_flight > 0) {
        work->busy_us += now_us - work->busy_since_us;
        work->busy_since_us = now_us;
    }
    busy = (double)work->busy_us;
    work->busy_us = 0;
    return elapsed > 0 ? busy / elapsed : 0;
}

static void ask_law(struct governor *governor, int64_t now_us)
{
    const struct probe_view *view = &governor->view;
    struct law_input input = {
        .now_us = now_us,
        .readings = view->readings,
        .replicas = view->replicas,
        .replica_count = view->replica_count,
        .wal = view->wal,
        .ours = governor->work.ours,
        .others = governor->share.others,
        .share = governor->share.part,
        .foreign = view->foreign,
        .closed = (governor_is_auto(governor) && gates_closed(&governor->gates) >= 0) ||
                  governor->paused || !governor_in_window(governor, now_us, 0),
        .wants = governor->work.wanted,
        .idle = busy_part(governor, now_us) < 0.5,
    };

    governor->law->tick(governor->law_state, &input, &governor->decision);
    governor->law_us = now_us;
    governor->work.wanted = false;
    bucket_set_rate(&governor->bucket, governor->decision.bytes_per_second, now_us);
}

void governor_decide(struct governor *governor, int64_t now_us)
{
    gates_look(&governor->gates, governor->view.readings, now_us);
    measure_credit(governor);
    share_follow(&governor->share, governor->settings.priority, governor->view.peers,
                 governor->view.peer_count);
    learn_charge(governor, now_us);
    governor->wants = governor->work.wanted;
    ask_law(governor, now_us);
}

bool governor_in_window(const struct governor *governor, int64_t now_us, double seconds)
{
    double left = governor->window_state.seconds - (double)(now_us - governor->window_us) / 1e6;

    if (!governor->has_window)
        return true;
    /* Not asked yet, or what was said is over and could not be asked again. */
    return governor->window_us > 0 && governor->window_state.open && left > 0 && seconds <= left;
}

/* Others keep below half of it while one waits for it. */
static const double OWED_LITTLE = 1.0 / 4;

double governor_owed_part(const struct governor *governor)
{
    const struct credit *credit = &governor->credit;
    const struct reading *time = &governor->view.readings[SIGNAL_REPLICA_LAG_TIME];
    double bytes = credit->limited ? credit_owed(credit) / credit->limit : 0;
    double seconds = time->state == READING_OK ? time->value / time->limit : 0;

    return bytes > seconds ? bytes : seconds;
}

bool governor_owes_little(const struct governor *governor)
{
    return governor_owed_part(governor) < OWED_LITTLE;
}

bool governor_gives_way(const struct governor *governor)
{
    const struct share *share = &governor->share;

    for (int i = 0; i < share->count; i++)
        if (share->known[i].waits)
            return governor_owed_part(governor) >= OWED_LITTLE / 2;
    return false;
}
