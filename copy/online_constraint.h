/*
 * One constraint, added and validated beside the application: a check, a foreign key, and since
 * PostgreSQL 18 NOT NULL.
 *
 *     online_constraint_look()       what there is by that name
 *     online_constraint_accept()     refuses another constraint that has it
 *     online_constraint_add()        NOT VALID, under a strong lock, for a moment, by the ladder
 *     online_constraint_validate()   reads all rows under SHARE UPDATE EXCLUSIVE; valid when true
 *     online_constraint_drop()       under ACCESS EXCLUSIVE, for a moment, by the ladder
 *
 * Two transactions, because the locks differ. Between them, and whatever is killed, the constraint
 * holds for new rows already. Each step does nothing where it is done already, so each may be run
 * again from any process. The control session must have no transaction open, and has none
 * afterwards, however it ends.
 */
#ifndef PGHAUL_COPY_ONLINE_CONSTRAINT_H
#define PGHAUL_COPY_ONLINE_CONSTRAINT_H

#include "copy/fields.h"
#include "engine/job/run.h"

/* Strings are the caller's. */
struct constraint_spec {
    uint32_t table_oid; /* the table that has it; of a foreign key, the referencing one */
    const char *schema; /* of that table */
    const char *table;
    const char *name;
    char type;              /* pg_constraint.contype; '\0' when it is not ours to add */
    const char *definition; /* as the server prints it, NOT VALID included; NULL: not ours to add */
    const char *other;      /* the table that a foreign key references, as SQL; NULL: none, or the
                               table itself */
};
/* For a plan that has one, or a list of them. */
extern const struct field constraint_spec_FIELDS[];

/* What there is by that name. */
struct constraint_look {
    bool exists;
    uint32_t oid;
    bool valid;
    bool enforced;
    char type;
    bool same; /* as spec->definition, valid or not; true without one */
};

bool online_constraint_look(struct run *run, const struct constraint_spec *spec,
                            struct constraint_look *look, struct error *error) MUST_CHECK;

/* ERROR_REFUSED when another one has the name. */
bool online_constraint_accept(const struct constraint_spec *spec,
                              const struct constraint_look *look, struct error *error) MUST_CHECK;

/*
 * Called in the transaction that adds constraint `oid`, before its commit: what it stores is true
 * if, and only if, the constraint was added by us.
 */
typedef bool constraint_added(struct run *run, const struct constraint_spec *spec, uint32_t oid,
                              struct error *error);

/* Nothing to do when it is there, or not ours to add: then `added`, which may be NULL, is not
 * called. */
bool online_constraint_add(struct run *run, const struct constraint_spec *spec,
                           constraint_added *added, struct error *error) MUST_CHECK;

/* ERROR_REFUSED when it is gone; rows that break it are named as far as the server does. */
bool online_constraint_validate(struct run *run, const struct constraint_spec *spec,
                                struct error *error) MUST_CHECK;

/* The one with this oid, and no other that has its name by now; 0: the one with this definition.
 * Fine when it is gone. */
bool online_constraint_drop(struct run *run, const struct constraint_spec *spec, uint32_t oid,
                            struct error *error) MUST_CHECK;

/* The statements. Adding takes online_constraint_add_mode() on the table and the other one,
 * dropping ACCESS EXCLUSIVE. */
void online_constraint_add_sql(const struct constraint_spec *spec, struct text *sql);
void online_constraint_drop_sql(const struct constraint_spec *spec, struct text *sql);
const char *online_constraint_add_mode(const struct constraint_spec *spec);
/* What to lock for them, for lock_tables(). */
void online_constraint_tables_sql(const struct constraint_spec *spec, struct text *sql);

/* What online_constraint_add() and _validate() send when nothing is in the way, as scripts
 * (engine/pg/sql.h). */
void online_constraint_print_add(struct run *run, const struct constraint_spec *spec,
                                 struct text *script);
void online_constraint_print_validate(struct run *run, const struct constraint_spec *spec,
                                      struct text *script);

#endif
