#include "copy/usage.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pg/sql.h"

/* ---------------------------------------------------------------------------------- statements */

/*
 * What is looked for. $1 is the table's oid, $2 the column's name; attnum is NULL when the table
 * does not have it.
 *
 * word: a pattern for a name as a whole word, quoted or not. Between words is every ASCII character
 * that the server does not take into an identifier: a letter of another alphabet is in one. A name
 * with capitals is only meant where it is spelled with them; "" may stand for " in a name.
 */
static const char TARGET_SQL[] =
    "WITH word(name, pattern) AS ("
    "       SELECT w.name, CASE WHEN w.name = lower(w.name) THEN '(?i)' ELSE '' END"
    "              || '(^|' || edge || ')'"
    "              || replace(regexp_replace(w.name, special, '\\\\\\&', 'g'), '\\\"', '\"{1,2}')"
    "              || '($|' || edge || ')'"
    "         FROM (VALUES ('[\\x01-\\x23\\x25-\\x2f\\x3a-\\x40\\x5b-\\x5e\\x60\\x7b-\\x7f]',"
    "                       '[\\x21-\\x2f\\x3a-\\x40\\x5b-\\x5e\\x60\\x7b-\\x7e]')) AS v(edge, "
    "special)"
    "        CROSS JOIN (SELECT relname::text FROM pg_class WHERE oid = $1::oid"
    "                     UNION SELECT $2::text) AS w(name)"
    "), target AS ("
    "       SELECT c.oid, a.attnum, n.nspname, c.relname,"
    "              t.pattern AS table_word, k.pattern AS column_word"
    "         FROM pg_class c"
    "         JOIN pg_namespace n ON n.oid = c.relnamespace"
    "         JOIN word t ON t.name = c.relname::text"
    "         JOIN word k ON k.name = $2::text"
    "         LEFT JOIN pg_attribute a"
    "           ON a.attrelid = c.oid AND a.attname = $2::text AND NOT a.attisdropped"
    "        WHERE c.oid = $1::oid)";

/*
 * What depends on the column. The server refuses to drop a column when something depends on it
 * normally and in no other way: a check constraint depends in two ways, and goes.
 */
static const char FOUND_BEGIN_SQL[] =
    "{target}, dependent AS ("
    "       SELECT d.classid, d.objid, d.objsubid,"
    "              CASE WHEN bool_and(d.deptype = 'n') THEN 0 ELSE 2 END AS weight"
    "         FROM target"
    "         JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass"
    "          AND d.refobjid = target.oid AND d.refobjsubid = target.attnum"
    "        GROUP BY 1, 2, 3"
    "), found(weight, kind, object, body) AS (";

/* One line of each: the first that names the column, else all as one. */
static const char FOUND_END_SQL[] =
    ")"
    "SELECT found.weight, found.kind, found.object,"
    "       left(btrim(regexp_replace(COALESCE(named.line, found.body), '\\s+', ' ', 'g')), 200)"
    "  FROM found"
    "  LEFT JOIN LATERAL ("
    "       SELECT l.line"
    "         FROM target"
    "        CROSS JOIN regexp_split_to_table(found.body, '\\n') WITH ORDINALITY AS l(line, number)"
    "        WHERE l.line ~ target.column_word"
    "        ORDER BY l.number LIMIT 1) AS named ON true";

