/* cli: what needs no server: the command line, its help and its page in docs/, numbers, the live
 * line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/explain.h"
#include "cli/format.h"
#include "cli/help.h"
#include "cli/nearest.h"
#include "cli/progress_line.h"

/* ---------------------------------------------------------------------------------- command line
 */

enum { WORDS_MAX = 16 };

/* Parses words that are separated by blanks; no quoting. The words live until the next call. */
static bool parse(const char *line, struct options *options, struct error *error)
{
    static char words[512];
    const char *argv[WORDS_MAX] = {"pghaul"};
    int argc = 1;

    snprintf(words, sizeof(words), "%s", line);
    for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = word;
    return options_parse(argc, argv, command_table, options, error);
}

static void expect_usage(const char *line, const char *message, const char *hint)
{
    struct options options;
    struct error error = {0};

    if (parse(line, &options, &error))
        fail_msg("pghaul %s was taken", line);
    assert_int_equal(error.code, ERROR_USAGE);
    if (strstr(error.message, message) == NULL || strstr(error.hint, hint) == NULL)
        fail_msg("pghaul %s: \"%s\", \"%s\"", line, error.message, error.hint);
    options_deinit(&options);
}

static void options_stand_before_and_after_the_command(void **state)
{
    struct options options;
    struct error error = {0};

    (void)state;
    assert_true(parse("--json -d shop alter orders --role=dba -qy", &options, &error));
    assert_string_equal(options.command->name, "alter");
    assert_int_equal(options.arguments.count, 1);
    assert_string_equal(options_argument(&options, 0), "orders");
    assert_null(options_argument(&options, 1));
    assert_string_equal(options.dbname, "shop");
    assert_string_equal(options.role, "dba");
    assert_true(options.json && options.quiet && options.yes);
    assert_false(options.verbose || options.dry_run);
    options_deinit(&options);
}

static void short_options_take_their_value_from_the_same_word(void **state)
{
    struct options options;
    struct error error = {0};

    (void)state;
    assert_true(parse("alter t -dshop -sworkers=3 -s order=key", &options, &error));
    assert_string_equal(options.dbname, "shop");
    assert_int_equal(options.settings.count, 2);
    assert_string_equal(options.settings.values[0], "workers=3");
    assert_string_equal(options.settings.values[1], "order=key");
    options_deinit(&options);
}

static void repeated_options_are_kept_in_order(void **state)
{
    struct options options;
    struct error error = {0};

    (void)state;
    assert_true(parse("alter t --do a --map b --do c --do=d=e", &options, &error));
    assert_int_equal(options.actions.count, 3);
    assert_string_equal(options.actions.values[0], "a");
    assert_string_equal(options.actions.values[1], "c");
    assert_string_equal(options.actions.values[2], "d=e");
    assert_int_equal(options.maps.count, 1);
    options_deinit(&options);
}

static void workers_are_a_setting(void **state)
{
    struct options options;
    struct error error = {0};

    (void)state;
    assert_true(parse("alter t -s workers=2 --workers 8", &options, &error));
    assert_int_equal(options.settings.count, 2);
    assert_string_equal(options.settings.values[1], "workers=8");
    assert_true(options_given(&options, OPT_WORKERS));
    options_deinit(&options);
}

/* The settings that a command line makes, a line each. */
static void expect_settings(const char *line, const char *expected)
{
    struct options options;
    struct error error = {0};
    TEXT_AUTO got = {0};

    assert_true(parse(line, &options, &error));
    for (int i = 0; i < options.settings.count; i++) {
        text_separate(&got, "\n");
        text_append(&got, options.settings.values[i]);
    }
    assert_string_equal(text_string(&got), expected);
    options_deinit(&options);
}

static void max_lag_is_a_size_or_a_time_or_off(void **state)
{
    (void)state;
    expect_settings("alter t --max-lag 16MB", "limit.replica-lag-bytes=16MB");
    expect_settings("backfill t --max-lag=1.5s", "limit.replica-lag-time=1.5s");
    expect_settings("column drop t c --max-lag 2min", "limit.replica-lag-time=2min");
    expect_settings("index t i --max-lag off", "limit.replica-lag-bytes=off\n"
                                               "limit.replica-lag-time=off\n"
                                               "limit.replicas-missing=off");
    /* The last one counts, whichever way it is given. */
    expect_settings("validate t --max-lag off -s limit.replica-lag-bytes=1GB",
                    "limit.replica-lag-bytes=off\nlimit.replica-lag-time=off\n"
                    "limit.replicas-missing=off\nlimit.replica-lag-bytes=1GB");
}

