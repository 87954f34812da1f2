#include "copy/batch_parts.h"

#include <inttypes.h>
#include <stdatomic.h>

#include "copy/lock.h"
#include "engine/pg/sql.h"

enum {
    REVISIT_ROWS = 500,
    RESERVE_MS = 50, /* for cursor and COMMIT, which follow the statement */
    LIMIT_PARTS = 4, /* a chunk that is this part of the limit will not run into it for a hiccup */
};

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

/* ------------------------------------------------------------------------------------ the walk */

static bool batch_prepare(struct session *session, void *arg, struct error *error)
{
    const struct batch_work *work = arg;

    return batch_set_session(session, work->plan, &work->order, false, error);
}

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

bool batch_begin(struct run *run, const struct batch_plan *plan, const char *phase,
                 struct error *error)
{
    TEXT_AUTO sql = {0};

    batch_drop_sql(run->job.id, true, &sql);
    return run_ddl(run, text_string(&sql), error) && batch_create(run, plan, error) &&
           batch_plan_walk(run, plan, phase, BATCH_WALK, error);
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

bool batch_walk_way(struct run *run, const struct batch_plan *plan, const char *phase,
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
    return batch_walk_way(run, plan, phase, way, error);
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
    walk_print_plan(job, phase, batch_is_revisit(way) ? BATCH_ONE_SPAN : order.plan_sql, script);
    walk_print_chunk(order.bound_sql, text_string(&statement), script);
    arena_deinit(&arena);
}
