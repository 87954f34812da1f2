/* What index_prepare.c, which plans, and index.c, which is the kind, share. For them only. */
#ifndef PGHAUL_COPY_KINDS_INDEX_PARTS_H
#define PGHAUL_COPY_KINDS_INDEX_PARTS_H

#include "copy/kinds/addition.h"
#include "copy/kinds/index.h"
#include "copy/online_index.h"
#include "copy/statement.h"

struct index_plan {
    struct arena arena;
    struct index_spec spec; /* as the server printed it on the clone */
};

static inline struct index_plan *index_plan_of(const struct run *run)
{
    return run->kind_state;
}

static inline const struct index_spec *index_spec_of(const struct run *run)
{
    return &index_plan_of(run)->spec;
}

/* Appends the phases to the report. */
void index_describe(struct run *run, const struct index_look *look, struct report *report);

#endif
