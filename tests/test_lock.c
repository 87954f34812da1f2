/* Waiting for locks on the application's table: nobody gives up before lock.tries tries. */
#include "tests/harness.h"

#include <string.h>

#include "copy/lock.h"
#include "engine/base/clock.h"

static const char TABLE[] = "ONLY \"public\".\"t\"";

struct locking {
    struct log log;
    struct stop stop;
    struct progress progress;
    struct run run;
    int calls; /* of the work */
};

/* A job to record locks with, and a session as its control session is. */
static void begin(struct locking *locking)
{
    struct error error = {0};
    struct t_result result;

    t_sql("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1); ANALYZE t");
    t_run(&result, "column", "rename", "t", "v", "w", "--job", "j", NULL);
    t_expect_status(&result, 0);
    *locking = (struct locking){.calls = 0};
    log_init(&locking->log, LOG_QUIET);
    progress_init(&locking->progress);
    locking->run = (struct run){
        .connect = {.conninfo = t_conninfo(), .application_name = "pghaul"},
        .log = &locking->log,
        .stop = &locking->stop,
        .progress = &locking->progress,
    };
    settings_init(&locking->run.job.settings);
    locking->run.job.id = t_int("SELECT id FROM pghaul.job");
    if (!session_open(&locking->run.session, &locking->run.connect, &error) ||
        !session_run(locking->run.session, "SET lock_timeout = 50", &error))
        t_fail("%s", error.message);
}

static void end(struct locking *locking)
{
    session_close(locking->run.session);
    progress_deinit(&locking->progress);
    log_deinit(&locking->log);
}

/* Somebody who has the table, and whom the server ends after a while. */
static void hold(const char *mode, const char *for_how_long)
{
    t_do(t_session("holder"),
         t_format("SET idle_in_transaction_session_timeout = '%s'; BEGIN; LOCK TABLE t IN %s MODE",
                  for_how_long, mode));
}

static bool nothing(struct run *run, void *arg, struct error *error)
{
    (void)run;
    (void)error;
    ++*(int *)arg;
    return true;
}

static bool read_it(struct run *run, void *arg, struct error *error)
{
    ROWS_AUTO rows = {0};

    ++*(int *)arg;
    return session_query(run->session, &rows, "SELECT v FROM public.t", NO_PARAMS, error);
}

static bool change(struct locking *locking, struct lock_report *report, struct error *error)
{
    return lock_and_change(&locking->run,
                           &(struct lock_change){.what_for = "test",
                                                 .tables = TABLE,
                                                 .mode = "ACCESS EXCLUSIVE",
                                                 .work = nothing,
                                                 .arg = &locking->calls},
                           report, error);
}

static void a_change_waits_until_a_long_transaction_is_over(void)
{
    /* Whatever the caller's memory held before. */
    struct lock_report report = {.attempts = 1000};
    struct locking locking;
    struct error error = {0};

    begin(&locking);
    hold("ACCESS SHARE", "3s");
    clock_sleep_ms(1000);
    if (!change(&locking, &report, &error))
        t_fail("%s: %s", error.message, error.detail);
    assert_in_range(report.attempts, 2, locking.run.job.settings.lock_tries);
    assert_int_equal(locking.calls, 1);
    end(&locking);
}

static void a_change_gives_up_after_its_tries_and_names_who_is_there(void)
{
    struct lock_report report;
    struct locking locking;
    struct error error = {0};

    begin(&locking);
    locking.run.job.settings.lock_tries = 3;
    hold("ACCESS SHARE", "60s");
    clock_sleep_ms(1000);
    assert_false(change(&locking, &report, &error));
    assert_int_equal(error.code, ERROR_LOCK);
    assert_non_null(strstr(error.detail, "idle in transaction"));
    assert_int_equal(locking.calls, 0);
    end(&locking);
}

static void a_reader_tries_again_while_a_lock_is_in_the_way(void)
{
    struct locking locking;
    struct error error = {0};

    begin(&locking);
    hold("ACCESS EXCLUSIVE", "1s");
    if (!lock_patiently(&locking.run, read_it, &locking.calls, &error))
        t_fail("%s", error.message);
    assert_in_range(locking.calls, 2, locking.run.job.settings.lock_tries);
    hold("ACCESS EXCLUSIVE", "60s");
    locking.calls = 0;
    locking.run.job.settings.lock_tries = 3;
    assert_false(lock_patiently(&locking.run, read_it, &locking.calls, &error));
    assert_int_equal(error.code, ERROR_LOCK);
    assert_int_equal(locking.calls, 3);
    end(&locking);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(a_change_waits_until_a_long_transaction_is_over),
        t_test(a_change_gives_up_after_its_tries_and_names_who_is_there),
        t_test(a_reader_tries_again_while_a_lock_is_in_the_way),
    };

    return T_MAIN(tests);
}
