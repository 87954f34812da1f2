#include "tests/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "engine/base/text.h"

enum {
    LIMIT_SECONDS = 120,
    STATEMENT_MS_MAX = 60 * 1000,
    ARGUMENTS_MAX = 64,
    PROCESSES_MAX = 256,
    SESSIONS_MAX = 64,
    SANITIZER_STATUS = 99, /* ASAN_OPTIONS=exitcode=99 in tests/CMakeLists.txt */
    OUTPUT_PRINTED_MAX = 8000,
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

struct t_session {
    PGconn *connection;
    const char *name;
    bool busy;
};

struct sandbox_options t_sandbox_options;
const char *t_template_sql;

static struct {
    struct sandbox *sandbox;
    int database_count;
    off_t log_start; /* of the server's log, when the test began */
    /* All below belong to the test that runs. */
    struct arena arena;
    char *conninfo;
    PGconn *main;    /* t_sql() and its kin */
    PGconn *monitor; /* in database postgres: looks at the others */
    bool passed;
    int limit_seconds;
    const char *stdin_path;
    struct t_process *processes[PROCESSES_MAX];
    int process_count;
    struct t_session *sessions[SESSIONS_MAX];
    int session_count;
} harness;

/* ------------------------------------------------------------------------------------- failing */

static void print_block(const char *title, const char *text)
{
    size_t length = strlen(text);

    if (length == 0)
        return;
    print_error("  --- %s\n", title);
    if (length > OUTPUT_PRINTED_MAX) {
        print_error("  (%zu bytes left out)\n", length - OUTPUT_PRINTED_MAX);
        text += length - OUTPUT_PRINTED_MAX;
    }
    print_error("%s%s", text, text[strlen(text) - 1] == '\n' ? "" : "\n");
}

/* In the arena, because a failure jumps over every free(). */
static const char *PRINTF_LIKE(1, 0) format_kept(const char *format, va_list args)
{
    const char *kept;
    char *copy;

    if (vasprintf(&copy, format, args) < 0)
        abort();
    kept = arena_copy(&harness.arena, copy);
    free(copy);
    return kept;
}

const char *t_format(const char *format, ...)
{
    const char *kept;
    va_list args;

    va_start(args, format);
    kept = format_kept(format, args);
    va_end(args);
    return kept;
}

void t_fail_at(struct t_here here, const char *format, ...)
{
    char message[8192];
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    print_error("%s\n", message);
    _fail(here.file, here.line);
    abort(); /* _fail() jumps away */
}

void t_skip_at(struct t_here here, const char *format, ...)
{
    char message[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    print_message("skipped: %s\n", message);
    harness.passed = true;
    _skip(here.file, here.line);
    abort();
}

/* ------------------------------------------------------------------------------------- queries */

/*
 * The next result of a connection with something under way, or NULL at the end of it. Sets *late
 * when `end_ms` comes first.
 */
static PGresult *next_result(PGconn *connection, int64_t end_ms, bool *late)
{
    *late = false;
    while (PQisBusy(connection)) {
        struct pollfd list = {.fd = PQsocket(connection), .events = POLLIN};
        int64_t left_ms = end_ms - clock_ms();

        if (left_ms <= 0) {
            *late = true;
            return NULL;
        }
        if (poll(&list, 1, left_ms > 1000 ? 1000 : (int)left_ms) > 0 && !PQconsumeInput(connection))
            break;
    }
    return PQgetResult(connection);
}

/* Everything of a (multi-)statement: the first error, else the last result. NULL when late. */
static PGresult *last_result(PGconn *connection, int64_t end_ms)
{
    PGresult *last = NULL;
    PGresult *next;
    bool late;

    while ((next = next_result(connection, end_ms, &late)) != NULL) {
        if (last != NULL && PQresultStatus(last) == PGRES_FATAL_ERROR) {
            PQclear(next);
            continue;
        }
        PQclear(last);
        last = next;
        if (PQresultStatus(last) == PGRES_COPY_IN || PQresultStatus(last) == PGRES_COPY_OUT)
            break;
    }
    if (late) {
        PQclear(last);
        return NULL;
    }
    return last == NULL ? PQmakeEmptyPGresult(connection, PGRES_EMPTY_QUERY) : last;
}

static bool is_error(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    return status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE;
}

static const char *sqlstate_of(const PGresult *result)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    return sqlstate == NULL ? "08006" : sqlstate;
}

static PGconn *connect_to(struct t_here here, const char *conninfo, const char *name)
{
    const char *const keywords[] = {"dbname", "application_name", "connect_timeout", NULL};
    const char *const values[] = {conninfo, name, "20", NULL};
    PGconn *connection = PQconnectdbParams(keywords, values, 1);

    if (PQstatus(connection) != CONNECTION_OK) {
        const char *why = t_format("%s", PQerrorMessage(connection));

        PQfinish(connection);
        t_fail_at(here, "could not connect to \"%s\": %s", conninfo, why);
    }
    return connection;
}

static void drop_notice(void *arg, const char *message)
{
    (void)arg;
    (void)message;
}

/* A connection that is opened when it is first used, and again after the server went away. */
static PGconn *usable(struct t_here here, PGconn **connection, const char *conninfo,
                      const char *name)
{
    if (*connection != NULL && PQstatus(*connection) != CONNECTION_OK) {
        PQfinish(*connection);
        *connection = NULL;
    }
    if (*connection == NULL) {
        *connection = connect_to(here, conninfo, name);
        PQsetNoticeProcessor(*connection, drop_notice, NULL);
    }
    return *connection;
}

/* For diagnosis; never fails the test again. */
static void print_activity(void)
{
    PGconn *connection = PQconnectdb(sandbox_conninfo(harness.sandbox));
    PGresult *result =
        PQexec(connection, "SELECT pid, application_name, state, wait_event_type, wait_event,"
                           " pg_blocking_pids(pid) AS blocked_by,"
                           " left(regexp_replace(query, '\\s+', ' ', 'g'), 120) AS query"
                           " FROM pg_stat_activity WHERE backend_type = 'client backend'"
                           " AND pid <> pg_backend_pid()");

    print_error("  --- sessions\n");
    for (int row = 0; row < PQntuples(result); row++)
        for (int column = 0; column < PQnfields(result); column++)
            print_error("%s%s", PQgetvalue(result, row, column),
                        column == PQnfields(result) - 1 ? "\n" : " | ");
    PQclear(result);
    PQfinish(connection);
}

/* Runs to the end within the limit; never NULL. May be an error's result. */
static PGresult *query_on(struct t_here here, PGconn *connection, const char *sql)
{
    PGresult *result;

    if (!PQsendQuery(connection, sql))
        t_fail_at(here, "could not send: %s\n%s", PQerrorMessage(connection), sql);
    result = last_result(connection, clock_ms() + STATEMENT_MS_MAX);
    if (result == NULL) {
        print_activity();
        t_fail_at(here, "no answer within %d s:\n%s", STATEMENT_MS_MAX / 1000, sql);
    }
    return result;
}

static PGresult *query(struct t_here here, const char *sql)
{
    return query_on(here, usable(here, &harness.main, harness.conninfo, "test"), sql);
}

_Noreturn static void fail_statement(struct t_here here, PGresult *result, const char *sql)
{
    const char *message = t_format("%s", PQresultErrorMessage(result));
    const char *sqlstate = t_format("%s", sqlstate_of(result));

    PQclear(result);
    t_fail_at(here, "a statement failed (%s): %s%s", sqlstate, message, sql);
}

static PGresult *query_ok(struct t_here here, const char *sql)
{
    PGresult *result = query(here, sql);

    if (is_error(result))
        fail_statement(here, result, sql);
    return result;
}

static const char *first_value(const PGresult *result)
{
    if (PQntuples(result) < 1 || PQnfields(result) < 1 || PQgetisnull(result, 0, 0))
        return NULL;
    return arena_copy(&harness.arena, PQgetvalue(result, 0, 0));
}

void t_sql_at(struct t_here here, const char *sql)
{
    PQclear(query_ok(here, sql));
}

void t_sqlf_at(struct t_here here, const char *format, ...)
{
    const char *sql;
    va_list args;

    va_start(args, format);
    sql = format_kept(format, args);
    va_end(args);
    t_sql_at(here, sql);
}

const char *t_text_at(struct t_here here, const char *sql)
{
    PGresult *result = query_ok(here, sql);
    int rows = PQntuples(result);
    int columns = PQnfields(result);
    const char *value = first_value(result);

    PQclear(result);
    if (rows != 1 || columns != 1)
        t_fail_at(here, "expected one value, got %d rows of %d columns:\n%s", rows, columns, sql);
    return value;
}

int64_t t_int_at(struct t_here here, const char *sql)
{
    const char *value = t_text_at(here, sql);
    char *end = NULL;
    int64_t number = value == NULL ? 0 : strtoll(value, &end, 10);

    if (value == NULL || end == value || *end != '\0')
        t_fail_at(here, "expected an integer, got %s:\n%s", value == NULL ? "NULL" : value, sql);
    return number;
}

const char *t_rows_at(struct t_here here, const char *sql)
{
    PGresult *result = query_ok(here, sql);
    TEXT_AUTO text = {0};

    for (int row = 0; row < PQntuples(result); row++) {
        text_separate(&text, "\n");
        for (int column = 0; column < PQnfields(result); column++) {
            if (column > 0)
                text_append(&text, "|");
            text_append(&text, PQgetvalue(result, row, column));
        }
    }
    PQclear(result);
    return arena_copy(&harness.arena, text_string(&text));
}

/* Takes the result; gives its message when it is the error that was asked for. */
static const char *expect_error(struct t_here here, PGresult *result, const char *sqlstate,
                                const char *sql)
{
    const char *message = t_format("%s", PQresultErrorMessage(result));
    const char *got = t_format("%s", is_error(result) ? sqlstate_of(result) : "00000");

    PQclear(result);
    if (strcmp(got, "00000") == 0)
        t_fail_at(here, "expected SQLSTATE %s, but it succeeded:\n%s", sqlstate, sql);
    if (strcmp(sqlstate, "*") != 0 && strcmp(got, sqlstate) != 0)
        t_fail_at(here, "expected SQLSTATE %s, got %s: %s%s", sqlstate, got, message, sql);
    return message;
}

const char *t_fails_at(struct t_here here, const char *sql, const char *sqlstate)
{
    return expect_error(here, query(here, sql), sqlstate, sql);
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

void t_expect_at(struct t_here here, const char *sql, const char *expected)
{
    const char *value = t_text_at(here, sql);

    if (!same_text(value, expected))
        t_fail_at(here, "expected %s, got %s:\n%s", expected == NULL ? "NULL" : expected,
                  value == NULL ? "NULL" : value, sql);
}

void t_wait_until_at(struct t_here here, const char *sql, const char *expected, int seconds)
{
    int64_t end_ms = clock_ms() + (int64_t)seconds * 1000;

    for (;;) {
        PGresult *result = query_ok(here, sql);
        bool same = same_text(first_value(result), expected);
        bool late = clock_ms() >= end_ms;

        if (!same && late) {
            const char *value = first_value(result);

            PQclear(result);
            print_activity();
            t_fail_at(here, "after %d s it is still %s, not %s:\n%s", seconds,
                      value == NULL ? "NULL" : value, expected == NULL ? "NULL" : expected, sql);
        }
        PQclear(result);
        if (same)
            return;
        clock_sleep_ms(20);
    }
}

/* ----------------------------------------------------------------------------------- databases */

static PGconn *monitor(struct t_here here)
{
    return usable(here, &harness.monitor, sandbox_conninfo(harness.sandbox), "monitor");
}

static void monitor_sql(struct t_here here, const char *sql)
{
    PGresult *result = query_on(here, monitor(here), sql);

    if (is_error(result))
        fail_statement(here, result, sql);
    PQclear(result);
}

static const char *conninfo_of(const char *database, const char *role)
{
    return t_format("host=%s port=5432 user=%s dbname=%s", sandbox_dir(harness.sandbox), role,
                    database);
}

const char *t_fresh_database(void)
{
    int number = ++harness.database_count;

    if (harness.main != NULL)
        PQfinish(harness.main);
    harness.main = NULL;
    monitor_sql(T_HERE, t_format("CREATE DATABASE t%d TEMPLATE %s", number,
                                 t_template_sql == NULL ? "template1" : "t_template"));
    free(harness.conninfo);
    harness.conninfo = memory_copy(conninfo_of(t_format("t%d", number), "postgres"));
    return harness.conninfo;
}

const char *t_conninfo(void)
{
    return harness.conninfo;
}

const char *t_conninfo_as(const char *role)
{
    return conninfo_of(t_format("t%d", harness.database_count), role);
}

struct sandbox *t_sandbox(void)
{
    return harness.sandbox;
}

int t_server_version(void)
{
    return PQserverVersion(monitor(T_HERE));
}

/* ---------------------------------------------------------------------------------- processes */

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

static const char *content_from(int fd, off_t at)
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
    return content_from(fd, 0);
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
static void clean_environment(void)
{
    static const char *const NAMES[] = {"PGHOST",      "PGPORT",    "PGUSER",          "PGDATABASE",
                                        "PGPASSWORD",  "PGSERVICE", "PGOPTIONS",       "PGAPPNAME",
                                        "PGHOSTADDR",  "PGSSLMODE", "PGPASSFILE",      "PGTZ",
                                        "PGDATESTYLE", "PGGEQO",    "PGCLIENTENCODING"};

    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
        unsetenv(NAMES[i]);
}

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

static void print_process(struct t_process *process)
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
    print_block("stdout", content(process->out_fd));
    print_block("stderr", content(process->err_fd));
}

static void end_process(struct t_process *process)
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
            print_activity();
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
            print_activity();
            t_fail_at(here, "%s did not say \"%s\" within %d s", process->command, part, seconds);
        }
        clock_sleep_ms(10);
    }
}

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

