/* pause, resume, set, abort: what a job is wanted to do, told through its row. */
#include <string.h>

#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/job_json.h"
#include "cli/job_text.h"
#include "cli/kinds.h"
#include "cli/output.h"
#include "cli/work.h"
#include "engine/base/clock.h"
#include "engine/job/window.h"

enum { LEADER_LOOK_MS = 200, LEADER_SAY_MS = 2000, LEADER_WAIT_MS = 60000 };

static bool is(const struct job *job, const char *state)
{
    return strcmp(job->state, state) == 0;
}

static bool is_ready(const struct cli *cli)
{
    return strcmp(job_shown_state(&cli->run.job, cli->kind), "ready") == 0;
}

static bool refuse_ended(const struct job *job, struct error *error)
{
    if (job_open(job))
        return true;
    error_set(error, ERROR_REFUSED, "job %s is over: %s", job->name,
              is(job, "rolled_back") ? "rolled back" : job->state);
    return error_hint(error, "pghaul status %s shows it", SHELL_WORD(job->name));
}

/*
 * A process that works on the job may hold its row for the moment of a transaction: longer than the
 * patience that our sessions have with locks that the application may want.
 */
static const char PATIENCE[] = "10s";

static bool tell(struct cli *cli, const char *wanted, struct error *error)
{
    struct session *session = cli->run.session;

    if (session_begin(session, error) &&
        session_set(session, "lock_timeout", PATIENCE, true, error) &&
        job_set_wanted(session, &cli->run.job, wanted, error) && session_commit(session, error))
        return true;
    session_rollback(session);
    return false;
}

/* ------------------------------------------------------------------------------------ pause, set
 */

bool command_pause(struct cli *cli, struct error *error)
{
    struct job *job = &cli->run.job;

    if (!cli_load_row(cli, cli->options.arguments.values[0], error) || !refuse_ended(job, error))
        return false;
    if (is_ready(cli) || is(job, "cut_over"))
        return error_set(error, ERROR_REFUSED, "there is nothing to pause: job %s is %s", job->name,
                         is(job, "cut_over") ? "cut over" : "ready");
    if (!tell(cli, "pause", error))
        return false;
    if (cli->options.json)
        output_event(cli, job->name, "pause", NULL);
    else
        output_line(cli, "job %s pauses within one chunk; pghaul resume %s goes on", job->name,
                    SHELL_WORD(job->name));
    return true;
}

/* One transaction: the new values and their version are seen together. */
static bool store_settings(struct cli *cli, struct error *error)
{
    struct session *session = cli->run.session;

    if (session_begin(session, error) &&
        session_set(session, "lock_timeout", PATIENCE, true, error) &&
        job_set_settings(session, &cli->run.job, error) && session_commit(session, error))
        return true;
    session_rollback(session);
    return false;
}

bool command_set(struct cli *cli, struct error *error)
{
    const struct option_list *arguments = &cli->options.arguments;
    struct job *job = &cli->run.job;
    struct settings checked;
    TEXT_AUTO values = {0};

    /* What is wrong on the command line is said before we connect. */
    settings_init(&checked);
    for (int i = 1; i < arguments->count; i++)
        if (!settings_set(&checked, arguments->values[i], error))
            return false;
    if (!cli_load_row(cli, arguments->values[0], error) || !refuse_ended(job, error))
        return false;
    for (int i = 1; i < arguments->count; i++) {
        if (!settings_set(&job->settings, arguments->values[i], error))
            return false;
        text_separate(&values, " ");
        text_append(&values, arguments->values[i]);
    }
    if (!window_check(cli->run.session, job->settings.window, error) || !store_settings(cli, error))
        return false;
    if (cli->options.json)
        output_event(cli, job->name, "set", json_pack("{s:s}", "values", text_string(&values)));
    else
        output_line(cli, "job %s: %s, within a second", job->name, text_string(&values));
    return true;
}

/* ---------------------------------------------------------------------------------------- resume
 */

static bool refuse_resume(const struct cli *cli, struct error *error)
{
    const struct job *job = &cli->run.job;

    if (strcmp(job->wanted, "abort") == 0) {
        error_set(error, ERROR_REFUSED, "job %s is being aborted", job->name);
        return error_hint(error, "pghaul abort %s completes it", SHELL_WORD(job->name));
    }
    if (!is(job, "cut_over") && kind_is_past_ready(cli->kind, job->phase)) {
        error_set(error, ERROR_REFUSED, "job %s was interrupted in its cut-over, phase %s",
                  job->name, job->phase);
        return error_hint(error, "pghaul cutover %s goes on with it", SHELL_WORD(job->name));
    }
    return true;
}

