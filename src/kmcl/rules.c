/* SPDX-License-Identifier: MIT */
/*
 * The verifier's rules, all of them. A name that the library reports and that is not here fails the
 * tests, as does a docs/verifier.md that says something else. Names are never changed or used
 * again.
 */
#include <string.h>

#include "kmcl/verify.h"

#define CHANNEL(name, summary, advice)                                   \
	{                                                                \
		name, "channel", KMCL_RULE_VIOLATION, 0, summary, advice \
	}
#define CHANNEL_VERIFIED(name, summary, advice)                          \
	{                                                                \
		name, "channel", KMCL_RULE_VIOLATION, 1, summary, advice \
	}
#define CHANNEL_REPORT(name, summary, advice)                         \
	{                                                             \
		name, "channel", KMCL_RULE_REPORT, 1, summary, advice \
	}
#define EXECUTIVE(name, summary, advice)                                   \
	{                                                                  \
		name, "executive", KMCL_RULE_VIOLATION, 0, summary, advice \
	}
#define EXECUTIVE_VERIFIED(name, summary, advice)                          \
	{                                                                  \
		name, "executive", KMCL_RULE_VIOLATION, 1, summary, advice \
	}
#define FRAMEWORK(name, summary, advice)                                   \
	{                                                                  \
		name, "framework", KMCL_RULE_VIOLATION, 0, summary, advice \
	}

