/* SPDX-License-Identifier: MIT */
/* One end of a bus, over a machine of the embedder's. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/internal.h"
#include "kmcl/vmm.h"
#include "partition/internal.h"
#include "partition/machine.h"

/* ---- the host's end ---- */

struct host_transport {
	struct hv_machine machine;
	struct kmcl_host_machine ops;
	void *ctx;
};

static void interrupt(void *transport, uint32_t vp, uint8_t sint, bool message)
{
	struct host_transport *t = transport;

	t->ops.interrupt(t->ctx, vp, sint);
}

static void destroy_host(void *transport)
{
	struct host_transport *t = transport;

	hv_machine_destroy(&t->machine);
	free(t);
}

static struct hv_machine *machine_of(kmcl_partition *partition)
{
	return part_server(partition->part)->transport;
}

static int start_host(struct part *part, const struct kmcl_host_machine *machine, void *ctx)
{
	struct host_transport *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->ops = *machine;
	t->ctx = ctx;
	hv_machine_init(&t->machine, part->id, &part->server.memory, machine->processors,
			interrupt);
	hv_machine_limit_posted(&t->machine, part->options.posted_messages);
	return part_start_host(part, &(struct part_transport){.transport = t,
							      .host = &hv_machine_ops,
							      .destroy = destroy_host});
}

/* Takes `part` over. */
static int finish(struct part *part, kmcl_partition **partition)
{
	*partition = host_partition_of(part);
	if (*partition)
		return 0;
	part_destroy(part);
	return -ENOMEM;
}

int kmcl_partition_create_host(const struct kmcl_partition_options *options,
			       const struct kmcl_host_machine *machine, void *ctx,
			       kmcl_partition **partition)
{
	struct part_options part_options;
	struct part *part;
	int error = host_read_options(options, &part_options);

	*partition = NULL;
	if (machine->size != sizeof(*machine) || !machine->interrupt || !machine->processors ||
	    machine->processors > SYNIC_MAX_VPS)
		return -EINVAL;
	part_options.vps = machine->processors;
	if (!error)
		error = part_new(&part_options, &part);
	if (error)
		return error;
	error = start_host(part, machine, ctx);
	if (!error)
		return finish(part, partition);
	part_destroy(part);
	return error;
}

int kmcl_host_add_memory(kmcl_partition *partition, int fd, uint64_t gpa, uint64_t size,
			 uint64_t offset)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	int error;

	if (own < 0)
		return -errno;
	pthread_mutex_lock(&partition->lock);
	error = part_host_memory(partition->part, own, gpa, size, offset);
	pthread_mutex_unlock(&partition->lock);
	return error;
}

int kmcl_host_synic(kmcl_partition *partition, uint32_t vp, uint64_t message_page,
		    uint64_t event_flag_page)
{
	return hv_machine_enable_synic(machine_of(partition), vp, message_page, event_flag_page);
}

int kmcl_host_mask(kmcl_partition *partition, uint32_t vp, uint32_t sint, int masked)
{
	return sint < SYNIC_SINTS
		       ? hv_machine_unmask(machine_of(partition), vp, (uint8_t)sint, !masked)
		       : -EINVAL;
}

uint16_t kmcl_host_post_message(kmcl_partition *partition, uint32_t connection_id, uint32_t type,
				const void *payload, size_t size)
{
	struct hv_message message = {.connection_id = connection_id, .type = type};

	if (size > HV_MESSAGE_MAX)
		return KMCL_HV_INVALID_PARAMETER;
	message.size = (uint32_t)size;
	if (size)
		memcpy(message.payload, payload, size);
	return hv_machine_post(machine_of(partition), &message);
}

uint16_t kmcl_host_signal_event(kmcl_partition *partition, uint32_t connection_id, uint16_t flag)
{
	return hv_machine_signal(machine_of(partition), connection_id, flag);
}

void kmcl_host_end_of_message(kmcl_partition *partition)
{
	hv_machine_look(machine_of(partition));
}

void kmcl_host_reset(kmcl_partition *partition)
{
	struct hv_machine *m = machine_of(partition);

	hv_machine_reset(m);
	for (uint32_t vp = 0; vp < m->vps; vp++)
		hv_machine_enable_synic(m, vp, 0, 0);
}

/* ---- the guest's end ---- */

struct guest_transport {
	struct kmcl_guest_machine ops;
	void *ctx;
	struct part_guest_lines lines;
	atomic_bool started;
};

