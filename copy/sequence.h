/*
 * Sequences of a table over the swap and back: no value is ever issued twice.
 *
 * What happens to the sequence of a column, `leaving` being the table that gives up its name and
 * `arriving` the one that takes it:
 *
 *     leaving has     arriving has        then
 *     serial          no own sequence     moved: the same sequence, now owned by the arriving
 * column, wider if that is identity        no own sequence     made: ADD GENERATED .. AS IDENTITY
 * with its options, grants, comment and state either          its own             carried: the
 * arriving one gets the state and the name (rollback; and a serial column that the user turned into
 * an identity column)
 *
 * A sequence that stays behind is set to its end, so that a session that had found it by name
 * before the swap and waited for its lock gets an error ("reached maximum value") where it would
 * get a value that the new one issues too. Cycling sequences, which repeat themselves anyway, are
 * not.
 *
 * A moved sequence that was made wider is remembered with the type that it had, in the job's fact
 * "widened" and in the transaction of the swap. Rollback gives it that type and its bounds back,
 * and takes it out of the fact; when its last value does not fit them any more it stays as it is,
 * and in the fact. Nothing is issued twice by that: only bounds change, never the state; last_value
 * is the end of what sessions may have cached; and the change gives the sequence a new file, which
 * makes sessions forget what they have cached.
 *
 * Everything is decided by sequence_plan(), outside any lock; the SQL is plain text and only reads
 * the state (last_value, is_called), under the lock it has itself just taken on the sequence.
 * nextval() keeps its lock until its transaction ends, so a transaction that only drew a value
 * makes the swap wait: it needs a lock_timeout and another try.
 *
 * Old session state is not carried: currval() of a sequence that was made or carried fails until
 * the next nextval().
 */
#ifndef PGHAUL_COPY_SEQUENCE_H
#define PGHAUL_COPY_SEQUENCE_H

#include <stdint.h>

#include "engine/pg/session.h"

/* A column without a pair has kept its name. to_column NULL: it was dropped, and its sequence stays
 * with the old table. */
struct sequence_pair {
    const char *from_column;
    const char *to_column;
};

struct sequence_plan;

/* Where the two tables are when the SQL runs: after their renames. */
struct sequence_names {
    const char *leaving_schema;
    const char *leaving_table;
    const char *arriving_schema;
    const char *arriving_table;
};

/*
 * Reads the catalogue of both tables. The plan belongs to the arena and holds as long as the
 * fingerprint of table `from` (copy/attached.h) and its successor's columns do. Planned anew for a
 * rollback, roles exchanged: it is one when `to` is the source of a job that is not over.
 *
 * ERROR_REFUSED: something else uses a sequence that cannot stay the same one; the new column
 * cannot be an identity column (its type, nullable, a default).
 */
bool sequence_plan(struct session *session, uint32_t from, uint32_t to,
                   const struct sequence_pair *pairs, int pair_count, struct arena *arena,
                   struct sequence_plan **plan, struct error *error) MUST_CHECK;

/*
 * Appends the statements. They run in the transaction of the swap, after the tables have their new
 * names and schemas (owned sequences follow their table into another schema: that is where they are
 * looked for).
 */
void sequence_swap_sql(const struct sequence_plan *plan, const struct sequence_names *names,
                       struct text *sql);

#endif
