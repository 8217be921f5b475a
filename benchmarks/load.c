/* The load: many WebSocket clients in one thread, and what they measured, as JSON on standard output.
 *
 *   cc -O2 -o load load.c -lm
 *   load --port 8000 --dialect edge --path /rooms/echo/%d --mode echo --rooms 1 --seats 50 --seconds 5
 *
 * One core is enough to load any of the servers here, and where it was not, `busy` says so: the share of the measured
 * time in which this process had work. A frame's latency is taken from the time it carries to when it was read; where
 * `--rate` says when to send, from when it should have been sent, so that a server which pushes back is not let off.
 * With `--random 1`, the times are random (a Poisson process); every run has the same times.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { READ_BYTES = 262144, EVENTS = 512, BUCKETS = 64 * 40, ACK_FRAMES = 32 };

typedef enum { MATCHING, UPGRADING, GREETING, JOINED, LEAVING, LEFT, GONE } State;
typedef enum { PLAIN, EDGE, SOCKETIO, COLYSEUS } Dialect;
typedef enum { ECHO, BROADCAST, STATES, IDLE, VISITS } Mode;

typedef struct {
    int fd, id, room;
    State state;
    unsigned counted, acked;   /* edge: reliable frames that came, and of how many the server knows */
    int visits, heard;         /* how often it came again; how many of its own messages came back in this visit... */
    uint64_t said_at, began;   /* ...when the newest was said, in microseconds, and the visit began, in nanoseconds */
    size_t held, going, gone;  /* bytes of an unfinished frame; bytes to be written, and written */
    unsigned char *in, *out;
    char session[64], process[64], name[64]; /* Colyseus: what matchmaking gave */
} Client;

/* Values by size: 64 steps to each power of two, so that a quantile is right to 1.6 %. */
typedef struct { uint64_t counts[BUCKETS], total, max; } Histogram;

static struct {
    const char *host, *path;
    int port, other, rooms, seats, depth, slow, joining, bytes, random;
    double seconds, warmup, rate;
    Dialect dialect;
    Mode mode;
} options = {"127.0.0.1", "/", 8000, 0, 1, 1, 1, 0, 64, 100, 0, 3, 1, 0, PLAIN, ECHO};

static Client *clients;
static int count, opened, joined, closed, selector;
static int codes[5000];
static int measuring, visiting;
static uint64_t received, received_bytes, sent, pushed_back;
static Histogram latency, lateness;
static unsigned char scratch[READ_BYTES + 65536];

static void fail(const char *what) { perror(what); exit(2); }

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* --- histograms */

static void note(Histogram *h, uint64_t value) {
    int shift = value < 64 ? 0 : 57 - __builtin_clzll(value);
    int at = shift * 64 + (int)(value >> shift);
    h->counts[at < BUCKETS ? at : BUCKETS - 1]++;
    h->total++;
    if (value > h->max) h->max = value;
}

static double quantile(const Histogram *h, double q) {
    uint64_t left = (uint64_t)((double)h->total * q), seen = 0;
    for (int at = 0; at < BUCKETS; at++) {
        seen += h->counts[at];
        if (seen > left) {
            int shift = at < 128 ? 0 : at / 64 - 1;
            return (double)((uint64_t)(at - shift * 64) << shift);
        }
    }
    return (double)h->max;
}

static void print_histogram(const char *name, const Histogram *h) {
    printf(", \"%s\": {\"count\": %llu, \"p50\": %.0f, \"p99\": %.0f, \"p999\": %.0f, \"max\": %llu}", name,
           (unsigned long long)h->total, quantile(h, 0.5), quantile(h, 0.99), quantile(h, 0.999),
           (unsigned long long)h->max);
}

/* --- writing */

static void watch(Client *c, int writing) {
    struct epoll_event e = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(selector, EPOLL_CTL_MOD, c->fd, &e);
}

static void give_up(Client *c, int code) {
    if (c->state == GONE) return;
    if (c->state == JOINED) joined--;
    c->state = GONE;
    closed++;
    codes[code > 0 && code < 5000 ? code : 0]++;
    close(c->fd);
}

