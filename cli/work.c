#include "cli/work.h"

#include <string.h>

#include "bench/laws.h"
#include "cli/format.h"
#include "cli/job_json.h"
#include "cli/job_text.h"
#include "cli/output.h"
#include "cli/progress_line.h"
#include "cli/report_show.h"
#include "throttle/governor.h"

/* The row in memory follows even a failure: messages name the phase that it happened in. */
static void refresh_after_failure(struct cli *cli)
{
    struct error ignored = {0};

    if (session_alive(cli->run.session))
        session_shield(cli->run.session);
    session_rollback(cli->run.session);
    if (session_alive(cli->run.session) && !job_refresh(cli->run.session, &cli->run.job, &ignored))
        log_verbose(&cli->log, "could not read the job again: %s", ignored.message);
}

static bool refuse_verb(const struct cli *cli, struct error *error)
{
    return error_set(error, ERROR_REFUSED, "pghaul %s does not apply to %s jobs",
                     cli->options.command->name, cli->kind->name);
}

static bool call_verb(struct cli *cli, enum verb verb, struct error *error)
{
    const struct kind *kind = cli->kind;
    struct run *run = &cli->run;

    switch (verb) {
    case VERB_VERIFY:
        return kind->verify != NULL ? kind->verify(run, error) : refuse_verb(cli, error);
    case VERB_CUTOVER:
        return kind->cutover != NULL ? kind->cutover(run, error) : refuse_verb(cli, error);
    case VERB_ROLLBACK:
        return kind->rollback != NULL ? kind->rollback(run, cli->options.accept_loss, error)
                                      : refuse_verb(cli, error);
    case VERB_FINISH:
        return kind->finish != NULL ? kind->finish(run, error) : refuse_verb(cli, error);
    case VERB_ABORT:
        return kind->abort != NULL ? kind->abort(run, error) : refuse_verb(cli, error);
    }
    return refuse_verb(cli, error);
}

/* Work that goes by chunks: a governor and the live line around it. */
struct worked {
    struct governor *governor;
    struct progress_line *line;
};

static bool start_work(struct cli *cli, bool governed, bool windowed, struct worked *worked,
                       struct error *error)
{
    *worked = (struct worked){0};
    cli_start_work(cli);
    if (governed && !governor_start(&worked->governor, &cli->run, bench_laws, windowed, error))
        return false;
    worked->line = progress_line_start(cli);
    return true;
}

static void stop_work(struct cli *cli, struct worked *worked)
{
    progress_line_stop(worked->line);
    governor_stop(worked->governor, &cli->run);
}

/*
 * What only drops is not paced, and nobody who needs the old table back waits for a replica. A
 * rollback that restores rows is work like any other, but does not wait for the window.
 */
static bool start_verb(struct cli *cli, enum verb verb, struct worked *worked, struct error *error)
{
    bool back = verb == VERB_ROLLBACK && job_is(&cli->run.job, "cut_over");
    bool governed = verb != VERB_FINISH && verb != VERB_ABORT && !back &&
                    (verb == VERB_ROLLBACK || job_open(&cli->run.job));

    return start_work(cli, governed, verb != VERB_ROLLBACK, worked, error);
}

bool work_verb(struct cli *cli, enum verb verb, struct error *error)
{
    struct worked worked;
    bool ok = start_verb(cli, verb, &worked, error) && call_verb(cli, verb, error);

    stop_work(cli, &worked);
    if (ok)
        return job_refresh(cli->run.session, &cli->run.job, error);
    refresh_after_failure(cli);
    return false;
}

void work_print_next(struct cli *cli, const struct job_view *view)
{
    TEXT_AUTO text = {0};

    if (view->next_count == 0)
        return;
    text_append(&text, "next:\n");
    job_text_next(view, &text);
    output_text(cli, &text);
}

bool work_print_at_rest(struct cli *cli, struct error *error)
{
    JOB_VIEW_AUTO view = {0};

    if (!job_view_read(cli, &view, error))
        return false;
    if (cli->options.json) {
        output_event(cli, view.job->name, view.state, job_json(&view));
        return true;
    }
    output_line(cli, "job %s is %s already", view.job->name,
                strcmp(view.state, "cut_over") == 0 ? "cut over" : view.state);
    work_print_next(cli, &view);
    return true;
}

