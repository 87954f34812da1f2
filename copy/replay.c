#include "copy/replay.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "copy/capture.h"
#include "copy/inspect.h"
#include "engine/base/clock.h"
#include "engine/job/walk.h"
#include "engine/pg/sqlstate.h"

enum {
    SMALL_KEYS = 1000,       /* a pass that found fewer has caught up, */
    SMALL_MS = 1000,         /* or one that took no longer: the rest is the cut-over's */
    CONVERGE_MS = 60 * 1000, /* how long a log may stay as it is before the capture changes */
    SMALL_LOG_BYTES =
        1024 * 1024,         /* taken at once, by one session: starting a crew would take longer */
    TURN_BYTES = 128 * 1024, /* a side that is this long is given its turn to be cut off */
    BLOCKS_FIRST = 64,
    BLOCKS_MAX = 4096,
    BLOCKS_DUAL = 2, /* some 500 keys of a bigint */
};

/* ------------------------------------------------------------------------------------------------------
 * statements */

/* A piece of either side of the log: blocks [$1[2], $2[2]). */
#define RANGE                                                                                   \
    "l.ctid >= ('(' || ($1::text[])[2] || ',0)')::tid AND l.ctid < ('(' || ($2::text[])[2] || " \
    "',0)')::tid"

/* A key of the batch that is in `from` and has no row in `to`, and is not kept elsewhere already.
 */
#define MISSING                                                     \
    "NOT EXISTS (SELECT FROM {fresh} AS b WHERE {b_is_k})\n"        \
    "   AND EXISTS (SELECT FROM ONLY {from} AS r WHERE {r_is_k})\n" \
    "   AND NOT EXISTS (SELECT FROM {to} AS s WHERE {s_is_k})\n"    \
    "   AND NOT EXISTS (SELECT FROM {stuck} AS b WHERE {b_is_k})"

static const char *const TEMPLATES[REPLAY_STEPS] = {
    [REPLAY_LEASE] = "SELECT FROM pghaul.span WHERE job = $1::bigint AND phase = $2\n"
                     " ORDER BY number FOR UPDATE",
    /* {bucket_is}: hash of the key, modulo $3, is the bucket $1[1] */
    [REPLAY_COLLECT] = "INSERT INTO {batch} ({k}, n)\n"
                       "SELECT {k}, row_number() OVER ()\n"
                       "  FROM (SELECT DISTINCT {k}\n"
                       "          FROM (SELECT {l_k} FROM {log_a} AS l WHERE " RANGE "\n"
                       "                UNION ALL\n"
                       "                SELECT {l_k} FROM {log_b} AS l WHERE " RANGE ") AS l\n"
                       "         WHERE {bucket_is}) AS keys",
    [REPLAY_COLLECT_WHOLE] =
        "INSERT INTO {batch} ({k}, n)\n"
        "SELECT {k}, row_number() OVER ()\n"
        "  FROM (SELECT {k} FROM {log_a} UNION SELECT {k} FROM {log_b}) AS keys",
    [REPLAY_HOLD] = "INSERT INTO {held} ({k})\n"
                    "SELECT {k_k} FROM {batch} AS k JOIN {to} AS s ON {s_is_k}\n"
                    "   FOR UPDATE OF s SKIP LOCKED",
    [REPLAY_SKIP] = "DELETE FROM {batch} AS k\n"
                    " WHERE EXISTS (SELECT FROM {to} AS s WHERE {s_is_k})\n"
                    "   AND NOT EXISTS (SELECT FROM {held} AS b WHERE {b_is_k})",
    [REPLAY_CLAIM_A] = "DELETE FROM {log_a} AS l USING {batch} AS k WHERE {l_is_k} AND " RANGE,
    [REPLAY_CLAIM_B] = "DELETE FROM {log_b} AS l USING {batch} AS k WHERE {l_is_k} AND " RANGE,
    [REPLAY_CLAIM_WHOLE_A] = "DELETE FROM {log_a} AS l USING {batch} AS k WHERE {l_is_k}",
    [REPLAY_CLAIM_WHOLE_B] = "DELETE FROM {log_b} AS l USING {batch} AS k WHERE {l_is_k}",
    [REPLAY_UNSTICK] = "DELETE FROM {stuck} AS b USING {batch} AS k WHERE {b_is_k}",
    [REPLAY_KEEP] = "INSERT INTO {kept} ({k}{and_kept})\n"
                    "SELECT {k_k}{and_s_kept} FROM {batch} AS k JOIN {to} AS s ON {s_is_k}",
    [REPLAY_DELETE] = "DELETE FROM {to} AS s USING {batch} AS k WHERE {s_is_k}",
    [REPLAY_INSERT] = "WITH inserted AS (\n"
                      "    INSERT INTO {to} AS s ({columns}) OVERRIDING SYSTEM VALUE\n"
                      "    SELECT {values} FROM {batch} AS k JOIN ONLY {from} AS r ON {r_is_k}\n"
                      "     WHERE k.n >= $1::bigint AND k.n < $2::bigint{not_kept}\n"
                      "    {on_conflict} DO NOTHING\n"
                      "    RETURNING {key_of_s})\n"
                      "INSERT INTO {fresh} ({k}) SELECT {k} FROM inserted",
    [REPLAY_INSERT_KEPT] =
        "WITH inserted AS (\n"
        "    INSERT INTO {to} AS s ({columns}{and_kept}) OVERRIDING SYSTEM VALUE\n"
        "    SELECT {values}{and_w_kept}\n"
        "      FROM {batch} AS k JOIN ONLY {from} AS r ON {r_is_k} JOIN {kept} AS w ON {w_is_k}\n"
        "     WHERE k.n >= $1::bigint AND k.n < $2::bigint\n"
        "    {on_conflict} DO NOTHING\n"
        "    RETURNING {key_of_s})\n"
        "INSERT INTO {fresh} ({k}) SELECT {k} FROM inserted",
    [REPLAY_RECHECK] = "INSERT INTO {log_a} ({k})\n"
                       "SELECT {k_k} FROM {fresh} AS k WHERE NOT EXISTS (SELECT FROM ONLY {from} "
                       "AS r WHERE {r_is_k})",
    [REPLAY_RETURN] = "INSERT INTO {log_a} ({k})\n"
                      "SELECT {k_k} FROM {batch} AS k WHERE " MISSING,
    [REPLAY_RETURN_STUCK] = "INSERT INTO {stuck} ({k}, sqlstate, message)\n"
                            "SELECT {k_k}, '" SQLSTATE_UNIQUE_VIOLATION "',\n"
                            "       'another row has a value that must be unique'\n"
                            "  FROM {batch} AS k WHERE " MISSING,
};

