/* status: jobs as their rows tell. Answers a question: with --json the answer is the only line. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/job_json.h"
#include "cli/job_text.h"
#include "cli/kinds.h"
#include "cli/output.h"
#include "engine/base/clock.h"

enum { FOLLOW_MS = 1000, COLUMNS = 6 };

/* ----------------------------------------------------------------------------------- all of them
 */

/* Rows of text whose columns get as wide as they must. */
struct table_text {
    struct arena arena;
    const char *(*rows)[COLUMNS];
    int count;
    int size;
};

static void table_add(struct table_text *table, const char *const cells[COLUMNS])
{
    if (table->count == table->size) {
        int size = table->size == 0 ? 16 : table->size * 2;
        void *rows = arena_alloc(&table->arena, sizeof(table->rows[0]) * (size_t)size);

        if (table->count > 0)
            memcpy(rows, table->rows, sizeof(table->rows[0]) * (size_t)table->count);
        table->rows = rows;
        table->size = size;
    }
    for (int i = 0; i < COLUMNS; i++)
        table->rows[table->count][i] = arena_copy(&table->arena, cells[i]);
    table->count++;
}

static void table_print(struct cli *cli, const struct table_text *table)
{
    TEXT_AUTO text = {0};
    int widths[COLUMNS] = {0};

    for (int row = 0; row < table->count; row++)
        for (int i = 0; i < COLUMNS; i++)
            if ((int)strlen(table->rows[row][i]) > widths[i])
                widths[i] = (int)strlen(table->rows[row][i]);
    for (int row = 0; row < table->count; row++)
        for (int i = 0; i < COLUMNS; i++)
            if (i < COLUMNS - 1)
                text_appendf(&text, "%-*s  ", widths[i], table->rows[row][i]);
            else
                text_appendf(&text, "%s\n", table->rows[row][i]);
    output_text(cli, &text);
}

static void table_add_job(struct table_text *table, const struct job_view *view)
{
    TEXT_AUTO name = {0};
    TEXT_AUTO state = {0};
    TEXT_AUTO percent = {0};
    const struct job *job = view->job;

    job_text_table(job, &name);
    job_text_state(view, &state);
    if (view->percent >= 0)
        text_appendf(&percent, "%.0f %%", view->percent);
    table_add(table, (const char *const[COLUMNS]){job->name, job->kind, text_string(&name),
                                                  job->phase != NULL ? job->phase : "",
                                                  text_string(&percent), text_string(&state)});
}

static bool look_at(struct cli *cli, const char *name, struct job_view *view, struct error *error)
{
    struct error ignored = {0};

    job_deinit(&cli->run.job);
    if (!job_load(cli->run.session, name, &cli->run.job, error))
        return false;
    /* A newer program's kind has no numbers here, and is shown all the same. */
    cli->kind = NULL;
    if (!kind_find(cli->run.job.kind, &cli->kind, &ignored))
        log_verbose(&cli->log, "%s: %s", name, ignored.message);
    return job_view_read(cli, view, error);
}

static bool add_all(struct cli *cli, const struct rows *names, struct table_text *table,
                    json_t *array, struct error *error)
{
    for (int i = 0; i < rows_count(names); i++) {
        JOB_VIEW_AUTO view = {0};

        if (!look_at(cli, rows_text(names, i, 0), &view, error))
            return false;
        json_array_append_new(array, job_json(&view));
        table_add_job(table, &view);
    }
    return true;
}

static bool status_all(struct cli *cli, struct error *error)
{
    ROWS_AUTO names = {0};
    struct table_text table = {0};
    json_t *array = json_array();
    bool any = false;
    bool ok = job_names(cli->run.session, false, &names, &any, error);

    table_add(&table,
              (const char *const[COLUMNS]){"JOB", "KIND", "TABLE", "PHASE", "DONE", "STATE"});
    if (ok && any)
        ok = add_all(cli, &names, &table, array, error);
    if (ok && cli->options.json)
        output_json(cli, json_incref(array));
    else if (ok && any)
        table_print(cli, &table);
    else if (ok)
        log_notice(&cli->log, "there are no jobs in this database");
    json_decref(array);
    arena_deinit(&table.arena);
    return ok;
}

/* ------------------------------------------------------------------------------------ one of them
 */

static int lines_of(const struct text *text)
{
    int lines = 0;

    for (const char *at = text_string(text); *at != '\0'; at++)
        lines += *at == '\n';
    return lines;
}

/* `above`: lines to draw over; 0 for none. Returns the lines drawn. */
static int print_one(struct cli *cli, const struct job_view *view, int above)
{
    TEXT_AUTO text = {0};
    TEXT_AUTO screen = {0};

    if (cli->options.json) {
        output_json(cli, job_json(view));
        return 0;
    }
    job_text(view, &text);
    if (above > 0)
        text_appendf(&screen, "\033[%dA\033[J", above);
    text_append(&screen, text_string(&text));
    output_text(cli, &screen);
    return lines_of(&text);
}

/* Without a terminal: a line when something changed, not every second the same. */
static void print_brief(struct cli *cli, const struct job_view *view, struct text *last)
{
    TEXT_AUTO text = {0};

    job_text_state(view, &text);
    if (strcmp(view->state, view->job->phase != NULL ? view->job->phase : "") != 0) {
        text_append(&text, "  ");
        job_text_brief(view, &text);
    }
    if (strcmp(text_string(&text), text_string(last)) == 0)
        return;
    output_line(cli, "%s", text_string(&text));
    text_clear(last);
    text_append(last, text_string(&text));
}

static bool follow(struct cli *cli, const char *name, struct error *error)
{
    TEXT_AUTO last = {0};
    bool screen = isatty(STDOUT_FILENO);
    int above = 0;

    for (;;) {
        JOB_VIEW_AUTO view = {0};

        if (!look_at(cli, name, &view, error))
            return false;
        if (cli->options.json || screen)
            above = print_one(cli, &view, above);
        else
            print_brief(cli, &view, &last);
        if (job_view_at_rest(&view))
            return true;
        if (!output_flush(error) || !stop_sleep_ms(&cli->stop, FOLLOW_MS, error))
            return false;
    }
}

bool command_status(struct cli *cli, struct error *error)
{
    const char *name = options_argument(&cli->options, 0);
    JOB_VIEW_AUTO view = {0};

    if (name == NULL && cli->options.follow) {
        error_set(error, ERROR_USAGE, "--follow needs a JOB");
        return error_hint(error, "pghaul status JOB -f");
    }
    if (!cli_connect(cli, error))
        return false;
    if (name == NULL)
        return status_all(cli, error);
    if (cli->options.follow)
        return follow(cli, name, error);
    if (!look_at(cli, name, &view, error))
        return false;
    print_one(cli, &view, 0);
    return true;
}
