/* The SQL of a swap: its locks and limits, the exchange, and all of it printed. */
#include <inttypes.h>
#include <string.h>

#include "copy/attached.h"
#include "copy/capture.h"
#include "copy/cutover_parts.h"
#include "copy/lock.h"
#include "copy/replay.h"
#include "copy/sequence.h"

enum { COMMIT_MS = 15 }; /* kept for the flush at COMMIT, which no timeout ends */

struct swap cutover_of(struct run *run, enum flow_direction direction, struct text *leaving)
{
    struct copy *copy = copy_of(run);
    bool forward = direction == FLOW_FORWARD;
    struct swap swap = {
        .run = run,
        .copy = copy,
        .flow = forward ? &copy->forward : &copy->backward,
        .forward = forward,
        .away = forward ? copy->names.old : copy->names.shadow,
        .arriving = forward ? copy->names.shadow : copy->names.old,
        .leaving_oid = forward ? copy->plan.source_oid : copy->shadow_oid,
        .arriving_oid = forward ? copy->shadow_oid : copy->plan.source_oid,
    };

    sql_append(leaving, sql_table("pghaul", swap.away));
    swap.leaving_qualified = text_string(leaving);
    return swap;
}

/* ------------------------------------------------------------------------------------------------
 * the exchange's SQL */

static void rename_index(struct text *sql, const char *schema, const char *from, const char *to)
{
    if (strcmp(from, to) != 0)
        sql_expand(sql, "ALTER INDEX {from} RENAME TO {to};\n",
                   SQL_NAMES({"from", sql_table(schema, from)}, {"to", sql_ident(to)}));
}

/* Index names of the old table (source) or of the new one, away from home or back. `schema`: where
 * they are now. */
static void rename_indexes(const struct swap *swap, bool of_source, bool to_home, struct text *sql)
{
    const struct plan *plan = &swap->copy->plan;
    int count = of_source ? plan->source_index_count : plan->index_count;

    for (int i = 0; i < count; i++) {
        const char *home = of_source ? plan->source_indexes[i] : plan->indexes[i].name;
        char away[64];

        plan_away_name(of_source ? swap->copy->names.old : swap->copy->names.shadow, i, away);
        rename_index(sql, plan->schema, to_home ? away : home, to_home ? home : away);
    }
}

static void exchange_tables(const struct swap *swap, struct text *sql)
{
    const struct plan *plan = &swap->copy->plan;

    rename_indexes(swap, swap->forward, false, sql);
    sql_expand(sql,
               "ALTER TABLE {home} RENAME TO {away};\n"
               "ALTER TABLE {home_away} SET SCHEMA pghaul;\n"
               "ALTER TABLE {arriving} SET SCHEMA {schema};\n"
               "ALTER TABLE {home_arriving} RENAME TO {table};\n",
               SQL_NAMES({"home", sql_table(plan->schema, plan->table)},
                         {"away", sql_ident(swap->away)},
                         {"home_away", sql_table(plan->schema, swap->away)},
                         {"arriving", sql_table("pghaul", swap->arriving)},
                         {"schema", sql_ident(plan->schema)},
                         {"home_arriving", sql_table(plan->schema, swap->arriving)},
                         {"table", sql_ident(plan->table)}));
    rename_indexes(swap, !swap->forward, true, sql);
}

/* What could not be on the shadow while it was one: deferrable and NOT VALID constraints. Neither
 * reads the table. */
static void add_owed_constraints(const struct swap *swap, struct text *sql)
{
    const struct plan *plan = &swap->copy->plan;
    struct sql_value table = sql_table(plan->schema, plan->table);

    for (int i = 0; i < plan->index_count; i++)
        if (plan->indexes[i].constraint != NULL && plan->indexes[i].deferrable)
            sql_expand(sql,
                       "ALTER TABLE {table} ADD CONSTRAINT {name} {kind} USING INDEX {name} "
                       "DEFERRABLE{deferred};\n",
                       SQL_NAMES({"table", table}, {"name", sql_ident(plan->indexes[i].constraint)},
                                 {"kind", sql_fragment(plan->indexes[i].constraint_type == 'p'
                                                           ? "PRIMARY KEY"
                                                           : "UNIQUE")},
                                 {"deferred", sql_fragment(plan->indexes[i].initially_deferred
                                                               ? " INITIALLY DEFERRED"
                                                               : "")}));
    for (int i = 0; i < plan->check_count; i++)
        sql_expand(sql, "ALTER TABLE {table} ADD CONSTRAINT {name} {definition};\n",
                   SQL_NAMES({"table", table}, {"name", sql_ident(plan->checks[i].name)},
                             {"definition", sql_fragment(plan->checks[i].definition)}));
}

static bool exchange_sequences(const struct swap *swap, struct text *sql, struct error *error)
{
    const struct plan *plan = &swap->copy->plan;
    struct arena arena = {0};
    struct sequence_pair *pairs =
        arena_alloc(&arena, sizeof(*pairs) * (size_t)(plan->column_count + 1));
    struct sequence_names names = {"pghaul", swap->away, plan->schema, plan->table};
    struct sequence_plan *sequences;
    int count = 0;
    bool ok;

    for (int i = 0; i < plan->column_count; i++) {
        const struct plan_column *column = &plan->columns[i];

        if (swap->forward && column->source != NULL)
            pairs[count++] = (struct sequence_pair){column->source, column->target};
        else if (!swap->forward && column->target != NULL)
            pairs[count++] = (struct sequence_pair){column->target, column->source};
    }
    ok = sequence_plan(swap->run->session, swap->leaving_oid, swap->arriving_oid, pairs, count,
                       &arena, &sequences, error);
    if (ok)
        sequence_swap_sql(sequences, &names, sql);
    arena_deinit(&arena);
    return ok;
}

