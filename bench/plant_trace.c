#include <math.h>
#include <stdlib.h>

#include "bench/plant_run.h"
#include "bench/plot.h"
#include "engine/base/memory.h"

void plant_trace_free(struct plant_trace *trace)
{
    free(trace->samples);
    *trace = (struct plant_trace){0};
}

static int index_of(const struct plant_trace *trace, double at_s)
{
    int index = (int)(at_s / PLANT_TRACE_S + 0.5);

    return index < 0 ? 0 : index < trace->count ? index : trace->count;
}

double plant_trace_speed(const struct plant_trace *trace, double from_s, double to_s)
{
    int from = index_of(trace, from_s), to = index_of(trace, to_s);
    double bytes = 0;

    for (int i = from; i < to; i++)
        bytes += trace->samples[i].written;
    return to > from ? bytes / ((to - from) * PLANT_TRACE_S) : 0;
}

double plant_trace_best(const struct plant_trace *trace, double from_s, double to_s)
{
    int from = index_of(trace, from_s), to = index_of(trace, to_s);
    double sum = 0;

    for (int i = from; i < to; i++)
        sum += fmax(trace->samples[i].best, 0);
    return to > from ? sum / (to - from) : 0;
}

/* ---------------------------------------------------------------------------------- the picture */

/* The lines of a picture, [count] each. */
struct lines {
    double *seconds, *worst, *limit, *speed, *part, *rate, *best, *foreign, *p95, *workers,
        *chunk_ms, *rest_ms, *closed;
};

static double *line(int count)
{
    return memory_zero((size_t)count + 1, sizeof(double));
}

/* Chunks are lumps: the mean of a second. */
static double second_of(const struct plant_trace *trace, int at, bool part)
{
    double bytes = 0;
    int from = at >= 9 ? at - 9 : 0;

    for (int i = from; i <= at; i++)
        bytes += part ? trace->samples[i].part : trace->samples[i].written;
    return bytes / ((at - from + 1) * PLANT_TRACE_S);
}

static void fill(struct lines *lines, const struct plant_trace *trace)
{
    for (int i = 0; i < trace->count; i++) {
        const struct plant_sample *sample = &trace->samples[i];

        lines->seconds[i] = (i + 1) * PLANT_TRACE_S;
        lines->worst[i] = sample->worst;
        lines->limit[i] = sample->limit;
        lines->speed[i] = second_of(trace, i, false);
        lines->part[i] = trace->processes > 1 ? second_of(trace, i, true) : NAN;
        lines->rate[i] = sample->rate;
        lines->best[i] = fmax(sample->best, 0);
        lines->foreign[i] = sample->foreign;
        lines->p95[i] = sample->p95;
        lines->workers[i] = sample->workers;
        lines->chunk_ms[i] = sample->chunk_ms;
        lines->rest_ms[i] = sample->rest_s * 1000;
        lines->closed[i] = sample->closed ? 1 : NAN;
    }
}

static double most(const double *values, int count)
{
    double top = 0;

    for (int i = 0; i < count; i++)
        if (isfinite(values[i]))
            top = fmax(top, values[i]);
    return top;
}

static bool save(const struct lines *lines, int count, const char *title, const char *path,
                 struct error *error)
{
    const struct plot_panel panels[] = {
        {.title = "backlog of the worst replica, MB",
         .series = {{"backlog", lines->worst}, {"limit", lines->limit}},
         .unit = 1e6},
        {.title = "log, MB a second",
         .series = {{"written by us", lines->speed},
                    {"decided", lines->rate},
                    {"capacity left to us", lines->best},
                    {"application", lines->foreign},
                    {"of the first process", lines->part}},
         .unit = 1e6,
         .top = 1.3 * fmax(most(lines->speed, count), 1)},
        {.title = "latency of the probe's transaction, p95, times the baseline",
         .series = {{"p95", lines->p95}},
         .top = fmin(most(lines->p95, count), 12)},
        {.title = "chunks and rests, ms",
         .series = {{"chunk", lines->chunk_ms}, {"rest after it", lines->rest_ms}}},
        {.title = "workers",
         .series = {{"workers", lines->workers}, {"closed or paused", lines->closed}}},
    };
    const struct plot plot = {
        .title = title,
        .seconds = lines->seconds,
        .count = count,
        .panels = panels,
        .panel_count = sizeof(panels) / sizeof(panels[0]),
    };

    return plot_save(&plot, path, error);
}

bool plant_trace_save(const struct plant_trace *trace, const char *title, const char *path,
                      struct error *error)
{
    int count = trace->count;
    double *memory = line(13 * count);
    struct lines lines = {
        .seconds = memory,
        .worst = memory + count,
        .limit = memory + 2 * count,
        .speed = memory + 3 * count,
        .part = memory + 4 * count,
        .rate = memory + 5 * count,
        .best = memory + 6 * count,
        .foreign = memory + 7 * count,
        .p95 = memory + 8 * count,
        .workers = memory + 9 * count,
        .chunk_ms = memory + 10 * count,
        .rest_ms = memory + 11 * count,
        .closed = memory + 12 * count,
    };
    bool ok;

    fill(&lines, trace);
    ok = save(&lines, count, title, path, error);
    free(memory);
    return ok;
}
