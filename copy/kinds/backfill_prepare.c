#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copy/expression.h"
#include "copy/kinds/backfill_parts.h"
#include "copy/lock.h"
#include "engine/job/schema.h"
#include "engine/pg/identifier.h"
#include "engine/pg/sql.h"
#include "engine/pg/sqlstate.h"

/* The trial's tables carry a number that no job has. */
#define TRIAL_NUMBER (INT64_C(900000000) + getpid())

enum { TRIAL_ROWS = 10000, TRIAL_ROWS_LEAST = 10 };

/* ----------------------------------------------------------------------------------- what to do */

static bool check_options(const struct backfill_options *options, struct error *error)
{
    int ways = (options->set_count > 0) + options->delete_rows + (options->statement != NULL);

    if (ways != 1) {
        error_set(error, ERROR_USAGE,
                  "say one thing to do: --set 'column = expression', --delete, or --sql-file");
        return error_hint(error, "pghaul backfill --help shows all three");
    }
    if (options->statement != NULL &&
        (options->where != NULL || options->save || options->undo_set_count > 0)) {
        error_set(error, ERROR_USAGE, "--sql-file goes with neither --where nor an undo");
        return error_hint(error,
                          "what it does is not known; the condition stands in the statement");
    }
    if (options->delete_rows && options->where == NULL) {
        error_set(error, ERROR_USAGE, "--delete needs --where");
        return error_hint(error, "--where true deletes every row; TRUNCATE does it at once");
    }
    if (options->save && options->undo_set_count > 0)
        return error_set(error, ERROR_USAGE, "--undo saved and --undo-set exclude each other");
    if (options->undo_set_count > 0 && options->settings.errors == ERRORS_SKIP) {
        error_set(error, ERROR_USAGE, "--undo-set and errors=skip exclude each other");
        return error_hint(error, "the inverse goes over every row, also those that were left");
    }
    if (options->undo_set_count > 0 && (options->where != NULL || options->delete_rows)) {
        error_set(error, ERROR_USAGE, "--undo-set goes back over every row of the table");
        return error_hint(error, "with --where, or --delete, use --undo saved");
    }
    return true;
}

/* The table's key, or the one that -s key=.. names. */
static bool find_key(struct preparation *prep, struct error *error)
{
    const char *typed = prep->options->settings.key;
    const char *columns[TABLE_KEY_COLUMNS_MAX];
    TEXT_AUTO why_not = {0};
    int count;

    prep->key = table_key(prep->table, NULL);
    if (typed[0] == '\0')
        return true;
    count = identifier_list(typed, columns, TABLE_KEY_COLUMNS_MAX, &prep->arena);
    if (count < 0) {
        error_set(error, ERROR_USAGE, "setting key cannot be \"%s\"", typed);
        return error_hint(error, "it is a list of columns, as in -s key=region,id");
    }
    prep->key = table_key_on(prep->table, columns, count, &why_not);
    if (prep->key != NULL)
        return true;
    error_set(error, ERROR_REFUSED, "%s cannot be walked by (%s): %s", prep->options->table,
              typed, text_string(&why_not));
    return error_hint(error, "a key is a btree index that is unique, valid, not partial, not "
                             "deferrable, over NOT NULL columns");
}

static bool find_table(struct preparation *prep, struct error *error)
{
    struct session *session = prep->run->session;
    TEXT_AUTO name = {0};
    uint32_t oid;

    if (!inspect_server(session, &prep->findings, error) ||
        !table_find(session, prep->options->table, session_user_search_path(session), &oid,
                    error) ||
        !table_describe(session, oid, &prep->arena, &prep->table, error) ||
        !inspect_rows(session, prep->table, prep->options->delete_rows, &prep->findings, error) ||
        !findings_refuse(&prep->findings, prep->options->table, error))
        return false;
    sql_append(&name, sql_table(prep->table->schema, prep->table->name));
    prep->qualified = arena_copy(&prep->arena, text_string(&name));
    return find_key(prep, error);
}

static void plan_key(struct preparation *prep)
{
    struct batch_plan *plan = prep->plan;
    const struct table_index *key = prep->key;

    plan->key = arena_alloc(&plan->arena, sizeof(*plan->key) * (size_t)key->column_count);
    plan->key_count = key->column_count;
    for (int i = 0; i < key->column_count; i++) {
        const struct table_column *column =
            table_column_by_number(prep->table, key->columns[i].number);

        plan->key[i] = (struct plan_key_column){
            .source = arena_copy(&plan->arena, column->name),
            .source_type = arena_copy(&plan->arena, column->base_type),
            .source_equal = arena_copy(&plan->arena, key->columns[i].equal),
        };
    }
}

