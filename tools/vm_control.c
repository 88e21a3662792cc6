/* SPDX-License-Identifier: MIT */
/* The control socket of a running guest: what control.h says, with these commands. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "guest_control.h"
#include "kmcl.h"
#include "vm.h"

#define MOST_BYTES 4096u /* of a device control, either way */

struct command {
	const char *name, *members, *summary;
	json_t *(*run)(struct vm *vm, const json_t *request);
};

/* A member that is a number, or text that says one as C does. */
static bool get_number(const json_t *request, const char *name, uint64_t most, uint64_t *value)
{
	const json_t *member = json_object_get(request, name);
	const char *text = json_string_value(member);
	char *end = NULL;

	if (text && isdigit((unsigned char)*text)) {
		*value = strtoull(text, &end, 0);
		return !*end && *value <= most;
	}
	*value = (uint64_t)json_integer_value(member);
	return json_is_integer(member) && json_integer_value(member) >= 0 && *value <= most;
}

/* ---- drivers ---- */

static json_t *list_drivers(struct vm *vm, const json_t *request)
{
	json_t *list = json_array();

	pthread_mutex_lock(&vm->lock);
	for (unsigned int i = 0; i < VM_MOST_DRIVERS; i++) {
		const struct vm_driver *d = &vm->drivers[i];

		if (d->driver)
			json_array_append_new(list, json_pack("{s:i,s:s,s:i}", "number", (int)i,
							      "driver", d->spec, "devices",
							      (int)kmcl_driver_devices(d->driver)));
	}
	pthread_mutex_unlock(&vm->lock);
	return json_pack("{s:o}", "drivers", list);
}

static json_t *offer_driver(struct vm *vm, const json_t *request)
{
	const char *spec = json_string_value(json_object_get(request, "driver"));
	json_t *answer;
	char *error;
	int number;

	if (!spec)
		return control_error("offer: needs \"driver\", FILE.so[,KEY=VALUE...]");
	number = vm_offer(vm, spec, &error);
	if (number >= 0)
		return json_pack("{s:i}", "number", number);
	answer = control_error("%s", error ? error : "no place for another driver");
	kmcl_free(error);
	return answer;
}

static json_t *revoke_driver(struct vm *vm, const json_t *request)
{
	uint64_t number;

	if (!get_number(request, "number", VM_MOST_DRIVERS - 1, &number))
		return control_error("revoke: needs \"number\", a driver's");
	if (!vm_revoke(vm, (unsigned int)number))
		return control_error("there is no driver %u", (unsigned int)number);
	return json_object();
}

/* ---- device control ---- */

/* Digits, in pairs; no member is no bytes. -1: they are not. */
static int parse_hex(const json_t *member, uint8_t *bytes)
{
	const char *text = member ? json_string_value(member) : "";
	int count = 0;
	unsigned int value;

	for (; text && isxdigit((unsigned char)text[0]) && isxdigit((unsigned char)text[1]);
	     text += 2) {
		if (count == MOST_BYTES || sscanf(text, "%2x", &value) != 1)
			return -1;
		bytes[count++] = (uint8_t)value;
	}
	return !text || *text ? -1 : count;
}

