#include "copy/plan.h"

#include <inttypes.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void plan_deinit(struct plan *plan)
{
    arena_deinit(&plan->arena);
    *plan = (struct plan){0};
}

/* ------------------------------------------------------------------------------------------------------------
 * JSON */

/*
 * One table for each struct drives both directions. Arrays of strings and of structs are fields,
 * too: their pointer and their count.
 */
enum field_type {
    FIELD_STRING,
    FIELD_BOOL,
    FIELD_NUMBER,
    FIELD_OID,
    FIELD_ORDER,
    FIELD_TYPE,
    FIELD_STRINGS,
    FIELD_LIST
};

struct field {
    const char *name; /* NULL ends a table */
    enum field_type type;
    size_t offset;
    size_t count_offset;        /* FIELD_STRINGS, FIELD_LIST: of an int */
    const struct field *fields; /* FIELD_LIST: of an element */
    size_t size;                /* FIELD_LIST: of an element */
};

#define STRING(type, member)                                             \
    {                                                                    \
#member, FIELD_STRING, offsetof(struct type, member), 0, NULL, 0 \
    }
#define BOOL(type, member)                                             \
    {                                                                  \
#member, FIELD_BOOL, offsetof(struct type, member), 0, NULL, 0 \
    }
#define NUMBER_OF(type, member)                                          \
    {                                                                    \
#member, FIELD_NUMBER, offsetof(struct type, member), 0, NULL, 0 \
    }
#define STRINGS(type, member, count)                                                               \
    {                                                                                              \
#member, FIELD_STRINGS, offsetof(struct type, member), offsetof(struct type, count), NULL, \
            0                                                                                      \
    }
#define LIST(type, member, count, element)                                                \
    {                                                                                     \
#member, FIELD_LIST, offsetof(struct type, member), offsetof(struct type, count), \
            element##_FIELDS, sizeof(struct element)                                      \
    }

static const struct field plan_column_FIELDS[] = {
    STRING(plan_column, source),
    STRING(plan_column, target),
    STRING(plan_column, source_type),
    STRING(plan_column, target_type),
    STRING(plan_column, map),
    STRING(plan_column, reverse_map),
    BOOL(plan_column, source_generated),
    BOOL(plan_column, target_generated),
    {0},
};

static const struct field plan_key_column_FIELDS[] = {
    STRING(plan_key_column, source),
    STRING(plan_key_column, target),
    STRING(plan_key_column, source_type),
    STRING(plan_key_column, target_type),
    STRING(plan_key_column, collation),
    STRING(plan_key_column, source_equal),
    STRING(plan_key_column, target_equal),
    STRING(plan_key_column, operator_schema),
    {0},
};

static const struct field plan_index_FIELDS[] = {
    STRING(plan_index, name),
    STRING(plan_index, tail),
    STRING(plan_index, constraint),
    {"constraint_type", FIELD_TYPE, offsetof(struct plan_index, constraint_type), 0, NULL, 0},
    STRING(plan_index, definition),
    BOOL(plan_index, unique),
    BOOL(plan_index, deferrable),
    BOOL(plan_index, initially_deferred),
    {0},
};

static const struct field plan_check_FIELDS[] = {
    STRING(plan_check, name),
    STRING(plan_check, definition),
    {0},
};

static const struct field PLAN_FIELDS[] = {
    {"source_oid", FIELD_OID, offsetof(struct plan, source_oid), 0, NULL, 0},
    STRING(plan, schema),
    STRING(plan, table),
    STRING(plan, owner),
    STRING(plan, search_path),
    {"order", FIELD_ORDER, offsetof(struct plan, order), 0, NULL, 0},
    STRING(plan, order_why),
    BOOL(plan, no_rollback),
    BOOL(plan, rewrite_needed),
    STRING(plan, tablespace),
    STRING(plan, autovacuum),
    STRINGS(plan, actions, action_count),
    LIST(plan, columns, column_count, plan_column),
    LIST(plan, key, key_count, plan_key_column),
    STRING(plan, key_index),
    BOOL(plan, key_hashable),
    LIST(plan, walk, walk_count, plan_key_column),
    LIST(plan, indexes, index_count, plan_index),
    STRINGS(plan, source_indexes, source_index_count),
    LIST(plan, checks, check_count, plan_check),
    BOOL(plan, no_dual_back),
    BOOL(plan, target_collides),
    BOOL(plan, source_collides),
    NUMBER_OF(plan, row_estimate),
    NUMBER_OF(plan, heap_bytes),
    NUMBER_OF(plan, table_bytes),
    STRING(plan, attached_fingerprint),
    {0},
};

static const char *const ORDER_NAMES[] = {[PLAN_HEAP] = "heap", [PLAN_KEY] = "key"};

static json_t *struct_to_json(const struct field *fields, const void *object);

static json_t *list_to_json(const struct field *field, const char *elements, int count)
{
    json_t *array = json_array();

    for (int i = 0; i < count; i++)
        json_array_append_new(array,
                              struct_to_json(field->fields, elements + (size_t)i * field->size));
    return array;
}

