/* What a backfill that is about to begin tells the user. */
#include <inttypes.h>
#include <string.h>

#include "copy/kinds/backfill_parts.h"

/*
 * $1 = table, $2 = bits in tgtype of what is done, or may be, $3 = numbers of the columns that are
 * set, $4 = the session_replication_role of the writes: which triggers fire, and which would but
 * for it.
 *
 * triggers=skip is the role replica: what is ENABLE ALWAYS (A) fires all the same, ENABLE REPLICA
 * (R) only then, all others (O) not. So there is no sync trigger that it could leave out: ours are
 * ENABLE ALWAYS (copy/sync.h).
 */
static const char TRIGGERS[] =
    "SELECT string_agg(name, ', ' ORDER BY before DESC, name) FILTER (WHERE fires),\n"
    "       string_agg(name, ', ' ORDER BY before DESC, name) FILTER (WHERE NOT fires)\n"
    "  FROM (SELECT t.tgtype & 2 AS before,\n"
    "               t.tgenabled IN ('A', CASE $4 WHEN 'replica' THEN 'R' ELSE 'O' END) AS fires,\n"
    "               format('%s (%s %s)', quote_ident(t.tgname),\n"
    "                      CASE WHEN t.tgtype & 2 = 2 THEN 'BEFORE' ELSE 'AFTER' END,\n"
    "                      CASE WHEN t.tgtype & 1 = 1 THEN 'each row' ELSE 'each chunk' END)\n"
    "                   AS name\n"
    "          FROM pg_trigger AS t\n"
    "         WHERE t.tgrelid = $1::oid AND NOT t.tgisinternal\n"
    "           AND t.tgenabled IN ('O', 'A', CASE $4 WHEN 'replica' THEN 'R' ELSE 'A' END)\n"
    "           AND t.tgtype & $2::int <> 0\n"
    "           AND (t.tgattr = '' OR t.tgtype & $2::int & 8 <> 0\n"
    "                OR string_to_array(t.tgattr::text, ' ') && $3::text[])) AS t";

/*
 * Foreign keys that the writes touch: of, or to, columns that are set; to rows that are deleted.
 * And what a delete does to other rows, which nobody saves; and rows that cannot go back one by
 * one. Parameters as above.
 */
static const char FOREIGN_KEYS[] =
    "SELECT string_agg(name, ', ' ORDER BY name),\n"
    "       string_agg(name, ', ' ORDER BY name) FILTER (WHERE $2::int = 8\n"
    "           AND (confdeltype IN ('c', 'n', 'd') OR conrelid = confrelid))\n"
    "  FROM (SELECT k.*, format('%s on %s', quote_ident(k.conname), k.conrelid::regclass) AS name\n"
    "          FROM pg_constraint AS k) AS k\n"
    " WHERE k.contype = 'f'\n"
    "   AND (k.confrelid = $1::oid AND ($2::int & 8 <> 0 OR k.confkey::text[] && $3::text[])\n"
    "        OR k.conrelid = $1::oid AND $2::int & 16 <> 0 AND k.conkey::text[] && $3::text[])";

/* What a statement of the user's own does is not known: it may delete, and set any column. */
static int operations(const struct preparation *prep)
{
    enum { DELETES = 8, UPDATES = 16 }; /* TRIGGER_TYPE_DELETE, TRIGGER_TYPE_UPDATE */

    switch (prep->plan->action) {
    case BATCH_DELETE:
        return DELETES;
    case BATCH_UPDATE:
        return UPDATES;
    default:
        return DELETES | UPDATES;
    }
}

static void list_numbers(const struct preparation *prep, struct text *out)
{
    bool all = prep->plan->action == BATCH_STATEMENT;

    text_append(out, "{");
    for (int i = 0; i < (all ? prep->table->column_count : prep->plan->column_count); i++) {
        const struct table_column *column =
            all ? &prep->table->columns[i]
                : table_column_by_name(prep->table, prep->plan->columns[i].name);

        text_appendf(out, "%s%d", i > 0 ? "," : "", column->number);
    }
    text_append(out, "}");
}

static bool report_triggers(const struct preparation *prep, struct report *report,
                            struct error *error)
{
    TEXT_AUTO numbers = {0};
    ROWS_AUTO names = {0};

    list_numbers(prep, &numbers);
    if (!session_query(prep->run->session, &names, TRIGGERS,
                       PARAMS(NUMBER(prep->table->oid), NUMBER(operations(prep)),
                              text_string(&numbers),
                              prep->plan->skip_triggers ? "replica" : "origin"),
                       error))
        return false;
    if (rows_text(&names, 0, 0) != NULL)
        report_add(report, "triggers", "%s %s fire%s", rows_text(&names, 0, 0),
                   prep->plan->action == BATCH_STATEMENT ? "may" : "will",
                   prep->plan->skip_triggers ? ": ENABLE ALWAYS or REPLICA" : "");
    if (rows_text(&names, 0, 1) != NULL)
        report_add(report, "triggers", "%s will NOT fire: triggers=skip", rows_text(&names, 0, 1));
    return true;
}

