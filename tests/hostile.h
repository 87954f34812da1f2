/*
 * One run of a job under the hostile load, and everything that must hold while it goes on. Shared
 * by test_hostile.c (short, chosen cases) and soak_hostile.c (long, drawn by seed).
 *
 * A run is: tables, an autovacuum at work on acct, the load (bench/traffic.h), `alter` to ready,
 * `cutover`, some time, `rollback` or `finish`, some time, the end of the load. hostile_job() ends
 * the test as failed unless
 *
 *   - in every snapshot taken from catch-up on, before and after the swap, no row differs between
 *     the two tables unless its key is in the log (the invariant of design.md 3, as plain SQL over
 *     both tables, written here and nowhere else);
 *   - acct equals the ledger that the load keeps: at ready, after the cut-over, after the way back;
 *   - no client read a state that never was (torn reads); over a swap a few are known, see
 * hostile.c;
 *   - the load met no class of error that it does not meet without pghaul, and none came out of our
 *     triggers;
 *   - the server's log tells of no deadlock with one of our sessions or one of our tables in it;
 *   - no statement waited more than 100 ms, and what the machine alone costs, for a lock that one
 * of our sessions held or queued for.
 *
 * What it is not: a judge of speed. Times are measured and printed.
 */
#ifndef PGHAUL_TESTS_HOSTILE_H
#define PGHAUL_TESTS_HOSTILE_H

#include "bench/traffic.h"
#include "tests/harness.h"

enum { HOSTILE_ARGUMENTS_MAX = 12 };

/* A shape of acct: how it is made, and how a row of one table looks in the other. */
struct hostile_shape {
    const char *name;
    const char *sql;     /* on acct and ledger as bench/data.h makes them; NULL: as they are */
    const char *key;     /* columns: "id" */
    const char *there;   /* a row of the source, in the types of the new table */
    const char *new_row; /* the same of the new table as it is */
    const char *back;    /* a row of the new table, in the types of the source */
    const char *old_row;
    const char *arguments[HOSTILE_ARGUMENTS_MAX]; /* of alter: the actions */
    const char *meddler; /* a client of our own runs this all the time; NULL: none */
};

extern const struct hostile_shape hostile_shapes[]; /* ends with name = NULL */
const struct hostile_shape *hostile_shape(const char *name);

enum hostile_end { HOSTILE_ROLLBACK, HOSTILE_FINISH };

struct hostile_options {
    const struct hostile_shape *shape;
    const char *settings[HOSTILE_ARGUMENTS_MAX]; /* more arguments of alter: "-s", "workers=3" */
    int64_t rows;
    uint64_t seed;
    double truncate_share;
    int ready_ms; /* how long the load goes on while the job is ready, and after each swap */
    enum hostile_end end;
};

void hostile_job(const struct hostile_options *options);

/* -- parts, for tests that go their own way -- */

/* Must be set before T_MAIN: what the log analysis needs, and an eager autovacuum. */
extern const char *const hostile_server_settings[];

void hostile_make(const struct hostile_shape *shape, int64_t rows, uint64_t seed);
struct traffic *hostile_start(const struct hostile_options *options);
/* Until the load has committed that many more transactions. */
void hostile_more(struct traffic *traffic, int64_t transactions);

/*
 * Rows that differ between both tables of job 1 and are not in its log, in one snapshot; -1 when
 * there is nothing to compare (no copy yet, or a marker). *sample (may be NULL): one of them.
 */
int64_t hostile_lost(const struct hostile_shape *shape, bool swapped, const char **sample);
/* Rows of acct that are not as the load left them. */
int64_t hostile_wrong(const char **sample);

/* Ends the load; fails unless it saw what it sees without pghaul, and the server's log is clean. */
void hostile_stop(struct traffic *traffic, const struct hostile_options *options);
/* Ends the load, whatever it saw. */
void hostile_abandon(struct traffic *traffic);

#endif
