/* SPDX-License-Identifier: MIT */
/* Loading: kernels made here, byte by byte, and where everything ends up. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#define MIB          (1ull << 20)
#define SETUP_BYTES  (5u * 512)
#define KERNEL_BYTES 8192u
#define LOAD_AT      0x1000000ull

static void put32(uint8_t *at, uint32_t value)
{
	memcpy(at, &value, 4);
}

static void put64(uint8_t *at, uint64_t value)
{
	memcpy(at, &value, 8);
}

static uint32_t get32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, 4);
	return value;
}

static uint64_t get64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, 8);
	return value;
}

/* A bzImage of 5 sectors of set-up and 8 KiB of 0xcc. */
static struct image make_bzimage(uint32_t init_size)
{
	uint8_t *k = calloc(1, SETUP_BYTES + KERNEL_BYTES);

	k[0x1f1] = 4;
	put32(k + 0x1f4, KERNEL_BYTES / 16);
	k[0x1fe] = 0x55;
	k[0x1ff] = 0xaa;
	k[0x201] = 0x66;
	memcpy(k + 0x202, "HdrS", 4);
	k[0x206] = 0x0f;
	k[0x207] = 0x02;
	put32(k + 0x22c, 0x7fffffff);
	k[0x236] = 1;
	put32(k + 0x238, 2047);
	put64(k + 0x258, LOAD_AT);
	put32(k + 0x260, init_size);
	memset(k + SETUP_BYTES, 0xcc, KERNEL_BYTES);
	return (struct image){.data = k, .size = SETUP_BYTES + KERNEL_BYTES};
}

/* An ELF file with one segment of 4 KiB that wants 8 KiB. */
static struct image make_elf(uint64_t physical)
{
	uint8_t *k = calloc(1, 8192);
	Elf64_Ehdr *h = (void *)k;
	Elf64_Phdr *p = (void *)(k + sizeof(*h));

	memcpy(h->e_ident, ELFMAG, SELFMAG);
	h->e_ident[EI_CLASS] = ELFCLASS64;
	h->e_machine = EM_X86_64;
	h->e_entry = physical + 0x100;
	h->e_phoff = sizeof(*h);
	h->e_phentsize = sizeof(*p);
	h->e_phnum = 1;
	p->p_type = PT_LOAD;
	p->p_offset = 4096;
	p->p_vaddr = 0xffffffff81000000;
	p->p_paddr = physical;
	p->p_filesz = 4096;
	p->p_memsz = 8192;
	memset(k + 4096, 0xdd, 4096);
	return (struct image){.data = k, .size = 8192};
}

struct booted {
	struct memory memory;
	struct boot_files files;
	uint8_t initrd[5000];
	uint64_t entry;
	struct vmm_error error;
	bool good;
};

static void boot(struct booted *b, struct image kernel, uint64_t memory)
{
	memset(b, 0, sizeof(*b));
	memset(b->initrd, 0xee, sizeof(b->initrd));
	assert_int_equal(memory_make(&b->memory, memory), 0);
	b->files.kernel = kernel;
	b->files.initrd = (struct image){.data = b->initrd, .size = sizeof(b->initrd)};
	b->files.append = "console=ttyS0";
	b->good = boot_load(&b->memory, &b->files, ACPI_AT, &b->entry, &b->error);
}

static void leave(struct booted *b)
{
	free((void *)(uintptr_t)b->files.kernel.data);
	memory_free(&b->memory);
}

static void host_008_a_bzimage_is_entered_by_the_64_bit_protocol(void **state)
{
	const uint8_t *params;
	struct booted b;

	boot(&b, make_bzimage(4 * MIB), 128 * MIB);
	assert_true(b.good);
	params = b.memory.base + BOOT_PARAMS_AT;
	assert_int_equal(b.entry, LOAD_AT + 0x200);
	assert_int_equal(b.memory.base[LOAD_AT], 0xcc);
	assert_int_equal(b.memory.base[LOAD_AT + KERNEL_BYTES - 1], 0xcc);
	assert_int_equal(b.memory.base[LOAD_AT + KERNEL_BYTES], 0);
	assert_memory_equal(params + 0x1f1, b.files.kernel.data + 0x1f1, 0x210 - 0x1f1);
	assert_int_equal(params[0x210], 0xff);
	assert_int_equal(get32(params + 0x214), LOAD_AT);
	assert_int_equal(get64(params + 0x070), ACPI_AT);
	assert_string_equal((char *)b.memory.base + get32(params + 0x228), "console=ttyS0");
	leave(&b);
}