static const struct kmcl_rule rules[] = {
	/* channels and packets */
	CHANNEL("bad-handle",
		"A function was given a handle that is stale, foreign, of another kind or of the "
		"other endpoint, or no room for its answer.",
		"Stop using a channel after VmbChannelCleanup and a packet after its end."),
	CHANNEL("call-in-callback",
		"A function that waits for the channel's callbacks was called in one of them.",
		"Call it from another thread, for example from a work item."),
	CHANNEL("callback-irql", "A callback returned at another IRQL than it was called at.",
		"Lower what was raised on every way out of the callback."),
	CHANNEL_VERIFIED("callback-at-suspend",
			 "EvtVmbChannelProcessPacket did not return while a suspend waited for it.",
			 "Return from it soon: complete the packet later, from elsewhere."),
	CHANNEL_VERIFIED("channel-leak", "The driver was unloaded with channels not cleaned up.",
			 "Call VmbChannelDisable and VmbChannelCleanup before the device goes."),
	CHANNEL("cleanup-enabled", "VmbChannelCleanup of a channel that is not disabled.",
		"Call VmbChannelDisable first."),
	CHANNEL("cleanup-packets", "VmbChannelCleanup of a channel with allocated packets.",
		"Call VmbPacketFree for each packet that is not in flight, after "
		"VmbChannelDisable."),
	CHANNEL_VERIFIED("completion-at-suspend",
			 "A packet was not completed while a suspend waited for it.",
			 "Retire in EvtVmbChannelSuspend what is outstanding: each packet ends by "
			 "VmbChannelPacketComplete or VmbChannelPacketFail."),
	CHANNEL("completion-buffer",
		"A completion has more data than the channel's maximum packet size, or a length "
		"without a buffer.",
		"Set the size with VmbChannelInitSetMaximumPacketSize, at both ends."),
	CHANNEL("completion-routine",
		"VmbPacketSetCompletionRoutine without a routine, or of what is no packet.",
		"Give a routine; VmbPacketAllocate's packets have one already."),
	CHANNEL("defer-and-complete", "A packet that is delivered again was completed as well.",
		"After VmbChannelPacketDeferToPassive or STATUS_PENDING return without completing "
		"it."),
	CHANNEL("defer-outside-process",
		"VmbChannelPacketDeferToPassive outside the packet's own "
		"EvtVmbChannelProcessPacket.",
		"Defer before the callback returns."),
	CHANNEL("double-completion", "A packet was completed or failed a second time.",
		"Give each packet one owner that ends it once."),
	CHANNEL_VERIFIED(
		"gpadl-at-close",
		"The channel closed with a GPADL that was not deleted or a mapping that was "
		"not undone.",
		"Call VmbChannelDeleteGpadl (client) or VmbChannelUnmapGpadl (server) in "
		"EvtVmbChannelClosed at the latest."),
	CHANNEL("irql",
		"A function was called at an IRQL at which it may not be called, or the IRQL was "
		"raised downwards or lowered upwards.",
		"Go to PASSIVE_LEVEL first: VmbChannelPacketDeferToPassive or a work item."),
	CHANNEL("mmio-before-open", "VmbChannelGetMmioSpace of a channel that is not open.",
		"Ask in EvtVmbChannelOpened or later."),
	CHANNEL("packet-free",
		"VmbPacketFree of what is no packet of VmbPacketAllocate, or is free already.",
		"Free a packet once; the default completion routine frees it for you."),
	CHANNEL("packet-in-flight",
		"A packet was freed, initialised or changed between its send and its completion "
		"routine.",
		"Wait for the completion routine."),
	CHANNEL("quota", "A transaction quota of 0.", "Use at least 1, or pause the channel."),
	CHANNEL_VERIFIED("spin-lock-at-return",
			 "A callback returned with a spin lock that it had acquired.",
			 "Release it on every way out of the callback."),
	CHANNEL("unknown-gpadl", "VmbChannelDeleteGpadl of a GPADL that the channel has not.",
		"Delete each GPADL once, on the channel that created it."),
	CHANNEL("unmapped-gpadl", "VmbChannelUnmapGpadl of a GPADL that is not mapped.",
		"Unmap each mapping once; the library unmaps what is left at the close."),
	CHANNEL_REPORT("buffer-bounced",
		       "External data in memory that the host does not see had to be copied.",
		       "Take the buffer from the driver's pool (ExAllocatePool2, MmAllocate*)."),
	CHANNEL_REPORT(
		"init-after-enable",
		"A channel was configured while it is enabled; the call failed.",
		"Call the InitSet functions between VmbChannelAllocate and VmbChannelEnable."),
	CHANNEL_REPORT("send-in-flight",
		       "A packet was sent that is in flight or has no completion routine; the call "
		       "failed.",
		       "Send it again from its completion routine at the earliest."),
	CHANNEL_REPORT("send-in-suspend",
		       "A packet was sent from EvtVmbChannelSuspend; the call failed.",
		       "Stop sending before; send again from EvtVmbChannelStarted on."),
	CHANNEL_REPORT("wait-in-callback",
		       "A synchronous request was sent where its answer cannot arrive; the call "
		       "failed.",
		       "Send it from a thread of the driver's, or in EvtVmbChannelPostStarted."),
	/* the executive */
	EXECUTIVE("assertion", "An NT_ASSERT of the driver failed.", "See the expression."),
	EXECUTIVE("bug-check", "The driver called KeBugCheckEx.", "See the code."),
	EXECUTIVE_VERIFIED("device-leak", "The driver was unloaded with device objects.",
			   "Call IoDetachDevice and IoDeleteDevice at IRP_MN_REMOVE_DEVICE."),
	EXECUTIVE("interface-reference",
		  "InterfaceDereference without a reference of the interface.",
		  "Call it once for each interface and each InterfaceReference."),
	EXECUTIVE("irp-completed-twice", "IoCompleteRequest of an IRP that is complete.",
		  "Do not touch an IRP after completing it or passing it on."),
	EXECUTIVE("irp-stack", "IoCallDriver of an IRP without a stack location left.",
		  "Allocate the IRP with the StackSize of the device that it is sent to."),
	EXECUTIVE("lookaside", "A lookaside list with functions of its own.",
		  "Pass NULL: the list then uses the pool."),
	EXECUTIVE("mdl", "An MDL was used against its state or its size.",
		  "Lock before unlocking, unmap what was mapped, stay within the source."),
	EXECUTIVE_VERIFIED("mdl-leak", "The driver was unloaded with MDLs not freed.",
			   "Call IoFreeMdl for each IoAllocateMdl."),
	EXECUTIVE("mutex-owner", "KeReleaseMutex by a thread that does not own the mutex.",
		  "Release it on the thread that acquired it; use an event across threads."),
	EXECUTIVE("no-thread", "A thread that a DPC or timer needs cannot be created.",
		  "Raise the limits of the process."),
	EXECUTIVE("not-a-system-thread",
		  "PsTerminateSystemThread in a thread that PsCreateSystemThread did not make.",
		  "Call it in threads of the driver's own."),
	EXECUTIVE("pool-free", "Memory was freed that is no live pool block.",
		  "Free a block once, with the address that the allocation returned."),
	EXECUTIVE_VERIFIED("pool-leak", "The driver was unloaded with pool blocks not freed.",
			   "The log names the tag and the place of each allocation."),
	EXECUTIVE("pool-overrun", "A pool block was written past its end.",
		  "Build with AddressSanitizer to see where."),
	EXECUTIVE("pool-tag", "A pool block was freed with another tag than its own.",
		  "Use one tag for a block's life."),
	EXECUTIVE("semaphore-limit", "KeReleaseSemaphore over the semaphore's limit.",
		  "Release no more than was acquired, or raise the limit."),
	EXECUTIVE_VERIFIED("spin-lock-twice",
			   "A spin lock was acquired by the thread that holds it.",
			   "Take the lock in one place, and call what needs it with it held."),
	EXECUTIVE("timer-at-unload", "The driver was unloaded with a timer set.",
		  "Call KeCancelTimer, then KeFlushQueuedDpcs, before the device goes."),
	EXECUTIVE("timer-period", "KeSetTimerEx with a negative period.",
		  "Periods are milliseconds, 0 for a timer that expires once."),
	EXECUTIVE("wait-at-dispatch", "A wait that may block above APC_LEVEL.",
		  "Wait at PASSIVE_LEVEL, or use a timeout of 0."),
	EXECUTIVE("wait-blocks", "KeWaitForMultipleObjects of many objects without wait blocks.",
		  "Pass an array of KWAIT_BLOCK for more than THREAD_WAIT_OBJECTS objects."),
	EXECUTIVE("wait-objects",
		  "KeWaitForMultipleObjects for all of several objects, two of which are the same.",
		  "Name each object once."),
	EXECUTIVE("work-item-queued", "A work item was queued that is queued.",
		  "Queue it again from its own routine at the earliest."),
	/* the framework */
	FRAMEWORK("wdf-collection", "Something was removed from a collection that is not in it.",
		  "Look at WdfCollectionGetCount."),
	FRAMEWORK("wdf-delete",
		  "WdfObjectDelete of an object that the framework deletes, or that is being "
		  "deleted.",
		  "Let the parent delete it."),
	FRAMEWORK("wdf-device-init", "WdfDeviceInitFree of what EvtDriverDeviceAdd was given.",
		  "Return a failure from the callback instead."),
	FRAMEWORK("wdf-driver", "The framework was used by a driver without a driver object.",
		  "Call WdfDriverCreate in DriverEntry."),
	FRAMEWORK("wdf-flush", "A timer or work item was waited for in its own callback.",
		  "Wait from elsewhere."),
	FRAMEWORK("wdf-handle", "A framework handle is stale, or of another kind of object.",
		  "Do not use an object after its deletion."),
	FRAMEWORK("wdf-interface", "A device interface was used that the device did not create.",
		  "Call WdfDeviceCreateDeviceInterface first."),
	FRAMEWORK("wdf-io-type", "WdfDeviceInitSetIoType with a value that it does not have.",
		  "Use WdfDeviceIoBuffered, WdfDeviceIoDirect or WdfDeviceIoNeither."),
	FRAMEWORK("wdf-lock",
		  "A framework lock was acquired by its holder, released by another thread, or "
		  "asked of an object without one.",
		  "Pair the calls on one thread; set SynchronizationScope."),
	FRAMEWORK("wdf-reference", "WdfObjectDereference without a reference.",
		  "Pair it with WdfObjectReference."),
	FRAMEWORK(
		"wdf-request-cancelable",
		"A request was completed while it is cancelable, or made so when it could not be.",
		"Call WdfRequestUnmarkCancelable, look at its status, then complete."),
	FRAMEWORK("wdf-request-completed", "A request was used or completed after its completion.",
		  "Complete each request once."),
	FRAMEWORK("wdf-size",
		  "A structure's Size or attributes are not what its INIT function sets.",
		  "Call the INIT function."),
	FRAMEWORK("wdf-stop", "WdfRequestStopAcknowledge without EvtIoStop.",
		  "Call it from EvtIoStop, or for a request that it was called for."),
	FRAMEWORK("wdf-target", "WdfIoTargetClose of a device's own target.",
		  "Close targets that the driver created."),
	FRAMEWORK("wdf-wait", "A function that waits was called where it cannot.",
		  "Call it at PASSIVE_LEVEL and outside the queue's own callbacks."),
};

const struct kmcl_rule *kmcl_rule_at(size_t index)
{
	return index < sizeof(rules) / sizeof(rules[0]) ? &rules[index] : NULL;
}

const struct kmcl_rule *kmcl_rule_find(const char *name)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		if (!strcmp(rules[i].name, name))
			return &rules[i];
	}
	return NULL;
}
