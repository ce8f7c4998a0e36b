//! PID 1 of the machine image: puts the root in place, starts Node, reaps, starts Node again, and is the last to go.
//!
//! It is native because the kernel panics when PID 1 ends: with Node as PID 1 every uncaught error of the agent would be a reboot,
//! and what the machine holds in memory (its chain, the components) would be gone. It decides nothing else: mounts, network and
//! everything that can fail in an interesting way is TypeScript (`os/init.ts`).
//!
//! What Node asks for it says by its exit code (`POWER_OFF`, …); any other end is a crash. A signal that asks the machine to stop
//! is handed on to Node, which has `STOP_SECONDS_MAX` to drain and end; then it goes on without it.
//!
//! Node says that it lives by SIGUSR1. When it does not for `SILENT_SECONDS_MAX`, the machine restarts: others have its leases since
//! long. The watchdog of the machine (a chip, or the kernel's own) does the same when PID 1 or the kernel hangs.
use std::ffi::{CStr, CString};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use std::{fs, io, mem, ptr};

const ROOT_IMAGE: &str = "/root.squashfs";
/// What the kernel before handed on at an upgrade (os/boot/carried.ts); the root has an empty folder of that name.
const CARRIED: &str = "/carried";
const NODE: &[&CStr] = &[c"/bin/node", c"--disable-warning=ExperimentalWarning", c"/godwit/os/init.js"];
const ENVIRONMENT: &[&CStr] = &[c"HOME=/var", c"PATH=/bin", c"GODWIT_NATIVE=/godwit/native", c"NODE_ENV=production"];

/// Exit codes of Node that ask for an end of the machine; os/init.ts has the same.
const POWER_OFF: i32 = 64;
const RESTART: i32 = 65;
const KEXEC: i32 = 66;
/// A drain and a stop; then the machine ends all the same.
const STOP_SECONDS_MAX: u64 = 30;
/// So many crashes within the window, and only a new start of everything may help.
const CRASHES_MAX: usize = 5;
const CRASH_WINDOW: Duration = Duration::from_secs(600);
const PAUSE_AFTER_CRASH: Duration = Duration::from_millis(500);
/// os/init.ts says so every five seconds, from its first line on; a start on a busy emulator takes half a minute.
const SILENT_SECONDS_MAX: u64 = 120;
const WATCHDOG_SECONDS: libc::c_int = 60;
/// Out of memory ends what a tenant runs. What the agent starts it makes the first to go (sandbox/firstToGo.ts).
const LAST_TO_GO: &str = "-1000";

fn main() {
    if unsafe { libc::getpid() } != 1 {
        eprintln!("godwit-init: Cannot run as process {}: it is the first process of the machine image", std::process::id());
        std::process::exit(2);
    }
    if let Err(error) = enter_root() {
        say(&format!("Cannot enter the root: {error}"));
        std::thread::sleep(Duration::from_secs(10));
        end(RESTART);
    }
    raise_limits();
    last_to_go();
    let signals = block_signals();
    let mut watchdog = open_watchdog();
    say(&format!("the root is in place{}", if watchdog.is_some() { ", and a watchdog" } else { "" }));
    let mut crashes: Vec<Instant> = Vec::new();
    loop {
        let status = run_node(&signals, &mut watchdog);
        stop_all();
        if libc::WIFEXITED(status) && matches!(libc::WEXITSTATUS(status), POWER_OFF | RESTART | KEXEC) {
            end(libc::WEXITSTATUS(status));
        }
        let now = Instant::now();
        crashes.retain(|at| now.duration_since(*at) < CRASH_WINDOW);
        crashes.push(now);
        let how = if libc::WIFSIGNALED(status) {
            format!("signal {}", libc::WTERMSIG(status))
        } else {
            format!("exit code {}", libc::WEXITSTATUS(status))
        };
        say(&format!("the agent ended ({how}), crash {} of {CRASHES_MAX} in ten minutes", crashes.len()));
        if crashes.len() >= CRASHES_MAX {
            end(RESTART);
        }
        std::thread::sleep(PAUSE_AFTER_CRASH);
    }
}

