#include <inttypes.h>
#include <string.h>

#include "copy/kinds/column_parts.h"
#include "copy/lock.h"
#include "engine/pg/sql.h"
#include "engine/pg/sqlstate.h"

bool column_is_there(struct run *run, const char *column, bool *yes, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(run->session, &rows,
                       "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = $1::oid\n"
                       "                  AND attname = $2 AND NOT attisdropped)",
                       PARAMS(NUMBER(column_plan_of(run)->table_oid), column), error))
        return false;
    *yes = rows_bool(&rows, 0, 0);
    return true;
}

static bool ddl_under_lock(struct run *run, void *arg, struct error *error)
{
    return run_ddl(run, arg, error);
}

/* On `table`: the column's own, or one that references it. */
static bool change_table(struct run *run, const char *what_for, uint32_t oid, const char *schema,
                         const char *table, const struct text *sql, struct error *error)
{
    struct lock_change change = {.what_for = what_for,
                                 .mode = "ACCESS EXCLUSIVE",
                                 .table_oid = oid,
                                 .work = ddl_under_lock,
                                 .arg = (void *)text_string(sql)};
    struct lock_report lock;
    TEXT_AUTO tables = {0};

    text_append(&tables, "ONLY ");
    sql_append(&tables, sql_table(schema, table));
    change.tables = text_string(&tables);
    return lock_and_change(run, &change, &lock, error);
}

/* ---------------------------------------------------------------------------------------- finish
 */

/* An index of the twin's takes the place of the column's, which has gone with it. */
static void index_sql(const struct column_plan *plan, const struct twin_index *index,
                      struct text *sql)
{
    bool is_primary_already = index->constraint_type == 'p' && plan->primary_tail != NULL;
    const struct sql_name *names =
        SQL_NAMES({"table", sql_table(plan->schema, plan->table)},
                  {"twin", sql_table(plan->schema, index->twin_name)},
                  {"twin_name", sql_ident(index->twin_name)}, {"name", sql_ident(index->name)},
                  {"kind", sql_fragment(index->constraint_type == 'p' ? "PRIMARY KEY" : "UNIQUE")});

    if (index->constraint_type == '\0')
        sql_expand(sql, "ALTER INDEX {twin} RENAME TO {name};\n", names);
    else if (!is_primary_already)
        sql_expand(sql,
                   "ALTER TABLE {table} ADD CONSTRAINT {name} {kind} USING INDEX {twin_name};\n",
                   names);
    column_index_marks_sql(plan, index, sql);
    if (index->replica_identity)
        sql_expand(sql, "ALTER TABLE {table} REPLICA IDENTITY USING INDEX {name};\n", names);
}

static void constraint_sql(const struct twin_constraint *constraint, struct text *sql)
{
    const struct sql_name *names =
        SQL_NAMES({"table", sql_table(constraint->schema, constraint->table)},
                  {"twin", sql_ident(constraint->twin_name)}, {"name", sql_ident(constraint->name)},
                  {"comment", sql_literal(constraint->comment)});

    sql_expand(sql, "ALTER TABLE {table} RENAME CONSTRAINT {twin} TO {name};\n", names);
    if (constraint->comment != NULL)
        sql_expand(sql, "COMMENT ON CONSTRAINT {name} ON {table} IS {comment};\n", names);
}

static void statistics_sql(const struct twin_statistics *statistics, struct text *sql)
{
    const struct sql_name *names =
        SQL_NAMES({"twin", sql_table(statistics->schema, statistics->twin_name)},
                  {"name", sql_ident(statistics->name)},
                  {"new", sql_table(statistics->schema, statistics->name)},
                  {"comment", sql_literal(statistics->comment)});

    sql_expand(sql, "ALTER STATISTICS {twin} RENAME TO {name};\n", names);
    if (statistics->comment != NULL)
        sql_expand(sql, "COMMENT ON STATISTICS {new} IS {comment};\n", names);
}

void column_not_null_sql(const struct column_plan *plan, const char *name, struct text *sql)
{
    const struct twin *twin = plan->twin;
    const struct sql_name *names = SQL_NAMES(
        {"table", sql_table(plan->schema, plan->table)}, {"from", sql_ident(name)},
        {"to", sql_ident(twin->not_null_name)}, {"comment", sql_literal(twin->not_null_comment)});

    if (strcmp(name, twin->not_null_name) != 0)
        sql_expand(sql, "ALTER TABLE {table} RENAME CONSTRAINT {from} TO {to};\n", names);
    if (twin->not_null_comment != NULL)
        sql_expand(sql, "COMMENT ON CONSTRAINT {to} ON {table} IS {comment};\n", names);
}

