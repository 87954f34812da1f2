/*
 * The walk alone, with the smallest possible work: write down every number of every chunk. A table
 * with a primary key then says whether each was done exactly once.
 */
#include "tests/harness.h"

#include <stdatomic.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/job/pace.h"
#include "engine/job/schema.h"
#include "engine/job/walk.h"

static const char BOUND[] =
    "SELECT ARRAY[least(at + $3::bigint, hi)::text], at + $3::bigint >= hi, least($3::bigint, hi - "
    "at)\n"
    "  FROM (SELECT ($1::text[])[1]::bigint AS at, ($2::text[])[1]::bigint AS hi) AS position";

static const char WORK[] =
    "INSERT INTO public.done SELECT n FROM generate_series(($1::text[])[1]::bigint, "
    "($2::text[])[1]::bigint - 1) AS n";

struct fixture {
    struct run run;
    struct log log;
    struct stop stop;
    struct progress progress;
    struct walk walk;
    int64_t chunk_ms; /* how long the work of a chunk takes */
};

static bool write_down(struct walk_chunk *chunk, void *arg, struct error *error)
{
    const struct fixture *fixture = arg;

    if (!session_execute(chunk->session, WORK, PARAMS(chunk->from, chunk->to), &chunk->rows, error))
        return false;
    clock_sleep_ms(fixture->chunk_ms);
    return true;
}

static void start(struct fixture *fixture, int spans, int numbers)
{
    static const char *const PHASES[] = {"walk", NULL};
    struct error error = {0};

    t_sql("CREATE TABLE done (n bigint PRIMARY KEY)");
    *fixture = (struct fixture){0};
    log_init(&fixture->log, LOG_QUIET);
    progress_init(&fixture->progress);
    fixture->run = (struct run){
        .connect = {.conninfo = t_conninfo(), .cancel_list = cancel_list_new()},
        .log = &fixture->log,
        .stop = &fixture->stop,
        .pace = pace_none(),
        .progress = &fixture->progress,
        .job = {.kind = "walk",
                .table_schema = "public",
                .table_name = "done",
                .spec = "{}",
                .plan = "{}"},
    };
    settings_init(&fixture->run.job.settings);
    fixture->run.job.settings.chunk_time_ms = 20;
    fixture->walk = (struct walk){
        .phase = "walk",
        .bound_sql = BOUND,
        .chunk = write_down,
        .work = fixture,
        .units_first = 10,
        .units_max = 10,
        .numbered = true,
    };
    if (!session_open(&fixture->run.session, &fixture->run.connect, &error) ||
        !schema_ensure(fixture->run.session, &error) ||
        !session_begin(fixture->run.session, &error) ||
        !job_insert(fixture->run.session, &fixture->run.job, PHASES, &error) ||
        !walk_plan(fixture->run.session, fixture->run.job.id, "walk",
                   "SELECT ARRAY[(n * $2::bigint)::text], ARRAY[((n + 1) * $2::bigint)::text]\n"
                   "  FROM generate_series(0, $1::bigint - 1) AS n ORDER BY n",
                   PARAMS(NUMBER(spans), NUMBER(numbers / spans)), &error) ||
        !session_commit(fixture->run.session, &error))
        t_fail("%s %s", error.message, error.detail);
}

static void end(struct fixture *fixture)
{
    session_close(fixture->run.session);
    cancel_list_free((struct cancel_list *)fixture->run.connect.cancel_list);
    progress_deinit(&fixture->progress);
    log_deinit(&fixture->log);
    job_deinit(&fixture->run.job);
}

static void walk(struct fixture *fixture)
{
    struct error error = {0};

    if (!walk_run(&fixture->run, &fixture->walk, &error))
        t_fail("%s %s", error.message, error.detail);
}

static void every_number_is_walked_exactly_once_by_three_workers(void)
{
    struct fixture fixture;

    start(&fixture, 20, 2000);
    fixture.walk.workers = 3;
    walk(&fixture);
    assert_int_equal(t_int("SELECT count(*) FROM done WHERE n >= 0 AND n < 2000"), 2000);
    assert_int_equal(t_int("SELECT sum(rows) FROM pghaul.span"), 2000);
    assert_int_equal(t_int("SELECT count(*) FROM pghaul.span WHERE state <> 'done'"), 0);
    end(&fixture);
}

