/* Sockets and addresses of this host, for connections of our own between ranks. */
#ifndef KM_ADDRESS_H
#define KM_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* Where a listening process can be reached; plain bytes, to be sent as they are. */
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
/* TCP, never blocking, closed on exec; -1 when there is none. */
int km_socket_open(int family);
/* Listens on a free port of all interfaces, with and without IPv6: listeners[i] is -1 where that cannot be. Up to `most` of this
 * host's addresses that are up, link-local ones left out; returns how many. */
int km_listen(int listeners[2], km_address *addresses, int most);
/* Lets this process open so many files, as far as the system does. */
void km_allow_files(int count);

#endif
