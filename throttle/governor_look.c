#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/clock.h"
#include "throttle/baseline.h"
#include "throttle/governor_parts.h"

enum { LISTEN_TIMES = BASELINE_SAMPLES_MIN + 2 };

#define ANSWER_US PROBE_ANSWER_US
#define WINDOW_US INT64_C(30000000)
/* By how much less than it the next small transaction may come early, or later: what comes at even
 * times hits the same moment of our rests again and again. */
#define JITTER_US (LATENCY_US / 4)
/* How much rarer it is while nobody is there to be disturbed, and no replica to tell. */
enum { QUIET_TIMES = 3 };

/* ----------------------------------------------------------------------------------- questions */

/* With the probe's connection, which never keeps us waiting for long. */
static bool query(struct looking *looking, struct rows *rows, const char *sql, struct params params,
                  struct error *error)
{
    return ask_query(probe_ask(looking->probe), rows, sql, params, ANSWER_US, error);
}

/* What goes wrong there is no failure of the job: nothing moves until it is better, as what was
 * read gets older. */
static void note_trouble(struct looking *looking, const struct error *why)
{
    struct governor *governor = looking->governor;

    log_verbose(governor->log, "governor: %s", why->message);
    pthread_mutex_lock(&governor->mutex);
    snprintf(governor->trouble, sizeof(governor->trouble), "%.*s",
             (int)sizeof(governor->trouble) - 1, why->message);
    if (why->code == ERROR_CONNECTION)
        governor->unpaced.our_turn = false; /* that lock was the connection's */
    governor_tell(governor, clock_us());
    pthread_mutex_unlock(&governor->mutex);
}

/* What the server kept for a connection that is gone is gone: the lock of our turn. */
static void notice_connection(struct looking *looking)
{
    struct governor *governor = looking->governor;
    int connections = ask_connections(probe_ask(looking->probe));

    if (connections == looking->connections)
        return;
    looking->connections = connections;
    pthread_mutex_lock(&governor->mutex);
    governor->unpaced.our_turn = false;
    pthread_mutex_unlock(&governor->mutex);
}

/* -------------------------------------------------------------------------------------- a tick */

/* What the job wants, and settings that were changed: `pghaul set`, from any host. */
static bool look_at_job(struct looking *looking, struct error *error)
{
    struct governor *governor = looking->governor;
    ROWS_AUTO rows = {0};
    struct settings settings;
    const char *wanted;
    bool ok = true;

    if (!query(looking, &rows,
               "SELECT wanted, settings_version,\n"
               "       CASE WHEN settings_version <> $2::int THEN settings END\n"
               "  FROM pghaul.job WHERE id = $1::bigint",
               PARAMS(NUMBER(governor->job), NUMBER(governor->settings_version)), error))
        return false;
    wanted = rows_count(&rows) > 0 ? rows_text(&rows, 0, 0) : "abort";
    if (rows_count(&rows) > 0 && rows_text(&rows, 0, 2) != NULL)
        ok = settings_from_json(&settings, rows_text(&rows, 0, 2), error);
    pthread_mutex_lock(&governor->mutex);
    governor->paused = strcmp(wanted, "pause") == 0;
    governor->aborting = strcmp(wanted, "abort") == 0;
    if (ok && rows_count(&rows) > 0 && rows_text(&rows, 0, 2) != NULL) {
        governor->settings_version = rows_int64(&rows, 0, 1);
        ok = governor_configure(governor, &settings, clock_us(), error);
    }
    pthread_mutex_unlock(&governor->mutex);
    return ok;
}

static bool look_at_window(struct looking *looking, struct error *error)
{
    struct governor *governor = looking->governor;
    ROWS_AUTO rows = {0};
    TEXT_AUTO opens = {0};
    TEXT_AUTO closes = {0};
    struct window window;
    int64_t now_us = clock_us();
    bool due;

    pthread_mutex_lock(&governor->mutex);
    window = governor->window;
    due = governor->has_window &&
          (governor->window_us == 0 || now_us - governor->window_us >= WINDOW_US ||
           (double)(now_us - governor->window_us) / 1e6 >= governor->window_state.seconds);
    pthread_mutex_unlock(&governor->mutex);
    if (!due)
        return true;
    window_ranges(&window, &opens, &closes);
    if (!query(looking, &rows, window_sql,
               PARAMS(NULL, window.zone, text_string(&opens), text_string(&closes)), error))
        return false;
    pthread_mutex_lock(&governor->mutex);
    governor->window_state = window_answer(&rows);
    governor->window_us = now_us;
    pthread_mutex_unlock(&governor->mutex);
    return true;
}

/* The number is that of schema.c's locks and two. */
#define TURN "123511210833263"

static const char TAKE_TURN[] =
    "SELECT pg_try_advisory_lock(" TURN "),\n"
    "       (SELECT format('process %s (%s)', l.pid, a.application_name)\n"
    "          FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database\n"
    "          LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid\n"
    "         WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()\n"
    "           AND (l.classid::bigint << 32) + l.objid::bigint = " TURN " AND l.objsubid = 1\n"
    "           AND l.pid <> pg_backend_pid())";

