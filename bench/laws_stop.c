/*
 * Three laws that know two speeds, all and nothing: pt-online-schema-change, gh-ost, GitLab's
 * batched background migrations. What differs is when they look, and how they size a chunk.
 */
#include <math.h>

#include "bench/laws_look.h"

/* --------------------------------------------------------------------------------------- pt-osc */

/*
 * Percona Toolkit, bin/pt-online-schema-change: chunk 1,000 rows at first, then as many as the rate
 * takes in --chunk-time; the rate is rows / seconds, both summed with old ones weighed by 0.75
 * (package WeightedAvgRate). One thread. After each chunk it waits while any replica lags more than
 * --max-lag, for ever if need be, also for one that does not answer; and while --max-load
 * (Threads_running = 25: here active-sessions at its limit) is reached.
 */
static const double PT_WEIGHT = 0.75;
static const double PT_TARGET_SECONDS = 0.5;
enum { PT_ROWS_FIRST = 1000 };

struct pt_state {
    struct law_config config;
    double rows;    /* N */
    double seconds; /* T */
    int64_t chunk_rows;
};

static void pt_init(void *state, const struct law_config *config, int64_t now_us)
{
    (void)now_us;
    *(struct pt_state *)state = (struct pt_state){.config = *config, .chunk_rows = PT_ROWS_FIRST};
}

static void pt_tick(void *state, const struct law_input *input, struct law_decision *decision)
{
    const struct pt_state *pt = state;
    struct law_look look;

    law_look(input, &look);
    law_decide(&pt->config, decision);
    decision->workers = 1;
    decision->chunk_rows = pt->chunk_rows;
    if (look.lag > 1)
        law_decide_stop(decision, look.lag_reason);
    else if (look.unreadable)
        law_decide_stop(decision, SIGNAL_REPLICAS_MISSING);
    else if (look.load >= 1)
        law_decide_stop(decision, SIGNAL_ACTIVE_SESSIONS);
}

static void pt_chunk(void *state, const struct law_chunk *chunk, struct law_decision *decision)
{
    struct pt_state *pt = state;

    if (chunk->rows <= 0 || !(chunk->seconds > 0))
        return;
    pt->rows = PT_WEIGHT * pt->rows + (double)chunk->rows;
    pt->seconds = PT_WEIGHT * pt->seconds + chunk->seconds;
    pt->chunk_rows = (int64_t)fmax(pt->rows / pt->seconds * PT_TARGET_SECONDS, 1);
    decision->chunk_rows = pt->chunk_rows;
}

const struct law bench_law_pt_osc = {
    .name = "pt-osc",
    .what = "Percona Toolkit: chunks of half a second; stop while a replica lags",
    .state_size = sizeof(struct pt_state),
    .init = pt_init,
    .tick = pt_tick,
    .chunk = pt_chunk,
    .bare = true,
};

/* --------------------------------------------------------------------------------------- gh-ost */

/*
 * GitHub, go/logic/throttler.go, go/base/context.go: chunks of 1,000 rows, one at a time; while lag
 * is above --max-lag-millis nothing begins, and what cannot be read throttles as well. --max-load
 * and --nice-ratio are empty by default.
 */
enum { GHOST_ROWS = 1000 };

struct ghost_state {
    struct law_config config;
};

static void ghost_init(void *state, const struct law_config *config, int64_t now_us)
{
    (void)now_us;
    ((struct ghost_state *)state)->config = *config;
}

static void ghost_tick(void *state, const struct law_input *input, struct law_decision *decision)
{
    struct law_look look;

    law_look(input, &look);
    law_decide(&((const struct ghost_state *)state)->config, decision);
    decision->workers = 1;
    decision->chunk_rows = GHOST_ROWS;
    if (look.lag > 1)
        law_decide_stop(decision, look.lag_reason);
    else if (look.unreadable)
        law_decide_stop(decision, SIGNAL_REPLICAS_MISSING);
}

const struct law bench_law_gh_ost = {
    .name = "gh-ost",
    .what = "GitHub: chunks of 1,000 rows; stop while a replica lags",
    .state_size = sizeof(struct ghost_state),
    .init = ghost_init,
    .tick = ghost_tick,
    .bare = true,
};

/* --------------------------------------------------------------------------------------- GitLab */

/*
 * GitLab, lib/gitlab/database/background_migration/batch_optimizer.rb and batched_migration.rb: a
 * job every two minutes handles a batch, in sub-batches with 100 ms between them. With
 *
 *     eff  = duration of a job / interval
 *     E    = sum(eff_i * (1-a)^i) / sum((1-a)^i), a = 0.4, i = 0 the newest of the last 20
 *
 * the next batch is min(0.95 / E, 1.2) times as large, unless E is within 0.90 .. 0.95 or there are
 * fewer than 20 jobs; 1,000 to 2,000,000 rows. It begins as GitLab's own copies of tables do (merge
 * request 33891): batches of 50,000, sub-batches of 2,500.
 *
 * lib/gitlab/database/health_status.rb: after a job, any indicator that says "stop" holds all for
 * ten minutes: more than 42 segments to be archived, autovacuum on the table, and for receivers
 * that fall behind and the rate of log our limits. An indicator that cannot be read stops nothing.
 */
enum {
    GITLAB_JOBS = 20,
    GITLAB_BATCH_ROWS = 50000,
    GITLAB_SUB_BATCH_ROWS = 2500,
    GITLAB_BATCH_MIN = 1000,
    GITLAB_BATCH_MAX = 2000000,
};

