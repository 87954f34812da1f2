#include "copy/arm.h"

#include <string.h>

#include "copy/capture.h"
#include "copy/index.h"
#include "copy/lock.h"
#include "engine/base/clock.h"

static bool create_log(struct run *run, struct error *error)
{
    const struct flow *flow = &copy_of(run)->forward;
    ROWS_AUTO rows = {0};

    if (!flow_query(flow, run->session, &rows, "SELECT to_regclass({log_a_literal}) IS NOT NULL",
                    NO_PARAMS, error))
        return false;
    if (rows_bool(&rows, 0, 0))
        return true;
    if (session_begin(run->session, error) && capture_create(run, flow, CAPTURE_LOG, error) &&
        session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return false;
}

/* Does anything of an earlier copy have to go? At the first time nothing has, and writers wait the
 * less. */
static bool used_before(struct run *run, bool *used, struct error *error)
{
    ROWS_AUTO rows = {0};

    if (!flow_query(
            &copy_of(run)->forward, run->session, &rows,
            "SELECT pg_relation_size({to_literal}) > 0\n"
            "       OR EXISTS (SELECT FROM pg_index WHERE indrelid = {to_literal}::regclass)\n"
            "       OR pg_relation_size({log_a_literal}) + pg_relation_size({log_b_literal})\n"
            "          + pg_relation_size({mark_literal}) + pg_relation_size({stuck_literal}) > 0",
            NO_PARAMS, error))
        return false;
    *used = rows_bool(&rows, 0, 0);
    return true;
}

static const char EMPTY[] = "TRUNCATE {to};\n"
                            "ALTER TABLE {to} SET (autovacuum_enabled = off);\n"
                            "DROP TABLE IF EXISTS {check}, {purge}";

static bool empty_all(struct run *run, struct error *error)
{
    const struct flow *flow = &copy_of(run)->forward;

    return capture_set(run, flow, (struct capture_state){CAPTURE_LOG, 'a', 0}, error) &&
           capture_reset(run, flow, error) && index_drop_all(run, error) &&
           flow_run(flow, run->session, EMPTY, error);
}

/* In the transaction that holds the lock. */
static bool arm_under_lock(struct run *run, struct error *error)
{
    const struct flow *flow = &copy_of(run)->forward;
    bool attached, used;

    return capture_attached(run->session, flow, &attached, error) &&
           (attached || capture_attach(run, flow, error)) && used_before(run, &used, error) &&
           (!used || empty_all(run, error)) && capture_keep_fingerprint(run, flow, error);
}

static bool arm_once(struct run *run, struct lock_report *lock, struct error *error)
{
    TEXT_AUTO table = {0};
    int64_t locked_us;

    text_appendf(&table, "ONLY %s", copy_of(run)->forward.from_qualified);
    if (!lock_tables(run, text_string(&table), "SHARE ROW EXCLUSIVE", lock, error))
        return false;
    locked_us = clock_us();
    if (arm_under_lock(run, error) &&
        job_add_lock(run->session, &run->job, "capture", "SHARE ROW EXCLUSIVE",
                     lock->waited_us / 1000, (clock_us() - locked_us) / 1000, lock->attempts,
                     error) &&
        session_commit(run->session, error))
        return true;
    session_rollback(run->session);
    return false;
}

bool arm_forward(struct run *run, struct error *error)
{
    unsigned seed = (unsigned)clock_us();

    if (!lock_check_settings(run->session, &run->job.settings, error) || !create_log(run, error))
        return false;
    for (int64_t tries = 1;; tries++) {
        struct lock_report lock;

        if (arm_once(run, &lock, error))
            return true;
        /* lock_tables() has tried long enough; what is in the way of the rest (our own tables)
         * passes soon. */
        if (error->code != ERROR_LOCK || lock.waited_us == 0 ||
            tries >= run->job.settings.lock_tries ||
            !stop_sleep_ms(run->stop, lock_backoff_ms((int)tries, &seed), error))
            return false;
    }
}

bool arm_print(struct run *run, struct text *script, struct error *error)
{
    const struct flow *flow = &copy_of(run)->forward;
    TEXT_AUTO table = {0};

    sql_add(script, SESSION_BEGIN);
    if (!capture_create(run, flow, CAPTURE_LOG, error))
        return false;
    sql_add(script, SESSION_COMMIT);
    text_appendf(&table, "ONLY %s", flow->from_qualified);
    lock_print(run, text_string(&table), "SHARE ROW EXCLUSIVE", script);
    capture_attach_sql(run, flow, script);
    sql_note(script, "when a TRUNCATE of the table or log.budget makes the copy begin anew, also");
    sql_note(script, "the functions as above, and the new table loses its indexes");
    if (!capture_reset(run, flow, error))
        return false;
    flow_print(flow, script, EMPTY);
    sql_add(script, SESSION_COMMIT);
    return true;
}
