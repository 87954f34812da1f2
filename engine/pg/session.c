#include "engine/pg/session.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/stop.h"
#include "engine/pg/retry.h"
#include "engine/pg/sql.h"
#include "engine/pg/sqlstate.h"

const char *const session_meaning_names[SESSION_MEANINGS] = {
    "TimeZone",     "DateStyle", "IntervalStyle",
    "bytea_output", "xmloption", "lc_monetary",
    "lc_numeric",   "lc_time",   "default_text_search_config",
};

/*
 * What every session pins. Values that may change a result come first, then limits, then planning.
 */
static const struct {
    const char *name;
    const char *value;
    int since; /* server version that knows it; 0: all that we support */
} PINS[] = {
    {"search_path", "pg_catalog, pg_temp", 0},
    {"row_security", "off", 0}, /* a forced policy must fail loudly, not hide rows */
    {"standard_conforming_strings", "on", 0},
    {"array_nulls", "on", 0},
    {"extra_float_digits", "1", 0},
    {"xmlbinary", "base64", 0},
    {"default_transaction_isolation", "read committed", 0},
    {"default_transaction_read_only", "off", 0},
    {"default_transaction_deferrable", "off", 0},
    {"default_tablespace", "", 0},
    {"default_table_access_method", "heap", 0},
    {"statement_timeout", "0", 0},
    {"lock_timeout", "100ms", 0},
    {"idle_in_transaction_session_timeout", "0", 0},
    {"idle_session_timeout", "0", 0},
    {"transaction_timeout", "0", 170000},
    {"jit", "off", 0},
    {"max_parallel_workers_per_gather", "0", 0},
    {"synchronize_seqscans", "off", 0},
};

struct session {
    PGconn *connection;
    PGcancel *cancel;
    char *user_search_path;
    struct cancel_list *cancel_list;
    struct session *next; /* in cancel_list, under its mutex */
    bool shielded;        /* the same: not to be cancelled any more */
    void (*notice)(void *arg, const char *severity, const char *message);
    void *notice_arg;
    struct text *script;  /* session_transcribe(); NULL: none */
    struct text prepared; /* names of session_query_prepared(), a line each */
};

struct cancel_list {
    pthread_mutex_t mutex;
    struct session *first;
};

/* ----------------------------------------------------------------------------------- cancelling */

struct cancel_list *cancel_list_new(void)
{
    struct cancel_list *list = memory_zero(1, sizeof(*list));

    pthread_mutex_init(&list->mutex, NULL);
    return list;
}

void cancel_list_free(struct cancel_list *list)
{
    if (list == NULL)
        return;
    assert(list->first == NULL);
    pthread_mutex_destroy(&list->mutex);
    free(list);
}

static void cancel_list_enter(struct cancel_list *list, struct session *session)
{
    if (list == NULL)
        return;
    pthread_mutex_lock(&list->mutex);
    session->next = list->first;
    list->first = session;
    session->cancel_list = list;
    pthread_mutex_unlock(&list->mutex);
}

static void cancel_list_leave(struct session *session)
{
    struct cancel_list *list = session->cancel_list;

    if (list == NULL)
        return;
    pthread_mutex_lock(&list->mutex);
    for (struct session **at = &list->first; *at != NULL; at = &(*at)->next)
        if (*at == session) {
            *at = session->next;
            break;
        }
    pthread_mutex_unlock(&list->mutex);
}

/*
 * Holds the mutex over PQcancel(), the one libpq call that is made under a lock: it works on a
 * connection of its own, and the lock is what keeps a session from being freed meanwhile.
 */
void cancel_list_cancel_all(struct cancel_list *list)
{
    char ignored[256];

    pthread_mutex_lock(&list->mutex);
    for (struct session *at = list->first; at != NULL; at = at->next)
        if (!at->shielded)
            PQcancel(at->cancel, ignored, sizeof(ignored));
    pthread_mutex_unlock(&list->mutex);
}

void session_shield(struct session *session)
{
    struct cancel_list *list = session->cancel_list;

    if (list == NULL)
        return;
    pthread_mutex_lock(&list->mutex);
    session->shielded = true;
    pthread_mutex_unlock(&list->mutex);
}

/* --------------------------------------------------------------------------------------- errors */

/* libpq ends messages with a line feed; ours have none. */
static void copy_line(char *to, size_t size, const char *from)
{
    size_t length;

    snprintf(to, size, "%s", from == NULL ? "" : from);
    length = strlen(to);
    while (length > 0 && to[length - 1] == '\n')
        to[--length] = '\0';
}

static bool connection_error(const struct session *session, struct error *error)
{
    error_set(error, ERROR_CONNECTION, "%s", "");
    copy_line(error->message, sizeof(error->message), PQerrorMessage(session->connection));
    snprintf(error->sqlstate, sizeof(error->sqlstate), "08006");
    error->retryable = true;
    return false;
}

