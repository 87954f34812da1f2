#include "engine/job/job.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/job/schema.h"
#include "engine/pg/sqlstate.h"

#ifndef PGHAUL_VERSION
#define PGHAUL_VERSION "0.1"
#endif

/* First key of the advisory locks of leaders: 'haul' in ASCII; the second is the job's id. */
#define LEADER_CLASS "1751217516"
/* The same of names of tables: see job_refuse_other(). */
#define TABLE_CLASS "1751217517"

void job_deinit(struct job *job)
{
    arena_deinit(&job->arena);
    *job = (struct job){0};
}

static void meaning_to_json(const struct session_meaning *meaning, struct text *out)
{
    json_t *object = json_object();
    char *dumped;

    for (int i = 0; i < SESSION_MEANINGS; i++)
        if (meaning->values[i] != NULL)
            json_object_set_new(object, session_meaning_names[i], json_string(meaning->values[i]));
    dumped = json_dumps(object, JSON_COMPACT);
    text_append(out, dumped);
    free(dumped);
    json_decref(object);
}

static void meaning_from_json(struct arena *arena, const char *json,
                              struct session_meaning *meaning)
{
    json_t *object = json_loads(json, 0, NULL);

    for (int i = 0; i < SESSION_MEANINGS; i++)
        meaning->values[i] =
            arena_copy(arena, json_string_value(json_object_get(object, session_meaning_names[i])));
    json_decref(object);
}

/* $1 kind, $2 table name: the first KIND-TABLE-N that is free. Two that start at once: the UNIQUE
 * constraint decides. */
static const char NEXT_NAME[] =
    "SELECT format('%s-%s-%s', $1::text, $2::text, n)\n"
    "  FROM generate_series(1, 1 + (SELECT count(*) FROM pghaul.job)) AS n\n"
    " WHERE NOT EXISTS (SELECT FROM pghaul.job WHERE name = format('%s-%s-%s', $1::text, $2::text, "
    "n))\n"
    " ORDER BY n LIMIT 1";

static const char INSERT_JOB[] =
    "INSERT INTO pghaul.job (name, kind, table_schema, table_name, source_oid, state, phase, spec, "
    "plan, settings,\n"
    "                        meaning, leave_sql, program_version, rows_total)\n"
    "VALUES ($1, $2, $3, $4, $5::oid, 'planned', $6, $7::jsonb, $8::jsonb, $9::jsonb, $10::jsonb, "
    "$11, $12,\n"
    "        $13::bigint)\n"
    "RETURNING id";

/* Of the sequence, where this role may look at it: a job that was not stored took its number. */
static const char NEXT_ID[] =
    "SELECT coalesce(greatest(max(j.id), CASE WHEN has_sequence_privilege(s.id, 'SELECT')\n"
    "                                         THEN pg_sequence_last_value(s.id) END), 0) + 1\n"
    "  FROM (SELECT pg_get_serial_sequence('pghaul.job', 'id')::regclass AS id) AS s\n"
    "  LEFT JOIN pghaul.job AS j ON true GROUP BY s.id";

bool job_next_id(struct session *session, int64_t *id, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(session, &rows, NEXT_ID, NO_PARAMS, error))
        return false;
    *id = rows_int64(&rows, 0, 0);
    return true;
}

bool job_insert(struct session *session, struct job *job, const char *const *phases,
                struct error *error)
{
    TEXT_AUTO settings = {0};
    TEXT_AUTO meaning = {0};
    ROWS_AUTO rows = {0};

