/* SPDX-License-Identifier: MIT */
/** @file Sentences that say what was wrong. */
#ifndef BASE_SENTENCE_H
#define BASE_SENTENCE_H

/** Like asprintf(). NULL when memory is short; the caller frees. */
char *sentence(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
