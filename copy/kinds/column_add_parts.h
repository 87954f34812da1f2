/*
 * What the files of job kind column-add share: column_add_definition.c takes the user's text apart,
 * column_add_clone.c reads back what the server makes of it, column_add_prepare.c plans and
 * reports, column_add_print.c prints, column_add.c is the kind. For them only.
 */
#ifndef PGHAUL_COPY_KINDS_COLUMN_ADD_PARTS_H
#define PGHAUL_COPY_KINDS_COLUMN_ADD_PARTS_H

#include "copy/batch.h"
#include "copy/kinds/column_add.h"
#include "copy/kinds/column_not_null_parts.h"
#include "copy/online_index.h"

struct column_add_plan {
    struct arena arena;
    uint32_t table_oid;
    const char *schema;
    const char *table;
    const char *column;
    const char *expand_sql;
    const char *batch;         /* the backfill's plan, as JSON; NULL: the fast way */
    struct not_null *not_null; /* one, unless expand_sql says it, or nobody does */
    int not_null_count;
    struct constraint_spec *constraints; /* checks and foreign keys */
    int constraint_count;
    struct index_spec *indexes; /* of unique constraints */
    int index_count;
    const char **attach_sql; /* for each of them */
    int attach_count;

    struct batch_plan batch_plan; /* in memory: from `batch` */
};

extern const struct field column_add_plan_FIELDS[];

static inline struct column_add_plan *column_add_plan_of(const struct run *run)
{
    return run->kind_state;
}

static inline bool column_add_is_slow(const struct run *run)
{
    return column_add_plan_of(run)->batch != NULL;
}

/* The definition around the name of the table that it references. In the arena. */
struct definition {
    const char *head;  /* all of it, without one */
    const char *other; /* as typed; NULL: none */
    const char *rest;
};

/* ERROR_USAGE: more than one column. */
bool definition_read(const char *text, struct arena *arena, struct definition *definition,
                     struct error *error) MUST_CHECK;

/* What came of the definition; strings are of the preparation's arena, or of the table's. */
struct added_column {
    const struct table_column *column; /* of the clone */
    struct table *clone;
    bool rewrites;             /* rows would have to be written */
    bool constant;             /* the default is kept beside the rows */
    const char *attributes;    /* further actions: SET STORAGE, .. */
    const char *not_null_name; /* 18 */
    const char *sequence;      /* of a serial: its name; NULL: none */
    const char *sequence_type;
    struct addition_other references;
};

struct column_add_preparation {
    struct run *run;
    const struct column_add_options *options;
    struct column_add_plan *plan;
    struct arena arena;
    struct table *table;
    struct definition definition;
    struct added_column added;
};

/* In the open transaction, which must be rolled back: fills prep->added, and the plan's
 * constraints, indexes and attach_sql. */
bool column_add_read_clone(struct column_add_preparation *prep, struct error *error) MUST_CHECK;

/* Is the constraint one that VALIDATE can make valid? Since 18 it may be NOT ENFORCED. */
bool column_add_is_enforced(const struct constraint_spec *spec);

/* Appends the statement that the way back needs, foreign keys apart. */
void column_add_drop_sql(const struct column_add_plan *plan, struct text *sql);

/* SQL "ONLY s.t", for locks. */
void column_add_lock_name(const struct column_add_plan *plan, struct text *name);

/* Appends what a phase sends; false: the phase does nothing for this column. */
bool column_add_print(struct run *run, const char *phase, struct text *script);

void column_add_describe(struct run *run, struct report *report);

#endif
