#include "tests/harness/session.h"

#include "engine/base/clock.h"
#include "tests/harness/state.h"

struct t_session *t_session_at(struct t_here here, const char *name, const char *conninfo)
{
    struct t_session *session = arena_alloc(&harness.arena, sizeof(*session));

    if (harness.session_count == SESSIONS_MAX)
        t_fail_at(here, "a test opens more than %d sessions", SESSIONS_MAX);
    session->name = arena_copy(&harness.arena, name);
    session->connection = harness_connect_to(here, conninfo, name);
    PQsetNoticeProcessor(session->connection, harness_drop_notice, NULL);
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
    result = harness_last_result(session->connection,
                                 clock_ms() + (int64_t)harness.limit_seconds * 1000);
    if (result == NULL) {
        harness_print_activity();
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

    if (harness_is_error(result))
        harness_fail_statement(here, result, t_format("(session %s)", session->name));
    value = harness_first_value(result);
    PQclear(result);
    return value;
}

const char *t_receive_error_at(struct t_here here, struct t_session *session, const char *sqlstate)
{
    return harness_expect_error(here, receive(here, session), sqlstate,
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
    result = harness_query_on(T_HERE, harness_monitor(T_HERE),
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
            harness_print_activity();
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
