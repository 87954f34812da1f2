#include "cli/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/nearest.h"
#include "engine/job/settings.h"

#define AT(field) offsetof(struct options, field)

const struct option option_table[OPT_COUNT] = {
    [OPT_DBNAME] = {'d', "dbname", OPTION_TEXT, "CONNINFO", "libpq's environment", NULL,
                    "database to work in: a name, a URI, or \"host=.. dbname=..\"", AT(dbname),
                    .global = true},
    [OPT_ROLE] = {'\0', "role", OPTION_TEXT, "ROLE", NULL, NULL,
                  "SET ROLE after connecting, as pg_dump does", AT(role), .global = true},
    [OPT_JSON] = {'\0', "json", OPTION_FLAG, NULL, NULL, NULL,
                  "results as JSON, one object a line, the last one {\"event\": \"end\", ..}",
                  AT(json), .global = true},
    [OPT_QUIET] = {'q', "quiet", OPTION_FLAG, NULL, NULL, NULL,
                   "no live line, no notices: errors only", AT(quiet), .global = true},
    [OPT_VERBOSE] = {'v', "verbose", OPTION_FLAG, NULL, NULL, NULL,
                     "every step and every statement that changes a schema", AT(verbose),
                     .global = true},
    [OPT_YES] = {'y', "yes", OPTION_FLAG, NULL, NULL, NULL,
                 "do not ask; needed by what swaps or destroys when there is no terminal", AT(yes),
                 .global = true},
    [OPT_HELP] = {'\0', "help", OPTION_FLAG, NULL, NULL, NULL,
                  "this text; after a command, its own", AT(help), .global = true},
    [OPT_VERSION] = {'\0', "version", OPTION_FLAG, NULL, NULL, NULL, "version of the program",
                     AT(version), .global = true},
    [OPT_DO] = {'\0', "do", OPTION_LIST, "ACTIONS", NULL, NULL,
                "actions of ALTER TABLE: 'ALTER COLUMN id TYPE bigint'; repeatable", AT(actions)},
    [OPT_MAP] = {'\0', "map", OPTION_LIST, "'COLUMN = EXPRESSION'", NULL, NULL,
                 "value of a new column, over the columns of the source; repeatable", AT(maps)},
    [OPT_REVERSE_MAP] = {'\0', "reverse-map", OPTION_LIST, "'COLUMN = EXPRESSION'", NULL, NULL,
                         "the way back: value of an old column, over the new ones; repeatable",
                         AT(reverse_maps)},
    [OPT_ORDER_BY] = {'\0', "order-by", OPTION_TEXT, "COLUMNS", NULL, NULL,
                      "copy in this order: a clustered result", AT(order_by)},
    [OPT_IN_PLACE] = {'\0', "in-place", OPTION_FLAG, NULL, NULL, NULL,
                      "no copy: run the actions on the table itself, when they need no rewrite",
                      AT(in_place)},
    [OPT_NO_ROLLBACK] = {'\0', "no-rollback", OPTION_FLAG, NULL, NULL, NULL,
                         "do not feed the old table after the swap", AT(no_rollback)},
    [OPT_DRY_RUN] = {'\0', "dry-run", OPTION_FLAG, NULL, NULL, NULL,
                     "show every phase with its lock, an estimate and its SQL, and change nothing",
                     AT(dry_run)},
    [OPT_CUTOVER] = {'\0', "cutover", OPTION_CHOICE, "WHEN", "ask", "ask|now",
                     "ask: stop at ready and print the next commands; now: go on and swap",
                     AT(cutover)},
    [OPT_WORKERS] = {'\0', "workers", OPTION_SETTING, "N", "2", NULL, "the same as -s workers=N",
                     AT(settings)},
    [OPT_MAX_LAG] = {'\0', "max-lag", OPTION_MAX_LAG, "SIZE|TIME|off", "64MB", NULL,
                     "what standbys may lag behind, at most; off: whatever they do, and whether "
                     "they are there or not",
                     AT(settings)},
    [OPT_REPLICA] = {'\0', "replica", OPTION_SETTING, "CONNINFO", NULL, NULL,
                     "ask this replica itself how far it is, for those that the server does not "
                     "tell of; without a password; repeatable",
                     AT(settings)},
    [OPT_WINDOW] = {'\0', "window", OPTION_SETTING, "WHEN", "always", NULL,
                    "work only then: 'mon-thu 01:00-05:30 Europe/Berlin', a list with commas",
                    AT(settings)},
    [OPT_SET] = {'\0', "set", OPTION_LIST, "'COLUMN = EXPRESSION'", NULL, NULL,
                 "what a column gets, over the columns of the row; repeatable", AT(sets)},
    [OPT_WHERE] = {'\0', "where", OPTION_TEXT, "CONDITION", NULL, NULL,
                   "only rows for which this is true", AT(where)},
    [OPT_SQL_FILE] = {'\0', "sql-file", OPTION_TEXT, "FILE", NULL, NULL,
                      "one statement of yours, with :range(ALIAS) once: run for each chunk",
                      AT(sql_file)},
    [OPT_DELETE] = {'\0', "delete", OPTION_FLAG, NULL, NULL, NULL, "delete the rows of --where",
                    AT(delete_rows)},
    [OPT_UNDO] = {'\0', "undo", OPTION_CHOICE, "HOW", "none", "none|saved",
                  "saved: keep the old values, for rollback, until finish", AT(undo)},
    [OPT_UNDO_SET] = {'\0', "undo-set", OPTION_LIST, "'COLUMN = EXPRESSION'", NULL, NULL,
                      "what rollback sets the column to, over every row; repeatable",
                      AT(undo_sets)},
    [OPT_ADD] = {'\0', "add", OPTION_TEXT, "'CONSTRAINT NAME ..'", NULL, NULL,
                 "a check or foreign key, to be added NOT VALID first", AT(add)},
    [OPT_USING] = {'\0', "using", OPTION_TEXT, "EXPRESSION", NULL, NULL,
                   "value of the new type, over the column; without it an assignment cast must do",
                   AT(using)},
    [OPT_BACK_USING] = {'\0', "back-using", OPTION_TEXT, "EXPRESSION", NULL, NULL,
                        "the way back: value of the old type, over the column as it is then",
                        AT(back_using)},
    [OPT_FORCE] = {'\0', "force", OPTION_FLAG, NULL, NULL, NULL,
                   "although something still uses the name that goes", AT(force)},
    [OPT_JOB] = {'\0', "job", OPTION_TEXT, "NAME", "KIND-TABLE-N", NULL, "name of the job",
                 AT(job_name)},
    [OPT_SETTING] = {'s', "setting", OPTION_LIST, "name=value", NULL, NULL,
                     "a setting of the job; repeatable; pghaul set --help lists them",
                     AT(settings)},
    [OPT_FOLLOW] = {'f', "follow", OPTION_FLAG, NULL, NULL, NULL,
                    "show it again every second, until the job is ready or over", AT(follow)},
    [OPT_ACCEPT_LOSS] = {'\0', "accept-loss", OPTION_FLAG, NULL, NULL, NULL,
                         "go back although some rows cannot", AT(accept_loss)},
    [OPT_PRINT_SQL] = {'\0', "print-sql", OPTION_FLAG, NULL, NULL, NULL,
                       "print SQL for psql that does the same, and change nothing", AT(print_sql)},
    [OPT_STANDBY] = {'\0', "standby", OPTION_FLAG, NULL, NULL, NULL, "with a streaming standby",
                     AT(standby)},
    [OPT_ROWS] = {'\0', "rows", OPTION_NUMBER, "N", "1000000", NULL, "rows of the table", AT(rows)},
    [OPT_SEED] = {'\0', "seed", OPTION_NUMBER, "N", NULL, NULL,
                  "what the random data and the load begin with", AT(seed)},
    [OPT_RUNS] = {'\0', "runs", OPTION_NUMBER, "N", "1", NULL, "measure so often, report medians",
                  AT(runs)},
    [OPT_LOAD] = {'\0', "load", OPTION_FLAG, NULL, NULL, NULL,
                  "alter: with a paced write load before, during and over the swap", AT(load)},
    [OPT_HOSTILE] = {'\0', "hostile", OPTION_FLAG, NULL, NULL, NULL,
                     "load: everything a table allows, on data set acct", AT(hostile)},
    [OPT_LEDGER] = {'\0', "ledger", OPTION_FLAG, NULL, NULL, NULL,
                    "data, load: with a second table in which the load keeps account", AT(ledger)},
    [OPT_TABLE] = {'\0', "table", OPTION_TEXT, "TABLE", "orders", NULL, "data, load: the table",
                   AT(table)},
    [OPT_SECONDS] = {'\0', "seconds", OPTION_NUMBER, "N", NULL, NULL,
                     "how long the load runs (alter: before and after; backfill: the usual loop; "
                     "column: after each step; throttle: one window, 60)",
                     AT(seconds)},
    [OPT_CLIENTS] = {'\0', "clients", OPTION_NUMBER, "N", "6", NULL, "load: connections",
                     AT(clients)},
    [OPT_RATE] = {'\0', "rate", OPTION_NUMBER, "N", "500", NULL,
                  "transactions a second of the load (throttle: a quarter of what it can)",
                  AT(rate)},
    [OPT_POLICY] = {'\0', "policy", OPTION_LIST, "POLICY", NULL, NULL,
                    "throttle: only this one, and others so given: auto, off, fixed=DELAY, or of "
                    "others law=pt-osc|gh-ost|gitlab|vitess|spirit",
                    AT(policies)},
    [OPT_SVG] = {'\0', "svg", OPTION_TEXT, "FILE", "bench-throttle.svg", NULL,
                 "throttle: the picture of it", AT(svg)},
    [OPT_MARKDOWN] = {'\0', "markdown", OPTION_FLAG, NULL, NULL, NULL,
                      "everything, as the page docs/commands.md", AT(markdown), .hidden = true},
};

