/*
 * What the parts of the harness share, for tests/harness/ only. Everything but the server and the
 * count of databases belongs to the test that runs, and goes with it.
 */
#ifndef PGHAUL_TESTS_HARNESS_STATE_H
#define PGHAUL_TESTS_HARNESS_STATE_H

#include "tests/harness/frame.h"

#include <libpq-fe.h>
#include <sys/types.h>

#include "engine/base/memory.h"

enum { PROCESSES_MAX = 256, SESSIONS_MAX = 64 };

struct t_process;
struct t_session {
    PGconn *connection;
    const char *name;
    bool busy;
    bool beside; /* t_busy()'s */
};

struct harness {
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
};
extern struct harness harness;

/* -- frame.c -- */

/* printf into the arena: a failure jumps over every free(). */
const char *harness_format_kept(const char *format, va_list args) PRINTF_LIKE(1, 0);
/* Part of a report; the end of it when it is long. */
void harness_print_block(const char *title, const char *text);

/* -- wire.c: libpq with limits -- */

PGconn *harness_connect_to(struct t_here here, const char *conninfo, const char *name);
/* A connection that is opened when it is first used, and again after the server went away. */
PGconn *harness_usable(struct t_here here, PGconn **connection, const char *conninfo,
                       const char *name);
PGconn *harness_monitor(struct t_here here);
void harness_drop_notice(void *arg, const char *message);

/* Everything of a (multi-)statement: the first error, else the last result. NULL when late. */
PGresult *harness_last_result(PGconn *connection, int64_t end_ms);
/* Runs to the end within the limit; never NULL. May be an error's result. */
PGresult *harness_query_on(struct t_here here, PGconn *connection, const char *sql);
bool harness_is_error(const PGresult *result);
/* In the arena; NULL for none. */
const char *harness_first_value(const PGresult *result);

/* Both take the result. The second gives its message when it is the error that was asked for. */
_Noreturn void harness_fail_statement(struct t_here here, PGresult *result, const char *sql);
const char *harness_expect_error(struct t_here here, PGresult *result, const char *sqlstate,
                                 const char *sql);
/* Who waits for whom, for diagnosis; never fails the test again. */
void harness_print_activity(void);

/* -- database.c -- */

const char *harness_conninfo_of(const char *database, const char *role);

/* -- program.c -- */

/* Nothing of the machine's PostgreSQL settings must leak into a run. */
void harness_clean_environment(void);
/* A file from `at` to its end, in the arena. */
const char *harness_content_from(int fd, off_t at);
void harness_print_process(struct t_process *process);
/* Killed when it still runs. */
void harness_end_process(struct t_process *process);

#endif
