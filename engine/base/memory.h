/*
 * Memory. Running out of it ends the process with a message: every durable fact of a job is in the
 * database, so dying is as safe as kill -9, and no caller carries an untested error path.
 *
 * struct arena: many small allocations that live and die together (a table description, a plan).
 * Not for buffers that grow: struct text. One thread at a time.
 */
#ifndef PGHAUL_BASE_MEMORY_H
#define PGHAUL_BASE_MEMORY_H

#include <stddef.h>

#include "engine/base/error.h"

/* malloc, calloc, realloc, strdup that do not return NULL. Given back with free(). */
void *memory_alloc(size_t size);
void *memory_zero(size_t count, size_t size);
void *memory_resize(void *old, size_t size);
char *memory_copy(const char *string);

struct arena_block;

struct arena {
    struct arena_block *newest; /* NULL: empty; a zeroed struct arena is ready for use */
};

/* Zeroed, aligned for any type. Owned by the arena. */
void *arena_alloc(struct arena *arena, size_t size);
/* NULL stays NULL. */
char *arena_copy(struct arena *arena, const char *string);
char *arena_format(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);
void arena_deinit(struct arena *arena);

#endif
