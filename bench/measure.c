#include "bench/measure.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "bench/proc.h"
#include "engine/base/clock.h"
#include "engine/pg/sql.h"

enum {
    ROWS_DEFAULT = 1000000,
    WORKERS_DEFAULT = 2,
    RATE_DEFAULT = 500,
    LOAD_SECONDS_DEFAULT = 10,
};

/* --------------------------------------------------------------------------------------- server */

/* A quarter of the memory, and at most 1 GB, for shared buffers. */
static int64_t shared_buffers_mb(void)
{
    int64_t memory_mb = (int64_t)sysconf(_SC_PHYS_PAGES) / 1024 * sysconf(_SC_PAGESIZE) / 1024;

    return memory_mb / 4 < 1024 ? memory_mb / 4 : 1024;
}

/*
 * A standby stands for another machine: its disk should not be ours. Memory is none, if there is
 * enough for its tables and indexes, a copy of them, and the log of one method at full speed.
 */
static const char MEMORY[] = "/dev/shm";
static const double ROW_BYTES = 600, LOG_BYTES = 10e9;

static const char *standby_base(const struct measure *measure)
{
    double needed = LOG_BYTES + ROW_BYTES * (double)measure->options.rows;
    struct statvfs status;

    if (statvfs(MEMORY, &status) == 0 && proc_memory_available() >= needed &&
        (double)status.f_bavail * (double)status.f_frsize >= needed)
        return MEMORY;
    log_notice(measure->log,
               "the standby's files are on the server's disk: no %.0f GB of %s are free",
               needed / 1e9, MEMORY);
    return NULL;
}

static bool MUST_CHECK start_sandbox(struct measure *measure, struct error *error)
{
    const char *base = measure->options.standby ? standby_base(measure) : NULL;
    char shared_buffers[64];
    /*
     * What one sets on a server that is measured: durable, and no checkpoint forced by WAL in the
     * middle of a method.
     */
    const char *const settings[] = {
        shared_buffers,          "maintenance_work_mem = '512MB'",
        "work_mem = '64MB'",     "max_wal_size = '8GB'",
        "min_wal_size = '4GB'",  "checkpoint_timeout = '30min'",
        "max_connections = 100", NULL,
    };

    snprintf(shared_buffers, sizeof(shared_buffers), "shared_buffers = '%" PRId64 "MB'",
             shared_buffers_mb());
    if (!sandbox_start(&measure->sandbox,
                       &(struct sandbox_options){.settings = settings,
                                                 .durable = true,
                                                 .standby = measure->options.standby,
                                                 .standby_base = base},
                       error))
        return false;
    measure->standby_in_memory = base != NULL;
    measure->conninfo = sandbox_conninfo(measure->sandbox);
    return true;
}

static bool MUST_CHECK find_program(struct measure *measure, struct error *error)
{
    ssize_t length;

    if (measure->options.program != NULL) {
        snprintf(measure->program, sizeof(measure->program), "%s", measure->options.program);
        return true;
    }
    length = readlink("/proc/self/exe", measure->program, sizeof(measure->program) - 1);
    if (length < 0)
        return error_set(error, ERROR_SYSTEM, "could not find out where this program is");
    measure->program[length] = '\0';
    return true;
}

static bool MUST_CHECK make_data(struct measure *measure, struct error *error)
{
    log_notice(measure->log, "making %s: %" PRId64 " rows", MEASURE_TABLE, measure->options.rows);
    /* Not IF NOT EXISTS: a schema of that name that is not ours is left alone. */
    if (!session_run(measure->session, "CREATE SCHEMA " MEASURE_SCHEMA, error)) {
        error_hint(error,
                   "an earlier run that was killed may have left it: DROP SCHEMA " MEASURE_SCHEMA
                   " CASCADE");
        return false;
    }
    measure->schema_made = true;
    return data_make(
        measure->session,
        &(struct data_options){.set = measure->options.serial ? "orders-serial" : "orders",
                               .schema = MEASURE_SCHEMA,
                               .name = "orders",
                               .rows = measure->options.rows,
                               .seed = measure->options.seed,
                               .ledger = measure->options.load},
        error);
}

/*
 * Before each method: nothing dirty, in the kernel neither, the table in the cache. Only a
 * superuser may checkpoint; others measure without.
 */
