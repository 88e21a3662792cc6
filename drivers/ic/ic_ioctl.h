/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Device control of the integration components: how a program commands a guest through them. All
 * codes are METHOD_BUFFERED.
 *
 * A request that the guest has to answer pends until it does, at most `wait` milliseconds (0: 30
 * s).
 *
 *     STATUS_SUCCESS               the guest answered; `status` says what
 *     STATUS_IO_TIMEOUT            it did not; whatever it answers later reaches nobody
 *     STATUS_DEVICE_NOT_CONNECTED  it closed the channel, or the channel was paused
 *     STATUS_DEVICE_REMOVED        the device went away
 *     STATUS_DEVICE_NOT_READY      no versions are agreed on: nothing was sent
 *     STATUS_DEVICE_BUSY           an earlier request is unanswered: nothing was sent
 *     STATUS_NOT_SUPPORTED         not in the version agreed on: nothing was sent
 *     STATUS_BUFFER_OVERFLOW       the guest's ring cannot hold it: nothing was sent
 *     STATUS_DATA_ERROR            the answer makes no sense
 *     STATUS_INVALID_PARAMETER     the request makes no sense
 */
#ifndef IC_IOCTL_H
#define IC_IOCTL_H

#include <stdint.h>

#include "ic_protocol.h"

/* CTL_CODE(FILE_DEVICE_UNKNOWN, 0x900 + n, METHOD_BUFFERED, FILE_ANY_ACCESS) */
#define IC_IOCTL(n) (0x220000u | (0x900u + (n)) << 2)

#define IC_IOCTL_QUERY    IC_IOCTL(0) /* out: ic_info */
#define IC_IOCTL_SHUTDOWN IC_IOCTL(1) /* in: ic_shutdown_request, out: ic_answer */
#define IC_IOCTL_CLOCK    IC_IOCTL(2) /* in: ic_clock_request, out: ic_answer */
#define IC_IOCTL_KVP      IC_IOCTL(3) /* in and out: ic_kvp_request */
#define IC_IOCTL_IP       IC_IOCTL(4) /* in and out: ic_ip_request */
#define IC_IOCTL_ENABLE   IC_IOCTL(5) /* in: ic_select: VmbChannelEnable and Start */
#define IC_IOCTL_DISABLE  IC_IOCTL(6) /* in: ic_select: VmbChannelDisable */
#define IC_IOCTL_PAUSE    IC_IOCTL(7) /* in: ic_select: VmbChannelPause */
#define IC_IOCTL_START    IC_IOCTL(8) /* in: ic_select: VmbChannelStart */

#define IC_DEFAULT_WAIT 30000u  /* when `wait` is 0 */
#define IC_MOST_WAIT    600000u /* STATUS_INVALID_PARAMETER beyond it */

enum ic_component {
	IC_COMPONENT_HEARTBEAT,
	IC_COMPONENT_SHUTDOWN,
	IC_COMPONENT_TIMESYNC,
	IC_COMPONENT_KVP,
	IC_COMPONENTS,
};

struct ic_select {
	uint32_t component; /**< enum ic_component */
};

enum ic_state {
	IC_STATE_ABSENT = 0, /**< not offered */
	IC_STATE_CLOSED,     /**< the guest has not opened it, or it is paused */
	IC_STATE_NEGOTIATING,
	IC_STATE_READY,
	IC_STATE_UNMATCHED, /**< no common version: idle until the guest opens it again */
};

struct ic_component_info {
	uint32_t state; /**< enum ic_state */
	uint32_t opens;
	struct ic_version framework, message; /**< when ready */
	uint64_t sent, answered;
	uint64_t malformed;   /**< dropped: bad sizes */
	uint64_t unsolicited; /**< dropped: not the answer to what was asked */
	uint64_t rejected;    /**< answers that made no sense */
};

struct ic_info {
	struct ic_component_info component[IC_COMPONENTS];

	uint64_t beats;             /**< heartbeats that came back right */
	uint64_t wrong_beats;       /**< that came back with another number */
	uint32_t missed;            /**< periods since the last that came back right */
	uint32_t alive;             /**< 1: it beats, and has not missed too many */
	uint32_t application_state; /**< enum ic_application_state */
	uint32_t period;            /**< of heartbeats, milliseconds */
	uint64_t silent; /**< milliseconds since the last heartbeat; all ones: none yet */

	uint64_t syncs, samples; /**< answered */
	int64_t clock_offset;    /**< of what the guest is told to the host's time, 100 ns units */
};

struct ic_answer {
	uint32_t status; /**< the guest's; IC_STATUS_OK of a shutdown: it has begun */
};

struct ic_shutdown_request {
	uint32_t wait;
	uint32_t reserved; /**< 0 */
	struct ic_shutdown shutdown;
};

enum ic_clock_operation {
	IC_CLOCK_SYNC,   /**< set the guest's clock as it is told by now */
	IC_CLOCK_OFFSET, /**< from now on tell it the host's time and `value` */
	IC_CLOCK_TIME,   /**< the same, so that it is `value` now */
};

struct ic_clock_request {
	uint32_t wait;
	uint32_t operation; /**< enum ic_clock_operation */
	int64_t value;      /**< 100 ns units; a time since 1601, from 1970 to 9999 */
};

/** Enumeration ends at an index for which `status` is IC_STATUS_NO_MORE, or where the device says
 *  STATUS_NO_MORE_ENTRIES: a guest that never ends is not asked beyond it. */
#define IC_KVP_MOST_INDEX 1024u

struct ic_kvp_request {
	uint32_t wait;
	uint32_t operation; /**< IC_KVP_GET to IC_KVP_ENUMERATE */
	uint32_t pool;      /**< enum ic_kvp_pool */
	uint32_t index;     /**< of an enumeration */
	uint32_t status;    /**< out; unless IC_STATUS_OK nothing else is */
	/** What is read is well formed: sizes in their bounds, text ends within its size with its
	 *  first 0 and has no half of a surrogate pair. */
	struct ic_kvp_value value;
};

struct ic_ip_request {
	uint32_t wait;
	uint32_t operation; /**< IC_KVP_GET_IP, IC_KVP_SET_IP */
	uint32_t status;    /**< out */
	struct ic_ip ip;
};

#endif
