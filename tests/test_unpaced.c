/*
 * Statements that cannot be paced: what they are estimated to write, beside what they do write, and
 * how kinds of jobs ask for them. Jobs run in this process, with a pace that keeps count, lets one
 * statement go at a time, and looks into the server whenever it is asked: nobody may have a
 * transaction open, or a lock on the application's table, while he asks.
 */
#include "tests/harness.h"

#include <pthread.h>
#include <string.h>

#include "copy/kinds/alter.h"
#include "copy/kinds/backfill.h"
#include "copy/kinds/column.h"
#include "copy/kinds/index.h"
#include "copy/kinds/validate.h"
#include "copy/load.h"
#include "copy/unpaced.h"
#include "engine/base/log.h"

/* ---------------------------------------------------------------------------------------- the pace
 */

struct counting {
    struct pace pace; /* first */
    pthread_mutex_t mutex;
    struct text begun; /* what has begun, a line each */
    int running;
    int most_running;
    int denied;       /* how often in a row; each statement is denied a few times */
    int ends;         /* of statements */
    int64_t largest;  /* wal_bytes */
    const char *only; /* nothing else may begin; NULL: everything may */
    bool aborted;
    struct text wrong; /* what was seen that must not be */
};

enum { DENIALS = 3 };

/*
 * An open transaction that rests: there is none that works either, when nothing was let go. A build
 * that is under way is one, and has its locks, but not on the application's table.
 */
static const char OPEN[] =
    "SELECT string_agg(format('%s: %s', application_name, state), ', ') FROM pg_stat_activity\n"
    " WHERE datname = current_database() AND application_name LIKE 'pghaul%'\n"
    "   AND state LIKE 'idle in transaction%'";

static const char LOCKED[] =
    "SELECT string_agg(format('%s %s', relation::regclass, mode), ', ') FROM pg_locks\n"
    " WHERE locktype = 'relation' AND mode NOT IN ('AccessShareLock', 'RowShareLock',\n"
    "                                              'RowExclusiveLock')\n"
    "   AND relation = to_regclass('public.item')";

static void look(struct counting *counting)
{
    const char *const looks[] = {OPEN, counting->running == 0 ? LOCKED : "SELECT NULL"};
    struct session *session = NULL;
    struct error error = {0};

    if (!session_open(&session, &(struct session_options){.conninfo = t_conninfo()}, &error))
        text_append(&counting->wrong, error.message);
    for (int i = 0; i < 2 && session != NULL; i++) {
        ROWS_AUTO rows = {0};

        if (!session_query(session, &rows, looks[i], NO_PARAMS, &error))
            text_append(&counting->wrong, error.message);
        else if (rows_text(&rows, 0, 0) != NULL)
            text_appendf(&counting->wrong, "%s\n", rows_text(&rows, 0, 0));
    }
    session_close(session);
}

static int64_t ask_unpaced(struct pace *pace, const struct pace_unpaced *unpaced)
{
    struct counting *counting = (struct counting *)pace;
    int64_t wait_ms = 5;

    pthread_mutex_lock(&counting->mutex);
    look(counting);
    if (counting->aborted) {
        wait_ms = PACE_ABORTED;
    } else if ((counting->only == NULL || strcmp(counting->only, unpaced->what) == 0) &&
               counting->running == 0 && ++counting->denied > DENIALS) {
        counting->denied = 0;
        counting->running++;
        text_separate(&counting->begun, "\n");
        text_append(&counting->begun, unpaced->what);
        if (unpaced->wal_bytes > counting->largest)
            counting->largest = unpaced->wal_bytes;
        if (unpaced->seconds <= 0)
            text_appendf(&counting->wrong, "%s takes no time\n", unpaced->what);
        wait_ms = 0;
    }
    if (counting->running > counting->most_running)
        counting->most_running = counting->running;
    pthread_mutex_unlock(&counting->mutex);
    return wait_ms;
}

static void done_unpaced(struct pace *pace)
{
    struct counting *counting = (struct counting *)pace;

    pthread_mutex_lock(&counting->mutex);
    counting->running--;
    counting->ends++;
    pthread_mutex_unlock(&counting->mutex);
}

