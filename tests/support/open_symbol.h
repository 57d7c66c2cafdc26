// SPDX-License-Identifier: Apache-2.0
/* support/open_symbol.h - env.sym of tests that code video: the library of a codec, which stays open. */
#pragma once
#include <dlfcn.h>

static inline void *open_symbol(const char *library, const char *name)
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    return handle ? dlsym(handle, name) : NULL;
}
