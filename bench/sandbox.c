#include "bench/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libpq-fe.h>
#include <limits.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/postmaster.h"
#include "bench/spawn.h"
#include "engine/base/clock.h"
#include "engine/base/memory.h"

enum {
    PORT = 5432, /* only names a socket inside the folder */
    STANDBY_PORT = 5433,
    PATH_BYTES = 512,
    DIR_BYTES_MAX = 80, /* a socket's whole path has at most 107 bytes */
    INITDB_MS_MAX = 120 * 1000,
    SERVERS = 2,
};

static const char MARKER[] = "pghaul-sandbox";
static const char MARKER_FIRST_LINE[] = "pghaul sandbox 1";

/* The settings of every sandbox; options->settings come after them and win. */
static const char *const SETTINGS[] = {
    "listen_addresses = ''",
    "logging_collector = off",
    "log_line_prefix = '%m [%p] %q%a '",
    "timezone = 'UTC'",
    "log_timezone = 'UTC'",
    "log_checkpoints = off",
    "autovacuum = on",
    "wal_level = replica",
    "max_wal_senders = 4",
    "wal_retrieve_retry_interval = '200ms'", /* the standby is back soon after a crash */
    NULL,
};

struct sandbox {
    char dir[PATH_BYTES];
    char data[PATH_BYTES];
    char standby_data[PATH_BYTES];
    char log[PATH_BYTES];
    char standby_log[PATH_BYTES];
    char bindir[PATH_BYTES];
    char conninfo[PATH_BYTES];
    char standby_conninfo[PATH_BYTES];
    struct postmaster servers[SERVERS]; /* the second one is the standby */
    int server_count;
    bool temporary;  /* the folder is ours to remove */
    bool made_dir;   /* by this call of sandbox_start() */
    bool marked;     /* the marker is written */
    int watchdog_fd; /* writing end; -1 when there is no watchdog */
    struct spawn_user user;
};

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

static bool is_executable(const char *dir, const char *name)
{
    char path[PATH_BYTES * 2];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return access(path, X_OK) == 0;
}

/* ------------------------------------------------------------------------------------ programs */

static bool has_server_programs(const char *bindir)
{
    return is_executable(bindir, "initdb") && is_executable(bindir, "postgres");
}

static bool bindir_from_pg_config(char *bindir)
{
    static const char *const COMMAND[] = {"pg_config", "--bindir", NULL};
    TEXT_AUTO output = {0};
    struct error ignored;

    if (!spawn_run(&(struct spawn){.argv = COMMAND, .output_fd = -1}, 5000, &output, &ignored))
        return false;
    snprintf(bindir, PATH_BYTES, "%s", text_string(&output));
    bindir[strcspn(bindir, "\n")] = '\0';
    return has_server_programs(bindir);
}

/* Debian's places: /usr/lib/postgresql/VERSION/bin. */
static bool bindir_newest(char *bindir)
{
    static const char PLACES[] = "/usr/lib/postgresql";
    DIR *stream = opendir(PLACES);
    struct dirent *entry;
    long newest = 0;

    while (stream != NULL && (entry = readdir(stream)) != NULL) {
        char candidate[PATH_BYTES];
        long version = strtol(entry->d_name, NULL, 10);

        snprintf(candidate, sizeof(candidate), "%s/%ld/bin", PLACES, version);
        if (version > newest && has_server_programs(candidate)) {
            newest = version;
            snprintf(bindir, PATH_BYTES, "%s", candidate);
        }
    }
    if (stream != NULL)
        closedir(stream);
    return newest > 0;
}

static bool find_bindir(char *bindir, const char *wanted, struct error *error)
{
    const char *given = wanted != NULL ? wanted : getenv("PGHAUL_PG_BINDIR");

    if (given != NULL && given[0] != '\0') {
        snprintf(bindir, PATH_BYTES, "%s", given);
        return has_server_programs(bindir) ||
               error_set(error, ERROR_REFUSED, "there is no PostgreSQL server in \"%s\"", bindir);
    }
    if (bindir_from_pg_config(bindir) || bindir_newest(bindir))
        return true;
    error_set(error, ERROR_REFUSED, "there is no PostgreSQL server on this machine");
    return error_hint(
        error, "install one (Debian: postgresql), or set PGHAUL_PG_BINDIR to its bin folder");
}

/*
 * Runs one of PostgreSQL's programs as the server's user, with an environment that says nothing
 * about other servers. Ends with the program's first NULL argument.
 */
