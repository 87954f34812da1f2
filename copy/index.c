#include "copy/index.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "copy/capture.h"
#include "copy/unpaced.h"
#include "engine/base/crew.h"
#include "engine/job/schema.h"
#include "engine/pg/sqlstate.h"

/* ----------------------------------------------------------------------------------------------------------
 * builds */

enum {
    OTHER_BUILD_MS = 200,
    SERVER_LEAST_KB = 1024, /* of maintenance_work_mem */
};

struct builds {
    struct run *run;
    int *order;       /* indexes of plan->indexes, in the order they are to be built */
    int count;        /* without exclusion constraints: they are built when they are added */
    atomic_int taken; /* the next one to take */
    atomic_bool read; /* one has begun: rows of the shadow are not read for the first time again */
    int workers;
};

/* Is it there already? An earlier try of this phase, perhaps of another process, may have built it.
 */
static bool index_exists(struct session *session, const char *name, bool *exists,
                         struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(
            session, &rows,
            "SELECT EXISTS (SELECT FROM pg_class AS c JOIN pg_index AS i ON i.indexrelid = c.oid\n"
            "                WHERE c.relnamespace = 'pghaul'::regnamespace AND c.relname = $1\n"
            "                  AND i.indisvalid)",
            PARAMS(name), error))
        return false;
    *exists = rows_bool(&rows, 0, 0);
    return true;
}

static void build_sql(const struct copy *copy, int number, struct text *sql)
{
    const struct plan_index *index = &copy->plan.indexes[number];
    char name[64];

    plan_away_name(copy->names.shadow, number, name);
    flow_expand_with(&copy->forward, sql, "CREATE {unique}INDEX {index} ON {to} {tail}",
                     SQL_NAMES({"unique", sql_fragment(index->unique ? "UNIQUE " : "")},
                               {"index", sql_ident(name)}, {"tail", sql_fragment(index->tail)}));
}

/* A unique index that cannot be built: the rows of the source themselves are in conflict with the
 * new definition. */
static bool explain_build(const struct copy *copy, int number, struct error *error)
{
    if (strcmp(error->sqlstate, SQLSTATE_UNIQUE_VIOLATION) == 0)
        error_hint(
            error,
            "the table has rows that the new unique index does not allow; change them and resume");
    return error_context(error, "index %s", copy->plan.indexes[number].name);
}

/*
 * Waits for its turn, without a transaction. While a replica is behind us builders stand in line
 * here, each with an index that nobody else has taken; the one that is at work waits for none of
 * them. *begun is false when another one has failed meanwhile.
 */
static bool begin_build(struct crew *crew, struct builds *builds, struct session *session,
                        int number, bool *begun, struct error *error)
{
    const struct copy *copy = copy_of(builds->run);
    const struct plan_index *index = &copy->plan.indexes[number];
    struct unpaced unpaced;
    struct pace_unpaced ask;
    TEXT_AUTO what = {0};

    *begun = false;
    if (!unpaced_index(session,
                       &(struct unpaced_index){.table_oid = copy->shadow_oid,
                                               .stats_oid = copy->plan.source_oid,
                                               .tail = index->tail,
                                               .rows = copy->plan.row_estimate,
                                               .scans = 1,
                                               .fresh = !atomic_load(&builds->read)},
                       &unpaced, error))
        return false;
    text_appendf(&what, "index %s", index->name);
    ask = (struct pace_unpaced){text_string(&what), unpaced.wal_bytes, unpaced.seconds};
    while (!*begun && !crew_failed(crew))
        if (!pace_unpaced_try(builds->run, &ask, begun, error))
            return false;
    if (*begun)
        atomic_store(&builds->read, true);
    return true;
}

static bool is_under_construction(const struct error *error)
{
    return error->code == ERROR_LOCK || strcmp(error->sqlstate, SQLSTATE_DUPLICATE_TABLE) == 0 ||
           (strcmp(error->sqlstate, SQLSTATE_UNIQUE_VIOLATION) == 0 &&
            strstr(error->message, "pg_class_relname_nsp_index") != NULL);
}

static bool build(struct builds *builds, struct session *session, int number, const char *name,
                  struct error *error)
{
    const struct copy *copy = copy_of(builds->run);
    TEXT_AUTO sql = {0};
    bool exists;

