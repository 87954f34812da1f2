/*
 * Schema pghaul in the user's database: created on first use, upgraded in place, never dropped with
 * data in it. A schema of a newer version is refused.
 *
 * Whoever may create schemas can be there first: with a view pghaul.job that runs a function of his
 * as whoever looks at the jobs, or as the owner of a schema that he may drop with everybody's
 * tables in it. So nothing in it is read before schema_distrust() found nothing, which every
 * function here asks first. Whom we trust, and why that is enough, is said in schema.c and
 * docs/privileges.md.
 */
#ifndef PGHAUL_JOB_SCHEMA_H
#define PGHAUL_JOB_SCHEMA_H

#include "engine/pg/session.h"

enum { SCHEMA_VERSION = 3 };

/* Why schema pghaul must not be touched; `what` NULL: nothing is known against it. */
struct distrust {
    const char *what;
    const char *todo;
};

/* For error messages. */
extern const char schema_distrust_why[];

/* *readable: there are jobs, and this role may read them; false when they are not to be trusted. */
bool schema_distrust(struct session *session, struct arena *arena, struct distrust *distrust,
                     bool *readable, struct error *error) MUST_CHECK;

/* Is there a schema pghaul with our tables? For commands that only look. */
bool schema_exists(struct session *session, bool *exists, struct error *error) MUST_CHECK;

/* Creates or upgrades. Opens a transaction of its own unless one is open already. */
bool schema_ensure(struct session *session, struct error *error) MUST_CHECK;

/*
 * One at a time: a transaction that gives relations in schema pghaul the names that they have
 * elsewhere, if only for a moment (clones, trials, indexes), would meet another one's on a table of
 * the same name. Held until its end. Waits for up to 30 s, ERROR_LOCK then.
 */
bool schema_lock_names(struct session *session, struct error *error) MUST_CHECK;

/*
 * Takes every privilege on an object away from everybody but its owner: default privileges of the
 * database must not open a shadow or a log to anyone. `kind` is TABLE, FUNCTION or SCHEMA; `object`
 * its qualified name as SQL.
 */
bool schema_strip_privileges(struct session *session, const char *kind, const char *object,
                             struct error *error) MUST_CHECK;

#endif