/* ------------------------------------------------------------------------------------ sessions */

struct t_session *t_session_at(struct t_here here, const char *name, const char *conninfo)
{
    struct t_session *session = arena_alloc(&harness.arena, sizeof(*session));

    if (harness.session_count == SESSIONS_MAX)
        t_fail_at(here, "a test opens more than %d sessions", SESSIONS_MAX);
    session->name = arena_copy(&harness.arena, name);
    session->connection = connect_to(here, conninfo, name);
    PQsetNoticeProcessor(session->connection, drop_notice, NULL);
    harness.sessions[harness.session_count++] = session;
    return session;
}

void t_send_at(struct t_here here, struct t_session *session, const char *sql)
{
    if (session->busy)
        t_fail_at(here, "session %s is still busy", session->name);
    if (!PQsendQuery(session->connection, sql))
        t_fail_at(here, "session %s could not send: %s%s", session->name,
                  PQerrorMessage(session->connection), sql);
    PQflush(session->connection);
    session->busy = true;
}

static PGresult *receive(struct t_here here, struct t_session *session)
{
    PGresult *result;

    if (!session->busy)
        t_fail_at(here, "session %s has nothing to receive", session->name);
    result = last_result(session->connection, clock_ms() + (int64_t)harness.limit_seconds * 1000);
    if (result == NULL) {
        print_activity();
        t_fail_at(here, "session %s got no answer within %d s", session->name,
                  harness.limit_seconds);
    }
    session->busy = false;
    return result;
}

