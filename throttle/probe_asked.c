/*
 * Replicas that are asked directly (settings.replica, a conninfo a line), each through a connection
 * of its own. All are asked at once, and nobody is waited for: an answer that is late is taken by
 * the next look, and one that does not come makes the replica unreadable.
 *
 * One that cannot tell positions (shared storage, functions that are revoked) shows how far it is
 * by our row of pghaul.pulse there.
 */
#include "throttle/probe_parts.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/pg/conninfo.h"

static const int64_t ANSWER_US = 3000000;

/*
 * Nothing is asked of a server that is no standby but whether it is one. The last column is which
 * server it is: addresses differ with the way to it, the moment of its start does not.
 */
static const char POSITION[] =
    "SELECT pg_is_in_recovery(), (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::float8,\n"
    "       CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END,\n"
    "       nullif(current_setting('recovery_min_apply_delay'), '0'),\n"
    "       current_setting('cluster_name'), EXISTS (SELECT FROM pg_stat_wal_receiver),\n"
    "       format('%s %s %s', extract(epoch FROM pg_postmaster_start_time()),\n"
    "              current_setting('port'), current_setting('cluster_name'))";

/* $1 = job, $2 = process: our row, as the replica has it. */
static const char BY_PULSE[] = "SELECT extract(epoch FROM at)::float8 FROM pghaul.pulse\n"
                               " WHERE job = $1::bigint AND pid = $2::int";

/* -------------------------------------------------------------------------------------- which ones
 */

/* The host of a conninfo, or "replica 2" when it names none. */
static void name_by_host(struct asked *asked, const char *conninfo, int number)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);

    snprintf(asked->name, sizeof(asked->name), "replica %d", number);
    for (PQconninfoOption *at = options; at != NULL && at->keyword != NULL; at++)
        if ((strcmp(at->keyword, "host") == 0 || strcmp(at->keyword, "hostaddr") == 0) &&
            at->val != NULL && at->val[0] != '\0')
            probe_name(asked->name, sizeof(asked->name), at->val);
    PQconninfoFree(options);
}

/* User and database are the primary's unless the conninfo says others. */
static void add_asked(struct probe *probe, const char *conninfo)
{
    int number = probe->asked_count;
    struct asked *asked = &probe->asked[number];
    TEXT_AUTO complete = {0};

    if (number == LAW_REPLICAS_MAX) {
        probe->too_many_asked = true;
        return;
    }
    probe->asked_count++;
    *asked = (struct asked){.pulse_lag = -1, .why = "it has not been asked yet"};
    name_by_host(asked, conninfo, number + 1);
    conninfo_complete(conninfo, ask_user(probe->ask), ask_database(probe->ask), &complete);
    asked->ask = ask_new(&(struct ask_options){
        .conninfo = text_string(&complete),
        .application_name = probe->application_name,
        .stop = probe->stop,
    });
}

static bool wanted(const struct probe *probe)
{
    return probe_on(probe, SIGNAL_REPLICA_LAG_BYTES) || probe_on(probe, SIGNAL_REPLICA_LAG_TIME) ||
           probe_on(probe, SIGNAL_REPLICAS_MISSING);
}

void probe_asked_close(struct probe *probe)
{
    for (int i = 0; i < probe->asked_count; i++)
        ask_free(probe->asked[i].ask);
    probe->asked_count = 0;
}

void probe_asked_configure(struct probe *probe)
{
    const char *list = wanted(probe) ? probe->settings.replica : "";
    TEXT_AUTO conninfo = {0};

    if (strcmp(list, probe->asked_as) == 0)
        return;
    probe_asked_close(probe);
    probe->too_many_asked = false;
    snprintf(probe->asked_as, sizeof(probe->asked_as), "%s", list);
    while (conninfo_next(&list, &conninfo))
        add_asked(probe, text_string(&conninfo));
}

/* ----------------------------------------------------------------------------------------- asking
 */

/* Before there is a job there is no pulse, and nothing of ours to look at there. */
bool probe_asked_later(const struct probe *probe, const struct asked *asked)
{
    return asked->by_pulse && probe->target.job == 0;
}

