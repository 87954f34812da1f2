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
                                  "{both}"
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
    "{both}"
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
    "    {otherwise}\n"
    "{to_new}"
    "    END IF;\n"
    "    RETURN NEW;\n"
    "END\n";

/* After the swap what the new column has is never made up from the old one. */
static const char OTHERWISE[] = "ELSIF pg_catalog.record_image_ne(ROW(NEW.{o}), ROW(OLD.{o})) THEN";

/* What says that a value cannot be converted; all else (a function that is gone, no memory) fails
 * the statement: it says nothing about the value. */
#define CANNOT_BE                                                                                  \
    "        EXCEPTION WHEN data_exception OR integrity_constraint_violation OR raise_exception\n" \
    "                    OR cannot_coerce THEN\n"

/* What the old value would be in the new column; NULL where it cannot be. */
static const char LOOK[] =
    "        BEGIN\n"
    "            other := pghaul.forward_{job}(NEW.{o});\n" CANNOT_BE "            other := NULL;\n"
    "        END;\n";

static const char LOOK_TOTAL[] = "        other := pghaul.forward_{job}(NEW.{o});\n";

/* The follower, which becomes NULL rather than fail the statement: in a subtransaction, which costs
 * a microsecond or two, so not where that cannot be. */
static const char TO_FOLLOWER[] =
    "        BEGIN\n"
    "            NEW.{to} := {map}(NEW.{from});\n" CANNOT_BE "            NEW.{to} := NULL;\n"
    "{count_lost}"
    "        END;\n";

static const char TO_LEADER[] = "        NEW.{to} := {map}(NEW.{from});\n";

static const char REFUSE[] =
    "        RAISE EXCEPTION 'pghaul: column % is read-only: no expression leads from % back to "
    "%',\n"
    "            {written_name}, {n_name}, {o_name}\n"
    "            USING ERRCODE = 'object_not_in_prerequisite_state',\n"
    "                  HINT = 'write the other column, or begin anew with --back-using';\n";

/* An INSERT that says both, differently: counted; once the old column is hidden nobody names it, so
 * that is an INSERT without names of columns, which means another order of them. */
static const char COUNT_CONFLICT[] =
    "            PERFORM pg_catalog.nextval({conflict}::pg_catalog.regclass);\n";

static const char REFUSE_HIDDEN[] =
    "            RAISE EXCEPTION 'pghaul: column % is hidden: this INSERT gives it a value',\n"
    "                {o_name}\n"
    "                USING ERRCODE = 'object_not_in_prerequisite_state',\n"
    "                      HINT = 'name the columns in the INSERT';\n";

/* Without a way back, what was is given up: the value is not known any more. */
static const char FORGET[] = "        NEW.{o} := NULL;\n"
                             "        PERFORM pg_catalog.nextval({lost}::pg_catalog.regclass);\n";

static const char COUNT_LOST[] =
    "            PERFORM pg_catalog.nextval({lost}::pg_catalog.regclass);\n";

/* The time, which every setval() writes to WAL, once a second in a session. */
static const char SEEN[] =
    "        PERFORM pg_catalog.nextval({seen}::pg_catalog.regclass);\n"
    "        IF pg_catalog.current_setting({seen_setting}, true) IS DISTINCT FROM\n"
    "               pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())\n"
    "               ::pg_catalog.int8::pg_catalog.text THEN\n"
    "            PERFORM pg_catalog.setval({seen_at}::pg_catalog.regclass,\n"
    "                pg_catalog.set_config({seen_setting}, pg_catalog.date_part('epoch',\n"
    "                    pg_catalog.clock_timestamp())::pg_catalog.int8::pg_catalog.text,\n"
    "                    false)::pg_catalog.int8);\n"
    "        END IF;\n";

static const char CREATE_FUNCTION[] =
    "CREATE OR REPLACE FUNCTION {name}() RETURNS trigger\n"
    "    LANGUAGE plpgsql SECURITY DEFINER{settings} AS {body};\n";

/*
 * The row as the application's own triggers leave it: '~' sorts behind letters, digits and
 * underscores. UPDATE fires it only where one of the two has changed, or the new one is not filled:
 * a row that is moved to a key that the backfill has passed is not met by it again.
 */
