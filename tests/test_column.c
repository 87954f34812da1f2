/*
 * Renames and retypes of a column, the whole way. The oracle is the server's own RENAME COLUMN and
 * ALTER COLUMN TYPE: the catalogue after them, in a transaction that is rolled back, column order
 * aside; and for a job that leaves nothing, pg_dump before and after it.
 */
#include <string.h>

#include "tests/oracle.h"

#define JOB "j"

/* Roles live longer than the database of a test. */
static const char ROLES[] = "DO $$ BEGIN\n"
                            "    IF to_regrole('shop') IS NULL THEN CREATE ROLE shop LOGIN;\n"
                            "    CREATE ROLE clerk LOGIN; END IF;\n"
                            "END $$";

/* A key that others refer to, with everything that a column may have; a column of text. */
static const char WIDE[] =
    "CREATE SCHEMA s;\n"
    "CREATE TABLE s.users (gone int, id serial CONSTRAINT \"the key\" PRIMARY KEY,\n"
    "    region int NOT NULL DEFAULT 1, parent int, age varchar(10) NOT NULL DEFAULT '30',\n"
    "    name text, CONSTRAINT both_u UNIQUE (region, id),\n"
    "    CONSTRAINT positive CHECK (id > 0 AND region > 0),\n"
    "    CONSTRAINT down FOREIGN KEY (parent) REFERENCES s.users ON DELETE SET NULL,\n"
    "    CONSTRAINT old_enough CHECK (length(age) > 0));\n"
    "ALTER TABLE s.users DROP COLUMN gone,\n"
    "    ADD CONSTRAINT not_999 CHECK (id <> 999) NOT VALID;\n"
    "CREATE TABLE s.orders (n serial PRIMARY KEY, usr int, region int,\n"
    "    CONSTRAINT of_user FOREIGN KEY (usr) REFERENCES s.users ON DELETE CASCADE\n"
    "        ON UPDATE CASCADE,\n"
    "    CONSTRAINT of_both FOREIGN KEY (region, usr) REFERENCES s.users (region, id)\n"
    "        DEFERRABLE INITIALLY DEFERRED);\n"
    "CREATE TABLE s.notes (usr int);\n"
    "ALTER TABLE s.notes ADD CONSTRAINT note_of FOREIGN KEY (usr) REFERENCES s.users (id)\n"
    "    NOT VALID;\n"
    "CREATE UNIQUE INDEX part ON s.users (id DESC NULLS LAST) WHERE region = 5;\n"
    "CREATE INDEX expr ON s.users ((id % 7), lower(name)) WITH (fillfactor = 70);\n"
    "CREATE INDEX inc ON s.users (name) INCLUDE (id);\n"
    "CREATE INDEX by_age ON s.users (age);\n"
    "ALTER TABLE s.users CLUSTER ON both_u;\n"
    "ALTER TABLE s.users REPLICA IDENTITY USING INDEX both_u;\n"
    "CREATE STATISTICS s.st (mcv, ndistinct) ON id, region FROM s.users;\n"
    "ALTER STATISTICS s.st SET STATISTICS 55;\n"
    "COMMENT ON STATISTICS s.st IS 'sta''ts';\n"
    "COMMENT ON INDEX s.inc IS 'in''c';\n"
    "COMMENT ON CONSTRAINT both_u ON s.users IS 'bo''th';\n"
    "COMMENT ON CONSTRAINT positive ON s.users IS 'po''s';\n"
    "COMMENT ON CONSTRAINT of_user ON s.orders IS 'o''f';\n"
    "COMMENT ON COLUMN s.users.id IS 'the ''id''';\n"
    "COMMENT ON COLUMN s.users.age IS 'in years';\n"
    "COMMENT ON SEQUENCE s.users_id_seq IS 'the seq';\n"
    "ALTER TABLE s.users ALTER id SET STATISTICS 321, ALTER id SET (n_distinct = -0.5);\n"
    "GRANT USAGE ON SCHEMA s TO clerk;\n"
    "GRANT SELECT (id), UPDATE (id) ON s.users TO clerk;\n"
    "GRANT SELECT (age) ON s.users TO clerk WITH GRANT OPTION;\n"
    "GRANT INSERT, DELETE ON s.users TO clerk;\n"
    "GRANT USAGE ON SEQUENCE s.users_id_seq TO clerk;\n"
    "INSERT INTO s.users (region, parent, name) SELECT 5, 1, 'n' || i FROM generate_series(1, 300) "
    "AS i;\n"
    "INSERT INTO s.orders (usr, region) SELECT i, 5 FROM generate_series(1, 300) AS i;\n"
    "INSERT INTO s.notes SELECT i FROM generate_series(1, 300, 7) AS i;\n"
    "ANALYZE";

