/*
 * The hostile load, for long: each run draws its table, its settings and its end from a seed, which
 * is printed first. PGHAUL_SOAK_MINUTES says how long (default 1; about 2 runs a minute, so 20 runs
 * need some 10 minutes); PGHAUL_SOAK_SEED makes the first run that one again, alone.
 */
#include "tests/hostile.h"

#include <inttypes.h>
#include <stdlib.h>

#include "engine/base/clock.h"

static uint64_t random_state;

static int64_t draw(int64_t limit)
{
    uint64_t mixed = (random_state += 0x9e3779b97f4a7c15); /* splitmix64 */

    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return (int64_t)((mixed ^ (mixed >> 31)) >> 1) % limit;
}

static const char *pick(const char *const *choices, int count)
{
    return choices[draw(count)];
}

/* NULL for no setting at all: the default. */
#define PICK(...)                            \
    pick((const char *const[]){__VA_ARGS__}, \
         (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)))

static const struct hostile_shape *draw_shape(void)
{
    int count = 0;

    while (hostile_shapes[count].name != NULL)
        count++;
    return &hostile_shapes[draw(count)];
}

static void draw_settings(struct hostile_options *options)
{
    const char *const drawn[] = {
        PICK("workers=1", "workers=2", "workers=3", "workers=5"),
        PICK("order=auto", "order=key", "order=heap"),
        PICK("capture=statement", "capture=row"),
        PICK("ready=log", "ready=dual-write"),
        PICK("settle=on", "settle=off"),
        /* many small spans and chunks; or few large ones */
        PICK("span.size=64kB", "span.size=32MB"),
    };
    int count = 0;

    for (size_t i = 0; i < sizeof(drawn) / sizeof(drawn[0]); i++) {
        options->settings[count++] = "-s";
        options->settings[count++] = drawn[i];
    }
}

static void run_of(uint64_t seed)
{
    struct hostile_options options = {.seed = seed};

    random_state = seed;
    options.shape = draw_shape();
    draw_settings(&options);
    options.rows = 1000 + draw(10) * draw(10) * 500;
    options.ready_ms = (int)draw(4000);
    options.end = draw(3) == 0 ? HOSTILE_FINISH : HOSTILE_ROLLBACK;
    /* A truncated table has no way back. */
    if (options.end == HOSTILE_FINISH && draw(2) == 0)
        options.truncate_share = 0.0001;
    print_message("  PGHAUL_SOAK_SEED=%" PRIu64 ": %s, %" PRId64 " rows%s, %s;", seed,
                  options.shape->name, options.rows,
                  options.truncate_share > 0 ? ", truncated now and then" : "",
                  options.end == HOSTILE_FINISH ? "finish" : "rollback");
    for (int i = 1; i < HOSTILE_ARGUMENTS_MAX; i += 2)
        print_message(" %s", options.settings[i]);
    print_message("\n");
    hostile_job(&options);
}

static void nothing_is_lost_in_any_configuration(void)
{
    const char *minutes = getenv("PGHAUL_SOAK_MINUTES");
    const char *wanted = getenv("PGHAUL_SOAK_SEED");
    int64_t end_ms = clock_ms() + (minutes != NULL ? atoi(minutes) : 1) * INT64_C(60000);
    uint64_t seed = wanted != NULL ? strtoull(wanted, NULL, 10) : (uint64_t)clock_us() % 1000000000;
    int runs = 0;

    do {
        if (runs > 0)
            t_fresh_database();
        run_of(seed++);
        runs++;
    } while (wanted == NULL && clock_ms() < end_ms);
    print_message("  %d runs\n", runs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {t_test(nothing_is_lost_in_any_configuration)};

    t_sandbox_options.settings = hostile_server_settings;
    return T_MAIN(tests);
}
