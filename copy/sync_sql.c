/* The texts of copy/sync.h: functions and triggers. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "copy/sync_parts.h"
#include "engine/pg/sql.h"

/*
 * {o} and {n} are the old and the new column, {other} a variable of the new column's type. Nothing
 * without its schema, neither an operator nor a type: the application's search_path applies in
 * here, and its temporary schema before all others.
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

static const char LOOK_TOTAL[] = "        other := pghaul.forward_{job}(NEW.{o});\n";

/* The follower, which becomes NULL rather than fail the statement: in a subtransaction, which costs
 * a microsecond or two, so not where that cannot be. */
static const char TO_FOLLOWER[] = "        BEGIN\n"
                                  "            NEW.{to} := {map}(NEW.{from});\n"
                                  "        EXCEPTION WHEN OTHERS THEN\n"
                                  "            NEW.{to} := NULL;\n"
                                  "{count_lost}"
                                  "        END;\n";

static const char TO_LEADER[] = "        NEW.{to} := {map}(NEW.{from});\n";

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
    "CREATE OR REPLACE FUNCTION {name}() RETURNS trigger\n"
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

/* ---------------------------------------------------------------------------------------- texts
 */

struct sync_words sync_words_of(const struct sync *sync)
{
    static const char *const COUNTERS[] = {"seen", "seen_at", "conflict", "lost"};
    static const char *const FUNCTIONS[] = {"sync_insert", "sync_update", "sync_seen"};
    static const char *const MAPS[] = {"forward", "back", "differ"};
    static const char *const SUFFIXES[] = {"insert", "update", "seen"};
    struct sync_words words;
    const char *job = words.job;

    snprintf(words.job, sizeof(words.job), "%" PRId64, sync->job);
    snprintf(words.oid, sizeof(words.oid), "%" PRIu32, sync->table_oid);
    for (int i = 0; i < SYNC_COUNTERS; i++)
        snprintf(words.counters[i], sizeof(words.counters[i]), "pghaul.%s_%s", COUNTERS[i], job);
    for (int i = 0; i < SYNC_FUNCTIONS; i++)
        snprintf(words.functions[i], sizeof(words.functions[i]), "pghaul.%s_%s", FUNCTIONS[i], job);
    for (int i = 0; i < SYNC_MAPS; i++)
        snprintf(words.maps[i], sizeof(words.maps[i]), "pghaul.%s_%s", MAPS[i], job);
    for (int i = 0; i < SYNC_FUNCTIONS; i++)
        snprintf(words.triggers[i], sizeof(words.triggers[i]), SYNC_PREFIX "%s_%s", job,
                 SUFFIXES[i]);
    return words;
}

void sync_type_sql(const char *type, struct text *out)
{
    /* What the grammar itself takes for a type of pg_catalog. */
    static const char *const KEYWORDS[] = {"bigint", "bit",      "boolean",  "character",
                                           "double", "integer",  "interval", "numeric",
                                           "real",   "smallint", "time",     "timestamp"};
    size_t length = strcspn(type, " ([");
    bool plain = memchr(type, '.', length) == NULL;

    for (size_t i = 0; i < sizeof(KEYWORDS) / sizeof(KEYWORDS[0]); i++)
        plain = plain && (strlen(KEYWORDS[i]) != length || strncmp(type, KEYWORDS[i], length) != 0);
    text_appendf(out, "%s%s", plain ? "pg_catalog." : "", type);
}

void sync_expand(const struct sync *sync, const char *template, struct text *out)
{
    struct sync_words words = sync_words_of(sync);
    TEXT_AUTO old_type = {0};
    TEXT_AUTO new_type = {0};

    sync_type_sql(sync->old_type, &old_type);
    sync_type_sql(sync->new_type, &new_type);
    sql_expand(
        out, template,
        SQL_NAMES(
            {"job", sql_fragment(words.job)}, {"oid", sql_fragment(words.oid)},
            {"table", sql_table(sync->schema, sync->table)}, {"o", sql_ident(sync->old_column)},
            {"n", sql_ident(sync->new_column)}, {"o_name", sql_literal(sync->old_column)},
            {"n_name", sql_literal(sync->new_column)},
            {"new_type", sql_fragment(text_string(&new_type))},
            {"old_type", sql_fragment(text_string(&old_type))},
            {"seen", sql_literal(words.counters[0])}, {"seen_at", sql_literal(words.counters[1])},
            {"conflict", sql_literal(words.counters[2])}, {"lost", sql_literal(words.counters[3])},
            {"insert", sql_ident(words.triggers[0])}, {"update", sql_ident(words.triggers[1])},
            {"seen_trigger", sql_ident(words.triggers[2])}));
}

