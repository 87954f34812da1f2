#include "copy/fields.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static bool field_is_array(const struct field *field)
{
    return field->type == FIELD_STRINGS || field->type == FIELD_LIST;
}

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
    int count = field_is_array(field) ? *(const int *)(object + field->count_offset) : 0;

    switch (field->type) {
    case FIELD_STRING:
        return *(const char *const *)at == NULL ? NULL : json_string(*(const char *const *)at);
    case FIELD_BOOL:
        return *(const bool *)at ? json_true() : NULL;
    case FIELD_NUMBER:
        return json_integer(*(const int64_t *)at);
    case FIELD_OID:
        return json_integer(*(const uint32_t *)at);
    case FIELD_CHOICE:
        return json_string(field->choices[*(const int *)at]);
    case FIELD_LETTER:
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

/* The first one when it is none of them: an older program wrote it. */
static int choice_of(const struct field *field, const char *name)
{
    for (int i = 0; name != NULL && field->choices[i] != NULL; i++)
        if (strcmp(field->choices[i], name) == 0)
            return i;
    return 0;
}

static void field_from_json(struct arena *arena, const struct field *field, const json_t *value,
                            char *object)
{
    void *at = object + field->offset;
    const char *string = json_string_value(value);
    int count = (int)json_array_size(value);

    if (field_is_array(field))
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
    case FIELD_CHOICE:
        *(int *)at = choice_of(field, string);
        break;
    case FIELD_LETTER:
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

void fields_to_json(const struct field *fields, const void *object, struct text *json)
{
    json_t *tree = struct_to_json(fields, object);
    char *dumped = json_dumps(tree, JSON_COMPACT);

    text_append(json, dumped);
    free(dumped);
    json_decref(tree);
}

bool fields_from_json(const char *json, const struct field *fields, struct arena *arena,
                      void *object, struct error *error)
{
    json_t *tree = json_loads(json, 0, NULL);

    if (!json_is_object(tree)) {
        json_decref(tree);
        return error_set(error, ERROR_INTERNAL, "the job's plan is not JSON");
    }
    struct_from_json(arena, fields, tree, object);
    json_decref(tree);
    return true;
}
