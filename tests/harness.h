/*
 * Tests that read like sentences: one private server per test binary, one fresh database per test,
 * the real program as a child process, and sessions that may wait for each other.
 *
 *     static void a_table_that_is_missing_is_refused(void)
 *     {
 *         struct t_result result;
 *
 *         t_sql("CREATE TABLE orders (id int PRIMARY KEY)");
 *         t_run(&result, "alter", "order", NULL);
 *         t_expect_status(&result, 3);
 *         t_expect_err(&result, "there is no table order");
 *         assert_int_equal(t_int("SELECT count(*) FROM orders"), 0);
 *     }
 *
 *     int main(void)
 *     {
 *         const struct CMUnitTest tests[] = {t_test(a_table_that_is_missing_is_refused)};
 *
 *         return T_MAIN(tests);
 *     }
 *
 * Everything waits for a bounded time and then fails the test, saying who waits for whom. Strings,
 * results, processes and sessions belong to the harness and live until the test ends. When a test
 * fails, the harness prints what the programs that it ran have said.
 *
 * PGHAUL_TEST=PATTERN in the environment runs only the tests whose names match ("*missing*").
 *
 * One thread: the harness keeps its state in static variables. Threads of a test use libpq or
 * engine/pg on t_conninfo(), and report to the main thread.
 */
#ifndef PGHAUL_TESTS_HARNESS_H
#define PGHAUL_TESTS_HARNESS_H

/* cmocka wants these first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <libpq-fe.h>
#include <stdbool.h>

#include "bench/sandbox.h"

/* -- frame -- */

/* The server that T_MAIN starts; a binary that needs another one sets this first in main(). */
extern struct sandbox_options t_sandbox_options;
/* SQL for the template of every fresh database of this binary; NULL for none. As above. */
extern const char *t_template_sql;

struct t_case {
    void (*run)(void);
};

#define t_test(function)                                                          \
    {                                                                             \
        .name = #function, .test_func = t_body, .setup_func = t_setup,            \
        .teardown_func = t_teardown, .initial_state = &(struct t_case){function}, \
    }
#define T_MAIN(tests) \
    (t_main_begin(), cmocka_run_group_tests(tests, t_group_setup, t_group_teardown) != 0)

void t_main_begin(void);
int t_group_setup(void **state);
int t_group_teardown(void **state);
int t_setup(void **state);
void t_body(void **state);
int t_teardown(void **state);

/* Ends the test as skipped, and says why. */
#define t_skip(...) t_skip_at(T_HERE, __VA_ARGS__)
/* Ends the test as failed. */
#define t_fail(...) t_fail_at(T_HERE, __VA_ARGS__)

struct sandbox *t_sandbox(void);
int t_server_version(void); /* 150004 */

/* -- database -- */

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
/* printf into memory of the test. */
const char *t_format(const char *format, ...) PRINTF_LIKE(1, 2);

/* -- the program -- */

struct t_result {
    int status;      /* exit status; -1 when a signal ended it */
    int signal;      /* that signal; 0 for none */
    const char *out; /* what it wrote to stdout, stderr */
    const char *err;
    int64_t took_ms;
    const char *command; /* for messages */
};

/* Runs `pghaul ARGUMENTS... -d <t_conninfo()>` to its end. Arguments end with NULL. */
#define t_run(result, ...) t_run_at(T_HERE, result, true, __VA_ARGS__)
/* The same without -d. */
#define t_run_plain(result, ...) t_run_at(T_HERE, result, false, __VA_ARGS__)
/* Runs any program; argv[0] is looked up in the sandbox's bindir and in PATH. */
#define t_run_program(result, ...) t_run_program_at(T_HERE, result, __VA_ARGS__)

/* How long each run and each t_wait() may take from now on, in this test; 120 to begin with. */
void t_limit(int seconds);
/* A file whose content becomes the stdin of the next run; NULL (the default): /dev/null. */
void t_stdin(const char *path);

/* In the background. */
struct t_process;
#define t_start(...) t_start_at(T_HERE, true, __VA_ARGS__)
#define t_start_program(...) t_start_program_at(T_HERE, __VA_ARGS__)
#define t_wait(process, result) t_wait_at(T_HERE, process, result)
#define t_kill(process, signal) t_kill_at(T_HERE, process, signal)
bool t_running(struct t_process *process);
int t_pid(const struct t_process *process);
/* Until it has written `part` to stdout or stderr. */
#define t_wait_output(process, part, seconds) t_wait_output_at(T_HERE, process, part, seconds)

/* These print the whole run when they fail. */
#define t_expect_status(result, expected) t_expect_status_at(T_HERE, result, expected)
#define t_expect_out(result, part) t_expect_part_at(T_HERE, result, (result)->out, part, true)
#define t_expect_err(result, part) t_expect_part_at(T_HERE, result, (result)->err, part, true)
#define t_expect_no_err(result, part) t_expect_part_at(T_HERE, result, (result)->err, part, false)

/* -- sessions that wait for each other -- */

/*
 * A connection of its own, in the current database:
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

struct t_here {
    const char *file;
    int line;
};
#define T_HERE ((struct t_here){__FILE__, __LINE__})

_Noreturn void t_fail_at(struct t_here here, const char *format, ...) PRINTF_LIKE(2, 3);
_Noreturn void t_skip_at(struct t_here here, const char *format, ...) PRINTF_LIKE(2, 3);
void t_sql_at(struct t_here here, const char *sql);
void t_sqlf_at(struct t_here here, const char *format, ...) PRINTF_LIKE(2, 3);
int64_t t_int_at(struct t_here here, const char *sql);
const char *t_text_at(struct t_here here, const char *sql);
const char *t_rows_at(struct t_here here, const char *sql);
const char *t_fails_at(struct t_here here, const char *sql, const char *sqlstate);
void t_expect_at(struct t_here here, const char *sql, const char *expected);
void t_wait_until_at(struct t_here here, const char *sql, const char *expected, int seconds);
void t_run_at(struct t_here here, struct t_result *result, int with_conninfo, ...);
void t_run_program_at(struct t_here here, struct t_result *result, ...);
struct t_process *t_start_at(struct t_here here, int with_conninfo, ...);
struct t_process *t_start_program_at(struct t_here here, ...);
void t_wait_at(struct t_here here, struct t_process *process, struct t_result *result);
void t_kill_at(struct t_here here, struct t_process *process, int signal_number);
void t_wait_output_at(struct t_here here, struct t_process *process, const char *part, int seconds);
void t_expect_status_at(struct t_here here, const struct t_result *result, int expected);
void t_expect_part_at(struct t_here here, const struct t_result *result, const char *text,
                      const char *part, bool present);
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
