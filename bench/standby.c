#include "bench/standby.h"

#include <dirent.h>
#include <libpq-fe.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/proc.h"
#include "engine/base/clock.h"
#include "engine/base/memory.h"

enum {
    PERIOD_MS = 100, /* of the duty cycle */
    RUN_MS = 5,      /* between two looks at replay that moves */
    REST_MS = 20,    /* and at one that does not */
    AHEAD_MS = 50,   /* what was not used is kept for so long */
    PAUSE_MS_MAX = 20 * 1000,
};

struct standby_cap {
    const struct sandbox *sandbox;
    _Atomic double share;
    _Atomic double bytes_per_second;
    atomic_bool ending;
    pthread_t thread;
    /* Of the thread. */
    PGconn *connection;
    pid_t startup; /* 0: to be looked for */
    bool stopped;
};

/* ----------------------------------------------------------------------------- the startup process
 */

/* Is it a child of the postmaster, and the one that replays? "postgres: startup recovering ..". */
static bool is_startup(pid_t pid, int postmaster)
{
    char folder[64];
    char line[PROC_LINE_BYTES];
    struct proc_stat stat;

    snprintf(folder, sizeof(folder), "/proc/%d", (int)pid);
    return proc_stat(folder, &stat) && stat.parent == postmaster &&
           proc_line(folder, "cmdline", line) && strncmp(line, "postgres: ", 10) == 0 &&
           strstr(line, ": startup") != NULL;
}

static pid_t find_startup(int postmaster)
{
    DIR *processes = postmaster == 0 ? NULL : opendir("/proc");
    const struct dirent *entry;
    pid_t found = 0;

    while (processes != NULL && found == 0 && (entry = readdir(processes)) != NULL) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

        if (pid > 1 && is_startup(pid, postmaster))
            found = pid;
    }
    if (processes != NULL)
        closedir(processes);
    return found;
}

static void let_run(struct standby_cap *cap, bool run)
{
    int postmaster;

    if (cap->stopped != run)
        return;
    postmaster = sandbox_standby_pid(cap->sandbox);
    if (cap->startup == 0 || !is_startup(cap->startup, postmaster))
        cap->startup = find_startup(postmaster);
    if (cap->startup != 0 && kill(cap->startup, run ? SIGCONT : SIGSTOP) == 0)
        cap->stopped = !run;
    else
        cap->stopped = false; /* whoever comes next begins running */
}

/* ----------------------------------------------------------------------------------------- the cap
 */

/* How far replay has come, in bytes; NAN while the standby does not say. Only while it runs: one
 * that is stopped may hold what the answer needs. */
static double replayed_bytes(struct standby_cap *cap)
{
    PGresult *result;
    double bytes = NAN;

    if (cap->connection == NULL)
        cap->connection = PQconnectdb(sandbox_standby_conninfo(cap->sandbox));
    result = PQexec(cap->connection, "SELECT pg_last_wal_replay_lsn() - '0/0'::pg_lsn");
    if (PQresultStatus(result) == PGRES_TUPLES_OK && !PQgetisnull(result, 0, 0))
        bytes = strtod(PQgetvalue(result, 0, 0), NULL);
    PQclear(result);
    if (PQstatus(cap->connection) != CONNECTION_OK) {
        PQfinish(cap->connection);
        cap->connection = NULL;
    }
    return bytes;
}

/* Not longer than a period, so that a new limit and the end are noticed. */
static void keep_stopped_ms(struct standby_cap *cap, double ms)
{
    let_run(cap, false);
    clock_sleep_ms(ms < PERIOD_MS ? (int64_t)ceil(ms) : PERIOD_MS);
}

static void run_for_ms(struct standby_cap *cap, int64_t ms)
{
    let_run(cap, true);
    clock_sleep_ms(ms);
}

static void duty_cycle(struct standby_cap *cap, double share)
{
    int64_t run_ms = llround(share * PERIOD_MS);

    if (run_ms > 0)
        run_for_ms(cap, run_ms < PERIOD_MS ? run_ms : PERIOD_MS);
    if (run_ms < PERIOD_MS)
        keep_stopped_ms(cap, (double)(PERIOD_MS - run_ms));
}

/*
 * What replay owes: what it did more than the limit allowed. It runs until it owes something, and
 * is stopped until that is paid off.
 */
struct debt {
    double owed; /* bytes; below zero: ahead */
    double done; /* bytes replayed, when last seen; NAN: unknown */
    int64_t at_us;
};

static void pay(struct debt *debt, double bytes_per_second)
{
    int64_t now_us = clock_us();
    double ahead = -bytes_per_second * AHEAD_MS / 1000;

    debt->owed -= bytes_per_second * (double)(now_us - debt->at_us) / 1e6;
    debt->at_us = now_us;
    if (debt->owed < ahead)
        debt->owed = ahead;
}