/* ----------------------------------------------------------------------------------------- the job
 */

struct work {
    struct run run;
    struct log log;
    struct stop stop;
    struct progress progress;
    struct counting counting;
    struct report report;
    const struct kind *kind;
};

static void must(bool ok, const struct error *error)
{
    if (!ok)
        fail_msg("%s: %s %s", error->message, error->detail, error->hint);
}

static void begin(struct work *work, const struct kind *kind)
{
    struct error error = {0};

    *work = (struct work){.kind = kind, .counting = {.pace = *pace_none()}};
    pthread_mutex_init(&work->counting.mutex, NULL);
    work->counting.pace.ask_unpaced = ask_unpaced;
    work->counting.pace.done_unpaced = done_unpaced;
    log_init(&work->log, LOG_QUIET);
    progress_init(&work->progress);
    work->run = (struct run){
        .connect = {.conninfo = t_conninfo(),
                    .application_name = "pghaul",
                    .cancel_list = cancel_list_new()},
        .log = &work->log,
        .stop = &work->stop,
        .pace = &work->counting.pace,
        .progress = &work->progress,
    };
    must(session_open(&work->run.session, &work->run.connect, &error), &error);
    must(session_read_meaning(work->run.session, &work->run.job.arena, &work->run.job.meaning,
                              &error),
         &error);
    work->run.connect.meaning = &work->run.job.meaning;
}

static void settings_of(struct work *work, struct settings *settings, const char *assignment)
{
    struct error error = {0};

    settings_init(settings);
    must(settings_set(settings, assignment, &error), &error);
    work->run.job.settings = *settings;
}

static bool run(struct work *work, struct error *error)
{
    return phases_run(&work->run, work->kind, kind_rest(work->kind), error);
}

static void expect_counted(const struct work *work, const char *begun)
{
    assert_string_equal(text_string(&work->counting.wrong), "");
    assert_string_equal(text_string(&work->counting.begun), begun);
    assert_int_equal(work->counting.running, 0);
    assert_int_equal(work->counting.most_running, begun[0] == '\0' ? 0 : 1);
}

static void end(struct work *work)
{
    if (work->run.kind_state != NULL)
        work->kind->unload(&work->run);
    job_deinit(&work->run.job);
    session_close(work->run.session);
    cancel_list_free(work->run.connect.cancel_list);
    report_deinit(&work->report);
    progress_deinit(&work->progress);
    log_deinit(&work->log);
    text_deinit(&work->counting.begun);
    text_deinit(&work->counting.wrong);
    pthread_mutex_destroy(&work->counting.mutex);
}

static void make_items(void)
{
    t_sql("CREATE TABLE item (id int PRIMARY KEY, u int UNIQUE, v int, t text);\n"
          "CREATE INDEX item_t ON item (t); CREATE INDEX item_v ON item (v) WHERE v > 0;\n"
          "INSERT INTO item SELECT i, i, 0, 'text ' || i FROM generate_series(1, 3000) AS i;\n"
          "ANALYZE item");
}

/* ------------------------------------------------------------------------------------------- order
 */

static void prepare_alter(struct work *work, const char *assignment)
{
    static const char *const ACTIONS[] = {"ALTER COLUMN id TYPE bigint"};
    struct alter_options options = {
        .table = "item", .actions = ACTIONS, .action_count = 1, .job_name = "j"};
    struct error error = {0};

    begin(work, &alter_kind);
    settings_of(work, &options.settings, assignment);
    must(alter_prepare(&work->run, &options, &work->report, &error) &&
             alter_store(&work->run, &error),
         &error);
}

/* In line for their turn, each with an index of its own: nobody waits for one that waits. */
static void builders_of_a_copy_go_one_at_a_time(void)
{
    struct error error = {0};
    struct work work;

    make_items();
    prepare_alter(&work, "workers=3");
    must(run(&work, &error), &error);
    assert_non_null(strstr(text_string(&work.counting.begun), "index item_pkey\n"));
    assert_non_null(strstr(text_string(&work.counting.begun), "index item_t\n"));
    assert_non_null(strstr(text_string(&work.counting.begun), "\nvacuum of the new table"));
    assert_int_equal(work.counting.ends, 4 + 1);
    assert_true(work.counting.largest > 50000);
    expect_counted(&work, text_string(&work.counting.begun));
    end(&work);
}

