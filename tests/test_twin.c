/*
 * The twin of a column has what the column has.
 *
 * The oracle is the server's own RENAME COLUMN and ALTER COLUMN TYPE: the catalogue after them, in
 * a transaction that is rolled back, and after the twin was made and took the column's place.
 */
#include "tests/harness.h"

#include <string.h>

#include "copy/fields.h"
#include "copy/twin.h"
#include "engine/pg/session.h"
#include "engine/pg/sql.h"

/* --------------------------------------------------------------------------------------- fixture
 */

/* Roles live longer than the database of a test. */
static const char ROLES[] =
    "DO $$ BEGIN\n"
    "    IF to_regrole('\"Al \"\"ice\"') IS NULL THEN CREATE ROLE \"Al \"\"ice\"; END IF;\n"
    "    IF to_regrole('bob') IS NULL THEN CREATE ROLE bob LOGIN; END IF;\n"
    "END $$";

#define S "\"My \"\"S\""
#define USERS S ".\"Us'ers\""
#define ID "\"Id \"\"x\""

/* A dropped column in front, so that numbers in the clone are not those of the table. */
static const char WIDE[] =
    "CREATE SCHEMA " S ";\n"
    "CREATE TABLE " S ".base (r int, id int PRIMARY KEY, UNIQUE (r, id));\n"
    "CREATE TABLE " USERS " (gone int, " ID
    " serial, \"Region\" int NOT NULL, parent int, name text,\n"
    "    CONSTRAINT \"Users key\" PRIMARY KEY (" ID "),\n"
    "    CONSTRAINT \"both'\" UNIQUE (\"Region\", " ID "),\n"
    "    CONSTRAINT \"po\"\"sitive\" CHECK (" ID " > 0 AND \"Region\" > 0) NO INHERIT,\n"
    "    CONSTRAINT other CHECK (\"Region\" < 100),\n"
    "    CONSTRAINT down FOREIGN KEY (parent) REFERENCES " USERS " ON DELETE SET NULL,\n"
    "    CONSTRAINT up FOREIGN KEY (" ID ") REFERENCES " S ".base ON UPDATE CASCADE DEFERRABLE,\n"
    "    CONSTRAINT \"up 2\" FOREIGN KEY (\"Region\", " ID ") REFERENCES " S ".base (r, id)\n"
    "        MATCH FULL ON DELETE RESTRICT);\n"
    "ALTER TABLE " USERS " DROP COLUMN gone,\n"
    "    ADD CONSTRAINT later CHECK (" ID " <> 13) NOT VALID,\n"
    "    ADD CONSTRAINT round FOREIGN KEY (\"Region\", " ID ") REFERENCES " USERS "\n"
    "        (\"Region\", " ID ") NOT VALID;\n"
    "CREATE TABLE " S ".\"Orders\" (\"User\" int, region int, n int,\n"
    "    CONSTRAINT \"of\" FOREIGN KEY (\"User\") REFERENCES " USERS " ON DELETE CASCADE,\n"
    "    CONSTRAINT \"of 2\" FOREIGN KEY (region, \"User\") REFERENCES " USERS "\n"
    "        (\"Region\", " ID ") DEFERRABLE INITIALLY DEFERRED);\n"
    "CREATE UNIQUE INDEX \"Part\" ON " USERS " (" ID " DESC NULLS LAST) WHERE \"Region\" = 5;\n"
    "CREATE INDEX \"ex'pr\" ON " USERS " ((" ID " % 7), lower(name)) WITH (fillfactor = 70);\n"
    "CREATE INDEX inc ON " USERS " (name) INCLUDE (" ID ");\n"
    "CREATE INDEX pred ON " USERS " (name text_pattern_ops) WHERE " ID " > 5;\n"
    "CREATE INDEX hashed ON " USERS " USING hash (" ID ");\n"
    "CREATE INDEX unrelated ON " USERS " (name);\n"
    "ALTER INDEX " S ".\"ex'pr\" ALTER COLUMN 1 SET STATISTICS 77;\n"
    "ALTER TABLE " USERS " CLUSTER ON \"both'\";\n"
    "ALTER TABLE " USERS " REPLICA IDENTITY USING INDEX \"both'\";\n"
    "CREATE STATISTICS " S ".\"st'1\" (mcv, ndistinct) ON " ID ", \"Region\" FROM " USERS ";\n"
    "CREATE STATISTICS " S ".st2 ON (" ID " % 3) FROM " USERS ";\n"
    "CREATE STATISTICS " S ".st3 ON \"Region\", parent FROM " USERS ";\n"
    "ALTER STATISTICS " S ".\"st'1\" SET STATISTICS 55;\n"
    "COMMENT ON STATISTICS " S ".st2 IS 's''2';\n"
    "COMMENT ON INDEX " S ".inc IS 'in''c';\n"
    "COMMENT ON CONSTRAINT \"both'\" ON " USERS " IS 'bo''th';\n"
    "COMMENT ON CONSTRAINT \"po\"\"sitive\" ON " USERS " IS 'po''s';\n"
    "COMMENT ON CONSTRAINT \"of\" ON " S ".\"Orders\" IS 'o''f';\n"
    "COMMENT ON COLUMN " USERS "." ID " IS 'the ''id''';\n"
    "ALTER TABLE " USERS " ALTER " ID " SET STATISTICS 321,\n"
    "    ALTER " ID " SET (n_distinct = -0.5, n_distinct_inherited = 3);\n"
    "GRANT USAGE ON SCHEMA " S " TO \"Al \"\"ice\";\n"
    "GRANT SELECT ON " USERS " TO bob;\n"
    "GRANT SELECT (" ID "), UPDATE (" ID ") ON " USERS " TO \"Al \"\"ice\" WITH GRANT OPTION;\n"
    "GRANT SELECT (name) ON " USERS " TO bob;\n"
    "SET ROLE \"Al \"\"ice\";\n"
    "GRANT SELECT (" ID ") ON " USERS " TO PUBLIC;\n"
    "RESET ROLE;\n"
    "INSERT INTO " S ".base SELECT 5, i FROM generate_series(1, 20) AS i;\n"
    "INSERT INTO " USERS " (\"Region\", parent) SELECT 5, 1 FROM generate_series(1, 10)";

