#include "engine/base/memory.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_BLOCK_BYTES = 16 * 1024 };

struct arena_block {
    struct arena_block *older;
    size_t used;
    size_t size;
    alignas(max_align_t) unsigned char bytes[];
};

static void *checked(void *memory)
{
    if (memory == NULL) {
        fputs("pghaul: out of memory; the job is resumable\n", stderr);
        _Exit(1);
    }
    return memory;
}

void *memory_alloc(size_t size)
{
    return checked(malloc(size ? size : 1));
}

void *memory_zero(size_t count, size_t size)
{
    return checked(calloc(count ? count : 1, size ? size : 1));
}

void *memory_resize(void *old, size_t size)
{
    return checked(realloc(old, size ? size : 1));
}

char *memory_copy(const char *string)
{
    return checked(strdup(string));
}

void *arena_alloc(struct arena *arena, size_t size)
{
    const size_t align = alignof(max_align_t);
    struct arena_block *block = arena->newest;
    void *memory;

    size = (size + align - 1) / align * align;
    if (block == NULL || block->size - block->used < size) {
        size_t bytes = size > ARENA_BLOCK_BYTES ? size : ARENA_BLOCK_BYTES;

        block = memory_zero(1, sizeof(*block) + bytes);
        block->size = bytes;
        block->older = arena->newest;
        arena->newest = block;
    }
    memory = block->bytes + block->used;
    block->used += size;
    return memory;
}

char *arena_copy(struct arena *arena, const char *string)
{
    size_t size;

    if (string == NULL)
        return NULL;
    size = strlen(string) + 1;
    return memcpy(arena_alloc(arena, size), string, size);
}

char *arena_format(struct arena *arena, const char *format, ...)
{
    va_list args;
    int length;
    char *string;

    va_start(args, format);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    string = arena_alloc(arena, (size_t)length + 1);
    va_start(args, format);
    vsnprintf(string, (size_t)length + 1, format, args);
    va_end(args);
    return string;
}

void arena_deinit(struct arena *arena)
{
    while (arena->newest != NULL) {
        struct arena_block *block = arena->newest;

        arena->newest = block->older;
        free(block);
    }
}
