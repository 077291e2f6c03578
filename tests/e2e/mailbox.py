"""A local mail server that can be stopped."""

from __future__ import annotations

from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from typing import Any

from aiosmtpd.controller import Controller


@dataclass
class Mailbox:
    """A mail server and the mails it received."""

    port: int
    mails: list[Message] = field(default_factory=list)
    _server: Controller | None = None

    def open(self) -> None:
        self._server = Controller(self, hostname="127.0.0.1", port=self.port)
        self._server.start()

    def close(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.mails.append(message_from_bytes(envelope.content))
        return "250 OK"

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}?from=moovitamix@example.org&to=oncall@example.org&mode=insecure"

    @property
    def subjects(self) -> list[str]:
        return [str(mail["Subject"]).replace("\n", "").removeprefix("[MoovitaMix] ") for mail in self.mails]

    def body(self, subject: str) -> str:
        [mail] = [mail for mail, mail_subject in zip(self.mails, self.subjects, strict=True) if mail_subject == subject]
        content = mail.get_payload(decode=True)
        assert isinstance(content, bytes)
        return content.decode()
