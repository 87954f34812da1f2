/* shadow_read(): what came of the actions, as a plan. */
#include "copy/shadow.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------ refusals */

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

/* ------------------------------------------------------------------------------------- columns */

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

/* ------------------------------------------------------------------------------------- the key */

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

/* -------------------------------------------------------------------------- indexes and checks */

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

/* ----------------------------------------------------------------------------------- all of it */

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
