/*
 * Load generators: what an application does to a table while pghaul works on it, and what it sees.
 *
 * Life: traffic_start() -> traffic_mark(), traffic_transactions() ... -> traffic_stop() ->
 * traffic_report_deinit(). Each client is a thread with a plain libpq connection of its own, not
 * pinned and with statement_timeout = 60 s: a client that hangs is an error (57014), not a test
 * that hangs. One thread calls these functions; clients never share state except what is atomic.
 * Two generators:
 *
 * TRAFFIC_HOSTILE (tests, soak): a closed loop that tries everything a table allows: single
 * statements and transactions at all isolation levels, of 1 to 200 statements, with savepoints
 * rolled back to; updates, deletes, multi-row upserts, COPY, MERGE (15+), key changes, keys and
 * unique values exchanged between rows, writable CTEs that delete and insert the same row, changes
 * from 1.0 to 1.00 and from NULL to '', TOASTed values, changes of nothing, TRUNCATE. Half of the
 * clients use prepared statements. Tables: data set acct (data.h), found through the search path.
 *
 * TRAFFIC_PACED (measurements, demo): an open loop at a fixed rate over a table of the orders kind:
 * single-row SELECT, UPDATE, INSERT, DELETE. A wait counts from the moment the transaction was
 * *due*, so that a stall is charged to everyone who would have come during it, not to one client
 * alone ("coordinated omission").
 *
 * The ledger is the load's own account of what it committed, an oracle that knows nothing of
 * pghaul: every statement that changes the table is repeated on table `ledger`, in the same
 * transaction, for the keys that it touched. The ledger computes from its own values (bal =
 * ledger's bal + 1), never from the table's, so a row that pghaul lost or left stale stays
 * different for good, even when the load later changes it again. Why that is exact with many
 * clients is argued in traffic_hostile.c. One statement that reads both tables sees them equal at
 * any moment: traffic_compare() may run beside the load, and the hostile load itself compares
 * ranges all the time (torn_reads).
 *
 * What it is not: a benchmark of the server. The ledger doubles the work.
 */
#ifndef PGHAUL_BENCH_TRAFFIC_H
#define PGHAUL_BENCH_TRAFFIC_H

#include "bench/report.h"
#include "engine/base/text.h"

enum {
    TRAFFIC_CLIENTS_MAX = 32,
    TRAFFIC_PHASES_MAX = 32,
    TRAFFIC_STATEMENTS_MAX = 64,
    TRAFFIC_ERRORS_MAX = 32,
    TRAFFIC_LABEL_BYTES = 32,
};

enum traffic_kind { TRAFFIC_HOSTILE, TRAFFIC_PACED };

/*
 * A statement of the paced load beside those on its table: {table} in it is that table, $1 one of
 * its ids, $2 a word, $3 a number of 1 to 200,000.
 */
struct traffic_statement {
    const char *label;
    const char *sql;
    int share; /* percent of all transactions */
};

struct traffic_options {
    enum traffic_kind kind;
    const char *conninfo;
    int clients; /* 0: 6 */
    uint64_t seed;
    int64_t rows;   /* keys 1..rows exist at the start; ops also reach a tenth beyond */
    bool reconnect; /* a lost connection is an error that counts; the client then comes back */
    const char
        *watch; /* LIKE pattern of application names, "pghaul%": see held_up_*; NULL: do not look */

    /* hostile */
    double truncate_share; /* of all transactions: 0.001 is about once a second; 0: never */
    bool no_torn_check;    /* for tests that change what id, bal or note look like */

    /* paced */
    double rate;                            /* transactions a second */
    const char *table;                      /* quoted as needed; NULL: orders */
    const char *ledger;                     /* the table's twin (data.h); NULL: none is kept */
    const struct traffic_statement *others; /* ends with a NULL label; the caller's; may be NULL */
    /*
     * Ids 1 .. old_ids are there at the start: three of four transactions take one of these, the
     * others one of the newest, so that the table's sequence may jump; 0: any id so far.
     */
    int64_t old_ids;
    int64_t kept_ids; /* with old_ids: 1 .. kept_ids are never deleted */
};