const char *replay_template(enum replay_step step)
{
    return TEMPLATES[step];
}

/* Emptied by every commit. random_page_cost: batches are small beside the tables, and probes beat
 * scans of them. */
static const char PREPARE[] =
    "SET random_page_cost = 1;\n"
    "CREATE TEMPORARY TABLE IF NOT EXISTS {batch_name} ({k_definition}, n bigint) ON COMMIT DELETE "
    "ROWS;\n"
    "CREATE TEMPORARY TABLE IF NOT EXISTS {held_name} ({k_definition}) ON COMMIT DELETE ROWS;\n"
    "CREATE TEMPORARY TABLE IF NOT EXISTS {fresh_name} ({k_definition}) ON COMMIT DELETE ROWS";

static const char PREPARE_KEPT[] =
    "CREATE TEMPORARY TABLE IF NOT EXISTS {kept_name} ON COMMIT DELETE ROWS AS\n"
    "    SELECT {key_of_s}{and_s_kept} FROM {to} AS s WITH NO DATA";

bool replay_prepare(struct session *session, const struct flow *flow, struct error *error)
{
    return flow_run(flow, session, PREPARE, error) &&
           (!flow->keeps || flow_run(flow, session, PREPARE_KEPT, error));
}

/* -------------------------------------------------------------------------------------------------------
 * one batch */

static bool step(struct session *session, const struct flow *flow, enum replay_step number,
                 struct params params, int64_t *affected, struct error *error)
{
    return flow_execute(flow, session, TEMPLATES[number], params, affected, error);
}

static bool in_class(const struct error *error, const char *const *classes)
{
    for (; *classes != NULL; classes++)
        if (strncmp(error->sqlstate, *classes, 2) == 0)
            return true;
    return false;
}

/*
 * Could it be a row that the server refuses, so that trying again does not help? Not what passes
 * (retryable, locks, a cancel), nor what says that the server is in trouble (53 resources, 58
 * system, XX, F0). Everything else may: data (22) and constraints (23), a value that is too long
 * for an index (54), and whatever a function in a cast, a domain or a constraint raises.
 */
