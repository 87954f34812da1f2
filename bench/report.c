#include "bench/report.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/text.h"

/* ----------------------------------------------------------------------------------- histograms */

enum { SUB_BITS = 5, SUB_BUCKETS = 1 << SUB_BITS, VALUE_BITS_MAX = 36 };

static int bucket_of(int64_t us)
{
    int exponent;

    if (us < SUB_BUCKETS)
        return us < 0 ? 0 : (int)us;
    if (us >= (int64_t)1 << VALUE_BITS_MAX)
        return HISTOGRAM_BUCKETS - 1;
    exponent = 63 - __builtin_clzll((unsigned long long)us) - SUB_BITS;
    return (exponent + 1) * SUB_BUCKETS + (int)(us >> exponent) - SUB_BUCKETS;
}

/* The largest value that falls into the bucket. */
static int64_t bucket_end_us(int bucket)
{
    int exponent = bucket / SUB_BUCKETS - 1;

    if (exponent < 0)
        return bucket;
    return ((int64_t)(bucket % SUB_BUCKETS + SUB_BUCKETS + 1) << exponent) - 1;
}

_Static_assert((VALUE_BITS_MAX - SUB_BITS + 1) * SUB_BUCKETS == HISTOGRAM_BUCKETS,
               "one row of buckets per power of two");

void histogram_add(struct histogram *histogram, int64_t us)
{
    if (us < 0)
        us = 0;
    histogram->count++;
    histogram->sum_us += us;
    if (us > histogram->max_us)
        histogram->max_us = us;
    histogram->buckets[bucket_of(us)]++;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    into->count += from->count;
    into->sum_us += from->sum_us;
    if (from->max_us > into->max_us)
        into->max_us = from->max_us;
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
}

int64_t histogram_percentile_us(const struct histogram *histogram, double percent)
{
    double share = (double)histogram->count * percent / 100;
    int64_t wanted = (int64_t)share;
    int64_t seen = 0;

    assert(percent >= 0 && percent <= 100);
    if (histogram->count == 0)
        return 0;
    if ((double)wanted < share || wanted == 0)
        wanted++; /* rounded up */
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= wanted) {
            int64_t end = bucket_end_us(i);

            return end < histogram->max_us ? end : histogram->max_us;
        }
    }
    return histogram->max_us;
}

/* ----------------------------------------------------------------------------- parts of reports */

json_t *report_number(double value, int decimals)
{
    double scale = 1;

    if (!isfinite(value))
        return json_null();
    while (decimals-- > 0)
        scale *= 10;
    return json_real((double)(int64_t)(value * scale + (value < 0 ? -0.5 : 0.5)) / scale);
}

json_t *report_waits(const struct histogram *histogram)
{
    return json_pack("{s:I, s:o, s:o, s:o}", "count", (json_int_t)histogram->count, "p50_ms",
                     report_number((double)histogram_percentile_us(histogram, 50) / 1000, 2),
                     "p99_ms",
                     report_number((double)histogram_percentile_us(histogram, 99) / 1000, 2),
                     "max_ms", report_number((double)histogram->max_us / 1000, 2));
}

json_t *report_limit(double value, double limit)
{
    return json_pack("{s:o, s:o, s:o}", "value", report_number(value, 3), "limit",
                     report_number(limit, 3), "holds",
                     isnan(value) ? json_null() : json_boolean(value <= limit));
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;

    return (a > b) - (a < b);
}

double report_median(double *values, int count)
{
    int kept = 0;

    for (int i = 0; i < count; i++)
        if (!isnan(values[i]))
            values[kept++] = values[i];
    if (kept == 0)
        return NAN;
    qsort(values, (size_t)kept, sizeof(values[0]), compare_doubles);
    return kept % 2 == 1 ? values[kept / 2] : (values[kept / 2 - 1] + values[kept / 2]) / 2;
}

/* ----------------------------------------------------------------------------------- for people */

enum { TABLE_COLUMNS_MAX = 24, CELL_BYTES_MAX = 100 };

/* Digits in groups of three, which the eye needs from five on. */
static void append_integer(struct text *text, json_int_t value)
{
    char digits[32];
    int length =
        snprintf(digits, sizeof(digits), "%" JSON_INTEGER_FORMAT, value < 0 ? -value : value);

    if (value < 0)
        text_append(text, "-");
    for (int i = 0; i < length; i++) {
        if (i > 0 && length > 4 && (length - i) % 3 == 0)
            text_append(text, ",");
        text_append_bytes(text, digits + i, 1);
    }
}

static void append_scalar(struct text *text, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        text_append(text, json_string_value(value));
        break;
    case JSON_INTEGER:
        append_integer(text, json_integer_value(value));
        break;
    case JSON_REAL:
        text_appendf(text, "%.6g", json_real_value(value));
        break;
    case JSON_TRUE:
        text_append(text, "yes");
        break;
    case JSON_FALSE:
        text_append(text, "no");
        break;
    default:
        text_append(text, "-");
    }
}

