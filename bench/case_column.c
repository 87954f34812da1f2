#include <math.h>
#include <string.h>
#include <unistd.h>

#include "bench/program.h"
#include "bench/references.h"

enum {
    LIMITS_ROWS_MIN = 1000000, /* smaller tables: only the result is judged */
    LOAD_CLIENTS = 8,
    LOAD_SECONDS_DEFAULT = 5,
    WAIT_MS_MAX = 100,
    NEAR_IDS_MAX = 100,
};

/* The steps behind `ready`, in seconds of the command. */
enum step { CUTOVER, ROLLBACK, CUTOVER_AGAIN, FINISH, STEPS };
static const char *const STEP_NAMES[STEPS] = {"cutover", "rollback", "second cutover", "finish"};

struct column_case {
    struct measure *measure;
    struct traffic *traffic; /* NULL while none runs */
    char job[40];
    double ready_seconds;
    double step_seconds[STEPS];
    double unequal_rows; /* of the two columns, each time both are there */
    json_t *phases;      /* seconds to ready, by name; owned */
};

/* What the end looks like. */
struct end {
    json_t *locks; /* owned */
    double lock_ms_max;
    double differences;
    double orphans;
    double largest_id;
    double references_past; /* rows that refer to ids past 2^31 */
    double schema_differences;
    char schema_sample[256];
};

/* ----------------------------------------------------------------------------------- the schema */

/*
 * What the catalogue says of the schema, a line for each thing, order of columns aside. NOT NULL is
 * told by the column, whatever 18 calls its constraint.
 */
static const char MAKE_SCHEMA_NOW[] =
    "CREATE VIEW " MEASURE_SCHEMA ".schema_now AS\n"
    "SELECT format('column %s.%s %s%s%s', c.relname, a.attname,\n"
    "              format_type(a.atttypid, a.atttypmod),\n"
    "              CASE WHEN a.attnotnull THEN ' NOT NULL' END,\n"
    "              ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid)) AS line\n"
    "  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid\n"
    "  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum\n"
    " WHERE c.relnamespace = '" MEASURE_SCHEMA "'::regnamespace AND c.relkind = 'r'\n"
    "   AND c.relname <> 'schema_wanted' AND a.attnum > 0 AND NOT a.attisdropped\n"
    " UNION ALL\n"
    "SELECT format('constraint %s of %s %s', conname, conrelid::regclass,\n"
    "              pg_get_constraintdef(oid))\n"
    "  FROM pg_constraint\n"
    " WHERE connamespace = '" MEASURE_SCHEMA "'::regnamespace AND contype <> 'n'\n"
    " UNION ALL\n"
    "SELECT format('index %s valid %s', pg_get_indexdef(i.indexrelid), i.indisvalid)\n"
    "  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid\n"
    " WHERE c.relnamespace = '" MEASURE_SCHEMA "'::regnamespace\n"
    " UNION ALL\n"
    "SELECT format('trigger %s', pg_get_triggerdef(t.oid))\n"
    "  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid\n"
    " WHERE c.relnamespace = '" MEASURE_SCHEMA "'::regnamespace AND NOT t.tgisinternal\n"
    " UNION ALL\n"
    "SELECT format('sequence %s %s up to %s of %s.%s', s.seqrelid::regclass,\n"
    "              s.seqtypid::regtype, s.seqmax, d.refobjid::regclass, a.attname)\n"
    "  FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid\n"
    "  LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid\n"
    "                       AND d.deptype = 'a'\n"
    "  LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid\n"
    " WHERE c.relnamespace = '" MEASURE_SCHEMA "'::regnamespace";

/* As it is before the job, but for what the job is to change. */
static const char MAKE_SCHEMA_WANTED[] =
    "CREATE TABLE " MEASURE_SCHEMA ".schema_wanted AS\n"
    "SELECT CASE WHEN line LIKE 'column orders.id integer %'\n"
    "            THEN replace(line, ' integer ', ' bigint ')\n"
    "            WHEN line LIKE 'sequence %orders_id_seq integer up to 2147483647 %'\n"
    "            THEN replace(line, 'integer up to 2147483647', 'bigint up to "
    "9223372036854775807')\n"
    "            ELSE line END AS line\n"
    "  FROM " MEASURE_SCHEMA ".schema_now";

