/* SPDX-License-Identifier: MIT */
/*
 * Loads a kernel as a boot loader would: the 64-bit protocol for a bzImage, the same entry state
 * for an uncompressed ELF kernel, which has nothing to decompress.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

/* Offsets in a bzImage and in boot_params, which begins as a copy of its header. */
#define ACPI_RSDP_AT       0x070u
#define E820_COUNT_AT      0x1e8u
#define SETUP_SECTS_AT     0x1f1u
#define BOOT_FLAG_AT       0x1feu
#define JUMP_LENGTH_AT     0x201u
#define MAGIC_AT           0x202u
#define VERSION_AT         0x206u
#define LOADER_AT          0x210u
#define CODE32_AT          0x214u
#define RAMDISK_AT         0x218u
#define RAMDISK_SIZE_AT    0x21cu
#define COMMAND_LINE_AT    0x228u
#define INITRD_MAX_AT      0x22cu
#define XLOADFLAGS_AT      0x236u
#define COMMAND_SIZE_AT    0x238u
#define PREF_ADDRESS_AT    0x258u
#define INIT_SIZE_AT       0x260u
#define HEADER_END         0x264u
#define E820_AT            0x2d0u
#define BOOT_PARAMS_SIZE   4096u
#define OLDEST_PROTOCOL    0x20cu
#define SECTOR             512u
#define ENTRY_64           0x200u
#define UNKNOWN_LOADER     0xffu
#define DEFAULT_INITRD_MAX 0x7fffffffu

#define E820_RAM      1u
#define E820_RESERVED 2u

struct loaded {
	uint64_t entry;
	uint64_t start, end; /* what the kernel keeps for itself */
	uint64_t initrd_max; /* last address */
	uint32_t command_max;
};

