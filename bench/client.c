#include "bench/client.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/pg/sqlstate.h"

enum { RECONNECT_WAIT_MS = 100 };

/* What a table gives an application by itself when several clients write to it. */
static const char *const EXPECTED[] = {SQLSTATE_UNIQUE_VIOLATION, "40001",
                                       SQLSTATE_DEADLOCK_DETECTED};

/* The watcher tells clients by this name; it must not look like one of pghaul's. */
static const char CLIENT_NAME[] = "traffic";

static const Oid TYPE_BIGINT = 20;
static const Oid TYPE_TEXT = 25;
static const Oid TYPE_BIGINT_ARRAY = 1016;

/* -------------------------------------------------------------------------------------- clients */

static int64_t random_next(uint64_t *state)
{
    uint64_t mixed = (*state += 0x9e3779b97f4a7c15); /* splitmix64 */

    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return (int64_t)((mixed ^ (mixed >> 31)) >> 1);
}

int64_t client_random(struct client *client, int64_t limit)
{
    return limit <= 1 ? 0 : random_next(&client->random) % limit;
}

double client_chance(struct client *client)
{
    return (double)random_next(&client->random) / 9223372036854775808.0;
}

int client_phase_at(const struct client *client, int64_t at_us)
{
    int phase = atomic_load(&client->traffic->phase_count) - 1;

    while (phase > 0 && client->traffic->phase_starts_us[phase] > at_us)
        phase--;
    return phase;
}

void client_count_wait(struct client *client, int phase, int statement, int64_t wait_us)
{
    histogram_add(&client->counters.phases[phase].waits, wait_us);
    histogram_add(&client->counters.statements[statement].waits, wait_us);
}

bool client_connect_plain(const struct traffic_options *options, PGconn **connection,
                          struct error *error)
{
    const char *const keywords[] = {"dbname", "application_name", NULL};
    const char *const values[] = {options->conninfo, CLIENT_NAME, NULL};
    PGresult *result = NULL;

    *connection = PQconnectdbParams(keywords, values, 1);
    if (PQstatus(*connection) == CONNECTION_OK)
        result = PQexec(*connection, "SET statement_timeout = '60s'");
    if (PQresultStatus(result) == PGRES_COMMAND_OK) {
        PQclear(result);
        return true;
    }
    error_set(error, ERROR_CONNECTION, "a client of the load could not connect: %s",
              PQerrorMessage(*connection));
    PQclear(result);
    PQfinish(*connection);
    *connection = NULL;
    return false;
}

/* Notices would fill the terminal: DROP .. CASCADE of a test, and the like. */
static void drop_notice(void *arg, const PGresult *result)
{
    (void)arg;
    (void)result;
}

bool client_connect(struct client *client, struct error *error)
{
    if (!client_connect_plain(&client->traffic->options, &client->connection, error))
        return false;
    PQsetNoticeReceiver(client->connection, drop_notice, NULL);
    client->server_version = PQserverVersion(client->connection);
    client->lost = false;
    memset(client->prepared, 0, sizeof(client->prepared));
    atomic_store(&client->traffic->pids[client->number], PQbackendPID(client->connection));
    return true;
}

static bool client_stopping(const struct client *client, struct crew *crew)
{
    return stop_wanted(&client->traffic->stop) || crew_failed(crew);
}

bool client_alive(struct client *client, struct crew *crew)
{
    while (client->lost && client->traffic->options.reconnect && !client_stopping(client, crew)) {
        struct error ignored = {0}; /* a server that restarts refuses for a while */

        PQfinish(client->connection);
        client->connection = NULL;
        if (!client_connect(client, &ignored))
            clock_sleep_ms(RECONNECT_WAIT_MS);
    }
    return !client->lost && !client_stopping(client, crew);
}

bool client_end(const struct client *client, struct error *error)
{
    if (!client->lost || client->traffic->options.reconnect)
        return true;
    return error_set(error, ERROR_CONNECTION, "a client of the load lost its connection: %s",
                     PQerrorMessage(client->connection));
}

/* --------------------------------------------------------------------------------------- errors */

static bool is_expected(const char *sqlstate)
{
    for (size_t i = 0; i < sizeof(EXPECTED) / sizeof(EXPECTED[0]); i++)
        if (strcmp(sqlstate, EXPECTED[i]) == 0)
            return true;
    return false;
}

static bool is_client_pid(const struct traffic *traffic, int pid)
{
    for (int i = 0; i < traffic->options.clients; i++)
        if (atomic_load(&traffic->pids[i]) == pid)
            return true;
    return false;
}

/*
 * Does the detail of a deadlock name a process that is no client? "Process 12 waits for ShareLock
 * on transaction 7; blocked by process 34." Every number after the word "process" is a process id,
 * in any language that keeps the word.
 */
static bool names_stranger(const struct traffic *traffic, const char *detail)
{
    static const char WORD[] = "rocess ";

    for (const char *at = strstr(detail, WORD); at != NULL; at = strstr(at, WORD)) {
        at += strlen(WORD);
        if (isdigit((unsigned char)*at) && !is_client_pid(traffic, atoi(at)))
            return true;
    }
    return false;
}

