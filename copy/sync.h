/*
 * Two columns of one table that say the same thing in two ways, kept in step in both directions by
 * BEFORE ROW triggers, so that old and new versions of an application may write side by side.
 *
 *     old column    the one that will go          new = forward(old)
 *     new column    its twin, which will stay     old = back(new)
 *
 * What a write means, by the columns' values before and after it, and never by a query:
 *
 *     INSERT   a new value that is not NULL wins; else the old one is copied; both, and they do not
 *              agree: counted, and refused once the old column is hidden
 *     UPDATE   the column that changed wins; both changed and do not agree: the new one, counted;
 *              none did, and the new one is not filled yet: the old one is copied
 *
 * Two things no row trigger can tell apart: on INSERT a NULL that is meant and a column that is
 * left out; on UPDATE a value that is written again and one that is not named, so too a NULL in a
 * new column that is not filled yet: which is why both may be used only when all rows are.
 *
 * One of the two leads: the old one until the swap, the new one after it. A value of the leader
 * that its follower cannot hold does not fail the application's statement, unless the follower may
 * not be NULL: the follower becomes NULL, and that is counted. Before the swap verify finds such
 * rows, and a swap with a higher count than verify's is refused; after it they have no way back.
 * A value of the follower that the leader cannot hold is refused with the server's error. Without
 * `back` nothing leads from the new column to the old one: until the swap a write of the new one
 * that does not agree is refused; after it the old one is NULL in every row that the application
 * writes anew, counted, and refuses to be written.
 *
 * Why no write slips through. The triggers come with the new column in one transaction under ACCESS
 * EXCLUSIVE: every transaction that wrote the table before is over, every later one fires them
 * (ENABLE ALWAYS: a replication apply, too). They are named to fire after the application's own
 * BEFORE triggers, so they see the row as it will be stored; sync_check() refuses a table whose
 * triggers come later still. Nobody can take them away unseen: sync_armed() changes when a trigger
 * or function of ours was disabled, enabled again or replaced, and is compared under the lock of
 * the swap. An update that sets the new column to forward(old), as the backfill does, agrees and
 * writes nothing else.
 *
 * The functions are SECURITY DEFINER, for the application has no rights on schema pghaul. They name
 * every operator and function with its schema; where an expression of the user's is called, or one
 * that depends on settings, those are pinned to what they were when the job was planned.
 */
#ifndef PGHAUL_COPY_SYNC_H
#define PGHAUL_COPY_SYNC_H

#include "engine/job/run.h"

struct sync {
    int64_t job;
    uint32_t table_oid;
    const char *schema;
    const char *table;
    const char *old_column; /* their names now: the swap changes them */
    const char *new_column;
    const char *old_type; /* format_type() */
    const char *new_type;
    bool swapped; /* the new column leads */
    bool same;    /* the values are the same: no functions */
    bool total;   /* every old value has a new one: forward() cannot fail */
    bool no_back;
    bool pinned; /* the functions depend on settings */
    bool
        count_inserts; /* an INSERT without the old column leaves it NULL: else it can be counted */
    bool has_default;  /* of the old column: an INSERT without it gives it a value */
    const struct session_meaning *meaning; /* what is pinned */
    const char *search_path;               /* and this */
};

/* The user's expressions over the old, and the new, column; unquoted names of their parameters. */
struct sync_maps {
    const char *forward; /* NULL, when `same` */
    const char *forward_parameter;
    const char *back; /* NULL: none */
    const char *back_parameter;
    const char *search_path; /* under which they were written */
};

/* ERROR_REFUSED when a trigger of the table fires after ours. */
bool sync_check(struct session *session, uint32_t table_oid, struct error *error) MUST_CHECK;

/* Creates counters and the functions of the maps, in the open transaction: nothing of the table is
 * touched. */
bool sync_create(struct run *run, const struct sync *sync, const struct sync_maps *maps,
                 struct error *error) MUST_CHECK;
/* Appends the trigger functions, as `sync` has its columns now; then the triggers. */
void sync_functions_sql(const struct sync *sync, struct text *sql);
void sync_triggers_sql(const struct sync *sync, struct text *sql);
/* Appends their removal: triggers (needs the table's lock); the rest, which must come after. */
void sync_detach_sql(const struct sync *sync, struct text *sql);
void sync_drop_sql(const struct sync *sync, struct text *sql);

/*
 * What changes when a trigger or a function of ours is touched by others. Empty while one of the
 * triggers is not there or not enabled, or while one of the application's fires after them.
 */
bool sync_armed(struct session *session, const struct sync *sync, struct text *armed,
                struct error *error) MUST_CHECK;

/*
 * Appends what the new column of a row called r should hold, as SQL: forward(old), but where the
 * two agree the other way, old = back(new), what it holds. The old type may say less than the new
 * one: real has no 0.1 that double precision would know again.
 */
void sync_forward_sql(const struct sync *sync, struct text *sql);

struct sync_counts {
    int64_t old_writes;       /* statements that named the old column, and rows inserted with it */
    const char *old_write_at; /* the last of them; NULL: none. In the arena */
    int64_t conflicts;        /* both were written, and did not agree */
    int64_t lost;             /* values of the leader that the follower could not hold */
};
bool sync_counts(struct session *session, const struct sync *sync, struct arena *arena,
                 struct sync_counts *counts, struct error *error) MUST_CHECK;

/*
 * Compares the two columns of every row, in one statement, so one snapshot. `image`: the type in
 * which a computed value is compared with the stored one (struct batch_column). Counts rows and
 * those that do not agree; `sample` gets keys of some of them, by `key_sql` (over alias r).
 */
bool sync_verify(struct run *run, const struct sync *sync, const char *image, const char *key_sql,
                 int64_t *rows, int64_t *differences, struct text *sample,
                 struct error *error) MUST_CHECK;

#endif
