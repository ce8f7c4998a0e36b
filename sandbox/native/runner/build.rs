//! Links the runner smaller where the linker can: functions that are the same are one, and addresses to be put in at the start are a table of bits.
use std::{env, path::Path, process::Command};

/// The first libc that starts programs with such a table (DT_RELR).
const GLIBC_MIN: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    if let Some(lld) = lld() {
        println!("cargo::rustc-link-arg-bins=-B{lld}");
        println!("cargo::rustc-link-arg-bins=-fuse-ld=lld");
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all,--strip-all");
        if glibc().is_some_and(|version| version >= GLIBC_MIN) {
            println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
        }
    }
}

/// The folder of the linker that comes with rustc.
fn lld() -> Option<String> {
    let rustc = Command::new(env::var_os("RUSTC")?).args(["--print", "sysroot"]).output().ok()?;
    let folder = Path::new(String::from_utf8(rustc.stdout).ok()?.trim()).join("lib/rustlib").join(env::var_os("TARGET")?).join("bin/gcc-ld");
    folder.join("ld.lld").exists().then(|| folder.display().to_string())
}

fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = version.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
