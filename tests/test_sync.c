/*
 * What the triggers of a column and its twin make of a write: row by row, against tables written by
 * hand of what copy/sync.h promises. The oracle knows nothing of the functions.
 */
#include <string.h>

#include "engine/base/text.h"
#include "tests/harness.h"

/* The columns' names, as SQL, as they are now. */
static const char *o;
static const char *n;

/* A row as it is before a write, and as it must be afterwards. */
struct write {
    const char *row;  /* "old, new" as SQL, written past the triggers; NULL: none */
    const char *sql;  /* {o}, {n}: the columns, {id} the row's */
    const char *want; /* "old|new", - for NULL; !SQLSTATE: refused, and the row is as before */
    int conflicts;
    int lost;
};

static const char *with_names(const char *sql, int id)
{
    TEXT_AUTO text = {0};

    for (const char *at = sql; *at != '\0';) {
        const char *put = strncmp(at, "{o}", 3) == 0    ? o
                          : strncmp(at, "{n}", 3) == 0  ? n
                          : strncmp(at, "{id}", 4) == 0 ? t_format("%d", id)
                                                        : NULL;

        if (put == NULL) {
            text_append_bytes(&text, at++, 1);
            continue;
        }
        text_append(&text, put);
        at = strchr(at, '}') + 1;
    }
    return t_format("%s", text_string(&text));
}

static int64_t counted(const char *counter)
{
    return t_int(t_format("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM pghaul.%s_1",
                          counter));
}

static const char *row_now(int id)
{
    return t_text(t_format(
        "SELECT (SELECT coalesce(%s::text, '-') || '|' || coalesce(%s::text, '-') FROM t WHERE id "
        "= %d)",
        o, n, id));
}

/* Past the triggers, which come back as they were. */
static void put_rows(const struct write *writes)
{
    TEXT_AUTO sql = {0};

    text_append(&sql, "ALTER TABLE t DISABLE TRIGGER USER; TRUNCATE t;\n");
    for (int i = 0; writes[i].sql != NULL; i++)
        if (writes[i].row != NULL)
            text_appendf(&sql, "INSERT INTO t (id, %s, %s) VALUES (%d, %s);\n", o, n, i + 1,
                         writes[i].row);
    text_append(&sql, "ALTER TABLE t ENABLE TRIGGER USER;\n");
    for (int i = 0; i < 3; i++)
        text_appendf(&sql, "ALTER TABLE t ENABLE ALWAYS TRIGGER \"~pghaul_1_%s\";\n",
                     ((const char *const[]){"insert", "update", "seen"})[i]);
    t_sql(text_string(&sql));
}

static void expect_write(const struct write *write, int id)
{
    const char *sql = with_names(write->sql, id);
    const char *before = row_now(id);
    const char *want = write->want;
    const char *now;
    int64_t conflicts = counted("conflict");
    int64_t lost = counted("lost");

    if (want[0] == '!') { /* counters do not roll back: what they say then is not looked at */
        (void)t_fails(sql, want + 1);
        conflicts = counted("conflict") - write->conflicts;
        lost = counted("lost") - write->lost;
        want = before;
    } else {
        t_sql(sql);
    }
    now = row_now(id);
    if ((now == NULL) != (want == NULL) || (now != NULL && strcmp(now, want) != 0))
        t_fail("row (%s): %s\ngave %s instead of %s", write->row == NULL ? "" : write->row, sql,
               now == NULL ? "none" : now, want == NULL ? "none" : want);
    conflicts = counted("conflict") - conflicts;
    lost = counted("lost") - lost;
    if (conflicts != write->conflicts || lost != write->lost)
        t_fail("row (%s): %s\ncounted %d conflicts, %d lost", write->row == NULL ? "" : write->row,
               sql, (int)conflicts, (int)lost);
}

static void expect_writes(const struct write *writes)
{
    put_rows(writes);
    for (int i = 0; writes[i].sql != NULL; i++)
        expect_write(&writes[i], i + 1);
}

#define INSERT(columns, values) "INSERT INTO t (id" columns ") VALUES ({id}" values ")"
#define UPDATE(set) "UPDATE t SET " set " WHERE id = {id}"

/* `definition` of column v; at ready. */
static void make_table(const char *definition)
{
    t_sqlf("CREATE TABLE t (id int PRIMARY KEY, v %s, other int)", definition);
}

static void rename_ready(const char *definition)
{
    make_table(definition);
    t_runs(0, "column", "rename", "t", "v", "w");
    o = "v";
    n = "w";
}

static void rename_cut_over(void)
{
    t_runs(0, "cutover", "column-t-1", "--yes", "--force");
    o = "pghaul_old_v";
    n = "w";
}

static void retype_ready(const char *definition, const char *type, const char *using,
                         const char *back)
{
    make_table(definition);
    if (using == NULL)
        t_runs(0, "column", "retype", "t", "v", type);
    else if (back == NULL)
        t_runs(0, "column", "retype", "t", "v", type, "--using", using);
    else
        t_runs(0, "column", "retype", "t", "v", type, "--using", using, "--back-using", back);
    o = "v";
    n = "pghaul_new_v";
}

static void retype_cut_over(void)
{
    t_sql("TRUNCATE t");
    t_runs(0, "resume", "column-t-1");
    if (strcmp(t_text("SELECT state FROM pghaul.job"), "ready") == 0) {
        struct t_result result;

        /* The test touched the triggers to make its rows. */
        t_run(&result, "cutover", "column-t-1", "--yes", NULL);
        if (result.status == 3) {
            t_expect_err(&result, "touched");
            t_runs(0, "resume", "column-t-1");
            t_runs(0, "cutover", "column-t-1", "--yes");
        }
    }
    t_expect("SELECT state FROM pghaul.job", "cut_over");
    o = "pghaul_old_v";
    n = "v";
}

