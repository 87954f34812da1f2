#include "engine/job/walk.h"

#include "engine/job/walk_parts.h"
#include "engine/pg/sql.h"

static const char FORGET_SPANS[] = "DELETE FROM pghaul.span WHERE job = $1::bigint AND phase = $2";

static void insert_spans_sql(int64_t job, const char *phase, const char *sql, struct text *insert)
{
    sql_expand(insert,
               "INSERT INTO pghaul.span (job, phase, number, lo, hi, cursor)\n"
               "SELECT {job}, {phase}, row_number() OVER (), lo, hi, lo FROM ({spans}) AS planned "
               "(lo, hi)",
               SQL_NAMES({"job", sql_fragment(NUMBER(job))}, {"phase", sql_literal(phase)},
                         {"spans", sql_fragment(sql)}));
}

bool walk_plan(struct session *session, int64_t job, const char *phase, const char *sql,
               struct params params, struct error *error)
{
    TEXT_AUTO insert = {0};
    const char *values[16];

    insert_spans_sql(job, phase, sql, &insert);
    for (int i = 0; i < params.count; i++)
        values[i] = params.values[i];
    return session_execute(session, FORGET_SPANS, PARAMS(NUMBER(job), phase), NULL, error) &&
           session_execute(session, text_string(&insert), (struct params){values, params.count},
                           NULL, error);
}

bool walk_totals(struct session *session, int64_t job, const char *phase,
                 struct walk_totals *totals, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(
            session, &rows,
            "SELECT coalesce(sum(rows), 0), coalesce(sum(chunks), 0), coalesce(sum(retries), 0),\n"
            "       coalesce(sum(written), 0), coalesce(sum(later), 0),\n"
            "       coalesce(sum(refused), 0), coalesce(sum(skipped), 0)\n"
            "  FROM pghaul.span WHERE job = $1::bigint AND phase = $2",
            PARAMS(NUMBER(job), phase), error))
        return false;
    *totals = (struct walk_totals){
        .rows = rows_int64(&rows, 0, 0),
        .chunks = rows_int64(&rows, 0, 1),
        .retries = rows_int64(&rows, 0, 2),
        .counts = {rows_int64(&rows, 0, 3), rows_int64(&rows, 0, 4), rows_int64(&rows, 0, 5),
                   rows_int64(&rows, 0, 6)},
    };
    return true;
}

static void cancel_workers(void *arg)
{
    const struct walk_shared *shared = arg;

    if (shared->run->connect.cancel_list != NULL)
        cancel_list_cancel_all(shared->run->connect.cancel_list);
}

bool walk_run(struct run *run, const struct walk *walk, struct error *error)
{
    int workers = walk->workers > 0 ? walk->workers : (int)run->job.settings.workers;
    struct walk_shared shared = {.run = run, .walk = walk, .workers = workers};
    struct crew_work crew_work = {.run = walk_worker_run, .cancel = cancel_workers, .arg = &shared};

    return crew_run(workers, &crew_work, error);
}

/* -------------------------------------------------------------------------------------- printed */

void walk_print_plan(int64_t job, const char *phase, const char *sql, struct text *script)
{
    TEXT_AUTO insert = {0};

    insert_spans_sql(job, phase, sql, &insert);
    sql_note(script, "the pieces, in the transaction that starts the phase");
    sql_add(script, FORGET_SPANS);
    sql_add(script, text_string(&insert));
}

void walk_print_chunk(const char *bound_sql, const char *chunk_sql, struct text *script)
{
    sql_note(script, "for each chunk, by each worker: a transaction");
    sql_add(script, WALK_BEGIN);
    sql_add(script, WALK_TAKE_SPAN);
    sql_add(script, bound_sql);
    sql_add(script, chunk_sql);
    sql_add(script, WALK_MOVE_CURSOR);
    sql_add(script, SESSION_COMMIT);
}
