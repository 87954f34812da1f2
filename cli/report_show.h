/* What a job that is about to begin tells the user, on stdout. */
#ifndef PGHAUL_CLI_REPORT_SHOW_H
#define PGHAUL_CLI_REPORT_SHOW_H

#include "cli/cli.h"
#include "copy/report.h"

/* As text, or with --json as the event "planned"; in a dry run with the phases. `job` may be NULL.
 */
void report_show(struct cli *cli, const struct report *report, const char *job);

#endif