static bool may_be_refusal(const struct error *error)
{
    static const char *const TROUBLE[] = {"08", "40", "53", "57", "58", "F0", "XX", NULL};

    return error->code == ERROR_SQL && !error->retryable && error->sqlstate[0] != '\0' &&
           !in_class(error, TROUBLE);
}

static bool insert_once(struct session *session, const struct flow *flow, int64_t from, int64_t to,
                        struct error *error)
{
    struct params range = PARAMS(NUMBER(from), NUMBER(to));

    return step(session, flow, REPLAY_INSERT, range, NULL, error) &&
           (!flow->keeps || step(session, flow, REPLAY_INSERT_KEPT, range, NULL, error));
}

static const char MAKE_STUCK[] = "INSERT INTO {stuck} ({k}, sqlstate, message)\n"
                                 "SELECT {k_k}, $2, $3 FROM {batch} AS k WHERE k.n = $1::bigint";

static const char RANGE_BEGIN[] = "SAVEPOINT range";
static const char RANGE_END[] = "RELEASE SAVEPOINT range";
static const char RANGE_UNDO[] = "ROLLBACK TO SAVEPOINT range; RELEASE SAVEPOINT range";

static bool make_stuck(struct session *session, const struct flow *flow, int64_t n,
                       const struct error *why, struct error *error)
{
    return flow_execute(flow, session, MAKE_STUCK, PARAMS(NUMBER(n), why->sqlstate, why->message),
                        NULL, error);
}

/*
 * Is it the rows that are refused, and not the statement? Where the class leaves that open (a
 * missing privilege, say), the statement is tried without a row.
 */
static bool refuses_rows(struct session *session, const struct flow *flow,
                         const struct error *refused, struct error *error)
{
    static const char *const OF_ROWS[] = {"22", "23", "54", "P0", NULL};

    if (in_class(refused, OF_ROWS))
        return true;
    return session_run(session, RANGE_BEGIN, error) && insert_once(session, flow, 0, 0, error) &&
           session_run(session, RANGE_END, error);
}

/*
 * Inserts the batch's keys [from, to), all deletes done. What is refused is halved until it is one
 * key: that is stuck.
 */
static bool insert_range(struct session *session, const struct flow *flow, int64_t from, int64_t to,
                         struct replay_result *result, struct error *error)
{
    int64_t middle = from + (to - from) / 2;
    struct error refused;

    if (!session_run(session, RANGE_BEGIN, error))
        return false;
    if (insert_once(session, flow, from, to, error))
        return session_run(session, RANGE_END, error);
    if (!may_be_refusal(error))
        return false;
    refused = *error;
    if (!session_run(session, RANGE_UNDO, error) || !refuses_rows(session, flow, &refused, error))
        return false;
    if (to - from > 1)
        return insert_range(session, flow, from, middle, result, error) &&
               insert_range(session, flow, middle, to, result, error);
    result->stuck++;
    return make_stuck(session, flow, from, &refused, error);
}

/* From the collected batch to its end; `range`: of the log, for the claim; NULL: all of it. */
static bool replay_batch(struct session *session, const struct flow *flow,
                         const struct params *range, bool final, int64_t collected,
                         struct replay_result *result, struct error *error)
{
    bool whole = range == NULL;
    struct params none = NO_PARAMS;
    struct params claim = whole ? none : *range;
    int64_t skipped = 0, returned = 0;
    bool ok =
        step(session, flow, REPLAY_HOLD, none, NULL, error) &&
        step(session, flow, REPLAY_SKIP, none, &skipped, error) &&
        step(session, flow, whole ? REPLAY_CLAIM_WHOLE_A : REPLAY_CLAIM_A, claim, NULL, error) &&
        step(session, flow, whole ? REPLAY_CLAIM_WHOLE_B : REPLAY_CLAIM_B, claim, NULL, error) &&
        step(session, flow, REPLAY_UNSTICK, none, NULL, error) &&
        (!flow->keeps || step(session, flow, REPLAY_KEEP, none, NULL, error)) &&
        step(session, flow, REPLAY_DELETE, none, NULL, error) &&
        insert_range(session, flow, 1, collected + 1, result, error) &&
        step(session, flow, REPLAY_RECHECK, none, NULL, error) &&
        step(session, flow, final ? REPLAY_RETURN_STUCK : REPLAY_RETURN, none, &returned, error);

