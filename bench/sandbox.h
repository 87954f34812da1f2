/*
 * A sandbox: a private, throw-away PostgreSQL server, optionally with a streaming standby.
 *
 * It lives in one folder, listens on a unix socket in that folder and nowhere else, trusts whoever
 * can open the folder, and never touches a cluster that it did not make itself. Started as root,
 * the server runs as an unprivileged user (postgres, else nobody).
 *
 *     DIR/.s.PGSQL.5432  socket        DIR/data     the server's files      DIR/log
 *     DIR/.s.PGSQL.5433  standby's     DIR/standby  the standby's           DIR/standby.log
 *     DIR/pghaul-sandbox marks the folder as ours; without it nothing is ever removed
 *
 * Life: sandbox_start() -> accessors, sandbox_crash(), sandbox_restart() -> sandbox_stop(). A
 * sandbox that is kept (`keep`) survives its process: sandbox_detach(), and later, elsewhere,
 * sandbox_attach() -> sandbox_stop(). Any other sandbox ends with its process, even by kill -9: a
 * watchdog process holds the reading end of a pipe and cleans up when the writing end is gone.
 *
 * One thread at a time. Strings belong to the sandbox.
 */
#ifndef PGHAUL_BENCH_SANDBOX_H
#define PGHAUL_BENCH_SANDBOX_H

#include "engine/base/error.h"

struct sandbox;

struct sandbox_options {
    const char
        *dir; /* NULL: fresh, removed by stop. Else new, empty, or a sandbox (as it was made) */
    const char
        *bindir; /* NULL: $PGHAUL_PG_BINDIR, pg_config --bindir, newest of the usual places */
    const char *const *settings; /* more lines for postgresql.conf, ends with NULL; may be NULL */
    bool durable;                /* fsync, as in production; off is faster and safe here */
    bool standby;                /* also a streaming standby */
    const char *standby_base;    /* its files in a fresh folder of this one, on another device;
                                    NULL: in DIR. Not with `dir` or `keep` */
    bool keep;                   /* survive this process */
};

/* Returns when the server, and the standby, accept connections. Leaves nothing on failure. */
bool sandbox_start(struct sandbox **sandbox, const struct sandbox_options *options,
                   struct error *error) MUST_CHECK;

/* Finds a sandbox by its folder, running or not. ERROR_REFUSED when that folder is not one. */
bool sandbox_attach(struct sandbox **sandbox, const char *dir, struct error *error) MUST_CHECK;

/* Immediate shutdown; removes the folder unless the user gave it. Frees; NULL is fine. */
void sandbox_stop(struct sandbox *sandbox);
/* Frees, and leaves a kept server as it is (any other is then cleaned up by its watchdog). */
void sandbox_detach(struct sandbox *sandbox);

/* What an operator's mishap does: immediate shutdown of the server; its files stay. */
void sandbox_crash(struct sandbox *sandbox);
/* Starts the server again, after a clean stop when it runs. */
bool sandbox_restart(struct sandbox *sandbox, struct error *error) MUST_CHECK;
/* The same mishap of the standby alone, and its end. Nothing without one. */
void sandbox_standby_crash(struct sandbox *sandbox);
bool sandbox_standby_start(struct sandbox *sandbox, struct error *error) MUST_CHECK;

const char *sandbox_conninfo(
    const struct sandbox *sandbox); /* host=DIR port=5432 user=postgres .. */
const char *sandbox_standby_conninfo(const struct sandbox *sandbox); /* NULL without a standby */
const char *sandbox_dir(const struct sandbox *sandbox);
const char *sandbox_data_dir(const struct sandbox *sandbox);
const char *sandbox_bindir(const struct sandbox *sandbox);
int sandbox_postmaster_pid(const struct sandbox *sandbox); /* 0 when it does not run */
int sandbox_standby_pid(const struct sandbox *sandbox);    /* the standby's; 0 when none runs */

struct sandbox_status {
    bool running; /* accepts connections */
    int pid;      /* of the postmaster; 0 for none */
    int version;  /* 150004 for 15.4; 0 when not running */
    bool temporary;
    bool standby;
    bool standby_running;
    const char *conninfo;         /* these two belong to the sandbox */
    const char *standby_conninfo; /* NULL without a standby */
};

void sandbox_status(const struct sandbox *sandbox, struct sandbox_status *status);

#endif
