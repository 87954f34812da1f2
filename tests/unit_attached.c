/*
 * What is attached to a table travels with it, the gate finds each single loss, and sequences never
 * issue a value twice.
 */
#include "tests/harness.h"

#include <stdio.h>
#include <string.h>

#include "copy/attached.h"
#include "copy/sequence.h"
#include "engine/job/schema.h"
#include "engine/pg/session.h"

/* ------------------------------------------------------------------------------------- fixture */

/* Everything at once, on a table with a dropped column in the middle. */
static const char SOURCE[] =
    "GRANT CREATE ON SCHEMA public TO \"Own\"\"er\", alice;\n"
    "CREATE SCHEMA pghaul;\n"
    "CREATE TABLE tenant (id int PRIMARY KEY, role name);\n"
    "CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY, gone int, customer int NOT NULL, "
    "note text,\n"
    "    state text COLLATE \"C\" DEFAULT 'new', total numeric(12,2), twice numeric GENERATED "
    "ALWAYS AS (total * 2) STORED,\n"
    "    serial_no serial,\n"
    "    CONSTRAINT orders_pkey PRIMARY KEY (id), CONSTRAINT \"Total ok\" CHECK (total > 0));\n"
    "ALTER TABLE orders DROP COLUMN gone;\n"
    "ALTER TABLE orders ADD CONSTRAINT later CHECK (customer > 0) NOT VALID;\n"
    "ALTER TABLE orders ADD CONSTRAINT once UNIQUE (customer, state) DEFERRABLE INITIALLY "
    "DEFERRED;\n"
    "CREATE UNIQUE INDEX orders_serial ON orders (serial_no) WITH (fillfactor = 80);\n"
    "CREATE INDEX orders_lower ON orders (lower(note)) WHERE total > 5;\n"
    "ALTER INDEX orders_lower ALTER COLUMN 1 SET STATISTICS 77;\n"
    "ALTER TABLE orders ALTER serial_no SET NOT NULL;\n"
    "ALTER TABLE orders SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, "
    "toast.autovacuum_enabled = off);\n"
    "ALTER TABLE orders ALTER note SET STORAGE EXTERNAL, ALTER note SET COMPRESSION pglz,\n"
    "    ALTER note SET STATISTICS 500, ALTER customer SET (n_distinct = -0.5, "
    "n_distinct_inherited = 3);\n"
    "ALTER TABLE orders CLUSTER ON orders_serial;\n"
    "ALTER TABLE orders REPLICA IDENTITY USING INDEX orders_serial;\n"
    "CREATE STATISTICS orders_stat (ndistinct, mcv) ON customer, state, (lower(note)) FROM "
    "orders;\n"
    "CREATE STATISTICS orders_expression ON (total + 1) FROM orders;\n"
    "ALTER STATISTICS orders_stat SET STATISTICS 123; ALTER STATISTICS orders_stat OWNER TO "
    "alice;\n"
    "COMMENT ON STATISTICS orders_stat IS 'it''s correlated';\n"
    "COMMENT ON TABLE orders IS 'the {orders}'; COMMENT ON COLUMN orders.note IS 'free \"text\"';\n"
    "COMMENT ON CONSTRAINT \"Total ok\" ON orders IS 'positive'; COMMENT ON CONSTRAINT orders_pkey "
    "ON orders IS 'key';\n"
    "COMMENT ON CONSTRAINT later ON orders IS 'one day'; COMMENT ON CONSTRAINT once ON orders IS "
    "'in the end';\n"
    "COMMENT ON INDEX orders_lower IS 'search';\n"
    "ALTER TABLE orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;\n"
    "CREATE POLICY own ON orders AS RESTRICTIVE FOR UPDATE TO alice, bob USING (state <> "
    "'orders.x')\n"
    "    WITH CHECK (total < 100);\n"
    "CREATE POLICY \"by tenant\" ON orders USING (EXISTS (SELECT FROM tenant t WHERE t.id = "
    "orders.customer\n"
    "                                                                   AND t.role = "
    "current_user));\n"
    "COMMENT ON POLICY own ON orders IS 'who';\n"
    "ALTER TABLE orders OWNER TO \"Own\"\"er\";\n"
    "GRANT SELECT, UPDATE ON orders TO alice WITH GRANT OPTION; GRANT INSERT ON orders TO PUBLIC;\n"
    "GRANT SELECT (note), UPDATE (total, state) ON orders TO bob;\n"
    "GRANT REFERENCES (id) ON orders TO carol WITH GRANT OPTION;\n"
    "REVOKE TRUNCATE ON orders FROM \"Own\"\"er\";\n"
    "SET ROLE alice; GRANT SELECT ON orders TO carol; GRANT UPDATE (note) ON orders TO carol; "
    "RESET ROLE;\n"
    "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO bob;\n"
    "ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO bob;\n";

/* Roles live longer than the database of a test. */
static const char ROLES[] =
    "DO $$ DECLARE r name; BEGIN\n"
    "    FOR r IN SELECT unnest('{alice,bob,carol,team,job,\"Own\\\"er\"}'::name[]) EXCEPT SELECT "
    "rolname FROM pg_roles\n"
    "    LOOP\n"
    "        EXECUTE format('CREATE ROLE %I LOGIN', r);\n"
    "    END LOOP;\n"
    "END $$;\n"
    "GRANT team TO job";

static const char SHADOW[] =
    "CREATE TABLE pghaul.orders_7 (LIKE public.orders INCLUDING ALL EXCLUDING INDEXES EXCLUDING "
    "IDENTITY\n"
    "                              EXCLUDING STATISTICS);\n"
    "ALTER TABLE pghaul.orders_7 DROP CONSTRAINT IF EXISTS later;\n"
    "CREATE UNIQUE INDEX orders_pkey ON pghaul.orders_7 (id);\n"
    "ALTER TABLE pghaul.orders_7 ADD CONSTRAINT orders_pkey PRIMARY KEY USING INDEX orders_pkey;\n"
    "CREATE UNIQUE INDEX once ON pghaul.orders_7 (customer, state);\n"
    "CREATE UNIQUE INDEX orders_serial ON pghaul.orders_7 (serial_no) WITH (fillfactor = 80);\n"
    "CREATE INDEX orders_lower ON pghaul.orders_7 (lower(note)) WHERE total > 5;\n";

enum { LEFT_OUT = ATTACHED_IDENTITY | ATTACHED_NOT_VALID | ATTACHED_DEFERRABLE };

