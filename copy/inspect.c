#include "copy/inspect.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/pg/sql.h"

enum { SMALL_TABLE_ROWS = 10000 };

/*
 * Every finding there is. In the texts {table} is the table as SQL names it, {object} what the
 * finding is about, {extra} one more fact, {role} the current role.
 */
static const struct kind {
    const char *code;
    enum finding_level level;
    const char *what;
    const char *why;
    const char *todo;
} KINDS[] = {
    /* -- the server -- */
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
    {"privilege-stats", FINDING_WARNING, "role {role} may not see what other roles' sessions do",
     "the cut-over then waits for every older transaction of theirs, not only for those with an "
     "old snapshot",
     "GRANT pg_read_all_stats TO {role}"},
    {"event-trigger", FINDING_WARNING, "event trigger {object} fires on {extra}",
     "it sees every CREATE, ALTER and DROP of a job, and can make one fail",
     "see that it lets statements of {role} pass"},
    /* -- the kind of table -- */
    {"not-a-table", FINDING_REFUSED, "{table} is {extra}", "only ordinary tables can be copied",
     ""},
    {"partitioned", FINDING_REFUSED, "{table} is partitioned", "its rows are in its partitions",
     "work on a partition that was detached, or wait for the version that can"},
    {"partition", FINDING_REFUSED, "{table} is a partition of {object}",
     "the copy would not be one",
     "ALTER TABLE {object} DETACH PARTITION {table}, and attach it again after finish"},
    {"system-table", FINDING_REFUSED, "{table} belongs to the server", "", ""},
    {"own-schema", FINDING_REFUSED, "{table} belongs to pghaul", "", "pghaul status"},
    {"temporary", FINDING_REFUSED, "{table} is a temporary table", "no other session can see it",
     ""},
    {"unlogged", FINDING_REFUSED, "{table} is unlogged",
     "a crash would empty it and keep what pghaul noted about it",
     "ALTER TABLE {table} SET LOGGED"},
    {"access-method", FINDING_REFUSED, "{table} is kept by access method {object}",
     "only heap is known to behave as a copy needs", ""},
    {"typed-table", FINDING_REFUSED, "{table} is a table OF type {object}",
     "the copy would not be one", "ALTER TABLE {table} NOT OF"},
    {"extension-owned", FINDING_REFUSED, "{object} belongs to extension {extra}",
     "the copy would not", "ask the extension's authors how to change it"},
    {"column-type", FINDING_REFUSED, "column {object} has type {extra}", "it cannot be copied", ""},
    /* -- the key -- */
    {"no-key", FINDING_REFUSED, "{table} has no usable key: {extra}",
     "a key is a btree index that is unique, valid, not partial, not deferrable, over NOT NULL "
     "columns",
     "add a primary key (pghaul index, pghaul column not-null), or set NOT NULL on the columns of "
     "a unique index"},
    {"key-collation-version", FINDING_REFUSED,
     "the collation of key column {object} has changed since index {extra} was built",
     "the index may be out of order, and then rows hide from it",
     "REINDEX INDEX CONCURRENTLY {extra}, then ALTER COLLATION or ALTER DATABASE .. REFRESH "
     "VERSION"},
    {"collation-nondeterministic", FINDING_NOTE,
     "key column {object} has the nondeterministic collation {extra}",
     "values that differ can be the same key; they are treated as the index treats them", ""},
    /* -- what depends on it -- */
    {"inherits-child", FINDING_REFUSED, "{table} inherits from {object}", "the copy would not",
     "ALTER TABLE {table} NO INHERIT {object}, and back after finish"},
    {"inherits-parent", FINDING_REFUSED, "{object} inherits from {table}",
     "it would go on inheriting from the old one",
     "ALTER TABLE {object} NO INHERIT {table}, and back after finish"},
    {"foreign-key-out", FINDING_REFUSED, "{table} has the foreign key {object}",
     "the copy would not be checked",
     "ALTER TABLE {table} DROP CONSTRAINT {object}; after finish add it again NOT VALID and "
     "validate it"},
    {"foreign-key-in", FINDING_REFUSED, "foreign key {object} of {extra} references {table}",
     "it would go on referencing the old table",
     "ALTER TABLE {extra} DROP CONSTRAINT {object}; after finish add it again NOT VALID and "
     "validate it"},
    {"view", FINDING_REFUSED, "view {object} is over {table}",
     "it would go on reading the old table",
     "DROP VIEW {object}, and create it again after finish"},
    {"materialized-view", FINDING_REFUSED, "materialized view {object} is over {table}",
     "it would go on reading the old table",
     "DROP MATERIALIZED VIEW {object}, and create it again after finish"},
    {"rule", FINDING_REFUSED, "rule {object} on {extra} rewrites statements about {table}",
     "the copy would not have it, or it would go on using the old table",
     "DROP RULE {object} ON {extra}, and create it again after finish"},
    {"trigger", FINDING_REFUSED, "{extra} has the trigger {object}", "the copy would not have it",
     "DROP TRIGGER {object} ON {extra}, and create it again after finish"},
    {"function-row-type", FINDING_REFUSED, "function {object} takes or returns rows of {table}",
     "it would go on using the row type of the old table",
     "DROP ROUTINE {object}, and create it again after finish"},
    {"function-sql-body", FINDING_REFUSED, "function {object} has a body that is bound to {table}",
     "it would go on using the old table",
     "DROP ROUTINE {object}, and create it again after finish"},
    {"column-row-type", FINDING_REFUSED, "column {object} has the row type of {table}",
     "it would go on using the row type of the old table", "change its type, or drop it"},
    {"policy-elsewhere", FINDING_REFUSED, "policy {object} on {extra} reads {table}",
     "it would go on reading the old table",
     "DROP POLICY {object} ON {extra}, and create it again after finish"},
    {"publication", FINDING_REFUSED, "{table} is in publication {object}",
     "subscribers would get no more changes after the swap",
     "ALTER PUBLICATION {object} DROP TABLE {table}, and add it again after finish"},
    {"publication-all", FINDING_REFUSED, "publication {object} is FOR ALL TABLES",
     "it would send the shadow and the log to subscribers, which have no such tables",
     "change it to name its tables, without {table}"},
    {"publication-schema", FINDING_REFUSED, "publication {object} is FOR TABLES IN SCHEMA {extra}",
     "subscribers would get the rows of the copy again, or none",
     "ALTER PUBLICATION {object} DROP TABLES IN SCHEMA {extra}"},
    {"subscription", FINDING_REFUSED, "{table} is fed by subscription {object}",
     "after the swap its changes would go to the old table",
     "take {table} out of the subscription"},
    {"security-label", FINDING_REFUSED, "{object} has a security label of provider {extra}",
     "the copy would not have it",
     "SECURITY LABEL FOR {extra} ON .. IS NULL, and set it again after finish"},
    {"sequence-extra", FINDING_REFUSED,
     "sequence {object} is owned by column {extra}, which has another one too",
     "it would be dropped with the old table",
     "ALTER SEQUENCE {object} OWNED BY NONE, and back after finish"},
    {"self-reference", FINDING_REFUSED, "{object} refers to {table} as a whole",
     "on the copy it would go on referring to the old table",
     "drop it, and create it again after finish"},
    {"unknown-dependent", FINDING_REFUSED, "{object} depends on {extra}",
     "pghaul does not know how to carry it over", "drop it, and create it again after finish"},
    {"index-extension", FINDING_WARNING,
     "index {object} is marked as depending on extension {extra}",
     "the index is carried over, the mark is not",
     "after finish: ALTER INDEX {object} DEPENDS ON EXTENSION {extra}"},
    /* -- who may -- */
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
    /* -- what goes on -- */
    {"job-open", FINDING_REFUSED, "job {object} works on {table}", "it is {extra}",
     "pghaul resume {object}, pghaul finish {object} or pghaul abort {object}"},
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
    /* -- how it is built -- */
    {"invalid-index", FINDING_WARNING, "index {object} is not valid, or still being built",
     "it is not copied", "REINDEX INDEX CONCURRENTLY {object}, or drop it"},
    {"exclusion-constraint", FINDING_NOTE, "{table} has the exclusion constraint {object}",
     "it takes part in every row that is written to the copy after the load", ""},
    {"not-valid-constraint", FINDING_NOTE, "constraint {object} is NOT VALID",
     "rows that violate it stop the copy, unless nothing checks them",
     "ALTER TABLE {table} VALIDATE CONSTRAINT {object}"},
    {"replica-identity-full", FINDING_NOTE, "{table} has REPLICA IDENTITY FULL",
     "every updated and deleted row is written to WAL as a whole; so it will be for the copy", ""},
    {"small-table", FINDING_NOTE, "{table} has about {extra} rows",
     "a plain ALTER TABLE takes milliseconds on it", ""},
    {"never-analyzed", FINDING_NOTE, "{table} was never analyzed", "the estimates are rough",
     "ANALYZE {table}"},
    {"related-id", FINDING_NOTE, "{object} still holds this id as {extra}",
     "it overflows when the ids do", ""},
};

