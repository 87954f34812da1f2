/* Findings about what depends on the table, and is not carried over with it. */
#include "copy/inspect_parts.h"

static const struct finding_kind KINDS[] = {
    /* -- in the catalogue of dependencies -- */
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
    {"inherits-parent", FINDING_REFUSED, "{object} inherits from {table}",
     "it would go on inheriting from the old one",
     "ALTER TABLE {object} NO INHERIT {table}, and back after finish"},
    {"policy-elsewhere", FINDING_REFUSED, "policy {object} on {extra} reads {table}",
     "it would go on reading the old table",
     "DROP POLICY {object} ON {extra}, and create it again after finish"},
    {"publication", FINDING_REFUSED, "{table} is in publication {object}",
     "subscribers would get no more changes after the swap",
     "ALTER PUBLICATION {object} DROP TABLE {table}, and add it again after finish"},
    {"unknown-dependent", FINDING_REFUSED, "{object} depends on {extra}",
     "pghaul does not know how to carry it over", "drop it, and create it again after finish"},
    {"self-reference", FINDING_REFUSED, "{object} refers to {table} as a whole",
     "on the copy it would go on referring to the old table",
     "drop it, and create it again after finish"},
    {"extension-owned", FINDING_REFUSED, "{object} belongs to extension {extra}",
     "the copy would not", "ask the extension's authors how to change it"},
    {"index-extension", FINDING_WARNING,
     "index {object} is marked as depending on extension {extra}",
     "the index is carried over, the mark is not",
     "after finish: ALTER INDEX {object} DEPENDS ON EXTENSION {extra}"},
    {"sequence-extra", FINDING_REFUSED,
     "sequence {object} is owned by column {extra}, which has another one too",
     "it would be dropped with the old table",
     "ALTER SEQUENCE {object} OWNED BY NONE, and back after finish"},
    /* -- elsewhere -- */
    {"partition", FINDING_REFUSED, "{table} is a partition of {object}",
     "the copy would not be one",
     "ALTER TABLE {object} DETACH PARTITION {table}, and attach it again after finish"},
    {"inherits-child", FINDING_REFUSED, "{table} inherits from {object}", "the copy would not",
     "ALTER TABLE {table} NO INHERIT {object}, and back after finish"},
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
    {0},
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

static const struct check CHECKS[] = {
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
    {0},
};

const struct inspection_subject inspect_dependents_subject = {
    .kinds = KINDS,
    .checks = CHECKS,
};
