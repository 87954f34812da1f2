/*
 * copy/inspect against a server: each situation alone on an otherwise clean table, and the refusal
 * that it must give, and no other. Where the advice is one statement, it is followed, and the
 * refusal must be gone.
 */
#include "tests/harness.h"

#include <string.h>

#include "copy/inspect.h"

static struct session *open_on(const char *conninfo)
{
    const struct session_options options = {.conninfo = conninfo,
                                            .application_name = "unit_inspect"};
    struct session *session = NULL;
    struct error error;

    if (!session_open(&session, &options, &error))
        t_fail("%s %s", error.message, error.detail);
    return session;
}

/* In the arena. */
static const struct table *describe(struct session *session, const char *name, struct arena *arena)
{
    struct table *table = NULL;
    struct error error;
    uint32_t oid;

    if (!table_find(session, name, "public", &oid, &error) ||
        !table_describe(session, oid, arena, &table, &error))
        t_fail("%s %s", error.message, error.detail);
    return table;
}

/* What is found about `name` by a session on `conninfo`. The caller deinitialises. */
static void inspect_on(const char *conninfo, const char *name, struct findings *findings)
{
    SESSION_AUTO *session = open_on(conninfo);
    struct arena arena = {0};
    struct error error;

    *findings = (struct findings){0};
    if (!inspect_server(session, findings, &error) ||
        !inspect_table(session, describe(session, name, &arena), findings, &error))
        t_fail("%s %s", error.message, error.detail);
    arena_deinit(&arena);
}

static void inspect(const char *name, struct findings *findings)
{
    inspect_on(t_conninfo(), name, findings);
}

/* Exactly this is refused about the table, and with a reason to show; a copy of its advice lives in
 * the test. */
static const char *only_refusal_on(const char *conninfo, const char *name, const char *code,
                                   const char *what)
{
    struct findings findings;
    struct error error;
    const char *todo;

    inspect_on(conninfo, name, &findings);
    for (int i = 0; i < findings.count; i++)
        if (findings.list[i].level == FINDING_REFUSED && strcmp(findings.list[i].code, code) != 0)
            t_fail("%s: %s", findings.list[i].code, findings.list[i].what);
    if (findings_count(&findings, FINDING_REFUSED) != 1)
        t_fail("%d refusals %s", findings_count(&findings, FINDING_REFUSED), code);
    assert_false(findings_refuse(&findings, name, &error));
    assert_int_equal(error.code, ERROR_REFUSED);
    if (strstr(error.message, what) == NULL)
        t_fail("'%s' is not in '%s'", what, error.message);
    todo = t_format("%s", error.hint);
    findings_deinit(&findings);
    return todo;
}

static const char *only_refusal(const char *name, const char *code, const char *what)
{
    return only_refusal_on(t_conninfo(), name, code, what);
}

static void expect_none_on(const char *conninfo, const char *name)
{
    struct findings findings;
    struct error error;

    inspect_on(conninfo, name, &findings);
    if (!findings_refuse(&findings, name, &error))
        t_fail("%s | %s", error.message, error.detail);
    findings_deinit(&findings);
}

/* A finding that refuses nothing. */
static void expect_finding(const char *name, const char *code, enum finding_level level,
                           const char *what)
{
    const struct finding *finding;
    struct findings findings;

    inspect(name, &findings);
    finding = findings_by_code(&findings, code);
    if (finding == NULL)
        t_fail("no %s", code);
    assert_int_equal(finding->level, level);
    if (strstr(finding->what, what) == NULL)
        t_fail("'%s' is not in '%s'", what, finding->what);
    assert_int_equal(findings_count(&findings, FINDING_REFUSED), 0);
    findings_deinit(&findings);
}

/* The advice is a statement: follow it as the superuser. */
static void follow(const char *statement)
{
    t_sqlf("%s", statement);
}

/* -- carried: none of it is refused -- */

