#include "copy/attached.h"

#include <stdio.h>

/*
 * Canonical rows (kind, object, definition) of relation {oid}.
 *
 * The name of the relation never appears in them: expressions are deparsed by themselves,
 * definitions of indexes from USING on, and in policies, where a column inside a sub-select must be
 * qualified, the name is replaced. Everything has the server's own spelling with search_path =
 * pg_catalog, so equal rows mean equal definitions.
 *
 * {pair} is both relations that are compared: a string in a policy may look like a name of either,
 * on both sides. {with_identity}, {with_not_valid} and {with_deferrable} are true or false (enum
 * attached_left_out).
 *
 * Column option pg_attver (seen on 15.20) is the server's own stamp of when the column got its
 * type, no attribute of the user's: SET and RESET of it change nothing, and pg_dump leaves it out
 * by the same condition. Only this one; any other option that we do not know counts.
 *
 * Invalid indexes are wrecks of CREATE or REINDEX CONCURRENTLY and do not count, as in pg_dump.
 */
static const char ROWS_TABLE[] =
    /* the relation itself */
    "SELECT v.kind, '' AS object, v.definition\n"
    "  FROM pg_class c\n"
    "  LEFT JOIN pg_am am ON am.oid = c.relam\n"
    "  LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace\n"
    " CROSS JOIN LATERAL (VALUES\n"
    "     ('owner', quote_ident(pg_get_userbyid(c.relowner))),\n"
    "     ('access method', am.amname),\n"
    "     ('tablespace', s.spcname),\n"
    "     ('persistence', c.relpersistence::text),\n"
    "     ('row security', CASE WHEN c.relrowsecurity THEN 'enabled' END),\n"
    "     ('row security for the owner', CASE WHEN c.relforcerowsecurity THEN 'forced' END),\n"
    "     ('composite type', CASE WHEN c.reloftype <> 0 THEN c.reloftype::regtype::text END),\n"
    /* REPLICA IDENTITY USING INDEX of an index that was dropped means NOTHING */
    "     ('replica identity', CASE c.relreplident\n"
    "          WHEN 'f' THEN 'full'\n"
    "          WHEN 'n' THEN 'nothing'\n"
    "          WHEN 'i' THEN coalesce((SELECT 'index ' || quote_ident(i.relname)\n"
    "                                    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid\n"
    "                                   WHERE x.indrelid = c.oid AND x.indisreplident),\n"
    "                                       'nothing') END)\n"
    "     ) v(kind, definition)\n"
    " WHERE c.oid = {oid} AND v.definition IS NOT NULL\n"
    "UNION ALL\n"
    "SELECT 'storage parameter', '', o\n"
    "  FROM pg_class c, unnest(c.reloptions) o\n"
    " WHERE c.oid = {oid}\n"
    "UNION ALL\n"
    "SELECT 'storage parameter', '', 'toast.' || o\n"
    "  FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid, unnest(t.reloptions) o\n"
    " WHERE c.oid = {oid}\n"
    "UNION ALL\n"
    "SELECT 'grant', '', format('%s%s to %s by %I', e.privilege_type,\n"
    "           CASE WHEN e.is_grantable THEN ' with grant option' ELSE '' END,\n"
    "           CASE e.grantee WHEN 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(e.grantee))\n"
    "               END,\n"
    "           pg_get_userbyid(e.grantor))\n"
    "  FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) e\n"
    " WHERE c.oid = {oid}\n"
    "UNION ALL\n"
    "SELECT 'comment', '', d.description\n"
    "  FROM pg_description d\n"
    " WHERE d.classoid = 'pg_class'::regclass AND d.objoid = {oid} AND d.objsubid = 0\n"
    "UNION ALL\n"
    "SELECT 'security label', coalesce('column ' || quote_ident(a.attname), ''), format('%s %s',\n"
    "    l.provider, l.label)\n"
    "  FROM pg_seclabel l\n"
    "  LEFT JOIN pg_attribute a ON a.attrelid = l.objoid AND a.attnum = l.objsubid\n"
    "      AND l.objsubid > 0\n"
    " WHERE l.classoid = 'pg_class'::regclass AND l.objoid = {oid}\n";

