/*
 * bench/ itself: histograms and reports, the runner of programs, and the oracle of all load tests:
 * the hostile load alone, without pghaul, must agree with its ledger, and must notice when it does
 * not.
 */
#include <math.h>
#include <string.h>

#include "bench/data.h"
#include "bench/program.h"
#include "bench/report.h"
#include "bench/traffic.h"
#include "bench/watch.h"
#include "engine/base/clock.h"
#include "tests/harness.h"

/* ---------------------------------------------------------------------------------- histograms */

static void an_empty_histogram_has_no_waits(void)
{
    struct histogram histogram = {0};

    assert_int_equal(histogram_percentile_us(&histogram, 50), 0);
    assert_int_equal(histogram_percentile_us(&histogram, 100), 0);
}

static void one_wait_is_every_percentile(void)
{
    struct histogram histogram = {0};

    histogram_add(&histogram, 12345);
    assert_int_equal(histogram_percentile_us(&histogram, 0), 12345);
    assert_int_equal(histogram_percentile_us(&histogram, 50), 12345);
    assert_int_equal(histogram_percentile_us(&histogram, 100), 12345);
}

static void short_waits_are_counted_exactly(void)
{
    struct histogram histogram = {0};

    for (int us = 1; us <= 20; us++)
        histogram_add(&histogram, us);
    assert_int_equal(histogram_percentile_us(&histogram, 5), 1);
    assert_int_equal(histogram_percentile_us(&histogram, 50), 10);
    assert_int_equal(histogram_percentile_us(&histogram, 95), 19);
    assert_int_equal(histogram_percentile_us(&histogram, 100), 20);
}

static void a_percentile_is_never_below_the_truth_and_at_most_a_32nd_above(void)
{
    struct histogram histogram = {0};
    int64_t waits[1000];
    int64_t us = 3;

    for (int i = 0; i < 1000; i++) {
        waits[i] = us;
        histogram_add(&histogram, us);
        us += 1 + us / 60; /* up to some seconds, in rising order */
    }
    for (int i = 1; i <= 1000; i++) {
        int64_t said = histogram_percentile_us(&histogram, i / 10.0);

        assert_true(said >= waits[i - 1]);
        assert_true(said <= waits[i - 1] + waits[i - 1] / 32 + 1);
    }
    assert_int_equal(histogram_percentile_us(&histogram, 100), waits[999]);
}

static void impossible_waits_do_no_harm(void)
{
    struct histogram histogram = {0};

    histogram_add(&histogram, -5);
    histogram_add(&histogram, INT64_MAX);
    assert_int_equal(histogram.count, 2);
    assert_int_equal(histogram.max_us, INT64_MAX);
    assert_int_equal(histogram_percentile_us(&histogram, 50), 0);
    assert_true(histogram_percentile_us(&histogram, 100) >= (INT64_C(1) << 36) - 1);
}

static void merged_histograms_are_as_if_counted_together(void)
{
    struct histogram odd = {0};
    struct histogram even = {0};
    struct histogram all = {0};

    for (int us = 1; us <= 100000; us += 7) {
        histogram_add(us % 2 == 1 ? &odd : &even, us);
        histogram_add(&all, us);
    }
    histogram_merge(&odd, &even);
    assert_memory_equal(&odd, &all, sizeof(all));
}

/* ------------------------------------------------------------------------------------- reports */

static void a_median_leaves_out_what_was_not_measured(void)
{
    assert_true(report_median((double[]){3, 1, 2}, 3) == 2);
    assert_true(report_median((double[]){4, NAN, 1, 2, 3, NAN}, 6) == 2.5);
    assert_true(isnan(report_median((double[]){NAN}, 1)));
}

static void a_limit_holds_breaks_or_was_not_measured(void)
{
    json_t *holds = report_limit(1.0, 1.0);
    json_t *breaks = report_limit(1.01, 1.0);
    json_t *unknown = report_limit(NAN, 1.0);

    assert_true(json_is_true(json_object_get(holds, "holds")));
    assert_true(json_is_false(json_object_get(breaks, "holds")));
    assert_true(json_is_null(json_object_get(unknown, "holds")));
    json_decref(holds);
    json_decref(breaks);
    json_decref(unknown);
}

