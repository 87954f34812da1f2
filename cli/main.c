/* pghaul: reads the command line, runs the command, says once what went wrong. */
#include <stdio.h>
#include <string.h>

#include "cli/explain.h"
#include "cli/format.h"
#include "cli/help.h"
#include "cli/output.h"

/* Options that end the run before a command begins. */
static bool answered(struct cli *cli)
{
    TEXT_AUTO text = {0};

    if (cli->options.version)
        text_append(&text, "pghaul " PGHAUL_VERSION "\n");
    else if (cli->options.help && cli->options.command != NULL)
        help_command(cli->options.command, &text);
    else if (cli->options.help)
        help_program(command_table, &text);
    else
        return false;
    output_text(cli, &text);
    return true;
}

static bool run_command(struct cli *cli, struct error *error)
{
    if (answered(cli))
        return output_flush(error);
    if (cli->options.command == NULL) {
        error_set(error, ERROR_USAGE, "no command was given");
        return error_hint(error, "pghaul --help lists them");
    }
    if (!cli->options.command->run(cli, error))
        return false;
    if (cli->options.json && !cli->options.command->answers)
        output_end(cli, cli->exit_status, NULL);
    return output_flush(error);
}

/* A hint of the server knows nothing of jobs; one of ours that names a command says enough. */
static void add_way_on(struct error *error, const char *job, const char *state)
{
    TEXT_AUTO said = {0};

    if (job == NULL || error->code != ERROR_SQL || strstr(error->hint, "pghaul ") != NULL)
        return;
    text_appendf(&said, "%s\n", error->hint);
    explain_way_on(job, state, &said);
    error_hint(error, "%s", text_string(&said));
}

/* What a signal cancelled looks like any failure of a statement: it is an interruption all the
 * same. */
static void finish_error(struct cli *cli, struct error *error)
{
    const struct job *job = &cli->run.job;
    const char *name = job->id != 0 ? SHELL_WORD(job->name) : NULL;

    if (stop_wanted(&cli->stop) &&
        (error->code == ERROR_SQL || error->code == ERROR_CONNECTION || error->code == ERROR_LOCK))
        error_set(error, ERROR_INTERRUPTED, "interrupted");
    if (error->code != ERROR_INTERRUPTED) {
        explain(error, name, job->state);
        add_way_on(error, name, job->state);
        return;
    }
    if (name == NULL)
        error_set(error, ERROR_INTERRUPTED, "stopped; nothing was changed");
    else if (stop_wanted(&cli->stop)) {
        int64_t done = progress_view(cli->run.progress).done;
        TEXT_AUTO rows = {0};

        if (done > 0)
            text_appendf(&rows, " after %s rows, nothing half done", COUNT(done));
        error_set(error, ERROR_INTERRUPTED, "stopped in phase %s%s",
                  job->phase != NULL ? job->phase : "none", text_string(&rows));
        error_hint(error, "continue: pghaul %s %s", cli->continue_with, name);
    }
}

int main(int argc, char **argv)
{
    struct cli cli;
    struct error error = {0};
    int status;

    if (cli_init(&cli, argc, (const char *const *)argv, &error) && run_command(&cli, &error)) {
        status = cli.exit_status;
    } else {
        finish_error(&cli, &error);
        log_error(&cli.log, &error);
        status = error_exit_status(error.code);
        if (cli.options.json)
            output_end(&cli, status, &error);
    }
    cli_deinit(&cli);
    return status;
}
