"""Giving up rights for good: limits on the process, no new privileges, and Landlock where the kernel has it.

All of it only ever takes away, cannot be undone by the process, and needs no privilege. Linux only; elsewhere the
limits alone hold, and what is missing is said.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_CAPABILITIES_VERSION: Final = 0x20080522
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION_FLAG: Final = 1
_RULE_PATH_BENEATH: Final = 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_READ: Final = _READ_FILE | _READ_DIR
_EXECUTE: Final = 1 << 0
_OF_FILES: Final = _EXECUTE | 1 << 1 | _READ_FILE | 1 << 14 | 1 << 15  # execute, write, read, truncate, ioctl
_TCP: Final = 3  # bind and connect
_NETWORK_SINCE: Final = 4
# What each version of the interface added: thirteen rights at first, then refer, truncate and ioctl on devices.
_RIGHTS: Final = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
_MAX_OPEN_FILES: Final = 4_096


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, however it ends."""
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def limit_process(address_space_bytes: int) -> None:
    """Bound the address space and the open files; forbid writing files and core dumps."""
    resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, address_space_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def forbid_processes() -> None:
    """Forbid new processes and threads; those that run stay. Without effect for a privileged user."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def drop_capabilities() -> None:
    """Be no more than the user, even if that is root: privileges would let it look into other processes."""
    if sys.platform == "linux":
        header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0)
        _libc().capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))


def restrict_files(readable: Sequence[Path], *, writable: Sequence[Path] = (), network: bool = False) -> str | None:
    """Allow reading below ``readable`` and all but running programs below ``writable``, from now on.

    Nothing else of the file system can be reached, no process outside be traced and, unless ``network``, no TCP used.

    Returns:
        None when it holds, else why it does not.
    """
    if sys.platform != "linux":
        return "Landlock is a part of Linux"
    libc = _libc()
    abi = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))
    if abi < 1:
        return f"the kernel has no Landlock ({os.strerror(ctypes.get_errno())})"
    handled = sum(rights for since, rights in _RIGHTS if abi >= since)
    has_network = abi >= _NETWORK_SINCE and not network
    ruleset = _Ruleset(handled, _TCP if has_network else 0)
    size = ctypes.sizeof(ruleset) if has_network else ctypes.sizeof(ctypes.c_uint64)
    descriptor = libc.syscall(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(size), ctypes.c_uint32(0))
    if descriptor < 0:
        return os.strerror(ctypes.get_errno())
    try:
        return (
            _allow(libc, descriptor, readable, _READ)
            or _allow(libc, descriptor, writable, handled & ~_EXECUTE)
            or _enforce(libc, descriptor)
        )
    finally:
        os.close(descriptor)


def _allow(libc: ctypes.CDLL, ruleset: int, paths: Sequence[Path], rights: int) -> str | None:
    for path in paths:
        try:
            parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            rule = _PathBeneath(rights if path.is_dir() else rights & _OF_FILES, parent)
            if libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), ctypes.c_uint32(0)):
                return os.strerror(ctypes.get_errno())
        finally:
            os.close(parent)
    return None


def _enforce(libc: ctypes.CDLL, ruleset: int) -> str | None:
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)):
        return os.strerror(ctypes.get_errno())
    return None


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
