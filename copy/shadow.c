#include "copy/shadow.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "copy/attached.h"
#include "engine/job/schema.h"

/* -----------------------------------------------------------------------------------------------------------
 * build */

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
 * constraints and sequences after it, and an expression may name it. Only when no table of ours has
 * that name.
 */
static bool lend_name(struct run *run, struct sql_value *clone, struct text *give_back,
                      struct error *error)
{
    const struct copy *copy = copy_of(run);
    struct sql_value lent = sql_table("pghaul", copy->plan.table);
    TEXT_AUTO name = {0};
    ROWS_AUTO rows = {0};

    *clone = sql_fragment(copy->forward.to_qualified);
    sql_append(&name, lent);
    if (!session_query(run->session, &rows, "SELECT to_regclass($1) IS NULL",
                       PARAMS(text_string(&name)), error))
        return false;
    if (!rows_bool(&rows, 0, 0))
        return true;
    text_clear(&name);
    flow_expand_with(&copy->forward, &name, "ALTER TABLE {to} RENAME TO {name}",
                     SQL_NAMES({"name", sql_ident(copy->plan.table)}));
    sql_expand(give_back, "ALTER TABLE {lent} RENAME TO {name}",
               SQL_NAMES({"lent", lent}, {"name", sql_ident(copy->names.shadow)}));
    *clone = lent;
    return session_run_text(run->session, &name, error);
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
            error->code = ERROR_REFUSED;
            error_context(error, "--do '%s'", plan->actions[i]);
            return error->hint[0] != '\0'
                       ? false
                       : error_hint(error, "it was tried on an empty copy; nothing was changed");
        }
        if (!relfilenode(run, text_string(&clone_name), &after, error))
            return false;
        changes->rewrites[i] = before != after;
        changes->any = changes->any || before != after;
        before = after;
    }
    return (give_back.used == 0 || session_run_text(run->session, &give_back, error)) &&
           session_set(run->session, "search_path", "pg_catalog, pg_temp", true, error);
}

bool shadow_build(struct run *run, const struct table *source, struct arena *arena,
                  struct shadow_changes *changes, struct error *error)
{
    const struct copy *copy = copy_of(run);
    ROWS_AUTO rows = {0};
    uint32_t clone;

    *changes = (struct shadow_changes){
        .rewrites = arena_alloc(arena, sizeof(bool) * (size_t)(copy->plan.action_count + 1)),
    };
    if (!create_clone(run, source, error) || !restore_not_valid(run, source, error) ||
        !flow_query(&copy->forward, run->session, &rows, "SELECT '{to}'::regclass::oid", NO_PARAMS,
                    error))
        return false;
    clone = (uint32_t)rows_int64(&rows, 0, 0);
    for (int i = 0; i < source->index_count; i++)
        if (source->indexes[i].valid && !clone_index(run, &source->indexes[i], error))
            return false;
    return attached_copy(run->session, source->oid, clone, error) &&
           gate(run, source, clone, error) && apply_actions(run, changes, error);
}

/* ------------------------------------------------------------------------------------------------------------
 * read */

/*
 * The expression as the server prints it, with every name qualified: it will be used in sessions
 * and functions whose search_path is not the user's. A view over two relations prints columns with
 * their alias.
 */