struct traffic;

/* Connects all clients and lets them go. On failure *traffic is NULL. */
bool traffic_start(struct traffic **traffic, const struct traffic_options *options,
                   struct error *error) MUST_CHECK;

/*
 * From now on waits and errors count for this phase (the first one is "start"). Past the limit, or
 * twice the same: kept.
 */
void traffic_mark(struct traffic *traffic, const char *phase);
/* For struct program (program.h): when this event of `--json` names a phase, it is marked. */
void traffic_mark_event(void *traffic, const char *line);

/* Transactions committed so far: for tests that want the load to be under way. */
int64_t traffic_transactions(const struct traffic *traffic);

/* -- what the load saw -- */

struct traffic_series {
    char label[TRAFFIC_LABEL_BYTES]; /* of a phase or a statement */
    struct histogram
        waits; /* hostile: of each statement; paced: from when the transaction was due */
    int64_t errors;
};

struct traffic_error {
    char sqlstate[6];
    bool expected; /* a table alone gives it too: 23505, 40001, 40P01 */
    int64_t count;
    char phase[TRAFFIC_LABEL_BYTES]; /* these three are the first one's */
    char statement[TRAFFIC_LABEL_BYTES];
    char message[512];
};

struct traffic_report {
    double seconds;
    int64_t transactions; /* committed */
    int64_t rolled_back;  /* by an error or on purpose */
    int64_t late_ms_max;  /* paced: how far the open loop fell behind; waits include it */
    int phase_count;
    struct traffic_series *phases;
    int statement_count;
    struct traffic_series *statements;
    int error_count;
    struct traffic_error errors[TRAFFIC_ERRORS_MAX];
    int64_t unexpected_errors; /* of classes that the table alone does not give */
    int64_t
        deadlocks_with_strangers; /* 40P01 whose detail names a process that is no client of ours */
    int64_t torn_reads; /* a statement that read table and ledger at once saw them differ */
    int64_t
        torn_snapshots; /* the same, in a transaction with one snapshot for all its statements */
    char torn_sample[512];
    int64_t held_up_count; /* looks (every 10 ms) at which a client waited for a lock of a watched
                              session */
    double held_up_ms_max; /* the longest of those waits so far, by pg_locks.waitstart */
    double held_up_table_ms_max; /* the longest for a table; all others are for rows */
    double held_up_row_ms_max;
    char held_up_sample[512]; /* the waiting statement, and the holder's */
};

/*
 * Lets every client finish its transaction, joins them, fills `report`. False when a client could
 * not go on (a lost connection without `reconnect`); the report is filled then, too. Frees the
 * traffic; `report` may be NULL; a NULL traffic is fine and gives an empty report.
 */
bool traffic_stop(struct traffic *traffic, struct traffic_report *report,
                  struct error *error) MUST_CHECK;
void traffic_report_deinit(struct traffic_report *report);

/* The whole report as JSON; a new reference. */
json_t *traffic_report_json(const struct traffic_report *report);

/* -- the oracle -- */

/*
 * What a row of each set looks like, for traffic_compare(): expressions on `t`; the first is the
 * key.
 */
extern const char *const traffic_acct_columns[];   /* ends with NULL */
extern const char *const traffic_orders_columns[]; /* ends with NULL */

/*
 * Compares `table` with `ledger` in one statement, so in one snapshot: a full outer join by the
 * first column, then record_image_ne over all of them (so 1.0 and 1.00 differ). `columns` are
 * expressions on alias t, and apply to both tables; where the table's look changed, `table_columns`
 * (else NULL) says how to get the old value from the new table: "t.id::int". `sample` (may be NULL)
 * gets up to 5 of the differences as lines of text.
 *
 * A session of its own; its search path is "public", its time zone the server's. An error is no
 * difference.
 */
bool traffic_compare(const char *conninfo, const char *table, const char *ledger,
                     const char *const *columns, const char *const *table_columns,
                     int64_t *differences, struct text *sample, struct error *error) MUST_CHECK;

#endif
