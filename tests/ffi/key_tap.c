// SPDX-License-Identifier: Apache-2.0
/* Preloaded by test_secrets.py: writes every key that DTLS gives to SRTP into the pipe that LK_KEY_TAP names, and keeps none. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/ssl.h>

int SSL_export_keying_material(SSL *ssl, unsigned char *out, size_t out_len, const char *label, size_t label_len,
                               const unsigned char *context, size_t context_len, int use_context)
{
    int (*real)(SSL *, unsigned char *, size_t, const char *, size_t, const unsigned char *, size_t, int);
    void *library = dlopen("libssl.so.3", RTLD_NOW), *found = library ? dlsym(library, "SSL_export_keying_material") : NULL;
    if (!found)
        abort();
    memcpy(&real, &found, sizeof found);
    int r = real(ssl, out, out_len, label, label_len, context, context_len, use_context);
    const char *fd = getenv("LK_KEY_TAP");
    if (r == 1 && fd)
        (void)!write(atoi(fd), out, out_len);
    return r;
}
