/*
 * What the halves of the sandbox share: sandbox.c owns folders, servers and life, sandbox_cluster.c
 * makes the files of a server. Private to these two.
 */
#ifndef PGHAUL_BENCH_SANDBOX_PARTS_H
#define PGHAUL_BENCH_SANDBOX_PARTS_H

#include "bench/postmaster.h"
#include "bench/sandbox.h"
#include "bench/spawn.h"
#include "engine/base/memory.h"

enum { SANDBOX_PATH_BYTES = 512, SANDBOX_SERVERS = 2 };

struct sandbox {
    char dir[SANDBOX_PATH_BYTES];
    char data[SANDBOX_PATH_BYTES];
    char standby_data[SANDBOX_PATH_BYTES];
    char log[SANDBOX_PATH_BYTES];
    char standby_log[SANDBOX_PATH_BYTES];
    char bindir[SANDBOX_PATH_BYTES];
    char conninfo[SANDBOX_PATH_BYTES];
    char standby_conninfo[SANDBOX_PATH_BYTES];
    struct postmaster servers[SANDBOX_SERVERS]; /* the second one is the standby */
    int server_count;
    bool temporary;  /* the folder is ours to remove */
    bool made_dir;   /* by this call of sandbox_start() */
    bool marked;     /* the marker is written */
    int watchdog_fd; /* writing end; -1 when there is no watchdog */
    struct spawn_user user;
};

/* -- sandbox_cluster.c -- */

/* Where initdb and postgres are. `wanted` as in struct sandbox_options. */
bool cluster_find_programs(struct sandbox *sandbox, const char *wanted,
                           struct error *error) MUST_CHECK;
/* For children: an environment that says nothing about other servers; ends with NULL. */
const char *const *cluster_environment(const struct sandbox *sandbox, struct arena *arena);
/* initdb and the settings, of the primary. */
bool cluster_make(const struct sandbox *sandbox, const struct sandbox_options *options,
                  struct error *error) MUST_CHECK;
/* The files of a standby, from those of a primary that was stopped cleanly. */
bool cluster_make_standby(const struct sandbox *sandbox, struct error *error) MUST_CHECK;
/* What keeps the standby's log, on the primary that runs again. */
bool cluster_make_slot(const struct sandbox *sandbox, struct error *error) MUST_CHECK;

#endif