static struct session *open_session(const char *conninfo)
{
    struct session_options options = {.conninfo = conninfo, .application_name = "pghaul test"};
    struct session *session;
    struct error error = {0};

    if (!session_open(&session, &options, &error))
        t_fail("%s", error.message);
    return session;
}

static void must(bool ok, const struct error *error)
{
    if (!ok)
        t_fail("%s (%s) %s", error->message, error->detail, error->hint);
}

static void run(struct session *session, const char *sql)
{
    struct error error = {0};

    must(session_run(session, sql, &error), &error);
}

static uint32_t oid_of(const char *table)
{
    TEXT_AUTO literal = {0};

    sql_append(&literal, sql_literal(table));
    return (uint32_t)t_int(t_format("SELECT %s::regclass::oid::int8", text_string(&literal)));
}

static const char *differences(struct session *session, uint32_t from, uint32_t to,
                               unsigned left_out)
{
    TEXT_AUTO text = {0};
    struct error error = {0};

    must(attached_compare(session, from, to, left_out, &text, &error), &error);
    return t_format("%s", text_string(&text));
}

static const char *fingerprint(struct session *session, uint32_t oid)
{
    char digest[33];
    struct error error = {0};

    must(attached_fingerprint(session, oid, digest, &error), &error);
    return t_format("%s", digest);
}

/* Source and shadow, copied. */
static struct session *copied(uint32_t *from, uint32_t *to)
{
    struct session *session;
    struct error error = {0};

    t_sql(ROLES);
    t_sql(SOURCE);
    t_sql(SHADOW);
    *from = oid_of("public.orders");
    *to = oid_of("pghaul.orders_7");
    session = open_session(t_conninfo());
    must(attached_copy(session, *from, *to, &error), &error);
    return session;
}

/* -------------------------------------------------------------------------------------- attached
 */

/* How many rows of a query on the source and on the shadow are not the same. */
#define OTHER_THAN_THE_SOURCE(query)                                               \
    "SELECT count(*) FROM ((" query " 'public.orders'::regclass EXCEPT ALL " query \
    " 'pghaul.orders_7'::regclass)\n"                                              \
    "UNION ALL (" query " 'pghaul.orders_7'::regclass EXCEPT ALL " query           \
    " 'public.orders'::regclass)) d"

static void everything_attached_travels_and_the_gate_finds_nothing(void)
{
    uint32_t from, to;
    SESSION_AUTO *session = copied(&from, &to);

    assert_string_equal(differences(session, from, to, LEFT_OUT), "");
    /* The oracle of this one is not the gate. */
    t_expect(OTHER_THAN_THE_SOURCE("SELECT unnest(relacl)::text FROM pg_class WHERE oid ="), "0");
    t_expect(OTHER_THAN_THE_SOURCE(
                 "SELECT concat_ws(' ', relowner, relreplident, reloptions, relrowsecurity,\n"
                 "    relforcerowsecurity) FROM pg_class WHERE oid ="),
             "0");
    t_expect(
        OTHER_THAN_THE_SOURCE("SELECT format('%s %s', attname, unnest(attacl)) FROM pg_attribute\n"
                              " WHERE attrelid ="),
        "0");
    t_expect("SELECT attoptions @> '{n_distinct=-0.5,n_distinct_inherited=3}' FROM pg_attribute\n"
             " WHERE attrelid = 'pghaul.orders_7'::regclass AND attname = 'customer'",
             "t");
    t_expect("SELECT has_schema_privilege('alice', 'pghaul', 'USAGE')", "f");
}

static void copying_twice_changes_nothing(void)
{
    uint32_t from, to;
    SESSION_AUTO *session = copied(&from, &to);
    struct error error = {0};

    must(attached_copy(session, from, to, &error), &error);
    assert_string_equal(differences(session, from, to, LEFT_OUT), "");
}

static void what_is_left_for_the_swap_is_found_when_it_is_not_left_out(void)
{
    uint32_t from, to;
    SESSION_AUTO *session = copied(&from, &to);

    assert_string_equal(
        differences(session, from, to, 0),
        "- identity of column id: a\n"
        "- comment of constraint later: one day\n"
        "- definition of constraint later: CHECK ((customer > 0)) NOT VALID\n"
        "- comment of constraint once: in the end\n"
        "- definition of constraint once: UNIQUE (customer, state) DEFERRABLE INITIALLY DEFERRED\n"
        "- immediate of index once: no\n");
}

