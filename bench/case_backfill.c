#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/measure.h"
#include "bench/program.h"
#include "bench/report.h"
#include "engine/base/clock.h"
#include "engine/pg/sql.h"

enum {
    LIMITS_ROWS_MIN = 5000000, /* smaller tables: only the result is judged */
    LOOP_ROWS = 1000,
    MANY_CHUNKS = 250,
    FEW_CHUNKS = 10,
    WAL_BYTES_MAX = 1 << 30, /* of setting chunk.wal */
    STATISTICS_WAIT_MS = 3000,
};

/* The change that all methods make, of a column that is NULL in every row before. */
#define COLUMN MEASURE_COPY_COLUMN
#define EXPRESSION "status || '@' || customer_id"
#define COPY MEASURE_COPY

/* One method on a table of its own. NAN: not measured. */
struct method {
    double seconds;
    double rows; /* changed */
    double wal_bytes;
    double dead_rows;
    double cpu_seconds; /* of all processes of the server */
    double wrong_rows;
    double chunks;
};

struct run {
    struct method update;
    struct method backfill;
    struct method loop;
    double loop_seconds; /* of the whole table, extrapolated */
    struct method many;
    struct method few;
};

struct backfill_case {
    struct measure *measure;
    double row_wal_bytes; /* as the program's own trial has it */
    struct run runs[BENCH_RUNS_MAX];
};

/* ------------------------------------------------------------------------------------ the table */

/* Rows whose new value is not the right one; after `rows` were to be changed. */
static bool MUST_CHECK count_wrong(struct measure *measure, struct method *method, bool all,
                                   struct error *error)
{
    ROWS_AUTO rows = {0};
    double differences;

    if (!session_query(measure->session, &rows,
                       "SELECT count(*) FILTER (WHERE " COLUMN " IS DISTINCT FROM " EXPRESSION
                       "), count(" COLUMN ") FROM " COPY,
                       NO_PARAMS, error) ||
        !measure_differences(measure, COPY, &differences, error))
        return false;
    method->rows = rows_double(&rows, 0, 1);
    method->wrong_rows = differences + (all ? rows_double(&rows, 0, 0) : 0);
    return true;
}

/*
 * As the server counted them, which it does a little later: until it knows of all updates, for a
 * while.
 */
static bool MUST_CHECK count_dead(struct measure *measure, struct method *method,
                                  struct error *error)
{
    int64_t end_ms = clock_ms() + STATISTICS_WAIT_MS;

    for (;;) {
        ROWS_AUTO rows = {0};

        if (!session_query(measure->session, &rows,
                           "SELECT n_dead_tup::float8, n_tup_upd::float8 FROM pg_stat_user_tables\n"
                           " WHERE relid = $1::regclass",
                           PARAMS(COPY), error))
            return false;
        method->dead_rows = rows_count(&rows) == 0 ? NAN : rows_double(&rows, 0, 0);
        if (rows_count(&rows) == 0 || rows_double(&rows, 0, 1) >= method->rows ||
            clock_ms() >= end_ms)
            return true;
        clock_sleep_ms(200);
    }
}

/* What is measured around each method. */
struct before {
    double wal_bytes;
    double cpu_seconds;
    int64_t start_us;
};

static bool MUST_CHECK begin(struct measure *measure, struct before *before, struct error *error)
{
    if (!measure_make_copy(measure, measure->options.rows, error) ||
        !measure_wal(measure, &before->wal_bytes, error))
        return false;
    before->cpu_seconds = measure_server_cpu(measure);
    before->start_us = clock_us();
    return true;
}

/* `seconds` may be set before. */
static bool MUST_CHECK end(struct measure *measure, const struct before *before, bool all,
                           struct method *method, struct error *error)
{
    double wal_bytes;

    if (isnan(method->seconds))
        method->seconds = measure_seconds_since(before->start_us);
    method->cpu_seconds = measure_server_cpu(measure) - before->cpu_seconds;
    if (!measure_wal(measure, &wal_bytes, error))
        return false;
    method->wal_bytes = wal_bytes - before->wal_bytes;
    return count_wrong(measure, method, all, error) && count_dead(measure, method, error);
}