static const char TEXTUAL[] =
    "CREATE SCHEMA " S ";\n"
    "CREATE TABLE " USERS " (k int PRIMARY KEY, " ID " text COLLATE \"C\" DEFAULT 'a''b');\n"
    "ALTER TABLE " USERS " ALTER " ID " SET STORAGE EXTERNAL, ALTER " ID " SET COMPRESSION pglz;\n"
    "CREATE INDEX pattern ON " USERS " (" ID " text_pattern_ops);\n"
    "CREATE UNIQUE INDEX lowered ON " USERS " (lower(" ID ") COLLATE \"POSIX\");\n"
    "ALTER TABLE " USERS " ADD CONSTRAINT long CHECK (length(" ID ") < 40);\n"
    "INSERT INTO " USERS " VALUES (1, 'x')";

/*
 * Everything that belongs to columns of the tables, without what the order of making says: oids,
 * numbers. Names of constraints of NOT NULL are the kind's to keep.
 */
static const char PICTURE[] =
    "SELECT * FROM (\n"
    "    SELECT 'index', i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid),\n"
    "           concat_ws(' ', i.indisunique, i.indisprimary, i.indisclustered, "
    "i.indisreplident),\n"
    "           obj_description(i.indexrelid, 'pg_class'),\n"
    "           (SELECT string_agg(a.attnum || ':' || a.attstattarget, ',' ORDER BY a.attnum)\n"
    "              FROM pg_attribute AS a WHERE a.attrelid = i.indexrelid AND a.attstattarget >= "
    "0)\n"
    "      FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid\n"
    "     WHERE c.relnamespace = '" S "'::regnamespace\n"
    "    UNION ALL\n"
    "    SELECT 'constraint', k.conrelid::regclass || ' ' || k.conname, "
    "pg_get_constraintdef(k.oid),\n"
    "           k.convalidated::text, obj_description(k.oid, 'pg_constraint'), k.contype::text\n"
    "      FROM pg_constraint AS k\n"
    "     WHERE k.connamespace = '" S "'::regnamespace AND k.contype <> 'n'\n"
    "    UNION ALL\n"
    "    SELECT 'statistics', s.stxname,\n"
    "           concat_ws(' ', s.stxrelid::regclass, s.stxkind,\n"
    "               pg_get_statisticsobjdef_expressions(s.oid),\n"
    "               (SELECT array_agg(a.attname ORDER BY a.attname) FROM pg_attribute AS a\n"
    "                 WHERE a.attrelid = s.stxrelid AND a.attnum = ANY (s.stxkeys))),\n"
    "           coalesce(s.stxstattarget, -1)::text, obj_description(s.oid, 'pg_statistic_ext'), "
    "''\n"
    "      FROM pg_statistic_ext AS s WHERE s.stxnamespace = '" S "'::regnamespace\n"
    "    UNION ALL\n"
    "    SELECT 'column', a.attname, format_type(a.atttypid, a.atttypmod),\n"
    "           concat_ws(' ', a.attstorage, a.attcompression, a.attstattarget,\n"
    "                     a.attcollation::regcollation, a.attnotnull, pg_get_expr(d.adbin,\n"
    "                     d.adrelid)),\n"
    "           col_description(a.attrelid, a.attnum), concat_ws(' ', a.attacl,\n"
    "               (SELECT array_agg(o ORDER BY o) FROM unnest(a.attoptions) AS o\n"
    "                 WHERE o !~ '^pg_attver'))\n"
    "      FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid\n"
    "           AND d.adnum = a.attnum\n"
    "     WHERE a.attrelid = '" S
    ".\"Us''ers\"'::regclass AND a.attnum > 0 AND NOT a.attisdropped\n"
    ") AS p(kind, name, definition, b, c, d) ORDER BY kind, name";

