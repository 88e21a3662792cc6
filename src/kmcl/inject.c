/* SPDX-License-Identifier: MIT */
/*
 * Which calls are to fail. A fault counts the calls that it might be about, so that the same number
 * in another run is the same call as far as the program's threads allow; the chance of a random one
 * depends on seed and number alone.
 */
#include "kmcl/inject.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/sentence.h"
#include "kmcl/channel.h"

#define FAULTS_MAX   16u
#define MILLION      1000000u
#define LOUD         10u /* of one fault: after these its injections are logged as information */
#define NAME_MAX_    64u
#define DEFAULT_SEED 1u
#define MAX_DELAY_US 60000000ull

enum when {
	WHEN_NTH,
	WHEN_EVERY,
	WHEN_CHANCE,
};

struct fault {
	enum kmcl_fault_kind kind;
	enum when when;
	uint64_t n;      /* the Nth, or every Nth */
	uint32_t chance; /* of a million */
	uint64_t seed;
	uint32_t delay_us;
	char driver[NAME_MAX_]; /* empty: any */
	uint64_t calls, injected;
};

_Atomic uint32_t kmcl_fault_kinds;

static const char *const kind_names[KMCL_FAULT_KINDS] = {"alloc", "pend",    "room",
							 "close", "rescind", "reset"};

static struct {
	struct spin_lock lock;
	unsigned int count;
	struct fault list[FAULTS_MAX];
	uint64_t calls[KMCL_FAULT_KINDS], injected[KMCL_FAULT_KINDS];
} faults;

/* ---- the decision ---- */

/* The same for the same seed and number, whatever other threads do. */
static uint64_t mix(uint64_t seed, uint64_t n)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15u + n;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static bool is_due(const struct fault *f)
{
	switch (f->when) {
	case WHEN_NTH:
		return f->calls == f->n;
	case WHEN_EVERY:
		return f->calls % f->n == 0;
	case WHEN_CHANCE:
		return mix(f->seed, f->calls) % MILLION < f->chance;
	}
	return false;
}

static void tell(const struct fault *f, const char *driver, const char *function)
{
	char delay[32] = "", only[NAME_MAX_ + 16] = "";

	if (f->delay_us)
		snprintf(delay, sizeof(delay), ":%uus", f->delay_us);
	if (f->driver[0])
		snprintf(only, sizeof(only), ":driver=%s", f->driver);
	kmcl_log(f->injected > LOUD ? KMCL_LOG_INFO : KMCL_LOG_WARNING, "fault", 0, 0,
		 "%s %llu: call %llu, %s of driver %s. This one alone: KMCL_FAULT=%s@%llu%s%s",
		 kind_names[f->kind], (unsigned long long)f->injected, (unsigned long long)f->calls,
		 function, driver, kind_names[f->kind], (unsigned long long)f->calls, delay, only);
}

bool kmcl_fault_hits(enum kmcl_fault_kind kind, struct nt_driver *driver, const char *function,
		     uint32_t *delay_us)
{
	const char *name = nt_driver_name(driver);
	struct fault hit;
	bool any = false;

	if (!kmcl_faults(kind))
		return false;
	spin_lock(&faults.lock);
	faults.calls[kind]++;
	for (unsigned int i = 0; i < faults.count; i++) {
		struct fault *f = &faults.list[i];

		if (f->kind != kind || (f->driver[0] && strcmp(f->driver, name)))
			continue;
		f->calls++;
		if (any || !is_due(f))
			continue;
		f->injected++;
		hit = *f;
		any = true;
	}
	faults.injected[kind] += any;
	spin_unlock(&faults.lock);
	if (!any)
		return false;
	if (delay_us)
		*delay_us = hit.delay_us;
	tell(&hit, name, function);
	return true;
}

static struct nt_driver *driver_of(const struct kmcl_channel *ch)
{
	return nt_driver_current() ? nt_driver_current() : ch->driver;
}

bool kmcl_fault_alloc(struct kmcl_channel *ch, const char *function)
{
	return kmcl_faults(KMCL_FAULT_ALLOC) &&
	       kmcl_fault_hits(KMCL_FAULT_ALLOC, driver_of(ch), function, NULL);
}

void kmcl_fault_traffic(struct kmcl_channel *ch)
{
	static const enum kmcl_fault_kind kinds[] = {KMCL_FAULT_CLOSE, KMCL_FAULT_RESCIND,
						     KMCL_FAULT_RESET};

	for (size_t i = 0; i < ARRAYSIZE(kinds); i++) {
		if (!kmcl_fault_hits(kinds[i], ch->driver, "a packet", NULL))
			continue;
		if (!kmcl_fault_peer(ch, kinds[i]))
			kmcl_log_channel(ch, KMCL_LOG_WARNING,
					 "no %s: the end that would do it is not in this process",
					 kind_names[kinds[i]]);
	}
}

static bool fail_nt_allocation(const char *function)
{
	return kmcl_fault_hits(KMCL_FAULT_ALLOC, nt_driver_current(), function, NULL);
}

/* ---- specifications ---- */

static bool number(const char *text, uint64_t *n)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*n = strtoull(text, &end, 10);
	return !*end && !errno;
}

/* "0.5" percent, to a millionth. */
static bool percentage(const char *text, uint32_t *of_a_million)
{
	double percent;
	char *end;

	if ((*text < '0' || *text > '9') && *text != '.')
		return false;
	percent = strtod(text, &end);
	if (*end || !(percent > 0 && percent <= 100))
		return false;
	*of_a_million = (uint32_t)(percent * (MILLION / 100) + 0.5);
	return *of_a_million != 0;
}

