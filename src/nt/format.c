/* SPDX-License-Identifier: MIT */
/*
 * Formatting as the kernel does it, which libc's cannot stand in for: a `long` has 32 bits, %I64
 * and %wZ exist, and wide characters have 16 bits.
 */
#include "nt/internal.h"

#include <stdio.h>

enum width {
	W_INT,
	W_CHAR,  /* hh */
	W_SHORT, /* h */
	W_LONG,  /* l, w: 32 bits; wide text */
	W_64,    /* ll, I64, I, z, j, t */
};

struct out {
	char *narrow; /* one of them */
	WCHAR *wide;
	size_t room; /* units, the terminator included */
	size_t used;
	bool counted; /* no terminator */
	bool cut;
};

struct spec {
	char flags[6];
	int width, precision; /* precision -1: none */
	enum width size;
};

struct format {
	const char *narrow; /* one of them */
	const WCHAR *wide;
};

static WCHAR peek(const struct format *f)
{
	return f->narrow ? (WCHAR)(UCHAR)*f->narrow : *f->wide;
}

static WCHAR next(struct format *f)
{
	return f->narrow ? (WCHAR)(UCHAR)*f->narrow++ : *f->wide++;
}

/* ---- output ---- */

static void put_unit(struct out *o, unsigned int unit)
{
	if (o->used + !o->counted >= o->room) {
		o->cut = true;
		return;
	}
	if (o->narrow)
		o->narrow[o->used++] = (char)unit;
	else
		o->wide[o->used++] = (WCHAR)unit;
}

/* A 16-bit unit; in narrow text as UTF-8, a lone half of a pair as U+FFFD. */
static void put_wide(struct out *o, uint32_t c)
{
	if (o->wide || c < 0x80) {
		put_unit(o, c);
		return;
	}
	if (c >= 0x10000)
		put_unit(o, 0xf0 | c >> 18);
	if (c >= 0x800)
		put_unit(o, c >= 0x10000 ? 0x80 | (c >> 12 & 0x3f) : 0xe0 | c >> 12);
	put_unit(o, c >= 0x800 ? 0x80 | (c >> 6 & 0x3f) : 0xc0 | c >> 6);
	put_unit(o, 0x80 | (c & 0x3f));
}

static void put_wide_text(struct out *o, const WCHAR *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t c = s[i];

		if (!o->wide && c >= 0xd800 && c < 0xe000) {
			bool pair =
				c < 0xdc00 && i + 1 < n && s[i + 1] >= 0xdc00 && s[i + 1] < 0xe000;

			c = pair ? 0x10000 + ((c - 0xd800) << 10) + (s[++i] - 0xdc00u) : 0xfffd;
		}
		put_wide(o, c);
	}
}

static void put_text(struct out *o, const struct spec *spec, const char *narrow, const WCHAR *wide,
		     size_t n)
{
	size_t pad = spec->width > 0 && (size_t)spec->width > n ? (size_t)spec->width - n : 0;
	bool left = strchr(spec->flags, '-') != NULL;

	for (size_t i = 0; !left && i < pad; i++)
		put_unit(o, ' ');
	if (wide)
		put_wide_text(o, wide, n);
	for (size_t i = 0; narrow && i < n; i++)
		put_unit(o, (UCHAR)narrow[i]);
	for (size_t i = 0; left && i < pad; i++)
		put_unit(o, ' ');
}

/* ---- arguments ---- */

static size_t limit(const struct spec *spec, size_t n)
{
	return spec->precision >= 0 && (size_t)spec->precision < n ? (size_t)spec->precision : n;
}

static void put_string(struct out *o, const struct spec *spec, const void *s, bool wide)
{
	size_t most = spec->precision >= 0 ? (size_t)spec->precision : SIZE_MAX, n = 0;

	if (!s) {
		put_text(o, spec, "(null)", NULL, limit(spec, 6));
		return;
	}
	if (wide) {
		while (n < most && ((const WCHAR *)s)[n])
			n++;
		put_text(o, spec, NULL, s, n);
	} else {
		n = strnlen(s, most);
		put_text(o, spec, s, NULL, n);
	}
}

static void put_counted(struct out *o, const struct spec *spec, const void *s)
{
	const UNICODE_STRING *u = s;
	const STRING *a = s;

	if (!s || !a->Buffer)
		put_string(o, spec, NULL, false);
	else if (spec->size == W_LONG)
		put_text(o, spec, NULL, u->Buffer, limit(spec, u->Length / 2));
	else
		put_text(o, spec, a->Buffer, NULL, limit(spec, a->Length));
}

static uint64_t narrowed(uint64_t value, const struct spec *spec, bool is_signed)
{
	switch (spec->size) {
	case W_64:
		return value;
	case W_CHAR:
		return is_signed ? (uint64_t)(int8_t)value : (uint8_t)value;
	case W_SHORT:
		return is_signed ? (uint64_t)(int16_t)value : (uint16_t)value;
	default:
		return is_signed ? (uint64_t)(int32_t)value : (uint32_t)value;
	}
}

