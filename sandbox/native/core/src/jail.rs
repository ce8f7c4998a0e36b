//! The walls around a process that touches tenants' bytes, in the order in which they must go up.
//!
//! 1. `orphan_check`, `close_other_descriptors`, `clear_environment`, `spaces::enter`, `limit`: before anything else.
//! 2. `spaces::empty_root`, `undumpable`, `drop_capabilities`, `landlock`: on the first thread, while it is the only one.
//! 3. `seccomp`: when all threads run (it is put on every one of them). What is not on the list fails with EPERM.
use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope};
use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch};
use std::{collections::BTreeMap, io};

type Failure = Box<dyn std::error::Error>;

/// Dies with its parent; and at once, if the parent has gone already.
pub fn orphan_check(parent: i32) -> io::Result<()> {
    // SAFETY: plain system calls.
    unsafe {
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0))?;
        if libc::getppid() != parent {
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

/// As `limit`, or the present hard limit if that is lower; what it is now.
pub fn limit_at_most(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<u64> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `now` is valid for writes.
    check(unsafe { libc::getrlimit(resource, &mut now) })?;
    let value = value.min(now.rlim_max);
    limit(resource, value)?;
    Ok(value)
}

/// Makes the table of descriptors large enough for `count`, by a copy of one that is open, while there is one thread. With several, each doubling (at 64, 128, 256 …) waits
/// until every processor has let go of the old table (`synchronize_rcu`): 10 to 30 ms, in which a request stood still.
pub fn make_room_for_descriptors(count: u64, opened: std::os::fd::RawFd) -> io::Result<()> {
    // SAFETY: the copy is closed at once, and the table stays as large as it is.
    unsafe {
        let last = libc::fcntl(opened, libc::F_DUPFD_CLOEXEC, count as libc::c_int - 1);
        check(last)?;
        check(libc::close(last))
    }
}

/// What the kernel gives us of landlock, and how much of what we asked for it enforces.
#[derive(Clone, Copy)]
pub struct Landlock {
    pub abi: i64,
    pub is_full: bool,
}

/// The kernel's version of landlock; 0 when it has none.
pub fn landlock_abi() -> i64 {
    const CREATE_RULESET_VERSION: libc::c_ulong = 1;
    // SAFETY: asks for a number.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, CREATE_RULESET_VERSION) }.max(0)
}

/// No file at all; no TCP bind or connect; no signals or abstract sockets to the outside. As much of it as the kernel knows; an
/// error when it knows none, for then nothing but seccomp's view of numbers would stand between a guest and the files.
pub fn landlock() -> Result<Landlock, Failure> {
    let known = ABI::V6;
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(known))?
        .handle_access(AccessNet::from_all(known))?
        .scope(Scope::from_all(known))?
        .create()?;
    match rules.restrict_self()?.ruleset {
        RulesetStatus::NotEnforced => Err("this kernel has no landlock (Linux 5.13, CONFIG_SECURITY_LANDLOCK and lsm=landlock)".into()),
        status => Ok(Landlock { abi: landlock_abi(), is_full: status == RulesetStatus::FullyEnforced }),
    }
}

const PAGEMAP_SCAN: u64 = 0xc060_6610;
const PR_SET_VMA: u64 = 0x5356_4d41;

/// `process_madvise` of oneself.
const PIDFD_SELF: u64 = -10000i32 as u32 as u64;
/// All that a thread shares with the others, and nothing that makes it a process or a namespace.
const THREAD_FLAGS: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID) as u64;

/// What tokio, hyper, wasmtime and libc need while they serve, whatever the arguments; `serving_rules` has the others.
const SERVING: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    // Descriptors come in messages: of code, and of sockets that the agent has dialled.
    libc::SYS_recvmsg,
    libc::SYS_close,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
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
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_pread64,
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
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
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
];

/// `listener` is shared with every runner that comes after this one: what is done to it outlives the process.
pub fn seccomp_serving(listener: i32) -> Result<(), Failure> {
    // The flags of clone3 are out of a filter's sight; without it, libc uses clone.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, vec![])]);
    apply(clone3, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))?;
    apply(serving_rules(listener as u64)?, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)
}

