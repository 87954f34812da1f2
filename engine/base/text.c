#include "engine/base/text.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/memory.h"

static __attribute__((unused)) bool text_sane(const struct text *text)
{
    return text->bytes == NULL ? text->used == 0 && text->size == 0
                               : text->used < text->size && text->bytes[text->used] == '\0';
}

/* Makes room for `more` bytes and the NUL; false past the ceiling. */
static bool text_grow(struct text *text, size_t more)
{
    size_t size = text->size;

    assert(text_sane(text));
    if (more > TEXT_BYTES_MAX - text->used) {
        text->overflow = true;
        return false;
    }
    if (text->used + more + 1 <= size)
        return true;
    if (size == 0)
        size = 128;
    while (size < text->used + more + 1)
        size *= 2;
    text->bytes = memory_resize(text->bytes, size);
    text->size = size;
    text->bytes[text->used] = '\0';
    return true;
}

void text_append_bytes(struct text *text, const char *bytes, size_t count)
{
    if (!text_grow(text, count))
        return;
    memcpy(text->bytes + text->used, bytes, count);
    text->used += count;
    text->bytes[text->used] = '\0';
}

void text_append(struct text *text, const char *string)
{
    text_append_bytes(text, string, strlen(string));
}

void text_appendv(struct text *text, const char *format, va_list args)
{
    va_list again;
    int length;

    va_copy(again, args);
    length = vsnprintf(NULL, 0, format, args);
    if (length >= 0 && text_grow(text, (size_t)length)) {
        vsnprintf(text->bytes + text->used, (size_t)length + 1, format, again);
        text->used += (size_t)length;
    }
    va_end(again);
}

void text_appendf(struct text *text, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    text_appendv(text, format, args);
    va_end(args);
}

void text_separate(struct text *text, const char *separator)
{
    if (text->used > 0)
        text_append(text, separator);
}

void text_clear(struct text *text)
{
    text->used = 0;
    text->overflow = false;
    if (text->bytes != NULL)
        text->bytes[0] = '\0';
}

const char *text_string(const struct text *text)
{
    return text->bytes == NULL ? "" : text->bytes;
}

void text_deinit(struct text *text)
{
    free(text->bytes);
    *text = (struct text){0};
}

const char *shell_word(char buffer[SHELL_WORD_BYTES], const char *word)
{
    static const char PLAIN[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    static const char QUOTE[] = "'\\''"; /* ends the quotes, a quote, begins them again */
    size_t used = 0;

    if (word[0] != '\0' && strspn(word, PLAIN) == strlen(word) && strlen(word) < SHELL_WORD_BYTES) {
        strcpy(buffer, word);
        return buffer;
    }
    buffer[used++] = '\'';
    for (; *word != '\0' && used + strlen(QUOTE) + 2 <= SHELL_WORD_BYTES; word++) {
        if (*word == '\'') {
            memcpy(buffer + used, QUOTE, strlen(QUOTE));
            used += strlen(QUOTE);
        } else {
            buffer[used++] = *word;
        }
    }
    buffer[used++] = '\'';
    buffer[used] = '\0';
    return buffer;
}
