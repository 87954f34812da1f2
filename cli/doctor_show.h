/* What doctor says about signals and standbys (throttle/probe_doctor.h). */
#ifndef PGHAUL_CLI_DOCTOR_SHOW_H
#define PGHAUL_CLI_DOCTOR_SHOW_H

#include "cli/cli.h"
#include "throttle/probe_doctor.h"

/* Text, or with --json an event "signal" and "standby" each. */
void doctor_show(struct cli *cli, const struct doctor_look *look);

#endif