bool shadow_map(struct run *run, const char *assignment, const char *table, struct arena *arena,
                const char **column, const char **expression, struct error *error)
{
    static const char END[] = " AS pghaul_value\n   FROM ";
    const char *equals = strchr(assignment, '=');
    const char *start, *end = NULL;
    TEXT_AUTO sql = {0};
    ROWS_AUTO rows = {0};
    size_t length;

    if (equals == NULL || equals == assignment) {
        error_set(error, ERROR_USAGE, "\"%s\" is not a mapping", assignment);
        return error_hint(error, "write column = expression");
    }
    while (isspace((unsigned char)*assignment))
        assignment++;
    length = (size_t)(equals - assignment);
    while (length > 0 && isspace((unsigned char)assignment[length - 1]))
        length--;
    *column = arena_format(arena, "%.*s", (int)length, assignment);
    if ((*column)[0] == '"' && length >= 2)
        *column = arena_format(arena, "%.*s", (int)length - 2, assignment + 1);
    sql_expand(&sql,
               "CREATE TEMPORARY VIEW pghaul_map AS\n"
               "SELECT ({expression}) AS pghaul_value\n"
               "  FROM ONLY {table} AS r CROSS JOIN (VALUES (1)) AS pghaul_one (pghaul_one)",
               SQL_NAMES({"expression", sql_fragment(equals + 1)}, {"table", sql_fragment(table)}));
    if (!session_set(run->session, "search_path", copy_of(run)->plan.search_path, true, error))
        return false;
    if (!session_execute(run->session, text_string(&sql), NO_PARAMS, NULL, error)) {
        error->code = ERROR_REFUSED;
        return error_context(error, "mapping \"%s\"", assignment);
    }
    if (!session_set(run->session, "search_path", "pg_catalog, pg_temp", true, error) ||
        !session_query(run->session, &rows, "SELECT pg_get_viewdef('pg_temp.pghaul_map'::regclass)",
                       NO_PARAMS, error) ||
        !session_run(run->session, "DROP VIEW pg_temp.pghaul_map", error))
        return false;
    start = rows_text(&rows, 0, 0) + strlen(" SELECT ");
    for (const char *at = strstr(start, END); at != NULL; at = strstr(at + 1, END))
        end = at;
    if (end == NULL)
        return error_set(error, ERROR_INTERNAL, "could not read back the mapping \"%s\"",
                         assignment);
    *expression = arena_format(arena, "%.*s", (int)(end - start), start);
    return true;
}

/* "numeric" of "numeric(12,2)". */
static size_t type_name_length(const char *type)
{
    return strcspn(type, "(");
}

static bool type_is(const char *type, const char *name)
{
    return type_name_length(type) == strlen(name) && strncmp(type, name, strlen(name)) == 0;
}

static bool is_integer(const char *type)
{
    return type_is(type, "smallint") || type_is(type, "integer") || type_is(type, "bigint");
}

/* Length of varchar(n); 0: no limit. */
static long text_limit(const char *type)
{
    const char *paren = strchr(type, '(');

    return paren == NULL ? 0 : strtol(paren + 1, NULL, 10);
}

/* Are values of the key equal after the change exactly when they were before, and ordered the same?
 */
static bool key_keeps_meaning(const char *from, const char *to)
{
    if (strcmp(from, to) == 0)
        return true;
    if (is_integer(from))
        return is_integer(to) || strcmp(to, "numeric") == 0;
    if ((type_is(from, "text") || type_is(from, "character varying")) &&
        (type_is(to, "text") || type_is(to, "character varying")))
        return text_limit(to) == 0 || (text_limit(from) != 0 && text_limit(to) >= text_limit(from));
    return false;
}

static struct plan_column *column_of_source(struct plan *plan, const char *source)
{
    for (int i = 0; i < plan->column_count; i++)
        if (plan->columns[i].source != NULL && strcmp(plan->columns[i].source, source) == 0)
            return &plan->columns[i];
    return NULL;
}

/* Source columns first, in order; then the new ones. */
static void read_columns(struct plan *plan, const struct table *source, const struct table *shadow)
{
    plan->columns =
        arena_alloc(&plan->arena, sizeof(*plan->columns) *
                                      (size_t)(source->column_count + shadow->column_count + 1));
    plan->column_count = 0;
    for (int i = 0; i < source->column_count; i++) {
        /* The clone's attribute numbers are 1, 2, 3, ...: dropped columns of the source are not
         * copied. */
        const struct table_column *from = &source->columns[i];
        const struct table_column *to = table_column_by_number(shadow, i + 1);

        plan->columns[plan->column_count++] = (struct plan_column){
            .source = arena_copy(&plan->arena, from->name),
            .target = to != NULL ? arena_copy(&plan->arena, to->name) : NULL,
            .source_type = arena_copy(&plan->arena, from->type),
            .target_type = to != NULL ? arena_copy(&plan->arena, to->type) : NULL,
            .source_generated = from->generated,
            .target_generated = to != NULL && to->generated,
        };
    }
    for (int i = 0; i < shadow->column_count; i++)
        if (shadow->columns[i].number > source->column_count)
            plan->columns[plan->column_count++] = (struct plan_column){
                .target = arena_copy(&plan->arena, shadow->columns[i].name),
                .target_type = arena_copy(&plan->arena, shadow->columns[i].type),
                .target_generated = shadow->columns[i].generated,
            };
}