static const char ROWS_COLUMNS[] =
    "UNION ALL\n"
    "SELECT v.kind, 'column ' || quote_ident(a.attname), v.definition\n"
    "  FROM (SELECT a.*, row_number() OVER (ORDER BY a.attnum) AS place,\n"
    "               (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d\n"
    "                 WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) AS expression\n"
    "          FROM pg_attribute a\n"
    "         WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped) a\n"
    " CROSS JOIN LATERAL (VALUES\n"
    "     ('type', format('%s at place %s%s', format_type(a.atttypid, a.atttypmod), a.place,\n"
    "          CASE WHEN a.attcollation <> 0 THEN ' collate ' || a.attcollation::regcollation\n"
    "              ELSE '' END)),\n"
    /* since 18 a NOT NULL constraint may be not validated */
    "     ('not null', CASE WHEN a.attnotnull AND ({with_not_valid} OR NOT EXISTS (\n"
    "          SELECT FROM pg_constraint n WHERE n.conrelid = a.attrelid AND n.contype = 'n'\n"
    "              AND NOT n.convalidated\n"
    "                                        AND n.conkey[1] = a.attnum)) THEN 'yes' END),\n"
    "     ('default', CASE WHEN a.attgenerated = '' THEN a.expression END),\n"
    "     ('generated', CASE WHEN a.attgenerated <> '' THEN a.attgenerated::text || ' ' ||\n"
    "         a.expression END),\n"
    "     ('identity', CASE WHEN {with_identity} AND a.attidentity <> '' THEN a.attidentity::text\n"
    "         END),\n"
    "     ('storage', a.attstorage::text),\n"
    "     ('compression', nullif(a.attcompression::text, '')),\n"
    "     ('statistics target', nullif(a.attstattarget, -1)::text),\n"
    "     ('comment', col_description(a.attrelid, a.attnum))\n"
    "     ) v(kind, definition)\n"
    " WHERE v.definition IS NOT NULL\n"
    "UNION ALL\n"
    "SELECT 'option', 'column ' || quote_ident(a.attname), o\n"
    "  FROM pg_attribute a, unnest(a.attoptions) o\n"
    " WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped AND NOT starts_with(o,\n"
    "     'pg_attver=')\n"
    "UNION ALL\n"
    "SELECT 'grant', 'column ' || quote_ident(a.attname), format('%s%s to %s by %I',\n"
    "    e.privilege_type,\n"
    "           CASE WHEN e.is_grantable THEN ' with grant option' ELSE '' END,\n"
    "           CASE e.grantee WHEN 0 THEN 'public' ELSE quote_ident(pg_get_userbyid(e.grantee))\n"
    "               END,\n"
    "           pg_get_userbyid(e.grantor))\n"
    "  FROM pg_attribute a, aclexplode(a.attacl) e\n"
    " WHERE a.attrelid = {oid} AND NOT a.attisdropped\n";

