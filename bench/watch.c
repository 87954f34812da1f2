#include "bench/watch.h"

#include <libpq-fe.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/memory.h"

enum { EVERY_MS = 100, SAMPLES_STEP = 1024 };

struct watch {
    char *conninfo;
    char *standby_conninfo;
    char *job;
    int64_t start_us;
    atomic_bool ending;
    _Atomic double behind;
    pthread_t thread;
    /* Of the thread, until it is joined. */
    PGconn *primary;
    PGconn *standby;
    struct watch_samples samples;
    int capacity;
};

/* ------------------------------------------------------------------------------------- looking */

static const char LOOK_STANDBY[] = "SELECT pg_last_wal_replay_lsn() - '0/0'::pg_lsn";

/* As a standby that is still being made, a base backup is nobody's lag. */
static const char LOOK_PRIMARY[] =
    "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn,\n"
    "       (SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn))\n"
    "          FROM pg_stat_replication WHERE state <> 'backup'),\n"
    "       to_regclass('pghaul.span') IS NOT NULL";

/* $1: the job's name. */
static const char LOOK_JOB[] =
    "SELECT coalesce(sum(s.rows), 0) FROM pghaul.span AS s JOIN pghaul.job AS j ON j.id = s.job\n"
    " WHERE j.name = $1 AND s.phase IN ('load', 'backfill')";

static double number_of(const PGresult *result, int column)
{
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1 ||
        PQgetisnull(result, 0, column))
        return NAN;
    return strtod(PQgetvalue(result, 0, column), NULL);
}

static PGresult *ask(PGconn **connection, const char *conninfo, const char *sql, const char *value)
{
    const char *const values[] = {value};

    if (*connection != NULL && PQstatus(*connection) != CONNECTION_OK) {
        PQfinish(*connection);
        *connection = NULL;
    }
    if (*connection == NULL) {
        *connection = PQconnectdb(conninfo);
        PQclear(PQexec(*connection, "SET application_name = 'bench-watch'"));
    }
    return PQexecParams(*connection, sql, value != NULL, NULL, values, NULL, NULL, 0);
}

static void look(struct watch *watch, struct watch_sample *sample)
{
    PGresult *result = ask(&watch->standby, watch->standby_conninfo, LOOK_STANDBY, NULL);
    double replayed = number_of(result, 0);
    bool has_jobs;

    PQclear(result);
    result = ask(&watch->primary, watch->conninfo, LOOK_PRIMARY, NULL);
    *sample = (struct watch_sample){
        .seconds = watch_seconds(watch), .wal = number_of(result, 0), .rows = NAN};
    sample->told = number_of(result, 1);
    sample->behind = fmax(sample->wal - replayed, 0);
    if (isnan(replayed) || isnan(sample->wal))
        sample->behind = NAN;
    has_jobs = PQresultStatus(result) == PGRES_TUPLES_OK && PQgetvalue(result, 0, 2)[0] == 't';
    PQclear(result);
    if (!has_jobs)
        return;
    result = ask(&watch->primary, watch->conninfo, LOOK_JOB, watch->job);
    sample->rows = number_of(result, 0);
    PQclear(result);
}

static void *watch_main(void *arg)
{
    struct watch *watch = arg;
    int64_t due_us = watch->start_us;

    while (!atomic_load(&watch->ending)) {
        struct watch_sample sample;

        look(watch, &sample);
        if (!isnan(sample.behind))
            atomic_store(&watch->behind, sample.behind);
        if (!isnan(sample.wal)) {
            if (watch->samples.count == watch->capacity) {
                watch->capacity += SAMPLES_STEP;
                watch->samples.list = memory_resize(
                    watch->samples.list, (size_t)watch->capacity * sizeof(*watch->samples.list));
            }
            watch->samples.list[watch->samples.count++] = sample;
        }
        due_us += (int64_t)EVERY_MS * 1000;
        if (due_us < clock_us()) /* late: no burst afterwards */
            due_us = clock_us();
        clock_sleep_ms((due_us - clock_us()) / 1000);
    }
    return NULL;
}

static void watch_free(struct watch *watch)
{
    PQfinish(watch->primary);
    PQfinish(watch->standby);
    free(watch->conninfo);
    free(watch->standby_conninfo);
    free(watch->job);
    free(watch);
}

bool watch_start(struct watch **started, const struct watch_options *options, struct error *error)
{
    struct watch *watch = memory_zero(1, sizeof(*watch));
    int code;

    *started = NULL;
    watch->conninfo = memory_copy(options->conninfo);
    watch->standby_conninfo = memory_copy(options->standby_conninfo);
    watch->job = memory_copy(options->job);
    atomic_store(&watch->behind, NAN);
    watch->start_us = clock_us();
    code = pthread_create(&watch->thread, NULL, watch_main, watch);
    if (code != 0) {
        watch_free(watch);
        return error_set(error, ERROR_SYSTEM, "could not start a thread: %s", strerror(code));
    }
    *started = watch;
    return true;
}

