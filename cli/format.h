/*
 * Numbers for people: 5,000,000 rows, 797 MB, 3.2 s. Each macro formats into a buffer of its own
 * that lives until the end of the enclosing block.
 */
#ifndef PGHAUL_CLI_FORMAT_H
#define PGHAUL_CLI_FORMAT_H

#include <stdint.h>

enum { FORMAT_BYTES = 32 };

#define COUNT(value) format_count((char[FORMAT_BYTES]){0}, value)
#define SIZE(bytes) format_size((char[FORMAT_BYTES]){0}, bytes)
#define SECONDS(seconds) format_seconds((char[FORMAT_BYTES]){0}, seconds)
#define MILLISECONDS(ms) format_ms((char[FORMAT_BYTES]){0}, ms)

const char *format_count(char buffer[FORMAT_BYTES], int64_t value);    /* 5,000,000 */
const char *format_size(char buffer[FORMAT_BYTES], int64_t bytes);     /* 797 MB, 1.3 GB */
const char *format_seconds(char buffer[FORMAT_BYTES], double seconds); /* 3.2 s, 2 min 5 s */
const char *format_ms(char buffer[FORMAT_BYTES], int64_t ms);          /* 18 ms, 1.2 s */

#endif