static const char ROWS_CONSTRAINTS_INDEXES[] =
    "UNION ALL\n"
    "SELECT v.kind, 'constraint ' || quote_ident(k.conname), v.definition\n"
    "  FROM pg_constraint k\n"
    " CROSS JOIN LATERAL (VALUES\n"
    "     ('definition', pg_get_constraintdef(k.oid)),\n"
    "     ('comment', obj_description(k.oid, 'pg_constraint'))) v(kind, definition)\n"
    " WHERE k.conrelid = {oid} AND k.contype IN ('c', 'n', 'p', 'u', 'x')\n"
    "     AND v.definition IS NOT NULL\n"
    "   AND ({with_not_valid} OR k.convalidated) AND ({with_deferrable} OR NOT k.condeferrable)\n"
    "UNION ALL\n"
    "SELECT v.kind, 'index ' || quote_ident(i.relname), v.definition\n"
    "  FROM pg_index x\n"
    "  JOIN pg_class c ON c.oid = x.indrelid\n"
    "  JOIN pg_namespace n ON n.oid = c.relnamespace\n"
    "  JOIN pg_class i ON i.oid = x.indexrelid\n"
    "  LEFT JOIN pg_constraint k ON k.conindid = x.indexrelid AND k.conrelid = x.indrelid\n"
    "                           AND k.contype IN ('p', 'u', 'x')\n"
    "  LEFT JOIN pg_tablespace s ON s.oid = i.reltablespace\n"
    " CROSS JOIN LATERAL (SELECT {with_deferrable} OR NOT coalesce(k.condeferrable,\n"
    "     false)) w(constrained)\n"
    " CROSS JOIN LATERAL (VALUES\n"
    "     ('definition', CASE WHEN x.indisunique THEN 'unique ' ELSE '' END\n"
    "          || substr(pg_get_indexdef(i.oid), 1 + length(format('CREATE %sINDEX %I ON %s%s ',\n"
    "                 CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END, i.relname,\n"
    "                 CASE WHEN i.relkind = 'I' THEN 'ONLY ' ELSE '' END, format('%I.%I',\n"
    "                     n.nspname, c.relname))))\n"
    "          || coalesce(' tablespace ' || quote_ident(s.spcname), '')),\n"
    "     ('primary', CASE WHEN w.constrained AND x.indisprimary THEN 'yes' END),\n"
    "     ('immediate', CASE WHEN w.constrained AND NOT x.indimmediate THEN 'no' END),\n"
    "     ('exclusion', CASE WHEN w.constrained AND x.indisexclusion THEN 'yes' END),\n"
    "     ('clustered', CASE WHEN x.indisclustered THEN 'yes' END),\n"
    "     ('comment', obj_description(i.oid, 'pg_class'))\n"
    "     ) v(kind, definition)\n"
    " WHERE x.indrelid = {oid} AND x.indisvalid AND v.definition IS NOT NULL\n"
    "UNION ALL\n"
    "SELECT 'statistics target', 'index ' || quote_ident(i.relname),\n"
    "    format('%s of its column %s', a.attstattarget,\n"
    "           a.attnum)\n"
    "  FROM pg_index x\n"
    "  JOIN pg_class i ON i.oid = x.indexrelid\n"
    "  JOIN pg_attribute a ON a.attrelid = i.oid\n"
    " WHERE x.indrelid = {oid} AND x.indisvalid AND a.attstattarget >= 0\n";

static const char ROWS_STATISTICS_POLICIES[] =
    /* kept under the name stat_<oid of the partner>: shown under the partner's name */
    "UNION ALL\n"
    "SELECT v.kind, format('statistics %I.%I', n.nspname, coalesce(p.stxname, s.stxname)),\n"
    "    v.definition\n"
    "  FROM pg_statistic_ext s\n"
    "  LEFT JOIN pg_statistic_ext p ON s.stxname ~ '^stat_[0-9]{1,10}$'\n"
    "                              AND p.oid::text = substr(s.stxname::text, 6)\n"
    "  JOIN pg_namespace n ON n.oid = coalesce(p.stxnamespace, s.stxnamespace)\n"
    " CROSS JOIN LATERAL (VALUES\n"
    "     ('definition', format('(%s) on %s', array_to_string(s.stxkind, ' '),\n"
    "          pg_get_statisticsobjdef_columns(s.oid))),\n"
    "     ('owner', quote_ident(pg_get_userbyid(s.stxowner))),\n"
    "     ('statistics target', nullif(s.stxstattarget, -1)::text),\n"
    "     ('comment', obj_description(s.oid, 'pg_statistic_ext'))) v(kind, definition)\n"
    " WHERE s.stxrelid = {oid} AND v.definition IS NOT NULL\n"
    "UNION ALL\n"
    "SELECT v.kind, 'policy ' || quote_ident(p.polname), v.definition\n"
    "  FROM pg_policy p\n"
    "  JOIN pg_class c ON c.oid = p.polrelid\n"
    /* a quoted name of either table, and not the end of a longer one, before a point */
    " CROSS JOIN (SELECT '(?<![\\w\".$])(?:' || string_agg(regexp_replace(quote_ident(relname),\n"
    "     '([^[:alnum:]_])',\n"
    "                    '\\\\\\1', 'g'), '|') || ')\\.'\n"
    "               FROM pg_class WHERE oid IN ({pair})) name(pattern)\n"
    " CROSS JOIN LATERAL (VALUES\n"
    "     ('definition', format('%s for %s to %s', CASE WHEN p.polpermissive THEN 'permissive'\n"
    "         ELSE 'restrictive' END,\n"
    "          CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update'\n"
    "              WHEN 'd' THEN 'delete'\n"
    "                        ELSE 'all' END,\n"
    "          (SELECT string_agg(CASE r WHEN 0 THEN 'public'\n"
    "              ELSE quote_ident(pg_get_userbyid(r)) END, ', '\n"
    "                             ORDER BY pg_get_userbyid(r)) FROM unnest(p.polroles) r))),\n"
    "     ('using', regexp_replace(pg_get_expr(p.polqual, p.polrelid), name.pattern, '<table>.',\n"
    "         'g')),\n"
    "     ('with check', regexp_replace(pg_get_expr(p.polwithcheck, p.polrelid), name.pattern,\n"
    "         '<table>.', 'g')),\n"
    "     ('comment', obj_description(p.oid, 'pg_policy'))) v(kind, definition)\n"
    " WHERE p.polrelid = {oid} AND v.definition IS NOT NULL\n";