/* What nobody has seen coming at the trial. The key's builder never gets its turn meanwhile. */
static void an_index_that_fails_is_not_outwaited_by_the_others(void)
{
    static const char *const ACTIONS[] = {"ADD CONSTRAINT one_each UNIQUE (v)"};
    struct alter_options options = {
        .table = "item", .actions = ACTIONS, .action_count = 1, .job_name = "j"};
    struct error error = {0};
    struct work work;

    t_sql("CREATE TABLE item (id int PRIMARY KEY, v int);\n"
          "INSERT INTO item SELECT i, i FROM generate_series(1, 3000) AS i");
    begin(&work, &alter_kind);
    settings_of(&work, &options.settings, "workers=2");
    must(alter_prepare(&work.run, &options, &work.report, &error) && alter_store(&work.run, &error),
         &error);
    t_sql("UPDATE item SET v = 1 WHERE id = 2");
    work.counting.only = "index one_each";
    assert_false(run(&work, &error));
    assert_string_equal(error.sqlstate, "23505");
    expect_counted(&work, "index one_each");
    end(&work);
}

static void whoever_stops_waits_no_more(void)
{
    struct error error = {0};
    struct work work;

    make_items();
    prepare_alter(&work, "workers=2");
    work.counting.aborted = true;
    assert_false(run(&work, &error));
    assert_int_equal(error.code, ERROR_INTERRUPTED);
    expect_counted(&work, "");
    end(&work);
}

/* A long log makes a long list of keys. */
static void the_list_of_changed_keys_asks_when_it_is_long(void)
{
    struct error error = {0};
    struct pace_unpaced unpaced = {0};
    struct work work;

    make_items();
    prepare_alter(&work, "workers=2");
    must(phases_run(&work.run, &alter_kind, "load", &error), &error);
    must(purge_plan_writes(&work.run, &unpaced, &error), &error);
    assert_null(unpaced.what);
    for (int i = 0; i < 20; i++)
        t_sql("UPDATE item SET v = v + 1");
    must(run(&work, &error), &error);
    assert_non_null(strstr(text_string(&work.counting.begun), "list of the changed keys\nindex "));
    expect_counted(&work, text_string(&work.counting.begun));
    end(&work);
}

static void an_index_that_is_built_beside_writers_asks(void)
{
    struct index_options options = {
        .table = "item", .statement = "CREATE INDEX item_vt ON item (v, t)", .job_name = "j"};
    struct error error = {0};
    struct work work;

    make_items();
    begin(&work, &index_kind);
    settings_of(&work, &options.settings, "workers=2");
    must(index_prepare(&work.run, &options, &work.report, &error) &&
             index_store(&work.run, &error) && run(&work, &error),
         &error);
    expect_counted(&work, "index public.item_vt");
    end(&work);
    t_expect("SELECT indisvalid FROM pg_index WHERE indexrelid = 'item_vt'::regclass", "t");
}

static void a_validation_asks(void)
{
    struct validate_options options = {
        .table = "item", .add = "CONSTRAINT positive CHECK (id > 0)", .job_name = "j"};
    struct error error = {0};
    struct work work;

    make_items();
    begin(&work, &validate_kind);
    settings_of(&work, &options.settings, "workers=2");
    must(validate_prepare(&work.run, &options, &work.report, &error) &&
             validate_store(&work.run, &error) && run(&work, &error),
         &error);
    expect_counted(&work, "validation of positive");
    end(&work);
    t_expect("SELECT convalidated FROM pg_constraint WHERE conname = 'positive'", "t");
}