/* Selects of weight, kind, object, body. */
static const struct {
    int since; /* server version that has the catalogue; 0: all that we support */
    const char *sql;
} FOUND_SQL[] = {
    {0, "SELECT d.weight,"
        "       CASE WHEN r.ev_type <> '1' THEN 'rule'"
        "            WHEN c.relkind = 'm' THEN 'materialized view' ELSE 'view' END,"
        "       CASE WHEN r.ev_type <> '1' THEN quote_ident(r.rulename) || ' ON ' ELSE '' END"
        "           || c.oid::regclass::text,"
        "       CASE WHEN r.ev_type <> '1' THEN pg_get_ruledef(r.oid)"
        "            ELSE pg_get_viewdef(c.oid) END"
        "  FROM dependent d"
        "  JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid"
        "  JOIN pg_class c ON c.oid = r.ev_class"
        " WHERE c.relnamespace IS DISTINCT FROM to_regnamespace('pghaul')::oid"},
    {0, "SELECT d.weight, 'policy', quote_ident(p.polname) || ' ON ' || p.polrelid::regclass::text,"
        "       concat_ws(' ', 'USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',"
        "                 'WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')"
        "  FROM dependent d"
        "  JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid"},
    {0, "SELECT d.weight, 'trigger', quote_ident(t.tgname) || ' ON ' || t.tgrelid::regclass::text,"
        "       pg_get_triggerdef(t.oid)"
        "  FROM dependent d"
        "  JOIN pg_trigger t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid"
        "  JOIN pg_proc f ON f.oid = t.tgfoid"
        " WHERE NOT t.tgisinternal AND NOT starts_with(t.tgname, '~pghaul_')"
        "   AND f.pronamespace IS DISTINCT FROM to_regnamespace('pghaul')::oid"},
    {150000, "SELECT d.weight, 'publication', quote_ident(p.pubname),"
             "       concat_ws(' ', '(' || (SELECT string_agg(quote_ident(a.attname), ', '"
             "                                                ORDER BY a.attnum)"
             "                                FROM pg_attribute a"
             "                               WHERE a.attrelid = r.prrelid"
             "                                 AND a.attnum = ANY (r.prattrs::int2[])) || ')',"
             "                 'WHERE ' || pg_get_expr(r.prqual, r.prrelid))"
             "  FROM dependent d"
             "  JOIN pg_publication_rel r"
             "    ON d.classid = 'pg_publication_rel'::regclass AND r.oid = d.objid"
             "  JOIN pg_publication p ON p.oid = r.prpubid"},
    {0, "SELECT d.weight, 'function', f.oid::regprocedure::text, pg_get_function_sqlbody(f.oid)"
        "  FROM dependent d"
        "  JOIN pg_proc f ON d.classid = 'pg_proc'::regclass AND f.oid = d.objid"
        " WHERE f.pronamespace IS DISTINCT FROM to_regnamespace('pghaul')::oid"},
    /* A generated column depends itself on 14, its expression does later; that of the column is its
     * default. */
    {0,
     "SELECT CASE WHEN own.yes THEN d.weight ELSE 0 END,"
     "       CASE WHEN own.yes THEN 'default' ELSE 'generated column' END,"
     "       x.adrelid::regclass::text || '.' || quote_ident(a.attname),"
     "       pg_get_expr(x.adbin, x.adrelid)"
     "  FROM dependent d"
     " CROSS JOIN target"
     "  JOIN pg_attrdef x"
     "    ON CASE d.classid WHEN 'pg_attrdef'::regclass THEN x.oid = d.objid"
     "                      WHEN 'pg_class'::regclass"
     "                      THEN x.adrelid = d.objid AND x.adnum = d.objsubid END"
     "  JOIN pg_attribute a ON a.attrelid = x.adrelid AND a.attnum = x.adnum"
     " CROSS JOIN LATERAL (SELECT x.adrelid = target.oid AND x.adnum = target.attnum) AS own(yes)"},
    /* Those of partitions come with their parent's. */
    {0,
     "SELECT d.weight, kind.name, quote_ident(k.conname) || ' ON ' || k.conrelid::regclass::text,"
     "       pg_get_constraintdef(k.oid)"
     "  FROM dependent d"
     "  JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid"
     "  JOIN (VALUES ('c', 'check constraint'), ('f', 'foreign key'), ('p', 'primary key'),"
     "               ('u', 'unique constraint'), ('x', 'exclusion constraint')"
     "       ) AS kind(type, name) ON kind.type = k.contype::text"
     " WHERE k.conparentid = 0"},
    {0, "SELECT d.weight, CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'index' END,"
        "       c.oid::regclass::text,"
        "       CASE c.relkind WHEN 'S' THEN '' ELSE pg_get_indexdef(c.oid) END"
        "  FROM dependent d"
        "  JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid"
        "   AND d.objsubid = 0 AND c.relkind IN ('i', 'I', 'S')"},
    {0, "SELECT d.weight, 'statistics', quote_ident(n.nspname) || '.' || quote_ident(s.stxname),"
        "       pg_get_statisticsobjdef(s.oid)"
        "  FROM dependent d"
        "  JOIN pg_statistic_ext s ON d.classid = 'pg_statistic_ext'::regclass AND s.oid = d.objid"
        "  JOIN pg_namespace n ON n.oid = s.stxnamespace"},
    {0, "SELECT d.weight, 'object', pg_describe_object(d.classid, d.objid, d.objsubid), ''"
        "  FROM dependent d"
        " WHERE d.classid NOT IN ('pg_rewrite'::regclass, 'pg_policy'::regclass,"
        "                         'pg_trigger'::regclass, 'pg_publication_rel'::regclass,"
        "                         'pg_proc'::regclass, 'pg_attrdef'::regclass,"
        "                         'pg_constraint'::regclass, 'pg_class'::regclass,"
        "                         'pg_statistic_ext'::regclass)"},
    /* The function of a trigger says NEW, and need not name the table. */
    {0, "SELECT 1, 'function', f.oid::regprocedure::text, f.prosrc"
        "  FROM target"
        "  JOIN pg_proc f ON f.prosrc ~ target.column_word"
        "  JOIN pg_language l ON l.oid = f.prolang"
        "  JOIN pg_namespace n ON n.oid = f.pronamespace"
        " WHERE l.lanname NOT IN ('internal', 'c')"
        "   AND n.nspname NOT IN ('information_schema', 'pghaul') "
        "   AND NOT starts_with(n.nspname, 'pg_')"
        "   AND (f.prosrc ~ target.table_word"
        "        OR EXISTS (SELECT FROM pg_trigger t"
        "                    WHERE t.tgrelid = target.oid AND t.tgfoid = f.oid"
        "                      AND NOT t.tgisinternal))"},
    /* Arguments are stored with a zero byte after each: tsvector_update_trigger(tsv, ..). */
    {0, "SELECT 1, 'trigger', quote_ident(t.tgname) || ' ON ' || t.tgrelid::regclass::text,"
        "       pg_get_triggerdef(t.oid)"
        "  FROM target"
        "  JOIN pg_trigger t ON t.tgrelid = target.oid"
        "  JOIN pg_proc f ON f.oid = t.tgfoid"
        " WHERE NOT t.tgisinternal AND NOT starts_with(t.tgname, '~pghaul_')"
        "   AND f.pronamespace IS DISTINCT FROM to_regnamespace('pghaul')::oid"
        "   AND encode(convert_to($2::text, getdatabaseencoding()), 'escape')"
        "       = ANY (string_to_array(encode(t.tgargs, 'escape'), '\\000'))"},
};

