#include "tests/harness/program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/text.h"
#include "tests/harness/state.h"

enum {
    ARGUMENTS_MAX = 64,
    SANITIZER_STATUS = 99, /* ASAN_OPTIONS=exitcode=99 in tests/CMakeLists.txt */
};

struct t_process {
    pid_t pid;
    bool ended;
    int wait_status;
    int out_fd; /* files without a name: nobody has to read while the program writes */
    int err_fd;
    int64_t start_ms;
    int64_t end_ms; /* once ended */
    const char *command;
};

/* -------------------------------------------------------------------------------------- output */

/* stdout and stderr of a run go to files without a name. */
static int output_file(struct t_here here)
{
    char path[] = "/tmp/pghaul-out-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);

    if (fd < 0)
        t_fail_at(here, "could not make a file: %s", strerror(errno));
    unlink(path);
    return fd;
}

const char *harness_content_from(int fd, off_t at)
{
    TEXT_AUTO text = {0};
    char buffer[65536];
    ssize_t count;

    while ((count = pread(fd, buffer, sizeof(buffer), at)) > 0) {
        text_append_bytes(&text, buffer, (size_t)count);
        at += count;
    }
    return arena_copy(&harness.arena, text_string(&text));
}

static const char *content(int fd)
{
    return harness_content_from(fd, 0);
}

static const char *command_line(const char *const *argv)
{
    TEXT_AUTO text = {0};

    for (; *argv != NULL; argv++) {
        text_separate(&text, " ");
        text_append(&text, *argv);
    }
    return arena_copy(&harness.arena, text_string(&text));
}

/* Nothing of the machine's PostgreSQL settings must leak into a run. */
void harness_clean_environment(void)
{
    static const char *const NAMES[] = {"PGHOST",      "PGPORT",    "PGUSER",          "PGDATABASE",
                                        "PGPASSWORD",  "PGSERVICE", "PGOPTIONS",       "PGAPPNAME",
                                        "PGHOSTADDR",  "PGSSLMODE", "PGPASSFILE",      "PGTZ",
                                        "PGDATESTYLE", "PGGEQO",    "PGCLIENTENCODING"};

    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
        unsetenv(NAMES[i]);
}

/* ----------------------------------------------------------------------------------- processes */

static struct t_process *start(struct t_here here, const char *const *argv)
{
    struct t_process *process = arena_alloc(&harness.arena, sizeof(*process));
    int null_fd;

    if (harness.process_count == PROCESSES_MAX)
        t_fail_at(here, "a test starts more than %d programs", PROCESSES_MAX);
    process->command = command_line(argv);
    process->out_fd = output_file(here);
    process->err_fd = output_file(here);
    process->start_ms = clock_ms();
    null_fd =
        open(harness.stdin_path == NULL ? "/dev/null" : harness.stdin_path, O_RDONLY | O_CLOEXEC);
    process->pid = fork();
    if (process->pid == 0) {
        if (dup2(null_fd, 0) == 0 && dup2(process->out_fd, 1) == 1 && dup2(process->err_fd, 2) == 2)
            execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(126);
    }
    close(null_fd);
    if (process->pid < 0)
        t_fail_at(here, "could not start %s: %s", process->command, strerror(errno));
    harness.stdin_path = NULL;
    harness.processes[harness.process_count++] = process;
    return process;
}

bool t_running(struct t_process *process)
{
    if (!process->ended && waitpid(process->pid, &process->wait_status, WNOHANG) == process->pid) {
        process->ended = true;
        process->end_ms = clock_ms();
    }
    return !process->ended;
}

int t_pid(const struct t_process *process)
{
    return (int)process->pid;
}

void harness_print_process(struct t_process *process)
{
    t_running(process);
    if (!process->ended)
        print_error("  === %s: still running\n", process->command);
    else if (WIFSIGNALED(process->wait_status))
        print_error("  === %s: signal %d after %lld ms\n", process->command,
                    WTERMSIG(process->wait_status),
                    (long long)(process->end_ms - process->start_ms));
    else
        print_error("  === %s: exit status %d after %lld ms\n", process->command,
                    WEXITSTATUS(process->wait_status),
                    (long long)(process->end_ms - process->start_ms));
    harness_print_block("stdout", content(process->out_fd));
    harness_print_block("stderr", content(process->err_fd));
}

void harness_end_process(struct t_process *process)
{
    if (t_running(process)) {
        kill(process->pid, SIGKILL);
        waitpid(process->pid, &process->wait_status, 0);
        process->ended = true;
        process->end_ms = clock_ms();
    }
    close(process->out_fd);
    close(process->err_fd);
}

void t_wait_at(struct t_here here, struct t_process *process, struct t_result *result)
{
    int64_t end_ms = clock_ms() + (int64_t)harness.limit_seconds * 1000;
    int64_t step_ms = 1;

    while (t_running(process)) {
        if (clock_ms() >= end_ms) {
            harness_print_activity();
            kill(process->pid, SIGKILL);
            t_fail_at(here, "%s did not end within %d s", process->command, harness.limit_seconds);
        }
        clock_sleep_ms(step_ms);
        step_ms = step_ms < 20 ? step_ms * 2 : step_ms;
    }
    *result = (struct t_result){
        .status = WIFEXITED(process->wait_status) ? WEXITSTATUS(process->wait_status) : -1,
        .signal = WIFSIGNALED(process->wait_status) ? WTERMSIG(process->wait_status) : 0,
        .out = content(process->out_fd),
        .err = content(process->err_fd),
        .took_ms = process->end_ms - process->start_ms,
        .command = process->command,
    };
    if (result->status == SANITIZER_STATUS)
        t_fail_at(here, "a sanitizer found something in %s", process->command);
    if (result->signal == SIGABRT || result->signal == SIGSEGV || result->signal == SIGBUS)
        t_fail_at(here, "%s crashed with signal %d", process->command, result->signal);
    if (result->status == 126)
        t_fail_at(here, "%s could not be executed", process->command);
}

