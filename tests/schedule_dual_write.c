/*
 * The triggers while they write the shadow: cases F02, F04, F06, F08, F09, F11, F18, F22, F23, F30,
 * F35 of the executable model. The application gets no error and waits 24 ms at most where the
 * design says so.
 */
#include "tests/isolation.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "copy/capture.h"
#include "engine/base/clock.h"

enum {
    WAIT_MS_MAX = 100
}; /* the issue: no wait of the application's statements above this is caused by us */

static void set_up(int rows)
{
    iso_table(rows);
    iso_ready("settle=off");
    iso_dual_write();
}

static void a_change_is_in_the_shadow_when_it_commits(void)
{
    set_up(10);
    iso_play("a: BEGIN", "a: UPDATE item SET v = v + 1 WHERE id < 4",
             "a: DELETE FROM item WHERE id = 5", "a: INSERT INTO item VALUES (11, 11, 1, 'x')",
             "a: UPDATE item SET id = 12 WHERE id = 6",
             "a: INSERT INTO item VALUES (7, 0, 0, 'y') ON CONFLICT (id) DO UPDATE SET v = 7",
             "a: COMMIT");
    assert_int_equal(iso_log_rows(), 0);
    iso_expect_equal();
}

/* F02 */
static void a_row_that_a_nested_trigger_puts_back_stays_in_the_shadow(void)
{
    set_up(10);
    t_sql("CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
          " INSERT INTO public.item VALUES (old.id, old.u, -1, 'kept'); RETURN NULL; END $$;"
          "CREATE TRIGGER zz AFTER DELETE ON item FOR EACH ROW EXECUTE FUNCTION keep()");
    iso_play("a: DELETE FROM item WHERE id = 3");
    t_expect("SELECT t FROM item WHERE id = 3", "kept");
    iso_expect_equal();
}

/* F35 */
static void one_statement_may_replace_a_row_and_delete_another(void)
{
    set_up(10);
    iso_play("a: WITH d AS (DELETE FROM item WHERE id = 1 RETURNING *),"
             " i AS (INSERT INTO item SELECT id, NULL, v + 7, t FROM d RETURNING 1)"
             " DELETE FROM item USING i WHERE item.id = 3");
    t_expect("SELECT v FROM item WHERE id = 1", "7");
    iso_expect_equal();
}

/* F35 */
static void one_statement_may_move_a_key_and_fill_its_place(void)
{
    set_up(10);
    iso_play("a: WITH d AS (UPDATE item SET id = 11 WHERE id = 1 RETURNING *),"
             " i AS (INSERT INTO item SELECT 1, NULL, 9, 'new' FROM d RETURNING 1)"
             " UPDATE item SET v = v + 1 FROM i WHERE item.id = 2");
    t_expect("SELECT count(*) FROM item WHERE id IN (1, 11)", "2");
    iso_expect_equal();
}

/* F04 */
static void a_key_that_is_equal_and_not_the_same_is_written(void)
{
    iso_table_with("id numeric PRIMARY KEY, u int UNIQUE, v int, t text", 10);
    iso_ready("settle=off");
    iso_dual_write();
    iso_play("a: UPDATE item SET id = 2.00 WHERE id = 2");
    t_expect("SELECT id::text FROM pghaul.item_1 WHERE id = 2", "2.00");
    assert_int_equal(iso_log_rows(), 0);
    iso_expect_equal();
}

/* F06: replay holds the row, for as long as it likes. */
static void the_application_does_not_wait_for_replay(void)
{
    set_up(10);
    t_sql("INSERT INTO pghaul.log_1_a VALUES (1)");
    iso_play("replay: @begin", "replay: @collect", "replay: @hold", "replay: @skip",
             "replay: @claim", "replay: @delete", "replay: @insert",
             "a: UPDATE item SET v = 9 WHERE id = 1");
    assert_true(iso_took_ms("a") < WAIT_MS_MAX);
    iso_play("replay: @recheck", "replay: @return", "replay: COMMIT");
    assert_true(iso_logged("1"));
    iso_expect_equal();
}

/* F11 */
static void a_short_statement_timeout_of_the_application_is_not_used_up(void)
{
    set_up(10);
    iso_play("holder: BEGIN", "holder: SELECT FROM pghaul.item_1 WHERE id = 1 FOR UPDATE",
             "a: SET statement_timeout = '60ms'", "a: UPDATE item SET v = 1 WHERE id = 1",
             "holder: ROLLBACK");
    assert_true(iso_logged("1"));
    iso_expect_equal();
}

