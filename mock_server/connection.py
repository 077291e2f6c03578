"""One client connection: it answers requests in order and applies delivery faults."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

from mock_server.http_messages import BadRequest, Request, Response, error_response, take_request

Handler = Callable[[Request], Response]


class ClientConnection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive and pipelining. Delivery faults need the raw socket, hence an asyncio protocol."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._received = bytearray()
        self._transport: asyncio.Transport
        self._delivering: asyncio.Task[None] | None = None
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"expected a stream transport, not {type(transport).__name__}")
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._delivering:
            self._delivering.cancel()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._respond_to_received()

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._respond_to_received()

    def _respond_to_received(self) -> None:
        """Answer complete requests in order. Stop at a response that takes time or while the write buffer is full."""
        while not (self._delivering or self._full or self._transport.is_closing()):
            try:
                request = take_request(self._received)
            except BadRequest as error:
                self._send(error_response(error.status, str(error)), keep_alive=False)
                return
            if request is None:
                return
            self._respond(request)

    def _respond(self, request: Request) -> None:
        response = self._handle(request)
        if response.delivery.mode == "whole" and not response.delivery.delay:
            self._send(response, request.keep_alive, with_body=request.method != "HEAD")
        else:
            self._delivering = asyncio.get_running_loop().create_task(self._deliver(response, request.keep_alive))

    def _send(self, response: Response, keep_alive: bool, with_body: bool = True) -> None:
        head = response.head(keep_alive)
        self._transport.write(head + response.body if with_body else head)
        if not keep_alive:
            self._transport.close()

    async def _deliver(self, response: Response, keep_alive: bool) -> None:
        """Send a response that takes time or ends the connection."""
        await asyncio.sleep(response.delivery.delay)
        match response.delivery.mode:
            case "hang":
                await asyncio.Event().wait()
            case "short":
                self._send_half(response)
                self._transport.close()
            case "reset":
                self._send_half(response)
                await asyncio.sleep(0.01)
                self._reset()
            case "drip":
                await self._drip(response, keep_alive)
            case _:
                self._send(response, keep_alive)
        self._delivering = None
        self._respond_to_received()

    def _send_half(self, response: Response) -> None:
        self._transport.write(response.head(keep_alive=False) + response.body[: len(response.body) // 2])

    def _reset(self) -> None:
        """Close with a TCP reset. SO_LINGER of zero seconds drops unsent data."""
        open_socket = self._transport.get_extra_info("socket")
        open_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def _drip(self, response: Response, keep_alive: bool) -> None:
        self._transport.write(response.head(keep_alive))
        for byte in response.body:
            self._transport.write(bytes([byte]))
            await asyncio.sleep(response.delivery.pause)
        if not keep_alive:
            self._transport.close()