void t_kill_at(struct t_here here, struct t_process *process, int signal_number)
{
    if (!t_running(process))
        t_fail_at(here, "%s has ended already", process->command);
    kill(process->pid, signal_number);
}

void t_wait_output_at(struct t_here here, struct t_process *process, const char *part, int seconds)
{
    int64_t end_ms = clock_ms() + (int64_t)seconds * 1000;

    for (;;) {
        bool running = t_running(process);

        if (strstr(content(process->out_fd), part) != NULL ||
            strstr(content(process->err_fd), part) != NULL)
            return;
        if (!running)
            t_fail_at(here, "%s ended without saying \"%s\"", process->command, part);
        if (clock_ms() >= end_ms) {
            harness_print_activity();
            t_fail_at(here, "%s did not say \"%s\" within %d s", process->command, part, seconds);
        }
        clock_sleep_ms(10);
    }
}

/* ------------------------------------------------------------------------------- command lines */

static const char *program(struct t_here here)
{
#ifdef PGHAUL_PROGRAM
    (void)here;
    return PGHAUL_PROGRAM;
#else
    t_fail_at(here, "pghaul is not part of this build");
#endif
}

/* pghaul ARGUMENTS... [-d CONNINFO] */
static const char *const *pghaul_arguments(struct t_here here, bool conninfo, va_list args)
{
    const char **argv = arena_alloc(&harness.arena, (ARGUMENTS_MAX + 4) * sizeof(*argv));
    const char *argument;
    int count = 0;

    argv[count++] = program(here);
    while ((argument = va_arg(args, const char *)) != NULL) {
        if (count == ARGUMENTS_MAX)
            t_fail_at(here, "more than %d arguments: is the NULL missing?", ARGUMENTS_MAX);
        argv[count++] = argument;
    }
    if (conninfo) {
        argv[count++] = "-d";
        argv[count++] = harness.conninfo;
    }
    return argv;
}

void t_run_at(struct t_here here, struct t_result *result, int with_conninfo, ...)
{
    const char *const *argv;
    va_list args;

    va_start(args, with_conninfo);
    argv = pghaul_arguments(here, with_conninfo != 0, args);
    va_end(args);
    t_wait_at(here, start(here, argv), result);
}

struct t_process *t_start_at(struct t_here here, int with_conninfo, ...)
{
    const char *const *argv;
    va_list args;

    va_start(args, with_conninfo);
    argv = pghaul_arguments(here, with_conninfo != 0, args);
    va_end(args);
    return start(here, argv);
}

/* psql and pgbench of the server under test, before those of PATH. */
static const char *const *program_arguments(struct t_here here, va_list args)
{
    const char **argv = arena_alloc(&harness.arena, (ARGUMENTS_MAX + 1) * sizeof(*argv));
    const char *argument;
    const char *path;
    int count = 0;

    while ((argument = va_arg(args, const char *)) != NULL) {
        if (count == ARGUMENTS_MAX)
            t_fail_at(here, "more than %d arguments: is the NULL missing?", ARGUMENTS_MAX);
        argv[count++] = argument;
    }
    path = t_format("%s/%s", sandbox_bindir(harness.sandbox), argv[0]);
    if (access(path, X_OK) == 0)
        argv[0] = path;
    return argv;
}

void t_run_program_at(struct t_here here, struct t_result *result, ...)
{
    const char *const *argv;
    va_list args;

    va_start(args, result);
    argv = program_arguments(here, args);
    va_end(args);
    t_wait_at(here, start(here, argv), result);
}

struct t_process *t_start_program_at(struct t_here here, ...)
{
    const char *const *argv;
    va_list args;

    va_start(args, here);
    argv = program_arguments(here, args);
    va_end(args);
    return start(here, argv);
}

void t_limit(int seconds)
{
    harness.limit_seconds = seconds;
}

void t_stdin(const char *path)
{
    harness.stdin_path = path;
}

/* -------------------------------------------------------------------------------- expectations */

void t_expect_status_at(struct t_here here, const struct t_result *result, int expected)
{
    if (result->status == expected)
        return;
    if (result->status < 0)
        t_fail_at(here, "%s: expected exit status %d, but signal %d ended it", result->command,
                  expected, result->signal);
    t_fail_at(here, "%s: expected exit status %d, got %d", result->command, expected,
              result->status);
}

void t_expect_part_at(struct t_here here, const struct t_result *result, const char *text,
                      const char *part, bool present)
{
    if ((strstr(text, part) != NULL) != present)
        t_fail_at(here, "%s: its %s should%s contain \"%s\"", result->command,
                  text == result->out ? "stdout" : "stderr", present ? "" : " not", part);
}
