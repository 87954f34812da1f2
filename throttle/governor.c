#include "throttle/governor.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "throttle/governor_parts.h"

enum { LISTEN_FIRST = 5 };

#define ANSWER_US PROBE_ANSWER_US
#define THIN_US INT64_C(300000000)
#define WINDOW_US INT64_C(30000000)
#define LISTEN_FIRST_US INT64_C(20000)
/* By how much less than it the next small transaction may come early, or later: what comes at even
 * times hits the same moment of our rests again and again. */
#define JITTER_US (LATENCY_US / 4)
/* How much rarer it is while nobody is there to be disturbed, and no replica to tell. */
enum { QUIET_TIMES = 3 };

/* The thread's own. */
struct looking {
    struct governor *governor;
    struct probe *probe;
    int connections; /* that the probe had made when it was looked at last */
    int64_t tick_us; /* when the next is due; the same for the rest */
    int64_t latency_us;
    int64_t measured_us; /* when the replicas were read last */
    int64_t thin_us;
    unsigned seed;
    int64_t joined_us; /* when the first exchange with others was: 0: not yet */
};

/* ------------------------------------------------------------------------------------ questions */

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

/* ---------------------------------------------------------------------------------------- a tick
 */

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

/* The turn of this database for what cannot be paced: a session lock, gone with the session. */
static bool take_turn(struct looking *looking, struct error *error)
{
    struct governor *governor = looking->governor;
    const struct governor_unpaced *unpaced = &governor->unpaced;
    ROWS_AUTO rows = {0};
    bool wanted, take, give;

    pthread_mutex_lock(&governor->mutex);
    wanted = unpaced->turn_asked_us > 0 && clock_us() - unpaced->turn_asked_us < GIVEN_UP_US;
    take = wanted && !unpaced->our_turn;
    give = unpaced->our_turn && !wanted && unpaced->running == 0;
    pthread_mutex_unlock(&governor->mutex);
    if (!take && !give)
        return true;
    /* The number is that of schema.c's locks and two. */
    if (!query(looking, &rows,
               take ? "SELECT pg_try_advisory_lock(123511210833263)"
                    : "SELECT NOT pg_advisory_unlock(123511210833263)",
               NO_PARAMS, error))
        return false;
    pthread_mutex_lock(&governor->mutex);
    governor->unpaced.our_turn = rows_bool(&rows, 0, 0);
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
 * A pause in which the others can be heard without us, when it seems that we are too loud and there
 * was none for long: else a foreground that has become slower by itself would slow us down for
 * ever.
 */
static void listen_if_needed(struct governor *governor, int64_t now_us)
{
    int reason = governor->decision.reason;

    if (reason >= 0 && signal_table[reason].acts == ACTS_LOAD && governor->view.foreign &&
        now_us - governor->view.baseline_us > UNHEARD_US && now_us > governor->listen_until_us)
        governor->listen_until_us = now_us + LISTEN_US;
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
    if (all)
        listen_if_needed(governor, now_us);
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
        .wants = governor->wants,
    };
    pthread_mutex_unlock(&governor->mutex);
    return probe_latency(looking->probe, &pulse, idle_us(governor), error);
}

static bool measure(struct looking *looking, struct error *error)
{
    looking->measured_us = clock_us();
    if (!probe_fast(looking->probe, error))
        return false;
    take_over(looking, false);
    return take_turn(looking, error);
}

/* ------------------------------------------------------------------------------------ the thread
 */

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
    if (now_us >= looking->thin_us) {
        looking->thin_us = now_us + THIN_US;
        return governor_thin(looking->governor, probe_ask(looking->probe), error);
    }
    return true;
}

/* Until something is due, or somebody wants us to look. True: it is over. */
static bool wait_until(struct governor *governor, int64_t due_us, int64_t measure_us, bool *look,
                       bool *wants_measure)
{
    bool over;

    pthread_mutex_lock(&governor->mutex);
    for (;;) {
        int64_t until_us = governor->measure && measure_us < due_us ? measure_us : due_us;
        struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};

        if (governor->over || governor->look || clock_us() >= until_us)
            break;
        pthread_cond_timedwait(&governor->changed, &governor->mutex, &until);
    }
    over = governor->over;
    *look = governor->look;
    *wants_measure = governor->measure;
    governor->look = governor->measure = false;
    pthread_mutex_unlock(&governor->mutex);
    return over;
}

/* The server's foreground, while we have not begun: a baseline to start from. */
static void listen_first(struct looking *looking)
{
    struct error error = {0};

    for (int i = 0; i < LISTEN_FIRST && idle_us(looking->governor) > 0; i++) {
        struct timespec rest = {0, LISTEN_FIRST_US * 1000};

        if (!latency(looking, &error))
            return;
        nanosleep(&rest, NULL);
    }
}

