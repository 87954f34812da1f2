/*
 * Renames and retypes of a column under the hostile load (tests/hostile.h), beside a crew that
 * writes the column by its old and its new name at random, for as long as there are two.
 *
 * The load keeps a ledger of its own statements. So does the crew, in the same table: `ledger` has
 * what the column must hold, changed in the transaction that changed acct, for the key that acct's
 * statement says it touched, and while that row is held (traffic_hostile.c argues why that is
 * exact). A value that one of the names swallowed would stay different for good.
 */
#include "tests/hostile.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/text.h"

enum { ROWS = 20000, CREW = 3, SWAP_CALLS_MAX = 3, REPORT_BYTES = 512 };

struct column_case {
    const char *name;
    const char *arguments[3]; /* of `pghaul column`, around the table: verb, column, what */
    const char *column;       /* its names before the cut-over */
    const char *twin;
    const char *after; /* and after it */
    const char *hidden;
    bool key;
    const char *sql; /* on acct and ledger as bench/data.h makes them */
    double truncate_share;
};

static int stage_ms(void)
{
    const char *ms = getenv("PGHAUL_HOSTILE_MS");

    return ms != NULL ? atoi(ms) : 1500;
}

/* ----------------------------------------------------------------------------------------- crew */

static struct {
    const struct column_case *test;
    pthread_t threads[CREW];
    char conninfo[1024];
    int started;
    atomic_bool stop;
    atomic_bool ready; /* before that no trigger sees a NULL that is written by the new name */
    atomic_long by_old, by_new; /* committed changes by each of the names */
    pthread_mutex_t mutex;
    char error[REPORT_BYTES]; /* the first that is not one of a table's own */
} crew = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static bool is_own(const char *sqlstate)
{
    /* 42703: the column has this name no longer, or not yet. */
    static const char *const OWN[] = {"23505", "40001", "40P01", "42703"};

    for (size_t i = 0; i < sizeof(OWN) / sizeof(OWN[0]); i++)
        if (sqlstate != NULL && strcmp(sqlstate, OWN[i]) == 0)
            return true;
    return false;
}

static void keep_error(const char *sql, PGconn *connection)
{
    pthread_mutex_lock(&crew.mutex);
    if (crew.error[0] == '\0')
        snprintf(crew.error, sizeof(crew.error), "%s: %s", sql, PQerrorMessage(connection));
    pthread_mutex_unlock(&crew.mutex);
}

/* Rows that it touched; -1 when it failed. */
static int execute(PGconn *connection, const char *sql)
{
    PGresult *result = PQexec(connection, sql);
    int rows = -1;

    if (PQresultStatus(result) == PGRES_COMMAND_OK || PQresultStatus(result) == PGRES_TUPLES_OK)
        rows = atoi(PQcmdTuples(result));
    else if (!is_own(PQresultErrorField(result, PG_DIAG_SQLSTATE)))
        keep_error(sql, connection);
    PQclear(result);
    return rows;
}

/* acct's statement and the ledger's: of a value, or of the key itself. */
static void write_statements(unsigned *seed, const char *name, struct text *acct,
                             struct text *ledger)
{
    const struct column_case *test = crew.test;
    int key = 1 + rand_r(seed) % (ROWS + ROWS / 10);
    int value = rand_r(seed) % 1000000;

    if (test->key) {
        text_appendf(acct, "UPDATE acct SET %s = %d WHERE id = %d", name, value % (2 * ROWS) + 1,
                     key);
        text_appendf(ledger, "UPDATE ledger SET id = %d WHERE id = %d", value % (2 * ROWS) + 1,
                     key);
        return;
    }
    switch (rand_r(seed) % 4) {
    case 0:
        text_appendf(acct,
                     "INSERT INTO acct (id, grp, bal, ts, %s) VALUES (%d, 1, 0, '2024-01-01', %d)\n"
                     " ON CONFLICT (id) DO UPDATE SET %s = EXCLUDED.%s",
                     name, key, value, name, name);
        text_appendf(
            ledger,
            "INSERT INTO ledger (id, grp, bal, ts, extra) VALUES (%d, 1, 0, '2024-01-01', %d)\n"
            " ON CONFLICT (id) DO UPDATE SET extra = EXCLUDED.extra",
            key, value);
        break;
    case 1:
        if (!atomic_load(&crew.ready) && name == test->twin)
            break;
        text_appendf(acct, "UPDATE acct SET %s = NULL WHERE id = %d", name, key);
        text_appendf(ledger, "UPDATE ledger SET extra = NULL WHERE id = %d", key);
        break;
    default:
        text_appendf(acct, "UPDATE acct SET %s = %d WHERE id = %d", name, value, key);
        text_appendf(ledger, "UPDATE ledger SET extra = %d WHERE id = %d", value, key);
        break;
    }
}

