/* engine/pg: quoting, classes and retry by hand; sessions against a server. */
#include "tests/harness.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/crew.h"
#include "engine/base/stop.h"
#include "engine/pg/conninfo.h"
#include "engine/pg/identifier.h"
#include "engine/pg/retry.h"
#include "engine/pg/session.h"
#include "engine/pg/sql.h"
#include "engine/pg/sqlstate.h"

/* ----------------------------------------------------------------------------------- SQL texts */

static void identifiers_and_literals_are_quoted(void)
{
    TEXT_AUTO sql = {0};

    sql_expand(&sql, "SELECT {column} FROM {table} WHERE {column} = {value} AND {rest} OR {none}",
               SQL_NAMES({"column", sql_ident("a \"b\"")},
                         {"table", sql_table("My Schema", "tab'le")},
                         {"value", sql_literal("it's \\ \"x\"")},
                         {"rest", sql_fragment("x IS NOT NULL")}, {"none", sql_literal(NULL)}));
    assert_string_equal(text_string(&sql),
                        "SELECT \"a \"\"b\"\"\" FROM \"My Schema\".\"tab'le\" WHERE"
                        " \"a \"\"b\"\"\" = 'it''s \\ \"x\"' AND x IS NOT NULL OR NULL");
}

static void a_table_without_a_schema_stays_unqualified(void)
{
    TEXT_AUTO sql = {0};

    sql_append(&sql, sql_table(NULL, "orders"));
    assert_string_equal(text_string(&sql), "\"orders\"");
}

static void braces_that_are_no_names_are_kept(void)
{
    static const char *const KEPT[] = {"'{}'::int[]", "'{1,2}'", "'{\"a\": 1}'", "{",  "}",
                                       "{}",          "{A}",     "a { b } c",    "{x", "'{a,b}'"};

    for (size_t i = 0; i < sizeof(KEPT) / sizeof(KEPT[0]); i++) {
        TEXT_AUTO sql = {0};

        sql_expand(&sql, KEPT[i], SQL_NAMES({"x", sql_literal("no")}));
        assert_string_equal(text_string(&sql), KEPT[i]);
    }
}

static void what_was_put_in_is_not_expanded_again(void)
{
    TEXT_AUTO sql = {0};

    sql_expand(&sql, "{a}{b}", SQL_NAMES({"a", sql_ident("{b}")}, {"b", sql_literal("{a}")}));
    assert_string_equal(text_string(&sql), "\"{b}\"'{a}'");
}

/* The oracle is the server: quote_ident and quote_literal must be read as the same values. */
static void the_server_reads_quoted_values_as_they_were(void)
{
    static const char *const HARD[] = {"plain", "it's", "a\"b", "back\\slash", "\\'",     "''", "",
                                       "{x}",   "$$",   "%s",   "ünï\nline",   "/* */ --"};
    struct error error = {0};
    SESSION_AUTO *session = NULL;

    assert_true(
        session_open(&session, &(struct session_options){.conninfo = t_conninfo()}, &error));
    for (size_t i = 0; i < sizeof(HARD) / sizeof(HARD[0]); i++) {
        TEXT_AUTO sql = {0};
        ROWS_AUTO rows = {0};

        sql_expand(&sql, "SELECT {value} AS {name}",
                   SQL_NAMES({"value", sql_literal(HARD[i])},
                             {"name", sql_ident(HARD[i][0] == '\0' ? "x" : HARD[i])}));
        assert_true(session_query(session, &rows, text_string(&sql), NO_PARAMS, &error));
        assert_string_equal(rows_text(&rows, 0, 0), HARD[i]);
        assert_string_equal(PQfname(rows.result, 0), HARD[i][0] == '\0' ? "x" : HARD[i]);
    }
}

/* ------------------------------------------------------------------------------- assignments */

static void assigns(const char *text, const char *column, const char *expression)
{
    struct arena arena = {0};
    struct assignment assignment;
    struct error error = {0};

    if (!assignment_parse(text, &arena, &assignment, &error))
        t_fail("%s: %s", text, error.message);
    assert_string_equal(assignment.column, column);
    assert_string_equal(assignment.expression, expression);
    arena_deinit(&arena);
}

static void an_assignment_is_cut_behind_the_name_of_its_column(void)
{
    assigns("a = 1", "a", "1");
    assigns("a=b = c", "a", "b = c");
    assigns("  total\n=  price * n ", "total", "price * n ");
    assigns("Total = Price", "total", "Price");
    assigns("_x$1=2", "_x$1", "2");
    assigns("\"a=b\" = c + 1", "a=b", "c + 1");
    assigns("\"Amount\"=\"Amount\" / 100", "Amount", "\"Amount\" / 100");
    assigns("\"say \"\"x\"\" = y\" = 1", "say \"x\" = y", "1");
    assigns("\"\"\"\" = '='", "\"", "'='");
    assigns("\"(a, b)\" = 3", "(a, b)", "3");
}

