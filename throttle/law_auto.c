/*
 * Law "auto": as fast as the limits allow, aimed at half of them.
 *
 *     replicas' reports ----> capacity, backlog --.
 *     log, our part of it --> foreign rate -------+--> bytes a second --.
 *                             limit.wal-rate -----'                     +--> the less of the two,
 *     readings of load -----> level ------------------> workers, rests -'    and its reason
 *     blocked-by-us --------> chunks of a tenth, at once
 *
 * Why the flow of log is stable. A backlog grows by what is written and shrinks by what is
 * replayed: an integrator. What we add to the other two is under our control, so
 *
 *     rate = capacity - foreign + (B* - backlog) / T + integral
 *
 * leaves d(B* - backlog)/dt = -(B* - backlog) / T: exponential, without overshoot, if capacity and
 * foreign rate are right (feed-forward), and a constant error of theirs is what the integral is
 * for. What comes between a decision and its effect is D: up to 1 s until the next tick, half a
 * chunk, the network, and half of the mean of the foreign rate; 2 to 3 s. A proportional controller
 * of an integrator with dead time is stable for D / T < pi / 2, and does not overshoot for D / T <
 * 1 / e. Skogestad's rules for an integrating process ("Simple analytic rules for model reduction
 * and PID controller tuning", J. Process Control 13, 2003) with a wanted time of D say T = 2 D and
 * an integral time of 8 D: 6 s and 24 s for 3 s. The integral is bounded to a fifth of the
 * capacity, and stands still (conditional integration) while a gate is closed, and where it would
 * grow although the rate is not what limits, or while the capacity itself is being tried.
 *
 * Why load is stable: law_auto_load.c moves a logarithm by GAIN times the logarithm of the ratio,
 * at most once in a dead time; whatever is felt grows at most in proportion to what we do, but near
 * saturation. So one step removes GAIN of the error, or less, and steps do not overlap.
 *
 * Dead time is explicit: one decision per second, or per two chunks if these take longer, at most
 * LONGEST_US; at once when a replica is close to its limit, and when somebody waits for a lock of
 * ours.
 */
#include <math.h>

#include "throttle/law_auto_parts.h"

static const int64_t SHORTEST_US = 1000000, CLOSE_US = 200000, LONGEST_US = 5000000;
/* Of the means of chunks: of the last ten, about. */
static const double CHUNK_MEAN = 0.1;
/* All chunks in flight together should write no more than this part of a replica's limit: that is
 * by how much it may be passed. While the rate limits, less, and no more than is allowed in so many
 * seconds: what is measured between two of them would be their lumps; */
static const double CHUNK_PART = 1.0 / 4, CHUNK_PART_BINDS = 1.0 / 8, CHUNK_RATE_S = 1;
/* .. nor take less than this, where its own cost would be most of it. */
static const int64_t CHUNK_LEAST_MS = 20;
static const double GIVE_WAY = 0.1, GIVE_WAY_BACK = 1.15;
/* A worker more than the rate needs so much of those there are; a worker less. */
static const double WORKER_MORE = 0.9, WORKER_LESS = 0.7;

static void take_config(struct auto_state *law, const struct law_config *config)
{
    law->config = *config;
    if (law->config.workers < 1)
        law->config.workers = 1;
    if (law->config.chunk_ms < 1)
        law->config.chunk_ms = 1;
    law->workers = law->config.workers;
}

static void auto_init(void *state, const struct law_config *config, int64_t now_us)
{
    struct auto_state *law = state;

    (void)now_us;
    *law = (struct auto_state){.give_way = 1};
    take_config(law, config);
    auto_flow_init(&law->flow);
    auto_load_init(&law->load, &law->config);
    law->decision = (struct law_decision){
        .bytes_per_second = INFINITY,
        .workers = law->config.workers,
        .chunk_ms = law->config.chunk_ms,
        .reason = -1,
    };
}

static void auto_chunk(void *state, const struct law_chunk *chunk, struct law_decision *decision)
{
    struct auto_work *work = &((struct auto_state *)state)->work;
    double part = work->seconds > 0 ? CHUNK_MEAN : 1;

    (void)decision;
    if (!(chunk->seconds > 0) || !isfinite(chunk->seconds) || !(chunk->bytes >= 0) ||
        !isfinite(chunk->bytes))
        return;
    work->seconds += (chunk->seconds - work->seconds) * part;
    work->bytes += (chunk->bytes - work->bytes) * part;
}

/* Somebody waits for a lock of ours: small chunks at once, and back slowly. */
static void give_way(struct auto_state *law, const struct law_input *input, double seconds)
{
    const struct reading *reading = &input->readings[SIGNAL_BLOCKED_BY_US];

    if (reading->state == READING_OK && reading->at_us != law->gave_us &&
        reading->value >= reading->limit) {
        law->gave_us = reading->at_us;
        law->give_way = GIVE_WAY;
        return;
    }
    law->give_way = fmin(1, law->give_way * pow(GIVE_WAY_BACK, seconds));
}

