//! `--attack`: from inside the jail, do what a tenant who owns the whole process could do next, and say how each try ended.
//!
//! The list with its reasons is sandbox/JAIL.md; `godwit doctor --attack` compares what was expected with what came.
use crate::{jail, spaces::Spaces};
use serde_json::{Value, json};
use std::{ffi::CStr, io, mem::size_of_val, ptr};

/// What the jail of this process left open, and so what a try must end with.
pub struct Jailed {
    pub spaces: Spaces,
    pub landlock: jail::Landlock,
    /// The runner's; a compiler has none.
    pub listener: Option<i32>,
    pub agent: i32,
}

const OK: i32 = 0;
const EPERM: i32 = libc::EPERM;
const PAGE_BYTES: usize = 4096;

/// errno, or 0 when it worked.
pub fn errno_of(result: i64) -> i32 {
    if result < 0 { io::Error::last_os_error().raw_os_error().unwrap_or(-1) } else { OK }
}

pub struct Attempts(Vec<Value>);

impl Attempts {
    pub fn add(&mut self, name: &str, expected: i32, got: i32) {
        self.0.push(json!({ "name": name, "expected": expected, "got": got }));
    }
    /// A system call that is to be refused whatever its arguments.
    fn refused(&mut self, name: &str, call: i64, arguments: [usize; 6]) {
        let [a, b, c, d, e, f] = arguments;
        // SAFETY: it is expected to fail; if it does not, it touches nothing but what the arguments point to, which is ours.
        let got = errno_of(unsafe { libc::syscall(call, a, b, c, d, e, f) });
        self.add(name, EPERM, got);
    }
}

/// Asked before the filter comes down: after it, the question itself is refused.
pub fn walls(jailed: &Jailed) -> Value {
    let Jailed { spaces, landlock, .. } = jailed;
    // SAFETY: asks only.
    let privileges = unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) };
    json!({
        "landlock": landlock.abi, "landlockFull": landlock.is_full,
        "network": spaces.network, "processes": spaces.processes, "mounts": spaces.mounts, "userNamespace": spaces.user,
        "noNewPrivileges": privileges != 0,
    })
}

pub fn attempt(jailed: &Jailed) -> Attempts {
    let mut attempts = Attempts(Vec::new());
    files(&mut attempts, jailed);
    processes(&mut attempts, jailed);
    network(&mut attempts);
    if let Some(listener) = jailed.listener {
        listening(&mut attempts, listener);
    }
    code(&mut attempts);
    kernel(&mut attempts);
    attempts
}

pub fn report(jailed: &Jailed, walls: &Value, attempts: Attempts) -> Value {
    json!({ "process": if jailed.listener.is_some() { "runner" } else { "compiler" }, "walls": walls, "attempts": attempts.0 })
}

fn at(text: &CStr) -> usize {
    text.as_ptr() as usize
}

fn files(attempts: &mut Attempts, jailed: &Jailed) {
    // The compiler opens nothing at all; the runner may ask, and finds an empty root or landlock.
    let unopened = match (jailed.listener, jailed.spaces.mounts) {
        (None, _) => EPERM,
        (Some(_), true) => libc::ENOENT,
        (Some(_), false) => libc::EACCES,
    };
    let memory = format!("/proc/{}/mem\0", jailed.agent);
    let memory = CStr::from_bytes_with_nul(memory.as_bytes()).unwrap_or_default();
    for (name, path) in [("open /etc/passwd", c"/etc/passwd"), ("open /proc/1/environ", c"/proc/1/environ"), ("open /proc/AGENT/mem", memory), ("open /dev/mem", c"/dev/mem")] {
        // SAFETY: a path that ends.
        let got = errno_of(unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) }.into());
        // Without a root of our own there is a /dev/mem only where the computer has one.
        let expected = if got == libc::ENOENT && unopened == libc::EACCES { libc::ENOENT } else { unopened };
        attempts.add(name, expected, got);
    }
    let path = at(c"/etc/passwd");
    let here = libc::AT_FDCWD as usize;
    attempts.refused("open /etc/passwd for writing", libc::SYS_openat, [here, path, (libc::O_WRONLY | libc::O_CLOEXEC) as usize, 0, 0, 0]);
    attempts.refused("create /tmp/godwit-attack", libc::SYS_openat, [here, at(c"/tmp/godwit-attack"), (libc::O_CREAT | libc::O_WRONLY) as usize, 0o600, 0, 0]);
    attempts.refused("list the root folder", libc::SYS_openat, [here, at(c"/"), (libc::O_DIRECTORY | libc::O_CLOEXEC) as usize, 0, 0, 0]);
    attempts.refused("openat2", libc::SYS_openat2, [here, path, 0, 0, 0, 0]);
    attempts.refused("open (the old call)", libc::SYS_open, [path, 0, 0, 0, 0, 0]);
    let mut status = [0u8; 256];
    attempts.refused("stat /etc/passwd", libc::SYS_newfstatat, [here, path, status.as_mut_ptr() as usize, 0, 0, 0]);
    attempts.refused("access /etc/passwd", libc::SYS_access, [path, 0, 0, 0, 0, 0]);
    attempts.refused("unlink", libc::SYS_unlink, [path, 0, 0, 0, 0, 0]);
    attempts.refused("rename", libc::SYS_rename, [path, path, 0, 0, 0, 0]);
    attempts.refused("mkdir", libc::SYS_mkdir, [path, 0, 0, 0, 0, 0]);
    attempts.refused("symlink", libc::SYS_symlink, [path, path, 0, 0, 0, 0]);
    attempts.refused("chmod", libc::SYS_chmod, [path, 0o777, 0, 0, 0, 0]);
    attempts.refused("chroot", libc::SYS_chroot, [at(c"/"), 0, 0, 0, 0, 0]);
    attempts.refused("name_to_handle_at", libc::SYS_name_to_handle_at, [here, path, 0, 0, 0, 0]);
    attempts.refused("open_by_handle_at", libc::SYS_open_by_handle_at, [here, 0, 0, 0, 0, 0]);
    attempts.refused("inotify_init1", libc::SYS_inotify_init1, [0; 6]);
}

