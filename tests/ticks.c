#include "tests/ticks.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000)

void ticks_begin(struct ticks *ticks, const struct law *law, int workers)
{
    *ticks = (struct ticks){
        .law = law,
        .memory = calloc(1, law->state_size),
        .config = {.workers = workers,
                   .chunk_ms = 500,
                   .fixed_ms = 250,
                   .chunk_wal_max = 64 * 1024 * 1024},
    };
    assert_non_null(ticks->memory);
    ticks->input = (struct law_input){
        .now_us = 1000 * SECOND,
        .readings = ticks->readings,
        .replicas = ticks->replicas,
        .wal = 1e12,
        .share = 1,
    };
    law->init(ticks->memory, &ticks->config, ticks->input.now_us);
}

void ticks_end(struct ticks *ticks)
{
    free(ticks->memory);
}

void ticks_read(struct ticks *ticks, enum signal_id id, double value, double limit)
{
    ticks->readings[id] = (struct reading){
        .state = READING_OK,
        .value = value,
        .limit = limit,
        .at_us = ticks->input.now_us,
    };
}

void ticks_limit_lag(struct ticks *ticks, double bytes, double seconds)
{
    if (bytes > 0)
        ticks_read(ticks, SIGNAL_REPLICA_LAG_BYTES, 0, bytes);
    if (seconds > 0)
        ticks_read(ticks, SIGNAL_REPLICA_LAG_TIME, 0, seconds);
}

static void assert_sane(const struct ticks *ticks)
{
    const struct law_decision *decision = &ticks->decision;

    assert_true(decision->bytes_per_second >= 0);
    assert_true(decision->delay_seconds >= 0 && decision->delay_seconds < 60);
    assert_true(decision->rest_part >= 0 && decision->rest_part < 1000);
    assert_in_range(decision->workers, 1, ticks->config.workers);
    assert_in_range(decision->chunk_ms, 1, ticks->config.chunk_ms);
    assert_true(decision->reason >= -1 && decision->reason < SIGNAL_COUNT);
}

void ticks_tick(struct ticks *ticks)
{
    ticks->input.now_us += SECOND;
    ticks->law->tick(ticks->memory, &ticks->input, &ticks->decision);
    assert_sane(ticks);
}

void ticks_work(struct ticks *ticks, int seconds, double speed, double replay)
{
    for (int i = 0; i < seconds; i++) {
        double rate = ticks->decision.bytes_per_second;
        double bytes = fmin(rate, speed);

        for (int k = 0; k < 4; k++) {
            struct law_chunk chunk = {ticks->input.now_us, TICKS_CHUNK_S, speed / 4, 100};

            if (ticks->law->chunk != NULL)
                ticks->law->chunk(ticks->memory, &chunk, &ticks->decision);
        }
        ticks->input.wal += bytes;
        ticks->input.ours += bytes;
        ticks->input.wants = rate < speed;
        for (int k = 0; k < ticks->input.replica_count; k++) {
            struct law_replica *replica = &ticks->replicas[k];
            double replayed = fmin(replay, replica->backlog + bytes);

            replica->backlog += bytes - replayed;
            replica->replayed += replayed;
            replica->at_us = ticks->input.now_us + SECOND;
        }
        ticks_tick(ticks);
    }
}

void ticks_add_replica(struct ticks *ticks, const char *name)
{
    struct law_replica *replica = &ticks->replicas[ticks->input.replica_count++];

    snprintf(replica->name, sizeof(replica->name), "%s", name);
    replica->replayed = ticks->input.wal;
    replica->backlog = 0;
    replica->at_us = ticks->input.now_us;
}