static int flush(Client *c) {
    while (c->gone < c->going) {
        ssize_t n = send(c->fd, c->out + c->gone, c->going - c->gone, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) return 0;
        if (n < 0) { give_up(c, 0); return 0; }
        c->gone += (size_t)n;
    }
    c->going = c->gone = 0;
    return 1;
}

static void write_bytes(Client *c, const void *data, size_t size) {
    if (c->going == 0) { /* nearly always: straight to the socket */
        ssize_t n = send(c->fd, data, size, MSG_NOSIGNAL);
        if (n == (ssize_t)size) return;
        if (n < 0 && errno != EAGAIN) { give_up(c, 0); return; }
        size_t passed = n < 0 ? 0 : (size_t)n;
        data = (const char *)data + passed, size -= passed;
    }
    c->out = realloc(c->out, c->going + size);
    memcpy(c->out + c->going, data, size);
    if (c->going == 0) watch(c, 1);
    c->going += size;
}

/* RFC 6455 section 5.2, from a client: masked, at most 65,535 bytes. */
static void write_frame(Client *c, int opcode, const void *payload, size_t size) {
    static unsigned char frame[65536 + 8];
    static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    size_t at = 0;
    frame[at++] = (unsigned char)(0x80 | opcode);
    if (size < 126) {
        frame[at++] = (unsigned char)(0x80 | size);
    } else {
        frame[at++] = 0x80 | 126;
        frame[at++] = (unsigned char)(size >> 8), frame[at++] = (unsigned char)size;
    }
    memcpy(frame + at, mask, 4), at += 4;
    for (size_t i = 0; i < size; i++) frame[at + i] = ((const unsigned char *)payload)[i] ^ mask[i & 3];
    write_bytes(c, frame, at + size);
}

static void write_text(Client *c, const char *text) { write_frame(c, 1, text, strlen(text)); }

/* One event of the application: a body of about `--bytes` bytes of JSON that carries the time, in microseconds. */
static void say(Client *c, uint64_t at_ns) {
    static char pad[4096];
    char text[8192];
    unsigned long long at = at_ns / 1000;
    c->said_at = at;
    int width = options.bytes - 36;
    if (!pad[0]) memset(pad, 'x', sizeof pad - 1);
    if (options.dialect == COLYSEUS) { /* ROOM_DATA, then MessagePack: "say", {"at": uint64, "text": str8} */
        unsigned char *p = (unsigned char *)text;
        memcpy(p, "\x0d\xa3say\x82\xa2" "at\xcf", 10), p += 10;
        for (int shift = 56; shift >= 0; shift -= 8) *p++ = (unsigned char)(at >> shift);
        memcpy(p, "\xa4text\xd9", 6), p += 6;
        *p++ = (unsigned char)width;
        memcpy(p, pad, (size_t)width), p += width;
        write_frame(c, 2, text, (size_t)(p - (unsigned char *)text));
    } else {
        const char *shape = options.dialect == EDGE && options.mode == STATES
                                ? "[\"~say\",{\"at\":%016llu,\"text\":\"%.*s\"}]"
                            : options.dialect == EDGE     ? "[\"say\",{\"at\":%016llu,\"text\":\"%.*s\"}]"
                            : options.dialect == SOCKETIO ? "42[\"say\",{\"at\":%016llu,\"text\":\"%.*s\"}]"
                                                          : "{\"at\":%016llu,\"text\":\"%.*s\"}";
        int size = snprintf(text, sizeof text, shape, at + 1000000000000000ull, width, pad);
        write_frame(c, 1, text, (size_t)size);
    }
    if (measuring) sent++;
}

/* --- joining */

static void open_socket(Client *c) {
    int port = options.other && c->id % 2 ? options.other : options.port; /* every second one goes to the other server */
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int yes = 1;
    inet_pton(AF_INET, options.host, &to.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) fail("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) fail("connect");
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(selector, EPOLL_CTL_ADD, c->fd, &e) < 0) fail("epoll_ctl");
    c->held = 0;
}

static void queue_text(Client *c, const char *text) {
    c->going = strlen(text), c->gone = 0;
    c->out = realloc(c->out, c->going);
    memcpy(c->out, text, c->going);
}

