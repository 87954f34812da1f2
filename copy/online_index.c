#include "copy/online_index.h"

#include <string.h>

#include "copy/statement.h"
#include "copy/unpaced.h"
#include "engine/pg/sql.h"
#include "engine/pg/sqlstate.h"
#include "engine/pg/table.h"

enum {
    OTHER_BUILD_MS = 200,
    TIDY_MS = 5000, /* for the leftover of a build that failed; later it is dropped all the same */
};

const struct field index_spec_FIELDS[] = {
    FIELD_OF(FIELD_OID, index_spec, table_oid),
    FIELD_OF(FIELD_STRING, index_spec, schema),
    FIELD_OF(FIELD_STRING, index_spec, table),
    FIELD_OF(FIELD_STRING, index_spec, name),
    FIELD_OF(FIELD_STRING, index_spec, tail),
    FIELD_OF(FIELD_BOOL, index_spec, unique),
    {0},
};

void online_index_create_sql(const struct index_spec *spec, struct text *sql)
{
    sql_expand(sql, "CREATE {unique}INDEX CONCURRENTLY {name} ON {table} {tail}",
               SQL_NAMES({"unique", sql_fragment(spec->unique ? "UNIQUE " : "")},
                         {"name", sql_ident(spec->name)},
                         {"table", sql_table(spec->schema, spec->table)},
                         {"tail", sql_fragment(spec->tail)}));
}

void online_index_drop_sql(const struct index_spec *spec, struct text *sql)
{
    sql_expand(sql, "DROP INDEX CONCURRENTLY IF EXISTS {name}",
               SQL_NAMES({"name", sql_table(spec->schema, spec->name)}));
}

void online_index_print(struct run *run, const struct index_spec *spec,
                        const struct index_look *look, struct text *script)
{
    TEXT_AUTO create = {0};
    TEXT_AUTO drop = {0};

    if (look->valid)
        return;
    online_index_create_sql(spec, &create);
    online_index_drop_sql(spec, &drop);
    if (look->exists)
        statement_print(run, text_string(&drop), script);
    statement_print(run, text_string(&create), script);
}

/* ---------------------------------------------------------------------------------- what is there
 */

/* $1 schema, $2 name, $3 oid of the table. */
static const char LOOK[] =
    "SELECT c.oid, coalesce(i.indrelid = $3::oid, false),\n"
    "       coalesce(i.indisvalid AND i.indisready AND i.indislive, false), p.pid,\n"
    "       pg_relation_size(c.oid)\n"
    "  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace\n"
    "  LEFT JOIN pg_index AS i ON i.indexrelid = c.oid\n"
    "  LEFT JOIN pg_stat_progress_create_index AS p\n"
    "    ON p.index_relid = c.oid AND p.datname = current_database()\n"
    " WHERE n.nspname = $1 AND c.relname = $2";

static bool compare(struct run *run, const struct index_spec *spec, uint32_t oid, bool *same,
                    struct error *error)
{
    struct arena arena = {0};
    struct table *table;
    bool ok = table_describe(run->session, spec->table_oid, &arena, &table, error);

    *same = false;
    for (int i = 0; ok && i < table->index_count; i++) {
        const struct table_index *index = &table->indexes[i];

        if (index->oid == oid)
            *same = index->unique == spec->unique && strcmp(index->tail, spec->tail) == 0;
    }
    arena_deinit(&arena);
    return ok;
}

bool online_index_look(struct run *run, const struct index_spec *spec, struct index_look *look,
                       struct error *error)
{
    ROWS_AUTO rows = {0};

    *look = (struct index_look){0};
    if (!session_query(run->session, &rows, LOOK,
                       PARAMS(spec->schema, spec->name, NUMBER(spec->table_oid)), error))
        return false;
    if (rows_count(&rows) == 0)
        return true;
    *look = (struct index_look){
        .exists = true,
        .of_table = rows_bool(&rows, 0, 1),
        .valid = rows_bool(&rows, 0, 2),
        .builder = (int)rows_int64(&rows, 0, 3),
        .bytes = rows_int64(&rows, 0, 4),
    };
    return !look->of_table ||
           compare(run, spec, (uint32_t)rows_int64(&rows, 0, 0), &look->same, error);
}

bool online_index_accept(const struct index_spec *spec, const struct index_look *look,
                         struct error *error)
{
    if (!look->exists || (look->of_table && look->same))
        return true;
    error_set(error, ERROR_REFUSED, "there is %s %s.%s already",
              look->of_table ? "another index" : "another object", spec->schema, spec->name);
    error_detail(error, "%s",
                 !look->of_table ? "it is no index of this table"
                 : look->valid   ? "its definition differs"
                                 : "its definition differs, and it is not valid");
    return error_hint(error, "give the new index another name, or drop that one");
}

/* ---------------------------------------------------------------------------------- build and drop
 */

/* Until the process that builds it has ended. */
static bool wait_for_builder(struct run *run, int pid, struct error *error)
{
    progress_reason(run->progress, "process %d is building it", pid);
    return stop_sleep_ms(run->stop, OTHER_BUILD_MS, error);
}

