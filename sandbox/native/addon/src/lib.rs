//! The addon: wasmtime inside Node, on threads of its own. Loaded by sandbox/sandbox.ts and nobody else.
mod inspect;
mod listen;
mod pipes;
mod sockets;
mod task;
mod vault;
