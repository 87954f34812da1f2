#include "bench/attempt.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "bench/program.h"
#include "bench/traffic.h"
#include "engine/base/clock.h"

enum {
    EXIT_INTERRUPTED = 5, /* docs/exit-status.md */
    DRAIN_MS_MAX = 300 * 1000,
};

static const double DRAINED_BYTES = 1024.0 * 1024;

/* Parts of a window. */
static const double WARM_PART = 1.0 / 6;
static const double ALONE_PART = 1.0 / 2; /* before, and after: together as long as the job */

const char *const attempt_job_names[ATTEMPT_JOBS] = {"backfill", "alter"};
static const char *const PHASES[ATTEMPT_JOBS] = {"backfill", "load"};

/* An attempt while it runs. */
struct running {
    struct measure *measure;
    struct standby_cap *cap;
    const struct attempt_options *options;
    struct watch *watch;
    struct traffic *traffic;
    struct stretch alone; /* before */
    struct stretch paced; /* NAN until known */
    char name[64];        /* of the job */
};

/* ----------------------------------------------------------------------------------- the job */

struct measure_command attempt_command(const struct measure *measure, enum attempt_job job,
                                       const char *name, const char *policy, bool limited,
                                       struct arena *arena)
{
    const char *workers = arena_format(arena, "%d", measure->options.workers);
    struct measure_command command;

    if (job == ATTEMPT_BACKFILL) {
        command = measure_command(measure, "backfill", MEASURE_COPY);
        measure_command_add(&command, "--set");
        measure_command_add(&command, MEASURE_COPY_COLUMN " = status || '@' || customer_id");
        measure_command_add(&command, "--job");
        measure_command_add(&command, name);
        measure_command_add(&command, "--workers");
        measure_command_add(&command, workers);
    } else {
        command = measure_alter_command(measure, name, workers);
    }
    measure_command_add(&command, "-s");
    measure_command_add(&command, arena_format(arena, "policy=%s", policy));
    if (limited) {
        measure_command_add(&command, "-s");
        measure_command_add(
            &command, arena_format(arena, "limit.replica-lag-bytes=%.0f", ATTEMPT_LIMIT_BYTES));
    }
    return command;
}

bool attempt_abort(struct measure *measure, const char *name, struct error *error)
{
    struct measure_command command = measure_command(measure, "abort", name);
    struct program_result result;
    bool ok;

    measure_command_add(&command, "--yes");
    ok = program_succeed(&(struct program){.argv = command.argv}, &result, error);
    program_result_deinit(&result);
    return ok;
}

static void end_paced(struct running *running)
{
    running->paced.to = watch_seconds(running->watch);
    traffic_mark(running->traffic, "ending");
}

/* A line of --json: does the phase that can be paced begin, or end? */
static void note_phase(void *arg, const char *line)
{
    struct running *running = arg;
    json_t *event = json_loads(line, 0, NULL);
    const char *phase = json_string_value(json_object_get(event, "phase"));
    bool is_paced = phase != NULL && strcmp(phase, PHASES[running->options->job]) == 0;

    if (is_paced && isnan(running->paced.from)) {
        running->paced.from = watch_seconds(running->watch);
        traffic_mark(running->traffic, "paced");
    } else if (phase != NULL && !is_paced && !isnan(running->paced.from) &&
               isnan(running->paced.to)) {
        end_paced(running);
    }
    json_decref(event);
}

static bool is_enough(void *arg, pid_t pid)
{
    struct running *running = arg;

    (void)pid;
    if (isnan(running->paced.to) &&
        watch_seconds(running->watch) - running->paced.from >= running->options->window_seconds)
        end_paced(running);
    return !isnan(running->paced.to);
}

static bool MUST_CHECK check_result(const struct running *running,
                                    const struct program_result *result, struct error *error)
{
    if (result->status == 0 || result->status == EXIT_INTERRUPTED)
        return true;
    error_set(error, ERROR_SYSTEM, "pghaul %s under policy %s ended with status %d",
              attempt_job_names[running->options->job], running->options->policy, result->status);
    return error_detail(error, "%s%s", text_string(&result->messages),
                        text_string(&result->output));
}

static bool MUST_CHECK run_job(struct running *running, struct error *error)
{
    const struct attempt_options *options = running->options;
    struct arena arena = {0};
    struct measure_command command = attempt_command(running->measure, options->job, running->name,
                                                     options->policy, true, &arena);
    struct program_result result = {0};
    double start;
    bool ok;

    traffic_mark(running->traffic, "job");
    start = watch_seconds(running->watch);
    ok = program_run(
        &(struct program){
            .argv = command.argv, .line = note_phase, .enough = is_enough, .arg = running},
        &result, error);
    if (isnan(
            running->paced.from)) /* too short to be told: the job is looked at 4 times a second */
        running->paced.from = start;
    if (isnan(running->paced.to))
        end_paced(running);
    ok = ok && stop_check(running->measure->options.stop, error) &&
         check_result(running, &result, error);
    if (ok && (result.status != 0 || options->job == ATTEMPT_ALTER))
        ok = attempt_abort(running->measure, running->name, error);
    program_result_deinit(&result);
    arena_deinit(&arena);
    return ok;
}

/* ----------------------------------------------------------------------- what is around the job */

static void cap_replay(const struct running *running, bool capped)
{
    standby_cap_set(
        running->cap,
        &(struct standby_limit){.bytes_per_second =
                                    capped ? running->options->replay_bytes_per_second : INFINITY});
}

