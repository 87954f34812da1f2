#include "copy/sequence.h"

#include <string.h>

#include "copy/grants.h"

enum sequence_way {
    SEQUENCE_MOVE,  /* the same sequence, another owner */
    SEQUENCE_MAKE,  /* ADD GENERATED .. AS IDENTITY */
    SEQUENCE_CARRY, /* the arriving column has its own */
};

struct sequence_step {
    enum sequence_way way;
    const char *column;   /* of the arriving table */
    const char *name;     /* of the leaving sequence, which the arriving one will have */
    const char *parked;   /* name of the one that stays behind: sequence_<oid> */
    const char *arriving; /* SEQUENCE_CARRY: name of the arriving sequence */
    const char *oid;
    const char *type;     /* SEQUENCE_MOVE: its data type */
    const char *widen;    /* SEQUENCE_MOVE: its new data type; NULL: it keeps its own */
    const char *narrow;   /* SEQUENCE_MOVE: the one it had before it was made wider; NULL: none */
    const char *identity; /* SEQUENCE_MAKE: fragment ALWAYS or BY DEFAULT */
    const char *options;  /* fragment: INCREMENT .. CYCLE; NULL: the arriving one has its own */
    const char *min;      /* of the arriving sequence, or when it is narrow again; fragments */
    const char *max;
    const char *start;
    const char *end; /* the leaving sequence's last possible value; NULL when it cycles */
    const char *comment;
    struct grants grants;
};

struct sequence_plan {
    const char *from; /* the tables' oids */
    const char *to;
    int count;
    struct sequence_step *steps;
};

/*
 * The sequences that columns of table $1 own, and what the column of that name (by {pairs}) of
 * table $2 has.
 *
 * A sequence feeds a column as its identity or through its default; a column may own others. Bounds
 * that were the data type's own stay so when the type changes, others are kept as far as the new
 * type holds them. A rollback makes nothing wider: it gives back. used_by: who else refers to the
 * sequence; the defaults of the two columns do not count.
 */
