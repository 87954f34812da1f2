#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/measure.h"
#include "bench/program.h"
#include "bench/report.h"
#include "engine/base/clock.h"

enum {
    LIMITS_ROWS_MIN = 1000000, /* smaller tables: only differences are judged */
    TIME_ROWS_MIN = 5000000,   /* smaller tables: start-up is what one measures */
    MEMORY_MB_MAX = 64,
};

static const double CORRELATION_OFF_MAX = 0.02;

/* One run of all methods. NAN: not measured. */
struct run {
    double floor_seconds;
    double floor_insert_seconds;
    double floor_index_seconds;
    double floor_wal_bytes;
    double floor_correlation_off; /* how much ANALYZE itself is off between two equal tables */
    double wall_seconds;          /* of `pghaul alter`, from exec to exit */
    double settle_seconds;
    double verify_seconds;
    double load_seconds;
    double ready_seconds; /* wall - settle - verify */
    double alter_wal_bytes;
    double memory_mb;
    double differences;
    double correlation_off;
    char correlation_column[64];
    double repack_seconds;
    double repack_wal_bytes;
    json_t *phases; /* of the job, by name; owned */
};

struct alter_case {
    struct measure *measure;
    char no_repack[256]; /* why pg_repack is left out; empty while it is not */
    struct run runs[BENCH_RUNS_MAX];
};

/* ---------------------------------------------------------------------------------------- floor */

static const char FLOOR_CREATE[] = "CREATE TABLE pghaul_bench.floor (LIKE pghaul_bench.orders)\n"
                                   "WITH (autovacuum_enabled = off)";
static const char *const FLOOR_INDEXES[] = {
    "ALTER TABLE pghaul_bench.floor ADD PRIMARY KEY (id)",
    "CREATE INDEX ON pghaul_bench.floor (customer_id)",
    "CREATE INDEX ON pghaul_bench.floor (created_at)",
};

static bool MUST_CHECK run_floor(struct measure *measure, struct run *run, struct error *error)
{
    double wal_before;
    double wal_after;
    int64_t start_us;
    int64_t index_us;

    log_notice(measure->log, "floor: INSERT .. SELECT, indexes, ANALYZE");
    if (!session_run(measure->session, FLOOR_CREATE, error) || !measure_settle(measure, error) ||
        !measure_wal(measure, &wal_before, error))
        return false;
    start_us = clock_us();
    if (!session_run(measure->session,
                     "INSERT INTO pghaul_bench.floor SELECT * FROM pghaul_bench.orders", error))
        return false;
    run->floor_insert_seconds = measure_seconds_since(start_us);
    index_us = clock_us();
    for (size_t i = 0; i < sizeof(FLOOR_INDEXES) / sizeof(FLOOR_INDEXES[0]); i++)
        if (!session_run(measure->session, FLOOR_INDEXES[i], error))
            return false;
    run->floor_index_seconds = measure_seconds_since(index_us);
    if (!session_run(measure->session, "ANALYZE pghaul_bench.floor", error))
        return false;
    run->floor_seconds = measure_seconds_since(start_us);
    if (!measure_wal(measure, &wal_after, error) ||
        !measure_correlation_off(measure, "pghaul_bench.floor", &run->floor_correlation_off, NULL,
                                 error))
        return false;
    run->floor_wal_bytes = wal_after - wal_before;
    return session_run(measure->session, "DROP TABLE pghaul_bench.floor", error);
}

/* ---------------------------------------------------------------------------------------- alter */

/*
 * The object with the phases in what a command printed: the whole text, or the last such line of it
 * (other objects may stand around it). NULL when there is none; a new reference.
 */
static json_t *status_object(const char *text)
{
    json_t *found = json_loads(text, 0, NULL);
    const char *line = text;

    if (json_object_get(found, "phases") != NULL)
        return found;
    json_decref(found);
    found = NULL;
    while (*line != '\0') {
        size_t length = strcspn(line, "\n");
        json_t *object = json_loadb(line, length, 0, NULL);

        if (json_object_get(object, "phases") != NULL) {
            json_decref(found);
            found = object;
        } else {
            json_decref(object);
        }
        line += length + (line[length] == '\n');
    }
    return found;
}

/*
 * `status JOB --json`: seconds of every phase by name, into an object. A phase that appears twice
 * counts twice.
 */
