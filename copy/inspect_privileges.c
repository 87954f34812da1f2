/* Findings about who may: what a job must be allowed to do on the table, and around it. */
#include "copy/inspect_parts.h"

static const struct finding_kind KINDS[] = {
    {"privilege-owner", FINDING_REFUSED,
     "role {role} is not a member of {object}, which owns {table}", "", "GRANT {object} TO {role}"},
    {"privilege-set-role", FINDING_REFUSED,
     "role {role} may not make {object} the owner of the copy", "its membership is WITH SET FALSE",
     "GRANT {object} TO {role} WITH SET TRUE"},
    {"privilege-schema", FINDING_REFUSED, "role {role} may not create tables in schema {object}",
     "the copy moves there at the swap", "GRANT USAGE, CREATE ON SCHEMA {object} TO {role}"},
    {"privilege-owner-schema", FINDING_REFUSED,
     "role {extra}, which owns {table}, may not create tables in schema {object}",
     "the server asks that of the copy's owner", "GRANT CREATE ON SCHEMA {object} TO {extra}"},
    {"privilege-type", FINDING_REFUSED, "role {role} may not use type {object}",
     "a column of {table} has it", "GRANT USAGE ON TYPE {object} TO {role}"},
    {"privilege-tablespace", FINDING_REFUSED,
     "role {role} may not create tables in tablespace {object}",
     "{table} or one of its indexes is kept there",
     "GRANT CREATE ON TABLESPACE {object} TO {role}"},
    {"row-security", FINDING_REFUSED, "row security of {table} applies to role {role}",
     "it could not see every row", "ALTER ROLE {role} BYPASSRLS"},
    {0},
};

static const struct check CHECKS[] = {
    {0, "SELECT 'privilege-owner', quote_ident(pg_get_userbyid(c.relowner)), ''"
        "  FROM pg_class c WHERE c.oid = $1::oid AND NOT pg_has_role(c.relowner, 'USAGE')"},
    {160000, "SELECT 'privilege-set-role', quote_ident(pg_get_userbyid(c.relowner)), ''"
             "  FROM pg_class c"
             " WHERE c.oid = $1::oid AND pg_has_role(c.relowner, 'USAGE')"
             "        AND NOT pg_has_role(c.relowner, 'SET')"},
    {0,
     "SELECT 'privilege-schema', quote_ident(n.nspname), ''"
     "  FROM pg_class c"
     "  JOIN pg_namespace n ON n.oid = c.relnamespace"
     " WHERE c.oid = $1::oid"
     "   AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_schema_privilege(n.oid, 'CREATE'))"},
    /* ALTER TABLE .. OWNER TO asks for it, except of a superuser. */
    {0, "SELECT 'privilege-owner-schema', quote_ident(n.nspname),"
        "       quote_ident(pg_get_userbyid(c.relowner))"
        "  FROM pg_class c"
        "  JOIN pg_namespace n ON n.oid = c.relnamespace"
        "  JOIN pg_roles me ON me.rolname = current_user"
        " WHERE c.oid = $1::oid AND NOT me.rolsuper AND me.oid <> c.relowner"
        "   AND NOT has_schema_privilege(c.relowner, n.oid, 'CREATE')"},
    {0, "SELECT DISTINCT 'privilege-type', format_type(t.oid, NULL), ''"
        "  FROM pg_attribute a"
        "  JOIN pg_type t ON t.oid = a.atttypid"
        " WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped"
        "   AND NOT has_type_privilege(t.oid, 'USAGE')"
        " ORDER BY 2"},
    {0, "SELECT DISTINCT 'privilege-tablespace', quote_ident(s.spcname), ''"
        "  FROM pg_class c"
        "  JOIN pg_tablespace s ON s.oid = c.reltablespace"
        " WHERE (c.oid = $1::oid OR c.oid IN (SELECT indexrelid FROM pg_index"
        "        WHERE indrelid = $1::oid))"
        "   AND NOT has_tablespace_privilege(s.oid, 'CREATE')"
        " ORDER BY 2"},
    {0, "SELECT 'row-security', '', '' WHERE row_security_active($1::oid)"},
    {0},
};

const struct inspection_subject inspect_privileges_subject = {
    .kinds = KINDS,
    .checks = CHECKS,
};