static const struct {
    const char *damage;
    const char *found;
    const char *found_18; /* the same since 18, where NOT NULL is a constraint; NULL: no other */
} LOSSES[] = {
    {"ALTER TABLE pghaul.orders_7 OWNER TO postgres", NULL}, /* rewrites every grant */
    {"REVOKE INSERT ON pghaul.orders_7 FROM PUBLIC",
     "- grant: INSERT to public by \"Own\"\"er\"\n"},
    {"REVOKE GRANT OPTION FOR UPDATE ON pghaul.orders_7 FROM alice CASCADE",
     "- grant: UPDATE with grant option to alice by \"Own\"\"er\"\n"
     "+ grant: UPDATE to alice by \"Own\"\"er\"\n"},
    {"REVOKE SELECT (note) ON pghaul.orders_7 FROM bob",
     "- grant of column note: SELECT to bob by \"Own\"\"er\"\n"},
    {"GRANT TRUNCATE ON pghaul.orders_7 TO \"Own\"\"er\"",
     "+ grant: TRUNCATE to \"Own\"\"er\" by \"Own\"\"er\"\n"},
    {"ALTER TABLE pghaul.orders_7 DISABLE ROW LEVEL SECURITY", "- row security: enabled\n"},
    {"ALTER TABLE pghaul.orders_7 NO FORCE ROW LEVEL SECURITY",
     "- row security for the owner: forced\n"},
    {"ALTER POLICY own ON pghaul.orders_7 USING (true)",
     "- using of policy own: (state <> '<table>.x'::text)\n+ using of policy own: true\n"},
    {"ALTER POLICY own ON pghaul.orders_7 WITH CHECK (total < 101)",
     "- with check of policy own: (total < (100)::numeric)\n+ with check of policy own: (total < "
     "(101)::numeric)\n"},
    {"ALTER POLICY own ON pghaul.orders_7 TO bob",
     "- definition of policy own: restrictive for update to alice, bob\n"
     "+ definition of policy own: restrictive for update to bob\n"},
    {"ALTER POLICY \"by tenant\" ON pghaul.orders_7 USING (EXISTS (SELECT FROM public.tenant t\n"
     "    WHERE t.id = orders_7.customer AND t.role = session_user))",
     NULL},
    {"COMMENT ON POLICY own ON pghaul.orders_7 IS NULL", "- comment of policy own: who\n"},
    {"DROP POLICY \"by tenant\" ON pghaul.orders_7", NULL},
    {"COMMENT ON TABLE pghaul.orders_7 IS NULL", "- comment: the {orders}\n"},
    {"COMMENT ON COLUMN pghaul.orders_7.note IS NULL", "- comment of column note: free \"text\"\n"},
    {"COMMENT ON CONSTRAINT \"Total ok\" ON pghaul.orders_7 IS NULL",
     "- comment of constraint \"Total ok\": positive\n"},
    {"COMMENT ON CONSTRAINT orders_pkey ON pghaul.orders_7 IS NULL",
     "- comment of constraint orders_pkey: key\n"},
    {"COMMENT ON INDEX pghaul.orders_lower IS NULL", "- comment of index orders_lower: search\n"},
    {"ALTER TABLE pghaul.orders_7 RESET (fillfactor)", "- storage parameter: fillfactor=70\n"},
    {"ALTER TABLE pghaul.orders_7 RESET (toast.autovacuum_enabled)",
     "- storage parameter: toast.autovacuum_enabled=off\n"},
    {"ALTER TABLE pghaul.orders_7 ALTER note SET STORAGE MAIN",
     "- storage of column note: e\n+ storage of column note: m\n"},
    {"ALTER TABLE pghaul.orders_7 ALTER note SET COMPRESSION DEFAULT",
     "- compression of column note: p\n"},
    {"ALTER TABLE pghaul.orders_7 ALTER note SET STATISTICS -1",
     "- statistics target of column note: 500\n"},
    {"ALTER TABLE pghaul.orders_7 ALTER customer RESET (n_distinct)",
     "- option of column customer: n_distinct=-0.5\n"},
    {"ALTER TABLE pghaul.orders_7 ALTER customer DROP NOT NULL",
     "- not null of column customer: yes\n",
     "- not null of column customer: yes\n"
     "- definition of constraint orders_customer_not_null: NOT NULL customer\n"},
    {"ALTER TABLE pghaul.orders_7 ALTER state DROP DEFAULT",
     "- default of column state: 'new'::text\n"},
    {"ALTER TABLE pghaul.orders_7 ALTER twice DROP EXPRESSION",
     "- generated of column twice: s (total * (2)::numeric)\n"},
    {"ALTER TABLE pghaul.orders_7 DROP CONSTRAINT \"Total ok\"", NULL},
    {"ALTER INDEX pghaul.orders_lower ALTER COLUMN 1 SET STATISTICS -1",
     "- statistics target of index orders_lower: 77 of its column 1\n"},
    {"ALTER TABLE pghaul.orders_7 SET WITHOUT CLUSTER",
     "- clustered of index orders_serial: yes\n"},
    {"ALTER TABLE pghaul.orders_7 REPLICA IDENTITY DEFAULT",
     "- replica identity: index orders_serial\n"},
    {"ALTER INDEX pghaul.orders_serial RESET (fillfactor)", NULL},
    {"DROP INDEX pghaul.orders_lower", NULL},
    {"ALTER TABLE pghaul.orders_7 DROP CONSTRAINT orders_pkey", NULL},
    {"DO $$ BEGIN EXECUTE format('DROP STATISTICS pghaul.stat_%s', (SELECT oid FROM "
     "pg_statistic_ext\n"
     "    WHERE stxname = 'orders_expression')); END $$",
     NULL},
    {"DO $$ BEGIN EXECUTE format('ALTER STATISTICS pghaul.stat_%s SET STATISTICS -1', (SELECT oid\n"
     "    FROM pg_statistic_ext WHERE stxname = 'orders_stat')); END $$",
     "- statistics target of statistics public.orders_stat: 123\n"},
    {"DO $$ BEGIN EXECUTE format('COMMENT ON STATISTICS pghaul.stat_%s IS NULL', (SELECT oid\n"
     "    FROM pg_statistic_ext WHERE stxname = 'orders_stat')); END $$",
     "- comment of statistics public.orders_stat: it's correlated\n"},
    {"DO $$ BEGIN EXECUTE format('ALTER STATISTICS pghaul.stat_%s OWNER TO postgres', (SELECT oid\n"
     "    FROM pg_statistic_ext WHERE stxname = 'orders_stat')); END $$",
     "- owner of statistics public.orders_stat: alice\n+ owner of statistics public.orders_stat: "
     "postgres\n"},
    {"ALTER TABLE pghaul.orders_7 ALTER serial_no TYPE bigint", NULL},
    {"ALTER TABLE pghaul.orders_7 SET UNLOGGED", "- persistence: p\n+ persistence: u\n"},
};

static void the_gate_finds_every_single_loss(void)
{
    uint32_t from, to;
    SESSION_AUTO *session = copied(&from, &to);

    for (size_t i = 0; i < sizeof(LOSSES) / sizeof(LOSSES[0]); i++) {
        bool other = LOSSES[i].found_18 != NULL && t_server_version() >= 180000;
        const char *expected = other ? LOSSES[i].found_18 : LOSSES[i].found;
        const char *found;

        run(session, "BEGIN; SET LOCAL client_min_messages = error");
        run(session, LOSSES[i].damage);
        found = differences(session, from, to, LEFT_OUT);
        if (found[0] == '\0')
            t_fail("not found: %s", LOSSES[i].damage);
        if (expected != NULL && strcmp(found, expected) != 0)
            print_message("%s\n  found:\n%s  expected:\n%s", LOSSES[i].damage, found, expected);
        if (expected != NULL)
            assert_string_equal(found, expected);
        run(session, "ROLLBACK");
    }
    assert_string_equal(differences(session, from, to, LEFT_OUT), "");
}

