/*
 * Death at every moment: of the program (kill -9), of the server (immediate shutdown), of a
 * session, of the answer to a COMMIT. The job goes on from its row, under a light load that keeps a
 * ledger; SQL compares table and ledger at the end.
 *
 * A moment is hit with a gate: triggers of the test on pghaul's own tables hold every statement
 * that records `point`
 * ("phase load running", "span load", "event state: cut_over") while a row of public.gate matches
 * it (LIKE).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench/data.h"
#include "bench/traffic.h"
#include "engine/base/clock.h"
#include "tests/harness.h"

enum { ROWS = 8000, REACH_SECONDS = 40 };

static struct traffic *load;

/* ------------------------------------------------------------------------------------------------------------
 * gates */

static const char GATES[] =
    "CREATE TABLE public.gate (point text);\n"
    "CREATE TABLE public.held (point text, pid int);\n"
    "CREATE FUNCTION public.at_gate() RETURNS trigger LANGUAGE plpgsql AS $$\n"
    "DECLARE\n"
    "    at text := CASE regexp_replace(TG_TABLE_NAME, '^(log|back)_.*', 'log')\n"
    "        WHEN 'log' THEN concat_ws(' ', 'claim', TG_TABLE_NAME)\n"
    "        WHEN 'phase' THEN concat_ws(' ', 'phase', to_jsonb(NEW) ->> 'name', to_jsonb(NEW) ->> "
    "'state')\n"
    "        WHEN 'span' THEN concat_ws(' ', 'span', to_jsonb(NEW) ->> 'phase')\n"
    "        WHEN 'event' THEN concat_ws(' ', 'event', to_jsonb(NEW) ->> 'kind', to_jsonb(NEW) ->> "
    "'detail')\n"
    "        ELSE concat_ws(' ', 'facts', (SELECT string_agg(key, ' ')\n"
    "                                        FROM jsonb_each(to_jsonb(NEW) -> 'facts')\n"
    "                                       WHERE to_jsonb(OLD) -> 'facts' -> key IS DISTINCT FROM "
    "value)) END;\n"
    "BEGIN\n"
    "    WHILE EXISTS (SELECT FROM public.gate AS g WHERE at LIKE g.point) LOOP\n"
    "        PERFORM pg_sleep(0.01);\n"
    "    END LOOP;\n"
    "    RETURN NULL;\n"
    "END $$;\n"
    "CREATE TRIGGER at_gate AFTER UPDATE OF state ON pghaul.phase FOR EACH ROW EXECUTE FUNCTION "
    "public.at_gate();\n"
    "CREATE TRIGGER at_gate AFTER UPDATE OF cursor ON pghaul.span FOR EACH ROW EXECUTE FUNCTION "
    "public.at_gate();\n"
    "CREATE TRIGGER at_gate AFTER INSERT ON pghaul.event FOR EACH ROW EXECUTE FUNCTION "
    "public.at_gate();\n"
    "CREATE TRIGGER at_gate AFTER UPDATE OF facts ON pghaul.job FOR EACH ROW EXECUTE FUNCTION "
    "public.at_gate();\n";

/* A gate in the transaction of every replay that takes something out of a side of the log. */
static void gate_on_log(const char *label)
{
    t_sqlf("CREATE TRIGGER at_gate AFTER DELETE ON pghaul.%s_a EXECUTE FUNCTION public.at_gate();\n"
           "CREATE TRIGGER at_gate AFTER DELETE ON pghaul.%s_b EXECUTE FUNCTION public.at_gate()",
           label, label);
}

/* All at once, for a log that is worth a crew. */
static void change_everything(void)
{
    for (int i = 0; i < 5; i++)
        t_sql("BEGIN; LOCK TABLE orders, orders_ledger IN EXCLUSIVE MODE;\n"
              "UPDATE orders SET amount = amount + 1; UPDATE orders_ledger SET amount = amount + "
              "1; COMMIT");
}

static void close_gate(const char *point)
{
    t_sqlf("INSERT INTO public.gate VALUES ('%s')", point);
}

static void open_gates(void)
{
    t_sql("DELETE FROM public.gate");
}

/* Is a session of the program at a gate? */
static const char SOMEBODY_HELD[] =
    "SELECT count(*) > 0 FROM pg_stat_activity\n"
    " WHERE datname = current_database() AND wait_event = 'PgSleep'\n"
    "   AND application_name LIKE 'pghaul%'";

static void reach(struct t_process *process, const char *point)
{
    int64_t end_ms = clock_ms() + REACH_SECONDS * 1000;

    while (strcmp(t_text(SOMEBODY_HELD), "t") != 0) {
        struct t_result result;

        if (!t_running(process)) {
            t_wait(process, &result);
            t_expect_status(&result, -1);
            t_fail("the program ended before %s", point);
        }
        if (clock_ms() > end_ms)
            t_fail("never came to %s", point);
        clock_sleep_ms(10);
    }
}

/* The program, held where it records `point`, dies; what the server still does for it then goes on.
 */
