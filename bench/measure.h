/*
 * What the cases of `pghaul bench` share: a server to measure on, the table, command lines of the
 * program, and looks at the result from outside. Private to measure.c and case_*.c.
 *
 * Life: measure_open() -> ... -> measure_close(), which is right after a failed open, too. One
 * thread.
 */
#ifndef PGHAUL_BENCH_MEASURE_H
#define PGHAUL_BENCH_MEASURE_H

#include "bench/bench.h"
#include "bench/report.h"
#include "bench/sandbox.h"

/*
 * Everything is made in this schema and dropped at the end. The orders, and their ledger for the
 * load.
 */
#define MEASURE_SCHEMA "pghaul_bench"
#define MEASURE_TABLE MEASURE_SCHEMA ".orders"
#define MEASURE_LEDGER MEASURE_SCHEMA ".orders_ledger"
/* A copy of the orders, made anew for whatever changes its rows: measure_make_copy(). */
#define MEASURE_COPY MEASURE_SCHEMA ".changed"
#define MEASURE_COPY_COLUMN "contact" /* in addition; text, NULL in every row */

struct measure {
    struct bench_options options; /* with defaults filled in */
    struct stop never;
    struct log *log;
    struct sandbox *sandbox; /* NULL: somebody else's server */
    bool standby_in_memory;  /* its disk is not the server's */
    const char *conninfo;
    char program[1024];
    struct session *session;
    bool schema_made;
};

/* Starts the server unless there is one, makes the data. */
bool measure_open(struct measure *measure, const struct bench_options *options, struct log *log,
                  struct error *error) MUST_CHECK;
void measure_close(struct measure *measure);

/* MEASURE_COPY of the first `rows`, as compact as one just loaded, settled, and in the cache. */
bool measure_make_copy(struct measure *measure, int64_t rows, struct error *error) MUST_CHECK;
/* Before each method: nothing dirty, in the kernel neither, the table in the cache. */
bool measure_settle(struct measure *measure, struct error *error) MUST_CHECK;
/* Bytes of WAL since the server was made. */
bool measure_wal(struct measure *measure, double *bytes, struct error *error) MUST_CHECK;
double measure_seconds_since(int64_t start_us);
/*
 * CPU seconds that all processes of the server have used, those that ended included. NAN on
 * somebody else's server.
 */
double measure_server_cpu(const struct measure *measure);

/*
 * Rows of the table that a copy (quoted for SQL) lacks, has in addition, or has otherwise; by
 * columns that both have.
 */
bool measure_differences(struct measure *measure, const char *copy, double *differences,
                         struct error *error) MUST_CHECK;
/*
 * The largest difference of pg_stats.correlation over all columns, and whose it is; after an
 * ANALYZE of both with a large sample. `column` (may be NULL) has 64 bytes.
 */
bool measure_correlation_off(struct measure *measure, const char *copy, double *off, char *column,
                             struct error *error) MUST_CHECK;

/* A command line of the program. */
struct measure_command {
    const char *argv[32]; /* ends with NULL */
    int count;
};

void measure_command_add(struct measure_command *command, const char *argument);
/* pghaul VERB OBJECT -d CONNINFO --json */
struct measure_command measure_command(const struct measure *measure, const char *verb,
                                       const char *object);
/* pghaul alter TABLE .. --job JOB --workers N [--do ACTION] */
struct measure_command measure_alter_command(const struct measure *measure, const char *job,
                                             const char *workers);

/* What every report says first: case, sizes, server, settings; a new reference. */
json_t *measure_report(struct measure *measure, const char *name);
/*
 * ERROR_DIFFERS, with names and values, when one of the report's "limits" (report_limit()) does not
 * hold.
 */
bool measure_judge(const json_t *report, struct error *error) MUST_CHECK;

/* Case alter with `load`. */
bool case_alter_load(struct measure *measure, FILE *out, struct error *error) MUST_CHECK;

#endif