static void host_008_an_elf_kernel_is_entered_at_its_entry(void **state)
{
	struct booted b;

	boot(&b, make_elf(LOAD_AT), 128 * MIB);
	assert_true(b.good);
	assert_int_equal(b.entry, LOAD_AT + 0x100);
	assert_int_equal(b.memory.base[LOAD_AT + 4095], 0xdd);
	assert_int_equal(b.memory.base[LOAD_AT + 4096], 0);
	leave(&b);
}

static void refused(struct image kernel, uint64_t memory, const char *why)
{
	struct booted b;

	boot(&b, kernel, memory);
	assert_false(b.good);
	if (!strstr(b.error.text, why))
		fail_msg("'%s' where '%s' was expected", b.error.text, why);
	leave(&b);
}

static void host_008_anything_else_is_refused_by_name(void **state)
{
	struct image k = make_bzimage(4 * MIB);

	((uint8_t *)(uintptr_t)k.data)[0x202] = 'X';
	refused(k, 128 * MIB, "neither a bzImage nor");
	k = make_bzimage(4 * MIB);
	((uint8_t *)(uintptr_t)k.data)[0x206] = 0x0b;
	refused(k, 128 * MIB, "(2.0b) has no 64-bit entry");
	k = make_bzimage(4 * MIB);
	((uint8_t *)(uintptr_t)k.data)[0x236] = 0;
	refused(k, 128 * MIB, "no 64-bit entry");
	k = make_bzimage(4 * MIB);
	k.size -= 16;
	refused(k, 128 * MIB, "truncated");
	k = make_elf(LOAD_AT);
	k.size -= 1;
	refused(k, 128 * MIB, "truncated");
	k = make_elf(LOAD_AT);
	k.size = 70;
	refused(k, 128 * MIB, "truncated");
	refused(make_elf(0x1000), 128 * MIB, "below 1 MiB");
	k = make_elf(LOAD_AT);
	((Elf64_Phdr *)(void *)(uintptr_t)(k.data + sizeof(Elf64_Ehdr)))->p_filesz = UINT64_MAX;
	refused(k, 128 * MIB, "truncated");
	/* more in the file than memory has room for where it lies */
	k = make_elf(128 * MIB - 4096);
	((Elf64_Phdr *)(void *)(uintptr_t)(k.data + sizeof(Elf64_Ehdr)))->p_filesz = 4096;
	((Elf64_Phdr *)(void *)(uintptr_t)(k.data + sizeof(Elf64_Ehdr)))->p_memsz = 4095;
	refused(k, 128 * MIB, "truncated");
}

static void host_009_what_is_loaded_never_overlaps(void **state)
{
	const uint64_t memories[] = {64 * MIB, 128 * MIB, 2048 * MIB, 3072 * MIB, 5120 * MIB};

	for (size_t i = 0; i < sizeof(memories) / sizeof(memories[0]); i++) {
		const uint8_t *params;
		struct booted b;
		uint64_t initrd;

		boot(&b, make_bzimage(40 * MIB), memories[i]);
		assert_true(b.good);
		params = b.memory.base + BOOT_PARAMS_AT;
		initrd = get32(params + 0x218);
		assert_int_equal(initrd % 4096, 0);
		assert_true(initrd >= LOAD_AT + 40 * MIB);
		assert_true(initrd + sizeof(b.initrd) <= b.memory.low);
		assert_true(initrd + sizeof(b.initrd) - 1 <= 0x7fffffff);
		assert_int_equal(get32(params + 0x21c), sizeof(b.initrd));
		assert_memory_equal(b.memory.base + initrd, b.initrd, sizeof(b.initrd));
		leave(&b);
	}
	/* What lies below 1 MiB, in order. */
	assert_true(GDT_AT + 32 <= PAGE_TABLES_AT);
	assert_true(PAGE_TABLES_AT + 6 * PAGE <= BOOT_PARAMS_AT);
	assert_true(BOOT_PARAMS_AT + PAGE <= COMMAND_AT);
	assert_true(COMMAND_AT + COMMAND_MAX <= LOW_RAM_END);
	assert_true(ACPI_AT + 2 * PAGE <= RESET_STUB_AT);
}

