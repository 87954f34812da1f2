#include "throttle/probe_parts.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/pg/sql.h"

/* How long a look waits for replicas that are asked directly; later answers are the next look's. */
static const int64_t ASKED_WAIT_US = 50000;

static const double QUANTILE_ACTIVE = 0.9;
/* What is too much, relative to what is usual: half as much again, and a few, since few sessions
 * come and go by ones. */
static const double RELATIVE_TIMES = 1.5;
static const double RELATIVE_MORE = 2;

/* -------------------------------------------------------------------------------------- readings
 */

bool probe_on(const struct probe *probe, enum signal_id id)
{
    return probe->view.readings[id].state != READING_OFF;
}

void probe_name(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from != NULL ? from : "");
}

static void set_reading(struct probe *probe, enum signal_id id, enum reading_state state,
                        const char *who, int64_t now_us)
{
    struct reading *reading = &probe->view.readings[id];

    reading->state = state;
    reading->at_us = now_us;
    probe_name(reading->who, sizeof(reading->who), who);
    reading->why[0] = reading->grant[0] = reading->todo[0] = '\0';
}

void probe_ok(struct probe *probe, enum signal_id id, double value, const char *who, int64_t now_us)
{
    if (!probe_on(probe, id))
        return;
    set_reading(probe, id, READING_OK, who, now_us);
    probe->view.readings[id].value = value;
}

void probe_absent(struct probe *probe, enum signal_id id, int64_t now_us)
{
    if (!probe_on(probe, id))
        return;
    set_reading(probe, id, READING_ABSENT, "", now_us);
    probe->view.readings[id].value = 0;
}

void probe_unreadable(struct probe *probe, enum signal_id id, const char *who, const char *why,
                      const char *grant, const char *todo, int64_t now_us)
{
    struct reading *reading = &probe->view.readings[id];

    if (!probe_on(probe, id))
        return;
    set_reading(probe, id, READING_UNREADABLE, who, now_us);
    probe_name(reading->why, sizeof(reading->why), why);
    probe_name(reading->grant, sizeof(reading->grant), grant);
    probe_name(reading->todo, sizeof(reading->todo), todo);
}

/*
 * Nothing is known yet of what is usual: then the signal says nothing either. The baseline never
 * sees a value that was measured beside our own work.
 */
void probe_relative(struct probe *probe, enum signal_id id, struct baseline *baseline,
                    int64_t idle_us, int64_t now_us)
{
    struct reading *reading = &probe->view.readings[id];
    double usual;

    if (!probe->relative[id] || reading->state != READING_OK || reading->at_us != now_us)
        return;
    baseline_add(baseline, reading->value, idle_us, now_us);
    if (baseline_value(baseline, now_us, &usual))
        reading->limit = usual * RELATIVE_TIMES + RELATIVE_MORE;
    else
        probe_absent(probe, id, now_us);
}

const char *probe_grant(const struct probe *probe, char grant[SIGNAL_WHY_BYTES])
{
    TEXT_AUTO sql = {0};

    sql_expand(&sql, "GRANT pg_monitor TO {role}", SQL_NAMES({"role", sql_fragment(probe->role)}));
    probe_name(grant, SIGNAL_WHY_BYTES, text_string(&sql));
    return grant;
}

void probe_set_text(const struct probe *probe, struct text *out)
{
    if (probe->target.job == 0)
        text_append(out, "-s ");
    else
        text_appendf(out, "pghaul set %s ", probe->job_name);
}

bool probe_ignored(const struct probe *probe, const char *name)
{
    const char *at = probe->settings.ignore_replica;

    while (*at != '\0') {
        size_t length = strcspn(at, ",");
        const char *end = at + length;
        const char *begin = at;

        while (begin < end && isspace((unsigned char)*begin))
            begin++;
        while (end > begin && isspace((unsigned char)end[-1]))
            end--;
        if (strlen(name) == (size_t)(end - begin) && end > begin &&
            memcmp(name, begin, (size_t)(end - begin)) == 0)
            return true;
        at += length + (at[length] == ',' ? 1 : 0);
    }
    return false;
}

/* What has not been read for long is no longer known. */
static void forget_old(struct probe *probe)
{
    int64_t now_us = clock_us();

    for (int i = 0; i < SIGNAL_COUNT; i++) {
        struct reading *reading = &probe->view.readings[i];
        int64_t at_us = reading->at_us;

        if ((reading->state != READING_OK && reading->state != READING_ABSENT) ||
            now_us - at_us <= SIGNAL_STALE_US)
            continue;
        probe_unreadable(probe, i, "", "", "", "", at_us);
        snprintf(reading->why, sizeof(reading->why), "not read for %lld s%s%.400s",
                 (long long)((now_us - at_us) / 1000000),
                 probe->trouble.code != ERROR_NONE ? ": " : "", probe->trouble.message);
    }
}

/* ----------------------------------------------------------------------------- what is looked at
 */

/* Just turned on: not read yet. Latency says nothing before there is something to compare with. */
static void begin_reading(struct probe *probe, enum signal_id id)
{
    struct reading *reading = &probe->view.readings[id];

    reading->state = READING_UNREADABLE;
    if (id == SIGNAL_FOREGROUND_LATENCY)
        probe_absent(probe, id, clock_us());
    else
        probe_name(reading->why, sizeof(reading->why), "not read yet");
}

