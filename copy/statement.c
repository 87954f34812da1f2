#include "copy/statement.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "copy/lock.h"
#include "engine/base/clock.h"
#include "engine/base/crew.h"
#include "engine/pg/sql.h"
#include "engine/pg/sqlstate.h"

enum {
    LOOK_MS = 100,
    OVER_MS = 5,     /* how late it may be noticed that the statement has ended */
    SAY_MS = 1000,   /* shorter waits are not worth a word in the job's row */
    AGAIN_MS = 5000, /* how old what it says there may get */
    DEADLOCK_LEAST_MS = 4 * LOOK_MS,
};

/* What the two threads share. */
struct watch {
    struct run *run;
    const struct statement *statement;
    atomic_int pid;        /* of the session that runs it; 0: not yet */
    atomic_bool over;      /* it has ended */
    atomic_bool cancelled; /* because the other thread said so: `gave_way`, or `why` */
    /* Of the looking thread, read when both have been joined. */
    bool gave_way;
    struct error why;
    /* Of the looking thread alone. */
    struct session *session;
    int64_t blocked_ms; /* since when; 0: it is not */
    int64_t said_ms;    /* when the job's row was told last; 0: it says nothing */
    int64_t said_pid;
};

/* --------------------------------------------------------------------------------- the statement
 */

static void settings_sql(const struct run *run, struct text *sql)
{
    text_appendf(sql,
                 "SET lock_timeout = 0;\n"
                 "SET maintenance_work_mem = '%" PRId64 "kB'",
                 run->job.settings.index_memory_bytes / 1024);
}

static bool send(struct watch *watch, struct session *session, struct error *error)
{
    TEXT_AUTO settings = {0};

    settings_sql(watch->run, &settings);
    if (!session_run_text(session, &settings, error))
        return false;
    log_verbose(watch->run->log, "%s", watch->statement->sql);
    atomic_store(&watch->pid, session_backend_pid(session));
    if (session_run(session, watch->statement->sql, error))
        return true;
    /* What the looking thread cancelled is no failure of its own. */
    return atomic_load(&watch->cancelled) && strcmp(error->sqlstate, SQLSTATE_QUERY_CANCELED) == 0;
}

static bool execute(struct watch *watch, struct error *error)
{
    struct run *run = watch->run;
    struct session_options options = run->connect;
    struct session *session = NULL;
    char name[128];
    bool ok;

    snprintf(name, sizeof(name), "pghaul %s statement", run->job.name);
    options.application_name = name;
    ok = session_reopen(&session, &options, run->job.settings.retry_limit_ms, run->stop, error) &&
         send(watch, session, error);
    session_close(session);
    atomic_store(&watch->over, true);
    return ok;
}

/* -------------------------------------------------------------------------------------- the look
 */

/*
 * $1 = process of the statement, $2 = job. One row: what the job is wanted to do; how far an index
 * build is; who is directly in the way, in words; his process, 0 for a prepared transaction, NULL
 * for nobody; whether the way of those who wait comes back to us. Whom we wait for is asked only
 * when we wait: the question stops the server's lock table for a moment.
 */
static const char LOOK[] =
    "WITH RECURSIVE waits AS MATERIALIZED (\n"
    "    SELECT FROM pg_stat_activity WHERE pid = $1::int AND wait_event_type = 'Lock'),\n"
    "direct AS MATERIALIZED (\n"
    "    SELECT DISTINCT b.pid FROM waits, unnest(pg_blocking_pids($1::int)) AS b (pid)),\n"
    "behind (pid) AS (\n"
    "    SELECT pid FROM direct\n"
    "    UNION\n"
    "    SELECT b.pid FROM behind, unnest(pg_blocking_pids(behind.pid)) AS b (pid)\n"
    "     WHERE behind.pid NOT IN (0, $1::int)),\n"
    "first AS (\n"
    "    SELECT d.pid, CASE WHEN d.pid = 0 THEN 'a prepared transaction' ELSE\n"
    "           format('process %s (%s%s%s%s)%s', d.pid,\n"
    "                  coalesce(nullif(a.application_name, ''), a.backend_type, 'unknown'),\n"
    "                  ', user ' || a.usename, ', ' || a.state,\n"
    "                  ' for ' || date_trunc('seconds',\n"
    "                                        clock_timestamp() - a.xact_start)::text,\n"
    "                  ': ' || left(regexp_replace(a.query, '\\s+', ' ', 'g'), 100)) END AS who\n"
    "      FROM direct AS d LEFT JOIN pg_stat_activity AS a USING (pid)\n"
    "     ORDER BY a.xact_start NULLS LAST LIMIT 1)\n"
    "SELECT (SELECT wanted FROM pghaul.job WHERE id = $2::bigint),\n"
    "       p.phase, p.blocks_done, p.blocks_total, p.tuples_done, p.tuples_total,\n"
    "       (SELECT who FROM first), (SELECT pid FROM first),\n"
    "       (SELECT coalesce(bool_or(pid = $1::int), false) FROM behind)\n"
    "  FROM (SELECT 1) AS one\n"
    "  LEFT JOIN pg_stat_progress_create_index AS p ON p.pid = $1::int";

