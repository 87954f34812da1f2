#include <string.h>

#include "copy/kinds/column_not_null_parts.h"
#include "copy/lock.h"
#include "copy/statement.h"
#include "copy/unpaced.h"
#include "engine/pg/sql.h"
#include "engine/pg/sqlstate.h"

enum { NAMED_SINCE = 180000 }; /* NOT NULL is a constraint that has a name, and may be NOT VALID */

const struct field not_null_FIELDS[] = {
    FIELD_OF(FIELD_STRING, not_null, column),
    FIELD_LIST_OF(not_null, constraint, constraint_count, constraint_spec),
    {0},
};

static void expand(const struct not_null *not_null, const char *template, struct text *sql)
{
    sql_expand(
        sql, template,
        SQL_NAMES({"table", sql_table(not_null->constraint->schema, not_null->constraint->table)},
                  {"column", sql_ident(not_null->column)}));
}

/* ---------------------------------------------------------------------------------- what is there
 */

/* $1 table, $2 column. Since 18 attnotnull says nothing of rows from before. */
static const char LOOK[] =
    "SELECT a.attnotnull AND k.conname IS NULL, k.conname,\n"
    "       (SELECT max(s.null_frac) FROM pg_stats AS s\n"
    "         WHERE (s.schemaname, s.tablename, s.attname) = (n.nspname, c.relname, a.attname))\n"
    "  FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid\n"
    "  JOIN pg_namespace AS n ON n.oid = c.relnamespace\n"
    "  LEFT JOIN pg_constraint AS k ON k.conrelid = a.attrelid AND k.contype = 'n'\n"
    "        AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated\n"
    " WHERE a.attrelid = $1::oid AND a.attname = $2 AND NOT a.attisdropped";

bool not_null_look(struct run *run, uint32_t table_oid, const char *column, struct arena *arena,
                   struct not_null_look *look, struct error *error)
{
    ROWS_AUTO rows = {0};

    *look = (struct not_null_look){0};
    if (!session_query(run->session, &rows, LOOK, PARAMS(NUMBER(table_oid), column), error))
        return false;
    if (rows_count(&rows) == 0)
        return true;
    *look = (struct not_null_look){
        .exists = true,
        .set = rows_bool(&rows, 0, 0),
        .name = arena != NULL ? arena_copy(arena, rows_text(&rows, 0, 1)) : NULL,
        .null_part = rows_double(&rows, 0, 2),
    };
    return true;
}

static bool is_set(struct run *run, const struct not_null *not_null, bool *set, struct error *error)
{
    struct not_null_look look;

    *set = false;
    if (!not_null_look(run, not_null->constraint->table_oid, not_null->column, NULL, &look, error))
        return false;
    *set = look.set;
    return look.exists ||
           error_set(error, ERROR_REFUSED, "%s.%s has no column %s any more",
                     not_null->constraint->schema, not_null->constraint->table, not_null->column);
}

/* ------------------------------------------------------------------------------------------- plan
 */

/*
 * As pg_get_constraintdef() prints them. $1 column, $2 table, $3 name or NULL. The name that the
 * server would give to a NOT NULL, unless something has it: then the other one.
 */
static const char PLAN[] =
    "SELECT format('CHECK ((%I IS NOT NULL)) NOT VALID', $1::text),\n"
    "       format('NOT NULL %I NOT VALID', $1::text),\n"
    "       coalesce($3::text, CASE WHEN EXISTS (\n"
    "           SELECT FROM pg_constraint AS k\n"
    "            WHERE k.connamespace = c.relnamespace AND k.conname = wanted.name)\n"
    "           THEN format('pghaul_%s_not_null', c.oid) ELSE wanted.name END),\n"
    "       format('pghaul_%s_filled', c.oid)\n"
    "  FROM pg_class AS c,\n"
    "       LATERAL (SELECT concat_ws('_', c.relname, $1::text, 'not_null')) AS l(long),\n"
    "       LATERAL (SELECT CASE WHEN octet_length(l.long) < 64 THEN l.long\n"
    "                            ELSE format('pghaul_%s_not_null', c.oid) END) AS wanted(name)\n"
    " WHERE c.oid = $2::oid";