/* What report_print() writes. */
static const char *printed(const char *report, bool json)
{
    static char buffer[4096];
    json_t *value = json_loads(report, 0, NULL);
    FILE *out = fmemopen(buffer, sizeof(buffer), "w");

    assert_non_null(value);
    assert_non_null(out);
    report_print(out, value, json);
    fclose(out);
    json_decref(value);
    return buffer;
}

static void a_report_in_json_is_one_line(void)
{
    assert_string_equal(printed("{\"a\": 1.25, \"b\": [{\"c\": null}]}", true),
                        "{\"a\":1.25,\"b\":[{\"c\":null}]}\n");
}

static void a_report_for_people_has_tables(void)
{
    assert_string_equal(printed("{\"case\": \"x\", \"rows\": 1234567,"
                                " \"methods\": {\"floor\": {\"seconds\": 1.5, \"why\": \"as is\"},"
                                "               \"alter\": {\"seconds\": 12, \"extra\": true}}}",
                                false),
                        "case  x\n"
                        "rows  1,234,567\n"
                        "methods\n"
                        "         seconds  why    extra\n"
                        "  floor      1.5  as is       \n"
                        "  alter       12           yes\n");
}

/* ------------------------------------------------------------------------------------- samples */

/* 60 s, ten looks a second; rows grow by `early` a second for `seconds`, then by `late`. */
static struct watch_samples trace(double early, double seconds, double late)
{
    static struct watch_sample list[701];
    double rows = 0;

    for (int i = 0; i <= 700; i++) {
        list[i] = (struct watch_sample){.seconds = i / 10.0, .wal = i * 1e6, .rows = rows};
        rows += (list[i].seconds < seconds ? early : late) / 10;
    }
    return (struct watch_samples){list, 701};
}

static void time_beyond_a_limit_is_counted_as_time_not_as_looks(void)
{
    /* Looks fail between 1.1 s and 9 s: what was seen before counts on. */
    struct watch_sample list[] = {{.seconds = 0, .behind = 5},    {.seconds = 1, .behind = 5},
                                  {.seconds = 1.1, .behind = 20}, {.seconds = 5, .behind = NAN},
                                  {.seconds = 9, .behind = 5},    {.seconds = 11, .behind = 30}};
    const struct watch_samples samples = {list, 6};
    const struct stretch all = {0, 10};
    const struct stretch late = {9.5, 10};

    assert_true(fabs(watch_within(&samples, &all, WATCH_BEHIND, 10) - 2.1) < 1e-9);
    assert_true(fabs(watch_within(&samples, &late, WATCH_BEHIND, 10) - 0.5) < 1e-9);
    assert_true(watch_worst(&samples, &all, WATCH_BEHIND) == 20);
    assert_true(isnan(watch_worst(&samples, &late, WATCH_BEHIND)));
    assert_true(fabs(watch_at(&samples, 10, WATCH_BEHIND) - 17.5) < 1e-9);
    assert_true(isnan(watch_at(&samples, 12, WATCH_BEHIND)));
}

static void a_rate_is_that_of_its_stretch(void)
{
    const struct watch_samples samples = trace(100, 20, 300);
    const struct stretch both = {10.05, 30.05};

    assert_true(fabs(watch_rate(&samples, &both, WATCH_ROWS) - 200) < 2);
    assert_true(fabs(watch_rate(&samples, &both, WATCH_WAL) - 1e7) < 1);
    assert_true(fabs(watch_frequency(&samples, &both) - 10) < 0.1);
}

static void settling_is_the_time_until_the_speed_stays(void)
{
    const struct stretch window = {5, 65};
    struct watch_samples samples = trace(100, 0, 300);

    assert_true(watch_settling(&samples, &window) == 0);
    samples = trace(100, 20, 300);
    assert_true(watch_settling(&samples, &window) > 15);
    assert_true(watch_settling(&samples, &window) < 20.1);
    samples = trace(100, 60, 300); /* too late to call it settled */
    assert_true(isnan(watch_settling(&samples, &window)));
    samples = trace(0, 0, 0);
    assert_true(isnan(watch_settling(&samples, &window)));
}