fn processes(attempts: &mut Attempts, jailed: &Jailed) {
    let agent = jailed.agent as usize;
    let none = [ptr::null::<libc::c_char>()];
    let none = none.as_ptr() as usize;
    attempts.refused("execve /bin/sh", libc::SYS_execve, [at(c"/bin/sh"), none, none, 0, 0, 0]);
    attempts.refused("execveat", libc::SYS_execveat, [0, at(c""), none, none, libc::AT_EMPTY_PATH as usize, 0]);
    attempts.refused("fork", libc::SYS_fork, [0; 6]);
    attempts.refused("vfork", libc::SYS_vfork, [0; 6]);
    attempts.refused("clone, a process", libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0, 0, 0]);
    attempts.refused("clone, a user namespace", libc::SYS_clone, [(libc::CLONE_NEWUSER | libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND) as usize, 0, 0, 0, 0, 0]);
    // SAFETY: refused before it looks at its arguments.
    let clone3 = errno_of(unsafe { libc::syscall(libc::SYS_clone3, 0, 0) });
    attempts.add("clone3, whose flags no filter sees", if jailed.listener.is_some() { libc::ENOSYS } else { EPERM }, clone3);
    attempts.refused("ptrace the agent", libc::SYS_ptrace, [libc::PTRACE_ATTACH as usize, agent, 0, 0, 0, 0]);
    attempts.refused("process_vm_readv of the agent", libc::SYS_process_vm_readv, [agent, 0, 0, 0, 0, 0]);
    attempts.refused("process_vm_writev to the agent", libc::SYS_process_vm_writev, [agent, 0, 0, 0, 0, 0]);
    attempts.refused("kill the agent", libc::SYS_kill, [agent, 0, 0, 0, 0, 0]);
    attempts.refused("kill everybody", libc::SYS_kill, [usize::MAX, 0, 0, 0, 0, 0]);
    attempts.refused("tgkill the agent", libc::SYS_tgkill, [agent, agent, 0, 0, 0, 0]);
    attempts.refused("pidfd_open the agent", libc::SYS_pidfd_open, [agent, 0, 0, 0, 0, 0]);
    attempts.refused("pidfd_getfd", libc::SYS_pidfd_getfd, [3, 0, 0, 0, 0, 0]);
    attempts.refused("process_madvise of another", libc::SYS_process_madvise, [3, 0, 0, 0, 0, 0]);
    attempts.refused("kcmp", libc::SYS_kcmp, [agent, agent, 0, 0, 0, 0]);
    attempts.refused("prlimit of the agent", libc::SYS_prlimit64, [agent, libc::RLIMIT_NOFILE as usize, 0, 0, 0, 0]);
    attempts.refused("setpriority", libc::SYS_setpriority, [0, 0, 0, 0, 0, 0]);
    attempts.refused("sched_setaffinity", libc::SYS_sched_setaffinity, [0, 0, 0, 0, 0, 0]);
    attempts.refused("setuid", libc::SYS_setuid, [0; 6]);
    attempts.refused("capset", libc::SYS_capset, [0; 6]);
    attempts.refused("prctl, to be dumpable", libc::SYS_prctl, [libc::PR_SET_DUMPABLE as usize, 1, 0, 0, 0, 0]);
    attempts.refused("prctl, to outlive the agent", libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as usize, 0, 0, 0, 0, 0]);
    attempts.refused("arch_prctl", libc::SYS_arch_prctl, [0; 6]);
}