static void what_hangs_on_indexes_survives_making_them_again(void)
{
    uint32_t from, to;
    SESSION_AUTO *session = copied(&from, &to);
    struct error error = {0};
    TEXT_AUTO sql = {0};

    must(attached_index_sql(session, to, to, &sql, &error), &error);
    run(session,
        "BEGIN; ALTER TABLE pghaul.orders_7 DROP CONSTRAINT orders_pkey;\n"
        "DROP INDEX pghaul.orders_serial, pghaul.orders_lower;\n"
        "ALTER TABLE pghaul.orders_7 ADD CONSTRAINT orders_pkey PRIMARY KEY (id);\n"
        "CREATE UNIQUE INDEX orders_serial ON pghaul.orders_7 (serial_no) WITH (fillfactor = 80);\n"
        "CREATE INDEX orders_lower ON pghaul.orders_7 (lower(note)) WHERE total > 5; COMMIT");
    assert_string_not_equal(differences(session, from, to, LEFT_OUT), "");
    must(session_run_text(session, &sql, &error), &error);
    assert_string_equal(differences(session, from, to, LEFT_OUT), "");
}

/* The renames of a swap; statistics and owed comments as the job would do them. */
static void statistics_and_comments_are_right_after_the_swap_and_after_the_way_back(void)
{
    uint32_t from, to;
    SESSION_AUTO *session = copied(&from, &to);
    const char *before =
        t_rows("SELECT stxrelid::regclass, stxnamespace::regnamespace, stxname, stxkind::text,\n"
               "       stxowner::regrole FROM pg_statistic_ext\n"
               " WHERE stxnamespace = 'public'::regnamespace ORDER BY stxname");
    struct error error = {0};
    TEXT_AUTO sql = {0};

    must(attached_statistics_sql(session, from, to, &sql, &error), &error);
    text_append(
        &sql, "ALTER INDEX public.orders_pkey RENAME TO o1; ALTER INDEX public.once RENAME TO o2;\n"
              "ALTER INDEX public.orders_serial RENAME TO o3; ALTER INDEX public.orders_lower "
              "RENAME TO o4;\n"
              "ALTER TABLE public.orders RENAME TO orders_7_old; ALTER TABLE public.orders_7_old "
              "SET SCHEMA pghaul;\n"
              "ALTER TABLE pghaul.orders_7 SET SCHEMA public; ALTER TABLE public.orders_7 RENAME "
              "TO orders;\n"
              "ALTER TABLE public.orders ADD CONSTRAINT later CHECK (customer > 0) NOT VALID;\n"
              "ALTER TABLE public.orders ADD CONSTRAINT once UNIQUE USING INDEX once\n"
              "    DEFERRABLE INITIALLY DEFERRED;\n");
    must(attached_owed_sql(session, from, to, sql_table("public", "orders"), &sql, &error), &error);
    run(session, "BEGIN");
    must(session_run_text(session, &sql, &error), &error);
    run(session, "COMMIT");
    assert_string_equal(
        t_rows("SELECT stxrelid::regclass, stxnamespace::regnamespace, stxname, stxkind::text,\n"
               "       stxowner::regrole FROM pg_statistic_ext\n"
               " WHERE stxnamespace = 'public'::regnamespace ORDER BY stxname"),
        before);
    t_expect("SELECT string_agg(obj_description(oid, 'pg_constraint'), ', ' ORDER BY conname) FROM "
             "pg_constraint\n"
             " WHERE conrelid = 'orders'::regclass AND conname IN ('later', 'once')",
             "one day, in the end");

    text_clear(&sql);
    must(attached_statistics_sql(session, to, from, &sql, &error), &error);
    run(session, "BEGIN");
    must(session_run_text(session, &sql, &error), &error);
    run(session, "ALTER TABLE public.orders SET SCHEMA pghaul; ALTER TABLE pghaul.orders_7_old SET "
                 "SCHEMA public;\n"
                 "ALTER TABLE pghaul.orders RENAME TO orders_7; ALTER TABLE public.orders_7_old "
                 "RENAME TO orders; COMMIT");
    assert_string_equal(
        t_rows("SELECT stxrelid::regclass, stxnamespace::regnamespace, stxname, stxkind::text,\n"
               "       stxowner::regrole FROM pg_statistic_ext\n"
               " WHERE stxnamespace = 'public'::regnamespace ORDER BY stxname"),
        before);
}

static void a_policy_that_reads_its_own_table_is_refused(void)
{
    SESSION_AUTO *session = NULL;
    struct error error = {0};

    t_sql("CREATE SCHEMA pghaul; CREATE TABLE t (id int, v int); CREATE TABLE pghaul.t_1 (LIKE t)");
    session = open_session(t_conninfo());
    t_sql("CREATE POLICY peers ON t USING (id IN (SELECT o.v FROM t o))");
    assert_false(attached_copy(session, oid_of("t"), oid_of("pghaul.t_1"), &error));
    assert_int_equal(error.code, ERROR_REFUSED);
    assert_non_null(strstr(error.message, "policy peers refers to its own table"));
    t_sql(
        "DROP POLICY peers ON t; CREATE FUNCTION f(t) RETURNS bool LANGUAGE sql AS 'SELECT true'");
    t_sql("CREATE POLICY whole ON t USING (f(t))");
    assert_false(attached_copy(session, oid_of("t"), oid_of("pghaul.t_1"), &error));
    assert_int_equal(error.code, ERROR_REFUSED);
    t_sql("DROP POLICY whole ON t");
    must(attached_copy(session, oid_of("t"), oid_of("pghaul.t_1"), &error), &error);
}

/* A table of a group, worked on by a plain member of the group. */
static void a_job_that_is_no_superuser_can_do_it_for_a_group(void)
{
    SESSION_AUTO *session = NULL;
    struct error error = {0};

    t_sql(ROLES);
    t_sql("CREATE SCHEMA pghaul AUTHORIZATION job; CREATE TABLE t (id int PRIMARY KEY, v int);\n"
          "CREATE STATISTICS s ON id, v FROM t; ALTER STATISTICS s OWNER TO team;\n"
          "ALTER TABLE t OWNER TO team; GRANT SELECT ON t TO bob, job");
    session = open_session(t_conninfo_as("job"));
    run(session, "CREATE TABLE pghaul.t_1 (LIKE public.t);\n"
                 "ALTER TABLE pghaul.t_1 ADD CONSTRAINT t_pkey PRIMARY KEY (id)");
    must(attached_copy(session, oid_of("t"), oid_of("pghaul.t_1"), &error), &error);
    assert_string_equal(differences(session, oid_of("t"), oid_of("pghaul.t_1"), 0), "");
    t_expect("SELECT has_schema_privilege('team', 'pghaul', 'CREATE')", "f");
}