/* Until the standby has replayed what there is. */
static bool MUST_CHECK drain(const struct running *running, struct error *error)
{
    int64_t end_ms = clock_ms() + DRAIN_MS_MAX;

    cap_replay(running, false);
    do {
        if (clock_ms() > end_ms)
            return error_set(error, ERROR_SYSTEM, "the standby does not catch up");
        if (!stop_sleep_ms(running->measure->options.stop, 200, error))
            return false;
    } while (!(watch_behind(running->watch) < DRAINED_BYTES));
    return true;
}

static bool MUST_CHECK wait_part(const struct running *running, double part, struct error *error)
{
    return stop_sleep_ms(running->measure->options.stop,
                         (int64_t)(running->options->window_seconds * part * 1000), error);
}

/* After the server: the standby is with us, and has nothing dirty either. */
static bool MUST_CHECK settle_standby(const struct running *running, struct error *error)
{
    return drain(running, error) && standby_settle(running->measure->sandbox, error);
}

/* An equal table, a settled server, and the load past its first full pages. */
static bool MUST_CHECK prepare(struct running *running, struct error *error)
{
    struct measure *measure = running->measure;
    const struct traffic_options load = {
        .kind = TRAFFIC_PACED,
        .conninfo = measure->conninfo,
        .clients = ATTEMPT_CLIENTS,
        .seed = measure->options.seed + (uint64_t)running->options->number,
        .rate = running->options->load_rate,
        .table = ATTEMPT_TABLE,
    };

    return (running->options->job == ATTEMPT_BACKFILL
                ? measure_make_copy(measure, measure->options.rows / ATTEMPT_BACKFILL_PART, error)
                : measure_settle(measure, error)) &&
           settle_standby(running, error) && traffic_start(&running->traffic, &load, error) &&
           wait_part(running, WARM_PART, error) && drain(running, error);
}

static bool MUST_CHECK run_all(struct running *running, struct error *error)
{
    if (!prepare(running, error))
        return false;
    cap_replay(running, true);
    traffic_mark(running->traffic, "before");
    running->alone.from = watch_seconds(running->watch);
    if (!wait_part(running, ALONE_PART, error))
        return false;
    running->alone.to = watch_seconds(running->watch);
    if (!run_job(running, error) || !measure_settle(running->measure, error) ||
        !settle_standby(running, error) || !wait_part(running, WARM_PART, error) ||
        !drain(running, error))
        return false;
    cap_replay(running, true);
    traffic_mark(running->traffic, "after");
    return wait_part(running, ALONE_PART, error);
}

/* ----------------------------------------------------------------------------------- the result */

static const struct histogram *waits_of(const struct traffic_report *report, const char *phase)
{
    static const struct histogram NONE;

    for (int i = 0; i < report->phase_count; i++)
        if (strcmp(report->phases[i].label, phase) == 0)
            return &report->phases[i].waits;
    return &NONE;
}

static double p99_ms(const struct histogram *waits)
{
    return waits->count == 0 ? NAN : (double)histogram_percentile_us(waits, 99) / 1000;
}

static void take_load(struct attempt *attempt, const struct traffic_report *report)
{
    struct histogram alone = *waits_of(report, "before");

    attempt->before_p99_ms = p99_ms(&alone);
    attempt->paced_p99_ms = p99_ms(waits_of(report, "paced"));
    attempt->after_p99_ms = p99_ms(waits_of(report, "after"));
    histogram_merge(&alone, waits_of(report, "after"));
    attempt->alone_p99_ms = p99_ms(&alone);
    attempt->errors = (double)report->unexpected_errors;
}

static void take_samples(struct attempt *attempt, const struct running *running)
{
    const struct watch_samples *samples = &attempt->samples;
    const struct stretch *paced = &running->paced;

    attempt->paced = *paced;
    /* Not what there is at its end: a job that has come to the end may have forgotten its spans. */
    attempt->rows =
        watch_worst(samples, paced, WATCH_ROWS) - watch_at(samples, paced->from, WATCH_ROWS);
    attempt->rows_per_second = attempt->rows / attempt_seconds(attempt);
    attempt->wal_per_second = watch_rate(samples, paced, WATCH_WAL);
    attempt->replay_per_second = watch_rate(samples, paced, WATCH_REPLAYED);
    attempt->load_per_second = watch_rate(samples, &running->alone, WATCH_WAL);
    attempt->within = watch_within(samples, paced, WATCH_BEHIND, ATTEMPT_LIMIT_BYTES);
    attempt->told_within = watch_within(samples, paced, WATCH_TOLD, ATTEMPT_LIMIT_BYTES);
    attempt->worst_bytes = watch_worst(samples, paced, WATCH_BEHIND);
    attempt->settling_seconds = watch_settling(samples, paced);
    attempt->looks_per_second = watch_frequency(samples, paced);
}

bool attempt_run(struct measure *measure, struct standby_cap *cap,
                 const struct attempt_options *options, struct attempt *attempt,
                 struct error *error)
{
    struct running running = {
        .measure = measure, .cap = cap, .options = options, .paced = {NAN, NAN}};
    const struct watch_options watch = {
        .conninfo = measure->conninfo,
        .standby_conninfo = sandbox_standby_conninfo(measure->sandbox),
        .job = running.name,
    };
    struct traffic_report load;
    struct error second;
    bool ok;

    *attempt = (struct attempt){0};
    snprintf(running.name, sizeof(running.name), "bench-%d-%d", (int)getpid(), options->number);
    ok = watch_start(&running.watch, &watch, error) && run_all(&running, error);
    cap_replay(&running, false);
    if (!traffic_stop(running.traffic, &load, ok ? error : &second))
        ok = false;
    watch_stop(running.watch, &attempt->samples);
    if (ok) {
        take_samples(attempt, &running);
        take_load(attempt, &load);
    }
    traffic_report_deinit(&load);
    return ok;
}

void attempt_deinit(struct attempt *attempt)
{
    watch_samples_deinit(&attempt->samples);
}
