/*
 * A column's job killed (kill -9) at every point at which it records something: it goes on, or goes
 * away, and each row was written once.
 *
 * A point is a statement that changes a row of our own tables: triggers of the test count them, and
 * hold the one whose turn it is until the process is dead.
 */
#include <signal.h>
#include <string.h>

#include "engine/base/clock.h"
#include "tests/oracle.h"

enum { PROCESSES_AT_MOST = 60, REACH_SECONDS = 30 };

#define JOB "j"

/* Long enough that a statement that is held is not cut off before its process is dead. */
#define PATIENTLY "-s", "lock.timeout=10s", "-s", "span.size=64kB", "-s", "chunk.wal=64kB"

static const char GATE[] =
    "CREATE TABLE public.gate (point bigint); CREATE SEQUENCE public.points;\n"
    "CREATE FUNCTION public.at_gate() RETURNS trigger LANGUAGE plpgsql AS $$\n"
    "DECLARE here bigint := nextval('public.points');\n"
    "BEGIN\n"
    "    WHILE EXISTS (SELECT FROM public.gate AS g WHERE g.point = here) LOOP\n"
    "        PERFORM pg_sleep(0.005);\n"
    "    END LOOP;\n"
    "    RETURN NULL;\n"
    "END $$;\n"
    "CREATE TRIGGER at_gate AFTER UPDATE ON pghaul.phase FOR EACH ROW EXECUTE FUNCTION "
    "public.at_gate();\n"
    "CREATE TRIGGER at_gate AFTER UPDATE OF cursor ON pghaul.span FOR EACH ROW EXECUTE FUNCTION "
    "public.at_gate();\n"
    "CREATE TRIGGER at_gate AFTER INSERT ON pghaul.event FOR EACH ROW EXECUTE FUNCTION "
    "public.at_gate();\n"
    "CREATE TRIGGER at_gate AFTER UPDATE OF facts, state ON pghaul.job FOR EACH ROW EXECUTE "
    "FUNCTION public.at_gate()";

/* `writes` counts how often a row was updated. Others refer to the key. */
static const char TABLE[] =
    "CREATE TABLE t (id serial PRIMARY KEY, v int NOT NULL, up int REFERENCES t, writes int NOT "
    "NULL DEFAULT 0, pad text);\n"
    "CREATE UNIQUE INDEX t_v ON t (v, id);\n"
    "CREATE TABLE child (t int CONSTRAINT of REFERENCES t ON DELETE CASCADE);\n"
    "COMMENT ON CONSTRAINT of ON child IS 'of t';\n"
    "INSERT INTO t (v, pad) SELECT i, repeat('x', 100) FROM generate_series(1, 2000) AS i;\n"
    "INSERT INTO child SELECT i FROM generate_series(1, 2000, 3) AS i;\n"
    "CREATE FUNCTION count_writes() RETURNS trigger LANGUAGE plpgsql AS\n"
    "$$BEGIN NEW.writes := OLD.writes + 1; RETURN NEW; END$$;\n"
    "CREATE TRIGGER count_writes BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION count_writes();\n"
    "ANALYZE";

static const char SOMEBODY_HELD[] =
    "SELECT count(*) > 0 FROM pg_stat_activity\n"
    " WHERE datname = current_database() AND wait_event = 'PgSleep'\n"
    "   AND application_name LIKE 'pghaul%'";

/* What the table is, column order aside. */
static const char PICTURE[] =
    "SELECT * FROM (\n"
    "    SELECT 'i', indexrelid::regclass::text, pg_get_indexdef(indexrelid) || indisvalid\n"
    "      FROM pg_index WHERE indrelid = 't'::regclass\n"
    "    UNION ALL\n"
    "    SELECT 'k', conname, pg_get_constraintdef(oid) || convalidated ||\n"
    "           coalesce(obj_description(oid), '')\n"
    "      FROM pg_constraint WHERE conrelid IN ('t'::regclass, 'child'::regclass)\n"
    "    UNION ALL\n"
    "    SELECT 'c', a.attname, concat_ws(' ', format_type(atttypid, atttypmod), attnotnull,\n"
    "           pg_get_expr(d.adbin, d.adrelid))\n"
    "      FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON adrelid = attrelid AND adnum = "
    "attnum\n"
    "     WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped\n"
    "    UNION ALL\n"
    "    SELECT 's', seqtypid::regtype::text, pg_get_serial_sequence('t', %s)\n"
    "      FROM pg_sequence WHERE seqrelid = 't_id_seq'::regclass) AS p(a, b, c) ORDER BY 1, 2";

