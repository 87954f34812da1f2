#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bench/client.h"
#include "engine/base/clock.h"
#include "engine/pg/sql.h"

/*
 * The open loop. Transaction number n is due at start + n / rate, whoever is free takes the next
 * number:
 *
 *     due    |     |     |     |     |     |
 *     taken  0     1     2        3  4   5       a stall of the server delays 2 itself, and
 *     done    0     1     2-------- 3 4   5      everything that was due meanwhile: all of that
 *                                                is in the waits
 *
 * Every write is one statement on one row by its key. With a ledger the same statement changes the
 * ledger's row from what the first part returned: traffic_hostile.c says why that is exact (single
 * statements).
 */

enum paced_statement { CONTROL, SELECT, UPDATE, INSERT, DELETE, PACED_STATEMENTS };

/* "One of the newest" ids, with options.old_ids. */
enum { NEWEST_IDS = 100 };

/*
 * Parameters of all: $1 id, $2 status, $3 customer, $4 note. {id_column}, {id_value}: empty when
 * the server numbers the rows.
 */
static const struct {
    const char *label;
    const char *plain;
    const char *with_ledger;
} TEMPLATES[PACED_STATEMENTS] = {
    [CONTROL] = {"control", "SELECT", "SELECT"},
    [SELECT] = {"select", "SELECT status, amount, note, updated_at FROM {table} WHERE id = $1",
                "SELECT status, amount, note, updated_at FROM {table} WHERE id = $1"},
    [UPDATE] =
        {"update",
         "UPDATE {table} SET status = $2, amount = amount + 0.01, updated_at = now() WHERE id = $1",
         "WITH c AS (\n"
         "    UPDATE {table} SET status = $2, amount = amount + 0.01, updated_at = now()\n"
         "     WHERE id = $1 RETURNING id::bigint)\n"
         "UPDATE {ledger} AS l SET status = $2, amount = l.amount + 0.01, updated_at = now()\n"
         "  FROM c WHERE l.id = c.id"},
    [INSERT] =
        {"insert",
         "INSERT INTO {table}\n"
         "       ({id_column}customer_id, status, amount, note, created_at, updated_at)\n"
         "VALUES ({id_value}$3, $2, 1.00, $4, now(), now()) RETURNING id::bigint",
         "WITH c AS (\n"
         "    INSERT INTO {table}\n"
         "           ({id_column}customer_id, status, amount, note, created_at, updated_at)\n"
         "    VALUES ({id_value}$3, $2, 1.00, $4, now(), now()) RETURNING id::bigint)\n"
         "INSERT INTO {ledger} (id, customer_id, status, amount, note, created_at, updated_at)\n"
         "SELECT id, $3, $2, 1.00, $4, now(), now() FROM c RETURNING id::bigint"},
    [DELETE] = {"delete", "DELETE FROM {table} WHERE id = $1",
                "WITH c AS (DELETE FROM {table} WHERE id = $1 RETURNING id::bigint)\n"
                "DELETE FROM {ledger} AS l USING c WHERE l.id = c.id"},
};

static const char *const STATES[] = {"new",       "paid",     "packed",   "shipped",
                                     "delivered", "returned", "cancelled"};
enum { STATE_COUNT = sizeof(STATES) / sizeof(STATES[0]) };

/* $1: the table. Does the server number the rows, and which id is the last? */
static const char LOOK_NUMBERED[] = "SELECT atthasdef OR attidentity <> '' FROM pg_attribute\n"
                                    " WHERE attrelid = $1::regclass AND attname = 'id'";

/* All statements have the same parameters; `id_column` and `id_value`: see TEMPLATES. */
static void add_statement(struct traffic *traffic, int number, const char *label,
                          const char *template, bool by_server)
{
    const char *ledger = traffic->options.ledger;

    sql_expand(&traffic->paced_sql[number], template,
               SQL_NAMES({"table", sql_fragment(traffic->options.table)},
                         {"ledger", sql_fragment(ledger != NULL ? ledger : "")},
                         {"id_column", sql_fragment(by_server ? "" : "id, ")},
                         {"id_value", sql_fragment(by_server ? "" : "$1, ")}));
    traffic->paced_statements[number] = (struct client_statement){
        .label = label, .types = "btbt", .sql = text_string(&traffic->paced_sql[number])};
}

/* Those on the table, and behind them the others. */
static int make_statements(struct traffic *traffic, bool by_server)
{
    const struct traffic_statement *other = traffic->options.others;
    int count = 0;

    for (; count < PACED_STATEMENTS; count++)
        add_statement(traffic, count, TEMPLATES[count].label,
                      traffic->options.ledger != NULL ? TEMPLATES[count].with_ledger
                                                      : TEMPLATES[count].plain,
                      by_server);
    for (; other != NULL && other->label != NULL && count < TRAFFIC_STATEMENTS_MAX; other++)
        add_statement(traffic, count++, other->label, other->sql, by_server);
    return count;
}

