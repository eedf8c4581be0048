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
/* Listens on a free port of all interfaces, by IPv4 (listeners[0]) and IPv6 (listeners[1]); a listener is -1 where that fails.
 * Fills `addresses` with up to `most` addresses of interfaces that are up, without link-local ones, and returns how many there
 * are. */
int km_listen(int listeners[2], km_address *addresses, int most);
/* Raises this process's limit of open files to `count`, or as far as the system allows. */
void km_allow_files(int count);

#endif
