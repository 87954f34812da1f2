#include <inttypes.h>
#include <string.h>

#include "copy/grants.h"
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
    bool stale; /* a trigger was touched: nothing may be swapped */
    struct grants grants;
    struct arena arena;
    const char *options;  /* of the identity's sequence; NULL: there is none */
    const char *comment;  /* on it */
    const char *sequence; /* its name, unqualified */
    const char *sequence_schema;
    int64_t locked_us;
};

/* ---------------------------------------------------------------------------------------- the SQL
 */

/* What the column feeds from goes with its name. `from` and `to`: the columns, by their names then.
 */
struct pair {
    const char *from;
    const char *to;
};

static struct pair pair_of(const struct column_plan *plan, bool forward)
{
    return forward ? (struct pair){plan->hidden, plan->new_name}
                   : (struct pair){plan->twin_column, plan->column};
}

static void rename_sql(const struct column_plan *plan, const char *from, const char *to,
                       struct text *sql)
{
    sql_expand(sql, "ALTER TABLE {table} RENAME COLUMN {from} TO {to};\n",
               SQL_NAMES({"table", sql_table(plan->schema, plan->table)}, {"from", sql_ident(from)},
                         {"to", sql_ident(to)}));
}

static void names_sql(const struct column_plan *plan, bool forward, struct text *sql)
{
    bool twin_moves = strcmp(plan->twin_column, plan->new_name) != 0;

    if (forward)
        rename_sql(plan, plan->column, plan->hidden, sql);
    if (twin_moves)
        rename_sql(plan, forward ? plan->twin_column : plan->new_name,
                   forward ? plan->new_name : plan->twin_column, sql);
    if (!forward)
        rename_sql(plan, plan->hidden, plan->column, sql);
}

/* A serial's sequence: the same one, for the other column. */
static void serial_sql(const struct swap *swap, struct pair pair, struct text *sql)
{
    const struct column_plan *plan = column_plan_of(swap->run);
    const struct twin *twin = plan->twin;

    if (twin->sequence == NULL || twin->identity != '\0')
        return;
    text_append(sql, COLUMN_SEQUENCE_WAIT);
    sql_expand(sql, "ALTER SEQUENCE {sequence} OWNED BY {table}.{to};\n",
               SQL_NAMES({"sequence", sql_fragment(twin->sequence)},
                         {"table", sql_table(plan->schema, plan->table)},
                         {"to", sql_ident(pair.to)}));
    if (plan->sequence_type != NULL && swap->forward)
        sql_expand(sql, "ALTER SEQUENCE {sequence} AS {type};\n",
                   SQL_NAMES({"sequence", sql_fragment(twin->sequence)},
                             {"type", sql_fragment(twin->type)}));
}

/* An identity's sequence: another one of that name, which goes on where this one is. Its state is
 * read under the lock that RENAME takes. */
static void identity_sql(const struct swap *swap, struct pair pair, struct text *sql)
{
    const struct column_plan *plan = column_plan_of(swap->run);
    struct sql_value name = sql_table(swap->sequence_schema, swap->sequence);
    TEXT_AUTO parked = {0};
    TEXT_AUTO literal = {0};

    if (swap->options == NULL)
        return;
    text_append(sql, COLUMN_SEQUENCE_WAIT);
    text_appendf(&parked, "%s_parked", plan->prefix);
    sql_append(&literal, name);
    sql_expand(
        sql,
        "ALTER SEQUENCE {name} RENAME TO {parked_name};\n"
        "ALTER TABLE {table} ALTER COLUMN {to} ADD GENERATED {how} AS IDENTITY\n"
        "    (SEQUENCE NAME {name} {options});\n"
        "SELECT pg_catalog.setval({literal}, s.last_value, s.is_called) FROM {parked} s;\n"
        "ALTER TABLE {table} ALTER COLUMN {from} DROP IDENTITY;\n",
        SQL_NAMES({"name", name}, {"parked_name", sql_ident(text_string(&parked))},
                  {"parked", sql_table(swap->sequence_schema, text_string(&parked))},
                  {"table", sql_table(plan->schema, plan->table)}, {"to", sql_ident(pair.to)},
                  {"from", sql_ident(pair.from)},
                  {"how", sql_fragment(plan->twin->identity == 'a' ? "ALWAYS" : "BY DEFAULT")},
                  {"options", sql_fragment(swap->options)},
                  {"literal", sql_literal(text_string(&literal))}));
    grants_strip_sql(name, sql);
    grants_sql(&swap->grants, name, sql);
    if (swap->comment != NULL)
        sql_expand(sql, "COMMENT ON SEQUENCE {name} IS {comment};\n",
                   SQL_NAMES({"name", name}, {"comment", sql_literal(swap->comment)}));
}

/* `default_sql`: of the column that gets one. */
static void defaults_sql(const struct column_plan *plan, struct pair pair, const char *default_sql,
                         struct text *sql)
{
    if (default_sql == NULL)
        return;
    column_expand(plan, "ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT;\n", pair.from,
                  sql);
    sql_expand(sql, "ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {default};\n",
               SQL_NAMES({"table", sql_table(plan->schema, plan->table)},
                         {"column", sql_ident(pair.to)}, {"default", sql_fragment(default_sql)}));
}

