/*
 * From the command line to the plan of a validation. Of --add the name of the constraint and, of a
 * foreign key, that of the other table are read by us; the rest by the server, on empty clones of
 * both tables, so that nothing of the user's is locked. It prints what it means.
 */
#include <string.h>

#include "copy/kinds/validate_parts.h"
#include "copy/lock.h"
#include "engine/pg/identifier.h"
#include "engine/pg/sql.h"

/* The clone of the other table has that one's name, for messages; unless both have the same. */
static const char OTHER_CLONE[] = "pghaul_referenced";

/* --add, taken apart; in the arena, or pointing into the text. */
struct reading {
    struct arena arena;
    const char *name;
    const char *head;  /* up to the name of the table that a foreign key references, or all of it */
    const char *other; /* that name, as typed; NULL: none */
    const char *rest;  /* behind it */
};

/* -------------------------------------------------------------------------------------------- add
 */

/* Behind the list of columns that comes next; false when none does. */
static bool skip_columns(const char **at)
{
    const char *from = *at + strspn(*at, " \t\r\n");
    bool quoted = false;

    if (*from != '(')
        return false;
    for (; *from != '\0' && (quoted || *from != ')'); from++)
        if (*from == '"')
            quoted = !quoted;
    if (*from == '\0')
        return false;
    *at = from + 1;
    return true;
}

/* FOREIGN KEY (..) REFERENCES other ..: without these words there is no other table. */
static void read_foreign_key(const char *at, const char *text, struct reading *reading)
{
    struct arena *arena = &reading->arena;
    const char *start;

    if (!identifier_word(&at, "foreign", arena) || !identifier_word(&at, "key", arena) ||
        !skip_columns(&at) || !identifier_word(&at, "references", arena))
        return;
    (void)identifier_word(&at, "only", arena);
    start = at;
    reading->other = identifier_qualified(&at, arena);
    if (reading->other == NULL)
        return;
    reading->head = arena_format(arena, "%.*s", (int)(start - text), text);
    reading->rest = at;
}

static bool read_add(const char *text, struct reading *reading, struct error *error)
{
    const char *at = text;

    if (!identifier_word(&at, "constraint", &reading->arena) ||
        (reading->name = identifier_read(&at, &reading->arena)) == NULL) {
        error_set(error, ERROR_USAGE, "--add must begin with CONSTRAINT and its name");
        return error_hint(error, "as in --add 'CONSTRAINT orders_users_fkey FOREIGN KEY (user_id) "
                                 "REFERENCES users'");
    }
    reading->head = text;
    reading->rest = "";
    read_foreign_key(at, text, reading);
    return true;
}

/* The clone's constraints that are not there by LIKE. */
static const char COUNT[] =
    "SELECT count(*) FROM pg_catalog.pg_constraint AS k\n"
    "  JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid\n"
    " WHERE c.relnamespace = pg_catalog.pg_my_temp_schema() AND c.relname = $1";

/* $1 = clone, $2 and $3 = the other table. */
static const char READ[] =
    "SELECT k.conname, k.contype,\n"
    "       CASE WHEN k.confrelid = 0 THEN pg_get_constraintdef(k.oid)\n"
    "            ELSE replace(pg_get_constraintdef(k.oid),\n"
    "                         'REFERENCES ' || k.confrelid::regclass::text || '(',\n"
    "                         format('REFERENCES %I.%I(', $2::text, $3::text)) END\n"
    "  FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid\n"
    " WHERE c.relnamespace = pg_my_temp_schema() AND c.relname = $1\n"
    " ORDER BY k.oid DESC LIMIT 1";

static bool count_constraints(struct run *run, const char *clone, int64_t *count,
                              struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(run->session, &rows, COUNT, PARAMS(clone), error))
        return false;
    *count = rows_int64(&rows, 0, 0);
    return true;
}

static bool read_back(struct run *run, const char *clone, const char *schema, const char *name,
                      struct error *error)
{
    struct validate_plan *plan = validate_plan_of(run);
    ROWS_AUTO rows = {0};

    if (!session_set(run->session, "search_path", "pg_catalog, pg_temp", true, error) ||
        !session_query(run->session, &rows, READ, PARAMS(clone, schema, name), error))
        return false;
    plan->spec.name = arena_copy(&plan->arena, rows_text(&rows, 0, 0));
    plan->spec.type = rows_text(&rows, 0, 1)[0];
    plan->spec.definition = arena_copy(&plan->arena, rows_text(&rows, 0, 2));
    return true;
}

static bool try_on_clones(struct run *run, const struct reading *reading, const struct table *table,
                          struct error *error)
{
    struct validate_plan *plan = validate_plan_of(run);
    struct session *session = run->session;
    struct addition_other references = {0};
    const char *other;
    int64_t before, after;
    TEXT_AUTO sql = {0};