/* A drop writes next to nothing; a build waits for its turn, with nothing open or locked. */
static bool run_statement(struct run *run, const struct index_spec *spec,
                          const struct statement *statement, bool drop, bool *gave,
                          struct error *error)
{
    TEXT_AUTO what = {0};
    struct unpaced unpaced;
    bool ok;

    if (drop)
        return statement_run(run, statement, gave, error);
    text_appendf(&what, "index %s.%s", spec->schema, spec->name);
    if (!unpaced_index(
            run->session,
            &(struct unpaced_index){.table_oid = spec->table_oid, .tail = spec->tail, .scans = 2},
            &unpaced, error) ||
        !pace_unpaced_begin(run, text_string(&what), unpaced.wal_bytes, unpaced.seconds, error))
        return false;
    ok = statement_run(run, statement, gave, error);
    pace_unpaced_end(run);
    return ok;
}

/* One statement towards an index that is there, and valid; or towards none. */
static bool step(struct run *run, const struct index_spec *spec, bool drop, int64_t limit_ms,
                 bool heeds_abort, int *gave_way, struct error *error)
{
    TEXT_AUTO sql = {0};
    TEXT_AUTO what = {0};
    struct statement statement;
    bool gave;

    if (drop)
        online_index_drop_sql(spec, &sql);
    else
        online_index_create_sql(spec, &sql);
    text_appendf(&what, "%s %s.%s", drop ? "drop of index" : "build of index", spec->schema,
                 spec->name);
    statement = (struct statement){
        .sql = text_string(&sql),
        .what = text_string(&what),
        .row_estimate = run->job.rows_total,
        .limit_ms = limit_ms,
        .heeds_abort = heeds_abort,
    };
    if (!run_statement(run, spec, &statement, drop, &gave, error))
        return false;
    if (gave)
        return statement_pause(run, &statement, ++*gave_way, error);
    *gave_way = 0;
    return job_event(run->session, run->job.id, "ddl", error, "%s", text_string(&sql));
}

/*
 * The rows do not allow it, or the server has no room: what is left of the index costs writers and
 * is of no use. Tried for a moment; resume, rollback and abort drop it as well.
 */
static void tidy(struct run *run, const struct index_spec *spec)
{
    struct error ignored = {0};
    struct index_look look;
    int gave_way = 0;

    if (stop_wanted(run->stop) || !session_alive(run->session))
        return;
    if (!online_index_look(run, spec, &look, &ignored) ||
        (look.exists && look.of_table && look.same && !look.valid && look.builder == 0 &&
         !step(run, spec, true, TIDY_MS, true, &gave_way, &ignored)))
        log_verbose(run->log, "the invalid index stays for now: %s", ignored.message);
}

static bool explain_failure(struct run *run, const struct index_spec *spec, struct error *error)
{
    if (error->code != ERROR_SQL || error->retryable || stop_wanted(run->stop))
        return false;
    if (strcmp(error->sqlstate, SQLSTATE_UNIQUE_VIOLATION) == 0)
        error_hint(error, "change or delete rows that have the same key, then pghaul resume %s",
                   SHELL_WORD(run->job.name));
    tidy(run, spec);
    return false;
}

static bool is_taken(const struct error *error)
{
    return strcmp(error->sqlstate, SQLSTATE_DUPLICATE_TABLE) == 0 ||
           (strcmp(error->sqlstate, SQLSTATE_UNIQUE_VIOLATION) == 0 &&
            strstr(error->message, "pg_class_relname_nsp_index") != NULL);
}

/* The name was taken between our look and our statement: we look again. */
static bool look_again(struct run *run, struct error *error)
{
    if (!is_taken(error))
        return false;
    error_clear(error);
    return stop_sleep_ms(run->stop, OTHER_BUILD_MS, error);
}

bool online_index_build(struct run *run, const struct index_spec *spec, struct error *error)
{
    int gave_way = 0;

    for (;;) {
        struct index_look look;

        if (!online_index_look(run, spec, &look, error) || !online_index_accept(spec, &look, error))
            return false;
        if (look.exists && look.builder != 0) {
            if (!wait_for_builder(run, look.builder, error))
                return false;
        } else if (look.valid) {
            return true;
        } else if (!step(run, spec, look.exists, run->job.settings.snapshot_wait_ms, true,
                         &gave_way, error) &&
                   !look_again(run, error)) {
            return explain_failure(run, spec, error);
        }
    }
}

bool online_index_drop(struct run *run, const struct index_spec *spec, struct error *error)
{
    int gave_way = 0;

    for (;;) {
        struct index_look look;

        if (!online_index_look(run, spec, &look, error))
            return false;
        if (!look.exists)
            return true;
        if (!online_index_accept(spec, &look, error))
            return error_context(error, "the job's index is gone");
        if (look.builder != 0) {
            if (!wait_for_builder(run, look.builder, error))
                return false;
        } else if (!step(run, spec, true, run->job.settings.snapshot_wait_ms, false, &gave_way,
                         error)) {
            return error_refuse(error, "something needs the index by now");
        }
    }
}
