/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The one way out for messages. A line carries a level, a subsystem, the partition and the channel
 * that it is about. What a peer can provoke goes through KMCL_LOG_PEER, which limits and counts.
 */
#ifndef KMCL_BASE_LOG_H
#define KMCL_BASE_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

enum kmcl_log_level {
	KMCL_LOG_ERROR,
	KMCL_LOG_WARNING,
	KMCL_LOG_INFO,
	KMCL_LOG_DEBUG,
};

typedef void kmcl_log_fn(void *ctx, enum kmcl_log_level level, const char *subsystem,
			 uint32_t partition, uint32_t channel, const char *text);

/** NULL: the default, stderr filtered by KMCL_LOG=level[,subsystem] (default warning). */
void kmcl_log_set(kmcl_log_fn *fn, void *ctx);
bool kmcl_log_enabled(enum kmcl_log_level level);
void kmcl_log(enum kmcl_log_level level, const char *subsystem, uint32_t partition,
	      uint32_t channel, const char *format, ...) __attribute__((format(printf, 5, 6)));

/** At most 10 lines a second from one place; the rest are counted and told with the next line. */
struct kmcl_log_limit {
	uint64_t window_start_ns;
	uint32_t in_window;
	uint32_t suppressed;
};
bool kmcl_log_allow(struct kmcl_log_limit *limit);

#define KMCL_LOG_PEER(level, subsystem, partition, channel, ...)                     \
	do {                                                                         \
		static struct kmcl_log_limit limit_;                                 \
		if (kmcl_log_allow(&limit_))                                         \
			kmcl_log(level, subsystem, partition, channel, __VA_ARGS__); \
	} while (0)

#endif