static void map_sql(const struct sync *sync, const char *template, bool forward, struct text *out)
{
    struct sync_words words = sync_words_of(sync);
    TEXT_AUTO count = {0};

    if (sync->swapped)
        sync_expand(sync, COUNT_LOST, &count);
    sql_expand(out, template,
               SQL_NAMES({"job", sql_fragment(words.job)},
                         {"map", sql_fragment(words.maps[forward ? 0 : 1])},
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
        map_sql(sync, sync->swapped || sync->total ? TO_LEADER : TO_FOLLOWER, true, out);
}

static void to_old_sql(const struct sync *sync, struct text *out)
{
    if (!sync->no_back)
        map_sql(sync, sync->swapped ? TO_FOLLOWER : TO_LEADER, false, out);
    else if (sync->swapped)
        sync_expand(sync, FORGET, out);
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
    TEXT_AUTO new_type = {0};
    struct sync_words words = sync_words_of(sync);
    const char *template = sync->same ? (insert ? INSERT_SAME : UPDATE_SAME)
                                      : (insert ? INSERT_MAPPED : UPDATE_MAPPED);

    sync_type_sql(sync->new_type, &new_type);
    sync_expand(sync, CHECK_TABLE, &check);
    if (insert && sync->count_inserts && !sync->swapped) {
        sync_expand(sync, "        IF NEW.{o} IS DISTINCT FROM NULL THEN\n", &count);
        sync_expand(sync, SEEN, &count);
        text_append(&count, "        END IF;\n");
    }
    to_new_sql(sync, insert, &to_new);
    to_old_sql(sync, &to_old);
    sync_expand(sync, sync->total ? LOOK_TOTAL : LOOK, &look);
    sql_expand(out, template,
               SQL_NAMES({"check", sql_fragment(text_string(&check))},
                         {"o", sql_ident(sync->old_column)}, {"n", sql_ident(sync->new_column)},
                         {"new_type", sql_fragment(text_string(&new_type))},
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
    TEXT_AUTO settings = {0};

    settings_sql(sync, &settings);
    sql_expand(sql, CREATE_FUNCTION,
               SQL_NAMES({"name", sql_fragment(name)},
                         {"settings", sql_fragment(text_string(&settings))},
                         {"body", sql_body(body)}));
}

void sync_functions_sql(const struct sync *sync, struct text *sql)
{
    struct sync_words words = sync_words_of(sync);
    TEXT_AUTO insert = {0};
    TEXT_AUTO update = {0};
    TEXT_AUTO seen = {0};

    body_sql(sync, true, &insert);
    body_sql(sync, false, &update);
    text_append(&seen, "\nBEGIN\n");
    sync_expand(sync, SEEN, &seen);
    text_append(&seen, "    RETURN NULL;\nEND\n");
    function_sql(sync, words.functions[0], text_string(&insert), sql);
    function_sql(sync, words.functions[1], text_string(&update), sql);
    function_sql(sync, words.functions[2], text_string(&seen), sql);
}

void sync_triggers_sql(const struct sync *sync, struct text *sql)
{
    sync_expand(sync, TRIGGERS, sql);
}

void sync_detach_sql(const struct sync *sync, struct text *sql)
{
    sync_expand(sync,
                "DROP TRIGGER IF EXISTS {insert} ON {table};\n"
                "DROP TRIGGER IF EXISTS {update} ON {table};\n"
                "DROP TRIGGER IF EXISTS {seen_trigger} ON {table};\n",
                sql);
}

void sync_drop_sql(const struct sync *sync, struct text *sql)
{
    struct sync_words words = sync_words_of(sync);

    for (int i = 0; i < SYNC_FUNCTIONS; i++)
        text_appendf(sql, "DROP FUNCTION IF EXISTS %s;\n", words.functions[i]);
    for (int i = 0; i < SYNC_MAPS; i++)
        text_appendf(sql, "DROP FUNCTION IF EXISTS %s;\n", words.maps[i]);
    for (int i = 0; i < SYNC_COUNTERS; i++)
        text_appendf(sql, "DROP SEQUENCE IF EXISTS %s;\n", words.counters[i]);
}

void sync_forward_sql(const struct sync *sync, struct text *sql)
{
    static const char ONE_WAY[] = "pghaul.forward_{job}(r.{o})";
    static const char BOTH_WAYS[] =
        "CASE WHEN r.{n} IS DISTINCT FROM NULL AND NOT pghaul.differ_{job}(r.{o}, r.{n})\n"
        "     THEN r.{n} ELSE pghaul.forward_{job}(r.{o}) END";

    sync_expand(sync, sync->same ? "r.{o}" : sync->no_back ? ONE_WAY : BOTH_WAYS, sql);
}