/// To the kernel's log, and so to every console, with the kernel's seconds as os/init.ts has them; to the first one where there is no log yet.
fn say(line: &str) {
    let uptime: f64 = fs::read_to_string("/proc/uptime").ok().and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(0.0);
    let text = format!("<11>{uptime:7.2}  init      {line}\n");
    let written = OpenOptions::new().write(true).open("/dev/kmsg").and_then(|mut log| log.write_all(text.as_bytes()));
    if written.is_err() {
        println!("init      {line}");
    }
}

/// The read-only root is a file of the initramfs; the kernel's memory file system below stays, with that file only.
fn enter_root() -> io::Result<()> {
    mount(c"devtmpfs", "/dev", c"devtmpfs", libc::MS_NOSUID, c"")
        .or_else(|error| if error.raw_os_error() == Some(libc::EBUSY) { Ok(()) } else { Err(error) })?;
    load_modules();
    if fs::exists(ROOT_IMAGE)? {
        let device = attach_loop(ROOT_IMAGE)?;
        mount(&device, "/root", c"squashfs", libc::MS_RDONLY | libc::MS_NODEV | libc::MS_NOSUID, c"")?;
        if fs::exists(CARRIED)? {
            let (from, to) = (CString::new(CARRIED)?, CString::new(["/root", CARRIED].concat())?);
            checked(unsafe { libc::mount(from.as_ptr(), to.as_ptr(), ptr::null(), libc::MS_BIND, ptr::null()) })?;
        }
        std::env::set_current_dir("/root")?;
        checked(unsafe { libc::mount(c".".as_ptr(), c"/".as_ptr(), ptr::null(), libc::MS_MOVE, ptr::null()) })?;
        checked(unsafe { libc::chroot(c".".as_ptr()) })?;
        std::env::set_current_dir("/")?;
        mount(c"devtmpfs", "/dev", c"devtmpfs", libc::MS_NOSUID, c"")?;
    }
    mount(c"proc", "/proc", c"proc", libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC, c"")
}

/// Only kernels that are not ours have any: tests where the image's kernel has not been built use the distribution's.
fn load_modules() {
    let Ok(order) = fs::read_to_string("/modules/order") else { return };
    for name in order.lines() {
        let loaded = File::open(format!("/modules/{name}")).and_then(|file| {
            let compressed = if name.ends_with(".xz") { 4 } else { 0 };
            checked(unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), compressed) } as i32)
        });
        if let Err(error) = loaded {
            say(&format!("Cannot load module {name}: {error}"));
        }
    }
}

fn mount(source: &CStr, target: &str, kind: &CStr, flags: libc::c_ulong, options: &CStr) -> io::Result<()> {
    // The folder is there, or the root is read-only and the mount says so.
    let _ = fs::create_dir(target);
    let target = CString::new(target)?;
    checked(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast()) })
}

/// loop(4): LOOP_CONFIGURE with the layout of struct loop_config.
fn attach_loop(path: &str) -> io::Result<CString> {
    const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
    const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
    const LO_FLAGS_READ_ONLY: u32 = 1;
    const CONFIG_BYTES: usize = 304;
    const FLAGS_AT: usize = 60;
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) };
    checked(number)?;
    let device = format!("/dev/loop{number}");
    let image = File::open(path)?;
    let block = OpenOptions::new().read(true).open(&device)?;
    let mut config = [0u8; CONFIG_BYTES];
    config[0..4].copy_from_slice(&(image.as_raw_fd() as u32).to_ne_bytes());
    config[4..8].copy_from_slice(&4096u32.to_ne_bytes());
    config[FLAGS_AT..FLAGS_AT + 4].copy_from_slice(&LO_FLAGS_READ_ONLY.to_ne_bytes());
    checked(unsafe { libc::ioctl(block.as_raw_fd(), LOOP_CONFIGURE as _, config.as_ptr()) })?;
    Ok(CString::new(device)?)
}

/// One descriptor for each connection and two for each resident deployment; children have what PID 1 has.
fn raise_limits() {
    const DESCRIPTORS_MAX: libc::rlim_t = 1_048_576;
    let limit = libc::rlimit { rlim_cur: DESCRIPTORS_MAX, rlim_max: DESCRIPTORS_MAX };
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } < 0 {
        say(&format!("Cannot raise the limit of descriptors: {}", io::Error::last_os_error()));
    }
}

/// Its children begin with the same.
fn last_to_go() {
    if let Err(error) = fs::write("/proc/self/oom_score_adj", LAST_TO_GO) {
        say(&format!("Cannot keep the kernel from ending the agent when memory is short: {error}"));
    }
}

