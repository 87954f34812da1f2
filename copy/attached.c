#include "copy/attached.h"

#include "copy/grants.h"

/* Runs the statements in column `column` of the rows, in their order. */
static bool run_rows(struct session *session, const struct rows *rows, int column,
                     struct error *error)
{
    for (int i = 0; i < rows_count(rows); i++) {
        const char *statement = rows_text(rows, i, column);

        if (!session_run(session, statement, error))
            return error_context(error, "%.200s", statement);
    }
    return true;
}

/* Runs a query that returns statements, with the two tables as parameters, and runs those. */
static bool run_statements_of(struct session *session, const char *query, uint32_t from,
                              uint32_t to, struct error *error)
{
    ROWS_AUTO rows = {0};

    return session_query(session, &rows, query, PARAMS(NUMBER(from), NUMBER(to)), error) &&
           run_rows(session, &rows, 0, error);
}

/* As above, but appends them to a text. */
static bool append_statements_of(struct session *session, const char *query, struct params params,
                                 struct text *sql, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(session, &rows, query, params, error))
        return false;
    for (int i = 0; i < rows_count(&rows); i++)
        text_appendf(sql, "%s;\n", rows_text(&rows, i, 0));
    return true;
}

/* ----------------------------------------------------------------------------------------- storage
 */

/*
 * Storage parameters and column attributes of table $1 as statements for table $2, only where they
 * differ: LIKE has brought most of it. attstattarget: -1, and since 17 NULL, is the default.
 * pg_attver: see attached_compare.c.
 */
static const char STORAGE[] =
    "WITH pair AS (\n"
    "    SELECT a.*, b.attstorage AS to_storage, b.attcompression AS to_compression,\n"
    "           coalesce(b.attstattarget, -1) AS to_target, b.attoptions AS to_options,\n"
    "           format('ALTER TABLE %s ALTER COLUMN %I ', $2::oid::regclass, a.attname)\n"
    "               AS alter_column\n"
    "      FROM pg_attribute a\n"
    "      JOIN pg_attribute b ON b.attrelid = $2::oid AND b.attname = a.attname\n"
    "     WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped\n"
    "), statement AS (\n"
    "    SELECT 1 AS step, 0 AS place, format('ALTER TABLE %s SET (%s)', $2::oid::regclass,\n"
    "        string_agg(\n"
    "               format('%s%I = %L', o.prefix, split_part(o.option, '=', 1),\n"
    "                      substr(o.option, strpos(o.option, '=') + 1)), ', ')) AS sql\n"
    "      FROM (SELECT '' AS prefix, unnest(c.reloptions) AS option FROM pg_class c\n"
    "          WHERE c.oid = $1::oid\n"
    "            UNION ALL\n"
    "            SELECT 'toast.', unnest(t.reloptions)\n"
    "              FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid\n"
    "                  WHERE c.oid = $1::oid) o\n"
    "    HAVING count(*) > 0\n"
    "    UNION ALL\n"
    "    SELECT 2, attnum, alter_column || 'SET STORAGE ' || CASE attstorage\n"
    "               WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN'\n"
    "                   ELSE 'EXTENDED' END\n"
    "      FROM pair\n"
    "     WHERE attstorage <> to_storage\n"
    "    UNION ALL\n"
    "    SELECT 3, attnum, alter_column || 'SET COMPRESSION ' || CASE attcompression\n"
    "               WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' ELSE 'DEFAULT' END\n"
    "      FROM pair\n"
    "     WHERE attcompression <> to_compression\n"
    "    UNION ALL\n"
    "    SELECT 4, attnum, alter_column || 'SET STATISTICS ' || coalesce(attstattarget, -1)\n"
    "      FROM pair\n"
    "     WHERE coalesce(attstattarget, -1) <> to_target\n"
    "    UNION ALL\n"
    "    SELECT 5, attnum, alter_column || format('SET (%I = %L)', split_part(o, '=', 1),\n"
    "                                             substr(o, strpos(o, '=') + 1))\n"
    "      FROM pair, unnest(attoptions) o\n"
    "     WHERE NOT starts_with(o, 'pg_attver=') AND o <> ALL (coalesce(to_options, '{}'))\n"
    "    UNION ALL\n"
    "    SELECT 6, 0, format('ALTER TABLE %s REPLICA IDENTITY %s', $2::oid::regclass,\n"
    "                        CASE relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END)\n"
    "      FROM pg_class c\n"
    "     WHERE c.oid = $1::oid\n"
    "       AND (relreplident IN ('f', 'n') OR relreplident = 'i' AND NOT EXISTS (\n"
    "                SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisreplident))\n"
    ")\n"
    "SELECT sql FROM statement ORDER BY step, place";

