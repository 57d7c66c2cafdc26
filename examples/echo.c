/* SPDX-License-Identifier: Apache-2.0
 *
 * echo.c - sends every data packet back to whom it came from, with its topic and in its kind.
 *
 *     cc echo.c $(pkg-config --cflags --libs livekit) && ./a.out ws://localhost:7880 TOKEN
 *
 * A publication of data ends when the packet is in the channel, in the order of the calls. What waits is bounded: a packet
 * that finds no room is refused, and this program says so instead of keeping it.
 */
#include <livekit/livekit.h>
#include <signal.h>
#include <stdio.h>

enum { WAKE_MSEC = 100 };

typedef struct counts {
    unsigned echoed, refused;
    bool over, failed;
} counts;

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static void on_data(counts *c, const lk_event *event)
{
    if (!event->participant) { /* of the server's API, or of somebody who is not announced yet: nobody to answer to */
        c->refused++;
        return;
    }
    const char *to[] = {event->participant_info->identity};
    lk_data_options options;
    lk_data_options_init(&options);
    options.reliable = event->reliable;
    options.topic = event->flag ? event->text : NULL;
    options.identities = to;
    options.identity_count = 1;
    lk_err err = lk_room_publish_data(NULL, event->room, event->data, event->data_len, &options, NULL);
    c->refused += err != LK_OK;
    c->echoed += err == LK_OK;
}

static void on_event(counts *c, const lk_event *event)
{
    switch (event->type) {
    case LK_EVENT_OP_DONE:
        if (event->op_kind == LK_OP_CONNECT && !event->error.code) {
            printf("connected to %s as %s\n", event->room_info->name, event->participant_info->identity);
            fflush(stdout);
        } else if (event->error.code) { /* also of a packet: too long with what stands around it, or the room is over */
            fprintf(stderr, "echo: %s (%s)\n", event->error.text, lk_err_name(event->error.code));
            c->over = c->failed = event->op_kind == LK_OP_CONNECT;
        }
        break;
    case LK_EVENT_DATA: on_data(c, event); break;
    case LK_EVENT_PARTICIPANT_ACTIVE: /* up to three seconds after somebody came, when he publishes nothing */
        printf("%s is here\n", event->participant_info->identity);
        fflush(stdout);
        break;
    case LK_EVENT_DISCONNECTED:
        fprintf(stderr, "echo: the room has ended: %s\n", event->error.text);
        c->over = true;
        break;
    default: break;
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return fprintf(stderr, "usage: echo URL TOKEN\n"), 2;
    counts c = {0};
    lk_runtime *runtime = NULL;
    lk_room *room = NULL;
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    lk_err err = lk_runtime_new(&runtime, NULL);
    if (!err && !(err = lk_room_new(&room, runtime, NULL)))
        err = lk_room_connect(NULL, room, argv[1], argv[2], NULL);
    while (!err && !c.over && !interrupted) {
        lk_event *event;
        err = lk_next_event(runtime, WAKE_MSEC, &event); /* wakes up to see whether it was interrupted */
        if (err == LK_OK) {
            on_event(&c, event);
            lk_event_free(event);
        } else if (err == LK_ERR_TIMEOUT) {
            err = LK_OK;
        }
    }
    if (err)
        fprintf(stderr, "echo: %s\n", lk_err_text(err));
    if (runtime)
        lk_runtime_stop(runtime); /* leaves the room and tells the server */
    lk_room_unref(room);
    lk_runtime_unref(runtime);
    printf("%u echoed, %u refused\n", c.echoed, c.refused);
    return err || c.failed ? 1 : 0;
}