/* ---------------------------------------------------------------------------------------- rename
 */

static const struct write SAME[] = {
    {NULL, INSERT(", {o}", ", 'a'"), "a|a"},
    {NULL, INSERT(", {n}", ", 'b'"), "b|b"},
    {NULL, INSERT(", {o}, {n}", ", 'c', 'c'"), "c|c"},
    {NULL, INSERT(", {o}, {n}", ", 'f', NULL"), "f|f"},
    {NULL, INSERT(", {o}, {n}", ", NULL, 'g'"), "g|g"},
    {NULL, INSERT(", {o}", ", NULL"), "-|-"},
    {NULL, INSERT("", ""), "-|-"},
    {"'a', 'a'", UPDATE("{o} = 'x'"), "x|x"},
    {"'a', 'a'", UPDATE("{n} = 'y'"), "y|y"},
    {"'a', 'a'", UPDATE("{o} = 'z', {n} = 'z'"), "z|z"},
    {"'a', 'a'", UPDATE("{o} = 'p', {n} = 'q'"), "q|q", .conflicts = 1},
    {"'a', 'a'", UPDATE("{o} = 'p', {n} = NULL"), "-|-", .conflicts = 1},
    {"'a', 'a'", UPDATE("{o} = NULL, {n} = 'q'"), "q|q", .conflicts = 1},
    {"'a', 'a'", UPDATE("{o} = NULL"), "-|-"},
    {"'a', 'a'", UPDATE("{n} = NULL"), "-|-"},
    {"'a', 'a'", UPDATE("{o} = NULL, {n} = NULL"), "-|-"},
    {"'a', 'a'", UPDATE("{o} = 'x', {n} = 'a'"), "x|x"},
    {"'a', 'a'", UPDATE("{o} = 'a', {n} = 'y'"), "y|y"},
    {"'a', 'a'", UPDATE("{o} = {n}, {n} = {o}"), "a|a"},
    {"'a', 'a'", UPDATE("{o} = 'a', {n} = 'a'"), "a|a"},
    {"'a', 'a'", UPDATE("{o} = {n} || 'x'"), "ax|ax"},
    {"'a', 'a'", UPDATE("other = 1"), "a|a"},
    {"NULL, NULL", UPDATE("other = 1"), "-|-"},
    {"NULL, NULL", UPDATE("{o} = 'x'"), "x|x"},
    {"NULL, NULL", UPDATE("{n} = 'x'"), "x|x"},
    {"NULL, NULL", UPDATE("{o} = ''"), "|"},
    /* Not filled yet. */
    {"'a', NULL", UPDATE("other = 1"), "a|a"},
    {"'a', NULL", UPDATE("{o} = 'b'"), "b|b"},
    {"'a', NULL", UPDATE("{n} = 'c'"), "c|c"},
    {"'a', NULL", UPDATE("{n} = 'a'"), "a|a"},
    {"'a', NULL", UPDATE("{n} = NULL"), "a|a"},
    {"'a', NULL", UPDATE("{o} = NULL"), "-|-"},
    {"'a', NULL", UPDATE("{o} = 'b', {n} = 'b'"), "b|b"},
    {"'a', NULL", UPDATE("{o} = 'b', {n} = 'c'"), "c|c", .conflicts = 1},
    {"'a', NULL", UPDATE("{o} = 'b', {n} = NULL"), "b|b"},
    /* Other statements than INSERT and UPDATE. */
    {"'a', 'a'", INSERT(", {o}", ", 'x'") " ON CONFLICT (id) DO UPDATE SET {o} = EXCLUDED.{o}",
     "x|x"},
    {"'a', 'a'", INSERT(", {n}", ", 'x'") " ON CONFLICT (id) DO UPDATE SET {n} = EXCLUDED.{n}",
     "x|x"},
    {"'a', 'a'", INSERT(", {o}", ", 'x'") " ON CONFLICT (id) DO UPDATE SET {n} = EXCLUDED.{n}",
     "x|x"},
    {"'a', 'a'", INSERT(", {o}", ", 'x'") " ON CONFLICT (id) DO UPDATE SET {o} = t.{o} || 'y'",
     "ay|ay"},
    {"'a', NULL", INSERT(", {o}", ", 'x'") " ON CONFLICT (id) DO UPDATE SET {o} = EXCLUDED.{o}",
     "x|x"},
    {NULL, INSERT(", {o}", ", 'x'") " ON CONFLICT (id) DO UPDATE SET {o} = 'no'", "x|x"},
    {"'a', 'a'",
     "WITH w AS (UPDATE t SET {n} = 'w' WHERE id = {id} RETURNING {o}, {n})\n"
     "UPDATE t SET other = 1 FROM w WHERE t.id = {id} AND w.{o} = 'no'",
     "w|w"},
    {NULL, "COPY t (id, {o}) FROM PROGRAM 'printf \"{id}\\tcopied\\n\"'", "copied|copied"},
    {NULL, "COPY t (id, {n}) FROM PROGRAM 'printf \"{id}\\tcopied\\n\"'", "copied|copied"},
    {"'a', 'a'", "SET session_replication_role = replica; " UPDATE("{o} = 'r'"), "r|r"},
    {NULL, INSERT(", {n}", ", 'r'") "; RESET session_replication_role", "r|r"},
    {0},
};