const struct command *command_find(const struct command *commands, const char *name)
{
    for (const struct command *at = commands; at->name != NULL; at++)
        if (strcmp(at->name, name) == 0)
            return at;
    return NULL;
}

/* ----------------------------------------------------------------------------- values of options
 */

static void list_add(struct arena *arena, struct option_list *list, const char *value)
{
    const char **values = arena_alloc(arena, sizeof(char *) * (size_t)(list->count + 1));

    if (list->count > 0)
        memcpy(values, list->values, sizeof(char *) * (size_t)list->count);
    values[list->count++] = value;
    list->values = values;
}

/* Index of `word` in "a|b|c"; -1 when it is not one of them. */
static int word_index(const char *words, const char *word)
{
    int index = 0;

    for (const char *at = words; at != NULL; index++) {
        const char *bar = strchr(at, '|');
        size_t length = bar == NULL ? strlen(at) : (size_t)(bar - at);

        if (strlen(word) == length && memcmp(at, word, length) == 0)
            return index;
        at = bar == NULL ? NULL : bar + 1;
    }
    return -1;
}

static bool take_number(const struct option *option, const char *value, int64_t *number,
                        struct error *error)
{
    char *end;

    errno = 0;
    *number = strtoll(value, &end, 10);
    if (end != value && *end == '\0' && errno == 0 && *number >= 0)
        return true;
    error_set(error, ERROR_USAGE, "--%s cannot be \"%s\"", option->name, value);
    return error_hint(error, "it takes a whole number, as in --%s 1000", option->name);
}

