/* What index_prepare.c, which plans, and index.c, which is the kind, share. For them only. */
#ifndef PGHAUL_COPY_KINDS_INDEX_PARTS_H
#define PGHAUL_COPY_KINDS_INDEX_PARTS_H

#include "copy/kinds/addition.h"
#include "copy/kinds/index.h"
#include "copy/statement.h"

/* The index as the server printed it on the clone. */
struct index_plan {
    struct arena arena;
    const char *schema; /* of the table, and so of the index */
    const char *table;
    const char *name;
    const char *unique; /* "UNIQUE " or "" */
    const char *tail;   /* from USING on, qualified */
};

static inline struct index_plan *index_plan_of(const struct run *run)
{
    return run->kind_state;
}

/* What there is by that name. */
struct index_look {
    bool exists;
    bool of_table; /* an index of this table */
    bool same;     /* with this definition */
    bool valid;
    int builder; /* the process that builds it now; 0: none */
    int64_t bytes;
};

bool index_look(struct run *run, struct index_look *look, struct error *error) MUST_CHECK;

/* ERROR_REFUSED when what is there can neither be used nor dropped. */
bool index_accept(const struct run *run, const struct index_look *look,
                  struct error *error) MUST_CHECK;

void index_create_sql(const struct index_plan *plan, struct text *sql);
void index_drop_sql(const struct index_plan *plan, struct text *sql);
void index_plan_fields(struct index_plan *plan, struct addition_field fields[5]);
enum { INDEX_PLAN_FIELDS = 5 };

/* Appends the phases to the report. */
void index_describe(struct run *run, const struct index_look *look, struct report *report);

#endif
