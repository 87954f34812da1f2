#include "copy/capture.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "copy/copy.h"
#include "engine/job/schema.h"
#include "engine/pg/sqlstate.h"

/* -------------------------------------------------------------------------------------------------
 * function bodies */

/* One for each operation. `new_keys`, `old_keys`: SELECTs of the statement's keys as k1, k2, ...;
 * NULL: has none. */
struct operation {
    const char *name;
    const char *when;        /* of CREATE TRIGGER */
    const char *referencing; /* transition tables, per statement */
    const char *statement_keys;
    const char *row_keys;
};

static const struct operation OPERATIONS[] = {
    {"insert", "INSERT", "REFERENCING NEW TABLE AS pghaul_new",
     "SELECT {key_of_r} FROM pghaul_new AS r", "SELECT {key_of_new}"},
    {"update", "UPDATE", "REFERENCING OLD TABLE AS pghaul_old NEW TABLE AS pghaul_new",
     "SELECT {key_of_r} FROM pghaul_new AS r UNION SELECT {key_of_r} FROM pghaul_old AS r",
     "SELECT {key_of_new} UNION SELECT {key_of_old}"},
    {"delete", "DELETE", "REFERENCING OLD TABLE AS pghaul_old",
     "SELECT {key_of_r} FROM pghaul_old AS r", "SELECT {key_of_old}"},
};

enum { OPERATION_COUNT = sizeof(OPERATIONS) / sizeof(OPERATIONS[0]) };

/* Sizes of {mark}, in bytes (capture.h): from the first on it stands for every key, whether or not
 * its rows were committed; from the second on nobody adds to it. */
enum { MARK_BYTES = 256 * 1024, MARK_ENOUGH_BYTES = 1024 * 1024 };

/*
 * {settings}: a SET clause for everything that the body depends on and the application could have
 * changed. A log body moves keys and converts nothing; a dual-write body converts values (time zone
 * and the like, F18) and is planned in the application's session, where a plan made for a statement
 * of a million rows would serve all later ones of a single row: so only plans that probe indexes.
 */
static const char CREATE_FUNCTION[] =
    "CREATE OR REPLACE FUNCTION pghaul.{label}_{operation}() RETURNS trigger\n"
    "    LANGUAGE plpgsql SECURITY DEFINER{settings} AS {body}";

static const char LOG_SETTINGS[] = "\n    SET search_path = pg_catalog, pg_temp";

static const char DUAL_SETTINGS[] = "\n    SET search_path = pg_catalog, pg_temp"
                                    "\n    SET row_security = off"
                                    "\n    SET standard_conforming_strings = on"
                                    "\n    SET array_nulls = on"
                                    "\n    SET extra_float_digits = 1"
                                    "\n    SET xmlbinary = base64"
                                    "\n    SET jit = off"
                                    "\n    SET max_parallel_workers_per_gather = 0"
                                    "\n    SET enable_hashjoin = off"
                                    "\n    SET enable_mergejoin = off"
                                    "\n    SET enable_seqscan = off";

static const char IDLE_BODY[] = "\nBEGIN\n    RETURN NULL;\nEND\n";

static const char TRUNCATE_BODY[] =
    "\nBEGIN\n"
    "    IF TG_RELID <> {from_oid}::oid THEN\n"
    "        RAISE EXCEPTION 'pghaul: this function belongs to the triggers of another table';\n"
    "    END IF;\n"
    "    INSERT INTO {mark} DEFAULT VALUES;\n"
    "    RETURN NULL;\n"
    "END\n";

static const char LOG_BODY[] =
    "\nBEGIN\n"
    "    IF TG_RELID <> {from_oid}::oid THEN\n"
    "        RAISE EXCEPTION 'pghaul: this function belongs to the triggers of another table';\n"
    "    END IF;\n"
    "    IF pg_relation_size({log_literal}::regclass) <= {budget} THEN\n"
    "        INSERT INTO {log} ({k}) {keys};\n"
    "    ELSIF pg_relation_size({mark_literal}::regclass) < {mark_enough} THEN\n"
    "        INSERT INTO {mark} DEFAULT VALUES;\n"
    "    END IF;\n"
    "    RETURN NULL;\n"
    "END\n";

