/* SPDX-License-Identifier: MIT */
/* What the demo moves: a file, or bytes made up as they are asked for. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "demo.h"

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static void generate(uint8_t *to, uint64_t offset, size_t size)
{
	for (size_t i = 0; i < size; i += 8) {
		uint64_t word = mix((offset + i) / 8);
		size_t n = size - i < 8 ? size - i : 8;

		memcpy(to + i, &word, n);
	}
}

bool source_open_file(struct source *s, const char *path)
{
	memset(s, 0, sizeof(*s));
	snprintf(s->name, sizeof(s->name), "%s", path);
	s->file = fopen(path, "rb");
	if (!s->file || fseeko(s->file, 0, SEEK_END)) {
		complain("%s: cannot be read: %s", path, strerror(errno));
		source_close(s);
		return false;
	}
	s->size = (uint64_t)ftello(s->file);
	rewind(s->file);
	/* a folder opens and has a size: only reading tells */
	if (fgetc(s->file) == EOF && ferror(s->file)) {
		complain("%s: cannot be read: %s", path, strerror(errno));
		source_close(s);
		return false;
	}
	return true;
}

void source_open_generated(struct source *s, uint64_t size)
{
	memset(s, 0, sizeof(*s));
	snprintf(s->name, sizeof(s->name), "generated");
	s->size = size;
}

void source_close(struct source *s)
{
	if (s->file)
		fclose(s->file);
	s->file = NULL;
}

bool source_read(struct source *s, uint64_t offset, void *to, size_t size)
{
	if (!s->file) {
		generate(to, offset, size);
		return true;
	}
	if (!size)
		return true;
	if (fseeko(s->file, (off_t)offset, SEEK_SET) || fread(to, 1, size, s->file) != size) {
		complain("%s: cannot be read at byte %llu: %s", s->name, (unsigned long long)offset,
			 ferror(s->file) ? strerror(errno) : "it became shorter");
		return false;
	}
	return true;
}