static void what_is_no_lag_is_refused(void **state)
{
    static const char *const WRONG[] = {"64",  "0",       "1.5", "64bananas", "-64MB", "nan",
                                        "inf", "1e400MB", "on",  "MB",        "OFF"};

    (void)state;
    for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
        TEXT_AUTO line = {0};
        TEXT_AUTO message = {0};

        text_appendf(&line, "alter t --max-lag %s", WRONG[i]);
        text_appendf(&message, "--max-lag cannot be \"%s\"", WRONG[i]);
        expect_usage(text_string(&line), text_string(&message), "a size (64MB) or a time (2s)");
    }
}

static void replicas_and_windows_are_settings(void **state)
{
    (void)state;
    expect_settings("alter t --replica host=a --replica host=b --window 01:00-05:00",
                    "replica=host=a\nreplica=host=b\nwindow=01:00-05:00");
    expect_usage("status --window 01:00-05:00", "status has no option --window", "status --help");
    expect_usage("alter t --replica", "--replica needs a value", "--replica CONNINFO");
}

static void two_dashes_end_the_options(void **state)
{
    struct options options;
    struct error error = {0};

    (void)state;
    assert_true(parse("guard -q -- --odd -name", &options, &error));
    assert_int_equal(options.arguments.count, 2);
    assert_string_equal(options_argument(&options, 0), "--odd");
    assert_string_equal(options_argument(&options, 1), "-name");
    options_deinit(&options);
}

static void cutover_is_ask_unless_it_is_now(void **state)
{
    struct options options;
    struct error error = {0};

    (void)state;
    assert_true(parse("alter t", &options, &error));
    assert_int_equal(options.cutover, CUTOVER_ASK);
    options_deinit(&options);
    assert_true(parse("alter t --cutover now", &options, &error));
    assert_int_equal(options.cutover, CUTOVER_NOW);
    options_deinit(&options);
}

static void help_needs_no_arguments(void **state)
{
    struct options options;
    struct error error = {0};

    (void)state;
    assert_true(parse("set --help", &options, &error));
    assert_true(options.help);
    options_deinit(&options);
    assert_true(parse("", &options, &error));
    assert_null(options.command);
    options_deinit(&options);
}

static void a_wrong_command_line_says_what_would_be_right(void **state)
{
    (void)state;
    expect_usage("atler t", "no command \"atler\"", "pghaul alter?");
    expect_usage("stat", "no command \"stat\"", "pghaul status?");
    expect_usage("frobnicate", "no command \"frobnicate\"", "pghaul --help");
    expect_usage("alter t --dryrun", "no option --dryrun", "--dry-run?");
    expect_usage("alter t --revers-map=x", "no option --revers-map", "--reverse-map?");
    expect_usage("alter t --frobnicate", "no option --frobnicate", "pghaul alter --help");
    expect_usage("alter t -x", "no option -x", "pghaul alter --help");
    expect_usage("alter", "alter needs TABLE", "pghaul alter TABLE");
    expect_usage("set job", "set needs JOB name=value", "pghaul set");
    expect_usage("pause a b", "with \"b\"", "pghaul pause JOB");
    expect_usage("pause a --do x", "pause has no option --do", "pghaul pause --help");
    expect_usage("--follow pause a", "pause has no option --follow", "");
    expect_usage("alter t --dry-run=yes", "takes no value", "");
    expect_usage("alter t --job", "--job needs a value", "--job NAME");
    expect_usage("alter t -d", "--dbname needs a value", "");
    expect_usage("alter t --cutover later", "cannot be \"later\"", "ask|now");
    expect_usage("bench alter --rows many", "cannot be \"many\"", "whole number");
    expect_usage("bench alter --rows -5", "cannot be \"-5\"", "whole number");
    expect_usage("sandbox begin", "start|stop|status", "sandbox");
}

