#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "copy/kinds/alter_parts.h"

static void report_headline(struct preparation *prep, struct report *report)
{
    const struct copy *copy = copy_of(prep->run);
    TEXT_AUTO key = {0};

    for (int i = 0; i < copy->plan.key_count; i++)
        text_appendf(&key, "%s%s (%s)", i > 0 ? ", " : "", copy->plan.key[i].source,
                     copy->plan.key[i].source_type);
    report->headline = arena_format(
        &report->arena, "%s: %s rows, %s, %d index%s, key %s", prep->options->table,
        report_count(prep->run->session, &report->arena, copy->plan.row_estimate),
        report_size(prep->run->session, &report->arena, copy->plan.table_bytes),
        prep->source->index_count, prep->source->index_count == 1 ? "" : "es", text_string(&key));
}

static void report_copy_needed(struct preparation *prep, struct report *report)
{
    TEXT_AUTO because = {0};
    TEXT_AUTO alone = {0};

    for (int i = 0; i < prep->options->action_count; i++) {
        struct text *to = prep->changes.rewrites[i] ? &because : &alone;

        text_separate(to, "; ");
        text_append(to, prep->options->actions[i]);
    }
    if (prep->options->action_count == 0)
        report_add(report, "copy needed", "yes: a rebuild is a copy");
    else if (!prep->changes.any)
        report_add(
            report, "copy needed",
            "no: PostgreSQL rewrites nothing for this; --in-place does it under a short lock");
    else
        report_add(report, "copy needed", "yes: %s%s%s%s", text_string(&because),
                   alone.used > 0 ? " (" : "", text_string(&alone),
                   alone.used > 0 ? " alone would not need one: --in-place)" : "");
    report->rewrite_needed = prep->changes.any;
}

static bool report_also(struct preparation *prep, struct report *report, struct error *error)
{
    const struct copy *copy = copy_of(prep->run);

    for (int i = 0; i < copy->plan.column_count; i++) {
        const struct plan_column *column = &copy->plan.columns[i];
        const struct table_column *source;
        struct findings related = {0};

        if (column->source == NULL || column->target == NULL ||
            strcmp(column->source_type, column->target_type) == 0)
            continue;
        source = table_column_by_name(prep->source, column->source);
        if (source->sequence != NULL)
            report_add(report, "also", "sequence %s becomes %s", source->sequence,
                       column->target_type);
        if (!inspect_related_ids(prep->run->session, prep->source, source, &related, error)) {
            findings_deinit(&related);
            return false;
        }
        for (int f = 0; f < related.count; f++)
            report_add(report, "also", "%s", related.list[f].what);
        findings_deinit(&related);
    }
    return true;
}

static void report_way_back(struct preparation *prep, struct report *report)
{
    const struct plan *plan = &copy_of(prep->run)->plan;

    if (plan->no_rollback) {
        report_add(report, "way back", "none: --no-rollback");
        return;
    }
    for (int i = 0; i < plan->column_count; i++) {
        const struct plan_column *column = &plan->columns[i];
        const char *limit;

        if (column->source == NULL)
            continue;
        if (column->target == NULL) {
            report_add(report, "way back", "%s: rows written after the cut-over get %s",
                       column->source,
                       column->reverse_map != NULL ? column->reverse_map : "its default");
            continue;
        }
        if (strcmp(column->source_type, column->target_type) == 0)
            continue;
        limit = strcmp(column->source_type, "integer") == 0    ? "2147483647"
                : strcmp(column->source_type, "smallint") == 0 ? "32767"
                                                               : NULL;
        if (column->reverse_map != NULL)
            report_add(report, "way back", "%s: %s", column->source, column->reverse_map);
        else if (limit != NULL)
            report_add(report, "way back",
                       "%s: assignment cast; rows with %s > %s could not go back", column->source,
                       column->target, limit);
        else
            report_add(report, "way back", "%s: assignment cast to %s", column->source,
                       column->source_type);
    }
}

bool alter_report(struct preparation *prep, struct report *report, struct error *error)
{
    struct run *run = prep->run;

    report_headline(prep, report);
    report_copy_needed(prep, report);
    if (!report_also(prep, report, error))
        return false;
    report->disk_bytes = prep->trial.disk_bytes;
    report->wal_bytes = prep->trial.wal_bytes;
    report_add(report, "needs", "%s of disk until finish, about %s of WAL; trial on %s rows ok",
               report_size(run->session, &report->arena, report->disk_bytes),
               report_size(run->session, &report->arena, report->wal_bytes),
               report_count(run->session, &report->arena, prep->trial.rows));
    report_way_back(prep, report);
    for (int i = 0; i < prep->findings.count; i++)
        if (prep->findings.list[i].level != FINDING_REFUSED)
            report_add(report, finding_level_name(prep->findings.list[i].level), "%s",
                       prep->findings.list[i].what);
    return true;
}
