/*
 * The program under the hostile load: nothing is lost, nothing fails that would not fail anyway,
 * nobody waits long. What every run checks is said in hostile.h; here are the cases, the control
 * run without pghaul, and proofs that these checks can fail.
 *
 * How long the load goes on besides the work itself: PGHAUL_HOSTILE_MS (default 3000) for each of
 * three stages of the main case, a third of that for the others.
 */
#include "tests/hostile.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"

enum { ROWS = 20000 };

static int stage_ms(void)
{
    const char *ms = getenv("PGHAUL_HOSTILE_MS");

    return ms != NULL ? atoi(ms) : 3000;
}

/* -------------------------------------------------------------------------------------- control */

static void the_load_alone_sees_the_same_classes_of_errors(void)
{
    struct hostile_options options = {
        .shape = hostile_shape("retype and add a column"), .rows = ROWS, .seed = 1};
    struct traffic *traffic;

    hostile_make(options.shape, options.rows, options.seed);
    traffic = hostile_start(&options);
    hostile_more(traffic, 2000);
    hostile_stop(traffic, &options);
    assert_int_equal(hostile_wrong(NULL), 0);
}

/* ------------------------------------------------------------- the oracles themselves can fail */

static struct traffic *make_ready(struct hostile_options *options)
{
    struct t_result result;
    struct traffic *traffic;

    options->shape = hostile_shape("composite text key");
    options->rows = 5000;
    options->seed = 2;
    hostile_make(options->shape, options->rows, options->seed);
    traffic = hostile_start(options);
    t_run(&result, "alter", "acct", "--job", "j", "--do", "ALTER COLUMN grp TYPE bigint", "-s",
          "settle=off", NULL);
    t_expect_status(&result, 0);
    assert_int_equal(hostile_lost(options->shape, false, NULL), 0);
    return traffic;
}

static void a_trigger_that_logs_nothing_is_found_out(void)
{
    struct hostile_options options = {0};
    struct traffic *traffic = make_ready(&options);
    struct t_result result;
    const char *sample;

    /* Rows that are missing stand in nobody's way; rows that are left over would be noticed. */
    t_sql("CREATE OR REPLACE FUNCTION pghaul.log_1_insert() RETURNS trigger LANGUAGE plpgsql\n"
          "AS 'BEGIN RETURN NULL; END'");
    hostile_more(traffic, 1000);
    /* The invariant is broken, and the check of it says so. */
    assert_in_range(hostile_lost(options.shape, false, &sample), 1, options.rows);
    assert_non_null(sample);
    /* The program swaps (its verification is fresh), and the ledger tells. */
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    assert_in_range(hostile_wrong(&sample), 1, options.rows);
    hostile_abandon(traffic);
    assert_in_range(hostile_wrong(NULL), 1, options.rows);
}

static void one_damaged_row_of_the_new_table_is_found(void)
{
    struct hostile_options options = {0};

    hostile_stop(make_ready(&options), &options);
    assert_int_equal(hostile_lost(options.shape, false, NULL), 0);
    t_sql("DELETE FROM pghaul.log_1_a; DELETE FROM pghaul.log_1_b; DELETE FROM pghaul.acct_1;\n"
          "INSERT INTO pghaul.acct_1 SELECT * FROM acct");
    assert_int_equal(hostile_lost(options.shape, false, NULL), 0);
    t_sql("UPDATE pghaul.acct_1 SET bal = bal * 1.0 WHERE id = (SELECT min(id) FROM acct)");
    assert_int_equal(hostile_lost(options.shape, false, NULL), 1);
    t_sql("DELETE FROM pghaul.acct_1 WHERE id = (SELECT max(id) FROM acct)");
    assert_int_equal(hostile_lost(options.shape, false, NULL), 2);
    t_sql("INSERT INTO pghaul.log_1_a (k1, k2) SELECT realm, id FROM acct\n"
          " WHERE id = (SELECT max(id) FROM acct)");
    assert_int_equal(hostile_lost(options.shape, false, NULL), 1);
}

