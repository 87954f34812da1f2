#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/case_throttle.h"
#include "bench/plot.h"
#include "engine/base/memory.h"

enum {
    WINDOW_SECONDS_MIN = 30, /* shorter ones, and fewer rounds: errors only are judged */
    ROUNDS_MIN = 3,
    QUERIES_MAX = 12,
    PLOT_POINTS_MAX = 600,
};

static const double BEYOND_PERCENT_MAX = 1;
static const double WAITS_RATIO_MAX = 1.5;
static const double CPU_PERCENT_MAX = 1;
static const double MB = 1048576;

/* A policy over all rounds. */
struct summary {
    double rows_per_second; /* this and what follows: medians */
    double settling_seconds;
    double p99_ms;
    double alone_p99_ms; /* of all policies */
    double p99_ratio;
    double within_percent; /* of all rounds together */
    double told_percent;
    double worst_bytes; /* of all rounds */
    double looks_per_second;
};

/* --------------------------------------------------------------------------------------- summary
 */

static double median_of(const struct throttle_case *this, int job, int policy,
                        double (*value)(const struct attempt *))
{
    double values[BENCH_RUNS_MAX];

    for (int round = 0; round < this->measure.options.runs; round++)
        values[round] = value(&this->attempts[round][job][policy]);
    return report_median(values, this->measure.options.runs);
}

static double rows_of(const struct attempt *attempt)
{
    return attempt->rows_per_second;
}

static double settling_of(const struct attempt *attempt)
{
    return attempt->settling_seconds;
}

static double p99_of(const struct attempt *attempt)
{
    return attempt->paced_p99_ms;
}

/*
 * The load alone was the same in all rounds, whatever came after it. One stall of the disk is the
 * p99 of a window, and none may be in the next: the more windows, the better is their median.
 */
static double median_alone_p99(const struct throttle_case *this, int job)
{
    double values[BENCH_RUNS_MAX * THROTTLE_POLICIES_MAX];
    int count = 0;

    for (int round = 0; round < this->measure.options.runs; round++)
        for (int policy = 0; policy < this->policy_count; policy++)
            values[count++] = this->attempts[round][job][policy].alone_p99_ms;
    return report_median(values, count);
}

static double looks_of(const struct attempt *attempt)
{
    return attempt->looks_per_second;
}

static void summarize(const struct throttle_case *this, int job, int policy,
                      struct summary *summary)
{
    double seconds = 0;
    double within = 0;
    double told = 0;

    *summary = (struct summary){
        .rows_per_second = median_of(this, job, policy, rows_of),
        .settling_seconds = median_of(this, job, policy, settling_of),
        .p99_ms = median_of(this, job, policy, p99_of),
        .alone_p99_ms = median_alone_p99(this, job),
        .looks_per_second = median_of(this, job, policy, looks_of),
    };
    summary->p99_ratio = summary->p99_ms / summary->alone_p99_ms;
    for (int round = 0; round < this->measure.options.runs; round++) {
        const struct attempt *attempt = &this->attempts[round][job][policy];

        seconds += attempt_seconds(attempt);
        within += attempt->within;
        told += attempt->told_within;
        summary->worst_bytes = fmax(summary->worst_bytes, attempt->worst_bytes);
    }
    summary->within_percent = within / seconds * 100;
    summary->told_percent = told / seconds * 100;
}

static bool holds(const struct summary *summary)
{
    return 100 - summary->within_percent <= BEYOND_PERCENT_MAX;
}

/* How far beyond the limit, in percent of it. */
static double overshoot(double worst_bytes)
{
    return fmax(worst_bytes / ATTEMPT_LIMIT_BYTES - 1, 0) * 100;
}

/* ---------------------------------------------------------------------------------------- tables
 */

static json_t *summary_json(const struct summary *summary)
{
    return json_pack("{s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "rows_per_second",
                     report_number(summary->rows_per_second, 0), "holds", holds(summary),
                     "within_percent", report_number(summary->within_percent, 2), "told_percent",
                     report_number(summary->told_percent, 2), "worst_mb",
                     report_number(summary->worst_bytes / MB, 1), "overshoot_percent",
                     report_number(overshoot(summary->worst_bytes), 0), "settling_s",
                     report_number(summary->settling_seconds, 1), "p99_ms",
                     report_number(summary->p99_ms, 2), "alone_p99_ms",
                     report_number(summary->alone_p99_ms, 2), "p99_ratio",
                     report_number(summary->p99_ratio, 2));
}

static json_t *policies_json(const struct throttle_case *this, int job)
{
    json_t *json = json_object();

    for (int policy = 0; policy < this->policy_count; policy++) {
        struct summary summary;

        summarize(this, job, policy, &summary);
        json_object_set_new(json, this->policies[policy], summary_json(&summary));
    }
    return json;
}

