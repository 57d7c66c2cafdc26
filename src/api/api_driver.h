// SPDX-License-Identifier: Apache-2.0
/* api/api_driver.h - what the files of a driver share: one room on the loop. Loop thread.
 *
 * api_driver.c         its life, the loop around the session, commands
 * api_driver_io.c      what the session wants of the world: streams, sockets, names, jobs
 * api_driver_event.c   what the session tells: public objects are brought up to date, events queued
 */
#pragma once
#include "api/api_shell.h"

typedef struct driver_stream {
    api_driver *driver;
    lk_tcp *tcp;
    uint32_t id;
} driver_stream;

typedef struct driver_socket {
    lk_udp *udp;
    lk_addr bound;
} driver_socket;

/* A name the session asked for. */
typedef struct driver_lookup {
    api_driver *driver;
    lk_lookup *lookup; /* NULL: free */
    uint32_t question;
} driver_lookup;

struct api_driver {
    lk_link link; /* in shell->drivers */
    api_shell *shell;
    lk_room *room; /* counted */
    lk_session *session;
    lk_timer timer;
    lk_map participants, publications, tracks, sinks; /* id -> counted object */
    lk_map streams;                                   /* id -> driver_stream* */
    driver_socket sockets[LK_API_SOCKETS_MAX];
    size_t socket_count;
    driver_lookup lookups[LK_API_LOOKUPS_MAX];
    lk_op connect_op;
    lk_usec hold_until;
    bool connected; /* the connect succeeded */
    bool closed;    /* the session has ended */
    bool pumping;
    bool killed;    /* nothing but its last jobs is waited for */
    bool released;  /* the room is no longer its room: over, or connected anew */
};

/* Drains the session and sets the timer. */
void api_driver_pump(api_driver *d, lk_usec now);
void api_driver_destroy(api_driver *d);

/* ---- api_driver_io.c ---- */
void api_driver_do_io(api_driver *d, const lk_session_io *io, lk_usec now);
void api_driver_close_sockets(api_driver *d);

/* ---- api_driver_event.c ---- */
void api_driver_handle(api_driver *d, const lk_session_event *e, lk_usec now);
/* The stream listens to that track from now on. */
void api_driver_add_sink(api_driver *d, api_stream *s, uint64_t track, lk_usec now);
/* Does a stream of a participant want that publication? */
bool api_driver_follows(const api_stream *s, const lk_participant *p, const lk_publication *pub);
void api_driver_unpublish_local(api_driver *d, lk_track *t);
void api_driver_set_phase(lk_room *room, api_room_phase phase);
/* A room that is over lets go of its members; the handles of the application stay readable. */
void api_driver_clear_room(api_driver *d);
