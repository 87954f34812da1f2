#include "tests/hostile.h"

#include <ctype.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/data.h"
#include "engine/base/clock.h"

enum {
    HELD_UP_MS_MAX = 100, /* the promise */
    QUIET_MS_MAX = 25,    /* the slowest BEGIN of a machine that has time */
    LOOK_EVERY_MS = 200,
    MEDDLE_EVERY_MS = 5,
    SWAP_CALLS_MAX = 3,
    TORN_SNAPSHOTS_MAX = 20,
    STRANGERS_MAX = 4096,
};

/* %e: the SQLSTATE of an error; connections: whose a process was. */
const char *const hostile_server_settings[] = {
    "log_line_prefix = '%m [%p] %q%e %a '",
    "log_connections = on",
    "autovacuum_naptime = 3s",
    NULL,
};

/* -------------------------------------------------------------------------------------- shapes */

#define PLAIN_BACK .back = "f.id, f.grp::int, f.bal, f.note, f.ts, f.code"
#define PLAIN_OLD .old_row = "t.id, t.grp, t.bal, t.note, t.ts, t.code"
#define GRP_BIGINT "--do", "ALTER COLUMN grp TYPE bigint"

const struct hostile_shape hostile_shapes[] = {
    {
        /* The new column is one that no value of the source goes to: replay keeps it. */
        .name = "retype and add a column",
        .key = "id",
        .there = "f.id, f.grp::bigint, f.bal, f.note, f.ts, f.code, 7",
        .new_row = "t.id, t.grp, t.bal, t.note, t.ts, t.code, t.extra",
        PLAIN_BACK,
        PLAIN_OLD,
        .arguments = {GRP_BIGINT, "--do", "ADD COLUMN extra int NOT NULL DEFAULT 7"},
    },
    {
        .name = "retype the key",
        .sql = "ALTER TABLE acct ALTER COLUMN id TYPE int",
        .key = "id",
        .there = "f.id::bigint, f.grp, f.bal, f.note, f.ts, f.code",
        .new_row = "t.id, t.grp, t.bal, t.note, t.ts, t.code",
        .back = "f.id::int, f.grp, f.bal, f.note, f.ts, f.code",
        PLAIN_OLD,
        .arguments = {"--do", "ALTER COLUMN id TYPE bigint"},
    },
    {
        .name = "composite text key",
        .sql = "ALTER TABLE acct ADD COLUMN realm text COLLATE \"und-x-icu\" NOT NULL\n"
               "    DEFAULT 'main', DROP CONSTRAINT acct_pkey;\n"
               "ALTER TABLE acct ADD PRIMARY KEY (realm, id);\n"
               "CREATE UNIQUE INDEX acct_id ON acct (id)",
        .key = "realm, id",
        .there = "f.id, f.grp::bigint, f.bal, f.note, f.ts, f.code, f.realm",
        .new_row = "t.id, t.grp, t.bal, t.note, t.ts, t.code, t.realm",
        .back = "f.id, f.grp::int, f.bal, f.note, f.ts, f.code, f.realm",
        .old_row = "t.id, t.grp, t.bal, t.note, t.ts, t.code, t.realm",
        .arguments = {GRP_BIGINT},
        .meddler = "UPDATE acct SET realm = (ARRAY['main', 'Main', 'm\xc3\xa4in', 'a-b', 'ab'])\n"
                   "                        [1 + floor(random() * 5)::int]\n"
                   " WHERE id = (SELECT floor(random() * 1000)::bigint)",
    },
    {
        /* 7, 7.0 and 7.00 are one key, and different values. */
        .name = "numeric key",
        .sql = "ALTER TABLE acct ALTER COLUMN id TYPE numeric",
        .key = "id",
        .there = "f.id, f.grp::bigint, f.bal, f.note, f.ts, f.code",
        .new_row = "t.id, t.grp, t.bal, t.note, t.ts, t.code",
        PLAIN_BACK,
        PLAIN_OLD,
        .arguments = {GRP_BIGINT},
        .meddler = "UPDATE acct SET id = CASE WHEN scale(id) < 3 THEN id * 1.0 ELSE trunc(id) END\n"
                   " WHERE id = (SELECT floor(random() * 1000)::bigint)",
    },
    {
        .name = "more unique indexes",
        .sql = "CREATE UNIQUE INDEX acct_lower ON acct (lower(code)) INCLUDE (bal);\n"
               "CREATE UNIQUE INDEX acct_some ON acct (code, grp) WHERE code IS NOT NULL;\n"
               "CREATE INDEX acct_grp ON acct (grp)",
        .key = "id",
        .there = "f.id, f.grp::bigint, f.bal, f.note, f.ts, f.code",
        .new_row = "t.id, t.grp, t.bal, t.note, t.ts, t.code",
        PLAIN_BACK,
        PLAIN_OLD,
        .arguments = {GRP_BIGINT},
    },
    {.name = NULL},
};

