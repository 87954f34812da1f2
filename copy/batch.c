#include "copy/batch_parts.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "copy/lock.h"
#include "engine/base/clock.h"
#include "engine/job/walk.h"
#include "engine/pg/sql.h"
#include "engine/pg/sqlstate.h"

enum {
    REVISIT_ROWS = 500,
    RESERVE_MS = 50, /* for cursor and COMMIT, which follow the statement */
    LIMIT_PARTS = 4, /* a chunk that is this part of the limit will not run into it for a hiccup */
    PLAIN_LOCK_MS = 10,
    CAREFUL_CHUNKS = 20,
    ROUND_FIRST_MS = 50,
    ROUND_MAX_MS = 1000,
};

/* The keys in todo are one span: who visits them is alone. */
static const char ONE_SPAN[] = "SELECT NULL::text[], NULL::text[]";

/* ------------------------------------------------------------------------------------ the limit */

bool batch_limit_ms(struct session *session, const struct settings *settings, int64_t *limit_ms,
                    struct error *error)
{
    int64_t deadlock_ms;

    if (!lock_deadlock_timeout(session, &deadlock_ms, error))
        return false;
    *limit_ms = deadlock_ms - settings->lock_timeout_ms - RESERVE_MS;
    if (settings->chunk_time_ms <= *limit_ms)
        return true;
    error_set(error, ERROR_USAGE,
              "chunk.time and lock.timeout together must stay below the server's deadlock_timeout, "
              "which is %" PRId64 " ms",
              deadlock_ms);
    error_detail(error, "a longer transaction could make the application the victim of a deadlock");
    return error_hint(error, "use -s chunk.time=%" PRId64 "ms or less",
                      *limit_ms > 1 ? *limit_ms : 1);
}

/* ---------------------------------------------------------------------------------- one chunk */

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