    result->keys += collected - skipped - returned;
    result->stuck += final ? returned : 0;
    return ok;
}

/*
 * Stuck keys back into the log: what stood in their way may be gone. {which}: a condition.
 */
static const char RETRY_STUCK[] =
    "WITH moved AS (DELETE FROM {stuck} WHERE {which} RETURNING {k})\n"
    "INSERT INTO {log_a} ({k}) SELECT DISTINCT {k} FROM moved";

static void retry_stuck_sql(const struct flow *flow, const char *which, struct text *sql)
{
    flow_expand_with(flow, sql, RETRY_STUCK, SQL_NAMES({"which", sql_fragment(which)}));
}

static bool retry_stuck(struct session *session, const struct flow *flow, const char *which,
                        struct error *error)
{
    TEXT_AUTO sql = {0};

    retry_stuck_sql(flow, which, &sql);
    return session_run_text(session, &sql, error);
}

/*
 * Beside writers a collision may be over in a moment: the row that has the value in `to` may have
 * been changed since the batch was collected. So those keys are tried again by every pass; only
 * under the lock of the swap is one final.
 */
static const char COLLISIONS[] =
    "sqlstate IN ('" SQLSTATE_UNIQUE_VIOLATION "', '" SQLSTATE_EXCLUSION_VIOLATION "')";

static bool retry_collisions(struct session *session, const struct flow *flow, struct error *error)
{
    return retry_stuck(session, flow, COLLISIONS, error);
}

static const char ALL_STUCK[] = "true";

bool replay_retry_stuck(struct session *session, const struct flow *flow, struct error *error)
{
    return retry_stuck(session, flow, ALL_STUCK, error);
}

/* No deferred check may wait for the COMMIT. */
static const char IMMEDIATE[] = "SET CONSTRAINTS ALL IMMEDIATE";

bool replay_whole(struct session *session, const struct flow *flow, bool final,
                  struct replay_result *result, struct error *error)
{
    int64_t collected = 0;

    return session_run(session, IMMEDIATE, error) &&
           step(session, flow, REPLAY_COLLECT_WHOLE, NO_PARAMS, &collected, error) &&
           (collected == 0 || replay_batch(session, flow, NULL, final, collected, result, error));
}

bool replay_lease_all(struct session *session, const struct flow *flow, struct error *error)
{
    return step(session, flow, REPLAY_LEASE, PARAMS(NUMBER(flow->job), flow->label), NULL, error);
}

/* ----------------------------------------------------------------------------------------------------------
 * a pass */

struct pass {
    const struct flow *flow;
    int buckets;
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
        !step(chunk->session, pass->flow, REPLAY_COLLECT,
              PARAMS(chunk->from, chunk->to, NUMBER(pass->buckets)), &collected, error))
        return false;
    if (collected == 0)
        return true;
    if (!replay_batch(chunk->session, pass->flow, &range, false, collected, &result, error))
        return error->code == ERROR_LOCK && session_run(chunk->session, CHUNK_UNDO, error);
    chunk->rows = result.keys;
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

/*
 * How many blocks of the log a transaction takes. In dual-write mode the application writes `to`
 * beside us: what takes long is in its way, and more often finds it in ours.
 */
static int64_t blocks_at_once(const struct capture_state *state)
{
    return state->mode == CAPTURE_DUAL ? BLOCKS_DUAL : BLOCKS_MAX;
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
        step(run->session, flow, REPLAY_COLLECT, PARAMS(lo, hi, "1"), &collected, error) &&
        (collected == 0 ||
         replay_batch(run->session, flow, &range, false, collected, result, error)) &&
        session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return error->code == ERROR_LOCK;
}

