/* SPDX-License-Identifier: MIT */
/*
 * ACPI tables: RSDP, XSDT, FADT (hardware-reduced), MADT and a DSDT with the bus, the serial port
 * and S5. Without them a guest finds neither the bus nor the way to power off.
 *
 * The DSDT is AML, written here by one function for each kind of term.
 */
#include <string.h>

#include "internal.h"

#define FADT_SIZE  276u
/* FADT flags: WBINVD, C1, no power and sleep buttons but by methods, reset register, reduced. */
#define FADT_FLAGS (1u << 0 | 1u << 2 | 1u << 4 | 1u << 5 | 1u << 10 | 1u << 20)
/* No VGA, no MSI, no CMOS clock; bits 0 and 1 clear: no legacy devices, no 8042. */
#define BOOT_ARCH  (1u << 2 | 1u << 3 | 1u << 5)
#define TABLE_MAX  1024u

struct buffer {
	uint8_t data[TABLE_MAX];
	uint32_t size;
};

static void put(struct buffer *b, const void *bytes, size_t size)
{
	memcpy(b->data + b->size, bytes, size);
	b->size += (uint32_t)size;
}

static void put8(struct buffer *b, uint8_t value)
{
	put(b, &value, 1);
}

static void put16(struct buffer *b, uint16_t value)
{
	put(b, &value, 2);
}

static void put32(struct buffer *b, uint32_t value)
{
	put(b, &value, 4);
}

static void set32(struct buffer *b, uint32_t at, uint32_t value)
{
	memcpy(b->data + at, &value, 4);
}

static void set64(struct buffer *b, uint32_t at, uint64_t value)
{
	memcpy(b->data + at, &value, 8);
}

static uint8_t checksum(const uint8_t *bytes, size_t size)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + bytes[i]);
	return (uint8_t)-sum;
}

/* ---- tables ---- */

static void header(struct buffer *b, const char *signature, uint8_t revision)
{
	memset(b, 0, sizeof(*b));
	put(b, signature, 4);
	put32(b, 0); /* length, at the end */
	put8(b, revision);
	put8(b, 0); /* checksum */
	put(b, "KMCL  KMCLVMM ", 14);
	put32(b, 1);
	put(b, "KMCL", 4);
	put32(b, 1);
}

static void finish(struct buffer *b)
{
	set32(b, 4, b->size);
	b->data[9] = checksum(b->data, b->size);
}

/* ---- AML ---- */

/* Begins what carries its length, in the form of two bytes. */
static uint32_t begin(struct buffer *b)
{
	put16(b, 0);
	return b->size - 2;
}

static void end(struct buffer *b, uint32_t at)
{
	uint32_t length = b->size - at;

	b->data[at] = (uint8_t)(0x40 | (length & 15));
	b->data[at + 1] = (uint8_t)(length >> 4);
}

static uint32_t device(struct buffer *b, const char *name)
{
	uint32_t at;

	put(b, "\x5b\x82", 2);
	at = begin(b);
	put(b, name, 4);
	return at;
}

static void name_integer(struct buffer *b, const char *name, uint8_t value)
{
	put8(b, 0x08);
	put(b, name, 4);
	put8(b, 0x0a);
	put8(b, value);
}

static void name_string(struct buffer *b, const char *name, const char *value)
{
	put8(b, 0x08);
	put(b, name, 4);
	put8(b, 0x0d);
	put(b, value, strlen(value) + 1);
}

static void name_eisa_id(struct buffer *b, const char *name, uint32_t id)
{
	put8(b, 0x08);
	put(b, name, 4);
	put8(b, 0x0c);
	put32(b, id);
}

static void name_resources(struct buffer *b, const struct buffer *resources)
{
	uint32_t at;

	put(b, "\x08_CRS\x11", 6);
	at = begin(b);
	put8(b, 0x0a);
	put8(b, (uint8_t)(resources->size + 2));
	put(b, resources->data, resources->size);
	put(b, "\x79\x00", 2); /* the end tag; checksum 0: not given */
	end(b, at);
}

/* A range that devices below may have: producer, both ends fixed. */
static void memory_window(struct buffer *b, uint32_t first, uint32_t last)
{
	put8(b, 0x87);
	put16(b, 23);
	put8(b, 0); /* memory */
	put8(b, 0x0c);
	put8(b, 1); /* read and write */
	put32(b, 0);
	put32(b, first);
	put32(b, last);
	put32(b, 0);
	put32(b, last - first + 1);
}

static void io_ports(struct buffer *b, uint16_t first, uint8_t count)
{
	put8(b, 0x47);
	put8(b, 1);
	put16(b, first);
	put16(b, first);
	put8(b, 1);
	put8(b, count);
}

