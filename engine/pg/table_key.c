/* table_key(): which index of a described table identifies its rows. */
#include "engine/pg/table.h"

#include <string.h>

/* A column of the index that keeps it from being a key; NULL when all are fine. */
static const struct table_index_column *column_lacking(
    const struct table *table, const struct table_index *index,
    bool (*fine)(const struct table *, const struct table_index_column *))
{
    for (int i = 0; i < index->column_count; i++)
        if (!fine(table, &index->columns[i]))
            return &index->columns[i];
    return NULL;
}

static bool column_not_null(const struct table *table, const struct table_index_column *column)
{
    const struct table_column *found = table_column_by_number(table, column->number);

    return found != NULL && found->not_null;
}

static bool column_comparable(const struct table *table, const struct table_index_column *column)
{
    (void)table;
    return column->equal != NULL && column->less != NULL;
}

/*
 * What keeps an index from being a key, the farthest first: 0 nothing, else the higher the farther
 * from one. `lack` may be NULL.
 */
static int index_lacks(const struct table *table, const struct table_index *index,
                       struct text *lack)
{
    const struct table_index_column *column;
    const char *what = NULL;
    int distance = 0;

    if (!index->unique || strcmp(index->method, "btree") != 0) {
        what = index->unique ? "is not a btree" : "is not unique";
        distance = 6;
    } else if (index->has_expressions) {
        what = "is over an expression";
        distance = 5;
    } else if (index->partial) {
        what = "is partial";
        distance = 4;
    } else if (!index->valid) {
        what = "is not valid";
        distance = 3;
    } else if (!index->immediate) {
        what = "is deferrable";
        distance = 2;
    } else if ((column = column_lacking(table, index, column_not_null)) != NULL) {
        if (lack != NULL)
            text_appendf(lack, "column %s of unique index %s may be NULL", column->name,
                         index->name);
        return 1;
    } else if (column_lacking(table, index, column_comparable) != NULL) {
        what = "has an operator class that compares another way than = does";
        distance = 3;
    }
    if (what != NULL && lack != NULL)
        text_appendf(lack, "index %s %s", index->name, what);
    return distance;
}

/* Is `a` the better key of two usable ones? */
static bool better_key(const struct table_index *a, const struct table_index *b)
{
    if (a->primary != b->primary)
        return a->primary;
    if (a->column_count != b->column_count)
        return a->column_count < b->column_count;
    return a->bytes < b->bytes;
}

const struct table_index *table_key(const struct table *table, struct text *why_not)
{
    const struct table_index *best = NULL;
    const struct table_index *closest = NULL;
    int closest_distance = 0;

    for (int i = 0; i < table->index_count; i++) {
        const struct table_index *index = &table->indexes[i];
        int distance = index_lacks(table, index, NULL);

        if (distance == 0 && (best == NULL || better_key(index, best)))
            best = index;
        if (distance > 0 && index->unique && (closest == NULL || distance < closest_distance)) {
            closest = index;
            closest_distance = distance;
        }
    }
    if (best == NULL && why_not != NULL) {
        if (closest == NULL)
            text_append(why_not, "there is no unique index");
        else
            index_lacks(table, closest, why_not);
    }
    return best;
}

const struct table_index *table_key_on(const struct table *table, const char *const *columns,
                                       int count, struct text *why_not)
{
    for (int i = 0; i < table->index_count; i++) {
        const struct table_index *index = &table->indexes[i];
        bool same = index->column_count == count && !index->has_expressions;

        for (int c = 0; same && c < count; c++)
            same = strcmp(index->columns[c].name, columns[c]) == 0;
        if (same && index_lacks(table, index, why_not) == 0)
            return index;
    }
    if (why_not->used == 0)
        text_append(why_not, "there is no index on these columns");
    return NULL;
}
