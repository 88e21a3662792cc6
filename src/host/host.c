/* SPDX-License-Identifier: MIT */
/*
 * The hosting API: partitions and the drivers in them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "host/internal.h"

#define VERSION "0.1.0"

/* ---- partitions ---- */

static struct {
	pthread_mutex_t lock;
	kmcl_partition *newest;
} partitions = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Drivers that name no device use the newest bus that has an end for them. */
static void set_default_bus(void)
{
	struct part_endpoint *server = NULL, *client = NULL;

	for (kmcl_partition *p = partitions.newest; p; p = p->older) {
		if (!server && part_endpoint_exists(part_server(p->part)))
			server = part_server(p->part);
		if (!client && part_endpoint_exists(part_client(p->part)))
			client = part_client(p->part);
	}
	kmcl_bus_set_default(server, client);
}

static void enlist_partition(kmcl_partition *partition)
{
	pthread_mutex_lock(&partitions.lock);
	partition->older = partitions.newest;
	partitions.newest = partition;
	set_default_bus();
	pthread_mutex_unlock(&partitions.lock);
}

void host_ends_changed(void)
{
	pthread_mutex_lock(&partitions.lock);
	set_default_bus();
	pthread_mutex_unlock(&partitions.lock);
}

static void delist_partition(kmcl_partition *partition)
{
	pthread_mutex_lock(&partitions.lock);
	for (kmcl_partition **p = &partitions.newest; *p; p = &(*p)->older) {
		if (*p == partition) {
			*p = partition->older;
			break;
		}
	}
	set_default_bus();
	pthread_mutex_unlock(&partitions.lock);
}

void kmcl_partition_options_init(struct kmcl_partition_options *options)
{
	memset(options, 0, sizeof(*options));
	options->size = sizeof(*options);
}

static void read_limits(const struct kmcl_limits *l, struct part_options *part)
{
	part->limits.channels = l->channels;
	part->limits.gpadls = l->gpadls;
	part->limits.gpadl_pages = l->gpadl_pages;
	part->limits.hvsock = l->connect_requests;
	part->queued_messages = l->queued_messages;
	part->posted_messages = l->posted_messages;
	part->outgoing_packets = l->outgoing_packets;
	part->incoming_packets = l->incoming_packets;
	part->stitches = l->stitches;
	part->bounce_pages = l->bounce_pages;
}

int host_read_options(const struct kmcl_partition_options *options, struct part_options *part)
{
	memset(part, 0, sizeof(*part));
	if (!options)
		return 0;
	if (options->size != sizeof(*options))
		return -EINVAL;
	part->memory = options->memory;
	part->vps = options->processors;
	part->server_dispatchers = options->processors;
	part->poll_ns = options->poll_ns;
	part->max_version = options->max_version;
	part->capture = host_part_capture(options->capture);
	read_limits(&options->limits, part);
	return 0;
}

kmcl_partition *host_partition_of(struct part *part)
{
	kmcl_partition *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->part = part;
	pthread_mutex_init(&p->lock, NULL);
	pthread_mutex_init(&p->change, NULL);
	p->bus.ep = part_server(p->part);
	if (!NT_SUCCESS(nt_handle_create(&kmcl_bus_handle_type, &p->bus, &p->vmbus_handle)))
		p->vmbus_handle = NULL;
	enlist_partition(p);
	return p;
}

int kmcl_partition_create_loopback(const struct kmcl_partition_options *options,
				   kmcl_partition **partition)
{
	struct part_options part_options;
	struct part *part;
	int code;

	*partition = NULL;
	code = host_read_options(options, &part_options);
	if (!code)
		code = part_loopback_create(&part_options, &part);
	if (code)
		return code;
	*partition = host_partition_of(part);
	if (*partition)
		return 0;
	part_destroy(part);
	return -ENOMEM;
}

static kmcl_driver *last_of(kmcl_partition *partition, enum kmcl_end end)
{
	kmcl_driver *d;

	pthread_mutex_lock(&partition->lock);
	for (d = partition->drivers; d && d->end != end; d = d->next)
		;
	pthread_mutex_unlock(&partition->lock);
	return d;
}

void kmcl_partition_destroy(kmcl_partition *partition)
{
	kmcl_driver *driver;

	if (!partition)
		return;
	partition->ending = true;
	part_client_leave(part_client(partition->part));
	while ((driver = last_of(partition, KMCL_CLIENT)) ||
	       (driver = last_of(partition, KMCL_SERVER)))
		kmcl_driver_unload(driver);
	host_partition_close(partition);
	part_destroy(partition->part);
	host_partition_free(partition);
}

void host_partition_close(kmcl_partition *partition)
{
	delist_partition(partition);
	if (partition->vmbus_handle)
		ZwClose(partition->vmbus_handle);
}

