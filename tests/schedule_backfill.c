/*
 * A backfill and an application that writes the same rows in other orders: nobody is ever the
 * victim of a deadlock, or sees an error, or is kept for as long as deadlock_timeout; every row is
 * changed once.
 *
 * Each rule that this rests on (copy/batch.h) is left out once, in the same schedule: then the
 * application is the victim. What is run without it is the product's own statement, of a job's
 * plan.
 */
#include "tests/isolation.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copy/batch.h"
#include "engine/base/clock.h"

enum { DEADLOCK_TIMEOUT_MS = 1000 };

static int64_t deadlocks(void)
{
    FILE *log = fopen(t_format("%s/log", sandbox_dir(t_sandbox())), "re");
    int64_t count = 0;
    char *line = NULL;
    size_t size = 0;

    assert_non_null(log);
    while (getline(&line, &size, log) >= 0)
        count += strstr(line, "deadlock detected") != NULL;
    free(line);
    fclose(log);
    return count;
}

static void make_rows(int count)
{
    t_sqlf("CREATE TABLE item (id int PRIMARY KEY, n int NOT NULL, v int NOT NULL);\n"
           "INSERT INTO item SELECT g, 0, 0 FROM generate_series(1, %d) AS g;\n"
           "ANALYZE item",
           count);
}

static void expect_each_row_changed_once(void)
{
    t_expect("SELECT count(*) FROM item WHERE n <> 1", "0");
}

static void run_backfill(void)
{
    struct t_result result;

    t_run(&result, "backfill", "item", "--set", "n = n + 1", "--job", "j", NULL);
    t_expect_status(&result, 0);
}

/* ------------------------------------------------------------------- the product's own statement
 */

/* Of job j: prepared as `chunk` in the session; `rule` is left out of it, NULL: it is as it is. */
static void prepare_chunk(struct t_session *session, const char *rule)
{
    struct batch_plan plan;
    struct error error = {0};
    TEXT_AUTO sql = {0};
    int64_t job = t_int("SELECT id FROM pghaul.job WHERE name = 'j'");
    const char *at;

    if (!batch_plan_from_json(t_text("SELECT plan FROM pghaul.job WHERE name = 'j'"), &plan,
                              &error))
        t_fail("%s", error.message);
    batch_statement(&plan, job, BATCH_WALK, &sql);
    batch_plan_deinit(&plan);
    t_sqlf("CREATE TABLE IF NOT EXISTS pghaul.todo_%" PRId64 " (k1 int PRIMARY KEY)", job);
    at = rule == NULL ? NULL : strstr(text_string(&sql), rule);
    assert_true(rule == NULL || at != NULL);
    if (at != NULL)
        memset(sql.bytes + (at - text_string(&sql)), ' ', strlen(rule));
    t_do(session, "SET enable_seqscan = off; SET random_page_cost = 1");
    t_do(session, t_format("PREPARE chunk (text[], text[]) AS\n%s", text_string(&sql)));
}

static const char CHUNK[] = "EXECUTE chunk ('{0}', '{10}')";

/* A session that never looks for a deadlock itself: whoever it meets must. */
static struct t_session *product_session(void)
{
    struct t_session *product = t_session("product");

    t_do(product, "SET deadlock_timeout = '10min'; SET application_name = 'pghaul by hand'");
    return product;
}

/* -------------------------------------------------------------------------- p1, by the rows */

/* The application has row 5 and wants row 2, in the middle of a chunk of rows 1 to 10. */
static void a_chunk_that_meets_a_row_in_use_goes_on_without_it(void)
{
    struct t_session *app = t_session("app");
    struct t_session *product = product_session();
    int64_t before = deadlocks();

    make_rows(10);
    run_backfill();
    prepare_chunk(product, NULL);
    t_do(app, "BEGIN; UPDATE item SET v = 1 WHERE id = 5");
    t_do(product, "BEGIN");
    t_do(product, CHUNK);
    t_send(app, "UPDATE item SET v = 1 WHERE id = 2");
    t_waits(app);
    t_do(product, "COMMIT");
    (void)t_receive(app);
    t_do(app, "COMMIT");
    t_expect("SELECT string_agg(id::text, ' ' ORDER BY id) FROM item WHERE n = 1", "5");
    t_expect("SELECT count(*) FROM item WHERE n = 2", "9");
    assert_int_equal(deadlocks(), before);
}

