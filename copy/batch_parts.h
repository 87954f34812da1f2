/* What the files of copy/batch.h share. For them only. */
#ifndef PGHAUL_COPY_BATCH_PARTS_H
#define PGHAUL_COPY_BATCH_PARTS_H

#include <stdatomic.h>

#include "copy/batch.h"
#include "engine/job/walk.h"

/* One walk, in one way; shared by its workers. */
struct batch_work {
    struct run *run;
    const struct batch_plan *plan;
    enum batch_way way;
    struct order order;
    struct text statement;
    struct text plain;   /* tried before it; empty: not */
    struct text visited; /* how many rows that looks at */
    atomic_int *careful; /* chunks for which that is not tried, because somebody was in the way */
    struct text lock;    /* of BATCH_STATEMENT, before it */
    struct text gone;    /* and after it; empty: nothing */
    struct text count;   /* rows in a range */
    struct text put_off; /* the rows of a range into todo */
    struct text skip;    /* the same into skipped, with $3, $4 = sqlstate, message */
    struct text name_key;
    int64_t limit_ms;
    int64_t lock_ms;
    atomic_llong longest_ms;
};

/* Does a row fail for what it is, so that it will again? Not: a lock, a limit, the connection, nor
 * the statement itself. */
bool batch_is_row_failure(const struct error *error);

/* struct walk, chunk: `work` is a struct batch_work. */
bool batch_chunk(struct walk_chunk *chunk, void *work, struct error *error) MUST_CHECK;

/* struct walk, hold: bloat.budget. */
bool batch_hold(struct session *session, const struct settings *settings, void *work,
                int64_t *wait_ms, struct error *error) MUST_CHECK;

/* The keys in todo are one span: what walk_plan() asks. */
extern const char BATCH_ONE_SPAN[];

/* The spans of a phase, from where they are to their end. */
bool batch_walk_way(struct run *run, const struct batch_plan *plan, const char *phase,
                    enum batch_way way, struct error *error) MUST_CHECK;

/*
 * Appends a list with an element for each column of the key, then for each column that is written
 * (`column_element` NULL: none). In an element {c} is the column's name, {n} its number.
 */
void batch_list_names(const struct batch_plan *plan, const char *key_element,
                      const char *column_element, struct text *out);

#endif