static const char SEQUENCES[] =
    "WITH pair(from_column, to_column) AS (\n"
    "    VALUES (NULL::text, NULL::text){pairs}\n"
    "), width(type, least, most) AS (\n"
    "    VALUES ('int2'::regtype, -32768::int8, 32767::int8), ('int4', -2147483648, 2147483647),\n"
    "           ('int8', -9223372036854775808, 9223372036854775807)\n"
    "), own AS (\n"
    "    SELECT d.refobjid AS relid, a.attname, a.attnum, a.attidentity, d.deptype, s.oid,\n"
    "        s.relname, q.*,\n"
    "           w.least, w.most,\n"
    "           d.deptype = 'i' OR EXISTS (\n"
    "               SELECT FROM pg_depend x JOIN pg_attrdef f ON f.oid = x.objid\n"
    "                WHERE x.refclassid = 'pg_class'::regclass AND x.refobjid = s.oid\n"
    "                  AND x.classid = 'pg_attrdef'::regclass AND f.adrelid = a.attrelid\n"
    "                      AND f.adnum = a.attnum)\n"
    "               AS feeds\n"
    "      FROM pg_depend d\n"
    "      JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'\n"
    "      JOIN pg_sequence q ON q.seqrelid = s.oid\n"
    "      JOIN width w ON w.type = q.seqtypid\n"
    "      JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid\n"
    "     WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass\n"
    "       AND d.deptype IN ('a', 'i') AND d.refobjid IN ($1::oid, $2::oid)\n"
    "), back AS (\n"
    "    SELECT id, facts FROM pghaul.job\n"
    "     WHERE source_oid = $2::oid\n"
    "       AND state NOT IN ('done', 'finished', 'aborted', 'rolled_back')\n"
    "), place AS (\n"
    "    SELECT l.*, b.attname AS to_column, b.attnum AS to_number, b.attnotnull, b.atthasdef,\n"
    "           format_type(b.atttypid, b.atttypmod) AS to_type, r.relname AS arriving,\n"
    "           r.deptype = l.deptype AS same_kind, w.type AS to_width, w.most AS to_most,\n"
    "           k.id IS NOT NULL AS is_back, n.type AS narrow,\n"
    "           CASE WHEN r.deptype <> l.deptype THEN r.seqmin\n"
    "               WHEN l.seqmin = l.least THEN coalesce(n.least, w.least)\n"
    "                ELSE greatest(l.seqmin, coalesce(n.least, w.least)) END AS new_min,\n"
    "           CASE WHEN r.deptype <> l.deptype THEN r.seqmax\n"
    "               WHEN l.seqmax = l.most THEN coalesce(n.most, w.most)\n"
    "                ELSE least(l.seqmax, coalesce(n.most, w.most)) END AS new_max\n"
    "      FROM own l\n"
    "      LEFT JOIN pair p ON p.from_column = l.attname\n"
    "      JOIN pg_attribute b ON b.attrelid = $2::oid AND NOT b.attisdropped\n"
    "                         AND b.attname = CASE WHEN p.from_column IS NULL THEN\n"
    "                             l.attname::text\n"
    "                                              ELSE p.to_column END\n"
    "      LEFT JOIN own r ON r.relid = $2::oid AND r.attnum = b.attnum AND r.feeds AND l.feeds\n"
    "      LEFT JOIN width w ON w.type = coalesce(r.seqtypid, b.atttypid)\n"
    "      LEFT JOIN back k ON true\n"
    "      LEFT JOIN width n ON n.type::text = k.facts -> 'widened' -> l.oid::text ->> 'was'\n"
    "                       AND r.relid IS NULL\n"
    "     WHERE l.relid = $1::oid\n"
    ")\n"
    "SELECT deptype, attname, to_column, relname, oid, arriving,\n"
    "       CASE WHEN to_most > most AND NOT is_back THEN to_width::text END,\n"
    "       CASE attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END,\n"
    "       CASE WHEN same_kind IS NOT FALSE THEN\n"
    "           format('START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s %sCYCLE',\n"
    "                  greatest(new_min, least(new_max, seqstart)), seqincrement, new_min,\n"
    "                      new_max, seqcache,\n"
    "                  CASE WHEN seqcycle THEN '' ELSE 'NO ' END) END,\n"
    "       new_min, new_max,\n"
    "       CASE WHEN NOT seqcycle THEN CASE WHEN seqincrement > 0 THEN seqmax\n"
    "           ELSE seqmin END END,\n"
    "       obj_description(oid, 'pg_class'),\n"
    "       to_type, to_width IS NOT NULL, attnotnull, atthasdef,\n"
    "       (SELECT string_agg(pg_describe_object(d.classid, d.objid, d.objsubid), ', ')\n"
    "          FROM pg_depend d LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass\n"
    "              AND f.oid = d.objid\n"
    "         WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = place.oid\n"
    "             AND d.deptype = 'n'\n"
    "           AND (f.adrelid, f.adnum) IS DISTINCT FROM (place.relid, place.attnum)\n"
    "           AND (f.adrelid, f.adnum) IS DISTINCT FROM ($2::oid, place.to_number)),\n"
    "       seqtypid::regtype, narrow, greatest(new_min, least(new_max, seqstart))\n"
    "  FROM place\n"
    " ORDER BY attnum, oid";

/* Column numbers of the query above. */
enum {
    COL_KIND,
    COL_COLUMN,
    COL_TO_COLUMN,
    COL_NAME,
    COL_OID,
    COL_ARRIVING,
    COL_WIDEN,
    COL_IDENTITY,
    COL_OPTIONS,
    COL_MIN,
    COL_MAX,
    COL_END,
    COL_COMMENT,
    COL_TO_TYPE,
    COL_TO_INTEGER,
    COL_TO_NOT_NULL,
    COL_TO_DEFAULT,
    COL_USED_BY,
    COL_TYPE,
    COL_NARROW,
    COL_START,
};