/*
 * Extended statistics objects, in the schema of table $2. Kinds are not said for a single
 * expression (there is only one), and 'e' not at all (expressions bring it).
 */
static const char STATISTICS[] =
    "WITH object AS (\n"
    "    SELECT s.oid, s.stxkind, s.stxowner, coalesce(s.stxstattarget, -1) AS target,\n"
    "           pg_get_statisticsobjdef_columns(s.oid) AS columns,\n"
    "           obj_description(s.oid, 'pg_statistic_ext') AS comment,\n"
    "           format('%s.%I', c.relnamespace::regnamespace, 'stat_' || s.oid) AS name\n"
    "      FROM pg_statistic_ext s, pg_class c\n"
    "     WHERE s.stxrelid = $1::oid AND c.oid = $2::oid\n"
    "       AND NOT EXISTS (SELECT FROM pg_statistic_ext t WHERE t.stxrelid = $2::oid\n"
    "           AND t.stxname = 'stat_' || s.oid)\n"
    "), statement AS (\n"
    "    SELECT 1 AS step, oid, format('CREATE STATISTICS %s%s ON %s FROM %s', name,\n"
    "               CASE WHEN stxkind <> ARRAY['e'::\"char\"] THEN (\n"
    "                   SELECT format(' (%s)', string_agg(CASE k WHEN 'd' THEN 'ndistinct'\n"
    "                       WHEN 'f' THEN 'dependencies'\n"
    "                                                            ELSE 'mcv' END, ', '))\n"
    "                     FROM unnest(stxkind) k WHERE k <> 'e') ELSE '' END, columns,\n"
    "                         $2::oid::regclass) AS sql\n"
    "      FROM object\n"
    "    UNION ALL\n"
    "    SELECT 2, oid, format('ALTER STATISTICS %s SET STATISTICS %s', name, target) FROM object\n"
    "        WHERE target >= 0\n"
    "    UNION ALL\n"
    "    SELECT 3, oid, format('COMMENT ON STATISTICS %s IS %L', name, comment) FROM object\n"
    "        WHERE comment IS NOT NULL\n"
    ")\n"
    "SELECT sql FROM statement ORDER BY oid, step";

/* ---------------------------------------------------------------------------------------- policies
 */

/*
 * Policies that cannot be made on another table: a sub-select in their expression reads the table
 * itself, or they use its row type. pg_depend tells about neither (a whole-row value is no
 * dependency, and columns are ones of both), the stored expression does: a sub-select's range table
 * has :relid, a row value is a variable with attribute 0, deparsed as name.*
 */
static const char POLICIES_ON_THEMSELVES[] =
    "SELECT quote_ident(p.polname)\n"
    "  FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid\n"
    " CROSS JOIN LATERAL (SELECT concat(p.polqual, p.polwithcheck),\n"
    "                            concat(pg_get_expr(p.polqual, p.polrelid),\n"
    "                                pg_get_expr(p.polwithcheck, p.polrelid))\n"
    "                    ) e(stored, deparsed)\n"
    " WHERE p.polrelid = $1::oid\n"
    "   AND (strpos(e.stored, format(' :relid %s ', c.oid)) > 0\n"
    "        OR strpos(e.stored, ' :varattno 0 ') > 0 AND strpos(e.deparsed,\n"
    "            quote_ident(c.relname) || '.*') > 0\n"
    "        OR EXISTS (SELECT FROM pg_depend d JOIN pg_type y ON y.oid = d.refobjid\n"
    "                    WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid\n"
    "                      AND d.refclassid = 'pg_type'::regclass AND c.reltype IN (y.oid,\n"
    "                          y.typelem)))\n"
    " ORDER BY p.polname LIMIT 1";

/*
 * CREATE POLICY for every policy of table $1 that table $2 lacks, and whether one of them has a
 * sub-select. Inside a sub-select the server deparses columns of the outer table qualified with its
 * name: such a statement is only right while table $2 bears the name of table $1.
 */
