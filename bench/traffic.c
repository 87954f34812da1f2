#include "bench/traffic.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/client.h"
#include "engine/base/clock.h"
#include "engine/base/memory.h"

enum { CLIENTS_DEFAULT = 6, WATCH_EVERY_MS = 10 };

/* -------------------------------------------------------------------------------------- watcher */

/*
 * $1: pattern of application names. Looks at pg_stat_activity first, which costs the server
 * nothing, and asks the lock manager only about clients that wait. Soft blocks count: whoever
 * queues behind a watched session's request.
 */
static const char WATCH[] =
    "WITH waiting AS MATERIALIZED (\n"
    "    SELECT pid, query FROM pg_stat_activity\n"
    "     WHERE application_name = 'traffic' AND wait_event_type = 'Lock')\n"
    "SELECT l.ms, l.for_table,\n"
    "       left(regexp_replace(w.query, '\\s+', ' ', 'g'), 200),\n"
    "       left(regexp_replace(b.query, '\\s+', ' ', 'g'), 200)\n"
    "  FROM waiting w\n"
    " CROSS JOIN LATERAL (\n"
    "    SELECT extract(epoch FROM clock_timestamp() - min(waitstart)) * 1000,\n"
    "           coalesce(bool_or(locktype = 'relation'), false)\n"
    "      FROM pg_locks WHERE pid = w.pid AND NOT granted) AS l (ms, for_table)\n"
    " CROSS JOIN unnest(pg_blocking_pids(w.pid)) AS blocker (pid)\n"
    "  JOIN pg_stat_activity b ON b.pid = blocker.pid\n"
    " WHERE b.application_name LIKE $1";

static double held_up_ms_max(const struct traffic *traffic)
{
    return traffic->held_up_table_ms_max > traffic->held_up_row_ms_max
               ? traffic->held_up_table_ms_max
               : traffic->held_up_row_ms_max;
}

static void note_held_up(struct traffic *traffic, const PGresult *result)
{
    for (int row = 0; row < PQntuples(result); row++) {
        double ms = strtod(PQgetvalue(result, row, 0), NULL);
        double *ms_max = PQgetvalue(result, row, 1)[0] == 't' ? &traffic->held_up_table_ms_max
                                                              : &traffic->held_up_row_ms_max;

        traffic->held_up_count++;
        if (ms > held_up_ms_max(traffic) || traffic->held_up_sample[0] == '\0')
            snprintf(traffic->held_up_sample, sizeof(traffic->held_up_sample), "%s  <-  %s",
                     PQgetvalue(result, row, 2), PQgetvalue(result, row, 3));
        if (ms > *ms_max)
            *ms_max = ms;
    }
}

/*
 * A member of the crew beside the clients. A server that is restarted is no failure of the watcher.
 */
static void watch(struct traffic *traffic, struct crew *crew)
{
    const char *const values[] = {traffic->options.watch};
    PGconn *connection = NULL;

    while (!stop_wanted(&traffic->stop) && !crew_failed(crew)) {
        struct error ignored = {0};

        if (connection == NULL && client_connect_plain(&traffic->options, &connection, &ignored))
            PQclear(PQexec(connection, "SET application_name = 'traffic-watch'"));
        if (connection != NULL) {
            PGresult *result = PQexecParams(connection, WATCH, 1, NULL, values, NULL, NULL, 0);

            if (PQresultStatus(result) == PGRES_TUPLES_OK)
                note_held_up(traffic, result);
            PQclear(result);
            if (PQstatus(connection) == CONNECTION_BAD) {
                PQfinish(connection);
                connection = NULL;
            }
        }
        clock_sleep_ms(WATCH_EVERY_MS);
    }
    PQfinish(connection);
}

/* ------------------------------------------------------------------------------- start and stop */

static bool member_run(struct crew *crew, int member, void *arg, struct error *error)
{
    struct traffic *traffic = arg;

    if (member == traffic->options.clients) {
        watch(traffic, crew);
        return true;
    }
    return traffic->options.kind == TRAFFIC_HOSTILE
               ? hostile_run(&traffic->clients[member], crew, error)
               : paced_run(&traffic->clients[member], crew, error);
}

static void *traffic_main(void *arg)
{
    struct traffic *traffic = arg;
    struct crew_work work = {.run = member_run, .arg = traffic};

    traffic->failed = !crew_run(traffic->options.clients + (traffic->options.watch != NULL), &work,
                                &traffic->error);
    return NULL;
}

static char *copy_or_null(const char *string)
{
    return string == NULL ? NULL : memory_copy(string);
}

