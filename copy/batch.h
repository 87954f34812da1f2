/*
 * Batches: rows of a table changed or deleted where they are, a chunk of keys in each transaction,
 * beside an application that writes the same rows.
 *
 * One statement does a chunk:
 *
 *     scanned   the rows of the chunk, each with its new values, computed once, and whether writing
 * them would change a byte of it (record_image_ne: IS DISTINCT FROM is wrong for citext and fails
 * for json)
 *     held      those that would change, locked, each in the version that was scanned: FOR UPDATE
 * SKIP LOCKED by ctid
 *     written   the update, or delete, of the held ones
 *     todo      the keys that would change and are not held: for later
 *     undo      key, old and new values of what was written, when they are to be kept
 *
 * Why every row is changed exactly once, whatever runs beside it and whatever dies. All parts have
 * one snapshot. A row that somebody changed, deleted or holds since then has another ctid, or no
 * lock for us: it is not in `held`, its key goes to pghaul.todo_N, and nothing of it was written. A
 * row in `held` is locked in the very version that its values were computed from: the update finds
 * it. So each key of a chunk is written, or right already, or in todo: nothing is both and none is
 * neither. Data, todo, undo and the walk's cursor are one transaction (engine/job/walk.h). Later
 * the keys in todo are visited in the same way, and leave it in the transaction that writes them.
 *
 * Why the application never sees a deadlock that we take part in: we wait for no row of the table
 * (a plain UPDATE: no longer than 10 ms). What SKIP LOCKED does not cover (a parent row that a
 * foreign key checks, another row's unique value, rows that a trigger writes) is waited for no
 * longer than lock.timeout, in a transaction whose statement ends so early that the whole stays
 * below the server's deadlock_timeout: nobody waits for us long enough to look for a deadlock
 * (probe p1). A chunk that runs into either limit is taken back whole and tried again at half its
 * size; one row alone that does is put into todo.
 *
 * All that costs about a fifth more than a plain UPDATE of the range, which is as right where
 * nobody is in the way: it writes each row once, in its newest version, or fails as a whole. So
 * that is tried first, waiting for a row no longer than 10 ms; when it has to, it is taken back,
 * and the chunk and some more are done by the statement above. It is not tried where old values are
 * saved, a value is another one each time it is computed, or a trigger may keep rows from being
 * written.
 *
 * The end of the walk is fixed when it is planned: rows with larger keys come later and are the
 * application's business. So is a row whose inserting transaction is still open then: who plans a
 * walk waits before (lock_wait_writers()), or says so. A row whose key the application changes
 * meanwhile may be met twice or not at all: the same, for the key is what the walk goes by.
 *
 * A statement of the user's own (BATCH_STATEMENT) is run for a range of keys whose rows were locked
 * before, with NOWAIT, in the same transaction: a range in which somebody holds a row is tried
 * again in halves, and the keys of single rows go to todo.
 *
 * A batch that goes back (rollback of saved values) is the same statement over pghaul.undo_N joined
 * with the table: the old values are the new ones, and what is no longer as we wrote it is left.
 */
#ifndef PGHAUL_COPY_BATCH_H
#define PGHAUL_COPY_BATCH_H

#include "copy/order.h"
#include "copy/plan.h"
#include "engine/job/run.h"
#include "engine/pg/table.h"

enum batch_action { BATCH_UPDATE, BATCH_DELETE, BATCH_STATEMENT };
enum batch_undo { BATCH_UNDO_NONE, BATCH_UNDO_SAVED, BATCH_UNDO_SET };

/* A column that is written; of a delete whose rows are saved: every column of the table. */
struct batch_column {
    const char *name;
    const char *image;   /* type that a value is cast to before images are compared */
    const char *value;   /* expression over alias r; NULL: only saved */
    const char *inverse; /* --undo-set; NULL: none */
};

