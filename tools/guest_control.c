/* SPDX-License-Identifier: MIT */
#include "guest_control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control.h"
#include "guest_text.h"
#include "ic_ioctl.h"

#define EPOCH_1601   11644473600.0 /* seconds from there to 1970 */
#define UNITS        1e7           /* of 100 ns, in a second */
#define DEFAULT_WAIT 10.0          /* seconds */
#define MOST_SECONDS 3e11          /* ten thousand years */
#define LATE         ((kmcl_status)0xc00000b5)

static kmcl_status call(kmcl_driver *driver, uint32_t code, const void *in, size_t in_size,
			void *out, size_t out_size)
{
	size_t returned = 0;

	return kmcl_device_control(driver, 0, code, in, in_size, out, out_size, &returned);
}

bool guest_driver_is(kmcl_driver *driver)
{
	struct ic_info info;

	return kmcl_driver_devices(driver) &&
	       call(driver, IC_IOCTL_QUERY, NULL, 0, &info, sizeof(info)) >= 0;
}

/* ---- errors ---- */

static const struct {
	uint32_t status;
	const char *sentence;
} failures[] = {
	{0xc00000a3,
	 "the guest has not agreed on a version: its driver or its daemon is not there"},
	{(uint32_t)LATE, "the guest did not answer in time"},
	{0x80000011, "an earlier request has not been answered yet"},
	{0xc00000bb, "not in the version that the guest agreed to"},
	{0xc000009d, "the guest closed the channel before it answered"},
	{0xc00002b6, "the device went away before the guest answered"},
	{0xc000003e, "the guest's answer makes no sense"},
	{0xc000000e, "the component is not offered"},
	{0x80000005, "the guest's ring is too small for it"},
};

static json_t *failure(kmcl_status status)
{
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++)
		if (failures[i].status == (uint32_t)status)
			return control_error("%s", failures[i].sentence);
	return control_error("%s", kmcl_status_name(status));
}

static const struct {
	uint32_t status;
	const char *sentence;
} refusals[] = {
	{IC_STATUS_FAIL, "the guest refused, or failed"},
	{IC_STATUS_NO_MORE, "there is no such key"},
	{IC_STATUS_NO_ADAPTER, "there is no such adapter"},
	{IC_STATUS_INVALID, "the guest finds the request invalid"},
	{IC_STATUS_UNSUPPORTED, "the guest does not support it"},
};

/* The guest's own status, which is none of success. */
static json_t *refusal(uint32_t status)
{
	const char *sentence = "the guest said no";
	char number[16];
	json_t *answer;

	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
		if (refusals[i].status == status)
			sentence = refusals[i].sentence;
	snprintf(number, sizeof(number), "0x%08x", status);
	answer = control_error("%s", sentence);
	json_object_set_new(answer, "status", json_string(number));
	return answer;
}

/* ---- members ---- */

static bool get_real(const json_t *request, const char *name, double otherwise, double *value)
{
	const json_t *member = json_object_get(request, name);

	*value = member ? json_number_value(member) : otherwise;
	return !member || json_is_number(member);
}

static bool get_u32(const json_t *request, const char *name, uint32_t *value)
{
	const json_t *member = json_object_get(request, name);

	*value = (uint32_t)json_integer_value(member);
	return !member || (json_is_integer(member) && json_integer_value(member) >= 0 &&
			   json_integer_value(member) <= UINT32_MAX);
}

/* How long to wait for the guest, in the driver's milliseconds. */
static bool get_wait(const json_t *request, uint32_t *wait)
{
	double seconds;

	if (!get_real(request, "wait", DEFAULT_WAIT, &seconds) || !(seconds >= 0.001) ||
	    seconds * 1000 > IC_MOST_WAIT)
		return false;
	*wait = (uint32_t)(seconds * 1000);
	return true;
}

