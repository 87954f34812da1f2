/* Replay's statements, and one batch of keys by them. */

#include "copy/replay_parts.h"
#include "engine/pg/sqlstate.h"

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

/* Trying again does not help. Whether it is a row is settled by refuses_rows(). */
static bool may_be_refusal(const struct error *error)
{
    return error->code == ERROR_SQL && !error->retryable && sqlstate_maybe_of_row(error->sqlstate);
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
    if (sqlstate_of_row(refused->sqlstate))
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

bool replay_collect(struct session *session, const struct flow *flow, const char *from,
                    const char *to, int64_t buckets, int64_t *keys, struct error *error)
{
    return step(session, flow, REPLAY_COLLECT, PARAMS(from, to, NUMBER(buckets)), keys, error);
}

bool replay_batch(struct session *session, const struct flow *flow, const struct params *range,
                  bool final, int64_t collected, struct replay_result *result, struct error *error)
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

static const char COLLISIONS[] =
    "sqlstate IN ('" SQLSTATE_UNIQUE_VIOLATION "', '" SQLSTATE_EXCLUSION_VIOLATION "')";

bool replay_retry_collisions(struct session *session, const struct flow *flow, struct error *error)
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

/* --------------------------------------------------------------------------------------------------------
 * printed */

/* replay_batch(), step by step; `whole` and `final` as there. */
void replay_print_batch(const struct flow *flow, bool whole, bool final, struct text *script)
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

void replay_print_retry_collisions(const struct flow *flow, struct text *script)
{
    print_retry(flow, COLLISIONS, script);
}

void replay_print_retry_stuck(const struct flow *flow, struct text *script)
{
    print_retry(flow, ALL_STUCK, script);
}

void replay_print_whole(const struct flow *flow, struct text *script)
{
    replay_print_retry_stuck(flow, script);
    sql_add(script, IMMEDIATE);
    replay_print_batch(flow, true, true, script);
}
