/* copy/sync.h: are the columns equal? */
#include "copy/sync_parts.h"
#include "engine/job/schema.h"
#include "engine/pg/sql.h"
#include "engine/pg/sqlstate.h"

/*
 * {differ}: not as forward(old) says. Where that fails for some row, or rows differ because they
 * were written by the other column, they are asked for by differ(), which is slower.
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
    "    LANGUAGE plpgsql STABLE AS {body}";

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

bool sync_create_differ(struct run *run, const struct sync *sync, struct error *error)
{
    struct sync_words words = sync_words_of(sync);
    TEXT_AUTO old_type = {0};
    TEXT_AUTO new_type = {0};
    TEXT_AUTO other = {0};
    TEXT_AUTO body = {0};
    TEXT_AUTO sql = {0};
    TEXT_AUTO name = {0};

    sync_type_sql(sync->old_type, &old_type);
    sync_type_sql(sync->new_type, &new_type);
    if (!sync->no_back)
        sync_expand(sync, CAREFUL_BACK, &other);
    sql_expand(&body, CAREFUL_BODY,
               SQL_NAMES({"job", sql_fragment(words.job)},
                         {"old_type", sql_fragment(text_string(&old_type))},
                         {"new_type", sql_fragment(text_string(&new_type))},
                         {"other", sql_fragment(text_string(&other))}));
    sql_expand(&sql, CAREFUL,
               SQL_NAMES({"job", sql_fragment(words.job)},
                         {"old_type", sql_fragment(text_string(&old_type))},
                         {"new_type", sql_fragment(text_string(&new_type))},
                         {"body", sql_body(text_string(&body))}));
    text_appendf(&name, "%s(%s, %s)", words.maps[2], text_string(&old_type),
                 text_string(&new_type));
    return run_ddl(run, text_string(&sql), error) &&
           schema_strip_privileges(run->session, "FUNCTION", text_string(&name), error);
}

bool sync_verify(struct run *run, const struct sync *sync, const char *image, const char *key_sql,
                 int64_t *rows, int64_t *differences, struct text *sample, struct error *error)
{
    struct sync_words words = sync_words_of(sync);
    TEXT_AUTO differ = {0};
    bool ok;

    sql_expand(&differ, sync->same ? DIFFER_SAME : DIFFER_MAPPED,
               SQL_NAMES({"job", sql_fragment(words.job)}, {"image", sql_fragment(image)},
                         {"o", sql_ident(sync->old_column)}, {"n", sql_ident(sync->new_column)}));
    ok = compare(run, sync, text_string(&differ), key_sql, rows, differences, sample, error);
    if (sync->same || (ok && *differences == 0) || (!ok && !sqlstate_maybe_of_row(error->sqlstate)))
        return ok;
    error_clear(error);
    text_clear(&differ);
    sync_expand(sync, DIFFER_CAREFULLY, &differ);
    return compare(run, sync, text_string(&differ), key_sql, rows, differences, sample, error);
}
