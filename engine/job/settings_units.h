/*
 * Units of settings: numbers with a unit as people write them, and back. Beside settings.h, which
 * has what others may use of it.
 */
#ifndef PGHAUL_JOB_SETTINGS_UNITS_H
#define PGHAUL_JOB_SETTINGS_UNITS_H

#include "engine/job/settings.h"

#define KB INT64_C(1024)
#define MB (KB * 1024)
#define GB (MB * 1024)
#define TB (GB * 1024)
#define PB (TB * 1024)
#define SECOND INT64_C(1000)
#define MINUTE (SECOND * 60)
#define HOUR (MINUTE * 60)
#define DAY (HOUR * 24)

/* Text to number, by the setting's type; false: it is not one, or far out of any range. Knows
 * neither "off" and "on" nor the setting's own range. */
bool setting_parse_number(const struct setting *setting, const char *text,
                          int64_t *number) MUST_CHECK;
/* And back, so that it is parsed to the same number: the largest unit that divides it. */
void setting_append_number(const struct setting *setting, int64_t number, struct text *out);
/* "a size (64MB)": what a setting takes, for hints. */
const char *setting_takes(const struct setting *setting);

#endif