    if (!job_refuse_other(session, 0, job->source_oid, job->table_schema, job->table_name, error))
        return false;
    if (job->name == NULL) {
        if (!session_query(session, &rows, NEXT_NAME, PARAMS(job->kind, job->table_name), error))
            return false;
        job->name = arena_copy(&job->arena, rows_text(&rows, 0, 0));
        rows_deinit(&rows);
    }
    settings_to_json(&job->settings, &settings);
    meaning_to_json(&job->meaning, &meaning);
    if (!session_query(session, &rows, INSERT_JOB,
                       PARAMS(job->name, job->kind, job->table_schema, job->table_name,
                              NUMBER(job->source_oid), phases[0], job->spec, job->plan,
                              text_string(&settings), text_string(&meaning), job->leave_sql,
                              PGHAUL_VERSION, NUMBER(job->rows_total)),
                       error)) {
        if (strcmp(error->sqlstate, SQLSTATE_UNIQUE_VIOLATION) == 0) {
            error_set(error, ERROR_REFUSED, "there is a job named \"%s\" already", job->name);
            return error_hint(error, "choose another with --job, or see pghaul status %s",
                              SHELL_WORD(job->name));
        }
        return false;
    }
    job->id = rows_int64(&rows, 0, 0);
    job->state = "planned";
    job->wanted = "run";
    job->phase = phases[0];
    job->facts = "{}";
    job->settings_version = 1;
    for (int i = 0; phases[i] != NULL; i++)
        if (!session_execute(
                session,
                "INSERT INTO pghaul.phase (job, number, name) VALUES ($1::bigint, $2::int, $3)",
                PARAMS(NUMBER(job->id), NUMBER(i + 1), phases[i]), NULL, error))
            return false;
    return job_event(session, job->id, "planned", error, "%s", job->spec);
}

static const char SELECT_JOB[] =
    "SELECT id, name, kind, table_schema, table_name, source_oid, state, reason, phase, wanted, "
    "spec, plan, facts,\n"
    "       leave_sql, coalesce(rows_total, 0), settings, settings_version, meaning\n"
    "  FROM pghaul.job WHERE ";

static bool fill_job(const struct rows *rows, struct job *job, struct error *error)
{
    struct arena *arena = &job->arena;

    job->id = rows_int64(rows, 0, 0);
    job->name = arena_copy(arena, rows_text(rows, 0, 1));
    job->kind = arena_copy(arena, rows_text(rows, 0, 2));
    job->table_schema = arena_copy(arena, rows_text(rows, 0, 3));
    job->table_name = arena_copy(arena, rows_text(rows, 0, 4));
    job->source_oid = (uint32_t)rows_int64(rows, 0, 5);
    job->state = arena_copy(arena, rows_text(rows, 0, 6));
    job->reason = arena_copy(arena, rows_text(rows, 0, 7));
    job->phase = arena_copy(arena, rows_text(rows, 0, 8));
    job->wanted = arena_copy(arena, rows_text(rows, 0, 9));
    job->spec = arena_copy(arena, rows_text(rows, 0, 10));
    job->plan = arena_copy(arena, rows_text(rows, 0, 11));
    job->facts = arena_copy(arena, rows_text(rows, 0, 12));
    job->leave_sql = arena_copy(arena, rows_text(rows, 0, 13));
    job->rows_total = rows_int64(rows, 0, 14);
    job->settings_version = rows_int64(rows, 0, 16);
    meaning_from_json(arena, rows_text(rows, 0, 17), &job->meaning);
    return settings_from_json(&job->settings, rows_text(rows, 0, 15), error);
}

bool job_load(struct session *session, const char *name, struct job *job, struct error *error)
{
    TEXT_AUTO sql = {0};
    ROWS_AUTO rows = {0};
    bool exists;

    *job = (struct job){0};
    if (!schema_exists(session, &exists, error))
        return false;
    if (exists) {
        text_append(&sql, SELECT_JOB);
        text_append(&sql, "name = $1");
        if (!session_query(session, &rows, text_string(&sql), PARAMS(name), error))
            return false;
        if (rows_count(&rows) == 1)
            return fill_job(&rows, job, error);
    }
    error_set(error, ERROR_USAGE, "there is no job named \"%s\" in this database", name);
    return error_hint(error, "pghaul status lists the jobs");
}

bool job_refresh(struct session *session, struct job *job, struct error *error)
{
    TEXT_AUTO sql = {0};
    ROWS_AUTO rows = {0};
    struct job fresh = {0};

    text_append(&sql, SELECT_JOB);
    text_append(&sql, "id = $1::bigint");
    if (!session_query(session, &rows, text_string(&sql), PARAMS(NUMBER(job->id)), error))
        return false;
    if (rows_count(&rows) == 0)
        return error_set(error, ERROR_USAGE, "job %s is gone", job->name);
    if (!fill_job(&rows, &fresh, error)) {
        job_deinit(&fresh);
        return false;
    }
    job_deinit(job);
    *job = fresh;
    return true;
}

bool job_open(const struct job *job)
{
    static const char *const ENDED[] = {"done", "finished", "aborted", "rolled_back"};

    for (size_t i = 0; i < sizeof(ENDED) / sizeof(ENDED[0]); i++)
        if (strcmp(job->state, ENDED[i]) == 0)
            return false;
    return true;
}