bool command_resume(struct cli *cli, struct error *error)
{
    struct job *job = &cli->run.job;
    bool swap = cli->options.cutover == CUTOVER_NOW;

    if (swap && !ask_possible(cli, error))
        return false;
    if (!cli_load_job(cli, cli->options.arguments.values[0], error) || !refuse_ended(job, error) ||
        !refuse_resume(cli, error))
        return false;
    if (is(job, "cut_over") || (is_ready(cli) && !swap))
        return work_keep_up(cli, error) && work_print_at_rest(cli, error);
    if (swap && !ask(cli, error, "job %s will swap %s.%s as soon as its copy is verified",
                     job->name, job->table_schema, job->table_name))
        return false;
    if (strcmp(job->wanted, "run") != 0 && !tell(cli, "run", error))
        return false;
    return is_ready(cli) ? work_cutover(cli, error) : work_run(cli, swap, error);
}

/* ----------------------------------------------------------------------------------------- abort
 */

static bool refuse_cut_over(const struct job *job, struct error *error)
{
    error_set(error, ERROR_REFUSED, "job %s is cut over: its copy is the table now", job->name);
    return error_hint(error, "pghaul rollback %s swaps back", SHELL_WORD(job->name));
}

static bool print_leave_sql(struct cli *cli, struct error *error)
{
    const struct job *job = &cli->run.job;
    TEXT_AUTO text = {0};

    if (is(job, "cut_over"))
        return refuse_cut_over(job, error);
    if (job->leave_sql == NULL || job->leave_sql[0] == '\0')
        return error_set(error, ERROR_REFUSED, "job %s has left nothing to take away", job->name);
    if (cli->options.json) {
        output_event(cli, job->name, "sql", json_pack("{s:s}", "sql", job->leave_sql));
        return true;
    }
    text_append(&text, job->leave_sql);
    if (text_string(&text)[text.used - 1] != '\n')
        text_append(&text, "\n");
    output_text(cli, &text);
    return true;
}

/* Until no process leads the job. Says whom it waits for, and not for ever. */
static bool wait_for_leader(struct cli *cli, struct error *error)
{
    const struct job *job = &cli->run.job;
    int64_t start_ms = clock_ms();
    bool said = false;

    for (;;) {
        int64_t waited_ms = clock_ms() - start_ms;
        int pid = 0;

        if (!job_leader_pid(cli->run.session, job, &pid, error))
            return false;
        if (pid == 0)
            return true;
        if (waited_ms >= LEADER_WAIT_MS) {
            error_set(error, ERROR_LOCK, "another process still works on job %s after %s",
                      job->name, MILLISECONDS(waited_ms));
            error_detail(error, "its server process is %d", pid);
            return error_hint(error,
                              "stop it, or SELECT pg_terminate_backend(%d); then pghaul abort %s "
                              "again",
                              pid, SHELL_WORD(job->name));
        }
        if (!said && waited_ms >= LEADER_SAY_MS) {
            log_notice(&cli->log,
                       "waiting for the process that works on the job (server process %d)", pid);
            said = true;
        }
        if (!stop_sleep_ms(&cli->stop, LEADER_LOOK_MS, error))
            return false;
    }
}

static bool ask_abort(struct cli *cli, struct error *error)
{
    JOB_VIEW_AUTO view = {0};
    TEXT_AUTO frees = {0};
    const struct job *job = &cli->run.job;

    if (cli->options.yes)
        return true;
    if (!job_view_read(cli, &view, error))
        return false;
    if (view.numbers.freed_bytes > 0)
        text_appendf(&frees, " (frees %s)", SIZE(view.numbers.freed_bytes));
    return ask(
        cli, error,
        "abort %s drops its copy of %s.%s and everything else it made%s; the table stays as it is",
        job->name, job->table_schema, job->table_name, text_string(&frees));
}

/* The others stop first. When the kind refuses after all, they may go on. */
static bool do_abort(struct cli *cli, struct error *error)
{
    struct job *job = &cli->run.job;
    struct session *session = cli->run.session;
    struct error ignored = {0};

    cli->continue_with = "abort";
    cli_start_work(cli);
    if (!tell(cli, "abort", error) || !wait_for_leader(cli, error) ||
        !job_refresh(session, job, error))
        return false;
    if (work_verb(cli, VERB_ABORT, error))
        return true;
    if (error->code == ERROR_REFUSED && session_alive(cli->run.session) &&
        !job_set_wanted(cli->run.session, job, "run", &ignored))
        log_verbose(&cli->log, "could not take the wish to abort back: %s", ignored.message);
    return false;
}

bool command_abort(struct cli *cli, struct error *error)
{
    const char *name = cli->options.arguments.values[0];
    struct job *job = &cli->run.job;

    if (cli->options.print_sql)
        return cli_load_row(cli, name, error) && refuse_ended(job, error) &&
               print_leave_sql(cli, error);
    if (!ask_possible(cli, error) || !cli_load_job(cli, name, error))
        return false;
    if (is(job, "aborted"))
        return work_print_at_rest(cli, error);
    if (!refuse_ended(job, error))
        return false;
    if (is(job, "cut_over"))
        return refuse_cut_over(job, error);
    if (!ask_abort(cli, error) || !do_abort(cli, error))
        return false;
    if (cli->options.json)
        output_event(cli, job->name, "aborted", NULL);
    else
        output_line(cli, "aborted: %s.%s %s", job->table_schema, job->table_name,
                    cli->kind->words.aborted);
    return true;
}