/* ------------------------------------------------------------------------------------ programs */

static void keep_lines(void *arg, const char *line)
{
    struct text *lines = arg;

    text_appendf(lines, "<%s>", line);
}

static void a_program_is_read_line_by_line(void)
{
    static const char *const SCRIPT[] = {"sh", "-c", "echo one; echo two >&2; printf three; exit 7",
                                         NULL};
    TEXT_AUTO lines = {0};
    struct program_result result;
    struct error error = {0};

    assert_true(program_run(&(struct program){.argv = SCRIPT, .line = keep_lines, .arg = &lines},
                            &result, &error));
    assert_int_equal(result.status, 7);
    assert_string_equal(text_string(&result.output), "one\nthree");
    assert_string_equal(text_string(&result.messages), "two\n");
    assert_string_equal(text_string(&lines), "<one><three>");
    assert_true(result.memory_bytes_max > 0);
    program_result_deinit(&result);
}

static bool after_three_looks(void *arg, pid_t pid)
{
    assert_true(pid > 1);
    return ++*(int *)arg == 3;
}

static void a_program_of_which_one_has_seen_enough_is_asked_to_end(void)
{
    static const char *const SCRIPT[] = {
        "sh", "-c", "trap 'echo asked; exit 5' INT; while :; do sleep 0.1; done", NULL};
    struct program_result result;
    struct error error = {0};
    int looks = 0;

    assert_true(
        program_run(&(struct program){.argv = SCRIPT, .enough = after_three_looks, .arg = &looks},
                    &result, &error));
    assert_int_equal(result.status, 5);
    assert_int_equal(looks, 3);
    assert_string_equal(text_string(&result.output), "asked\n");
    program_result_deinit(&result);
}

static void a_program_gets_our_environment_and_its_own(void)
{
    static const char *const SCRIPT[] = {"sh", "-c", "echo $PGHOST; test -n \"$PATH\"", NULL};
    static const char *const MORE[] = {"PGHOST=/nowhere", NULL};
    struct program_result result;
    struct error error = {0};

    assert_true(
        program_succeed(&(struct program){.argv = SCRIPT, .environment = MORE}, &result, &error));
    assert_string_equal(text_string(&result.output), "/nowhere\n");
    program_result_deinit(&result);
}

static void a_program_that_fails_or_is_missing_is_an_error_that_says_so(void)
{
    static const char *const FAILS[] = {"sh", "-c", "echo because >&2; exit 3", NULL};
    static const char *const MISSING[] = {"/nowhere/at-all", NULL};
    struct program_result result;
    struct error error = {0};

    assert_false(program_succeed(&(struct program){.argv = FAILS}, &result, &error));
    assert_non_null(strstr(error.message, "exit status 3"));
    assert_non_null(strstr(error.detail, "because"));
    program_result_deinit(&result);
    assert_false(program_run(&(struct program){.argv = MISSING}, &result, &error));
    assert_int_equal(error.code, ERROR_SYSTEM);
    program_result_deinit(&result);
}

/* ---------------------------------------------------------------------------------------- data */

/* Fails the test with what the error says. */
static void must(bool ok, const struct error *error)
{
    if (!ok)
        t_fail("%s: %s", error->message, error->detail);
}

static void make(const struct data_options *options)
{
    SESSION_AUTO *session = NULL;
    struct error error = {0};

    must(session_open(
             &session,
             &(struct session_options){.conninfo = t_conninfo(), .application_name = "test"},
             &error),
         &error);
    must(data_make(session, options, &error), &error);
}