/* ------------------------------------------------------------------------------- the statements */

/* A statement whose rows are findings: code, object, extra. $1 is the table's oid, $2 its key
 * index's (0: none). */
struct check {
    int since; /* server version that has the catalogue; 0: all that we support */
    const char *sql;
};

/*
 * Everything that depends on the table and is not carried over with it, from pg_depend.
 *
 * own   what belongs to the table: row type and its array, indexes, TOAST, defaults, constraints,
 * policies, statistics, internal triggers, owned sequences. Carried, so what depends on one of them
 * from outside matters as well; except on a serial's sequence, which stays the same object. found
 * what depends on one of those and is none of them, with what it is.
 *
 * An internal trigger and the constraint of a constraint trigger come with another object, which is
 * reported.
 */
static const char DEPENDENTS_SQL[] =
    "WITH own(classid, objid, stays) AS ("
    "       SELECT 'pg_class'::regclass, c.oid, false FROM pg_class c WHERE c.oid = $1::oid"
    "       UNION SELECT 'pg_type'::regclass, c.reltype, false FROM pg_class c"
    "           WHERE c.oid = $1::oid"
    "       UNION SELECT 'pg_type'::regclass, t.typarray, false FROM pg_type t"
    "           WHERE t.typrelid = $1::oid"
    "       UNION SELECT 'pg_class'::regclass, i.indexrelid, false FROM pg_index i"
    "           WHERE i.indrelid = $1::oid"
    "       UNION SELECT 'pg_class'::regclass, c.reltoastrelid, false FROM pg_class c"
    "           WHERE c.oid = $1::oid"
    "       UNION SELECT 'pg_class'::regclass, i.indexrelid, false"
    "               FROM pg_class c JOIN pg_index i ON i.indrelid = c.reltoastrelid"
    "                   WHERE c.oid = $1::oid"
    "       UNION SELECT 'pg_attrdef'::regclass, d.oid, false FROM pg_attrdef d"
    "           WHERE d.adrelid = $1::oid"
    "       UNION SELECT 'pg_constraint'::regclass, k.oid, false FROM pg_constraint k"
    "              WHERE k.conrelid = $1::oid AND k.contype IN ('c', 'n', 'p', 'u', 'x')"
    "       UNION SELECT 'pg_policy'::regclass, p.oid, false FROM pg_policy p"
    "           WHERE p.polrelid = $1::oid"
    "       UNION SELECT 'pg_statistic_ext'::regclass, s.oid, false FROM pg_statistic_ext s"
    "           WHERE s.stxrelid = $1::oid"
    "       UNION SELECT 'pg_class'::regclass, s.oid, d.deptype = 'a'"
    "               FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'"
    "              WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass"
    "                AND d.refobjid = $1::oid AND d.deptype IN ('a', 'i')"
    "), found AS ("
    "       SELECT DISTINCT d.classid, d.objid, d.objsubid, d.refclassid,"
    "              own.classid AS own_classid, own.objid AS own_objid"
    "         FROM own"
    "         JOIN pg_depend d ON d.refclassid = own.classid AND d.refobjid = own.objid"
    "             AND own.objid <> 0"
    "        WHERE NOT own.stays"
    "          AND NOT EXISTS (SELECT FROM own o WHERE o.classid = d.classid AND o.objid = d.objid)"
    ")"
    "SELECT DISTINCT kind.code, kind.object, kind.extra"
    "  FROM found"
    "  LEFT JOIN pg_constraint k ON found.classid = 'pg_constraint'::regclass"
    "         AND k.oid = found.objid"
    "  LEFT JOIN pg_rewrite r ON found.classid = 'pg_rewrite'::regclass AND r.oid = found.objid"
    "  LEFT JOIN pg_trigger t ON found.classid = 'pg_trigger'::regclass AND t.oid = found.objid"
    "  LEFT JOIN pg_proc tf ON tf.oid = t.tgfoid"
    "  LEFT JOIN pg_policy p ON found.classid = 'pg_policy'::regclass AND p.oid = found.objid"
    "  LEFT JOIN pg_publication_rel pr ON found.classid = 'pg_publication_rel'::regclass"
    "         AND pr.oid = found.objid"
    "  LEFT JOIN pg_publication pub ON pub.oid = pr.prpubid"
    "  LEFT JOIN pg_class c"
    "    ON c.oid = CASE WHEN found.classid = 'pg_class'::regclass THEN found.objid"
    "                    ELSE COALESCE(k.conrelid, r.ev_class, t.tgrelid, p.polrelid) END"
    "  LEFT JOIN pg_namespace n ON n.oid = c.relnamespace"
    "  LEFT JOIN pg_attribute a"
    "    ON found.classid = 'pg_class'::regclass AND a.attrelid = found.objid"
    "           AND a.attnum = found.objsubid"
    "   AND found.objsubid > 0"
    " CROSS JOIN LATERAL ("
    "       SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS relation) AS at"
    " CROSS JOIN LATERAL ("
    "       SELECT 'foreign-key-out' AS code, quote_ident(k.conname) AS object, '' AS extra"
    "        WHERE k.contype = 'f' AND k.conrelid = $1::oid AND k.conparentid = 0"
    "       UNION ALL"
    "       SELECT 'foreign-key-in', quote_ident(k.conname), at.relation"
    "        WHERE k.contype = 'f' AND k.conrelid <> $1::oid AND k.conparentid = 0"
    "       UNION ALL"
    "       SELECT CASE c.relkind WHEN 'v' THEN 'view' ELSE 'materialized-view' END,"
    "              at.relation, ''"
    "        WHERE c.relkind IN ('v', 'm')"
    "          AND (r.oid IS NOT NULL OR found.classid = 'pg_class'::regclass)"
    "       UNION ALL"
    "       SELECT 'rule', quote_ident(r.rulename), at.relation"
    "        WHERE r.oid IS NOT NULL AND c.relkind NOT IN ('v', 'm')"
    "       UNION ALL"
    "       SELECT 'trigger', quote_ident(t.tgname), at.relation"
    "        WHERE t.oid IS NOT NULL AND NOT t.tgisinternal"
    "          AND NOT (starts_with(t.tgname, 'pghaul_')"
    "                   AND tf.pronamespace IN (SELECT own_n.oid FROM pg_namespace own_n"
    "                       WHERE own_n.nspname = 'pghaul'))"
    "       UNION ALL"
    "       SELECT CASE found.own_classid WHEN 'pg_type'::regclass THEN 'function-row-type'"
    "                                     ELSE 'function-sql-body' END,"
    "              found.objid::regprocedure::text, ''"
    "        WHERE found.classid = 'pg_proc'::regclass"
    "       UNION ALL"
    "       SELECT 'column-row-type', at.relation || '.' || quote_ident(a.attname), ''"
    "        WHERE a.attname IS NOT NULL AND found.own_classid = 'pg_type'::regclass"
    "            AND c.relkind NOT IN ('v', 'm')"
    "       UNION ALL"
    "       SELECT 'inherits-parent', at.relation, ''"
    "        WHERE found.classid = 'pg_class'::regclass AND found.objsubid = 0"
    "          AND c.relkind IN ('r', 'f', 'p') AND found.own_objid = $1::oid"
    "       UNION ALL"
    "       SELECT 'policy-elsewhere', quote_ident(p.polname), at.relation WHERE p.oid IS NOT NULL"
    "       UNION ALL"
    "       SELECT 'publication', quote_ident(pub.pubname), '' WHERE pub.oid IS NOT NULL"
    "       UNION ALL"
    "       SELECT 'unknown-dependent',"
    "              pg_describe_object(found.classid, found.objid, found.objsubid),"
    "              pg_describe_object(found.own_classid, found.own_objid, 0)"
    "        WHERE NOT (COALESCE(k.contype IN ('f', 't'), false)"
    "                   OR r.oid IS NOT NULL"
    "                   OR t.oid IS NOT NULL"
    "                   OR p.oid IS NOT NULL"
    "                   OR pub.oid IS NOT NULL"
    "                   OR found.classid = 'pg_proc'::regclass"
    "                   OR (found.classid = 'pg_class'::regclass"
    "                       AND (c.relkind IN ('v', 'm')"
    "                            OR (a.attname IS NOT NULL"
    "                                AND found.own_classid = 'pg_type'::regclass)"
    "                            OR (found.objsubid = 0 AND c.relkind IN ('r', 'f', 'p')"
    "                                AND found.own_objid = $1::oid))))"
    "       ) AS kind"
    " ORDER BY 1, 3, 2";