static void what_a_job_carries_is_not_refused(void)
{
    struct findings findings;

    t_sql("CREATE DOMAIN price AS numeric(12,2) CHECK (VALUE > 0);"
          "CREATE TYPE mood AS ENUM ('a', 'b');"
          "CREATE TABLE t (id bigserial PRIMARY KEY, alt int GENERATED ALWAYS AS IDENTITY,"
          "    code varchar(20) COLLATE \"C\" UNIQUE DEFERRABLE INITIALLY DEFERRED, p price, m "
          "mood[],"
          "    double_id bigint GENERATED ALWAYS AS (id * 2) STORED, j jsonb DEFAULT '{}', CHECK "
          "(id > 0),"
          "    EXCLUDE (alt WITH =)) WITH (fillfactor = 70, toast.autovacuum_enabled = false);"
          "CREATE INDEX ON t (lower(code)) WHERE id > 3;"
          "CREATE STATISTICS s ON id, alt FROM t;"
          "CREATE STATISTICS s2 ON (id + 1) FROM t;"
          "ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
          "CREATE POLICY own ON t USING (code = current_user);"
          "CREATE TABLE other (id int PRIMARY KEY);"
          "CREATE POLICY look ON t USING (EXISTS (SELECT FROM other WHERE id = alt));"
          "COMMENT ON COLUMN t.id IS 'the id'; GRANT SELECT (id) ON t TO PUBLIC;"
          "CREATE TABLE draws (n bigint DEFAULT nextval('t_id_seq'));"
          "CREATE FUNCTION late() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM t';"
          "CLUSTER t USING t_pkey; ALTER TABLE t REPLICA IDENTITY USING INDEX t_pkey");
    inspect("t", &findings);
    for (int i = 0; i < findings.count; i++)
        if (findings.list[i].level != FINDING_NOTE)
            t_fail("%s: %s", findings.list[i].code, findings.list[i].what);
    findings_deinit(&findings);
}

static void our_own_triggers_and_schema_are_not_in_the_way(void)
{
    t_sql(
        "CREATE TABLE t (id int PRIMARY KEY);"
        "CREATE SCHEMA pghaul;"
        "CREATE FUNCTION pghaul.capture() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; "
        "END';"
        "CREATE TRIGGER pghaul_7 AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION pghaul.capture()");
    expect_none_on(t_conninfo(), "t");
}

static void a_trigger_that_only_looks_like_ours_is_refused(void)
{
    t_sql("CREATE TABLE t (id int PRIMARY KEY);"
          "CREATE FUNCTION capture() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
          "CREATE TRIGGER pghaul_7 AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION capture()");
    only_refusal("t", "trigger", "pghaul_7");
}

/* -- dependents, one by one -- */