static void *govern(void *arg)
{
    struct looking *looking = arg;
    struct governor *governor = looking->governor;
    bool look = false, wants_measure = false;
    struct error ignored = {0};

    pthread_setname_np(pthread_self(), "governor");
    listen_first(looking);
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

/* -------------------------------------------------------------------------------- start and stop
 */

enum { EXPECTED_MAX = LAW_REPLICAS_MAX };

/* Names of the replicas that the job saw when it began; false: it has not told. */
static bool expected_of(const json_t *facts, const char **names, int *count)
{
    const json_t *list = json_object_get(facts, "replicas");
    size_t at;
    json_t *name;

    *count = 0;
    json_array_foreach((json_t *)list, at, name)
    {
        if (json_is_string(name) && *count < EXPECTED_MAX)
            names[(*count)++] = json_string_value(name);
    }
    return json_is_array(list);
}

/* They must be there from now on, whoever works on the job. */
static bool remember_replicas(struct run *run, const struct probe_view *view, struct error *error)
{
    json_t *names = json_array();
    char *text;
    bool ok;

    for (int i = 0; i < view->seen_count; i++)
        json_array_append_new(names, json_string(view->seen[i]));
    text = json_dumps(names, JSON_COMPACT);
    ok = job_set_fact(run->session, &run->job, "replicas", text, error);
    free(text);
    json_decref(names);
    return ok;
}

static bool remember_disk(struct run *run, double bytes, struct error *error)
{
    return bytes < 0 ||
           job_set_fact(run->session, &run->job, "disk_base", NUMBER((int64_t)bytes), error);
}

static bool is_auto(const struct settings *settings)
{
    return strcmp(settings->policy, law_off.name) != 0 &&
           strncmp(settings->policy, "fixed", 5) != 0;
}

static bool open_probe(const struct run *run, const struct probe_target *target,
                       const char *application_name, struct probe **probe, struct error *error)
{
    struct probe_options options = {
        .connect = &run->connect,
        .application_name = application_name,
        .settings = &run->job.settings,
        .stop = run->stop,
    };

    return probe_open(probe, &options, target, error);
}

bool governor_check(const struct run *run, struct error *error)
{
    struct probe_target target = {
        .tables = {run->job.source_oid}, .table_count = 1, .disk_base = -1};
    struct probe *probe = NULL;
    bool ok;

    if (!is_auto(&run->job.settings))
        return true;
    ok = open_probe(run, &target, "pghaul governor", &probe, error) &&
         probe_check_start(probe, error);
    probe_close(probe);
    return ok;
}

/* Those that are there now must be there from now on. */
static void expect_seen(struct probe *probe, struct probe_target target)
{
    const struct probe_view *view = probe_view(probe);
    const char *names[EXPECTED_MAX];

    for (int i = 0; i < view->seen_count; i++)
        names[i] = view->seen[i];
    target.expected = names;
    target.expected_count = view->seen_count;
    probe_aim(probe, &target);
}

/* What the job knows of its beginning; what it does not, it learns now. */
static bool begin_probe(struct governor *governor, struct run *run, struct probe **probe,
                        struct error *error)
{
    json_t *facts = json_loads(run->job.facts != NULL ? run->job.facts : "{}", 0, NULL);
    const json_t *base = json_object_get(facts, "disk_base");
    const char *names[EXPECTED_MAX];
    struct probe_target target = {
        .job = run->job.id,
        .tables = {run->job.source_oid},
        .table_count = 1,
        .expected = names,
        .disk_base = json_is_number(base) ? json_number_value(base) : -1,
    };
    bool known = expected_of(facts, names, &target.expected_count);
    bool ok = open_probe(run, &target, governor->application_name, probe, error) &&
              (is_auto(&run->job.settings) ? probe_check_start(*probe, error)
                                           : probe_look_all(*probe, error));

    json_decref(facts);
    if (ok && !known) {
        expect_seen(*probe, target);
        ok = remember_replicas(run, probe_view(*probe), error);
    }
    if (ok && target.disk_base < 0)
        ok = remember_disk(run, probe_view(*probe)->disk_base, error);
    return ok;
}

static struct governor *governor_new(const struct run *run, const struct law *const *laws,
                                     bool windowed)
{
    struct governor *governor = memory_zero(1, sizeof(*governor));
    pthread_condattr_t monotonic;
    int64_t now_us = clock_us();

    governor->job = run->job.id;
    governor->settings_version = run->job.settings_version;
    governor->connect = run->connect;
    governor->connect.cancel_list =
        NULL; /* it ends by itself, and tells while others are cancelled */
    governor->connect.meaning = NULL;
    governor->log = run->log;
    governor->progress = run->progress;
    governor->laws = laws;
    governor->windowed = windowed;
    governor->charge = 1;
    governor->reason.signal = -1;
    governor->reason.since_us = governor->work.idle_since_us = governor->law_us = now_us;
    snprintf(governor->application_name, sizeof(governor->application_name),
             "pghaul %.40s governor", run->job.name);
    share_init(&governor->share);
    pthread_mutex_init(&governor->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&governor->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    governor_pace_init(governor);
    return governor;
}

static void governor_free(struct governor *governor)
{
    free(governor->law_state);
    pthread_cond_destroy(&governor->changed);
    pthread_mutex_destroy(&governor->mutex);
    free(governor);
}

bool governor_start(struct governor **started, struct run *run, const struct law *const *laws,
                    bool windowed, struct error *error)
{
    struct governor *governor = governor_new(run, laws, windowed);
    struct looking *looking = memory_zero(1, sizeof(*looking));

    *started = NULL;
    looking->governor = governor;
    looking->thin_us = clock_us() + THIN_US;
    if (governor_configure(governor, &run->job.settings, clock_us(), error) &&
        begin_probe(governor, run, &looking->probe, error)) {
        if (pthread_create(&governor->thread, NULL, govern, looking) == 0) {
            run->pace = &governor->pace;
            *started = governor;
            return true;
        }
        error_set(error, ERROR_INTERNAL, "could not start the governor's thread");
    }
    probe_close(looking->probe);
    free(looking);
    governor_free(governor);
    return false;
}

void governor_stop(struct governor *governor, struct run *run)
{
    if (governor == NULL)
        return;
    pthread_mutex_lock(&governor->mutex);
    governor->over = true;
    pthread_cond_signal(&governor->changed);
    pthread_mutex_unlock(&governor->mutex);
    pthread_join(governor->thread, NULL);
    run->pace = pace_none();
    progress_throttle(run->progress, "");
    governor_free(governor);
}