/*
 * Own objects that name the table itself (a constant of type regclass, a subquery in a policy):
 * made anew for the copy from their stored form, they would mean the old table. pg_depend says so
 * only of those that use no column, so their text is searched for the constant, and the stored tree
 * of a policy for the table in a subquery's FROM.
 */
static const char SELF_REFERENCE_SQL[] =
    "WITH part(classid, objid, text, tree) AS ("
    "       SELECT 'pg_attrdef'::regclass, d.oid, pg_get_expr(d.adbin, d.adrelid), ''"
    "         FROM pg_attrdef d WHERE d.adrelid = $1::oid"
    "       UNION ALL"
    "       SELECT 'pg_constraint'::regclass, k.oid, pg_get_constraintdef(k.oid), ''"
    "         FROM pg_constraint k WHERE k.conrelid = $1::oid AND k.contype IN ('c', 'x')"
    "       UNION ALL"
    "       SELECT 'pg_class'::regclass, i.indexrelid, pg_get_indexdef(i.indexrelid), ''"
    "         FROM pg_index i WHERE i.indrelid = $1::oid"
    "       UNION ALL"
    "       SELECT 'pg_policy'::regclass, p.oid,"
    "              concat(pg_get_expr(p.polqual, p.polrelid), ' ',"
    "                     pg_get_expr(p.polwithcheck, p.polrelid)),"
    "              concat(p.polqual::text, ' ', p.polwithcheck::text)"
    "         FROM pg_policy p WHERE p.polrelid = $1::oid"
    "       UNION ALL"
    "       SELECT 'pg_statistic_ext'::regclass, s.oid, pg_get_statisticsobjdef(s.oid), ''"
    "         FROM pg_statistic_ext s WHERE s.stxrelid = $1::oid)"
    "SELECT 'self-reference', pg_describe_object(part.classid, part.objid, 0), ''"
    "  FROM part"
    " WHERE strpos(part.text, quote_literal($1::oid::regclass::text) || '::regclass') > 0"
    "    OR strpos(part.tree, ' :relid ' || $1::oid::text || ' ') > 0"
    "    OR EXISTS (SELECT FROM pg_depend d"
    "                WHERE d.classid = part.classid AND d.objid = part.objid AND d.deptype = 'n'"
    "                  AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1::oid"
    "                      AND d.refobjsubid = 0)"
    " ORDER BY 2";

