/* The functions of the commands, each in the file named after it: cmd_alter.c, cmd_status.c, ... */
#ifndef PGHAUL_CLI_COMMANDS_H
#define PGHAUL_CLI_COMMANDS_H

#include "cli/cli.h"

/* cmd_alter.c */
bool command_alter(struct cli *cli, struct error *error) MUST_CHECK;

/* cmd_backfill.c */
bool command_backfill(struct cli *cli, struct error *error) MUST_CHECK;

/* cmd_add.c */
bool command_index(struct cli *cli, struct error *error) MUST_CHECK;
bool command_validate(struct cli *cli, struct error *error) MUST_CHECK;

/* cmd_column.c */
bool command_column(struct cli *cli, struct error *error) MUST_CHECK;

/* cmd_status.c */
bool command_status(struct cli *cli, struct error *error) MUST_CHECK;

/* cmd_control.c: what changes how a job runs */
bool command_pause(struct cli *cli, struct error *error) MUST_CHECK;
bool command_resume(struct cli *cli, struct error *error) MUST_CHECK;
bool command_set(struct cli *cli, struct error *error) MUST_CHECK;
bool command_abort(struct cli *cli, struct error *error) MUST_CHECK;

/* cmd_verbs.c: the kind's verbs */
bool command_verify(struct cli *cli, struct error *error) MUST_CHECK;
bool command_cutover(struct cli *cli, struct error *error) MUST_CHECK;
bool command_rollback(struct cli *cli, struct error *error) MUST_CHECK;
bool command_finish(struct cli *cli, struct error *error) MUST_CHECK;

/* cmd_look.c */
bool command_doctor(struct cli *cli, struct error *error) MUST_CHECK;
bool command_guard(struct cli *cli, struct error *error) MUST_CHECK;

/* cmd_sandbox.c, cmd_bench.c */
bool command_sandbox(struct cli *cli, struct error *error) MUST_CHECK;
bool command_bench(struct cli *cli, struct error *error) MUST_CHECK;

/* cmd_help.c */
bool command_help(struct cli *cli, struct error *error) MUST_CHECK;
bool command_completion(struct cli *cli, struct error *error) MUST_CHECK;

#endif