static const struct situation {
    const char
        *sql; /* after CREATE TABLE t (id int PRIMARY KEY, v text) and trigger function f() */
    const char *code;
    const char *what;
} SITUATIONS[] = {
    {"CREATE TABLE o (id int PRIMARY KEY); ALTER TABLE t ADD CONSTRAINT \"My fk\" FOREIGN KEY (id) "
     "REFERENCES o",
     "foreign-key-out", "\"My fk\""},
    {"CREATE TABLE r (t_id int REFERENCES t)", "foreign-key-in", "r_t_id_fkey of public.r"},
    {"ALTER TABLE t ADD up int REFERENCES t", "foreign-key-out", "t_up_fkey"},
    {"CREATE TABLE r (t_id int REFERENCES t) PARTITION BY LIST (t_id);"
     "CREATE TABLE r1 PARTITION OF r FOR VALUES IN (1)",
     "foreign-key-in", "of public.r references"},
    {"CREATE VIEW w AS SELECT id FROM t", "view", "public.w"},
    {"CREATE VIEW w AS SELECT NULL::t AS row", "view", "public.w"},
    {"CREATE MATERIALIZED VIEW m AS SELECT id FROM t", "materialized-view", "public.m"},
    {"CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING", "rule", "rule r on public.t"},
    {"CREATE TABLE o (id int); CREATE RULE r AS ON DELETE TO o DO ALSO DELETE FROM t", "rule",
     "rule r on public.o"},
    {"CREATE TRIGGER g AFTER INSERT ON t EXECUTE FUNCTION f()", "trigger", "trigger g"},
    {"CREATE CONSTRAINT TRIGGER g AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()", "trigger",
     "trigger g"},
    {"CREATE TABLE o (id int);"
     "CREATE CONSTRAINT TRIGGER g AFTER INSERT ON o FROM t FOR EACH ROW EXECUTE FUNCTION f()",
     "trigger", "public.o has the trigger g"},
    {"CREATE FUNCTION g(t) RETURNS int LANGUAGE sql AS 'SELECT 1'", "function-row-type",
     "public.g(public.t)"},
    {"CREATE FUNCTION g() RETURNS SETOF t LANGUAGE sql AS 'SELECT * FROM t'", "function-row-type",
     "public.g()"},
    {"CREATE FUNCTION g(t[]) RETURNS int LANGUAGE sql AS 'SELECT 1'", "function-row-type",
     "public.g(public.t[])"},
    {"CREATE FUNCTION g() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM t; END",
     "function-sql-body", "public.g()"},
    {"CREATE TABLE o (x t)", "column-row-type", "public.o.x"},
    {"CREATE TABLE o (x t[])", "column-row-type", "public.o.x"},
    {"CREATE TYPE o AS (x t)", "column-row-type", "public.o.x"},
    {"CREATE TABLE o (id int); CREATE POLICY p ON o USING (EXISTS (SELECT FROM t))",
     "policy-elsewhere", "policy p on public.o"},
    {"SET client_min_messages = error; CREATE PUBLICATION p FOR TABLE t", "publication",
     "publication p"},
    {"SET client_min_messages = error; CREATE PUBLICATION p FOR ALL TABLES", "publication-all",
     "publication p"},
    {"CREATE TABLE c () INHERITS (t)", "inherits-parent", "public.c inherits"},
    {"CREATE TABLE o (id int NOT NULL, v text); ALTER TABLE t INHERIT o", "inherits-child",
     "inherits from public.o"},
    {"ALTER TABLE t ADD alt int GENERATED ALWAYS AS IDENTITY; CREATE TABLE o (n int DEFAULT "
     "nextval('t_alt_seq'))",
     "unknown-dependent", "default value for column n of table public.o"},
    {"CREATE DOMAIN d AS t", "unknown-dependent", "type public.d"},
    {"CREATE CAST (t AS text) WITH INOUT", "unknown-dependent", "cast from public.t"},
    {"CREATE SEQUENCE x OWNED BY t.id; CREATE SEQUENCE y OWNED BY t.id; ALTER TABLE t ALTER id SET "
     "DEFAULT nextval('y')",
     "sequence-extra", "sequence public.x"},
    {"ALTER TABLE t ADD o oid DEFAULT 't'::regclass", "self-reference",
     "default value for column o"},
    {"ALTER TABLE t ADD CHECK (id <> 't'::regclass::int OR tableoid = 't'::regclass)",
     "self-reference", "t_check"},
    {"CREATE POLICY p ON t USING (id IN (SELECT id FROM t))", "self-reference", "policy p"},
    {"SET allow_system_table_mods = on;"
     "INSERT INTO pg_seclabel VALUES ('t'::regclass, 'pg_class'::regclass, 2, 'dummy', 'secret')",
     "security-label", "column v of table public.t"},
    {"ALTER EXTENSION plpgsql ADD TABLE t", "extension-owned", "extension plpgsql"},
    {"ALTER TABLE t SET UNLOGGED", "unlogged", "unlogged"},
    {"CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler; DROP TABLE t;"
     "CREATE TABLE t (id int PRIMARY KEY) USING heap2",
     "access-method", "heap2"},
    {"CREATE TYPE k AS (id int); DROP TABLE t; CREATE TABLE t OF k (PRIMARY KEY (id))",
     "typed-table", "public.k"},
    {"DROP TABLE t; CREATE TABLE p (id int PRIMARY KEY) PARTITION BY LIST (id);"
     "CREATE TABLE t PARTITION OF p FOR VALUES IN (1)",
     "partition", "partition of public.p"},
    {"DROP TABLE t; CREATE TABLE t (id int) PARTITION BY LIST (id)", "partitioned", "partitioned"},
    {"DROP TABLE t; CREATE VIEW t AS SELECT 1", "not-a-table", "a view"},
    {"DROP TABLE t; CREATE SEQUENCE t", "not-a-table", "a sequence"},
    {"DROP TABLE t; CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
     "CREATE FOREIGN TABLE t (id int) SERVER s",
     "not-a-table", "a foreign table"},
    {"ALTER TABLE t DROP CONSTRAINT t_pkey", "no-key", "there is no unique index"},
    {"ALTER TABLE t DROP CONSTRAINT t_pkey, ALTER id DROP NOT NULL, ADD UNIQUE (id)", "no-key",
     "column id of unique index t_id_key may be NULL"},
    {"ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id) DEFERRABLE", "no-key",
     "t_pkey is deferrable"},
    {"ALTER TABLE t DROP CONSTRAINT t_pkey; CREATE UNIQUE INDEX u ON t (id) WHERE id > 0", "no-key",
     "u is partial"},
    {"ALTER TABLE t DROP CONSTRAINT t_pkey; CREATE UNIQUE INDEX u ON t ((id + 1))", "no-key",
     "u is over an expression"},
    {"DROP TABLE t; CREATE TABLE t (id text COLLATE \"en-x-icu\" PRIMARY KEY);"
     "SET allow_system_table_mods = on;"
     "UPDATE pg_collation SET collversion = '0' WHERE collname = 'en-x-icu'",
     "key-collation-version", "column id"},
};

