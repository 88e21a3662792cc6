/* SPDX-License-Identifier: MIT */
/*
 * The integration components on a real bus, against a guest whose answers are the input. The first
 * byte chooses a component and whether its versions are agreed on before; then come records:
 *
 *     u8 what to ask, u8 how, u16 length, bytes
 *
 * Each is the answer to the message that came, with those bytes over it.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "host/internal.h"
#include "nt/nt.h"
#include "vmbus/pipe.h"
#include "vmbus/ring.h"

#include "ic_ioctl.h"

#define MOST_RECORDS 16u
#define PATIENCE_NS  20000000000ull /* for what has to happen */
#define SHORT_NS     30000000ull    /* for what may */
#define RING_PAGES   5u
#define HEADER       sizeof(struct ic_header)

enum how {
	HOW_WHOLE = 1,      /* the bytes begin at the header, not at the body */
	HOW_CUT = 2,        /* the message ends with the bytes */
	HOW_CUT_BODY = 4,   /* the header says that the body does */
	HOW_PIPE = 8,       /* the pipe's header is in the bytes too */
	HOW_UNASKED = 16,   /* without waiting for a message */
	HOW_PAUSE = 32,     /* pause and resume before */
	HOW_NO_ANSWER = 64, /* not marked as an answer */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
DRIVER_INITIALIZE DriverEntry;

static struct {
	kmcl_partition *partition;
	kmcl_driver *driver;
	PDEVICE_OBJECT device;
	struct part_client_listener listener;
	_Atomic(struct part_client_channel *) channel[IC_COMPONENTS];
	atomic_uint claimed;

	unsigned int component;
	struct part_port port;
	_Alignas(8) uint8_t packet[20000];
	uint8_t message[20000]; /* what came last, or an answer, behind 8 bytes of the pipe's */
	uint32_t message_size;  /* without those */
	unsigned int unanswered;

	PIRP irp;
	_Atomic NTSTATUS status;
	uint32_t code;
	union {
		struct ic_shutdown_request shutdown;
		struct ic_clock_request clock;
		struct ic_kvp_request kvp;
		struct ic_ip_request ip;
	} request;
} bed;

static void demand(bool holds)
{
	if (!holds)
		abort();
}

/* ---- the bus ---- */

static void on_rescind(void *owner)
{
}

static void on_offered(struct part_client_listener *l, struct part_client_channel *ch)
{
	static const struct part_client_channel_ops ops = {.rescind = on_rescind};
	static const uint8_t first[IC_COMPONENTS] = {0x39, 0x31, 0x30, 0xe7};
	const struct vmbus_client_offer *offer = part_client_offer(ch);

	for (unsigned int i = 0; i < IC_COMPONENTS; i++) {
		if (offer->interface_id.b[0] != first[i] || part_client_claim(ch, &ops, &bed))
			continue;
		atomic_store(&bed.channel[i], ch);
		atomic_fetch_add(&bed.claimed, 1);
	}
}

static void on_withdrawn(struct part_client_listener *l, struct part_client_channel *ch)
{
}

static void nap(void)
{
	struct timespec t = {.tv_nsec = 20000};

	nanosleep(&t, NULL);
}

static void start(void)
{
	static const char *const options[] = {"period=10", "sample=10", NULL};
	uint64_t end = clock_now_ns() + PATIENCE_NS;
	char *error = NULL;

	demand(!kmcl_partition_create_loopback(NULL, &bed.partition));
	demand(!kmcl_driver_load_entry(bed.partition, KMCL_SERVER, "ic_vsp",
				       (void *)(uintptr_t)DriverEntry, options, NULL, &bed.driver,
				       &error));
	bed.listener.offered = on_offered;
	bed.listener.withdrawn = on_withdrawn;
	demand(!part_client_listen(part_client(bed.partition->part), &bed.listener));
	while (atomic_load(&bed.claimed) < IC_COMPONENTS && clock_now_ns() < end)
		nap();
	demand(atomic_load(&bed.claimed) == IC_COMPONENTS);
	bed.device = nt_driver_device(bed.driver->nt, 0);
	demand(bed.device != NULL);
}

static struct ic_component_info counts(void)
{
	struct ic_info info;
	size_t returned;

