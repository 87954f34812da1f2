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

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_serial_key_becomes_bigint_under_a_load),
        t_test(what_the_job_should_not_have_changed_is_noticed),
    };

    return T_MAIN(tests);
}