/* The last page below that limit is no whole one. */
static void host_009_an_odd_limit_of_the_initramfs_is_kept(void **state)
{
	struct image k = make_bzimage(2 * MIB + 1);
	uint64_t room = (sizeof(((struct booted *)0)->initrd) + PAGE - 1) & ~(PAGE - 1);

	put32((uint8_t *)(uintptr_t)k.data + 0x22c, (uint32_t)(LOAD_AT + 2 * MIB + room));
	refused(k, 128 * MIB, "does not fit below");
}

static void host_009_too_little_memory_is_told_in_numbers(void **state)
{
	/* 16 MiB before the kernel, 100 for it, and the initramfs. */
	refused(make_bzimage(100 * MIB), 64 * MIB, "64 MiB of memory are too little");
	refused(make_bzimage(100 * MIB), 116 * MIB, "need 117 MiB");
	refused(make_elf(LOAD_AT + 200 * MIB), 64 * MIB, "need 217 MiB");
}

static void host_032_the_memory_map_has_a_hole(void **state)
{
	struct booted b;
	const uint8_t *params;

	boot(&b, make_bzimage(4 * MIB), 5120 * MIB);
	params = b.memory.base + BOOT_PARAMS_AT;
	assert_int_equal(params[0x1e8], 5);
	assert_int_equal(get64(params + 0x2d0 + 3 * 20), 0x100000);
	assert_int_equal(get64(params + 0x2d0 + 3 * 20 + 8), 3072 * MIB - 0x100000);
	assert_int_equal(get64(params + 0x2d0 + 4 * 20), 4096 * MIB);
	assert_int_equal(get64(params + 0x2d0 + 4 * 20 + 8), 2048 * MIB);
	assert_int_equal(get32(params + 0x2d0 + 4 * 20 + 16), 1);
	leave(&b);
	boot(&b, make_bzimage(4 * MIB), 128 * MIB);
	params = b.memory.base + BOOT_PARAMS_AT;
	assert_int_equal(params[0x1e8], 4);
	assert_int_equal(get64(params + 0x2d0 + 3 * 20 + 8), 127 * MIB);
	leave(&b);
}

static void host_014_the_reset_vector_resets(void **state)
{
	static const uint8_t stub[] = {0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, 0xf4, 0xeb, 0xfd};
	struct booted b;

	boot(&b, make_bzimage(4 * MIB), 128 * MIB);
	assert_memory_equal(b.memory.base + 0xffff0, stub, sizeof(stub));
	leave(&b);
}

static void host_033_memory_is_sealed(void **state)
{
	struct memory m;

	assert_int_equal(memory_make(&m, 64 * MIB), 0);
	assert_int_equal(fcntl(m.fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	assert_int_not_equal(ftruncate(m.fd, 4096), 0);
	m.base[12345] = 1;
	assert_int_equal(memory_clear(&m), 0);
	assert_int_equal(m.base[12345], 0);
	memory_free(&m);
}

static void a_long_command_line_is_refused(void **state)
{
	char line[COMMAND_MAX + 2];
	struct booted b;

	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = 0;
	boot(&b, make_bzimage(4 * MIB), 128 * MIB);
	b.files.append = line;
	assert_false(boot_load(&b.memory, &b.files, ACPI_AT, &b.entry, &b.error));
	assert_non_null(strstr(b.error.text, "too long"));
	leave(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host_008_a_bzimage_is_entered_by_the_64_bit_protocol),
		cmocka_unit_test(host_008_an_elf_kernel_is_entered_at_its_entry),
		cmocka_unit_test(host_008_anything_else_is_refused_by_name),
		cmocka_unit_test(host_009_what_is_loaded_never_overlaps),
		cmocka_unit_test(host_009_an_odd_limit_of_the_initramfs_is_kept),
		cmocka_unit_test(host_009_too_little_memory_is_told_in_numbers),
		cmocka_unit_test(host_032_the_memory_map_has_a_hole),
		cmocka_unit_test(host_014_the_reset_vector_resets),
		cmocka_unit_test(host_033_memory_is_sealed),
		cmocka_unit_test(a_long_command_line_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