/* ----------------------------------------------------------------------------------- fingerprint
 */

static const char *const CHANGES[] = {
    "GRANT DELETE ON orders TO bob",
    "ALTER TABLE orders ADD COLUMN more int",
    "ALTER TABLE orders RENAME note TO notes",
    "ALTER TABLE orders DROP COLUMN note CASCADE",
    "CREATE INDEX more ON orders (total)",
    "COMMENT ON COLUMN orders.state IS 'x'",
    "ALTER TABLE orders VALIDATE CONSTRAINT later",
    "CREATE VIEW v AS SELECT id FROM orders",
    "CREATE RULE r AS ON INSERT TO orders DO NOTHING",
    ("CREATE TRIGGER t BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION "
     "suppress_redundant_updates_trigger()"),
    "CREATE TABLE refund (order_id int REFERENCES orders)",
    "ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES tenant NOT VALID",
    "CREATE TABLE child () INHERITS (orders)",
    "CREATE PUBLICATION p FOR TABLE orders (id, serial_no)",
    "CREATE PUBLICATION p FOR ALL TABLES",
    "CREATE PUBLICATION p FOR TABLES IN SCHEMA public",
    "CREATE FUNCTION f(orders) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TABLE pair (o orders)",
    "CREATE TABLE pairs (o orders[])",
    "CREATE POLICY reads ON tenant USING (id IN (SELECT customer FROM orders))",
    "ALTER SEQUENCE orders_id_seq INCREMENT 2",
    "ALTER SEQUENCE orders_serial_no_seq OWNED BY NONE",
    "DROP TABLE pghaul.orders_7; ALTER TABLE orders SET SCHEMA pghaul",
    "ALTER TABLE orders ALTER id SET GENERATED BY DEFAULT",
};

static void the_fingerprint_changes_with_whatever_is_attached(void)
{
    uint32_t from, to;
    SESSION_AUTO *session = copied(&from, &to);
    const char *before = fingerprint(session, from);

    assert_int_equal(strlen(before), 32);
    for (size_t i = 0; i < sizeof(CHANGES) / sizeof(CHANGES[0]); i++) {
        if (t_server_version() < 150000 && strstr(CHANGES[i], "PUBLICATION") != NULL && i != 14)
            continue;
        run(session,
            "BEGIN; SET LOCAL search_path = public; SET LOCAL client_min_messages = error");
        run(session, CHANGES[i]);
        run(session, "SET LOCAL search_path = pg_catalog");
        if (strcmp(fingerprint(session, from), before) == 0)
            t_fail("the same after: %s", CHANGES[i]);
        run(session, "ROLLBACK");
    }
    assert_string_equal(fingerprint(session, from), before);
}

static void the_fingerprint_stays_when_nothing_of_the_users_changed(void)
{
    uint32_t from, to;
    SESSION_AUTO *session = copied(&from, &to);
    const char *before = fingerprint(session, from);

    t_sql("INSERT INTO orders (customer, total) SELECT g, 1 FROM generate_series(1, 100) g");
    t_sql("ANALYZE orders");
    t_sql("VACUUM orders");
    t_sql("REINDEX TABLE CONCURRENTLY orders");
    t_sql(
        "CREATE FUNCTION pghaul.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';\n"
        "CREATE TRIGGER pghaul AFTER INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION "
        "pghaul.f()");
    t_sql("DROP TABLE pghaul.orders_7");
    assert_string_equal(fingerprint(session, from), before);
}

/* ------------------------------------------------------------------------------------- sequences
 */

/* What a rollback gives back is remembered with the job. */
static void make_ours(void)
{
    struct error error = {0};
    SESSION_AUTO *session = open_session(t_conninfo());

    must(schema_ensure(session, &error), &error);
}

static void begin_job(void)
{
    t_sql("INSERT INTO pghaul.job (name, kind, table_schema, table_name, source_oid, state, spec,\n"
          "    plan, settings, meaning, program_version)\n"
          "VALUES ('job', 'alter', 'public', 't', 't'::regclass, 'ready', '{}', '{}', '{}', '{}', "
          "'')");
}

/* Renames as the job makes them, then the SQL of the plan. Names are literals of SQL, as given to
 * CREATE TABLE. */
struct swap {
    struct session *session;
    const char *table;  /* the name to have */
    const char *parked; /* the name in schema pghaul of the one that leaves */
    const char *shadow; /* the name in schema pghaul of the one that arrives */
};

static const char *quoted(const char *name)
{
    TEXT_AUTO text = {0};

    sql_append(&text, sql_ident(name));
    return t_format("%s", text_string(&text));
}

static void begin_swap(const struct swap *swap, const struct sequence_pair *pairs, int count)
{
    struct arena arena = {0};
    struct sequence_plan *plan;
    struct error error = {0};
    TEXT_AUTO sql = {0};

    must(sequence_plan(swap->session, oid_of(t_format("public.%s", quoted(swap->table))),
                       oid_of(t_format("pghaul.%s", quoted(swap->shadow))), pairs, count, &arena,
                       &plan, &error),
         &error);
    sql_expand(&sql,
               "BEGIN; SET LOCAL lock_timeout = 0; LOCK TABLE public.{table};\n"
               "ALTER TABLE public.{table} RENAME TO {parked}; ALTER TABLE public.{parked} SET "
               "SCHEMA pghaul;\n"
               "ALTER TABLE pghaul.{shadow} SET SCHEMA public; ALTER TABLE public.{shadow} RENAME "
               "TO {table};\n",
               SQL_NAMES({"table", sql_ident(swap->table)}, {"parked", sql_ident(swap->parked)},
                         {"shadow", sql_ident(swap->shadow)}));
    sequence_swap_sql(plan, &(struct sequence_names){"pghaul", swap->parked, "public", swap->table},
                      &sql);
    must(session_run_text(swap->session, &sql, &error), &error);
    arena_deinit(&arena);
}

static void do_swap(const struct swap *swap, const struct sequence_pair *pairs, int count)
{
    begin_swap(swap, pairs, count);
    run(swap->session, "COMMIT");
}

/* Draws values through inserts and notes them in table issued, whose primary key objects to a
 * second time. */
static void draw(const char *table, const char *column, int count)
{
    for (int i = 0; i < count; i++)
        t_sqlf("WITH new AS (INSERT INTO %s (v) VALUES (1) RETURNING %s AS n) INSERT INTO issued "
               "SELECT n FROM new",
               table, column);
}

