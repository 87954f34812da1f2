#include "copy/kinds/backfill.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "copy/lock.h"
#include "engine/job/walk.h"

enum { EARLY_WRITERS_MS = 1000 };

/* The way back, in phases behind the end: a verb begins them, resume goes on with them. */
static const char RESTORE[] = "restore";
static const char RESTORE_LATER[] = "restore later";

static struct batch_plan *plan_of(const struct run *run)
{
    return run->kind_state;
}

static bool backfill_load(struct run *run, struct error *error)
{
    backfill_kind.unload(run);
    run->kind_state = memory_zero(1, sizeof(struct batch_plan));
    return batch_plan_from_json(run->job.plan, plan_of(run), error);
}

static void backfill_unload(struct run *run)
{
    if (run->kind_state == NULL)
        return;
    batch_plan_deinit(plan_of(run));
    free(run->kind_state);
    run->kind_state = NULL;
}

/* -------------------------------------------------------------------------------------- phases */

static bool tables_plan(struct run *run, struct error *error)
{
    return batch_create(run, plan_of(run), error);
}

/* What was inserted before the job began is to be seen by the walk. Who is open for longer is not
 * waited for: he may be so for hours, and may have inserted nothing. */
static bool tables_forward(struct run *run, struct error *error)
{
    TEXT_AUTO left = {0};

    if (!lock_wait_writers(run, plan_of(run)->table_oid, EARLY_WRITERS_MS, &left, error))
        return false;
    if (left.used > 0)
        log_warning(run->log,
                    "a transaction that wrote the table before is still open: rows that it "
                    "inserted will not be seen (%s)",
                    text_string(&left));
    return true;
}

static bool walk_plan_phase(struct run *run, struct error *error)
{
    return batch_plan_walk(run, plan_of(run), "backfill", BATCH_WALK, error);
}

static bool walk_forward(struct run *run, struct error *error)
{
    return batch_walk(run, plan_of(run), "backfill", BATCH_WALK, error);
}

static bool later_plan(struct run *run, struct error *error)
{
    return batch_plan_revisit(run, "later", error);
}

static bool later_forward(struct run *run, struct error *error)
{
    return batch_revisit(run, plan_of(run), "later", BATCH_REVISIT, error);
}

static bool anything_skipped(struct run *run, bool *yes, struct error *error)
{
    ROWS_AUTO rows = {0};
    TEXT_AUTO sql = {0};

    text_appendf(&sql, "SELECT EXISTS (SELECT FROM pghaul.skipped_%" PRId64 ")", run->job.id);
    if (!session_query(run->session, &rows, text_string(&sql), NO_PARAMS, error))
        return false;
    *yes = rows_bool(&rows, 0, 0);
    return true;
}

/* What nobody will ask for again goes; saved values and the keys of rows that failed stay. */
static bool tidy_plan(struct run *run, struct error *error)
{
    enum batch_undo undo = plan_of(run)->undo;
    TEXT_AUTO sql = {0};
    bool skipped;

    if (!anything_skipped(run, &skipped, error))
        return false;
    batch_drop_sql(run->job.id, undo != BATCH_UNDO_SAVED && !skipped, &sql);
    return run_ddl(run, text_string(&sql), error) &&
           job_set_fact(run->session, &run->job, "kept",
                        undo != BATCH_UNDO_NONE || skipped ? "true" : "false", error) &&
           job_set_fact(run->session, &run->job, "no_way_back",
                        undo == BATCH_UNDO_NONE ? "true" : "false", error);
}

/* {restored, changed_since, gone}: of what was saved. */
static bool keep_restored(struct run *run, struct error *error)
{
    struct walk_totals walk, later;
    TEXT_AUTO fact = {0};

    if (!walk_totals(run->session, run->job.id, RESTORE, &walk, error) ||
        !walk_totals(run->session, run->job.id, RESTORE_LATER, &later, error))
        return false;
    text_appendf(&fact, "{\"restored\": %" PRId64 ", \"left\": %" PRId64 "}",
                 walk.counts.written + later.counts.written,
                 walk.rows - walk.counts.written - later.counts.written);
    return job_set_fact(run->session, &run->job, "restored", text_string(&fact), error);
}