/* What belongs to columns and their tables, without oids and numbers. */
static const char PICTURE[] =
    "SELECT * FROM (\n"
    "    SELECT 'index', i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid),\n"
    "           concat_ws(' ', i.indisunique, i.indisprimary, i.indisclustered, i.indisreplident,\n"
    "                     i.indisvalid), obj_description(i.indexrelid, 'pg_class')\n"
    "      FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid\n"
    "     WHERE c.relnamespace = 's'::regnamespace\n"
    "    UNION ALL\n"
    "    SELECT 'constraint', k.conrelid::regclass || ' ' || k.conname,\n"
    "           pg_get_constraintdef(k.oid), concat_ws(' ', k.convalidated, k.contype),\n"
    "           obj_description(k.oid, 'pg_constraint')\n"
    "      FROM pg_constraint AS k WHERE k.connamespace = 's'::regnamespace\n"
    "    UNION ALL\n"
    "    SELECT 'statistics', s.stxname,\n"
    "           concat_ws(' ', s.stxrelid::regclass, s.stxkind,\n"
    "               (SELECT array_agg(a.attname ORDER BY a.attname) FROM pg_attribute AS a\n"
    "                 WHERE a.attrelid = s.stxrelid AND a.attnum = ANY (s.stxkeys))),\n"
    "           coalesce(s.stxstattarget, -1)::text, obj_description(s.oid, 'pg_statistic_ext')\n"
    "      FROM pg_statistic_ext AS s WHERE s.stxnamespace = 's'::regnamespace\n"
    "    UNION ALL\n"
    "    SELECT 'sequence', c.oid::regclass::text,\n"
    "           concat_ws(' ', q.seqtypid::regtype, q.seqstart, q.seqincrement, q.seqmin, "
    "q.seqmax,\n"
    "                     q.seqcache, q.seqcycle, coalesce(c.relacl, acldefault('s', "
    "c.relowner))),\n"
    "           (SELECT concat_ws(' ', d.refobjid::regclass, a.attname, d.deptype)\n"
    "              FROM pg_depend AS d JOIN pg_attribute AS a\n"
    "                   ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid\n"
    "             WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid\n"
    "               AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0),\n"
    "           obj_description(c.oid, 'pg_class')\n"
    "      FROM pg_sequence AS q JOIN pg_class AS c ON c.oid = q.seqrelid\n"
    "     WHERE c.relnamespace = 's'::regnamespace\n"
    "    UNION ALL\n"
    "    SELECT 'trigger', t.tgrelid::regclass || ' ' || t.tgname, pg_get_triggerdef(t.oid),\n"
    "           t.tgenabled::text, ''\n"
    "      FROM pg_trigger AS t WHERE NOT t.tgisinternal\n"
    "    UNION ALL\n"
    "    SELECT 'column', a.attrelid::regclass || ' ' || a.attname,\n"
    "           format_type(a.atttypid, a.atttypmod),\n"
    "           concat_ws(' ', a.attstorage, a.attcompression, a.attstattarget, a.attidentity,\n"
    "                     a.attcollation::regcollation, a.attnotnull,\n"
    "                     pg_get_expr(d.adbin, d.adrelid)),\n"
    "           concat_ws(' ', col_description(a.attrelid, a.attnum), a.attacl,\n"
    "               (SELECT array_agg(o ORDER BY o) FROM unnest(a.attoptions) AS o\n"
    "                 WHERE o !~ '^pg_attver'))\n"
    "      FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid\n"
    "      LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum\n"
    "     WHERE c.relnamespace = 's'::regnamespace AND c.relkind = 'r' AND a.attnum > 0\n"
    "       AND NOT a.attisdropped\n"
    ") AS p(kind, name, definition, b, c) ORDER BY kind, name";

