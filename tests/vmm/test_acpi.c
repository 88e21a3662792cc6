/* SPDX-License-Identifier: MIT */
/* The tables, followed from the RSDP as a guest follows them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "internal.h"

static uint8_t tables[4096];

static uint64_t get(const uint8_t *at, size_t bytes)
{
	uint64_t value = 0;

	memcpy(&value, at, bytes);
	return value;
}

static void check_sum(const uint8_t *bytes, size_t size)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + bytes[i]);
	assert_int_equal(sum, 0);
}

/* A table at a guest's address, whole and with its signature. */
static const uint8_t *table_at(uint64_t gpa, const char *signature)
{
	const uint8_t *t;

	assert_in_range(gpa, ACPI_AT, ACPI_AT + sizeof(tables) - 36);
	t = tables + (gpa - ACPI_AT);
	assert_memory_equal(t, signature, 4);
	assert_true(gpa + get(t + 4, 4) <= ACPI_AT + sizeof(tables));
	check_sum(t, get(t + 4, 4));
	return t;
}

static const uint8_t *table_of(const char *signature)
{
	const uint8_t *xsdt = table_at(get(tables + 24, 8), "XSDT");

	for (uint64_t at = 36; at < get(xsdt + 4, 4); at += 8) {
		uint64_t gpa = get(xsdt + at, 8);

		if (!memcmp(tables + (gpa - ACPI_AT), signature, 4))
			return table_at(gpa, signature);
	}
	fail_msg("no table %s", signature);
	return NULL;
}

static bool contains(const uint8_t *t, const void *bytes, size_t size)
{
	return memmem(t, get(t + 4, 4), bytes, size) != NULL;
}

static int write_tables(void **state)
{
	memset(tables, 0xff, sizeof(tables));
	assert_true(acpi_write(tables, ACPI_AT, 3) < 1024 + 256);
	return 0;
}

static void host_010_the_rsdp_leads_to_the_tables(void **state)
{
	const uint8_t *fadt;

	assert_memory_equal(tables, "RSD PTR ", 8);
	assert_int_equal(tables[15], 2);
	check_sum(tables, 20);
	check_sum(tables, 36);
	fadt = table_of("FACP");
	assert_int_equal(get(fadt + 40, 4), get(fadt + 140, 8));
	table_at(get(fadt + 140, 8), "DSDT");
}

static void host_010_the_fadt_is_hardware_reduced(void **state)
{
	const uint8_t *fadt = table_of("FACP");
	uint64_t flags = get(fadt + 112, 4);

	assert_int_equal(fadt[8], 6);
	assert_int_equal(get(fadt + 4, 4), 276);
	assert_true(flags >> 20 & 1); /* hardware-reduced */
	assert_true(flags >> 10 & 1); /* reset register */
	assert_int_equal(get(fadt + 109, 2) & 3, 0);
	assert_int_equal(fadt[116], 1);
	assert_int_equal(get(fadt + 120, 8), 0xcf9);
	assert_int_equal(fadt[128], 6);
	assert_int_equal(get(fadt + 248, 8), 0x604);
	assert_int_equal(get(fadt + 260, 8), 0x605);
}

static void host_010_the_dsdt_has_bus_console_and_s5(void **state)
{
	const uint8_t *dsdt = table_at(get(table_of("FACP") + 140, 8), "DSDT");
	static const uint8_t irq4[] = {0x89, 6, 0, 3, 1, 4, 0, 0, 0};
	static const uint8_t ports[] = {0x47, 1, 0xf8, 3, 0xf8, 3, 1, 8};

	assert_true(contains(dsdt, "_HID\x0dVMBus", 11));
	assert_true(contains(dsdt,
			     "_HID\x0d"
			     "ACPI0004",
			     14));
	assert_true(contains(dsdt, "_HID\x0c\x41\xd0\x05\x01", 9)); /* PNP0501 */
	assert_true(contains(dsdt, irq4, sizeof(irq4)));
	assert_true(contains(dsdt, ports, sizeof(ports)));
	assert_true(contains(dsdt, "\x08\\_S5_\x12", 7));
}

static void host_010_037_the_madt_has_every_processor(void **state)
{
	const uint8_t *madt = table_of("APIC");
	uint32_t processors = 0, others = 0;

	for (uint64_t at = 44; at < get(madt + 4, 4); at += madt[at + 1]) {
		assert_true(madt[at + 1] >= 6);
		if (madt[at] == 0) {
			assert_int_equal(madt[at + 3], processors++);
			assert_int_equal(madt[at + 4], 1);
		} else if (madt[at] == 1) {
			assert_int_equal(get(madt + at + 4, 4), 0xfec00000);
		} else {
			others++;
		}
	}
	assert_int_equal(processors, 3);
	assert_int_equal(others, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host_010_the_rsdp_leads_to_the_tables),
		cmocka_unit_test(host_010_the_fadt_is_hardware_reduced),
		cmocka_unit_test(host_010_the_dsdt_has_bus_console_and_s5),
		cmocka_unit_test(host_010_037_the_madt_has_every_processor),
	};

	return cmocka_run_group_tests(tests, write_tables, NULL);
}
