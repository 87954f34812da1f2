/*
 * Turns an error of the server or of libpq into what, why and what to do: adds the hint that is
 * missing. Pure; errors that carry a hint already are left alone.
 */
#ifndef PGHAUL_CLI_EXPLAIN_H
#define PGHAUL_CLI_EXPLAIN_H

#include "engine/base/error.h"
#include "engine/base/text.h"

/* For a session that could not be opened: message says what, detail what libpq said, hint what to
 * do. */
void explain_connection(struct error *error);

/* For any error at the end of a command. `job`, `state`: the job's, when one is stored; else NULL.
 */
void explain(struct error *error, const char *job, const char *state);

/* What a failure leaves to do with a job in that state. */
void explain_way_on(const char *job, const char *state, struct text *out);

#endif
