/* The load of the benchmarks: one thread, epoll, kept connections, as little work for each request as it can be.
 *
 *     load ADDRESS PORT CONNECTIONS SECONDS RATE MODE < requests
 *
 * RATE 0: each connection sends its next request as soon as it has the answer to the one before. Otherwise so many
 * requests a second are due, at random moments (Poisson); one that finds no idle connection waits for it, and its
 * time counts from the moment at which it was due, so that a pause of the proxy shows in every request it delays.
 *
 * Requests come as a 4-byte length (little endian) and bytes, one after another. MODE own: a connection sends the same
 * one again and again, each another one. MODE mixed: every request sent is the next of the list, whatever the connection.
 *
 * Knows answers with Content-Length, chunked ones, and those without a body (204, 304). Anything else, and a
 * connection that ends, is an error. Prints one JSON object.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES (256 * 1024)
#define HEAD_BYTES (16 * 1024)
#define CONNECTIONS_MAX 16384
#define ERRORS_MAX 1000 /* then the run is over: there is nothing to measure */
#define OCTAVES 32 /* of nanoseconds times 1024: up to an hour */
#define STEPS 64   /* an octave: 1.6 % apart */

typedef struct { char *bytes; uint32_t length; } Request;
typedef enum { IDLE, HEAD, BODY, CHUNK_SIZE, CHUNK_DATA, TRAILERS } State;
typedef struct {
  int fd;
  State state;
  Request *request;
  uint32_t sent;      /* bytes of it */
  int64_t due;        /* ns: when it was sent, or should have been */
  int64_t left;       /* of a body or a chunk, with its CRLF */
  uint32_t line;      /* bytes of a chunk's size line or a trailer so far */
  uint32_t kept;      /* bytes in `head` */
  char head[HEAD_BYTES];
} Connection;

static struct sockaddr_in address;
static Request *requests;
static size_t request_count, next_request;
static Connection *connections;
static int epoll_fd, connection_count, is_mixed;
static int *idle, idle_count; /* only with a rate */
static double rate;
static char buffer[READ_BYTES];
static uint64_t counts[OCTAVES * STEPS], answered, refused, errors, bytes_in;
static int64_t longest, due_next;

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void read_requests(void) {
  uint32_t length;
  size_t room = 0;
  while (fread(&length, 4, 1, stdin) == 1) {
    if (request_count == room) requests = realloc(requests, (room = room ? room * 2 : 64) * sizeof *requests);
    Request *request = &requests[request_count++];
    request->bytes = malloc(request->length = length);
    if (fread(request->bytes, 1, length, stdin) != length) exit(2);
  }
  if (!request_count) exit(2);
}

static void record(int64_t ns) {
  if (ns > longest) longest = ns;
  double octave = log2((double)(ns < 1024 ? 1024 : ns) / 1024);
  int slot = (int)(octave * STEPS);
  counts[slot < OCTAVES * STEPS ? slot : OCTAVES * STEPS - 1]++;
}

static double percentile(double share) {
  uint64_t wanted = (uint64_t)ceil(share * answered), seen = 0;
  for (int slot = 0; slot < OCTAVES * STEPS; slot++)
    if ((seen += counts[slot]) >= wanted && wanted) return exp2((slot + 0.5) / STEPS) * 1024 / 1e6;
  return 0;
}

static void watch(Connection *c, int operation, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = c};
  epoll_ctl(epoll_fd, operation, c->fd, &event);
}

static void push(Connection *c) {
  while (c->sent < c->request->length) {
    ssize_t n = send(c->fd, c->request->bytes + c->sent, c->request->length - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) {
      if (errno == EAGAIN) watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
      return; /* what broke is seen when it is read */
    }
    c->sent += n;
  }
}

static void begin(Connection *c, int64_t due) {
  if (is_mixed) c->request = &requests[next_request++ % request_count];
  c->sent = c->kept = 0;
  c->state = HEAD;
  c->due = due;
  push(c);
}

static void begin_due(int64_t now) {
  while (due_next <= now && idle_count) {
    begin(&connections[idle[--idle_count]], due_next);
    due_next += (int64_t)(-log(1 - drand48()) / rate * 1e9);
  }
}

static void restart(Connection *c) {
  if (c->fd >= 0) close(c->fd);
  c->fd = socket(AF_INET, SOCK_STREAM, 0);
  int one = 1;
  if (connect(c->fd, (struct sockaddr *)&address, sizeof address)) {
    perror("connect");
    exit(1);
  }
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  watch(c, EPOLL_CTL_ADD, EPOLLIN);
  c->state = IDLE;
}

static void ready(Connection *c, int64_t now) {
  c->state = IDLE;
  if (rate > 0) idle[idle_count++] = (int)(c - connections);
  else begin(c, now);
}

static void failed(Connection *c) {
  errors++;
  restart(c);
  ready(c, now_ns());
}

static void finished(Connection *c) {
  int64_t now = now_ns();
  answered++;
  record(now - c->due);
  ready(c, now);
}