/*
 * libpq gives no SQLSTATE for a connection that was refused, only the server's text. These never
 * pass by themselves; whatever else it may be (no server, starting up, too many clients) may.
 */
static bool refused_for_good(const PGconn *connection)
{
    static const char *const FOR_GOOD[] = {"does not exist", "pg_hba.conf", "is not permitted",
                                           "authentication failed"};
    const char *message = PQerrorMessage(connection);

    if (PQconnectionNeedsPassword(connection) || PQconnectionUsedPassword(connection))
        return true;
    for (size_t i = 0; i < sizeof(FOR_GOOD) / sizeof(FOR_GOOD[0]); i++)
        if (strstr(message, FOR_GOOD[i]) != NULL && strstr(message, "socket") == NULL)
            return true;
    return false;
}

static bool result_error(const struct session *session, const PGresult *result, struct error *error)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *context = PQresultErrorField(result, PG_DIAG_CONTEXT);

    if (sqlstate == NULL || PQstatus(session->connection) == CONNECTION_BAD)
        return connection_error(session, error);
    error_set(error, ERROR_SQL, "%s", PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
    snprintf(error->sqlstate, sizeof(error->sqlstate), "%s", sqlstate);
    error->retryable = sqlstate_retryable(sqlstate);
    copy_line(error->detail, sizeof(error->detail),
              PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL));
    if (error->detail[0] == '\0' && context != NULL)
        copy_line(error->detail, sizeof(error->detail), context);
    copy_line(error->hint, sizeof(error->hint), PQresultErrorField(result, PG_DIAG_MESSAGE_HINT));
    if (strcmp(sqlstate, SQLSTATE_LOCK_NOT_AVAILABLE) == 0)
        error->code = ERROR_LOCK;
    return false;
}

/* ------------------------------------------------------------------------------- open and close */

static void drop_notice(void *arg, const PGresult *result)
{
    struct session *session = arg;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (session->notice != NULL && severity != NULL && message != NULL)
        session->notice(session->notice_arg, severity, message);
}

void session_on_notice(struct session *session,
                       void (*notice)(void *arg, const char *severity, const char *message),
                       void *arg)
{
    session->notice = notice;
    session->notice_arg = arg;
}

static bool check_direct_and_look(struct session *session, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(
            session, &rows,
            "SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('search_path')",
            NO_PARAMS, error))
        return false;
    session->user_search_path = memory_copy(rows_text(&rows, 0, 1));
    if (rows_int64(&rows, 0, 0) == PQbackendPID(session->connection))
        return true;
    error_set(error, ERROR_REFUSED, "there is a connection pooler between pghaul and the server");
    error_detail(error, "the pooler announced process %d, the statement ran in process %s",
                 PQbackendPID(session->connection), rows_text(&rows, 0, 0));
    return error_hint(error, "give the server's own host and port");
}

static bool pin(struct session *session, const struct session_options *options, struct error *error)
{
    TEXT_AUTO sql = {0};

    if (session_server_version(session) < 140000)
        return error_set(error, ERROR_REFUSED,
                         "the server is version %d.%d; pghaul needs PostgreSQL 14 or newer",
                         session_server_version(session) / 10000,
                         session_server_version(session) % 10000);
    if (options->role != NULL)
        sql_expand(&sql, "SET ROLE {role};", SQL_NAMES({"role", sql_ident(options->role)}));
    for (size_t i = 0; i < sizeof(PINS) / sizeof(PINS[0]); i++)
        if (session_server_version(session) >= PINS[i].since)
            sql_expand(&sql, "SELECT pg_catalog.set_config({name}, {value}, false);",
                       SQL_NAMES({"name", sql_literal(PINS[i].name)},
                                 {"value", sql_literal(PINS[i].value)}));
    /* SQL_ASCII knows no conversion; everything else converts to UTF-8 and back without loss. */
    text_append(
        &sql,
        "SELECT pg_catalog.set_config('client_encoding', CASE pg_catalog.getdatabaseencoding() "
        "WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END, false);");
    /* A server that works for a client that was killed notices it, and stops: on some systems only.
     */
    text_append(&sql,
                "SELECT pg_catalog.set_config('client_connection_check_interval', '1s', false) "
                "WHERE pg_catalog.version() LIKE '%linux%';");
    /*
     * What a worker wrote is handed to the disk soon, as the background writer does (its default).
     * Linux would keep it for 30 s and write hundreds of megabytes at once; commits wait behind
     * that for 100 ms and more.
     */
    text_append(&sql, "SELECT pg_catalog.set_config('backend_flush_after', '512kB', false) "
                      "WHERE pg_catalog.current_setting('backend_flush_after') = '0';");
    /* Needs a privilege to change, none to keep. */
    text_append(&sql, "SELECT pg_catalog.set_config('session_replication_role', 'origin', false) "
                      "WHERE pg_catalog.current_setting('session_replication_role') <> 'origin';");
    for (int i = 0; options->meaning != NULL && i < SESSION_MEANINGS; i++)
        if (options->meaning->values[i] != NULL)
            sql_expand(&sql, "SELECT pg_catalog.set_config({name}, {value}, false);",
                       SQL_NAMES({"name", sql_literal(session_meaning_names[i])},
                                 {"value", sql_literal(options->meaning->values[i])}));
    return session_run_text(session, &sql, error);
}