static bool refuse(const struct rows *rows, int row, enum sequence_way way, struct error *error)
{
    const char *column = rows_text(rows, row, COL_COLUMN);
    const char *used_by = rows_text(rows, row, COL_USED_BY);

    if (way == SEQUENCE_MOVE)
        return true;
    if (used_by != NULL) {
        error_set(error, ERROR_REFUSED, "sequence \"%s\" of column \"%s\" is used elsewhere",
                  rows_text(rows, row, COL_NAME), column);
        error_detail(error, "%s refers to it, and would go on with the old one", used_by);
        return error_hint(error, "give it a sequence of its own");
    }
    if (way == SEQUENCE_CARRY)
        return true;
    if (!rows_bool(rows, row, COL_TO_INTEGER)) {
        error_set(error, ERROR_REFUSED,
                  "column \"%s\" is an identity column, and type %s cannot be one", column,
                  rows_text(rows, row, COL_TO_TYPE));
        return error_hint(error,
                          "change it to smallint, integer or bigint, or DROP IDENTITY first");
    }
    if (!rows_bool(rows, row, COL_TO_NOT_NULL) || rows_bool(rows, row, COL_TO_DEFAULT)) {
        error_set(error, ERROR_REFUSED,
                  "column \"%s\" is an identity column: it must stay NOT NULL, without a default",
                  column);
        return error_hint(error, "DROP IDENTITY first");
    }
    return true;
}

static bool read_step(struct session *session, const struct rows *rows, int row,
                      struct arena *arena, struct sequence_step *step, struct error *error)
{
    uint32_t oid = (uint32_t)rows_int64(rows, row, COL_OID);

    if (rows_text(rows, row, COL_ARRIVING) != NULL)
        step->way = SEQUENCE_CARRY;
    else if (rows_text(rows, row, COL_KIND)[0] == 'i')
        step->way = SEQUENCE_MAKE;
    else
        step->way = SEQUENCE_MOVE;
    if (!refuse(rows, row, step->way, error))
        return false;
    step->column = arena_copy(arena, rows_text(rows, row, COL_TO_COLUMN));
    step->name = arena_copy(arena, rows_text(rows, row, COL_NAME));
    step->parked = arena_format(arena, "sequence_%u", oid);
    step->arriving = arena_copy(arena, rows_text(rows, row, COL_ARRIVING));
    step->oid = arena_copy(arena, rows_text(rows, row, COL_OID));
    step->type = arena_copy(arena, rows_text(rows, row, COL_TYPE));
    step->narrow = arena_copy(arena, rows_text(rows, row, COL_NARROW));
    step->start = arena_copy(arena, rows_text(rows, row, COL_START));
    step->widen = arena_copy(arena, rows_text(rows, row, COL_WIDEN));
    step->identity = arena_copy(arena, rows_text(rows, row, COL_IDENTITY));
    step->options = arena_copy(arena, rows_text(rows, row, COL_OPTIONS));
    step->min = arena_copy(arena, rows_text(rows, row, COL_MIN));
    step->max = arena_copy(arena, rows_text(rows, row, COL_MAX));
    step->end = arena_copy(arena, rows_text(rows, row, COL_END));
    step->comment = arena_copy(arena, rows_text(rows, row, COL_COMMENT));
    return step->way == SEQUENCE_MOVE || grants_read(session, oid, arena, &step->grants, error);
}

bool sequence_plan(struct session *session, uint32_t from, uint32_t to,
                   const struct sequence_pair *pairs, int pair_count, struct arena *arena,
                   struct sequence_plan **plan, struct error *error)
{
    ROWS_AUTO rows = {0};
    TEXT_AUTO list = {0};
    TEXT_AUTO sql = {0};