static void the_lock_timeout_of_the_application_is_as_it_was(void)
{
    set_up(10);
    iso_play("holder: BEGIN", "holder: SELECT FROM pghaul.item_1 WHERE id = 1 FOR UPDATE",
             "a: BEGIN", "a: SET LOCAL lock_timeout = '7777ms'",
             "a: UPDATE item SET v = 1 WHERE id = 1", "a: UPDATE item SET v = 1 WHERE id = 2");
    assert_string_equal(iso_ask("a", "SHOW lock_timeout"), "7777ms");
    iso_play("a: COMMIT", "holder: ROLLBACK");
    assert_string_equal(iso_ask("a", "SHOW lock_timeout"), "0");
    iso_expect_equal();
}

/* F08: shadow row 2 still has u = 2, and the open transaction that corrects it would block row 5.
 */
static void applications_do_not_wait_for_each_other_through_the_shadow(void)
{
    set_up(10);
    iso_play("rr: BEGIN ISOLATION LEVEL REPEATABLE READ",
             "rr: UPDATE item SET u = 100 WHERE id = 2", "rr: COMMIT");
    assert_true(iso_logged("2"));
    t_expect("SELECT u FROM pghaul.item_1 WHERE id = 2", "2");
    iso_play("a: BEGIN", "a: UPDATE item SET v = 1 WHERE id = 2",
             "b: UPDATE item SET u = 2 WHERE id = 5");
    assert_true(iso_took_ms("b") < WAIT_MS_MAX);
    iso_play("a: COMMIT");
    assert_true(iso_logged("5"));
    iso_expect_equal();
}

/* F09 */
static void a_deferrable_constraint_fails_no_commit(void)
{
    iso_table_with(
        "id int PRIMARY KEY, u int, v int, t text, UNIQUE (u) DEFERRABLE INITIALLY DEFERRED", 10);
    iso_ready("settle=off");
    iso_dual_write();
    iso_play("rr: BEGIN ISOLATION LEVEL REPEATABLE READ",
             "rr: UPDATE item SET u = 100 WHERE id = 2", "rr: COMMIT", "a: BEGIN",
             "a: UPDATE item SET u = 2 WHERE id = 5", "a: COMMIT");
    iso_expect_equal();
    iso_play("a: BEGIN", "a: UPDATE item SET u = 7 WHERE id = 8",
             "a: UPDATE item SET u = 8 WHERE id = 7", "a: COMMIT");
    iso_expect_equal();
}

/* F09: after the swap it is deferrable again; and so it is on the way back, where dual-write stays
 * off. */
