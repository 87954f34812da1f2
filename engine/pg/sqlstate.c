#include "engine/pg/sqlstate.h"

#include <string.h>

static bool starts_with_any(const char *sqlstate, const char *const *prefixes)
{
    for (; *prefixes != NULL; prefixes++)
        if (strncmp(sqlstate, *prefixes, strlen(*prefixes)) == 0)
            return true;
    return false;
}

bool sqlstate_connection_lost(const char *sqlstate)
{
    static const char *const LOST[] = {"08", "57P0", NULL};

    return starts_with_any(sqlstate, LOST);
}

bool sqlstate_retryable(const char *sqlstate)
{
    static const char *const PASSING[] = {"40001", "40P01", "55P03", "53300", NULL};

    return sqlstate_connection_lost(sqlstate) || starts_with_any(sqlstate, PASSING);
}

bool sqlstate_of_row(const char *sqlstate)
{
    static const char *const OF_ROWS[] = {"22", "23", "54", "P0", NULL};

    return starts_with_any(sqlstate, OF_ROWS);
}

bool sqlstate_maybe_of_row(const char *sqlstate)
{
    static const char *const TROUBLE[] = {"08", "40", "53", "57", "58", "F0", "XX", NULL};

    return sqlstate[0] != '\0' && !sqlstate_retryable(sqlstate) &&
           !starts_with_any(sqlstate, TROUBLE);
}
