/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The part of the kernel-mode driver framework (KMDF) that a driver of a VMBus device calls.
 *
 * Names, parameters and structures are those of KMDF 1.33. The functions are plain exports: there
 * is no table of functions and no loader stub, and a driver that calls something that is not
 * declared here fails to load with that function's name.
 *
 * Handles are checked: a wrong or deleted one is a contract violation, as is everything for which
 * the framework would stop with a bug check. A structure's Size must be the one that its INIT
 * function sets, else STATUS_INFO_LENGTH_MISMATCH.
 *
 * What is modelled: driver, device, PnP and power callbacks of one working state (D0), queues and
 * requests of device control, locks, timers, DPCs, work items, memory, strings, collections, the
 * driver's Parameters key, I/O targets. There are no files, interrupts, resources or sleep states:
 * no callback for them is ever called.
 */
#ifndef OPENKMCL_WDF_H
#define OPENKMCL_WDF_H

#include <ntddk.h>

#include "openkmcl/wdf/base.h"
#include "openkmcl/wdf/object.h"
#include "openkmcl/wdf/driver.h"
#include "openkmcl/wdf/memory.h"
#include "openkmcl/wdf/sync.h"
#include "openkmcl/wdf/registry.h"
#include "openkmcl/wdf/device.h"
#include "openkmcl/wdf/target.h"
#include "openkmcl/wdf/request.h"
#include "openkmcl/wdf/queue.h"

#endif