/* ------------------------------------------------------------------------------------ autovacuum
 */

/* As slow as it can be made: it would go on for hours. */
#define SLOWLY                                                                  \
    "(autovacuum_enabled = on, autovacuum_vacuum_threshold = 1,"                \
    " autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100, " \
    "autovacuum_vacuum_cost_limit = 1)"

/* `change` makes dead rows in the table, and changes nothing that lasts. */
static void swap_beside_a_vacuum_of(const char *table, const char *change)
{
    struct t_result result;
    /* Not both tables: with a naptime as short as here, one is vacuumed again while the other's
     * vacuum gives way. And a change of the source's definition after `alter` would be refused. */
    bool source = strcmp(table, "public.t") == 0;

    t_sql(t_format("CREATE TABLE t (id, v) WITH %s\n"
                   "    AS SELECT g, repeat('x', 500) FROM generate_series(1, 20000) g",
                   source ? SLOWLY : "(autovacuum_enabled = off)"));
    t_sql("ALTER TABLE t ADD PRIMARY KEY (id)");
    t_run(&result, "alter", "t", "--job", "j", "--do", "ALTER COLUMN id TYPE bigint", NULL);
    t_expect_status(&result, 0);
    if (!source)
        t_sql(t_format("ALTER TABLE %s SET " SLOWLY, table));
    t_sql(change);
    t_wait_until(
        t_format("SELECT count(*) > 0 FROM pg_stat_activity\n"
                 " WHERE backend_type = 'autovacuum worker' AND query LIKE '%%VACUUM%%%s%%'",
                 table),
        "t", 60);
    t_run(&result, "set", "j", "lock.tries=5", NULL);
    t_expect_status(&result, 0);
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT count(*) FROM t", "20000");
}

static void an_autovacuum_of_the_table_gives_way_to_the_swap(void)
{
    swap_beside_a_vacuum_of("public.t", "UPDATE t SET v = v");
}

static void an_autovacuum_of_the_new_table_gives_way_to_the_swap(void)
{
    swap_beside_a_vacuum_of("pghaul.t_1", "UPDATE pghaul.t_1 SET v = v");
}

static void an_autovacuum_of_the_log_gives_way_to_the_swap(void)
{
    swap_beside_a_vacuum_of("pghaul.log_1_a",
                            "INSERT INTO pghaul.log_1_a SELECT 1 FROM generate_series(1, 100000);\n"
                            "DELETE FROM pghaul.log_1_a");
}

/*
 * A reader of the old table (its snapshot is older than the swap) keeps it from being dropped. A
 * session with a plan from before the swap locks that table once more before it plans again.
 */
static void a_plan_from_before_the_swap_does_not_wait_for_the_end_of_the_old_table(void)
{
    struct t_session *app = t_session("app");
    struct t_session *reader = t_session("reader");
    struct t_process *finish;
    struct t_result result;
    int64_t start_ms;

    t_sql("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 1000) AS g;\n"
          "ALTER TABLE t ADD PRIMARY KEY (id)");
    t_do(app, "SET plan_cache_mode = force_generic_plan; PREPARE p AS SELECT count(*)::int FROM t");
    t_do(app, "EXECUTE p");
    t_run(&result, "alter", "t", "--job", "j", "--do", "ALTER COLUMN id TYPE bigint", "--cutover",
          "now", "--yes", NULL);
    t_expect_status(&result, 0);
    t_do(reader, "BEGIN; SELECT count(*) FROM pghaul.t_1_old");
    finish = t_start("finish", "j", "--yes", NULL);
    t_wait_until("SELECT count(*) > 0 FROM pg_locks\n"
                 " WHERE relation = to_regclass('pghaul.t_1_old')\n"
                 "   AND mode = 'AccessExclusiveLock' AND NOT granted",
                 "t", 30);
    start_ms = clock_ms();
    assert_string_equal(t_ask(app, "EXECUTE p"), "1000");
    assert_in_range(clock_ms() - start_ms, 0, 100);
    assert_true(t_running(finish));
    t_do(reader, "COMMIT");
    t_wait(finish, &result);
    t_expect_status(&result, 0);
    t_expect("SELECT to_regclass('pghaul.t_1_old') IS NULL", "t");
}

