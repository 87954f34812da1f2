#include "copy/inspect.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "copy/inspect_parts.h"
#include "engine/pg/sql.h"

/* In the order in which their findings are listed. */
static const struct inspection_subject *const TABLE_SUBJECTS[] = {
    &inspect_key_subject,   &inspect_dependents_subject, &inspect_privileges_subject,
    &inspect_build_subject, &inspect_activity_subject,
};
enum { TABLE_SUBJECT_COUNT = sizeof(TABLE_SUBJECTS) / sizeof(TABLE_SUBJECTS[0]) };

/* Of rows that are changed where they are. */
static const struct inspection_subject *const ROWS_SUBJECTS[] = {
    &inspect_key_subject,
    &inspect_change_subject,
    &inspect_activity_subject,
};
enum { ROWS_SUBJECT_COUNT = sizeof(ROWS_SUBJECTS) / sizeof(ROWS_SUBJECTS[0]) };

/* Of inspect_related_ids(), which is asked when the ids are about to grow. */
static const struct finding_kind RELATED_KINDS[] = {
    {"related-id", FINDING_NOTE, "{object} still holds this id as {extra}",
     "it overflows when the ids do", ""},
    {0},
};

/* ---------------------------------------------------------------------------------- one finding */

static const struct finding_kind *find_kind(const struct finding_kind *kinds, const char *code)
{
    for (; kinds->code != NULL; kinds++)
        if (strcmp(kinds->code, code) == 0)
            return kinds;
    return NULL;
}

static const struct finding_kind *kind_of(const char *code)
{
    const struct finding_kind *kind = find_kind(inspect_server_subject.kinds, code);

    for (int i = 0; kind == NULL && i < TABLE_SUBJECT_COUNT; i++)
        kind = find_kind(TABLE_SUBJECTS[i]->kinds, code);
    if (kind == NULL)
        kind = find_kind(inspect_change_subject.kinds, code);
    if (kind == NULL)
        kind = find_kind(RELATED_KINDS, code);
    if (kind == NULL) {
        assert(!"a finding of unknown kind");
        abort();
    }
    return kind;
}

static const char *expand(const struct inspection *inspection, const char *template,
                          const char *object, const char *extra)
{
    TEXT_AUTO text = {0};

    sql_expand(&text, template,
               SQL_NAMES({"table", sql_fragment(inspection->name == NULL ? "" : inspection->name)},
                         {"role", sql_fragment(inspection->role)}, {"object", sql_fragment(object)},
                         {"word", sql_fragment(SHELL_WORD(object))},
                         {"extra", sql_fragment(extra)}));
    return arena_copy(&inspection->findings->arena, text_string(&text));
}

void inspection_add(const struct inspection *inspection, const char *code, const char *object,
                    const char *extra)
{
    const struct finding_kind *kind = kind_of(code);

    findings_add(inspection->findings,
                 (struct finding){
                     .level = kind->level,
                     .code = kind->code,
                     .object = arena_copy(&inspection->findings->arena, object),
                     .what = expand(inspection, kind->what, object, extra),
                     .why = expand(inspection, kind->why, object, extra),
                     .todo = expand(inspection, kind->todo, object, extra),
                 });
}

bool inspection_add_rows(const struct inspection *inspection, const char *sql, struct params params,
                         struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(inspection->session, &rows, sql, params, error))
        return error_context(error, "could not inspect %s",
                             inspection->name == NULL ? "the server" : inspection->name);
    for (int row = 0; row < rows_count(&rows); row++) {
        const char *object = rows_text(&rows, row, 1);
        const char *extra = rows_text(&rows, row, 2);

        /* An object that is being dropped has no description any more. */
        inspection_add(inspection, rows_text(&rows, row, 0), object == NULL ? "an object" : object,
                       extra == NULL ? "" : extra);
    }
    return true;
}

/* ---------------------------------------------------------------------------------- inspections */

/* Quoted as SQL needs it and not more: what a user reads. */
static bool begin(struct inspection *inspection, struct error *error)
{
    const struct table *table = inspection->table;
    ROWS_AUTO rows = {0};

    if (!session_query(
            inspection->session, &rows,
            "SELECT quote_ident(current_user), quote_ident($1) || '.' || quote_ident($2)",
            PARAMS(table == NULL ? NULL : table->schema, table == NULL ? NULL : table->name),
            error))
        return false;
    inspection->role = arena_copy(&inspection->findings->arena, rows_text(&rows, 0, 0));
    inspection->name = arena_copy(&inspection->findings->arena, rows_text(&rows, 0, 1));
    return true;
}

/* The server wants as many parameters as the statement names. */
static bool run_check(const struct inspection *inspection, const struct check *check,
                      struct error *error)
{
    struct params params = PARAMS(NUMBER(inspection->table == NULL ? 0 : inspection->table->oid),
                                  NUMBER(inspection->key == NULL ? 0 : inspection->key->oid));

    if (session_server_version(inspection->session) < check->since)
        return true;
    params.count = strstr(check->sql, "$2") != NULL ? 2 : strstr(check->sql, "$1") != NULL ? 1 : 0;
    return inspection_add_rows(inspection, check->sql, params, error);
}