static enum batch_way way_back(const struct run *run)
{
    return plan_of(run)->undo == BATCH_UNDO_SAVED ? BATCH_BACK : BATCH_INVERSE;
}

static bool restore_plan(struct run *run, struct error *error)
{
    return batch_begin_back(run, plan_of(run), error) &&
           batch_plan_walk(run, plan_of(run), RESTORE, way_back(run), error);
}

static bool restore_forward(struct run *run, struct error *error)
{
    return batch_walk(run, plan_of(run), RESTORE, way_back(run), error);
}

static bool restore_later_plan(struct run *run, struct error *error)
{
    return batch_plan_revisit(run, RESTORE_LATER, error);
}

static bool restore_later_forward(struct run *run, struct error *error)
{
    return batch_revisit(run, plan_of(run), RESTORE_LATER,
                         way_back(run) == BATCH_BACK ? BATCH_BACK_REVISIT : BATCH_INVERSE_REVISIT,
                         error);
}

static bool restore_tidy_plan(struct run *run, struct error *error)
{
    TEXT_AUTO sql = {0};

    batch_drop_sql(run->job.id, true, &sql);
    return keep_restored(run, error) && run_ddl(run, text_string(&sql), error);
}

static const struct phase PHASES[] = {
    {.name = "tables",
     .what = "create the tables for keys put off and values saved; wait for transactions that "
             "wrote the table before",
     .lock = "none",
     .plan = tables_plan,
     .forward = tables_forward},
    {.name = "backfill",
     .what = "change the rows, in chunks, by key",
     .lock = "ROW EXCLUSIVE for each chunk; its rows",
     .shared = true,
     .plan = walk_plan_phase,
     .forward = walk_forward},
    {.name = "later",
     .what = "visit rows again that others held",
     .lock = "ROW EXCLUSIVE for each chunk; its rows",
     .plan = later_plan,
     .forward = later_forward},
    {.name = "tidy", .what = "drop the table of keys put off", .lock = "none", .plan = tidy_plan},
    {.name = "finish", .what = "drop what was saved, when you say so", .lock = "none"},
    {.name = "restore",
     .what =
         "after rollback: write the old values back, where they are still as the job wrote them",
     .lock = "ROW EXCLUSIVE for each chunk; its rows",
     .shared = true,
     .plan = restore_plan,
     .forward = restore_forward},
    {.name = "restore later",
     .what = "visit rows again that others held",
     .lock = "ROW EXCLUSIVE for each chunk; its rows",
     .plan = restore_later_plan,
     .forward = restore_later_forward},
    {.name = "restore tidy",
     .what = "drop what was saved",
     .lock = "none",
     .plan = restore_tidy_plan},
    {.name = "restored", .what = "all is as it was", .lock = "none"},
    {0},
};

/* --------------------------------------------------------------------------------------- verbs */

static bool is_restoring(const struct run *run)
{
    return strncmp(run->job.phase, RESTORE, strlen(RESTORE)) == 0;
}

static bool may_rollback(const struct run *run, struct error *error)
{
    const struct batch_plan *plan = plan_of(run);

    if (job_is(&run->job, "finished") || job_is(&run->job, "aborted"))
        return job_refuse(&run->job, "is over", "what was saved is gone", error);
    if (plan->undo == BATCH_UNDO_NONE)
        return job_refuse(
            &run->job, "kept nothing to go back to",
            "start a backfill with --undo saved, or with --undo-set, to have a way back", error);
    if (plan->undo == BATCH_UNDO_SET && !is_restoring(run) && !job_is(&run->job, "done"))
        return job_refuse(&run->job, "is not done, and the inverse goes over every row",
                          "pghaul resume completes it; then rollback", error);
    return true;
}