bool not_null_plan(struct run *run, const struct table *table, const char *column, const char *name,
                   struct arena *arena, struct not_null *not_null, struct error *error)
{
    bool named = session_server_version(run->session) >= NAMED_SINCE;
    ROWS_AUTO rows = {0};

    if (!session_query(run->session, &rows, PLAN, PARAMS(column, NUMBER(table->oid), name), error))
        return false;
    *not_null = (struct not_null){
        .column = arena_copy(arena, column),
        .constraint = arena_alloc(arena, sizeof(*not_null->constraint)),
        .constraint_count = 1,
    };
    *not_null->constraint = (struct constraint_spec){
        .table_oid = table->oid,
        .schema = arena_copy(arena, table->schema),
        .table = arena_copy(arena, table->name),
        .name = arena_copy(arena, rows_text(&rows, 0, named ? 2 : 3)),
        .type = named ? 'n' : 'c',
        .definition = arena_copy(arena, rows_text(&rows, 0, named ? 1 : 0)),
    };
    return true;
}

/* ------------------------------------------------------------------------------------------- scan
 */

/* In a session of its own, which an abort ends: it may take as long as reading the table does. */
static void scan_sql(const struct not_null *not_null, struct text *sql)
{
    TEXT_AUTO body = {0};

    expand(not_null,
           "BEGIN\n"
           "    IF EXISTS (SELECT FROM ONLY {table} WHERE {column} IS NULL) THEN\n"
           "        RAISE not_null_violation;\n"
           "    END IF;\n"
           "END",
           &body);
    sql_expand(sql, "DO {body}", SQL_NAMES({"body", sql_body(text_string(&body))}));
}

void not_null_print_scan(const struct not_null *not_null, struct text *script)
{
    TEXT_AUTO sql = {0};

    scan_sql(not_null, &sql);
    sql_add(script, text_string(&sql));
}

bool not_null_scan(struct run *run, const struct not_null *not_null, bool *found,
                   struct error *error)
{
    struct statement statement = {
        .what = "search for rows with NULL",
        .limit_ms = run->job.settings.snapshot_wait_ms,
        .heeds_abort = true,
    };
    TEXT_AUTO sql = {0};
    struct unpaced unpaced;
    bool set = false;
    bool gave_way;
    bool ok;

    *found = false;
    if (!is_set(run, not_null, &set, error) || set)
        return set;
    scan_sql(not_null, &sql);
    statement.sql = text_string(&sql);
    if (!unpaced_scan(run->session, not_null->constraint->table_oid, &unpaced, error) ||
        !pace_unpaced_begin(run, statement.what, unpaced.wal_bytes, unpaced.seconds, error))
        return false;
    ok = statement_run(run, &statement, &gave_way, error);
    pace_unpaced_end(run);
    if (ok)
        return true;
    if (strcmp(error->sqlstate, SQLSTATE_NOT_NULL_VIOLATION) != 0)
        return false;
    error_clear(error);
    *found = true;
    return true;
}

bool not_null_refuse(const struct run *run, const struct not_null *not_null, struct error *error)
{
    TEXT_AUTO find = {0};
    TEXT_AUTO table = {0};
    TEXT_AUTO set = {0};
    TEXT_AUTO where = {0};

    expand(not_null, "SELECT * FROM {table} WHERE {column} IS NULL", &find);
    expand(not_null, "{table}", &table);
    expand(not_null, "{column} = ..", &set);
    expand(not_null, "{column} IS NULL", &where);
    error_set(error, ERROR_REFUSED, "%s.%s has rows in which column %s is NULL",
              not_null->constraint->schema, not_null->constraint->table, not_null->column);
    error_detail(error, "%s finds them", text_string(&find));
    return error_hint(error,
                      "mend them, then pghaul resume %s; if they are many: pghaul abort %s, pghaul "
                      "backfill %s --set %s --where %s, and begin again",
                      SHELL_WORD(run->job.name), SHELL_WORD(run->job.name),
                      SHELL_WORD(text_string(&table)), SHELL_WORD(text_string(&set)),
                      SHELL_WORD(text_string(&where)));
}

