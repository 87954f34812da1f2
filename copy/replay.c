#include "copy/replay_parts.h"

#include <stdatomic.h>
#include <stdio.h>

#include "copy/capture.h"
#include "copy/copy.h"
#include "copy/inspect.h"
#include "engine/base/clock.h"
#include "engine/job/walk.h"

enum {
    SMALL_KEYS = 1000,       /* a pass that found fewer has caught up, */
    SMALL_MS = 1000,         /* or one that took no longer: the rest is the cut-over's */
    CONVERGE_MS = 60 * 1000, /* how long a log may stay as it is before the capture changes */
    SMALL_LOG_BYTES =
        1024 * 1024,         /* taken at once, by one session: starting a crew would take longer */
    TURN_BYTES = 128 * 1024, /* a side that is this long is given its turn to be cut off */
    BLOCKS_LEAST = 4,
    BLOCKS_FIRST = 64,
    BLOCKS_MAX = 4096,
    BLOCKS_DUAL = 2,  /* some 500 keys of a bigint */
    BLOCK_KEYS = 250, /* of a bigint */
};

/* ----------------------------------------------------------------------------------------------------------
 * a pass */

/* About what a key writes: its row is deleted and inserted, and has entries in indexes. */
static int64_t key_bytes(const struct run *run)
{
    const struct plan *plan = &copy_of(run)->plan;

    return plan->row_estimate > 0 ? 2 * plan->table_bytes / plan->row_estimate + 1 : 1;
}

/*
 * How many blocks of the log a transaction takes. In dual-write mode the application writes `to`
 * beside us: what takes long is in its way, and more often finds it in ours. And about what
 * chunk.wal allows, but never so little that the log would grow faster.
 */
static int64_t blocks_at_once(const struct run *run, const struct capture_state *state)
{
    int64_t fit = run->job.settings.chunk_wal_bytes / (BLOCK_KEYS * key_bytes(run));
    int64_t most = state->mode == CAPTURE_DUAL ? BLOCKS_DUAL : BLOCKS_MAX;

    fit = fit < BLOCKS_LEAST ? BLOCKS_LEAST : fit;
    return fit < most ? fit : most;
}

struct pass {
    const struct flow *flow;
    int buckets;
    int64_t key_bytes;
    atomic_llong keys;
    atomic_llong stuck;
};

static bool pass_prepare(struct session *session, void *arg, struct error *error)
{
    const struct pass *pass = arg;

    return replay_prepare(session, pass->flow, error);
}

static const char CHUNK_BEGIN[] = REPLAY_BEGIN "; SAVEPOINT chunk";
static const char CHUNK_UNDO[] = "ROLLBACK TO SAVEPOINT chunk";

/* A chunk that meets a collision or a lock leaves its keys in the log, and the cursor moves on: for
 * later. */
static bool pass_chunk(struct walk_chunk *chunk, void *arg, struct error *error)
{
    struct pass *pass = arg;
    struct replay_result result = {0};
    struct params range = PARAMS(chunk->from, chunk->to);
    int64_t collected = 0;

    if (!session_run(chunk->session, CHUNK_BEGIN, error) ||
        !replay_collect(chunk->session, pass->flow, chunk->from, chunk->to, pass->buckets,
                        &collected, error))
        return false;
    if (collected == 0)
        return true;
    if (!replay_batch(chunk->session, pass->flow, &range, false, collected, &result, error))
        return error->code == ERROR_LOCK && session_run(chunk->session, CHUNK_UNDO, error);
    chunk->rows = result.keys;
    chunk->bytes = result.keys * pass->key_bytes;
    atomic_fetch_add(&pass->keys, result.keys);
    atomic_fetch_add(&pass->stuck, result.stuck);
    return true;
}

/* Spans of a pass: one for each bucket, over the blocks that the longer side has now. $1 = buckets.
 */
static const char PASS_PLAN[] =
    "SELECT ARRAY[b::text, '0'], ARRAY[b::text, blocks::text]\n"
    "  FROM generate_series(0, $1::bigint - 1) AS b,\n"
    "       (SELECT greatest(pg_relation_size({log_a_literal}), "
    "pg_relation_size({log_b_literal}))\n"
    "               / current_setting('block_size')::bigint AS blocks) AS log\n"
    " WHERE blocks > 0 ORDER BY b";

static const char PASS_BOUND[] =
    "SELECT ARRAY[($1::text[])[1], least(at + $3::bigint, hi)::text], at + $3::bigint >= hi,\n"
    "       least($3::bigint, hi - at)\n"
    "  FROM (SELECT ($1::text[])[2]::bigint AS at, ($2::text[])[2]::bigint AS hi) AS position";

