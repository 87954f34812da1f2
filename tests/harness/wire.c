/* libpq with limits: what database.c and session.c are made of. */
#include "tests/harness/state.h"

#include <poll.h>
#include <string.h>

#include "engine/base/clock.h"

enum { STATEMENT_MS_MAX = 60 * 1000 };

/* ------------------------------------------------------------------------------------- results */

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
PGresult *harness_last_result(PGconn *connection, int64_t end_ms)
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

bool harness_is_error(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    return status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE;
}

static const char *sqlstate_of(const PGresult *result)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    return sqlstate == NULL ? "08006" : sqlstate;
}

const char *harness_first_value(const PGresult *result)
{
    if (PQntuples(result) < 1 || PQnfields(result) < 1 || PQgetisnull(result, 0, 0))
        return NULL;
    return arena_copy(&harness.arena, PQgetvalue(result, 0, 0));
}

/* --------------------------------------------------------------------------------- connections */

PGconn *harness_connect_to(struct t_here here, const char *conninfo, const char *name)
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

void harness_drop_notice(void *arg, const char *message)
{
    (void)arg;
    (void)message;
}

/* A connection that is opened when it is first used, and again after the server went away. */
PGconn *harness_usable(struct t_here here, PGconn **connection, const char *conninfo,
                       const char *name)
{
    if (*connection != NULL && PQstatus(*connection) != CONNECTION_OK) {
        PQfinish(*connection);
        *connection = NULL;
    }
    if (*connection == NULL) {
        *connection = harness_connect_to(here, conninfo, name);
        PQsetNoticeProcessor(*connection, harness_drop_notice, NULL);
    }
    return *connection;
}

PGconn *harness_monitor(struct t_here here)
{
    return harness_usable(here, &harness.monitor, sandbox_conninfo(harness.sandbox), "monitor");
}

/* ---------------------------------------------------------------------------------- statements */

/* Runs to the end within the limit; never NULL. May be an error's result. */
PGresult *harness_query_on(struct t_here here, PGconn *connection, const char *sql)
{
    PGresult *result;

    if (!PQsendQuery(connection, sql))
        t_fail_at(here, "could not send: %s\n%s", PQerrorMessage(connection), sql);
    result = harness_last_result(connection, clock_ms() + STATEMENT_MS_MAX);
    if (result == NULL) {
        harness_print_activity();
        t_fail_at(here, "no answer within %d s:\n%s", STATEMENT_MS_MAX / 1000, sql);
    }
    return result;
}

_Noreturn void harness_fail_statement(struct t_here here, PGresult *result, const char *sql)
{
    const char *message = t_format("%s", PQresultErrorMessage(result));
    const char *sqlstate = t_format("%s", sqlstate_of(result));

    PQclear(result);
    t_fail_at(here, "a statement failed (%s): %s%s", sqlstate, message, sql);
}

/* Takes the result; gives its message when it is the error that was asked for. */
const char *harness_expect_error(struct t_here here, PGresult *result, const char *sqlstate,
                                 const char *sql)
{
    const char *message = t_format("%s", PQresultErrorMessage(result));
    const char *got = t_format("%s", harness_is_error(result) ? sqlstate_of(result) : "00000");

    PQclear(result);
    if (strcmp(got, "00000") == 0)
        t_fail_at(here, "expected SQLSTATE %s, but it succeeded:\n%s", sqlstate, sql);
    if (strcmp(sqlstate, "*") != 0 && strcmp(got, sqlstate) != 0)
        t_fail_at(here, "expected SQLSTATE %s, got %s: %s%s", sqlstate, got, message, sql);
    return message;
}

/* For diagnosis; never fails the test again. */
void harness_print_activity(void)
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