bool job_is(const struct job *job, const char *state)
{
    return strcmp(job->state, state) == 0;
}

bool job_refuse(const struct job *job, const char *why, const char *hint, struct error *error)
{
    error_set(error, ERROR_REFUSED, "job %s %s", job->name, why);
    return error_hint(error, "%s", hint);
}

/*
 * $1 oid of the table, $2 the job that does not count, $3 schema and $4 name that the table had
 * when we last saw it, or NULL: it may have others by now, or be gone and another one have its
 * name.
 */
static const char SELECT_ON_TABLE[] =
    "SELECT j.name, j.state FROM pghaul.job AS j\n"
    "  LEFT JOIN (pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace)\n"
    "    ON c.oid = $1::oid\n"
    " WHERE j.state NOT IN ('done', 'finished', 'aborted', 'rolled_back') AND j.id <> $2::bigint\n"
    "   AND (j.source_oid = $1::oid OR (j.table_schema, j.table_name) = (n.nspname, c.relname)\n"
    "        OR (j.table_schema, j.table_name) = ($3, $4))\n"
    " ORDER BY j.id LIMIT 1";

static bool find_on_table(struct session *session, int64_t own, uint32_t oid, const char *schema,
                          const char *table, struct rows *rows, struct error *error)
{
    bool exists = false;

    return schema_exists(session, &exists, error) &&
           (!exists || session_query(session, rows, SELECT_ON_TABLE,
                                     PARAMS(NUMBER(oid), NUMBER(own), schema, table), error));
}

bool job_on_table(struct session *session, uint32_t oid, struct arena *arena, const char **name,
                  const char **state, struct error *error)
{
    ROWS_AUTO rows = {0};

    *name = *state = NULL;
    if (!find_on_table(session, 0, oid, NULL, NULL, &rows, error))
        return false;
    if (rows_count(&rows) > 0) {
        *name = arena_copy(arena, rows_text(&rows, 0, 0));
        *state = arena_copy(arena, rows_text(&rows, 0, 1));
    }
    return true;
}

/* Held to the end of the transaction that asks, which is when its own job can be seen. $1 schema,
 * $2 table. */
static const char LOCK_TABLE_NAME[] =
    "SELECT pg_advisory_xact_lock(" TABLE_CLASS ", hashtext($1::text || '.' || $2::text))";

bool job_refuse_other(struct session *session, int64_t own, uint32_t oid, const char *schema,
                      const char *table, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_execute(session, LOCK_TABLE_NAME, PARAMS(schema, table), NULL, error) ||
        !find_on_table(session, own, oid, schema, table, &rows, error))
        return false;
    if (rows_count(&rows) == 0)
        return true;
    error_set(error, ERROR_REFUSED, "job %s works on %s.%s", rows_text(&rows, 0, 0), schema, table);
    error_detail(error, "it is %s", rows_text(&rows, 0, 1));
    return error_hint(error, "pghaul status %s shows it", SHELL_WORD(rows_text(&rows, 0, 0)));
}

bool job_set_state(struct session *session, struct job *job, const char *state, const char *reason,
                   struct error *error)
{
    if (!session_execute(
            session,
            "UPDATE pghaul.job SET state = $2, reason = $3,\n"
            "       ended_at = CASE WHEN $2 IN ('done', 'finished', 'aborted', 'rolled_back')\n"
            "                       THEN clock_timestamp() END\n"
            " WHERE id = $1::bigint",
            PARAMS(NUMBER(job->id), state, reason), NULL, error))
        return false;
    job->state = arena_copy(&job->arena, state);
    job->reason = arena_copy(&job->arena, reason);
    return job_event(session, job->id, "state", error, "%s%s%s", state, reason ? ": " : "",
                     reason ? reason : "");
}

bool job_set_reason(struct session *session, const struct job *job, const char *reason,
                    struct error *error)
{
    return session_execute(
        session, "UPDATE pghaul.job SET reason = $2 WHERE id = $1::bigint AND state = 'running'",
        PARAMS(NUMBER(job->id), reason), NULL, error);
}

