/*
 * Working on a job that is loaded in cli->run, with the live line, and saying what came out: what
 * several commands do.
 */
#ifndef PGHAUL_CLI_WORK_H
#define PGHAUL_CLI_WORK_H

#include "cli/job_view.h"
#include "copy/report.h"

/*
 * Runs the job up to the phase at which it waits for a cut-over, or to its end, and prints times
 * and next commands. With `then_cutover` goes on with work_cutover().
 */
bool work_run(struct cli *cli, bool then_cutover, struct error *error) MUST_CHECK;

/* A job at rest gathers changes: takes them over, so that its log stays short. */
bool work_keep_up(struct cli *cli, struct error *error) MUST_CHECK;

/*
 * A job that is planned in cli->run, not stored: shows its report, and unless that was all that was
 * asked for (--dry-run) makes it a job with `store` and runs it. `ask_swap` says, once it is a job,
 * whether it goes on to its cut-over: NULL: not.
 */
bool work_planned(struct cli *cli, struct report *report,
                  bool (*store)(struct run *run, struct error *error),
                  bool (*ask_swap)(struct cli *cli, const struct report *report, bool *swap,
                                   struct error *error),
                  struct error *error) MUST_CHECK;

/* Swaps, and prints how long it took. The question has been asked. */
bool work_cutover(struct cli *cli, struct error *error) MUST_CHECK;

enum verb { VERB_VERIFY, VERB_CUTOVER, VERB_ROLLBACK, VERB_FINISH, VERB_ABORT };

/*
 * A verb of the job's kind, with the live line around it; the job's row is read again afterwards.
 * ERROR_REFUSED when the kind has no such verb.
 */
bool work_verb(struct cli *cli, enum verb verb, struct error *error) MUST_CHECK;

/* For a job that is where the command would bring it: says so, and what comes next. */
bool work_print_at_rest(struct cli *cli, struct error *error) MUST_CHECK;

/* Prints "next:" and the commands, unless there are none. */
void work_print_next(struct cli *cli, const struct job_view *view);

#endif
