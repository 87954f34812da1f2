/*
 * What the files of job kind alter share: alter_prepare.c plans, alter_report.c tells the user,
 * alter.c is the kind. For them only.
 */
#ifndef PGHAUL_COPY_KINDS_ALTER_PARTS_H
#define PGHAUL_COPY_KINDS_ALTER_PARTS_H

#include "copy/copy.h"
#include "copy/kinds/alter.h"
#include "copy/shadow.h"
#include "copy/trial.h"

/* Everything that alter_prepare() works with. */
struct preparation {
    struct run *run;
    const struct alter_options *options;
    struct arena arena;
    struct table *source;
    struct findings findings;
    struct shadow_changes changes;
    struct trial trial;
};

/* Fills the report of a preparation whose trial is over. */
bool alter_report(struct preparation *prep, struct report *report, struct error *error) MUST_CHECK;

#endif
