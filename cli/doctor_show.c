#include "cli/doctor_show.h"

#include "cli/output.h"

enum { NAME_COLUMNS = 22 };

static const char *const STATES[] = {"off", "ok", "absent", "unreadable"};
static const char *const UNITS[] = {"bytes", "seconds", "bytes/s", "percent", "times", "count"};

/* ------------------------------------------------------------------------------------------- text
 */

static void line(struct text *out, const char *name, const char *label, const char *rest)
{
    text_appendf(out, "  %-*s  %s%s\n", NAME_COLUMNS, name, label, rest);
}

static void append_limit(enum signal_id id, const struct doctor_signal *signal, struct text *out)
{
    if (!signal->on) {
        text_append(out, ", off");
    } else if (signal->reading.limit > 0) {
        text_append(out, ", limit ");
        signal_value_text(signal_table[id].unit, signal->reading.limit, out);
    } else {
        text_append(out, ", limit by what is usual");
    }
}

static void append_state(enum signal_id id, const struct doctor_signal *signal, struct text *out)
{
    const struct reading *reading = &signal->reading;

    switch (reading->state) {
    case READING_OK:
        signal_value_text(signal_table[id].unit, reading->value, out);
        break;
    case READING_ABSENT:
        text_append(out, id == SIGNAL_FOREGROUND_LATENCY ? "measured while a job works"
                                                         : "nothing to measure");
        break;
    case READING_UNREADABLE:
        text_append(out, "unreadable");
        break;
    case READING_OFF:
        text_append(out, "not asked");
        break;
    }
}

static void signal_text(enum signal_id id, const struct doctor_signal *signal, struct text *out)
{
    const struct reading *reading = &signal->reading;
    TEXT_AUTO text = {0};

    append_state(id, signal, &text);
    append_limit(id, signal, &text);
    if (reading->state == READING_OK && reading->who[0] != '\0')
        text_appendf(&text, "; %s", reading->who);
    line(out, signal_table[id].name, "", text_string(&text));
    if (reading->state != READING_UNREADABLE)
        return;
    line(out, "", "why: ", reading->why);
    if (reading->grant[0] != '\0')
        line(out, "", "do:  ", reading->grant);
    if (reading->todo[0] != '\0')
        line(out, "", reading->grant[0] != '\0' ? "or:  " : "do:  ", reading->todo);
    if (signal->on)
        line(out, "", "or without it: ", signal_table[id].off);
}

static void standby_text(const struct doctor_standby *standby, struct text *out)
{
    TEXT_AUTO text = {0};

    if (!standby->asked) {
        text_append(&text, standby->why[0] != '\0' ? standby->why : "not asked what runs there");
        if (standby->feedback)
            text_append(&text, "; it holds back vacuum here (hot_standby_feedback)");
        line(out, standby->name, "", text_string(&text));
        if (standby->why[0] == '\0')
            line(out, "", "do:  ", "--replica CONNINFO asks it");
        return;
    }
    text_appendf(&text, "max_standby_streaming_delay %s, hot_standby_feedback %s", standby->delay,
                 standby->feedback ? "on" : "off");
    line(out, standby->name, "", text_string(&text));
    text_clear(&text);
    if (standby->oldest_seconds >= 0) {
        signal_value_text(UNIT_SECONDS, standby->oldest_seconds, &text);
        text_appendf(&text, ", %s", standby->oldest_who);
        line(out, "", "oldest transaction: ", text_string(&text));
    } else {
        line(out, "",
             standby->hidden ? "what others run there is hidden from this role"
                             : "no transaction is open there",
             "");
    }
}

static void show_text(struct cli *cli, const struct doctor_look *look)
{
    TEXT_AUTO text = {0};

    text_append(&text, "signals:\n");
    for (int i = 0; i < SIGNAL_COUNT; i++)
        signal_text((enum signal_id)i, &look->signals[i], &text);
    if (look->standby_count > 0)
        text_append(&text,
                    "standbys (a job's vacuum and swap cancel what runs there for longer than "
                    "max_standby_streaming_delay):\n");
    for (int i = 0; i < look->standby_count; i++)
        standby_text(&look->standbys[i], &text);
    output_text(cli, &text);
}

/* ------------------------------------------------------------------------------------------- JSON
 */

static json_t *string_or_null(const char *string)
{
    return output_string(string[0] != '\0' ? string : NULL);
}

static json_t *signal_json(enum signal_id id, const struct doctor_signal *signal)
{
    const struct reading *reading = &signal->reading;
    json_t *object = json_object();

    json_object_set_new(object, "signal", json_string(signal_table[id].name));
    json_object_set_new(object, "what", json_string(signal_table[id].what));
    json_object_set_new(object, "setting", json_string(signal_table[id].setting));
    json_object_set_new(object, "unit", json_string(UNITS[signal_table[id].unit]));
    json_object_set_new(object, "on", json_boolean(signal->on));
    json_object_set_new(object, "state", json_string(STATES[reading->state]));
    json_object_set_new(object, "value",
                        reading->state == READING_OK ? json_real(reading->value) : json_null());
    json_object_set_new(object, "limit",
                        signal->on && reading->limit > 0 ? json_real(reading->limit) : json_null());
    json_object_set_new(object, "who", string_or_null(reading->who));
    json_object_set_new(object, "why", string_or_null(reading->why));
    json_object_set_new(object, "grant", string_or_null(reading->grant));
    json_object_set_new(object, "todo", string_or_null(reading->todo));
    json_object_set_new(object, "off", json_string(signal_table[id].off));
    return object;
}

static json_t *standby_json(const struct doctor_standby *standby)
{
    json_t *object = json_object();

    json_object_set_new(object, "name", json_string(standby->name));
    json_object_set_new(object, "asked", json_boolean(standby->asked));
    json_object_set_new(object, "why", string_or_null(standby->why));
    json_object_set_new(object, "max_standby_streaming_delay", string_or_null(standby->delay));
    json_object_set_new(object, "hot_standby_feedback",
                        standby->asked || standby->feedback ? json_boolean(standby->feedback)
                                                            : json_null());
    json_object_set_new(object, "oldest_transaction_seconds",
                        standby->oldest_seconds >= 0 ? json_real(standby->oldest_seconds)
                                                     : json_null());
    json_object_set_new(object, "oldest_transaction", string_or_null(standby->oldest_who));
    json_object_set_new(object, "hidden", json_boolean(standby->hidden));
    return object;
}

void doctor_show(struct cli *cli, const struct doctor_look *look)
{
    if (!cli->options.json) {
        show_text(cli, look);
        return;
    }
    for (int i = 0; i < SIGNAL_COUNT; i++)
        output_event(cli, NULL, "signal", signal_json((enum signal_id)i, &look->signals[i]));
    for (int i = 0; i < look->standby_count; i++)
        output_event(cli, NULL, "standby", standby_json(&look->standbys[i]));
}
