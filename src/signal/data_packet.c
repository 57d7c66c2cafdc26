// SPDX-License-Identifier: Apache-2.0
#include "signal/data_packet.h"

#include "signal/signal.h"

lk_err lk_data_packet_pack(const lk_data_packet *p, lk_arena *arena, lk_bytes *out)
{
    Livekit__DataPacket packet = LIVEKIT__DATA_PACKET__INIT;
    Livekit__UserPacket user = LIVEKIT__USER_PACKET__INIT;
    packet.value_case = LIVEKIT__DATA_PACKET__VALUE_USER;
    packet.user = &user;
    packet.has_kind = 1;
    packet.kind = p->reliable ? LIVEKIT__DATA_PACKET__KIND__RELIABLE : LIVEKIT__DATA_PACKET__KIND__LOSSY;
    packet.destination_identities = (char **)(uintptr_t)p->identities;
    packet.n_destination_identities = p->identity_count;
    packet.has_sequence = p->sequence != 0;
    packet.sequence = p->sequence;
    user.has_payload = 1;
    user.payload.data = (uint8_t *)(uintptr_t)p->payload.data;
    user.payload.len = p->payload.len;
    user.topic = (char *)(uintptr_t)p->topic;
    return lk_pbuf_pack(&packet.base, arena, out);
}

lk_err lk_data_packet_parse(lk_data_packet *out, lk_arena *arena, lk_bytes in)
{
    ProtobufCMessage *message = NULL;
    lk_err err = lk_pbuf_unpack(&livekit__data_packet__descriptor, arena, in, &message);
    if (err != LK_OK)
        return err;
    const Livekit__DataPacket *p = (const Livekit__DataPacket *)message;
    *out = (lk_data_packet){.reliable = p->kind == LIVEKIT__DATA_PACKET__KIND__RELIABLE,
                            .sequence = p->sequence,
                            .sender = p->participant_identity ? p->participant_identity : ""};
    if (p->value_case == LIVEKIT__DATA_PACKET__VALUE_USER && p->user) {
        out->kind = LK_DATA_PACKET_USER;
        out->payload = (lk_bytes){p->user->payload.data, p->user->payload.len};
        out->topic = p->user->topic;
    } else if (p->value_case == LIVEKIT__DATA_PACKET__VALUE_SIP_DTMF && p->sip_dtmf) {
        out->kind = LK_DATA_PACKET_DTMF;
        out->code = p->sip_dtmf->code;
        out->digit = p->sip_dtmf->digit ? p->sip_dtmf->digit : "";
    }
    return LK_OK;
}
