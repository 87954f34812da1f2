/*
 * copy/usage against a server: every kind of use alone on an otherwise unused column. Whether the
 * server refuses to drop the column is asked of the server.
 */
#include "tests/harness.h"

#include <string.h>

#include "copy/usage.h"

enum { HAS_COLUMN_LISTS = 150000 };

static struct session *open_as(const char *role)
{
    const struct session_options options = {.conninfo =
                                                role == NULL ? t_conninfo() : t_conninfo_as(role),
                                            .application_name = "test_usage"};
    struct session *session = NULL;
    struct error error;

    if (!session_open(&session, &options, &error))
        t_fail("%s %s", error.message, error.detail);
    return session;
}

static void run(struct session *session, const char *sql)
{
    struct error error;

    if (!session_run(session, sql, &error))
        t_fail("%s: %s", error.message, sql);
}

static uint32_t oid_of(struct session *session, const char *table)
{
    ROWS_AUTO rows = {0};
    struct error error;

    if (!session_query(session, &rows, "SELECT $1::regclass::oid", PARAMS(table), &error))
        t_fail("%s", error.message);
    return (uint32_t)rows_int64(&rows, 0, 0);
}

static void read_uses(struct session *session, const char *table, const char *column,
                      struct usage_list *list)
{
    struct error error;

    if (!usage_read(session, oid_of(session, table), column, list, &error))
        t_fail("%s", error.message);
}

static const char *const WEIGHTS[] = {
    [USAGE_BLOCKS] = "blocks", [USAGE_BREAKS] = "breaks", [USAGE_GOES] = "goes"};

/* A line each: "blocks view public.recent: users.user_name". */
static const char *said(const struct usage_list *list)
{
    const char *lines = "";

    for (int i = 0; i < list->count; i++)
        lines =
            t_format("%s%s%s %s %s: %s", lines, i == 0 ? "" : "\n", WEIGHTS[list->items[i].weight],
                     list->items[i].kind, list->items[i].object, list->items[i].detail);
    return lines;
}

static const char *uses_of(struct session *session, const char *table, const char *column)
{
    struct usage_list list = {0};
    const char *lines;

    read_uses(session, table, column, &list);
    lines = said(&list);
    usage_list_deinit(&list);
    return lines;
}

static bool drop_is_refused(struct session *session)
{
    struct error error;

    if (session_run(session, "ALTER TABLE public.users DROP COLUMN user_name", &error))
        return false;
    assert_string_equal(error.sqlstate, "2BP01");
    return true;
}

/* After `setup` these are the uses of users.user_name, and the server agrees what blocks. */
static void expect_uses(const char *setup, const char *uses)
{
    SESSION_AUTO *session = open_as(NULL);

    run(session, "BEGIN");
    run(session, setup);
    assert_string_equal(uses_of(session, "public.users", "user_name"), uses);
    assert_int_equal(drop_is_refused(session), strncmp(uses, "blocks ", 7) == 0);
    session_rollback(session);
}

/* ------------------------------------------------------------------------------- what blocks */

/* How a view's definition has the column: 16 leaves the table's name out where there is only one.
 */
static const char *printed(void)
{
    return t_server_version() < 160000 ? "users.user_name" : "user_name";
}

static void a_view_blocks(void)
{
    expect_uses("CREATE VIEW public.named AS SELECT id, lower(user_name) AS low FROM public.users",
                t_format("blocks view public.named: lower(%s) AS low", printed()));
    expect_uses("CREATE VIEW public.everything AS SELECT * FROM public.users",
                t_format("blocks view public.everything: %s,", printed()));
    expect_uses(
        "CREATE MATERIALIZED VIEW public.kept AS SELECT id FROM public.users"
        " WHERE user_name > ''",
        t_format("blocks materialized view public.kept: WHERE (%s > ''::text);", printed()));
}

static void a_view_with_an_odd_name_is_named_as_sql_names_it(void)
{
    expect_uses("CREATE SCHEMA \"My S\"; CREATE VIEW \"My S\".\"V \"\"1\" AS"
                " SELECT user_name FROM public.users",
                t_format("blocks view \"My S\".\"V \"\"1\": SELECT %s", printed()));
}