static void a_column_asks_for_its_indexes_and_its_comparison(void)
{
    struct column_options options = {
        .table = "item", .column = "u", .type = "bigint", .job_name = "j"};
    struct error error = {0};
    struct work work;

    make_items();
    begin(&work, &column_kind);
    settings_of(&work, &options.settings, "chunk.time=25ms");
    must(column_prepare(&work.run, &options, &work.report, &error) &&
             column_store(&work.run, &error) && run(&work, &error),
         &error);
    assert_non_null(strstr(text_string(&work.counting.begun), "index public."));
    assert_non_null(strstr(text_string(&work.counting.begun), "comparison of the columns"));
    expect_counted(&work, text_string(&work.counting.begun));
    end(&work);
}

static void a_backfill_asks_for_its_vacuum(void)
{
    static const char *const SETS[] = {"v = v + 1", NULL};
    struct backfill_options options = {.table = "item", .job_name = "j"};
    struct error error = {0};
    struct work work;

    t_sql("CREATE TABLE item (id int PRIMARY KEY, v int, t text)\n"
          "  WITH (autovacuum_enabled = off);\n"
          "INSERT INTO item SELECT i, 0, repeat('x', 400) FROM generate_series(1, 12000) AS i;\n"
          "ANALYZE item; UPDATE item SET v = v");
    t_wait_until("SELECT n_dead_tup > 10000 FROM pg_stat_user_tables WHERE relname = 'item'", "t",
                 20);
    begin(&work, &backfill_kind);
    settings_of(&work, &options.settings, "bloat.budget=1MB");
    must(settings_set(&options.settings, "vacuum=on", &error) &&
             settings_set(&options.settings, "workers=1", &error),
         &error);
    work.run.job.settings = options.settings;
    options.sets = SETS;
    options.set_count = 1;
    must(backfill_prepare(&work.run, &options, &work.report, &error) &&
             backfill_store(&work.run, &error) && run(&work, &error),
         &error);
    assert_non_null(strstr(text_string(&work.counting.begun), "vacuum of the table"));
    expect_counted(&work, text_string(&work.counting.begun));
    end(&work);
}

/* --------------------------------------------------------------------------------------- estimates
 */

/* Rows of about 200 bytes. */
static const char BIG[] =
    "CREATE TABLE big (id int, name text, \"Odd name\" int, t text);\n"
    "INSERT INTO big SELECT i, 'customer number ' || i, i % 10, repeat('x', 150)\n"
    "  FROM generate_series(1, 50000) AS i;\n"
    "ANALYZE big";

static int64_t log_end(void)
{
    return t_int("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn");
}

static void expect_near(const char *what, int64_t estimated, int64_t written, double times)
{
    if ((double)estimated < (double)written / times || (double)estimated > (double)written * times)
        fail_msg("%s: %lld estimated, %lld written", what, (long long)estimated,
                 (long long)written);
}

static void open_plain(struct session **session)
{
    struct error error = {0};

    must(session_open(session, &(struct session_options){.conninfo = t_conninfo()}, &error),
         &error);
}

static uint32_t oid_of(const char *table)
{
    return (uint32_t)t_int(t_format("SELECT '%s'::regclass::oid", table));
}

static void an_index_is_estimated_by_its_columns(void)
{
    static const char *const TAILS[] = {"USING btree (id)", "USING btree (name)",
                                        "USING btree (id, name)", "USING btree (\"Odd name\", id)",
                                        "USING btree (name) INCLUDE (id)"};
    SESSION_AUTO *session = NULL;
    struct error error = {0};

    t_sql(BIG);
    t_sql("VACUUM big");
    open_plain(&session);
    for (size_t i = 0; i < sizeof(TAILS) / sizeof(TAILS[0]); i++) {
        struct unpaced_index index = {.table_oid = oid_of("big"), .tail = TAILS[i], .scans = 1};
        struct unpaced unpaced;
        int64_t before;

        must(unpaced_index(session, &index, &unpaced, &error), &error);
        assert_true(unpaced.seconds > 0);
        before = log_end();
        t_sqlf("CREATE INDEX i ON big %s", TAILS[i]);
        expect_near(TAILS[i], unpaced.wal_bytes, log_end() - before, 1.5);
        t_sql("DROP INDEX i");
    }
}

