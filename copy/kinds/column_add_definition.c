/*
 * The text of a definition is the server's to parse. Read by us are two things that it cannot be
 * asked on a clone: where the name of a referenced table stands, for a temporary table may not
 * reference one that is not; and that no comma begins another action of ALTER TABLE.
 */
#include <string.h>
#include <strings.h>

#include "copy/kinds/column_add_parts.h"
#include "engine/pg/identifier.h"

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '$' || (c & 0x80) != 0;
}

/* Behind the quote that closes what `at` opens; at the end of the text when none does. */
static const char *skip_quoted(const char *at, bool backslashes)
{
    char quote = *at++;

    for (; *at != '\0'; at++) {
        if (backslashes && *at == '\\' && at[1] != '\0')
            at++;
        else if (*at == quote && *++at != quote)
            return at;
    }
    return at;
}

static const char *skip_comment(const char *at)
{
    int depth = 0;

    if (*at == '-')
        return at + strcspn(at, "\n");
    for (; *at != '\0'; at++) {
        if (at[0] == '/' && at[1] == '*') {
            depth++;
            at++;
        } else if (at[0] == '*' && at[1] == '/') {
            at++;
            if (--depth == 0)
                return at + 1;
        }
    }
    return at;
}

/* $tag$ .. $tag$ */
static const char *skip_dollars(const char *at)
{
    const char *end = at + 1;
    size_t length;

    while (is_word(*end) && *end != '$')
        end++;
    if (*end != '$')
        return at + 1;
    length = (size_t)(end - at) + 1;
    for (end++; *end != '\0'; end++)
        if (strncmp(end, at, length) == 0)
            return end + length;
    return end;
}

/* Behind what is no word and no sign: a literal, a quoted name, a comment. NULL: there is none. */
static const char *skip_opaque(const char *at)
{
    if (*at == '\'' || *at == '"')
        return skip_quoted(at, false);
    if (*at == '$')
        return skip_dollars(at);
    if ((at[0] == '-' && at[1] == '-') || (at[0] == '/' && at[1] == '*'))
        return skip_comment(at);
    return NULL;
}

/* At REFERENCES: the cursor goes behind the table's name. */
static bool read_references(const char **at, const char *text, struct arena *arena,
                            struct definition *definition, struct error *error)
{
    const char *start = *at;

    if (definition->other != NULL)
        return error_set(error, ERROR_USAGE, "the definition has more than one foreign key");
    definition->other = identifier_qualified(at, arena);
    if (definition->other == NULL)
        return error_set(error, ERROR_USAGE, "REFERENCES what?");
    definition->head = arena_format(arena, "%.*s ", (int)(start - text), text);
    definition->rest = *at;
    return true;
}

static bool refuse_comma(struct error *error)
{
    error_set(error, ERROR_USAGE, "one column, please");
    return error_hint(error, "as in \"status text NOT NULL DEFAULT 'pending'\"");
}

static bool read_word(const char **at, const char *text, bool outside, struct arena *arena,
                      struct definition *definition, struct error *error)
{
    static const char REFERENCES[] = "references";
    const char *start = *at;

    while (is_word(**at))
        (*at)++;
    if ((size_t)(*at - start) == 1 && (*start == 'e' || *start == 'E') && **at == '\'')
        *at = skip_quoted(*at, true);
    if (!outside || (size_t)(*at - start) != strlen(REFERENCES) ||
        strncasecmp(start, REFERENCES, strlen(REFERENCES)) != 0)
        return true;
    return read_references(at, text, arena, definition, error);
}

bool definition_read(const char *text, struct arena *arena, struct definition *definition,
                     struct error *error)
{
    size_t length = strlen(text);
    const char *copy, *at;
    int depth = 0;

    while (length > 0 && strchr("; \t\r\n", text[length - 1]) != NULL)
        length--;
    at = copy = arena_format(arena, "%.*s", (int)length, text);
    *definition = (struct definition){.head = copy, .rest = ""};
    while (*at != '\0') {
        const char *behind = skip_opaque(at);

        if (behind != NULL) {
            at = behind;
        } else if (is_word(*at)) {
            if (!read_word(&at, copy, depth == 0, arena, definition, error))
                return false;
        } else {
            depth += (*at == '(' || *at == '[') - (*at == ')' || *at == ']');
            if (*at == ',' && depth == 0)
                return refuse_comma(error);
            at++;
        }
    }
    return true;
}
