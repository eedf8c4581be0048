/* address: sockets and addresses of this host. */
#include "address.h"

#include "kmask/base.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

socklen_t km_endpoint_of(km_endpoint *out, const km_address *address) {
    memset(out, 0, sizeof *out);
    out->any.sa_family = (sa_family_t)address->family;
    if (address->family == AF_INET) {
        out->v4.sin_port = address->port;
        memcpy(&out->v4.sin_addr, address->bytes, sizeof out->v4.sin_addr);
        return sizeof out->v4;
    }
    out->v6.sin6_port = address->port;
    memcpy(&out->v6.sin6_addr, address->bytes, sizeof out->v6.sin6_addr);
    return sizeof out->v6;
}

int km_socket_open(int family) {
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (fd >= 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (family == AF_INET6) {
            (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
        }
    }
    return fd;
}

/* 127.0.0.1 or ::1 */
static void set_loopback(km_address *address) {
    address->bytes[address->family == AF_INET ? 3 : 15] = 1;
    address->bytes[0] = address->family == AF_INET ? 127 : 0;
}

static int listen_on(int family, uint16_t *port, bool loopback) {
    km_address any = {.family = family};
    if (loopback) {
        set_loopback(&any);
    }
    km_endpoint here;
    socklen_t size = km_endpoint_of(&here, &any);
    int fd = km_socket_open(family);
    if (fd >= 0 &&
        (bind(fd, &here.any, size) != 0 || listen(fd, SOMAXCONN) != 0 || getsockname(fd, &here.any, &size) != 0)) {
        close(fd);
        fd = -1;
    }
    *port = family == AF_INET ? here.v4.sin_port : here.v6.sin6_port;
    return fd;
}

/* Sets *out to the interface's address; false where it has none that other hosts could use. */
static bool address_of(km_address *out, const struct ifaddrs *interface, const uint16_t *ports) {
    const struct sockaddr *at = interface->ifa_addr;
    bool v4 = at != NULL && at->sa_family == AF_INET, v6 = at != NULL && at->sa_family == AF_INET6;
    uint16_t port = v4 ? ports[0] : ports[1];
    if (!(v4 || v6) || port == 0 || !(interface->ifa_flags & IFF_UP)) {
        return false;
    }
    *out = (km_address){.family = at->sa_family, .port = port};
    out->loopback = (interface->ifa_flags & IFF_LOOPBACK) != 0;
    if (v4) {
        memcpy(out->bytes, &((const struct sockaddr_in *)(const void *)at)->sin_addr, 4);
        return true;
    }
    const struct in6_addr *bytes = &((const struct sockaddr_in6 *)(const void *)at)->sin6_addr;
    memcpy(out->bytes, bytes, 16);
    return !IN6_IS_ADDR_LINKLOCAL(bytes); /* other hosts cannot connect to a link-local address */
}

/* Whether it is the address that a loopback listener has. */
static bool is_loopback(const km_address *address) {
    km_address expected = {.family = address->family};
    set_loopback(&expected);
    return memcmp(address->bytes, expected.bytes, sizeof expected.bytes) == 0;
}

/* Whether two addresses agree in the bits of a mask. */
static bool same_network(const uint8_t *a, const uint8_t *b, const uint8_t *mask, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if ((a[i] & mask[i]) != (b[i] & mask[i])) {
            return false;
        }
    }
    return true;
}

static const uint8_t *bytes_of(const struct sockaddr *at) {
    return at->sa_family == AF_INET ? (const uint8_t *)&((const struct sockaddr_in *)(const void *)at)->sin_addr
                                    : (const uint8_t *)&((const struct sockaddr_in6 *)(const void *)at)->sin6_addr;
}

km_reach km_address_reach(const km_address *address) {
    static const uint8_t ones[16] = {255, 255, 255, 255, 255, 255, 255, 255,
                                     255, 255, 255, 255, 255, 255, 255, 255};
    const size_t count = address->family == AF_INET ? 4 : 16;
    struct ifaddrs *interfaces = NULL;
    km_reach reach = KM_REACH_FAR;
    if (getifaddrs(&interfaces) != 0) {
        return reach;
    }
    for (const struct ifaddrs *i = interfaces; i != NULL && reach != KM_REACH_OWN; i = i->ifa_next) {
        if (i->ifa_addr == NULL || i->ifa_netmask == NULL || i->ifa_addr->sa_family != address->family) {
            continue;
        }
        const uint8_t *own = bytes_of(i->ifa_addr);
        reach = same_network(own, address->bytes, ones, count)                       ? KM_REACH_OWN
                : same_network(own, address->bytes, bytes_of(i->ifa_netmask), count) ? KM_REACH_NEAR
                                                                                     : reach;
    }
    freeifaddrs(interfaces);
    return reach;
}

int km_listen(int listeners[2], km_address *addresses, int most, bool loopback) {
    static const int families[2] = {AF_INET, AF_INET6};
    uint16_t ports[2] = {0, 0};
    struct ifaddrs *interfaces = NULL;
    if (getifaddrs(&interfaces) != 0) {
        return 0;
    }
    for (int i = 0; i < 2; i++) {
        listeners[i] = listen_on(families[i], &ports[i], loopback);
        ports[i] = listeners[i] >= 0 ? ports[i] : 0;
    }
    int count = 0;
    for (const struct ifaddrs *i = interfaces; i != NULL && count < most; i = i->ifa_next) {
        count += address_of(&addresses[count], i, ports) && (!loopback || is_loopback(&addresses[count]));
    }
    freeifaddrs(interfaces);
    return count;
}

void km_allow_files(int count) {
    const rlim_t others = 256;
    struct rlimit limit;
    rlim_t wanted = (rlim_t)count + others;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted) {
        limit.rlim_cur = KM_MIN(wanted, limit.rlim_max);
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}
