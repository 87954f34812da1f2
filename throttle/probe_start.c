/* The look before a job begins: nothing that is on may be unreadable. */
#include "throttle/probe_parts.h"

#include <time.h>

#include "engine/base/clock.h"

/* A standby that has just connected, or a replica that is slow to answer, gets this long. */
static const int64_t PATIENCE_US = 3000000;
static const int64_t REST_MS = 200;

static int first_unreadable(const struct probe *probe)
{
    for (int i = 0; i < SIGNAL_COUNT; i++)
        if (probe->view.readings[i].state == READING_UNREADABLE)
            return i;
    return -1;
}

/* A privilege does not come by waiting. */
static bool may_change(const struct probe *probe)
{
    for (int i = 0; i < SIGNAL_COUNT; i++)
        if (probe->view.readings[i].state == READING_UNREADABLE &&
            probe->view.readings[i].grant[0] == '\0')
            return true;
    return false;
}

/* One that tells how far it is by our row only, must see one. */
static bool write_pulse(struct probe *probe, struct error *error)
{
    const struct probe_pulse pulse = {.priority = (int)probe->settings.priority};

    for (int i = 0; i < probe->asked_count; i++)
        if (probe->asked[i].by_pulse)
            return probe_latency(probe, &pulse, 0, error);
    return true;
}

bool probe_look_all(struct probe *probe, struct error *error)
{
    int64_t end_us = clock_us() + PATIENCE_US;

    for (;;) {
        if (!probe_slow(probe, 0, error))
            return false;
        if (first_unreadable(probe) < 0 || !may_change(probe) || clock_us() >= end_us)
            return true;
        if (probe->stop != NULL && !stop_sleep_ms(probe->stop, REST_MS, error))
            return false;
        if (probe->stop == NULL)
            clock_sleep_ms(REST_MS);
        if (!write_pulse(probe, error))
            return false;
    }
}

/* The limit is the job's once there is one: what works on it then takes no options for that. */
static void tell_off(const struct probe *probe, enum signal_id id, struct text *hint)
{
    if (probe->target.job == 0) {
        text_append(hint, signal_table[id].off);
        return;
    }
    probe_set_text(probe, hint);
    text_appendf(hint, "%s=off", signal_table[id].setting);
    /* Both say that of the same replica. */
    if (id == SIGNAL_REPLICA_LAG_BYTES &&
        probe->view.readings[SIGNAL_REPLICA_LAG_TIME].state == READING_UNREADABLE)
        text_appendf(hint, " %s=off", signal_table[SIGNAL_REPLICA_LAG_TIME].setting);
}

static bool refuse(const struct probe *probe, enum signal_id id, struct error *error)
{
    const struct reading *reading = &probe->view.readings[id];
    const struct signal *signal = &signal_table[id];
    TEXT_AUTO hint = {0};

    error_set(error, ERROR_REFUSED, "%s cannot be read: %s", signal->name, reading->why);
    error_detail(error, "%s: what is not known cannot be held within a limit (%s)", signal->what,
                 signal->setting);
    if (reading->grant[0] != '\0')
        text_append(&hint, reading->grant);
    if (reading->todo[0] != '\0') {
        text_separate(&hint, "; or ");
        text_append(&hint, reading->todo);
    }
    text_separate(&hint, "; or ");
    text_append(&hint, "without it: ");
    tell_off(probe, id, &hint);
    return error_hint(error, "%s", text_string(&hint));
}

bool probe_check_start(struct probe *probe, struct error *error)
{
    int id;

    if (!probe_look_all(probe, error))
        return false;
    id = first_unreadable(probe);
    return id < 0 || refuse(probe, (enum signal_id)id, error);
}
