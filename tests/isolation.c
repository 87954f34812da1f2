#include "tests/isolation.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "copy/capture.h"
#include "copy/kinds/alter.h"
#include "copy/replay.h"
#include "engine/base/clock.h"

enum { NAMED_MAX = 32, ARGUMENTS_MAX = 40 };

/* ------------------------------------------------------------------------------------------------
 * the product's job */

static struct {
    struct run run;
    struct log log;
    struct stop stop;
    struct progress progress;
    bool open;
} product;

static void unload(void)
{
    if (!product.open)
        return;
    alter_kind.unload(&product.run);
    job_deinit(&product.run.job);
    session_close(product.run.session);
    progress_deinit(&product.progress);
    log_deinit(&product.log);
    product.open = false;
}

int iso_main(int failed)
{
    unload();
    return failed;
}

static void must(bool ok, const struct error *error)
{
    if (!ok)
        t_fail("the product says: %s (%s)", error->message, error->detail);
}

struct run *iso_load(void)
{
    struct error error = {0};
    struct run *run = &product.run;

    unload();
    log_init(&product.log, LOG_QUIET);
    progress_init(&product.progress);
    *run = (struct run){
        .connect = {.conninfo = t_conninfo(), .application_name = "pghaul test"},
        .log = &product.log,
        .stop = &product.stop,
        .pace = pace_none(),
        .progress = &product.progress,
    };
    product.open = true;
    must(session_open(&run->session, &run->connect, &error) &&
             job_load(run->session, "j", &run->job, &error) && alter_kind.load(run, &error),
         &error);
    run->connect.meaning = &run->job.meaning;
    return run;
}

static void set_mode(enum capture_mode mode)
{
    struct error error = {0};
    struct run *run = iso_load();

    must(capture_set_mode(run, &copy_of(run)->forward, mode, &error), &error);
}

void iso_dual_write(void)
{
    set_mode(CAPTURE_DUAL);
}

void iso_log_mode(void)
{
    set_mode(CAPTURE_LOG);
}

/* --------------------------------------------------------------------------------------------------------
 * statements */

static const char *expand(const char *template)
{
    TEXT_AUTO sql = {0};

    if (!product.open)
        t_fail("no job is loaded");
    flow_expand(&copy_of(&product.run)->forward, &sql, template);
    return t_format("%s", text_string(&sql));
}

/* Puts literals in the place of $1, $2, $3. */
static const char *with_parameters(const char *sql, const char *const *values)
{
    TEXT_AUTO text = {0};

    for (; *sql != '\0'; sql++)
        if (*sql == '$' && isdigit((unsigned char)sql[1]))
            text_appendf(&text, "'%s'", values[*++sql - '1']);
        else
            text_append_bytes(&text, sql, 1);
    return t_format("%s", text_string(&text));
}

/* `blocks` of the log: "3-5"; NULL: all. */
static const char *replay_sql(enum replay_step step, const char *blocks)
{
    bool insert = step == REPLAY_INSERT || step == REPLAY_INSERT_KEPT;
    const char *range[] = {"{0,0}", "{0,1000000}", "1"};
    const char *const batch[] = {"1", "1000000"};

    if (blocks != NULL) {
        range[0] = t_format("{0,%.*s}", (int)strcspn(blocks, "-"), blocks);
        range[1] = t_format("{0,%s}", blocks + strcspn(blocks, "-") + 1);
    }
    return with_parameters(expand(replay_template(step)), insert ? batch : range);
}

static const char *claim_sql(const char *blocks)
{
    return t_format("%s; %s", replay_sql(REPLAY_CLAIM_A, blocks),
                    replay_sql(REPLAY_CLAIM_B, blocks));
}

static const char *lease_sql(void)
{
    const struct flow *flow = &copy_of(&product.run)->forward;

    return with_parameters(expand(replay_template(REPLAY_LEASE)),
                           (const char *const[]){t_format("%" PRId64, flow->job), flow->label});
}

/* As replay_prepare() makes the temporary tables, and begin_leased() begins. They are the session's
 * own, so they are made here. */
static const char BEGIN_REPLAY[] =
    "SET search_path = pg_catalog, pg_temp; SET row_security = off; SET random_page_cost = 1;\n"
    "CREATE TEMPORARY TABLE IF NOT EXISTS {batch_name} ({k_definition}, n bigint) ON COMMIT DELETE "
    "ROWS;\n"
    "CREATE TEMPORARY TABLE IF NOT EXISTS {held_name} ({k_definition}) ON COMMIT DELETE ROWS;\n"
    "CREATE TEMPORARY TABLE IF NOT EXISTS {fresh_name} ({k_definition}) ON COMMIT DELETE ROWS;\n"
    "BEGIN ISOLATION LEVEL READ COMMITTED";