const char *t_receive_at(struct t_here here, struct t_session *session)
{
    PGresult *result = receive(here, session);
    const char *value;

    if (is_error(result))
        fail_statement(here, result, t_format("(session %s)", session->name));
    value = first_value(result);
    PQclear(result);
    return value;
}

const char *t_receive_error_at(struct t_here here, struct t_session *session, const char *sqlstate)
{
    return expect_error(here, receive(here, session), sqlstate,
                        t_format("(session %s)", session->name));
}

void t_do_at(struct t_here here, struct t_session *session, const char *sql)
{
    (void)t_ask_at(here, session, sql);
}

const char *t_ask_at(struct t_here here, struct t_session *session, const char *sql)
{
    t_send_at(here, session, sql);
    return t_receive_at(here, session);
}

const char *t_do_fails_at(struct t_here here, struct t_session *session, const char *sql,
                          const char *sqlstate)
{
    t_send_at(here, session, sql);
    return t_receive_error_at(here, session, sqlstate);
}

bool t_is_busy(struct t_session *session)
{
    if (!session->busy)
        return false;
    PQconsumeInput(session->connection);
    return PQisBusy(session->connection);
}

bool t_is_waiting(struct t_session *session)
{
    PGresult *result;
    bool waiting;

    if (!t_is_busy(session))
        return false;
    result = query_on(T_HERE, monitor(T_HERE),
                      t_format("SELECT wait_event_type = 'Lock' AND"
                               " pg_blocking_pids(pid) <> '{}' FROM pg_stat_activity"
                               " WHERE pid = %d",
                               PQbackendPID(session->connection)));
    waiting = PQntuples(result) == 1 && PQgetvalue(result, 0, 0)[0] == 't';
    PQclear(result);
    return waiting;
}