static void each_dependent_is_refused_by_name_and_alone(void)
{
    for (size_t i = 0; i < sizeof(SITUATIONS) / sizeof(SITUATIONS[0]); i++) {
        t_fresh_database();
        t_sql("CREATE TABLE t (id int PRIMARY KEY, v text);"
              "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'");
        expect_none_on(t_conninfo(), "t");
        t_sql(SITUATIONS[i].sql);
        only_refusal("t", SITUATIONS[i].code, SITUATIONS[i].what);
    }
}

static void a_publication_of_the_schema_is_refused_from_15_on(void)
{
    if (t_server_version() < 150000)
        t_skip("needs PostgreSQL 15");
    t_sql("SET client_min_messages = error; CREATE TABLE t (id int PRIMARY KEY);"
          "CREATE PUBLICATION p FOR TABLES IN SCHEMA public");
    follow(only_refusal("t", "publication-schema", "IN SCHEMA public"));
    expect_none_on(t_conninfo(), "t");
}

static void a_subscription_s_target_is_refused(void)
{
    t_sql("SET client_min_messages = error; SET allow_system_table_mods = on; CREATE TABLE t (id "
          "int PRIMARY KEY);"
          "CREATE SUBSCRIPTION s CONNECTION 'dbname=none' PUBLICATION p WITH (connect = false, "
          "slot_name = NONE)");
    t_sql("INSERT INTO pg_subscription_rel SELECT oid, 't'::regclass, 'r', NULL FROM "
          "pg_subscription WHERE subname = 's'");
    only_refusal("t", "subscription", "subscription s");
    t_sql("ALTER SUBSCRIPTION s DISABLE; DELETE FROM pg_subscription_rel");
    t_sql("DROP SUBSCRIPTION s");
}

static void catalogues_and_our_own_tables_are_refused(void)
{
    only_refusal("pg_catalog.pg_class", "system-table", "belongs to the server");
    t_sql("CREATE SCHEMA pghaul; CREATE TABLE pghaul.x (id int PRIMARY KEY)");
    only_refusal("pghaul.x", "own-schema", "belongs to pghaul");
}

static void a_temporary_table_is_refused(void)
{
    SESSION_AUTO *session = open_on(t_conninfo());
    struct findings findings = {0};
    struct arena arena = {0};
    struct error error;

    assert_true(session_run(session, "CREATE TEMPORARY TABLE t (id int PRIMARY KEY)", &error));
    if (!inspect_table(session, describe(session, "t", &arena), &findings, &error))
        t_fail("%s", error.message);
    assert_non_null(findings_by_code(&findings, "temporary"));
    findings_deinit(&findings);
    arena_deinit(&arena);
}

