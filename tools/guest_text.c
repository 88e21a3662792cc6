/* SPDX-License-Identifier: MIT */
#include "guest_text.h"

#include <iconv.h>
#include <string.h>

/* Bytes written; 0: it cannot be. */
static size_t convert(const char *to_code, const char *from_code, const void *from, size_t size,
		      void *to, size_t room)
{
	iconv_t how = iconv_open(to_code, from_code);
	char *in = (char *)(uintptr_t)from, *out = to;
	size_t left = room, done;

	if (how == (iconv_t)-1)
		return 0;
	done = iconv(how, &in, &size, &out, &left);
	iconv_close(how);
	return done == (size_t)-1 ? 0 : room - left;
}

uint32_t guest_text_put(uint8_t *to, size_t room, const char *text)
{
	size_t written;

	if (!text)
		return 0;
	written = convert("UTF-16LE", "UTF-8", text, strlen(text) + 1, to, room);
	/* what did not fit left its beginning */
	if (!written)
		memset(to, 0, room);
	return (uint32_t)written;
}

json_t *guest_text_json(const uint8_t *from, size_t size)
{
	char text[3 * 1024 + 4];
	size_t length = 0, written;

	while (length + 1 < size && (from[length] || from[length + 1]))
		length += 2;
	written = length ? convert("UTF-8", "UTF-16LE", from, length, text, sizeof(text) - 1) : 0;
	return json_stringn(text, written);
}
