#include "engine/job/run.h"

bool run_reconnect(struct run *run, struct error *error)
{
    if (session_alive(run->session))
        return true;
    session_close(run->session);
    run->session = NULL;
    return session_reopen(&run->session, &run->connect, run->job.settings.retry_limit_ms, run->stop,
                          error);
}

bool run_ddl(struct run *run, const char *sql, struct error *error)
{
    log_verbose(run->log, "%s", sql);
    return session_run(run->session, sql, error) &&
           (run->trial || job_event(run->session, run->job.id, "ddl", error, "%s", sql));
}
