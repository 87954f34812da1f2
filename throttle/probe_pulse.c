/*
 * Our row of pghaul.pulse: writing it, how long that takes, and what a replica that shows it has
 * replayed.
 */
#include "throttle/probe_parts.h"

#include <math.h>

#include "engine/base/clock.h"

/* The p95 of so long, of so many at least. Short, because it is what a law reacts to. */
static const int64_t WINDOW_US = 10000000;
enum { WINDOW_SAMPLES_MIN = 5 };
static const double QUANTILE = 0.95;

static const int64_t CLEAN_US = 60000000;

/*
 * Nobody feels how a server that answers within a fraction of a millisecond becomes three times as
 * slow, and how the machine schedules two processes is more than that.
 */
static const double BASELINE_US_MIN = 1000;

/*
 * $1 = job, $2 = process that had our row before, or 0. Takes away what nobody writes any more: our
 * former row; those of processes that are gone, of our job at once (it goes on after a kill -9, and
 * must not wait for the dead one as for one that shares), of others when they are old, for they may
 * come back; and those of processes that hang. (A number may have been given to somebody else's
 * session since then; one that hangs and goes on makes its row again.) Everybody may see numbers
 * and names of sessions. Never waits: others may be cleaning, and a backend that we gave up may
 * hold our former row until it notices.
 */
static const char CLEAN[] =
    "WITH old AS (\n"
    "    SELECT job, pid FROM pghaul.pulse AS p\n"
    "     WHERE pid <> pg_backend_pid()\n"
    "       AND (job = $1::bigint AND pid = $2::int\n"
    "            OR at < clock_timestamp() - interval '1 hour'\n"
    "            OR (job = $1::bigint OR at < clock_timestamp() - interval '10 seconds')\n"
    "               AND NOT EXISTS (SELECT FROM pg_stat_activity AS a, pg_database AS d\n"
    "                                WHERE a.pid = p.pid AND a.application_name LIKE 'pghaul%'\n"
    "                                  AND d.oid = a.datid AND d.datname = current_database()))\n"
    "       FOR UPDATE SKIP LOCKED)\n"
    "DELETE FROM pghaul.pulse AS p USING old WHERE p.job = old.job AND p.pid = old.pid";

/* $1 = job, $2 = priority, $3 = written, $4 = wants, $5 = waits. A read by the key, a row version,
 * a commit. */
static const char PULSE[] =
    "INSERT INTO pghaul.pulse AS p (job, pid, at, priority, written, wants, waits)\n"
    "VALUES ($1::bigint, pg_backend_pid(), clock_timestamp(), $2::int, $3::bigint, $4::boolean,\n"
    "        $5::boolean)\n"
    "ON CONFLICT (job, pid) DO UPDATE\n"
    "   SET at = excluded.at, priority = excluded.priority, written = excluded.written,\n"
    "       wants = excluded.wants, waits = excluded.waits\n"
    "RETURNING extract(epoch FROM at)::float8";

static const char REMOVE[] =
    "DELETE FROM pghaul.pulse WHERE job = $1::bigint AND pid = pg_backend_pid()";

void probe_pulse_init(struct probe *probe)
{
    baseline_init(&probe->latency, QUANTILE);
}

/* ------------------------------------------------------------------------------------- what it
 * took */

static int window_values(const struct probe *probe, int64_t now_us, double *values)
{
    int count = 0;

    for (int i = 0; i < probe->latency_count; i++)
        if (now_us - probe->latencies[i].at_us <= WINDOW_US)
            values[count++] = probe->latencies[i].us;
    return count;
}

static void tell_latency(struct probe *probe, int64_t now_us)
{
    double values[LATENCY_SAMPLES];
    int count = window_values(probe, now_us, values);
    double usual;

    probe->view.latency_baseline_us = 0;
    probe->view.baseline_us = baseline_newest_us(&probe->latency);
    if (count < WINDOW_SAMPLES_MIN || !baseline_value(&probe->latency, now_us, &usual)) {
        probe_absent(probe, SIGNAL_FOREGROUND_LATENCY, now_us);
        return;
    }
    probe->view.latency_baseline_us = usual;
    usual = fmax(usual, BASELINE_US_MIN);
    probe_ok(probe, SIGNAL_FOREGROUND_LATENCY, baseline_quantile(values, count, QUANTILE) / usual,
             "", now_us);
}

static void add_latency(struct probe *probe, int64_t took_us, int64_t idle_us, int64_t now_us)
{
    probe->view.latency_us = took_us;
    probe->latencies[probe->latency_next].us = (double)took_us;
    probe->latencies[probe->latency_next].at_us = now_us;
    probe->latency_next = (probe->latency_next + 1) % LATENCY_SAMPLES;
    if (probe->latency_count < LATENCY_SAMPLES)
        probe->latency_count++;
    baseline_add(&probe->latency, (double)took_us, probe_rested_us(probe, idle_us), now_us);
    tell_latency(probe, now_us);
}