/* The index of the new table that identifies a row by the same columns. */
static const struct table_index *same_key(const struct table *shadow, const struct plan *plan)
{
    for (int i = 0; i < shadow->index_count; i++) {
        const struct table_index *index = &shadow->indexes[i];
        int found = 0;

        if (!index->unique || !index->valid || !index->immediate || index->partial ||
            index->has_expressions || strcmp(index->method, "btree") != 0 ||
            index->column_count != plan->key_count)
            continue;
        for (int c = 0; c < index->column_count; c++)
            for (int k = 0; k < plan->key_count; k++)
                found += strcmp(index->columns[c].name, plan->key[k].target) == 0;
        if (found == plan->key_count)
            return index;
    }
    return NULL;
}

static bool key_lost(const char *what, struct error *error)
{
    error_set(error, ERROR_REFUSED, "the actions change what identifies a row: %s", what);
    error_detail(error, "the key is how a change to the table finds its row in the copy");
    return error_hint(
        error,
        "keep the key as it is in this job; change it in another one, or in place, afterwards");
}

/* "pg_catalog" of "OPERATOR(pg_catalog.=)", as SQL. */
static const char *operator_schema(struct arena *arena, const char *operator)
{
    const char *start = strchr(operator, '(') + 1;
    const char *dot = strrchr(start, '.');
    const char *schema = arena_format(arena, "%.*s", (int)(dot - start), start);

    return strcmp(schema, "pg_catalog") == 0 ? NULL : schema;
}

static bool read_key_column(struct plan *plan, const struct table *source,
                            const struct table *shadow, const char *name, const char *equal,
                            struct plan_key_column *key, struct error *error)
{
    const struct table_column *from = table_column_by_name(source, name);
    const struct plan_column *column = column_of_source(plan, name);
    const struct table_column *to =
        column->target == NULL ? NULL : table_column_by_name(shadow, column->target);
    TEXT_AUTO what = {0};

    if (to == NULL) {
        text_appendf(&what, "column %s is dropped", name);
        return key_lost(text_string(&what), error);
    }
    if (column->map != NULL || !key_keeps_meaning(from->base_type, to->base_type) ||
        (from->collation == NULL) != (to->collation == NULL) ||
        (from->collation != NULL && strcmp(from->collation, to->collation) != 0)) {
        text_appendf(&what, "column %s, %s, becomes %s", name, from->type, to->type);
        return key_lost(text_string(&what), error);
    }
    *key = (struct plan_key_column){
        .source = column->source,
        .target = column->target,
        .source_type = arena_copy(&plan->arena, from->base_type),
        .target_type = arena_copy(&plan->arena, to->base_type),
        .collation = arena_copy(&plan->arena, from->collation),
        .source_equal = arena_copy(&plan->arena, equal),
        .operator_schema = operator_schema(&plan->arena, equal),
    };
    return true;
}

static bool read_key(struct plan *plan, const struct table *source, const struct table *shadow,
                     struct error *error)
{
    const struct table_index *index = table_key(source, NULL);
    const struct table_index *successor;

    plan->key_index = arena_copy(&plan->arena, index->name);
    plan->key_count = index->column_count;
    plan->key = arena_alloc(&plan->arena, sizeof(*plan->key) * (size_t)plan->key_count);
    for (int i = 0; i < plan->key_count; i++)
        if (!read_key_column(plan, source, shadow, index->columns[i].name, index->columns[i].equal,
                             &plan->key[i], error))
            return false;
    successor = same_key(shadow, plan);
    if (successor == NULL)
        return key_lost("no unique index on those columns is left", error);
    for (int i = 0; i < plan->key_count; i++)
        for (int c = 0; c < successor->column_count; c++)
            if (strcmp(successor->columns[c].name, plan->key[i].target) == 0)
                plan->key[i].target_equal = arena_copy(&plan->arena, successor->columns[c].equal);
    return true;
}

