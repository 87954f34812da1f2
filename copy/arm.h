/*
 * Arming the capture: the change log and the triggers on the source, under one short lock; and,
 * when the copy must begin anew (TRUNCATE, a log over its budget), the same again from empty.
 *
 * SHARE ROW EXCLUSIVE waits out every open writer: when it is granted, what is written later is
 * captured, and what was written before is committed and will be read by the load, whose end is
 * planned after this commits (F27). A marker is taken away only here, under this lock: a writer
 * that saw the marker and logged nothing has committed or gone.
 */
#ifndef PGHAUL_COPY_ARM_H
#define PGHAUL_COPY_ARM_H

#include "copy/copy.h"

/* Phase functions. */
bool arm_forward(struct run *run, struct error *error) MUST_CHECK;
bool arm_print(struct run *run, struct text *script, struct error *error) MUST_CHECK;

#endif
