#include "copy/actions.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---------------------------------------------------------------------------------------- lexer */

enum token_kind {
    TOKEN_WORD,   /* keyword or plain identifier */
    TOKEN_QUOTED, /* "identifier" */
    TOKEN_STRING, /* '..', E'..', $tag$..$tag$, ... */
    TOKEN_OTHER,  /* one character of anything else */
};

struct token {
    enum token_kind kind;
    const char *start;
    const char *end; /* after its last character */
    int depth; /* of parentheses and brackets around it; a bracket itself has the depth outside */
};

struct tokens {
    struct token *list;
    int count;
};

static bool word_start(char c)
{
    return isalpha((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

static bool word_part(char c)
{
    return word_start(c) || isdigit((unsigned char)c) || c == '$';
}

/* Each skip_ function returns the place after what it skips, or NULL when that has no end. */

static const char *skip_quoted(const char *at, char quote, bool backslashes)
{
    for (at++; *at != '\0'; at++) {
        if (backslashes && *at == '\\' && at[1] != '\0')
            at++;
        else if (*at == quote && at[1] == quote)
            at++;
        else if (*at == quote)
            return at + 1;
    }
    return NULL;
}

static const char *skip_comment(const char *at)
{
    int depth = 1; /* they nest */

    for (at += 2; *at != '\0'; at++) {
        if (at[0] == '/' && at[1] == '*') {
            depth++;
            at++;
        } else if (at[0] == '*' && at[1] == '/') {
            at++;
            if (--depth == 0)
                return at + 1;
        }
    }
    return NULL;
}

/* Length of $tag$ at this place; 0 when there is none ($1 for example). */
static size_t dollar_length(const char *at)
{
    const char *end = at + 1;

    if (*at != '$')
        return 0;
    if (word_start(*end))
        while (word_part(*end) && *end != '$')
            end++;
    return *end == '$' ? (size_t)(end + 1 - at) : 0;
}

static const char *skip_dollar(const char *at, size_t tag_length)
{
    for (const char *end = strchr(at + tag_length, '$'); end != NULL; end = strchr(end + 1, '$'))
        if (strncmp(end, at, tag_length) == 0)
            return end + tag_length;
    return NULL;
}

/* A string with a letter before it: E'..', B'..', X'..', N'..', U&'..', U&"..". How long what
 * stands before is; 0: none. */
static size_t string_prefix(const char *at)
{
    if (strchr("eEbBxXnN", *at) != NULL && at[1] == '\'')
        return 1;
    if ((*at == 'u' || *at == 'U') && at[1] == '&' && (at[2] == '\'' || at[2] == '"'))
        return 2;
    return 0;
}

/* Reads one token at `at`, which is neither space nor comment. False when it has no end. */
static bool read_token(const char *at, struct token *token)
{
    size_t length;

    token->start = at;
    if ((length = string_prefix(at)) > 0) {
        token->kind = at[length] == '"' ? TOKEN_QUOTED : TOKEN_STRING;
        token->end = skip_quoted(at + length, at[length], *at == 'e' || *at == 'E');
    } else if (*at == '\'') {
        token->kind = TOKEN_STRING;
        token->end = skip_quoted(at, '\'', false);
    } else if (*at == '"') {
        token->kind = TOKEN_QUOTED;
        token->end = skip_quoted(at, '"', false);
    } else if ((length = dollar_length(at)) > 0) {
        token->kind = TOKEN_STRING;
        token->end = skip_dollar(at, length);
    } else if (word_start(*at)) {
        token->kind = TOKEN_WORD;
        for (token->end = at; word_part(*token->end);)
            token->end++;
    } else {
        token->kind = TOKEN_OTHER;
        token->end = at + 1;
    }
    return token->end != NULL;
}

/* The place of the next token; NULL when a comment has no end. */
static const char *skip_blank(const char *at)
{
    for (;;) {
        if (isspace((unsigned char)*at))
            at++;
        else if (at[0] == '-' && at[1] == '-')
            at += strcspn(at, "\r\n");
        else if (at[0] == '/' && at[1] == '*') {
            at = skip_comment(at);
            if (at == NULL)
                return NULL;
        } else
            return at;
    }
}

static bool tokenize(const char *text, struct arena *arena, struct tokens *tokens,
                     struct error *error)
{
    const char *at = text;
    int depth = 0;

    tokens->count = 0;
    tokens->list = arena_alloc(arena, (strlen(text) + 1) * sizeof(*tokens->list));
    for (;;) {
        struct token *token = &tokens->list[tokens->count];

        at = skip_blank(at);
        if (at != NULL && *at == '\0')
            break;
        if (at == NULL || !read_token(at, token)) {
            error_set(error, ERROR_REFUSED, "a quote or comment in --do does not end: %s", text);
            return error_hint(error, "check the quotes; a shell takes some of them away");
        }
        if (strchr(")]", *token->start) != NULL && token->kind == TOKEN_OTHER)
            depth--;
        token->depth = depth;
        if (strchr("([", *token->start) != NULL && token->kind == TOKEN_OTHER)
            depth++;
        if (depth < 0)
            break;
        tokens->count++;
        at = token->end;
    }
    if (depth != 0) {
        error_set(error, ERROR_REFUSED, "parentheses in --do do not match: %s", text);
        return error_hint(error, "count the opening and the closing ones");
    }
    return true;
}

static bool is_word(const struct token *token, const char *word)
{
    size_t length = (size_t)(token->end - token->start);

    return token->kind == TOKEN_WORD && strlen(word) == length &&
           strncasecmp(token->start, word, length) == 0;
}

static bool is_character(const struct token *token, char c)
{
    return token->kind == TOKEN_OTHER && *token->start == c;
}

/* ------------------------------------------------------------------------------------ the rules */

/*
 * How an action begins, the first rule that fits decides. '?' before a word makes it optional, '*'
 * stands for one token of any kind. No hint: allowed.
 */
static const struct rule {
    const char *words;
    const char *what; /* "--do cannot ..." */
    const char *hint;
} RULES[] = {
    {"ALTER TABLE", "begin with ALTER TABLE",
     "write only the action: ADD COLUMN .., ALTER COLUMN .., DROP .."},
    {"RENAME TO", "rename the table", "after finish: ALTER TABLE .. RENAME TO .."},
    {"RENAME", NULL, NULL},
    {"SET SCHEMA", "move the table to another schema",
     "after finish: ALTER TABLE .. SET SCHEMA .."},
    {"SET LOGGED", "change whether the table is logged", "run ALTER TABLE .. SET LOGGED by itself"},
    {"SET UNLOGGED", "change whether the table is logged",
     "run ALTER TABLE .. SET UNLOGGED by itself, after finish"},
    {"SET WITH", "set WITH OIDS", "no supported server has oids in tables"},
    {"SET ACCESS", "change the access method", "only heap is known to behave as a copy needs"},
    {"OWNER", "change the owner", "run ALTER TABLE .. OWNER TO .. by itself: it rewrites nothing"},
    {"ENABLE ?ALWAYS ?REPLICA TRIGGER", "switch triggers",
     "run it by itself, before or after the job"},
    {"ENABLE ?ALWAYS ?REPLICA RULE", "switch rules", "run it by itself, before or after the job"},
    {"DISABLE TRIGGER", "switch triggers", "run it by itself, before or after the job"},
    {"DISABLE RULE", "switch rules", "run it by itself, before or after the job"},
    {"ATTACH", "attach partitions", "run it by itself, after finish"},
    {"DETACH", "detach partitions", "run it by itself, before the job"},
    {"SPLIT", "split partitions", "run it by itself, before or after the job"},
    {"MERGE", "merge partitions", "run it by itself, before or after the job"},
    {"INHERIT", "change inheritance", "run it by itself, after finish"},
    {"NO INHERIT", "change inheritance", "run it by itself, before the job"},
    {"OF", "make it a typed table", "run it by itself, after finish"},
    {"NOT OF", "end a typed table", "run it by itself, before the job"},
    {"NO FORCE", NULL, NULL},
    {"ADD", NULL, NULL},
    {"DROP", NULL, NULL},
    {"ALTER", NULL, NULL},
    {"SET", NULL, NULL},
    {"RESET", NULL, NULL},
    {"CLUSTER", NULL, NULL},
    {"REPLICA", NULL, NULL},
    {"ENABLE", NULL, NULL},
    {"DISABLE", NULL, NULL},
    {"FORCE", NULL, NULL},
    {"VALIDATE", NULL, NULL},
};

/* Do the tokens begin with these words? */
static bool begins_with(const struct tokens *tokens, const char *words)
{
    int at = 0;

    while (*words != '\0') {
        size_t length = strcspn(words, " ");
        bool optional = *words == '?';
        char word[16] = {0};

        memcpy(word, words + optional, length - optional);
        if (at < tokens->count && is_word(&tokens->list[at], word))
            at++;
        else if (!optional)
            return false;
        words += length;
        words += strspn(words, " ");
    }
    return true;
}

static bool refuse(struct error *error, const struct tokens *tokens, const char *what,
                   const char *hint)
{
    const struct token *last = &tokens->list[tokens->count - 1];

    error_set(error, ERROR_REFUSED, "--do cannot %s: %.*s", what,
              (int)(last->end - tokens->list[0].start), tokens->list[0].start);
    return error_hint(error, "%s", hint);
}

/* FOREIGN and REFERENCES are reserved: outside parentheses they are nothing but a foreign key. */
static bool has_foreign_key(const struct tokens *tokens)
{
    for (int i = 0; i < tokens->count; i++)
        if (tokens->list[i].depth == 0 &&
            (is_word(&tokens->list[i], "REFERENCES") || is_word(&tokens->list[i], "FOREIGN")))
            return true;
    return false;
}

/* The name that an identifier stands for; NULL when only the server could say (U&"..", or no
 * identifier at all). */
static const char *identifier_name(const struct token *token, struct arena *arena)
{
    char *name = arena_alloc(arena, (size_t)(token->end - token->start) + 1);
    char *to = name;

    if (token->kind == TOKEN_WORD)
        for (const char *from = token->start; from < token->end; from++)
            *to++ = *from >= 'A' && *from <= 'Z' ? (char)(*from - 'A' + 'a') : *from;
    else if (token->kind == TOKEN_QUOTED && *token->start == '"')
        for (const char *from = token->start + 1; from < token->end - 1; from++) {
            *to++ = *from;
            from += *from == '"'; /* the second of a doubled quote */
        }
    else
        return NULL;
    return name;
}

/* ALTER [COLUMN] name [SET DATA] TYPE .. USING ..: notes it. Anything else: nothing. */
static bool note_using(const struct tokens *tokens, struct arena *arena, struct action *action,
                       struct error *error)
{
    const struct token *list = tokens->list;
    const struct token *name;
    int at = 1;

    if (!is_word(&list[0], "ALTER"))
        return true;
    at += at < tokens->count && is_word(&list[at], "COLUMN");
    if (at >= tokens->count)
        return true;
    name = &list[at++];
    if (at + 1 < tokens->count && is_word(&list[at], "SET") && is_word(&list[at + 1], "DATA"))
        at += 2;
    if (at >= tokens->count || !is_word(&list[at], "TYPE"))
        return true;
    for (at++; at < tokens->count; at++)
        if (list[at].depth == 0 && is_word(&list[at], "USING"))
            break;
    if (at == tokens->count)
        return true;
    if (at + 1 == tokens->count)
        return refuse(error, tokens, "end with USING", "write the expression after it");
    action->usings[action->using_count].column = identifier_name(name, arena);
    if (action->usings[action->using_count].column == NULL)
        return refuse(error, tokens, "name a column like this",
                      "write the name as it is, in double quotes");
    action->usings[action->using_count++].expression = arena_format(
        arena, "%.*s", (int)(list[tokens->count - 1].end - list[at + 1].start), list[at + 1].start);
    return true;
}

/* One action, without commas. `others`: are there more in the same --do? */
static bool check_one(const struct tokens *tokens, bool others, struct arena *arena,
                      struct action *action, struct error *error)
{
    const struct rule *rule = NULL;

    for (size_t i = 0; i < sizeof(RULES) / sizeof(RULES[0]) && rule == NULL; i++)
        if (begins_with(tokens, RULES[i].words))
            rule = &RULES[i];
    if (rule == NULL)
        return refuse(error, tokens, "do this", "it is no action of ALTER TABLE that pghaul knows");
    if (rule->what != NULL)
        return refuse(error, tokens, rule->what, rule->hint);
    if (has_foreign_key(tokens))
        return refuse(error, tokens, "add foreign keys",
                      "after finish: add it NOT VALID, then ALTER TABLE .. VALIDATE CONSTRAINT");
    if (is_word(&tokens->list[0], "RENAME")) {
        if (others)
            return refuse(error, tokens, "combine RENAME with other actions",
                          "give it a --do of its own");
        action->alone = true;
    }
    return note_using(tokens, arena, action, error);
}

bool actions_check(const char *text, struct arena *arena, struct action *action,
                   struct error *error)
{
    struct tokens tokens;
    int commas = 0;
    int from = 0;

    memset(action, 0, sizeof(*action));
    if (!tokenize(text, arena, &tokens, error))
        return false;
    for (int i = 0; i < tokens.count; i++) {
        if (is_character(&tokens.list[i], ';'))
            return refuse(error, &tokens, "contain a semicolon",
                          "one --do is one list of actions; give --do several times");
        commas += tokens.list[i].depth == 0 && is_character(&tokens.list[i], ',');
    }
    action->usings = arena_alloc(arena, (size_t)(commas + 1) * sizeof(*action->usings));
    for (int i = 0; i <= tokens.count; i++) {
        struct tokens one = {tokens.list + from, i - from};

        if (i < tokens.count && !(tokens.list[i].depth == 0 && is_character(&tokens.list[i], ',')))
            continue;
        if (one.count == 0) {
            error_set(error, ERROR_REFUSED, "an action in --do is empty: '%s'", text);
            return error_hint(error, "for a rebuild without changes leave --do out");
        }
        if (!check_one(&one, commas > 0, arena, action, error))
            return false;
        from = i + 1;
    }
    return true;
}