static void traffic_free(struct traffic *traffic)
{
    for (int i = 0; i < traffic->options.clients; i++)
        PQfinish(traffic->clients[i].connection);
    for (int i = 0; i < TRAFFIC_STATEMENTS_MAX; i++)
        text_deinit(&traffic->paced_sql[i]);
    free((char *)(uintptr_t)traffic->options.conninfo);
    free((char *)(uintptr_t)traffic->options.watch);
    free((char *)(uintptr_t)traffic->options.table);
    free((char *)(uintptr_t)traffic->options.ledger);
    free(traffic);
}

static void copy_options(struct traffic *traffic, const struct traffic_options *options)
{
    traffic->options = *options;
    traffic->options.conninfo = memory_copy(options->conninfo);
    traffic->options.watch = copy_or_null(options->watch);
    traffic->options.table = memory_copy(options->table == NULL ? "orders" : options->table);
    traffic->options.ledger = copy_or_null(options->ledger);
    if (traffic->options.clients == 0)
        traffic->options.clients = CLIENTS_DEFAULT;
    if (traffic->options.clients > TRAFFIC_CLIENTS_MAX)
        traffic->options.clients = TRAFFIC_CLIENTS_MAX;
}

static bool MUST_CHECK prepare_clients(struct traffic *traffic, struct error *error)
{
    if (traffic->options.kind == TRAFFIC_PACED && !paced_prepare(traffic, error))
        return false;
    for (int i = 0; i < traffic->options.clients; i++) {
        struct client *client = &traffic->clients[i];

        client->traffic = traffic;
        client->number = i;
        client->random = traffic->options.seed * 1000003 + (uint64_t)i;
        if (!client_connect(client, error))
            return false;
        if (traffic->options.kind == TRAFFIC_HOSTILE)
            hostile_prepare(client);
    }
    return true;
}

bool traffic_start(struct traffic **started, const struct traffic_options *options,
                   struct error *error)
{
    struct traffic *traffic = memory_zero(1, sizeof(*traffic));
    int code;

    *started = NULL;
    copy_options(traffic, options);
    traffic->start_us = clock_us();
    traffic_mark(traffic, "start");
    if (!prepare_clients(traffic, error))
        goto fail;
    traffic->start_us = clock_us();
    code = pthread_create(&traffic->thread, NULL, traffic_main, traffic);
    if (code != 0) {
        error_set(error, ERROR_SYSTEM, "could not start a thread: %s", strerror(code));
        goto fail;
    }
    *started = traffic;
    return true;

fail:
    traffic_free(traffic);
    return false;
}

void traffic_mark(struct traffic *traffic, const char *phase)
{
    int count = atomic_load(&traffic->phase_count);

    if (count == TRAFFIC_PHASES_MAX ||
        (count > 0 && strcmp(traffic->phase_labels[count - 1], phase) == 0))
        return;
    snprintf(traffic->phase_labels[count], TRAFFIC_LABEL_BYTES, "%s", phase);
    traffic->phase_starts_us[count] = clock_us();
    atomic_store(&traffic->phase_count, count + 1);
}

void traffic_mark_event(void *traffic, const char *line)
{
    json_t *event = json_loads(line, 0, NULL);
    json_t *phase = json_object_get(event, "phase");

    if (json_is_object(phase))
        phase = json_object_get(phase, "name");
    if (json_is_string(phase))
        traffic_mark(traffic, json_string_value(phase));
    json_decref(event);
}

int64_t traffic_transactions(const struct traffic *traffic)
{
    return atomic_load(&traffic->transactions);
}

static void merge_series(struct traffic_series *into, const struct traffic_series *from)
{
    histogram_merge(&into->waits, &from->waits);
    into->errors += from->errors;
}

static void merge_client(struct traffic_report *report, const struct client *client)
{
    const struct client_counters *counters = &client->counters;

    report->rolled_back += counters->rolled_back;
    report->deadlocks_with_strangers += counters->deadlocks_with_strangers;
    report->torn_reads += counters->torn_reads;
    report->torn_snapshots += counters->torn_snapshots;
    if (report->torn_sample[0] == '\0')
        memcpy(report->torn_sample, counters->torn_sample, sizeof(report->torn_sample));
    if (counters->late_ms_max > report->late_ms_max)
        report->late_ms_max = counters->late_ms_max;
    for (int i = 0; i < report->phase_count; i++)
        merge_series(&report->phases[i], &counters->phases[i]);
    for (int i = 0; i < report->statement_count; i++)
        merge_series(&report->statements[i], &counters->statements[i]);
    for (int i = 0; i < counters->error_count; i++) {
        client_add_error(report->errors, &report->error_count, &counters->errors[i]);
        if (!counters->errors[i].expected)
            report->unexpected_errors += counters->errors[i].count;
    }
}

