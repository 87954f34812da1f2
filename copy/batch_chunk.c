/* One chunk of a batch: its transaction from the table's lock to its last row. */
#include <inttypes.h>
#include <string.h>

#include "copy/batch_parts.h"
#include "engine/base/clock.h"
#include "engine/pg/sql.h"
#include "engine/pg/sqlstate.h"

enum { PLAIN_LOCK_MS = 10, CAREFUL_CHUNKS = 20 };

/* The columns as they were planned: names, types and numbers. */
static const char LOOK[] =
    "SELECT coalesce(md5(string_agg(concat_ws(' ', a.attnum, quote_ident(a.attname), a.atttypid,\n"
    "                                         a.atttypmod), ',' ORDER BY a.attnum)), 'gone')\n"
    "  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace\n"
    "  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped\n"
    " WHERE c.oid = $1::oid AND n.nspname = $2 AND c.relname = $3\n"
    "   AND a.attname IN ({names})";

/* Those of the key, and those that are written: what others there are is not the job's business. */
bool batch_look(struct session *session, const struct batch_plan *plan, struct text *seen,
                struct error *error)
{
    ROWS_AUTO rows = {0};
    TEXT_AUTO list = {0};
    TEXT_AUTO sql = {0};

    for (int i = 0; i < plan->key_count; i++) {
        text_separate(&list, ", ");
        sql_append(&list, sql_literal(plan->key[i].source));
    }
    for (int i = 0; i < plan->column_count; i++) {
        text_append(&list, ", ");
        sql_append(&list, sql_literal(plan->columns[i].name));
    }
    sql_expand(&sql, LOOK, SQL_NAMES({"names", sql_fragment(text_string(&list))}));
    if (!session_query(session, &rows, text_string(&sql),
                       PARAMS(NUMBER(plan->table_oid), plan->schema, plan->table), error))
        return false;
    text_append(seen, rows_text(&rows, 0, 0));
    return true;
}

static bool check_table(struct session *session, const struct batch_plan *plan, struct error *error)
{
    TEXT_AUTO seen = {0};
    TEXT_AUTO lock = {0};

    sql_expand(&lock, "LOCK TABLE ONLY {table} IN ROW EXCLUSIVE MODE",
               SQL_NAMES({"table", sql_table(plan->schema, plan->table)}));
    if (!session_run_text(session, &lock, error) || !batch_look(session, plan, &seen, error))
        return false;
    if (strcmp(text_string(&seen), plan->columns_seen) == 0)
        return true;
    error_set(error, ERROR_REFUSED, "the table's columns were changed under the job");
    return error_hint(error, "what was done so far is whole; start a new job for the rest");
}

void batch_conditions_sql(const struct batch_plan *plan, const struct order *order,
                          const char *savepoint, int64_t lock_ms, int64_t limit_ms,
                          struct text *sql)
{
    const char *path = plan->search_path;
    const char *operators = order->search_path; /* pg_catalog, .., pg_temp */

    text_appendf(sql,
                 "SET CONSTRAINTS ALL IMMEDIATE; SAVEPOINT %s; SET LOCAL lock_timeout = %" PRId64
                 "; SET LOCAL statement_timeout = %" PRId64 "; SET LOCAL search_path = ",
                 savepoint, lock_ms, limit_ms > 1 ? limit_ms : 1);
    /* Whoever names pg_catalog may name it behind others. */
    if (path == NULL || path[0] == '\0' || strstr(path, "pg_catalog") != NULL)
        text_append(sql, path == NULL || path[0] == '\0' ? "pg_catalog" : "pg_catalog, ");
    text_append(sql, path == NULL ? "" : path);
    if (operators != NULL)
        text_append(sql, operators + strlen("pg_catalog"));
}

/* Row locks are held from the statement to COMMIT: see batch.h about deadlock_timeout. */
static bool set_limits(struct session *session, const struct batch_work *work, int64_t lock_ms,
                       int64_t spent_ms, struct error *error)
{
    TEXT_AUTO sql = {0};

    batch_conditions_sql(work->plan, &work->order, "chunk", lock_ms, work->limit_ms - spent_ms,
                         &sql);
    return session_run_text(session, &sql, error);
}

