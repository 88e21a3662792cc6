/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Hosting API: create a partition, load drivers into it, command them, watch them.
 *
 * Opaque handles; all functions may be called from any thread unless they say otherwise. Functions
 * that can fail return 0 or a negative errno, or an NTSTATUS where a driver's status is the answer.
 */
#ifndef KMCL_KMCL_H
#define KMCL_KMCL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KMCL_API_VERSION 1

typedef struct kmcl_partition kmcl_partition;
typedef struct kmcl_driver kmcl_driver;
typedef struct kmcl_capture kmcl_capture;

/** NTSTATUS as plain C, so that this header needs no WDK name. */
typedef int32_t kmcl_status;

/**
 * What a peer can make a partition hold, and a partition its channels. 0: the default named here.
 * docs/limits.md tells what lies beyond each.
 */
struct kmcl_limits {
	uint32_t channels;         /**< offers at once; 2047, which is the most */
	uint32_t gpadls;           /**< of a guest; 8192 */
	uint32_t gpadl_pages;      /**< in all of them, and one a range; 4194304 */
	uint32_t queued_messages;  /**< the host's, until the guest takes them; 1024 */
	uint32_t posted_messages;  /**< the guest's, until the host takes them; 32, at most 256 */
	uint32_t connect_requests; /**< for sockets, that no device has answered; 16 */
	uint32_t outgoing_packets; /**< of a channel, that await their completion; 1024, at most
				    * 65536
				    */
	uint32_t incoming_packets; /**< of a channel, that its driver has; 256, which is the most */
	uint32_t stitches;         /**< runs of pages mapped one behind the other, an end; 16384 */
	uint32_t bounce_pages;     /**< of guest memory, to bounce external data through; 16384 */
	uint32_t reserved[6];
};

struct kmcl_partition_options {
	uint32_t size;        /**< sizeof(struct kmcl_partition_options); set by
				 kmcl_partition_options_init */
	uint32_t processors;  /**< dispatchers of each end; 0: this machine's processors */
	uint64_t memory;      /**< bytes of guest memory; 0: 256 MiB */
	int64_t poll_ns;      /**< longest poll before a dispatcher blocks; 0: default; -1: never */
	uint32_t max_version; /**< VMBus version of both ends; 0: highest */
	uint32_t reserved_word;
	kmcl_capture *capture; /**< records the bus from its first message on; of several that name
				  one capture, the first; NULL: nothing does */
	uint32_t reserved[2];
	struct kmcl_limits limits;
};
void kmcl_partition_options_init(struct kmcl_partition_options *options);

/** Server and client in this process, joined by a wire-true bus. */
int kmcl_partition_create_loopback(const struct kmcl_partition_options *options,
				   kmcl_partition **partition);
/** Unloads the partition's drivers (client first), then ends the bus. NULL: nothing. */
void kmcl_partition_destroy(kmcl_partition *partition);

/** The VMBus handle of the server end, as a VM's worker process would hold it: input of
 *  VmbConvertVmbusHandleToKernelHandle. Owned by the partition. */
void *kmcl_partition_vmbus_handle(kmcl_partition *partition);

enum kmcl_end {
	KMCL_SERVER,
	KMCL_CLIENT,
};

/**
 * Loads a driver into one end. `spec` is "path/to/x.so[,key=value...]": the values go under the
 * driver's RegistryPath\\Parameters, except keys that begin with "offer.", which change what the
 * driver's offers say: offer.subchannel=N, offer.monitor=LATENCY (100 ns units),
 * offer.user_data=HEX.
 *
 * A server driver gets its AddDevice at once. A client driver with an x.inf beside it gets
 * AddDevice for each offer that its hardware ids match, now and later, unless another driver has
 * that offer; removal follows when the offer is withdrawn. One without x.inf gets AddDevice once,
 * for the bus.
 *
 * Blocks while the driver's own code runs. Not from a driver.
 *
 * @return 0, or negative errno: -ENOENT no such file, -ENOEXEC not a driver (or it needs a function
 *         that is not there), -EINVAL wrong options or .inf, -ENODEV AddDevice or start failed,
 *         -EIO DriverEntry failed. Then *error (if wanted) is a sentence that names what was wrong,
 *         to be freed with kmcl_free().
 */
