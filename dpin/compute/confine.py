"""Lock this process up for good: no files but libraries, no network, no other processes.

Three locks of Linux must hold, or nothing is run: `no_new_privs`, Landlock (files; kernel 5.13 and
later) and a seccomp filter, which libseccomp makes. Where the kernel lets it, the process has a
user and a network namespace of its own besides. Limits on memory and files come first.
"""

import ctypes
import resource
import signal
import sys
import sysconfig
from collections.abc import Callable
from struct import Struct
from typing import Final

from dpin.base.errors import Unavailable

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000
CLONE_THREAD: Final = 0x00010000
LANDLOCK_CREATE: Final = 444  # the same number on every architecture
LANDLOCK_ADD: Final = 445
LANDLOCK_SELF: Final = 446
LANDLOCK_VERSION: Final = 1
LANDLOCK_PATH: Final = 1
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
EXECUTE: Final = 1 << 0
FILE_RIGHTS: Final = (13, 14, 15, 15, 16)  # how many bits of rights ABI 1, 2, 3, 4, 5 know
NETWORK_ABI: Final = 4  # from here on TCP is a right too
SCOPE_ABI: Final = 6  # and signals and abstract sockets
O_PATH: Final = 0o10000000
O_CLOEXEC: Final = 0o2000000

# struct landlock_ruleset_attr; struct landlock_path_beneath_attr (packed); struct scmp_arg_cmp
RULES: Final = Struct("=QQQ")
BENEATH: Final = Struct("=Qi")
COMPARED: Final = Struct("@IiQQ")

SCMP_ACT_ALLOW: Final = 0x7FFF0000
SCMP_ACT_ERRNO: Final = 0x00050000
SCMP_FLTATR_CTL_TSYNC: Final = 4
SCMP_CMP_NE: Final = 1
SCMP_CMP_MASKED_EQ: Final = 7
EPERM: Final = 1
ENOSYS: Final = 38

# What code that computes never does. clone3 hides its flags: without it libc takes clone.
DENIED: Final = (
    *("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "sendmsg"),
    *("execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev"),
    *("kill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "process_madvise"),
    *("pidfd_open", "pidfd_getfd", "pidfd_send_signal", "unshare", "setns", "mount", "umount2"),
    *("move_mount", "open_tree", "fsopen", "fsmount", "mount_setattr", "pivot_root", "chroot"),
    *("open_by_handle_at", "name_to_handle_at", "bpf", "perf_event_open", "userfaultfd"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key", "request_key"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot"),
    *("swapon", "swapoff", "sethostname", "setdomainname", "settimeofday", "clock_settime"),
    *("clock_adjtime", "adjtimex", "personality", "acct", "quotactl", "syslog", "mknod", "mknodat"),
    *("memfd_create", "memfd_secret", "shmget", "shmat", "shmctl", "msgget", "semget", "mq_open"),
    *("truncate", "ftruncate", "fallocate", "setpriority", "sched_setaffinity", "ioprio_set"),
    *("fanotify_init", "inotify_init1", "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown"),
    *("fchownat", "setxattr", "fsetxattr", "lsetxattr", "utimensat", "vhangup", "iopl", "ioperm"),
)


def missing() -> str:
    """Why code cannot be locked up here; empty where it can."""
    if sys.platform != "linux":
        return "only Linux has what a sandbox needs"
    if _landlock_abi() < 1:
        return "the kernel has no Landlock (Linux 5.13, and `landlock` among its security modules)"
    try:
        _libseccomp()
    except OSError:
        return "libseccomp.so.2 is not installed"
    return ""


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _libseccomp() -> ctypes.CDLL:
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    return library


def _landlock_abi() -> int:
    return int(_libc().syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), LANDLOCK_VERSION))


def leave_network() -> bool:
    """Go to namespaces where there is no network; before any thread is started. False: refused."""
    flags = CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
    return sys.platform == "linux" and bool(_libc().unshare(flags) == 0)