/* One of a list of names, that at *value unless the member says otherwise. */
static bool get_name(const json_t *request, const char *name, const char *const *names,
		     uint32_t count, uint32_t *value)
{
	const json_t *member = json_object_get(request, name);
	const char *text = json_string_value(member);

	if (!member)
		return true;
	for (*value = 0; text && *value < count; ++*value)
		if (!strcmp(names[*value], text))
			return true;
	return false;
}

#define WAIT_ERROR control_error("\"wait\" is a number of seconds, up to %u", IC_MOST_WAIT / 1000)

/* ---- what is known ---- */

static const char *const component_names[IC_COMPONENTS] = {"heartbeat", "shutdown", "timesync",
							   "kvp"};
static const char *const state_names[] = {"absent", "closed", "negotiating", "ready", "unmatched"};

static json_t *version_json(struct ic_version version)
{
	return json_sprintf("%u.%u", version.major, version.minor);
}

static json_t *component_json(const struct ic_component_info *c)
{
	json_t *j = json_pack("{s:s,s:i,s:I,s:I,s:I,s:I,s:I}", "state",
			      c->state < 5 ? state_names[c->state] : "?", "opens", (int)c->opens,
			      "sent", (json_int_t)c->sent, "answered", (json_int_t)c->answered,
			      "malformed", (json_int_t)c->malformed, "unsolicited",
			      (json_int_t)c->unsolicited, "rejected", (json_int_t)c->rejected);

	if (c->state == IC_STATE_READY) {
		json_object_set_new(j, "framework", version_json(c->framework));
		json_object_set_new(j, "version", version_json(c->message));
	}
	return j;
}

static json_t *components(kmcl_driver *driver, const json_t *request)
{
	json_t *list = json_object();
	struct ic_info info;
	kmcl_status status = call(driver, IC_IOCTL_QUERY, NULL, 0, &info, sizeof(info));

	if (status < 0) {
		json_decref(list);
		return failure(status);
	}
	for (unsigned int i = 0; i < IC_COMPONENTS; i++)
		json_object_set_new(list, component_names[i], component_json(&info.component[i]));
	return json_pack("{s:o}", "components", list);
}

static json_t *heartbeat(kmcl_driver *driver, const json_t *request)
{
	static const char *const states[] = {"unknown", "healthy", "critical", "stopped"};
	struct ic_info info;
	kmcl_status status = call(driver, IC_IOCTL_QUERY, NULL, 0, &info, sizeof(info));
	json_t *answer;

	if (status < 0)
		return failure(status);
	answer = json_pack("{s:b,s:I,s:i,s:I,s:s,s:f}", "alive", (int)info.alive, "beats",
			   (json_int_t)info.beats, "missed", (int)info.missed, "wrong",
			   (json_int_t)info.wrong_beats, "application",
			   info.application_state < 4 ? states[info.application_state] : "?",
			   "period", info.period / 1e3);
	if (info.beats)
		json_object_set_new(answer, "silent", json_real((double)info.silent / 1e3));
	return answer;
}

/* ---- shutdown ---- */

static json_t *shut_down(kmcl_driver *driver, const json_t *request)
{
	static const char *const actions[] = {"off", "restart", "hibernate"};
	struct ic_shutdown_request ask = {.shutdown.reason = 0x80000000};
	const char *text = json_string_value(json_object_get(request, "text"));
	uint32_t action = 0, number;
	struct ic_answer answer;
	kmcl_status status;

	if (!get_wait(request, &ask.wait))
		return WAIT_ERROR;
	if (!get_name(request, "action", actions, 3, &action))
		return control_error("\"action\" is off, restart or hibernate");
	if (json_object_get(request, "reason")) {
		if (!get_u32(request, "reason", &number))
			return control_error("\"reason\" is a number of 32 bits");
		ask.shutdown.reason = number;
	}
	if (!get_u32(request, "timeout", &number))
		return control_error("\"timeout\" is a number of seconds");
	ask.shutdown.timeout = number;
	ask.shutdown.flags = action * 2 + json_is_true(json_object_get(request, "force"));
	if (text && !guest_text_put((uint8_t *)&ask.shutdown + offsetof(struct ic_shutdown, text),
				    sizeof(ask.shutdown.text), text))
		return control_error("\"text\" is longer than %u characters", IC_SHUTDOWN_TEXT - 1);
	status = call(driver, IC_IOCTL_SHUTDOWN, &ask, sizeof(ask), &answer, sizeof(answer));
	if (status < 0)
		return failure(status);
	return answer.status ? refusal(answer.status) : json_pack("{s:b}", "accepted", 1);
}

