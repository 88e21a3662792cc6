/* SPDX-License-Identifier: MIT */
/* A partition's life. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "partition/internal.h"
#include "partition/loopback.h"
#include "partition/machine.h"
#include "partition/synic.h"
#include "vmbus/wire.h"

#define DEFAULT_MEMORY   (256ull << 20)
#define DEFAULT_STITCHES 16384u
#define DEFAULT_BOUNCE   16384u
#define DEFAULT_QUEUED   1024u
#define DEFAULT_POSTED   32u
#define DEFAULT_OUTGOING 1024u
#define MOST_OUTGOING    65536u
#define MOST_INCOMING    256u
#define MONITOR_PAGES    2u

static uint32_t processors(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : (uint32_t)n;
}

static uint32_t or_default(uint32_t value, uint32_t otherwise, uint32_t most)
{
	if (!value)
		value = otherwise;
	return value < most ? value : most;
}

static int complete_options(struct part_options *o)
{
	if (!o->memory)
		o->memory = DEFAULT_MEMORY;
	o->memory = (o->memory + PART_PAGE_SIZE - 1) & ~(uint64_t)(PART_PAGE_SIZE - 1);
	if (o->memory < PART_MEMORY_MIN || o->memory > PART_MEMORY_MAX)
		return -EINVAL;
	o->vps = or_default(o->vps, processors(), SYNIC_MAX_VPS);
	o->server_dispatchers =
		or_default(o->server_dispatchers, processors(), PART_MAX_DISPATCHERS);
	if (o->redirect_sint >= SYNIC_SINTS)
		return -EINVAL;
	if (o->server_monitor)
		o->features |= VMBUS_FEATURE_SERVER_MONITOR;
	o->stitches = or_default(o->stitches, DEFAULT_STITCHES, UINT32_MAX);
	o->bounce_pages = or_default(o->bounce_pages, DEFAULT_BOUNCE, UINT32_MAX);
	o->queued_messages = or_default(o->queued_messages, DEFAULT_QUEUED, UINT32_MAX);
	o->posted_messages = or_default(o->posted_messages, DEFAULT_POSTED, HV_MACHINE_MESSAGES);
	o->outgoing_packets = or_default(o->outgoing_packets, DEFAULT_OUTGOING, MOST_OUTGOING);
	o->incoming_packets = or_default(o->incoming_packets, MOST_INCOMING, MOST_INCOMING);
	if (!o->channel_range) {
		o->first_channel = 1;
		o->channel_range = VMBUS_MAX_CHANNEL;
	}
	return mmio_complete_options(o);
}

/* The host's own pages are the last of memory, and none that the guest would use for itself. */
static uint64_t guest_pages(struct part *p)
{
	uint64_t pages = p->options.memory >> PART_PAGE_SHIFT;

	if (!p->options.server_monitor)
		return pages;
	p->monitor_gpa = (pages - MONITOR_PAGES) << PART_PAGE_SHIFT;
	return pages - MONITOR_PAGES;
}

/* The client makes the memory. */
static int open_guest_memory(struct part *p)
{
	uint64_t size = p->options.memory;
	int fd = part_memory_file(size);
	int error;

	if (fd < 0)
		return fd;
	error = part_memory_add(&p->client.memory, fd, 0, size, 0, NULL);
	if (!error)
		error = page_pool_init(&p->client.pages, guest_pages(p));
	if (!error)
		error = mmio_init(&p->client.mmio, &p->options);
	if (error)
		return error;
	p->client.blocks =
		block_pool_create(&p->client.pages, memory_at(&p->client.memory, 0, size));
	return p->client.blocks ? 0 : -ENOMEM;
}

/* The host is handed a descriptor, as over any transport. */
static int share_memory(struct part *p)
{
	const struct part_memory_range *r = &p->client.memory.range[0];
	int fd = fcntl(r->fd, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	return part_memory_add(&p->server.memory, fd, 0, r->size, 0, &p->client.memory);
}

static void destroy_loopback(void *transport)
{
	loopback_destroy(transport);
}

static int open_loopback(struct part *p)
{
	struct loopback *l = loopback_create(&p->server.memory, p->options.vps, p->id);

	if (!l)
		return -ENOMEM;
	hv_machine_limit_posted((struct hv_machine *)(void *)l, p->options.posted_messages);
	p->transport = l;
	p->transport_destroy = destroy_loopback;
	p->server.transport = l;
	p->server.host = &hv_machine_ops;
	p->client.transport = l;
	p->client.guest = &loopback_guest_ops;
	return 0;
}

int part_new(const struct part_options *options, struct part **part)
{
	static atomic_uint last_id;
	struct part *p = calloc(1, sizeof(*p));
	int error;

	if (!p)
		return -ENOMEM;
	if (options)
		p->options = *options;
	p->id = atomic_fetch_add(&last_id, 1) + 1;
	endpoint_init(&p->server, p, true);
	endpoint_init(&p->client, p, false);
	error = complete_options(&p->options);
	part_memory_init(&p->client.memory, p->options.stitches);
	part_memory_init(&p->server.memory, p->options.stitches);
	if (error)
		part_destroy(p);
	else
		*part = p;
	return error;
}

static int assemble_loopback(struct part *p)
{
	int error = open_guest_memory(p);

	if (!error)
		error = share_memory(p);
	if (!error)
		error = ntmemory_init(&p->server);
	if (!error)
		error = ntmemory_init(&p->client);
	if (!error)
		error = open_loopback(p);
	return error;
}

int part_loopback_assemble(const struct part_options *options, struct part **part)
{
	struct part *p;
	int error = part_new(options, &p);

	if (error)
		return error;
	error = assemble_loopback(p);
	if (error)
		part_destroy(p);
	else
		*part = p;
	return error;
}

int part_take_transport(struct part *part, const struct part_transport *transport)
{
	part->transport = transport->transport;
	part->transport_destroy = transport->destroy;
	part->server.transport = transport->transport;
	part->server.host = transport->host;
	return ntmemory_init(&part->server);
}

int part_start_host(struct part *part, const struct part_transport *transport)
{
	int error = part_take_transport(part, transport);

	return error ? error : server_end_start(&part->server);
}

int part_start_guest(struct part *part, const struct part_transport *transport)
{
	int error;

	part->transport = transport->transport;
	part->transport_destroy = transport->destroy;
	part->client.transport = transport->transport;
	part->client.guest = transport->guest;
	error = ntmemory_init(&part->client);
	return error ? error : client_end_start(&part->client);
}

int part_guest_memory(struct part *part)
{
	int error = open_guest_memory(part);

	return error ? error : part->client.memory.range[0].fd;
}

int part_host_memory(struct part *part, int fd, uint64_t gpa, uint64_t size, uint64_t offset)
{
	return part_memory_add(&part->server.memory, fd, gpa, size, offset, NULL);
}

int part_loopback_create(const struct part_options *options, struct part **part)
{
	struct part *p;
	int error = part_loopback_assemble(options, &p);

	if (error)
		return error;
	error = server_end_start(&p->server);
	if (!error)
		error = client_end_start(&p->client);
	if (error)
		part_destroy(p);
	else
		*part = p;
	return error;
}

void part_destroy(struct part *part)
{
	client_end_stop(&part->client);
	server_end_stop(&part->server);
	if (part->transport)
		part->transport_destroy(part->transport);
	endpoint_destroy(&part->client);
	endpoint_destroy(&part->server);
	free(part);
}

int part_reset(struct part *part)
{
	return client_end_reset(&part->client);
}
