#include "copy/online_constraint.h"

#include <string.h>

#include "copy/lock.h"
#include "copy/statement.h"
#include "copy/unpaced.h"
#include "engine/base/clock.h"
#include "engine/pg/sql.h"

const struct field constraint_spec_FIELDS[] = {
    FIELD_OF(FIELD_OID, constraint_spec, table_oid),
    FIELD_OF(FIELD_STRING, constraint_spec, schema),
    FIELD_OF(FIELD_STRING, constraint_spec, table),
    FIELD_OF(FIELD_STRING, constraint_spec, name),
    FIELD_OF(FIELD_LETTER, constraint_spec, type),
    FIELD_OF(FIELD_STRING, constraint_spec, definition),
    FIELD_OF(FIELD_STRING, constraint_spec, other),
    {0},
};

/* ------------------------------------------------------------------------------------------- SQL
 */

static void expand(const struct constraint_spec *spec, const char *template, struct text *sql)
{
    sql_expand(sql, template,
               SQL_NAMES({"table", sql_table(spec->schema, spec->table)},
                         {"name", sql_ident(spec->name)},
                         {"definition", sql_fragment(spec->definition)}));
}

void online_constraint_add_sql(const struct constraint_spec *spec, struct text *sql)
{
    expand(spec, "ALTER TABLE {table} ADD CONSTRAINT {name} {definition}", sql);
}

static void validate_sql(const struct constraint_spec *spec, struct text *sql)
{
    expand(spec, "ALTER TABLE {table} VALIDATE CONSTRAINT {name}", sql);
}

void online_constraint_drop_sql(const struct constraint_spec *spec, struct text *sql)
{
    expand(spec, "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}", sql);
}

void online_constraint_tables_sql(const struct constraint_spec *spec, struct text *sql)
{
    expand(spec, "ONLY {table}", sql);
    if (spec->other != NULL)
        text_appendf(sql, ", ONLY %s", spec->other);
}

const char *online_constraint_add_mode(const struct constraint_spec *spec)
{
    return spec->type == 'f' ? "SHARE ROW EXCLUSIVE" : "ACCESS EXCLUSIVE";
}

void online_constraint_print_add(struct run *run, const struct constraint_spec *spec,
                                 struct text *script)
{
    TEXT_AUTO tables = {0};
    TEXT_AUTO sql = {0};

    online_constraint_tables_sql(spec, &tables);
    online_constraint_add_sql(spec, &sql);
    lock_print(run, text_string(&tables), online_constraint_add_mode(spec), script);
    session_print_set("statement_timeout", NUMBER(run->job.settings.lock_timeout_ms), true, script);
    sql_add(script, text_string(&sql));
    sql_add(script, SESSION_COMMIT);
}

void online_constraint_print_validate(struct run *run, const struct constraint_spec *spec,
                                      struct text *script)
{
    TEXT_AUTO sql = {0};

    validate_sql(spec, &sql);
    statement_print(run, text_string(&sql), script);
}

/* ---------------------------------------------------------------------------------- what is there
 */

/* $1 table, $2 name, $3 definition. Since 18 a constraint may be NOT ENFORCED. */
static const char LOOK[] =
    "SELECT k.oid, k.convalidated, k.contype,\n"
    "       coalesce(to_jsonb(k) ->> 'conenforced', 'true') = 'true',\n"
    "       coalesce(regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '')\n"
    "                = regexp_replace($3::text, ' NOT VALID$', ''), true)\n"
    "  FROM pg_constraint AS k WHERE k.conrelid = $1::oid AND k.conname = $2";

bool online_constraint_look(struct run *run, const struct constraint_spec *spec,
                            struct constraint_look *look, struct error *error)
{
    ROWS_AUTO rows = {0};

    *look = (struct constraint_look){0};
    if (!session_query(run->session, &rows, LOOK,
                       PARAMS(NUMBER(spec->table_oid), spec->name, spec->definition), error))
        return false;
    if (rows_count(&rows) == 0)
        return true;
    *look = (struct constraint_look){
        .exists = true,
        .oid = (uint32_t)rows_int64(&rows, 0, 0),
        .valid = rows_bool(&rows, 0, 1),
        .type = rows_text(&rows, 0, 2)[0],
        .enforced = rows_bool(&rows, 0, 3),
        .same = rows_bool(&rows, 0, 4),
    };
    return true;
}

bool online_constraint_accept(const struct constraint_spec *spec,
                              const struct constraint_look *look, struct error *error)
{
    if (!look->exists || look->same)
        return true;
    error_set(error, ERROR_REFUSED, "%s.%s has another constraint %s already", spec->schema,
              spec->table, spec->name);
    return error_hint(error, "give the new one another name, or drop that one");
}

/* -------------------------------------------------------------------------------------------- add
 */

/* What scans the table under a strong lock is cut off. */
static bool limit_work(struct run *run, struct error *error)
{
    return session_set(run->session, "statement_timeout", NUMBER(run->job.settings.lock_timeout_ms),
                       true, error);
}

static bool run_refusable(struct run *run, const struct text *sql, struct error *error)
{
    return run_ddl(run, text_string(sql), error) || error_refuse(error, NULL);
}

/* In the transaction that has the lock. */
static bool add_under_lock(struct run *run, const struct constraint_spec *spec,
                           constraint_added *added, const struct lock_report *lock,
                           struct error *error)
{
    int64_t start_us = clock_us();
    struct constraint_look look;
    TEXT_AUTO sql = {0};

