/*
 * SIGINT, SIGTERM and SIGHUP, for the whole process: blocked in every thread, and waited for by one
 * of our own, so that no code runs in a signal handler. SIGPIPE is ignored: writes fail instead.
 *
 *     quitting    the program ends at once (status 5)                    before work begins, and
 * for commands that look stopping    the first asks to stop and cancels what runs; the second ends
 * at once
 *
 * While a stop is wanted, running statements are cancelled again every second: one that began just
 * after a cancel would otherwise be waited for to its end. Not those that write down how the run
 * has ended: their session is shielded first (session_shield()).
 *
 * Life: signals_start() before any other thread exists -> signals_stopping() when work begins ->
 * signals_stop().
 */
#ifndef PGHAUL_CLI_SIGNALS_H
#define PGHAUL_CLI_SIGNALS_H

#include "engine/base/log.h"
#include "engine/base/stop.h"

struct signals;
struct cancel_list;

bool signals_start(struct signals **signals, struct log *log, struct stop *stop,
                   struct cancel_list *cancel_list, struct error *error) MUST_CHECK;
/* From quitting to stopping. */
void signals_stopping(struct signals *signals);
/* Joins the thread; the signals stay blocked. NULL is fine. */
void signals_stop(struct signals *signals);

#endif
