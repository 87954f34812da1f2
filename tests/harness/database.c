#include "tests/harness/database.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/text.h"
#include "tests/harness/state.h"

/* ----------------------------------------------------------------------------------- databases */

static void monitor_sql(struct t_here here, const char *sql)
{
    PGresult *result = harness_query_on(here, harness_monitor(here), sql);

    if (harness_is_error(result))
        harness_fail_statement(here, result, sql);
    PQclear(result);
}

const char *harness_conninfo_of(const char *database, const char *role)
{
    return t_format("host=%s port=5432 user=%s dbname=%s", sandbox_dir(harness.sandbox), role,
                    database);
}

const char *t_fresh_database(void)
{
    int number = ++harness.database_count;

    if (harness.main != NULL)
        PQfinish(harness.main);
    harness.main = NULL;
    monitor_sql(T_HERE, t_format("CREATE DATABASE t%d TEMPLATE %s", number,
                                 t_template_sql == NULL ? "template1" : "t_template"));
    free(harness.conninfo);
    harness.conninfo = memory_copy(harness_conninfo_of(t_format("t%d", number), "postgres"));
    return harness.conninfo;
}

const char *t_conninfo(void)
{
    return harness.conninfo;
}

const char *t_conninfo_as(const char *role)
{
    return harness_conninfo_of(t_format("t%d", harness.database_count), role);
}

int t_server_version(void)
{
    return PQserverVersion(harness_monitor(T_HERE));
}

/* ---------------------------------------------------------------------------------- statements */

static PGresult *query(struct t_here here, const char *sql)
{
    return harness_query_on(here, harness_usable(here, &harness.main, harness.conninfo, "test"),
                            sql);
}

static PGresult *query_ok(struct t_here here, const char *sql)
{
    PGresult *result = query(here, sql);

    if (harness_is_error(result))
        harness_fail_statement(here, result, sql);
    return result;
}

void t_sql_at(struct t_here here, const char *sql)
{
    PQclear(query_ok(here, sql));
}

void t_sqlf_at(struct t_here here, const char *format, ...)
{
    const char *sql;
    va_list args;

    va_start(args, format);
    sql = harness_format_kept(format, args);
    va_end(args);
    t_sql_at(here, sql);
}

const char *t_text_at(struct t_here here, const char *sql)
{
    PGresult *result = query_ok(here, sql);
    int rows = PQntuples(result);
    int columns = PQnfields(result);
    const char *value = harness_first_value(result);

    PQclear(result);
    if (rows != 1 || columns != 1)
        t_fail_at(here, "expected one value, got %d rows of %d columns:\n%s", rows, columns, sql);
    return value;
}

int64_t t_int_at(struct t_here here, const char *sql)
{
    const char *value = t_text_at(here, sql);
    char *end = NULL;
    int64_t number = value == NULL ? 0 : strtoll(value, &end, 10);

    if (value == NULL || end == value || *end != '\0')
        t_fail_at(here, "expected an integer, got %s:\n%s", value == NULL ? "NULL" : value, sql);
    return number;
}

const char *t_rows_at(struct t_here here, const char *sql)
{
    PGresult *result = query_ok(here, sql);
    TEXT_AUTO text = {0};

    for (int row = 0; row < PQntuples(result); row++) {
        text_separate(&text, "\n");
        for (int column = 0; column < PQnfields(result); column++) {
            if (column > 0)
                text_append(&text, "|");
            text_append(&text, PQgetvalue(result, row, column));
        }
    }
    PQclear(result);
    return arena_copy(&harness.arena, text_string(&text));
}

const char *t_fails_at(struct t_here here, const char *sql, const char *sqlstate)
{
    return harness_expect_error(here, query(here, sql), sqlstate, sql);
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

void t_expect_at(struct t_here here, const char *sql, const char *expected)
{
    const char *value = t_text_at(here, sql);

    if (!same_text(value, expected))
        t_fail_at(here, "expected %s, got %s:\n%s", expected == NULL ? "NULL" : expected,
                  value == NULL ? "NULL" : value, sql);
}

void t_wait_until_at(struct t_here here, const char *sql, const char *expected, int seconds)
{
    int64_t end_ms = clock_ms() + (int64_t)seconds * 1000;

    for (;;) {
        PGresult *result = query_ok(here, sql);
        bool same = same_text(harness_first_value(result), expected);
        bool late = clock_ms() >= end_ms;

        if (!same && late) {
            const char *value = harness_first_value(result);

            PQclear(result);
            harness_print_activity();
            t_fail_at(here, "after %d s it is still %s, not %s:\n%s", seconds,
                      value == NULL ? "NULL" : value, expected == NULL ? "NULL" : expected, sql);
        }
        PQclear(result);
        if (same)
            return;
        clock_sleep_ms(20);
    }
}
