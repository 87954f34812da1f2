#include <string.h>

#include "copy/kinds/column_add_parts.h"
#include "copy/kinds/column_name.h"
#include "copy/lock.h"
#include "copy/statement.h"
#include "engine/pg/sql.h"
#include "engine/pg/sqlstate.h"

/* ----------------------------------------------------------------------------------- what it
 * cannot
 */

static bool refuse_rewrite(const struct column_add_preparation *prep, const char *what,
                           const char *why, struct error *error)
{
    error_set(error, ERROR_REFUSED, "%s cannot be added without a rewrite", what);
    error_detail(error, "%s", why);
    return error_hint(error, "pghaul alter %s --do 'ADD COLUMN ..' does it on a copy",
                      SHELL_WORD(prep->options->table));
}

static bool check_kind(const struct column_add_preparation *prep, struct error *error)
{
    const struct table_column *column = prep->added.column;

    if (column->identity != '\0') {
        error_set(error, ERROR_REFUSED, "an identity column cannot be added this way");
        error_detail(error, "the server numbers all rows at once, under its lock");
        return error_hint(error,
                          "let it be a serial (bigserial), or pghaul alter %s --do 'ADD "
                          "COLUMN ..' does it on a copy",
                          SHELL_WORD(prep->options->table));
    }
    if (column->generated && !column->generated_virtual)
        return refuse_rewrite(prep, "a stored generated column",
                              "the server computes it in all rows at once, under its lock", error);
    if (prep->added.rewrites && column->default_sql == NULL)
        return refuse_rewrite(prep, "a column of this type",
                              "its domain has constraints, which are checked in every row", error);
    return true;
}

static bool has_rows(struct column_add_preparation *prep, int64_t least, bool *yes,
                     struct error *error)
{
    TEXT_AUTO sql = {0};
    ROWS_AUTO rows = {0};

    sql_expand(&sql, "SELECT count(*) FROM (SELECT FROM ONLY {table} LIMIT {least}) AS r",
               SQL_NAMES({"table", sql_table(prep->plan->schema, prep->plan->table)},
                         {"least", sql_fragment(NUMBER(least))}));
    if (!session_query(prep->run->session, &rows, text_string(&sql), NO_PARAMS, error))
        return false;
    *yes = rows_int64(&rows, 0, 0) >= least;
    return true;
}

/* What every row would get, or none, and the constraints could not hold. */
static bool check_value(struct column_add_preparation *prep, struct error *error)
{
    const struct table_column *column = prep->added.column;
    bool no_value = column->not_null && column->default_sql == NULL;
    bool same = prep->plan->index_count > 0 && prep->added.constant;
    bool yes = false;

    if ((no_value || same) && !has_rows(prep, same ? 2 : 1, &yes, error))
        return false;
    if (!yes)
        return true;
    if (same)
        return error_set(error, ERROR_REFUSED,
                         "column %s is UNIQUE, and its default the same in every row",
                         column->name);
    error_set(error, ERROR_REFUSED, "column %s is NOT NULL, and the rows have no value for it",
              column->name);
    return error_hint(error, "give it a DEFAULT; or add it without NOT NULL, fill it (pghaul "
                             "backfill), then pghaul column not-null");
}

/* On a table of one row with nothing but the column. A check that reads others fails there for that
 * reason, which says nothing. */
static bool try_check(struct column_add_preparation *prep, const struct constraint_spec *spec,
                      struct error *error)
{
    const struct table_column *column = prep->added.column;
    size_t length = strlen(spec->definition) - strlen(" NOT VALID");
    struct error why = {0};
    TEXT_AUTO sql = {0};

    sql_expand(&sql,
               "CREATE TEMPORARY TABLE pghaul_one ();\n"
               "INSERT INTO pg_temp.pghaul_one DEFAULT VALUES;\n"
               "ALTER TABLE pg_temp.pghaul_one ADD COLUMN {column} {type} DEFAULT {default},\n"
               "    ADD {check}",
               SQL_NAMES({"column", sql_ident(column->name)}, {"type", sql_fragment(column->type)},
                         {"default",
                          sql_fragment(column->default_sql == NULL ? "NULL" : column->default_sql)},
                         {"check", sql_fragment(arena_format(&prep->arena, "%.*s", (int)length,
                                                             spec->definition))}));
    if (!session_run(prep->run->session, "SAVEPOINT try", error))
        return false;
    if (!session_run_text(prep->run->session, &sql, &why) &&
        strcmp(why.sqlstate, SQLSTATE_CHECK_VIOLATION) == 0) {
        error_set(error, ERROR_REFUSED, "the default of column %s does not satisfy %s",
                  column->name, spec->name);
        error_detail(error, "%.*s", (int)length, spec->definition);
        return error_hint(error, "each row would have that value");
    }
    return session_run(prep->run->session, "ROLLBACK TO SAVEPOINT try", error);
}