void host_partition_free(kmcl_partition *partition)
{
	pthread_mutex_destroy(&partition->lock);
	pthread_mutex_destroy(&partition->change);
	if (atomic_load(&partition->bus.users)) {
		/* a handle that a driver never closed still leads here */
		kmcl_log(KMCL_LOG_ERROR, "host", 0, 0,
			 "%d handles of a bus were not closed before its end",
			 atomic_load(&partition->bus.users));
		return;
	}
	free(partition);
}

void *kmcl_partition_vmbus_handle(kmcl_partition *partition)
{
	return partition->vmbus_handle;
}

size_t kmcl_partition_stats(kmcl_partition *partition, struct kmcl_channel_stats *stats, size_t max)
{
	size_t server = kmcl_channel_statistics(part_server(partition->part), stats, max);
	size_t used = server < max ? server : max;

	return server + kmcl_channel_statistics(part_client(partition->part),
						stats ? stats + used : NULL, max - used);
}

/* ---- drivers ---- */

int host_errno(NTSTATUS status)
{
	switch (status) {
	case STATUS_SUCCESS:
		return 0;
	case STATUS_INSUFFICIENT_RESOURCES:
		return -ENOMEM;
	case STATUS_DRIVER_UNABLE_TO_LOAD:
	case STATUS_ENTRYPOINT_NOT_FOUND:
	case STATUS_DRIVER_ENTRYPOINT_NOT_FOUND:
		return -ENOEXEC;
	case STATUS_INVALID_PARAMETER:
		return -EINVAL;
	default:
		return -EIO;
	}
}

static void give_error(char **error, char *text)
{
	if (error)
		*error = text;
	else
		free(text);
}

static void enlist(kmcl_driver *driver)
{
	pthread_mutex_lock(&driver->partition->lock);
	driver->next = driver->partition->drivers;
	driver->partition->drivers = driver;
	pthread_mutex_unlock(&driver->partition->lock);
}

static void delist(kmcl_driver *driver)
{
	pthread_mutex_lock(&driver->partition->lock);
	for (kmcl_driver **p = &driver->partition->drivers; *p; p = &(*p)->next) {
		if (*p == driver) {
			*p = driver->next;
			break;
		}
	}
	pthread_mutex_unlock(&driver->partition->lock);
}

/* Loads into a driver whose ids and options are set; consumes it on failure. */
static int load(kmcl_driver *driver, struct nt_driver_config *config, char **error)
{
	kmcl_partition *partition = driver->partition;
	NTSTATUS status;
	int code;

	if (driver->end == KMCL_CLIENT)
		config->memory = part_nt_memory(part_client(partition->part));
	status = nt_driver_load(config, &driver->nt, error);
	if (!NT_SUCCESS(status)) {
		free(driver);
		return host_errno(status);
	}
	pthread_mutex_lock(&partition->change);
	code = host_pnp_start(driver, error);
	if (code) {
		nt_driver_unload(driver->nt);
		free(driver);
	} else {
		enlist(driver);
	}
	pthread_mutex_unlock(&partition->change);
	return code;
}

/* The end that the driver is for must be there. */
static int check_end(const kmcl_partition *partition, enum kmcl_end end, const char *name,
		     char **error)
{
	struct part *part = partition->part;

	if (part_endpoint_exists(end == KMCL_SERVER ? part_server(part) : part_client(part)))
		return 0;
	*error = sentence("%s: this partition has no %s end", name,
			  end == KMCL_SERVER ? "server" : "client");
	return -ENODEV;
}

static kmcl_driver *new_driver(kmcl_partition *partition, enum kmcl_end end)
{
	kmcl_driver *driver = calloc(1, sizeof(*driver));

	if (driver) {
		driver->partition = partition;
		driver->end = end;
	}
	return driver;
}

int kmcl_driver_load(kmcl_partition *partition, enum kmcl_end end, const char *text,
		     kmcl_driver **driver, char **error)
{
	struct nt_driver_config config = {0};
	struct host_spec spec;
	char *why = NULL;
	kmcl_driver *d;
	int code;

	*driver = NULL;
	if (error)
		*error = NULL;
	code = check_end(partition, end, text, &why);
	if (!code)
		code = host_spec_parse(text, &spec, &why);
	if (code) {
		give_error(error, why);
		return code;
	}
	d = new_driver(partition, end);
	if (d && access(spec.path, R_OK)) {
		code = -errno;
		why = sentence("cannot load driver %s: %s", spec.path, strerror(errno));
	}
	if (d && !code && end == KMCL_CLIENT)
		code = host_read_inf(spec.path, d->ids, &d->id_count, &why);
	if (d && !code) {
		d->offer_options = spec.offer;
		config.name = spec.name;
		config.path = spec.path;
		config.parameters = (const char *const *)spec.parameters;
		code = load(d, &config, &why);
	} else {
		free(d);
		code = code ? code : -ENOMEM;
	}
	host_spec_free(&spec);
	if (code)
		give_error(error, why);
	else
		*driver = d;
	return code;
}

