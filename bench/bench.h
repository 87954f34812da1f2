/*
 * The cases of `pghaul bench`: measurements that can be repeated, and that fail when a limit of
 * docs/ does not hold.
 *
 * They see the program from outside: they run it as a child with the command line a user has, read
 * `--json`, and ask the server. Each case prints one report to `out` (JSON: one object on one
 * line).
 *
 * Called from one thread; a case starts threads and a server of its own and ends them, whatever
 * happens.
 */
#ifndef PGHAUL_BENCH_BENCH_H
#define PGHAUL_BENCH_BENCH_H

#include <stdio.h>

#include "bench/data.h"
#include "engine/base/log.h"
#include "engine/base/stop.h"

enum { BENCH_RUNS_MAX = 21 };

/*
 * Case alter. Makes `orders`, and measures in one run, on one server:
 *
 *     floor      what nothing can beat that uses one session: INSERT .. SELECT of the whole table
 *                into a bare one, the same indexes one after the other, ANALYZE; nobody else on the
 *                server
 *     alter      `pghaul alter` to `ready`; settle and verify are told apart; then the result is
 *                compared with the source in SQL, and the job aborted
 *     pg_repack  the same table, when its extension and program are there
 *
 * With `load`: a paced write load before, during and after `pghaul alter --cutover now`, its waits
 * by phase, and the table compared with the load's ledger.
 *
 * False with ERROR_DIFFERS after the report when a limit does not hold: differences always; memory
 * and correlation from 1,000,000 rows on; time to ready against floor and pg_repack, and verify
 * against load, from 5,000,000 rows on (below, start-up is what one measures).
 */
struct bench_options {
    const char *conninfo; /* NULL: a sandbox of its own; else schema pghaul_bench is used there */
    const char *program;  /* NULL: ourselves */
    const char *action;   /* for --do: "ALTER COLUMN customer_id TYPE bigint"; NULL: rebuild only */
    int64_t rows;         /* 0: 1,000,000 */
    int workers;          /* 0: 2 */
    int runs;             /* 0: 1; the order of the methods alternates, limits are for medians */
    uint64_t seed;
    bool json;
    bool load;
    bool serial;             /* the id is a serial (data.h) */
    bool standby;            /* the sandbox has a streaming standby */
    double load_rate;        /* transactions a second; 0: 500 */
    int load_seconds;        /* before and after; 0: 10 */
    const struct stop *stop; /* NULL: never stopped */
};

bool bench_alter(const struct bench_options *options, struct log *log, FILE *out,
                 struct error *error) MUST_CHECK;

/*
 * Case backfill. The same change of a column in every row, each on a fresh and equal copy of
 * `orders`:
 *
 *     update       one UPDATE statement
 *     backfill     `pghaul backfill`
 *     loop         UPDATE .. WHERE id IN (SELECT id .. WHERE column IS NULL LIMIT 1000) for
 *                  `load_seconds`, extrapolated over the table
 *     few, many    `pghaul backfill` in about 10 and about 250 chunks: what a chunk itself costs
 *
 * with WAL per row, dead rows left, and the CPU seconds of the whole server (in a sandbox). Uses
 * no action and no load. False with ERROR_DIFFERS after the report when a limit does not hold:
 * wrong rows always; backfill against update and loop, and the CPU seconds of many chunks against
 * few, from 5,000,000 rows on.
 */
bool bench_backfill(const struct bench_options *options, struct log *log, FILE *out,
                    struct error *error) MUST_CHECK;

/*
 * Case column. `pghaul column retype orders id bigint` under a paced load: the id is a serial, and
 * three tables of a tenth of the rows refer to it, ON DELETE CASCADE, SET NULL, and neither. The
 * load changes all of them, before, during and after each step: to ready, cut-over, rollback,
 * cut-over, the sequence set to shortly before 2^31, finish. Told are the times, every strong lock
 * that the job took, the load's waits by phase, and how long a client was held up by a session of
 * the job, for a table and for a row.
 *
 * Uses no action and no runs; `load_seconds` (0: 5) is after each step. False with ERROR_DIFFERS
 * after the report when a limit does not hold: rows that differ from the ledger or in the two
 * columns, orphans, the schema, errors of the load, and ids that do not get past 2^31 always; waits
 * from 1,000,000 rows on.
 */
bool bench_column(const struct bench_options *options, struct log *log, FILE *out,
                  struct error *error) MUST_CHECK;

/*
 * Case throttle. What policies make of one and the same replica: on a sandbox with a standby that
 * replays a part of what an unthrottled job writes, `pghaul backfill` and `pghaul alter` under each
 * policy, beside a paced load on a table of its own at a quarter of its own maximum. All is
 * measured from outside (watch.h), during the phases that can be paced: the job is interrupted
 * after a window of `load_seconds` (0: 60), or when it comes to the end of those phases.
 *
 *     round 1    auto  off  fixed=1s  law=..      each: a fresh table, the load alone, the job, the
 *     round 2    off  fixed=1s  law=..  auto      load alone again
 *     round 3    ..                               `runs` (0: 3) of them, everybody once first
 *
 * `rows` (0: 8,000,000) are alter's; backfill gets a quarter of them.
 *
 * Besides, what the governor itself costs with nothing to throttle, and a picture (plot.h).
 *
 * Uses no action; `load_rate` 0 is the quarter; `conninfo` must be NULL. False with ERROR_DIFFERS
 * after the report when a limit does not hold: errors of the load always; from windows of 30 s on
 * and with 3 rounds, that auto is within the lag limit for 99 % of the time and is the fastest of
 * those that are, what the load waits, and the cost of the governor.
 */
struct bench_throttle_options {
    const char *const *policies; /* ends with NULL; NULL: all of bench_throttle_policies */
    const char *job;             /* "backfill", "alter"; NULL: both */
    const char *svg;             /* file; NULL: none */
};

extern const char *const bench_throttle_policies[]; /* ends with NULL */

bool bench_throttle(const struct bench_options *options,
                    const struct bench_throttle_options *throttle, struct log *log, FILE *out,
                    struct error *error) MUST_CHECK;

/*
 * Case load: only the load, against a database that somebody else works on (the demo, a hand-made
 * experiment). The tables are there already (bench_data()). Runs until `seconds` are over or
 * stopping is wanted, which is no error here, and compares with the ledger afterwards. False with
 * ERROR_DIFFERS after the report when that differs or the load saw an error that the table alone
 * does not give.
 */
struct bench_load_options {
    const char *conninfo;
    bool hostile;          /* on acct and ledger; else paced, on `table` and TABLE_ledger */
    const char *table;     /* paced: an unquoted name, maybe with a schema; NULL: orders */
    bool ledger;           /* paced: keep one; hostile always does */
    int seconds;           /* 0: until stopped */
    int clients;           /* 0: 6 */
    double rate;           /* paced; 0: 500 */
    int64_t rows;          /* hostile: keys 1..rows; 0: 100,000 */
    double truncate_share; /* hostile */
    uint64_t seed;
    bool json;
    const struct stop *stop;
};

bool bench_load(const struct bench_load_options *options, struct log *log, FILE *out,
                struct error *error) MUST_CHECK;

/* Makes a data set in a database. */
bool bench_data(const char *conninfo, const struct data_options *options, struct log *log,
                struct error *error) MUST_CHECK;

#endif
