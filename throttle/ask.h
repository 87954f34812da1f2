/*
 * A connection that asks questions and never keeps its owner waiting for longer than it was told,
 * whatever the other side does: a server that vanished, a network that swallows packets, a backend
 * that is stopped. What has not come in time is a failure, and the connection is given up. (A
 * session, engine/pg/session.h, is for work that must not be given up.)
 *
 *     .           ask_send()              .. answer ..
 *     CLOSED ---> CONNECTING -> SETUP -> PREPARING -> ASKED -----> IDLE -- ask_send() --> ASKED ..
 *       ^             |           |          |          |           |
 *       `-------------+-----------+----------+----------+-----------'
 *           lost, or the deadline of ask_send() has passed; the next ask_send() connects again
 *
 * One question at a time. One that fails as SQL leaves the connection as it is.
 *
 * Connections are no matter of rights or trust: what a session refuses (old servers, poolers) the
 * job's own sessions have refused before.
 *
 * Not bounded: resolving a host's name, which is libpq's and the system's.
 */
#ifndef PGHAUL_THROTTLE_ASK_H
#define PGHAUL_THROTTLE_ASK_H

#include "engine/base/stop.h"
#include "engine/pg/session.h"

struct ask_options {
    const char *conninfo;
    const char *role; /* SET ROLE; NULL: none */
    const char *application_name;
    const struct stop *stop; /* ask_wait() ends early when stopping is wanted; may be NULL */
};

struct ask;

enum ask_state {
    ASK_IDLE,    /* nothing is asked */
    ASK_PENDING, /* no answer yet */
    ASK_ANSWERED,
    ASK_FAILED,
};

enum ask_how {
    ASK_SCRIPT,   /* one or several statements without parameters */
    ASK_ONCE,     /* one statement */
    ASK_PREPARED, /* one, that is asked again: it is planned the first time only */
};

/* Copies the options; connects to nothing yet. */
struct ask *ask_new(const struct ask_options *options);
/* NULL is fine. Never waits. */
void ask_free(struct ask *ask);

/*
 * Asks, from ASK_IDLE; there must be an answer within `answer_us`, connecting included. Never
 * waits; what goes wrong is told by ask_wait().
 */
void ask_send(struct ask *ask, enum ask_how how, const char *sql, struct params params,
              int64_t answer_us);

/*
 * Waits for the answer, for at most `wait_us` (0: only looks). ASK_ANSWERED and ASK_FAILED are said
 * once; rows (may be NULL) are the caller's.
 */
enum ask_state ask_wait(struct ask *ask, int64_t wait_us, struct rows *rows, struct error *error);

/* Asks and waits; false when it failed. `rows` may be NULL. */
bool ask_query(struct ask *ask, struct rows *rows, const char *sql, struct params params,
               int64_t answer_us, struct error *error) MUST_CHECK; /* ASK_PREPARED */
bool ask_once(struct ask *ask, struct rows *rows, const char *sql, struct params params,
              int64_t answer_us, struct error *error) MUST_CHECK;
bool ask_script(struct ask *ask, const char *sql, int64_t answer_us,
                struct error *error) MUST_CHECK;

bool ask_pending(const struct ask *ask);
/* These are 0 and "" while there is no connection. */
int ask_server_version(const struct ask *ask);
int ask_backend_pid(const struct ask *ask);
const char *ask_user(const struct ask *ask);
const char *ask_database(const struct ask *ask);
/* How often it has connected: what a session was told is gone when this changes. */
int ask_connections(const struct ask *ask);

#endif
