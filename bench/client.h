/*
 * A client of a load generator: one thread, one plain connection, its own random numbers and its
 * own counters.
 *
 * Private to client.c and traffic*.c. traffic.c owns threads, phases and the report;
 * traffic_hostile.c and traffic_paced.c only say what a client does. One thread uses a client;
 * whoever merges waits until the thread is joined.
 */
#ifndef PGHAUL_BENCH_CLIENT_H
#define PGHAUL_BENCH_CLIENT_H

#include <libpq-fe.h>
#include <stdatomic.h>

#include "bench/traffic.h"
#include "engine/base/crew.h"
#include "engine/base/stop.h"
#include "engine/pg/session.h"

/* A statement of a generator's table of statements. */
struct client_statement {
    const char *label;
    const char *types; /* of parameters: b bigint, t text, k bigint[] (keys) */
    const char *sql;
};

struct client_counters {
    int64_t rolled_back;
    int64_t late_ms_max;
    struct traffic_series phases[TRAFFIC_PHASES_MAX];
    struct traffic_series statements[TRAFFIC_STATEMENTS_MAX]; /* by number of the statement */
    int error_count;
    struct traffic_error errors[TRAFFIC_ERRORS_MAX];
    int64_t deadlocks_with_strangers;
    int64_t torn_reads;
    int64_t torn_snapshots;
    char torn_sample[512];
};

struct client {
    struct traffic *traffic;
    const struct client_statement *statements;
    int statement_count;
    int number; /* from 0 */
    uint64_t random;
    PGconn *connection;
    int server_version;
    bool prepares;                         /* uses prepared statements */
    bool prepared[TRAFFIC_STATEMENTS_MAX]; /* by number */
    bool lost;                             /* the connection is gone: reconnect or give up */
    int64_t serial;                        /* of values that this client makes up */
    struct client_counters counters;
};

struct traffic {
    struct traffic_options options; /* strings are copies */
    struct stop stop;
    pthread_t thread;
    struct error error;
    bool failed;
    int64_t start_us;
    int64_t end_us;
    atomic_llong transactions;
    /* Phases are only added: a reader of phase_count may read the phases below it. */
    atomic_int phase_count;
    char phase_labels[TRAFFIC_PHASES_MAX][TRAFFIC_LABEL_BYTES];
    int64_t phase_starts_us[TRAFFIC_PHASES_MAX];
    atomic_int pids[TRAFFIC_CLIENTS_MAX]; /* backends of the clients, for telling strangers */
    atomic_llong arrivals;                /* paced: the next transaction's number */
    atomic_llong next_id;                 /* paced: the next order's id */
    /* The watcher's findings; its thread writes them, read after the join. */
    int64_t held_up_count;
    double held_up_table_ms_max;
    double held_up_row_ms_max;
    char held_up_sample[512];
    struct text paced_sql[TRAFFIC_STATEMENTS_MAX];
    struct client_statement paced_statements[TRAFFIC_STATEMENTS_MAX];
    struct client clients[TRAFFIC_CLIENTS_MAX];
};

/*
 * The generators: what each client does, until stopping is wanted. False only when the client
 * cannot go on.
 */
bool hostile_run(struct client *client, struct crew *crew, struct error *error) MUST_CHECK;
bool paced_run(struct client *client, struct crew *crew, struct error *error) MUST_CHECK;
/* Statements, once before the clients start. */
void hostile_prepare(struct client *client);
bool paced_prepare(struct traffic *traffic, struct error *error) MUST_CHECK;

/*
 * Runs a statement. False: it failed, and that is counted; the transaction, if one is open, is for
 * the caller to roll back. *result (may be NULL) is the caller's to clear when true is returned. A
 * statement is charged to the phase that is current at its start; with `count_waits` false it is
 * not charged (paced: the transaction is).
 */
bool client_run(struct client *client, int statement, struct params params, bool count_waits,
                PGresult **result);
/* BEGIN, COMMIT, SAVEPOINT ...; `label` is counted as statement 0 ("control"). */
bool client_control(struct client *client, const char *sql);
/* As client_run() for COPY .. FROM STDIN with all its data. */
bool client_copy(struct client *client, int statement, const struct text *data);
/*
 * Ends whatever transaction is open. Never fails: a broken connection is noticed by client_alive().
 */
void client_rollback(struct client *client);

/*
 * The condition of a client's loop: false when it is to end, because stopping is wanted or its
 * connection is lost for good. After a loss with `reconnect` it comes back first. client_end() then
 * says which of the two it was.
 */
bool client_alive(struct client *client, struct crew *crew);
bool client_end(const struct client *client, struct error *error) MUST_CHECK;

/* Connects a client (again); and a connection without one, for whoever looks on. */
bool client_connect(struct client *client, struct error *error) MUST_CHECK;
bool client_connect_plain(const struct traffic_options *options, PGconn **connection,
                          struct error *error) MUST_CHECK;

/*
 * Adds to a list of errors by SQLSTATE, which keeps the first one's particulars. A list that is
 * full puts all others into its last entry.
 */
void client_add_error(struct traffic_error *list, int *length, const struct traffic_error *error);

/* The number of the phase that was current at `at_us`. */
int client_phase_at(const struct client *client, int64_t at_us);
void client_count_wait(struct client *client, int phase, int statement, int64_t wait_us);

/* 0 .. limit - 1, and 0 .. 1. */
int64_t client_random(struct client *client, int64_t limit);
double client_chance(struct client *client);

#endif
