//! The compiler: one component from stdin, machine code to stdout, then gone. `godwit-compiler PARENT MEMORY_BYTES_MAX CPU_SECONDS_MAX`
//!
//! A big program that reads a stranger's bytes, so it sees nothing: no files, no network, no environment. Exit code 0; 1: the
//! component cannot be compiled, with the reason on stderr; 2: a wall does not stand; 3: it cannot begin in the memory that it has,
//! or in the threads. Any other limit ends it by signal or abort.
use godwit_core::{
    attack::{self, Jailed},
    engine, jail, spaces, unroll,
};
use std::{
    hash::{Hash, Hasher},
    io::{Read, Write, stderr, stdin, stdout},
    process::exit,
};

type Failure = Box<dyn std::error::Error>;

const DESCRIPTORS_MAX: u64 = 16;
/// More hardly make a compile shorter, and each takes memory of its limit.
const THREADS_MAX: usize = 4;
/// COULD_NOT_BEGIN of sandbox/compile.ts.
const NO_ROOM: i32 = 3;
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

fn main() {
    if let Err(error) = run() {
        eprintln!("godwit-compiler: {error}");
        exit(if has_no_room(&*error) { NO_ROOM } else { 2 });
    }
}

/// EAGAIN or ENOMEM, of whatever it was that failed.
fn has_no_room(error: &(dyn std::error::Error + 'static)) -> bool {
    let code = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
    matches!(code, Some(libc::EAGAIN | libc::ENOMEM)) || error.source().is_some_and(has_no_room)
}

fn run() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["--engine"] {
        // With all settings of the code generator, which stand in whatever it makes: code of others is never taken for ours.
        let mut hasher = std::hash::DefaultHasher::new();
        wasmtime::Engine::new(&engine::codegen())?.precompile_component(EMPTY_COMPONENT)?.hash(&mut hasher);
        println!("{}-{:016x}", engine::ENGINE, hasher.finish());
        return Ok(());
    }
    let [parent, memory_bytes_max, cpu_seconds_max, rest @ ..] = arguments.as_slice() else {
        return Err("usage: godwit-compiler PARENT MEMORY_BYTES_MAX CPU_SECONDS_MAX".into());
    };
    let parent = parent.parse()?;
    jail::orphan_check(parent)?;
    jail::close_other_descriptors(2)?;
    jail::clear_environment();
    let mut spaces = spaces::enter()?;
    jail::limit(libc::RLIMIT_CORE, 0)?;
    jail::limit(libc::RLIMIT_FSIZE, 0)?;
    jail::limit_at_most(libc::RLIMIT_NOFILE, DESCRIPTORS_MAX)?;
    jail::limit_at_most(libc::RLIMIT_AS, memory_bytes_max.parse()?)?;
    jail::limit_at_most(libc::RLIMIT_CPU, cpu_seconds_max.parse()?)?;
    // Detects the processor, which reads /proc, so before the walls.
    let mut config = engine::codegen();
    let counts = rest != ["--without-fuel"];
    if !counts {
        // What fuel costs is measured beside this. A runner refuses such code: its engine counts.
        config.consume_fuel(false);
    }
    let engine = wasmtime::Engine::new(&config)?;
    spaces::empty_root(&mut spaces);
    jail::undumpable()?;
    jail::drop_capabilities()?;
    let landlock = jail::landlock()?;
    // After what holds for one thread and those that it makes, before what forbids to make any.
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(THREADS_MAX));
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let jailed = Jailed { spaces, landlock, listener: None, agent: parent };
    let walls = attack::walls(&jailed);
    jail::seccomp_compiling()?;
    if rest == ["--attack"] {
        println!("{}", attack::report(&jailed, &walls, attack::attempt(&jailed)));
        attack::thirty_two_bits();
    }

    let mut component = Vec::new();
    stdin().lock().read_to_end(&mut component)?;
    let unrolled = if counts { compile_unrolled(&engine, &component) } else { None };
    match unrolled.map_or_else(|| engine.precompile_component(&component), Ok) {
        Ok(code) => {
            let mut output = stdout().lock();
            output.write_all(&code)?;
            output.flush()?;
            Ok(())
        }
        Err(error) => {
            _ = write!(stderr(), "{error:#}");
            exit(1)
        }
    }
}

/// None when no loop of it is to be unrolled, or it cannot be compiled: then it is as it came, and so is what is said of it.
fn compile_unrolled(engine: &wasmtime::Engine, component: &[u8]) -> Option<Vec<u8>> {
    let unrolled = unroll::unroll(component)?;
    let code = engine.precompile_component(&unrolled.bytes).ok()?;
    unrolled.places.restore(code)
}