/* A number with a unit: of time or of size decides which limit it is. */
static bool take_max_lag(struct options *options, struct option_list *list, const char *value,
                         struct error *error)
{
    int64_t number;
    bool bare = strspn(value, "0123456789. ") == strlen(value);
    bool time = !bare && setting_parse_time(value, &number);
    bool size = !bare && setting_parse_size(value, &number);

    if (strcmp(value, "off") == 0) {
        list_add(&options->arena, list, "limit.replica-lag-bytes=off");
        list_add(&options->arena, list, "limit.replica-lag-time=off");
        list_add(&options->arena, list, "limit.replicas-missing=off");
    } else if (time || size) {
        list_add(&options->arena, list,
                 arena_format(&options->arena, "limit.replica-lag-%s=%s", time ? "time" : "bytes",
                              value));
    } else {
        error_set(error, ERROR_USAGE, "--max-lag cannot be \"%s\"", value);
        return error_hint(error, "it takes a size (64MB) or a time (2s), with its unit, or off");
    }
    return true;
}

/* `value` is NULL for a flag. */
static bool take_option(struct options *options, enum option_id id, const char *value,
                        struct error *error)
{
    const struct option *option = &option_table[id];
    void *target = (char *)options + option->offset;
    int index;

    options->given |= OPT_BIT(id);
    switch (option->type) {
    case OPTION_FLAG:
        *(bool *)target = true;
        return true;
    case OPTION_TEXT:
        *(const char **)target = value;
        return true;
    case OPTION_NUMBER:
        return take_number(option, value, target, error);
    case OPTION_CHOICE:
        index = word_index(option->choices, value);
        if (index < 0) {
            error_set(error, ERROR_USAGE, "--%s cannot be \"%s\"", option->name, value);
            return error_hint(error, "it is one of %s", option->choices);
        }
        *(int *)target = index;
        return true;
    case OPTION_MAX_LAG:
        return take_max_lag(options, target, value, error);
    case OPTION_SETTING:
        value = arena_format(&options->arena, "%s=%s", option->name, value);
        /* fall through */
    case OPTION_LIST:
        list_add(&options->arena, target, value);
        return true;
    }
    return true;
}

