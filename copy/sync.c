#include "copy/sync.h"

#include <inttypes.h>
#include <string.h>

#include "engine/job/schema.h"
#include "engine/pg/sql.h"
#include "engine/pg/sqlstate.h"

/* ------------------------------------------------------------------------------------- templates
 */

/*
 * {o} and {n} are the old and the new column, {other} a variable of the new column's type. No
 * operator without its schema: the application's search_path applies in here.
 */
static const char CHECK_TABLE[] =
    "    IF TG_RELID OPERATOR(pg_catalog.<>) {oid}::pg_catalog.oid THEN\n"
    "        RAISE EXCEPTION 'pghaul: this function belongs to the triggers of another table';\n"
    "    END IF;\n";

static const char INSERT_SAME[] = "\nBEGIN\n{check}"
                                  "    IF NEW.{n} IS NOT DISTINCT FROM NULL THEN\n"
                                  "{count_insert}"
                                  "        NEW.{n} := NEW.{o};\n"
                                  "    ELSE\n"
                                  "        NEW.{o} := NEW.{n};\n"
                                  "    END IF;\n"
                                  "    RETURN NEW;\n"
                                  "END\n";

static const char UPDATE_SAME[] =
    "\nBEGIN\n{check}"
    "    IF pg_catalog.record_image_ne(ROW(NEW.{n}), ROW(OLD.{n})) THEN\n"
    "        IF pg_catalog.record_image_ne(ROW(NEW.{o}), ROW(NEW.{n})) THEN\n"
    "            IF pg_catalog.record_image_ne(ROW(NEW.{o}), ROW(OLD.{o})) THEN\n"
    "                PERFORM pg_catalog.nextval({conflict}::pg_catalog.regclass);\n"
    "            END IF;\n"
    "            NEW.{o} := NEW.{n};\n"
    "        END IF;\n"
    "    ELSE\n"
    "        NEW.{n} := NEW.{o};\n"
    "    END IF;\n"
    "    RETURN NEW;\n"
    "END\n";

static const char INSERT_MAPPED[] =
    "\nDECLARE\n"
    "    other {new_type};\n"
    "BEGIN\n{check}"
    "    IF NEW.{n} IS NOT DISTINCT FROM NULL THEN\n"
    "{count_insert}"
    "{to_new}"
    "    ELSE\n"
    "{look}"
    "        IF pg_catalog.record_image_ne(ROW(other), ROW(NEW.{n})) "
    "THEN\n"
    "{to_old}"
    "        END IF;\n"
    "    END IF;\n"
    "    RETURN NEW;\n"
    "END\n";

static const char UPDATE_MAPPED[] =
    "\nDECLARE\n"
    "    other {new_type};\n"
    "BEGIN\n{check}"
    "    IF pg_catalog.record_image_ne(ROW(NEW.{n}), ROW(OLD.{n})) THEN\n"
    "{look}"
    "        IF pg_catalog.record_image_ne(ROW(other), ROW(NEW.{n})) THEN\n"
    "            IF pg_catalog.record_image_ne(ROW(NEW.{o}), ROW(OLD.{o})) THEN\n"
    "                PERFORM pg_catalog.nextval({conflict}::pg_catalog.regclass);\n"
    "            END IF;\n"
    "{to_old}"
    "        END IF;\n"
    "    ELSE\n"
    "{to_new}"
    "    END IF;\n"
    "    RETURN NEW;\n"
    "END\n";

/* What the old value would be in the new column; NULL where it cannot be. */
static const char LOOK[] = "        BEGIN\n"
                           "            other := pghaul.forward_{job}(NEW.{o});\n"
                           "        EXCEPTION WHEN OTHERS THEN\n"
                           "            other := NULL;\n"
                           "        END;\n";

/* The follower, which becomes NULL rather than fail the statement. */
static const char TO_FOLLOWER[] = "        BEGIN\n"
                                  "            NEW.{to} := pghaul.{map}_{job}(NEW.{from});\n"
                                  "        EXCEPTION WHEN OTHERS THEN\n"
                                  "            NEW.{to} := NULL;\n"
                                  "{count_lost}"
                                  "        END;\n";