/* "OPERATOR(public.=)" has its schema in it; positions are compared with operators found by name.
 */
static bool plan_operator_schemas(struct preparation *prep, struct error *error)
{
    struct batch_plan *plan = prep->plan;

    for (int i = 0; i < plan->key_count; i++) {
        ROWS_AUTO rows = {0};

        if (!session_query(prep->run->session, &rows,
                           "SELECT quote_ident(n.nspname)\n"
                           "  FROM pg_index AS x\n"
                           "  JOIN pg_opclass AS c ON c.oid = x.indclass[$2::int]\n"
                           "  JOIN pg_namespace AS n ON n.oid = c.opcnamespace\n"
                           " WHERE x.indexrelid = $1::oid AND n.nspname <> 'pg_catalog'",
                           PARAMS(NUMBER(prep->key->oid), NUMBER(i)), error))
            return false;
        if (rows_count(&rows) == 1)
            plan->key[i].operator_schema = arena_copy(&plan->arena, rows_text(&rows, 0, 0));
    }
    return true;
}

/*
 * The type in which the new value is compared with the stored one. With the length of a numeric or
 * a time, so that 1.239 in a numeric(10,2) is found to be there already; without that of a string,
 * because an explicit cast would cut what the assignment refuses; text for char(n), whose blanks
 * at the end mean nothing. And whether it is a string.
 */
static const char IMAGE_TYPE[] =
    "SELECT format_type(CASE WHEN t.base = 'bpchar'::regtype THEN 'text'::regtype ELSE t.base "
    "END,\n"
    "           CASE WHEN t.base IN ('numeric'::regtype, 'timestamp'::regtype,\n"
    "           'timestamptz'::regtype, 'time'::regtype, 'timetz'::regtype, 'interval'::regtype)\n"
    "           THEN t.typmod ELSE -1 END), t.category = 'S'\n"
    "  FROM (WITH RECURSIVE d AS (\n"
    "            SELECT a.atttypid AS base, a.atttypmod AS typmod\n"
    "              FROM pg_attribute AS a WHERE a.attrelid = $1::oid AND a.attnum = $2::int\n"
    "            UNION ALL\n"
    "            SELECT y.typbasetype, CASE WHEN d.typmod = -1 THEN y.typtypmod ELSE d.typmod END\n"
    "              FROM d JOIN pg_type AS y ON y.oid = d.base AND y.typtype = 'd')\n"
    "        SELECT d.*, y.typcategory AS category\n"
    "          FROM d JOIN pg_type AS y ON y.oid = d.base AND y.typtype <> 'd') AS t";

static bool image_type(struct preparation *prep, const struct table_column *column,
                       const char **image, bool *string, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(prep->run->session, &rows, IMAGE_TYPE,
                       PARAMS(NUMBER(prep->table->oid), NUMBER(column->number)), error))
        return false;
    *image = arena_copy(&prep->plan->arena, rows_text(&rows, 0, 0));
    *string = rows_bool(&rows, 0, 1);
    return true;
}

/*
 * 'done' and NULL have no type of their own: an UPDATE takes them as the column's, the view that
 * prints them as text. So what is printed as one literal of text is cast to the column's type.
 */
static const char *literal_as(struct arena *arena, const char *sql, const char *image)
{
    static const char TEXT[] = "::text";
    const char *at = sql;

    while (*at == ' ' || *at == '\n')
        at++;
    if (strncmp(at, "NULL", 4) == 0) {
        at += 4;
    } else {
        at += *at == 'E';
        if (*at++ != '\'')
            return sql;
        for (; *at != '\0' && (at[0] != '\'' || at[1] == '\''); at++)
            at += *at == '\'';
        at += *at == '\'';
    }
    return strcmp(at, TEXT) != 0 ? sql
                                 : arena_format(arena, "%.*s::%s", (int)(at - sql), sql, image);
}

static bool is_key_column(const struct preparation *prep, const char *name)
{
    for (int i = 0; i < prep->plan->key_count; i++)
        if (strcmp(prep->plan->key[i].source, name) == 0)
            return true;
    return false;
}

static bool print(struct preparation *prep, const char *what, const char *text,
                  struct expression *printed, struct error *error)
{
    struct expression_source source = {prep->qualified, prep->plan->search_path, what};

