#include "copy/shadow.h"

#include <string.h>

#include "copy/attached.h"
#include "engine/job/schema.h"

/* --------------------------------------------------------------------------------------- build */

/* Comments, identity, indexes and statistics are not asked of LIKE: it would name them after the
 * clone, or lose some. */
static const char CREATE_CLONE[] = "CREATE TABLE {to} (LIKE {from} INCLUDING DEFAULTS INCLUDING "
                                   "CONSTRAINTS INCLUDING GENERATED INCLUDING STORAGE\n"
                                   "                   INCLUDING COMPRESSION){tablespace}";

static bool create_clone(struct run *run, const struct table *source, struct error *error)
{
    const struct copy *copy = copy_of(run);
    TEXT_AUTO sql = {0};
    TEXT_AUTO tablespace = {0};

    if (source->tablespace != NULL)
        sql_expand(&tablespace, " TABLESPACE {name}",
                   SQL_NAMES({"name", sql_ident(source->tablespace)}));
    flow_expand_with(&copy->forward, &sql, CREATE_CLONE,
                     SQL_NAMES({"tablespace", sql_fragment(text_string(&tablespace))}));
    return run_ddl(run, text_string(&sql), error) &&
           schema_strip_privileges(run->session, "TABLE", copy->forward.to_qualified, error);
}

/* LIKE copies a NOT VALID constraint as a valid one, which existing rows would fail. */
static bool restore_not_valid(struct run *run, const struct table *source, struct error *error)
{
    for (int i = 0; i < source->constraint_count; i++) {
        const struct table_constraint *constraint = &source->constraints[i];
        TEXT_AUTO sql = {0};

        if (constraint->validated || constraint->type == 'f')
            continue;
        flow_expand_with(&copy_of(run)->forward, &sql,
                         "ALTER TABLE {to} DROP CONSTRAINT IF EXISTS {name};\n"
                         "ALTER TABLE {to} ADD CONSTRAINT {name} {definition}",
                         SQL_NAMES({"name", sql_ident(constraint->name)},
                                   {"definition", sql_fragment(constraint->definition)}));
        if (!run_ddl(run, text_string(&sql), error))
            return false;
    }
    return true;
}

static void append_deferrable(struct text *sql, bool deferrable, bool initially_deferred)
{
    if (deferrable)
        text_append(sql, initially_deferred ? " DEFERRABLE INITIALLY DEFERRED" : " DEFERRABLE");
}

static bool clone_index(struct run *run, const struct table_index *index, struct error *error)
{
    TEXT_AUTO sql = {0};
    TEXT_AUTO deferrable = {0};
    const char *constraint = index->constraint_type == 'p' ? "PRIMARY KEY" : "UNIQUE";
    const char *template = "CREATE {unique}INDEX {index} ON {to} {tail}";

    append_deferrable(&deferrable, !index->immediate, index->initially_deferred);
    if (index->constraint_type == 'x')
        template = "ALTER TABLE {to} ADD CONSTRAINT {name} {definition}";
    else if (index->constraint != NULL)
        template =
            "CREATE {unique}INDEX {index} ON {to} {tail};\n"
            "ALTER TABLE {to} ADD CONSTRAINT {name} {constraint} USING INDEX {index}{deferrable}";
    flow_expand_with(&copy_of(run)->forward, &sql, template,
                     SQL_NAMES({"index", sql_ident(index->name)},
                               {"unique", sql_fragment(index->unique ? "UNIQUE " : "")},
                               {"tail", sql_fragment(index->tail)},
                               {"name", sql_ident(index->constraint)},
                               {"definition", sql_fragment(index->constraint_definition)},
                               {"constraint", sql_fragment(constraint)},
                               {"deferrable", sql_fragment(text_string(&deferrable))}));
    return run_ddl(run, text_string(&sql), error);
}

/* The gate: whatever we know how to look at must be the same, before the user changes anything. */
static bool gate(struct run *run, const struct table *source, uint32_t clone, struct error *error)
{
    TEXT_AUTO differences = {0};

    if (!attached_compare(run->session, source->oid, clone, ATTACHED_IDENTITY, &differences, error))
        return false;
    if (differences.used == 0)
        return true;
    error_set(error, ERROR_DIFFERS,
              "a copy of the table's definition is not the same as the table's");
    error_detail(error, "%s", text_string(&differences));
    return error_hint(
        error, "this is a defect of pghaul, or an attribute it does not know; nothing was changed");
}

static bool relfilenode(struct run *run, const char *table, int64_t *number, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(run->session, &rows, "SELECT pg_relation_filenode($1::regclass)",
                       PARAMS(table), error))
        return false;
    *number = rows_int64(&rows, 0, 0);
    return true;
}

