#include "copy/kinds/alter.h"

#include <string.h>

#include "copy/arm.h"
#include "copy/capture.h"
#include "copy/copy.h"
#include "copy/cutover.h"
#include "copy/index.h"
#include "copy/kinds/alter_parts.h"
#include "copy/leave.h"
#include "copy/load.h"
#include "copy/replay.h"
#include "copy/settle.h"
#include "copy/shadow.h"
#include "copy/verify.h"
#include "engine/pg/sqlstate.h"

/* -----------------------------------------------------------------------------------------------------------
 * phases */

static bool catch_up_forward(struct run *run, struct error *error)
{
    const struct flow *flow = &copy_of(run)->forward;
    struct replay_result result;

    return replay_catch_up(run, flow, &result, error) &&
           (run->job.settings.ready == READY_LOG ||
            capture_set_mode(run, flow, CAPTURE_DUAL, error));
}

static bool catch_up_print(struct run *run, struct text *script, struct error *error)
{
    const struct flow *flow = &copy_of(run)->forward;

    (void)error;
    replay_print_catch_up(run, flow, script);
    if (run->job.settings.ready != READY_LOG) {
        sql_note(script, "-s ready=dual-write: from now on the triggers write through");
        capture_functions_sql(run, flow, (struct capture_state){.mode = CAPTURE_DUAL, .side = 'a'},
                              script);
    }
    return true;
}

/*
 * Rows in conflict with a new unique index or exclusion constraint: whoever mends them in the table
 * resumes, and the copy still has the old ones, which only replay would mend, after the indexes. So
 * the job goes back to the purge, which takes every row that is in the log by then out of the copy.
 */
static bool build_forward(struct run *run, struct error *error)
{
    struct error ignored;

    if (index_forward(run, error))
        return true;
    if (strcmp(error->sqlstate, SQLSTATE_UNIQUE_VIOLATION) == 0 ||
        strcmp(error->sqlstate, SQLSTATE_EXCLUSION_VIOLATION) == 0) {
        session_rollback(run->session);
        (void)!phases_reset(run, "purge", &ignored);
    }
    return false;
}

static const struct phase PHASES[] = {
    {"shadow", "create the new table beside the old one, with the actions applied",
     "ACCESS SHARE, moments", false, NULL, shadow_forward,
     NULL /* the trial does it: alter_describe() has what it sent */},
    {"capture", "create the change log and the triggers that write it",
     "SHARE ROW EXCLUSIVE, short, by the ladder", false, NULL, arm_forward, arm_print},
    {"load", "copy all rows, in chunks", "ACCESS SHARE for each chunk", true, load_plan,
     load_forward, load_print},
    {"purge", "delete rows that changed meanwhile from the copy", "none", true, purge_plan,
     purge_forward, purge_print, true, purge_plan_writes},
    {"index", "build indexes and constraints, analyze", "none", false, NULL, build_forward,
     index_print, true},
    {"catch-up", "replay the change log until it stays small", "ACCESS SHARE, short", false, NULL,
     catch_up_forward, catch_up_print, true},
    {"settle", "vacuum and freeze the new table", "none", false, NULL, settle_forward, settle_print,
     true},
    {"verify", "compare every row of both tables", "ACCESS SHARE for each span", true, verify_plan,
     verify_forward, verify_print, true},
    {"ready", "wait for cutover; the table is still as it was", "none", false, NULL, NULL, NULL},
    {"cutover", "swap the tables in one short transaction",
     "ACCESS EXCLUSIVE, milliseconds, one deadline", false, NULL, NULL, cutover_print},
    {"finish", "drop the old table, when you say so", "ACCESS EXCLUSIVE, short, by the ladder",
     false, NULL, NULL, leave_print_finish},
    {0},
};

/* ------------------------------------------------------------------------------------------------------------
 * verbs */

static bool refuse_state(const struct run *run, const char *verb, const char *hint,
                         struct error *error)
{
    error_set(error, ERROR_REFUSED, "job %s is %s: %s does not apply", run->job.name,
              run->job.state, verb);
    return error_hint(error, "%s", hint);
}

