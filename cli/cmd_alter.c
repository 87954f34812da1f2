/* alter: plans, stores and runs a rebuild of a table; or changes it in place. */
#include <string.h>

#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/output.h"
#include "cli/work.h"
#include "copy/kinds/alter.h"
#include "engine/base/clock.h"

enum { HEADLINE_COLUMNS = 88, LABEL_COLUMNS = 12 };

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
        .job_name = options->job_name,
        .settings = *settings,
    };
}

/* ------------------------------------------------------------------------------------ the report
 */

/* The headline, with the job's name at the right; then label and text, indented. */
static void print_report(struct cli *cli, const struct report *report, const char *job)
{
    TEXT_AUTO text = {0};
    int gap = HEADLINE_COLUMNS - (int)strlen(report->headline);

    text_append(&text, report->headline);
    if (job != NULL) {
        gap -= (int)strlen("job ") + (int)strlen(job);
        text_appendf(&text, "%*sjob %s", gap > 3 ? gap : 3, "", job);
    }
    text_append(&text, "\n");
    for (int i = 0; i < report->line_count; i++)
        text_appendf(&text, "  %-*s  %s\n", LABEL_COLUMNS, report->lines[i].label,
                     report->lines[i].text);
    output_text(cli, &text);
}

/* `plan` is NULL unless this is a dry run. */
static void print_report_json(struct cli *cli, const struct report *report, const char *plan)
{
    json_t *object = json_object();
    json_t *lines = json_array();

    for (int i = 0; i < report->line_count; i++)
        json_array_append_new(lines, json_pack("{s:s, s:s}", "label", report->lines[i].label,
                                               "text", report->lines[i].text));
    json_object_set_new(object, "headline", json_string(report->headline));
    json_object_set_new(object, "lines", lines);
    json_object_set_new(object, "rewrite_needed", json_boolean(report->rewrite_needed));
    json_object_set_new(object, "disk_bytes", json_integer(report->disk_bytes));
    json_object_set_new(object, "wal_bytes", json_integer(report->wal_bytes));
    if (plan != NULL)
        json_object_set_new(object, "plan", json_string(plan));
    output_event(cli, cli->run.job.name, "planned", object);
}

/* ------------------------------------------------------------------------------------ three ways
 */

static bool dry_run(struct cli *cli, const struct report *report, struct error *error)
{
    TEXT_AUTO plan = {0};

    if (!alter_describe(&cli->run, &plan, error))
        return false;
    if (cli->options.json) {
        print_report_json(cli, report, text_string(&plan));
        return true;
    }
    print_report(cli, report, cli->options.job_name);
    output_text(cli, &plan);
    return true;
}

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
static bool ask_swap(struct cli *cli, bool *swap, struct error *error)
{
    const struct job *job = &cli->run.job;

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

static bool copy(struct cli *cli, const struct report *report, struct error *error)
{
    bool swap = false;

    if (!alter_store(&cli->run, error))
        return false;
    if (cli->options.json)
        print_report_json(cli, report, NULL);
    else
        print_report(cli, report, cli->run.job.name);
    if (!report->rewrite_needed && cli->options.actions.count > 0 && cli->options.order_by == NULL)
        log_warning(&cli->log, "these actions need no copy: --in-place takes milliseconds");
    return ask_swap(cli, &swap, error) && work_run(cli, swap, error);
}

static bool prepared(struct cli *cli, const struct alter_options *options, struct error *error)
{
    struct report report = {0};
    bool ok = false;

    if (alter_prepare(&cli->run, options, &report, error))
        ok = cli->options.dry_run ? dry_run(cli, &report, error) : copy(cli, &report, error);
    report_deinit(&report);
    return ok;
}

bool command_alter(struct cli *cli, struct error *error)
{
    struct run *run = &cli->run;
    struct settings settings;
    struct alter_options options;

    if (!cli_settings(cli, &settings, error))
        return false;
    if (cli->options.cutover == CUTOVER_NOW && !cli->options.dry_run && !ask_possible(cli, error))
        return false;
    options = alter_options_of(&cli->options, &settings);
    if (!cli_connect(cli, error) ||
        !session_read_meaning(run->session, &run->job.arena, &run->job.meaning, error))
        return false;
    cli->kind = &alter_kind;
    run->job.settings = settings;
    run->connect.meaning = &run->job.meaning;
    run->pace->configure(run->pace, settings.policy);
    if (cli->options.in_place)
        return in_place(cli, &options, error);
    cli_start_work(cli);
    return prepared(cli, &options, error);
}
