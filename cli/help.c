#include "cli/help.h"

#include <stdio.h>
#include <string.h>

#include "engine/job/settings.h"

enum { NAME_COLUMNS = 12, OPTION_COLUMNS = 34, SETTING_COLUMNS = 27 };

static const char *const GROUPS[] = {"Jobs", "Control of a job", "Looking", "Trying out"};
enum { GROUP_COUNT = sizeof(GROUPS) / sizeof(GROUPS[0]) };

/* docs/exit-status.md says more. */
static const struct {
    int status;
    const char *meaning;
} EXITS[] = {
    {0, "done, or stopped where asked"},
    {1, "failed"},
    {2, "the command line is wrong"},
    {3, "refused; nothing was changed"},
    {4, "verification found a difference, or the catalogue is not what it was"},
    {5, "interrupted; pghaul resume JOB goes on"},
    {6, "a lock or an old snapshot could not be outwaited; the job is intact"},
    {7, "waits for a person or a closed signal; guard: a job is open on the table"},
    {8, "failed, and what was done is undone"},
    {9, "needs a person: undoing failed, or going on would lose data"},
};
enum { EXIT_COUNT = sizeof(EXITS) / sizeof(EXITS[0]) };

static void option_synopsis(const struct option *option, struct text *out)
{
    if (option->letter != '\0')
        text_appendf(out, "-%c, ", option->letter);
    text_appendf(out, "--%s", option->name);
    if (option->choices != NULL)
        text_appendf(out, " %s", option->choices);
    else if (option->value != NULL)
        text_appendf(out, " %s", option->value);
}

/* A column of names, a column of explanations; a name that is too long gets a line of its own. */
static void line(struct text *out, int columns, const char *name, const char *help)
{
    if ((int)strlen(name) > columns)
        text_appendf(out, "  %s\n  %-*s  %s", name, columns, "", help);
    else
        text_appendf(out, "  %-*s  %s", columns, name, help);
}

static void option_lines(uint64_t options, bool global, struct text *out)
{
    for (int id = 0; id < OPT_COUNT; id++) {
        const struct option *option = &option_table[id];
        TEXT_AUTO synopsis = {0};

        if (option->hidden || option->global != global || (!global && (options & OPT_BIT(id)) == 0))
            continue;
        option_synopsis(option, &synopsis);
        line(out, OPTION_COLUMNS, text_string(&synopsis), option->help);
        if (option->default_value != NULL)
            text_appendf(out, " (%s)", option->default_value);
        text_append(out, "\n");
    }
}

static void setting_synopsis(const struct setting *setting, struct text *out)
{
    static const char *const VALUES[] = {[SETTING_COUNT] = "a number",
                                         [SETTING_TIME] = "a time",
                                         [SETTING_SIZE] = "a size",
                                         [SETTING_RATE] = "a size a second",
                                         [SETTING_PERCENT] = "a percentage",
                                         [SETTING_TIMES] = "times the usual",
                                         [SETTING_POLICY] = "auto|fixed=DELAY|off",
                                         [SETTING_NAMES] = "a list",
                                         [SETTING_QUERY] = "'VALUE SELECT ..'|off",
                                         [SETTING_REPLICAS] = "a conninfo",
                                         [SETTING_WINDOW] = "days, times, a time zone|off"};

    text_append(out, setting->type == SETTING_CHOICE ? setting->choices : VALUES[setting->type]);
    if (setting->limit)
        text_append(out, setting->on == NULL ? "|off" : "|on|off");
}

/* "64MB", "off; on: 2s", "on: 1": what it is, and what "on" stands for. */
static void setting_default(const struct setting *setting, struct text *out)
{
    bool plain = setting->on == NULL || strcmp(setting->on, setting->default_value) == 0 ||
                 strcmp(setting->on, SETTING_ON_RELATIVE) == 0;

    if (plain)
        text_append(out, setting->default_value);
    else if (strcmp(setting->default_value, "on") == 0)
        text_appendf(out, "on: %s", setting->on);
    else
        text_appendf(out, "%s; on: %s", setting->default_value, setting->on);
}

static void setting_lines(struct text *out)
{
    text_append(out, "\nSettings (times as 250ms, 2s, 1h; sizes as 64MB):\n");
    for (const struct setting *at = setting_table; at->name != NULL; at++) {
        TEXT_AUTO usually = {0};

        setting_default(at, &usually);
        line(out, SETTING_COLUMNS, at->name, at->help);
        if (at->choices != NULL)
            text_appendf(out, ": %s", at->choices);
        if (usually.used > 0)
            text_appendf(out, " (%s)", text_string(&usually));
        text_append(out, "\n");
    }
}