/* -------------------------------------------------------------------------------- one statement */

static bool MUST_CHECK run_update(struct measure *measure, struct run *run, struct error *error)
{
    struct before before;

    log_notice(measure->log, "one UPDATE of the whole table");
    return begin(measure, &before, error) &&
           session_run(measure->session, "UPDATE " COPY " SET " COLUMN " = " EXPRESSION, error) &&
           end(measure, &before, true, &run->update, error);
}

/* ----------------------------------------------------------------------------- the usual loop */

static const char LOOP[] =
    "UPDATE " COPY " SET " COLUMN " = " EXPRESSION "\n"
    " WHERE id IN (SELECT id FROM " COPY " WHERE " COLUMN " IS NULL LIMIT $1::bigint)";

/*
 * Each round reads over what the earlier ones have done, so after n rows the seconds are about a n
 * + b n^2: least squares over all rounds, neither below 0.
 */
struct fit {
    double n2, n3, n4, tn, tn2;
};

static void fit_add(struct fit *fit, double n, double seconds)
{
    fit->n2 += n * n;
    fit->n3 += n * n * n;
    fit->n4 += n * n * n * n;
    fit->tn += seconds * n;
    fit->tn2 += seconds * n * n;
}

static double fit_at(const struct fit *fit, double n)
{
    double determinant = fit->n2 * fit->n4 - fit->n3 * fit->n3;
    double a = (fit->tn * fit->n4 - fit->tn2 * fit->n3) / determinant;
    double b = (fit->tn2 * fit->n2 - fit->tn * fit->n3) / determinant;

    if (!(determinant > 0) || b < 0)
        return fit->tn / fit->n2 * n;
    if (a < 0)
        return fit->tn2 / fit->n4 * n * n;
    return a * n + b * n * n;
}

static bool MUST_CHECK run_loop(struct measure *measure, struct run *run, struct error *error)
{
    struct before before;
    struct fit fit = {0};
    double done = 0; /* in thousands, so that powers stay small */
    int64_t count = LOOP_ROWS;
    double all = (double)measure->options.rows / LOOP_ROWS;

    log_notice(measure->log, "the usual loop, for %d s", measure->options.load_seconds);
    if (!begin(measure, &before, error))
        return false;
    while (count > 0 &&
           measure_seconds_since(before.start_us) < (double)measure->options.load_seconds) {
        if (!stop_check(measure->options.stop, error) ||
            !session_execute(measure->session, LOOP, PARAMS(NUMBER(LOOP_ROWS)), &count, error))
            return false;
        done += (double)count / LOOP_ROWS;
        fit_add(&fit, done, measure_seconds_since(before.start_us));
    }
    run->loop_seconds = count == 0 ? measure_seconds_since(before.start_us) : fit_at(&fit, all);
    return end(measure, &before, false, &run->loop, error);
}

/* ------------------------------------------------------------------------------ pghaul backfill */

/* What the job's own records say: chunks, and bytes of WAL that it reckons with for a row. */
static const char LOOK_AT_JOB[] = "SELECT (SELECT sum(chunks) FROM pghaul.span WHERE job = j.id "
                                  "AND phase = 'backfill')::float8,\n"
                                  "       (j.plan::jsonb ->> 'row_wal_bytes')::float8\n"
                                  "  FROM pghaul.job AS j WHERE j.name = $1";

static bool MUST_CHECK look_at_job(struct backfill_case *this, const char *job,
                                   struct method *method, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(this->measure->session, &rows, LOOK_AT_JOB, PARAMS(job), error))
        return false;
    if (rows_count(&rows) != 1)
        return error_set(error, ERROR_INTERNAL, "there is no job %s", job);
    method->chunks = rows_double(&rows, 0, 0);
    this->row_wal_bytes = rows_double(&rows, 0, 1);
    return true;
}

/*
 * `chunks`: about so many. They are larger than anybody would have them, so they may take as long
 * as they take. Few ones grow by themselves; many are kept as small as they begin.
 */
static void set_chunks(const struct backfill_case *this, int chunks,
                       struct measure_command *command, struct arena *arena)
{
    double rows = ceil((double)this->measure->options.rows / chunks);
    double wal_bytes = chunks == FEW_CHUNKS ? WAL_BYTES_MAX : rows * this->row_wal_bytes;