static const char POLICIES[] =
    "SELECT format('CREATE POLICY %I ON %I.%I AS %s FOR %s TO %s%s%s', p.polname, n.nspname,\n"
    "              CASE WHEN s.sub_select THEN c.relname ELSE t.relname END,\n"
    "              CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,\n"
    "              CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT'\n"
    "                  WHEN 'w' THEN 'UPDATE'\n"
    "                            WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,\n"
    "              (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC'\n"
    "                  ELSE quote_ident(pg_get_userbyid(r)) END, ', ')\n"
    "                 FROM unnest(p.polroles) r),\n"
    "              ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',\n"
    "              ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')'),\n"
    "       s.sub_select,\n"
    "       format('ALTER TABLE %I.%I RENAME TO %I', n.nspname, t.relname, c.relname),\n"
    "       format('ALTER TABLE %I.%I RENAME TO %I', n.nspname, c.relname, t.relname)\n"
    "  FROM pg_policy p\n"
    "  JOIN pg_class c ON c.oid = p.polrelid\n"
    "  JOIN pg_class t ON t.oid = $2::oid\n"
    "  JOIN pg_namespace n ON n.oid = t.relnamespace\n"
    " CROSS JOIN (SELECT coalesce(bool_or(concat(polqual, polwithcheck) ~ '\\{SUBLINK '), false)\n"
    "     AS sub_select\n"
    "               FROM pg_policy WHERE polrelid = $1::oid) s\n"
    " WHERE p.polrelid = $1::oid\n"
    "   AND NOT EXISTS (SELECT FROM pg_policy o WHERE o.polrelid = $2::oid\n"
    "       AND o.polname = p.polname)\n"
    " ORDER BY p.oid";

/* ENABLE and FORCE come after the policies: with none, an enabled table would be closed. */
static const char ROW_SECURITY[] =
    "SELECT format('ALTER TABLE %s %s ROW LEVEL SECURITY', $2::oid::regclass, v.action)\n"
    "  FROM pg_class c, pg_class t\n"
    " CROSS JOIN LATERAL (VALUES\n"
    "     (CASE WHEN c.relrowsecurity AND NOT t.relrowsecurity THEN 'ENABLE' END),\n"
    "     (CASE WHEN c.relforcerowsecurity AND NOT t.relforcerowsecurity THEN 'FORCE' END))\n"
    "         v(action)\n"
    " WHERE c.oid = $1::oid AND t.oid = $2::oid AND v.action IS NOT NULL";

static bool copy_policies(struct session *session, uint32_t from, uint32_t to, struct error *error)
{
    ROWS_AUTO refused = {0};
    ROWS_AUTO rows = {0};
    bool renamed;

    if (!session_query(session, &refused, POLICIES_ON_THEMSELVES, PARAMS(NUMBER(from)), error))
        return false;
    if (rows_count(&refused) > 0) {
        error_set(error, ERROR_REFUSED, "policy %s refers to its own table",
                  rows_text(&refused, 0, 0));
        return error_hint(error, "Drop the policy, or move what it reads into a function");
    }
    if (!session_query(session, &rows, POLICIES, PARAMS(NUMBER(from), NUMBER(to)), error))
        return false;
    renamed = rows_count(&rows) > 0 && rows_bool(&rows, 0, 1);
    if (renamed && !session_run(session, rows_text(&rows, 0, 2), error))
        return error_context(error,
                             "could not give the shadow the table's name, which a policy uses");
    if (!run_rows(session, &rows, 0, error))
        return false;
    if (renamed && !session_run(session, rows_text(&rows, 0, 3), error))
        return false;
    return run_statements_of(session, ROW_SECURITY, from, to, error);
}

/* ---------------------------------------------------------------------------------------- comments
 */

/*
 * Comments on the table, its columns, constraints and policies, by name, where table $2 has such a
 * thing and not this comment. Those of indexes: INDEXES. Those of statistics objects came with
 * them.
 */
