#include "engine/job/settings.h"
#include "engine/job/settings_units.h"
#include "engine/job/window.h"
#include "engine/pg/conninfo.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static int64_t *number_at(struct settings *settings, const struct setting *setting)
{
    return (int64_t *)((char *)settings + setting->offset);
}

static const struct setting *find_setting(const char *name, size_t length)
{
    for (const struct setting *at = setting_table; at->name != NULL; at++)
        if (strlen(at->name) == length && memcmp(at->name, name, length) == 0)
            return at;
    return NULL;
}

/* Index of `value` in "a|b|c"; -1 when it is not there. */
static int choice_index(const char *choices, const char *value)
{
    int index = 0;

    for (const char *at = choices; at != NULL; index++) {
        const char *bar = strchr(at, '|');
        size_t length = bar == NULL ? strlen(at) : (size_t)(bar - at);

        if (strlen(value) == length && memcmp(at, value, length) == 0)
            return index;
        at = bar == NULL ? NULL : bar + 1;
    }
    return -1;
}

static bool refuse(const struct setting *setting, const char *value, struct error *error)
{
    return error_set(error, ERROR_USAGE, "setting %s cannot be \"%s\"", setting->name, value);
}

/* ---------------------------------------------------------------------------------------- numbers
 */

static bool out_of_range(const struct setting *setting, const char *value, struct error *error)
{
    TEXT_AUTO range = {0};

    setting_append_number(setting, setting->min, &range);
    text_append(&range, " to ");
    setting_append_number(setting, setting->max, &range);
    if (strcmp(setting->default_value, "0") == 0)
        text_append(&range, ", or 0");
    if (setting->limit)
        text_append(&range, setting->on == NULL ? ", or off" : ", or on, or off");
    refuse(setting, value, error);
    if (setting->why_min != NULL)
        error_detail(error, "%s", setting->why_min);
    return error_hint(error, "it takes %s from %s", setting_takes(setting), text_string(&range));
}

/* A default of 0 stands for what the server or the table says. */
static bool in_range(const struct setting *setting, int64_t number)
{
    return (number >= setting->min && number <= setting->max) ||
           (number == 0 && strcmp(setting->default_value, "0") == 0);
}

static bool set_number(struct settings *settings, const struct setting *setting, const char *value,
                       struct error *error)
{
    const char *text = value;
    int64_t number;

    if (setting->limit && strcmp(value, "off") == 0) {
        *number_at(settings, setting) = SETTING_OFF;
        return true;
    }
    if (setting->on != NULL && strcmp(value, "on") == 0) {
        text = setting->on;
        if (strcmp(text, SETTING_ON_RELATIVE) == 0) {
            *number_at(settings, setting) = SETTING_RELATIVE;
            return true;
        }
    }
    if (!setting_parse_number(setting, text, &number) || !in_range(setting, number))
        return out_of_range(setting, value, error);
    *number_at(settings, setting) = number;
    return true;
}

static bool set_choice(struct settings *settings, const struct setting *setting, const char *value,
                       struct error *error)
{
    int index = choice_index(setting->choices, value);

    if (index < 0) {
        refuse(setting, value, error);
        return error_hint(error, "it is one of %s", setting->choices);
    }
    *number_at(settings, setting) = index;
    return true;
}

/* A limit whose "on" is one of something is a switch, and reads as one. */
static void append_number(const struct settings *settings, const struct setting *setting,
                          struct text *out)
{
    int64_t number = *number_at((struct settings *)settings, setting);

    if (setting->limit && number == SETTING_OFF)
        text_append(out, "off");
    else if (setting->limit && number == SETTING_RELATIVE)
        text_append(out, "on");
    else if (number == 1 && setting->on != NULL && strcmp(setting->on, "1") == 0)
        text_append(out, "on");
    else
        setting_append_number(setting, number, out);
}

/* ------------------------------------------------------------------------------------------ texts
 */

static char *text_at(struct settings *settings, const struct setting *setting)
{
    return (char *)settings + setting->offset;
}

/* Zeroes the rest, so that equal settings are equal bytes. */
static bool store_text(struct settings *settings, const struct setting *setting, const char *text,
                       struct error *error)
{
    if (strlen(text) >= setting->size) {
        error_set(error, ERROR_USAGE, "setting %s is too long", setting->name);
        return error_hint(error, "there is room for %zu bytes", setting->size - 1);
    }
    memset(text_at(settings, setting), 0, setting->size);
    memcpy(text_at(settings, setting), text, strlen(text));
    return true;
}

/* law=NAME is for pghaul bench: which laws there are is known above (throttle/law.h). */
static bool set_policy(struct settings *settings, const struct setting *setting, const char *value,
                       struct error *error)
{
    int64_t delay_ms;
    bool known = strcmp(value, "auto") == 0 || strcmp(value, "off") == 0 ||
                 (strncmp(value, "law=", 4) == 0 && value[4] != '\0') ||
                 (strncmp(value, "fixed=", 6) == 0 && setting_parse_time(value + 6, &delay_ms));

    if (!known || strlen(value) >= setting->size) {
        refuse(setting, value, error);
        return error_hint(error, "it is auto, or fixed=DELAY, as in fixed=250ms, or off");
    }
    return store_text(settings, setting, value, error);
}

