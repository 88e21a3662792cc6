/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The part of the NT executive that a KMCL driver calls, for drivers that run in a Linux process.
 *
 * IRQL is simulated per thread. Where Windows would stop with a bug check (a wait at
 * DISPATCH_LEVEL, a pool block freed twice), the library reports a contract violation, which by
 * default ends the process.
 *
 * C11, C17 or C++17; no compiler flag is needed. WCHAR has 16 bits: drivers that use L"" literals
 * are compiled with -fshort-wchar.
 */
#ifndef _WDMDDK_
#define _WDMDDK_

#include "ntdef.h"
#include "ntstatus.h"
#include "guiddef.h"

#include "openkmcl/interlocked.h"
#include "openkmcl/ke.h"
#include "openkmcl/ps.h"
#include "openkmcl/rtl.h"
#include "openkmcl/ex.h"
#include "openkmcl/mm.h"
#include "openkmcl/io.h"
#include "openkmcl/zw.h"

#endif