/*
 * While the actions run the clone is called as the table is: the server names new indexes,
 * constraints and sequences after it, and an expression may name it. When a table of ours has that
 * name the clone is, for so long, in a schema of its own, which nobody else ever sees: it comes and
 * goes in this transaction.
 */
static bool lend_name(struct run *run, struct sql_value *clone, struct text *give_back,
                      struct error *error)
{
    struct copy *copy = copy_of(run);
    const char *schema = "pghaul";
    const struct sql_name *values;
    TEXT_AUTO name = {0};
    TEXT_AUTO sql = {0};
    ROWS_AUTO rows = {0};
    bool taken;

    sql_append(&name, sql_table(schema, copy->plan.table));
    if (!session_query(run->session, &rows, "SELECT to_regclass($1) IS NOT NULL",
                       PARAMS(text_string(&name)), error))
        return false;
    taken = rows_bool(&rows, 0, 0);
    if (taken)
        schema = arena_format(&copy->plan.arena, "pghaul_%s", NUMBER(run->job.id));
    *clone = sql_table(schema, copy->plan.table);
    values = SQL_NAMES(
        {"schema", sql_ident(schema)}, {"lent", *clone},
        {"moved", sql_table(schema, copy->names.shadow)}, {"table", sql_ident(copy->plan.table)},
        {"to", sql_table("pghaul", copy->names.shadow)}, {"name", sql_ident(copy->names.shadow)});
    if (taken)
        sql_expand(&sql, "CREATE SCHEMA {schema};\nALTER TABLE {to} SET SCHEMA {schema};\n",
                   values);
    sql_expand(&sql, "ALTER TABLE {moved} RENAME TO {table}", values);
    sql_expand(give_back, "ALTER TABLE {lent} RENAME TO {name}", values);
    if (taken)
        sql_expand(give_back, ";\nALTER TABLE {moved} SET SCHEMA pghaul;\nDROP SCHEMA {schema}",
                   values);
    return session_run_text(run->session, &sql, error) ||
           error_refuse(error, "the table has the name of one of pghaul's: it needs CREATE on the "
                               "database");
}

bool shadow_oid(struct run *run, uint32_t *oid, struct error *error)
{
    const struct copy *copy = copy_of(run);
    ROWS_AUTO rows = {0};

    if (!flow_query(&copy->forward, run->session, &rows, "SELECT to_regclass({to_literal})::oid",
                    NO_PARAMS, error))
        return false;
    *oid = (uint32_t)rows_int64(&rows, 0, 0);
    return *oid != 0 ||
           error_set(error, ERROR_INTERNAL, "the copy %s is not there", copy->forward.to_qualified);
}

/* One by one, under the user's search_path: what a name means is what it means to the user. */
static bool apply_actions(struct run *run, struct shadow_changes *changes, struct error *error)
{
    const struct plan *plan = &copy_of(run)->plan;
    struct sql_value clone;
    TEXT_AUTO clone_name = {0};
    TEXT_AUTO give_back = {0};
    int64_t before, after;

    if (!lend_name(run, &clone, &give_back, error) ||
        !session_set(run->session, "search_path", plan->search_path, true, error))
        return false;
    sql_append(&clone_name, clone);
    if (!relfilenode(run, text_string(&clone_name), &before, error))
        return false;
    for (int i = 0; i < plan->action_count; i++) {
        TEXT_AUTO sql = {0};

        sql_expand(&sql, "ALTER TABLE {clone} {action}",
                   SQL_NAMES({"clone", clone}, {"action", sql_fragment(plan->actions[i])}));
        if (!session_execute(run->session, text_string(&sql), NO_PARAMS, NULL, error)) {
            error_refuse(error, "it was tried on an empty copy; nothing was changed");
            return error_context(error, "--do '%s'", plan->actions[i]);
        }
        if (!relfilenode(run, text_string(&clone_name), &after, error))
            return false;
        changes->rewrites[i] = before != after;
        changes->any = changes->any || before != after;
        before = after;
    }
    return session_run_text(run->session, &give_back, error) &&
           session_set(run->session, "search_path", "pg_catalog, pg_temp", true, error);
}

/* The clone as it is before anything is attached to it. */
static bool begin_clone(struct run *run, const struct table *source, struct arena *arena,
                        struct shadow_changes *changes, struct error *error)
{
    *changes = (struct shadow_changes){
        .rewrites =
            arena_alloc(arena, sizeof(bool) * (size_t)(copy_of(run)->plan.action_count + 1)),
    };
    if (!create_clone(run, source, error) || !restore_not_valid(run, source, error))
        return false;
    for (int i = 0; i < source->index_count; i++)
        if (source->indexes[i].valid && !clone_index(run, &source->indexes[i], error))
            return false;
    return true;
}

