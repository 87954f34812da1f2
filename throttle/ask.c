#include "throttle/ask.h"

#include <assert.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/pg/sql.h"
#include "throttle/probe.h"

/* A lost server is tried again after this long, and the kernel gives up on a silent peer after that
 * many milliseconds: then the next host of the conninfo has its turn. */
static const int64_t RECONNECT_US = 1000000;
static const char SILENCE_MS[] = "2500";
static const int64_t SLICE_US = 100000;    /* of a wait: how soon a wish to stop is noticed */
static const int64_t STOPPING_US = 500000; /* what an answer may take when stopping is wanted */

enum { PREPARED_MAX = 16, PARAMS_MAX = 24 };

enum step { CLOSED, CONNECTING, SETUP, IDLE, PREPARING, ASKED };

/* What is asked. Copied, because it may have to wait for a connection. */
struct question {
    char *sql;
    char *params[PARAMS_MAX];
    int param_count;
    enum ask_how how;
    int64_t asked_us;
    int64_t end_us; /* there must be an answer */
};

struct ask {
    char *conninfo;
    char *role;
    char *application_name;
    const struct stop *stop;

    PGconn *connection; /* NULL: CLOSED */
    enum step step;
    PostgresPollingStatusType polling; /* CONNECTING: what libpq waits for */
    int64_t retry_us;                  /* CLOSED: not before */
    int connections;
    char *prepared[PREPARED_MAX]; /* texts; the name is the number */
    int prepared_count;

    bool asked; /* between ask_send() and the answer */
    struct question question;
    PGresult *result;  /* the last of the question so far */
    struct error lost; /* why there is no connection; for the time until retry_us */
};

/* ----------------------------------------------------------------------------------- the question
 */

static void forget_question(struct ask *ask)
{
    free(ask->question.sql);
    for (int i = 0; i < ask->question.param_count; i++)
        free(ask->question.params[i]);
    ask->question = (struct question){0};
    PQclear(ask->result);
    ask->result = NULL;
    ask->asked = false;
}

static void give_up_connection(struct ask *ask)
{
    for (int i = 0; i < ask->prepared_count; i++)
        free(ask->prepared[i]);
    ask->prepared_count = 0;
    PQfinish(ask->connection);
    ask->connection = NULL;
    ask->step = CLOSED;
}

struct ask *ask_new(const struct ask_options *options)
{
    struct ask *ask = memory_zero(1, sizeof(*ask));

    ask->conninfo = memory_copy(options->conninfo != NULL ? options->conninfo : "");
    ask->role = options->role != NULL ? memory_copy(options->role) : NULL;
    ask->application_name = memory_copy(options->application_name);
    ask->stop = options->stop;
    return ask;
}

void ask_free(struct ask *ask)
{
    if (ask == NULL)
        return;
    forget_question(ask);
    give_up_connection(ask);
    free(ask->conninfo);
    free(ask->role);
    free(ask->application_name);
    free(ask);
}

/* ---------------------------------------------------------------------------------------- failure
 */

/* Sets ask->lost to what libpq says, in one line, and closes. */
static void lose(struct ask *ask, const char *why)
{
    const char *message = why != NULL ? why : PQerrorMessage(ask->connection);
    size_t length;

    error_set(&ask->lost, ERROR_CONNECTION, "%s", message);
    length = strlen(ask->lost.message);
    while (length > 0 && ask->lost.message[length - 1] == '\n')
        ask->lost.message[--length] = '\0';
    snprintf(ask->lost.sqlstate, sizeof(ask->lost.sqlstate), "08006");
    ask->lost.retryable = true;
    give_up_connection(ask);
    ask->retry_us = clock_us() + RECONNECT_US;
}

static void sql_error(const PGresult *result, struct error *error)
{
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);

    error_set(error, ERROR_SQL, "%s", primary != NULL ? primary : "the server said nothing");
    snprintf(error->sqlstate, sizeof(error->sqlstate), "%s", sqlstate != NULL ? sqlstate : "");
    if (detail != NULL)
        error_detail(error, "%s", detail);
}

/* ------------------------------------------------------------------------------------- one step */

static void drop_notice(void *arg, const PGresult *result)
{
    (void)arg;
    (void)result;
}

/*
 * What a session of ours pins (engine/pg/session.c), as far as it decides what a question means or
 * how long it may take. Names are in pg_catalog only; limit.query sets its own path back.
 */
static void append_setup(const struct ask *ask, struct text *sql)
{
    if (ask->role != NULL)
        sql_expand(sql, "SET ROLE {role};", SQL_NAMES({"role", sql_ident(ask->role)}));
    text_appendf(sql,
                 "SET search_path = pg_catalog, pg_temp;"
                 "SET statement_timeout = %d;"
                 "SET lock_timeout = '100ms';"
                 "SET idle_in_transaction_session_timeout = '10s';"
                 "SET idle_session_timeout = 0;"
                 "SET default_transaction_isolation = 'read committed';"
                 "SET default_transaction_read_only = off;"
                 "SET extra_float_digits = 1;"
                 "SET jit = off;"
                 "SET max_parallel_workers_per_gather = 0;"
                 "SELECT pg_catalog.set_config('client_encoding', CASE "
                 "pg_catalog.getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' "
                 "ELSE 'UTF8' END, false)",
                 PROBE_STATEMENT_MS);
}

