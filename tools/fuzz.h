/* SPDX-License-Identifier: MIT */
/**
 * @file
 * kmcl fuzz. Two processes: the parent makes inputs, keeps those that reach something new, and
 * writes down what goes wrong; a child holds the driver and speaks the wire to it. What they share
 * is one piece of memory, so that nothing is lost when the child dies.
 *
 *     fuzz.c           the command
 *     fuzz_loop.c      what to try next
 *     fuzz_corpus.c    the inputs that lead on, and which of them is taken
 *     fuzz_mutate.c    one input out of others
 *     fuzz_input.c     inputs as bytes, files and words
 *     fuzz_found.c     findings: seen again, made smaller, saved
 *     fuzz_child.c     the child, as the parent sees it
 *     fuzz_run.c       the child, from the inside
 *     fuzz_guest.c     a guest for a server driver; fuzz_host.c a host for a client driver
 *     fuzz_wire.c      rings and packets, and the steps that both have in common
 *     fuzz_wait.c      how long a driver is waited for
 *     fuzz_coverage.c  what the driver's instrumentation calls
 */
#ifndef TOOLS_FUZZ_H
#define TOOLS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <kmcl/kmcl.h>

/* ---- inputs ---- */

#define FUZZ_STEPS   48u
#define FUZZ_DATA    1024u /* bytes that a step carries */
#define FUZZ_ENCODED (FUZZ_STEPS * (FUZZ_DATA + 16u))

enum fuzz_op {
	FUZZ_SEND,     /* an in-band packet */
	FUZZ_EXTERNAL, /* one with external data: its last `type` bytes, over the pages of it */
	FUZZ_RAW,      /* a packet whose descriptor says anything: type, offset a, length b */
	FUZZ_TOUCH,    /* other bytes into the pages of external data, at a */
	FUZZ_ANSWER,   /* completes a request of the driver's: the a-th */
	FUZZ_MANNERS,  /* what becomes of the driver's next count - 1 requests, or of all, by
			  itself: enum fuzz_manners */
	FUZZ_PAUSE,    /* a while in which nothing is sent */
	FUZZ_CLOSE,    /* a guest closes, a host rescinds */
	FUZZ_OPEN,     /* a guest opens with rings of a pages, a host offers again */
	FUZZ_RESET,    /* a guest unloads or is reset, and comes back */
	FUZZ_GPADL,    /* a guest announces memory of a pages */
	FUZZ_TEARDOWN, /* and takes it back */
	FUZZ_MODIFY,   /* a guest moves the channel's interrupt */
	FUZZ_REFUSE,   /* a host refuses the next open */
	FUZZ_OPS,
};

enum fuzz_flag {
	FUZZ_ASK = 1,   /* the packet wants a completion */
	FUZZ_HURRY = 2, /* the next step does not wait for the driver */
	FUZZ_LONG = 4,  /* the data is repeated up to a bytes */
	FUZZ_PUT = 8,   /* the newest GPADL's id goes into the data, at b */
	FUZZ_FORGE = 16 /* an id that is not one; no framing on a pipe; ... */
};

enum fuzz_manners {
	FUZZ_ANSWERS,     /* completes with the request's own bytes */
	FUZZ_ANSWERS_SO,  /* completes with the step's data */
	FUZZ_KEEPS_QUIET, /* leaves it to FUZZ_ANSWER */
	FUZZ_MANNERS_COUNT,
};

struct fuzz_step {
	uint8_t op, channel, flags, count;
	uint16_t type, size; /* bytes of data */
	uint32_t a, b;
	uint8_t data[FUZZ_DATA];
};

struct fuzz_input {
	uint32_t count;
	struct fuzz_step step[FUZZ_STEPS];
};

void fuzz_input_copy(struct fuzz_input *to, const struct fuzz_input *from);
void fuzz_step_copy(struct fuzz_step *to, const struct fuzz_step *from);
/** The bytes written; `to` has room for FUZZ_ENCODED. */
size_t fuzz_encode(const struct fuzz_input *in, uint8_t *to);
/** Any bytes are an input; those that are left over are none of it. */
void fuzz_decode(struct fuzz_input *in, const uint8_t *from, size_t size);
void fuzz_input_print(const struct fuzz_input *in, enum kmcl_end end, FILE *to);

/** A file: one input after another, which one child ran. */
struct fuzz_history {
	enum kmcl_end end; /* of the driver */
	uint32_t count;
	struct {
		uint8_t *bytes;
		size_t size;
	} * run;
};
bool fuzz_history_add(struct fuzz_history *h, const uint8_t *bytes, size_t size);
void fuzz_history_clear(struct fuzz_history *h);
bool fuzz_history_save(const struct fuzz_history *h, const char *path);
/** False: said why. */
bool fuzz_history_load(struct fuzz_history *h, const char *path);