/* An application that updates a row from before would be refused by a check that is not valid. */
static bool try_checks(struct column_add_preparation *prep, struct error *error)
{
    const struct column_add_plan *plan = prep->plan;

    if (prep->added.rewrites || prep->added.column->generated)
        return true;
    for (int i = 0; i < plan->constraint_count; i++)
        if (plan->constraints[i].type == 'c' && column_add_is_enforced(&plan->constraints[i]) &&
            !try_check(prep, &plan->constraints[i], error))
            return false;
    return true;
}

/* ----------------------------------------------------------------------------------------- expand
 */

/* $1 schema, $2 name: the first of name, name1, .. that nothing has. */
static const char FREE_NAME[] =
    "SELECT t.name FROM generate_series(0, 99) AS n,\n"
    "       LATERAL (SELECT $2 || CASE n WHEN 0 THEN '' ELSE n::text END) AS t(name)\n"
    " WHERE octet_length(t.name) < 64 AND to_regclass(format('%I.%I', $1::text, t.name)) IS NULL\n"
    " ORDER BY n LIMIT 1";

static bool name_sequence(struct column_add_preparation *prep, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (prep->added.sequence == NULL)
        return true;
    if (!session_query(prep->run->session, &rows, FREE_NAME,
                       PARAMS(prep->plan->schema, prep->added.sequence), error))
        return false;
    if (rows_count(&rows) == 0)
        return error_set(error, ERROR_REFUSED, "there is a sequence %s already",
                         prep->added.sequence);
    prep->added.sequence = arena_copy(&prep->plan->arena, rows_text(&rows, 0, 0));
    return true;
}

/* Of the column, as SQL; in the arena. A serial's is over the clone's sequence. */
static const char *default_of(struct column_add_preparation *prep)
{
    TEXT_AUTO name = {0};
    TEXT_AUTO sql = {0};

    if (prep->added.sequence == NULL)
        return prep->added.column->default_sql;
    sql_append(&name, sql_table(prep->plan->schema, prep->added.sequence));
    sql_expand(&sql, "nextval({name}::regclass)",
               SQL_NAMES({"name", sql_literal(text_string(&name))}));
    return arena_copy(&prep->arena, text_string(&sql));
}

/* NOT NULL is proved by a default that is kept beside the rows: no row is read for it. */
static bool not_null_at_once(const struct column_add_preparation *prep)
{
    return prep->added.column->not_null && prep->added.constant;
}

static void column_sql(struct column_add_preparation *prep, struct text *sql)
{
    const struct table_column *column = prep->added.column;

    sql_expand(sql, "ALTER TABLE {table} ADD COLUMN {column} {type}",
               SQL_NAMES({"table", sql_table(prep->plan->schema, prep->plan->table)},
                         {"column", sql_ident(column->name)},
                         {"type", sql_fragment(column->type)}));
    if (column->collation != NULL)
        text_appendf(sql, " COLLATE %s", column->collation);
    if (column->generated)
        text_appendf(sql, " GENERATED ALWAYS AS (%s) VIRTUAL", column->default_sql);
    else if (column->default_sql != NULL && !prep->added.rewrites)
        text_appendf(sql, " DEFAULT %s", column->default_sql);
    if (not_null_at_once(prep)) {
        if (prep->added.not_null_name != NULL)
            sql_expand(sql, " CONSTRAINT {name}",
                       SQL_NAMES({"name", sql_ident(prep->added.not_null_name)}));
        text_append(sql, " NOT NULL");
    }
}

/* The slow way: what the statement before left out. A sequence that a column owns has its owner. */
static void default_sql(struct column_add_preparation *prep, struct text *sql)
{
    const struct sql_name *names = SQL_NAMES(
        {"table", sql_table(prep->plan->schema, prep->plan->table)},
        {"column", sql_ident(prep->added.column->name)},
        {"default", sql_fragment(default_of(prep))}, {"owner", sql_ident(prep->table->owner)},
        {"type", sql_fragment(prep->added.sequence_type)},
        {"sequence", sql_table(prep->plan->schema, prep->added.sequence)});

    if (prep->added.sequence != NULL)
        sql_expand(sql,
                   ";\nCREATE SEQUENCE {sequence} AS {type};\n"
                   "ALTER SEQUENCE {sequence} OWNER TO {owner};\n"
                   "ALTER SEQUENCE {sequence} OWNED BY {table}.{column}",
                   names);
    sql_expand(sql, ";\nALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {default}", names);
}

