#include "cli/job_json.h"

#include <math.h>

#include "cli/output.h"

/* Null for a negative number. */
static json_t *known(int64_t value)
{
    return value < 0 ? json_null() : json_integer(value);
}

/* The same, with one decimal. */
static json_t *known_real(double value)
{
    return value < 0 ? json_null() : json_real(round(value * 10) / 10);
}

static json_t *phases(const struct job_view *view)
{
    json_t *list = json_array();

    for (int i = 0; i < view->phase_count; i++) {
        const struct phase_view *phase = &view->phases[i];
        json_t *object = json_object();

        json_object_set_new(object, "name", json_string(phase->name));
        json_object_set_new(object, "state", json_string(phase->state));
        json_object_set_new(object, "seconds", json_real(round(phase->seconds * 1000) / 1000));
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *locks(const struct job_view *view)
{
    json_t *list = json_object_get(view->facts, "locks");

    return json_is_array(list) ? json_incref(list) : json_array();
}

/* What binds; null for nothing. */
static json_t *throttle_reason(const struct throttle_view *throttle)
{
    json_t *object;

    if (throttle->signal == NULL)
        return json_null();
    object = json_object();
    json_object_set_new(object, "signal", json_string(throttle->signal));
    json_object_set_new(object, "who", output_string(throttle->who));
    json_object_set_new(object, "value", known_real(throttle->value));
    json_object_set_new(object, "limit", known_real(throttle->limit));
    json_object_set_new(object, "seconds", json_real(throttle->seconds));
    return object;
}

static json_t *throttle(const struct job_view *view)
{
    const struct throttle_view *said = &view->throttle;
    json_t *object = json_object();

    json_object_set_new(object, "policy", json_string(view->job->settings.policy));
    json_object_set_new(object, "decision", output_string(said->known ? said->decision : NULL));
    json_object_set_new(object, "rate", known_real(said->known ? said->rate : -1));
    json_object_set_new(object, "workers",
                        said->known && said->workers > 0 ? json_integer(said->workers)
                                                         : json_null());
    json_object_set_new(object, "reason", throttle_reason(said));
    json_object_set_new(object, "signals",
                        json_is_array(said->signals) ? json_incref(said->signals) : json_array());
    return object;
}

static json_t *next(const struct job_view *view)
{
    json_t *list = json_array();

    for (int i = 0; i < view->next_count; i++)
        json_array_append_new(
            list, json_sprintf("pghaul %s %s", view->next[i], SHELL_WORD(view->job->name)));
    return list;
}

static json_t *table_name(const struct job *job)
{
    return json_sprintf("%s.%s", job->table_schema, job->table_name);
}

json_t *job_json(const struct job_view *view)
{
    const struct job *job = view->job;
    json_t *object = json_object();

    json_object_set_new(object, "job", json_string(job->name));
    json_object_set_new(object, "kind", json_string(job->kind));
    json_object_set_new(object, "table", table_name(job));
    json_object_set_new(object, "state", json_string(view->state));
    json_object_set_new(object, "phase", output_string(job->phase));
    json_object_set_new(object, "error", output_string(job->reason));
    json_object_set_new(object, "phases", phases(view));
    json_object_set_new(object, "rows_done", json_integer(view->rows_done));
    json_object_set_new(object, "rows_total", json_integer(view->rows_total));
    json_object_set_new(object, "percent", known_real(view->percent));
    json_object_set_new(object, "rows_per_second", known_real(view->rows_per_second));
    json_object_set_new(object, "eta_seconds", known_real(view->eta_seconds));
    json_object_set_new(object, "wal_bytes", json_integer(view->bytes_written));
    json_object_set_new(object, "chunks", json_integer(view->chunks));
    json_object_set_new(object, "retries", json_integer(view->retries));
    json_object_set_new(object, "workers", json_integer(job->settings.workers));
    json_object_set_new(object, "log_keys", known(view->numbers.log_keys));
    json_object_set_new(object, "stuck_keys", known(view->numbers.stuck_keys));
    json_object_set_new(object, "differences", known(view->verify.differences));
    json_object_set_new(object, "repaired", known(view->verify.repaired));
    json_object_set_new(object, "irreversible_rows", known(view->numbers.irreversible_rows));
    json_object_set_new(object, "old_table", output_string(view->old_table));
    json_object_set_new(object, "locks", locks(view));
    json_object_set_new(object, "throttle", throttle(view));
    json_object_set_new(object, "next", next(view));
    return object;
}
