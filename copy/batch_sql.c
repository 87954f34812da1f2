/* The statement of a chunk, and the order of the walks: batch.h says what the parts are. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "copy/batch.h"
#include "engine/pg/sql.h"

/* ---------------------------------------------------------------------------------- templates */

static const char SCANNED[] = "WITH scanned AS MATERIALIZED (\n"
                              "    SELECT {at}{k_of_rows}{and_values}{and_old},\n"
                              "           {differs} AS differs\n"
                              "      FROM {rows}\n"
                              "     WHERE {range}{and_where}),\n";

/*
 * A sub-select of its own for each row: so it is looked up by its ctid, in a nested loop, whatever
 * the planner makes of the number of rows. xmin says once more that it is the version that was
 * scanned: servers without PostgreSQL's commit dee21ea (2025, in minor releases of all versions)
 * follow a row to its newest version here and do not look at its ctid again.
 */
static const char HELD[] =
    "held AS MATERIALIZED (\n"
    "    SELECT s.*\n"
    "      FROM scanned AS s CROSS JOIN LATERAL (\n"
    "           SELECT FROM ONLY {table} AS r\n"
    "            WHERE r.ctid = s.at AND r.xmin = s.by {for_update} SKIP LOCKED) AS r\n"
    "     WHERE s.differs),\n";

static const char UPDATED[] = "written AS (\n"
                              "    UPDATE ONLY {table} AS r SET {assignments}\n"
                              "      FROM held AS h WHERE r.ctid = h.at RETURNING {returned})";

static const char DELETED[] =
    "written AS (\n"
    "    DELETE FROM ONLY {table} AS r USING held AS h WHERE r.ctid = h.at RETURNING {returned})";

/* Deleted rows that were saved, put back where nothing has taken their place. */
static const char PUT_BACK[] =
    "held AS (SELECT s.* FROM scanned AS s WHERE s.differs),\n"
    "written AS (\n"
    "    INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE\n"
    "    SELECT {values_of_h} FROM held AS h ON CONFLICT DO NOTHING RETURNING 1)";

static const char SAVED[] = ",\n"
                            "saved AS (\n"
                            "    INSERT INTO {undo} ({k}{and_saved}) SELECT {k}{and_saved} FROM "
                            "written)";

/* EXCEPT, and only when something is missing: an anti join might become a nested loop. */
static const char LATER[] =
    ",\n"
    "later AS (\n"
    "    INSERT INTO {todo} ({k})\n"
    "    SELECT {k}\n"
    "      FROM (SELECT at, {k} FROM scanned WHERE differs EXCEPT SELECT at, {k} FROM held) AS s\n"
    "     WHERE (SELECT count(*) FROM scanned WHERE differs) > (SELECT count(*) FROM held)\n"
    "    RETURNING 1)";

/* The chunk's keys leave todo, but those that are still in the way. */
static const char STILL_LATER[] =
    ",\n"
    "later AS (\n"
    "    SELECT {k} FROM scanned AS s\n"
    "     WHERE differs AND NOT EXISTS (SELECT FROM held AS h WHERE h.at = s.at)),\n"
    "gone AS (\n"
    "    DELETE FROM {todo} AS k\n"
    "     WHERE {range} AND NOT EXISTS (SELECT FROM later AS s WHERE {s_is_k}))";

/* Who is in the way of an INSERT is waited for: a chunk does all of its rows, or none. */
static const char NEVER_LATER[] = ",\n"
                                  "later AS (SELECT WHERE false)";
static const char ALL_GONE[] = ",\n"
                               "gone AS (DELETE FROM {todo} AS k WHERE {range})";

/* Values are computed twice: only where that makes no difference. */
static const char PLAIN[] = "UPDATE ONLY {table} AS r SET {assignments}\n"
                            " WHERE {range}{and_where}\n"
                            "   AND record_image_ne(ROW({now}), ROW({then}))";

static const char VISITED[] = "SELECT count(*) FROM ONLY {table} AS r WHERE {range}{and_where}";