const struct hostile_shape *hostile_shape(const char *name)
{
    for (const struct hostile_shape *shape = hostile_shapes; shape->name != NULL; shape++)
        if (strcmp(shape->name, name) == 0)
            return shape;
    t_fail("there is no shape \"%s\"", name);
}

/* ----------------------------------------------------------------------- what one test has open */

static struct {
    struct traffic *traffic;
    const char *log;   /* of the server */
    long log_position; /* where it ended when the run began */
    pthread_t meddler;
    const char *meddler_sql; /* NULL: there is none */
    char *meddler_conninfo;
    atomic_bool meddler_stop;
    char meddler_error[512]; /* the first that is not one of a table's own */
} open_run;

/* ------------------------------------------------------------------------------------- meddler */

static bool own_error(const char *sqlstate)
{
    return sqlstate != NULL && (strcmp(sqlstate, "23505") == 0 || strcmp(sqlstate, "40001") == 0 ||
                                strcmp(sqlstate, "40P01") == 0);
}

static void *meddle(void *arg)
{
    const char *const keywords[] = {"dbname", "application_name", NULL};
    const char *const values[] = {open_run.meddler_conninfo, "traffic-meddler", NULL};
    PGconn *connection = PQconnectdbParams(keywords, values, 1);

    (void)arg;
    while (!atomic_load(&open_run.meddler_stop) && PQstatus(connection) == CONNECTION_OK) {
        PGresult *result = PQexec(connection, open_run.meddler_sql);

        if (PQresultStatus(result) != PGRES_COMMAND_OK && open_run.meddler_error[0] == '\0' &&
            !own_error(PQresultErrorField(result, PG_DIAG_SQLSTATE)))
            snprintf(open_run.meddler_error, sizeof(open_run.meddler_error), "%s",
                     PQerrorMessage(connection));
        PQclear(result);
        clock_sleep_ms(MEDDLE_EVERY_MS);
    }
    PQfinish(connection);
    return NULL;
}

static void meddler_start(const char *sql)
{
    open_run.meddler_error[0] = '\0';
    open_run.meddler_sql = sql;
    open_run.meddler_conninfo = strdup(t_conninfo());
    atomic_store(&open_run.meddler_stop, false);
    if (pthread_create(&open_run.meddler, NULL, meddle, NULL) != 0)
        t_fail("could not start a thread");
}

static void meddler_end(void)
{
    if (open_run.meddler_sql == NULL)
        return;
    atomic_store(&open_run.meddler_stop, true);
    pthread_join(open_run.meddler, NULL);
    free(open_run.meddler_conninfo);
    open_run.meddler_sql = NULL;
}

/* --------------------------------------------------------------------------- tables and the load
 */

void hostile_make(const struct hostile_shape *shape, int64_t rows, uint64_t seed)
{
    SESSION_AUTO *session = NULL;
    struct error error = {0};
    FILE *log;

    open_run.log = t_format("%s/log", sandbox_dir(t_sandbox()));
    log = fopen(open_run.log, "re");
    assert_non_null(log);
    fseek(log, 0, SEEK_END);
    open_run.log_position = ftell(log);
    fclose(log);
    if (!session_open(
            &session,
            &(struct session_options){.conninfo = t_conninfo(), .application_name = "hostile"},
            &error) ||
        !data_make(session, &(struct data_options){.set = "acct", .rows = rows, .seed = seed},
                   &error))
        t_fail("%s", error.message);
    if (shape->sql != NULL)
        t_sql(shape->sql);
}