/* The head is whole in `head`: how the body ends. Returns 0 if that is not known. */
static int frame(Connection *c) {
  int status = atoi(c->head + 9);
  if (status < 200 || status > 399) refused++;
  c->state = BODY;
  c->left = 0;
  if (status == 204 || status == 304) return 1;
  for (char *line = strstr(c->head, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
    if (!strncasecmp(line + 2, "content-length:", 15)) return c->left = atoll(line + 17), 1;
    if (!strncasecmp(line + 2, "transfer-encoding:", 18)) return c->state = CHUNK_SIZE, c->line = 0, c->left = 0, 1;
  }
  return 0;
}

/* A line of a chunked body, byte by byte: its size, or a trailer. */
static void chunk_byte(Connection *c, char byte) {
  if (byte == '\n') {
    if (c->state == TRAILERS) {
      if (!c->line) c->state = IDLE;
    } else {
      c->state = c->left ? CHUNK_DATA : TRAILERS;
      c->left += 2;
    }
    c->line = 0;
  } else if (byte != '\r') {
    c->line++;
    if (c->state == CHUNK_SIZE) {
      int digit = byte <= '9' ? byte - '0' : (byte | 32) - 'a' + 10;
      if (digit >= 0 && digit < 16) c->left = c->left * 16 + digit;
    }
  }
}

static void feed(Connection *c, char *data, size_t n) {
  if (c->state == HEAD) {
    size_t before = c->kept, taken = n < HEAD_BYTES - 1 - before ? n : HEAD_BYTES - 1 - before;
    memcpy(c->head + before, data, taken);
    c->head[c->kept += taken] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) {
      if (c->kept == HEAD_BYTES - 1) failed(c);
      return;
    }
    size_t used = end + 4 - c->head - before;
    data += used, n -= used;
    if (!frame(c)) return failed(c);
  }
  while (n && (c->state == CHUNK_SIZE || c->state == CHUNK_DATA || c->state == TRAILERS)) {
    if (c->state == CHUNK_DATA) {
      size_t taken = n < (size_t)c->left ? n : (size_t)c->left;
      data += taken, n -= taken;
      if (!(c->left -= taken)) c->state = CHUNK_SIZE;
    } else {
      if (c->state == TRAILERS) c->left = 0;
      chunk_byte(c, *data++), n--;
    }
  }
  if (c->state == BODY) {
    c->left -= n;
    if (c->left < 0) failed(c); /* more than was announced */
    else if (!c->left) finished(c);
  } else if (c->state == IDLE) {
    if (n) failed(c);
    else finished(c);
  }
}

static void drained(Connection *c) {
  ssize_t n = recv(c->fd, buffer, READ_BYTES, MSG_DONTWAIT);
  if (n > 0) {
    bytes_in += n;
    if (c->state == IDLE) failed(c); /* an answer to nothing */
    else feed(c, buffer, n);
  } else if (n == 0 || errno != EAGAIN) failed(c);
}

static void run(int64_t until) {
  struct epoll_event events[256];
  for (int64_t now; (now = now_ns()) < until && errors < ERRORS_MAX;) {
    struct timespec wait = {0, 100000000};
    if (rate > 0) {
      begin_due(now);
      if (idle_count) {
        int64_t left = due_next - now_ns();
        if (left < 0) left = 0;
        if (left < wait.tv_nsec) wait.tv_nsec = left;
      }
    }
    int n = epoll_pwait2(epoll_fd, events, 256, &wait, NULL);
    for (int i = 0; i < n; i++) {
      Connection *c = events[i].data.ptr;
      if (events[i].events & EPOLLOUT) {
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
        push(c);
      }
      if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) drained(c);
    }
  }
}

int main(int argc, char **argv) {
  if (argc != 7) return 2;
  address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
  inet_pton(AF_INET, argv[1], &address.sin_addr);
  connection_count = atoi(argv[3]);
  double seconds = atof(argv[4]);
  rate = atof(argv[5]);
  is_mixed = !strcmp(argv[6], "mixed");
  if (connection_count < 1 || connection_count > CONNECTIONS_MAX) return 2;
  read_requests();
  srand48(getpid());
  epoll_fd = epoll_create1(0);
  connections = calloc(connection_count, sizeof *connections);
  idle = calloc(connection_count, sizeof *idle);
  for (int i = 0; i < connection_count; i++) {
    connections[i].fd = -1;
    connections[i].request = &requests[i % request_count];
    restart(&connections[i]);
  }
  int64_t start = due_next = now_ns();
  for (int i = 0; i < connection_count; i++) ready(&connections[i], start);
  run(start + (int64_t)(seconds * 1e9));
  double took = (now_ns() - start) / 1e9;
  printf("{\"requests\": %lu, \"per_second\": %.2f, \"refused\": %lu, \"errors\": %lu, \"bytes\": %lu, \"p50_ms\": %.4f, "
         "\"p99_ms\": %.4f, \"p999_ms\": %.4f, \"max_ms\": %.4f}\n",
         answered, answered / took, refused, errors, bytes_in, percentile(0.5), percentile(0.99), percentile(0.999),
         longest / 1e6);
  return 0;
}