static void kill_at(struct t_process *process, const char *point)
{
    struct t_result result;

    reach(process, point);
    t_kill(process, SIGKILL);
    t_wait(process, &result);
    assert_int_equal(result.signal, SIGKILL);
    open_gates();
    t_wait_until(SOMEBODY_HELD, "f", 10);
}

/* ----------------------------------------------------------------------------------------------------
 * table and load */

static void make_orders(int64_t rows)
{
    struct session *session;
    struct error error = {0};

    if (!session_open(&session, &(struct session_options){.conninfo = t_conninfo()}, &error) ||
        !data_make(
            session,
            &(struct data_options){
                .set = "orders-serial", .rows = rows, .seed = 7, .ledger = true, .name = "orders"},
            &error))
        t_fail("%s", error.message);
    session_close(session);
}

/* Schema pghaul is made by the first job; its tables are needed for the gates. */
static void make_gates(void)
{
    struct t_result result;

    t_sql("CREATE TABLE first (id int PRIMARY KEY)");
    t_run(&result, "alter", "first", NULL);
    t_expect_status(&result, 0);
    t_run(&result, "abort", "alter-first-1", "--yes", NULL);
    t_expect_status(&result, 0);
    t_sql(GATES);
}

static void start_load(double rate)
{
    struct error error = {0};
    struct traffic_options options = {
        .kind = TRAFFIC_PACED,
        .conninfo = t_conninfo(),
        .clients = 2,
        .seed = 11,
        .rows = ROWS,
        .rate = rate,
        .table = "public.orders",
        .ledger = "public.orders_ledger",
        .reconnect = true,
    };

    if (!traffic_start(&load, &options, &error))
        t_fail("%s", error.message);
}

static void stop_load(struct traffic_report *report)
{
    struct error error = {0};

    if (!traffic_stop(load, report, &error))
        print_message("the load: %s\n", error.message);
    load = NULL;
}

static void expect_equal_to_ledger(void)
{
    struct error error = {0};
    TEXT_AUTO sample = {0};
    int64_t differences = -1;

    if (!traffic_compare(t_conninfo(), "public.orders", "public.orders_ledger",
                         traffic_orders_columns, NULL, &differences, &sample, &error))
        t_fail("%s", error.message);
    if (differences != 0)
        t_fail("%lld rows differ from the ledger:\n%s", (long long)differences,
               text_string(&sample));
}

static void expect_nothing_left_but_history(void)
{
    t_expect("SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace = "
             "'pghaul'::regnamespace\n"
             "   AND relkind IN ('r', 'v', 'm', 'S') AND relname NOT IN ('version', 'job', "
             "'phase', 'span', 'event',\n"
             "       'sample', 'pulse', 'job_id_seq', 'event_id_seq')",
             NULL);
    t_expect(
        "SELECT string_agg(proname, ' ') FROM pg_proc WHERE pronamespace = 'pghaul'::regnamespace",
        NULL);
    t_expect("SELECT string_agg(tgname, ' ') FROM pg_trigger WHERE tgname LIKE 'pghaul%'", NULL);
    t_expect("SELECT count(*) FROM pghaul.span", "0");
}

static void expect_state(const char *job, const char *state)
{
    t_expect(t_format("SELECT state FROM pghaul.job WHERE name = '%s'", job), state);
}

/* A definition of the user's schema, without what differs from one pg_dump to the next. */
static const char *schema_dump(void)
{
    struct t_result result;
    TEXT_AUTO kept = {0};

    t_run_program(&result, "pg_dump", "-s", "-n", "public", "-d", t_conninfo(), NULL);
    t_expect_status(&result, 0);
    for (const char *line = result.out; *line != '\0';) {
        const char *end = strchr(line, '\n');

        end = end == NULL ? line + strlen(line) : end + 1;
        if (line[0] != '\\')
            text_appendf(&kept, "%.*s", (int)(end - line), line);
        line = end;
    }
    return t_format("%s", text_string(&kept));
}

#define BIGINT "ALTER COLUMN id TYPE bigint"

static struct t_process *start_alter(void)
{
    return t_start("alter", "orders", "--do", BIGINT, "-s", "span.size=256kB", "-s",
                   "chunk.wal=64kB", "-s", "cutover.hold=30s", NULL);
}

/* ----------------------------------------------------------------------------------------------
 * death of the program */