double watch_seconds(const struct watch *watch)
{
    return (double)(clock_us() - watch->start_us) / 1e6;
}

double watch_behind(const struct watch *watch)
{
    return atomic_load(&watch->behind);
}

void watch_stop(struct watch *watch, struct watch_samples *samples)
{
    if (samples != NULL)
        *samples = (struct watch_samples){0};
    if (watch == NULL)
        return;
    atomic_store(&watch->ending, true);
    pthread_join(watch->thread, NULL);
    if (samples != NULL)
        *samples = watch->samples;
    else
        watch_samples_deinit(&watch->samples);
    watch_free(watch);
}

void watch_samples_deinit(struct watch_samples *samples)
{
    free(samples->list);
    *samples = (struct watch_samples){0};
}

/* ------------------------------------------------------------------------------- what follows */

static double get(const struct watch_sample *sample, enum watch_number number)
{
    switch (number) {
    case WATCH_WAL:
        return sample->wal;
    case WATCH_BEHIND:
        return sample->behind;
    case WATCH_REPLAYED:
        return sample->wal - sample->behind;
    case WATCH_TOLD:
        return sample->told;
    case WATCH_ROWS:
        return sample->rows;
    }
    return NAN;
}

/* The part of the stretch that sample i stands for: until the next one. */
static double stands_for(const struct watch_samples *samples, const struct stretch *stretch, int i)
{
    double from = fmax(samples->list[i].seconds, stretch->from);
    double to =
        i + 1 < samples->count ? fmin(samples->list[i + 1].seconds, stretch->to) : stretch->to;

    return fmax(to - from, 0);
}

double watch_within(const struct watch_samples *samples, const struct stretch *stretch,
                    enum watch_number number, double limit)
{
    double within = 0;
    double last = NAN;

    for (int i = 0; i < samples->count; i++) {
        double value = get(&samples->list[i], number);

        if (!isnan(value))
            last = value;
        if (last <= limit)
            within += stands_for(samples, stretch, i);
    }
    return within;
}

double watch_worst(const struct watch_samples *samples, const struct stretch *stretch,
                   enum watch_number number)
{
    double worst = NAN;

    for (int i = 0; i < samples->count; i++)
        if (samples->list[i].seconds >= stretch->from && samples->list[i].seconds <= stretch->to)
            worst = fmax(worst, get(&samples->list[i], number));
    return worst;
}

double watch_at(const struct watch_samples *samples, double seconds, enum watch_number number)
{
    const struct watch_sample *before = NULL;

    for (int i = 0; i < samples->count; i++) {
        const struct watch_sample *sample = &samples->list[i];

        if (isnan(get(sample, number)))
            continue;
        if (sample->seconds < seconds) {
            before = sample;
            continue;
        }
        if (before == NULL)
            return sample->seconds == seconds ? get(sample, number) : NAN;
        return get(before, number) + (get(sample, number) - get(before, number)) *
                                         (seconds - before->seconds) /
                                         (sample->seconds - before->seconds);
    }
    return NAN;
}

double watch_rate(const struct watch_samples *samples, const struct stretch *stretch,
                  enum watch_number number)
{
    return (watch_at(samples, stretch->to, number) - watch_at(samples, stretch->from, number)) /
           (stretch->to - stretch->from);
}

double watch_frequency(const struct watch_samples *samples, const struct stretch *stretch)
{
    int count = 0;

    for (int i = 0; i < samples->count; i++)
        count +=
            samples->list[i].seconds >= stretch->from && samples->list[i].seconds <= stretch->to;
    return count / (stretch->to - stretch->from);
}

/* From the end: the earliest look at the usual speed behind which nearly all are. */
double watch_settling(const struct watch_samples *samples, const struct stretch *stretch)
{
    double length = stretch->to - stretch->from;
    double span = length / 12;
    const struct stretch half = {stretch->from + length / 2, stretch->to};
    double usual = watch_rate(samples, &half, WATCH_ROWS);
    double settled = NAN;
    int looks = 0;
    int off = 0;

    if (!(usual > 0))
        return NAN;
    for (int i = samples->count - 1; i >= 0; i--) {
        const struct stretch last = {samples->list[i].seconds - span, samples->list[i].seconds};
        bool is_off;

        if (last.from < stretch->from || last.to > stretch->to)
            continue;
        is_off = !(fabs(watch_rate(samples, &last, WATCH_ROWS) - usual) <= usual / 4);
        looks++;
        off += is_off;
        if (!is_off && off * 10 <= looks)
            settled = last.to - stretch->from;
    }
    if (settled <= span * 1.1) /* from the first look on */
        return 0;
    return settled > length * 3 / 4 ? NAN : settled;
}