static const char *statement(struct t_here here, const char *sql)
{
    static const struct {
        const char *name;
        enum replay_step step;
    } STEPS[] = {
        {"@collect", REPLAY_COLLECT}, {"@hold", REPLAY_HOLD},     {"@skip", REPLAY_SKIP},
        {"@delete", REPLAY_DELETE},   {"@insert", REPLAY_INSERT}, {"@recheck", REPLAY_RECHECK},
        {"@return", REPLAY_RETURN},
    };

    if (sql[0] != '@')
        return sql;
    if (strcmp(sql, "@begin") == 0)
        return t_format("%s; %s", expand(BEGIN_REPLAY), REPLAY_BEGIN);
    if (strcmp(sql, "@leased") == 0)
        return t_format("%s; %s; %s", expand(BEGIN_REPLAY), lease_sql(), REPLAY_BEGIN);
    if (strcmp(sql, "@patient") == 0)
        return t_format("%s; %s; SET LOCAL lock_timeout = 0", expand(BEGIN_REPLAY), REPLAY_BEGIN);
    if (strcmp(sql, "@claim") == 0)
        return claim_sql(NULL);
    if (strncmp(sql, "@claim ", 7) == 0)
        return claim_sql(sql + 7);
    if (strncmp(sql, "@collect ", 9) == 0)
        return replay_sql(REPLAY_COLLECT, sql + 9);
    if (strncmp(sql, "@bucket ", 8) == 0)
        return with_parameters(expand(replay_template(REPLAY_COLLECT)),
                               (const char *const[]){t_format("{%c,0}", sql[8]),
                                                     t_format("{%c,1000000}", sql[8]), sql + 10});
    for (size_t i = 0; i < sizeof(STEPS) / sizeof(STEPS[0]); i++)
        if (strcmp(sql, STEPS[i].name) == 0)
            return replay_sql(STEPS[i].step, NULL);
    t_fail_at(here, "there is no step %s", sql);
}

/* -----------------------------------------------------------------------------------------------------------
 * sessions */

struct named {
    const char *name;
    struct t_session *session;
    int64_t took_ms;
};

static struct {
    char database[64]; /* of the test that the sessions belong to */
    struct named list[NAMED_MAX];
    int count;
} sessions;

static struct named *find(struct t_here here, const char *name)
{
    const char *database = strstr(t_conninfo(), "dbname=");

    if (strcmp(sessions.database, database) != 0) {
        snprintf(sessions.database, sizeof(sessions.database), "%s", database);
        sessions.count = 0;
    }
    for (int i = 0; i < sessions.count; i++)
        if (strcmp(sessions.list[i].name, name) == 0)
            return &sessions.list[i];
    if (sessions.count == NAMED_MAX)
        t_fail_at(here, "a schedule has more than %d sessions", NAMED_MAX);
    sessions.list[sessions.count] =
        (struct named){.name = name, .session = t_session_at(here, name, t_conninfo())};
    return &sessions.list[sessions.count++];
}

int64_t iso_took_ms(const char *session)
{
    return find(T_HERE, session)->took_ms;
}

static const char *skip_blanks(const char *at)
{
    while (*at == ' ')
        at++;
    return at;
}

static void finish(struct t_here here, struct named *named, const char *rest)
{
    if (rest[0] == '!')
        (void)t_receive_error_at(here, named->session, t_format("%.5s", skip_blanks(rest + 1)));
    else
        (void)t_receive_at(here, named->session);
}

static void start(struct t_here here, struct named *named, const char *rest)
{
    bool waits = rest[0] != '>';

    t_send_at(here, named->session, statement(here, skip_blanks(waits ? rest : rest + 1)));
    if (waits)
        t_waits_at(here, named->session);
}

static void play(struct t_here here, const char *step)
{
    size_t length = strcspn(step, ":!<>");
    struct named *named = find(here, t_format("%.*s", (int)length, step));
    const char *rest = step + length + 1;
    int64_t start_ms = clock_ms();

    switch (step[length]) {
    case ':':
        t_do_at(here, named->session, statement(here, skip_blanks(rest)));
        named->took_ms = clock_ms() - start_ms;
        break;
    case '!':
        rest = skip_blanks(rest);
        (void)t_do_fails_at(here, named->session, statement(here, skip_blanks(rest + 5)),
                            t_format("%.5s", rest));
        named->took_ms = clock_ms() - start_ms;
        break;
    case '>':
        start(here, named, rest);
        break;
    case '<':
        finish(here, named, rest);
        break;
    default:
        t_fail_at(here, "not a step: %s", step);
    }
}

const char *iso_ask_at(struct t_here here, const char *session, const char *sql)
{
    return t_ask_at(here, find(here, session)->session, sql);
}

void iso_play_at(struct t_here here, ...)
{
    const char *step;
    va_list args;

    va_start(args, here);
    while ((step = va_arg(args, const char *)) != NULL)
        play(here, step);
    va_end(args);
}

/* -------------------------------------------------------------------------------------------------------------
 * tables */

#define GATE_BODY                                                                                \
    "    IF key = at AND current_setting('application_name') LIKE who THEN\n"                    \
    "        WHILE NOT pg_try_advisory_lock_shared(42) LOOP PERFORM pg_sleep(0.01); END LOOP;\n" \
    "        PERFORM pg_advisory_unlock_shared(42);\n"                                           \
    "    END IF;\n"