/* 18 names NOT NULL constraints: the twin's is called after the name that it had then. */
static bool not_null_sql(struct run *run, struct text *sql, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    const char *wanted = plan->twin->not_null_name;
    ROWS_AUTO rows = {0};

    if (!plan->twin->not_null || wanted == NULL)
        return true;
    if (!session_query(run->session, &rows,
                       "SELECT k.conname FROM pg_constraint AS k\n"
                       "  JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attname = $2\n"
                       "       AND k.conkey = ARRAY[a.attnum]\n"
                       " WHERE k.conrelid = $1::oid AND k.contype = 'n'",
                       PARAMS(NUMBER(plan->table_oid), plan->new_name), error))
        return false;
    if (rows_count(&rows) == 1)
        column_not_null_sql(plan, rows_text(&rows, 0, 0), sql);
    return true;
}

void column_finish_sql(const struct run *run, struct text *sql)
{
    const struct column_plan *plan = column_plan_of(run);
    const struct twin *twin = plan->twin;
    struct sync sync = column_sync(run, true);

    sync_detach_sql(&sync, sql);
    column_expand(plan, "ALTER TABLE {table} DROP COLUMN {column};\n", plan->hidden, sql);
    for (int i = 0; i < twin->index_count; i++)
        index_sql(plan, &twin->indexes[i], sql);
    for (int i = 0; i < twin->constraint_count; i++)
        if (twin->constraints[i].table_oid == plan->table_oid)
            constraint_sql(&twin->constraints[i], sql);
    for (int i = 0; i < twin->statistics_count; i++)
        statistics_sql(&twin->statistics[i], sql);
}

static bool drop_column(struct run *run, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    TEXT_AUTO sql = {0};
    bool there;

    if (!column_is_there(run, plan->hidden, &there, error))
        return false;
    if (!there)
        return true;
    column_finish_sql(run, &sql);
    return not_null_sql(run, &sql, error) &&
           change_table(run, "finish", plan->table_oid, plan->schema, plan->table, &sql, error);
}

/* The other tables' foreign keys get their names back: each under its own lock, after the column
 * has gone, for until then a rollback wants the names. */
static bool rename_references(struct run *run, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    const struct twin *twin = plan->twin;

    for (int i = 0; i < twin->constraint_count; i++) {
        const struct twin_constraint *constraint = &twin->constraints[i];
        struct constraint_spec spec = column_twin_spec(constraint);
        struct constraint_look look;
        TEXT_AUTO sql = {0};

        if (constraint->table_oid == plan->table_oid)
            continue;
        if (!online_constraint_look(run, &spec, &look, error))
            return false;
        constraint_sql(constraint, &sql);
        if (look.exists && !change_table(run, "finish", constraint->table_oid, constraint->schema,
                                         constraint->table, &sql, error))
            return false;
    }
    return true;
}

void column_finish_print(struct run *run, struct text *script)
{
    const struct column_plan *plan = column_plan_of(run);

    for (int i = 0; i < plan->twin->constraint_count; i++) {
        const struct twin_constraint *constraint = &plan->twin->constraints[i];
        TEXT_AUTO tables = {0};
        TEXT_AUTO sql = {0};

        if (constraint->table_oid == plan->table_oid)
            continue;
        text_append(&tables, "ONLY ");
        sql_append(&tables, sql_table(constraint->schema, constraint->table));
        constraint_sql(constraint, &sql);
        lock_print_change(run, text_string(&tables), "ACCESS EXCLUSIVE", text_string(&sql), script);
    }
}

void column_forget_sql(const struct run *run, struct text *sql)
{
    struct sync sync = column_sync(run, false);

    sync_drop_sql(&sync, sql);
    batch_drop_sql(run->job.id, true, sql);
}