/* The job's phases from where they are to `ready`, when they are not there yet. */
static bool reach_ready(struct run *run, struct error *error)
{
    return phases_run(run, &alter_kind, "ready", error) &&
           job_refresh(run->session, &run->job, error) &&
           (job_is(&run->job, "ready") ||
            job_set_state(run->session, &run->job, "ready", NULL, error));
}

static bool verify_again(struct run *run, struct error *error)
{
    return phases_reset(run, "verify", error) && reach_ready(run, error);
}

static bool alter_verify(struct run *run, struct error *error)
{
    if (!job_is(&run->job, "ready"))
        return refuse_state(run, "verify",
                            "a job is verified on its way to ready, and again when it is there",
                            error);
    return verify_again(run, error);
}

static bool may_cutover(const struct run *run, struct error *error)
{
    if (job_is(&run->job, "cut_over"))
        return refuse_state(run, "cutover", "it has happened; next: rollback or finish", error);
    if (!job_open(&run->job))
        return refuse_state(run, "cutover", "the job is over", error);
    if (strcmp(run->job.phase, "ready") != 0)
        return refuse_state(run, "cutover", "it is not ready yet; pghaul resume continues it",
                            error);
    return true;
}

static bool copy_anew(struct run *run, struct error *error)
{
    log_warning(run->log, "%s; the copy begins anew", error->message);
    return phases_reset(run, "capture", error) && run_unlead(run, error) && reach_ready(run, error);
}

/* Each verb looks at the state twice: before it waits for the leadership, and when it has it. */
static bool alter_cutover(struct run *run, struct error *error)
{
    bool fresh;

    for (;;) {
        if (!may_cutover(run, error) || !pace_phase_begin(run, error) ||
            !verify_fresh(run, &fresh, error) || (!fresh && !verify_again(run, error)) ||
            !run_lead(run, error) || !may_cutover(run, error))
            return false;
        if (cutover_swap(run, FLOW_FORWARD, false, error))
            return run_unlead(run, error);
        if (error->code != ERROR_AGAIN || !copy_anew(run, error))
            return false;
    }
}

static bool may_rollback(const struct run *run, struct error *error)
{
    if (!job_is(&run->job, "cut_over"))
        return refuse_state(run, "rollback",
                            job_is(&run->job, "ready")
                                ? "nothing was swapped yet; abort leaves no trace"
                                : "it is for a job that is cut over",
                            error);
    if (copy_of(run)->plan.no_rollback)
        return refuse_state(run, "rollback", "the job was started with --no-rollback", error);
    return true;
}

static bool swap_back(struct run *run, bool accept_loss, struct error *error)
{
    if (cutover_swap(run, FLOW_BACKWARD, accept_loss, error))
        return true;
    if (error->code != ERROR_AGAIN)
        return false;
    error_set(error, ERROR_NEEDS_PERSON,
              "the way back is closed: the new table was truncated, or the log of the way "
              "back outgrew its budget");
    return error_hint(error, "the new table goes on; pghaul finish %s", SHELL_WORD(run->job.name));
}

/* Swapped back already, and killed before the rest was dropped: that is what is left to do. */
static bool is_half_rolled_back(struct run *run, bool *half, struct error *error)
{
    *half = false;
    return !job_is(&run->job, "rolled_back") || leave_anything_left(run, half, error);
}

static bool alter_rollback(struct run *run, bool accept_loss, struct error *error)
{
    bool half;

    if (!is_half_rolled_back(run, &half, error) || (!half && !may_rollback(run, error)) ||
        !run_lead(run, error) || !is_half_rolled_back(run, &half, error) ||
        (!half && (!may_rollback(run, error) || !swap_back(run, accept_loss, error))))
        return false;
    if (leave_rolled_back(run, error))
        return run_unlead(run, error);
    return error_hint(error, "the table is back; pghaul rollback %s again drops what is left",
                      SHELL_WORD(run->job.name));
}

static bool may_finish(const struct run *run, struct error *error)
{
    return job_is(&run->job, "cut_over") ||
           refuse_state(run, "finish", "it is for a job that is cut over", error);
}

