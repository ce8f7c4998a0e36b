//! What a component is, before anything is done with it. Every byte is a stranger's; the parser is safe Rust.
use napi::{Env, Task, bindgen_prelude::*};
use napi_derive::napi;
use wasmparser::{Encoding, Parser, Payload, Validator};

/// Interfaces of WASI 0.2 that the sandbox links, all of them without anything behind them but clocks, randomness and HTTP.
const INTERFACES: &[&str] = &[
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:filesystem/types",
    "wasi:filesystem/preopens",
    "wasi:sockets/network",
    "wasi:sockets/instance-network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
    "wasi:sockets/ip-name-lookup",
    "wasi:http/types",
    "wasi:http/outgoing-handler",
];
const VERSION: &str = "0.2.";

#[napi(object)]
pub struct Inspection {
    /// Empty when it can run here.
    pub code: String,
    pub message: String,
    pub kind: String,
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

pub struct Inspect(Vec<u8>);

impl Task for Inspect {
    type Output = Inspection;
    type JsValue = Inspection;
    fn compute(&mut self) -> Result<Inspection> {
        Ok(inspect_bytes(&self.0))
    }
    fn resolve(&mut self, _: Env, output: Inspection) -> Result<Inspection> {
        Ok(output)
    }
}

/// On a thread of libuv's pool.
#[napi(ts_return_type = "Promise<Inspection>")]
pub fn inspect(component: Buffer) -> AsyncTask<Inspect> {
    AsyncTask::new(Inspect(component.to_vec()))
}

fn refused(code: &str, message: String) -> Inspection {
    Inspection { code: code.into(), message, kind: String::new(), imports: vec![], exports: vec![] }
}

fn inspect_bytes(bytes: &[u8]) -> Inspection {
    if !bytes.starts_with(b"\0asm") {
        return refused("not_wasm", "It does not begin with the magic number of WebAssembly".into());
    }
    if Parser::is_core_wasm(bytes) {
        return refused("core_module", "It is a core module, not a component".into());
    }
    if let Err(error) = Validator::new().validate_all(bytes) {
        return refused("component_invalid", format!("{} (at byte {})", error.message(), error.offset()));
    }
    let (imports, exports) = match names(bytes) {
        Ok(names) => names,
        Err(error) => return refused("component_invalid", error.to_string()),
    };
    if let Some(unknown) = imports.iter().find(|name| !known(name)) {
        return refused("import_unknown", format!("It imports {unknown}, which the sandbox does not have"));
    }
    let exports_some = |interface: &str| exports.iter().any(|name| is(name, interface));
    let kind = if exports_some("wasi:http/incoming-handler") {
        "service"
    } else if exports_some("wasi:cli/run") {
        "task"
    } else {
        let found = if exports.is_empty() { "nothing".into() } else { exports.join(", ") };
        return refused(
            "world_unknown",
            format!("It exports {found}, neither wasi:http/incoming-handler@0.2 (a service) nor wasi:cli/run@0.2 (a task)"),
        );
    };
    Inspection { code: String::new(), message: String::new(), kind: kind.into(), imports, exports }
}

fn is(name: &str, interface: &str) -> bool {
    name.split_once('@').is_some_and(|(path, version)| path == interface && version.starts_with(VERSION))
}

fn known(name: &str) -> bool {
    INTERFACES.iter().any(|interface| is(name, interface))
}

/// Imports and exports of the outermost component.
fn names(bytes: &[u8]) -> wasmparser::Result<(Vec<String>, Vec<String>)> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => break,
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import?.name.name.to_string());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export?.name.name.to_string());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}
