/* sandbox: a private, throw-away server to try things on (bench/sandbox.h). */
#include <string.h>

#include "bench/sandbox.h"
#include "cli/commands.h"
#include "cli/output.h"

static json_t *sandbox_json(const struct sandbox *sandbox)
{
    struct sandbox_status status;
    json_t *object = json_object();

    sandbox_status(sandbox, &status);
    json_object_set_new(object, "dir", json_string(sandbox_dir(sandbox)));
    json_object_set_new(object, "running", json_boolean(status.running));
    json_object_set_new(object, "pid", status.pid != 0 ? json_integer(status.pid) : json_null());
    json_object_set_new(object, "version",
                        status.version != 0 ? json_integer(status.version) : json_null());
    json_object_set_new(object, "conninfo", json_string(status.conninfo));
    json_object_set_new(object, "standby_conninfo", output_string(status.standby_conninfo));
    json_object_set_new(object, "standby_running", json_boolean(status.standby_running));
    return object;
}

static void print_sandbox(struct cli *cli, const struct sandbox *sandbox)
{
    struct sandbox_status status;

    if (cli->options.json) {
        output_event(cli, NULL, "sandbox", sandbox_json(sandbox));
        return;
    }
    sandbox_status(sandbox, &status);
    if (status.running)
        output_line(cli, "running   PostgreSQL %d.%d, process %d", status.version / 10000,
                    status.version % 10000, status.pid);
    else
        output_line(cli, "not running");
    output_line(cli, "folder    %s", sandbox_dir(sandbox));
    output_line(cli, "connect   psql '%s'", status.conninfo);
    if (status.standby_conninfo != NULL)
        output_line(cli, "standby   psql '%s'%s", status.standby_conninfo,
                    status.standby_running ? "" : " (not running)");
    if (status.running)
        output_line(cli, "end       pghaul sandbox stop %s", sandbox_dir(sandbox));
}

static bool start(struct cli *cli, const char *dir, struct error *error)
{
    const struct sandbox_options options = {
        .dir = dir, .standby = cli->options.standby, .keep = true};
    struct sandbox *sandbox;

    if (!sandbox_start(&sandbox, &options, error))
        return false;
    print_sandbox(cli, sandbox);
    sandbox_detach(sandbox);
    return true;
}

static bool stop(struct cli *cli, const char *dir, struct error *error)
{
    struct sandbox *sandbox;

    if (!sandbox_attach(&sandbox, dir, error))
        return false;
    sandbox_stop(sandbox);
    if (cli->options.json)
        output_event(cli, NULL, "stopped", json_pack("{s:s}", "dir", dir));
    else
        output_line(cli, "stopped %s", dir);
    return true;
}

static bool status(struct cli *cli, const char *dir, struct error *error)
{
    struct sandbox *sandbox;

    if (!sandbox_attach(&sandbox, dir, error))
        return false;
    print_sandbox(cli, sandbox);
    sandbox_detach(sandbox);
    return true;
}

bool command_sandbox(struct cli *cli, struct error *error)
{
    const char *verb = options_argument(&cli->options, 0);
    const char *dir = options_argument(&cli->options, 1);

    if (strcmp(verb, "start") == 0)
        return start(cli, dir, error);
    if (dir == NULL) {
        error_set(error, ERROR_USAGE, "pghaul sandbox %s needs the sandbox's DIR", verb);
        return error_hint(error, "pghaul sandbox start printed it");
    }
    return strcmp(verb, "stop") == 0 ? stop(cli, dir, error) : status(cli, dir, error);
}