enum { STATEMENTS_MAX = 100, FOUND_COUNT = sizeof(FOUND_SQL) / sizeof(FOUND_SQL[0]) };

/* Its view, as a member of the extension: anybody may call a table of his so. */
static const char STATEMENTS_VIEW_SQL[] =
    "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)"
    "  FROM pg_extension x"
    "  JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = x.oid"
    "   AND d.classid = 'pg_class'::regclass AND d.deptype = 'e'"
    "  JOIN pg_class c ON c.oid = d.objid AND c.relname = 'pg_stat_statements'"
    "  JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE x.extname = 'pg_stat_statements'";

/*
 * queryid, detail, how many there are. The last row has no queryid, and the number of those that
 * are not shown to this role.
 *
 * Changes of the schema are no use of it, but CREATE TABLE .. AS is. Ours call the table
 * ONLY "schema"."table", quoted whether it is needed or not, or name something of schema pghaul.
 */
static const char STATEMENTS_SQL[] =
    "{target}, seen AS MATERIALIZED ("
    "       SELECT s.queryid, s.calls, s.query"
    "         FROM {view} s"
    "         JOIN pg_database b ON b.oid = s.dbid AND b.datname = current_database()"
    "), named AS ("
    "       SELECT s.queryid, sum(s.calls) AS calls, min(s.query) AS query,"
    "              count(*) OVER () AS total"
    "         FROM target JOIN seen s"
    "           ON s.query ~ target.column_word AND s.query ~ target.table_word"
    "        WHERE s.query !~* '^\\s*(alter|drop|comment|grant|revoke)\\M'"
    "          AND (s.query !~* '^\\s*create\\M'"
    "               OR s.query ~* '^\\s*create\\s+(\\w+\\s+){0,2}table\\M.*"
    "\\mas[\\s(]+(select|with|values|table)\\M')"
    "          AND s.query !~ '\\mpghaul\\M'"
    "          AND strpos(s.query, format('ONLY \"%s\".\"%s\"',"
    "                                     replace(target.nspname, '\"', '\"\"'),"
    "                                     replace(target.relname, '\"', '\"\"'))) = 0"
    "        GROUP BY s.queryid"
    "        ORDER BY calls DESC, s.queryid LIMIT {limit})"
    "SELECT queryid::text,"
    "       calls || CASE calls WHEN 1 THEN ' call: ' ELSE ' calls: ' END"
    "           || left(btrim(regexp_replace(query, '\\s+', ' ', 'g')), 200), total"
    "  FROM named"
    " UNION ALL "
    "SELECT NULL, NULL, count(*) FROM seen WHERE query = '<insufficient privilege>'";

