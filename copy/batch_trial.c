/* The first chunk of a batch, tried: what it does and costs, and whether a row fails. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "copy/batch_parts.h"
#include "engine/base/clock.h"
#include "engine/job/schema.h"
#include "engine/pg/sqlstate.h"

/* The trial's tables carry a number that no job has. */
#define TRIAL_NUMBER (INT64_C(900000000) + getpid())

enum {
    TRIAL_ROWS = 10000,
    TRIAL_ROWS_LEAST = 10,
    /* After a try that was taken back: whoever waited for one of its rows has it before the next
     * try does, and never waits for two of them. */
    GIVE_WAY_MS = 50,
};

struct attempt {
    struct run *run;
    struct session *session;
    struct batch_plan *plan;
    struct batch_trial *trial;
    const struct order *order;
    const char *statement;
    const char *conditions; /* batch_conditions_sql() */
};

/* $2 = the table of saved values; it may not be there. */
static const char WAL_AND_HOT[] =
    "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, coalesce(n_tup_hot_upd, 0),\n"
    "       coalesce(pg_relation_size(to_regclass($2)), 0)\n"
    "  FROM (SELECT 1) AS one LEFT JOIN pg_stat_xact_all_tables ON relid = $1::oid";

/* The first rows by key, as a chunk would do them: no longer than a chunk may take. */
static bool try_rows(const struct attempt *attempt, int64_t count, struct error *error)
{
    struct session *session = attempt->session;
    struct batch_trial *trial = attempt->trial;
    const char *oid = NUMBER(attempt->plan->table_oid);
    ROWS_AUTO bound = {0};
    ROWS_AUTO done = {0};
    ROWS_AUTO before = {0};
    ROWS_AUTO after = {0};
    TEXT_AUTO undo = {0};
    int64_t start_us;

    text_appendf(&undo, "pghaul.undo_%" PRId64, TRIAL_NUMBER);
    if (!session_query(session, &bound, attempt->order->bound_sql,
                       PARAMS(NULL, NULL, NUMBER(count)), error) ||
        !session_query(session, &before, WAL_AND_HOT, PARAMS(oid, text_string(&undo)), error))
        return false;
    start_us = clock_us();
    if (!session_query(session, &done, attempt->statement, PARAMS(NULL, rows_text(&bound, 0, 0)),
                       error))
        return false;
    trial->took_us = clock_us() - start_us;
    if (!session_query(session, &after, WAL_AND_HOT, PARAMS(oid, text_string(&undo)), error))
        return false;
    trial->visited = rows_int64(&done, 0, 0);
    trial->written = rows_int64(&done, 0, 1);
    trial->hot = rows_int64(&after, 0, 1) - rows_int64(&before, 0, 1);
    trial->undo_bytes = rows_int64(&after, 0, 2) - rows_int64(&before, 0, 2);
    if (trial->written > 0)
        attempt->plan->row_wal_bytes =
            (int64_t)(rows_double(&after, 0, 0) - rows_double(&before, 0, 0)) / trial->written + 1;
    return true;
}

/* The same, taken back when it fails. */
static bool try_count(const struct attempt *attempt, int64_t count, struct error *error)
{
    struct error ignored = {0};

    if (!session_run(attempt->session, attempt->conditions, error))
        return false;
    if (try_rows(attempt, count, error))
        return true;
    if (!session_run(attempt->session, "ROLLBACK TO SAVEPOINT trial", &ignored))
        *error = ignored;
    return false;
}

/* `error` is kept, unless we are to stop. */
static bool give_way(const struct attempt *attempt, struct error *error)
{
    struct error stopped = {0};

    if (stop_sleep_ms(attempt->run->stop, GIVE_WAY_MS, &stopped))
        return true;
    *error = stopped;
    return false;
}

/* Of the first few rows, one fails: which? */
static bool name_failure(const struct attempt *attempt, struct error *error)
{
    struct error why = *error;
    ROWS_AUTO key = {0};
    int64_t count = 1;

    while (count < TRIAL_ROWS_LEAST && try_count(attempt, count, error))
        count++;
    if (!session_query(attempt->session, &key, attempt->order->bound_sql,
                       PARAMS(NULL, NULL, NUMBER(count)), error))
        return false;
    *error = why;
    error_refuse(error, "nothing was changed; mend the row, or let such rows be left and recorded "
                        "with -s errors=skip");
    return error_context(error, "tried on the first rows: the row with key %s",
                         rows_text(&key, 0, 0) == NULL ? "{}" : rows_text(&key, 0, 0));
}

/*
 * What took too long, or met a lock, is tried with fewer rows, and perhaps not at all. A row that
 * fails beyond the fewest is found again, and named, by the chunk that has it.
 */
static bool try_fewer(const struct attempt *attempt, bool skip_errors, struct error *error)
{
    for (int64_t count = TRIAL_ROWS; count >= TRIAL_ROWS_LEAST; count /= 10) {
        if (try_count(attempt, count, error))
            return true;
        if (!error->retryable && !batch_is_row_failure(error) &&
            strcmp(error->sqlstate, SQLSTATE_QUERY_CANCELED) != 0) {
            error_refuse(error, NULL);
            return error_context(error, "tried on the first rows");
        }
        if (!give_way(attempt, error))
            return false;
    }
    if (batch_is_row_failure(error) && !skip_errors)
        return name_failure(attempt, error);
    error_clear(error);
    return true;
}

static bool try_plan(struct run *run, struct batch_plan *plan, const struct settings *settings,
                     struct batch_trial *trial, struct arena *arena, struct error *error)
{
    int64_t limit_ms;
    struct order order;
    struct attempt attempt = {run, run->session, plan, trial, &order, NULL, NULL};
    TEXT_AUTO statement = {0};
    TEXT_AUTO conditions = {0};

    batch_order(plan, run->job.id, BATCH_WALK, arena, &order);
    if (!batch_limit_ms(run->session, settings, &limit_ms, error) ||
        !schema_ensure(run->session, error) || !batch_create(run, plan, error) ||
        !batch_set_session(run->session, plan, &order, true, error) ||
        !batch_check_plan(run, plan, error))
        return false;
    if (plan->action == BATCH_STATEMENT)
        return true;
    batch_statement(plan, run->job.id, BATCH_WALK, &statement);
    batch_conditions_sql(plan, &order, "trial", settings->lock_timeout_ms, limit_ms, &conditions);
    attempt.statement = text_string(&statement);
    attempt.conditions = text_string(&conditions);
    return try_fewer(&attempt, settings->errors == ERRORS_SKIP, error);
}

bool batch_try(struct run *run, struct batch_plan *plan, const struct settings *settings,
               struct batch_trial *trial, struct error *error)
{
    struct arena arena = {0};
    int64_t job = run->job.id;
    bool was_trial = run->trial;
    bool ok;

    *trial = (struct batch_trial){0};
    run->job.id = TRIAL_NUMBER;
    run->trial = true;
    ok = try_plan(run, plan, settings, trial, &arena, error);
    run->trial = was_trial;
    run->job.id = job;
    arena_deinit(&arena);
    return ok;
}
