#include "engine/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int exit_status;
} CODES[] = {
    [ERROR_NONE] = {0},    [ERROR_USAGE] = {2},        [ERROR_REFUSED] = {3},
    [ERROR_SQL] = {1},     [ERROR_CONNECTION] = {1},   [ERROR_LOCK] = {6},
    [ERROR_DIFFERS] = {4}, [ERROR_INTERRUPTED] = {5},  [ERROR_WAITING] = {7},
    [ERROR_UNDONE] = {8},  [ERROR_NEEDS_PERSON] = {9}, [ERROR_SYSTEM] = {1},
    [ERROR_AGAIN] = {1},   [ERROR_INTERNAL] = {1},
};

bool error_set(struct error *error, enum error_code code, const char *format, ...)
{
    va_list args;

    error_clear(error);
    error->code = code;
    va_start(args, format);
    vsnprintf(error->message, sizeof(error->message), format, args);
    va_end(args);
    return false;
}

bool error_detail(struct error *error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(error->detail, sizeof(error->detail), format, args);
    va_end(args);
    return false;
}

bool error_hint(struct error *error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(error->hint, sizeof(error->hint), format, args);
    va_end(args);
    return false;
}

bool error_refuse(struct error *error, const char *hint)
{
    if (error->code != ERROR_SQL || error->retryable || strncmp(error->sqlstate, "57", 2) == 0)
        return false;
    error->code = ERROR_REFUSED;
    if (hint != NULL && error->hint[0] == '\0')
        error_hint(error, "%s", hint);
    return false;
}

bool error_context(struct error *error, const char *format, ...)
{
    char before[sizeof(error->message)];
    size_t used;
    va_list args;

    memcpy(before, error->message, sizeof(before));
    va_start(args, format);
    vsnprintf(error->message, sizeof(error->message), format, args);
    va_end(args);
    used = strlen(error->message);
    snprintf(error->message + used, sizeof(error->message) - used, ": %s", before);
    return false;
}

void error_clear(struct error *error)
{
    error->code = ERROR_NONE;
    error->sqlstate[0] = '\0';
    error->retryable = false;
    error->message[0] = error->detail[0] = error->hint[0] = '\0';
}

int error_exit_status(enum error_code code)
{
    return CODES[code].exit_status;
}
