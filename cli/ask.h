/* Questions on a terminal, before something is swapped or destroyed. */
#ifndef PGHAUL_CLI_ASK_H
#define PGHAUL_CLI_ASK_H

#include "cli/cli.h"

/* Can we ask, or need we not? ERROR_USAGE without a terminal and without --yes; call before any
 * work. */
bool ask_possible(const struct cli *cli, struct error *error) MUST_CHECK;

/*
 * Says what will happen, and asks. True with --yes or after "y" or "yes". ERROR_REFUSED for any
 * other answer, ERROR_INTERRUPTED when stopping is wanted meanwhile.
 */
bool ask(struct cli *cli, struct error *error, const char *format, ...) MUST_CHECK
    PRINTF_LIKE(3, 4);

#endif
