/* SPDX-License-Identifier: Apache-2.0
 *
 * livekit_ffi.h - the C ABI of liblivekit_ffi, as the official LiveKit SDKs load it.
 *
 * Requests, responses and events are protobuf messages of the LiveKit FFI schema (FfiRequest, FfiResponse, FfiEvent);
 * docs/ffi.md says what each does here. All four functions may be called from any thread, concurrently, also inside
 * the callback. In a child of the process that used the library first, requests are refused.
 */
#ifndef LIVEKIT_FFI_H
#define LIVEKIT_FFI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LIVEKIT_FFI_API __attribute__((visibility("default")))
#else
#define LIVEKIT_FFI_API
#endif

/* A handle never is this; livekit_ffi_request returns it when it refuses. */
#define LIVEKIT_FFI_INVALID_HANDLE 0

/* Gets one serialized FfiEvent, valid during the call, on a thread of the library, one call after the other. */
typedef void (*livekit_ffi_callback)(const uint8_t *data, size_t len);

/* Names the callback; a second call replaces it. capture_logs: log records come as events, else they go nowhere.
 * sdk, sdk_version (may be NULL) are copied and told to servers from the next connect on. Never fails. */
LIVEKIT_FFI_API void livekit_ffi_initialize(livekit_ffi_callback callback, bool capture_logs, const char *sdk,
                                            const char *sdk_version);

/* Answers one serialized FfiRequest. Returns the handle of the response buffer, to be dropped when it was read; *res
 * and *res_len then are the serialized FfiResponse. Returns 0 and leaves both alone when the request is refused; a log
 * record says why. request is borrowed for the call, as is what it points to. */
LIVEKIT_FFI_API uint64_t livekit_ffi_request(const uint8_t *request, size_t len, const uint8_t **res,
                                             size_t *res_len);

/* Gives a handle back, once. false: there is no such handle. */
LIVEKIT_FFI_API bool livekit_ffi_drop_handle(uint64_t handle);

/* Leaves every room, delivers what there is to deliver, forgets the callback and drops all handles. No callback runs
 * when it returns (but the one it was called in). The library can be initialized again. Waits up to 2 s for the
 * network, and for running callbacks. */
LIVEKIT_FFI_API void livekit_ffi_dispose(void);

#ifdef __cplusplus
}
#endif
#endif