static void start_connecting(struct ask *ask)
{
    /* tcp_user_timeout first: the conninfo in dbname may have one of its own. */
    const char *const keywords[] = {"tcp_user_timeout", "dbname", "application_name", NULL};
    const char *const values[] = {SILENCE_MS, ask->conninfo, ask->application_name, NULL};

    ask->connection = PQconnectStartParams(keywords, values, 1);
    if (ask->connection == NULL || PQstatus(ask->connection) == CONNECTION_BAD) {
        lose(ask, ask->connection == NULL ? "out of memory" : NULL);
        return;
    }
    ask->step = CONNECTING;
    ask->polling = PGRES_POLLING_WRITING;
}

static void send_setup(struct ask *ask)
{
    TEXT_AUTO sql = {0};

    PQsetNoticeReceiver(ask->connection, drop_notice, NULL);
    append_setup(ask, &sql);
    ask->step = SETUP;
    if (PQsetnonblocking(ask->connection, 1) != 0 ||
        !PQsendQuery(ask->connection, text_string(&sql)))
        lose(ask, NULL);
}

/* Its number, or the next one. */
static int find_prepared(const struct ask *ask)
{
    for (int i = 0; i < ask->prepared_count; i++)
        if (strcmp(ask->prepared[i], ask->question.sql) == 0)
            return i;
    return ask->prepared_count;
}

static int send_prepared(struct ask *ask, int number)
{
    const char *const *params = (const char *const *)ask->question.params;
    char name[16];

    snprintf(name, sizeof(name), "p%d", number);
    ask->step = number < ask->prepared_count ? ASKED : PREPARING;
    return ask->step == ASKED
               ? PQsendQueryPrepared(ask->connection, name, ask->question.param_count, params, NULL,
                                     NULL, 0 /* text */)
               : PQsendPrepare(ask->connection, name, ask->question.sql, 0, NULL);
}

/* The question, or what has to come before it. */
static void send_question(struct ask *ask)
{
    const struct question *question = &ask->question;
    const char *const *params = (const char *const *)question->params;
    int number = question->how == ASK_PREPARED ? find_prepared(ask) : PREPARED_MAX;
    int sent;

    ask->step = ASKED;
    if (number < PREPARED_MAX)
        sent = send_prepared(ask, number);
    else if (question->how == ASK_SCRIPT)
        sent = PQsendQuery(ask->connection, question->sql);
    else
        sent = PQsendQueryParams(ask->connection, question->sql, question->param_count, NULL,
                                 params, NULL, NULL, 0 /* text */);
    if (!sent)
        lose(ask, NULL);
}

static bool failed(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    return status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_EMPTY_QUERY;
}

/* Everything of a command has arrived. A failed setup loses the connection; a failed preparation is
 * the question's failure. */
static void command_done(struct ask *ask)
{
    enum step step = ask->step;

    ask->step = IDLE;
    if (step == SETUP && failed(ask->result)) {
        struct error why;

        sql_error(ask->result, &why);
        lose(ask, why.message);
        return;
    }
    if (step == ASKED || failed(ask->result))
        return;
    if (step == PREPARING)
        ask->prepared[ask->prepared_count++] = memory_copy(ask->question.sql);
    else
        ask->connections++;
    PQclear(ask->result);
    ask->result = NULL;
}

/* Takes what has arrived: keeps the last result, or the first failed one. */
static void take_results(struct ask *ask)
{
    if (PQflush(ask->connection) < 0 || !PQconsumeInput(ask->connection)) {
        lose(ask, NULL);
        return;
    }
    while (!PQisBusy(ask->connection)) {
        PGresult *result = PQgetResult(ask->connection);

        if (result == NULL) {
            if (PQstatus(ask->connection) == CONNECTION_BAD)
                lose(ask, NULL);
            else
                command_done(ask);
            return;
        }
        if (ask->result != NULL && failed(ask->result)) {
            PQclear(result);
            continue;
        }
        PQclear(ask->result);
        ask->result = result;
    }
}

/* What PQconnectPoll() waits for. */
static struct pollfd connecting_on(const struct ask *ask)
{
    return (struct pollfd){.fd = PQsocket(ask->connection),
                           .events = ask->polling == PGRES_POLLING_WRITING ? POLLOUT : POLLIN};
}

/* Not before the socket is ready: libpq would wait for it, as long as it takes. */
static void poll_connecting(struct ask *ask)
{
    struct pollfd fd = connecting_on(ask);

    if (fd.fd >= 0 && poll(&fd, 1, 0) == 0)
        return;
    ask->polling = PQconnectPoll(ask->connection);
    if (ask->polling == PGRES_POLLING_FAILED)
        lose(ask, NULL);
    else if (ask->polling == PGRES_POLLING_OK)
        send_setup(ask);
}

/* Is the question over, one way or the other? */
static bool over(const struct ask *ask)
{
    return (ask->step == IDLE && ask->result != NULL) || ask->step == CLOSED;
}

