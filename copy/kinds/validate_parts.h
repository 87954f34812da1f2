/* What validate_prepare.c, which plans, and validate.c, which is the kind, share. For them only. */
#ifndef PGHAUL_COPY_KINDS_VALIDATE_PARTS_H
#define PGHAUL_COPY_KINDS_VALIDATE_PARTS_H

#include "copy/kinds/addition.h"
#include "copy/kinds/validate.h"
#include "copy/statement.h"

struct validate_plan {
    struct arena arena;
    const char *schema;
    const char *table;
    const char *name;
    const char *type;       /* pg_constraint.contype */
    const char *definition; /* as the server prints it, NOT VALID included; NULL: not ours to add */
    const char *other;      /* the table that a foreign key references, as SQL; NULL: none */
};
enum { VALIDATE_PLAN_FIELDS = 6 };

static inline struct validate_plan *validate_plan_of(const struct run *run)
{
    return run->kind_state;
}

void validate_plan_fields(struct validate_plan *plan, struct addition_field fields[6]);

/* What there is by that name. */
struct validate_look {
    bool exists;
    uint32_t oid;
    bool valid;
    bool enforced;
    char type;
    bool same; /* as plan->definition, valid or not; true without one */
};

bool validate_look(struct run *run, struct validate_look *look, struct error *error) MUST_CHECK;
/* ERROR_REFUSED when another one has the name. */
bool validate_accept(const struct run *run, const struct validate_look *look,
                     struct error *error) MUST_CHECK;

/* Appends the phases to the report. */
void validate_describe(struct run *run, const struct validate_look *look, struct report *report);

#endif
