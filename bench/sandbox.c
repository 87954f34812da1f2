#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libpq-fe.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/sandbox_parts.h"
#include "engine/base/clock.h"

enum {
    PORT = 5432, /* only names a socket inside the folder */
    STANDBY_PORT = 5433,
    PATH_BYTES = SANDBOX_PATH_BYTES,
    DIR_BYTES_MAX = 80, /* a socket's whole path has at most 107 bytes */
    SERVERS = SANDBOX_SERVERS,
};

static const char MARKER[] = "pghaul-sandbox";
static const char MARKER_FIRST_LINE[] = "pghaul sandbox 1";

/* --------------------------------------------------------------------------------------- files */

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    (void)remove(path); /* what a dying server still creates is met in the next round */
    return 0;
}

/* A server that is going down may still write: tries for a while. */
static void remove_tree(const char *dir)
{
    for (int round = 0; round < 50; round++) {
        if (nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0 || access(dir, F_OK) != 0)
            return;
        clock_sleep_ms(100);
    }
}

static void remove_folders(const struct sandbox *sandbox)
{
    remove_tree(sandbox->standby_data); /* which may be elsewhere */
    remove_tree(sandbox->dir);
}

static bool folder_is_empty(const char *dir)
{
    DIR *stream = opendir(dir);
    bool empty = true;
    struct dirent *entry;

    if (stream == NULL)
        return false;
    while (empty && (entry = readdir(stream)) != NULL)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(stream);
    return empty;
}

static void stop_servers(struct sandbox *sandbox, int signal_number)
{
    for (int i = sandbox->server_count - 1; i >= 0; i--)
        postmaster_stop(&sandbox->servers[i], signal_number);
}

/* ------------------------------------------------------------------------------------ watchdog */

/*
 * The watchdog reads process ids of started servers, and then
 *     0             everything is in order, go home
 *     end of file   the owner is gone: stop its servers, remove the folder if it is temporary
 * It is nobody's child, so that a test runner that kills its tree does not kill it, too.
 */
_Noreturn static void watchdog_main(struct sandbox *sandbox, int fd)
{
    int started = 0;
    pid_t pid;
    ssize_t count;

    prctl(PR_SET_NAME, "pghaul-watchdog");
    for (;;) {
        count = read(fd, &pid, sizeof(pid));
        if (count < 0 && errno == EINTR)
            continue;
        if (count != (ssize_t)sizeof(pid))
            break;
        if (pid == 0)
            _exit(0);
        sandbox->servers[started++ % SERVERS].pid = pid;
    }
    stop_servers(sandbox, SIGQUIT);
    if (sandbox->temporary)
        remove_folders(sandbox);
    _exit(0);
}

