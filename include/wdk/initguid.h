/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Include in one source file, before the headers whose GUIDs it is to define.
 */
#ifndef INITGUID
#define INITGUID
#endif
#include "guiddef.h"
