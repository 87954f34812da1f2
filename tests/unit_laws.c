/*
 * bench/laws: what other tools do when their replicas lag, by their own numbers. Time and signals
 * are made up here; no server.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench/laws.h"

#define SECOND INT64_C(1000000)

/* One law, and all that it is told. */
struct trial {
    const struct law *law;
    void *state;
    int64_t now_us;
    struct reading readings[SIGNAL_COUNT];
    struct law_input input;
    struct law_decision decision;
};

static void read_as(struct trial *trial, enum signal_id id, double value, double limit)
{
    trial->readings[id] = (struct reading){
        .state = READING_OK, .value = value, .limit = limit, .at_us = trial->now_us};
}

static struct trial begin(const char *name, int workers)
{
    struct trial trial = {.law = law_find(bench_laws, name), .now_us = 7 * SECOND};
    const struct law_config config = {
        .workers = workers, .chunk_ms = 500, .chunk_wal_max = 64 << 20};

    assert_non_null(trial.law);
    assert_string_equal(trial.law->name, name);
    trial.state = calloc(1, trial.law->state_size);
    trial.law->init(trial.state, &config, trial.now_us);
    read_as(&trial, SIGNAL_REPLICA_LAG_BYTES, 0, 64e6);
    read_as(&trial, SIGNAL_REPLICA_LAG_TIME, 0, 2);
    return trial;
}

static void tick_after(struct trial *trial, double seconds)
{
    trial->now_us += (int64_t)(seconds * (double)SECOND);
    trial->input.now_us = trial->now_us;
    trial->input.readings = trial->readings;
    memset(&trial->decision, 0xff, sizeof(trial->decision)); /* a tick says everything */
    trial->law->tick(trial->state, &trial->input, &trial->decision);
}

static void chunk(struct trial *trial, int64_t rows, double seconds, double bytes)
{
    trial->now_us += (int64_t)(seconds * (double)SECOND);
    trial->input.ours += bytes;
    trial->law->chunk(
        trial->state,
        &(struct law_chunk){
            .now_us = trial->now_us, .seconds = seconds, .bytes = bytes, .rows = rows},
        &trial->decision);
}

static void end(struct trial *trial)
{
    free(trial->state);
}

/* Lag as part of the limit, told in bytes. */
static void lag(struct trial *trial, double part)
{
    read_as(trial, SIGNAL_REPLICA_LAG_BYTES, part * 64e6, 64e6);
}

/* ---------------------------------------------------------------------------------------- all */

static void every_law_has_a_name_that_finds_it_and_its_origin(void **unused)
{
    int count = 0;

    (void)unused;
    for (const struct law *const *law = bench_laws; *law != NULL; law++, count++) {
        assert_ptr_equal(law_find(bench_laws, (*law)->name), *law);
        assert_true(strlen((*law)->what) > 10);
        assert_true((*law)->bare);
    }
    assert_int_equal(count, 5);
    assert_null(law_find(bench_laws, "auto"));
}

static void every_law_says_all_of_a_decision_and_nothing_impossible(void **unused)
{
    (void)unused;
    for (const struct law *const *law = bench_laws; *law != NULL; law++) {
        for (int workers = 1; workers <= 8; workers += 7) {
            struct trial trial = begin((*law)->name, workers);

            for (int i = 0; i < 400; i++) {
                lag(&trial, (i / 7) % 3);
                tick_after(&trial, 1);
                if (trial.law->chunk != NULL && trial.decision.bytes_per_second > 0)
                    chunk(&trial, 1000, 0.1, 1e6);
                assert_true(trial.decision.bytes_per_second >= 0);
                assert_true(trial.decision.delay_seconds >= 0 && trial.decision.delay_seconds < 60);
                assert_in_range(trial.decision.workers, 1, workers);
                assert_in_range(trial.decision.chunk_ms, 1, 500);
                assert_true(trial.decision.chunk_rows >= 0);
                assert_true(trial.decision.reason >= -1 && trial.decision.reason < SIGNAL_COUNT);
            }
            end(&trial);
        }
    }
}

