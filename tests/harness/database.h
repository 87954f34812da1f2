/* The current database of a test, and statements in it. */
#ifndef PGHAUL_TESTS_HARNESS_DATABASE_H
#define PGHAUL_TESTS_HARNESS_DATABASE_H

#include "tests/harness/frame.h"

int t_server_version(void); /* 150004 */

/* A new, empty (or t_template_sql's) database, the current one from now on. Each test has one. */
const char *t_fresh_database(void);
const char *t_conninfo(void);                /* of the current database, as postgres */
const char *t_conninfo_as(const char *role); /* the same as another role (trusted) */

/* Run in a session of the harness, in the current database, in autocommit. */
#define t_sql(sql) t_sql_at(T_HERE, sql)
#define t_sqlf(...) t_sqlf_at(T_HERE, __VA_ARGS__)
#define t_int(sql) t_int_at(T_HERE, sql)   /* one row, one column */
#define t_text(sql) t_text_at(T_HERE, sql) /* the same; NULL for the SQL NULL */
#define t_rows(sql) t_rows_at(T_HERE, sql) /* "a|b\nc|d": rows and columns as text */
#define t_fails(sql, sqlstate) t_fails_at(T_HERE, sql, sqlstate) /* gives the message */
/* Fails unless the query's only value is `expected`. */
#define t_expect(sql, expected) t_expect_at(T_HERE, sql, expected)
/* Asks again until it is, for at most that many seconds. */
#define t_wait_until(sql, expected, seconds) t_wait_until_at(T_HERE, sql, expected, seconds)

/* -- behind the macros -- */

void t_sql_at(struct t_here here, const char *sql);
void t_sqlf_at(struct t_here here, const char *format, ...) PRINTF_LIKE(2, 3);
int64_t t_int_at(struct t_here here, const char *sql);
const char *t_text_at(struct t_here here, const char *sql);
const char *t_rows_at(struct t_here here, const char *sql);
const char *t_fails_at(struct t_here here, const char *sql, const char *sqlstate);
void t_expect_at(struct t_here here, const char *sql, const char *expected);
void t_wait_until_at(struct t_here here, const char *sql, const char *expected, int seconds);

#endif
