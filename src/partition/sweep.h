/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Debug builds (meson option debug_sweep) look at every invariant of a state machine after each
 * operation on it. One that does not hold is a bug of ours: the process tells which and ends.
 */
#ifndef PARTITION_SWEEP_H
#define PARTITION_SWEEP_H

#include <stdlib.h>

#include "partition/internal.h"

static inline void part_swept(const struct part_endpoint *ep, const char *wrong)
{
	if (!wrong)
		return;
	kmcl_log(KMCL_LOG_ERROR, PART_SUBSYSTEM, ep->id, 0, "an invariant does not hold: %s",
		 wrong);
	abort();
}

#ifdef KMCL_DEBUG_SWEEP
#define PART_SWEEP_SERVER(ep, s) part_swept(ep, vmbus_server_sweep(s))
#define PART_SWEEP_CLIENT(ep, c) part_swept(ep, vmbus_client_sweep(c))
#else
#define PART_SWEEP_SERVER(ep, s) ((void)0)
#define PART_SWEEP_CLIENT(ep, c) ((void)0)
#endif

#endif