static bool pass_plan(struct run *run, const struct flow *flow, int buckets, struct error *error)
{
    TEXT_AUTO sql = {0};

    flow_expand(flow, &sql, PASS_PLAN);
    if (session_begin(run->session, error) &&
        walk_plan(run->session, run->job.id, flow->label, text_string(&sql),
                  PARAMS(NUMBER(buckets)), error) &&
        session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return false;
}

static const char LEASE_PATIENCE[] = "SET LOCAL lock_timeout = '5s'";

static bool begin_leased(struct session *session, const struct flow *flow, struct error *error)
{
    return session_begin(session, error) && session_run(session, LEASE_PATIENCE, error) &&
           replay_lease_all(session, flow, error) && session_run(session, REPLAY_BEGIN, error);
}

/* Blocks [from, to) of both sides, in a transaction of the control session. What is in somebody's
 * way is left. */
static bool take_blocks(struct run *run, const struct flow *flow, int64_t from, int64_t to,
                        struct replay_result *result, struct error *error)
{
    char lo[64], hi[64];
    struct params range = PARAMS(lo, hi);
    int64_t collected = 0;

    snprintf(lo, sizeof(lo), "{0,%lld}", (long long)from);
    snprintf(hi, sizeof(hi), "{0,%lld}", (long long)to);
    if (begin_leased(run->session, flow, error) &&
        replay_collect(run->session, flow, lo, hi, 1, &collected, error) &&
        (collected == 0 ||
         replay_batch(run->session, flow, &range, false, collected, result, error)) &&
        session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return error->code == ERROR_LOCK;
}

static bool log_position(struct run *run, int64_t *position, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(run->session, &rows, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn",
                       NO_PARAMS, error))
        return false;
    *position = rows_int64(&rows, 0, 0);
    return true;
}

/* A chunk by the pace's leave, as walk.c's are; no transaction is open while it waits. */
static bool paced_blocks(struct run *run, const struct flow *flow, int64_t from, int64_t at_once,
                         int64_t expected_blocks, struct replay_result *result, struct error *error)
{
    struct pace_chunk chunk = {.expected_bytes = expected_blocks * BLOCK_KEYS * key_bytes(run)};
    const struct pace_ask ask = {
        .expected_bytes = chunk.expected_bytes, .rested_ms = INT64_MAX / 2, .urgent = true};
    int64_t keys = result->keys;
    int64_t before = 0;
    int64_t start_ms;
    int64_t wait_ms;
    bool ok;

    while ((wait_ms = run->pace->ask(run->pace, &ask)) > 0)
        if (!stop_sleep_ms(run->stop, wait_ms, error))
            return false;
    start_ms = clock_ms();
    ok = log_position(run, &before, error) &&
         take_blocks(run, flow, from, from + at_once, result, error) &&
         log_position(run, &chunk.position, error);
    chunk.grown = chunk.position > before ? chunk.position - before : 0;
    chunk.rows = result->keys - keys;
    chunk.bytes = chunk.rows * key_bytes(run);
    chunk.busy_ms = clock_ms() - start_ms;
    if (!ok)
        chunk.position = 0;
    run->pace->done(run->pace, &chunk);
    return ok;
}

/* A small log, by the control session alone: starting a crew would take longer. */
static bool pass_alone(struct run *run, const struct flow *flow, int64_t blocks, int64_t at_once,
                       struct replay_result *result, struct error *error)
{
    if (!replay_prepare(run->session, flow, error))
        return false;
    for (int64_t at = 0; at < blocks; at += at_once)
        if (!stop_check(run->stop, error) ||
            !paced_blocks(run, flow, at, at_once, at_once < blocks - at ? at_once : blocks - at,
                          result, error))
            return false;
    return true;
}

bool replay_stick(struct run *run, const struct flow *flow, struct error *error)
{
    struct replay_result result = {0};

    if (replay_prepare(run->session, flow, error) && begin_leased(run->session, flow, error) &&
        replay_whole(run->session, flow, true, &result, error) &&
        session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return error->code == ERROR_LOCK;
}

/* Long before a small budget is used up: a file does not shrink by being drained. */
static int64_t turn_bytes(const struct capture_state *state)
{
    return state->budget_bytes > 0 && state->budget_bytes / 2 < TURN_BYTES ? state->budget_bytes / 2
                                                                           : TURN_BYTES;
}

/*
 * When the side that is written has grown, the functions write the other one from now on, if it is
 * empty as a file: then the side that is drained stands still and can be truncated at its end.
 */
static bool turn_sides(struct run *run, const struct flow *flow, struct error *error)
{
    struct capture_state state;
    struct capture_size size;

    if (!capture_get(run->session, flow, &state, error) ||
        !capture_size(run->session, flow, &size, error))
        return false;
    if (state.mode == CAPTURE_IDLE ||
        (state.side == 'a' ? size.a_bytes : size.b_bytes) < turn_bytes(&state) ||
        (state.side == 'a' ? size.b_bytes : size.a_bytes) > 0)
        return true;
    state.side = state.side == 'a' ? 'b' : 'a';
    state.warned = false;
    return capture_set(run, flow, state, error);
}

/*
 * Cuts off the side that nobody writes, under its own ACCESS EXCLUSIVE lock and after a fresh look
 * inside the lock: blindly it would lose the rows of transactions that were still writing when the
 * functions turned away (model rot-blind). Never when it outgrew its budget: its size is then the
 * marker.
 */
static const char CUT_LOCK[] =
    "BEGIN; " REPLAY_IMPATIENT "; LOCK TABLE {side} IN ACCESS EXCLUSIVE MODE";
static const char CUT[] = "TRUNCATE {side}";

static void side_sql(const struct flow *flow, const char *template, char side, struct text *sql)
{
    TEXT_AUTO name = {0};

    flow_expand(flow, &name, side == 'a' ? "{log_a}" : "{log_b}");
    text_clear(sql);
    sql_expand(sql, template,
               SQL_NAMES({"side", sql_fragment(text_string(&name))},
                         {"literal", sql_literal(text_string(&name))}));
}

static bool truncate_drained(struct run *run, const struct flow *flow, struct error *error)
{
    struct capture_state state;
    char side;
    TEXT_AUTO sql = {0};
    ROWS_AUTO rows = {0};
    bool marked = false;

    if (!capture_get(run->session, flow, &state, error))
        return false;
    side = state.side == 'a' ? 'b' : 'a';
    side_sql(flow,
             "SELECT pg_relation_size({literal}::regclass) > 0 AND NOT EXISTS (SELECT FROM {side})",
             side, &sql);
    if (!session_query(run->session, &rows, text_string(&sql), NO_PARAMS, error))
        return false;
    if (!rows_bool(&rows, 0, 0))
        return true;
    rows_deinit(&rows);
    side_sql(flow, CUT_LOCK, side, &sql);
    if (!session_run_text(run->session, &sql, error)) {
        session_rollback(run->session);
        return error->code == ERROR_LOCK; /* somebody still writes it: another time */
    }
    side_sql(flow, "SELECT NOT EXISTS (SELECT FROM {side})", side, &sql);
    if (session_query(run->session, &rows, text_string(&sql), NO_PARAMS, error) &&
        capture_marked(run->session, flow, run, &marked, error)) {
        side_sql(flow, CUT, side, &sql);
        if ((!rows_bool(&rows, 0, 0) || marked || session_run_text(run->session, &sql, error)) &&
            session_commit(run->session, error))
            return true;
    }
    session_rollback(run->session);
    return false;
}

static bool pass_by_crew(struct run *run, const struct flow *flow, int64_t at_once,
                         struct replay_result *result, struct error *error)
{
    struct pass pass = {
        .flow = flow,
        .key_bytes = key_bytes(run),
        /* Workers with different rows of an exchange would wait for each other. */
        .buckets = flow->hashable && !flow->collides ? (int)run->job.settings.workers : 1,
    };
    struct walk walk = {
        .phase = flow->label,
        .bound_sql = PASS_BOUND,
        .prepare = pass_prepare,
        .chunk = pass_chunk,
        .work = &pass,
        .units_first = BLOCKS_FIRST < at_once ? BLOCKS_FIRST : at_once,
        .units_max = at_once,
        .workers = pass.buckets,
        .urgent = true,
    };

    if (!pass_plan(run, flow, pass.buckets, error) || !walk_run(run, &walk, error))
        return false;
    result->keys = atomic_load(&pass.keys);
    result->stuck = atomic_load(&pass.stuck);
    return true;
}

bool replay_pass(struct run *run, const struct flow *flow, struct replay_result *result,
                 struct error *error)
{
    struct capture_size size;
    struct capture_state state;
    int64_t bytes;

    *result = (struct replay_result){0};
    if (!replay_retry_collisions(run->session, flow, error) ||
        !capture_size(run->session, flow, &size, error) ||
        !capture_warn_early(run, flow, &size, error) || !turn_sides(run, flow, error))
        return false;
    if (size.empty)
        return truncate_drained(run, flow, error);
    if (!capture_get(run->session, flow, &state, error))
        return false;
    bytes = size.a_bytes > size.b_bytes ? size.a_bytes : size.b_bytes;
    return (bytes <= SMALL_LOG_BYTES
                ? pass_alone(run, flow, bytes / size.block_bytes, blocks_at_once(run, &state),
                             result, error)
                : pass_by_crew(run, flow, blocks_at_once(run, &state), result, error)) &&
           truncate_drained(run, flow, error);
}

/* --------------------------------------------------------------------------------------------------------
 * catch-up */

static bool turn_to_dual_write(struct run *run, const struct flow *flow, struct error *error)
{
    struct capture_state state;

    if (!capture_get(run->session, flow, &state, error))
        return false;
    if (state.mode == CAPTURE_LOG)
        log_notice(run->log, "the change log grows as fast as it is drained: the triggers now "
                             "write the new table directly");
    return capture_set_mode(run, flow, CAPTURE_DUAL, error);
}

bool replay_catch_up(struct run *run, const struct flow *flow, struct replay_result *result,
                     struct error *error)
{
    int64_t best_keys = INT64_MAX;
    int64_t best_ms = clock_ms();

    *result = (struct replay_result){0};
    if ((flow->direction == FLOW_FORWARD && !inspect_publications(run->session, error)) ||
        !replay_retry_stuck(run->session, flow, error))
        return false;
    for (;;) {
        struct replay_result pass;
        int64_t start_ms = clock_ms();

        if (!stop_check(run->stop, error) ||
            !capture_check_unmarked(run->session, flow, run, error) ||
            !replay_pass(run, flow, &pass, error))
            return false;
        log_verbose(run->log, "catch-up: %lld keys in %lld ms", (long long)pass.keys,
                    (long long)(clock_ms() - start_ms));
        result->keys += pass.keys;
        result->stuck += pass.stuck;
        if (pass.keys < SMALL_KEYS || clock_ms() - start_ms < SMALL_MS)
            return true;
        if (pass.keys < best_keys - best_keys / 6) { /* shrinks by 1.2 */
            best_keys = pass.keys;
            best_ms = clock_ms();
        } else if (flow->dual_possible && clock_ms() - best_ms > CONVERGE_MS &&
                   !turn_to_dual_write(run, flow, error)) {
            return false;
        }
    }
}

/* --------------------------------------------------------------------------------------------------------
 * printed */

static void print_sides(const struct run *run, const struct flow *flow, struct text *script)
{
    TEXT_AUTO sql = {0};

    sql_note(script, "when a side of the log has grown: from now on the other one is written");
    capture_functions_sql(run, flow, (struct capture_state){.mode = CAPTURE_LOG, .side = 'b'},
                          &sql);
    sql_add(script, text_string(&sql));
    sql_note(script, "and the one that is drained is cut off; the same of the other one");
    side_sql(flow, CUT_LOCK, 'a', &sql);
    sql_add(script, text_string(&sql));
    side_sql(flow, CUT, 'a', &sql);
    sql_add(script, text_string(&sql));
    sql_add(script, SESSION_COMMIT);
}

void replay_print_catch_up(const struct run *run, const struct flow *flow, struct text *script)
{
    TEXT_AUTO chunk = {0};
    TEXT_AUTO pieces = {0};

    replay_print_retry_stuck(flow, script);
    sql_note(script, "each pass");
    replay_print_retry_collisions(flow, script);
    replay_print_prepare(flow, script);
    flow_expand(flow, &pieces, PASS_PLAN);
    walk_print_plan(run->job.id, flow->label, text_string(&pieces), script);
    sql_add(&chunk, CHUNK_BEGIN);
    replay_print_batch(flow, false, false, &chunk);
    sql_note(&chunk, "where somebody is in the way: later");
    sql_add(&chunk, CHUNK_UNDO);
    walk_print_chunk(PASS_BOUND, text_string(&chunk), script);
    sql_note(script, "a short log at once, by one session: the same steps between");
    sql_add(script, SESSION_BEGIN);
    sql_add(script, LEASE_PATIENCE);
    flow_print(flow, script, replay_template(REPLAY_LEASE));
    sql_add(script, REPLAY_BEGIN);
    sql_add(script, SESSION_COMMIT);
    print_sides(run, flow, script);
}
