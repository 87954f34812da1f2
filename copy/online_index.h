/*
 * One index, built and dropped beside the application: CREATE and DROP INDEX CONCURRENTLY, again
 * and again until it is there and valid, or gone. For jobs that add an index to a table where it is
 * (copy/index.h is for the indexes of a copy, which nobody uses yet).
 *
 *     online_index_look()     what there is by that name
 *     online_index_accept()   refuses what is neither our index nor a leftover of it
 *     online_index_build()    valid when it returns true
 *     online_index_drop()     gone when it returns true
 *
 * Build and drop may be killed anywhere, and run again from any process. They run their statements
 * in a session of their own (copy/statement.h); the control session must have no transaction open.
 *
 * A build that fails or is killed leaves an index that is not valid; writers keep it up, and no
 * query uses it. It is never taken for the index: it is dropped, concurrently, and built again. A
 * session whose program was killed may still be at work on it, and is waited for: what it completes
 * counts.
 *
 * Whose the index is, is not known here: what is there by that name and definition is built no
 * second time, and is dropped. A job that must not drop what was there before it records, before
 * the first build, that it was not (online_index_look()).
 */
#ifndef PGHAUL_COPY_ONLINE_INDEX_H
#define PGHAUL_COPY_ONLINE_INDEX_H

#include "copy/fields.h"
#include "engine/job/run.h"

/* The index as the server prints it. Strings are the caller's. */
struct index_spec {
    uint32_t table_oid;
    const char *schema; /* of the table, and so of the index */
    const char *table;
    const char *name;
    const char *tail; /* from USING on, qualified: struct table_index */
    bool unique;
};
/* For a plan that has one, or a list of them. */
extern const struct field index_spec_FIELDS[];

/* What there is by that name. */
struct index_look {
    bool exists;
    bool of_table; /* an index of this table */
    bool same;     /* with this definition */
    bool valid;
    int builder; /* the process that builds it now; 0: none */
    int64_t bytes;
};

bool online_index_look(struct run *run, const struct index_spec *spec, struct index_look *look,
                       struct error *error) MUST_CHECK;

/* ERROR_REFUSED when what is there can neither be used nor dropped. */
bool online_index_accept(const struct index_spec *spec, const struct index_look *look,
                         struct error *error) MUST_CHECK;

/*
 * Waits for another builder, drops an invalid leftover, gives way to the application and begins
 * anew. When the rows do not allow it, what there is of the index is dropped, if that takes but a
 * moment.
 */
bool online_index_build(struct run *run, const struct index_spec *spec,
                        struct error *error) MUST_CHECK;

/* Fine when it is gone already; ERROR_REFUSED when another one has its name. */
bool online_index_drop(struct run *run, const struct index_spec *spec,
                       struct error *error) MUST_CHECK;

/* The statements; they cannot run in a transaction. */
void online_index_create_sql(const struct index_spec *spec, struct text *sql);
void online_index_drop_sql(const struct index_spec *spec, struct text *sql);

/* What online_index_build() sends when nothing is in the way, as a script (engine/pg/sql.h);
 * nothing when the index is valid. */
void online_index_print(struct run *run, const struct index_spec *spec,
                        const struct index_look *look, struct text *script);

#endif