static bool print_reached(struct cli *cli, const struct job_view *view, struct error *error)
{
    TEXT_AUTO text = {0};

    if (cli->options.json) {
        output_event(cli, view->job->name, strcmp(view->state, "ready") == 0 ? "ready" : "done",
                     job_json(view));
        return true;
    }
    if (cli->kind->summary == NULL)
        job_text_phases(view, &text);
    else if (!cli->kind->summary(&cli->run, &text, error))
        return false;
    if (text.used > 0)
        text_append(&text, "\n");
    if (strcmp(view->state, "ready") == 0)
        text_appendf(&text, "ready; %s. next:\n", cli->kind->words.ready);
    else if (view->next_count > 0)
        text_appendf(&text, "%s. next:\n", view->state);
    else
        text_appendf(&text, "%s\n", view->state);
    job_text_next(view, &text);
    output_text(cli, &text);
    return true;
}

bool work_run(struct cli *cli, bool then_cutover, struct error *error)
{
    JOB_VIEW_AUTO view = {0};
    struct worked worked;
    bool ok = start_work(cli, true, true, &worked, error) &&
              phases_run(&cli->run, cli->kind, kind_rest(cli->kind), error);

    stop_work(cli, &worked);
    if (!ok) {
        refresh_after_failure(cli);
        return false;
    }
    if (!job_refresh(cli->run.session, &cli->run.job, error) || !job_view_read(cli, &view, error))
        return false;
    if (!then_cutover || cli->kind->cutover == NULL)
        return print_reached(cli, &view, error);
    if (!cli->options.json) {
        TEXT_AUTO text = {0};

        job_text_phases(&view, &text);
        output_line(cli, "%s", text_string(&text));
    }
    return work_cutover(cli, error);
}

bool work_keep_up(struct cli *cli, struct error *error)
{
    struct worked worked;
    bool ok;

    if (cli->kind->keep_up == NULL)
        return true;
    ok = start_work(cli, true, true, &worked, error) && cli->kind->keep_up(&cli->run, error);
    stop_work(cli, &worked);
    return ok && job_refresh(cli->run.session, &cli->run.job, error);
}

bool work_planned(struct cli *cli, struct report *report,
                  bool (*store)(struct run *run, struct error *error),
                  bool (*ask_swap)(struct cli *cli, const struct report *report, bool *swap,
                                   struct error *error),
                  struct error *error)
{
    TEXT_AUTO throttle = {0};
    bool swap = false;

    if (!governor_check(&cli->run, bench_laws, &throttle, error))
        return false;
    if (cli->options.dry_run) {
        report_add(report, "throttle", "%s", text_string(&throttle));
        report_show(cli, report, cli->options.job_name);
        return true;
    }
    if (!store(&cli->run, error))
        return false;
    report_show(cli, report, cli->run.job.name);
    return (ask_swap == NULL || ask_swap(cli, report, &swap, error)) && work_run(cli, swap, error);
}

static void print_swapped(struct cli *cli, const struct job_view *view)
{
    TEXT_AUTO text = {0};
    const char *name = view->job->name;

    text_append(&text, "swapped: ");
    job_text_swap(&view->cutover, &text);
    text_append(&text, "\n");
    if (strcmp(view->state, "cut_over") == 0 && !view->no_way_back) {
        text_appendf(&text, "%s until you say:  pghaul rollback %s  |  pghaul finish %s",
                     cli->kind->words.swapped, SHELL_WORD(name), SHELL_WORD(name));
        if (view->numbers.freed_bytes > 0)
            text_appendf(&text, " (frees %s)", SIZE(view->numbers.freed_bytes));
        text_append(&text, "\n");
    } else if (view->next_count > 0) {
        text_append(&text, "the old table is kept, and not fed. next:\n");
        job_text_next(view, &text);
    }
    output_text(cli, &text);
}

bool work_cutover(struct cli *cli, struct error *error)
{
    JOB_VIEW_AUTO view = {0};
    json_t *object;

    cli->continue_with = "cutover";
    if (!work_verb(cli, VERB_CUTOVER, error) || !job_view_read(cli, &view, error))
        return false;
    if (!cli->options.json) {
        print_swapped(cli, &view);
        return true;
    }
    object = job_json(&view);
    json_object_update(object, json_object_get(view.facts, "cutover"));
    output_event(cli, view.job->name, "swapped", object);
    return true;
}
