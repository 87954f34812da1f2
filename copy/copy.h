/*
 * What the moves of a shadow copy share in one process: the plan, the flows made of it, and where
 * the tables are. Kept in run->kind_state, made from the job's row by copy_load(), so that every
 * process has the same.
 */
#ifndef PGHAUL_COPY_COPY_H
#define PGHAUL_COPY_COPY_H

#include "copy/flow.h"
#include "copy/plan.h"
#include "engine/job/run.h"

struct copy {
    struct plan plan;
    struct plan_names names;
    uint32_t shadow_oid;  /* 0 until there is a shadow; the same table after the swap */
    struct flow forward;  /* from the source to the shadow */
    struct flow backward; /* from the new table to the old one; made as soon as there is a shadow */
    /* Of a trial, which has no row: what copy_remember() was given. In the plan's arena. */
    const char *trial_index_sql;
    const char *trial_owed_sql;
};

static inline struct copy *copy_of(const struct run *run)
{
    return run->kind_state;
}

/* For struct kind: from run->job.plan and facts into run->kind_state, and back to nothing. */
bool copy_load(struct run *run, struct error *error) MUST_CHECK;
void copy_unload(struct run *run);

/* Names and flows again, after the job got its number or the shadow its oid. */
void copy_rename(struct run *run);

/*
 * What must be run again after the shadow's indexes were dropped and made anew
 * (attached_index_sql), and after the swap added its constraints (attached_owed_sql): kept in the
 * job's facts.
 */
bool copy_remember(struct run *run, const char *index_sql, const char *owed_sql,
                   struct error *error) MUST_CHECK;
/* Appends them. */
bool copy_index_sql(struct run *run, struct text *sql, struct error *error) MUST_CHECK;
bool copy_owed_sql(struct run *run, struct text *sql, struct error *error) MUST_CHECK;

/* Remembers the shadow's oid in the job's facts. */
bool copy_set_shadow(struct run *run, uint32_t oid, struct error *error) MUST_CHECK;

#endif