/* ----------------------------------------------------------------------------- what it shows there
 */

static void add_pulse(struct probe *probe, double at, int64_t now_us)
{
    int last = (probe->pulse_next + PULSES_MAX - 1) % PULSES_MAX;

    /* One a second is enough, and makes them last for two minutes. */
    if (probe->pulse_count > 0 && now_us - probe->pulses[last].now_us < 1000000)
        return;
    probe->pulses[probe->pulse_next] = (struct pulse){at, probe->view.wal, now_us};
    probe->pulse_next = (probe->pulse_next + 1) % PULSES_MAX;
    if (probe->pulse_count < PULSES_MAX)
        probe->pulse_count++;
}

/*
 * A replica that shows a pulse has replayed all that was written before it. It is as old as the
 * first one that it does not show; with the newest one, it is not known to be behind at all.
 */
bool probe_pulse_seen(const struct probe *probe, double at, int64_t now_us, double *replayed,
                      double *age_seconds)
{
    const struct pulse *seen = NULL, *next = NULL;

    for (int i = 0; i < probe->pulse_count; i++) {
        const struct pulse *pulse = &probe->pulses[i];

        /* Of the same server's clock, and the same digits: half a millisecond is rounding. */
        if (pulse->at <= at + 0.0005) {
            if (seen == NULL || pulse->at > seen->at)
                seen = pulse;
        } else if (next == NULL || pulse->at < next->at) {
            next = pulse;
        }
    }
    /* None, or one older than all that we remember: nobody knows how far behind that is. */
    if (seen == NULL)
        return false;
    *replayed = seen->wal;
    *age_seconds = next != NULL ? (double)(now_us - next->now_us) / 1e6 : 0;
    return true;
}

/* ----------------------------------------------------------------------------------------- writing
 */

/* On each connection, and now and then. */
static bool clean(struct probe *probe, struct error *error)
{
    bool same =
        probe->pulse_connection > 0 && probe->pulse_connection == ask_connections(probe->ask);

    if (same && clock_us() - probe->clean_us < CLEAN_US)
        return true;
    if (!ask_once(probe->ask, NULL, CLEAN,
                  PARAMS(NUMBER(probe->target.job), NUMBER(probe->pulse_pid)), PROBE_ANSWER_US,
                  error))
        return false;
    probe->view.statements++;
    probe->pulse_connection = ask_connections(probe->ask);
    probe->clean_us = clock_us();
    return true;
}

/* Before our row is written, for it may be written and not answered. */
static void note_pid(struct probe *probe)
{
    int pid = ask_backend_pid(probe->ask);

    if (pid == 0 || pid == probe->pulse_pid)
        return;
    if (probe->pulse_pid != 0)
        probe_peers_note_lost(probe, probe->pulse_pid, clock_us());
    probe->pulse_pid = pid;
}

bool probe_latency(struct probe *probe, const struct probe_pulse *pulse, int64_t idle_us,
                   struct error *error)
{
    ROWS_AUTO rows = {0};
    int64_t start_us, now_us;
    bool ok;

    if (probe->target.job == 0)
        return true;
    if (!clean(probe, error))
        return false;
    note_pid(probe);
    start_us = clock_us();
    ok =
        ask_query(probe->ask, &rows, PULSE,
                  PARAMS(NUMBER(probe->target.job), NUMBER(pulse->priority), NUMBER(pulse->written),
                         pulse->wants ? "true" : "false", pulse->waits ? "true" : "false"),
                  PROBE_ANSWER_US, error);
    now_us = clock_us();
    probe->view.statements++;
    if (!ok) {
        probe->trouble = *error;
        /* One that was given up took at least as long as it was waited for. */
        if (now_us - start_us >= PROBE_STATEMENT_MS * 1000 / 2)
            add_latency(probe, now_us - start_us, 0, now_us);
        return false;
    }
    note_pid(probe);
    add_pulse(probe, rows_double(&rows, 0, 0), now_us);
    add_latency(probe, now_us - start_us, idle_us, now_us);
    return true;
}

void probe_pulse_close(struct probe *probe)
{
    struct error ignored;

    if (probe->target.job > 0 && probe->pulse_connection > 0 &&
        probe->pulse_connection == ask_connections(probe->ask) &&
        !ask_once(probe->ask, NULL, REMOVE, PARAMS(NUMBER(probe->target.job)), PROBE_ANSWER_US / 4,
                  &ignored))
        return; /* others forget it when it is old */
}
