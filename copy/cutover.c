#include "copy/cutover.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "copy/attached.h"
#include "copy/capture.h"
#include "copy/lock.h"
#include "copy/replay.h"
#include "copy/sequence.h"
#include "engine/base/clock.h"
#include "engine/pg/retry.h"
#include "engine/pg/sqlstate.h"

enum {
    DRAIN_PASSES = 10,
    ROUNDS_MAX = 3,
    INSIST_TRIES = 3,
    KEYS_UNDER_LOCK_MAX = 100, /* rows of the log; 500 keys took some 40 ms */
    COMMIT_MS = 15,            /* kept for the flush at COMMIT, which no timeout ends */
};

/* One swap: who leaves the user's schema, who arrives, and what it took. */
struct swap {
    struct run *run;
    struct copy *copy;
    const struct flow *flow;
    bool forward;
    bool accept_loss;
    bool redefined;                /* look_again() found another definition */
    const char *away;              /* name in schema pghaul of the one that leaves */
    const char *arriving;          /* name in schema pghaul of the one that arrives */
    const char *leaving_qualified; /* after the swap */
    uint32_t leaving_oid;
    uint32_t arriving_oid;
    struct text sql; /* of the exchange: made before the lock is taken */
    int attempts;
    int64_t waited_us;
    int64_t locked_us; /* when */
    int64_t keys;
};

/* ------------------------------------------------------------------------------------------------
 * the exchange's SQL */

static void rename_index(struct text *sql, const char *schema, const char *from, const char *to)
{
    if (strcmp(from, to) != 0)
        sql_expand(sql, "ALTER INDEX {from} RENAME TO {to};\n",
                   SQL_NAMES({"from", sql_table(schema, from)}, {"to", sql_ident(to)}));
}

/* Index names of the old table (source) or of the new one, away from home or back. `schema`: where
 * they are now. */
static void rename_indexes(const struct swap *swap, bool of_source, bool to_home, struct text *sql)
{
    const struct plan *plan = &swap->copy->plan;
    int count = of_source ? plan->source_index_count : plan->index_count;

    for (int i = 0; i < count; i++) {
        const char *home = of_source ? plan->source_indexes[i] : plan->indexes[i].name;
        char away[64];

        plan_away_name(of_source ? swap->copy->names.old : swap->copy->names.shadow, i, away);
        rename_index(sql, plan->schema, to_home ? away : home, to_home ? home : away);
    }
}

static void exchange_tables(const struct swap *swap, struct text *sql)
{
    const struct plan *plan = &swap->copy->plan;

    rename_indexes(swap, swap->forward, false, sql);
    sql_expand(sql,
               "ALTER TABLE {home} RENAME TO {away};\n"
               "ALTER TABLE {home_away} SET SCHEMA pghaul;\n"
               "ALTER TABLE {arriving} SET SCHEMA {schema};\n"
               "ALTER TABLE {home_arriving} RENAME TO {table};\n",
               SQL_NAMES({"home", sql_table(plan->schema, plan->table)},
                         {"away", sql_ident(swap->away)},
                         {"home_away", sql_table(plan->schema, swap->away)},
                         {"arriving", sql_table("pghaul", swap->arriving)},
                         {"schema", sql_ident(plan->schema)},
                         {"home_arriving", sql_table(plan->schema, swap->arriving)},
                         {"table", sql_ident(plan->table)}));
    rename_indexes(swap, !swap->forward, true, sql);
}

/* What could not be on the shadow while it was one: deferrable and NOT VALID constraints. Neither
 * reads the table. */
