/*
 * A probe of a test, on its current database:
 *
 *     struct probe *probe = probing("mover", "limit.slot-retained=1GB", NULL);
 *
 *     probing_look(probe);
 *     probing_expect(probe, SIGNAL_SLOT_RETAINED, READING_OK);
 *     probe_close(probe);
 */
#ifndef PGHAUL_TESTS_PROBING_H
#define PGHAUL_TESTS_PROBING_H

#include "tests/harness.h"
#include "throttle/probe.h"

/* As that role (NULL: postgres), with these settings, ends with NULL. No job. */
struct probe *probing(const char *role, ...) __attribute__((sentinel));
/* The same with a target. */
struct probe *probing_at(const struct probe_target *target, const char *role, ...)
    __attribute__((sentinel));
/* With this setting changed. */
void probing_set(struct probe *probe, const char *assignment);

/* Schema pghaul, and a job in it; its number. */
int64_t probing_job(void);
uint32_t probing_oid(const char *table);

/* A look, a fast one, a pulse (one that says that); they must not fail. */
void probing_look(struct probe *probe);
void probing_look_fast(struct probe *probe);
void probing_pulse(struct probe *probe, int64_t idle_us);
void probing_tell(struct probe *probe, struct probe_pulse pulse, int64_t idle_us);
/* After its connection was lost: until it is there again. */
void probing_look_again(struct probe *probe);

const struct reading *probing_reading(const struct probe *probe, enum signal_id id);
/* It must be in this state; gives it. */
const struct reading *probing_expect(const struct probe *probe, enum signal_id id,
                                     enum reading_state state);
/* Looks until it is, for 10 s at most. */
const struct reading *probing_until(struct probe *probe, enum signal_id id,
                                    enum reading_state state);
/* probe_check_start() refuses; the hint has `part`. Gives the whole hint. */
const char *probing_refused(struct probe *probe, const char *message, const char *part);
void probing_accepted(struct probe *probe);

#endif