static const char *picture(const char *key)
{
    return t_rows(t_format(PICTURE, key));
}

/* Schema pghaul is made by the first job; the gate's triggers are on its tables. */
static void make(void)
{
    struct t_result result;

    t_sql("CREATE TABLE first (id int PRIMARY KEY)");
    t_run(&result, "column", "rename", "first", "id", "ident", NULL);
    t_expect_status(&result, 0);
    t_run(&result, "abort", "column-first-1", "--yes", NULL);
    t_expect_status(&result, 0);
    t_sql("DROP TABLE first");
    t_sql(GATE);
    t_sql(TABLE);
}

static void close_gate(int point)
{
    t_sqlf("SELECT setval('public.points', 1, false); INSERT INTO public.gate VALUES (%d)", point);
}

static void open_gate(void)
{
    t_sql("DELETE FROM public.gate");
    t_wait_until(SOMEBODY_HELD, "f", 10);
}

/* Is it dead at the gate (true), or did it come to its end without meeting it? */
static bool killed_at_gate(struct t_process *process, struct t_result *result)
{
    int64_t end_ms = clock_ms() + REACH_SECONDS * 1000;

    while (strcmp(t_text(SOMEBODY_HELD), "t") != 0) {
        if (!t_running(process)) {
            t_wait(process, result);
            open_gate();
            return false;
        }
        if (clock_ms() > end_ms)
            t_fail("neither at the gate nor at its end");
        clock_sleep_ms(3);
    }
    t_kill(process, SIGKILL);
    t_wait(process, result);
    open_gate();
    return true;
}

static struct t_process *start(const char *verb, const char *what)
{
    if (strcmp(verb, "rename") == 0)
        return t_start("column", "rename", "t", what, "renamed", "--job", JOB, PATIENTLY, NULL);
    if (strcmp(verb, "retype") == 0)
        return t_start("column", "retype", "t", what, "bigint", "--job", JOB, PATIENTLY, NULL);
    if (strcmp(verb, "resume") == 0)
        return t_start("resume", JOB, NULL);
    return t_start(verb, JOB, "--yes", NULL);
}

/* Does it in as many processes as it takes when each is killed some points after its start, the
 * next one a point later: a transaction may have several. */
static void do_with_kills(const char *verb, const char *what)
{
    struct t_result result;
    int processes = 0;

    for (int apart = 1;; apart++) {
        const char *state = t_text("SELECT max(state) FROM pghaul.job WHERE name = '" JOB "'");
        /* A job that has begun goes on; so does one whose names are back. */
        bool resumes = state != NULL && strcmp(verb, "abort") != 0 &&
                       strcmp(verb, "cutover") != 0 &&
                       (strcmp(verb, "rollback") != 0 || strcmp(state, "running") == 0) &&
                       strcmp(verb, "finish") != 0;

        if (++processes > PROCESSES_AT_MOST)
            t_fail("%s does not come to its end", verb);
        close_gate(apart);
        if (!killed_at_gate(start(resumes ? "resume" : verb, what), &result))
            break;
    }
    t_expect_status(&result, 0);
    print_message("    %s: %d processes\n", verb, processes);
}

static void each_row_was_written_once(void)
{
    t_expect("SELECT min(writes) || ' ' || max(writes) || ' ' || count(*) FROM t", "1 1 2000");
}

static void the_job_is_done_and_its_oracle_is(const char *expected, const char *key)
{
    t_expect("SELECT state FROM pghaul.job WHERE name = '" JOB "'", "finished");
    assert_string_equal(picture(key), expected);
    each_row_was_written_once();
    t_sql("DROP TRIGGER at_gate ON pghaul.phase; DROP TRIGGER at_gate ON pghaul.span;\n"
          "DROP TRIGGER at_gate ON pghaul.event; DROP TRIGGER at_gate ON pghaul.job");
    nothing_of_ours_is_left();
}