/* The last step: what only we know, and the job's state, in one transaction. */
static bool forget(struct run *run, const char *state, struct error *error)
{
    TEXT_AUTO sql = {0};

    column_forget_sql(run, &sql);
    if (session_begin(run->session, error) && run_ddl(run, text_string(&sql), error) &&
        job_set_state(run->session, &run->job, state, NULL, error) &&
        session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return false;
}

/* The check goes with its column; foreign keys would be in its way. */
bool column_settle_references(struct run *run, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    bool there;

    if (!column_is_there(run, plan->hidden, &there, error))
        return false;
    for (int i = 0; there && plan->primary_tail != NULL && i < plan->before->constraint_count;
         i++) {
        const struct twin_constraint *constraint = &plan->twin->constraints[i];
        struct constraint_spec twin = column_twin_spec(constraint);
        struct constraint_spec hidden = column_restore_spec(constraint);
        struct constraint_look look;

        if (!column_is_referenced_by(constraint))
            continue;
        twin.definition = NULL;
        hidden.definition = plan->before->constraints[i].definition;
        if (!online_constraint_look(run, &twin, &look, error))
            return false;
        if (!look.exists)
            return job_refuse(&run->job, "is half rolled back", "pghaul rollback completes that",
                              error);
        if (!online_constraint_drop(run, &hidden, 0, error))
            return false;
    }
    return true;
}

static bool finish_column(struct run *run, struct error *error)
{
    return column_settle_references(run, error) && drop_column(run, error);
}

/* Of DROP COLUMN: what depends on it is in the server's detail. */
static bool refuse_dependents(struct run *run, const char *keep, const char *verb,
                              struct error *error)
{
    if (strcmp(error->sqlstate, SQLSTATE_DEPENDENT_OBJECTS) != 0)
        return false;
    error->code = ERROR_REFUSED;
    return error_hint(error, "let them use %s, or drop them, then pghaul %s %s", keep, verb,
                      SHELL_WORD(run->job.name));
}

static bool hint_finish(const struct run *run, struct error *error)
{
    return error->hint[0] == '\0' &&
           error_hint(error, "the old column is dropped: pghaul finish %s completes that",
                      SHELL_WORD(run->job.name));
}

bool column_finish(struct run *run, struct error *error)
{
    if (finish_column(run, error))
        return (rename_references(run, error) && forget(run, "finished", error)) ||
               hint_finish(run, error);
    return refuse_dependents(run, column_plan_of(run)->new_name, "finish", error);
}

/* ----------------------------------------------------------------------------------------- abort
 */

/* A serial's sequence that a swap made wider, if its last value still fits. */
static void narrow_sql(const struct column_plan *plan, struct text *sql)
{
    TEXT_AUTO body = {0};
    const struct sql_name *names = SQL_NAMES({"sequence", sql_fragment(plan->twin->sequence)},
                                             {"type", sql_fragment(plan->sequence_type)},
                                             {"sequence_name", sql_literal(plan->twin->sequence)},
                                             {"type_name", sql_literal(plan->sequence_type)});

    if (plan->sequence_type == NULL)
        return;
    sql_expand(&body,
               "BEGIN\n"
               "    IF (SELECT s.seqtypid <> {type_name}::regtype FROM pg_sequence AS s\n"
               "         WHERE s.seqrelid = {sequence_name}::regclass) THEN\n"
               "        ALTER SEQUENCE {sequence} AS {type};\n"
               "    END IF;\n"
               "EXCEPTION WHEN invalid_parameter_value THEN NULL; -- past what that type holds\n"
               "END",
               names);
    sql_expand(sql, "DO {body};\n", SQL_NAMES({"body", sql_body(text_string(&body))}));
}

static void drop_twin_sql(const struct column_plan *plan, const struct sync *sync, struct text *sql)
{
    TEXT_AUTO spare = {0};

    sync_detach_sql(sync, sql);
    column_expand(plan, "ALTER TABLE {table} DROP COLUMN IF EXISTS {column};\n", plan->twin_column,
                  sql);
    if (plan->primary_tail != NULL)
        sql_expand(
            sql, "DROP INDEX IF EXISTS {name};\n",
            SQL_NAMES({"name", sql_table(plan->schema, column_spare_spec(plan, &spare).name)}));
}

static bool drop_twin_references(struct run *run, struct error *error)
{
    const struct twin *twin = column_plan_of(run)->twin;

    for (int i = 0; i < twin->constraint_count; i++) {
        struct constraint_spec spec = column_twin_spec(&twin->constraints[i]);

        if (column_is_referenced_by(&twin->constraints[i]) &&
            !online_constraint_drop(run, &spec, 0, error))
            return false;
    }
    return true;
}

/* What takes something from the twin: whoever goes on all the same gives it back first. */
static bool unready(struct run *run, struct error *error)
{
    return (strcmp(run->job.phase, "verify") != 0 && strcmp(run->job.phase, "ready") != 0) ||
           (phases_reset(run, "constrain", error) &&
            job_set_state(run->session, &run->job, "running", NULL, error));
}

bool column_abort(struct run *run, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    struct sync sync = column_sync(run, false);
    TEXT_AUTO sql = {0};
    bool there;

    if (!column_is_there(run, plan->twin_column, &there, error) || !unready(run, error) ||
        !column_restore_references(run, error) || !drop_twin_references(run, error))
        return false;
    drop_twin_sql(plan, &sync, &sql);
    text_append(&sql, COLUMN_SEQUENCE_WAIT);
    narrow_sql(plan, &sql);
    if (there &&
        !change_table(run, "abort", plan->table_oid, plan->schema, plan->table, &sql, error))
        return refuse_dependents(run, plan->column, "abort", error);
    return forget(run, "aborted", error);
}

/* A foreign key to the column, where a try of the cut-over has taken it. */
static void restore_sql(const struct twin_constraint *constraint, struct text *sql)
{
    struct constraint_spec spec = column_restore_spec(constraint);
    TEXT_AUTO add = {0};
    TEXT_AUTO comment = {0};
    TEXT_AUTO body = {0};

    online_constraint_add_sql(&spec, &add);
    column_comment_sql(constraint, &comment);
    sql_expand(&body,
               "BEGIN\n"
               "    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = {oid}::oid\n"
               "                      AND conname = {name}) THEN\n"
               "        {add};\n"
               "        {comment}"
               "    END IF;\n"
               "END",
               SQL_NAMES({"oid", sql_fragment(NUMBER(constraint->table_oid))},
                         {"name", sql_literal(constraint->name)},
                         {"add", sql_fragment(text_string(&add))},
                         {"comment", sql_fragment(text_string(&comment))}));
    sql_expand(sql, "DO {body};\n", SQL_NAMES({"body", sql_body(text_string(&body))}));
}

/* And valid again, as it was: in a transaction of its own, because that reads the table. */
static void revalidate_sql(const struct twin_constraint *constraint, struct text *sql)
{
    TEXT_AUTO body = {0};

    sql_expand(&body,
               "BEGIN\n"
               "    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = {oid}::oid\n"
               "                  AND conname = {name_literal} AND NOT convalidated) THEN\n"
               "        ALTER TABLE {table} VALIDATE CONSTRAINT {name};\n"
               "    END IF;\n"
               "END",
               SQL_NAMES({"oid", sql_fragment(NUMBER(constraint->table_oid))},
                         {"name_literal", sql_literal(constraint->name)},
                         {"table", sql_table(constraint->schema, constraint->table)},
                         {"name", sql_ident(constraint->name)}));
    sql_expand(sql, "DO {body};\n", SQL_NAMES({"body", sql_body(text_string(&body))}));
}

/* For psql, before a cut-over. The order is that of column_abort(). */
void column_leave_sql(struct run *run, struct text *sql)
{
    const struct column_plan *plan = column_plan_of(run);
    const struct twin *twin = plan->twin;
    struct sync sync = column_sync(run, false);

    sql_note(sql, "takes job %s out of the database before its cut-over; for psql", run->job.name);
    text_append(sql, "\\set ON_ERROR_STOP on\nBEGIN;\nSET LOCAL lock_timeout = '5s';\n");
    for (int i = 0; i < twin->constraint_count; i++)
        if (column_is_referenced_by(&twin->constraints[i])) {
            struct constraint_spec spec = column_twin_spec(&twin->constraints[i]);

            restore_sql(&twin->constraints[i], sql);
            online_constraint_drop_sql(&spec, sql);
            text_append(sql, ";\n");
        }
    drop_twin_sql(plan, &sync, sql);
    narrow_sql(plan, sql);
    column_forget_sql(run, sql);
    job_end_sql(run->job.id, sql);
    text_append(sql, "COMMIT;\n");
    for (int i = 0; i < twin->constraint_count; i++)
        if (column_is_referenced_by(&twin->constraints[i]) && twin->constraints[i].validated &&
            twin->constraints[i].enforced)
            revalidate_sql(&twin->constraints[i], sql);
}
