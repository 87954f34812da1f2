/*
 * What uses a column: objects that depend on it, and texts that name it. For a job that takes a
 * column's name away: shown before it does, and what is left when it would.
 *
 * Dependencies are the server's own (pg_depend), so they are complete. Texts are searched for the
 * names of the table and of the column as whole words. That finds too much (a comment, a table of
 * the same name in another schema), so each comes with the line it was found in; and it misses what
 * does not spell the name: SELECT *, names put together at run time, statements that
 * pg_stat_statements has not seen, has forgotten or does not show to this role.
 *
 * Nothing of ours is listed: schema pghaul, triggers that call a function of it or are named
 * ~pghaul_.., statements that say pghaul. Nor are rows as a whole (a function that takes them), nor
 * what is of the column itself: NOT NULL, comment, privileges.
 */
#ifndef PGHAUL_COPY_USAGE_H
#define PGHAUL_COPY_USAGE_H

#include "engine/base/memory.h"
#include "engine/pg/session.h"

enum usage_weight {
    USAGE_BLOCKS, /* the server refuses DROP COLUMN while it is there; of generated columns 14 does
                     not, and drops them, too */
    USAGE_BREAKS, /* works until the name is gone, then fails: texts that only name it */
    USAGE_GOES,   /* goes with DROP COLUMN, without a word */
};

struct usage {
    enum usage_weight weight;
    /*
     * BLOCKS  foreign key (of another column, at this one), function (its SQL body), generated
     *         column, materialized view, policy, publication, rule, trigger, view
     * BREAKS  function (its source), statement, trigger (its arguments)
     * GOES    check constraint, default, exclusion constraint, foreign key (of this column),
     *         index, primary key, sequence, statistics, unique constraint
     *
     * What pg_depend may have besides is an object.
     */
    const char *kind;
    /* As SQL names it, qualified: public.recent, public.f(integer), p ON public.users; of a
     * statement its queryid. */
    const char *object;
    const char *detail;    /* one line: the first of its text that names the column; may be empty */
    const char *last_seen; /* NULL: nobody knows, which is so for all that usage_read() finds */
};

/* A zeroed struct is an empty list. Strings belong to the arena. */
struct usage_list {
    struct arena arena;
    struct usage *items;
    int count;
    int size;
    const char *unseen; /* what statements could not be looked at, and why; NULL: none */
};

/*
 * By weight, kind, object. *list is overwritten (pass a zeroed or deinitialised one). A column that
 * the table does not have, or no longer by this name, is still looked for in texts. Any role may
 * ask; in a transaction or not, which it leaves as it is. Not under a lock that others wait for:
 * the server locks what a view reads (ACCESS SHARE) to print its definition, so this may wait, and
 * fail with the session's lock_timeout (retryable).
 */
bool usage_read(struct session *session, uint32_t table_oid, const char *column,
                struct usage_list *list, struct error *error) MUST_CHECK;

/* Appends a copy: what only the caller knows of. */
void usage_add(struct usage_list *list, const struct usage *usage);

void usage_list_deinit(struct usage_list *list);

#endif