#define GATES                                                                               \
    "CREATE FUNCTION gate(key int, who text, at int) RETURNS bool LANGUAGE plpgsql AS $$\n" \
    "BEGIN\n" GATE_BODY "    RETURN true;\nEND $$;\n"                                       \
    "CREATE FUNCTION gate_index(key int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$\n"    \
    "DECLARE who text := 'pghaul j index%%'; at int := 7;\n"                                \
    "BEGIN\n" GATE_BODY "    RETURN key;\nEND $$;\n"

#define FILL                                                                                       \
    "INSERT INTO item SELECT g, g, 0, repeat(md5(g::text), 3) FROM generate_series(1, %d) AS g;\n" \
    "ANALYZE item"

void iso_table_with(const char *definition, int rows)
{
    t_sqlf(GATES "CREATE TABLE item (%s);\n" FILL, definition, rows);
}

void iso_table(int rows)
{
    iso_table_with("id int PRIMARY KEY, u int UNIQUE, v int, t text", rows);
}

const char *iso_gate_map(const char *who, int id)
{
    return t_format("t = CASE WHEN public.gate(r.id, '%s', %d) THEN r.t END", who, id);
}

void iso_close_gate(void)
{
    iso_play("the gate: SELECT pg_advisory_lock(42)");
}

void iso_open_gate(void)
{
    iso_play("the gate: SELECT pg_advisory_unlock(42)");
}

void iso_wait_at_gate_at(struct t_here here, const char *who)
{
    t_wait_until_at(here,
                    t_format("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name "
                             "LIKE '%s' AND wait_event = 'PgSleep')",
                             who),
                    "t", 60);
}

/* --------------------------------------------------------------------------------------------------------
 * the program */

struct t_process *iso_start_at(const char *const *settings)
{
    const char *argv[ARGUMENTS_MAX] = {
        PGHAUL_PROGRAM, "alter",    "item", "--job", "j", "--do", "ALTER COLUMN v TYPE bigint",
        "-s",           "workers=1"};
    int count = 9;

    for (; *settings != NULL; settings++) {
        assert_true(count < ARGUMENTS_MAX - 5);
        if ((*settings)[0] == '-')
            argv[count++] = *settings++;
        else
            argv[count++] = "-s";
        argv[count++] = *settings;
    }
    argv[count++] = "-d";
    argv[count++] = t_conninfo();
    return t_start_program(argv[0], argv[1], argv[2], argv[3], argv[4], argv[5], argv[6], argv[7],
                           argv[8], argv[9], argv[10], argv[11], argv[12], argv[13], argv[14],
                           argv[15], argv[16], argv[17], argv[18], argv[19], argv[20], argv[21],
                           argv[22], argv[23], argv[24], NULL);
}

void iso_ready_at(struct t_here here, const char *const *settings)
{
    struct t_result result;

    t_wait_at(here, iso_start_at(settings), &result);
    t_expect_status_at(here, &result, 0);
    (void)iso_load();
}

/* ---------------------------------------------------------------------------------------------------------
 * the oracle */

static const char ORACLE[] =
    "SELECT count(*) OVER (), r, s\n"
    "  FROM item AS r FULL JOIN pghaul.%s AS s ON r.id = s.id\n"
    " WHERE (r.id IS NULL OR s.id IS NULL\n"
    "        OR record_image_ne(ROW(r.id, r.u, r.v::%s, r.t), ROW(s.id, s.u, s.v, s.t)))\n"
    "   AND coalesce(r.id, s.id) NOT IN (SELECT k1 FROM pghaul.%s_a UNION ALL SELECT k1 FROM "
    "pghaul.%s_b\n"
    "                                    UNION ALL SELECT k1 FROM pghaul.%s_stuck)\n"
    " ORDER BY coalesce(r.id, s.id) LIMIT 20";

void iso_expect_differences_at(struct t_here here, bool back, int64_t expected)
{
    const char *label = back ? "back_1" : "log_1";
    const char *sql = t_format(ORACLE, back ? "item_1_old" : "item_1", back ? "int" : "bigint",
                               label, label, label);
    const char *rows = t_rows_at(here, sql);
    int64_t count = strtoll(rows, NULL, 10);

    if (count != expected)
        t_fail_at(here, "expected %lld rows that differ outside the log, found %lld:\n%s",
                  (long long)expected, (long long)count, rows);
}

bool iso_logged(const char *key)
{
    return t_int(t_format(
               "SELECT count(*) FROM (SELECT k1 FROM pghaul.log_1_a UNION ALL SELECT k1 FROM "
               "pghaul.log_1_b) AS l WHERE k1 = '%s'",
               key)) > 0;
}

int64_t iso_log_rows(void)
{
    return t_int(
        "SELECT (SELECT count(*) FROM pghaul.log_1_a) + (SELECT count(*) FROM pghaul.log_1_b)");
}