static void put_number(struct out *o, const struct spec *spec, char type, uint64_t value)
{
	bool is_signed = type == 'd' || type == 'i';
	struct spec plain = {.precision = -1};
	char how[16], text[128];
	int n;

	/* width and precision beyond reason would need a buffer of any size */
	snprintf(how, sizeof(how), "%%%s*.*ll%c", spec->flags, type);
	n = snprintf(text, sizeof(text), how, spec->width > 100 ? 100 : spec->width,
		     spec->precision > 100 ? 100 : spec->precision,
		     narrowed(value, spec, is_signed));
	if (n > 0)
		put_text(o, &plain, text, NULL,
			 (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

static void put_double(struct out *o, const struct spec *spec, char type, double value)
{
	struct spec plain = {.precision = -1};
	char how[16], text[400];
	int n;

	snprintf(how, sizeof(how), "%%%s*.*%c", spec->flags, type);
	n = snprintf(text, sizeof(text), how, spec->width > 60 ? 60 : spec->width,
		     spec->precision > 60 ? 60 : spec->precision, value);
	if (n > 0)
		put_text(o, &plain, text, NULL,
			 (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

/* ---- directives ---- */

static int number_or_star(struct format *f, va_list *args)
{
	int n = 0;

	if (peek(f) == '*') {
		next(f);
		return va_arg(*args, int);
	}
	while (peek(f) >= '0' && peek(f) <= '9') {
		int digit = next(f) - '0';

		n = n > 100000 ? n : n * 10 + digit;
	}
	return n;
}

static void parse_flags(struct format *f, struct spec *spec)
{
	size_t n = 0;

	while (peek(f) && peek(f) < 0x80 && strchr("-+ #0", peek(f))) {
		char c = (char)next(f);

		if (!strchr(spec->flags, c) && n < sizeof(spec->flags) - 1)
			spec->flags[n++] = c;
	}
}

static enum width twice(struct format *f, WCHAR c, enum width once, enum width two)
{
	if (peek(f) != c)
		return once;
	next(f);
	return two;
}

/* I, I32, I64 */
static enum width parse_capital_i(struct format *f)
{
	WCHAR digit = peek(f);

	if (digit != '3' && digit != '6')
		return W_64;
	next(f);
	next(f);
	return digit == '3' ? W_INT : W_64;
}

static enum width parse_size(struct format *f)
{
	switch (peek(f)) {
	case 'h':
		next(f);
		return twice(f, 'h', W_SHORT, W_CHAR);
	case 'l':
		next(f);
		return twice(f, 'l', W_LONG, W_64);
	case 'w':
		next(f);
		return W_LONG;
	case 'I':
		next(f);
		return parse_capital_i(f);
	case 'z':
	case 'j':
	case 't':
		next(f);
		return W_64;
	default:
		return W_INT;
	}
}

static struct spec parse_spec(struct format *f, va_list *args)
{
	struct spec spec = {.precision = -1};

	parse_flags(f, &spec);
	spec.width = number_or_star(f, args);
	if (spec.width < 0) {
		spec.width = spec.width == INT32_MIN ? 0 : -spec.width;
		if (strlen(spec.flags) < sizeof(spec.flags) - 1)
			strcat(spec.flags, "-");
	}
	if (peek(f) == '.') {
		next(f);
		spec.precision = number_or_star(f, args);
	}
	spec.size = parse_size(f);
	return spec;
}

/* %s is as wide as the format, %S is the other; h and l (w) say it. */
static bool is_wide(const struct spec *spec, bool capital, bool wide_format)
{
	if (spec->size == W_SHORT)
		return false;
	if (spec->size == W_LONG)
		return true;
	return wide_format != capital;
}

static void put_char(struct out *o, const struct spec *spec, int value, bool wide)
{
	WCHAR w = (WCHAR)value;
	char c = (char)value;

	put_text(o, spec, wide ? NULL : &c, wide ? &w : NULL, 1);
}

static void directive(struct out *o, struct format *f, va_list *args)
{
	struct spec spec = parse_spec(f, args);
	bool wide_format = f->wide != NULL;
	WCHAR type = peek(f);

	if (!type)
		return;
	next(f);
	switch (type) {
	case 'd':
	case 'i':
	case 'u':
	case 'x':
	case 'X':
	case 'o':
		put_number(o, &spec, (char)type,
			   spec.size == W_64 ? va_arg(*args, uint64_t) : va_arg(*args, uint32_t));
		break;
	case 'p':
		spec.size = W_64;
		spec.precision = 2 * sizeof(void *);
		put_number(o, &spec, 'X', (uintptr_t)va_arg(*args, void *));
		break;
	case 'c':
	case 'C':
		put_char(o, &spec, va_arg(*args, int), is_wide(&spec, type == 'C', wide_format));
		break;
	case 's':
	case 'S':
		put_string(o, &spec, va_arg(*args, void *),
			   is_wide(&spec, type == 'S', wide_format));
		break;
	case 'Z':
		put_counted(o, &spec, va_arg(*args, void *));
		break;
	case 'e':
	case 'f':
	case 'g':
		put_double(o, &spec, (char)type, va_arg(*args, double));
		break;
	default: /* %% and what nobody knows */
		put_wide(o, type);
		break;
	}
}

static bool format_to(struct out *o, struct format f, va_list args)
{
	va_list copy;
	WCHAR c;

	va_copy(copy, args);
	while ((c = next(&f))) {
		if (c == '%')
			directive(o, &f, &copy);
		else
			put_unit(o, c);
	}
	va_end(copy);
	if (o->narrow)
		o->narrow[o->used] = 0;
	else if (!o->counted)
		o->wide[o->used] = 0;
	return !o->cut;
}

bool nt_format(char *text, size_t size, const char *format, va_list args)
{
	struct out o = {.narrow = text, .room = size};

	return format_to(&o, (struct format){.narrow = format}, args);
}

bool nt_format_wide(WCHAR *text, size_t size, const WCHAR *format, va_list args)
{
	struct out o = {.wide = text, .room = size};

	return format_to(&o, (struct format){.wide = format}, args);
}

bool nt_format_counted(WCHAR *text, size_t *size, const WCHAR *format, va_list args)
{
	struct out o = {.wide = text, .room = *size, .counted = true};
	bool whole = format_to(&o, (struct format){.wide = format}, args);

	*size = o.used;
	return whole;
}