static const char COUNTS[] =
    "\n"
    "SELECT (SELECT count(*) FROM scanned), (SELECT count(*) FROM written),\n"
    "       (SELECT count(*) FROM later),\n"
    "       (SELECT count(*) FROM held) - (SELECT count(*) FROM written)";

/* -------------------------------------------------------------------------------------- pieces */

bool batch_is_back(enum batch_way way)
{
    return way == BATCH_BACK || way == BATCH_BACK_REVISIT;
}

bool batch_is_revisit(enum batch_way way)
{
    return way == BATCH_REVISIT || way == BATCH_BACK_REVISIT || way == BATCH_INVERSE_REVISIT;
}

static bool is_put_back(const struct batch_plan *plan, enum batch_way way)
{
    return plan->action == BATCH_DELETE && batch_is_back(way);
}

static bool saves(const struct batch_plan *plan, enum batch_way way)
{
    return plan->undo == BATCH_UNDO_SAVED && !batch_is_back(way);
}

/* Whose rows the walk goes over: of the table, of undo, of todo. */
static const char *walked_alias(enum batch_way way)
{
    return batch_is_revisit(way) ? "k" : way == BATCH_BACK ? "u" : "r";
}

enum { PIECES_MAX = 40 };

/* Pieces are made once for a statement, in an arena that goes with it. */
struct pieces {
    struct arena arena;
    const struct batch_plan *plan;
    struct sql_name names[PIECES_MAX + 1];
    int count;
};

static void add(struct pieces *pieces, const char *name, const struct text *sql)
{
    assert(pieces->count < PIECES_MAX);
    pieces->names[pieces->count++] =
        (struct sql_name){name, sql_fragment(arena_copy(&pieces->arena, text_string(sql)))};
}

static void add_expanded(struct pieces *pieces, const char *name, const char *template)
{
    TEXT_AUTO sql = {0};

    sql_expand(&sql, template, pieces->names);
    add(pieces, name, &sql);
}

/*
 * A list with one element for each column. In `element`, {c} is the column's name, {n} its number,
 * {value} what it gets, {image} the type in which images are compared.
 */
static void add_columns(struct pieces *pieces, const char *name, const char *before,
                        const char *element, bool inverse)
{
    TEXT_AUTO sql = {0};
    char number[16];

    for (int i = 0; i < pieces->plan->column_count; i++) {
        const struct batch_column *column = &pieces->plan->columns[i];
        const char *value = inverse ? column->inverse : column->value;

        snprintf(number, sizeof(number), "%d", i + 1);
        text_append(&sql, i > 0 ? ", " : before);
        sql_expand(&sql, element,
                   SQL_NAMES({"c", sql_ident(column->name)}, {"n", sql_fragment(number)},
                             {"value", sql_fragment(value == NULL ? "" : value)},
                             {"image", sql_fragment(column->image)}));
    }
    add(pieces, name, &sql);
}

/* The same for the key: {c}, {n}, and {equal}, the equality of the column's type. */
static void add_keys(struct pieces *pieces, const char *name, const char *separator,
                     const char *element)
{
    TEXT_AUTO sql = {0};
    char number[16];

    for (int i = 0; i < pieces->plan->key_count; i++) {
        const struct plan_key_column *column = &pieces->plan->key[i];

        snprintf(number, sizeof(number), "%d", i + 1);
        text_separate(&sql, separator);
        sql_expand(&sql, element,
                   SQL_NAMES({"c", sql_ident(column->source)}, {"n", sql_fragment(number)},
                             {"equal", sql_fragment(column->source_equal)}));
    }
    add(pieces, name, &sql);
}

/* The table's own, of the alias: {keys}. */
static void add_aliased_keys(struct pieces *pieces, const char *alias)
{
    TEXT_AUTO sql = {0};

    for (int i = 0; i < pieces->plan->key_count; i++) {
        text_separate(&sql, ", ");
        text_appendf(&sql, "%s.", alias);
        sql_append(&sql, sql_ident(pieces->plan->key[i].source));
    }
    add(pieces, "keys", &sql);
}