static void a_deferrable_constraint_is_one_again_after_the_swap(void)
{
    struct t_result result;

    iso_table_with(
        "id int PRIMARY KEY, u int, v int, t text, UNIQUE (u) DEFERRABLE INITIALLY DEFERRED", 10);
    iso_ready("settle=off");
    t_sql("BEGIN; UPDATE item SET u = 3 WHERE id = 4; UPDATE item SET u = 4 WHERE id = 3; COMMIT");
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    iso_expect_equal_back();
    t_sql("BEGIN; UPDATE item SET u = 5 WHERE id = 6; UPDATE item SET u = 6 WHERE id = 5; COMMIT");
    iso_expect_equal_back();
    t_run(&result, "rollback", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT string_agg(u::text, ',' ORDER BY id) FROM item", "1,2,4,3,6,5,7,8,9,10");
    t_sql("BEGIN; UPDATE item SET u = 7 WHERE id = 8; UPDATE item SET u = 8 WHERE id = 7; COMMIT");
}

/* Values exchanged between rows of different batches, on the way back into deferrable constraints.
 */
static void exchanged_values_find_their_way_back_into_a_deferrable_constraint(void)
{
    struct t_result result;

    iso_table_with(
        "id int PRIMARY KEY, u int, v int, t text, UNIQUE (u) DEFERRABLE INITIALLY DEFERRED", 4000);
    iso_ready("settle=off");
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_sql("UPDATE item SET u = 4001 - u; UPDATE item SET u = u % 4000 + 1");
    t_sql("CREATE TABLE ledger AS SELECT id, u, v::int, t FROM item");
    t_run(&result, "rollback", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT count(*) FROM (TABLE ledger EXCEPT TABLE item) AS x", "0");
}

/* F18 */
static void settings_of_the_application_do_not_change_what_is_written(void)
{
    struct t_result result;

    t_sql("CREATE TABLE item (id int PRIMARY KEY, f float8, b bytea, ts timestamptz, d date, i "
          "interval, n text[]);"
          "INSERT INTO item SELECT g, g / 3.0, decode(md5(g::text), 'hex'), '2024-06-01 "
          "12:00+00'::timestamptz"
          " + g * interval '1 hour', '2024-02-03', '1 day 02:03:04', ARRAY[NULL, 'x'] FROM "
          "generate_series(1, 20) AS g");
    t_run(&result, "alter", "item", "--job", "j", "--do", "ALTER COLUMN f TYPE text", "--do",
          "ALTER COLUMN b TYPE text", "--do", "ALTER COLUMN ts TYPE text", "--do",
          "ALTER COLUMN d TYPE text", "--do", "ALTER COLUMN i TYPE text", "--do",
          "ALTER COLUMN n TYPE text", "--no-rollback", "-s", "settle=off", NULL);
    t_expect_status(&result, 0);
    iso_dual_write();
    iso_play("a: SET extra_float_digits = -3", "a: SET bytea_output = escape",
             "a: SET TimeZone = 'Asia/Tokyo'", "a: SET DateStyle = 'German, DMY'",
             "a: SET IntervalStyle = postgres_verbose", "a: SET array_nulls = off",
             "a: SET standard_conforming_strings = off", "a: SET xmlbinary = hex",
             "a: SET search_path = ''", "a: SET lc_numeric = 'C'",
             "a: SET default_text_search_config = 'pg_catalog.german'", "a: SET row_security = off",
             "a: SET enable_indexscan = off", "a: SET enable_nestloop = off",
             "a: SET plan_cache_mode = force_generic_plan",
             "a: UPDATE public.item SET f = f + 1, ts = ts + interval '1 minute' WHERE id <= 10");
    assert_int_equal(iso_log_rows(), 0);
    t_expect(
        "SELECT count(*) FROM item AS r JOIN pghaul.item_1 AS s USING (id) WHERE (r.f::text, "
        "r.b::text, r.ts::text,"
        " r.d::text, r.i::text, r.n::text) IS NOT DISTINCT FROM (s.f, s.b, s.ts, s.d, s.i, s.n)",
        "20");
}

/* F22: the statement waits for a row when the functions are replaced; both bodies keep the
 * invariant. */
static void the_functions_may_change_under_a_statement_that_waits(void)
{
    set_up(10);
    iso_play("b: UPDATE item SET v = v WHERE id = 1", "a: BEGIN",
             "a: UPDATE item SET v = 1 WHERE id = 1", "b> UPDATE item SET v = 2 WHERE id = 1");
    iso_log_mode();
    iso_play("c: UPDATE item SET v = 3 WHERE id = 2", "a: UPDATE item SET v = 4 WHERE id = 3",
             "a: COMMIT", "b<");
    iso_expect_equal();
    iso_play("a: BEGIN", "a: UPDATE item SET v = 5 WHERE id = 1",
             "b> UPDATE item SET v = 6 WHERE id = 1");
    iso_dual_write();
    iso_play("a: UPDATE item SET v = 6 WHERE id = 3", "a: COMMIT", "b<");
    iso_expect_equal();
}

/* F23 */
static void switching_the_functions_under_load_fails_nobody(void)
{
    struct t_process *load;
    struct t_result result;
    struct error error = {0};
    struct run *run;
    int switches = 0;
    char path[] = "/tmp/pghaul-load-XXXXXX";
    int fd;
    static const char SCRIPT[] =
        "\\set id random(1, 50)\nUPDATE item SET v = v + 1 WHERE id = :id;\n"
        "\\set id random(1, 50)\nDELETE FROM item WHERE id = :id;\n"
        "\\set id random(1, 50)\n"
        "INSERT INTO item VALUES (:id, NULL, 0, 'x') ON CONFLICT (id) DO UPDATE SET v = 1;\n";

    set_up(50);
    fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, SCRIPT, strlen(SCRIPT)) == (ssize_t)strlen(SCRIPT));
    close(fd);
    run = iso_load();
    load = t_start_program("pgbench", "-n", "-c", "4", "-T", "4", "-f", path, t_conninfo(), NULL);
    while (t_running(load)) {
        assert_true(capture_set_mode(run, &copy_of(run)->forward,
                                     switches % 2 == 0 ? CAPTURE_LOG : CAPTURE_DUAL, &error));
        switches++;
        clock_sleep_ms(5);
    }
    t_wait(load, &result);
    unlink(path);
    t_expect_status(&result, 0);
    assert_true(switches > 20);
    iso_expect_equal();
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    iso_expect_equal_back();
}