bool measure_settle(struct measure *measure, struct error *error)
{
    struct error ignored;

    if (!stop_check(measure->options.stop, error))
        return false;
    if (!session_run(measure->session, "CHECKPOINT", &ignored))
        log_verbose(measure->log, "no checkpoint: %s", ignored.message);
    sync(); /* what the kernel writes by itself would come half a minute later, to somebody else */
    return session_run(measure->session, "SELECT count(attributes) FROM " MEASURE_TABLE, error);
}

/* $1: the last id. */
static const char FILL_COPY[] =
    "INSERT INTO " MEASURE_COPY "\n"
    "SELECT * FROM " MEASURE_TABLE " WHERE id <= $1::bigint ORDER BY id";

/* Indexes after the rows: as compact as in a table that was just loaded. */
static const char *const INDEX_COPY[] = {
    "ALTER TABLE " MEASURE_COPY " ADD PRIMARY KEY (id)",
    "CREATE INDEX ON " MEASURE_COPY " (customer_id)",
    "CREATE INDEX ON " MEASURE_COPY " (created_at)",
    "VACUUM (ANALYZE) " MEASURE_COPY,
    NULL,
};

bool measure_make_copy(struct measure *measure, int64_t rows, struct error *error)
{
    if (!session_run(measure->session, "DROP TABLE IF EXISTS " MEASURE_COPY, error) ||
        !session_run(measure->session,
                     "CREATE TABLE " MEASURE_COPY " (LIKE " MEASURE_TABLE ", " MEASURE_COPY_COLUMN
                     " text)\n"
                     "WITH (autovacuum_enabled = off)",
                     error) ||
        !session_execute(measure->session, FILL_COPY, PARAMS(NUMBER(rows)), NULL, error))
        return false;
    for (const char *const *sql = INDEX_COPY; *sql != NULL; sql++)
        if (!session_run(measure->session, *sql, error))
            return false;
    return measure_settle(measure, error) &&
           session_run(measure->session, "SELECT count(attributes) FROM " MEASURE_COPY, error);
}

bool measure_wal(struct measure *measure, double *bytes, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(measure->session, &rows,
                       "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8",
                       NO_PARAMS, error))
        return false;
    *bytes = rows_double(&rows, 0, 0);
    return true;
}

double measure_seconds_since(int64_t start_us)
{
    return (double)(clock_us() - start_us) / 1e6;
}

/* -------------------------------------------------------------------------- what the server used
 */

/* schedstat of a process with several threads is that of the first; servers have one each. */
double measure_server_cpu(const struct measure *measure)
{
    int postmaster = measure->sandbox == NULL ? 0 : sandbox_postmaster_pid(measure->sandbox);
    DIR *processes = postmaster == 0 ? NULL : opendir("/proc");
    const struct dirent *entry;
    double seconds = 0;

    if (processes == NULL)
        return NAN;
    while ((entry = readdir(processes)) != NULL) {
        bool is_postmaster = strtol(entry->d_name, NULL, 10) == postmaster;
        struct proc_stat stat;
        char folder[64];

        snprintf(folder, sizeof(folder), "/proc/%.20s", entry->d_name);
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !proc_stat(folder, &stat) ||
            (!is_postmaster && stat.parent != postmaster))
            continue;
        seconds += stat.own_seconds + (is_postmaster ? stat.ended_seconds : 0);
    }
    closedir(processes);
    return seconds;
}

/* --------------------------------------------------------------------- the result, from outside */

/*
 * $1, $2: source and copy. What both have, the source's values cast to the copy's types; columns by
 * name.
 */
static const char COMMON_COLUMNS[] =
    "SELECT string_agg(format('s.%I::%s', s.attname, format_type(c.atttypid, c.atttypmod)), ', '\n"
    "                  ORDER BY s.attnum),\n"
    "       string_agg(format('c.%I', s.attname), ', ' ORDER BY s.attnum)\n"
    "  FROM pg_attribute s JOIN pg_attribute c ON c.attname = s.attname\n"
    " WHERE s.attrelid = $1::regclass AND c.attrelid = $2::regclass\n"
    "   AND s.attnum > 0 AND c.attnum > 0 AND NOT s.attisdropped AND NOT c.attisdropped";

static const char COUNT_DIFFERENCES[] =
    "SELECT count(*) FROM {source} AS s FULL JOIN {copy} AS c ON s.id = c.id\n"
    " WHERE s.id IS NULL OR c.id IS NULL\n"
    "    OR record_image_ne(ROW({source_columns}), ROW({copy_columns}))";

bool measure_differences(struct measure *measure, const char *copy, double *differences,
                         struct error *error)
{
    ROWS_AUTO columns = {0};
    ROWS_AUTO count = {0};
    TEXT_AUTO sql = {0};

