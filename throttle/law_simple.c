/*
 * The two laws that look at nothing: `off` never waits, `fixed` waits the same time after every
 * chunk.
 */
#include <math.h>

#include "throttle/law.h"

/* Both keep what they were told at the start. */
struct simple_state {
    struct law_config config;
};

static void simple_init(void *state, const struct law_config *config, int64_t now_us)
{
    (void)now_us;
    ((struct simple_state *)state)->config = *config;
}

static void decide(const struct law_config *config, double delay_seconds,
                   struct law_decision *decision)
{
    *decision = (struct law_decision){
        .bytes_per_second = INFINITY,
        .delay_seconds = delay_seconds,
        .workers = config->workers,
        .chunk_ms = config->chunk_ms,
        .reason = -1,
    };
}

static void off_tick(void *state, const struct law_input *input, struct law_decision *decision)
{
    (void)input;
    decide(&((struct simple_state *)state)->config, 0, decision);
}

static void fixed_tick(void *state, const struct law_input *input, struct law_decision *decision)
{
    const struct law_config *config = &((struct simple_state *)state)->config;

    (void)input;
    decide(config, (double)config->fixed_ms / 1000, decision);
}

const struct law law_off = {
    .name = "off",
    .what = "as fast as it can",
    .state_size = sizeof(struct simple_state),
    .init = simple_init,
    .tick = off_tick,
};

const struct law law_fixed = {
    .name = "fixed",
    .what = "the same delay after every chunk",
    .state_size = sizeof(struct simple_state),
    .init = simple_init,
    .tick = fixed_tick,
};