static void upgrade(Client *c) {
    char path[512], text[1024];
    if (options.dialect == COLYSEUS) {
        snprintf(path, sizeof path, "/%s/%s?sessionId=%s", c->process, c->name, c->session);
    } else {
        snprintf(path, sizeof path, options.path, c->room);
    }
    snprintf(text, sizeof text,
             "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
             path, options.host, options.port,
             options.dialect == EDGE ? "Sec-WebSocket-Protocol: edge.1.json\r\n" : "");
    c->state = UPGRADING;
    open_socket(c);
    queue_text(c, text);
}

static void start(Client *c) {
    char body[128], text[512];
    if (options.dialect != COLYSEUS) { upgrade(c); return; }
    snprintf(body, sizeof body, "{\"room\":%d}", c->room);
    snprintf(text, sizeof text,
             "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
             options.path, options.host, options.port, strlen(body), body);
    c->state = MATCHING;
    open_socket(c);
    queue_text(c, text);
}

static void start_more(void) {
    /* Colyseus joins or creates: one at a time, or a room is made twice. */
    int limit = options.dialect == COLYSEUS ? 1 : options.joining;
    while (opened < count && opened - joined - closed < limit) start(&clients[opened++]);
}

static void json_field(const char *text, const char *name, char *into, size_t size) {
    const char *at = strstr(text, name);
    size_t n = 0;
    into[0] = 0;
    if (!at) return;
    for (at += strlen(name); *at && *at != '"' && n + 1 < size; at++) into[n++] = *at;
    into[n] = 0;
}

static void greet(Client *c) {
    char text[256];
    c->state = GREETING;
    if (options.dialect == EDGE) {
        snprintf(text, sizeof text, "[\"$hello\",{\"version\":1,\"name\":\"p%d\",\"client\":\"load-client-%08d-%d\"}]", c->id,
                 c->id, c->visits);
        write_text(c, text);
    } else if (options.dialect == SOCKETIO) {
        snprintf(text, sizeof text, "40{\"room\":\"%d\"}", c->room);
        write_text(c, text);
    }
}

static void note_joined(Client *c) {
    c->state = JOINED;
    joined++;
    if (visiting) say(c, now_ns());
    else start_more();
}

/* --- visits: join, say so many messages, one after the other, leave, and come again */

static void leave(Client *c) {
    c->state = LEAVING;
    joined--;
    if (options.dialect == EDGE) write_text(c, "[\"$bye\",{\"code\":4200,\"reason\":\"\"}]");
    write_frame(c, 8, "\x03\xe8", 2);
}

static void note_visit(Client *c, uint64_t at, uint64_t now) {
    if (at != c->said_at || c->state != JOINED) return;
    if (++c->heard < options.depth) say(c, now);
    else leave(c);
}

static void come_again(Client *c) {
    uint64_t now = now_ns();
    if (measuring) received++, note(&latency, (now - c->began) / 1000);
    close(c->fd);
    c->counted = c->acked = 0, c->heard = 0, c->visits++, c->going = c->gone = 0, c->began = now;
    start(c);
}

/* --- reading */

static uint64_t read_number(const unsigned char *p, const unsigned char *end, const char *name, size_t size) {
    const unsigned char *at = memmem(p, (size_t)(end - p), name, size);
    uint64_t value = 0;
    if (!at) return 0;
    for (at += size; at < end && *at == ' '; at++) {}
    for (; at < end && *at >= '0' && *at <= '9'; at++) value = value * 10 + (uint64_t)(*at - '0');
    return value;
}

/* MessagePack as msgpackr and msgspec write numbers: integers of any width, or a float64. */
static uint64_t read_packed(const unsigned char *p, const unsigned char *end, const char *name, size_t size) {
    const unsigned char *at = memmem(p, (size_t)(end - p), name, size);
    uint64_t value = 0;
    if (!at || (at += size) >= end) return 0;
    if (*at < 0x80) return *at;
    int width = *at == 0xcb ? 8 : *at >= 0xcc && *at <= 0xd3 ? 1 << (*at & 3) : 0; /* 0xcc to 0xd3: unsigned, signed */
    if (!width || at + width >= end) return 0;
    for (int i = 1; i <= width; i++) value = value << 8 | at[i];
    if (*at == 0xcb) {
        double number;
        memcpy(&number, &value, 8);
        return (uint64_t)number;
    }
    return value;
}

