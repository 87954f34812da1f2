#include "copy/trial.h"

#include <stdio.h>
#include <string.h>

#include "copy/load.h"
#include "engine/base/clock.h"
#include "engine/pg/sqlstate.h"

enum { SAMPLE_ROWS = 20000, SAMPLE_ROWS_LEAST = 20, SAMPLE_PAGES_LEAST = 20, END_MS = 300 };

static int64_t left_ms(int64_t end_ms)
{
    return end_ms - END_MS - clock_ms();
}

static bool refuse_late(struct error *error)
{
    error_set(error, ERROR_REFUSED, "the trial on a sample was not done in time");
    return error_hint(error, "the server is busy, or an action slow; nothing was changed");
}

/* Of a statement, in the transaction. */
static bool set_limit(struct run *run, int64_t ms, struct error *error)
{
    if (ms <= 0)
        return refuse_late(error);
    return session_set(run->session, "statement_timeout", NUMBER(ms), true, error);
}

bool trial_limit(struct run *run, int64_t end_ms, struct error *error)
{
    return set_limit(run, left_ms(end_ms), error);
}

/* Has the limit ended the statement, and not a signal? */
static bool is_late(const struct run *run, const struct error *error)
{
    return strcmp(error->sqlstate, SQLSTATE_QUERY_CANCELED) == 0 && !stop_wanted(run->stop);
}

bool trial_failed(const struct run *run, struct error *error)
{
    return is_late(run, error) ? refuse_late(error) : false;
}

static bool begin_try(struct run *run, struct error *error)
{
    return session_run(run->session, "SAVEPOINT pghaul_trial", error);
}

static bool undo_try(struct run *run, struct error *error)
{
    return session_run(run->session, "ROLLBACK TO SAVEPOINT pghaul_trial", error);
}

/* The load's statement must be possible before anything is created: no assignment cast is what is
 * found most often. */
static bool explain_load(struct run *run, struct error *error)
{
    TEXT_AUTO sql = {0};

    text_append(&sql, "EXPLAIN ");
    load_statement(copy_of(run), "true", NULL, &sql);
    if (session_run_text(run->session, &sql, error))
        return true;
    error_refuse(error, NULL);
    if (error->code == ERROR_REFUSED) /* the server's hint would be a cast */
        error_hint(error, "say how with --map 'column = expression'");
    return error_context(error, "the rows cannot be copied");
}

static bool explain_way_back(struct run *run, struct error *error)
{
    const struct copy *copy = copy_of(run);
    TEXT_AUTO sql = {0};

    if (copy->plan.no_rollback)
        return true;
    /* The tables as they are now: what will be the old one still has the user's name. */
    flow_expand_with(
        &copy->backward, &sql,
        "EXPLAIN INSERT INTO {old} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values}\n"
        "  FROM ONLY {new} AS r",
        SQL_NAMES({"old", sql_fragment(copy->forward.from_qualified)},
                  {"new", sql_fragment(copy->forward.to_qualified)}));
    if (session_run_text(run->session, &sql, error))
        return true;
    error_refuse(error, NULL);
    if (error->code == ERROR_REFUSED)
        error_hint(error, "say how with --reverse-map 'column = expression', or give up rollback "
                          "with --no-rollback");
    return error_context(error, "there is no way back");
}

static const char SAMPLE[] =
    "INSERT INTO {to} ({columns})\n"
    "SELECT {values} FROM ONLY {from} AS r TABLESAMPLE SYSTEM ({percent}) LIMIT {rows}";

/* Percent of the table's pages: for some more rows than are wanted, and never so few that none may
 * be among them. */
static double sample_percent(const struct plan *plan, int wanted)
{
    double of_rows = 120.0 * wanted / (double)(plan->row_estimate + 1);
    double of_pages = 100.0 * SAMPLE_PAGES_LEAST / ((double)plan->heap_bytes / 8192 + 1);
    double percent = of_rows > of_pages ? of_rows : of_pages;

    return plan->row_estimate <= wanted || percent > 100 ? 100 : percent;
}

static bool load_rows(struct run *run, int wanted, int64_t *rows, struct error *error)
{
    const struct copy *copy = copy_of(run);
    TEXT_AUTO sql = {0};
    char percent_text[32];

    snprintf(percent_text, sizeof(percent_text), "%.6f", sample_percent(&copy->plan, wanted));
    flow_expand_with(
        &copy->forward, &sql, SAMPLE,
        SQL_NAMES({"percent", sql_fragment(percent_text)}, {"rows", sql_fragment(NUMBER(wanted))}));
    return session_execute(run->session, text_string(&sql), NO_PARAMS, rows, error);
}