static void a_rule_blocks(void)
{
    expect_uses(
        "CREATE RULE watch AS ON DELETE TO public.users WHERE old.user_name = 'root'"
        " DO INSTEAD NOTHING",
        "blocks rule watch ON public.users: WHERE (old.user_name = 'root'::text) DO INSTEAD "
        "NOTHING;");
}

static void a_policy_blocks_on_whatever_table_it_is(void)
{
    expect_uses("CREATE POLICY own ON public.users USING (user_name = current_user)",
                "blocks policy own ON public.users: USING ((user_name = CURRENT_USER))");
    expect_uses("CREATE TABLE public.notes (of bigint);"
                "CREATE POLICY own ON public.notes FOR INSERT WITH CHECK (of = (SELECT u.id"
                " FROM public.users u WHERE u.user_name = current_user))",
                "blocks policy own ON public.notes: WHERE (u.user_name = CURRENT_USER))))");
}

#define TRIGGER_FUNCTION(schema, name)                                        \
    "CREATE FUNCTION " schema "." name "() RETURNS trigger LANGUAGE plpgsql " \
    "AS 'BEGIN RETURN new; END';"

static void a_trigger_over_the_column_blocks(void)
{
    expect_uses(
        TRIGGER_FUNCTION("public",
                         "f") "CREATE TRIGGER changed BEFORE UPDATE OF user_name ON public.users"
                              " FOR EACH ROW EXECUTE FUNCTION public.f()",
        "blocks trigger changed ON public.users: CREATE TRIGGER changed BEFORE UPDATE OF "
        "user_name ON public.users FOR EACH ROW EXECUTE FUNCTION public.f()");
    expect_uses(TRIGGER_FUNCTION(
                    "public", "f") "CREATE TRIGGER named BEFORE INSERT ON public.users FOR EACH ROW"
                                   " WHEN (new.user_name <> '') EXECUTE FUNCTION public.f()",
                "blocks trigger named ON public.users: CREATE TRIGGER named BEFORE INSERT ON "
                "public.users FOR EACH ROW WHEN ((new.user_name <> ''::text)) EXECUTE FUNCTION "
                "public.f()");
}

static void a_generated_column_blocks_also_where_the_server_would_drop_it(void)
{
    SESSION_AUTO *session = open_as(NULL);

    run(session, "BEGIN; ALTER TABLE public.users ADD COLUMN low text"
                 " GENERATED ALWAYS AS (lower(user_name)) STORED");
    assert_string_equal(uses_of(session, "public.users", "user_name"),
                        "blocks generated column public.users.low: lower(user_name)");
    assert_int_equal(drop_is_refused(session), t_server_version() >= 150000);
    session_rollback(session);
}

static void a_publication_that_names_the_column_blocks(void)
{
    if (t_server_version() < HAS_COLUMN_LISTS)
        t_skip("publications have no column lists before 15");
    expect_uses("CREATE PUBLICATION columns FOR TABLE public.users (id, user_name)",
                "blocks publication columns: (id, user_name)");
    expect_uses("CREATE PUBLICATION rows FOR TABLE public.users WHERE (user_name <> '')"
                " WITH (publish = 'insert')",
                "blocks publication rows: WHERE (user_name <> ''::text)");
}

static void a_publication_of_all_columns_is_no_use(void)
{
    expect_uses("CREATE PUBLICATION p FOR TABLE public.users", "");
}

static void a_function_with_an_sql_body_blocks(void)
{
    expect_uses("CREATE FUNCTION public.who(bigint) RETURNS text LANGUAGE sql"
                " BEGIN ATOMIC SELECT u.user_name FROM public.users u WHERE u.id = $1; END",
                "blocks function public.who(bigint): SELECT u.user_name");
}

static void a_foreign_key_at_the_column_blocks_and_its_key_goes(void)
{
    expect_uses("ALTER TABLE public.users ADD CONSTRAINT k UNIQUE (user_name);"
                "CREATE TABLE public.mails (of text CONSTRAINT fk REFERENCES public.users "
                "(user_name))",
                "blocks foreign key fk ON public.mails: FOREIGN KEY (of) REFERENCES "
                "public.users(user_name)\n"
                "goes unique constraint k ON public.users: UNIQUE (user_name)");
}