static void note_event(Client *c, const unsigned char *p, size_t size, uint64_t now) {
    const unsigned char *end = p + size;
    if (options.mode == VISITS) {
        uint64_t at = read_number(p, end, "\"at\":", 5);
        note_visit(c, at > 1000000000000000ull ? at - 1000000000000000ull : at, now);
        return;
    }
    if (measuring) {
        uint64_t at, late;
        if (options.dialect == COLYSEUS) {
            at = read_packed(p, end, "\xa2" "at", 3), late = read_packed(p, end, "\xa4late", 5);
        } else {
            at = read_number(p, end, "\"at\":", 5), late = read_number(p, end, "\"late\":", 7);
        }
        if (at > 1000000000000000ull) at -= 1000000000000000ull;
        received++;
        received_bytes += size;
        if (at) note(&latency, now / 1000 > at ? now / 1000 - at : 0);
        if (options.mode == STATES) note(&lateness, late);
    }
    if (options.rate == 0 && (options.mode == ECHO || (options.mode == BROADCAST && c->id % options.seats == 0)))
        say(c, now);
}

static void note_payload(Client *c, unsigned char *p, size_t size, uint64_t now) {
    char text[64];
    switch (options.dialect) {
    case EDGE:
        if (size < 4) return;
        if (c->state == GREETING) {
            if (!memcmp(p, "[\"$welcome", 10)) note_joined(c);
            return;
        }
        if (p[2] == '$') {
            if (memcmp(p, "[\"$ping", 7)) return;
        } else {
            c->counted += p[2] != '~';
            if (p[2] != '!') note_event(c, p, size, now);
            if (c->counted - c->acked < ACK_FRAMES) return;
        }
        c->acked = c->counted;
        snprintf(text, sizeof text, "[\"$ack\",%u]", c->counted);
        write_text(c, text);
        return;
    case SOCKETIO:
        if (p[0] == '0') greet(c);
        else if (p[0] == '2') write_text(c, "3");
        else if (c->state == GREETING && p[0] == '4' && p[1] == '0') note_joined(c);
        else if (p[0] == '4' && p[1] == '2') note_event(c, p, size, now);
        return;
    case COLYSEUS:
        if (c->state == GREETING && p[0] == 10) write_frame(c, 2, "\x0a", 1), note_joined(c);
        else if (p[0] == 13) note_event(c, p, size, now);
        return;
    case PLAIN:
        note_event(c, p, size, now);
        return;
    }
}

/* Frames from a server: not masked. Returns how many bytes were whole frames. */
static size_t read_frames(Client *c, unsigned char *data, size_t size, uint64_t now) {
    size_t at = 0;
    while (size - at >= 2 && c->state != GONE && c->state != LEFT) {
        unsigned char *head = data + at;
        int opcode = head[0] & 15;
        uint64_t length = head[1] & 127;
        size_t start = 2;
        if (length == 126) {
            if (size - at < 4) break;
            length = (uint64_t)head[2] << 8 | head[3], start = 4;
        } else if (length == 127) {
            if (size - at < 10) break;
            length = 0;
            for (int i = 2; i < 10; i++) length = length << 8 | head[i];
            start = 10;
        }
        if (size - at < start + length) break;
        at += start + (size_t)length;
        if (opcode == 8 && c->state == LEAVING) { c->state = LEFT; break; }
        if (opcode == 8) { give_up(c, length >= 2 ? head[start] << 8 | head[start + 1] : 1005); break; }
        if (opcode == 9) write_frame(c, 10, head + start, (size_t)length);
        else if (opcode != 10) note_payload(c, head + start, (size_t)length, now);
    }
    return at;
}

static void finish_matching(Client *c) {
    char *text = (char *)c->in;
    text[c->held] = 0;
    json_field(text, "\"sessionId\":\"", c->session, sizeof c->session);
    json_field(text, "\"processId\":\"", c->process, sizeof c->process);
    json_field(text, "\"roomId\":\"", c->name, sizeof c->name);
    close(c->fd);
    if (!c->session[0] || !c->process[0] || !c->name[0]) { fprintf(stderr, "no match: %s\n", text); exit(2); }
    upgrade(c);
}