bool cutover_make_sql(struct swap *swap, struct error *error)
{
    struct text *sql = &swap->sql;

    text_clear(sql);
    if (!attached_statistics_sql(swap->run->session, swap->leaving_oid, swap->arriving_oid, sql,
                                 error))
        return false;
    exchange_tables(swap, sql);
    if (swap->forward) {
        add_owed_constraints(swap, sql);
        /* their comments, as shadow_strip() found them */
        if (!copy_owed_sql(swap->run, sql, error))
            return false;
    }
    if (!exchange_sequences(swap, sql, error))
        return false;
    capture_detach_sql(swap->flow, swap->leaving_qualified, sql);
    return true;
}

/* ------------------------------------------------------------------------------------------------
 * locks and limits */

/*
 * The ladder's first rung for all tables that the swap will lock: an autovacuum of the new table or
 * of the log stands in its way as one of the source does, and would outlast any number of short
 * tries. Those of our own tables are kept until the strong locks, so that no vacuum comes back: the
 * application wants no lock that conflicts. That of `from` is given back at once: with it in hand,
 * an ANALYZE of a transaction that has written could be the victim of a deadlock with us (F41).
 */
const char CUTOVER_RUNGS[] =
    "SELECT set_config('lock_timeout', (setting::bigint + 4000)::text, true)\n"
    "  FROM pg_settings WHERE name = 'deadlock_timeout';\n"
    "LOCK TABLE {mark}, {stuck}, {log_a}, {log_b}, {to}\n"
    "    IN SHARE UPDATE EXCLUSIVE MODE;\n"
    "SAVEPOINT rung;\n"
    "LOCK TABLE {from} IN SHARE UPDATE EXCLUSIVE MODE;\n"
    "ROLLBACK TO SAVEPOINT rung; RELEASE SAVEPOINT rung";

static const char *const LOCKS[CUTOVER_LOCKS] = {
    "LOCK TABLE ONLY {from} IN ACCESS EXCLUSIVE MODE",
    "LOCK TABLE ONLY {to} IN ACCESS EXCLUSIVE MODE",
    "LOCK TABLE {log_a}, {log_b}, {mark}, {stuck} IN EXCLUSIVE MODE",
};

void cutover_lock_sql(const struct flow *flow, size_t number, int64_t wait_ms, struct text *sql)
{
    text_appendf(sql, "SET LOCAL lock_timeout = %" PRId64 "; ", wait_ms);
    flow_expand(flow, sql, LOCKS[number]);
}

int64_t cutover_commit_by_ms(const struct swap *swap)
{
    const struct settings *settings = &swap->run->job.settings;
    int64_t limit_ms = settings->cutover_hold_ms > settings->cutover_wait_ms
                           ? settings->cutover_hold_ms
                           : settings->cutover_wait_ms;

    return limit_ms > 2 * COMMIT_MS ? limit_ms - COMMIT_MS : (limit_ms + 1) / 2;
}

void cutover_limit_sql(int64_t ms, struct text *sql)
{
    text_appendf(sql, "SET LOCAL statement_timeout = %" PRId64, ms);
}

/* ----------------------------------------------------------------------------------------------------------
 * printed */

/* prepare(). */
static void print_before(const struct swap *swap, struct text *script)
{
    TEXT_AUTO dual = {0};

    sql_note(script, "catch-up once more, until little is left; then the triggers write through");
    capture_functions_sql(swap->run, swap->flow,
                          (struct capture_state){.mode = CAPTURE_DUAL, .side = 'a'}, &dual);
    if (swap->flow->dual_possible)
        sql_add(script, text_string(&dual));
    sql_note(script, "until no transaction has a snapshot that is older than the copy; then");
    replay_print_prepare(swap->flow, script);
}

/* cutover_attempt(), up to the exchange. */
static void print_locks(const struct swap *swap, struct text *script)
{
    const struct settings *settings = &swap->run->job.settings;
    TEXT_AUTO limit = {0};

    sql_note(script, "the swap, tried up to %" PRId64 " times", settings->lock_tries);
    sql_add(script, SESSION_BEGIN);
    flow_print(swap->flow, script, CUTOVER_RUNGS);
    for (size_t i = 0; i < CUTOVER_LOCKS; i++) {
        TEXT_AUTO sql = {0};

        cutover_lock_sql(swap->flow, i, lock_wait_ms(settings->cutover_wait_ms), &sql);
        sql_add(script, text_string(&sql));
    }
    sql_note(script, "before each step, what is left of the time");
    cutover_limit_sql(cutover_commit_by_ms(swap), &limit);
    sql_add(script, text_string(&limit));
    flow_print(swap->flow, script, replay_template(REPLAY_LEASE));
    sql_note(script, "what is left in the log");
    replay_print_whole(swap->flow, script);
}

bool cutover_print(struct run *run, struct text *script, struct error *error)
{
    TEXT_AUTO leaving = {0};
    struct swap swap = cutover_of(run, FLOW_FORWARD, &leaving);
    bool ok = cutover_make_sql(&swap, error);

    if (ok) {
        print_before(&swap, script);
        print_locks(&swap, script);
        sql_note(script, "the tables change places");
        sql_add(script, text_string(&swap.sql));
        if (!swap.copy->plan.no_rollback) {
            sql_note(script, "from now on the new table's changes are logged, for rollback");
            capture_functions_sql(run, &swap.copy->backward,
                                  (struct capture_state){.mode = CAPTURE_LOG, .side = 'a'}, script);
        }
        sql_add(script, SESSION_COMMIT);
    }
    text_deinit(&swap.sql);
    return ok;
}
