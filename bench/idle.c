#include "bench/idle.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/attempt.h"
#include "bench/proc.h"
#include "bench/program.h"
#include "engine/base/clock.h"

enum {
    BACKENDS_MAX = 8,
    WARM_MS = 2000,
    EXIT_INTERRUPTED = 5, /* docs/exit-status.md */
};

/* The governor of a job, in /proc. */
struct found {
    int tid; /* 0: not there */
    int backends[BACKENDS_MAX];
    int backend_count;
};

struct idling {
    struct measure *measure;
    double seconds;
    char application_name[96];
    int64_t found_ms; /* 0: not yet */
    struct found found;
    int64_t begin_us; /* 0: not yet */
    int64_t end_us;
    double thread_begin, thread_end; /* CPU seconds */
    double backends_begin, backends_end;
    long log_begin, log_end; /* bytes of the server's log */
};

/* ------------------------------------------------------------------------------------- in /proc */

static double thread_cpu(pid_t pid, int tid)
{
    char folder[96];
    struct proc_stat stat;

    snprintf(folder, sizeof(folder), "/proc/%d/task/%d", (int)pid, tid);
    return proc_stat(folder, &stat) ? stat.own_seconds : 0;
}

static double backends_cpu(const struct found *found)
{
    double sum = 0;

    for (int i = 0; i < found->backend_count; i++) {
        char folder[64];
        struct proc_stat stat;

        snprintf(folder, sizeof(folder), "/proc/%d", found->backends[i]);
        sum += proc_stat(folder, &stat) ? stat.own_seconds : 0;
    }
    return sum;
}

static bool is_governor(pid_t pid, const char *tid)
{
    char folder[96];
    char line[PROC_LINE_BYTES];

    snprintf(folder, sizeof(folder), "/proc/%d/task/%.20s", (int)pid, tid);
    return proc_line(folder, "comm", line) && strcmp(line, "governor\n") == 0;
}

static int find_thread(pid_t pid)
{
    char path[64];
    const struct dirent *entry;
    DIR *threads;
    int found = 0;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    threads = opendir(path);
    while (threads != NULL && found == 0 && (entry = readdir(threads)) != NULL)
        if (is_governor(pid, entry->d_name))
            found = (int)strtol(entry->d_name, NULL, 10);
    if (threads != NULL)
        closedir(threads);
    return found;
}

static void find_backends(struct idling *idling)
{
    struct found *found = &idling->found;
    ROWS_AUTO rows = {0};
    struct error ignored;

    found->backend_count = 0;
    if (!session_query(idling->measure->session, &rows,
                       "SELECT pid FROM pg_stat_activity WHERE application_name = $1",
                       PARAMS(idling->application_name), &ignored))
        return;
    while (found->backend_count < rows_count(&rows) && found->backend_count < BACKENDS_MAX) {
        found->backends[found->backend_count] = (int)rows_int64(&rows, found->backend_count, 0);
        found->backend_count++;
    }
}

/* ---------------------------------------------------------------------------------- in the log */

static FILE *open_log(const struct idling *idling)
{
    char path[512];

    snprintf(path, sizeof(path), "%.480s/log", sandbox_dir(idling->measure->sandbox));
    return fopen(path, "re");
}

static long log_size(const struct idling *idling)
{
    FILE *file = open_log(idling);
    long size = 0;

    if (file == NULL)
        return 0;
    if (fseek(file, 0, SEEK_END) == 0)
        size = ftell(file);
    fclose(file);
    return size;
}

/* "TIME [PID] NAME LOG:  statement: .." or ".. LOG:  execute NAME: ..", of one of these. */
static bool is_query_of(const struct found *found, const char *line)
{
    const char *pid = strchr(line, '[');

    if (pid == NULL ||
        (strstr(line, "LOG:  statement: ") == NULL && strstr(line, "LOG:  execute ") == NULL))
        return false;
    for (int i = 0; i < found->backend_count; i++)
        if (strtol(pid + 1, NULL, 10) == found->backends[i])
            return true;
    return false;
}