/* The rows are ours before the user's statement begins, or it does not begin. */
static bool run_own(struct walk_chunk *chunk, const struct batch_work *work, const char *from,
                    const char *to, struct error *error)
{
    struct session *session = chunk->session;
    ROWS_AUTO rows = {0};
    int64_t written = 0;

    if (!session_query(session, &rows, text_string(&work->lock), PARAMS(from, to), error) ||
        !session_execute(session, text_string(&work->statement), PARAMS(from, to), &written,
                         error) ||
        (work->gone.used > 0 &&
         !session_execute(session, text_string(&work->gone), PARAMS(from, to), NULL, error)))
        return false;
    if (written > rows_int64(&rows, 0, 0)) {
        error_set(error, ERROR_REFUSED,
                  "the statement wrote %" PRId64 " rows for a range of %" PRId64 " keys", written,
                  rows_int64(&rows, 0, 0));
        return error_hint(error,
                          "rows outside of :range(%s) would be written again and again; "
                          "nothing of this chunk was",
                          work->plan->alias);
    }
    chunk->rows += rows_int64(&rows, 0, 0);
    chunk->counts.written += written;
    return true;
}

static bool run_counted(struct walk_chunk *chunk, const struct text *statement, const char *from,
                        const char *to, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(chunk->session, &rows, text_string(statement), PARAMS(from, to), error))
        return false;
    chunk->rows += rows_int64(&rows, 0, 0);
    chunk->counts.written += rows_int64(&rows, 0, 1);
    chunk->counts.later += rows_int64(&rows, 0, 2);
    chunk->counts.refused += rows_int64(&rows, 0, 3);
    return true;
}

static bool write_rows(struct walk_chunk *chunk, const struct batch_work *work, const char *from,
                       const char *to, struct error *error)
{
    return work->plan->action == BATCH_STATEMENT
               ? run_own(chunk, work, from, to, error)
               : run_counted(chunk, &work->statement, from, to, error);
}

/* The bound of a chunk is the key of its last row: unless it is the span's, its rows are counted.
 */
static bool run_plain(struct walk_chunk *chunk, const struct batch_work *work, struct error *error)
{
    struct params range = PARAMS(chunk->from, chunk->to);
    ROWS_AUTO rows = {0};
    bool known = work->plan->where == NULL && !chunk->last;

    if ((!known &&
         !session_query(chunk->session, &rows, text_string(&work->visited), range, error)) ||
        !session_execute(chunk->session, text_string(&work->plain), range, &chunk->counts.written,
                         error))
        return false;
    chunk->rows = known ? chunk->units : rows_int64(&rows, 0, 0);
    return true;
}

/* *done: the chunk is written. Else nothing of it is, and the other statement is next. */
static bool try_plain(struct walk_chunk *chunk, const struct batch_work *work, bool *done,
                      struct error *error)
{
    *done = false;
    if (work->plain.used == 0 || atomic_load(work->careful) > 0) {
        if (work->plain.used > 0)
            atomic_fetch_sub(work->careful, 1);
        return true;
    }
    if (!set_limits(chunk->session, work, PLAIN_LOCK_MS, 0, error))
        return false;
    *done = run_plain(chunk, work, error);
    if (*done || !session_alive(chunk->session))
        return *done;
    if (strcmp(error->sqlstate, SQLSTATE_QUERY_CANCELED) == 0 && chunk->units > 1) {
        error->retryable = true; /* at half the size */
        return false;
    }
    if (error->code == ERROR_LOCK)
        atomic_store(work->careful, CAREFUL_CHUNKS);
    return session_run(chunk->session, "ROLLBACK TO SAVEPOINT chunk", error);
}

/*
 * Nobody tries the statement without a row here. So what is said of a statement, or of the state of
 * its objects (0A, 42, 55), is no row's: with errors=skip every row would be recorded as failed
 * because of a missing privilege.
 */
bool batch_is_row_failure(const struct error *error)
{
    static const char *const OF_STATEMENT[] = {"0A", "42", "55"};

    for (size_t i = 0; i < sizeof(OF_STATEMENT) / sizeof(OF_STATEMENT[0]); i++)
        if (strncmp(error->sqlstate, OF_STATEMENT[i], 2) == 0)
            return false;
    return error->code == ERROR_SQL && !error->retryable && sqlstate_maybe_of_row(error->sqlstate);
}

static bool name_row(struct session *session, const struct batch_work *work, const char *from,
                     const char *to, struct error *error)
{
    struct error ignored = {0};
    ROWS_AUTO rows = {0};

    if (session_query(session, &rows, text_string(&work->name_key), PARAMS(from, to), &ignored) &&
        rows_count(&rows) == 1)
        error_context(error, "the row with key (%s)", rows_text(&rows, 0, 0));
    return error_hint(error, "mend the row and resume the job, or let it be left and recorded with "
                             "-s errors=skip");
}

/* The one row that failed: reported, recorded, or, when it was only in somebody's hands, put off.
 */