def lock_up(memory_bytes: int, pid: int) -> None:
    """Lock this process (whose id is `pid`) up; raises Unavailable where a lock does not hold.

    From now on it may take so much more memory than it holds.
    """
    why = missing()
    if why:
        raise Unavailable(f"no sandbox on this machine: {why}")
    libc = _libc()
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    _must(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _limit(memory_bytes)
    _shut_files(libc)
    _filter_calls(pid)


def _must(result: int, lock: str) -> None:
    if result:
        raise Unavailable(f"no sandbox on this machine: {lock} failed ({result})")


def _limit(memory_bytes: int) -> None:
    held = _held_bytes()
    most: dict[int, int] = {
        resource.RLIMIT_DATA: held + memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 64,
    }
    for kind, value in most.items():
        resource.setrlimit(kind, (value, value))


def _held_bytes() -> int:
    """Private memory of this process, as RLIMIT_DATA counts it."""
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123  # No pathlib here.
        lines = dict(line.split(":", 1) for line in status if ":" in line)
    return int(lines["VmData"].split()[0]) * 1024


def readable() -> tuple[str, ...]:
    """What stays open for reading: Python, its packages, and the system's libraries."""
    paths = sysconfig.get_paths()
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    package = __file__.rsplit("/", 2)[0]
    system = ("/usr/lib", "/lib", "/lib64", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
    found = {*(paths[name] for name in names), package, *system, "/dev/null", "/dev/urandom"}
    base = f"{sys.base_prefix}/lib"
    return tuple(sorted(found | {base}))


def _shut_files(libc: ctypes.CDLL) -> None:
    abi = _landlock_abi()
    every = (1 << FILE_RIGHTS[min(abi, len(FILE_RIGHTS)) - 1]) - 1
    rules = RULES.pack(every, 3 if abi >= NETWORK_ABI else 0, 3 if abi >= SCOPE_ABI else 0)
    size = ctypes.c_size_t(24 if abi >= SCOPE_ABI else 16 if abi >= NETWORK_ABI else 8)
    handle = libc.syscall(LANDLOCK_CREATE, rules, size, 0)
    if handle < 0:
        raise Unavailable("no sandbox on this machine: Landlock takes no rules")
    for path in readable():
        folder = libc.open(path.encode(), O_PATH | O_CLOEXEC)
        if folder < 0:
            continue  # There is no such place here.
        rights = READ_FILE | EXECUTE | (READ_DIR if not path.startswith(("/dev", "/etc")) else 0)
        beneath = BENEATH.pack(rights, folder)
        added = libc.syscall(LANDLOCK_ADD, handle, LANDLOCK_PATH, beneath, 0)
        _must(added and _as_file(libc, handle, folder), f"Landlock for {path}")
        libc.close(folder)
    _must(libc.syscall(LANDLOCK_SELF, handle, 0), "Landlock")
    libc.close(handle)


def _as_file(libc: ctypes.CDLL, handle: int, file: int) -> int:
    """The rule again for what is no folder, which cannot be listed."""
    beneath = BENEATH.pack(READ_FILE, file)
    return int(libc.syscall(LANDLOCK_ADD, handle, LANDLOCK_PATH, beneath, 0))


def _filter_calls(pid: int) -> None:
    library = _libseccomp()
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(SCMP_ACT_ALLOW)))
    if context.value is None:
        raise Unavailable("no sandbox on this machine: libseccomp makes no filter")
    refuse = _refuser(library, context)
    for name in DENIED:
        refuse(name, EPERM, None)
    refuse("clone3", ENOSYS, None)
    # Threads share the process; anything else that clone makes is another one.
    refuse("clone", EPERM, COMPARED.pack(0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0))
    refuse("tgkill", EPERM, COMPARED.pack(0, SCMP_CMP_NE, pid, 0))
    refuse("prlimit64", EPERM, COMPARED.pack(0, SCMP_CMP_NE, 0, 0))
    _must(library.seccomp_attr_set(context, SCMP_FLTATR_CTL_TSYNC, ctypes.c_uint32(1)), "seccomp")
    _must(library.seccomp_load(context), "seccomp")
    library.seccomp_release(context)


def _refuser(
    library: ctypes.CDLL, context: ctypes.c_void_p
) -> Callable[[str, int, bytes | None], None]:
    add = library.seccomp_rule_add_array

    def refuse(name: str, error: int, where: bytes | None) -> None:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            return  # No such call on this machine.
        action = ctypes.c_uint32(SCMP_ACT_ERRNO | error)
        count = ctypes.c_uint(1 if where is not None else 0)
        _must(add(context, action, number, count, where), f"seccomp for {name}")

    return refuse