static void fill_report(const struct traffic *traffic, struct traffic_report *report)
{
    const struct client *first = &traffic->clients[0];

    report->seconds = (double)(traffic->end_us - traffic->start_us) / 1e6;
    report->transactions = atomic_load(&traffic->transactions);
    report->held_up_count = traffic->held_up_count;
    report->held_up_ms_max = held_up_ms_max(traffic);
    report->held_up_table_ms_max = traffic->held_up_table_ms_max;
    report->held_up_row_ms_max = traffic->held_up_row_ms_max;
    memcpy(report->held_up_sample, traffic->held_up_sample, sizeof(report->held_up_sample));
    report->phase_count = atomic_load(&traffic->phase_count);
    report->phases = memory_zero((size_t)report->phase_count, sizeof(*report->phases));
    for (int i = 0; i < report->phase_count; i++)
        memcpy(report->phases[i].label, traffic->phase_labels[i], TRAFFIC_LABEL_BYTES);
    report->statement_count = first->statement_count;
    report->statements = memory_zero((size_t)report->statement_count, sizeof(*report->statements));
    for (int i = 0; i < report->statement_count; i++)
        snprintf(report->statements[i].label, TRAFFIC_LABEL_BYTES, "%.31s",
                 first->statements[i].label);
    for (int i = 0; i < traffic->options.clients; i++)
        merge_client(report, &traffic->clients[i]);
}

bool traffic_stop(struct traffic *traffic, struct traffic_report *report, struct error *error)
{
    bool ok;

    if (report != NULL)
        *report = (struct traffic_report){0};
    if (traffic == NULL)
        return true;
    stop_request(&traffic->stop);
    pthread_join(traffic->thread, NULL);
    traffic->end_us = clock_us();
    if (report != NULL)
        fill_report(traffic, report);
    ok = !traffic->failed;
    if (!ok)
        *error = traffic->error;
    traffic_free(traffic);
    return ok;
}

void traffic_report_deinit(struct traffic_report *report)
{
    free(report->phases);
    free(report->statements);
    *report = (struct traffic_report){0};
}

static json_t *series_json(const struct traffic_series *list, int count)
{
    json_t *all = json_object();

    for (int i = 0; i < count; i++) {
        json_t *one = report_waits(&list[i].waits);

        json_object_set_new(one, "errors", json_integer(list[i].errors));
        if (list[i].waits.count > 0 || list[i].errors > 0)
            json_object_set_new(all, list[i].label, one);
        else
            json_decref(one);
    }
    return all;
}

json_t *traffic_report_json(const struct traffic_report *report)
{
    json_t *errors = json_object();
    json_t *all;

    for (int i = 0; i < report->error_count; i++) {
        const struct traffic_error *error = &report->errors[i];

        json_object_set_new(errors, error->sqlstate,
                            json_pack("{s:I, s:b, s:s, s:s, s:s}", "count",
                                      (json_int_t)error->count, "expected", error->expected,
                                      "phase", error->phase, "statement", error->statement,
                                      "message", error->message));
    }
    all = json_pack(
        "{s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "seconds",
        report_number(report->seconds, 2), "transactions", (json_int_t)report->transactions,
        "rolled_back", (json_int_t)report->rolled_back, "late_ms_max",
        (json_int_t)report->late_ms_max, "unexpected_errors", (json_int_t)report->unexpected_errors,
        "deadlocks_with_strangers", (json_int_t)report->deadlocks_with_strangers, "torn_reads",
        (json_int_t)report->torn_reads, "held_up_count", (json_int_t)report->held_up_count,
        "held_up_ms_max", report_number(report->held_up_ms_max, 2), "held_up_table_ms_max",
        report_number(report->held_up_table_ms_max, 2), "held_up_row_ms_max",
        report_number(report->held_up_row_ms_max, 2), "phases",
        series_json(report->phases, report->phase_count), "statements",
        series_json(report->statements, report->statement_count), "errors", errors);
    if (report->torn_sample[0] != '\0')
        json_object_set_new(all, "torn_sample", json_string(report->torn_sample));
    if (report->held_up_sample[0] != '\0')
        json_object_set_new(all, "held_up_sample", json_string(report->held_up_sample));
    return all;
}
