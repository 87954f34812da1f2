/*
 * The application while the table is copied: cases F03, F05, F12, F13, F15, F17, F24, F27, F36, F40
 * of the executable model. The load stands still at a gate, inside the statement of a chunk; the
 * application goes on.
 */
#include "tests/isolation.h"

#include <string.h>

#define LOADING "pghaul j load%"
#define INDEXING "pghaul j index%"

enum {
    ROWS = 3000,
    GATE = 1500
}; /* the first chunks are of a few pages: rows 1 to 100 are copied long before */

/* Starts the job and returns while the load stands at the gate, in the middle of the table. */
static struct t_process *start_and_stop_in_the_load(const char *order)
{
    struct t_process *job;

    iso_table(ROWS);
    iso_close_gate();
    job = iso_start("settle=off", "chunk.wal=64kB", t_format("order=%s", order), "--map",
                    iso_gate_map(LOADING, GATE));
    iso_wait_at_gate(LOADING);
    return job;
}

static void finish_to_ready(struct t_process *job)
{
    struct t_result result;

    t_wait(job, &result);
    t_expect_status(&result, 0);
    (void)iso_load();
    iso_expect_equal();
}

static void go_on_to_ready(struct t_process *job)
{
    iso_open_gate();
    finish_to_ready(job);
}

static void swap_and_compare(void)
{
    struct t_result result;

    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    iso_expect_equal_back();
}

/* F03: without the purge the unique index could not be built. */
static void move_a_unique_value(const char *order)
{
    struct t_process *job = start_and_stop_in_the_load(order);

    iso_play("a: UPDATE item SET u = NULL WHERE id = 2; UPDATE item SET u = 2 WHERE id = 2900",
             "a: UPDATE item SET u = -u WHERE id IN (3, 2950)",
             "a: UPDATE item SET u = 2950 WHERE id = 3",
             "a: UPDATE item SET u = 3 WHERE id = 2950");
    go_on_to_ready(job);
    swap_and_compare();
}

static void a_unique_value_may_move_behind_the_walk_by_key(void)
{
    move_a_unique_value("key");
}

static void a_unique_value_may_move_behind_the_walk_by_blocks(void)
{
    move_a_unique_value("heap");
}

/* Heap order copies a row twice when an update moves it to a block that is read later. */
static void a_row_that_moves_behind_the_walk_is_not_there_twice(void)
{
    struct t_process *job = start_and_stop_in_the_load("heap");

    iso_play("a: UPDATE item SET v = 5, t = repeat('longer', 100) WHERE id <= 50");
    go_on_to_ready(job);
    t_expect("SELECT count(*) FROM pghaul.item_1", "3000");
    swap_and_compare();
}

/*
 * F40 measures what empty triggers on the shadow would cost the load (some tenths of a second for a
 * million rows). The product has nothing to measure there: the triggers of the way back come after
 * it, with the indexes.
 */
static void the_shadow_has_neither_triggers_nor_indexes_while_it_is_loaded(void)
{
    struct t_process *job = start_and_stop_in_the_load("heap");

    t_expect("SELECT (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'pghaul.item_1'::regclass)\n"
             "     + (SELECT count(*) FROM pg_index WHERE indrelid = 'pghaul.item_1'::regclass)",
             "0");
    go_on_to_ready(job);
    t_expect("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'pghaul.item_1'::regclass", "4");
}

/* F05: the triggers log while the load runs, so nothing of the chunk in flight is answered before
 * it is there. */
static void a_row_changed_and_deleted_under_the_chunk_does_not_come_back(void)
{
    struct t_process *job = start_and_stop_in_the_load("heap");

    t_expect("SELECT facts #>> '{forward,mode}' FROM pghaul.job", "log");
    iso_play("a: UPDATE item SET v = 5 WHERE id = 1501", "a: DELETE FROM item WHERE id = 1501",
             "a: DELETE FROM item WHERE id = 1", "a: UPDATE item SET id = -2 WHERE id = 2",
             "a: INSERT INTO item VALUES (1501, 1501, 8, 'again'), (0, 0, 0, 'before')",
             "a: DELETE FROM item WHERE id = 1502");
    t_expect("SELECT count(*) FROM pghaul.item_1 WHERE id IN (-2, 0)", "0");
    go_on_to_ready(job);
    swap_and_compare();
}

