#include "copy/cutover_parts.h"

#include <inttypes.h>
#include <string.h>

#include "copy/attached.h"
#include "copy/capture.h"
#include "copy/lock.h"
#include "copy/replay.h"
#include "copy/standby.h"
#include "engine/base/clock.h"
#include "engine/pg/retry.h"
#include "engine/pg/sqlstate.h"

enum { DRAIN_PASSES = 10 };

/* -----------------------------------------------------------------------------------------------------
 * before it */

bool cutover_drain(struct swap *swap, struct error *error)
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

bool cutover_refuse_stuck(const struct swap *swap, int64_t keys, struct error *error)
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
           cutover_refuse_stuck(swap, size.refused_keys, error);
}

/* Who goes back has a reason to be quick. */
static bool wait_for_standbys(const struct swap *swap, struct error *error)
{
    return !swap->forward || standby_wait_readers(swap->run, swap->leaving_oid, error);
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
           cutover_drain(swap, error) && lock_wait_old_snapshots(swap->run, error) &&
           wait_for_standbys(swap, error) && cutover_drain(swap, error) &&
           replay_prepare(swap->run->session, swap->flow, error) && cutover_make_sql(swap, error) &&
           /* once before the lock, so that under it they are planned */
           attached_fingerprint(swap->run->session, swap->leaving_oid, warm, error) &&
           attached_fingerprint(swap->run->session, swap->arriving_oid, warm, error);
}

/* ----------------------------------------------------------------------------------------------------------
 * the whole */

/* The parts of the definition that the swap was planned for, as they were: NULL or "" when they are
 * not known. */
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

/* What came before may have taken long: is it still the time? */
static bool wait_for_window(struct swap *swap, struct error *error)
{
    while (!pace_phase_open(swap->run)) {
        back_to_log(swap);
        if (!pace_phase_begin(swap->run, error) || !prepare(swap, error))
            return false;
    }
    return true;
}

static bool try_until_done(struct swap *swap, struct error *error)
{
    unsigned seed = (unsigned)clock_us();

    for (;;) {
        bool blocked = false;
        struct error last;

        if (!wait_for_window(swap, error))
            return false;
        swap->attempts++;
        if (!wait_for_blocker(swap, &blocked, error))
            return false;
        if (!blocked) {
            if (cutover_attempt(swap, error))
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
            !cutover_drain(swap, error))
            return false;
    }
}

bool cutover_swap(struct run *run, enum flow_direction direction, bool accept_loss,
                  struct error *error)
{
    bool forward = direction == FLOW_FORWARD;
    TEXT_AUTO leaving = {0};
    struct swap swap = cutover_of(run, direction, &leaving);
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