    build_sql(copy, number, &sql);
    log_verbose(builds->run->log, "%s", text_string(&sql));
    while (!session_run_text(session, &sql, error)) {
        /* A process that was killed: the server may still be building for it, under this name. */
        if (!is_under_construction(error))
            return explain_build(copy, number, error);
        if (!stop_sleep_ms(builds->run->stop, OTHER_BUILD_MS, error) ||
            !index_exists(session, name, &exists, error))
            return false;
        if (exists)
            return true;
    }
    progress_add(builds->run->progress, 1);
    return job_event(session, builds->run->job.id, "ddl", error, "%s", text_string(&sql));
}

static bool build_one(struct crew *crew, struct builds *builds, struct session *session, int number,
                      struct error *error)
{
    char name[64];
    bool exists;
    bool begun;
    bool ok;

    plan_away_name(copy_of(builds->run)->names.shadow, number, name);
    if (!index_exists(session, name, &exists, error))
        return false;
    if (exists)
        return true;
    if (!begin_build(crew, builds, session, number, &begun, error))
        return false;
    if (!begun)
        return true;
    ok = build(builds, session, number, name, error);
    pace_unpaced_end(builds->run);
    return ok;
}

/* Builds of several sessions share the machine; the last one left has it to itself, and may use a
 * helper. */
static bool set_resources(struct builds *builds, struct session *session, int position,
                          struct error *error)
{
    char memory[32];
    bool alone = builds->workers == 1 ||
                 (position == builds->count - 1 && builds->count % builds->workers == 1);

    int64_t kilobytes = builds->run->job.settings.index_memory_bytes / 1024 / builds->workers;

    snprintf(memory, sizeof(memory), "%" PRId64 "kB",
             kilobytes < SERVER_LEAST_KB ? SERVER_LEAST_KB : kilobytes);
    return session_set(session, "maintenance_work_mem", memory, false, error) &&
           session_set(session, "max_parallel_maintenance_workers", alone ? "2" : "0", false,
                       error);
}

static bool builder(struct crew *crew, int member, void *arg, struct error *error)
{
    struct builds *builds = arg;
    struct run *run = builds->run;
    struct session_options options = run->connect;
    char name[128];
    struct session *session = NULL;
    bool ok;

    snprintf(name, sizeof(name), "pghaul %s index %d", run->job.name, member + 1);
    options.application_name = name;
    ok = session_reopen(&session, &options, run->job.settings.retry_limit_ms, run->stop, error);
    while (ok && !crew_failed(crew) && !stop_wanted(run->stop)) {
        int position = atomic_fetch_add(&builds->taken, 1);

        if (position >= builds->count)
            break;
        ok = set_resources(builds, session, position, error) &&
             build_one(crew, builds, session, builds->order[position], error);
    }
    session_close(session);
    return ok && (crew_failed(crew) || stop_check(run->stop, error));
}

static void cancel_builders(void *arg)
{
    const struct builds *builds = arg;

    if (builds->run->connect.cancel_list != NULL)
        cancel_list_cancel_all(builds->run->connect.cancel_list);
}

static void order_builds(const struct plan *plan, struct builds *builds)
{
    builds->order = memory_zero((size_t)plan->index_count + 1, sizeof(int));
    for (int pass = 0; pass < 2; pass++) /* primary keys first */
        for (int i = 0; i < plan->index_count; i++)
            if (plan->indexes[i].constraint_type != 'x' &&
                (plan->indexes[i].constraint_type == 'p') == (pass == 0))
                builds->order[builds->count++] = i;
}

static bool build_all(struct run *run, struct error *error)
{
    struct builds builds = {.run = run};
    struct crew_work work = {.run = builder, .cancel = cancel_builders, .arg = &builds};
    bool ok = true;

    order_builds(&copy_of(run)->plan, &builds);
    builds.workers = (int)run->job.settings.workers < builds.count ? (int)run->job.settings.workers
                                                                   : builds.count;
    progress_start(run->progress, "index", 0, builds.count);
    if (builds.count > 0)
        ok = crew_run(builds.workers, &work, error);
    free(builds.order);
    return ok;
}

/* -----------------------------------------------------------------------------------------------------
 * constraints */