void help_program(const struct command *commands, struct text *out)
{
    text_append(out,
                "pghaul copies, rebuilds and changes large PostgreSQL tables beside live traffic.\n"
                "\n"
                "  pghaul COMMAND [ARGUMENTS] [OPTIONS]\n");
    for (int group = 0; group < GROUP_COUNT; group++) {
        text_appendf(out, "\n%s:\n", GROUPS[group]);
        for (const struct command *at = commands; at->name != NULL; at++)
            if (at->group != NULL && strcmp(at->group, GROUPS[group]) == 0) {
                line(out, NAME_COLUMNS, at->name, at->summary);
                text_append(out, "\n");
            }
    }
    text_append(out, "\nOptions of every command:\n");
    option_lines(0, true, out);
    text_append(out, "\nExit status:\n");
    for (int i = 0; i < EXIT_COUNT; i++)
        text_appendf(out, "  %d  %s\n", EXITS[i].status, EXITS[i].meaning);
    text_append(out, "\npghaul COMMAND --help says more.\n");
}

static void synopsis(const struct command *command, struct text *out)
{
    text_appendf(out, "pghaul %s%s%s%s", command->name, command->arguments[0] != '\0' ? " " : "",
                 command->arguments, command->options != 0 ? " [OPTIONS]" : "");
}

void help_command(const struct command *command, struct text *out)
{
    text_append(out, "  ");
    synopsis(command, out);
    text_appendf(out, "\n\n%s.\n", command->summary);
    if (command->about != NULL)
        text_appendf(out, "\n%s", command->about);
    if (command->options != 0) {
        text_append(out, "\nOptions:\n");
        option_lines(command->options, false, out);
    }
    text_append(out, "\nOptions of every command:\n");
    option_lines(0, true, out);
    if (command->lists_settings)
        setting_lines(out);
}

/* -------------------------------------------------------------------------------------- markdown
 */

/* A cell of a table: "|" would end it. */
static void cell(struct text *out, const char *string)
{
    for (; *string != '\0'; string++) {
        if (*string == '|')
            text_append(out, "\\");
        text_append_bytes(out, string, 1);
    }
}

static void markdown_options(uint64_t options, bool global, struct text *out)
{
    text_append(out, "| option | meaning | default |\n|---|---|---|\n");
    for (int id = 0; id < OPT_COUNT; id++) {
        const struct option *option = &option_table[id];
        TEXT_AUTO form = {0};

        if (option->hidden || option->global != global || (!global && (options & OPT_BIT(id)) == 0))
            continue;
        option_synopsis(option, &form);
        text_append(out, "| `");
        cell(out, text_string(&form));
        text_append(out, "` | ");
        cell(out, option->help);
        text_appendf(out, " | %s |\n", option->default_value != NULL ? option->default_value : "");
    }
    text_append(out, "\n");
}

static void markdown_settings(struct text *out)
{
    text_append(out, "## Settings\n\nGiven as `-s name=value` when a job starts, changed with "
                     "`pghaul set JOB name=value` later.\n\n"
                     "| setting | value | default | meaning |\n|---|---|---|---|\n");
    for (const struct setting *at = setting_table; at->name != NULL; at++) {
        TEXT_AUTO value = {0};
        TEXT_AUTO usually = {0};

        setting_synopsis(at, &value);
        setting_default(at, &usually);
        text_appendf(out, "| `%s` | ", at->name);
        cell(out, text_string(&value));
        text_appendf(out, " | %s | ", text_string(&usually));
        cell(out, at->help);
        text_append(out, " |\n");
    }
}

void help_markdown(const struct command *commands, struct text *out)
{
    text_append(out, "# Commands\n\n"
                     "Written by `pghaul help --markdown` from the program's own tables; a test "
                     "compares. `pghaul COMMAND [ARGUMENTS] [OPTIONS]`; options stand anywhere.\n\n"
                     "## Options of every command\n\n");
    markdown_options(0, true, out);
    for (int group = 0; group < GROUP_COUNT; group++) {
        text_appendf(out, "## %s\n\n", GROUPS[group]);
        for (const struct command *at = commands; at->name != NULL; at++) {
            if (at->group == NULL || strcmp(at->group, GROUPS[group]) != 0)
                continue;
            text_appendf(out, "### %s\n\n    ", at->name);
            synopsis(at, out);
            text_appendf(out, "\n\n%s.\n\n", at->summary);
            if (at->about != NULL)
                text_appendf(out, "%s\n", at->about);
            if (at->options != 0)
                markdown_options(at->options, false, out);
        }
    }
    markdown_settings(out);
    text_append(out, "\n## Exit status\n\n| status | meaning |\n|---|---|\n");
    for (int i = 0; i < EXIT_COUNT; i++)
        text_appendf(out, "| %d | %s |\n", EXITS[i].status, EXITS[i].meaning);
}