static void rows_sql(const char *oid, const char *pair, unsigned left_out, struct text *sql)
{
    static const char *const parts[] = {ROWS_TABLE, ROWS_COLUMNS, ROWS_CONSTRAINTS_INDEXES,
                                        ROWS_STATISTICS_POLICIES};

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        sql_expand(
            sql, parts[i],
            SQL_NAMES(
                {"oid", sql_fragment(oid)}, {"pair", sql_fragment(pair)},
                {"with_identity", sql_fragment(left_out & ATTACHED_IDENTITY ? "false" : "true")},
                {"with_not_valid", sql_fragment(left_out & ATTACHED_NOT_VALID ? "false" : "true")},
                {"with_deferrable",
                 sql_fragment(left_out & ATTACHED_DEFERRABLE ? "false" : "true")}));
}

bool attached_compare(struct session *session, uint32_t from, uint32_t to, unsigned left_out,
                      struct text *differences, struct error *error)
{
    ROWS_AUTO rows = {0};
    TEXT_AUTO from_sql = {0};
    TEXT_AUTO to_sql = {0};
    TEXT_AUTO sql = {0};

    rows_sql("$1::oid", "$1::oid, $2::oid", left_out, &from_sql);
    rows_sql("$2::oid", "$1::oid, $2::oid", left_out, &to_sql);
    sql_expand(&sql,
               "WITH source AS (\n{from}), shadow AS (\n{to}), difference AS (\n"
               "    SELECT '-' AS side, o.* FROM (TABLE source EXCEPT ALL TABLE shadow) o\n"
               "    UNION ALL\n"
               "    SELECT '+', o.* FROM (TABLE shadow EXCEPT ALL TABLE source) o\n"
               ")\n"
               "SELECT side || ' ' || kind || CASE object WHEN '' THEN ''\n"
               "    ELSE ' of ' || object END || ': ' || definition\n"
               "  FROM difference\n"
               " ORDER BY object, kind, side DESC, definition",
               SQL_NAMES({"from", sql_fragment(text_string(&from_sql))},
                         {"to", sql_fragment(text_string(&to_sql))}));
    if (!session_query(session, &rows, text_string(&sql), PARAMS(NUMBER(from), NUMBER(to)), error))
        return error_context(error, "could not compare the catalogue of two tables");
    for (int i = 0; i < rows_count(&rows); i++)
        text_appendf(differences, "%s\n", rows_text(&rows, i, 0));
    return true;
}

/*
 * Rows that only the fingerprint has: what hangs on the table from outside. Triggers whose function
 * is in schema pghaul are ours. Dependents are taken from pg_depend, of the table, its columns and
 * its row type; those that other rows tell about already are left out, because their oids may
 * change without anybody changing anything (REINDEX CONCURRENTLY).
 */