static void orders_look_like_orders(void)
{
    make(&(struct data_options){.set = "orders", .rows = 20000, .seed = 7});
    t_expect("SELECT count(*) || ' ' || min(id) || ' ' || max(id) FROM orders", "20000 1 20000");
    t_expect("SELECT count(*) FROM pg_index WHERE indrelid = 'orders'::regclass", "3");
    t_expect("SELECT pg_relation_size('orders') / 20000 BETWEEN 150 AND 170", "t");
    t_expect("SELECT min(correlation) > 0.99 FROM pg_stats"
             " WHERE tablename = 'orders' AND attname IN ('id', 'created_at')",
             "t");
    t_expect("SELECT count(DISTINCT status) FROM orders", "6");
    t_expect("SELECT bool_and(updated_at > created_at) FROM orders", "t");
    t_expect("SELECT count(*) > 0 FROM orders WHERE note IS NULL", "t");
    t_expect("SELECT count(*) > 0 FROM orders WHERE note = ''", "t");
}

static void the_same_seed_makes_the_same_orders(void)
{
    static const char SUM[] = "SELECT sum(hashtextextended(o::text, 0)) FROM %s AS o";
    const char *first;

    make(&(struct data_options){.set = "orders", .rows = 500, .seed = 7});
    make(&(struct data_options){.set = "orders", .schema = "Other", .rows = 500, .seed = 7});
    make(&(struct data_options){.set = "orders", .name = "third", .rows = 500, .seed = 8});
    first = t_text(t_format(SUM, "orders"));
    assert_string_equal(t_text(t_format(SUM, "\"Other\".orders")), first);
    assert_string_not_equal(t_text(t_format(SUM, "third")), first);
}

static void serial_orders_go_on_where_the_rows_end(void)
{
    make(&(struct data_options){.set = "orders-serial", .rows = 300, .seed = 7, .ledger = true});
    make(&(struct data_options){.set = "orders", .name = "none", .rows = 0, .serial = true});
    t_expect("SELECT data_type FROM information_schema.columns"
             " WHERE table_name = 'orders' AND column_name = 'id'",
             "integer");
    t_expect("SELECT nextval('orders_id_seq')", "301");
    t_expect("SELECT nextval('none_id_seq')", "1");
    t_expect("SELECT count(*) FROM orders_ledger", "300");
}

/* ------------------------------------------------------------------------------------- traffic */

static int64_t acct_differences(void)
{
    struct error error = {0};
    int64_t count = -1;

    must(traffic_compare(t_conninfo(), "acct", "ledger", traffic_acct_columns, NULL, &count, NULL,
                         &error),
         &error);
    return count;
}

static void expect_equal(const char *table, const char *ledger, const char *const *columns)
{
    struct error error = {0};
    TEXT_AUTO sample = {0};
    int64_t count = -1;

    must(traffic_compare(t_conninfo(), table, ledger, columns, NULL, &count, &sample, &error),
         &error);
    if (count != 0)
        t_fail("%lld differences:\n%s", (long long)count, text_string(&sample));
}

/* Only what a table does by itself, and nothing that the ledger does not know. */
static void expect_clean(const struct traffic_report *report)
{
    for (int i = 0; i < report->error_count; i++)
        if (!report->errors[i].expected)
            t_fail("%s in %s: %s", report->errors[i].sqlstate, report->errors[i].statement,
                   report->errors[i].message);
    assert_int_equal(report->unexpected_errors, 0);
    assert_int_equal(report->deadlocks_with_strangers, 0);
    if (report->torn_reads != 0)
        t_fail("%lld torn reads: %s", (long long)report->torn_reads, report->torn_sample);
}

static struct traffic *start(const struct traffic_options *options)
{
    struct traffic *traffic;
    struct error error = {0};

    must(traffic_start(&traffic, options, &error), &error);
    return traffic;
}

static void stop_traffic(struct traffic *traffic, struct traffic_report *report)
{
    struct error error = {0};

    must(traffic_stop(traffic, report, &error), &error);
}