/// The first one: a chip where there is one, else the kernel's own. From then on it restarts the machine unless it is petted.
fn open_watchdog() -> Option<File> {
    const WDIOC_SETTIMEOUT: libc::c_ulong = 0xC004_5706;
    let watchdog = OpenOptions::new().write(true).open("/dev/watchdog").ok()?;
    let mut seconds = WATCHDOG_SECONDS;
    if unsafe { libc::ioctl(watchdog.as_raw_fd(), WDIOC_SETTIMEOUT as _, &mut seconds) } < 0 {
        say(&format!("Cannot set the watchdog to {WATCHDOG_SECONDS} s: {}", io::Error::last_os_error()));
    }
    Some(watchdog)
}

fn block_signals() -> libc::sigset_t {
    unsafe {
        let mut all: libc::sigset_t = mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &all, ptr::null_mut());
        // Ctrl-Alt-Del is a signal to us and not the end at once.
        libc::reboot(libc::RB_DISABLE_CAD);
        all
    }
}

/// Starts Node and waits for its end, reaping everybody's orphans meanwhile.
fn run_node(signals: &libc::sigset_t, watchdog: &mut Option<File>) -> i32 {
    let node = unsafe { libc::fork() };
    if node == 0 {
        exec_node(signals);
    }
    if node < 0 {
        return 127 << 8;
    }
    let mut deadline: Option<Instant> = None;
    let mut way = POWER_OFF;
    let mut heard = Instant::now();
    loop {
        if let Some(watchdog) = watchdog {
            let _ = watchdog.write_all(b"\0");
        }
        let mut status = 0;
        loop {
            let reaped = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
            if reaped == node {
                return status;
            }
            if reaped <= 0 {
                break;
            }
        }
        if deadline.is_some_and(|at| Instant::now() >= at) {
            say(&format!("the agent has not stopped within {STOP_SECONDS_MAX} s: going on without it"));
            return way << 8;
        }
        if deadline.is_none() && heard.elapsed() > Duration::from_secs(SILENT_SECONDS_MAX) {
            say(&format!("the agent has said nothing for {SILENT_SECONDS_MAX} s: it hangs"));
            return RESTART << 8;
        }
        let second = libc::timespec { tv_sec: 1, tv_nsec: 0 };
        let signal = unsafe { libc::sigtimedwait(signals, ptr::null_mut(), &second) };
        if signal == libc::SIGUSR1 {
            heard = Instant::now();
        }
        if matches!(signal, libc::SIGTERM | libc::SIGINT | libc::SIGPWR | libc::SIGUSR2) {
            unsafe { libc::kill(node, signal) };
            // Ctrl-Alt-Del asks for a restart: a machine that hangs comes back by it.
            way = if signal == libc::SIGINT { RESTART } else { POWER_OFF };
            deadline.get_or_insert(Instant::now() + Duration::from_secs(STOP_SECONDS_MAX));
        }
    }
}

fn exec_node(signals: &libc::sigset_t) -> ! {
    let arguments: Vec<*const libc::c_char> = NODE.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect();
    let environment: Vec<*const libc::c_char> = ENVIRONMENT.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect();
    unsafe {
        libc::setsid();
        libc::sigprocmask(libc::SIG_UNBLOCK, signals, ptr::null_mut());
        libc::execve(arguments[0], arguments.as_ptr(), environment.as_ptr());
        libc::_exit(127)
    }
}

/// Whatever is left of a crashed or stopped agent: runners, compilers. A new agent starts its own.
fn stop_all() {
    unsafe {
        libc::kill(-1, libc::SIGKILL);
        while libc::waitpid(-1, ptr::null_mut(), 0) > 0 {}
    }
}

fn end(how: i32) -> ! {
    let (name, command) = match how {
        POWER_OFF => ("powering off", libc::RB_POWER_OFF),
        KEXEC => ("starting the next kernel", 0x45584543),
        _ => ("restarting", libc::RB_AUTOBOOT),
    };
    say(name);
    unsafe {
        libc::sync();
        libc::reboot(command);
        // No kernel was laid ready, or this machine cannot power off.
        libc::reboot(libc::RB_AUTOBOOT);
        loop {
            libc::pause();
        }
    }
}

fn checked(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