/* Is the row of key types hashable? Asked of the server; failing is the answer no. */
static bool read_hashable(struct run *run, struct plan *plan, struct error *error)
{
    TEXT_AUTO sql = {0};

    text_append(&sql, "SELECT hash_record_extended(ROW(");
    for (int i = 0; i < plan->key_count; i++)
        text_appendf(&sql, "%sNULL::%s", i > 0 ? ", " : "", plan->key[i].source_type);
    text_append(&sql, "), 0)");
    if (!session_run(run->session, "SAVEPOINT hashable", error))
        return false;
    plan->key_hashable = session_run_text(run->session, &sql, error);
    return session_run(run->session, "ROLLBACK TO SAVEPOINT hashable; RELEASE SAVEPOINT hashable",
                       error);
}

/* Can two rows of the table be in each other's way beside the key? */
static bool collides(const struct table *table)
{
    int exclusive = 0;

    for (int i = 0; i < table->index_count; i++)
        exclusive += table->indexes[i].unique || table->indexes[i].constraint_type == 'x';
    return exclusive > 1;
}

static void read_indexes(struct plan *plan, const struct table *source, const struct table *shadow)
{
    plan->indexes =
        arena_alloc(&plan->arena, sizeof(*plan->indexes) * (size_t)(shadow->index_count + 1));
    plan->index_count = 0;
    for (int i = 0; i < shadow->index_count; i++) {
        const struct table_index *index = &shadow->indexes[i];

        plan->indexes[plan->index_count++] = (struct plan_index){
            .name = arena_copy(&plan->arena, index->name),
            .tail = arena_copy(&plan->arena, index->tail),
            .constraint = arena_copy(&plan->arena, index->constraint),
            .constraint_type = index->constraint_type,
            .definition = arena_copy(&plan->arena, index->constraint_definition),
            .unique = index->unique,
            .deferrable = !index->immediate,
            .initially_deferred = index->initially_deferred,
        };
    }
    plan->source_indexes =
        arena_alloc(&plan->arena, sizeof(char *) * (size_t)(source->index_count + 1));
    plan->source_index_count = source->index_count;
    plan->target_collides = collides(shadow);
    plan->source_collides = collides(source);
    plan->no_dual_back = false;
    for (int i = 0; i < source->index_count; i++) {
        plan->source_indexes[i] = arena_copy(&plan->arena, source->indexes[i].name);
        plan->no_dual_back = plan->no_dual_back || !source->indexes[i].immediate;
    }
    for (int i = 0; i < source->column_count; i++)
        plan->no_dual_back = plan->no_dual_back || source->columns[i].identity == 'a';
}

static void read_checks(struct plan *plan, const struct table *shadow)
{
    plan->checks =
        arena_alloc(&plan->arena, sizeof(*plan->checks) * (size_t)(shadow->constraint_count + 1));
    plan->check_count = 0;
    for (int i = 0; i < shadow->constraint_count; i++)
        if (!shadow->constraints[i].validated)
            plan->checks[plan->check_count++] =
                (struct plan_check){arena_copy(&plan->arena, shadow->constraints[i].name),
                                    arena_copy(&plan->arena, shadow->constraints[i].definition)};
}