static void a_foreign_key_of_the_same_or_of_a_partitioned_table_is_listed_once(void)
{
    expect_uses("ALTER TABLE public.users ADD CONSTRAINT k UNIQUE (user_name),"
                " ADD boss text CONSTRAINT fk REFERENCES public.users (user_name)",
                "blocks foreign key fk ON public.users: FOREIGN KEY (boss) REFERENCES "
                "public.users(user_name)\n"
                "goes unique constraint k ON public.users: UNIQUE (user_name)");
    expect_uses("ALTER TABLE public.users ADD CONSTRAINT k UNIQUE (user_name);"
                "CREATE TABLE public.mails (of text CONSTRAINT fk REFERENCES public.users "
                "(user_name)) PARTITION BY LIST (of);"
                "CREATE TABLE public.mails_1 PARTITION OF public.mails DEFAULT",
                "blocks foreign key fk ON public.mails: FOREIGN KEY (of) REFERENCES "
                "public.users(user_name)\n"
                "goes unique constraint k ON public.users: UNIQUE (user_name)");
}

/* --------------------------------------------------------------------------------- what goes */

static void constraints_go(void)
{
    expect_uses("ALTER TABLE public.users ADD CONSTRAINT k CHECK (user_name <> email)",
                "goes check constraint k ON public.users: CHECK ((user_name <> email))");
    expect_uses("ALTER TABLE public.users ADD CONSTRAINT k EXCLUDE (user_name WITH =)",
                "goes exclusion constraint k ON public.users: EXCLUDE USING btree (user_name WITH "
                "=)");
    expect_uses("ALTER TABLE public.users DROP CONSTRAINT users_pkey;"
                "ALTER TABLE public.users ADD CONSTRAINT k PRIMARY KEY (user_name)",
                "goes primary key k ON public.users: PRIMARY KEY (user_name)");
    expect_uses("CREATE TABLE public.names (n text PRIMARY KEY);"
                "ALTER TABLE public.users ADD CONSTRAINT k FOREIGN KEY (user_name)"
                " REFERENCES public.names",
                "goes foreign key k ON public.users: FOREIGN KEY (user_name) REFERENCES "
                "public.names(n)");
}

static void not_null_is_of_the_column(void)
{
    expect_uses("ALTER TABLE public.users ALTER user_name SET NOT NULL;"
                "COMMENT ON COLUMN public.users.user_name IS 'what user_name of users is';"
                "GRANT SELECT (user_name) ON public.users TO pg_monitor",
                "");
}

static void indexes_go_however_they_have_the_column(void)
{
    expect_uses("CREATE INDEX i ON public.users (user_name)",
                "goes index public.i: CREATE INDEX i ON public.users USING btree (user_name)");
    expect_uses("CREATE INDEX i ON public.users (id) INCLUDE (user_name)",
                "goes index public.i: CREATE INDEX i ON public.users USING btree (id) INCLUDE "
                "(user_name)");
    expect_uses("CREATE INDEX i ON public.users (lower(user_name))",
                "goes index public.i: CREATE INDEX i ON public.users USING btree "
                "(lower(user_name))");
    expect_uses("CREATE INDEX i ON public.users (id) WHERE user_name IS NULL",
                "goes index public.i: CREATE INDEX i ON public.users USING btree (id) WHERE "
                "(user_name IS NULL)");
}

static void statistics_sequence_and_default_go(void)
{
    expect_uses("CREATE STATISTICS public.s ON user_name, email FROM public.users",
                "goes statistics public.s: CREATE STATISTICS public.s ON user_name, email FROM "
                "public.users");
    expect_uses("CREATE STATISTICS public.s ON (lower(user_name)) FROM public.users",
                "goes statistics public.s: CREATE STATISTICS public.s ON lower(user_name) FROM "
                "public.users");
    expect_uses("CREATE SEQUENCE public.q OWNED BY public.users.user_name",
                "goes sequence public.q: ");
    expect_uses("ALTER TABLE public.users ALTER user_name SET DEFAULT 'nobody'",
                "goes default public.users.user_name: 'nobody'::text");
}

/* ------------------------------------------------------------------------------- what breaks */

