/* SPDX-License-Identifier: MIT */
/**
 * @file
 * What the wire's numbers are called, and how people read its fields: one table each, from which
 * `kmcl trace` and the Wireshark dissector (scripts/check-dissector) come. No code of the bus needs
 * any of it.
 */
#ifndef VMBUS_NAMES_H
#define VMBUS_NAMES_H

/**
 * How a field of VMBUS_FIELDS_* is shown: N(name, format, unit). A field has the same meaning in
 * every message that has one of its name. Formats: DEC, HEX, GUID, BYTES and RANGES say how;
 * VERSION, SELECTED (a version or a connection id), STATUS, STATE, VP, FEATURES, OFFER_FLAGS and
 * OPEN_FLAGS have names for their values.
 */
#define VMBUS_FIELD_FORMATS(N)                 \
	N(interface_id, GUID, "")              \
	N(instance_id, GUID, "")               \
	N(reserved, BYTES, "")                 \
	N(flags, OFFER_FLAGS, "")              \
	N(mmio_megabytes, DEC, "MiB")          \
	N(user_data, BYTES, "")                \
	N(subchannel, DEC, "")                 \
	N(mmio_megabytes_optional, DEC, "MiB") \
	N(channel_id, DEC, "")                 \
	N(monitor_id, DEC, "")                 \
	N(monitor_allocated, DEC, "")          \
	N(dedicated, DEC, "")                  \
	N(connection_id, HEX, "")              \
	N(open_id, HEX, "")                    \
	N(ring_gpadl, HEX, "")                 \
	N(target_vp, VP, "")                   \
	N(downstream_page, DEC, "pages")       \
	N(event_flag, DEC, "")                 \
	N(open_flags, OPEN_FLAGS, "")          \
	N(status, STATUS, "")                  \
	N(gpadl, HEX, "")                      \
	N(length, DEC, "bytes")                \
	N(range_count, DEC, "")                \
	N(ranges, RANGES, "")                  \
	N(message_number, DEC, "")             \
	N(version, VERSION, "")                \
	N(page_or_target, HEX, "")             \
	N(sint, DEC, "")                       \
	N(vtl, DEC, "")                        \
	N(features, FEATURES, "")              \
	N(monitor_parent_to_child, HEX, "")    \
	N(monitor_child_to_parent, HEX, "")    \
	N(client_id, GUID, "")                 \
	N(supported, DEC, "")                  \
	N(state, STATE, "")                    \
	N(selected, SELECTED, "")              \
	N(target_sint, DEC, "")                \
	N(endpoint_id, GUID, "")               \
	N(service_id, GUID, "")                \
	N(silo_id, GUID, "")

/** N(bit, name) */
#define VMBUS_FEATURE_NAMES(N)       \
	N(0x01, "guest-signal")      \
	N(0x02, "redirect")          \
	N(0x04, "modify-connection") \
	N(0x08, "client-id")         \
	N(0x10, "confidential")      \
	N(0x20, "pause")             \
	N(0x40, "server-monitor")    \
	N(0x80, "pinning")

#define VMBUS_OFFER_FLAG_NAMES(N)      \
	N(0x0001, "device-interface")  \
	N(0x0002, "encrypted-ring")    \
	N(0x0004, "encrypted-memory")  \
	N(0x0008, "pinned-memory")     \
	N(0x0010, "pipe")              \
	N(0x0100, "loopback")          \
	N(0x0200, "parent")            \
	N(0x0400, "monitor-requested") \
	N(0x2000, "hvsock")

#define VMBUS_OPEN_FLAG_NAMES(N) N(0x0001, "redirect")

/** N(value, name) */
#define VMBUS_STATUS_NAMES(N)    \
	N(0x00000000, "success") \
	N(0x8000ffff, "failure") \
	N(0xc0000236, "connection refused")

#define VMBUS_STATE_NAMES(N)  \
	N(0, "success")       \
	N(1, "low resources") \
	N(2, "failure")

