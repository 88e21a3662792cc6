/* SPDX-License-Identifier: MIT */
/** @file What test_io.c and the small driver that it loads agree on. DDI types only. */
#ifndef IO_DRIVER_H
#define IO_DRIVER_H

#include <ntddk.h>

/** Device control codes of the control device. */
#define IOCTL_ECHO_BUFFERED CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_SUM_IN_DIRECT CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_IN_DIRECT, FILE_ANY_ACCESS)
#define IOCTL_FILL_OUT_DIRECT \
	CTL_CODE(FILE_DEVICE_UNKNOWN, 0x802, METHOD_OUT_DIRECT, FILE_ANY_ACCESS)
#define IOCTL_SWAP_NEITHER CTL_CODE(FILE_DEVICE_UNKNOWN, 0x803, METHOD_NEITHER, FILE_ANY_ACCESS)
#define IOCTL_PEND         CTL_CODE(FILE_DEVICE_UNKNOWN, 0x804, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_OVERFLOW     CTL_CODE(FILE_DEVICE_UNKNOWN, 0x805, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_FAIL         CTL_CODE(FILE_DEVICE_UNKNOWN, 0x806, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_LEAK         CTL_CODE(FILE_DEVICE_UNKNOWN, 0x807, METHOD_BUFFERED, FILE_ANY_ACCESS)
/** Queues a work item that takes a while, without waiting for it. */
#define IOCTL_WORK         CTL_CODE(FILE_DEVICE_UNKNOWN, 0x808, METHOD_BUFFERED, FILE_ANY_ACCESS)

/** The driver tells what happens to it through this, which the test leaves in the PDO's context. */
struct io_trace {
	char text[256];
	/** 0, or a status that AddDevice or IRP_MN_START_DEVICE fails with. */
	NTSTATUS add_status, start_status;
	NTSTATUS query_status;
	/** If given, called by AddDevice at its very end. */
	void (*almost_added)(struct io_trace *trace);
};

/** The interface by which it reaches the trace. */
DEFINE_GUID(IO_TRACE_GUID, 0x6ad1c5b8, 0x2f0e, 0x4e53, 0x9d, 0x2c, 0x10, 0x8b, 0x5e, 0x9a, 0x41,
	    0x77);
struct io_trace_interface {
	INTERFACE interface;
	struct io_trace *trace;
};

#endif