#define FUNCTION(name, body) \
    "CREATE FUNCTION " name " RETURNS text LANGUAGE plpgsql AS $f$" body "$f$;"

static void a_function_whose_source_names_both_breaks(void)
{
    expect_uses(FUNCTION("public.who(a bigint)", "BEGIN\n    RETURN (SELECT u.USER_NAME\n"
                                                 "        FROM users u WHERE id = a);\nEND"),
                "breaks function public.who(bigint): RETURN (SELECT u.USER_NAME");
    expect_uses(FUNCTION("public.who()", "BEGIN RETURN (SELECT max(\"user_name\")"
                                         " FROM \"public\".\"users\"); END"),
                "breaks function public.who(): BEGIN RETURN (SELECT max(\"user_name\") FROM "
                "\"public\".\"users\"); END");
    expect_uses("CREATE FUNCTION public.who() RETURNS text LANGUAGE sql AS"
                " 'SELECT max(user_name) FROM public.users'",
                "breaks function public.who(): SELECT max(user_name) FROM public.users");
}

static void only_whole_words_count(void)
{
    expect_uses(
        FUNCTION("public.f()", "BEGIN RETURN (SELECT user_names FROM users); END")
            FUNCTION("public.g()", "BEGIN RETURN (SELECT user_name FROM users2); END") FUNCTION(
                "public.h()", "BEGIN RETURN (SELECT _user_name FROM users); END")
                FUNCTION("public.i()", "BEGIN RETURN (SELECT user_name$ FROM users); END") FUNCTION(
                    "public.j()", "BEGIN RETURN (SELECT user_name\xc3\xa9 FROM users); END")
                    FUNCTION("public.k()", "BEGIN RETURN (SELECT userxname FROM users); END"),
        "");
}

static void names_that_need_quotes_are_found_as_they_are_spelled(void)
{
    SESSION_AUTO *session = open_as(NULL);

    run(session,
        "CREATE TABLE public.\"Odd [t]\" (\"A.b\"\"(\" int);" FUNCTION(
            "public.f()", "BEGIN RETURN (SELECT max(\"A.b\"\"(\") FROM \"Odd [t]\"); END")
            FUNCTION("public.g()", "BEGIN RETURN (SELECT max(\"A_b\"\"(\") FROM \"Odd [t]\"); END")
                FUNCTION("public.h()",
                         "BEGIN RETURN (SELECT max(\"a.b\"\"(\") FROM \"Odd [t]\"); END"));
    assert_string_equal(uses_of(session, "public.\"Odd [t]\"", "A.b\"("),
                        "breaks function public.f(): BEGIN RETURN (SELECT max(\"A.b\"\"(\") FROM "
                        "\"Odd [t]\"); END");
}

static void a_trigger_function_breaks_without_naming_the_table(void)
{
    static const char FUNCTION_SQL[] =
        "CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN new.user_name := lower(new.user_name); RETURN new; END';";

    expect_uses(FUNCTION_SQL, "");
    expect_uses(t_format("%sCREATE TRIGGER t BEFORE INSERT ON public.users"
                         " FOR EACH ROW EXECUTE FUNCTION public.f()",
                         FUNCTION_SQL),
                "breaks function public.f(): BEGIN new.user_name := lower(new.user_name); RETURN "
                "new; END");
}

static void a_trigger_that_is_given_the_name_breaks(void)
{
    expect_uses("ALTER TABLE public.users ADD COLUMN words tsvector;"
                "CREATE TRIGGER t BEFORE INSERT ON public.users FOR EACH ROW EXECUTE FUNCTION"
                " tsvector_update_trigger(words, 'pg_catalog.simple', email, user_name)",
                "breaks trigger t ON public.users: CREATE TRIGGER t BEFORE INSERT ON public.users "
                "FOR EACH ROW EXECUTE FUNCTION tsvector_update_trigger('words', "
                "'pg_catalog.simple', 'email', 'user_name')");
}