static void keep(Client *c, const unsigned char *data, size_t size) {
    c->in = realloc(c->in, size + 1);
    memmove(c->in, data, size);
    c->held = size;
}

static void readable(Client *c) {
    if (c->held) memcpy(scratch, c->in, c->held);
    ssize_t n = recv(c->fd, scratch + c->held, READ_BYTES, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0 && c->state == MATCHING) { finish_matching(c); return; }
    if (n <= 0 && c->state == LEAVING) { come_again(c); return; }
    if (n <= 0) { give_up(c, 0); start_more(); return; }
    size_t size = c->held + (size_t)n, at = 0;
    if (c->state == MATCHING) { keep(c, scratch, size); return; }
    if (c->state == UPGRADING) {
        unsigned char *end = memmem(scratch, size, "\r\n\r\n", 4);
        if (!end) { keep(c, scratch, size); return; }
        if (memcmp(scratch, "HTTP/1.1 101", 12)) {
            if (closed == 0) fprintf(stderr, "refused: %.*s\n", (int)size, scratch);
            give_up(c, 0);
            start_more();
            return;
        }
        at = (size_t)(end + 4 - scratch);
        c->state = GREETING;
        if (options.dialect == EDGE) greet(c);
        if (options.dialect == PLAIN) note_joined(c);
    }
    at += read_frames(c, scratch + at, size - at, now_ns());
    if (c->state == LEFT) { come_again(c); return; }
    if (c->state != GONE && size > at) keep(c, scratch + at, size - at);
    else c->held = 0;
    if (c->state == GONE) start_more();
}

/* One turn of the loop: what the sockets have to say, until then at the latest. */
static double turn(double wait_seconds) {
    static struct epoll_event events[EVENTS];
    int n = epoll_wait(selector, events, EVENTS, 0);
    double idle = 0;
    if (n == 0 && wait_seconds > 0) {
        uint64_t from = now_ns();
        struct timespec t = {(time_t)wait_seconds, (long)((wait_seconds - (double)(time_t)wait_seconds) * 1e9)};
        n = epoll_pwait2(selector, events, EVENTS, &t, NULL);
        idle = (double)(now_ns() - from) / 1e9;
    }
    for (int i = 0; i < n; i++) {
        Client *c = events[i].data.ptr;
        if (c->state == GONE) continue;
        if (events[i].events & EPOLLOUT && flush(c)) watch(c, 0);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && c->state != GONE) readable(c);
    }
    return idle;
}

/* --- the run */

static double run(double seconds) {
    uint64_t begun = now_ns(), end = begun + (uint64_t)(seconds * 1e9);
    static uint64_t due, step, turn_of;
    double idle = 0;
    if (options.rate > 0 && !step) step = (uint64_t)(1e9 / (options.rate * count)), due = begun;
    for (uint64_t now = begun; now < end; now = now_ns()) {
        double wait = (double)(end - now) / 1e9;
        if (step) {
            for (; due <= now; due += options.random ? (uint64_t)(-log(1 - drand48()) * (double)step) : step) {
                Client *c = &clients[(options.random ? (uint64_t)lrand48() : turn_of++) % (uint64_t)count];
                if (c->state != JOINED) continue;
                if (c->going > 65536) pushed_back += (uint64_t)measuring; /* the server has not read for long */
                else say(c, due);
            }
            if ((double)(due - now) / 1e9 < wait) wait = (double)(due - now) / 1e9;
        }
        idle += turn(wait);
        if (joined == 0 && !visiting) break;
    }
    return idle;
}

static int choose(const char *value, const char *const *names) {
    for (int i = 0; names[i]; i++) if (!strcmp(value, names[i])) return i;
    fprintf(stderr, "unknown: %s\n", value);
    exit(2);
}