/* Those that are in use, then those that were or were to be. */
#define VMBUS_PACKET_TYPE_NAMES(N)         \
	N(0x6, "in-band")                  \
	N(0x7, "transfer-pages")           \
	N(0x9, "GPA-direct")               \
	N(0xb, "completion")               \
	N(0x1, "synch")                    \
	N(0x2, "add transfer page set")    \
	N(0x3, "remove transfer page set") \
	N(0x4, "establish GPADL")          \
	N(0x5, "tear down GPADL")          \
	N(0x8, "data using GPADL")         \
	N(0xa, "cancel request")           \
	N(0xc, "additional packets")       \
	N(0xd, "additional data")

#define VMBUS_PIPE_TYPE_NAMES(N)    \
	N(1, "data")                \
	N(2, "partial")             \
	N(3, "GPA-direct setup")    \
	N(4, "GPA-direct teardown") \
	N(5, "indication complete")

/** Interface types: N(first 32 bits, 16, 16, the last 8 bytes as one number, name) */
#define VMBUS_INTERFACE_NAMES(N)                                             \
	N(0xf8615163, 0xdf3e, 0x46c5, 0x913ff2d2f965ed0e, "network")         \
	N(0xba6163d9, 0x04a1, 0x4d29, 0xb60572e2ffb1dc7f, "SCSI")            \
	N(0x32412632, 0x86cb, 0x44a2, 0x9b5c50d1417354f5, "IDE")             \
	N(0x2f9bcc4a, 0x0069, 0x4af3, 0xb76b6fd0be528cda, "fibre channel")   \
	N(0x8c2eaf3d, 0x32a7, 0x4b09, 0xab99bd1f1c86b501, "network direct")  \
	N(0x44c4f61d, 0x4444, 0x4400, 0x9d52802e27ede19f, "PCI")             \
	N(0xda0a7802, 0xe377, 0x4aac, 0x8e770558eb1073f8, "video")           \
	N(0xf912ad6d, 0x2b17, 0x48ea, 0xbd65f927a61c7684, "keyboard")        \
	N(0xcfa8b69e, 0x5b4a, 0x4cc0, 0xb98b8ba1a1f3f95a, "mouse")           \
	N(0x57164f39, 0x9115, 0x4e78, 0xab55382f3bd5422d, "heartbeat")       \
	N(0xa9a0f4e7, 0x5a45, 0x4d96, 0xb8278a841e8c03e6, "key-value pairs") \
	N(0x0e0b6031, 0x5213, 0x4934, 0x818b38d90ced39db, "shutdown")        \
	N(0x9527e630, 0xd0ae, 0x497b, 0xadcee80ab0175caf, "time sync")       \
	N(0x35fa2e29, 0xea23, 0x4236, 0x96ae3a6ebacba440, "backup")          \
	N(0x34d14be3, 0xdee4, 0x41c8, 0x9ae76b174977c192, "file copy")       \
	N(0x525074dc, 0x8985, 0x46e2, 0x8057a307dc18a502, "dynamic memory")  \
	N(0x8b60ccf6, 0x709f, 0x4c11, 0x90b5229c959a9e6a, "serial")          \
	N(0x8dedd1aa, 0x9056, 0x49e4, 0xbfd61bf90dc38ef0, "GET")             \
	N(0xc376c1c3, 0xd276, 0x48d2, 0x90a9c04748072c60, "vmbfs")           \
	N(0x276aacf4, 0xac15, 0x426c, 0x98dd7521ad3f01fe, "remote desktop")  \
	N(0xf8e65716, 0x3cb3, 0x4a06, 0x9a601889c5cccab5, "RD control")      \
	N(0xf9e9c0d3, 0xb511, 0x4a48, 0x8046d38079a8830c, "RD data")         \
	N(0x3375baf4, 0x9e15, 0x4b30, 0xb76567acb10d607b, "activation")      \
	N(0x8d7f2a6e, 0x4c0b, 0x4f2e, 0x9a536b1c0e5d9f01, "echo")

#endif
