#include "copy/copy.h"

#include <jansson.h>
#include <stdlib.h>

void copy_rename(struct run *run)
{
    struct copy *copy = copy_of(run);

    flow_deinit(&copy->forward);
    flow_deinit(&copy->backward);
    plan_names(copy->plan.table, run->job.id, &copy->names);
    flow_init(&copy->forward, &copy->plan, &run->job, FLOW_FORWARD, copy->plan.source_oid);
    flow_init(&copy->backward, &copy->plan, &run->job, FLOW_BACKWARD, copy->shadow_oid);
}

bool copy_load(struct run *run, struct error *error)
{
    struct copy *copy = memory_zero(1, sizeof(*copy));
    json_t *facts = json_loads(run->job.facts, 0, NULL);

    copy_unload(run);
    run->kind_state = copy;
    copy->shadow_oid = (uint32_t)json_integer_value(json_object_get(facts, "shadow_oid"));
    json_decref(facts);
    if (!plan_from_json(run->job.plan, &copy->plan, error)) {
        copy_unload(run);
        return false;
    }
    copy_rename(run);
    return true;
}

void copy_unload(struct run *run)
{
    struct copy *copy = copy_of(run);

    if (copy == NULL)
        return;
    flow_deinit(&copy->forward);
    flow_deinit(&copy->backward);
    plan_deinit(&copy->plan);
    free(copy);
    run->kind_state = NULL;
}

bool copy_set_shadow(struct run *run, uint32_t oid, struct error *error)
{
    copy_of(run)->shadow_oid = oid;
    copy_rename(run);
    return job_set_fact(run->session, &run->job, "shadow_oid", NUMBER(oid), error);
}

bool copy_remember(struct run *run, const char *index_sql, const char *owed_sql,
                   struct error *error)
{
    struct copy *copy = copy_of(run);

    if (run->trial) {
        copy->trial_index_sql = arena_copy(&copy->plan.arena, index_sql);
        copy->trial_owed_sql = arena_copy(&copy->plan.arena, owed_sql);
        return true;
    }
    return session_execute(
        run->session,
        "UPDATE pghaul.job SET facts = facts || jsonb_build_object('index_sql', $2::text,\n"
        "                                                          'owed_sql', $3::text)\n"
        " WHERE id = $1::bigint",
        PARAMS(NUMBER(run->job.id), index_sql, owed_sql), NULL, error);
}

static bool append_fact(struct run *run, const char *name, const char *of_trial, struct text *sql,
                        struct error *error)
{
    ROWS_AUTO rows = {0};

    if (run->trial) {
        text_append(sql, of_trial != NULL ? of_trial : "");
        return true;
    }
    if (!session_query(run->session, &rows,
                       "SELECT coalesce(facts ->> $2, '') FROM pghaul.job WHERE id = $1::bigint",
                       PARAMS(NUMBER(run->job.id), name), error))
        return false;
    text_append(sql, rows_text(&rows, 0, 0));
    return true;
}

bool copy_index_sql(struct run *run, struct text *sql, struct error *error)
{
    return append_fact(run, "index_sql", copy_of(run)->trial_index_sql, sql, error);
}

bool copy_owed_sql(struct run *run, struct text *sql, struct error *error)
{
    return append_fact(run, "owed_sql", copy_of(run)->trial_owed_sql, sql, error);
}
