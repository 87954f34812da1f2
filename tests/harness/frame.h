/* The frame of a test binary: its server, its tests one after the other, how one fails. */
#ifndef PGHAUL_TESTS_HARNESS_FRAME_H
#define PGHAUL_TESTS_HARNESS_FRAME_H

/* cmocka wants these first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>

#include "bench/sandbox.h"

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
/* printf into memory of the test. */
const char *t_format(const char *format, ...) PRINTF_LIKE(1, 2);

/* -- behind the macros -- */

struct t_here {
    const char *file;
    int line;
};
#define T_HERE ((struct t_here){__FILE__, __LINE__})

_Noreturn void t_fail_at(struct t_here here, const char *format, ...) PRINTF_LIKE(2, 3);
_Noreturn void t_skip_at(struct t_here here, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