static void expect_sequence(const char *name, const char *expected)
{
    t_expect(t_format("SELECT concat_ws(' ', data_type, start_value, min_value, max_value) FROM "
                      "pg_sequences WHERE sequencename = '%s'",
                      name),
             expected);
}

static void a_serial_stays_the_same_sequence_and_becomes_wider(void)
{
    struct swap there = {NULL, "t", "t_1_old", "t_1"}, back = {NULL, "t", "t_1", "t_1_old"};
    SESSION_AUTO *session = NULL;

    make_ours();
    t_sql("CREATE TABLE issued (n int8 PRIMARY KEY); CREATE TABLE t (id serial, v int)");
    draw("t", "id", 3);
    t_sql("CREATE TABLE pghaul.t_1 (LIKE t INCLUDING ALL EXCLUDING IDENTITY);\n"
          "ALTER TABLE pghaul.t_1 ALTER id TYPE bigint; ALTER TABLE pghaul.t_1 RENAME id TO key");
    begin_job();
    session = there.session = back.session = open_session(t_conninfo());
    do_swap(&there, &(struct sequence_pair){"id", "key"}, 1);
    t_expect("SELECT pg_get_serial_sequence('t', 'key')", "public.t_id_seq");
    expect_sequence("t_id_seq", "bigint 1 1 9223372036854775807");
    draw("t", "key", 3);
    t_sql("SELECT setval('t_id_seq', 3000000000)");
    draw("t", "key", 1);
    t_sql("SELECT setval('t_id_seq', 100)");
    do_swap(&back, &(struct sequence_pair){"key", "id"}, 1);
    t_expect("SELECT pg_get_serial_sequence('t', 'id')", "public.t_id_seq");
    expect_sequence("t_id_seq", "integer 1 1 2147483647");
    t_expect("SELECT facts -> 'widened' FROM pghaul.job", "{}");
    draw("t", "id", 3);
    t_sql("DROP TABLE pghaul.t_1");
    draw("t", "id", 1);
    t_expect("SELECT max(id) FROM t", "104");
}

/* Bounds of the user's own stay what they are; what was bigint over an integer column stays so. */
static void a_rollback_gives_each_sequence_back_what_it_had(void)
{
    struct swap there = {NULL, "t", "t_1_old", "t_1"}, back = {NULL, "t", "t_1", "t_1_old"};
    SESSION_AUTO *session = NULL;

    make_ours();
    t_sql("CREATE TABLE t (a smallserial, b serial, c serial, d serial, v int);\n"
          "ALTER SEQUENCE t_b_seq AS bigint; ALTER SEQUENCE t_c_seq MAXVALUE 1000 START 7;\n"
          "ALTER SEQUENCE t_d_seq INCREMENT -1 MINVALUE -2147483648 MAXVALUE 5 START 5 RESTART");
    t_sql("CREATE TABLE pghaul.t_1 (LIKE t INCLUDING ALL EXCLUDING IDENTITY);\n"
          "ALTER TABLE pghaul.t_1 ALTER a TYPE bigint, ALTER b TYPE bigint, ALTER c TYPE bigint,\n"
          "    ALTER d TYPE bigint");
    begin_job();
    session = there.session = back.session = open_session(t_conninfo());
    for (int round = 0; round < 2; round++) {
        do_swap(&there, NULL, 0);
        expect_sequence("t_a_seq", "bigint 1 1 9223372036854775807");
        expect_sequence("t_b_seq", "bigint 1 1 9223372036854775807");
        expect_sequence("t_c_seq", "bigint 7 1 1000");
        expect_sequence("t_d_seq", "bigint 5 -9223372036854775808 5");
        t_sql("INSERT INTO t (v) SELECT 1 FROM generate_series(1, 5)");
        do_swap(&back, NULL, 0);
        expect_sequence("t_a_seq", "smallint 1 1 32767");
        expect_sequence("t_b_seq", "bigint 1 1 9223372036854775807");
        expect_sequence("t_c_seq", "integer 7 1 1000");
        expect_sequence("t_d_seq", "integer 5 -2147483648 5");
        t_sql("INSERT INTO t (v) SELECT 1 FROM generate_series(1, 5)");
    }
    t_expect("SELECT concat_ws(' ', max(a), max(b), max(c), min(d)) FROM t", "20 20 20 -14");
    t_expect("SELECT nextval('t_a_seq')", "21");
}

static void a_sequence_past_the_old_end_stays_wide(void)
{
    struct swap there = {NULL, "t", "t_1_old", "t_1"}, back = {NULL, "t", "t_1", "t_1_old"};
    SESSION_AUTO *session = NULL;

    make_ours();
    t_sql("CREATE TABLE t (a serial, b serial, v int);\n"
          "CREATE TABLE pghaul.t_1 (LIKE t INCLUDING ALL EXCLUDING IDENTITY);\n"
          "ALTER TABLE pghaul.t_1 ALTER a TYPE bigint, ALTER b TYPE bigint");
    begin_job();
    session = there.session = back.session = open_session(t_conninfo());
    do_swap(&there, NULL, 0);
    t_sql("SELECT setval('t_a_seq', 2147483648), setval('t_b_seq', 2147483647)");
    do_swap(&back, NULL, 0);
    expect_sequence("t_a_seq", "bigint 1 1 9223372036854775807");
    t_expect("SELECT nextval('t_a_seq')", "2147483649");
    expect_sequence("t_b_seq", "integer 1 1 2147483647");
    t_fails("SELECT nextval('t_b_seq')", "2200H");
    t_expect("SELECT string_agg(v ->> 'name' || ' ' || (v ->> 'was'), ',') FROM pghaul.job,\n"
             "    jsonb_each(facts -> 'widened') AS e (k, v)",
             "\"public\".\"t_a_seq\" integer");
}

