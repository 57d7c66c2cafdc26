// SPDX-License-Identifier: Apache-2.0
/* The page of web/, from memory: who opens the server in a browser gets a room to join. */
#include "api/api_server.h"

/* Nothing but its own files and its own server; no script or style within the text; no other page around it. */
#define POLICY "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; " \
               "form-action 'none'; frame-ancestors 'none'"
/* Asked for again each time, and nearly always answered with 304: a newer server shows its own page. */
#define HEADERS(etag_) "ETag: " etag_ "\r\nCache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n" \
                       "Permissions-Policy: camera=(self), microphone=(self), display-capture=(self)\r\n"                              \
                       "Content-Security-Policy: " POLICY "\r\n"

static const struct {
    const char *path, *type, *etag, *headers;
    lk_bytes body;
} files[] = {
#define FILE(path_, type_, etag_, ...) {path_, type_, etag_, HEADERS(etag_), {(const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})}},
#include "page_files.inc"
#undef FILE
};

static bool lists(lk_str header, const char *name)
{
    while (header.len) {
        lk_str one = lk_str_cut(&header, ',');
        if (lk_str_ieq(lk_str_trim(lk_str_cut(&one, ';')), name))
            return true;
    }
    return false;
}

bool api_page_serve(api_visit *v, lk_usec now, const lk_ws_request *r)
{
    for (size_t i = 0; i < LK_LEN(files); i++) {
        if (!lk_str_eq(r->path, files[i].path))
            continue;
        bool known = lists(r->if_none_match, files[i].etag);
        lk_ws_server_answer(v->http, now, &(lk_ws_answer){.status = known ? 304 : 200, .headers = files[i].headers,
                                                          .content_type = known ? NULL : files[i].type,
                                                          .body = known ? (lk_bytes){0} : files[i].body});
        return true;
    }
    return false;
}

bool api_page_redirect(api_visit *v, lk_usec now, const lk_ws_request *r)
{
    if (!lists(r->accept, "text/html"))
        return false;
    lk_ws_server_answer(v->http, now, &(lk_ws_answer){.status = 302, .headers = "Location: app\r\nVary: Accept\r\nCache-Control: no-store\r\n"});
    return true;
}
