/*
 * From the user's statement to the plan of an index. Read by us are its first words, up to the
 * table's name; the server reads the rest, on an empty clone, and prints what it means.
 */
#include <string.h>

#include "copy/kinds/index_parts.h"
#include "engine/pg/identifier.h"
#include "engine/pg/sql.h"

static const char EXAMPLE[] = "as in 'CREATE INDEX users_email ON users (email)'";

/* The statement, taken apart; all in the arena. */
struct reading {
    struct arena arena;
    bool unique;
    const char *name;
    const char *table; /* as typed */
    const char *rest;  /* behind it */
};

static bool refuse_statement(const char *what, struct error *error)
{
    error_set(error, ERROR_USAGE, "%s", what);
    return error_hint(error, "%s", EXAMPLE);
}

static bool read_statement(const char *statement, struct reading *reading, struct error *error)
{
    struct arena *arena = &reading->arena;
    const char *at = statement;
    size_t end;

    if (!identifier_word(&at, "create", arena))
        return refuse_statement("the statement must begin with CREATE INDEX", error);
    reading->unique = identifier_word(&at, "unique", arena);
    if (!identifier_word(&at, "index", arena))
        return refuse_statement("the statement must begin with CREATE INDEX", error);
    (void)identifier_word(&at, "concurrently", arena);
    if (identifier_word(&at, "if", arena) &&
        !(identifier_word(&at, "not", arena) && identifier_word(&at, "exists", arena)))
        return refuse_statement("the statement cannot be read after IF", error);
    if (identifier_word(&at, "on", arena) || (reading->name = identifier_read(&at, arena)) == NULL)
        return refuse_statement("the index needs a name", error);
    if (!identifier_word(&at, "on", arena))
        return refuse_statement("the statement must say ON which table, behind a name without "
                                "schema",
                                error);
    (void)identifier_word(&at, "only", arena);
    reading->table = identifier_qualified(&at, arena);
    if (reading->table == NULL)
        return refuse_statement("the statement must say ON which table", error);
    end = strlen(at);
    while (end > 0 && strchr("; \t\r\n", at[end - 1]) != NULL)
        end--;
    reading->rest = arena_format(arena, "%.*s", (int)end, at);
    return true;
}

/* Is it about the table that was named beside it? */
static bool check_table(struct run *run, const struct reading *reading, const struct table *table,
                        const char *typed, struct error *error)
{
    uint32_t oid;

    if (!table_find(run->session, reading->table, session_user_search_path(run->session), &oid,
                    error))
        return false;
    if (oid == table->oid)
        return true;
    error_set(error, ERROR_REFUSED, "the statement is about %s, not about %s", reading->table,
              typed);
    return error_hint(error, "name the same table twice");
}

static bool clone_oid(struct run *run, const char *name, uint32_t *oid, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(run->session, &rows,
                       "SELECT oid FROM pg_class\n"
                       " WHERE relnamespace = pg_my_temp_schema() AND relname = $1",
                       PARAMS(name), error))
        return false;
    *oid = (uint32_t)rows_int64(&rows, 0, 0);
    return true;
}

/* The server reads it: on the clone, which has the table's name, so that users.email means what it
 * says. */
static bool try_on_clone(struct run *run, const struct reading *reading, const struct table *table,
                         struct error *error)
{
    struct index_plan *plan = index_plan_of(run);
    struct session *session = run->session;
    struct arena arena = {0};
    struct table *clone;
    TEXT_AUTO sql = {0};
    uint32_t oid;
    bool ok;

    sql_expand(&sql, "CREATE {unique}INDEX {name} ON {table}{rest}",
               SQL_NAMES({"unique", sql_fragment(reading->unique ? "UNIQUE " : "")},
                         {"name", sql_ident(reading->name)},
                         {"table", sql_table("pg_temp", table->name)},
                         {"rest", sql_fragment(reading->rest)}));
    if (!addition_clone(session, table->schema, table->name, table->name, false, error))
        return false;
    /* One statement, no more: so the extended protocol. */
    if (!session_execute(session, text_string(&sql), NO_PARAMS, NULL, error))
        return error_refuse(error, EXAMPLE);
    if (!session_set(session, "search_path", "pg_catalog, pg_temp", true, error) ||
        !clone_oid(run, table->name, &oid, error))
        return false;
    ok = table_describe(session, oid, &arena, &clone, error);
    if (ok && clone->index_count != 1)
        ok = error_set(error, ERROR_INTERNAL, "the clone has %d indexes", clone->index_count);
    if (ok) {
        plan->spec = (struct index_spec){
            .table_oid = table->oid,
            .schema = arena_copy(&plan->arena, table->schema),
            .table = arena_copy(&plan->arena, table->name),
            .name = arena_copy(&plan->arena, clone->indexes[0].name),
            .tail = arena_copy(&plan->arena, clone->indexes[0].tail),
            .unique = clone->indexes[0].unique,
        };
    }
    arena_deinit(&arena);
    return ok;
}

static void fill_report(struct run *run, const struct index_options *options,
                        const struct table *table, const struct index_look *look,
                        struct report *report)
{
    const struct index_spec *spec = index_spec_of(run);

    addition_headline(run->session, table, options->table, report);
    report_add(report, "index", "%s.%s: %s%s", spec->schema, spec->name,
               spec->unique ? "UNIQUE " : "", spec->tail);
    if (look->valid) {
        report_add(report, "there", "an index of that name and definition; nothing is built");
        return;
    }
    if (look->exists)
        report_add(report, "leftover",
                   "of that name, not valid: dropped, concurrently, and built "
                   "again");
    report_add(report, "waits", "for transactions that are open; nobody waits for the build");
    report_add(report, "undo", "rollback drops it, concurrently");
}

static bool prepare(struct run *run, const struct index_options *options, struct reading *reading,
                    struct report *report, struct error *error)
{
    const struct index_spec *spec = index_spec_of(run);
    struct arena arena = {0};
    struct table *table;
    struct index_look look;
    TEXT_AUTO json = {0};
    bool ok = read_statement(options->statement, reading, error) &&
              statement_check_settings(run->session, error) &&
              addition_table(run->session, options->table, &arena, &table, error) &&
              check_table(run, reading, table, options->table, error) &&
              session_begin(run->session, error) && try_on_clone(run, reading, table, error);

    session_rollback(run->session);
    if (ok) {
        addition_fill_job(run, &index_kind, table, options->job_name, "statement",
                          options->statement, &options->settings);
        fields_to_json(index_spec_FIELDS, spec, &json);
        run->job.plan = arena_copy(&run->job.arena, text_string(&json));
        ok = online_index_look(run, spec, &look, error) && online_index_accept(spec, &look, error);
    }
    if (ok) {
        fill_report(run, options, table, &look, report);
        index_describe(run, &look, report);
    }
    arena_deinit(&arena);
    return ok;
}

bool index_prepare(struct run *run, const struct index_options *options, struct report *report,
                   struct error *error)
{
    struct reading reading = {0};
    bool ok;

    *report = (struct report){0};
    index_kind.unload(run);
    run->kind_state = memory_zero(1, sizeof(struct index_plan));
    ok = prepare(run, options, &reading, report, error);
    arena_deinit(&reading.arena);
    return ok;
}
