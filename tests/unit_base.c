/* engine/base: no server, no program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/crew.h"
#include "engine/base/error.h"
#include "engine/base/memory.h"
#include "engine/base/stop.h"
#include "engine/base/text.h"

/* ---------------------------------------------------------------------------------------- text */

static void an_empty_text_is_an_empty_string(void **state)
{
    struct text text = {0};

    (void)state;
    assert_string_equal(text_string(&text), "");
    text_clear(&text);
    text_append(&text, "");
    assert_string_equal(text_string(&text), "");
    text_deinit(&text);
    text_deinit(&text);
}

static void a_text_grows_by_whatever_is_appended(void **state)
{
    TEXT_AUTO text = {0};
    char expected[30001];

    (void)state;
    for (int i = 0; i < 10000; i++)
        text_appendf(&text, "%03d", i % 1000);
    for (int i = 0; i < 10000; i++)
        for (int digit = 0, rest = i; digit < 3; digit++, rest /= 10)
            expected[i * 3 + 2 - digit] = (char)('0' + rest % 10);
    expected[30000] = '\0';
    assert_int_equal(text.used, 30000);
    assert_string_equal(text_string(&text), expected);
}

static void a_separator_stands_between_items_only(void **state)
{
    TEXT_AUTO text = {0};

    (void)state;
    for (int i = 0; i < 3; i++) {
        text_separate(&text, ", ");
        text_appendf(&text, "%d", i);
    }
    assert_string_equal(text_string(&text), "0, 1, 2");
}

static void a_text_holds_exactly_its_ceiling(void **state)
{
    TEXT_AUTO text = {0};
    char *megabyte = memory_alloc(1024 * 1024);

    (void)state;
    memset(megabyte, 'x', 1024 * 1024);
    for (int i = 0; i < TEXT_BYTES_MAX / (1024 * 1024); i++)
        text_append_bytes(&text, megabyte, 1024 * 1024);
    assert_int_equal(text.used, TEXT_BYTES_MAX);
    assert_false(text.overflow);
    text_append(&text, "");
    assert_false(text.overflow);
    text_append(&text, "y");
    assert_true(text.overflow);
    assert_int_equal(text.used, TEXT_BYTES_MAX);
    assert_int_equal(text_string(&text)[TEXT_BYTES_MAX - 1], 'x');
    assert_int_equal(text_string(&text)[TEXT_BYTES_MAX], '\0');
    free(megabyte);
}

static void a_cleared_text_forgets_its_overflow(void **state)
{
    TEXT_AUTO text = {0};
    char *too_much = memory_alloc(TEXT_BYTES_MAX + 1);

    (void)state;
    memset(too_much, 'x', TEXT_BYTES_MAX + 1);
    text_append(&text, "kept");
    text_append_bytes(&text, too_much, TEXT_BYTES_MAX + 1);
    assert_true(text.overflow);
    assert_string_equal(text_string(&text), "kept");
    text_clear(&text);
    assert_false(text.overflow);
    text_append(&text, "new");
    assert_string_equal(text_string(&text), "new");
    free(too_much);
}

/* --------------------------------------------------------------------------------------- arena */

static void an_arena_gives_zeroed_aligned_memory_of_any_size(void **state)
{
    static const size_t SIZES[] = {1, 7, 16, 4096, 16 * 1024, 16 * 1024 + 1, 1024 * 1024};
    struct arena arena = {0};

    (void)state;
    for (int round = 0; round < 50; round++)
        for (size_t i = 0; i < sizeof(SIZES) / sizeof(SIZES[0]); i++) {
            unsigned char *memory = arena_alloc(&arena, SIZES[i]);

            assert_int_equal((uintptr_t)memory % _Alignof(max_align_t), 0);
            assert_int_equal(memory[0], 0);
            assert_int_equal(memory[SIZES[i] - 1], 0);
            memset(memory, 0xff, SIZES[i]);
        }
    arena_deinit(&arena);
    assert_null(arena.newest);
}

static void strings_of_an_arena_stay_where_they_are(void **state)
{
    struct arena arena = {0};
    const char *strings[2000];

    (void)state;
    for (int i = 0; i < 2000; i++)
        strings[i] = arena_format(&arena, "string %d", i);
    for (int i = 0; i < 2000; i++) {
        char expected[32];

        snprintf(expected, sizeof(expected), "string %d", i);
        assert_string_equal(strings[i], expected);
    }
    assert_null(arena_copy(&arena, NULL));
    assert_string_equal(arena_copy(&arena, ""), "");
    arena_deinit(&arena);
}

/* --------------------------------------------------------------------------------------- error */