static void add_owed_constraints(const struct swap *swap, struct text *sql)
{
    const struct plan *plan = &swap->copy->plan;
    struct sql_value table = sql_table(plan->schema, plan->table);

    for (int i = 0; i < plan->index_count; i++)
        if (plan->indexes[i].constraint != NULL && plan->indexes[i].deferrable)
            sql_expand(sql,
                       "ALTER TABLE {table} ADD CONSTRAINT {name} {kind} USING INDEX {name} "
                       "DEFERRABLE{deferred};\n",
                       SQL_NAMES({"table", table}, {"name", sql_ident(plan->indexes[i].constraint)},
                                 {"kind", sql_fragment(plan->indexes[i].constraint_type == 'p'
                                                           ? "PRIMARY KEY"
                                                           : "UNIQUE")},
                                 {"deferred", sql_fragment(plan->indexes[i].initially_deferred
                                                               ? " INITIALLY DEFERRED"
                                                               : "")}));
    for (int i = 0; i < plan->check_count; i++)
        sql_expand(sql, "ALTER TABLE {table} ADD CONSTRAINT {name} {definition};\n",
                   SQL_NAMES({"table", table}, {"name", sql_ident(plan->checks[i].name)},
                             {"definition", sql_fragment(plan->checks[i].definition)}));
}

static bool exchange_sequences(const struct swap *swap, struct text *sql, struct error *error)
{
    const struct plan *plan = &swap->copy->plan;
    struct arena arena = {0};
    struct sequence_pair *pairs =
        arena_alloc(&arena, sizeof(*pairs) * (size_t)(plan->column_count + 1));
    struct sequence_names names = {"pghaul", swap->away, plan->schema, plan->table};
    struct sequence_plan *sequences;
    int count = 0;
    bool ok;

    for (int i = 0; i < plan->column_count; i++) {
        const struct plan_column *column = &plan->columns[i];

        if (swap->forward && column->source != NULL)
            pairs[count++] = (struct sequence_pair){column->source, column->target};
        else if (!swap->forward && column->target != NULL)
            pairs[count++] = (struct sequence_pair){column->target, column->source};
    }
    ok = sequence_plan(swap->run->session, swap->leaving_oid, swap->arriving_oid, pairs, count,
                       &arena, &sequences, error);
    if (ok)
        sequence_swap_sql(sequences, &names, sql);
    arena_deinit(&arena);
    return ok;
}

/* Everything that is decided outside the lock, as one text to be run under it. */
static bool make_sql(struct swap *swap, struct error *error)
{
    struct text *sql = &swap->sql;

    text_clear(sql);
    if (!attached_statistics_sql(swap->run->session, swap->leaving_oid, swap->arriving_oid, sql,
                                 error))
        return false;
    exchange_tables(swap, sql);
    if (swap->forward) {
        add_owed_constraints(swap, sql);
        /* their comments, as shadow_strip() found them */
        if (!copy_owed_sql(swap->run, sql, error))
            return false;
    }
    if (!exchange_sequences(swap, sql, error))
        return false;
    capture_detach_sql(swap->flow, swap->leaving_qualified, sql);
    return true;
}

/* -----------------------------------------------------------------------------------------------------
 * before it */

/* Passes until the log is empty, or as empty as it gets beside the load: until a pass finds no less
 * than half of what the one before it found. */
static bool drain(struct swap *swap, struct error *error)
{
    int64_t before = INT64_MAX;

    for (int i = 0; i < DRAIN_PASSES; i++) {
        struct replay_result pass;
        struct capture_size size;

        if (!stop_check(swap->run->stop, error) ||
            !capture_check_unmarked(swap->run->session, swap->flow, swap->run, error) ||
            !replay_pass(swap->run, swap->flow, &pass, error) ||
            !capture_size(swap->run->session, swap->flow, &size, error))
            return false;
        if (size.empty || pass.keys > before / 2)
            break;
        before = pass.keys;
    }
    return true;
}

static bool refuse_stuck(const struct swap *swap, int64_t keys, struct error *error)
{
    if (keys == 0 || swap->accept_loss)
        return true;
    if (swap->forward) {
        error_set(error, ERROR_DIFFERS, "%" PRId64 " rows cannot go into the new table", keys);
        return error_hint(error, "pghaul verify %s names one; their keys are in pghaul.%s_stuck",
                          SHELL_WORD(swap->run->job.name), swap->flow->label);
    }
    error_set(error, ERROR_NEEDS_PERSON, "%" PRId64 " rows cannot go back into the old table",
              keys);
    return error_hint(
        error,
        "their keys are in pghaul.%s_stuck; change those rows, or leave them behind with "
        "--accept-loss",
        swap->flow->label);
}