static double count_queries(const struct idling *idling)
{
    FILE *file = open_log(idling);
    char *line = NULL;
    size_t size = 0;
    double count = 0;
    long at = idling->log_begin;
    ssize_t length;

    if (file == NULL)
        return NAN;
    if (fseek(file, idling->log_begin, SEEK_SET) == 0)
        while (at < idling->log_end && (length = getline(&line, &size, file)) > 0) {
            at += length;
            count += is_query_of(&idling->found, line);
        }
    free(line);
    fclose(file);
    return count;
}

/* ------------------------------------------------------------------------------------- the job */

static void look_at_costs(struct idling *idling, pid_t pid, double *thread, double *backends,
                          long *log)
{
    *thread = thread_cpu(pid, idling->found.tid);
    *backends = backends_cpu(&idling->found);
    *log = log_size(idling);
}

/* Each look may be the last one, so each is an end. */
static bool is_enough(void *arg, pid_t pid)
{
    struct idling *idling = arg;
    double thread, backends;

    if (idling->found.tid == 0) {
        idling->found.tid = find_thread(pid);
        idling->found_ms = clock_ms();
        return false;
    }
    if (idling->begin_us == 0) {
        if (clock_ms() - idling->found_ms < WARM_MS)
            return false;
        find_backends(idling);
        idling->begin_us = clock_us();
        look_at_costs(idling, pid, &idling->thread_begin, &idling->backends_begin,
                      &idling->log_begin);
        return false;
    }
    thread = thread_cpu(pid, idling->found.tid);
    backends = backends_cpu(&idling->found);
    if (thread < idling->thread_begin || backends < idling->backends_begin ||
        backends < idling->backends_end) /* it is going */
        return false;
    look_at_costs(idling, pid, &idling->thread_end, &idling->backends_end, &idling->log_end);
    idling->end_us = clock_us();
    return (double)(idling->end_us - idling->begin_us) / 1e6 >= idling->seconds;
}

static void conclude(const struct idling *idling, struct idle *idle)
{
    idle->seconds = (double)(idling->end_us - idling->begin_us) / 1e6;
    idle->thread_percent = (idling->thread_end - idling->thread_begin) / idle->seconds * 100;
    idle->backend_percent = (idling->backends_end - idling->backends_begin) / idle->seconds * 100;
    idle->queries_per_second = count_queries(idling) / idle->seconds;
}

bool idle_run(struct measure *measure, double seconds, int number, struct idle *idle,
              struct error *error)
{
    static const char *const LOGGED[] = {"PGOPTIONS=-c log_statement=all", NULL};
    struct idling idling = {.measure = measure, .seconds = seconds};
    struct measure_command command;
    struct program_result result = {0};
    struct arena arena = {0};
    char name[64];
    bool ok;

    *idle = (struct idle){0, NAN, NAN, NAN};
    snprintf(name, sizeof(name), "bench-%d-%d", (int)getpid(), number);
    snprintf(idling.application_name, sizeof(idling.application_name), "pghaul %.40s governor",
             name);
    command = attempt_command(measure, ATTEMPT_BACKFILL, name, "auto", false, &arena);
    ok = measure_make_copy(measure, measure->options.rows / ATTEMPT_BACKFILL_PART, error) &&
         program_run(
             &(struct program){
                 .argv = command.argv, .environment = LOGGED, .enough = is_enough, .arg = &idling},
             &result, error) &&
         stop_check(measure->options.stop, error);
    if (ok && idling.end_us > idling.begin_us && idling.begin_us > 0 &&
        idling.found.backend_count > 0)
        conclude(&idling, idle);
    if (ok && result.status == EXIT_INTERRUPTED) {
        ok = attempt_abort(measure, name, error);
    } else if (ok && result.status != 0) {
        ok = error_set(error, ERROR_SYSTEM, "pghaul backfill ended with status %d", result.status);
        error_detail(error, "%s", text_string(&result.messages));
    }
    program_result_deinit(&result);
    arena_deinit(&arena);
    return ok;
}
