#include "bench/postmaster.h"

#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"

enum { READY_MS_MAX = 90 * 1000, STOP_MS_MAX = 20 * 1000 };

/* The end of a server's log, as detail of an error. */
static void add_log(struct error *error, const char *log)
{
    char tail[1500];
    FILE *file = fopen(log, "r");
    size_t count;

    if (file == NULL)
        return;
    if (fseek(file, -(long)sizeof(tail) + 1, SEEK_END) != 0)
        rewind(file);
    count = fread(tail, 1, sizeof(tail) - 1, file);
    fclose(file);
    while (count > 0 && tail[count - 1] == '\n')
        count--;
    tail[count] = '\0';
    error_detail(error, "%s", tail);
}

/* Reads a file of /proc/PID; the number of bytes, 0 when there is no such process. */
static size_t read_proc(pid_t pid, const char *name, char *buffer, size_t size)
{
    char path[64];
    ssize_t count;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    count = read(fd, buffer, size);
    close(fd);
    return count > 0 ? (size_t)count : 0;
}

/* Dead, but its parent (or init) has not looked yet. "PID (NAME) STATE ...", NAME may be anything.
 */
static bool is_zombie_or_gone(pid_t pid)
{
    char stat[512];
    size_t count = read_proc(pid, "stat", stat, sizeof(stat));
    const char *name_end = memrchr(stat, ')', count);

    return name_end == NULL || name_end + 2 >= stat + count || name_end[2] == 'Z' ||
           name_end[2] == 'X';
}

/*
 * Is `pid` the server of this data folder? Its command line says so (`postgres -D FOLDER`). That is
 * what keeps us from a process that got the number of a server long dead.
 *
 * A process in the midst of exec has no command line for a moment: whoever has none and is not dead
 * is looked at again.
 */
static bool is_server_of(pid_t pid, const char *data)
{
    for (int i = 0; pid > 1 && i < 200; i++) {
        char command[4096];
        size_t count = read_proc(pid, "cmdline", command, sizeof(command));

        if (count > 0)
            return memmem(command, count, data, strlen(data) + 1) != NULL;
        if (is_zombie_or_gone(pid))
            return false;
        clock_sleep_ms(1);
    }
    return false;
}

pid_t postmaster_find(const struct postmaster *server)
{
    char path[PATH_MAX];
    char line[64] = "";
    FILE *file;
    pid_t pid = 0;

    if (is_server_of(server->pid, server->data))
        return server->pid;
    snprintf(path, sizeof(path), "%s/postmaster.pid", server->data);
    file = fopen(path, "re");
    if (file == NULL)
        return 0;
    if (fgets(line, sizeof(line), file) != NULL)
        pid = (pid_t)strtol(line, NULL, 10);
    fclose(file);
    return is_server_of(pid, server->data) ? pid : 0;
}

static bool wait_until_gone(pid_t pid, const char *data, int64_t limit_ms)
{
    int64_t end_ms = clock_ms() + limit_ms;

    while (is_server_of(pid, data)) {
        if (clock_ms() >= end_ms)
            return false;
        clock_sleep_ms(5);
    }
    return true;
}

void postmaster_stop(struct postmaster *server, int signal_number)
{
    static const int HARDER[] = {SIGQUIT, SIGKILL};
    pid_t pid = postmaster_find(server);

    server->pid = 0;
    if (pid == 0)
        return;
    kill(pid, signal_number);
    for (size_t i = 0; i < sizeof(HARDER) / sizeof(HARDER[0]); i++) {
        if (wait_until_gone(pid, server->data, STOP_MS_MAX))
            return;
        if (is_server_of(pid, server->data))
            kill(pid, HARDER[i]);
    }
    wait_until_gone(pid, server->data, STOP_MS_MAX);
}

bool postmaster_wait_ready(const struct postmaster *server, struct error *error)
{
    int64_t end_ms = clock_ms() + READY_MS_MAX;

    for (;;) {
        PGconn *connection = PQconnectdb(server->conninfo);
        bool ready = PQstatus(connection) == CONNECTION_OK;

        PQfinish(connection);
        if (ready)
            return true;
        if (postmaster_find(server) == 0)
            error_set(error, ERROR_SYSTEM, "the sandbox's server did not start");
        else if (clock_ms() >= end_ms)
            error_set(error, ERROR_SYSTEM, "the sandbox's server was not ready after %d s",
                      READY_MS_MAX / 1000);
        else {
            clock_sleep_ms(20);
            continue;
        }
        add_log(error, server->log);
        return false;
    }
}