/* Before the lock: only what no waiting helps. */
static bool check_refused(const struct swap *swap, struct error *error)
{
    struct capture_size size;

    return capture_size(swap->run->session, swap->flow, &size, error) &&
           refuse_stuck(swap, size.refused_keys, error);
}

static bool prepare(struct swap *swap, struct error *error)
{
    struct replay_result caught_up;
    char warm[33];

    return lock_check_settings(swap->run->session, &swap->run->job.settings, error) &&
           replay_catch_up(swap->run, swap->flow, &caught_up, error) &&
           check_refused(swap, error) &&
           (!swap->flow->dual_possible ||
            capture_set_mode(swap->run, swap->flow, CAPTURE_DUAL, error)) &&
           drain(swap, error) && lock_wait_old_snapshots(swap->run, error) && drain(swap, error) &&
           replay_prepare(swap->run->session, swap->flow, error) && make_sql(swap, error) &&
           /* once before the lock, so that under it they are planned */
           attached_fingerprint(swap->run->session, swap->leaving_oid, warm, error) &&
           attached_fingerprint(swap->run->session, swap->arriving_oid, warm, error);
}

/* ------------------------------------------------------------------------------------------------------
 * under the lock */

static int64_t left_ms(const struct swap *swap, int64_t start_us)
{
    int64_t left =
        lock_wait_ms(swap->run->job.settings.cutover_wait_ms) - (clock_us() - start_us) / 1000;

    return left > 1 ? left : 1;
}

/*
 * The ladder's first rung for all tables that the swap will lock: an autovacuum of the new table or
 * of the log stands in its way as one of the source does, and would outlast any number of short
 * tries. Those of our own tables are kept until the strong locks, so that no vacuum comes back: the
 * application wants no lock that conflicts. That of `from` is given back at once: with it in hand,
 * an ANALYZE of a transaction that has written could be the victim of a deadlock with us (F41).
 */
static const char RUNGS[] =
    "SELECT set_config('lock_timeout', (setting::bigint + 4000)::text, true)\n"
    "  FROM pg_settings WHERE name = 'deadlock_timeout';\n"
    "LOCK TABLE {mark}, {stuck}, {log_a}, {log_b}, {to}\n"
    "    IN SHARE UPDATE EXCLUSIVE MODE;\n"
    "SAVEPOINT rung;\n"
    "LOCK TABLE {from} IN SHARE UPDATE EXCLUSIVE MODE;\n"
    "ROLLBACK TO SAVEPOINT rung; RELEASE SAVEPOINT rung";

static bool take_rungs(struct swap *swap, struct error *error)
{
    return session_begin(swap->run->session, error) &&
           flow_run(swap->flow, swap->run->session, RUNGS, error);
}

/* Is the log short enough to be replayed under the lock, within LOCK_WORK_MS? */
static bool log_is_short(struct swap *swap, bool *yes, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!flow_query(swap->flow, swap->run->session, &rows,
                    "SELECT count(*)\n"
                    "  FROM (SELECT FROM {log_a} UNION ALL SELECT FROM {log_b} LIMIT $1) AS l",
                    PARAMS(NUMBER(KEYS_UNDER_LOCK_MAX + 1)), error))
        return false;
    *yes = rows_int64(&rows, 0, 0) <= KEYS_UNDER_LOCK_MAX;
    return true;
}

/*
 * The rungs, and a log that is short when they are reached. Where they had to wait (a second at
 * least, until a vacuum noticed), the log has grown: so again after a drain. A log that does not
 * get short is swapped all the same in the second half of the tries, and at once where only a log
 * is possible: cutover.hold is the limit then.
 */
static bool climb(struct swap *swap, struct error *error)
{
    bool insist = swap->flow->dual_possible && swap->attempts <= INSIST_TRIES;

    for (int round = 1;; round++) {
        bool is_short = false;

        if (!take_rungs(swap, error) || !log_is_short(swap, &is_short, error))
            return false;
        if (is_short || (!insist && round == ROUNDS_MAX))
            return true;
        if (round == ROUNDS_MAX)
            return error_set(error, ERROR_LOCK,
                             "the change log is too long to swap: it grows as "
                             "fast as it is replayed");
        session_rollback(swap->run->session);
        if (!drain(swap, error))
            return false;
    }
}