static void a_job_killed_at_every_point_of_its_way_to_ready_finishes(void)
{
    static const char *const POINTS[] = {
        "phase shadow running",
        "facts shadow_oid%",
        "phase shadow done",
        "phase capture running",
        "event capture forward: log%",
        "event lock SHARE ROW%",
        "phase capture done",
        "phase load running",
        "span load",
        "phase load done",
        "phase purge running",
        "span purge",
        "phase purge done",
        "phase index running",
        "event ddl CREATE%INDEX%",
        "event ddl%CONSTRAINT%",
        "facts backward%",
        "phase index done",
        "phase catch-up running",
        "span log_2",
        "claim log_2%",
        "phase catch-up done",
        "phase settle running",
        "event ddl%autovacuum%",
        "phase settle done",
        "phase verify running",
        "span verify",
        "facts verify",
        "phase verify done",
    };
    struct t_result result;
    struct traffic_report report = {0};

    make_orders(ROWS);
    make_gates();
    start_load(100);
    for (size_t i = 0; i < sizeof(POINTS) / sizeof(POINTS[0]); i++) {
        struct t_process *process;

        print_message("kill at %s\n", POINTS[i]);
        close_gate(POINTS[i]);
        process = i == 0 ? start_alter() : t_start("resume", "alter-orders-1", NULL);
        kill_at(process, POINTS[i]);
        if (strcmp(POINTS[i], "phase index done") == 0) {
            change_everything();
            gate_on_log("log_2");
        }
    }
    t_run(&result, "resume", "alter-orders-1", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "ready");
    expect_state("alter-orders-1", "ready");
    t_expect(
        "SELECT facts #>> '{verify,differences}' FROM pghaul.job WHERE name = 'alter-orders-1'",
        "0");
    t_run(&result, "cutover", "alter-orders-1", "--yes", NULL);
    t_expect_status(&result, 0);
    stop_load(&report);
    assert_int_equal(report.unexpected_errors, 0);
    traffic_report_deinit(&report);
    expect_equal_to_ledger();
    t_run(&result, "rollback", "alter-orders-1", "--yes", NULL);
    t_expect_status(&result, 0);
    expect_equal_to_ledger();
    expect_nothing_left_but_history();
}

/* Kills the verb at each point, then says it again without a gate; expects `state`. */
static void kill_verb_at(const char *verb, const char *const *points, const char *state)
{
    struct t_result result;

    for (; *points != NULL; points++) {
        print_message("kill %s at %s\n", verb, *points);
        close_gate(*points);
        kill_at(t_start(verb, "alter-orders-1", "--yes", NULL), *points);
    }
    t_run(&result, verb, "alter-orders-1", "--yes", NULL);
    t_expect_status(&result, 0);
    expect_state("alter-orders-1", state);
}

static void ready(void)
{
    struct t_result result;

    make_orders(ROWS);
    make_gates();
    start_load(100);
    t_wait(start_alter(), &result);
    t_expect_status(&result, 0);
    expect_state("alter-orders-1", "ready");
}

static void a_cutover_and_a_rollback_killed_anywhere_are_done_by_saying_them_again(void)
{
    static const char *const CUTOVER[] = {
        "claim log_2%",          "event capture forward: dual-write%",
        "facts new_definition%", "facts cutover",
        "event state cut_over%", NULL};
    static const char *const ROLLBACK[] = {"claim back_2%", "event capture backward: dual-write%",
                                           "facts rollback", "event state rolled_back%", NULL};
    struct traffic_report report = {0};

    ready();
    gate_on_log("log_2");
    gate_on_log("back_2");
    kill_verb_at("cutover", CUTOVER, "cut_over");
    t_expect("SELECT atttypid::regtype::text FROM pg_attribute WHERE attrelid = 'orders'::regclass "
             "AND attname = 'id'",
             "bigint");
    expect_equal_to_ledger();
    clock_sleep_ms(500);
    kill_verb_at("rollback", ROLLBACK, "rolled_back");
    stop_load(&report);
    assert_int_equal(report.unexpected_errors, 0);
    traffic_report_deinit(&report);
    t_expect("SELECT atttypid::regtype::text FROM pg_attribute WHERE attrelid = 'orders'::regclass "
             "AND attname = 'id'",
             "integer");
    expect_equal_to_ledger();
    expect_nothing_left_but_history();
}

/* The functions' bodies and the fact that tells of them are changed together or not at all. */
static void expect_functions_as_told(void)
{
    t_expect("SELECT j.facts #>> '{forward,mode}' || ' ' || (j.facts #>> '{forward,side}')\n"
             "       = CASE WHEN p.prosrc LIKE '%lock_timeout%' THEN 'dual-write' ELSE 'log' END\n"
             "         || CASE WHEN p.prosrc LIKE '%\"log_2_a\"%' THEN ' a' ELSE ' b' END\n"
             "  FROM pghaul.job AS j, pg_proc AS p\n"
             " WHERE j.name = 'alter-orders-1' AND p.proname = 'log_2_insert'",
             "t");
}

static void a_capture_killed_between_its_functions_and_its_fact_is_as_told(void)
{
    static const char *const VERBS[] = {"resume", "cutover"}; /* turns its sides; writes through */
    struct t_result result;

    ready();
    t_sql("CREATE FUNCTION at_function() RETURNS event_trigger LANGUAGE plpgsql AS $$\n"
          "BEGIN\n"
          "    WHILE EXISTS (SELECT FROM public.gate WHERE point = 'function') LOOP\n"
          "        PERFORM pg_sleep(0.01);\n"
          "    END LOOP;\n"
          "END $$;\n"
          "CREATE EVENT TRIGGER at_function ON ddl_command_end WHEN TAG IN ('CREATE FUNCTION')\n"
          "    EXECUTE FUNCTION at_function()");
    change_everything();
    for (size_t i = 0; i < sizeof(VERBS) / sizeof(VERBS[0]); i++) {
        close_gate("function");
        kill_at(t_start(VERBS[i], "alter-orders-1", i > 0 ? "--yes" : NULL, NULL), "function");
        expect_functions_as_told();
    }
    t_run(&result, "cutover", "alter-orders-1", "--yes", NULL);
    t_expect_status(&result, 0);
    stop_load(NULL);
    expect_equal_to_ledger();
}

