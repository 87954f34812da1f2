/*
 * Locks on the user's table, and waiting for those who are in the way.
 *
 * The ladder, for every strong lock: first SHARE UPDATE EXCLUSIVE, with a timeout longer than
 * deadlock_timeout, given back at once; then, in a transaction of its own, the strong lock with a
 * short timeout; with jitter between the tries. The first rung conflicts with no reader and no
 * writer; an autovacuum on the table cancels itself while it waits, which a short timeout never
 * achieves (probe p2, F14, F44). It is not kept while the second is tried: held, it made an ETL
 * transaction that runs ANALYZE after its UPDATE the deadlock victim 4 times of 5 (F41), given back
 * 0 of 5 (F42). Here the code differs from design.md, section 4, which retries from a savepoint
 * above the first rung.
 */
#ifndef PGHAUL_COPY_LOCK_H
#define PGHAUL_COPY_LOCK_H

#include "engine/job/run.h"

/*
 * What a writer waits because of us is the wait for our lock, behind which it queues, and what we
 * do under it. The limits (lock.timeout, cutover.wait) mean both together: this much of them is
 * left for the work.
 */
enum { LOCK_WORK_MS = 40 };

/* What of `limit_ms` may be spent waiting; at least 1. */
int64_t lock_wait_ms(int64_t limit_ms);

struct lock_report {
    int attempts;
    int64_t waited_us; /* for the lock that was granted */
};

/*
 * Opens a transaction on run->session that holds `mode` on all of `tables` (SQL: names as
 * sql_append() writes qualified ones, comma separated, ONLY where wanted); the waits for all of
 * them have one deadline. On failure no transaction is open; ERROR_LOCK names who holds what (exit
 * status 6).
 */
bool lock_tables(struct run *run, const char *tables, const char *mode, struct lock_report *report,
                 struct error *error) MUST_CHECK;

/*
 * A change under a strong lock, in one transaction: waits until nobody long is in the way, takes
 * the lock, lets `work` do it, records how long that took, and commits; tried again, up to
 * lock.tries times, while a lock is in the way, of the work's statements, too. A statement of the
 * work's that takes longer than lock.timeout is cut off. On failure no transaction is open.
 */
struct lock_change {
    const char *what_for; /* for the job's record */
    const char *tables;   /* as for lock_tables() */
    uint32_t table_oid; /* of the one table: ERROR_REFUSED when another one has its name; 0: any */
    const char *mode;
    bool (*work)(struct run *run, void *arg, struct error *error);
    void *arg;
};
bool lock_and_change(struct run *run, const struct lock_change *change, struct lock_report *report,
                     struct error *error) MUST_CHECK;

/* What lock_and_change() sends when nobody is in the way and its work is `sql`, as a script. */
void lock_print_change(const struct run *run, const char *tables, const char *mode, const char *sql,
                       struct text *script);

/* What lock_tables() sends when it gets the lock at once, as a script (engine/pg/sql.h). */
void lock_print(const struct run *run, const char *tables, const char *mode, struct text *script);

/* Is `error` one that passes when others are out of the way? A lock's timeout, a deadlock, or the
 * timeout of a statement that locks several tables (57014: a stop by the user, too). */
bool lock_in_the_way(const struct error *error);

/*
 * For what only reads the table's definition, which a strong lock of somebody else's keeps from it
 * for longer than lock.timeout: `work` again and again, up to lock.tries times, while a lock is in
 * the way. It leaves no transaction open.
 */
bool lock_patiently(struct run *run, bool (*work)(struct run *run, void *arg, struct error *error),
                    void *arg, struct error *error) MUST_CHECK;

/* Between two tries: 50 ms and more with every try, with jitter, at most 1 s. */
int64_t lock_backoff_ms(int attempt, unsigned *seed);

/* "process 123 (psql, idle in transaction since 00:05:03): BEGIN; ..." for those who block
 * `tables`; "" for nobody. */
bool lock_describe_blockers(struct session *session, const char *tables, struct text *out,
                            struct error *error) MUST_CHECK;

/*
 * Is a transaction older than a moment in the way? Then asking for the lock would only make others
 * queue behind us. `who` (may be NULL) names it.
 */
bool lock_long_blocker(struct session *session, const char *tables, bool *found, struct text *who,
                       struct error *error) MUST_CHECK;

/* The server's deadlock_timeout in milliseconds: who waits longer looks for a deadlock. The least
 * that any role has here. */
bool lock_deadlock_timeout(struct session *session, int64_t *ms, struct error *error) MUST_CHECK;

/* Refuses settings that would let the application be the deadlock victim: lock.timeout >=
 * deadlock_timeout / 2. */
bool lock_check_settings(struct session *session, const struct settings *settings,
                         struct error *error) MUST_CHECK;

/*
 * Waits until no transaction in this database has a snapshot older than now, up to
 * settings.snapshot_wait_ms; shows in the progress who holds one. ERROR_LOCK when it lasts longer.
 */
bool lock_wait_old_snapshots(struct run *run, struct error *error) MUST_CHECK;

/*
 * Waits until every transaction is over that has written the table and was open when this began,
 * but no longer than `limit_ms`: a row that it inserted is invisible until then. `left` names one
 * that is still open; empty: none.
 */
bool lock_wait_writers(struct run *run, uint32_t table_oid, int64_t limit_ms, struct text *left,
                       struct error *error) MUST_CHECK;

#endif