static bool watchdog_start(struct sandbox *sandbox, struct error *error)
{
    static const int IGNORED[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
    int pair[2];
    int status;
    pid_t child;

    if (pipe2(pair, O_CLOEXEC) != 0)
        return error_set(error, ERROR_SYSTEM, "could not make a pipe: %s", strerror(errno));
    child = fork();
    if (child == 0) {
        int null_fd;

        setsid();
        if (fork() != 0)
            _exit(0);
        for (size_t i = 0; i < sizeof(IGNORED) / sizeof(IGNORED[0]); i++)
            signal(IGNORED[i], SIG_IGN);
        /* Holding on to the owner's stdout would make whoever reads it wait for us. */
        null_fd = open("/dev/null", O_RDWR);
        for (int fd = 0; fd < 3; fd++)
            dup2(null_fd, fd);
        dup2(pair[0], 3);
        spawn_close_from(4);
        watchdog_main(sandbox, 3);
    }
    close(pair[0]);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (child < 0) {
        close(pair[1]);
        return error_set(error, ERROR_SYSTEM, "could not start a watchdog: %s", strerror(errno));
    }
    sandbox->watchdog_fd = pair[1];
    return true;
}

static void watchdog_tell(const struct sandbox *sandbox, pid_t pid)
{
    if (sandbox->watchdog_fd >= 0)
        (void)!write(sandbox->watchdog_fd, &pid, sizeof(pid));
}

static void watchdog_dismiss(struct sandbox *sandbox)
{
    if (sandbox->watchdog_fd < 0)
        return;
    watchdog_tell(sandbox, 0);
    close(sandbox->watchdog_fd);
    sandbox->watchdog_fd = -1;
}

/* ------------------------------------------------------------------------------------- servers */

static bool start_server(struct sandbox *sandbox, struct postmaster *server, struct error *error)
{
    struct arena arena = {0};
    const char *argv[] = {
        arena_format(&arena, "%s/postgres", sandbox->bindir), "-D", server->data, "-c",
        arena_format(&arena, "port=%d", server->port),        NULL};
    struct spawn spawn = {.argv = argv,
                          .environment = cluster_environment(sandbox, &arena),
                          .directory = server->data,
                          .user = &sandbox->user};
    bool ok;

    spawn.output_fd = open(server->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (spawn.output_fd < 0) {
        ok = error_set(error, ERROR_SYSTEM, "could not open \"%s\": %s", server->log,
                       strerror(errno));
    } else {
        ok = spawn_detached(&spawn, &server->pid, error);
        close(spawn.output_fd);
    }
    arena_deinit(&arena);
    if (!ok)
        return false;
    watchdog_tell(sandbox, server->pid);
    return postmaster_wait_ready(server, error);
}

static bool start_servers(struct sandbox *sandbox, struct error *error)
{
    for (int i = 0; i < sandbox->server_count; i++)
        if (postmaster_find(&sandbox->servers[i]) == 0 &&
            !start_server(sandbox, &sandbox->servers[i], error))
            return false;
    return true;
}

/*
 * The files of a new and empty primary that was stopped cleanly are a backup. So pg_basebackup is
 * not needed, which refuses servers newer than itself. The primary has run before: its control file
 * then has its own settings, not those of initdb, which may ask for more than a standby has. The
 * slot keeps what the standby needs, so that it never falls behind for good.
 */
static bool make_standby(struct sandbox *sandbox, struct error *error)
{
    postmaster_stop(&sandbox->servers[0], SIGINT);
    return (cluster_make_standby(sandbox, error) && start_servers(sandbox, error) &&
            cluster_make_slot(sandbox, error)) ||
           error_context(error, "could not make the sandbox's standby");
}

/* -------------------------------------------------------------------------------------- folder */

/* Paths go into a configuration file, a conninfo string and a socket's address. */
static bool check_dir(const char *dir, struct error *error)
{
    if (strlen(dir) > DIR_BYTES_MAX) {
        error_set(error, ERROR_REFUSED, "\"%s\" is too long for a unix socket's folder", dir);
        return error_hint(error, "give a path of at most %d bytes", DIR_BYTES_MAX);
    }
    if (dir[strcspn(dir, " \t\n'\"\\,")] != '\0')
        return error_set(error, ERROR_REFUSED,
                         "\"%s\" has a character that a sandbox's folder cannot have", dir);
    return true;
}

static void set_paths(struct sandbox *sandbox)
{
    const char *dir = sandbox->dir;

    snprintf(sandbox->data, PATH_BYTES, "%.*s/data", PATH_BYTES - 16, dir);
    snprintf(sandbox->standby_data, PATH_BYTES, "%.*s/standby", PATH_BYTES - 16, dir);
    snprintf(sandbox->log, PATH_BYTES, "%.*s/log", PATH_BYTES - 16, dir);
    snprintf(sandbox->standby_log, PATH_BYTES, "%.*s/standby.log", PATH_BYTES - 16, dir);
    snprintf(sandbox->conninfo, PATH_BYTES, "host=%.*s port=%d user=postgres dbname=postgres",
             DIR_BYTES_MAX, dir, PORT);
    snprintf(sandbox->standby_conninfo, PATH_BYTES,
             "host=%.*s port=%d user=postgres dbname=postgres", DIR_BYTES_MAX, dir, STANDBY_PORT);
    sandbox->servers[0] = (struct postmaster){
        .data = sandbox->data, .log = sandbox->log, .conninfo = sandbox->conninfo, .port = PORT};
    sandbox->servers[1] = (struct postmaster){.data = sandbox->standby_data,
                                              .log = sandbox->standby_log,
                                              .conninfo = sandbox->standby_conninfo,
                                              .port = STANDBY_PORT};
}

/* Makes or takes the folder. *existing: it holds a sandbox already. */
static bool take_dir(struct sandbox *sandbox, const char *wanted, bool *existing,
                     struct error *error)
{
    const char *base = getenv("TMPDIR");
    char path[PATH_MAX];
    char marker[PATH_BYTES * 2];
    char *real;

    *existing = false;
    if (wanted == NULL) {
        /* A long TMPDIR would not fit into a socket's address. */
        if (base == NULL || base[0] != '/' || strlen(base) > DIR_BYTES_MAX / 2)
            base = "/tmp";
        snprintf(path, sizeof(path), "%s/pghaul-XXXXXX", base);
        if (mkdtemp(path) == NULL)
            return error_set(error, ERROR_SYSTEM, "could not make a folder in \"%s\": %s", base,
                             strerror(errno));
        sandbox->temporary = sandbox->made_dir = true;
        wanted = path;
    } else if (mkdir(wanted, 0700) == 0) {
        sandbox->made_dir = true;
    } else if (errno != EEXIST) {
        return error_set(error, ERROR_REFUSED, "could not make the folder \"%s\": %s", wanted,
                         strerror(errno));
    }
    real = realpath(wanted, NULL);
    if (real == NULL)
        return error_set(error, ERROR_SYSTEM, "could not open \"%s\": %s", wanted, strerror(errno));
    snprintf(sandbox->dir, PATH_BYTES, "%s", real);
    free(real);
    if (!check_dir(sandbox->dir, error))
        return false;
    set_paths(sandbox);
    snprintf(marker, sizeof(marker), "%s/%s", sandbox->dir, MARKER);
    *existing = access(marker, F_OK) == 0;
    if (!*existing && !folder_is_empty(sandbox->dir)) {
        error_set(error, ERROR_REFUSED, "\"%s\" is not empty and not a sandbox", sandbox->dir);
        return error_hint(error, "give a new or an empty folder");
    }
    if (*existing)
        return true;
    if (chmod(sandbox->dir, 0700) != 0 ||
        (sandbox->user.drop && chown(sandbox->dir, sandbox->user.uid, sandbox->user.gid) != 0))
        return error_set(error, ERROR_SYSTEM, "could not give \"%s\" to the server's user: %s",
                         sandbox->dir, strerror(errno));
    return true;
}

/* The folder of the standby's files, where it is not within ours. */
static bool take_standby_dir(struct sandbox *sandbox, const char *base, struct error *error)
{
    char path[PATH_BYTES];

    if (base == NULL)
        return true;
    snprintf(path, sizeof(path), "%s/pghaul-XXXXXX", base);
    if (mkdtemp(path) == NULL)
        return error_set(error, ERROR_SYSTEM, "could not make a folder in \"%s\": %s", base,
                         strerror(errno));
    if (sandbox->user.drop && chown(path, sandbox->user.uid, sandbox->user.gid) != 0) {
        error_set(error, ERROR_SYSTEM, "could not give \"%s\" to the server's user: %s", path,
                  strerror(errno));
        rmdir(path);
        return false;
    }
    snprintf(sandbox->standby_data, PATH_BYTES, "%s", path);
    return true;
}

static bool write_marker(struct sandbox *sandbox, struct error *error)
{
    char path[PATH_BYTES * 2];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", sandbox->dir, MARKER);
    file = fopen(path, "we");
    if (file == NULL ||
        fprintf(file, "%s\nbindir %s\ntemporary %d\nstandby %d\n", MARKER_FIRST_LINE,
                sandbox->bindir, sandbox->temporary, sandbox->server_count == SERVERS) < 0) {
        if (file != NULL)
            fclose(file);
        return error_set(error, ERROR_SYSTEM, "could not write \"%s\": %s", path, strerror(errno));
    }
    fclose(file);
    sandbox->marked = true;
    return true;
}

static bool read_marker(struct sandbox *sandbox, struct error *error)
{
    char path[PATH_BYTES * 2];
    char line[PATH_BYTES + 32];
    FILE *file;
    bool ours;

    snprintf(path, sizeof(path), "%s/%s", sandbox->dir, MARKER);
    file = fopen(path, "re");
    ours = file != NULL && fgets(line, sizeof(line), file) != NULL &&
           strncmp(line, MARKER_FIRST_LINE, sizeof(MARKER_FIRST_LINE) - 1) == 0;
    sandbox->server_count = 1;
    while (ours && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "bindir ", 7) == 0)
            snprintf(sandbox->bindir, PATH_BYTES, "%.*s", PATH_BYTES - 1, line + 7);
        else if (strcmp(line, "temporary 1") == 0)
            sandbox->temporary = true;
        else if (strcmp(line, "standby 1") == 0)
            sandbox->server_count = SERVERS;
    }
    if (file != NULL)
        fclose(file);
    sandbox->marked = ours;
    return ours || error_set(error, ERROR_REFUSED, "\"%s\" is not a sandbox", sandbox->dir);
}