/*
 * When a try must be at its COMMIT: what a writer may wait for one try, for the locks, behind which
 * it queues, and for the work, less what the commit takes.
 */
static int64_t commit_by_ms(const struct swap *swap)
{
    const struct settings *settings = &swap->run->job.settings;
    int64_t limit_ms = settings->cutover_hold_ms > settings->cutover_wait_ms
                           ? settings->cutover_hold_ms
                           : settings->cutover_wait_ms;

    return limit_ms > 2 * COMMIT_MS ? limit_ms - COMMIT_MS : (limit_ms + 1) / 2;
}

static void time_limit_sql(int64_t ms, struct text *sql)
{
    text_appendf(sql, "SET LOCAL statement_timeout = %" PRId64, ms);
}

/*
 * Before each step under the locks, and before COMMIT: what is left of the time is the statement's
 * limit. A server so busy that the swap takes too long is asked again later.
 */
static bool in_time(const struct swap *swap, struct error *error)
{
    int64_t ms = (clock_us() - swap->locked_us + swap->waited_us) / 1000;
    TEXT_AUTO sql = {0};

    if (ms >= commit_by_ms(swap)) {
        error_set(error, ERROR_LOCK,
                  "a try of the swap took %" PRId64 " ms, too long for cutover.hold", ms);
        return false;
    }
    time_limit_sql(commit_by_ms(swap) - ms, &sql);
    return session_run_text(swap->run->session, &sql, error);
}

static const char *const LOCKS[] = {
    "LOCK TABLE ONLY {from} IN ACCESS EXCLUSIVE MODE",
    "LOCK TABLE ONLY {to} IN ACCESS EXCLUSIVE MODE",
    "LOCK TABLE {log_a}, {log_b}, {mark}, {stuck} IN EXCLUSIVE MODE",
};

static void lock_sql(const struct flow *flow, size_t number, int64_t wait_ms, struct text *sql)
{
    text_appendf(sql, "SET LOCAL lock_timeout = %" PRId64 "; ", wait_ms);
    flow_expand(flow, sql, LOCKS[number]);
}

/* One deadline for all locks together. `from` is the one that others want; whoever has it is alone
 * with the rest. In the transaction that has the rungs. */
static bool take_locks(struct swap *swap, struct error *error)
{
    int64_t start_us = clock_us();
    TEXT_AUTO sql = {0};

    for (size_t i = 0; i < sizeof(LOCKS) / sizeof(LOCKS[0]); i++) {
        text_clear(&sql);
        lock_sql(swap->flow, i, left_ms(swap, start_us), &sql);
        if (!session_run_text(swap->run->session, &sql, error))
            return false;
        if (i == 0) {
            swap->locked_us = clock_us();
            swap->waited_us = swap->locked_us - start_us;
        }
    }
    return in_time(swap, error) && replay_lease_all(swap->run->session, swap->flow, error);
}

/* The definition that the swap was planned for: of the source at the start, of the new table right
 * after the cut-over. */
static bool agreed_definition(struct swap *swap, struct text *agreed, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (swap->forward) {
        text_append(agreed, swap->copy->plan.attached_fingerprint);
        return true;
    }
    if (!session_query(
            swap->run->session, &rows,
            "SELECT coalesce(facts ->> 'new_definition', '') FROM pghaul.job WHERE id = $1::bigint",
            PARAMS(NUMBER(swap->run->job.id)), error))
        return false;
    text_append(agreed, rows_text(&rows, 0, 0));
    return true;
}

