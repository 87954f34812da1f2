#include "copy/verify.h"

#include "copy/capture.h"
#include "copy/order.h"
#include "copy/replay.h"
#include "engine/base/clock.h"
#include "engine/job/walk.h"

enum {
    ROUNDS_BEFORE_DUAL =
        10, /* keys so hot that they are always in the log again: write them through */
    ROUNDS_OF_STUCK = 40, /* after so many, what is left is asked for its reason */
    ROUNDS_MAX = 1000,
    ROUND_WAIT_MS = 50,
};

/*
 * {range_r}, {range_s}: the chunk in either table. Only what differs leaves the join; how many rows
 * there were is counted on the index, in the same snapshot.
 */
static const char COMPARE[] =
    "WITH different AS MATERIALIZED (\n"
    "    SELECT {key_of_pair}\n"
    "      FROM (SELECT * FROM ONLY {from} AS r WHERE {range_r}) AS r\n"
    "      FULL JOIN (SELECT * FROM {to} AS s WHERE {range_s}) AS s ON {r_is_s}\n"
    "     WHERE {r_first} IS NULL OR {s_first} IS NULL OR record_image_ne(ROW({casts}), "
    "ROW({s_values}))),\n"
    "kept AS (\n"
    "    INSERT INTO {check} ({k}, in_flight)\n"
    "    SELECT {k_k}, {k_is_logged} FROM different AS k\n"
    "    RETURNING {k}, in_flight),\n"
    "repaired AS (INSERT INTO {log_a} ({k}) SELECT {k} FROM kept WHERE NOT in_flight)\n"
    "SELECT (SELECT count(*) FROM ONLY {from} AS r WHERE {range_r}),\n"
    "       (SELECT count(*) FROM kept WHERE in_flight), (SELECT count(*) FROM kept WHERE NOT "
    "in_flight)";

/*
 * The kept keys once more. Equal: settled. Different and logged: stays in flight. Different and not
 * logged: a difference, like those that were found so at first.
 */
static const char COMPARE_AGAIN[] =
    "WITH again AS (\n"
    "    SELECT {k_k}, {k_is_logged} AS logged,\n"
    "           CASE WHEN {r_first} IS NULL OR {s_first} IS NULL\n"
    "                THEN ({r_first} IS NULL) <> ({s_first} IS NULL)\n"
    "                ELSE record_image_ne(ROW({casts}), ROW({s_values})) END AS differs\n"
    "      FROM {check} AS k LEFT JOIN ONLY {from} AS r ON {r_is_k} LEFT JOIN {to} AS s ON "
    "{s_is_k}\n"
    "     WHERE NOT k.settled),\n"
    "judged AS (\n"
    "    UPDATE {check} AS b SET settled = NOT k.differs, in_flight = b.in_flight AND (k.logged OR "
    "NOT k.differs)\n"
    "      FROM again AS k WHERE {b_is_k}),\n"
    "repaired AS (INSERT INTO {log_a} ({k}) SELECT {k} FROM again WHERE differs AND NOT logged)\n"
    "SELECT count(*) FILTER (WHERE differs) FROM again";

void verify_statement(const struct flow *flow, const char *range_r, const char *range_s,
                      struct text *sql)
{
    flow_expand_with(
        flow, sql, COMPARE,
        SQL_NAMES({"range_r", sql_fragment(range_r)}, {"range_s", sql_fragment(range_s)}));
}

struct verify_work {
    const struct flow *flow;
    const char *search_path;
    struct text statement;
};

/* A chunk is a whole span: it writes nothing and locks nothing, and finding a bound in between
 * would cost a scan. */
static const char WHOLE_SPAN[] =
    "SELECT $2::text[], true, $3::bigint FROM (SELECT $1::text[]) AS cursor";

/* The same positions over either table: its own names and types of the key. */
static void verify_orders(const struct copy *copy, struct arena *arena, struct order *r,
                          struct order *s)
{
    const struct plan *plan = &copy->plan;
    struct order_column from[TABLE_KEY_COLUMNS_MAX], to[TABLE_KEY_COLUMNS_MAX];

    for (int i = 0; i < plan->key_count; i++) {
        from[i] = (struct order_column){plan->key[i].source, plan->key[i].source_type,
                                        plan->key[i].operator_schema};
        to[i] = (struct order_column){plan->key[i].target, plan->key[i].target_type,
                                      plan->key[i].operator_schema};
    }
    order_keys(r, arena, copy->forward.from_qualified, "r", from, plan->key_count,
               plan->heap_bytes / 8192, false);
    order_keys(s, arena, copy->forward.to_qualified, "s", to, plan->key_count,
               plan->heap_bytes / 8192, false);
}

static bool verify_chunk(struct walk_chunk *chunk, void *arg, struct error *error)
{
    const struct verify_work *work = arg;
    ROWS_AUTO rows = {0};

    if (!session_query(chunk->session, &rows, text_string(&work->statement),
                       PARAMS(chunk->from, chunk->to), error))
        return false;
    chunk->rows = rows_int64(&rows, 0, 0);
    return true;
}

