/* What a rename or retype that is about to begin tells the user. */
#include "copy/inspect.h"
#include "copy/kinds/addition.h"
#include "copy/kinds/column_name.h"
#include "copy/kinds/column_parts.h"

/* "2 indexes" */
static void count_of(struct text *out, int count, const char *one, const char *many)
{
    if (count == 0)
        return;
    text_append(out, out->used > 0 ? ", " : "; comes along: ");
    text_appendf(out, "%d %s", count, count == 1 ? one : many);
}

static void report_belongings(const struct column_preparation *prep, struct report *report)
{
    const struct twin *twin = prep->plan->twin;
    int checks = 0, outgoing = 0, incoming = 0;
    TEXT_AUTO list = {0};

    for (int i = 0; i < twin->constraint_count; i++) {
        checks += twin->constraints[i].type == 'c';
        outgoing += twin->constraints[i].outgoing;
        incoming += twin->constraints[i].incoming;
    }
    count_of(&list, twin->index_count, "index", "indexes");
    count_of(&list, checks, "check", "checks");
    count_of(&list, outgoing, "foreign key", "foreign keys");
    count_of(&list, incoming, "foreign key that leads to it", "foreign keys that lead to it");
    count_of(&list, twin->statistics_count, "statistics object", "statistics objects");
    report_add(report, "new column", "%s %s%s", prep->plan->twin_column, twin->type,
               text_string(&list));
}

/* The other way to another type, and whether it is open. */
static bool report_alter(const struct column_preparation *prep, struct report *report,
                         struct error *error)
{
    const struct column_options *options = prep->options;
    struct findings findings = {0};
    const char *reason = NULL;

    if (!inspect_table(prep->run->session, prep->table, &findings, error)) {
        findings_deinit(&findings);
        return false;
    }
    for (int i = 0; reason == NULL && i < findings.count; i++)
        if (findings.list[i].level == FINDING_REFUSED)
            reason = findings.list[i].what;
    if (reason != NULL)
        report_add(report, "instead", "a copy by pghaul alter is no way: %s", reason);
    else
        report_add(report, "instead",
                   "pghaul alter %s --do 'ALTER COLUMN %s TYPE %s' needs as much disk for a copy, "
                   "leaves no dead rows and keeps the order of columns; both types are not there "
                   "at the same time then",
                   options->table, options->column, prep->plan->twin->type);
    findings_deinit(&findings);
    return true;
}

static void report_way_back(const struct column_preparation *prep, struct report *report)
{
    const struct column_plan *plan = prep->plan;

    if (prep->rename)
        report_add(report, "way back", "complete, until finish");
    else if (plan->back_using == NULL)
        report_add(report, "way back",
                   "none for what is written after the cut-over; until then %s cannot be written "
                   "where the columns would not agree (--back-using would be the way)",
                   plan->twin_column);
    else
        report_add(report, "way back", "%s; what the old type cannot hold could not go back",
                   prep->options->back_using != NULL ? "--back-using" : "assignment cast");
}

static bool report_related(const struct column_preparation *prep, struct report *report,
                           struct error *error)
{
    struct findings findings = {0};
    bool ok = prep->rename ||
              inspect_related_ids(prep->run->session, prep->table, prep->column, &findings, error);

    for (int i = 0; ok && i < findings.count; i++)
        report_add(report, "also", "%s", findings.list[i].what);
    findings_deinit(&findings);
    return ok;
}

/* The triggers' condition compares both values in every update of a row: those outside the row are
 * read for it. */
static bool report_width(const struct column_preparation *prep, struct report *report,
                         struct error *error)
{
    enum { LARGE_BYTES = 2000 };
    ROWS_AUTO rows = {0};

    if (!session_query(prep->run->session, &rows,
                       "SELECT max(avg_width) FROM pg_stats\n"
                       " WHERE schemaname = $1 AND tablename = $2 AND attname = $3",
                       PARAMS(prep->plan->schema, prep->plan->table, prep->plan->column), error))
        return false;
    if (rows_int64(&rows, 0, 0) >= LARGE_BYTES)
        report_add(report, "warning",
                   "values are large, about %s: until finish every update of a row reads them, "
                   "whatever column it is about",
                   report_size(prep->run->session, &report->arena, rows_int64(&rows, 0, 0)));
    return true;
}

bool column_report(const struct column_preparation *prep, struct report *report,
                   struct error *error)
{
    const struct column_plan *plan = prep->plan;
    const char *size;

    addition_headline(prep->run->session, prep->table, prep->options->table, report);
    size = report_size(prep->run->session, &report->arena,
                       prep->table->heap_bytes + prep->table->toast_bytes);
    report_belongings(prep, report);
    report_add(report, "costs",
               "every row is written once where it is: dead rows of up to %s; the column moves to "
               "the end of the table",
               size);
    if (!prep->rename && !report_alter(prep, report, error))
        return false;
    report_way_back(prep, report);
    return report_width(prep, report, error) && report_related(prep, report, error) &&
           (prep->rename || column_report_sequence(prep->run, prep->column, report, error)) &&
           column_report_usage(prep->run->session,
                               &(struct column_use){.table_oid = plan->table_oid,
                                                    .column = plan->column,
                                                    .keys = plan->twin->constraints,
                                                    .key_count = plan->twin->constraint_count},
                               false, report, error) &&
           column_report_publications(
               prep->run->session, prep->table->oid,
               &(struct column_sent){.added = plan->twin_column,
                                     .hidden = plan->hidden,
                                     .gone = prep->rename ? plan->column : NULL},
               report, error);
}