/* #variable_conflict: a column may be called as a variable of ours is. */
static const char DUAL_BODY[] =
    "\n#variable_conflict use_column\n"
    "DECLARE\n"
    "    equal boolean := false;\n"
    "    timeout text;\n"
    "    absent bigint;\n"
    "    deleted bigint;\n"
    "BEGIN\n"
    "    IF TG_RELID <> {from_oid}::oid THEN\n"
    "        RAISE EXCEPTION 'pghaul: this function belongs to the triggers of another table';\n"
    "    END IF;\n"
    "    IF current_setting('transaction_isolation') = 'read committed' THEN\n"
    "        BEGIN\n"
    "            timeout := current_setting('lock_timeout');\n"
    "            PERFORM set_config('lock_timeout', '20ms', true);\n"
    "            -- what the source has not (any more) is deleted, and counted\n"
    "            WITH gone AS MATERIALIZED (\n"
    "                SELECT {k_k} FROM (SELECT DISTINCT {k} FROM ({keys}) AS changed) AS k\n"
    "                 WHERE NOT EXISTS (SELECT FROM ONLY {from} AS r WHERE {r_is_k})),\n"
    "            removed AS (DELETE FROM {to} AS s USING gone AS k WHERE {s_is_k} RETURNING 1)\n"
    "            SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM removed) INTO absent, "
    "deleted;\n"
    "            -- what it has now is upserted, all columns\n"
    "            INSERT INTO {to} ({columns}) OVERRIDING SYSTEM VALUE\n"
    "            SELECT {values}\n"
    "              FROM (SELECT DISTINCT {k} FROM ({keys}) AS changed) AS k\n"
    "              JOIN ONLY {from} AS r ON {r_is_k}\n"
    "            ON CONFLICT ({key_columns}) DO UPDATE SET {set};\n"
    "            PERFORM set_config('lock_timeout', timeout, true);\n"
    "            equal := deleted = absent;\n"
    "        EXCEPTION WHEN OTHERS THEN\n"
    "            equal := false;\n"
    "        END;\n"
    "    END IF;\n"
    "    IF equal THEN\n"
    "        RETURN NULL;\n"
    "    END IF;\n"
    "    IF pg_relation_size({log_literal}::regclass) <= {budget} THEN\n"
    "        INSERT INTO {log} ({k}) {keys};\n"
    "    ELSIF pg_relation_size({mark_literal}::regclass) < {mark_enough} THEN\n"
    "        INSERT INTO {mark} DEFAULT VALUES;\n"
    "    END IF;\n"
    "    RETURN NULL;\n"
    "END\n";

int64_t capture_budget_bytes(const struct run *run, int64_t table_bytes)
{
    const int64_t floor_bytes = INT64_C(10) << 30;

    if (run->job.settings.log_budget_bytes > 0)
        return run->job.settings.log_budget_bytes;
    return table_bytes / 10 > floor_bytes ? table_bytes / 10 : floor_bytes;
}

static const char *const MODE_NAMES[] = {"idle", "log", "dual-write"};

enum { WARN_PERCENT = 80 };

/* SET clauses of a mode, those of the planning session included. */
static void append_settings(struct text *out, enum capture_mode mode,
                            const struct session_meaning *meaning)
{
    text_append(out, mode == CAPTURE_DUAL ? DUAL_SETTINGS : LOG_SETTINGS);
    for (int i = 0; mode == CAPTURE_DUAL && i < SESSION_MEANINGS; i++)
        if (meaning->values[i] != NULL)
            sql_expand(out, "\n    SET {name} = {value}",
                       SQL_NAMES({"name", sql_ident(session_meaning_names[i])},
                                 {"value", sql_literal(meaning->values[i])}));
}