/* What a first reader notes is logged with the page, where pages have checksums. */
static void the_first_index_of_fresh_rows_may_log_the_rows_too(void)
{
    SESSION_AUTO *session = NULL;
    struct error error = {0};
    struct unpaced_index index = {.tail = "USING btree (id)", .scans = 1, .fresh = true};
    struct unpaced unpaced;
    int64_t before;

    t_sql("CREATE TABLE big (id int, t text) WITH (autovacuum_enabled = off);\n"
          "INSERT INTO big SELECT i, repeat('x', 150) FROM generate_series(1, 50000) AS i;\n"
          "CHECKPOINT");
    index.table_oid = oid_of("big");
    index.rows = 50000;
    open_plain(&session);
    must(unpaced_index(session, &index, &unpaced, &error), &error);
    before = log_end();
    t_sql("CREATE INDEX i ON big (id)");
    expect_near("first index", unpaced.wal_bytes, log_end() - before, 1.5);
}

static void a_freeze_logs_the_table(void)
{
    SESSION_AUTO *session = NULL;
    struct error error = {0};
    struct unpaced unpaced;
    int64_t before;

    t_sql("CREATE TABLE big (id int, t text) WITH (autovacuum_enabled = off);\n"
          "INSERT INTO big SELECT i, repeat('x', 150) FROM generate_series(1, 50000) AS i;\n"
          "CHECKPOINT");
    open_plain(&session);
    must(unpaced_freeze(session, oid_of("big"), &unpaced, &error), &error);
    before = log_end();
    t_sql("VACUUM (FREEZE) big");
    expect_near("freeze", unpaced.wal_bytes, log_end() - before, 1.5);
}

static void a_vacuum_logs_pages_with_dead_rows(void)
{
    SESSION_AUTO *session = NULL;
    struct error error = {0};
    struct unpaced unpaced;
    int64_t before;

    t_sql("CREATE TABLE big (id int PRIMARY KEY, v int, t text)\n"
          "  WITH (autovacuum_enabled = off);\n"
          "INSERT INTO big SELECT i, 0, repeat('x', 150) FROM generate_series(1, 50000) AS i;\n"
          "ANALYZE big");
    t_sql("VACUUM big");
    t_sql("UPDATE big SET v = 1 WHERE id <= 10000");
    t_sql("CHECKPOINT");
    open_plain(&session);
    must(unpaced_vacuum(session, oid_of("big"), 10000 * 190, &unpaced, &error), &error);
    before = log_end();
    t_sql("VACUUM big");
    before = log_end() - before;
    if (unpaced.wal_bytes < before / 3 * 2 || unpaced.wal_bytes > 10 * before)
        fail_msg("%lld estimated, %lld written", (long long)unpaced.wal_bytes, (long long)before);
}

static void what_is_not_there_is_small(void)
{
    SESSION_AUTO *session = NULL;
    struct error error = {0};
    struct unpaced unpaced = {1, 1};

    open_plain(&session);
    must(unpaced_index(session, &(struct unpaced_index){.table_oid = 1, .tail = "USING btree (id)"},
                       &unpaced, &error),
         &error);
    assert_int_equal(unpaced.wal_bytes, 0);
    must(unpaced_scan(session, 1, &unpaced, &error), &error);
    assert_true(unpaced.wal_bytes == 0 && unpaced.seconds == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(builders_of_a_copy_go_one_at_a_time),
        t_test(an_index_that_fails_is_not_outwaited_by_the_others),
        t_test(the_list_of_changed_keys_asks_when_it_is_long),
        t_test(whoever_stops_waits_no_more),
        t_test(an_index_that_is_built_beside_writers_asks),
        t_test(a_validation_asks),
        t_test(a_column_asks_for_its_indexes_and_its_comparison),
        t_test(a_backfill_asks_for_its_vacuum),
        t_test(an_index_is_estimated_by_its_columns),
        t_test(the_first_index_of_fresh_rows_may_log_the_rows_too),
        t_test(a_freeze_logs_the_table),
        t_test(a_vacuum_logs_pages_with_dead_rows),
        t_test(what_is_not_there_is_small),
    };

    return T_MAIN(tests);
}
