/* What the files of copy/twin.h share. For them only. */
#ifndef PGHAUL_COPY_TWIN_PARTS_H
#define PGHAUL_COPY_TWIN_PARTS_H

#include "copy/twin.h"
#include "engine/pg/sql.h"

struct twin_reading {
    struct session *session;
    const struct table *table;
    const struct table_column *column;
    const char *name; /* of the twin */
    const char *type; /* as typed; NULL: the same */
    const char *prefix;
    int number; /* names made so far */
    struct arena *arena;
    struct twin *twin;   /* being filled */
    struct table *clone; /* when the column in it has become the twin */
};

/* The name of the next of the twin's objects; NULL and the error when it is too long. */
const char *twin_next_name(struct twin_reading *reading, struct error *error);

/* A definition as ADD CONSTRAINT takes it without a look at the rows. */
const char *twin_not_valid(struct arena *arena, const char *definition, bool enforced);

/* First letter of a value; '\0' for none. */
char twin_letter(const struct rows *rows, int row, int column);

/* A statement that is the server's judgement of what was asked: ERROR_REFUSED when it fails. */
bool twin_try(struct twin_reading *reading, const struct text *sql, struct error *error) MUST_CHECK;

/* -- twin_check.c: what is refused -- */

bool twin_check(struct twin_reading *reading, struct error *error) MUST_CHECK;
/* What is known when the clone is there: of the type. */
bool twin_check_type(struct twin_reading *reading, struct error *error) MUST_CHECK;

/* -- twin_clone.c: indexes, checks, statistics; reading->clone -- */

bool twin_clone(struct twin_reading *reading, struct error *error) MUST_CHECK;

/* -- twin_keys.c: foreign keys; tried on the clone when the type is another one -- */

bool twin_keys(struct twin_reading *reading, struct error *error) MUST_CHECK;

#endif