static void add_tables(struct pieces *pieces, int64_t job)
{
    const struct batch_plan *plan = pieces->plan;
    TEXT_AUTO sql = {0};

    sql_append(&sql, sql_table(plan->schema, plan->table));
    add(pieces, "table", &sql);
    text_clear(&sql);
    text_appendf(&sql, "pghaul.todo_%" PRId64, job);
    add(pieces, "todo", &sql);
    text_clear(&sql);
    text_appendf(&sql, "pghaul.undo_%" PRId64, job);
    add(pieces, "undo", &sql);
}

/* Where rows come from, and what a value is compared with. */
static void add_rows(struct pieces *pieces, enum batch_way way)
{
    static const char *const ROWS[] = {
        [BATCH_WALK] = "ONLY {table} AS r{computed}",
        [BATCH_REVISIT] = "{todo} AS k JOIN ONLY {table} AS r ON {r_is_k}{computed}",
        [BATCH_BACK] = "{undo} AS u JOIN ONLY {table} AS r ON {r_is_u}",
        [BATCH_BACK_REVISIT] =
            "{todo} AS k JOIN {undo} AS u ON {u_is_k} JOIN ONLY {table} AS r ON {r_is_u}",
        [BATCH_INVERSE] = "ONLY {table} AS r{computed}",
        [BATCH_INVERSE_REVISIT] = "{todo} AS k JOIN ONLY {table} AS r ON {r_is_k}{computed}",
    };
    bool inverse = way == BATCH_INVERSE || way == BATCH_INVERSE_REVISIT;

    add_keys(pieces, "r_is_k", " AND ", "r.{c} {equal} k.k{n}");
    add_keys(pieces, "r_is_u", " AND ", "r.{c} {equal} u.k{n}");
    add_keys(pieces, "u_is_k", " AND ", "u.k{n} {equal} k.k{n}");
    add_keys(pieces, "s_is_k", " AND ", "s.k{n} {equal} k.k{n}");
    add_columns(pieces, "expressions", "", "{value} AS v{n}", inverse);
    /*
     * Once for each row, volatile or not: OFFSET keeps it from being computed wherever it is used,
     * and the row's ctid from being computed once for all rows, as random() alone would be.
     */
    add_expanded(pieces, "computed",
                 pieces->plan->action == BATCH_DELETE
                     ? ""
                     : "\n      CROSS JOIN LATERAL (SELECT {expressions} WHERE r.ctid <> '(0,0)' "
                       "OFFSET 0) AS n");
    add_expanded(pieces, "rows",
                 !is_put_back(pieces->plan, way) ? ROWS[way]
                 : way == BATCH_BACK             ? "{undo} AS u"
                                                 : "{todo} AS k JOIN {undo} AS u ON {u_is_k}");
}

/* Which columns `scanned` has, and when a row is to be written. */
static void add_scanned(struct pieces *pieces, enum batch_way way)
{
    const struct batch_plan *plan = pieces->plan;
    TEXT_AUTO none = {0};

    add_keys(pieces, "k", ", ", "k{n}");
    add_keys(pieces, "k_of_rows", ", ",
             batch_is_revisit(way) ? "k.k{n}"
             : batch_is_back(way)  ? "u.k{n}"
                                   : "r.{c} AS k{n}");
    if (batch_is_back(way))
        add_columns(pieces, "and_values", ", ", "u.o{n} AS v{n}", false);
    else if (plan->action == BATCH_UPDATE)
        add_columns(pieces, "and_values", ", ", "n.v{n}", false);
    else
        add(pieces, "and_values", &none);
    if (saves(plan, way))
        add_columns(pieces, "and_old", ", ", "r.{c} AS o{n}", false);
    else
        add(pieces, "and_old", &none);
    add_columns(pieces, "now", "", batch_is_back(way) ? "r.{c}" : "r.{c}::{image}", false);
    add_columns(pieces, "then", "", batch_is_back(way) ? "u.o{n}" : "n.v{n}::{image}", false);
    add_columns(pieces, "ours", "", "u.n{n}", false);
    add_expanded(pieces, "differs",
                 is_put_back(plan, way)
                     ? "NOT EXISTS (SELECT FROM ONLY {table} AS r WHERE {r_is_u})"
                 : plan->action == BATCH_DELETE ? "true"
                 : batch_is_back(way) ? "NOT record_image_ne(ROW({now}), ROW({ours})) AND\n"
                                        "           record_image_ne(ROW({now}), ROW({then}))"
                                      : "record_image_ne(ROW({now}), ROW({then}))");
}