/* ------------------------------------------------------------------------------------------ steps
 */

bool not_null_check(struct run *run, const struct not_null *not_null, constraint_added *added,
                    struct error *error)
{
    bool set;

    return is_set(run, not_null, &set, error) &&
           (set || online_constraint_add(run, not_null->constraint, added, error));
}

bool not_null_validate(struct run *run, const struct not_null *not_null, struct error *error)
{
    bool set;

    if (!is_set(run, not_null, &set, error))
        return false;
    if (set || online_constraint_validate(run, not_null->constraint, error))
        return true;
    return strncmp(error->sqlstate, "23", 2) == 0 && !stop_wanted(run->stop)
               ? not_null_refuse(run, not_null, error)
               : false;
}

static void set_sql(const struct not_null *not_null, bool set, struct text *sql)
{
    if (!set)
        expand(not_null, "ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL;\n", sql);
    online_constraint_drop_sql(not_null->constraint, sql);
}

struct change {
    const struct not_null *not_null;
    bool (*was_set)(struct run *run, bool by_us, struct error *error);
};

/* The check and what it is for change places in one transaction: no row with NULL comes between. */
static bool set_under_lock(struct run *run, void *arg, struct error *error)
{
    const struct change *change = arg;
    TEXT_AUTO sql = {0};
    bool set;

    if (!is_set(run, change->not_null, &set, error))
        return false;
    set_sql(change->not_null, set, &sql);
    return run_ddl(run, text_string(&sql), error) &&
           (change->was_set == NULL || change->was_set(run, !set, error));
}

bool not_null_set(struct run *run, const struct not_null *not_null,
                  bool (*was_set)(struct run *run, bool by_us, struct error *error),
                  struct error *error)
{
    struct change change = {not_null, was_set};
    struct constraint_look look;
    bool set;

    if (not_null->constraint->type == 'n')
        return true;
    if (!is_set(run, not_null, &set, error) ||
        !online_constraint_look(run, not_null->constraint, &look, error))
        return false;
    if (set && !look.exists)
        return true;
    return not_null_change(run, not_null, "not null", set_under_lock, &change, error);
}

bool not_null_change(struct run *run, const struct not_null *not_null, const char *what_for,
                     bool (*work)(struct run *run, void *arg, struct error *error), void *arg,
                     struct error *error)
{
    struct lock_change change = {
        .what_for = what_for, .mode = "ACCESS EXCLUSIVE", .work = work, .arg = arg};
    struct lock_report lock;
    TEXT_AUTO tables = {0};

    online_constraint_tables_sql(not_null->constraint, &tables);
    change.tables = text_string(&tables);
    return lock_and_change(run, &change, &lock, error);
}

void not_null_drop_sql(const struct not_null *not_null, struct text *sql)
{
    expand(not_null, "ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL", sql);
}

void not_null_print_set(struct run *run, const struct not_null *not_null, struct text *script)
{
    TEXT_AUTO tables = {0};
    TEXT_AUTO sql = {0};

    if (not_null->constraint->type == 'n')
        return;
    online_constraint_tables_sql(not_null->constraint, &tables);
    set_sql(not_null, false, &sql);
    lock_print(run, text_string(&tables), "ACCESS EXCLUSIVE", script);
    session_print_set("statement_timeout", NUMBER(run->job.settings.lock_timeout_ms), true, script);
    sql_add(script, text_string(&sql));
    sql_add(script, SESSION_COMMIT);
}
