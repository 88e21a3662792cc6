/* SPDX-License-Identifier: MIT */
/*
 * I/O ports: the serial port, a clock that can be read, reset and power off. Everything else reads
 * as all ones, as where there is nothing.
 */
#include <string.h>
#include <time.h>

#include "internal.h"

#define RTC_INDEX_PORT    0x70u
#define RTC_DATA_PORT     0x71u
#define KEYBOARD_PORT     0x64u
#define KEYBOARD_RESET    0xfeu
#define SYSTEM_PORT       0x61u
#define SYSTEM_REFRESH    0x20u
#define RESET_NOW         4u
#define SLEEP_ENABLE      0x20u
#define SLEEP_TYPE(value) ((value) >> 2 & 7)
#define SLEEP_S5          5u

static uint8_t bcd(int value)
{
	return (uint8_t)(value / 10 % 10 << 4 | value % 10);
}

/* UTC. A guest that finds no clock waits for seconds until it gives up. */
static uint8_t read_rtc(uint8_t index)
{
	time_t now = time(NULL);
	struct tm t;

	gmtime_r(&now, &t);
	switch (index & 0x7f) {
	case 0x00:
		return bcd(t.tm_sec);
	case 0x02:
		return bcd(t.tm_min);
	case 0x04:
		return bcd(t.tm_hour);
	case 0x06:
		return bcd(t.tm_wday + 1);
	case 0x07:
		return bcd(t.tm_mday);
	case 0x08:
		return bcd(t.tm_mon + 1);
	case 0x09:
		return bcd(t.tm_year % 100);
	case 0x32:
		return bcd(19 + t.tm_year / 100);
	case 0x0a:
		return 0x26;
	case 0x0b:
		return 0x02; /* 24 hours, BCD */
	case 0x0d:
		return 0x80; /* the battery is good */
	default:
		return 0;
	}
}

static uint8_t read_port(struct vmm *vm, uint16_t port)
{
	if (port >= SERIAL_PORT && port < SERIAL_PORT + SERIAL_PORTS)
		return serial_read(&vm->serial, port - SERIAL_PORT);
	switch (port) {
	case RTC_DATA_PORT:
		return read_rtc(vm->rtc_index);
	case SYSTEM_PORT:
		return SYSTEM_REFRESH;
	case SLEEP_CONTROL_PORT:
	case SLEEP_STATUS_PORT:
		return 0;
	default:
		return 0xff;
	}
}

static void write_port(struct vmm *vm, uint16_t port, uint8_t value)
{
	if (port >= SERIAL_PORT && port < SERIAL_PORT + SERIAL_PORTS) {
		serial_write(&vm->serial, port - SERIAL_PORT, value);
		return;
	}
	switch (port) {
	case RTC_INDEX_PORT:
		vm->rtc_index = value;
		break;
	case KEYBOARD_PORT:
		if (value == KEYBOARD_RESET)
			machine_end(vm, VMM_REBOOTED);
		break;
	case RESET_PORT:
		if (value & RESET_NOW)
			machine_end(vm, VMM_REBOOTED);
		break;
	case SLEEP_CONTROL_PORT:
		if (value & SLEEP_ENABLE && SLEEP_TYPE(value) == SLEEP_S5)
			machine_end(vm, VMM_OFF);
		break;
	default:
		break;
	}
}

/* Wider accesses are bytes at the ports from there on. */
void ports_exit(struct vmm *vm, struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	uint32_t bytes = run->io.size * run->io.count;

	for (uint32_t i = 0; i < bytes; i++) {
		uint16_t port = (uint16_t)(run->io.port + i % run->io.size);

		if (run->io.direction == KVM_EXIT_IO_OUT)
			write_port(vm, port, data[i]);
		else
			data[i] = read_port(vm, port);
	}
}