/* The oracle is the server: it gives a column of a result the name that it reads. */
static void names_are_read_as_the_server_reads_them(void)
{
    static const char *const NAMES[] = {"plain",         "MiXed", "\"MiXed\"",  "\"a\"\"b\"",
                                        "\"=\"",         "x$1",   "\xc3\xa4Ri", "\"\xc3\x84 =\"",
                                        "\"\"\"=\"\"\"", "_a9"};
    struct error error = {0};
    SESSION_AUTO *session = NULL;

    assert_true(
        session_open(&session, &(struct session_options){.conninfo = t_conninfo()}, &error));
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        struct arena arena = {0};
        const char *at = NAMES[i];
        const char *name = identifier_read(&at, &arena);
        ROWS_AUTO rows = {0};

        assert_non_null(name);
        assert_string_equal(at, "");
        assert_true(
            session_query(session, &rows, t_format("SELECT 1 AS %s", NAMES[i]), NO_PARAMS, &error));
        assert_string_equal(PQfname(rows.result, 0), name);
        arena_deinit(&arena);
    }
}

static void refuses_assignment(const char *text, const char *part)
{
    struct arena arena = {0};
    struct assignment assignment;
    struct error error = {0};

    assert_false(assignment_parse(text, &arena, &assignment, &error));
    assert_int_equal(error.code, ERROR_USAGE);
    if (strstr(error.message, part) == NULL)
        t_fail("%s: %s", text, error.message);
    arena_deinit(&arena);
}

static void what_is_no_assignment_is_refused(void)
{
    refuses_assignment("(a, b) = (1, 2)", "several columns at once");
    refuses_assignment(" ( a ) = 1", "several columns at once");
    refuses_assignment("", "which column");
    refuses_assignment("a", "which column");
    refuses_assignment("= 1", "which column");
    refuses_assignment("a b = 1", "which column");
    refuses_assignment("t.a = 1", "which column");
    refuses_assignment("a + 1 = 2", "which column");
    refuses_assignment("1a = 2", "which column");
    refuses_assignment("\"\" = 2", "which column");
    refuses_assignment("\"a = 2", "which column");
    refuses_assignment("\"a\"\" = 2", "which column");
    refuses_assignment("a =", "no value");
    refuses_assignment("a =  ", "no value");
}

/* --------------------------------------------------------------------------- classes and retry */

static void sqlstates_fall_into_their_classes(void)
{
    static const char *const LOST[] = {"08000", "08006", "08P01", "57P01", "57P02", "57P03"};
    static const char *const PASSING[] = {"40001", "40P01", "55P03", "53300"};
    static const char *const FINAL[] = {"22012", "22P02", "23505", "23514", "42601",
                                        "42501", "42P01", "57014", "53100", "XX000",
                                        "0A000", "P0001", "40002", "55006"};

    for (size_t i = 0; i < sizeof(LOST) / sizeof(LOST[0]); i++) {
        assert_true(sqlstate_connection_lost(LOST[i]));
        assert_true(sqlstate_retryable(LOST[i]));
    }
    for (size_t i = 0; i < sizeof(PASSING) / sizeof(PASSING[0]); i++) {
        assert_false(sqlstate_connection_lost(PASSING[i]));
        assert_true(sqlstate_retryable(PASSING[i]));
    }
    for (size_t i = 0; i < sizeof(FINAL) / sizeof(FINAL[0]); i++)
        if (sqlstate_retryable(FINAL[i]))
            t_fail("SQLSTATE %s must not be retried", FINAL[i]);
}

static void refusals_of_a_row_are_told_from_trouble(void)
{
    static const char *const OF_ROW[] = {"22012", "22P02", "23505", "23P01", "54000", "P0001"};
    static const char *const PERHAPS[] = {"42501", "0A000", "55006", "2F005", "MY001"};
    static const char *const TROUBLE[] = {"",      "08006", "40001", "40002", "40P01", "53100",
                                          "55P03", "57014", "57P01", "58030", "F0001", "XX000"};

    for (size_t i = 0; i < sizeof(OF_ROW) / sizeof(OF_ROW[0]); i++) {
        assert_true(sqlstate_of_row(OF_ROW[i]));
        assert_true(sqlstate_maybe_of_row(OF_ROW[i]));
    }
    for (size_t i = 0; i < sizeof(PERHAPS) / sizeof(PERHAPS[0]); i++) {
        assert_false(sqlstate_of_row(PERHAPS[i]));
        assert_true(sqlstate_maybe_of_row(PERHAPS[i]));
    }
    for (size_t i = 0; i < sizeof(TROUBLE) / sizeof(TROUBLE[0]); i++) {
        assert_false(sqlstate_of_row(TROUBLE[i]));
        if (sqlstate_maybe_of_row(TROUBLE[i]))
            t_fail("SQLSTATE %s is no row's", TROUBLE[i]);
    }
}