/* ---------------------------------------------------------------------------------------- lists */

void usage_add(struct usage_list *list, const struct usage *usage)
{
    if (list->count == list->size) {
        list->size = list->size == 0 ? 16 : list->size * 2;
        list->items = memory_resize(list->items, (size_t)list->size * sizeof(*list->items));
    }
    list->items[list->count++] = (struct usage){
        .weight = usage->weight,
        .kind = arena_copy(&list->arena, usage->kind),
        .object = arena_copy(&list->arena, usage->object),
        .detail = arena_copy(&list->arena, usage->detail),
        .last_seen = arena_copy(&list->arena, usage->last_seen),
    };
}

void usage_list_deinit(struct usage_list *list)
{
    free(list->items);
    arena_deinit(&list->arena);
    *list = (struct usage_list){0};
}

/* Here and not in SQL: the same whatever the database's collation. */
static int compare(const void *left, const void *right)
{
    const struct usage *a = left;
    const struct usage *b = right;
    int order = (int)a->weight - (int)b->weight;

    if (order == 0)
        order = strcmp(a->kind, b->kind);
    if (order == 0)
        order = strcmp(a->object, b->object);
    return order != 0 ? order : strcmp(a->detail, b->detail);
}

/* ----------------------------------------------------------------------------------- catalogue */

static bool read_catalogue(struct session *session, struct params params, struct usage_list *list,
                           struct error *error)
{
    TEXT_AUTO sql = {0};
    ROWS_AUTO rows = {0};

    sql_expand(&sql, FOUND_BEGIN_SQL, SQL_NAMES({"target", sql_fragment(TARGET_SQL)}));
    for (int i = 0; i < FOUND_COUNT; i++)
        if (session_server_version(session) >= FOUND_SQL[i].since)
            text_appendf(&sql, "%s%s", i == 0 ? "" : " UNION ALL ", FOUND_SQL[i].sql);
    text_append(&sql, FOUND_END_SQL);
    if (!session_query(session, &rows, text_string(&sql), params, error))
        return false;
    for (int row = 0; row < rows_count(&rows); row++) {
        const char *object = rows_text(&rows, row, 2);
        const char *detail = rows_text(&rows, row, 3);

        /* What is being dropped has no name or text any more. */
        usage_add(list, &(struct usage){.weight = (enum usage_weight)rows_int64(&rows, row, 0),
                                        .kind = rows_text(&rows, row, 1),
                                        .object = object == NULL ? "an object" : object,
                                        .detail = detail == NULL ? "" : detail});
    }
    return true;
}

