"""An LDAP server that knows one user: enough of RFC 4511 to answer a simple bind."""

import io
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

BIND_REQUEST, UNBIND_REQUEST = 0x60, 0x42
SUCCESS, INVALID_CREDENTIALS = 0, 49


def element(stream: BinaryIO) -> tuple[int, bytes]:
    """Tag and content of the next BER element; (0, b"") at the end."""
    head = stream.read(2)
    if len(head) < 2:
        return 0, b""
    tag, length = head
    if length >= 0x80:
        length = int.from_bytes(stream.read(length - 0x80), "big")
    return tag, stream.read(length)


def elements(content: bytes) -> list[tuple[int, bytes]]:
    """All BER elements of a content."""
    stream = io.BytesIO(content)
    found = []
    while (each := element(stream)) != (0, b""):
        found.append(each)
    return found


@contextmanager
def ldap_server(name: str, password: str) -> Iterator[str]:
    """Its address, on loopback; it accepts one distinguished name with one password."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while (message := element(self.rfile)[1]) != b"":
                (_, number), (tag, request), *_ = elements(message)
                if tag == UNBIND_REQUEST:
                    return
                known = False
                if tag == BIND_REQUEST:
                    _, (_, given_name), (_, given_password) = elements(request)
                    known = (given_name, given_password) == (name.encode(), password.encode())
                code = SUCCESS if known else INVALID_CREDENTIALS
                result = bytes([0x61, 7, 0x0A, 1, code, 4, 0, 4, 0])
                answer = bytes([2, len(number)]) + number + result
                self.wfile.write(bytes([0x30, len(answer)]) + answer)

    class Threading(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Threading(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"ldap://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