static void a_table_with_an_open_job_is_refused(void)
{
    t_sql("CREATE TABLE t (id int PRIMARY KEY); CREATE SCHEMA pghaul;"
          "CREATE TABLE pghaul.job (id bigint, name text, source_oid oid, state text,"
          "    table_schema text DEFAULT 'public', table_name text DEFAULT 'x', facts jsonb "
          "DEFAULT '{}');"
          "INSERT INTO pghaul.job VALUES (1, 'alter-t-1', 't'::regclass, 'finished'), (2, "
          "'alter-x-1', 1, 'running'),"
          "    (3, 'alter-t-2', 't'::regclass, 'aborted')");
    expect_none_on(t_conninfo(), "t");
    t_sql("INSERT INTO pghaul.job VALUES (4, 'alter-t-3', 't'::regclass, 'failed')");
    only_refusal("t", "job-open", "job alter-t-3");
}

/* -- privileges: the statement that is named is the one that helps -- */

static void each_missing_privilege_names_the_grant_that_helps(void)
{
    const char *joe;

    t_sql("DROP ROLE IF EXISTS joe; DROP ROLE IF EXISTS \"Ann\"; CREATE ROLE joe LOGIN; CREATE "
          "ROLE \"Ann\";"
          "CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO joe; CREATE TYPE s.e AS ENUM ('a');"
          "REVOKE USAGE ON TYPE s.e FROM PUBLIC; CREATE TABLE s.t (id s.e PRIMARY KEY);"
          "ALTER TABLE s.t OWNER TO \"Ann\"");
    t_sqlf("REVOKE ALL ON DATABASE \"%s\" FROM PUBLIC; GRANT CONNECT ON DATABASE \"%s\" TO joe",
           t_text("SELECT current_database()"), t_text("SELECT current_database()"));
    joe = t_conninfo_as("joe");
    for (int left = 6; left >= 0; left--) {
        struct findings findings;
        const char *todo = NULL;

        inspect_on(joe, "s.t", &findings);
        assert_int_equal(findings_count(&findings, FINDING_REFUSED), left);
        for (int i = 0; i < findings.count && todo == NULL; i++)
            if (findings.list[i].level == FINDING_REFUSED)
                todo = t_format("%s", findings.list[i].todo);
        findings_deinit(&findings);
        if (todo != NULL)
            follow(todo);
    }
    t_sql("ALTER TABLE s.t ENABLE ROW LEVEL SECURITY");
    expect_none_on(joe, "s.t");
    t_sql("ALTER TABLE s.t FORCE ROW LEVEL SECURITY");
    follow(only_refusal_on(joe, "s.t", "row-security", "applies to role joe"));
    expect_none_on(joe, "s.t");
    t_sql("CREATE SCHEMA pghaul");
    follow(only_refusal_on(joe, "s.t", "privilege-pghaul", "schema pghaul"));
    expect_none_on(joe, "s.t");
}

/* -- the server -- */

static void a_read_only_database_is_refused(void)
{
    t_sql("CREATE TABLE t (id int PRIMARY KEY)");
    t_sqlf("ALTER DATABASE \"%s\" SET default_transaction_read_only = on",
           t_text("SELECT current_database()"));
    only_refusal("t", "read-only", "read only");
}

static void a_standby_is_refused(void)
{
    SESSION_AUTO *session = open_on(sandbox_standby_conninfo(t_sandbox()));
    struct findings findings = {0};
    struct error error;

    if (!inspect_server(session, &findings, &error))
        t_fail("%s", error.message);
    assert_false(findings_refuse(&findings, "t", &error));
    assert_non_null(strstr(error.message, "standby"));
    findings_deinit(&findings);
}

/* -- warnings and notes -- */

static void what_may_trouble_a_job_is_a_warning(void)
{
    t_sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'a')");
    t_fails("CREATE UNIQUE INDEX CONCURRENTLY broken ON t (v)", "23505");
    expect_finding("t", "invalid-index", FINDING_WARNING, "public.broken");
    t_sql("CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
          "CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION e()");
    expect_finding("t", "event-trigger", FINDING_WARNING, "watch fires on ddl_command_end");
    t_sql("ALTER INDEX t_pkey DEPENDS ON EXTENSION plpgsql");
    expect_finding("t", "index-extension", FINDING_WARNING, "t_pkey");
}