    if (!session_query(measure->session, &columns, COMMON_COLUMNS, PARAMS(MEASURE_TABLE, copy),
                       error))
        return false;
    sql_expand(&sql, COUNT_DIFFERENCES,
               SQL_NAMES({"source", sql_fragment(MEASURE_TABLE)}, {"copy", sql_fragment(copy)},
                         {"source_columns", sql_fragment(rows_text(&columns, 0, 0))},
                         {"copy_columns", sql_fragment(rows_text(&columns, 0, 1))}));
    if (!session_query(measure->session, &count, text_string(&sql), NO_PARAMS, error))
        return error_context(error, "could not compare %s with %s", MEASURE_TABLE, copy);
    *differences = rows_double(&count, 0, 0);
    return true;
}

/* $1, $2: source and copy. The column whose physical order differs most. */
static const char CORRELATION_OFF[] =
    "WITH relations AS (\n"
    "    SELECT c.oid, n.nspname, c.relname\n"
    "      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace)\n"
    "SELECT a.attname, abs(a.correlation - b.correlation)::float8\n"
    "  FROM pg_stats a\n"
    "  JOIN relations s ON s.oid = $1::regclass\n"
    "                  AND s.nspname = a.schemaname AND s.relname = a.tablename\n"
    "  JOIN relations c ON c.oid = $2::regclass\n"
    "  JOIN pg_stats b ON b.schemaname = c.nspname AND b.tablename = c.relname\n"
    "                 AND b.attname = a.attname\n"
    " WHERE a.correlation IS NOT NULL AND b.correlation IS NOT NULL\n"
    " ORDER BY 2 DESC LIMIT 1";

/*
 * The usual sample (30,000 rows) says 0.02 more or less for a column of few values, so both tables
 * are analyzed again with a larger one.
 */
static bool MUST_CHECK analyze_well(struct measure *measure, const char *copy, struct error *error)
{
    TEXT_AUTO sql = {0};

    sql_expand(&sql, "ANALYZE {table}", SQL_NAMES({"table", sql_fragment(copy)}));
    return session_run(measure->session, "SET default_statistics_target = 2000", error) &&
           session_run(measure->session, "ANALYZE " MEASURE_TABLE, error) &&
           session_run_text(measure->session, &sql, error) &&
           session_run(measure->session, "RESET default_statistics_target", error);
}

/* `column` (may be NULL) has 64 bytes. */
bool measure_correlation_off(struct measure *measure, const char *copy, double *off, char *column,
                             struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!analyze_well(measure, copy, error) ||
        !session_query(measure->session, &rows, CORRELATION_OFF, PARAMS(MEASURE_TABLE, copy),
                       error))
        return false;
    *off = rows_count(&rows) == 0 ? NAN : rows_double(&rows, 0, 1);
    if (column != NULL)
        snprintf(column, 64, "%s", rows_count(&rows) == 0 ? "" : rows_text(&rows, 0, 0));
    return true;
}

/* -------------------------------------------------------------------------------- command lines */

void measure_command_add(struct measure_command *command, const char *argument)
{
    if (command->count < (int)(sizeof(command->argv) / sizeof(command->argv[0])) - 1)
        command->argv[command->count++] = argument;
}

struct measure_command measure_command(const struct measure *measure, const char *verb,
                                       const char *object)
{
    struct measure_command command = {0};

    measure_command_add(&command, measure->program);
    measure_command_add(&command, verb);
    measure_command_add(&command, object);
    measure_command_add(&command, "-d");
    measure_command_add(&command, measure->conninfo);
    measure_command_add(&command, "--json");
    return command;
}

struct measure_command measure_alter_command(const struct measure *measure, const char *job,
                                             const char *workers)
{
    struct measure_command command = measure_command(measure, "alter", MEASURE_TABLE);

    measure_command_add(&command, "--job");
    measure_command_add(&command, job);
    measure_command_add(&command, "--workers");
    measure_command_add(&command, workers);
    if (measure->options.action != NULL) {
        measure_command_add(&command, "--do");
        measure_command_add(&command, measure->options.action);
    }
    return command;
}

/* --------------------------------------------------------------------------------------- report */

