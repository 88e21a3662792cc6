/* SPDX-License-Identifier: MIT */
/** @file Text of JSON, which is UTF-8, and of guests, which is UTF-16 with a 0 at its end. */
#ifndef TOOLS_GUEST_TEXT_H
#define TOOLS_GUEST_TEXT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/** Bytes written, the final 0 included; 0: no text, or no room. */
uint32_t guest_text_put(uint8_t *to, size_t room, const char *text);
/** Text in a field of that size that ends before it does. */
json_t *guest_text_json(const uint8_t *from, size_t size);

#endif
