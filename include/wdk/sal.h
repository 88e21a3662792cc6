/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Microsoft's source annotations (SAL 2 and the driver annotations). They tell an analyser what a
 * parameter means; to a compiler they are nothing.
 *
 * The older double-underscore set (__in, __out ...) is left out on purpose: the C++ standard
 * library uses those names as identifiers.
 */
#ifndef _OPENKMCL_SAL_H_
#define _OPENKMCL_SAL_H_

/* parameters */
#define _In_
#define _In_opt_
#define _In_z_
#define _In_opt_z_
#define _In_reads_(n)
#define _In_reads_opt_(n)
#define _In_reads_z_(n)
#define _In_reads_or_z_(n)
#define _In_reads_bytes_(n)
#define _In_reads_bytes_opt_(n)
#define _In_range_(lo, hi)
#define _In_count_(n)
#define _In_bytecount_(n)
#define _Out_
#define _Out_opt_
#define _Out_writes_(n)
#define _Out_writes_opt_(n)
#define _Out_writes_z_(n)
#define _Out_writes_opt_z_(n)
#define _Out_writes_to_(n, c)
#define _Out_writes_to_opt_(n, c)
#define _Out_writes_all_(n)
#define _Out_writes_bytes_(n)
#define _Out_writes_bytes_opt_(n)
#define _Out_writes_bytes_to_(n, c)
#define _Out_writes_bytes_to_opt_(n, c)
#define _Out_writes_bytes_all_(n)
#define _Out_writes_bytes_all_opt_(n)
#define _Out_range_(lo, hi)
#define _Outptr_
#define _Outptr_opt_
#define _Outptr_result_maybenull_
#define _Outptr_opt_result_maybenull_
#define _Outptr_result_nullonfailure_
#define _Outptr_result_buffer_(n)
#define _Outptr_result_bytebuffer_(n)
#define _Outptr_opt_result_bytebuffer_(n)
#define _Outptr_result_z_
#define _Outref_
#define _COM_Outptr_
#define _Inout_
#define _Inout_opt_
#define _Inout_z_
#define _Inout_updates_(n)
#define _Inout_updates_opt_(n)
#define _Inout_updates_z_(n)
#define _Inout_updates_to_(n, c)
#define _Inout_updates_bytes_(n)
#define _Inout_updates_bytes_opt_(n)
#define _Inout_updates_bytes_to_(n, c)
#define _Inout_updates_bytes_all_(n)
#define _Reserved_
#define _Const_
#define _Printf_format_string_
#define _Points_to_data_
#define _Unreferenced_parameter_
#define _Inexpressible_(e)
#define _Literal_
#define _Notliteral_
#define _Notnull_
#define _Maybenull_
#define _Null_terminated_
#define _NullNull_terminated_
#define _Valid_
#define _Notvalid_
#define _Readable_bytes_(n)
#define _Readable_elements_(n)
#define _Writable_bytes_(n)
#define _Writable_elements_(n)

/* fields */
#define _Field_size_(n)
#define _Field_size_opt_(n)
#define _Field_size_part_(n, c)
#define _Field_size_full_(n)
#define _Field_size_bytes_(n)
#define _Field_size_bytes_opt_(n)
#define _Field_size_bytes_part_(n, c)
#define _Field_size_bytes_full_(n)
#define _Field_range_(lo, hi)
#define _Field_z_
#define _Struct_size_bytes_(n)

/* results, conditions */
#define _Ret_
#define _Ret_z_
#define _Ret_opt_z_
#define _Ret_maybenull_
#define _Ret_maybenull_z_
#define _Ret_notnull_
#define _Ret_null_
#define _Ret_valid_
#define _Ret_range_(lo, hi)
#define _Ret_writes_(n)
#define _Ret_writes_bytes_(n)
#define _Ret_writes_bytes_maybenull_(n)
#define _Success_(e)
#define _Return_type_success_(e)
#define _On_failure_(a)
#define _Always_(a)
#define _Check_return_
#define _Check_return_opt_
#define _Must_inspect_result_
#define _Result_nullonfailure_
#define _Result_zeroonfailure_
#define _Use_decl_annotations_
#define _When_(c, a)
#define _At_(t, a)
#define _At_buffer_(t, i, n, a)
#define _Group_(a)
#define _Pre_
#define _Pre_defensive_
#define _Pre_maybenull_
#define _Pre_notnull_
#define _Pre_null_
#define _Pre_satisfies_(e)
#define _Pre_valid_
#define _Pre_opt_valid_
#define _Pre_writable_size_(n)
#define _Pre_writable_byte_size_(n)
#define _Pre_readable_size_(n)
#define _Pre_readable_byte_size_(n)
#define _Post_
#define _Post_defensive_
#define _Post_equal_to_(e)
#define _Post_equals_last_error_
#define _Post_invalid_
#define _Post_maybenull_
#define _Post_notnull_
#define _Post_null_
#define _Post_ptr_invalid_
#define _Post_readable_byte_size_(n)
#define _Post_satisfies_(e)
#define _Post_valid_
#define _Post_writable_byte_size_(n)
#define _Prepost_valid_
#define _Satisfies_(e)
#define _Analysis_noreturn_
#define _Analysis_assume_(e)
#define _Analysis_assume_nullterminated_(e)
#define _Analysis_mode_(m)
#define __analysis_assume(e)
#define _Null_
#define _Enum_is_bitflag_
#define _Strict_type_match_
#define _Raises_SEH_exception_
#define _Maybe_raises_SEH_exception_
#define _Flexible_array_

/* concurrency */
#define _Acquires_lock_(l)
#define _Acquires_exclusive_lock_(l)
#define _Acquires_shared_lock_(l)
#define _Acquires_nonreentrant_lock_(l)
#define _Releases_lock_(l)
#define _Releases_exclusive_lock_(l)
#define _Releases_shared_lock_(l)
#define _Releases_nonreentrant_lock_(l)
#define _Requires_lock_held_(l)
#define _Requires_exclusive_lock_held_(l)
#define _Requires_shared_lock_held_(l)
#define _Requires_lock_not_held_(l)
#define _Requires_no_locks_held_
#define _Guarded_by_(l)
#define _Write_guarded_by_(l)
#define _Interlocked_
#define _Interlocked_operand_
#define _Has_lock_kind_(k)
#define _Has_lock_level_(l)
#define _Lock_level_order_(a, b)
#define _Create_lock_level_(l)
#define _No_competing_thread_
#define _No_competing_thread_begin_
#define _No_competing_thread_end_
#define _Post_same_lock_(a, b)

#include "driverspecs.h"

#endif