/* Time is stepped by hand: no sleeping here. */
static void retries_wait_longer_and_longer_up_to_a_cap(void)
{
    for (int round = 0; round < 200; round++) {
        struct retry retry;
        int64_t now_ms = 1000;
        int64_t last_ms = 50;

        retry_init(&retry, 3600 * 1000, now_ms);
        retry.seed = (unsigned)round;
        for (int i = 0; i < 50; i++) {
            int64_t wait_ms = retry_next_ms(&retry, now_ms);

            assert_in_range(wait_ms, 50, 5000);
            assert_true(wait_ms <= 3 * last_ms);
            assert_int_equal(retry.tries, i + 1);
            last_ms = wait_ms;
            now_ms += wait_ms;
        }
    }
}

static void retries_of_different_sessions_spread(void)
{
    int64_t waits[20];
    int distinct = 0;

    for (int i = 0; i < 20; i++) {
        struct retry retry;

        retry_init(&retry, 1000 * 1000, 0);
        retry.seed = (unsigned)i * 7919U;
        for (int j = 0; j < 10; j++)
            waits[i] = retry_next_ms(&retry, 0);
    }
    for (int i = 1; i < 20; i++)
        distinct += waits[i] != waits[i - 1];
    assert_true(distinct > 10);
}

static void retries_end_exactly_at_their_limit(void)
{
    for (int round = 0; round < 100; round++) {
        struct retry retry;
        int64_t now_ms = 500;
        int64_t wait_ms;

        retry_init(&retry, 10 * 1000, now_ms);
        retry.seed = (unsigned)round;
        while ((wait_ms = retry_next_ms(&retry, now_ms)) >= 0) {
            assert_true(now_ms + wait_ms <= 10500);
            now_ms += wait_ms > 0 ? wait_ms : 1;
        }
        assert_true(now_ms >= 10500);
        assert_int_equal(retry_next_ms(&retry, now_ms + 1), -1);
    }
}

/* ------------------------------------------------------------------------------------- sessions */

static struct session *open_session(const struct session_options *options)
{
    struct session_options with = *options;
    struct session *session;
    struct error error = {0};

    if (with.conninfo == NULL)
        with.conninfo = t_conninfo();
    if (!session_open(&session, &with, &error))
        t_fail("could not open a session: %s", error.message);
    return session;
}

static void assert_setting(struct session *session, const char *name, const char *expected)
{
    ROWS_AUTO rows = {0};
    struct error error = {0};

    if (!session_query(session, &rows, "SELECT pg_catalog.current_setting($1)", PARAMS(name),
                       &error))
        t_fail("%s: %s", name, error.message);
    if (strcmp(rows_text(&rows, 0, 0), expected) != 0)
        t_fail("%s is %s, not %s", name, rows_text(&rows, 0, 0), expected);
}

static void a_session_keeps_a_flush_that_somebody_has_set(void)
{
    struct session *session;

    t_sql("ALTER ROLE postgres SET backend_flush_after = '1MB'");
    session = open_session(&(struct session_options){0});
    t_sql("ALTER ROLE postgres RESET ALL");
    assert_setting(session, "backend_flush_after", "1MB");
    session_close(session);
}

/* Time limits are left to who connects: the governor and the wait for standbys have others. */
static void a_conninfo_gets_user_and_database_and_nothing_else(void)
{
    static const char *const CASES[][2] = {
        {"host=a,b", "user='me' dbname='it\\'s' host='a,b'"},
        {"postgresql://you@a", "user='me' dbname='it\\'s' user='you' host='a'"},
        {"host=a tcp_user_timeout=7", "user='me' dbname='it\\'s' host='a' tcp_user_timeout='7'"},
    };

    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        TEXT_AUTO out = {0};

        conninfo_complete(CASES[i][0], "me", "it's", &out);
        assert_string_equal(text_string(&out), CASES[i][1]);
    }
}

static void a_list_of_conninfos_has_one_a_line(void)
{
    const char *list = "\nhost=a\n\nhost=b port=1\n";
    TEXT_AUTO one = {0};

    assert_true(conninfo_next(&list, &one));
    assert_string_equal(text_string(&one), "host=a");
    assert_true(conninfo_next(&list, &one));
    assert_string_equal(text_string(&one), "host=b port=1");
    assert_false(conninfo_next(&list, &one));
    assert_false(conninfo_next(&list, &one));
}