static void make_wide(void)
{
    t_sql(ROLES);
    t_sql(WIDE);
}

/* What the server makes of it, which is undone. */
static const char *picture_after(const char *statement)
{
    const char *picture;

    t_sql("BEGIN");
    t_sql(statement);
    picture = t_rows(PICTURE);
    t_sql("ROLLBACK");
    return picture;
}

static void same_picture(const char *expected)
{
    const char *now = t_rows(PICTURE);
    size_t same = 0;

    if (strcmp(now, expected) == 0)
        return;
    while (now[same] == expected[same])
        same++;
    while (same > 0 && now[same - 1] != '\n')
        same--;
    t_fail("expected:\n%.600s\n--- is:\n%.600s", expected + same, now + same);
}

/* Every row's columns, as text, in the order of their names; the column under one name. */
static const char ROWS[] =
    "SELECT md5(string_agg(r, ' ' ORDER BY r)) FROM (\n"
    "    SELECT (to_jsonb(u) - 'id' - 'ident' - 'pghaul_new_id' - 'pghaul_old_id'\n"
    "            - 'pghaul_new_age' - 'pghaul_old_age' - 'age')::text || %s FROM s.users AS u) AS "
    "r(r)";

static const char *rows_by(const char *key)
{
    return t_text(t_format(ROWS, key));
}

/* ------------------------------------------------------------------------------- the whole way */

/* To cut_over and back and there again. The column, its twin, the column then: as SQL, alias u. */
static void go_there_and_back(const char *before, const char *twin, const char *after)
{
    const char *rows = rows_by(before);

    assert_string_equal(rows_by(twin), rows);
    t_runs(0, "cutover", JOB, "--yes", "--force");
    assert_string_equal(rows_by(after), rows);
    t_runs(0, "rollback", JOB, "--yes");
    t_expect("SELECT state FROM pghaul.job", "ready");
    assert_string_equal(rows_by(before), rows);
    t_runs(0, "cutover", JOB, "--yes", "--force");
    assert_string_equal(rows_by(after), rows);
}

static void finish_like(const char *expected)
{
    t_runs(0, "finish", JOB, "--yes");
    t_expect("SELECT state FROM pghaul.job", "finished");
    same_picture(expected);
    nothing_of_ours_is_left();
}

static void a_renamed_key_is_what_the_server_makes_of_it(void)
{
    const char *expected;

    make_wide();
    expected = picture_after("ALTER TABLE s.users RENAME COLUMN id TO ident");
    t_runs(0, "column", "rename", "s.users", "id", "ident", "--job", JOB);
    go_there_and_back("u.id", "u.ident", "u.ident");
    finish_like(expected);
    t_sql("INSERT INTO s.users (name) VALUES ('x')");
    t_expect("SELECT ident FROM s.users WHERE name = 'x'", "301");
}

/* Of an index that it makes anew the server forgets what it is told below. */
static void a_retyped_key_is_what_the_server_makes_of_it(void)
{
    const char *expected;

    make_wide();
    expected = picture_after("ALTER TABLE s.users ALTER COLUMN id TYPE bigint;\n"
                             "ALTER SEQUENCE s.users_id_seq AS bigint;\n"
                             "ALTER STATISTICS s.st SET STATISTICS 55");
    t_runs(0, "column", "retype", "s.users", "id", "bigint", "--job", JOB);
    t_sql("UPDATE s.users SET pghaul_new_id = 1001 WHERE id = 5; UPDATE s.users SET id = 1002 "
          "WHERE pghaul_new_id = 6");
    t_expect("SELECT count(*) FROM s.orders WHERE usr IN (1001, 1002)", "2");
    go_there_and_back("u.id", "u.pghaul_new_id", "u.id");
    t_sql("SELECT setval('s.users_id_seq', 2147483647); INSERT INTO s.users (name) VALUES ('x')");
    t_expect("SELECT id FROM s.users WHERE name = 'x'", "2147483648");
    t_says(9, "1 rows", "rollback", JOB, "--yes");
    t_sql("DELETE FROM s.users WHERE id = 5 OR parent = 5");
    finish_like(expected);
    t_sql("INSERT INTO s.users (name) VALUES ('y')");
    t_expect("SELECT id FROM s.users WHERE name = 'y'", "2147483649");
}

