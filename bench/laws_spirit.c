/*
 * Block's spirit: three things that do not know of each other.
 *
 *     chunk     pkg/table/dynamic_chunk_sizer.go: 16 MiB each. After more than ten chunks, rows are
 *               multiplied by target / p90, at most 1.5; one chunk of more than five times the
 *               target: a tenth at once. 1,000 rows at first, 10 to 100,000
 *     threads   pkg/autoscale: U, a running mean (0.3 for the new) of running sessions to cores,
 *               every 5 s. U < 0.4: one more; 0.4 .. 0.7: as it is; up to 1.0: one fewer; from 1.0
 *               on: half. Two turns between two changes the same way. Unknown load: 0.55, frozen
 *     lag       pkg/throttler: a gate, closed above the limit and when it cannot be read; whoever
 *               waited there for 60 s goes through with one chunk
 *
 * Running sessions are those of active-sessions, which leaves ours out, and ours: spirit counts its
 * own, too. Cores are that signal's limit / 1.5, as `-s cpus` makes it; with a limit relative to a
 * baseline the load is unknown. A chunk's bytes are those of log that it wrote, not of its rows in
 * memory.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/laws_look.h"

enum {
    ROWS_FIRST = 1000,
    ROWS_MIN = 10,
    ROWS_MAX = 100000,
    SAMPLES = 11,
    COOLDOWN_TURNS = 2,
};

static const double TARGET_BYTES = 16.0 * 1024 * 1024;
static const double LOAD_UNKNOWN = 0.55;

#define TURN_US (INT64_C(5) * 1000000)
#define WAIT_US (INT64_C(60) * 1000000)

struct spirit_state {
    struct law_config config;
    double rows;
    double samples[SAMPLES]; /* bytes of the chunks since the last change of size */
    int sample_count;
    double load; /* U; NAN: none yet */
    int64_t turn_us;
    int threads;
    int turns_since_up, turns_since_down;
    int64_t closed_us; /* since when the gate is closed; 0: open */
    bool one_through;
    int reason;
};

static void spirit_init(void *state, const struct law_config *config, int64_t now_us)
{
    *(struct spirit_state *)state = (struct spirit_state){.config = *config,
                                                          .rows = ROWS_FIRST,
                                                          .load = NAN,
                                                          .turn_us = now_us,
                                                          .threads = config->workers,
                                                          .turns_since_up = COOLDOWN_TURNS,
                                                          .turns_since_down = COOLDOWN_TURNS,
                                                          .reason = -1};
}

/* --------------------------------------------------------------------------------------- threads
 */

static double load_now(const struct spirit_state *spirit, const struct law_input *input)
{
    const struct reading *active = &input->readings[SIGNAL_ACTIVE_SESSIONS];

    if (active->state != READING_OK || !(active->limit > 0))
        return LOAD_UNKNOWN;
    return (active->value + spirit->threads) / (active->limit / 1.5);
}

static void change_threads(struct spirit_state *spirit)
{
    int wanted = spirit->threads;

    spirit->turns_since_up++;
    spirit->turns_since_down++;
    if (spirit->load < 0.4)
        wanted++;
    else if (spirit->load >= 1)
        wanted /= 2;
    else if (spirit->load > 0.7)
        wanted--;
    if (wanted < 1)
        wanted = 1;
    if (wanted > spirit->config.workers)
        wanted = spirit->config.workers;
    if (wanted > spirit->threads && spirit->turns_since_up > COOLDOWN_TURNS)
        spirit->turns_since_up = 0;
    else if (wanted < spirit->threads && spirit->turns_since_down > COOLDOWN_TURNS)
        spirit->turns_since_down = 0;
    else
        return;
    spirit->threads = wanted;
}

/* ------------------------------------------------------------------------------------------- lag
 */

static void look_at_gate(struct spirit_state *spirit, const struct law_input *input)
{
    struct law_look look;

    law_look(input, &look);
    if (look.lag <= 1 && !look.unreadable) {
        spirit->closed_us = 0;
        spirit->one_through = false;
        return;
    }
    spirit->reason = look.lag > 1 ? look.lag_reason : SIGNAL_REPLICAS_MISSING;
    if (spirit->closed_us == 0)
        spirit->closed_us = input->now_us;
    if (input->now_us - spirit->closed_us >= WAIT_US)
        spirit->one_through = true;
}

static void spirit_fill(const struct spirit_state *spirit, struct law_decision *decision)
{
    law_decide(&spirit->config, decision);
    decision->workers = spirit->threads;
    decision->chunk_rows = (int64_t)spirit->rows;
    if (spirit->closed_us != 0 && !spirit->one_through)
        law_decide_stop(decision, spirit->reason);
}

static void spirit_tick(void *state, const struct law_input *input, struct law_decision *decision)
{
    struct spirit_state *spirit = state;

    if (input->now_us - spirit->turn_us >= TURN_US) {
        double load = load_now(spirit, input);

        spirit->turn_us = input->now_us;
        spirit->load = isnan(spirit->load) ? load : 0.7 * spirit->load + 0.3 * load;
        change_threads(spirit);
    }
    look_at_gate(spirit, input);
    spirit_fill(spirit, decision);
}

/* ------------------------------------------------------------------------------------------ chunk
 */

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;

    return (a > b) - (a < b);
}

static void resize(struct spirit_state *spirit, double factor)
{
    spirit->rows = fmin(fmax(spirit->rows * factor, ROWS_MIN), ROWS_MAX);
    spirit->sample_count = 0;
}

static void spirit_chunk(void *state, const struct law_chunk *chunk, struct law_decision *decision)
{
    struct spirit_state *spirit = state;

    if (spirit->one_through) {
        spirit->one_through = false;
        spirit->closed_us = chunk->now_us;
    }
    if (chunk->bytes > 5 * TARGET_BYTES) {
        resize(spirit, 0.1);
    } else if (chunk->bytes > 0) {
        spirit->samples[spirit->sample_count++] = chunk->bytes;
        if (spirit->sample_count == SAMPLES) {
            double sorted[SAMPLES];

            memcpy(sorted, spirit->samples, sizeof(sorted));
            qsort(sorted, SAMPLES, sizeof(sorted[0]), compare_doubles);
            resize(spirit, fmin(TARGET_BYTES / sorted[SAMPLES * 9 / 10], 1.5));
        }
    }
    spirit_fill(spirit, decision);
}

const struct law bench_law_spirit = {
    .name = "spirit",
    .what = "Block: chunks of 16 MiB, threads by load, lag a gate",
    .state_size = sizeof(struct spirit_state),
    .init = spirit_init,
    .tick = spirit_tick,
    .chunk = spirit_chunk,
    .bare = true,
};
