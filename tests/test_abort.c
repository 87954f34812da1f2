/*
 * `abort` while the application writes: it sees no error, and nothing of the job is left in its
 * schema: that is as pg_dump printed it before.
 */
#include "tests/hostile.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"

/* What pg_dump prints of the user's schema, without what differs from one run to the next. */
static const char *definition(void)
{
    struct t_result result;
    TEXT_AUTO kept = {0};

    t_run_program(&result, "pg_dump", "-s", "-N", "pghaul", "-d", t_conninfo(), NULL);
    t_expect_status(&result, 0);
    for (const char *line = result.out; *line != '\0';) {
        const char *end = strchr(line, '\n');

        end = end == NULL ? line + strlen(line) : end + 1;
        if (line[0] != '\\')
            text_append_bytes(&kept, line, (size_t)(end - line));
        line = end;
    }
    return t_format("%s", text_string(&kept));
}

/* Triggers on the user's tables, and in schema pghaul whatever is not the job's history. */
static void expect_nothing_left(void)
{
    t_expect("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal", "0");
    t_expect(
        "SELECT count(*) FROM pg_class\n"
        " WHERE relnamespace = 'pghaul'::regnamespace AND relkind IN ('r', 'p')\n"
        "   AND relname NOT IN ('version', 'job', 'phase', 'span', 'event', 'sample', 'pulse')",
        "0");
    t_expect("SELECT count(*) FROM pg_proc\n"
             " WHERE pronamespace = 'pghaul'::regnamespace AND prorettype = 'trigger'::regtype",
             "0");
}

/* ------------------------------------------------------------------------------- a strict load */

/*
 * Statements of one row each, by primary key, none of which could fail without pghaul: pgbench ends
 * a client at its first error, and itself with status 2.
 */
static const char SCRIPT[] =
    "\\set id random(1, 2000)\n"
    "UPDATE item SET v = v + 1 WHERE id = :id;\n"
    "\\set id random(1, 2000)\n"
    "DELETE FROM item WHERE id = :id;\n"
    "\\set id random(1, 2000)\n"
    "INSERT INTO item VALUES (:id, 0, 'x') ON CONFLICT (id) DO UPDATE SET v = 1;\n"
    "\\set id random(2001, 20000)\n"
    "BEGIN;\n"
    "UPDATE item SET t = t || 'y' WHERE id = :id;\n"
    "SAVEPOINT s;\n"
    "UPDATE item SET v = -v WHERE id = :id;\n"
    "ROLLBACK TO s;\n"
    "COMMIT;\n";

static struct t_process *start_load(char *path)
{
    struct t_process *load;
    int fd = mkstemp(path);

    assert_true(fd >= 0 && write(fd, SCRIPT, strlen(SCRIPT)) == (ssize_t)strlen(SCRIPT));
    close(fd);
    load = t_start_program("pgbench", "-n", "-c", "3", "-T", "600", "-f", path, t_conninfo(), NULL);
    t_wait_until("SELECT count(*) > 2 FROM pg_stat_activity WHERE application_name = 'pgbench'",
                 "t", 30);
    return load;
}

/* It must not have ended by itself: no client of it had an error. */
static void end_load(struct t_process *load, const char *path)
{
    struct t_result result;

    clock_sleep_ms(300); /* some statements after the abort */
    assert_true(t_running(load));
    t_kill(load, SIGTERM);
    t_wait(load, &result);
    unlink(path);
    t_expect_no_err(&result, "ERROR");
    t_expect_no_err(&result, "aborted");
}

struct point {
    const char *until; /* SQL over pghaul.job that says that the job has come so far */
    const char *setting;
};

static void abort_at(const struct point *point)
{
    char path[] = "/tmp/pghaul-load-XXXXXX";
    struct t_process *load, *job;
    struct t_result result;
    const char *before;

    t_sql("CREATE TABLE item (id int PRIMARY KEY, v int, t text);\n"
          "INSERT INTO item SELECT g, 0, md5(g::text) FROM generate_series(1, 20000) AS g;\n"
          "CREATE INDEX item_t ON item (t)");
    before = definition();
    load = start_load(path);
    job = t_start("alter", "item", "--job", "j", "--do", "ALTER COLUMN v TYPE bigint", "-s",
                  "chunk.wal=64kB", "-s", "lock.tries=1000", "-s", point->setting, NULL);
    t_wait_until("SELECT to_regclass('pghaul.job') IS NOT NULL", "t", 30);
    t_wait_until(t_format("SELECT coalesce(bool_or(%s), false) FROM pghaul.job", point->until), "t",
                 60);
    t_run(&result, "abort", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_wait(job, &result);
    t_expect("SELECT state FROM pghaul.job", "aborted");
    end_load(load, path);
    expect_nothing_left();
    assert_string_equal(definition(), before);
}

static void aborted_during_the_load_the_application_notices_nothing(void)
{
    abort_at(&(struct point){"phase = 'load'", "policy=fixed=100ms"});
}

static void aborted_at_ready_the_application_notices_nothing(void)
{
    abort_at(&(struct point){"state = 'ready'", "settle=off"});
}

static void aborted_in_dual_write_the_application_notices_nothing(void)
{
    abort_at(&(struct point){"state = 'ready'", "ready=dual-write"});
}

/* ------------------------------------------------------------------------------- the hostile one
 */

static void aborted_under_the_hostile_load_nothing_is_lost_and_nothing_fails(void)
{
    struct hostile_options options = {
        .shape = hostile_shape("retype and add a column"), .rows = 20000, .seed = 21};
    struct traffic *traffic;
    struct t_result result;
    const char *before;

    hostile_make(options.shape, options.rows, options.seed);
    before = definition();
    traffic = hostile_start(&options);
    t_run(&result, "alter", "acct", "--job", "j", "--do", "ALTER COLUMN grp TYPE bigint", "-s",
          "settle=off", "-s", "lock.tries=1000", NULL);
    t_expect_status(&result, 0);
    hostile_more(traffic, 500);
    t_run(&result, "abort", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    hostile_more(traffic, 500);
    hostile_stop(traffic, &options);
    assert_int_equal(hostile_wrong(NULL), 0);
    expect_nothing_left();
    assert_string_equal(definition(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(aborted_during_the_load_the_application_notices_nothing),
        t_test(aborted_at_ready_the_application_notices_nothing),
        t_test(aborted_in_dual_write_the_application_notices_nothing),
        t_test(aborted_under_the_hostile_load_nothing_is_lost_and_nothing_fails),
    };

    t_sandbox_options.settings = hostile_server_settings;
    return T_MAIN(tests);
}