fn network(attempts: &mut Attempts) {
    let stream = libc::SOCK_STREAM as usize;
    for (name, family) in [("inet", libc::AF_INET), ("inet6", libc::AF_INET6), ("unix", libc::AF_UNIX), ("netlink", libc::AF_NETLINK), ("packet", libc::AF_PACKET), ("vsock", libc::AF_VSOCK), ("alg", libc::AF_ALG)] {
        attempts.refused(&format!("socket, {name}"), libc::SYS_socket, [family as usize, stream, 0, 0, 0, 0]);
    }
    let mut pair = [0i32; 2];
    attempts.refused("socketpair", libc::SYS_socketpair, [libc::AF_UNIX as usize, stream, 0, pair.as_mut_ptr() as usize, 0, 0]);
    // No socket can be made, so with one that was inherited.
    let inherited = 3;
    for (name, address) in [("the API on loopback", [127, 0, 0, 1]), ("another host", [192, 0, 2, 1]), ("the metadata service", [169, 254, 169, 254])] {
        let address = libc::sockaddr_in { sin_family: libc::AF_INET as u16, sin_port: 80u16.to_be(), sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address) }, sin_zero: [0; 8] };
        attempts.refused(&format!("connect to {name}"), libc::SYS_connect, [inherited, &raw const address as usize, size_of_val(&address), 0, 0, 0]);
        attempts.refused(&format!("sendto {name}"), libc::SYS_sendto, [inherited, at(c"x"), 1, libc::MSG_FASTOPEN as usize, &raw const address as usize, size_of_val(&address)]);
    }
    // SAFETY: all zeros is a valid sockaddr_un.
    let mut local: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    local.sun_family = libc::AF_UNIX as u16;
    attempts.refused("connect to a unix socket", libc::SYS_connect, [inherited, &raw const local as usize, size_of_val(&local), 0, 0, 0]);
    attempts.refused("bind", libc::SYS_bind, [inherited, &raw const local as usize, size_of_val(&local), 0, 0, 0]);
    attempts.refused("listen", libc::SYS_listen, [inherited, 1, 0, 0, 0, 0]);
    attempts.refused("sendmsg, which passes descriptors", libc::SYS_sendmsg, [inherited, 0, 0, 0, 0, 0]);
    attempts.refused("sendmmsg", libc::SYS_sendmmsg, [inherited, 0, 0, 0, 0, 0]);
}

/// The socket is shared with the runner that comes next.
fn listening(attempts: &mut Attempts, listener: i32) {
    let listener = listener as usize;
    let one = 1i32;
    let value = &raw const one as usize;
    attempts.refused("shutdown of the listener", libc::SYS_shutdown, [listener, libc::SHUT_RDWR as usize, 0, 0, 0, 0]);
    for (name, level, option) in [("TCP_NODELAY", libc::IPPROTO_TCP, libc::TCP_NODELAY), ("SO_RCVBUF", libc::SOL_SOCKET, libc::SO_RCVBUF), ("TCP_DEFER_ACCEPT", libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT), ("SO_ATTACH_FILTER", libc::SOL_SOCKET, libc::SO_ATTACH_FILTER)] {
        attempts.refused(&format!("setsockopt {name} of the listener"), libc::SYS_setsockopt, [listener, level as usize, option as usize, value, size_of_val(&one), 0]);
    }
    attempts.refused("setsockopt SO_ATTACH_FILTER of a connection", libc::SYS_setsockopt, [3, libc::SOL_SOCKET as usize, libc::SO_ATTACH_FILTER as usize, value, 4, 0]);
    attempts.refused("dup of the listener", libc::SYS_dup, [listener, 0, 0, 0, 0, 0]);
    attempts.refused("dup2 of the listener", libc::SYS_dup2, [listener, 100, 0, 0, 0, 0]);
    attempts.refused("dup3 of the listener", libc::SYS_dup3, [listener, 100, 0, 0, 0, 0]);
    attempts.refused("fcntl F_DUPFD of the listener", libc::SYS_fcntl, [listener, libc::F_DUPFD_CLOEXEC as usize, 0, 0, 0, 0]);
    attempts.refused("fcntl F_SETOWN of the listener", libc::SYS_fcntl, [listener, libc::F_SETOWN as usize, 1, 0, 0, 0]);
    attempts.refused("fcntl F_SETFL of the listener", libc::SYS_fcntl, [listener, libc::F_SETFL as usize, libc::O_ASYNC as usize, 0, 0, 0]);
    attempts.refused("ioctl FIOASYNC of the listener", libc::SYS_ioctl, [listener, libc::FIOASYNC as usize, value, 0, 0, 0]);
    attempts.refused("listen again with no backlog", libc::SYS_listen, [listener, 0, 0, 0, 0, 0]);
    attempts.refused("accept of another socket", libc::SYS_accept4, [3, 0, 0, 0, 0, 0]);
}

