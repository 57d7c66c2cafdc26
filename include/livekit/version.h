/* SPDX-License-Identifier: Apache-2.0
 *
 * livekit/version.h - which livekit-c this is, at compile time and at run time.
 */
#ifndef LIVEKIT_VERSION_H
#define LIVEKIT_VERSION_H

#include "livekit/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LK_VERSION_MAJOR 0
#define LK_VERSION_MINOR 1
#define LK_VERSION_PATCH 0
#define LK_VERSION_TEXT "0.1.0"

/* Version of the loaded library, "MAJOR.MINOR.PATCH". Static storage. LK_ANY thread, cannot fail. */
LK_API const char *lk_version(void);

#ifdef __cplusplus
}
#endif
#endif
