"""The directory in which app_voicemail keeps its messages."""

import os
import shutil
import struct
from pathlib import Path

from ._server import MailboxCounts

__all__ = ["VoicemailSpool"]

_SOUND = b"\0\0" * 4000
"""Half a second of silence, 8,000 samples of 16 bits a second."""


class VoicemailSpool:
    """``<folder>/voicemail/<context>/<mailbox>/{INBOX,Old}/msgNNNN.{txt,wav}``.

    It changes files behind Asterisk's back: nobody is told before a VoicemailRefresh.

    Args:
        owner: the user and group that files and folders are given to; None: they stay ours.
    """

    def __init__(self, folder: Path, owner: int | None = None) -> None:
        self.folder = folder
        self._owner = owner

    def counts(self, mailbox: str) -> MailboxCounts:
        return MailboxCounts(len(self._messages(mailbox, "INBOX")), len(self._messages(mailbox, "Old")))

    def add(self, mailbox: str, count: int = 1) -> None:
        """Put new messages in."""
        folder = self._make(mailbox, "INBOX")
        first = len(self._messages(mailbox, "INBOX"))
        for number in range(first, first + count):
            sound, text = folder / f"msg{number:04}.wav", folder / f"msg{number:04}.txt"
            sound.write_bytes(_wav(_SOUND))
            text.write_text(_TEXT.format(mailbox=mailbox.partition("@")[0], number=number))
            self._give(sound, text)

    def hear(self, mailbox: str) -> None:
        """Make all new messages old."""
        old = self._make(mailbox, "Old")
        first = len(self._messages(mailbox, "Old"))
        for number, text in enumerate(self._messages(mailbox, "INBOX"), first):
            for path in text.parent.glob(f"{text.stem}.*"):
                path.rename(old / f"msg{number:04}{path.suffix}")

    def clear(self, mailbox: str) -> None:
        """Delete all messages."""
        for folder in ("INBOX", "Old"):
            shutil.rmtree(self._box(mailbox) / folder, ignore_errors=True)

    def _box(self, mailbox: str) -> Path:
        number, _, context = mailbox.partition("@")
        return self.folder / "voicemail" / context / number

    def _make(self, mailbox: str, name: str) -> Path:
        folder = self._box(mailbox) / name
        folder.mkdir(parents=True, exist_ok=True)
        self._give(*(one for one in (folder, *folder.parents) if one.is_relative_to(self.folder / "voicemail")))
        return folder

    def _give(self, *paths: Path) -> None:
        if self._owner is not None:
            for path in paths:
                os.chown(path, self._owner, self._owner)

    def _messages(self, mailbox: str, folder: str) -> list[Path]:
        return sorted((self._box(mailbox) / folder).glob("msg*.txt"))


def _wav(samples: bytes) -> bytes:
    form = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body


_TEXT = """\
[message]
origmailbox={mailbox}
context=lab
macrocontext=
exten=speak
rdnis=unknown
priority=1
callerchan=Local/speak@lab
callerid="Lab" <100>
origdate=Mon Nov 23 12:00:00 PM UTC 2026
origtime=1795435200
category=
msg_id=1795435200-{number:08}
flag=
duration=1
"""
