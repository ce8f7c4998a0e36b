//! Namespaces: what a process can name at all. As root simply, else inside a user namespace where the kernel allows one; what
//! cannot be had is said, and is no error: landlock and seccomp stand without it.
use std::{ffi::CStr, io, os::fd::AsRawFd, process::exit, ptr};

#[derive(Clone, Copy, Default)]
pub struct Spaces {
    /// Network, IPC and host name of our own, with nothing in them.
    pub network: bool,
    /// Processes: we are the first, and see only our own.
    pub processes: bool,
    /// Mounts of our own, for `empty_root`.
    pub mounts: bool,
    /// Made inside a user namespace, without being root.
    pub user: bool,
}

/// Into control groups, by the files that one writes oneself to. What does not work is the supervisor's to say.
pub fn join_groups(files: &[&str]) {
    for file in files {
        _ = std::fs::write(file, "0");
    }
}

/// What is inherited stays connected to where it was made. With processes of its own the caller goes on as a child, and the
/// process that was started waits for it and ends as it does.
pub fn enter() -> io::Result<Spaces> {
    let plain = libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    let all = plain | libc::CLONE_NEWNS | libc::CLONE_NEWPID;
    let whole = Spaces { network: true, processes: true, mounts: true, user: false };
    let choices = [
        (all, whole),
        (plain, Spaces { processes: false, mounts: false, ..whole }),
        (all | libc::CLONE_NEWUSER, Spaces { user: true, ..whole }),
        (plain | libc::CLONE_NEWUSER, Spaces { processes: false, mounts: false, user: true, ..whole }),
    ];
    // SAFETY: a plain system call, before there are threads.
    let got = choices.into_iter().find(|(flags, _)| unsafe { libc::unshare(*flags) } == 0).map_or(Spaces::default(), |(_, spaces)| spaces);
    if got.processes {
        go_on_as_child()?;
    }
    Ok(got)
}

/// The first process of a namespace is immune to most signals, and so could not even abort: it is one that only sleeps.
fn go_on_as_child() -> io::Result<()> {
    let (watched, held) = io::pipe()?;
    if fork()? == 0 {
        drop(held);
        sleep_until_end(watched);
    }
    match fork()? {
        0 => Ok(()),
        child => wait_for(child, held),
    }
}

/// The pipe ends with the process that waits, at whatever moment: a signal that one asks for may come before it was asked. With
/// the first process the kernel ends all others of the namespace.
fn sleep_until_end(watched: io::PipeReader) -> ! {
    // SAFETY: a process of one thread, with nothing to lose.
    unsafe {
        libc::dup2(watched.as_raw_fd(), 0);
        libc::syscall(libc::SYS_close_range, 1, u32::MAX, 0);
        _ = super::jail::drop_capabilities();
        let mut byte = 0u8;
        while libc::read(0, (&raw mut byte).cast(), 1) < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {}
    }
    exit(0)
}

/// The child ends with whoever waits for it, as that one does with its parent.
fn fork() -> io::Result<libc::pid_t> {
    // SAFETY: the only thread.
    let child = unsafe { libc::fork() };
    check(child)?;
    if child == 0 {
        // SAFETY: a plain system call.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })?;
    }
    Ok(child)
}

/// Ends as the child did, so that whoever started us sees what happened to it.
fn wait_for(child: libc::pid_t, held: io::PipeWriter) -> ! {
    const HELD: i32 = 3;
    // SAFETY: plain system calls; nothing else runs in this process, and it never returns to who owns the descriptors.
    unsafe {
        libc::dup2(held.as_raw_fd(), HELD);
        libc::syscall(libc::SYS_close_range, HELD + 1, u32::MAX, 0);
        // No landlock of its own: the kernel ends the child in our name, and would be refused.
        _ = super::jail::drop_capabilities();
        let mut status = 0;
        while libc::waitpid(child, &mut status, 0) < 0 {
            if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                exit(1);
            }
        }
        if libc::WIFSIGNALED(status) {
            let signal = libc::WTERMSIG(status);
            let core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::setrlimit(libc::RLIMIT_CORE, &core);
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        exit(libc::WEXITSTATUS(status))
    }
}

/// A root folder with nothing in it but `fd`, one's own descriptors. Gives the folder where those are.
pub fn empty_root(spaces: &mut Spaces) -> &'static str {
    if spaces.mounts {
        match try_empty_root() {
            Ok(()) => return "/fd",
            Err(_) => spaces.mounts = false,
        }
    }
    "/proc/self/fd"
}

/// Any folder that every Linux has, to be covered.
const BASE: &CStr = c"/sys";

fn try_empty_root() -> io::Result<()> {
    const QUIET: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: plain system calls with strings that end; the only thread.
    unsafe {
        check(libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), libc::MS_REC | libc::MS_PRIVATE, ptr::null()))?;
        check(libc::mount(c"none".as_ptr(), BASE.as_ptr(), c"tmpfs".as_ptr(), QUIET, c"size=4k,nr_inodes=4,mode=755".as_ptr().cast()))?;
        check(libc::chdir(BASE.as_ptr()))?;
        check(libc::mkdir(c"fd".as_ptr(), 0o700))?;
        check(libc::mount(c"/proc/self/fd".as_ptr(), c"fd".as_ptr(), ptr::null(), libc::MS_BIND, ptr::null()))?;
        check(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) as i32)?;
        check(libc::umount2(c".".as_ptr(), libc::MNT_DETACH))?;
        check(libc::chdir(c"/".as_ptr()))?;
        check(libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), libc::MS_REMOUNT | libc::MS_RDONLY | QUIET, ptr::null()))
    }
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
