#include <string.h>

#include "copy/kinds/column_drop_parts.h"
#include "engine/pg/sql.h"

/* -------------------------------------------------------------------------------------------- read
 */

/* $1 table, $2 column. Since 18 NOT NULL is a constraint of the table. */
static const char READ[] =
    "SELECT coalesce(k.conname, format('pghaul_%s_filled', a.attrelid)),\n"
    "       CASE WHEN k.oid IS NULL THEN 'c' ELSE 'n' END,\n"
    "       CASE WHEN k.oid IS NULL\n"
    "            THEN format('CHECK ((%I IS NOT NULL))', a.attname)\n"
    "            ELSE regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '')\n"
    "       END || ' NOT VALID',\n"
    "       k.convalidated IS FALSE, obj_description(k.oid, 'pg_constraint')\n"
    "  FROM pg_attribute AS a\n"
    "  LEFT JOIN pg_constraint AS k ON k.conrelid = a.attrelid AND k.contype = 'n'\n"
    "        AND k.conkey = ARRAY[a.attnum]\n"
    " WHERE a.attrelid = $1::oid AND a.attname = $2 AND NOT a.attisdropped\n"
    "   AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''";

bool column_drop_read_not_null(struct session *session, struct drop_plan *plan, struct error *error)
{
    struct arena *arena = &plan->arena;
    struct not_null *not_null;
    ROWS_AUTO rows = {0};

    plan->not_null_count = 0;
    if (!session_query(session, &rows, READ, PARAMS(NUMBER(plan->table_oid), plan->column), error))
        return false;
    if (rows_count(&rows) == 0)
        return true;
    plan->not_null = not_null = arena_alloc(arena, sizeof(*not_null));
    plan->not_null_count = 1;
    *not_null = (struct not_null){
        .column = plan->column,
        .constraint = arena_alloc(arena, sizeof(*not_null->constraint)),
        .constraint_count = 1,
    };
    *not_null->constraint = (struct constraint_spec){
        .table_oid = plan->table_oid,
        .schema = plan->schema,
        .table = plan->table,
        .name = arena_copy(arena, rows_text(&rows, 0, 0)),
        .type = rows_text(&rows, 0, 1)[0],
        .definition = arena_copy(arena, rows_text(&rows, 0, 2)),
    };
    plan->unchecked = rows_bool(&rows, 0, 3);
    plan->comment = arena_copy(arena, rows_text(&rows, 0, 4));
    return true;
}

/* ------------------------------------------------------------------------------------------
 * tighten
 */

static void expand(const struct drop_plan *plan, const char *template, struct text *sql)
{
    sql_expand(sql, template,
               SQL_NAMES({"name", sql_ident(plan->not_null->constraint->name)},
                         {"table", sql_table(plan->schema, plan->table)},
                         {"column", sql_ident(plan->column)},
                         {"comment", sql_literal(plan->comment)}));
}

static const char COMMENT[] = "COMMENT ON CONSTRAINT {name} ON {table} IS {comment};\n";

static bool comment_again(struct run *run, const struct constraint_spec *spec, uint32_t oid,
                          struct error *error)
{
    const struct drop_plan *plan = drop_plan_of(run);
    TEXT_AUTO sql = {0};

    (void)spec;
    (void)oid;
    if (plan->comment == NULL)
        return true;
    expand(plan, COMMENT, &sql);
    return run_ddl(run, text_string(&sql), error);
}

void column_drop_tighten_sql(const struct drop_plan *plan, struct text *sql)
{
    if (plan->not_null_count == 0)
        return;
    online_constraint_add_sql(plan->not_null->constraint, sql);
    text_append(sql, ";\n");
    if (plan->comment != NULL)
        expand(plan, COMMENT, sql);
    if (!plan->unchecked)
        expand(plan, "ALTER TABLE {table} VALIDATE CONSTRAINT {name};\n", sql);
    if (plan->not_null->constraint->type == 'c')
        expand(plan,
               "ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL;\n"
               "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name};\n",
               sql);
}

/* Not to be left NOT VALID: the application could not write those rows any more. */
static bool stay_nullable(struct run *run, const struct constraint_spec *spec, struct error *error)
{
    const struct drop_plan *plan = drop_plan_of(run);

    log_warning(run->log,
                "rows were inserted without column %s of %s.%s: it stays nullable; fill them, and "
                "after this job pghaul column not-null makes it NOT NULL",
                plan->column, plan->schema, plan->table);
    return (spec->definition == NULL || online_constraint_drop(run, spec, 0, error)) &&
           job_event(run->session, run->job.id, "warning", error,
                     "column %s stays nullable: rows were inserted without it", plan->column);
}

/* The reason why VALIDATE failed, if it is the rows. */
static bool rows_in_the_way(const struct error *error)
{
    return strncmp(error->sqlstate, "23", 2) == 0;
}

static bool add_and_validate(struct run *run, const struct not_null *not_null, struct error *error)
{
    struct constraint_look look;
    bool found = false;

    /* Without it, rows are looked at before: while it is there, they cannot be written. */
    if (!online_constraint_look(run, not_null->constraint, &look, error) ||
        (!look.exists && !not_null_scan(run, not_null, &found, error)))
        return false;
    if (found)
        return stay_nullable(run, not_null->constraint, error);
    if (!not_null_check(run, not_null, comment_again, error))
        return false;
    if (online_constraint_validate(run, not_null->constraint, error))
        return not_null_set(run, not_null, NULL, error);
    if (!rows_in_the_way(error))
        return false;
    error_clear(error);
    return stay_nullable(run, not_null->constraint, error);
}

bool column_drop_tighten(struct run *run, struct error *error)
{
    struct drop_plan *plan = drop_plan_of(run);
    struct not_null not_null;
    struct constraint_spec spec;
    struct not_null_look look;

    if (plan->not_null_count == 0)
        return true;
    not_null = *plan->not_null;
    spec = *not_null.constraint;
    not_null.constraint = &spec;
    if (!not_null_look(run, plan->table_oid, plan->column, &plan->arena, &look, error))
        return false;
    if (!look.exists)
        return true;
    if (look.set) /* a check may be left where somebody else was faster */
        return spec.type == 'n' || online_constraint_drop(run, &spec, 0, error);
    if (look.name != NULL && strcmp(look.name, spec.name) != 0) {
        spec.name = look.name; /* somebody else's: not ours to drop */
        spec.definition = NULL;
    }
    if (plan->unchecked)
        return look.name != NULL || not_null_check(run, &not_null, comment_again, error);
    return add_and_validate(run, &not_null, error);
}
