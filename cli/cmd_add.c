/* index, validate: plan, store and run a job that adds one thing to a table where it is. */
#include "cli/commands.h"
#include "cli/work.h"
#include "copy/kinds/index.h"
#include "copy/kinds/validate.h"

bool command_index(struct cli *cli, struct error *error)
{
    const struct options *given = &cli->options;
    struct index_options options = {.table = given->arguments.values[0],
                                    .statement = given->arguments.values[1],
                                    .job_name = given->job_name};
    struct report report = {0};
    bool ok;

    if (!cli_settings(cli, &options.settings, error) ||
        !cli_plan_job(cli, &index_kind, &options.settings, error))
        return false;
    cli_start_work(cli);
    ok = index_prepare(&cli->run, &options, &report, error) &&
         work_planned(cli, &report, index_store, NULL, error);
    report_deinit(&report);
    return ok;
}

bool command_validate(struct cli *cli, struct error *error)
{
    const struct options *given = &cli->options;
    struct validate_options options = {.table = given->arguments.values[0],
                                       .constraint = options_argument(given, 1),
                                       .add = given->add,
                                       .job_name = given->job_name};
    struct report report = {0};
    bool ok;

    if (!cli_settings(cli, &options.settings, error) ||
        !cli_plan_job(cli, &validate_kind, &options.settings, error))
        return false;
    cli_start_work(cli);
    ok = validate_prepare(&cli->run, &options, &report, error) &&
         work_planned(cli, &report, validate_store, NULL, error);
    report_deinit(&report);
    return ok;
}
