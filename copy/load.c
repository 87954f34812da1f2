#include "copy/load.h"

#include <string.h>

#include "copy/capture.h"
#include "copy/inspect.h"
#include "copy/order.h"
#include "engine/job/walk.h"

enum {
    MIN_SPAN_BYTES = 1024 * 1024,
    SHORT_LOG_BYTES = 1024 * 1024,
    KEYS_BYTES = 20 * 1000 * 1000, /* of the log, a second: read, made distinct, written */
};

struct load_work {
    const struct run *run;
    const struct flow *flow;
    struct order order;
    struct text statement;
    struct text expected; /* fingerprint of the source and its triggers, as the capture left it */
    bool storage;         /* blocks are walked: the storage must stay as it is */
    int64_t row_bytes;    /* per unit: block or row, with TOAST */
};

void load_statement(const struct copy *copy, const char *range, const char *sort, struct text *sql)
{
    flow_expand_with(&copy->forward, sql,
                     "INSERT INTO {to} ({columns})\n"
                     "SELECT {values}\n"
                     "  FROM ONLY {from} AS r\n"
                     " WHERE {range}{order_by}{sort}",
                     SQL_NAMES({"range", sql_fragment(range)},
                               {"order_by", sql_fragment(sort == NULL ? "" : "\n ORDER BY ")},
                               {"sort", sql_fragment(sort == NULL ? "" : sort)}));
}

/* The order that the plan chose, over the source as alias r. */
static void load_order(const struct copy *copy, struct arena *arena, struct order *order)
{
    struct order_column columns[TABLE_KEY_COLUMNS_MAX];

    if (copy->plan.order == PLAN_HEAP) {
        order_blocks(order, arena, copy->forward.from_qualified, "r");
        return;
    }
    for (int i = 0; i < copy->plan.walk_count; i++)
        columns[i] =
            (struct order_column){copy->plan.walk[i].source, copy->plan.walk[i].source_type,
                                  copy->plan.walk[i].operator_schema};
    order_keys(order, arena, copy->forward.from_qualified, "r", columns, copy->plan.walk_count,
               copy->plan.heap_bytes / 8192, false);
}

/* What one unit of the walk holds, in bytes of the whole table; at least 1. */
static int64_t unit_bytes(const struct plan *plan)
{
    int64_t units = plan->order == PLAN_HEAP ? plan->heap_bytes / 8192 : plan->row_estimate;

    return units > 0 ? plan->table_bytes / units + 1 : 8192;
}

/*
 * Nothing is known yet of what a chunk writes: so little that all workers at once are far from any
 * limit of a replica. It grows by half with each chunk.
 */
static int64_t first_bytes(const struct settings *settings)
{
    static const int64_t MOST = 1024 * 1024;
    int64_t bytes = settings->chunk_wal_bytes / 4;

    return bytes < MOST ? bytes : MOST;
}

/*
 * Workers mix the rows of neighbouring spans: in a small table spans are small, too, so that the
 * copy's rows lie as the source's do (with spans of 1/32, the correlation of an ordered column
 * stays above 0.99).
 */
static int64_t load_span_bytes(const struct run *run)
{
    int64_t small = copy_of(run)->plan.table_bytes / 32;

    if (small < MIN_SPAN_BYTES)
        small = MIN_SPAN_BYTES;
    return run->job.settings.span_bytes < small ? run->job.settings.span_bytes : small;
}

bool load_plan(struct run *run, struct error *error)
{
    struct copy *copy = copy_of(run);
    struct arena arena = {0};
    struct order order;
    int64_t span_bytes, span_units, spans;
    bool ok;

    load_order(copy, &arena, &order);
    span_bytes = load_span_bytes(run);
    span_units = span_bytes / unit_bytes(&copy->plan);
    spans = copy->plan.table_bytes / span_bytes + 1;
    ok = (order.search_path == NULL ||
          session_set(run->session, "search_path", order.search_path, true, error)) &&
         walk_plan(run->session, run->job.id, "load", order.plan_sql,
                   PARAMS(NUMBER(copy->plan.order == PLAN_HEAP ? (span_units > 0 ? span_units : 1)
                                                               : (spans < 1000 ? spans : 1000))),
                   error);
    arena_deinit(&arena);
    return ok;
}

/* What is found when the source is no longer what the job planned for. */
static bool source_changed(struct session *session, const struct load_work *work, const char *found,
                           struct error *error)
{
    TEXT_AUTO expected = {0};

