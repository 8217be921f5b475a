/* The limit: what a bare server in C does on this machine, with no rules at all, over the same sockets.
 *
 *   cc -O2 -o limit limit.c && ./limit PORT
 *
 * A GET of /echo/0 is sent back what it sends; what comes on /room/N goes to everybody there, framed once. It knows the
 * one key of `load.c` and its answer (RFC 6455 section 1.3), and frames of at most 65,535 bytes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 65536, EVENTS = 512, MOST = 65536 };

typedef struct { int *members, size, capacity; } Room;
typedef struct { int open, room, held; unsigned char in[1024]; } Client; /* room -1: echo */

static Client *clients[MOST];
static Room rooms[MOST];
static unsigned char scratch[READ_BYTES + 1024];
static const char ANSWER[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static void write_all(int fd, const void *data, size_t size) {
    if (send(fd, data, size, MSG_NOSIGNAL) < 0 && errno != EAGAIN) shutdown(fd, SHUT_RDWR);
}

static void leave(int fd) {
    Client *c = clients[fd];
    if (c->room >= 0) {
        Room *room = &rooms[c->room];
        for (int i = 0; i < room->size; i++)
            if (room->members[i] == fd) { room->members[i] = room->members[--room->size]; break; }
    }
    free(c);
    clients[fd] = NULL;
    close(fd);
}

static void greet(int fd, Client *c) {
    char *room = strstr((char *)scratch, "/room/");
    c->room = room ? atoi(room + 6) : -1;
    c->open = 1;
    if (c->room >= 0) {
        Room *to = &rooms[c->room];
        if (to->size == to->capacity) to->members = realloc(to->members, sizeof(int) * (size_t)(to->capacity = 2 * to->capacity + 8));
        to->members[to->size++] = fd;
    }
    write_all(fd, ANSWER, sizeof ANSWER - 1);
}

static int readable(int fd) {
    Client *c = clients[fd];
    memcpy(scratch, c->in, (size_t)c->held);
    ssize_t n = recv(fd, scratch + c->held, READ_BYTES, 0);
    if (n <= 0) return n < 0 && errno == EAGAIN;
    size_t size = (size_t)c->held + (size_t)n, at = 0;
    if (!c->open) { scratch[size] = 0; greet(fd, c); return 1; }
    while (size - at >= 6) {
        unsigned char *head = scratch + at, *mask;
        size_t length = head[1] & 127, start = 2;
        if (length == 126) length = (size_t)head[2] << 8 | head[3], start = 4;
        if (size - at < start + 4 + length) break;
        if ((head[0] & 15) == 8) return 0;
        mask = head + start;
        unsigned char out[READ_BYTES], *p = out;
        memcpy(p, head, start), p[1] &= 127, p += start;
        for (size_t i = 0; i < length; i++) p[i] = mask[4 + i] ^ mask[i & 3];
        p += length;
        at += start + 4 + length;
        if (c->room < 0) write_all(fd, out, (size_t)(p - out));
        else for (int i = 0; i < rooms[c->room].size; i++) write_all(rooms[c->room].members[i], out, (size_t)(p - out));
    }
    c->held = (int)(size - at);
    memcpy(c->in, scratch + at, (size_t)c->held);
    return 1;
}

int main(int argc, char **argv) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argc > 1 ? argv[1] : "8000"))};
    struct epoll_event events[EVENTS], e = {.events = EPOLLIN};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1, selector = epoll_create1(0);
    inet_pton(AF_INET, "127.0.0.1", &at.sin_addr);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 4096) < 0) { perror("listen"); return 1; }
    e.data.fd = listener;
    epoll_ctl(selector, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(selector, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                if (!readable(fd)) leave(fd);
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                clients[fd] = calloc(1, sizeof(Client));
                e.data.fd = fd;
                epoll_ctl(selector, EPOLL_CTL_ADD, fd, &e);
            }
        }
    }
}
