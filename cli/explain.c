#include "cli/explain.h"

#include <stdio.h>
#include <string.h>

/* What libpq or the server says when a connection fails, and what that means. First match wins. */
static const struct {
    const char *said;
    const char *message;
    const char *hint;
    enum error_code code;
} CONNECTIONS[] = {
    {"password authentication failed", "the server does not accept the password",
     "check user and password: PGPASSWORD, ~/.pgpass, or password=.. in -d", ERROR_CONNECTION},
    {"no password supplied", "the server wants a password and none was given",
     "set PGPASSWORD, add a line to ~/.pgpass, or password=.. in -d", ERROR_CONNECTION},
    {"no pg_hba.conf entry", "the server does not let this user in from here",
     "ask the server's administrator for a line in pg_hba.conf, or connect another way (host, "
     "sslmode)",
     ERROR_CONNECTION},
    {"Peer authentication failed", "the server expects the operating system's user of that name",
     "run as that user, or connect with host=localhost and a password", ERROR_CONNECTION},
    {"Ident authentication failed", "the server expects the operating system's user of that name",
     "run as that user, or connect another way", ERROR_CONNECTION},
    {"could not translate host name", "the server's host name is not known",
     "check the host in -d or PGHOST", ERROR_CONNECTION},
    {"Connection refused", "no server answers at that address",
     "check host and port in -d, PGHOST and PGPORT, and that the server runs", ERROR_CONNECTION},
    {"No such file or directory", "no server answers at that socket",
     "check that the server runs; give its host and port in -d, or PGHOST and PGPORT",
     ERROR_CONNECTION},
    {"timeout expired", "the server did not answer in time", "check host, port and firewalls",
     ERROR_CONNECTION},
    {"No route to host", "the server's host cannot be reached", "check the network and the host",
     ERROR_CONNECTION},
    {"too many clients", "the server has no connection left",
     "raise max_connections, end idle sessions, or run with fewer --workers", ERROR_CONNECTION},
    {"remaining connection slots", "the server has no connection left for this role",
     "raise max_connections, end idle sessions, or run with fewer --workers", ERROR_CONNECTION},
    {"too many connections for", "the limit of connections is reached",
     "raise CONNECTION LIMIT of the role or database, or run with fewer --workers",
     ERROR_CONNECTION},
    {"the database system is", "the server is starting, stopping or recovering",
     "try again when it is up", ERROR_CONNECTION},
    {"not accept SSL", "the server speaks no SSL", "use sslmode=prefer or sslmode=disable in -d",
     ERROR_CONNECTION},
    {"certificate", "the server's certificate is not accepted",
     "check sslmode and sslrootcert in -d", ERROR_CONNECTION},
    {"definition of service", "there is no such connection service",
     "check the name and the file: PGSERVICE, ~/.pg_service.conf", ERROR_USAGE},
    {"invalid connection option", "the connection string has an option that libpq does not know",
     "write -d with libpq's keywords, as in \"host=db1 port=5432 dbname=shop user=app\"",
     ERROR_USAGE},
    {"missing \"=\" after", "the connection string cannot be read",
     "write -d with libpq's keywords, as in \"host=db1 port=5432 dbname=shop user=app\"",
     ERROR_USAGE},
    {"invalid port number", "the port is no port number", "check port in -d or PGPORT",
     ERROR_USAGE},
    {"for connection option \"", "an option of the connection string has an impossible value",
     "write -d with libpq's keywords, as in \"host=db1 port=5432 dbname=shop user=app\"",
     ERROR_USAGE},
    {"invalid URI", "the connection URI cannot be read",
     "write -d as in postgresql://app@db1:5432/shop", ERROR_USAGE},
};

/* "... database "x" does not exist": what does not exist is in the middle. */
static bool names_missing(const char *message, const char *what)
{
    const char *at = strstr(message, what);

    return at != NULL && strstr(at, "does not exist") != NULL;
}