/* ---------------------------------------------------------------------------------------- cases */

static void nothing_is_lost_there_and_back(void)
{
    hostile_job(&(struct hostile_options){.shape = hostile_shape("retype and add a column"),
                                          .rows = ROWS,
                                          .seed = 11,
                                          .ready_ms = stage_ms()});
}

static void nothing_is_lost_until_finish(void)
{
    hostile_job(&(struct hostile_options){.shape = hostile_shape("retype the key"),
                                          .settings = {"-s", "workers=1"},
                                          .rows = ROWS,
                                          .seed = 12,
                                          .ready_ms = stage_ms() / 3,
                                          .end = HOSTILE_FINISH});
}

static void nothing_is_lost_with_a_composite_text_key(void)
{
    hostile_job(&(struct hostile_options){.shape = hostile_shape("composite text key"),
                                          .settings = {"-s", "workers=3"},
                                          .rows = ROWS,
                                          .seed = 13,
                                          .ready_ms = stage_ms() / 3});
}

static void nothing_is_lost_with_a_numeric_key(void)
{
    hostile_job(&(struct hostile_options){.shape = hostile_shape("numeric key"),
                                          .rows = ROWS,
                                          .seed = 14,
                                          .ready_ms = stage_ms() / 3});
}

static void nothing_is_lost_with_more_unique_indexes(void)
{
    hostile_job(&(struct hostile_options){.shape = hostile_shape("more unique indexes"),
                                          .settings = {"-s", "order=key", "-s", "ready=dual-write"},
                                          .rows = ROWS,
                                          .seed = 15,
                                          .ready_ms = stage_ms() / 3});
}

static void nothing_is_lost_with_triggers_per_row(void)
{
    hostile_job(&(struct hostile_options){.shape = hostile_shape("retype and add a column"),
                                          .settings = {"-s", "capture=row"},
                                          .rows = ROWS,
                                          .seed = 16,
                                          .ready_ms = stage_ms() / 3});
}

static void nothing_is_lost_when_the_table_is_truncated_now_and_then(void)
{
    hostile_job(&(struct hostile_options){.shape = hostile_shape("retype and add a column"),
                                          .rows = ROWS,
                                          .seed = 17,
                                          .truncate_share = 0.0001,
                                          .ready_ms = stage_ms() / 3,
                                          .end = HOSTILE_FINISH});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(the_load_alone_sees_the_same_classes_of_errors),
        t_test(a_trigger_that_logs_nothing_is_found_out),
        t_test(one_damaged_row_of_the_new_table_is_found),
        t_test(an_autovacuum_of_the_table_gives_way_to_the_swap),
        t_test(an_autovacuum_of_the_new_table_gives_way_to_the_swap),
        t_test(an_autovacuum_of_the_log_gives_way_to_the_swap),
        t_test(a_plan_from_before_the_swap_does_not_wait_for_the_end_of_the_old_table),
        t_test(nothing_is_lost_there_and_back),
        t_test(nothing_is_lost_until_finish),
        t_test(nothing_is_lost_with_a_composite_text_key),
        t_test(nothing_is_lost_with_a_numeric_key),
        t_test(nothing_is_lost_with_more_unique_indexes),
        t_test(nothing_is_lost_with_triggers_per_row),
        t_test(nothing_is_lost_when_the_table_is_truncated_now_and_then),
    };

    t_sandbox_options.settings = hostile_server_settings;
    return T_MAIN(tests);
}
