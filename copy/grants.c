#include "copy/grants.h"

#include <string.h>

/*
 * The grants of relation $1, one row per statement to make: all, or those of column $2 alone, which
 * is called $3 then.
 *
 * `entry` is every single privilege; a NULL relacl stands for the default (the owner has
 * everything), a NULL attacl for nothing. `holder` walks from the owner along grant options, per
 * privilege: `depth` is the least number of grants after which a role can grant it on the object or
 * on that column, so grants made in order of their grantor's depth always find the right they need.
 * Within a depth they keep their place in the list, which shows in a dump.
 * (PostgreSQL refuses circles of grants; the bound is for safety only.)
 */
static const char READ[] =
    "WITH RECURSIVE rel AS (\n"
    "    SELECT c.oid, c.relowner, coalesce(c.relacl, acldefault(CASE c.relkind\n"
    "        WHEN 'S' THEN 's'::\"char\"\n"
    "           ELSE 'r'::\"char\" END, c.relowner)) AS acl\n"
    "      FROM pg_class c\n"
    "     WHERE c.oid = $1::oid\n"
    "), entry AS (\n"
    "    SELECT 0 AS attnum, NULL::name AS attname, e.*\n"
    "      FROM rel, aclexplode(rel.acl) WITH ORDINALITY\n"
    "          AS e(grantor, grantee, privilege_type, is_grantable, place)\n"
    "    UNION ALL\n"
    "    SELECT a.attnum, a.attname, e.*\n"
    "      FROM pg_attribute a, aclexplode(a.attacl) WITH ORDINALITY\n"
    "          AS e(grantor, grantee, privilege_type, is_grantable, place)\n"
    "     WHERE a.attrelid = $1::oid AND NOT a.attisdropped\n"
    "), holder AS (\n"
    "    SELECT rel.relowner AS role, p.privilege_type, 0 AS attnum, 0 AS depth\n"
    "      FROM rel, (SELECT DISTINCT privilege_type FROM entry) p\n"
    "    UNION\n"
    "    SELECT e.grantee, e.privilege_type, e.attnum, h.depth + 1\n"
    "      FROM holder h\n"
    "      JOIN entry e ON e.grantor = h.role AND e.privilege_type = h.privilege_type\n"
    "                  AND (h.attnum = 0 OR h.attnum = e.attnum)\n"
    "     WHERE e.is_grantable AND e.grantee <> h.role AND h.depth < 32\n"
    "), ordered AS (\n"
    "    SELECT e.*, coalesce((SELECT min(h.depth)\n"
    "                            FROM holder h\n"
    "                           WHERE h.role = e.grantor AND h.privilege_type = e.privilege_type\n"
    "                             AND h.attnum IN (0, e.attnum)), 99) AS depth\n"
    "      FROM entry e\n"
    ")\n"
    "SELECT CASE WHEN o.grantor <> rel.relowner THEN pg_get_userbyid(o.grantor) END,\n"
    "       string_agg(o.privilege_type || coalesce(' (' ||\n"
    "               quote_ident(coalesce($3, o.attname)) || ')', ''),\n"
    "           ', ' ORDER BY o.privilege_type),\n"
    "       CASE o.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(o.grantee)) END,\n"
    "       o.is_grantable,\n"
    "       pg_has_role(o.grantor, {may_become}),\n"
    "       current_setting('role'),\n"
    "       (SELECT relkind = 'S' FROM pg_class WHERE oid = $1::oid)\n"
    "  FROM ordered o, rel\n"
    " WHERE $2::name IS NULL OR o.attname = $2\n"
    " GROUP BY o.depth, o.grantor, rel.relowner, o.grantee, o.attnum, o.is_grantable\n"
    " ORDER BY o.depth, o.attnum, min(o.place)";

bool grants_read_column(struct session *session, uint32_t oid, const char *column, const char *as,
                        struct arena *arena, struct grants *grants, struct error *error)
{
    ROWS_AUTO rows = {0};
    TEXT_AUTO sql = {0};
    /* Since 16 a membership may exclude SET ROLE. */
    const char *may_become = session_server_version(session) >= 160000 ? "'SET'" : "'MEMBER'";