static const char TRIGGERS[] = "CREATE TRIGGER {insert} BEFORE INSERT ON {table}\n"
                               "    FOR EACH ROW EXECUTE FUNCTION pghaul.sync_insert_{job}();\n"
                               "CREATE TRIGGER {update} BEFORE UPDATE ON {table}\n"
                               "    FOR EACH ROW WHEN (pg_catalog.record_image_ne(ROW(OLD.{o}, "
                               "OLD.{n}), ROW(NEW.{o}, NEW.{n}))\n"
                               "        OR (NEW.{n} IS NOT DISTINCT FROM NULL AND NEW.{o} IS "
                               "DISTINCT FROM NULL))\n"
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
    int64_t job = sync->job;

    snprintf(words.job, sizeof(words.job), "%" PRId64, job);
    snprintf(words.oid, sizeof(words.oid), "%" PRIu32, sync->table_oid);
    for (int i = 0; i < SYNC_COUNTERS; i++)
        snprintf(words.counters[i], sizeof(words.counters[i]), "pghaul.%s_%" PRId64, COUNTERS[i],
                 job);
    for (int i = 0; i < SYNC_FUNCTIONS; i++)
        snprintf(words.functions[i], sizeof(words.functions[i]), "pghaul.%s_%" PRId64, FUNCTIONS[i],
                 job);
    for (int i = 0; i < SYNC_MAPS; i++)
        snprintf(words.maps[i], sizeof(words.maps[i]), "pghaul.%s_%" PRId64, MAPS[i], job);
    for (int i = 0; i < SYNC_FUNCTIONS; i++)
        snprintf(words.triggers[i], sizeof(words.triggers[i]), SYNC_PREFIX "%" PRId64 "_%s", job,
                 SUFFIXES[i]);
    return words;
}

void sync_type_sql(const char *type, struct text *out)
{
    /* What the grammar itself takes for a type of pg_catalog. */
    static const char *const KEYWORDS[] = {"bigint", "bit",      "boolean",  "character",
                                           "double", "integer",  "interval", "numeric",
                                           "real",   "smallint", "time",     "timestamp"};
    size_t length = 0;
    bool plain = true;

    for (bool quoted = false;
         type[length] != '\0' && (quoted || strchr(" ([", type[length]) == NULL); length++) {
        quoted = quoted != (type[length] == '"');
        plain = plain && (quoted || type[length] != '.');
    }

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
            {"seen_setting", sql_literal(words.counters[0])},
            {"conflict", sql_literal(words.counters[2])}, {"lost", sql_literal(words.counters[3])},
            {"insert", sql_ident(words.triggers[0])}, {"update", sql_ident(words.triggers[1])},
            {"seen_trigger", sql_ident(words.triggers[2])}));
}