static void write_once(PGconn *connection, unsigned *seed)
{
    bool by_new = rand_r(seed) % 2 == 0;
    TEXT_AUTO acct = {0};
    TEXT_AUTO ledger = {0};
    int rows;

    write_statements(seed, by_new ? crew.test->twin : crew.test->column, &acct, &ledger);
    if (acct.used == 0)
        return;
    (void)execute(connection, "BEGIN");
    rows = execute(connection, text_string(&acct));
    if (rows > 0)
        rows = execute(connection, text_string(&ledger)) == 1 ? 1 : -1;
    if (rows < 0 || execute(connection, "COMMIT") < 0)
        (void)execute(connection, "ROLLBACK");
    else if (rows > 0)
        atomic_fetch_add(by_new ? &crew.by_new : &crew.by_old, 1);
}

static void *work(void *arg)
{
    const char *const keywords[] = {"dbname", "application_name", NULL};
    const char *const values[] = {crew.conninfo, "traffic-crew", NULL};
    PGconn *connection = PQconnectdbParams(keywords, values, 1);
    unsigned seed = (unsigned)(uintptr_t)arg;

    if (PQstatus(connection) != CONNECTION_OK)
        keep_error("connect", connection);
    (void)execute(connection, "SET statement_timeout = '60s'");
    while (!atomic_load(&crew.stop) && PQstatus(connection) == CONNECTION_OK)
        write_once(connection, &seed);
    PQfinish(connection);
    return NULL;
}

static void crew_stop(void)
{
    atomic_store(&crew.stop, true);
    while (crew.started > 0)
        pthread_join(crew.threads[--crew.started], NULL);
}

static void crew_start(const struct column_case *test)
{
    crew_stop(); /* of a test that failed */
    crew.test = test;
    crew.error[0] = '\0';
    atomic_store(&crew.by_old, 0);
    atomic_store(&crew.by_new, 0);
    snprintf(crew.conninfo, sizeof(crew.conninfo), "%s", t_conninfo());
    atomic_store(&crew.stop, false);
    atomic_store(&crew.ready, false);
    while (crew.started < CREW) {
        if (pthread_create(&crew.threads[crew.started], NULL, work,
                           (void *)(uintptr_t)(crew.started + 1)) != 0)
            t_fail("could not start a thread");
        crew.started++;
    }
}

/* -------------------------------------------------------------------------------------- oracles */

/* One statement, so one snapshot, in which every transaction has changed both tables or none. */
static void expect_ledger(const char *column, const char *when)
{
    const char *sample;
    int64_t wrong = hostile_wrong(&sample);

    if (wrong != 0)
        t_fail("%s: %d rows are not as the load left them:\n%s", when, (int)wrong, sample);
    if (crew.test->key)
        return;
    sample = t_text(t_format("SELECT format('%%s rows, as %%s', count(*), min(format('%%s: %%s "
                             "instead of %%s', l.id, a.%s, l.extra)))\n"
                             "  FROM acct AS a FULL JOIN ledger AS l ON a.id = l.id\n"
                             " WHERE a.id IS NULL OR l.id IS NULL OR a.%s IS DISTINCT FROM l.extra",
                             column, column));
    if (strncmp(sample, "0 rows", 6) != 0)
        t_fail("%s: column %s is not as the crew left it: %s", when, column, sample);
}

static void expect_pair(const char *one, const char *other, const char *when)
{
    int64_t differences =
        t_int(t_format("SELECT count(*) FROM acct WHERE %s IS DISTINCT FROM %s", one, other));

    if (differences != 0)
        t_fail("%s: %s and %s differ in %d rows", when, one, other, (int)differences);
}

static void expect_all(bool swapped, const char *when)
{
    const struct column_case *test = crew.test;

    expect_pair(swapped ? test->hidden : test->column, swapped ? test->after : test->twin, when);
    expect_ledger(swapped ? test->after : test->column, when);
}

/* ------------------------------------------------------------------------------------------- run
 */

/* Exit status 6: no try met a moment without somebody who had used the table for long. */
static void swap(const char *verb)
{
    struct t_result result;

    for (int calls = 1;; calls++) {
        t_run(&result, verb, "j", "--yes", strcmp(verb, "cutover") == 0 ? "--force" : NULL, NULL);
        if (result.status != 6 || calls == SWAP_CALLS_MAX)
            break;
        print_message("    %s was in vain for %.1f s\n", verb, (double)result.took_ms / 1000);
    }
    t_expect_status(&result, 0);
    print_message("    %s took %.1f s\n", verb, (double)result.took_ms / 1000);
}

static void for_a_while(bool swapped, const char *when)
{
    expect_all(swapped, when);
    clock_sleep_ms(stage_ms());
    expect_all(swapped, when);
}

static void reach_ready(const struct column_case *test)
{
    struct t_result result;

    t_run(&result, "column", test->arguments[0], "acct", test->arguments[1], test->arguments[2],
          "-s", "policy=off", "--job", "j", NULL);
    if (result.status == 6) {
        print_message("    ready was in vain for %.1f s\n", (double)result.took_ms / 1000);
        t_run(&result, "resume", "j", NULL);
    }
    t_expect_status(&result, 0);
    t_expect("SELECT state FROM pghaul.job WHERE name = 'j'", "ready");
    atomic_store(&crew.ready, true);
    print_message("    ready after %.1f s\n", (double)result.took_ms / 1000);
}

