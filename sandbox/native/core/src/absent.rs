//! What every component may import and none ever gets: files, sockets, names of computers.
//!
//! There is no folder and no socket is made, so nobody has a handle that one of these methods could be called with: they need names
//! and no types, and neither a file system nor a network stack is in the process that runs guests.
use crate::guest::State;
use wasmtime::{
    Error, Result, StoreContextMut,
    component::{Linker, LinkerInstance, ResourceDynamic, ResourceType, Val},
};

const VERSION: &str = "0.2.12";

enum Resource {
    Descriptor,
    DirectoryEntryStream,
    Network,
    ResolveAddressStream,
    TcpSocket,
    UdpSocket,
    IncomingDatagramStream,
    OutgoingDatagramStream,
}

const DESCRIPTOR: &str = "read-via-stream write-via-stream append-via-stream advise sync-data get-flags get-type set-size set-times read write \
    read-directory sync create-directory-at stat stat-at set-times-at link-at open-at readlink-at remove-directory-at rename-at symlink-at \
    unlink-file-at is-same-object metadata-hash metadata-hash-at";
const TCP_SOCKET: &str = "start-bind finish-bind start-connect finish-connect start-listen finish-listen accept local-address remote-address \
    is-listening address-family set-listen-backlog-size keep-alive-enabled set-keep-alive-enabled keep-alive-idle-time set-keep-alive-idle-time \
    keep-alive-interval set-keep-alive-interval keep-alive-count set-keep-alive-count hop-limit set-hop-limit receive-buffer-size \
    set-receive-buffer-size send-buffer-size set-send-buffer-size subscribe shutdown";
const UDP_SOCKET: &str = "start-bind finish-bind stream local-address remote-address address-family unicast-hop-limit set-unicast-hop-limit \
    receive-buffer-size set-receive-buffer-size send-buffer-size set-send-buffer-size subscribe";

/// (interface, resource, its name, its methods)
const RESOURCES: [(&str, Resource, &str, &str); 8] = [
    ("filesystem/types", Resource::Descriptor, "descriptor", DESCRIPTOR),
    ("filesystem/types", Resource::DirectoryEntryStream, "directory-entry-stream", "read-directory-entry"),
    ("sockets/network", Resource::Network, "network", ""),
    ("sockets/ip-name-lookup", Resource::ResolveAddressStream, "resolve-address-stream", "resolve-next-address subscribe"),
    ("sockets/tcp", Resource::TcpSocket, "tcp-socket", TCP_SOCKET),
    ("sockets/udp", Resource::UdpSocket, "udp-socket", UDP_SOCKET),
    ("sockets/udp", Resource::IncomingDatagramStream, "incoming-datagram-stream", "receive subscribe"),
    ("sockets/udp", Resource::OutgoingDatagramStream, "outgoing-datagram-stream", "check-send send subscribe"),
];

/// What can be called without a handle: (interface, function, what it answers).
const FUNCTIONS: [(&str, &str, fn(StoreContextMut<'_, State>) -> Result<Val>); 6] = [
    ("filesystem/preopens", "get-directories", |_| Ok(Val::List(Vec::new()))),
    ("filesystem/types", "filesystem-error-code", |_| Ok(Val::Option(None))),
    ("sockets/instance-network", "instance-network", |store| {
        Ok(Val::Resource(ResourceDynamic::new_own(0, Resource::Network as u32).try_into_resource_any(store)?))
    }),
    ("sockets/tcp-create-socket", "create-tcp-socket", |_| Ok(denied())),
    ("sockets/udp-create-socket", "create-udp-socket", |_| Ok(denied())),
    ("sockets/ip-name-lookup", "resolve-addresses", |_| Ok(denied())),
];

fn denied() -> Val {
    Val::Result(Err(Some(Box::new(Val::Enum("access-denied".into())))))
}

pub fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    let mut interfaces: Vec<&str> = RESOURCES.iter().map(|resource| resource.0).chain(FUNCTIONS.iter().map(|function| function.0)).collect();
    interfaces.sort_unstable();
    interfaces.dedup();
    for interface in interfaces {
        let mut instance = linker.instance(&format!("wasi:{interface}@{VERSION}"))?;
        for (_, resource, name, methods) in RESOURCES.into_iter().filter(|resource| resource.0 == interface) {
            instance.resource(name, ResourceType::host_dynamic(resource as u32), |_, _| Ok(()))?;
            for method in methods.split_ascii_whitespace() {
                // A handle is looked for before this is called.
                answer(&mut instance, &format!("[method]{name}.{method}"), |_| Err(Error::msg("there are no files and no sockets")))?;
            }
        }
        for (_, name, make) in FUNCTIONS.into_iter().filter(|function| function.0 == interface) {
            answer(&mut instance, name, make)?;
        }
    }
    Ok(())
}

fn answer(instance: &mut LinkerInstance<'_, State>, name: &str, make: fn(StoreContextMut<'_, State>) -> Result<Val>) -> Result<()> {
    instance.func_new(name, move |mut store, _, parameters, results| {
        for parameter in parameters {
            // What was lent goes back before the answer.
            match parameter {
                Val::Resource(lent) if lent.ty() == ResourceType::host::<Error>() => _ = lent.try_into_resource::<Error>(&mut store)?,
                Val::Resource(lent) => _ = lent.try_into_resource_dynamic(&mut store)?,
                _ => {}
            }
        }
        let answer = make(store)?;
        if let Some(result) = results.first_mut() {
            *result = answer;
        }
        Ok(())
    })
}