static const char COMMENTS[] =
    "WITH comment AS (\n"
    "    SELECT 1 AS step, '' AS object, format('TABLE %s', $2::oid::regclass) AS target,\n"
    "           obj_description($1::oid, 'pg_class') AS comment, obj_description($2::oid,\n"
    "               'pg_class') AS present\n"
    "    UNION ALL\n"
    "    SELECT 2, a.attname, format('COLUMN %s.%I', $2::oid::regclass, a.attname),\n"
    "           col_description(a.attrelid, a.attnum), col_description(b.attrelid, b.attnum)\n"
    "      FROM pg_attribute a JOIN pg_attribute b ON b.attrelid = $2::oid\n"
    "          AND b.attname = a.attname\n"
    "     WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped\n"
    "    UNION ALL\n"
    "    SELECT 3, k.conname, format('CONSTRAINT %I ON %s', k.conname, $2::oid::regclass),\n"
    "           obj_description(k.oid, 'pg_constraint'), obj_description(l.oid, 'pg_constraint')\n"
    "      FROM pg_constraint k JOIN pg_constraint l ON l.conrelid = $2::oid\n"
    "          AND l.conname = k.conname\n"
    "     WHERE k.conrelid = $1::oid AND k.contype IN ('c', 'n', 'p', 'u', 'x')\n"
    "    UNION ALL\n"
    "    SELECT 4, p.polname, format('POLICY %I ON %s', p.polname, $2::oid::regclass),\n"
    "           obj_description(p.oid, 'pg_policy'), obj_description(q.oid, 'pg_policy')\n"
    "      FROM pg_policy p JOIN pg_policy q ON q.polrelid = $2::oid AND q.polname = p.polname\n"
    "     WHERE p.polrelid = $1::oid\n"
    ")\n"
    "SELECT format('COMMENT ON %s IS %L', target, comment)\n"
    "  FROM comment\n"
    " WHERE comment IS NOT NULL AND comment IS DISTINCT FROM present\n"
    " ORDER BY step, object";

/*
 * What hangs on indexes of table $1, as statements for the indexes of that name of table $2. For
 * the table's own indexes, made again: deferrable constraints come later, and so do their comments
 * (OWED).
 */
static const char INDEXES[] =
    "WITH pair AS (\n"
    "    SELECT x.indexrelid, x.indisclustered, x.indisreplident, i.relname, k.oid AS conoid,\n"
    "        k.conname,\n"
    "           format('%s.%I', t.relnamespace::regnamespace, i.relname) AS name\n"
    "      FROM pg_index x\n"
    "      JOIN pg_class i ON i.oid = x.indexrelid\n"
    "      JOIN pg_index y ON y.indrelid = $2::oid\n"
    "      JOIN pg_class t ON t.oid = y.indexrelid AND t.relname = i.relname\n"
    "      LEFT JOIN pg_constraint k ON k.conindid = x.indexrelid AND k.conrelid = x.indrelid\n"
    "                               AND k.contype IN ('p', 'u', 'x')\n"
    "                               AND ($1::oid <> $2::oid OR NOT k.condeferrable)\n"
    "                               AND EXISTS (SELECT FROM pg_constraint l\n"
    "                                            WHERE l.conrelid = $2::oid\n"
    "                                                AND l.conname = k.conname)\n"
    "     WHERE x.indrelid = $1::oid AND x.indisvalid\n"
    "), statement AS (\n"
    "    SELECT 1 AS step, relname, format('COMMENT ON INDEX %s IS %L', name,\n"
    "        obj_description(indexrelid, 'pg_class'))\n"
    "               AS sql\n"
    "      FROM pair\n"
    "     WHERE obj_description(indexrelid, 'pg_class') IS NOT NULL\n"
    "    UNION ALL\n"
    "    SELECT 2, relname, format('COMMENT ON CONSTRAINT %I ON %s IS %L', conname,\n"
    "        $2::oid::regclass,\n"
    "               obj_description(conoid, 'pg_constraint'))\n"
    "      FROM pair\n"
    "     WHERE obj_description(conoid, 'pg_constraint') IS NOT NULL\n"
    "    UNION ALL\n"
    "    SELECT 3, relname, format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s', name,\n"
    "        a.attnum, a.attstattarget)\n"
    "      FROM pair JOIN pg_attribute a ON a.attrelid = indexrelid\n"
    "     WHERE a.attstattarget >= 0\n"
    "    UNION ALL\n"
    "    SELECT 4, relname, format('ALTER TABLE %s CLUSTER ON %I', $2::oid::regclass, relname)\n"
    "      FROM pair\n"
    "     WHERE indisclustered\n"
    "    UNION ALL\n"
    "    SELECT 5, relname, format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I',\n"
    "        $2::oid::regclass, relname)\n"
    "      FROM pair\n"
    "     WHERE indisreplident\n"
    ")\n"
    "SELECT sql FROM statement ORDER BY step, relname";

bool attached_index_sql(struct session *session, uint32_t from, uint32_t to, struct text *sql,
                        struct error *error)
{
    if (!append_statements_of(session, INDEXES, PARAMS(NUMBER(from), NUMBER(to)), sql, error))
        return error_context(error, "could not read what hangs on indexes");
    return true;
}