static json_t *job_json(const struct throttle_case *this, int job)
{
    const struct attempt *attempt = &this->unthrottled[job];

    return json_pack("{s:o, s:o, s:o, s:o}", "rows_per_second",
                     report_number(attempt->rows_per_second, 0), "wal_mb_per_second",
                     report_number(attempt->wal_per_second / MB, 2), "load_mb_per_second",
                     report_number(attempt->load_per_second / MB, 2), "replay_mb_per_second",
                     report_number(this->replay[job] / MB, 2));
}

/* One attempt, with what the load saw before and after it. */
static json_t *attempt_json(const struct throttle_case *this, int round, int job, int policy)
{
    const struct attempt *attempt = &this->attempts[round][job][policy];

    return json_pack(
        "{s:i, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "round",
        round + 1, "job", attempt_job_names[job], "policy", this->policies[policy], "seconds",
        report_number(attempt_seconds(attempt), 1), "rows_per_second",
        report_number(attempt->rows_per_second, 0), "wal_mb_per_second",
        report_number(attempt->wal_per_second / MB, 2), "replay_mb_per_second",
        report_number(attempt->replay_per_second / MB, 2), "within_percent",
        report_number(attempt->within / attempt_seconds(attempt) * 100, 2), "worst_mb",
        report_number(attempt->worst_bytes / MB, 1), "settling_s",
        report_number(attempt->settling_seconds, 1), "before_p99_ms",
        report_number(attempt->before_p99_ms, 2), "p99_ms", report_number(attempt->paced_p99_ms, 2),
        "after_p99_ms", report_number(attempt->after_p99_ms, 2), "looks_per_second",
        report_number(attempt->looks_per_second, 1));
}

static json_t *attempts_json(const struct throttle_case *this)
{
    json_t *json = json_array();

    for (int round = 0; round < this->measure.options.runs; round++)
        for (int job = 0; job < ATTEMPT_JOBS; job++)
            for (int policy = 0; this->jobs[job] && policy < this->policy_count; policy++)
                json_array_append_new(json, attempt_json(this, round, job, policy));
    return json;
}

static json_t *idle_json(const struct idle *idle)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "seconds", report_number(idle->seconds, 1),
                     "thread_cpu_percent", report_number(idle->thread_percent, 2),
                     "backend_cpu_percent", report_number(idle->backend_percent, 2),
                     "queries_per_second", report_number(idle->queries_per_second, 1));
}

/* ---------------------------------------------------------------------------------------- limits
 */

static double errors_of_all(const struct throttle_case *this)
{
    double sum = 0;

    for (int round = 0; round < this->measure.options.runs; round++)
        for (int job = 0; job < ATTEMPT_JOBS; job++)
            for (int policy = 0; policy < this->policy_count; policy++)
                sum += this->attempts[round][job][policy].errors;
    return sum;
}

static int find_auto(const struct throttle_case *this)
{
    for (int policy = 0; policy < this->policy_count; policy++)
        if (strcmp(this->policies[policy], "auto") == 0)
            return policy;
    return -1;
}

/* Rows a second of the fastest but `ours` that keeps to the limit; 0: there is none. */
static double fastest_other(const struct throttle_case *this, int job, int ours)
{
    double fastest = 0;

    for (int policy = 0; policy < this->policy_count; policy++) {
        struct summary summary;

        summarize(this, job, policy, &summary);
        if (policy != ours && holds(&summary))
            fastest = fmax(fastest, summary.rows_per_second);
    }
    return fastest;
}

static void set_limit(json_t *limits, int job, const char *what, double value, double limit)
{
    char name[64];

    snprintf(name, sizeof(name), "%s, auto: %s", attempt_job_names[job], what);
    json_object_set_new(limits, name, report_limit(value, limit));
}

static void set_job_limits(const struct throttle_case *this, int job, json_t *limits)
{
    int ours = find_auto(this);
    struct summary summary;

    if (ours < 0 || !this->jobs[job])
        return;
    summarize(this, job, ours, &summary);
    set_limit(limits, job, "percent of the time beyond the limit", 100 - summary.within_percent,
              BEYOND_PERCENT_MAX);
    set_limit(limits, job, "rows of the fastest other that holds / ours",
              fastest_other(this, job, ours) / summary.rows_per_second, 1);
    set_limit(limits, job, "p99 of the load / alone", summary.p99_ratio, WAITS_RATIO_MAX);
}

static bool are_long_enough(const struct throttle_case *this)
{
    return this->window_seconds >= WINDOW_SECONDS_MIN && this->measure.options.runs >= ROUNDS_MIN;
}

static json_t *limits_json(const struct throttle_case *this)
{
    const struct idle *idle = &this->idle;
    json_t *limits = json_pack("{s:o}", "errors of the load", report_limit(errors_of_all(this), 0));

    if (!are_long_enough(this))
        return limits;
    for (int job = 0; job < ATTEMPT_JOBS; job++)
        set_job_limits(this, job, limits);
    json_object_set_new(
        limits, "governor, nothing to throttle: percent of a core",
        report_limit(idle->thread_percent + idle->backend_percent, CPU_PERCENT_MAX));
    json_object_set_new(limits, "governor, nothing to throttle: queries a second",
                        report_limit(idle->queries_per_second, QUERIES_MAX));
    return limits;
}