    if (reading->other != NULL &&
        !addition_other(session, reading->other, table->oid, &plan->arena, &references, error))
        return false;
    plan->spec.other = references.sql;
    other = references.sql != NULL && strcmp(references.name, table->name) == 0 ? OTHER_CLONE
                                                                                : references.name;
    sql_expand(&sql, "ALTER TABLE {table} ADD {head}{other}{rest}\nNOT VALID",
               SQL_NAMES({"table", sql_table("pg_temp", table->name)},
                         {"head", sql_fragment(reading->head)},
                         {"other", other == NULL ? sql_fragment("") : sql_table("pg_temp", other)},
                         {"rest", sql_fragment(reading->rest)}));
    if (!session_begin(session, error) ||
        (references.sql != NULL &&
         !addition_clone(session, references.schema, references.name, other, true, error)) ||
        !session_set(session, "search_path", "pg_catalog, pg_temp", true, error) ||
        !addition_clone(session, table->schema, table->name, table->name, true, error) ||
        !count_constraints(run, table->name, &before, error))
        return false;
    /* One statement, no more: so the extended protocol. */
    if (!session_execute(session, text_string(&sql), NO_PARAMS, NULL, error)) {
        error_refuse(error, "what can be validated is a check, a foreign key, and since "
                            "PostgreSQL 18 NOT NULL");
        return error_context(error, "--add");
    }
    if (!count_constraints(run, table->name, &after, error))
        return false;
    if (after != before + 1)
        return error_set(error, ERROR_REFUSED, "--add: one constraint, please");
    return read_back(run, table->name, references.schema, references.name, error);
}

static bool plan_add(struct run *run, const struct reading *reading, const struct table *table,
                     struct error *error)
{
    bool ok = try_on_clones(run, reading, table, error);

    session_rollback(run->session);
    return ok;
}

/* --------------------------------------------------------------------------------------- existing
 */

static bool refuse_missing(const struct run *run, const char *typed, struct error *error)
{
    const char *name = constraint_spec_of(run)->name;

    error_set(error, ERROR_REFUSED, "%s has no constraint %s", typed, name);
    return error_hint(error, "--add 'CONSTRAINT %s ..' adds it first", name);
}

static bool check_existing(const struct run *run, const struct constraint_look *look,
                           const char *typed, struct error *error)
{
    const struct constraint_spec *spec = constraint_spec_of(run);

    if (!look->exists)
        return spec->definition != NULL || refuse_missing(run, typed, error);
    if (strchr("cfn", look->type) == NULL)
        return error_set(error, ERROR_REFUSED,
                         "constraint %s has an index, and is always valid: there is nothing to do",
                         spec->name);
    if (!look->enforced)
        return error_set(error, ERROR_REFUSED, "constraint %s is NOT ENFORCED", spec->name);
    return online_constraint_accept(spec, look, error);
}

/* The name as SQL reads one. */
static bool plan_existing(struct run *run, const struct validate_options *options,
                          struct error *error)
{
    struct validate_plan *plan = validate_plan_of(run);
    const char *at = options->constraint;

    plan->spec.name = identifier_read(&at, &plan->arena);
    if (plan->spec.name != NULL && *at == '\0')
        return true;
    error_set(error, ERROR_USAGE, "\"%s\" is no name of a constraint", options->constraint);
    return error_hint(error, "a name with capitals or signs stands in double quotes, as in SQL");
}

/* ---------------------------------------------------------------------------------------- prepare
 */

static void fill_report(struct run *run, const struct validate_options *options,
                        const struct table *table, const struct constraint_look *look,
                        struct report *report)
{
    const struct constraint_spec *spec = constraint_spec_of(run);
    bool add = spec->definition != NULL && !look->exists;

    addition_headline(run->session, table, options->table, report);
    if (add)
        report_add(report, "adds", "%s: %s", spec->name, spec->definition);
    else
        report_add(report, "constraint", "%s, %s", spec->name,
                   look->valid ? "valid already; nothing is done" : "NOT VALID so far");
    if (spec->other != NULL && add)
        report_add(report, "locks", "%s.%s and %s, for a moment, within lock.timeout together",
                   spec->schema, spec->table, spec->other);
    report_add(report, "undo", "%s",
               add ? "rollback drops it, under a short lock" : "none: it stays valid");
}

static bool prepare(struct run *run, const struct validate_options *options,
                    struct reading *reading, struct report *report, struct error *error)
{
    struct validate_plan *plan = validate_plan_of(run);
    struct constraint_look look;
    struct arena arena = {0};
    struct table *table;
    TEXT_AUTO json = {0};
    bool ok = (options->add == NULL || read_add(options->add, reading, error)) &&
              lock_check_settings(run->session, &options->settings, error) &&
              statement_check_settings(run->session, error) &&
              addition_table(run->session, options->table, &arena, &table, error);

    if (ok) {
        plan->spec.table_oid = table->oid;
        plan->spec.schema = arena_copy(&plan->arena, table->schema);
        plan->spec.table = arena_copy(&plan->arena, table->name);
        addition_fill_job(run, &validate_kind, table, options->job_name, "constraint",
                          options->add != NULL ? options->add : options->constraint,
                          &options->settings);
        ok = (options->add != NULL ? plan_add(run, reading, table, error)
                                   : plan_existing(run, options, error)) &&
             online_constraint_look(run, &plan->spec, &look, error) &&
             check_existing(run, &look, options->table, error);
    }
    if (ok) {
        fields_to_json(constraint_spec_FIELDS, &plan->spec, &json);
        run->job.plan = arena_copy(&run->job.arena, text_string(&json));
        fill_report(run, options, table, &look, report);
        validate_describe(run, &look, report);
    }
    arena_deinit(&arena);
    return ok;
}

bool validate_prepare(struct run *run, const struct validate_options *options,
                      struct report *report, struct error *error)
{
    struct reading reading = {0};
    bool ok;

    *report = (struct report){0};
    if ((options->constraint != NULL) == (options->add != NULL))
        return error_set(error, ERROR_USAGE, "name a constraint, or give one with --add");
    validate_kind.unload(run);
    run->kind_state = memory_zero(1, sizeof(struct validate_plan));
    ok = prepare(run, options, &reading, report, error);
    arena_deinit(&reading.arena);
    return ok;
}