static void context_goes_before_the_message_and_keeps_the_rest(void **state)
{
    struct error error = {0};

    (void)state;
    assert_false(error_set(&error, ERROR_LOCK, "no lock on %s", "orders"));
    assert_false(error_detail(&error, "held by %d", 7));
    assert_false(error_hint(&error, "wait"));
    snprintf(error.sqlstate, sizeof(error.sqlstate), "55P03");
    assert_false(error_context(&error, "could not swap"));
    assert_false(error_context(&error, "job %s", "a"));
    assert_string_equal(error.message, "job a: could not swap: no lock on orders");
    assert_string_equal(error.detail, "held by 7");
    assert_string_equal(error.hint, "wait");
    assert_string_equal(error.sqlstate, "55P03");
    assert_int_equal(error.code, ERROR_LOCK);
}

static void setting_an_error_anew_clears_what_an_earlier_one_said(void **state)
{
    struct error error = {0};

    (void)state;
    error_set(&error, ERROR_SQL, "first");
    error_detail(&error, "detail");
    error_hint(&error, "hint");
    snprintf(error.sqlstate, sizeof(error.sqlstate), "40001");
    error.retryable = true;
    error_set(&error, ERROR_USAGE, "second");
    assert_string_equal(error.message, "second");
    assert_string_equal(error.detail, "");
    assert_string_equal(error.hint, "");
    assert_string_equal(error.sqlstate, "");
    assert_false(error.retryable);
}

static void an_endless_message_is_cut_not_overrun(void **state)
{
    struct error error = {0};

    (void)state;
    error_set(&error, ERROR_SQL, "%05000d", 7);
    assert_int_equal(strlen(error.message), sizeof(error.message) - 1);
    for (int i = 0; i < 500; i++)
        error_context(&error, "context %d", i);
    assert_true(strlen(error.message) < sizeof(error.message));
    assert_memory_equal(error.message, "context 499: context 498: ", 26);
    error_context(&error, "%05000d", 8);
    assert_true(strlen(error.message) < sizeof(error.message));
}

static void every_code_has_its_documented_exit_status(void **state)
{
    static const int EXPECTED[][2] = {
        {ERROR_NONE, 0},     {ERROR_USAGE, 2},      {ERROR_REFUSED, 3}, {ERROR_SQL, 1},
        {ERROR_LOCK, 6},     {ERROR_CONNECTION, 1}, {ERROR_DIFFERS, 4}, {ERROR_INTERRUPTED, 5},
        {ERROR_WAITING, 7},  {ERROR_UNDONE, 8},     {ERROR_SYSTEM, 1},  {ERROR_NEEDS_PERSON, 9},
        {ERROR_INTERNAL, 1}, {ERROR_AGAIN, 1}};

    (void)state;
    assert_int_equal(sizeof(EXPECTED) / sizeof(EXPECTED[0]), ERROR_INTERNAL + 1);
    for (size_t i = 0; i < sizeof(EXPECTED) / sizeof(EXPECTED[0]); i++)
        assert_int_equal(error_exit_status((enum error_code)EXPECTED[i][0]), EXPECTED[i][1]);
}

/* ---------------------------------------------------------------------------------------- crew */

struct crew_test {
    atomic_int started;
    atomic_int ended;
    atomic_int told;      /* members that saw another one fail */
    atomic_int cancelled; /* calls of cancel */
    int failing;          /* member; -1 for none */
    bool all_fail;
};

static bool crew_member(struct crew *crew, int member, void *arg, struct error *error)
{
    struct crew_test *test = arg;
    bool ok = true;

    atomic_fetch_add(&test->started, 1);
    if (test->all_fail || member == test->failing) {
        clock_sleep_ms(5);
        ok = error_set(error, ERROR_SQL, "member %d", member);
    } else if (test->failing >= 0) {
        for (int i = 0; i < 5000 && !crew_failed(crew); i++)
            clock_sleep_ms(1);
        if (crew_failed(crew))
            atomic_fetch_add(&test->told, 1);
        /* Fails because it was told to stop: this must not replace the first error. */
        ok = error_set(error, ERROR_INTERRUPTED, "told to stop");
    }
    atomic_fetch_add(&test->ended, 1);
    return ok;
}

static void crew_cancel(void *arg)
{
    atomic_fetch_add(&((struct crew_test *)arg)->cancelled, 1);
}

static void a_crew_runs_every_member_and_joins_them(void **state)
{
    struct crew_test test = {.failing = -1};
    struct error error = {0};

    (void)state;
    assert_true(crew_run(
        8, &(struct crew_work){.run = crew_member, .cancel = crew_cancel, .arg = &test}, &error));
    assert_int_equal(test.started, 8);
    assert_int_equal(test.ended, 8);
    assert_int_equal(test.cancelled, 0);
}

static void the_first_error_of_a_crew_wins_and_the_others_are_told(void **state)
{
    struct crew_test test = {.failing = 3};
    struct error error = {0};

    (void)state;
    assert_false(crew_run(
        6, &(struct crew_work){.run = crew_member, .cancel = crew_cancel, .arg = &test}, &error));
    assert_string_equal(error.message, "member 3");
    assert_int_equal(error.code, ERROR_SQL);
    assert_int_equal(test.told, 5);
    assert_int_equal(test.ended, 6);
    assert_int_equal(test.cancelled, 1);
}