static const char GIVE_TURN[] = "SELECT pg_advisory_unlock(" TURN ")";

/*
 * The turn of this database for what cannot be paced: a session lock, gone with the session. It is
 * ours from after the server said so until before the server hears that it is not: who asks
 * meanwhile waits.
 */
static bool take_turn(struct looking *looking, struct error *error)
{
    struct governor *governor = looking->governor;
    struct governor_unpaced *unpaced = &governor->unpaced;
    ROWS_AUTO rows = {0};
    bool wanted, take, give;

    pthread_mutex_lock(&governor->mutex);
    wanted = unpaced->turn_asked_us > 0 && clock_us() - unpaced->turn_asked_us < GIVEN_UP_US;
    take = wanted && !unpaced->our_turn;
    give = unpaced->our_turn && !wanted && unpaced->running == 0;
    unpaced->our_turn = unpaced->our_turn && !give;
    pthread_mutex_unlock(&governor->mutex);
    if (give)
        return query(looking, &rows, GIVE_TURN, NO_PARAMS, error);
    if (!take)
        return true;
    if (!query(looking, &rows, TAKE_TURN, NO_PARAMS, error))
        return false;
    pthread_mutex_lock(&governor->mutex);
    unpaced->our_turn = rows_bool(&rows, 0, 0);
    snprintf(unpaced->turn_of, sizeof(unpaced->turn_of), "%s",
             !unpaced->our_turn && rows_text(&rows, 0, 1) != NULL ? rows_text(&rows, 0, 1) : "");
    pthread_mutex_unlock(&governor->mutex);
    return true;
}

/* How long nothing of ours has been in flight, in microseconds; 0: something is. */
static int64_t idle_us(struct governor *governor)
{
    int64_t now_us = clock_us();
    int64_t idle;

    pthread_mutex_lock(&governor->mutex);
    idle = governor->work.in_flight > 0 ? 0 : now_us - governor->work.idle_since_us;
    pthread_mutex_unlock(&governor->mutex);
    return idle;
}

/* Others that were there before us must have read our row before we take our part. */
static bool joined(struct looking *looking, int64_t now_us)
{
    if (looking->joined_us == 0)
        looking->joined_us = now_us;
    return looking->governor->share.count == 0 || now_us - looking->joined_us >= SHARE_JOIN_US;
}

/*
 * Should there be a pause in which the others are heard without us? When it is not known what is
 * usual for them; and when it seems that we are too loud and there was none for long: else a
 * foreground that has become slower by itself would slow us down for ever.
 */
static bool should_listen(const struct governor *governor, int64_t now_us)
{
    const struct reading *latency = &governor->view.readings[SIGNAL_FOREGROUND_LATENCY];
    int reason = governor->decision.reason;

    if (!governor->view.foreign || !governor_is_auto(governor) || latency->state == READING_OFF ||
        governor->unpaced.running > 0 || now_us - governor->listened_us < UNHEARD_US)
        return false;
    return latency->state == READING_ABSENT ||
           (reason >= 0 && signal_table[reason].acts == ACTS_LOAD &&
            now_us - governor->view.baseline_us > UNHEARD_US);
}

/* What was read counts from now on. */
static void take_over(struct looking *looking, bool all)
{
    struct governor *governor = looking->governor;
    int64_t now_us = clock_us();

    pthread_mutex_lock(&governor->mutex);
    governor->view = *probe_view(looking->probe);
    governor_decide(governor, now_us);
    if (joined(looking, now_us)) {
        governor->read_us = now_us;
        governor->trouble[0] = '\0';
    }
    if (all && governor->listening_us == 0 && should_listen(governor, now_us))
        governor->listening_us = now_us;
    governor_tell(governor, now_us);
    pthread_mutex_unlock(&governor->mutex);
}

static bool tick(struct looking *looking, struct error *error)
{
    struct governor *governor = looking->governor;
    struct settings settings;

    if (!look_at_job(looking, error))
        return false;
    pthread_mutex_lock(&governor->mutex);
    settings = governor->settings;
    pthread_mutex_unlock(&governor->mutex);
    probe_configure(looking->probe, &settings);
    if (!look_at_window(looking, error) || !probe_slow(looking->probe, idle_us(governor), error))
        return false;
    looking->measured_us = clock_us();
    take_over(looking, true);
    return take_turn(looking, error) &&
           governor_sample(governor, probe_ask(looking->probe), clock_us(), error);
}

static int64_t latency_period_us(struct looking *looking)
{
    const struct probe_view *view = probe_view(looking->probe);
    int64_t period_us = LATENCY_US - JITTER_US + rand_r(&looking->seed) % (2 * JITTER_US);

    return view->foreign || view->replica_count > 0 ? period_us : QUIET_TIMES * period_us;
}

