#include "engine/pg/conninfo.h"

#include <libpq-fe.h>
#include <string.h>

/* libpq marks what must not be shown; an empty one is none. */
static bool secret(const PQconninfoOption *option)
{
    return option->val != NULL && option->val[0] != '\0' && option->dispchar != NULL &&
           strchr(option->dispchar, '*') != NULL;
}

bool conninfo_check_stored(const char *conninfo, struct error *error)
{
    char *why = NULL;
    PQconninfoOption *options = PQconninfoParse(conninfo, &why);
    const char *found = NULL;

    if (options == NULL) {
        error_set(error, ERROR_USAGE, "this is no connection string");
        /* libpq quotes what it stumbled over, which may be a piece of a password. */
        if (why != NULL && strstr(conninfo, "password") == NULL && strchr(conninfo, '@') == NULL)
            error_detail(error, "%.*s", (int)strcspn(why, "\n"), why);
        PQfreemem(why);
        return error_hint(error, "write \"host=standby1 port=5432\", or a URI");
    }
    for (PQconninfoOption *option = options; option->keyword != NULL && found == NULL; option++)
        if (secret(option))
            found = option->keyword;
    if (found != NULL) {
        error_set(error, ERROR_USAGE, "a connection string that is stored must not hold a %s",
                  found);
        error_detail(error, "everybody who may read the job's row in schema pghaul would read it");
        error_hint(error, "put it into a password file: ~/.pgpass, or passfile=FILE");
    }
    PQconninfoFree(options);
    return found == NULL;
}

bool conninfo_next(const char **list, struct text *one)
{
    const char *line = *list + strspn(*list, "\n");
    size_t length = strcspn(line, "\n");

    text_clear(one);
    text_append_bytes(one, line, length);
    *list = line + length;
    return length > 0;
}

/* As libpq reads it. */
static void append_value(struct text *out, const char *keyword, const char *value)
{
    text_separate(out, " ");
    text_appendf(out, "%s='", keyword);
    for (; *value != '\0'; value++) {
        if (*value == '\'' || *value == '\\')
            text_append(out, "\\");
        text_append_bytes(out, value, 1);
    }
    text_append(out, "'");
}

void conninfo_complete(const char *conninfo, const char *user, const char *database,
                       struct text *out)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);

    /* Of two values for a keyword the last one counts. */
    append_value(out, "user", user);
    append_value(out, "dbname", database);
    if (options == NULL) {
        text_appendf(out, " %s", conninfo);
        return;
    }
    for (PQconninfoOption *option = options; option->keyword != NULL; option++)
        if (option->val != NULL && option->val[0] != '\0')
            append_value(out, option->keyword, option->val);
    PQconninfoFree(options);
}