void client_add_error(struct traffic_error *list, int *length, const struct traffic_error *error)
{
    int at = 0;

    while (at < *length && strcmp(list[at].sqlstate, error->sqlstate) != 0)
        at++;
    if (at == TRAFFIC_ERRORS_MAX)
        at--;
    if (at == *length) {
        list[at] = *error;
        (*length)++;
    } else {
        list[at].count += error->count;
    }
}

/* Primary message and detail on one line. Without a result the connection itself has failed. */
static void copy_message(struct traffic_error *error, const PGconn *connection,
                         const PGresult *result)
{
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);

    snprintf(error->message, sizeof(error->message), "%s%s%s",
             primary != NULL ? primary : PQerrorMessage(connection), detail != NULL ? ": " : "",
             detail != NULL ? detail : "");
    for (char *at = error->message; *at != '\0'; at++)
        if (*at == '\n')
            *at = ' ';
}

static void client_count_error(struct client *client, int phase, int statement,
                               const PGresult *result)
{
    struct client_counters *counters = &client->counters;
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    struct traffic_error error = {.count = 1};

    client->lost = PQstatus(client->connection) == CONNECTION_BAD;
    if (sqlstate == NULL)
        sqlstate = "08006";
    snprintf(error.sqlstate, sizeof(error.sqlstate), "%.5s", sqlstate);
    error.expected = is_expected(error.sqlstate);
    snprintf(error.phase, sizeof(error.phase), "%s", client->traffic->phase_labels[phase]);
    snprintf(error.statement, sizeof(error.statement), "%.31s",
             client->statements[statement].label);
    copy_message(&error, client->connection, result);
    client_add_error(counters->errors, &counters->error_count, &error);
    counters->phases[phase].errors++;
    counters->statements[statement].errors++;
    if (strcmp(sqlstate, SQLSTATE_DEADLOCK_DETECTED) == 0 && detail != NULL &&
        names_stranger(client->traffic, detail))
        counters->deadlocks_with_strangers++;
}

/* ----------------------------------------------------------------------------------- statements */

static bool result_ok(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

static int parameter_types(const char *letters, Oid types[16])
{
    int count = 0;

    for (; letters[count] != '\0' && count < 16; count++)
        types[count] = letters[count] == 'b'   ? TYPE_BIGINT
                       : letters[count] == 't' ? TYPE_TEXT
                                               : TYPE_BIGINT_ARRAY;
    return count;
}

/*
 * Types are stated, never inferred: so a statement may leave a parameter out, and a retyped column
 * changes nothing.
 */
static PGresult *execute(struct client *client, int number, struct params params)
{
    const struct client_statement *statement = &client->statements[number];
    Oid types[16];
    int count = parameter_types(statement->types, types);
    char name[16];

    if (!client->prepares)
        return PQexecParams(client->connection, statement->sql, count, types, params.values, NULL,
                            NULL, 0);
    snprintf(name, sizeof(name), "s%d", number);
    if (!client->prepared[number]) {
        PGresult *result = PQprepare(client->connection, name, statement->sql, count, types);

        if (!result_ok(result))
            return result;
        PQclear(result);
        client->prepared[number] = true;
    }
    return PQexecPrepared(client->connection, name, count, params.values, NULL, NULL, 0);
}

/*
 * The end of every statement: counts its wait and its error; clears the result unless the caller
 * wants it.
 */
static bool finish(struct client *client, int statement, int64_t start_us, bool count_waits,
                   PGresult *result, PGresult **wanted)
{
    int phase = client_phase_at(client, start_us);
    bool ok = result_ok(result);

    if (count_waits)
        client_count_wait(client, phase, statement, clock_us() - start_us);
    if (!ok)
        client_count_error(client, phase, statement, result);
    if (ok && wanted != NULL)
        *wanted = result;
    else
        PQclear(result);
    return ok;
}

bool client_run(struct client *client, int statement, struct params params, bool count_waits,
                PGresult **result)
{
    int64_t start_us = clock_us();

    return finish(client, statement, start_us, count_waits, execute(client, statement, params),
                  result);
}

bool client_control(struct client *client, const char *sql)
{
    int64_t start_us = clock_us();

    return finish(client, 0, start_us, true, PQexec(client->connection, sql), NULL);
}

bool client_copy(struct client *client, int statement, const struct text *data)
{
    int64_t start_us = clock_us();
    PGresult *result = PQexec(client->connection, client->statements[statement].sql);

    if (PQresultStatus(result) == PGRES_COPY_IN) {
        PQclear(result);
        result = NULL;
        if (PQputCopyData(client->connection, text_string(data), (int)data->used) == 1 &&
            PQputCopyEnd(client->connection, NULL) == 1)
            result = PQgetResult(client->connection);
        for (PGresult *rest; (rest = PQgetResult(client->connection)) != NULL;)
            PQclear(rest);
    }
    return finish(client, statement, start_us, true, result, NULL);
}

void client_rollback(struct client *client)
{
    if (PQtransactionStatus(client->connection) != PQTRANS_IDLE && !client->lost)
        (void)client_control(client, "ROLLBACK");
}
