/* SPDX-License-Identifier: Apache-2.0
 *
 * own_server.c - a LiveKit server and a participant of it in one process: no other program is needed.
 *
 *     cc own_server.c $(pkg-config --cflags --libs livekit) && ./a.out ROOM GUEST
 *
 * Prints the address and a token for GUEST, joins ROOM itself as "host", and says who comes and goes until GUEST has left.
 */
#include <livekit/livekit.h>
#include <stdio.h>
#include <string.h>

static const lk_access_key key = {"mykey", "a secret that has 32 bytes or more, not this one"};

static bool make_token(char out[LK_ACCESS_TOKEN_MAX + 1], const char *room, const char *identity)
{
    lk_access_token_options options;
    lk_access_token_options_init(&options);
    options.room = room;
    options.identity = identity;
    options.room_join = true;
    lk_err err = lk_access_token_create(out, LK_ACCESS_TOKEN_MAX + 1, &key, &options);
    if (err)
        fprintf(stderr, "own_server: no token for %s: %s\n", identity, lk_err_text(err));
    return !err;
}

/* Ports of 0 are chosen by the system: two of these can run side by side. */
static lk_server *start(char url[64])
{
    lk_server_options options;
    lk_server_ports ports;
    lk_server *server = NULL;
    lk_error why;
    lk_server_options_init(&options);
    options.keys = &key;
    options.key_count = 1;
    options.port = options.udp_port = options.tcp_port = 0;
    options.loopback_candidates = true; /* guests on this machine */
    lk_err err = lk_server_new(&server, &options, &why);
    if (!err && !(err = lk_server_start(server, &why)))
        err = lk_server_get_ports(server, &ports);
    if (err) {
        fprintf(stderr, "own_server: %s\n", why.text);
        lk_server_unref(server);
        return NULL;
    }
    snprintf(url, 64, "ws://127.0.0.1:%u", ports.http);
    return server;
}

static bool watch(lk_runtime *runtime, const char *guest)
{
    for (;;) {
        lk_event *event;
        if (lk_next_event(runtime, -1, &event) != LK_OK)
            return false;
        bool failed = (event->type == LK_EVENT_OP_DONE && event->error.code) || event->type == LK_EVENT_DISCONNECTED, gone = false;
        if (failed)
            fprintf(stderr, "own_server: %s\n", event->error.text);
        if (event->type == LK_EVENT_PARTICIPANT_CONNECTED || event->type == LK_EVENT_PARTICIPANT_DISCONNECTED) {
            gone = event->type == LK_EVENT_PARTICIPANT_DISCONNECTED;
            printf("%s has %s\n", event->participant_info->identity, gone ? "left" : "come");
            fflush(stdout);
            gone = gone && !strcmp(event->participant_info->identity, guest);
        }
        lk_event_free(event);
        if (failed || gone)
            return gone;
    }
}

int main(int argc, char **argv)
{
    static char mine[LK_ACCESS_TOKEN_MAX + 1], theirs[LK_ACCESS_TOKEN_MAX + 1];
    char url[64];
    lk_runtime *runtime = NULL;
    lk_room *room = NULL;
    lk_op op;
    if (argc != 3)
        return fprintf(stderr, "usage: own_server ROOM GUEST\n"), 2;
    lk_server *server = start(url);
    bool ok = server && make_token(mine, argv[1], "host") && make_token(theirs, argv[1], argv[2]);
    if (ok) {
        printf("%s %s\n", url, theirs);
        fflush(stdout);
        ok = !lk_runtime_new(&runtime, NULL) && !lk_room_new(&room, runtime, NULL) && !lk_room_connect(&op, room, url, mine, NULL) &&
             watch(runtime, argv[2]);
    }
    if (runtime)
        lk_runtime_stop(runtime); /* leaves the room */
    lk_room_unref(room);
    lk_runtime_unref(runtime);
    lk_server_unref(server); /* tells whoever is still there to leave */
    return ok ? 0 : 1;
}