int kmcl_driver_load(kmcl_partition *partition, enum kmcl_end end, const char *spec,
		     kmcl_driver **driver, char **error);
/** The same for a driver linked into the program: `entry` is its DriverEntry, `parameters` NULL or
 *  a NULL-terminated list of "key=value", `hardware_ids` NULL or such a list of "VMBUS\\{guid}". */
int kmcl_driver_load_entry(kmcl_partition *partition, enum kmcl_end end, const char *name,
			   void *entry, const char *const *parameters,
			   const char *const *hardware_ids, kmcl_driver **driver, char **error);
/** Removes its devices, runs DriverUnload, unloads it; blocks until that is done. What it leaked is
 *  reported in the log. Offers that it had go to another driver that matches. Not from a driver.
 *  @return blocks leaked from its pool */
size_t kmcl_driver_unload(kmcl_driver *driver);

/** Number of the driver's devices that take device control. */
unsigned int kmcl_driver_devices(kmcl_driver *driver);
/** Waits until the driver has at least `count` devices; -ETIMEDOUT. */
int kmcl_driver_wait_devices(kmcl_driver *driver, unsigned int count, unsigned int timeout_ms);
/** DeviceIoControl on device `index`. Returns the driver's NTSTATUS; *returned: bytes in `out`. */
kmcl_status kmcl_device_control(kmcl_driver *driver, unsigned int index, uint32_t code,
				const void *in, size_t in_size, void *out, size_t out_size,
				size_t *returned);

/**
 * Saving the host's side of a partition, for a virtual machine that is saved or moves to another
 * host. The guest does not notice: its memory, which holds the rings, goes with the state, and its
 * requests are neither lost nor answered twice.
 *
 *  1. Each server driver pauses and saves its channels through the DDI (VmbChannelPause,
 *     VmbChannelSaveBegin, Continue, End) and hands its bytes out, by device control for instance.
 *  2. kmcl_partition_save(): the bus's own state. The host's side is frozen from then on.
 *  3. kmcl_driver_unload() for the server's drivers. The guest hears nothing of it.
 *  4. kmcl_partition_restore(), in this partition, or in a new one with the same guest memory and
 *     SynIC pages (kmcl/vmm.h) and no server driver yet.
 *  5. The server's drivers are loaded and get their bytes back; each calls
 *     VmbChannelRestoreFromBuffer() before VmbChannelEnable().
 *  6. kmcl_partition_restored(): nobody is waited for any more.
 *
 * A driver that did not restore a channel that the guest has open gets a new one, and the guest
 * sees the old one withdrawn. The state is versioned and checksummed (docs/saved-state.md); it is
 * to be kept as safe as the guest's memory.
 */
/**
 * @param state  set to a block to be freed with kmcl_free()
 * @return 0; -EBUSY: a channel is open and its driver has not saved it, or it is just being opened
 *         or closed: nothing is frozen, *error (if wanted) is a sentence that names the channel;
 *         -EINVAL: no host's side here; -ENOMEM
 */
int kmcl_partition_save(kmcl_partition *partition, void **state, size_t *size, char **error);
/** Instead of steps 3 to 6: goes on where it was. Drivers then start their channels.
 *  @return 0; -EINVAL: it was not saved */
int kmcl_partition_resume(kmcl_partition *partition);
/**
 * @return 0; -EINVAL: the state is refused, and *error names the field that is wrong; -EBUSY:
 * server drivers are loaded, or the guest is connected to a host's side that was not saved. After
 *         these everything is as it was. Another error leaves a partition that can only be
 *         destroyed.
 */