static const char TO_LEADER[] = "        NEW.{to} := pghaul.{map}_{job}(NEW.{from});\n";

static const char REFUSE[] =
    "        RAISE EXCEPTION 'pghaul: column % is read-only: no expression leads from % back to "
    "%',\n"
    "            {written_name}, {n_name}, {o_name}\n"
    "            USING ERRCODE = 'object_not_in_prerequisite_state',\n"
    "                  HINT = 'write the other column, or begin anew with --back-using';\n";

/* Without a way back, what was is given up: the value is not known any more. */
static const char FORGET[] = "        NEW.{o} := NULL;\n"
                             "        PERFORM pg_catalog.nextval({lost}::pg_catalog.regclass);\n";

static const char COUNT_LOST[] =
    "            PERFORM pg_catalog.nextval({lost}::pg_catalog.regclass);\n";

static const char SEEN[] =
    "        PERFORM pg_catalog.nextval({seen}::pg_catalog.regclass);\n"
    "        PERFORM pg_catalog.setval({seen_at}::pg_catalog.regclass,\n"
    "            pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())::pg_catalog.int8);\n";

static const char CREATE_FUNCTION[] =
    "CREATE OR REPLACE FUNCTION pghaul.{name}_{job}() RETURNS trigger\n"
    "    LANGUAGE plpgsql SECURITY DEFINER{settings} AS {body};\n";

/*
 * The row as the application's own triggers leave it: '~' sorts behind letters, digits and
 * underscores. UPDATE fires it only where one of the two has changed.
 */
static const char TRIGGERS[] = "CREATE TRIGGER {insert} BEFORE INSERT ON {table}\n"
                               "    FOR EACH ROW EXECUTE FUNCTION pghaul.sync_insert_{job}();\n"
                               "CREATE TRIGGER {update} BEFORE UPDATE ON {table}\n"
                               "    FOR EACH ROW WHEN (pg_catalog.record_image_ne(ROW(OLD.{o}, "
                               "OLD.{n}), ROW(NEW.{o}, NEW.{n})))\n"
                               "    EXECUTE FUNCTION pghaul.sync_update_{job}();\n"
                               "CREATE TRIGGER {seen_trigger} BEFORE UPDATE OF {o} ON {table}\n"
                               "    FOR EACH STATEMENT EXECUTE FUNCTION pghaul.sync_seen_{job}();\n"
                               "ALTER TABLE {table} ENABLE ALWAYS TRIGGER {insert};\n"
                               "ALTER TABLE {table} ENABLE ALWAYS TRIGGER {update};\n"
                               "ALTER TABLE {table} ENABLE ALWAYS TRIGGER {seen_trigger};\n";

static const char PREFIX[] = "~pghaul_";

static const char *const COUNTERS[] = {"seen", "seen_at", "conflict", "lost"};
static const char *const FUNCTIONS[] = {"sync_insert", "sync_update", "sync_seen"};
static const char *const MAPS[] = {"forward", "back"};

enum { COUNTER_COUNT = 4, FUNCTION_COUNT = 3 };

/* ---------------------------------------------------------------------------------------- texts */

/* Names that every template may use. */
struct words {
    char job[24];
    char oid[16];
    char counters[COUNTER_COUNT][48];
    char triggers[FUNCTION_COUNT][48];
};

static struct words words_of(const struct sync *sync)
{
    static const char *const SUFFIX[] = {"insert", "update", "seen"};
    struct words words;

    snprintf(words.job, sizeof(words.job), "%" PRId64, sync->job);
    snprintf(words.oid, sizeof(words.oid), "%" PRIu32, sync->table_oid);
    for (int i = 0; i < COUNTER_COUNT; i++)
        snprintf(words.counters[i], sizeof(words.counters[i]), "pghaul.%s_%s", COUNTERS[i],
                 words.job);
    for (int i = 0; i < FUNCTION_COUNT; i++)
        snprintf(words.triggers[i], sizeof(words.triggers[i]), "%s%s_%s", PREFIX, words.job,
                 SUFFIX[i]);
    return words;
}

