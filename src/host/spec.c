/* SPDX-License-Identifier: MIT */
/*
 * What a person writes: "x.so,key=value,..." and the x.inf beside it.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "host/internal.h"

#define INF_MOST 65536u

static int complain(char **error, int code, char *text)
{
	*error = text;
	return code;
}

/* ---- offer.* keys ---- */

static bool parse_number(const char *text, unsigned long most, unsigned long *value)
{
	char *end;

	errno = 0;
	*value = strtoul(text, &end, 0);
	return *text && !*end && !errno && *value <= most && isdigit((unsigned char)*text);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_hex(const char *text, uint8_t *out, size_t room, uint32_t *count)
{
	*count = 0;
	for (; text[0] && text[1]; text += 2) {
		int high = hex_digit(text[0]), low = hex_digit(text[1]);

		if (high < 0 || low < 0 || *count == room)
			return false;
		out[(*count)++] = (uint8_t)(high << 4 | low);
	}
	return !*text;
}

static int offer_key(struct kmcl_offer_options *o, const char *key, const char *value, char **error)
{
	unsigned long n;

	if (!strcmp(key, "subchannel")) {
		if (!parse_number(value, 65535, &n))
			return complain(error, -EINVAL,
					sentence("offer.subchannel=%s: not a number from 0 to "
						 "65535",
						 value));
		o->subchannel = (uint16_t)n;
	} else if (!strcmp(key, "monitor")) {
		/* the latency in 100 ns units */
		if (!parse_number(value, 65535, &n))
			return complain(error, -EINVAL,
					sentence("offer.monitor=%s: not a latency from 0 to "
						 "65535 (100 ns units)",
						 value));
		o->monitored = true;
		o->monitor_latency = (uint16_t)n;
	} else if (!strcmp(key, "dedicated")) {
		if (strcmp(value, "1"))
			return complain(error, -EINVAL,
					sentence("offer.dedicated=%s: every offer has a "
						 "dedicated signal, only 1 is possible",
						 value));
	} else if (!strcmp(key, "user_data")) {
		if (!parse_hex(value, o->user_data, sizeof(o->user_data), &o->user_data_size))
			return complain(error, -EINVAL,
					sentence("offer.user_data=%s: not up to %zu bytes in "
						 "hex",
						 value, sizeof(o->user_data)));
	} else {
		return complain(error, -EINVAL,
				sentence("offer.%s: no such option (there are subchannel, "
					 "monitor, dedicated, user_data)",
					 key));
	}
	return 0;
}

/* ---- the spec ---- */

static int add_option(struct host_spec *spec, char *option, char **error)
{
	char *equals = strchr(option, '=');
	char **grown;

	if (!equals || equals == option)
		return complain(error, -EINVAL,
				sentence("%s: driver options are key=value", option));
	if (!strncmp(option, "offer.", 6)) {
		*equals = 0;
		return offer_key(&spec->offer, option + 6, equals + 1, error);
	}
	grown = realloc(spec->parameters, (spec->parameter_count + 2) * sizeof(*grown));
	if (!grown)
		return complain(error, -ENOMEM, sentence("out of memory"));
	spec->parameters = grown;
	grown[spec->parameter_count] = strdup(option);
	if (!grown[spec->parameter_count])
		return complain(error, -ENOMEM, sentence("out of memory"));
	grown[++spec->parameter_count] = NULL;
	return 0;
}

static char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *name = strdup(slash ? slash + 1 : path);
	char *dot = name ? strrchr(name, '.') : NULL;

	if (dot && dot != name)
		*dot = 0;
	return name;
}

int host_spec_parse(const char *text, struct host_spec *spec, char **error)
{
	char *copy = strdup(text), *rest = copy, *word;
	int code = 0;

	memset(spec, 0, sizeof(*spec));
	if (!copy)
		return complain(error, -ENOMEM, sentence("out of memory"));
	word = strsep(&rest, ",");
	if (!*word)
		code = complain(error, -EINVAL, sentence("no driver file named in '%s'", text));
	/* a path without a slash would be looked for in the library path */
	spec->path = strchr(word, '/') ? strdup(word) : sentence("./%s", word);
	spec->name = base_name(word);
	while (!code && (word = strsep(&rest, ",")))
		code = add_option(spec, word, error);
	free(copy);
	if (!code && (!spec->path || !spec->name))
		code = complain(error, -ENOMEM, sentence("out of memory"));
	if (code)
		host_spec_free(spec);
	return code;
}