/* ---------------------------------------------------------------------------------- life cycle */

static bool start_new(struct sandbox *sandbox, const struct sandbox_options *options,
                      struct error *error)
{
    sandbox->server_count = 1;
    if (!cluster_find_programs(sandbox, options->bindir, error) ||
        !cluster_make(sandbox, options, error) || !start_servers(sandbox, error))
        return false;
    if (options->standby) {
        if (!make_standby(sandbox, error))
            return false;
        sandbox->server_count = SERVERS;
    }
    /* Last: a folder without the marker is one that was never finished. */
    return start_servers(sandbox, error) && write_marker(sandbox, error);
}

static bool start_existing(struct sandbox *sandbox, struct error *error)
{
    if (!read_marker(sandbox, error))
        return false;
    if (postmaster_find(&sandbox->servers[0]) != 0)
        return error_set(error, ERROR_REFUSED, "the sandbox in \"%s\" is running already",
                         sandbox->dir);
    return start_servers(sandbox, error);
}

bool sandbox_start(struct sandbox **started, const struct sandbox_options *options,
                   struct error *error)
{
    struct sandbox *sandbox = memory_zero(1, sizeof(*sandbox));
    bool existing;

    assert(options->standby_base == NULL || (options->dir == NULL && !options->keep));
    *started = NULL;
    sandbox->watchdog_fd = -1;
    sandbox->server_count = SERVERS; /* for the watchdog: as many as there may be */
    if (!spawn_unprivileged(&sandbox->user, error) ||
        !take_dir(sandbox, options->dir, &existing, error) ||
        !take_standby_dir(sandbox, options->standby_base, error)) {
        if (sandbox->made_dir && sandbox->dir[0] != '\0')
            rmdir(sandbox->dir);
        free(sandbox);
        return false;
    }
    if (!watchdog_start(sandbox, error) ||
        !(existing ? start_existing(sandbox, error) : start_new(sandbox, options, error))) {
        /* What ran before us goes on running: start_existing() started nothing then. */
        for (int i = 0; i < SERVERS; i++)
            if (sandbox->servers[i].pid != 0)
                postmaster_stop(&sandbox->servers[i], SIGQUIT);
        watchdog_dismiss(sandbox);
        if (!existing) {
            remove_tree(sandbox->data);
            remove_tree(sandbox->standby_data);
            (void)remove(sandbox->log);
            (void)remove(sandbox->standby_log);
            if (sandbox->made_dir)
                remove_tree(sandbox->dir);
        }
        free(sandbox);
        return false;
    }
    if (options->keep)
        watchdog_dismiss(sandbox);
    *started = sandbox;
    return true;
}