/* Comments of constraints that table $2 lacks; $3 is the table's name later. $2 = 0: of those that
 * a shadow gets at the swap. */
static const char OWED[] =
    "SELECT format('COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname, $3::text,\n"
    "    obj_description(k.oid, 'pg_constraint'))\n"
    "  FROM pg_constraint k\n"
    " WHERE k.conrelid = $1::oid AND k.contype IN ('c', 'n', 'p', 'u', 'x')\n"
    "   AND obj_description(k.oid, 'pg_constraint') IS NOT NULL\n"
    "   AND ($2::oid <> 0 OR k.condeferrable OR NOT k.convalidated)\n"
    "   AND NOT EXISTS (SELECT FROM pg_constraint l WHERE l.conrelid = $2::oid\n"
    "       AND l.conname = k.conname)\n"
    " ORDER BY k.conname";

bool attached_owed_sql(struct session *session, uint32_t from, uint32_t to, struct sql_value target,
                       struct text *sql, struct error *error)
{
    TEXT_AUTO name = {0};

    sql_append(&name, target);
    if (!append_statements_of(session, OWED, PARAMS(NUMBER(from), NUMBER(to), text_string(&name)),
                              sql, error))
        return error_context(error, "could not read comments of constraints");
    return true;
}

/* ------------------------------------------------------------------------------------------- owner
 */

/*
 * Owner of table $2 and of its statistics objects. Whoever is not a superuser may give an object
 * only to a role that may create in its schema: for the moment of the transaction that right is
 * lent, and nobody else ever sees it. Schema rights are rows that concurrent jobs would write at
 * once, hence the advisory lock.
 */
static const char OWNER[] =
    "WITH object AS (\n"
    "    SELECT 2 AS step, format('TABLE %s', t.oid::regclass) AS name, c.relowner AS owner\n"
    "      FROM pg_class c, pg_class t\n"
    "     WHERE c.oid = $1::oid AND t.oid = $2::oid AND c.relowner <> t.relowner\n"
    "    UNION ALL\n"
    "    SELECT 3, format('STATISTICS %s.%I', t.stxnamespace::regnamespace, t.stxname),\n"
    "        s.stxowner\n"
    "      FROM pg_statistic_ext s JOIN pg_statistic_ext t ON t.stxrelid = $2::oid\n"
    "          AND t.stxname = 'stat_' || s.oid\n"
    "     WHERE s.stxrelid = $1::oid AND s.stxowner <> t.stxowner\n"
    "), lent AS (\n"
    "    SELECT DISTINCT format('CREATE ON SCHEMA %s', c.relnamespace::regnamespace)\n"
    "        AS privilege,\n"
    "           quote_ident(pg_get_userbyid(o.owner)) AS role\n"
    "      FROM object o, pg_class c\n"
    "     WHERE c.oid = $2::oid AND NOT has_schema_privilege(o.owner, c.relnamespace, 'CREATE')\n"
    "       AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)\n"
    ")\n"
    "SELECT sql FROM (\n"
    "    SELECT 0, '', 'SELECT pg_catalog.pg_advisory_xact_lock(hashtext(''pghaul lends a "
    "right''))' FROM lent\n"
    "    UNION ALL SELECT 1, role, format('GRANT %s TO %s', privilege, role) FROM lent\n"
    "    UNION ALL SELECT step, name, format('ALTER %s OWNER TO %I', name,\n"
    "        pg_get_userbyid(owner)) FROM object\n"
    "    UNION ALL SELECT 4, role, format('REVOKE %s FROM %s', privilege, role) FROM lent\n"
    ") s(step, name, sql) ORDER BY step, name";

/* Lends USAGE of the schema to roles other than the owner that granted something (grants.h): see
 * OWNER. */
static bool lend_schema(struct session *session, const struct grants *grants, uint32_t to,
                        struct text *give, struct text *take, struct error *error)
{
    for (int i = 0; i < grants->count; i++) {
        ROWS_AUTO rows = {0};

        if (grants->items[i].grantor == NULL)
            continue;
        if (!session_query(session, &rows,
                           "SELECT format('GRANT USAGE ON SCHEMA %s TO %I',\n"
                           "    c.relnamespace::regnamespace, $2::text),\n"
                           "       format('REVOKE USAGE ON SCHEMA %s FROM %I',\n"
                           "           c.relnamespace::regnamespace, $2::text)\n"
                           "  FROM pg_class c\n"
                           " WHERE c.oid = $1::oid AND NOT has_schema_privilege($2::text, "
                           "c.relnamespace, 'USAGE')",
                           PARAMS(NUMBER(to), grants->items[i].grantor), error))
            return false;
        if (rows_count(&rows) == 0)
            continue;
        if (give->used == 0)
            text_append(give, "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('pghaul "
                              "lends a right'));\n");
        text_appendf(give, "%s;\n", rows_text(&rows, 0, 0));
        text_appendf(take, "%s;\n", rows_text(&rows, 0, 1));
    }
    return true;
}

