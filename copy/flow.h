/*
 * A flow: the direction in which one table is kept equal to the other, and every name its SQL
 * needs.
 *
 *     forward     from = the source           to = the shadow       until the swap
 *     backward    from = the new table        to = the old table    from the swap until finish or
 * rollback
 *
 * Capture, replay and verification are written once, for a flow; the swap exchanges the roles.
 * Nothing in them knows which way it goes.
 *
 * Aliases in fragments: r a row of `from`, s a row of `to`, l a row of the log, k a row of keys
 * (k1, k2, .. in the types of `from`). The invariant that everything keeps (design, section 3):
 *
 *     At every moment, for every key k that the load has passed: to(k) equals from(k), or k is in
 * the change log.
 *
 * A flow is immutable once it is made and may be used by all threads. Memory belongs to its arena.
 */
#ifndef PGHAUL_COPY_FLOW_H
#define PGHAUL_COPY_FLOW_H

#include "copy/plan.h"
#include "engine/job/job.h"
#include "engine/pg/sql.h"

enum flow_direction { FLOW_FORWARD, FLOW_BACKWARD };

enum { FLOW_NAMES_MAX = 80 };

struct flow {
    struct arena arena;
    enum flow_direction direction;
    int64_t job;
    const char
        *fact; /* the job's fact that says what the triggers write now: "forward", "backward" */
    const char *label;  /* log_7, back_7: what names of the log and the functions begin with */
    bool dual_possible; /* false: deferrable constraints on `to` would fail the application's COMMIT
                           (F09) */
    bool collides;      /* `to` has unique or exclusion constraints beside the key */
    bool hashable;      /* the key has a hash: replay can be split into buckets */
    bool keeps;         /* `to` has columns that no value of `from` goes to: replay keeps theirs */
    const char *from_qualified;
    const char *to_qualified;
    uint32_t from_oid;
    struct sql_name names[FLOW_NAMES_MAX + 1]; /* for sql_expand(); see flow.c for what there is */
};

/*
 * Makes the flow of a job. `from_oid`: of the table that the triggers sit on. The forward flow's
 * tables are where they are before the swap, the backward flow's where they are after it.
 */
void flow_init(struct flow *flow, const struct plan *plan, const struct job *job,
               enum flow_direction direction, uint32_t from_oid);
void flow_deinit(struct flow *flow);

/* Appends the template with the flow's names put in. */
void flow_expand(const struct flow *flow, struct text *out, const char *template);

/* The same with names of the caller's besides. */
void flow_expand_with(const struct flow *flow, struct text *out, const char *template,
                      const struct sql_name *more);

/* Appends the expanded template to a script (engine/pg/sql.h). */
void flow_print(const struct flow *flow, struct text *script, const char *template);

/* Expands and runs; with parameters, one statement. *affected may be NULL. */
bool flow_run(const struct flow *flow, struct session *session, const char *template,
              struct error *error) MUST_CHECK;
bool flow_execute(const struct flow *flow, struct session *session, const char *template,
                  struct params params, int64_t *affected, struct error *error) MUST_CHECK;
bool flow_query(const struct flow *flow, struct session *session, struct rows *rows,
                const char *template, struct params params, struct error *error) MUST_CHECK;

#endif
