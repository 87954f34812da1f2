/* One try of a swap: what happens under its locks. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "copy/attached.h"
#include "copy/capture.h"
#include "copy/cutover_parts.h"
#include "copy/lock.h"
#include "copy/replay.h"
#include "engine/base/clock.h"

enum {
    ROUNDS_MAX = 3,
    INSIST_TRIES = 3,
    KEYS_UNDER_LOCK_MAX = 100, /* rows of the log; 500 keys took some 40 ms */
};

static int64_t left_ms(const struct swap *swap, int64_t start_us)
{
    int64_t left =
        lock_wait_ms(swap->run->job.settings.cutover_wait_ms) - (clock_us() - start_us) / 1000;

    return left > 1 ? left : 1;
}

static bool take_rungs(struct swap *swap, struct error *error)
{
    return session_begin(swap->run->session, error) &&
           flow_run(swap->flow, swap->run->session, CUTOVER_RUNGS, error);
}

/* Is the log short enough to be replayed under the lock, within cutover.hold? */
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
        if (!cutover_drain(swap, error))
            return false;
    }
}

/*
 * Before each step under the locks, and before COMMIT: what is left of the time is the statement's
 * limit. A server so busy that the swap takes too long is asked again later.
 */
static bool in_time(const struct swap *swap, struct error *error)
{
    int64_t ms = (clock_us() - swap->locked_us + swap->waited_us) / 1000;
    TEXT_AUTO sql = {0};

    if (ms >= cutover_commit_by_ms(swap)) {
        error_set(error, ERROR_LOCK,
                  "a try of the swap took %" PRId64 " ms, too long for cutover.hold", ms);
        return false;
    }
    cutover_limit_sql(cutover_commit_by_ms(swap) - ms, &sql);
    return session_run_text(swap->run->session, &sql, error);
}

/* One deadline for all locks together. `from` is the one that others want; whoever has it is alone
 * with the rest. In the transaction that has the rungs. */
static bool take_locks(struct swap *swap, struct error *error)
{
    int64_t start_us = clock_us();
    TEXT_AUTO sql = {0};

    for (size_t i = 0; i < CUTOVER_LOCKS; i++) {
        text_clear(&sql);
        cutover_lock_sql(swap->flow, i, left_ms(swap, start_us), &sql);
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
    return cutover_refuse_stuck(swap, size.stuck_keys, error);
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

bool cutover_attempt(struct swap *swap, struct error *error)
{
    return climb(swap, error) && take_locks(swap, error) && look_again(swap, error) &&
           in_time(swap, error) && replay_rest(swap, error) && in_time(swap, error) &&
           session_run_text(swap->run->session, &swap->sql, error) && in_time(swap, error) &&
           arm_way_back(swap, error) && record(swap, error) && in_time(swap, error) &&
           session_commit(swap->run->session, error);
}