bool paced_prepare(struct traffic *traffic, struct error *error)
{
    SESSION_AUTO *session = NULL;
    ROWS_AUTO numbered = {0};
    ROWS_AUTO last = {0};
    TEXT_AUTO look_last = {0};
    int count;

    if (traffic->options.rate <= 0)
        return error_set(error, ERROR_USAGE, "a paced load needs a rate above 0");
    sql_expand(&look_last, "SELECT coalesce(max(id), 0)::bigint FROM {table}",
               SQL_NAMES({"table", sql_fragment(traffic->options.table)}));
    if (!session_open(&session,
                      &(struct session_options){.conninfo = traffic->options.conninfo,
                                                .application_name = "traffic-look"},
                      error) ||
        !session_run(session, "SET search_path = public", error) ||
        !session_query(session, &numbered, LOOK_NUMBERED, PARAMS(traffic->options.table), error) ||
        !session_query(session, &last, text_string(&look_last), NO_PARAMS, error))
        return error_context(error, "could not look at table %s", traffic->options.table);
    if (rows_count(&numbered) == 0)
        return error_set(error, ERROR_USAGE, "table %s has no column id", traffic->options.table);
    atomic_store(&traffic->next_id, rows_int64(&last, 0, 0) + 1);
    count = make_statements(traffic, rows_bool(&numbered, 0, 0));
    for (int i = 0; i < traffic->options.clients; i++) {
        traffic->clients[i].statements = traffic->paced_statements;
        traffic->clients[i].statement_count = count;
    }
    return true;
}

/* Whoever learns of a higher id tells the others. */
static void note_id(struct traffic *traffic, const PGresult *result)
{
    long long next = (PQntuples(result) > 0 ? strtoll(PQgetvalue(result, 0, 0), NULL, 10) : 0) + 1;
    long long known = atomic_load(&traffic->next_id);

    while (known < next && !atomic_compare_exchange_weak(&traffic->next_id, &known, next))
        ;
}

static int pick_statement(struct client *client)
{
    const struct traffic_statement *others = client->traffic->options.others;
    int64_t draw = others == NULL ? 0 : client_random(client, 100);

    for (int i = 0; others != NULL && others[i].label != NULL; i++) {
        if (draw < others[i].share)
            return PACED_STATEMENTS + i;
        draw -= others[i].share;
    }
    draw = client_random(client, 100);
    return draw < 50 ? UPDATE : draw < 75 ? SELECT : draw < 95 ? INSERT : DELETE;
}

static int64_t pick_id(struct client *client, int statement)
{
    const struct traffic_options *options = &client->traffic->options;
    int64_t next_id = atomic_load(&client->traffic->next_id);
    int64_t least = statement == DELETE ? options->kept_ids + 1 : 1;
    int64_t newest = next_id - 1 - client_random(client, NEWEST_IDS);

    if (options->old_ids == 0)
        return 1 + client_random(client, next_id);
    if (client_random(client, 4) == 0 && newest >= least)
        return newest;
    return least + client_random(client, options->old_ids - least + 1);
}

/* One transaction that was due at `due_us`. */
static void paced_transaction(struct client *client, int64_t due_us)
{
    struct traffic *traffic = client->traffic;
    int statement = pick_statement(client);
    const char *status = STATES[client_random(client, STATE_COUNT)];
    int64_t customer = 1 + client_random(client, 200000);
    int64_t id = pick_id(client, statement);
    int64_t late_ms = (clock_us() - due_us) / 1000;
    PGresult *result = NULL;
    bool ok;

    if (late_ms > client->counters.late_ms_max)
        client->counters.late_ms_max = late_ms;
    if (statement == INSERT)
        id = atomic_fetch_add(&traffic->next_id, 1);
    ok = client_run(client, statement,
                    PARAMS(NUMBER(id), status, NUMBER(customer), "made by the load"), false,
                    &result);
    client_count_wait(client, client_phase_at(client, due_us), statement, clock_us() - due_us);
    if (ok && statement == INSERT)
        note_id(traffic, result);
    PQclear(result);
    if (ok)
        atomic_fetch_add(&traffic->transactions, 1);
    else
        client->counters.rolled_back++;
}

/* Until `due_us`, in steps short enough to notice a stop. */
static void sleep_until(const struct client *client, struct crew *crew, int64_t due_us)
{
    int64_t left_us;

    while ((left_us = due_us - clock_us()) > 0 && !stop_wanted(&client->traffic->stop) &&
           !crew_failed(crew)) {
        struct timespec step = {.tv_nsec = (left_us < 100000 ? left_us : 100000) * 1000};

        clock_nanosleep(CLOCK_MONOTONIC, 0, &step, NULL);
    }
}

bool paced_run(struct client *client, struct crew *crew, struct error *error)
{
    struct traffic *traffic = client->traffic;

    while (client_alive(client, crew)) {
        int64_t number = atomic_fetch_add(&traffic->arrivals, 1);
        int64_t due_us =
            traffic->start_us + (int64_t)((double)number * 1e6 / traffic->options.rate);

        sleep_until(client, crew, due_us);
        if (client_alive(client, crew))
            paced_transaction(client, due_us);
    }
    return client_end(client, error);
}
