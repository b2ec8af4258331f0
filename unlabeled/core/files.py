"""Files that are either whole or absent: nothing half-written is ever taken for a result."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from unlabeled.core.errors import UserError
from unlabeled.core.progress import say

_HOST = hashlib.blake2b(platform.node().encode(), digest_size=4).hexdigest()
_LEFTOVER = re.compile(rf"\..+\.{_HOST}-(\d+)\.[^.]*\.part")


def _umask() -> int:
    """Which permissions new files are not to have; the system tells it only while it is being changed."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


UMASK = _umask()
"""Read once, before there are threads."""


def _prefix(path: Path) -> str:
    """How the temporary names for ``path`` begin: they say whose they are, so that :func:`sweep` knows the dead."""
    return f".{path.name}.{_HOST}-{os.getpid()}."


def sweep(folder: str | os.PathLike[str], name: str = "") -> None:
    """Remove what killed processes of this machine left of attempts to write files and folders.

    Args:
        folder: where to look; without ``name`` also below it.
        name: only attempts to write the file of this name, right in ``folder``.
    """
    pattern = f".{glob.escape(name)}.{_HOST}-*.part" if name else f".*.{_HOST}-*.part"
    folder = Path(folder)
    for leftover in list(folder.glob(pattern) if name else folder.rglob(pattern)):
        owner = _LEFTOVER.fullmatch(leftover.name)
        if owner and not _alive(int(owner[1])):
            with suppress(OSError):
                shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()


def _alive(process: int) -> bool:
    if os.name == "nt":  # there, asking would end the process
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def open_binary(path: Path) -> int:
    """A descriptor to read and write bytes by; Windows would turn line ends otherwise."""
    return os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))


def read_at(descriptor: int, count: int, offset: int) -> bytes:
    """Up to ``count`` bytes from ``offset`` on: ``os.pread``, which Windows lacks."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, count)


def write_at(descriptor: int, values: bytes | memoryview, offset: int) -> int:
    """Write at ``offset`` and return how many bytes were written: ``os.pwrite``, which Windows lacks."""
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, values, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.write(descriptor, values)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # where a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_REASONS = {
    errno.ENOSPC: "the disk is full; free some space and resume",
    errno.EDQUOT: "the disk quota is used up; free some space and resume",
    errno.EFBIG: "the file is larger than the system allows here (see ulimit -f); raise the limit and resume",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "permission denied; choose a folder you may write to",
    errno.EPERM: "permission denied; choose a folder you may write to",
    errno.ENOENT: "the folder is gone; was it removed while the program ran?",
    errno.EEXIST: "a file stands where a folder is needed; choose another folder",
    errno.ENOTDIR: "a file stands where a folder is needed; choose another folder",
    errno.EISDIR: "a folder stands where a file is needed; choose another folder",
    errno.ELOOP: "it is a link that is not followed; remove it or choose another folder",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.EIO: "the disk does not work (input/output error); choose another one and resume",
    errno.ESTALE: "the network folder is gone; mount it again and resume",
}


def expect_file(path: Path, name: str) -> None:
    """See that a file can be written at ``path``, before the work begins whose result it is to hold.

    Args:
        path: the file.
        name: what it would usually be called, to be named if ``path`` is a folder.

    Raises:
        UserError: a folder is there, or the folder it would lie in cannot be made or written to.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file, e.g. {path / name}.")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise UserError(f"cannot write {path}: {_REASONS[errno.ENOTDIR]}.")
    if not os.access(above, os.W_OK):
        shut = hasattr(os, "statvfs") and os.statvfs(above).f_flag & os.ST_RDONLY
        raise UserError(f"cannot write {path}: {_REASONS[errno.EROFS if shut else errno.EACCES]}.")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals about ``path`` into a :class:`UserError`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number = _refusal(error)
        if number not in _REASONS:
            raise
        raise UserError(f"cannot write {path}: {_REASONS[number]}.") from error


def refusal(error: OSError) -> str | None:
    """A line about what the system refused where nobody explained it better; ``None`` if it names no file."""
    if error.errno == errno.ENOSPC and error.filename is None:  # results are sent to a file by the shell
        return f"cannot write: {_REASONS[errno.ENOSPC]}."
    if error.errno not in _REASONS or error.filename is None:
        return None
    return f"cannot use {os.fsdecode(error.filename)}: {_REASONS[error.errno]}."


def _refusal(error: BaseException | None) -> int | None:
    """The system's error number behind ``error``: torch and safetensors wrap it in errors of their own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        if wrapped := re.search(r"\(os error (\d+)\)", str(error)):
            return int(wrapped[1])
        error = error.__cause__ or error.__context__
    return None


def atomic_write(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Write a file through ``write(handle)`` so that a crash leaves the old file or the new one.

    Raises:
        UserError: the disk is full, the folder is gone, or permission is missing.
    """
    path = Path(path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent, path.name)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as handle:
                write(handle)
                handle.flush()
                os.fsync(handle.fileno())
            Path(temporary).chmod(0o666 & ~UMASK)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    atomic_write(path, lambda handle: handle.write(text.encode()))


def atomic_write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    atomic_write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty sibling folder that takes the place of ``path`` when the block ends well.

    A crash leaves the old folder, the new one, or (between two renames) none: never a half of either.

    Raises:
        UserError: the disk is full, the folder is gone, or permission is missing.
    """
    path = Path(path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent, path.name)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=_prefix(path), suffix=".part"))
        try:
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    with file.open("r+b" if os.name == "nt" else "rb") as handle:  # there, only a writer may
                        os.fsync(handle.fileno())
                file.chmod((0o777 if file.is_dir() else 0o666) & ~UMASK)  # some libraries write for the owner alone
            temporary.chmod(0o777 & ~UMASK)
            old = _aside(path)
            temporary.replace(path)
            _sync_folder(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)


def _aside(path: Path) -> Path | None:
    """Give a folder a temporary name; remove anything else of that name."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return None
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=_prefix(path), suffix=".part"))
    return path.replace(aside)


def remove(path: str | os.PathLike[str]) -> None:
    """Remove a file, a link or a whole folder so that a crash leaves all of it or nothing under its name.

    Raises:
        UserError: permission is missing.
    """
    path = Path(path)
    with explained(path):
        if path.parent.is_dir() and (old := _aside(path)) is not None:
            shutil.rmtree(old)


@contextmanager
def locked(path: str | os.PathLike[str], *, wait: float = -1, busy: str = "", waiting: str = "") -> Iterator[None]:
    """Hold an exclusive lock file; the system gives it back when the process ends, however it ends.

    Args:
        path: the lock file; it stays.
        wait: seconds to wait for another process; -1: for ever.
        busy: what to say when the wait was in vain.
        waiting: what to say before a longer wait, e.g. ``"another process decodes 'cifar10'"``.

    Raises:
        UserError: another process holds the lock; the message is ``busy``.
    """
    path = Path(path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            try:
                lock.acquire(timeout=0.1 if waiting else wait)
            except Timeout:
                if not waiting:
                    raise
                say(f"{waiting}; waiting for it")
                lock.acquire(timeout=wait)
        except Timeout as error:
            raise UserError(busy or f"another process holds {path}; wait for it or stop it.") from error
    try:
        yield
    finally:
        lock.release()


def cache_dir() -> Path:
    """Where decoded images and features are kept between runs: ``$UNLABELED_CACHE`` or the XDG cache."""
    chosen = os.environ.get("UNLABELED_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "unlabeled"