/* Members of an extension among the table and what belongs to it, and indexes marked as depending
 * on one. */
static const char EXTENSION_SQL[] =
    "SELECT CASE d.deptype WHEN 'e' THEN 'extension-owned' ELSE 'index-extension' END,"
    "       CASE d.deptype WHEN 'e' THEN pg_describe_object(d.classid, d.objid, 0)"
    "                      ELSE d.objid::regclass::text END,"
    "       quote_ident(x.extname)"
    "  FROM pg_depend d"
    "  JOIN pg_extension x ON x.oid = d.refobjid"
    " WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_extension'::regclass"
    "   AND d.deptype IN ('e', 'x')"
    "   AND (d.objid = $1::oid OR d.objid IN (SELECT indexrelid FROM pg_index"
    "          WHERE indrelid = $1::oid))"
    " ORDER BY 1, 2";

/* A column owns several sequences; a job moves the one of the identity or the default. */
static const char SEQUENCE_EXTRA_SQL[] =
    "SELECT 'sequence-extra', owned.name, owned.column_name"
    "  FROM (SELECT quote_ident(n.nspname) || '.' || quote_ident(s.relname) AS name,"
    "               quote_ident(a.attname) AS column_name,"
    "               row_number() OVER (PARTITION BY d.refobjsubid"
    "                                  ORDER BY d.deptype = 'i' DESC, used.objid IS NOT NULL DESC,"
    "                                      s.oid) AS rank"
    "          FROM pg_depend d"
    "          JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'"
    "          JOIN pg_namespace n ON n.oid = s.relnamespace"
    "          JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
    "          LEFT JOIN pg_attrdef def ON def.adrelid = a.attrelid AND def.adnum = a.attnum"
    "          LEFT JOIN pg_depend used"
    "            ON used.classid = 'pg_attrdef'::regclass AND used.objid = def.oid"
    "           AND used.refclassid = 'pg_class'::regclass AND used.refobjid = s.oid"
    "         WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass"
    "           AND d.refobjid = $1::oid AND d.refobjsubid > 0"
    "           AND d.deptype IN ('a', 'i')) AS owned"
    " WHERE owned.rank > 1"
    " ORDER BY 2";