static bool look_again(struct swap *swap, struct error *error)
{
    struct session *session = swap->run->session;
    TEXT_AUTO expected = {0};
    TEXT_AUTO found = {0};
    TEXT_AUTO agreed = {0};
    char definition[33];

    if (!capture_check_unmarked(session, swap->flow, swap->run, error) ||
        !capture_expected_fingerprint(session, swap->flow, false, &expected, error) ||
        !capture_source_fingerprint(session, swap->flow, false, &found, error))
        return false;
    if (strcmp(text_string(&expected), text_string(&found)) != 0) {
        error_set(error, swap->forward ? ERROR_REFUSED : ERROR_NEEDS_PERSON,
                  "the table, or pghaul's triggers on it, were changed under the job");
        error_detail(error, "expected %s; found %s", text_string(&expected), text_string(&found));
        return error_hint(error, swap->forward
                                     ? "changes may have been missed: abort the job and start again"
                                     : "there is no way back any more: the new table goes on, "
                                       "finish the job");
    }
    if (!attached_fingerprint(session, swap->leaving_oid, definition, error) ||
        !agreed_definition(swap, &agreed, error))
        return false;
    if (strcmp(definition, text_string(&agreed)) == 0 || swap->accept_loss)
        return true;
    swap->redefined = true;
    return error_set(error, ERROR_DIFFERS, "the table's definition was changed since the %s",
                     swap->forward ? "job began" : "cut-over");
}

/* The parts of that definition, as they were: NULL or "" when they are not known. */
static bool agreed_parts(const struct swap *swap, struct rows *rows, const char **parts,
                         struct error *error)
{
    if (swap->forward) {
        *parts = swap->copy->plan.attached_parts;
        return true;
    }
    if (!session_query(swap->run->session, rows,
                       "SELECT facts ->> 'new_parts' FROM pghaul.job WHERE id = $1::bigint",
                       PARAMS(NUMBER(swap->run->job.id)), error))
        return false;
    *parts = rows_text(rows, 0, 0);
    return true;
}

/* What it was that look_again() found, named when the locks are given back. */
static bool explain_redefined(const struct swap *swap, struct error *error)
{
    ROWS_AUTO rows = {0};
    TEXT_AUTO names = {0};
    struct error ignored = {0};
    const char *parts = NULL;

    if (!agreed_parts(swap, &rows, &parts, &ignored) || parts == NULL ||
        !attached_changed(swap->run->session, swap->leaving_oid, parts, &names, &ignored))
        log_verbose(swap->run->log, "could not name what was changed: %s", ignored.message);
    error_detail(error, "%s; the swap would lose that",
                 names.used > 0 ? text_string(&names)
                                : "grants, policies, comments, indexes, constraints or what "
                                  "depends on it are not what they were");
    if (strstr(text_string(&names), "subscription") != NULL)
        return error_hint(error, swap->forward
                                     ? "what a subscription writes is not captured: abort the job "
                                       "and start again without it"
                                     : "what a subscription writes does not reach the old table: "
                                       "finish the job, or accept the loss with --accept-loss");
    return error_hint(error,
                      swap->forward
                          ? "undo that change, then cutover again; or abort the job and start again"
                          : "undo that change, or accept its loss with --accept-loss");
}

/* After the cut-over, for a rollback that is refused: outside its lock, and if it fails, a rollback
 * can say less. */
static void keep_parts(const struct swap *swap)
{
    TEXT_AUTO parts = {0};
    struct error ignored = {0};

    if (!attached_parts(swap->run->session, swap->arriving_oid, &parts, &ignored) ||
        !job_set_fact(swap->run->session, &swap->run->job, "new_parts", text_string(&parts),
                      &ignored))
        log_verbose(swap->run->log, "could not keep the new table's definition: %s",
                    ignored.message);
}

static bool replay_rest(struct swap *swap, struct error *error)
{
    struct replay_result result = {0};
    struct capture_size size;

    if (!replay_retry_stuck(swap->run->session, swap->flow, error) ||
        !replay_whole(swap->run->session, swap->flow, true, &result, error) ||
        !capture_size(swap->run->session, swap->flow, &size, error))
        return false;
    swap->keys = result.keys;
    if (!size.empty)
        return error_set(error, ERROR_INTERNAL, "the change log is not empty under the lock");
    return refuse_stuck(swap, size.stuck_keys, error);
}