static void keep_rate(struct standby_cap *cap, struct debt *debt, double bytes_per_second)
{
    double done;
    bool moves;

    pay(debt, bytes_per_second);
    if (debt->owed > 0) {
        keep_stopped_ms(cap, debt->owed / bytes_per_second * 1000);
        return;
    }
    let_run(cap, true);
    done = replayed_bytes(cap);
    moves = done > debt->done;
    if (moves)
        debt->owed += done - debt->done;
    if (!isnan(done))
        debt->done = done;
    if (debt->owed <= 0)
        clock_sleep_ms(moves ? RUN_MS : REST_MS);
}

static void *cap_main(void *arg)
{
    struct standby_cap *cap = arg;
    struct debt debt = {.done = NAN, .at_us = clock_us()};

    while (!atomic_load(&cap->ending)) {
        double share = atomic_load(&cap->share);
        double bytes_per_second = atomic_load(&cap->bytes_per_second);

        if (share > 0)
            duty_cycle(cap, share);
        else if (bytes_per_second > 0 && isfinite(bytes_per_second))
            keep_rate(cap, &debt, bytes_per_second);
        else
            run_for_ms(cap, PERIOD_MS);
        if (share > 0 || !isfinite(bytes_per_second))
            debt = (struct debt){.done = NAN, .at_us = clock_us()};
    }
    let_run(cap, true);
    PQfinish(cap->connection);
    return NULL;
}

bool standby_cap_start(struct standby_cap **started, const struct sandbox *sandbox,
                       const struct standby_limit *limit, struct error *error)
{
    struct standby_cap *cap;
    int code;

    *started = NULL;
    if (find_startup(sandbox_standby_pid(sandbox)) == 0)
        return error_set(error, ERROR_SYSTEM, "the sandbox has no standby that replays");
    cap = memory_zero(1, sizeof(*cap));
    cap->sandbox = sandbox;
    standby_cap_set(cap, limit);
    code = pthread_create(&cap->thread, NULL, cap_main, cap);
    if (code != 0) {
        free(cap);
        return error_set(error, ERROR_SYSTEM, "could not start a thread: %s", strerror(code));
    }
    *started = cap;
    return true;
}

void standby_cap_set(struct standby_cap *cap, const struct standby_limit *limit)
{
    atomic_store(&cap->share, limit->share);
    atomic_store(&cap->bytes_per_second, limit->bytes_per_second);
}

void standby_cap_stop(struct standby_cap *cap)
{
    if (cap == NULL)
        return;
    atomic_store(&cap->ending, true);
    pthread_join(cap->thread, NULL);
    free(cap);
}

/* ---------------------------------------------------------------------------------- asked of it */

/* Runs statements on the standby; the last one's first value goes to `answer` (may be NULL). */
static bool MUST_CHECK run_there(const struct sandbox *sandbox, const char *const *statements,
                                 char answer[64], struct error *error)
{
    const char *conninfo = sandbox_standby_conninfo(sandbox);
    PGconn *connection;
    bool ok = true;

    if (conninfo == NULL)
        return error_set(error, ERROR_SYSTEM, "the sandbox has no standby");
    connection = PQconnectdb(conninfo);
    for (; ok && *statements != NULL; statements++) {
        PGresult *result = PQexec(connection, *statements);

        ok =
            PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK;
        if (ok && answer != NULL && PQntuples(result) > 0)
            snprintf(answer, 64, "%s", PQgetvalue(result, 0, 0));
        PQclear(result);
    }
    if (!ok)
        error_set(error, ERROR_SYSTEM, "the standby says: %s", PQerrorMessage(connection));
    PQfinish(connection);
    return ok;
}

bool standby_settle(const struct sandbox *sandbox, struct error *error)
{
    static const char *const SETTLE[] = {"CHECKPOINT", NULL};

    return run_there(sandbox, SETTLE, NULL, error);
}

bool standby_pause(const struct sandbox *sandbox, bool paused, struct error *error)
{
    static const char *const PAUSE[] = {"SELECT pg_wal_replay_pause()", NULL};
    static const char *const RESUME[] = {"SELECT pg_wal_replay_resume()", NULL};
    static const char *const LOOK[] = {"SELECT pg_get_wal_replay_pause_state()", NULL};
    const char *wanted = paused ? "paused" : "not paused";
    int64_t end_ms = clock_ms() + PAUSE_MS_MAX;
    char state[64] = "";

    if (!run_there(sandbox, paused ? PAUSE : RESUME, NULL, error))
        return false;
    while (strcmp(state, wanted) != 0) {
        if (clock_ms() > end_ms)
            return error_set(error, ERROR_SYSTEM, "replay is still \"%s\", not \"%s\"", state,
                             wanted);
        if (!run_there(sandbox, LOOK, state, error))
            return false;
        clock_sleep_ms(20);
    }
    return true;
}

bool standby_delay(const struct sandbox *sandbox, const char *delay, struct error *error)
{
    char set[128];
    const char *const statements[] = {set, "SELECT pg_reload_conf()", NULL};

    snprintf(set, sizeof(set), "ALTER SYSTEM SET recovery_min_apply_delay = '%.32s'", delay);
    return run_there(sandbox, statements, NULL, error);
}
