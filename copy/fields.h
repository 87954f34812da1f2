/*
 * Structs as JSON and back, driven by a table of their members: how plans are stored in the job's
 * row. One table for each struct drives both directions.
 *
 *     static const struct field point_FIELDS[] = {
 *         FIELD_OF(FIELD_NUMBER, point, x),
 *         FIELD_OF(FIELD_STRING, point, label),
 *         {0},
 *     };
 *
 * What is absent in JSON is NULL, 0 or false; members that JSON has and the table has not are
 * ignored.
 */
#ifndef PGHAUL_COPY_FIELDS_H
#define PGHAUL_COPY_FIELDS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/memory.h"
#include "engine/base/text.h"

enum field_type {
    FIELD_STRING,  /* const char * */
    FIELD_BOOL,    /* bool */
    FIELD_NUMBER,  /* int64_t */
    FIELD_OID,     /* uint32_t */
    FIELD_LETTER,  /* char; '\0' for none */
    FIELD_CHOICE,  /* an enum, by the names of its values */
    FIELD_STRINGS, /* const char ** and an int, its count */
    FIELD_LIST,    /* an array of structs and an int */
};

struct field {
    const char *name; /* NULL ends a table */
    enum field_type type;
    size_t offset;
    size_t count_offset;        /* of the int */
    const struct field *fields; /* FIELD_LIST: of an element */
    size_t size;                /* FIELD_LIST: of an element */
    const char *const *choices; /* FIELD_CHOICE: ends with NULL */
};

#define FIELD_OF(kind, record, member)                                             \
    {                                                                              \
        .name = #member, .type = (kind), .offset = offsetof(struct record, member) \
    }
#define FIELD_CHOICE_OF(record, member, names)                                            \
    {                                                                                     \
        .name = #member, .type = FIELD_CHOICE, .offset = offsetof(struct record, member), \
        .choices = (names)                                                                \
    }
#define FIELD_STRINGS_OF(record, member, count)                                            \
    {                                                                                      \
        .name = #member, .type = FIELD_STRINGS, .offset = offsetof(struct record, member), \
        .count_offset = offsetof(struct record, count)                                     \
    }
/* `element`: the struct's name, which is also that of its table: element_FIELDS. */
#define FIELD_LIST_OF(record, member, count, element)                                   \
    {                                                                                   \
        .name = #member, .type = FIELD_LIST, .offset = offsetof(struct record, member), \
        .count_offset = offsetof(struct record, count), .fields = element##_FIELDS,     \
        .size = sizeof(struct element)                                                  \
    }

void fields_to_json(const struct field *fields, const void *object, struct text *json);

/* Into a zeroed struct; strings and arrays in the arena. */
bool fields_from_json(const char *json, const struct field *fields, struct arena *arena,
                      void *object, struct error *error) MUST_CHECK;

#endif