static bool arm_way_back(struct swap *swap, struct error *error)
{
    char definition[33];

    if (!swap->forward || swap->copy->plan.no_rollback)
        return true;
    return capture_set(swap->run, &swap->copy->backward,
                       (struct capture_state){CAPTURE_LOG, 'a', 0}, error) &&
           capture_keep_fingerprint(swap->run, &swap->copy->backward, error) &&
           attached_fingerprint(swap->run->session, swap->arriving_oid, definition, error) &&
           session_execute(swap->run->session,
                           "UPDATE pghaul.job SET facts = facts || "
                           "jsonb_build_object('new_definition', $2::text)\n"
                           " WHERE id = $1::bigint",
                           PARAMS(NUMBER(swap->run->job.id), definition), NULL, error);
}

/* State, phase and report, in the swap's own transaction: whoever reads them knows that it
 * happened. */
static bool record(struct swap *swap, struct error *error)
{
    struct session *session = swap->run->session;
    char fact[256];
    TEXT_AUTO old = {0};

    snprintf(fact, sizeof(fact),
             "{\"waited_ms\": %" PRId64 ", \"held_ms\": %" PRId64
             ", \"attempts\": %d, \"keys\": %" PRId64 "}",
             swap->waited_us / 1000, (clock_us() - swap->locked_us) / 1000, swap->attempts,
             swap->keys);
    if (!job_set_fact(session, &swap->run->job, swap->forward ? "cutover" : "rollback", fact,
                      error))
        return false;
    if (!job_add_lock(session, &swap->run->job, swap->forward ? "cutover" : "rollback",
                      "ACCESS EXCLUSIVE", swap->waited_us / 1000,
                      (clock_us() - swap->locked_us) / 1000, swap->attempts, error))
        return false;
    log_verbose(swap->run->log, "%s", text_string(&swap->sql));
    if (!job_event(session, swap->run->job.id, "ddl", error, "%s", text_string(&swap->sql)))
        return false;
    if (swap->copy->plan.no_rollback &&
        !job_set_fact(session, &swap->run->job, "no_way_back", "true", error))
        return false;
    if (!swap->forward &&
        !session_execute(session,
                         "UPDATE pghaul.job SET facts = facts - 'old_table' WHERE id = $1::bigint",
                         PARAMS(NUMBER(swap->run->job.id)), NULL, error))
        return false;
    text_appendf(&old, "pghaul.%s", swap->copy->names.old);
    if (swap->forward &&
        (!session_execute(session,
                          "UPDATE pghaul.job SET facts = facts || jsonb_build_object('old_table', "
                          "$2::text)\n"
                          " WHERE id = $1::bigint",
                          PARAMS(NUMBER(swap->run->job.id), text_string(&old)), NULL, error) ||
         !session_execute(
             session,
             "UPDATE pghaul.phase SET state = 'done', started_at = coalesce(started_at, "
             "clock_timestamp()),\n"
             "       seconds = CASE name WHEN 'cutover' THEN $2::double precision / 1000000\n"
             "                           ELSE seconds END\n"
             " WHERE job = $1::bigint AND name IN ('ready', 'cutover')",
             PARAMS(NUMBER(swap->run->job.id), NUMBER(clock_us() - swap->locked_us)), NULL,
             error) ||
         !session_execute(session, "UPDATE pghaul.job SET phase = 'finish' WHERE id = $1::bigint",
                          PARAMS(NUMBER(swap->run->job.id)), NULL, error)))
        return false;
    return job_set_state(session, &swap->run->job, swap->forward ? "cut_over" : "rolled_back", NULL,
                         error);
}

static bool attempt(struct swap *swap, struct error *error)
{
    return climb(swap, error) && take_locks(swap, error) && look_again(swap, error) &&
           in_time(swap, error) && replay_rest(swap, error) && in_time(swap, error) &&
           session_run_text(swap->run->session, &swap->sql, error) && in_time(swap, error) &&
           arm_way_back(swap, error) && record(swap, error) && in_time(swap, error) &&
           session_commit(swap->run->session, error);
}

/* ----------------------------------------------------------------------------------------------------------
 * the whole */