static bool report_foreign_keys(const struct preparation *prep, struct report *report,
                                struct error *error)
{
    TEXT_AUTO numbers = {0};
    ROWS_AUTO names = {0};
    const char *touched, *cascades;

    list_numbers(prep, &numbers);
    if (!session_query(
            prep->run->session, &names, FOREIGN_KEYS,
            PARAMS(NUMBER(prep->table->oid), NUMBER(operations(prep)), text_string(&numbers)),
            error))
        return false;
    touched = rows_text(&names, 0, 0);
    cascades = rows_text(&names, 0, 1);
    if (touched == NULL)
        return true;
    if (prep->plan->skip_triggers) {
        error_set(error, ERROR_REFUSED, "triggers=skip would leave foreign keys unchecked: %s",
                  touched);
        return error_hint(error,
                          "leave it out: the application's triggers fire, and the keys hold");
    }
    report_add(report, "foreign keys", "checked for every row%s: %s",
               prep->plan->action == BATCH_STATEMENT ? " that it concerns" : "", touched);
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
    int64_t rows = prep->trial.visited > 0
                       ? (int64_t)((double)plan->row_estimate * (double)prep->trial.written /
                                   (double)prep->trial.visited)
                       : plan->row_estimate;
    int64_t row_bytes = plan->row_estimate > 0 ? plan->table_bytes / plan->row_estimate : 0;

    report->wal_bytes = rows * plan->row_wal_bytes;
    if (plan->action == BATCH_STATEMENT)
        report_add(report, "runs",
                   "the statement for each chunk of keys; what it does is not known, "
                   "and not tried");
    else if (prep->trial.visited == 0)
        report_add(report, verb, "unknown: none of the first rows by key is one to write");
    else
        report_add(
            report, verb,
            "about %s rows (trial on %s: %.1f %%), about %s of WAL, %s of dead rows, %.0f %% "
            "HOT",
            report_count(session, &report->arena, rows),
            report_count(session, &report->arena, prep->trial.visited),
            100.0 * (double)prep->trial.written / (double)prep->trial.visited,
            report_size(session, &report->arena, report->wal_bytes),
            report_size(session, &report->arena, rows * row_bytes),
            prep->trial.written > 0 ? 100.0 * (double)prep->trial.hot / (double)prep->trial.written
                                    : 0);
    if (plan->action == BATCH_UPDATE && prep->trial.written > 0 &&
        prep->trial.hot * 2 < prep->trial.written)
        report_add(report, "advice",
                   "few updates are HOT: an index has a column that is set, or pages are full "
                   "(a lower fillfactor leaves room); vacuum the table afterwards");
    if (plan->varies)
        report_add(report, "note",
                   "the value is another one each time it is computed: every row is written, and "
                   "a second backfill writes them all again");
    report_add(report, "note", "rows inserted from now on are the application's business");
}

/* What the first rows took, which were read for the first time and alone. */
static void report_estimate(const struct preparation *prep, struct report *report)
{
    const struct batch_trial *trial = &prep->trial;
    int64_t seconds;

    if (trial->visited == 0 || prep->plan->row_estimate < trial->visited * 10)
        return;
    seconds = (int64_t)((double)prep->plan->row_estimate / (double)trial->visited *
                        (double)trial->took_us / 1e6 / (double)prep->options->settings.workers);
    if (seconds < 120)
        report_add(report, "estimate", "%" PRId64 " s, by the trial", seconds);
    else
        report_add(report, "estimate", "%" PRId64 " min, by the trial", seconds / 60);
}

static void report_undo(struct preparation *prep, struct report *report)
{
    const struct batch_trial *trial = &prep->trial;
    const char *text = "none (--undo saved would keep the old values)";

    if (prep->plan->undo == BATCH_UNDO_SAVED && trial->undo_bytes > 0)
        text =
            arena_format(&report->arena,
                         "old and new values are kept until finish, about %s; rollback restores "
                         "what is still as it was written",
                         report_size(prep->run->session, &report->arena,
                                     (int64_t)((double)trial->undo_bytes / (double)trial->visited *
                                               (double)prep->plan->row_estimate)));
    else if (prep->plan->undo == BATCH_UNDO_SAVED)
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
    if (!report_triggers(prep, report, error) || !report_foreign_keys(prep, report, error))
        return false;
    report_undo(prep, report);
    report_estimate(prep, report);
    for (int i = 0; i < prep->findings.count; i++)
        if (prep->findings.list[i].level != FINDING_REFUSED)
            report_add(report, finding_level_name(prep->findings.list[i].level), "%s",
                       prep->findings.list[i].what);
    return true;
}