static void a_prepared_transaction_on_the_table_is_a_warning(void)
{
    struct t_session *a = t_session("a");

    t_sql("CREATE TABLE t (id int PRIMARY KEY)");
    t_do(a, "BEGIN");
    t_do(a, "INSERT INTO t VALUES (1)");
    t_do(a, "PREPARE TRANSACTION 'it''s mine'");
    expect_finding("t", "prepared-transaction", FINDING_WARNING, "'it''s mine'");
    t_do(a, "ROLLBACK PREPARED 'it''s mine'");
}

static void a_vacuum_of_an_old_table_that_we_cannot_see_is_a_warning(void)
{
    struct t_session *vacuum = t_session("vacuum");
    struct findings findings;

    t_sql("DROP ROLE IF EXISTS nobody_much; CREATE ROLE nobody_much LOGIN; CREATE TABLE t (id int "
          "PRIMARY KEY);"
          "SET allow_system_table_mods = on; UPDATE pg_class SET relfrozenxid = '2' WHERE oid = "
          "'t'::regclass");
    t_do(vacuum, "BEGIN");
    t_do(vacuum, "LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE");
    inspect_on(t_conninfo_as("nobody_much"), "t", &findings);
    assert_non_null(findings_by_code(&findings, "wraparound-vacuum"));
    findings_deinit(&findings);
    inspect("t", &findings);
    assert_null(findings_by_code(&findings, "wraparound-vacuum"));
    findings_deinit(&findings);
    t_do(vacuum, "ROLLBACK");
}

static void what_is_good_to_know_is_a_note(void)
{
    t_sql("CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
          "CREATE TABLE t (id text COLLATE ci PRIMARY KEY, n int, CONSTRAINT \"No two\" EXCLUDE (n "
          "WITH =));"
          "ALTER TABLE t REPLICA IDENTITY FULL, ADD CONSTRAINT late CHECK (n > 0) NOT VALID");
    expect_finding("t", "collation-nondeterministic", FINDING_NOTE, "public.ci");
    expect_finding("t", "exclusion-constraint", FINDING_NOTE, "\"No two\"");
    expect_finding("t", "replica-identity-full", FINDING_NOTE, "public.t");
    expect_finding("t", "not-valid-constraint", FINDING_NOTE, "late");
    expect_finding("t", "small-table", FINDING_NOTE, "about 0 rows");
    t_sql("INSERT INTO t (id, n) SELECT i, i FROM generate_series(1, 12000) i");
    expect_finding("t", "never-analyzed", FINDING_NOTE, "never analyzed");
    t_sql("ANALYZE t");
    {
        struct findings findings;

        inspect("t", &findings);
        assert_null(findings_by_code(&findings, "small-table"));
        assert_null(findings_by_code(&findings, "never-analyzed"));
        findings_deinit(&findings);
    }
    t_sql("SELECT pg_create_logical_replication_slot('unit_inspect', 'pgoutput')");
    expect_finding("t", "logical-slot", FINDING_NOTE, "unit_inspect");
    t_sql("SELECT pg_drop_replication_slot('unit_inspect')");
}

static void columns_elsewhere_that_hold_the_id_are_noted(void)
{
    SESSION_AUTO *session = open_on(t_conninfo());
    struct findings findings = {0};
    struct arena arena = {0};
    const struct table *table;
    struct error error;
    TEXT_AUTO found = {0};

    t_sql("CREATE SCHEMA other; CREATE TABLE orders (id int PRIMARY KEY, order_id int);"
          "CREATE TABLE refunds (order_id int, orders_id bigint, reorder_id int);"
          "CREATE TABLE other.notes (\"orders_ID\" int) PARTITION BY LIST (\"orders_ID\");"
          "CREATE TABLE other.notes_1 PARTITION OF other.notes FOR VALUES IN (1);"
          "CREATE VIEW v AS SELECT order_id FROM refunds");
    table = describe(session, "orders", &arena);
    if (!inspect_related_ids(session, table, table_column_by_name(table, "id"), &findings, &error))
        t_fail("%s", error.message);
    for (int i = 0; i < findings.count; i++)
        text_appendf(&found, "%s%s", i > 0 ? ", " : "", findings.list[i].what);
    assert_string_equal(text_string(&found),
                        "refunds.order_id still holds this id as integer, "
                        "other.notes.\"orders_ID\" still holds this id as integer");
    findings_deinit(&findings);
    arena_deinit(&arena);
}

