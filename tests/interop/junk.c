// SPDX-License-Identifier: Apache-2.0
/* junk RATE SECONDS FAMILY HOST PORT [FAMILY HOST PORT]...: that many datagrams a second of every class, spread over the
 * addresses, from changing ports. Prints how many were sent and in how many microseconds. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 50, SOCKETS = 16, LENGTH_MAX = 400 };

static uint64_t state = 88172645463325252ull;

static uint32_t dice(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16);
}

static int64_t now_usec(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int main(int argc, char **argv)
{
    static const uint8_t heads[] = {0, 1, 0, 20, 22, 23, 63, 64, 128, 128, 129, 143, 191, 200, 255};
    struct sockaddr_storage to[16];
    socklen_t to_len[16];
    int sockets[16][SOCKETS], targets = 0;
    static uint8_t bytes[BATCH][LENGTH_MAX];
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    if (argc < 6 || (argc - 3) % 3 != 0)
        return 2;
    int64_t rate = atoll(argv[1]), end = now_usec() + atoll(argv[2]) * 1000000, sent = 0;
    for (int i = 3; i < argc && targets < 16; i += 3, targets++) {
        memset(&to[targets], 0, sizeof to[targets]);
        int family = argv[i][0] == '6' ? AF_INET6 : AF_INET;
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)&to[targets];
        struct sockaddr_in *four = (struct sockaddr_in *)&to[targets];
        to[targets].ss_family = (sa_family_t)family;
        if (inet_pton(family, argv[i + 1], family == AF_INET6 ? (void *)&six->sin6_addr : (void *)&four->sin_addr) != 1)
            return 2;
        four->sin_port = htons((uint16_t)atoi(argv[i + 2])); /* at the same place in both */
        to_len[targets] = family == AF_INET6 ? sizeof *six : sizeof *four;
        for (int k = 0; k < SOCKETS; k++)
            sockets[targets][k] = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    }
    for (int i = 0; i < BATCH; i++)
        for (int k = 0; k < LENGTH_MAX; k++)
            bytes[i][k] = (uint8_t)dice();
    int64_t began = now_usec();
    for (int round = 0; now_usec() < end; round++) {
        int t = round % targets;
        for (int i = 0; i < BATCH; i++) {
            bytes[i][0] = heads[dice() % sizeof heads];
            memcpy(&bytes[i][1 + dice() % 30], &state, 4);
            parts[i] = (struct iovec){bytes[i], 1 + dice() % LENGTH_MAX};
            messages[i].msg_hdr = (struct msghdr){.msg_name = &to[t], .msg_namelen = to_len[t], .msg_iov = &parts[i], .msg_iovlen = 1};
        }
        int r = sendmmsg(sockets[t][dice() % SOCKETS], messages, BATCH, 0);
        sent += r > 0 ? r : 0;
        int64_t ahead = began + sent * 1000000 / rate - now_usec();
        if (ahead > 0)
            usleep((useconds_t)ahead);
        if (r <= 0)
            usleep(1000);
    }
    printf("%lld %lld\n", (long long)sent, (long long)(now_usec() - began));
    return 0;
}