/* ---- what parent and child share ---- */

/* Places: edges of the driver, and at the end the kinds of its answers. */
#define FUZZ_MAP      65536u
#define FUZZ_EDGES    (FUZZ_MAP - 1024u)
#define FUZZ_COMPARES 512u

enum fuzz_kind {
	FUZZ_NOTHING,
	FUZZ_VIOLATION, /* a rule of the verifier, with or without the name of violation */
	FUZZ_SIGNAL,
	FUZZ_EXIT, /* a sanitizer, or the driver, ended the process */
	FUZZ_HANG,
	FUZZ_LEAK,
	FUZZ_UNABLE, /* no finding: the driver does not load, or does not open its channel */
};

struct fuzz_compare {
	uint64_t a, b;
	uint32_t size;     /* bytes; 0: none */
	uint32_t site;     /* in the driver */
	uint32_t constant; /* a is one: nobody needs b in the place of it */
};

struct fuzz_shared {
	/* the parent's */
	uint32_t size;
	uint32_t replay; /* nonzero: the driver is waited for, however busy the machine is */
	uint8_t input[FUZZ_ENCODED];
	/* the child's */
	uint32_t kind;  /* enum fuzz_kind */
	uint32_t step;  /* that is, or was, the last */
	uint32_t waits; /* how often the run waited for a driver in vain */
	char rule[96];
	char text[2048];
	char trace[4096];
	uint64_t pc; /* of a signal: the innermost address in the driver; 0: none */
	uint64_t driver_at, driver_end, driver_base; /* its code, and where the file lies */
	uint64_t edges; /* counters that the driver has; 0: it was built without */
	uint64_t packets, answers, opens;
	/* steps of each kind, and those after which the channel's traffic had ended */
	uint32_t tried[FUZZ_OPS], ended[FUZZ_OPS];
	struct fuzz_compare compare[FUZZ_COMPARES];
	uint8_t map[FUZZ_MAP];
};

/* ---- the child ---- */

#define FUZZ_IGNORED 32u

struct fuzz_setup {
	const char *spec; /* of the driver, with its options */
	enum kmcl_end end;
	uint8_t interface_id[16], instance_id[16]; /* that a host offers */
	bool pipe;                                 /* the offer is of a pipe */
	uint32_t timeout_ms;
	uint32_t processors;
	const char *ignored[FUZZ_IGNORED]; /* rules that are no finding */
	uint32_t ignored_count;
	bool loud; /* what the driver and the library say is seen */
};

struct fuzz_child {
	const struct fuzz_setup *setup;
	struct fuzz_shared *shared;
	int pid; /* 0: none */
	int go, done, noise;
	uint64_t runs; /* of this child */
};

struct fuzz_finding {
	enum fuzz_kind kind;
	char name[128];  /* what tells it from others; fit for a file's name */
	char text[2400]; /* a sentence */
	char more[6000]; /* a backtrace, the sanitizer's report; may be empty */
};

/** Makes the memory and the pipes. */
bool fuzz_child_init(struct fuzz_child *c, const struct fuzz_setup *setup);
void fuzz_child_destroy(struct fuzz_child *c);
/** Runs one input in the child, in a new one if there is none. False: there is a finding, and no
 *  child any more. */
bool fuzz_child_run(struct fuzz_child *c, const uint8_t *bytes, size_t size,
		    struct fuzz_finding *f);
/** The child unloads the driver and ends. False: that is the finding. */
bool fuzz_child_finish(struct fuzz_child *c, struct fuzz_finding *f);
/** Ends it as it is. */
void fuzz_child_kill(struct fuzz_child *c);
/** All of it in a child of its own, and its end. False: a finding; none by `until` (fuzz_now_ms())
 * is none. */
bool fuzz_child_replay(struct fuzz_child *c, const struct fuzz_history *h, uint64_t until,
		       struct fuzz_finding *f);

/* ---- inside the child ---- */

/** Serves runs until the parent ends it; never returns. */
void fuzz_run_serve(const struct fuzz_setup *setup, struct fuzz_shared *shared, int go, int done)
	__attribute__((noreturn));
/** In this process, for a debugger: what is wrong ends it. */
void fuzz_run_here(const struct fuzz_setup *setup, struct fuzz_shared *shared,
		   const struct fuzz_history *h);

struct fuzz_peer;
/** Two kinds: a guest and a host. */
struct fuzz_peer *fuzz_guest_create(const struct fuzz_setup *setup, struct fuzz_shared *shared,
				    kmcl_driver **driver, char **error);
struct fuzz_peer *fuzz_host_create(const struct fuzz_setup *setup, struct fuzz_shared *shared,
				   kmcl_driver **driver, char **error);

/* ---- coverage ---- */

