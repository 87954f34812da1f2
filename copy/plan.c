#include "copy/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "copy/fields.h"

void plan_deinit(struct plan *plan)
{
    arena_deinit(&plan->arena);
    *plan = (struct plan){0};
}

/* ----------------------------------------------------------------------------------------- JSON */

static const char *const ORDER_NAMES[] = {[PLAN_HEAP] = "heap", [PLAN_KEY] = "key", NULL};

static const struct field plan_column_FIELDS[] = {
    FIELD_OF(FIELD_STRING, plan_column, source),
    FIELD_OF(FIELD_STRING, plan_column, target),
    FIELD_OF(FIELD_STRING, plan_column, source_type),
    FIELD_OF(FIELD_STRING, plan_column, target_type),
    FIELD_OF(FIELD_STRING, plan_column, map),
    FIELD_OF(FIELD_STRING, plan_column, reverse_map),
    FIELD_OF(FIELD_BOOL, plan_column, source_generated),
    FIELD_OF(FIELD_BOOL, plan_column, target_generated),
    {0},
};

static const struct field plan_key_column_FIELDS[] = {
    FIELD_OF(FIELD_STRING, plan_key_column, source),
    FIELD_OF(FIELD_STRING, plan_key_column, target),
    FIELD_OF(FIELD_STRING, plan_key_column, source_type),
    FIELD_OF(FIELD_STRING, plan_key_column, target_type),
    FIELD_OF(FIELD_STRING, plan_key_column, collation),
    FIELD_OF(FIELD_STRING, plan_key_column, source_equal),
    FIELD_OF(FIELD_STRING, plan_key_column, target_equal),
    FIELD_OF(FIELD_STRING, plan_key_column, operator_schema),
    {0},
};

static const struct field plan_index_FIELDS[] = {
    FIELD_OF(FIELD_STRING, plan_index, name),
    FIELD_OF(FIELD_STRING, plan_index, tail),
    FIELD_OF(FIELD_STRING, plan_index, constraint),
    FIELD_OF(FIELD_LETTER, plan_index, constraint_type),
    FIELD_OF(FIELD_STRING, plan_index, definition),
    FIELD_OF(FIELD_BOOL, plan_index, unique),
    FIELD_OF(FIELD_BOOL, plan_index, deferrable),
    FIELD_OF(FIELD_BOOL, plan_index, initially_deferred),
    {0},
};

static const struct field plan_check_FIELDS[] = {
    FIELD_OF(FIELD_STRING, plan_check, name),
    FIELD_OF(FIELD_STRING, plan_check, definition),
    {0},
};

static const struct field PLAN_FIELDS[] = {
    FIELD_OF(FIELD_OID, plan, source_oid),
    FIELD_OF(FIELD_STRING, plan, schema),
    FIELD_OF(FIELD_STRING, plan, table),
    FIELD_OF(FIELD_STRING, plan, owner),
    FIELD_OF(FIELD_STRING, plan, search_path),
    FIELD_CHOICE_OF(plan, order, ORDER_NAMES),
    FIELD_OF(FIELD_STRING, plan, order_why),
    FIELD_OF(FIELD_BOOL, plan, no_rollback),
    FIELD_OF(FIELD_BOOL, plan, rewrite_needed),
    FIELD_OF(FIELD_STRING, plan, tablespace),
    FIELD_OF(FIELD_STRING, plan, autovacuum),
    FIELD_STRINGS_OF(plan, actions, action_count),
    FIELD_LIST_OF(plan, columns, column_count, plan_column),
    FIELD_LIST_OF(plan, key, key_count, plan_key_column),
    FIELD_OF(FIELD_STRING, plan, key_index),
    FIELD_OF(FIELD_BOOL, plan, key_hashable),
    FIELD_LIST_OF(plan, walk, walk_count, plan_key_column),
    FIELD_LIST_OF(plan, indexes, index_count, plan_index),
    FIELD_STRINGS_OF(plan, source_indexes, source_index_count),
    FIELD_LIST_OF(plan, checks, check_count, plan_check),
    FIELD_OF(FIELD_BOOL, plan, no_dual_back),
    FIELD_OF(FIELD_BOOL, plan, target_collides),
    FIELD_OF(FIELD_BOOL, plan, source_collides),
    FIELD_OF(FIELD_NUMBER, plan, row_estimate),
    FIELD_OF(FIELD_NUMBER, plan, heap_bytes),
    FIELD_OF(FIELD_NUMBER, plan, table_bytes),
    FIELD_OF(FIELD_STRING, plan, attached_fingerprint),
    FIELD_OF(FIELD_STRING, plan, attached_parts),
    {0},
};

void plan_to_json(const struct plan *plan, struct text *json)
{
    fields_to_json(PLAN_FIELDS, plan, json);
}

bool plan_from_json(const char *json, struct plan *plan, struct error *error)
{
    *plan = (struct plan){0};
    return fields_from_json(json, PLAN_FIELDS, &plan->arena, plan, error);
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
