/* --window beside real jobs: closed, open, changed, and misspelt. */
#include "tests/harness.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char TABLE[] = "CREATE TABLE t (id int PRIMARY KEY, n int);\n"
                            "INSERT INTO t SELECT i, 0 FROM generate_series(1, 1000) AS i;\n"
                            "ANALYZE t";

/* From an hour ago, or in three hours' time, for an hour and a half; by the server's clock, which
 * is ours. */
static const char *window(bool open)
{
    time_t from = time(NULL) + (open ? -3600 : 3 * 3600);
    time_t to = from + 5400;
    struct tm a, b;

    gmtime_r(&from, &a);
    gmtime_r(&to, &b);
    return t_format("%02d:%02d-%02d:%02d UTC", a.tm_hour, a.tm_min, b.tm_hour, b.tm_min);
}

static struct t_process *start_closed(void)
{
    t_sql(TABLE);
    return t_start("backfill", "t", "--set", "n = 1", "--job", "j", "--window", window(false),
                   NULL);
}

static void expect_nothing_moves(void)
{
    struct t_result result;

    t_wait_until("SELECT to_regclass('pghaul.sample') IS NOT NULL", "t", 20);
    t_wait_until("SELECT decision FROM pghaul.sample ORDER BY at DESC LIMIT 1", "window", 20);
    t_run(&result, "status", "j", NULL);
    t_expect_out(&result, "window");
    t_expect("SELECT count(*) FROM t WHERE n = 1", "0");
}

static void expect_done(struct t_process *process)
{
    struct t_result result;

    t_wait(process, &result);
    t_expect_status(&result, 0);
    t_expect("SELECT count(*) FROM t WHERE n = 1", "1000");
}

static void outside_the_window_nothing_begins_until_it_is_changed(void)
{
    struct t_process *process = start_closed();
    struct t_result result;

    expect_nothing_moves();
    t_run(&result, "set", "j", "window=off", NULL);
    t_expect_status(&result, 0);
    expect_done(process);
}

static void another_window_opens_at_once(void)
{
    struct t_process *process = start_closed();
    struct t_result result;

    expect_nothing_moves();
    t_run(&result, "set", "j", t_format("window=%s", window(true)), NULL);
    t_expect_status(&result, 0);
    expect_done(process);
}

static void inside_the_window_a_job_runs(void)
{
    struct t_result result;

    t_sql(TABLE);
    t_run(&result, "backfill", "t", "--set", "n = 1", "--window", window(true), NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT count(*) FROM t WHERE n = 1", "1000");
}

static void an_abort_does_not_wait_for_it(void)
{
    struct t_process *process = start_closed();
    struct t_result result;

    expect_nothing_moves();
    t_run(&result, "abort", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_wait(process, &result);
    t_expect_status(&result, 5);
}

static void a_zone_that_the_server_does_not_know_is_refused(void)
{
    struct t_result result;

    t_sql(TABLE);
    t_run(&result, "backfill", "t", "--set", "n = 1", "--window", "01:00-02:00 Europe/Brelin",
          NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "Europe/Brelin");
    t_expect("SELECT to_regnamespace('pghaul') IS NULL", "t");
    t_run(&result, "backfill", "t", "--set", "n = 1", "--job", "j", "--window", "01:00-02:00 CET",
          NULL);
    t_expect_status(&result, 2);
    t_expect_err(&result, "\"CET\"");
}

static void nor_can_it_be_set(void)
{
    struct t_process *process = start_closed();
    struct t_result result;

    expect_nothing_moves();
    t_run(&result, "set", "j", "window=01:00-02:00 Europe/Brelin", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "Europe/Brelin");
    t_run(&result, "set", "j", "window=off", NULL);
    expect_done(process);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(outside_the_window_nothing_begins_until_it_is_changed),
        t_test(another_window_opens_at_once),
        t_test(inside_the_window_a_job_runs),
        t_test(an_abort_does_not_wait_for_it),
        t_test(a_zone_that_the_server_does_not_know_is_refused),
        t_test(nor_can_it_be_set),
    };

    return T_MAIN(tests);
}