/* The role and the database have settings that would change what our statements do. */
static void a_session_pins_what_a_role_or_database_has_set(void)
{
    static const char *const EXPECTED[][2] = {
        {"search_path", "pg_catalog, pg_temp"},
        {"row_security", "off"},
        {"standard_conforming_strings", "on"},
        {"default_transaction_isolation", "read committed"},
        {"default_transaction_read_only", "off"},
        {"statement_timeout", "0"},
        {"idle_in_transaction_session_timeout", "0"},
        {"session_replication_role", "origin"},
        {"default_tablespace", ""},
        {"default_table_access_method", "heap"},
        {"jit", "off"},
        {"max_parallel_workers_per_gather", "0"},
        {"client_encoding", "UTF8"},
        {"extra_float_digits", "1"},
        {"array_nulls", "on"},
        {"backend_flush_after", "512kB"},
    };
    struct session *session;

    t_sql("ALTER ROLE postgres SET statement_timeout = '90s'");
    t_sql("ALTER ROLE postgres SET search_path = evil, public");
    t_sql("ALTER ROLE postgres SET standard_conforming_strings = off");
    t_sql("ALTER ROLE postgres SET session_replication_role = replica");
    t_sqlf("ALTER DATABASE \"%s\" SET default_transaction_isolation = serializable",
           t_text("SELECT current_database()"));
    t_sqlf("ALTER DATABASE \"%s\" SET client_encoding = latin1",
           t_text("SELECT current_database()"));
    t_sqlf("ALTER DATABASE \"%s\" SET array_nulls = off", t_text("SELECT current_database()"));
    session = open_session(&(struct session_options){.application_name = "pinned"});
    t_sql("ALTER ROLE postgres RESET ALL");
    for (size_t i = 0; i < sizeof(EXPECTED) / sizeof(EXPECTED[0]); i++)
        assert_setting(session, EXPECTED[i][0], EXPECTED[i][1]);
    assert_setting(session, "application_name", "pinned");
    session_close(session);
}

static void a_session_converts_values_as_its_author_would(void)
{
    struct arena arena = {0};
    struct session_meaning meaning = {0};
    struct error error = {0};
    struct session *author;
    struct session *worker;
    ROWS_AUTO rows = {0};

    t_sqlf("ALTER DATABASE \"%s\" SET timezone = 'Europe/Berlin'",
           t_text("SELECT current_database()"));
    author = open_session(&(struct session_options){0});
    assert_true(session_read_meaning(author, &arena, &meaning, &error));
    t_sqlf("ALTER DATABASE \"%s\" SET timezone = 'Asia/Tokyo'",
           t_text("SELECT current_database()"));
    worker = open_session(&(struct session_options){.meaning = &meaning});
    assert_setting(worker, "TimeZone", "Europe/Berlin");
    assert_true(session_query(worker, &rows,
                              "SELECT '2026-01-15 12:00'::timestamp::timestamptz AT TIME ZONE 'UTC'"
                              " = '2026-01-15 11:00'::timestamp",
                              NO_PARAMS, &error));
    assert_true(rows_bool(&rows, 0, 0));
    session_close(worker);
    session_close(author);
    arena_deinit(&arena);
}

static void a_session_takes_the_role_it_is_given(void)
{
    struct error error = {0};
    struct session *session;
    ROWS_AUTO rows = {0};

    t_sql("CREATE ROLE \"Keeper's\"");
    session = open_session(&(struct session_options){.role = "Keeper's"});
    assert_true(session_query(session, &rows, "SELECT current_user", NO_PARAMS, &error));
    assert_string_equal(rows_text(&rows, 0, 0), "Keeper's");
    session_close(session);
    t_sql("DROP ROLE \"Keeper's\"");
}

static void a_role_that_does_not_exist_is_an_error(void)
{
    struct error error = {0};
    struct session *session;

    assert_false(session_open(
        &session, &(struct session_options){.conninfo = t_conninfo(), .role = "nobody_here"},
        &error));
    assert_null(session);
    assert_int_equal(error.code, ERROR_SQL);
    assert_non_null(strstr(error.message, "nobody_here"));
}

static void an_error_carries_what_the_server_said(void)
{
    struct error error = {0};
    struct session *session = open_session(&(struct session_options){0});

    t_sql("CREATE TABLE one (id int PRIMARY KEY)");
    assert_true(session_run(session, "INSERT INTO public.one VALUES (1)", &error));
    assert_false(session_run(session, "INSERT INTO public.one VALUES (1)", &error));
    assert_int_equal(error.code, ERROR_SQL);
    assert_string_equal(error.sqlstate, SQLSTATE_UNIQUE_VIOLATION);
    assert_false(error.retryable);
    assert_string_equal(error.message,
                        "duplicate key value violates unique constraint \"one_pkey\"");
    assert_string_equal(error.detail, "Key (id)=(1) already exists.");

    assert_false(session_run(session,
                             "DO $$BEGIN RAISE 'what' USING DETAIL = 'why', HINT = 'how',"
                             " ERRCODE = '40001'; END$$",
                             &error));
    assert_string_equal(error.message, "what");
    assert_string_equal(error.detail, "why");
    assert_string_equal(error.hint, "how");
    assert_true(error.retryable);
    assert_true(session_alive(session));
    session_close(session);
}

