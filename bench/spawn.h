/*
 * Child processes without a shell: run one to its end, or start one that outlives us.
 *
 * Children start with a clean slate: standard input is /dev/null, every file descriptor above 2 is
 * closed, signals are as after login. With a `user`, the child gives up root before it executes.
 *
 * Safe in a process with threads: between fork and exec only async-signal-safe calls are made.
 */
#ifndef PGHAUL_BENCH_SPAWN_H
#define PGHAUL_BENCH_SPAWN_H

#include <stdint.h>
#include <sys/types.h>

#include "engine/base/text.h"

enum { SPAWN_GROUPS_MAX = 64 };

/* Whom a child becomes. Zeroed: it stays who we are. */
struct spawn_user {
    bool drop;
    uid_t uid;
    gid_t gid;
    int group_count;
    gid_t groups[SPAWN_GROUPS_MAX];
};

/* When we are root: postgres if there is such a user, else nobody. Otherwise: who we are. */
bool spawn_unprivileged(struct spawn_user *user, struct error *error) MUST_CHECK;

struct spawn {
    const char *const *argv;        /* argv[0] is a path, or a name to look up in PATH */
    const char *const *environment; /* NULL: ours */
    const char *directory;          /* NULL: ours */
    const struct spawn_user *user;  /* NULL: stay who we are */
    int output_fd;                  /* stdout and stderr of a detached child; -1: /dev/null */
};

/*
 * Runs to the end, at most `limit_ms`; then the child is killed. Its stdout is appended to `output`
 * (may be NULL). False unless it exits with 0; what it said on stderr is then the error's detail.
 */
bool spawn_run(const struct spawn *spawn, int64_t limit_ms, struct text *output,
               struct error *error) MUST_CHECK;

/* Starts a child that is nobody's child any more: in its own session, adopted by init. */
bool spawn_detached(const struct spawn *spawn, pid_t *pid, struct error *error) MUST_CHECK;

/* Closes every file descriptor from `first` on, in a child. Async-signal-safe. */
void spawn_close_from(int first);

#endif