static const struct write MERGED[] = {
    {"'a', 'a'",
     "MERGE INTO t USING (VALUES ({id})) AS s(i) ON t.id = s.i\n"
     " WHEN MATCHED THEN UPDATE SET {n} = 'm'",
     "m|m"},
    {NULL,
     "MERGE INTO t USING (VALUES ({id})) AS s(i) ON t.id = s.i\n"
     " WHEN NOT MATCHED THEN INSERT (id, {o}) VALUES (i, 'm')",
     "m|m"},
    {0},
};

static const struct write INSERTED_BOTH_BEFORE[] = {
    {NULL, INSERT(", {o}, {n}", ", 'd', 'e'"), "e|e", .conflicts = 1},
    {NULL, INSERT(", {o}, {n}", ", '', 'g'"), "g|g", .conflicts = 1},
    {NULL, INSERT(", {o}, {n}", ", 'f', ''"), "|", .conflicts = 1},
    {0},
};

/* Nobody names a hidden column: an INSERT without names has got them wrong. */
static const struct write INSERTED_BOTH_AFTER[] = {
    {NULL, INSERT(", {o}, {n}", ", 'd', 'e'"), "!55000"},
    {NULL, "INSERT INTO t VALUES ({id}, 'd', 1, 'e')", "!55000"},
    {0},
};

static void both_names_of_a_rename_are_written_before_and_after_the_cutover(void)
{
    rename_ready("text");
    for (int swapped = 0; swapped < 2; swapped++) {
        expect_writes(SAME);
        expect_writes(swapped ? INSERTED_BOTH_AFTER : INSERTED_BOTH_BEFORE);
        if (t_server_version() >= 150000)
            expect_writes(MERGED);
        if (swapped)
            break;
        t_sql("TRUNCATE t");
        t_says(3, "touched", "cutover", "column-t-1", "--yes", "--force");
        t_runs(0, "resume", "column-t-1");
        rename_cut_over();
    }
}

static void the_default_is_the_old_columns_until_the_cutover(void)
{
    static const struct write BEFORE[] = {
        {NULL, INSERT("", ""), "d|d"},
        {NULL, INSERT(", {o}", ", 'a'"), "a|a"},
        {NULL, INSERT(", {n}", ", 'b'"), "b|b"},
        {NULL, INSERT(", {n}", ", 'd'"), "d|d"},
        {NULL, INSERT(", {o}", ", NULL"), "-|-"},
        {NULL, INSERT(", {n}", ", NULL"), "d|d"}, /* documented: looks as if it were left out */
        {NULL, INSERT(", {o}, {n}", ", NULL, NULL"), "-|-"},
        {NULL, INSERT(", {o}", ", DEFAULT"), "d|d"},
        {NULL, INSERT(", {n}", ", DEFAULT"), "d|d"},
        {"'a', 'a'", UPDATE("{o} = DEFAULT"), "d|d"},
        {0},
    };
    static const struct write AFTER[] = {
        {NULL, INSERT("", ""), "d|d"},
        {NULL, INSERT(", {n}", ", 'b'"), "b|b"},
        {NULL, INSERT(", {n}", ", NULL"), "-|-"},
        {NULL, INSERT(", {n}", ", DEFAULT"), "d|d"},
        {"'a', 'a'", UPDATE("{n} = DEFAULT"), "d|d"},
        {0},
    };

    rename_ready("text DEFAULT 'd'");
    expect_writes(BEFORE);
    t_sql("TRUNCATE t");
    t_says(3, "touched", "cutover", "column-t-1", "--yes", "--force");
    t_runs(0, "resume", "column-t-1");
    rename_cut_over();
    expect_writes(AFTER);
}

static void values_that_are_equal_and_not_the_same_are_carried_over(void)
{
    static const struct write JSON[] = {
        {NULL, INSERT(", {o}", ", '{\"a\":  1}'"), "{\"a\":  1}|{\"a\":  1}"},
        {"'{}', '{}'", UPDATE("{o} = '{ }'"), "{ }|{ }"},
        {"'{}', '{}'", UPDATE("{n} = '{ }'"), "{ }|{ }"},
        {"'{}', '{}'", UPDATE("{o} = '{ }', {n} = '{  }'"), "{  }|{  }", .conflicts = 1},
        {"'{}', '{}'", UPDATE("{n} = NULL"), "-|-"},
        {0},
    };
    static const struct write CITEXT[] = {
        {"'a', 'a'", UPDATE("{o} = 'A'"), "A|A"},
        {"'a', 'a'", UPDATE("{n} = 'A'"), "A|A"},
        {"'a', 'a'", UPDATE("{o} = 'b', {n} = 'B'"), "B|B", .conflicts = 1},
        {0},
    };
    static const struct write NUMERIC[] = {
        {"1.0, 1.0", UPDATE("{o} = 1.00"), "1.00|1.00"},
        {"1.0, 1.0", UPDATE("{n} = 1.00"), "1.00|1.00"},
        {"1.0, 1.0", UPDATE("{n} = 'NaN'"), "NaN|NaN"},
        {0},
    };

    t_sql("CREATE TYPE pair AS (a int, b int)");
    rename_ready("json");
    expect_writes(JSON);
    (void)t_fresh_database();
    t_sql("CREATE EXTENSION citext");
    rename_ready("citext");
    expect_writes(CITEXT);
    (void)t_fresh_database();
    rename_ready("numeric");
    expect_writes(NUMERIC);
}

