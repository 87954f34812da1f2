/*
 * Forced schedules: named sessions that take named steps in a given order, against the product's
 * own triggers and statements.
 *
 *     iso_ready("settle=off");                         the real program, to `ready`, of the table
 * `item` iso_dual_write(); iso_play("replay: @begin", "replay: @collect", "replay: @claim", "a:
 * BEGIN", "a: UPDATE item SET v = 2 WHERE id = 1", "replay> @insert", "a: COMMIT", "replay<",
 * "replay: @recheck", "replay: COMMIT"); iso_expect_equal();
 *
 * A step is a session's name (opened when it is first heard of), what is expected, and a statement:
 *
 *     a: SQL          runs and succeeds                a! 40001 SQL    runs and fails with that
 * SQLSTATE a> SQL          starts, and waits for a lock     a>> SQL         starts, and may do what
 * it likes a<              what it started succeeds         a<! 40001       what it started fails
 * so
 *
 * Statements of the product stand for themselves, as flow_expand() gives them for job j, with
 * parameters put in:
 * @collect @hold @skip @claim (both sides) @delete @insert @recheck @return, of copy/replay.h.
 * @begin opens a replay as the product does, with its lock_timeout; @leased the same, and takes the
 * lease of all buckets first; @patient is @begin without that timeout, for schedules in which
 * replay must wait longer than it would: what is right then is right when it gives up earlier.
 * "@collect 0-3" and "@claim 0-3" are of those blocks of the log only, without the last, as in a
 * piece of a pass. "@bucket 3/8" is @collect of one bucket of eight.
 *
 * The oracle is SQL that joins source and shadow by key and compares images, leaving out keys in
 * the log tables; it knows nothing of the product's statements.
 */
#ifndef PGHAUL_TESTS_ISOLATION_H
#define PGHAUL_TESTS_ISOLATION_H

#include "tests/harness.h"

#include "copy/copy.h"

/* The steps of a schedule, in this order. */
#define iso_play(...) iso_play_at(T_HERE, __VA_ARGS__, NULL)
/* How long the session's last `:` or `!` step took. */
int64_t iso_took_ms(const char *session);
/* Runs in a session, gives the last value. */
#define iso_ask(session, sql) iso_ask_at(T_HERE, session, sql)

/*
 * item (id int PRIMARY KEY, u int UNIQUE, v int, t text) with ids 1 to `rows`, u = id, v = 0, t
 * about 100 bytes; and the functions of the gates.
 */
void iso_table(int rows);
/* Another definition of the same columns. */
void iso_table_with(const char *definition, int rows);

/*
 * `pghaul alter item --job j --do 'ALTER COLUMN v TYPE bigint'` with these settings, in one worker;
 * iso_ready() to its end and loaded. More arguments of the program instead of settings: those that
 * begin with "-" and what follows them.
 */
#define iso_ready(...) iso_ready_at(T_HERE, (const char *const[]){__VA_ARGS__, NULL})
#define iso_start(...) iso_start_at((const char *const[]){__VA_ARGS__, NULL})

/* Job j as the product sees it, loaded again. Freed by the next load or iso_end(). */
struct run *iso_load(void);
/* What the triggers do from now on: capture_set_mode(), as cutover does it. */
void iso_dual_write(void);
void iso_log_mode(void);

/* The oracle: rows that differ and whose key is not in the log. Forward, or after the cut-over
 * backward. */
#define iso_expect_equal() iso_expect_differences_at(T_HERE, false, 0)
#define iso_expect_equal_back() iso_expect_differences_at(T_HERE, true, 0)
#define iso_expect_differences(count) iso_expect_differences_at(T_HERE, false, count)
bool iso_logged(const char *key);
int64_t iso_log_rows(void);

/*
 * A gate stops a session of the program inside a statement, after its snapshot was taken.
 * iso_gate_map(who, id): an option
 * --map with which sessions whose application_name is LIKE `who` stop at the row `id` while the
 * gate is closed. The gates are advisory locks, tried without waiting.
 */
const char *iso_gate_map(const char *who, int id);
void iso_close_gate(void);
void iso_open_gate(void);
/* Until a session LIKE `who` stands at the gate. */
#define iso_wait_at_gate(who) iso_wait_at_gate_at(T_HERE, who)

/* `return iso_main(T_MAIN(tests))` */
int iso_main(int failed);

void iso_play_at(struct t_here here, ...);
const char *iso_ask_at(struct t_here here, const char *session, const char *sql);
void iso_ready_at(struct t_here here, const char *const *settings);
struct t_process *iso_start_at(const char *const *settings);
void iso_expect_differences_at(struct t_here here, bool back, int64_t expected);
void iso_wait_at_gate_at(struct t_here here, const char *who);

#endif
