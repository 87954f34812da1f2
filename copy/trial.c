#include "copy/trial.h"

#include <stdio.h>

#include "copy/load.h"
#include "engine/base/clock.h"

enum { SAMPLE_ROWS = 20000 };

/* The load's statement must be possible before anything is created: no assignment cast is what is
 * found most often. */
static bool explain_load(struct run *run, struct error *error)
{
    TEXT_AUTO sql = {0};

    text_append(&sql, "EXPLAIN ");
    load_statement(copy_of(run), "true", NULL, &sql);
    if (session_run_text(run->session, &sql, error))
        return true;
    error->code = ERROR_REFUSED;
    error_context(error, "the rows cannot be copied");
    return error_hint(error, "say how with --map 'column = expression'");
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
    error->code = ERROR_REFUSED;
    error_context(error, "there is no way back");
    return error_hint(
        error,
        "say how with --reverse-map 'column = expression', or give up rollback with --no-rollback");
}

static const char SAMPLE[] =
    "INSERT INTO {to} ({columns})\n"
    "SELECT {values} FROM ONLY {from} AS r TABLESAMPLE SYSTEM ({percent}) LIMIT {rows}";

static bool load_sample(struct run *run, int64_t *rows, struct error *error)
{
    const struct copy *copy = copy_of(run);
    double percent = copy->plan.row_estimate <= SAMPLE_ROWS
                         ? 100
                         : 100.0 * SAMPLE_ROWS * 1.2 / (double)copy->plan.row_estimate;
    TEXT_AUTO sql = {0};
    char percent_text[32];

    snprintf(percent_text, sizeof(percent_text), "%.6f", percent > 100 ? 100 : percent);
    flow_expand_with(&copy->forward, &sql, SAMPLE,
                     SQL_NAMES({"percent", sql_fragment(percent_text)},
                               {"rows", sql_fragment(NUMBER(SAMPLE_ROWS))}));
    if (session_execute(run->session, text_string(&sql), NO_PARAMS, rows, error))
        return true;
    error->code = ERROR_REFUSED;
    error_context(error, "a row of the sample cannot be copied");
    return error->hint[0] != '\0' ? false : error_hint(error, "nothing was changed");
}

static bool build_indexes(struct run *run, struct error *error)
{
    const struct copy *copy = copy_of(run);

    for (int i = 0; i < copy->plan.index_count; i++) {
        const struct plan_index *index = &copy->plan.indexes[i];
        TEXT_AUTO sql = {0};

        flow_expand_with(&copy->forward, &sql,
                         index->constraint_type == 'x'
                             ? "ALTER TABLE {to} ADD CONSTRAINT {name} {definition}"
                             : "CREATE {unique}INDEX {name} ON {to} {tail}",
                         SQL_NAMES({"name", sql_ident(index->name)},
                                   {"definition", sql_fragment(index->definition)},
                                   {"unique", sql_fragment(index->unique ? "UNIQUE " : "")},
                                   {"tail", sql_fragment(index->tail)}));
        if (!session_run_text(run->session, &sql, error)) {
            error->code = ERROR_REFUSED;
            return error_context(error, "index %s cannot be built on the sample", index->name);
        }
    }
    return true;
}

bool trial_run(struct run *run, struct trial *trial, struct error *error)
{
    const struct copy *copy = copy_of(run);
    ROWS_AUTO before = {0};
    ROWS_AUTO after = {0};
    int64_t start_us = clock_us();
    double scale;

    *trial = (struct trial){0};
    if (!explain_load(run, error) || !explain_way_back(run, error) ||
        !session_query(run->session, &before, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn",
                       NO_PARAMS, error) ||
        !load_sample(run, &trial->rows, error) || !build_indexes(run, error) ||
        !flow_query(
            &copy->forward, run->session, &after,
            "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, pg_total_relation_size('{to}')",
            NO_PARAMS, error))
        return false;
    scale = trial->rows > 0 && copy->plan.row_estimate > trial->rows
                ? (double)copy->plan.row_estimate / (double)trial->rows
                : 1;
    trial->wal_bytes = (int64_t)(scale * (rows_double(&after, 0, 0) - rows_double(&before, 0, 0)));
    trial->disk_bytes = (int64_t)(scale * rows_double(&after, 0, 1));
    trial->seconds = scale * (double)(clock_us() - start_us) / 1e6;
    return true;
}
