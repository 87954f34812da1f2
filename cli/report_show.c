#include "cli/report_show.h"

#include <string.h>

#include "cli/output.h"

enum { HEADLINE_COLUMNS = 88, LABEL_COLUMNS = 12 };

/* The headline, with the job's name at the right; then label and text, indented. */
static void print_text(struct cli *cli, const struct report *report, const char *job)
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

static json_t *phases_json(const struct report *report)
{
    json_t *phases = json_array();

    for (int i = 0; i < report->phase_count; i++) {
        const struct report_phase *phase = &report->phases[i];

        json_array_append_new(phases, json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", phase->name,
                                                "what", phase->what, "lock", phase->lock,
                                                "estimate", phase->estimate, "sql", phase->sql));
    }
    return phases;
}

static void print_json(struct cli *cli, const struct report *report)
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
    if (cli->options.dry_run)
        json_object_set_new(object, "phases", phases_json(report));
    output_event(cli, cli->run.job.name, "planned", object);
}

/* A headline, and the SQL indented under it. */
static void append_phase(struct text *text, const struct report_phase *phase)
{
    const char *line = phase->sql;

    text_appendf(text, "\n%s: %s; lock: %s; %s\n", phase->name, phase->what, phase->lock,
                 phase->estimate);
    while (*line != '\0') {
        int length = (int)strcspn(line, "\n");

        text_appendf(text, "%s%.*s\n", length > 0 ? "    " : "", length, line);
        line += length;
        line += *line == '\n';
    }
}

void report_show(struct cli *cli, const struct report *report, const char *job)
{
    TEXT_AUTO phases = {0};

    if (cli->options.json) {
        print_json(cli, report);
        return;
    }
    print_text(cli, report, job);
    if (!cli->options.dry_run)
        return;
    for (int i = 0; i < report->phase_count; i++)
        append_phase(&phases, &report->phases[i]);
    output_text(cli, &phases);
}
