/*
 * What the files of job kind `column` share: column_prepare.c plans,
 * column_constrain.c gives the twin what the column has, column_swap.c lets them change places,
 * column_leave.c ends it, column.c is the kind. For them only.
 */
#ifndef PGHAUL_COPY_KINDS_COLUMN_PARTS_H
#define PGHAUL_COPY_KINDS_COLUMN_PARTS_H

#include "copy/batch.h"
#include "copy/grants.h"
#include "copy/kinds/column.h"
#include "copy/online_constraint.h"
#include "copy/online_index.h"
#include "copy/sync.h"
#include "copy/twin.h"

/* An identity's sequence, for another one that goes on where it is. Strings are the reader's. */
struct column_identity {
    const char *schema;
    const char *sequence; /* its name, unqualified */
    const char *options;  /* NULL: there is none */
    const char *comment;  /* on it */
    struct grants grants;
};

/*
 *                  before the swap    after it
 * the column       column             hidden
 * its twin         twin_column        new_name      (rename: both are the new name)
 */
struct column_plan {
    struct arena arena;
    uint32_t table_oid;
    const char *schema;
    const char *table;
    const char *column;
    const char *twin_column;
    const char *hidden;
    const char *new_name;
    const char *using; /* the maps, as the user wrote them, over `column`; NULL: rename */
    const char *back_using;
    const char *search_path; /* under which */
    bool pinned;             /* they depend on settings */
    bool total;              /* the type only gets wider */
    const char *prefix;      /* of the names of what belongs to the twin */
    const char *image;       /* struct batch_column */
    const char *key_sql;     /* key of a row r, for messages */
    const char *expand_sql;  /* twin_expand_sql(), twin_decorate_sql() */
    const char *decorate_sql;
    const char *batch; /* the backfill's plan, as JSON */
    struct twin *twin; /* one */
    int twin_count;
    /* One: the same for a twin of the old type with the hidden name. What the column had when it
     * was planned; and, in the same order, foreign keys as they lead to the hidden column. */
    struct twin *before;
    int before_count;
    /* The key's index on the column itself, kept beside the twin's while that is the primary key,
     * for a quick way back; NULL: the primary key stays where it is until finish. */
    const char *primary_tail;
    const char *twin_filled; /* definitions of those checks, as the server prints them */
    const char *hidden_filled;
    const char *sequence_type; /* that the serial's sequence had; NULL: it keeps it */

    struct batch_plan batch_plan; /* in memory: from `batch` */
    /* In memory, of a plan that is new: what --dry-run can say only now. */
    struct column_identity identity;
    const char *create_sql; /* what sync_create() sends */
    const char *create_batch_sql;
};

static inline struct column_plan *column_plan_of(const struct run *run)
{
    return run->kind_state;
}

/* What column_prepare() works with; column_maps.c and column_report.c are parts of it. */
struct column_preparation {
    struct run *run;
    const struct column_options *options;
    struct column_plan *plan;
    struct arena arena;
    struct table *table;
    const struct table_column *column;
    const struct table_index *key;
    bool rename;
};

/* using and back_using, and what they depend on. In the open transaction. */
bool column_plan_maps(struct column_preparation *prep, struct error *error) MUST_CHECK;
bool column_report(const struct column_preparation *prep, struct report *report,
                   struct error *error) MUST_CHECK;

/* Has the swap happened, and not been undone? By the job's row. */
bool column_swapped(const struct run *run);

/* The pair as it is, before or after the swap. */
struct sync column_sync(const struct run *run, bool swapped);

/* Things of ours on the table while both columns exist. Strings are the plan's, or *name's. */
struct index_spec column_index_spec(const struct column_plan *plan, const struct twin_index *index);
struct index_spec column_spare_spec(const struct column_plan *plan, struct text *name);
struct constraint_spec column_twin_spec(const struct twin_constraint *constraint);
struct constraint_spec column_restore_spec(const struct twin_constraint *constraint);
/* CHECK (column IS NOT NULL), by which SET NOT NULL needs no scan: of the twin, or of the hidden
 * column. */
struct constraint_spec column_filled_spec(const struct column_plan *plan, bool twin,
                                          struct text *name);
/* A foreign key of another table, or this one, that leads to the column. */
bool column_is_referenced_by(const struct twin_constraint *constraint);

/*
 * Before statements that lock a sequence, under the table's lock: whoever has drawn a number holds
 * the sequence until his transaction ends, and may want the table next.
 */
#define COLUMN_SEQUENCE_WAIT "SET LOCAL lock_timeout = '20ms';\n"

bool column_is_there(struct run *run, const char *column, bool *yes,
                     struct error *error) MUST_CHECK;

