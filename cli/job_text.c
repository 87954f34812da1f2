#include "cli/job_text.h"

#include <string.h>

#include "cli/format.h"

enum { LABEL_COLUMNS = 12, NEXT_COLUMNS = 35 };

/* Shorter phases are not worth a word, unless they have something to say. */
static const double PHASE_SECONDS_MIN = 0.05;

void job_text_table(const struct job *job, struct text *out)
{
    if (strcmp(job->table_schema, "public") != 0)
        text_appendf(out, "%s.", job->table_schema);
    text_append(out, job->table_name);
}

void job_text_state(const struct job_view *view, struct text *out)
{
    text_append(out, strcmp(view->state, "cut_over") == 0      ? "cut over"
                     : strcmp(view->state, "rolled_back") == 0 ? "rolled back"
                                                               : view->state);
    if (strcmp(view->job->wanted, "abort") == 0 && job_open(view->job))
        text_appendf(out, ", being aborted%s%s", view->worked_on ? "" : ": pghaul abort ",
                     view->worked_on ? "" : SHELL_WORD(view->job->name));
    else if (strcmp(view->state, "running") == 0 && !view->worked_on)
        text_appendf(out, ", but no process works on it: pghaul resume %s",
                     SHELL_WORD(view->job->name));
}

void job_text_verify(const struct verify_view *verify, struct text *out)
{
    if (verify->rows < 0)
        return;
    text_appendf(out, "%s rows compared, %s difference%s", COUNT(verify->rows),
                 COUNT(verify->differences), verify->differences == 1 ? "" : "s");
    if (verify->repaired > 0)
        text_appendf(out, ", %s repaired", COUNT(verify->repaired));
    if (verify->left_out > 0)
        text_appendf(out, " (%s key%s in flight left out)", COUNT(verify->left_out),
                     verify->left_out == 1 ? "" : "s");
}

void job_text_phases(const struct job_view *view, struct text *out)
{
    TEXT_AUTO line = {0};

    for (int i = 0; i < view->phase_count; i++) {
        const struct phase_view *phase = &view->phases[i];
        bool verify = strcmp(phase->name, "verify") == 0;

        if (strcmp(phase->state, "done") != 0 || (phase->seconds < PHASE_SECONDS_MIN && !verify))
            continue;
        text_separate(&line, "   ");
        text_appendf(&line, "%s %s", phase->name, SECONDS(phase->seconds));
        if (verify && view->verify.rows >= 0) {
            text_append(&line, ": ");
            job_text_verify(&view->verify, &line);
        }
    }
    text_append(out, text_string(&line));
}

void job_text_swap(const struct swap_view *swap, struct text *out)
{
    text_appendf(out, "waited %s for the lock", MILLISECONDS(swap->waited_ms));
    if (swap->attempts > 1)
        text_appendf(out, " in %s tries", COUNT(swap->attempts));
    text_appendf(out, ", held it %s", MILLISECONDS(swap->held_ms));
    if (swap->keys >= 0)
        text_appendf(out, ", %s key%s replayed under it", COUNT(swap->keys),
                     swap->keys == 1 ? "" : "s");
}

/* What a verb does, in a few words. */
static const char *verb_words(const struct job_view *view, const char *verb)
{
    static const struct {
        const char *verb;
        const char *words;
    } WORDS[] = {
        {"resume", "go on"},
        {"pause", "stop within one chunk, until resume"},
        {"cutover", "go on with the swap"},
    };
    const struct kind_words *words = view->kind == NULL ? NULL : &view->kind->words;

    if (words != NULL && strcmp(verb, "rollback") == 0)
        return words->next_rollback;
    if (words != NULL && strcmp(verb, "finish") == 0)
        return words->next_finish;
    if (words != NULL && strcmp(verb, "abort") == 0)
        return words->next_abort;

    if (words != NULL && strcmp(verb, "cutover") == 0 && strcmp(view->state, "ready") == 0)
        return words->next_cutover;
    for (size_t i = 0; i < sizeof(WORDS) / sizeof(WORDS[0]); i++)
        if (strcmp(WORDS[i].verb, verb) == 0)
            return WORDS[i].words;
    return "";
}

static void next_line(const struct job_view *view, const char *verb, struct text *out)
{
    TEXT_AUTO command = {0};

    text_appendf(&command, "pghaul %-8s %s", verb, SHELL_WORD(view->job->name));
    text_appendf(out, "  %-*s  %s", NEXT_COLUMNS, text_string(&command), verb_words(view, verb));
    if (strcmp(verb, "finish") == 0 && view->numbers.freed_bytes > 0)
        text_appendf(out, " (frees %s)", SIZE(view->numbers.freed_bytes));
    text_append(out, "\n");
}

