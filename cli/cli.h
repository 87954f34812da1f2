/*
 * One run of the program: what every command works with.
 *
 *     cli_init()        log, stop flag, signals, empty run; main thread, before any other
 *     command->run()    cli_connect() or cli_load_job(), then the command's work
 *     cli_deinit()      closes sessions, gives everything back
 *
 * run.session is the control session; everything below the command line gets `run` and nothing
 * else. A command either succeeds, or fails with an error that main logs once; an answer that is no
 * error but has an exit status of its own (guard: 7, doctor: 3) is left in exit_status.
 */
#ifndef PGHAUL_CLI_CLI_H
#define PGHAUL_CLI_CLI_H

#include "cli/command.h"
#include "engine/job/phases.h"

struct cli {
    struct options options;
    struct log log;
    struct stop stop;
    struct signals *signals;
    struct cancel_list *cancel_list;
    struct progress progress;
    struct run run;
    const struct kind *kind;   /* of run.job; NULL until it is known */
    int exit_status;           /* of an answer that is no error; 0 as a rule */
    const char *continue_with; /* the command that goes on after an interruption: "resume" */
};

/* Parses; then sets up what the options ask for. After a failure, too, the log works and
 * cli_deinit() is due. */
bool cli_init(struct cli *cli, int argc, const char *const *argv, struct error *error) MUST_CHECK;
void cli_deinit(struct cli *cli);

/* Opens the control session as the user's own: its settings decide what values mean. */
bool cli_connect(struct cli *cli, struct error *error) MUST_CHECK;
/* Connects for a job that is about to be planned, with the meaning that this session gives values.
 */
bool cli_plan_job(struct cli *cli, const struct kind *kind, const struct settings *settings,
                  struct error *error) MUST_CHECK;

/*
 * Opens the control session with the meaning that the job recorded, loads the job into run.job and
 * its kind's state into run.kind_state.
 */
bool cli_load_job(struct cli *cli, const char *name, struct error *error) MUST_CHECK;

/* As cli_load_job(), without the kind's own state: for commands that only look at the row or change
 * it. */
bool cli_load_row(struct cli *cli, const char *name, struct error *error) MUST_CHECK;

/* From now on a signal stops the job within one chunk, instead of ending the program at once. */
void cli_start_work(struct cli *cli);

/* The settings of -s; defaults for the rest. ERROR_USAGE. */
bool cli_settings(const struct cli *cli, struct settings *settings, struct error *error) MUST_CHECK;
/* The same for a command that has another default for one of them: "name=value". */
bool cli_settings_but(const struct cli *cli, const char *usually, struct settings *settings,
                      struct error *error) MUST_CHECK;

#endif