static const char *const *clean_environment(const struct sandbox *sandbox, struct arena *arena)
{
    static const char *const KEPT[] = {"PATH", "LD_LIBRARY_PATH"};
    const char **list = arena_alloc(arena, 8 * sizeof(*list));
    int count = 0;

    for (size_t i = 0; i < sizeof(KEPT) / sizeof(KEPT[0]); i++)
        if (getenv(KEPT[i]) != NULL)
            list[count++] = arena_format(arena, "%s=%s", KEPT[i], getenv(KEPT[i]));
    list[count++] = arena_format(arena, "HOME=%s", sandbox->dir);
    list[count++] = "LC_ALL=C";
    return list;
}

static bool run_program(const struct sandbox *sandbox, const char *name,
                        const char *const *arguments, struct error *error)
{
    struct arena arena = {0};
    const char *argv[16] = {arena_format(&arena, "%s/%s", sandbox->bindir, name)};
    struct spawn spawn = {.argv = argv,
                          .environment = clean_environment(sandbox, &arena),
                          .directory = "/",
                          .user = &sandbox->user,
                          .output_fd = -1};
    bool ok;

    for (int i = 0; arguments[i] != NULL && i < 14; i++)
        argv[i + 1] = arguments[i];
    ok = spawn_run(&spawn, INITDB_MS_MAX, NULL, error);
    arena_deinit(&arena);
    return ok;
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
        remove_tree(sandbox->dir);
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
                          .environment = clean_environment(sandbox, &arena),
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

/* -------------------------------------------------------------------------------- new clusters */

static bool append_settings(const struct sandbox *sandbox, const struct sandbox_options *options,
                            struct error *error)
{
    char path[PATH_BYTES * 2];
    FILE *file;

    snprintf(path, sizeof(path), "%s/postgresql.conf", sandbox->data);
    file = fopen(path, "ae");
    if (file == NULL)
        return error_set(error, ERROR_SYSTEM, "could not open \"%s\": %s", path, strerror(errno));
    fputs("\n# pghaul sandbox\n", file);
    for (int i = 0; SETTINGS[i] != NULL; i++)
        fprintf(file, "%s\n", SETTINGS[i]);
    fprintf(file, "unix_socket_directories = '%s'\n", sandbox->dir);
    fprintf(file, "fsync = %s\n", options->durable ? "on" : "off");
    for (int i = 0; options->settings != NULL && options->settings[i] != NULL; i++)
        fprintf(file, "%s\n", options->settings[i]);
    if (fclose(file) != 0)
        return error_set(error, ERROR_SYSTEM, "could not write \"%s\": %s", path, strerror(errno));
    return true;
}

static bool make_cluster(const struct sandbox *sandbox, const struct sandbox_options *options,
                         struct error *error)
{
    /* C.UTF-8 sorts as fast as C and knows letters; old systems do not have it. */
    locale_t utf8 = newlocale(LC_ALL_MASK, "C.UTF-8", (locale_t)0);
    const char *const arguments[] = {"-D",
                                     sandbox->data,
                                     "-U",
                                     "postgres",
                                     "-A",
                                     "trust",
                                     "-E",
                                     "UTF8",
                                     utf8 == (locale_t)0 ? "--locale=C" : "--locale=C.UTF-8",
                                     "--no-sync",
                                     "--no-instructions",
                                     NULL};

    if (utf8 != (locale_t)0)
        freelocale(utf8);
    if (!run_program(sandbox, "initdb", arguments, error))
        return error_context(error, "could not make a sandbox in \"%s\"", sandbox->dir);
    return append_settings(sandbox, options, error);
}

/* A copy of the running primary that follows it, with a slot so that it never falls behind. */
static bool make_standby(const struct sandbox *sandbox, struct error *error)
{
    const char *const arguments[] = {"-D",        sandbox->standby_data,
                                     "-d",        sandbox->conninfo,
                                     "-R",        "-X",
                                     "stream",    "--checkpoint=fast",
                                     "--no-sync", "--create-slot",
                                     "--slot",    "sandbox_standby",
                                     NULL};

    return run_program(sandbox, "pg_basebackup", arguments, error) ||
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
    if (!find_bindir(sandbox->bindir, options->bindir, error) ||
        !make_cluster(sandbox, options, error) || !start_servers(sandbox, error))
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

    *started = NULL;
    sandbox->watchdog_fd = -1;
    sandbox->server_count = SERVERS; /* for the watchdog: as many as there may be */
    if (!spawn_unprivileged(&sandbox->user, error) ||
        !take_dir(sandbox, options->dir, &existing, error)) {
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
        remove_tree(sandbox->dir);
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
