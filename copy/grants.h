/*
 * The grants of a table or a sequence, read from one object and made again on another: whole-object
 * and column privileges, PUBLIC, grant options, the owner's own (they may have been revoked), and
 * who granted them.
 *
 * A grant by a role other than the owner is made as that role (SET LOCAL ROLE), after the grant
 * that let it. When the session's role may not become the grantor, reading refuses: the same right
 * from another grantor is another right (who may revoke it differs).
 *
 * Needs a transaction, an object whose owner is already right, and an object without grants
 * (grants_strip_sql).
 */
#ifndef PGHAUL_COPY_GRANTS_H
#define PGHAUL_COPY_GRANTS_H

#include <stdint.h>

#include "engine/pg/session.h"
#include "engine/pg/sql.h"

struct grant {
    const char *grantor;    /* unquoted; NULL: the owner, whom the session's role acts for */
    const char *privileges; /* fragment: SELECT, UPDATE (or SELECT ("name")) */
    const char *grantee;    /* fragment: PUBLIC or a quoted role */
    bool grant_option;
};

struct grants {
    bool sequence;
    const char *role; /* value of the setting "role" to come back to: none or a name */
    int count;
    struct grant *items; /* in an order in which they can be made */
};

/* Reads the grants of a relation. Memory is the arena's. */
bool grants_read(struct session *session, uint32_t oid, struct arena *arena, struct grants *grants,
                 struct error *error) MUST_CHECK;

/*
 * The same of one column: of the grants on it alone, saying `as` for its name, so that another
 * column gets them.
 */
bool grants_read_column(struct session *session, uint32_t oid, const char *column, const char *as,
                        struct arena *arena, struct grants *grants, struct error *error) MUST_CHECK;

/* Appends the statements that make them on `target`. */
void grants_sql(const struct grants *grants, struct sql_value target, struct text *sql);

/* Appends one statement that takes every privilege on `target` from everybody, its owner too. */
void grants_strip_sql(struct sql_value target, struct text *sql);

#endif
