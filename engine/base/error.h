/*
 * One error type for the whole program.
 *
 * A function that can fail returns bool, is marked MUST_CHECK and takes a `struct error *` last. It
 * sets the error once, at the origin; callers add context with error_context() and pass it up; the
 * top logs it once. The struct is plain memory of fixed size: nothing to free, copyable, one per
 * thread.
 *
 *     if (!session_run(session, "VACUUM", error))
 *         return error_context(error, "could not vacuum %s", name);
 *
 * What it is not: a log, or a list of errors. Findings about a table are data (copy/inspect.h).
 */
#ifndef PGHAUL_BASE_ERROR_H
#define PGHAUL_BASE_ERROR_H

#include <stdbool.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(template, first) __attribute__((format(printf, template, first)))

/* Each code has one exit status and says whether trying again can help: the table is in error.c. */
enum error_code {
    ERROR_NONE,
    ERROR_USAGE,        /* the command line or a setting */
    ERROR_REFUSED,      /* cannot or must not be done; nothing was changed */
    ERROR_SQL,          /* the server refused a statement; see sqlstate */
    ERROR_CONNECTION,   /* no server, or it went away */
    ERROR_LOCK,         /* a lock or an old snapshot could not be outwaited; the job is intact */
    ERROR_DIFFERS,      /* verification or the catalogue gate found a difference */
    ERROR_INTERRUPTED,  /* a signal or another process asked us to stop; resumable */
    ERROR_WAITING,      /* waiting for a person, a window or a closed signal */
    ERROR_UNDONE,       /* failed, and what was done is undone */
    ERROR_NEEDS_PERSON, /* undo failed, or going on would lose data */
    ERROR_AGAIN,        /* the copy is stale as a whole; the runner goes back to an earlier phase */
    ERROR_SYSTEM,       /* the operating system: files, processes, threads */
    ERROR_INTERNAL,     /* a defect of ours */
};

struct error {
    enum error_code code;
    char sqlstate[6];   /* empty unless the server said one */
    bool retryable;     /* the same work may succeed when tried again */
    char message[1024]; /* primary message: lower case, no full stop */
    char detail[2048];
    char hint[1024];
};

/*
 * Sets code and primary message, clears the rest. Returns false, so that `return error_set(...)`
 * reads well.
 */
bool error_set(struct error *error, enum error_code code, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Adds to an error that is set. Both return false for the same reason. */
bool error_detail(struct error *error, const char *format, ...) PRINTF_LIKE(2, 3);
bool error_hint(struct error *error, const char *format, ...) PRINTF_LIKE(2, 3);

/*
 * What the server said about the user's SQL or data: ERROR_SQL becomes ERROR_REFUSED, and gets
 * `hint` (may be NULL) where the server gave none. Any other error passes unchanged: a session that
 * was lost, or a statement that was cancelled, says nothing about what was asked. Returns false.
 */
bool error_refuse(struct error *error, const char *hint);

/* Puts "<context>: " before the primary message. Returns false. */
bool error_context(struct error *error, const char *format, ...) PRINTF_LIKE(2, 3);

void error_clear(struct error *error);

/* The documented exit status (docs/exit-status.md) of a code; 0 for ERROR_NONE. */
int error_exit_status(enum error_code code);

#endif