void t_waits_at(struct t_here here, struct t_session *session)
{
    int64_t end_ms = clock_ms() + (int64_t)harness.limit_seconds * 1000;

    while (!t_is_waiting(session)) {
        if (!t_is_busy(session))
            t_fail_at(here, "session %s was to wait for a lock, but it has finished",
                      session->name);
        if (clock_ms() >= end_ms) {
            print_activity();
            t_fail_at(here, "session %s does not wait for a lock", session->name);
        }
        clock_sleep_ms(5);
    }
}

void t_close(struct t_session *session)
{
    PQfinish(session->connection);
    session->connection = NULL;
    session->busy = false;
}

int t_backend_pid(const struct t_session *session)
{
    return PQbackendPID(session->connection);
}

PGconn *t_connection(const struct t_session *session)
{
    return session->connection;
}

/* --------------------------------------------------------------------------------------- frame */

void t_main_begin(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    clean_environment();
    if (getenv("PGHAUL_TEST") != NULL)
        cmocka_set_test_filter(getenv("PGHAUL_TEST"));
}

static bool make_template(void)
{
    PGconn *connection;
    PGresult *result;
    bool ok;

    connection = PQconnectdb(sandbox_conninfo(harness.sandbox));
    result = PQexec(connection, "CREATE DATABASE t_template");
    ok = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    PQfinish(connection);
    if (!ok)
        return false;
    connection = PQconnectdb(conninfo_of("t_template", "postgres"));
    result = PQexec(connection, t_template_sql);
    ok = !is_error(result);
    if (!ok)
        print_error("t_template_sql: %s\n", PQresultErrorMessage(result));
    PQclear(result);
    PQfinish(connection);
    return ok;
}

