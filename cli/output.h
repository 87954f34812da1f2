/*
 * Results, and nothing else, on stdout: text for people, or with --json one object a line.
 *
 * With --json a command that does something prints events and, last, an end object:
 *
 *     {"event": "ready", "job": "alter-orders-1", ...}
 *     {"event": "end", "status": 0, "job": "alter-orders-1", "error": null}
 *
 * Commands that answer a question (status) print the answer itself; the end object follows only
 * when they fail. Any thread may call; a result is one write, and wipes the live line first.
 */
#ifndef PGHAUL_CLI_OUTPUT_H
#define PGHAUL_CLI_OUTPUT_H

#include <jansson.h>

#include "cli/cli.h"

/* As it stands. */
void output_text(struct cli *cli, const struct text *text);
/* A line; the line feed is added. */
void output_line(struct cli *cli, const char *format, ...) PRINTF_LIKE(2, 3);

/* One line of JSON; takes `value`. */
void output_json(struct cli *cli, json_t *value);
/*
 * Puts "event" and, unless `job` is NULL, "job" before the rest; takes `object`, which may be NULL.
 * (The main thread may replace run.job at any moment: others bring a name of their own.)
 */
void output_event(struct cli *cli, const char *job, const char *event, json_t *object);
/* The end object. `error` NULL or without a code: none. */
void output_end(struct cli *cli, int status, const struct error *error);

/* Could everything be written? */
bool output_flush(struct error *error) MUST_CHECK;

/* JSON null for NULL; else the string. */
json_t *output_string(const char *string);

#endif