/* ------------------------------------------------------------------------------------ completion
 */

static void words_of(const char *words, struct text *out)
{
    for (; *words != '\0'; words++)
        text_append_bytes(out, *words == '|' ? " " : words, 1);
}

static void option_words(uint64_t options, bool global, struct text *out)
{
    for (int id = 0; id < OPT_COUNT; id++)
        if (!option_table[id].hidden && option_table[id].global == global &&
            (global || (options & OPT_BIT(id)) != 0))
            text_appendf(out, " --%s", option_table[id].name);
}

/* Options with a value, as a pattern of case: the word after them is not a command. */
static void value_options(struct text *out)
{
    TEXT_AUTO list = {0};

    for (int id = 0; id < OPT_COUNT; id++) {
        const struct option *option = &option_table[id];

        if (option->type == OPTION_FLAG)
            continue;
        text_separate(&list, "|");
        text_appendf(&list, "--%s", option->name);
        if (option->letter != '\0')
            text_appendf(&list, "|-%c", option->letter);
    }
    text_append(out, text_string(&list));
}

static void completion_of_choices(struct text *out)
{
    for (int id = 0; id < OPT_COUNT; id++)
        if (option_table[id].choices != NULL) {
            text_appendf(out, "        --%s) COMPREPLY=($(compgen -W '", option_table[id].name);
            words_of(option_table[id].choices, out);
            text_append(out, "' -- \"$word\")); return;;\n");
        }
    text_append(out, "        -s|--setting) compopt -o nospace; COMPREPLY=($(compgen -S = -W '");
    for (const struct setting *at = setting_table; at->name != NULL; at++)
        text_appendf(out, "%s%s", at == setting_table ? "" : " ", at->name);
    text_append(out, "' -- \"$word\")); return;;\n        ");
    value_options(out);
    text_append(out, ") return;;\n");
}

void help_completion_bash(const struct command *commands, struct text *out)
{
    TEXT_AUTO names = {0};
    TEXT_AUTO globals = {0};

    option_words(0, true, &globals);
    text_append(out, "# bash completion for pghaul:  eval \"$(pghaul completion bash)\"\n"
                     "_pghaul() {\n"
                     "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
                     "    local command= argument=0 i words=\n"
                     "    COMPREPLY=()\n"
                     "    case $before in\n");
    completion_of_choices(out);
    text_append(out, "    esac\n"
                     "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                     "        case ${COMP_WORDS[i]} in\n"
                     "        ");
    value_options(out);
    text_append(out, ") ((i++));;\n"
                     "        -*) ;;\n"
                     "        *) if [ -z \"$command\" ]; then command=${COMP_WORDS[i]}; "
                     "else ((argument++)); fi;;\n"
                     "        esac\n"
                     "    done\n"
                     "    case $command in\n");
    for (const struct command *at = commands; at->name != NULL; at++) {
        if (at->group == NULL)
            continue;
        text_separate(&names, " ");
        text_append(&names, at->name);
        text_appendf(out, "    %s) case $word in -*) words='", at->name);
        option_words(at->options, false, out);
        text_append(out, "';; *)");
        if (at->words != NULL) {
            text_append(out, " [ $argument -gt 0 ] || words='");
            words_of(at->words, out);
            text_append(out, "'");
        } else if (at->completes_jobs) {
            text_append(out, " [ $argument -gt 0 ] || "
                             "words=$(pghaul completion jobs -q 2>/dev/null)");
        }
        text_append(out, ";; esac;;\n");
    }
    text_appendf(out, "    '') words='%s';;\n    esac\n", text_string(&names));
    text_appendf(out, "    case $word in -*) words=\"$words%s\";; esac\n", text_string(&globals));
    text_append(out, "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
                     "}\n"
                     "complete -o default -F _pghaul pghaul\n");
}
