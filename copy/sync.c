#include "copy/sync.h"

#include <inttypes.h>

#include "copy/sync_parts.h"
#include "engine/job/schema.h"
#include "engine/pg/sql.h"

bool sync_check(struct session *session, uint32_t table_oid, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(session, &rows,
                       "SELECT tgname FROM pg_trigger\n"
                       " WHERE tgrelid = $1::oid AND NOT tgisinternal AND tgenabled <> 'D'\n"
                       "   AND tgtype & 3 = 3 AND tgname >= $2 COLLATE \"C\"\n"
                       "   AND NOT starts_with(tgname, $2) LIMIT 1",
                       PARAMS(NUMBER(table_oid), SYNC_PREFIX), error))
        return false;
    if (rows_count(&rows) == 0)
        return true;
    error_set(error, ERROR_REFUSED, "trigger %s would fire after those that keep the columns equal",
              rows_text(&rows, 0, 0));
    error_detail(error, "triggers fire in the order of their names; ours begin with %s",
                 SYNC_PREFIX);
    return error_hint(error, "rename it: ALTER TRIGGER .. RENAME TO ..");
}

static bool create_counters(struct run *run, const struct sync *sync, struct error *error)
{
    struct sync_words words = sync_words_of(sync);

    for (int i = 0; i < SYNC_COUNTERS; i++) {
        TEXT_AUTO sql = {0};

        text_appendf(&sql, "CREATE SEQUENCE %s", words.counters[i]);
        if (!run_ddl(run, text_string(&sql), error) ||
            !schema_strip_privileges(run->session, "TABLE", words.counters[i], error))
            return false;
    }
    return true;
}

/* Names in the expression are bound now (RETURN, not a text), under the user's search_path. */
static bool create_map(struct run *run, const struct sync *sync, const struct sync_maps *maps,
                       bool forward, struct error *error)
{
    struct sync_words words = sync_words_of(sync);
    TEXT_AUTO sql = {0};
    TEXT_AUTO name = {0};
    TEXT_AUTO from = {0};
    TEXT_AUTO to = {0};

    sync_type_sql(forward ? sync->old_type : sync->new_type, &from);
    sync_type_sql(forward ? sync->new_type : sync->old_type, &to);
    text_append(&name, words.maps[forward ? 0 : 1]);
    sql_expand(&sql,
               "CREATE FUNCTION {name}({parameter} {from}) RETURNS {to}\n"
               "    LANGUAGE sql {volatility} RETURN {expression}",
               SQL_NAMES({"name", sql_fragment(text_string(&name))},
                         {"parameter",
                          sql_ident(forward ? maps->forward_parameter : maps->back_parameter)},
                         {"from", sql_fragment(text_string(&from))},
                         {"to", sql_fragment(text_string(&to))},
                         {"volatility", sql_fragment(sync->pinned ? "STABLE" : "IMMUTABLE")},
                         {"expression", sql_fragment(forward ? maps->forward : maps->back)}));
    if (!session_set(run->session, "search_path", maps->search_path, true, error))
        return false;
    if (!run_ddl(run, text_string(&sql), error)) {
        error_refuse(error, NULL);
        return error_context(error, forward ? "--using" : "--back-using");
    }
    text_appendf(&name, "(%s)", text_string(&from));
    return session_set(run->session, "search_path", "pg_catalog, pg_temp", true, error) &&
           schema_strip_privileges(run->session, "FUNCTION", text_string(&name), error);
}

static bool create_functions(struct run *run, const struct sync *sync, struct error *error)
{
    struct sync_words words = sync_words_of(sync);
    TEXT_AUTO sql = {0};

    sync_functions_sql(sync, &sql);
    if (!run_ddl(run, text_string(&sql), error))
        return false;
    for (int i = 0; i < SYNC_FUNCTIONS; i++) {
        TEXT_AUTO name = {0};

        text_appendf(&name, "%s()", words.functions[i]);
        if (!schema_strip_privileges(run->session, "FUNCTION", text_string(&name), error))
            return false;
    }
    return true;
}

