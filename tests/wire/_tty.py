"""A terminal for the wire tests: what a program shows on it, and what somebody types."""
import collections
import fcntl
import os
import pty
import select
import struct
import subprocess
import tempfile
import termios

Shown = collections.namedtuple("Shown", "code text out asked")


def on_tty(cmd, env, cols=80, keys=b"", apart=(), patience=30, start=subprocess.Popen):
    """Runs cmd on a terminal of so many columns, but for the streams that are named in `apart`: standard input is
    empty then, and what goes to the others does not show. `keys` are typed when the program asks [y/N].
    Gives its exit code, what the terminal shows, what went to standard output beside it, and whether it asked."""
    me, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, cols, 0, 0))
    with tempfile.TemporaryFile() as out:
        beside = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": subprocess.DEVNULL}
        p = start(cmd, env=env, **{s: beside[s] if s in apart else other for s in beside})
        os.close(other)
        text, asked = b"", False
        while select.select([me], [], [], patience)[0]:
            try:
                more = os.read(me, 65536)
            except OSError:  # how Linux says that the other side was closed
                break
            if not more:
                break
            text += more
            if keys and not asked and b"[y/N]" in text:
                os.write(me, keys)
                asked = True
        p.wait(timeout=patience)
        os.close(me)
        out.seek(0)
        return Shown(p.returncode, text.decode("utf-8", "replace"), out.read().decode("utf-8", "replace"), asked)