static void a_name_that_is_gone_is_still_found_in_texts(void)
{
    SESSION_AUTO *session = open_as(NULL);

    run(session,
        "CREATE VIEW public.v AS SELECT user_name FROM public.users;" FUNCTION(
            "public.f()",
            "BEGIN RETURN (SELECT user_name FROM users); END") "ALTER TABLE public.users RENAME "
                                                               "user_name TO hidden");
    assert_string_equal(uses_of(session, "public.users", "user_name"),
                        "breaks function public.f(): BEGIN RETURN (SELECT user_name FROM users); "
                        "END");
}

/* ------------------------------------------------------------------------------ what is no use */

static void another_table_with_such_a_column_is_no_use(void)
{
    expect_uses("CREATE TABLE public.others (user_name text PRIMARY KEY, CHECK (user_name <> ''));"
                "CREATE VIEW public.v AS SELECT user_name FROM public.others;" FUNCTION(
                    "public.f()", "BEGIN RETURN (SELECT max(user_name) FROM others); END"),
                "");
}

static void the_row_as_a_whole_is_no_use(void)
{
    expect_uses("CREATE FUNCTION public.f(public.users) RETURNS bigint LANGUAGE sql AS"
                " 'SELECT $1.id';"
                "CREATE VIEW public.v AS SELECT id, email FROM public.users",
                "");
}

static void ours_is_no_use(void)
{
    SESSION_AUTO *session = open_as(NULL);

    run(session,
        "CREATE SCHEMA pghaul;" TRIGGER_FUNCTION(
            "pghaul",
            "sync") "CREATE OR REPLACE FUNCTION pghaul.sync() RETURNS trigger LANGUAGE plpgsql AS"
                    " 'BEGIN new.user_name := ''users''; RETURN new; END';"
                    "CREATE TRIGGER \"~pghaul_1\" BEFORE UPDATE OF user_name ON public.users"
                    " FOR EACH ROW EXECUTE FUNCTION pghaul.sync('user_name');"
                    "CREATE TRIGGER \"pghaul_1\" BEFORE UPDATE OF user_name ON public.users"
                    " FOR EACH ROW EXECUTE FUNCTION pghaul.sync('user_name');"
                    "CREATE VIEW pghaul.v AS SELECT user_name FROM public.users;"
                    "CREATE FUNCTION pghaul.f() RETURNS text LANGUAGE sql"
                    " BEGIN ATOMIC SELECT max(user_name) FROM public.users; END");
    assert_string_equal(uses_of(session, "public.users", "user_name"), "");
}

/* ------------------------------------------------------------------------------------- the list */

static void the_order_is_weight_kind_object(void)
{
    expect_uses(
        FUNCTION("public.g()", "-- user_name of users\nBEGIN RETURN ''; END") FUNCTION(
            "public.\"F\"()",
            "-- user_name of users\nBEGIN RETURN ''; END") "CREATE INDEX b ON public.users "
                                                           "(user_name);"
                                                           "CREATE INDEX \"B\" ON public.users "
                                                           "(user_name);"
                                                           "CREATE VIEW public.z AS SELECT "
                                                           "user_name FROM public.users;"
                                                           "CREATE POLICY p ON public.users USING "
                                                           "(user_name <> '')",
        t_format("blocks policy p ON public.users: USING ((user_name <> ''::text))\n"
                 "blocks view public.z: SELECT %s\n"
                 "breaks function public.\"F\"(): -- user_name of users\n"
                 "breaks function public.g(): -- user_name of users\n"
                 "goes index public.\"B\": CREATE INDEX \"B\" ON public.users USING btree "
                 "(user_name)\n"
                 "goes index public.b: CREATE INDEX b ON public.users USING btree (user_name)",
                 printed()));
}

static void what_only_the_caller_knows_can_be_added(void)
{
    const struct usage writes = {USAGE_BREAKS, "writes", "public.users.user_name", "12", "now"};
    struct usage_list list = {0};

    for (int i = 0; i < 40; i++)
        usage_add(&list, &writes);
    assert_int_equal(list.count, 40);
    assert_string_equal(list.items[39].last_seen, "now");
    usage_list_deinit(&list);
    assert_int_equal(list.count, 0);
}

/* ----------------------------------------------------------------------------------- statements */