static bool drop_tables(struct run *run, const char *state, struct error *error)
{
    TEXT_AUTO sql = {0};

    batch_drop_sql(run->job.id, true, &sql);
    if (session_begin(run->session, error) && run_ddl(run, text_string(&sql), error) &&
        job_set_state(run->session, &run->job, state, NULL, error) &&
        session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return false;
}

/* Another job on the table would see its rows change behind its back. */
static bool check_alone(struct run *run, struct error *error)
{
    const struct job *job = &run->job;

    return job_refuse_other(run->session, job->id, job->source_oid, job->table_schema,
                            job->table_name, error);
}

/*
 * From now on the job is open again, and its phases are those of the way back. The spans of the way
 * there are closed, which waits for chunks in flight, of whatever process: their row lock is the
 * lease. So nothing is written, or saved, behind what the way back is planned over.
 */
static bool begin_restore(struct run *run, struct error *error)
{
    if (session_begin(run->session, error) && check_alone(run, error) &&
        session_set(run->session, "lock_timeout", "60s", true, error) &&
        session_execute(run->session,
                        "UPDATE pghaul.span SET state = 'done'\n"
                        " WHERE job = $1::bigint AND phase IN ('backfill', 'later')",
                        PARAMS(NUMBER(run->job.id)), NULL, error) &&
        session_execute(run->session,
                        "UPDATE pghaul.job SET phase = $2, wanted = 'run', ended_at = NULL\n"
                        " WHERE id = $1::bigint",
                        PARAMS(NUMBER(run->job.id), RESTORE), NULL, error) &&
        job_set_state(run->session, &run->job, "running", NULL, error) &&
        session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return false;
}

static bool backfill_rollback(struct run *run, bool accept_loss, struct error *error)
{
    (void)accept_loss; /* rows that the application changed since are left as they are */
    if (job_is(&run->job, "rolled_back"))
        return true;
    return may_rollback(run, error) && run_lead(run, error) && may_rollback(run, error) &&
           (is_restoring(run) || begin_restore(run, error)) && run_unlead(run, error) &&
           phases_run(run, &backfill_kind, backfill_kind.undone, error);
}

static bool may_finish(const struct run *run, struct error *error)
{
    return job_is(&run->job, "done") ||
           job_refuse(&run->job, "is not done", "pghaul resume continues it, pghaul abort ends it",
                      error);
}

static bool backfill_finish(struct run *run, struct error *error)
{
    if (job_is(&run->job, "finished"))
        return true;
    return may_finish(run, error) && run_lead(run, error) && may_finish(run, error) &&
           drop_tables(run, "finished", error) && run_unlead(run, error);
}

static bool may_abort(const struct run *run, struct error *error)
{
    if (job_open(&run->job) && is_restoring(run) && !job_is(&run->job, "failed"))
        return job_refuse(&run->job, "is being rolled back",
                          "pghaul rollback, or resume, completes it", error);
    return job_open(&run->job) ||
           job_refuse(&run->job, "is over", "rollback restores what was saved, finish drops it",
                      error);
}

static bool backfill_abort(struct run *run, struct error *error)
{
    if (job_is(&run->job, "aborted"))
        return true;
    return may_abort(run, error) && run_lead(run, error) && may_abort(run, error) &&
           drop_tables(run, "aborted", error) && run_unlead(run, error);
}

/* --------------------------------------------------------------------------------------- words */

/* {"restored": 5, "left": 2} in words. */
static bool tell_restored(struct run *run, struct text *out, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(run->session, &rows,
                       "SELECT facts -> 'restored' ->> 'restored', facts -> 'restored' ->> 'left'\n"
                       "  FROM pghaul.job WHERE id = $1::bigint",
                       PARAMS(NUMBER(run->job.id)), error))
        return false;
    text_appendf(out, "%" PRId64 " rows restored, %" PRId64 " left as they are: changed since",
                 rows_int64(&rows, 0, 0), rows_int64(&rows, 0, 1));
    return true;
}

/* One row: longest transaction, time of all phases, WAL of all chunks, dead rows by the statistics.
 */
static const char SUMMARY[] =
    "SELECT (facts ->> 'longest_ms')::bigint,\n"
    "       (SELECT date_trunc('second', make_interval(secs => sum(seconds)))::text\n"
    "          FROM pghaul.phase WHERE job = j.id),\n"
    "       (SELECT pg_size_pretty(coalesce(sum(bytes), 0)) FROM pghaul.span WHERE job = j.id),\n"
    "       (SELECT n_dead_tup FROM pg_stat_all_tables WHERE relid = j.source_oid)\n"
    "  FROM pghaul.job AS j WHERE id = $1::bigint";

static bool backfill_summary(struct run *run, struct text *out, struct error *error)
{
    struct walk_totals walk, later;
    ROWS_AUTO rows = {0};
    int64_t written, refused, skipped;

    if (job_is(&run->job, "rolled_back"))
        return tell_restored(run, out, error);
    if (!walk_totals(run->session, run->job.id, "backfill", &walk, error) ||
        !walk_totals(run->session, run->job.id, "later", &later, error) ||
        !session_query(run->session, &rows, SUMMARY, PARAMS(NUMBER(run->job.id)), error))
        return false;
    written = walk.counts.written + later.counts.written;
    refused = walk.counts.refused + later.counts.refused;
    skipped = walk.counts.skipped + later.counts.skipped;
    text_appendf(out,
                 "%" PRId64 " visited, %" PRId64 " changed, %" PRId64 " already right, %" PRId64
                 " skipped",
                 walk.rows, written, walk.rows - written - refused - skipped, skipped);
    if (refused > 0)
        text_appendf(out, ", %" PRId64 " kept as they were by a trigger", refused);
    text_appendf(out,
                 ", in %s; row locks held %" PRId64 " ms at most; %" PRId64 " chunks and %" PRId64
                 " rows gave way to the application; about %s of WAL, "
                 "%" PRId64 " dead rows",
                 rows_text(&rows, 0, 1), rows_int64(&rows, 0, 0), walk.retries + later.retries,
                 walk.counts.later, rows_text(&rows, 0, 2), rows_int64(&rows, 0, 3));
    return true;
}

void backfill_describe(struct run *run, struct report *report)
{
    const struct batch_plan *plan = plan_of(run);

    for (const struct phase *at = PHASES; at->name != NULL; at++) {
        bool walk = strcmp(at->name, "backfill") == 0;
        TEXT_AUTO script = {0};

        if (walk)
            batch_print(plan, run->job.id, "backfill", BATCH_WALK, &script);
        else if (strcmp(at->name, "later") == 0)
            batch_print(plan, run->job.id, "later", BATCH_REVISIT, &script);
        report_add_phase(
            report,
            &(struct report_phase){
                .name = at->name,
                .what = at->what,
                .lock = at->lock,
                .estimate = walk ? arena_format(&report->arena, "about %" PRId64 " rows to look at",
                                                plan->row_estimate)
                                 : "moments",
                .sql = text_string(&script),
            });
    }
}

const struct kind backfill_kind = {
    .name = "backfill",
    .words = {.rollback = "writes the old values of",
              .rollback_end = "back, where they are still as the job wrote them",
              .finish = "drops what was saved of",
              .finished = "is dropped",
              .aborted = "keeps what was written so far, nothing else of the job is left but its "
                         "history",
              .done = "visited",
              .next_rollback = "write the old values back; what changed since is left",
              .next_finish = "drop what was saved",
              .next_abort = "keep what is done, and end the job"},
    .phases = PHASES,
    .end = "finish",
    .undone = "restored",
    .walk = "backfill",
    .load = backfill_load,
    .unload = backfill_unload,
    .rollback = backfill_rollback,
    .finish = backfill_finish,
    .abort = backfill_abort,
    .summary = backfill_summary,
};
