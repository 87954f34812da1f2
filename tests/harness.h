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

#include "tests/harness/frame.h"

#include "tests/harness/beside.h"
#include "tests/harness/database.h"
#include "tests/harness/program.h"
#include "tests/harness/session.h"

#endif