bool session_open(struct session **opened, const struct session_options *options,
                  struct error *error)
{
    /*
     * dbname first, so that a conninfo string in it can set everything; later keywords win over it.
     */
    const char *const keywords[] = {"dbname", "application_name", "options", NULL};
    const char *const values[] = {options->conninfo, options->application_name, NULL, NULL};
    struct session *session = memory_zero(1, sizeof(*session));

    *opened = NULL;
    session->connection = PQconnectdbParams(keywords, values, 1);
    if (session->connection == NULL || PQstatus(session->connection) != CONNECTION_OK) {
        connection_error(session, error);
        error->retryable = !refused_for_good(session->connection);
        if (strstr(error->message, "too many clients") != NULL ||
            strstr(error->message, "remaining connection") != NULL)
            snprintf(error->sqlstate, sizeof(error->sqlstate), "53300");
        goto fail;
    }
    PQsetNoticeReceiver(session->connection, drop_notice, session);
    session->cancel = PQgetCancel(session->connection);
    if (!check_direct_and_look(session, error) || !pin(session, options, error))
        goto fail;
    cancel_list_enter(options->cancel_list, session);
    *opened = session;
    return true;

fail:
    session_close(session);
    return false;
}

bool session_reopen(struct session **session, const struct session_options *options,
                    int64_t limit_ms, const struct stop *stop, struct error *error)
{
    struct retry retry;

    retry_init(&retry, limit_ms, clock_ms());
    for (;;) {
        int64_t wait_ms;

        if (session_open(session, options, error))
            return true;
        if (!error->retryable || (wait_ms = retry_next_ms(&retry, clock_ms())) < 0)
            return false;
        if (!stop_sleep_ms(stop, wait_ms, error))
            return false;
    }
}

void session_close(struct session *session)
{
    if (session == NULL)
        return;
    cancel_list_leave(session);
    PQfreeCancel(session->cancel);
    PQfinish(session->connection);
    free(session->user_search_path);
    text_deinit(&session->prepared);
    free(session);
}

void session_cleanup(struct session **session)
{
    session_close(*session);
    *session = NULL;
}

int session_server_version(const struct session *session)
{
    return PQserverVersion(session->connection);
}

int session_backend_pid(const struct session *session)
{
    return PQbackendPID(session->connection);
}

const char *session_user_search_path(const struct session *session)
{
    return session->user_search_path;
}

bool session_alive(const struct session *session)
{
    return session != NULL && PQstatus(session->connection) == CONNECTION_OK;
}

bool session_in_transaction(const struct session *session)
{
    return session_alive(session) && PQtransactionStatus(session->connection) != PQTRANS_IDLE;
}

/* ----------------------------------------------------------------------------------- statements */

void rows_deinit(struct rows *rows)
{
    PQclear(rows->result);
    rows->result = NULL;
}

int rows_count(const struct rows *rows)
{
    return PQntuples(rows->result);
}

int rows_columns(const struct rows *rows)
{
    return PQnfields(rows->result);
}

const char *rows_text(const struct rows *rows, int row, int column)
{
    assert(row < rows_count(rows) && column < rows_columns(rows));
    return PQgetisnull(rows->result, row, column) ? NULL : PQgetvalue(rows->result, row, column);
}

int64_t rows_int64(const struct rows *rows, int row, int column)
{
    const char *text = rows_text(rows, row, column);

    return text == NULL ? 0 : strtoll(text, NULL, 10);
}

double rows_double(const struct rows *rows, int row, int column)
{
    const char *text = rows_text(rows, row, column);

    return text == NULL ? 0 : strtod(text, NULL);
}

bool rows_bool(const struct rows *rows, int row, int column)
{
    const char *text = rows_text(rows, row, column);

    return text != NULL && text[0] == 't';
}

int64_t rows_affected(const struct rows *rows)
{
    return strtoll(PQcmdTuples(rows->result), NULL, 10);
}

const char *number_text(char buffer[24], int64_t value)
{
    snprintf(buffer, 24, "%" PRId64, value);
    return buffer;
}