/* Both sides come in key order from an index; a chunk is small beside the tables. */
static const char PREPARE[] = "SET random_page_cost = 1.1; SET work_mem = '64MB'";

static bool verify_prepare(struct session *session, void *arg, struct error *error)
{
    const struct verify_work *work = arg;

    return session_run(session, PREPARE, error) &&
           (work->search_path == NULL ||
            session_set(session, "search_path", work->search_path, false, error));
}

static bool create_check(struct run *run, struct error *error)
{
    const struct flow *flow = &copy_of(run)->forward;

    return flow_run(flow, run->session,
                    "DROP TABLE IF EXISTS {check};\n"
                    "CREATE TABLE {check} ({k_definition}, in_flight boolean NOT NULL,\n"
                    "                      settled boolean NOT NULL DEFAULT false);\n"
                    "ALTER TABLE {check} REPLICA IDENTITY FULL", /* as the log's (capture.c) */
                    error) &&
           capture_make_private(run->session, flow, "{check}", error);
}

bool verify_plan(struct run *run, struct error *error)
{
    const struct copy *copy = copy_of(run);
    struct arena arena = {0};
    struct order r, s;
    int64_t spans = copy->plan.table_bytes / run->job.settings.span_bytes + 1;
    bool ok;

    verify_orders(copy, &arena, &r, &s);
    ok = create_check(run, error) &&
         (r.search_path == NULL ||
          session_set(run->session, "search_path", r.search_path, true, error)) &&
         walk_plan(run->session, run->job.id, "verify", r.plan_sql,
                   PARAMS(NUMBER(spans < 1000 ? spans : 1000)), error);
    arena_deinit(&arena);
    return ok;
}

/* Replays and compares the kept keys until all are settled, or *unsettled ones are left, all of
 * them stuck. */
static bool compare_again(struct run *run, const struct flow *flow, int64_t *unsettled,
                          struct error *error)
{
    struct capture_state before;
    bool ok = true;

    if (!capture_get(run->session, flow, &before, error))
        return false;
    for (int round = 0; ok; round++) {
        ROWS_AUTO rows = {0};
        struct replay_result replayed;
        struct capture_size size;

        if (!flow_query(flow, run->session, &rows, COMPARE_AGAIN, NO_PARAMS, error))
            return false;
        if (!capture_size(run->session, flow, &size, error))
            return false;
        if (rows_int64(&rows, 0, 0) == 0)
            break;
        if (round >= ROUNDS_OF_STUCK && round % ROUNDS_OF_STUCK == 0 &&
            !replay_stick(run, flow, error))
            return false;
        if (!capture_size(run->session, flow, &size, error))
            return false;
        if (rows_int64(&rows, 0, 0) <= size.stuck_keys) {
            *unsettled = rows_int64(&rows, 0, 0);
            break;
        }
        if (round == ROUNDS_MAX) {
            error_set(error, ERROR_DIFFERS, "%s keys could not be compared: they are never at rest",
                      rows_text(&rows, 0, 0));
            return error_hint(error, "see pghaul status %s; a transaction may be holding them",
                              SHELL_WORD(run->job.name));
        }
        log_verbose(run->log, "verify: round %d, %s keys in flight", round, rows_text(&rows, 0, 0));
        progress_reason(run->progress, "comparing %s keys that were in flight",
                        rows_text(&rows, 0, 0));
        if (round == ROUNDS_BEFORE_DUAL && flow->dual_possible)
            ok = capture_set_mode(run, flow, CAPTURE_DUAL, error);
        ok = ok && (round == 0 || stop_sleep_ms(run->stop, ROUND_WAIT_MS, error)) &&
             replay_pass(run, flow, &replayed, error);
    }
    return ok && capture_set_mode(run, flow, before.mode, error);
}

/* Keys that stay stuck are differences that nobody can repair but the user. */
static bool check_stuck(struct run *run, const struct flow *flow, int64_t unsettled,
                        struct error *error)
{
    ROWS_AUTO rows = {0};
    struct capture_size size;

    if (!capture_size(run->session, flow, &size, error))
        return false;
    if (size.refused_keys == 0 && unsettled == 0)
        return true;

    if (!flow_query(flow, run->session, &rows,
                    "SELECT count(*) OVER (), {k_text}, message FROM {stuck} AS k LIMIT 1",
                    NO_PARAMS, error))
        return false;
    if (rows_count(&rows) == 0)
        return true;
    error_set(error, ERROR_DIFFERS, "%s rows cannot go into the new table", rows_text(&rows, 0, 0));
    error_detail(error, "for example key (%s): %s", rows_text(&rows, 0, 1), rows_text(&rows, 0, 2));
    return error_hint(
        error,
        "change those rows so that the new table takes them, then pghaul resume %s; their keys "
        "are in pghaul.%s_stuck",
        SHELL_WORD(run->job.name), flow->label);
}

