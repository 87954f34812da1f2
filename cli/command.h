/*
 * What a command is: a row of the table in commands.c. Reading the row tells what the command
 * takes; its function, in one of the cmd_*.c files, tells what it does.
 */
#ifndef PGHAUL_CLI_COMMAND_H
#define PGHAUL_CLI_COMMAND_H

#include "cli/options.h"

struct cli;

enum { ARGUMENTS_UNLIMITED = -1 };

struct command {
    const char *name;
    const char *group;     /* heading in the help; NULL: hidden */
    const char *arguments; /* synopsis: "JOB name=value..." */
    const char *summary;   /* one line */
    const char *about;     /* --help's text below the synopsis, with line feeds; may be NULL */
    uint64_t options;      /* OPT_BITs beside the global ones */
    int arguments_min;
    int arguments_max;   /* ARGUMENTS_UNLIMITED for any number */
    const char *words;   /* what the first argument may be: "start|stop"; NULL: anything */
    bool completes_jobs; /* the first argument is the name of a job */
    bool lists_settings; /* --help ends with the settings */
    bool answers;        /* prints its answer itself: no end object with --json when it succeeds */
    bool (*run)(struct cli *cli, struct error *error);
};

/* Ends with a NULL name. */
extern const struct command command_table[];

/* NULL when there is none of that name. */
const struct command *command_find(const struct command *commands, const char *name);

#endif