static void expand(const struct sync *sync, const char *template, struct text *out)
{
    struct words words = words_of(sync);

    sql_expand(
        out, template,
        SQL_NAMES(
            {"job", sql_fragment(words.job)}, {"oid", sql_fragment(words.oid)},
            {"table", sql_table(sync->schema, sync->table)}, {"o", sql_ident(sync->old_column)},
            {"n", sql_ident(sync->new_column)}, {"o_name", sql_literal(sync->old_column)},
            {"n_name", sql_literal(sync->new_column)}, {"new_type", sql_fragment(sync->new_type)},
            {"seen", sql_literal(words.counters[0])}, {"seen_at", sql_literal(words.counters[1])},
            {"conflict", sql_literal(words.counters[2])}, {"lost", sql_literal(words.counters[3])},
            {"insert", sql_ident(words.triggers[0])}, {"update", sql_ident(words.triggers[1])},
            {"seen_trigger", sql_ident(words.triggers[2])}));
}

static void map_sql(const struct sync *sync, const char *template, bool forward, struct text *out)
{
    struct words words = words_of(sync);
    TEXT_AUTO count = {0};

    if (sync->swapped)
        expand(sync, COUNT_LOST, &count);
    sql_expand(out, template,
               SQL_NAMES({"job", sql_fragment(words.job)},
                         {"map", sql_fragment(MAPS[forward ? 0 : 1])},
                         {"from", sql_ident(forward ? sync->old_column : sync->new_column)},
                         {"to", sql_ident(forward ? sync->new_column : sync->old_column)},
                         {"count_lost", sql_fragment(text_string(&count))}));
}

/* `written`: the column whose write leads nowhere. */
static void refuse_sql(const struct sync *sync, const char *written, struct text *out)
{
    sql_expand(out, REFUSE,
               SQL_NAMES({"written_name", sql_literal(written)},
                         {"n_name", sql_literal(sync->new_column)},
                         {"o_name", sql_literal(sync->old_column)}));
}

static void to_new_sql(const struct sync *sync, bool insert, struct text *out)
{
    if (sync->swapped && sync->no_back && !insert)
        refuse_sql(sync, sync->old_column, out);
    else
        map_sql(sync, sync->swapped ? TO_LEADER : TO_FOLLOWER, true, out);
}

static void to_old_sql(const struct sync *sync, struct text *out)
{
    if (!sync->no_back)
        map_sql(sync, sync->swapped ? TO_FOLLOWER : TO_LEADER, false, out);
    else if (sync->swapped)
        expand(sync, FORGET, out);
    else
        refuse_sql(sync, sync->new_column, out);
}

static void body_sql(const struct sync *sync, bool insert, struct text *out)
{
    TEXT_AUTO check = {0};
    TEXT_AUTO count = {0};
    TEXT_AUTO to_new = {0};
    TEXT_AUTO to_old = {0};
    TEXT_AUTO look = {0};
    struct words words = words_of(sync);
    const char *template = sync->same ? (insert ? INSERT_SAME : UPDATE_SAME)
                                      : (insert ? INSERT_MAPPED : UPDATE_MAPPED);

    expand(sync, CHECK_TABLE, &check);
    if (insert && sync->count_inserts && !sync->swapped) {
        expand(sync, "        IF NEW.{o} IS DISTINCT FROM NULL THEN\n", &count);
        expand(sync, SEEN, &count);
        text_append(&count, "        END IF;\n");
    }
    to_new_sql(sync, insert, &to_new);
    to_old_sql(sync, &to_old);
    expand(sync, LOOK, &look);
    sql_expand(out, template,
               SQL_NAMES({"check", sql_fragment(text_string(&check))},
                         {"o", sql_ident(sync->old_column)}, {"n", sql_ident(sync->new_column)},
                         {"new_type", sql_fragment(sync->new_type)},
                         {"conflict", sql_literal(words.counters[2])},
                         {"count_insert", sql_fragment(text_string(&count))},
                         {"to_new", sql_fragment(text_string(&to_new))},
                         {"to_old", sql_fragment(text_string(&to_old))},
                         {"look", sql_fragment(text_string(&look))}));
}