static const struct check TABLE_CHECKS[] = {
    {0, DEPENDENTS_SQL},
    {0, SELF_REFERENCE_SQL},
    {0, EXTENSION_SQL},
    {0, SEQUENCE_EXTRA_SQL},
    /* Parents; a partition's parent too. */
    {0, "SELECT CASE WHEN c.relispartition THEN 'partition' ELSE 'inherits-child' END,"
        "       quote_ident(n.nspname) || '.' || quote_ident(p.relname), ''"
        "  FROM pg_inherits i"
        "  JOIN pg_class c ON c.oid = i.inhrelid"
        "  JOIN pg_class p ON p.oid = i.inhparent"
        "  JOIN pg_namespace n ON n.oid = p.relnamespace"
        " WHERE i.inhrelid = $1::oid"
        " ORDER BY i.inhseqno"},
    {0, "SELECT 'typed-table', format_type(c.reloftype, NULL), ''"
        "  FROM pg_class c WHERE c.oid = $1::oid AND c.reloftype <> 0"},
    {0, "SELECT 'column-type', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod)"
        "  FROM pg_attribute a"
        "  JOIN pg_type t ON t.oid = a.atttypid"
        " WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped"
        "   AND (t.typtype = 'p' OR NOT t.typisdefined)"
        " ORDER BY a.attnum"},
    {0, "SELECT 'publication-all', quote_ident(p.pubname), '' FROM pg_publication p"
        "       WHERE p.puballtables ORDER BY 2"},
    {150000, "SELECT 'publication-schema', quote_ident(p.pubname), quote_ident(n.nspname)"
             "  FROM pg_publication_namespace pn"
             "  JOIN pg_publication p ON p.oid = pn.pnpubid"
             "  JOIN pg_class c ON c.relnamespace = pn.pnnspid"
             "  JOIN pg_namespace n ON n.oid = c.relnamespace"
             " WHERE c.oid = $1::oid"
             " ORDER BY 2"},
    {0, "SELECT 'subscription', quote_ident(s.subname), ''"
        "  FROM pg_subscription_rel r"
        "  JOIN pg_subscription s ON s.oid = r.srsubid"
        " WHERE r.srrelid = $1::oid"
        " ORDER BY 2"},
    {0, "SELECT 'security-label', pg_describe_object(l.classoid, l.objoid, l.objsubid),"
        "       quote_ident(l.provider)"
        "  FROM pg_seclabel l"
        " WHERE l.classoid = 'pg_class'::regclass AND l.objoid = $1::oid"
        " ORDER BY l.objsubid, 3"},
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
    {0, "SELECT 'collation-nondeterministic', quote_ident(a.attname),"
        "       quote_ident(n.nspname) || '.' || quote_ident(coll.collname)"
        "  FROM pg_index i"
        " CROSS JOIN LATERAL generate_series(0, i.indnkeyatts - 1) AS at(position)"
        "  JOIN pg_collation coll ON coll.oid = i.indcollation[at.position]"
        "  JOIN pg_namespace n ON n.oid = coll.collnamespace"
        "  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[at.position]"
        " WHERE i.indexrelid = $2::oid AND i.indrelid = $1::oid AND NOT coll.collisdeterministic"
        " ORDER BY at.position"},
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
    {0, "SELECT 'invalid-index', quote_ident(n.nspname) || '.' || quote_ident(c.relname), ''"
        "  FROM pg_index i"
        "  JOIN pg_class c ON c.oid = i.indexrelid"
        "  JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE i.indrelid = $1::oid AND NOT (i.indisvalid AND i.indisready AND i.indislive)"
        " ORDER BY 2"},
    {0,
     "SELECT CASE k.contype WHEN 'x' THEN 'exclusion-constraint' ELSE 'not-valid-constraint' END,"
     "       quote_ident(k.conname), ''"
     "  FROM pg_constraint k"
     " WHERE k.conrelid = $1::oid"
     "   AND (k.contype = 'x' OR (k.contype IN ('c', 'n') AND NOT k.convalidated))"
     " ORDER BY 1, 2"},
    {0, "SELECT 'logical-slot', quote_ident(s.slot_name), ''"
        "  FROM pg_replication_slots s"
        " WHERE s.slot_type = 'logical' AND s.database = current_database()"
        " ORDER BY 2"},
};

