#include "engine/pg/identifier.h"

#include <string.h>

static const char BLANKS[] = " \t\n\r\f\v";

/* The server's rule for UTF-8: every byte of a longer character may begin a name, only ASCII is
 * folded. */
static bool begins_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}

static bool continues_name(char c)
{
    return begins_name(c) || (c >= '0' && c <= '9') || c == '$';
}

/* `from` is behind the opening quote. Behind the closing one; NULL: there is none. */
static const char *read_quoted(const char *from, char *to)
{
    for (; *from != '\0'; from++) {
        if (*from == '"' && *++from != '"')
            return from;
        *to++ = *from;
    }
    return NULL;
}

static const char *read_plain(const char *from, char *to)
{
    for (; continues_name(*from); from++)
        *to++ = *from >= 'A' && *from <= 'Z' ? (char)(*from - 'A' + 'a') : *from;
    return from;
}

const char *identifier_read(const char **at, struct arena *arena)
{
    const char *from = *at + strspn(*at, BLANKS);
    const char *end = NULL;
    char *name = arena_alloc(arena, strlen(from) + 1); /* zeroed: it ends itself */

    *at = from;
    if (*from == '"')
        end = read_quoted(from + 1, name);
    else if (begins_name(*from))
        end = read_plain(from, name);
    if (end == NULL || name[0] == '\0')
        return NULL;
    *at = end;
    return name;
}

bool identifier_word(const char **at, const char *word, struct arena *arena)
{
    const char *from = *at;
    const char *found = identifier_read(&from, arena);

    if (found == NULL || strcmp(found, word) != 0 || from[-1] == '"')
        return false;
    *at = from;
    return true;
}

const char *identifier_qualified(const char **at, struct arena *arena)
{
    const char *start = *at + strspn(*at, BLANKS);
    const char *from = start;

    if (identifier_read(&from, arena) == NULL)
        return NULL;
    while (from[strspn(from, BLANKS)] == '.') {
        from += strspn(from, BLANKS) + 1;
        if (identifier_read(&from, arena) == NULL)
            return NULL;
    }
    *at = from;
    return arena_format(arena, "%.*s", (int)(from - start), start);
}

int identifier_list(const char *text, const char **names, int max, struct arena *arena)
{
    const char *at = text;

    for (int count = 0; count < max; at++) {
        names[count] = identifier_read(&at, arena);
        if (names[count++] == NULL)
            return -1;
        at += strspn(at, BLANKS);
        if (*at != ',')
            return *at == '\0' ? count : -1;
    }
    return -1;
}

static bool refuse(const char *text, const char *at, struct error *error)
{
    if (*at == '(') {
        error_set(error, ERROR_USAGE, "\"%s\" gives values to several columns at once", text);
        return error_hint(error, "write column = expression for each of them");
    }
    error_set(error, ERROR_USAGE, "\"%s\" does not say which column gets a value", text);
    return error_hint(error, "write column = expression, a name that is no plain word in double "
                             "quotes");
}

bool assignment_parse(const char *text, struct arena *arena, struct assignment *assignment,
                      struct error *error)
{
    const char *at = text;

    *assignment = (struct assignment){.column = identifier_read(&at, arena)};
    if (assignment->column == NULL)
        return refuse(text, at, error);
    at += strspn(at, BLANKS);
    if (*at != '=')
        return refuse(text, at, error);
    at++;
    at += strspn(at, BLANKS);
    if (*at == '\0') {
        error_set(error, ERROR_USAGE, "\"%s\" gives column \"%s\" no value", text,
                  assignment->column);
        return error_hint(error, "write column = expression");
    }
    assignment->expression = at;
    return true;
}
