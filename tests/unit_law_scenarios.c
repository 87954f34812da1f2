/*
 * Law "auto" in named scenarios, that are also drawn (PGHAUL_TRACES: a folder for the pictures).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/plants.h"

#define MB 1e6

static struct plant_run_options scenario(void)
{
    return (struct plant_run_options){
        .law = &law_auto,
        .config = {.workers = 2, .chunk_ms = 500, .chunk_wal_max = 64 * 1024 * 1024},
        .seconds = 240,
        .limits = {.lag_bytes = 64 * MB, .lag_seconds = 2, .latency_times = 3, .replicas = 1},
        .plant = {.seed = 1,
                  .cores = 2,
                  .device = 200 * MB,
                  .worker_speed = 50 * MB,
                  .chunk_cost_s = 0.005,
                  .unevenness = 0.1,
                  .replicas = {{.capacity = 40 * MB, .wander = 0.1, .delay_s = 0.02}}},
    };
}

static void run(const struct plant_run_options *options, const char *name,
                struct plant_trace *trace)
{
    const char *folder = getenv("PGHAUL_TRACES");
    char path[512];
    struct error error = {0};

    plant_run(options, trace);
    assert_int_equal(trace->nonsense, 0);
    if (folder == NULL)
        return;
    (void)mkdir(folder, 0777);
    snprintf(path, sizeof(path), "%s/law_auto_%s.svg", folder, name);
    if (!plant_trace_save(trace, name, path, &error))
        fail_msg("%s", error.message);
}

static void steps_of_the_capacity(void **state)
{
    struct plant_run_options options = scenario();
    struct plant_trace trace;

    (void)state;
    options.plant.replicas[0].changes[0] = (struct plant_change){60, 0.2};
    options.plant.replicas[0].changes[1] = (struct plant_change){150, 1};
    run(&options, "steps", &trace);
    assert_true(trace.over <= 2 * trace.largest_chunk);
    assert_true(plant_trace_speed(&trace, 20, 60) >= 0.9 * plant_trace_best(&trace, 20, 60));
    assert_true(plant_trace_speed(&trace, 90, 150) >= 0.9 * plant_trace_best(&trace, 90, 150));
    assert_true(plant_trace_speed(&trace, 165, 240) >= 0.9 * plant_trace_best(&trace, 165, 240));
    plant_trace_free(&trace);
}

/* Replay is paused: the backlog stays below the limit and what is in flight; the reason is said; it
 * goes on when replay does. */
static void a_replay_that_is_paused(void **state)
{
    struct plant_run_options options = scenario();
    struct plant_trace trace;

    (void)state;
    options.plant.replicas[0].changes[0] = (struct plant_change){60, 0};
    options.plant.replicas[0].changes[1] = (struct plant_change){120, 1};
    run(&options, "stall", &trace);
    for (int i = 600; i < 1200; i++)
        assert_true(trace.samples[i].worst <= 64 * MB + 2 * trace.largest_chunk);
    assert_true(plant_trace_speed(&trace, 80, 120) < 0.1 * MB);
    assert_true(trace.samples[1000].closed);
    assert_true(plant_trace_speed(&trace, 150, 240) >= 0.9 * plant_trace_best(&trace, 150, 240));
    plant_trace_free(&trace);
}

static void a_replica_that_vanishes_and_comes_back(void **state)
{
    struct plant_run_options options = scenario();
    struct plant_trace trace;

    (void)state;
    options.plant.replicas[0].changes[0] = (struct plant_change){60, -1};
    options.plant.replicas[0].changes[1] = (struct plant_change){120, 1};
    run(&options, "vanishes", &trace);
    assert_true(plant_trace_speed(&trace, 62, 120) == 0);
    assert_true(plant_trace_speed(&trace, 150, 240) >= 0.9 * plant_trace_best(&trace, 150, 240));
    plant_trace_free(&trace);
}

static void bursts_of_the_application(void **state)
{
    struct plant_run_options options = scenario();
    struct plant_trace trace;

    (void)state;
    options.plant.application = (struct plant_application){.transactions = 200,
                                                           .cpu_s = 0.001,
                                                           .commit_s = 0.001,
                                                           .wal_bytes = 10000,
                                                           .burst_every_s = 40,
                                                           .burst_s = 10,
                                                           .burst_factor = 5};
    run(&options, "bursts", &trace);
    assert_true(trace.over == 0);
    assert_true(plant_trace_speed(&trace, 30, 240) >= 0.9 * plant_trace_best(&trace, 30, 240));
    plant_trace_free(&trace);
}

/* Two workers would fill the log's device: one is what others can live with. */
static void an_application_that_suffers(void **state)
{
    struct plant_run_options options = scenario();
    struct plant_trace trace;

    (void)state;
    options.plant.replicas[0].capacity = 0;
    options.limits.replicas = 0;
    options.plant.device = 105 * MB;
    options.plant.application = (struct plant_application){
        .transactions = 500, .cpu_s = 0.001, .commit_s = 0.001, .wal_bytes = 1000};
    run(&options, "suffers", &trace);
    assert_true(plants_slow(&trace, 20, 240, 3) < 0.01);
    assert_true(plant_trace_speed(&trace, 120, 240) >= 25 * MB);
    plant_trace_free(&trace);
}

static void a_limit_that_is_changed_while_it_runs(void **state)
{
    struct plant_run_options options = scenario();
    struct plant_trace trace;

    (void)state;
    options.limits_later = options.limits;
    options.limits_later.lag_bytes = 16 * MB;
    options.later_s = 100;
    run(&options, "limit", &trace);
    for (int i = 1100; i < trace.count; i++)
        assert_true(trace.samples[i].worst <= 16 * MB + 2 * trace.largest_chunk);
    assert_true(plants_past(&trace, 110, 240) <= 0.01);
    assert_true(plant_trace_speed(&trace, 130, 240) >= 0.9 * plant_trace_best(&trace, 130, 240));
    plant_trace_free(&trace);
}

static void somebody_waits_for_a_lock_of_ours(void **state)
{
    struct plant_run_options options = scenario();
    struct plant_trace trace;

    (void)state;
    options.plant.replicas[0].capacity = 0;
    options.limits.replicas = 0;
    options.blocked[0] = (struct plant_span){60, 63};
    run(&options, "blocked", &trace);
    assert_true(trace.samples[590].chunk_ms == 500);
    assert_true(trace.samples[620].chunk_ms <= 50);
    assert_int_equal(trace.samples[620].reason, SIGNAL_BLOCKED_BY_US);
    assert_true(trace.samples[700].chunk_ms < 250);
    assert_true(trace.samples[1000].chunk_ms == 500);
    plant_trace_free(&trace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_of_the_capacity),
        cmocka_unit_test(a_replay_that_is_paused),
        cmocka_unit_test(a_replica_that_vanishes_and_comes_back),
        cmocka_unit_test(bursts_of_the_application),
        cmocka_unit_test(an_application_that_suffers),
        cmocka_unit_test(a_limit_that_is_changed_while_it_runs),
        cmocka_unit_test(somebody_waits_for_a_lock_of_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
