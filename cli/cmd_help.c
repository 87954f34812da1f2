/* help and completion: hidden commands, for docs/ and the shell. */
#include <string.h>

#include "cli/commands.h"
#include "cli/help.h"
#include "cli/output.h"
#include "engine/job/view.h"

/* pghaul help [COMMAND] [--markdown] */
bool command_help(struct cli *cli, struct error *error)
{
    const char *name = options_argument(&cli->options, 0);
    const struct command *command = name != NULL ? command_find(command_table, name) : NULL;
    TEXT_AUTO text = {0};

    if (name != NULL && command == NULL) {
        error_set(error, ERROR_USAGE, "there is no command \"%s\"", name);
        return error_hint(error, "pghaul --help lists them");
    }
    if (cli->options.markdown)
        help_markdown(command_table, &text);
    else if (command != NULL)
        help_command(command, &text);
    else
        help_program(command_table, &text);
    output_text(cli, &text);
    return true;
}

/* Names of open jobs, for the completion itself. */
static bool print_jobs(struct cli *cli, struct error *error)
{
    ROWS_AUTO names = {0};
    bool any = false;

    if (!cli_connect(cli, error) || !job_names(cli->run.session, true, &names, &any, error))
        return false;
    for (int i = 0; any && i < rows_count(&names); i++)
        output_line(cli, "%s", rows_text(&names, i, 0));
    return true;
}

bool command_completion(struct cli *cli, struct error *error)
{
    TEXT_AUTO text = {0};

    if (strcmp(options_argument(&cli->options, 0), "jobs") == 0)
        return print_jobs(cli, error);
    help_completion_bash(command_table, &text);
    output_text(cli, &text);
    return true;
}