/* A small log, by the control session alone: starting a crew would take longer. */
static bool pass_alone(struct run *run, const struct flow *flow, int64_t blocks, int64_t at_once,
                       struct replay_result *result, struct error *error)
{
    if (!replay_prepare(run->session, flow, error))
        return false;
    for (int64_t at = 0; at < blocks; at += at_once)
        if (!stop_check(run->stop, error) ||
            !take_blocks(run, flow, at, at + at_once, result, error))
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
        /* Workers with different rows of an exchange would wait for each other. */
        .buckets = flow->hashable && !flow->collides ? (int)run->job.settings.workers : 1,
    };
    struct walk walk = {
        .phase = flow->label,
        .bound_sql = PASS_BOUND,
        .prepare = pass_prepare,
        .chunk = pass_chunk,
        .work = &pass,
        .units_first = BLOCKS_FIRST,
        .units_max = at_once,
        .workers = pass.buckets,
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
    if (!retry_collisions(run->session, flow, error) ||
        !capture_size(run->session, flow, &size, error) ||
        !capture_warn_early(run, flow, &size, error) || !turn_sides(run, flow, error))
        return false;
    if (size.empty)
        return truncate_drained(run, flow, error);
    if (!capture_get(run->session, flow, &state, error))
        return false;
    bytes = size.a_bytes > size.b_bytes ? size.a_bytes : size.b_bytes;
    return (bytes <= SMALL_LOG_BYTES
                ? pass_alone(run, flow, bytes / size.block_bytes, blocks_at_once(&state), result,
                             error)
                : pass_by_crew(run, flow, blocks_at_once(&state), result, error)) &&
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

/* replay_batch(), step by step; `whole` and `final` as there. */
static void print_batch(const struct flow *flow, bool whole, bool final, struct text *script)
{
    const enum replay_step steps[] = {
        whole ? REPLAY_COLLECT_WHOLE : REPLAY_COLLECT,
        REPLAY_HOLD,
        REPLAY_SKIP,
        whole ? REPLAY_CLAIM_WHOLE_A : REPLAY_CLAIM_A,
        whole ? REPLAY_CLAIM_WHOLE_B : REPLAY_CLAIM_B,
        REPLAY_UNSTICK,
        REPLAY_KEEP,
        REPLAY_DELETE,
        REPLAY_INSERT,
        REPLAY_INSERT_KEPT,
        REPLAY_RECHECK,
        final ? REPLAY_RETURN_STUCK : REPLAY_RETURN,
    };

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        bool of_kept = steps[i] == REPLAY_KEEP || steps[i] == REPLAY_INSERT_KEPT;

        if (of_kept && !flow->keeps)
            continue;
        if (steps[i] == REPLAY_INSERT)
            sql_add(script, RANGE_BEGIN);
        flow_print(flow, script, TEMPLATES[steps[i]]);
        if (steps[i] == (flow->keeps ? REPLAY_INSERT_KEPT : REPLAY_INSERT))
            sql_add(script, RANGE_END);
    }
    sql_note(script, "where the server refuses a row, in halves, down to the key that is stuck");
    sql_add(script, RANGE_UNDO);
    flow_print(flow, script, MAKE_STUCK);
}

void replay_print_prepare(const struct flow *flow, struct text *script)
{
    flow_print(flow, script, PREPARE);
    if (flow->keeps)
        flow_print(flow, script, PREPARE_KEPT);
}

static void print_retry(const struct flow *flow, const char *which, struct text *script)
{
    TEXT_AUTO sql = {0};

    retry_stuck_sql(flow, which, &sql);
    sql_add(script, text_string(&sql));
}

void replay_print_whole(const struct flow *flow, struct text *script)
{
    print_retry(flow, ALL_STUCK, script);
    sql_add(script, IMMEDIATE);
    print_batch(flow, true, true, script);
}

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

    print_retry(flow, ALL_STUCK, script);
    sql_note(script, "each pass");
    print_retry(flow, COLLISIONS, script);
    replay_print_prepare(flow, script);
    flow_expand(flow, &pieces, PASS_PLAN);
    walk_print_plan(run->job.id, flow->label, text_string(&pieces), script);
    sql_add(&chunk, CHUNK_BEGIN);
    print_batch(flow, false, false, &chunk);
    sql_note(&chunk, "where somebody is in the way: later");
    sql_add(&chunk, CHUNK_UNDO);
    walk_print_chunk(PASS_BOUND, text_string(&chunk), script);
    sql_note(script, "a short log at once, by one session: the same steps between");
    sql_add(script, SESSION_BEGIN);
    sql_add(script, LEASE_PATIENCE);
    flow_print(flow, script, TEMPLATES[REPLAY_LEASE]);
    sql_add(script, REPLAY_BEGIN);
    sql_add(script, SESSION_COMMIT);
    print_sides(run, flow, script);
}
