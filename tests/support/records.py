"""A client of TLS over a plain socket, which says when its records leave, and how small they are."""

from __future__ import annotations

import socket
import ssl


class Records:
    """It blocks."""

    def __init__(self, port, context):
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                self.incoming.write(self.sock.recv(65536))
        self.sock.sendall(self.outgoing.read())

    def records(self, data, size):
        for at in range(0, len(data), size):
            self.tls.write(data[at : at + size])
        return self.outgoing.read()

    def until(self, count, mark):
        """Reads until `mark` has come so often."""
        heard = b""
        while heard.count(mark) < count:
            try:
                heard += self.tls.read(65536)
            except ssl.SSLWantReadError:
                if not (data := self.sock.recv(65536)):
                    return heard
                self.incoming.write(data)
        return heard