    return expression_print(prep->run->session, &source, text, &prep->plan->arena, printed, error);
}

/* One --set into the next column of the plan. */
static bool plan_set(struct preparation *prep, const char *set, struct error *error)
{
    struct batch_plan *plan = prep->plan;
    const struct table_column *column;
    struct assignment assignment;
    struct expression value;
    const char *image;
    bool string;

    if (!assignment_parse(set, &prep->arena, &assignment, error))
        return false;
    column = table_column_by_name(prep->table, assignment.column);
    if (column == NULL) {
        error_set(error, ERROR_REFUSED, "--set: there is no column \"%s\"", assignment.column);
        return error_hint(error,
                          "a name with capitals or signs stands in double quotes, as in SQL");
    }
    if (is_key_column(prep, column->name)) {
        error_set(error, ERROR_REFUSED,
                  "--set: column %s is part of the key that rows are found by", column->name);
        return error_hint(error, "-s key=COLUMNS walks by another unique index");
    }
    for (int i = 0; i < plan->column_count; i++)
        if (strcmp(plan->columns[i].name, column->name) == 0)
            return error_set(error, ERROR_USAGE, "--set: column %s is set twice", column->name);
    if (!image_type(prep, column, &image, &string, error) ||
        !print(prep, arena_format(&prep->arena, "--set %s", column->name), assignment.expression,
               &value, error))
        return false;
    plan->varies = plan->varies || value.varies;
    prep->beyond_row = prep->beyond_row || !value.of_row;
    plan->columns[plan->column_count++] = (struct batch_column){
        .name = arena_copy(&plan->arena, column->name),
        .image = image,
        .value = string ? value.sql : literal_as(&plan->arena, value.sql, image)};
    return true;
}

static bool plan_undo_set(struct preparation *prep, const char *set, struct error *error)
{
    struct batch_plan *plan = prep->plan;
    struct assignment assignment;
    struct expression value;
    const char *image;
    bool string;

    if (!assignment_parse(set, &prep->arena, &assignment, error))
        return false;
    for (int i = 0; i < plan->column_count; i++) {
        if (strcmp(plan->columns[i].name, assignment.column) != 0)
            continue;
        if (!print(prep, arena_format(&prep->arena, "--undo-set %s", assignment.column),
                   assignment.expression, &value, error))
            return false;
        if (!image_type(prep, table_column_by_name(prep->table, assignment.column), &image, &string,
                        error))
            return false;
        plan->columns[i].inverse = string ? value.sql : literal_as(&plan->arena, value.sql, image);
        return true;
    }
    return error_set(error, ERROR_USAGE, "--undo-set: column %s is not set", assignment.column);
}

/* A delete that saves its rows: all that an INSERT can give. */
static bool plan_saved_columns(struct preparation *prep, struct error *error)
{
    struct batch_plan *plan = prep->plan;

    for (int i = 0; i < prep->table->column_count; i++) {
        const struct table_column *column = &prep->table->columns[i];
        const char *image;
        bool string;

        if (column->generated)
            continue;
        if (!image_type(prep, column, &image, &string, error))
            return false;
        plan->columns[plan->column_count++] =
            (struct batch_column){.name = arena_copy(&plan->arena, column->name), .image = image};
    }
    return true;
}

/* "UPDATE t AS u SET .. WHERE :range(u) AND .." in two parts around the range. */
static bool plan_statement(struct preparation *prep, struct error *error)
{
    static const char RANGE[] = ":range(";
    struct batch_plan *plan = prep->plan;
    const char *text = prep->options->statement;
    const char *at = strstr(text, RANGE);
    const char *name = at == NULL ? NULL : at + strlen(RANGE);
    const char *alias = name == NULL ? NULL : identifier_read(&name, &prep->arena);
    TEXT_AUTO quoted = {0};
    size_t end = strlen(text);

    if (alias == NULL || *name != ')' || strstr(name, RANGE) != NULL) {
        error_set(error, ERROR_USAGE, "the statement must have :range(ALIAS) exactly once");
        return error_hint(error,
                          "as in UPDATE %s AS u SET .. WHERE :range(u); the keys of a chunk take "
                          "its place",
                          prep->options->table);
    }
    while (end > 0 && strchr("; \t\r\n", text[end - 1]) != NULL)
        end--;
    sql_append(&quoted, sql_ident(alias));
    plan->statement = arena_format(&plan->arena, "%.*s", (int)(at - text), text);
    plan->statement_rest =
        arena_format(&plan->arena, "%.*s", (int)(text + end - (name + 1)), name + 1);
    plan->alias = arena_copy(&plan->arena, text_string(&quoted));
    return true;
}