static void distances_are_those_of_a_slip_of_the_finger(void **state)
{
    (void)state;
    assert_int_equal(nearest_distance("alter", "alter"), 0);
    assert_int_equal(nearest_distance("alter", "atler"), 1);
    assert_int_equal(nearest_distance("alter", "alte"), 1);
    assert_int_equal(nearest_distance("alter", "alterr"), 1);
    assert_int_equal(nearest_distance("", "abc"), 3);
    assert_int_equal(nearest_distance("kitten", "sitting"), 3);
}

/* ------------------------------------------------------------------------------------------ help
 */

static void every_command_helps_with_every_option_it_takes(void **state)
{
    (void)state;
    for (const struct command *at = command_table; at->name != NULL; at++) {
        TEXT_AUTO help = {0};

        help_command(at, &help);
        assert_non_null(strstr(text_string(&help), at->summary));
        for (int id = 0; id < OPT_COUNT; id++) {
            const struct option *option = &option_table[id];

            if (!option->hidden && (option->global || (at->options & OPT_BIT(id)) != 0) &&
                strstr(text_string(&help), option->help) == NULL)
                fail_msg("pghaul %s --help lacks --%s", at->name, option->name);
        }
    }
}

static void the_help_names_every_command(void **state)
{
    TEXT_AUTO help = {0};

    (void)state;
    help_program(command_table, &help);
    for (const struct command *at = command_table; at->name != NULL; at++)
        if (at->group != NULL)
            assert_non_null(strstr(text_string(&help), at->summary));
}

static void set_lists_every_setting(void **state)
{
    TEXT_AUTO help = {0};

    (void)state;
    help_command(command_find(command_table, "set"), &help);
    for (const struct setting *at = setting_table; at->name != NULL; at++)
        assert_non_null(strstr(text_string(&help), at->help));
}

static void every_option_belongs_to_a_command(void **state)
{
    uint64_t used = 0;

    (void)state;
    for (const struct command *at = command_table; at->name != NULL; at++)
        used |= at->options;
    for (int id = 0; id < OPT_COUNT; id++) {
        assert_non_null(option_table[id].name);
        assert_true(option_table[id].global != ((used & OPT_BIT(id)) != 0));
    }
}

/* The page is beside this file's folder, where it was compiled. */
static void the_page_of_commands_is_what_the_tables_say(void **state)
{
    TEXT_AUTO page = {0};
    TEXT_AUTO path = {0};
    TEXT_AUTO written = {0};
    char part[4096];
    size_t got;
    FILE *file;

    (void)state;
    help_markdown(command_table, &page);
    text_append_bytes(&path, __FILE__, strlen(__FILE__) - strlen("unit_cli.c"));
    text_append(&path, "../docs/commands.md");
    file = fopen(text_string(&path), "r");
    if (file == NULL)
        fail_msg("there is no %s: pghaul help --markdown > docs/commands.md", text_string(&path));
    while ((got = fread(part, 1, sizeof(part), file)) > 0)
        text_append_bytes(&written, part, got);
    fclose(file);
    if (strcmp(text_string(&written), text_string(&page)) != 0)
        fail_msg("docs/commands.md is old: pghaul help --markdown > docs/commands.md");
}

static void completion_is_a_script_that_bash_can_read(void **state)
{
    TEXT_AUTO script = {0};
    FILE *bash;

    (void)state;
    if (system("command -v bash >/dev/null") != 0) // NOLINT(cert-env33-c)
        skip();
    help_completion_bash(command_table, &script);
    bash = popen("bash -n", "w"); // NOLINT(cert-env33-c)
    assert_non_null(bash);
    assert_int_equal(fwrite(script.bytes, 1, script.used, bash), script.used);
    assert_int_equal(pclose(bash), 0);
}

/* --------------------------------------------------------------------------------------- numbers
 */

