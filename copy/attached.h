/*
 * What is attached to a table beside its rows: owner, grants, row security and policies, comments,
 * storage parameters, column attributes, extended statistics, replica identity, cluster mark.
 * CREATE TABLE .. LIKE carries some of it; attached_copy() carries the rest, and attached_compare()
 * is the gate that says whether anything was lost on the way.
 *
 * Order of use for a shadow copy:
 *
 *     CREATE TABLE .. LIKE, indexes under their final names
 *     attached_copy(source, shadow)
 *     attached_compare(source, shadow)         any line: the job stops (ERROR_DIFFERS is the
 * caller's to set)
 *     ... the user's actions; attached_index_sql(shadow, shadow), drop indexes, load, make them,
 * run that text ... attached_fingerprint(source)             again under the lock of the swap: as
 * it was? attached_statistics_sql(), attached_owed_sql(), copy/sequence.h: texts for the swap, made
 * before it
 *
 * What it is not: foreign keys, triggers, rules, publications, views (they move inside the swap:
 * other code; the fingerprint covers them), sequences (copy/sequence.h), indexes and constraints
 * themselves (compared, not made).
 *
 * An extended statistics object is kept under the name stat_<oid of its partner> as long as its
 * table lives in our schema; that is how the two of a pair find each other, before the swap and
 * after it.
 */
#ifndef PGHAUL_COPY_ATTACHED_H
#define PGHAUL_COPY_ATTACHED_H

#include <stdint.h>

#include "engine/pg/session.h"
#include "engine/pg/sql.h"

/* What a comparison leaves out because it is added at the swap. */
enum attached_left_out {
    ATTACHED_IDENTITY = 1 << 0,  /* that a column is an identity column */
    ATTACHED_NOT_VALID = 1 << 1, /* constraints that are not validated, and their comments */
    ATTACHED_DEFERRABLE =
        1 << 2, /* deferrable constraints, their comments; their index is a plain unique one */
};

/*
 * Gives table `to` what table `from` has. Columns, indexes and constraints are matched by name;
 * what hangs on an index that `to` does not have (yet) is left for attached_index_sql(), and missed
 * by attached_compare(). Repeating it does no harm. Runs in the caller's transaction, or in one of
 * its own. Reads only the catalogue of `from`.
 *
 * ERROR_REFUSED: a policy that reads its own table or uses its row type; a grant made by a role
 * that cannot be acted for.
 */
bool attached_copy(struct session *session, uint32_t from, uint32_t to,
                   struct error *error) MUST_CHECK;

/*
 * Appends one line per difference to `differences`, "- " what only `from` has, "+ " what only `to`
 * has:
 *
 *     - grant on column note: SELECT to "bob" by "alice"
 *
 * Covers the above plus columns, constraints (not foreign keys) and indexes. `left_out` is a set of
 * attached_left_out.
 */
bool attached_compare(struct session *session, uint32_t from, uint32_t to, unsigned left_out,
                      struct text *differences, struct error *error) MUST_CHECK;

/*
 * md5 over everything attached_compare() looks at, plus: foreign keys of both directions, triggers
 * and rules (not ours), publications, subscriptions, inheritance, owned sequences and their
 * options, and who else depends on the table (views, functions, policies of other tables). Equal
 * digests: nothing of that was added, changed or removed in between. Most of its cost is planning,
 * which a session pays for each table once: taken before the swap, it takes a millisecond or two
 * under the lock.
 */
bool attached_fingerprint(struct session *session, uint32_t oid, char digest[33],
                          struct error *error) MUST_CHECK;

/*
 * The same part by part ("grant", "column note", "index orders_x"), as a JSON object of short
 * digests; and the names of those that are not what they were then, as "index orders_x (new),
 * grant". To say what a fingerprint that differs is about; planned each time, so not under a lock.
 */
bool attached_parts(struct session *session, uint32_t oid, struct text *parts,
                    struct error *error) MUST_CHECK;
bool attached_changed(struct session *session, uint32_t oid, const char *parts, struct text *names,
                      struct error *error) MUST_CHECK;

/*
 * Appends statements that give the indexes of `to` what the indexes of the same name of `from`
 * have: comments (of their constraints too), statistics targets, cluster mark, replica identity.
 * from == to is fine: the text can be kept while the indexes are dropped and made again (without
 * comments of deferrable constraints, which attached_owed_sql() tells).
 */
bool attached_index_sql(struct session *session, uint32_t from, uint32_t to, struct text *sql,
                        struct error *error) MUST_CHECK;

/*
 * Appends comments of the constraints of `from` that `to` does not have (ATTACHED_NOT_VALID,
 * ATTACHED_DEFERRABLE), to be run when they exist on `target`, which is the name that `to` will
 * have then. to = 0: of every constraint of `from` that is not valid or deferrable.
 */
bool attached_owed_sql(struct session *session, uint32_t from, uint32_t to, struct sql_value target,
                       struct text *sql, struct error *error) MUST_CHECK;

/*
 * Appends statements for the swap: statistics objects of `leaving` go to the schema of `arriving`,
 * their partners take their names and schemas. Made before the tables move; run anywhere in that
 * transaction. The same for rollback, with the roles exchanged. An object without a partner (its
 * column was dropped) stays as it is.
 */
bool attached_statistics_sql(struct session *session, uint32_t leaving, uint32_t arriving,
                             struct text *sql, struct error *error) MUST_CHECK;

#endif
