#include "cli/cli.h"

#include <stdlib.h>

#include "cli/explain.h"
#include "cli/kinds.h"
#include "cli/signals.h"
#include "engine/job/schema.h"
#include "engine/job/window.h"

bool cli_init(struct cli *cli, int argc, const char *const *argv, struct error *error)
{
    bool parsed;

    *cli = (struct cli){.continue_with = "resume"};
    parsed = options_parse(argc, argv, command_table, &cli->options, error);
    log_init(&cli->log, cli->options.quiet     ? LOG_QUIET
                        : cli->options.verbose ? LOG_VERBOSE
                                               : LOG_NORMAL);
    progress_init(&cli->progress);
    cli->cancel_list = cancel_list_new();
    cli->run = (struct run){
        .connect = {.conninfo = cli->options.dbname != NULL ? cli->options.dbname : "",
                    .role = cli->options.role,
                    .application_name = "pghaul",
                    .cancel_list = cli->cancel_list},
        .log = &cli->log,
        .stop = &cli->stop,
        .pace = pace_none(),
        .progress = &cli->progress,
    };
    return parsed && signals_start(&cli->signals, &cli->log, &cli->stop, cli->cancel_list, error);
}

void cli_deinit(struct cli *cli)
{
    if (cli->kind != NULL && cli->kind->unload != NULL && cli->run.kind_state != NULL)
        cli->kind->unload(&cli->run);
    job_deinit(&cli->run.job);
    session_close(cli->run.session);
    cli->run.session = NULL;
    signals_stop(cli->signals);
    cancel_list_free(cli->cancel_list);
    progress_deinit(&cli->progress);
    log_deinit(&cli->log);
    options_deinit(&cli->options);
}

bool cli_connect(struct cli *cli, struct error *error)
{
    session_close(cli->run.session);
    cli->run.session = NULL;
    if (session_open(&cli->run.session, &cli->run.connect, error))
        return true;
    explain_connection(error);
    if (error->code == ERROR_SQL && error->hint[0] == '\0' && cli->run.connect.role != NULL)
        error_hint(error,
                   "check --role \"%s\": it must exist, and be granted to the user who connects",
                   cli->run.connect.role);
    return false;
}

bool cli_plan_job(struct cli *cli, const struct kind *kind, const struct settings *settings,
                  struct error *error)
{
    struct run *run = &cli->run;

    if (!cli_connect(cli, error) ||
        !session_read_meaning(run->session, &run->job.arena, &run->job.meaning, error) ||
        !window_check(run->session, settings->window, error))
        return false;
    cli->kind = kind;
    run->job.settings = *settings;
    run->connect.meaning = &run->job.meaning;
    return true;
}

bool cli_load_row(struct cli *cli, const char *name, struct error *error)
{
    struct job *job = &cli->run.job;

    return cli_connect(cli, error) && job_load(cli->run.session, name, job, error) &&
           kind_find(job->kind, &cli->kind, error);
}

bool cli_load_job(struct cli *cli, const char *name, struct error *error)
{
    struct run *run = &cli->run;

    if (!cli_load_row(cli, name, error))
        return false;
    /* Schema pghaul may be older than the program: bring it up before we write to it. */
    run->connect.meaning = &run->job.meaning;
    if (!cli_connect(cli, error) || !schema_ensure(run->session, error))
        return false;
    return cli->kind->load == NULL || cli->kind->load(run, error);
}

void cli_start_work(struct cli *cli)
{
    signals_stopping(cli->signals);
}

bool cli_settings(const struct cli *cli, struct settings *settings, struct error *error)
{
    return cli_settings_but(cli, NULL, settings, error);
}

bool cli_settings_but(const struct cli *cli, const char *usually, struct settings *settings,
                      struct error *error)
{
    const struct option_list *list = &cli->options.settings;

    settings_init(settings);
    if (usually != NULL && !settings_set(settings, usually, error))
        return false;
    for (int i = 0; i < list->count; i++)
        if (!settings_set(settings, list->values[i], error))
            return false;
    return true;
}
