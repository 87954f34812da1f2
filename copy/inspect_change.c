/* Findings about rows that are to be changed where they are: who may, and what else happens then.
 */
#include "copy/inspect_parts.h"

static const struct finding_kind KINDS[] = {
    {"privilege-change", FINDING_REFUSED, "role {role} has no {object} on {table}", "",
     "GRANT {object} ON {table} TO {role}"},
    {"row-security-change", FINDING_REFUSED, "row security of {table} applies to role {role}",
     "it could not see every row", "ALTER ROLE {role} BYPASSRLS"},
    {"rule-change", FINDING_REFUSED, "rule {object} rewrites statements about {table}",
     "what is written is not what was asked for", "make it a trigger, or drop it for the time"},
    {0},
};

static const struct check CHECKS[] = {
    {0, "SELECT 'row-security-change', '', '' WHERE row_security_active($1::oid)"},
    {0, "SELECT 'rule-change', quote_ident(rulename), ''"
        "  FROM pg_rewrite WHERE ev_class = $1::oid AND ev_enabled <> 'D' ORDER BY 2"},
    {0},
};

static bool look(const struct inspection *inspection, struct error *error)
{
    return inspection_add_rows(inspection,
                               "SELECT 'privilege-change', p, '' FROM unnest(ARRAY['SELECT', $2]) p"
                               " WHERE NOT has_table_privilege($1::oid, p)",
                               PARAMS(NUMBER(inspection->table->oid), inspection->verb), error);
}

const struct inspection_subject inspect_change_subject = {
    .kinds = KINDS,
    .checks = CHECKS,
    .look = look,
};
