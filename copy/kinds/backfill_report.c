/* What a backfill that is about to begin tells the user. */
#include <string.h>

#include "copy/kinds/backfill_parts.h"

/* $1 = table, $2 = bit of the operation in tgtype, $3 = numbers of the columns that are set. */
static const char TRIGGERS[] =
    "SELECT string_agg(format('%s (%s %s)', quote_ident(t.tgname),\n"
    "           CASE WHEN t.tgtype & 2 = 2 THEN 'BEFORE' ELSE 'AFTER' END,\n"
    "           CASE WHEN t.tgtype & 1 = 1 THEN 'each row' ELSE 'each chunk' END), ', '\n"
    "               ORDER BY t.tgtype & 2 DESC, t.tgname)\n"
    "  FROM pg_trigger AS t\n"
    " WHERE t.tgrelid = $1::oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')\n"
    "   AND t.tgtype & $2::int <> 0\n"
    "   AND (t.tgattr = '' OR string_to_array(t.tgattr::text, ' ') && $3::text[])";

/* Foreign keys that the writes touch: of, or to, columns that are set; to rows that are deleted. */
static const char FOREIGN_KEYS[] =
    "SELECT string_agg(format('%s on %s', quote_ident(k.conname), k.conrelid::regclass), ', '\n"
    "                  ORDER BY k.conname)\n"
    "  FROM pg_constraint AS k\n"
    " WHERE k.contype = 'f'\n"
    "   AND CASE WHEN $2::int = 8 THEN k.confrelid = $1::oid\n"
    "            ELSE k.conrelid = $1::oid AND k.conkey::text[] && $3::text[]\n"
    "                 OR k.confrelid = $1::oid AND k.confkey::text[] && $3::text[] END";

/* What a delete does to other rows, which nobody saves; and rows that cannot go back one by one. */
static const char CASCADES[] =
    "SELECT string_agg(format('%s on %s', quote_ident(k.conname), k.conrelid::regclass), ', '\n"
    "                  ORDER BY k.conname)\n"
    "  FROM pg_constraint AS k\n"
    " WHERE k.contype = 'f' AND k.confrelid = $1::oid AND $2::int = 8 AND $3::text[] IS NOT NULL\n"
    "   AND (k.confdeltype IN ('c', 'n', 'd') OR k.conrelid = k.confrelid)";

static void list_numbers(const struct preparation *prep, struct text *out)
{
    text_append(out, "{");
    for (int i = 0; i < prep->plan->column_count; i++)
        text_appendf(out, "%s%d", i > 0 ? "," : "",
                     table_column_by_name(prep->table, prep->plan->columns[i].name)->number);
    text_append(out, "}");
}

/* NULL when there are none. In the arena. */
static bool ask(struct preparation *prep, const char *sql, const char **names, struct error *error)
{
    enum { UPDATES = 16, DELETES = 8 }; /* TRIGGER_TYPE_UPDATE, TRIGGER_TYPE_DELETE */
    TEXT_AUTO numbers = {0};
    ROWS_AUTO rows = {0};

    list_numbers(prep, &numbers);
    if (!session_query(prep->run->session, &rows, sql,
                       PARAMS(NUMBER(prep->table->oid),
                              NUMBER(prep->plan->action == BATCH_DELETE ? DELETES : UPDATES),
                              text_string(&numbers)),
                       error))
        return false;
    *names = arena_copy(&prep->arena, rows_text(&rows, 0, 0));
    return true;
}

static bool report_triggers(struct preparation *prep, struct report *report, struct error *error)
{
    const char *triggers, *foreign_keys;

    if (!ask(prep, TRIGGERS, &triggers, error) || !ask(prep, FOREIGN_KEYS, &foreign_keys, error))
        return false;
    if (triggers != NULL && !prep->plan->skip_triggers)
        report_add(report, "triggers", "%s will fire", triggers);
    else if (triggers != NULL)
        report_add(report, "triggers", "%s will NOT fire: triggers=skip", triggers);
    if (foreign_keys == NULL)
        return true;
    if (prep->plan->skip_triggers) {
        error_set(error, ERROR_REFUSED, "triggers=skip would leave foreign keys unchecked: %s",
                  foreign_keys);
        return error_hint(error,
                          "leave it out: the application's triggers fire, and the keys hold");
    }
    report_add(report, "foreign keys", "checked for every row: %s", foreign_keys);
    return true;
}