static const char ROWS_AROUND[] =
    "UNION ALL\n"
    "SELECT 'number', 'column ' || quote_ident(a.attname), a.attnum::text\n"
    "  FROM pg_attribute a\n"
    " WHERE a.attrelid = {oid} AND a.attnum > 0 AND NOT a.attisdropped\n"
    "UNION ALL\n"
    "SELECT 'name', '', {oid}::regclass::text\n"
    "UNION ALL\n"
    "SELECT 'foreign key', k.oid::text, format('%s on %s to %s: %s', k.conname, k.conrelid,\n"
    "    k.confrelid,\n"
    "           pg_get_constraintdef(k.oid))\n"
    "  FROM pg_constraint k\n"
    " WHERE k.contype = 'f' AND (k.conrelid = {oid} OR k.confrelid = {oid})\n"
    "UNION ALL\n"
    "SELECT 'trigger', t.oid::text, t.tgenabled::text || ' ' || pg_get_triggerdef(t.oid)\n"
    "  FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid JOIN pg_namespace n\n"
    "      ON n.oid = f.pronamespace\n"
    " WHERE t.tgrelid = {oid} AND NOT t.tgisinternal AND n.nspname <> 'pghaul'\n"
    "UNION ALL\n"
    "SELECT 'rule', r.oid::text, r.ev_enabled::text || ' ' || pg_get_ruledef(r.oid)\n"
    "  FROM pg_rewrite r\n"
    " WHERE r.ev_class = {oid}\n"
    "UNION ALL\n"
    "SELECT 'inheritance', i.inhrelid::text, i.inhparent::text\n"
    "  FROM pg_inherits i\n"
    " WHERE i.inhrelid = {oid} OR i.inhparent = {oid}\n"
    "UNION ALL\n"
    "SELECT 'publication', p.oid::text, to_jsonb(r)::text\n"
    "  FROM pg_publication p LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid\n"
    "      AND r.prrelid = {oid}\n"
    " WHERE p.puballtables OR r.oid IS NOT NULL\n"
    /* its apply workers write without our triggers; how far it is (srsubstate) is no definition */
    "UNION ALL\n"
    "SELECT 'subscription', r.srsubid::text, ''\n"
    "  FROM pg_subscription_rel r\n"
    " WHERE r.srrelid = {oid}\n"
    "UNION ALL\n"
    "SELECT 'sequence', s.oid::text, format('%s %s %s %s %s %s', s.oid::regclass, d.refobjsubid,\n"
    "    d.deptype, s.relowner,\n"
    "           s.relacl, to_jsonb(q))\n"
    "  FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_sequence q\n"
    "      ON q.seqrelid = s.oid\n"
    " WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass\n"
    "     AND d.refobjid = {oid}\n"
    "   AND d.deptype IN ('a', 'i')\n"
    "UNION ALL\n"
    "SELECT 'dependent', format('%s %s %s', d.classid, d.objid, d.objsubid), format('%s %s',\n"
    "    d.refobjsubid, d.deptype)\n"
    "  FROM (SELECT * FROM pg_depend\n"
    "         WHERE refclassid = 'pg_class'::regclass AND refobjid = {oid}\n"
    "        UNION ALL\n"
    "        SELECT * FROM pg_depend\n"
    "         WHERE refclassid = 'pg_type'::regclass\n"
    "           AND refobjid IN (SELECT y.oid FROM pg_class c JOIN pg_type y\n"
    "               ON c.reltype IN (y.oid, y.typelem)\n"
    "                             WHERE c.oid = {oid})) d\n"
    " WHERE d.classid NOT IN ('pg_attrdef'::regclass, 'pg_constraint'::regclass,\n"
    "     'pg_trigger'::regclass,\n"
    "                         'pg_statistic_ext'::regclass)\n"
    "   AND NOT (d.classid = 'pg_class'::regclass AND d.deptype <> 'n')\n"
    "   AND NOT (d.classid = 'pg_type'::regclass AND d.deptype = 'i')\n"
    "   AND NOT (d.classid = 'pg_policy'::regclass\n"
    "            AND d.objid IN (SELECT p.oid FROM pg_policy p WHERE p.polrelid = {oid}))\n";

/* Publications of whole schemas: since 15. */
static const char ROWS_AROUND_15[] =
    "UNION ALL\n"
    "SELECT 'publication of schema', n.pnpubid::text, ''\n"
    "  FROM pg_publication_namespace n JOIN pg_class c ON c.relnamespace = n.pnnspid\n"
    " WHERE c.oid = {oid}\n";

/* All rows of a fingerprint; `table`: SQL for its oid. */
static void fingerprint_rows_sql(const struct session *session, const char *table, struct text *sql)
{
    rows_sql(table, table, 0, sql);
    sql_expand(sql, ROWS_AROUND, SQL_NAMES({"oid", sql_fragment(table)}));
    if (session_server_version(session) >= 150000)
        sql_expand(sql, ROWS_AROUND_15, SQL_NAMES({"oid", sql_fragment(table)}));
}

/*
 * A plan with a constant of type oid depends on the relation of that oid, if there is one: every
 * ALTER TABLE would have it planned anew, and the swap is made of those. So the oid goes in as a
 * bigint that the planner cannot fold into one.
 */
bool attached_fingerprint(struct session *session, uint32_t oid, char digest[33],
                          struct error *error)
{
    ROWS_AUTO rows = {0};
    TEXT_AUTO sql = {0};
    char name[32];
    char table[96];