/* Consumer, edge, active high. */
static void interrupt(struct buffer *b, uint32_t gsi)
{
	put8(b, 0x89);
	put16(b, 6);
	put8(b, 3);
	put8(b, 1);
	put32(b, gsi);
}

static void bus_devices(struct buffer *b)
{
	struct buffer resources = {.size = 0};
	uint32_t module = device(b, "VMOD"), bus;

	name_string(b, "_HID", "ACPI0004");
	name_integer(b, "_UID", 0);
	memory_window(&resources, MMIO_WINDOW, MMIO_WINDOW_END);
	name_resources(b, &resources);

	bus = device(b, "VMBS");
	name_string(b, "_HID", "VMBus");
	name_integer(b, "_UID", 0);
	name_integer(b, "_STA", 15);
	resources.size = 0;
	name_resources(b, &resources);
	end(b, bus);
	end(b, module);
}

static void serial_device(struct buffer *b)
{
	struct buffer resources = {.size = 0};
	uint32_t at = device(b, "COM1");

	name_eisa_id(b, "_HID", 0x0105d041); /* PNP0501 */
	name_integer(b, "_UID", 1);
	io_ports(&resources, SERIAL_PORT, SERIAL_PORTS);
	interrupt(&resources, SERIAL_IRQ);
	name_resources(b, &resources);
	end(b, at);
}

static void dsdt(struct buffer *b)
{
	uint32_t at;

	header(b, "DSDT", 2);
	put8(b, 0x10); /* Scope */
	at = begin(b);
	put(b, "\\_SB_", 5);
	bus_devices(b);
	serial_device(b);
	end(b, at);

	put(b, "\x08\\_S5_\x12", 7); /* Package {5, 5, 0, 0} */
	at = begin(b);
	put(b, "\x04\x0a\x05\x0a\x05\x00\x00", 7);
	end(b, at);
	finish(b);
}

static void set_port(struct buffer *b, uint32_t at, uint16_t port)
{
	const uint8_t address[4] = {1, 8, 0, 1}; /* I/O, 8 bits from bit 0, bytes */

	memcpy(b->data + at, address, sizeof(address));
	set64(b, at + 4, port);
}

static void fadt(struct buffer *b, uint64_t dsdt_at)
{
	header(b, "FACP", 6);
	b->size = FADT_SIZE;
	set32(b, 40, (uint32_t)dsdt_at);
	b->data[109] = BOOT_ARCH;
	set32(b, 112, FADT_FLAGS);
	set_port(b, 116, RESET_PORT);
	b->data[128] = RESET_VALUE;
	set64(b, 140, dsdt_at);
	set_port(b, 244, SLEEP_CONTROL_PORT);
	set_port(b, 256, SLEEP_STATUS_PORT);
	finish(b);
}

static void madt(struct buffer *b, uint32_t processors)
{
	header(b, "APIC", 5);
	put32(b, LAPIC_ADDRESS);
	put32(b, 0);
	for (uint32_t i = 0; i < processors; i++) {
		const uint8_t entry[] = {0, 8, (uint8_t)i, (uint8_t)i, 1, 0, 0, 0};

		put(b, entry, sizeof(entry));
	}
	put(b, "\x01\x0c\x00\x00", 4); /* IOAPIC 0 */
	put32(b, IOAPIC_ADDRESS);
	put32(b, 0);
	put(b, "\x04\x06\xff\x00\x00\x01", 6); /* LINT1 of all: NMI */
	finish(b);
}

static void rsdp(uint8_t *to, uint64_t xsdt_at)
{
	memset(to, 0, 36);
	memcpy(to, "RSD PTR ", 8);
	memcpy(to + 9, "KMCL  ", 6);
	to[15] = 2;
	to[20] = 36;
	memcpy(to + 24, &xsdt_at, 8);
	to[8] = checksum(to, 20);
	to[32] = checksum(to, 36);
}

static uint64_t place(uint8_t *to, uint64_t at, size_t *used, const struct buffer *b)
{
	uint64_t where = at + *used;

	memcpy(to + *used, b->data, b->size);
	*used += (b->size + 15u) & ~15u;
	return where;
}

size_t acpi_write(uint8_t *to, uint64_t at, uint32_t processors)
{
	size_t used = 48; /* the RSDP */
	uint64_t table[2];
	struct buffer b;

	dsdt(&b);
	fadt(&b, place(to, at, &used, &b));
	table[0] = place(to, at, &used, &b);
	madt(&b, processors);
	table[1] = place(to, at, &used, &b);
	header(&b, "XSDT", 1);
	put(&b, table, sizeof(table));
	finish(&b);
	rsdp(to, place(to, at, &used, &b));
	return used;
}