bool sandbox_attach(struct sandbox **attached, const char *dir, struct error *error)
{
    struct sandbox *sandbox = memory_zero(1, sizeof(*sandbox));
    char *real = realpath(dir, NULL);

    *attached = NULL;
    sandbox->watchdog_fd = -1;
    snprintf(sandbox->dir, PATH_BYTES, "%s", real == NULL ? dir : real);
    free(real);
    set_paths(sandbox);
    if (!spawn_unprivileged(&sandbox->user, error) || !read_marker(sandbox, error)) {
        free(sandbox);
        return false;
    }
    *attached = sandbox;
    return true;
}

void sandbox_stop(struct sandbox *sandbox)
{
    if (sandbox == NULL)
        return;
    stop_servers(sandbox, SIGQUIT);
    if (sandbox->temporary && sandbox->marked)
        remove_folders(sandbox);
    watchdog_dismiss(sandbox);
    free(sandbox);
}

void sandbox_detach(struct sandbox *sandbox)
{
    if (sandbox == NULL)
        return;
    if (sandbox->watchdog_fd >= 0)
        close(sandbox->watchdog_fd);
    free(sandbox);
}

void sandbox_crash(struct sandbox *sandbox)
{
    postmaster_stop(&sandbox->servers[0], SIGQUIT);
}

