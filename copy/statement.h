/*
 * One statement that may take hours and cannot be cut into chunks: CREATE INDEX CONCURRENTLY, DROP
 * INDEX CONCURRENTLY, VALIDATE CONSTRAINT. All of them lock the table in SHARE UPDATE EXCLUSIVE
 * mode, which is in no reader's and no writer's way, and neither is who waits for it: so the
 * statement waits without a lock_timeout, and nobody queues behind it.
 *
 *     session of its own                 control session's thread      another session
 *     CREATE INDEX CONCURRENTLY ..       waits for both                looks every 100 ms:
 *                                                                      who is in the way, how far
 *                                                                      is it, is it still wanted
 *
 * Whoever is in the way is named, in the progress and in the job's row.
 *
 * Deadlocks: the index commands wait for the ends of transactions while they hold that lock. A
 * transaction of the application that then asks for it (ANALYZE after its UPDATE) would close a
 * circle, and be the victim: the server asks the one that waited last. The look finds the circle
 * earlier, takes the statement back, and *gave_way says so; the caller begins anew. It must be
 * earlier than deadlock_timeout (1 s by default), which statement_check_settings() asks for.
 */
#ifndef PGHAUL_COPY_STATEMENT_H
#define PGHAUL_COPY_STATEMENT_H

#include "engine/job/run.h"

struct statement {
    const char *sql;
    const char *what;     /* "index users_email", for messages */
    int64_t row_estimate; /* of the table; for the progress of an index build */
    int64_t limit_ms;     /* to wait for others while nothing would be lost by giving up; then
                             ERROR_LOCK */
    bool heeds_abort;     /* ends, with ERROR_INTERRUPTED, when somebody aborts the job */
};

/* Runs it to its end. With *gave_way it was taken back, for a transaction of the application. */
bool statement_run(struct run *run, const struct statement *statement, bool *gave_way,
                   struct error *error) MUST_CHECK;

/* After giving way for the n-th time in a row: a pause; ERROR_LOCK after lock.tries. */
bool statement_pause(struct run *run, const struct statement *statement, int times,
                     struct error *error) MUST_CHECK;

/* What statement_run() sends, as a script (engine/pg/sql.h). */
void statement_print(const struct run *run, const char *sql, struct text *script);

bool statement_check_settings(struct session *session, struct error *error) MUST_CHECK;

#endif