static void a_retyped_value_is_what_the_server_makes_of_it(void)
{
    const char *expected;

    make_wide();
    /* A check over a text has no sense of a number. */
    t_sql("ALTER TABLE s.users DROP CONSTRAINT old_enough");
    expected = picture_after("ALTER TABLE s.users ALTER age DROP DEFAULT,\n"
                             "    ALTER COLUMN age TYPE integer USING age::integer;\n"
                             "ALTER TABLE s.users ALTER age SET DEFAULT 30");
    t_says(3, "age", "column", "retype", "s.users", "age", "integer", "--using", "age::integer",
           "--back-using", "age::text");
    t_sql("ALTER TABLE s.users ALTER age DROP DEFAULT");
    expected = picture_after("ALTER TABLE s.users ALTER COLUMN age TYPE integer USING "
                             "age::integer");
    t_runs(0, "column", "retype", "s.users", "age", "integer", "--using", "age::integer",
           "--back-using", "age::text", "--job", JOB);
    go_there_and_back("u.age::text", "u.pghaul_new_age::text", "u.age::text");
    finish_like(expected);
}

static void a_renamed_value_is_what_the_server_makes_of_it(void)
{
    const char *expected;

    make_wide();
    t_sql("CREATE TABLE s.codes (code varchar(10) UNIQUE); ALTER TABLE s.users ADD CONSTRAINT out\n"
          "    FOREIGN KEY (age) REFERENCES s.codes (code) ON UPDATE CASCADE NOT VALID");
    expected = picture_after("ALTER TABLE s.users RENAME COLUMN age TO \"The Age\"");
    t_runs(0, "column", "rename", "s.users", "age", "\"The Age\"", "--job", JOB);
    t_runs(0, "cutover", JOB, "--yes", "--force");
    t_runs(0, "rollback", JOB, "--yes");
    t_runs(0, "cutover", JOB, "--yes", "--force");
    finish_like(expected);
}

static void an_aborted_job_leaves_the_definition_as_it_was(void)
{
    static const char *const ARGUMENTS[][4] = {
        {"rename", "id", "ident"}, {"retype", "id", "bigint"}, {"rename", "age", "years"}};

    for (int i = 0; i < 3; i++) {
        const char *before;

        (void)t_fresh_database();
        make_wide();
        before = definition();
        t_runs(0, "column", ARGUMENTS[i][0], "s.users", ARGUMENTS[i][1], ARGUMENTS[i][2], "--job",
               JOB);
        t_runs(0, "abort", JOB, "--yes");
        same_definition(before);
        nothing_of_ours_is_left();
        t_runs(0, "column", ARGUMENTS[i][0], "s.users", ARGUMENTS[i][1], ARGUMENTS[i][2], "--job",
               "again");
        t_runs(0, "cutover", "again", "--yes", "--force");
        t_says(3, "rollback", "abort", "again", "--yes");
        t_runs(0, "rollback", "again", "--yes");
        t_runs(0, "abort", "again", "--yes");
        same_definition(before);
        nothing_of_ours_is_left();
    }
}