static bool plan_expand(struct column_add_preparation *prep, struct error *error)
{
    TEXT_AUTO sql = {0};

    if (!name_sequence(prep, error))
        return false;
    column_sql(prep, &sql);
    if (prep->added.rewrites)
        default_sql(prep, &sql);
    if (prep->added.attributes[0] != '\0')
        sql_expand(&sql, ";\nALTER TABLE {table} {attributes}",
                   SQL_NAMES({"table", sql_table(prep->plan->schema, prep->plan->table)},
                             {"attributes", sql_fragment(prep->added.attributes)}));
    prep->plan->expand_sql = arena_copy(&prep->plan->arena, text_string(&sql));
    return true;
}

/* ------------------------------------------------------------------------------------ the slow way
 */

/* Without its default: a domain's constraints would make the server write the rows all the same. */
static bool check_bare(struct column_add_preparation *prep, struct error *error)
{
    static const char FILENODE[] = "SELECT pg_relation_filenode('pg_temp.pghaul_bare')";
    struct session *session = prep->run->session;
    ROWS_AUTO before = {0};
    ROWS_AUTO after = {0};
    TEXT_AUTO sql = {0};

    sql_expand(&sql, "ALTER TABLE pg_temp.pghaul_bare ADD COLUMN c {type}",
               SQL_NAMES({"type", sql_fragment(prep->added.column->type)}));
    if (!session_run(session, "CREATE TEMPORARY TABLE pghaul_bare ()", error) ||
        !session_query(session, &before, FILENODE, NO_PARAMS, error) ||
        !session_run_text(session, &sql, error) ||
        !session_query(session, &after, FILENODE, NO_PARAMS, error))
        return false;
    return strcmp(rows_text(&before, 0, 0), rows_text(&after, 0, 0)) == 0 ||
           refuse_rewrite(prep, "a column of this type with that default",
                          "its domain has constraints, which are checked in every row", error);
}

static bool check_rows(struct column_add_preparation *prep, const struct table_index **key,
                       struct error *error)
{
    struct session *session = prep->run->session;
    struct findings findings = {0};
    int64_t limit_ms;
    bool ok = batch_limit_ms(session, &prep->options->settings, &limit_ms, error) &&
              inspect_rows(session, prep->table, false, &findings, error) &&
              findings_refuse(&findings, prep->options->table, error);

    findings_deinit(&findings);
    if (!ok)
        return false;
    *key = table_key(prep->table, NULL);
    return *key != NULL ||
           error_set(error, ERROR_REFUSED, "%s has no key to walk by", prep->options->table);
}

static bool plan_batch(struct column_add_preparation *prep, struct error *error)
{
    struct column_add_plan *plan = prep->plan;
    struct batch_plan *batch = &plan->batch_plan;
    const struct table_column *column = prep->added.column;
    const struct table_index *key;
    const char *image;
    bool string;
    TEXT_AUTO where = {0};
    TEXT_AUTO json = {0};

    if (!check_bare(prep, error) || !check_rows(prep, &key, error) ||
        !batch_plan_table(prep->run->session, prep->table, key, batch, error) ||
        !batch_image_type(prep->run->session, prep->added.clone->oid, column->number, &plan->arena,
                          &image, &string, error))
        return false;
    sql_expand(&where, "r.{column} IS NULL", SQL_NAMES({"column", sql_ident(column->name)}));
    batch->action = BATCH_UPDATE;
    batch->undo = BATCH_UNDO_NONE;
    batch->where = arena_copy(&batch->arena, text_string(&where));
    batch->varies = true;
    batch->column_count = 1;
    batch->columns = arena_alloc(&batch->arena, sizeof(*batch->columns));
    batch->columns[0] = (struct batch_column){
        .name = plan->column,
        .image = image,
        .value =
            batch_value(&batch->arena, arena_copy(&batch->arena, default_of(prep)), image, string),
    };
    batch->columns_seen = "";
    batch_plan_to_json(batch, &json);
    plan->batch = arena_copy(&plan->arena, text_string(&json));
    return true;
}

/* -------------------------------------------------------------------------------------------- plan
 */

/* 18: its constraint has the name that the server gave it, or the user. */
static bool plan_not_null(struct column_add_preparation *prep, struct error *error)
{
    struct column_add_plan *plan = prep->plan;

    if (!prep->added.column->not_null || not_null_at_once(prep))
        return true;
    plan->not_null = arena_alloc(&plan->arena, sizeof(*plan->not_null));
    plan->not_null_count = 1;
    return not_null_plan(prep->run, prep->table, plan->column, prep->added.not_null_name,
                         &plan->arena, plan->not_null, error);
}

static bool make_plan(struct column_add_preparation *prep, struct error *error)
{
    return column_add_read_clone(prep, error) && check_kind(prep, error) &&
           check_value(prep, error) && try_checks(prep, error) && plan_expand(prep, error) &&
           plan_not_null(prep, error) && (!prep->added.rewrites || plan_batch(prep, error));
}

