/*
 * What the files of job kind alter share: alter_prepare.c plans, alter_report.c tells the user,
 * alter_describe.c prints the phases of a dry run, alter.c is the kind. For them only.
 */
#ifndef PGHAUL_COPY_KINDS_ALTER_PARTS_H
#define PGHAUL_COPY_KINDS_ALTER_PARTS_H

#include <unistd.h>

#include "copy/copy.h"
#include "copy/kinds/alter.h"
#include "copy/shadow.h"
#include "copy/trial.h"

/* The trial's tables carry a number that no job has: it is rolled back, but two trials may run at
 * once. */
#define ALTER_TRIAL_NUMBER (INT64_C(900000000) + getpid())
enum { ALTER_TRIAL_MS = 5000 };

/* Everything that alter_prepare() works with. */
struct preparation {
    struct run *run;
    const struct alter_options *options;
    struct arena arena;
    struct table *source;
    struct findings findings;
    struct shadow_changes changes;
    struct trial trial;
    /* Of a dry run: what was sent so far, transcribed. */
    struct text start_script;  /* to make schema pghaul; empty when it is there */
    struct text shadow_script; /* phase shadow */
    struct report *report;     /* its phases */
};

/* Fills the report of a preparation whose trial is over. */
bool alter_report(struct preparation *prep, struct report *report, struct error *error) MUST_CHECK;

/* Fills prep->report's phases, in the trial's transaction, after the trial. */
bool alter_describe(struct preparation *prep, struct error *error) MUST_CHECK;

#endif
