/* verify, cutover, rollback, finish: what a kind does with a job that has been copied. */
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/job_json.h"
#include "cli/job_text.h"
#include "cli/output.h"
#include "cli/work.h"

static const char *job_argument(const struct cli *cli)
{
    return cli->options.arguments.values[0];
}

/* The job as JSON with the verb's own facts, as an event. */
static void event_with_facts(struct cli *cli, const struct job_view *view, const char *event,
                             const char *facts)
{
    json_t *object = job_json(view);
    json_t *own = json_object_get(view->facts, facts);

    if (json_is_object(own))
        json_object_update(object, own);
    output_event(cli, view->job->name, event, object);
}

bool command_verify(struct cli *cli, struct error *error)
{
    JOB_VIEW_AUTO view = {0};
    TEXT_AUTO text = {0};

    cli->continue_with = "verify";
    if (!cli_load_job(cli, job_argument(cli), error) || !work_verb(cli, VERB_VERIFY, error) ||
        !job_view_read(cli, &view, error))
        return false;
    if (cli->options.json) {
        event_with_facts(cli, &view, "verified", "verify");
        return true;
    }
    job_text_verify(&view, &text);
    output_line(cli, "verified: %s", text_string(&text));
    return true;
}

bool command_cutover(struct cli *cli, struct error *error)
{
    const struct job *job = &cli->run.job;

    return ask_possible(cli, error) && cli_load_job(cli, job_argument(cli), error) &&
           ask(cli, error,
               "cutover %s swaps %s.%s (about %s rows) with its copy; writers wait about 20 ms, "
               "and "
               "no longer than %s for a lock",
               job->name, job->table_schema, job->table_name, COUNT(job->rows_total),
               MILLISECONDS(job->settings.cutover_wait_ms)) &&
           work_cutover(cli, error);
}

/* -------------------------------------------------------------------------------------- rollback
 */

static bool ask_rollback(struct cli *cli, struct error *error)
{
    JOB_VIEW_AUTO view = {0};
    TEXT_AUTO loss = {0};
    const struct job *job = &cli->run.job;

    if (cli->options.yes)
        return true;
    if (!job_view_read(cli, &view, error))
        return false;
    if (cli->options.accept_loss && view.numbers.irreversible_rows > 0)
        text_appendf(&loss, "; %s rows that cannot go back are LOST",
                     COUNT(view.numbers.irreversible_rows));
    return ask(cli, error, "rollback %s puts the old table of %s.%s back%s", job->name,
               job->table_schema, job->table_name, text_string(&loss));
}

bool command_rollback(struct cli *cli, struct error *error)
{
    JOB_VIEW_AUTO view = {0};
    TEXT_AUTO text = {0};

    cli->continue_with = "rollback";
    if (!ask_possible(cli, error) || !cli_load_job(cli, job_argument(cli), error) ||
        !ask_rollback(cli, error) || !work_verb(cli, VERB_ROLLBACK, error) ||
        !job_view_read(cli, &view, error))
        return false;
    if (cli->options.json) {
        event_with_facts(cli, &view, "rolled_back", "rollback");
        return true;
    }
    job_text_swap(&view, "rollback", &text);
    output_line(cli, "swapped back: %s", text_string(&text));
    work_print_next(cli, &view);
    return true;
}

/* ---------------------------------------------------------------------------------------- finish
 */

bool command_finish(struct cli *cli, struct error *error)
{
    JOB_VIEW_AUTO before = {0};
    TEXT_AUTO frees = {0};
    const struct job *job = &cli->run.job;

    cli->continue_with = "finish";
    if (!ask_possible(cli, error) || !cli_load_job(cli, job_argument(cli), error) ||
        !job_view_read(cli, &before, error))
        return false;
    if (before.numbers.freed_bytes > 0)
        text_appendf(&frees, " and frees %s", SIZE(before.numbers.freed_bytes));
    if (!ask(cli, error,
             "finish %s drops the old table of %s.%s%s; after that there is no way back", job->name,
             job->table_schema, job->table_name, text_string(&frees)) ||
        !work_verb(cli, VERB_FINISH, error))
        return false;
    if (cli->options.json)
        output_event(cli, job->name, "finished",
                     json_pack("{s:o}", "freed_bytes",
                               before.numbers.freed_bytes >= 0
                                   ? json_integer(before.numbers.freed_bytes)
                                   : json_null()));
    else
        output_line(cli, "finished: the old table of %s.%s is dropped%s", job->table_schema,
                    job->table_name, text_string(&frees));
    return true;
}
