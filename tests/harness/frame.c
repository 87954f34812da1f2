#include "tests/harness/frame.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness/database.h"
#include "tests/harness/state.h"

enum { LIMIT_SECONDS = 120, OUTPUT_PRINTED_MAX = 8000 };

struct sandbox_options t_sandbox_options;
const char *t_template_sql;
struct harness harness;

/* ------------------------------------------------------------------------------------- failing */

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

const char *harness_format_kept(const char *format, va_list args)
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
    kept = harness_format_kept(format, args);
    va_end(args);
    return kept;
}

void harness_print_block(const char *title, const char *text)
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

/* ---------------------------------------------------------------------------- server and tests */

void t_main_begin(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    harness_clean_environment();
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
    connection = PQconnectdb(harness_conninfo_of("t_template", "postgres"));
    result = PQexec(connection, t_template_sql);
    ok = !harness_is_error(result);
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
    log = harness_content_from(fd, harness.log_start);
    close(fd);
    harness_print_block("the server's log", strlen(log) > 4000 ? log + strlen(log) - 4000 : log);
}

int t_teardown(void **state)
{
    (void)state;
    if (!harness.passed) {
        for (int i = 0; i < harness.process_count; i++)
            harness_print_process(harness.processes[i]);
        print_server_log();
    }
    for (int i = 0; i < harness.process_count; i++)
        harness_end_process(harness.processes[i]);
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

struct sandbox *t_sandbox(void)
{
    return harness.sandbox;
}
