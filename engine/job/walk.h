/*
 * A walk: a crew takes pieces of something, in order, until none is left, each piece in a
 * transaction of its own.
 *
 *     span:    lo ------------------- cursor --------------------------- hi
 *                done, committed      |  next chunk  |   still to do
 *                                     from           to
 *
 * Spans are rows of pghaul.span; their positions are arrays of text that only the server interprets
 * (block numbers, key values), NULL for "no bound". The row lock is the lease: a chunk's
 * transaction
 *
 *     1. takes the lowest-numbered open span FOR UPDATE SKIP LOCKED, and reads what the job wants
 * (pause, abort, settings)
 *     2. asks `bound_sql` where the chunk ends
 *     3. calls `chunk` to do the work
 *     4. moves the span's cursor and counters, and commits.
 *
 * Nothing else coordinates workers. Why this is exactly once, whatever dies: data, cursor and
 * counters are one transaction; a worker that dies before its commit leaves the cursor where it was
 * and, its transaction being gone, the lease free; a commit whose answer is lost is found done when
 * the cursor is read again, because nothing of a chunk is remembered outside the database. Two
 * workers never have the same piece: the second skips the locked row. That holds for threads,
 * processes and hosts alike.
 *
 * "Done" means that every span says so: a chunk closes its span only when `bound_sql` says there is
 * nothing beyond it, never because a statement affected no rows.
 *
 * Commits of chunks need not be durable at once (synchronous_commit=off): what a crash of the
 * server loses is lost as a whole, cursor included.
 */
#ifndef PGHAUL_JOB_WALK_H
#define PGHAUL_JOB_WALK_H

#include <stdatomic.h>

#include "engine/job/run.h"

/* What became of the rows of a chunk, where rows are changed in place. */
struct walk_counts {
    int64_t written;
    int64_t later;   /* in somebody's hands: for another visit */
    int64_t refused; /* by the table's own triggers */
    int64_t skipped; /* failed, and were recorded */
};

struct walk_chunk {
    /* in */
    struct session *session; /* inside the chunk's transaction */
    int span;
    const char *from; /* text[] as text: exclusive or inclusive as the walk's statements define;
                         NULL: the beginning */
    const char *to;   /* NULL: no bound */
    int64_t units;
    bool last; /* of its span: then it may have fewer units than that */
    const struct settings *settings;
    /* out */
    int64_t rows;  /* for counters and progress */
    int64_t bytes; /* written, estimated: for chunk.wal; 0: unknown */
    struct walk_counts counts;
};

struct walk {
    const char *phase; /* whose spans */
    /*
     * $1 = cursor text[], $2 = hi text[], $3 = size bigint. One row: (to text[], last boolean,
     * units bigint).
     */
    const char *bound_sql;
    /* Runs once on every fresh session of a worker; NULL: nothing to prepare. */
    bool (*prepare)(struct session *session, void *work, struct error *error);
    /* The work of one chunk. Called by several threads at once, each with a session of its own. */
    bool (*chunk)(struct walk_chunk *chunk, void *work, struct error *error);
    /*
     * Asked by each worker between its chunks, outside a transaction, once a second: how long it
     * should wait, in milliseconds, for something that does not get better by waiting in one. Says
     * why in the progress itself. NULL: nobody asks.
     */
    bool (*hold)(struct session *session, const struct settings *settings, void *work,
                 int64_t *wait_ms, struct error *error);
    void *work;
    int64_t units_first; /* size of a worker's first chunk */
    int64_t units_max;
    int64_t
        chunk_ms_max; /* a chunk should take no longer, whatever chunk.time says; 0: as it says */
    int workers; /* as many, whatever the job is set to; 0: settings.workers, also when it changes
                    while the walk is under way */
    /* It keeps up with what the application writes: see struct pace_ask. */
    bool urgent;
    /* Raised to the longest transaction of a chunk, in milliseconds; NULL: nobody asks. */
    atomic_llong *longest_ms;
    /* Positions are single numbers ({block}): an idle worker may cut the largest span that is left
     * in two. */
    bool numbered;
};

/*
 * Plans a walk's spans in the session's open transaction: deletes the phase's old ones and inserts
 * the rows of `sql`, which yields (lo text[], hi text[]) in order.
 */
bool walk_plan(struct session *session, int64_t job, const char *phase, const char *sql,
               struct params params, struct error *error) MUST_CHECK;

/* Walks until every span is done. Returns early, false, with ERROR_INTERRUPTED when told to stop.
 */
bool walk_run(struct run *run, const struct walk *walk, struct error *error) MUST_CHECK;

/*
 * For --dry-run, as a script (engine/pg/sql.h): what walk_plan() sends, and the transaction of a
 * chunk, in which `chunk_sql` does the work.
 */
void walk_print_plan(int64_t job, const char *phase, const char *sql, struct text *script);
void walk_print_chunk(const char *bound_sql, const char *chunk_sql, struct text *script);

/* Totals over the phase's spans. */
struct walk_totals {
    int64_t rows;
    int64_t chunks;
    int64_t retries;
    struct walk_counts counts;
};
bool walk_totals(struct session *session, int64_t job, const char *phase,
                 struct walk_totals *totals, struct error *error) MUST_CHECK;

#endif