static void run(const struct column_case *test, uint64_t seed)
{
    struct hostile_shape shape = {.name = test->name, .sql = test->sql, .meddler = "SELECT"};
    struct hostile_options options = {
        .shape = &shape, .rows = ROWS, .seed = seed, .truncate_share = test->truncate_share};
    struct traffic *traffic;

    t_limit(120);
    hostile_make(&shape, ROWS, seed);
    traffic = hostile_start(&options);
    crew_start(test);
    hostile_more(traffic, 200);

    traffic_mark(traffic, "column");
    reach_ready(test);
    traffic_mark(traffic, "ready");
    for_a_while(false, "at ready");
    traffic_mark(traffic, "cutover");
    swap("cutover");
    traffic_mark(traffic, "swapped");
    for_a_while(true, "after the cut-over");
    traffic_mark(traffic, "rollback");
    swap("rollback");
    traffic_mark(traffic, "back");
    for_a_while(false, "after the way back");
    traffic_mark(traffic, "again");
    swap("cutover");
    expect_all(true, "after the second cut-over");
    traffic_mark(traffic, "finish");
    swap("finish");
    expect_ledger(test->after, "after finish");
    clock_sleep_ms(stage_ms() / 2);

    crew_stop();
    print_message("    crew: %ld by the old name, %ld by the new one\n", atomic_load(&crew.by_old),
                  atomic_load(&crew.by_new));
    if (crew.error[0] != '\0')
        t_fail("the crew saw: %s", crew.error);
    assert_true(atomic_load(&crew.by_new) > 100);
    hostile_stop(traffic, &options);
    expect_ledger(test->after, "when all is quiet");
    t_expect(
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'acct'::regclass AND NOT tgisinternal",
        "0");
}

#define EXTRA                                                                    \
    "ALTER TABLE acct ADD COLUMN extra int; ALTER TABLE ledger ADD extra int;\n" \
    "UPDATE acct SET extra = id % 1000; UPDATE ledger SET extra = id % 1000;\n"  \
    "ANALYZE acct"

static void a_column_that_is_renamed_loses_nothing(void)
{
    static const struct column_case TEST = {
        .name = "rename a value",
        .arguments = {"rename", "extra", "renamed"},
        .column = "extra",
        .twin = "renamed",
        .after = "renamed",
        .hidden = "pghaul_old_extra",
        .sql = EXTRA,
        .truncate_share = 0.0005,
    };

    run(&TEST, 41);
}

static void a_column_that_is_retyped_loses_nothing(void)
{
    static const struct column_case TEST = {
        .name = "retype a value",
        .arguments = {"retype", "extra", "bigint"},
        .column = "extra",
        .twin = "pghaul_new_extra",
        .after = "extra",
        .hidden = "pghaul_old_extra",
        .sql = EXTRA,
    };

    run(&TEST, 42);
}

static void a_key_that_is_retyped_loses_nothing(void)
{
    static const struct column_case TEST = {
        .name = "retype the key",
        .arguments = {"retype", "id", "bigint"},
        .column = "id",
        .twin = "pghaul_new_id",
        .after = "id",
        .hidden = "pghaul_old_id",
        .key = true,
        .sql = "ALTER TABLE acct ALTER COLUMN id TYPE int",
    };

    run(&TEST, 43);
}

/* The oracle can fail: a trigger that swallows what is written by the new name. */
static void a_trigger_that_goes_one_way_is_found_out(void)
{
    static const struct column_case TEST = {.name = "one way",
                                            .arguments = {"rename", "extra", "renamed"},
                                            .column = "extra",
                                            .twin = "renamed",
                                            .after = "renamed",
                                            .hidden = "pghaul_old_extra"};
    struct hostile_shape shape = {.name = TEST.name, .sql = EXTRA, .meddler = "SELECT"};
    struct hostile_options options = {.shape = &shape, .rows = ROWS, .seed = 44};
    struct traffic *traffic;

    hostile_make(&shape, ROWS, options.seed);
    traffic = hostile_start(&options);
    reach_ready(&TEST);
    t_sql("CREATE OR REPLACE FUNCTION pghaul.sync_update_1() RETURNS trigger LANGUAGE plpgsql AS\n"
          "$$BEGIN NEW.renamed := NEW.extra; RETURN NEW; END$$");
    crew_start(&TEST);
    hostile_more(traffic, 500);
    crew_stop();
    hostile_abandon(traffic);
    assert_true(t_int("SELECT count(*) FROM acct AS a JOIN ledger AS l USING (id) WHERE a.extra IS "
                      "DISTINCT FROM l.extra") > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_trigger_that_goes_one_way_is_found_out),
        t_test(a_column_that_is_renamed_loses_nothing),
        t_test(a_column_that_is_retyped_loses_nothing),
        t_test(a_key_that_is_retyped_loses_nothing),
    };
    int failed;

    t_sandbox_options.settings = hostile_server_settings;
    failed = T_MAIN(tests);
    crew_stop();
    return failed;
}