static bool fail(struct vmm_error *error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static bool fail(struct vmm_error *error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return false;
}

/* ---- files ---- */

bool image_open(struct image *image, const char *path, struct vmm_error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	void *data = MAP_FAILED;

	if (fd < 0 || fstat(fd, &status))
		fail(error, "%s: %s", path, strerror(errno));
	else if (!S_ISREG(status.st_mode) || !status.st_size)
		fail(error, "%s: not a file, or empty", path);
	else if ((data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) ==
		 MAP_FAILED)
		fail(error, "%s: %s", path, strerror(errno));
	else
		*image = (struct image){.data = data, .size = (size_t)status.st_size};
	if (fd >= 0)
		close(fd);
	return data != MAP_FAILED;
}

void image_close(struct image *image)
{
	if (image->data)
		munmap((void *)(uintptr_t)image->data, image->size);
}

static uint16_t get16(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static uint32_t get32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static uint64_t get64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static void set32(uint8_t *at, uint32_t value)
{
	memcpy(at, &value, sizeof(value));
}

static void set64(uint8_t *at, uint64_t value)
{
	memcpy(at, &value, sizeof(value));
}

/* ---- bzImage ---- */

static bool is_bzimage(const struct image *k)
{
	return k->size >= HEADER_END && !memcmp(k->data + MAGIC_AT, "HdrS", 4);
}

static bool too_small(const struct memory *m, uint64_t needed, struct vmm_error *error)
{
	return fail(error,
		    "%llu MiB of memory are too little: the kernel and its initramfs need %llu MiB",
		    (unsigned long long)m->size >> 20, (unsigned long long)(needed >> 20) + 1);
}

static bool load_bzimage(const struct memory *m, const struct image *k, uint8_t *params,
			 struct loaded *l, struct vmm_error *error)
{
	uint32_t setup = ((k->data[SETUP_SECTS_AT] ? k->data[SETUP_SECTS_AT] : 4u) + 1) * SECTOR;
	uint32_t header_end = MAGIC_AT + k->data[JUMP_LENGTH_AT];
	uint8_t *to;

	if (get16(k->data + VERSION_AT) < OLDEST_PROTOCOL || !(k->data[XLOADFLAGS_AT] & 1))
		return fail(error, "the kernel's boot protocol (%x.%02x) has no 64-bit entry",
			    k->data[VERSION_AT + 1], k->data[VERSION_AT]);
	if (k->size < setup + (uint64_t)get32(k->data + 0x1f4) * 16 ||
	    header_end > BOOT_PARAMS_SIZE)
		return fail(error, "the kernel is truncated: %zu bytes", k->size);
	l->start = get64(k->data + PREF_ADDRESS_AT);
	l->end = l->start + get32(k->data + INIT_SIZE_AT);
	if (l->end < l->start + (k->size - setup))
		l->end = l->start + (k->size - setup);
	to = l->start < HIGH_RAM_AT ? NULL : memory_low(m, l->start, l->end - l->start);
	if (!to)
		return too_small(m, l->end, error);
	memcpy(to, k->data + setup, k->size - setup);
	memcpy(params + SETUP_SECTS_AT, k->data + SETUP_SECTS_AT, header_end - SETUP_SECTS_AT);
	set32(params + CODE32_AT, (uint32_t)l->start);
	l->entry = l->start + ENTRY_64;
	l->initrd_max = get32(k->data + INITRD_MAX_AT);
	l->command_max = get32(k->data + COMMAND_SIZE_AT);
	return true;
}

/* ---- ELF ---- */

static bool is_elf(const struct image *k)
{
	const Elf64_Ehdr *header = (const void *)k->data;

	return k->size >= sizeof(*header) && !memcmp(header->e_ident, ELFMAG, SELFMAG) &&
	       header->e_ident[EI_CLASS] == ELFCLASS64 && header->e_machine == EM_X86_64 &&
	       header->e_phentsize == sizeof(Elf64_Phdr);
}

static bool load_segment(const struct memory *m, const struct image *k, const Elf64_Phdr *segment,
			 struct loaded *l, struct vmm_error *error)
{
	uint8_t *to;

	if (segment->p_filesz > segment->p_memsz || segment->p_filesz > k->size ||
	    segment->p_offset > k->size - segment->p_filesz)
		return fail(error, "the kernel is truncated: %zu bytes", k->size);
	if (segment->p_paddr < HIGH_RAM_AT)
		return fail(error, "the kernel wants to lie below 1 MiB");
	to = memory_low(m, segment->p_paddr, segment->p_memsz);
	if (!to)
		return too_small(m, segment->p_paddr + segment->p_memsz, error);
	/* The rest of it is 0 already: memory was cleared. */
	memcpy(to, k->data + segment->p_offset, segment->p_filesz);
	if (segment->p_paddr < l->start)
		l->start = segment->p_paddr;
	if (segment->p_paddr + segment->p_memsz > l->end)
		l->end = segment->p_paddr + segment->p_memsz;
	return true;
}

static bool load_elf(const struct memory *m, const struct image *k, uint8_t *params,
		     struct loaded *l, struct vmm_error *error)
{
	const Elf64_Ehdr *header = (const void *)k->data;
	uint64_t size = (uint64_t)header->e_phnum * sizeof(Elf64_Phdr);

	if (header->e_phoff % 8 || header->e_phoff > k->size || size > k->size - header->e_phoff)
		return fail(error, "the kernel is truncated: %zu bytes", k->size);
	l->start = UINT64_MAX;
	for (uint32_t i = 0; i < header->e_phnum; i++) {
		const Elf64_Phdr *segment =
			(const Elf64_Phdr *)(const void *)(k->data + header->e_phoff) + i;

		if (segment->p_type == PT_LOAD && !load_segment(m, k, segment, l, error))
			return false;
	}
	l->entry = header->e_entry;
	if (l->entry < l->start || l->entry >= l->end)
		return fail(error, "the kernel's entry is not in the kernel");
	l->initrd_max = DEFAULT_INITRD_MAX;
	l->command_max = COMMAND_MAX - 1;
	memcpy(params + BOOT_FLAG_AT, "\x55\xaa", 2);
	memcpy(params + MAGIC_AT, "HdrS", 4);
	params[VERSION_AT] = OLDEST_PROTOCOL & 0xff;
	params[VERSION_AT + 1] = OLDEST_PROTOCOL >> 8;
	return true;
}

static bool load_kernel(const struct memory *m, const struct image *k, uint8_t *params,
			struct loaded *l, struct vmm_error *error)
{
	memset(l, 0, sizeof(*l));
	if (is_elf(k))
		return load_elf(m, k, params, l, error);
	if (is_bzimage(k))
		return load_bzimage(m, k, params, l, error);
	return fail(error, "the kernel is neither a bzImage nor an x86-64 ELF file");
}

/* ---- beside the kernel ---- */

/* As high as it may lie, so that the kernel below it can grow. */
static bool load_initrd(const struct memory *m, const struct image *initrd, const struct loaded *l,
			uint8_t *params, struct vmm_error *error)
{
	uint64_t below = (l->initrd_max + 1) & ~(PAGE - 1);
	uint64_t limit = below < m->low ? below : m->low;
	uint64_t needed = l->end + ((initrd->size + PAGE - 1) & ~(PAGE - 1));
	uint64_t at;

	if (!initrd->size)
		return true;
	if (needed > limit && needed <= below)
		return too_small(m, needed, error);
	if (needed > limit)
		return fail(error, "the initramfs does not fit below %#llx",
			    (unsigned long long)below);
	at = (limit - initrd->size) & ~(PAGE - 1);
	memcpy(m->base + at, initrd->data, initrd->size);
	set32(params + RAMDISK_AT, (uint32_t)at);
	set32(params + RAMDISK_SIZE_AT, (uint32_t)initrd->size);
	return true;
}

static bool set_command_line(const struct memory *m, const char *append, const struct loaded *l,
			     uint8_t *params, struct vmm_error *error)
{
	size_t size = strlen(append) + 1;

	if (size > COMMAND_MAX || size - 1 > l->command_max)
		return fail(error, "the command line is too long: %zu characters", size - 1);
	memcpy(m->base + COMMAND_AT, append, size);
	set32(params + COMMAND_LINE_AT, COMMAND_AT);
	return true;
}

static void add_e820(uint8_t *params, uint64_t start, uint64_t end, uint32_t type)
{
	uint8_t *entry = params + E820_AT + 20u * params[E820_COUNT_AT]++;

	set64(entry, start);
	set64(entry + 8, end - start);
	set32(entry + 16, type);
}

static void set_memory_map(const struct memory *m, uint8_t *params)
{
	add_e820(params, 0, LOW_RAM_END, E820_RAM);
	add_e820(params, LOW_RAM_END, 0xa0000, E820_RESERVED);
	add_e820(params, ACPI_AT, HIGH_RAM_AT, E820_RESERVED);
	add_e820(params, HIGH_RAM_AT, m->low, E820_RAM);
	if (m->size > m->low)
		add_e820(params, HIGH_MEMORY, HIGH_MEMORY + m->size - m->low, E820_RAM);
}

/* Flat 64-bit code at selector 0x10, flat data at 0x18; 4 GiB mapped where they are. */
static void set_tables(const struct memory *m)
{
	const uint64_t gdt[4] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};
	uint64_t *pml4 = (void *)(m->base + PAGE_TABLES_AT);
	uint64_t *pdpt = pml4 + 512, *pd = pdpt + 512;

	memcpy(m->base + GDT_AT, gdt, sizeof(gdt));
	pml4[0] = (PAGE_TABLES_AT + PAGE) | 3;
	for (uint64_t i = 0; i < 4; i++)
		pdpt[i] = (PAGE_TABLES_AT + (2 + i) * PAGE) | 3;
	for (uint64_t i = 0; i < 4 * 512; i++)
		pd[i] = i << 21 | 0x83;
}

/* A guest of hardware-reduced ACPI without EFI ends a reboot by a jump to the reset vector. */
static void set_reset_stub(const struct memory *m)
{
	static const uint8_t stub[] = {
		0xba,
		RESET_PORT & 0xff,
		RESET_PORT >> 8, /* mov dx, port */
		0xb0,
		RESET_VALUE, /* mov al, value */
		0xee,        /* out dx, al */
		0xf4,        /* hlt */
		0xeb,
		0xfd, /* jmp to the hlt */
	};

	memcpy(m->base + RESET_STUB_AT, stub, sizeof(stub));
}

bool boot_load(const struct memory *m, const struct boot_files *files, uint64_t acpi,
	       uint64_t *entry, struct vmm_error *error)
{
	uint8_t *params = m->base + BOOT_PARAMS_AT;
	struct loaded l;

	if (!load_kernel(m, &files->kernel, params, &l, error) ||
	    !load_initrd(m, &files->initrd, &l, params, error) ||
	    !set_command_line(m, files->append, &l, params, error))
		return false;
	params[LOADER_AT] = UNKNOWN_LOADER;
	set64(params + ACPI_RSDP_AT, acpi);
	set_memory_map(m, params);
	set_tables(m);
	set_reset_stub(m);
	*entry = l.entry;
	return true;
}