static void hostile_for(int64_t rows, double truncate_share, int seconds)
{
    struct traffic_report report;
    struct traffic *traffic;

    t_sqlf("ALTER DATABASE %s SET deadlock_timeout = '20ms'",
           t_text("SELECT quote_ident(current_database())"));
    make(&(struct data_options){.set = "acct", .rows = rows, .seed = 11});
    traffic = start(&(struct traffic_options){.kind = TRAFFIC_HOSTILE,
                                              .conninfo = t_conninfo(),
                                              .rows = rows,
                                              .seed = (uint64_t)rows,
                                              .truncate_share = truncate_share});
    for (int i = 0; i < seconds; i++) {
        clock_sleep_ms(1000);
        expect_equal("acct", "ledger", traffic_acct_columns);
    }
    stop_traffic(traffic, &report);
    expect_clean(&report);
    expect_equal("acct", "ledger", traffic_acct_columns);
    assert_true(report.transactions > 100);
    /* Every kind of statement ran; truncate and refill only on request, MERGE from 15 on. */
    for (int i = 0; i < report.statement_count; i++) {
        const char *label = report.statements[i].label;

        if (report.statements[i].waits.count == 0 && strstr(label, "truncate") == NULL &&
            strstr(label, "refill") == NULL && strstr(label, "merge") == NULL)
            print_message("never ran: %s\n", label);
    }
    traffic_report_deinit(&report);
}

static void the_hostile_load_agrees_with_its_ledger(void)
{
    hostile_for(10000, 0, 3);
}

static void the_hostile_load_agrees_with_its_ledger_when_everybody_wants_the_same_rows(void)
{
    hostile_for(60, 0, 2);
}

static void the_hostile_load_agrees_with_its_ledger_over_a_truncate(void)
{
    hostile_for(5000, 0.002, 2);
}

/* The swap as it should be, by hand: neither errors nor differences, whatever the statement. */
static void a_swap_under_an_exclusive_lock_gives_the_load_no_error(void)
{
    struct traffic_report report;
    struct traffic *traffic;

    make(&(struct data_options){.set = "acct", .rows = 3000, .seed = 2});
    traffic = start(&(struct traffic_options){.kind = TRAFFIC_HOSTILE,
                                              .conninfo = t_conninfo(),
                                              .rows = 3000,
                                              .seed = 2,
                                              .no_torn_check = true});
    for (int i = 0; i < 3; i++) {
        clock_sleep_ms(300);
        t_sqlf(
            "BEGIN; LOCK TABLE acct;"
            "CREATE TABLE acct_new (LIKE acct INCLUDING ALL);"
            "ALTER TABLE acct_new ALTER COLUMN grp TYPE bigint, ADD COLUMN extra%d int DEFAULT 1;"
            "INSERT INTO acct_new SELECT id, grp, bal, note, ts, code FROM acct;"
            "DROP TABLE acct; ALTER TABLE acct_new RENAME TO acct; COMMIT",
            i);
    }
    clock_sleep_ms(300);
    stop_traffic(traffic, &report);
    expect_clean(&report);
    expect_equal("acct", "ledger", traffic_acct_columns);
    traffic_report_deinit(&report);
}

/* A lost row, a stale one, one too many, and one that looks equal and is not. */
static void the_ledger_notices_every_kind_of_damage(void)
{
    static const char *const DAMAGE[] = {
        "DELETE FROM acct WHERE id = 7",
        "UPDATE acct SET bal = bal - 1 WHERE id = 7",
        "UPDATE acct SET code = NULL WHERE id = 7",
        "INSERT INTO acct SELECT 5000, grp, bal, note, ts, 'x' FROM acct WHERE id = 7",
        "UPDATE acct SET bal = bal * 1.0 WHERE id = 7",
        ("UPDATE acct SET note = coalesce(nullif(note, ''), CASE WHEN note = '' THEN NULL ELSE '' "
         "END) || CASE WHEN note <> '' THEN ' ' ELSE '' END WHERE id = 7"),
    };

    make(&(struct data_options){.set = "acct", .rows = 100});
    t_sql("UPDATE acct SET note = NULL WHERE id = 7; UPDATE ledger SET note = NULL WHERE id = 7");
    for (size_t i = 0; i < sizeof(DAMAGE) / sizeof(DAMAGE[0]); i++) {
        t_sql(DAMAGE[i]);
        assert_int_equal(acct_differences(), 1);
        t_sql("DELETE FROM acct WHERE id = 7 OR id > 100;"
              "INSERT INTO acct SELECT * FROM ledger WHERE id = 7");
        expect_equal("acct", "ledger", traffic_acct_columns);
    }
}