/* {name: setting} of what decides speed. */
static json_t *server_json(struct measure *measure)
{
    static const char SETTINGS[] =
        "SELECT name, current_setting(name) FROM pg_settings\n"
        " WHERE name IN ('server_version', 'shared_buffers', 'maintenance_work_mem',\n"
        "                'max_wal_size', 'fsync', 'synchronous_commit', 'full_page_writes',\n"
        "                'wal_compression', 'wal_level', 'autovacuum',\n"
        "                'max_parallel_maintenance_workers')\n"
        " ORDER BY name";
    json_t *server = json_object();
    ROWS_AUTO rows = {0};
    struct error ignored;

    if (session_query(measure->session, &rows, SETTINGS, NO_PARAMS, &ignored))
        for (int i = 0; i < rows_count(&rows); i++)
            json_object_set_new(server, rows_text(&rows, i, 0),
                                json_string(rows_text(&rows, i, 1)));
    json_object_set_new(server, "cpus", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    json_object_set_new(server, "sandbox", json_boolean(measure->sandbox != NULL));
    if (measure->options.standby)
        json_object_set_new(server, "standby_in_memory", json_boolean(measure->standby_in_memory));
    return server;
}

json_t *measure_report(struct measure *measure, const char *name)
{
    const struct bench_options *options = &measure->options;
    ROWS_AUTO rows = {0};
    struct error ignored;
    json_t *report = json_pack(
        "{s:s, s:I, s:i, s:I, s:s, s:o}", "case", name, "rows", (json_int_t)options->rows,
        "workers", options->workers, "seed", (json_int_t)options->seed, "action",
        options->action != NULL ? options->action : "rebuild", "server", server_json(measure));

    if (session_query(measure->session, &rows, "SELECT pg_table_size('" MEASURE_TABLE "')",
                      NO_PARAMS, &ignored))
        json_object_set_new(report, "table_bytes", json_integer(rows_int64(&rows, 0, 0)));
    return report;
}

bool measure_judge(const json_t *report, struct error *error)
{
    TEXT_AUTO broken = {0};
    const char *name;
    json_t *limit;

    json_object_foreach(json_object_get(report, "limits"), name,
                        limit) if (json_is_false(json_object_get(limit, "holds")))
    {
        text_separate(&broken, ", ");
        text_appendf(&broken, "%s = %.6g (at most %.6g)", name,
                     json_number_value(json_object_get(limit, "value")),
                     json_number_value(json_object_get(limit, "limit")));
    }
    return broken.used == 0 ||
           error_set(error, ERROR_DIFFERS, "limits that do not hold: %s", text_string(&broken));
}

/* ----------------------------------------------------------------------------------------- life */

static void fill_defaults(struct measure *measure, const struct bench_options *options)
{
    struct bench_options *ours = &measure->options;

    *ours = *options;
    if (ours->rows <= 0)
        ours->rows = ROWS_DEFAULT;
    if (ours->workers <= 0)
        ours->workers = WORKERS_DEFAULT;
    if (ours->runs <= 0)
        ours->runs = 1;
    if (ours->runs > BENCH_RUNS_MAX)
        ours->runs = BENCH_RUNS_MAX;
    if (ours->load_rate <= 0)
        ours->load_rate = RATE_DEFAULT;
    if (ours->load_seconds <= 0)
        ours->load_seconds = LOAD_SECONDS_DEFAULT;
    if (ours->stop == NULL)
        ours->stop = &measure->never;
    measure->conninfo = ours->conninfo;
}

/* On somebody else's server: what we made goes away. Ours goes away as a whole. */
void measure_close(struct measure *measure)
{
    struct error ignored;

    if (measure->sandbox == NULL && measure->schema_made && session_alive(measure->session) &&
        !session_run(measure->session,
                     "SET lock_timeout = '10s'; DROP SCHEMA " MEASURE_SCHEMA " CASCADE", &ignored))
        log_warning(measure->log, "could not drop schema %s: %s", MEASURE_SCHEMA, ignored.message);
    session_close(measure->session);
    sandbox_stop(measure->sandbox);
}

bool measure_open(struct measure *measure, const struct bench_options *options, struct log *log,
                  struct error *error)
{
    *measure = (struct measure){.log = log};
    fill_defaults(measure, options);
    return find_program(measure, error) &&
           (measure->conninfo != NULL || start_sandbox(measure, error)) &&
           session_open(&measure->session,
                        &(struct session_options){.conninfo = measure->conninfo,
                                                  .application_name = "bench"},
                        error) &&
           session_run(
               measure->session,
               "SET work_mem = '256MB'; SET lock_timeout = '30s'; RESET backend_flush_after",
               error) &&
           make_data(measure, error);
}