static void a_lock_timeout_is_a_lock_error_that_may_pass(void)
{
    struct error error = {0};
    struct session *session = open_session(&(struct session_options){0});
    struct t_session *holder = t_session("holder");

    t_sql("CREATE TABLE held (id int)");
    t_do(holder, "BEGIN; LOCK TABLE held IN ACCESS EXCLUSIVE MODE");
    assert_false(session_run(session, "SELECT 1 FROM public.held", &error));
    assert_int_equal(error.code, ERROR_LOCK);
    assert_string_equal(error.sqlstate, SQLSTATE_LOCK_NOT_AVAILABLE);
    assert_true(error.retryable);
    t_do(holder, "ROLLBACK");
    assert_true(session_run(session, "SELECT 1 FROM public.held", &error));
    session_close(session);
}

static void parameters_come_back_as_they_went(void)
{
    struct error error = {0};
    struct session *session = open_session(&(struct session_options){0});
    ROWS_AUTO rows = {0};
    int64_t affected = -1;

    assert_true(session_query(session, &rows,
                              "SELECT $1::text, $2::bigint, $3::text IS NULL, $4::float8",
                              PARAMS("it's \"ü\"", NUMBER(INT64_MIN), NULL, "0.5"), &error));
    assert_int_equal(rows_count(&rows), 1);
    assert_int_equal(rows_columns(&rows), 4);
    assert_string_equal(rows_text(&rows, 0, 0), "it's \"ü\"");
    assert_true(rows_int64(&rows, 0, 1) == INT64_MIN);
    assert_true(rows_bool(&rows, 0, 2));
    assert_true(rows_double(&rows, 0, 3) == 0.5);
    t_sql("CREATE TABLE t AS SELECT generate_series(1, 7) AS id");
    assert_true(session_execute(session, "DELETE FROM public.t WHERE id > $1::int", PARAMS("4"),
                                &affected, &error));
    assert_int_equal(affected, 3);
    session_close(session);
}

static void a_transaction_that_failed_does_not_commit(void)
{
    struct error error = {0};
    struct session *session = open_session(&(struct session_options){0});

    t_sql("CREATE TABLE t (id int)");
    assert_true(session_begin(session, &error));
    assert_true(session_in_transaction(session));
    assert_true(session_run(session, "INSERT INTO public.t VALUES (1)", &error));
    assert_false(session_run(session, "SELECT 1/0", &error));
    assert_false(session_commit(session, &error));
    assert_false(session_in_transaction(session));
    assert_int_equal(t_int("SELECT count(*) FROM t"), 0);

    assert_true(session_begin(session, &error));
    assert_true(session_run(session, "INSERT INTO public.t VALUES (2)", &error));
    session_rollback(session);
    assert_false(session_in_transaction(session));
    assert_int_equal(t_int("SELECT count(*) FROM t"), 0);

    assert_true(session_begin(session, &error));
    assert_true(session_run(session, "INSERT INTO public.t VALUES (3)", &error));
    assert_true(session_commit(session, &error));
    assert_int_equal(t_int("SELECT id FROM t"), 3);
    session_close(session);
}

static void a_local_setting_ends_with_its_transaction(void)
{
    struct error error = {0};
    struct session *session = open_session(&(struct session_options){0});

    assert_true(session_begin(session, &error));
    assert_true(session_set(session, "work_mem", "123kB", true, &error));
    assert_setting(session, "work_mem", "123kB");
    session_rollback(session);
    assert_setting(session, "work_mem", "4MB");
    assert_true(session_set(session, "work_mem", "124kB", false, &error));
    assert_setting(session, "work_mem", "124kB");
    session_close(session);
}

static void a_text_that_overflowed_is_never_sent(void)
{
    struct error error = {0};
    struct session *session = open_session(&(struct session_options){0});
    struct text sql = {0};

    text_append(&sql, "SELECT 1");
    sql.overflow = true;
    assert_false(session_run_text(session, &sql, &error));
    assert_int_equal(error.code, ERROR_INTERNAL);
    text_deinit(&sql);
    session_close(session);
}

static void keep_notice(void *arg, const char *severity, const char *message)
{
    snprintf(arg, 200, "%s: %s", severity, message);
}

