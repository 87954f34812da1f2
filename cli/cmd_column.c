/* column: renames, retypes, adds, fills and drops a column, by expand-contract. */
#include <string.h>

#include "cli/commands.h"
#include "cli/work.h"
#include "copy/kinds/column.h"
#include "copy/kinds/column_add.h"
#include "copy/kinds/column_drop.h"
#include "copy/kinds/column_not_null.h"

/* What follows `pghaul column`. */
struct verb_row {
    const char *name;
    int arguments; /* behind the verb */
    const char *usage;
    bool (*run)(struct cli *cli, struct error *error);
};

static const char *argument(const struct cli *cli, int i)
{
    return options_argument(&cli->options, i + 1);
}

/* The application uses the rows meanwhile: no row is locked for longer than it may wait for a
 * table.
 */
#define USUAL_CHUNK "chunk.time=25ms"

/* rename and retype: the column gets a twin. */
static bool run_twin(struct cli *cli, struct column_options options, struct error *error)
{
    const struct options *given = &cli->options;
    struct report report = {0};
    bool ok;

    options.table = argument(cli, 0);
    options.column = argument(cli, 1);
    options.using = given->using;
    options.back_using = given->back_using;
    options.job_name = given->job_name;
    options.dry_run = given->dry_run;
    if (given->using == NULL && given->back_using != NULL)
        return error_set(error, ERROR_USAGE, "--back-using needs --using");
    if (!cli_settings_but(cli, USUAL_CHUNK, &options.settings, error) ||
        !cli_plan_job(cli, &column_kind, &options.settings, error))
        return false;
    cli_start_work(cli);
    ok = column_prepare(&cli->run, &options, &report, error) &&
         work_planned(cli, &report, column_store, NULL, error);
    report_deinit(&report);
    return ok;
}

static bool run_rename(struct cli *cli, struct error *error)
{
    return run_twin(cli, (struct column_options){.new_name = argument(cli, 2)}, error);
}

static bool run_retype(struct cli *cli, struct error *error)
{
    return run_twin(cli, (struct column_options){.type = argument(cli, 2)}, error);
}

static bool run_drop(struct cli *cli, struct error *error)
{
    struct column_drop_options options = {
        .table = argument(cli, 0), .column = argument(cli, 1), .job_name = cli->options.job_name};
    struct report report = {0};
    bool ok;

    if (!cli_settings(cli, &options.settings, error) ||
        !cli_plan_job(cli, &column_drop_kind, &options.settings, error))
        return false;
    cli_start_work(cli);
    ok = column_drop_prepare(&cli->run, &options, &report, error) &&
         work_planned(cli, &report, column_drop_store, NULL, error);
    report_deinit(&report);
    return ok;
}

static bool run_add(struct cli *cli, struct error *error)
{
    struct column_add_options options = {.table = argument(cli, 0),
                                         .definition = argument(cli, 1),
                                         .job_name = cli->options.job_name};
    struct report report = {0};
    bool ok;

    if (!cli_settings_but(cli, USUAL_CHUNK, &options.settings, error) ||
        !cli_plan_job(cli, &column_add_kind, &options.settings, error))
        return false;
    cli_start_work(cli);
    ok = column_add_prepare(&cli->run, &options, &report, error) &&
         work_planned(cli, &report, column_add_store, NULL, error);
    report_deinit(&report);
    return ok;
}

static bool run_not_null(struct cli *cli, struct error *error)
{
    struct column_not_null_options options = {
        .table = argument(cli, 0), .column = argument(cli, 1), .job_name = cli->options.job_name};
    struct report report = {0};
    bool ok;

    if (!cli_settings(cli, &options.settings, error) ||
        !cli_plan_job(cli, &column_not_null_kind, &options.settings, error))
        return false;
    cli_start_work(cli);
    ok = column_not_null_prepare(&cli->run, &options, &report, error) &&
         work_planned(cli, &report, column_not_null_store, NULL, error);
    report_deinit(&report);
    return ok;
}

static const struct verb_row VERBS[] = {
    {"rename", 3, "TABLE COLUMN NEW_NAME", run_rename},
    {"retype", 3, "TABLE COLUMN TYPE [--using EXPRESSION [--back-using EXPRESSION]]", run_retype},
    {"add", 2, "TABLE 'DEFINITION'", run_add},
    {"not-null", 2, "TABLE COLUMN", run_not_null},
    {"drop", 2, "TABLE COLUMN", run_drop},
};

bool command_column(struct cli *cli, struct error *error)
{
    const char *name = options_argument(&cli->options, 0);

    for (size_t i = 0; i < sizeof(VERBS) / sizeof(VERBS[0]); i++) {
        const struct verb_row *verb = &VERBS[i];

        if (strcmp(verb->name, name) != 0)
            continue;
        if (verb->run != run_retype &&
            (cli->options.using != NULL || cli->options.back_using != NULL))
            return error_set(error, ERROR_USAGE, "column %s takes no --using: it goes with retype",
                             verb->name);
        if (cli->options.arguments.count == verb->arguments + 1)
            return verb->run(cli, error);
        error_set(error, ERROR_USAGE, "column %s takes %d arguments", verb->name, verb->arguments);
        return error_hint(error, "pghaul column %s %s", verb->name, verb->usage);
    }
    error_set(error, ERROR_USAGE, "column does not know \"%s\"", name);
    return error_hint(error, "pghaul column --help lists what it does");
}