static void make(const char *fixture)
{
    t_sql(ROLES);
    t_sql(fixture);
}

/* What the server makes of it. Leaves nothing. Of an index that it makes anew it forgets targets.
 */
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
    t_fail("expected:\n%.400s\n--- is:\n%.400s", expected + same, now + same);
}

/* ------------------------------------------------------------------------------------------ twin
 */

static void must(bool ok, const struct error *error)
{
    if (!ok)
        t_fail("%s (%s) %s", error->message, error->detail, error->hint);
}

static struct session *open_session(const char *conninfo)
{
    struct session_options options = {.conninfo = conninfo, .application_name = "pghaul test"};
    struct session *session;
    struct error error = {0};

    must(session_open(&session, &options, &error), &error);
    return session;
}

struct reading {
    struct arena arena;
    struct table *table;
    struct twin twin;
};

/* As a job does it, and through its plan. */
static bool read_as(const char *conninfo, struct reading *reading, const char *table,
                    const char *column, const char *as, const char *type, struct error *error)
{
    SESSION_AUTO *session = open_session(conninfo);
    struct run run = {.session = session};
    struct twin twin = {0};
    TEXT_AUTO json = {0};
    uint32_t oid;
    bool ok = table_find(session, table, "public", &oid, error) &&
              table_describe(session, oid, &reading->arena, &reading->table, error) &&
              session_begin(session, error) &&
              twin_read(&run, reading->table, column, as, type, "pghaul_7", &reading->arena, &twin,
                        error);

    session_rollback(session);
    if (!ok)
        return false;
    fields_to_json(twin_FIELDS, &twin, &json);
    return fields_from_json(text_string(&json), twin_FIELDS, &reading->arena, &reading->twin,
                            error);
}

static void read_twin(struct reading *reading, const char *as, const char *type)
{
    struct error error = {0};

    must(read_as(t_conninfo(), reading, USERS, "Id \"x", as, type, &error), &error);
}

static void run_text(struct text *sql)
{
    assert_false(sql->overflow);
    t_sql(text_string(sql));
    text_clear(sql);
}

static void make_column(const struct reading *reading, const char *as)
{
    const struct table *table = reading->table;
    const char *before;
    TEXT_AUTO sql = {0};

    twin_expand_sql(table, as, &reading->twin, &sql);
    before = t_text("SELECT pg_relation_filenode('" S ".\"Us''ers\"'::regclass)");
    run_text(&sql);
    t_expect("SELECT pg_relation_filenode('" S ".\"Us''ers\"'::regclass)", before);
    text_append(&sql, "BEGIN;\n");
    twin_decorate_sql(table, as, &reading->twin, &sql);
    text_append(&sql, "COMMIT");
    run_text(&sql);
    sql_expand(&sql, "UPDATE {table} SET {as} = {old}",
               SQL_NAMES({"table", sql_table(table->schema, table->name)}, {"as", sql_ident(as)},
                         {"old", sql_ident("Id \"x")}));
    run_text(&sql);
}

static void make_indexes(const struct reading *reading)
{
    const struct table *table = reading->table;
    TEXT_AUTO sql = {0};

    for (int i = 0; i < reading->twin.index_count; i++) {
        const struct twin_index *index = &reading->twin.indexes[i];

        sql_expand(&sql, "CREATE {unique}INDEX CONCURRENTLY {name} ON {table} {tail}",
                   SQL_NAMES({"unique", sql_fragment(index->unique ? "UNIQUE " : "")},
                             {"name", sql_ident(index->twin_name)},
                             {"table", sql_table(table->schema, table->name)},
                             {"tail", sql_fragment(index->tail)}));
        run_text(&sql);
        if (index->statistics_sql != NULL)
            t_sql(index->statistics_sql);
    }
}

static void make_others(const struct reading *reading)
{
    const struct twin *twin = &reading->twin;
    TEXT_AUTO sql = {0};

    for (int i = 0; i < twin->constraint_count; i++) {
        const struct twin_constraint *constraint = &twin->constraints[i];

        sql_expand(&sql, "ALTER TABLE {table} ADD CONSTRAINT {name} {definition};\n",
                   SQL_NAMES({"table", sql_table(constraint->schema, constraint->table)},
                             {"name", sql_ident(constraint->twin_name)},
                             {"definition", sql_fragment(constraint->definition)}));
        if (constraint->validated)
            sql_expand(&sql, "ALTER TABLE {table} VALIDATE CONSTRAINT {name};\n",
                       SQL_NAMES({"table", sql_table(constraint->schema, constraint->table)},
                                 {"name", sql_ident(constraint->twin_name)}));
    }
    for (int i = 0; i < twin->statistics_count; i++)
        sql_expand(&sql,
                   "CREATE STATISTICS {name} {definition};\n"
                   "ALTER STATISTICS {name} SET STATISTICS {target};\n",
                   SQL_NAMES({"name",
                              sql_table(twin->statistics[i].schema, twin->statistics[i].twin_name)},
                             {"definition", sql_fragment(twin->statistics[i].definition)},
                             {"target", sql_fragment(NUMBER(twin->statistics[i].target))}));
    if (sql.used > 0)
        run_text(&sql);
}

