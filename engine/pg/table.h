/*
 * Description of one table, read from the catalogue in a few queries. Everything a copy needs to
 * know to write SQL about it; nothing about jobs, and no judgement (what is refused is decided in
 * copy/inspect.h).
 *
 * Names are as in the catalogue, unquoted; types, collations, operators and definitions are SQL
 * fragments that the server printed with search_path = pg_catalog, so they are qualified and can go
 * into a statement as they are.
 *
 * All memory belongs to the arena given to table_describe().
 */
#ifndef PGHAUL_PG_TABLE_H
#define PGHAUL_PG_TABLE_H

#include <stdint.h>

#include "engine/pg/session.h"

enum { TABLE_KEY_COLUMNS_MAX = 32 }; /* INDEX_MAX_KEYS */

struct table_column {
    int number; /* pg_attribute.attnum */
    const char *name;
    const char *type;      /* format_type(atttypid, atttypmod): numeric(12,2) */
    const char *base_type; /* the same with domains resolved to base type and its typmod */
    uint32_t type_oid;     /* atttypid */
    const char *collation; /* qualified and quoted; NULL when the type has none */
    bool not_null;
    bool generated;          /* GENERATED ALWAYS AS (..) STORED (or VIRTUAL): never written */
    bool generated_virtual;  /* PostgreSQL 18: not stored at all */
    char identity;           /* 'a' always, 'd' by default, '\0' none */
    const char *default_sql; /* pg_get_expr of default or generation expression; NULL for none */
    const char *sequence;    /* owned sequence (serial, identity), qualified, quoted; or NULL */
};

struct table_index_column {
    int number;            /* attnum; 0 for an expression */
    const char *name;      /* column name; NULL for an expression */
    const char *equal;     /* its equality: OPERATOR(pg_catalog.=); NULL unless btree or hash */
    const char *less;      /* OPERATOR(pg_catalog.<); NULL unless btree */
    const char *opclass;   /* qualified: for CREATE INDEX on a table of ours */
    const char *collation; /* the index column's collation, qualified; NULL for none */
    bool descending;
    bool collation_version_changed; /* pg_collation_actual_version differs from the recorded one */
};

struct table_index {
    uint32_t oid;
    const char *name;
    const char *method; /* btree, gist, ... */
    /* its definition from USING on: USING btree (id) INCLUDE (..) WITH (..) TABLESPACE .. WHERE */
    const char *tail;
    const char *constraint; /* name of the constraint that it backs; NULL for none */
    /* 'p', 'u', 'x'; '\0' for none. A key WITHOUT OVERLAPS (18) is 'x': it excludes with a GiST
     * index, and can only be made with its constraint, not from an index that is there. */
    char constraint_type;
    const char *constraint_definition; /* pg_get_constraintdef; NULL for none */
    bool unique;
    bool primary;
    bool valid;     /* indisvalid and indisready */
    bool immediate; /* false: deferrable */
    bool initially_deferred;
    bool partial;
    bool has_expressions;
    bool nulls_not_distinct;
    bool clustered;        /* indisclustered */
    bool replica_identity; /* indisreplident */
    int64_t bytes;
    int column_count; /* key columns, without INCLUDE */
    struct table_index_column columns[TABLE_KEY_COLUMNS_MAX];
};

/* CHECK constraints, and on 18 named NOT NULL ones; those with an index are in indexes. */
struct table_constraint {
    const char *name;
    char type;              /* 'c', 'n', 'f' (a foreign key of this table) */
    const char *definition; /* pg_get_constraintdef */
    bool validated;
};

struct table {
    uint32_t oid;
    const char *schema;
    const char *name;
    const char *owner;
    uint32_t owner_oid;
    char kind;        /* pg_class.relkind: 'r', 'p', 'v', ... */
    char persistence; /* 'p', 'u', 't' */
    const char *access_method;
    bool is_partition;
    bool row_security;
    bool force_row_security;
    uint32_t relfilenode;
    uint32_t type_oid; /* row type */
    int64_t pages;     /* pg_relation_size / block size, now: not relpages */
    int64_t heap_bytes;
    int64_t toast_bytes;
    int64_t index_bytes;
    int64_t row_estimate;         /* reltuples scaled to now; -1: never analyzed, 0: no pages */
    const char *reloptions;       /* for WITH (...): fillfactor='70', ...; NULL for none */
    const char *toast_reloptions; /* the same, as toast.autovacuum_enabled='false', ... */
    const char *tablespace;       /* NULL for the database's default */
    char replica_identity;        /* relreplident */

    int column_count;
    struct table_column *columns; /* without dropped ones, by attnum */
    int index_count;
    struct table_index *indexes; /* by oid: primary key and constraints as created */
    int constraint_count;
    struct table_constraint *constraints;
};

/*
 * Resolves a name as the user typed it (to_regclass under the session's search_path unless
 * qualified) and finds it. ERROR_REFUSED with a hint when there is no such table (a hint may name
 * one of that name in another schema). `search_path` is the user's own: sessions pin theirs to
 * pg_catalog.
 */
bool table_find(struct session *session, const char *typed, const char *search_path, uint32_t *oid,
                struct error *error) MUST_CHECK;

/* Describes the table with this oid. ERROR_REFUSED when it is gone. */
bool table_describe(struct session *session, uint32_t oid, struct arena *arena,
                    struct table **table, struct error *error) MUST_CHECK;

/* NULL when there is none. */
const struct table_column *table_column_by_name(const struct table *table, const char *name);
const struct table_column *table_column_by_number(const struct table *table, int number);

/*
 * The key: the columns of the best index that identifies a row: unique, valid, immediate, btree,
 * not partial, no expressions, every column NOT NULL. The primary key first, then the narrowest.
 * NULL when there is none; `why_not` (may be NULL) then says what came closest and what it lacks.
 */
const struct table_index *table_key(const struct table *table, struct text *why_not);

/* The one on exactly these columns, in this order, if it can be a key; else NULL and why not. */
const struct table_index *table_key_on(const struct table *table, const char *const *columns,
                                       int count, struct text *why_not);

#endif