/* After a failure at or before COMMIT: did it happen? The job's row knows. */
static bool happened(struct swap *swap, bool *yes, struct error *error)
{
    if (!run_reconnect(swap->run, error) || !run_lead(swap->run, error))
        return false;
    swap->run->connect.meaning = &swap->run->job.meaning;
    *yes = strcmp(swap->run->job.state, swap->forward ? "cut_over" : "rolled_back") == 0;
    return true;
}

/* After a lost session: true with the job led again, and its row read. */
static bool recover(struct swap *swap, struct retry *retry, bool *yes, struct error *error)
{
    do {
        int64_t wait_ms = retry_next_ms(retry, clock_ms());

        if (!run_lost(swap->run, error) || wait_ms < 0)
            return false;
        log_verbose(swap->run->log, "looking what happened in %" PRId64 " ms: %s", wait_ms,
                    error->message);
        if (!stop_sleep_ms(swap->run->stop, wait_ms, error))
            return false;
    } while (!happened(swap, yes, error));
    return job_open(&swap->run->job) || *yes ||
           error_set(error, ERROR_REFUSED, "job %s was ended by another session",
                     swap->run->job.name);
}

static bool worth_another_try(const struct error *error)
{
    return error->code == ERROR_LOCK || error->retryable ||
           strcmp(error->sqlstate, SQLSTATE_QUERY_CANCELED) == 0; /* cutover.hold */
}

static bool wait_for_blocker(struct swap *swap, bool *blocked, struct error *error)
{
    TEXT_AUTO who = {0};

    if (!lock_long_blocker(swap->run->session, swap->flow->from_qualified, blocked, &who, error))
        return false;
    if (*blocked)
        progress_reason(swap->run->progress, "waiting to swap: %s", text_string(&who));
    return true;
}

static bool give_up(struct swap *swap, bool blocked, const struct error *last, struct error *error)
{
    TEXT_AUTO blockers = {0};
    struct error ignored = {0};
    struct error why = *last;

    if (!lock_describe_blockers(swap->run->session, swap->flow->from_qualified, &blockers,
                                &ignored))
        text_clear(&blockers);
    error_set(error, ERROR_LOCK, "could not swap in %d tries: %s", swap->attempts, why.message);
    if (blockers.used > 0)
        error_detail(error, "%s", text_string(&blockers));
    return error_hint(error, "the job is as it was; try again when %s",
                      blocked ? "that transaction is over"
                              : "the server is less busy, or with a longer cutover.hold");
}

static bool try_until_done(struct swap *swap, struct error *error)
{
    unsigned seed = (unsigned)clock_us();

    for (;;) {
        bool blocked = false;
        struct error last;

        swap->attempts++;
        if (!wait_for_blocker(swap, &blocked, error))
            return false;
        if (!blocked) {
            if (attempt(swap, error))
                return true;
            last = *error;
            session_rollback(swap->run->session);
            if (swap->redefined)
                return explain_redefined(swap, error);
            if (error->code == ERROR_CONNECTION || !worth_another_try(error))
                return false;
            log_verbose(swap->run->log, "swap, try %d: %s", swap->attempts, last.message);
        } else {
            error_set(&last, ERROR_LOCK, "a long transaction uses the table");
        }
        if (swap->attempts >= swap->run->job.settings.lock_tries)
            return give_up(swap, blocked, &last, error);
        if (!stop_sleep_ms(swap->run->stop, lock_backoff_ms(swap->attempts, &seed), error) ||
            !drain(swap, error))
            return false;
    }
}

/*
 * Not swapped, and perhaps for long: the triggers go back to what costs the application least, as
 * far as that can be done now.
 */
static void back_to_log(struct swap *swap)
{
    struct error ignored = {0};
    bool stays_dual = swap->forward && swap->run->job.settings.ready == READY_DUAL_WRITE;

    if (!stays_dual && session_alive(swap->run->session) &&
        !capture_set_mode(swap->run, swap->flow, CAPTURE_LOG, &ignored))
        log_verbose(swap->run->log, "could not switch the capture back: %s", ignored.message);
}