/* Another process may have done it while this one waited for the leadership: then it is done. */
static bool alter_finish(struct run *run, struct error *error)
{
    if (!may_finish(run, error) || !run_lead(run, error))
        return false;
    return (job_is(&run->job, "finished") ||
            (may_finish(run, error) && leave_finish(run, error))) &&
           run_unlead(run, error);
}

static bool may_abort(const struct run *run, struct error *error)
{
    if (job_is(&run->job, "cut_over"))
        return refuse_state(run, "abort", "it is cut over; rollback or finish", error);
    return job_open(&run->job) || refuse_state(run, "abort", "the job is over", error);
}

static bool alter_abort(struct run *run, struct error *error)
{
    if (!may_abort(run, error) || !run_lead(run, error))
        return false;
    return (job_is(&run->job, "aborted") || (may_abort(run, error) && leave_abort(run, error))) &&
           run_unlead(run, error);
}

/* Keys that came since: so that neither the log grows nor the swap waits for them. */
static bool alter_keep_up(struct run *run, struct error *error)
{
    bool after = job_is(&run->job, "cut_over");
    const struct flow *flow = after ? &copy_of(run)->backward : &copy_of(run)->forward;
    struct replay_result result;

    if ((after && copy_of(run)->plan.no_rollback) || !run_lead(run, error))
        return error->code == ERROR_NONE;
    /* Another process swapped while we waited for it: then its log is not the one to look at. */
    if (after != job_is(&run->job, "cut_over") || !job_open(&run->job))
        return run_unlead(run, error);
    progress_start(run->progress, "catch-up", 0, 0);
    if (replay_catch_up(run, flow, &result, error))
        return run_unlead(run, error);
    if (error->code != ERROR_AGAIN || after)
        return false;
    return copy_anew(run, error);
}

static bool alter_numbers(struct run *run, struct kind_numbers *numbers, struct error *error)
{
    const struct copy *copy = copy_of(run);
    bool after = job_is(&run->job, "cut_over");
    const struct flow *flow = after ? &copy->backward : &copy->forward;
    struct capture_size size;
    ROWS_AUTO rows = {0};

    *numbers = (struct kind_numbers){-1, -1, -1, -1};
    if (!flow_query(flow, run->session, &rows,
                    "SELECT to_regclass({log_a_literal}) IS NOT NULL, "
                    "coalesce(pg_total_relation_size(to_regclass({to_literal})), 0)",
                    NO_PARAMS, error))
        return false;
    numbers->freed_bytes = rows_int64(&rows, 0, 1);
    if (!rows_bool(&rows, 0, 0))
        return true;
    if (!capture_count(run->session, flow, &numbers->log_keys, error) ||
        !capture_size(run->session, flow, &size, error))
        return false;
    numbers->freed_bytes += size.a_bytes + size.b_bytes;
    numbers->stuck_keys = after ? 0 : size.stuck_keys;
    numbers->irreversible_rows = after ? size.stuck_keys : 0;
    return true;
}

const struct kind alter_kind = {
    .name = "alter",
    .words = {.rollback = "puts the old table of",
              .rollback_end = "back",
              .finish = "drops the old table of",
              .finished = "is dropped",
              .aborted = "is as it was, nothing of the job is left but its history",
              .done = "copied",
              .cutover = "swaps",
              .cutover_end = " with its copy",
              .ready = "the table is still as it was",
              .swapped = "the old table is fed",
              .next_cutover = "swap; writers wait about 20 ms",
              .next_rollback = "swap back; nothing written since is lost",
              .next_finish = "drop the old table",
              .next_abort = "leave no trace"},
    .phases = PHASES,
    .ready = "ready",
    .walk = "load",
    .again = "capture",
    .load = copy_load,
    .unload = copy_unload,
    .verify = alter_verify,
    .cutover = alter_cutover,
    .rollback = alter_rollback,
    .finish = alter_finish,
    .abort = alter_abort,
    .keep_up = alter_keep_up,
    .numbers = alter_numbers,
};
