/* Findings about what goes on: jobs, and whoever else is at work on the table or reads its WAL. */
#include "copy/inspect_parts.h"

#include "engine/job/schema.h"

static const struct finding_kind KINDS[] = {
    {"job-open", FINDING_REFUSED, "job {object} works on {table}", "it is {extra}",
     "pghaul resume {word}, pghaul finish {word} or pghaul abort {word}"},
    {"prepared-transaction", FINDING_WARNING,
     "prepared transaction {object} holds a lock on {table}",
     "a job waits for it to end, and it may have been forgotten",
     "COMMIT PREPARED or ROLLBACK PREPARED {object}"},
    {"wraparound-vacuum", FINDING_WARNING,
     "process {object} vacuums {table} to prevent transaction id wraparound",
     "such a vacuum does not yield: a job waits for its end before it starts and before it swaps",
     "let it end first"},
    {"logical-slot", FINDING_NOTE, "logical replication slot {object} reads this database",
     "the copy's WAL goes through it, about as much as the table and its indexes are large",
     "watch its lag, and max_slot_wal_keep_size"},
    {0},
};

static const struct check CHECKS[] = {
    /* Its locks have no process; the one on its own transaction id says whose they are. */
    {0, "SELECT 'prepared-transaction', quote_literal(x.gid), ''"
        "  FROM pg_prepared_xacts x"
        " WHERE x.database = current_database()"
        "   AND EXISTS (SELECT FROM pg_locks l"
        "                 JOIN pg_locks own"
        "                   ON own.virtualtransaction = l.virtualtransaction AND own.pid IS NULL"
        "                  AND own.locktype = 'transactionid' AND own.transactionid = x.transaction"
        "                WHERE l.locktype = 'relation' AND l.relation = $1::oid AND l.pid IS NULL"
        "                  AND l.database = (SELECT oid FROM pg_database"
        "                      WHERE datname = current_database()))"
        " ORDER BY 2"},
    /* What another role's process does may be hidden from us; then the table's age decides. */
    {0,
     "SELECT 'wraparound-vacuum', l.pid::text, ''"
     "  FROM pg_locks l"
     "  JOIN pg_class c ON c.oid = l.relation"
     "  LEFT JOIN pg_stat_activity s ON s.pid = l.pid"
     " WHERE l.locktype = 'relation' AND l.relation = $1::oid"
     "   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
     "   AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted"
     "   AND CASE WHEN s.backend_type IS NULL THEN"
     "                age(c.relfrozenxid) > current_setting('autovacuum_freeze_max_age')::integer"
     "            ELSE s.query LIKE 'autovacuum:%(to prevent wraparound)' END"},
    {0, "SELECT 'logical-slot', quote_ident(s.slot_name), ''"
        "  FROM pg_replication_slots s"
        " WHERE s.slot_type = 'logical' AND s.database = current_database()"
        " ORDER BY 2"},
    {0},
};

/* Jobs on the table that are not over; a failed one is not, until it is aborted. By name, too:
 * after a cut-over another table has it. $1 oid. */
static const char JOBS_SQL[] =
    "SELECT 'job-open', j.name::text, j.state::text"
    "  FROM pghaul.job j"
    "  JOIN pg_class c ON c.oid = $1::oid JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE (j.source_oid::oid = c.oid OR (j.table_schema, j.table_name) = (n.nspname, c.relname))"
    "   AND j.state::text NOT IN ('done', 'finished', 'aborted', 'rolled_back')"
    " ORDER BY j.id";

/* Jobs that may not be read are privilege-pghaul's finding; and those that must not,
 * schema-owner's.
 */
static bool look(const struct inspection *inspection, struct error *error)
{
    struct distrust distrust;
    bool readable;

    if (!schema_distrust(inspection->session, &inspection->findings->arena, &distrust, &readable,
                         error))
        return false;
    return !readable ||
           inspection_add_rows(inspection, JOBS_SQL, PARAMS(NUMBER(inspection->table->oid)), error);
}

const struct inspection_subject inspect_activity_subject = {
    .kinds = KINDS,
    .checks = CHECKS,
    .look = look,
};
