#include "copy/report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void report_deinit(struct report *report)
{
    free(report->lines);
    free(report->phases);
    arena_deinit(&report->arena);
    *report = (struct report){0};
}

void report_add(struct report *report, const char *label, const char *format, ...)
{
    char text[2048];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    report->lines =
        memory_resize(report->lines, sizeof(*report->lines) * (size_t)(report->line_count + 1));
    report->lines[report->line_count++] =
        (struct report_line){arena_copy(&report->arena, label), arena_copy(&report->arena, text)};
}

void report_add_phase(struct report *report, const struct report_phase *phase)
{
    struct arena *arena = &report->arena;

    report->phases =
        memory_resize(report->phases, sizeof(*report->phases) * (size_t)(report->phase_count + 1));
    report->phases[report->phase_count++] = (struct report_phase){
        .name = arena_copy(arena, phase->name),
        .what = arena_copy(arena, phase->what),
        .lock = arena_copy(arena, phase->lock),
        .estimate = arena_copy(arena, phase->estimate),
        .sql = arena_copy(arena, phase->sql),
    };
}

/* Sizes and numbers for people: the server prints them as its own tools do. */
static const char *pretty(struct session *session, struct arena *arena, const char *sql,
                          int64_t number)
{
    ROWS_AUTO rows = {0};
    struct error ignored = {0};

    if (!session_query(session, &rows, sql, PARAMS(NUMBER(number)), &ignored))
        return arena_format(arena, "%" PRId64, number);
    return arena_copy(arena, rows_text(&rows, 0, 0));
}

const char *report_size(struct session *session, struct arena *arena, int64_t bytes)
{
    return pretty(session, arena, "SELECT pg_size_pretty($1::bigint)", bytes);
}

const char *report_count(struct session *session, struct arena *arena, int64_t count)
{
    return pretty(session, arena, "SELECT trim(to_char($1::bigint, 'FM999,999,999,999,999'))",
                  count);
}