bool job_set_wanted(struct session *session, const struct job *job, const char *wanted,
                    struct error *error)
{
    return session_execute(session, "UPDATE pghaul.job SET wanted = $2 WHERE id = $1::bigint",
                           PARAMS(NUMBER(job->id), wanted), NULL, error) &&
           job_event(session, job->id, "wanted", error, "%s", wanted);
}

bool job_set_settings(struct session *session, struct job *job, struct error *error)
{
    TEXT_AUTO settings = {0};

    settings_to_json(&job->settings, &settings);
    return session_execute(session,
                           "UPDATE pghaul.job SET settings = $2::jsonb, settings_version = "
                           "settings_version + 1 "
                           "WHERE id = $1::bigint",
                           PARAMS(NUMBER(job->id), text_string(&settings)), NULL, error) &&
           job_event(session, job->id, "settings", error, "%s", text_string(&settings));
}

bool job_set_fact(struct session *session, const struct job *job, const char *name,
                  const char *json, struct error *error)
{
    return session_execute(
        session,
        "UPDATE pghaul.job SET facts = facts || jsonb_build_object($2::text, $3::jsonb) "
        "WHERE id = $1::bigint",
        PARAMS(NUMBER(job->id), name, json), NULL, error);
}

bool job_add_lock(struct session *session, const struct job *job, const char *what_for,
                  const char *mode, int64_t waited_ms, int64_t held_ms, int attempts,
                  struct error *error)
{
    return session_execute(
               session,
               "UPDATE pghaul.job SET facts = facts || jsonb_build_object('locks',\n"
               "       coalesce(facts -> 'locks', '[]') || jsonb_build_object('for', $2::text,\n"
               "       'mode', $3::text, 'waited_ms', $4::bigint, 'held_ms', $5::bigint,\n"
               "       'attempts', $6::int))\n"
               " WHERE id = $1::bigint",
               PARAMS(NUMBER(job->id), what_for, mode, NUMBER(waited_ms), NUMBER(held_ms),
                      NUMBER(attempts)),
               NULL, error) &&
           job_event(session, job->id, "lock", error,
                     "%s for %s: waited %lld ms, held %lld ms, %d tries", mode, what_for,
                     (long long)waited_ms, (long long)held_ms, attempts);
}

bool job_set_leave_sql(struct session *session, struct job *job, const char *sql,
                       struct error *error)
{
    job->leave_sql = arena_copy(&job->arena, sql);
    return session_execute(session, "UPDATE pghaul.job SET leave_sql = $2 WHERE id = $1::bigint",
                           PARAMS(NUMBER(job->id), sql), NULL, error);
}

void job_end_sql(int64_t id, struct text *sql)
{
    text_appendf(sql,
                 "UPDATE pghaul.job SET state = 'aborted', wanted = 'abort',\n"
                 "       ended_at = clock_timestamp() WHERE id = %" PRId64 ";\n",
                 id);
}

bool job_event(struct session *session, int64_t job, const char *kind, struct error *error,
               const char *format, ...)
{
    va_list args;
    TEXT_AUTO detail = {0};

    va_start(args, format);
    text_appendv(&detail, format, args);
    va_end(args);
    return session_execute(
        session, "INSERT INTO pghaul.event (job, kind, detail) VALUES ($1::bigint, $2, $3)",
        PARAMS(NUMBER(job), kind, text_string(&detail)), NULL, error);
}

bool job_lead(struct session *session, const struct job *job, bool *leading, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(session, &rows, "SELECT pg_try_advisory_lock(" LEADER_CLASS ", $1::int)",
                       PARAMS(NUMBER(job->id)), error))
        return false;
    *leading = rows_bool(&rows, 0, 0);
    return true;
}

bool job_unlead(struct session *session, const struct job *job, struct error *error)
{
    return session_execute(session, "SELECT pg_advisory_unlock(" LEADER_CLASS ", $1::int)",
                           PARAMS(NUMBER(job->id)), NULL, error);
}

bool job_leader_pid(struct session *session, const struct job *job, int *pid, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(
            session, &rows,
            "SELECT pid FROM pg_locks\n"
            " WHERE locktype = 'advisory' AND classid = " LEADER_CLASS " AND objid = $1::oid\n"
            "   AND objsubid = 2 AND granted\n"
            "   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            PARAMS(NUMBER(job->id)), error))
        return false;
    *pid = rows_count(&rows) > 0 ? (int)rows_int64(&rows, 0, 0) : 0;
    return true;
}
