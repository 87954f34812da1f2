/*
 * The command line. One table of options (options.c) and one of commands (commands.c) drive
 * parsing,
 * --help, the page docs/commands.md and completion (help.h), so that they cannot disagree.
 *
 *     options_parse() -> fields of struct options -> options_deinit()
 *
 * Options stand before or after the command, long ones as --name value or --name=value, short ones
 * as -d value, -dvalue or bundled (-qy); "--" ends them. An option that the command does not know
 * is an error, as are too many or too few arguments. What an argument means is the command's
 * matter.
 *
 * Strings belong to argv or to the options' arena.
 */
#ifndef PGHAUL_CLI_OPTIONS_H
#define PGHAUL_CLI_OPTIONS_H

#include <stdint.h>

#include "engine/base/memory.h"

enum option_id {
    OPT_DBNAME,
    OPT_ROLE,
    OPT_JSON,
    OPT_QUIET,
    OPT_VERBOSE,
    OPT_YES,
    OPT_HELP,
    OPT_VERSION,
    OPT_DO,
    OPT_MAP,
    OPT_REVERSE_MAP,
    OPT_ORDER_BY,
    OPT_IN_PLACE,
    OPT_NO_ROLLBACK,
    OPT_DRY_RUN,
    OPT_CUTOVER,
    OPT_WORKERS,
    OPT_JOB,
    OPT_SETTING,
    OPT_FOLLOW,
    OPT_ACCEPT_LOSS,
    OPT_PRINT_SQL,
    OPT_STANDBY,
    OPT_ROWS,
    OPT_SEED,
    OPT_RUNS,
    OPT_LOAD,
    OPT_HOSTILE,
    OPT_LEDGER,
    OPT_TABLE,
    OPT_SECONDS,
    OPT_CLIENTS,
    OPT_RATE,
    OPT_POLICY,
    OPT_SVG,
    OPT_MARKDOWN,
    OPT_SET,
    OPT_WHERE,
    OPT_DELETE,
    OPT_UNDO,
    OPT_UNDO_SET,
    OPT_SQL_FILE,
    OPT_ADD,
    OPT_USING,
    OPT_BACK_USING,
    OPT_FORCE,
    OPT_MAX_LAG,
    OPT_REPLICA,
    OPT_WINDOW,
    OPT_COUNT,
};

/* A set of options, for struct command. */
#define OPT_BIT(id) (UINT64_C(1) << (id))
/* What every command that makes a job takes, beside its own. */
#define OPT_JOB_BITS                                                                         \
    (OPT_BIT(OPT_DRY_RUN) | OPT_BIT(OPT_JOB) | OPT_BIT(OPT_SETTING) | OPT_BIT(OPT_MAX_LAG) | \
     OPT_BIT(OPT_REPLICA) | OPT_BIT(OPT_WINDOW))

enum option_type {
    OPTION_FLAG,    /* bool */
    OPTION_TEXT,    /* const char * */
    OPTION_NUMBER,  /* int64_t, not negative */
    OPTION_CHOICE,  /* int: index in `choices` */
    OPTION_LIST,    /* struct option_list; may be given several times */
    OPTION_SETTING, /* a setting of the same name: adds "name=value" to the list of settings */
    OPTION_MAX_LAG, /* the settings that it stands for, in the same list */
};

struct option {
    char letter; /* '\0' for none */
    const char *name;
    enum option_type type;
    const char *value;         /* what the help calls it: CONNINFO; NULL for a flag */
    const char *default_value; /* as shown; NULL for none */
    const char *choices;       /* "ask|now"; NULL when anything goes */
    const char *help;
    size_t offset; /* in struct options */
    bool global;   /* every command takes it */
    bool hidden;
};

/* By id. */
extern const struct option option_table[OPT_COUNT];

struct option_list {
    const char **values;
    int count;
};

enum undo_how { UNDO_NONE, UNDO_SAVED };
enum cutover_when { CUTOVER_ASK, CUTOVER_NOW };

struct options {
    struct arena arena;
    const struct command *command; /* NULL: none was given */
    struct option_list arguments;  /* after the command */
    uint64_t given;                /* OPT_BITs */

    const char *dbname;
    const char *role;
    bool json;
    bool quiet;
    bool verbose;
    bool yes;
    bool help;
    bool version;

    struct option_list actions; /* --do */
    struct option_list maps;
    struct option_list reverse_maps;
    struct option_list settings;
    struct option_list sets;      /* --set */
    struct option_list undo_sets; /* --undo-set */
    struct option_list policies;  /* --policy */
    const char *where;
    const char *sql_file;
    const char *add;
    const char *using;
    const char *back_using;
    bool force;
    int undo; /* enum undo_how */
    bool delete_rows;
    const char *order_by;
    const char *job_name;
    int cutover; /* enum cutover_when */
    bool in_place;
    bool no_rollback;
    bool dry_run;
    bool follow;
    bool accept_loss;
    bool print_sql;
    bool standby;
    bool load;
    bool hostile;
    bool ledger;
    bool markdown;
    const char *table;
    const char *svg;
    int64_t rows; /* 0: not given; the same for the others */
    int64_t seed;
    int64_t runs;
    int64_t seconds;
    int64_t clients;
    int64_t rate;
};

/* `commands` ends with a NULL name. On failure too, `json`, `quiet` and the rest so far are set. */
struct command;
bool options_parse(int argc, const char *const *argv, const struct command *commands,
                   struct options *options, struct error *error) MUST_CHECK;
void options_deinit(struct options *options);

static inline bool options_given(const struct options *options, enum option_id id)
{
    return (options->given & OPT_BIT(id)) != 0;
}

/* The i-th argument after the command; NULL when there are fewer. */
static inline const char *options_argument(const struct options *options, int i)
{
    return i < options->arguments.count ? options->arguments.values[i] : NULL;
}

#endif
