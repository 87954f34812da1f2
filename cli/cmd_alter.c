/* alter: plans, stores and runs a rebuild of a table; or changes it in place. */
#include <string.h>

#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/output.h"
#include "cli/work.h"
#include "copy/kinds/alter.h"
#include "engine/base/clock.h"

static struct alter_options alter_options_of(const struct options *options,
                                             const struct settings *settings)
{
    return (struct alter_options){
        .table = options->arguments.values[0],
        .actions = options->actions.values,
        .action_count = options->actions.count,
        .maps = options->maps.values,
        .map_count = options->maps.count,
        .reverse_maps = options->reverse_maps.values,
        .reverse_map_count = options->reverse_maps.count,
        .order_by = options->order_by,
        .no_rollback = options->no_rollback,
        .dry_run = options->dry_run,
        .job_name = options->job_name,
        .settings = *settings,
    };
}

/* ------------------------------------------------------------------------------------ three ways
 */

static bool in_place(struct cli *cli, const struct alter_options *options, struct error *error)
{
    int64_t start_us = clock_us();

    if (cli->options.dry_run) {
        error_set(error, ERROR_USAGE, "--in-place cannot be tried with --dry-run");
        return error_hint(error, "--dry-run without it says whether a copy is needed");
    }
    cli_start_work(cli);
    if (!alter_in_place(&cli->run, options, error))
        return false;
    if (cli->options.json)
        output_event(
            cli, NULL, "altered",
            json_pack("{s:I}", "milliseconds", (json_int_t)((clock_us() - start_us) / 1000)));
    else
        output_line(cli, "%s is altered in place; %s, locks and looks included", options->table,
                    MILLISECONDS((clock_us() - start_us) / 1000));
    return true;
}

/*
 * Asked here, not hours later when nobody sits at the terminal any more. "No" leaves the job to
 * stop at ready.
 */
static bool ask_swap(struct cli *cli, const struct report *report, bool *swap, struct error *error)
{
    const struct job *job = &cli->run.job;

    if (!report->rewrite_needed && cli->options.actions.count > 0 && cli->options.order_by == NULL)
        log_warning(&cli->log, "these actions need no copy: --in-place takes milliseconds");
    *swap = cli->options.cutover == CUTOVER_NOW;
    if (!*swap || ask(cli, error, "job %s will swap %s.%s as soon as its copy is verified",
                      job->name, job->table_schema, job->table_name))
        return true;
    if (error->code != ERROR_REFUSED)
        return false;
    error_clear(error);
    *swap = false;
    log_notice(&cli->log, "the job will stop when it is ready");
    return true;
}

static bool prepared(struct cli *cli, const struct alter_options *options, struct error *error)
{
    struct report report = {0};
    bool ok = alter_prepare(&cli->run, options, &report, error) &&
              work_planned(cli, &report, alter_store, ask_swap, error);

    report_deinit(&report);
    return ok;
}

bool command_alter(struct cli *cli, struct error *error)
{
    struct settings settings;
    struct alter_options options;

    if (!cli_settings(cli, &settings, error))
        return false;
    if (cli->options.cutover == CUTOVER_NOW && !cli->options.dry_run && !ask_possible(cli, error))
        return false;
    options = alter_options_of(&cli->options, &settings);
    if (!cli_plan_job(cli, &alter_kind, &settings, error))
        return false;
    if (cli->options.in_place)
        return in_place(cli, &options, error);
    cli_start_work(cli);
    return prepared(cli, &options, error);
}