/* A session that holds cached values, and one that waits for the lock of the swap. */
static void nothing_is_issued_twice_by_a_sequence_that_becomes_narrow_again(void)
{
    struct swap there = {NULL, "t", "t_1_old", "t_1"}, back = {NULL, "t", "t_1", "t_1_old"};
    struct t_session *one, *two;
    SESSION_AUTO *session = NULL;

    make_ours();
    t_sql("CREATE TABLE issued (n int8 PRIMARY KEY); CREATE TABLE t (id serial, v int);\n"
          "ALTER SEQUENCE t_id_seq CACHE 10");
    t_sql("CREATE TABLE pghaul.t_1 (LIKE t INCLUDING ALL EXCLUDING IDENTITY);\n"
          "ALTER TABLE pghaul.t_1 ALTER id TYPE bigint");
    begin_job();
    one = t_session("one");
    two = t_session("two");
    session = there.session = back.session = open_session(t_conninfo());
    do_swap(&there, NULL, 0);
    t_do(one, "INSERT INTO issued SELECT nextval('t_id_seq') FROM generate_series(1, 3)");
    begin_swap(&back, NULL, 0);
    t_send(two, "INSERT INTO issued SELECT nextval('t_id_seq') FROM generate_series(1, 15)");
    t_waits(two);
    run(session, "COMMIT");
    t_receive(two);
    t_do(one, "INSERT INTO issued SELECT nextval('t_id_seq') FROM generate_series(1, 25)");
    t_do(two, "INSERT INTO issued SELECT nextval('t_id_seq') FROM generate_series(1, 15)");
    draw("t", "id", 5);
    expect_sequence("t_id_seq", "integer 1 1 2147483647");
    t_expect("SELECT count(*) FROM issued", "63");
}

static void an_identity_goes_on_where_it_was_there_and_back(void)
{
    /* 63 bytes, with quotes, spaces and a letter of two bytes. */
    const char *table = "Order's \"big\" t\xc3\xa4"
                        "ble, whose name is as long as a name can be!!!";
    const char *column = "Id of \"this\" row, \xc3\xa4 column name that is 63 bytes long as well!!";
    struct swap there = {NULL, table, "t_1_old", "t_1"}, back = {NULL, table, "t_1", "t_1_old"};
    const char *t = quoted(table);
    const char *c = quoted(column);
    const char *sequence;
    SESSION_AUTO *session = NULL;

    assert_int_equal(strlen(table), 63);
    t_sql(ROLES);
    make_ours();
    t_sql("CREATE TABLE issued (n int8 PRIMARY KEY)");
    t_sqlf("CREATE TABLE %s (%s int GENERATED ALWAYS AS IDENTITY (START 10 INCREMENT 5 CACHE 3), v "
           "int)",
           t, c);
    sequence = t_text("SELECT oid::regclass FROM pg_class WHERE relkind = 'S' AND relnamespace = "
                      "'public'::regnamespace");
    t_sqlf("GRANT USAGE ON SEQUENCE %s TO alice WITH GRANT OPTION; SET ROLE alice; GRANT USAGE ON "
           "SEQUENCE %s TO bob;\n"
           "RESET ROLE; COMMENT ON SEQUENCE %s IS 'it''s'",
           sequence, sequence, sequence);
    t_sql("ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO bob");
    draw(t, c, 4);
    t_sqlf("CREATE TABLE pghaul.t_1 (LIKE %s INCLUDING ALL EXCLUDING IDENTITY)", t);
    t_sqlf("ALTER TABLE pghaul.t_1 ALTER %s TYPE bigint", c);
    session = there.session = back.session = open_session(t_conninfo());

    for (int round = 0; round < 2; round++) {
        const char *acl = t_text("SELECT relacl FROM pg_class WHERE relkind = 'S' AND\n"
                                 "    relnamespace = 'public'::regnamespace");

        do_swap(&there, NULL, 0);
        t_expect("SELECT relacl FROM pg_class WHERE relkind = 'S' AND relnamespace = "
                 "'public'::regnamespace",
                 acl);
        t_expect("SELECT oid::regclass FROM pg_class WHERE relkind = 'S' AND relnamespace = "
                 "'public'::regnamespace",
                 sequence);
        t_expect("SELECT obj_description(oid) FROM pg_class WHERE relkind = 'S' AND relnamespace = "
                 "'public'::regnamespace",
                 "it's");
        t_expect("SELECT attidentity FROM pg_attribute WHERE attidentity <> '' AND attrelid IN\n"
                 "    (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)",
                 "a");
        t_expect("SELECT concat_ws(' ', data_type, start_value, increment_by, max_value, "
                 "cache_size, cycle)\n"
                 "  FROM pg_sequences WHERE schemaname = 'public'",
                 "bigint 10 5 9223372036854775807 3 f");
        draw(t, c, 4);
        do_swap(&back, NULL, 0);
        t_expect("SELECT concat_ws(' ', data_type, start_value, increment_by, max_value, "
                 "cache_size, cycle)\n"
                 "  FROM pg_sequences WHERE schemaname = 'public'",
                 "integer 10 5 2147483647 3 f");
        t_expect("SELECT oid::regclass FROM pg_class WHERE relkind = 'S' AND relnamespace = "
                 "'public'::regnamespace",
                 sequence);
        draw(t, c, 4);
    }
    t_sql("DROP TABLE pghaul.t_1");
    draw(t, c, 1);
}

static void an_identity_that_never_issued_starts_at_its_start(void)
{
    struct swap there = {NULL, "t", "t_1_old", "t_1"};
    SESSION_AUTO *session = NULL;

    make_ours();
    t_sql("CREATE TABLE t (id int GENERATED BY DEFAULT AS IDENTITY (START "
          "7), v int);\n"
          "CREATE TABLE pghaul.t_1 (LIKE t INCLUDING ALL EXCLUDING IDENTITY)");
    session = there.session = open_session(t_conninfo());
    do_swap(&there, NULL, 0);
    t_expect("INSERT INTO t (v) VALUES (1) RETURNING id", "7");
}

/* Values drawn directly, by a session that looked the sequence up before the swap and waited for
 * its lock. */
static void a_nextval_that_waits_over_the_swap_issues_nothing_twice(void)
{
    struct swap there = {NULL, "t", "t_1_old", "t_1"};
    struct t_session *application;
    SESSION_AUTO *session = NULL;

    make_ours();
    t_sql("CREATE TABLE issued (n int8 PRIMARY KEY);\n"
          "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, v int);\n"
          "CREATE TABLE pghaul.t_1 (LIKE t INCLUDING ALL EXCLUDING IDENTITY)");
    application = t_session("application");
    draw("t", "id", 2);
    session = there.session = open_session(t_conninfo());
    begin_swap(&there, NULL, 0);
    t_send(application, "INSERT INTO issued SELECT nextval('t_id_seq')");
    t_waits(application);
    run(session, "COMMIT");
    t_receive_error(application, "2200H");
    t_do(application, "INSERT INTO issued SELECT nextval('t_id_seq')");
    draw("t", "id", 2);
    t_expect("SELECT max(n) FROM issued", "5");
}

