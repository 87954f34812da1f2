/* A job in words, for people: pieces that commands put together. All append to `out`. */
#ifndef PGHAUL_CLI_JOB_TEXT_H
#define PGHAUL_CLI_JOB_TEXT_H

#include "cli/job_view.h"

/* running, but no process works on it: pghaul resume alter-orders-1 */
void job_text_state(const struct job_view *view, struct text *out);

/* load 3.2 s   index 3.4 s   verify 3.0 s: 5,000,000 rows compared, 0 differences; no line feed */
void job_text_phases(const struct job_view *view, struct text *out);

/* 5,000,000 rows compared, 0 differences (11 keys in flight left out); nothing when never verified
 */
void job_text_verify(const struct verify_view *verify, struct text *out);

/* waited 3 ms for the lock, held it 18 ms, 41 keys replayed under it */
void job_text_swap(const struct swap_view *swap, struct text *out);

/* Lines, each: "  pghaul cutover alter-orders-1        swap; writers wait about 20 ms" */
void job_text_next(const struct job_view *view, struct text *out);

/* Everything about one job: several lines. */
void job_text(const struct job_view *view, struct text *out);

/* One line for a log: load, 42 %, 1,200,000 rows/s, 12.0 s left */
void job_text_brief(const struct job_view *view, struct text *out);

/* The schema is left out when it is public. */
void job_text_table(const struct job *job, struct text *out);

#endif
