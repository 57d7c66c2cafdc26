// SPDX-License-Identifier: Apache-2.0
/* base/addr.h - transport addresses and datagrams as values. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

/* family 0 = none, 4 or 6. ip holds 4 or 16 bytes in network order, the rest is zero. */
typedef struct lk_addr {
    uint8_t family;
    uint16_t port;
    uint32_t scope; /* IPv6 zone index, 0 = none */
    uint8_t ip[16];
} lk_addr;

/* A UDP datagram as it enters or leaves a core; data is borrowed. */
typedef struct lk_datagram {
    lk_addr local, remote;
    const uint8_t *data;
    size_t len;
} lk_datagram;

bool lk_addr_eq(const lk_addr *a, const lk_addr *b);       /* family, ip, port, scope */
bool lk_addr_ip_eq(const lk_addr *a, const lk_addr *b);    /* without port */
/* Numeric IPv4 ("1.2.3.4") or IPv6 ("::1", "fe80::1%3" not accepted); no names. */
bool lk_addr_parse_ip(lk_addr *out, lk_str s);
#define LK_ADDR_TEXT_MAX 64
/* "1.2.3.4" or compressed lower-case IPv6 [RFC5952]; terminated. */
char *lk_addr_ip_text(const lk_addr *a, char out[LK_ADDR_TEXT_MAX]);
/* With port: "1.2.3.4:5" or "[::1]:5". */
char *lk_addr_text(const lk_addr *a, char out[LK_ADDR_TEXT_MAX]);
lk_addr lk_addr_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint16_t port);
bool lk_addr_is_loopback(const lk_addr *a);
bool lk_addr_is_link_local(const lk_addr *a);
bool lk_addr_is_unspecified(const lk_addr *a);
/* Bytes a UDP datagram of len costs on the wire below it (IP + UDP headers). */
static inline size_t lk_addr_overhead(const lk_addr *a) { return a->family == 6 ? 48 : 28; }