static void guest_start(void *transport, const struct part_guest_lines *lines)
{
	struct guest_transport *t = transport;

	t->lines = *lines;
	atomic_store(&t->started, true);
}

/* Without the pages nobody interrupts any more: the partition may go. */
static void guest_stop(void *transport)
{
	struct guest_transport *t = transport;

	for (uint32_t vp = 0; vp < t->lines.vps; vp++)
		t->ops.synic(t->ctx, vp, 0, 0);
	atomic_store(&t->started, false);
}

static int enable_synic(void *transport, uint32_t vp, uint64_t simp_gpa, uint64_t siefp_gpa)
{
	struct guest_transport *t = transport;

	return t->ops.synic(t->ctx, vp, simp_gpa, siefp_gpa);
}

static int unmask_sint(void *transport, uint32_t vp, uint8_t sint, bool unmasked)
{
	struct guest_transport *t = transport;

	return t->ops.mask(t->ctx, vp, sint, !unmasked);
}

static uint16_t post_message(void *transport, const struct hv_message *message)
{
	struct guest_transport *t = transport;

	return t->ops.post_message(t->ctx, message->connection_id, message->type, message->payload,
				   message->size);
}

static uint16_t signal_event(void *transport, uint32_t connection_id, uint16_t flag)
{
	struct guest_transport *t = transport;

	return t->ops.signal_event(t->ctx, connection_id, flag);
}

static void end_of_message(void *transport, uint32_t vp)
{
	struct guest_transport *t = transport;

	t->ops.end_of_message(t->ctx, vp);
}

static void reset(void *transport)
{
	struct guest_transport *t = transport;

	t->ops.reset(t->ctx);
}

static const struct part_guest_ops guest_ops = {
	.start = guest_start,
	.stop = guest_stop,
	.enable_synic = enable_synic,
	.unmask_sint = unmask_sint,
	.post_message = post_message,
	.signal_event = signal_event,
	.end_of_message = end_of_message,
	.reset = reset,
};

static int prepare_guest(struct part *part, const struct kmcl_guest_machine *machine, void *ctx)
{
	struct guest_transport *t = calloc(1, sizeof(*t));
	int fd;

	if (!t)
		return -ENOMEM;
	t->ops = *machine;
	t->ctx = ctx;
	part->transport = part->client.transport = t;
	part->transport_destroy = free;
	fd = part_guest_memory(part);
	return fd < 0 ? fd : 0;
}

static bool guest_machine_is_whole(const struct kmcl_guest_machine *m)
{
	return m->size == sizeof(*m) && m->processors && m->processors <= SYNIC_MAX_VPS &&
	       m->synic && m->mask && m->post_message && m->signal_event && m->end_of_message &&
	       m->reset;
}

int kmcl_partition_create_guest(const struct kmcl_partition_options *options,
				const struct kmcl_guest_machine *machine, void *ctx,
				kmcl_partition **partition)
{
	struct part_options part_options;
	struct part *part;
	int error = host_read_options(options, &part_options);

	*partition = NULL;
	if (!guest_machine_is_whole(machine))
		return -EINVAL;
	part_options.vps = machine->processors;
	if (!error)
		error = part_new(&part_options, &part);
	if (error)
		return error;
	error = prepare_guest(part, machine, ctx);
	if (!error)
		return finish(part, partition);
	part_destroy(part);
	return error;
}

int kmcl_guest_memory(kmcl_partition *partition, uint64_t *bytes)
{
	const struct part_memory_range *r = &part_client(partition->part)->memory.range[0];

	*bytes = r->size;
	return r->fd;
}

int kmcl_guest_connect(kmcl_partition *partition)
{
	struct part_endpoint *ep = part_client(partition->part);
	int error;

	pthread_mutex_lock(&partition->change);
	error = part_endpoint_exists(ep)
			? -EBUSY
			: part_start_guest(partition->part,
					   &(struct part_transport){.transport = ep->transport,
								    .guest = &guest_ops,
								    .destroy = free});
	pthread_mutex_unlock(&partition->change);
	if (!error)
		host_ends_changed();
	return error;
}

void kmcl_guest_interrupt(kmcl_partition *partition, uint32_t vp)
{
	struct guest_transport *t = part_client(partition->part)->transport;

	if (!atomic_load(&t->started) || vp >= t->lines.vps)
		return;
	part_event_raise(t->lines.messages);
	part_event_raise(t->lines.flags[vp]);
}