/* `leaving` becomes leaving_qualified. */
static struct swap swap_of(struct run *run, enum flow_direction direction, struct text *leaving)
{
    struct copy *copy = copy_of(run);
    bool forward = direction == FLOW_FORWARD;
    struct swap swap = {
        .run = run,
        .copy = copy,
        .flow = forward ? &copy->forward : &copy->backward,
        .forward = forward,
        .away = forward ? copy->names.old : copy->names.shadow,
        .arriving = forward ? copy->names.shadow : copy->names.old,
        .leaving_oid = forward ? copy->plan.source_oid : copy->shadow_oid,
        .arriving_oid = forward ? copy->shadow_oid : copy->plan.source_oid,
    };

    sql_append(leaving, sql_table("pghaul", swap.away));
    swap.leaving_qualified = text_string(leaving);
    return swap;
}

bool cutover_swap(struct run *run, enum flow_direction direction, bool accept_loss,
                  struct error *error)
{
    bool forward = direction == FLOW_FORWARD;
    TEXT_AUTO leaving = {0};
    struct swap swap = swap_of(run, direction, &leaving);
    struct retry retry;
    bool ok;

    swap.accept_loss = accept_loss;
    progress_start(run->progress, forward ? "cutover" : "rollback", 0, 0);
    retry_init(&retry, run->job.settings.retry_limit_ms, clock_ms());
    do {
        bool yes = false;

        ok = prepare(&swap, error) && try_until_done(&swap, error);
        if (ok || !recover(&swap, &retry, &yes, error))
            break;
        ok = yes;
    } while (!ok);
    if (!ok)
        back_to_log(&swap);
    else if (forward && !swap.copy->plan.no_rollback)
        keep_parts(&swap);
    text_deinit(&swap.sql);
    return ok;
}

/* ----------------------------------------------------------------------------------------------------------
 * printed */

/* prepare(). */
static void print_before(const struct swap *swap, struct text *script)
{
    TEXT_AUTO dual = {0};

    sql_note(script, "catch-up once more, until little is left; then the triggers write through");
    capture_functions_sql(swap->run, swap->flow,
                          (struct capture_state){.mode = CAPTURE_DUAL, .side = 'a'}, &dual);
    if (swap->flow->dual_possible)
        sql_add(script, text_string(&dual));
    sql_note(script, "until no transaction has a snapshot that is older than the copy; then");
    replay_print_prepare(swap->flow, script);
}

/* attempt(), up to the exchange. */
static void print_locks(const struct swap *swap, struct text *script)
{
    const struct settings *settings = &swap->run->job.settings;
    TEXT_AUTO limit = {0};

    sql_note(script, "the swap, tried up to %" PRId64 " times", settings->lock_tries);
    sql_add(script, SESSION_BEGIN);
    flow_print(swap->flow, script, RUNGS);
    for (size_t i = 0; i < sizeof(LOCKS) / sizeof(LOCKS[0]); i++) {
        TEXT_AUTO sql = {0};

        lock_sql(swap->flow, i, lock_wait_ms(settings->cutover_wait_ms), &sql);
        sql_add(script, text_string(&sql));
    }
    sql_note(script, "before each step, what is left of the time");
    time_limit_sql(commit_by_ms(swap), &limit);
    sql_add(script, text_string(&limit));
    flow_print(swap->flow, script, replay_template(REPLAY_LEASE));
    sql_note(script, "what is left in the log");
    replay_print_whole(swap->flow, script);
}

bool cutover_print(struct run *run, struct text *script, struct error *error)
{
    TEXT_AUTO leaving = {0};
    struct swap swap = swap_of(run, FLOW_FORWARD, &leaving);
    bool ok = make_sql(&swap, error);

    if (ok) {
        print_before(&swap, script);
        print_locks(&swap, script);
        sql_note(script, "the tables change places");
        sql_add(script, text_string(&swap.sql));
        if (!swap.copy->plan.no_rollback) {
            sql_note(script, "from now on the new table's changes are logged, for rollback");
            capture_functions_sql(run, &swap.copy->backward,
                                  (struct capture_state){.mode = CAPTURE_LOG, .side = 'a'}, script);
        }
        sql_add(script, SESSION_COMMIT);
    }
    text_deinit(&swap.sql);
    return ok;
}
