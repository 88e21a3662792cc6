/* SPDX-License-Identifier: MIT */
/** @file What the files of src/host share. */
#ifndef HOST_INTERNAL_H
#define HOST_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/sentence.h"
#include "kmcl/bus.h"
#include "kmcl/kmcl.h"
#include "kmcl/trace.h"
#include "nt/nt.h"
#include "partition/partition.h"

#define HOST_MAX_IDS 16u

/** An offer that a driver matches, and the driver's device for it if it has one. */
struct host_device {
	struct host_device *next;
	struct kmcl_bus_device bus; /* context of the physical device */
	PDEVICE_OBJECT pdo;
	bool added;
	bool failed; /* the driver did not want it: not offered again */
};

/** An offer that a driver has; a second one that matches gets nothing. */
struct host_taken {
	struct host_taken *next;
	vmbus_channel_id offer;
};

struct kmcl_partition {
	kmcl_partition *older; /* under the list's lock */
	struct part *part;
	struct kmcl_bus_handle bus;
	HANDLE vmbus_handle;
	pthread_mutex_t change; /* drivers are started and stopped one at a time */
	pthread_mutex_t lock;   /* both below */
	kmcl_driver *drivers;
	struct host_taken *taken;
	bool ending; /* the partition goes away: a surprise to its devices */
};

/** A partition around ends that exist; takes `part` over. NULL: no memory. */
kmcl_partition *host_partition_of(struct part *part);
/** The two halves of its end, without and after part_destroy. Its drivers have stopped. */
void host_partition_close(kmcl_partition *partition);
void host_partition_free(kmcl_partition *partition);
/** What loading a driver returns for the status that it ended with. */
int host_errno(NTSTATUS status);
/** A partition has an end that it did not have. */
void host_ends_changed(void);
/** -EINVAL: another version's structure. */
int host_read_options(const struct kmcl_partition_options *options, struct part_options *part);

struct kmcl_driver {
	kmcl_driver *next;
	kmcl_partition *partition;
	enum kmcl_end end;
	struct nt_driver *nt;
	struct kmcl_offer_options offer_options;
	struct vmbus_guid ids[HOST_MAX_IDS]; /* interface types that it drives */
	unsigned int id_count;
	struct host_device bus_device; /* server, or a client without ids */
	/* client with ids: a device for each matching offer, made and removed on the strand */
	struct part_client_listener listener;
	bool listening;
	struct nt_strand strand;
	struct host_device *devices; /* strand */
};

/** What "x.so,key=value,..." says. Freed with host_spec_free. */
struct host_spec {
	char *path;
	char *name;        /* file name without directory and ending */
	char **parameters; /* for RegistryPath\Parameters */
	unsigned int parameter_count;
	struct kmcl_offer_options offer;
};
/** 0, or negative errno with *error = a sentence. */
int host_spec_parse(const char *text, struct host_spec *spec, char **error);
/** The same from separate "key=value" words; no path. */
int host_spec_words(const char *const *words, struct host_spec *spec, char **error);
void host_spec_free(struct host_spec *spec);

/** "VMBUS\{guid}". False: not of that form. */
bool host_parse_hardware_id(const char *text, struct vmbus_guid *guid);
/** Reads x.inf beside x.so. 0 also when there is none (then *count is 0). */
int host_read_inf(const char *driver_path, struct vmbus_guid *ids, unsigned int *count,
		  char **error);

/** A trace of a stream, which it closes, also on failure. `name`: for what it complains of. */
int host_trace_of(FILE *file, const char *name, kmcl_trace **trace, char **error);

struct part_capture;
struct part_capture *host_part_capture(kmcl_capture *capture);

/** Gives the driver its devices. 0, or negative errno with a sentence. */
int host_pnp_start(kmcl_driver *driver, char **error);
/** Removal of all of them. */
void host_pnp_stop(kmcl_driver *driver);
/** Offers the driver what nobody has; for one that was passed over until now. */
void host_pnp_rescan(kmcl_driver *driver);

#endif