/* An autovacuum that is at work on acct for as long as nobody stands in its way. */
static void start_autovacuum(void)
{
    t_sql("ALTER TABLE acct SET (autovacuum_vacuum_threshold = 1,\n"
          "    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100,\n"
          "    autovacuum_vacuum_cost_limit = 1);\n"
          "UPDATE acct SET grp = grp");
    t_wait_until("SELECT count(*) > 0 FROM pg_stat_activity\n"
                 " WHERE backend_type = 'autovacuum worker' AND query LIKE '%VACUUM%public.acct%'",
                 "t", 60);
}

struct traffic *hostile_start(const struct hostile_options *options)
{
    struct error error = {0};

    if (open_run.traffic != NULL) /* of a test that failed */
        hostile_abandon(open_run.traffic);
    if (!traffic_start(&open_run.traffic,
                       &(struct traffic_options){.kind = TRAFFIC_HOSTILE,
                                                 .conninfo = t_conninfo(),
                                                 .seed = options->seed,
                                                 .rows = options->rows,
                                                 .truncate_share = options->truncate_share,
                                                 .watch = "pghaul%"},
                       &error))
        t_fail("%s", error.message);
    if (options->shape->meddler != NULL)
        meddler_start(options->shape->meddler);
    return open_run.traffic;
}

void hostile_more(struct traffic *traffic, int64_t transactions)
{
    int64_t end_ms = clock_ms() + 60 * 1000;
    int64_t wanted = traffic_transactions(traffic) + transactions;

    while (traffic_transactions(traffic) < wanted) {
        if (clock_ms() > end_ms)
            t_fail("the load committed no %" PRId64 " transactions in a minute", transactions);
        clock_sleep_ms(20);
    }
}

/* -------------------------------------------------------------------------------------- oracles */

int64_t hostile_lost(const struct hostile_shape *shape, bool swapped, const char **sample)
{
    const char *label = swapped ? "back_1" : "log_1";
    const char *to = swapped ? "acct_1_old" : "acct_1";
    bool two = strchr(shape->key, ',') != NULL;
    const char *k = two ? "k1, k2" : "k1";
    int64_t lost;

    if (!t_int(t_format("SELECT (to_regclass('pghaul.job') IS NOT NULL\n"
                        "    AND to_regclass('pghaul.%s_stuck') IS NOT NULL)::int",
                        label)))
        return -1;
    /* The plan must not depend on what a table that grows by the second looked like before. */
    t_sql("SET enable_nestloop = off; SET work_mem = '64MB'");
    t_sql("DROP TABLE IF EXISTS pg_temp.lost");
    t_sql(t_format(
        "CREATE TEMPORARY TABLE lost AS\n"
        "WITH logged AS MATERIALIZED (\n"
        "    SELECT %s FROM pghaul.%s_a UNION SELECT %s FROM pghaul.%s_b\n"
        "    UNION SELECT %s FROM pghaul.%s_stuck),\n"
        "different AS (\n"
        "    SELECT format('from %%s, to %%s', f, t) AS sample\n"
        "      FROM public.acct AS f FULL JOIN pghaul.%s AS t USING (%s)\n"
        "     WHERE (f.id IS NULL OR t.id IS NULL OR record_image_ne(ROW(%s), ROW(%s)))\n"
        "       AND NOT EXISTS (SELECT FROM logged AS l WHERE (%s) = (%s)))\n"
        "SELECT CASE WHEN EXISTS (SELECT FROM pghaul.%s_mark)\n"
        "              OR (SELECT phase FROM pghaul.job) NOT IN\n"
        "                 ('catch-up', 'settle', 'verify', 'ready', 'cutover', 'finish')\n"
        "            THEN -1 ELSE count(*) END AS count, min(sample) AS sample FROM different",
        k, label, k, label, k, label, to, shape->key, swapped ? shape->back : shape->there,
        swapped ? shape->old_row : shape->new_row, two ? "l.k1, l.k2" : "l.k1", shape->key, label));
    lost = t_int("SELECT count FROM lost");
    if (sample != NULL)
        *sample = t_text("SELECT sample FROM lost");
    return lost;
}