static bool result_ok(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY;
}

bool session_run(struct session *session, const char *sql, struct error *error)
{
    PGresult *result = PQexec(session->connection, sql);
    bool ok = result_ok(result);

    if (!ok)
        result_error(session, result, error);
    else if (session->script != NULL)
        sql_add(session->script, sql);
    PQclear(result);
    return ok;
}

bool session_run_text(struct session *session, const struct text *sql, struct error *error)
{
    if (sql->overflow)
        return error_set(error, ERROR_INTERNAL, "a statement is longer than %d bytes",
                         TEXT_BYTES_MAX);
    return session_run(session, text_string(sql), error);
}

bool session_query(struct session *session, struct rows *rows, const char *sql,
                   struct params params, struct error *error)
{
    rows->result = PQexecParams(session->connection, sql, params.count, NULL, params.values, NULL,
                                NULL, 0 /* text */);
    if (result_ok(rows->result))
        return true;
    result_error(session, rows->result, error);
    rows_deinit(rows);
    return false;
}

static bool is_prepared(const struct session *session, const char *name)
{
    TEXT_AUTO line = {0};

    text_appendf(&line, "%s\n", name);
    return strstr(text_string(&session->prepared), text_string(&line)) != NULL;
}

static bool prepare(struct session *session, const char *name, const char *sql, struct error *error)
{
    PGresult *result = PQprepare(session->connection, name, sql, 0, NULL);
    bool ok = result_ok(result);

    if (ok)
        text_appendf(&session->prepared, "%s\n", name);
    else
        result_error(session, result, error);
    PQclear(result);
    return ok;
}

bool session_query_prepared(struct session *session, struct rows *rows, const char *name,
                            const char *sql, struct error *error)
{
    if (!is_prepared(session, name) && !prepare(session, name, sql, error))
        return false;
    rows->result = PQexecPrepared(session->connection, name, 0, NULL, NULL, NULL, 0 /* text */);
    if (result_ok(rows->result))
        return true;
    result_error(session, rows->result, error);
    rows_deinit(rows);
    return false;
}

bool session_execute(struct session *session, const char *sql, struct params params,
                     int64_t *affected, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(session, &rows, sql, params, error))
        return false;
    if (affected != NULL)
        *affected = rows_affected(&rows);
    if (session->script != NULL && params.count == 0)
        sql_add(session->script, sql);
    return true;
}

bool session_begin(struct session *session, struct error *error)
{
    return session_run(session, SESSION_BEGIN, error);
}

bool session_commit(struct session *session, struct error *error)
{
    PGresult *result = PQexec(session->connection, SESSION_COMMIT);
    bool ok = result_ok(result);

    if (!ok)
        result_error(session, result, error);
    else if (strcmp(PQcmdStatus(result), "COMMIT") != 0)
        /* COMMIT of a failed transaction answers ROLLBACK. */
        ok = error_set(error, ERROR_INTERNAL, "a failed transaction was committed");
    PQclear(result);
    return ok;
}

enum { ROLLBACKS_MAX = 10 };

/*
 * A cancel that comes late, or the statement_timeout of the transaction, may hit the ROLLBACK: then
 * the transaction has failed, but is still there. Its settings are gone with that, so the next one
 * is hit by another cancel only.
 */
void session_rollback(struct session *session)
{
    for (int i = 0; i < ROLLBACKS_MAX && session_in_transaction(session); i++)
        PQclear(PQexec(session->connection, "ROLLBACK"));
}

bool session_set(struct session *session, const char *name, const char *value, bool local,
                 struct error *error)
{
    if (!session_execute(session, "SELECT pg_catalog.set_config($1, $2, $3::boolean)",
                         PARAMS(name, value, local ? "true" : "false"), NULL, error))
        return false;
    if (session->script != NULL)
        session_print_set(name, value, local, session->script);
    return true;
}

void session_print_set(const char *name, const char *value, bool local, struct text *script)
{
    sql_expand(script, "SELECT pg_catalog.set_config({name}, {value}, {local});\n",
               SQL_NAMES({"name", sql_literal(name)}, {"value", sql_literal(value)},
                         {"local", sql_fragment(local ? "true" : "false")}));
}

void session_transcribe(struct session *session, struct text *script)
{
    session->script = script;
}

bool session_read_meaning(struct session *session, struct arena *arena,
                          struct session_meaning *meaning, struct error *error)
{
    for (int i = 0; i < SESSION_MEANINGS; i++) {
        ROWS_AUTO rows = {0};

        if (!session_query(session, &rows, "SELECT pg_catalog.current_setting($1)",
                           PARAMS(session_meaning_names[i]), error))
            return false;
        meaning->values[i] = arena_copy(arena, rows_text(&rows, 0, 0));
    }
    return true;
}