static int take_ids(kmcl_driver *driver, const char *const *ids, char **error)
{
	for (; ids && *ids; ids++) {
		if (driver->id_count == HOST_MAX_IDS) {
			*error = sentence("%s: more than %u hardware ids", *ids, HOST_MAX_IDS);
			return -E2BIG;
		}
		if (!host_parse_hardware_id(*ids, &driver->ids[driver->id_count])) {
			*error = sentence("%s: not a hardware id of the form VMBUS\\{guid}", *ids);
			return -EINVAL;
		}
		driver->id_count++;
	}
	return 0;
}

int kmcl_driver_load_entry(kmcl_partition *partition, enum kmcl_end end, const char *name,
			   void *entry, const char *const *parameters,
			   const char *const *hardware_ids, kmcl_driver **driver, char **error)
{
	struct nt_driver_config config = {
		.name = name,
		.entry = (PDRIVER_INITIALIZE)(uintptr_t)entry,
	};
	kmcl_driver *d;
	struct host_spec spec;
	char *why = NULL;
	int code;

	*driver = NULL;
	if (error)
		*error = NULL;
	code = check_end(partition, end, name, &why);
	if (code) {
		give_error(error, why);
		return code;
	}
	d = new_driver(partition, end);
	code = d ? host_spec_words(parameters, &spec, &why) : -ENOMEM;
	if (code) {
		free(d);
		give_error(error, why);
		return code;
	}
	code = take_ids(d, hardware_ids, &why);
	if (code) {
		free(d);
	} else {
		d->offer_options = spec.offer;
		config.parameters = (const char *const *)spec.parameters;
		code = load(d, &config, &why);
	}
	host_spec_free(&spec);
	if (code)
		give_error(error, why);
	else
		*driver = d;
	return code;
}

size_t kmcl_driver_unload(kmcl_driver *driver)
{
	kmcl_partition *partition = driver->partition;
	bool had_offers = driver->listening;
	size_t leaked;

	pthread_mutex_lock(&partition->change);
	delist(driver);
	host_pnp_stop(driver);
	leaked = nt_driver_unload(driver->nt);
	free(driver);
	/* what it had may be for another one */
	for (kmcl_driver *d = partition->drivers; d && had_offers && !partition->ending;
	     d = d->next)
		host_pnp_rescan(d);
	pthread_mutex_unlock(&partition->change);
	return leaked;
}

unsigned int kmcl_driver_devices(kmcl_driver *driver)
{
	return nt_driver_devices(driver->nt);
}

int kmcl_driver_wait_devices(kmcl_driver *driver, unsigned int count, unsigned int timeout_ms)
{
	uint64_t end = clock_now_ns() + timeout_ms * 1000000ull;
	struct timespec pause = {.tv_nsec = 1000000};

	while (nt_driver_devices(driver->nt) < count) {
		if (clock_now_ns() >= end)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
	}
	return 0;
}

kmcl_status kmcl_device_control(kmcl_driver *driver, unsigned int index, uint32_t code,
				const void *in, size_t in_size, void *out, size_t out_size,
				size_t *returned)
{
	PDEVICE_OBJECT device = nt_driver_device(driver->nt, index);
	NTSTATUS status;

	if (returned)
		*returned = 0;
	if (!device)
		return STATUS_NO_SUCH_DEVICE;
	status = nt_device_control(device, code, in, in_size, out, out_size, returned);
	nt_device_dereference(device);
	return status;
}

/* ---- the rest ---- */

static struct {
	kmcl_log_callback *log;
	void *log_ctx;
} callbacks;

static void forward_log(void *ctx, enum kmcl_log_level level, const char *subsystem,
			uint32_t partition, uint32_t channel, const char *text)
{
	callbacks.log(callbacks.log_ctx, (enum kmcl_log_severity)level, subsystem, partition,
		      channel, text);
}

void kmcl_set_log(kmcl_log_callback *callback, void *ctx)
{
	callbacks.log = callback;
	callbacks.log_ctx = ctx;
	kmcl_log_set(callback ? forward_log : NULL, NULL);
}

void kmcl_set_violation(kmcl_violation_callback *callback, void *ctx)
{
	nt_violation_set(callback, ctx);
}

const char *kmcl_status_name(kmcl_status status)
{
	static _Thread_local char number[16];
	const char *name = nt_status_name(status);

	if (name)
		return name;
	snprintf(number, sizeof(number), "0x%08x", (unsigned int)status);
	return number;
}

void kmcl_free(void *p)
{
	free(p);
}

const char *kmcl_version(void)
{
	return VERSION;
}
