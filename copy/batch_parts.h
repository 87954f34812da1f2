/* What the files of copy/batch.h share. For them only. */
#ifndef PGHAUL_COPY_BATCH_PARTS_H
#define PGHAUL_COPY_BATCH_PARTS_H

#include "copy/batch.h"

/*
 * Appends a list with an element for each column of the key, then for each column that is written
 * (`column_element` NULL: none). In an element {c} is the column's name, {n} its number.
 */
void batch_list_names(const struct batch_plan *plan, const char *key_element,
                      const char *column_element, struct text *out);

#endif
