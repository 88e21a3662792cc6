/* SPDX-License-Identifier: MIT */
/* The serial port as a driver of an 8250 uses it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#define BURST 65536u

static struct serial serial;
static int output;

static int set_up(void **state)
{
	output = memfd_create("console", MFD_CLOEXEC);
	assert_true(output >= 0);
	serial_init(&serial, output);
	return 0;
}

static int tear_down(void **state)
{
	pthread_mutex_destroy(&serial.lock);
	close(output);
	return 0;
}

static void host_011_a_burst_of_64_kib_is_complete(void **state)
{
	uint8_t *shown = malloc(BURST + 1);

	for (uint32_t i = 0; i < BURST; i++) {
		assert_int_equal(serial_read(&serial, 5) & 0x60, 0x60);
		serial_write(&serial, 0, (uint8_t)(i * 31 + (i >> 8)));
	}
	serial_flush(&serial);
	assert_int_equal(pread(output, shown, BURST + 1, 0), BURST);
	for (uint32_t i = 0; i < BURST; i++)
		assert_int_equal(shown[i], (uint8_t)(i * 31 + (i >> 8)));
	free(shown);
}

static void host_011_a_line_without_an_end_is_shown_when_flushed(void **state)
{
	char shown[8] = {0};

	serial_write(&serial, 0, '$');
	serial_flush(&serial);
	assert_int_equal(pread(output, shown, sizeof(shown), 0), 1);
	assert_string_equal(shown, "$");
}

static void host_011_sending_interrupts_when_there_is_room(void **state)
{
	assert_int_equal(serial_read(&serial, 2) & 0xf, 1);
	serial_write(&serial, 2, 1);
	assert_int_equal(serial_read(&serial, 2) & 0xc0, 0xc0);
	serial_write(&serial, 1, 2); /* enabling tells that it is empty now */
	assert_int_equal(serial_read(&serial, 2) & 0xf, 2);
	assert_int_equal(serial_read(&serial, 2) & 0xf, 1); /* which reading acknowledges */
	serial_write(&serial, 0, 'x');
	assert_int_equal(serial_read(&serial, 2) & 0xf, 2);
}

static void host_011_input_waits_until_the_guest_listens(void **state)
{
	static const uint8_t bytes[] = "hello";

	assert_int_equal(serial_room(&serial), 0);
	serial_write(&serial, 1, 1);
	assert_int_equal(serial_room(&serial), 1);
	serial_write(&serial, 2, 1);
	assert_int_equal(serial_room(&serial), SERIAL_FIFO);
	serial_receive(&serial, bytes, 5);
	assert_int_equal(serial_room(&serial), SERIAL_FIFO - 5);
	assert_int_equal(serial_read(&serial, 2) & 0xf, 4);
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(serial_read(&serial, 5) & 1, 1);
		assert_int_equal(serial_read(&serial, 0), bytes[i]);
	}
	assert_int_equal(serial_read(&serial, 5) & 1, 0);
	assert_int_equal(serial_read(&serial, 2) & 0xf, 1);
}

static void say(const char *text)
{
	while (*text)
		serial_write(&serial, 0, (uint8_t)*text++);
}

static void *end_it(void *context)
{
	struct timespec moment = {.tv_nsec = 50000000};

	nanosleep(&moment, NULL);
	serial_end(&serial);
	return NULL;
}

/* Neither what waits for a reader by then, nor what a processor says behind it. */
static void output_that_nobody_reads_does_not_hold_up_the_end(void **state)
{
	static const char page[4096];
	int pipes[2];
	pthread_t thread;
	uint64_t before;

	assert_int_equal(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
	serial.output = pipes[1];
	while (write(pipes[1], page, sizeof(page)) > 0)
		;
	assert_int_equal(fcntl(pipes[1], F_SETFL, 0), 0);
	alarm(60);
	assert_int_equal(pthread_create(&thread, NULL, end_it, NULL), 0);
	say("nobody reads this\n");
	for (uint32_t i = 0; i < 1000; i++)
		say("nor that\n");
	pthread_join(thread, NULL);
	alarm(0);
	before = serial.bytes;
	/* The next guest is heard again. */
	close(pipes[0]);
	close(pipes[1]);
	serial.output = output;
	serial_reset(&serial, -1);
	serial_reset(&serial, output);
	say("hello\n");
	assert_int_equal(serial.bytes, before + 6);
	assert_int_equal(lseek(output, 0, SEEK_END), 6);
}

static void the_divisor_hides_the_data(void **state)
{
	serial_write(&serial, 3, 0x83);
	serial_write(&serial, 0, 1);
	serial_write(&serial, 1, 2);
	assert_int_equal(serial_read(&serial, 0), 1);
	assert_int_equal(serial_read(&serial, 1), 2);
	serial_write(&serial, 3, 3);
	assert_int_equal(serial_read(&serial, 1), 0);
	serial_flush(&serial);
	assert_int_equal(lseek(output, 0, SEEK_END), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(host_011_a_burst_of_64_kib_is_complete),
		TEST(host_011_a_line_without_an_end_is_shown_when_flushed),
		TEST(host_011_sending_interrupts_when_there_is_room),
		TEST(host_011_input_waits_until_the_guest_listens),
		TEST(output_that_nobody_reads_does_not_hold_up_the_end),
		TEST(the_divisor_hides_the_data),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