static void without_skip_locked_the_application_is_the_victim(void)
{
    struct t_session *app = t_session("app");
    struct t_session *product = product_session();

    make_rows(10);
    run_backfill();
    prepare_chunk(product, "SKIP LOCKED");
    t_do(app, "BEGIN; UPDATE item SET v = 1 WHERE id = 5");
    t_do(product, "BEGIN");
    t_send(product, CHUNK);
    t_waits(product);
    t_do_fails(app, "UPDATE item SET v = 1 WHERE id = 2", "40P01");
    t_do(app, "ROLLBACK");
    (void)t_receive(product);
    t_do(product, "COMMIT");
}

/* ------------------------------------------------------------------ p1, by what a trigger wants */

/*
 * What SKIP LOCKED does not cover: a trigger of item that writes another table. It stands still
 * before that, with row 2 locked.
 */
static void make_trigger(const char *seconds)
{
    t_sqlf("CREATE TABLE other (id int PRIMARY KEY, v int NOT NULL);\n"
           "INSERT INTO other VALUES (1, 0);\n"
           "CREATE TABLE slow AS SELECT %s::float8 AS seconds;\n"
           "CREATE FUNCTION touch_other() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN\n"
           "    PERFORM pg_sleep(seconds) FROM public.slow;\n"
           "    UPDATE public.other SET v = v + 1 WHERE id = 1;\n"
           "    RETURN NULL;\n"
           "END $$;\n"
           "CREATE TRIGGER touch_other AFTER UPDATE OF n ON item FOR EACH ROW\n"
           "    WHEN (NEW.id = 2) EXECUTE FUNCTION touch_other()",
           seconds);
}

static const char STANDS_STILL[] = "SELECT count(*) > 0 FROM pg_stat_activity\n"
                                   " WHERE application_name LIKE 'pghaul%' AND wait_event = "
                                   "'PgSleep'";

/* The application has `other` and wants row 2, from soon after the product has it. */
static void play_with_trigger(const char *seconds)
{
    struct t_session *app = t_session("app");
    struct t_process *backfill;
    struct t_result result;
    int64_t before = deadlocks();

    make_rows(10);
    make_trigger(seconds);
    t_do(app, "BEGIN; UPDATE other SET v = 10 WHERE id = 1");
    backfill = t_start("backfill", "item", "--set", "n = n + 1", "--job", "j", NULL);
    for (int i = 0; i < 3; i++) { /* the trial, the chunk, row 2 alone */
        int64_t start_ms;

        t_wait_until(STANDS_STILL, "t", 30);
        start_ms = clock_ms();
        t_do(app, "SAVEPOINT s; UPDATE item SET v = v + 1 WHERE id = 2");
        assert_in_range(clock_ms() - start_ms, 0, DEADLOCK_TIMEOUT_MS - 1);
        t_do(app, "ROLLBACK TO s");
    }
    t_do(app, "UPDATE item SET v = v + 1 WHERE id = 2; COMMIT");
    t_sql("DELETE FROM slow");
    t_wait(backfill, &result);
    t_expect_status(&result, 0);
    expect_each_row_changed_once();
    t_expect("SELECT v FROM item WHERE id = 2", "1");
    t_expect("SELECT v FROM other", "11");
    assert_int_equal(deadlocks(), before);
}

static void a_trigger_that_wants_what_the_application_has_makes_nobody_a_victim(void)
{
    play_with_trigger("0.5");
}

static void a_trigger_that_takes_nearly_as_long_as_it_may_makes_nobody_a_victim(void)
{
    play_with_trigger("0.84");
}

/* The time limit left out: only lock.timeout stands, as in the probe. */
static void without_the_time_limit_the_application_is_the_victim(void)
{
    struct t_session *app = t_session("app");
    struct t_session *product = product_session();

    make_rows(10);
    make_trigger("0");
    run_backfill();
    t_sql("UPDATE slow SET seconds = 0.98");
    prepare_chunk(product, NULL);
    t_do(app, "BEGIN; UPDATE other SET v = 10 WHERE id = 1");
    t_do(product, "SET lock_timeout = '300ms'; BEGIN");
    t_send(product, CHUNK);
    t_wait_until(STANDS_STILL, "t", 30);
    t_do_fails(app, "UPDATE item SET v = 1 WHERE id = 2", "40P01");
    t_do(app, "ROLLBACK");
    (void)t_receive(product);
    t_do(product, "COMMIT");
}

/* --------------------------------------------------------------------------------- under a load */

enum { LOAD_ROWS = 4000 };

/*
 * Transactions of five rows: each client has rows of its own, and takes them in any order, so no
 * two of them can be each other's deadlock. pgbench ends a client at its first error.
 */