/// To execute bytes of one's own: of memory, of a file in memory, of another's file.
fn code(attempts: &mut Attempts) {
    let (read_write, anonymous) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let executable = libc::PROT_READ | libc::PROT_EXEC;
    // SAFETY: a page of our own.
    let page = unsafe { libc::mmap(ptr::null_mut(), PAGE_BYTES, read_write, anonymous, -1, 0) } as usize;
    attempts.refused("mprotect of written memory, to execute it", libc::SYS_mprotect, [page, PAGE_BYTES, executable as usize, 0, 0, 0]);
    attempts.refused("mprotect, writable and executable", libc::SYS_mprotect, [page, PAGE_BYTES, (executable | read_write) as usize, 0, 0, 0]);
    attempts.refused("pkey_mprotect", libc::SYS_pkey_mprotect, [page, PAGE_BYTES, executable as usize, 0, 0, 0]);
    attempts.refused("mmap, writable and executable", libc::SYS_mmap, [0, PAGE_BYTES, (executable | read_write) as usize, anonymous as usize, usize::MAX, 0]);
    attempts.refused("mmap, executable", libc::SYS_mmap, [page, PAGE_BYTES, executable as usize, (anonymous | libc::MAP_FIXED) as usize, usize::MAX, 0]);
    attempts.refused("memfd_create, to write code into", libc::SYS_memfd_create, [at(c"x"), 0, 0, 0, 0, 0]);
    attempts.refused("memfd_secret", libc::SYS_memfd_secret, [0; 6]);
    attempts.refused("shmget", libc::SYS_shmget, [0, PAGE_BYTES, 0o700, 0, 0, 0]);
    attempts.refused("shmat, executable", libc::SYS_shmat, [0, 0, libc::SHM_EXEC as usize, 0, 0, 0]);
    attempts.refused("personality, all memory executable", libc::SYS_personality, [libc::READ_IMPLIES_EXEC as usize, 0, 0, 0, 0, 0]);
    attempts.refused("modify_ldt", libc::SYS_modify_ldt, [0; 6]);
    attempts.refused("remap_file_pages", libc::SYS_remap_file_pages, [page, PAGE_BYTES, 0, 0, 0, 0]);
}

/// Parts of the kernel in which holes were found again and again, and such as change the machine.
fn kernel(attempts: &mut Attempts) {
    const X32: i64 = 0x4000_0000;
    for (name, call) in [
        ("bpf", libc::SYS_bpf), ("io_uring_setup", libc::SYS_io_uring_setup), ("userfaultfd", libc::SYS_userfaultfd), ("perf_event_open", libc::SYS_perf_event_open),
        ("keyctl", libc::SYS_keyctl), ("add_key", libc::SYS_add_key), ("request_key", libc::SYS_request_key),
        ("mount", libc::SYS_mount), ("umount2", libc::SYS_umount2), ("pivot_root", libc::SYS_pivot_root), ("fsopen", libc::SYS_fsopen), ("open_tree", libc::SYS_open_tree), ("move_mount", libc::SYS_move_mount),
        ("unshare", libc::SYS_unshare), ("setns", libc::SYS_setns), ("seccomp", libc::SYS_seccomp), ("landlock_create_ruleset", libc::SYS_landlock_create_ruleset),
        ("init_module", libc::SYS_init_module), ("kexec_load", libc::SYS_kexec_load), ("reboot", libc::SYS_reboot), ("syslog", libc::SYS_syslog), ("swapon", libc::SYS_swapon), ("acct", libc::SYS_acct),
        ("settimeofday", libc::SYS_settimeofday), ("clock_settime", libc::SYS_clock_settime), ("sethostname", libc::SYS_sethostname), ("iopl", libc::SYS_iopl), ("ioperm", libc::SYS_ioperm), ("quotactl", libc::SYS_quotactl),
        ("add a timer (timer_create)", libc::SYS_timer_create), ("io_setup", libc::SYS_io_setup), ("splice", libc::SYS_splice), ("vmsplice", libc::SYS_vmsplice), ("pipe2", libc::SYS_pipe2),
        ("socket by the x32 way", X32 | libc::SYS_socket),
    ] {
        attempts.refused(name, call, [0; 6]);
    }
    attempts.refused("ioctl TIOCSTI", libc::SYS_ioctl, [0, libc::TIOCSTI as usize, at(c"x"), 0, 0, 0]);
}

/// Calls by the 32-bit way, which the filter ends the process for. Call it last.
pub fn thirty_two_bits() {
    // SAFETY: getpid of i386.
    unsafe { std::arch::asm!("int 0x80", inlateout("eax") 20 => _, options(nostack)) };
}
