/* What validate_prepare.c, which plans, and validate.c, which is the kind, share. For them only. */
#ifndef PGHAUL_COPY_KINDS_VALIDATE_PARTS_H
#define PGHAUL_COPY_KINDS_VALIDATE_PARTS_H

#include "copy/kinds/addition.h"
#include "copy/kinds/validate.h"
#include "copy/online_constraint.h"
#include "copy/statement.h"

struct validate_plan {
    struct arena arena;
    struct constraint_spec spec;
};

static inline struct validate_plan *validate_plan_of(const struct run *run)
{
    return run->kind_state;
}

static inline const struct constraint_spec *constraint_spec_of(const struct run *run)
{
    return &validate_plan_of(run)->spec;
}

/* Appends the phases to the report. */
void validate_describe(struct run *run, const struct constraint_look *look, struct report *report);

#endif