static void a_rollback_killed_between_swap_and_drop_leaves_nothing_when_said_again(void)
{
    static const char *const POINTS[] = {"event ddl DROP TABLE%", NULL};
    struct t_result result;

    ready();
    t_run(&result, "cutover", "alter-orders-1", "--yes", NULL);
    t_expect_status(&result, 0);
    kill_verb_at("rollback", POINTS, "rolled_back");
    stop_load(NULL);
    expect_equal_to_ledger();
    expect_nothing_left_but_history();
    t_run(&result, "rollback", "alter-orders-1", "--yes", NULL);
    t_expect_status(&result, 3);
}

static void a_finish_killed_anywhere_is_done_by_saying_it_again(void)
{
    static const char *const POINTS[] = {"event ddl DROP TRIGGER%", "event ddl DROP TABLE%",
                                         "event state finished%", NULL};
    struct t_result result;

    ready();
    t_run(&result, "cutover", "alter-orders-1", "--yes", NULL);
    t_expect_status(&result, 0);
    kill_verb_at("finish", POINTS, "finished");
    stop_load(NULL);
    expect_equal_to_ledger();
    expect_nothing_left_but_history();
}

static void an_abort_killed_anywhere_is_done_by_saying_it_again(void)
{
    static const char *const POINTS[] = {"event wanted abort", "event ddl DROP TRIGGER%",
                                         "event ddl DROP TABLE%", "event state aborted%", NULL};
    const char *before;

    make_orders(ROWS);
    before = schema_dump();
    t_sql("DROP TABLE orders, orders_ledger");
    ready();
    t_sql("DROP TRIGGER at_gate ON pghaul.phase; DROP TRIGGER at_gate ON pghaul.span; DROP TRIGGER "
          "at_gate ON pghaul.job");
    kill_verb_at("abort", POINTS, "aborted");
    stop_load(NULL);
    t_sql("DROP TABLE first, gate, held; DROP FUNCTION at_gate CASCADE");
    expect_equal_to_ledger();
    expect_nothing_left_but_history();
    assert_string_equal(schema_dump(), before);
}

/* A builder that the server still runs for a dead program must not fail the one that comes after
 * it. */
static void an_index_build_that_outlives_the_program_is_waited_for(void)
{
    struct t_result result;
    struct t_process *process;

    t_sql("CREATE TABLE gate (point text); CREATE TABLE orders (id int PRIMARY KEY, a int);\n"
          "INSERT INTO orders SELECT n, n FROM generate_series(1, 400) AS n;\n"
          "CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$\n"
          "BEGIN IF EXISTS (SELECT FROM public.gate) THEN PERFORM pg_sleep(0.01); END IF; RETURN "
          "$1; END $$;\n"
          "CREATE INDEX slowly ON orders (slow(a)); ANALYZE orders");
    process = t_start("alter", "orders", NULL);
    t_wait_until("SELECT to_regclass('pghaul.phase') IS NOT NULL", "t", 20);
    t_sql("INSERT INTO gate VALUES ('slow')");
    t_wait_until(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name LIKE 'pghaul%index%'\n"
        "   AND query LIKE 'CREATE%slow%' AND wait_event = 'PgSleep'",
        "t", 20);
    t_kill(process, SIGKILL);
    t_wait(process, &result);
    t_run(&result, "resume", "alter-orders-1", NULL);
    t_expect_status(&result, 0);
    expect_state("alter-orders-1", "ready");
    t_sql("DELETE FROM gate");
    t_run(&result, "cutover", "alter-orders-1", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT count(*) FROM pg_index WHERE indrelid = 'orders'::regclass AND indisvalid",
             "2");
}

/* -----------------------------------------------------------------------------------------------
 * leaving without it */

/* `abort --print-sql` through psql after a kill at `point`: as before. */
static void leave_by_psql_after(const char *point)
{
    struct t_result result;
    const char *before;
    char path[] = "/tmp/pghaul-leave-XXXXXX";
    int file;

    print_message("leave after a kill at %s\n", point);
    t_fresh_database();
    make_orders(500);
    make_gates();
    before = schema_dump();
    close_gate(point);
    kill_at(start_alter(), point);
    t_run(&result, "abort", "alter-orders-1", "--print-sql", NULL);
    t_expect_status(&result, 0);
    assert_string_equal(result.out,
                        t_text("SELECT leave_sql FROM pghaul.job WHERE name = 'alter-orders-1'"));
    file = mkstemp(path);
    assert_true(write(file, result.out, strlen(result.out)) == (ssize_t)strlen(result.out));
    close(file);
    t_run_program(&result, "psql", "-X", "-q", "-f", path, "-d", t_conninfo(), NULL);
    unlink(path);
    t_expect_status(&result, 0);
    assert_string_equal(schema_dump(), before);
    expect_state("alter-orders-1", "aborted");
    expect_nothing_left_but_history();
    expect_equal_to_ledger();
}

