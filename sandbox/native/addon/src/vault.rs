//! Compiled code for runners: what `godwit_core::vault` does, called from JavaScript.
use godwit_core::vault::Vault;
use napi::bindgen_prelude::*;
use napi_derive::napi;
use std::{os::fd::IntoRawFd, sync::Arc};

#[napi]
pub struct CodeVault(Arc<Vault>);

#[napi]
impl CodeVault {
    #[napi(constructor)]
    pub fn new(directory: String) -> CodeVault {
        CodeVault(Vault::new(directory.into()))
    }
    #[napi]
    pub fn allow(&self, name: String, sha256: String) {
        self.0.allow(name, sha256);
    }
    #[napi]
    pub fn forbid(&self, name: String) {
        self.0.forbid(&name);
    }
    /// A descriptor for one runner to inherit; close it here with `closeDescriptor` when it has.
    #[napi]
    pub fn open(&self) -> Result<i32> {
        Ok(self.0.open().map_err(|error| Error::from_reason(error.to_string()))?.into_raw_fd())
    }
}
