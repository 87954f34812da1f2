/*
 * What the files of job kind backfill share: backfill_prepare.c plans, backfill_report.c tells the
 * user, backfill.c is the kind. For them only.
 */
#ifndef PGHAUL_COPY_KINDS_BACKFILL_PARTS_H
#define PGHAUL_COPY_KINDS_BACKFILL_PARTS_H

#include "copy/inspect.h"
#include "copy/kinds/backfill.h"

/* Everything that backfill_prepare() works with. */
struct preparation {
    struct run *run;
    const struct backfill_options *options;
    struct batch_plan *plan;
    struct arena arena;
    struct table *table;
    struct findings findings;
    const struct table_index *key;
    const char *qualified;
    bool beyond_row; /* an expression reads more than the row: other tables, perhaps */
    struct batch_trial trial;
};

/* Fills the report of a preparation whose trial is over. */
bool backfill_report(struct preparation *prep, struct report *report,
                     struct error *error) MUST_CHECK;

#endif