/* What is written, and what of it is returned and saved. */
static void add_written(struct pieces *pieces, enum batch_way way)
{
    const struct batch_plan *plan = pieces->plan;
    bool update = plan->action == BATCH_UPDATE;

    add_columns(pieces, "columns", "", "{c}", false);
    add_columns(pieces, "values_of_h", "", "h.v{n}", false);
    add_columns(pieces, "assignments", "", "{c} = h.v{n}", false);
    add_keys(pieces, "k_of_h", ", ", "h.k{n}");
    add_columns(pieces, "and_old_of_h", ", ", "h.o{n}", false);
    add_columns(pieces, "and_stored", ", ", update ? "r.{c} AS n{n}" : "", false);
    add_columns(pieces, "and_o", ", ", "o{n}", false);
    add_columns(pieces, "and_n", ", ", "n{n}", false);
    add_expanded(pieces, "and_saved", update ? "{and_o}{and_n}" : "{and_o}");
    add_expanded(pieces, "returned",
                 !saves(plan, way) ? "1"
                 : update          ? "{k_of_h}{and_old_of_h}{and_stored}"
                                   : "{k_of_h}{and_old_of_h}");
}

/* {range} and {and_where}. */
static void add_range(struct pieces *pieces, const struct order *order, enum batch_way way)
{
    const struct batch_plan *plan = pieces->plan;
    TEXT_AUTO piece = {0};

    text_append(&piece, order->range);
    add(pieces, "range", &piece);
    text_clear(&piece);
    if (plan->where != NULL && (way == BATCH_WALK || way == BATCH_REVISIT))
        text_appendf(&piece, "\n       AND (%s)", plan->where);
    add(pieces, "and_where", &piece);
}

void batch_plain_statement(const struct batch_plan *plan, int64_t job, enum batch_way way,
                           struct text *sql, struct text *visited)
{
    struct pieces pieces = {.plan = plan};
    struct order order;
    bool inverse = way == BATCH_INVERSE;

    if (!plan->plain || (way != BATCH_WALK && !inverse))
        return;
    batch_order(plan, job, way, &pieces.arena, &order);
    add_range(&pieces, &order, way);
    add_tables(&pieces, job);
    add_columns(&pieces, "assignments", "", "{c} = {value}", inverse);
    add_columns(&pieces, "now", "", "r.{c}::{image}", inverse);
    add_columns(&pieces, "then", "", "({value})::{image}", inverse);
    sql_expand(sql, PLAIN, pieces.names);
    sql_expand(visited, VISITED, pieces.names);
    arena_deinit(&pieces.arena);
}

void batch_statement(const struct batch_plan *plan, int64_t job, enum batch_way way,
                     struct text *sql)
{
    struct pieces pieces = {.plan = plan};
    struct order order;
    TEXT_AUTO piece = {0};

    batch_order(plan, job, way, &pieces.arena, &order);
    add_range(&pieces, &order, way);
    text_append(&piece, is_put_back(plan, way) ? "" : "r.ctid AS at, r.xmin AS by, ");
    add(&pieces, "at", &piece);
    text_clear(&piece);
    text_append(&piece,
                plan->action == BATCH_DELETE || plan->strong ? "FOR UPDATE" : "FOR NO KEY UPDATE");
    add(&pieces, "for_update", &piece);
    add_tables(&pieces, job);
    add_rows(&pieces, way);
    add_scanned(&pieces, way);
    add_written(&pieces, way);

