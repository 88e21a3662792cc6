/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Everything a driver includes first. See wdm.h.
 */
#ifndef _NTDDK_
#define _NTDDK_

#include "wdm.h"

#endif
