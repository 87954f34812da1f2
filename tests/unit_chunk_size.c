/* engine/job/chunk_size: how large the next chunk is, for every kind of last chunk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/job/chunk_size.h"

enum { TARGET_MS = 500, TARGET_BYTES = 64 * 1024 * 1024 };

/* A chunk that had all the units it asked for. */
static void full_chunk(struct chunk_size *size, int64_t elapsed_ms, int64_t bytes)
{
    const struct chunk_measure measure = {size->units, elapsed_ms, bytes};

    chunk_size_done(size, &measure, TARGET_MS, TARGET_BYTES);
}

static void it_begins_within_its_limits(void **state)
{
    struct chunk_size size;

    (void)state;
    chunk_size_init(&size, 100, 1000);
    assert_int_equal(size.units, 100);
    chunk_size_init(&size, 0, 1000);
    assert_int_equal(size.units, 1);
    chunk_size_init(&size, 5000, 1000);
    assert_int_equal(size.units, 1000);
    chunk_size_init(&size, 10, 0);
    assert_int_equal(size.units, 1);
}

static void a_chunk_on_time_keeps_its_size(void **state)
{
    struct chunk_size size;

    (void)state;
    chunk_size_init(&size, 1000, 100000);
    full_chunk(&size, TARGET_MS, TARGET_BYTES);
    assert_int_equal(size.units, 1000);
    full_chunk(&size, TARGET_MS, 0);
    assert_int_equal(size.units, 1000);
}

static void it_grows_by_half_at_most(void **state)
{
    struct chunk_size size;

    (void)state;
    chunk_size_init(&size, 1000, 100000);
    full_chunk(&size, 1, 1);
    assert_int_equal(size.units, 1501);
    full_chunk(&size, 0, 0);
    assert_in_range(size.units, 2251, 2253);
}

static void it_grows_from_one(void **state)
{
    struct chunk_size size;

    (void)state;
    chunk_size_init(&size, 1, 100000);
    for (int i = 0; i < 40; i++)
        full_chunk(&size, 1, 0);
    assert_int_equal(size.units, 100000);
}

static void it_never_exceeds_its_maximum(void **state)
{
    struct chunk_size size;

    (void)state;
    chunk_size_init(&size, 900, 1000);
    full_chunk(&size, 1, 0);
    assert_int_equal(size.units, 1000);
    chunk_size_init(&size, INT64_MAX / 4, INT64_MAX);
    full_chunk(&size, 1, 0);
    assert_true(size.units >= INT64_MAX / 4);
}

static void a_slow_chunk_shrinks_in_proportion(void **state)
{
    struct chunk_size size;

    (void)state;
    chunk_size_init(&size, 1000, 100000);
    full_chunk(&size, 2 * TARGET_MS, 0);
    assert_int_equal(size.units, 500);
}

static void many_bytes_shrink_a_fast_chunk(void **state)
{
    struct chunk_size size;

    (void)state;
    chunk_size_init(&size, 1000, 100000);
    full_chunk(&size, TARGET_MS / 10, INT64_C(4) * TARGET_BYTES);
    assert_int_equal(size.units, 250);
}

static void five_times_too_long_cuts_by_ten(void **state)
{
    struct chunk_size size;

    (void)state;
    chunk_size_init(&size, 1000, 100000);
    full_chunk(&size, 5 * TARGET_MS, 0);
    assert_int_equal(size.units, 100);
    chunk_size_init(&size, 5, 100000);
    full_chunk(&size, 50 * TARGET_MS, 0);
    assert_int_equal(size.units, 1);
}

static void a_conflict_halves_it(void **state)
{
    struct chunk_size size;

    (void)state;
    chunk_size_init(&size, 1000, 100000);
    chunk_size_conflict(&size);
    assert_int_equal(size.units, 500);
    chunk_size_init(&size, 1, 100000);
    chunk_size_conflict(&size);
    assert_int_equal(size.units, 1);
}

static void the_short_end_of_a_span_does_not_shrink_it(void **state)
{
    const struct chunk_measure tail = {.units = 10, .elapsed_ms = 5, .bytes = 1000};
    struct chunk_size size;

    (void)state;
    chunk_size_init(&size, 1000, 100000);
    chunk_size_done(&size, &tail, TARGET_MS, TARGET_BYTES);
    assert_true(size.units >= 1000);
}

static void a_slow_end_of_a_span_still_shrinks_it(void **state)
{
    const struct chunk_measure tail = {.units = 10, .elapsed_ms = 2 * TARGET_MS};
    struct chunk_size size;

    (void)state;
    chunk_size_init(&size, 1000, 100000);
    chunk_size_done(&size, &tail, TARGET_MS, TARGET_BYTES);
    assert_true(size.units < 1000);
}

static void an_empty_chunk_leaves_a_size_to_go_on_with(void **state)
{
    const struct chunk_measure empty = {0};
    struct chunk_size size;

    (void)state;
    chunk_size_init(&size, 1000, 100000);
    for (int i = 0; i < 100; i++)
        chunk_size_done(&size, &empty, TARGET_MS, TARGET_BYTES);
    assert_in_range(size.units, 1, 100000);
}

/* Rows get four times as slow in the middle: it follows both ways, and settles near the target. */
static void it_follows_a_table_that_gets_slower(void **state)
{
    struct chunk_size size;

    (void)state;
    chunk_size_init(&size, 10, 1000000);
    for (int i = 0; i < 60; i++) {
        int64_t units_per_ms = i < 30 ? 20 : 5;

        full_chunk(&size, size.units / units_per_ms, 0);
        if (i == 29)
            assert_in_range(size.units, 9500, 10500);
    }
    assert_in_range(size.units, 2300, 2700);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_begins_within_its_limits),
        cmocka_unit_test(a_chunk_on_time_keeps_its_size),
        cmocka_unit_test(it_grows_by_half_at_most),
        cmocka_unit_test(it_grows_from_one),
        cmocka_unit_test(it_never_exceeds_its_maximum),
        cmocka_unit_test(a_slow_chunk_shrinks_in_proportion),
        cmocka_unit_test(many_bytes_shrink_a_fast_chunk),
        cmocka_unit_test(five_times_too_long_cuts_by_ten),
        cmocka_unit_test(a_conflict_halves_it),
        cmocka_unit_test(the_short_end_of_a_span_does_not_shrink_it),
        cmocka_unit_test(a_slow_end_of_a_span_still_shrinks_it),
        cmocka_unit_test(an_empty_chunk_leaves_a_size_to_go_on_with),
        cmocka_unit_test(it_follows_a_table_that_gets_slower),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