int64_t hostile_wrong(const char **sample)
{
    TEXT_AUTO found = {0};
    struct error error = {0};
    int64_t differences = -1;

    if (!traffic_compare(t_conninfo(), "acct", "ledger", traffic_acct_columns, NULL, &differences,
                         &found, &error))
        t_fail("%s", error.message);
    if (sample != NULL)
        *sample = t_format("%s", text_string(&found));
    return differences;
}

/* ------------------------------------------------------------------------------ the server's log
 */

/* Processes that were ours: their numbers, from "connection authorized: .. application_name=". */
struct strangers {
    int pids[STRANGERS_MAX];
    int count;
};

static bool is_ours(const struct strangers *ours, int pid)
{
    for (int i = 0; i < ours->count; i++)
        if (ours->pids[i] == pid)
            return true;
    return false;
}

/* "Process 12 waits for ..; blocked by process 34": is one of them ours? */
static bool names_ours(const struct strangers *ours, const char *text)
{
    for (const char *at = strstr(text, "rocess "); at != NULL; at = strstr(at + 1, "rocess "))
        if (isdigit((unsigned char)at[7]) && is_ours(ours, atoi(at + 7)))
            return true;
    return false;
}

struct log_entry {
    int pid;
    bool error;
    char sqlstate[6];
    struct text text; /* ERROR with its DETAIL, CONTEXT, STATEMENT */
};

struct log_findings {
    struct strangers ours;
    struct text deadlocks; /* that we had part in */
    struct text errors;    /* of others, out of our triggers */
    int64_t errors_seen;
    int64_t deadlocks_seen;
    int64_t serialization_in_triggers;
    int64_t autovacuums_cancelled;
};

static void judge_entry(const struct log_entry *entry, struct log_findings *findings)
{
    const char *text = text_string(&entry->text);
    bool by_us = is_ours(&findings->ours, entry->pid);

    if (strstr(text, "canceling autovacuum task") != NULL)
        findings->autovacuums_cancelled++;
    if (!entry->error || entry->pid == 0)
        return;
    findings->errors_seen++;
    if (strcmp(entry->sqlstate, "40P01") == 0) {
        findings->deadlocks_seen++;
        if (by_us || names_ours(&findings->ours, text) || strstr(text, "pghaul.") != NULL)
            text_appendf(&findings->deadlocks, "%s\n", text);
    } else if (!by_us && strstr(text, "function pghaul.") != NULL) {
        /* A transaction that is doomed anyway learns so at any statement. */
        if (strcmp(entry->sqlstate, "40001") == 0)
            findings->serialization_in_triggers++;
        else
            text_appendf(&findings->errors, "%s\n", text);
    }
}

/* A line that goes on with the entry before it. */
static bool continues(const char *line)
{
    static const char *const PARTS[] = {"DETAIL:  ", "HINT:  ", "CONTEXT:  ", "STATEMENT:  "};
    const char *level = strstr(line, ":  ");

    if (line[0] == '\t')
        return true;
    for (size_t i = 0; level != NULL && i < sizeof(PARTS) / sizeof(PARTS[0]); i++) {
        size_t word = strlen(PARTS[i]) - 3;

        if (level - line >= (ptrdiff_t)word && memcmp(level - word, PARTS[i], word) == 0)
            return true;
    }
    return false;
}

/* "2026-01-01 00:00:00.000 UTC [123] 40P01 traffic ERROR:  deadlock detected" */
static void begin_entry(struct log_entry *entry, const char *line)
{
    const char *bracket = strchr(line, '[');
    const char *close = bracket == NULL ? NULL : strchr(bracket, ']');

    text_clear(&entry->text);
    entry->pid = bracket == NULL ? 0 : atoi(bracket + 1);
    entry->error = strstr(line, " ERROR:  ") != NULL || strstr(line, " FATAL:  ") != NULL;
    entry->sqlstate[0] = '\0';
    if (close != NULL && strlen(close) > 7)
        snprintf(entry->sqlstate, sizeof(entry->sqlstate), "%.5s", close + 2);
}