/* Bytes a second that one worker writes while it is busy; 0: unknown. */
static double worker_speed(const struct auto_state *law)
{
    return law->work.seconds > 0 ? law->work.bytes / law->work.seconds : 0;
}

/* As many as the rate can use; one more or less in a decision. */
static void choose_workers(struct auto_state *law, bool binds)
{
    double speed = worker_speed(law);
    double needed = binds && speed > 0 ? law->flow.rate / speed : INFINITY;

    if (law->workers < law->config.workers && needed > WORKER_MORE * law->workers)
        law->workers++;
    else if (law->workers > 1 && needed < WORKER_LESS * (law->workers - 1))
        law->workers--;
}

/* Bytes that all chunks in flight together may write; INFINITY: no matter. */
static double lump(const struct auto_flow *flow, bool binds)
{
    return binds ? fmin(flow->rate * CHUNK_RATE_S, flow->limit * CHUNK_PART_BINDS)
                 : flow->limit * CHUNK_PART;
}

static int64_t chunk_ms(const struct auto_state *law, int workers, bool binds)
{
    double most = (double)law->config.chunk_ms;
    double speed = worker_speed(law);
    double ms = most;

    if (speed > 0)
        ms = fmin(ms, lump(&law->flow, binds) / (speed * workers) * 1000);
    ms = fmin(ms, most * fmax(law->load.part, 0.1));
    ms = fmax(ms * law->give_way, fmin(CHUNK_LEAST_MS, most * law->give_way));
    return (int64_t)fmax(1, floor(ms));
}

/* Of each worker after each chunk, in parts of its time, so that `part` of all workers is busy. */
static double rest_part(const struct auto_state *law, int workers)
{
    double part = law->load.part * law->config.workers / workers;

    if (part >= 1)
        return 0;
    return 1 / part - 1;
}

/* The one thing that makes us slowest now. */
static int reason(const struct auto_state *law, bool binds)
{
    double by_load = law->load.part * law->config.workers * worker_speed(law);

    if (law->load.part < 1 && (!binds || by_load < law->flow.rate))
        return law->load.reason;
    if (binds)
        return law->flow.reason;
    return law->give_way < 1 ? SIGNAL_BLOCKED_BY_US : -1;
}

static void decide(struct auto_state *law, const struct law_input *input)
{
    struct law_decision *decision = &law->decision;
    double seconds = (double)(input->now_us - law->decided_us) / 1e6;
    bool binds;

    /* The first one; or the first after a pause, of which nothing follows. */
    if (law->decided_us == 0 || seconds > (double)LONGEST_US / 1e6)
        seconds = 0;

    auto_flow_decide(&law->flow, input, seconds);
    binds = auto_flow_binds(&law->flow, input->now_us);
    auto_load_decide(&law->load, &law->config, input, binds);
    choose_workers(law, binds);
    decision->workers = law->workers;
    if (law->load.active && law->load.workers < decision->workers)
        decision->workers = law->load.workers;
    decision->bytes_per_second = law->flow.rate;
    decision->chunk_ms = chunk_ms(law, decision->workers, binds);
    decision->rest_part = rest_part(law, decision->workers);
    decision->reason = reason(law, binds);
    law->decided_us = input->now_us;
}

static bool is_due(const struct auto_state *law, const struct law_input *input)
{
    int64_t elapsed_us = input->now_us - law->decided_us;
    int64_t two_chunks_us = (int64_t)fmin(law->work.seconds * 2e6, (double)LONGEST_US);

    if (law->decided_us == 0)
        return true;
    if (auto_flow_close(&law->flow, input))
        return elapsed_us >= CLOSE_US;
    return elapsed_us >= (two_chunks_us > SHORTEST_US ? two_chunks_us : SHORTEST_US);
}

static void auto_tick(void *state, const struct law_input *input, struct law_decision *decision)
{
    struct auto_state *law = state;
    double seconds = (double)(input->now_us - law->tick_us) / 1e6;
    bool gave_way = law->give_way < 1;

    if (law->tick_us == 0 || seconds > 0) {
        auto_flow_see(&law->flow, input);
        give_way(law, input, law->tick_us == 0 ? 0 : seconds);
        law->tick_us = input->now_us;
        if (!input->closed && (is_due(law, input) || (law->give_way < 1 && !gave_way)))
            decide(law, input);
    }
    *decision = law->decision;
}

/* What others feel depends on how many of us are busy, not on how many may be. */
static void auto_configure(void *state, const struct law_config *config)
{
    struct auto_state *law = state;
    struct auto_load *load = &law->load;
    double busy = load->level * law->config.workers;

    take_config(law, config);
    load->level = fmin(1, busy / law->config.workers);
    if (load->workers > law->config.workers)
        load->workers = law->config.workers;
}

const struct law law_auto = {
    .name = "auto",
    .what = "as fast as the limits allow, aimed at half of them",
    .state_size = sizeof(struct auto_state),
    .init = auto_init,
    .configure = auto_configure,
    .tick = auto_tick,
    .chunk = auto_chunk,
};