/* Somebody has drawn from the sequence, and goes on with it for a while. */
static void an_abort_outwaits_who_uses_the_sequence(void)
{
    struct t_session *drawer = t_session("drawer");
    struct t_process *abort;
    struct t_result result;
    const char *before;

    make_wide();
    before = definition();
    t_runs(0, "column", "retype", "s.users", "id", "bigint", "--job", JOB);
    t_runs(0, "cutover", JOB, "--yes", "--force");
    t_runs(0, "rollback", JOB, "--yes");
    t_do(drawer, "BEGIN; SELECT nextval('s.users_id_seq')");
    abort = t_start("abort", JOB, "--yes", NULL);
    t_do(drawer, "SELECT pg_sleep(0.7)");
    t_do(drawer, "INSERT INTO s.users (name) VALUES ('of the drawer'); SELECT pg_sleep(0.3)");
    t_do(drawer, "COMMIT");
    t_wait(abort, &result);
    if (result.status != 0)
        t_runs(0, "abort", JOB, "--yes");
    same_definition(before);
    nothing_of_ours_is_left();
}

/* One that was made by hand has a type of its own. */
static void a_sequence_that_is_wide_already_stays_as_it_is(void)
{
    const char *before, *expected;

    t_sql("CREATE SCHEMA s; CREATE SEQUENCE s.numbers MAXVALUE 1000;\n"
          "CREATE TABLE s.users (id int PRIMARY KEY DEFAULT nextval('s.numbers'), name text);\n"
          "ALTER SEQUENCE s.numbers OWNED BY s.users.id; INSERT INTO s.users (name) VALUES ('a')");
    before = definition();
    expected = picture_after("ALTER TABLE s.users ALTER COLUMN id TYPE bigint");
    t_runs(0, "column", "retype", "s.users", "id", "bigint", "--job", JOB);
    t_runs(0, "cutover", JOB, "--yes");
    t_runs(0, "rollback", JOB, "--yes");
    t_runs(0, "abort", JOB, "--yes");
    same_definition(before);
    t_runs(0, "column", "retype", "s.users", "id", "bigint", "--job", "k");
    t_runs(0, "cutover", "k", "--yes");
    t_runs(0, "finish", "k", "--yes");
    same_picture(expected);
}

/* It draws a number first and inserts it later: the swap must not be in between for good, and the
 * application never the one that is chosen in a deadlock. */
static void a_cutover_gives_way_to_who_has_drawn_from_the_sequence(void)
{
    struct t_session *drawer = t_session("drawer");
    struct t_process *cutover;
    struct t_result result;

    make_wide();
    t_runs(0, "column", "retype", "s.users", "id", "bigint", "--job", JOB);
    t_do(drawer, "BEGIN; SELECT nextval('s.users_id_seq')");
    cutover = t_start("cutover", JOB, "--yes", "--force", NULL);
    t_do(drawer, "SELECT pg_sleep(0.6)");
    t_do(drawer, "INSERT INTO s.users (id, name) VALUES (currval('s.users_id_seq'), 'drawn')");
    t_do(drawer, "COMMIT");
    t_wait(cutover, &result);
    if (result.status == 6)
        t_run(&result, "cutover", JOB, "--yes", "--force", NULL);
    t_expect_status(&result, 0);
    t_expect("SELECT id = pghaul_old_id FROM s.users WHERE name = 'drawn'", "t");
}

/* ------------------------------------------------------------------------------- while it fills */

/* A row that is not filled yet takes a key that the walk has passed, or is written in the walk. */
static void a_row_that_moves_behind_the_backfill_is_filled(void)
{
    struct t_process *job;
    struct t_result result;

    for (int i = 0; i < 2; i++) {
        (void)t_fresh_database();
        t_sql("CREATE TABLE t (id int PRIMARY KEY, v int, pad text);\n"
              "INSERT INTO t SELECT i, i, repeat('x', 100) FROM generate_series(1, 6000) AS i;\n"
              "ANALYZE t");
        job = t_start("column", i == 0 ? "rename" : "retype", "t", "v", i == 0 ? "w" : "bigint",
                      "--job", JOB, "-s", "workers=1", "-s", "span.size=64kB", "-s",
                      "chunk.wal=64kB", "-s", "policy=fixed=100ms", NULL);
        t_wait_until("SELECT to_regclass('pghaul.span') IS NOT NULL", "t", 20);
        t_wait_until("SELECT count(*) > 0 FROM pghaul.span WHERE phase = 'backfill' AND rows > 0",
                     "t", 20);
        t_sql("UPDATE t SET id = -id WHERE id > 5000");
        t_wait(job, &result);
        t_expect_status(&result, 0);
        t_expect("SELECT count(*) FROM t WHERE id < 0", "1000");
        t_expect(t_format("SELECT count(*) FROM t WHERE v IS DISTINCT FROM %s",
                          i == 0 ? "w" : "pghaul_new_v"),
                 "0");
    }
}