/* The result, from the table of kept keys: right also when several processes walked, or one that
 * died. */
static bool record(struct run *run, const struct flow *flow, struct error *error)
{
    struct walk_totals totals;
    ROWS_AUTO rows = {0};

    if (!walk_totals(run->session, run->job.id, "verify", &totals, error) ||
        !flow_query(flow, run->session, &rows,
                    "SELECT count(*) FILTER (WHERE in_flight), count(*) FILTER (WHERE NOT "
                    "in_flight) FROM {check}",
                    NO_PARAMS, error) ||
        !session_execute(
            run->session,
            "UPDATE pghaul.job SET facts = facts || jsonb_build_object('verify', "
            "jsonb_build_object(\n"
            "       'at', clock_timestamp(), 'rows', $2::bigint, 'left_out', $3::bigint,\n"
            "       'differences', $4::bigint, 'repaired', $4::bigint))\n"
            " WHERE id = $1::bigint",
            PARAMS(NUMBER(run->job.id), NUMBER(totals.rows), rows_text(&rows, 0, 0),
                   rows_text(&rows, 0, 1)),
            NULL, error))
        return false;
    if (rows_int64(&rows, 0, 1) == 0)
        return true;
    log_warning(run->log, "verify: %s rows differed; they were repaired and compared again",
                rows_text(&rows, 0, 1));
    return job_event(run->session, run->job.id, "differences", error, "%s", rows_text(&rows, 0, 1));
}

/* Rows that were refused may have been mended since: a job that failed here is resumed here. */
static bool retry_stuck(struct run *run, const struct flow *flow, struct error *error)
{
    struct replay_result replayed;
    struct capture_size size;

    if (!capture_size(run->session, flow, &size, error))
        return false;
    return size.stuck_keys == 0 || (replay_retry_stuck(run->session, flow, error) &&
                                    replay_pass(run, flow, &replayed, error));
}

/* What the leader does when all spans are compared. */
/* Once more, if it dies before the phase is recorded as done: so the kept keys stay in their table.
 */
static bool judge(struct run *run, const struct flow *flow, struct error *error)
{
    int64_t unsettled = 0;

    return retry_stuck(run, flow, error) && compare_again(run, flow, &unsettled, error) &&
           capture_check_unmarked(run->session, flow, run, error) &&
           check_stuck(run, flow, unsettled, error) && record(run, flow, error);
}

bool verify_forward(struct run *run, struct error *error)
{
    struct copy *copy = copy_of(run);
    const struct flow *flow = &copy->forward;
    struct arena arena = {0};
    struct order r, s;
    struct verify_work work = {.flow = flow};
    struct walk walk = {
        .phase = "verify",
        .bound_sql = WHOLE_SPAN,
        .prepare = verify_prepare,
        .chunk = verify_chunk,
        .work = &work,
        .units_first = 1,
        .units_max = 1,
    };
    struct walk_totals totals = {0};
    bool ok;

    verify_orders(copy, &arena, &r, &s);
    work.search_path = r.search_path;
    verify_statement(flow, r.range, s.range, &work.statement);
    ok = walk_totals(run->session, run->job.id, "verify", &totals, error);
    if (ok)
        progress_start(run->progress, "verify", totals.rows, copy->plan.row_estimate);
    ok = ok && walk_run(run, &walk, error) && (!run->leading || judge(run, flow, error));
    text_deinit(&work.statement);
    arena_deinit(&arena);
    return ok;
}

bool verify_print(struct run *run, struct text *script, struct error *error)
{
    const struct copy *copy = copy_of(run);
    struct arena arena = {0};
    struct order r, s;
    TEXT_AUTO sql = {0};

    if (!create_check(run, error))
        return false;
    verify_orders(copy, &arena, &r, &s);
    walk_print_plan(run->job.id, "verify", r.plan_sql, script);
    sql_note(script, "each worker");
    sql_add(script, PREPARE);
    if (r.search_path != NULL)
        session_print_set("search_path", r.search_path, false, script);
    verify_statement(&copy->forward, r.range, s.range, &sql);
    walk_print_chunk(WHOLE_SPAN, text_string(&sql), script);
    sql_note(script, "what differed, again after replaying it as in catch-up, until it is settled");
    flow_print(&copy->forward, script, COMPARE_AGAIN);
    arena_deinit(&arena);
    return true;
}

bool verify_fresh(struct run *run, bool *fresh, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(
            run->session, &rows,
            "SELECT coalesce((facts #>> '{verify,at}')::timestamptz\n"
            "                > clock_timestamp() - $2::bigint * interval '1 millisecond', false)\n"
            "  FROM pghaul.job WHERE id = $1::bigint",
            PARAMS(NUMBER(run->job.id), NUMBER(run->job.settings.verify_age_ms)), error))
        return false;
    *fresh = rows_bool(&rows, 0, 0);
    return true;
}
