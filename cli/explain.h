/*
 * Turns an error of the server or of libpq into what, why and what to do: adds the hint that is
 * missing. Pure; errors that carry a hint already are left alone.
 */
#ifndef PGHAUL_CLI_EXPLAIN_H
#define PGHAUL_CLI_EXPLAIN_H

#include "engine/base/error.h"

/* For a session that could not be opened: message says what, detail what libpq said, hint what to
 * do. */
void explain_connection(struct error *error);

/* For any error at the end of a command. `job` is the job's name when one is stored, else NULL. */
void explain(struct error *error, const char *job);

#endif
