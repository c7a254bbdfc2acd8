//! Long-lived TLS configurations.
use std::fmt;
use std::sync::Arc;

/// Why a TLS configuration or session could not be made: one clear sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsSetupError(pub String);

impl fmt::Display for TlsSetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsSetupError {}

/// What all client connections of one configuration share, its session cache included.
pub struct ClientTls;
/// What all server connections of one configuration share, its session store included.
pub struct ServerTls;

/// Makes a `ClientTls`.
#[derive(Default)]
pub struct ClientTlsBuilder;
/// Makes a `ServerTls`.
#[derive(Default)]
pub struct ServerTlsBuilder;

#[allow(unused_variables)]
impl ClientTlsBuilder {
    #[must_use]
    pub fn new() -> Self {
        todo!()
    }
    #[must_use]
    pub fn alpn(self, protocols: Vec<Vec<u8>>) -> Self {
        todo!()
    }
    #[must_use]
    pub fn roots_pem(self, pem: &[u8]) -> Self {
        todo!()
    }
    #[must_use]
    pub fn system_roots(self) -> Self {
        todo!()
    }
    #[must_use]
    pub fn no_verify(self) -> Self {
        todo!()
    }
    #[must_use]
    pub fn identity_pem(self, chain: &[u8], key: &[u8]) -> Self {
        todo!()
    }
    #[must_use]
    pub fn early_data(self, on: bool) -> Self {
        todo!()
    }
    #[must_use]
    pub fn key_log(self, line: Arc<dyn Fn(&str) + Send + Sync>) -> Self {
        todo!()
    }
    pub fn build(self) -> Result<Arc<ClientTls>, TlsSetupError> {
        todo!()
    }
}

#[allow(unused_variables)]
impl ServerTlsBuilder {
    #[must_use]
    pub fn new() -> Self {
        todo!()
    }
    #[must_use]
    pub fn alpn(self, protocols: Vec<Vec<u8>>) -> Self {
        todo!()
    }
    #[must_use]
    pub fn identity_pem(self, chain: &[u8], key: &[u8]) -> Self {
        todo!()
    }
    #[must_use]
    pub fn client_roots_pem(self, pem: &[u8], require: bool) -> Self {
        todo!()
    }
    #[must_use]
    pub fn early_data(self, on: bool) -> Self {
        todo!()
    }
    #[must_use]
    pub fn early_data_context(self, context: &[u8]) -> Self {
        todo!()
    }
    #[must_use]
    pub fn key_log(self, line: Arc<dyn Fn(&str) + Send + Sync>) -> Self {
        todo!()
    }
    pub fn build(self) -> Result<Arc<ServerTls>, TlsSetupError> {
        todo!()
    }
}
