/* Runs of pghaul and of other programs. */
#ifndef PGHAUL_TESTS_HARNESS_PROGRAM_H
#define PGHAUL_TESTS_HARNESS_PROGRAM_H

#include "tests/harness/frame.h"

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

/* Runs it, and it must end with `status`; the other must say `part` on stderr, too. */
#define t_runs(status, ...)                 \
    do {                                    \
        struct t_result result_;            \
                                            \
        t_run(&result_, __VA_ARGS__, NULL); \
        t_expect_status(&result_, status);  \
    } while (0)
#define t_says(status, part, ...)           \
    do {                                    \
        struct t_result result_;            \
                                            \
        t_run(&result_, __VA_ARGS__, NULL); \
        t_expect_status(&result_, status);  \
        t_expect_err(&result_, part);       \
    } while (0)

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

/* -- behind the macros -- */

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

#endif