/* Of a composite value IS NULL says something else. */
static void composite_and_toasted_values_are_carried_over(void)
{
    static const struct write PAIR[] = {
        {NULL, INSERT(", {n}", ", ROW(NULL, NULL)"), "(,)|(,)"},
        {NULL, INSERT(", {o}, {n}", ", ROW(1, 2), ROW(NULL, NULL)"), "(,)|(,)", .conflicts = 1},
        {NULL, INSERT(", {o}", ", ROW(NULL, 2)"), "(,2)|(,2)"},
        {"ROW(1, 2), ROW(1, 2)", UPDATE("{n}.b = 3"), "(1,3)|(1,3)"},
        {"ROW(1, 2), ROW(1, 2)", UPDATE("{o} = ROW(NULL, NULL)"), "(,)|(,)"},
        {0},
    };

    t_sql("CREATE TYPE pair AS (a int, b int)");
    rename_ready("pair");
    expect_writes(PAIR);
    (void)t_fresh_database();
    rename_ready("text");
    t_sql("INSERT INTO t (id, v) SELECT 1, string_agg(md5(g::text), '') FROM generate_series(1, "
          "1000) AS g");
    t_sql("UPDATE t SET other = 1");
    t_expect("SELECT v = w AND length(w) = 32000 FROM t", "t");
    t_sql("UPDATE t SET w = w || 'x'");
    t_expect("SELECT v = w AND length(v) = 32001 FROM t", "t");
    t_sql("UPDATE t SET v = left(v, 5000)");
    t_expect("SELECT v = w AND length(w) = 5000 FROM t", "t");
}

/* ---------------------------------------------------------------------------------------- retype
 */

static void a_number_that_only_one_side_holds_is_refused_or_lost_as_the_leader_says(void)
{
    static const struct write BEFORE[] = {
        {"1, 1", UPDATE("{o} = 2"), "2|2"},
        {"1, 1", UPDATE("{n} = 3"), "3|3"},
        {"1, 1", UPDATE("{o} = 5, {n} = 6"), "6|6", .conflicts = 1},
        {"1, 1", UPDATE("{o} = 5, {n} = 5"), "5|5"},
        {"1, 1", UPDATE("{n} = 2147483648"), "!22003"},
        {"1, 1", UPDATE("{o} = 2, {n} = 2147483648"), "!22003"},
        {"1, 1", UPDATE("{o} = 2147483648"), "!22003"},
        {"1, 1", UPDATE("{o} = NULL"), "-|-"},
        {"1, 1", UPDATE("{n} = NULL"), "-|-"},
        {NULL, INSERT(", {o}", ", 4"), "4|4"},
        {NULL, INSERT(", {n}", ", 4"), "4|4"},
        {NULL, INSERT(", {n}", ", 2147483648"), "!22003"},
        {NULL, INSERT(", {o}, {n}", ", 4, 5"), "5|5", .conflicts = 1},
        {NULL, INSERT("", ""), "-|-"},
        {"1, NULL", UPDATE("{n} = 1"), "1|1"},
        {"1, NULL", UPDATE("{n} = 7"), "7|7"},
        {"1, NULL", UPDATE("{o} = 8"), "8|8"},
        {"1, NULL", UPDATE("other = 8"), "1|1"},
        {0},
    };
    static const struct write AFTER[] = {
        {"1, 1", UPDATE("{n} = 3"), "3|3"},
        {"1, 1", UPDATE("{n} = 2147483648"), "-|2147483648", .lost = 1},
        {"1, 1", UPDATE("{n} = NULL"), "-|-"},
        {"1, 1", UPDATE("{o} = 9"), "9|9"},
        {"NULL, 2147483648", UPDATE("{n} = 8"), "8|8"},
        {"NULL, 2147483648", UPDATE("{n} = 2147483649"), "-|2147483649", .lost = 1},
        {"NULL, 2147483648", UPDATE("other = 8"), "-|2147483648"},
        {"NULL, 2147483648", UPDATE("{n} = NULL"), "-|-"},
        {NULL, INSERT(", {n}", ", 4"), "4|4"},
        {NULL, INSERT(", {n}", ", -2147483649"), "-|-2147483649", .lost = 1},
        {NULL, INSERT("", ""), "-|-"},
        {0},
    };

    retype_ready("int", "bigint", NULL, NULL);
    expect_writes(BEFORE);
    retype_cut_over();
    expect_writes(AFTER);
}