static void a_crew_cancels_once_even_when_all_members_fail(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct crew_test test = {.failing = -1, .all_fail = true};
        struct error error = {0};

        assert_false(crew_run(
            8, &(struct crew_work){.run = crew_member, .cancel = crew_cancel, .arg = &test},
            &error));
        assert_int_equal(test.cancelled, 1);
        assert_int_equal(test.ended, 8);
        assert_memory_equal(error.message, "member ", 7);
    }
}

static void a_crew_may_do_without_cancel(void **state)
{
    struct crew_test test = {.failing = 0};
    struct error error = {0};

    (void)state;
    assert_false(crew_run(1, &(struct crew_work){.run = crew_member, .arg = &test}, &error));
    assert_string_equal(error.message, "member 0");
}

/* Each member but the last adds one. */
static bool add_another(struct crew *crew, int member, void *arg, struct error *error)
{
    struct crew_test *test = arg;
    bool ok;

    atomic_fetch_add(&test->started, 1);
    ok = member + 1 == CREW_MEMBERS_MAX || crew_grow(crew, member + 2, error);
    clock_sleep_ms(1);
    atomic_fetch_add(&test->ended, 1);
    return ok && (member != test->failing || error_set(error, ERROR_SQL, "member %d", member));
}

static void a_crew_grows_while_it_runs(void **state)
{
    struct crew_test test = {.failing = -1};
    struct error error = {0};

    (void)state;
    assert_true(crew_run(1, &(struct crew_work){.run = add_another, .arg = &test}, &error));
    assert_int_equal(test.started, CREW_MEMBERS_MAX);
    assert_int_equal(test.ended, CREW_MEMBERS_MAX);
    test = (struct crew_test){.failing = CREW_MEMBERS_MAX - 1};
    assert_false(crew_run(2, &(struct crew_work){.run = add_another, .arg = &test}, &error));
    assert_string_equal(error.message, "member 63");
    assert_int_equal(test.ended, CREW_MEMBERS_MAX);
}

/* ---------------------------------------------------------------------------------------- stop */

static void *request_stop_soon(void *arg)
{
    clock_sleep_ms(20);
    stop_request(arg);
    return NULL;
}

static void a_stop_ends_a_sleep_early(void **state)
{
    struct stop stop = {0};
    struct error error = {0};
    pthread_t thread;
    int64_t start_ms = clock_ms();

    (void)state;
    assert_true(stop_check(&stop, &error));
    assert_int_equal(pthread_create(&thread, NULL, request_stop_soon, &stop), 0);
    assert_false(stop_sleep_ms(&stop, 30 * 1000, &error));
    pthread_join(thread, NULL);
    assert_int_equal(error.code, ERROR_INTERRUPTED);
    assert_true(clock_ms() - start_ms < 5000);
    assert_true(stop_wanted(&stop));
    assert_false(stop_check(&stop, &error));
}

static void a_sleep_without_a_stop_lasts_its_time(void **state)
{
    struct stop stop = {0};
    struct error error = {0};
    int64_t start_ms = clock_ms();

    (void)state;
    assert_true(stop_sleep_ms(&stop, 60, &error));
    assert_true(clock_ms() - start_ms >= 60);
    assert_true(stop_sleep_ms(&stop, 0, &error));
    assert_true(stop_sleep_ms(&stop, -5, &error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_text_is_an_empty_string),
        cmocka_unit_test(a_text_grows_by_whatever_is_appended),
        cmocka_unit_test(a_separator_stands_between_items_only),
        cmocka_unit_test(a_text_holds_exactly_its_ceiling),
        cmocka_unit_test(a_cleared_text_forgets_its_overflow),
        cmocka_unit_test(an_arena_gives_zeroed_aligned_memory_of_any_size),
        cmocka_unit_test(strings_of_an_arena_stay_where_they_are),
        cmocka_unit_test(context_goes_before_the_message_and_keeps_the_rest),
        cmocka_unit_test(setting_an_error_anew_clears_what_an_earlier_one_said),
        cmocka_unit_test(an_endless_message_is_cut_not_overrun),
        cmocka_unit_test(every_code_has_its_documented_exit_status),
        cmocka_unit_test(a_crew_runs_every_member_and_joins_them),
        cmocka_unit_test(the_first_error_of_a_crew_wins_and_the_others_are_told),
        cmocka_unit_test(a_crew_cancels_once_even_when_all_members_fail),
        cmocka_unit_test(a_crew_may_do_without_cancel),
        cmocka_unit_test(a_crew_grows_while_it_runs),
        cmocka_unit_test(a_stop_ends_a_sleep_early),
        cmocka_unit_test(a_sleep_without_a_stop_lasts_its_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
