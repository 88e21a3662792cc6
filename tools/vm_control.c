/* SPDX-License-Identifier: MIT */
/*
 * The control socket of a running guest: a line in, lines out, the last of them "ok" or "error:
 * ...".
 */
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "kmcl.h"
#include "vm.h"

#define LINE_MAX_BYTES 9000u
#define MOST_BYTES     4096u /* of a device control, either way */
#define TICK_MS        100

static struct {
	pthread_t thread;
	int socket;
	bool running;
	atomic_bool stop;
} control = {.socket = -1};

struct command {
	const char *name, *arguments, *summary;
	/* Prints its answer; false: it printed what was wrong instead of "ok". */
	bool (*run)(struct vm *vm, char *arguments, FILE *out);
};

static bool fail(FILE *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool fail(FILE *out, const char *format, ...)
{
	va_list args;

	fputs("error: ", out);
	va_start(args, format);
	vfprintf(out, format, args);
	va_end(args);
	fputc('\n', out);
	return false;
}

/* ---- commands ---- */

static bool list_drivers(struct vm *vm, char *arguments, FILE *out)
{
	pthread_mutex_lock(&vm->lock);
	for (unsigned int i = 0; i < VM_MOST_DRIVERS; i++)
		if (vm->drivers[i].driver)
			fprintf(out, "%u %s devices=%u\n", i, vm->drivers[i].spec,
				kmcl_driver_devices(vm->drivers[i].driver));
	pthread_mutex_unlock(&vm->lock);
	return true;
}

static bool list_channels(struct vm *vm, char *arguments, FILE *out)
{
	struct kmcl_channel_stats stats[64];
	size_t count = kmcl_partition_stats(vm->partition, stats, 64);

	for (size_t i = 0; i < count && i < 64; i++)
		fprintf(out, "%u '%s' sent=%llu received=%llu outstanding=%u state=%u\n",
			stats[i].channel_id, stats[i].name,
			(unsigned long long)stats[i].packets_sent,
			(unsigned long long)stats[i].packets_received, stats[i].outstanding_in,
			stats[i].state);
	return true;
}

static bool offer_driver(struct vm *vm, char *arguments, FILE *out)
{
	char *error;
	int number = vm_offer(vm, arguments, &error);

	if (number < 0) {
		fail(out, "%s", error ? error : "no place for another driver");
		kmcl_free(error);
		return false;
	}
	fprintf(out, "%d\n", number);
	return true;
}

static bool revoke_driver(struct vm *vm, char *arguments, FILE *out)
{
	uint64_t number;

	if (!parse_count(arguments, 0, VM_MOST_DRIVERS - 1, &number) ||
	    !vm_revoke(vm, (unsigned int)number))
		return fail(out, "no driver %s", arguments);
	return true;
}

/* Digits, in pairs. -1: they are not. */
static int parse_hex(const char *text, uint8_t *bytes)
{
	int count = 0;
	unsigned int value;

	for (; isxdigit((unsigned char)text[0]) && isxdigit((unsigned char)text[1]); text += 2) {
		if (count == MOST_BYTES || sscanf(text, "%2x", &value) != 1)
			return -1;
		bytes[count++] = (uint8_t)value;
	}
	return *text ? -1 : count;
}

static kmcl_status call_driver(struct vm *vm, unsigned int number, unsigned int device,
			       uint32_t code, const uint8_t *in, int in_size, uint8_t *out,
			       size_t *size)
{
	kmcl_status status = (kmcl_status)0xc00000bb; /* STATUS_NOT_SUPPORTED: no such driver */

	pthread_mutex_lock(&vm->lock);
	if (number < VM_MOST_DRIVERS && vm->drivers[number].driver)
		status = kmcl_device_control(vm->drivers[number].driver, device, code, in,
					     (size_t)in_size, out, MOST_BYTES, size);
	pthread_mutex_unlock(&vm->lock);
	return status;
}

static bool device_control(struct vm *vm, char *arguments, FILE *out)
{
	static uint8_t bytes[MOST_BYTES], answer[MOST_BYTES];
	unsigned int number, device, code;
	int used = 0, size;
	size_t returned = 0;
	kmcl_status status;

	if (sscanf(arguments, "%u %u %i %n", &number, &device, (int *)&code, &used) != 3 || !used)
		return fail(out, "a driver's number, a device's number and a code are needed");
	size = parse_hex(arguments + used, bytes);
	if (size < 0)
		return fail(out, "the input is not in hexadecimal digits");
	status = call_driver(vm, number, device, code, bytes, size, answer, &returned);
	for (size_t i = 0; i < returned && i < MOST_BYTES; i++)
		fprintf(out, "%02x", answer[i]);
	if (returned)
		fputc('\n', out);
	return status >= 0 || fail(out, "%s", kmcl_status_name(status));
}

static bool reset(struct vm *vm, char *arguments, FILE *out)
{
	vmm_reset(vm->vmm);
	return true;
}

static bool stop(struct vm *vm, char *arguments, FILE *out)
{
	vmm_stop(vm->vmm);
	return true;
}

static bool help(struct vm *vm, char *arguments, FILE *out);

static const struct command commands[] = {
	{"help", "", "this list", help},
	{"drivers", "", "drivers with their numbers", list_drivers},
	{"channels", "", "channels and what went over them", list_channels},
	{"offer", "FILE.so[,KEY=VALUE...]", "load a server driver; prints its number",
	 offer_driver},
	{"revoke", "NUMBER", "unload a driver: its devices go away", revoke_driver},
	{"control", "NUMBER DEVICE CODE [HEX]", "device control, its answer in hexadecimal digits",
	 device_control},
	{"reset", "", "press the reset button", reset},
	{"stop", "", "end the guest", stop},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static bool help(struct vm *vm, char *arguments, FILE *out)
{
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(out, "%s%s%s: %s\n", commands[i].name, *commands[i].arguments ? " " : "",
			commands[i].arguments, commands[i].summary);
	return true;
}

static void run_line(struct vm *vm, char *line, FILE *out)
{
	char *arguments = line + strcspn(line, " ");

	if (*arguments)
		*arguments++ = 0;
	for (size_t i = 0; i < COMMANDS; i++) {
		if (strcmp(line, commands[i].name))
			continue;
		if (commands[i].run(vm, arguments, out))
			fputs("ok\n", out);
		fflush(out);
		return;
	}
	fail(out, "there is no command '%s'; `help` lists them", line);
	fflush(out);
}

/* ---- the socket ---- */

static bool is_ready(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	while (!atomic_load(&control.stop))
		if (poll(&p, 1, TICK_MS) > 0)
			return true;
	return false;
}

/* Adds what came; false: no more comes, or the line is too long. */
static bool read_some(int fd, char *line, size_t *used)
{
	ssize_t n = is_ready(fd) ? read(fd, line + *used, LINE_MAX_BYTES - *used) : -1;

	if (n <= 0)
		return false;
	*used += (size_t)n;
	return true;
}

static void serve(struct vm *vm, int fd, FILE *out)
{
	static char line[LINE_MAX_BYTES + 1];
	size_t used = 0;

	while (used < LINE_MAX_BYTES && read_some(fd, line, &used)) {
		char *end;

		while ((end = memchr(line, '\n', used))) {
			size_t length = (size_t)(end - line) + 1;

			*end = 0;
			run_line(vm, line, out);
			memmove(line, line + length, used -= length);
		}
	}
}

static void *listen_thread(void *context)
{
	struct vm *vm = context;

	while (is_ready(control.socket)) {
		int fd = accept4(control.socket, NULL, NULL, SOCK_CLOEXEC);
		int copy = fd < 0 ? -1 : dup(fd);
		FILE *out = copy < 0 ? NULL : fdopen(copy, "w");

		if (out) {
			serve(vm, fd, out);
			fclose(out);
		} else if (copy >= 0) {
			close(copy);
		}
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

static bool open_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	mode_t mask;
	int error;

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return false;
	}
	memcpy(address.sun_path, path, strlen(path));
	control.socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (control.socket < 0)
		return false;
	unlink(path); /* of a guest before this one */
	mask = umask(077);
	error = bind(control.socket, (struct sockaddr *)&address, sizeof(address));
	umask(mask);
	return !error && !listen(control.socket, 4);
}

bool vm_control_start(struct vm *vm)
{
	if (!vm->control_path)
		return true;
	if (!open_socket(vm->control_path)) {
		complain("%s: %s", vm->control_path, strerror(errno));
		return false;
	}
	control.running = !pthread_create(&control.thread, NULL, listen_thread, vm);
	return control.running;
}

void vm_control_stop(struct vm *vm)
{
	if (!vm->control_path)
		return;
	atomic_store(&control.stop, true);
	if (control.running)
		pthread_join(control.thread, NULL);
	close(control.socket);
	unlink(vm->control_path);
}
