# SPDX-License-Identifier: Apache-2.0
"""What may stand between a client and livekit-server: a front that speaks TLS or serves it under a path, a proxy that
opens tunnels on CONNECT. Threads of the test; every head that came is kept, and who came at all is counted (met)."""
import contextlib
import pathlib
import select
import socket
import ssl
import subprocess
import threading
import time


class Authority:
    """A CA of the test's own; certificate(name) gives (certificate, key) files that it has signed."""

    def __init__(self, directory, name="lk test CA"):
        self.directory, self.file = pathlib.Path(directory), pathlib.Path(directory) / f"{name}.pem".replace(" ", "-")
        self.key = self.file.with_suffix(".key")
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                     "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.file)

    def openssl(self, *words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

    def certificate(self, name, days=2):
        """name: "DNS:localhost", "IP:127.0.0.1", several with commas."""
        stem = self.directory / name.replace(":", "-").replace(",", "_")
        key, request, signed, more = (stem.with_suffix(s) for s in (".key", ".csr", ".crt", ".ext"))
        more.write_text(f"subjectAltName={name}\n")
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=server",
                     "-keyout", key, "-out", request)
        self.openssl("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.key, "-CAcreateserial",
                     "-days", days, "-extfile", more, "-out", signed)
        return signed, key


class Listener:
    """Accepts on a port of loopback until the end of the context; serve(socket) runs in a thread for each."""

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port, self.heads, self.open, self.met = self.socket.getsockname()[1], [], True, 0
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.open = False
        self.socket.close()

    def accept(self):
        while self.open:
            with contextlib.suppress(OSError):
                taken, _ = self.socket.accept()
                self.met += 1
                threading.Thread(target=self.guarded, args=(taken,), daemon=True).start()

    def guarded(self, taken):
        with contextlib.suppress(OSError), taken:
            self.serve(taken)

    def head(self, taken):
        """The request's head, and what came behind it."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = taken.recv(65536)
            if not more:
                raise OSError("no request")
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        self.heads.append(head.decode())
        return head, rest


class Front(Listener):
    """In front of a server: with TLS if a certificate is given; what stands before the server's own path is cut off."""

    def __init__(self, server, certificate=None, prefix=""):
        self.server, self.prefix, self.context = server, prefix.encode(), None
        self.versions = []
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)

    def url(self, host="127.0.0.1"):
        return f"{'wss' if self.context else 'ws'}://{host}:{self.port}{self.prefix.decode()}"

    def serve(self, taken):
        if self.context:
            taken = self.context.wrap_socket(taken, server_side=True)
            self.versions.append(taken.version())
        with taken:
            head, rest = self.head(taken)
            with socket.create_connection((self.server.address, self.server.port)) as there:
                there.sendall(head.replace(b"GET " + self.prefix, b"GET ", 1) + b"\r\n\r\n" + rest)
                carry(taken, there)


class Proxy(Listener):
    """Opens tunnels. answer: what it says instead; silent: nothing at all. Every name leads to loopback."""

    def __init__(self, answer=None, silent=False):
        self.answer, self.silent = answer, silent

    def url(self, userinfo=""):
        return f"http://{userinfo + '@' if userinfo else ''}127.0.0.1:{self.port}"

    def serve(self, taken):
        head, rest = self.head(taken)
        if self.silent:
            while self.open:
                time.sleep(0.05)
            return
        if self.answer:
            taken.sendall(self.answer)
            return
        method, target, _ = head.split(b"\r\n")[0].split(b" ")
        assert method == b"CONNECT", head
        with socket.create_connection(("127.0.0.1", int(target.rpartition(b":")[2]))) as there:
            taken.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            there.sendall(rest)
            carry(taken, there)


def carry(one, other):
    """Bytes both ways until either end is reached. A TLS socket may hold bytes that no select tells of."""
    pairs = {one: other, other: one}
    while True:
        held = [s for s in pairs if isinstance(s, ssl.SSLSocket) and s.pending()]
        for s in held or select.select(list(pairs), [], [])[0]:
            data = s.recv(65536)
            if not data:
                return
            pairs[s].sendall(data)
