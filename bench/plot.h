/*
 * Plots: traces over time as one SVG file. Panels stand one above the other on the same axis of
 * time; each has lines, and maybe a limit, which is dashed.
 *
 *     title
 *     |  panel: "backlog, MB"          limit - - - - - -
 *     |  panel: "our log, MB/s"        lines, their names at the right
 *     +--------------------------- seconds
 *
 * What it is not: a plotting library. No dependencies; the same input gives the same bytes. Keeps
 * nothing; any thread.
 */
#ifndef PGHAUL_BENCH_PLOT_H
#define PGHAUL_BENCH_PLOT_H

#include <stdbool.h>
#include <stdio.h>

#include "engine/base/error.h"

enum { PLOT_SERIES_MAX = 8 };

struct plot_series {
    const char *name;
    const double *values; /* [plot.count]; what is not finite leaves a gap */
};

struct plot_panel {
    const char *title;
    struct plot_series series[PLOT_SERIES_MAX]; /* ends with a NULL name, or is full */
    double unit;  /* values and limit are divided by this: 1e6 for MB; 0 is 1 */
    double limit; /* 0: none */
    double top;   /* of the axis, about, as the values are; 0: what the values need */
};

struct plot {
    const char *title;
    const double *seconds; /* [count], ascending */
    int count;
    const struct plot_panel *panels;
    int panel_count;
};

/* Nothing is checked here: ferror(out). */
void plot_print(const struct plot *plot, FILE *out);
/* Into a file, which is replaced. */
bool plot_save(const struct plot *plot, const char *path, struct error *error) MUST_CHECK;

#endif