/*
 * After the owner: a change of owner rewrites the grants that are there (and would turn a grant to
 * the job's role into one to the owner), and the grants of default privileges go first.
 */
static bool copy_grants(struct session *session, uint32_t from, uint32_t to, struct error *error)
{
    struct arena arena = {0};
    struct grants grants;
    ROWS_AUTO rows = {0};
    TEXT_AUTO give = {0};
    TEXT_AUTO take = {0};
    TEXT_AUTO sql = {0};
    struct sql_value target;
    bool ok = false;

    if (!session_query(session, &rows,
                       "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n\n"
                       "    ON n.oid = c.relnamespace\n"
                       " WHERE c.oid = $1::oid",
                       PARAMS(NUMBER(to)), error) ||
        !grants_read(session, from, &arena, &grants, error) ||
        !lend_schema(session, &grants, to, &give, &take, error))
        goto out;
    target = sql_table(rows_text(&rows, 0, 0), rows_text(&rows, 0, 1));
    grants_strip_sql(target, &sql);
    text_append(&sql, text_string(&give));
    grants_sql(&grants, target, &sql);
    text_append(&sql, text_string(&take));
    ok =
        session_run_text(session, &sql, error) || error_context(error, "could not make the grants");
out:
    arena_deinit(&arena);
    return ok;
}

/* -------------------------------------------------------------------------------------------- copy
 */

static bool copy_all(struct session *session, uint32_t from, uint32_t to, struct error *error)
{
    TEXT_AUTO index_sql = {0};

    if (!run_statements_of(session, STORAGE, from, to, error) ||
        !run_statements_of(session, STATISTICS, from, to, error) ||
        !copy_policies(session, from, to, error) ||
        !run_statements_of(session, COMMENTS, from, to, error) ||
        !attached_index_sql(session, from, to, &index_sql, error) ||
        !session_run_text(session, &index_sql, error) ||
        !run_statements_of(session, OWNER, from, to, error) ||
        !copy_grants(session, from, to, error))
        return error_context(error, "could not give the shadow everything the table has");
    return true;
}

bool attached_copy(struct session *session, uint32_t from, uint32_t to, struct error *error)
{
    if (session_in_transaction(session))
        return copy_all(session, from, to, error);
    if (!session_begin(session, error))
        return false;
    if (copy_all(session, from, to, error) && session_commit(session, error))
        return true;
    session_rollback(session);
    return false;
}

/* ------------------------------------------------------------------------------------------ the
 * swap */

/*
 * Pairs (leaving, arriving) of statistics objects, one row of four statements in one. The leaving
 * one is renamed first: then none of the names can be taken (stat_<oid> of the partner is unique).
 */
static const char STATISTICS_SWAP[] =
    "SELECT format(E'ALTER STATISTICS %1$s.%2$I RENAME TO %3$I;\\n'\n"
    "              'ALTER STATISTICS %1$s.%3$I SET SCHEMA %4$s;\\n'\n"
    "              'ALTER STATISTICS %4$s.%5$I SET SCHEMA %1$s;\\n'\n"
    "              'ALTER STATISTICS %1$s.%5$I RENAME TO %2$I',\n"
    "              l.stxnamespace::regnamespace, l.stxname, 'stat_' || a.oid,\n"
    "                  a.stxnamespace::regnamespace, a.stxname)\n"
    "  FROM pg_statistic_ext l\n"
    "  JOIN pg_statistic_ext a ON a.stxrelid = $2::oid AND a.stxname = 'stat_' || l.oid\n"
    " WHERE l.stxrelid = $1::oid\n"
    " ORDER BY l.oid";

bool attached_statistics_sql(struct session *session, uint32_t leaving, uint32_t arriving,
                             struct text *sql, struct error *error)
{
    if (!append_statements_of(session, STATISTICS_SWAP, PARAMS(NUMBER(leaving), NUMBER(arriving)),
                              sql, error))
        return error_context(error, "could not read extended statistics");
    return true;
}