/* A transaction that began before the chunk's snapshot and commits after the chunk. */
static void a_transaction_that_outlives_the_chunk_loses_nothing(void)
{
    struct t_process *job;

    iso_table(ROWS);
    iso_close_gate();
    job = iso_start("settle=off", "chunk.wal=64kB", "--map", iso_gate_map(LOADING, GATE));
    iso_wait_at_gate(LOADING);
    iso_play("long: BEGIN", "long: UPDATE item SET v = 1 WHERE id IN (10, 1500, 2990)",
             "long: DELETE FROM item WHERE id IN (11, 1501, 2991)",
             "long: INSERT INTO item VALUES (4000, 4000, 1, 'long')");
    iso_open_gate();
    t_wait_until("SELECT phase IN ('ready', 'verify') FROM pghaul.job", "t", 60);
    iso_play("long: COMMIT");
    finish_to_ready(job);
    swap_and_compare();
}

/* F27: committed between the plan and the capture, beyond the end that the plan saw. */
static void rows_inserted_before_the_capture_are_copied(void)
{
    struct t_process *job;
    struct t_result result;

    iso_table(100);
    iso_play("a: BEGIN", "a: INSERT INTO item SELECT g, g, 0, repeat('x', 500) FROM "
                         "generate_series(101, 5000) AS g");
    job = iso_start("settle=off");
    t_wait_until("SELECT to_regclass('pghaul.job') IS NOT NULL", "t", 30);
    t_wait_until("SELECT count(*) FROM pghaul.job WHERE phase = 'capture'", "1", 30);
    iso_play("a: COMMIT");
    t_wait(job, &result);
    t_expect_status(&result, 0);
    (void)iso_load();
    iso_expect_equal();
    assert_int_equal(t_int("SELECT count(*) FROM pghaul.item_1"), 5000);
}

/* F27: beyond the end that the load planned. */
static void rows_inserted_beyond_the_planned_end_are_in_the_copy(void)
{
    struct t_process *job = start_and_stop_in_the_load("heap");

    iso_play("a: INSERT INTO item SELECT g, g, 0, repeat('x', 500) FROM generate_series(5001, "
             "7000) AS g");
    go_on_to_ready(job);
    assert_int_equal(t_int("SELECT count(*) FROM pghaul.item_1"), ROWS + 2000);
}

/* F12: the state is as before, and a hole is in the log. */
static void triggers_switched_off_and_on_again_during_the_load_are_noticed(void)
{
    struct t_process *job = start_and_stop_in_the_load("heap");
    struct t_result result;

    iso_play("a: BEGIN", "a: ALTER TABLE item DISABLE TRIGGER pghaul_1_update",
             "a: UPDATE item SET v = 78 WHERE id = 4",
             "a: ALTER TABLE item ENABLE ALWAYS TRIGGER pghaul_1_update", "a: COMMIT");
    iso_open_gate();
    t_wait(job, &result);
    t_expect_status(&result, 3);
    t_expect_err(&result, "the table was changed under the job");
}

/* F12 */
static void triggers_switched_off_and_on_again_at_ready_are_noticed(void)
{
    struct t_result result;

    iso_table(100);
    iso_ready("settle=off");
    t_sql("BEGIN; ALTER TABLE item DISABLE TRIGGER pghaul_1_update; UPDATE item SET v = 78 WHERE "
          "id = 4;"
          "ALTER TABLE item ENABLE ALWAYS TRIGGER pghaul_1_update; COMMIT");
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "were changed under the job");
    t_expect("SELECT pg_typeof(v)::text FROM item LIMIT 1", "integer");
}

/* F12: all triggers at once, the way that it is mostly done. */
static void all_triggers_switched_off_at_ready_are_noticed(void)
{
    struct t_result result;

    iso_table(100);
    iso_ready("settle=off");
    t_sql("ALTER TABLE item DISABLE TRIGGER ALL; UPDATE item SET v = 78 WHERE id = 4; ALTER TABLE "
          "item ENABLE TRIGGER ALL");
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 3);
    t_run(&result, "abort", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'item'::regclass", "0");
}

/* F13: whoever rewrites the table waits for the chunk, and the next chunk sees it. */
static void a_rewrite_of_the_table_during_the_load_stops_the_job(void)
{
    struct t_process *job = start_and_stop_in_the_load("heap");
    struct t_result result;

    iso_play("vacuum> VACUUM FULL item");
    iso_open_gate();
    iso_play("vacuum<");
    t_wait(job, &result);
    t_expect_status(&result, 3);
    t_expect_err(&result, "the table was changed under the job");
    t_run(&result, "abort", "j", "--yes", NULL);
    t_expect_status(&result, 0);
}

/* By key no block matters: a rewrite is harmless. */
static void a_rewrite_during_a_load_by_key_loses_nothing(void)
{
    struct t_process *job = start_and_stop_in_the_load("key");

    iso_play("cluster> CLUSTER item USING item_u_key");
    iso_open_gate();
    iso_play("cluster<");
    finish_to_ready(job);
}