int host_spec_words(const char *const *words, struct host_spec *spec, char **error)
{
	int code = 0;

	memset(spec, 0, sizeof(*spec));
	for (; words && *words && !code; words++) {
		char *copy = strdup(*words);

		code = copy ? add_option(spec, copy, error)
			    : complain(error, -ENOMEM, sentence("out of memory"));
		free(copy);
	}
	if (code)
		host_spec_free(spec);
	return code;
}

void host_spec_free(struct host_spec *spec)
{
	for (unsigned int i = 0; i < spec->parameter_count; i++)
		free(spec->parameters[i]);
	free(spec->parameters);
	free(spec->path);
	free(spec->name);
	memset(spec, 0, sizeof(*spec));
}

/* ---- hardware ids ---- */

static const uint8_t guid_order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

bool host_parse_hardware_id(const char *text, struct vmbus_guid *guid)
{
	static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}";
	unsigned int n = 0;

	if (strncasecmp(text, "VMBUS\\{", 7))
		return false;
	text += 7;
	for (unsigned int i = 0; shape[i]; i++) {
		int digit = hex_digit(text[i]);

		if (shape[i] != 'x') {
			if (text[i] != shape[i])
				return false;
			continue;
		}
		if (digit < 0)
			return false;
		if (n % 2)
			guid->b[guid_order[n / 2]] |= (uint8_t)digit;
		else
			guid->b[guid_order[n / 2]] = (uint8_t)(digit << 4);
		n++;
	}
	return true;
}

/* UTF-16LE with a byte order mark, as Windows writes .inf files, becomes ASCII. */
static void narrow(char *text, size_t *size)
{
	size_t n = 0;

	if (*size < 2 || (uint8_t)text[0] != 0xff || (uint8_t)text[1] != 0xfe)
		return;
	for (size_t i = 2; i + 1 < *size; i += 2)
		text[n++] = text[i + 1] ? '?' : text[i];
	text[n] = 0;
	*size = n;
}

static int read_file(const char *path, char **text, char **error)
{
	FILE *f = fopen(path, "rb");
	size_t size;

	*text = NULL;
	if (!f)
		return errno == ENOENT
			       ? 0
			       : complain(error, -errno, sentence("%s: %s", path, strerror(errno)));
	*text = malloc(INF_MOST + 1);
	size = *text ? fread(*text, 1, INF_MOST, f) : 0;
	if (!*text || ferror(f)) {
		int code = *text ? -EIO : -ENOMEM;

		free(*text);
		*text = NULL;
		fclose(f);
		return complain(error, code, sentence("%s: %s", path, strerror(-code)));
	}
	fclose(f);
	if (size == INF_MOST) {
		free(*text);
		*text = NULL;
		return complain(error, -EFBIG,
				sentence("%s: too long, %u bytes at most", path, INF_MOST - 1));
	}
	(*text)[size] = 0;
	narrow(*text, &size);
	return 0;
}

static void collect_ids(char *text, struct vmbus_guid *ids, unsigned int *count)
{
	char *line;

	while ((line = strsep(&text, "\r\n"))) {
		char *comment = strchr(line, ';');

		if (comment)
			*comment = 0;
		for (; *line && *count < HOST_MAX_IDS; line++) {
			if (host_parse_hardware_id(line, &ids[*count]))
				++*count;
		}
	}
}

int host_read_inf(const char *driver_path, struct vmbus_guid *ids, unsigned int *count,
		  char **error)
{
	const char *dot = strrchr(driver_path, '.'), *slash = strrchr(driver_path, '/');
	int length = dot && (!slash || dot > slash) ? (int)(dot - driver_path)
						    : (int)strlen(driver_path);
	char *path = sentence("%.*s.inf", length, driver_path), *text;
	int code;

	*count = 0;
	if (!path)
		return complain(error, -ENOMEM, sentence("out of memory"));
	code = read_file(path, &text, error);
	if (!code && text) {
		collect_ids(text, ids, count);
		if (!*count)
			code = complain(error, -EINVAL,
					sentence("%s: no line with VMBUS\\{guid}", path));
	}
	free(text);
	free(path);
	return code;
}
