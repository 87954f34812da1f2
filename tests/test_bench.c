/*
 * The cases of `pghaul bench` themselves, on tables so small that no time is judged: they go the
 * whole way, and notice what should not be.
 */
#include <jansson.h>
#include <string.h>

#include "tests/harness.h"

/* A name of the report, "limits.orphans.value"; the test fails when there is none. */
static double number_of(const struct t_result *result, const char *path)
{
    json_t *report = json_loads(result->out, JSON_DISABLE_EOF_CHECK, NULL);
    const json_t *at = report;
    char names[128];
    char *rest = names;
    const char *name;
    double value;

    snprintf(names, sizeof(names), "%s", path);
    while ((name = strsep(&rest, ".")) != NULL)
        at = json_object_get(at, name);
    if (!json_is_number(at))
        t_fail("the report says nothing of %s:\n%s", path, result->out);
    value = json_number_value(at);
    json_decref(report);
    return value;
}

static void a_serial_key_becomes_bigint_under_a_load(void)
{
    static const char *const PHASES[] = {"before",      "ready",     "cut over",
                                         "rolled back", "past 2^31", "finished"};
    struct t_result result;

    t_run(&result, "bench", "column", "--rows", "20000", "--seconds", "2", "--rate", "300",
          "--json", NULL);
    t_expect_status(&result, 0);
    assert_true(number_of(&result, "largest_id") > 2147483648.0);
    assert_true(number_of(&result, "references_past_2^31") > 0);
    assert_true(number_of(&result, "limits.differences.value") == 0);
    assert_true(number_of(&result, "limits.unequal_rows.value") == 0);
    assert_true(number_of(&result, "limits.orphans.value") == 0);
    assert_true(number_of(&result, "limits.schema_differences.value") == 0);
    for (size_t i = 0; i < sizeof(PHASES) / sizeof(PHASES[0]); i++)
        assert_true(number_of(&result, t_format("load.phases.%s.count", PHASES[i])) > 50);
    t_expect("SELECT count(*) FROM pg_namespace WHERE nspname = 'pghaul_bench'", "0");
    t_expect("SELECT string_agg(state, ' ') FROM pghaul.job", "finished");
}

static void what_the_job_should_not_have_changed_is_noticed(void)
{
    struct t_process *bench;
    struct t_result result;

    bench = t_start("bench", "column", "--rows", "5000", "--seconds", "1", "--rate", "100",
                    "--json", NULL);
    t_wait_until("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'traffic'", "8",
                 60);
    t_sql("UPDATE pghaul_bench.orders SET note = 'nobody wrote this' WHERE id = 7;"
          "ALTER TABLE pghaul_bench.notes ADD COLUMN nobody_asked int");
    t_wait(bench, &result);
    t_expect_status(&result, 4);
    t_expect_err(&result, "differences = 1 (at most 0)");
    t_expect_err(&result, "schema_differences = 1 (at most 0)");
    t_expect_out(&result, "extra: column notes.nobody_asked integer");
}

/* -- throttle: short windows, so that only what happens is judged, not how fast -- */

static void policies_are_measured_beside_each_other_with_a_slow_standby(void)
{
    static const char *const POLICIES[] = {"auto", "off", "law=gh-ost"};
    static const char *const NUMBERS[] = {"rows_per_second", "within_percent", "told_percent",
                                          "worst_mb",        "p99_ms",         "alone_p99_ms"};
    const char *picture = t_format("%s/throttle.svg", sandbox_dir(t_sandbox()));
    struct t_result result;

    t_run_plain(&result, "bench", "throttle", "backfill", "--rows", "400000", "--seconds", "2",
                "--runs", "1", "--policy", "auto", "--policy", "off", "--policy", "law=gh-ost",
                "--svg", picture, "--json", NULL);
    t_expect_status(&result, 0);
    assert_true(number_of(&result, "load_rate") > 0);
    assert_true(number_of(&result, "unthrottled.backfill.rows_per_second") > 0);
    assert_true(number_of(&result, "unthrottled.backfill.wal_mb_per_second") >
                number_of(&result, "unthrottled.backfill.replay_mb_per_second"));
    for (size_t i = 0; i < sizeof(POLICIES) / sizeof(POLICIES[0]); i++)
        for (size_t j = 0; j < sizeof(NUMBERS) / sizeof(NUMBERS[0]); j++)
            (void)number_of(&result, t_format("backfill.%s.%s", POLICIES[i], NUMBERS[j]));
    assert_true(number_of(&result, "backfill.off.rows_per_second") > 0);
    assert_true(number_of(&result, "limits.errors of the load.value") == 0);
    t_run_program(&result, "grep", "-c", "polyline", picture, NULL);
    t_expect_status(&result, 0);
}

static void a_throttle_bench_needs_a_server_of_its_own(void)
{
    struct t_result result;

    t_run(&result, "bench", "throttle", NULL);
    t_expect_status(&result, 2);
    t_expect_err(&result, "a sandbox of its own");
    t_run_plain(&result, "bench", "throttle", "index", NULL);
    t_expect_status(&result, 2);
    t_expect_err(&result, "backfill or alter");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_serial_key_becomes_bigint_under_a_load),
        t_test(what_the_job_should_not_have_changed_is_noticed),
        t_test(policies_are_measured_beside_each_other_with_a_slow_standby),
        t_test(a_throttle_bench_needs_a_server_of_its_own),
    };

    return T_MAIN(tests);
}