static int64_t table_bytes(const struct run *run)
{
    return copy_of(run)->plan.table_bytes;
}

/* The statement that creates one function; `operation` NULL: the one for TRUNCATE. */
static void function_sql(const struct run *run, const struct flow *flow, struct capture_state state,
                         const struct operation *operation, struct text *sql)
{
    const char *const bodies[] = {IDLE_BODY, LOG_BODY, DUAL_BODY};
    bool per_row = run->job.settings.capture == CAPTURE_ROW;
    TEXT_AUTO keys = {0};
    TEXT_AUTO log = {0};
    TEXT_AUTO settings = {0};
    TEXT_AUTO body = {0};
    const char *template = bodies[state.mode];

    append_settings(&settings, state.mode, &run->job.meaning);
    flow_expand(flow, &log, state.side == 'a' ? "{log_a}" : "{log_b}");
    if (operation == NULL)
        template = state.mode == CAPTURE_IDLE ? IDLE_BODY : TRUNCATE_BODY;
    else
        flow_expand(flow, &keys, per_row ? operation->row_keys : operation->statement_keys);
    flow_expand_with(flow, &body, template,
                     SQL_NAMES({"keys", sql_fragment(text_string(&keys))},
                               {"log", sql_fragment(text_string(&log))},
                               {"log_literal", sql_literal(text_string(&log))},
                               {"budget", sql_fragment(NUMBER(state.budget_bytes))},
                               {"mark_enough", sql_fragment(NUMBER(MARK_ENOUGH_BYTES))}));
    sql_expand(
        sql, CREATE_FUNCTION,
        SQL_NAMES({"label", sql_fragment(flow->label)},
                  {"operation", sql_fragment(operation != NULL ? operation->name : "truncate")},
                  {"settings", sql_fragment(text_string(&settings))},
                  {"body", sql_body(text_string(&body))}));
}

void capture_functions_sql(const struct run *run, const struct flow *flow,
                           struct capture_state state, struct text *sql)
{
    if (state.budget_bytes == 0)
        state.budget_bytes = capture_budget_bytes(run, table_bytes(run));
    for (int i = 0; i < OPERATION_COUNT; i++) {
        function_sql(run, flow, state, &OPERATIONS[i], sql);
        text_append(sql, ";\n");
    }
    function_sql(run, flow, state, NULL, sql);
    text_append(sql, ";\n");
}

/* In a transaction. */
static bool set_both(struct run *run, const struct flow *flow, struct capture_state state,
                     struct error *error)
{
    TEXT_AUTO sql = {0};
    char fact[160];

    if (state.budget_bytes == 0)
        state.budget_bytes = capture_budget_bytes(run, table_bytes(run));
    capture_functions_sql(run, flow, state, &sql);
    snprintf(fact, sizeof(fact),
             "{\"mode\": \"%s\", \"side\": \"%c\", \"budget\": %" PRId64 ", \"warned\": %s}",
             MODE_NAMES[state.mode], state.side, state.budget_bytes,
             state.warned ? "true" : "false");
    if (!session_run_text(run->session, &sql, error))
        return error_context(error, "could not switch the capture to %s", MODE_NAMES[state.mode]);
    if (run->trial)
        return true;
    return job_set_fact(run->session, &run->job, flow->fact, fact, error) &&
           job_event(run->session, run->job.id, "capture", error, "%s: %s, side %c", flow->fact,
                     MODE_NAMES[state.mode], state.side);
}

bool capture_set(struct run *run, const struct flow *flow, struct capture_state state,
                 struct error *error)
{
    if (session_in_transaction(run->session))
        return set_both(run, flow, state, error);
    if (session_begin(run->session, error) && set_both(run, flow, state, error) &&
        session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return false;
}

bool capture_get(struct session *session, const struct flow *flow, struct capture_state *state,
                 struct error *error)
{
    ROWS_AUTO rows = {0};
    const char *mode;