/*
 * A build's steps as the server names them, and about what part of the whole each one is. A build
 * before the first two have gone by has done nothing yet.
 */
static const struct {
    const char *name;
    double from;
    double to;
} STEPS[] = {
    {"initializing", 0, 0},
    {"waiting for writers before build", 0, 0},
    {"building index: loading tuples", 0.5, 0.7},
    {"building index: sorting", 0.45, 0.5},
    {"building index", 0, 0.45},
    {"waiting for writers before validation", 0.7, 0.7},
    {"index validation: scanning index", 0.7, 0.75},
    {"index validation: sorting", 0.75, 0.8},
    {"index validation", 0.8, 1},
    {"waiting for", 1, 1},
};
enum { STEPS_BEFORE = 2, STEP_COUNT = sizeof(STEPS) / sizeof(STEPS[0]) };

/* STEP_COUNT when it is none. */
static int find_step(const char *name)
{
    int step = 0;

    while (step < STEP_COUNT &&
           (name == NULL || strncmp(name, STEPS[step].name, strlen(STEPS[step].name)) != 0))
        step++;
    return step;
}

static void show_progress(struct watch *watch, const struct rows *rows)
{
    struct progress *progress = watch->run->progress;
    struct progress_view view = progress_view(progress);
    int step = find_step(rows_text(rows, 0, 1));
    double total = rows_double(rows, 0, 3) > 0 ? rows_double(rows, 0, 3) : rows_double(rows, 0, 5);
    double done = rows_double(rows, 0, 3) > 0 ? rows_double(rows, 0, 2) : rows_double(rows, 0, 4);
    double part = total > 0 && done <= total ? done / total : 0;
    int64_t all = watch->statement->row_estimate;

    if (step == STEP_COUNT || all <= 0)
        return;
    part = STEPS[step].from + part * (STEPS[step].to - STEPS[step].from);
    if (view.total != all)
        progress_start(progress, view.phase, 0, all);
    else if ((int64_t)(part * (double)all) > view.done)
        progress_add(progress, (int64_t)(part * (double)all) - view.done);
}

/* Again and again until it has ended: a cancel that comes before the statement is lost. */
static void cancel(struct watch *watch)
{
    struct error ignored = {0};

    atomic_store(&watch->cancelled, true);
    if (!session_execute(watch->session, "SELECT pg_cancel_backend($1::int)",
                         PARAMS(NUMBER(atomic_load(&watch->pid))), NULL, &ignored))
        log_verbose(watch->run->log, "could not cancel: %s", ignored.message);
}

static void say(struct watch *watch, const char *reason)
{
    struct error ignored = {0};

    if (!job_set_reason(watch->session, &watch->run->job, reason, &ignored))
        log_verbose(watch->run->log, "could not say why the job waits: %s", ignored.message);
}

static void refuse_to_wait(struct watch *watch, const char *who)
{
    error_set(&watch->why, ERROR_LOCK, "%s has waited %" PRId64 " s for a transaction to end",
              watch->statement->what, (clock_ms() - watch->blocked_ms) / 1000);
    error_detail(&watch->why, "%s", who);
    error_hint(&watch->why, "end that transaction, or wait for it, then resume; -s snapshot.wait "
                            "says how long to wait");
}

static void look_at_blocker(struct watch *watch, const struct rows *rows)
{
    const char *who = rows_text(rows, 0, 6);
    int step = find_step(rows_text(rows, 0, 1));
    int64_t now_ms = clock_ms();
    int64_t pid = rows_int64(rows, 0, 7);
    TEXT_AUTO reason = {0};

    if (who == NULL) {
        watch->blocked_ms = 0;
        progress_moving(watch->run->progress);
        if (watch->said_ms != 0)
            say(watch, NULL);
        watch->said_ms = 0;
        return;
    }
    if (watch->blocked_ms == 0)
        watch->blocked_ms = now_ms;
    text_appendf(&reason, "waiting for %s", who);
    progress_reason(watch->run->progress, "%s", who);
    if (now_ms - watch->blocked_ms >= SAY_MS &&
        (watch->said_ms == 0 || watch->said_pid != pid || now_ms - watch->said_ms >= AGAIN_MS)) {
        say(watch, text_string(&reason));
        watch->said_ms = now_ms;
        watch->said_pid = pid;
    }
    if (now_ms - watch->blocked_ms > watch->statement->limit_ms &&
        (step < STEPS_BEFORE || step == STEP_COUNT))
        refuse_to_wait(watch, who);
}

