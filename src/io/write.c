// SPDX-License-Identifier: Apache-2.0
#include "io/loop_internal.h"

typedef struct write_request {
    uv_write_t write;
    lk_io_unsent *owner;
    size_t len;
    uint8_t data[];
} write_request;

static void on_written(uv_write_t *w, int status)
{
    write_request *r = (write_request *)w->data;
    lk_io_unsent *u = r->owner;
    u->bytes -= r->len;
    lk_release(u->loop->env, r, sizeof *r + r->len);
    if (u->went)
        u->went(u, status == 0);
}

lk_err lk_io_write(lk_io_unsent *u, uv_tcp_t *to, const uint8_t *data, size_t len, size_t most)
{
    if (u->bytes == 0) { /* the usual case costs no copy */
        uv_buf_t now = uv_buf_init((char *)(uintptr_t)data, (unsigned)len);
        int n = uv_try_write((uv_stream_t *)to, &now, 1);
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    if (len == 0)
        return LK_OK;
    if (len > most - u->bytes)
        return LK_ERR_FULL;
    write_request *r = (write_request *)lk_alloc(u->loop->env, sizeof *r + len);
    if (!r)
        return LK_ERR_NOMEM;
    r->owner = u;
    r->len = len;
    r->write.data = r;
    memcpy(r->data, data, len);
    uv_buf_t buf = uv_buf_init((char *)r->data, (unsigned)len);
    if (uv_write(&r->write, (uv_stream_t *)to, &buf, 1, on_written) != 0) {
        lk_release(u->loop->env, r, sizeof *r + len);
        return LK_ERR_NETWORK;
    }
    u->bytes += len;
    return LK_OK;
}
