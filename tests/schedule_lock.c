/*
 * The lock ladder: cases F14, F41, F42, F44 of the executable model, and who stays in the way.
 */
#include "tests/isolation.h"

#include "engine/base/clock.h"

/* F41, F42: an ETL transaction runs ANALYZE after its UPDATE, at several moments of our tries. */
static void an_analyze_after_an_update_is_never_the_deadlock_victim(void)
{
    for (int i = 0; i < 4; i++) {
        struct t_process *job;
        struct t_result result;

        (void)t_fresh_database();
        iso_table(100);
        iso_play("etl: BEGIN", "etl: UPDATE item SET v = v + 1");
        job = iso_start("settle=off");
        t_wait_until("SELECT to_regclass('pghaul.job') IS NOT NULL", "t", 30);
        t_wait_until("SELECT count(*) FROM pghaul.job WHERE phase = 'capture'", "1", 30);
        clock_sleep_ms(60 + 170 * i);
        iso_play("etl: ANALYZE item", "etl: UPDATE item SET v = v + 1", "etl: COMMIT");
        t_wait(job, &result);
        t_expect_status(&result, 0);
        (void)iso_load();
        iso_expect_equal();

        iso_play("etl: BEGIN", "etl: UPDATE item SET v = v + 1");
        job = t_start("cutover", "j", "--yes", NULL);
        clock_sleep_ms(250 + 130 * i);
        iso_play("etl: ANALYZE item", "etl: COMMIT");
        t_wait(job, &result);
        t_expect_status(&result, 0);
        iso_expect_equal_back();
    }
}

static void a_writer_that_stays_is_named_and_the_job_can_go_on(void)
{
    struct t_result result;
    struct t_process *job;

    iso_table(100);
    iso_play("stays: BEGIN", "stays: UPDATE item SET v = 1");
    job = iso_start("settle=off", "lock.tries=3");
    t_wait(job, &result);
    t_expect_status(&result, 6);
    t_expect_err(&result, "stays");
    iso_play("a: UPDATE item SET t = 'x' WHERE false", "stays: COMMIT");
    t_run(&result, "resume", "j", NULL);
    t_expect_status(&result, 0);
    (void)iso_load();
    iso_expect_equal();
}

static void lock_timeouts_that_could_make_the_application_the_victim_are_refused(void)
{
    struct t_result result;

    iso_table(100);
    t_run(&result, "alter", "item", "--job", "j", "-s", "lock.timeout=600ms", NULL);
    assert_true(result.status == 2 || result.status == 3);
    t_expect_err(&result, "deadlock_timeout");
    /* A role of the application's may have a shorter one than we. */
    t_sql("CREATE ROLE hasty; ALTER ROLE hasty SET deadlock_timeout = '0.15s'");
    t_run(&result, "alter", "item", NULL);
    t_sql("DROP ROLE hasty");
    t_expect_status(&result, 2);
    t_expect_err(&result, "which is 150 ms");
}

/* F14, F44: it does not yield to short timeouts; the first rung waits until it does. */
static void an_autovacuum_on_the_table_is_outwaited(void)
{
    struct t_result result;

    t_limit(60);
    t_sql("CREATE TABLE item (id int PRIMARY KEY, u int UNIQUE, v int, t text)"
          " WITH (autovacuum_vacuum_cost_delay = 50, autovacuum_vacuum_cost_limit = 10, "
          "autovacuum_vacuum_threshold = 1,"
          "       autovacuum_vacuum_scale_factor = 0, autovacuum_analyze_threshold = 2000000000);"
          "INSERT INTO item SELECT g, g, 0, repeat('x', 200) FROM generate_series(1, 60000) AS g");
    t_sql("DELETE FROM item WHERE id % 3 = 0");
    t_wait_until(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"
        " AND query LIKE '%VACUUM public.item%')",
        "t", 60);
    iso_ready("settle=off");
    iso_expect_equal();
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    iso_expect_equal_back();
}

int main(void)
{
    static const char *const SETTINGS[] = {"autovacuum_naptime = 1s", NULL};
    const struct CMUnitTest tests[] = {
        t_test(an_analyze_after_an_update_is_never_the_deadlock_victim),
        t_test(a_writer_that_stays_is_named_and_the_job_can_go_on),
        t_test(lock_timeouts_that_could_make_the_application_the_victim_are_refused),
        t_test(an_autovacuum_on_the_table_is_outwaited),
    };

    t_sandbox_options.settings = SETTINGS;
    return iso_main(T_MAIN(tests));
}
