/*
 * A growing, NUL-terminated string with a declared ceiling.
 *
 *     bytes:   | used ........ '\0' | free .... |
 *              0                used          size      size <= TEXT_BYTES_MAX + 1
 *
 * Appending past the ceiling sets `overflow` and drops the rest; whoever consumes the text checks
 * it once (sessions do: a statement that overflowed is never sent). A zeroed struct text is an
 * empty text. One thread at a time.
 */
#ifndef PGHAUL_BASE_TEXT_H
#define PGHAUL_BASE_TEXT_H

#include <stdarg.h>
#include <stddef.h>

#include "engine/base/error.h"

enum { TEXT_BYTES_MAX = 16 * 1024 * 1024 };

struct text {
    char *bytes; /* NULL until the first append: use text_string() */
    size_t used;
    size_t size;
    bool overflow;
};

/* Frees at the end of the scope: `TEXT_AUTO sql = {0};` */
#define TEXT_AUTO __attribute__((cleanup(text_deinit))) struct text

void text_append(struct text *text, const char *string);
void text_append_bytes(struct text *text, const char *bytes, size_t count);
void text_appendf(struct text *text, const char *format, ...) PRINTF_LIKE(2, 3);
void text_appendv(struct text *text, const char *format, va_list args) PRINTF_LIKE(2, 0);
/* Appends `separator` only when the text is not empty: for lists. */
void text_separate(struct text *text, const char *separator);
void text_clear(struct text *text);
/* Never NULL. Valid until the text changes. */
const char *text_string(const struct text *text);
void text_deinit(struct text *text);

/*
 * A word of a command line that a person may paste into a shell: as it is when it is of letters,
 * digits, _ . and - only, else in single quotes. SHELL_WORD() lives until the end of the block;
 * what does not fit is left out, the closing quote never.
 */
enum { SHELL_WORD_BYTES = 1024 };
const char *shell_word(char buffer[SHELL_WORD_BYTES], const char *word);
#define SHELL_WORD(word) shell_word((char[SHELL_WORD_BYTES]){0}, word)

#endif
