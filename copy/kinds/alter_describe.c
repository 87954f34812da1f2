#include <stdlib.h>
#include <string.h>

#include "copy/kinds/alter_parts.h"
#include "copy/leave.h"
#include "engine/pg/sql.h"

/* ------------------------------------------------------------------------------------------------
 * estimates */

static const char *size(struct preparation *prep, int64_t bytes)
{
    struct run *run = prep->run;
    struct error ignored = {0};
    ROWS_AUTO rows = {0};

    if (!session_query(run->session, &rows, "SELECT pg_size_pretty($1::bigint)",
                       PARAMS(NUMBER(bytes)), &ignored))
        return arena_format(&prep->arena, "%lld bytes", (long long)bytes);
    return arena_copy(&prep->arena, rows_text(&rows, 0, 0));
}

static const char *estimate_load(struct preparation *prep, struct arena *arena)
{
    const struct plan *plan = &copy_of(prep->run)->plan;

    return arena_format(arena, "about %lld rows, %s, %.1f s by one worker",
                        (long long)plan->row_estimate, size(prep, plan->table_bytes),
                        prep->trial.load_seconds);
}

static const char *estimate_index(struct preparation *prep, struct arena *arena)
{
    return arena_format(arena, "%d to build, about %.1f s by one worker",
                        copy_of(prep->run)->plan.index_count, prep->trial.index_seconds);
}

static const char *estimate_changed(struct preparation *prep, struct arena *arena)
{
    (void)prep;
    return arena_copy(arena, "as many rows as change meanwhile");
}

static const char *estimate_settle(struct preparation *prep, struct arena *arena)
{
    return arena_format(arena, "reads and writes about %s", size(prep, prep->trial.disk_bytes));
}

static const char *estimate_verify(struct preparation *prep, struct arena *arena)
{
    return arena_format(arena, "about %lld rows of either table",
                        (long long)copy_of(prep->run)->plan.row_estimate);
}

static const char *estimate_cutover(struct preparation *prep, struct arena *arena)
{
    const struct settings *settings = &prep->run->job.settings;

    return arena_format(arena, "a try ends after %lld ms at the latest",
                        (long long)(settings->cutover_hold_ms > settings->cutover_wait_ms
                                        ? settings->cutover_hold_ms
                                        : settings->cutover_wait_ms));
}

static const char *estimate_finish(struct preparation *prep, struct arena *arena)
{
    return arena_format(arena, "gives back about %s",
                        size(prep, copy_of(prep->run)->plan.table_bytes));
}

static const char *estimate(struct preparation *prep, struct arena *arena, const char *phase)
{
    static const struct {
        const char *phase;
        const char *(*estimate)(struct preparation *prep, struct arena *arena);
    } ESTIMATES[] = {
        {"load", estimate_load},        {"purge", estimate_changed}, {"index", estimate_index},
        {"catch-up", estimate_changed}, {"settle", estimate_settle}, {"verify", estimate_verify},
        {"cutover", estimate_cutover},  {"finish", estimate_finish},
    };

    for (size_t i = 0; i < sizeof(ESTIMATES) / sizeof(ESTIMATES[0]); i++)
        if (strcmp(ESTIMATES[i].phase, phase) == 0)
            return ESTIMATES[i].estimate(prep, arena);
    return "moments"; /* reads no row, or waits for a person */
}

/* ------------------------------------------------------------------------------------------------
 * phases */

static void add_phase(struct preparation *prep, const struct phase *phase, const struct text *sql)
{
    report_add_phase(prep->report, &(struct report_phase){
                                       .name = phase->name,
                                       .what = phase->what,
                                       .lock = phase->lock,
                                       .estimate = estimate(prep, &prep->arena, phase->name),
                                       .sql = text_string(sql),
                                   });
}

/* What the phase really does here, and what it prints, in the order in which it is said. */
static bool print_phase(struct preparation *prep, const struct phase *phase, struct error *error)
{
    TEXT_AUTO script = {0};
    bool ok;

    session_transcribe(prep->run->session, &script);
    ok = phase->print == NULL || phase->print(prep->run, &script, error);
    session_transcribe(prep->run->session, NULL);
    if (!ok || script.overflow)
        return error_context(error, "could not print phase %s", phase->name);
    add_phase(prep, phase, &script);
    return true;
}

static const struct phase START = {
    .name = "start",
    .what = "create schema pghaul, and store the job there",
    .lock = "none",
};

static const struct phase ABORT = {
    .name = "abort",
    .what = "at any time before the cutover, when you say so",
    .lock = "ACCESS EXCLUSIVE, short, by the ladder",
    .print = leave_print_abort,
};

/* The first phase was done by the trial. */
static void add_shadow(struct preparation *prep, const struct phase *phase)
{
    TEXT_AUTO script = {0};

    sql_add(&script, SESSION_BEGIN);
    text_append(&script, text_string(&prep->shadow_script));
    sql_add(&script, SESSION_COMMIT);
    add_phase(prep, phase, &script);
}

bool alter_describe(struct preparation *prep, struct error *error)
{
    const struct phase *first = alter_kind.phases;

    if (prep->start_script.used > 0)
        add_phase(prep, &START, &prep->start_script);
    add_shadow(prep, first);
    for (const struct phase *at = first + 1; at->name != NULL; at++)
        if (!print_phase(prep, at, error))
            return false;
    return print_phase(prep, &ABORT, error);
}
