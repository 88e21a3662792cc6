/* SPDX-License-Identifier: MIT */
/*
 * Reading a capture: pcapng blocks in either byte order, by anybody who writes them; our records in
 * them. Every length is checked against what is there before it is used.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/internal.h"
#include "vmbus/wire.h"

#define MOST_BLOCK      (16u << 20)
#define MOST_INTERFACES 256u
#define LINKTYPE_USER0  147u
#define HEADER          32u /* what we know of a record's pseudo-header */

enum {
	BLOCK_INTERFACE = 1,
	BLOCK_STATISTICS = 5,
	BLOCK_PACKET = 6,
};
#define BLOCK_SECTION    0x0a0d0d0au
#define BYTE_ORDER_MAGIC 0x1a2b3c4du

enum {
	OPTION_END = 0,
	INTERFACE_RESOLUTION = 9,
	INTERFACE_OFFSET = 14,
	STATISTICS_DROPPED = 5,
	PACKET_DROPPED = 4,
};

struct interface {
	uint16_t link_type;
	uint8_t resolution; /* times count 10^-n s, with the top bit 2^-n s */
	uint64_t offset;    /* seconds */
	uint64_t dropped;   /* as its statistics say */
	uint64_t lost;      /* as its records say */
};

struct kmcl_trace {
	FILE *file;
	char *name;
	uint64_t offset; /* of the block in `block` */
	uint64_t next;   /* of the one behind it */
	bool big_endian;
	uint64_t dropped; /* of earlier sections */
	struct interface interfaces[MOST_INTERFACES];
	uint32_t interface_count;
	uint8_t *block;
	size_t room;
	uint32_t size;
};

/* ---- complaints ---- */

#define complain(t, error, code, ...) complain_at(t, error, code, sentence(__VA_ARGS__))

static int complain_at(const kmcl_trace *t, char **error, int code, char *what)
{
	if (error && what)
		*error = sentence("%s: at byte %llu: %s", t->name, (unsigned long long)t->offset,
				  what);
	free(what);
	return code;
}

/* ---- bytes ---- */

static uint16_t get16(const kmcl_trace *t, const uint8_t *p)
{
	return t->big_endian ? __builtin_bswap16(vmbus_get16(p)) : vmbus_get16(p);
}

static uint32_t get32(const kmcl_trace *t, const uint8_t *p)
{
	return t->big_endian ? __builtin_bswap32(vmbus_get32(p)) : vmbus_get32(p);
}

static uint64_t get64(const kmcl_trace *t, const uint8_t *p)
{
	return t->big_endian ? __builtin_bswap64(vmbus_get64(p)) : vmbus_get64(p);
}

static bool make_room(kmcl_trace *t, size_t size)
{
	uint8_t *block;

	if (size <= t->room)
		return true;
	block = realloc(t->block, size);
	if (!block)
		return false;
	t->block = block;
	t->room = size;
	return true;
}

/* ---- blocks ---- */

static int truncated(const kmcl_trace *t, char **error)
{
	if (ferror(t->file))
		return complain(t, error, -EIO, "cannot read on");
	return complain(t, error, -ENODATA, "the file ends in the middle of a block");
}

/* A section begins with its byte order, which the block's own length is in. */
static int read_order(kmcl_trace *t, char **error)
{
	if (fread(t->block + 8, 1, 4, t->file) != 4)
		return truncated(t, error);
	t->big_endian = false;
	if (get32(t, t->block + 8) == BYTE_ORDER_MAGIC)
		return 0;
	t->big_endian = true;
	if (get32(t, t->block + 8) == BYTE_ORDER_MAGIC)
		return 0;
	return complain(t, error, -EPROTO, "this is no pcapng file");
}

/* 1: a block is in t->block; 0: the file is over. */
static int read_block(kmcl_trace *t, char **error)
{
	size_t got, have = 8;
	int code;

	t->offset = t->next;
	if (!make_room(t, 12))
		return -ENOMEM;
	got = fread(t->block, 1, 8, t->file);
	if (!got && feof(t->file))
		return 0;
	if (got != 8)
		return truncated(t, error);
	if (vmbus_get32(t->block) == BLOCK_SECTION) {
		code = read_order(t, error);
		if (code)
			return code;
		have = 12;
	}
	t->size = get32(t, t->block + 4);
	if (t->size < 12 || t->size % 4 || t->size < have + 4)
		return complain(t, error, -EPROTO, "a block cannot have %u bytes", t->size);
	if (t->size > MOST_BLOCK)
		return complain(t, error, -EPROTO, "a block of %u bytes, more than %u", t->size,
				MOST_BLOCK);
	if (!make_room(t, t->size))
		return -ENOMEM;
	if (fread(t->block + have, 1, t->size - have, t->file) != t->size - have)
		return truncated(t, error);
	if (get32(t, t->block + t->size - 4) != t->size)
		return complain(t, error, -EPROTO, "the block has two lengths, %u and %u", t->size,
				get32(t, t->block + t->size - 4));
	t->next = t->offset + t->size;
	return 1;
}

