/*
 * What /proc says of a process or a thread, "/proc/PID", "/proc/PID/task/TID", and of the machine.
 * Linux only.
 */
#ifndef PGHAUL_BENCH_PROC_H
#define PGHAUL_BENCH_PROC_H

#include <stdbool.h>

enum { PROC_LINE_BYTES = 1024 };

/* The first line of a file in the folder, cut at PROC_LINE_BYTES; false when there is none. */
bool proc_line(const char *folder, const char *file, char line[PROC_LINE_BYTES]);

struct proc_stat {
    int parent;
    double own_seconds;   /* CPU, user and system */
    double ended_seconds; /* the same of children that were waited for */
};

/* False when it is gone. To a hundredth of a second; own_seconds exactly, where the kernel tells.
 */
bool proc_stat(const char *folder, struct proc_stat *stat);

/* Bytes that new programs can have without swapping; 0: not known. */
double proc_memory_available(void);

#endif
