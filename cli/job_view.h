/* The job at hand, as commands show it: words in job_text.h, JSON in job_json.h. */
#ifndef PGHAUL_CLI_JOB_VIEW_H
#define PGHAUL_CLI_JOB_VIEW_H

#include "cli/cli.h"
#include "engine/job/view.h"

/* Looks at cli->run.job, which is loaded. */
MUST_CHECK static inline bool job_view_read(struct cli *cli, struct job_view *view,
                                            struct error *error)
{
    return job_look(&cli->run, cli->kind, view, error);
}

#endif
