/*
 * The plan of a shadow-copy job: what alter_prepare() found out once and every later step, in any
 * process, goes by. Stored as JSON in pghaul.job.plan; plan_to_json() and plan_from_json() are each
 * other's inverse.
 *
 * Names of relations that belong to the job carry its number (plan_names()): shadow
 * pghaul.orders_7, after the swap the old table is pghaul.orders_7_old, its change log
 * pghaul.log_7_a and _b.
 *
 * SQL fragments in a plan were printed by the server with search_path = pg_catalog. Memory belongs
 * to `arena`.
 */
#ifndef PGHAUL_COPY_PLAN_H
#define PGHAUL_COPY_PLAN_H

#include <stdint.h>

#include "engine/base/memory.h"
#include "engine/base/text.h"
#include "engine/pg/table.h"

enum plan_order { PLAN_HEAP, PLAN_KEY };

/* A column that exists on both sides, or, with one name NULL, on one. */
struct plan_column {
    const char *source;      /* name in the source; NULL: new, gets its default */
    const char *target;      /* name in the shadow; NULL: dropped */
    const char *source_type; /* with typmod */
    const char *target_type;
    const char *map; /* --map: expression over alias r, the source; NULL: r.source */
    const char
        *reverse_map; /* --reverse-map: expression over alias r, the new table; NULL: r.target */
    bool source_generated; /* never written on that side */
    bool target_generated;
};

/* A column of the key, or of another order in which the source is walked. */
struct plan_key_column {
    const char *source;
    const char *target;
    const char *source_type; /* base type: what logs store */
    const char *target_type;
    const char *collation;    /* of the source column; NULL for none */
    const char *source_equal; /* OPERATOR(..) */
    const char *target_equal;
    const char *operator_schema; /* of the source's operators, as SQL; NULL: pg_catalog */
};

struct plan_index {
    const char *name; /* at home: in the user's schema, on the table that has the user's name */
    const char *tail; /* USING ... */
    const char *constraint; /* name of its constraint; NULL for a plain index */
    char constraint_type;   /* 'p', 'u', 'x' */
    const char *definition; /* of an exclusion constraint: pg_get_constraintdef */
    bool unique;
    bool deferrable;
    bool initially_deferred;
};

struct plan_check { /* a NOT VALID constraint: added at the swap, NOT VALID */
    const char *name;
    const char *definition;
};

struct plan {
    struct arena arena;
    uint32_t source_oid;
    const char *schema;
    const char *table;
    const char *owner;
    const char *search_path; /* the user's: under which the actions are run */
    enum plan_order order;
    const char *order_why;
    bool no_rollback;
    bool rewrite_needed;
    const char *tablespace; /* of the new table; NULL: the database's default */
    const char *autovacuum; /* WITH-list to restore after the load: all storage parameters when
                               the user has autovacuum_enabled among them; else "" */
    int action_count;
    const char **actions;
    int column_count;
    struct plan_column *columns;
    int key_count;
    struct plan_key_column *key;
    const char *key_index; /* its name at home */
    bool key_hashable; /* every key type has an extended hash: replay can be split into buckets */
    int walk_count; /* order PLAN_KEY: the columns of the walk; the key's own unless --order-by */
    struct plan_key_column *walk;
    int index_count; /* of the new table */
    struct plan_index *indexes;
    int source_index_count; /* of the old one: names only, for the swap and back */
    const char **source_indexes;
    int check_count;
    struct plan_check *checks;
    bool no_dual_back; /* the old table has deferrable constraints, or a column GENERATED ALWAYS AS
                          IDENTITY, which no UPDATE may set: no dual-write on the way back */
    bool target_collides; /* unique or exclusion constraints beside the key: of the new table */
    bool source_collides; /* of the old one */
    int64_t row_estimate;
    int64_t heap_bytes;
    int64_t table_bytes;
    const char *attached_fingerprint; /* of the source: its whole definition (copy/attached.h) */
    const char *attached_parts;       /* the same by part, to name what was changed */
};

void plan_deinit(struct plan *plan);
void plan_to_json(const struct plan *plan, struct text *json);
bool plan_from_json(const char *json, struct plan *plan, struct error *error) MUST_CHECK;

/* Names that carry the job's number, each at most 63 bytes; the table's part is cut at a character.
 */
struct plan_names {
    char shadow[64]; /* orders_7, in schema pghaul */
    char old[64];    /* orders_7_old */
};
void plan_names(const char *table, int64_t job, struct plan_names *names);
/* Name of the n-th (from 0) index while it is not at home: orders_7_i1, orders_7_old_i1. */
void plan_away_name(const char *relation, int n, char name[64]);

#endif