static bool inspect_subject(const struct inspection *inspection,
                            const struct inspection_subject *subject, struct error *error)
{
    for (const struct check *check = subject->checks; check->sql != NULL; check++)
        if (!run_check(inspection, check, error))
            return false;
    return subject->look == NULL || subject->look(inspection, error);
}

bool inspect_server(struct session *session, struct findings *findings, struct error *error)
{
    struct inspection inspection = {.session = session, .findings = findings};

    return begin(&inspection, error) &&
           inspect_subject(&inspection, &inspect_server_subject, error);
}

static bool inspect_subjects(struct inspection *inspection,
                             const struct inspection_subject *const *subjects, int count,
                             struct error *error)
{
    if (!begin(inspection, error))
        return false;
    if (!inspect_right_kind(inspection))
        return true;
    for (int i = 0; i < count; i++)
        if (!inspect_subject(inspection, subjects[i], error))
            return false;
    return true;
}

bool inspect_table(struct session *session, const struct table *table, struct findings *findings,
                   struct error *error)
{
    struct inspection inspection = {
        .session = session, .findings = findings, .table = table, .key = table_key(table, NULL)};

    return inspect_subjects(&inspection, TABLE_SUBJECTS, TABLE_SUBJECT_COUNT, error);
}

bool inspect_typed(struct session *session, const char *typed, const char *const *codes,
                   struct findings *findings, struct arena *arena, struct table **table,
                   struct error *error)
{
    uint32_t oid;

    if (!inspect_server(session, findings, error) ||
        !table_find(session, typed, session_user_search_path(session), &oid, error) ||
        !table_describe(session, oid, arena, table, error) ||
        !inspect_table(session, *table, findings, error))
        return false;
    if (codes != NULL)
        findings_keep(findings, codes);
    return findings_refuse(findings, typed, error);
}

bool inspect_rows(struct session *session, const struct table *table, bool deletes,
                  struct findings *findings, struct error *error)
{
    struct inspection inspection = {.session = session,
                                    .findings = findings,
                                    .table = table,
                                    .key = table_key(table, NULL),
                                    .verb = deletes ? "DELETE" : "UPDATE"};

    return inspect_subjects(&inspection, ROWS_SUBJECTS, ROWS_SUBJECT_COUNT, error);
}

bool inspect_publications(struct session *session, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(session, &rows,
                       "SELECT quote_ident(pubname) FROM pg_publication WHERE puballtables\n"
                       " ORDER BY 1 LIMIT 1",
                       NO_PARAMS, error))
        return false;
    if (rows_count(&rows) == 0)
        return true;
    error_set(error, ERROR_REFUSED, "publication %s is FOR ALL TABLES", rows_text(&rows, 0, 0));
    error_detail(error,
                 "it sends the copy and the change log to subscribers, which have no such tables");
    return error_hint(error,
                      "drop it, or let it name its tables, without the job's; then go on with the "
                      "job");
}

/* ---------------------------------------------------------------------------------- related ids */

/*
 * Columns of other tables that are called after this one. Singulars by the plain rules of English:
 * orders, boxes, categories. Partitions are left out, their parent says it. $1 oid, $2 name of the
 * key column, $3 oid of its type.
 */
static const char RELATED_SQL[] =
    "WITH stem(name) AS ("
    "       SELECT lower(c.relname) FROM pg_class c WHERE c.oid = $1::oid"
    "       UNION SELECT regexp_replace(lower(c.relname), 's$', '') FROM pg_class c"
    "           WHERE c.oid = $1::oid"
    "       UNION SELECT regexp_replace(lower(c.relname), 'es$', '') FROM pg_class c"
    "           WHERE c.oid = $1::oid"
    "       UNION SELECT regexp_replace(lower(c.relname), 'ies$', 'y') FROM pg_class c"
    "           WHERE c.oid = $1::oid)"
    "SELECT 'related-id',"
    "       CASE WHEN c.relnamespace = own.relnamespace THEN ''"
    "            ELSE quote_ident(n.nspname) || '.' END"
    "           || quote_ident(c.relname) || '.' || quote_ident(a.attname),"
    "       format_type(a.atttypid, a.atttypmod)"
    "  FROM pg_class own"
    "  JOIN pg_class c ON c.oid <> own.oid AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
    "  JOIN pg_namespace n"
    "    ON n.oid = c.relnamespace AND n.nspname !~ '^pg_'"
    "   AND n.nspname NOT IN ('information_schema', 'pghaul')"
    "  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
    " WHERE own.oid = $1::oid AND a.atttypid = $3::oid"
    "   AND EXISTS (SELECT FROM stem"
    "                WHERE lower(a.attname) IN (stem.name || '_id', stem.name || '_' || lower($2)))"
    " ORDER BY c.relnamespace = own.relnamespace DESC, n.nspname, c.relname, a.attnum";

bool inspect_related_ids(struct session *session, const struct table *table,
                         const struct table_column *key, struct findings *findings,
                         struct error *error)
{
    struct inspection inspection = {.session = session, .findings = findings, .table = table};

    return begin(&inspection, error) &&
           inspection_add_rows(&inspection, RELATED_SQL,
                               PARAMS(NUMBER(table->oid), key->name, NUMBER(key->type_oid)), error);
}
