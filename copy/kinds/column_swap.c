#include <inttypes.h>
#include <string.h>

#include "copy/kinds/column_parts.h"
#include "copy/lock.h"
#include "engine/base/clock.h"
#include "engine/pg/sql.h"

/*
 * The swap: metadata of one table, in one transaction under its lock. The columns' values are equal
 * before it and stay so, because the triggers' functions are replaced in the same transaction;
 * whoever waits for the lock meets the new names with the new functions.
 *
 * Nothing else is locked then. Foreign keys that lead to the column would be in the way of its
 * primary key: theirs to the twin hold since constrain, so they are dropped before, each under a
 * lock of its own, and come back after a swap back.
 */
struct swap {
    struct run *run;
    bool forward;
    const char *anew; /* what is known of the rows is stale: the phase to go back to */
    struct column_identity identity;
    struct arena arena;
    int64_t locked_us;
};

/* ------------------------------------------------------------------------------------ the change
 */

static bool check_armed(struct swap *swap, struct error *error)
{
    struct sync sync = column_sync(swap->run, !swap->forward);
    TEXT_AUTO armed = {0};
    ROWS_AUTO rows = {0};

    if (!sync_armed(swap->run->session, &sync, &armed, error) ||
        !session_query(swap->run->session, &rows,
                       "SELECT facts ->> 'armed' FROM pghaul.job WHERE id = $1::bigint",
                       PARAMS(NUMBER(swap->run->job.id)), error))
        return false;
    if (!swap->forward && swap->run->force)
        return true; /* back all the same: --accept-loss */
    if (rows_text(&rows, 0, 0) != NULL && armed.used > 0 &&
        strcmp(rows_text(&rows, 0, 0), text_string(&armed)) == 0)
        return true;
    swap->anew = "expand";
    error_set(error, ERROR_REFUSED, "the triggers that keep the columns equal were touched");
    return error_detail(error, "disabled, enabled again, or replaced: rows may have been written "
                               "without them");
}

/* Since the rows were verified the old column may have got a value that the new one cannot hold. */
static bool check_failed(struct swap *swap, struct error *error)
{
    struct sync sync = column_sync(swap->run, false);
    struct arena arena = {0};
    struct sync_counts counts;
    ROWS_AUTO rows = {0};
    bool ok = sync_counts(swap->run->session, &sync, &arena, &counts, error) &&
              session_query(swap->run->session, &rows,
                            "SELECT facts ->> 'failed' FROM pghaul.job WHERE id = $1::bigint",
                            PARAMS(NUMBER(swap->run->job.id)), error);

    arena_deinit(&arena);
    if (!ok || counts.lost == rows_int64(&rows, 0, 0))
        return ok;
    swap->anew = "verify";
    return error_set(error, ERROR_REFUSED,
                     "values were written since the verification that %s cannot hold",
                     column_plan_of(swap->run)->twin_column);
}

static bool keep_armed(struct swap *swap, struct error *error)
{
    struct sync sync = column_sync(swap->run, swap->forward);
    TEXT_AUTO armed = {0};
    TEXT_AUTO quoted = {0};

    if (!sync_armed(swap->run->session, &sync, &armed, error))
        return false;
    text_appendf(&quoted, "\"%s\"", text_string(&armed));
    return job_set_fact(swap->run->session, &swap->run->job, "armed", text_string(&quoted), error);
}

/* Back: everything from constrain on is to be looked at again, by whoever resumes, or says rollback
 * once more. */
static bool keep_phase(struct swap *swap, struct error *error)
{
    struct session *session = swap->run->session;
    const char *id = NUMBER(swap->run->job.id);

    if (!job_set_fact(session, &swap->run->job, "back", swap->forward ? "false" : "true", error))
        return false;
    if (swap->forward)
        return session_execute(session,
                               "UPDATE pghaul.phase SET state = 'done' WHERE job = $1::bigint\n"
                               "   AND name IN ('ready', 'cutover')",
                               PARAMS(id), NULL, error) &&
               session_execute(session,
                               "UPDATE pghaul.job SET phase = 'finish' WHERE id = $1::bigint",
                               PARAMS(id), NULL, error) &&
               job_set_state(session, &swap->run->job, "cut_over", NULL, error);
    return session_execute(session,
                           "UPDATE pghaul.phase SET state = 'pending' WHERE job = $1::bigint\n"
                           "   AND name IN ('constrain', 'verify', 'ready', 'cutover')",
                           PARAMS(id), NULL, error) &&
           session_execute(session,
                           "UPDATE pghaul.job SET phase = 'constrain', wanted = 'run'\n"
                           " WHERE id = $1::bigint",
                           PARAMS(id), NULL, error) &&
           job_set_state(session, &swap->run->job, "running", NULL, error);
}

