#include "throttle/governor.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "engine/base/clock.h"
#include "engine/base/memory.h"
#include "throttle/governor_parts.h"

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

/* ------------------------------------------------------------------------------ before there is
 * one
 */

static void tell_replicas(const struct probe_view *view, struct text *told)
{
    text_append(told, view->replica_count == 0   ? "; no replica"
                      : view->replica_count == 1 ? "; replica "
                                                 : "; replicas ");
    for (int i = 0; i < view->replica_count; i++)
        text_appendf(told, "%s%s", i > 0 ? ", " : "", view->replicas[i].name);
}

static void tell_limits(const struct settings *settings, struct text *told)
{
    const char *separator = "; limits: ";

    for (int i = 0; i < SIGNAL_COUNT; i++) {
        bool relative;
        double limit = signal_limit(settings, (enum signal_id)i, &relative);

        if (limit <= 0)
            continue;
        text_appendf(told, "%s%s", separator, signal_table[i].name);
        separator = ", ";
        if (!relative) {
            text_append(told, " ");
            signal_value_text(signal_table[i].unit, limit, told);
        }
    }
}

static void tell_policy(const struct settings *settings, bool heeds_signals, struct text *told)
{
    text_append(told, settings->policy);
    if (!heeds_signals)
        text_append(told, ", whatever the signals say");
    if (settings->window[0] != '\0')
        text_appendf(told, "; window %s", settings->window);
}

bool governor_check(const struct run *run, const struct law *const *laws, struct text *told,
                    struct error *error)
{
    const struct settings *settings = &run->job.settings;
    struct probe_target target = {
        .tables = {run->job.source_oid}, .table_count = 1, .disk_base = -1};
    struct probe *probe = NULL;
    int64_t fixed_ms;
    const struct law *law = law_of_policy(settings->policy, laws, &fixed_ms, error);
    bool ok;

    if (law == NULL)
        return false;
    tell_policy(settings, law_heeds_signals(law), told);
    if (!law_heeds_signals(law))
        return true;
    ok = open_probe(run, &target, "pghaul governor", &probe, error) &&
         probe_check_start(probe, error);
    if (ok) {
        tell_replicas(probe_view(probe), told);
        tell_limits(settings, told);
    }
    probe_close(probe);
    return ok;
}

/* --------------------------------------------------------------------------------------- its life
 */

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
        .job_name = run->job.name,
        .tables = {run->job.source_oid},
        .table_count = 1,
        .expected = names,
        .disk_base = json_is_number(base) ? json_number_value(base) : -1,
    };
    bool known = expected_of(facts, names, &target.expected_count);
    bool ok = open_probe(run, &target, governor->application_name, probe, error) &&
              (law_heeds_signals(governor->law) ? probe_check_start(*probe, error)
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
    looking->thin_us = clock_us() + GOVERNOR_THIN_US;
    if (governor_configure(governor, &run->job.settings, clock_us(), error) &&
        begin_probe(governor, run, &looking->probe, error)) {
        if (pthread_create(&governor->thread, NULL, governor_run, looking) == 0) {
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
