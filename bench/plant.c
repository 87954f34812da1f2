#include "bench/plant.h"

#include <assert.h>
#include <math.h>

enum { FIRST_BYTES = 256 * 1024 };

/* What the network can carry to one standby, in bytes a second. */
static const double NETWORK = 500e6;
/* wal_receiver_status_interval */
static const double REPORT_EVERY_S = 10;
/* The log's device is never seen busier than this: a queue is long then, not endless. */
static const double BUSIEST = 0.97;

double plant_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

double plant_now_s(const struct plant *plant)
{
    return (double)plant->step * PLANT_STEP_S;
}

static double factor_now(const struct plant *plant, const struct plant_change *changes)
{
    double factor = 1;

    for (int i = 0; i < PLANT_CHANGES_MAX && changes[i].at_s > 0; i++)
        if (plant_now_s(plant) >= changes[i].at_s)
            factor = changes[i].factor;
    return factor;
}

/* ------------------------------------------------------------------------------- application */

double plant_transactions(const struct plant *plant)
{
    const struct plant_application *application = &plant->options.application;
    double rate = application->transactions * factor_now(plant, application->changes);

    if (application->burst_every_s > 0 &&
        fmod(plant_now_s(plant), application->burst_every_s) < application->burst_s)
        rate *= application->burst_factor;
    return rate;
}

double plant_foreign(const struct plant *plant)
{
    return plant_transactions(plant) * plant->options.application.wal_bytes;
}

static int busy_workers(const struct plant *plant)
{
    int busy = 0;

    for (int i = 0; i < PLANT_WORKERS_MAX; i++)
        busy += plant->workers[i].busy;
    return busy;
}

/*
 * Processor sharing: who has `others` beside it on `cores` gets cores / (others + those of its own
 * kind) of a core. With q = transactions * time of them at once, and time = cpu / speed:
 *
 *     time = cpu * others / (cores - transactions * cpu)     where that is more than cpu
 */
static double cpu_time(const struct plant *plant, double others)
{
    double cpu_s = plant->options.application.cpu_s;
    double left = plant->options.cores - plant_transactions(plant) * cpu_s;

    if (left < 0.05 * plant->options.cores)
        left = 0.05 * plant->options.cores;
    return fmax(cpu_s, cpu_s * fmax(others, 0) / left);
}

static double latency(const struct plant *plant, double others, double writing)
{
    double use = (plant_foreign(plant) + writing) / plant->options.device;

    return cpu_time(plant, others) + plant->options.application.commit_s / (1 - fmin(use, BUSIEST));
}

double plant_latency(const struct plant *plant)
{
    return latency(plant, busy_workers(plant), plant->writing);
}

double plant_latency_alone(const struct plant *plant)
{
    return latency(plant, 0, 0);
}

/* ----------------------------------------------------------------------------------- workers */

/* Bytes a second that each busy worker can write now: its part of the cores, then of the device. */
static double worker_speed(const struct plant *plant, int busy)
{
    const struct plant_options *options = &plant->options;
    double used = plant_transactions(plant) * options->application.cpu_s;
    double core = fmin(1, fmax(options->cores - used, 0.1 * options->cores) / busy);
    double device = fmax(options->device - plant_foreign(plant), 0.05 * options->device) / busy;

    return fmin(options->worker_speed * factor_now(plant, options->work) * core, device);
}

void plant_begin(struct plant *plant, int worker, double most_bytes)
{
    struct plant_worker *w = &plant->workers[worker];
    double uneven = plant->options.unevenness * (2 * plant_random(&plant->random) - 1);

    assert(!w->busy);
    if (w->size <= 0)
        w->size = FIRST_BYTES;
    if (w->size > most_bytes)
        w->size = most_bytes;
    w->busy = true;
    w->chunk = (struct plant_chunk){.expected = w->size, .bytes = w->size * (1 + uneven)};
    w->left = w->chunk.bytes;
    w->overhead = plant->options.chunk_cost_s;
}

static void work(struct plant *plant, struct plant_worker *worker, double speed)
{
    double seconds = PLANT_STEP_S;
    double spent = fmin(worker->overhead, seconds);
    double bytes;

    worker->overhead -= spent;
    seconds -= spent;
    bytes = fmin(worker->left, speed * seconds);
    worker->left -= bytes;
    worker->chunk.seconds += PLANT_STEP_S;
    plant->wal += bytes;
    plant->writing += bytes / PLANT_STEP_S;
}

void plant_pulse(struct plant *plant, double bytes)
{
    plant->wal += bytes;
}