void job_text_next(const struct job_view *view, struct text *out)
{
    for (int i = 0; i < view->next_count; i++)
        next_line(view, view->next[i], out);
}

void job_text_brief(const struct job_view *view, struct text *out)
{
    text_append(out, view->job->phase != NULL ? view->job->phase : view->state);
    if (view->percent >= 0)
        text_appendf(out, ", %.0f %%", view->percent);
    if (view->rows_per_second >= 1)
        text_appendf(out, ", %s rows/s", COUNT((int64_t)view->rows_per_second));
    if (view->eta_seconds >= 0)
        text_appendf(out, ", %s left", SECONDS(view->eta_seconds));
}

static void label(struct text *out, const char *name)
{
    text_appendf(out, "  %-*s  ", LABEL_COLUMNS, name);
}

static void keys_line(const struct job_view *view, struct text *out)
{
    const struct kind_numbers *numbers = &view->numbers;

    if (numbers->log_keys < 0)
        return;
    label(out, "change log");
    text_appendf(out, "%s key%s", COUNT(numbers->log_keys), numbers->log_keys == 1 ? "" : "s");
    if (numbers->stuck_keys > 0)
        text_appendf(out, ", %s stuck: the new table refuses their rows; this blocks the cut-over",
                     COUNT(numbers->stuck_keys));
    text_append(out, "\n");
}

static void work_lines(const struct job_view *view, struct text *out)
{
    TEXT_AUTO phases = {0};

    label(out, "phase");
    job_text_brief(view, out);
    text_append(out, "\n");
    job_text_phases(view, &phases);
    if (phases.used > 0) {
        label(out, "done");
        text_appendf(out, "%s\n", text_string(&phases));
    }
    if (view->kind != NULL && view->kind->words.done == NULL)
        return;
    label(out, view->kind == NULL ? "done" : view->kind->words.done);
    text_appendf(out, "%s of about %s rows, %s in %s chunks", COUNT(view->rows_done),
                 COUNT(view->rows_total), SIZE(view->bytes_written), COUNT(view->chunks));
    if (view->retries > 0)
        text_appendf(out, ", %s retries", COUNT(view->retries));
    text_append(out, "\n");
}

static void swap_lines(const struct job_view *view, struct text *out)
{
    if (view->cutover.done) {
        label(out, "swapped");
        job_text_swap(&view->cutover, out);
        text_append(out, "\n");
    }
    if (view->rollback.done) {
        label(out, "swapped back");
        job_text_swap(&view->rollback, out);
        text_append(out, "\n");
    }
    if (view->old_table != NULL && job_open(view->job)) {
        label(out, "old table");
        text_appendf(out, "%s\n", view->old_table);
    }
    if (view->numbers.irreversible_rows > 0) {
        label(out, "way back");
        text_appendf(out, "%s rows cannot go back\n", COUNT(view->numbers.irreversible_rows));
    }
}

static void pace_line(const struct job_view *view, struct text *out)
{
    const struct throttle_view *throttle = &view->throttle;
    const char *policy = view->job->settings.policy;
    bool silent = view->worked_on && strcmp(view->state, "running") == 0;

    if (!throttle->known && !silent && (strcmp(policy, "auto") == 0 || strcmp(policy, "off") == 0))
        return;
    label(out, "pace");
    text_append(out, policy);
    if (throttle->known)
        text_appendf(out, ": %s", throttle->decision);
    else if (silent)
        text_append(out, ": its governor has told nothing for some seconds");
    if (throttle->known && throttle->rate >= 0 &&
        (strcmp(throttle->decision, "paced") == 0 || strcmp(throttle->decision, "open") == 0))
        text_appendf(out, ", %s/s of log", SIZE((int64_t)throttle->rate));
    if (throttle->reason != NULL)
        text_appendf(out, ", by %s, for %s", throttle->reason, SECONDS(throttle->seconds));
    text_append(out, "\n");
}

void job_text(const struct job_view *view, struct text *out)
{
    const struct job *job = view->job;

    text_appendf(out, "%s  %s of ", job->name, job->kind);
    job_text_table(job, out);
    text_append(out, "\n");
    label(out, "state");
    job_text_state(view, out);
    text_append(out, "\n");
    if (job->reason != NULL) {
        label(out, strcmp(job->state, "failed") == 0 ? "error" : "reason");
        text_appendf(out, "%s\n", job->reason);
    }
    work_lines(view, out);
    keys_line(view, out);
    pace_line(view, out);
    swap_lines(view, out);
    if (view->next_count > 0) {
        text_append(out, "next:\n");
        job_text_next(view, out);
    }
}