/* --------------------------------------------------------------------------------------- parsing
 */

/* Where parsing is in argv. `command` is only known once it has been seen. */
struct cursor {
    int at;
    int argc;
    const char *const *argv;
    const struct command *commands;
    struct options *options;
};

static void hint_help(const struct options *options, const char *best, const char *dashes,
                      struct error *error)
{
    if (best != NULL)
        error_hint(error, "did you mean %s%s?", dashes, best);
    else if (options->command != NULL)
        error_hint(error, "pghaul %s --help lists what there is", options->command->name);
    else
        error_hint(error, "pghaul --help lists what there is");
}

static bool unknown_option(const struct options *options, const char *typed, struct error *error)
{
    char name[64];
    struct nearest nearest = {.typed = name};

    name[0] = '\0';
    strncat(name, typed,
            strcspn(typed, "=") < sizeof(name) ? strcspn(typed, "=") : sizeof(name) - 1);
    for (int id = 0; id < OPT_COUNT; id++)
        if (!option_table[id].hidden)
            nearest_offer(&nearest, option_table[id].name);
    error_set(error, ERROR_USAGE, "there is no option --%s", name);
    hint_help(options, nearest.best, "--", error);
    return false;
}

/* The value after an option: what is left of the word, or the next word. */
static bool take_value(struct cursor *cursor, enum option_id id, const char *rest,
                       struct error *error)
{
    const struct option *option = &option_table[id];

    if (rest == NULL) {
        if (cursor->at >= cursor->argc) {
            error_set(error, ERROR_USAGE, "--%s needs a value", option->name);
            return error_hint(error, "write --%s %s", option->name, option->value);
        }
        rest = cursor->argv[cursor->at++];
    }
    return take_option(cursor->options, id, rest, error);
}

static bool parse_long(struct cursor *cursor, const char *word, struct error *error)
{
    size_t length = strcspn(word, "=");
    const char *rest = word[length] == '=' ? word + length + 1 : NULL;

    for (int id = 0; id < OPT_COUNT; id++) {
        const struct option *option = &option_table[id];

        if (strlen(option->name) != length || memcmp(option->name, word, length) != 0)
            continue;
        if (option->type != OPTION_FLAG)
            return take_value(cursor, id, rest, error);
        if (rest != NULL)
            return error_set(error, ERROR_USAGE, "--%s takes no value", option->name);
        return take_option(cursor->options, id, NULL, error);
    }
    return unknown_option(cursor->options, word, error);
}