static void numbers_are_for_people(void **state)
{
    (void)state;
    assert_string_equal(COUNT(0), "0");
    assert_string_equal(COUNT(999), "999");
    assert_string_equal(COUNT(1000), "1,000");
    assert_string_equal(COUNT(5000000), "5,000,000");
    assert_string_equal(COUNT(-1234567), "-1,234,567");
    assert_string_equal(COUNT(INT64_MIN), "-9,223,372,036,854,775,808");
    assert_string_equal(SIZE(0), "0 bytes");
    assert_string_equal(SIZE(8192), "8.0 kB");
    assert_string_equal(SIZE(INT64_C(797) << 20), "797 MB");
    assert_string_equal(SIZE(INT64_C(1395864371)), "1.3 GB");
    assert_string_equal(SIZE(INT64_MAX), "8.0 EB");
    assert_string_equal(SECONDS(0.04), "0.0 s");
    assert_string_equal(SECONDS(3.21), "3.2 s");
    assert_string_equal(SECONDS(125), "2 min 5 s");
    assert_string_equal(SECONDS(4320), "1 h 12 min");
    assert_string_equal(SECONDS(400000), "4 d 15 h");
    assert_string_equal(MILLISECONDS(18), "18 ms");
    assert_string_equal(MILLISECONDS(1200), "1.2 s");
}

/* ------------------------------------------------------------------------------------- live line
 */

static void expect_line(const struct progress_view *view, const struct progress_rate *rate,
                        int columns, const char *expected)
{
    TEXT_AUTO line = {0};

    progress_line_render(view, rate, columns, &line);
    assert_string_equal(text_string(&line), expected);
}

static void the_line_tells_phase_share_pace_and_time_left(void **state)
{
    struct progress_view view = {.phase = "load", .total = 5000000};
    struct progress_rate rate = {0};

    (void)state;
    progress_rate_look(&rate, &view, 1000000);
    expect_line(&view, &rate, 80, "load  0 %");
    view.done = 1000000;
    progress_rate_look(&rate, &view, 2000000);
    expect_line(&view, &rate, 80, "load  20 %  1,000,000 rows/s  4.0 s left");
    view.done = 5000000;
    progress_rate_look(&rate, &view, 6000000);
    expect_line(&view, &rate, 80, "load  100 %  1,000,000 rows/s");
}

static void the_pace_follows_slowly_and_forgets_the_last_phase(void **state)
{
    struct progress_view view = {.phase = "load", .total = 5000000};
    struct progress_rate rate = {0};

    (void)state;
    progress_rate_look(&rate, &view, 0);
    view.done = 1000;
    progress_rate_look(&rate, &view, 1000000);
    progress_rate_look(&rate, &view, 1000000); /* no time has passed */
    assert_true(rate.per_second == 1000);
    progress_rate_look(&rate, &view, 2000000); /* nothing has moved for a second */
    assert_true(rate.per_second == 750);
    snprintf(view.phase, sizeof(view.phase), "verify");
    view.done = 0;
    progress_rate_look(&rate, &view, 3000000);
    assert_true(rate.per_second == 0);
}

static void the_line_says_why_nothing_moves(void **state)
{
    struct progress_view view = {
        .phase = "capture", .reason = "locked by\n\033[31m process 7", .retries = 3};
    const struct progress_rate rate = {.per_second = 100};

    (void)state;
    expect_line(&view, &rate, 80, "capture  waiting: locked by  [31m process 7  3 retries");
}

static void the_line_is_cut_between_characters(void **state)
{
    struct progress_view view = {.phase = "load", .reason = "\303\244\303\266\303\274"};
    const struct progress_rate rate = {0};

    (void)state;
    expect_line(&view, &rate, 17, "load  waiting: \303\244\303\266");
    expect_line(&view, &rate, 0, "");
}

static void a_count_stands_where_there_is_no_total(void **state)
{
    struct progress_view view = {.phase = "catch-up", .done = 1234};
    const struct progress_rate rate = {.per_second = 10};

    (void)state;
    expect_line(&view, &rate, 80, "catch-up  1,234  10 rows/s");
}

/* ---------------------------------------------------------------------------------- explanations
 */

static void expect_explained(const char *said, enum error_code code, const char *message,
                             const char *hint)
{
    struct error error = {0};

    error_set(&error, ERROR_CONNECTION, "%s", said);
    explain_connection(&error);
    assert_int_equal(error.code, code);
    assert_non_null(strstr(error.message, message));
    assert_string_equal(error.detail, said);
    assert_non_null(strstr(error.hint, hint));
}

