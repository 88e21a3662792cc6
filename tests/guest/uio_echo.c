/* SPDX-License-Identifier: MIT */
/*
 * A client of the echo server inside a guest, over uio_hv_generic: it writes and reads the rings
 * itself, by the wire format and with nothing of the library's.
 *
 *   uio_echo /dev/uioN MONITOR-ID COUNT
 *
 * sends COUNT ECHO requests of growing sizes, so that the rings wrap, and compares what comes back;
 * then has the server digest part of the receive buffer, which is a GPADL of 31 MiB, and compares
 * the digest with its own. Prints one line; exit status 0 when everything was right.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "echo_protocol.h"
#include "sha256.h"

#define PAGE        4096u
#define DESCRIPTOR  16u
#define TRAILER     8u
#define IN_BAND     6u
#define COMPLETION  11u
#define WANTS_REPLY 1u
#define WAIT_MS     120000
#define SUM_OFFSET  12345u
#define SUM_BYTES   300000u

enum {
	WRITE_INDEX = 0,
	READ_INDEX = 1,
	INTERRUPT_MASK = 2,
	PENDING_SIZE = 3,
};

struct ring {
	uint32_t *control;
	uint8_t *data;
	uint32_t size, index; /* our own side of it */
};

static struct ring out, in;
static uint32_t *monitor_word;
static uint32_t monitor_bit;
static int device;
static uint8_t request[DESCRIPTOR + ECHO_MAXIMUM_ECHO + 64], answer[sizeof(request)];

static void give_up(const char *what)
{
	printf("uio_echo: %s: %s\n", what, errno ? strerror(errno) : "wrong");
	exit(1);
}

/* ---- the device ---- */

static void read_name(const char *uio, unsigned int map, char *line, int size)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/class/uio/%s/maps/map%u/name", uio, map);
	file = fopen(path, "r");
	if (!file || !fgets(line, size, file))
		give_up(path);
	fclose(file);
}

static void *map_device(unsigned int map, size_t size)
{
	void *at =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, device, (off_t)(map * PAGE));

	if (at == MAP_FAILED)
		give_up("mmap");
	return at;
}

static size_t map_size(const char *uio, unsigned int map)
{
	char path[128];
	unsigned long size = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/class/uio/%s/maps/map%u/size", uio, map);
	file = fopen(path, "r");
	if (!file || fscanf(file, "%lx", &size) != 1)
		give_up(path);
	fclose(file);
	return size;
}

static void set_ring(struct ring *ring, uint8_t *at, size_t size)
{
	ring->control = (uint32_t *)(void *)at;
	ring->data = at + PAGE;
	ring->size = (uint32_t)(size - PAGE);
}

static void open_device(const char *path, unsigned int monitor)
{
	const char *uio = strrchr(path, '/') + 1;
	size_t size = map_size(uio, 0);
	uint8_t *rings, *page;

	device = open(path, O_RDWR);
	if (device < 0)
		give_up(path);
	rings = map_device(0, size);
	set_ring(&out, rings, size / 2);
	set_ring(&in, rings + size / 2, size / 2);
	out.index = out.control[WRITE_INDEX];
	in.index = in.control[READ_INDEX];
	page = map_device(2, PAGE);
	monitor_word = (uint32_t *)(void *)(page + 8 + 8 * (monitor / 32));
	monitor_bit = 1u << monitor % 32;
}

/* ---- rings ---- */

static void signal_host(void)
{
	__atomic_fetch_or(monitor_word, monitor_bit, __ATOMIC_SEQ_CST);
}

static uint32_t put_bytes(const struct ring *ring, uint32_t at, const void *bytes, uint32_t size)
{
	const uint8_t *from = bytes;

	for (uint32_t i = 0; i < size; i++) {
		ring->data[at] = from[i];
		at = at + 1 == ring->size ? 0 : at + 1;
	}
	return at;
}

static uint32_t get_bytes(const struct ring *ring, uint32_t at, void *bytes, uint32_t size)
{
	uint8_t *to = bytes;

	for (uint32_t i = 0; i < size; i++) {
		to[i] = ring->data[at];
		at = at + 1 == ring->size ? 0 : at + 1;
	}
	return at;
}

static uint32_t used(const struct ring *ring, uint32_t write, uint32_t read)
{
	return write >= read ? write - read : write + ring->size - read;
}

static void send_packet(const void *payload, uint32_t size, uint64_t id)
{
	uint32_t padded = (size + 7) & ~7u, start = out.index, at;
	uint32_t read = __atomic_load_n(&out.control[READ_INDEX], __ATOMIC_ACQUIRE);
	uint16_t head[4] = {IN_BAND, DESCRIPTOR / 8, (uint16_t)((DESCRIPTOR + padded) / 8),
			    WANTS_REPLY};
	uint32_t trailer[2] = {0, start};
	const uint64_t zero = 0;

	errno = 0;
	if (DESCRIPTOR + padded + TRAILER >= out.size - used(&out, start, read))
		give_up("no room in the ring");
	at = put_bytes(&out, start, head, sizeof(head));
	at = put_bytes(&out, at, &id, sizeof(id));
	at = put_bytes(&out, at, payload, size);
	at = put_bytes(&out, at, &zero, padded - size);
	out.index = put_bytes(&out, at, trailer, sizeof(trailer));
	__atomic_store_n(&out.control[WRITE_INDEX], out.index, __ATOMIC_SEQ_CST);
	signal_host();
}