void probe_configure(struct probe *probe, const struct settings *settings)
{
    if (memcmp(&probe->settings, settings, sizeof(*settings)) == 0)
        return;
    probe->settings = *settings;
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        struct reading *reading = &probe->view.readings[i];
        double limit = signal_limit(settings, i, &probe->relative[i]);

        if (limit <= 0) {
            *reading = (struct reading){.state = READING_OFF};
            continue;
        }
        /* The limit of what is relative comes from the baseline. */
        if (!probe->relative[i] || reading->state == READING_OFF)
            reading->limit = limit;
        if (reading->state == READING_OFF)
            begin_reading(probe, i);
    }
    probe_asked_configure(probe);
    text_clear(&probe->slow_sql);
}

void probe_aim(struct probe *probe, const struct probe_target *target)
{
    probe->target = *target;
    probe->target.expected_count = 0;
    for (int i = 0; i < target->expected_count && i < LAW_REPLICAS_MAX; i++)
        probe_name(probe->expected[probe->target.expected_count++], sizeof(probe->expected[0]),
                   target->expected[i]);
    probe->target.expected = NULL;
    probe_name(probe->job_name, sizeof(probe->job_name),
               target->job_name != NULL ? target->job_name : "JOB");
    probe->target.job_name = NULL;
    if (target->disk_base >= 0)
        probe->view.disk_base = target->disk_base;
    text_clear(&probe->slow_sql);
}

/* ------------------------------------------------------------------------------------------- life
 */

static bool read_role(struct probe *probe, struct error *error)
{
    ROWS_AUTO rows = {0};

    probe->view.statements++;
    if (!ask_once(probe->ask, &rows, "SELECT quote_ident(current_user)", NO_PARAMS,
                  3 * PROBE_ANSWER_US, error))
        return error_context(error, "could not open the session of the throttle");
    probe_name(probe->role, sizeof(probe->role), rows_text(&rows, 0, 0));
    return true;
}

static struct ask *new_ask(const struct probe *probe, const struct session_options *connect)
{
    return ask_new(&(struct ask_options){
        .conninfo = connect->conninfo,
        .role = connect->role,
        .application_name = probe->application_name,
        .stop = probe->stop,
    });
}

bool probe_open(struct probe **opened, const struct probe_options *options,
                const struct probe_target *target, struct error *error)
{
    struct probe *probe = memory_zero(1, sizeof(*probe));

    *opened = NULL;
    probe->application_name = arena_copy(&probe->arena, options->application_name);
    probe->stop = options->stop;
    probe->archived = probe->archived_start = -1;
    probe->view.disk_base = -1;
    probe->ask = new_ask(probe, options->connect);
    probe->own = new_ask(probe, options->connect);
    baseline_init(&probe->active, QUANTILE_ACTIVE);
    baseline_init(&probe->commits, QUANTILE_ACTIVE);
    probe_pulse_init(probe);
    if (!read_role(probe, error)) {
        probe_close(probe);
        return false;
    }
    probe_aim(probe, target);
    probe_configure(probe, options->settings);
    *opened = probe;
    return true;
}

void probe_close(struct probe *probe)
{
    if (probe == NULL)
        return;
    probe_pulse_close(probe);
    probe_asked_close(probe);
    ask_free(probe->ask);
    ask_free(probe->own);
    text_deinit(&probe->slow_sql);
    text_deinit(&probe->fast_sql);
    arena_deinit(&probe->arena);
    free(probe);
}

/* ------------------------------------------------------------------------------------------ looks
 */

/* Built again when it is not known, or for another server. */
static const char *statement(struct probe *probe, bool all)
{
    int version = ask_server_version(probe->ask);

    if (version != 0 && version != probe->sql_version) {
        probe->sql_version = version;
        text_clear(&probe->slow_sql);
    }
    if (probe->fast_sql.used == 0)
        probe_sql_fast(&probe->fast_sql);
    if (probe->slow_sql.used == 0)
        probe_sql_slow(probe, &probe->slow_sql);
    return text_string(all ? &probe->slow_sql : &probe->fast_sql);
}

static bool look(struct probe *probe, bool all, int64_t idle_us, struct error *error)
{
    ROWS_AUTO rows = {0};
    bool ok;

    probe_asked_send(probe);
    probe->view.statements++;
    ok = ask_query(probe->ask, &rows, statement(probe, all), NO_PARAMS, PROBE_ANSWER_US, error);
    if (ok)
        probe_take(probe, &rows, all, idle_us, clock_us());
    else
        probe->trouble = *error;
    probe_asked_take(probe, ASKED_WAIT_US);
    if (ok) {
        probe_followers_tell(probe, clock_us());
        probe->trouble.code = ERROR_NONE;
        probe->trouble.message[0] = '\0';
    }
    return ok;
}

bool probe_slow(struct probe *probe, int64_t idle_us, struct error *error)
{
    bool ok = look(probe, true, idle_us, error);

    if (ok)
        probe_own(probe);
    if (probe->target.job == 0)
        probe_absent(probe, SIGNAL_FOREGROUND_LATENCY, clock_us());
    forget_old(probe);
    return ok;
}

bool probe_fast(struct probe *probe, struct error *error)
{
    bool ok = look(probe, false, 0, error);

    forget_old(probe);
    return ok;
}

const struct probe_view *probe_view(const struct probe *probe)
{
    return &probe->view;
}

struct ask *probe_ask(struct probe *probe)
{
    return probe->ask;
}