/* What of the statements is listed, and what is said about the rest. */
static const char *statements(const char *role, const char **unseen)
{
    SESSION_AUTO *session = open_as(role);
    struct usage_list list = {0};
    const char *lines = "";

    read_uses(session, "public.users", "user_name", &list);
    for (int i = 0; i < list.count; i++) {
        assert_string_equal(list.items[i].kind, "statement");
        assert_int_equal(list.items[i].weight, USAGE_BREAKS);
        assert_null(list.items[i].last_seen);
        lines = t_format("%s%s%s", lines, i == 0 ? "" : "\n", list.items[i].detail);
    }
    *unseen = t_format("%s", list.unseen == NULL ? "" : list.unseen);
    usage_list_deinit(&list);
    return lines;
}

static void statements_are_not_looked_at_without_the_extension(void)
{
    const char *unseen;

    assert_string_equal(statements(NULL, &unseen), "");
    assert_string_equal(unseen, "extension pg_stat_statements is not installed in this database");
}

static void install(void)
{
    t_sql("CREATE SCHEMA \"Stats\"; CREATE EXTENSION pg_stat_statements SCHEMA \"Stats\"");
}

static void forget(void)
{
    t_sql("SELECT \"Stats\".pg_stat_statements_reset()");
}

static void statements_that_name_both_are_listed_with_their_calls(void)
{
    const char *unseen;

    install();
    t_sql("CREATE TABLE others (user_name text, users2 text)");
    forget();
    t_sql("SELECT user_name\n  FROM users WHERE id = 1");
    t_sql("SELECT user_name\n  FROM users WHERE id = 2");
    t_sql("SELECT email FROM users");
    t_sql("SELECT user_name, users2 FROM others");
    assert_string_equal(statements(NULL, &unseen),
                        "2 calls: SELECT user_name FROM users WHERE id = $1");
    assert_string_equal(unseen, "");
}

static void statements_of_another_database_are_not_listed(void)
{
    const char *unseen;

    install();
    forget();
    t_sql("SELECT user_name FROM users");
    t_fresh_database();
    install();
    assert_string_equal(statements(NULL, &unseen), "");
}

static void changes_of_the_schema_and_our_own_statements_are_not_listed(void)
{
    const char *unseen;

    install();
    forget();
    t_sql("ALTER TABLE users ALTER user_name SET STATISTICS 10");
    t_sql("CREATE INDEX i ON users (user_name)");
    t_sql("DROP INDEX i");
    t_sql("CREATE VIEW v AS SELECT user_name FROM users");
    t_sql("DROP VIEW v");
    t_sql("UPDATE ONLY \"public\".\"users\" AS r SET email = user_name");
    t_sql("SELECT user_name /* pghaul */ FROM users");
    assert_string_equal(statements(NULL, &unseen), "");
    t_sql("CREATE TEMP TABLE report AS (SELECT user_name FROM users)");
    assert_string_equal(statements(NULL, &unseen),
                        "1 call: CREATE TEMP TABLE report AS (SELECT user_name FROM users)");
}

static void only_the_most_called_are_listed(void)
{
    const char *columns = "";
    const char *unseen;

    install();
    forget();
    for (int i = 0; i < 103; i++)
        t_sqlf("SELECT user_name%s FROM users", columns = t_format("%s, id", columns));
    statements(NULL, &unseen);
    assert_string_equal(unseen, "3 statements that are called less");
}

static void drop_plain_role(void)
{
    t_sql("DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'plain') THEN"
          " DROP OWNED BY plain; DROP ROLE plain; END IF; END $$");
}

static void an_owner_sees_his_own_statements_and_how_many_he_does_not(void)
{
    const char *unseen;

    install();
    drop_plain_role();
    t_sql("CREATE ROLE plain LOGIN; GRANT USAGE ON SCHEMA \"Stats\" TO plain;"
          "ALTER TABLE users OWNER TO plain");
    forget();
    t_sql("SELECT user_name FROM users");
    t_do(t_session_as("owner", "plain"), "SELECT user_name, id FROM public.users");
    assert_string_equal(statements("plain", &unseen),
                        "1 call: SELECT user_name, id FROM public.users");
    assert_non_null(strstr(unseen, " statements of other roles: pg_stat_statements shows them to "
                                   "members of pg_read_all_stats"));
    drop_plain_role();
}