static void an_idle_worker_cuts_the_largest_span_that_is_left(void)
{
    struct fixture fixture;

    start(&fixture, 1, 1000);
    fixture.walk.workers = 3;
    fixture.chunk_ms = 5;
    walk(&fixture);
    assert_int_equal(t_int("SELECT count(*) FROM done WHERE n >= 0 AND n < 1000"), 1000);
    assert_true(t_int("SELECT count(*) FROM pghaul.span") >= 3);
    assert_int_equal(t_int("SELECT count(*) FROM pghaul.span WHERE cursor IS DISTINCT FROM hi"), 0);
    /* The pieces tile the whole: no number is in two spans, none in no span. */
    assert_int_equal(t_int("SELECT sum(hi[1]::bigint - lo[1]::bigint) FROM pghaul.span"), 1000);
    end(&fixture);
}

/* Stops a moment later, from another thread's point of view: the signal of a person. */
static bool stop_after(struct walk_chunk *chunk, void *arg, struct error *error)
{
    struct fixture *fixture = arg;

    stop_request(&fixture->stop);
    return write_down(chunk, arg, error);
}

static void a_stop_ends_the_walk_within_one_chunk_and_another_goes_on(void)
{
    struct fixture fixture;
    struct error error = {0};

    start(&fixture, 4, 400);
    fixture.walk.workers = 1;
    fixture.walk.chunk = stop_after;
    assert_false(walk_run(&fixture.run, &fixture.walk, &error));
    assert_int_equal(error.code, ERROR_INTERRUPTED);
    assert_int_equal(t_int("SELECT count(*) FROM done"), 10);
    fixture.stop = (struct stop){0};
    fixture.walk.chunk = write_down;
    walk(&fixture);
    assert_int_equal(t_int("SELECT count(*) FROM done"), 400);
    end(&fixture);
}

/*
 * Chunks counted from 1, whoever does them. The first ten are one worker's; the tenth asks for
 * four, and nobody goes on before four have come; the hundredth asks for one.
 */
struct changing {
    struct fixture fixture;
    atomic_int chunks;
    atomic_int sessions; /* that did a chunk */
    atomic_int pids[8];
};

enum { GROW_AT = 10, SHRINK_AT = 100, WANTED_WORKERS = 4 };

static void note_session(struct changing *changing, int pid)
{
    for (int i = 0; i < 8; i++) {
        int empty = 0;

        if (atomic_compare_exchange_strong(&changing->pids[i], &empty, pid))
            atomic_fetch_add(&changing->sessions, 1);
        else if (empty != pid)
            continue;
        return;
    }
}

static bool change_workers(struct walk_chunk *chunk, void *arg, struct error *error)
{
    struct changing *changing = arg;
    struct job job = changing->fixture.run.job;
    int number = atomic_fetch_add(&changing->chunks, 1) + 1;

    note_session(changing, session_backend_pid(chunk->session));
    job.settings.workers = number == GROW_AT ? WANTED_WORKERS : 1;
    if ((number == GROW_AT || number == SHRINK_AT) &&
        !job_set_settings(chunk->session, &job, error))
        return false;
    for (int i = 0;
         i < 3000 && number > GROW_AT && atomic_load(&changing->sessions) < WANTED_WORKERS; i++)
        clock_sleep_ms(10);
    return session_execute(chunk->session,
                           "INSERT INTO public.by_session (pid) VALUES (pg_backend_pid())",
                           NO_PARAMS, NULL, error) &&
           write_down(chunk, &changing->fixture, error);
}

static void a_changed_number_of_workers_acts_on_the_walk_that_is_under_way(void)
{
    struct changing changing = {0};
    struct fixture *fixture = &changing.fixture;

    t_sql("CREATE TABLE by_session (number serial, pid int)");
    start(fixture, 40, 4000);
    fixture->run.job.settings.workers = 1;
    fixture->walk.chunk = change_workers;
    fixture->walk.work = &changing;
    fixture->chunk_ms = 2;
    walk(fixture);
    t_expect("SELECT count(*) FROM done", "4000");
    t_expect("SELECT count(DISTINCT pid) FROM by_session WHERE number < 10", "1");
    t_expect("SELECT count(DISTINCT pid) FROM by_session", "4");
    t_expect("SELECT count(DISTINCT pid) FROM by_session WHERE number > 300", "1");
    end(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        t_test(every_number_is_walked_exactly_once_by_three_workers),
        t_test(an_idle_worker_cuts_the_largest_span_that_is_left),
        t_test(a_changed_number_of_workers_acts_on_the_walk_that_is_under_way),
        t_test(a_stop_ends_the_walk_within_one_chunk_and_another_goes_on),
    };

    return T_MAIN(tests);
}