static bool duration(const char *text, uint32_t *us)
{
	size_t digits = strspn(text, "0123456789");
	uint64_t value, unit;
	char copy[16];

	unit = !strcmp(text + digits, "us") ? 1 : !strcmp(text + digits, "ms") ? 1000 : 0;
	if (!unit || digits >= sizeof(copy))
		return false;
	memcpy(copy, text, digits);
	copy[digits] = 0;
	if (!number(copy, &value) || value > MAX_DELAY_US / unit)
		return false;
	*us = (uint32_t)(value * unit);
	return true;
}

/* "alloc@17", "pend/5", "room%1" */
static char *parse_head(struct fault *f, char *text)
{
	size_t length = strcspn(text, "@/%");
	char sign = text[length];

	text[length] = 0;
	for (f->kind = 0; f->kind < KMCL_FAULT_KINDS; f->kind++) {
		if (!strcmp(text, kind_names[f->kind]))
			break;
	}
	if (f->kind == KMCL_FAULT_KINDS)
		return sentence("'%s' is no fault: they are alloc, pend, room, close, rescind and "
				"reset",
				text);
	text += length + 1;
	switch (sign) {
	case '@':
	case '/':
		f->when = sign == '@' ? WHEN_NTH : WHEN_EVERY;
		if (number(text, &f->n) && f->n)
			return NULL;
		return sentence("'%s' after '%s%c' is no number from 1 on", text,
				kind_names[f->kind], sign);
	case '%':
		f->when = WHEN_CHANCE;
		if (percentage(text, &f->chance))
			return NULL;
		return sentence("'%s' after '%s%%' is no percentage up to 100", text,
				kind_names[f->kind]);
	default:
		return sentence(
			"'%s' says not when: @N is the Nth call, /N every Nth, %%P a chance "
			"of P percent",
			kind_names[f->kind]);
	}
}

static char *parse_option(struct fault *f, const char *text)
{
	if (!strncmp(text, "seed=", 5)) {
		if (f->when == WHEN_CHANCE && number(text + 5, &f->seed))
			return NULL;
		return sentence("'%s': a seed is a number, and of a fault by chance (%%)", text);
	}
	if (!strncmp(text, "driver=", 7)) {
		if (text[7] && strlen(text + 7) < sizeof(f->driver)) {
			strcpy(f->driver, text + 7);
			return NULL;
		}
		return sentence("'%s' names no driver", text);
	}
	if (f->kind == KMCL_FAULT_PEND && duration(text, &f->delay_us))
		return NULL;
	return sentence("'%s' of %s is not understood: it is seed=N, driver=NAME%s", text,
			kind_names[f->kind],
			f->kind == KMCL_FAULT_PEND ? ", or how long, as 200us or 5ms" : "");
}

static char *parse_fault(struct fault *f, char *text)
{
	char *rest = NULL, *word = strtok_r(text, ":", &rest), *error;

	*f = (struct fault){.seed = DEFAULT_SEED};
	if (!word)
		return sentence("a fault is missing between two commas");
	error = parse_head(f, word);
	while (!error && (word = strtok_r(NULL, ":", &rest)))
		error = parse_option(f, word);
	return error;
}

/* NULL: understood. */
static char *parse(const char *spec, struct fault *list, unsigned int *count)
{
	char *copy = strdup(spec), *at = copy, *word, *error = NULL;

	*count = 0;
	if (!copy)
		return sentence("out of memory");
	while (!error && at && *spec && (word = strsep(&at, ","))) {
		if (*count == FAULTS_MAX)
			error = sentence("more than %u faults", FAULTS_MAX);
		else
			error = parse_fault(&list[(*count)++], word);
	}
	free(copy);
	return error;
}

int kmcl_fault_set(const char *spec, char **error)
{
	struct fault list[FAULTS_MAX];
	unsigned int count = 0;
	uint32_t kinds = 0;
	char *why = parse(spec ? spec : "", list, &count);

	if (error)
		*error = why;
	else
		free(why);
	if (why)
		return -EINVAL;
	for (unsigned int i = 0; i < count; i++)
		kinds |= 1u << list[i].kind;
	spin_lock(&faults.lock);
	memcpy(faults.list, list, count * sizeof(list[0]));
	faults.count = count;
	memset(faults.calls, 0, sizeof(faults.calls));
	memset(faults.injected, 0, sizeof(faults.injected));
	atomic_store(&kmcl_fault_kinds, kinds);
	atomic_store(&nt_alloc_fault, kinds & 1u << KMCL_FAULT_ALLOC ? fail_nt_allocation : NULL);
	spin_unlock(&faults.lock);
	return 0;
}

int kmcl_fault_counts(struct kmcl_fault_counts *counts)
{
	if (counts->size != sizeof(*counts))
		return -EINVAL;
	memset(counts->calls, 0, sizeof(counts->calls));
	memset(counts->injected, 0, sizeof(counts->injected));
	spin_lock(&faults.lock);
	memcpy(counts->calls, faults.calls, sizeof(faults.calls));
	memcpy(counts->injected, faults.injected, sizeof(faults.injected));
	spin_unlock(&faults.lock);
	return 0;
}

void kmcl_inject_pending(uint32_t every, uint32_t delay_us)
{
	char spec[64] = "";

	if (every)
		snprintf(spec, sizeof(spec), "pend/%u:%uus", every, delay_us);
	kmcl_fault_set(spec, NULL);
}

/* A run without the faults that were asked for would say nothing: better none. */
__attribute__((constructor)) static void begin(void)
{
	const char *spec = getenv("KMCL_FAULT");
	char *error;

	if (!spec || !kmcl_fault_set(spec, &error))
		return;
	fprintf(stderr, "openkmcl: KMCL_FAULT=%s: %s\n", spec, error ? error : "out of memory");
	exit(2);
}