static bool plan_columns(struct preparation *prep, struct error *error)
{
    const struct backfill_options *options = prep->options;
    struct batch_plan *plan = prep->plan;
    int most = options->set_count + prep->table->column_count;

    plan->columns = arena_alloc(&plan->arena, sizeof(*plan->columns) * (size_t)(most + 1));
    for (int i = 0; i < options->set_count; i++)
        if (!plan_set(prep, options->sets[i], error))
            return false;
    for (int i = 0; i < options->undo_set_count; i++)
        if (!plan_undo_set(prep, options->undo_sets[i], error))
            return false;
    for (int i = 0; options->undo_set_count > 0 && i < plan->column_count; i++)
        if (plan->columns[i].inverse == NULL)
            return error_set(error, ERROR_USAGE, "--undo-set: what does %s go back to?",
                             plan->columns[i].name);
    return !options->delete_rows || !options->save || plan_saved_columns(prep, error);
}

static bool plan_where(struct preparation *prep, struct error *error)
{
    struct expression where;
    TEXT_AUTO condition = {0};

    if (prep->options->where == NULL)
        return true;
    /* AND takes nothing but a boolean; a cast would take numbers, too. */
    text_appendf(&condition, "(%s\n) AND true", prep->options->where);
    if (!print(prep, "--where", text_string(&condition), &where, error))
        return false;
    prep->plan->where = where.sql;
    prep->beyond_row = prep->beyond_row || !where.of_row || where.varies;
    return true;
}

/* What a foreign key may reference: a write of it takes the stronger of the two row locks. */
static bool is_strong(const struct preparation *prep)
{
    for (int i = 0; i < prep->table->index_count; i++) {
        const struct table_index *index = &prep->table->indexes[i];

        if (!index->unique || !index->immediate || index->partial || index->has_expressions)
            continue;
        for (int c = 0; c < index->column_count; c++)
            for (int p = 0; p < prep->plan->column_count; p++)
                if (index->columns[c].name != NULL &&
                    strcmp(index->columns[c].name, prep->plan->columns[p].name) == 0)
                    return true;
    }
    return false;
}

/*
 * Where a plain UPDATE does not do: a row that changes while it waits is looked at again in its
 * newest version, but with what the statement saw of other tables before. And a trigger may keep a
 * row from being written, uncounted.
 */
static const char KEEPERS[] =
    "SELECT EXISTS (SELECT FROM pg_trigger\n"
    "                WHERE tgrelid = $1::oid AND NOT tgisinternal AND tgenabled IN ('O', 'A')\n"
    "                  AND tgtype & 1 = 1 AND tgtype & 2 = 2 AND tgtype & 16 = 16)";

static bool plan_plain(struct preparation *prep, struct error *error)
{
    struct batch_plan *plan = prep->plan;
    ROWS_AUTO rows = {0};

    if (plan->action != BATCH_UPDATE || plan->undo == BATCH_UNDO_SAVED || plan->varies ||
        prep->beyond_row)
        return true;
    if (!session_query(prep->run->session, &rows, KEEPERS, PARAMS(NUMBER(prep->table->oid)), error))
        return false;
    plan->plain = !rows_bool(&rows, 0, 0);
    return true;
}

static bool make_plan(struct preparation *prep, struct error *error)
{
    const struct backfill_options *options = prep->options;
    const struct table *table = prep->table;
    struct batch_plan *plan = prep->plan;
    TEXT_AUTO seen = {0};

    plan->table_oid = table->oid;
    plan->schema = arena_copy(&plan->arena, table->schema);
    plan->table = arena_copy(&plan->arena, table->name);
    plan->search_path = arena_copy(&plan->arena, session_user_search_path(prep->run->session));
    plan->action = options->delete_rows         ? BATCH_DELETE
                   : options->statement != NULL ? BATCH_STATEMENT
                                                : BATCH_UPDATE;
    plan->undo = options->save                 ? BATCH_UNDO_SAVED
                 : options->undo_set_count > 0 ? BATCH_UNDO_SET
                                               : BATCH_UNDO_NONE;
    plan->row_estimate = table->row_estimate >= 0 ? table->row_estimate : table->heap_bytes / 100;
    plan->table_bytes = table->heap_bytes + table->toast_bytes;
    plan->row_wal_bytes = 300; /* until the trial has measured it */
    plan_key(prep);
    if ((options->statement != NULL && !plan_statement(prep, error)) ||
        !plan_operator_schemas(prep, error) || !plan_columns(prep, error) ||
        !plan_where(prep, error) || !batch_look(prep->run->session, plan, &seen, error))
        return false;
    plan->columns_seen = arena_copy(&plan->arena, text_string(&seen));
    plan->strong = is_strong(prep);
    return plan_plain(prep, error);
}