static void a_rewrite_at_ready_loses_nothing(void)
{
    iso_table(ROWS);
    iso_ready("settle=off");
    t_sql("UPDATE item SET v = 1 WHERE id % 3 = 0");
    t_sql("VACUUM FULL item");
    t_sql("UPDATE item SET v = 2 WHERE id % 7 = 0");
    swap_and_compare();
}

/* F15, F24: it waits for the chunk, no longer, and the copy begins anew. */
static void a_truncate_during_the_load_begins_the_copy_anew(void)
{
    struct t_process *job = start_and_stop_in_the_load("heap");
    struct t_result result;

    iso_play("a> TRUNCATE item");
    iso_open_gate();
    iso_play("a<", "a: INSERT INTO item SELECT g, g, 1, 'after' FROM generate_series(1, 500) AS g");
    t_wait(job, &result);
    t_expect_status(&result, 0);
    t_expect_err(&result, "going back to phase capture");
    (void)iso_load();
    iso_expect_equal();
    assert_int_equal(t_int("SELECT count(*) FROM pghaul.item_1"), 500);
}

/* F15, after the load and before the catch-up. */
static void a_truncate_while_indexes_are_built_begins_the_copy_anew(void)
{
    struct t_process *job;
    struct t_result result;

    iso_table(ROWS);
    t_sql("CREATE INDEX gated ON item (gate_index(id))");
    iso_close_gate();
    job = iso_start("settle=off");
    iso_wait_at_gate(INDEXING);
    iso_play("a: TRUNCATE item",
             "a: INSERT INTO item SELECT g, g, 1, 'after' FROM generate_series(1, 500) AS g");
    iso_open_gate();
    t_wait(job, &result);
    t_expect_status(&result, 0);
    t_expect_err(&result, "going back to phase capture");
    (void)iso_load();
    iso_expect_equal();
    assert_int_equal(t_int("SELECT count(*) FROM pghaul.item_1"), 500);
}

/* F15 */
static void a_truncate_at_ready_begins_the_copy_anew(void)
{
    struct t_result result;

    iso_table(ROWS);
    iso_ready("settle=off");
    t_sql("TRUNCATE item; INSERT INTO item SELECT g, g, 1, 'after' FROM generate_series(1, 500) AS "
          "g");
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect_err(&result, "the copy begins anew");
    iso_expect_equal_back();
    assert_int_equal(t_int("SELECT count(*) FROM item"), 500);
}

/* F15, while the cut-over waits for a snapshot. */
static void a_truncate_during_the_cutover_begins_the_copy_anew(void)
{
    struct t_process *cutover;
    struct t_result result;

    iso_table(ROWS);
    iso_ready("settle=off");
    iso_play("old: BEGIN ISOLATION LEVEL REPEATABLE READ", "old: SELECT 1 FROM pg_class LIMIT 1");
    cutover = t_start("cutover", "j", "--yes", NULL);
    t_wait_until("SELECT facts #>> '{forward,mode}' FROM pghaul.job", "dual-write", 30);
    iso_play("a: UPDATE item SET v = 1 WHERE id = 1", "a: TRUNCATE item",
             "a: INSERT INTO item SELECT g, g, 1, 'after' FROM generate_series(1, 500) AS g",
             "old: COMMIT");
    t_wait(cutover, &result);
    t_expect_status(&result, 0);
    t_expect_err(&result, "the copy begins anew");
    iso_expect_equal_back();
    assert_int_equal(t_int("SELECT count(*) FROM item"), 500);
}

/* F15, after the cut-over: the old table cannot follow, and rollback says so. */
static void a_truncate_after_the_cutover_closes_the_way_back(void)
{
    struct t_result result;

    iso_table(ROWS);
    iso_ready("settle=off");
    swap_and_compare();
    t_sql("TRUNCATE item; INSERT INTO item SELECT g, g, 1, 'after' FROM generate_series(1, 500) AS "
          "g");
    t_run(&result, "rollback", "j", "--yes", NULL);
    t_expect_status(&result, 9);
    t_expect_err(&result, "the way back is closed");
    t_sql("UPDATE item SET v = 3");
    t_run(&result, "finish", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    assert_int_equal(t_int("SELECT count(*) FROM item WHERE v = 3"), 500);
}

/* TRUNCATE that was rolled back is none. */
static void a_truncate_that_is_rolled_back_changes_nothing(void)
{
    struct t_result result;

    iso_table(ROWS);
    iso_ready("settle=off");
    t_sql("BEGIN; TRUNCATE item; ROLLBACK");
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect_no_err(&result, "the copy begins anew");
    iso_expect_equal_back();
}

/* F24: other DDL of the application that does not matter. */
static void harmless_ddl_waits_for_one_chunk_and_the_job_goes_on(void)
{
    struct t_result result;
    struct t_process *job = start_and_stop_in_the_load("heap");

    iso_play("a> CREATE INDEX CONCURRENTLY extra ON item (v)",
             "ddl> ALTER TABLE item ALTER COLUMN v SET DEFAULT 3");
    iso_open_gate();
    iso_play("a<", "ddl<", "a: INSERT INTO item (id, t) VALUES (9000, 'default')");
    finish_to_ready(job);
    /* The swap would lose both: it says so. */
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 4);
    t_sql("DROP INDEX extra; ALTER TABLE item ALTER COLUMN v DROP DEFAULT");
    swap_and_compare();
}