fn serving_rules(listener: u64) -> Result<Rules, Failure> {
    let mut rules = allow(SERVING);
    let mut only = |call: i64, alternatives: Vec<SeccompRule>| _ = rules.insert(call, alternatives);
    only(libc::SYS_accept4, vec![when(0, listener)?]);
    only(libc::SYS_shutdown, vec![rule(&[is_not(0, listener)?])?]);
    let option = |level: i32, name: i32| rule(&[is_not(0, listener)?, is(1, level as u64)?, is(2, name as u64)?]);
    only(
        libc::SYS_setsockopt,
        vec![
            option(libc::IPPROTO_TCP, libc::TCP_NODELAY)?,
            option(libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT)?,
            option(libc::SOL_SOCKET, libc::SO_LINGER)?,
        ],
    );
    only(libc::SYS_getsockopt, vec![when(1, libc::SOL_SOCKET as u64)?]);
    // To whom the socket is connected, and no other: with an address this would be connect.
    only(libc::SYS_sendto, vec![rule(&[condition(4, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?])?]);
    only(libc::SYS_ioctl, vec![when(1, libc::FIONBIO)?, when(1, PAGEMAP_SCAN)?]);
    // Not F_DUPFD, by which the listener would have another number; not F_SETOWN: an owner gets a signal of one's choice.
    only(libc::SYS_fcntl, vec![when(1, libc::F_GETFD as u64)?, when(1, libc::F_SETFD as u64)?, when(1, libc::F_GETFL as u64)?]);
    only(libc::SYS_prctl, vec![when(0, libc::PR_SET_NAME as u64)?, when(0, PR_SET_VMA)?]);
    only(libc::SYS_tgkill, vec![when(0, std::process::id().into())?]);
    only(libc::SYS_process_madvise, vec![when(0, PIDFD_SELF)?]);
    // Reading, of what landlock leaves: one's own descriptors.
    only(libc::SYS_openat, vec![when(2, libc::O_CLOEXEC as u64)?]);
    only(libc::SYS_newfstatat, vec![when(3, libc::AT_EMPTY_PATH as u64)?]);
    only(libc::SYS_statx, vec![when(2, libc::AT_EMPTY_PATH as u64)?]);
    // Executable is what is mapped from a file, and every file here is sealed (`code`): never what was written in this process.
    let mapped_code = [is(2, (libc::PROT_READ | libc::PROT_EXEC) as u64)?, is(3, (libc::MAP_PRIVATE | libc::MAP_FIXED) as u64)?];
    only(libc::SYS_mmap, vec![not_executable()?, rule(&mapped_code)?]);
    only(libc::SYS_mprotect, vec![not_executable()?]);
    let thread = (libc::CLONE_VM | libc::CLONE_THREAD) as u64;
    only(libc::SYS_clone, vec![rule(&[masked(0, thread, thread)?, masked(0, !THREAD_FLAGS, 0)?])?]);
    Ok(rules)
}

pub fn seccomp_compiling() -> Result<(), Failure> {
    let mut rules = allow(COMPILING);
    rules.insert(libc::SYS_tgkill, vec![when(0, std::process::id().into())?]);
    rules.insert(libc::SYS_newfstatat, vec![when(3, libc::AT_EMPTY_PATH as u64)?]);
    rules.insert(libc::SYS_statx, vec![when(2, libc::AT_EMPTY_PATH as u64)?]);
    // It writes code and executes none.
    rules.insert(libc::SYS_mmap, vec![not_executable()?]);
    rules.insert(libc::SYS_mprotect, vec![not_executable()?]);
    apply(rules, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn allow(calls: &[i64]) -> Rules {
    calls.iter().map(|call| (*call, vec![])).collect()
}

fn condition(argument: u8, length: SeccompCmpArgLen, operation: SeccompCmpOp, value: u64) -> Result<SeccompCondition, Failure> {
    Ok(SeccompCondition::new(argument, length, operation, value)?)
}
fn is(argument: u8, value: u64) -> Result<SeccompCondition, Failure> {
    condition(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}
fn is_not(argument: u8, value: u64) -> Result<SeccompCondition, Failure> {
    condition(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value)
}
fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompCondition, Failure> {
    condition(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), value)
}
/// All of the conditions; several rules of one call are alternatives.
fn rule(conditions: &[SeccompCondition]) -> Result<SeccompRule, Failure> {
    Ok(SeccompRule::new(conditions.to_vec())?)
}
fn when(argument: u8, value: u64) -> Result<SeccompRule, Failure> {
    rule(&[is(argument, value)?])
}
/// Of mmap and mprotect, whose third argument is the protection.
fn not_executable() -> Result<SeccompRule, Failure> {
    rule(&[masked(2, libc::PROT_EXEC as u64, 0)?])
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