static void a_swap_that_is_rolled_back_leaves_the_sequences_alone(void)
{
    struct swap there = {NULL, "t", "t_1_old", "t_1"};
    SESSION_AUTO *session = NULL;

    make_ours();
    t_sql("CREATE TABLE issued (n int8 PRIMARY KEY);\n"
          "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, v int);\n"
          "CREATE TABLE pghaul.t_1 (LIKE t INCLUDING ALL EXCLUDING IDENTITY)");
    draw("t", "id", 2);
    session = there.session = open_session(t_conninfo());
    begin_swap(&there, NULL, 0);
    run(session, "ROLLBACK");
    draw("t", "id", 2);
    do_swap(&there, NULL, 0);
    draw("t", "id", 2);
    t_expect("SELECT max(n) FROM issued", "6");
}

static void a_serial_that_becomes_an_identity_goes_on_where_it_was(void)
{
    struct swap there = {NULL, "t", "t_1_old", "t_1"}, back = {NULL, "t", "t_1", "t_1_old"};
    SESSION_AUTO *session = NULL;

    make_ours();
    t_sql("CREATE TABLE issued (n int8 PRIMARY KEY); CREATE TABLE t (id "
          "serial, v int)");
    draw("t", "id", 3);
    t_sql("CREATE TABLE pghaul.t_1 (LIKE t INCLUDING ALL EXCLUDING IDENTITY);\n"
          "ALTER TABLE pghaul.t_1 ALTER id DROP DEFAULT,\n"
          "    ALTER id ADD GENERATED BY DEFAULT AS IDENTITY (CACHE 5)");
    session = there.session = back.session = open_session(t_conninfo());
    do_swap(&there, NULL, 0);
    t_expect("SELECT pg_get_serial_sequence('t', 'id')", "public.t_id_seq");
    t_expect("SELECT cache_size FROM pg_sequences WHERE schemaname = 'public'", "5");
    draw("t", "id", 3);
    do_swap(&back, NULL, 0);
    t_expect("SELECT pg_get_serial_sequence('t', 'id')", "public.t_id_seq");
    t_expect("SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 't'::regclass",
             "nextval('t_id_seq'::regclass)");
    draw("t", "id", 3);
}

static void the_plan_refuses(const char *change, const char *part)
{
    SESSION_AUTO *session = open_session(t_conninfo());
    struct arena arena = {0};
    struct sequence_plan *plan;
    struct error error = {0};

    t_sql("BEGIN; DROP TABLE IF EXISTS pghaul.t_1; CREATE TABLE pghaul.t_1 (LIKE t INCLUDING ALL "
          "EXCLUDING IDENTITY)");
    t_sql(change);
    t_sql("COMMIT");
    assert_false(
        sequence_plan(session, oid_of("t"), oid_of("pghaul.t_1"), NULL, 0, &arena, &plan, &error));
    assert_int_equal(error.code, ERROR_REFUSED);
    if (strstr(error.message, part) == NULL)
        t_fail("%s", error.message);
    arena_deinit(&arena);
}

static void an_identity_that_cannot_stay_one_is_refused(void)
{
    make_ours();
    t_sql("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, v int)");
    the_plan_refuses("ALTER TABLE pghaul.t_1 ALTER id TYPE text", "type text cannot be one");
    the_plan_refuses("ALTER TABLE pghaul.t_1 ALTER id DROP NOT NULL", "must stay NOT NULL");
    the_plan_refuses("ALTER TABLE pghaul.t_1 ALTER id SET DEFAULT 1", "without a default");
    the_plan_refuses("CREATE TABLE other (n int DEFAULT nextval('t_id_seq'))", "is used elsewhere");
}

static void the_sequence_of_a_dropped_column_stays_with_the_old_table(void)
{
    struct swap there = {NULL, "t", "t_1_old", "t_1"};
    SESSION_AUTO *session = NULL;

    make_ours();
    t_sql("CREATE TABLE t (id serial, n int GENERATED ALWAYS AS IDENTITY, v "
          "int);\n"
          "CREATE TABLE pghaul.t_1 (LIKE t INCLUDING ALL EXCLUDING IDENTITY);\n"
          "ALTER TABLE pghaul.t_1 DROP COLUMN id, DROP COLUMN n; ALTER TABLE pghaul.t_1 ADD COLUMN "
          "n text");
    session = there.session = open_session(t_conninfo());
    do_swap(&there, &(struct sequence_pair){"n", NULL}, 1);
    t_expect("SELECT pg_get_serial_sequence('pghaul.t_1_old', 'id')", "pghaul.t_id_seq");
    t_sql("DROP TABLE pghaul.t_1_old");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(everything_attached_travels_and_the_gate_finds_nothing),
        t_test(copying_twice_changes_nothing),
        t_test(what_is_left_for_the_swap_is_found_when_it_is_not_left_out),
        t_test(the_gate_finds_every_single_loss),
        t_test(what_hangs_on_indexes_survives_making_them_again),
        t_test(statistics_and_comments_are_right_after_the_swap_and_after_the_way_back),
        t_test(a_policy_that_reads_its_own_table_is_refused),
        t_test(a_job_that_is_no_superuser_can_do_it_for_a_group),
        t_test(the_fingerprint_changes_with_whatever_is_attached),
        t_test(the_fingerprint_stays_when_nothing_of_the_users_changed),
        t_test(a_serial_stays_the_same_sequence_and_becomes_wider),
        t_test(a_rollback_gives_each_sequence_back_what_it_had),
        t_test(a_sequence_past_the_old_end_stays_wide),
        t_test(nothing_is_issued_twice_by_a_sequence_that_becomes_narrow_again),
        t_test(an_identity_goes_on_where_it_was_there_and_back),
        t_test(an_identity_that_never_issued_starts_at_its_start),
        t_test(a_nextval_that_waits_over_the_swap_issues_nothing_twice),
        t_test(a_swap_that_is_rolled_back_leaves_the_sequences_alone),
        t_test(a_serial_that_becomes_an_identity_goes_on_where_it_was),
        t_test(an_identity_that_cannot_stay_one_is_refused),
        t_test(the_sequence_of_a_dropped_column_stays_with_the_old_table),
    };

    return T_MAIN(tests);
}