/* The same without parameters. */
static const struct check SERVER_CHECKS[] = {
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
    {0, "SELECT 'event-trigger', quote_ident(e.evtname), e.evtevent"
        "  FROM pg_event_trigger e"
        " WHERE e.evtevent IN ('ddl_command_start', 'ddl_command_end', 'sql_drop', 'table_rewrite')"
        "   AND e.evtenabled IN ('O', 'A')"
        " ORDER BY 2"},
};

/* Can the jobs be read? A schema or table of that name without the privilege is found by
 * privilege-pghaul. */
static const char JOBS_READABLE_SQL[] =
    "SELECT FROM pg_class c"
    "  JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = 'pghaul' AND c.relname = 'job'"
    "   AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')";

/* Jobs on the table that are not over; a failed one is not, until it is aborted. By name, too:
 * after a cut-over another table has it. $1 oid. */
static const char JOBS_SQL[] =
    "SELECT 'job-open', j.name::text, j.state::text"
    "  FROM pghaul.job j"
    "  JOIN pg_class c ON c.oid = $1::oid JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE (j.source_oid::oid = c.oid OR (j.table_schema, j.table_name) = (n.nspname, c.relname))"
    "   AND j.state::text NOT IN ('done', 'finished', 'aborted', 'rolled_back')"
    " ORDER BY j.id";

/*
 * Columns of other tables that are called after this one. Singulars by the plain rules of English:
 * orders, boxes, categories. Partitions are left out, their parent says it. $1 oid, $2 name of the
 * key column, $3 oid of its type.
 */
static const char RELATED_SQL[] =
    "WITH stem(name) AS ("
    "       SELECT lower(c.relname) FROM pg_class c WHERE c.oid = $1::oid"
    "       UNION SELECT regexp_replace(lower(c.relname), 's$', '') FROM pg_class c"
    "           WHERE c.oid = $1::oid"
    "       UNION SELECT regexp_replace(lower(c.relname), 'es$', '') FROM pg_class c"
    "           WHERE c.oid = $1::oid"
    "       UNION SELECT regexp_replace(lower(c.relname), 'ies$', 'y') FROM pg_class c"
    "           WHERE c.oid = $1::oid)"
    "SELECT 'related-id',"
    "       CASE WHEN c.relnamespace = own.relnamespace THEN ''"
    "            ELSE quote_ident(n.nspname) || '.' END"
    "           || quote_ident(c.relname) || '.' || quote_ident(a.attname),"
    "       format_type(a.atttypid, a.atttypmod)"
    "  FROM pg_class own"
    "  JOIN pg_class c ON c.oid <> own.oid AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
    "  JOIN pg_namespace n"
    "    ON n.oid = c.relnamespace AND n.nspname !~ '^pg_'"
    "   AND n.nspname NOT IN ('information_schema', 'pghaul')"
    "  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    " WHERE own.oid = $1::oid AND a.atttypid = $3::oid"
    "   AND EXISTS (SELECT FROM stem"
    "                WHERE lower(a.attname) IN (stem.name || '_id', stem.name || '_' || lower($2)))"
    " ORDER BY c.relnamespace = own.relnamespace DESC, n.nspname, c.relname, a.attnum";

/* ------------------------------------------------------------------------------------- the list */

const char *finding_level_name(enum finding_level level)
{
    switch (level) {
    case FINDING_REFUSED:
        return "refused";
    case FINDING_WARNING:
        return "warning";
    case FINDING_NOTE:
        return "note";
    }
    return "";
}

void findings_deinit(struct findings *findings)
{
    free(findings->list);
    arena_deinit(&findings->arena);
    *findings = (struct findings){0};
}

