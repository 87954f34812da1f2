#include "cli/nearest.h"

#include <stddef.h>
#include <string.h>

enum { WORD_BYTES_MAX = 40 };

static int min3(int a, int b, int c)
{
    int ab = a < b ? a : b;

    return ab < c ? ab : c;
}

/* Damerau-Levenshtein, restricted to neighbours, over at most WORD_BYTES_MAX bytes of each. */
int nearest_distance(const char *a, const char *b)
{
    int rows[WORD_BYTES_MAX + 1][WORD_BYTES_MAX + 1];
    int a_length = (int)strnlen(a, WORD_BYTES_MAX);
    int b_length = (int)strnlen(b, WORD_BYTES_MAX);

    for (int i = 0; i <= a_length; i++)
        rows[i][0] = i;
    for (int j = 0; j <= b_length; j++)
        rows[0][j] = j;
    for (int i = 1; i <= a_length; i++)
        for (int j = 1; j <= b_length; j++) {
            int replace = rows[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

            rows[i][j] = min3(rows[i - 1][j] + 1, rows[i][j - 1] + 1, replace);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                rows[i - 2][j - 2] + 1 < rows[i][j])
                rows[i][j] = rows[i - 2][j - 2] + 1;
        }
    return rows[a_length][b_length];
}

void nearest_offer(struct nearest *nearest, const char *candidate)
{
    int length = (int)strlen(nearest->typed);
    int limit = length <= 3 ? 1 : length <= 7 ? 2 : 3;
    int distance = nearest_distance(nearest->typed, candidate);

    /* The beginning of a word is near, however much is missing. */
    if (length >= 3 && strncmp(nearest->typed, candidate, (size_t)length) == 0)
        distance = 1;
    if (distance > limit || (nearest->best != NULL && distance >= nearest->distance))
        return;
    nearest->best = candidate;
    nearest->distance = distance;
}
