/* index, validate: plan, store and run a job that adds one thing to a table where it is. */
#include "cli/commands.h"
#include "cli/report_show.h"
#include "cli/work.h"
#include "copy/kinds/index.h"
#include "copy/kinds/validate.h"

/* Of a job that is planned: shows the plan, and runs it unless that was all that was asked. */
static bool go(struct cli *cli, const struct report *report,
               bool (*store)(struct run *run, struct error *error), struct error *error)
{
    if (cli->options.dry_run) {
        report_show(cli, report, cli->options.job_name);
        return true;
    }
    if (!store(&cli->run, error))
        return false;
    report_show(cli, report, cli->run.job.name);
    return work_run(cli, false, error);
}

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
    ok = index_prepare(&cli->run, &options, &report, error) && go(cli, &report, index_store, error);
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
         go(cli, &report, validate_store, error);
    report_deinit(&report);
    return ok;
}