static json_t *phase_seconds(const json_t *status)
{
    json_t *seconds = json_object();
    const json_t *phases = json_object_get(status, "phases");
    json_t *phase;
    size_t index;

    json_array_foreach((json_t *)(uintptr_t)phases, index, phase)
    {
        const char *name = json_string_value(json_object_get(phase, "name"));
        json_t *value = json_object_get(phase, "seconds");

        if (name != NULL && json_is_number(value))
            json_object_set_new(seconds, name,
                                report_number(json_number_value(value) +
                                                  json_number_value(json_object_get(seconds, name)),
                                              3));
    }
    return seconds;
}

static double seconds_of(const json_t *phases, const char *name)
{
    json_t *value = json_object_get(phases, name);

    return json_is_number(value) ? json_number_value(value) : NAN;
}

static double or_zero(double value)
{
    return isnan(value) ? 0 : value;
}

static bool MUST_CHECK read_status(struct measure *measure, const char *job, struct run *run,
                                   struct error *error)
{
    struct measure_command command = measure_command(measure, "status", job);
    struct program_result result;
    json_t *status;
    bool ok;

    ok = program_succeed(&(struct program){.argv = command.argv}, &result, error);
    status = ok ? status_object(text_string(&result.output)) : NULL;
    if (ok && status == NULL) {
        ok = error_set(error, ERROR_INTERNAL, "`status %s --json` does not tell the phases", job);
        error_detail(error, "%s", text_string(&result.output));
    }
    program_result_deinit(&result);
    if (ok) {
        run->phases = phase_seconds(status);
        run->load_seconds = seconds_of(run->phases, "load");
        run->settle_seconds = seconds_of(run->phases, "settle");
        run->verify_seconds = seconds_of(run->phases, "verify");
    }
    json_decref(status);
    return ok;
}

/* The newest shadow of our table: pghaul.orders_N, quoted for SQL. */
static const char FIND_SHADOW[] =
    "SELECT format('%I.%I', n.nspname, c.relname)\n"
    "  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace\n"
    " WHERE n.nspname = 'pghaul' AND c.relkind IN ('r', 'p') AND c.relname ~ '^orders_[0-9]+$'\n"
    " ORDER BY c.oid::bigint DESC LIMIT 1";

static bool MUST_CHECK examine_shadow(struct measure *measure, struct run *run, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(measure->session, &rows, FIND_SHADOW, NO_PARAMS, error))
        return false;
    if (rows_count(&rows) == 0)
        return error_set(error, ERROR_INTERNAL, "there is no shadow named pghaul.orders_N");
    return measure_differences(measure, rows_text(&rows, 0, 0), &run->differences, error) &&
           measure_correlation_off(measure, rows_text(&rows, 0, 0), &run->correlation_off,
                                   run->correlation_column, error);
}

static bool MUST_CHECK abort_job(struct measure *measure, const char *job, struct error *error)
{
    struct measure_command command = measure_command(measure, "abort", job);
    struct program_result result;
    bool ok;

    measure_command_add(&command, "--yes");
    ok = program_succeed(&(struct program){.argv = command.argv}, &result, error);
    program_result_deinit(&result);
    return ok;
}

static bool MUST_CHECK run_alter(struct measure *measure, struct run *run, int number,
                                 struct error *error)
{
    char job[32];
    char workers[24];
    struct measure_command command;
    struct program_result result;
    double wal_before;
    double wal_after;
    bool ok;

    snprintf(job, sizeof(job), "bench-%d-%d", (int)getpid(), number);
    number_text(workers, measure->options.workers);
    command = measure_alter_command(measure, job, workers);
    log_notice(measure->log, "pghaul alter to ready, %d workers", measure->options.workers);
    if (!measure_settle(measure, error) || !measure_wal(measure, &wal_before, error))
        return false;
    ok = program_succeed(&(struct program){.argv = command.argv}, &result, error);
    run->wall_seconds = result.seconds;
    run->memory_mb = (double)result.memory_bytes_max / (1024 * 1024);
    program_result_deinit(&result);
    if (!ok || !measure_wal(measure, &wal_after, error))
        return false;
    run->alter_wal_bytes = wal_after - wal_before;
    if (!read_status(measure, job, run, error))
        return false;
    run->ready_seconds =
        run->wall_seconds - or_zero(run->settle_seconds) - or_zero(run->verify_seconds);
    return examine_shadow(measure, run, error) && abort_job(measure, job, error);
}

/* ------------------------------------------------------------------------------------ pg_repack */