static void comment(const char *what, const char *text, struct text *sql)
{
    sql_expand(sql, "COMMENT ON {what} IS {text};\n",
               SQL_NAMES({"what", sql_fragment(what)}, {"text", sql_literal(text)}));
}

/* The column's own go with it; theirs take the names. */
static void take_index(const struct reading *reading, const struct twin_index *index,
                       struct text *sql)
{
    const struct table *table = reading->table;
    const struct sql_name *names = SQL_NAMES(
        {"table", sql_table(table->schema, table->name)}, {"name", sql_ident(index->name)},
        {"constraint", sql_ident(index->constraint == NULL ? "" : index->constraint)},
        {"twin", sql_table(table->schema, index->twin_name)},
        {"using", sql_ident(index->twin_name)}, {"index", sql_table(table->schema, index->name)},
        {"key", sql_fragment(index->constraint_type == 'p' ? "PRIMARY KEY" : "UNIQUE")});
    TEXT_AUTO what = {0};

    if (index->constraint != NULL)
        sql_expand(sql,
                   "ALTER TABLE {table} ADD CONSTRAINT {constraint} {key} USING INDEX {using};\n",
                   names);
    else
        sql_expand(sql, "ALTER INDEX {twin} RENAME TO {name};\n", names);
    if (index->clustered)
        sql_expand(sql, "ALTER TABLE {table} CLUSTER ON {name};\n", names);
    if (index->replica_identity)
        sql_expand(sql, "ALTER TABLE {table} REPLICA IDENTITY USING INDEX {name};\n", names);
    sql_expand(&what, "INDEX {index}", names);
    comment(text_string(&what), index->comment, sql);
    text_clear(&what);
    sql_expand(&what, "CONSTRAINT {constraint} ON {table}", names);
    if (index->constraint != NULL)
        comment(text_string(&what), index->constraint_comment, sql);
}

static void take_constraint(const struct twin_constraint *constraint, struct text *sql)
{
    const struct sql_name *names = SQL_NAMES(
        {"table", sql_table(constraint->schema, constraint->table)},
        {"name", sql_ident(constraint->name)}, {"twin", sql_ident(constraint->twin_name)});
    TEXT_AUTO what = {0};

    sql_expand(sql, "ALTER TABLE {table} RENAME CONSTRAINT {twin} TO {name};\n", names);
    sql_expand(&what, "CONSTRAINT {name} ON {table}", names);
    comment(text_string(&what), constraint->comment, sql);
}

static void take_statistics(const struct twin_statistics *statistics, struct text *sql)
{
    const struct sql_name *names =
        SQL_NAMES({"twin", sql_table(statistics->schema, statistics->twin_name)},
                  {"name", sql_ident(statistics->name)},
                  {"old", sql_table(statistics->schema, statistics->name)});
    TEXT_AUTO what = {0};

    sql_expand(sql, "DROP STATISTICS IF EXISTS {old};\nALTER STATISTICS {twin} RENAME TO {name};\n",
               names);
    sql_expand(&what, "STATISTICS {old}", names);
    comment(text_string(&what), statistics->comment, sql);
}

/* Default, sequence, NOT NULL; the old column away, the twin under the name `final`. */
static void take_place(const struct reading *reading, const char *as, const char *final)
{
    const struct twin *twin = &reading->twin;
    const struct sql_name *names =
        SQL_NAMES({"table", sql_table(reading->table->schema, reading->table->name)},
                  {"as", sql_ident(as)}, {"old", sql_ident("Id \"x")}, {"final", sql_ident(final)},
                  {"default", sql_fragment(twin->default_sql == NULL ? "NULL" : twin->default_sql)},
                  {"sequence", sql_fragment(twin->sequence == NULL ? "" : twin->sequence)});
    TEXT_AUTO sql = {0};

    if (twin->default_sql != NULL)
        sql_expand(&sql, "ALTER TABLE {table} ALTER COLUMN {as} SET DEFAULT {default};\n", names);
    if (twin->not_null)
        sql_expand(&sql, "ALTER TABLE {table} ALTER COLUMN {as} SET NOT NULL;\n", names);
    if (twin->sequence != NULL)
        sql_expand(&sql, "ALTER SEQUENCE {sequence} OWNED BY {table}.{as};\n", names);
    sql_expand(&sql, "ALTER TABLE {table} DROP COLUMN {old} CASCADE;\n", names);
    if (strcmp(as, final) != 0)
        sql_expand(&sql, "ALTER TABLE {table} RENAME COLUMN {as} TO {final};\n", names);
    for (int i = 0; i < twin->index_count; i++)
        take_index(reading, &twin->indexes[i], &sql);
    for (int i = 0; i < twin->constraint_count; i++)
        take_constraint(&twin->constraints[i], &sql);
    for (int i = 0; i < twin->statistics_count; i++)
        take_statistics(&twin->statistics[i], &sql);
    run_text(&sql);
}