struct batch_plan {
    struct arena arena;
    uint32_t table_oid;
    const char *schema;
    const char *table;
    const char *search_path; /* the user's */
    int action;              /* enum batch_action */
    int undo;                /* enum batch_undo */
    int key_count;
    struct plan_key_column *key; /* only the source's members */
    int column_count;
    struct batch_column *columns;
    const char *where; /* over alias r; NULL: every row */
    /* BATCH_STATEMENT: the user's own, in two parts around :range(alias). */
    const char *statement;
    const char *statement_rest;
    const char *alias;
    bool varies;              /* a value is another one each time it is computed */
    bool plain;               /* a plain UPDATE may be tried first: batch_plain_statement() */
    bool strong;              /* a written column may be referenced by foreign keys: FOR UPDATE */
    bool skip_triggers;       /* session_replication_role = replica */
    const char *columns_seen; /* fingerprint of the table's columns when it was planned */
    int64_t row_estimate;
    int64_t table_bytes;
    int64_t row_wal_bytes; /* by the trial */
};

void batch_plan_deinit(struct batch_plan *plan);
void batch_plan_to_json(const struct batch_plan *plan, struct text *json);
bool batch_plan_from_json(const char *json, struct batch_plan *plan,
                          struct error *error) MUST_CHECK;

/*
 * How a kind makes a plan (copy/batch_make.c). All memory is the plan's arena, or the one given.
 *
 *     batch_plan_table()    where the rows are and how they are found
 *     ...                   action, undo, where, and columns: batch_image_type(), batch_value()
 *     batch_look()          into columns_seen
 *     batch_is_strong()     into strong
 *     batch_plan_plain()
 *     batch_try()           in a transaction that is rolled back
 */

/* Table, search_path, key, estimates; row_wal_bytes as it is until a trial has measured it. */
bool batch_plan_table(struct session *session, const struct table *table,
                      const struct table_index *key, struct batch_plan *plan,
                      struct error *error) MUST_CHECK;

/* batch_column.image of a column that exists, and whether that is a string. */
bool batch_image_type(struct session *session, uint32_t table_oid, int column_number,
                      struct arena *arena, const char **image, bool *string,
                      struct error *error) MUST_CHECK;
/* batch_column.value, or inverse, from an expression that the server printed (copy/expression.h).
 */
const char *batch_value(struct arena *arena, const char *sql, const char *image, bool string);

/* Is a column written that a foreign key may reference? That takes the stronger of the two row
 * locks. */
bool batch_is_strong(const struct table *table, const struct batch_plan *plan);

/* Sets plain, by the triggers that the table has now. `beyond_row`: an expression, or the
 * condition, reads more than the row. */
bool batch_plan_plain(struct session *session, const struct table *table, bool beyond_row,
                      struct batch_plan *plan, struct error *error) MUST_CHECK;

/* What became of the first rows by key. */
struct batch_trial {
    int64_t visited; /* 0: not tried, because it took too long or somebody was in the way */
    int64_t written;
    int64_t hot;
    int64_t took_us;
    int64_t undo_bytes; /* that the rows written have in pghaul.undo_N; 0: not kept */
};

/*
 * Checks the plan of a chunk, and does a first one; measures plan->row_wal_bytes. In the open
 * transaction, which must be rolled back: it leaves tables and rows of a job that there is not.
 * ERROR_REFUSED with the key of a row that fails, unless settings->errors says to skip those. What
 * only takes too long, or meets a lock, is no failure.
 */
bool batch_try(struct run *run, struct batch_plan *plan, const struct settings *settings,
               struct batch_trial *trial, struct error *error) MUST_CHECK;

/* Where the rows come from, and which way they go. */
enum batch_way {
    BATCH_WALK,         /* all of the table */
    BATCH_REVISIT,      /* the keys in todo */
    BATCH_BACK,         /* saved values, by key */
    BATCH_BACK_REVISIT, /* those of them that are in todo */
    BATCH_INVERSE,      /* --undo-set: all of the table */
    BATCH_INVERSE_REVISIT,
};

/* Of the keys in todo? Over what was saved? */
bool batch_is_revisit(enum batch_way way);
bool batch_is_back(enum batch_way way);

/* The statement of a chunk; $1, $2: bounds of `order` (batch_order()). One row: visited, written,
 * left for later, refused by a trigger. */
void batch_statement(const struct batch_plan *plan, int64_t job, enum batch_way way,
                     struct text *sql);

/*
 * The same by a plain UPDATE, where plan->plain: for the walk and its inverse; else `sql` stays
 * empty. Nothing in it is put off, and it tells no more than how many rows it wrote; `visited`
 * counts those that it looked at.
 */