static bool constraint_exists(struct run *run, const char *name, bool *exists, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(
            run->session, &rows,
            "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = $1::oid AND conname = $2)",
            PARAMS(NUMBER(copy_of(run)->shadow_oid), name), error))
        return false;
    *exists = rows_bool(&rows, 0, 0);
    return true;
}

/* Has index `number` a constraint, before the swap? */
static bool has_constraint(const struct copy *copy, int number)
{
    return copy->plan.indexes[number].constraint != NULL && !copy->plan.indexes[number].deferrable;
}

static void constraint_sql(const struct copy *copy, int number, struct text *sql)
{
    const struct plan_index *index = &copy->plan.indexes[number];
    const char *template = "ALTER TABLE {to} ADD CONSTRAINT {name} {kind} USING INDEX {name}";
    char name[64];

    plan_away_name(copy->names.shadow, number, name);
    if (index->constraint_type == 'x')
        template = "ALTER TABLE {to} ADD CONSTRAINT {name} {definition}";
    flow_expand_with(
        &copy->forward, sql, template,
        SQL_NAMES({"name", sql_ident(name)},
                  {"kind", sql_fragment(index->constraint_type == 'p' ? "PRIMARY KEY" : "UNIQUE")},
                  {"definition", sql_fragment(index->definition)}));
}

/* Its index is built with it. */
static bool exclude(struct run *run, int number, const char *sql, struct error *error)
{
    const struct copy *copy = copy_of(run);
    const struct plan_index *index = &copy->plan.indexes[number];
    TEXT_AUTO what = {0};
    struct unpaced unpaced;
    bool ok;

    text_appendf(&what, "constraint %s", index->constraint);
    if (!unpaced_index(run->session,
                       &(struct unpaced_index){.table_oid = copy->shadow_oid,
                                               .stats_oid = copy->plan.source_oid,
                                               .tail = index->definition,
                                               .rows = copy->plan.row_estimate,
                                               .scans = 1},
                       &unpaced, error) ||
        !pace_unpaced_begin(run, text_string(&what), unpaced.wal_bytes, unpaced.seconds, error))
        return false;
    ok = run_ddl(run, sql, error) || explain_build(copy, number, error);
    pace_unpaced_end(run);
    return ok;
}

static bool add_constraint(struct run *run, int number, struct error *error)
{
    const struct copy *copy = copy_of(run);
    TEXT_AUTO sql = {0};
    char name[64];
    bool exists;

    if (!has_constraint(copy, number))
        return true;
    plan_away_name(copy->names.shadow, number, name);
    if (!constraint_exists(run, name, &exists, error))
        return false;
    if (exists)
        return true;
    constraint_sql(copy, number, &sql);
    if (copy->plan.indexes[number].constraint_type == 'x')
        return exclude(run, number, text_string(&sql), error);
    return run_ddl(run, text_string(&sql), error) || explain_build(copy, number, error);
}

/*
 * What shadow_strip() remembered of the indexes names them as they are at home: for the moment of
 * this transaction they are called that, in schema pghaul.
 */
static bool attributes_sql(struct run *run, struct text *sql, struct error *error)
{
    const struct copy *copy = copy_of(run);
    TEXT_AUTO remembered = {0};

    if (!copy_index_sql(run, &remembered, error))
        return false;
    if (remembered.used == 0)
        return true;
    for (int back = 0; back < 2; back++) {
        for (int i = 0; i < copy->plan.index_count; i++) {
            char away[64];

            plan_away_name(copy->names.shadow, i, away);
            sql_expand(
                sql, "ALTER INDEX {from} RENAME TO {to};\n",
                SQL_NAMES({"from", sql_table("pghaul", back ? copy->plan.indexes[i].name : away)},
                          {"to", sql_ident(back ? away : copy->plan.indexes[i].name)}));
        }
        if (!back)
            text_appendf(sql, "%s;\n", text_string(&remembered));
    }
    return true;
}

