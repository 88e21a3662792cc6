/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The verifier: what a driver does against the DDI is reported with the rule's name.
 * docs/verifier.md lists the rules and what to do about each.
 */
#ifndef KMCL_VERIFY_H
#define KMCL_VERIFY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum kmcl_rule_severity {
	KMCL_RULE_VIOLATION, /**< stands for a bug check: kmcl_set_violation, by default an abort */
	KMCL_RULE_REPORT,    /**< told to kmcl_set_report, by default the log; the call goes on */
};

/** Names are stable. */
struct kmcl_rule {
	const char *name;
	const char *group;   /**< "channel", "executive" or "framework" */
	uint32_t severity;   /**< enum kmcl_rule_severity */
	uint32_t verifier;   /**< nonzero: looked for only while the verifier is on */
	const char *summary; /**< what the driver did, a sentence */
	const char *advice;  /**< what to do, a sentence */
};

/** NULL: there are no more. */
const struct kmcl_rule *kmcl_rule_at(size_t index);
/** NULL: no rule of that name. */
const struct kmcl_rule *kmcl_rule_find(const char *name);

enum kmcl_verifier_mode {
	KMCL_VERIFIER_OFF,         /**< rules marked `verifier` are not looked for */
	KMCL_VERIFIER_ABORT,       /**< all rules; a violation ends the process by default */
	KMCL_VERIFIER_REPORT_ONLY, /**< all rules; a violation is logged by default */
};

struct kmcl_verifier_options {
	uint32_t size;       /**< sizeof(struct kmcl_verifier_options); set by kmcl_verifier_get */
	uint32_t mode;       /**< enum kmcl_verifier_mode */
	uint32_t suspend_ms; /**< how long Suspend waits for a driver before it is reported; default
				30000 */
	uint32_t reserved[5];
};
/** What holds now: the build's default, or what the environment's KMCL_VERIFIER says. */
void kmcl_verifier_get(struct kmcl_verifier_options *options);
/** -EINVAL: another version's structure, or no such mode. Drivers that are loaded keep what they
 *  hold: set it before. */
int kmcl_verifier_set(const struct kmcl_verifier_options *options);

/** A report that is no violation. Called on the driver's thread; NULL: the log. */
typedef void kmcl_report_callback(void *ctx, const char *rule, const char *driver,
				  const char *text);
void kmcl_set_report(kmcl_report_callback *callback, void *ctx);

/** More about what is being reported, for a violation or report callback, on its own thread. Each
 *  text is cut to its room. */
struct kmcl_violation_details {
	uint32_t size; /**< sizeof(struct kmcl_violation_details); set by the caller */
	uint32_t reserved;
	char channel[96];     /**< friendly name, or id and end; empty: not about a channel */
	char backtrace[4096]; /**< innermost first, a line a frame: "function+0x12 (file.so)" */
};
/** -EINVAL: another version's structure. */
int kmcl_violation_describe(struct kmcl_violation_details *details);

#ifdef __cplusplus
}
#endif

#endif
