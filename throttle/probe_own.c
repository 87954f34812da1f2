/*
 * What may fail by itself, asked through a connection of its own so that it takes nothing else
 * along: sizes (limit.disk), and the user's SQL (limit.query).
 */
#include "throttle/probe_parts.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"

static const int64_t ANSWER_US = 3500000;

/* ------------------------------------------------------------------------------------- limit.disk
 */

static void look_at_disk(struct probe *probe)
{
    TEXT_AUTO sql = {0};
    ROWS_AUTO rows = {0};
    struct error error = {0};
    double bytes;

    probe_sql_disk(probe, &sql);
    probe->view.statements++;
    if (!ask_query(probe->own, &rows, text_string(&sql), NO_PARAMS, ANSWER_US, &error)) {
        probe->trouble = error;
        return;
    }
    bytes = rows_double(&rows, 0, 0);
    if (probe->view.disk_base < 0)
        probe->view.disk_base = bytes;
    probe_ok(probe, SIGNAL_DISK_BUDGET, fmax(0, bytes - probe->view.disk_base), "", clock_us());
}

/* ------------------------------------------------------------------------------------ limit.query
 */

/* Names mean to it what they mean to the user: the role's own search_path. */
static const char BEGIN[] = "BEGIN READ ONLY; SET LOCAL search_path TO DEFAULT;"
                            "SET LOCAL statement_timeout = '3s'";

/* The SQL of "VALUE SELECT ..". */
static const char *query_sql(const struct settings *settings)
{
    char *end;

    strtod(settings->limit_query, &end);
    while (isspace((unsigned char)*end))
        end++;
    return end;
}

/* First row, first column. */
static bool number_of(const struct rows *rows, double *number)
{
    const char *text =
        rows_count(rows) > 0 && rows_columns(rows) > 0 ? rows_text(rows, 0, 0) : NULL;
    char *end;

    if (text == NULL)
        return false;
    *number = strtod(text, &end);
    while (isspace((unsigned char)*end))
        end++;
    return end != text && *end == '\0' && !isnan(*number);
}

/* ASK_ONCE: a second statement in it is an error of syntax, not a way out of the transaction. */
static void look_by_query(struct probe *probe)
{
    ROWS_AUTO rows = {0};
    struct error error = {0}, ignored;
    char why[SIGNAL_WHY_BYTES];
    double number = 0;
    bool ok =
        ask_script(probe->own, BEGIN, ANSWER_US, &error) &&
        ask_once(probe->own, &rows, query_sql(&probe->settings), NO_PARAMS, ANSWER_US, &error);

    probe->view.statements += 3;
    if (!ask_once(probe->own, NULL, "ROLLBACK", NO_PARAMS, ANSWER_US, &ignored) && ok) {
        error = ignored;
        ok = false;
    }
    if (!ok) {
        snprintf(why, sizeof(why), "the query of limit.query failed: %.400s", error.message);
        probe_unreadable(probe, SIGNAL_QUERY, "", why, "", "", clock_us());
    } else if (!number_of(&rows, &number)) {
        probe_unreadable(probe, SIGNAL_QUERY, "", "the query of limit.query returned no number", "",
                         "", clock_us());
    } else {
        /* Less than nothing is far from any limit. */
        probe_ok(probe, SIGNAL_QUERY, fmax(0, number), "", clock_us());
    }
}

void probe_own(struct probe *probe)
{
    if (probe_on(probe, SIGNAL_DISK_BUDGET))
        look_at_disk(probe);
    if (probe_on(probe, SIGNAL_QUERY))
        look_by_query(probe);
}