	demand(!kmcl_device_control(bed.driver, 0, IC_IOCTL_QUERY, NULL, 0, &info, sizeof(info),
				    &returned));
	return info.component[bed.component];
}

static void control(uint32_t code)
{
	struct ic_select select = {.component = bed.component};
	size_t returned;

	demand(!kmcl_device_control(bed.driver, 0, code, &select, sizeof(select), NULL, 0,
				    &returned));
}

/* ---- the guest ---- */

/* The host's message, if one comes; it sends none before the last is answered. */
static bool receive(uint64_t patience)
{
	uint64_t end = clock_now_ns() + patience;
	enum vmbus_ring_result result;
	struct vmbus_packet_in in;
	struct vmbus_pipe_packet pipe;

	while ((result = vmbus_ring_read(&bed.port.in, bed.packet, sizeof(bed.packet), &in)) ==
	       VMBUS_RING_EMPTY) {
		if (clock_now_ns() > end)
			return false;
		nap();
	}
	demand(result == VMBUS_RING_OK && in.type == VMBUS_PKT_INBAND && !in.completion_requested);
	demand(vmbus_pipe_decode(&in, &pipe) == VMBUS_PIPE_OK && pipe.type == VMBUS_PIPE_DATA);
	demand(pipe.size >= HEADER);
	demand(pipe.size + IC_PACKET_OVERHEAD <=
	       (bed.component == IC_COMPONENT_KVP ? IC_GUEST_BUFFER_KVP : IC_GUEST_BUFFER));
	demand(!bed.unanswered++);
	memcpy(bed.message + 8, pipe.data, pipe.size);
	bed.message_size = pipe.size;
	if (vmbus_ring_release(&bed.port.in))
		part_port_signal(&bed.port);
	return true;
}

static uint64_t taken(const struct ic_component_info *c)
{
	return c->answered + c->malformed + c->unsolicited;
}

/* Sends the message, pipe header and all. False: the driver has not had it, which is so when the
 * pipe is broken. */
static bool send_message(uint32_t size)
{
	struct ic_component_info before = counts(), after = before;
	uint64_t end = clock_now_ns() + SHORT_NS;

	if (vmbus_ring_write_inband(&bed.port.out, VMBUS_PKT_INBAND, 0, 77, bed.message, size) !=
	    VMBUS_RING_OK)
		return false;
	if (vmbus_ring_publish(&bed.port.out))
		part_port_signal(&bed.port);
	while (taken(&after) == taken(&before) && clock_now_ns() < end) {
		nap();
		after = counts();
	}
	if (after.answered != before.answered)
		bed.unanswered = 0;
	return taken(&after) != taken(&before);
}

static void pipe_header(uint32_t size)
{
	const uint32_t words[2] = {VMBUS_PIPE_DATA, size};

	memcpy(bed.message, words, sizeof(words));
}

static void agree(void)
{
	static const uint8_t counts_one[4] = {1, 0, 1, 0};
	uint8_t *body = bed.message + 8 + HEADER;
	uint16_t frameworks, messages;

	if (!receive(PATIENCE_NS))
		abort();
	memcpy(&frameworks, body, 2);
	memcpy(&messages, body + 2, 2);
	demand(frameworks && messages);
	/* the highest of each */
	memmove(body + 8, body + 8 + 4 * (frameworks - 1), 4);
	memmove(body + 12, body + 8 + 4 * (frameworks + messages - 1), 4);
	memcpy(body, counts_one, 4);
	bed.message[8 + offsetof(struct ic_header, size)] = 16;
	bed.message[8 + offsetof(struct ic_header, flags)] = 5;
	pipe_header(bed.message_size);
	send_message(8 + bed.message_size);
}

/* ---- a program's request ---- */

static NTSTATUS on_completed(PDEVICE_OBJECT device, PIRP irp, PVOID context)
{
	atomic_store(&bed.status, irp->IoStatus.Status);
	return STATUS_MORE_PROCESSING_REQUIRED;
}

static uint32_t prepare(uint8_t what)
{
	static const uint8_t key[] = {'k', 0, 0, 0};

	memset(&bed.request, 0, sizeof(bed.request));
	switch (bed.component) {
	case IC_COMPONENT_SHUTDOWN:
		bed.request.shutdown.shutdown.flags = what % 8;
		return IC_IOCTL_SHUTDOWN;
	case IC_COMPONENT_TIMESYNC:
		bed.request.clock.operation = what % 2;
		bed.request.clock.value = what % 2 * what;
		return IC_IOCTL_CLOCK;
	default:
		break;
	}
	if (what % 6 >= IC_KVP_GET_IP) {
		bed.request.ip.operation = what % 6;
		return IC_IOCTL_IP;
	}
	bed.request.kvp.operation = what % 6;
	bed.request.kvp.pool = what / 6 % IC_KVP_POOLS;
	bed.request.kvp.index = what;
	bed.request.kvp.value.type = IC_KVP_STRING;
	bed.request.kvp.value.key_size = bed.request.kvp.value.value_size = sizeof(key);
	memcpy((uint8_t *)&bed.request.kvp.value + offsetof(struct ic_kvp_value, key), key,
	       sizeof(key));
	memcpy(bed.request.kvp.value.value, key, sizeof(key));
	return IC_IOCTL_KVP;
}

static void ask(uint8_t what)
{
	PIO_STACK_LOCATION location;

	if (bed.irp || bed.component == IC_COMPONENT_HEARTBEAT)
		return;
	bed.code = prepare(what);
	bed.irp = IoAllocateIrp(bed.device->StackSize, FALSE);
	demand(bed.irp != NULL);
	atomic_store(&bed.status, STATUS_PENDING);
	bed.irp->AssociatedIrp.SystemBuffer = &bed.request;
	location = IoGetNextIrpStackLocation(bed.irp);
	location->MajorFunction = IRP_MJ_DEVICE_CONTROL;
	location->Parameters.DeviceIoControl.IoControlCode = bed.code;
	location->Parameters.DeviceIoControl.InputBufferLength = sizeof(bed.request);
	location->Parameters.DeviceIoControl.OutputBufferLength = sizeof(bed.request);
	IoSetCompletionRoutine(bed.irp, on_completed, NULL, TRUE, TRUE, TRUE);
	IoCallDriver(bed.device, bed.irp);
}

/* Text that ends with its size, has no other end, and no half of a pair. */
static void check_text(const uint8_t *text, uint32_t size, uint32_t room)
{
	demand(size >= 2 && size <= room && size % 2 == 0);
	for (uint32_t i = 0; i < size; i += 2) {
		unsigned int c = text[i] | text[i + 1] << 8;

		demand((c == 0) == (i == size - 2));
		if (c >= 0xd800 && c < 0xdc00) {
			unsigned int low = text[i + 2] | text[i + 3] << 8;

			demand(low >= 0xdc00 && low < 0xe000);
			i += 2;
		} else {
			demand(c < 0xdc00 || c >= 0xe000);
		}
	}
}

static void check_value(const struct ic_kvp_value *v)
{
	check_text((const uint8_t *)v + offsetof(struct ic_kvp_value, key), v->key_size,
		   sizeof(v->key));
	switch (v->type) {
	case IC_KVP_STRING:
	case IC_KVP_EXPAND_STRING:
		check_text(v->value, v->value_size, sizeof(v->value));
		break;
	case IC_KVP_U32:
		demand(v->value_size == 4);
		break;
	default:
		demand((v->type == IC_KVP_U64 || v->type == IC_KVP_U64_LINUX) &&
		       v->value_size == 8);
		break;
	}
}

/* What a program is given is well formed, whatever the guest has sent. */
static void look(void)
{
	if (!bed.irp || atomic_load(&bed.status) == STATUS_PENDING)
		return;
	if (bed.code == IC_IOCTL_KVP && NT_SUCCESS(atomic_load(&bed.status)) &&
	    !bed.request.kvp.status)
		check_value(&bed.request.kvp.value);
	IoFreeIrp(bed.irp);
	bed.irp = NULL;
}

/* ---- an input ---- */

/* How much of the input it took; 0: there is no use in more. */
static size_t answer(const uint8_t *data, size_t size)
{
	uint8_t how = data[1];
	size_t length = data[2] | (size_t)data[3] << 8, at = 8 + HEADER, end;

	data += 4;
	size -= 4;
	if (length > size)
		length = size;
	if (length > 16384)
		length = 16384;
	if (how & HOW_PIPE)
		at = 0;
	else if (how & HOW_WHOLE)
		at = 8;
	end = 8 + bed.message_size;
	if (!(how & HOW_NO_ANSWER))
		bed.message[8 + offsetof(struct ic_header, flags)] = 5;
	if (how & HOW_CUT_BODY)
		memcpy(bed.message + 8 + offsetof(struct ic_header, size),
		       &(uint16_t){(uint16_t)length}, 2);
	if (how & HOW_CUT || at + length > end)
		end = at + length;
	pipe_header(end < 8 ? 0 : (uint32_t)end - 8);
	memcpy(bed.message + at, data, length);
	return send_message((uint32_t)end) ? 4 + length : 0;
}

static void converse(const uint8_t *data, size_t size)
{
	for (unsigned int n = 0; n < MOST_RECORDS && size >= 4; n++) {
		size_t used;

		ask(data[0]);
		if (data[1] & HOW_PAUSE) {
			control(IC_IOCTL_PAUSE);
			control(IC_IOCTL_START);
		}
		if (!(data[1] & HOW_UNASKED) && !bed.unanswered && !receive(SHORT_NS))
			return;
		used = answer(data, size);
		data += used;
		size -= used;
		look();
		if (!used)
			return;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t end;
	uint32_t status;

	if (!bed.partition)
		start();
	if (!size)
		return 0;
	bed.component = data[0] % IC_COMPONENTS;
	bed.unanswered = 0;
	bed.message_size = HEADER;
	memset(bed.message, 0, sizeof(bed.message));
	memset(&bed.port, 0, sizeof(bed.port));
	demand(!part_client_open(bed.channel[bed.component], &bed.port, RING_PAGES, RING_PAGES, 0,
				 &status));
	if (data[0] & 4)
		agree();
	converse(data + 1, size - 1);
	part_client_close(bed.channel[bed.component]);
	part_client_free_rings(bed.channel[bed.component], &bed.port);
	/* No request outlives its session. */
	end = clock_now_ns() + PATIENCE_NS;
	for (look(); bed.irp; look()) {
		demand(clock_now_ns() < end);
		nap();
	}
	return 0;
}