static void lag_in_seconds_counts_as_lag_in_bytes_does(void **unused)
{
    static const char *const NAMES[] = {"pt-osc", "gh-ost", "spirit"};

    (void)unused;
    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        struct trial trial = begin(NAMES[i], 2);

        tick_after(&trial, 1);
        assert_true(isinf(trial.decision.bytes_per_second));
        read_as(&trial, SIGNAL_REPLICA_LAG_TIME, 2.1, 2);
        tick_after(&trial, 1);
        assert_true(trial.decision.bytes_per_second == 0);
        assert_int_equal(trial.decision.reason, SIGNAL_REPLICA_LAG_TIME);
        read_as(&trial, SIGNAL_REPLICA_LAG_TIME, 1.9, 2);
        lag(&trial, 1.01);
        tick_after(&trial, 1);
        assert_int_equal(trial.decision.reason, SIGNAL_REPLICA_LAG_BYTES);
        lag(&trial, 0.99);
        tick_after(&trial, 1);
        assert_true(isinf(trial.decision.bytes_per_second));
        end(&trial);
    }
}

static void a_replica_that_cannot_be_asked_stops_those_that_fail_closed(void **unused)
{
    static const struct {
        const char *name;
        bool stops;
    } LAWS[] = {{"pt-osc", true}, {"gh-ost", true}, {"spirit", true}, {"gitlab", false}};

    (void)unused;
    for (size_t i = 0; i < sizeof(LAWS) / sizeof(LAWS[0]); i++) {
        struct trial trial = begin(LAWS[i].name, 2);

        trial.readings[SIGNAL_REPLICA_LAG_BYTES].state = READING_UNREADABLE;
        tick_after(&trial, 1);
        assert_true((trial.decision.bytes_per_second == 0) == LAWS[i].stops);
        end(&trial);
    }
}

/* ------------------------------------------------------------------------------------- pt-osc */

static void pt_osc_sizes_chunks_by_the_weighed_rate(void **unused)
{
    struct trial trial = begin("pt-osc", 4);

    (void)unused;
    tick_after(&trial, 1);
    assert_int_equal(trial.decision.workers, 1);
    assert_int_equal(trial.decision.chunk_rows, 1000);
    chunk(&trial, 1000, 0.1, 1e6); /* 10,000 rows a second */
    assert_int_equal(trial.decision.chunk_rows, 5000);
    chunk(&trial, 5000, 1.0, 5e6); /* N = 0.75 * 1000 + 5000, T = 0.075 + 1 */
    assert_int_equal(trial.decision.chunk_rows, 2674);
    tick_after(&trial, 1);
    assert_int_equal(trial.decision.chunk_rows, 2674);
    end(&trial);
}

static void pt_osc_waits_while_the_server_is_busy(void **unused)
{
    struct trial trial = begin("pt-osc", 1);

    (void)unused;
    read_as(&trial, SIGNAL_ACTIVE_SESSIONS, 3, 3);
    tick_after(&trial, 1);
    assert_true(trial.decision.bytes_per_second == 0);
    assert_int_equal(trial.decision.reason, SIGNAL_ACTIVE_SESSIONS);
    end(&trial);
}

/* ------------------------------------------------------------------------------------- gh-ost */

static void gh_ost_copies_a_thousand_rows_at_a_time_whatever_they_take(void **unused)
{
    struct trial trial = begin("gh-ost", 4);

    (void)unused;
    tick_after(&trial, 1);
    assert_int_equal(trial.decision.workers, 1);
    assert_int_equal(trial.decision.chunk_rows, 1000);
    assert_null(trial.law->chunk);
    end(&trial);
}

/* ------------------------------------------------------------------------------------- gitlab */

/* A job of `seconds`; gives the size of its batch. */
static int64_t gitlab_job(struct trial *trial, double seconds)
{
    int64_t rows = 0;

    while (trial->decision.bytes_per_second == 0)
        tick_after(trial, 1);
    while (trial->decision.bytes_per_second > 0) {
        int64_t chunk_rows = trial->decision.chunk_rows;

        assert_in_range(chunk_rows, 1, 2500);
        rows += chunk_rows;
        if (rows % 50000 == 0 || chunk_rows < 2500 || rows == 50000)
            chunk(trial, chunk_rows, seconds, 1e6);
        else
            chunk(trial, chunk_rows, 0, 1e6);
    }
    return rows;
}

static void gitlab_runs_a_batch_every_two_minutes_with_pauses(void **unused)
{
    struct trial trial = begin("gitlab", 4);
    int64_t start_us;

    (void)unused;
    tick_after(&trial, 1);
    start_us = trial.now_us - SECOND;
    assert_true(trial.decision.delay_seconds == 0.1);
    assert_int_equal(gitlab_job(&trial, 10), 50000);
    while (trial.decision.bytes_per_second == 0)
        tick_after(&trial, 1);
    assert_in_range(trial.now_us - start_us, 120 * SECOND, 122 * SECOND);
    end(&trial);
}