    if (!session_query(session, &rows,
                       "SELECT facts -> $2 ->> 'mode', facts -> $2 ->> 'side',\n"
                       "       facts -> $2 ->> 'budget',\n"
                       "       coalesce((facts -> $2 ->> 'warned')::bool, false)\n"
                       "  FROM pghaul.job WHERE id = $1::bigint",
                       PARAMS(NUMBER(flow->job), flow->fact), error))
        return false;
    *state = (struct capture_state){CAPTURE_IDLE, 'a', 0, false};
    mode = rows_count(&rows) == 1 ? rows_text(&rows, 0, 0) : NULL;
    if (mode == NULL)
        return true;
    for (int i = CAPTURE_IDLE; i <= CAPTURE_DUAL; i++)
        if (strcmp(mode, MODE_NAMES[i]) == 0)
            state->mode = (enum capture_mode)i;
    state->side = rows_text(&rows, 0, 1)[0];
    state->budget_bytes = rows_int64(&rows, 0, 2);
    state->warned = rows_bool(&rows, 0, 3);
    return true;
}

bool capture_set_mode(struct run *run, const struct flow *flow, enum capture_mode mode,
                      struct error *error)
{
    struct capture_state state;

    if (!capture_get(run->session, flow, &state, error))
        return false;
    if (state.mode == mode)
        return true;
    state.mode = mode;
    return capture_set(run, flow, state, error);
}

/* ---------------------------------------------------------------------------------------------
 * tables and triggers */

/* vacuum_truncate off: a vacuum that cuts the log's tail would lock it against the application's
 * writers (F30). Replica identity: without one, no key could be taken out of the log any more once
 * somebody makes a publication FOR ALL TABLES. */
static const char CREATE_TABLES[] =
    "CREATE TABLE {log_a} ({k_definition}) WITH (vacuum_truncate = off);\n"
    "CREATE TABLE {log_b} ({k_definition}) WITH (vacuum_truncate = off);\n"
    "CREATE TABLE {mark} (at timestamptz NOT NULL DEFAULT clock_timestamp())\n"
    "    WITH (vacuum_truncate = off);\n"
    "CREATE TABLE {stuck} ({k_definition}, sqlstate text, message text,\n"
    "                      at timestamptz NOT NULL DEFAULT clock_timestamp());\n"
    "ALTER TABLE {log_a} REPLICA IDENTITY FULL;\n"
    "ALTER TABLE {log_b} REPLICA IDENTITY FULL;\n"
    "ALTER TABLE {stuck} REPLICA IDENTITY FULL";

bool capture_make_private(struct session *session, const struct flow *flow, const char *table,
                          struct error *error)
{
    TEXT_AUTO name = {0};

    flow_expand(flow, &name, table);
    return schema_strip_privileges(session, "TABLE", text_string(&name), error);
}

bool capture_create(struct run *run, const struct flow *flow, enum capture_mode mode,
                    struct error *error)
{
    static const char *const TABLES[] = {"{log_a}", "{log_b}", "{mark}", "{stuck}"};
    TEXT_AUTO sql = {0};

