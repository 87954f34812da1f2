#include "copy/kinds/column_name.h"

#include <string.h>

#include "engine/pg/identifier.h"
#include "engine/pg/sql.h"

enum {
    NAME_BYTES = 63 /* NAMEDATALEN - 1 */,
    LIST_MAX = 10,
    LISTS_SINCE = 150000, /* publications may name columns, and schemas */
};

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

/* "name ON s.t", each quoted where that is needed. */
static bool is_key(const struct twin_constraint *key, const char *object)
{
    struct arena arena = {0};
    const char *name = identifier_read(&object, &arena);
    bool on = identifier_word(&object, "on", &arena);
    const char *schema = identifier_read(&object, &arena);
    const char *table = on && *object == '.' ? (object++, identifier_read(&object, &arena)) : NULL;
    bool is = name != NULL && schema != NULL && table != NULL && strcmp(name, key->name) == 0 &&
              strcmp(schema, key->schema) == 0 && strcmp(table, key->table) == 0;

    arena_deinit(&arena);
    return is;
}

static bool has_successor(const struct column_use *use, const struct usage *usage)
{
    for (int i = 0; i < use->key_count && strcmp(usage->kind, "foreign key") == 0; i++)
        if (is_key(&use->keys[i], usage->object))
            return true;
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

bool column_report_usage(struct session *session, const struct column_use *use, bool goes,
                         struct report *report, struct error *error)
{
    struct usage_list usages = {0};
    bool ok = usage_read(session, use->table_oid, use->column, &usages, error);

    for (int i = 0; ok && i < usages.count; i++) {
        const struct usage *usage = &usages.items[i];

        if (usage->weight == USAGE_GOES ? goes : !has_successor(use, usage))
            report_add(report, usage->weight == USAGE_GOES ? "goes with it" : "uses it",
                       "%s %s%s%s", usage->kind, usage->object,
                       usage->detail[0] != '\0' ? ": " : "", usage->detail);
    }
    if (ok && usages.unseen != NULL)
        report_add(report, "not seen", "%s", usages.unseen);
    usage_list_deinit(&usages);
    return ok;
}

/* --------------------------------------------------------------------------------------
 * replication
 */

/*
 * $1 table. Publications that send all of its columns, itself or as part of a partitioned table,
 * by {lists} (since 15) that do not name columns, or with {schemas} (since 15); and subscriptions.
 */
static const char REPLICATION[] =
    "WITH own AS (\n"
    "    SELECT $1::oid AS oid UNION SELECT relid::oid FROM "
    "pg_partition_ancestors($1::oid::regclass))\n"
    "SELECT (SELECT string_agg(quote_ident(p.pubname), ', ' ORDER BY p.pubname)\n"
    "          FROM pg_publication AS p\n"
    "         WHERE p.puballtables OR {schemas}\n"
    "            OR EXISTS (SELECT FROM pg_publication_rel AS r\n"
    "                        WHERE r.prpubid = p.oid AND r.prrelid IN (SELECT oid FROM own)\n"
    "                          AND {lists})),\n"
    "       (SELECT string_agg(quote_ident(s.subname), ', ' ORDER BY s.subname)\n"
    "          FROM pg_subscription AS s\n"
    "         WHERE EXISTS (SELECT FROM pg_subscription_rel AS r\n"
    "                        WHERE r.srsubid = s.oid AND r.srrelid IN (SELECT oid FROM own)))";

static const char IN_SCHEMA[] =
    "EXISTS (SELECT FROM pg_publication_namespace AS n JOIN pg_class AS c\n"
    "                         ON c.relnamespace = n.pnnspid\n"
    "                      WHERE n.pnpubid = p.oid AND c.oid IN (SELECT oid FROM own))";

static void report_published(const struct column_sent *sent, const char *by, struct report *report)
{
    if (sent->added != NULL)
        report_add(report, "published",
                   "by %s: add the column %s on the subscribers first, or they stop", by,
                   sent->added);
    if (sent->hidden != NULL)
        report_add(report, "published",
                   "by %s: the subscribers must have a column %s at the cut-over, or they stop", by,
                   sent->hidden);
}

bool column_report_publications(struct session *session, uint32_t table_oid,
                                const struct column_sent *sent, struct report *report,
                                struct error *error)
{
    bool lists = session_server_version(session) >= LISTS_SINCE;
    TEXT_AUTO sql = {0};
    ROWS_AUTO rows = {0};

    sql_expand(&sql, REPLICATION,
               SQL_NAMES({"schemas", sql_fragment(lists ? IN_SCHEMA : "false")},
                         {"lists", sql_fragment(lists ? "r.prattrs IS NULL" : "true")}));
    if (!session_query(session, &rows, text_string(&sql), PARAMS(NUMBER(table_oid)), error))
        return false;
    if (rows_text(&rows, 0, 0) != NULL)
        report_published(sent, rows_text(&rows, 0, 0), report);
    if (rows_text(&rows, 0, 1) == NULL)
        return true;
    if (sent->gone != NULL)
        report_add(report, "warning",
                   "subscription %s writes the table, and stops at the cut-over when it brings "
                   "column %s: change the publisher first",
                   rows_text(&rows, 0, 1), sent->gone);
    else
        report_add(
            report, "warning",
            "subscription %s writes the table: what it brings must suit both before and after",
            rows_text(&rows, 0, 1));
    return true;
}
