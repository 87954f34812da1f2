#include "cli/format.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *format_count(char buffer[FORMAT_BYTES], int64_t value)
{
    char digits[FORMAT_BYTES];
    size_t length, used = 0;

    snprintf(digits, sizeof(digits), "%" PRIu64,
             value < 0 ? UINT64_C(0) - (uint64_t)value : (uint64_t)value);
    length = strlen(digits);
    if (value < 0)
        buffer[used++] = '-';
    for (size_t i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            buffer[used++] = ',';
        buffer[used++] = digits[i];
    }
    buffer[used] = '\0';
    return buffer;
}

const char *format_size(char buffer[FORMAT_BYTES], int64_t bytes)
{
    static const char *const UNITS[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    int unit = 0;

    while (value >= 1000 && unit < 6) {
        value /= 1024;
        unit++;
    }
    snprintf(buffer, FORMAT_BYTES, unit > 0 && value < 9.95 ? "%.1f %s" : "%.0f %s", value,
             UNITS[unit]);
    return buffer;
}

const char *format_seconds(char buffer[FORMAT_BYTES], double seconds)
{
    int64_t whole = (int64_t)(seconds + 0.5);

    if (seconds < 99.95)
        snprintf(buffer, FORMAT_BYTES, "%.1f s", seconds);
    else if (whole < 3600)
        snprintf(buffer, FORMAT_BYTES, "%" PRId64 " min %" PRId64 " s", whole / 60, whole % 60);
    else if (whole < 48 * 3600)
        snprintf(buffer, FORMAT_BYTES, "%" PRId64 " h %" PRId64 " min", whole / 3600,
                 whole / 60 % 60);
    else
        snprintf(buffer, FORMAT_BYTES, "%" PRId64 " d %" PRId64 " h", whole / 86400,
                 whole / 3600 % 24);
    return buffer;
}

const char *format_ms(char buffer[FORMAT_BYTES], int64_t ms)
{
    if (ms >= 1000)
        return format_seconds(buffer, (double)ms / 1000);
    snprintf(buffer, FORMAT_BYTES, "%" PRId64 " ms", ms);
    return buffer;
}