/* A column that comes during the load would be lost. */
static void a_column_added_during_the_load_stops_the_job(void)
{
    struct t_process *job = start_and_stop_in_the_load("heap");
    struct t_result result;

    iso_play("ddl> ALTER TABLE item ADD COLUMN extra int");
    iso_open_gate();
    iso_play("ddl<");
    t_wait(job, &result);
    t_expect_status(&result, 3);
}

/* F17, F36, F10 and the triggers of F02: refused, by name. */
static void what_the_triggers_could_not_follow_is_refused(void)
{
    static const struct {
        const char *sql;
        const char *says;
    } CASES[] = {
        {"CREATE TABLE item (id int, r int, PRIMARY KEY (id, r)) PARTITION BY LIST (r)",
         "partition"},
        {"CREATE TABLE parent (id int, r int) PARTITION BY LIST (r);"
         "CREATE TABLE item PARTITION OF parent (PRIMARY KEY (id)) FOR VALUES IN (1)",
         "partition"},
        {"CREATE TABLE parent (id int); CREATE TABLE item (PRIMARY KEY (id)) INHERITS (parent)",
         "inherit"},
        {"CREATE TABLE item (id int PRIMARY KEY); CREATE TABLE child () INHERITS (item)",
         "inherit"},
        {"CREATE TABLE parent (id int PRIMARY KEY);"
         "CREATE TABLE item (id int PRIMARY KEY, p int REFERENCES parent DEFERRABLE INITIALLY "
         "DEFERRED)",
         "foreign key"},
        {"CREATE TABLE item (id int PRIMARY KEY); CREATE FUNCTION f() RETURNS trigger LANGUAGE "
         "plpgsql AS"
         " $$ BEGIN RETURN NULL; END $$;"
         "CREATE TRIGGER theirs AFTER DELETE ON item FOR EACH ROW EXECUTE FUNCTION f()",
         "trigger"},
    };

    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct t_result result;

        (void)t_fresh_database();
        t_sql(CASES[i].sql);
        t_run(&result, "alter", "item", "--job", "j", "--do", "ADD COLUMN n int", NULL);
        t_expect_status(&result, 3);
        t_expect_err(&result, CASES[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_unique_value_may_move_behind_the_walk_by_key),
        t_test(a_unique_value_may_move_behind_the_walk_by_blocks),
        t_test(a_row_that_moves_behind_the_walk_is_not_there_twice),
        t_test(the_shadow_has_neither_triggers_nor_indexes_while_it_is_loaded),
        t_test(a_row_changed_and_deleted_under_the_chunk_does_not_come_back),
        t_test(a_transaction_that_outlives_the_chunk_loses_nothing),
        t_test(rows_inserted_before_the_capture_are_copied),
        t_test(rows_inserted_beyond_the_planned_end_are_in_the_copy),
        t_test(triggers_switched_off_and_on_again_during_the_load_are_noticed),
        t_test(triggers_switched_off_and_on_again_at_ready_are_noticed),
        t_test(all_triggers_switched_off_at_ready_are_noticed),
        t_test(a_rewrite_of_the_table_during_the_load_stops_the_job),
        t_test(a_rewrite_during_a_load_by_key_loses_nothing),
        t_test(a_rewrite_at_ready_loses_nothing),
        t_test(a_truncate_during_the_load_begins_the_copy_anew),
        t_test(a_truncate_while_indexes_are_built_begins_the_copy_anew),
        t_test(a_truncate_at_ready_begins_the_copy_anew),
        t_test(a_truncate_during_the_cutover_begins_the_copy_anew),
        t_test(a_truncate_after_the_cutover_closes_the_way_back),
        t_test(a_truncate_that_is_rolled_back_changes_nothing),
        t_test(harmless_ddl_waits_for_one_chunk_and_the_job_goes_on),
        t_test(a_column_added_during_the_load_stops_the_job),
        t_test(what_the_triggers_could_not_follow_is_refused),
    };

    return iso_main(T_MAIN(tests));
}