    memset(grants, 0, sizeof(*grants));
    sql_expand(&sql, READ, SQL_NAMES({"may_become", sql_fragment(may_become)}));
    if (!session_query(session, &rows, text_string(&sql), PARAMS(NUMBER(oid), column, as), error))
        return error_context(error, "could not read grants");
    grants->count = rows_count(&rows);
    grants->items = arena_alloc(arena, sizeof(*grants->items) * ((size_t)grants->count + 1));
    for (int i = 0; i < grants->count; i++) {
        struct grant *grant = &grants->items[i];

        grant->grantor = arena_copy(arena, rows_text(&rows, i, 0));
        grant->privileges = arena_copy(arena, rows_text(&rows, i, 1));
        grant->grantee = arena_copy(arena, rows_text(&rows, i, 2));
        grant->grant_option = rows_bool(&rows, i, 3);
        if (grant->grantor != NULL && !rows_bool(&rows, i, 4)) {
            error_set(error, ERROR_REFUSED, "role %s granted %s to %s, and cannot be acted for",
                      grant->grantor, grant->privileges, grant->grantee);
            return error_hint(error,
                              "Work with a superuser, or as a role that is a member of \"%s\"",
                              grant->grantor);
        }
        grants->role = arena_copy(arena, rows_text(&rows, i, 5));
        grants->sequence = rows_bool(&rows, i, 6);
    }
    return true;
}

bool grants_read(struct session *session, uint32_t oid, struct arena *arena, struct grants *grants,
                 struct error *error)
{
    return grants_read_column(session, oid, NULL, NULL, arena, grants, error);
}

static void set_role_sql(const char *role, struct text *sql)
{
    if (strcmp(role, "none") == 0)
        text_append(sql, "SET LOCAL ROLE NONE;\n");
    else
        sql_expand(sql, "SET LOCAL ROLE {role};\n", SQL_NAMES({"role", sql_ident(role)}));
}

void grants_sql(const struct grants *grants, struct sql_value target, struct text *sql)
{
    for (int i = 0; i < grants->count; i++) {
        const struct grant *grant = &grants->items[i];

        if (grant->grantor != NULL)
            set_role_sql(grant->grantor, sql);
        sql_expand(
            sql, "GRANT {privileges} ON {type} {target} TO {grantee}{option};\n",
            SQL_NAMES({"privileges", sql_fragment(grant->privileges)},
                      {"type", sql_fragment(grants->sequence ? "SEQUENCE" : "TABLE")},
                      {"target", target}, {"grantee", sql_fragment(grant->grantee)},
                      {"option", sql_fragment(grant->grant_option ? " WITH GRANT OPTION" : "")}));
        if (grant->grantor != NULL)
            set_role_sql(grants->role, sql);
    }
}

/*
 * What is there was put there by ALTER DEFAULT PRIVILEGES and is known only when the object exists:
 * hence a DO block. REVOKE ALL on a table also takes its column privileges. (A sequence may be
 * named in ON TABLE too.)
 */
static const char STRIP[] = "DO {body};\n";
static const char STRIP_BODY[] =
    "DECLARE\n"
    "    target regclass := {target};\n"
    "    grantee text;\n"
    "BEGIN\n"
    "    FOR grantee IN\n"
    "        SELECT DISTINCT CASE e.grantee WHEN 0 THEN 'PUBLIC'\n"
    "            ELSE quote_ident(pg_get_userbyid(e.grantee)) END\n"
    "          FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind\n"
    "              WHEN 'S' THEN 's'::\"char\"\n"
    "               ELSE 'r'::\"char\" END, c.relowner))) e\n"
    "         WHERE c.oid = target\n"
    "    LOOP\n"
    "        EXECUTE format('REVOKE ALL ON TABLE %s FROM %s CASCADE', target, grantee);\n"
    "    END LOOP;\n"
    "END";

void grants_strip_sql(struct sql_value target, struct text *sql)
{
    TEXT_AUTO name = {0};
    TEXT_AUTO body = {0};

    sql_append(&name, target);
    sql_expand(&body, STRIP_BODY, SQL_NAMES({"target", sql_literal(text_string(&name))}));
    sql_expand(sql, STRIP, SQL_NAMES({"body", sql_literal(text_string(&body))}));
}