/* ---- clock ---- */

/* "2030-01-02T03:04:05Z", or seconds since 1970. */
static bool get_time(const json_t *member, double *seconds)
{
	const char *text = json_string_value(member);
	struct tm tm = {0};
	const char *end;

	*seconds = json_number_value(member);
	if (!text)
		return json_is_number(member);
	end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	*seconds = (double)timegm(&tm);
	return end && (!strcmp(end, "Z") || !*end);
}

static int64_t units(double seconds)
{
	return (int64_t)(seconds * UNITS + (seconds < 0 ? -0.5 : 0.5));
}

static json_t *clock_answer(kmcl_driver *driver)
{
	struct ic_info info;
	kmcl_status status = call(driver, IC_IOCTL_QUERY, NULL, 0, &info, sizeof(info));

	if (status < 0)
		return failure(status);
	return json_pack("{s:f,s:I,s:I}", "offset", (double)info.clock_offset / UNITS, "syncs",
			 (json_int_t)info.syncs, "samples", (json_int_t)info.samples);
}

static json_t *set_clock(kmcl_driver *driver, const json_t *request)
{
	const json_t *time = json_object_get(request, "time"),
		     *offset = json_object_get(request, "offset");
	struct ic_clock_request ask = {.operation = IC_CLOCK_SYNC};
	struct ic_answer answer;
	kmcl_status status;
	double value = 0;

	if (!get_wait(request, &ask.wait))
		return WAIT_ERROR;
	if (time && !get_time(time, &value))
		return control_error("\"time\" is YYYY-MM-DDThh:mm:ssZ, or seconds since 1970");
	if (offset && (time || !get_real(request, "offset", 0, &value)))
		return control_error("\"offset\" is a number of seconds, without \"time\"");
	if (value > MOST_SECONDS || value < -MOST_SECONDS)
		return control_error("no year from 1970 to 9999");
	if (time) {
		ask.operation = IC_CLOCK_TIME;
		ask.value = units(value + EPOCH_1601);
	} else if (offset) {
		ask.operation = IC_CLOCK_OFFSET;
		ask.value = units(value);
	}
	status = call(driver, IC_IOCTL_CLOCK, &ask, sizeof(ask), &answer, sizeof(answer));
	if (status < 0)
		return failure(status);
	return answer.status ? refusal(answer.status) : clock_answer(driver);
}

/* ---- key-value pairs ---- */

static const char *const pools[] = {"external", "guest", "auto", "auto-external"};

static const struct {
	const char *name;
	uint32_t type;
} types[] = {
	{"string", IC_KVP_STRING}, {"expand-string", IC_KVP_EXPAND_STRING}, {"u32", IC_KVP_U32},
	{"u64", IC_KVP_U64},       {"u64-linux", IC_KVP_U64_LINUX},
};

static json_t *value_json(const struct ic_kvp_value *value)
{
	uint64_t number = 0;

	switch (value->type) {
	case IC_KVP_STRING:
	case IC_KVP_EXPAND_STRING:
		return guest_text_json(value->value, sizeof(value->value));
	default:
		/* little-endian, as on the wire */
		for (uint32_t i = value->value_size; i-- > 0;)
			number = number << 8 | value->value[i];
		return number > INT64_MAX ? json_real((double)number)
					  : json_integer((json_int_t)number);
	}
}

