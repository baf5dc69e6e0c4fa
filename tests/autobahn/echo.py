"""An echo service whose answers depend on the frames alone, not on how TCP cut them.

The usual servers read ahead: when an illegal frame arrives in the segment of a good message, the connection fails
before the message is echoed. A proxy may merge segments, so such a server would differ without any byte differing.
This one gives its protocol one frame at a time.
"""

import asyncio
import codecs

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.protocol = ServerProtocol(extensions=[ServerPerMessageDeflateFactory()], max_size=None)
        self.head, self.left = bytearray(), 0
        self.body, self.decoder = None, None

    def data_received(self, data):
        for piece in self.frames(data):
            self.protocol.receive_data(piece)
            self.react()

    def eof_received(self):
        self.protocol.receive_eof()
        self.react()

    def frames(self, data):
        """Cuts at the ends of frame headers and frames; holds nothing back."""
        while data:
            if self.protocol.state is State.CONNECTING:
                size = data.find(b"\r\n\r\n") + 4 or len(data)
            elif self.left:
                size = min(self.left, len(data))
                self.left -= size
            else:
                size = min(self.header_size() - len(self.head), len(data))
                self.head += data[:size]
                if len(self.head) == self.header_size() and len(self.head) >= 2:
                    self.left = self.body_size()
                    self.head.clear()
            yield data[:size]
            data = data[size:]

    def header_size(self):
        if len(self.head) < 2:
            return 2
        return 2 + {126: 2, 127: 8}.get(self.head[1] & 0x7F, 0) + (4 if self.head[1] & 0x80 else 0)

    def body_size(self):
        short = self.head[1] & 0x7F
        return int.from_bytes(self.head[2 : {126: 4, 127: 10}[short]], "big") if short > 125 else short

    def react(self):
        for event in self.protocol.events_received():
            if isinstance(event, Request):
                self.protocol.send_response(self.protocol.accept(event))
            elif event.opcode in DATA and self.protocol.state is State.OPEN:
                self.echo(event)
        for data in self.protocol.data_to_send():
            if data:
                self.transport.write(data)
            elif self.transport.can_write_eof():
                self.transport.write_eof()

    def echo(self, frame):
        if frame.opcode is not Opcode.CONT:
            self.body = bytearray()
            self.decoder = codecs.getincrementaldecoder("utf-8")() if frame.opcode is Opcode.TEXT else None
        self.body += frame.data
        if self.decoder:
            try:
                self.decoder.decode(frame.data, frame.fin)
            except UnicodeDecodeError:
                self.protocol.fail(1007, "not UTF-8")
                return
        if frame.fin and self.decoder:
            self.protocol.send_text(bytes(self.body))
        elif frame.fin:
            self.protocol.send_binary(bytes(self.body))