static json_t *strings_to_json(const char *const *strings, int count)
{
    json_t *array = json_array();

    for (int i = 0; i < count; i++)
        json_array_append_new(array, json_string(strings[i]));
    return array;
}

/* NULL: nothing to write, the value is what an absent member means. */
static json_t *field_to_json(const struct field *field, const char *object)
{
    const void *at = object + field->offset;
    int count = field->type >= FIELD_STRINGS ? *(const int *)(object + field->count_offset) : 0;

    switch (field->type) {
    case FIELD_STRING:
        return *(const char *const *)at == NULL ? NULL : json_string(*(const char *const *)at);
    case FIELD_BOOL:
        return *(const bool *)at ? json_true() : NULL;
    case FIELD_NUMBER:
        return json_integer(*(const int64_t *)at);
    case FIELD_OID:
        return json_integer(*(const uint32_t *)at);
    case FIELD_ORDER:
        return json_string(ORDER_NAMES[*(const enum plan_order *)at]);
    case FIELD_TYPE:
        return *(const char *)at == '\0' ? NULL : json_stringn(at, 1);
    case FIELD_STRINGS:
        return strings_to_json(*(const char *const *const *)at, count);
    case FIELD_LIST:
        return list_to_json(field, *(const char *const *)at, count);
    }
    return NULL;
}

static json_t *struct_to_json(const struct field *fields, const void *object)
{
    json_t *json = json_object();

    for (const struct field *field = fields; field->name != NULL; field++) {
        json_t *value = field_to_json(field, object);

        if (value != NULL)
            json_object_set_new(json, field->name, value);
    }
    return json;
}

static void struct_from_json(struct arena *arena, const struct field *fields, const json_t *json,
                             void *object);

static void *list_from_json(struct arena *arena, const struct field *field, const json_t *array,
                            int count)
{
    char *elements = arena_alloc(arena, field->size * (size_t)(count + 1));

    for (int i = 0; i < count; i++)
        struct_from_json(arena, field->fields, json_array_get(array, (size_t)i),
                         elements + (size_t)i * field->size);
    return elements;
}

static const char **strings_from_json(struct arena *arena, const json_t *array, int count)
{
    const char **strings = arena_alloc(arena, sizeof(char *) * (size_t)(count + 1));

    for (int i = 0; i < count; i++)
        strings[i] = arena_copy(arena, json_string_value(json_array_get(array, (size_t)i)));
    return strings;
}

static void field_from_json(struct arena *arena, const struct field *field, const json_t *value,
                            char *object)
{
    void *at = object + field->offset;
    const char *string = json_string_value(value);
    int count = (int)json_array_size(value);

    if (field->type >= FIELD_STRINGS)
        *(int *)(object + field->count_offset) = count;
    switch (field->type) {
    case FIELD_STRING:
        *(const char **)at = arena_copy(arena, string);
        break;
    case FIELD_BOOL:
        *(bool *)at = json_is_true(value);
        break;
    case FIELD_NUMBER:
        *(int64_t *)at = json_integer_value(value);
        break;
    case FIELD_OID:
        *(uint32_t *)at = (uint32_t)json_integer_value(value);
        break;
    case FIELD_ORDER:
        *(enum plan_order *)at =
            string != NULL && strcmp(string, ORDER_NAMES[PLAN_KEY]) == 0 ? PLAN_KEY : PLAN_HEAP;
        break;
    case FIELD_TYPE:
        *(char *)at = string == NULL ? '\0' : string[0];
        break;
    case FIELD_STRINGS:
        *(const char ***)at = strings_from_json(arena, value, count);
        break;
    case FIELD_LIST:
        *(void **)at = list_from_json(arena, field, value, count);
        break;
    }
}

static void struct_from_json(struct arena *arena, const struct field *fields, const json_t *json,
                             void *object)
{
    for (const struct field *field = fields; field->name != NULL; field++)
        field_from_json(arena, field, json_object_get(json, field->name), object);
}

void plan_to_json(const struct plan *plan, struct text *json)
{
    json_t *object = struct_to_json(PLAN_FIELDS, plan);
    char *dumped = json_dumps(object, JSON_COMPACT);

    text_append(json, dumped);
    free(dumped);
    json_decref(object);
}

bool plan_from_json(const char *json, struct plan *plan, struct error *error)
{
    json_t *object = json_loads(json, 0, NULL);

    *plan = (struct plan){0};
    if (!json_is_object(object)) {
        json_decref(object);
        return error_set(error, ERROR_INTERNAL, "the job's plan is not JSON");
    }
    struct_from_json(&plan->arena, PLAN_FIELDS, object, plan);
    json_decref(object);
    return true;
}

/* -----------------------------------------------------------------------------------------------------------
 * names */

/* Bytes of `name` that fit into `room`, cut between characters (UTF-8 continuation bytes are
 * 10xxxxxx). */
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