static json_t *pair_json(const struct ic_kvp_value *value)
{
	const char *type = "?";

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (types[i].type == value->type)
			type = types[i].name;
	return json_pack(
		"{s:o,s:o,s:s}", "key",
		guest_text_json((const uint8_t *)value + offsetof(struct ic_kvp_value, key),
				sizeof(value->key)),
		"value", value_json(value), "type", type);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* All items of a pool, in the time of one request; one that makes no sense is left out and counted.
 */
static json_t *list_pairs(kmcl_driver *driver, const struct ic_kvp_request *ask)
{
	json_t *items = json_array(), *error = NULL;
	uint64_t end = now_ms() + ask->wait;
	unsigned int senseless = 0;
	bool cut = false;

	for (uint32_t index = 0; !error; index++) {
		struct ic_kvp_request k = *ask;
		uint64_t now = now_ms();
		kmcl_status status;

		if (now >= end) {
			error = failure(LATE);
			break;
		}
		k.index = index;
		k.wait = (uint32_t)(end - now);
		status = call(driver, IC_IOCTL_KVP, &k, sizeof(k), &k, sizeof(k));
		cut = (uint32_t)status == 0x8000001a;
		if (cut || (status >= 0 && k.status == IC_STATUS_NO_MORE))
			break;
		if ((uint32_t)status == 0xc000003e)
			senseless++;
		else if (status < 0)
			error = failure(status);
		else if (k.status)
			error = refusal(k.status);
		else
			json_array_append_new(items, pair_json(&k.value));
	}
	if (!error)
		return json_pack("{s:o,s:i,s:b}", "items", items, "senseless", (int)senseless,
				 "cut", (int)cut);
	json_decref(items);
	return error;
}

/* NULL: done; else what is wrong with it. */
static const char *take_value(const json_t *request, struct ic_kvp_value *value)
{
	const json_t *member = json_object_get(request, "value"),
		     *type = json_object_get(request, "type");
	uint64_t number = (uint64_t)json_integer_value(member);
	const char *name = "string";
	size_t i = 0;

	if (type)
		name = json_string_value(type);
	else if (json_is_integer(member))
		name = number <= UINT32_MAX ? "u32" : "u64";
	while (name && i < sizeof(types) / sizeof(types[0]) && strcmp(types[i].name, name))
		i++;
	if (!name || i == sizeof(types) / sizeof(types[0]))
		return "\"type\" is string, expand-string, u32, u64 or u64-linux";
	value->type = types[i].type;
	if (i < 2) {
		value->value_size = guest_text_put(value->value, sizeof(value->value),
						   json_string_value(member));
		return value->value_size ? NULL : "\"value\" is no text of 1023 characters or less";
	}
	value->value_size = value->type == IC_KVP_U32 ? 4 : 8;
	if (!json_is_integer(member) || (value->type == IC_KVP_U32 && number > UINT32_MAX))
		return "\"value\" is no integer of that type";
	for (i = 0; i < value->value_size; i++)
		value->value[i] = (uint8_t)(number >> 8 * i);
	return NULL;
}

static json_t *pairs(kmcl_driver *driver, const json_t *request)
{
	static const char *const operations[] = {"get", "set", "delete", "list"};
	const char *key = json_string_value(json_object_get(request, "key")), *wrong = NULL;
	struct ic_kvp_request ask = {.operation = IC_KVP_ENUMERATE, .pool = IC_KVP_EXTERNAL};
	kmcl_status status;

	if (!get_wait(request, &ask.wait))
		return WAIT_ERROR;
	if (!get_name(request, "do", operations, 4, &ask.operation))
		return control_error("\"do\" is list, get, set or delete");
	if (!get_name(request, "pool", pools, IC_KVP_POOLS, &ask.pool))
		return control_error("\"pool\" is external, guest, auto or auto-external");
	if (ask.operation == IC_KVP_ENUMERATE)
		return list_pairs(driver, &ask);
	ask.value.key_size =
		guest_text_put((uint8_t *)&ask.value + offsetof(struct ic_kvp_value, key),
			       sizeof(ask.value.key), key);
	if (ask.value.key_size < 4)
		return control_error("\"key\" is no text of 1 to %u characters", IC_KVP_KEY - 1);
	if (ask.operation == IC_KVP_SET)
		wrong = take_value(request, &ask.value);
	if (wrong)
		return control_error("%s", wrong);
	status = call(driver, IC_IOCTL_KVP, &ask, sizeof(ask), &ask, sizeof(ask));
	if (status < 0)
		return failure(status);
	if (ask.status)
		return refusal(ask.status);
	return ask.operation == IC_KVP_GET ? pair_json(&ask.value) : json_object();
}

/* ---- addresses ---- */

static const char *const families[] = {"none", "ipv4", "ipv6", "both"};

static const struct {
	const char *name;
	size_t offset, size;
} lists[] = {
#define IP_LIST(member)                                                                      \
	{                                                                                    \
#member, offsetof(struct ic_ip, member), sizeof(((struct ic_ip *)0)->member) \
	}
	IP_LIST(addresses),
	IP_LIST(subnets),
	IP_LIST(gateways),
	IP_LIST(dns),
};

static json_t *ip_json(const struct ic_ip *ip)
{
	json_t *answer =
		json_pack("{s:s,s:b}", "family", ip->family < 4 ? families[ip->family] : "?",
			  "dhcp", (int)ip->dhcp);

	for (size_t i = 0; i < 4; i++)
		json_object_set_new(
			answer, lists[i].name,
			guest_text_json((const uint8_t *)ip + lists[i].offset, lists[i].size));
	return answer;
}

static json_t *addresses(kmcl_driver *driver, const json_t *request)
{
	static const char *const operations[] = {"get", "set"};
	const char *adapter = json_string_value(json_object_get(request, "adapter"));
	struct ic_ip_request ask = {0};
	uint32_t operation = 0, family = IC_IP_NONE;
	kmcl_status status;

	if (!get_wait(request, &ask.wait))
		return WAIT_ERROR;
	if (!get_name(request, "do", operations, 2, &operation) ||
	    !get_name(request, "family", families, 4, &family))
		return control_error("\"do\" is get or set, \"family\" none, ipv4, ipv6 or both");
	if (!guest_text_put((uint8_t *)&ask.ip, sizeof(ask.ip.adapter), adapter))
		return control_error("needs \"adapter\", the network device's instance in braces");
	ask.operation = operation ? IC_KVP_SET_IP : IC_KVP_GET_IP;
	ask.ip.family = (uint8_t)family;
	ask.ip.dhcp = json_is_true(json_object_get(request, "dhcp"));
	for (size_t i = 0; i < 4; i++) {
		const json_t *member = json_object_get(request, lists[i].name);

		if (member && !guest_text_put((uint8_t *)&ask.ip + lists[i].offset, lists[i].size,
					      json_string_value(member)))
			return control_error("\"%s\" is no text with semicolons, or too long",
					     lists[i].name);
	}
	status = call(driver, IC_IOCTL_IP, &ask, sizeof(ask), &ask, sizeof(ask));
	if (status < 0)
		return failure(status);
	if (ask.status)
		return refusal(ask.status);
	return operation ? json_object() : ip_json(&ask.ip);
}

const struct guest_command guest_commands[] = {
	{"components", "", "the guest's integration components: states, versions, counters",
	 components},
	{"heartbeat", "", "whether the guest is alive", heartbeat},
	{"shutdown", "[action] [force] [reason] [timeout] [text] [wait]",
	 "ask the guest to shut down; action: off, restart, hibernate", shut_down},
	{"clock", "[time] [offset] [wait]",
	 "set the guest's clock: by the host's, to a time, or off the host's by seconds",
	 set_clock},
	{"kvp", "[do] [pool] [key] [value] [type] [wait]",
	 "the guest's key-value pairs; do: list, get, set, delete; pool: external, guest, auto, "
	 "auto-external",
	 pairs},
	{"ip", "adapter [do] [family] [dhcp] [addresses] [subnets] [gateways] [dns] [wait]",
	 "addresses of a network device in the guest; do: get, set", addresses},
};
const unsigned int guest_command_count = sizeof(guest_commands) / sizeof(guest_commands[0]);