    flow_expand(flow, &sql, CREATE_TABLES);
    if (!run_ddl(run, text_string(&sql), error) ||
        !capture_set(run, flow, (struct capture_state){mode, 'a', 0}, error))
        return error_context(error, "could not create the change log");
    for (size_t i = 0; i < sizeof(TABLES) / sizeof(TABLES[0]); i++)
        if (!capture_make_private(run->session, flow, TABLES[i], error))
            return false;
    for (int i = 0; i <= OPERATION_COUNT; i++) {
        text_clear(&sql);
        text_appendf(&sql, "pghaul.%s_%s()", flow->label,
                     i < OPERATION_COUNT ? OPERATIONS[i].name : "truncate");
        if (!schema_strip_privileges(run->session, "FUNCTION", text_string(&sql), error))
            return false;
    }
    return true;
}

static const char CREATE_TRIGGER[] =
    "CREATE TRIGGER {trigger}_{operation} AFTER {when} ON {table} {referencing}\n"
    "    FOR EACH {each} EXECUTE FUNCTION pghaul.{label}_{operation}();\n"
    "ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}_{operation}";

/* The statements of trigger `number`; the one behind OPERATIONS is that for TRUNCATE. */
static void trigger_sql(const struct run *run, const struct flow *flow, const char *table,
                        int number, struct text *sql)
{
    static const struct operation TRUNCATE = {"truncate", "TRUNCATE", "", NULL, NULL};
    bool truncate = number == OPERATION_COUNT;
    const struct operation *operation = truncate ? &TRUNCATE : &OPERATIONS[number];
    bool per_row = run->job.settings.capture == CAPTURE_ROW && !truncate;

    flow_expand_with(flow, sql, CREATE_TRIGGER,
                     SQL_NAMES({"table", sql_fragment(table)},
                               {"operation", sql_fragment(operation->name)},
                               {"when", sql_fragment(operation->when)},
                               {"referencing", sql_fragment(per_row ? "" : operation->referencing)},
                               {"each", sql_fragment(per_row ? "ROW" : "STATEMENT")}));
}

void capture_attach_sql(const struct run *run, const struct flow *flow, struct text *sql)
{
    for (int i = 0; i <= OPERATION_COUNT; i++) {
        trigger_sql(run, flow, flow->from_qualified, i, sql);
        text_append(sql, ";\n");
    }
}

bool capture_attach(struct run *run, const struct flow *flow, struct error *error)
{
    return capture_attach_to(run, flow, flow->from_qualified, error);
}

bool capture_attach_to(struct run *run, const struct flow *flow, const char *from_qualified,
                       struct error *error)
{
    for (int i = 0; i <= OPERATION_COUNT; i++) {
        TEXT_AUTO sql = {0};

        trigger_sql(run, flow, from_qualified, i, &sql);
        if (!run_ddl(run, text_string(&sql), error))
            return false;
    }
    return true;
}

bool capture_attached(struct session *session, const struct flow *flow, bool *attached,
                      struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!flow_query(flow, session, &rows,
                    "SELECT count(*) FROM pg_trigger WHERE tgrelid = {from_oid}::oid AND "
                    "starts_with(tgname, "
                    "{trigger_prefix}) AND tgfoid = ANY (ARRAY[to_regprocedure({insert_function}), "
                    "to_regprocedure({update_function}), "
                    "to_regprocedure({delete_function}), "
                    "to_regprocedure({truncate_function})]::oid[])",
                    NO_PARAMS, error))
        return false;
    *attached = rows_int64(&rows, 0, 0) == OPERATION_COUNT + 1;
    return true;
}

bool capture_any_trigger(struct session *session, const struct flow *flow, bool *found,
                         struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!flow_query(flow, session, &rows,
                    "SELECT EXISTS (SELECT FROM pg_trigger\n"
                    "                WHERE tgrelid = {from_oid}::oid AND starts_with(tgname, "
                    "{trigger_prefix}))",
                    NO_PARAMS, error))
        return false;
    *found = rows_bool(&rows, 0, 0);
    return true;
}

/* -------------------------------------------------------------------------------------------------
 * looking at it */

bool capture_marked(struct session *session, const struct flow *flow, const struct run *run,
                    bool *marked, struct error *error)
{
    struct capture_state state;
    ROWS_AUTO rows = {0};

    if (!capture_get(session, flow, &state, error))
        return false;
    if (state.budget_bytes == 0)
        state.budget_bytes = capture_budget_bytes(run, table_bytes(run));
    if (!flow_query(flow, session, &rows,
                    "SELECT EXISTS (SELECT FROM {mark})\n"
                    "       OR pg_relation_size({mark_literal}) >= $2::bigint\n"
                    "       OR greatest(pg_relation_size({log_a_literal}), "
                    "pg_relation_size({log_b_literal})) "
                    "> $1::bigint",
                    PARAMS(NUMBER(state.budget_bytes), NUMBER(MARK_BYTES)), error))
        return false;
    *marked = rows_bool(&rows, 0, 0);
    return true;
}

