/* SPDX-License-Identifier: MIT */
/*
 * A guest of the library's that does what it is told, a line at a time, and answers each with one.
 *   driven SOCKET CLIENT.so [reconnect]
 *
 *   wait N                                         until there are N devices and all run
 *   gone                                           until there is none
 *   run DEVICE OP SIZE WINDOW TOTAL TAG SEED       STATUS MISMATCHES COMPLETED BYTES PUSHES DIGEST
 *   loop SEED                                      until the next line: ROUNDS DIGEST
 *   dropped                                        completions that nobody waited for, by now
 *
 * A digest is SHA-256 of the data that came back; a loop's of all that did. Byte i of what is sent
 * is i + 3 * (i / 256) + SEED; the seed of a loop's round is SEED and the round.
 */
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <kmcl/user.h>

#include "echo_ioctl.h"
#include "echo_protocol.h"
#include "sha256.h"

#define MOST     (4u << 20)
#define PATIENCE 60
#define LOOPED   (32u << 10)

static uint8_t in[sizeof(struct echo_run) + MOST], out[sizeof(struct echo_run_result) + MOST];
static kmcl_partition *partition;
static kmcl_driver *driver;

static struct echo_run_result *result(void)
{
	return (struct echo_run_result *)(void *)out;
}

static bool running(unsigned int device)
{
	struct echo_select select = {0};
	struct echo_info info = {0};
	size_t size;

	return !kmcl_device_control(driver, device, ECHO_IOCTL_QUERY, &select, sizeof(select),
				    &info, sizeof(info), &size) &&
	       info.running;
}

static bool all_run(unsigned int devices)
{
	if (kmcl_driver_devices(driver) != devices)
		return false;
	for (unsigned int i = 0; i < devices; i++)
		if (!running(i))
			return false;
	return true;
}

static void wait_for(unsigned int devices)
{
	struct timespec pause = {.tv_nsec = 2000000};
	time_t end = time(NULL) + PATIENCE;

	while (!all_run(devices) && time(NULL) < end)
		nanosleep(&pause, NULL);
	puts(all_run(devices) ? "ok" : "in vain");
}

static bool sends_data(uint32_t op)
{
	return op == ECHO_OP_ECHO || op == ECHO_OP_SUM || op == ECHO_OP_SINK ||
	       op == ECHO_OP_GPADL_SUM;
}

/* The device control's status; what came back is behind the result, and its size in *size. */
static unsigned int run(unsigned int device, const struct echo_run *r, unsigned int seed,
			size_t *size)
{
	size_t data = sends_data(r->op) ? r->total : 0;
	kmcl_status status;

	memset(out, 0, sizeof(struct echo_run_result));
	memcpy(in, r, sizeof(*r));
	for (size_t i = 0; i < data; i++)
		in[sizeof(*r) + i] = (uint8_t)(i + 3 * (i / 256) + seed);
	status = kmcl_device_control(driver, device, ECHO_IOCTL_RUN, in, sizeof(*r) + data, out,
				     sizeof(out), size);
	*size = *size > sizeof(struct echo_run_result) ? *size - sizeof(struct echo_run_result) : 0;
	return status ? (unsigned int)status : result()->status;
}

static const uint8_t *data_back(void)
{
	return out + sizeof(struct echo_run_result);
}

static void say_digest(const uint8_t *digest)
{
	for (int i = 0; i < 32; i++)
		printf("%02x", digest[i]);
	putchar('\n');
}

static void run_line(const char *line)
{
	unsigned long long total, tag;
	unsigned int device, seed, status;
	struct echo_run r = {0};
	struct sha256 sum;
	uint8_t digest[32];
	size_t size = 0;

	if (sscanf(line, "run %u %u %u %u %llu %llu %u", &device, &r.op, &r.size, &r.window, &total,
		   &tag, &seed) != 7 ||
	    total > MOST) {
		puts("what?");
		return;
	}
	r.total = total;
	r.tag = tag;
	status = run(device, &r, seed, &size);
	sha256_init(&sum);
	sha256_update(&sum, data_back(), size);
	sha256_final(&sum, digest);
	printf("%#x %u %llu %llu %llu ", status, result()->mismatches,
	       (unsigned long long)result()->completed, (unsigned long long)result()->bytes,
	       (unsigned long long)result()->pushes);
	say_digest(digest);
}

static bool line_waits(void)
{
	struct pollfd pfd = {.fd = STDIN_FILENO, .events = POLLIN};

	return poll(&pfd, 1, 0) != 0;
}

/* Not as fast as can be: many such loops run at once. */
static void loop(unsigned int seed)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	static const uint32_t ops[] = {ECHO_OP_ECHO, ECHO_OP_SUM, ECHO_OP_FILL};
	unsigned long long rounds = 0;
	struct sha256 sum;
	uint8_t digest[32];

	sha256_init(&sum);
	do {
		struct echo_run r = {.op = ops[rounds % 3],
				     .size = 1000,
				     .window = 8,
				     .total = LOOPED,
				     .tag = rounds};
		size_t size = 0;
		unsigned int status = run(0, &r, seed + (unsigned int)rounds, &size);

		if (status || result()->mismatches) {
			printf("round %llu ended with %#x\n", rounds, status);
			return;
		}
		sha256_update(&sum, data_back(), size);
		rounds++;
		nanosleep(&pause, NULL);
	} while (!line_waits());
	sha256_final(&sum, digest);
	printf("%llu ", rounds);
	say_digest(digest);
}

static void say_dropped(void)
{
	struct kmcl_channel_stats stats[16];
	size_t count = kmcl_partition_stats(partition, stats, 16);
	unsigned long long dropped = 0;

	for (size_t i = 0; i < count && i < 16; i++)
		dropped += stats[i].dropped_completions;
	printf("%llu\n", dropped);
}

static void obey(const char *line)
{
	unsigned int number;

	if (sscanf(line, "wait %u", &number) == 1)
		wait_for(number);
	else if (!strncmp(line, "gone", 4))
		wait_for(0);
	else if (!strncmp(line, "dropped", 7))
		say_dropped();
	else if (sscanf(line, "loop %u", &number) == 1)
		loop(number);
	else
		run_line(line);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct kmcl_partition_options options;
	struct kmcl_guest_options guest = {.size = sizeof(guest),
					   .wait_ms = PATIENCE * 1000,
					   .reconnect = argc > 3,
					   .partition = &options};
	char line[200], *error;

	kmcl_partition_options_init(&options);
	options.memory = 64u << 20;
	if (argc < 3 || kmcl_partition_create_user(argv[1], &guest, &partition, &error) ||
	    kmcl_driver_load(partition, KMCL_CLIENT, argv[2], &driver, &error)) {
		fprintf(stderr, "%s\n", argc < 3 ? "needs a socket and a driver" : error);
		return 1;
	}
	setvbuf(stdin, NULL, _IONBF, 0); /* what is not read yet can be polled for */
	while (fgets(line, sizeof(line), stdin))
		obey(line);
	kmcl_partition_destroy(partition);
	return 0;
}