    for (int i = 0; i < pair_count; i++)
        sql_expand(&list, ", ({from}, {to})",
                   SQL_NAMES({"from", sql_literal(pairs[i].from_column)},
                             {"to", sql_literal(pairs[i].to_column)}));
    sql_expand(&sql, SEQUENCES, SQL_NAMES({"pairs", sql_fragment(text_string(&list))}));
    if (!session_query(session, &rows, text_string(&sql), PARAMS(NUMBER(from), NUMBER(to)), error))
        return error_context(error, "could not read sequences");
    *plan = arena_alloc(arena, sizeof(**plan));
    (*plan)->from = arena_copy(arena, NUMBER(from));
    (*plan)->to = arena_copy(arena, NUMBER(to));
    (*plan)->count = rows_count(&rows);
    (*plan)->steps = arena_alloc(arena, sizeof(*(*plan)->steps) * ((size_t)rows_count(&rows) + 1));
    for (int i = 0; i < rows_count(&rows); i++)
        if (!read_step(session, &rows, i, arena, &(*plan)->steps[i], error))
            return false;
    return true;
}

/* --------------------------------------------------------------------------------------------- SQL
 */

/* Its job is the open one whose source leaves. */
static void widen_sql(const struct sequence_step *step, const struct sql_name *values,
                      struct text *sql)
{
    if (step->widen != NULL)
        sql_expand(sql,
                   "UPDATE pghaul.job SET facts = facts || jsonb_build_object('widened',\n"
                   "       coalesce(facts -> 'widened', '{}') || jsonb_build_object({oid},\n"
                   "       jsonb_build_object('name', {arriving_literal}, 'was', {was})))\n"
                   " WHERE source_oid = {from}::oid\n"
                   "   AND state NOT IN ('done', 'finished', 'aborted', 'rolled_back');\n"
                   "ALTER SEQUENCE {arriving} AS {type};\n",
                   values);
}

/* Under the lock of OWNED BY, which keeps nextval() away: what is read of the state holds. */
static void narrow_sql(const struct sequence_step *step, const struct sql_name *values,
                       struct text *sql)
{
    TEXT_AUTO body = {0};

    if (step->narrow == NULL)
        return;
    sql_expand(&body,
               "BEGIN\n"
               "    IF (SELECT s.last_value BETWEEN {min} AND {max} FROM {arriving} s) THEN\n"
               "        ALTER SEQUENCE {arriving} AS {narrow}\n"
               "            MINVALUE {min} MAXVALUE {max} START WITH {start};\n"
               "        UPDATE pghaul.job SET facts = facts #- ARRAY['widened', {oid}]\n"
               "         WHERE source_oid = {to}::oid\n"
               "           AND state NOT IN ('done', 'finished', 'aborted', 'rolled_back');\n"
               "    END IF;\n"
               "END",
               values);
    sql_expand(sql, "DO {body};\n", SQL_NAMES({"body", sql_literal(text_string(&body))}));
}

/* The name must be in the other schema before OWNED BY, and an owned sequence cannot be moved:
 * hence NONE. */
static void move_sql(const struct sequence_plan *plan, const struct sequence_step *step,
                     const struct sequence_names *names, struct text *sql)
{
    struct sql_value arriving = sql_table(names->arriving_schema, step->name);
    TEXT_AUTO arriving_name = {0};
    const struct sql_name *values;

    sql_append(&arriving_name, arriving);
    values =
        SQL_NAMES({"leaving", sql_table(names->leaving_schema, step->name)}, {"arriving", arriving},
                  {"arriving_literal", sql_literal(text_string(&arriving_name))},
                  {"schema", sql_ident(names->arriving_schema)},
                  {"table", sql_table(names->arriving_schema, names->arriving_table)},
                  {"column", sql_ident(step->column)}, {"oid", sql_literal(step->oid)},
                  {"from", sql_literal(plan->from)}, {"to", sql_literal(plan->to)},
                  {"was", sql_literal(step->type)}, {"type", sql_fragment(step->widen)},
                  {"narrow", sql_fragment(step->narrow)}, {"min", sql_fragment(step->min)},
                  {"max", sql_fragment(step->max)}, {"start", sql_fragment(step->start)});

    if (strcmp(names->leaving_schema, names->arriving_schema) != 0)
        sql_expand(sql,
                   "ALTER SEQUENCE {leaving} OWNED BY NONE;\n"
                   "ALTER SEQUENCE {leaving} SET SCHEMA {schema};\n",
                   values);
    sql_expand(sql, "ALTER SEQUENCE {arriving} OWNED BY {table}.{column};\n", values);
    widen_sql(step, values, sql);
    narrow_sql(step, values, sql);
}