/* libpq's environment for a program that takes no conninfo. */
static bool MUST_CHECK libpq_environment(const char *conninfo, struct arena *arena,
                                         const char **list, int list_max, struct error *error)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    int count = 0;

    if (options == NULL)
        return error_set(error, ERROR_USAGE, "could not read the connection string");
    for (PQconninfoOption *option = options; option->keyword != NULL; option++)
        if (option->val != NULL && option->envvar != NULL && count < list_max - 1)
            list[count++] = arena_format(arena, "%s=%s", option->envvar, option->val);
    list[count] = NULL;
    PQconninfoFree(options);
    return true;
}

static void leave_out_repack(struct alter_case *this, const char *why)
{
    snprintf(this->no_repack, sizeof(this->no_repack), "%.250s", why);
    log_notice(this->measure->log, "without pg_repack: %s", this->no_repack);
}

static void look_for_repack(struct alter_case *this)
{
    struct error why;

    if (!session_run(this->measure->session,
                     "CREATE EXTENSION IF NOT EXISTS pg_repack SCHEMA public", &why))
        leave_out_repack(this, why.message);
}

/*
 * A pg_repack that does not work here is left out from then on; what is asked of us, to stop, is
 * not.
 */
static bool MUST_CHECK run_repack(struct alter_case *this, struct run *run, struct error *error)
{
    struct measure *measure = this->measure;
    char workers[24];
    const char *argv[] = {"pg_repack", "--no-order",
                          "-t",        MEASURE_TABLE,
                          "-j",        number_text(workers, measure->options.workers),
                          NULL};
    const char *environment[40];
    struct arena arena = {0};
    struct program_result result = {0};
    struct error why;
    double wal_before;
    double wal_after;
    bool ok;

    if (this->no_repack[0] != '\0')
        return true;
    log_notice(measure->log, "pg_repack -j %d", measure->options.workers);
    if (!measure_settle(measure, error) || !measure_wal(measure, &wal_before, error) ||
        !libpq_environment(measure->conninfo, &arena, environment, 40, error)) {
        arena_deinit(&arena);
        return false;
    }
    ok =
        program_succeed(&(struct program){.argv = argv, .environment = environment}, &result, &why);
    if (!ok)
        leave_out_repack(this, why.detail[0] != '\0' ? why.detail : why.message);
    run->repack_seconds = ok ? result.seconds : NAN;
    program_result_deinit(&result);
    arena_deinit(&arena);
    if (!measure_wal(measure, &wal_after, error))
        return false;
    run->repack_wal_bytes = wal_after - wal_before;
    return true;
}

/* --------------------------------------------------------------------------------------- report */

static json_t *method_json(const struct measure *measure, double seconds, double wal_bytes)
{
    return json_pack("{s:o, s:o, s:o}", "seconds", report_number(seconds, 2), "rows_per_second",
                     report_number((double)measure->options.rows / seconds, 0), "wal_mb",
                     report_number(wal_bytes / (1024 * 1024), 0));
}

static json_t *run_json(const struct measure *measure, const struct run *run)
{
    json_t *methods = json_pack(
        "{s:o, s:o}", "floor", method_json(measure, run->floor_seconds, run->floor_wal_bytes),
        "alter", method_json(measure, run->ready_seconds, run->alter_wal_bytes));
    json_t *json = json_pack(
        "{s:o, s:{s:o, s:o, s:o}, s:{s:o, s:o, s:O, s:o, s:o, s:o, s:s}}", "methods", methods,
        "floor", "insert_seconds", report_number(run->floor_insert_seconds, 2), "index_seconds",
        report_number(run->floor_index_seconds, 2), "correlation_off",
        report_number(run->floor_correlation_off, 4), "alter", "wall_seconds",
        report_number(run->wall_seconds, 2), "ready_seconds", report_number(run->ready_seconds, 2),
        "phase_seconds", run->phases, "memory_mb", report_number(run->memory_mb, 1), "differences",
        report_number(run->differences, 0), "correlation_off",
        report_number(run->correlation_off, 4), "correlation_column", run->correlation_column);

    if (!isnan(run->repack_seconds))
        json_object_set_new(methods, "pg_repack",
                            method_json(measure, run->repack_seconds, run->repack_wal_bytes));
    return json;
}

/* The median over all runs of one number, or of a ratio. */
static double median_of(const struct alter_case *this, double (*value)(const struct run *))
{
    double values[BENCH_RUNS_MAX];

    for (int i = 0; i < this->measure->options.runs; i++)
        values[i] = value(&this->runs[i]);
    return report_median(values, this->measure->options.runs);
}

