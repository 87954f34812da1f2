#include "copy/plan.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void plan_deinit(struct plan *plan)
{
    arena_deinit(&plan->arena);
    *plan = (struct plan){0};
}

/* ------------------------------------------------------------------------------------------------------------ JSON */

/* A string member; NULL is left out. */
static void put(json_t *object, const char *name, const char *value)
{
    if (value != NULL)
        json_object_set_new(object, name, json_string(value));
}

static void put_bool(json_t *object, const char *name, bool value)
{
    if (value)
        json_object_set_new(object, name, json_true());
}

static void put_number(json_t *object, const char *name, int64_t value)
{
    json_object_set_new(object, name, json_integer(value));
}

static const char *get(struct arena *arena, const json_t *object, const char *name)
{
    return arena_copy(arena, json_string_value(json_object_get(object, name)));
}

static bool get_bool(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

static int64_t get_number(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static json_t *column_to_json(const struct plan_column *column)
{
    json_t *object = json_object();

    put(object, "source", column->source);
    put(object, "target", column->target);
    put(object, "source_type", column->source_type);
    put(object, "target_type", column->target_type);
    put(object, "map", column->map);
    put(object, "reverse_map", column->reverse_map);
    put_bool(object, "source_generated", column->source_generated);
    put_bool(object, "target_generated", column->target_generated);
    return object;
}

static void column_from_json(struct arena *arena, const json_t *object, struct plan_column *column)
{
    *column = (struct plan_column){
        .source = get(arena, object, "source"),
        .target = get(arena, object, "target"),
        .source_type = get(arena, object, "source_type"),
        .target_type = get(arena, object, "target_type"),
        .map = get(arena, object, "map"),
        .reverse_map = get(arena, object, "reverse_map"),
        .source_generated = get_bool(object, "source_generated"),
        .target_generated = get_bool(object, "target_generated"),
    };
}

static json_t *key_to_json(const struct plan_key_column *key)
{
    json_t *object = json_object();

    put(object, "source", key->source);
    put(object, "target", key->target);
    put(object, "source_type", key->source_type);
    put(object, "target_type", key->target_type);
    put(object, "collation", key->collation);
    put(object, "source_equal", key->source_equal);
    put(object, "target_equal", key->target_equal);
    put(object, "operator_schema", key->operator_schema);
    return object;
}

static void key_from_json(struct arena *arena, const json_t *object, struct plan_key_column *key)
{
    *key = (struct plan_key_column){
        .source = get(arena, object, "source"),
        .target = get(arena, object, "target"),
        .source_type = get(arena, object, "source_type"),
        .target_type = get(arena, object, "target_type"),
        .collation = get(arena, object, "collation"),
        .source_equal = get(arena, object, "source_equal"),
        .target_equal = get(arena, object, "target_equal"),
        .operator_schema = get(arena, object, "operator_schema"),
    };
}

static json_t *index_to_json(const struct plan_index *index)
{
    json_t *object = json_object();
    const char type[2] = {index->constraint_type, '\0'};

    put(object, "name", index->name);
    put(object, "tail", index->tail);
    put(object, "constraint", index->constraint);
    put(object, "constraint_type", type);
    put(object, "definition", index->definition);
    put_bool(object, "unique", index->unique);
    put_bool(object, "deferrable", index->deferrable);
    put_bool(object, "initially_deferred", index->initially_deferred);
    return object;
}

static void index_from_json(struct arena *arena, const json_t *object, struct plan_index *index)
{
    const char *type = get(arena, object, "constraint_type");

    *index = (struct plan_index){
        .name = get(arena, object, "name"),
        .tail = get(arena, object, "tail"),
        .constraint = get(arena, object, "constraint"),
        .constraint_type = type != NULL ? type[0] : '\0',
        .definition = get(arena, object, "definition"),
        .unique = get_bool(object, "unique"),
        .deferrable = get_bool(object, "deferrable"),
        .initially_deferred = get_bool(object, "initially_deferred"),
    };
}

static json_t *strings_to_json(const char *const *strings, int count)
{
    json_t *array = json_array();

    for (int i = 0; i < count; i++)
        json_array_append_new(array, json_string(strings[i]));
    return array;
}

static int strings_from_json(struct arena *arena, const json_t *array, const char ***strings)
{
    int count = (int)json_array_size(array);

    *strings = arena_alloc(arena, sizeof(char *) * (size_t)(count + 1));
    for (int i = 0; i < count; i++)
        (*strings)[i] = arena_copy(arena, json_string_value(json_array_get(array, (size_t)i)));
    return count;
}

void plan_to_json(const struct plan *plan, struct text *json)
{
    json_t *object = json_object();
    json_t *columns = json_array(), *key = json_array(), *walk = json_array(), *indexes = json_array(),
           *checks = json_array();
    char *dumped;

    for (int i = 0; i < plan->column_count; i++)
        json_array_append_new(columns, column_to_json(&plan->columns[i]));
    for (int i = 0; i < plan->key_count; i++)
        json_array_append_new(key, key_to_json(&plan->key[i]));
    for (int i = 0; i < plan->walk_count; i++)
        json_array_append_new(walk, key_to_json(&plan->walk[i]));
    for (int i = 0; i < plan->index_count; i++)
        json_array_append_new(indexes, index_to_json(&plan->indexes[i]));
    for (int i = 0; i < plan->check_count; i++) {
        json_t *check = json_object();

        put(check, "name", plan->checks[i].name);
        put(check, "definition", plan->checks[i].definition);
        json_array_append_new(checks, check);
    }
    put_number(object, "source_oid", plan->source_oid);
    put(object, "schema", plan->schema);
    put(object, "table", plan->table);
    put(object, "owner", plan->owner);
    put(object, "search_path", plan->search_path);
    put(object, "order", plan->order == PLAN_HEAP ? "heap" : "key");
    put(object, "order_why", plan->order_why);
    put_bool(object, "no_rollback", plan->no_rollback);
    put_bool(object, "rewrite_needed", plan->rewrite_needed);
    put(object, "tablespace", plan->tablespace);
    put(object, "autovacuum", plan->autovacuum);
    json_object_set_new(object, "actions", strings_to_json(plan->actions, plan->action_count));
    json_object_set_new(object, "columns", columns);
    json_object_set_new(object, "key", key);
    put(object, "key_index", plan->key_index);
    put_bool(object, "key_hashable", plan->key_hashable);
    json_object_set_new(object, "walk", walk);
    json_object_set_new(object, "indexes", indexes);
    json_object_set_new(object, "source_indexes", strings_to_json(plan->source_indexes, plan->source_index_count));
    json_object_set_new(object, "checks", checks);
    put_bool(object, "source_deferrable", plan->source_deferrable);
    put_number(object, "row_estimate", plan->row_estimate);
    put_number(object, "heap_bytes", plan->heap_bytes);
    put_number(object, "table_bytes", plan->table_bytes);
    put(object, "attached_fingerprint", plan->attached_fingerprint);
    dumped = json_dumps(object, JSON_COMPACT);
    text_append(json, dumped);
    free(dumped);
    json_decref(object);
}

bool plan_from_json(const char *json, struct plan *plan, struct error *error)
{
    json_t *object = json_loads(json, 0, NULL);
    struct arena *arena = &plan->arena;
    const json_t *array;

    *plan = (struct plan){0};
    if (!json_is_object(object)) {
        json_decref(object);
        return error_set(error, ERROR_INTERNAL, "the job's plan is not JSON");
    }
    plan->source_oid = (uint32_t)get_number(object, "source_oid");
    plan->schema = get(arena, object, "schema");
    plan->table = get(arena, object, "table");
    plan->owner = get(arena, object, "owner");
    plan->search_path = get(arena, object, "search_path");
    plan->order = strcmp(get(arena, object, "order"), "heap") == 0 ? PLAN_HEAP : PLAN_KEY;
    plan->order_why = get(arena, object, "order_why");
    plan->no_rollback = get_bool(object, "no_rollback");
    plan->rewrite_needed = get_bool(object, "rewrite_needed");
    plan->tablespace = get(arena, object, "tablespace");
    plan->autovacuum = get(arena, object, "autovacuum");
    plan->action_count = strings_from_json(arena, json_object_get(object, "actions"), &plan->actions);

    array = json_object_get(object, "columns");
    plan->column_count = (int)json_array_size(array);
    plan->columns = arena_alloc(arena, sizeof(*plan->columns) * (size_t)(plan->column_count + 1));
    for (int i = 0; i < plan->column_count; i++)
        column_from_json(arena, json_array_get(array, (size_t)i), &plan->columns[i]);

    array = json_object_get(object, "key");
    plan->key_count = (int)json_array_size(array);
    plan->key = arena_alloc(arena, sizeof(*plan->key) * (size_t)(plan->key_count + 1));
    for (int i = 0; i < plan->key_count; i++)
        key_from_json(arena, json_array_get(array, (size_t)i), &plan->key[i]);
    plan->key_index = get(arena, object, "key_index");
    plan->key_hashable = get_bool(object, "key_hashable");

    array = json_object_get(object, "walk");
    plan->walk_count = (int)json_array_size(array);
    plan->walk = arena_alloc(arena, sizeof(*plan->walk) * (size_t)(plan->walk_count + 1));
    for (int i = 0; i < plan->walk_count; i++)
        key_from_json(arena, json_array_get(array, (size_t)i), &plan->walk[i]);

    array = json_object_get(object, "indexes");
    plan->index_count = (int)json_array_size(array);
    plan->indexes = arena_alloc(arena, sizeof(*plan->indexes) * (size_t)(plan->index_count + 1));
    for (int i = 0; i < plan->index_count; i++)
        index_from_json(arena, json_array_get(array, (size_t)i), &plan->indexes[i]);
    plan->source_index_count =
        strings_from_json(arena, json_object_get(object, "source_indexes"), &plan->source_indexes);

    array = json_object_get(object, "checks");
    plan->check_count = (int)json_array_size(array);
    plan->checks = arena_alloc(arena, sizeof(*plan->checks) * (size_t)(plan->check_count + 1));
    for (int i = 0; i < plan->check_count; i++) {
        const json_t *check = json_array_get(array, (size_t)i);

        plan->checks[i] = (struct plan_check){get(arena, check, "name"), get(arena, check, "definition")};
    }
    plan->source_deferrable = get_bool(object, "source_deferrable");
    plan->row_estimate = get_number(object, "row_estimate");
    plan->heap_bytes = get_number(object, "heap_bytes");
    plan->table_bytes = get_number(object, "table_bytes");
    plan->attached_fingerprint = get(arena, object, "attached_fingerprint");
    json_decref(object);
    return true;
}

/* ----------------------------------------------------------------------------------------------------------- names */

/* Bytes of `name` that fit into `room`, cut between characters (UTF-8 continuation bytes are 10xxxxxx). */
static int fitting(const char *name, size_t room)
{
    size_t length = strlen(name);

    if (length <= room)
        return (int)length;
    while (room > 0 && ((unsigned char)name[room] & 0xC0) == 0x80)
        room--;
    return (int)room;
}

void plan_names(const char *table, int64_t job, struct plan_names *names)
{
    char number[24];
    size_t room;

    /* Room for "_<number>_old_i99" in 63 bytes. */
    snprintf(number, sizeof(number), "%" PRId64, job);
    room = 63 - strlen(number) - strlen("__old_i999");
    snprintf(names->shadow, sizeof(names->shadow), "%.*s_%s", fitting(table, room), table, number);
    snprintf(names->old, sizeof(names->old), "%.*s_%s_old", fitting(table, room), table, number);
}

void plan_away_name(const char *relation, int n, char name[64])
{
    snprintf(name, 64, "%s_i%d", relation, n + 1);
}