static void the_printed_sql_takes_a_killed_job_out_through_psql(void)
{
    leave_by_psql_after("phase shadow running");
    leave_by_psql_after("phase capture done");
    leave_by_psql_after("span load");
    leave_by_psql_after("phase index done");
    leave_by_psql_after("phase verify done");
}

static void the_printed_sql_of_a_job_that_is_cut_over_changes_nothing(void)
{
    struct t_result result;
    char path[] = "/tmp/pghaul-leave-XXXXXX";
    const char *sql, *before;
    int file = mkstemp(path);

    make_orders(500);
    t_wait(start_alter(), &result);
    t_expect_status(&result, 0);
    sql = t_text("SELECT leave_sql FROM pghaul.job");
    assert_true(write(file, sql, strlen(sql)) == (ssize_t)strlen(sql));
    close(file);
    t_run(&result, "cutover", "alter-orders-1", "--yes", NULL);
    t_expect_status(&result, 0);
    before = schema_dump();
    t_run_program(&result, "psql", "-X", "-q", "-f", path, "-d", t_conninfo(), NULL);
    unlink(path);
    assert_int_not_equal(result.status, 0);
    t_expect_err(&result, "cut over");
    assert_string_equal(schema_dump(), before);
    t_run(&result, "abort", "alter-orders-1", "--print-sql", NULL);
    t_expect_status(&result, 3);
    t_sql("INSERT INTO orders (customer_id, status, amount, created_at, updated_at) VALUES (1, "
          "'new', 1, now(), now())");
    t_run(&result, "rollback", "alter-orders-1", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT count(*) FROM orders", "501");
}

static void abort_at_every_point_leaves_nothing_but_history(void)
{
    static const char *const POINTS[] = {
        "phase shadow done", "event capture forward: log%", "span load",
        "phase purge done",  "event ddl CREATE%INDEX%",     "span verify"};
    const char *before;

    make_orders(ROWS);
    make_gates();
    before = schema_dump();
    for (size_t i = 0; i < sizeof(POINTS) / sizeof(POINTS[0]); i++) {
        struct t_result result, ended;
        struct t_process *process, *abort;
        const char *job = t_format("alter-orders-%d", (int)i + 1);

        print_message("abort at %s\n", POINTS[i]);
        close_gate(POINTS[i]);
        process = start_alter();
        reach(process, POINTS[i]);
        abort = t_start("abort", job, "--yes", NULL);
        clock_sleep_ms(400); /* wanted, or waiting for the transaction at the gate */
        open_gates();
        t_wait(abort, &result);
        t_wait(process, &ended);
        t_expect_status(&result, 0);
        t_expect_status(&ended, 5);
        expect_state(job, "aborted");
        expect_nothing_left_but_history();
        assert_string_equal(schema_dump(), before);
    }
}

/* ----------------------------------------------------------------------------------------------
 * death of the server */

static void crash(void)
{
    struct error error = {0};

    sandbox_crash(t_sandbox());
    clock_sleep_ms(300);
    if (!sandbox_restart(t_sandbox(), &error))
        t_fail("%s", error.message);
    t_fails("SELECT 1", "*"); /* the harness's own session noticed */
}

static void a_crash_of_the_server_is_survived_by_the_running_program(void)
{
    static const char *const POINTS[] = {
        "facts shadow_oid%",
        "event lock SHARE ROW%",
        "span load",
        "phase load done",
        "event ddl CREATE%INDEX%",
        "phase catch-up running",
        "phase settle done",
        "span verify",
        "event capture forward: dual-write%",
        "event state cut_over%",
    };
    struct t_result result;
    struct t_process *process = NULL;

    make_orders(ROWS);
    make_gates();
    start_load(100);
    for (size_t i = 0; i < sizeof(POINTS) / sizeof(POINTS[0]); i++) {
        print_message("crash at %s\n", POINTS[i]);
        close_gate(POINTS[i]);
        if (process == NULL)
            process = t_start("alter", "orders", "--do", BIGINT, "-s", "span.size=256kB", "-s",
                              "chunk.wal=64kB", "-s", "cutover.hold=30s", "--cutover", "now",
                              "--yes", NULL);
        else
            t_sqlf("DELETE FROM public.gate WHERE point <> '%s'", POINTS[i]);
        reach(process, POINTS[i]);
        crash();
    }
    open_gates();
    t_wait(process, &result);
    t_expect_status(&result, 0);
    expect_state("alter-orders-1", "cut_over");
    stop_load(NULL);
    expect_equal_to_ledger();
    t_run(&result, "rollback", "alter-orders-1", "--yes", NULL);
    t_expect_status(&result, 0);
    expect_equal_to_ledger();
    expect_nothing_left_but_history();
}

static void
a_server_that_stays_away_longer_than_retry_limit_ends_the_program_and_the_job_is_resumable(void)
{
    struct t_result result;
    struct t_process *process;
    struct error error = {0};

    make_orders(ROWS);
    make_gates();
    close_gate("span load");
    process = t_start("alter", "orders", "-s", "retry.limit=1s", "-s", "span.size=256kB", NULL);
    reach(process, "span load");
    sandbox_crash(t_sandbox());
    t_wait(process, &result);
    if (!sandbox_restart(t_sandbox(), &error))
        t_fail("%s", error.message);
    t_fails("SELECT 1", "*");
    t_expect_status(&result, 1);
    t_expect_err(&result, "pghaul resume alter-orders-1");
    open_gates();
    t_run(&result, "resume", "alter-orders-1", NULL);
    t_expect_status(&result, 0);
    t_run(&result, "cutover", "alter-orders-1", "--yes", NULL);
    t_expect_status(&result, 0);
    expect_equal_to_ledger();
}

/* ------------------------------------------------------------------------------------------------
 * death of a session */

static void killed_sessions_are_opened_again(void)
{
    struct t_result result;
    struct t_process *process;
    unsigned seed = 5;
    int killed = 0;

    make_orders(ROWS);
    start_load(100);
    process = t_start("alter", "orders", "--do", BIGINT, "-s", "span.size=128kB", "-s",
                      "chunk.wal=64kB", "-s", "policy=fixed=60ms", "-s", "chunk.time=10ms", NULL);
    while (t_running(process)) {
        clock_sleep_ms(20 + rand_r(&seed) % 300);
        killed += (int)t_int(
            "SELECT count(pg_terminate_backend(pid)) FROM (\n"
            "    SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'pghaul%'\n"
            "       AND datname = current_database()\n"
            "       AND (application_name <> 'pghaul' OR to_regclass('pghaul.job') IS NOT NULL)\n"
            "       AND EXISTS (SELECT FROM pg_locks AS l WHERE locktype = 'advisory'\n"
            "                      AND objsubid = 2 AND classid = 1751217516\n" /* it is led */
            "                      AND database = (SELECT oid FROM pg_database\n"
            "                                       WHERE datname = current_database()))\n"
            "     ORDER BY random() LIMIT 1) AS x");
    }
    t_wait(process, &result);
    t_expect_status(&result, 0);
    print_message("%d sessions were killed\n", killed);
    assert_true(killed > 3);
    t_run(&result, "cutover", "alter-orders-1", "--yes", NULL);
    t_expect_status(&result, 0);
    stop_load(NULL);
    expect_equal_to_ledger();
}

/* Either it says so and it is swapped, or it is not and says so; a second word finishes it. Never
 * half. */
static void a_cutover_whose_control_session_dies_at_a_random_moment_is_never_half(void)
{
    unsigned seed = (unsigned)clock_us();
    struct traffic_report report = {0};
    int killed = 0, swapped_at_once = 0, refused = 0;

    print_message("seed %u\n", seed);
    make_orders(1500);
    start_load(60);
    for (int try = 1; try <= 20; try++) {
        const char *job = t_format("alter-orders-%d", try);
        struct t_result result;
        struct t_process *process;

        t_run(&result, "alter", "orders", "-s", "settle=off", NULL);
        t_expect_status(&result, 0);
        process = t_start("cutover", job, "--yes", NULL);
        t_wait_until(
            "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2", "t",
            10);
        clock_sleep_ms(rand_r(&seed) % 45);
        killed += (int)t_int("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity\n"
                             " WHERE application_name = 'pghaul'\n"
                             "   AND datname = current_database()");
        t_wait(process, &result);
        if (result.status == 0) {
            swapped_at_once++;
            expect_state(job, "cut_over");
        } else {
            refused++;
            t_run(&result, "cutover", job, "--yes", NULL);
            if (result.status != 0)
                t_expect_status(&result, 3); /* it has happened */
            expect_state(job, "cut_over");
        }
        expect_equal_to_ledger();
        t_run(&result, try % 2 == 0 ? "rollback" : "finish", job, "--yes", NULL);
        t_expect_status(&result, 0);
        expect_nothing_left_but_history();
        expect_equal_to_ledger();
    }
    print_message("%d were killed, %d went through, %d had to be told again\n", killed,
                  swapped_at_once, refused);
    assert_true(killed > 0);
    stop_load(&report);
    assert_int_equal(report.unexpected_errors, 0);
    traffic_report_deinit(&report);
    expect_equal_to_ledger();
}

/* -------------------------------------------------------------------------------------- death of
 * the answer to COMMIT */

/*
 * A relay between the program and the server. Armed, it waits for the next COMMIT of any
 * connection; then it either passes it on and swallows the answer, or does not even pass it on; and
 * closes every connection. One thread.
 */
struct relay {
    pthread_t thread;
    char dir[64];
    struct sockaddr_un server;
    int listener;
    atomic_int armed; /* 0 no, 1 lose the answer, 2 lose the COMMIT */
    atomic_bool fired;
    atomic_bool over;
};

enum { PAIRS_MAX = 32 };

struct pair {
    int client;
    int server;
};

static void drop_pair(struct pair *pair)
{
    close(pair->client);
    close(pair->server);
    *pair = (struct pair){-1, -1};
}

static bool write_all(int to, const char *bytes, ssize_t count)
{
    while (count > 0) {
        ssize_t sent = send(to, bytes, (size_t)count, MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        bytes += sent;
        count -= sent;
    }
    return true;
}

/* Is it a simple query COMMIT? Statements of libpq's PQexec come in one write. */
static bool is_commit(const char *bytes, ssize_t count)
{
    return count == 12 && bytes[0] == 'Q' && memcmp(bytes + 5, "COMMIT", 7) == 0;
}

static void fire(struct relay *relay, struct pair *pairs, int mode, int server, const char *bytes,
                 ssize_t count)
{
    char ignored[256];

    if (mode == 1 && write_all(server, bytes, count))
        (void)!read(server, ignored, sizeof(ignored)); /* it is committed now */
    for (int i = 0; i < PAIRS_MAX; i++)
        if (pairs[i].client >= 0)
            drop_pair(&pairs[i]);
    atomic_store(&relay->armed, 0);
    atomic_store(&relay->fired, true);
}

static void *relay_main(void *arg)
{
    struct relay *relay = arg;
    struct pair pairs[PAIRS_MAX];
    char bytes[65536];

    for (int i = 0; i < PAIRS_MAX; i++)
        pairs[i] = (struct pair){-1, -1};
    while (!atomic_load(&relay->over)) {
        struct pollfd list[PAIRS_MAX * 2 + 1];

        for (int i = 0; i < PAIRS_MAX; i++) {
            list[i * 2] = (struct pollfd){.fd = pairs[i].client, .events = POLLIN};
            list[i * 2 + 1] = (struct pollfd){.fd = pairs[i].server, .events = POLLIN};
        }
        list[PAIRS_MAX * 2] = (struct pollfd){.fd = relay->listener, .events = POLLIN};
        if (poll(list, PAIRS_MAX * 2 + 1, 50) <= 0)
            continue;
        for (int i = 0; i < PAIRS_MAX * 2; i++) {
            struct pair *pair = &pairs[i / 2];
            int from = i % 2 == 0 ? pair->client : pair->server;
            int to = i % 2 == 0 ? pair->server : pair->client;
            int mode = atomic_load(&relay->armed);
            ssize_t count;

            if (list[i].revents == 0 || from < 0 || from != list[i].fd)
                continue;
            count = read(from, bytes, sizeof(bytes));
            if (count > 0 && i % 2 == 0 && mode != 0 && is_commit(bytes, count))
                fire(relay, pairs, mode, to, bytes, count);
            else if (count <= 0 || !write_all(to, bytes, count))
                drop_pair(pair);
        }
        if (list[PAIRS_MAX * 2].revents != 0) {
            for (int i = 0; i < PAIRS_MAX; i++)
                if (pairs[i].client < 0) {
                    pairs[i].client = accept(relay->listener, NULL, NULL);
                    pairs[i].server = socket(AF_UNIX, SOCK_STREAM, 0);
                    if (connect(pairs[i].server, (struct sockaddr *)&relay->server,
                                sizeof(relay->server)) != 0)
                        drop_pair(&pairs[i]);
                    break;
                }
        }
    }
    for (int i = 0; i < PAIRS_MAX; i++)
        if (pairs[i].client >= 0)
            drop_pair(&pairs[i]);
    return NULL;
}

static void relay_start(struct relay *relay)
{
    struct sockaddr_un here = {.sun_family = AF_UNIX};

    *relay = (struct relay){.server = {.sun_family = AF_UNIX}};
    snprintf(relay->dir, sizeof(relay->dir), "/tmp/pghaul-relay-XXXXXX");
    assert_non_null(mkdtemp(relay->dir));
    snprintf(relay->server.sun_path, sizeof(relay->server.sun_path), "%s/.s.PGSQL.5432",
             sandbox_dir(t_sandbox()));
    snprintf(here.sun_path, sizeof(here.sun_path), "%s/.s.PGSQL.5432", relay->dir);
    relay->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(relay->listener, (struct sockaddr *)&here, sizeof(here)), 0);
    assert_int_equal(listen(relay->listener, 16), 0);
    assert_int_equal(pthread_create(&relay->thread, NULL, relay_main, relay), 0);
}

static void relay_stop(struct relay *relay)
{
    char path[108];

    atomic_store(&relay->over, true);
    pthread_join(relay->thread, NULL);
    close(relay->listener);
    snprintf(path, sizeof(path), "%s/.s.PGSQL.5432", relay->dir);
    unlink(path);
    rmdir(relay->dir);
}

/* The same database by way of the relay. */
static const char *relay_conninfo(const struct relay *relay)
{
    return t_format("host=%s port=5432 user=postgres dbname=%s", relay->dir,
                    t_text("SELECT current_database()"));
}

/* `verb`, whose transaction that sets `state` loses its answer (1) or its COMMIT (2), is done all
 * the same. */
static void lose(const char *verb, const char *state, int what)
{
    struct relay relay;
    struct t_process *process;
    struct t_result result;

    print_message("%s loses its %s\n", verb, what == 1 ? "answer" : "commit");
    relay_start(&relay);
    close_gate(t_format("event state %s%%", state));
    process = t_start_at(T_HERE, false, verb, "alter-orders-1", "--yes", "-d",
                         relay_conninfo(&relay), NULL);
    reach(process, state);
    atomic_store(&relay.armed, what);
    open_gates();
    t_wait(process, &result);
    assert_true(atomic_load(&relay.fired));
    relay_stop(&relay);
    t_expect_status(&result, 0);
    expect_state("alter-orders-1", state);
}

static void a_lost_answer_to_the_commit_of_a_swap_is_looked_up(void)
{
    for (int what = 1; what <= 2; what++) {
        struct t_result result;

        t_fresh_database();
        make_orders(1500);
        make_gates();
        t_wait(start_alter(), &result);
        t_expect_status(&result, 0);
        start_load(60);
        lose("cutover", "cut_over", what);
        expect_equal_to_ledger();
        lose("rollback", "rolled_back", what);
        stop_load(NULL);
        expect_equal_to_ledger();
        expect_nothing_left_but_history();
    }
}

static void a_lost_answer_to_the_commit_of_a_finish_or_an_abort_is_looked_up(void)
{
    for (int what = 1; what <= 2; what++) {
        static const char *const VERBS[][2] = {{"finish", "finished"}, {"abort", "aborted"}};

        for (int i = 0; i < 2; i++) {
            struct t_result result;

            t_fresh_database();
            make_orders(500);
            make_gates();
            t_wait(start_alter(), &result);
            t_expect_status(&result, 0);
            if (i == 0) {
                t_run(&result, "cutover", "alter-orders-1", "--yes", NULL);
                t_expect_status(&result, 0);
            }
            lose(VERBS[i][0], VERBS[i][1], what);
            expect_nothing_left_but_history();
            t_expect(
                t_format("SELECT count(*) FROM pghaul.event JOIN pghaul.job j ON j.id = job "
                         "WHERE j.name = 'alter-orders-1' AND event.kind = 'state' AND detail = "
                         "'%s'",
                         VERBS[i][1]),
                "1");
            t_run(&result, VERBS[i][0], "alter-orders-1", "--yes", NULL);
            t_expect_status(&result, 0);
            t_expect_out(&result, t_format("job alter-orders-1 is %s already", VERBS[i][1]));
            t_run(&result, VERBS[i][0], "alter-orders-1", "--yes", "--json", NULL);
            t_expect_status(&result, 0);
            t_expect_out(&result, t_format("\"%s\"", VERBS[i][1]));
            t_run(&result, VERBS[1 - i][0], "alter-orders-1", "--yes", NULL);
            t_expect_status(&result, 3);
        }
    }
}

static int stop_left_load(void **state)
{
    int code = t_teardown(state);

    if (load != NULL)
        stop_load(NULL);
    return code;
}

#define test(function)                                                                \
    {                                                                                 \
        .name = #function, .test_func = t_body, .setup_func = t_setup,                \
        .teardown_func = stop_left_load, .initial_state = &(struct t_case){function}, \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_job_killed_at_every_point_of_its_way_to_ready_finishes),
        test(a_cutover_and_a_rollback_killed_anywhere_are_done_by_saying_them_again),
        test(a_capture_killed_between_its_functions_and_its_fact_is_as_told),
        test(a_rollback_killed_between_swap_and_drop_leaves_nothing_when_said_again),
        test(a_finish_killed_anywhere_is_done_by_saying_it_again),
        test(an_abort_killed_anywhere_is_done_by_saying_it_again),
        test(an_index_build_that_outlives_the_program_is_waited_for),
        test(the_printed_sql_takes_a_killed_job_out_through_psql),
        test(the_printed_sql_of_a_job_that_is_cut_over_changes_nothing),
        test(abort_at_every_point_leaves_nothing_but_history),
        test(killed_sessions_are_opened_again),
        test(a_cutover_whose_control_session_dies_at_a_random_moment_is_never_half),
        test(a_lost_answer_to_the_commit_of_a_swap_is_looked_up),
        test(a_lost_answer_to_the_commit_of_a_finish_or_an_abort_is_looked_up),
        test(a_crash_of_the_server_is_survived_by_the_running_program),
        test(
            a_server_that_stays_away_longer_than_retry_limit_ends_the_program_and_the_job_is_resumable),
    };

    return T_MAIN(tests);
}
