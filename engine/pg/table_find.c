/* table_find(): from a name as typed to an oid. */
#include "engine/pg/table.h"

#include <string.h>

/*
 * Sessions have search_path = pg_catalog, pg_temp, so names in the statements need no schema; the
 * one that runs under the user's search_path has them all the same.
 */

/*
 * Resolves a name under the search_path of the session.
 * $1 the name as typed. Raises on bad syntax before 16, NULL from then on. All versions.
 */
static const char FIND_SQL[] = "SELECT pg_catalog.to_regclass($1)::pg_catalog.oid";

/*
 * Tables called like the last part of a name, wherever they are and however their name is spelled.
 * $1 the name as typed. All versions.
 */
static const char FIND_LIKE_SQL[] =
    "SELECT string_agg(format('%I.%I', found.nspname, found.relname), ', ')"
    "  FROM (SELECT n.nspname, c.relname"
    "          FROM pg_class c"
    "          JOIN pg_namespace n ON n.oid = c.relnamespace"
    "         WHERE c.relkind IN ('r', 'p')"
    "           AND n.nspname !~ '^pg_(temp|toast)'"
    "           AND lower(c.relname) = ("
    "               SELECT lower(parts[array_upper(parts, 1)])"
    "                 FROM parse_ident($1, false) AS parts)"
    "         ORDER BY 1, 2"
    "         LIMIT 3) AS found";

/* What tables of a similar name there are; silent when even that cannot be said. */
static void hint_similar(struct session *session, const char *typed, struct error *error)
{
    ROWS_AUTO rows = {0};
    struct error ignored;

    if (session_query(session, &rows, FIND_LIKE_SQL, PARAMS(typed), &ignored) &&
        rows_text(&rows, 0, 0) != NULL)
        error_hint(error, "there is %s", rows_text(&rows, 0, 0));
}

/* Without USAGE on its schema a table cannot even be looked up. */
static void hint_grant(struct session *session, const char *typed, struct error *error)
{
    ROWS_AUTO rows = {0};
    struct error ignored;

    if (session_query(session, &rows,
                      "SELECT format('GRANT USAGE ON SCHEMA %I TO %I', n.name[1], current_user)\n"
                      "  FROM parse_ident($1) AS n(name) WHERE cardinality(n.name) > 1",
                      PARAMS(typed), &ignored) &&
        rows_count(&rows) == 1)
        error_hint(error, "%s", rows_text(&rows, 0, 0));
}

/* Runs FIND_SQL under the user's search_path and puts the session's own back, whatever happens. */
static bool resolve(struct session *session, const char *typed, const char *search_path,
                    uint32_t *oid, struct error *error)
{
    ROWS_AUTO before = {0};
    ROWS_AUTO rows = {0};
    struct error ignored;

    if (!session_query(session, &before, "SELECT current_setting('search_path')", NO_PARAMS,
                       error) ||
        !session_set(session, "search_path", search_path, false, error))
        return false;
    if (session_query(session, &rows, FIND_SQL, PARAMS(typed), error)) {
        *oid = (uint32_t)rows_int64(&rows, 0, 0);
        return session_set(session, "search_path", rows_text(&before, 0, 0), false, error);
    }
    /* Inside a transaction this fails too, and the rollback that must follow puts it back. */
    (void)!session_set(session, "search_path", rows_text(&before, 0, 0), false, &ignored);
    return false;
}

bool table_find(struct session *session, const char *typed, const char *search_path, uint32_t *oid,
                struct error *error)
{
    *oid = 0;
    if (!resolve(session, typed, search_path, oid, error)) {
        struct error server = *error;

        if (server.code != ERROR_SQL)
            return false;
        error_set(error, ERROR_REFUSED, "could not find table %s: %s", typed, server.message);
        memcpy(error->sqlstate, server.sqlstate, sizeof(error->sqlstate));
        error_hint(error, "%s", server.hint);
        if (strcmp(server.sqlstate, "42501") == 0)
            hint_grant(session, typed, error);
        return false;
    }
    if (*oid != 0)
        return true;
    error_set(error, ERROR_REFUSED, "table %s does not exist", typed);
    error_detail(error, "search_path is %s", search_path);
    hint_similar(session, typed, error);
    return false;
}