int findings_count(const struct findings *findings, enum finding_level level)
{
    int count = 0;

    for (int i = 0; i < findings->count; i++)
        count += findings->list[i].level == level;
    return count;
}

const struct finding *findings_by_code(const struct findings *findings, const char *code)
{
    for (int i = 0; i < findings->count; i++)
        if (strcmp(findings->list[i].code, code) == 0)
            return &findings->list[i];
    return NULL;
}

/* An inspection under way: what the texts name. */
struct inspection {
    struct session *session;
    struct findings *findings;
    const char *table; /* quoted and qualified; NULL for the server */
    const char *role;  /* quoted */
};

static const struct kind *find_kind(const char *code)
{
    for (size_t i = 0; i < sizeof(KINDS) / sizeof(KINDS[0]); i++)
        if (strcmp(KINDS[i].code, code) == 0)
            return &KINDS[i];
    assert(!"a finding of unknown kind");
    abort();
}

static const char *expand(const struct inspection *inspection, const char *template,
                          const char *object, const char *extra)
{
    TEXT_AUTO text = {0};

    sql_expand(
        &text, template,
        SQL_NAMES({"table", sql_fragment(inspection->table == NULL ? "" : inspection->table)},
                  {"role", sql_fragment(inspection->role)}, {"object", sql_fragment(object)},
                  {"extra", sql_fragment(extra)}));
    return arena_copy(&inspection->findings->arena, text_string(&text));
}

static void add(const struct inspection *inspection, const char *code, const char *object,
                const char *extra)
{
    const struct kind *kind = find_kind(code);
    struct findings *findings = inspection->findings;

    if (findings->count == findings->size) {
        findings->size = findings->size == 0 ? 16 : findings->size * 2;
        findings->list =
            memory_resize(findings->list, (size_t)findings->size * sizeof(*findings->list));
    }
    findings->list[findings->count++] = (struct finding){
        .level = kind->level,
        .code = kind->code,
        .object = arena_copy(&findings->arena, object),
        .what = expand(inspection, kind->what, object, extra),
        .why = expand(inspection, kind->why, object, extra),
        .todo = expand(inspection, kind->todo, object, extra),
    };
}

static bool add_rows(const struct inspection *inspection, const char *sql, struct params params,
                     struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(inspection->session, &rows, sql, params, error))
        return error_context(error, "could not inspect %s",
                             inspection->table == NULL ? "the server" : inspection->table);
    for (int row = 0; row < rows_count(&rows); row++) {
        const char *object = rows_text(&rows, row, 1);
        const char *extra = rows_text(&rows, row, 2);

        /* An object that is being dropped has no description any more. */
        add(inspection, rows_text(&rows, row, 0), object == NULL ? "an object" : object,
            extra == NULL ? "" : extra);
    }
    return true;
}

/* Quoted as SQL needs it and not more: what a user reads. */
static bool read_names(struct inspection *inspection, const struct table *table,
                       struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(
            inspection->session, &rows,
            "SELECT quote_ident(current_user), quote_ident($1) || '.' || quote_ident($2)",
            PARAMS(table == NULL ? NULL : table->schema, table == NULL ? NULL : table->name),
            error))
        return false;
    inspection->role = arena_copy(&inspection->findings->arena, rows_text(&rows, 0, 0));
    inspection->table = arena_copy(&inspection->findings->arena, rows_text(&rows, 0, 1));
    return true;
}

/* ----------------------------------------------------------------------------------- the server */

bool inspect_server(struct session *session, struct findings *findings, struct error *error)
{
    struct inspection inspection = {.session = session, .findings = findings};

    if (!read_names(&inspection, NULL, error))
        return false;
    for (size_t i = 0; i < sizeof(SERVER_CHECKS) / sizeof(SERVER_CHECKS[0]); i++)
        if (session_server_version(session) >= SERVER_CHECKS[i].since &&
            !add_rows(&inspection, SERVER_CHECKS[i].sql, NO_PARAMS, error))
            return false;
    return true;
}

/* ------------------------------------------------------------------------------------ the table */

static const char *kind_name(char kind)
{
    switch (kind) {
    case 'v':
        return "a view";
    case 'm':
        return "a materialized view";
    case 'f':
        return "a foreign table";
    case 'S':
        return "a sequence";
    case 'i':
    case 'I':
        return "an index";
    case 'c':
        return "a composite type";
    case 't':
        return "a TOAST table";
    default:
        return "no ordinary table";
    }
}

static bool in_system_schema(const struct table *table)
{
    return strcmp(table->schema, "pg_catalog") == 0 ||
           strcmp(table->schema, "information_schema") == 0 ||
           strcmp(table->schema, "pg_toast") == 0;
}