int kmcl_partition_restore(kmcl_partition *partition, const void *state, size_t size, char **error);
/** Channels that the guest has open and no driver claimed are withdrawn now. */
void kmcl_partition_restored(kmcl_partition *partition);

/** Per-channel counters, a snapshot. */
struct kmcl_channel_stats {
	char name[64]; /**< friendly name, UTF-8 */
	uint32_t channel_id;
	uint32_t server; /**< 1: the server's end */
	uint64_t packets_sent, bytes_sent, packets_received, bytes_received;
	uint64_t signals_sent, signals_saved, no_room, dropped_completions, bounced;
	uint32_t outstanding_in, outstanding_out, queued, state;
};
/** Fills up to `max`; returns how many channels there are. */
size_t kmcl_partition_stats(kmcl_partition *partition, struct kmcl_channel_stats *stats,
			    size_t max);

#define KMCL_CAPTURE_ALL UINT32_MAX

/** A capture: what one end of a partition says and hears (control messages, packets, signals), as a
 *  pcapng file; docs/capture.md has its format, kmcl/trace.h reads it. */
struct kmcl_capture_options {
	uint32_t size; /**< sizeof(struct kmcl_capture_options); set by kmcl_capture_options_init */
	uint32_t payload; /**< bytes of each packet's payload that are kept; KMCL_CAPTURE_ALL;
			     default 256 */
	uint32_t end; /**< enum kmcl_end: which one records where both are in this process; default
			 KMCL_SERVER */
	uint32_t signals; /**< nonzero: signals too */
	uint32_t buffer;  /**< bytes between the bus and the file, for each of up to 16 groups of
			     threads; 0: 4 MiB. What finds no room there is dropped and counted: the
			     bus never waits */
	uint32_t reserved[3];
};
void kmcl_capture_options_init(struct kmcl_capture_options *options);

/** Creates the file, or empties it. `options` may be NULL. -EINVAL, -ENOMEM or the file's errno;
 *  then *error (if wanted) is a sentence, to be freed with kmcl_free(). */
int kmcl_capture_open(const char *path, const struct kmcl_capture_options *options,
		      kmcl_capture **capture, char **error);
/** Records a partition that runs already, from now on; the offers that stand are recorded first.
 * One that is yet to be created is recorded from its first message on if its options name the
 * capture. A capture is of one partition, once, and a partition has one at a time: -EBUSY. */
int kmcl_capture_start(kmcl_capture *capture, kmcl_partition *partition);

struct kmcl_capture_counts {
	uint64_t recorded;
	uint64_t dropped; /**< found no room, or could not be written */
};
/** Stops recording, writes what waits, and closes the file. Before or after the partition is
 *  destroyed, not while. `counts` may be NULL. NULL capture: nothing.
 *  @return 0, or the negative errno with which writing failed; then the file ends earlier. */
int kmcl_capture_close(kmcl_capture *capture, struct kmcl_capture_counts *counts);

enum kmcl_log_severity {
	KMCL_SEVERITY_ERROR,
	KMCL_SEVERITY_WARNING,
	KMCL_SEVERITY_INFO,
	KMCL_SEVERITY_DEBUG,
};
typedef void kmcl_log_callback(void *ctx, enum kmcl_log_severity severity, const char *subsystem,
			       uint32_t partition, uint32_t channel, const char *text);
/** NULL: stderr, filtered by the environment's KMCL_LOG=level[,subsystem]. */
void kmcl_set_log(kmcl_log_callback *callback, void *ctx);

/** A driver broke the DDI's contract. The default logs and aborts. */
typedef void kmcl_violation_callback(void *ctx, const char *rule, const char *driver,
				     const char *text);
void kmcl_set_violation(kmcl_violation_callback *callback, void *ctx);

/** Name of an NTSTATUS ("STATUS_SUCCESS"), or its number in hex in a static buffer of the thread.
 */
const char *kmcl_status_name(kmcl_status status);
void kmcl_free(void *p);
const char *kmcl_version(void);

#ifdef __cplusplus
}
#endif

#endif