static void make_twin_and_swap(struct reading *reading, const char *as, const char *final)
{
    make_column(reading, as);
    make_indexes(reading);
    make_others(reading);
    take_place(reading, as, final);
    arena_deinit(&reading->arena);
}

/* ----------------------------------------------------------------------------------------- whole
 */

static void a_twin_has_what_a_rename_would_keep(void)
{
    struct reading reading = {0};
    const char *expected;

    make(WIDE);
    expected = picture_after("ALTER TABLE " USERS " RENAME COLUMN " ID " TO \"New'\"\"\"");
    read_twin(&reading, "New'\"", NULL);
    assert_int_equal(reading.twin.index_count, 7);
    assert_int_equal(reading.twin.constraint_count, 8);
    assert_int_equal(reading.twin.statistics_count, 2);
    assert_string_equal(reading.twin.type, reading.twin.old_type);
    assert_true(reading.twin.sequence_is_serial);
    make_twin_and_swap(&reading, "New'\"", "New'\"");
    same_picture(expected);
}

static void a_twin_has_what_a_change_of_type_would_keep(void)
{
    struct reading reading = {0};
    const char *expected;

    make(WIDE);
    expected = picture_after("ALTER TABLE " USERS " ALTER COLUMN " ID " TYPE bigint;\n"
                             "ALTER INDEX " S ".\"ex'pr\" ALTER COLUMN 1 SET STATISTICS 77;\n"
                             "ALTER STATISTICS " S ".\"st'1\" SET STATISTICS 55");
    read_twin(&reading, "twin", "bigint");
    assert_string_equal(reading.twin.old_type, "integer");
    assert_string_equal(reading.twin.type, "bigint");
    make_twin_and_swap(&reading, "twin", "Id \"x");
    same_picture(expected);
}

static void a_text_keeps_its_storage_collation_and_operator_classes(void)
{
    struct reading reading = {0};
    const char *expected;

    make(TEXTUAL);
    expected = picture_after("ALTER TABLE " USERS " RENAME COLUMN " ID " TO b");
    read_twin(&reading, "b", NULL);
    assert_int_equal(reading.twin.storage, 'e');
    assert_int_equal(reading.twin.compression, 'p');
    make_twin_and_swap(&reading, "b", "b");
    same_picture(expected);
}

static void a_text_of_another_type_has_what_the_server_would_give_it(void)
{
    struct reading reading = {0};
    const char *expected;

    make(TEXTUAL);
    expected = picture_after("ALTER TABLE " USERS " ALTER COLUMN " ID
                             " TYPE varchar(50) COLLATE \"POSIX\"");
    read_twin(&reading, "twin", "varchar(50) COLLATE \"POSIX\"");
    assert_string_equal(reading.twin.type, "character varying(50)");
    make_twin_and_swap(&reading, "twin", "Id \"x");
    same_picture(expected);
}

/* A key to the table itself, from the column: the key that it references is not the column's. */
static void a_foreign_key_to_the_table_itself_is_tried_with_the_new_type(void)
{
    struct reading reading = {0};
    const char *expected;

    make("CREATE SCHEMA " S ";\n"
         "CREATE TABLE " USERS " (k int PRIMARY KEY, " ID " int REFERENCES " USERS ")");
    expected = picture_after("ALTER TABLE " USERS " ALTER COLUMN " ID " TYPE bigint");
    read_twin(&reading, "twin", "bigint");
    assert_int_equal(reading.twin.index_count, 0);
    make_twin_and_swap(&reading, "twin", "Id \"x");
    same_picture(expected);
}

/* Since 18 it is a constraint that has a name; and may be NOT VALID, which promises nothing. */
static void not_null_is_known_by_its_name(void)
{
    struct reading reading = {0};

    make(TEXTUAL);
    read_twin(&reading, "b", NULL);
    assert_false(reading.twin.not_null);
    assert_null(reading.twin.not_null_name);
    t_sql("ALTER TABLE " USERS " ALTER " ID " SET NOT NULL");
    read_twin(&reading, "b", NULL);
    assert_true(reading.twin.not_null);
    if (t_server_version() >= 180000) {
        t_sql("ALTER TABLE " USERS " ALTER " ID " DROP NOT NULL,\n"
              "    ADD CONSTRAINT \"na'me\" NOT NULL " ID " NOT VALID;\n"
              "COMMENT ON CONSTRAINT \"na'me\" ON " USERS " IS 'why'");
        read_twin(&reading, "b", NULL);
        assert_false(reading.twin.not_null);
        assert_string_equal(reading.twin.not_null_name, "na'me");
        assert_string_equal(reading.twin.not_null_comment, "why");
    }
    arena_deinit(&reading.arena);
}