/* The value of an option with at least `least` bytes, or NULL. `at`: where options begin. */
static const uint8_t *option(const kmcl_trace *t, uint32_t at, uint16_t wanted, uint16_t least)
{
	uint32_t end = t->size - 4;

	while (at + 4 <= end) {
		uint16_t code = get16(t, t->block + at);
		uint16_t size = get16(t, t->block + at + 2);

		at += 4;
		if (code == OPTION_END || size > end - at)
			return NULL;
		if (code == wanted)
			return size >= least ? t->block + at : NULL;
		at += (size + 3u) & ~3u;
	}
	return NULL;
}

/* ---- what blocks say ---- */

static uint64_t drops_of(const struct interface *i)
{
	return i->dropped > i->lost ? i->dropped : i->lost;
}

static uint64_t drops_of_section(const kmcl_trace *t)
{
	uint64_t dropped = 0;

	for (uint32_t i = 0; i < t->interface_count; i++)
		dropped += drops_of(&t->interfaces[i]);
	return dropped;
}

static int on_section(kmcl_trace *t, char **error)
{
	if (t->size < 28)
		return complain(t, error, -EPROTO, "a section's head of %u bytes", t->size);
	if (get16(t, t->block + 12) != 1)
		return complain(t, error, -EPROTO, "version %u of pcapng, not 1",
				get16(t, t->block + 12));
	t->dropped += drops_of_section(t);
	t->interface_count = 0;
	return 0;
}

static int on_interface(kmcl_trace *t, char **error)
{
	struct interface *i = &t->interfaces[t->interface_count];
	const uint8_t *resolution, *offset;

	if (t->size < 20)
		return complain(t, error, -EPROTO, "an interface of %u bytes", t->size);
	if (t->interface_count == MOST_INTERFACES)
		return complain(t, error, -EPROTO, "more than %u interfaces", MOST_INTERFACES);
	resolution = option(t, 16, INTERFACE_RESOLUTION, 1);
	offset = option(t, 16, INTERFACE_OFFSET, 8);
	*i = (struct interface){
		.link_type = get16(t, t->block + 8),
		.resolution = resolution ? *resolution : 6,
		.offset = offset ? get64(t, offset) : 0,
	};
	t->interface_count++;
	return 0;
}

static void on_statistics(kmcl_trace *t)
{
	const uint8_t *dropped = option(t, 20, STATISTICS_DROPPED, 8);
	uint32_t i = t->size >= 24 ? get32(t, t->block + 8) : UINT32_MAX;

	if (dropped && i < t->interface_count && get64(t, dropped) > t->interfaces[i].dropped)
		t->interfaces[i].dropped = get64(t, dropped);
}

static uint64_t nanoseconds(const struct interface *i, uint64_t time)
{
	uint32_t n = i->resolution & 0x7f;
	unsigned __int128 ns = (unsigned __int128)time * 1000000000u;

	if (i->resolution & 0x80)
		ns = n < 64 ? ns >> n : 0;
	else
		for (; n && ns; n--)
			ns /= 10;
	return (uint64_t)ns + i->offset * 1000000000u;
}

/* Our pseudo-header is little-endian in any file. */
static int take_header(const kmcl_trace *t, struct kmcl_trace_record *r, const uint8_t *data,
		       uint32_t kept, uint32_t original, char **error)
{
	uint32_t header = kept >= HEADER ? data[4] : 0;

	if (kept < 4 || memcmp(data, "VMB1", 4) != 0)
		return complain(t, error, -EPROTO, "the record is of no capture of VMBus");
	if (header < HEADER || header > kept)
		return complain(t, error, -EPROTO, "a record's head of %u bytes, of %u", header,
				kept);
	r->kind = data[5];
	r->to_client = data[6] & 1;
	r->by_client = data[7] & 1;
	r->flags = vmbus_get16(data + 8);
	r->sint = data[10];
	r->channel = vmbus_get32(data + 12);
	r->connection_id = vmbus_get32(data + 16);
	r->vp = vmbus_get32(data + 20);
	r->event_flag = vmbus_get16(data + 24);
	r->data = data + header;
	r->size = kept - header;
	r->original = original > kept ? original - header : r->size;
	return 0;
}