/* A tenth of the rows when half of the time that is left does not do. TRUNCATE takes what was
 * loaded in vain out of the sizes that are measured. */
static bool load_sample(struct run *run, int64_t end_ms, struct rows *before, int64_t *rows,
                        struct error *error)
{
    for (int wanted = SAMPLE_ROWS;; wanted /= 10) {
        if (!begin_try(run, error) ||
            !session_query(run->session, before,
                           "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn", NO_PARAMS,
                           error) ||
            !set_limit(run, left_ms(end_ms) / 2, error))
            return false;
        if (load_rows(run, wanted, rows, error))
            return true;
        if (!is_late(run, error) || wanted / 10 < SAMPLE_ROWS_LEAST) {
            error_refuse(error, "nothing was changed");
            return error_context(error, "a row of the sample cannot be copied");
        }
        error_clear(error);
        rows_deinit(before);
        if (!undo_try(run, error) || !trial_limit(run, end_ms, error) ||
            !flow_run(&copy_of(run)->forward, run->session, "TRUNCATE {to}", error))
            return false;
    }
}

/* False, too, when there was no time for it: *late. */
static bool build_index(struct run *run, int64_t end_ms, const struct plan_index *index, bool *late,
                        struct error *error)
{
    TEXT_AUTO sql = {0};

    flow_expand_with(
        &copy_of(run)->forward, &sql,
        index->constraint_type == 'x' ? "ALTER TABLE {to} ADD CONSTRAINT {name} {definition}"
                                      : "CREATE {unique}INDEX {name} ON {to} {tail}",
        SQL_NAMES({"name", sql_ident(index->name)}, {"definition", sql_fragment(index->definition)},
                  {"unique", sql_fragment(index->unique ? "UNIQUE " : "")},
                  {"tail", sql_fragment(index->tail)}));
    *late = left_ms(end_ms) <= 0;
    if (*late || !begin_try(run, error) || !trial_limit(run, end_ms, error))
        return false;
    if (session_run_text(run->session, &sql, error))
        return true;
    *late = is_late(run, error) && undo_try(run, error);
    if (*late)
        return false;
    error_refuse(error, NULL);
    return error_context(error, "index %s cannot be built on the sample", index->name);
}

static bool build_indexes(struct run *run, int64_t end_ms, struct error *error)
{
    const struct copy *copy = copy_of(run);

    for (int i = 0; i < copy->plan.index_count; i++) {
        bool late;

        if (build_index(run, end_ms, &copy->plan.indexes[i], &late, error))
            continue;
        if (late)
            log_warning(run->log, "index %s was not tried on the sample: it is slow to build",
                        copy->plan.indexes[i].name);
        if (late)
            error_clear(error);
        return late;
    }
    return true;
}

bool trial_run(struct run *run, int64_t end_ms, struct trial *trial, struct error *error)
{
    const struct copy *copy = copy_of(run);
    ROWS_AUTO before = {0};
    ROWS_AUTO after = {0};
    int64_t start_us, loaded_us;
    double scale;

    *trial = (struct trial){0};
    start_us = clock_us();
    if (!trial_limit(run, end_ms, error) || !explain_load(run, error) ||
        !explain_way_back(run, error) || !load_sample(run, end_ms, &before, &trial->rows, error))
        return false;
    loaded_us = clock_us();
    if (!build_indexes(run, end_ms, error) || !set_limit(run, END_MS, error) ||
        !flow_query(&copy->forward, run->session, &after,
                    "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, "
                    "pg_total_relation_size({to_literal})",
                    NO_PARAMS, error))
        return false;
    scale = trial->rows > 0 && copy->plan.row_estimate > trial->rows
                ? (double)copy->plan.row_estimate / (double)trial->rows
                : 1;
    trial->wal_bytes = (int64_t)(scale * (rows_double(&after, 0, 0) - rows_double(&before, 0, 0)));
    trial->disk_bytes = (int64_t)(scale * rows_double(&after, 0, 1));
    trial->load_seconds = scale * (double)(loaded_us - start_us) / 1e6;
    trial->index_seconds = scale * (double)(clock_us() - loaded_us) / 1e6;
    return true;
}
