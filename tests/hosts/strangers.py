#!/usr/bin/env python3
"""strangers.py watch FILE: writes to FILE, again and again, on which ports the kmask processes of this machine listen, those of MPI
(47000-47999, which the tests set) left out.
strangers.py attack FILE ADDRESS...: neighbours on the network. Scans all ports of the addresses, and on those of FILE floods them with
connections, sends them random bytes, what they have sent themselves, and a byte now and then, and reads nothing of what they send.
Both go on until they are killed; the second then says in a line what it has done. Sourced by tests with strangers.sh."""
import os, random, selectors, signal, socket, sys, time

MPI = range(47000, 48000)


def listening(pid):
    own = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            own.add(os.readlink(f"/proc/{pid}/fd/{fd}").removeprefix("socket:[").rstrip("]"))
        except OSError:
            pass
    for table in ("tcp", "tcp6"):
        for line in open(f"/proc/{pid}/net/{table}").readlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in own:
                yield int(words[1].split(":")[1], 16)


def watch(path):
    while True:
        ports = set()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if open(f"/proc/{pid}/comm").read().strip() in ("kmask", "kmask_faults"):
                    ports.update(port for port in listening(pid) if port not in MPI)
            except OSError: # it has ended
                pass
        with open(path + ".new", "w") as f:
            f.writelines(f"{port}\n" for port in sorted(ports))
        os.rename(path + ".new", path)
        time.sleep(0.1)


class Attack:
    MOST = 900 # connections at a time

    def __init__(self, path, addresses):
        self.path, self.addresses = path, addresses
        self.selector = selectors.DefaultSelector()
        self.open = {} # socket: (kind, when it is closed)
        self.heard = [b"\0" * 32]
        self.counts = dict.fromkeys(("scanned", "connections", "forged", "slow", "silent", "bytes heard"), 0)
        self.scan = self.scanned_ports()

    def scanned_ports(self):
        while True:
            for port in random.sample(range(1024, 65536), 64512):
                for address in self.addresses:
                    yield address, port

    def connect(self, kind, address, port, seconds):
        s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        s.setblocking(False)
        s.connect_ex((address, port))
        self.counts["scanned" if kind == "scan" else kind] += 1
        self.open[s] = (kind, time.monotonic() + seconds)
        self.selector.register(s, selectors.EVENT_WRITE if kind != "silent" else selectors.EVENT_READ)

    def close(self, s):
        self.selector.unregister(s)
        s.close()
        del self.open[s]

    def forgery(self):
        known = random.choice(self.heard)
        some = random.randbytes(random.choice((1, 16, 31, 64, 200, 5000)))
        return random.choice((some, known, known + some, b"\xff" * 64, b"\0" * 4096, b"GET / HTTP/1.0\r\n\r\n"))

    def speak(self, s, kind):
        if s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
            return self.close(s)
        self.counts["connections"] += 1
        if kind == "scan":
            return self.close(s)
        s.send(self.forgery() if kind == "forged" else random.randbytes(1))
        self.selector.modify(s, selectors.EVENT_READ)

    def listen(self, s, kind):
        if kind == "slow" and random.random() < 0.9:
            return None
        got = s.recv(512)
        self.counts["bytes heard"] += len(got)
        if not got:
            return self.close(s)
        self.heard = (self.heard + [got])[-200:]
        if kind == "forged":
            s.send(self.forgery())
        return None

    def turn(self):
        try:
            ports = [int(line) for line in open(self.path)]
        except OSError:
            ports = []
        for _ in range(100):
            self.connect("scan", *next(self.scan), 1)
        for port in ports:
            for address in self.addresses:
                for kind, count, seconds in (("forged", 10, 3), ("slow", 2, 20), ("silent", 2, 20)):
                    for _ in range(count if len(self.open) < self.MOST else 0):
                        self.connect(kind, address, port, seconds)
        for key, _ in self.selector.select(0.02):
            kind = self.open[key.fileobj][0]
            try:
                (self.speak if key.events & selectors.EVENT_WRITE else self.listen)(key.fileobj, kind)
            except OSError:
                self.close(key.fileobj)
        now = time.monotonic()
        for s in [s for s, (_, until) in self.open.items() if now > until]:
            self.close(s)
        for s in [s for s, (kind, _) in self.open.items() if kind == "slow" and random.random() < 0.01]:
            try:
                s.send(b"x")
            except OSError:
                self.close(s)

    def run(self):
        ended = []
        signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
        while not ended:
            self.turn()
            time.sleep(0.01)
        print("strangers: " + ", ".join(f"{count} {what}" for what, count in self.counts.items()), flush=True)


if sys.argv[1] == "watch":
    watch(sys.argv[2])
else:
    Attack(sys.argv[2], sys.argv[3:]).run()