/* A look that fails is one look less: the statement does its work without us. */
static void look(struct watch *watch)
{
    ROWS_AUTO rows = {0};
    struct error ignored = {0};

    if (!session_alive(watch->session)) {
        struct session_options options = watch->run->connect;

        session_close(watch->session);
        options.application_name = "pghaul watch";
        if (!session_open(&watch->session, &options, &ignored))
            return;
    }
    if (atomic_load(&watch->cancelled)) {
        cancel(watch);
        return;
    }
    if (!session_query(watch->session, &rows, LOOK,
                       PARAMS(NUMBER(atomic_load(&watch->pid)), NUMBER(watch->run->job.id)),
                       &ignored)) {
        log_verbose(watch->run->log, "could not look: %s", ignored.message);
        return;
    }
    show_progress(watch, &rows);
    look_at_blocker(watch, &rows);
    watch->gave_way = watch->why.code == ERROR_NONE && rows_bool(&rows, 0, 8);
    if (watch->statement->heeds_abort && rows_text(&rows, 0, 0) != NULL &&
        strcmp(rows_text(&rows, 0, 0), "abort") == 0)
        error_set(&watch->why, ERROR_INTERRUPTED, "job %s is being aborted by another session",
                  watch->run->job.name);
    if (watch->gave_way || watch->why.code != ERROR_NONE)
        cancel(watch);
}

static void look_on(struct watch *watch)
{
    while (!atomic_load(&watch->over)) {
        if (atomic_load(&watch->pid) != 0)
            look(watch);
        for (int ms = 0; ms < LOOK_MS && !atomic_load(&watch->over); ms += OVER_MS)
            clock_sleep_ms(OVER_MS);
    }
    if (watch->said_ms != 0 && session_alive(watch->session))
        say(watch, NULL);
    session_close(watch->session);
}

static bool member(struct crew *crew, int number, void *arg, struct error *error)
{
    (void)crew;
    if (number == 0)
        return execute(arg, error);
    look_on(arg);
    return true;
}

bool statement_run(struct run *run, const struct statement *statement, bool *gave_way,
                   struct error *error)
{
    struct watch watch = {.run = run, .statement = statement};
    bool ok = crew_run(2, &(struct crew_work){.run = member, .arg = &watch}, error);

    progress_moving(run->progress);
    *gave_way = ok && watch.gave_way;
    if (!ok && strcmp(error->sqlstate, SQLSTATE_DEADLOCK_DETECTED) == 0) {
        error_clear(error);
        ok = *gave_way = true;
    }
    if (ok && watch.why.code != ERROR_NONE) {
        *error = watch.why;
        return false;
    }
    return ok;
}

bool statement_pause(struct run *run, const struct statement *statement, int times,
                     struct error *error)
{
    unsigned seed = (unsigned)clock_us();

    progress_retry(run->progress);
    log_verbose(run->log, "%s gave way to a transaction", statement->what);
    if (times < run->job.settings.lock_tries)
        return stop_sleep_ms(run->stop, lock_backoff_ms(times, &seed), error);
    error_set(error, ERROR_LOCK, "%s gave way to other transactions %d times", statement->what,
              times);
    return error_hint(error, "resume when nobody locks the table (ANALYZE, VACUUM, ALTER TABLE) in "
                             "a transaction that also writes it");
}

void statement_print(const struct run *run, const char *sql, struct text *script)
{
    TEXT_AUTO settings = {0};

    settings_sql(run, &settings);
    sql_add(script, text_string(&settings));
    sql_add(script, sql);
}

bool statement_check_settings(struct session *session, struct error *error)
{
    int64_t deadlock_ms;

    if (!lock_deadlock_timeout(session, &deadlock_ms, error))
        return false;
    if (deadlock_ms >= DEADLOCK_LEAST_MS)
        return true;
    error_set(error, ERROR_REFUSED, "the server's deadlock_timeout is %" PRId64 " ms", deadlock_ms);
    error_detail(error, "the application could be chosen as the victim of a deadlock before pghaul "
                        "sees it and gives way");
    return error_hint(error, "set it to %d ms or more (the default is 1s)", DEADLOCK_LEAST_MS);
}