bool sandbox_restart(struct sandbox *sandbox, struct error *error)
{
    postmaster_stop(&sandbox->servers[0], SIGINT);
    return start_servers(sandbox, error);
}

void sandbox_standby_crash(struct sandbox *sandbox)
{
    if (sandbox->server_count == SERVERS)
        postmaster_stop(&sandbox->servers[1], SIGQUIT);
}

bool sandbox_standby_start(struct sandbox *sandbox, struct error *error)
{
    return start_servers(sandbox, error);
}

/* ----------------------------------------------------------------------------------- accessors */

const char *sandbox_conninfo(const struct sandbox *sandbox)
{
    return sandbox->conninfo;
}

const char *sandbox_standby_conninfo(const struct sandbox *sandbox)
{
    return sandbox->server_count == SERVERS ? sandbox->standby_conninfo : NULL;
}

const char *sandbox_dir(const struct sandbox *sandbox)
{
    return sandbox->dir;
}

const char *sandbox_data_dir(const struct sandbox *sandbox)
{
    return sandbox->data;
}

const char *sandbox_bindir(const struct sandbox *sandbox)
{
    return sandbox->bindir;
}

int sandbox_postmaster_pid(const struct sandbox *sandbox)
{
    return (int)postmaster_find(&sandbox->servers[0]);
}

int sandbox_standby_pid(const struct sandbox *sandbox)
{
    return sandbox->server_count == SERVERS ? (int)postmaster_find(&sandbox->servers[1]) : 0;
}

void sandbox_status(const struct sandbox *sandbox, struct sandbox_status *status)
{
    PGconn *connection;

    *status = (struct sandbox_status){
        .pid = sandbox_postmaster_pid(sandbox),
        .temporary = sandbox->temporary,
        .standby = sandbox->server_count == SERVERS,
        .conninfo = sandbox->conninfo,
        .standby_conninfo = sandbox_standby_conninfo(sandbox),
    };
    if (status->pid == 0)
        return;
    connection = PQconnectdb(sandbox->conninfo);
    status->running = PQstatus(connection) == CONNECTION_OK;
    status->version = status->running ? PQserverVersion(connection) : 0;
    PQfinish(connection);
    status->standby_running = status->standby && postmaster_find(&sandbox->servers[1]) != 0;
}