static void go_the_whole_way(const char *verb, const char *what, const char *as_server,
                             const char *key)
{
    const char *expected;

    make();
    t_sql("BEGIN");
    t_sql(as_server);
    expected = picture(key);
    t_sql("ROLLBACK");
    do_with_kills(verb, what);
    t_expect("SELECT state FROM pghaul.job WHERE name = '" JOB "'", "ready");
    each_row_was_written_once();
    do_with_kills("cutover", what);
    t_expect("SELECT state FROM pghaul.job WHERE name = '" JOB "'", "cut_over");
    do_with_kills("rollback", what);
    t_expect("SELECT state FROM pghaul.job WHERE name = '" JOB "'", "ready");
    do_with_kills("cutover", what);
    do_with_kills("finish", what);
    the_job_is_done_and_its_oracle_is(expected, key);
}

static void a_retyped_key_survives_every_kill(void)
{
    go_the_whole_way("retype", "id",
                     "ALTER TABLE t ALTER COLUMN id TYPE bigint; ALTER SEQUENCE t_id_seq AS bigint",
                     "'id'");
}

static void a_renamed_key_survives_every_kill(void)
{
    go_the_whole_way("rename", "id", "ALTER TABLE t RENAME COLUMN id TO renamed", "'renamed'");
}

/* From many points, one after the other: dead there, then aborted, itself killed a few times. */
static void what_was_killed_anywhere_can_be_aborted(void)
{
    const char *before;

    make();
    before = definition();
    for (int point = 3; point < 150; point += 17) {
        struct t_result result;
        bool killed;

        close_gate(point);
        killed = killed_at_gate(start(point % 2 == 0 ? "rename" : "retype", "id"), &result);
        if (!killed)
            t_expect_status(&result, 0);
        if (t_int("SELECT count(*) FROM pghaul.job WHERE name = '" JOB "'") > 0) {
            if (point % 4 != 0) {
                t_run(&result, "abort", JOB, "--yes", NULL);
                t_expect_status(&result, 0);
            } else {
                do_with_kills("abort", "");
            }
            t_sql("DELETE FROM pghaul.job");
        }
        same_definition(before);
        t_expect("SELECT count(*) FROM pg_proc WHERE pronamespace = 'pghaul'::regnamespace", "0");
        if (!killed)
            return;
    }
}

/* The same in the middle of a cut-over and of a way back: back to ready first. */
static void what_was_killed_while_it_swapped_can_be_aborted(void)
{
    const char *before;
    struct t_result result;

    make();
    before = definition();
    for (int point = 1; point < 60; point += 9) {
        bool killed;

        t_wait(start(point % 2 == 0 ? "rename" : "retype", "id"), &result);
        t_expect_status(&result, 0);
        close_gate(point);
        killed = killed_at_gate(start("cutover", ""), &result);
        if (strcmp(t_text("SELECT state FROM pghaul.job WHERE name = '" JOB "'"), "cut_over") ==
            0) {
            close_gate(point);
            if (killed_at_gate(start("rollback", ""), &result))
                killed = true;
            if (strcmp(t_text("SELECT state FROM pghaul.job WHERE name = '" JOB "'"), "cut_over") ==
                0) {
                t_run(&result, "rollback", JOB, "--yes", NULL);
                t_expect_status(&result, 0);
            }
        }
        t_run(&result, "abort", JOB, "--yes", NULL);
        t_expect_status(&result, 0);
        t_sql("DELETE FROM pghaul.job");
        same_definition(before);
        if (!killed)
            return;
    }
}

int main(void)
{
    static const char *const SETTINGS[] = {"deadlock_timeout = 60s", NULL};
    const struct CMUnitTest tests[] = {
        t_test(a_retyped_key_survives_every_kill),
        t_test(a_renamed_key_survives_every_kill),
        t_test(what_was_killed_anywhere_can_be_aborted),
        t_test(what_was_killed_while_it_swapped_can_be_aborted),
    };

    t_sandbox_options.settings = SETTINGS;
    return T_MAIN(tests);
}
