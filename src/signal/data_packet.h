// SPDX-License-Identifier: Apache-2.0
/* signal/data_packet.h - the messages of data channels: LiveKit's DataPacket.
 *
 * In:      fields; bytes of one channel message.
 * Out:     bytes in the caller's arena; fields that point into it.
 * Owner:   stateless.
 * Limits:  the caller's arena.
 * Deviates: only what is used: packets of users and DTMF.
 */
#pragma once
#include "base/lk_base.h"

typedef enum lk_data_packet_kind { LK_DATA_PACKET_OTHER, LK_DATA_PACKET_USER, LK_DATA_PACKET_DTMF } lk_data_packet_kind;

typedef struct lk_data_packet {
    lk_data_packet_kind kind;
    bool reliable;
    uint32_t sequence;  /* 0: none */
    const char *sender; /* identity; "" for the server. Parsed only: the server writes it */
    const char *const *identities; /* destinations. Packed only */
    size_t identity_count;
    lk_bytes payload;  /* USER */
    const char *topic; /* USER; NULL: none */
    uint32_t code;     /* DTMF */
    const char *digit; /* DTMF */
} lk_data_packet;

/* USER only. NOMEM. */
LK_NODISCARD lk_err lk_data_packet_pack(const lk_data_packet *p, lk_arena *arena, lk_bytes *out);
/* WIRE, NOMEM. */
LK_NODISCARD lk_err lk_data_packet_parse(lk_data_packet *out, lk_arena *arena, lk_bytes in);
