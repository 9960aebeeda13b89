"""The listening socket: bound once, shared by the workers, and drained without losing a connection."""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import os
import socket
import struct
import sys
import time

from tasks.errors import UserError

BACKLOG = 2048
_SO_ATTACH_FILTER = 26
_BIND_AGAIN_SECONDS = 2.0


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; while an earlier server of the same port is ending, it is waited for.

    Raises:
        UserError: the address is none of this machine, the port is taken, or it needs rights.
    """
    family, address = _address(host, port)
    give_up = time.monotonic() + _BIND_AGAIN_SECONDS
    while True:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address[0] == "::" else 1)
            sock.bind(address)
            sock.listen(BACKLOG)
            sock.setblocking(False)
            return sock
        except OSError as err:
            sock.close()
            if err.errno == errno.EADDRINUSE and time.monotonic() < give_up:
                time.sleep(0.05)
                continue
            raise UserError(_bind_fault(err, host, port)) from err


def shown_address(sock: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if sock.family == socket.AF_INET6 else f"http://{host}:{port}"


def reached_by_others(sock: socket.socket) -> bool:
    """Whether more than this machine's own programs can connect."""
    return not ipaddress.ip_address(str(sock.getsockname()[0]).partition("%")[0]).is_loopback


def _address(host: str, port: int) -> tuple[int, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as err:
        raise UserError(
            f"serve.host {host!r} is no address that this machine knows ({getattr(err, 'strerror', err)}); "
            "give 127.0.0.1, 0.0.0.0 for every address, or one of this machine's own"
        ) from err
    family, _, _, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, (str(address[0]), int(address[1]))


def _bind_fault(err: OSError, host: str, port: int) -> str:
    if err.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken; end what listens there, or choose another (--port; 0 takes a free one)"
    if err.errno == errno.EACCES:
        return f"port {port} of {host} needs rights that this user has not; choose one from 1024 on (--port)"
    if err.errno == errno.EADDRNOTAVAIL:
        return f"serve.host {host!r} is no address of this machine; give one of its own, or 0.0.0.0 for every one"
    return f"cannot listen on {host} port {port}: {err.strerror}"


def refuse_new_connections(sock: socket.socket) -> bool:
    """Have the kernel drop new handshakes; what it holds already is still accepted. False where it cannot.

    Closing a socket resets the connections that nobody accepted yet, though their clients have sent requests. A filter
    that lets all but bare SYNs pass empties the queue first; a client whose SYN was dropped sends it again and is
    refused when the socket is closed. Whoever owns the socket alone may ask for this: it holds for all who share it.
    """
    if not sys.platform.startswith("linux"):
        return False
    # ldb [13]; and #0x12; jeq #0x02 drop; ret all; ret 0 (byte 13 of TCP: flags; 0x02 SYN, 0x10 ACK)
    program = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 1, 0, 0x02), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code)))
    except OSError:
        return False
    return True


def inherited(descriptor: int) -> socket.socket:
    """The listening socket that the parent bound."""
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    os.set_inheritable(descriptor, False)
    return sock