static void a_failed_connection_says_what_to_do(void **state)
{
    (void)state;
    expect_explained("FATAL:  password authentication failed for user \"x\"", ERROR_CONNECTION,
                     "password", "PGPASSWORD");
    expect_explained("FATAL:  database \"x\" does not exist", ERROR_CONNECTION, "no such database",
                     "dbname");
    expect_explained("FATAL:  role \"x\" does not exist", ERROR_CONNECTION, "no such role", "user");
    expect_explained("FATAL:  sorry, too many clients already", ERROR_CONNECTION,
                     "no connection left", "max_connections");
    expect_explained("invalid connection option \"x\"", ERROR_USAGE, "does not know", "-d");
    expect_explained("something nobody thought of", ERROR_CONNECTION, "could not connect", "psql");
}

static void a_failed_job_says_how_to_go_on(void **state)
{
    struct error error = {0};

    (void)state;
    error_set(&error, ERROR_SQL, "could not extend file");
    snprintf(error.sqlstate, sizeof(error.sqlstate), "53100");
    explain(&error, "alter-orders-1", "failed");
    assert_non_null(strstr(error.hint, "disk is full"));
    assert_non_null(strstr(error.hint, "pghaul resume alter-orders-1"));
}

static void a_job_that_is_cut_over_is_not_told_to_abort(void **state)
{
    struct error error = {0};

    (void)state;
    error_set(&error, ERROR_SQL, "could not extend file");
    snprintf(error.sqlstate, sizeof(error.sqlstate), "53100");
    explain(&error, "alter-orders-1", "cut_over");
    assert_non_null(strstr(error.hint, "disk is full"));
    assert_non_null(strstr(error.hint, "pghaul rollback alter-orders-1"));
    assert_non_null(strstr(error.hint, "pghaul finish alter-orders-1"));
    assert_null(strstr(error.hint, "abort"));
}

static void a_hint_that_is_there_is_kept(void **state)
{
    struct error error = {0};

    (void)state;
    error_set(&error, ERROR_SQL, "no");
    error_hint(&error, "ask Anna");
    explain(&error, "alter-orders-1", "failed");
    assert_string_equal(error.hint, "ask Anna");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_before_and_after_the_command),
        cmocka_unit_test(short_options_take_their_value_from_the_same_word),
        cmocka_unit_test(repeated_options_are_kept_in_order),
        cmocka_unit_test(workers_are_a_setting),
        cmocka_unit_test(max_lag_is_a_size_or_a_time_or_off),
        cmocka_unit_test(what_is_no_lag_is_refused),
        cmocka_unit_test(replicas_and_windows_are_settings),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(cutover_is_ask_unless_it_is_now),
        cmocka_unit_test(help_needs_no_arguments),
        cmocka_unit_test(a_wrong_command_line_says_what_would_be_right),
        cmocka_unit_test(distances_are_those_of_a_slip_of_the_finger),
        cmocka_unit_test(every_command_helps_with_every_option_it_takes),
        cmocka_unit_test(the_help_names_every_command),
        cmocka_unit_test(set_lists_every_setting),
        cmocka_unit_test(every_option_belongs_to_a_command),
        cmocka_unit_test(the_page_of_commands_is_what_the_tables_say),
        cmocka_unit_test(completion_is_a_script_that_bash_can_read),
        cmocka_unit_test(numbers_are_for_people),
        cmocka_unit_test(the_line_tells_phase_share_pace_and_time_left),
        cmocka_unit_test(the_pace_follows_slowly_and_forgets_the_last_phase),
        cmocka_unit_test(the_line_says_why_nothing_moves),
        cmocka_unit_test(the_line_is_cut_between_characters),
        cmocka_unit_test(a_count_stands_where_there_is_no_total),
        cmocka_unit_test(a_failed_connection_says_what_to_do),
        cmocka_unit_test(a_failed_job_says_how_to_go_on),
        cmocka_unit_test(a_job_that_is_cut_over_is_not_told_to_abort),
        cmocka_unit_test(a_hint_that_is_there_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
