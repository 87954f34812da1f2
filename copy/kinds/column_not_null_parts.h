/*
 * The steps to NOT NULL, of a column that is there (column_not_null.c), of one that a job adds
 * (column_add.c) and of one that was hidden (column_drop_not_null.c). Each may run again, and does
 * nothing where it is done. For these kinds only.
 *
 *     not_null_plan()
 *     not_null_scan()       is there a row with NULL?
 *     not_null_check()      new rows have a value
 *     not_null_validate()   all have
 *     not_null_set()        the column is NOT NULL
 */
#ifndef PGHAUL_COPY_KINDS_COLUMN_NOT_NULL_PARTS_H
#define PGHAUL_COPY_KINDS_COLUMN_NOT_NULL_PARTS_H

#include "copy/kinds/addition.h"
#include "copy/kinds/column_not_null.h"
#include "copy/online_constraint.h"

/* Strings are the plan's. */
struct not_null {
    const char *column;
    /* One: type 'c', the check that goes again, or 'n', since 18 the constraint that stays. */
    struct constraint_spec *constraint;
    int constraint_count;
};
/* For a plan that has one, or is one. */
extern const struct field not_null_FIELDS[];

/* The column as it is now. */
struct not_null_look {
    bool exists;
    bool set;         /* NOT NULL, and valid */
    const char *name; /* 18: of a constraint that is NOT VALID; NULL: none */
    double null_part; /* by the statistics, 0 to 1 */
};
bool not_null_look(struct run *run, uint32_t table_oid, const char *column, struct arena *arena,
                   struct not_null_look *look, struct error *error) MUST_CHECK;

/* `name`: of the constraint, on 18; NULL: as the server would call it. */
bool not_null_plan(struct run *run, const struct table *table, const char *column, const char *name,
                   struct arena *arena, struct not_null *not_null, struct error *error) MUST_CHECK;

/* Reads the table up to the first row with NULL. */
bool not_null_scan(struct run *run, const struct not_null *not_null, bool *found,
                   struct error *error) MUST_CHECK;
/* ERROR_REFUSED: how to find and mend them. Returns false. */
bool not_null_refuse(const struct run *run, const struct not_null *not_null, struct error *error);

bool not_null_check(struct run *run, const struct not_null *not_null, constraint_added *added,
                    struct error *error) MUST_CHECK;
bool not_null_validate(struct run *run, const struct not_null *not_null,
                       struct error *error) MUST_CHECK;
/* `was_set`, which may be NULL, is called in the transaction; `by_us`: the column was not NOT NULL
 * before. */
bool not_null_set(struct run *run, const struct not_null *not_null,
                  bool (*was_set)(struct run *run, bool by_us, struct error *error),
                  struct error *error) MUST_CHECK;

/* Appends DROP NOT NULL. */
void not_null_drop_sql(const struct not_null *not_null, struct text *sql);

/* What the steps send, as scripts (engine/pg/sql.h). */
void not_null_print_scan(const struct not_null *not_null, struct text *script);
void not_null_print_set(struct run *run, const struct not_null *not_null, struct text *script);

/* Changes the table under ACCESS EXCLUSIVE, by the ladder. */
bool not_null_change(struct run *run, const struct not_null *not_null, const char *what_for,
                     bool (*work)(struct run *run, void *arg, struct error *error), void *arg,
                     struct error *error) MUST_CHECK;

#endif