static void read_options(int argc, char **argv) {
    static const char *const dialects[] = {"plain", "edge", "socketio", "colyseus", NULL};
    static const char *const modes[] = {"echo", "broadcast", "states", "idle", "visits", NULL};
    static const char *const names[] = {"--host", "--path", "--port", "--rooms", "--seats", "--depth", "--slow", "--joining",
                                        "--bytes", "--seconds", "--warmup", "--rate", "--dialect", "--mode", "--other", "--random",
                                        NULL};
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];
        switch (choose(argv[i], names)) {
        case 0: options.host = value; break;
        case 1: options.path = value; break;
        case 2: options.port = atoi(value); break;
        case 3: options.rooms = atoi(value); break;
        case 4: options.seats = atoi(value); break;
        case 5: options.depth = atoi(value); break;
        case 6: options.slow = atoi(value); break;
        case 7: options.joining = atoi(value); break;
        case 8: options.bytes = atoi(value); break;
        case 9: options.seconds = atof(value); break;
        case 10: options.warmup = atof(value); break;
        case 11: options.rate = atof(value); break;
        case 12: options.dialect = (Dialect)choose(value, dialects); break;
        case 13: options.mode = (Mode)choose(value, modes); break;
        case 14: options.other = atoi(value); break;
        case 15: options.random = atoi(value); break;
        }
    }
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    read_options(argc, argv);
    count = options.rooms * options.seats;
    clients = calloc((size_t)count, sizeof *clients);
    selector = epoll_create1(0);
    for (int i = 0; i < count; i++) clients[i].id = i, clients[i].room = i / options.seats;

    uint64_t begun = now_ns();
    double busy_join = cpu_seconds();
    start_more();
    while (joined + closed < count && now_ns() - begun < 120000000000ull) turn(1);
    double join_seconds = (double)(now_ns() - begun) / 1e9;
    busy_join = (cpu_seconds() - busy_join) / join_seconds;
    int had_joined = joined;
    printf("{\"joined\": %d, \"join_seconds\": %.4f, \"join_busy\": %.3f", had_joined, join_seconds, busy_join);
    fflush(stdout);
    if (getenv("LOAD_WAITS")) { /* whoever started it wants to look at the server now, and then says go */
        fprintf(stderr, "joined\n");
        if (getchar() == EOF) return 2;
    }

    for (int i = 0; i < options.slow; i++) { /* these read no more */
        Client *c = &clients[count - 1 - i];
        struct epoll_event e = {.events = 0, .data.ptr = c};
        epoll_ctl(selector, EPOLL_CTL_MOD, c->fd, &e);
    }
    visiting = options.mode == VISITS;
    for (int i = 0; visiting && i < count; i++) {
        clients[i].began = now_ns();
        if (clients[i].state == JOINED) say(&clients[i], now_ns());
    }
    for (int i = 0; i < count && options.rate == 0; i++) {
        int says = options.mode == ECHO || (options.mode == BROADCAST && i % options.seats == 0);
        for (int n = 0; says && n < options.depth && clients[i].state == JOINED; n++) say(&clients[i], now_ns());
    }
    run(options.warmup);
    measuring = 1;
    uint64_t from = now_ns();
    double cpu = cpu_seconds(), idle = run(options.seconds), seconds = (double)(now_ns() - from) / 1e9;
    cpu = cpu_seconds() - cpu;
    printf(", \"seconds\": %.4f, \"sent\": %llu, \"received\": %llu, \"received_bytes\": %llu, \"pushed_back\": %llu", seconds,
           (unsigned long long)sent, (unsigned long long)received, (unsigned long long)received_bytes,
           (unsigned long long)pushed_back);
    measuring = 0;
    for (int i = 0; i < options.slow; i++) watch(&clients[count - 1 - i], 0); /* now they read what there is */
    if (options.slow) run(2);
    int let_go = 0;
    for (int i = 0; i < options.slow; i++) let_go += clients[count - 1 - i].state == GONE;
    printf(", \"busy\": %.3f, \"cpu\": %.3f, \"left\": %d, \"let_go\": %d, \"codes\": {", 1 - idle / seconds, cpu / seconds,
           joined, let_go);
    for (int code = 0, first = 1; code < 5000; code++)
        if (codes[code]) printf("%s\"%d\": %d", first ? "" : ", ", code, codes[code]), first = 0;
    printf("}");
    print_histogram("latency_us", &latency);
    print_histogram("late_us", &lateness);
    printf("}\n");
    return had_joined == count ? 0 : 1;
}