#define GITLAB_INTERVAL_US (INT64_C(120) * 1000000)
#define GITLAB_HOLD_US (INT64_C(600) * 1000000)
static const double GITLAB_PAUSE_SECONDS = 0.1;
static const double GITLAB_SEGMENTS_BYTES = 42.0 * 16 * 1024 * 1024;

struct gitlab_state {
    struct law_config config;
    int64_t batch_rows;
    int64_t done_rows; /* of the job that runs */
    int64_t job_start_us;
    int64_t next_job_us; /* 0: one runs */
    bool held;           /* until then */
    int unhealthy;       /* enum signal_id, as of the last look; -1 */
    int held_by;
    double efficiencies[GITLAB_JOBS]; /* the newest first */
    int jobs;
};

static void gitlab_init(void *state, const struct law_config *config, int64_t now_us)
{
    *(struct gitlab_state *)state = (struct gitlab_state){.config = *config,
                                                          .batch_rows = GITLAB_BATCH_ROWS,
                                                          .job_start_us = now_us,
                                                          .unhealthy = -1,
                                                          .held_by = -1};
}

static int gitlab_health(const struct law_input *input)
{
    const struct reading *archiver = &input->readings[SIGNAL_ARCHIVER_BACKLOG];
    struct law_look look;

    law_look(input, &look);
    if (look.lag > 1)
        return look.lag_reason;
    if (archiver->state == READING_OK && archiver->value > GITLAB_SEGMENTS_BYTES)
        return SIGNAL_ARCHIVER_BACKLOG;
    if (law_look_part(input, SIGNAL_VACUUM_RUNNING) >= 1)
        return SIGNAL_VACUUM_RUNNING;
    return law_look_part(input, SIGNAL_WAL_RATE) >= 1 ? SIGNAL_WAL_RATE : -1;
}

static void gitlab_fill(const struct gitlab_state *gitlab, struct law_decision *decision)
{
    int64_t left = gitlab->batch_rows - gitlab->done_rows;

    law_decide(&gitlab->config, decision);
    decision->workers = 1;
    decision->delay_seconds = GITLAB_PAUSE_SECONDS;
    decision->chunk_rows = left < GITLAB_SUB_BATCH_ROWS && left > 0 ? left : GITLAB_SUB_BATCH_ROWS;
    if (gitlab->next_job_us != 0)
        law_decide_stop(decision, gitlab->held ? gitlab->held_by : -1);
}

static void gitlab_tick(void *state, const struct law_input *input, struct law_decision *decision)
{
    struct gitlab_state *gitlab = state;

    gitlab->unhealthy = gitlab_health(input);
    if (gitlab->next_job_us != 0 && input->now_us >= gitlab->next_job_us) {
        gitlab->next_job_us = 0;
        gitlab->held = false;
        gitlab->job_start_us = input->now_us;
        gitlab->done_rows = 0;
    }
    gitlab_fill(gitlab, decision);
}

static void gitlab_optimize(struct gitlab_state *gitlab, double efficiency)
{
    double weight = 1;
    double sum = 0;
    double weights = 0;

    for (int i = GITLAB_JOBS - 1; i > 0; i--)
        gitlab->efficiencies[i] = gitlab->efficiencies[i - 1];
    gitlab->efficiencies[0] = efficiency;
    if (++gitlab->jobs < GITLAB_JOBS)
        return;
    for (int i = 0; i < GITLAB_JOBS; i++) {
        sum += gitlab->efficiencies[i] * weight;
        weights += weight;
        weight *= 0.6;
    }
    efficiency = sum / weights;
    if (efficiency >= 0.90 && efficiency <= 0.95)
        return;
    gitlab->batch_rows = (int64_t)((double)gitlab->batch_rows * fmin(0.95 / efficiency, 1.2));
    if (gitlab->batch_rows < GITLAB_BATCH_MIN)
        gitlab->batch_rows = GITLAB_BATCH_MIN;
    if (gitlab->batch_rows > GITLAB_BATCH_MAX)
        gitlab->batch_rows = GITLAB_BATCH_MAX;
}

static void gitlab_chunk(void *state, const struct law_chunk *chunk, struct law_decision *decision)
{
    struct gitlab_state *gitlab = state;
    int64_t duration_us = chunk->now_us - gitlab->job_start_us;

    gitlab->done_rows += chunk->rows;
    if (gitlab->next_job_us == 0 && gitlab->done_rows >= gitlab->batch_rows) {
        gitlab_optimize(gitlab, (double)duration_us / (double)GITLAB_INTERVAL_US);
        gitlab->held = gitlab->unhealthy >= 0;
        gitlab->held_by = gitlab->unhealthy;
        gitlab->next_job_us = gitlab->held ? chunk->now_us + GITLAB_HOLD_US
                                           : gitlab->job_start_us + GITLAB_INTERVAL_US;
        if (gitlab->next_job_us <= chunk->now_us) /* it took longer: the next one follows */
            gitlab->next_job_us = chunk->now_us;
    }
    gitlab_fill(gitlab, decision);
}

const struct law bench_law_gitlab = {
    .name = "gitlab",
    .what = "GitLab: a batch every two minutes, its size by time; ten minutes off when unhealthy",
    .state_size = sizeof(struct gitlab_state),
    .init = gitlab_init,
    .tick = gitlab_tick,
    .chunk = gitlab_chunk,
    .bare = true,
};
