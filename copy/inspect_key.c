/* Findings about the key: what identifies a row of the table. */
#include "copy/inspect_parts.h"

static const struct finding_kind KINDS[] = {
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
    {0},
};

static const struct check CHECKS[] = {
    {0, "SELECT 'collation-nondeterministic', quote_ident(a.attname),"
        "       quote_ident(n.nspname) || '.' || quote_ident(coll.collname)"
        "  FROM pg_index i"
        " CROSS JOIN LATERAL generate_series(0, i.indnkeyatts - 1) AS at(position)"
        "  JOIN pg_collation coll ON coll.oid = i.indcollation[at.position]"
        "  JOIN pg_namespace n ON n.oid = coll.collnamespace"
        "  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[at.position]"
        " WHERE i.indexrelid = $2::oid AND i.indrelid = $1::oid AND NOT coll.collisdeterministic"
        " ORDER BY at.position"},
    {0},
};

static bool look(const struct inspection *inspection, struct error *error)
{
    const struct table_index *key = inspection->key;
    TEXT_AUTO why_not = {0};

    if (key == NULL) {
        (void)table_key(inspection->table, &why_not);
        inspection_add(inspection, "no-key", inspection->name, text_string(&why_not));
        return true;
    }
    for (int i = 0; i < key->column_count; i++)
        if (key->columns[i].collation_version_changed &&
            !inspection_add_rows(inspection,
                                 "SELECT 'key-collation-version', quote_ident($1),"
                                 "       quote_ident($2) || '.' || quote_ident($3)",
                                 PARAMS(key->columns[i].name, inspection->table->schema, key->name),
                                 error))
            return false;
    return true;
}

const struct inspection_subject inspect_key_subject = {
    .kinds = KINDS,
    .checks = CHECKS,
    .look = look,
};