/* False when it is of a kind that makes every further finding noise. */
static bool right_kind(const struct inspection *inspection, const struct table *table)
{
    if (in_system_schema(table))
        add(inspection, "system-table", inspection->table, "");
    else if (table->kind == 'p')
        add(inspection, "partitioned", inspection->table, "");
    else if (table->kind != 'r')
        add(inspection, "not-a-table", inspection->table, kind_name(table->kind));
    else if (strcmp(table->schema, "pghaul") == 0)
        add(inspection, "own-schema", inspection->table, "");
    else if (table->persistence == 't')
        add(inspection, "temporary", inspection->table, "");
    else
        return true;
    return false;
}

static bool inspect_key(const struct inspection *inspection, const struct table *table,
                        const struct table_index *key, const char *why_not, struct error *error)
{
    if (key == NULL)
        add(inspection, "no-key", inspection->table, why_not);
    for (int i = 0; key != NULL && i < key->column_count; i++)
        if (key->columns[i].collation_version_changed &&
            !add_rows(inspection,
                      "SELECT 'key-collation-version', quote_ident($1),"
                      "       quote_ident($2) || '.' || quote_ident($3)",
                      PARAMS(key->columns[i].name, table->schema, key->name), error))
            return false;
    return true;
}

/* Findings that need no statement. */
static void inspect_described(const struct inspection *inspection, const struct table *table)
{
    char rows[24];

    if (table->persistence == 'u')
        add(inspection, "unlogged", inspection->table, "");
    if (table->access_method != NULL && strcmp(table->access_method, "heap") != 0)
        add(inspection, "access-method", table->access_method, "");
    if (table->replica_identity == 'f')
        add(inspection, "replica-identity-full", inspection->table, "");
    if (table->row_estimate < 0)
        add(inspection, "never-analyzed", inspection->table, "");
    else if (table->row_estimate < SMALL_TABLE_ROWS)
        add(inspection, "small-table", inspection->table, number_text(rows, table->row_estimate));
}

static bool inspect_jobs(const struct inspection *inspection, const struct table *table,
                         struct error *error)
{
    ROWS_AUTO readable = {0};

    if (!session_query(inspection->session, &readable, JOBS_READABLE_SQL, NO_PARAMS, error))
        return false;
    return rows_count(&readable) == 0 ||
           add_rows(inspection, JOBS_SQL, PARAMS(NUMBER(table->oid)), error);
}

bool inspect_table(struct session *session, const struct table *table, struct findings *findings,
                   struct error *error)
{
    struct inspection inspection = {.session = session, .findings = findings};
    TEXT_AUTO why_not = {0};
    const struct table_index *key = table_key(table, &why_not);

    if (!read_names(&inspection, table, error))
        return false;
    if (!right_kind(&inspection, table))
        return true;
    if (!inspect_key(&inspection, table, key, text_string(&why_not), error))
        return false;
    for (size_t i = 0; i < sizeof(TABLE_CHECKS) / sizeof(TABLE_CHECKS[0]); i++) {
        const struct check *check = &TABLE_CHECKS[i];
        struct params params = PARAMS(NUMBER(table->oid), NUMBER(key == NULL ? 0 : key->oid));

        /* The server wants as many as the statement names. */
        params.count = strstr(check->sql, "$2") != NULL   ? 2
                       : strstr(check->sql, "$1") != NULL ? 1
                                                          : 0;
        if (session_server_version(session) >= check->since &&
            !add_rows(&inspection, check->sql, params, error))
            return false;
    }
    inspect_described(&inspection, table);
    return inspect_jobs(&inspection, table, error);
}

bool inspect_related_ids(struct session *session, const struct table *table,
                         const struct table_column *key, struct findings *findings,
                         struct error *error)
{
    struct inspection inspection = {.session = session, .findings = findings};

    return read_names(&inspection, table, error) &&
           add_rows(&inspection, RELATED_SQL,
                    PARAMS(NUMBER(table->oid), key->name, NUMBER(key->type_oid)), error);
}

/* ------------------------------------------------------------------------------------- refusing */

/* One refusal is the message; several are lines of the detail, as many as fit. */
bool findings_refuse(const struct findings *findings, const char *table, struct error *error)
{
    int refusals = findings_count(findings, FINDING_REFUSED);
    TEXT_AUTO lines = {0};
    int named = 0;

    if (refusals == 0)
        return true;
    for (int i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->list[i];

        if (finding->level != FINDING_REFUSED)
            continue;
        if (refusals == 1) {
            error_set(error, ERROR_REFUSED, "%s", finding->what);
            error_detail(error, "%s", finding->why);
            return error_hint(error, "%s", finding->todo);
        }
        if (lines.used + strlen(finding->what) + strlen(finding->todo) + 64 > sizeof(error->detail))
            break;
        text_separate(&lines, "\n");
        text_appendf(&lines, "%s%s%s", finding->what, finding->todo[0] == '\0' ? "" : ": ",
                     finding->todo);
        named++;
    }
    if (named < refusals)
        text_appendf(&lines, "\nand %d more", refusals - named);
    error_set(error, ERROR_REFUSED, "%d things are in the way of a job on %s", refusals, table);
    error_detail(error, "%s", text_string(&lines));
    return error_hint(error, "pghaul doctor %s prints them with their reasons", table);
}
