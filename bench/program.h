/*
 * Runs a program as its user would: as a child, reading its output line by line while it runs, and
 * measuring it.
 *
 * Unlike spawn_run() (spawn.h), a failing exit status is a result, not an error, and the child
 * keeps our user. Signals to our process group reach the child by themselves; it is waited for
 * whatever happens.
 */
#ifndef PGHAUL_BENCH_PROGRAM_H
#define PGHAUL_BENCH_PROGRAM_H

#include <stdint.h>
#include <sys/types.h>

#include "engine/base/text.h"

struct program {
    const char *const *argv;        /* ends with NULL; argv[0] is a path, or looked up in PATH */
    const char *const *environment; /* NAME=value, added to ours; ends with NULL; may be NULL */
    /*
     * Called with each line of stdout as it comes, without the line feed; may be NULL. Must not
     * block for long.
     */
    void (*line)(void *arg, const char *line);
    /*
     * Asked about ten times a second while the child runs; true, once: it is asked to end (SIGINT).
     * May be NULL. Must not block for long.
     */
    bool (*enough)(void *arg, pid_t pid);
    void *arg; /* of both */
};

struct program_result {
    int status; /* exit status; 128 + signal when one ended it */
    double seconds;
    int64_t
        memory_bytes_max; /* resident, of the child alone; not below what we had when it started */
    struct text output;   /* stdout */
    struct text messages; /* stderr */
};

/*
 * False only when it could not be run. *result is overwritten; free it with
 * program_result_deinit(), also on failure.
 */
bool program_run(const struct program *program, struct program_result *result,
                 struct error *error) MUST_CHECK;
void program_result_deinit(struct program_result *result);

/* As program_run(), and any exit status but 0 is an error that shows what the program said. */
bool program_succeed(const struct program *program, struct program_result *result,
                     struct error *error) MUST_CHECK;

#endif
