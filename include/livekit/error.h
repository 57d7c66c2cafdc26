/* SPDX-License-Identifier: Apache-2.0
 *
 * livekit/error.h - every status code of livekit-c, in one list.
 *
 * A new error is one X(...) line. The list yields the enum, lk_err_name() and lk_err_text().
 */
#ifndef LIVEKIT_ERROR_H
#define LIVEKIT_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LK_NODISCARD __attribute__((warn_unused_result))
#define LK_API __attribute__((visibility("default")))
#else
#define LK_NODISCARD
#define LK_API
#endif

/* X(name, number, sentence). Numbers are part of the ABI: never reused, never changed. */
#define LK_ERR_LIST(X)                                                 \
    X(OK, 0, "success")                                                \
    X(INVALID, -1, "an argument is not valid")                         \
    X(NOMEM, -2, "allocation refused")                                 \
    X(UNSUPPORTED, -3, "not supported by this build")                  \
    X(FULL, -4, "bounded queue or buffer is full")                     \
    X(WIRE, -5, "peer bytes do not follow the specification")          \
    X(AUTH, -6, "authentication failed")                               \
    X(STATE, -7, "call not allowed in this state")                     \
    X(NOT_FOUND, -8, "no such object")                                 \
    X(TIMEOUT, -9, "the deadline passed")                              \
    X(CANCELLED, -10, "cancelled by the caller")                       \
    X(CLOSED, -11, "the connection or object is closed")               \
    X(NETWORK, -12, "the network refused or failed")                   \
    X(RESOLVE, -13, "the host name does not resolve")                  \
    X(TLS, -14, "TLS or DTLS failed")                                  \
    X(PROTOCOL, -15, "the peer broke the protocol")                    \
    X(DENIED, -16, "the server does not permit this")                  \
    X(AGAIN, -17, "nothing available now")                             \
    X(INTERNAL, -18, "internal error")                                 \
    X(FORKED, -19, "used in a child of the process that started it")   \
    X(CODEC, -20, "a codec refused its input")                         \
    X(LIMIT, -21, "a documented limit was passed")                     \
    X(SYSTEM, -22, "the system gives no more threads or descriptors")

typedef enum lk_err {
#define LK_ERR_ENUM(name, number, text) LK_ERR_##name = number,
    LK_ERR_LIST(LK_ERR_ENUM)
#undef LK_ERR_ENUM
    LK_ERR_FORCE_INT = 0x7fffffff
} lk_err;

#define LK_OK LK_ERR_OK

/* Name of a code without its prefix ("NOMEM"), or "UNKNOWN". Static storage. Any thread. */
LK_API const char *lk_err_name(lk_err code);

/* One English sentence for a code. Static storage. Any thread. */
LK_API const char *lk_err_text(lk_err code);

#ifdef __cplusplus
}
#endif
#endif
