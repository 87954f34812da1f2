#include "throttle/law.h"

#include <math.h>
#include <string.h>

#include "engine/job/settings.h"

/* A part of a chunk that was stalled is no longer than this. */
static const double REST_MOST_S = 5;

double law_rest_seconds(const struct law_decision *decision, double chunk_seconds)
{
    return fmax(decision->delay_seconds, fmin(REST_MOST_S, decision->rest_part * chunk_seconds));
}

const struct law *law_find(const struct law *const *list, const char *name)
{
    for (; *list != NULL; list++)
        if (strcmp((*list)->name, name) == 0)
            return *list;
    return NULL;
}

const struct law *law_of_policy(const char *policy, const struct law *const *more,
                                int64_t *fixed_ms, struct error *error)
{
    static const char FIXED[] = "fixed=", AMONG_MORE[] = "law=";
    const struct law *law;

    *fixed_ms = 0;
    if (strncmp(policy, AMONG_MORE, strlen(AMONG_MORE)) == 0) {
        law = more != NULL ? law_find(more, policy + strlen(AMONG_MORE)) : NULL;
        if (law == NULL)
            error_set(error, ERROR_USAGE, "there is no policy \"%s\"", policy);
        return law;
    }
    if (strncmp(policy, FIXED, strlen(FIXED)) == 0 &&
        setting_parse_time(policy + strlen(FIXED), fixed_ms))
        return &law_fixed;
    return strcmp(policy, law_off.name) == 0 ? &law_off : &law_auto;
}

bool law_heeds_signals(const struct law *law)
{
    return law != &law_off && law != &law_fixed;
}
