/*
 * The table's definition changes under a job: the swap would lose the change, so it is refused, and
 * what was changed is named.
 */
#include "tests/harness.h"

static void ready(void)
{
    struct t_result result;

    t_sql("CREATE TABLE t (id int PRIMARY KEY, v text, n int DEFAULT 1);\n"
          "CREATE INDEX t_v ON t (v); CREATE POLICY mine ON t USING (n > 0);\n"
          "INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 1000) AS g");
    t_run(&result, "alter", "t", "--job", "j", "--do", "ALTER COLUMN id TYPE bigint", "-s",
          "settle=off", NULL);
    t_expect_status(&result, 0);
}

static void expect_named(const char *verb, const char *names)
{
    struct t_result result;

    t_run(&result, verb, "j", "--yes", NULL);
    t_expect_status(&result, 4);
    t_expect_err(&result, "the table's definition was changed since the");
    t_expect_err(&result, t_format(" %s; the swap would lose that", names));
}

static void what_was_changed_is_named(void)
{
    static const struct {
        const char *change, *undo, *names;
    } CHANGES[] = {
        {"GRANT SELECT ON t TO public", "REVOKE SELECT ON t FROM public", "grant"},
        {"GRANT UPDATE (v) ON t TO public", "REVOKE UPDATE (v) ON t FROM public", "column v"},
        {"CREATE INDEX late ON t (n)", "DROP INDEX late", "index late (new)"},
        {"DROP INDEX t_v", "CREATE INDEX t_v ON t (v)", "index t_v (gone)"},
        {"ALTER POLICY mine ON t USING (n > 1)", "ALTER POLICY mine ON t USING (n > 0)",
         "policy mine"},
        {"ALTER TABLE t ADD CONSTRAINT few CHECK (n < 9)", "ALTER TABLE t DROP CONSTRAINT few",
         "constraint few (new)"},
        {"CREATE VIEW w AS SELECT v FROM t", "DROP VIEW w", "what depends on it (new)"},
        {"COMMENT ON TABLE t IS 'late'; ALTER TABLE t ALTER n SET DEFAULT 2",
         "COMMENT ON TABLE t IS NULL; ALTER TABLE t ALTER n SET DEFAULT 1",
         "column n, comment (new)"},
    };
    struct t_result result;

    ready();
    for (size_t i = 0; i < sizeof(CHANGES) / sizeof(CHANGES[0]); i++) {
        t_sql(CHANGES[i].change);
        expect_named("cutover", CHANGES[i].names);
        t_sql(CHANGES[i].undo);
    }
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    for (size_t i = 0; i < sizeof(CHANGES) / sizeof(CHANGES[0]); i++) {
        t_sql(CHANGES[i].change);
        expect_named("rollback", CHANGES[i].names);
        t_sql(CHANGES[i].undo);
    }
    t_run(&result, "rollback", "j", "--yes", NULL);
    t_expect_status(&result, 0);
}

static void many_changes_are_counted(void)
{
    ready();
    for (int i = 0; i < 12; i++)
        t_sqlf("CREATE INDEX late_%02d ON t (n)", i);
    expect_named("cutover", "index late_07 (new) and 4 more");
}

/* Its workers fire no statement triggers. Without a publisher: the catalogue is all that counts. */
static void subscribe(void)
{
    t_sql("CREATE SUBSCRIPTION feed CONNECTION 'dbname=nowhere' PUBLICATION p\n"
          "    WITH (connect = false, slot_name = NONE)");
    t_sql("INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)\n"
          "SELECT oid, 't'::regclass, 'r' FROM pg_subscription");
}

static void unsubscribe(void)
{
    t_sql("DROP SUBSCRIPTION feed");
}

static void a_subscription_that_was_added_is_not_swapped_away(void)
{
    struct t_result result;

    ready();
    subscribe();
    expect_named("cutover", "subscription (new)");
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_err(&result, "abort the job and start again without it");
    unsubscribe();
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    subscribe();
    expect_named("rollback", "subscription (new)");
    t_run(&result, "rollback", "j", "--yes", "--accept-loss", NULL);
    t_expect_status(&result, 0);
    unsubscribe();
}

/* How far the subscription is changes by itself, and is no definition; of other tables neither. */
static void subscriptions_of_other_tables_are_none_of_its_business(void)
{
    struct t_result result;

    t_sql("CREATE TABLE other (id int PRIMARY KEY)");
    ready();
    t_sql("CREATE SUBSCRIPTION feed CONNECTION 'dbname=nowhere' PUBLICATION p\n"
          "    WITH (connect = false, slot_name = NONE)");
    t_sql("INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)\n"
          "SELECT oid, 'other'::regclass, 'r' FROM pg_subscription");
    t_run(&result, "cutover", "j", "--yes", NULL);
    t_expect_status(&result, 0);
    unsubscribe();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(what_was_changed_is_named),
        t_test(many_changes_are_counted),
        t_test(a_subscription_that_was_added_is_not_swapped_away),
        t_test(subscriptions_of_other_tables_are_none_of_its_business),
    };

    return T_MAIN(tests);
}