    snprintf(name, sizeof(name), "fingerprint_%u", oid);
    snprintf(table, sizeof(table), "(SELECT n::oid FROM (SELECT %u::bigint AS n OFFSET 0) AS t)",
             oid);
    text_append(&sql, "SELECT md5(coalesce(string_agg(jsonb_build_array(r.kind, r.object, "
                      "r.definition)::text, ''\n"
                      "              ORDER BY r.kind COLLATE \"C\", r.object COLLATE \"C\",\n"
                      "                  r.definition COLLATE \"C\"), ''))\n"
                      "  FROM (\n");
    fingerprint_rows_sql(session, table, &sql);
    text_append(&sql, ") r");
    if (!session_query_prepared(session, &rows, name, text_string(&sql), error))
        return error_context(error, "could not take the fingerprint of table %u", oid);
    snprintf(digest, 33, "%s", rows_text(&rows, 0, 0));
    return true;
}

/*
 * The same rows by part: what has a name of its own (a column, an index, a policy), with all that
 * is said of it, or else a kind. Rows that go by oids are known by their kind.
 */
static const char PARTS[] =
    "SELECT part, left(md5(string_agg(jsonb_build_array(kind, object, definition)::text, ''\n"
    "                                 ORDER BY kind COLLATE \"C\", object COLLATE \"C\",\n"
    "                                          definition COLLATE \"C\")), 8) AS digest\n"
    "  FROM (SELECT CASE WHEN r.kind = 'dependent' THEN 'what depends on it'\n"
    "                    WHEN r.object ~ '^[0-9 ]*$' THEN r.kind ELSE r.object END AS part, r.*\n"
    "          FROM (\n{rows}) r) p\n"
    " GROUP BY part";

/* {parts} of the table $1. */
static void parts_sql(const struct session *session, const char *template, struct text *sql)
{
    TEXT_AUTO rows = {0};
    TEXT_AUTO parts = {0};

    fingerprint_rows_sql(session, "$1::oid", &rows);
    sql_expand(&parts, PARTS, SQL_NAMES({"rows", sql_fragment(text_string(&rows))}));
    sql_expand(sql, template, SQL_NAMES({"parts", sql_fragment(text_string(&parts))}));
}

bool attached_parts(struct session *session, uint32_t oid, struct text *parts, struct error *error)
{
    ROWS_AUTO rows = {0};
    TEXT_AUTO sql = {0};

    parts_sql(session, "SELECT jsonb_object_agg(part, digest) FROM (\n{parts}) AS now", &sql);
    if (!session_query(session, &rows, text_string(&sql), PARAMS(NUMBER(oid)), error))
        return error_context(error, "could not read the definition of table %u", oid);
    text_append(parts, rows_text(&rows, 0, 0) != NULL ? rows_text(&rows, 0, 0) : "{}");
    return true;
}

enum { CHANGED_MAX = 8 };

/* $2 = parts as they were. */
static const char CHANGED[] =
    "SELECT coalesce(now.part, was.key)\n"
    "           || CASE WHEN was.key IS NULL THEN ' (new)' WHEN now.part IS NULL THEN ' (gone)'\n"
    "                   ELSE '' END,\n"
    "       count(*) OVER ()\n"
    "  FROM (\n{parts}) AS now\n"
    "  FULL JOIN jsonb_each_text($2::jsonb) AS was ON was.key = now.part\n"
    " WHERE now.digest IS DISTINCT FROM was.value\n"
    " ORDER BY 1 LIMIT $3::int";

bool attached_changed(struct session *session, uint32_t oid, const char *parts, struct text *names,
                      struct error *error)
{
    ROWS_AUTO rows = {0};
    TEXT_AUTO sql = {0};

    parts_sql(session, CHANGED, &sql);
    if (!session_query(session, &rows, text_string(&sql),
                       PARAMS(NUMBER(oid), parts, NUMBER(CHANGED_MAX)), error))
        return error_context(error, "could not compare the definition of table %u", oid);
    for (int i = 0; i < rows_count(&rows); i++) {
        text_separate(names, ", ");
        text_append(names, rows_text(&rows, i, 0));
    }
    if (rows_count(&rows) == CHANGED_MAX && rows_int64(&rows, 0, 1) > CHANGED_MAX)
        text_appendf(names, " and %d more", (int)rows_int64(&rows, 0, 1) - CHANGED_MAX);
    return true;
}
