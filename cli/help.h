/*
 * Everything that is said about the tables of options and commands: --help, the page
 * docs/commands.md, and completion for bash. Pure text.
 */
#ifndef PGHAUL_CLI_HELP_H
#define PGHAUL_CLI_HELP_H

#include "cli/command.h"
#include "engine/base/text.h"

void help_program(const struct command *commands, struct text *out);
void help_command(const struct command *command, struct text *out);
void help_markdown(const struct command *commands, struct text *out);
void help_completion_bash(const struct command *commands, struct text *out);

#endif