bool capture_check_unmarked(struct session *session, const struct flow *flow, const struct run *run,
                            struct error *error)
{
    bool marked;

    if (!capture_marked(session, flow, run, &marked, error))
        return false;
    if (marked)
        return error_set(error, ERROR_AGAIN,
                         "the table was truncated, or the change log outgrew its budget");
    return true;
}

bool capture_size(struct session *session, const struct flow *flow, struct capture_size *size,
                  struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!flow_query(
            flow, session, &rows,
            "SELECT pg_relation_size({log_a_literal}), pg_relation_size({log_b_literal}),\n"
            "       NOT EXISTS (SELECT FROM {log_a}) AND NOT EXISTS (SELECT FROM {log_b}),\n"
            "       (SELECT count(*) FROM {stuck}),\n"
            "       (SELECT count(*) FROM {stuck}\n"
            "         WHERE sqlstate NOT IN ('" SQLSTATE_UNIQUE_VIOLATION
            "', '" SQLSTATE_EXCLUSION_VIOLATION "')),\n"
            "       current_setting('block_size')",
            NO_PARAMS, error))
        return false;
    *size = (struct capture_size){
        .a_bytes = rows_int64(&rows, 0, 0),
        .b_bytes = rows_int64(&rows, 0, 1),
        .empty = rows_bool(&rows, 0, 2),
        .stuck_keys = rows_int64(&rows, 0, 3),
        .refused_keys = rows_int64(&rows, 0, 4),
        .block_bytes = rows_int64(&rows, 0, 5),
    };
    return true;
}

/* One of several processes that see it is the one that says it. */
static bool tell_once(struct run *run, const struct flow *flow, int64_t bytes, int64_t budget_bytes,
                      bool *told, struct error *error)
{
    int64_t changed = 0;

    if (session_begin(run->session, error) &&
        session_execute(run->session,
                        "UPDATE pghaul.job SET facts = jsonb_set(facts, ARRAY[$2, 'warned'], "
                        "'true')\n"
                        " WHERE id = $1::bigint\n"
                        "   AND NOT coalesce((facts -> $2 ->> 'warned')::bool, false)",
                        PARAMS(NUMBER(run->job.id), flow->fact), &changed, error) &&
        (changed == 0 || job_event(run->session, run->job.id, "budget", error,
                                   "%s: the change log has %" PRId64 " of %" PRId64 " bytes",
                                   flow->fact, bytes, budget_bytes)) &&
        session_commit(run->session, error)) {
        *told = changed > 0;
        return true;
    }
    session_rollback(run->session);
    return false;
}

bool capture_warn_early(struct run *run, const struct flow *flow, const struct capture_size *size,
                        struct error *error)
{
    struct capture_state state;
    int64_t bytes;
    bool told;

    if (!capture_get(run->session, flow, &state, error))
        return false;
    bytes = state.side == 'a' ? size->a_bytes : size->b_bytes;
    if (state.mode == CAPTURE_IDLE || state.warned || state.budget_bytes == 0 ||
        bytes <= state.budget_bytes / 100 * WARN_PERCENT)
        return true;
    if (!tell_once(run, flow, bytes, state.budget_bytes, &told, error))
        return false;
    if (told)
        log_warning(run->log,
                    "the change log has used %" PRId64 " %% of log.budget; when it outgrows it, %s",
                    bytes * 100 / state.budget_bytes,
                    flow->direction == FLOW_FORWARD ? "the copy begins anew"
                                                    : "the way back is closed");
    return true;
}

bool capture_count(struct session *session, const struct flow *flow, int64_t *keys,
                   struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!flow_query(flow, session, &rows,
                    "SELECT (SELECT count(*) FROM {log_a}) + (SELECT count(*) FROM {log_b})",
                    NO_PARAMS, error))
        return false;
    *keys = rows_int64(&rows, 0, 0);
    return true;
}

