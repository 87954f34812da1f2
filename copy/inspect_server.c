/* Findings about the server, whatever the table. */
#include "copy/inspect_parts.h"

#include "engine/job/schema.h"

static const struct finding_kind KINDS[] = {
    {"standby", FINDING_REFUSED, "the server is a standby", "it takes no writes",
     "connect to the primary"},
    {"read-only", FINDING_REFUSED, "transactions are read only here",
     "default_transaction_read_only is on for this server, database or role",
     "when writes are allowed after all: PGOPTIONS='-c default_transaction_read_only=off'"},
    {"server-version", FINDING_WARNING, "the server is version {object}",
     "pghaul was written for 14 to 18", "try it on a copy first"},
    {"privilege-database", FINDING_REFUSED,
     "role {role} may not create a schema in database {object}",
     "jobs are kept in schema pghaul, which does not exist yet",
     "GRANT CREATE ON DATABASE {object} TO {role}"},
    {"privilege-temp", FINDING_REFUSED,
     "role {role} may not create temporary tables in database {object}", "",
     "GRANT TEMPORARY ON DATABASE {object} TO {role}"},
    {"privilege-pghaul", FINDING_REFUSED, "role {role} may not use schema pghaul",
     "jobs, logs and shadows are kept in it", "GRANT USAGE, CREATE ON SCHEMA pghaul TO {role}"},
    {"privilege-pghaul-tables", FINDING_REFUSED, "role {role} may not use the tables {object}",
     "jobs are kept in them", "GRANT SELECT, INSERT, UPDATE, DELETE ON {object} TO {role}"},
    {"schema-owner", FINDING_REFUSED, "{object}", schema_distrust_why, "{extra}"},
    {"privilege-stats", FINDING_WARNING, "role {role} may not see what other roles' sessions do",
     "the cut-over then waits for every older transaction of theirs, not only for those with an "
     "old snapshot",
     "GRANT pg_read_all_stats TO {role}"},
    {"event-trigger", FINDING_WARNING, "event trigger {object} fires on {extra}",
     "it sees every CREATE, ALTER and DROP of a job, and can make one fail",
     "see that it lets statements of {role} pass"},
    {0},
};

static const struct check CHECKS[] = {
    {0, "SELECT 'standby', '', '' WHERE pg_is_in_recovery()"},
    /* Sessions pin the setting to off; what it was when they started is what somebody wanted. */
    {0, "SELECT 'read-only', '', ''"
        "  FROM pg_settings"
        " WHERE name = 'default_transaction_read_only' AND reset_val = 'on'"
        "        AND NOT pg_is_in_recovery()"},
    {190000, "SELECT 'server-version', current_setting('server_version'), ''"},
    {0, "SELECT 'privilege-database', quote_ident(current_database()), ''"
        " WHERE NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'pghaul')"
        "   AND NOT has_database_privilege(current_database(), 'CREATE')"},
    {0, "SELECT 'privilege-temp', quote_ident(current_database()), ''"
        " WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')"},
    {0, "SELECT 'privilege-stats', '', ''"
        " WHERE NOT pg_has_role('pg_read_all_stats', 'USAGE')"},
    {0,
     "SELECT 'privilege-pghaul', '', ''"
     "  FROM pg_namespace n"
     " WHERE n.nspname = 'pghaul'"
     "   AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_schema_privilege(n.oid, 'CREATE'))"},
    {0, "SELECT 'privilege-pghaul-tables',"
        "       string_agg('pghaul.' || quote_ident(c.relname), ', ' ORDER BY c.oid), ''"
        "  FROM pg_class c"
        "  JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'pghaul'"
        "   AND c.relname IN ('version', 'job', 'phase', 'span', 'event', 'sample', 'pulse')"
        "   AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')"
        "            AND has_table_privilege(c.oid, 'UPDATE')"
        "            AND has_table_privilege(c.oid, 'DELETE'))"
        "HAVING count(*) > 0"},
    {0, "SELECT 'event-trigger', quote_ident(e.evtname), e.evtevent"
        "  FROM pg_event_trigger e"
        " WHERE e.evtevent IN ('ddl_command_start', 'ddl_command_end', 'sql_drop', 'table_rewrite')"
        "   AND e.evtenabled IN ('O', 'A')"
        " ORDER BY 2"},
    {0},
};

static bool look(const struct inspection *inspection, struct error *error)
{
    struct distrust distrust;
    bool readable;

    if (!schema_distrust(inspection->session, &inspection->findings->arena, &distrust, &readable,
                         error))
        return false;
    if (distrust.what != NULL)
        inspection_add(inspection, "schema-owner", distrust.what, distrust.todo);
    return true;
}

const struct inspection_subject inspect_server_subject = {
    .kinds = KINDS,
    .checks = CHECKS,
    .look = look,
};