static void map_sql(const struct sync *sync, const char *template, bool forward, struct text *out)
{
    struct sync_words words = sync_words_of(sync);
    TEXT_AUTO count = {0};

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

/* Nothing leads back, and the new column was written: refused. But what agreed with the row as it
 * was, as the backfill's value does, follows the old one where a trigger of the application's has
 * changed that in this very update. */
static void both_sql(const struct sync *sync, struct text *out)
{
    sync_expand(sync,
                "        IF pg_catalog.record_image_ne(ROW(NEW.{o}), ROW(OLD.{o}))\n"
                "           AND NOT pghaul.differ_{job}(OLD.{o}, NEW.{n}) THEN\n",
                out);
    to_new_sql(sync, false, out);
    text_append(out, "        ELSE\n");
    refuse_sql(sync, sync->new_column, out);
    text_append(out, "        END IF;\n");
}

static void to_old_sql(const struct sync *sync, bool insert, struct text *out)
{
    if (!sync->no_back)
        map_sql(sync, sync->swapped ? TO_FOLLOWER : TO_LEADER, false, out);
    else if (sync->swapped)
        sync_expand(sync, FORGET, out);
    else if (insert)
        refuse_sql(sync, sync->new_column, out);
    else
        both_sql(sync, out);
}

/* In the branch in which the new value is not NULL; of a retype, where it does not agree. */
static void both_inserted_sql(const struct sync *sync, struct text *out)
{
    TEXT_AUTO then = {0};

    sync_expand(sync, sync->swapped ? REFUSE_HIDDEN : COUNT_CONFLICT, &then);
    if (sync->same) {
        sync_expand(sync,
                    "        IF NEW.{o} IS DISTINCT FROM NULL\n"
                    "           AND pg_catalog.record_image_ne(ROW(NEW.{o}), ROW(NEW.{n})) THEN\n",
                    out);
    } else {
        sync_expand(sync, "        IF NEW.{o} IS DISTINCT FROM NULL THEN\n", out);
    }
    text_append(out, text_string(&then));
    text_append(out, "        END IF;\n");
}

static void body_sql(const struct sync *sync, bool insert, struct text *out)
{
    TEXT_AUTO check = {0};
    TEXT_AUTO count = {0};
    TEXT_AUTO to_new = {0};
    TEXT_AUTO to_old = {0};
    TEXT_AUTO look = {0};
    TEXT_AUTO otherwise = {0};
    TEXT_AUTO both = {0};
    TEXT_AUTO new_type = {0};
    struct sync_words words = sync_words_of(sync);
    const char *template = sync->same ? (insert ? INSERT_SAME : UPDATE_SAME)
                                      : (insert ? INSERT_MAPPED : UPDATE_MAPPED);

    sync_type_sql(sync->new_type, &new_type);
    sync_expand(sync, CHECK_TABLE, &check);
    sync_expand(sync, sync->swapped ? OTHERWISE : "ELSE", &otherwise);
    if (insert && sync->count_inserts && !sync->swapped) {
        sync_expand(sync, "        IF NEW.{o} IS DISTINCT FROM NULL THEN\n", &count);
        sync_expand(sync, SEEN, &count);
        text_append(&count, "        END IF;\n");
    }
    /* What the old column's default has put there nobody has said. */
    if (insert && (sync->swapped || !sync->has_default))
        both_inserted_sql(sync, &both);
    to_new_sql(sync, insert, &to_new);
    to_old_sql(sync, insert, &to_old);
    sync_expand(sync, sync->total ? LOOK_TOTAL : LOOK, &look);
    sql_expand(out, template,
               SQL_NAMES({"check", sql_fragment(text_string(&check))},
                         {"o", sql_ident(sync->old_column)}, {"n", sql_ident(sync->new_column)},
                         {"new_type", sql_fragment(text_string(&new_type))},
                         {"conflict", sql_literal(words.counters[2])},
                         {"count_insert", sql_fragment(text_string(&count))},
                         {"otherwise", sql_fragment(text_string(&otherwise))},
                         {"to_new", sql_fragment(text_string(&to_new))},
                         {"to_old", sql_fragment(text_string(&to_old))},
                         {"both", sql_fragment(text_string(&both))},
                         {"look", sql_fragment(text_string(&look))}));
}

static void settings_sql(const struct sync *sync, struct text *out)
{
    if (!sync->pinned)
        return;
    /* The user's: functions in his expression may be written for it. */
    text_appendf(out, "\n    SET search_path = %s",
                 strcmp(sync->search_path, "\"\"") == 0 ? "''" : sync->search_path);
    text_append(out, strcmp(sync->search_path, "\"\"") == 0 ? "" : ", pg_temp");
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
    text_appendf(sql, "REVOKE ALL ON FUNCTION %s() FROM PUBLIC;\n", name);
}

void sync_functions_sql(const struct sync *sync, struct text *sql)
{
    struct sync_words words = sync_words_of(sync);
    TEXT_AUTO insert = {0};
    TEXT_AUTO update = {0};
    TEXT_AUTO seen = {0};

    body_sql(sync, true, &insert);
    body_sql(sync, false, &update);
    /* Deeper is what a trigger does, as the one of a foreign key, which always names the column. */
    text_append(&seen,
                "\nBEGIN\n    IF pg_catalog.pg_trigger_depth() OPERATOR(pg_catalog.=) 1 THEN\n");
    sync_expand(sync, SEEN, &seen);
    text_append(&seen, "    END IF;\n    RETURN NULL;\nEND\n");
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
