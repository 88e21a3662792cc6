/* SPDX-License-Identifier: MIT */
/* Inputs of kmcl fuzz as bytes, as files, and in words. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "kmcl.h"

#define STEP_HEADER 16u
#define FILE_MAGIC  "kmclfuzz"
#define FILE_HEADER 16u /* magic, version u32, end u32; then each run: size u32, bytes */
#define FILE_MOST   (64u << 20)

static void put16(uint8_t *at, uint32_t v)
{
	at[0] = (uint8_t)v;
	at[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *at, uint32_t v)
{
	put16(at, v);
	put16(at + 2, v >> 16);
}

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

static uint32_t get32(const uint8_t *at)
{
	return get16(at) | (uint32_t)get16(at + 2) << 16;
}

/* ---- bytes ---- */

void fuzz_step_copy(struct fuzz_step *to, const struct fuzz_step *from)
{
	memcpy(to, from, offsetof(struct fuzz_step, data) + from->size);
}

void fuzz_input_copy(struct fuzz_input *to, const struct fuzz_input *from)
{
	to->count = from->count;
	for (uint32_t i = 0; i < from->count; i++)
		fuzz_step_copy(&to->step[i], &from->step[i]);
}

size_t fuzz_encode(const struct fuzz_input *in, uint8_t *to)
{
	uint8_t *at = to;

	for (uint32_t i = 0; i < in->count; i++) {
		const struct fuzz_step *s = &in->step[i];

		at[0] = s->op;
		at[1] = s->channel;
		at[2] = s->flags;
		at[3] = s->count;
		put16(at + 4, s->type);
		put16(at + 6, s->size);
		put32(at + 8, s->a);
		put32(at + 12, s->b);
		memcpy(at + STEP_HEADER, s->data, s->size);
		at += STEP_HEADER + s->size;
	}
	return (size_t)(at - to);
}

void fuzz_decode(struct fuzz_input *in, const uint8_t *from, size_t size)
{
	size_t at = 0;

	for (in->count = 0; in->count < FUZZ_STEPS && size - at >= STEP_HEADER; in->count++) {
		struct fuzz_step *s = &in->step[in->count];
		const uint8_t *b = from + at;

		s->op = b[0] % FUZZ_OPS;
		s->channel = b[1];
		s->flags = b[2];
		s->count = b[3];
		s->type = get16(b + 4);
		s->size = get16(b + 6);
		s->a = get32(b + 8);
		s->b = get32(b + 12);
		at += STEP_HEADER;
		if (s->size > FUZZ_DATA)
			s->size = FUZZ_DATA;
		if (s->size > size - at)
			s->size = (uint16_t)(size - at);
		memcpy(s->data, from + at, s->size);
		at += s->size;
	}
}

/* ---- files ---- */

bool fuzz_history_add(struct fuzz_history *h, const uint8_t *bytes, size_t size)
{
	void *grown = realloc(h->run, (h->count + 1) * sizeof(*h->run));
	uint8_t *copy = malloc(size ? size : 1);

	if (grown)
		h->run = grown;
	if (!grown || !copy) {
		free(copy);
		return false;
	}
	memcpy(copy, bytes, size);
	h->run[h->count].bytes = copy;
	h->run[h->count++].size = size;
	return true;
}

void fuzz_history_clear(struct fuzz_history *h)
{
	for (uint32_t i = 0; i < h->count; i++)
		free(h->run[i].bytes);
	free(h->run);
	h->run = NULL;
	h->count = 0;
}

static bool write_runs(const struct fuzz_history *h, FILE *file)
{
	uint8_t header[FILE_HEADER] = FILE_MAGIC, size[4];

	put32(header + 8, 1);
	put32(header + 12, h->end);
	if (fwrite(header, sizeof(header), 1, file) != 1)
		return false;
	for (uint32_t i = 0; i < h->count; i++) {
		put32(size, (uint32_t)h->run[i].size);
		if (fwrite(size, sizeof(size), 1, file) != 1 ||
		    (h->run[i].size && fwrite(h->run[i].bytes, h->run[i].size, 1, file) != 1))
			return false;
	}
	return true;
}

bool fuzz_history_save(const struct fuzz_history *h, const char *path)
{
	FILE *file = fopen(path, "wbe");
	bool good;

	if (!file) {
		complain("cannot write %s: %s", path, strerror(errno));
		return false;
	}
	good = write_runs(h, file);
	if (fclose(file) || !good) {
		complain("cannot write %s: %s", path, strerror(errno));
		return false;
	}
	return true;
}

static bool read_runs(struct fuzz_history *h, const uint8_t *bytes, size_t size)
{
	size_t at = FILE_HEADER;

	if (size < FILE_HEADER || memcmp(bytes, FILE_MAGIC, 8) || get32(bytes + 8) != 1 ||
	    get32(bytes + 12) > KMCL_CLIENT)
		return false;
	h->end = (enum kmcl_end)get32(bytes + 12);
	while (size - at >= 4) {
		uint32_t run = get32(bytes + at);

		at += 4;
		if (run > size - at || run > FUZZ_ENCODED || !fuzz_history_add(h, bytes + at, run))
			return false;
		at += run;
	}
	return at == size && h->count;
}

static uint8_t *read_file(const char *path, size_t *size)
{
	FILE *file = fopen(path, "rbe");
	uint8_t *bytes = NULL;
	long end;

	if (!file) {
		complain("cannot read %s: %s", path, strerror(errno));
		return NULL;
	}
	if (!fseek(file, 0, SEEK_END) && (end = ftell(file)) >= 0 && end <= (long)FILE_MOST) {
		rewind(file);
		bytes = malloc((size_t)end + 1);
		*size = (size_t)end;
		if (bytes && fread(bytes, 1, *size, file) != *size) {
			free(bytes);
			bytes = NULL;
		}
	}
	fclose(file);
	if (!bytes)
		complain("cannot read %s", path);
	return bytes;
}

bool fuzz_history_load(struct fuzz_history *h, const char *path)
{
	size_t size = 0;
	uint8_t *bytes = read_file(path, &size);
	bool good;

	*h = (struct fuzz_history){0};
	if (!bytes)
		return false;
	good = read_runs(h, bytes, size);
	free(bytes);
	if (!good) {
		complain("%s is no input of kmcl fuzz", path);
		fuzz_history_clear(h);
	}
	return good;
}

/* ---- words ---- */

static const char *const words[FUZZ_OPS][2] = {
	[FUZZ_SEND] = {"in-band packet", "in-band packet"},
	[FUZZ_EXTERNAL] = {"packet with external data", "packet with external data"},
	[FUZZ_RAW] = {"raw packet", "raw packet"},
	[FUZZ_TOUCH] = {"write to external data", "write to external data"},
	[FUZZ_ANSWER] = {"complete a request", "complete a request"},
	[FUZZ_MANNERS] = {"answer requests", "answer requests"},
	[FUZZ_PAUSE] = {"pause", "pause"},
	[FUZZ_CLOSE] = {"close", "rescind"},
	[FUZZ_OPEN] = {"open", "offer"},
	[FUZZ_RESET] = {"reset", "rescind"},
	[FUZZ_GPADL] = {"announce a GPADL", "(nothing)"},
	[FUZZ_TEARDOWN] = {"tear a GPADL down", "(nothing)"},
	[FUZZ_MODIFY] = {"modify channel", "(nothing)"},
	[FUZZ_REFUSE] = {"(nothing)", "refuse the next open"},
};

static void print_data(const struct fuzz_step *s, FILE *to)
{
	for (uint32_t i = 0; i < s->size && i < 64; i++)
		fprintf(to, "%s%02x", i % 4 ? "" : " ", s->data[i]);
	if (s->size > 64)
		fprintf(to, " ... (%u bytes)", s->size);
}

static void print_step(const struct fuzz_step *s, enum kmcl_end end, FILE *to)
{
	static const char *const manners[] = {"with their own bytes", "with", "only when told to"};

	fprintf(to, "%s", words[s->op % FUZZ_OPS][end]);
	if (s->op == FUZZ_SEND || s->op == FUZZ_EXTERNAL || s->op == FUZZ_RAW) {
		if (s->count > 1 && s->op != FUZZ_RAW)
			fprintf(to, " x%u", 1 + (s->count - 1u) % 16);
		fprintf(to, "%s%s", s->flags & FUZZ_ASK ? ", completion requested" : "",
			s->flags & FUZZ_PUT ? ", with the GPADL's id" : "");
	}
	if (s->op == FUZZ_RAW)
		fprintf(to, ", type %u, offset %u, length %u", s->type, s->a & 0xffff,
			s->b & 0xffff);
	if (s->op == FUZZ_EXTERNAL)
		fprintf(to, ", the last %u bytes in guest pages", s->type);
	if (s->op == FUZZ_MANNERS && s->count > 1)
		fprintf(to, " %s, %u of them", manners[s->a % FUZZ_MANNERS_COUNT], s->count - 1u);
	else if (s->op == FUZZ_MANNERS)
		fprintf(to, " %s", manners[s->a % FUZZ_MANNERS_COUNT]);
	if (s->flags & FUZZ_LONG)
		fprintf(to, ", repeated to %u bytes", s->a & 0x3fff);
	if (s->size)
		fputc(':', to);
	print_data(s, to);
	fprintf(to, "%s\n", s->flags & FUZZ_HURRY ? " (do not wait)" : "");
}

void fuzz_input_print(const struct fuzz_input *in, enum kmcl_end end, FILE *to)
{
	for (uint32_t i = 0; i < in->count; i++) {
		fprintf(to, "  %2u  ", i + 1);
		print_step(&in->step[i], end, to);
	}
}