static void a_view_that_may_not_be_read_is_said_and_leaves_the_transaction_as_it_was(void)
{
    struct usage_list list = {0};
    struct session *session;
    const char *unseen;

    install();
    drop_plain_role();
    t_sql("CREATE ROLE plain LOGIN");
    assert_string_equal(statements("plain", &unseen), "");
    assert_string_equal(unseen, "pg_stat_statements cannot be read: permission denied for schema "
                                "Stats");
    session = open_as("plain");
    run(session, "BEGIN; CREATE TEMP TABLE kept (id int)");
    read_uses(session, "public.users", "user_name", &list);
    usage_list_deinit(&list);
    run(session, "COMMIT");
    run(session, "TABLE kept");
    session_close(session);
    drop_plain_role();
}

static void a_view_of_that_name_that_is_not_the_extensions_is_not_read(void)
{
    const char *unseen;

    install();
    t_sql("CREATE VIEW pg_stat_statements AS SELECT 1 / 0 AS queryid, 0 AS dbid, '' AS query");
    statements(NULL, &unseen);
    assert_string_equal(unseen, "");
}

/* Last: the server goes on without the library. */
static void an_extension_that_is_not_loaded_is_said(void)
{
    struct error error;
    const char *unseen;

    install();
    t_sql("ALTER SYSTEM SET shared_preload_libraries = plpgsql");
    if (!sandbox_restart(t_sandbox(), &error))
        t_fail("%s", error.message);
    assert_string_equal(statements(NULL, &unseen), "");
    assert_non_null(strstr(unseen, "pg_stat_statements cannot be read: pg_stat_statements must be "
                                   "loaded via "));
}

int main(void)
{
    static const char *const SETTINGS[] = {"shared_preload_libraries = 'pg_stat_statements'", NULL};
    const struct CMUnitTest tests[] = {
        t_test(a_view_blocks),
        t_test(a_view_with_an_odd_name_is_named_as_sql_names_it),
        t_test(a_rule_blocks),
        t_test(a_policy_blocks_on_whatever_table_it_is),
        t_test(a_trigger_over_the_column_blocks),
        t_test(a_generated_column_blocks_also_where_the_server_would_drop_it),
        t_test(a_publication_that_names_the_column_blocks),
        t_test(a_publication_of_all_columns_is_no_use),
        t_test(a_function_with_an_sql_body_blocks),
        t_test(a_foreign_key_at_the_column_blocks_and_its_key_goes),
        t_test(a_foreign_key_of_the_same_or_of_a_partitioned_table_is_listed_once),
        t_test(constraints_go),
        t_test(not_null_is_of_the_column),
        t_test(indexes_go_however_they_have_the_column),
        t_test(statistics_sequence_and_default_go),
        t_test(a_function_whose_source_names_both_breaks),
        t_test(only_whole_words_count),
        t_test(names_that_need_quotes_are_found_as_they_are_spelled),
        t_test(a_trigger_function_breaks_without_naming_the_table),
        t_test(a_trigger_that_is_given_the_name_breaks),
        t_test(a_name_that_is_gone_is_still_found_in_texts),
        t_test(another_table_with_such_a_column_is_no_use),
        t_test(the_row_as_a_whole_is_no_use),
        t_test(ours_is_no_use),
        t_test(the_order_is_weight_kind_object),
        t_test(what_only_the_caller_knows_can_be_added),
        t_test(statements_are_not_looked_at_without_the_extension),
        t_test(statements_that_name_both_are_listed_with_their_calls),
        t_test(statements_of_another_database_are_not_listed),
        t_test(changes_of_the_schema_and_our_own_statements_are_not_listed),
        t_test(only_the_most_called_are_listed),
        t_test(an_owner_sees_his_own_statements_and_how_many_he_does_not),
        t_test(a_view_that_may_not_be_read_is_said_and_leaves_the_transaction_as_it_was),
        t_test(a_view_of_that_name_that_is_not_the_extensions_is_not_read),
        t_test(an_extension_that_is_not_loaded_is_said),
    };

    t_sandbox_options.settings = SETTINGS;
    t_template_sql =
        "CREATE TABLE public.users (id bigint PRIMARY KEY, user_name text, email text)";
    return T_MAIN(tests);
}