static bool set_query(struct settings *settings, const struct setting *setting, const char *value,
                      struct error *error)
{
    const char *sql;
    double limit;

    if (strcmp(value, "off") == 0)
        return store_text(settings, setting, "", error);
    if (!setting_parse_query(value, &limit, &sql)) {
        refuse(setting, value, error);
        return error_hint(error, "it takes a limit above 0 and a query that returns one number, as "
                                 "in '100 SELECT count(*) FROM queue', or off");
    }
    return store_text(settings, setting, value, error);
}

static bool set_window(struct settings *settings, const struct setting *setting, const char *value,
                       struct error *error)
{
    struct window window;

    if (strcmp(value, "off") == 0)
        value = "";
    if (value[0] != '\0' && !window_parse(value, &window, error))
        return error_context(error, "setting %s", setting->name);
    return store_text(settings, setting, value, error);
}

/* Puts one conninfo behind those that `list` has, unless it is among them. */
static bool add_replica(struct text *list, const char *conninfo, struct error *error)
{
    TEXT_AUTO one = {0};

    if (!conninfo_check_stored(conninfo, error))
        return error_context(error, "setting replica");
    for (const char *at = text_string(list); conninfo_next(&at, &one);)
        if (strcmp(text_string(&one), conninfo) == 0)
            return true;
    text_separate(list, "\n");
    text_append(list, conninfo);
    return true;
}

/* `value` is one conninfo, or several, one a line, as they are stored. */
static bool set_replicas(struct settings *settings, const struct setting *setting,
                         const char *value, struct error *error)
{
    TEXT_AUTO list = {0};
    TEXT_AUTO conninfo = {0};

    if (value[0] != '\0')
        text_append(&list, text_at(settings, setting));
    while (conninfo_next(&value, &conninfo))
        if (!add_replica(&list, text_string(&conninfo), error))
            return false;
    return store_text(settings, setting, text_string(&list), error);
}

/* -------------------------------------------------------------------------------------------- all
 */

static bool set_value(struct settings *settings, const struct setting *setting, const char *value,
                      struct error *error)
{
    switch (setting->type) {
    case SETTING_CHOICE:
        return set_choice(settings, setting, value, error);
    case SETTING_POLICY:
        return set_policy(settings, setting, value, error);
    case SETTING_NAMES:
        return store_text(settings, setting, value, error);
    case SETTING_QUERY:
        return set_query(settings, setting, value, error);
    case SETTING_REPLICAS:
        return set_replicas(settings, setting, value, error);
    case SETTING_WINDOW:
        return set_window(settings, setting, value, error);
    default:
        return set_number(settings, setting, value, error);
    }
}

void settings_init(struct settings *settings)
{
    struct error error;

    memset(settings, 0, sizeof(*settings));
    for (const struct setting *at = setting_table; at->name != NULL; at++)
        if (!set_value(settings, at, at->default_value, &error))
            abort(); /* a default that its own rule refuses is a defect */
}

bool settings_set(struct settings *settings, const char *assignment, struct error *error)
{
    const char *equals = strchr(assignment, '=');
    const struct setting *setting;

    if (equals == NULL) {
        error_set(error, ERROR_USAGE, "\"%s\" is not a setting", assignment);
        return error_hint(error, "write name=value, as in chunk.time=250ms");
    }
    setting = find_setting(assignment, (size_t)(equals - assignment));
    if (setting == NULL) {
        error_set(error, ERROR_USAGE, "there is no setting \"%.*s\"", (int)(equals - assignment),
                  assignment);
        return error_hint(error, "pghaul set --help lists them");
    }
    return set_value(settings, setting, equals + 1, error);
}

void settings_value(const struct settings *settings, const struct setting *setting,
                    struct text *out)
{
    const char *choice = setting->choices;
    const char *text;

    switch (setting->type) {
    case SETTING_CHOICE:
        for (int64_t i = 0; i < *number_at((struct settings *)settings, setting); i++)
            choice = strchr(choice, '|') + 1;
        text_append_bytes(out, choice, strcspn(choice, "|"));
        break;
    case SETTING_POLICY:
    case SETTING_NAMES:
    case SETTING_QUERY:
    case SETTING_REPLICAS:
    case SETTING_WINDOW:
        text = text_at((struct settings *)settings, setting);
        text_append(out, text[0] == '\0' ? setting->default_value : text);
        break;
    default:
        append_number(settings, setting, out);
        break;
    }
}

void settings_to_json(const struct settings *settings, struct text *json)
{
    json_t *object = json_object();
    char *dumped;

    for (const struct setting *at = setting_table; at->name != NULL; at++) {
        TEXT_AUTO value = {0};

        settings_value(settings, at, &value);
        json_object_set_new(object, at->name, json_string(text_string(&value)));
    }
    dumped = json_dumps(object, JSON_COMPACT);
    text_append(json, dumped);
    free(dumped);
    json_decref(object);
}

bool settings_from_json(struct settings *settings, const char *json, struct error *error)
{
    json_t *object = json_loads(json, 0, NULL);
    const char *name;
    json_t *value;
    bool ok = true;

    settings_init(settings);
    json_object_foreach(object, name, value)
    {
        const struct setting *setting = find_setting(name, strlen(name));

        if (ok && setting != NULL && json_is_string(value))
            ok = set_value(settings, setting, json_string_value(value), error);
    }
    json_decref(object);
    return ok;
}