static void many_refusals_are_all_named_as_far_as_there_is_room(void)
{
    struct findings findings;
    struct error error;

    t_sql("CREATE TABLE t (id int PRIMARY KEY); CREATE VIEW w1 AS SELECT * FROM t; CREATE VIEW w2 "
          "AS SELECT * FROM t");
    inspect("t", &findings);
    assert_false(findings_refuse(&findings, "t", &error));
    assert_string_equal(error.message, "2 things are in the way of a job on t");
    assert_non_null(strstr(error.detail, "view public.w1"));
    assert_non_null(strstr(error.detail, "view public.w2"));
    findings_deinit(&findings);
    t_sql("DO 'BEGIN FOR i IN 3..100 LOOP EXECUTE format(''CREATE VIEW w%s AS SELECT * FROM t'', "
          "i); END LOOP; END'");
    inspect("t", &findings);
    assert_false(findings_refuse(&findings, "t", &error));
    assert_string_equal(error.message, "100 things are in the way of a job on t");
    assert_non_null(strstr(error.detail, "\nand "));
    findings_deinit(&findings);
}

/* -- table_find -- */

static void a_table_that_is_elsewhere_is_named_in_the_hint(void)
{
    SESSION_AUTO *session = open_on(t_conninfo());
    struct error error;
    uint32_t oid;

    t_sql("CREATE SCHEMA \"S x\"; CREATE TABLE \"S x\".\"Orders\" (id int); CREATE TABLE "
          "public.plain (id int)");
    assert_false(table_find(session, "orders", "public", &oid, &error));
    assert_int_equal(error.code, ERROR_REFUSED);
    assert_string_equal(error.hint, "there is \"S x\".\"Orders\"");
    assert_true(table_find(session, "\"S x\".\"Orders\"", "public", &oid, &error));
    assert_true(table_find(session, "\"Orders\"", "\"S x\", public", &oid, &error));
    assert_false(table_find(session, "a b", "public", &oid, &error));
    assert_int_equal(error.code, ERROR_REFUSED);
    assert_false(table_find(session, "nowhere.plain", "public", &oid, &error));
    assert_string_equal(error.hint, "there is public.plain");
}

int main(void)
{
    static const char *const settings[] = {"wal_level = logical", "max_prepared_transactions = 5",
                                           NULL};
    const struct CMUnitTest tests[] = {
        t_test(what_a_job_carries_is_not_refused),
        t_test(our_own_triggers_and_schema_are_not_in_the_way),
        t_test(a_trigger_that_only_looks_like_ours_is_refused),
        t_test(each_dependent_is_refused_by_name_and_alone),
        t_test(a_publication_of_the_schema_is_refused_from_15_on),
        t_test(a_subscription_s_target_is_refused),
        t_test(catalogues_and_our_own_tables_are_refused),
        t_test(a_temporary_table_is_refused),
        t_test(a_table_with_an_open_job_is_refused),
        t_test(each_missing_privilege_names_the_grant_that_helps),
        t_test(a_read_only_database_is_refused),
        t_test(a_standby_is_refused),
        t_test(what_may_trouble_a_job_is_a_warning),
        t_test(a_prepared_transaction_on_the_table_is_a_warning),
        t_test(a_vacuum_of_an_old_table_that_we_cannot_see_is_a_warning),
        t_test(what_is_good_to_know_is_a_note),
        t_test(columns_elsewhere_that_hold_the_id_are_noted),
        t_test(many_refusals_are_all_named_as_far_as_there_is_room),
        t_test(a_table_that_is_elsewhere_is_named_in_the_hint),
    };

    t_sandbox_options.settings = settings;
    t_sandbox_options.standby = true;
    return T_MAIN(tests);
}