bool capture_reset(struct run *run, const struct flow *flow, struct error *error)
{
    return flow_run(flow, run->session, "TRUNCATE {log_a}, {log_b}, {mark}, {stuck}", error);
}

/* {from_oid}'s fingerprint without and with its storage. Catalogue only: a fraction of a
 * millisecond. */
static const char FINGERPRINT[] =
    "SELECT f, concat(f, ' storage ', relfilenode) FROM (\n"
    "    SELECT c.relfilenode, format('%s columns %s triggers %s', c.oid,\n"
    "           (SELECT md5(string_agg(concat_ws(' ', attnum, attname, atttypid, atttypmod, "
    "attcollation,\n"
    "                                            attgenerated, attisdropped), ',' ORDER BY "
    "attnum))\n"
    "              FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0),\n"
    "           (SELECT string_agg(concat_ws(':', oid, xmin, tgenabled), ',' ORDER BY tgname)\n"
    "              FROM pg_trigger WHERE tgrelid = c.oid AND starts_with(tgname, "
    "{trigger_prefix}))) "
    "AS f\n"
    "      FROM pg_class AS c WHERE c.oid = {from_oid}::oid) AS x";

bool capture_source_fingerprint(struct session *session, const struct flow *flow, bool storage,
                                struct text *fingerprint, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!flow_query(flow, session, &rows, FINGERPRINT, NO_PARAMS, error))
        return false;
    text_clear(fingerprint);
    text_append(fingerprint,
                rows_count(&rows) == 1 ? rows_text(&rows, 0, storage ? 1 : 0) : "no such table");
    return true;
}

bool capture_keep_fingerprint(struct run *run, const struct flow *flow, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!flow_query(flow, run->session, &rows, FINGERPRINT, NO_PARAMS, error))
        return false;
    return session_execute(
        run->session,
        "UPDATE pghaul.job\n"
        "   SET facts = facts || jsonb_build_object($2 || '_fingerprint', ARRAY[$3, $4])\n"
        " WHERE id = $1::bigint",
        PARAMS(NUMBER(flow->job), flow->fact, rows_text(&rows, 0, 0), rows_text(&rows, 0, 1)), NULL,
        error);
}

bool capture_expected_fingerprint(struct session *session, const struct flow *flow, bool storage,
                                  struct text *fingerprint, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(session, &rows,
                       "SELECT facts -> ($2 || '_fingerprint') ->> $3::int FROM pghaul.job WHERE "
                       "id = $1::bigint",
                       PARAMS(NUMBER(flow->job), flow->fact, storage ? "1" : "0"), error))
        return false;
    text_clear(fingerprint);
    text_append(fingerprint, rows_text(&rows, 0, 0) != NULL ? rows_text(&rows, 0, 0) : "unknown");
    return true;
}

/* -------------------------------------------------------------------------------------------------------
 * leaving */

void capture_detach_sql(const struct flow *flow, const char *from_qualified, struct text *sql)
{
    static const char *const NAMES[] = {"insert", "update", "delete", "truncate"};

    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
        flow_expand_with(flow, sql, "DROP TRIGGER IF EXISTS {trigger}_{operation} ON {table};\n",
                         SQL_NAMES({"operation", sql_fragment(NAMES[i])},
                                   {"table", sql_fragment(from_qualified)}));
}

void capture_drop_sql(const struct flow *flow, struct text *sql)
{
    flow_expand(flow, sql,
                "DROP FUNCTION IF EXISTS pghaul.{label}_insert();\n"
                "DROP FUNCTION IF EXISTS pghaul.{label}_update();\n"
                "DROP FUNCTION IF EXISTS pghaul.{label}_delete();\n"
                "DROP FUNCTION IF EXISTS pghaul.{label}_truncate();\n"
                "DROP TABLE IF EXISTS {log_a}, {log_b}, {mark}, {stuck}, {check}, {purge};\n");
}