/* What actions may not do, seen by what they did. */
static bool check_effects(const struct table *source, const struct table *shadow,
                          struct error *error)
{
    for (int i = 0; i < shadow->constraint_count; i++)
        if (shadow->constraints[i].type == 'f') {
            error_set(error, ERROR_REFUSED, "foreign keys cannot be added by a shadow copy yet");
            return error_hint(error, "add %s after the job, NOT VALID first",
                              shadow->constraints[i].name);
        }
    for (int i = 0; i < shadow->index_count; i++)
        if (shadow->indexes[i].constraint_type == 'x' && !shadow->indexes[i].immediate) {
            error_set(error, ERROR_REFUSED, "exclusion constraint %s is deferrable",
                      shadow->indexes[i].name);
            return error_hint(
                error,
                "it would have to be built under the lock of the swap; make it NOT DEFERRABLE");
        }
    for (int i = 0; i < shadow->column_count; i++)
        if (shadow->columns[i].identity != '\0') {
            error_set(error, ERROR_REFUSED, "the actions make %s an identity column",
                      shadow->columns[i].name);
            return error_hint(error, "do that in place, after the job: it takes milliseconds");
        }
    if (shadow->persistence != source->persistence || strcmp(shadow->owner, source->owner) != 0)
        return error_set(error, ERROR_REFUSED,
                         "the actions change the table's owner or persistence");
    return true;
}

/* Storage parameters to be restored after the load, which changes autovacuum_enabled: all of them,
 * because SET puts what it changes at the end, and the order shows in a dump. */
static const char *autovacuum_options(struct arena *arena, const char *reloptions)
{
    bool there = reloptions != NULL && strstr(reloptions, "autovacuum_enabled=") != NULL;

    return there ? arena_copy(arena, reloptions) : "";
}

bool shadow_read(struct run *run, const struct table *source, const struct table *shadow,
                 struct error *error)
{
    struct plan *plan = &copy_of(run)->plan;

    if (!check_effects(source, shadow, error))
        return false;
    read_columns(plan, source, shadow);
    plan->tablespace = arena_copy(&plan->arena, shadow->tablespace);
    plan->autovacuum = autovacuum_options(&plan->arena, shadow->reloptions);
    read_indexes(plan, source, shadow);
    read_checks(plan, shadow);
    return read_key(plan, source, shadow, error) && read_hashable(run, plan, error);
}

/* -----------------------------------------------------------------------------------------------------------
 * strip */

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
        !session_execute(
            run->session,
            "UPDATE pghaul.job SET facts = facts || jsonb_build_object('index_sql', $2::text,\n"
            "                                                          'owed_sql', $3::text)\n"
            " WHERE id = $1::bigint",
            PARAMS(NUMBER(run->job.id), text_string(&restore), text_string(&owed)), NULL, error))
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

/* -----------------------------------------------------------------------------------------------------------
 * phase */

bool shadow_forward(struct run *run, struct error *error)
{
    struct copy *copy = copy_of(run);
    struct arena arena = {0};
    struct shadow_changes changes;
    struct table *source, *shadow;
    char fingerprint[33];
    ROWS_AUTO rows = {0};
    bool ok = false;

    if (copy->shadow_oid != 0)
        return true;
    if (!session_begin(run->session, error) || !schema_lock_names(run->session, error) ||
        !flow_run(&copy->forward, run->session, "LOCK TABLE ONLY {from} IN ACCESS SHARE MODE",
                  error) ||
        !attached_fingerprint(run->session, copy->plan.source_oid, fingerprint, error))
        goto out;
    if (strcmp(fingerprint, copy->plan.attached_fingerprint) != 0) {
        error_set(error, ERROR_REFUSED,
                  "the table's definition was changed since the job was planned");
        error_hint(error, "abort the job and start again");
        goto out;
    }
    if (!table_describe(run->session, copy->plan.source_oid, &arena, &source, error) ||
        !shadow_build(run, source, &arena, &changes, error) ||
        !flow_query(&copy->forward, run->session, &rows, "SELECT '{to}'::regclass::oid", NO_PARAMS,
                    error) ||
        !table_describe(run->session, (uint32_t)rows_int64(&rows, 0, 0), &arena, &shadow, error))
        goto out;
    ok = shadow_strip(run, shadow, error) && copy_set_shadow(run, shadow->oid, error) &&
         session_commit(run->session, error);
out:
    if (!ok)
        session_rollback(run->session);
    arena_deinit(&arena);
    return ok;
}