static void notices_reach_whoever_asked_for_them(void)
{
    struct error error = {0};
    struct session *session = open_session(&(struct session_options){0});
    char kept[200] = "";

    assert_true(session_run(session, "DO $$BEGIN RAISE WARNING 'nobody'; END$$", &error));
    session_on_notice(session, keep_notice, kept);
    assert_true(session_run(session, "DO $$BEGIN RAISE WARNING 'look'; END$$", &error));
    assert_string_equal(kept, "WARNING: look");
    session_close(session);
}

/* --------------------------------------------------------------------- cancelling, reconnecting */

struct sleeper {
    struct cancel_list *list;
    const char *conninfo;
};

/* Member 0 cancels all others as soon as they sleep; the others say how their statement ended. */
static bool sleep_or_cancel(struct crew *crew, int member, void *arg, struct error *error)
{
    const struct sleeper *sleeper = arg;
    struct session_options options = {.conninfo = sleeper->conninfo,
                                      .application_name = "sleeper",
                                      .cancel_list = member == 0 ? NULL : sleeper->list};
    struct session *session;
    bool ok = false;

    (void)crew;
    if (!session_open(&session, &options, error))
        return false;
    if (member > 0) {
        if (session_run(session, "SELECT pg_sleep(60)", error))
            error_set(error, ERROR_INTERNAL, "nobody cancelled member %d", member);
        ok = strcmp(error->sqlstate, SQLSTATE_QUERY_CANCELED) == 0 &&
             session_run(session, "SELECT 1", error); /* the session is still good */
    } else {
        for (int i = 0; i < 2000 && !ok; i++) {
            ROWS_AUTO rows = {0};

            ok = session_query(session, &rows,
                               "SELECT count(*) = 3 FROM pg_catalog.pg_stat_activity"
                               " WHERE application_name = 'sleeper' AND wait_event = 'PgSleep'",
                               NO_PARAMS, error) &&
                 rows_bool(&rows, 0, 0);
            clock_sleep_ms(5);
        }
        cancel_list_cancel_all(sleeper->list);
    }
    session_close(session);
    return ok;
}

static void another_thread_cancels_what_runs(void)
{
    struct sleeper sleeper = {.list = cancel_list_new(), .conninfo = t_conninfo()};
    struct error error = {0};
    int64_t start_ms = clock_ms();

    if (!crew_run(4, &(struct crew_work){.run = sleep_or_cancel, .arg = &sleeper}, &error))
        t_fail("%s %s", error.sqlstate, error.message);
    assert_true(clock_ms() - start_ms < 30 * 1000);
    cancel_list_free(sleeper.list);
}

struct shielded {
    struct cancel_list *list;
    atomic_bool over;
};

static bool cancel_all_the_time(struct crew *crew, int member, void *arg, struct error *error)
{
    struct shielded *shielded = arg;
    struct session_options options = {.conninfo = t_conninfo(), .cancel_list = shielded->list};
    struct session *session;
    int cancelled = 0;

    if (member > 0) {
        while (!atomic_load(&shielded->over) && !crew_failed(crew))
            cancel_list_cancel_all(shielded->list);
        return true;
    }
    if (!session_open(&session, &options, error))
        return false;
    for (int i = 0; i < 200 && cancelled == 0; i++)
        cancelled += session_run(session, "SELECT pg_sleep(0.2)", error) ? 0 : 1;
    session_shield(session);
    for (int i = 0; i < 200 && cancelled == 1; i++)
        cancelled += session_run(session, "SELECT pg_sleep(0.002)", error) ? 0 : 1;
    atomic_store(&shielded->over, true);
    session_close(session);
    return cancelled == 1 || error_set(error, ERROR_INTERNAL, "cancelled %d times", cancelled);
}

static void a_shielded_session_is_cancelled_no_more(void)
{
    struct shielded shielded = {.list = cancel_list_new()};
    struct error error = {0};

    for (int round = 0; round < 5; round++) {
        atomic_store(&shielded.over, false);
        if (!crew_run(3, &(struct crew_work){.run = cancel_all_the_time, .arg = &shielded}, &error))
            t_fail("%s", error.message);
    }
    cancel_list_free(shielded.list);
}