static bool deal_with_row(struct walk_chunk *chunk, const struct batch_work *work, const char *from,
                          const char *to, struct error *error)
{
    struct error why = *error;

    /* Nobody is in its way (that is a lock timeout): it takes too long by itself. */
    if (strcmp(error->sqlstate, SQLSTATE_QUERY_CANCELED) == 0) {
        (void)name_row(chunk->session, work, from, to, error);
        return error_hint(error,
                          "one row takes longer than %" PRId64 " ms, which deadlock_timeout less "
                          "lock.timeout leaves: see its triggers, or use a server with a longer "
                          "deadlock_timeout",
                          work->limit_ms);
    }
    if (error->retryable && error->code != ERROR_CONNECTION) {
        chunk->counts.later++;
        chunk->rows++;
        return session_execute(chunk->session, text_string(&work->put_off), PARAMS(from, to), NULL,
                               error);
    }
    /* On the way back nothing is left behind: what was saved would be dropped with it. */
    if (chunk->settings->errors != ERRORS_SKIP || batch_is_back(work->way))
        return name_row(chunk->session, work, from, to, error);
    chunk->counts.skipped++;
    chunk->rows++;
    return session_execute(chunk->session, text_string(&work->skip),
                           PARAMS(from, to, why.sqlstate, why.message), NULL, error);
}

/*
 * The rows of (from, to], of which at least one fails: halved until it is alone. What takes too
 * long for one transaction is left to smaller chunks.
 */
static bool isolate(struct walk_chunk *chunk, const struct batch_work *work, const char *from,
                    const char *to, int64_t start_ms, struct error *error)
{
    ROWS_AUTO rows = {0};
    struct error why = *error;
    int64_t count;

    if (!session_run(chunk->session, "ROLLBACK TO SAVEPOINT chunk", error) ||
        !session_query(chunk->session, &rows, text_string(&work->count), PARAMS(from, to), error))
        return false;
    count = rows_int64(&rows, 0, 0);
    rows_deinit(&rows);
    *error = why;
    if (count == 0)
        return true; /* deleted meanwhile */
    /* What takes too long is tried with fewer rows, and alone with all the time there is. */
    if (strcmp(error->sqlstate, SQLSTATE_QUERY_CANCELED) == 0 &&
        (count > 1 || from != chunk->from || to != chunk->to))
        error->retryable = true;
    else if (count == 1)
        return deal_with_row(chunk, work, from, to, error);
    if (!batch_is_row_failure(error))
        return false;
    if (clock_ms() - start_ms >= work->limit_ms / 2) {
        error->retryable = true; /* at half the size */
        return false;
    }
    if (!session_query(chunk->session, &rows, work->order.bound_sql,
                       PARAMS(from, to, NUMBER(count / 2)), error))
        return false;
    for (int half = 0; half < 2; half++) {
        const char *lo = half == 0 ? from : rows_text(&rows, 0, 0);
        const char *hi = half == 0 ? rows_text(&rows, 0, 0) : to;
        struct walk_chunk before = *chunk;

        if (!set_limits(chunk->session, work, work->lock_ms, clock_ms() - start_ms, error))
            return false;
        if (write_rows(chunk, work, lo, hi, error))
            continue;
        *chunk = before;
        if (!isolate(chunk, work, lo, hi, start_ms, error))
            return false;
    }
    return true;
}

bool batch_chunk(struct walk_chunk *chunk, void *arg, struct error *error)
{
    const struct batch_work *work = arg;
    int64_t start_ms = clock_ms();
    bool done;

    if (!check_table(chunk->session, work->plan, error) || !try_plain(chunk, work, &done, error) ||
        (!done && !set_limits(chunk->session, work, work->lock_ms, clock_ms() - start_ms, error)))
        return false;
    if (!done && !write_rows(chunk, work, chunk->from, chunk->to, error) &&
        !isolate(chunk, work, chunk->from, chunk->to, start_ms, error))
        return false;
    chunk->bytes = chunk->counts.written * work->plan->row_wal_bytes;
    return true;
}

/*
 * Probes beat scans for a chunk, whatever the statistics say; a table without them would be read
 * as a whole otherwise. The rows of a chunk stay in memory: chunk.wal bounds them.
 */
bool batch_set_session(struct session *session, const struct batch_plan *plan,
                       const struct order *order, bool local, struct error *error)
{
    return session_set(session, "enable_seqscan", "off", local, error) &&
           session_set(session, "random_page_cost", "1", local, error) &&
           session_set(session, "work_mem", "64MB", local, error) &&
           (!plan->skip_triggers ||
            session_set(session, "session_replication_role", "replica", local, error)) &&
           (order->search_path == NULL ||
            session_set(session, "search_path", order->search_path, local, error)) &&
           /* the user's own statement means what it means to the user */
           (plan->action != BATCH_STATEMENT ||
            session_set(session, "search_path", plan->search_path, local, error));
}
