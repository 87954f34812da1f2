/*
 * The live line: what this process is doing, drawn over and over on a terminal.
 *
 *     load  42 %  1,234,567 rows/s  12 s left
 *     catch-up  waiting: paused
 *
 * A thread of its own looks at struct progress four times a second. On a terminal it draws (stderr;
 * not with --json or -q); with --json it prints events on stdout instead: "phase" when one begins,
 * "progress" every five seconds. Otherwise it does nothing. The log wipes the line before a
 * message, under the log's mutex, which is also what guards the drawing.
 *
 * Life: progress_line_start() -> progress_line_stop(), around work; stop wipes the line.
 */
#ifndef PGHAUL_CLI_PROGRESS_LINE_H
#define PGHAUL_CLI_PROGRESS_LINE_H

#include "cli/cli.h"

/* -- the pure part: what the line says; the time is a parameter -- */

/* Remembers the phase's pace over the last seconds. Zeroed at first. */
struct progress_rate {
    char phase[32];
    int64_t seen_us;
    int64_t seen_done;
    double per_second; /* smoothed; 0: not known yet */
};

/* Looks at a view taken at now_us. */
void progress_rate_look(struct progress_rate *rate, const struct progress_view *view,
                        int64_t now_us);

/* The line for a view, at most `columns` characters; no control characters. */
void progress_line_render(const struct progress_view *view, const struct progress_rate *rate,
                          int columns, struct text *out);

/* -- the thread -- */

struct progress_line;

/* NULL when there is nothing to draw or print, or no thread to be had: work goes on without. */
struct progress_line *progress_line_start(struct cli *cli);
void progress_line_stop(struct progress_line *line);

#endif