static const char SCHEMA_DIFFERENCES[] =
    "WITH n AS MATERIALIZED (SELECT line FROM " MEASURE_SCHEMA ".schema_now),\n"
    "     w AS MATERIALIZED (SELECT line FROM " MEASURE_SCHEMA ".schema_wanted)\n"
    "SELECT count(*)::float8, left(string_agg(line, ' | ' ORDER BY line), 250) FROM (\n"
    "    SELECT 'missing: ' || line FROM (SELECT line FROM w EXCEPT ALL SELECT line FROM n) AS m\n"
    "     UNION ALL\n"
    "    SELECT 'extra: ' || line FROM (SELECT line FROM n EXCEPT ALL SELECT line FROM w) AS e\n"
    ") AS differences (line)";

static bool MUST_CHECK want_schema(struct measure *measure, struct error *error)
{
    return session_run(measure->session, MAKE_SCHEMA_NOW, error) &&
           session_run(measure->session, MAKE_SCHEMA_WANTED, error);
}

/* ------------------------------------------------------------------------------------ the steps */

static bool MUST_CHECK let_load_run(struct column_case *this, const char *phase,
                                    struct error *error)
{
    traffic_mark(this->traffic, phase);
    return stop_sleep_ms(this->measure->options.stop,
                         (int64_t)this->measure->options.load_seconds * 1000, error);
}

/* Both columns in every row, in one snapshot. */
static bool MUST_CHECK count_unequal(struct column_case *this, const char *sql, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(this->measure->session, &rows, sql, NO_PARAMS, error))
        return false;
    this->unequal_rows += rows_double(&rows, 0, 0);
    return true;
}

static bool MUST_CHECK count_unequal_before(struct column_case *this, struct error *error)
{
    return count_unequal(this,
                         "SELECT count(*)::float8 FROM " MEASURE_TABLE
                         " WHERE pghaul_new_id IS DISTINCT FROM id",
                         error);
}

static bool MUST_CHECK count_unequal_after(struct column_case *this, struct error *error)
{
    return count_unequal(this,
                         "SELECT count(*)::float8 FROM " MEASURE_TABLE
                         " WHERE pghaul_old_id IS DISTINCT FROM id",
                         error);
}

static bool MUST_CHECK to_ready(struct column_case *this, struct error *error)
{
    struct measure *measure = this->measure;
    struct measure_command command = measure_command(measure, "column", "retype");
    struct program_result result;
    char workers[24];
    bool ok;

    measure_command_add(&command, MEASURE_TABLE);
    measure_command_add(&command, "id");
    measure_command_add(&command, "bigint");
    measure_command_add(&command, "--job");
    measure_command_add(&command, this->job);
    measure_command_add(&command, "--workers");
    measure_command_add(&command, number_text(workers, measure->options.workers));
    log_notice(measure->log, "pghaul column retype to ready, %d workers", measure->options.workers);
    traffic_mark(this->traffic, "job");
    ok = program_succeed(
        &(struct program){.argv = command.argv, .line = traffic_mark_event, .arg = this->traffic},
        &result, error);
    this->ready_seconds = result.seconds;
    program_result_deinit(&result);
    return ok;
}

/* Seconds of the phases, as the job recorded them. */
static bool MUST_CHECK look_at_phases(struct column_case *this, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(this->measure->session, &rows,
                       "SELECT p.name, p.seconds FROM pghaul.phase AS p\n"
                       "  JOIN pghaul.job AS j ON j.id = p.job\n"
                       " WHERE j.name = $1 AND p.state = 'done' ORDER BY p.number",
                       PARAMS(this->job), error))
        return false;
    for (int i = 0; i < rows_count(&rows); i++)
        json_object_set_new(this->phases, rows_text(&rows, i, 0),
                            report_number(rows_double(&rows, i, 1), 3));
    return true;
}

static bool MUST_CHECK take_step(struct column_case *this, enum step step, const char *verb,
                                 const char *phase_after, struct error *error)
{
    struct measure_command command = measure_command(this->measure, verb, this->job);
    struct program_result result;
    bool ok;

    measure_command_add(&command, "--yes");
    log_notice(this->measure->log, "%s", STEP_NAMES[step]);
    traffic_mark(this->traffic, STEP_NAMES[step]);
    ok = program_succeed(&(struct program){.argv = command.argv}, &result, error);
    this->step_seconds[step] = result.seconds;
    program_result_deinit(&result);
    return ok && let_load_run(this, phase_after, error);
}

/*
 * The next ids are the last ones that an integer holds: so few of them that the load, of which a
 * sixth are new orders, gets past them in a third of the time.
 */