static void expressions_map_both_ways(void)
{
    static const struct write BEFORE[] = {
        {"'1', 1", UPDATE("{o} = '2'"), "2|2"},
        {"'1', 1", UPDATE("{o} = '007'"), "007|7"},
        {"'1', 1", UPDATE("{o} = '01'"), "01|1"},
        {"'007', 7", UPDATE("{n} = 7"), "007|7"},
        {"'007', 7", UPDATE("{n} = 8"), "8|8"},
        {"'007', 7", UPDATE("{o} = '7'"), "7|7"},
        {"'007', 7", UPDATE("{o} = '8', {n} = 8"), "8|8"},
        {"'007', 7", UPDATE("{o} = ' 8', {n} = 8"), " 8|8"},
        {"'007', 7", UPDATE("{o} = '9', {n} = 8"), "8|8", .conflicts = 1},
        {"'007', 7", UPDATE("{n} = NULL"), "-|-"},
        {"'1', 1", UPDATE("{o} = 'abc'"), "abc|-", .lost = 1},
        {"'1', 1", UPDATE("{o} = 'abc', {n} = 5"), "5|5", .conflicts = 1},
        {"'abc', NULL", UPDATE("{n} = 4"), "4|4"},
        {"'abc', NULL", UPDATE("{o} = '9'"), "9|9"},
        {"'abc', NULL", UPDATE("{o} = 'def'"), "def|-", .lost = 1},
        {"'abc', NULL", UPDATE("other = 9"), "abc|-", .lost = 1},
        {NULL, INSERT(", {o}", ", '5'"), "5|5"},
        {NULL, INSERT(", {o}", ", 'abc'"), "abc|-", .lost = 1},
        {NULL, INSERT(", {n}", ", 6"), "6|6"},
        {NULL, INSERT(", {o}, {n}", ", ' 12', 12"), " 12|12"},
        {NULL, INSERT(", {o}, {n}", ", 'abc', 12"), "12|12", .conflicts = 1},
        {NULL, INSERT("", ""), "-|-"},
        {0},
    };
    static const struct write AFTER[] = {
        {"'1', 1", UPDATE("{n} = 2"), "2|2"},
        {"'007', 7", UPDATE("{n} = 7"), "007|7"},
        {"'1', 1", UPDATE("{o} = 'abc'"), "!22P02"},
        {"'1', 1", UPDATE("{n} = NULL"), "-|-"},
        {NULL, INSERT(", {n}", ", 6"), "6|6"},
        {NULL, INSERT("", ""), "-|-"},
        {0},
    };

    retype_ready("text", "integer", "v::integer", "v::text");
    expect_writes(BEFORE);
    retype_cut_over();
    expect_writes(AFTER);
}

static void without_a_way_back_one_side_is_read_only(void)
{
    static const struct write BEFORE[] = {
        {"'1', 1", UPDATE("{o} = '2'"), "2|2"},
        {"'1', 1", UPDATE("{o} = 'abc'"), "abc|-", .lost = 1},
        {"'1', 1", UPDATE("{n} = 9"), "!55000"},
        {"'1', 1", UPDATE("{n} = NULL"), "!55000"},
        {"'1', 1", UPDATE("{n} = 1"), "1|1"},
        {"'1', 1", UPDATE("{o} = '2', {n} = 2"), "2|2"},
        {"'1', 1", UPDATE("{o} = '2', {n} = 3"), "!55000"},
        {"'1', NULL", UPDATE("{n} = 1"), "1|1"},
        {"'1', NULL", UPDATE("{n} = 2"), "!55000"},
        {"'abc', NULL", UPDATE("{n} = 1"), "!55000"},
        {"'abc', NULL", UPDATE("other = 1"), "abc|-", .lost = 1},
        {NULL, INSERT(", {o}", ", '5'"), "5|5"},
        {NULL, INSERT(", {n}", ", 5"), "!55000"},
        {NULL, INSERT(", {o}, {n}", ", '5', 5"), "5|5"},
        {NULL, INSERT(", {o}, {n}", ", '5', 6"), "!55000"},
        {NULL, INSERT("", ""), "-|-"},
        {0},
    };
    static const struct write AFTER[] = {
        {"'1', 1", UPDATE("{n} = 9"), "-|9", .lost = 1},
        {"'1', 1", UPDATE("{n} = 1"), "1|1"},
        {"'1', 1", UPDATE("other = 1"), "1|1"},
        {"'1', 1", UPDATE("{o} = '2'"), "!55000"},
        {"'1', 1", UPDATE("{o} = '2', {n} = 2"), "2|2"},
        {"NULL, 7", UPDATE("{n} = 9"), "-|9", .lost = 1},
        {"NULL, 7", UPDATE("other = 9"), "-|7"},
        {NULL, INSERT(", {n}", ", 5"), "-|5", .lost = 1},
        {NULL, INSERT("", ""), "-|-"},
        {0},
    };

    retype_ready("text", "integer", "v::integer", NULL);
    expect_writes(BEFORE);
    retype_cut_over();
    expect_writes(AFTER);
}

static void lengths_and_scales_of_the_new_type_apply(void)
{
    static const struct write SCALE[] = {
        {"1, 1", UPDATE("{o} = 1.239"), "1.239|1.24"},
        {"1.239, 1.24", UPDATE("{n} = 1.24"), "1.239|1.24"},
        {"1.239, 1.24", UPDATE("{n} = 1.249"), "1.25|1.25"},
        {"1.239, 1.24", UPDATE("{o} = 1.2401"), "1.2401|1.24"},
        {"1, 1", UPDATE("{o} = 1e12"), "1000000000000|-", .lost = 1},
        {NULL, INSERT(", {o}, {n}", ", 1.239, 1.24"), "1.239|1.24"},
        {NULL, INSERT(", {o}, {n}", ", 1.239, 1.23"), "1.23|1.23", .conflicts = 1},
        {NULL, INSERT(", {n}", ", 1.239"), "1.24|1.24"},
        {0},
    };
    static const struct write LENGTH[] = {
        {"'a', 'a'", UPDATE("{o} = 'abc'"), "abc|abc"},
        {"'a', 'a'", UPDATE("{o} = 'abcd'"), "abcd|-", .lost = 1},
        {"'a', 'a'", UPDATE("{n} = 'abcd'"), "!22001"},
        {"'abcd', NULL", UPDATE("{n} = 'abc'"), "abc|abc"},
        {NULL, INSERT(", {o}", ", 'abcd'"), "abcd|-", .lost = 1},
        {NULL, INSERT(", {o}, {n}", ", 'abcd', 'abc'"), "abc|abc", .conflicts = 1},
        {0},
    };
    static const struct write BLANKS[] = {
        {"'a', 'a'", UPDATE("{o} = 'ab'"), "ab|ab"},
        {"'a ', 'a'", UPDATE("{n} = 'a'"), "a |a"},
        {"'a', 'a'", UPDATE("{n} = 'b'"), "b|b"},
        {NULL, INSERT(", {o}, {n}", ", 'a', 'a'"), "a|a"},
        {NULL, INSERT(", {o}, {n}", ", 'a  ', 'a'"), "a  |a"},
        {0},
    };

    retype_ready("numeric", "numeric(10,2)", NULL, NULL);
    expect_writes(SCALE);
    (void)t_fresh_database();
    retype_ready("text", "varchar(3)", NULL, NULL);
    expect_writes(LENGTH);
    (void)t_fresh_database();
    retype_ready("text", "char(4)", NULL, NULL);
    expect_writes(BLANKS);
}