bool plant_ended(struct plant *plant, int worker, double target_s, struct plant_chunk *chunk)
{
    struct plant_worker *w = &plant->workers[worker];
    double wanted;

    if (!w->busy || w->left > 0 || w->overhead > 0)
        return false;
    *chunk = w->chunk;
    w->busy = false;
    wanted = chunk->seconds >= 5 * target_s ? w->size / 10 : w->size * target_s / chunk->seconds;
    w->size = fmax(8192, fmin(wanted, w->size * 1.5));
    return true;
}

/* ---------------------------------------------------------------------------------- standbys */

double plant_capacity(const struct plant *plant, int replica)
{
    const struct plant_replica_options *options = &plant->options.replicas[replica];
    double factor = factor_now(plant, options->changes);

    if (factor <= 0)
        return 0;
    return options->capacity * factor * (1 + options->wander * plant->replicas[replica].wander);
}

double plant_backlog(const struct plant *plant, int replica)
{
    return plant->wal - plant->replicas[replica].replayed;
}

static int64_t delay_steps(const struct plant *plant, int replica)
{
    int64_t steps = (int64_t)(plant->options.replicas[replica].delay_s / PLANT_STEP_S);

    return steps < PLANT_HISTORY - 1 ? steps : PLANT_HISTORY - 1;
}

static int slot(int64_t step)
{
    return (int)((step < 0 ? 0 : step) % PLANT_HISTORY);
}

/* A report goes out when something new was flushed, when it has just caught up, and now and then.
 */
static void replica_report(struct plant *plant, int replica, bool caught_up)
{
    struct plant_replica *r = &plant->replicas[replica];
    double now_s = plant_now_s(plant);
    int now = slot(plant->step), before = slot(plant->step - 1);

    r->reports[now] = r->reports[before];
    r->report_at[now] = r->report_at[before];
    if (r->received <= r->told_flush && !caught_up && now_s - r->told_at_s < REPORT_EVERY_S)
        return;
    r->told_flush = r->received;
    r->told_at_s = now_s;
    r->reports[now] = r->replayed;
    r->report_at[now] = now_s;
}

/* Back to the middle slowly, so that it stays within -1 .. 1 and keeps a level for some seconds. */
static void replica_wander(struct plant *plant, struct plant_replica *replica)
{
    double step = (2 * plant_random(&plant->random) - 1) * 0.04;

    replica->wander = fmin(1, fmax(-1, replica->wander * 0.9995 + step));
}

static void replica_advance(struct plant *plant, int replica)
{
    const struct plant_replica_options *options = &plant->options.replicas[replica];
    struct plant_replica *r = &plant->replicas[replica];
    double sent = plant->wals[slot(plant->step - delay_steps(plant, replica))];
    bool behind;

    if (options->capacity <= 0)
        return;
    replica_wander(plant, r);
    r->there = factor_now(plant, options->changes) >= 0;
    if (r->there) {
        r->received = fmax(r->received, fmin(sent, r->received + NETWORK * PLANT_STEP_S));
        behind = r->replayed < r->received;
        r->replayed =
            fmin(r->received, r->replayed + plant_capacity(plant, replica) * PLANT_STEP_S);
        replica_report(plant, replica, behind && r->replayed >= r->received);
    } else {
        r->reports[slot(plant->step)] = r->reports[slot(plant->step - 1)];
        r->report_at[slot(plant->step)] = r->report_at[slot(plant->step - 1)];
    }
}

bool plant_report(const struct plant *plant, int replica, struct plant_report *report)
{
    int at = slot(plant->step - delay_steps(plant, replica));

    if (plant->options.replicas[replica].capacity <= 0 || !plant->replicas[replica].there)
        return false;
    *report = (struct plant_report){
        .replayed = plant->replicas[replica].reports[at],
        .at_s = plant->replicas[replica].report_at[at],
    };
    return true;
}

/* ------------------------------------------------------------------------------------- whole */

void plant_init(struct plant *plant, const struct plant_options *options)
{
    *plant = (struct plant){.options = *options, .random = options->seed};
    for (int i = 0; i < PLANT_REPLICAS_MAX; i++)
        plant->replicas[i].there = options->replicas[i].capacity > 0;
}

void plant_advance(struct plant *plant)
{
    int busy = busy_workers(plant);
    double speed = busy > 0 ? worker_speed(plant, busy) : 0;

    plant->step++;
    plant->writing = 0;
    for (int i = 0; i < PLANT_WORKERS_MAX; i++)
        if (plant->workers[i].busy)
            work(plant, &plant->workers[i], speed);
    plant->wal += plant_foreign(plant) * PLANT_STEP_S;
    plant->wals[slot(plant->step)] = plant->wal;
    for (int i = 0; i < PLANT_REPLICAS_MAX; i++)
        replica_advance(plant, i);
}