static bool swap_under_lock(struct run *run, void *arg, struct error *error)
{
    struct swap *swap = arg;
    TEXT_AUTO sql = {0};

    swap->locked_us = clock_us();
    column_swap_sql(run, swap->forward, &swap->identity, &sql);
    return check_armed(swap, error) && (!swap->forward || check_failed(swap, error)) &&
           run_ddl(run, text_string(&sql), error) && keep_armed(swap, error) &&
           keep_phase(swap, error);
}

/* Like alter's: for status and the line that the user sees. */
static bool keep_fact(struct swap *swap, const struct lock_report *lock, struct error *error)
{
    TEXT_AUTO fact = {0};

    text_appendf(&fact, "{\"attempts\": %d, \"waited_ms\": %" PRId64 ", \"held_ms\": %" PRId64 "}",
                 lock->attempts, lock->waited_us / 1000, (clock_us() - swap->locked_us) / 1000);
    return job_set_fact(swap->run->session, &swap->run->job, swap->forward ? "cutover" : "rollback",
                        text_string(&fact), error);
}

/* Before the swap: all rows are compared again, by whoever resumes. */
static bool begin_anew(const struct swap *swap, struct error *error)
{
    struct error why = *error;

    error_hint(&why,
               swap->forward ? "pghaul resume %s compares all rows again; then cutover"
                             : "compare the columns by hand; pghaul rollback %s --accept-loss goes "
                               "back all the same",
               SHELL_WORD(swap->run->job.name));
    if (swap->forward &&
        (!phases_reset(swap->run, swap->anew, error) ||
         !job_set_state(swap->run->session, &swap->run->job, "running", NULL, error)))
        return false;
    *error = why;
    return false;
}

static bool change(struct swap *swap, struct error *error)
{
    struct lock_change lock_change = {.what_for = swap->forward ? "cutover" : "rollback",
                                      .mode = "ACCESS EXCLUSIVE",
                                      .work = swap_under_lock,
                                      .arg = swap};
    struct lock_report lock;
    TEXT_AUTO tables = {0};

    column_lock_name(column_plan_of(swap->run), &tables);
    lock_change.tables = text_string(&tables);
    lock_change.table_oid = column_plan_of(swap->run)->table_oid;
    if (!column_read_identity(swap->run, swap->forward, &swap->arena, &swap->identity, error))
        return false;
    if (lock_and_change(swap->run, &lock_change, &lock, error))
        return keep_fact(swap, &lock, error);
    return swap->anew != NULL && begin_anew(swap, error);
}

/* ------------------------------------------------------------------------------------ both ways */

/* The twin's while it has the column's name: by its own name alone. */
static struct constraint_spec swapped_spec(const struct twin_constraint *constraint)
{
    struct constraint_spec spec = column_twin_spec(constraint);

    spec.definition = NULL;
    return spec;
}

typedef struct constraint_spec make_spec(const struct twin_constraint *constraint);

/* Foreign keys that lead to one of the columns. */
static bool drop_references(struct run *run, make_spec *make, struct error *error)
{
    const struct twin *twin = column_plan_of(run)->twin;

    for (int i = 0; i < twin->constraint_count; i++) {
        struct constraint_spec spec = make(&twin->constraints[i]);

        if (column_is_referenced_by(&twin->constraints[i]) &&
            !online_constraint_drop(run, &spec, 0, error))
            return false;
    }
    return true;
}

void column_swap_references_sql(struct run *run, struct text *script)
{
    const struct twin *twin = column_plan_of(run)->twin;

    for (int i = 0; i < twin->constraint_count; i++) {
        struct constraint_spec spec = column_restore_spec(&twin->constraints[i]);
        TEXT_AUTO tables = {0};
        TEXT_AUTO sql = {0};

        if (!column_is_referenced_by(&twin->constraints[i]))
            continue;
        online_constraint_tables_sql(&spec, &tables);
        online_constraint_drop_sql(&spec, &sql);
        lock_print_change(run, text_string(&tables), "ACCESS EXCLUSIVE", text_string(&sql), script);
    }
}

bool column_swap(struct run *run, struct error *error)
{
    struct swap swap = {.run = run, .forward = true};
    bool ok = drop_references(run, column_restore_spec, error) && change(&swap, error);

    arena_deinit(&swap.arena);
    return ok;
}

bool column_count_lost(struct run *run, int64_t *lost, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    struct sync sync = column_sync(run, true);
    struct arena arena = {0};
    struct sync_counts counts;
    ROWS_AUTO rows = {0};
    TEXT_AUTO sql = {0};
    bool there = false;
    bool ok = sync_counts(run->session, &sync, &arena, &counts, error) &&
              column_is_there(run, plan->hidden, &there, error);

    *lost = 0;
    arena_deinit(&arena);
    if (!ok || counts.lost == 0 || !there)
        return ok;
    sql_expand(&sql,
               "SELECT count(*) FROM ONLY {table}\n"
               " WHERE {old} IS NOT DISTINCT FROM NULL AND {new} IS DISTINCT FROM NULL",
               SQL_NAMES({"table", sql_table(plan->schema, plan->table)},
                         {"old", sql_ident(plan->hidden)}, {"new", sql_ident(plan->new_name)}));
    if (!session_query(run->session, &rows, text_string(&sql), NO_PARAMS, error))
        return false;
    *lost = rows_int64(&rows, 0, 0);
    return true;
}

