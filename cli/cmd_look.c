/* doctor and guard: looking before anything is done. */
#include "cli/commands.h"
#include "cli/doctor_show.h"
#include "cli/output.h"
#include "copy/inspect.h"
#include "engine/job/view.h"

#include <string.h>

enum { CODE_COLUMNS = 18 };

/* ---------------------------------------------------------------------------------------- doctor
 */

static void finding_text(const struct finding *finding, struct text *out)
{
    text_appendf(out, "  %-*s  %s\n", CODE_COLUMNS, finding->code, finding->what);
    if (finding->why != NULL && finding->why[0] != '\0')
        text_appendf(out, "  %-*s  why: %s\n", CODE_COLUMNS, "", finding->why);
    if (finding->todo != NULL && finding->todo[0] != '\0')
        text_appendf(out, "  %-*s  do:  %s\n", CODE_COLUMNS, "", finding->todo);
}

static void print_level(struct cli *cli, const struct findings *findings, enum finding_level level,
                        const char *heading)
{
    TEXT_AUTO text = {0};

    if (findings_count(findings, level) == 0)
        return;
    text_appendf(&text, "%s:\n", heading);
    for (int i = 0; i < findings->count; i++)
        if (findings->list[i].level == level)
            finding_text(&findings->list[i], &text);
    output_text(cli, &text);
}

static json_t *finding_json(const struct finding *finding)
{
    json_t *object = json_object();

    json_object_set_new(object, "level", json_string(finding_level_name(finding->level)));
    json_object_set_new(object, "code", json_string(finding->code));
    json_object_set_new(object, "object", output_string(finding->object));
    json_object_set_new(object, "what", json_string(finding->what));
    json_object_set_new(object, "why", output_string(finding->why));
    json_object_set_new(object, "todo", output_string(finding->todo));
    return object;
}

static void print_findings(struct cli *cli, const struct findings *findings)
{
    if (cli->options.json) {
        for (int i = 0; i < findings->count; i++)
            output_event(cli, NULL, "finding", finding_json(&findings->list[i]));
        return;
    }
    print_level(cli, findings, FINDING_REFUSED, "refused");
    print_level(cli, findings, FINDING_WARNING, "warnings");
    print_level(cli, findings, FINDING_NOTE, "notes");
}

/* What was looked at: `table` stays 0 without one. */
static bool look_for_findings(struct cli *cli, struct findings *findings, uint32_t *table_oid,
                              struct error *error)
{
    struct session *session = cli->run.session;
    const char *typed = options_argument(&cli->options, 0);
    struct arena arena = {0};
    struct table *table;
    bool ok = inspect_server(session, findings, error);

    if (ok && typed != NULL)
        ok = table_find(session, typed, session_user_search_path(session), table_oid, error) &&
             table_describe(session, *table_oid, &arena, &table, error) &&
             inspect_table(session, table, findings, error);
    arena_deinit(&arena);
    return ok;
}

/* On a standby there is nothing to govern, and a refusal says so. */
static bool is_standby(const struct findings *findings)
{
    for (int i = 0; i < findings->count; i++)
        if (strcmp(findings->list[i].code, "standby") == 0)
            return true;
    return false;
}

static void conclude(struct cli *cli, bool refused)
{
    const char *table = options_argument(&cli->options, 0);

    if (refused)
        cli->exit_status = error_exit_status(ERROR_REFUSED);
    else if (!cli->options.json)
        output_line(cli, "nothing stands in the way of a job%s%s", table != NULL ? " on " : "",
                    table != NULL ? table : "");
}

/* A job on that table, with these settings. */
static bool examine(struct cli *cli, const struct settings *settings, struct findings *findings,
                    struct error *error)
{
    struct doctor_look look = {0};
    uint32_t oid = 0;
    bool refused;

    if (!look_for_findings(cli, findings, &oid, error))
        return false;
    refused = findings_count(findings, FINDING_REFUSED) > 0;
    if (!is_standby(findings) && !probe_doctor(&cli->run.connect, settings, &oid, oid != 0 ? 1 : 0,
                                               &cli->stop, &look, error))
        return false;
    print_findings(cli, findings);
    if (!is_standby(findings))
        doctor_show(cli, &look);
    conclude(cli, refused || look.refused);
    return true;
}

bool command_doctor(struct cli *cli, struct error *error)
{
    struct findings findings = {0};
    struct settings settings;
    bool ok = cli_settings(cli, &settings, error) && cli_connect(cli, error) &&
              examine(cli, &settings, &findings, error);

    findings_deinit(&findings);
    return ok;
}

/* ----------------------------------------------------------------------------------------- guard
 */

static bool guard_table(struct cli *cli, const char *typed, struct error *error)
{
    struct session *session = cli->run.session;
    struct arena arena = {0};
    const char *name = NULL, *state = NULL;
    uint32_t oid;
    bool ok = table_find(session, typed, session_user_search_path(session), &oid, error) &&
              job_on_table(session, oid, &arena, &name, &state, error);

    if (ok && name != NULL) {
        cli->exit_status = error_exit_status(ERROR_WAITING);
        if (cli->options.json)
            output_event(cli, name, "open",
                         json_pack("{s:s, s:s}", "table", typed, "state", state));
        else
            output_line(cli, "%s: job %s is open (%s); pghaul status %s", typed, name, state,
                        SHELL_WORD(name));
    }
    arena_deinit(&arena);
    return ok;
}

bool command_guard(struct cli *cli, struct error *error)
{
    const struct option_list *tables = &cli->options.arguments;

    if (!cli_connect(cli, error))
        return false;
    for (int i = 0; i < tables->count; i++)
        if (!guard_table(cli, tables->values[i], error))
            return false;
    return true;
}