static const struct twin_index *primary_of(const struct column_plan *plan)
{
    for (int i = 0; i < plan->twin->index_count; i++)
        if (plan->twin->indexes[i].constraint_type == 'p')
            return &plan->twin->indexes[i];
    return NULL;
}

/* The primary key by an index that is there; the other one's goes. No row is read: its columns are
 * NOT NULL. */
static void primary_sql(const struct column_plan *plan, const char *index, struct text *sql)
{
    sql_expand(sql,
               "ALTER TABLE {table} DROP CONSTRAINT {name};\n"
               "ALTER TABLE {table} ADD CONSTRAINT {name} PRIMARY KEY USING INDEX {index};\n",
               SQL_NAMES({"table", sql_table(plan->schema, plan->table)},
                         {"name", sql_ident(primary_of(plan)->constraint)},
                         {"index", sql_ident(index)}));
}

/* The index that names rows to subscribers must be over columns that are NOT NULL. */
static void identity_index_sql(const struct swap *swap, struct text *sql)
{
    const struct column_plan *plan = column_plan_of(swap->run);
    const struct twin *twin = plan->twin;

    for (int i = 0; i < twin->index_count; i++) {
        const struct twin_index *index = &twin->indexes[i];
        bool own_name = !swap->forward || index->constraint_type == 'p';

        if (index->replica_identity)
            sql_expand(sql, "ALTER TABLE {table} REPLICA IDENTITY USING INDEX {index};\n",
                       SQL_NAMES({"table", sql_table(plan->schema, plan->table)},
                                 {"index", sql_ident(own_name ? index->name : index->twin_name)}));
    }
}

/* A retype's old column may have to be NULL from now on: it cannot hold every new value. */
static void nulls_sql(const struct swap *swap, struct text *sql)
{
    const struct column_plan *plan = column_plan_of(swap->run);
    TEXT_AUTO name = {0};
    TEXT_AUTO spare = {0};
    struct constraint_spec filled = column_filled_spec(plan, false, &name);

    if (plan->using == NULL || !plan->twin->not_null)
        return;
    if (swap->forward) {
        if (plan->primary_tail != NULL)
            primary_sql(plan, primary_of(plan)->twin_name, sql);
        identity_index_sql(swap, sql);
        column_expand(plan, "ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL;\n",
                      plan->hidden, sql);
        return;
    }
    column_expand(plan, "ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL;\n", plan->hidden,
                  sql);
    online_constraint_drop_sql(&filled, sql);
    text_append(sql, ";\n");
    if (plan->primary_tail != NULL)
        primary_sql(plan, column_spare_spec(plan, &spare).name, sql);
    identity_index_sql(swap, sql);
}

static void swap_sql(const struct swap *swap, struct text *sql)
{
    const struct column_plan *plan = column_plan_of(swap->run);
    struct sync sync = column_sync(swap->run, swap->forward);
    struct pair pair = pair_of(plan, swap->forward);

    if (!swap->forward)
        nulls_sql(swap, sql);
    names_sql(plan, swap->forward, sql);
    identity_sql(swap, pair, sql);
    defaults_sql(plan, pair, swap->forward ? plan->twin->default_sql : plan->twin->old_default_sql,
                 sql);
    serial_sql(swap, pair, sql);
    if (swap->forward)
        nulls_sql(swap, sql);
    sync_functions_sql(&sync, sql);
}

void column_swap_sql(struct run *run, struct text *sql)
{
    swap_sql(&(struct swap){.run = run, .forward = true}, sql);
}

/* ------------------------------------------------------------------------------------ the change
 */

/* $1 = the sequence, as SQL. */
static const char IDENTITY[] =
    "SELECT c.oid, n.nspname, c.relname,\n"
    "       format('START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s %sCYCLE',\n"
    "              s.seqstart, s.seqincrement, s.seqmin, CASE WHEN $2 AND s.seqmax = CASE "
    "s.seqtypid\n"
    "                  WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647\n"
    "                  ELSE 9223372036854775807 END THEN\n"
    "                  CASE $3::regtype WHEN 'int2'::regtype THEN 32767\n"
    "                  WHEN 'int4'::regtype THEN 2147483647 ELSE 9223372036854775807 END\n"
    "                  ELSE s.seqmax END,\n"
    "              s.seqcache, CASE WHEN s.seqcycle THEN '' ELSE 'NO ' END),\n"
    "       obj_description(c.oid, 'pg_class')\n"
    "  FROM pg_sequence AS s JOIN pg_class AS c ON c.oid = s.seqrelid\n"
    "  JOIN pg_namespace AS n ON n.oid = c.relnamespace\n"
    " WHERE c.oid = $1::regclass";