static const char SCRIPT[] = "\\set a 1 + :client_id + 4 * random(0, 999)\n"
                             "\\set b 1 + :client_id + 4 * random(0, 999)\n"
                             "\\set c 1 + :client_id + 4 * random(0, 999)\n"
                             "\\set d 1 + :client_id + 4 * random(0, 999)\n"
                             "\\set e 1 + :client_id + 4 * random(0, 999)\n"
                             "BEGIN;\n"
                             "UPDATE item SET v = v + 1 WHERE id = :a;\n"
                             "UPDATE item SET v = v + 1 WHERE id = :b;\n"
                             "UPDATE item SET v = v + 1 WHERE id = :c;\n"
                             "UPDATE item SET v = v + 1 WHERE id = :d;\n"
                             "UPDATE item SET v = v + 1 WHERE id = :e;\n"
                             "INSERT INTO done VALUES (5);\n"
                             "COMMIT;\n";

/*
 * A millisecond a row: a chunk has its rows for long enough to be met. `when`: BEFORE or AFTER. A
 * trigger BEFORE could keep rows from being written, so no chunk is a plain UPDATE then.
 */
static void make_load_tables(const char *when)
{
    make_rows(LOAD_ROWS);
    t_sqlf("CREATE TABLE done (rows int);\n"
           "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN\n"
           "    PERFORM pg_sleep(0.001);\n"
           "    RETURN NEW;\n"
           "END $$;\n"
           "CREATE TRIGGER linger %s UPDATE OF n ON item\n"
           "    FOR EACH ROW EXECUTE FUNCTION linger()",
           when);
}

static struct t_process *start_load(char *path)
{
    struct t_process *load;
    int fd = mkstemp(path);

    assert_true(fd >= 0 && write(fd, SCRIPT, strlen(SCRIPT)) == (ssize_t)strlen(SCRIPT));
    close(fd);
    load = t_start_program("pgbench", "-n", "-c", "4", "-T", "600", "-f", path, t_conninfo(), NULL);
    t_wait_until("SELECT count(*) > 100 FROM done", "t", 30);
    return load;
}

static void end_load(struct t_process *load, const char *path, struct t_result *result)
{
    if (t_running(load))
        t_kill(load, SIGTERM);
    t_wait(load, result);
    unlink(path);
}

static void backfill_under_load(const char *when)
{
    char path[] = "/tmp/pghaul-load-XXXXXX";
    struct t_process *load;
    struct t_result result;
    int64_t before = deadlocks();

    make_load_tables(when);
    load = start_load(path);
    /* At full speed: they are to meet. */
    t_run(&result, "backfill", "item", "--set", "n = n + 1", "--job", "j", "-s", "policy=off",
          NULL);
    t_expect_status(&result, 0);
    assert_true(t_running(load));
    end_load(load, path, &result);
    t_expect_no_err(&result, "ERROR");
    t_expect_no_err(&result, "aborted");
    expect_each_row_changed_once();
    /* Nothing that the load committed was overwritten. */
    t_expect("SELECT (SELECT sum(v) FROM item) = (SELECT sum(rows) FROM done)", "t");
    t_expect("SELECT sum(later) > 0 FROM pghaul.span", "t"); /* they did meet */
    assert_int_equal(deadlocks(), before);
}

static void a_load_that_takes_rows_in_other_orders_sees_no_error(void)
{
    backfill_under_load("BEFORE");
}

static void nor_does_it_where_chunks_may_be_plain_updates(void)
{
    backfill_under_load("AFTER");
}

/* The same load, and chunks as one would write them. */
static void plain_chunks_and_the_same_load_end_in_deadlocks(void)
{
    char path[] = "/tmp/pghaul-load-XXXXXX";
    struct t_session *plain = t_session("plain");
    struct t_process *load;
    struct t_result result;
    int64_t before = deadlocks();

    make_load_tables("BEFORE");
    load = start_load(path);
    for (int from = 0; from < LOAD_ROWS && deadlocks() == before; from += 500)
        t_do(plain, t_format("DO $$ BEGIN\n"
                             "    UPDATE item SET n = n + 1 WHERE id > %d AND id <= %d;\n"
                             "EXCEPTION WHEN deadlock_detected THEN NULL; END $$",
                             from, from + 500));
    end_load(load, path, &result);
    assert_true(deadlocks() > before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_chunk_that_meets_a_row_in_use_goes_on_without_it),
        t_test(without_skip_locked_the_application_is_the_victim),
        t_test(a_trigger_that_wants_what_the_application_has_makes_nobody_a_victim),
        t_test(a_trigger_that_takes_nearly_as_long_as_it_may_makes_nobody_a_victim),
        t_test(without_the_time_limit_the_application_is_the_victim),
        t_test(a_load_that_takes_rows_in_other_orders_sees_no_error),
        t_test(nor_does_it_where_chunks_may_be_plain_updates),
        t_test(plain_chunks_and_the_same_load_end_in_deadlocks),
    };

    return T_MAIN(tests);
}
