#include "engine/job/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define KB INT64_C(1024)
#define MB (KB * 1024)
#define GB (MB * 1024)
#define TB (GB * 1024)
#define SECOND INT64_C(1000)
#define MINUTE (SECOND * 60)
#define HOUR (MINUTE * 60)
#define DAY (HOUR * 24)

#define AT(field) offsetof(struct settings, field)

const struct setting setting_table[] = {
    {"order", SETTING_CHOICE, "auto", 0, 0, "auto|heap|key",
     "how the source is walked: block by block, or by key", AT(order)},
    {"workers", SETTING_COUNT, "2", 1, 64, NULL, "threads, and server sessions, of one process",
     AT(workers)},
    {"chunk.time", SETTING_TIME, "500ms", 10, MINUTE, NULL, "how long one transaction should take",
     AT(chunk_time_ms)},
    {"chunk.wal", SETTING_SIZE, "64MB", 64 * KB, GB, NULL, "how much one transaction should write",
     AT(chunk_wal_bytes)},
    {"chunk.rows", SETTING_COUNT, "1000", 1, 1000000000, NULL,
     "backfill: rows of a worker's first chunk; the next follow chunk.time and chunk.wal",
     AT(chunk_rows)},
    {"span.size", SETTING_SIZE, "32MB", 64 * KB, TB, NULL,
     "piece of the source that one worker takes at a time", AT(span_bytes)},
    {"lock.timeout", SETTING_TIME, "100ms", 1, 10 * SECOND, NULL,
     "what a writer may wait for one strong lock of ours, work under it included; less than half "
     "of deadlock_timeout",
     AT(lock_timeout_ms)},
    {"lock.tries", SETTING_COUNT, "60", 1, 100000, NULL, "how often to try for a strong lock",
     AT(lock_tries)},
    {"cutover.wait", SETTING_TIME, "100ms", 1, 10 * SECOND, NULL,
     "what a writer may wait for one try of the swap, all its locks and the work under them",
     AT(cutover_wait_ms)},
    {"cutover.hold", SETTING_TIME, "100ms", 10, MINUTE, NULL,
     "how long one try of the swap may keep writers, waits and work; then it is given up and tried "
     "again",
     AT(cutover_hold_ms)},
    {"snapshot.wait", SETTING_TIME, "10min", 0, 30 * DAY, NULL,
     "how long to wait for old transactions: the cut-over for snapshots older than the copy; "
     "index and validate where giving up loses no work",
     AT(snapshot_wait_ms)},
    {"log.budget", SETTING_SIZE, "0", 64 * KB, 1024 * TB, NULL,
     "size of the change log at which the job begins anew; 0: 10GB or 10 % of the table, the "
     "larger; a change counts from the next log on",
     AT(log_budget_bytes),
     "less than that is used up by a few statements, and the copy would begin anew for ever"},
    {"verify.age", SETTING_TIME, "1h", 0, 365 * DAY, NULL,
     "a verification older than this is repeated by cutover", AT(verify_age_ms)},
    {"index.memory", SETTING_SIZE, "1GB", MB, TB, NULL, "memory of all index builds together",
     AT(index_memory_bytes)},
    {"retry.limit", SETTING_TIME, "10min", 0, 30 * DAY, NULL,
     "how long to go on trying after a passing error", AT(retry_limit_ms)},
    {"capture", SETTING_CHOICE, "statement", 0, 0, "statement|row", "how the triggers see changes",
     AT(capture)},
    {"ready", SETTING_CHOICE, "log", 0, 0, "log|dual-write",
     "what the triggers write while a job is ready: keys, or the shadow itself", AT(ready)},
    {"settle", SETTING_CHOICE, "on", 0, 0, "off|on",
     "vacuum and freeze the new table before the swap", AT(settle)},
    {"key", SETTING_NAMES, "", 0, 0, NULL,
     "backfill: walk by the unique index on these columns, a list with commas", AT(key)},
    {"bloat.budget", SETTING_SIZE, "0", MB, 1024 * TB, NULL,
     "backfill: dead rows of the table at which it waits for a vacuum; 0: it does not",
     AT(bloat_budget_bytes)},
    {"vacuum", SETTING_CHOICE, "off", 0, 0, "off|on",
     "backfill: vacuum the table itself when it comes to bloat.budget", AT(vacuum)},
    {"triggers", SETTING_CHOICE, "fire", 0, 0, "fire|skip",
     "backfill: whether the table's triggers fire; skip needs the right to set "
     "session_replication_role",
     AT(triggers)},
    {"errors", SETTING_CHOICE, "stop", 0, 0, "stop|skip",
     "backfill: a row that fails stops the job, or is recorded in pghaul.skipped_N and left",
     AT(errors)},
    {"policy", SETTING_POLICY, "off", 0, 0, NULL,
     "how fast workers may go: off, or fixed=DELAY between chunks", AT(policy)},
    {0},
};

static int64_t *number_at(struct settings *settings, const struct setting *setting)
{
    return (int64_t *)((char *)settings + setting->offset);
}

/* A number and one of the units; the first unit is the one of a bare number. */
struct unit {
    const char *name;
    int64_t factor;
};

static bool parse_with_unit(const char *text, const struct unit *units, int64_t *value)
{
    char *end;
    double number;

    errno = 0;
    number = strtod(text, &end);
    if (end == text || errno != 0 || !(number >= 0))
        return false;
    while (*end == ' ')
        end++;
    for (; units->name != NULL; units++)
        if (*end == '\0' || strcmp(end, units->name) == 0) {
            if (number * (double)units->factor > 9e18)
                return false;
            *value = (int64_t)(number * (double)units->factor);
            return true;
        }
    return false;
}

