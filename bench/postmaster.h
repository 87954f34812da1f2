/*
 * A server process of a sandbox: finding it, waiting for it, stopping it. Starting it is the
 * sandbox's (it knows where the programs are and as whom to run them).
 *
 * No signal goes to a process unless its command line says that it serves this data folder.
 */
#ifndef PGHAUL_BENCH_POSTMASTER_H
#define PGHAUL_BENCH_POSTMASTER_H

#include <sys/types.h>

#include "engine/base/error.h"

/* Strings are not owned. */
struct postmaster {
    const char *data; /* folder */
    const char *log;
    const char *conninfo;
    int port;
    pid_t pid; /* as we started it; 0 when we did not */
};

/* Its process id, from what we know or from DATA/postmaster.pid, checked; 0 when none runs. */
pid_t postmaster_find(const struct postmaster *server);

/* SIGINT is PostgreSQL's fast shutdown, SIGQUIT the immediate one. Gets harder after a while. */
void postmaster_stop(struct postmaster *server, int signal_number);

/* Until it accepts connections; its log's end is the detail of the error. */
bool postmaster_wait_ready(const struct postmaster *server, struct error *error) MUST_CHECK;

#endif
