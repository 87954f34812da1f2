/*
 * A session: one direct, pinned, cancellable connection.
 *
 * Life: session_open() -> session_run() / session_query() ... -> session_close(). One thread owns a
 * session. The only thing another thread may do is cancel its running statement through the cancel
 * list it was opened with.
 *
 * Direct: a transaction pooler would hand our settings to the application. session_open() refuses
 * one (the process id that libpq was told differs from the backend's own).
 *
 * Pinned: everything that could change what a statement means or how long it may take is set at
 * open (session.c, PINS), and the settings that decide what a value means (time zone, ...) come
 * from the planning session (struct session_meaning), so that a job converts values as its author
 * would see them converted.
 *
 * What it is not: a pool, or a query builder (sql.h).
 */
#ifndef PGHAUL_PG_SESSION_H
#define PGHAUL_PG_SESSION_H

#include <libpq-fe.h>
#include <stdint.h>

#include "engine/base/memory.h"
#include "engine/base/text.h"

struct session;
struct cancel_list;

/*
 * Settings that decide what values mean, by name; read from the planning session and stored in the
 * job.
 */
enum { SESSION_MEANINGS = 9 };
extern const char *const session_meaning_names[SESSION_MEANINGS];

struct session_meaning {
    const char *values[SESSION_MEANINGS]; /* NULL: the session's own default */
};

struct session_options {
    const char *conninfo;                  /* libpq's; empty for the environment's */
    const char *role;                      /* SET ROLE after connecting; NULL for none */
    const char *application_name;          /* shown in pg_stat_activity */
    const struct session_meaning *meaning; /* NULL: keep the session's own */
    struct cancel_list *cancel_list;       /* NULL: never cancelled */
};

/* Connects, checks, pins. On failure *session is NULL. */
bool session_open(struct session **session, const struct session_options *options,
                  struct error *error) MUST_CHECK;
/*
 * As session_open(), but tries again with jittered backoff, up to `limit_ms`, while errors are
 * retryable.
 */
struct stop;
bool session_reopen(struct session **session, const struct session_options *options,
                    int64_t limit_ms, const struct stop *stop, struct error *error) MUST_CHECK;
/* NULL is fine. An open transaction is rolled back by the server. */
void session_close(struct session *session);
#define SESSION_AUTO __attribute__((cleanup(session_cleanup))) struct session
void session_cleanup(struct session **session);

int session_server_version(const struct session *session); /* 150004 for 15.4 */
int session_backend_pid(const struct session *session);
/* The search_path that this role has by default: what names mean to the user. Sessions pin theirs
 * to pg_catalog. */
const char *session_user_search_path(const struct session *session);
/* Is the connection still usable? False after an error of the connection class. */
bool session_alive(const struct session *session);
bool session_in_transaction(const struct session *session);

/* -- statements -- */

/* A result. A zeroed struct is an empty one. Values are text; they live until rows_deinit(). */
struct rows {
    PGresult *result;
};
#define ROWS_AUTO __attribute__((cleanup(rows_deinit))) struct rows

void rows_deinit(struct rows *rows);
int rows_count(const struct rows *rows);
int rows_columns(const struct rows *rows);
/* Text of a value; NULL for the SQL NULL. */
const char *rows_text(const struct rows *rows, int row, int column);
int64_t rows_int64(const struct rows *rows, int row, int column); /* 0 for NULL */
double rows_double(const struct rows *rows, int row, int column);
bool rows_bool(const struct rows *rows, int row, int column); /* false for NULL */
int64_t rows_affected(const struct rows *rows);

/* Parameters as text: PARAMS("a", NUMBER(7), NULL), or NO_PARAMS. */
struct params {
    const char *const *values;
    int count;
};
#define PARAMS(...)                                      \
    ((struct params){(const char *const[]){__VA_ARGS__}, \
                     sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)})
#define NO_PARAMS ((struct params){NULL, 0})
#define NUMBER(value) number_text((char[24]){0}, (int64_t)(value))
const char *number_text(char buffer[24], int64_t value);

/* One or several statements without parameters; results are thrown away. */
bool session_run(struct session *session, const char *sql, struct error *error) MUST_CHECK;
/* As session_run() on a built text; refuses one that overflowed. */
bool session_run_text(struct session *session, const struct text *sql,
                      struct error *error) MUST_CHECK;
/* One statement with parameters. *rows is overwritten (pass a zeroed or deinitialised one). */
bool session_query(struct session *session, struct rows *rows, const char *sql,
                   struct params params, struct error *error) MUST_CHECK;
/*
 * One statement without parameters that this session may need again in a hurry: parsed and planned
 * the first time only. `name` stands for the text, and is this statement's alone.
 */
bool session_query_prepared(struct session *session, struct rows *rows, const char *name,
                            const char *sql, struct error *error) MUST_CHECK;
/*
 * One statement with parameters whose rows nobody reads; *affected (may be NULL) gets the number of
 * rows.
 */
bool session_execute(struct session *session, const char *sql, struct params params,
                     int64_t *affected, struct error *error) MUST_CHECK;

/*
 * BEGIN at READ COMMITTED, COMMIT, ROLLBACK. session_rollback() never fails: a broken session has
 * nothing to roll back.
 */
bool session_begin(struct session *session, struct error *error) MUST_CHECK;
bool session_commit(struct session *session, struct error *error) MUST_CHECK;
void session_rollback(struct session *session);

/* What they send. */
#define SESSION_BEGIN "BEGIN ISOLATION LEVEL READ COMMITTED"
#define SESSION_COMMIT "COMMIT"

/* set_config(name, value, is_local): for values that are computed. */
bool session_set(struct session *session, const char *name, const char *value, bool local,
                 struct error *error) MUST_CHECK;
/* Appends that statement to a script (sql.h). */
void session_print_set(const char *name, const char *value, bool local, struct text *script);

/*
 * From now on every command without parameters, and every session_set(), that the server has run is
 * also appended to `script`; NULL: no longer. For --dry-run, in a transaction that is rolled back;
 * queries and bookkeeping, which have parameters, are left out.
 */
void session_transcribe(struct session *session, struct text *script);

/* Reads the settings of struct session_meaning from a session that was opened without one. */
bool session_read_meaning(struct session *session, struct arena *arena,
                          struct session_meaning *meaning, struct error *error) MUST_CHECK;

/*
 * Called with every notice or warning the server sends to this session (default: dropped).
 * `message` is the primary message; severity is not localized ("WARNING").
 */
void session_on_notice(struct session *session,
                       void (*notice)(void *arg, const char *severity, const char *message),
                       void *arg);

/* -- cancelling -- */

/*
 * The sessions of a process whose running statements one call can cancel. Sessions enter when they
 * open and leave when they close. Any thread may call cancel_list_cancel_all().
 */
struct cancel_list *cancel_list_new(void);
void cancel_list_free(struct cancel_list *list);
void cancel_list_cancel_all(struct cancel_list *list);

/*
 * From now on nobody cancels this session: for the few short statements that say in the database
 * how a run has ended, while the wish to stop is repeated every second (cli/signals.h).
 *
 * Nor does a cancel that was sent before hit what comes after. The list's mutex is waited for, so
 * none is being sent when this returns; PQcancel() returns when the server has closed the request's
 * connection, which it does after kill(2), so the signal is pending in the session's process by
 * then; that process takes it, at the latest, on its return from the read that brings it the next
 * statement, and a cancel that finds it waiting for one is dropped there.
 */
void session_shield(struct session *session);

#endif
