/*
 * What the files of job kind `column-drop` share: column_drop.c is the kind,
 * column_drop_not_null.c makes the column NOT NULL again after a rollback. For them only.
 */
#ifndef PGHAUL_COPY_KINDS_COLUMN_DROP_PARTS_H
#define PGHAUL_COPY_KINDS_COLUMN_DROP_PARTS_H

#include "copy/kinds/column_drop.h"
#include "copy/kinds/column_not_null_parts.h"

struct drop_plan {
    struct arena arena;
    uint32_t table_oid;
    const char *schema;
    const char *table;
    const char *column;
    const char *hidden;
    /*
     * One: the column is NOT NULL, and nothing gives new rows a value. So it may be NULL while it
     * is hidden, and this is how it becomes NOT NULL again: on 18 by the constraint that it had,
     * before by a check that goes again.
     */
    struct not_null *not_null;
    int not_null_count;
    bool unchecked;      /* 18: that constraint was NOT VALID */
    const char *comment; /* 18: on it */
};

static inline struct drop_plan *drop_plan_of(const struct run *run)
{
    return run->kind_state;
}

/* NOT NULL as it is now, into the plan: when the job is planned, and again under the lock that
 * hides the column, for what was changed in between. */
bool column_drop_read_not_null(struct session *session, struct drop_plan *plan,
                               struct error *error) MUST_CHECK;

/*
 * Phase: NOT NULL again. Does nothing where it is so, as before the first cut-over, and may run
 * again anywhere. Rows without a value, which were inserted while the column was hidden, are in the
 * way: then it stays nullable, and a warning says so.
 */
bool column_drop_tighten(struct run *run, struct error *error) MUST_CHECK;
/* The same for psql, which goes on after an error: what is done is refused, and does no harm. */
void column_drop_tighten_sql(const struct drop_plan *plan, struct text *sql);

#endif