/* ON DELETE SET NULL of some columns: since 15. Enforced or not: since 18. */
static void what_newer_servers_know_is_kept(void)
{
    struct reading reading = {0};
    const char *expected;

    if (t_server_version() < 150000)
        t_skip("needs PostgreSQL 15");
    make(TEXTUAL);
    t_sql("CREATE TABLE " S ".pair (a text COLLATE \"C\", b int, UNIQUE (a, b));\n"
          "ALTER TABLE " USERS " ADD n int, ADD CONSTRAINT part FOREIGN KEY (" ID ", n)\n"
          "    REFERENCES " S ".pair (a, b) ON DELETE SET NULL (" ID ");\n"
          "CREATE UNIQUE INDEX nulls ON " USERS " (" ID ") NULLS NOT DISTINCT");
    if (t_server_version() >= 180000)
        t_sql("ALTER TABLE " USERS " ADD CONSTRAINT soft CHECK (" ID " <> 'y') NOT ENFORCED,\n"
              "    ADD CONSTRAINT loose FOREIGN KEY (" ID ", n) REFERENCES " S ".pair (a, b)\n"
              "        NOT ENFORCED");
    expected = picture_after("ALTER TABLE " USERS " RENAME COLUMN " ID " TO b");
    read_twin(&reading, "b", NULL);
    make_twin_and_swap(&reading, "b", "b");
    same_picture(expected);
}

static void the_old_constraints_can_be_restored_as_they_were(void)
{
    struct reading reading = {0};
    const char *before;
    TEXT_AUTO sql = {0};

    make(WIDE);
    before = t_rows(PICTURE);
    read_twin(&reading, "b", NULL);
    for (int i = 0; i < reading.twin.constraint_count; i++) {
        const struct twin_constraint *constraint = &reading.twin.constraints[i];
        const struct sql_name *names =
            SQL_NAMES({"table", sql_table(constraint->schema, constraint->table)},
                      {"name", sql_ident(constraint->name)},
                      {"definition", sql_fragment(constraint->restore)});
        TEXT_AUTO what = {0};

        sql_expand(&sql,
                   "ALTER TABLE {table} DROP CONSTRAINT {name};\n"
                   "ALTER TABLE {table} ADD CONSTRAINT {name} {definition};\n",
                   names);
        if (constraint->validated)
            sql_expand(&sql, "ALTER TABLE {table} VALIDATE CONSTRAINT {name};\n", names);
        sql_expand(&what, "CONSTRAINT {name} ON {table}", names);
        comment(text_string(&what), constraint->comment, &sql);
    }
    run_text(&sql);
    same_picture(before);
    arena_deinit(&reading.arena);
}

static const struct twin_constraint *key_named(const struct twin *twin, const char *name)
{
    for (int i = 0; i < twin->constraint_count; i++)
        if (strcmp(twin->constraints[i].name, name) == 0)
            return &twin->constraints[i];
    t_fail("there is no %s", name);
}

static void a_foreign_key_says_its_direction_and_its_other_table(void)
{
    struct reading reading = {0};
    const struct twin *twin = &reading.twin;

    make(WIDE);
    read_twin(&reading, "b", NULL);
    assert_true(key_named(twin, "up")->outgoing && !key_named(twin, "up")->incoming);
    assert_string_equal(key_named(twin, "up")->other, S ".base");
    assert_true(key_named(twin, "of")->incoming && !key_named(twin, "of")->outgoing);
    assert_string_equal(key_named(twin, "of")->table, "Orders");
    assert_string_equal(key_named(twin, "of")->other, USERS);
    assert_true(key_named(twin, "down")->self && key_named(twin, "down")->incoming);
    assert_false(key_named(twin, "down")->outgoing);
    assert_null(key_named(twin, "down")->other);
    assert_true(key_named(twin, "round")->incoming && key_named(twin, "round")->outgoing);
    assert_false(key_named(twin, "round")->validated);
    assert_null(key_named(twin, "later")->other);
    arena_deinit(&reading.arena);
}