static void gitlab_grows_by_a_fifth_after_twenty_jobs_and_shrinks_at_once(void **unused)
{
    struct trial trial = begin("gitlab", 4);

    (void)unused;
    tick_after(&trial, 1);
    for (int i = 0; i < 20; i++)
        assert_int_equal(gitlab_job(&trial, 12), 50000); /* E = 0.1 */
    assert_int_equal(gitlab_job(&trial, 12), 60000);
    end(&trial);
    trial = begin("gitlab", 4);
    tick_after(&trial, 1);
    for (int i = 0; i < 20; i++)
        assert_int_equal(gitlab_job(&trial, 360), 50000); /* E = 3: no floor, 0.95 / 3 */
    assert_in_range(gitlab_job(&trial, 360), 15700, 15900);
    end(&trial);
}

static void gitlab_looks_at_health_after_a_job_only_and_then_rests_ten_minutes(void **unused)
{
    struct trial trial = begin("gitlab", 4);
    int64_t held_us;

    (void)unused;
    lag(&trial, 5);
    tick_after(&trial, 1);
    assert_true(trial.decision.bytes_per_second > 0);
    assert_int_equal(gitlab_job(&trial, 10), 50000);
    held_us = trial.now_us;
    lag(&trial, 0);
    tick_after(&trial, 1);
    assert_int_equal(trial.decision.reason, SIGNAL_REPLICA_LAG_BYTES);
    while (trial.decision.bytes_per_second == 0)
        tick_after(&trial, 1);
    assert_in_range(trial.now_us - held_us, 599 * SECOND, 602 * SECOND);
    end(&trial);
}

/* ------------------------------------------------------------------------------------- vitess */

/* For so long, using this part of what it may. */
static void vitess_use(struct trial *trial, int seconds, double part)
{
    for (; seconds > 0; seconds--) {
        trial->input.ours += trial->decision.bytes_per_second * part;
        tick_after(trial, 1);
    }
}

static double requests(const struct trial *trial)
{
    return trial->decision.bytes_per_second / 1024;
}

static void vitess_begins_slowly_and_doubles(void **unused)
{
    struct trial trial = begin("vitess", 2);

    (void)unused;
    tick_after(&trial, 0.001);
    assert_true(requests(&trial) == 100);
    vitess_use(&trial, 61, 1);
    assert_true(requests(&trial) == 100);
    vitess_use(&trial, 20, 1);
    assert_in_range((int)requests(&trial), 180, 200);
    vitess_use(&trial, 38, 1);
    assert_in_range((int)requests(&trial), 180, 200);
    vitess_use(&trial, 22, 1);
    assert_in_range((int)requests(&trial), 350, 400);
    end(&trial);
}

static void vitess_does_not_raise_a_rate_that_is_not_used(void **unused)
{
    struct trial trial = begin("vitess", 2);

    (void)unused;
    tick_after(&trial, 0.001);
    vitess_use(&trial, 300, 0.8);
    assert_true(requests(&trial) == 100);
    end(&trial);
}

static void vitess_halves_above_the_limit_every_twenty_seconds(void **unused)
{
    struct trial trial = begin("vitess", 2);

    (void)unused;
    tick_after(&trial, 0.001);
    lag(&trial, 1.5);
    vitess_use(&trial, 21, 1);
    assert_true(requests(&trial) == 50);
    vitess_use(&trial, 18, 1);
    assert_true(requests(&trial) == 50);
    vitess_use(&trial, 200, 1);
    assert_true(requests(&trial) == 1);
    end(&trial);
}

static void vitess_guesses_what_the_replica_does_from_how_its_lag_grew(void **unused)
{
    struct trial trial = begin("vitess", 2);
    double before;

    (void)unused;
    tick_after(&trial, 0.001);
    vitess_use(&trial, 82, 1); /* one increase, at its 80 s; the next record comes at 100 s */
    before = requests(&trial);
    read_as(&trial, SIGNAL_REPLICA_LAG_TIME, 1.8, 2);
    vitess_use(&trial, 20, 1);
    /* 20 s at `before`, lag from 0 to 1.8 s: the replica does 91 %; the 9 % of 20 s are to be
     * worked off in 20 s, so 91 % - 9 %. */
    assert_in_range((int)(requests(&trial) / before * 1000), 800, 840);
    end(&trial);
}