/* --------------------------------------------------------------------------------------- picture
 */

/* The first round on one axis of time, from when each job began to be paced. */
struct picture {
    struct arena arena;
    double *seconds;
    int count;
    double step;
    char titles[2 * ATTEMPT_JOBS][64];
    struct plot_panel panels[2 * ATTEMPT_JOBS];
    int panel_count;
};

static double lag_at(const struct attempt *attempt, double seconds)
{
    return seconds > attempt_seconds(attempt)
               ? NAN
               : watch_at(&attempt->samples, attempt->paced.from + seconds, WATCH_BEHIND);
}

/* Over the last two seconds. */
static double speed_at(const struct attempt *attempt, double seconds)
{
    const struct stretch last = {attempt->paced.from + fmax(seconds - 2, 0),
                                 attempt->paced.from + seconds};

    return seconds > attempt_seconds(attempt) ? NAN
                                              : watch_rate(&attempt->samples, &last, WATCH_ROWS);
}

static void add_panel(const struct throttle_case *this, struct picture *picture, int job,
                      const char *what, double (*value)(const struct attempt *, double),
                      const struct plot_panel *model)
{
    struct plot_panel *panel = &picture->panels[picture->panel_count];
    char *title = picture->titles[picture->panel_count++];

    *panel = *model;
    snprintf(title, sizeof(picture->titles[0]), "%s: %s", attempt_job_names[job], what);
    panel->title = title;
    for (int policy = 0; policy < this->policy_count && policy < PLOT_SERIES_MAX; policy++) {
        double *values = arena_alloc(&picture->arena, (size_t)picture->count * sizeof(*values));

        for (int i = 0; i < picture->count; i++)
            values[i] = value(&this->attempts[0][job][policy], picture->seconds[i]);
        panel->series[policy] = (struct plot_series){this->policies[policy], values};
    }
}

static bool MUST_CHECK save_picture(const struct throttle_case *this, struct error *error)
{
    struct picture picture = {.step = fmax(0.25, this->window_seconds / (PLOT_POINTS_MAX - 1))};
    struct plot plot = {.title = "the standby and the job, round 1; seconds since it is paced"};
    bool ok;

    picture.count = (int)(this->window_seconds / picture.step) + 1;
    picture.seconds = arena_alloc(&picture.arena, (size_t)picture.count * sizeof(*picture.seconds));
    for (int i = 0; i < picture.count; i++)
        picture.seconds[i] = i * picture.step;
    for (int job = 0; job < ATTEMPT_JOBS; job++) {
        if (!this->jobs[job])
            continue;
        add_panel(this, &picture, job, "log not replayed, MB", lag_at,
                  &(struct plot_panel){
                      .unit = MB, .limit = ATTEMPT_LIMIT_BYTES, .top = 3 * ATTEMPT_LIMIT_BYTES});
        add_panel(this, &picture, job, "thousand rows a second", speed_at,
                  &(struct plot_panel){.unit = 1000});
    }
    plot.seconds = picture.seconds;
    plot.count = picture.count;
    plot.panels = picture.panels;
    plot.panel_count = picture.panel_count;
    ok = plot_save(&plot, this->options->svg, error);
    if (ok)
        log_notice(this->measure.log, "picture: %s", this->options->svg);
    arena_deinit(&picture.arena);
    return ok;
}

/* ----------------------------------------------------------------------------------- the report */

bool throttle_report(struct throttle_case *this, FILE *out, struct error *error)
{
    json_t *report = measure_report(&this->measure, "throttle");
    json_t *jobs = json_object();
    bool ok;

    json_object_del(report, "action");
    json_object_set_new(report, "backfill_rows",
                        json_integer(this->measure.options.rows / ATTEMPT_BACKFILL_PART));
    json_object_set_new(report, "window_seconds", report_number(this->window_seconds, 0));
    json_object_set_new(report, "rounds", json_integer(this->measure.options.runs));
    json_object_set_new(report, "limit_mb", report_number(ATTEMPT_LIMIT_BYTES / MB, 0));
    json_object_set_new(report, "load_max", report_number(this->load_max, 0));
    json_object_set_new(report, "load_rate", report_number(this->load_rate, 0));
    for (int job = 0; job < ATTEMPT_JOBS; job++)
        if (this->jobs[job])
            json_object_set_new(jobs, attempt_job_names[job], job_json(this, job));
    json_object_set_new(report, "unthrottled", jobs);
    for (int job = 0; job < ATTEMPT_JOBS; job++)
        if (this->jobs[job])
            json_object_set_new(report, attempt_job_names[job], policies_json(this, job));
    json_object_set_new(report, "attempts", attempts_json(this));
    json_object_set_new(report, "idle", idle_json(&this->idle));
    json_object_set_new(report, "limits", limits_json(this));
    report_print(out, report, this->measure.options.json);
    ok = (this->options->svg == NULL || save_picture(this, error)) && measure_judge(report, error);
    json_decref(report);
    return ok;
}
