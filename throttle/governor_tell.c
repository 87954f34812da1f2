#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "engine/base/clock.h"
#include "throttle/governor_parts.h"

/* ------------------------------------------------------------------------------------ the reason
 */

static void say(struct governor_reason *reason, const char *decision, int signal, const char *text)
{
    snprintf(reason->decision, sizeof(reason->decision), "%s", decision);
    snprintf(reason->text, sizeof(reason->text), "%s", text);
    reason->signal = signal;
}

static void say_signal(const struct governor *governor, const char *decision, int signal,
                       struct governor_reason *reason)
{
    TEXT_AUTO text = {0};

    signal_reason_text((enum signal_id)signal, &governor->view.readings[signal], &text);
    say(reason, decision, signal, text_string(&text));
}

static void say_window(const struct governor *governor, int64_t now_us,
                       struct governor_reason *reason)
{
    double left = governor->window_state.seconds - (double)(now_us - governor->window_us) / 1e6;
    char text[128];

    if (governor->window_us == 0 || isinf(left))
        snprintf(text, sizeof(text), "the window %.100s", governor->settings.window);
    else
        snprintf(text, sizeof(text), "the window: it opens in %.0f min", ceil(left / 60));
    say(reason, "window", -1, text);
}

/* Of a statement that runs, or waits to; false: there is none. */
static bool say_unpaced(const struct governor *governor, int64_t now_us,
                        struct governor_reason *reason)
{
    const struct governor_unpaced *unpaced = &governor->unpaced;
    TEXT_AUTO text = {0};

    if (unpaced->running > 0) {
        text_appendf(&text, "unpaced: %s", unpaced->what);
        if (unpaced->wal_bytes > 0) {
            text_append(&text, ", about ");
            signal_value_text(UNIT_BYTES, (double)unpaced->wal_bytes, &text);
            text_append(&text, " of WAL");
        }
        say(reason, text_string(&text), -1, "");
        return true;
    }
    if (unpaced->asked_us == 0 || now_us - unpaced->asked_us > GIVEN_UP_US)
        return false;
    text_appendf(&text, "%s waits", unpaced->waits);
    if (!governor_in_window(governor, now_us, 0))
        text_append(&text, " for the window");
    else if (governor->has_window &&
             unpaced->wait_seconds > 60.0 * window_longest(&governor->window))
        text_appendf(&text, ": it takes about %.0f min, longer than the window is ever open",
                     ceil(unpaced->wait_seconds / 60));
    else if (!governor_in_window(governor, now_us, unpaced->wait_seconds))
        text_appendf(&text, ": it takes about %.0f min, longer than the window stays open",
                     ceil(unpaced->wait_seconds / 60));
    else if (!governor_owes_little(governor))
        text_append(&text, " until the replicas have less than a quarter of the limit to replay");
    else
        text_appendf(&text, " for another one that cannot be paced%s%s",
                     unpaced->turn_of[0] != '\0' ? ": " : "", unpaced->turn_of);
    say(reason, "waiting", -1, text_string(&text));
    return true;
}

static void say_stale(const struct governor *governor, int64_t now_us,
                      struct governor_reason *reason)
{
    TEXT_AUTO text = {0};

    if (governor->read_us == 0)
        text_append(&text, "signals: none was read yet");
    else
        text_appendf(&text, "signals: none was read for %.0f s",
                     (double)(now_us - governor->read_us) / 1e6);
    if (governor->trouble[0] != '\0')
        text_appendf(&text, ": %s", governor->trouble);
    say(reason, "closed", -1, text_string(&text));
}

static void find_reason(const struct governor *governor, int64_t now_us,
                        struct governor_reason *reason)
{
    const struct governor_unpaced *unpaced = &governor->unpaced;
    int closed = gates_closed(&governor->gates);
    bool stale = governor->read_us == 0 || now_us - governor->read_us > SIGNAL_STALE_US;