static const struct unit TIME_UNITS[] = {{"ms", 1},   {"s", SECOND}, {"min", MINUTE}, {"m", MINUTE},
                                         {"h", HOUR}, {"d", DAY},    {NULL, 0}};
static const struct unit SIZE_UNITS[] = {{"B", 1},   {"kB", KB}, {"KB", KB}, {"MB", MB},
                                         {"GB", GB}, {"TB", TB}, {NULL, 0}};

bool setting_parse_time(const char *text, int64_t *ms)
{
    return parse_with_unit(text, TIME_UNITS, ms);
}

bool setting_parse_size(const char *text, int64_t *bytes)
{
    return parse_with_unit(text, SIZE_UNITS, bytes);
}

/* The largest unit that divides the value. */
static void append_with_unit(struct text *out, int64_t value, const struct unit *units)
{
    const struct unit *best = units;

    for (const struct unit *at = units; at->name != NULL; at++)
        if (value != 0 && at->factor > best->factor && value % at->factor == 0)
            best = at;
    text_appendf(out, "%" PRId64 "%s", value / best->factor, value == 0 ? "" : best->name);
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

static bool policy_known(const char *value)
{
    int64_t delay_ms;

    return strcmp(value, "off") == 0 ||
           (strncmp(value, "fixed=", 6) == 0 && setting_parse_time(value + 6, &delay_ms));
}

static bool out_of_range(const struct setting *setting, const char *value, struct error *error)
{
    TEXT_AUTO range = {0};
    const struct unit *units = setting->type == SETTING_SIZE ? SIZE_UNITS : TIME_UNITS;

    if (setting->type == SETTING_COUNT) {
        text_appendf(&range, "%" PRId64 " to %" PRId64, setting->min, setting->max);
    } else {
        append_with_unit(&range, setting->min, units);
        text_append(&range, " to ");
        append_with_unit(&range, setting->max, units);
    }
    if (strcmp(setting->default_value, "0") == 0)
        text_append(&range, ", or 0");
    error_set(error, ERROR_USAGE, "setting %s cannot be \"%s\"", setting->name, value);
    if (setting->why_min != NULL)
        error_detail(error, "%s", setting->why_min);
    return error_hint(error, "it takes %s from %s",
                      setting->type == SETTING_SIZE   ? "a size (64MB)"
                      : setting->type == SETTING_TIME ? "a time (250ms)"
                                                      : "a number",
                      text_string(&range));
}

/* A default of 0 stands for what the server or the table says. */
static bool in_range(const struct setting *setting, int64_t number)
{
    return (number >= setting->min && number <= setting->max) ||
           (number == 0 && strcmp(setting->default_value, "0") == 0);
}

static bool set_value(struct settings *settings, const struct setting *setting, const char *value,
                      struct error *error)
{
    int64_t number = 0;

    switch (setting->type) {
    case SETTING_CHOICE:
        number = choice_index(setting->choices, value);
        if (number < 0) {
            error_set(error, ERROR_USAGE, "setting %s cannot be \"%s\"", setting->name, value);
            return error_hint(error, "it is one of %s", setting->choices);
        }
        break;
    case SETTING_POLICY:
        if (!policy_known(value) || strlen(value) >= sizeof(settings->policy)) {
            error_set(error, ERROR_USAGE, "setting policy cannot be \"%s\"", value);
            return error_hint(error, "it is off, or fixed=DELAY, as in fixed=250ms");
        }
        strcpy(settings->policy, value);
        return true;
    case SETTING_NAMES:
        if (strlen(value) >= sizeof(settings->key))
            return error_set(error, ERROR_USAGE, "setting %s is too long", setting->name);
        strcpy(settings->key, value);
        return true;
    case SETTING_COUNT: {
        char *end;

        errno = 0;
        number = strtoll(value, &end, 10);
        if (end == value || *end != '\0' || errno != 0)
            return out_of_range(setting, value, error);
        break;
    }
    case SETTING_TIME:
    case SETTING_SIZE:
        if (!parse_with_unit(value, setting->type == SETTING_TIME ? TIME_UNITS : SIZE_UNITS,
                             &number))
            return out_of_range(setting, value, error);
        break;
    }
    if (setting->type != SETTING_CHOICE && !in_range(setting, number))
        return out_of_range(setting, value, error);
    *number_at(settings, setting) = number;
    return true;
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
    int64_t number = setting->type == SETTING_POLICY || setting->type == SETTING_NAMES
                         ? 0
                         : *number_at((struct settings *)settings, setting);
    const char *choice = setting->choices;

    switch (setting->type) {
    case SETTING_CHOICE:
        for (int64_t i = 0; i < number; i++)
            choice = strchr(choice, '|') + 1;
        text_append_bytes(out, choice, strcspn(choice, "|"));
        break;
    case SETTING_POLICY:
        text_append(out, settings->policy);
        break;
    case SETTING_NAMES:
        text_append(out, settings->key);
        break;
    case SETTING_COUNT:
        text_appendf(out, "%" PRId64, number);
        break;
    case SETTING_TIME:
        append_with_unit(out, number, TIME_UNITS);
        break;
    case SETTING_SIZE:
        append_with_unit(out, number, SIZE_UNITS);
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
