#include "bench/case_throttle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/data.h"
#include "bench/traffic.h"
#include "engine/base/clock.h"
#include "engine/base/memory.h"

enum {
    ROWS_DEFAULT = 8000000,
    RUNS_DEFAULT = 3,
    WINDOW_SECONDS_DEFAULT = 60,
    MAX_SECONDS_MIN = 3, /* for finding out what the load can do */
};

/* Of its own maximum. */
static const double LOAD_PART = 0.25;
/* Of what an unthrottled job writes, beside the load, that the standby can replay. */
static const double REPLAY_PART = 0.4;
/* More than any server does: due at once. */
static const double RATE_AS_MANY_AS_IT_CAN = 1e6;

const char *const bench_throttle_policies[] = {
    "auto",       "off",        "fixed=1s",   "law=pt-osc", "law=gh-ost",
    "law=gitlab", "law=vitess", "law=spirit", NULL,
};

/* ---------------------------------------------------------------------------------------- before
 */

/* How many transactions the load's clients do when they never wait for their turn. */
static bool MUST_CHECK measure_load_max(struct throttle_case *this, struct error *error)
{
    struct measure *measure = &this->measure;
    double seconds = fmax(this->window_seconds / 6, MAX_SECONDS_MIN);
    struct traffic *traffic;
    struct error second;
    int64_t before;
    int64_t start_us;
    bool ok;

    if (!traffic_start(&traffic,
                       &(struct traffic_options){.kind = TRAFFIC_PACED,
                                                 .conninfo = measure->conninfo,
                                                 .clients = ATTEMPT_CLIENTS,
                                                 .seed = measure->options.seed,
                                                 .rate = RATE_AS_MANY_AS_IT_CAN,
                                                 .table = ATTEMPT_TABLE},
                       error))
        return false;
    ok = stop_sleep_ms(measure->options.stop, (int64_t)(seconds * 500), error);
    before = traffic_transactions(traffic);
    start_us = clock_us();
    ok = ok && stop_sleep_ms(measure->options.stop, (int64_t)(seconds * 1000), error);
    this->load_max =
        (double)(traffic_transactions(traffic) - before) / measure_seconds_since(start_us);
    return traffic_stop(traffic, NULL, ok ? error : &second) && ok;
}

static bool MUST_CHECK prepare_load(struct throttle_case *this, struct error *error)
{
    struct measure *measure = &this->measure;
    int64_t rows =
        measure->options.rows < ATTEMPT_TABLE_ROWS ? measure->options.rows : ATTEMPT_TABLE_ROWS;

    if (!data_make(measure->session,
                   &(struct data_options){.set = "orders",
                                          .schema = MEASURE_SCHEMA,
                                          .name = "app",
                                          .rows = rows,
                                          .seed = measure->options.seed},
                   error) ||
        !measure_settle(measure, error) || !measure_load_max(this, error))
        return false;
    this->load_rate = this->load_rate > 0 ? this->load_rate : this->load_max * LOAD_PART;
    log_notice(measure->log, "the load can do %.0f transactions a second, and does %.0f",
               this->load_max, this->load_rate);
    if (this->load_rate < 1)
        return error_set(error, ERROR_SYSTEM, "the load does not get through at all");
    return true;
}

/* What a job writes that nobody holds up, and how much of it the standby is to replay. */
static bool MUST_CHECK find_replay(struct throttle_case *this, enum attempt_job job,
                                   struct error *error)
{
    struct attempt *attempt = &this->unthrottled[job];
    const struct attempt_options options = {.job = job,
                                            .policy = "off",
                                            .replay_bytes_per_second = INFINITY,
                                            .load_rate = this->load_rate,
                                            .window_seconds = this->window_seconds,
                                            .number = ++this->attempt_count};

    if (!attempt_run(&this->measure, this->cap, &options, attempt, error))
        return false;
    this->replay[job] = attempt->load_per_second +
                        REPLAY_PART * fmax(attempt->wal_per_second - attempt->load_per_second, 0);
    log_notice(this->measure.log,
               "%s, unthrottled: %.0f rows and %.1f MB of log a second, %.1f MB of them the "
               "load's; the standby will replay %.1f",
               attempt_job_names[job], attempt->rows_per_second, attempt->wal_per_second / 1048576,
               attempt->load_per_second / 1048576, this->replay[job] / 1048576);
    return this->replay[job] > 0 ||
           error_set(error, ERROR_SYSTEM, "could not find out how much log pghaul %s writes",
                     attempt_job_names[job]);
}

/* ---------------------------------------------------------------------------------------- rounds
 */

static void tell(const struct throttle_case *this, int round, enum attempt_job job, int policy)
{
    const struct attempt *attempt = &this->attempts[round][job][policy];

    log_notice(this->measure.log,
               "%d/%d %s, %s: %.0f rows/s, %.1f %% of %.0f s within the limit, at most %.1f MB "
               "behind; the load's p99 %.1f ms, alone %.1f",
               round + 1, this->measure.options.runs, attempt_job_names[job],
               this->policies[policy], attempt->rows_per_second,
               attempt->within / attempt_seconds(attempt) * 100, attempt_seconds(attempt),
               attempt->worst_bytes / 1048576, attempt->paced_p99_ms, attempt->alone_p99_ms);
}

