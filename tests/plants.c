#include "tests/plants.h"

#include <math.h>
#include <string.h>

static double between(uint64_t *random, double least, double most)
{
    return least + (most - least) * plant_random(random);
}

/* As many small ones as large ones. */
static double scale(uint64_t *random, double least, double most)
{
    return least * pow(most / least, plant_random(random));
}

static bool by_chance(uint64_t *random, double chance)
{
    return plant_random(random) < chance;
}

static void common(struct plant_run_options *options, uint64_t seed, uint64_t *random)
{
    *options = (struct plant_run_options){
        .law = &law_auto,
        .seconds = 300,
        .config = {.workers = 1 + (int)between(random, 0, 4),
                   .chunk_ms = (int64_t)scale(random, 100, 1000),
                   .chunk_wal_max = 64 * 1024 * 1024},
        .plant = {.seed = seed,
                  .cores = 1 + floor(between(random, 0, 8)),
                  .worker_speed = scale(random, 5e6, 100e6),
                  .chunk_cost_s = scale(random, 0.001, 0.01),
                  .unevenness = between(random, 0, 0.4)},
        .overcharge = between(random, 0.7, 1.4),
    };
    options->plant.device =
        options->plant.worker_speed * options->config.workers * between(random, 1.1, 4);
}

static void writing_application(struct plant_run_options *options, double slowest, uint64_t *random)
{
    struct plant_application *application = &options->plant.application;

    application->transactions = scale(random, 10, 2000);
    application->cpu_s = 0.0002;
    application->commit_s = 0.001;
    application->wal_bytes = slowest * between(random, 0, 0.5) / application->transactions;
    if (by_chance(random, 0.5)) {
        application->burst_every_s = between(random, 20, 60);
        application->burst_s = between(random, 2, 8);
        application->burst_factor = between(random, 1, 2);
    }
}

/*
 * The limits leave room for what is on its way: a limit that is less than the network holds cannot
 * be aimed at half of.
 */
static void lag_limits(struct plant_run_options *options, double slowest, double delay_s,
                       uint64_t *random)
{
    options->limits.lag_bytes = fmax(scale(random, 16e6, 256e6), 12 * delay_s * slowest);
    if (by_chance(random, 0.7))
        options->limits.lag_seconds = fmax(scale(random, 1, 5), 8 * delay_s);
}

void plants_lag(struct plant_run_options *options, uint64_t seed)
{
    uint64_t random = seed * 7919 + 1;
    double slowest = INFINITY, delay_s = 0;
    int replicas;

    common(options, seed, &random);
    replicas = 1 + (int)between(&random, 0, PLANT_REPLICAS_MAX);
    for (int i = 0; i < replicas; i++) {
        struct plant_replica_options *replica = &options->plant.replicas[i];

        replica->capacity = scale(&random, 2e6, 150e6);
        replica->wander = between(&random, 0, 0.25);
        replica->delay_s = scale(&random, 0.001, 0.3);
        slowest = fmin(slowest, replica->capacity);
        delay_s = fmax(delay_s, replica->delay_s);
    }
    if (by_chance(&random, 0.6))
        writing_application(options, slowest, &random);
    lag_limits(options, slowest, delay_s, &random);
}

void plants_trouble(struct plant_run_options *options, uint64_t seed)
{
    uint64_t random = seed * 104729 + 7;

    plants_lag(options, seed);
    for (int i = 0; i < PLANT_REPLICAS_MAX; i++) {
        struct plant_replica_options *replica = &options->plant.replicas[i];

        if (replica->capacity <= 0)
            continue;
        options->limits.replicas++;
        for (int k = 0; k < 4; k++)
            replica->changes[k] = (struct plant_change){
                .at_s = 40 + 60 * k + between(&random, 0, 50),
                .factor = by_chance(&random, 0.3)   ? 0
                          : by_chance(&random, 0.3) ? -1
                                                    : scale(&random, 0.1, 4),
            };
    }
    options->paused[0].from_s = between(&random, 50, 250);
    options->paused[0].to_s = options->paused[0].from_s + between(&random, 1, 40);
    options->silent = by_chance(&random, 0.5);
}

void plants_load(struct plant_run_options *options, uint64_t seed)
{
    uint64_t random = seed * 15485863 + 3;
    struct plant_application *application;

    common(options, seed, &random);
    options->overcharge = 1;
    options->plant.cores = 2 + floor(between(&random, 0, 6));
    /* From workers that fill the device to some that do not. */
    options->plant.device =
        options->plant.worker_speed * options->config.workers * between(&random, 1.01, 2);
    application = &options->plant.application;
    application->cpu_s = scale(&random, 0.0002, 0.002);
    application->commit_s = scale(&random, 0.0005, 0.005);
    application->transactions =
        options->plant.cores * between(&random, 0.1, 0.5) / application->cpu_s;
    application->wal_bytes =
        options->plant.device * between(&random, 0, 0.2) / application->transactions;
    options->limits.latency_times = scale(&random, 2, 5);
}

double plants_full_speed(const struct plant_run_options *options)
{
    struct plant_run_options free_options = *options;
    struct plant_trace trace;
    double speed;

    free_options.law = &law_off;
    free_options.seconds = 60;
    free_options.processes = 1;
    memset(free_options.plant.replicas, 0, sizeof(free_options.plant.replicas));
    memset(free_options.paused, 0, sizeof(free_options.paused));
    free_options.limits = (struct plant_limits){0};
    plant_run(&free_options, &trace);
    speed = plant_trace_speed(&trace, 20, 60);
    plant_trace_free(&trace);
    return speed;
}

double plants_best(const struct plant_trace *trace, double full, double from_s, double to_s)
{
    double sum = 0;
    int count = 0;

    for (int i = (int)(from_s / PLANT_TRACE_S); i < (int)(to_s / PLANT_TRACE_S); i++) {
        sum += fmin(full, fmax(trace->samples[i].best, 0));
        count++;
    }
    return sum / count;
}

double plants_past(const struct plant_trace *trace, double from_s, double to_s)
{
    int count = 0, past = 0;

    for (int i = (int)(from_s / PLANT_TRACE_S); i < (int)(to_s / PLANT_TRACE_S); i++) {
        count++;
        past += trace->samples[i].worst > trace->samples[i].limit;
    }
    return (double)past / count;
}

double plants_slow(const struct plant_trace *trace, double from_s, double to_s, double limit)
{
    int count = 0, slow = 0;

    for (int i = (int)(from_s / PLANT_TRACE_S); i < (int)(to_s / PLANT_TRACE_S); i++) {
        count++;
        slow += trace->samples[i].p95 > limit;
    }
    return (double)slow / count;
}