    measure_command_add(command, "-s");
    measure_command_add(command, "chunk.time=1min");
    measure_command_add(command, "-s");
    measure_command_add(command, "span.size=1TB");
    measure_command_add(command, "-s");
    measure_command_add(command, arena_format(arena, "chunk.rows=%.0f", rows));
    measure_command_add(command, "-s");
    measure_command_add(command, arena_format(arena, "chunk.wal=%.0f", wal_bytes));
}

static bool MUST_CHECK run_program(struct backfill_case *this, const char *job, int chunks,
                                   struct method *method, struct error *error)
{
    static const char *const PATIENT[] = {"PGOPTIONS=-c deadlock_timeout=10min", NULL};
    struct measure *measure = this->measure;
    struct measure_command command = measure_command(measure, "backfill", COPY);
    struct program_result result = {0};
    struct arena arena = {0};
    bool ok;

    measure_command_add(&command, "--set");
    measure_command_add(&command, COLUMN " = " EXPRESSION);
    measure_command_add(&command, "--job");
    measure_command_add(&command, job);
    measure_command_add(&command, "--workers");
    measure_command_add(&command, arena_format(&arena, "%d", measure->options.workers));
    if (chunks > 0)
        set_chunks(this, chunks, &command, &arena);
    ok = program_succeed(
        &(struct program){.argv = command.argv, .environment = chunks > 0 ? PATIENT : NULL},
        &result, error);
    method->seconds = result.seconds;
    program_result_deinit(&result);
    arena_deinit(&arena);
    return ok;
}

static bool MUST_CHECK run_backfill(struct backfill_case *this, int number, int chunks,
                                    struct method *method, struct error *error)
{
    struct measure *measure = this->measure;
    struct before before;
    char job[64];

    snprintf(job, sizeof(job), "bench-%d-%d-%d", (int)getpid(), number, chunks);
    if (chunks == 0)
        log_notice(measure->log, "pghaul backfill, %d workers", measure->options.workers);
    else
        log_notice(measure->log, "the same in about %d chunks", chunks);
    return begin(measure, &before, error) && run_program(this, job, chunks, method, error) &&
           end(measure, &before, true, method, error) && look_at_job(this, job, method, error);
}

/* --------------------------------------------------------------------------------------- report */

static json_t *method_json(const struct method *method)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "seconds", report_number(method->seconds, 2),
                     "rows_per_second", report_number(method->rows / method->seconds, 0),
                     "wal_bytes_per_row", report_number(method->wal_bytes / method->rows, 0),
                     "dead_rows", report_number(method->dead_rows, 0), "cpu_seconds",
                     report_number(method->cpu_seconds, 2), "chunks",
                     report_number(method->chunks, 0));
}

static json_t *run_json(const struct run *run)
{
    return json_pack("{s:{s:o, s:o, s:o, s:o, s:o}, s:{s:o, s:o}}", "methods", "update",
                     method_json(&run->update), "backfill", method_json(&run->backfill), "loop",
                     method_json(&run->loop), "many chunks", method_json(&run->many), "few chunks",
                     method_json(&run->few), "loop", "rows", report_number(run->loop.rows, 0),
                     "seconds_for_all", report_number(run->loop_seconds, 1));
}

static double median_of(const struct backfill_case *this, double (*value)(const struct run *))
{
    double values[BENCH_RUNS_MAX];

    for (int i = 0; i < this->measure->options.runs; i++)
        values[i] = value(&this->runs[i]);
    return report_median(values, this->measure->options.runs);
}

static double backfill_to_update(const struct run *run)
{
    return run->backfill.seconds / run->update.seconds;
}

static double backfill_to_update_cpu(const struct run *run)
{
    return run->backfill.cpu_seconds / run->update.cpu_seconds;
}

static double loop_to_backfill(const struct run *run)
{
    return run->loop_seconds / run->backfill.seconds;
}

static double backfill_to_loop(const struct run *run)
{
    return run->backfill.seconds / run->loop_seconds;
}

