#include "cli/kinds.h"

#include <string.h>

#include "copy/kinds/alter.h"

static const struct kind *const KINDS[] = {&alter_kind};

bool kind_find(const char *name, const struct kind **kind, struct error *error)
{
    for (size_t i = 0; i < sizeof(KINDS) / sizeof(KINDS[0]); i++)
        if (strcmp(KINDS[i]->name, name) == 0) {
            *kind = KINDS[i];
            return true;
        }
    error_set(error, ERROR_REFUSED, "this program does not know jobs of kind \"%s\"", name);
    return error_hint(error, "use the newer program that made the job");
}

/* Position of a phase in the kind's table; -1 for a name that is not in it. */
static int phase_number(const struct kind *kind, const char *name)
{
    if (name == NULL)
        return -1;
    for (int i = 0; kind->phases[i].name != NULL; i++)
        if (strcmp(kind->phases[i].name, name) == 0)
            return i;
    return -1;
}

bool kind_is_ready(const struct kind *kind, const char *phase)
{
    return kind->ready != NULL && phase != NULL && strcmp(kind->ready, phase) == 0;
}

bool kind_is_past_ready(const struct kind *kind, const char *phase)
{
    int ready = phase_number(kind, kind->ready);

    return ready >= 0 && phase_number(kind, phase) > ready;
}
