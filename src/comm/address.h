/* address: sockets and addresses of this host, for the TCP connections that kmask itself makes between ranks, beside MPI's. */
#ifndef KM_ADDRESS_H
#define KM_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* An address at which a listening process can be reached. It holds no pointers, so that ranks can send it as bytes. */
enum { KM_ADDRESSES = 24 };
typedef struct km_address {
    int32_t family; /* AF_INET or AF_INET6 */
    uint16_t port;  /* in the network's order */
    uint16_t loopback;
    uint8_t bytes[16];
} km_address;

typedef union km_endpoint {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} km_endpoint;

socklen_t km_endpoint_of(km_endpoint *out, const km_address *address);
/* Opens a TCP socket that never blocks and is closed on exec; -1 where that fails. */
int km_socket_open(int family);
/* How an address of another host lies to this host. */
typedef enum km_reach {
    KM_REACH_OWN, /* this host has the same address: it leads back here */
    KM_REACH_FAR, /* in a network that this host is not in */
    KM_REACH_NEAR /* in a network that this host is in */
} km_reach;
km_reach km_address_reach(const km_address *address);
/* Listens on a free port of all interfaces, or with `loopback` of that alone, by IPv4 (listeners[0]) and IPv6 (listeners[1]); a listener is -1 where that fails.
 * Fills `addresses` with up to `most` addresses of interfaces that are up, without link-local ones, and returns how many there
 * are. */
int km_listen(int listeners[2], km_address *addresses, int most, bool loopback);
/* Raises this process's limit of open files to `count`, or as far as the system allows. */
void km_allow_files(int count);

#endif
