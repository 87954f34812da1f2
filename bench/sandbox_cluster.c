#include <dirent.h>
#include <errno.h>
#include <libpq-fe.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/sandbox_parts.h"

enum { PATH_BYTES = SANDBOX_PATH_BYTES, INITDB_MS_MAX = 120 * 1000 };

#define STANDBY_SLOT "sandbox_standby"

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

/* ------------------------------------------------------------------------------------ programs */

static bool is_executable(const char *dir, const char *name)
{
    char path[PATH_BYTES * 2];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return access(path, X_OK) == 0;
}

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

bool cluster_find_programs(struct sandbox *sandbox, const char *wanted, struct error *error)
{
    char *bindir = sandbox->bindir;
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

const char *const *cluster_environment(const struct sandbox *sandbox, struct arena *arena)
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

/*
 * Runs one of PostgreSQL's programs as the server's user, with an environment that says nothing
 * about other servers. Ends with the program's first NULL argument.
 */
static bool run_program(const struct sandbox *sandbox, const char *name,
                        const char *const *arguments, struct error *error)
{
    struct arena arena = {0};
    const char *argv[16] = {arena_format(&arena, "%s/%s", sandbox->bindir, name)};
    struct spawn spawn = {.argv = argv,
                          .environment = cluster_environment(sandbox, &arena),
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

bool cluster_make(const struct sandbox *sandbox, const struct sandbox_options *options,
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

static bool copy_data(const struct sandbox *sandbox, struct error *error)
{
    struct arena arena = {0};
    /* Its contents: the other folder may be there. */
    const char *const argv[] = {"cp", "-a", arena_format(&arena, "%s/.", sandbox->data),
                                sandbox->standby_data, NULL};
    bool ok = spawn_run(
        &(struct spawn){.argv = argv, .directory = "/", .user = &sandbox->user, .output_fd = -1},
        INITDB_MS_MAX, NULL, error);

    arena_deinit(&arena);
    return ok;
}

/* Appends to a file of the standby's folder; one that is new becomes the server's. */
static bool append_file(const struct sandbox *sandbox, const char *name, const char *text,
                        struct error *error)
{
    char path[PATH_BYTES * 2];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", sandbox->standby_data, name);
    file = fopen(path, "ae");
    if (file != NULL)
        fputs(text, file);
    if (file == NULL || fclose(file) != 0)
        return error_set(error, ERROR_SYSTEM, "could not write \"%s\": %s", path, strerror(errno));
    if (sandbox->user.drop && chown(path, sandbox->user.uid, sandbox->user.gid) != 0)
        return error_set(error, ERROR_SYSTEM, "could not give \"%s\" to the server's user: %s",
                         path, strerror(errno));
    return true;
}

/* No quotes are in the conninfo: sandbox.c, check_dir(). */
bool cluster_make_standby(const struct sandbox *sandbox, struct error *error)
{
    char settings[PATH_BYTES * 2];

    snprintf(settings, sizeof(settings), "primary_conninfo = '%s'\nprimary_slot_name = '%s'\n",
             sandbox->conninfo, STANDBY_SLOT);
    return copy_data(sandbox, error) && append_file(sandbox, "postgresql.conf", settings, error) &&
           append_file(sandbox, "standby.signal", "", error);
}

bool cluster_make_slot(const struct sandbox *sandbox, struct error *error)
{
    PGconn *connection = PQconnectdb(sandbox->conninfo);
    PGresult *result =
        PQexec(connection, "SELECT pg_create_physical_replication_slot('" STANDBY_SLOT "', true)");
    bool ok = PQresultStatus(result) == PGRES_TUPLES_OK;

    if (!ok)
        error_set(error, ERROR_SYSTEM, "could not make a slot: %s", PQerrorMessage(connection));
    PQclear(result);
    PQfinish(connection);
    return ok;
}