/* -q, -qy, -dmydb, -s name=value */
static bool parse_short(struct cursor *cursor, const char *letters, struct error *error)
{
    for (; *letters != '\0'; letters++) {
        int id = 0;

        while (id < OPT_COUNT && option_table[id].letter != *letters)
            id++;
        if (id == OPT_COUNT) {
            error_set(error, ERROR_USAGE, "there is no option -%c", *letters);
            hint_help(cursor->options, NULL, "", error);
            return false;
        }
        if (option_table[id].type != OPTION_FLAG)
            return take_value(cursor, id, letters[1] != '\0' ? letters + 1 : NULL, error);
        if (!take_option(cursor->options, id, NULL, error))
            return false;
    }
    return true;
}

static bool parse_word(struct cursor *cursor, const char *word, struct error *error)
{
    struct options *options = cursor->options;
    struct nearest nearest = {.typed = word};

    if (options->command != NULL) {
        list_add(&options->arena, &options->arguments, word);
        return true;
    }
    options->command = command_find(cursor->commands, word);
    if (options->command != NULL)
        return true;
    for (const struct command *at = cursor->commands; at->name != NULL; at++)
        if (at->group != NULL)
            nearest_offer(&nearest, at->name);
    error_set(error, ERROR_USAGE, "there is no command \"%s\"", word);
    hint_help(options, nearest.best, "pghaul ", error);
    return false;
}

/* ---------------------------------------------------------------------------------------- checks
 */

static bool check_options(const struct options *options, struct error *error)
{
    const struct command *command = options->command;

    for (int id = 0; id < OPT_COUNT; id++)
        if (options_given(options, id) && !option_table[id].global &&
            (command->options & OPT_BIT(id)) == 0) {
            error_set(error, ERROR_USAGE, "pghaul %s has no option --%s", command->name,
                      option_table[id].name);
            return error_hint(error, "pghaul %s --help lists what there is", command->name);
        }
    return true;
}

static bool check_arguments(const struct options *options, struct error *error)
{
    const struct command *command = options->command;
    int count = options->arguments.count;

    if (count < command->arguments_min)
        error_set(error, ERROR_USAGE, "pghaul %s needs %s", command->name, command->arguments);
    else if (command->arguments_max != ARGUMENTS_UNLIMITED && count > command->arguments_max)
        error_set(error, ERROR_USAGE, "pghaul %s does not know what to do with \"%s\"",
                  command->name, options->arguments.values[command->arguments_max]);
    else if (command->words != NULL && count > 0 &&
             word_index(command->words, options->arguments.values[0]) < 0)
        error_set(error, ERROR_USAGE, "pghaul %s cannot \"%s\": it is one of %s", command->name,
                  options->arguments.values[0], command->words);
    else
        return true;
    return error_hint(error, "pghaul %s %s", command->name, command->arguments);
}

bool options_parse(int argc, const char *const *argv, const struct command *commands,
                   struct options *options, struct error *error)
{
    struct cursor cursor = {1, argc, argv, commands, options};
    bool only_words = false;

    *options = (struct options){0};
    while (cursor.at < argc) {
        const char *word = argv[cursor.at++];
        bool ok;

        if (only_words || word[0] != '-' || word[1] == '\0')
            ok = parse_word(&cursor, word, error);
        else if (strcmp(word, "--") == 0)
            ok = only_words = true;
        else if (word[1] == '-')
            ok = parse_long(&cursor, word + 2, error);
        else
            ok = parse_short(&cursor, word + 1, error);
        if (!ok)
            return false;
    }
    if (options->command == NULL || options->help || options->version)
        return true;
    return check_options(options, error) && check_arguments(options, error);
}

void options_deinit(struct options *options)
{
    arena_deinit(&options->arena);
    *options = (struct options){0};
}
