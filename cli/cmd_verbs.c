/* verify, cutover, rollback, finish: what a kind does with a job that has been copied. */
#include <string.h>

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
    job_text_verify(&view.verify, &text);
    output_line(cli, "verified: %s", text_string(&text));
    return true;
}

bool command_cutover(struct cli *cli, struct error *error)
{
    const struct job *job = &cli->run.job;

    cli->run.force = cli->options.force;
    return ask_possible(cli, error) && cli_load_job(cli, job_argument(cli), error) &&
           ask(cli, error,
               "cutover %s %s %s.%s (about %s rows)%s; writers wait about 20 ms, and no longer "
               "than %s for a lock",
               job->name, cli->kind->words.cutover, job->table_schema, job->table_name,
               COUNT(job->rows_total), cli->kind->words.cutover_end,
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
    return ask(cli, error, "rollback %s %s %s.%s %s%s", job->name, cli->kind->words.rollback,
               job->table_schema, job->table_name, cli->kind->words.rollback_end,
               text_string(&loss));
}

/* Sequences that were made wider at the cut-over, and not given back. */
static void warn_of_wide_sequences(struct cli *cli, const struct job_view *view)
{
    const char *oid;
    json_t *sequence;

    json_object_foreach(json_object_get(view->facts, "widened"), oid, sequence)
        log_warning(&cli->log, "sequence %s stays bigint: its last value does not fit %s",
                    json_string_value(json_object_get(sequence, "name")),
                    json_string_value(json_object_get(sequence, "was")));
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
    warn_of_wide_sequences(cli, &view);
    if (cli->options.json) {
        event_with_facts(cli, &view, "rolled_back", "rollback");
        return true;
    }
    if (cli->kind->summary != NULL) {
        if (!cli->kind->summary(&cli->run, &text, error))
            return false;
        output_line(cli, "rolled back: %s", text_string(&text));
        return true;
    }
    job_text_swap(&view.rollback, &text);
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
    if (!ask_possible(cli, error) || !cli_load_job(cli, job_argument(cli), error))
        return false;
    if (strcmp(job->state, "finished") == 0)
        return work_print_at_rest(cli, error);
    if (!job_view_read(cli, &before, error))
        return false;
    if (before.numbers.freed_bytes > 0)
        text_appendf(&frees, " and frees %s", SIZE(before.numbers.freed_bytes));
    if (!ask(cli, error, "finish %s %s %s.%s%s; after that there is no way back", job->name,
             cli->kind->words.finish, job->table_schema, job->table_name, text_string(&frees)) ||
        !work_verb(cli, VERB_FINISH, error))
        return false;
    if (cli->options.json)
        output_event(cli, job->name, "finished",
                     json_pack("{s:o}", "freed_bytes",
                               before.numbers.freed_bytes >= 0
                                   ? json_integer(before.numbers.freed_bytes)
                                   : json_null()));
    else
        output_line(cli, "finished: %s %s.%s %s%s", strchr(cli->kind->words.finish, ' ') + 1,
                    job->table_schema, job->table_name, cli->kind->words.finished,
                    text_string(&frees));
    return true;
}
