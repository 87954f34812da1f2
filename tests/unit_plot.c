/* bench/plot: what a picture says, whatever it is given. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench/plot.h"

enum { COUNT = 5000 };

static char *printed(const struct plot *plot)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    plot_print(plot, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static int count_of(const char *text, const char *what)
{
    int count = 0;

    for (const char *at = text; (at = strstr(at, what)) != NULL; at += strlen(what))
        count++;
    return count;
}

static void the_same_values_are_the_same_bytes(void **state)
{
    static double seconds[COUNT], values[COUNT];
    const struct plot_panel panel = {
        .title = "a < b & c", .series = {{"line", values}}, .limit = 1.5};
    const struct plot plot = {"title", seconds, COUNT, &panel, 1};
    char *one, *other;

    (void)state;
    for (int i = 0; i < COUNT; i++) {
        seconds[i] = i;
        values[i] = 1 + sin(i / 100.0);
    }
    one = printed(&plot);
    other = printed(&plot);
    assert_string_equal(one, other);
    assert_non_null(strstr(one, "a &lt; b &amp; c"));
    assert_non_null(strstr(one, "stroke-dasharray"));
    assert_int_equal(count_of(one, "<polyline"), 1);
    assert_string_equal(one + strlen(one) - 7, "</svg>\n");
    free(one);
    free(other);
}

/* One sample of many that is high is still to be seen: at the top of its axis. */
static void a_peak_stays_when_points_are_left_out(void **state)
{
    static double seconds[COUNT], values[COUNT];
    const struct plot_panel panel = {.title = "peak", .series = {{"line", values}}};
    const struct plot plot = {"title", seconds, COUNT, &panel, 1};
    char *text;

    (void)state;
    for (int i = 0; i < COUNT; i++)
        seconds[i] = i;
    values[2717] = 10;
    text = printed(&plot);
    assert_non_null(strstr(text, ",58.0 ")); /* 34 + 24 */
    free(text);
}

static void what_is_not_finite_leaves_a_gap(void **state)
{
    const double seconds[] = {0, 1, 2, 3, 4}, values[] = {1, 2, NAN, 3, INFINITY};
    const struct plot_panel panel = {.title = "gap", .series = {{"line", values}}};
    const struct plot plot = {"title", seconds, 5, &panel, 1};
    char *text = printed(&plot);

    (void)state;
    assert_int_equal(count_of(text, "<polyline"), 2);
    assert_int_equal(count_of(text, "nan") + count_of(text, "inf"), 0);
    free(text);
}

static void nothing_is_a_picture_too(void **state)
{
    const struct plot_panel panel = {.title = "empty", .series = {{"line", NULL}}};
    const struct plot plot = {"title", NULL, 0, &panel, 1};
    char *text = printed(&plot);

    (void)state;
    assert_non_null(strstr(text, "</svg>"));
    assert_int_equal(count_of(text, "nan") + count_of(text, "inf"), 0);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_values_are_the_same_bytes),
        cmocka_unit_test(a_peak_stays_when_points_are_left_out),
        cmocka_unit_test(what_is_not_finite_leaves_a_gap),
        cmocka_unit_test(nothing_is_a_picture_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