    if (!capture_check_unmarked(session, work->flow, work->run, error) ||
        !capture_expected_fingerprint(session, work->flow, work->storage, &expected, error))
        return false;
    if (strcmp(text_string(&expected), found) == 0)
        return error_set(error, ERROR_AGAIN, "another process has begun the copy anew");
    error_set(error, ERROR_REFUSED, "the table was changed under the job");
    error_detail(error, "expected %s; found %s", text_string(&work->expected), found);
    return error_hint(
        error,
        "its columns, its storage (VACUUM FULL, CLUSTER) or pghaul's triggers are not what they "
        "were; abort the job and start again");
}

static const char LOCK_SOURCE[] = "LOCK TABLE ONLY {from} IN ACCESS SHARE MODE";

/* Lock first, then look: whatever changes the table in a way that matters conflicts with ACCESS
 * SHARE. */
static bool look_at_source(struct session *session, const struct load_work *work,
                           struct error *error)
{
    TEXT_AUTO found = {0};

    if (!flow_run(work->flow, session, LOCK_SOURCE, error) ||
        !capture_source_fingerprint(session, work->flow, work->storage, &found, error))
        return false;
    return strcmp(text_string(&found), text_string(&work->expected)) == 0 ||
           source_changed(session, work, text_string(&found), error);
}

static bool load_chunk(struct walk_chunk *chunk, void *arg, struct error *error)
{
    const struct load_work *work = arg;

    if (!look_at_source(chunk->session, work, error) ||
        !session_execute(chunk->session, text_string(&work->statement),
                         PARAMS(chunk->from, chunk->to), &chunk->rows, error))
        return false;
    chunk->bytes = chunk->units * work->row_bytes;
    return true;
}

static bool load_prepare(struct session *session, void *arg, struct error *error)
{
    const struct load_work *work = arg;

    return work->order.search_path == NULL ||
           session_set(session, "search_path", work->order.search_path, false, error);
}

bool load_forward(struct run *run, struct error *error)
{
    struct copy *copy = copy_of(run);
    struct arena arena = {0};
    struct load_work work = {
        .run = run,
        .flow = &copy->forward,
        .storage = copy->plan.order == PLAN_HEAP,
        .row_bytes = unit_bytes(&copy->plan),
    };
    struct walk_totals totals = {0};
    struct capture_size log;
    struct walk walk = {
        .phase = "load",
        .prepare = load_prepare,
        .chunk = load_chunk,
        .work = &work,
        .units_first = first_bytes(&run->job.settings) / work.row_bytes + 1,
        .units_max = INT64_C(1) << 30,
        .numbered = copy->plan.order == PLAN_HEAP,
    };
    bool ok;

    load_order(copy, &arena, &work.order);
    walk.bound_sql = work.order.bound_sql;
    load_statement(copy, work.order.range, work.order.sort, &work.statement);
    ok = walk_totals(run->session, run->job.id, "load", &totals, error) &&
         capture_expected_fingerprint(run->session, &copy->forward, work.storage, &work.expected,
                                      error);
    if (ok) {
        progress_start(run->progress, "load", totals.rows, copy->plan.row_estimate);
        ok = walk_run(run, &walk, error) &&
             capture_check_unmarked(run->session, &copy->forward, run, error) &&
             capture_size(run->session, &copy->forward, &log, error) &&
             capture_warn_early(run, &copy->forward, &log, error);
    }
    text_deinit(&work.statement);
    text_deinit(&work.expected);
    arena_deinit(&arena);
    return ok;
}

bool load_print(struct run *run, struct text *script, struct error *error)
{
    const struct copy *copy = copy_of(run);
    struct arena arena = {0};
    struct order order;
    TEXT_AUTO sql = {0};

    (void)error;
    load_order(copy, &arena, &order);
    sql_note(script, "in the order %s: %s",
             copy->plan.order == PLAN_HEAP ? "in which the rows lie" : "of the key",
             copy->plan.order_why);
    if (order.search_path != NULL)
        session_print_set("search_path", order.search_path, false, script);
    walk_print_plan(run->job.id, "load", order.plan_sql, script);
    flow_print(&copy->forward, &sql, LOCK_SOURCE);
    load_statement(copy, order.range, order.sort, &sql);
    walk_print_chunk(order.bound_sql, text_string(&sql), script);
    arena_deinit(&arena);
    return true;
}

/* -----------------------------------------------------------------------------------------------------------
 * purge */