static bool restore_index_attributes(struct run *run, struct error *error)
{
    TEXT_AUTO sql = {0};

    if (!attributes_sql(run, &sql, error))
        return false;
    if (sql.used == 0)
        return true;
    if (session_begin(run->session, error) && schema_lock_names(run->session, error) &&
        session_run_text(run->session, &sql, error) && session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return error_context(error, "could not restore what hangs on the indexes");
}

/* -------------------------------------------------------------------------------------------------------
 * way back */

/* The triggers of the way back sit on the shadow and do nothing; the swap arms them by replacing
 * their functions. */
static bool create_way_back(struct run *run, struct error *error)
{
    const struct copy *copy = copy_of(run);

    return capture_create(run, &copy->backward, CAPTURE_IDLE, error) &&
           capture_attach_to(run, &copy->backward, copy->forward.to_qualified, error);
}

static bool arm_way_back(struct run *run, struct error *error)
{
    const struct copy *copy = copy_of(run);
    bool attached;

    if (copy->plan.no_rollback)
        return true;
    if (!capture_attached(run->session, &copy->backward, &attached, error))
        return false;
    if (attached)
        return true;
    if (session_begin(run->session, error) && create_way_back(run, error) &&
        session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return false;
}

static const char ANALYZE[] = "ANALYZE {to}";

bool index_forward(struct run *run, struct error *error)
{
    const struct copy *copy = copy_of(run);

    if (!build_all(run, error))
        return false;
    for (int i = 0; i < copy->plan.index_count; i++)
        if (!add_constraint(run, i, error))
            return false;
    return restore_index_attributes(run, error) && arm_way_back(run, error) &&
           flow_run(&copy->forward, run->session, ANALYZE, error);
}

static void print_builds(const struct run *run, struct text *script)
{
    const struct copy *copy = copy_of(run);
    struct builds builds = {0};

    order_builds(&copy->plan, &builds);
    if (builds.count > 0)
        sql_note(script, "by up to %" PRId64 " sessions at once", run->job.settings.workers);
    for (int i = 0; i < builds.count; i++) {
        TEXT_AUTO sql = {0};

        build_sql(copy, builds.order[i], &sql);
        sql_add(script, text_string(&sql));
    }
    free(builds.order);
}

static bool print_attributes(struct run *run, struct text *script, struct error *error)
{
    TEXT_AUTO sql = {0};

    if (!attributes_sql(run, &sql, error) || sql.used == 0)
        return error->code == ERROR_NONE;
    sql_note(script, "what hangs on the indexes, by the names that they will have");
    sql_add(script, SESSION_BEGIN);
    if (!schema_lock_names(run->session, error))
        return false;
    sql_add(script, text_string(&sql));
    sql_add(script, SESSION_COMMIT);
    return true;
}

static bool print_way_back(struct run *run, struct text *script, struct error *error)
{
    if (copy_of(run)->plan.no_rollback)
        return true;
    sql_note(script, "the way back: triggers on the new table, which do nothing until the swap");
    sql_add(script, SESSION_BEGIN);
    if (!create_way_back(run, error))
        return false;
    sql_add(script, SESSION_COMMIT);
    return true;
}

bool index_print(struct run *run, struct text *script, struct error *error)
{
    const struct copy *copy = copy_of(run);

    print_builds(run, script);
    for (int i = 0; i < copy->plan.index_count; i++) {
        TEXT_AUTO sql = {0};

        if (has_constraint(copy, i))
            constraint_sql(copy, i, &sql);
        sql_add(script, text_string(&sql));
    }
    if (!print_attributes(run, script, error) || !print_way_back(run, script, error))
        return false;
    flow_print(&copy->forward, script, ANALYZE);
    return true;
}

bool index_drop_all(struct run *run, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!session_query(run->session, &rows,
                       "SELECT CASE WHEN con.oid IS NOT NULL\n"
                       "            THEN format('ALTER TABLE %s DROP CONSTRAINT %I', "
                       "i.indrelid::regclass, con.conname)\n"
                       "            ELSE format('DROP INDEX %s', i.indexrelid::regclass) END\n"
                       "  FROM pg_index AS i\n"
                       "  LEFT JOIN pg_constraint AS con ON con.conindid = i.indexrelid AND "
                       "con.conrelid = i.indrelid\n"
                       " WHERE i.indrelid = $1::oid",
                       PARAMS(NUMBER(copy_of(run)->shadow_oid)), error))
        return false;
    for (int i = 0; i < rows_count(&rows); i++)
        if (!run_ddl(run, rows_text(&rows, i, 0), error))
            return false;
    return true;
}