int t_group_setup(void **state)
{
    struct error error = {0};

    (void)state;
    if (!sandbox_start(&harness.sandbox, &t_sandbox_options, &error)) {
        print_error("%s\n%s\n%s\n", error.message, error.detail, error.hint);
        return -1;
    }
    if (t_template_sql != NULL && !make_template())
        return -1;
    arena_deinit(&harness.arena);
    return 0;
}

int t_group_teardown(void **state)
{
    (void)state;
    sandbox_stop(harness.sandbox);
    harness.sandbox = NULL;
    return 0;
}

static int open_server_log(void)
{
    return open(t_format("%s/log", sandbox_dir(harness.sandbox)), O_RDONLY | O_CLOEXEC);
}

int t_setup(void **state)
{
    int log_fd = open_server_log();

    (void)state;
    harness.log_start = log_fd < 0 ? 0 : lseek(log_fd, 0, SEEK_END);
    if (log_fd >= 0)
        close(log_fd);
    harness.passed = false;
    harness.limit_seconds = LIMIT_SECONDS;
    (void)t_fresh_database();
    return 0;
}

void t_body(void **state)
{
    const struct t_case *test = *state;

    test->run();
    harness.passed = true;
}

/* What the server has to say about a test that failed. */
static void print_server_log(void)
{
    int fd = open_server_log();
    const char *log;

    if (fd < 0)
        return;
    log = content_from(fd, harness.log_start);
    close(fd);
    print_block("the server's log", strlen(log) > 4000 ? log + strlen(log) - 4000 : log);
}

int t_teardown(void **state)
{
    (void)state;
    if (!harness.passed) {
        for (int i = 0; i < harness.process_count; i++)
            print_process(harness.processes[i]);
        print_server_log();
    }
    for (int i = 0; i < harness.process_count; i++)
        end_process(harness.processes[i]);
    for (int i = 0; i < harness.session_count; i++)
        PQfinish(harness.sessions[i]->connection);
    harness.process_count = harness.session_count = 0;
    harness.stdin_path = NULL;
    PQfinish(harness.main);
    harness.main = NULL;

    /* A test that failed may leave a server that does not answer: leave the database then. */
    if (harness.passed) {
        PGconn *connection = PQconnectdb(sandbox_conninfo(harness.sandbox));

        if (PQstatus(connection) == CONNECTION_OK)
            PQclear(PQexec(connection, t_format("DROP DATABASE IF EXISTS t%d WITH (FORCE)",
                                                harness.database_count)));
        PQfinish(connection);
    }
    PQfinish(harness.monitor);
    harness.monitor = NULL;
    free(harness.conninfo);
    harness.conninfo = NULL;
    arena_deinit(&harness.arena);
    return 0;
}
