/*
 * The twin of a column: a second column of the same table (of the same type for a rename, of
 * another one for a retype) that will take its place by expand-contract; and everything that
 * belongs to the column, as it must read for the twin: indexes, checks, foreign keys of both
 * directions, extended statistics, attributes, comment, grants.
 *
 * The server is the parser. An empty temporary clone of the table gets what has the column, the
 * column gets the type and the name of the twin, and what the server prints then is the definition
 * over the twin. Whatever the type does not fit (an operator class, an expression, a foreign key)
 * fails there, in the server's words. Nothing of the user's is locked or changed by it.
 *
 *     twin_read()              in a transaction that the caller rolls back; result: the plan's
 *     twin_expand_sql()        the bare column: nullable, no default, no scan, no rewrite
 *     (indexes, constraints and statistics under their twin_name: the caller's, from the lists)
 *     twin_decorate_sql()      comment and grants of the column
 *
 * What it is not: who else uses the column by name (views, functions, policies, triggers,
 * publications), or how and when the two change places.
 */
#ifndef PGHAUL_COPY_TWIN_H
#define PGHAUL_COPY_TWIN_H

#include <stdint.h>

#include "copy/fields.h"
#include "copy/grants.h"
#include "engine/job/run.h"
#include "engine/pg/table.h"

/* A valid index that has the column: as a key, INCLUDEd, in an expression or in its predicate. */
struct twin_index {
    const char *name;      /* of the column's; in the table's schema */
    const char *twin_name; /* of the twin's, while both exist: twin_object_name() */
    const char *tail;      /* of the twin's: USING btree (..) .., as of struct table_index */
    bool unique;
    char constraint_type;   /* 'p', 'u', '\0' for none; never deferrable, never 'x' */
    const char *constraint; /* its name; NULL for none */
    bool nulls_not_distinct;
    bool replica_identity;
    bool clustered;
    const char *comment;            /* of the index; NULL for none */
    const char *constraint_comment; /* NULL for none */
    const char *statistics_sql;     /* statements for twin_name; NULL for none */
};

/* A check that reads the column; a foreign key of the table over it, or to it. */
struct twin_constraint {
    char type;     /* 'c', 'f' */
    bool outgoing; /* the column is among those that reference; both of a table's key to itself */
    bool incoming; /* the column is among those that are referenced */
    bool self;     /* a foreign key of the table to itself */
    uint32_t table_oid; /* that has it: of an incoming key (but self) another table */
    const char *schema;
    const char *table;
    const char *name;
    const char *twin_name;
    const char *definition; /* over the twin, behind ADD CONSTRAINT name; NOT VALID */
    const char *restore;    /* over the column, the same; NOT VALID */
    bool validated;         /* the column's is: false, so must the twin's not be */
    bool enforced;          /* 18: false, then both texts say NOT ENFORCED, and not NOT VALID */
    const char *other;   /* the table that a foreign key references, as SQL; NULL: none, or self */
    const char *comment; /* NULL for none */
};

/* An extended statistics object that has the column. */
struct twin_statistics {
    const char *schema;
    const char *name;
    const char *twin_name;  /* in the same schema */
    const char *definition; /* behind CREATE STATISTICS name: (mcv) ON a, b FROM .. */
    int64_t target;         /* -1: the default */
    const char *comment;    /* NULL for none */
};

struct twin {
    const char *old_type; /* as of struct table_column, which is also where the rest is from */
    const char *old_collation;
    const char *type; /* of the twin */
    const char *collation;
    const char *old_default_sql; /* NULL for none */
    const char *default_sql;     /* as the twin's type takes it; NULL for none */
    const char *not_null_name;   /* 18: of the constraint; there and not_null false: NOT VALID */
    const char *not_null_comment;
    const char *sequence; /* owned; qualified, quoted; NULL for none */
    const char *comment;
    const char *options;       /* fragment: n_distinct='5', ..; NULL for none */
    int64_t statistics_target; /* -1: the default */
    bool not_null;
    bool sequence_is_serial; /* owned, not an identity's, and the default draws from it */
    char identity;           /* 'a', 'd', '\0' */
    char storage;            /* of the twin: 'p', 'e', 'm', 'x'; '\0': as its type has it */
    char compression;        /* of the twin: 'p', 'l'; '\0': the default */
    int grant_count;
    struct grant *grants;    /* of the column, saying the twin's name */
    const char *grants_role; /* struct grants: role, for the list */
    struct twin_index *indexes;
    int index_count;
    int constraint_count;
    struct twin_constraint *constraints;
    struct twin_statistics *statistics;
    int statistics_count;
};
extern const struct field twin_FIELDS[];

/*
 * Reads `column` of the table into the zeroed *twin, whose memory is the arena's. `type` is what
 * the user typed, read under his search_path and as ALTER COLUMN TYPE reads it (so it may say
 * COLLATE, and without one the type's own collation is taken); NULL: the same. `prefix` begins the
 * names of the twin's objects, and is unique to the job.
 *
 * In the open transaction, which must be rolled back; leaves search_path as sessions pin it.
 *
 * ERROR_REFUSED: what cannot have a twin (twin_check.c lists it); what the server says about the
 * type.
 */
bool twin_read(struct run *run, const struct table *table, const char *column,
               const char *twin_column, const char *type, const char *prefix, struct arena *arena,
               struct twin *twin, struct error *error) MUST_CHECK;

/* Appends ALTER TABLE statements: the column, its storage, compression, target and options. */
void twin_expand_sql(const struct table *table, const char *twin_column, const struct twin *twin,
                     struct text *sql);

/* Appends comment and grants. Needs a transaction (copy/grants.h) and a column without grants. */
void twin_decorate_sql(const struct table *table, const char *twin_column, const struct twin *twin,
                       struct text *sql);

/* <prefix>_<number>, short enough that the server keeps it as it is. */
const char *twin_object_name(struct arena *arena, const char *prefix, int number);

#endif