void probe_asked_send(struct probe *probe)
{
    for (int i = 0; i < probe->asked_count; i++) {
        struct asked *asked = &probe->asked[i];

        if (ask_pending(asked->ask) || probe_asked_later(probe, asked))
            continue;
        if (asked->by_pulse)
            ask_send(asked->ask, ASK_PREPARED, BY_PULSE,
                     PARAMS(NUMBER(probe->target.job), NUMBER(ask_backend_pid(probe->ask))),
                     ANSWER_US);
        else
            ask_send(asked->ask, ASK_PREPARED, POSITION, NO_PARAMS, ANSWER_US);
        probe->view.statements++;
    }
}

/* Why it is not readable; NULL: it is. */
static const char *against(const struct rows *rows)
{
    if (!rows_bool(rows, 0, 0))
        return "is no standby";
    if (rows_text(rows, 0, 3) != NULL)
        return "replays late on purpose (recovery_min_apply_delay)";
    return NULL;
}

static void take_position(struct asked *asked, const struct rows *rows, int64_t now_us)
{
    const char *cluster = rows_text(rows, 0, 4);
    const char *why = against(rows);

    if (cluster != NULL && cluster[0] != '\0')
        probe_name(asked->name, sizeof(asked->name), cluster);
    probe_name(asked->shown_as, sizeof(asked->shown_as),
               cluster != NULL && cluster[0] != '\0' ? cluster : "walreceiver");
    probe_name(asked->server, sizeof(asked->server), rows_text(rows, 0, 6));
    asked->streams = rows_bool(rows, 0, 5);
    asked->paused = rows_bool(rows, 0, 2);
    if (why == NULL && rows_text(rows, 0, 1) == NULL) {
        asked->by_pulse = true;
        return;
    }
    asked->readable = why == NULL;
    asked->replayed = rows_double(rows, 0, 1);
    asked->at_us = now_us;
    if (why != NULL)
        snprintf(asked->why, sizeof(asked->why), "%s %s", asked->name, why);
}

static void take_pulse(const struct probe *probe, struct asked *asked, const struct rows *rows,
                       int64_t now_us)
{
    asked->readable =
        rows_count(rows) == 1 && probe_pulse_seen(probe, rows_double(rows, 0, 0), now_us,
                                                  &asked->replayed, &asked->pulse_lag);
    asked->at_us = now_us;
    if (!asked->readable)
        snprintf(asked->why, sizeof(asked->why),
                 "%s tells no replay position, and shows no pulse of this job of the last minutes",
                 asked->name);
}

/* 0A000: not on this kind of server; 42501, 42883: not for us. */
static bool cannot_tell(const struct error *error)
{
    return strcmp(error->sqlstate, "0A000") == 0 || strcmp(error->sqlstate, "42501") == 0 ||
           strcmp(error->sqlstate, "42883") == 0;
}

static void take_failure(struct asked *asked, const struct error *error)
{
    if (!asked->by_pulse && cannot_tell(error)) {
        asked->by_pulse = true;
        return;
    }
    asked->readable = false;
    snprintf(asked->why, sizeof(asked->why), "%s cannot be asked: %.380s", asked->name,
             error->message);
}

/* An answer that does not come is a failure in the end (ANSWER_US); what it said before that is
 * true for as long. */
static void take(struct probe *probe, struct asked *asked, int64_t until_us)
{
    ROWS_AUTO rows = {0};
    struct error error = {0};
    int64_t left_us = until_us - clock_us();
    bool by_pulse = asked->by_pulse;

    switch (ask_wait(asked->ask, left_us > 0 ? left_us : 0, &rows, &error)) {
    case ASK_ANSWERED:
        if (by_pulse)
            take_pulse(probe, asked, &rows, clock_us());
        else
            take_position(asked, &rows, clock_us());
        break;
    case ASK_FAILED:
        take_failure(asked, &error);
        break;
    case ASK_IDLE:
    case ASK_PENDING:
        break;
    }
}

void probe_asked_take(struct probe *probe, int64_t wait_us)
{
    int64_t until_us = clock_us() + wait_us;

    for (int i = 0; i < probe->asked_count; i++)
        take(probe, &probe->asked[i], until_us);
}