/* --------------------------------------------------------------------------------------- trial */

static const char WAL_AND_HOT[] =
    "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, coalesce(n_tup_hot_upd, 0)\n"
    "  FROM (SELECT 1) AS one LEFT JOIN pg_stat_xact_all_tables ON relid = $1::oid";

/* The first rows by key, as a chunk would do them: no longer than a chunk may take. */
static bool try_rows(struct preparation *prep, const struct order *order, const char *statement,
                     int64_t count, struct error *error)
{
    struct session *session = prep->run->session;
    ROWS_AUTO bound = {0};
    ROWS_AUTO done = {0};
    ROWS_AUTO before = {0};
    ROWS_AUTO after = {0};
    const char *oid = NUMBER(prep->table->oid);

    if (!session_query(session, &bound, order->bound_sql, PARAMS(NULL, NULL, NUMBER(count)),
                       error) ||
        !session_query(session, &before, WAL_AND_HOT, PARAMS(oid), error) ||
        !session_query(session, &done, statement, PARAMS(NULL, rows_text(&bound, 0, 0)), error) ||
        !session_query(session, &after, WAL_AND_HOT, PARAMS(oid), error))
        return false;
    prep->visited = rows_int64(&done, 0, 0);
    prep->written = rows_int64(&done, 0, 1);
    prep->hot = rows_int64(&after, 0, 1) - rows_int64(&before, 0, 1);
    if (prep->written > 0)
        prep->plan->row_wal_bytes =
            (int64_t)(rows_double(&after, 0, 0) - rows_double(&before, 0, 0)) / prep->written + 1;
    return true;
}

/* Does a row itself fail? That is found again, and named, by the chunk that has it. */
static bool is_row_failure(const struct error *error)
{
    return strncmp(error->sqlstate, "22", 2) == 0 || strncmp(error->sqlstate, "23", 2) == 0 ||
           strcmp(error->sqlstate, "P0001") == 0;
}

/* The same, taken back when it fails. */
static bool try_count(struct preparation *prep, const struct order *order, const char *statement,
                      const char *conditions, int64_t count, struct error *error)
{
    struct error ignored = {0};

    if (!session_run(prep->run->session, conditions, error))
        return false;
    if (try_rows(prep, order, statement, count, error))
        return true;
    if (!session_run(prep->run->session, "ROLLBACK TO SAVEPOINT trial", &ignored))
        *error = ignored;
    return false;
}

/* Of the first few rows, one fails: which? */
static bool name_failure(struct preparation *prep, const struct order *order, const char *statement,
                         const char *conditions, struct error *error)
{
    struct error why = *error;
    ROWS_AUTO key = {0};
    int64_t count = 1;

    while (count < TRIAL_ROWS_LEAST && try_count(prep, order, statement, conditions, count, error))
        count++;
    if (!session_query(prep->run->session, &key, order->bound_sql,
                       PARAMS(NULL, NULL, NUMBER(count)), error))
        return false;
    *error = why;
    error_refuse(error, "nothing was changed; mend the row, or let such rows be left and recorded "
                        "with -s errors=skip");
    return error_context(error, "tried on the first rows: the row with key %s",
                         rows_text(&key, 0, 0) == NULL ? "{}" : rows_text(&key, 0, 0));
}

/* What took too long, or met a lock, is tried with fewer rows, and perhaps not at all. */
static bool try_fewer(struct preparation *prep, int64_t limit_ms, struct error *error)
{
    struct order order;
    TEXT_AUTO statement = {0};
    TEXT_AUTO conditions = {0};

    batch_order(prep->plan, prep->run->job.id, BATCH_WALK, &prep->arena, &order);
    batch_statement(prep->plan, prep->run->job.id, BATCH_WALK, &statement);
    batch_conditions_sql(prep->plan, &order, "trial", prep->options->settings.lock_timeout_ms,
                         limit_ms, &conditions);
    for (int64_t count = TRIAL_ROWS; count >= TRIAL_ROWS_LEAST; count /= 10) {
        if (try_count(prep, &order, text_string(&statement), text_string(&conditions), count,
                      error))
            return true;
        if (!error->retryable && !is_row_failure(error) &&
            strcmp(error->sqlstate, SQLSTATE_QUERY_CANCELED) != 0) {
            error_refuse(error, NULL);
            return error_context(error, "tried on the first rows");
        }
    }
    if (is_row_failure(error) && !prep->plan->skip_errors)
        return name_failure(prep, &order, text_string(&statement), text_string(&conditions), error);
    error_clear(error);
    return true;
}

