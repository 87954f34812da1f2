#include "copy/kinds/column_name.h"

#include <string.h>

#include "engine/pg/identifier.h"

enum { NAME_BYTES = 63 /* NAMEDATALEN - 1 */, LIST_MAX = 10 };

bool column_read_name(const char *typed, struct arena *arena, const char **name,
                      struct error *error)
{
    const char *at = typed;

    *name = identifier_read(&at, arena);
    if (*name != NULL && *at == '\0')
        return true;
    error_set(error, ERROR_USAGE, "\"%s\" is no name of a column", typed);
    return error_hint(error, "a name with capitals or signs stands in double quotes, as in SQL");
}

bool column_find(const struct table *table, const char *table_typed, const char *typed,
                 const struct table_column **column, struct error *error)
{
    struct arena arena = {0};
    const char *name;
    bool ok = column_read_name(typed, &arena, &name, error);

    *column = ok ? table_column_by_name(table, name) : NULL;
    arena_deinit(&arena);
    if (!ok || *column != NULL)
        return ok;
    error_set(error, ERROR_REFUSED, "%s has no column %s", table_typed, typed);
    return error_hint(error, "a name with capitals or signs stands in double quotes, as in SQL");
}

bool column_refuse_taken(const struct table *table, const char *table_typed, const char *name,
                         struct error *error)
{
    if (table_column_by_name(table, name) == NULL)
        return true;
    error_set(error, ERROR_REFUSED, "%s has a column %s already", table_typed, name);
    return error_hint(error, "give it another name");
}

const char *column_hidden_name(struct arena *arena, const char *prefix, const char *name)
{
    size_t length = strlen(name);
    size_t room = NAME_BYTES - strlen(prefix);

    if (length > room)
        for (length = room; length > 0 && ((unsigned char)name[length] & 0xc0) == 0x80;)
            length--; /* whole characters of UTF-8 */
    return arena_format(arena, "%s%.*s", prefix, (int)length, name);
}

/* ----------------------------------------------------------------------------------------- usage
 */

/* Statements that were seen may be long ago: they are told (column_report_usage()), and no more. */
static bool is_real(const struct column_use *use, const struct usage *usage)
{
    return usage->weight == USAGE_BLOCKS ||
           (usage->weight == USAGE_BREAKS && !use->stays && strcmp(usage->kind, "statement") != 0);
}

/* "name ON s.t", the name quoted where that is needed. */
static bool has_successor(const struct column_use *use, const struct usage *usage)
{
    if (strcmp(usage->kind, "foreign key") != 0)
        return false;
    for (const char *const *key = use->keys; key != NULL && *key != NULL; key++) {
        const char *at = usage->object + (usage->object[0] == '"');
        size_t length = strlen(*key);

        if (strncmp(at, *key, length) == 0 && (at[length] == ' ' || at[length] == '"'))
            return true;
    }
    return false;
}

static void add_line(struct text *list, int *count, const char *kind, const char *object,
                     const char *detail)
{
    if (++*count > LIST_MAX)
        return;
    text_appendf(list, "%s%s %s%s%s", list->used > 0 ? "\n" : "", kind, object,
                 detail[0] != '\0' ? ": " : "", detail);
}

static bool list_used(struct run *run, const struct column_use *use, struct text *list, int *count,
                      struct error *error)
{
    struct usage_list usages = {0};
    bool ok = usage_read(run->session, use->table_oid, use->column, &usages, error);

    for (int i = 0; ok && i < usages.count; i++)
        if (is_real(use, &usages.items[i]) && !has_successor(use, &usages.items[i]))
            add_line(list, count, usages.items[i].kind, usages.items[i].object,
                     usages.items[i].detail);
    usage_list_deinit(&usages);
    if (use->writes != NULL)
        add_line(list, count, "writes", "that name it", use->writes);
    return ok;
}

bool column_refuse_used(struct run *run, const struct column_use *use, struct error *error)
{
    TEXT_AUTO list = {0};
    int count = 0;

    if (!list_used(run, use, &list, &count, error))
        return false;
    if (count == 0)
        return true;
    if (count > LIST_MAX)
        text_appendf(&list, "\nand %d more", count - LIST_MAX);
    error_set(error, ERROR_REFUSED, "column %s of %s.%s is still used", use->column, use->schema,
              use->table);
    error_detail(error, "%s", text_string(&list));
    return error_hint(error,
                      "%s%s; or pghaul cutover %s --force: what is left fails then, or keeps "
                      "finish from dropping the column",
                      use->instead != NULL ? "let them use " : "let them do without it",
                      use->instead != NULL ? use->instead : "", SHELL_WORD(run->job.name));
}

bool column_report_usage(struct session *session, uint32_t table_oid, const char *column,
                         struct report *report, struct error *error)
{
    struct usage_list usages = {0};
    bool ok = usage_read(session, table_oid, column, &usages, error);

    for (int i = 0; ok && i < usages.count; i++)
        if (usages.items[i].weight != USAGE_GOES)
            report_add(report, "uses it", "%s %s%s%s", usages.items[i].kind, usages.items[i].object,
                       usages.items[i].detail[0] != '\0' ? ": " : "", usages.items[i].detail);
    if (ok && usages.unseen != NULL)
        report_add(report, "not seen", "%s", usages.unseen);
    usage_list_deinit(&usages);
    return ok;
}