/* F30: the log is written without our timeout. */
static void the_log_is_never_written_under_our_lock_timeout(void)
{
    set_up(10);
    iso_play("a: BEGIN ISOLATION LEVEL REPEATABLE READ", "log: BEGIN",
             "log: LOCK TABLE pghaul.log_1_a, pghaul.log_1_b IN ACCESS EXCLUSIVE MODE",
             "a> UPDATE item SET v = 1 WHERE id = 1", "log: SELECT pg_sleep(0.1)", "log: COMMIT",
             "a<", "a: COMMIT",
             /* and the same from inside dual-write, after its own timeout has struck */
             "holder: BEGIN", "holder: SELECT FROM pghaul.item_1 WHERE id = 2 FOR UPDATE",
             "log: BEGIN",
             "log: LOCK TABLE pghaul.log_1_a, pghaul.log_1_b IN ACCESS EXCLUSIVE MODE",
             "a>> UPDATE item SET v = 1 WHERE id = 2", "log: SELECT pg_sleep(0.2)", "log: COMMIT",
             "a<", "holder: ROLLBACK");
    assert_true(iso_logged("1"));
    assert_true(iso_logged("2"));
    iso_expect_equal();
}

/* F30 */
static void a_vacuum_never_cuts_the_log(void)
{
    set_up(10);
    t_sql("INSERT INTO pghaul.log_1_a SELECT g FROM generate_series(1, 20000) AS g; DELETE FROM "
          "pghaul.log_1_a");
    t_sql("CREATE TABLE size AS SELECT pg_relation_size('pghaul.log_1_a') AS before");
    t_sql("VACUUM pghaul.log_1_a");
    t_expect("SELECT before = pg_relation_size('pghaul.log_1_a') FROM size", "t");
}

/* Transactions with an old snapshot cannot see what they would have to write: they log. */
static void an_old_snapshot_logs_and_nothing_fails(void)
{
    set_up(10);
    iso_play("rr: BEGIN ISOLATION LEVEL REPEATABLE READ", "rr: SELECT 1 FROM pg_class LIMIT 1",
             "a: UPDATE item SET v = 1 WHERE id = 1", "rr: UPDATE item SET v = 2 WHERE id = 2",
             "rr: INSERT INTO item VALUES (30, 30, 0, 'n')", "rr: DELETE FROM item WHERE id = 4",
             "ser: BEGIN ISOLATION LEVEL SERIALIZABLE", "ser: UPDATE item SET v = 2 WHERE id = 5",
             "rr: COMMIT", "ser: COMMIT");
    iso_expect_equal();
    assert_true(iso_logged("2") && iso_logged("30") && iso_logged("4") && iso_logged("5"));
    assert_false(iso_logged("1"));
}

/* A savepoint that is rolled back takes the shadow's row with it. */
static void what_is_rolled_back_leaves_nothing(void)
{
    set_up(10);
    iso_play("a: BEGIN", "a: SAVEPOINT s", "a: UPDATE item SET v = 1 WHERE id = 1",
             "a: DELETE FROM item WHERE id = 2", "a: ROLLBACK TO s",
             "a: UPDATE item SET v = 2 WHERE id = 3", "a: COMMIT", "a: BEGIN",
             "a: UPDATE item SET id = id + 100", "a: ROLLBACK");
    iso_expect_equal();
}

