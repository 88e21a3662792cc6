/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Annotations for drivers: interrupt level, ownership, function classes. Nothing to a compiler.
 */
#ifndef _OPENKMCL_DRIVERSPECS_H_
#define _OPENKMCL_DRIVERSPECS_H_

#define _IRQL_limited_to_(i)
#define _IRQL_raises_(i)
#define _IRQL_requires_(i)
#define _IRQL_requires_max_(i)
#define _IRQL_requires_min_(i)
#define _IRQL_requires_same_
#define _IRQL_restores_
#define _IRQL_restores_global_(k, p)
#define _IRQL_saves_
#define _IRQL_saves_global_(k, p)
#define _IRQL_always_function_max_(i)
#define _IRQL_always_function_min_(i)
#define _IRQL_is_cancel_
#define _IRQL_uses_cancel_
#define _Function_class_(c)
#define _Dispatch_type_(t)
#define _Kernel_clear_do_init_(x)
#define _Kernel_float_restored_
#define _Kernel_float_saved_
#define _Kernel_float_used_
#define _Kernel_IoGetDmaAdapter_
#define _Kernel_releases_resource_(k)
#define _Kernel_requires_resource_held_(k)
#define _Kernel_requires_resource_not_held_(k)
#define _Kernel_acquires_resource_(k)

#define __drv_aliasesMem
#define __drv_allocatesMem(m)
#define __drv_freesMem(m)
#define __drv_acquiresResource(k)
#define __drv_releasesResource(k)
#define __drv_acquiresExclusiveResource(k)
#define __drv_releasesExclusiveResource(k)
#define __drv_clearDoInit(x)
#define __drv_completionType(t)
#define __drv_dispatchType(t)
#define __drv_dispatchType_other
#define __drv_freesMemory(m)
#define __drv_functionClass(c)
#define __drv_in(a)
#define __drv_in_deref(a)
#define __drv_inTry
#define __drv_isCancelIRQL
#define __drv_isObjectPointer
#define __drv_maxFunctionIRQL(i)
#define __drv_maxIRQL(i)
#define __drv_minFunctionIRQL(i)
#define __drv_minIRQL(i)
#define __drv_mustHold(k)
#define __drv_mustHoldCriticalRegion
#define __drv_neverHold(k)
#define __drv_nonConstant
#define __drv_notInTry
#define __drv_notPointer
#define __drv_out(a)
#define __drv_out_deref(a)
#define __drv_preferredFunction(f, w)
#define __drv_raisesIRQL(i)
#define __drv_reportError(w)
#define __drv_requiresIRQL(i)
#define __drv_restoresIRQL
#define __drv_restoresIRQLGlobal(k, p)
#define __drv_ret(a)
#define __drv_sameIRQL
#define __drv_savesIRQL
#define __drv_savesIRQLGlobal(k, p)
#define __drv_setsIRQL(i)
#define __drv_strictType(t, m)
#define __drv_strictTypeMatch(m)
#define __drv_unit(k)
#define __drv_useCancelIRQL
#define __drv_valueIs(v)
#define __drv_when(c, a)
#define __drv_at(e, a)
#define __drv_arg(e, a)

#endif
