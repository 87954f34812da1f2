/* What the files of copy/cutover.h share. For them only. */
#ifndef PGHAUL_COPY_CUTOVER_PARTS_H
#define PGHAUL_COPY_CUTOVER_PARTS_H

#include "copy/cutover.h"

/* One swap: who leaves the user's schema, who arrives, and what it took. */
struct swap {
    struct run *run;
    struct copy *copy;
    const struct flow *flow;
    bool forward;
    bool accept_loss;
    bool redefined;                /* look_again() found another definition */
    const char *away;              /* name in schema pghaul of the one that leaves */
    const char *arriving;          /* name in schema pghaul of the one that arrives */
    const char *leaving_qualified; /* after the swap */
    uint32_t leaving_oid;
    uint32_t arriving_oid;
    struct text sql; /* of the exchange: made before the lock is taken */
    int attempts;
    int64_t waited_us;
    int64_t locked_us; /* when */
    int64_t keys;
};

/* `leaving` becomes leaving_qualified. */
struct swap cutover_of(struct run *run, enum flow_direction direction, struct text *leaving);

/* Everything that is decided outside the lock, as one text to be run under it: swap->sql. */
bool cutover_make_sql(struct swap *swap, struct error *error) MUST_CHECK;

extern const char CUTOVER_RUNGS[]; /* for flow_expand(): before the locks */

/* The locks of the swap, in order. */
enum { CUTOVER_LOCKS = 3 };
void cutover_lock_sql(const struct flow *flow, size_t number, int64_t wait_ms, struct text *sql);

/*
 * When a try must be at its COMMIT: what a writer may wait for one try, for the locks, behind which
 * it queues, and for the work, less what the commit takes.
 */
int64_t cutover_commit_by_ms(const struct swap *swap);
void cutover_limit_sql(int64_t ms, struct text *sql);

/* Passes until the log is empty, or as empty as it gets beside the load: until a pass finds no less
 * than half of what the one before it found. */
bool cutover_drain(struct swap *swap, struct error *error) MUST_CHECK;
bool cutover_refuse_stuck(const struct swap *swap, int64_t keys, struct error *error) MUST_CHECK;

/* One try, from BEGIN to COMMIT. When it fails the transaction is open, or the session lost. */
bool cutover_attempt(struct swap *swap, struct error *error) MUST_CHECK;

#endif