/* There and back with every kind of statement, compared by joins of the tables. */
static void write_of_every_kind(void)
{
    iso_play("a: UPDATE item SET v = v + 1 WHERE id % 3 = 0",
             "a: UPDATE item SET id = id + 1000 WHERE id <= 5", "a: DELETE FROM item WHERE id = 30",
             "a: INSERT INTO item VALUES (30, 30, 8, 'again'), (31, NULL, 8, 'x')"
             " ON CONFLICT (id) DO UPDATE SET v = -1, t = excluded.t",
             "a: WITH d AS (DELETE FROM item WHERE id = 32 RETURNING *)"
             " UPDATE item SET v = d.v + 5 FROM d WHERE item.id = 33",
             "rr: BEGIN ISOLATION LEVEL REPEATABLE READ", "rr: UPDATE item SET v = 3 WHERE id = 34",
             "rr: COMMIT", "a: BEGIN", "a: UPDATE item SET v = 77 WHERE id = 35", "a: SAVEPOINT s",
             "a: DELETE FROM item", "a: ROLLBACK TO s", "a: COMMIT");
}

static void swap_and_come_back(void)
{
    struct t_result result;

    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    iso_expect_equal_back();
    t_sql("UPDATE item SET id = id - 1000 WHERE id > 1000");
    write_of_every_kind();
    iso_expect_equal_back();
    t_sql("CREATE TABLE ledger AS SELECT id, u, v::int, t FROM item");
    t_run(&result, "rollback", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT count(*) FROM ((TABLE ledger EXCEPT ALL TABLE item) UNION ALL"
             " (TABLE item EXCEPT ALL TABLE ledger)) AS x",
             "0");
}

/* `-s ready=dual-write`: the shadow is live for readers; only what could not be certain is logged.
 */
static void a_job_that_is_ready_with_dual_write_keeps_the_shadow_live(void)
{
    iso_table(40);
    iso_ready("settle=off", "ready=dual-write");
    t_expect("SELECT facts #>> '{forward,mode}' FROM pghaul.job", "dual-write");
    write_of_every_kind();
    t_expect("SELECT string_agg(k1::text, ',') FROM pghaul.log_1_a", "34");
    iso_expect_equal();
    swap_and_come_back();
}

/* `-s capture=row`, in log mode and in dual-write. */
static void triggers_per_row_see_what_triggers_per_statement_see(void)
{
    iso_table(40);
    iso_ready("settle=off", "capture=row");
    t_expect("SELECT count(*) FROM pg_trigger\n"
             " WHERE tgrelid = 'item'::regclass AND tgtype & 1 = 1 AND tgname LIKE 'pghaul%'",
             "3");
    write_of_every_kind();
    t_expect("SELECT count(*) = 0 FROM (TABLE pghaul.item_1 EXCEPT TABLE item) AS x", "f");
    iso_expect_equal();
    iso_dual_write();
    t_sql("UPDATE item SET id = id - 1000 WHERE id > 1000");
    write_of_every_kind();
    iso_expect_equal();
    swap_and_come_back();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_change_is_in_the_shadow_when_it_commits),
        t_test(a_row_that_a_nested_trigger_puts_back_stays_in_the_shadow),
        t_test(one_statement_may_replace_a_row_and_delete_another),
        t_test(one_statement_may_move_a_key_and_fill_its_place),
        t_test(a_key_that_is_equal_and_not_the_same_is_written),
        t_test(the_application_does_not_wait_for_replay),
        t_test(a_short_statement_timeout_of_the_application_is_not_used_up),
        t_test(the_lock_timeout_of_the_application_is_as_it_was),
        t_test(applications_do_not_wait_for_each_other_through_the_shadow),
        t_test(a_deferrable_constraint_fails_no_commit),
        t_test(a_deferrable_constraint_is_one_again_after_the_swap),
        t_test(exchanged_values_find_their_way_back_into_a_deferrable_constraint),
        t_test(settings_of_the_application_do_not_change_what_is_written),
        t_test(the_functions_may_change_under_a_statement_that_waits),
        t_test(switching_the_functions_under_load_fails_nobody),
        t_test(the_log_is_never_written_under_our_lock_timeout),
        t_test(a_vacuum_never_cuts_the_log),
        t_test(an_old_snapshot_logs_and_nothing_fails),
        t_test(what_is_rolled_back_leaves_nothing),
        t_test(a_job_that_is_ready_with_dual_write_keeps_the_shadow_live),
        t_test(triggers_per_row_see_what_triggers_per_statement_see),
    };

    return iso_main(T_MAIN(tests));
}
