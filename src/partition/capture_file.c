/* SPDX-License-Identifier: MIT */
/* The file of a capture: pcapng blocks, little-endian, as docs/capture.md tells. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "partition/capture_internal.h"
#include "vmbus/wire.h"

#define BUFFER (1u << 18)

enum {
	BLOCK_SECTION = 0x0a0d0d0a,
	BLOCK_INTERFACE = 1,
	BLOCK_STATISTICS = 5,
	BLOCK_PACKET = 6,
	BYTE_ORDER_MAGIC = 0x1a2b3c4d,
	LINKTYPE_USER0 = 147,
};

enum {
	OPTION_END = 0,
	SECTION_APPLICATION = 4,
	INTERFACE_NAME = 2,
	INTERFACE_RESOLUTION = 9,
	STATISTICS_START = 2,
	STATISTICS_END = 3,
	STATISTICS_RECEIVED = 4,
	STATISTICS_DROPPED = 5,
	PACKET_FLAGS = 2,
	PACKET_DROPPED = 4,
	PACKET_INBOUND = 1,
	PACKET_OUTBOUND = 2,
};

/* ---- bytes ---- */

void capture_file_flush(struct capture_file *f)
{
	uint32_t done = 0;

	while (!f->error && done < f->used) {
		ssize_t n = write(f->fd, f->buffer + done, f->used - done);

		if (n > 0)
			done += (uint32_t)n;
		else if (n < 0 && errno != EINTR)
			f->error = errno;
	}
	f->used = 0;
	if (f->error) {
		f->lost += f->records - f->flushed;
		f->records = f->flushed;
	}
	f->flushed = f->records;
}

static void put(struct capture_file *f, const void *bytes, uint32_t size)
{
	const uint8_t *from = bytes;

	while (size) {
		uint32_t n = size < BUFFER - f->used ? size : BUFFER - f->used;

		memcpy(f->buffer + f->used, from, n);
		f->used += n;
		from += n;
		size -= n;
		if (f->used == BUFFER)
			capture_file_flush(f);
	}
}

static void put16(struct capture_file *f, uint16_t value)
{
	uint8_t b[2];

	vmbus_put16(b, value);
	put(f, b, sizeof(b));
}

static void put32(struct capture_file *f, uint32_t value)
{
	uint8_t b[4];

	vmbus_put32(b, value);
	put(f, b, sizeof(b));
}

static uint32_t pad4(uint32_t size)
{
	return (size + 3) & ~3u;
}

static void put_padded(struct capture_file *f, const void *bytes, uint32_t size)
{
	static const uint8_t zero[4];

	put(f, bytes, size);
	put(f, zero, pad4(size) - size);
}

static void put_option(struct capture_file *f, uint16_t code, const void *bytes, uint16_t size)
{
	put16(f, code);
	put16(f, size);
	put_padded(f, bytes, size);
}

static void put_option64(struct capture_file *f, uint16_t code, uint64_t value)
{
	uint8_t b[8];

	vmbus_put64(b, value);
	put_option(f, code, b, sizeof(b));
}

/* The format wants times in two halves, the upper one first. */
static void put_time(struct capture_file *f, uint64_t time)
{
	put32(f, (uint32_t)(time >> 32));
	put32(f, (uint32_t)time);
}

/* ---- blocks ---- */

static void put_section(struct capture_file *f)
{
	static const char application[8] = "OpenKMCL";
	uint32_t size = 28 + 4 + sizeof(application) + 4;

	put32(f, BLOCK_SECTION);
	put32(f, size);
	put32(f, BYTE_ORDER_MAGIC);
	put16(f, 1);
	put16(f, 0);
	put32(f, 0xffffffffu); /* the section's length is not said */
	put32(f, 0xffffffffu);
	put_option(f, SECTION_APPLICATION, application, sizeof(application));
	put32(f, OPTION_END);
	put32(f, size);
}

static void put_interface(struct capture_file *f, uint32_t snap_length)
{
	static const char name[5] = "vmbus";
	static const uint8_t nanoseconds = 9;
	uint32_t size = 20 + 4 + pad4(sizeof(name)) + 4 + 4 + 4;

	put32(f, BLOCK_INTERFACE);
	put32(f, size);
	put16(f, LINKTYPE_USER0);
	put16(f, 0);
	put32(f, snap_length);
	put_option(f, INTERFACE_NAME, name, sizeof(name));
	put_option(f, INTERFACE_RESOLUTION, &nanoseconds, 1);
	put32(f, OPTION_END);
	put32(f, size);
}

/* Whether the end that recorded had sent it. */
static bool outbound(const struct capture_record *r)
{
	bool to_client = r->data[6], client = r->data[7];

	return to_client != client;
}

bool capture_file_record(struct capture_file *f, const struct capture_record *r, uint64_t dropped)
{
	uint32_t size = 32 + pad4(r->kept) + 8 + (dropped ? 12 : 0) + 4;
	uint8_t flags[4] = {outbound(r) ? PACKET_OUTBOUND : PACKET_INBOUND};

	if (f->error) {
		f->lost++;
		return false;
	}
	/* before its bytes: they may fill the buffer, and the flush must know of it */
	f->records++;
	put32(f, BLOCK_PACKET);
	put32(f, size);
	put32(f, 0);
	put_time(f, r->time + f->wall_offset);
	put32(f, r->kept);
	put32(f, r->original);
	put_padded(f, r->data, r->kept);
	put_option(f, PACKET_FLAGS, flags, sizeof(flags));
	if (dropped)
		put_option64(f, PACKET_DROPPED, dropped);
	put32(f, OPTION_END);
	put32(f, size);
	return true;
}

void capture_file_statistics(struct capture_file *f, uint64_t start, uint64_t dropped)
{
	uint64_t now = clock_now_ns() + f->wall_offset;
	uint32_t size = 24 + 4 * 12 + 4;
	uint8_t halves[8];

	put32(f, BLOCK_STATISTICS);
	put32(f, size);
	put32(f, 0);
	put_time(f, now);
	start += f->wall_offset;
	vmbus_put32(halves, (uint32_t)(start >> 32));
	vmbus_put32(halves + 4, (uint32_t)start);
	put_option(f, STATISTICS_START, halves, sizeof(halves));
	vmbus_put32(halves, (uint32_t)(now >> 32));
	vmbus_put32(halves + 4, (uint32_t)now);
	put_option(f, STATISTICS_END, halves, sizeof(halves));
	put_option64(f, STATISTICS_RECEIVED, f->records + dropped);
	put_option64(f, STATISTICS_DROPPED, dropped);
	put32(f, OPTION_END);
	put32(f, size);
}

/* ---- life ---- */

static uint64_t wall_offset(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec - clock_now_ns();
}

int capture_file_open(struct capture_file *f, const char *path, uint32_t snap_length)
{
	int error;

	f->buffer = malloc(BUFFER);
	if (!f->buffer)
		return -ENOMEM;
	f->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (f->fd < 0) {
		error = -errno;
		free(f->buffer);
		return error;
	}
	f->wall_offset = wall_offset();
	put_section(f);
	put_interface(f, snap_length);
	capture_file_flush(f);
	return f->error ? capture_file_close(f) : 0;
}

int capture_file_close(struct capture_file *f)
{
	capture_file_flush(f);
	if (close(f->fd) && !f->error)
		f->error = errno;
	free(f->buffer);
	return -f->error;
}
