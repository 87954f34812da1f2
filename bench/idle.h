/*
 * What the governor costs when it has nothing to do: a job under policy auto, nobody else there, a
 * standby that keeps up. Its thread's CPU time (a thread named "governor" of the job's process),
 * its sessions' (application_name "pghaul JOB governor"), and their statements, counted in the
 * server's log. In a sandbox only. Private to case_throttle*.c and idle.c.
 */
#ifndef PGHAUL_BENCH_IDLE_H
#define PGHAUL_BENCH_IDLE_H

#include "bench/measure.h"

struct idle {
    double seconds;         /* 0: nothing was found to measure */
    double thread_percent;  /* of one core */
    double backend_percent; /* of one core, all of its sessions */
    double queries_per_second;
};

bool idle_run(struct measure *measure, double seconds, int number, struct idle *idle,
              struct error *error) MUST_CHECK;

#endif