static void read_log(struct log_findings *findings)
{
    struct log_entry entry = {0};
    FILE *log = fopen(open_run.log, "re");
    char *line = NULL;
    size_t size = 0;

    assert_non_null(log);
    fseek(log, open_run.log_position, SEEK_SET);
    while (getline(&line, &size, log) >= 0) {
        if (!continues(line)) {
            judge_entry(&entry, findings);
            begin_entry(&entry, line);
            if (strstr(line, "connection authorized:") != NULL &&
                strstr(line, "application_name=pghaul") != NULL &&
                findings->ours.count < STRANGERS_MAX)
                findings->ours.pids[findings->ours.count++] = entry.pid;
        }
        text_append(&entry.text, line);
    }
    judge_entry(&entry, findings);
    text_deinit(&entry.text);
    free(line);
    fclose(log);
}

static void expect_clean_log(bool with_pghaul)
{
    static struct log_findings findings; /* large */

    text_deinit(&findings.deadlocks);
    text_deinit(&findings.errors);
    findings = (struct log_findings){0};
    read_log(&findings);
    print_message("    server: %" PRId64 " errors, %" PRId64 " deadlocks, %" PRId64
                  " of 40001 met in a trigger, %" PRId64 " autovacuums gave way, %d of our "
                  "sessions\n",
                  findings.errors_seen, findings.deadlocks_seen, findings.serialization_in_triggers,
                  findings.autovacuums_cancelled, findings.ours.count);
    /* The log is what this test thinks it is. */
    assert_true((findings.ours.count > 0) == with_pghaul);
    if (findings.deadlocks.used > 0)
        t_fail("pghaul took part in a deadlock:\n%s", text_string(&findings.deadlocks));
    if (findings.errors.used > 0)
        t_fail("errors came out of pghaul's triggers:\n%s", text_string(&findings.errors));
}

/* ------------------------------------------------------------------------------- end of the load
 */

static void print_report(const struct traffic_report *report)
{
    print_message("    load: %.1f s, %" PRId64 " transactions, %" PRId64 " rolled back; held up by "
                  "us at %" PRId64 " looks, %.1f ms at most",
                  report->seconds, report->transactions, report->rolled_back, report->held_up_count,
                  report->held_up_ms_max);
    for (int i = 0; i < report->error_count; i++)
        print_message("; %s: %" PRId64, report->errors[i].sqlstate, report->errors[i].count);
    print_message("\n    slowest statement by phase:");
    for (int i = 0; i < report->phase_count; i++)
        print_message(" %s %.0f ms (p99 %.0f)", report->phases[i].label,
                      (double)histogram_percentile_us(&report->phases[i].waits, 100) / 1000,
                      (double)histogram_percentile_us(&report->phases[i].waits, 99) / 1000);
    print_message("\n");
}

static void expect_own_errors_only(const struct traffic_report *report)
{
    for (int i = 0; i < report->error_count; i++) {
        const struct traffic_error *error = &report->errors[i];

        if (!error->expected)
            t_fail("the application saw %s, %" PRId64 " times, first in \"%s\" (%s): %s",
                   error->sqlstate, error->count, error->statement, error->phase, error->message);
    }
}

/*
 * What the machine alone made the load wait: the slowest BEGIN, COMMIT or SAVEPOINT, which wait for
 * no lock.
 */
static double machine_ms(const struct traffic_report *report)
{
    for (int i = 0; i < report->statement_count; i++)
        if (strcmp(report->statements[i].label, "control") == 0)
            return (double)histogram_percentile_us(&report->statements[i].waits, 100) / 1000;
    t_fail("the load counts no control statements");
}

/*
 * 100 ms, strictly, on a machine that lets nobody wait. While we hold the lock, a busy one may take
 * the processor away from us, too: where even BEGIN takes 50 ms, 150 ms are our 100. What the swap
 * says of itself is held to the limit on any machine. The application's own TRUNCATE may wait for a
 * chunk.
 */