    online_constraint_add_sql(spec, &sql);
    return limit_work(run, error) && run_refusable(run, &sql, error) &&
           online_constraint_look(run, spec, &look, error) &&
           (added == NULL || added(run, spec, look.oid, error)) &&
           job_add_lock(run->session, &run->job, "add", online_constraint_add_mode(spec),
                        lock->waited_us / 1000, (clock_us() - start_us) / 1000, lock->attempts,
                        error) &&
           session_commit(run->session, error);
}

bool online_constraint_add(struct run *run, const struct constraint_spec *spec,
                           constraint_added *added, struct error *error)
{
    struct constraint_look look;
    struct lock_report lock;
    TEXT_AUTO tables = {0};

    if (spec->definition == NULL)
        return true;
    if (!online_constraint_look(run, spec, &look, error) ||
        !online_constraint_accept(spec, &look, error))
        return false;
    if (look.exists)
        return true;
    online_constraint_tables_sql(spec, &tables);
    if (lock_tables(run, text_string(&tables), online_constraint_add_mode(spec), &lock, error) &&
        add_under_lock(run, spec, added, &lock, error))
        return true;
    session_rollback(run->session);
    return false;
}

/* --------------------------------------------------------------------------------------- validate
 */

/* $1 = oid of a check. */
static const char CONDITION[] =
    "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint WHERE oid = $1::oid";

/* The server names the key of a foreign key that leads nowhere; of a check it says less. */
static bool explain_failure(struct run *run, const struct constraint_spec *spec,
                            const struct constraint_look *look, struct error *error)
{
    struct error ignored = {0};
    ROWS_AUTO rows = {0};
    TEXT_AUTO find = {0};

    if (strncmp(error->sqlstate, "23", 2) != 0 || stop_wanted(run->stop))
        return false;
    if (look->type == 'c' &&
        session_query(run->session, &rows, CONDITION, PARAMS(NUMBER(look->oid)), &ignored) &&
        rows_count(&rows) == 1)
        sql_expand(&find, "SELECT * FROM {table} WHERE NOT ({condition}) finds them; ",
                   SQL_NAMES({"table", sql_table(spec->schema, spec->table)},
                             {"condition", sql_fragment(rows_text(&rows, 0, 0))}));
    return error_hint(error, "%smend the rows, then pghaul resume %s", text_string(&find),
                      SHELL_WORD(run->job.name));
}

static bool run_statement(struct run *run, const struct constraint_spec *spec,
                          const struct statement *statement, bool *gave, struct error *error)
{
    TEXT_AUTO what = {0};
    struct unpaced unpaced;
    bool ok;

    text_appendf(&what, "validation of %s", spec->name);
    if (!unpaced_scan(run->session, spec->table_oid, &unpaced, error) ||
        !pace_unpaced_begin(run, text_string(&what), unpaced.wal_bytes, unpaced.seconds, error))
        return false;
    ok = statement_run(run, statement, gave, error);
    pace_unpaced_end(run);
    return ok;
}

bool online_constraint_validate(struct run *run, const struct constraint_spec *spec,
                                struct error *error)
{
    struct statement statement = {
        .what = "validation",
        .limit_ms = run->job.settings.snapshot_wait_ms,
        .heeds_abort = true,
    };
    TEXT_AUTO sql = {0};
    int gave_way = 0;

    validate_sql(spec, &sql);
    statement.sql = text_string(&sql);
    for (;;) {
        struct constraint_look look;
        bool gave;

        if (!online_constraint_look(run, spec, &look, error))
            return false;
        if (!look.exists)
            return error_set(error, ERROR_REFUSED, "%s.%s has no constraint %s any more",
                             spec->schema, spec->table, spec->name);
        if (look.valid)
            return true;
        if (!run_statement(run, spec, &statement, &gave, error))
            return explain_failure(run, spec, &look, error);
        if (gave ? !statement_pause(run, &statement, ++gave_way, error)
                 : !job_event(run->session, run->job.id, "ddl", error, "%s", text_string(&sql)))
            return false;
    }
}

/* ------------------------------------------------------------------------------------------- drop
 */

static bool is_wanted(const struct constraint_look *look, uint32_t oid)
{
    return look->exists && (oid == 0 ? look->same : look->oid == oid);
}

/* Another one may have its name by now. */
static bool drop_under_lock(struct run *run, const struct constraint_spec *spec, uint32_t oid,
                            struct error *error)
{
    struct constraint_look look;
    TEXT_AUTO sql = {0};

    online_constraint_drop_sql(spec, &sql);
    return limit_work(run, error) && online_constraint_look(run, spec, &look, error) &&
           (!is_wanted(&look, oid) || run_refusable(run, &sql, error)) &&
           session_commit(run->session, error);
}

bool online_constraint_drop(struct run *run, const struct constraint_spec *spec, uint32_t oid,
                            struct error *error)
{
    struct constraint_look look;
    struct lock_report lock;
    TEXT_AUTO tables = {0};

    if (!online_constraint_look(run, spec, &look, error))
        return false;
    if (!is_wanted(&look, oid))
        return true;
    online_constraint_tables_sql(spec, &tables);
    if (lock_tables(run, text_string(&tables), "ACCESS EXCLUSIVE", &lock, error) &&
        drop_under_lock(run, spec, oid, error))
        return true;
    session_rollback(run->session);
    return false;
}