/* The type is what the user means by its name; nothing of it stays in the session. */
static void a_type_is_found_under_the_users_search_path(void)
{
    struct reading reading = {0};
    struct error error = {0};

    make("CREATE SCHEMA app; CREATE DOMAIN app.amount AS numeric(9,2);\n"
         "CREATE TYPE app.\"Mood\" AS ENUM ('a', 'b');\n"
         "CREATE TABLE t (id int, mood text);\n"
         "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = app, public',\n"
         "    current_database()); END $$");
    must(read_as(t_conninfo(), &reading, "public.t", "id", "b", "amount", &error), &error);
    assert_string_equal(reading.twin.type, "app.amount");
    must(read_as(t_conninfo(), &reading, "public.t", "mood", "b", "\"Mood\"", &error), &error);
    assert_string_equal(reading.twin.type, "app.\"Mood\"");
    arena_deinit(&reading.arena);
}

/* -------------------------------------------------------------------------------------- refusals
 */

static const struct refusal {
    int since;
    const char *sql;
    const char *type;
    const char *message;
} REFUSALS[] = {
    {0, "CREATE TABLE t (b int)", NULL, "public.t has no column a"},
    {0, "CREATE TABLE t (a int, twin int)", NULL, "public.t has a column twin already"},
    {0, "CREATE TABLE t (b int, a int GENERATED ALWAYS AS (b) STORED)", NULL,
     "column a is generated"},
    {0, "CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a) STORED)", NULL,
     "generated column b reads column a"},
    {0, "CREATE TABLE p (a int); CREATE TABLE t () INHERITS (p)", NULL,
     "public.t inherits column a"},
    {0, "CREATE TABLE t (a int); CREATE TABLE c () INHERITS (t)", NULL,
     "public.c inherits from public.t"},
    {0, "CREATE TYPE y AS (a int); CREATE TABLE t OF y", NULL, "public.t is a typed table"},
    {0, "CREATE TABLE t (a box, EXCLUDE USING gist (a WITH &&))", NULL,
     "exclusion constraint t_a_excl has column a"},
    {0, "CREATE TABLE t (b box, a int, EXCLUDE USING gist (b WITH &&) WHERE (a > 1))", NULL,
     "exclusion constraint t_b_excl has column a"},
    {0, "CREATE TABLE t (a int UNIQUE DEFERRABLE)", NULL, "constraint t_a_key is deferrable"},
    {150000, "CREATE TABLE t (a int UNIQUE NULLS NOT DISTINCT)", "bigint",
     "unique index t_a_key takes nulls for equal"},
    {0, "CREATE TABLE t (a int, CHECK (t IS NOT NULL))", NULL,
     "constraint t_check is over whole rows"},
    {0,
     "CREATE TABLE p (a int PRIMARY KEY) PARTITION BY LIST (a);\n"
     "CREATE TABLE t (a int REFERENCES p)",
     NULL, "foreign key t_a_fkey is with a partitioned table"},
    {0,
     "CREATE TABLE t (a int PRIMARY KEY);\n"
     "CREATE TABLE p (b int REFERENCES t) PARTITION BY LIST (b);\n"
     "CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)",
     NULL, "foreign key p_b_fkey is with a partitioned table"},
    {0,
     "CREATE TABLE p (a int PRIMARY KEY);\n"
     "CREATE TABLE t (a int DEFAULT 1 REFERENCES p ON DELETE SET DEFAULT)",
     NULL, "foreign key t_a_fkey sets column a to its default"},
    {0, "CREATE DOMAIN d AS int CHECK (value > 0); CREATE DOMAIN e AS d; CREATE TABLE t (a e)",
     NULL, "domain public.d has constraints"},
    {0, "CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY)", "numeric",
     "column a is an identity column"},
    {0, "CREATE TABLE t (a int, b int)", "bigint USING 1, ALTER b TYPE bigint",
     "\"bigint USING 1, ALTER b TYPE bigint\" is more than a type"},
    {0, "CREATE TABLE t (a int)", "bogus", "column a as bogus: type \"bogus\" does not exist"},
    {0, "CREATE TABLE t (a text DEFAULT 'x')", "int",
     "column a as int: default for column \"a\" cannot be cast automatically to type integer"},
    {0, "CREATE TABLE t (a text); CREATE INDEX i ON t (a text_pattern_ops)", "int",
     "column a as int: operator class \"text_pattern_ops\" does not accept data type integer"},
    {0, "CREATE TABLE t (a text CHECK (a <> ''::text))", "int",
     "column a as int: operator does not exist: integer <> text"},
    {0, "CREATE TABLE p (a int PRIMARY KEY); CREATE TABLE t (a int REFERENCES p)", "text",
     "foreign key t_a_fkey of public.t: foreign key constraint \"t_a_fkey\" cannot be implemented"},
    {0, "CREATE TABLE t (a int PRIMARY KEY); CREATE TABLE c (b int REFERENCES t)", "text",
     "foreign key c_b_fkey of public.c: foreign key constraint"},
    {0, "CREATE TABLE t (a int PRIMARY KEY, b int REFERENCES t)", "text",
     "foreign key t_b_fkey of public.t: foreign key constraint"},
    {0, "CREATE TABLE t (id int PRIMARY KEY, a int REFERENCES t)", "text",
     "foreign key t_a_fkey of public.t: foreign key constraint \"t_a_fkey\" cannot be implemented"},
    {180000,
     "CREATE TABLE p (a int4range, v tsrange, PRIMARY KEY (a, v WITHOUT OVERLAPS));\n"
     "CREATE TABLE t (a int4range, v tsrange,\n"
     "    FOREIGN KEY (a, PERIOD v) REFERENCES p (a, PERIOD v))",
     NULL, "foreign key t_a_v_fkey is over a PERIOD"},
    {180000, "CREATE TABLE t (a int4range, v tsrange, PRIMARY KEY (a, v WITHOUT OVERLAPS))", NULL,
     "exclusion constraint t_pkey has column a"},
};