/* Each round begins with another policy: whoever comes first finds a server that has done less. */
static bool MUST_CHECK run_round(struct throttle_case *this, int round, struct error *error)
{
    for (int i = 0; i < this->policy_count; i++) {
        int policy = (i + round) % this->policy_count;

        for (int job = 0; job < ATTEMPT_JOBS; job++) {
            const struct attempt_options options = {.job = (enum attempt_job)job,
                                                    .policy = this->policies[policy],
                                                    .replay_bytes_per_second = this->replay[job],
                                                    .load_rate = this->load_rate,
                                                    .window_seconds = this->window_seconds,
                                                    .number = ++this->attempt_count};

            if (!this->jobs[job])
                continue;
            if (!attempt_run(&this->measure, this->cap, &options,
                             &this->attempts[round][job][policy], error))
                return error_context(error, "round %d, %s, policy %s", round + 1,
                                     attempt_job_names[job], this->policies[policy]);
            tell(this, round, (enum attempt_job)job, policy);
        }
    }
    return true;
}

/* One knows before whether to wait for it. */
static void estimate(const struct throttle_case *this)
{
    int jobs = this->jobs[ATTEMPT_BACKFILL] + this->jobs[ATTEMPT_ALTER];
    int attempts = jobs * (1 + this->policy_count * this->measure.options.runs);

    log_notice(this->measure.log, "%d attempts, about %.0f minutes", attempts,
               attempts * (this->window_seconds * 2.35 + 25) / 60);
}

static bool MUST_CHECK run_case(struct throttle_case *this, struct error *error)
{
    struct measure *measure = &this->measure;
    bool ok = standby_cap_start(&this->cap, measure->sandbox,
                                &(struct standby_limit){.bytes_per_second = INFINITY}, error) &&
              prepare_load(this, error);

    if (ok)
        estimate(this);
    for (int job = 0; ok && job < ATTEMPT_JOBS; job++)
        ok = !this->jobs[job] || find_replay(this, (enum attempt_job)job, error);
    for (int round = 0; ok && round < measure->options.runs; round++)
        ok = run_round(this, round, error);
    if (ok)
        log_notice(measure->log, "what the governor costs with nothing to throttle");
    return ok && idle_run(measure, this->window_seconds, ++this->attempt_count, &this->idle, error);
}

/* ---------------------------------------------------------------------------------------- the case
 */

static bool MUST_CHECK take_options(struct throttle_case *this, struct bench_options *options,
                                    struct error *error)
{
    const struct bench_throttle_options *throttle = this->options;
    bool known = throttle->job == NULL;

    if (options->conninfo != NULL)
        return error_set(error, ERROR_USAGE,
                         "bench throttle makes a sandbox of its own, whose standby it slows down");
    for (int job = 0; job < ATTEMPT_JOBS; job++) {
        this->jobs[job] =
            throttle->job == NULL || strcmp(throttle->job, attempt_job_names[job]) == 0;
        known = known || this->jobs[job];
    }
    if (!known)
        return error_set(error, ERROR_USAGE,
                         "bench throttle measures backfill or alter, not \"%s\"", throttle->job);
    this->policies = throttle->policies != NULL ? throttle->policies : bench_throttle_policies;
    while (this->policies[this->policy_count] != NULL)
        this->policy_count++;
    if (this->policy_count > THROTTLE_POLICIES_MAX)
        return error_set(error, ERROR_USAGE, "at most %d policies", THROTTLE_POLICIES_MAX);
    options->standby = true;
    options->rows = options->rows > 0 ? options->rows : ROWS_DEFAULT;
    options->runs = options->runs > 0 ? options->runs : RUNS_DEFAULT;
    this->window_seconds =
        options->load_seconds > 0 ? options->load_seconds : WINDOW_SECONDS_DEFAULT;
    this->load_rate = options->load_rate;
    return true;
}

static void free_attempts(struct throttle_case *this)
{
    for (int job = 0; job < ATTEMPT_JOBS; job++) {
        attempt_deinit(&this->unthrottled[job]);
        for (int round = 0; round < BENCH_RUNS_MAX; round++)
            for (int policy = 0; policy < THROTTLE_POLICIES_MAX; policy++)
                attempt_deinit(&this->attempts[round][job][policy]);
    }
}

bool bench_throttle(const struct bench_options *options,
                    const struct bench_throttle_options *throttle, struct log *log, FILE *out,
                    struct error *error)
{
    struct throttle_case *this = memory_zero(1, sizeof(*this));
    struct bench_options ours = *options;
    bool ok;

    this->options = throttle;
    ok = take_options(this, &ours, error);
    if (ok) {
        ok = measure_open(&this->measure, &ours, log, error) && run_case(this, error) &&
             throttle_report(this, out, error);
        standby_cap_stop(this->cap);
        measure_close(&this->measure);
    }
    free_attempts(this);
    free(this);
    return ok;
}