static json_t *hex(const uint8_t *bytes, size_t count)
{
	char text[2 * MOST_BYTES + 1] = "";

	for (size_t i = 0; i < count && i < MOST_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return json_string(text);
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

static json_t *device_control(struct vm *vm, const json_t *request)
{
	uint8_t bytes[MOST_BYTES], out[MOST_BYTES];
	uint64_t number, device = 0, code;
	json_t *answer;
	size_t returned = 0;
	kmcl_status status;
	int size;

	if (!get_number(request, "number", VM_MOST_DRIVERS - 1, &number) ||
	    !get_number(request, "code", UINT32_MAX, &code))
		return control_error("control: needs \"number\", a driver's, and \"code\"");
	if (json_object_get(request, "device") &&
	    !get_number(request, "device", UINT32_MAX, &device))
		return control_error("control: \"device\" is no number");
	size = parse_hex(json_object_get(request, "input"), bytes);
	if (size < 0)
		return control_error("control: \"input\" is not %u bytes or less in hexadecimal",
				     MOST_BYTES);
	status = call_driver(vm, (unsigned int)number, (unsigned int)device, (uint32_t)code, bytes,
			     size, out, &returned);
	answer = json_pack("{s:s,s:o}", "status", kmcl_status_name(status), "output",
			   hex(out, returned));
	if (status < 0)
		json_object_set_new(answer, "error", json_string(kmcl_status_name(status)));
	return answer;
}

/* ---- the machine ---- */

/* As a host of many guests answers it, so that `kmcl stats` asks either. */
static json_t *stats(struct vm *vm, const json_t *request)
{
	return json_pack("{s:[{s:i,s:o}]}", "guests", "guest", 0, "channels",
			 control_channels(vm->partition));
}

static json_t *reset(struct vm *vm, const json_t *request)
{
	vmm_reset(vm->vmm);
	return json_object();
}

static json_t *stop(struct vm *vm, const json_t *request)
{
	vmm_stop(vm->vmm);
	return json_object();
}

static json_t *help(struct vm *vm, const json_t *request);

static const struct command commands[] = {
	{"help", "", "this list", help},
	{"drivers", "", "drivers with their numbers", list_drivers},
	{"stats", "", "channels and what went over them", stats},
	{"offer", "driver", "load a server driver, FILE.so[,KEY=VALUE...]; answers its number",
	 offer_driver},
	{"revoke", "number", "unload a driver: its devices go away", revoke_driver},
	{"control", "number code [device] [input]",
	 "device control; input and output in hexadecimal digits", device_control},
	{"reset", "", "press the reset button", reset},
	{"stop", "", "end the guest", stop},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static json_t *help(struct vm *vm, const json_t *request)
{
	json_t *list = json_array();

	for (size_t i = 0; i < COMMANDS; i++)
		json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "command", commands[i].name,
						      "members", commands[i].members, "summary",
						      commands[i].summary));
	for (unsigned int i = 0; i < guest_command_count; i++)
		json_array_append_new(list,
				      json_pack("{s:s,s:s,s:s}", "command", guest_commands[i].name,
						"members", guest_commands[i].members, "summary",
						guest_commands[i].summary));
	return json_pack("{s:o}", "commands", list);
}

/* Asked of the guest through its integration components, where they are offered. */
static json_t *ask_guest(struct vm *vm, const struct guest_command *command, const json_t *request)
{
	json_t *answer = NULL;

	pthread_mutex_lock(&vm->lock);
	for (unsigned int i = 0; i < VM_MOST_DRIVERS && !answer; i++)
		if (vm->drivers[i].driver && guest_driver_is(vm->drivers[i].driver))
			answer = command->run(vm->drivers[i].driver, request);
	pthread_mutex_unlock(&vm->lock);
	return answer ? answer
		      : control_error("ic_vsp.so, which could ask the guest, is not loaded");
}

static json_t *answer(void *ctx, const char *command, const json_t *request)
{
	for (unsigned int i = 0; i < guest_command_count; i++)
		if (!strcmp(command, guest_commands[i].name))
			return ask_guest(ctx, &guest_commands[i], request);
	for (size_t i = 0; i < COMMANDS; i++)
		if (!strcmp(command, commands[i].name))
			return commands[i].run(ctx, request);
	return control_error("there is no command '%s'; help lists them", command);
}

bool vm_control_start(struct vm *vm)
{
	if (vm->control_path)
		vm->control = control_start(vm->control_path, answer, vm);
	return !vm->control_path || vm->control;
}

void vm_control_stop(struct vm *vm)
{
	control_stop(vm->control);
	vm->control = NULL;
}