/* As far as it goes without waiting. */
static void advance(struct ask *ask)
{
    if (ask->step == CLOSED && clock_us() >= ask->retry_us)
        start_connecting(ask);
    else if (ask->step == CONNECTING)
        poll_connecting(ask);
    else if (ask->step == SETUP || ask->step == PREPARING || ask->step == ASKED)
        take_results(ask);
    if (ask->step == IDLE && ask->result == NULL)
        send_question(ask);
}

/* Until the socket has something to say, or that long. */
static void wait_for_socket(struct ask *ask, int64_t wait_us)
{
    struct pollfd fd = {.fd = PQsocket(ask->connection), .events = POLLIN};

    if (ask->step == CONNECTING)
        fd = connecting_on(ask);
    else if (PQflush(ask->connection) == 1)
        fd.events |= POLLOUT;
    if (wait_us > 0)
        poll(&fd, 1, (int)((wait_us + 999) / 1000));
}

/* -------------------------------------------------------------------------------------- for others
 */

void ask_send(struct ask *ask, enum ask_how how, const char *sql, struct params params,
              int64_t answer_us)
{
    assert(!ask->asked && params.count <= PARAMS_MAX);
    ask->asked = true;
    ask->question = (struct question){
        .sql = memory_copy(sql),
        .param_count = params.count,
        .how = how,
        .asked_us = clock_us(),
        .end_us = clock_us() + answer_us,
    };
    for (int i = 0; i < params.count; i++)
        ask->question.params[i] = params.values[i] != NULL ? memory_copy(params.values[i]) : NULL;
    if (ask->step == CLOSED && clock_us() < ask->retry_us)
        return; /* over(): the failure of a moment ago is this one's, too */
    advance(ask);
}

static enum ask_state finish(struct ask *ask, struct rows *rows, struct error *error)
{
    enum ask_state state = ASK_FAILED;

    if (ask->step == CLOSED) {
        *error = ask->lost;
    } else if (failed(ask->result)) {
        sql_error(ask->result, error);
    } else {
        state = ASK_ANSWERED;
        if (rows != NULL) {
            rows->result = ask->result;
            ask->result = NULL;
        }
    }
    forget_question(ask);
    return state;
}

/* Who wants to stop has little time left, but enough to clean up. */
static int64_t deadline_us(const struct ask *ask)
{
    int64_t stopping_us = ask->question.asked_us + STOPPING_US;

    return ask->stop != NULL && stop_wanted(ask->stop) && stopping_us < ask->question.end_us
               ? stopping_us
               : ask->question.end_us;
}

enum ask_state ask_wait(struct ask *ask, int64_t wait_us, struct rows *rows, struct error *error)
{
    int64_t until_us = clock_us() + wait_us;

    if (!ask->asked)
        return ASK_IDLE;
    for (;;) {
        int64_t now_us = clock_us();
        int64_t left_us = until_us - now_us;

        if (!over(ask))
            advance(ask);
        if (!over(ask) && now_us >= deadline_us(ask))
            lose(ask, "the server does not answer");
        if (over(ask))
            return finish(ask, rows, error);
        if (left_us <= 0)
            return ASK_PENDING;
        wait_for_socket(ask, left_us < SLICE_US ? left_us : SLICE_US);
    }
}

static bool ask_and_wait(struct ask *ask, struct rows *rows, int64_t answer_us, struct error *error)
{
    return ask_wait(ask, answer_us + SLICE_US, rows, error) == ASK_ANSWERED;
}

bool ask_query(struct ask *ask, struct rows *rows, const char *sql, struct params params,
               int64_t answer_us, struct error *error)
{
    ask_send(ask, ASK_PREPARED, sql, params, answer_us);
    return ask_and_wait(ask, rows, answer_us, error);
}

bool ask_once(struct ask *ask, struct rows *rows, const char *sql, struct params params,
              int64_t answer_us, struct error *error)
{
    ask_send(ask, ASK_ONCE, sql, params, answer_us);
    return ask_and_wait(ask, rows, answer_us, error);
}

bool ask_script(struct ask *ask, const char *sql, int64_t answer_us, struct error *error)
{
    ask_send(ask, ASK_SCRIPT, sql, NO_PARAMS, answer_us);
    return ask_and_wait(ask, NULL, answer_us, error);
}

bool ask_pending(const struct ask *ask)
{
    return ask->asked;
}

int ask_server_version(const struct ask *ask)
{
    return ask->connection != NULL ? PQserverVersion(ask->connection) : 0;
}

int ask_backend_pid(const struct ask *ask)
{
    return ask->connection != NULL ? PQbackendPID(ask->connection) : 0;
}

static const char *or_nothing(const char *text)
{
    return text != NULL ? text : "";
}

const char *ask_user(const struct ask *ask)
{
    return or_nothing(ask->connection != NULL ? PQuser(ask->connection) : NULL);
}

const char *ask_database(const struct ask *ask)
{
    return or_nothing(ask->connection != NULL ? PQdb(ask->connection) : NULL);
}

int ask_connections(const struct ask *ask)
{
    return ask->connections;
}