/* Does the row fail for what it is, so that it will again? Not: a lock, a limit, the connection. */
static bool is_row_failure(const struct error *error)
{
    return error->code == ERROR_SQL && !error->retryable &&
           strncmp(error->sqlstate, "57", 2) != 0 && strncmp(error->sqlstate, "53", 2) != 0 &&
           strncmp(error->sqlstate, "42", 2) != 0;
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
    if (!is_row_failure(error))
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

static bool batch_chunk(struct walk_chunk *chunk, void *arg, struct error *error)
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

static bool batch_prepare(struct session *session, void *arg, struct error *error)
{
    const struct batch_work *work = arg;

    return batch_set_session(session, work->plan, &work->order, false, error);
}

/* ------------------------------------------------------------------------------------ the walk */

static void expand_range(const struct batch_work *work, const struct run *run, const char *template,
                         struct text *out)
{
    bool revisit = batch_is_revisit(work->way);
    bool back = work->way == BATCH_BACK;
    TEXT_AUTO walked = {0};
    TEXT_AUTO keys = {0};
    TEXT_AUTO names = {0};

    if (revisit || back)
        text_appendf(&walked, "pghaul.%s_%" PRId64 " AS %s", revisit ? "todo" : "undo", run->job.id,
                     revisit ? "k" : "u");
    else
        sql_expand(&walked, "ONLY {table} AS r",
                   SQL_NAMES({"table", sql_table(work->plan->schema, work->plan->table)}));
    batch_list_names(work->plan, revisit ? "k.k{n}" : back ? "u.k{n}" : "r.{c}", NULL, &keys);
    batch_list_names(work->plan, "k{n}", NULL, &names);
    sql_expand(out, template,
               SQL_NAMES({"walked", sql_fragment(text_string(&walked))},
                         {"range", sql_fragment(work->order.range)},
                         {"keys", sql_fragment(text_string(&keys))},
                         {"k", sql_fragment(text_string(&names))},
                         {"job", sql_fragment(NUMBER(run->job.id))}));
}

static bool work_init(struct batch_work *work, struct run *run, const struct batch_plan *plan,
                      enum batch_way way, struct arena *arena, struct error *error)
{
    bool todo = batch_is_revisit(way);

    *work = (struct batch_work){
        .run = run, .plan = plan, .way = way, .lock_ms = run->job.settings.lock_timeout_ms};
    batch_order(plan, run->job.id, way, arena, &work->order);
    if (plan->action == BATCH_STATEMENT)
        batch_own_statement(plan, run->job.id, way, &work->lock, &work->statement, &work->gone);
    else
        batch_statement(plan, run->job.id, way, &work->statement);
    batch_plain_statement(plan, run->job.id, way, &work->plain, &work->visited);
    expand_range(work, run, "SELECT count(*) FROM {walked} WHERE {range}", &work->count);
    /* A row that is in todo already stays there. */
    expand_range(
        work, run,
        todo ? "SELECT $1::text[], $2::text[]"
             : "INSERT INTO pghaul.todo_{job} ({k}) SELECT {keys} FROM {walked} WHERE {range}",
        &work->put_off);
    expand_range(work, run,
                 todo ? "WITH failed AS (DELETE FROM {walked} WHERE {range} RETURNING {keys})\n"
                        "INSERT INTO pghaul.skipped_{job} ({k}, sqlstate, message)\n"
                        "SELECT failed.*, $3, $4 FROM failed"
                      : "INSERT INTO pghaul.skipped_{job} ({k}, sqlstate, message)\n"
                        "SELECT {keys}, $3, $4 FROM {walked} WHERE {range}",
                 &work->skip);
    expand_range(work, run, "SELECT concat_ws(', ', {keys}) FROM {walked} WHERE {range}",
                 &work->name_key);
    return batch_limit_ms(run->session, &run->job.settings, &work->limit_ms, error);
}

static void work_deinit(struct batch_work *work)
{
    text_deinit(&work->statement);
    text_deinit(&work->plain);
    text_deinit(&work->visited);
    text_deinit(&work->lock);
    text_deinit(&work->gone);
    text_deinit(&work->count);
    text_deinit(&work->put_off);
    text_deinit(&work->skip);
    text_deinit(&work->name_key);
}

bool batch_plan_walk(struct run *run, const struct batch_plan *plan, const char *phase,
                     enum batch_way way, struct error *error)
{
    struct arena arena = {0};
    struct order order;
    int64_t spans = plan->table_bytes / run->job.settings.span_bytes + run->job.settings.workers;
    bool ok;

    batch_order(plan, run->job.id, way, &arena, &order);
    ok = (order.search_path == NULL ||
          session_set(run->session, "search_path", order.search_path, true, error)) &&
         walk_plan(run->session, run->job.id, phase, order.plan_sql,
                   PARAMS(NUMBER(batch_is_revisit(way) ? 1
                                 : spans < 1000        ? spans
                                                       : 1000)),
                   error);
    arena_deinit(&arena);
    return ok;
}

/* The longest transaction so far: a fact of the job, for whoever asks how long rows were locked. */
static bool keep_longest(struct run *run, const struct batch_work *work, struct error *error)
{
    return session_execute(run->session,
                           "UPDATE pghaul.job\n"
                           "   SET facts = facts || jsonb_build_object('longest_ms',\n"
                           "           greatest((facts ->> 'longest_ms')::bigint, $2::bigint))\n"
                           " WHERE id = $1::bigint",
                           PARAMS(NUMBER(run->job.id), NUMBER(atomic_load(&work->longest_ms))),
                           NULL, error);
}

static bool walk_way(struct run *run, const struct batch_plan *plan, const char *phase,
                     enum batch_way way, struct error *error)
{
    struct arena arena = {0};
    struct batch_work work;
    atomic_int careful = 0;
    bool ok = work_init(&work, run, plan, way, &arena, error);
    struct walk walk = {
        .phase = phase,
        .bound_sql = work.order.bound_sql,
        .prepare = batch_prepare,
        .chunk = batch_chunk,
        .hold = batch_hold,
        .work = &work,
        .units_first = batch_is_revisit(way) ? REVISIT_ROWS : run->job.settings.chunk_rows,
        .units_max = batch_is_revisit(way) ? REVISIT_ROWS : INT64_C(1) << 30,
        .chunk_ms_max = work.limit_ms / LIMIT_PARTS,
        .workers = batch_is_revisit(way) ? 1 : 0,
        .longest_ms = &work.longest_ms,
    };

    work.careful = &careful;
    ok = ok && walk_run(run, &walk, error) && keep_longest(run, &work, error);
    work_deinit(&work);
    arena_deinit(&arena);
    return ok;
}

bool batch_walk(struct run *run, const struct batch_plan *plan, const char *phase,
                enum batch_way way, struct error *error)
{
    struct walk_totals totals;

    if (!walk_totals(run->session, run->job.id, phase, &totals, error))
        return false;
    progress_start(run->progress, phase, totals.rows, plan->row_estimate);
    return walk_way(run, plan, phase, way, error);
}

static void print_statement(const struct batch_plan *plan, int64_t job, enum batch_way way,
                            struct text *sql)
{
    TEXT_AUTO own = {0};
    TEXT_AUTO gone = {0};

    if (plan->action != BATCH_STATEMENT) {
        batch_statement(plan, job, way, sql);
        return;
    }
    batch_own_statement(plan, job, way, sql, &own, &gone);
    text_appendf(sql, ";\n%s", text_string(&own));
    if (gone.used > 0)
        text_appendf(sql, ";\n%s", text_string(&gone));
}

void batch_print(const struct batch_plan *plan, int64_t job, const char *phase, enum batch_way way,
                 struct text *script)
{
    struct arena arena = {0};
    struct order order;
    TEXT_AUTO statement = {0};

    batch_order(plan, job, way, &arena, &order);
    print_statement(plan, job, way, &statement);
    walk_print_plan(job, phase, batch_is_revisit(way) ? ONE_SPAN : order.plan_sql, script);
    walk_print_chunk(order.bound_sql, text_string(&statement), script);
    arena_deinit(&arena);
}

/* --------------------------------------------------------------------------------------- later */

static bool count_todo(struct run *run, int64_t *keys, struct error *error)
{
    ROWS_AUTO rows = {0};
    TEXT_AUTO sql = {0};

    text_appendf(&sql, "SELECT count(*) FROM pghaul.todo_%" PRId64, run->job.id);
    if (!session_query(run->session, &rows, text_string(&sql), NO_PARAMS, error))
        return false;
    *keys = rows_int64(&rows, 0, 0);
    return true;
}

/*
 * Who has the rows: a row's xmax is the transaction that changed or locked it, and whoever runs
 * that holds its lock. Several lockers share a number of another kind, which tells nothing here.
 */
static const char HOLDERS[] =
    "SELECT l.pid, coalesce(nullif(a.application_name, ''), 'unknown'), coalesce(a.state, "
    "'busy'),\n"
    "       extract(epoch FROM clock_timestamp() - coalesce(a.state_change, "
    "a.xact_start))::bigint\n"
    "  FROM (SELECT DISTINCT r.xmax::text AS xid\n"
    "          FROM (SELECT * FROM pghaul.todo_{job} LIMIT 100) AS k JOIN ONLY {table} AS r\n"
    "            ON {r_is_k}) AS held\n"
    "  JOIN pg_locks AS l ON l.locktype = 'transactionid' AND l.transactionid::text = held.xid\n"
    "   AND l.granted AND l.pid <> pg_backend_pid()\n"
    "  LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid\n"
    " ORDER BY a.xact_start LIMIT 1";

/* For status; NULL: it waits for nobody. */
static void keep_reason(struct run *run, const char *reason)
{
    struct error ignored = {0};

    if (!session_execute(run->session,
                         "UPDATE pghaul.job SET reason = $2\n"
                         " WHERE id = $1::bigint AND state = 'running'",
                         PARAMS(NUMBER(run->job.id), reason), NULL, &ignored))
        log_verbose(run->log, "could not note whom the job waits for: %s", ignored.message);
}

/* `told`: the process that was named last. */
static void tell_holders(struct run *run, const struct batch_plan *plan, int64_t keys,
                         int64_t *told)
{
    TEXT_AUTO reason = {0};
    TEXT_AUTO r_is_k = {0};
    TEXT_AUTO sql = {0};
    ROWS_AUTO rows = {0};
    struct error ignored = {0};

    for (int i = 0; i < plan->key_count; i++) {
        text_append(&r_is_k, i > 0 ? " AND r." : "r.");
        sql_append(&r_is_k, sql_ident(plan->key[i].source));
        text_appendf(&r_is_k, " %s k.k%d", plan->key[i].source_equal, i + 1);
    }
    sql_expand(&sql, HOLDERS,
               SQL_NAMES({"job", sql_fragment(NUMBER(run->job.id))},
                         {"table", sql_table(plan->schema, plan->table)},
                         {"r_is_k", sql_fragment(text_string(&r_is_k))}));
    if (!session_query(run->session, &rows, text_string(&sql), NO_PARAMS, &ignored) ||
        rows_count(&rows) == 0) {
        text_appendf(&reason, "%" PRId64 " rows that others hold", keys);
    } else {
        text_appendf(&reason, "%" PRId64 " rows: process %s (%s) holds some, %s for %s s", keys,
                     rows_text(&rows, 0, 0), rows_text(&rows, 0, 1), rows_text(&rows, 0, 2),
                     rows_text(&rows, 0, 3));
        if (rows_int64(&rows, 0, 0) != *told)
            log_warning(run->log, "waiting for %s", text_string(&reason));
        *told = rows_int64(&rows, 0, 0);
    }
    progress_reason(run->progress, "%s", text_string(&reason));
    keep_reason(run, text_string(&reason));
}

bool batch_plan_revisit(struct run *run, const char *phase, struct error *error)
{
    return walk_plan(run->session, run->job.id, phase, ONE_SPAN, NO_PARAMS, error);
}

/* The one span again, from its beginning: its counters go on. */
static bool reopen(struct run *run, const char *phase, struct error *error)
{
    return session_execute(run->session,
                           "UPDATE pghaul.span SET cursor = NULL, state = 'open'\n"
                           " WHERE job = $1::bigint AND phase = $2",
                           PARAMS(NUMBER(run->job.id), phase), NULL, error);
}

bool batch_revisit(struct run *run, const struct batch_plan *plan, const char *phase,
                   enum batch_way way, struct error *error)
{
    int64_t wait_ms = ROUND_FIRST_MS;
    int64_t keys, before = INT64_MAX;
    int64_t told = 0;

    for (;;) {
        if (!count_todo(run, &keys, error))
            return false;
        if (keys == 0) {
            keep_reason(run, NULL);
            return true;
        }
        if (keys >= before) {
            tell_holders(run, plan, keys, &told);
            if (!stop_sleep_ms(run->stop, wait_ms, error))
                return false;
            wait_ms = wait_ms * 2 < ROUND_MAX_MS ? wait_ms * 2 : ROUND_MAX_MS;
        } else {
            wait_ms = ROUND_FIRST_MS;
        }
        before = keys;
        if (!reopen(run, phase, error) || !walk_way(run, plan, phase, way, error))
            return false;
    }
}
