// SPDX-License-Identifier: Apache-2.0
/* Carries requests and events of an FFI library over its standard input and output, and keeps no copy of either: what is
 * found in the memory of this process was left there by the library (test_secrets.py).
 *
 * In:  a byte, a number of 8 bytes, and for 'R' as many bytes as the number says.
 *      'I' initialize, 'R' request, 'D' drop the handle, 'A' the address of memory to point at, 'X' dispose
 * Out: 'r' response (empty: refused), 'e' event, 'a' address, 'd' dropped, 'x' disposed; same shape */
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void (*event_callback)(const uint8_t *data, size_t len);
static void (*initialize)(event_callback callback, bool capture_logs, const char *sdk, const char *version);
static uint64_t (*request)(const uint8_t *data, size_t len, const uint8_t **res, size_t *res_len);
static bool (*drop)(uint64_t handle);
static void (*dispose)(void);
static uint8_t in[1 << 20], lent[1 << 16];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool read_all(void *out, size_t len)
{
    for (uint8_t *p = out; len > 0;) {
        ssize_t n = read(0, p, len);
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static void write_all(const void *data, size_t len)
{
    for (const uint8_t *p = data; len > 0;) {
        ssize_t n = write(1, p, len);
        if (n <= 0)
            _exit(3);
        p += n;
        len -= (size_t)n;
    }
}

static void say(char what, uint64_t number, const void *data, size_t len)
{
    pthread_mutex_lock(&lock);
    write_all(&what, 1);
    write_all(&number, sizeof number);
    write_all(data, len);
    pthread_mutex_unlock(&lock);
}

static void on_event(const uint8_t *data, size_t len) { say('e', len, data, len); }

static void load(const char *path)
{
    void *library = dlopen(path, RTLD_NOW);
    void *found[] = {library ? dlsym(library, "livekit_ffi_initialize") : NULL, library ? dlsym(library, "livekit_ffi_request") : NULL,
                     library ? dlsym(library, "livekit_ffi_drop_handle") : NULL,
                     library ? dlsym(library, "livekit_ffi_dispose") : NULL};
    for (size_t i = 0; i < 4; i++)
        if (!found[i]) {
            fprintf(stderr, "%s\n", dlerror());
            exit(2);
        }
    memcpy(&initialize, &found[0], sizeof found[0]);
    memcpy(&request, &found[1], sizeof found[1]);
    memcpy(&drop, &found[2], sizeof found[2]);
    memcpy(&dispose, &found[3], sizeof found[3]);
}

static void ask(size_t len)
{
    const uint8_t *body = NULL;
    size_t size = 0;
    uint64_t handle = request(in, len, &body, &size);
    explicit_bzero(in, len);
    say('r', handle ? size : 0, body, handle ? size : 0);
    if (handle)
        drop(handle);
}

int main(int argc, char **argv)
{
    char what;
    uint64_t number;
    if (argc != 2)
        return 2;
    load(argv[1]);
    while (read_all(&what, 1) && read_all(&number, sizeof number)) {
        if (what == 'I')
            initialize(on_event, true, "python", "1.2.1");
        else if (what == 'R' && number <= sizeof in && read_all(in, number))
            ask(number);
        else if (what == 'D')
            say('d', drop(number), NULL, 0);
        else if (what == 'A')
            say('a', (uint64_t)(uintptr_t)lent, NULL, 0);
        else if (what == 'X') {
            dispose();
            say('x', 0, NULL, 0);
        } else
            return 3;
    }
    return 0;
}