static bool MUST_CHECK near_the_end(struct column_case *this, struct error *error)
{
    const struct bench_options *options = &this->measure->options;
    double left = fmin(NEAR_IDS_MAX, options->load_rate * options->load_seconds / 20);

    log_notice(this->measure->log, "the sequence goes on %.0f below 2^31", left);
    return session_execute(this->measure->session,
                           "SELECT setval('" MEASURE_SCHEMA ".orders_id_seq', $1::bigint)",
                           PARAMS(NUMBER(INT64_C(2147483648) - (int64_t)left)), NULL, error) &&
           let_load_run(this, "past 2^31", error);
}

static bool MUST_CHECK run_steps(struct column_case *this, struct error *error)
{
    log_notice(this->measure->log, "load: %d s alone", this->measure->options.load_seconds);
    return let_load_run(this, "before", error) && to_ready(this, error) &&
           let_load_run(this, "ready", error) && look_at_phases(this, error) &&
           count_unequal_before(this, error) &&
           take_step(this, CUTOVER, "cutover", "cut over", error) &&
           count_unequal_after(this, error) &&
           take_step(this, ROLLBACK, "rollback", "rolled back", error) &&
           count_unequal_before(this, error) &&
           take_step(this, CUTOVER_AGAIN, "cutover", "cut over again", error) &&
           count_unequal_after(this, error) && near_the_end(this, error) &&
           take_step(this, FINISH, "finish", "finished", error);
}

static bool MUST_CHECK run_beside_load(struct column_case *this, struct traffic_report *load,
                                       struct error *error)
{
    const struct bench_options *options = &this->measure->options;
    struct error second;
    bool ok;

    if (!measure_settle(this->measure, error) ||
        !traffic_start(&this->traffic,
                       &(struct traffic_options){.kind = TRAFFIC_PACED,
                                                 .conninfo = this->measure->conninfo,
                                                 .clients = LOAD_CLIENTS,
                                                 .seed = options->seed,
                                                 .watch = "pghaul%",
                                                 .rate = options->load_rate,
                                                 .table = MEASURE_TABLE,
                                                 .ledger = MEASURE_LEDGER,
                                                 .others = references_load,
                                                 .old_ids = options->rows,
                                                 .kept_ids = references_kept_ids(this->measure)},
                       error))
        return false;
    ok = run_steps(this, error);
    if (!traffic_stop(this->traffic, load, ok ? error : &second))
        ok = false;
    this->traffic = NULL;
    return ok;
}

/* -------------------------------------------------------------------------------------- the end */

static const char LOOK_AT_LOCKS[] =
    "SELECT l ->> 'for', l ->> 'mode', (l ->> 'waited_ms')::float8, (l ->> 'held_ms')::float8,\n"
    "       (l ->> 'attempts')::int\n"
    "  FROM pghaul.job AS j, jsonb_array_elements(j.facts -> 'locks') AS l\n"
    " WHERE j.name = $1";

/* What a writer may have waited for one of them: our wait, behind which it queues, and our work. */
static bool MUST_CHECK look_at_locks(struct column_case *this, struct end *end, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(this->measure->session, &rows, LOOK_AT_LOCKS, PARAMS(this->job), error))
        return false;
    for (int i = 0; i < rows_count(&rows); i++) {
        double waited_ms = rows_double(&rows, i, 2);
        double held_ms = rows_double(&rows, i, 3);

        end->lock_ms_max = fmax(end->lock_ms_max, waited_ms + held_ms);
        json_array_append_new(
            end->locks,
            json_pack("{s:s, s:s, s:o, s:o, s:I}", "for", rows_text(&rows, i, 0), "mode",
                      rows_text(&rows, i, 1), "waited_ms", report_number(waited_ms, 0), "held_ms",
                      report_number(held_ms, 0), "attempts", (json_int_t)rows_int64(&rows, i, 4)));
    }
    return true;
}

static bool MUST_CHECK look_at_rows(struct measure *measure, struct end *end, struct error *error)
{
    int64_t differences;
    ROWS_AUTO rows = {0};

    if (!traffic_compare(measure->conninfo, MEASURE_TABLE, MEASURE_LEDGER, traffic_orders_columns,
                         NULL, &differences, NULL, error) ||
        !references_look(measure, &end->orphans, &end->references_past, error) ||
        !session_query(measure->session, &rows, "SELECT max(id)::float8 FROM " MEASURE_TABLE,
                       NO_PARAMS, error))
        return false;
    end->differences = (double)differences;
    end->largest_id = rows_double(&rows, 0, 0);
    return true;
}