static bool report_cascades(struct preparation *prep, struct report *report, struct error *error)
{
    const char *cascades;

    if (!ask(prep, CASCADES, &cascades, error))
        return false;
    if (cascades == NULL)
        return true;
    if (prep->plan->undo == BATCH_UNDO_SAVED) {
        error_set(error, ERROR_REFUSED, "what the delete does beside is not saved: %s", cascades);
        return error_hint(error, "leave out --undo saved, or change those foreign keys first");
    }
    report_add(report, "warning", "deletes, or changes, other rows too: %s", cascades);
    return true;
}

static void report_headline(struct preparation *prep, struct report *report)
{
    TEXT_AUTO key = {0};

    for (int i = 0; i < prep->plan->key_count; i++)
        text_appendf(&key, "%s%s (%s)", i > 0 ? ", " : "", prep->plan->key[i].source,
                     prep->plan->key[i].source_type);
    report->headline = arena_format(
        &report->arena, "%s: %s rows, %s, key %s, %d worker%s", prep->options->table,
        report_count(prep->run->session, &report->arena, prep->plan->row_estimate),
        report_size(prep->run->session, &report->arena, prep->plan->table_bytes), text_string(&key),
        (int)prep->options->settings.workers, prep->options->settings.workers == 1 ? "" : "s");
}

static void report_changes(struct preparation *prep, struct report *report)
{
    const struct batch_plan *plan = prep->plan;
    struct session *session = prep->run->session;
    const char *verb = plan->action == BATCH_DELETE ? "deletes" : "changes";
    int64_t rows =
        prep->visited > 0
            ? (int64_t)((double)plan->row_estimate * (double)prep->written / (double)prep->visited)
            : plan->row_estimate;
    int64_t row_bytes = plan->row_estimate > 0 ? plan->table_bytes / plan->row_estimate : 0;

    report->wal_bytes = rows * plan->row_wal_bytes;
    if (plan->action == BATCH_STATEMENT)
        report_add(report, "runs",
                   "the statement for each chunk of keys; what it does is not known, "
                   "and not tried");
    else if (prep->visited == 0)
        report_add(report, verb, "unknown: none of the first rows by key is one to write");
    else
        report_add(
            report, verb,
            "about %s rows (trial on %s: %.1f %%), about %s of WAL, %s of dead rows, %.0f %% "
            "HOT",
            report_count(session, &report->arena, rows),
            report_count(session, &report->arena, prep->visited),
            100.0 * (double)prep->written / (double)prep->visited,
            report_size(session, &report->arena, report->wal_bytes),
            report_size(session, &report->arena, rows * row_bytes),
            prep->written > 0 ? 100.0 * (double)prep->hot / (double)prep->written : 0);
    if (plan->action == BATCH_UPDATE && prep->written > 0 && prep->hot * 2 < prep->written)
        report_add(report, "advice",
                   "few updates are HOT: an index has a column that is set, or pages are full "
                   "(a lower fillfactor leaves room); vacuum the table afterwards");
    if (plan->varies)
        report_add(report, "note",
                   "the value is another one each time it is computed: every row is written, and "
                   "a second backfill writes them all again");
    report_add(report, "note", "rows inserted from now on are the application's business");
}

static void report_undo(struct preparation *prep, struct report *report)
{
    const char *text = "none (--undo saved would keep the old values)";

    if (prep->plan->undo == BATCH_UNDO_SAVED)
        text = "old and new values are kept until finish; rollback restores what is still as it "
               "was written";
    else if (prep->plan->undo == BATCH_UNDO_SET)
        text = "rollback runs the inverse over every row";
    report_add(report, "undo", "%s", text);
}

bool backfill_report(struct preparation *prep, struct report *report, struct error *error)
{
    report_headline(prep, report);
    report_changes(prep, report);
    if (!report_triggers(prep, report, error) || !report_cascades(prep, report, error))
        return false;
    report_undo(prep, report);
    for (int i = 0; i < prep->findings.count; i++)
        if (prep->findings.list[i].level != FINDING_REFUSED)
            report_add(report, finding_level_name(prep->findings.list[i].level), "%s",
                       prep->findings.list[i].what);
    return true;
}
