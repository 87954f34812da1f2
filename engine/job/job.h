/*
 * A job: one durable operation, a row in pghaul.job. This is the row in memory and the few
 * statements that change it.
 *
 * Everything a job knows is in the database: any process, on any host, that can connect can load
 * the row and go on. What the work is, is not known here: `spec`, `plan` and `facts` are JSON of
 * the job's kind.
 */
#ifndef PGHAUL_JOB_JOB_H
#define PGHAUL_JOB_JOB_H

#include "engine/job/settings.h"
#include "engine/pg/session.h"

struct job {
    struct arena arena; /* owns the strings */
    int64_t id;         /* 0: not stored yet */
    const char *name;
    const char *kind;
    const char *table_schema;
    const char *table_name;
    uint32_t source_oid;
    const char
        *state; /* as in design: planned, running, waiting, paused, ready, cut_over, done, ... */
    const char *reason;
    const char *phase;
    const char *wanted; /* run, pause, abort */
    const char *spec;
    const char *plan;
    const char *facts;
    const char *leave_sql;
    int64_t rows_total;
    struct settings settings;
    int64_t settings_version;
    struct session_meaning meaning;
};

void job_deinit(struct job *job);

/*
 * Stores a new job and its phases (`phases`: names, NULL-terminated) in the session's open
 * transaction. `name` NULL: KIND-TABLE-N. Fills id and name. ERROR_REFUSED when the name is taken.
 */
bool job_insert(struct session *session, struct job *job, const char *const *phases,
                struct error *error) MUST_CHECK;

/* The number that the next job will get, unless another one is stored before it. */
bool job_next_id(struct session *session, int64_t *id, struct error *error) MUST_CHECK;

/* Loads by name. ERROR_USAGE when there is no such job, or no schema pghaul at all. */
bool job_load(struct session *session, const char *name, struct job *job,
              struct error *error) MUST_CHECK;
/* Reads the row again. */
bool job_refresh(struct session *session, struct job *job, struct error *error) MUST_CHECK;

/* Is work on it still possible? (Not done, finished, aborted or rolled back.) */
bool job_open(const struct job *job);
bool job_is(const struct job *job, const char *state);

/* ERROR_REFUSED: "job NAME <why>", and the hint. Returns false. */
bool job_refuse(const struct job *job, const char *why, const char *hint, struct error *error);

/* The open job on a table, by oid or by name (a swap changes the oid); NULL in *name when there is
 * none, or no schema pghaul. */
bool job_on_table(struct session *session, uint32_t oid, struct arena *arena, const char **name,
                  const char **state, struct error *error) MUST_CHECK;

/*
 * ERROR_REFUSED when there is one, other than the job with id `own` (0: any). In a transaction that
 * then opens a job on the table the answer holds until its end: two who ask wait for each other, by
 * the table's name.
 */
bool job_refuse_other(struct session *session, int64_t own, uint32_t oid, const char *schema,
                      const char *table, struct error *error) MUST_CHECK;

/* Synchronous: state changes are durable when these return. `reason` may be NULL. */
bool job_set_state(struct session *session, struct job *job, const char *state, const char *reason,
                   struct error *error) MUST_CHECK;
/* Of a job that runs: what it waits for now, without an event; NULL: it goes on. Only in the row.
 */
bool job_set_reason(struct session *session, const struct job *job, const char *reason,
                    struct error *error) MUST_CHECK;
bool job_set_wanted(struct session *session, const struct job *job, const char *wanted,
                    struct error *error) MUST_CHECK;
/* Stores changed settings; running processes see the new version within one chunk. */
bool job_set_settings(struct session *session, struct job *job, struct error *error) MUST_CHECK;
/* facts = facts || jsonb_build_object(name, value): the value is JSON text. */
bool job_set_fact(struct session *session, const struct job *job, const char *name,
                  const char *json, struct error *error) MUST_CHECK;
/* A strong lock that was taken: one element more of the fact "locks", and an event. Times in
 * milliseconds. */
bool job_add_lock(struct session *session, const struct job *job, const char *what_for,
                  const char *mode, int64_t waited_ms, int64_t held_ms, int attempts,
                  struct error *error) MUST_CHECK;
bool job_set_leave_sql(struct session *session, struct job *job, const char *sql,
                       struct error *error) MUST_CHECK;
/* Appends the last statement of such SQL: the job is aborted. */
void job_end_sql(int64_t id, struct text *sql);

/* A line of the audit trail: every statement that changes a schema, every decision, every
 * difference found. */
bool job_event(struct session *session, int64_t job, const char *kind, struct error *error,
               const char *format, ...) MUST_CHECK PRINTF_LIKE(5, 6);

/*
 * The leader of a job is the process whose control session holds its advisory lock; the server
 * gives the lock back when the session ends, however it ends. Only the leader runs phases that are
 * not shared.
 */
bool job_lead(struct session *session, const struct job *job, bool *leading,
              struct error *error) MUST_CHECK;
bool job_unlead(struct session *session, const struct job *job, struct error *error) MUST_CHECK;
/* Process id of the leader's backend; 0 when nobody leads. */
bool job_leader_pid(struct session *session, const struct job *job, int *pid,
                    struct error *error) MUST_CHECK;

#endif
