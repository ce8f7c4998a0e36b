//! The walls around a process that touches tenants' bytes, in the order in which they must go up.
//!
//! 1. `orphan_check`, `close_other_descriptors`, `clear_environment`, `limit`, `leave_networks`: before anything else.
//! 2. `undumpable`, `drop_capabilities`, `landlock`: on the first thread, while it is the only one (threads inherit them).
//! 3. `seccomp`: when all threads run (it is put on every one of them). What is not on the list fails with EPERM.
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch};
use std::{collections::BTreeMap, io};

type Failure = Box<dyn std::error::Error>;

/// Dies with its parent; and at once, if the parent has gone already.
pub fn orphan_check(parent: u32) -> io::Result<()> {
    // SAFETY: plain system calls.
    unsafe {
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0))?;
        if libc::getppid() as u32 != parent {
            return Err(io::Error::other("the parent has gone"));
        }
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    }
}

/// No core dumps of tenants' memory, no ptrace by others of the same user. Takes away one's own /proc/self, too.
pub fn undumpable() -> io::Result<()> {
    // SAFETY: plain system call.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) })
}

/// A network namespace of our own with nothing in it; what was inherited stays connected to where it was made. Needs root or
/// user namespaces: without either, seccomp alone stands between us and the network, so a refusal is no error.
pub fn leave_networks() {
    // SAFETY: plain system calls, before there are threads.
    unsafe {
        let spaces = libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        if libc::unshare(spaces) != 0 {
            libc::unshare(spaces | libc::CLONE_NEWUSER);
        }
    }
}

/// Root without the powers of root. Nothing is exec'd any more that could give them back.
pub fn drop_capabilities() -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    // Effective, permitted and inheritable, each in two halves.
    let none = [0u32; 6];
    // SAFETY: both have the layout that version 3 asks for.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) } as i32)
}

/// Keeps 0 to `last`.
pub fn close_other_descriptors(last: u32) -> io::Result<()> {
    // SAFETY: called before anything has opened a descriptor above `last`.
    check(unsafe { libc::syscall(libc::SYS_close_range, last + 1, u32::MAX, 0) } as i32)
}

pub fn clear_environment() {
    // SAFETY: the only thread.
    unsafe { libc::clearenv() };
}

pub fn limit(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: `limit` is valid.
    check(unsafe { libc::setrlimit(resource, &limit) })
}

/// As `limit`, or the present hard limit if that is lower.
pub fn limit_at_most(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `now` is valid for writes.
    check(unsafe { libc::getrlimit(resource, &mut now) })?;
    limit(resource, value.min(now.rlim_max))
}

/// No file but those in `read_directory`, for reading; no TCP bind or connect; no signals or abstract sockets to the outside.
pub fn landlock(read_directory: Option<&str>) -> Result<&'static str, Failure> {
    let abi = ABI::V6;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?;
    if let Some(directory) = read_directory {
        rules = rules.add_rule(PathBeneath::new(PathFd::new(directory)?, AccessFs::ReadFile))?;
    }
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => "full",
        RulesetStatus::PartiallyEnforced => "partial",
        RulesetStatus::NotEnforced => "none",
    })
}

const PAGEMAP_SCAN: u64 = 0xc060_6610;
const PR_SET_VMA: u64 = 0x5356_4d41;

/// What tokio, hyper, wasmtime and libc need while they serve, and nothing to get out with: no socket, connect, bind, execve,
/// ptrace, io_uring, bpf, keyctl, mount, setns, unshare, kill; clone only for threads.
const SERVING: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    // Connected sockets that the agent has dialled for outgoing requests come as messages with a descriptor.
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_accept4,
    libc::SYS_close,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_poll,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mprotect,
    libc::SYS_process_madvise,
    libc::SYS_brk,
    libc::SYS_openat,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    libc::SYS_membarrier,
];
/// A compile reads its component from stdin and writes the code to stdout: no opening, no threads, no network.
const COMPILING: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mprotect,
    libc::SYS_brk,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sched_getaffinity,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    libc::SYS_newfstatat,
    libc::SYS_statx,
];

pub fn seccomp_serving() -> Result<(), Failure> {
    let mut rules = allow(SERVING);
    rules.insert(libc::SYS_ioctl, vec![when(1, libc::FIONBIO)?, when(1, PAGEMAP_SCAN)?]);
    // Not F_SETOWN: a descriptor's owner gets a signal of one's choice.
    let descriptor = [libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL, libc::F_ADD_SEALS, libc::F_GET_SEALS];
    rules.insert(libc::SYS_fcntl, descriptor.into_iter().map(|command| when(1, command as u64)).collect::<Result<_, _>>()?);
    rules.insert(libc::SYS_prctl, vec![when(0, libc::PR_SET_NAME as u64)?, when(0, PR_SET_VMA)?]);
    rules.insert(libc::SYS_tgkill, vec![when(0, std::process::id().into())?]);
    let thread = SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64);
    let only_threads = SeccompCondition::new(0, SeccompCmpArgLen::Qword, thread, libc::CLONE_THREAD as u64)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![only_threads])?]);
    // The flags of clone3 are out of a filter's sight; without it, libc uses clone.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, vec![])]);
    apply(clone3, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))?;
    apply(rules, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)
}

pub fn seccomp_compiling() -> Result<(), Failure> {
    let mut rules = allow(COMPILING);
    rules.insert(libc::SYS_tgkill, vec![when(0, std::process::id().into())?]);
    apply(rules, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn allow(calls: &[i64]) -> Rules {
    calls.iter().map(|call| (*call, vec![])).collect()
}

fn when(argument: u8, value: u64) -> Result<SeccompRule, Failure> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

fn apply(rules: Rules, others: SeccompAction, these: SeccompAction) -> Result<(), Failure> {
    let filter = SeccompFilter::new(rules, others, these, TargetArch::x86_64)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter_all_threads(&program)?;
    Ok(())
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