bool sync_create(struct run *run, const struct sync *sync, const struct sync_maps *maps,
                 struct error *error)
{
    return create_counters(run, sync, error) &&
           (sync->same || create_map(run, sync, maps, true, error)) &&
           (sync->same || sync->no_back || create_map(run, sync, maps, false, error)) &&
           (sync->same || sync_create_differ(run, sync, error)) &&
           create_functions(run, sync, error);
}

/* ---------------------------------------------------------------------------------- looking at it
 */

bool sync_armed(struct session *session, const struct sync *sync, struct text *armed,
                struct error *error)
{
    /* $1 table, $2 the triggers' prefix, $3 how many there are, $4 the functions, $5 any job's. */
    static const char ARMED[] =
        "SELECT (SELECT string_agg(concat_ws(' ', t.tgname, t.xmin), ',' ORDER BY t.tgname)\n"
        "          FROM pg_trigger AS t\n"
        "         WHERE t.tgrelid = $1::oid AND starts_with(t.tgname, $2) AND t.tgenabled = 'A'\n"
        "        HAVING count(*) = $3::int)\n"
        "       || (SELECT coalesce(string_agg(concat_ws(' ', ',', p.proname, p.xmin), ''\n"
        "                                      ORDER BY p.proname), '')\n"
        "             FROM pg_proc AS p WHERE p.pronamespace = 'pghaul'::regnamespace\n"
        "              AND 'pghaul.' || p.proname = ANY ($4::text[]))\n"
        " WHERE NOT EXISTS (SELECT FROM pg_trigger AS t\n"
        "                    WHERE t.tgrelid = $1::oid AND NOT t.tgisinternal\n"
        "                      AND t.tgenabled <> 'D' AND t.tgtype & 3 = 3\n"
        "                      AND t.tgname >= $5 COLLATE \"C\" AND NOT starts_with(t.tgname, $5))";
    struct sync_words words = sync_words_of(sync);
    ROWS_AUTO rows = {0};
    TEXT_AUTO prefix = {0};
    TEXT_AUTO functions = {0};

    text_appendf(&prefix, SYNC_PREFIX "%" PRId64 "_", sync->job);
    for (int i = 0; i < SYNC_FUNCTIONS; i++)
        text_appendf(&functions, "%s%s", i == 0 ? "{" : ",", words.functions[i]);
    for (int i = 0; i < SYNC_MAPS; i++)
        text_appendf(&functions, ",%s", words.maps[i]);
    text_append(&functions, "}");
    if (!session_query(session, &rows, ARMED,
                       PARAMS(NUMBER(sync->table_oid), text_string(&prefix), NUMBER(SYNC_FUNCTIONS),
                              text_string(&functions), SYNC_PREFIX),
                       error))
        return false;
    text_clear(armed);
    if (rows_count(&rows) == 1 && rows_text(&rows, 0, 0) != NULL)
        text_append(armed, rows_text(&rows, 0, 0));
    return true;
}

/* A counter that was never called says 1, and is_called says that it was not. */
static const char COUNTS[] =
    "SELECT (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM pghaul.seen_{job}),\n"
    "       (SELECT to_timestamp(last_value)::text FROM pghaul.seen_at_{job} WHERE is_called),\n"
    "       (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM pghaul.conflict_{job}),\n"
    "       (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM pghaul.lost_{job})";

bool sync_counts(struct session *session, const struct sync *sync, struct arena *arena,
                 struct sync_counts *counts, struct error *error)
{
    ROWS_AUTO rows = {0};
    TEXT_AUTO sql = {0};

    sync_expand(sync, COUNTS, &sql);
    if (!session_query(session, &rows, text_string(&sql), NO_PARAMS, error))
        return false;
    *counts = (struct sync_counts){
        .old_writes = rows_int64(&rows, 0, 0),
        .old_write_at = arena_copy(arena, rows_text(&rows, 0, 1)),
        .conflicts = rows_int64(&rows, 0, 2),
        .lost = rows_int64(&rows, 0, 3),
    };
    return true;
}
