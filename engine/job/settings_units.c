#include "engine/job/settings_units.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A number and one of the units; the first unit is the one of a bare number. */
struct unit {
    const char *name;
    int64_t factor;
};

/* The ones that are printed first: of two with the same factor the first is. */
static const struct unit TIME_UNITS[] = {{"ms", 1},   {"s", SECOND}, {"min", MINUTE}, {"m", MINUTE},
                                         {"h", HOUR}, {"d", DAY},    {NULL, 0}};
static const struct unit SIZE_UNITS[] = {{"B", 1},   {"kB", KB}, {"KB", KB}, {"MB", MB},
                                         {"GB", GB}, {"TB", TB}, {NULL, 0}};
/* A second. */
static const struct unit RATE_UNITS[] = {
    {"B/s", 1}, {"B", 1},     {"kB/s", KB}, {"kB", KB},   {"KB/s", KB}, {"KB", KB}, {"MB/s", MB},
    {"MB", MB}, {"GB/s", GB}, {"GB", GB},   {"TB/s", TB}, {"TB", TB},   {NULL, 0}};
static const struct unit PERCENT_UNITS[] = {{"%", 1}, {NULL, 0}};
/* Thousandths. */
static const struct unit TIMES_UNITS[] = {{"x", 1000}, {NULL, 0}};

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
            *value = llround(number * (double)units->factor);
            return true;
        }
    return false;
}

bool setting_parse_time(const char *text, int64_t *ms)
{
    return parse_with_unit(text, TIME_UNITS, ms);
}

bool setting_parse_size(const char *text, int64_t *bytes)
{
    return parse_with_unit(text, SIZE_UNITS, bytes);
}

bool setting_parse_query(const char *text, double *limit, const char **sql)
{
    char *end;

    errno = 0;
    *limit = strtod(text, &end);
    *sql = end + strspn(end, " \t\n");
    return end != text && errno == 0 && *limit > 0 && isfinite(*limit) && *sql != end &&
           (strncasecmp(*sql, "select", 6) == 0 || strncasecmp(*sql, "with", 4) == 0);
}

static bool parse_count(const char *text, int64_t *number)
{
    char *end;

    errno = 0;
    *number = strtoll(text, &end, 10);
    return end != text && *end == '\0' && errno == 0;
}

bool setting_parse_number(const struct setting *setting, const char *text, int64_t *number)
{
    switch (setting->type) {
    case SETTING_COUNT:
        return parse_count(text, number);
    case SETTING_TIME:
        return parse_with_unit(text, TIME_UNITS, number);
    case SETTING_SIZE:
        return parse_with_unit(text, SIZE_UNITS, number);
    case SETTING_RATE:
        return parse_with_unit(text, RATE_UNITS, number);
    case SETTING_PERCENT:
        return parse_with_unit(text, PERCENT_UNITS, number);
    case SETTING_TIMES:
        return parse_with_unit(text, TIMES_UNITS, number);
    default:
        return false;
    }
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

void setting_append_number(const struct setting *setting, int64_t number, struct text *out)
{
    switch (setting->type) {
    case SETTING_TIME:
        append_with_unit(out, number, TIME_UNITS);
        break;
    case SETTING_SIZE:
        append_with_unit(out, number, SIZE_UNITS);
        break;
    case SETTING_RATE:
        append_with_unit(out, number, RATE_UNITS);
        break;
    case SETTING_PERCENT:
        append_with_unit(out, number, PERCENT_UNITS);
        break;
    case SETTING_TIMES:
        text_appendf(out, "%.*f",
                     number % 1000 == 0  ? 0
                     : number % 100 == 0 ? 1
                                         : 3,
                     (double)number / 1000);
        break;
    default:
        text_appendf(out, "%" PRId64, number);
        break;
    }
}

const char *setting_takes(const struct setting *setting)
{
    switch (setting->type) {
    case SETTING_TIME:
        return "a time (250ms)";
    case SETTING_SIZE:
        return "a size (64MB)";
    case SETTING_RATE:
        return "a size a second (20MB/s)";
    case SETTING_PERCENT:
        return "a percentage (20%)";
    case SETTING_TIMES:
        return "how many times the usual (1.5)";
    default:
        return "a number";
    }
}