static bool check_loss(struct run *run, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    int64_t lost;

    if (!column_count_lost(run, &lost, error))
        return false;
    if (lost == 0 || (run->force && !plan->twin->not_null))
        return true;
    error_set(error, ERROR_NEEDS_PERSON,
              "%" PRId64 " rows have a value of %s that the old column cannot "
              "hold",
              lost, plan->new_name);
    error_detail(error, "SELECT .. WHERE %s IS NULL AND %s IS NOT NULL finds them", plan->hidden,
                 plan->new_name);
    return error_hint(error, plan->twin->not_null
                                 ? "the old column is NOT NULL: mend or delete those rows first"
                                 : "mend those rows, or go back without their values: "
                                   "--accept-loss");
}

/* What the row says while that check is there: it is added in the same transaction. */
static bool keep_begun(struct run *run, const struct constraint_spec *spec, uint32_t oid,
                       struct error *error)
{
    (void)spec;
    (void)oid;
    return job_set_state(run->session, &run->job, "cut_over",
                         "a rollback has begun, so values that the old column cannot hold are "
                         "refused: rollback completes it, resume gives it up",
                         error);
}

static bool is_of_row(const struct error *error)
{
    return strncmp(error->sqlstate, "23", 2) == 0;
}

/* Before the lock: so that SET NOT NULL under it reads no row. From here on a value that the old
 * column cannot hold is refused, as it will be. */
static bool fill_hidden(struct run *run, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    TEXT_AUTO name = {0};
    struct constraint_spec spec = column_filled_spec(plan, false, &name);

    if (plan->using == NULL || !plan->twin->not_null)
        return true;
    if (online_constraint_add(run, &spec, keep_begun, error) &&
        online_constraint_validate(run, &spec, error))
        return true;
    if (is_of_row(error))
        error_hint(error,
                   "rows in which %s is NULL have a value that it cannot hold: mend them, then "
                   "pghaul rollback %s",
                   plan->hidden, SHELL_WORD(run->job.name));
    return false;
}

bool column_give_up_back(struct run *run, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    TEXT_AUTO name = {0};
    struct constraint_spec spec = column_filled_spec(plan, false, &name);

    if (!online_constraint_drop(run, &spec, 0, error))
        return false;
    return run->job.reason == NULL ||
           job_set_state(run->session, &run->job, "cut_over", NULL, error);
}

/* Not gone back after all. A signal may come again: then `resume` does it. */
static void give_up(struct run *run)
{
    struct error ignored = {0};

    if (session_alive(run->session) && !stop_wanted(run->stop) &&
        !column_give_up_back(run, &ignored))
        log_warning(run->log, "the check that the old column is filled stays: %s", ignored.message);
}

/*
 * Where the primary key moved, foreign keys lead to it now, and it cannot go. So those of before
 * the swap come first, to the hidden column, which is fed and unique by the spare index; then those
 * to the twin go. There is no moment without either.
 */
static bool lead_back(struct run *run, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);

    if (plan->primary_tail == NULL)
        return true;
    for (int i = 0; i < plan->before->constraint_count; i++) {
        const struct twin_constraint *constraint = &plan->twin->constraints[i];
        struct constraint_spec spec = column_restore_spec(constraint);

        spec.definition = plan->before->constraints[i].definition;
        if (column_is_referenced_by(constraint) &&
            (!online_constraint_add(run, &spec, column_comment_again, error) ||
             (constraint->validated && constraint->enforced &&
              !online_constraint_validate(run, &spec, error)))) {
            if (is_of_row(error))
                error_hint(error, "mend the rows, then pghaul rollback %s",
                           SHELL_WORD(run->job.name));
            return false;
        }
    }
    return drop_references(run, swapped_spec, error);
}

static bool check_hidden(struct run *run, struct error *error)
{
    bool there;

    if (!column_is_there(run, column_plan_of(run)->hidden, &there, error))
        return false;
    if (there)
        return true;
    error_set(error, ERROR_REFUSED, "job %s cannot go back: finish has dropped the old column",
              run->job.name);
    return error_hint(error, "pghaul finish %s completes that", SHELL_WORD(run->job.name));
}

bool column_swap_back(struct run *run, struct error *error)
{
    struct swap swap = {.run = run};
    bool ok;

    if (!check_hidden(run, error) || !check_loss(run, error))
        return false;
    ok = fill_hidden(run, error) && lead_back(run, error) && change(&swap, error);
    if (!ok && job_is(&run->job, "cut_over"))
        give_up(run);
    arena_deinit(&swap.arena);
    return ok;
}