/* The reading of the job's author, whatever the application's session says. */
static void a_time_without_zone_is_read_in_the_zone_of_the_plan(void)
{
    static const struct write TOKYO[] = {
        {NULL, INSERT(", {o}", ", '2024-01-01 00:00'"),
         "2024-01-01 00:00:00|2024-01-01 08:00:00+09"},
        {NULL, INSERT(", {n}", ", '2024-01-01 08:00+09'"),
         "2024-01-01 00:00:00|2024-01-01 08:00:00+09"},
        {"'2024-01-01', '2024-01-01 08:00+09'", UPDATE("{o} = '2024-07-01 00:00'"),
         "2024-07-01 00:00:00|2024-07-01 07:00:00+09"},
        {0},
    };

    t_sqlf("ALTER DATABASE %s SET timezone = 'Europe/Berlin'",
           t_text("SELECT quote_ident(current_database())"));
    make_table("timestamp");
    t_sql("INSERT INTO t (id, v) VALUES (100, '2024-01-01 00:00')");
    t_runs(0, "column", "retype", "t", "v", "timestamptz");
    o = "v";
    n = "pghaul_new_v";
    t_expect("SELECT extract(epoch FROM pghaul_new_v) = extract(epoch FROM timestamptz '2023-12-31 "
             "23:00+00') FROM t",
             "t");
    t_sql("SET timezone = 'Asia/Tokyo'; SET datestyle = 'ISO, DMY'");
    expect_writes(TOKYO);
}

/* ---------------------------------------------------------------------- triggers and sessions */

static void an_applications_trigger_comes_first(void)
{
    static const struct write WRITES[] = {
        {"'A', 'A'", UPDATE("{o} = 'x'"), "X|X"},
        {"'A', 'A'", UPDATE("other = 1"), "A|A"},
        {NULL, INSERT(", {o}", ", 'x'"), "X|X"},
        {NULL, INSERT(", {n}", ", 'y'"), "y|y"},
        {"'A', 'A'", UPDATE("{n} = 'y'"), "y|y"},
        {"'a', 'a'", UPDATE("other = 1"), "A|A"},
        /* Both changed, one of them by the trigger. */
        {"'a', 'a'", UPDATE("{n} = 'y'"), "y|y", .conflicts = 1},
        {0},
    };

    make_table("text");
    t_sql("CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS\n"
          "$$BEGIN NEW.v := upper(NEW.v); RETURN NEW; END$$;\n"
          "CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION loud()");
    t_runs(0, "column", "rename", "t", "v", "w");
    o = "v";
    n = "w";
    expect_writes(WRITES);
}

/* It changes the old column in every update, so in the backfill's, too. */
static void a_restless_trigger_of_the_applications_is_no_way_around_the_read_only_column(void)
{
    static const struct write WRITES[] = {
        {"'1', 1", UPDATE("other = 1"), "2|2"},
        {"'1', 1", UPDATE("{o} = '5'"), "6|6"},
        {"'1', 1", UPDATE("{n} = 9"), "!55000"},
        {"'1', NULL", UPDATE("{n} = 1"), "2|2", .conflicts = 1}, /* as the backfill */
        {0},
    };

    make_table("text");
    t_sql("CREATE FUNCTION up() RETURNS trigger LANGUAGE plpgsql AS\n"
          "$$BEGIN NEW.v := NEW.v::int + 1; RETURN NEW; END$$;\n"
          "CREATE TRIGGER zz BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION up();\n"
          "INSERT INTO t (id, v) VALUES (1, '1'), (2, '2')");
    t_runs(0, "column", "retype", "t", "v", "int", "--using", "v::int");
    t_expect("SELECT count(*) FROM t WHERE v::int IS DISTINCT FROM pghaul_new_v", "0");
    o = "v";
    n = "pghaul_new_v";
    expect_writes(WRITES);
}