    sql_expand(sql, SCANNED, pieces.names);
    if (is_put_back(plan, way)) {
        sql_expand(sql, PUT_BACK, pieces.names);
        text_append(sql, NEVER_LATER);
        if (batch_is_revisit(way))
            sql_expand(sql, ALL_GONE, pieces.names);
    } else {
        sql_expand(sql, HELD, pieces.names);
        sql_expand(sql, plan->action == BATCH_DELETE ? DELETED : UPDATED, pieces.names);
        if (saves(plan, way))
            sql_expand(sql, SAVED, pieces.names);
        sql_expand(sql, batch_is_revisit(way) ? STILL_LATER : LATER, pieces.names);
    }
    text_append(sql, COUNTS);
    arena_deinit(&pieces.arena);
}

static void order_for(const struct batch_plan *plan, int64_t job, enum batch_way way,
                      const char *alias, struct arena *arena, struct order *order)
{
    struct order_column columns[TABLE_KEY_COLUMNS_MAX];
    TEXT_AUTO table = {0};
    bool of_table = !batch_is_revisit(way) && way != BATCH_BACK;

    if (of_table)
        sql_append(&table, sql_table(plan->schema, plan->table));
    else
        text_appendf(&table, "pghaul.%s_%" PRId64, batch_is_revisit(way) ? "todo" : "undo", job);
    for (int i = 0; i < plan->key_count; i++)
        columns[i] = (struct order_column){of_table ? plan->key[i].source
                                                    : arena_format(arena, "k%d", i + 1),
                                           plan->key[i].source_type, plan->key[i].operator_schema};
    order_keys(order, arena, arena_copy(arena, text_string(&table)),
               of_table ? alias : walked_alias(way), columns, plan->key_count,
               plan->table_bytes / 8192, true);
}

/* Rows of the table by bounds over themselves, or over the keys in todo. */
static void own_range(const struct batch_plan *plan, int64_t job, enum batch_way way,
                      const char *alias, struct text *range)
{
    struct pieces pieces = {.plan = plan};
    struct order order;
    TEXT_AUTO piece = {0};

    order_for(plan, job, way, alias, &pieces.arena, &order);
    text_append(&piece, order.range);
    add(&pieces, "range", &piece);
    text_clear(&piece);
    text_append(&piece, alias);
    add(&pieces, "alias", &piece);
    add_tables(&pieces, job);
    add_keys(&pieces, "k", ", ", "k.k{n}");
    add_aliased_keys(&pieces, alias);
    sql_expand(range,
               batch_is_revisit(way) ? "({keys}) IN (SELECT {k} FROM {todo} AS k WHERE {range})"
                                     : "({range})",
               pieces.names);
    arena_deinit(&pieces.arena);
}

void batch_own_statement(const struct batch_plan *plan, int64_t job, enum batch_way way,
                         struct text *lock, struct text *own, struct text *gone)
{
    TEXT_AUTO range = {0};
    TEXT_AUTO own_rows = {0};
    struct arena arena = {0};
    struct order order;

    own_range(plan, job, way, "r", &range);
    sql_expand(lock,
               "SELECT count(*) FROM (\n"
               "    SELECT FROM ONLY {table} AS r WHERE {range} FOR UPDATE NOWAIT) AS held",
               SQL_NAMES({"table", sql_table(plan->schema, plan->table)},
                         {"range", sql_fragment(text_string(&range))}));
    own_range(plan, job, way, plan->alias, &own_rows);
    text_appendf(own, "%s%s%s", plan->statement, text_string(&own_rows), plan->statement_rest);
    if (batch_is_revisit(way)) {
        batch_order(plan, job, way, &arena, &order);
        text_appendf(gone, "DELETE FROM pghaul.todo_%" PRId64 " AS k WHERE %s", job, order.range);
    }
    arena_deinit(&arena);
}

void batch_order(const struct batch_plan *plan, int64_t job, enum batch_way way,
                 struct arena *arena, struct order *order)
{
    order_for(plan, job, way, walked_alias(way), arena, order);
}