/* A change behind the load's back stays visible, though the load changes the same rows again. */
static void the_load_does_not_cover_up_what_was_lost(void)
{
    struct traffic_report report;
    struct traffic *traffic;

    make(&(struct data_options){.set = "acct", .rows = 2000});
    t_sql("UPDATE acct SET bal = bal + 1000000");
    traffic = start(&(struct traffic_options){
        .kind = TRAFFIC_HOSTILE, .conninfo = t_conninfo(), .rows = 2000, .seed = 3});
    clock_sleep_ms(1000);
    stop_traffic(traffic, &report);
    assert_true(report.torn_reads > 0);
    assert_true(report.torn_sample[0] != '\0');
    assert_true(acct_differences() > 500);
    traffic_report_deinit(&report);
}

static void the_paced_load_agrees_with_its_ledger_and_keeps_its_pace(void)
{
    struct traffic_report report;
    struct traffic *traffic;

    make(&(struct data_options){
        .set = "orders", .rows = 2000, .seed = 5, .serial = true, .ledger = true});
    traffic = start(&(struct traffic_options){.kind = TRAFFIC_PACED,
                                              .conninfo = t_conninfo(),
                                              .rate = 200,
                                              .seed = 5,
                                              .ledger = "orders_ledger"});
    clock_sleep_ms(1000);
    traffic_mark(traffic, "second half");
    clock_sleep_ms(1000);
    stop_traffic(traffic, &report);
    expect_clean(&report);
    expect_equal("orders", "orders_ledger", traffic_orders_columns);
    assert_int_equal(report.phase_count, 2);
    assert_true(report.phases[0].waits.count > 100 && report.phases[0].waits.count <= 300);
    assert_true(report.phases[1].waits.count > 100 && report.phases[1].waits.count <= 300);
    t_expect("SELECT count(*) > 0 FROM orders WHERE note = 'made by the load'", "t");
    traffic_report_deinit(&report);
}

/* The stall is charged to everyone who was due in it, and to the phase in which he was due. */
static void a_stall_is_charged_to_all_who_were_due(void)
{
    struct traffic_report report;
    struct traffic *traffic;
    struct t_session *locker = t_session("locker");

    make(&(struct data_options){.set = "orders", .rows = 100});
    traffic = start(&(struct traffic_options){.kind = TRAFFIC_PACED,
                                              .conninfo = t_conninfo(),
                                              .clients = 2,
                                              .rate = 100,
                                              .watch = "hold%"});
    t_do(locker, "SET application_name = 'holder'");
    t_do(locker, "BEGIN; LOCK TABLE orders");
    clock_sleep_ms(500);
    t_do(locker, "COMMIT");
    traffic_mark(traffic, "after");
    clock_sleep_ms(300);
    stop_traffic(traffic, &report);
    assert_true(report.phases[0].waits.max_us > 400000);
    /* Two clients waited, but about 50 transactions were due: half of them waited 0.2 s or more. */
    assert_true(histogram_percentile_us(&report.phases[0].waits, 50) > 100000);
    assert_true(report.late_ms_max > 100);
    assert_true(report.held_up_count > 0);
    assert_true(report.held_up_ms_max > 300);
    assert_true(report.held_up_table_ms_max == report.held_up_ms_max);
    assert_true(report.held_up_row_ms_max == 0);
    assert_non_null(strstr(report.held_up_sample, "LOCK TABLE orders"));
    traffic_report_deinit(&report);
}