static void settings_sql(const struct sync *sync, struct text *out)
{
    if (!sync->pinned)
        return;
    text_append(out, "\n    SET search_path = pg_catalog, pg_temp");
    for (int i = 0; i < SESSION_MEANINGS; i++)
        if (sync->meaning->values[i] != NULL)
            sql_expand(out, "\n    SET {name} = {value}",
                       SQL_NAMES({"name", sql_ident(session_meaning_names[i])},
                                 {"value", sql_literal(sync->meaning->values[i])}));
}

static void function_sql(const struct sync *sync, const char *name, const char *body,
                         struct text *sql)
{
    struct words words = words_of(sync);
    TEXT_AUTO settings = {0};

    settings_sql(sync, &settings);
    sql_expand(sql, CREATE_FUNCTION,
               SQL_NAMES({"name", sql_fragment(name)}, {"job", sql_fragment(words.job)},
                         {"settings", sql_fragment(text_string(&settings))},
                         {"body", sql_body(body)}));
}

void sync_functions_sql(const struct sync *sync, struct text *sql)
{
    TEXT_AUTO insert = {0};
    TEXT_AUTO update = {0};
    TEXT_AUTO seen = {0};

    body_sql(sync, true, &insert);
    body_sql(sync, false, &update);
    text_append(&seen, "\nBEGIN\n");
    expand(sync, SEEN, &seen);
    text_append(&seen, "    RETURN NULL;\nEND\n");
    function_sql(sync, FUNCTIONS[0], text_string(&insert), sql);
    function_sql(sync, FUNCTIONS[1], text_string(&update), sql);
    function_sql(sync, FUNCTIONS[2], text_string(&seen), sql);
}

void sync_triggers_sql(const struct sync *sync, struct text *sql)
{
    expand(sync, TRIGGERS, sql);
}

void sync_detach_sql(const struct sync *sync, struct text *sql)
{
    expand(sync,
           "DROP TRIGGER IF EXISTS {insert} ON {table};\n"
           "DROP TRIGGER IF EXISTS {update} ON {table};\n"
           "DROP TRIGGER IF EXISTS {seen_trigger} ON {table};\n",
           sql);
}

void sync_drop_sql(const struct sync *sync, struct text *sql)
{
    struct words words = words_of(sync);

    for (int i = 0; i < FUNCTION_COUNT; i++)
        text_appendf(sql, "DROP FUNCTION IF EXISTS pghaul.%s_%s;\n", FUNCTIONS[i], words.job);
    for (int i = 0; i < 2; i++)
        text_appendf(sql, "DROP FUNCTION IF EXISTS pghaul.%s_%s;\n", MAPS[i], words.job);
    for (int i = 0; i < COUNTER_COUNT; i++)
        text_appendf(sql, "DROP SEQUENCE IF EXISTS %s;\n", words.counters[i]);
}

void sync_forward_sql(const struct sync *sync, struct text *sql)
{
    expand(sync, sync->same ? "r.{o}" : "pghaul.forward_{job}(r.{o})", sql);
}

/* --------------------------------------------------------------------------------------- create */

bool sync_check(struct session *session, uint32_t table_oid, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(session, &rows,
                       "SELECT tgname FROM pg_trigger\n"
                       " WHERE tgrelid = $1::oid AND NOT tgisinternal AND tgenabled <> 'D'\n"
                       "   AND tgtype & 3 = 3 AND tgname >= $2 COLLATE \"C\"\n"
                       "   AND NOT starts_with(tgname, $2) LIMIT 1",
                       PARAMS(NUMBER(table_oid), PREFIX), error))
        return false;
    if (rows_count(&rows) == 0)
        return true;
    error_set(error, ERROR_REFUSED, "trigger %s would fire after those that keep the columns equal",
              rows_text(&rows, 0, 0));
    error_detail(error, "triggers fire in the order of their names; ours begin with %s", PREFIX);
    return error_hint(error, "rename it: ALTER TRIGGER .. RENAME TO ..");
}