/* SQL "ONLY s.t", for locks. */
void column_lock_name(const struct column_plan *plan, struct text *name);
/* Appends a template with {table}. */
void column_expand(const struct column_plan *plan, const char *template, const char *column,
                   struct text *sql);

/* Phase functions: each may run again. */
bool column_expand_forward(struct run *run, struct error *error) MUST_CHECK;
bool column_constrain_plan(struct run *run, struct error *error) MUST_CHECK;
bool column_constrain_forward(struct run *run, struct error *error) MUST_CHECK;
bool column_verify_forward(struct run *run, struct error *error) MUST_CHECK;
/* Appends the comment of the column's own constraint, if it has one; and in the transaction that
 * gives a constraint of the column back. */
void column_comment_sql(const struct twin_constraint *constraint, struct text *sql);
constraint_added column_comment_again;
/* The column's own foreign keys back, if they were dropped for a swap. */
bool column_restore_references(struct run *run, struct error *error) MUST_CHECK;

/* For the plan: the sequence that feeds the column. */
bool column_plan_sequence(struct run *run, struct error *error) MUST_CHECK;
/* ERROR_REFUSED when it cannot be an identity's any more, or cannot go. */
bool column_check_sequence(struct run *run, struct error *error) MUST_CHECK;
/* A line for each one that stays too small. */
bool column_report_sequence(struct run *run, const struct table_column *column,
                            struct report *report, struct error *error) MUST_CHECK;

/* Verbs' work, for run_until(): without checks of the job's state. */
bool column_swap(struct run *run, struct error *error) MUST_CHECK;
bool column_swap_back(struct run *run, struct error *error) MUST_CHECK; /* run->force: with loss */
/* Of a job that is cut over: what a rollback that did not come to its end has left. The check that
 * the old column is filled; foreign keys to it, of which those to the twin may be gone: then
 * ERROR_REFUSED, and only rollback can go on. */
bool column_give_up_back(struct run *run, struct error *error) MUST_CHECK;
bool column_settle_references(struct run *run, struct error *error) MUST_CHECK;
bool column_finish(struct run *run, struct error *error) MUST_CHECK;
bool column_abort(struct run *run, struct error *error) MUST_CHECK;
void column_leave_sql(struct run *run, struct text *sql);

/* `forward`: for the twin; else for the column. */
bool column_read_identity(struct run *run, bool forward, struct arena *arena,
                          struct column_identity *identity, struct error *error) MUST_CHECK;

/* In the open transaction: what the triggers need, but the triggers. */
bool column_create_functions(struct run *run, struct error *error) MUST_CHECK;
/* Appends what expand sends under the lock; `there`: the twin is. */
void column_expand_sql(const struct run *run, bool there, struct text *sql);
/* Append what constrain sends: for the twin's NOT NULL, `spec` being the check that proves it. */
void column_filled_sql(const struct column_plan *plan, const struct constraint_spec *spec,
                       struct text *sql);
void column_statistics_sql(const struct twin_statistics *statistics, struct text *sql);
void column_analyze_sql(const struct column_plan *plan, struct text *sql);

/* The statements of the swap, or the way back; of what comes before it, as a script; of finish, and
 * of what comes after that on other tables, as a script. */
void column_swap_sql(const struct run *run, bool forward, const struct column_identity *identity,
                     struct text *sql);
void column_swap_references_sql(struct run *run, struct text *script);
void column_finish_sql(const struct run *run, struct text *sql);
/* 18: the name, and the comment, of the twin's NOT NULL constraint, which is `name` until then. */
void column_not_null_sql(const struct column_plan *plan, const char *name, struct text *sql);
void column_forget_sql(const struct run *run, struct text *sql);
void column_finish_print(struct run *run, struct text *script);

/* Appends what DROP takes with an index of the column: comments, the mark of CLUSTER. */
void column_index_marks_sql(const struct column_plan *plan, const struct twin_index *index,
                            struct text *sql);

/* ERROR_REFUSED when the column has got, or lost, something since the job was planned: its twin was
 * made after what was there then. */
bool column_check_before(struct run *run, struct error *error) MUST_CHECK;

/* Rows whose new value the old column cannot hold. Reads the table when there may be some. */
bool column_count_lost(struct run *run, int64_t *lost, struct error *error) MUST_CHECK;

void column_plan_to_json(const struct column_plan *plan, struct text *json);

/* For --dry-run: the phases; what a phase sends; both, with what can only be said by doing it. */
void column_describe(struct run *run, struct report *report);
void column_print(struct run *run, const char *phase, struct text *script);
bool column_dry_run(struct run *run, struct report *report, struct error *error) MUST_CHECK;

#endif