static bool MUST_CHECK look_at_schema(struct measure *measure, struct end *end, struct error *error)
{
    const char *sample;
    ROWS_AUTO rows = {0};

    if (!session_query(measure->session, &rows, SCHEMA_DIFFERENCES, NO_PARAMS, error))
        return false;
    end->schema_differences = rows_double(&rows, 0, 0);
    sample = rows_text(&rows, 0, 1);
    snprintf(end->schema_sample, sizeof(end->schema_sample), "%s", sample != NULL ? sample : "");
    return true;
}

static json_t *steps_json(const struct column_case *this)
{
    json_t *seconds = json_object();

    json_object_set_new(seconds, "ready", report_number(this->ready_seconds, 2));
    for (int i = 0; i < STEPS; i++)
        json_object_set_new(seconds, STEP_NAMES[i], report_number(this->step_seconds[i], 2));
    return seconds;
}

static json_t *limits_json(const struct column_case *this, const struct end *end,
                           const struct traffic_report *load)
{
    json_t *limits = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "differences", report_limit(end->differences, 0),
        "unequal_rows", report_limit(this->unequal_rows, 0), "orphans",
        report_limit(end->orphans, 0), "schema_differences",
        report_limit(end->schema_differences, 0), "unexpected_errors",
        report_limit((double)load->unexpected_errors, 0), "deadlocks_with_strangers",
        report_limit((double)load->deadlocks_with_strangers, 0), "ids_short_of_2^31",
        report_limit(fmax(2147483648.0 - end->largest_id, 0), 0));

    if (this->measure->options.rows < LIMITS_ROWS_MIN)
        return limits;
    json_object_set_new(limits, "lock_ms_max", report_limit(end->lock_ms_max, WAIT_MS_MAX));
    json_object_set_new(limits, "held_up_ms_max", report_limit(load->held_up_ms_max, WAIT_MS_MAX));
    return limits;
}

static bool MUST_CHECK print_report(const struct column_case *this, const struct end *end,
                                    const struct traffic_report *load, FILE *out,
                                    struct error *error)
{
    json_t *report = measure_report(this->measure, "column");
    bool ok;

    json_object_set_new(report, "action", json_string("retype id bigint"));
    json_object_set_new(report, "load_rate", report_number(this->measure->options.load_rate, 1));
    json_object_set_new(report, "seconds", steps_json(this));
    json_object_set(report, "phase_seconds", this->phases);
    json_object_set(report, "locks", end->locks);
    json_object_set_new(report, "lock_ms_max", report_number(end->lock_ms_max, 0));
    json_object_set_new(report, "load", traffic_report_json(load));
    json_object_set_new(report, "largest_id", json_integer((json_int_t)end->largest_id));
    json_object_set_new(report, "references_past_2^31",
                        json_integer((json_int_t)end->references_past));
    if (end->schema_sample[0] != '\0')
        json_object_set_new(report, "schema_sample", json_string(end->schema_sample));
    json_object_set_new(report, "limits", limits_json(this, end, load));
    report_print(out, report, this->measure->options.json);
    ok = measure_judge(report, error);
    json_decref(report);
    return ok;
}

/* ------------------------------------------------------------------------------------- the case */

static bool MUST_CHECK case_column(struct measure *measure, FILE *out, struct error *error)
{
    struct column_case this = {.measure = measure, .phases = json_object()};
    struct end end = {.locks = json_array()};
    struct traffic_report load = {0};
    bool ok;

    snprintf(this.job, sizeof(this.job), "bench-%d-column", (int)getpid());
    ok = references_make(measure, error) && want_schema(measure, error) &&
         run_beside_load(&this, &load, error) && look_at_locks(&this, &end, error) &&
         look_at_rows(measure, &end, error) && look_at_schema(measure, &end, error) &&
         print_report(&this, &end, &load, out, error);
    traffic_report_deinit(&load);
    json_decref(this.phases);
    json_decref(end.locks);
    return ok;
}

bool bench_column(const struct bench_options *options, struct log *log, FILE *out,
                  struct error *error)
{
    struct bench_options ours = *options;
    struct measure measure;
    bool ok;

    ours.load = true;
    ours.serial = true;
    if (ours.load_seconds <= 0)
        ours.load_seconds = LOAD_SECONDS_DEFAULT;
    ok = measure_open(&measure, &ours, log, error) && case_column(&measure, out, error);
    measure_close(&measure);
    return ok;
}