static void expect_short_waits(const struct traffic_report *report, bool with_pghaul)
{
    double noise_ms = machine_ms(report);
    double allowed_ms = HELD_UP_MS_MAX + (noise_ms > QUIET_MS_MAX ? noise_ms : 0);

    print_message("    held up by us: %.1f ms at most; by the machine alone: %.1f ms\n",
                  report->held_up_ms_max, noise_ms);
    if (report->held_up_ms_max > allowed_ms && strncmp(report->held_up_sample, "TRUNCATE", 8) != 0)
        t_fail("a statement was held up by us for %.1f ms: %s", report->held_up_ms_max,
               report->held_up_sample);
    if (with_pghaul)
        assert_int_equal(
            t_int("SELECT count(*) FROM pghaul.job AS j, jsonb_array_elements(j.facts -> 'locks') "
                  "AS l\n"
                  " WHERE l ->> 'for' IN ('cutover', 'rollback')\n"
                  "   AND (l ->> 'waited_ms')::int + (l ->> 'held_ms')::int > 100"),
            0);
}

/*
 * A statement at READ COMMITTED never sees table and ledger differ. Nor does a transaction with one
 * snapshot, while the table is copied and while the job is ready. Over a swap a few of those do, as
 * copy/cutover.h says: one that took its snapshot just before the swap and uses the table for the
 * first time after it sees a row whose key was in the log at that moment as it was last copied.
 * Rare, but not never: counted, printed, and limited.
 */
static void expect_few_torn_reads(const struct traffic_report *report)
{
    int64_t allowed = t_int("SELECT (to_regclass('pghaul.job') IS NOT NULL)::int") == 1 &&
                              t_int("SELECT count(*) FROM pghaul.job WHERE facts ? 'cutover'") == 1
                          ? TORN_SNAPSHOTS_MAX
                          : 0;

    if (report->torn_reads > 0)
        t_fail("%" PRId64 " torn reads: %s", report->torn_reads, report->torn_sample);
    if (report->torn_snapshots > 0)
        print_message("    %" PRId64 " torn snapshots: %s\n", report->torn_snapshots,
                      report->torn_sample);
    if (report->torn_snapshots > allowed)
        t_fail("%" PRId64 " torn snapshots: %s", report->torn_snapshots, report->torn_sample);
}

void hostile_stop(struct traffic *traffic, const struct hostile_options *options)
{
    struct traffic_report report;
    struct error error = {0};
    bool with_pghaul = t_int("SELECT (to_regclass('pghaul.job') IS NOT NULL)::int") == 1;
    bool ok;

    assert_ptr_equal(traffic, open_run.traffic);
    open_run.traffic = NULL;
    ok = traffic_stop(traffic, &report, &error);
    meddler_end();
    print_report(&report);
    if (!ok)
        t_fail("%s", error.message);
    expect_own_errors_only(&report);
    if (open_run.meddler_error[0] != '\0')
        t_fail("the meddler saw: %s", open_run.meddler_error);
    expect_few_torn_reads(&report);
    /* The meddler is a stranger, too. The server's log is exact. */
    if (options->shape->meddler == NULL)
        assert_int_equal(report.deadlocks_with_strangers, 0);
    expect_clean_log(with_pghaul);
    expect_short_waits(&report, with_pghaul);
    traffic_report_deinit(&report);
}

void hostile_abandon(struct traffic *traffic)
{
    struct error error = {0};

    assert_ptr_equal(traffic, open_run.traffic);
    open_run.traffic = NULL;
    if (!traffic_stop(traffic, NULL, &error))
        t_fail("%s", error.message);
    meddler_end();
}

/* ----------------------------------------------------------------------------------------- a run
 */

static void expect_equal(const struct hostile_options *options, bool swapped, const char *when)
{
    const char *sample;
    int64_t lost = hostile_lost(options->shape, swapped, &sample);

    if (lost > 0 || (lost < 0 && options->truncate_share == 0))
        t_fail("%s: %" PRId64 " rows differ and are not in the log: %s", when, lost, sample);
}

static void expect_ledger(const char *when)
{
    const char *sample;
    int64_t wrong = hostile_wrong(&sample);

    if (wrong != 0)
        t_fail("%s: %" PRId64 " rows are not as the load left them:\n%s", when, wrong, sample);
}