/* The log's keys as they stand now that the load has ended: in a table, so that a resumed purge
 * means the same keys. */
static const char PURGE_KEYS[] = "DROP TABLE IF EXISTS {purge};\n"
                                 "CREATE TABLE {purge} AS\n"
                                 "    SELECT {k} FROM {log_a} UNION SELECT {k} FROM {log_b};\n"
                                 "ANALYZE {purge}";

static const char PURGE_DELETE[] =
    "DELETE FROM {to} AS s USING {purge} AS k WHERE {s_is_k} AND {range}";

static const char PURGE_END[] = "DROP TABLE IF EXISTS {purge}";

static bool purge_keys(struct run *run, struct error *error)
{
    const struct copy *copy = copy_of(run);

    return flow_run(&copy->forward, run->session, PURGE_KEYS, error) &&
           capture_make_private(run->session, &copy->forward, "{purge}", error);
}

/* As much as the log has: its keys are copied. Of a short log nobody is asked. */
bool purge_plan_writes(struct run *run, struct pace_unpaced *unpaced, struct error *error)
{
    struct capture_size log;

    if (!capture_size(run->session, &copy_of(run)->forward, &log, error))
        return false;
    *unpaced = (struct pace_unpaced){
        .what = log.a_bytes + log.b_bytes > SHORT_LOG_BYTES ? "list of the changed keys" : NULL,
        .wal_bytes = log.a_bytes + log.b_bytes,
        .seconds = (double)(log.a_bytes + log.b_bytes) / KEYS_BYTES,
    };
    return true;
}

bool purge_plan(struct run *run, struct error *error)
{
    const struct copy *copy = copy_of(run);
    struct arena arena = {0};
    struct order order;
    ROWS_AUTO rows = {0};
    bool ok;

    order_blocks(&order, &arena, copy->forward.to_qualified, "s");
    ok = purge_keys(run, error) &&
         flow_query(&copy->forward, run->session, &rows, "SELECT EXISTS (SELECT FROM {purge})",
                    NO_PARAMS, error) &&
         walk_plan(
             run->session, run->job.id, "purge",
             rows_bool(&rows, 0, 0)
                 ? order.plan_sql
                 : "SELECT NULL::text[], NULL::text[] FROM (SELECT $1::bigint) AS x WHERE false",
             PARAMS(NUMBER(run->job.settings.span_bytes * 8 / 8192)), error);
    arena_deinit(&arena);
    return ok;
}

struct purge_work {
    struct text statement;
};

static bool purge_chunk(struct walk_chunk *chunk, void *arg, struct error *error)
{
    const struct purge_work *work = arg;

    return session_execute(chunk->session, text_string(&work->statement),
                           PARAMS(chunk->from, chunk->to), &chunk->rows, error);
}

static void purge_statement(const struct copy *copy, const struct order *order, struct text *sql)
{
    flow_expand_with(&copy->forward, sql, PURGE_DELETE,
                     SQL_NAMES({"range", sql_fragment(order->range)}));
}

bool purge_forward(struct run *run, struct error *error)
{
    struct copy *copy = copy_of(run);
    struct arena arena = {0};
    struct order order;
    struct purge_work work = {0};
    struct walk walk = {
        .phase = "purge",
        .chunk = purge_chunk,
        .work = &work,
        .units_first = 16384,
        .units_max = INT64_C(1) << 30,
        .numbered = true,
    };
    bool ok;

    if (!inspect_publications(run->session, error))
        return false;
    order_blocks(&order, &arena, copy->forward.to_qualified, "s");
    walk.bound_sql = order.bound_sql;
    purge_statement(copy, &order, &work.statement);
    ok = walk_run(run, &walk, error) &&
         (!run->leading || flow_run(&copy->forward, run->session, PURGE_END, error));
    text_deinit(&work.statement);
    arena_deinit(&arena);
    return ok;
}

bool purge_print(struct run *run, struct text *script, struct error *error)
{
    const struct copy *copy = copy_of(run);
    struct arena arena = {0};
    struct order order;
    TEXT_AUTO sql = {0};

    if (!purge_keys(run, error))
        return false;
    order_blocks(&order, &arena, copy->forward.to_qualified, "s");
    walk_print_plan(run->job.id, "purge", order.plan_sql, script);
    purge_statement(copy, &order, &sql);
    walk_print_chunk(order.bound_sql, text_string(&sql), script);
    flow_print(&copy->forward, script, PURGE_END);
    arena_deinit(&arena);
    return true;
}