static bool cancel_rollbacks(struct crew *crew, int member, void *arg, struct error *error)
{
    struct shielded *shielded = arg;
    struct session_options options = {.conninfo = t_conninfo(), .cancel_list = shielded->list};
    struct session *session;
    int rolled_back = 0;
    bool stuck = false;

    if (member > 0) {
        while (!atomic_load(&shielded->over) && !crew_failed(crew))
            cancel_list_cancel_all(shielded->list);
        return true;
    }
    if (!session_open(&session, &options, error))
        return false;
    /* So much to say about each statement that it takes long enough to be hit. */
    while (!session_run(session, "SET log_statement = 'all'; SET client_min_messages = 'debug5'",
                        error))
        if (crew_failed(crew) || !session_alive(session))
            return false;
    for (int i = 0; i < 1000 && !stuck; i++) {
        /* These may be cancelled, too. */
        if (session_begin(session, error) &&
            session_run(session, "SET LOCAL statement_timeout = 1", error))
            rolled_back++;
        session_rollback(session);
        stuck = session_in_transaction(session);
    }
    atomic_store(&shielded->over, true);
    session_close(session);
    return (!stuck && rolled_back > 0) ||
           error_set(error, ERROR_INTERNAL, "%s after %d transactions",
                     stuck ? "still in the transaction" : "not stuck", rolled_back);
}

/* A cancel, or the statement_timeout of the transaction, may hit the ROLLBACK itself. */
static void a_rollback_that_is_cancelled_is_made_again(void)
{
    struct shielded shielded = {.list = cancel_list_new()};
    struct error error = {0};

    if (!crew_run(3, &(struct crew_work){.run = cancel_rollbacks, .arg = &shielded}, &error))
        t_fail("%s", error.message);
    cancel_list_free(shielded.list);
}

static void a_session_notices_that_its_server_is_gone(void)
{
    struct error error = {0};
    struct session *session = open_session(&(struct session_options){0});

    t_sqlf("SELECT pg_terminate_backend(%d, 10000)", session_backend_pid(session));
    assert_false(session_run(session, "SELECT 1", &error));
    assert_int_equal(error.code, ERROR_CONNECTION);
    assert_true(error.retryable);
    assert_true(sqlstate_connection_lost(error.sqlstate));
    assert_false(session_alive(session));
    assert_false(session_in_transaction(session));
    session_rollback(session);
    session_close(session);
}

static void *restart_soon(void *arg)
{
    struct error *error = arg;

    clock_sleep_ms(300);
    if (!sandbox_restart(t_sandbox(), error))
        return error;
    return NULL;
}

static void a_session_comes_back_after_a_crash_of_the_server(void)
{
    struct session_options options = {.conninfo = t_conninfo()};
    struct session *session = open_session(&options);
    struct stop stop = {0};
    struct error error = {0};
    struct error restart_error = {0};
    pthread_t thread;
    void *failed;

    sandbox_crash(t_sandbox());
    assert_false(session_run(session, "SELECT 1", &error));
    assert_int_equal(error.code, ERROR_CONNECTION);
    session_close(session);
    assert_int_equal(pthread_create(&thread, NULL, restart_soon, &restart_error), 0);
    if (!session_reopen(&session, &options, 60 * 1000, &stop, &error))
        t_fail("%s", error.message);
    pthread_join(thread, &failed);
    if (failed != NULL)
        t_fail("%s", restart_error.message);
    assert_true(session_run(session, "SELECT 1", &error));
    assert_setting(session, "search_path", "pg_catalog, pg_temp");
    session_close(session);
}

static void reconnecting_gives_up_at_its_limit(void)
{
    struct session_options options = {.conninfo = "host=/nonexistent port=5432"};
    struct session *session;
    struct stop stop = {0};
    struct error error = {0};
    int64_t start_ms = clock_ms();

    assert_false(session_reopen(&session, &options, 400, &stop, &error));
    assert_null(session);
    assert_int_equal(error.code, ERROR_CONNECTION);
    assert_in_range(clock_ms() - start_ms, 300, 5000);
}

static void a_stop_ends_reconnecting(void)
{
    struct session_options options = {.conninfo = "host=/nonexistent port=5432"};
    struct session *session;
    struct stop stop = {0};
    struct error error = {0};

    stop_request(&stop);
    assert_false(session_reopen(&session, &options, 60 * 1000, &stop, &error));
    assert_int_equal(error.code, ERROR_INTERRUPTED);
}

static void an_error_that_cannot_pass_is_not_retried(void)
{
    struct session_options options = {.conninfo = t_conninfo(), .role = "nobody_here"};
    struct session *session;
    struct stop stop = {0};
    struct error error = {0};
    int64_t start_ms = clock_ms();

    assert_false(session_reopen(&session, &options, 60 * 1000, &stop, &error));
    assert_int_equal(error.code, ERROR_SQL);
    assert_true(clock_ms() - start_ms < 10 * 1000);
}

/* A pooler answers from a process that is not the one it announced; no server of ours does that. */
static void a_pooler_is_refused(void)
{
    t_skip("needs a connection pooler");
}

/* ------------------------------------------------------------------------------------- sandbox */