static void a_trigger_that_would_come_after_ours_is_refused(void)
{
    make_table("text");
    t_sql("CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS\n"
          "$$BEGIN NEW.v := upper(NEW.v); RETURN NEW; END$$;\n"
          "CREATE TRIGGER \"~zz\" BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION loud()");
    t_says(3, "~zz", "column", "rename", "t", "v", "w");
    t_sql("ALTER TRIGGER \"~zz\" ON t RENAME TO \"\xc3\xa4\"");
    t_says(3, "\xc3\xa4", "column", "rename", "t", "v", "w");
    t_sql("ALTER TABLE t DISABLE TRIGGER \"\xc3\xa4\"");
    t_runs(0, "column", "rename", "t", "v", "w");
    /* Enabled when the job is ready: then the columns might not agree any more. */
    t_sql("INSERT INTO t VALUES (1, 'a'); ALTER TABLE t ENABLE TRIGGER \"\xc3\xa4\";\n"
          "UPDATE t SET v = 'b'");
    t_expect("SELECT v || w FROM t", "Bb");
    t_says(3, "", "cutover", "column-t-1", "--yes", "--force");
    t_says(3, "\xc3\xa4", "resume", "column-t-1");
    t_sql("DROP TRIGGER \"\xc3\xa4\" ON t");
    t_says(4, "1 of 1 rows do not agree", "resume", "column-t-1");
    t_sql("UPDATE t SET w = v");
    t_runs(0, "resume", "column-t-1");
    t_expect("SELECT v || w FROM t", "BB");
    rename_cut_over();
}

/*
 * The functions run as the table's owner: no name in them may be looked up where the application's
 * role could put something of its own.
 */
static void nothing_of_a_sessions_own_is_run_as_the_tables_owner(void)
{
    struct t_session *evil;

    t_sql("CREATE ROLE evil LOGIN");
    retype_ready("json", "jsonb", NULL, NULL);
    t_sql("CREATE TABLE taken (who text); GRANT INSERT, SELECT, UPDATE ON t, taken TO evil;\n"
          "INSERT INTO t (id, v) VALUES (1, '1')");
    evil = t_session_as("evil", "evil");
    t_do(evil, "CREATE FUNCTION pg_temp.spy(v anyelement) RETURNS boolean LANGUAGE plpgsql AS\n"
               "$$BEGIN INSERT INTO public.taken VALUES (current_user); RETURN true; END$$");
    for (int i = 0; i < 4; i++)
        t_do(evil, t_format("CREATE DOMAIN pg_temp.%s AS pg_catalog.%s CHECK (pg_temp.spy(VALUE))",
                            ((const char *const[]){"jsonb", "text", "oid", "int8"})[i],
                            ((const char *const[]){"jsonb", "text", "oid", "int8"})[i]));
    t_do(evil, "SET search_path = pg_temp, public, pg_catalog");
    t_do(evil, "UPDATE t SET v = '2'; UPDATE t SET pghaul_new_v = '3';\n"
               "INSERT INTO t (id, v) VALUES (2, '4'); INSERT INTO t (id, pghaul_new_v) VALUES (3, "
               "'5')");
    t_close(evil);
    t_expect("SELECT count(*) FROM taken WHERE who <> 'evil'", "0");
    t_expect("SELECT count(*) FROM t WHERE v::jsonb <> pghaul_new_v OR pghaul_new_v IS NULL", "0");
    t_sql("DROP OWNED BY evil; DROP ROLE evil");
}

static void a_role_without_rights_on_our_schema_writes_both_columns(void)
{
    struct t_session *clerk;

    t_sql("CREATE ROLE clerk LOGIN");
    retype_ready("int", "bigint", NULL, NULL);
    t_sql("GRANT SELECT, INSERT, UPDATE (v, pghaul_new_v, id) ON t TO clerk");
    clerk = t_session_as("clerk", "clerk");
    t_do_fails(clerk, "SELECT * FROM pghaul.seen_1", "42501");
    t_do_fails(clerk, "SELECT pghaul.forward_1(1)", "42501");
    t_do(clerk, "INSERT INTO t (id, v) VALUES (1, 1); UPDATE t SET v = 2;\n"
                "UPDATE t SET pghaul_new_v = 3; UPDATE t SET v = 4, pghaul_new_v = 5");
    t_expect("SELECT v || ' ' || pghaul_new_v FROM t", "5 5");
    t_close(clerk);
    t_sql("DROP OWNED BY clerk; DROP ROLE clerk");
}

/* A trigger function that is put on another table has nothing to say there. */
static void our_functions_serve_no_other_table(void)
{
    rename_ready("text");
    t_sql("CREATE TABLE other (LIKE t);\n"
          "CREATE TRIGGER x BEFORE INSERT ON other FOR EACH ROW EXECUTE FUNCTION "
          "pghaul.sync_insert_1()");
    t_fails("INSERT INTO other (id, v) VALUES (1, 'a')", "P0001");
}

/* ----------------------------------------------------------------------------- what is counted */

static void statements_that_name_the_old_column_are_counted(void)
{
    rename_ready("text");
    t_sql("INSERT INTO t (id, w) VALUES (1, 'a')");
    assert_int_equal(counted("seen"), 0);
    t_sql("UPDATE t SET w = 'b'; UPDATE t SET other = 1");
    assert_int_equal(counted("seen"), 0);
    t_sql("INSERT INTO t (id, v) VALUES (2, 'a')");
    assert_int_equal(counted("seen"), 1);
    t_sql("UPDATE t SET v = 'c' WHERE id = 2");
    assert_int_equal(counted("seen"), 2);
    t_sql("UPDATE t SET v = v WHERE false");
    assert_int_equal(counted("seen"), 3);
    t_says(3, "writes that name it: 3", "cutover", "column-t-1", "--yes");
    t_expect("SELECT state FROM pghaul.job", "ready");
}