static int on_packet(kmcl_trace *t, struct kmcl_trace_record *r, char **error)
{
	uint32_t number, kept, original;
	const uint8_t *lost;
	struct interface *i;

	if (t->size < 32)
		return complain(t, error, -EPROTO, "a record of %u bytes", t->size);
	number = get32(t, t->block + 8);
	kept = get32(t, t->block + 20);
	original = get32(t, t->block + 24);
	if (number >= t->interface_count)
		return complain(t, error, -EPROTO, "a record of interface %u, which is not there",
				number);
	i = &t->interfaces[number];
	if (i->link_type != LINKTYPE_USER0)
		return complain(t, error, -EPROTO,
				"a record of link type %u, not %u: a capture of something else",
				i->link_type, LINKTYPE_USER0);
	if (kept > t->size - 32)
		return complain(t, error, -EPROTO, "a record that keeps %u bytes in a block of %u",
				kept, t->size);
	lost = option(t, 28 + ((kept + 3u) & ~3u), PACKET_DROPPED, 8);
	memset(r, 0, sizeof(*r));
	r->offset = t->offset;
	r->time = nanoseconds(i, (uint64_t)get32(t, t->block + 12) << 32 | get32(t, t->block + 16));
	r->lost = lost ? get64(t, lost) : 0;
	i->lost += r->lost;
	return take_header(t, r, t->block + 28, kept, original, error);
}

/* ---- what programs call ---- */

static bool kind_known(uint32_t kind)
{
	return kind >= KMCL_TRACE_MESSAGE && kind <= KMCL_TRACE_SIGNAL;
}

int kmcl_trace_next(kmcl_trace *t, struct kmcl_trace_record *record, char **error)
{
	int code;

	if (error)
		*error = NULL;
	for (;;) {
		code = read_block(t, error);
		if (code != 1)
			return code;
		switch (get32(t, t->block)) {
		case BLOCK_SECTION:
			code = on_section(t, error);
			break;
		case BLOCK_INTERFACE:
			code = on_interface(t, error);
			break;
		case BLOCK_STATISTICS:
			on_statistics(t);
			code = 0;
			break;
		case BLOCK_PACKET:
			code = on_packet(t, record, error);
			if (!code && kind_known(record->kind))
				return 1;
			break;
		default:
			code = 0;
		}
		if (code)
			return code;
	}
}

uint64_t kmcl_trace_dropped(const kmcl_trace *t)
{
	return t->dropped + drops_of_section(t);
}

void kmcl_trace_close(kmcl_trace *t)
{
	if (!t)
		return;
	if (t->file && t->file != stdin)
		fclose(t->file);
	free(t->block);
	free(t->name);
	free(t);
}

static int no_pcapng(const kmcl_trace *t, size_t got, char **error)
{
	uint32_t magic = got == 8 ? vmbus_get32(t->block) : 0;

	if (ferror(t->file))
		return complain(t, error, -EIO, "cannot read: %s", strerror(errno));
	if (!got)
		return complain(t, error, -EPROTO, "the file is empty");
	if (magic == 0xa1b2c3d4u || magic == 0xd4c3b2a1u || magic == 0xa1b23c4du ||
	    magic == 0x4d3cb2a1u)
		return complain(t, error, -EPROTO,
				"this is a pcap file, not pcapng; editcap -F pcapng converts it");
	return complain(t, error, -EPROTO, "this is no pcapng file");
}

/* The first block is a section's head, or the file is something else. */
static int read_first(kmcl_trace *t, char **error)
{
	size_t got;
	int code;

	if (!make_room(t, 12))
		return -ENOMEM;
	got = fread(t->block, 1, 8, t->file);
	if (got != 8 || vmbus_get32(t->block) != BLOCK_SECTION)
		return no_pcapng(t, got, error);
	code = read_order(t, error);
	if (code)
		return code;
	t->size = get32(t, t->block + 4);
	if (t->size < 28 || t->size % 4 || t->size > MOST_BLOCK)
		return complain(t, error, -EPROTO, "a section's head of %u bytes", t->size);
	if (!make_room(t, t->size))
		return -ENOMEM;
	if (fread(t->block + 12, 1, t->size - 12, t->file) != t->size - 12)
		return truncated(t, error);
	t->next = t->size;
	return on_section(t, error);
}

int host_trace_of(FILE *file, const char *name, kmcl_trace **trace, char **error)
{
	kmcl_trace *t = calloc(1, sizeof(*t));
	int code;

	*trace = NULL;
	if (!t) {
		if (file != stdin)
			fclose(file);
		return -ENOMEM;
	}
	t->file = file;
	t->name = strdup(name);
	code = t->name ? read_first(t, error) : -ENOMEM;
	if (code)
		kmcl_trace_close(t);
	else
		*trace = t;
	return code;
}

int kmcl_trace_open(const char *path, kmcl_trace **trace, char **error)
{
	bool standard = !strcmp(path, "-");
	FILE *file = standard ? stdin : fopen(path, "rbe");
	int code;

	*trace = NULL;
	if (error)
		*error = NULL;
	if (file)
		return host_trace_of(file, standard ? "standard input" : path, trace, error);
	code = -errno;
	if (error)
		*error = sentence("%s: %s", path, strerror(-code));
	return code;
}