static double ready_to_floor(const struct run *run)
{
    return run->ready_seconds / run->floor_seconds;
}

static double ready_to_repack(const struct run *run)
{
    return run->ready_seconds / run->repack_seconds;
}

static double verify_to_load(const struct run *run)
{
    return run->verify_seconds / run->load_seconds;
}

static double memory_of(const struct run *run)
{
    return run->memory_mb;
}

static double correlation_of(const struct run *run)
{
    return run->correlation_off;
}

static double differences_of_all(const struct alter_case *this)
{
    double sum = 0;

    for (int i = 0; i < this->measure->options.runs; i++)
        sum += this->runs[i].differences;
    return sum;
}

static void set_limit(json_t *limits, const char *name, double value, double limit)
{
    json_object_set_new(limits, name, report_limit(value, limit));
}

static json_t *limits_json(const struct alter_case *this)
{
    json_t *limits = json_object();

    set_limit(limits, "differences", differences_of_all(this), 0);
    if (this->measure->options.rows < LIMITS_ROWS_MIN)
        return limits;
    set_limit(limits, "memory_mb", median_of(this, memory_of), MEMORY_MB_MAX);
    set_limit(limits, "correlation_off", median_of(this, correlation_of), CORRELATION_OFF_MAX);
    if (this->measure->options.rows < TIME_ROWS_MIN)
        return limits;
    set_limit(limits, "ready / floor", median_of(this, ready_to_floor), 1.0);
    set_limit(limits, "ready / pg_repack", median_of(this, ready_to_repack), 1.0);
    set_limit(limits, "verify / load", median_of(this, verify_to_load), 1.0);
    return limits;
}

/* Medians of the runs' own ratios, for tables of any size. */
static json_t *ratios_json(const struct alter_case *this)
{
    return json_pack("{s:o, s:o, s:o}", "ready / floor",
                     report_number(median_of(this, ready_to_floor), 3), "ready / pg_repack",
                     report_number(median_of(this, ready_to_repack), 3), "verify / load",
                     report_number(median_of(this, verify_to_load), 3));
}

/* ------------------------------------------------------------------------------------- the case */

/* Whoever comes first finds a server that has done less: the order alternates. */
static bool MUST_CHECK run_all(struct alter_case *this, int number, struct error *error)
{
    struct measure *measure = this->measure;
    struct run *run = &this->runs[number];

    *run = (struct run){.differences = NAN, .correlation_off = NAN, .repack_seconds = NAN};
    if (measure->options.runs > 1)
        log_notice(measure->log, "run %d of %d", number + 1, measure->options.runs);
    if (number % 2 == 0)
        return run_floor(measure, run, error) && run_alter(measure, run, number, error) &&
               run_repack(this, run, error);
    return run_repack(this, run, error) && run_alter(measure, run, number, error) &&
           run_floor(measure, run, error);
}

static bool MUST_CHECK print_report(struct alter_case *this, FILE *out, struct error *error)
{
    json_t *report = measure_report(this->measure, "alter");
    json_t *runs = json_array();
    bool ok;

    for (int i = 0; i < this->measure->options.runs; i++)
        json_array_append_new(runs, run_json(this->measure, &this->runs[i]));
    if (this->no_repack[0] != '\0')
        json_object_set_new(report, "without_pg_repack", json_string(this->no_repack));
    json_object_set_new(report, "runs", runs);
    json_object_set_new(report, "ratios", ratios_json(this));
    json_object_set_new(report, "limits", limits_json(this));
    report_print(out, report, this->measure->options.json);
    ok = measure_judge(report, error);
    json_decref(report);
    return ok;
}

static bool MUST_CHECK case_alter(struct measure *measure, FILE *out, struct error *error)
{
    struct alter_case this = {.measure = measure};
    bool ok = true;

    look_for_repack(&this);
    for (int i = 0; ok && i < measure->options.runs; i++)
        ok = run_all(&this, i, error);
    ok = ok && print_report(&this, out, error);
    for (int i = 0; i < measure->options.runs; i++)
        json_decref(this.runs[i].phases);
    return ok;
}

bool bench_alter(const struct bench_options *options, struct log *log, FILE *out,
                 struct error *error)
{
    struct measure measure;
    bool ok;

    ok = measure_open(&measure, options, log, error) &&
         (options->load ? case_alter_load(&measure, out, error) : case_alter(&measure, out, error));
    measure_close(&measure);
    return ok;
}