    if (governor->paused || governor->aborting)
        say(reason, governor->paused ? "paused" : "aborting", -1, "");
    else if (unpaced->running > 0)
        say_unpaced(governor, now_us, reason);
    else if (!governor_in_window(governor, now_us, 0))
        say_window(governor, now_us, reason);
    else if (!governor_is_auto(governor))
        say(reason, governor->law->name, -1, "");
    else if (stale)
        say_stale(governor, now_us, reason);
    else if (closed >= 0)
        say_signal(governor, "closed", closed, reason);
    else if (say_unpaced(governor, now_us, reason))
        return;
    else if (governor_gives_way(governor))
        say(reason, "waiting", -1,
            "a statement of another job that cannot be paced, until less is owed to the replicas");
    else if (governor->decision.reason >= 0)
        say_signal(governor, "paced", governor->decision.reason, reason);
    else if (governor->wants && credit_left(&governor->credit) <= 0)
        say_signal(governor, "paced", SIGNAL_REPLICA_LAG_BYTES, reason);
    else
        say(reason, "open", -1, "");
}

/* What a person reads beside the numbers of a job that works. */
static void progress_text(const struct governor_reason *reason, int64_t now_us, struct text *out)
{
    double seconds = (double)(now_us - reason->since_us) / 1e6;
    static const char *const SILENT[] = {"open", "off", "fixed", "paused", "aborting"};

    for (size_t i = 0; i < sizeof(SILENT) / sizeof(SILENT[0]); i++)
        if (strcmp(reason->decision, SILENT[i]) == 0)
            return;
    text_append(out, reason->decision);
    if (reason->text[0] != '\0')
        text_appendf(out, " by %s", reason->text);
    if (seconds >= 1)
        text_appendf(out, ", for %.0f s", seconds);
}

void governor_tell(struct governor *governor, int64_t now_us)
{
    struct governor_reason reason = {.since_us = now_us};
    TEXT_AUTO text = {0};

    find_reason(governor, now_us, &reason);
    if (reason.signal == governor->reason.signal &&
        strcmp(reason.decision, governor->reason.decision) == 0)
        reason.since_us = governor->reason.since_us;
    governor->reason = reason;
    progress_text(&reason, now_us, &text);
    progress_throttle(governor->progress, text_string(&text));
}

/* ------------------------------------------------------------------------------------ the sample
 */

static json_t *signal_json(enum signal_id id, const struct reading *reading)
{
    static const char *const STATES[] = {"off", "ok", "absent", "unreadable"};
    json_t *object = json_object();

    json_object_set_new(object, "signal", json_string(signal_table[id].name));
    json_object_set_new(object, "state", json_string(STATES[reading->state]));
    if (reading->state == READING_OK) {
        json_object_set_new(object, "value", json_real(reading->value));
        json_object_set_new(object, "limit", json_real(reading->limit));
    }
    if (reading->who[0] != '\0')
        json_object_set_new(object, "who", json_string(reading->who));
    if (reading->state == READING_UNREADABLE)
        json_object_set_new(object, "why", json_string(reading->why));
    return object;
}

/* All that are on; a new reference. */
static json_t *signals_json(const struct reading *readings)
{
    json_t *list = json_array();

    for (int i = 0; i < SIGNAL_COUNT; i++)
        if (readings[i].state != READING_OFF)
            json_array_append_new(list, signal_json((enum signal_id)i, &readings[i]));
    return list;
}

/* What a row of pghaul.sample says, as text; NULL for the SQL NULL. */
struct sample {
    char rows[32], rate[32], workers[16], value[32], limit[32], seconds[32];
    struct governor_reason reason;
    char who[SIGNAL_WHO_BYTES];
    char phase[32];
    double wal;
    char *signals;
};

static void number(char *out, size_t size, double value)
{
    if (isfinite(value))
        snprintf(out, size, "%.3f", value);
}