/* -------------------------------------------------------------------------------------- identity
 */

static void an_identity_moves_with_its_state(void)
{
    static const char *const HOW[] = {"ALWAYS", "BY DEFAULT"};

    for (int i = 0; i < 2; i++) {
        const char *before, *expected;

        (void)t_fresh_database();
        t_sql(ROLES);
        t_sqlf("CREATE SCHEMA s; CREATE TABLE s.users (id int GENERATED %s AS IDENTITY\n"
               "    (START WITH 7 INCREMENT BY 3 CACHE 5) PRIMARY KEY, name text);\n"
               "CREATE TABLE s.orders (usr int REFERENCES s.users);\n"
               "GRANT USAGE ON SEQUENCE s.users_id_seq TO clerk;\n"
               "COMMENT ON SEQUENCE s.users_id_seq IS 'numbers';\n"
               "INSERT INTO s.users (name) VALUES ('a'), ('b')",
               HOW[i]);
        before = definition();
        expected = picture_after("ALTER TABLE s.users ALTER COLUMN id TYPE bigint;\n"
                                 "GRANT USAGE ON SEQUENCE s.users_id_seq TO clerk;\n"
                                 "COMMENT ON SEQUENCE s.users_id_seq IS 'numbers'");
        t_runs(0, "column", "retype", "s.users", "id", "bigint", "--job", JOB);
        t_sql("INSERT INTO s.users (name) VALUES ('c')");
        t_runs(0, "cutover", JOB, "--yes");
        t_sql("INSERT INTO s.users (name) VALUES ('d')");
        if (i == 0)
            t_fails("INSERT INTO s.users (id, name) VALUES (1, 'no')", "428C9");
        t_runs(0, "rollback", JOB, "--yes");
        t_sql("INSERT INTO s.users (name) VALUES ('e')");
        t_expect("SELECT count(*) = count(DISTINCT id) AND min(id) = 7 FROM s.users", "t");
        t_runs(0, "abort", JOB, "--yes");
        same_definition(before);
        t_runs(0, "column", "retype", "s.users", "id", "bigint", "--job", "k");
        t_runs(0, "cutover", "k", "--yes");
        t_sql("SELECT setval('s.users_id_seq', 2147483647); INSERT INTO s.users (name) VALUES "
              "('x')");
        t_expect("SELECT id > 2147483647 FROM s.users WHERE name = 'x'", "t");
        t_runs(0, "finish", "k", "--yes");
        same_picture(expected);
        nothing_of_ours_is_left();
    }
}

static void a_renamed_identity_goes_on(void)
{
    const char *expected;

    t_sql("CREATE SCHEMA s; CREATE TABLE s.users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY "
          "KEY, name text); INSERT INTO s.users (name) VALUES ('a')");
    expected = picture_after("ALTER TABLE s.users RENAME COLUMN id TO ident");
    t_runs(0, "column", "rename", "s.users", "id", "ident", "--job", JOB);
    t_sql("INSERT INTO s.users (name) VALUES ('b')");
    t_runs(0, "cutover", JOB, "--yes", "--force");
    t_sql("INSERT INTO s.users (name) VALUES ('c')");
    t_expect("SELECT string_agg(ident || name, ' ' ORDER BY ident) FROM s.users", "1a 2b 3c");
    finish_like(expected);
    t_sql("INSERT INTO s.users (name) VALUES ('d')");
    t_expect("SELECT max(ident) FROM s.users", "4");
}

/* ----------------------------------------------------------------------------------------- keys */

