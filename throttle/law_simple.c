/*
 * The two laws that look at nothing: `off` never waits, `fixed` waits the same time after every
 * chunk. And how a law is found by its name or by a policy.
 */
#include <math.h>
#include <string.h>

#include "engine/job/settings.h"
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

/* A part of a chunk that was stalled is no longer than this. */
static const double REST_MOST_S = 5;

double law_rest_seconds(const struct law_decision *decision, double chunk_seconds)
{
    return fmax(decision->delay_seconds, fmin(REST_MOST_S, decision->rest_part * chunk_seconds));
}

const struct law *const law_list[] = {&law_auto, &law_fixed, &law_off, NULL};

const struct law *law_find(const struct law *const *list, const char *name)
{
    for (; *list != NULL; list++)
        if (strcmp((*list)->name, name) == 0)
            return *list;
    return NULL;
}

const struct law *law_of_policy(const char *policy, const struct law *const *more,
                                int64_t *fixed_ms, struct error *error)
{
    static const char FIXED[] = "fixed=", AMONG_MORE[] = "law=";
    const struct law *law;

    *fixed_ms = 0;
    if (strncmp(policy, AMONG_MORE, strlen(AMONG_MORE)) == 0) {
        law = more != NULL ? law_find(more, policy + strlen(AMONG_MORE)) : NULL;
        if (law == NULL)
            error_set(error, ERROR_USAGE, "there is no policy \"%s\"", policy);
        return law;
    }
    if (strncmp(policy, FIXED, strlen(FIXED)) == 0 &&
        setting_parse_time(policy + strlen(FIXED), fixed_ms))
        return &law_fixed;
    return strcmp(policy, law_off.name) == 0 ? &law_off : &law_auto;
}

bool law_heeds_signals(const struct law *law)
{
    return law != &law_off && law != &law_fixed;
}