/* Outside the lock: a definition that changes meanwhile would make the statements fail. */
static bool read_identity(struct swap *swap, struct error *error)
{
    const struct twin *twin = column_plan_of(swap->run)->twin;
    ROWS_AUTO rows = {0};

    if (twin->identity == '\0')
        return true;
    if (!session_query(swap->run->session, &rows, IDENTITY,
                       PARAMS(twin->sequence, "true", swap->forward ? twin->type : twin->old_type),
                       error))
        return false;
    swap->sequence_schema = arena_copy(&swap->arena, rows_text(&rows, 0, 1));
    swap->sequence = arena_copy(&swap->arena, rows_text(&rows, 0, 2));
    swap->options = arena_copy(&swap->arena, rows_text(&rows, 0, 3));
    swap->comment = arena_copy(&swap->arena, rows_text(&rows, 0, 4));
    return grants_read(swap->run->session, (uint32_t)rows_int64(&rows, 0, 0), &swap->arena,
                       &swap->grants, error);
}

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
    swap->stale = (rows_text(&rows, 0, 0) == NULL || armed.used == 0 ||
                   strcmp(rows_text(&rows, 0, 0), text_string(&armed)) != 0);
    return !swap->stale ||
           error_set(error, ERROR_REFUSED, "the triggers that keep the columns equal were touched");
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

/* Back: everything from constrain on is to be looked at again, by whoever resumes. */
static bool keep_phase(struct swap *swap, struct error *error)
{
    struct session *session = swap->run->session;
    const char *id = NUMBER(swap->run->job.id);

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
    swap_sql(swap, &sql);
    return check_armed(swap, error) && run_ddl(run, text_string(&sql), error) &&
           keep_armed(swap, error) && keep_phase(swap, error);
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

static bool explain_stale(const struct swap *swap, struct error *error)
{
    error_detail(error, "disabled, enabled again, or replaced: rows may have been written without "
                        "them");
    return error_hint(error,
                      swap->forward
                          ? "pghaul resume %s compares all rows again; then cutover"
                          : "compare the columns by hand; pghaul rollback %s --accept-loss goes "
                            "back all the same",
                      SHELL_WORD(swap->run->job.name));
}

/* Verified anew with the triggers as they are then. */
static bool begin_anew(struct swap *swap, struct error *error)
{
    struct error why = *error;

    if (!phases_reset(swap->run, "expand", error) ||
        !job_set_state(swap->run->session, &swap->run->job, "running", NULL, error))
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
    if (!read_identity(swap, error))
        return false;
    if (lock_and_change(swap->run, &lock_change, &lock, error))
        return keep_fact(swap, &lock, error);
    if (swap->stale) {
        explain_stale(swap, error);
        return swap->forward && begin_anew(swap, error);
    }
    return false;
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
        lock_print(run, text_string(&tables), "ACCESS EXCLUSIVE", script);
        online_constraint_drop_sql(&spec, &sql);
        sql_add(script, text_string(&sql));
        sql_add(script, SESSION_COMMIT);
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
    bool ok = sync_counts(run->session, &sync, &arena, &counts, error);

    *lost = 0;
    arena_deinit(&arena);
    if (!ok || counts.lost == 0)
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

/* Before the lock: so that SET NOT NULL under it reads no row. From here on a value that the old
 * column cannot hold is refused, as it will be. */
static bool fill_hidden(struct run *run, struct error *error)
{
    const struct column_plan *plan = column_plan_of(run);
    TEXT_AUTO name = {0};
    struct constraint_spec spec = column_filled_spec(plan, false, &name);

    if (plan->using == NULL || !plan->twin->not_null)
        return true;
    return online_constraint_add(run, &spec, NULL, error) &&
           online_constraint_validate(run, &spec, error);
}

/* Not gone back after all. */
static void unfill_hidden(struct run *run)
{
    const struct column_plan *plan = column_plan_of(run);
    struct error ignored = {0};
    TEXT_AUTO name = {0};
    struct constraint_spec spec = column_filled_spec(plan, false, &name);

    if (plan->using != NULL && plan->twin->not_null && session_alive(run->session) &&
        !online_constraint_drop(run, &spec, 0, &ignored))
        log_warning(run->log, "check %s stays: %s", spec.name, ignored.message);
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
    for (int i = 0; i < plan->hidden_count; i++) {
        const struct twin_constraint *constraint = &plan->twin->constraints[i];
        struct constraint_spec spec = column_restore_spec(constraint);

        spec.definition = plan->hidden_definitions[i];
        if (column_is_referenced_by(constraint) &&
            (!online_constraint_add(run, &spec, column_comment_again, error) ||
             (constraint->validated && constraint->enforced &&
              !online_constraint_validate(run, &spec, error))))
            return false;
    }
    return drop_references(run, swapped_spec, error);
}

bool column_swap_back(struct run *run, struct error *error)
{
    struct swap swap = {.run = run};
    bool ok = check_loss(run, error) && fill_hidden(run, error);

    if (ok) {
        ok = lead_back(run, error) && change(&swap, error);
        if (!ok && job_is(&run->job, "cut_over") && !stop_wanted(run->stop))
            unfill_hidden(run);
    }
    arena_deinit(&swap.arena);
    return ok;
}
