/* Findings about what a table is and how it is built. */
#include "copy/inspect_parts.h"

#include <string.h>

enum { SMALL_TABLE_ROWS = 10000 };

static const struct finding_kind KINDS[] = {
    /* -- what it is -- */
    {"not-a-table", FINDING_REFUSED, "{table} is {extra}", "only ordinary tables can be copied",
     ""},
    {"partitioned", FINDING_REFUSED, "{table} is partitioned", "its rows are in its partitions",
     "work on a partition that was detached, or wait for the version that can"},
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
    {"column-type", FINDING_REFUSED, "column {object} has type {extra}", "it cannot be copied", ""},
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
    {0},
};

static const struct check CHECKS[] = {
    {0, "SELECT 'typed-table', format_type(c.reloftype, NULL), ''"
        "  FROM pg_class c WHERE c.oid = $1::oid AND c.reloftype <> 0"},
    {0, "SELECT 'column-type', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod)"
        "  FROM pg_attribute a"
        "  JOIN pg_type t ON t.oid = a.atttypid"
        " WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped"
        "   AND (t.typtype = 'p' OR NOT t.typisdefined)"
        " ORDER BY a.attnum"},
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
    {0},
};

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

bool inspect_right_kind(const struct inspection *inspection)
{
    const struct table *table = inspection->table;

    if (in_system_schema(table))
        inspection_add(inspection, "system-table", inspection->name, "");
    else if (table->kind == 'p')
        inspection_add(inspection, "partitioned", inspection->name, "");
    else if (table->kind != 'r')
        inspection_add(inspection, "not-a-table", inspection->name, kind_name(table->kind));
    else if (strcmp(table->schema, "pghaul") == 0)
        inspection_add(inspection, "own-schema", inspection->name, "");
    else if (table->persistence == 't')
        inspection_add(inspection, "temporary", inspection->name, "");
    else
        return true;
    return false;
}

/* Seen in the description. */
static bool look(const struct inspection *inspection, struct error *error)
{
    const struct table *table = inspection->table;
    char rows[24];

    (void)error;
    if (table->persistence == 'u')
        inspection_add(inspection, "unlogged", inspection->name, "");
    if (table->access_method != NULL && strcmp(table->access_method, "heap") != 0)
        inspection_add(inspection, "access-method", table->access_method, "");
    if (table->replica_identity == 'f')
        inspection_add(inspection, "replica-identity-full", inspection->name, "");
    if (table->row_estimate < 0)
        inspection_add(inspection, "never-analyzed", inspection->name, "");
    else if (table->row_estimate < SMALL_TABLE_ROWS)
        inspection_add(inspection, "small-table", inspection->name,
                       number_text(rows, table->row_estimate));
    return true;
}

const struct inspection_subject inspect_build_subject = {
    .kinds = KINDS,
    .checks = CHECKS,
    .look = look,
};
