/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The VMBus Kernel Mode Client Library: channels between a server (the virtualization service
 * provider on the host) and a client (the service consumer in a guest).
 *
 * How to read the comments
 *
 * - "Client", "server" and "both" say at which end of a channel a function may be called. A NULL or
 *   foreign handle, or a channel of the other end, gives STATUS_INVALID_PARAMETER_1 where a status
 * is returned and is a contract violation where none is.
 * - A contract violation stands for what would be a bug check: it is reported with the rule's name
 *   and, unless the host decided otherwise, ends the process.
 * - IRQL is simulated per thread (KeGetCurrentIrql). "<= DISPATCH_LEVEL" is the highest level
 * allowed.
 * - Lengths are in bytes, pages are 4096 bytes, times are in units of 100 ns unless said otherwise.
 * - NULL for a required pointer gives STATUS_INVALID_PARAMETER_n with n its position, unknown bits
 * in flags STATUS_INVALID_PARAMETER_n with n the position of the flags, no memory
 *   STATUS_INSUFFICIENT_RESOURCES. Results are stored on success only, unless said otherwise.
 * - The InitSet functions configure a disabled channel, at PASSIVE_LEVEL; the last call counts, and
 *   what they set outlives disabling. On a channel that is not disabled they return
 *   STATUS_INVALID_PARAMETER_1 and change nothing.
 */
#ifndef VMBUSKERNELMODECLIENTLIBAPI_H
#define VMBUSKERNELMODECLIENTLIBAPI_H

#include <ntddk.h>

#include <openkmcl/vmb_types.h>
#include <openkmcl/vmb_channel.h>
#include <openkmcl/vmb_packet.h>
#include <openkmcl/vmb_gpadl.h>
#include <openkmcl/vmb_interface.h>

#endif