/** From here on the counters of what is loaded are the driver's; false: no more. */
void fuzz_coverage_accept(struct fuzz_shared *shared, bool accept);
/** Before and after a run: counters begin at zero, and are in shared->map. */
void fuzz_coverage_begin(void);
void fuzz_coverage_end(void);

/* ---- the parent ---- */

struct fuzz_random {
	uint64_t state;
};
uint64_t fuzz_random(struct fuzz_random *r);
/** From 0 to n - 1; 0 when n is. */
uint32_t fuzz_below(struct fuzz_random *r, uint32_t n);

struct fuzz_mutator {
	struct fuzz_random random;
	enum kmcl_end end;
	const struct fuzz_shared *shared;
	const struct fuzz_compare *compare; /* what the driver compared in the input at hand */
	uint32_t compares;
};
void fuzz_invent(struct fuzz_mutator *m, struct fuzz_input *in);
/** `other` is another of the corpus, to take from. */
void fuzz_mutate(struct fuzz_mutator *m, struct fuzz_input *in, const struct fuzz_input *other);

#define FUZZ_VARIANTS 64u
/** One number of a comparison in the place of the other, somewhere. False: there is no such place.
 */
bool fuzz_substitute(struct fuzz_input *in, const struct fuzz_compare *c, uint32_t variant);
/** One more step behind the others. False: there is no room. */
bool fuzz_append(struct fuzz_input *in, const struct fuzz_step *step);
/** One great number in the last step, the n-th. False: there are no more. */
bool fuzz_extreme(struct fuzz_input *in, uint32_t n);
/** Without the steps from `from` on, up to `to`. */
void fuzz_cut(struct fuzz_input *in, uint32_t from, uint32_t to);

/* ---- the corpus ---- */

#define FUZZ_CORPUS 4096u
#define FUZZ_LEADS  256u
#define FUZZ_FRESH  256u
#define FUZZ_KNOWN  (1u << 18)
#define FUZZ_NOBODY UINT16_MAX

struct fuzz_entry {
	uint8_t *bytes;
	size_t size, cost;
	/* what the driver compared in it, first what it never compared before */
	struct fuzz_compare *compare;
	uint32_t compares, novel;
	bool leads; /* to a place where none was before it */
	/* what it gets once: substitutions, steps behind the last, great numbers in that */
	struct {
		uint32_t compare, variant, appended, extreme;
	} done;
};

/** Places, and how often: one bit for each range of counts. */
struct fuzz_fresh {
	uint32_t count, places; /* of which nobody came to before */
	struct {
		uint32_t place;
		uint8_t bits;
	} at[FUZZ_FRESH];
};

struct fuzz_corpus {
	const struct fuzz_shared *shared;
	struct fuzz_random *random;
	struct fuzz_entry entry[FUZZ_CORPUS];
	uint32_t count;
	uint32_t lead[FUZZ_LEADS], leads;  /* entries that do */
	uint8_t seen[FUZZ_MAP];            /* of each place the bits */
	uint32_t hits[FUZZ_MAP];           /* runs that came there */
	uint32_t place[FUZZ_MAP], reached; /* that any run came to, in order */
	uint16_t best[FUZZ_MAP];           /* the entry that comes there at the least cost */
	uint8_t known[FUZZ_KNOWN / 8];     /* comparisons, by their hash */
};

void fuzz_corpus_init(struct fuzz_corpus *c, const struct fuzz_shared *shared,
		      struct fuzz_random *random);
void fuzz_corpus_clear(struct fuzz_corpus *c);
/** Looks where the last run came to; `fresh`: where none came before. True: it is worth keeping. */
bool fuzz_corpus_judge(struct fuzz_corpus *c, size_t size, struct fuzz_fresh *fresh);
/** Whether the last run came to all of it. */
bool fuzz_corpus_covers(const struct fuzz_corpus *c, const struct fuzz_fresh *fresh);
/** Keeps the input of the last run. False: out of memory. */
bool fuzz_corpus_keep(struct fuzz_corpus *c, const uint8_t *bytes, size_t size, bool leads);
/** One to make others of; `in` is it. There is one. */
const struct fuzz_entry *fuzz_corpus_choose(struct fuzz_corpus *c, struct fuzz_input *in);

struct fuzz_options {
	struct fuzz_setup setup;
	const char *corpus, *found; /* folders; corpus: NULL for none */
	uint64_t seed, runs, seconds, minimise_s;
	bool keep_going;
};
/** The number of findings, or -1: it could not be done; said why. */
int fuzz_loop(const struct fuzz_options *options);

/** Looks whether it can be seen again, makes it smaller, saves and tells it. `h` is what the child
 *  ran, the last of it what it died of. */
void fuzz_found(const struct fuzz_options *options, struct fuzz_history *h,
		const struct fuzz_finding *f);
void fuzz_finding_print(const struct fuzz_finding *f, FILE *to);

uint64_t fuzz_now_ms(void);

#endif