static double many_to_few_cpu(const struct run *run)
{
    return run->many.cpu_seconds / run->few.cpu_seconds;
}

static double wrong_rows_of_all(const struct backfill_case *this)
{
    double sum = 0;

    for (int i = 0; i < this->measure->options.runs; i++) {
        const struct run *run = &this->runs[i];

        sum += run->update.wrong_rows + run->backfill.wrong_rows + run->loop.wrong_rows +
               run->many.wrong_rows + run->few.wrong_rows;
    }
    return sum;
}

static json_t *ratios_json(const struct backfill_case *this)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "backfill / update",
                     report_number(median_of(this, backfill_to_update), 3),
                     "backfill / update, CPU",
                     report_number(median_of(this, backfill_to_update_cpu), 3), "loop / backfill",
                     report_number(median_of(this, loop_to_backfill), 1), "many / few chunks, CPU",
                     report_number(median_of(this, many_to_few_cpu), 3));
}

static json_t *limits_json(const struct backfill_case *this)
{
    json_t *limits = json_object();

    json_object_set_new(limits, "wrong_rows", report_limit(wrong_rows_of_all(this), 0));
    if (this->measure->options.rows < LIMITS_ROWS_MIN)
        return limits;
    json_object_set_new(limits, "backfill / update",
                        report_limit(median_of(this, backfill_to_update), 0.6));
    json_object_set_new(limits, "backfill / loop",
                        report_limit(median_of(this, backfill_to_loop), 1.0 / 50));
    json_object_set_new(limits, "many / few chunks, CPU",
                        report_limit(median_of(this, many_to_few_cpu), 1.03));
    return limits;
}

/* ------------------------------------------------------------------------------------- the case */

/* Whoever comes first finds a server that has done less: the order alternates. */
static bool MUST_CHECK run_all(struct backfill_case *this, int number, struct error *error)
{
    static const struct method NOT_MEASURED = {NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    struct measure *measure = this->measure;
    struct run *run = &this->runs[number];
    bool ok;

    *run = (struct run){.update = NOT_MEASURED,
                        .backfill = NOT_MEASURED,
                        .loop = NOT_MEASURED,
                        .many = NOT_MEASURED,
                        .few = NOT_MEASURED};
    if (measure->options.runs > 1)
        log_notice(measure->log, "run %d of %d", number + 1, measure->options.runs);
    ok = number % 2 == 0 ? run_update(measure, run, error) &&
                               run_backfill(this, number, 0, &run->backfill, error)
                         : run_backfill(this, number, 0, &run->backfill, error) &&
                               run_update(measure, run, error);
    ok = ok && run_loop(measure, run, error);
    if (number % 2 == 0)
        return ok && run_backfill(this, number, FEW_CHUNKS, &run->few, error) &&
               run_backfill(this, number, MANY_CHUNKS, &run->many, error);
    return ok && run_backfill(this, number, MANY_CHUNKS, &run->many, error) &&
           run_backfill(this, number, FEW_CHUNKS, &run->few, error);
}

static bool MUST_CHECK print_report(struct backfill_case *this, FILE *out, struct error *error)
{
    json_t *report = measure_report(this->measure, "backfill");
    json_t *runs = json_array();
    bool ok;

    for (int i = 0; i < this->measure->options.runs; i++)
        json_array_append_new(runs, run_json(&this->runs[i]));
    json_object_set_new(report, "action", json_string("SET " COLUMN " = " EXPRESSION));
    json_object_set_new(report, "runs", runs);
    json_object_set_new(report, "ratios", ratios_json(this));
    json_object_set_new(report, "limits", limits_json(this));
    report_print(out, report, this->measure->options.json);
    ok = measure_judge(report, error);
    json_decref(report);
    return ok;
}

bool bench_backfill(const struct bench_options *options, struct log *log, FILE *out,
                    struct error *error)
{
    struct measure measure;
    struct backfill_case this = {.measure = &measure};
    bool ok = measure_open(&measure, options, log, error);

    for (int i = 0; ok && i < measure.options.runs; i++)
        ok = run_all(&this, i, error);
    ok = ok && print_report(&this, out, error);
    measure_close(&measure);
    return ok;
}