/* Names that something else has by now. */
static bool check_names(struct column_add_preparation *prep, struct error *error)
{
    const struct column_add_plan *plan = prep->plan;
    struct constraint_look constraint;
    struct index_look index;

    for (int i = 0; i < plan->constraint_count; i++)
        if (!online_constraint_look(prep->run, &plan->constraints[i], &constraint, error) ||
            !online_constraint_accept(&plan->constraints[i], &constraint, error))
            return false;
    for (int i = 0; i < plan->index_count; i++)
        if (!online_index_look(prep->run, &plan->indexes[i], &index, error) ||
            !online_index_accept(&plan->indexes[i], &index, error))
            return false;
    return true;
}

/* A partition, or a table OF a type, has the columns of another; dropped columns count. */
static bool check_table(struct column_add_preparation *prep, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(prep->run->session, &rows,
                       "SELECT CASE WHEN relispartition THEN 'is a partition'\n"
                       "            WHEN reloftype <> 0 THEN 'is a table OF a type'\n"
                       "            WHEN relnatts >= 1600 THEN 'has had 1600 columns, which is the "
                       "most there can be; pghaul alter makes it anew'\n"
                       "       END FROM pg_class WHERE oid = $1::oid",
                       PARAMS(NUMBER(prep->table->oid)), error))
        return false;
    return rows_text(&rows, 0, 0) == NULL ||
           error_set(error, ERROR_REFUSED, "%s %s: no column can be added to it",
                     prep->options->table, rows_text(&rows, 0, 0));
}

static void fill_report(struct column_add_preparation *prep, struct report *report)
{
    const struct column_add_plan *plan = prep->plan;

    addition_headline(prep->run->session, prep->table, prep->options->table, report);
    report_add(
        report, "adds", "%s %s%s%s%s", plan->column, prep->added.column->type,
        prep->added.column->default_sql != NULL && !prep->added.column->generated ? " DEFAULT "
                                                                                  : "",
        prep->added.column->default_sql != NULL && !prep->added.column->generated ? default_of(prep)
                                                                                  : "",
        prep->added.column->not_null ? " NOT NULL" : "");
    for (int i = 0; i < plan->constraint_count; i++)
        report_add(report, "then", "%s: %s", plan->constraints[i].name,
                   plan->constraints[i].definition);
    for (int i = 0; i < plan->index_count; i++)
        report_add(report, "then", "%s: UNIQUE, its index built concurrently",
                   plan->indexes[i].name);
    if (plan->batch != NULL)
        report_add(report, "costs",
                   "the default is another value for each row: every row is written once where it "
                   "is, in chunks; triggers FOR EACH ROW fire");
    else
        report_add(report, "costs", "no row is written");
    report_add(report, "undo", "rollback drops it, under a short lock");
}

static bool prepare(struct column_add_preparation *prep, struct report *report, struct error *error)
{
    const struct column_add_options *options = prep->options;
    struct session *session = prep->run->session;
    struct column_add_plan *plan = prep->plan;
    bool ok;

    if (!definition_read(options->definition, &prep->arena, &prep->definition, error) ||
        !lock_check_settings(session, &options->settings, error) ||
        !statement_check_settings(session, error) ||
        !addition_table(session, options->table, &prep->arena, &prep->table, error) ||
        !check_table(prep, error))
        return false;
    plan->table_oid = prep->table->oid;
    plan->schema = arena_copy(&plan->arena, prep->table->schema);
    plan->table = arena_copy(&plan->arena, prep->table->name);
    ok = session_begin(session, error) && make_plan(prep, error);
    session_rollback(session);
    if (!ok || !check_names(prep, error))
        return false;
    addition_fill_job(prep->run, &column_add_kind, prep->table, options->job_name, "definition",
                      options->definition, &options->settings);
    fill_report(prep, report);
    return column_report_publications(session, prep->table->oid,
                                      &(struct column_sent){.added = plan->column}, report, error);
}

bool column_add_prepare(struct run *run, const struct column_add_options *options,
                        struct report *report, struct error *error)
{
    struct column_add_preparation prep = {.run = run, .options = options};
    TEXT_AUTO json = {0};
    bool ok;

    *report = (struct report){0};
    column_add_kind.unload(run);
    run->kind_state = prep.plan = memory_zero(1, sizeof(*prep.plan));
    run->job.settings = options->settings;
    ok = prepare(&prep, report, error);
    if (ok) {
        fields_to_json(column_add_plan_FIELDS, prep.plan, &json);
        run->job.plan = arena_copy(&run->job.arena, text_string(&json));
        column_add_describe(run, report);
    }
    arena_deinit(&prep.arena);
    return ok;
}
