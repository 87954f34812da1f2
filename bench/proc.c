#include "bench/proc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Fields of `stat` behind the name, counted from 1. */
enum { PARENT = 2, USER = 12, SYSTEM, USER_ENDED, SYSTEM_ENDED, FIELDS };

bool proc_line(const char *folder, const char *file, char line[PROC_LINE_BYTES])
{
    char path[256];
    FILE *stream;
    bool ok;

    snprintf(path, sizeof(path), "%.200s/%.32s", folder, file);
    stream = fopen(path, "re");
    ok = stream != NULL && fgets(line, PROC_LINE_BYTES, stream) != NULL;
    if (stream != NULL)
        fclose(stream);
    return ok;
}

/* Behind the name, which may hold anything but ")", and the state, which is a letter. */
static bool read_fields(const char *folder, double fields[FIELDS])
{
    char line[PROC_LINE_BYTES];
    char *at = proc_line(folder, "stat", line) ? strrchr(line, ')') : NULL;

    if (at == NULL || at[1] != ' ' || at[2] == '\0')
        return false;
    at += 3;
    for (int i = PARENT; i < FIELDS; i++) {
        char *end;

        fields[i] = strtod(at, &end);
        if (end == at)
            return false;
        at = end;
    }
    return true;
}

bool proc_stat(const char *folder, struct proc_stat *stat)
{
    double ticks = (double)sysconf(_SC_CLK_TCK);
    double fields[FIELDS];
    char line[PROC_LINE_BYTES];
    double nanoseconds;

    if (!read_fields(folder, fields))
        return false;
    *stat = (struct proc_stat){
        .parent = (int)fields[PARENT],
        .own_seconds = (fields[USER] + fields[SYSTEM]) / ticks,
        .ended_seconds = (fields[USER_ENDED] + fields[SYSTEM_ENDED]) / ticks,
    };
    nanoseconds = proc_line(folder, "schedstat", line) ? strtod(line, NULL) : 0;
    if (nanoseconds > 0)
        stat->own_seconds = nanoseconds / 1e9;
    return true;
}

double proc_memory_available(void)
{
    FILE *stream = fopen("/proc/meminfo", "re");
    char line[PROC_LINE_BYTES];
    double kilobytes = 0;

    while (stream != NULL && kilobytes == 0 && fgets(line, sizeof(line), stream) != NULL)
        if (strncmp(line, "MemAvailable:", 13) == 0)
            kilobytes = strtod(line + 13, NULL);
    if (stream != NULL)
        fclose(stream);
    return kilobytes * 1024;
}