/* ---------------------------------------------------------------------------------- statements */

static void add_unseen(struct usage_list *list, const char *what)
{
    list->unseen =
        list->unseen == NULL ? what : arena_format(&list->arena, "%s; %s", list->unseen, what);
}

static void add_statements(const struct rows *rows, struct usage_list *list)
{
    int last = rows_count(rows) - 1;
    int64_t total = last > 0 ? rows_int64(rows, 0, 2) : 0;
    int64_t hidden = rows_int64(rows, last, 2);

    for (int row = 0; row < last; row++)
        usage_add(list, &(struct usage){.weight = USAGE_BREAKS,
                                        .kind = "statement",
                                        .object = rows_text(rows, row, 0),
                                        .detail = rows_text(rows, row, 1)});
    if (total > last)
        add_unseen(list, arena_format(&list->arena, "%" PRId64 " statements that are called less",
                                      total - last));
    if (hidden > 0)
        add_unseen(list, arena_format(&list->arena,
                                      "%" PRId64 " statements of other roles: pg_stat_statements "
                                      "shows them to members of pg_read_all_stats",
                                      hidden));
}

/* It may be installed and not loaded, not granted, or hold a text that this database's encoding
 * does not have. Anything else says nothing about it. */
static bool is_unreadable(const struct error *error)
{
    return error->code == ERROR_SQL &&
           (strcmp(error->sqlstate, "55000") == 0 || strncmp(error->sqlstate, "42", 2) == 0 ||
            strncmp(error->sqlstate, "22", 2) == 0);
}

/* By session_query(): none of this belongs into the script of a dry run. */
static bool mark(struct session *session, const char *sql, struct error *error)
{
    ROWS_AUTO rows = {0};

    return session_query(session, &rows, sql, NO_PARAMS, error);
}

static bool read_view(struct session *session, const char *view, struct params params,
                      struct usage_list *list, struct error *error)
{
    bool marked = session_in_transaction(session);
    TEXT_AUTO sql = {0};
    ROWS_AUTO rows = {0};

    sql_expand(&sql, STATEMENTS_SQL,
               SQL_NAMES({"target", sql_fragment(TARGET_SQL)}, {"view", sql_fragment(view)},
                         {"limit", sql_fragment(NUMBER(STATEMENTS_MAX))}));
    if (marked && !mark(session, "SAVEPOINT pghaul_usage", error))
        return false;
    if (session_query(session, &rows, text_string(&sql), params, error)) {
        add_statements(&rows, list);
    } else {
        if (!is_unreadable(error))
            return false;
        add_unseen(list, arena_format(&list->arena, "pg_stat_statements cannot be read: %s",
                                      error->message));
        if (marked && !mark(session, "ROLLBACK TO SAVEPOINT pghaul_usage", error))
            return false;
    }
    return !marked || mark(session, "RELEASE SAVEPOINT pghaul_usage", error);
}

static bool read_statements(struct session *session, struct params params, struct usage_list *list,
                            struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(session, &rows, STATEMENTS_VIEW_SQL, NO_PARAMS, error))
        return false;
    if (rows_count(&rows) > 0)
        return read_view(session, rows_text(&rows, 0, 0), params, list, error);
    add_unseen(list, "extension pg_stat_statements is not installed in this database");
    return true;
}

bool usage_read(struct session *session, uint32_t table_oid, const char *column,
                struct usage_list *list, struct error *error)
{
    const struct params params = PARAMS(NUMBER(table_oid), column);

    *list = (struct usage_list){0};
    if (!read_catalogue(session, params, list, error) ||
        !read_statements(session, params, list, error)) {
        usage_list_deinit(list);
        return error_context(error, "could not look for what uses column %s", column);
    }
    if (list->count > 1)
        qsort(list->items, (size_t)list->count, sizeof(*list->items), compare);
    return true;
}