static bool latency(struct looking *looking, struct error *error)
{
    struct governor *governor = looking->governor;
    struct probe_pulse pulse;

    pthread_mutex_lock(&governor->mutex);
    pulse = (struct probe_pulse){
        .priority = (int)governor->settings.priority,
        .written = (int64_t)governor->work.ours,
        .wants = governor->wants || governor->unpaced.running > 0,
        .waits =
            governor->unpaced.owed_us > 0 && clock_us() - governor->unpaced.owed_us < GIVEN_UP_US,
    };
    pthread_mutex_unlock(&governor->mutex);
    return probe_latency(looking->probe, &pulse, idle_us(governor), error);
}

/* Our small transaction, again and again, while nothing of ours is in flight. */
static bool listen(struct looking *looking, struct error *error)
{
    for (int i = 0; i < LISTEN_TIMES && idle_us(looking->governor) > 0; i++) {
        struct timespec rest = {0, LISTEN_STEP_US * 1000};

        if (!latency(looking, error))
            return false;
        nanosleep(&rest, NULL);
    }
    return true;
}

/* As soon as what is in flight has ended, and left nothing behind; at last without that. */
static bool listen_when_idle(struct looking *looking, struct error *error)
{
    struct governor *governor = looking->governor;
    int64_t since_us;
    bool ok = true;

    pthread_mutex_lock(&governor->mutex);
    since_us = governor->listening_us;
    pthread_mutex_unlock(&governor->mutex);
    if (since_us == 0)
        return true;
    if (idle_us(governor) >= BASELINE_SETTLE_US)
        ok = listen(looking, error);
    else if (clock_us() - since_us < LISTEN_LONGEST_US)
        return true;
    pthread_mutex_lock(&governor->mutex);
    governor->listening_us = 0;
    governor->listened_us = clock_us();
    pthread_mutex_unlock(&governor->mutex);
    return ok;
}

static bool measure(struct looking *looking, struct error *error)
{
    looking->measured_us = clock_us();
    if (!probe_fast(looking->probe, error))
        return false;
    take_over(looking, false);
    return take_turn(looking, error);
}

/* ---------------------------------------------------------------------------------- the thread */

static bool do_what_is_due(struct looking *looking, bool look, bool wants_measure, int64_t now_us,
                           struct error *error)
{
    if (look || now_us >= looking->tick_us) {
        looking->tick_us = now_us + TICK_US;
        if (!tick(looking, error))
            return false;
    } else if (wants_measure && now_us - looking->measured_us >= MEASURE_US &&
               !measure(looking, error)) {
        return false;
    }
    if (now_us >= looking->latency_us) {
        looking->latency_us = now_us + latency_period_us(looking);
        if (!latency(looking, error))
            return false;
    }
    if (!listen_when_idle(looking, error))
        return false;
    if (now_us >= looking->thin_us) {
        looking->thin_us = now_us + GOVERNOR_THIN_US;
        return governor_thin(looking->governor, probe_ask(looking->probe), error);
    }
    return true;
}

/* When the thread should look again, if nobody wakes it. Under the mutex. */
static int64_t until_when(const struct governor *governor, int64_t due_us, int64_t measure_us)
{
    int64_t step_us = clock_us() + LISTEN_STEP_US;

    if (governor->measure && measure_us < due_us)
        due_us = measure_us;
    return governor->listening_us > 0 && step_us < due_us ? step_us : due_us;
}

/* Until something is due, or somebody wants us to look. True: it is over. */
static bool wait_until(struct governor *governor, int64_t due_us, int64_t measure_us, bool *look,
                       bool *wants_measure)
{
    bool over;

    pthread_mutex_lock(&governor->mutex);
    for (;;) {
        int64_t until_us = until_when(governor, due_us, measure_us);
        struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};

        if (governor->over || governor->look || clock_us() >= until_us)
            break;
        if (pthread_cond_timedwait(&governor->changed, &governor->mutex, &until) != 0)
            break;
    }
    over = governor->over;
    *look = governor->look;
    *wants_measure = governor->measure;
    governor->look = governor->measure = false;
    pthread_mutex_unlock(&governor->mutex);
    return over;
}

void *governor_run(void *arg)
{
    struct looking *looking = arg;
    struct governor *governor = looking->governor;
    bool look = false, wants_measure = false;
    struct error ignored = {0};

    pthread_setname_np(pthread_self(), "governor");
    /* The foreground before we begin: what is usual. */
    if (!listen(looking, &ignored))
        note_trouble(looking, &ignored);
    do {
        int64_t now_us = clock_us();
        struct error error = {0};

        notice_connection(looking);
        if (!do_what_is_due(looking, look, wants_measure, now_us, &error))
            note_trouble(looking, &error);
    } while (!wait_until(
        governor, looking->tick_us < looking->latency_us ? looking->tick_us : looking->latency_us,
        looking->measured_us + MEASURE_US, &look, &wants_measure));
    if (!governor_thin(governor, probe_ask(looking->probe), &ignored))
        log_verbose(governor->log, "governor: %s", ignored.message);
    probe_close(looking->probe);
    free(looking);
    return NULL;
}