static void a_value_that_the_new_type_cannot_hold_is_found_and_can_be_mended(void)
{
    struct t_result result;

    retype_ready("text", "integer", "v::integer", "v::text");
    t_sql("INSERT INTO t (id, v) VALUES (1, '1'), (2, 'two')");
    t_run(&result, "verify", "column-t-1", NULL);
    t_expect_status(&result, 4);
    t_expect_err(&result, "1 of 2 rows do not agree");
    t_expect_err(&result, "(2)");
    t_says(4, "1 of 2 rows do not agree", "cutover", "column-t-1", "--yes");
    t_sql("UPDATE t SET v = '2' WHERE id = 2");
    t_runs(0, "resume", "column-t-1");
    t_expect("SELECT state FROM pghaul.job", "ready");
    t_runs(0, "cutover", "column-t-1", "--yes");
    t_expect("SELECT string_agg(v || ' ' || pghaul_old_v, ', ' ORDER BY id) FROM t", "1 1, 2 2");
}

static void a_value_that_the_old_type_cannot_hold_bars_the_way_back(void)
{
    struct t_result result;

    retype_ready("int", "bigint", NULL, NULL);
    t_sql("INSERT INTO t (id, v) VALUES (1, 1), (2, NULL)");
    t_runs(0, "cutover", "column-t-1", "--yes");
    t_sql("INSERT INTO t (id, v) VALUES (3, 2147483648), (4, 4)");
    t_run(&result, "status", "column-t-1", "--json", NULL);
    t_expect_status(&result, 0);
    t_expect_out(&result, "\"irreversible_rows\":1");
    t_says(9, "1 rows have a value of v that the old column cannot hold", "rollback", "column-t-1",
           "--yes");
    t_expect("SELECT state FROM pghaul.job", "cut_over");
    t_sql("UPDATE t SET v = 3 WHERE id = 3");
    t_runs(0, "rollback", "column-t-1", "--yes");
    t_expect("SELECT string_agg(coalesce(v, 0) || ' ' || coalesce(pghaul_new_v, 0), ', ' ORDER BY "
             "id) FROM t",
             "1 1, 0 0, 3 3, 4 4");
    t_expect("SELECT pg_typeof(v)::text FROM t LIMIT 1", "integer");
}

static void a_way_back_may_be_taken_at_the_price_of_values(void)
{
    retype_ready("int", "bigint", NULL, NULL);
    t_sql("INSERT INTO t (id, v) VALUES (1, 1)");
    t_runs(0, "cutover", "column-t-1", "--yes");
    t_sql("INSERT INTO t (id, v) VALUES (3, 2147483648)");
    t_runs(4, "rollback", "column-t-1", "--yes", "--accept-loss");
    t_expect("SELECT string_agg(coalesce(v, 0)::text, ', ' ORDER BY id) FROM t", "1, 0");
    t_runs(0, "abort", "column-t-1", "--yes");
    t_expect("SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute\n"
             " WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped",
             "id v other");
}

/*
 * What the new column alone can say stays, although the old one says less: real has no 0.1 that
 * double precision would know again.
 */
static void a_more_exact_value_of_the_new_column_is_kept(void)
{
    static const struct write WRITES[] = {
        {NULL, INSERT(", {n}", ", 0.1"), "0.1|0.1"},
        {"0.5, 0.5", UPDATE("{n} = 0.1"), "0.1|0.1"},
        {0},
    };

    retype_ready("real", "double precision", NULL, NULL);
    expect_writes(WRITES);
    t_says(3, "touched", "cutover", "column-t-1", "--yes");
    t_runs(0, "resume", "column-t-1"); /* which walks all rows again */
    t_expect("SELECT count(*) FROM t WHERE pghaul_new_v = 0.1::float8", "2");
    t_runs(0, "cutover", "column-t-1", "--yes");
    t_sql("INSERT INTO t (id, v) VALUES (9, 0.3)");
    t_runs(0, "rollback", "column-t-1", "--yes");
    t_runs(0, "cutover", "column-t-1", "--yes");
    t_expect("SELECT string_agg(v::text, ' ' ORDER BY id) FROM t", "0.1 0.1 0.3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(both_names_of_a_rename_are_written_before_and_after_the_cutover),
        t_test(the_default_is_the_old_columns_until_the_cutover),
        t_test(values_that_are_equal_and_not_the_same_are_carried_over),
        t_test(composite_and_toasted_values_are_carried_over),
        t_test(a_number_that_only_one_side_holds_is_refused_or_lost_as_the_leader_says),
        t_test(expressions_map_both_ways),
        t_test(without_a_way_back_one_side_is_read_only),
        t_test(lengths_and_scales_of_the_new_type_apply),
        t_test(a_time_without_zone_is_read_in_the_zone_of_the_plan),
        t_test(an_applications_trigger_comes_first),
        t_test(a_restless_trigger_of_the_applications_is_no_way_around_the_read_only_column),
        t_test(a_trigger_that_would_come_after_ours_is_refused),
        t_test(nothing_of_a_sessions_own_is_run_as_the_tables_owner),
        t_test(a_role_without_rights_on_our_schema_writes_both_columns),
        t_test(our_functions_serve_no_other_table),
        t_test(statements_that_name_the_old_column_are_counted),
        t_test(a_value_that_the_new_type_cannot_hold_is_found_and_can_be_mended),
        t_test(a_value_that_the_old_type_cannot_hold_bars_the_way_back),
        t_test(a_way_back_may_be_taken_at_the_price_of_values),
        t_test(a_more_exact_value_of_the_new_column_is_kept),
    };

    return T_MAIN(tests);
}