/* `alter` to ready, in a clock's sight of the invariant. */
static void run_alter(const struct hostile_options *options)
{
    const char *a[18] = {NULL};
    struct t_process *alter;
    struct t_result result;
    int count = 0;
    int looks = 0;

    for (int i = 0; i < HOSTILE_ARGUMENTS_MAX && options->shape->arguments[i] != NULL; i++)
        a[count++] = options->shape->arguments[i];
    for (int i = 0; i < HOSTILE_ARGUMENTS_MAX && options->settings[i] != NULL; i++)
        a[count++] = options->settings[i];
    assert_in_range(count, 0, 17);
    /* At full speed: under auto it would give way to the load that is to meet it. */
    alter = t_start("alter", "acct", "--job", "j", "-s", "policy=off", a[0], a[1], a[2], a[3], a[4],
                    a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15], a[16],
                    a[17], NULL);
    while (t_running(alter)) {
        const char *sample;
        int64_t lost = hostile_lost(options->shape, false, &sample);

        if (lost > 0)
            t_fail("while it copies: %" PRId64 " rows differ and are not in the log: %s", lost,
                   sample);
        looks += lost == 0;
        clock_sleep_ms(LOOK_EVERY_MS);
    }
    t_wait(alter, &result);
    t_expect_status(&result, 0);
    t_expect("SELECT state FROM pghaul.job WHERE name = 'j'", "ready");
    print_message(
        "    ready after %.1f s, %d looks; %s\n", (double)result.took_ms / 1000, looks,
        t_text("SELECT string_agg(format('%s %s', name, round(seconds::numeric, 1)), ' '\n"
               "                  ORDER BY started_at) FROM pghaul.phase\n"
               " WHERE seconds IS NOT NULL"));
}

/*
 * Exit status 6 is an answer, too: no try met a moment at which nobody had used the table for long.
 * Then the job is intact, and the next call goes on; that it never succeeds is a failure. A
 * cut-over that found the copy stale (TRUNCATE) had to begin it anew: if it gave up there, the job
 * is where `resume` goes on, as its hint says.
 */
static void run_swap(const char *verb, const char *fact)
{
    struct t_result result;

    for (int calls = 1;; calls++) {
        t_run(&result, verb, "j", "--yes", NULL);
        if (result.status != 6 || calls == SWAP_CALLS_MAX)
            break;
        print_message("    %s was in vain for %.1f s\n", verb, (double)result.took_ms / 1000);
        if (strcmp(verb, "cutover") == 0 &&
            strcmp(t_text("SELECT phase FROM pghaul.job WHERE name = 'j'"), "ready") != 0) {
            t_run(&result, "resume", "j", NULL);
            if (result.status != 0 && result.status != 6)
                break;
        }
    }
    t_expect_status(&result, 0);
    print_message("    %s took %.1f s: %s\n", verb, (double)result.took_ms / 1000,
                  fact == NULL ? ""
                               : t_text(t_format("SELECT facts ->> '%s' FROM pghaul.job", fact)));
}

void hostile_job(const struct hostile_options *options)
{
    struct traffic *traffic;

    t_limit(300);
    hostile_make(options->shape, options->rows, options->seed);
    start_autovacuum();
    traffic = hostile_start(options);
    hostile_more(traffic, 300);

    traffic_mark(traffic, "alter");
    run_alter(options);
    traffic_mark(traffic, "ready");
    expect_equal(options, false, "at ready");
    expect_ledger("at ready");
    clock_sleep_ms(options->ready_ms);
    expect_equal(options, false, "some time after ready");

    traffic_mark(traffic, "cutover");
    run_swap("cutover", "cutover");
    traffic_mark(traffic, "swapped");
    expect_ledger("after the cut-over");
    expect_equal(options, true, "after the cut-over");
    clock_sleep_ms(options->ready_ms);
    expect_equal(options, true, "some time after the cut-over");
    expect_ledger("some time after the cut-over");

    traffic_mark(traffic, "end");
    if (options->end == HOSTILE_ROLLBACK)
        run_swap("rollback", "rollback");
    else
        run_swap("finish", NULL);
    traffic_mark(traffic, "after");
    expect_ledger("at the end");
    clock_sleep_ms(options->ready_ms);
    hostile_stop(traffic, options);
    expect_ledger("when all is quiet");
    /* Nothing of ours stays in the way of the table. */
    t_expect(
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'acct'::regclass AND NOT tgisinternal",
        "0");
    t_expect("SELECT count(*) FROM pg_class WHERE relnamespace = 'pghaul'::regnamespace\n"
             "   AND relname ~ '^(acct|log|back)_'",
             "0");
}