static void a_column_of_a_composite_key_changes(void)
{
    const char *before, *expected;

    t_sql("CREATE SCHEMA s; CREATE TABLE s.users (a int, b int, up_a int, up_b int, PRIMARY KEY "
          "(a, b), CONSTRAINT up FOREIGN KEY (up_a, up_b) REFERENCES s.users ON DELETE SET NULL);\n"
          "CREATE TABLE s.orders (a int, b int, CONSTRAINT of FOREIGN KEY (a, b) REFERENCES "
          "s.users MATCH FULL);\n"
          "INSERT INTO s.users SELECT i, i % 3, CASE WHEN i > 10 THEN 5 END, CASE WHEN i > 10 THEN "
          "2 END FROM generate_series(1, 500) AS i; INSERT INTO s.orders SELECT a, b FROM s.users; "
          "ANALYZE");
    before = definition();
    expected = picture_after("ALTER TABLE s.users ALTER COLUMN b TYPE bigint");
    t_runs(0, "column", "retype", "s.users", "b", "bigint", "--job", JOB);
    t_runs(0, "cutover", JOB, "--yes");
    t_fails("INSERT INTO s.orders VALUES (1, 99)", "23503");
    t_fails("DELETE FROM s.users WHERE a = 400", "23503");
    t_runs(0, "rollback", JOB, "--yes");
    t_fails("INSERT INTO s.orders VALUES (1, 99)", "23503");
    t_runs(0, "abort", JOB, "--yes");
    same_definition(before);
    t_runs(0, "column", "retype", "s.users", "b", "bigint", "--job", "k");
    t_runs(0, "cutover", "k", "--yes");
    t_runs(0, "finish", "k", "--yes");
    same_picture(expected);
    t_fails("DELETE FROM s.users WHERE a = 400", "23503");
    t_expect("SELECT count(*) FROM s.users", "500");
}

/* There is no moment at which a foreign key does not hold, whichever column it leads to. */
static void foreign_keys_hold_all_the_time(void)
{
    static const char WRONG[] = "INSERT INTO s.orders (usr, region) VALUES (-1, 5)";

    make_wide();
    t_runs(0, "column", "retype", "s.users", "id", "bigint", "--job", JOB);
    t_fails(WRONG, "23503");
    t_runs(0, "cutover", JOB, "--yes", "--force");
    t_fails(WRONG, "23503");
    t_expect("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND confrelid = "
             "'s.users'::regclass AND conrelid = 's.orders'::regclass",
             "2");
    t_runs(0, "rollback", JOB, "--yes");
    t_fails(WRONG, "23503");
    t_runs(0, "cutover", JOB, "--yes", "--force");
    t_sql("UPDATE s.users SET id = 1000 WHERE id = 300"); /* ON UPDATE CASCADE */
    t_expect("SELECT count(*) FROM s.orders WHERE usr = 1000", "1");
    t_sql("DELETE FROM s.users WHERE id = 1000");
    t_expect("SELECT count(*) FROM s.orders WHERE usr = 1000", "0");
    t_runs(0, "finish", JOB, "--yes");
    t_fails(WRONG, "23503");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_renamed_key_is_what_the_server_makes_of_it),
        t_test(a_retyped_key_is_what_the_server_makes_of_it),
        t_test(a_retyped_value_is_what_the_server_makes_of_it),
        t_test(a_renamed_value_is_what_the_server_makes_of_it),
        t_test(an_aborted_job_leaves_the_definition_as_it_was),
        t_test(an_abort_outwaits_who_uses_the_sequence),
        t_test(a_sequence_that_is_wide_already_stays_as_it_is),
        t_test(a_cutover_gives_way_to_who_has_drawn_from_the_sequence),
        t_test(a_row_that_moves_behind_the_backfill_is_filled),
        t_test(an_identity_moves_with_its_state),
        t_test(a_renamed_identity_goes_on),
        t_test(a_column_of_a_composite_key_changes),
        t_test(foreign_keys_hold_all_the_time),
    };

    return T_MAIN(tests);
}