static void a_sandbox_is_private(void)
{
    assert_string_equal(t_text("SHOW listen_addresses"), "");
    assert_string_equal(t_text("SHOW unix_socket_directories"), sandbox_dir(t_sandbox()));
    assert_int_equal(t_int("SELECT count(*) FROM pg_stat_activity WHERE client_addr IS NOT NULL"),
                     0);
    assert_string_equal(t_text("SHOW autovacuum"), "on");
    assert_string_equal(t_text("SHOW server_encoding"), "UTF8");
}

static void each_test_has_a_database_of_its_own(void)
{
    const char *first = t_format("%s", t_conninfo());

    t_sql("CREATE TABLE only_here ()");
    t_expect("SELECT to_regclass('only_here') IS NULL", "f");
    t_fresh_database();
    assert_string_not_equal(first, t_conninfo());
    t_expect("SELECT to_regclass('only_here') IS NULL", "t");
}

static void sessions_wait_for_each_other(void)
{
    struct t_session *writer = t_session("writer");
    struct t_session *reader = t_session("reader");

    t_sql("CREATE TABLE orders (id int); INSERT INTO orders VALUES (1), (2), (3)");
    t_do(writer, "BEGIN; LOCK TABLE orders");
    assert_false(t_is_waiting(reader));
    t_send(reader, "SELECT count(*) FROM orders");
    t_waits(reader);
    assert_true(t_is_busy(reader));
    t_do(writer, "COMMIT");
    assert_string_equal(t_receive(reader), "3");
    assert_false(t_is_waiting(reader));
    (void)t_do_fails(reader, "SELECT 1/0", "22012");
    (void)t_fails("SELECT * FROM missing", "42P01");
}

static void programs_run_with_their_output_caught(void)
{
    struct t_result result;
    struct t_process *process;

    t_run_program(&result, "psql", "-XAtc", "SELECT 1 + 1", t_conninfo(), NULL);
    t_expect_status(&result, 0);
    assert_string_equal(result.out, "2\n");
    t_run_program(&result, "psql", "-XAtc", "SELECT broken", t_conninfo(), NULL);
    t_expect_status(&result, 1);
    t_expect_err(&result, "column \"broken\" does not exist");
    process = t_start_program("psql", "-XAtc", "SELECT 'now'", "-c", "SELECT pg_sleep(60)",
                              t_conninfo(), NULL);
    t_wait_until("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", "1", 20);
    assert_true(t_running(process));
    t_kill(process, SIGKILL);
    t_wait(process, &result);
    assert_int_equal(result.signal, SIGKILL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(identifiers_and_literals_are_quoted),
        t_test(a_table_without_a_schema_stays_unqualified),
        t_test(braces_that_are_no_names_are_kept),
        t_test(what_was_put_in_is_not_expanded_again),
        t_test(the_server_reads_quoted_values_as_they_were),
        t_test(an_assignment_is_cut_behind_the_name_of_its_column),
        t_test(names_are_read_as_the_server_reads_them),
        t_test(what_is_no_assignment_is_refused),
        t_test(sqlstates_fall_into_their_classes),
        t_test(refusals_of_a_row_are_told_from_trouble),
        t_test(retries_wait_longer_and_longer_up_to_a_cap),
        t_test(retries_of_different_sessions_spread),
        t_test(retries_end_exactly_at_their_limit),
        t_test(a_session_pins_what_a_role_or_database_has_set),
        t_test(a_session_keeps_a_flush_that_somebody_has_set),
        t_test(a_conninfo_gets_user_and_database_and_nothing_else),
        t_test(a_list_of_conninfos_has_one_a_line),
        t_test(a_session_converts_values_as_its_author_would),
        t_test(a_session_takes_the_role_it_is_given),
        t_test(a_role_that_does_not_exist_is_an_error),
        t_test(an_error_carries_what_the_server_said),
        t_test(a_lock_timeout_is_a_lock_error_that_may_pass),
        t_test(parameters_come_back_as_they_went),
        t_test(a_transaction_that_failed_does_not_commit),
        t_test(a_local_setting_ends_with_its_transaction),
        t_test(a_text_that_overflowed_is_never_sent),
        t_test(notices_reach_whoever_asked_for_them),
        t_test(another_thread_cancels_what_runs),
        t_test(a_shielded_session_is_cancelled_no_more),
        t_test(a_rollback_that_is_cancelled_is_made_again),
        t_test(a_session_notices_that_its_server_is_gone),
        t_test(a_session_comes_back_after_a_crash_of_the_server),
        t_test(reconnecting_gives_up_at_its_limit),
        t_test(a_stop_ends_reconnecting),
        t_test(an_error_that_cannot_pass_is_not_retried),
        t_test(a_pooler_is_refused),
        t_test(a_sandbox_is_private),
        t_test(each_test_has_a_database_of_its_own),
        t_test(sessions_wait_for_each_other),
        t_test(programs_run_with_their_output_caught),
    };

    return T_MAIN(tests);
}