void batch_plain_statement(const struct batch_plan *plan, int64_t job, enum batch_way way,
                           struct text *sql, struct text *visited);

/*
 * BATCH_STATEMENT, in its place three: lock the rows (one row: their number), the user's, and, on a
 * revisit, the keys out of todo (else empty). $1, $2: the bounds.
 */
void batch_own_statement(const struct batch_plan *plan, int64_t job, enum batch_way way,
                         struct text *lock, struct text *own, struct text *gone);

/* The order of the walk: over the table, over todo, over undo. */
void batch_order(const struct batch_plan *plan, int64_t job, enum batch_way way,
                 struct arena *arena, struct order *order);

/* Creates pghaul.todo_N, and undo_N and skipped_N where the plan has them. In the open transaction.
 */
bool batch_create(struct run *run, const struct batch_plan *plan, struct error *error) MUST_CHECK;
/* Appends their removal. `all`: not that of todo alone. */
void batch_drop_sql(int64_t job, bool all, struct text *sql);
/* Its tables anew, and its walk, planned: for a kind that may come to it a second time. In the open
 * transaction. */
bool batch_begin(struct run *run, const struct batch_plan *plan, const char *phase,
                 struct error *error) MUST_CHECK;
/* Empties todo, and readies what was saved for a walk over it, each key once. In the open
 * transaction. */
bool batch_begin_back(struct run *run, const struct batch_plan *plan,
                      struct error *error) MUST_CHECK;

/* What a fingerprint of the table's columns is made of, as it is now: for plan->columns_seen. */
bool batch_look(struct session *session, const struct batch_plan *plan, struct text *seen,
                struct error *error) MUST_CHECK;

/*
 * One way to its end. batch_plan_walk() and batch_plan_revisit() plan in the open transaction;
 * batch_walk() walks, and other processes may join it; batch_revisit() visits the keys in todo
 * until none is left, and says who holds them: for the leader alone. What was done is in the
 * phases' spans (walk_totals()); how long the longest transaction took, in the fact longest_ms.
 */
bool batch_plan_walk(struct run *run, const struct batch_plan *plan, const char *phase,
                     enum batch_way way, struct error *error) MUST_CHECK;
bool batch_walk(struct run *run, const struct batch_plan *plan, const char *phase,
                enum batch_way way, struct error *error) MUST_CHECK;
bool batch_plan_revisit(struct run *run, const char *phase, struct error *error) MUST_CHECK;
bool batch_revisit(struct run *run, const struct batch_plan *plan, const char *phase,
                   enum batch_way way, struct error *error) MUST_CHECK;

/* For --dry-run: what a walk sends, as a script (engine/pg/sql.h). */
void batch_print(const struct batch_plan *plan, int64_t job, const char *phase, enum batch_way way,
                 struct text *script);

/*
 * How long a chunk's statement may take, in milliseconds, so that with all its waits it stays below
 * the server's deadlock_timeout. ERROR_USAGE when that leaves no room for chunk.time.
 */
bool batch_limit_ms(struct session *session, const struct settings *settings, int64_t *limit_ms,
                    struct error *error) MUST_CHECK;

/*
 * Refuses a chunk whose plan would read the table other than by both bounds through an index:
 * EXPLAIN, once, in the open transaction, in which the job's tables exist.
 * ERROR_REFUSED with what the server would do, or with what it has against the statement.
 */
bool batch_check_plan(struct run *run, const struct batch_plan *plan,
                      struct error *error) MUST_CHECK;

/*
 * Appends what a chunk's statement runs under, up to the end of its transaction or to ROLLBACK TO
 * `savepoint`: its limits; deferred checks at once, because at COMMIT no row could be told from
 * others; and the user's search_path, because functions and triggers of the application's were
 * written for it. Our own names do not depend on it: pg_catalog comes first in every path.
 */
void batch_conditions_sql(const struct batch_plan *plan, const struct order *order,
                          const char *savepoint, int64_t lock_ms, int64_t limit_ms,
                          struct text *sql);

/* What a session that runs chunks is set to; `local`: for the open transaction alone. */
bool batch_set_session(struct session *session, const struct batch_plan *plan,
                       const struct order *order, bool local, struct error *error) MUST_CHECK;

#endif