/* Under the mutex. */
static void take_sample(struct governor *governor, int64_t now_us, struct sample *sample)
{
    const struct reading *reading = NULL;
    double elapsed = (double)(now_us - governor->sampled_us) / 1e6;
    json_t *signals = signals_json(governor->view.readings);

    *sample = (struct sample){.reason = governor->reason, .wal = governor->view.wal};
    if (governor->reason.signal >= 0)
        reading = &governor->view.readings[governor->reason.signal];
    if (governor->sampled_us > 0 && elapsed > 0)
        number(sample->rows, sizeof(sample->rows), (double)governor->work.rows / elapsed);
    number(sample->rate, sizeof(sample->rate), governor->decision.bytes_per_second);
    snprintf(sample->workers, sizeof(sample->workers), "%d", governor->decision.workers);
    number(sample->seconds, sizeof(sample->seconds),
           (double)(now_us - governor->reason.since_us) / 1e6);
    if (reading != NULL && reading->state == READING_OK) {
        number(sample->value, sizeof(sample->value), reading->value);
        number(sample->limit, sizeof(sample->limit), reading->limit);
    }
    if (reading != NULL)
        snprintf(sample->who, sizeof(sample->who), "%s", reading->who);
    governor->work.rows = 0;
    governor->sampled_us = now_us;
    sample->signals = json_dumps(signals, JSON_COMPACT);
    json_decref(signals);
}

static const char *or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static const char INSERT_SAMPLE[] =
    "INSERT INTO pghaul.sample (job, pid, phase, rows_per_second, wal_bytes, decision, rate,\n"
    "                           workers, signal, who, value, limit_value, seconds, reason,\n"
    "                           signals)\n"
    "VALUES ($1::bigint, pg_backend_pid(), $2, $3::double precision, $4::bigint, $5,\n"
    "        $6::double precision, $7::int, $8, $9, $10::double precision,\n"
    "        $11::double precision, $12::double precision, $13, $14::jsonb)";

/*
 * A row a second for an hour, then one a minute for a day, then one an hour. The first of each
 * minute (hour) stays. Only what came of age since the last time is looked at, and some more. $1 =
 * job.
 */
static const char THIN_SAMPLES[] =
    "WITH old AS (\n"
    "    SELECT ctid AS place, row_number() OVER (\n"
    "               PARTITION BY pid, date_trunc(grain, at), grain ORDER BY at) AS number\n"
    "      FROM pghaul.sample,\n"
    "           LATERAL (SELECT CASE WHEN at < clock_timestamp() - interval '1 day' THEN 'hour'\n"
    "                                ELSE 'minute' END) AS kept (grain)\n"
    "     WHERE job = $1::bigint AND at < clock_timestamp() - interval '1 hour')\n"
    "DELETE FROM pghaul.sample USING old WHERE ctid = place AND number > 1";

bool governor_sample(struct governor *governor, struct ask *ask, int64_t now_us,
                     struct error *error)
{
    ROWS_AUTO none = {0};
    const char *job = NUMBER(governor->job);
    struct sample sample;
    struct progress_view progress = progress_view(governor->progress);
    bool ok;

    pthread_mutex_lock(&governor->mutex);
    take_sample(governor, now_us, &sample);
    pthread_mutex_unlock(&governor->mutex);
    ok =
        ask_query(ask, &none, INSERT_SAMPLE,
                  PARAMS(job, progress.phase, or_null(sample.rows), NUMBER(sample.wal),
                         sample.reason.decision, or_null(sample.rate), sample.workers,
                         sample.reason.signal >= 0 ? signal_table[sample.reason.signal].name : NULL,
                         or_null(sample.who), or_null(sample.value), or_null(sample.limit),
                         sample.seconds, or_null(sample.reason.text), sample.signals),
                  PROBE_ANSWER_US, error);
    free(sample.signals);
    return ok;
}

bool governor_thin(const struct governor *governor, struct ask *ask, struct error *error)
{
    ROWS_AUTO none = {0};

    return ask_query(ask, &none, THIN_SAMPLES, PARAMS(NUMBER(governor->job)), PROBE_ANSWER_US,
                     error);
}
