/*
 * Sessions that wait for each other. A connection of its own, in the current database:
 *
 *     struct t_session *writer = t_session("writer");
 *     struct t_session *reader = t_session("reader");
 *
 *     t_do(writer, "BEGIN; LOCK TABLE orders");
 *     t_send(reader, "SELECT count(*) FROM orders");
 *     t_waits(reader);
 *     t_do(writer, "COMMIT");
 *     assert_string_equal(t_receive(reader), "3");
 */
#ifndef PGHAUL_TESTS_HARNESS_SESSION_H
#define PGHAUL_TESTS_HARNESS_SESSION_H

#include <libpq-fe.h>

#include "tests/harness/database.h"

struct t_session;
#define t_session(name) t_session_at(T_HERE, name, t_conninfo())
#define t_session_as(name, role) t_session_at(T_HERE, name, t_conninfo_as(role))

#define t_do(session, sql) t_do_at(T_HERE, session, sql)   /* send and receive */
#define t_ask(session, sql) t_ask_at(T_HERE, session, sql) /* the same, gives the last value */
#define t_do_fails(session, sql, sqlstate) t_do_fails_at(T_HERE, session, sql, sqlstate)
#define t_send(session, sql) t_send_at(T_HERE, session, sql)
/* The last result's first value; NULL for none. Fails when the statement failed. */
#define t_receive(session) t_receive_at(T_HERE, session)
/* The same for a statement that must fail; gives the message. "*" stands for any SQLSTATE. */
#define t_receive_error(session, sqlstate) t_receive_error_at(T_HERE, session, sqlstate)
/* Until what was sent waits for a lock; fails when it finishes instead. */
#define t_waits(session) t_waits_at(T_HERE, session)
/* Does it wait for a lock right now? */
bool t_is_waiting(struct t_session *session);
/* Is what was sent still not finished? */
bool t_is_busy(struct t_session *session);
/* Gone without a goodbye to its transaction. */
void t_close(struct t_session *session);
int t_backend_pid(const struct t_session *session);
PGconn *t_connection(const struct t_session *session);

/* -- behind the macros -- */

struct t_session *t_session_at(struct t_here here, const char *name, const char *conninfo);
void t_do_at(struct t_here here, struct t_session *session, const char *sql);
const char *t_ask_at(struct t_here here, struct t_session *session, const char *sql);
const char *t_do_fails_at(struct t_here here, struct t_session *session, const char *sql,
                          const char *sqlstate);
void t_send_at(struct t_here here, struct t_session *session, const char *sql);
const char *t_receive_at(struct t_here here, struct t_session *session);
const char *t_receive_error_at(struct t_here here, struct t_session *session, const char *sqlstate);
void t_waits_at(struct t_here here, struct t_session *session);

#endif
