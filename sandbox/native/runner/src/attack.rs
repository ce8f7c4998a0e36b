//! `--attack`: from inside the jail, try to get out, and say how each try ended. For tests: the list is what a tenant who owns
//! the whole process could do next.
use serde_json::{Value, json};
use std::{ffi::CString, io};

/// errno, or 0 when it worked.
fn tried(result: i64) -> i32 {
    if result < 0 { io::Error::last_os_error().raw_os_error().unwrap_or(-1) } else { 0 }
}

pub fn report(landlock: &str) -> Value {
    let path = |text: &str| CString::new(text).unwrap_or_default();
    let (passwd, shell, temporary, proc) = (path("/etc/passwd"), path("/bin/sh"), path("/tmp/godwit-attack"), path("/proc/1/environ"));
    let none: [*const libc::c_char; 1] = [std::ptr::null()];
    let listener = 4;
    // SAFETY: raw system calls with valid arguments; each is expected to fail, and none touches our memory if it does not.
    let tries: Vec<(&str, i32)> = unsafe {
        vec![
            ("socket", tried(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0).into())),
            ("socketUnix", tried(libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).into())),
            ("connect", tried(libc::connect(listener, std::ptr::null(), 0).into())),
            ("bind", tried(libc::bind(listener, std::ptr::null(), 0).into())),
            ("openPasswd", tried(libc::open(passwd.as_ptr(), libc::O_RDONLY).into())),
            ("openProc", tried(libc::open(proc.as_ptr(), libc::O_RDONLY).into())),
            ("createFile", tried(libc::open(temporary.as_ptr(), libc::O_CREAT | libc::O_WRONLY, 0o600).into())),
            ("unlink", tried(libc::unlink(passwd.as_ptr()).into())),
            ("execve", tried(libc::execve(shell.as_ptr(), none.as_ptr(), none.as_ptr()).into())),
            ("fork", tried(libc::fork().into())),
            ("ptrace", tried(libc::ptrace(libc::PTRACE_ATTACH, libc::getppid(), 0, 0))),
            ("processVmReadv", tried(libc::syscall(libc::SYS_process_vm_readv, 1, 0, 0, 0, 0, 0))),
            ("kill", tried(libc::kill(libc::getppid(), 0).into())),
            ("ownerOfDescriptor", tried(libc::fcntl(listener, libc::F_SETOWN, libc::getppid()).into())),
            ("ioUring", tried(libc::syscall(libc::SYS_io_uring_setup, 8, 0))),
            ("bpf", tried(libc::syscall(libc::SYS_bpf, 0, 0, 0))),
            ("keyctl", tried(libc::syscall(libc::SYS_keyctl, 0, 0))),
            ("userfaultfd", tried(libc::syscall(libc::SYS_userfaultfd, 0))),
            ("perfEventOpen", tried(libc::syscall(libc::SYS_perf_event_open, 0, 0, 0, 0, 0))),
            ("mount", tried(libc::syscall(libc::SYS_mount, 0, 0, 0, 0, 0))),
            ("unshare", tried(libc::unshare(libc::CLONE_NEWUSER).into())),
            ("setns", tried(libc::setns(3, 0).into())),
            ("setuid", tried(libc::setuid(0).into())),
            ("dumpable", tried(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0).into())),
            ("tiocsti", tried(libc::ioctl(0, libc::TIOCSTI, c"x".as_ptr()).into())),
        ]
    };
    let attempts: Vec<Value> = tries.into_iter().map(|(name, errno)| json!({ "name": name, "errno": errno })).collect();
    json!({ "landlock": landlock, "attempts": attempts })
}