static void rewrite(struct error *error, enum error_code code, const char *message,
                    const char *hint)
{
    char said[sizeof(error->message)];
    char sqlstate[sizeof(error->sqlstate)];
    bool retryable = error->retryable;

    memcpy(said, error->message, sizeof(said));
    memcpy(sqlstate, error->sqlstate, sizeof(sqlstate));
    error_set(error, code, "could not connect: %s", message);
    error_detail(error, "%s", said);
    error_hint(error, "%s", hint);
    memcpy(error->sqlstate, sqlstate, sizeof(sqlstate));
    error->retryable = retryable;
}

void explain_connection(struct error *error)
{
    if (error->code != ERROR_CONNECTION || error->hint[0] != '\0')
        return;
    for (size_t i = 0; i < sizeof(CONNECTIONS) / sizeof(CONNECTIONS[0]); i++)
        if (strstr(error->message, CONNECTIONS[i].said) != NULL) {
            rewrite(error, CONNECTIONS[i].code, CONNECTIONS[i].message, CONNECTIONS[i].hint);
            return;
        }
    if (names_missing(error->message, "database \""))
        rewrite(error, ERROR_CONNECTION, "there is no such database on the server",
                "check dbname in -d or PGDATABASE; psql -l lists the databases");
    else if (names_missing(error->message, "role \""))
        rewrite(error, ERROR_CONNECTION, "there is no such role on the server",
                "check user in -d or PGUSER");
    else
        rewrite(error, ERROR_CONNECTION, "the server or the network refused",
                "check that psql connects with the same -d");
}

/* SQLSTATEs, or their classes, that a person can do something about. First match wins. */
static const struct {
    const char *prefix;
    const char *hint;
} STATES[] = {
    {"53100", "the server's disk is full: make room"},
    {"53200", "the server ran out of memory: lower -s index.memory or --workers"},
    {"53300", "the server has no connection left: end idle sessions, or use fewer workers"},
    {"53400", "a limit of the server was reached (temp_file_limit?): raise it"},
    {"42501",
     "a privilege is missing: run as the table's owner, or pghaul doctor TABLE names the GRANT"},
    {"25006",
     "the session is read-only: connect to the primary, and check default_transaction_read_only"},
    {"42601", "check the syntax of --do and --map: the server parses them"},
    {"57014", "somebody cancelled the statement, or a timeout of the server did"},
    {"57P0", "the server stopped or ended our session"},
    {"22", "a value cannot be converted: give its new value with --map, or mend the row"},
    {"23", "rows of the table break a constraint: mend them, or leave the constraint out"},
};

static const char *state_hint(const char *sqlstate)
{
    for (size_t i = 0; sqlstate[0] != '\0' && i < sizeof(STATES) / sizeof(STATES[0]); i++)
        if (strncmp(sqlstate, STATES[i].prefix, strlen(STATES[i].prefix)) == 0)
            return STATES[i].hint;
    return NULL;
}

void explain_way_on(const char *job, const char *state, struct text *out)
{
    if (strcmp(state, "cut_over") == 0)
        text_appendf(out, "the job is intact: pghaul rollback %s goes back, pghaul finish %s stays",
                     job, job);
    else
        text_appendf(out, "the job is intact: pghaul resume %s goes on, pghaul abort %s ends it",
                     job, job);
}

void explain(struct error *error, const char *job, const char *state)
{
    const char *hint = state_hint(error->sqlstate);
    bool of_server = error->code == ERROR_SQL || error->code == ERROR_CONNECTION;

    if (error->hint[0] != '\0' || (!of_server && error->code != ERROR_LOCK))
        return;
    if (job != NULL) {
        TEXT_AUTO said = {0};

        text_appendf(&said, "%s%s", hint != NULL ? hint : "", hint != NULL ? "; " : "");
        explain_way_on(job, state, &said);
        error_hint(error, "%s", text_string(&said));
    } else if (hint != NULL) {
        error_hint(error, "%s", hint);
    } else if (error->code == ERROR_CONNECTION) {
        error_hint(error, "check the server, then try again");
    }
}