static bool try_it(struct preparation *prep, struct error *error)
{
    struct run *run = prep->run;
    int64_t limit_ms;
    struct order order;

    batch_order(prep->plan, run->job.id, BATCH_WALK, &prep->arena, &order);
    return batch_limit_ms(run->session, &prep->options->settings, &limit_ms, error) &&
           schema_ensure(run->session, error) && batch_create(run, prep->plan, error) &&
           batch_set_session(run->session, prep->plan, &order, true, error) &&
           batch_check_plan(run, prep->plan, error) &&
           (prep->plan->action == BATCH_STATEMENT || try_fewer(prep, limit_ms, error));
}

/* ----------------------------------------------------------------------------------- start a job
 */

static json_t *strings(const char *const *values, int count)
{
    json_t *array = json_array();

    for (int i = 0; i < count; i++)
        json_array_append_new(array, json_string(values[i]));
    return array;
}

static void describe_spec(const struct backfill_options *options, struct text *out)
{
    json_t *spec = json_pack("{s:s, s:o, s:o, s:b, s:b}", "table", options->table, "set",
                             strings(options->sets, options->set_count), "undo_set",
                             strings(options->undo_sets, options->undo_set_count), "delete",
                             options->delete_rows, "undo_saved", options->save);
    char *dumped;

    if (options->where != NULL)
        json_object_set_new(spec, "where", json_string(options->where));
    if (options->statement != NULL)
        json_object_set_new(spec, "sql", json_string(options->statement));
    dumped = json_dumps(spec, JSON_COMPACT);
    text_append(out, dumped);
    free(dumped);
    json_decref(spec);
}

static void fill_job(struct preparation *prep)
{
    struct job *job = &prep->run->job;
    const struct batch_plan *plan = prep->plan;
    TEXT_AUTO spec = {0};
    TEXT_AUTO json = {0};

    describe_spec(prep->options, &spec);
    batch_plan_to_json(plan, &json);
    job->name = arena_copy(&job->arena, prep->options->job_name);
    job->kind = "backfill";
    job->table_schema = arena_copy(&job->arena, plan->schema);
    job->table_name = arena_copy(&job->arena, plan->table);
    job->source_oid = plan->table_oid;
    job->spec = arena_copy(&job->arena, text_string(&spec));
    job->plan = arena_copy(&job->arena, text_string(&json));
    job->rows_total = plan->row_estimate;
    job->settings = prep->options->settings;
}

bool backfill_prepare(struct run *run, const struct backfill_options *options,
                      struct report *report, struct error *error)
{
    struct preparation prep = {.run = run, .options = options};
    bool ok;

    *report = (struct report){0};
    if (!check_options(options, error))
        return false;
    backfill_kind.unload(run);
    run->kind_state = prep.plan = memory_zero(1, sizeof(struct batch_plan));
    prep.plan->skip_triggers = options->settings.triggers == TRIGGERS_SKIP;
    prep.plan->skip_errors = options->settings.errors == ERRORS_SKIP;
    run->job.settings = options->settings;
    run->job.id = TRIAL_NUMBER;
    run->trial = true;
    ok = lock_check_settings(run->session, &options->settings, error) && find_table(&prep, error) &&
         session_begin(run->session, error) && make_plan(&prep, error) && try_it(&prep, error);
    session_rollback(run->session);
    run->trial = false;
    run->job.id = 0;
    ok = ok && backfill_report(&prep, report, error);
    if (ok) {
        backfill_describe(run, report);
        fill_job(&prep);
    }
    findings_deinit(&prep.findings);
    arena_deinit(&prep.arena);
    return ok;
}

static void leave_by_sql(struct run *run, struct text *sql)
{
    batch_drop_sql(run->job.id, true, sql);
    text_appendf(sql,
                 "UPDATE pghaul.job SET state = 'aborted', ended_at = clock_timestamp() "
                 "WHERE id = %" PRId64 ";\n",
                 run->job.id);
}

bool backfill_store(struct run *run, struct error *error)
{
    return phases_store(run, &backfill_kind, leave_by_sql, error);
}
