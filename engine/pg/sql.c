#include "engine/pg/sql.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct sql_value sql_ident(const char *name)
{
    return (struct sql_value){.kind = SQL_IDENTIFIER, .text = name};
}

struct sql_value sql_table(const char *schema, const char *name)
{
    return (struct sql_value){.kind = SQL_QUALIFIED, .text = name, .schema = schema};
}

struct sql_value sql_literal(const char *value)
{
    return (struct sql_value){.kind = SQL_LITERAL, .text = value};
}

struct sql_value sql_body(const char *body)
{
    return (struct sql_value){.kind = SQL_BODY, .text = body};
}

struct sql_value sql_fragment(const char *sql)
{
    return (struct sql_value){.kind = SQL_FRAGMENT, .text = sql};
}

/*
 * `quote` around the string, doubled inside. Sessions pin standard_conforming_strings, so a
 * backslash is a backslash.
 */
static void append_quoted(struct text *out, const char *string, char quote)
{
    text_append_bytes(out, &quote, 1);
    for (const char *at = string; *at != '\0'; at++) {
        if (*at == quote)
            text_append_bytes(out, &quote, 1);
        text_append_bytes(out, at, 1);
    }
    text_append_bytes(out, &quote, 1);
}

/* A body that had "$pghaul" at its end would end a $ too early: so not even that may occur. */
static void append_body(struct text *out, const char *body)
{
    char tag[24] = "$pghaul";

    for (int number = 1; strstr(body, tag) != NULL; number++)
        snprintf(tag, sizeof(tag), "$pghaul%d", number);
    text_appendf(out, "%s$%s%s$", tag, body, tag);
}

void sql_append(struct text *out, struct sql_value value)
{
    switch (value.kind) {
    case SQL_IDENTIFIER:
        append_quoted(out, value.text, '"');
        break;
    case SQL_QUALIFIED:
        if (value.schema != NULL) {
            append_quoted(out, value.schema, '"');
            text_append(out, ".");
        }
        append_quoted(out, value.text, '"');
        break;
    case SQL_LITERAL:
        if (value.text == NULL)
            text_append(out, "NULL");
        else
            append_quoted(out, value.text, '\'');
        break;
    case SQL_BODY:
        append_body(out, value.text);
        break;
    case SQL_FRAGMENT:
        text_append(out, value.text);
        break;
    case SQL_NONE:
        assert(!"a value of no kind");
        break;
    }
}

/*
 * Length of the name after an opening brace when a closing one follows; 0 when this is no
 * placeholder.
 */
static size_t placeholder_length(const char *after_brace)
{
    size_t length = strspn(after_brace, "abcdefghijklmnopqrstuvwxyz_0123456789");

    return after_brace[length] == '}' ? length : 0;
}

static const struct sql_name *find_name(const struct sql_name *names, const char *name,
                                        size_t length)
{
    for (const struct sql_name *at = names; at->name != NULL; at++)
        if (strlen(at->name) == length && memcmp(at->name, name, length) == 0)
            return at;
    return NULL;
}

void sql_expand(struct text *out, const char *template, const struct sql_name *names)
{
    const char *at = template;

    while (*at != '\0') {
        const char *brace = strchr(at, '{');
        const struct sql_name *found;
        size_t length;

        if (brace == NULL) {
            text_append(out, at);
            return;
        }
        text_append_bytes(out, at, (size_t)(brace - at));
        length = placeholder_length(brace + 1);
        found = length > 0 ? find_name(names, brace + 1, length) : NULL;
        assert(length == 0 || found != NULL);
        if (found == NULL) {
            text_append(out, "{");
            at = brace + 1;
            continue;
        }
        sql_append(out, found->value);
        at = brace + 1 + length + 1;
    }
}

void sql_add(struct text *script, const char *statement)
{
    size_t length = strlen(statement);

    while (length > 0 && strchr("; \n", statement[length - 1]) != NULL)
        length--;
    if (length == 0)
        return;
    text_append_bytes(script, statement, length);
    text_append(script, ";\n");
}

void sql_note(struct text *script, const char *format, ...)
{
    char line[512];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    for (char *at = line; *at != '\0'; at++)
        if (*at == '\n' || *at == '\r') /* in a name: the rest would be a statement */
            *at = ' ';
    text_appendf(script, "-- %s\n", line);
}