static bool is_flat(const json_t *value)
{
    const char *name;
    json_t *member;

    if (!json_is_object(value))
        return false;
    json_object_foreach((json_t *)value, name,
                        member) if (json_is_object(member) || json_is_array(member)) return false;
    return true;
}

static bool is_table(const json_t *value)
{
    const char *name;
    json_t *member;
    size_t index;

    if (json_is_array(value)) {
        json_array_foreach((json_t *)value, index, member) if (!is_flat(member)) return false;
        return json_array_size(value) > 0;
    }
    if (!json_is_object(value) || json_object_size(value) == 0)
        return false;
    json_object_foreach((json_t *)value, name, member) if (!is_flat(member)) return false;
    return true;
}

/* A cell of a table: words are cut where they would break the table. */
static void append_cell(struct text *text, const json_t *value)
{
    const char *string = json_string_value(value);

    if (string != NULL && strlen(string) > CELL_BYTES_MAX)
        text_appendf(text, "%.*s...", CELL_BYTES_MAX - 3, string);
    else
        append_scalar(text, value);
}

struct grid {
    const char *columns[TABLE_COLUMNS_MAX]; /* names of members */
    int widths[TABLE_COLUMNS_MAX];          /* negative: words, aligned left */
    int count;
    int name_width;
};

static void grid_fit(struct grid *grid, const char *row_name, const json_t *row)
{
    const char *name;
    json_t *member;

    if ((int)strlen(row_name) > grid->name_width)
        grid->name_width = (int)strlen(row_name);
    json_object_foreach((json_t *)row, name, member)
    {
        TEXT_AUTO cell = {0};
        int column = 0;
        int width;

        while (column < grid->count && strcmp(grid->columns[column], name) != 0)
            column++;
        if (column == TABLE_COLUMNS_MAX)
            continue;
        if (column == grid->count) {
            grid->columns[column] = name;
            grid->widths[column] = (int)strlen(name);
            grid->count++;
        }
        append_cell(&cell, member);
        width = abs(grid->widths[column]);
        if ((int)cell.used > width)
            width = (int)cell.used;
        grid->widths[column] = grid->widths[column] < 0 || json_is_string(member) ? -width : width;
    }
}

/* `row` NULL: the line of column names. Words at the end of a line are not padded. */
static void grid_line(FILE *out, const struct grid *grid, int indent, const char *row_name,
                      const json_t *row)
{
    fprintf(out, "%*s%-*s", indent, "", grid->name_width, row_name);
    for (int column = 0; column < grid->count; column++) {
        json_t *member = json_object_get(row, grid->columns[column]);
        TEXT_AUTO cell = {0};

        if (row == NULL)
            text_append(&cell, grid->columns[column]);
        else if (member != NULL)
            append_cell(&cell, member);
        if (grid->widths[column] < 0 && column == grid->count - 1)
            fprintf(out, "  %s", text_string(&cell));
        else
            fprintf(out, "  %*s", grid->widths[column], text_string(&cell));
    }
    fputc('\n', out);
}

static void print_table(FILE *out, const json_t *table, int indent)
{
    struct grid grid = {0};
    const char *name;
    json_t *row;
    size_t index;

    if (json_is_array(table)) {
        json_array_foreach((json_t *)table, index, row) grid_fit(&grid, "", row);
        grid_line(out, &grid, indent, "", NULL);
        json_array_foreach((json_t *)table, index, row) grid_line(out, &grid, indent, "", row);
        return;
    }
    json_object_foreach((json_t *)table, name, row) grid_fit(&grid, name, row);
    grid_line(out, &grid, indent, "", NULL);
    json_object_foreach((json_t *)table, name, row) grid_line(out, &grid, indent, name, row);
}

static void print_value(FILE *out, const json_t *value, int indent);

static void print_member(FILE *out, const char *name, const json_t *value, int width, int indent)
{
    TEXT_AUTO cell = {0};

    if (json_is_object(value) || json_is_array(value)) {
        fprintf(out, "%*s%s\n", indent, "", name);
        print_value(out, value, indent + 2);
        return;
    }
    append_scalar(&cell, value);
    fprintf(out, "%*s%-*s  %s\n", indent, "", width, name, text_string(&cell));
}

static void print_value(FILE *out, const json_t *value, int indent)
{
    int width = 0;
    const char *name;
    json_t *member;
    size_t index;

    if (is_table(value)) {
        print_table(out, value, indent);
    } else if (json_is_object(value)) {
        json_object_foreach((json_t *)value, name,
                            member) if (!json_is_object(member) && !json_is_array(member) &&
                                        (int)strlen(name) > width) width = (int)strlen(name);
        json_object_foreach((json_t *)value, name, member)
            print_member(out, name, member, width, indent);
    } else if (json_is_array(value)) {
        json_array_foreach((json_t *)value, index, member)
            print_member(out, "-", member, 1, indent);
    } else {
        print_member(out, "", value, 0, indent);
    }
}

void report_print(FILE *out, const json_t *report, bool json)
{
    if (json) {
        json_dumpf(report, out, JSON_COMPACT | JSON_REAL_PRECISION(12));
        fputc('\n', out);
    } else {
        print_value(out, report, 0);
    }
    fflush(out);
}