static void what_cannot_have_a_twin_is_refused_with_the_reason(void)
{
    for (size_t i = 0; i < sizeof(REFUSALS) / sizeof(*REFUSALS); i++) {
        const struct refusal *refusal = &REFUSALS[i];
        struct reading reading = {0};
        struct error error = {0};

        if (t_server_version() < refusal->since)
            continue;
        t_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
        t_sql(refusal->sql);
        if (read_as(t_conninfo(), &reading, "t", "a", "twin", refusal->type, &error))
            t_fail("was not refused: %s", refusal->sql);
        if (error.code != ERROR_REFUSED || strstr(error.message, refusal->message) == NULL)
            t_fail("%s\nexpected: %s\n      is: %s (%s)", refusal->sql, refusal->message,
                   error.message, error.detail);
        arena_deinit(&reading.arena);
    }
}

static void a_foreign_key_of_somebody_elses_table_is_refused(void)
{
    struct reading reading = {0};
    struct error error = {0};

    make("GRANT CREATE, USAGE ON SCHEMA public TO bob;\n"
         "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE t (a int PRIMARY KEY REFERENCES p);\n"
         "CREATE TABLE c (b int REFERENCES t); ALTER TABLE t OWNER TO bob;\n"
         "GRANT REFERENCES (id), UPDATE ON p TO bob");
    assert_false(read_as(t_conninfo_as("bob"), &reading, "t", "a", "twin", "bigint", &error));
    assert_string_equal(error.message,
                        "role bob does not own public.c, which has foreign key c_b_fkey");
    t_sql("DROP TABLE c");
    must(read_as(t_conninfo_as("bob"), &reading, "t", "a", "twin", "bigint", &error), &error);
    t_sql("REVOKE UPDATE ON p FROM bob");
    assert_false(read_as(t_conninfo_as("bob"), &reading, "t", "a", "twin", "bigint", &error));
    assert_string_equal(error.message, "role bob may not reference public.p, or not lock it");
    arena_deinit(&reading.arena);
}

/* Reading must not stand in the application's way: it holds no lock that a writer waits for. */
static void a_reading_locks_nothing_that_a_writer_needs(void)
{
    SESSION_AUTO *session = NULL;
    struct run run = {0};
    struct arena arena = {0};
    struct table *table;
    struct twin twin = {0};
    struct error error = {0};
    uint32_t oid;

    make(WIDE);
    session = open_session(t_conninfo());
    run.session = session;
    must(table_find(session, USERS, "public", &oid, &error), &error);
    must(table_describe(session, oid, &arena, &table, &error), &error);
    must(session_begin(session, &error), &error);
    must(twin_read(&run, table, "Id \"x", "twin", "bigint", "pghaul_7", &arena, &twin, &error),
         &error);
    t_expect("SELECT count(*) FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation\n"
             " WHERE c.relnamespace = '" S "'::regnamespace AND l.mode <> 'AccessShareLock'",
             "0");
    t_expect("SELECT count(*) > 0 FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation\n"
             " WHERE c.relname = 'Us''ers'",
             "t");
    session_rollback(session);
    arena_deinit(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_twin_has_what_a_rename_would_keep),
        t_test(a_twin_has_what_a_change_of_type_would_keep),
        t_test(a_text_keeps_its_storage_collation_and_operator_classes),
        t_test(a_text_of_another_type_has_what_the_server_would_give_it),
        t_test(a_foreign_key_to_the_table_itself_is_tried_with_the_new_type),
        t_test(not_null_is_known_by_its_name),
        t_test(what_newer_servers_know_is_kept),
        t_test(the_old_constraints_can_be_restored_as_they_were),
        t_test(a_foreign_key_says_its_direction_and_its_other_table),
        t_test(a_type_is_found_under_the_users_search_path),
        t_test(what_cannot_have_a_twin_is_refused_with_the_reason),
        t_test(a_foreign_key_of_somebody_elses_table_is_refused),
        t_test(a_reading_locks_nothing_that_a_writer_needs),
    };

    return T_MAIN(tests);
}
