#include "tests/probing.h"

#include <string.h>

#include "engine/base/clock.h"
#include "engine/job/schema.h"

static void apply(struct settings *settings, const char *assignment)
{
    struct error error;

    if (!settings_set(settings, assignment, &error))
        t_fail("%s: %s", assignment, error.message);
}

static struct probe *open_probe(const struct probe_target *target, const char *role, va_list args)
{
    struct session_options connect = {.conninfo =
                                          role != NULL ? t_conninfo_as(role) : t_conninfo()};
    struct settings settings;
    struct probe_options options = {
        .connect = &connect, .application_name = "pghaul probe", .settings = &settings};
    struct probe *probe = NULL;
    struct error error;

    settings_init(&settings);
    for (const char *at = va_arg(args, const char *); at != NULL; at = va_arg(args, const char *))
        apply(&settings, at);
    if (!probe_open(&probe, &options, target, &error))
        t_fail("%s", error.message);
    return probe;
}

struct probe *probing_at(const struct probe_target *target, const char *role, ...)
{
    struct probe *probe;
    va_list args;

    va_start(args, role);
    probe = open_probe(target, role, args);
    va_end(args);
    return probe;
}

struct probe *probing(const char *role, ...)
{
    struct probe *probe;
    va_list args;

    va_start(args, role);
    probe = open_probe(&(struct probe_target){.disk_base = -1}, role, args);
    va_end(args);
    return probe;
}

/* The defaults, and that one. */
void probing_set(struct probe *probe, const char *assignment)
{
    struct settings settings;

    settings_init(&settings);
    apply(&settings, assignment);
    probe_configure(probe, &settings);
}

int64_t probing_job(void)
{
    const struct session_options options = {.conninfo = t_conninfo(),
                                            .application_name = "pghaul test"};
    SESSION_AUTO *session = NULL;
    struct error error;

    if (!session_open(&session, &options, &error) || !schema_ensure(session, &error))
        t_fail("%s", error.message);
    return t_int("INSERT INTO pghaul.job (name, kind, table_schema, table_name, source_oid, state,"
                 "                        spec, plan, settings, meaning, program_version)"
                 "VALUES ('j', 'backfill', 'public', 'orders', 0, 'running', '{}', '{}', '{}',"
                 "        '{}', '') RETURNING id");
}

uint32_t probing_oid(const char *table)
{
    return (uint32_t)t_int(t_format("SELECT '%s'::regclass::oid", table));
}

void probing_look(struct probe *probe)
{
    struct error error = {0};

    if (!probe_slow(probe, 0, &error))
        t_fail("%s %s", error.message, error.detail);
}

void probing_look_fast(struct probe *probe)
{
    struct error error = {0};

    if (!probe_fast(probe, &error))
        t_fail("%s %s", error.message, error.detail);
}

void probing_look_again(struct probe *probe)
{
    int64_t end_ms = clock_ms() + 20000;
    struct error error = {0};

    while (!probe_slow(probe, 0, &error)) {
        if (clock_ms() > end_ms)
            t_fail("%s %s", error.message, error.detail);
        clock_sleep_ms(50);
    }
}

void probing_pulse(struct probe *probe, int64_t idle_us)
{
    probing_tell(probe, (struct probe_pulse){.priority = 10, .written = 4711, .wants = true},
                 idle_us);
}

void probing_tell(struct probe *probe, struct probe_pulse pulse, int64_t idle_us)
{
    struct error error = {0};

    if (!probe_latency(probe, &pulse, idle_us, &error))
        t_fail("%s %s", error.message, error.detail);
}

const struct reading *probing_reading(const struct probe *probe, enum signal_id id)
{
    return &probe_view(probe)->readings[id];
}

const struct reading *probing_expect(const struct probe *probe, enum signal_id id,
                                     enum reading_state state)
{
    const struct reading *reading = probing_reading(probe, id);

    if (reading->state != state)
        t_fail("%s is in state %d, not %d: %g %s %s", signal_table[id].name, (int)reading->state,
               (int)state, reading->value, reading->who, reading->why);
    if (state == READING_OK && (reading->limit <= 0 || reading->at_us == 0))
        t_fail("%s has no limit or time", signal_table[id].name);
    return reading;
}

const struct reading *probing_until(struct probe *probe, enum signal_id id,
                                    enum reading_state state)
{
    int64_t end_ms = clock_ms() + 10000;
    struct error ignored;

    while (probing_reading(probe, id)->state != state && clock_ms() < end_ms)
        if (!probe_slow(probe, 0, &ignored) || probing_reading(probe, id)->state != state)
            clock_sleep_ms(100);
    return probing_expect(probe, id, state);
}

const char *probing_refused(struct probe *probe, const char *message, const char *part)
{
    struct error error = {0};

    if (probe_check_start(probe, &error))
        t_fail("was not refused");
    if (error.code != ERROR_REFUSED || strstr(error.message, message) == NULL)
        t_fail("'%s' is not in '%s'", message, error.message);
    if (strstr(error.hint, part) == NULL)
        t_fail("'%s' is not in '%s'", part, error.hint);
    return t_format("%s", error.hint);
}

void probing_accepted(struct probe *probe)
{
    struct error error = {0};

    if (!probe_check_start(probe, &error))
        t_fail("%s: %s; %s", error.message, error.detail, error.hint);
}