/*
 * RENAME comes first: it frees the name, and its lock keeps the state from changing between the
 * reading of it and the commit. A value that the new bounds do not hold counts as issued. RESTART
 * makes the setval() after it part of the transaction (it gives the sequence a new file), which
 * setval() alone is not.
 */
static void replace_sql(const struct sequence_step *step, const struct sequence_names *names,
                        struct text *sql)
{
    struct sql_value arriving = sql_table(names->arriving_schema, step->name);
    struct sql_value parked = sql_table(names->leaving_schema, step->parked);
    TEXT_AUTO arriving_name = {0};
    TEXT_AUTO parked_name = {0};
    const struct sql_name *values;

    sql_append(&arriving_name, arriving);
    sql_append(&parked_name, parked);
    values =
        SQL_NAMES({"leaving", sql_table(names->leaving_schema, step->name)}, {"parked", parked},
                  {"parked_name", sql_ident(step->parked)},
                  {"parked_literal", sql_literal(text_string(&parked_name))},
                  {"arriving", arriving}, {"name", sql_ident(step->name)},
                  {"arriving_literal", sql_literal(text_string(&arriving_name))},
                  {"before", sql_table(names->arriving_schema, step->arriving)},
                  {"table", sql_table(names->arriving_schema, names->arriving_table)},
                  {"column", sql_ident(step->column)}, {"identity", sql_fragment(step->identity)},
                  {"options", sql_fragment(step->options)}, {"min", sql_fragment(step->min)},
                  {"max", sql_fragment(step->max)}, {"end", sql_fragment(step->end)},
                  {"comment", sql_literal(step->comment)});

    sql_expand(sql, "ALTER SEQUENCE {leaving} RENAME TO {parked_name};\n", values);
    if (step->way == SEQUENCE_MAKE)
        sql_expand(sql,
                   "ALTER TABLE {table} ALTER COLUMN {column}\n"
                   "    ADD GENERATED {identity} AS IDENTITY (SEQUENCE NAME {arriving}\n"
                   "        {options});\n",
                   values);
    if (step->way == SEQUENCE_CARRY && strcmp(step->arriving, step->name) != 0)
        sql_expand(sql, "ALTER SEQUENCE {before} RENAME TO {name};\n", values);
    if (step->way == SEQUENCE_CARRY)
        sql_expand(sql,
                   step->options != NULL ? "ALTER SEQUENCE {arriving} {options} RESTART;\n"
                                         : "ALTER SEQUENCE {arriving} RESTART;\n",
                   values);
    sql_expand(sql,
               "SELECT pg_catalog.setval({arriving_literal}, greatest({min}, least({max},\n"
               "    s.last_value)),\n"
               "       s.is_called OR s.last_value NOT BETWEEN {min} AND {max})\n"
               "  FROM {parked} s;\n",
               values);
    if (step->end != NULL)
        sql_expand(sql,
                   "ALTER SEQUENCE {parked} RESTART WITH {end};\n"
                   "SELECT pg_catalog.setval({parked_literal}, {end}, true);\n",
                   values);
    grants_strip_sql(arriving, sql);
    grants_sql(&step->grants, arriving, sql);
    sql_expand(sql, "COMMENT ON SEQUENCE {arriving} IS {comment};\n", values);
}

void sequence_swap_sql(const struct sequence_plan *plan, const struct sequence_names *names,
                       struct text *sql)
{
    for (int i = 0; i < plan->count; i++) {
        if (plan->steps[i].way == SEQUENCE_MOVE)
            move_sql(plan, &plan->steps[i], names, sql);
        else
            replace_sql(&plan->steps[i], names, sql);
    }
}
