/* Rows that the new table refuses, whatever the class of the error: the key is named, not the job's
 * end, and mended rows go on. */
#include "tests/harness.h"

#define UNFIT "7"

static void make(const char *before, const char *action)
{
    struct t_result result;

    if (before != NULL)
        t_sql(before);
    t_sql("CREATE TABLE item (id int PRIMARY KEY, t text);\n"
          "INSERT INTO item SELECT g, 'row ' || g FROM generate_series(1, 500) AS g");
    t_run(&result, "alter", "item", "--job", "j", "--do", action, "-s", "settle=off", "-s",
          "cutover.hold=30s", NULL);
    t_expect_status(&result, 0);
}

/* Row 7 does not fit any more, among others that do. */
static void expect_key_named_and_then_mended(const char *unfit, const char *message)
{
    struct t_result result;

    t_sql("UPDATE item SET t = 'late ' || id WHERE id < 100");
    t_sqlf("UPDATE item SET t = %s WHERE id = " UNFIT, unfit);
    t_run(&result, "resume", "j", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT string_agg(k1::text, ' ') FROM pghaul.log_1_stuck", UNFIT);
    t_run(&result, "verify", "j", NULL);
    t_expect_status(&result, 4);
    t_expect_err(&result, "key (" UNFIT ")");
    t_expect_err(&result, message);
    t_sql("UPDATE item SET t = 'fits' WHERE id = " UNFIT);
    t_run(&result, "resume", "j", NULL);
    t_expect_status(&result, 0);
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT count(*) FROM item AS a FULL JOIN pghaul.item_1_old AS b USING (id)\n"
             " WHERE a.t IS DISTINCT FROM b.t",
             "0");
}

static void a_value_too_long_for_an_index_is_stuck(void)
{
    make(NULL, "ADD UNIQUE (t)");
    expect_key_named_and_then_mended(
        "(SELECT string_agg(md5(g::text), '') FROM generate_series(1, 1000) AS g)", "index row");
}

/* A function may raise any code. */
static void what_a_function_of_a_constraint_raises_is_stuck(const char *code)
{
    make(t_format("CREATE FUNCTION fits(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$\n"
                  "BEGIN\n"
                  "    IF $1 = 'bad' THEN RAISE 'it is %s' USING ERRCODE = '%s'; END IF;\n"
                  "    RETURN true;\n"
                  "END $$",
                  code, code),
         "ADD CHECK (fits(t))");
    expect_key_named_and_then_mended("'bad'", t_format("it is %s", code));
}

static void codes_of_the_users_own_are_stuck(void)
{
    static const char *const CODES[] = {"U0001", "42501", "P0002", "0A000"};

    for (size_t i = 0; i < sizeof(CODES) / sizeof(CODES[0]); i++) {
        if (i > 0)
            t_fresh_database();
        what_a_function_of_a_constraint_raises_is_stuck(CODES[i]);
    }
}

/* The statement itself is refused: no row is to blame, and none is stuck. */
static void a_statement_that_is_refused_makes_no_key_stuck(void)
{
    struct t_result result;

    make(NULL, "ALTER COLUMN t TYPE varchar(100)");
    t_sql("UPDATE item SET t = 'late ' || id WHERE id < 100;\n"
          "ALTER TABLE pghaul.item_1 RENAME COLUMN t TO gone");
    t_run(&result, "resume", "j", NULL);
    t_expect_status(&result, 1);
    t_expect("SELECT count(*) FROM pghaul.log_1_stuck", "0");
    t_expect("SELECT count(*) FROM pghaul.log_1_a", "99");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_value_too_long_for_an_index_is_stuck),
        t_test(codes_of_the_users_own_are_stuck),
        t_test(a_statement_that_is_refused_makes_no_key_stuck),
    };

    return T_MAIN(tests);
}