/* ------------------------------------------------------------------------------------- spirit */

static void spirit_sizes_chunks_by_bytes_not_by_time(void **unused)
{
    struct trial trial = begin("spirit", 2);

    (void)unused;
    tick_after(&trial, 1);
    assert_int_equal(trial.decision.chunk_rows, 1000);
    for (int i = 0; i < 10; i++)
        chunk(&trial, 1000, 30, 1 << 20);
    assert_int_equal(trial.decision.chunk_rows, 1000);
    chunk(&trial, 1000, 30, 1 << 20);
    assert_int_equal(trial.decision.chunk_rows, 1500); /* 16 times is wanted, 1.5 is the most */
    for (int i = 0; i < 11; i++)
        chunk(&trial, 1500, 0.001, 20 << 20);
    assert_int_equal(trial.decision.chunk_rows, 1200);
    chunk(&trial, 1200, 1, 81 << 20);
    assert_int_equal(trial.decision.chunk_rows, 120);
    end(&trial);
}

static void spirit_follows_the_load_with_its_threads(void **unused)
{
    struct trial trial = begin("spirit", 4);

    (void)unused;
    tick_after(&trial, 1);
    assert_int_equal(trial.decision.workers, 4);
    read_as(&trial, SIGNAL_ACTIVE_SESSIONS, 0, 4 * 1.5);
    tick_after(&trial, 5); /* its own 4 on 4 cores: all of them */
    assert_int_equal(trial.decision.workers, 2);
    for (int i = 0; i < 10; i++)
        tick_after(&trial, 5); /* 2 on 4 cores: as it is */
    assert_int_equal(trial.decision.workers, 2);
    trial.readings[SIGNAL_ACTIVE_SESSIONS].state = READING_UNREADABLE;
    for (int i = 0; i < 50; i++)
        tick_after(&trial, 5);
    assert_int_equal(trial.decision.workers, 2);
    end(&trial);
}

static void spirit_lets_one_chunk_through_a_minute_of_lag(void **unused)
{
    struct trial trial = begin("spirit", 2);

    (void)unused;
    lag(&trial, 2);
    tick_after(&trial, 1);
    assert_true(trial.decision.bytes_per_second == 0);
    tick_after(&trial, 59);
    assert_true(trial.decision.bytes_per_second == 0);
    tick_after(&trial, 1);
    assert_true(trial.decision.bytes_per_second > 0);
    chunk(&trial, 1000, 0.1, 1e6);
    assert_true(trial.decision.bytes_per_second == 0);
    tick_after(&trial, 1);
    assert_true(trial.decision.bytes_per_second == 0);
    end(&trial);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_law_has_a_name_that_finds_it_and_its_origin),
        cmocka_unit_test(every_law_says_all_of_a_decision_and_nothing_impossible),
        cmocka_unit_test(lag_in_seconds_counts_as_lag_in_bytes_does),
        cmocka_unit_test(a_replica_that_cannot_be_asked_stops_those_that_fail_closed),
        cmocka_unit_test(pt_osc_sizes_chunks_by_the_weighed_rate),
        cmocka_unit_test(pt_osc_waits_while_the_server_is_busy),
        cmocka_unit_test(gh_ost_copies_a_thousand_rows_at_a_time_whatever_they_take),
        cmocka_unit_test(gitlab_runs_a_batch_every_two_minutes_with_pauses),
        cmocka_unit_test(gitlab_grows_by_a_fifth_after_twenty_jobs_and_shrinks_at_once),
        cmocka_unit_test(gitlab_looks_at_health_after_a_job_only_and_then_rests_ten_minutes),
        cmocka_unit_test(vitess_begins_slowly_and_doubles),
        cmocka_unit_test(vitess_does_not_raise_a_rate_that_is_not_used),
        cmocka_unit_test(vitess_halves_above_the_limit_every_twenty_seconds),
        cmocka_unit_test(vitess_guesses_what_the_replica_does_from_how_its_lag_grew),
        cmocka_unit_test(spirit_sizes_chunks_by_bytes_not_by_time),
        cmocka_unit_test(spirit_follows_the_load_with_its_threads),
        cmocka_unit_test(spirit_lets_one_chunk_through_a_minute_of_lag),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
