/*
 * Connection strings that others have to keep for us: in a job's row, for any host that goes on
 * with it.
 */
#ifndef PGHAUL_PG_CONNINFO_H
#define PGHAUL_PG_CONNINFO_H

#include "engine/base/text.h"

/*
 * Is it "host=.. dbname=.." or a URI that libpq understands, and free of passwords? ERROR_USAGE; no
 * part of a secret gets into the message.
 */
bool conninfo_check_stored(const char *conninfo, struct error *error) MUST_CHECK;

/*
 * A list of them has one a line. Puts the next into `one` and moves *list behind it; false: that
 * was all.
 */
bool conninfo_next(const char **list, struct text *one);

/* Appends it as keyword='value' ..; what it leaves open is `user` and `database`. */
void conninfo_complete(const char *conninfo, const char *user, const char *database,
                       struct text *out);

#endif