static void wait_for_host(void)
{
	struct pollfd ready = {.fd = device, .events = POLLIN};
	uint32_t on = 1, count;

	if (write(device, &on, sizeof(on)) != sizeof(on))
		give_up("unmasking");
	if (__atomic_load_n(&in.control[WRITE_INDEX], __ATOMIC_SEQ_CST) != in.index)
		return;
	errno = 0;
	if (poll(&ready, 1, WAIT_MS) != 1)
		give_up("waiting for an answer");
	if (read(device, &count, sizeof(count)) != sizeof(count))
		give_up("the interrupt");
}

/* The payload's size; it lies in `answer`. */
static uint32_t receive_packet(uint64_t *id)
{
	uint16_t head[4];
	uint32_t size, skipped[2], at;

	while (__atomic_load_n(&in.control[WRITE_INDEX], __ATOMIC_ACQUIRE) == in.index)
		wait_for_host();
	at = get_bytes(&in, in.index, head, sizeof(head));
	at = get_bytes(&in, at, id, sizeof(*id));
	size = head[2] * 8u - DESCRIPTOR;
	errno = 0;
	if (head[0] != COMPLETION || head[1] != DESCRIPTOR / 8 || head[2] < head[1] ||
	    size > sizeof(answer))
		give_up("the packet's descriptor");
	at = get_bytes(&in, at, answer, size);
	in.index = get_bytes(&in, at, skipped, sizeof(skipped));
	__atomic_store_n(&in.control[READ_INDEX], in.index, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&in.control[PENDING_SIZE], __ATOMIC_SEQ_CST))
		signal_host();
	return size;
}

/* ---- the protocol ---- */

static void check_answer(uint32_t op, uint64_t tag, uint32_t least)
{
	struct echo_completion head;
	uint64_t id;
	uint32_t size = receive_packet(&id);

	memcpy(&head, answer, sizeof(head));
	errno = 0;
	if (id != tag || size < sizeof(head) + least || head.op != op || head.tag != tag)
		give_up("the answer is another request's");
	if (head.status != ECHO_STATUS_SUCCESS)
		give_up("the server refused");
}

static uint32_t echo(uint32_t round)
{
	uint32_t length = round * 97 % (ECHO_MAXIMUM_ECHO + 1);
	struct echo_request head = {.op = ECHO_OP_ECHO, .length = length, .tag = 1000 + round};

	memcpy(request, &head, sizeof(head));
	for (uint32_t i = 0; i < length; i++)
		request[sizeof(head) + i] = (uint8_t)(i * 7 + round);
	send_packet(request, (uint32_t)sizeof(head) + length, head.tag);
	check_answer(ECHO_OP_ECHO, head.tag, length);
	if (memcmp(answer + sizeof(head), request + sizeof(head), length))
		give_up("the data came back changed");
	return length;
}

static void digest_gpadl(const char *path)
{
	const char *uio = strrchr(path, '/') + 1;
	struct echo_gpadl_request head = {
		.header = {.op = ECHO_OP_GPADL_SUM, .length = SUM_BYTES, .tag = 7},
		.offset = SUM_OFFSET,
	};
	uint8_t *buffer = map_device(3, map_size(uio, 3)), digest[SHA256_SIZE];
	struct sha256 sha;
	char name[64];

	read_name(uio, 3, name, sizeof(name));
	errno = 0;
	if (sscanf(name, "recv:%u", &head.gpadl) != 1)
		give_up("the receive buffer's name");
	for (uint32_t i = 0; i < SUM_BYTES; i++)
		buffer[SUM_OFFSET + i] = (uint8_t)(i * 13 + (i >> 8));
	sha256_init(&sha);
	sha256_update(&sha, buffer + SUM_OFFSET, SUM_BYTES);
	sha256_final(&sha, digest);
	send_packet(&head, sizeof(head), head.header.tag);
	check_answer(ECHO_OP_GPADL_SUM, head.header.tag, SHA256_SIZE);
	if (memcmp(answer + sizeof(struct echo_completion), digest, SHA256_SIZE))
		give_up("the digest of the receive buffer");
}

int main(int argc, char **argv)
{
	uint32_t count, bytes = 0;

	if (argc != 4 || !strrchr(argv[1], '/'))
		return 2;
	count = (uint32_t)atoi(argv[3]);
	open_device(argv[1], (unsigned int)atoi(argv[2]));
	for (uint32_t i = 0; i < count; i++)
		bytes += echo(i);
	digest_gpadl(argv[1]);
	printf("uio_echo: %u echoes of %u bytes, digests equal\n", count, bytes);
	return 0;
}
