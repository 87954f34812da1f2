/*
 * A publication FOR ALL TABLES that is made while a job is open: the server then refuses UPDATE and
 * DELETE of tables that have no replica identity, ours among them. The application sees nothing of
 * it, and the job says which publication is in the way.
 */
#include "tests/harness.h"
#include "tests/oracle.h"

static void must(const char *verb, const char *job)
{
    struct t_result result;

    t_run(&result, verb, job, "--yes", NULL);
    t_expect_status(&result, 0);
}

static void refused_by_name(const char *verb)
{
    struct t_result result;

    t_run(&result, verb, "j", "--yes", NULL);
    t_expect_status(&result, 3);
    t_expect_err(&result, "publication everything is FOR ALL TABLES");
    t_expect_err(&result, "drop it");
}

/* All kinds of writes, twice the same key, too. */
static void write_rows(void)
{
    t_sql(
        "UPDATE t SET v = v || '.' WHERE id % 3 = 0; DELETE FROM t WHERE id % 50 = 7;"
        "INSERT INTO t SELECT max(id) + 1, 'new' FROM t; UPDATE t SET id = -id WHERE id % 20 = 4");
}

/* `key`: the constraint that makes id one. */
static void goes_on_with(const char *key, const char *ready)
{
    const char *sum = "SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM t";
    const char *before;
    struct t_result result;

    t_sqlf("CREATE TABLE t (id int NOT NULL, v text); ALTER TABLE t ADD %s;"
           "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 500) AS i",
           key);
    t_run(&result, "alter", "t", "--job", "j", "-s", ready, "-s", "cutover.hold=30s", NULL);
    t_expect_status(&result, 0);
    if (strncmp(key, "UNIQUE", 6) == 0)
        t_sql("ALTER TABLE t REPLICA IDENTITY USING INDEX t_id_key");
    t_sql("CREATE PUBLICATION everything FOR ALL TABLES");
    write_rows();
    before = t_text(sum);
    refused_by_name("cutover");
    t_expect(sum, before);
    write_rows();
    t_sql("DROP PUBLICATION everything");
    if (strncmp(key, "UNIQUE", 6) == 0)
        t_sql("ALTER TABLE t REPLICA IDENTITY DEFAULT");
    before = t_text(sum);
    must("cutover", "j");
    t_expect(sum, before);
    /* the way back takes nobody's publication for a reason to stay */
    if (strncmp(key, "PRIMARY", 7) == 0) {
        t_sql("CREATE PUBLICATION everything FOR ALL TABLES");
        write_rows();
        t_run(&result, "resume", "j", NULL);
        t_expect_status(&result, 0);
        t_expect("SELECT (SELECT count(*) FROM pghaul.back_1_a)"
                 " + (SELECT count(*) FROM pghaul.back_1_b)",
                 "0");
        t_sql("DROP PUBLICATION everything");
    }
    before = t_text(sum);
    must("rollback", "j");
    t_expect(sum, before);
    nothing_of_ours_is_left();
}

static void one_that_comes_at_ready_is_named_and_the_application_writes_on(void)
{
    goes_on_with("PRIMARY KEY (id)", "ready=log");
}

static void so_it_does_where_the_triggers_write_through(void)
{
    goes_on_with("PRIMARY KEY (id)", "ready=dual-write");
}

/* The copy has no replica identity then: what cannot be written through is logged. */
static void so_it_does_where_the_copy_has_no_primary_key(void)
{
    goes_on_with("UNIQUE (id)", "ready=dual-write");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(one_that_comes_at_ready_is_named_and_the_application_writes_on),
        t_test(so_it_does_where_the_triggers_write_through),
        t_test(so_it_does_where_the_copy_has_no_primary_key),
    };

    return T_MAIN(tests);
}