static bool create_counters(struct run *run, const struct sync *sync, struct error *error)
{
    struct words words = words_of(sync);

    for (int i = 0; i < COUNTER_COUNT; i++) {
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
    struct words words = words_of(sync);
    TEXT_AUTO sql = {0};
    TEXT_AUTO name = {0};

    text_appendf(&name, "pghaul.%s_%s", MAPS[forward ? 0 : 1], words.job);
    sql_expand(&sql,
               "CREATE FUNCTION {name}({parameter} {from}) RETURNS {to}\n"
               "    LANGUAGE sql {volatility} RETURN {expression}",
               SQL_NAMES({"name", sql_fragment(text_string(&name))},
                         {"parameter",
                          sql_ident(forward ? maps->forward_parameter : maps->back_parameter)},
                         {"from", sql_fragment(forward ? sync->old_type : sync->new_type)},
                         {"to", sql_fragment(forward ? sync->new_type : sync->old_type)},
                         {"volatility", sql_fragment(sync->pinned ? "STABLE" : "IMMUTABLE")},
                         {"expression", sql_fragment(forward ? maps->forward : maps->back)}));
    if (!session_set(run->session, "search_path", maps->search_path, true, error))
        return false;
    if (!run_ddl(run, text_string(&sql), error)) {
        error_refuse(error, NULL);
        return error_context(error, forward ? "--using" : "--back-using");
    }
    text_appendf(&name, "(%s)", forward ? sync->old_type : sync->new_type);
    return session_set(run->session, "search_path", "pg_catalog, pg_temp", true, error) &&
           schema_strip_privileges(run->session, "FUNCTION", text_string(&name), error);
}

static bool create_functions(struct run *run, const struct sync *sync, struct error *error)
{
    struct words words = words_of(sync);
    TEXT_AUTO sql = {0};

    sync_functions_sql(sync, &sql);
    if (!run_ddl(run, text_string(&sql), error))
        return false;
    for (int i = 0; i < FUNCTION_COUNT; i++) {
        TEXT_AUTO name = {0};

        text_appendf(&name, "pghaul.%s_%s()", FUNCTIONS[i], words.job);
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
           create_functions(run, sync, error);
}

/* ---------------------------------------------------------------------------------- looking at it
 */

bool sync_armed(struct session *session, const struct sync *sync, struct text *armed,
                struct error *error)
{
    static const char ARMED[] =
        "SELECT coalesce(string_agg(concat_ws(' ', t.tgname, t.xmin, t.tgenabled, p.xmin), ','\n"
        "                           ORDER BY t.tgname), 'gone')\n"
        "  FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid\n"
        " WHERE t.tgrelid = $1::oid AND starts_with(t.tgname, $2)";
    ROWS_AUTO rows = {0};
    TEXT_AUTO prefix = {0};

    text_appendf(&prefix, "%s%" PRId64 "_", PREFIX, sync->job);
    if (!session_query(session, &rows, ARMED, PARAMS(NUMBER(sync->table_oid), text_string(&prefix)),
                       error))
        return false;
    text_clear(armed);
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

    expand(sync, COUNTS, &sql);
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

/* --------------------------------------------------------------------------------------- verify */

/*
 * {differ}: not as forward(old) says. Where that fails for some row, or rows differ because they
 * were written by the other column, they are asked for by a function of their own, which is slower.
 */
static const char VERIFY[] = "SELECT count(*), count(*) FILTER (WHERE {differ}),\n"
                             "       (array_agg({key}) FILTER (WHERE {differ}))[1:3]::text\n"
                             "  FROM ONLY {table} AS r";

static const char DIFFER_SAME[] = "pg_catalog.record_image_ne(ROW(r.{o}), ROW(r.{n}))";

static const char DIFFER_MAPPED[] =
    "pg_catalog.record_image_ne(ROW(pghaul.forward_{job}(r.{o})::{image}), ROW(r.{n}::{image}))";

static const char DIFFER_CAREFULLY[] = "pghaul.differ_{job}(r.{o}, r.{n})";

/* Rows that were written by the new column agree in the other direction. */
static const char CAREFUL[] =
    "CREATE FUNCTION pghaul.differ_{job}(o {old_type}, n {new_type}) RETURNS boolean\n"
    "    LANGUAGE plpgsql AS {body}";

static const char CAREFUL_BODY[] =
    "\nDECLARE\n"
    "    forward {new_type};\n"
    "    back {old_type};\n"
    "BEGIN\n"
    "    BEGIN\n"
    "        forward := pghaul.forward_{job}(o);\n"
    "        IF pg_catalog.record_image_eq(ROW(forward), ROW(n)) THEN\n"
    "            RETURN false;\n"
    "        END IF;\n"
    "    EXCEPTION WHEN OTHERS THEN NULL;\n"
    "    END;\n"
    "{other}"
    "    RETURN true;\n"
    "END\n";

static const char CAREFUL_BACK[] =
    "    BEGIN\n"
    "        IF n IS DISTINCT FROM NULL THEN\n"
    "            back := pghaul.back_{job}(n);\n"
    "            RETURN pg_catalog.record_image_ne(ROW(back), ROW(o));\n"
    "        END IF;\n"
    "    EXCEPTION WHEN OTHERS THEN NULL;\n"
    "    END;\n";

static bool compare(struct run *run, const struct sync *sync, const char *differ,
                    const char *key_sql, int64_t *count, int64_t *differences, struct text *sample,
                    struct error *error)
{
    ROWS_AUTO rows = {0};
    TEXT_AUTO sql = {0};

    sql_expand(&sql, VERIFY,
               SQL_NAMES({"differ", sql_fragment(differ)}, {"key", sql_fragment(key_sql)},
                         {"table", sql_table(sync->schema, sync->table)}));
    if (!session_query(run->session, &rows, text_string(&sql), NO_PARAMS, error))
        return false;
    *count = rows_int64(&rows, 0, 0);
    *differences = rows_int64(&rows, 0, 1);
    text_clear(sample);
    if (rows_text(&rows, 0, 2) != NULL)
        text_append(sample, rows_text(&rows, 0, 2));
    return true;
}

static bool careful_function(struct run *run, const struct sync *sync, struct error *error)
{
    struct words words = words_of(sync);
    TEXT_AUTO other = {0};
    TEXT_AUTO body = {0};
    TEXT_AUTO sql = {0};

    if (!sync->no_back)
        expand(sync, CAREFUL_BACK, &other);
    sql_expand(&body, CAREFUL_BODY,
               SQL_NAMES({"job", sql_fragment(words.job)},
                         {"old_type", sql_fragment(sync->old_type)},
                         {"new_type", sql_fragment(sync->new_type)},
                         {"other", sql_fragment(text_string(&other))}));
    sql_expand(&sql, CAREFUL,
               SQL_NAMES({"job", sql_fragment(words.job)},
                         {"old_type", sql_fragment(sync->old_type)},
                         {"new_type", sql_fragment(sync->new_type)},
                         {"body", sql_body(text_string(&body))}));
    return session_run_text(run->session, &sql, error);
}

/* In a transaction that is rolled back: the function is of the comparison alone. */
static bool compare_carefully(struct run *run, const struct sync *sync, const char *key_sql,
                              int64_t *rows, int64_t *differences, struct text *sample,
                              struct error *error)
{
    TEXT_AUTO differ = {0};
    bool ok;

    expand(sync, DIFFER_CAREFULLY, &differ);
    ok = session_begin(run->session, error) && careful_function(run, sync, error) &&
         compare(run, sync, text_string(&differ), key_sql, rows, differences, sample, error);
    session_rollback(run->session);
    return ok;
}

bool sync_verify(struct run *run, const struct sync *sync, const char *image, const char *key_sql,
                 int64_t *rows, int64_t *differences, struct text *sample, struct error *error)
{
    struct words words = words_of(sync);
    TEXT_AUTO differ = {0};
    bool ok;

    sql_expand(&differ, sync->same ? DIFFER_SAME : DIFFER_MAPPED,
               SQL_NAMES({"job", sql_fragment(words.job)}, {"image", sql_fragment(image)},
                         {"o", sql_ident(sync->old_column)}, {"n", sql_ident(sync->new_column)}));
    ok = compare(run, sync, text_string(&differ), key_sql, rows, differences, sample, error);
    if (sync->same || (ok && *differences == 0) || (!ok && !sqlstate_maybe_of_row(error->sqlstate)))
        return ok;
    error_clear(error);
    return compare_carefully(run, sync, key_sql, rows, differences, sample, error);
}