bool shadow_build(struct run *run, const struct table *source, struct arena *arena,
                  struct shadow_changes *changes, struct error *error)
{
    uint32_t clone;

    return begin_clone(run, source, arena, changes, error) && shadow_oid(run, &clone, error) &&
           attached_copy(run->session, source->oid, clone, error) &&
           gate(run, source, clone, error) && apply_actions(run, changes, error);
}

bool shadow_try(struct run *run, const struct table *source, struct arena *arena,
                struct shadow_changes *changes, struct error *error)
{
    return begin_clone(run, source, arena, changes, error) && apply_actions(run, changes, error);
}

/* --------------------------------------------------------------------------------------- strip */

bool shadow_strip(struct run *run, const struct table *shadow, struct error *error)
{
    const struct copy *copy = copy_of(run);
    TEXT_AUTO sql = {0};
    TEXT_AUTO restore = {0};
    TEXT_AUTO owed = {0};

    /* What hangs on the indexes, and on constraints that the swap adds, is remembered as SQL, in
     * the job, before they go: of the shadow, whose constraints the actions may have changed. */
    if (!attached_index_sql(run->session, shadow->oid, shadow->oid, &restore, error) ||
        !attached_owed_sql(run->session, shadow->oid, 0,
                           sql_table(copy->plan.schema, copy->plan.table), &owed, error) ||
        !copy_remember(run, text_string(&restore), text_string(&owed), error))
        return false;
    for (int i = 0; i < shadow->index_count; i++) {
        const struct table_index *index = &shadow->indexes[i];

        if (index->constraint != NULL)
            flow_expand_with(&copy->forward, &sql, "ALTER TABLE {to} DROP CONSTRAINT {name};\n",
                             SQL_NAMES({"name", sql_ident(index->constraint)}));
        else
            sql_expand(&sql, "DROP INDEX {index};\n",
                       SQL_NAMES({"index", sql_table("pghaul", index->name)}));
    }
    for (int i = 0; i < copy->plan.check_count; i++)
        flow_expand_with(&copy->forward, &sql, "ALTER TABLE {to} DROP CONSTRAINT {name};\n",
                         SQL_NAMES({"name", sql_ident(copy->plan.checks[i].name)}));
    flow_expand(&copy->forward, &sql, "ALTER TABLE {to} SET (autovacuum_enabled = off)");
    return run_ddl(run, text_string(&sql), error);
}

/* --------------------------------------------------------------------------------------- phase */

bool shadow_lock(struct run *run, struct error *error)
{
    return schema_lock_names(run->session, error) &&
           flow_run(&copy_of(run)->forward, run->session,
                    "LOCK TABLE ONLY {from} IN ACCESS SHARE MODE", error);
}

bool shadow_forward(struct run *run, struct error *error)
{
    struct copy *copy = copy_of(run);
    struct arena arena = {0};
    struct shadow_changes changes;
    struct table *source, *shadow;
    char fingerprint[33];
    uint32_t oid;
    bool ok = false;

    if (copy->shadow_oid != 0)
        return true;
    if (!session_begin(run->session, error) || !shadow_lock(run, error) ||
        !attached_fingerprint(run->session, copy->plan.source_oid, fingerprint, error))
        goto out;
    if (strcmp(fingerprint, copy->plan.attached_fingerprint) != 0) {
        TEXT_AUTO names = {0};

        if (copy->plan.attached_parts != NULL &&
            !attached_changed(run->session, copy->plan.source_oid, copy->plan.attached_parts,
                              &names, error))
            goto out;
        error_set(error, ERROR_REFUSED,
                  "the table's definition was changed since the job was planned");
        if (names.used > 0)
            error_detail(error, "changed: %s", text_string(&names));
        error_hint(error, "abort the job and start again");
        goto out;
    }
    if (!table_describe(run->session, copy->plan.source_oid, &arena, &source, error) ||
        !shadow_build(run, source, &arena, &changes, error) || !shadow_oid(run, &oid, error) ||
        !table_describe(run->session, oid, &arena, &shadow, error))
        goto out;
    ok = shadow_strip(run, shadow, error) && copy_set_shadow(run, shadow->oid, error) &&
         session_commit(run->session, error);
out:
    if (!ok)
        session_rollback(run->session);
    arena_deinit(&arena);
    return ok;
}
