/* What the server would do with a chunk: looked at once, before a job begins. */
#include <jansson.h>
#include <string.h>

#include "copy/batch.h"

/*
 * Plan nodes that read the table, as `walked`, for the scan of a chunk: through an index, by both
 * bounds. Those that look up single rows by ctid are no matter.
 */
static const char *find_fault(const json_t *node, const char *walked)
{
    const char *alias = json_string_value(json_object_get(node, "Alias"));
    const char *type = json_string_value(json_object_get(node, "Node Type"));
    const char *cond = json_string_value(json_object_get(node, "Index Cond"));
    const json_t *child;
    size_t i;

    if (alias != NULL && strcmp(alias, walked) == 0 && type != NULL) {
        if (strcmp(type, "Seq Scan") == 0)
            return "each chunk would read the whole table";
        if (strstr(type, "Index") != NULL &&
            (cond == NULL || strchr(cond, '>') == NULL || strstr(cond, "<=") == NULL))
            return "each chunk would read an index from end to end";
    }
    json_array_foreach(json_object_get(node, "Plans"), i, child)
    {
        const char *fault = find_fault(child, walked);

        if (fault != NULL)
            return fault;
    }
    return NULL;
}

/*
 * With the bounds of one row, so that the server plans what it will be asked; an empty table has
 * none, and no chunk.
 */
static bool explain(struct run *run, const struct batch_plan *plan, struct rows *rows, bool *empty,
                    struct error *error)
{
    struct arena arena = {0};
    struct order order;
    TEXT_AUTO statement = {0};
    TEXT_AUTO ignored = {0};
    TEXT_AUTO sql = {0};
    ROWS_AUTO bound = {0};
    const char *at;
    bool ok;

    batch_order(plan, run->job.id, BATCH_WALK, &arena, &order);
    if (plan->action == BATCH_STATEMENT)
        batch_own_statement(plan, run->job.id, BATCH_WALK, &ignored, &statement, &ignored);
    else
        batch_statement(plan, run->job.id, BATCH_WALK, &statement);
    text_appendf(&sql, "EXPLAIN (FORMAT JSON) %s", text_string(&statement));
    ok = session_query(run->session, &bound, order.bound_sql, PARAMS(NULL, NULL, "1"), error);
    at = ok ? rows_text(&bound, 0, 0) : NULL;
    *empty = at == NULL;
    ok = ok && session_query(run->session, rows, text_string(&sql), PARAMS(at, at), error);
    arena_deinit(&arena);
    return ok;
}

bool batch_check_plan(struct run *run, const struct batch_plan *plan, struct error *error)
{
    ROWS_AUTO rows = {0};
    json_t *json;
    const char *fault;
    bool empty;

    if (!explain(run, plan, &rows, &empty, error)) {
        error_refuse(error, NULL);
        return error_context(error, "the rows cannot be written like this");
    }
    json = json_loads(rows_text(&rows, 0, 0), 0, NULL);
    fault = find_fault(json_object_get(json_array_get(json, 0), "Plan"),
                       plan->action == BATCH_STATEMENT ? plan->alias : "r");
    if (empty)
        fault = NULL;
    if (fault != NULL) {
        error_set(error, ERROR_REFUSED, "%s", fault);
        error_hint(error,
                   "is the index of the key valid, and its columns the walk's? -s key=.. names "
                   "others; ANALYZE the table");
    }
    json_decref(json);
    return fault == NULL;
}
