/* backfill: plans, stores and runs a job that changes rows where they are. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/work.h"
#include "copy/kinds/backfill.h"

enum { SQL_BYTES_MAX = 1024 * 1024 };

static bool read_file(const char *path, struct text *sql, struct error *error)
{
    char buffer[4096];
    size_t count;
    FILE *file = fopen(path, "re");

    if (file == NULL)
        return error_set(error, ERROR_USAGE, "cannot read %s: %s", path, strerror(errno));
    while ((count = fread(buffer, 1, sizeof(buffer), file)) > 0 && sql->used < SQL_BYTES_MAX)
        text_append_bytes(sql, buffer, count);
    fclose(file);
    return sql->used > 0 || error_set(error, ERROR_USAGE, "%s is empty", path);
}

bool command_backfill(struct cli *cli, struct error *error)
{
    const struct options *given = &cli->options;
    struct settings settings;
    struct backfill_options options;
    struct report report = {0};
    bool ok;
    TEXT_AUTO sql = {0};

    if (!cli_settings(cli, &settings, error) ||
        (given->sql_file != NULL && !read_file(given->sql_file, &sql, error)) ||
        !cli_plan_job(cli, &backfill_kind, &settings, error))
        return false;
    options = (struct backfill_options){
        .table = given->arguments.values[0],
        .sets = given->sets.values,
        .set_count = given->sets.count,
        .undo_sets = given->undo_sets.values,
        .undo_set_count = given->undo_sets.count,
        .where = given->where,
        .statement = given->sql_file == NULL ? NULL : text_string(&sql),
        .delete_rows = given->delete_rows,
        .save = given->undo == UNDO_SAVED,
        .job_name = given->job_name,
        .settings = settings,
    };
    cli_start_work(cli);
    ok = backfill_prepare(&cli->run, &options, &report, error) &&
         work_planned(cli, &report, backfill_store, NULL, error);
    report_deinit(&report);
    return ok;
}