static void a_lost_connection_ends_the_load_or_is_made_again(void)
{
    static const char KILL[] = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                               " WHERE application_name = 'traffic'";
    struct traffic_options options = {
        .kind = TRAFFIC_HOSTILE, .conninfo = t_conninfo(), .clients = 2, .rows = 1000};
    struct traffic_report report;
    struct traffic *traffic;
    struct error error = {0};

    make(&(struct data_options){.set = "acct", .rows = 1000});
    traffic = start(&options);
    clock_sleep_ms(300);
    t_expect(KILL, "2");
    clock_sleep_ms(300);
    assert_false(traffic_stop(traffic, &report, &error));
    assert_int_equal(error.code, ERROR_CONNECTION);
    assert_true(report.unexpected_errors > 0);
    traffic_report_deinit(&report);

    options.reconnect = true;
    traffic = start(&options);
    clock_sleep_ms(300);
    t_expect(KILL, "2");
    t_wait_until("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'traffic'", "2",
                 10);
    clock_sleep_ms(300);
    stop_traffic(traffic, &report);
    expect_equal("acct", "ledger", traffic_acct_columns);
    traffic_report_deinit(&report);
}

static void a_deadlock_with_somebody_else_is_told_from_one_among_clients(void)
{
    struct traffic_report report;
    struct traffic *traffic;
    struct t_session *stranger = t_session("stranger");

    make(&(struct data_options){.set = "orders", .rows = 1, .ledger = true});
    /*
     * The load locks the order, then its ledger's row; the stranger comes the other way, and before
     * the client, who waits already, looks for a deadlock (deadlock_timeout, 1 s).
     */
    t_do(stranger, "SET deadlock_timeout = '30s'");
    traffic = start(&(struct traffic_options){.kind = TRAFFIC_PACED,
                                              .conninfo = t_conninfo(),
                                              .clients = 1,
                                              .rate = 50,
                                              .ledger = "orders_ledger"});
    t_do(stranger, "BEGIN; LOCK TABLE orders_ledger IN SHARE MODE");
    clock_sleep_ms(300);
    t_do(stranger, "LOCK TABLE orders IN SHARE MODE");
    t_do(stranger, "COMMIT");
    stop_traffic(traffic, &report);
    assert_true(report.deadlocks_with_strangers > 0);
    traffic_report_deinit(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(an_empty_histogram_has_no_waits),
        t_test(one_wait_is_every_percentile),
        t_test(short_waits_are_counted_exactly),
        t_test(a_percentile_is_never_below_the_truth_and_at_most_a_32nd_above),
        t_test(impossible_waits_do_no_harm),
        t_test(merged_histograms_are_as_if_counted_together),
        t_test(a_median_leaves_out_what_was_not_measured),
        t_test(a_limit_holds_breaks_or_was_not_measured),
        t_test(a_report_in_json_is_one_line),
        t_test(a_report_for_people_has_tables),
        t_test(a_program_is_read_line_by_line),
        t_test(time_beyond_a_limit_is_counted_as_time_not_as_looks),
        t_test(a_rate_is_that_of_its_stretch),
        t_test(settling_is_the_time_until_the_speed_stays),
        t_test(a_program_of_which_one_has_seen_enough_is_asked_to_end),
        t_test(a_program_gets_our_environment_and_its_own),
        t_test(a_program_that_fails_or_is_missing_is_an_error_that_says_so),
        t_test(orders_look_like_orders),
        t_test(the_same_seed_makes_the_same_orders),
        t_test(serial_orders_go_on_where_the_rows_end),
        t_test(the_hostile_load_agrees_with_its_ledger),
        t_test(the_hostile_load_agrees_with_its_ledger_when_everybody_wants_the_same_rows),
        t_test(the_hostile_load_agrees_with_its_ledger_over_a_truncate),
        t_test(a_swap_under_an_exclusive_lock_gives_the_load_no_error),
        t_test(the_ledger_notices_every_kind_of_damage),
        t_test(the_load_does_not_cover_up_what_was_lost),
        t_test(the_paced_load_agrees_with_its_ledger_and_keeps_its_pace),
        t_test(a_stall_is_charged_to_all_who_were_due),
        t_test(a_lost_connection_ends_the_load_or_is_made_again),
        t_test(a_deadlock_with_somebody_else_is_told_from_one_among_clients),
    };

    return T_MAIN(tests);
}
